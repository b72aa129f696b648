"""Images go out whole or not at all, in any number of slabs, and every reader opens them."""

import errno
import gzip
import io
import zipfile
import zlib

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcalib.io import Geometry, deflating, read_volume, write_labels, write_probability, write_slabs

AFFINE = np.array([[0.0, -2, 0, 7], [1.5, 0, 0, -3], [0, 0, 3, 11], [0, 0, 0, 1]])
SHAPE = (5, 4, 6)


def image(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def geometry(shape=SHAPE):
    return Geometry(shape, AFFINE)


def by_nibabel(data, affine=AFFINE):
    """The bytes of a .nii file as nibabel writes it."""
    made = nib.Nifti1Image(data, affine)
    made.header.set_data_dtype(data.dtype)
    made.header.set_xyzt_units("mm")
    file = io.BytesIO()
    made.to_file_map({"image": nib.FileHolder(fileobj=file), "header": nib.FileHolder(fileobj=file)})
    return file.getvalue()


@pytest.fixture(params=["isal", "zlib"])
def packer(request, monkeypatch):
    """Level 1 by Intel's library where it is installed, and without it."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setattr(deflating, "decompressor", lambda: zlib)


@pytest.mark.parametrize("shape", [SHAPE, (7, 3), (1, 1, 4)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_nifti_file_is_that_of_nibabel(tmp_path, packer, shape, suffix):
    path, data = tmp_path / f"p{suffix}", image(shape)
    write_probability(path, data, geometry(shape))
    content = path.read_bytes()
    assert (gzip.decompress(content) if suffix == ".nii.gz" else content) == by_nibabel(data)


@pytest.mark.parametrize(("highest", "dtype"), [(3, np.uint8), (300, np.int16), (40_000, np.int32)])
def test_a_label_file_is_that_of_nibabel(tmp_path, highest, dtype):
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 2 * highest
    write_labels(tmp_path / "l.nii", labels, geometry())
    assert (tmp_path / "l.nii").read_bytes() == by_nibabel(labels.astype(dtype))


@pytest.mark.parametrize(
    "data",
    [
        image(),
        np.asfortranarray(image()),
        image((7,)),
        image((7, 1)).T,
        image((0, 3)),
        np.float32(0.5),
        image()[::2, :, 1],
    ],
    ids=["C", "F", "line", "row", "empty", "number", "strided"],
)
def test_a_numpy_file_is_that_of_numpy(tmp_path, packer, data):
    np.save(tmp_path / "expected.npy", data)
    write_probability(tmp_path / "p.npy", data, None)
    assert (tmp_path / "p.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()
    write_probability(tmp_path / "p.npz", data, None)
    with zipfile.ZipFile(tmp_path / "p.npz") as archive:
        assert archive.testzip() is None
        assert archive.read("probs.npy") == (tmp_path / "expected.npy").read_bytes()


@given(
    cuts=st.sets(st.integers(1, 11)),
    n_jobs=st.integers(1, 3),
    suffix=st.sampled_from([".nii", ".nii.gz", ".npy", ".npz"]),
    order=st.sampled_from("CF"),
    level=st.sampled_from([1, 6]),
)
def test_the_file_does_not_depend_on_how_the_image_was_cut(tmp_path_factory, *, cuts, n_jobs, suffix, order, level):
    folder = tmp_path_factory.mktemp("cut")
    data = np.asarray(image((12, 5, 12)) * (image((12, 5, 12), 1) > 0.6), order=order)
    axis = 0 if order == "C" else 2
    slabs = np.split(data, sorted(cuts), axis=axis)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deflating, "BLOCK", 500)
        where = geometry(data.shape)
        write_slabs(
            folder / f"a{suffix}", iter(slabs), data.shape, where, order=order, compression=level, n_jobs=n_jobs
        )
        write_probability(folder / f"b{suffix}", data, where, compression=level, n_jobs=1)
    content = (folder / f"a{suffix}").read_bytes()
    assert content == (folder / f"b{suffix}").read_bytes()
    np.testing.assert_array_equal(read_volume(folder / f"a{suffix}").data, data)


def test_compressed_blocks_are_read_by_nibabel_and_simpleitk(tmp_path, packer, monkeypatch):
    sitk = pytest.importorskip("SimpleITK")
    monkeypatch.setattr(deflating, "BLOCK", 64)
    write_probability(tmp_path / "p.nii.gz", image(), geometry(), n_jobs=2)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "p.nii.gz").dataobj), image())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.nii.gz"))).T, image())


def test_equal_images_make_equal_files_without_name_or_time(tmp_path):
    for name in ("a", "another"):
        write_probability(tmp_path / f"{name}.nii.gz", image(), geometry())
        write_probability(tmp_path / f"{name}.npz", image(), None)
    for suffix in (".nii.gz", ".npz"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"another{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".nii.gz", ".npz"])
def test_higher_levels_make_smaller_files(tmp_path, suffix):
    data = np.round(image((40, 40, 40)), 2) * (image((40, 40, 40), 1) > 0.5)
    size = {}
    for level in (1, 9):
        path = tmp_path / f"p{level}{suffix}"
        write_probability(path, data, geometry(data.shape), compression=level)
        size[level] = path.stat().st_size
        np.testing.assert_array_equal(read_volume(path).data, data)
    assert size[9] < size[1]


@pytest.mark.parametrize("level", [0, 10, 1.5, True, "6"])
def test_other_levels_are_refused(tmp_path, level):
    with pytest.raises(ValueError, match="compression must be a whole number from 1"):
        write_probability(tmp_path / "p.npz", image(), None, compression=level)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".npy", ".npz", ".mha"])
@pytest.mark.parametrize(
    ("slabs", "told"),
    [
        ([image()[..., :2]], "hold 2 of the 6 sections along axis 2"),
        ([], "hold 0 of the 6 sections"),
        ([image(), image()[..., :1]], "where 0 of 6 sections along axis 2"),
        ([image()[:3]], r"shape \(3, 4, 6\), where 6 of 6 sections"),
        ([image()[..., 0]], r"a slab has shape \(5, 4\)"),
    ],
    ids=["few", "none", "many", "cut", "flat"],
)
def test_slabs_that_do_not_make_the_image_leave_the_old_file(tmp_path, suffix, slabs, told):
    if suffix == ".mha":
        pytest.importorskip("SimpleITK")
    path = tmp_path / f"p{suffix}"
    path.write_text("old")
    with pytest.raises(ValueError, match=told):
        write_slabs(path, slabs, SHAPE, geometry())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".npy", ".npz"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_slabs_raise_is_raised_and_no_file_is_left(tmp_path, suffix, error):
    def slabs():
        yield image()[..., :3]
        raise error("stop")

    with pytest.raises(error, match="stop"):
        write_slabs(tmp_path / f"p{suffix}", slabs(), SHAPE, geometry())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".npy", ".npz"])
def test_a_full_disk_leaves_no_file(tmp_path, suffix, monkeypatch):
    written = []

    def full(self, data):
        written.append(len(data))
        if sum(written) > 400:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(deflating.Sink, "_all", full)
    monkeypatch.setattr(deflating, "BLOCK", 100)
    with pytest.raises(OSError, match="No space left"):
        write_slabs(tmp_path / f"p{suffix}", np.split(image(), 6, axis=2), SHAPE, geometry(), n_jobs=2)
    assert not list(tmp_path.iterdir())


def test_c_ordered_slabs_make_the_same_nifti_file(tmp_path):
    write_slabs(tmp_path / "a.nii.gz", np.split(image(), 5), SHAPE, geometry(), order="C")
    write_probability(tmp_path / "b.nii.gz", np.asfortranarray(image()), geometry())
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    with pytest.raises(ValueError, match="order must be 'F' or 'C'"):
        write_slabs(tmp_path / "c.npy", [image()], SHAPE, None, order="K")


def test_itk_files_take_slabs_and_levels(tmp_path):
    pytest.importorskip("SimpleITK")
    for order, axis in (("F", 2), ("C", 0)):
        slabs = np.split(image(), 2 if axis == 2 else 5, axis=axis)
        write_slabs(tmp_path / f"{order}.mha", slabs, SHAPE, geometry(), order=order, compression=9)
        np.testing.assert_array_equal(read_volume(tmp_path / f"{order}.mha").data, image())


def test_archives_of_any_size_have_readable_ends():
    """Sizes and offsets beyond 32 bits, without writing so much."""
    file = io.BytesIO()
    sink = deflating.ZipSink(file, 1, 1, "probs.npy")
    made = sink.deflater
    made.crc, made.size, made.packed = 7, 5 << 32, 3 << 32
    entry = sink._entry(7, 5 << 32, 3 << 32)
    end = deflating._zip_end(3 << 32, len(entry))
    told = zipfile.ZipFile(io.BytesIO(entry + _moved(end, 3 << 32))).infolist()[0]
    assert (told.CRC, told.file_size, told.compress_size, told.header_offset) == (7, 5 << 32, 3 << 32, 0)
    assert end.count(b"PK\x06\x06") == end.count(b"PK\x06\x07") == 1
    sink.close()


def _moved(end, start):
    """The end of an archive whose directory lies at its beginning, as the reader wants it."""
    far, near = start.to_bytes(8, "little"), bytes(8)
    size = len(end) - 22 - 20 - 56
    assert size == 0
    entry_size = int.from_bytes(end[40:48], "little")
    locator = (start + entry_size).to_bytes(8, "little")
    assert end.count(far) == 1
    assert end.count(locator) == 1
    return end.replace(locator, entry_size.to_bytes(8, "little")).replace(far, near)
