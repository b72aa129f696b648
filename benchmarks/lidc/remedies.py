"""What was tried to keep the volume and Dice: each is a way of fitting to the cases of some patients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import expit, logit
from sklearn.base import clone

from benchmarks.lidc.data import PLACES
from benchmarks.lidc.scoring import Fit, FloatArray, Predict, World
from mrcalib.calibrators import (
    Calibrator,
    CaseAdaptiveCalibrator,
    IdentityCalibrator,
    MHRIsotonicCalibrator,
    data_of_cohort,
)
from mrcalib.calibrators.isotonic import isotonic
from mrcalib.calibrators.logistic import fit_logistic

Curve = Callable[[FloatArray], FloatArray]
LAMBDAS = np.linspace(0, 1, 21)


def library(calibrator: Calibrator) -> Fit:
    """A calibrator of the toolkit."""

    def fit(world: World, train: FloatArray) -> Predict:
        weight = np.zeros(len(world.rows))
        weight[train] = calibrator.weights_of_cases(world.cohort)[train]
        (data,) = data_of_cohort(world.cohort, weight[np.newaxis], calibrator.needs, case_sums=world.sums)
        fitted = clone(calibrator).fit_data(data, world.cohort.raters)
        return lambda i: fitted.map_of_case(world.rows[i].prob, world.rows[i].count)(world.rows[i].prob)

    return fit


def isotonic_of(world: World, cases: FloatArray, weight: FloatArray | None = None, where: object = None) -> Curve:
    """The isotonic map of some cases, or of their voxels in one place."""
    kept = [slice(None) if where is None else where(i) for i in cases]  # type: ignore[operator]
    bins = np.concatenate([world.cohort.tallies[i].cells.bin[k] for i, k in zip(cases, kept, strict=True)])
    factor = np.ones(len(world.rows)) if weight is None else weight
    columns = [
        np.concatenate([f(world.rows[i])[k] * factor[i] for i, k in zip(cases, kept, strict=True)])
        for f in (lambda r: r.count, lambda r: r.count * r.prob, lambda r: r.count * r.votes / r.answers)
    ]
    _, index = np.unique(bins, return_inverse=True)
    mass, prob, votes = (np.bincount(index, column) for column in columns)
    fitted = isotonic(votes / mass, mass)
    return lambda p: np.interp(p, prob / mass, fitted)


def weighted(weight: Callable[[World], FloatArray]) -> Fit:
    """MHR with other weights of cases."""

    def fit(world: World, train: FloatArray) -> Predict:
        curve = isotonic_of(world, train, weight(world))
        return lambda i: curve(world.rows[i].prob)

    return fit


def mixed(inner: Fit, share: float) -> Fit:
    """Shrunk towards no calibration."""

    def fit(world: World, train: FloatArray) -> Predict:
        predict = inner(world, train)
        return lambda i: share * predict(i) + (1 - share) * world.rows[i].prob

    return fit


def mixed_by_score(inner: Fit, score: str) -> Fit:
    """The same with the share of least Brier score or log loss, cross-validated among the patients of the fit."""

    def fit(world: World, train: FloatArray) -> Predict:
        names = np.array([world.cohort.groups[i] for i in train])
        part = np.unique(names, return_inverse=True)[1] % 5
        loss = np.zeros(LAMBDAS.size)
        for k in range(5):
            predict = inner(world, train[part != k])
            for i in train[part == k]:
                r, q = world.rows[i], predict(i)
                p = np.clip(LAMBDAS[:, None] * q + (1 - LAMBDAS[:, None]) * r.prob, 2.0**-24, 1 - 2.0**-24)
                m = r.votes / r.answers
                each = (p - m) ** 2 if score == "brier" else -(m * np.log(p) + (1 - m) * np.log1p(-p))
                loss += each @ r.count / r.count.sum()
        return mixed(inner, float(LAMBDAS[np.argmin(loss)]))(world, train)

    return fit


def floored(inner: Fit, share: float) -> Fit:
    """0 below the probability under which ``share`` of the calibrated volume lies."""

    def fit(world: World, train: FloatArray) -> Predict:
        predict = inner(world, train)
        prob = np.concatenate([world.rows[i].prob for i in train])
        mass = np.concatenate([world.rows[i].count * predict(i) for i in train])
        order = np.argsort(prob)
        below = np.cumsum(mass[order])
        limit = prob[order][np.searchsorted(below, share * below[-1])]
        return lambda i: np.where(world.rows[i].prob < limit, 0.0, predict(i))

    return fit


def by_place(places: tuple[tuple[int, ...], ...], *, drop: tuple[int, ...] = ()) -> Fit:
    """A map for each group of places (distance to the predicted boundary), cases equal; 0 at the places in ``drop``."""

    def fit(world: World, train: FloatArray) -> Predict:
        where = [partial(lambda i, group: np.isin(world.strata[i] // 2, group), group=group) for group in places]
        curves = [isotonic_of(world, train, world.equal, w) for w in where]

        def predict(i: int) -> FloatArray:
            out = np.zeros(world.rows[i].prob.size)
            for curve, w in zip(curves, where, strict=True):
                out[w(i)] = curve(world.rows[i].prob[w(i)])
            out[np.isin(world.strata[i] // 2, drop)] = 0.0
            return out

        return predict

    return fit


def size_terciles(world: World, train: FloatArray) -> Predict:
    """A map for each third of the predicted volumes, cases equal."""
    third = np.digitize(world.predicted, np.quantile(world.predicted[train], [1 / 3, 2 / 3]))
    curves = [isotonic_of(world, train[third[train] == k], world.equal) for k in range(3)]
    return lambda i: curves[third[i]](world.rows[i].prob)


def size_covariate(world: World, train: FloatArray) -> Predict:
    """The logit of the map made linear in the log of the predicted volume, with an interaction."""
    curve = isotonic_of(world, train, world.equal)
    size = np.log(np.maximum(world.predicted, 1.0))
    size = (size - size[train].mean()) / size[train].std()

    def features(i: int) -> FloatArray:
        z = logit(np.clip(curve(world.rows[i].prob), 2.0**-24, 1 - 2.0**-24))
        return np.stack([z, np.full(z.size, size[i]), z * size[i], np.ones(z.size)], axis=1)

    weight = np.concatenate([world.rows[i].count * world.equal[i] for i in train])
    response = np.concatenate([world.rows[i].votes / world.rows[i].answers for i in train])
    found = fit_logistic(np.concatenate([features(i) for i in train]), weight, response, n_nonnegative=1)
    return lambda i: expit(features(i) @ found)


EQUAL = library(MHRIsotonicCalibrator(case_weight="equal"))
NEAR = (0, 1, 2, 3)

REMEDIES: dict[str, Fit] = {
    "none": library(IdentityCalibrator()),
    "MHR": library(MHRIsotonicCalibrator()),
    "MHR-equal": EQUAL,
    "bins of equal votes": library(MHRIsotonicCalibrator("equal-votes", 50, case_weight="equal")),
    "0 kept at 0": library(MHRIsotonicCalibrator(keep_zero=True, case_weight="equal")),
    "cases by 1 / predicted volume": weighted(lambda world: 1 / np.maximum(world.predicted, 1.0)),
    "cases by 1 / marked volume": weighted(lambda world: 1 / np.maximum(world.marked, 1.0)),
    "floor: 2 % of the volume to 0": floored(EQUAL, 0.02),
    "floor: 5 % of the volume to 0": floored(EQUAL, 0.05),
    "ROI: within 6 px, 0 outside": by_place((NEAR,), drop=(4,)),
    "ROI: within 6 px, own map outside": by_place((NEAR, (4,))),
    "distance strata": by_place(tuple((k,) for k in range(len(PLACES)))),
    "half map, half p": mixed(EQUAL, 0.5),
    "mixture by Brier score": mixed_by_score(EQUAL, "brier"),
    "mixture by log loss": mixed_by_score(EQUAL, "log_loss"),
    "size terciles": size_terciles,
    "size covariate": size_covariate,
    "adaptive: sizes only": library(CaseAdaptiveCalibrator(3, "map")),
    "adaptive: volume only": library(CaseAdaptiveCalibrator(1, "blend")),
    "adaptive: volume kept": library(CaseAdaptiveCalibrator(3, "segmenter")),
    "case-adaptive": library(CaseAdaptiveCalibrator()),
    "half case-adaptive, half p": mixed(library(CaseAdaptiveCalibrator()), 0.5),
}
