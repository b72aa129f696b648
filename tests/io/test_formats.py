"""A file format that a test defines is read, written, fitted, applied and recognised like the built-in ones."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

import mrcalib
from mrcalib.io import FORMATS, Case, Geometry, LoadOptions, Volume, read_volume, write_labels, write_probability
from mrcalib.io.formats import companions, suffix_of, writable
from mrcalib.scale import apply_case

SHAPE = (4, 5, 6)


class Text:
    """Numbers as JSON, with the affine in a file beside them."""

    has_header = True

    def open(self, path):
        stored = json.loads(path.read_text())
        beside = path.with_suffix(".affine")
        affine = np.loadtxt(beside) if beside.exists() else np.eye(4)
        data = np.array(stored["values"], stored["dtype"])
        return Volume(data, Geometry(data.shape, affine))

    def write(self, path, data, geometry, *, compression):
        path.write_text(json.dumps({"dtype": data.dtype.str, "values": data.tolist()}))

    def companions(self, path):
        beside = path.with_suffix(".affine")
        return [beside] if beside.exists() else []


@pytest.fixture
def toy():
    mrcalib.register_format(".toy", ".txt.toy2")(Text)
    yield
    FORMATS.unregister(".toy")
    FORMATS.unregister(".txt.toy2")


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    probs = rng.random(SHAPE, dtype=np.float32)
    return probs, [(rng.random(SHAPE) < probs).astype(np.uint8) for _ in range(3)]


def cases(folder, n=3, suffix=".toy"):
    folder.mkdir(exist_ok=True)
    found = []
    for i in range(n):
        probs, masks = arrays(i)
        paths = [folder / f"c{i}_{name}{suffix}" for name in ("p", "r1", "r2", "r3")]
        for path, array in zip(paths, (probs, *masks), strict=True):
            Text().write(path, array, None, compression=1) if suffix == ".toy" else np.save(path, array)
        found.append(Case(f"c{i}", paths[0], {str(r): path for r, path in enumerate(paths[1:], start=1)}))
    return found


@pytest.mark.usefixtures("toy")
def test_a_format_of_ones_own_is_loaded_with_its_geometry(tmp_path):
    (case,) = cases(tmp_path, 1)
    loaded = case.load()
    probs, masks = arrays(0)
    np.testing.assert_array_equal(loaded.probs, probs)
    np.testing.assert_array_equal(np.stack(loaded.raters), masks)
    assert loaded.geometry.shape == SHAPE
    with case.open() as opened:
        together = np.concatenate([slab.probs for slab in opened.slabs(25)], axis=1 + opened.axis)
    np.testing.assert_array_equal(together[0], probs)


@pytest.mark.usefixtures("toy")
def test_it_is_fitted_and_compared_like_any_other(tmp_path):
    own, plain = cases(tmp_path / "own"), cases(tmp_path / "npy", suffix=".npy")
    fitted = [mrcalib.MHRIsotonicCalibrator().fit_cases(listed) for listed in (own, plain)]
    assert fitted[0].map_ == fitted[1].map_
    study = mrcalib.compare(own, ["none", "MHR"], n_resamples=10, random_state=0)
    assert len(study.table()) == 2


@pytest.mark.usefixtures("toy")
def test_a_calibrated_map_is_written_in_it(tmp_path):
    (case,) = cases(tmp_path, 1)
    calibrator = mrcalib.MHRIsotonicCalibrator().fit(*arrays(0))
    apply_case(case, calibrator, tmp_path / "out.toy")
    np.testing.assert_array_equal(read_volume(tmp_path / "out.toy").data, calibrator(arrays(0)[0]))
    geometry = Geometry(SHAPE, np.eye(4))
    write_probability(tmp_path / "again.txt.toy2", arrays(0)[0], geometry)
    np.testing.assert_array_equal(read_volume(tmp_path / "again.txt.toy2").data, arrays(0)[0])
    write_labels(tmp_path / "labels.toy", np.ones(SHAPE, int), geometry)
    assert read_volume(tmp_path / "labels.toy").data.dtype == np.uint8


@pytest.mark.usefixtures("toy")
def test_its_companions_enter_the_fingerprint(tmp_path):
    (case,) = cases(tmp_path, 1)
    before = case.fingerprint()
    np.savetxt(case.probs.with_suffix(".affine"), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert companions(case.probs) == [case.probs.with_suffix(".affine")]
    assert case.fingerprint() != before


@pytest.mark.usefixtures("toy")
def test_messages_list_it():
    assert {".toy", ".txt.toy2"} <= set(writable())
    with pytest.raises(ValueError, match=r"expected one of .*\.toy"):
        suffix_of("a.jpg")


def test_a_suffix_begins_with_a_dot():
    with pytest.raises(ValueError, match="begins with a dot"):
        mrcalib.register_format("toy")(Text)


@pytest.mark.usefixtures("toy")
def test_a_format_that_is_only_read_says_so(tmp_path):
    del Text.write
    try:
        with pytest.raises(ValueError, match=r"a\.toy: the format is only read; write .*\.nii\.gz"):
            write_probability(tmp_path / "a.toy", arrays(0)[0], Geometry(SHAPE, np.eye(4)))
    finally:
        Text.write = write


write = Text.write


# Voxels in memory -------------------------------------------------------------------------------------------------------


def test_nibabel_images_keep_their_geometry():
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])
    probs, masks = arrays(0)
    case = Case("A", nib.Nifti1Image(probs, affine), [nib.Nifti1Image(mask, affine) for mask in masks])
    loaded = case.load()
    np.testing.assert_array_equal(loaded.probs, probs)
    np.testing.assert_array_equal(loaded.geometry.affine, affine)
    assert loaded.voxel_volume_ml == pytest.approx(0.009)
    elsewhere = Case("A", nib.Nifti1Image(probs, affine), [nib.Nifti1Image(masks[0], np.eye(4))])
    with pytest.raises(mrcalib.GeometryError, match="axis x flipped"):
        elsewhere.load()
    assert case.fingerprint() != Case("A", nib.Nifti1Image(probs, np.eye(4)), case.raters).fingerprint()


def holders():
    def torch(array):
        return pytest.importorskip("torch").tensor(array, requires_grad=array.dtype.kind == "f")

    def xarray(array):
        return pytest.importorskip("xarray").DataArray(array)

    def dask(array):
        return pytest.importorskip("dask.array").from_array(array, chunks=2)

    def zarr(array):
        return pytest.importorskip("zarr").array(array)

    return {"torch": torch, "xarray": xarray, "dask": dask, "zarr": zarr, "list": np.ndarray.tolist}


@pytest.mark.parametrize("holder", holders())
def test_voxels_in_other_containers_are_those_of_arrays(holder):
    held = holders()[holder]
    probs, masks = arrays(0)
    probs = probs.astype(np.float64) if holder == "list" else probs
    if holder == "list":
        case = Case("A", np.array(held(probs)), np.array(held(np.stack(masks))))
    else:
        case = Case("A", held(probs), {"a": held(masks[0]), "b": masks[1], "c": held(masks[2])})
    loaded = case.load()
    np.testing.assert_array_equal(loaded.probs, probs)
    np.testing.assert_array_equal(np.stack(loaded.raters), masks)
    assert mrcalib.tally_cases([case]).tallies[0] == mrcalib.tally(probs, masks, rater_names=case.rater_names)


def test_masked_voxels_are_refused():
    probs, masks = arrays(0)
    with pytest.raises(ValueError, match=r"Case 'A', rater '1' \(array\): the array has masked voxels"):
        Case("A", probs, [np.ma.masked_array(masks[0], probs > 0.5)]).load()


@pytest.mark.parametrize("spacing", [(1, 1, np.inf), (1, np.nan, 1), (0, 1, 1), "abc"])
def test_spacing_is_checked(spacing):
    with pytest.raises(ValueError, match="spacing of case 'A' must be"):
        Case("A", np.zeros(SHAPE, np.float32), [], spacing=spacing)


# Axes of images without a header ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, -1, 1])
@pytest.mark.parametrize("stored", [True, False])
def test_one_file_holds_the_masks_of_all_raters(tmp_path, axis, stored):
    probs, masks = arrays(0)
    stack = np.moveaxis(np.stack(masks), 0, axis)
    np.save(tmp_path / "stack.npy", stack)
    case = Case("A", probs, {"all": tmp_path / "stack.npy" if stored else stack})
    options = LoadOptions(rater_axis=axis)
    loaded = case.load(options=options)
    assert loaded.rater_names == ("1", "2", "3")
    np.testing.assert_array_equal(np.stack(loaded.raters), masks)
    counted = mrcalib.tally_cases([case], options=options)
    assert counted.tallies[0] == mrcalib.tally(probs, masks, rater_names=["1", "2", "3"])


def test_a_file_with_a_header_has_raters_where_others_have_channels(tmp_path):
    probs, masks = arrays(0)
    nib.save(nib.Nifti1Image(np.stack(masks, axis=-1), np.eye(4)), tmp_path / "stack.nii.gz")
    loaded = Case("A", probs, {"all": tmp_path / "stack.nii.gz"}).load(options=LoadOptions(rater_axis=-1))
    np.testing.assert_array_equal(np.stack(loaded.raters), masks)
    with pytest.raises(ValueError, match="has 3 channels; expected one value a voxel"):
        Case("A", probs, {"all": tmp_path / "stack.nii.gz"}).load()


def test_an_array_of_raters_last_says_so():
    probs, masks = arrays(0)
    loaded = Case("A", probs, np.stack(masks, axis=-1)).load(options=LoadOptions(rater_axis=-1))
    np.testing.assert_array_equal(np.stack(loaded.raters), masks)


def test_more_than_three_axes_need_an_option(tmp_path):
    probs, masks = arrays(0)
    np.save(tmp_path / "softmax.npy", np.stack([1 - probs, probs]))
    np.savez(tmp_path / "stack.npz", mask=np.stack(masks))
    with pytest.raises(ValueError, match=r"Case 'A', the probabilities: an image without a header has up to three axes; .*"
                       r"channel_axis=0"):  # fmt: skip
        Case("A", tmp_path / "softmax.npy", masks).load()
    with pytest.raises(ValueError, match=r"rater 'all' \(.*stack\.npz\): an image without a header .*rater_axis=0"):
        Case("A", probs, {"all": tmp_path / "stack.npz"}).load()
    loaded = Case("A", tmp_path / "softmax.npy", masks).load(options=LoadOptions(channel_axis=0))
    np.testing.assert_array_equal(loaded.probs, probs)


def test_axes_that_do_not_fit_are_refused():
    probs, masks = arrays(0)
    with pytest.raises(ValueError, match=r"rater_axis=0 is for one mask that holds all raters; case 'A' has 3"):
        Case("A", probs, dict(zip("abc", masks, strict=True))).load(options=LoadOptions(rater_axis=0))
    with pytest.raises(ValueError, match=r"channel_axis=3 does not fit an array of shape \(4, 5, 6\)"):
        Case("A", probs, masks).load(options=LoadOptions(channel_axis=3))
