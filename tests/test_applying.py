"""A calibrator over a case on disk, slab by slab: the same map as of the whole image, or no file."""

import gzip
import shutil
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

import mrcalib
from mrcalib.io import Case, Geometry, LoadOptions, read_volume, write_probability
from mrcalib.scale import apply_case, applying

SHAPE = (9, 7, 12)
GEOMETRY = Geometry(SHAPE, np.array([[0.0, -2, 0, 7], [1.5, 0, 0, -3], [0, 0, 3, 11], [0, 0, 0, 1]]))


@pytest.fixture(scope="module")
def calibrators():
    rng = np.random.default_rng(4)
    case = np.repeat(np.arange(40), 1000)
    probs = (rng.random(40_000) * rng.uniform(0.1, 1, 40)[case]).astype(np.float32)
    probs[::7] = 0
    raters = rng.random((3, 40_000)) < probs
    return {
        "adaptive": mrcalib.CaseAdaptiveCalibrator(volume="segmenter").fit(probs, raters, groups=case),
        "isotonic": mrcalib.MHRIsotonicCalibrator().fit(probs, raters),
        "keep-zero": mrcalib.MHRIsotonicCalibrator(keep_zero=True).fit(probs, raters),
        "temperature": mrcalib.TemperatureScalingCalibrator().fit(probs, raters),
    }


@pytest.fixture(params=[0, applying.KEPT], ids=["read twice", "kept"])
def small_slabs(request, monkeypatch):
    monkeypatch.setattr(applying, "SLAB", 150)
    monkeypatch.setattr(applying, "KEPT", request.param)


def image(seed=0, dtype=np.float32):
    values = np.random.default_rng(seed).random(SHAPE).astype(dtype)
    values[values < 0.2] = 0
    return values


def save(folder, suffix, data, name="p"):
    """The file, in the manner of those who use the format."""
    path = folder / f"{name}{suffix.removesuffix('F')}"
    if suffix in (".npy", ".npyF"):
        np.save(path, np.asarray(data, order="F" if suffix == ".npyF" else "C"))
    elif suffix == ".npz":
        np.savez_compressed(path, probs=data)
    elif suffix == ".mha":
        pytest.importorskip("SimpleITK")
        write_probability(path, data, GEOMETRY)
    else:
        made = nib.Nifti1Image(data, GEOMETRY.affine)
        made.header.set_data_dtype(data.dtype)
        nib.save(made, path)
    return path


def whole(case, calibrator, options):
    """As one array in memory is calibrated."""
    loaded = case.load(options=options)
    seen = loaded.probs if loaded.roi is None else loaded.probs[loaded.roi]
    calibrated = loaded.calibrated_by(calibrator.map_for(seen))
    return calibrated.astype(np.float32), loaded.geometry


def check(case, calibrator, path, options=None):
    """The file holds what the whole image gives, to the bit, and lies where it lay."""
    options = options or LoadOptions()
    apply_case(case, calibrator, path, options=options)
    expected, geometry = whole(case, calibrator, options)
    written = read_volume(path)
    assert written.data.dtype == np.float32
    np.testing.assert_array_equal(written.data, expected)
    if written.geometry is not None:
        np.testing.assert_allclose(written.geometry.affine, geometry.affine, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["adaptive", "isotonic", "keep-zero", "temperature"])
@pytest.mark.parametrize(
    ("suffix", "out"),
    [
        (".nii.gz", ".nii.gz"),
        (".nii", ".nii"),
        (".nii", ".npy"),
        (".nii.gz", ".npz"),
        (".npy", ".npy"),
        (".npyF", ".npy"),
        (".npz", ".npz"),
        (".npy", ".npz"),
        (".nii.gz", ".mha"),
        (".mha", ".nii.gz"),
    ],
)
def test_slabs_make_the_map_of_the_whole_image(tmp_path, small_slabs, calibrators, method, *, suffix, out):
    if out == ".mha":
        pytest.importorskip("SimpleITK")
    path = save(tmp_path, suffix, image())
    check(Case("a", path, {}), calibrators[method], tmp_path / f"out{out}")


@pytest.mark.parametrize("method", ["adaptive", "isotonic"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".npy"])
@pytest.mark.parametrize("outside", ["ignore", "zero"])
@pytest.mark.parametrize("region", ["roi", "coarse", "both"])
def test_so_do_slabs_of_a_region(tmp_path, small_slabs, calibrators, *, method, suffix, outside, region):
    roi, coarse = np.zeros((2, *SHAPE), np.uint8)
    roi[1:6, 1:5, 3:11] = 1
    coarse[4, 3, 5:8] = 1
    options = LoadOptions(outside=outside, margin_mm=0 if region == "roi" else 3.5)
    case = Case(
        "a",
        save(tmp_path, suffix, image()),
        {},
        roi=None if region == "coarse" else save(tmp_path, suffix, roi, "roi"),
        coarse=None if region == "roi" else save(tmp_path, suffix, coarse, "coarse"),
        spacing=None if suffix == ".nii.gz" else (2.0, 1.5, 3.0),
    )
    check(case, calibrators[method], tmp_path / f"out{suffix}", options)
    written = read_volume(tmp_path / f"out{suffix}").data
    assert (outside == "zero") == (not written[0].any())


@pytest.mark.parametrize("method", ["adaptive", "isotonic"])
@pytest.mark.parametrize("pooling", ["mean", "logit-mean"])
@pytest.mark.parametrize("weights", [None, (2.0, 1.0, 0.5)])
def test_so_do_slabs_of_an_ensemble(tmp_path, small_slabs, calibrators, *, method, pooling, weights):
    members = tuple(save(tmp_path, ".nii.gz", image(seed), f"m{seed}") for seed in range(3))
    options = LoadOptions(pooling=pooling, weights=weights)
    check(Case("a", members, {}), calibrators[method], tmp_path / "out.nii.gz", options)


def test_so_do_logits_doubles_and_channels(tmp_path, small_slabs, calibrators):
    logits = save(tmp_path, ".nii", 8 * image() - 4, "logits")
    check(Case("a", logits, {}), calibrators["adaptive"], tmp_path / "out.nii.gz", LoadOptions(values="logits"))
    double = save(tmp_path, ".npy", image(dtype=np.float64), "double")
    check(Case("a", double, {}), calibrators["adaptive"], tmp_path / "out.npy")
    both = save(tmp_path, ".nii.gz", np.stack([1 - image(), image()], axis=-1), "both")
    check(Case("a", both, {}), calibrators["isotonic"], tmp_path / "out.nii.gz")
    check(Case("a", image(), {}), calibrators["adaptive"], tmp_path / "out.npy")


def test_raters_are_not_read(tmp_path, calibrators):
    path = save(tmp_path, ".npy", image())
    apply_case(Case("a", path, {"1": tmp_path / "absent.npy"}), calibrators["isotonic"], tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), calibrators["isotonic"](image()))


@pytest.mark.parametrize("method", ["adaptive", "isotonic"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".npy"])
def test_invalid_voxels_of_all_slabs_are_counted_and_refused(tmp_path, small_slabs, calibrators, method, suffix):
    data = image()
    data[0, 0, 3] = np.nan
    data[8, 6, 11] = -0.5
    data[0, 0, 11] = 1.25
    case = Case("a", save(tmp_path, suffix, data), {})
    with pytest.raises(
        ValueError, match=r"Case 'a': 3 of 756 voxels are NaN or outside \[0, 1\], from -0.5 to 1.25; of an"
    ):
        apply_case(case, calibrators[method], tmp_path / f"out{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"p{suffix}"]
    apply_case(case, calibrators[method], tmp_path / f"out{suffix}", invalid="keep")
    good = np.where((data >= 0) & (data <= 1), data, np.float32(np.nan))
    expected = calibrators[method].map_for(good)(good)
    np.testing.assert_array_equal(read_volume(tmp_path / f"out{suffix}").data, expected)
    assert np.isnan(expected).sum() == 3
    with pytest.raises(ValueError, match="invalid must be one of 'raise', 'keep'"):
        apply_case(case, calibrators[method], tmp_path / f"out{suffix}", invalid="drop")


def test_a_case_of_nothing_known_is_refused_without_a_range(tmp_path, calibrators):
    case = Case("a", np.full(SHAPE, np.nan, np.float32), {})
    with pytest.raises(ValueError, match=r"756 of 756 voxels are NaN or outside \[0, 1\]; of an ensemble"):
        apply_case(case, calibrators["isotonic"], tmp_path / "out.npy")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".npy", ".npz"])
@pytest.mark.parametrize("method", ["adaptive", "isotonic"])
def test_a_truncated_file_leaves_the_old_map(tmp_path, small_slabs, calibrators, suffix, method):
    path, out = save(tmp_path, suffix, image()), tmp_path / f"out{suffix}"
    out.write_text("old")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match=r"Case 'a', the probabilities: .*cannot be read"):
        apply_case(Case("a", path, {}), calibrators[method], out)
    assert out.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_wrong_checksum_is_told_before_the_map_takes_its_name(tmp_path, small_slabs, calibrators):
    path = save(tmp_path, ".nii.gz", image())
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as NIfTI"):
        apply_case(Case("a", path, {}), calibrators["isotonic"], tmp_path / "out.nii.gz")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_run_leaves_no_file(tmp_path, small_slabs, calibrators, error):
    class Interrupted:
        def map_for_parts(self, parts):
            seen = []

            def fitted(probs):
                seen.append(probs.size)
                if len(seen) == 3:
                    raise error
                return calibrators["isotonic"](probs)

            return fitted

    path = save(tmp_path, ".nii.gz", image())
    told = []
    with pytest.raises(error):
        apply_case(
            Case("a", path, {}), Interrupted(), tmp_path / "out.nii.gz", before_replace=lambda: told.append("done")
        )
    assert list(tmp_path.iterdir()) == [path]
    assert not told


def test_the_caller_is_told_before_the_map_takes_its_name(tmp_path, calibrators):
    path, out = save(tmp_path, ".npy", image()), tmp_path / "out.npy"
    out.write_text("old")
    told = []
    apply_case(Case("a", path, {}), calibrators["isotonic"], out, before_replace=lambda: told.append(out.read_text()))
    assert told == ["old"]
    assert np.load(out).shape == SHAPE


def test_calibrators_of_several_classes_and_unfitted_ones_are_refused(tmp_path):
    case = Case("a", image(), {})
    with pytest.raises(TypeError, match="must be of one foreground; got OneVsRestCalibrator"):
        apply_case(case, mrcalib.OneVsRestCalibrator({"a": 1, "b": 2}), tmp_path / "out.npy")
    with pytest.raises(ValueError, match="not fitted"):
        apply_case(case, mrcalib.MHRIsotonicCalibrator(), tmp_path / "out.npy")
    with pytest.raises(ValueError, match="the geometry is not known"):
        apply_case(case, mrcalib.IdentityCalibrator().fit([0.1, 0.9], [[0, 1]]), tmp_path / "out.nii")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "out"), [(".npy", ".npy"), (".nii", ".nii.gz"), (".nii.gz", ".nii")])
@pytest.mark.parametrize("method", ["adaptive", "isotonic"])
def test_memory_does_not_grow_with_the_image(tmp_path, monkeypatch, calibrators, *, suffix, out, method):
    monkeypatch.setattr(applying, "KEPT", 0)
    monkeypatch.setattr(applying, "SLAB", 1 << 16)
    section = np.random.default_rng(0).random((128, 128), dtype=np.float32)
    shape = (128, 128, 400)  # 26 MB
    data = np.broadcast_to(section[..., None], shape)
    path = tmp_path / f"big{suffix.removesuffix('.gz')}"
    if suffix == ".npy":
        np.save(path, np.broadcast_to(section, (400, 128, 128)))
    else:
        write_probability(path, data, Geometry(shape, np.eye(4)))
    if suffix == ".nii.gz":
        with path.open("rb") as plain, gzip.open(f"{path}.gz", "wb", compresslevel=0) as packed:
            shutil.copyfileobj(plain, packed)
        path = tmp_path / "big.nii.gz"
    case, target = Case("a", path, {}), tmp_path / f"out{out}"
    apply_case(case, calibrators[method], target, n_jobs=2)
    tracemalloc.start()
    try:
        apply_case(case, calibrators[method], target, n_jobs=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 14 << 20
    assert target.stat().st_size > 0
