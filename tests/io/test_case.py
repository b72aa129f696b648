import numpy as np
import pytest

from mrcalib.exceptions import GeometryError
from mrcalib.io import Case, LoadOptions

PROBS = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
MASK = (PROBS > 0.5).astype(np.uint8)


def shifted(mm: float) -> np.ndarray:
    affine = np.eye(4)
    affine[0, 3] = mm
    return affine


def test_arrays_come_back_as_they_are():
    loaded = Case("A", PROBS, [MASK, None], group="P", spacing=(1, 1, 2)).load()
    assert (loaded.id, loaded.group, loaded.rater_names) == ("A", "P", ("1", "2"))
    np.testing.assert_array_equal(loaded.probs, PROBS)
    np.testing.assert_array_equal(loaded.raters[0], MASK)
    assert loaded.raters[1] is None
    assert loaded.geometry is None
    assert loaded.voxel_volume_ml == pytest.approx(0.002)


def test_a_stack_is_raters_first():
    assert Case("A", PROBS, np.stack([MASK, MASK, 1 - MASK])).rater_names == ("1", "2", "3")


def test_the_group_defaults_to_the_case():
    assert Case("A", PROBS, [MASK]).group == "A"


def test_a_case_may_have_no_rater():
    assert Case("A", PROBS, {}).load().raters == ()


def test_files_give_the_geometry(save):
    case = Case(
        "A", save("p.nii.gz", PROBS, np.diag([0.5, 0.5, 2, 1])), [save("m.nii", MASK, np.diag([0.5, 0.5, 2, 1]))]
    )
    loaded = case.load()
    assert loaded.spacing == (0.5, 0.5, 2.0)
    assert loaded.voxel_volume_ml == pytest.approx(0.0005)
    assert loaded.probs.dtype == np.float32


def test_double_precision_is_kept_for_one_source_and_pooled_to_single():
    double = PROBS.astype(np.float64)
    assert Case("A", double, []).load().probs.dtype == np.float64
    assert Case("A", (double, double), []).load().probs.dtype == np.float32


def test_half_precision_arrays_become_single():
    assert Case("A", PROBS.astype(np.float16), []).load().probs.dtype == np.float32


def test_members_are_pooled_as_the_options_say():
    case = Case("A", (np.array([[0.2]]), np.array([[0.6]])), [])
    assert case.load().probs == pytest.approx(np.array([[0.4]]))
    assert case.load(options=LoadOptions(pooling="logit-mean")).probs == pytest.approx(0.3797959)


def test_an_empty_mask_is_not_missing(save):
    loaded = Case("A", PROBS, {"x": np.zeros_like(MASK), "y": None}).load()
    assert loaded.raters[0].sum() == 0
    assert loaded.raters[1] is None


def test_the_region_of_interest_and_the_vessels_are_read(save):
    loaded = Case("A", PROBS, [MASK], roi=save("r.nii", MASK * 2), vessels=save("v.nii", MASK * 5)).load()
    np.testing.assert_array_equal(loaded.roi, MASK > 0)
    assert loaded.vessels.max() == 5


def test_plain_images_have_no_volume_without_a_thickness():
    loaded = Case("A", PROBS[..., 0], [MASK[..., 0]], spacing=(0.5, 0.5)).load()
    assert loaded.spacing == (0.5, 0.5)
    assert loaded.voxel_volume_ml is None


def test_arrays_beside_files_are_compared_by_shape(save):
    loaded = Case("A", PROBS, [MASK, save("m.nii", MASK, shifted(7))]).load()
    assert loaded.geometry.affine[0, 3] == 7


@pytest.mark.parametrize("mm", [4.0, -4.0])
def test_a_shifted_rater_is_refused_with_case_file_and_distance(save, mm):
    case = Case("X", save("p.nii.gz", PROBS), {"1": None, "2": save("m2.nii.gz", MASK, shifted(mm))})
    words = r"rater '2' \(.*m2\.nii\.gz\) of case 'X' differs from the probabilities \(.*p\.nii\.gz\) by up to 4 mm"
    with pytest.raises(GeometryError, match=words + r" \(shifted by 4\.0 mm along x\)"):
        case.load()


def test_a_flipped_header_is_refused_as_such(save):
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 2
    with pytest.raises(GeometryError, match=r"\(axis x flipped\)"):
        Case("X", save("p.nii", PROBS), [save("m.nii", MASK, flipped)]).load()


def test_members_on_other_voxels_are_refused(save):
    with pytest.raises(GeometryError, match=r"probability member 2 .* of case 'X' differs from probability member 1"):
        Case("X", (save("p1.nii", PROBS), save("p2.nii", PROBS, shifted(1))), []).load()


def test_a_region_of_interest_on_other_voxels_is_refused(save):
    with pytest.raises(GeometryError, match=r"the ROI .* of case 'X' differs"):
        Case("X", save("p.nii", PROBS), [], roi=save("r.nii", MASK, shifted(1))).load()


def test_another_shape_is_refused():
    with pytest.raises(GeometryError, match=r"rater '1' \(array\) of case 'X' has shape 3 x 4, but .* 3 x 4 x 5"):
        Case("X", PROBS, [MASK[..., 0]]).load()


def test_a_missing_file_names_the_case_and_the_rater(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Case 'X', rater 'ann' .*gone\.nii does not exist"):
        Case("X", PROBS, {"ann": tmp_path / "gone.nii"}).load()


def test_missing_probabilities_name_the_case(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Case 'X', the probabilities: .*gone\.nii"):
        Case("X", tmp_path / "gone.nii", []).load()


def test_other_labels_name_the_case_and_the_file(save):
    case = Case("X", PROBS, [save("m.nii", MASK * 2)])
    with pytest.raises(ValueError, match=r"Case 'X', rater '1' \(.*m\.nii\): it holds the labels 0, 2"):
        case.load()
    np.testing.assert_array_equal(case.load(options=LoadOptions(positive=(2,))).raters[0], MASK)


def test_nan_in_a_rater_file_names_it(save):
    broken = MASK.astype(np.float32)
    broken[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"Case 'X', rater '1' \(.*m\.nii\): it holds 1 NaN"):
        Case("X", PROBS, [save("m.nii", broken)]).load()


def test_integer_arrays_are_no_probabilities():
    with pytest.raises(ValueError, match=r"Case 'X', the probabilities: the array holds uint8 values"):
        Case("X", MASK, [MASK]).load()


def test_probabilities_out_of_range_are_left_to_the_tally():
    assert Case("A", PROBS * 2, [MASK]).load().probs.max() == 2.0


def test_a_spacing_that_contradicts_the_header_is_refused(save):
    with pytest.raises(
        GeometryError, match=r"spacing of case 'X' is given as \(2\.0, 1\.0, 1\.0\) mm, but its files say"
    ):
        Case("X", save("p.nii", PROBS), [], spacing=(2, 1, 1)).load()


def test_a_spacing_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="must have 3 numbers"):
        Case("X", PROBS, [], spacing=(1, 1)).load()


def test_malformed_cases_are_refused_at_once():
    with pytest.raises(ValueError, match="needs a name"):
        Case("", PROBS, [MASK])
    with pytest.raises(ValueError, match="at least one source"):
        Case("X", (), [MASK])
    with pytest.raises(TypeError, match="got the single path"):
        Case("X", PROBS, "mask.nii")
    with pytest.raises(ValueError, match="must be positive and finite, in mm"):
        Case("X", PROBS, [MASK], spacing=(1, 0, 1))


def test_malformed_options_are_refused_at_once():
    with pytest.raises(ValueError, match="must be 'mean' or 'logit-mean'; got 'median'"):
        LoadOptions(pooling="median")
    with pytest.raises(ValueError, match="positive must be whole numbers"):
        LoadOptions(positive=())
    with pytest.raises(ValueError, match="foreground must be whole numbers"):
        LoadOptions(foreground=())
