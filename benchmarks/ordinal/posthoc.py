"""Distributions over the number of votes after the fact: which method, and what each read-out of one is good for.

Every method is fitted to the patients of the other folds and scored on those of its own; see posthoc.md.

python benchmarks/ordinal/posthoc.py           # finds ../shared/data/lidc_cases, or that of MRCALIB_SHARED
python benchmarks/ordinal/posthoc.py --phantoms 12 --no-lidc --out /tmp/posthoc     # in seconds
"""

# ruff: noqa: E402 - run as a file, the repository must be found first
from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import numpy as np
import pandas as pd
import scipy
import sklearn

import mrcalib
from mrcalib import (
    BetaBinomialCalibrator,
    Cohort,
    IdentityCalibrator,
    MHRIsotonicCalibrator,
    OrdinalCalibrator,
    compare,
)
from mrcalib.io import read_manifest
from mrcalib.metrics import (
    Metric,
    brier_score,
    count_log_loss,
    multirater_ece,
    pit_deviation,
    ranked_probability_score,
    vote_coverage_bias,
)
from mrcalib.metrics.calibration import CalibrationError
from mrcalib.responses import Responses
from mrcalib.simulate import phantoms
from mrcalib.tallies import tally

SHARED = Path(os.environ.get("MRCALIB_SHARED", HERE.parents[2] / "shared"))
METHODS = {
    "none, binomial": IdentityCalibrator(),
    "MHR, binomial": MHRIsotonicCalibrator(),
    "beta-binomial, one rho": BetaBinomialCalibrator(dispersion="constant"),
    "beta-binomial, rho(m)": BetaBinomialCalibrator(),
    "ordinal, expected": OrdinalCalibrator(),
    "ordinal, majority k >= K/2": OrdinalCalibrator("majority"),
    "ordinal, majority k > K/2": OrdinalCalibrator("majority", tie="background"),
}


@dataclass(frozen=True)
class MajorityECE(CalibrationError):
    """The ECE against the majority's label, which the majority read-out aims at."""

    named_options = ("strategy", "target", "kind", "norm", "n_bins", "strict")

    n_bins: int = 15
    strict: bool = False

    def named(self) -> tuple[str, str]:
        sign = ">" if self.strict else ">="
        return f"majority_ece_{sign}", f"ECE, label k {sign} K/2"

    def sums(self, responses: Responses) -> np.ndarray:
        twice = 2 * responses.votes
        label = (twice > responses.answers if self.strict else twice >= responses.answers).astype(np.float64)
        return super().sums(replace(responses, answers=np.ones(label.size), votes=label))


def metrics() -> list[Metric]:
    return [
        multirater_ece.with_options(n_bins=15),
        MajorityECE(),
        MajorityECE(strict=True),
        brier_score,
        ranked_probability_score,
        count_log_loss,
        vote_coverage_bias.with_options(certainty=0.9),
        pit_deviation.with_options(certainty=0.9),
    ]


def lidc(folder: Path, members: str) -> Cohort:
    cases = list(read_manifest(folder / "cases.csv", probs=members))
    parts = []
    for case in cases:
        loaded = case.load()
        parts.append(tally(loaded.probs, [None if mask is None else np.asarray(mask) for mask in loaded.raters]))
    return Cohort(parts, [case.id for case in cases], [case.group or case.id for case in cases])


def simulated(n_cases: int, n_raters: int, seed: int) -> Cohort:
    cases = list(phantoms(n_cases, rng=seed, cases_per_group=2, n_raters=n_raters))
    parts = [tally(case.members.mean(axis=0), case.raters) for case in cases]
    return Cohort(parts, [case.id for case in cases], [case.group for case in cases])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, default=SHARED / "data" / "lidc_cases")
    parser.add_argument("--no-lidc", action="store_true")
    parser.add_argument("--phantoms", type=int, default=40)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    worlds = (
        {}
        if options.no_lidc
        else {
            "LIDC, ensemble": partial(lidc, options.cases, "prob_[0-9]"),
            "LIDC, one network": partial(lidc, options.cases, "prob_single"),
        }
    )
    for n_raters in (4, 5):
        worlds[f"phantoms, {n_raters} raters"] = partial(simulated, options.phantoms, n_raters, options.seed)
    found, described = [], []
    for name, cohort_of in worlds.items():
        study = compare(
            cohort_of(),
            METHODS,
            metrics(),
            cv=options.folds,
            n_resamples=options.resamples,
            random_state=options.seed,
        )
        table = study.intervals("pooled").drop(columns=["kind", "bootstrap_mean"])
        table.insert(0, "world", name)
        found.append(table)
        rho = study.calibrators["beta-binomial, one rho"].rho_[0]
        described.append(f"- {name}: {study.description}; rho of one rho fitted to all: {rho:.3f}")
        print(f"\n{name}: {study.description}\n{study.table('pooled').to_string(float_format='%.5f')}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    pd.concat(found).to_csv(options.out / "posthoc.csv", index=False, float_format="%.6g")
    told = {"mrcalib": mrcalib, "numpy": np, "scipy": scipy, "scikit-learn": sklearn, "pandas": pd}
    versions = ", ".join(f"{name} {module.__version__}" for name, module in told.items())
    print("\n".join(described), f"\nPython {platform.python_version()}, {versions}; seed {options.seed}")


if __name__ == "__main__":
    main()
