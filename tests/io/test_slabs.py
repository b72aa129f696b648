"""Slab by slab a case is what it is when it is loaded: the same voxels, checks, refusals and recalls, in every format."""

from __future__ import annotations

import gzip
import tracemalloc
import warnings
import zipfile
from contextlib import closing

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcalib.exceptions import GeometryError
from mrcalib.io import Case, LoadOptions, bytestream
from mrcalib.io.formats import open_image

SHAPE = (7, 5, 9)
SUFFIXES = (".nii.gz", ".nii", ".npy", ".npz")


@pytest.fixture(params=["isal", "zlib"])
def either_decompressor(request, monkeypatch):
    if request.param == "isal":
        pytest.importorskip("isal", reason="isal, the faster decompressor, is not installed")
    else:
        import zlib

        monkeypatch.setattr(bytestream, "decompressor", lambda: zlib)


def write(path, array, *, affine=None, stored=False):
    if path.name.endswith(".npy"):
        np.save(path, array)
    elif path.name.endswith(".npz"):
        (np.savez if stored else np.savez_compressed)(path, probs=array)
    else:
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def arrays(shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    probs = rng.random(shape, dtype=np.float32)
    probs[rng.random(shape) < 0.5] = 0
    base = rng.random(shape) < 0.4
    return probs, [(base ^ (rng.random(shape) < 0.05)).astype(np.uint8) for _ in range(3)]


def files(folder, suffix, shape=SHAPE, **options):
    probs, masks = arrays(shape)
    raters = {f"r{i}": write(folder / f"r{i}{suffix}", mask, **options) for i, mask in enumerate(masks)}
    return Case("A", write(folder / f"p{suffix}", probs, **options), raters)


def together(case, *, crop=False, n_voxels=40, options=None, n_jobs=1):
    """The slabs put together, and the opened case; voxels that no slab covers stay NaN, or 255."""
    options = options or LoadOptions()
    with case.open(options=options, crop=crop) as opened:
        probs = np.full(opened.shape, np.nan, opened.dtype)
        raters = [None if source is None else np.full(opened.shape, 255, np.uint8) for source in case.masks.values()]
        roi = np.zeros(opened.shape, bool)
        for slab in opened.slabs(n_voxels, n_jobs=n_jobs):
            assert slab.probs.dtype == opened.dtype
            probs[slab.index] = slab.probs
            roi[slab.index] = True if slab.roi is None else slab.roi
            for whole, part in zip(raters, slab.raters, strict=True):
                assert (whole is None) == (part is None)
                if whole is not None:
                    whole[slab.index] = part
    return probs, raters, roi, opened


def recalls_of(opened):
    return (None, None) if opened.recall is None else (opened.recall.union, opened.recall.per_rater)


def assert_as_loaded(case, options=None, **how):
    options = options or LoadOptions()
    loaded = case.load(options=options)
    probs, raters, roi, opened = together(case, options=options, **how)
    np.testing.assert_array_equal(probs, loaded.probs)
    assert opened.dtype == loaded.probs.dtype
    for mine, whole in zip(raters, loaded.raters, strict=True):
        assert (mine is None) == (whole is None)
        if mine is not None:
            np.testing.assert_array_equal(mine, whole)
    np.testing.assert_array_equal(roi, np.ones(opened.shape, bool) if loaded.roi is None else loaded.roi)
    assert (opened.shape, opened.spacing, opened.voxel_volume_ml) == (
        loaded.probs.shape,
        loaded.spacing,
        loaded.voxel_volume_ml,
    )
    assert (opened.geometry is None) == (loaded.geometry is None)
    np.testing.assert_equal(recalls_of(opened), (loaded.roi_recall, loaded.rater_recalls))  # equal where nan


@pytest.mark.usefixtures("either_decompressor")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 1), (3, 1, 8), (6, 11)], ids=str)
def test_slabs_put_together_are_the_loaded_case(tmp_path, suffix, shape):
    case = files(tmp_path, suffix, shape)
    for n_voxels in (1, 40, 10**6):
        for n_jobs in (1, 3):
            assert_as_loaded(case, n_voxels=n_voxels, n_jobs=n_jobs)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_orders_of_numpy_files(tmp_path, suffix, order):
    probs, masks = arrays()
    case = Case(
        "A",
        write(tmp_path / f"p{suffix}", np.asarray(probs, order=order)),
        [write(tmp_path / f"{r}{suffix}", mask) for r, mask in enumerate(masks)],
    )
    assert_as_loaded(case)
    with case.open() as opened:
        assert opened.axis == (0 if order == "C" else 2)


def test_members_and_masks_of_the_archive_are_read_where_they_were_stored_uncompressed(tmp_path):
    assert_as_loaded(files(tmp_path, ".npz", stored=True))


def test_arrays_and_files_of_several_formats_mix(tmp_path):
    probs, masks = arrays()
    for given_probs in (probs, np.asfortranarray(probs), write(tmp_path / "p.npz", probs)):
        case = Case(
            "A",
            given_probs,
            {"a": write(tmp_path / "a.nii.gz", masks[0]), "b": masks[1], "c": write(tmp_path / "c.npy", masks[2])},
        )
        assert_as_loaded(case)


def test_a_missing_rater_stays_missing(tmp_path):
    case = files(tmp_path, ".nii.gz")
    case = Case("A", case.probs, {**case.masks, "gone": None})
    assert_as_loaded(case)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "options",
    [LoadOptions(), LoadOptions(pooling="logit-mean"), LoadOptions(weights=(1.0, 2.5))],
    ids=["mean", "logit", "weights"],
)
def test_members_are_pooled_to_the_bit(tmp_path, suffix, options):
    case = files(tmp_path, suffix)
    other = write(tmp_path / f"q{suffix}", arrays(seed=5)[0])
    assert_as_loaded(Case("A", (case.probs, other), case.raters), options)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_logits_become_probabilities_to_the_bit(tmp_path, suffix):
    case = files(tmp_path, suffix)
    logits = (arrays()[0] - 0.5) * 9
    for might_be_probabilities in (np.s_[..., :3], np.s_[..., -3:], np.s_[-3:]):
        logits[might_be_probabilities] = 0.5
        case = Case("A", write(tmp_path / f"l{suffix}", logits), case.raters)
        assert_as_loaded(case, LoadOptions(values="logits"))
    roi = np.zeros(SHAPE, np.uint8)
    roi[1:3, 1:3, :2] = 1
    inside = Case("A", case.probs, case.raters, roi=write(tmp_path / f"roi{suffix}", roi))
    together(inside, crop=True, options=LoadOptions(values="logits"))
    with pytest.raises(ValueError, match="all its values lie in"):
        together(files(tmp_path, suffix), options=LoadOptions(values="logits"))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", ">i2", "|u1"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".npy", ".npz"])
def test_byte_orders_and_data_types(tmp_path, suffix, dtype):
    if dtype == "<f2" and suffix.startswith(".nii"):
        pytest.skip("NIfTI has no half precision")
    probs, masks = arrays()
    masks_like = np.dtype(dtype).kind in "iu"
    if suffix.startswith(".nii"):
        order = dtype[0] if dtype[0] in "<>" else "<"
        header = nib.Nifti1Header(endianness=order)
        header.set_data_dtype(np.dtype(dtype))
        image = nib.Nifti1Image((masks[0] if masks_like else probs).astype(dtype), np.eye(4), header)
        path = tmp_path / f"x{suffix}"
        nib.save(image, path)
    else:
        path = write(tmp_path / f"x{suffix}", (masks[0] if masks_like else probs).astype(dtype))
    case = Case("A", probs, [path]) if masks_like else Case("A", path, masks)
    assert_as_loaded(case)
    assert case.load().probs.dtype.isnative


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_scaled_integers_and_flipped_axes(tmp_path, suffix):
    probs, masks = arrays()
    flipped = np.diag([-0.7, 0.7, -2.0, 1.0])
    image = nib.Nifti1Image(probs, flipped)
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(1 / 4000, 0.001)
    nib.save(image, tmp_path / f"p{suffix}")
    mask = nib.Nifti1Image(masks[0].astype(np.float32), flipped)
    mask.header.set_data_dtype(np.uint8)
    mask.header.set_slope_inter(1 / 255, 0)
    nib.save(mask, tmp_path / f"m{suffix}")
    case = Case("A", tmp_path / f"p{suffix}", [tmp_path / f"m{suffix}"])
    with pytest.warns(UserWarning, match="scaled integers"):
        together(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_as_loaded(case)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("outside", ["ignore", "zero"])
def test_a_region_of_interest(tmp_path, suffix, outside):
    roi = np.zeros(SHAPE, np.int16)
    roi[2:6, 1:4, 3:5] = 4
    roi[3, 2, 7] = 1
    case = files(tmp_path, suffix)
    case = Case("A", case.probs, {**case.masks, "gone": None}, roi=write(tmp_path / f"roi{suffix}", roi))
    options = LoadOptions(outside=outside)
    assert_as_loaded(case, options)
    loaded = case.load(options=options)
    for n_jobs in (1, 2):
        probs, raters, inside, opened = together(case, crop=True, options=options, n_jobs=n_jobs)
        if outside == "ignore":
            assert opened.box == (slice(2, 6), slice(1, 4), slice(3, 8))
            np.testing.assert_array_equal(inside, loaded.roi)
            np.testing.assert_array_equal(probs[inside], loaded.probs[loaded.roi])
            np.testing.assert_array_equal(raters[1][inside], loaded.raters[1][loaded.roi])
            assert np.isnan(probs).sum() == probs.size - 4 * 3 * 5
        else:
            np.testing.assert_array_equal(probs, loaded.probs)
        np.testing.assert_equal(recalls_of(opened), (loaded.roi_recall, loaded.rater_recalls))


def test_a_coarse_segmentation_makes_the_region(tmp_path):
    case = files(tmp_path, ".nii.gz")
    coarse = np.zeros(SHAPE, np.uint8)
    coarse[3:5, 2, 4] = 1
    case = Case("A", case.probs, case.raters, coarse=write(tmp_path / "c.nii.gz", coarse))
    options = LoadOptions(margin_mm=1.0)
    assert_as_loaded(case, options)
    _, _, inside, opened = together(case, crop=True, options=options)
    np.testing.assert_array_equal(inside, case.load(options=options).roi)
    assert opened.box == (slice(2, 6), slice(1, 4), slice(3, 6))


def test_an_empty_region_gives_no_slab(tmp_path):
    case = files(tmp_path, ".npy")
    case = Case("A", case.probs, case.raters, roi=write(tmp_path / "roi.npy", np.zeros(SHAPE, np.uint8)))
    with case.open(crop=True) as opened:
        assert list(opened.slabs(40)) == []
    assert opened.recall.union == 0


def test_of_uncompressed_probabilities_only_lines_in_the_box_are_read(tmp_path, monkeypatch):
    case = files(tmp_path, ".nii", (8, 20, 30))
    roi = np.zeros((8, 20, 30), np.uint8)
    roi[1:3, 4:6, 10:13] = 1
    case = Case("A", case.probs, [], roi=write(tmp_path / "roi.nii", roi))
    read = []
    fill = bytestream.FileBytes.fill
    monkeypatch.setattr(
        bytestream.FileBytes, "fill", lambda self, view: (read.append((self.path.name, len(view))), fill(self, view))[1]
    )
    together(case, crop=True)
    assert sum(n for name, n in read if name == "p.nii") == 3 * 2 * 8 * 4


# What is refused --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("either_decompressor")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("role", ["probabilities", "mask"])
@pytest.mark.parametrize("keep", [0.5, 0.9, -4])
def test_a_file_that_ends_early_is_refused_by_name(tmp_path, suffix, role, keep):
    case = files(tmp_path, suffix, (20, 20, 20))
    path = tmp_path / (f"p{suffix}" if role == "probabilities" else f"r1{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep < 0 else int(len(content) * keep)])
    with pytest.raises(ValueError, match=rf"Case 'A'.*{path.name} cannot be read as .*(again|numpy)"):
        together(case, n_voxels=400)
    with pytest.raises(ValueError, match=rf"Case 'A'.*{path.name} cannot be read as .*(again|numpy)"):
        case.load()


@pytest.mark.usefixtures("either_decompressor")
@pytest.mark.parametrize("suffix", [".nii.gz", ".npz"])
def test_a_wrong_checksum_is_refused(tmp_path, suffix):
    case = files(tmp_path, suffix, (20, 20, 20))
    path = tmp_path / f"p{suffix}"
    content = bytearray(path.read_bytes())
    if suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            info = archive.infolist()[0]
        where = content.index(b"PK\x01\x02") + 16
        assert int.from_bytes(content[where : where + 4], "little") == info.CRC
    else:
        where = len(content) - 8
    content[where] ^= 1
    path.write_bytes(content)
    for read in (case.load, lambda: together(case)):
        with pytest.raises(ValueError, match="cannot be read as"):
            read()


@pytest.mark.usefixtures("either_decompressor")
def test_damaged_deflate_data_are_refused(tmp_path):
    case = files(tmp_path, ".npz", (20, 20, 20))
    path = tmp_path / "p.npz"
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"p\.npz cannot be read as a NumPy archive"):
        together(case)


@pytest.mark.usefixtures("either_decompressor")
def test_several_gzip_members_and_padding_are_one_file(tmp_path):
    case = files(tmp_path, ".nii")
    for source in (case.probs, *case.masks.values()):
        content = source.read_bytes()
        packed = gzip.compress(content[:400]) + bytes(512) + gzip.compress(content[400:]) + bytes(100)
        source.with_name(source.name + ".gz").write_bytes(packed)
    zipped = Case("A", tmp_path / "p.nii.gz", {n: p.with_name(p.name + ".gz") for n, p in case.masks.items()})
    assert_as_loaded(zipped)
    np.testing.assert_array_equal(zipped.load().probs, case.load().probs)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_ends_early_beyond_the_region_is_refused_too(tmp_path, suffix):
    case = files(tmp_path, suffix, (20, 20, 20))
    roi = np.zeros((20, 20, 20), np.uint8)
    roi[1:3, 4:8, 1:3] = 1
    case = Case("A", case.probs, case.raters, roi=write(tmp_path / f"roi{suffix}", roi))
    together(case, crop=True, n_voxels=400)
    case.probs.write_bytes(case.probs.read_bytes()[:-40])
    with pytest.raises(ValueError, match=rf"Case 'A', the probabilities: .*p{suffix} cannot be read as"):
        together(case, crop=True, n_voxels=400)


def blob(shape=(20, 20, 20)):
    mask = np.zeros(shape, np.uint8)
    mask[2:8, 3:12, 4:7] = 1
    return mask


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flipped_rater_is_refused_with_the_same_words(tmp_path, suffix):
    probs = np.zeros((20, 20, 20), np.float32)
    masks = [blob(), blob(), blob()[::-1], None]
    raters = [None if m is None else write(tmp_path / f"{r}{suffix}", m) for r, m in enumerate(masks)]
    case = Case("A", write(tmp_path / f"p{suffix}", probs), raters)
    with pytest.raises(GeometryError) as whole:
        case.load()
    with pytest.raises(GeometryError) as slabs:
        together(case)
    assert str(slabs.value) == str(whole.value)
    together(case, options=LoadOptions(check_agreement=False))


def test_honest_disagreement_passes(tmp_path):
    other = np.zeros((20, 20, 20), np.uint8)
    other[14:19, 1:3, 9:18] = 1
    case = Case(
        "A",
        write(tmp_path / "p.npy", np.zeros((20, 20, 20), np.float32)),
        [write(tmp_path / "a.npy", blob()), write(tmp_path / "b.npy", other)],
    )
    assert_as_loaded(case)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: write(folder / "r1.nii.gz", arrays()[1][1] * 3),
        lambda folder: write(folder / "r1.nii.gz", np.where(np.indices(SHAPE)[2] == 8, np.nan, 0.0)),
        lambda folder: write(folder / "r1.nii.gz", arrays()[1][1], affine=np.diag([1, 1, 1.5, 1])),
        lambda folder: write(folder / "r1.nii.gz", arrays((7, 5, 8))[1][1]),
        lambda folder: write(folder / "p.nii.gz", arrays()[1][1]),
        lambda folder: (folder / "r2.nii.gz").unlink(),
    ],
    ids=["labels", "nan", "spacing", "shape", "integers", "gone"],
)
def test_what_load_refuses_is_refused(tmp_path, damage):
    case = files(tmp_path, ".nii.gz")
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError)) as whole:
        case.load()
    with pytest.raises(type(whole.value), match=r"Case 'A'|of case 'A'"):
        together(case)


def test_files_are_closed_where_opening_fails(tmp_path):
    case = files(tmp_path, ".nii.gz")
    case = Case("A", case.probs, {**case.masks, "gone": tmp_path / "gone.nii.gz"})
    with pytest.raises(FileNotFoundError, match=r"gone\.nii\.gz"):
        case.open()  # an open file would be an error here, as a ResourceWarning


def test_files_are_closed_where_reading_stops(tmp_path):
    case = files(tmp_path, ".nii.gz")
    with case.open() as opened:
        for _ in opened.slabs(40, n_jobs=2):
            break


def test_slabs_are_read_once(tmp_path):
    with files(tmp_path, ".npy").open() as opened:
        list(opened.slabs())
        with pytest.raises(ValueError, match="The slabs of case 'A' were read already; open the case again"):
            list(opened.slabs())


# Bytes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_digest_of_a_file_is_taken_on_the_way(tmp_path, suffix):
    import hashlib

    path = write(tmp_path / f"p{suffix}", arrays((30, 40, 50))[0])
    for read in ("all", "some", "none"):
        stored = open_image(path, digest=True)
        if read != "none":
            box = [slice(0, 30), slice(0, 40), slice(0, 50)]
            box[stored.axis] = slice(0, 20 if read == "some" else box[stored.axis].stop)
            stored.read(tuple(box))
        if read == "all":
            stored.finish()
        assert stored.digest() == hashlib.sha256(path.read_bytes()).digest()
        stored.close()


@given(st.data())
def test_any_sequence_of_boxes_in_order_gives_their_voxels(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * 3))
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    suffix = data.draw(st.sampled_from(SUFFIXES))
    with closing(open_image(write(folder / f"x{suffix}", array))) as stored:
        at, size = 0, shape[stored.axis]
        while at < size:
            n = data.draw(st.integers(1, size - at))
            where = [slice(*sorted(data.draw(st.tuples(st.integers(0, s), st.integers(0, s))))) for s in shape]
            if data.draw(st.booleans()):
                wanted = where if data.draw(st.booleans()) else [slice(0, s) for s in shape]
                wanted[stored.axis] = slice(at, at + n)
                np.testing.assert_array_equal(stored.read(tuple(wanted)), array[tuple(wanted)])
            at += n
        stored.finish()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_memory_does_not_grow_with_the_number_of_slabs(tmp_path, suffix):
    peaks = []
    for depth in (20, 80):
        probs = np.zeros((64, 64, depth), np.float32)
        probs[5:9] = 0.25
        masks = [(probs > 0.1).astype(np.uint8)] * 3
        if suffix in (".npy", ".npz"):
            probs, masks = probs.transpose(2, 1, 0).copy(), [mask.transpose(2, 1, 0).copy() for mask in masks]
        case = Case(
            "A",
            write(tmp_path / f"p{suffix}", probs),
            [write(tmp_path / f"{r}{suffix}", m) for r, m in enumerate(masks)],
        )
        with case.open() as opened:
            tracemalloc.start()
            for _ in opened.slabs(64 * 64 * 5):
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
