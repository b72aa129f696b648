"""Which axis counts what: shapes that hold one image, and shapes that may hold several and are refused with the way out.

For every rule both sides are here: the arrays that it is made for, and ordinary ones that it must let pass.
"""

import numpy as np
import pytest

from mrcalib import MHRIsotonicCalibrator, metrics, tally
from mrcalib.inputs import check_voxels, refuse_classes, split_raters

RNG = np.random.default_rng(1)


def image(*shape):
    return RNG.random(shape).astype(np.float32)


def masks(*shape):
    return RNG.integers(0, 2, shape, dtype=np.uint8)


def softmax(n_classes, *shape, axis=0, dtype=np.float32):
    scores = np.exp(2 * RNG.normal(size=(n_classes, *shape)))
    return np.moveaxis(scores / scores.sum(axis=0), 0, axis).astype(dtype)


# classes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize(
    ("n_classes", "shape"), [(2, (9, 8, 7)), (4, (9, 8, 7)), (117, (3, 4, 5)), (2, (40, 30)), (2, (50,))]
)
def test_channels_that_sum_to_1_are_not_taken_for_an_image(n_classes, shape, axis, dtype):
    probs = softmax(n_classes, *shape, axis=axis, dtype=dtype)
    channel = r"probs\[1\]" if axis == 0 else r"probs\[\.\.\., 1\]"
    for call in (tally, MHRIsotonicCalibrator().fit, metrics.multirater_ece):
        with pytest.raises(ValueError, match=rf"hold {n_classes} classes.* {channel}; .* OneVsRestCalibrator"):
            call(probs, masks(2, *probs.shape))
        with pytest.raises(ValueError, match=f"hold {n_classes} classes"):
            call(probs, [masks(*probs.shape)])


def test_voxels_without_a_value_do_not_hide_that_channels_sum_to_1():
    probs = softmax(2, 9, 8)
    probs[:, 4:6] = np.nan
    with pytest.raises(ValueError, match="hold 2 classes"):
        refuse_classes(probs)


@pytest.mark.parametrize(
    "probs",
    [
        image(50),
        image(50, 1),
        image(2, 50),
        image(50, 2),
        image(2, 9, 8),
        image(9, 8, 7),
        np.full((2, 9, 8), 0.5),  # a constant image
        np.zeros((2, 9, 8)),
        np.array([[0.25, 0.75], [0.75, 0.25]]),  # too small to tell
        np.full((2, 9, 8), np.nan),
        np.empty((2, 0)),
        softmax(2, 9, 8) * (image(9, 8) > 0.1),  # sums to 1 at most voxels only
        softmax(300, 4),
    ],
)
def test_images_are_not_taken_for_channels(probs):
    refuse_classes(probs)


# probabilities and raters of one shape -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [(3, 24, 20, 10), (24, 20, 10, 3), (40, 24, 20, 10), (3, 24, 20), (5, 16, 16), (10, 512, 512), (3, 1000), (2, 32)],
)
def test_one_shape_that_may_hold_members_or_cases_asks_for_a_list_or_an_axis(shape):
    probs, stack = image(*shape), masks(*shape)
    for call in (tally, MHRIsotonicCalibrator().fit, metrics.multirater_ece):
        with pytest.raises(ValueError, match=r"pass \[mask\] as raters.* rater_axis=0.* cases, pass lists"):
            call(probs, stack)
    assert check_voxels(probs, [stack]).n_raters == 1
    with pytest.raises(ValueError, match="With rater_axis=0 each mask has the shape"):
        tally(probs, stack, rater_axis=0)


@pytest.mark.parametrize(
    "shape",
    [
        *[
            (1,),
            (50,),
            (50, 1),
            (50, 2),
            (512, 400),
            (30, 40),
            (8, 8),
            (64, 48, 20),
            (12, 256, 256),
            (64, 48, 3),
            (2, 3, 4),
        ],
        *[(1, 24, 20, 10), (24, 20, 10, 1), (8, 4, 4)],
    ],
)
def test_one_mask_of_an_ordinary_image_is_one_rater(shape):
    probs, mask = image(*shape), masks(*shape)
    assert tally(probs, mask) == tally(probs, [mask])


def test_a_list_of_masks_is_never_stacked_to_the_shape_of_probs():
    probs, stack = image(3, 24, 20, 10), masks(3, 24, 20, 10)
    with pytest.raises(ValueError, match=r"probs have one axis more.* the foreground channel, or the mean"):
        tally(probs, list(stack))
    with pytest.raises(ValueError, match=r"Each mask must have the shape of probs, \(3, 4\); rater 0 has \(5, 6\)"):
        tally(image(3, 4), list(masks(2, 5, 6)))


def test_an_averaged_target_of_such_a_shape_is_one_target():
    probs = image(3, 24, 20)
    assert MHRIsotonicCalibrator().fit(probs, probs**2, soft=True).n_voxels_ == probs.size


# stacks ------------------------------------------------------------------------------------------------------------------


def test_as_many_cases_as_raters_ask_which_axis_counts_which():
    probs, stack = image(3, 24, 20, 10), masks(3, 3, 24, 20, 10)
    with pytest.raises(ValueError, match="pass rater_axis=0 or rater_axis=1"):
        tally(probs, stack)
    assert tally(probs, stack, rater_axis=1) == tally(probs, stack.swapaxes(0, 1), rater_axis=0)
    assert tally(probs, stack, rater_axis=0) != tally(probs, stack, rater_axis=1)


def test_raters_on_the_second_axis_are_named_and_not_guessed():
    probs, stack = image(4, 24, 20), masks(4, 3, 24, 20)
    with pytest.raises(ValueError, match="raters on the second axis; pass rater_axis=1"):
        tally(probs, stack)
    assert tally(probs, stack, rater_axis=1) == tally(probs, stack.swapaxes(0, 1))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 4, 5), (7, 1), (24, 20, 10)])
def test_raters_first_and_last_are_the_same(shape):
    probs, stack = image(*shape), masks(2, *shape)
    assert tally(probs, stack) == tally(probs, np.moveaxis(stack, 0, -1)) == tally(probs, list(stack))


def test_as_many_raters_as_voxels_ask_for_the_axis():
    with pytest.raises(ValueError, match="pass rater_axis=0 or rater_axis=-1"):
        tally(image(3), masks(3, 3))


@pytest.mark.parametrize("axis", [2, -3, True, 0.0])
def test_an_axis_that_is_none_is_refused(axis):
    with pytest.raises(ValueError, match="rater_axis must be an axis of raters"):
        tally(image(4), masks(3, 4), rater_axis=axis)


# masks without probabilities ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3, 24, 20, 10), 0),
        ((4, 512, 512, 20), 0),
        ((3, 8, 8), 0),
        ((1, 5), 0),
        ((1, 1), 0),
        ((30, 512, 512), 0),
        ((512, 512, 20, 4), -1),
        ((64, 48, 3), -1),
        ((1000, 10), -1),
    ],
)
def test_without_probabilities_the_shorter_end_counts_raters(shape, axis):
    assert len(split_raters(masks(*shape), None)) == shape[axis]
    np.testing.assert_array_equal(split_raters(stack := masks(*shape), None), np.moveaxis(stack, axis, 0))


@pytest.mark.parametrize("shape", [(24, 20, 10, 3), (7, 64, 64, 5), (3, 3), (5, 2)])
def test_without_probabilities_two_short_ends_ask_for_the_axis(shape):
    stack = masks(*shape)
    with pytest.raises(ValueError, match="may have raters first or last; pass rater_axis=0 or rater_axis=-1"):
        split_raters(stack, None)
    for axis in (0, -1):
        assert len(split_raters(stack, None, axis)) == shape[axis]


@pytest.mark.parametrize("shape", [(512, 512), (512, 512, 20)])
def test_without_probabilities_one_mask_is_not_taken_for_raters(shape):
    with pytest.raises(ValueError, match=r"rater_axis=-1 if raters are last, or \[mask\] if this is one mask"):
        split_raters(masks(*shape), None)


def test_a_list_is_one_mask_a_rater_whatever_its_shape():
    assert len(split_raters([[0, 1, 1], [0, 0, 1], [0, 0, 1]], None)) == 3
    assert len(split_raters(list(masks(24, 20, 10, 3)), None)) == 24
    assert len(split_raters({"ann": masks(5, 4), "bo": None}, None)) == 2


@pytest.mark.parametrize("arguments", [(), ("rater_axis",)])
def test_the_axis_is_advised_only_where_it_is_an_argument(arguments):
    for probs, raters in (
        (image(3), masks(3, 3)),
        (image(3, 24, 20), masks(3, 3, 24, 20)),
        (image(3, 24, 20), masks(3, 24, 20)),
    ):
        with pytest.raises(ValueError, match=r"rater_axis=0|a list of masks") as caught:
            split_raters(raters, probs, arguments=arguments)
        assert ("rater_axis" in str(caught.value)) == bool(arguments)
