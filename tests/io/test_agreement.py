import numpy as np
import pytest

from mrcalib.exceptions import GeometryError
from mrcalib.io import Case, LoadOptions, read_manifest
from mrcalib.io.agreement import require_agreement

NAMES = ["rater 'a'", "rater 'b'", "rater 'c'", "rater 'd'"]


def lesion(*, seed: int = 0) -> np.ndarray:
    """An asymmetric blob off the centre, with a ragged edge that differs by seed."""
    mask = np.zeros((30, 24, 10), np.uint8)
    mask[4:12, 3:8, 2:6] = 1
    mask[4:7, 3:14, 2:5] = 1
    edge = np.random.default_rng(seed).random(mask.shape) < 0.05
    return mask & ~edge


def test_raters_who_agree_pass():
    require_agreement([lesion(seed=i) for i in range(4)], NAMES)


@pytest.mark.parametrize(
    ("axes", "words"), [((0,), "axis 0"), ((0, 1), "axes 0 and 1"), ((0, 1, 2), "axes 0 and 1 and 2")]
)
def test_of_three_raters_the_flipped_one_is_named_with_its_axes(axes, words):
    flipped = np.flip(lesion(seed=1), axes)
    with pytest.raises(GeometryError, match=rf"^rater 'b' agrees .*Dice 0\.\d\d as stored.*after flipping {words},"):
        require_agreement([lesion(), flipped, lesion(seed=2)], NAMES)


def test_of_two_raters_both_are_named():
    with pytest.raises(GeometryError, match=r"rater 'a' or rater 'b' agrees"):
        require_agreement([lesion(), lesion(seed=1)[::-1]], NAMES)


def test_two_against_two_names_all_four():
    with pytest.raises(GeometryError, match="rater 'a' or rater 'b' or rater 'c' or rater 'd'"):
        require_agreement([lesion(), lesion(seed=1), lesion(seed=2)[::-1], lesion(seed=3)[::-1]], NAMES)


@pytest.mark.parametrize("offset", [(12, 0, 0), (-4, 10, 0)])
def test_a_shifted_rater_is_named_with_voxels_and_mm(offset):
    masks = [lesion(seed=0), lesion(seed=1), np.roll(lesion(seed=2), offset, (0, 1, 2))]
    with pytest.raises(GeometryError, match=r"^rater 'c' .*shifting it by \(-?\d+, -?\d+, 0\) voxels \(\d+\.\d mm\)"):
        require_agreement(masks, NAMES, (0.5, 0.5, 2.0))
    with pytest.raises(GeometryError, match="voxels, although"):
        require_agreement(masks, NAMES)


def test_honest_disagreement_on_the_extent_passes():
    small = lesion()
    small[:, 6:] = 0
    small[8:] = 0
    require_agreement([lesion(), small], NAMES)


def test_two_different_lesions_of_different_shape_pass():
    other = np.zeros_like(lesion())
    other[20:28, 15:23, 1:3] = 1
    require_agreement([lesion(), other], NAMES)


def test_missing_empty_and_tiny_masks_take_no_part():
    speck = np.zeros_like(lesion())
    speck[25, 20, 8] = 1
    require_agreement([None, np.zeros_like(speck), speck, lesion()], NAMES)
    require_agreement([speck, speck[::-1]], NAMES)


def test_no_rater_at_all_passes():
    require_agreement([], [])
    require_agreement([None], NAMES)


def test_a_single_slice_is_not_flipped_along_its_thickness():
    with pytest.raises(GeometryError, match="axis 0"):
        require_agreement([lesion()[:, :, 3:4], lesion()[::-1, :, 3:4]], NAMES)


def test_a_plain_image_works_too():
    with pytest.raises(GeometryError, match="axis 1"):
        require_agreement([lesion()[..., 3], lesion()[:, ::-1, 3]], NAMES)


def test_the_real_flipped_rater_is_caught(shared):
    seg = {str(k): shared / "wrong_orientation" / f"seg_{k}.nii.gz" for k in (1, 2, 3)}
    case = Case("liver", np.zeros((72, 256, 256), np.float32), seg)
    with pytest.raises(GeometryError, match=r"Case 'liver': rater '2' \(.*seg_2.*Dice 0.09.*flipping axes 0 and 1"):
        case.load()
    assert case.load(options=LoadOptions(check_agreement=False)).raters[1].any()


@pytest.mark.slow
def test_no_real_nodule_raises_a_false_alarm(shared):
    cases = read_manifest(shared / "lidc_cases" / "cases.csv", probs="prob_[0-9]")
    assert len(cases) == 170
    for case in cases:
        loaded = case.load()
        assert loaded.rater_names == ("1", "2", "3", "4")
        assert loaded.probs.shape == loaded.raters[0].shape == loaded.geometry.shape
