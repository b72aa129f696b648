"""Every refusal that arrays can reach: the call, the exception, and the words by which a user finds the way out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from mrcalib import (
    HardLabelCalibrator,
    HistogramBinningCalibrator,
    MHRIsotonicCalibrator,
    SingleRaterCalibrator,
    TemperatureScalingCalibrator,
)
from mrcalib.cohort import Cohort
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import voxel_responses
from mrcalib.maps import BetaMap, LogitMap, PiecewiseLinearMap, StepMap, map_from_dict, mean_of_maps
from mrcalib.resampling import splits
from mrcalib.tallies import tally

P = np.array([0.1, 0.4, 0.6, 0.9])
M = np.array([0, 0, 1, 1], np.uint8)
STACK = np.stack([M, M, 1 - M])
VOLUME = np.full((2, 3, 4), 0.5)
LABELS = np.zeros((2, 3, 4), np.uint8)
SATURATED = np.clip(np.linspace(-2, 1, 3000), 0, 1)  # two thirds are exactly 0, as in most segmentations
ONE = tally(P, M)


def fit(probs, raters, **options):
    return MHRIsotonicCalibrator().fit(probs, raters, **options)


def with_value(value, dtype=np.float64):
    probs = P.astype(dtype)
    probs[2] = value
    return probs


def fitted():
    return fit(P, M)


def cohort(**options):
    return Cohort([tally(P, M), tally(P, 1 - M)], **options)


def all_missing():
    return np.full((2, 4), np.nan)


TABLE = {
    # shapes
    "wrong shape": (
        lambda: tally(P, M[:3]),
        ValueError,
        r"one mask of the shape of probs, (4,), or a stack .* got (3,)",
    ),
    "wrong volume": (
        lambda: tally(VOLUME, LABELS[0, :2], case="A7"),
        ValueError,
        r"(2, 3, 4), or a stack .* got (2, 4) of case 'A7'",
    ),
    "wrong stack": (lambda: tally(VOLUME, np.zeros((5, 2, 3, 3))), ValueError, r"raters first (R, *shape) or last"),
    "a ragged list": (
        lambda: tally(P, [M, M[:3]]),
        ValueError,
        r"Each mask must have the shape of probs, (4,); rater 1 has (3,)",
    ),
    "a ragged list with None": (
        lambda: tally(P, [M, None, M[:3]], case="A7"),
        ValueError,
        r"rater 2 of case 'A7' has (3,)",
    ),
    "ambiguous axis": (
        lambda: tally(P, np.eye(4)),
        ValueError,
        r"raters first and with raters last; pass rater_axis=0 or rater_axis=-1",
    ),
    "wrong axis": (
        lambda: tally(P, STACK, rater_axis=-1),
        ValueError,
        r"With rater_axis=-1 each mask has the shape (3,), but probs have (4,)",
    ),
    "no such axis": (
        lambda: tally(P, STACK, rater_axis=5),
        ValueError,
        r"rater_axis must be .* of shape (3, 4); got 5",
    ),
    "a number": (lambda: tally(0.5, 1), ValueError, r"probs must be an array of voxels; got a single number"),
    "too many raters": (lambda: tally(P, np.zeros((31, 4))), ValueError, r"At most 30 raters are supported; got 31"),
    "no raters": (lambda: tally(P, np.empty((0, 4))), ValueError, r"At least one rater"),
    "all raters missing": (
        lambda: tally(P, [None, None], case="A7"),
        ValueError,
        r"At least one rater must have annotated of case 'A7'; all 2 are missing (None)",
    ),
    # probabilities
    "nan": (
        lambda: tally(with_value(np.nan), M),
        ValueError,
        r"[0, 1]: 1 of 4 voxels are not, 1 of them NaN, .* mask them with roi=, or leave them out with invalid='drop'",
    ),
    "logits": (
        lambda: tally(P * 9 - 3, M, case="A7"),
        ValueError,
        r"(case 'A7'): 3 of 4 voxels are not.* between -2.1 and 5.1; if these are logits, pass scipy.special.expit(logits)",
    ),
    "infinite": (lambda: tally(with_value(np.inf), M), ValueError, r"1 of 4 voxels are not"),
    "huge": (lambda: tally(with_value(1e300), M), ValueError, r"1 of 4 voxels are not"),
    "just above 1": (
        lambda: tally(with_value(1 + 2e-7, np.float32), M),
        ValueError,
        r"looks like rounding: clip them with np.clip(probs, 0, 1)",
    ),
    "just below 0": (lambda: tally(with_value(-9e-6), M), ValueError, r"looks like rounding: clip"),
    "whole numbers": (
        lambda: tally((P * 255).astype(np.uint8), M),
        TypeError,
        r"got uint8. If they are stored as whole numbers, divide by the largest code (255 for uint8)",
    ),
    "text": (
        lambda: tally(np.array(["a"]), [1]),
        TypeError,
        r"probs must be an array of floating-point probabilities; got <U1",
    ),
    "complex": (lambda: tally(P.astype(complex), M), TypeError, r"got complex128"),
    "nan in rows": (
        lambda: voxel_responses(with_value(np.nan), M),
        ValueError,
        r"1 of 4 voxels are not, 1 of them NaN",
    ),
    # swapped
    "swapped masks": (
        lambda: tally(M, P),
        TypeError,
        r"if these are masks, the arguments are (probs, raters), in this order",
    ),
    "swapped bool": (lambda: fit(M.astype(bool), P), TypeError, r"got bool.* the arguments are (probs, raters)"),
    "swapped stack": (lambda: fit(STACK, P), TypeError, r"the arguments are (probs, raters)"),
    "swapped list": (lambda: tally(list(STACK), P), TypeError, r"the arguments are (probs, raters)"),
    "swapped list with None": (lambda: tally([M, None], P), TypeError, r"the arguments are (probs, raters)"),
    "swapped float stack": (
        lambda: tally(STACK.astype(float), P),
        ValueError,
        r"probs have shape (3, 4) and raters (4,): the arguments look swapped",
    ),
    "swapped raters last": (
        lambda: tally(STACK.T.astype(float), P),
        ValueError,
        r"probs have shape (4, 3) and raters (4,): the arguments look swapped",
    ),
    "swapped float mask": (
        lambda: fit(M.astype(float), P),
        ValueError,
        r"probs hold only 0 and 1 and raters fractions: the arguments look swapped",
    ),
    "swapped and saturated": (lambda: fit(SATURATED > 0.3, SATURATED), TypeError, r"the arguments are (probs, raters)"),
    "swapped, saturated and float": (
        lambda: fit((SATURATED > 0.3).astype(float), SATURATED),
        ValueError,
        r"the arguments look swapped",
    ),
    # masks
    "0 and 255": (
        lambda: tally(P, M * 255),
        ValueError,
        r"Masks of raters must hold 0 and 1 only (NaN where missing); rater 0 holds 0, 255; pass positive=255",
    ),
    "0 and 255 of one": (
        lambda: tally(P, [M, M.astype(int) * 255], case="A7"),
        ValueError,
        r"rater 1 of case 'A7' holds 0, 255; pass positive=255",
    ),
    "labels of ten raters": (lambda: tally(P, [M] * 9 + [M * 2]), ValueError, r"rater 9 holds 0, 2; pass positive=2"),
    "many labels": (
        lambda: tally(np.full(9, 0.5), np.arange(9)),
        ValueError,
        r"holds 0, 1, 2, 3, 4, 5, ...; pass positive=8",
    ),
    "labels in a roi": (lambda: tally(P, M * 3, roi=M), ValueError, r"0 and 1 only"),
    "labels in masked": (
        lambda: tally(P, np.ma.masked_array([0, 5, 7, 1], [0, 0, 1, 0]), roi=[1] * 4),
        ValueError,
        r"holds 0, 1, 5; pass positive=5",
    ),
    "negative": (lambda: tally(P, [0, -1, 1, 1]), ValueError, r"holds -1, 0, 1"),
    "fractions": (
        lambda: fit(VOLUME, np.linspace(0, 1, 24).reshape(2, 3, 4)),
        ValueError,
        r"if it is an average over raters, pass it as one target with soft=True",
    ),
    "one fraction": (lambda: fit(VOLUME, LABELS + 0.5), ValueError, r"average over raters, .* soft=True"),
    "two fractions": (
        lambda: fit(VOLUME, np.where(VOLUME.cumsum().reshape(2, 3, 4) > 6, 0.5, 0.0)),
        ValueError,
        r"average over raters, .* soft=True",
    ),
    "infinite mask": (lambda: tally(P, [0, np.inf, 1, 1]), ValueError, r"0 and 1 only .* holds 0, 1, inf"),
    "large float label": (lambda: tally(P, [0, 300.0, 1, 1]), ValueError, r"holds 0, 1, 300"),
    "text masks": (
        lambda: tally(P, np.array(list("abcd"))),
        TypeError,
        r"raters must be masks of 0 and 1; got an array of <U1",
    ),
    "no masks": (lambda: tally(P, None), TypeError, r"raters must be masks of 0 and 1; got an array of object"),
    "no positive label": (lambda: tally(P, M, positive=[]), ValueError, r"positive must "),
    "positive background": (lambda: tally(P, M, positive=0), ValueError, r"positive must "),
    "positive fraction": (lambda: tally(P, M, positive=0.5), ValueError, r"positive must "),
    # soft targets
    "soft outside": (lambda: fit(P, P * 2), ValueError, r"A soft target must lie in [0, 1] without NaN"),
    "soft nan": (lambda: fit(P, with_value(np.nan)), ValueError, r"A soft target must lie in [0, 1] without NaN"),
    "soft stack": (
        lambda: fit(P, STACK * 0.5, soft=True),
        ValueError,
        r"With soft=True raters must be one float target of the shape of probs, (4,); got float64 of shape (3, 4)",
    ),
    "soft whole": (lambda: fit(P, M, soft=True), ValueError, r"one float target .* got uint8 of shape (4,)"),
    # roi, strata, weights, names
    "roi shape": (lambda: tally(P, M, roi=[True]), ValueError, r"roi must have the shape of probs, (4,); got (1,)"),
    "roi shape where probs are masked": (
        lambda: tally(np.ma.masked_array(P, M), M, roi=[True]),
        ValueError,
        r"roi must have the shape of probs, (4,); got (1,)",
    ),
    "roi values where probs are masked": (
        lambda: tally(np.ma.masked_array(P, 1 - M), M, roi=M * 255),
        ValueError,
        r"roi must hold 0 and 1 only",
    ),
    "roi values": (
        lambda: tally(P, M, roi=M * 255, case="A7"),
        ValueError,
        r"roi must hold 0 and 1 only of case 'A7'; got uint8 values up to 255",
    ),
    "roi nan": (lambda: tally(P, M, roi=with_value(np.nan).round()), ValueError, r"roi must hold 0 and 1 only"),
    "strata shape": (lambda: tally(P, M, strata=[0]), ValueError, r"strata must have the shape of probs"),
    "strata float": (
        lambda: tally(P, M, strata=P),
        ValueError,
        r"strata must be whole numbers from 0 to 254; got float64",
    ),
    "strata negative": (
        lambda: tally(P, M, strata=[0, -1, 0, 0]),
        ValueError,
        r"strata must be whole numbers from 0 to 254.* -1",
    ),
    "strata large": (
        lambda: tally(P, M, strata=[0, 255, 0, 0]),
        ValueError,
        r"strata must be whole numbers from 0 to 254.* 255",
    ),
    "strata names": (
        lambda: tally(P, M, strata=M, strata_names=["a"]),
        ValueError,
        r"strata_names must be at least 2 different names",
    ),
    "rater names": (
        lambda: tally(P, STACK, rater_names=["a", "b"]),
        ValueError,
        r"rater_names must be 3 different names; got ('a', 'b')",
    ),
    "weight shape": (lambda: fit(P, M, sample_weight=[1]), ValueError, r"sample_weight must have the shape of probs"),
    "weight negative": (
        lambda: fit(P, M, sample_weight=-P),
        ValueError,
        r"sample_weight must be finite and not negative",
    ),
    "weight nan": (lambda: fit(P, M, sample_weight=with_value(np.nan)), ValueError, r"sample_weight must be finite"),
    "invalid": (
        lambda: tally(P, M, invalid="ignore"),
        ValueError,
        r"invalid must be one of 'raise', 'drop'; got 'ignore'",
    ),
    # grids
    "bits": (lambda: ProbabilityGrid(3), ValueError, r"mantissa_bits must lie between 4 and 12.*; got 3"),
    "more bits": (lambda: ProbabilityGrid(13), ValueError, r"mantissa_bits must lie between 4 and 12.*; got 13"),
    "half a bit": (lambda: ProbabilityGrid(7.5), (TypeError, ValueError), r"mantissa_bits must"),
    "edge at 0": (
        lambda: ProbabilityGrid(edges=(0.0, 0.5)),
        ValueError,
        r"edges must lie in [2**-32, 1) after rounding to float32; got 0 to 0.5",
    ),
    "edge at 1": (lambda: ProbabilityGrid(edges=(0.5, 1 - 1e-12)), ValueError, r"edges must lie in .*; got 0.5 to 1"),
    "edge nan": (lambda: ProbabilityGrid(edges=(np.nan,)), ValueError, r"edges must lie in"),
    # maps
    "map outside": (lambda: fitted()(with_value(1.5)), ValueError, r"probs must lie in [0, 1]: 1 of 4"),
    "map of labels": (lambda: fitted()(M), TypeError, r"probs must be floating-point probabilities; got uint8"),
    "knot lengths": (
        lambda: PiecewiseLinearMap([0, 1], [0]),
        ValueError,
        r"PiecewiseLinearMap needs x and y of one equal length; got shapes (2,) and (1,)",
    ),
    "no knots": (lambda: PiecewiseLinearMap([], []), ValueError, r"needs x and y of one equal length; got shapes (0,)"),
    "equal knots": (
        lambda: PiecewiseLinearMap([0.5, 0.5], [0, 1]),
        ValueError,
        r"strictly ascending x in [0, 1] and y in [0, 1]",
    ),
    "knots outside": (lambda: PiecewiseLinearMap([0, 1.5], [0, 1]), ValueError, r"strictly ascending x in [0, 1]"),
    "values outside": (
        lambda: StepMap([0, 0.5], [0, 1.5]),
        ValueError,
        r"StepMap needs strictly ascending x in [0, 1] and y in [0, 1]",
    ),
    "knots nan": (lambda: PiecewiseLinearMap([0, np.nan], [0, 1]), ValueError, r"strictly ascending"),
    "a falling map": (
        lambda: PiecewiseLinearMap([0, 1], [1, 0]),
        ValueError,
        r"PiecewiseLinearMap needs non-decreasing y",
    ),
    "a falling logit": (lambda: LogitMap(-1.0), ValueError, r"LogitMap needs a slope >= 0"),
    "a clip of half": (lambda: LogitMap(1.0, clip=0.5), ValueError, r"0 < clip < 0.5; got 1.0, 0.0, 0.5"),
    "a falling beta": (lambda: BetaMap(1.0, -1.0, 0.0), ValueError, r"BetaMap needs a, b >= 0"),
    "beta nan": (lambda: BetaMap(1.0, 1.0, np.nan), ValueError, r"a finite c"),
    "unknown map": (
        lambda: map_from_dict({"x": 1}),
        ValueError,
        r"Unknown kind of calibration map None; this mrcalib knows",
    ),
    "mean of no maps": (lambda: mean_of_maps([]), ValueError, r"at least one"),
    "mean weights": (
        lambda: mean_of_maps([PiecewiseLinearMap([0], [0])], [1, 2]),
        ValueError,
        r"zip\(\) argument 2 is shorter|weight",
    ),
    # cohorts and resampling
    "no cases": (lambda: Cohort([]), ValueError, r"A cohort needs at least one case"),
    "ids": (lambda: cohort(ids=["a"]), ValueError, r"ids must have one entry for each of the 2 cases; got 1"),
    "equal ids": (lambda: cohort(ids=["a", "a"]), ValueError, r"Case ids must be different; repeated: a"),
    "groups": (lambda: cohort(groups="abc"), ValueError, r"groups must have one entry for each of the 2 cases; got 3"),
    "volumes": (lambda: cohort(voxel_volume=[1]), ValueError, r"voxel_volume must have one entry"),
    "no case left": (lambda: cohort().subset([]), ValueError, r"at least one case|subset"),
    "other grids": (
        lambda: Cohort([ONE, tally(P, M, grid=ProbabilityGrid(5))]),
        ValueError,
        r"Cannot merge tallies with different grid: 7 bits with .* and 5 bits with 0 edges",
    ),
    "case weight": (
        lambda: cohort().pooled("size"),
        ValueError,
        r"case_weight must be 'voxels', 'equal' or one number a case; got 'size'",
    ),
    "case weights": (
        lambda: cohort().pooled([1.0]),
        ValueError,
        r"case_weight must hold a finite number >= 0 for each of the 2 cases",
    ),
    "case weights of 0": (lambda: cohort().pooled([0, 0]), ValueError, r"not all 0"),
    "negative case weights": (
        lambda: cohort().pooled([1, -1]),
        ValueError,
        r"case_weight must hold a finite number >= 0",
    ),
    "one group": (lambda: splits(["a", "a"]), ValueError, r"at least two groups; got 1. Is the group column right?"),
    "many folds": (lambda: splits(["a", "b"], 3), ValueError, r"cv=3 folds need 2 to 2 (the number of groups)"),
    "one fold": (lambda: splits(["a", "b"], 1), ValueError, r"cv=1 folds need 2 to 2"),
    "unknown cv": (
        lambda: splits(["a", "b"], "loo"),
        ValueError,
        r"cv must be 'leave-one-group-out', a number of folds or a scikit-learn splitter; got 'loo'",
    ),
    # calibrators
    "not fitted": (
        lambda: MHRIsotonicCalibrator().transform(P),
        NotFittedError,
        r"This MHRIsotonicCalibrator instance is not fitted yet",
    ),
    "no y": (lambda: fit(P, None), ValueError, r"requires y to be passed.*raters' masks"),
    "empty": (lambda: fit(np.empty(0), np.empty(0)), ValueError, r"There is nothing to fit: probs is empty"),
    "empty roi": (lambda: fit(P, M, roi=np.zeros(4, bool)), ValueError, r"nothing to fit"),
    "all nan": (lambda: fit(P, all_missing()), ValueError, r"nothing to fit: no rater answered"),
    "rater weights": (
        lambda: fit(P, STACK, rater_weight=[1, 2]),
        ValueError,
        r"rater_weight must hold a finite number >= 0 for each of the 3 raters, not all 0",
    ),
    "rater weights of 0": (lambda: fit(P, STACK, rater_weight=[0, 0, 0]), ValueError, r"rater_weight must hold"),
    "negative rater weights": (lambda: fit(P, STACK, rater_weight=[1, -1, 1]), ValueError, r"rater_weight must hold"),
    "weight of a missing rater": (
        lambda: fit(P, [M, None], rater_weight=[0, 1]),
        ValueError,
        r"no rater of positive weight answered",
    ),
    "n_bins": (
        lambda: MHRIsotonicCalibrator("equal-mass", 1).fit(P, M),
        ValueError,
        r"n_bins must be a whole number of at least 2; got 1",
    ),
    "half a bin": (
        lambda: MHRIsotonicCalibrator("equal-mass", 2.5).fit(P, M),
        ValueError,
        r"n_bins must be a whole number of at least 2; got 2.5",
    ),
    "n_bins True": (
        lambda: MHRIsotonicCalibrator("equal-mass", True).fit(P, M),
        ValueError,
        r"n_bins must be a whole number",
    ),
    "histogram bins": (lambda: HistogramBinningCalibrator(0).fit(P, M), ValueError, r"n_bins must"),
    "histogram half a bin": (lambda: HistogramBinningCalibrator(2.5).fit(P, M), ValueError, r"n_bins must"),
    "binning": (
        lambda: MHRIsotonicCalibrator("quantile").fit(P, M),
        ValueError,
        r"binning must be one of 'grid', 'exact', 'equal-mass', 'equal-votes'; got 'quantile'",
    ),
    "strategy": (
        lambda: HistogramBinningCalibrator(strategy="quantile").fit(P, M),
        ValueError,
        r"strategy must be one of",
    ),
    "equal cases without groups": (
        lambda: MHRIsotonicCalibrator(case_weight="equal").fit(P, M),
        ValueError,
        r"needs groups= (the case of each voxel)",
    ),
    "unknown case weight": (
        lambda: fit(P, M, case_weight="size", groups=[0, 0, 1, 1]),
        ValueError,
        r"case_weight must be 'voxels', 'equal'",
    ),
    "groups shape": (
        lambda: fit(P, M, case_weight="equal", groups=[0, 1]),
        ValueError,
        r"groups must have the shape of probs",
    ),
    "partial fit exactly": (
        lambda: MHRIsotonicCalibrator("exact").partial_fit(P, M),
        ValueError,
        r"binning='exact' reads all voxels twice; fit it at once, or use binning='grid'",
    ),
    "tally exactly": (
        lambda: MHRIsotonicCalibrator("exact").fit_tally(ONE),
        ValueError,
        r"binning='exact' needs the voxels",
    ),
    "unknown option": (lambda: MHRIsotonicCalibrator().partial_fit(P, M, mask=M), TypeError, r"'mask'"),
    "other raters": (
        lambda: fitted_partly().partial_fit(P, STACK),
        ValueError,
        r"partial_fit has seen the raters 0; these voxels have 3 raters. Name them with a dict",
    ),
    "no such rater": (
        lambda: SingleRaterCalibrator(3).fit(P, STACK),
        ValueError,
        r"rater must be a position from 0 to 2 or one of '0', '1', '2'; got 3",
    ),
    "no such name": (lambda: SingleRaterCalibrator("eve").fit(P, STACK), ValueError, r"got 'eve'"),
    "weights for one": (
        lambda: SingleRaterCalibrator().fit(P, STACK, rater_weight=[1, 1, 1]),
        ValueError,
        r"it has no rater_weight",
    ),
    "logits to temperature": (
        lambda: TemperatureScalingCalibrator().fit(P * 9 - 3, M),
        ValueError,
        r"if these are logits",
    ),
    "invalid in fit": (
        lambda: fit(P, M, invalid="skip"),
        ValueError,
        r"invalid must be one of 'raise', 'drop'; got 'skip'",
    ),
    "hard labels of nobody": (lambda: HardLabelCalibrator().fit(P, all_missing()), ValueError, r"no rater"),
}


def fitted_partly():
    return MHRIsotonicCalibrator().partial_fit(P, M)


def words(text):
    """The words as a pattern: everything literal but ``.*``, ``|`` and what is escaped already."""
    return "|".join(
        ".*".join(re.escape(part.replace("\\", "")) for part in choice.split(".*")) for choice in text.split("|")
    )


@pytest.mark.parametrize(("call", "error", "text"), TABLE.values(), ids=TABLE.keys())
def test_is_refused_in_words_that_help(call, error, text):
    with pytest.raises(error, match=words(text)):
        call()


def test_what_the_table_starts_from_is_accepted():
    assert tally(P, M, roi=M, strata=M, rater_names=["a"], strata_names=["x", "y"]).n_voxels == 2
    assert fit(P, STACK, rater_weight=[1, 2, 0], sample_weight=P, roi=M)(P).shape == (4,)
    assert cohort(groups="ab", ids="xy").pooled([1, 0]).weight.sum() == 4
    assert fit(P, P, soft=True)(P).shape == (4,)


def test_channels_of_probabilities_are_not_called_swapped():
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)") as caught:
        tally(VOLUME, LABELS[0])
    assert "swapped" not in str(caught.value)


def test_a_tally_names_no_option_that_it_does_not_have():
    with pytest.raises(ValueError, match="0 and 1 only") as caught:
        tally(VOLUME, np.linspace(0, 1, 24).reshape(2, 3, 4))
    assert "soft=True" not in str(caught.value)


@pytest.mark.parametrize("value", [1 + 1e-9, 1 + 2e-7, -1e-9, -1e-50])
@pytest.mark.parametrize("binning", ["grid", "exact", "equal-mass"])
def test_what_fit_accepts_transform_accepts(value, binning):
    probs = with_value(value)
    try:
        calibrator = MHRIsotonicCalibrator(binning).fit(probs, M)
    except ValueError:
        return
    assert calibrator(probs).shape == (4,)
