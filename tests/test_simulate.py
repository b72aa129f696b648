"""The phantoms keep their promises: what their truth, raters and segmenters are said to be is what they are."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import label as label_parts
from scipy.optimize import minimize
from scipy.special import expit, logit

from mrcalib.metrics import vascular_contact
from mrcalib.simulate import Phantom, phantoms, write_curvas_pdacvi, write_dataset

SMALL = (32, 32, 12)
ARRAYS = ("image", "raters", "members", "truth", "roi")


def assert_same(one: Phantom, other: Phantom) -> None:
    assert (one.id, one.group, one.rater_names, one.spacing) == (
        other.id,
        other.group,
        other.rater_names,
        other.spacing,
    )
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def mean_pairwise_dice(masks: np.ndarray) -> float:
    pairs = itertools.combinations(masks.astype(bool), 2)
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


def logistic_fit(p: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the target's logit on that of p, by cross entropy."""
    unsaturated = (p > 1e-12) & (p < 1 - 1e-5)
    x, target = logit(p[unsaturated].astype(np.float64)), target[unsaturated]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, intercept = parameters
        z = slope * x + intercept
        residual = expit(z) - target
        return float(np.sum(np.logaddexp(0, z) - target * z)), np.array([residual @ x, residual.sum()])

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), jac=True).x
    return float(slope), float(intercept)


def test_a_seed_gives_the_same_phantoms_and_another_seed_others():
    for one, again, other in zip(*(phantoms(2, SMALL, rng=seed) for seed in (7, 7, 8)), strict=True):
        assert_same(one, again)
        assert not np.array_equal(one.image, other.image)


def test_vessels_change_nothing_but_the_image():
    for plain, more in zip(phantoms(2, SMALL, rng=7), phantoms(2, SMALL, vessels=True, rng=7), strict=True):
        assert plain.vessels is None
        assert_same(plain, replace(more, image=plain.image))
        np.testing.assert_array_equal(more.image - plain.image, 80 * (more.vessels > 0))
        assert not more.vessels.flags.writeable
    again = next(phantoms(5, SMALL, vessels=True, rng=7))
    np.testing.assert_array_equal(again.vessels, next(phantoms(1, SMALL, vessels=True, rng=7)).vessels)


@pytest.mark.slow
def test_five_vessels_pass_the_lesion_as_they_are_said_to():
    spacing = (0.8, 0.8, 2.0)
    for case in phantoms(
        4, (128, 128, 40), spacing=spacing, lesion_fraction=0.006, n_raters=1, n_members=1, vessels=True, rng=3
    ):
        assert case.vessels.dtype == np.uint8
        lesion = case.truth > 0.5
        degrees, width = {}, {}
        for label in range(1, 6):
            vessel = case.vessels == label
            assert vessel.any((0, 1)).all()  # through all slices
            assert all(label_parts(vessel[..., k])[1] == 1 for k in range(40))
            degrees[label] = vascular_contact(lesion, vessel, affine=np.diag([*spacing, 1]))["axial"]
            width[label] = 2 * np.sqrt(np.median(vessel.sum((0, 1))) * 0.64 / np.pi)
        assert 40 < degrees[1] < 150
        assert 120 < degrees[2] < 230
        assert degrees[3] == degrees[4] == 0
        assert degrees[5] == 360
        assert 8 < width[1] < 16
        assert 7 < width[2] < 13
        assert 14 < width[3] < 26
        assert 5 < width[4] < 9
        assert 5 < width[5] < 9


def test_vessels_are_drawn_in_any_volume():
    for shape in ((1, 1, 1), (32, 32, 1), (8, 8, 4)):
        for case in phantoms(2, shape, vessels=True, empty_fraction=0.5, rng=0):
            assert case.vessels.shape == shape
            assert case.vessels.max() <= 5


def test_a_generator_is_a_seed_too_and_moves_on():
    rng = np.random.default_rng(0)
    first, second = next(phantoms(1, SMALL, rng=rng)), next(phantoms(1, SMALL, rng=rng))
    assert_same(first, next(phantoms(1, SMALL, rng=np.random.default_rng(0))))
    assert not np.array_equal(first.image, second.image)


def test_without_a_seed_phantoms_differ_and_the_global_state_is_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, other = next(phantoms(1, SMALL)), next(phantoms(1, SMALL))
    assert not np.array_equal(one.image, other.image)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_a_case_does_not_depend_on_how_many_are_asked_for():
    for one, other in zip(phantoms(2, SMALL, rng=3), phantoms(5, SMALL, rng=3), strict=False):
        assert_same(one, other)


def test_the_segmenters_settings_change_neither_image_nor_raters():
    one = next(phantoms(1, SMALL, rng=1))
    other = next(phantoms(1, SMALL, rng=1, overconfidence=1, bias=-1, noise=0, n_members=1))
    assert_same(replace(one, members=other.members), other)


def test_arrays_have_the_promised_shapes_and_types_and_are_read_only():
    case = next(phantoms(1, (20, 30, 10), n_raters=4, n_members=2, spacing=(0.8, 0.8, 3), rng=0))
    assert case.raters.shape == (4, 20, 30, 10)
    assert case.members.shape == (2, 20, 30, 10)
    assert case.image.shape == case.truth.shape == case.roi.shape == (20, 30, 10)
    dtypes = {name: str(getattr(case, name).dtype) for name in ARRAYS}
    assert dtypes == {"image": "float32", "raters": "uint8", "members": "float32", "truth": "float32", "roi": "bool"}
    assert case.rater_names == ("1", "2", "3", "4")
    assert case.spacing == (0.8, 0.8, 3.0)
    assert not any(getattr(case, name).flags.writeable for name in ARRAYS)


@pytest.mark.slow
def test_values_are_plausible():
    for case in phantoms(4, rng=0):
        assert set(np.unique(case.raters)) <= {0, 1}
        assert -1024 <= case.image.min() < 0 < case.image.max() < 1000
        np.testing.assert_array_equal(case.image, np.rint(case.image))
        assert 0 <= case.truth.min() <= case.truth.max() <= 1
        assert 0.05 < case.roi.mean() < 0.5
        assert case.truth[~case.roi].max() <= 1e-6
        lesion = case.truth > 0.9
        assert case.image[lesion].mean() < case.image[case.roi & (case.truth < 0.01)].mean() - 15


@pytest.mark.slow
def test_raters_draw_coherent_masks_that_disagree():
    cases = list(phantoms(8, rng=0, miss_rate=0))
    dices = [mean_pairwise_dice(case.raters) for case in cases]
    assert 0.65 < np.mean(dices) < 0.85
    for case in cases:
        for mask in case.raters:  # nearly all of a mask lies inside it: no salt and pepper
            inner = sum(np.roll(mask, shift, axis) for axis in (0, 1) for shift in (-1, 1))[mask == 1]
            assert (inner >= 2).mean() > 0.97


@pytest.mark.slow
def test_disagreement_scales_how_far_raters_differ():
    dices = [
        np.mean([mean_pairwise_dice(c.raters) for c in phantoms(4, rng=0, miss_rate=0, disagreement=d)])
        for d in (0.2, 1, 2)
    ]
    assert dices[0] > 0.9 > dices[1] > dices[2] + 0.05


@pytest.mark.slow
def test_raters_keep_their_habits_across_cases():
    volumes = np.array([c.raters.sum((1, 2, 3)) / c.truth.sum() for c in phantoms(60, SMALL, rng=2, miss_rate=0)])
    between, within = volumes.mean(0).std(), volumes.std(0).mean() / np.sqrt(60)
    assert between > 4 * within


@pytest.mark.slow
@pytest.mark.parametrize("miss_rate", [0.0, 0.3])
def test_truth_is_the_mean_response_of_many_raters(miss_rate):
    n_raters = 400
    for case in phantoms(3, SMALL, n_raters=n_raters, n_members=1, lesion_fraction=0.03, miss_rate=miss_rate, rng=0):
        truth = case.truth.astype(np.float64)
        error = case.raters.mean(0) - truth
        deviation = np.sqrt(truth * (1 - truth) / n_raters)
        middle = (truth > 0.05) & (truth < 0.95)  # where the normal approximation holds
        z = error[middle] / deviation[middle]
        assert np.abs(z).max() < 4.5
        assert 0.5 < np.sqrt(np.mean(z**2)) < 1.3
        np.testing.assert_allclose(error[~middle], 0, atol=0.05)


@pytest.mark.slow
def test_truth_is_calibrated_for_a_small_panel_over_many_cases():
    cases = list(phantoms(120, SMALL, n_members=1, lesion_fraction=0.03, miss_rate=0.2, rng=1))
    truth = np.stack([c.truth for c in cases])
    response = np.stack([c.raters.mean(0) for c in cases])
    for low in np.arange(0.05, 0.95, 0.1):
        chosen = (truth >= low) & (truth < low + 0.1)
        assert response[chosen].mean() == pytest.approx(truth[chosen].mean(), abs=0.03)


@pytest.mark.slow
def test_only_small_lesions_are_overlooked_and_then_the_mask_is_empty():
    cases = list(phantoms(60, SMALL, n_members=1, lesion_fraction=0.03, miss_rate=0.4, rng=0))
    seen = np.array([c.raters.any((1, 2, 3)).mean() for c in cases])
    small = np.array([c.truth.max() < 0.7 for c in cases])
    assert 20 < small.sum() < 55
    assert seen[small].mean() == pytest.approx(0.6, abs=0.12)
    assert (seen[~small] == 1).all()
    assert cases[int(np.flatnonzero(small)[0])].truth.max() <= np.float32(0.6)


@pytest.mark.slow
def test_the_mean_lesion_fills_its_fraction():
    fractions = [c.truth.mean() for c in phantoms(200, (20, 20, 8), lesion_fraction=0.05, miss_rate=0, rng=0)]
    assert np.mean(fractions) == pytest.approx(0.05, rel=0.15)
    assert np.std(np.log(fractions)) > 0.3


@pytest.mark.slow
def test_an_honest_segmenter_answers_the_truth():
    for case in phantoms(3, rng=0, overconfidence=1, bias=0, noise=0, miss_rate=0):
        np.testing.assert_allclose(case.members, np.broadcast_to(case.truth, case.members.shape), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overconfidence", "bias", "noise", "slack"),
    [(2.5, 0.5, 0.5, 0.12), (2.5, 0.5, 0.0, 0.005), (1.5, -0.5, 0.0, 0.005)],
)
def test_segmenters_are_overconfident_and_biased_as_asked(overconfidence, bias, noise, slack):
    cases = list(phantoms(6, rng=0, miss_rate=0, overconfidence=overconfidence, bias=bias, noise=noise))
    members = np.concatenate([c.members[k].ravel() for c in cases for k in range(3)])
    truth = np.concatenate([c.truth.ravel() for c in cases for _ in range(3)])
    slope, intercept = logistic_fit(members, truth)
    assert 1 / slope == pytest.approx(overconfidence, rel=slack)
    assert -intercept / slope == pytest.approx(bias, abs=3 * slack)


@pytest.mark.slow
def test_segmenters_saturate_as_real_ones_do():
    for case in phantoms(6, rng=0):
        background = case.members[:, case.truth < 1e-3]
        assert (background < 1e-4).mean() > 0.9
        assert (background == 0).mean() > 0.5
        assert ((case.members > 0) & (case.members < 1)).any()
        assert not np.array_equal(case.members[0], case.members[1])
    assert any((case.members == 1).any() for case in phantoms(6, rng=0))


@pytest.mark.slow
def test_cases_without_a_lesion_are_spread_evenly_and_doubtful_only_to_segmenters():
    cases = list(phantoms(8, rng=0, empty_fraction=0.25))
    empty = [not case.truth.any() for case in cases]
    assert empty == [False, False, False, True] * 2
    for case in itertools.compress(cases, empty):
        assert not case.raters.any()
        assert 0.1 < case.members.max() < 0.95
    for one, other in zip(cases[:3], phantoms(3, rng=0), strict=True):
        assert_same(one, other)


@pytest.mark.slow
def test_consecutive_cases_share_a_patient():
    groups = [case.group for case in phantoms(5, SMALL, cases_per_group=2, rng=0)]
    assert groups == ["patient001"] * 2 + ["patient002"] * 2 + ["patient003"]

    sizes = np.log([c.truth.mean() for c in phantoms(120, (16, 16, 8), cases_per_group=2, lesion_fraction=0.05, rng=0)])
    assert 0.25 < np.corrcoef(sizes[::2], sizes[1::2])[0, 1] < 0.75


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((32, 32, 1), {"lesion_fraction": 0.05}),
        ((1, 1, 1), {"n_raters": 1, "n_members": 1}),
        ((16, 16, 8), {"lesion_fraction": 0.2, "disagreement": 10.0, "noise": 3.0}),
        ((16, 16, 8), {"lesion_fraction": 1e-9, "disagreement": 1e-6, "overconfidence": 1e3}),
        ((np.int64(16), 16, 8), {"spacing": np.array([0.3, 0.3, 9.0]), "noise": 0.0}),
    ],
)
def test_extreme_settings_still_give_numbers(shape, options):
    for case in phantoms(3, shape, rng=0, **options):
        assert all(np.isfinite(getattr(case, name)).all() for name in ARRAYS)
        assert case.raters.any() or options.get("n_raters") == 1 or case.truth.max() < 0.96


def test_written_files_read_back_to_the_bit(tmp_path):
    cases = list(phantoms(3, (16, 14, 6), spacing=(0.7, 0.8, 2.5), n_raters=2, n_members=2, cases_per_group=2, rng=0))
    manifest = write_dataset(tmp_path / "study", iter(cases))
    assert manifest == tmp_path / "study" / "manifest.csv"
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ["case", "group", "image", "roi", "prob_1", "prob_2", "annotation_1", "annotation_2"]
    assert [list(row) for row in rows] == [columns] * 3
    assert rows[0]["image"] == "images/case001.nii.gz"
    assert rows[1]["roi"] == "rois/case002.nii.gz"
    assert rows[1]["prob_2"] == "preds/case002_2.nii.gz"
    assert rows[2]["annotation_1"] == "labels/case003/annotation_1.nii.gz"
    for row, case in zip(rows, cases, strict=True):
        assert (row["case"], row["group"]) == (case.id, case.group)
        expected = [case.image, case.roi.astype(np.uint8), *case.members, *case.raters]
        for column, array in zip(columns[2:], expected, strict=True):
            image = nib.load(manifest.parent / row[column])
            stored = np.asanyarray(image.dataobj)
            assert stored.dtype == array.dtype
            np.testing.assert_array_equal(stored, array)
            np.testing.assert_allclose(image.header.get_zooms(), case.spacing, rtol=1e-6)
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
            assert image.header.get_xyzt_units()[0] == "mm"
            centre = image.affine @ [7.5, 6.5, 2.5, 1]
            np.testing.assert_allclose(centre, [0, 0, 0, 1], atol=1e-5)
    assert not list(manifest.parent.rglob(".*"))


def test_the_pdacvi_layout_is_written_with_predictions_beside_it(tmp_path):
    cases = list(phantoms(2, (20, 18, 7), spacing=(1.0, 1.5, 3.0), n_members=2, vessels=True, rng=0))
    training = write_curvas_pdacvi(tmp_path, iter(cases), coarse_mm=6.0)
    assert training == tmp_path / "training_set"
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    files = ["annotation_1", "annotation_2", "annotation_3", "annotation_4", "annotation_5", "annotation_staple"]
    names = ("CURVASPDAC_00001", "CURVASPDAC_00002")
    assert written == [
        *(f"coarse/{name}.nii.gz" for name in names),
        *(f"predictions/{name}_{k}.nii.gz" for name in names for k in (1, 2)),
        *(f"training_set/{name}/{file}.nii.gz" for name in names for file in [*files, "image", "vessels"]),
    ]
    for name, case in zip(names, cases, strict=True):
        folder = training / name
        consensus = (case.raters.sum(0) >= 3).astype(np.uint8)
        expected = {
            folder / "image.nii.gz": case.image,
            folder / "vessels.nii.gz": case.vessels,
            folder / "annotation_staple.nii.gz": consensus,
            **{folder / f"annotation_{k}.nii.gz": mask for k, mask in enumerate(case.raters, start=1)},
            **{tmp_path / f"predictions/{name}_{k}.nii.gz": p for k, p in enumerate(case.members, start=1)},
        }
        for path, array in expected.items():
            image = nib.load(path)
            stored = np.asanyarray(image.dataobj)
            assert stored.dtype == array.dtype
            np.testing.assert_array_equal(stored, array)
            np.testing.assert_allclose(image.header.get_zooms(), case.spacing, rtol=1e-6)


def test_the_coarse_mask_is_the_majority_in_blocks_of_the_asked_size(tmp_path):
    case = next(phantoms(1, (20, 18, 7), spacing=(1.0, 1.5, 3.0), n_members=1, rng=0))
    write_curvas_pdacvi(tmp_path, [case], coarse_mm=6.0)
    coarse = np.asanyarray(nib.load(tmp_path / "coarse" / "CURVASPDAC_00001.nii.gz").dataobj)
    assert coarse.dtype == np.uint8
    by_hand = np.zeros_like(coarse)
    for x, y, z in itertools.product(range(0, 20, 6), range(0, 18, 4), range(0, 7, 2)):
        block = np.s_[x : x + 6, y : y + 4, z : z + 2]
        by_hand[block] = case.roi[block].mean() >= 0.5
    np.testing.assert_array_equal(coarse, by_hand)
    assert 0 < coarse.mean() < 1
    assert not np.array_equal(coarse, case.roi)


def test_without_vessels_no_vessel_file_is_written(tmp_path):
    folder = write_curvas_pdacvi(tmp_path, phantoms(1, (8, 8, 4), n_members=1, rng=0))
    assert not list(folder.rglob("*vessel*"))


def test_what_the_pdacvi_layout_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one phantom"):
        write_curvas_pdacvi(tmp_path / "none", [])
    with pytest.raises(ValueError, match=r"has 5 raters; phantom 'case001' has 3"):
        write_curvas_pdacvi(tmp_path / "three", phantoms(1, (8, 8, 4), n_raters=3, rng=0))
    with pytest.raises(ValueError, match=r"coarse_mm must be a positive, finite number; got 0"):
        write_curvas_pdacvi(tmp_path, phantoms(1, (8, 8, 4), rng=0), coarse_mm=0)
    write_curvas_pdacvi(tmp_path, phantoms(1, (8, 8, 4), rng=0))
    with pytest.raises(ValueError, match="training_set holds files, which would count as cases"):
        write_curvas_pdacvi(tmp_path, phantoms(1, (8, 8, 4), rng=0))


def test_writing_twice_gives_the_same_bytes(tmp_path):
    def contents():
        write_dataset(tmp_path, phantoms(1, (8, 8, 4), rng=0))
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert contents() == contents()


def test_data_sets_that_contradict_themselves_are_refused(tmp_path):
    case = next(phantoms(1, (8, 8, 4), rng=0))
    with pytest.raises(ValueError, match="at least one phantom"):
        write_dataset(tmp_path, [])
    with pytest.raises(ValueError, match="Two phantoms have the id 'case001'"):
        write_dataset(tmp_path, [case, case])
    with pytest.raises(ValueError, match=r"share their raters and members; 'other'"):
        write_dataset(tmp_path, [case, replace(case, id="other", members=case.members[:1])])
    assert not (tmp_path / "manifest.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_cases": 0}, r"n_cases must be at least 1; got 0"),
        ({"n_raters": 0}, r"n_raters must be at least 1"),
        ({"n_members": -1}, r"n_members must be at least 1; got -1"),
        ({"cases_per_group": 0}, r"cases_per_group must be at least 1"),
        ({"shape": (64, 64)}, r"shape must have three numbers"),
        ({"shape": 64}, r"shape must have three numbers"),
        ({"shape": (64, 0, 24)}, r"shape\[1\] must be at least 1"),
        ({"spacing": (1, 1)}, r"spacing must have three numbers"),
        ({"spacing": (1, 1, 0)}, r"spacing\[2\] must be a positive, finite number; got 0"),
        ({"lesion_fraction": 0.0}, r"lesion_fraction must be in \(0, 0.2\]; got 0.0"),
        ({"lesion_fraction": 0.5}, r"lesion_fraction must be in \(0, 0.2\]"),
        ({"disagreement": 0.0}, r"disagreement must be a positive"),
        ({"overconfidence": float("nan")}, r"overconfidence must be a positive"),
        ({"miss_rate": 1.0}, r"miss_rate must be in \[0, 1\)"),
        ({"empty_fraction": 1.1}, r"empty_fraction must be in \[0, 1\]"),
        ({"noise": -0.1}, r"noise must be a finite number, not negative"),
        ({"bias": float("inf")}, r"bias must be a finite number"),
        ({"rng": -1}, r"rng must be a seed of at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused_at_the_call(options, message):
    with pytest.raises(ValueError, match=message):
        phantoms(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_cases": 2.5}, r"n_cases must be an integer; got 2.5"),
        ({"shape": (64, 64, 2.5)}, r"shape\[2\] must be an integer"),
        ({"rng": "seed"}, r"rng must be a seed .* got str"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused_at_the_call(options, message):
    with pytest.raises(TypeError, match=message):
        phantoms(**options)


def test_importing_the_room_imports_neither_scipy_nor_nibabel():
    code = (
        "import sys, mrcalib; before = set(sys.modules)\n"
        "import mrcalib.simulate\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "assert not new & {'scipy', 'nibabel', 'matplotlib'}, new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
