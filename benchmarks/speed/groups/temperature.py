"""One temperature, by the cross-entropy to the mean human response, at the clip that mrcalib declares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrcalib
from benchmarks.speed.data import Data
from benchmarks.speed.groups.isotonic import floor
from benchmarks.speed.jobs import Check, Goal, Group, Job

CLIP = 2.0**-24
EPS, EPS4 = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)  # at which netcal clips
SCIPY = "scipy.minimize_scalar on voxels"


def logits(p: NDArray[np.float64], clip: float = CLIP) -> NDArray[np.float64]:
    """Of clipped probabilities."""
    clipped = np.clip(p, clip, 1 - clip)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def optimum(data: Data, target: str = "mean", clip: float = CLIP) -> float:
    """The slope of the logit by Newton's method on the voxels in float64, a chunk at a time."""

    def make() -> float:
        beta = 0.5
        for _ in range(100):
            gradient = curvature = 0.0
            for start in range(0, data.n, 1 << 20):
                part = slice(start, start + (1 << 20))
                y = data.masks[:, part].mean(axis=0) if target == "mean" else data.masks[0, part].astype(np.float64)
                z = logits(data.probs[part].astype(np.float64), clip)
                p = 1 / (1 + np.exp(-beta * z))
                gradient += float(z @ (p - y))
                curvature += float((z * z) @ (p * (1 - p)))
            step = gradient / curvature
            beta -= min(max(step, -0.5 * beta), 0.5 * beta)
            if abs(step) < 1e-13 * beta:
                break
        return beta

    return float(data.kept(f"temperature {target} {clip}", make))


def groups(data: Data) -> list[Group]:
    """One group. SciPy is given the logits ready made."""
    probs, masks = data.probs, data.masks

    def check(beta: float, tolerance: float, target: str = "mean", note: str = "", clip: float = CLIP) -> Check:
        expected = optimum(data, target, clip)
        found = Check.within(abs(beta / expected - 1), tolerance, "relative error")
        said = found.said + (f" (T = {1 / beta:.5f}, right is {1 / expected:.5f})" if not found.right else "") + note
        return Check(found.difference, found.right and not note, said)

    own = "its optimum is another one: it clips at float64's epsilon"
    hard = ", of one rater's labels: the mean response is not taken"

    def two_columns() -> Any:
        return data.kept("two columns", lambda: np.stack([1 - data.wide, data.wide], axis=1))

    def scipy(_: int) -> float:
        from scipy.optimize import minimize_scalar

        z, y = data.kept("logits", lambda: logits(data.wide)), data.mean
        found = minimize_scalar(
            lambda log_t: float(np.mean(np.logaddexp(0, z * np.exp(-log_t)) - y * z * np.exp(-log_t)))
        )
        return float(np.exp(-found.x))

    def sklearn(_: int) -> float:
        from sklearn.calibration import _TemperatureScaling

        z = data.kept("logits", lambda: logits(data.wide))
        return 2 * float(_TemperatureScaling().fit(np.stack([-z, z], axis=1), masks[0].astype(np.int64)).beta_)

    def netcal(dtype: str) -> Any:
        def run(_: int) -> float:
            from netcal.scaling import TemperatureScaling

            calibrator = TemperatureScaling()
            calibrator.fit(data.probs.astype(dtype), data.mean)
            return float(calibrator.temperature[0])

        return run

    def probmetrics(_: int) -> float:
        from probmetrics.calibrators import TemperatureScalingCalibrator

        return float(TemperatureScalingCalibrator().fit(two_columns(), masks[0].astype(np.int64)).invtemp_)

    ours = [
        Job(
            "temperature",
            lambda _: float(mrcalib.TemperatureScalingCalibrator().fit(probs, masks).map_.slope),
            lambda beta: check(beta, 1e-7),
        )
    ]
    peers = [
        Job(
            SCIPY,
            scipy,
            lambda beta: check(beta, 1e-5),
            "scipy",
            threads=(2,),
            note="the time for logits is not counted",
        ),
        Job(
            "scikit-learn _TemperatureScaling",
            sklearn,
            lambda beta: check(beta, 1e-5, "rater 0", hard),
            "sklearn",
            most=1e6,
            threads=(2,),
        ),
        Job(
            "netcal, float64",
            netcal("f8"),
            lambda beta: check(beta, 1e-3, clip=EPS),
            "netcal",
            most=1e5,
            threads=(2,),
            note=own,
        ),
        Job(
            "netcal, float32", netcal("f4"), lambda beta: check(beta, 1e-3, clip=EPS4), "netcal", most=1e5, threads=(2,)
        ),
        Job(
            "probmetrics",
            probmetrics,
            lambda beta: check(beta, 1e-5, "rater 0", hard),
            "probmetrics",
            most=1e6,
            threads=(2,),
            note="own clip",
        ),
    ]
    title = "Temperature (relative error at most 1e-7)"
    return [Group("temperature", title, data.n, ours, peers, floor(data), Goal(4, {SCIPY: 100}))]
