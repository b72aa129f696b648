"""What follows the pass over the voxels: 5000 bootstrap resamples, and leave-one-case-out of ten methods, on 64 tallies."""

from __future__ import annotations

from typing import Any

import numpy as np

import mrcalib
from benchmarks.speed.data import Data
from benchmarks.speed.groups.ece import N_BINS, numpy_errors
from benchmarks.speed.jobs import Check, Goal, Group, Job
from mrcalib.resampling import bootstrap_counts

N_CASES, N_RESAMPLES = 64, 5000
NAIVE = "naive bootstrap in NumPy"


def cohort(data: Data, n_cases: int = N_CASES) -> mrcalib.Cohort:
    """The voxels as so many cases, tallied: the pass that is not timed here."""

    def make() -> mrcalib.Cohort:
        parts = [mrcalib.tally(probs, masks) for probs, masks in data.cases(n_cases)]
        return mrcalib.Cohort(parts, [f"{i:03d}" for i in range(n_cases)])

    return data.kept(f"cohort of {n_cases}", make)


def groups(data: Data) -> list[Group]:
    """Bootstrap, leave-one-case-out; the order of voxels is nothing to them."""
    if data.kind != "coherent":
        return []

    def bootstrap(_: int) -> Any:
        tallied = mrcalib.Cohort(cohort(data).tallies, cohort(data).ids)  # keeps nothing of the repetition before
        study = mrcalib.compare(tallied, ["none"], cv=None, n_resamples=N_RESAMPLES, random_state=0)
        return study, study.intervals("pooled")

    def bootstrap_check(found: Any) -> Check:
        """The estimate, and the mean of the resamples drawn again from each case's sums in NumPy."""
        study, table = found
        row = table.set_index("metric").loc["mr_ece"]
        whole = abs(row["estimate"] - numpy_errors(data.probs, data.masks)[-1])
        counts = bootstrap_counts(study.groups, N_RESAMPLES, 0)[:3]
        mine = study._samples("none", study.metrics[0], "pooled")[:3]
        again = [numpy_errors(*_resample(data, row_counts))[-1] for row_counts in counts]
        return Check.within(
            max(whole, np.abs(mine - again).max()), 1e-9, "largest difference of the estimate and 3 resamples"
        )

    def naive(_: int) -> float:
        """One resample: its voxels are put together, and the error is computed anew."""
        counts = bootstrap_counts([str(i) for i in range(N_CASES)], 1, 0)[0]
        return float(numpy_errors(*_resample(data, counts))[-1])

    def leave_one_out(_: int) -> Any:
        return mrcalib.compare(mrcalib.Cohort(cohort(data).tallies, cohort(data).ids), ten, n_resamples=1)

    def leave_one_out_check(study: Any) -> Check:
        """Two cases by hand: the map of the other 63 tallies, and NumPy's ECE of the calibrated bins."""
        worst = 0.0
        whole = cohort(data)
        for case in (0, N_CASES // 2):
            others = mrcalib.Cohort([t for i, t in enumerate(whole.tallies) if i != case])
            rows = whole.tallies[case].responses()
            for name, calibrator in (
                ("MHR", mrcalib.MHRIsotonicCalibrator()),
                ("temperature", mrcalib.TemperatureScalingCalibrator()),
            ):
                p = np.asarray(calibrator.fit_tally(others).map_(rows.prob))
                edges = np.linspace(0, 1, N_BINS + 1).astype(np.float32)
                index = np.minimum(np.digitize(p.astype(np.float32), edges) - 1, N_BINS - 1)
                gap = np.bincount(index, rows.count * (p - rows.votes / rows.answers), N_BINS)
                mine = study.case_values(name, study.metrics[0])[case]
                worst = max(worst, abs(mine - np.abs(gap).sum() / rows.count.sum()))
        return Check.within(worst, 1e-12, "largest difference of 2 cases and methods by hand")

    ten = [name for name in mrcalib.compare(cohort(data), n_resamples=1).methods if name != "none"]
    resample = Job(
        f"{N_RESAMPLES} resamples of every pooled metric",
        bootstrap,
        bootstrap_check,
        threads=(2,),
        note="from tallies to intervals",
    )
    loo = Job(
        f"leave-one-case-out, {len(ten)} methods",
        leave_one_out,
        leave_one_out_check,
        threads=(2,),
        note="all default methods and metrics, the fits to all cases included",
    )
    return [
        Group(
            "bootstrap",
            f"{N_RESAMPLES} bootstrap resamples, {N_CASES} cases",
            data.n,
            [resample],
            [
                Job(
                    NAIVE,
                    naive,
                    threads=(2,),
                    note=f"ONE resample of ONE metric is timed; {N_RESAMPLES} would be so many times that",
                )
            ],
            goal=Goal(within=0.5),
        ),
        Group("leave-one-out", f"Leave-one-case-out, {N_CASES} cases", data.n, [loo], goal=Goal(within=2.0)),
    ]


def _resample(data: Data, counts: Any) -> tuple[Any, Any]:
    drawn = [case for case, n in zip(data.cases(N_CASES), counts, strict=True) for _ in range(int(n))]
    return np.concatenate([probs for probs, _ in drawn]), np.concatenate([masks for _, masks in drawn], axis=1)
