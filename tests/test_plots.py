"""Displays: what the artists hold, never pixels."""

from __future__ import annotations

import builtins
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")
import matplotlib as mpl
from matplotlib.figure import Figure
from sklearn.exceptions import NotFittedError

from mrcalib import Cohort, HardLabelCalibrator, MHRIsotonicCalibrator, TemperatureScalingCalibrator, compare, tally
from mrcalib.metrics import brier_score, mean_rater_ece, multirater_ece, reliability_curve
from mrcalib.plots import (
    CalibrationMapDisplay,
    CaseDisplay,
    CasesDisplay,
    MetricDisplay,
    ReliabilityDisplay,
    choose_cases,
    disagreement_of_raters,
    save_study_figures,
)
from mrcalib.plots._display import _forward, _inverse, logit_decades

mpl.use("Agg")


def voxels(rng, n=2000):
    """Overconfident probabilities with exact zeros and ones, and three raters of the square of them."""
    probs = rng.random(n)
    probs[:50], probs[50:100] = 0.0, 1.0
    return probs, (rng.random((3, n)) < probs**2).astype(np.uint8)


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    return Cohort([tally(*voxels(rng)) for _ in range(12)], groups=[str(i // 2) for i in range(12)])


@pytest.fixture(scope="module")
def study(cohort):
    return compare(cohort, methods=["none", "hard-label", "MHR"], n_resamples=100)


@pytest.fixture(scope="module")
def fitted(cohort):
    methods = {"hard": HardLabelCalibrator(), "MHR": MHRIsotonicCalibrator(), "T": TemperatureScalingCalibrator()}
    return {name: method.fit_tally(cohort) for name, method in methods.items()}


@pytest.fixture(autouse=True)
def nothing_global_changes():
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def drawn(display):
    """Render: some artists fail only then."""
    display.figure_.canvas.draw()
    return display


class TestReliability:
    def test_line_holds_the_pooled_curve(self, cohort):
        rows = [cohort.responses(i) for i in range(len(cohort))]
        display = drawn(ReliabilityDisplay.from_responses(rows, groups=cohort.groups, n_bins=10).plot())
        curve = display.curves["segmenter"]
        x, y = display.lines_["segmenter"].get_data()
        np.testing.assert_array_equal(x, curve.mean_prob[1:-1])
        np.testing.assert_array_equal(y, curve.response[1:-1])
        weight = sum(row.count @ row.answers for row in rows)
        votes = sum(row.count @ row.votes for row in rows)
        assert curve.count.sum() == weight
        np.testing.assert_allclose(np.nansum(curve.count * curve.response), votes)

    def test_exact_zero_and_one_are_bins_of_their_own(self):
        probs, masks = voxels(np.random.default_rng(1))
        display = drawn(ReliabilityDisplay.from_predictions(probs, masks, n_bins=10).plot(scale="logit"))
        ends = [line.get_data() for line in display.ends_["segmenter"]]
        assert [(x.tolist(), y.tolist()) for x, y in ends] == [([0.0], [0.0]), ([1.0], [1.0])]
        assert display.curves["segmenter"].count[[0, -1]].tolist() == [150, 150]

    def test_bins_between_are_those_of_the_metric(self):
        rng = np.random.default_rng(2)
        probs = rng.uniform(0.01, 0.99, 3000)
        masks = rng.random((3, 3000)) < probs
        curve = ReliabilityDisplay.from_predictions(probs, masks, n_bins=10).curves["segmenter"]
        expected = reliability_curve(probs, masks, n_bins=10)
        np.testing.assert_allclose(curve.response[1:-1], expected.response)
        np.testing.assert_allclose(curve.mean_prob[1:-1], expected.mean_prob)
        np.testing.assert_allclose(curve.rater_response[:, 1:-1], expected.rater_response)

    def test_groups_of_voxels_equal_cases(self):
        rng = np.random.default_rng(3)
        cases = [voxels(rng) for _ in range(6)]
        probs = np.concatenate([p for p, _ in cases])
        masks = np.concatenate([m for _, m in cases], axis=1)
        group = np.repeat(np.arange(6), 2000)
        roi = rng.random(probs.size) < 0.7
        together = ReliabilityDisplay.from_predictions(probs, masks, groups=group, roi=roi, n_bins=8)
        rows = [ReliabilityDisplay.from_predictions(probs, masks, roi=roi & (group == g), n_bins=8) for g in range(6)]
        total = sum(display.curves["segmenter"].count for display in rows)
        np.testing.assert_array_equal(together.curves["segmenter"].count, total)
        band = together.bands["segmenter"]
        assert (band.n_groups == 6).all()
        inner = slice(1, -1)
        assert (band.low[inner] < together.curves["segmenter"].response[inner]).all()
        assert (band.high[inner] > together.curves["segmenter"].response[inner]).all()

    def test_bins_of_few_groups_are_hollow_and_without_interval(self):
        probs, masks = voxels(np.random.default_rng(4))
        display = drawn(ReliabilityDisplay.from_predictions(probs, masks, n_bins=5).plot())
        assert np.isnan(display.bands["segmenter"].low).all()
        assert display.bands_ == {}
        assert [line.get_markerfacecolor() for line in display.points_["segmenter"]] == ["white"]
        assert np.isnan(display.lines_["segmenter"].get_ydata()).all()
        labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
        assert "bin of fewer than 5 groups" in labels

    def test_study_uses_the_folds_sums(self, study):
        display = ReliabilityDisplay.from_study(study, ["MHR"], metric="mr_ece")
        sums = study.statistics["MHR", "mr_ece"].sum(axis=0).reshape(3, 50)
        curve = display.curves["MHR"]
        np.testing.assert_array_equal(curve.count, sums[0])
        np.testing.assert_allclose(np.nansum(curve.count * curve.response), sums[2].sum())
        assert curve.rater_response.shape == (0, 50)
        by_rater = ReliabilityDisplay.from_study(study, ["MHR"], metric="mean_rater_ece").curves["MHR"]
        np.testing.assert_allclose(by_rater.response, curve.response)
        assert by_rater.rater_response.shape == (3, 50)

    def test_study_is_drawn_before_and_after_from_the_finest_bins(self, study):
        display = drawn(ReliabilityDisplay.from_study(study).plot(scale="logit"))
        assert list(display.lines_) == ["none", "MHR"]
        assert display.curves["none"].count.size == 52
        assert display.ax_.get_title(loc="left").replace("\n", " ") == study.description
        assert [len(lines) for lines in display.rater_lines_.values()] == [3, 3]

    def test_band_holds_the_bootstrap_percentiles(self, study):
        from mrcalib.resampling import bootstrap_counts

        band = ReliabilityDisplay.from_study(study, ["none"], metric="mr_ece").bands["none"]
        sums = study.statistics["none", "mr_ece"].reshape(12, 3, 50)[:, :, 20]
        resampled = bootstrap_counts(study.groups, 100, 0) @ sums
        low, high = np.quantile(resampled[:, 2] / resampled[:, 0], [0.025, 0.975])
        np.testing.assert_allclose([band.low[20], band.high[20]], [low, high])

    def test_draws_into_given_axes(self, study):
        ax = Figure().add_subplot()
        display = drawn(ReliabilityDisplay.from_study(study).plot(ax))
        assert display.ax_ is ax
        assert display.counts_ax_ in ax.child_axes
        assert display.counts_ax_.get_yscale() == "log"
        without = ReliabilityDisplay.from_study(study).plot(Figure().add_subplot(), counts=False, raters=False)
        assert without.counts_ax_ is None
        assert without.rater_lines_ == {"none": [], "MHR": []}

    def test_soft_targets_have_no_rater_lines(self):
        rng = np.random.default_rng(5)
        display = ReliabilityDisplay.from_predictions(rng.random(500), rng.random(500), n_bins=5).plot()
        assert display.rater_lines_ == {"segmenter": []}

    def test_missing_raters_count_only_where_they_answered(self):
        probs, masks = voxels(np.random.default_rng(6))
        curve = ReliabilityDisplay.from_predictions(probs, [masks[0], None, masks[2]]).curves["segmenter"]
        assert curve.rater_count.sum(axis=1).tolist() == [2000, 0, 2000]
        drawn(ReliabilityDisplay.from_predictions(probs, [masks[0], None, masks[2]]).plot())

    def test_errors_name_what_is_wrong(self, study, cohort):
        with pytest.raises(ValueError, match="method must be one of 'none', 'hard-label', 'MHR'; got 'isotonic'"):
            ReliabilityDisplay.from_study(study, ["isotonic"])
        with pytest.raises(ValueError, match="The study has no metric 'ece'; it has mr_ece"):
            ReliabilityDisplay.from_study(study, metric="ece")
        for name in ("brier", "mean_rater_top_label_ece"):
            with pytest.raises(ValueError, match=f"calibration error of foreground probabilities.*got '{name}'"):
                ReliabilityDisplay.from_study(study, metric=name)
        with pytest.raises(ValueError, match="strategy must be one of 'uniform', 'logit'; got 'mass'"):
            ReliabilityDisplay.from_responses([cohort.responses(0)], strategy="mass")
        with pytest.raises(ValueError, match="n_bins must be a whole number of at least 1; got 0"):
            mean_rater_ece.with_options(n_bins=0)
        with pytest.raises(ValueError, match="rows of the same cases, at least one; got \\[0\\] cases"):
            ReliabilityDisplay.from_responses([])
        with pytest.raises(ValueError, match="groups must have one entry for each of the 1 cases; got 2"):
            ReliabilityDisplay.from_responses([cohort.responses(0)], groups=["a", "b"])
        with pytest.raises(ValueError, match="no rater answered"):
            ReliabilityDisplay.from_predictions([0.5], [[np.nan], [np.nan]])
        with pytest.raises(ValueError, match="at least one curve"):
            ReliabilityDisplay({})
        with pytest.raises(ValueError, match="scale must be one of 'linear', 'logit'; got 'log'"):
            ReliabilityDisplay.from_study(study).plot(scale="log")


class TestLogitAxes:
    def test_forward_is_increasing_and_inverted(self):
        p = np.concatenate([[-0.3, 0.0], np.logspace(-4, -1, 20), [0.5], 1 - np.logspace(-1, -3, 20), [1.0, 1.3]])
        z = _forward(p, (4, 3))
        assert (np.diff(z) > 0).all()
        np.testing.assert_allclose(_inverse(z, (4, 3)), p, atol=1e-3)

    def test_decades_hold_the_data_within_bounds(self):
        assert logit_decades([0.0, 1.0]) == (1, 1)
        assert logit_decades([1e-3, 0.9], [np.nan]) == (3, 1)
        assert logit_decades([1e-12, 1 - 1e-12]) == (6, 6)


class TestMaps:
    @pytest.mark.parametrize("scale", ["linear", "logit"])
    def test_lines_are_the_maps(self, fitted, scale):
        display = drawn(CalibrationMapDisplay.from_calibrators(fitted).plot(scale=scale))
        for name, calibrator in fitted.items():
            x, y = display.lines_[name].get_data()
            np.testing.assert_array_equal(y, calibrator.map_(x))
            assert tuple(display.ends_[name].get_ydata()) == calibrator.reachable_
        assert {name: len(lines) for name, lines in display.rater_lines_.items()} == {"hard": 3, "MHR": 0, "T": 0}

    def test_knots_and_steps_are_not_smoothed(self, fitted):
        x, _ = CalibrationMapDisplay.from_calibrators(fitted).curves["MHR"]
        assert np.isin(fitted["MHR"].map_.x, x).all()
        from mrcalib import HistogramBinningCalibrator

        steps = HistogramBinningCalibrator().fit([0.1, 0.6, 0.9], [0, 1, 1])
        x, y = CalibrationMapDisplay.from_calibrators({"steps": steps}).curves["steps"]
        assert set(y) <= set(steps.map_.y)

    def test_reachable_maximum_is_in_the_legend(self):
        capped = MHRIsotonicCalibrator().fit([0.2, 0.2, 1.0, 1.0], [0, 0, 1, 0])
        display = CalibrationMapDisplay.from_calibrators({"MHR": capped}).plot()
        assert display.lines_["MHR"].get_label() == "MHR: at most 0.500"
        assert display.ends_["MHR"].get_xdata()[-1] == 1.0

    def test_caption_tells_what_they_were_fitted_to(self, fitted):
        assert CalibrationMapDisplay.from_calibrators(fitted).caption == "fitted to 12 cases, 3 raters, 24,000 voxels"
        other = MHRIsotonicCalibrator().fit([0.2, 0.8], [0, 1])
        assert CalibrationMapDisplay.from_calibrators({**fitted, "other": other}).caption == ""

    def test_errors_name_what_is_wrong(self):
        with pytest.raises(NotFittedError):
            CalibrationMapDisplay.from_calibrators({"MHR": MHRIsotonicCalibrator()})
        with pytest.raises(ValueError, match="no map to draw"):
            CalibrationMapDisplay.from_calibrators({})


class TestCase:
    shape = (30, 20, 6)

    @pytest.fixture
    def case(self):
        rng = np.random.default_rng(7)
        probs = np.full(self.shape, 0.01, dtype=np.float32)
        probs[8:14, 6:12, 2:5] = 0.95
        masks = np.zeros((3, *self.shape), dtype=np.uint8)
        masks[:, 8:14, 6:12, 2:5] = 1
        masks[2, 8:20, 6:12, 3] = 1
        return rng.normal(size=self.shape), probs, masks

    def test_slice_of_most_disagreement_is_shown(self, case):
        image, probs, masks = case
        display = drawn(CaseDisplay.from_arrays(image, probs, masks, zoom=False).plot())
        assert display.caption == "slice 3 (of 0 to 5) along axis 2; 3 raters"
        np.testing.assert_array_equal(display.images_[0].get_array(), image[:, :, 3].T)
        np.testing.assert_allclose(display.images_[1].get_array(), masks.mean(axis=0)[:, :, 3].T)
        np.testing.assert_array_equal(display.images_[2].get_array(), probs[:, :, 3].T)
        assert len(display.axes_) == 3
        assert len(display.contours_[0]) == 3
        np.testing.assert_array_equal(display.contours_[2][0].levels, [0.1, 0.5, 0.9])

    def test_disagreement_outside_the_roi_does_not_count(self, case):
        image, probs, masks = case
        roi = np.ones(self.shape, dtype=bool)
        roi[:, :, 3] = False
        display = drawn(CaseDisplay.from_arrays(image, probs, masks, roi=roi).plot())
        assert display.caption.startswith("slice 2 ")

    def test_zoom_keeps_all_marks(self, case):
        image, probs, masks = case
        display = CaseDisplay.from_arrays(image, probs, masks)
        assert display.probs.shape < (30, 20)
        assert sum(int(mask.sum()) for mask in display.raters.values()) == masks[:, :, :, 3].sum()

    @pytest.mark.parametrize("axis", [0, 1, -1])
    def test_any_axis_and_slice(self, case, axis):
        image, probs, masks = case
        display = drawn(CaseDisplay.from_arrays(image, probs, masks, probs, axis=axis, index=-1, zoom=False).plot())
        np.testing.assert_array_equal(display.images_[3].get_array(), np.take(probs, -1, axis=axis).T)

    def test_missing_is_not_empty(self, case):
        image, probs, masks = case
        raters = [masks[0], None, np.zeros_like(masks[0])]
        display = drawn(CaseDisplay.from_arrays(image, probs, raters, rater_names=["a", "b", "c"]).plot())
        assert display.raters["b"] is None
        assert display.response.max() == 0.5
        assert "missing: b" in display.caption
        labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
        assert labels == ["rater a", "rater c: no mark here"]

    def test_voxels_without_answers_are_grey(self, case):
        image, probs, masks = case
        partly = masks.astype(float)
        partly[:, :, 10:, :] = np.nan
        display = drawn(CaseDisplay.from_arrays(image, probs, partly, zoom=False).plot())
        assert np.isnan(display.response[:, 10:]).all()
        assert "grey: no rater answered" in display.caption

    def test_two_dimensions_and_spacing(self, case):
        image, probs, masks = (array[..., 3] for array in case)
        display = drawn(CaseDisplay.from_arrays(image, probs, masks, spacing=(1.0, 2.0), zoom=False).plot())
        assert display.images_[0].get_extent() == [0.0, 30.0, 0.0, 40.0]
        assert [text.get_text() for text in display.ax_.texts] == ["10 mm"]
        assert display.caption == "3 raters"

    def test_nothing_marked_and_nothing_predicted(self):
        nothing = np.zeros((8, 8, 4), dtype=np.float32)
        display = drawn(CaseDisplay.from_arrays(nothing, nothing, nothing.astype(np.uint8)).plot())
        assert display.contours_ == [[], [], []]
        assert display.caption.startswith("slice 2 ")

    def test_errors_name_what_is_wrong(self, case):
        image, probs, masks = case
        with pytest.raises(ValueError, match=r"image must have the shape of probs, \(30, 20, 6\); got \(30, 20\)"):
            CaseDisplay.from_arrays(image[..., 0], probs, masks)
        with pytest.raises(ValueError, match="two or three dimensions"):
            CaseDisplay.from_arrays(image.ravel(), probs.ravel(), masks.reshape(3, -1))
        with pytest.raises(ValueError, match="axis must lie between 0 and 2"):
            CaseDisplay.from_arrays(image, probs, masks, axis=3)
        with pytest.raises(ValueError, match="index must lie between 0 and 5, the slices along axis 2; got 6"):
            CaseDisplay.from_arrays(image, probs, masks, index=6)
        with pytest.raises(ValueError, match="spacing must hold 3 positive edges in mm"):
            CaseDisplay.from_arrays(image, probs, masks, spacing=(1, 1))
        with pytest.raises(ValueError, match="rater_names must name each of the 3 raters; got 1"):
            CaseDisplay.from_arrays(image, probs, masks, rater_names=["a"])
        with pytest.raises(ValueError, match=r"must hold 0 and 1 only.*pass mask == 2"):
            CaseDisplay.from_arrays(image, probs, masks * 2)
        with pytest.raises(ValueError, match="ax must hold 3 axes, one for each picture; got 1"):
            CaseDisplay.from_arrays(image, probs, masks).plot(Figure().add_subplot())

    @pytest.mark.parametrize(
        ("codes", "axis", "turned", "side"),
        [
            ("RAS", 2, (True, False), "R"),
            ("LPS", 2, (False, True), "R"),
            ("LAS", 2, (False, False), "R"),
            ("RAS", 1, (True, False), "R"),
            ("RAS", 0, (True, False), "A"),
            ("LPI", 0, (False, True), "A"),
        ],
    )
    def test_an_affine_turns_slices_as_radiologists_look_at_them(self, codes, axis, turned, side):
        shape = (12, 10, 9)
        probs = np.random.default_rng(0).random(shape)
        masks = (np.random.default_rng(1).random((3, *shape)) < probs).astype(np.uint8)
        image = np.arange(np.prod(shape)).reshape(shape)
        affine = np.diag([1 if c in "RAS" else -1 for c in codes] + [1]).astype(float)
        plain, seen = (
            CaseDisplay.from_arrays(image, probs, masks, axis=axis, index=4, zoom=False, affine=a)
            for a in (None, affine)
        )
        flips = [a for a in (0, 1) if turned[a]]
        for name in ("image", "probs", "response"):
            np.testing.assert_array_equal(getattr(seen, name), np.flip(getattr(plain, name), flips))
        assert (plain.side, seen.side) == ("", side)
        assert seen.index == 4
        assert side in [text.get_text() for text in drawn(seen.plot()).ax_.texts]

    def test_an_affine_of_another_shape_is_refused(self, case):
        image, probs, masks = case
        with pytest.raises(ValueError, match=r"affine must have shape \(4, 4\); got \(3, 3\)"):
            CaseDisplay.from_arrays(image, probs, masks, affine=np.eye(3))


class TestCases:
    shape = (30, 24, 5)

    def row(self, seed, **options):
        rng = np.random.default_rng(seed)
        probs = np.full(self.shape, 0.004)
        probs[8:16, 6:14, 1:4] = 0.95
        masks = np.zeros((4, *self.shape), dtype=np.uint8)
        masks[:, 8:16, 6:14, 1:4] = 1
        masks[2, 8:20, 6:14, seed] = 1
        options = {"calibrated": probs * 0.8, "title": f"case {seed}", "spacing": (0.8, 0.8, 2.5)} | options
        return CaseDisplay.from_arrays(rng.normal(size=self.shape), probs, masks, **options)

    def test_rows_are_cases_and_columns_response_before_and_after(self):
        rows = [self.row(1), self.row(2), self.row(3)]
        display = drawn(CasesDisplay(rows, caption="three").plot())
        assert display.axes_.shape == (3, 3)
        assert [ax.get_title() for ax in display.axes_[0]] == list(display.names)
        assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == [f"case {z}\nz = {z}" for z in (1, 2, 3)]
        for i, row in enumerate(rows):
            for j, values in enumerate((row.response, row.probs, row.calibrated)):
                np.testing.assert_array_equal(display.overlays_[3 * i + j].get_array(), values.T)
                np.testing.assert_array_equal(display.images_[3 * i + j].get_array(), row.image.T)
        assert len(display.figure_.axes) == 10  # and the colour bar
        assert display.figure_.axes[-1].get_ylabel() == "fraction of raters, or probability"
        assert display.figure_.get_suptitle() == "three"

    def test_overlays_are_clear_where_nothing_is_predicted(self):
        display = CasesDisplay([self.row(1)]).plot()
        opacity = display.overlays_[1].get_alpha()
        p = display.overlays_[1].get_array()
        assert (opacity[p < 0.02] == 0).all()
        assert (opacity[p > 0.1] == 0.7).all()
        assert (p < 0.02).any()

    def test_lines_are_at_the_levels_and_nowhere_without_any(self):
        nothing = self.row(1, calibrated=np.zeros(self.shape))
        display = drawn(CasesDisplay([nothing]).plot())
        assert display.contours_[1].levels.tolist() == [0.1, 0.5, 0.9]
        assert display.contours_[2] is None

    def test_one_image_and_unknown_spacing_will_do(self):
        probs = np.zeros((20, 20))
        probs[5:9, 5:9] = 0.9
        flat = CaseDisplay.from_arrays(probs, probs, [probs > 0.5, probs > 0.95], calibrated=probs / 2, title="photo")
        display = drawn(CasesDisplay([flat]).plot(Figure().subplots(1, 3)))
        assert display.axes_[0, 0].get_ylabel() == "photo"

    def test_errors_name_what_is_wrong(self):
        with pytest.raises(ValueError, match="There is no case to draw"):
            CasesDisplay([])
        with pytest.raises(ValueError, match="Case 'x' has no calibrated probabilities"):
            CasesDisplay([self.row(1), self.row(2, calibrated=None, title="x")])
        with pytest.raises(ValueError, match="ax must hold 3 axes for each of the 2 cases; got 3"):
            CasesDisplay([self.row(1), self.row(2)]).plot(Figure().subplots(1, 3))


def with_disagreement(*shares, n=100):
    """Two raters and a case for each share of the first one's marks that the second one left out."""
    parts = []
    for share in shares:
        masks = np.zeros((2, n), dtype=np.uint8)
        masks[0, :50] = masks[1, : 50 - round(50 * share)] = 1
        parts.append(tally(np.linspace(0.1, 0.9, n), masks))
    return Cohort(parts, ids=[f"c{i}" for i in range(len(shares))])


class TestChoosingCases:
    def test_disagreement_is_the_variance_of_votes_over_what_was_marked(self):
        amount = disagreement_of_raters(with_disagreement(0.0, 0.5, 1.0))
        assert amount.tolist() == pytest.approx([0, 0.25 * 25 / (25 + 12.5), 0.5])

    def test_cases_are_spread_over_the_ranks(self):
        cohort = with_disagreement(0.1, 0.9, 0.3, 0.5, 0.7, 0.2)
        assert choose_cases(cohort, 3) == ["c5", "c3", "c1"]
        assert choose_cases(cohort, 1) == ["c3"]
        assert choose_cases(cohort, 99) == ["c0", "c5", "c2", "c3", "c4", "c1"]

    def test_cases_that_nobody_marked_are_not_shown(self):
        empty = tally([0.1, 0.2, 0.3], np.zeros((2, 3), np.uint8))
        parts = with_disagreement(0.5).tallies
        assert choose_cases(Cohort([empty, *parts], ids=["empty", "full"]), 2) == ["full"]
        assert np.isnan(disagreement_of_raters(Cohort([empty]))).all()
        assert choose_cases(Cohort([empty], ids=["empty"])) == ["empty"]

    def test_no_case_is_refused(self):
        with pytest.raises(ValueError, match="n must be at least 1; got 0"):
            choose_cases(with_disagreement(0.5), 0)


class TestMetrics:
    def test_points_and_intervals_are_the_studys(self, study):
        display = drawn(MetricDisplay.from_study(study, "brier").plot())
        table = study.intervals().query("metric == 'brier'")
        points = [line.get_xdata()[0] for line in display.points_[0]]
        np.testing.assert_array_equal(points, table["estimate"])
        ends = np.array([path.vertices[:, 0] for path in display.intervals_[0].get_paths()])
        np.testing.assert_array_equal(ends, table[["low", "high"]])
        assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["none", "hard-label", "MHR"]
        assert len(display.ax_.texts) == 3

    def test_verdicts_are_of_paired_differences(self, study):
        (forest,) = MetricDisplay.from_study(study, "mr_ece", kind="pooled").forests
        told = study.differences(kind="pooled").query("metric == 'mr_ece'")["verdict"].tolist()
        assert forest.verdict == ("", *told)
        assert told == ["better", "better"]

    def test_all_metrics_in_one_figure(self, study):
        display = drawn(MetricDisplay.from_study(study, None).plot())
        assert len(display.axes_) == len(study.metrics)
        assert all(not ax.texts for ax in display.axes_)
        assert display.forests[8].label == "volume CRPS, voxels"
        pooled = MetricDisplay.from_study(study, None, kind="pooled")
        assert len(pooled.forests) == sum(m.poolable for m in study.metrics)

    def test_draws_into_given_axes(self, study):
        figure = Figure()
        axes = figure.subplots(2)
        display = MetricDisplay.from_study(study, ["brier", "mr_ece"]).plot(axes)
        assert display.axes_ == list(axes)
        assert figure.legends == []

    def test_errors_name_what_is_wrong(self, study):
        with pytest.raises(ValueError, match="The study has no metric 'dsc'; it has mr_ece"):
            MetricDisplay.from_study(study, "dsc")
        with pytest.raises(ValueError, match="volume CRPS of pooled cases means nothing; use kind='mean'"):
            MetricDisplay.from_study(study, "volume_crps", kind="pooled")
        with pytest.raises(ValueError, match="kind must be one of 'mean', 'pooled'; got 'median'"):
            MetricDisplay.from_study(study, kind="median")
        with pytest.raises(ValueError, match="one axes for each of the 2 metrics; got 1"):
            MetricDisplay.from_study(study, ["brier", "mr_ece"]).plot(Figure().add_subplot())
        with pytest.raises(ValueError, match="no metric to draw"):
            MetricDisplay(["none"], [])


class TestSaving:
    @pytest.mark.slow
    def test_study_figures_are_written(self, study, tmp_path):
        paths = save_study_figures(study, tmp_path / "figures", formats=("png", "svg"))
        names = ("reliability", "reliability-logit", "calibration-maps", "metrics")
        assert [path.name for path in paths] == [f"{name}.{kind}" for name in names for kind in ("png", "svg")]
        assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in paths)
        assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths[::2])

    @pytest.mark.slow
    def test_what_a_study_lacks_is_left_out(self, cohort, tmp_path):
        names = ["reliability.png", "reliability-logit.png", "metrics.png"]
        study = compare(cohort, methods=["none"], metrics=[brier_score], n_resamples=10)
        assert [path.name for path in save_study_figures(study, tmp_path)] == names
        study = compare(cohort, methods=["none", "MHR"], metrics=[multirater_ece], n_resamples=10)
        assert [path.name for path in save_study_figures(study, tmp_path)] == [
            *names[:2],
            "calibration-maps.png",
            names[2],
        ]

    def test_unknown_format_leaves_nothing(self, study, tmp_path):
        with pytest.raises(ValueError, match=r"format must be one of .*'png'.*; got 'bmp'"):
            save_study_figures(study, tmp_path, formats=("png", "bmp"))
        assert list(tmp_path.iterdir()) == []

    def test_display_saves_and_shows_itself_once_drawn(self, study, tmp_path):
        display = MetricDisplay.from_study(study, "brier")
        assert display._repr_png_() is None
        with pytest.raises(ValueError, match=r"not been drawn yet; call plot\(\) first"):
            display.save(tmp_path / "brier.png")
        display.plot()
        assert display.save(tmp_path / "brier.pdf").read_bytes()[:4] == b"%PDF"
        assert display._repr_png_()[:4] == b"\x89PNG"


def test_without_matplotlib_the_remedy_is_named(study, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    display = ReliabilityDisplay.from_study(study)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install 'mrcalib\[plots\]'"):
        display.plot()


@pytest.mark.slow
def test_importing_plots_does_not_import_matplotlib():
    code = "import sys, mrcalib.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
