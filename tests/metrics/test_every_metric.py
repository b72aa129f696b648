"""What holds for every registered metric: one number whoever computes it, one spelling of every argument, many spellings of
its name. A metric that is added is tested here without a line being written."""

from __future__ import annotations

import argparse
import inspect

import numpy as np
import pytest

import mrcalib
from mrcalib import Case, Cohort, compare, tally
from mrcalib.cli._options import known_name
from mrcalib.metrics import METRICS, Metric, get_metric, multirater_ece, threshold_dice
from mrcalib.metrics.count_scores import CountMetric

EVERY = pytest.mark.parametrize("metric", [m for _, m in METRICS.items()], ids=METRICS.names())
K = 3


def metric_name(text):
    """The name that the command line makes of what a user writes."""
    return known_name("metric", text)


def image(seed, shape, *, levels=16):
    """Probabilities of few different values, which a tally keeps exactly, and the masks of three raters."""
    rng = np.random.default_rng(seed)
    probs = (rng.integers(0, levels + 1, shape) / levels).astype(np.float32)
    return probs, (rng.random((K, *shape)) < probs).astype(np.uint8)


IMAGES = [image(0, (8, 9, 5)), image(1, (11, 7, 4)), image(2, (6, 6, 6))]
PROBS, MASKS = [probs for probs, _ in IMAGES], [masks for _, masks in IMAGES]


def call(metric, *args, **options):
    """The metric of probabilities, from which metrics of counts make binomial ones if they are told so."""
    return metric(*args, **options, **({"class_axis": None} if isinstance(metric, CountMetric) else {}))


def values(metric):
    return [call(metric, probs, masks) for probs, masks in IMAGES]


@pytest.fixture(scope="module")
def cohort():
    return Cohort([tally(probs, masks) for probs, masks in IMAGES])


@pytest.fixture(scope="module")
def study(cohort):
    return compare(cohort, ["none", "MHR"], METRICS.names(), cv=None, n_resamples=10)


@EVERY
def test_it_is_one_number_of_arrays_a_tally_a_cohort_and_in_a_study(metric, cohort, study):
    exact = values(metric)
    for expected, part in zip(exact, cohort, strict=True):
        assert metric(part) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert metric(Cohort([part])) == metric(part)
    assert metric(cohort) == pytest.approx(np.mean(exact), rel=1e-9, abs=1e-12)
    assert study.case_values("none", metric) == pytest.approx([metric(part) for part in cohort], rel=1e-12, abs=1e-15)
    assert study.table().loc["none", metric.label] == pytest.approx(metric(cohort), rel=1e-12, abs=1e-15)
    if metric.poolable:
        pooled = call(metric, PROBS, MASKS, average="pooled")
        together = np.concatenate([p.ravel() for p in PROBS]), np.concatenate([m.reshape(K, -1) for m in MASKS], axis=1)
        assert pooled == pytest.approx(call(metric, *together), rel=1e-9, abs=1e-12)
        assert study.table("pooled").loc["none", metric.label] == pytest.approx(pooled, rel=1e-9, abs=1e-12)
        assert metric(cohort, average="pooled") == pytest.approx(pooled, rel=1e-9, abs=1e-12)
    else:
        with pytest.raises(ValueError, match="use average='mean'"):
            metric(cohort, average="pooled")
        with pytest.raises(ValueError, match="use average='mean'"):
            call(metric, PROBS, MASKS, average="pooled")


def log_odds(p):
    return np.log(np.clip(p, 1e-12, 1)) - np.log(np.clip(1 - p, 1e-12, 1))


def bound_of_a_tally(metric, probs, positive):
    """How far the docstring lets the value of a tally be off; None where it says nothing."""
    smaller = np.minimum(probs, 1 - probs).mean()
    close = (np.abs(np.subtract.outer(log_odds(probs[positive]), log_odds(probs[~positive]))) < 0.06).mean()
    bounds = {"brier": 0.004 * smaller, "log_loss": 0.004, "soft_dice": 0.004, "auc": close, "rps": 0.016 * smaller}
    return bounds.get(metric.name, 1e-9 if not isinstance(metric, CountMetric) and "auc" not in metric.name else None)


def worst_of_a_bin(where, n=400):
    """Probabilities at both ends of some bins of the grid, marked at the upper ones: the worst that a bin can hide."""
    start = np.float32(where).view(np.int32) + (np.arange(n) // 40 << 16)  # the grid keeps 7 bits of the mantissa
    mask = np.arange(n) % 2 == 1
    return (start + np.where(mask, 0xFFFF, 0)).astype(np.int32).view(np.float32), mask


@pytest.mark.parametrize("where", [0.0009765625, 0.0625, 0.25, 0.46875])
@EVERY
def test_a_tally_is_off_by_no_more_than_the_docstring_says(metric, where):
    probs, mask = worst_of_a_bin(where)
    bound = bound_of_a_tally(metric, probs.astype(np.float64), mask)
    if bound is not None:
        off = metric(tally(probs, mask)) - call(metric, probs, mask[np.newaxis])
        assert abs(off) <= bound + 1e-12


def test_the_bound_of_the_brier_score_is_nearly_reached():
    probs, mask = worst_of_a_bin(2**-10)
    off = get_metric("brier")(tally(probs, mask)) - get_metric("brier")(probs, mask)
    assert off > 0.85 * bound_of_a_tally(get_metric("brier"), probs.astype(np.float64), mask)


@EVERY
def test_cases_are_given_as_people_hold_them(metric):
    expected = np.mean(values(metric))
    cases = [Case(str(i), probs, masks) for i, (probs, masks) in enumerate(IMAGES)]
    assert call(metric, PROBS, MASKS) == pytest.approx(expected, rel=1e-12)
    assert call(metric, iter(PROBS), MASKS) == pytest.approx(expected, rel=1e-12)
    assert call(metric, list(zip(PROBS, MASKS, strict=True))) == pytest.approx(expected, rel=1e-12)
    assert call(metric, PROBS, [dict(enumerate(masks)) for masks in MASKS]) == pytest.approx(expected, rel=1e-12)
    assert metric(cases) == pytest.approx(expected, rel=1e-12)
    assert metric(case for case in cases) == pytest.approx(expected, rel=1e-12)
    assert metric([case.load() for case in cases]) == pytest.approx(expected, rel=1e-12)
    assert metric(cases[1]) == pytest.approx(values(metric)[1], rel=1e-12)


@EVERY
def test_tensors_are_arrays(metric):
    torch = pytest.importorskip("torch")
    probs, masks = (torch.from_numpy(array) for array in IMAGES[0])
    assert call(metric, probs.requires_grad_(), masks) == values(metric)[0]
    weight = torch.full(probs.shape, 2.0)
    scale = 2 if metric.unit == "mL" else 1
    assert call(metric, probs, masks, roi=weight > 1, sample_weight=weight) == pytest.approx(scale * values(metric)[0])


@EVERY
def test_every_metric_takes_the_same_arguments(metric):
    parameters = inspect.signature(metric).parameters
    assert list(parameters)[1] == "raters"
    assert list(parameters)[-4:] == ["roi", "sample_weight", "rater_axis", "average"]
    probs, masks = (array.reshape(*array.shape[:-3], -1) for array in IMAGES[0])
    expected = values(metric)[0]
    assert call(metric, probs, masks.T, rater_axis=-1) == pytest.approx(expected, rel=1e-12)
    rng = np.random.default_rng(3)
    roi, weight = rng.random(probs.size) < 0.7, rng.integers(0, 3, probs.size)
    inside = call(metric, probs[roi], masks[:, roi])
    assert call(metric, probs, masks, roi=roi) == pytest.approx(inside, rel=1e-12)
    repeated = call(metric, np.repeat(probs, weight), np.repeat(masks, weight, axis=1))
    assert call(metric, probs, masks, sample_weight=weight) == pytest.approx(repeated, rel=1e-9)
    half = [np.where(roi, 1.0, 0.0).reshape(PROBS[0].shape), None, None]
    parts = [inside, *values(metric)[1:]]
    assert call(metric, PROBS, MASKS, roi=half) == pytest.approx(np.mean(parts), rel=1e-12)


@EVERY
def test_arguments_that_it_does_not_have_are_refused_with_those_that_it_has(metric):
    probs, masks = IMAGES[0]
    with pytest.raises(TypeError, match=rf"^{metric.__name__}\(\) got an unexpected keyword argument 'rois'. Did you"):
        metric(probs, masks, rois=probs > 0)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'magic'\. Those it takes: "):
        metric.with_options(magic=1)
    with pytest.raises(ValueError, match="average must be one of 'mean', 'pooled'"):
        metric(probs, masks, average="median")
    with pytest.raises(TypeError, match="of a Tally takes no roi"):
        metric(tally(probs, masks), roi=probs > 0)
    with pytest.raises(TypeError, match="needs raters beside probs"):
        metric(probs)


@EVERY
def test_all_its_names_are_accepted_everywhere(metric, study):
    spellings = [metric.name, metric.label, metric.name.replace("_", "-").upper(), metric.label.lower()]
    if metric == type(metric)():
        spellings.append(metric.__name__)
        assert getattr(mrcalib.metrics, metric.__name__).name == metric.name
    for spelling in spellings:
        assert get_metric(spelling) is metric
        assert metric_name(spelling) == metric.name
        assert study.metric(spelling) is metric
    assert metric.label in study.table()
    assert metric.name in set(study.per_case()["metric"])
    wrong = f"{metric.name}x"
    for look_up, error in ((get_metric, ValueError), (metric_name, argparse.ArgumentTypeError)):
        with pytest.raises(error, match=f"There is no metric '{wrong}'. Did you mean .*Known: mr_ece, "):
            look_up(wrong)


@EVERY
def test_its_docstring_has_an_example_and_says_what_it_returns(metric):
    told = inspect.getdoc(metric)
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n---" in told
    assert f"{metric.__name__}(" in told.split("Examples")[1]


def test_options_that_are_not_the_defaults_have_a_name_of_their_own():
    """One name has one value, so what changes the value changes the name."""
    assert (multirater_ece.with_options(n_bins=15).name, multirater_ece.with_options(n_bins=15).label) == (
        "mr_ece_n_bins_15",
        "MR-ECE (n_bins=15)",
    )
    assert multirater_ece.with_options(n_bins=50) == multirater_ece
    assert threshold_dice.with_options(thresholds=[0.25, 0.5]).label == "TDSC (0.25, 0.5)"
    assert threshold_dice.with_options(thresholds="qubiq") == get_metric("TDSC (qubiq)")


@pytest.fixture
def toy():
    """A metric that a newcomer registers in a file outside the package."""

    @mrcalib.register_metric(aliases=("overshoot",))
    class Overconfidence(Metric):
        name = "overconfidence"
        label = "over-confidence"
        better = "zero"

        def sums(self, responses):
            prob, answers = responses.distinct()
            return np.array([answers.pairs.sum(), (answers.pairs * prob - answers.votes).sum()])

        def value(self, sums):
            return sums[..., 1] / sums[..., 0]

    yield Overconfidence()
    METRICS.unregister("overconfidence")


def test_a_metric_from_outside_is_known_like_those_of_the_package(toy, cohort):
    assert toy(*IMAGES[0]) == pytest.approx(float(PROBS[0].mean() - MASKS[0].mean()), abs=1e-7)
    found = compare(cohort, ["none"], ["Over-Confidence", "brier"], cv=None, n_resamples=10)
    assert found.table().columns.tolist() == ["over-confidence", "Brier"]
    assert found.table().loc["none", "over-confidence"] == pytest.approx(toy(PROBS, MASKS), abs=1e-9)
    assert metric_name("overshoot") == "overconfidence"
    assert get_metric("overconfidence") == toy


def test_a_name_that_another_metric_has_is_refused(toy):
    class Brier(type(toy)):
        name = "brier"

    with pytest.raises(ValueError, match=r"There is a metric 'brier' already, mrcalib\.metrics\.proper\.BrierScore"):
        mrcalib.register_metric(Brier)

    class Another(type(toy)):
        name = "another"
        label = "MR-ECE"

    with pytest.raises(ValueError, match="'another' needs a name of its own; there is already 'mr_ece'"):
        mrcalib.register_metric(Another)
    with pytest.raises(TypeError, match=r"A metric is a mrcalib\.metrics\.Metric"):
        mrcalib.register_metric(len)


@pytest.mark.parametrize(
    "old", ["auc_metric", "brier_metric", "ece_metric", "reliability_metric", "rps_metric", "threshold_dice_metric"]
)
def test_the_factories_of_the_version_before_still_make_metrics_and_warn(old):
    with pytest.warns(DeprecationWarning, match=rf"{old}\(\.\.\.\) is now mrcalib\.metrics\..*with_options"):
        factory = getattr(mrcalib.metrics, old)
    assert isinstance(factory(), Metric)


def test_a_renamed_option_still_works_and_warns():
    with pytest.warns(DeprecationWarning, match=r"auc\(label=\) is now called target="):
        old = mrcalib.metrics.auc(*IMAGES[0], label="majority")
    assert old == mrcalib.metrics.auc(*IMAGES[0], target="majority")
