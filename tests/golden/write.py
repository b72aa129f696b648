"""Write golden files of the present schema: once, when it is new. Files that exist are never touched; see README.md."""

from pathlib import Path

import numpy as np

import mrcalib
from mrcalib import persistence, tallies

HERE = Path(__file__).parent
PROBS = np.array([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])
RATERS = {"ann": [0, 0, 1, 0, 1, 1], "bo": [0, 0, 1, 0, 1, 1], "cy": [0, 1, 0, 1, 1, 1]}


def cohort():
    """Two cases: the second without rater cy, and with a voxel that was refused."""
    first = mrcalib.tally(PROBS, list(RATERS.values()), rater_names=list(RATERS))
    second = mrcalib.tally(
        np.append(PROBS, np.nan), [[*RATERS["ann"], 0], [*RATERS["bo"], 0]], rater_names=["ann", "bo"], invalid="drop"
    )
    return mrcalib.Cohort([first, second], ["one", "two"], ["p", "p"], [0.001, 0.002])


def other_cohort():
    """The same voxels and raters for another class, at probabilities that leave room for the first."""
    left = 1 - PROBS
    first = mrcalib.tally(left, 1 - np.array(list(RATERS.values())), rater_names=list(RATERS))
    second = mrcalib.tally(left, np.zeros((2, 6), np.uint8), rater_names=["ann", "bo"])
    return mrcalib.Cohort([first, second], ["one", "two"], ["p", "p"], [0.001, 0.002])


def main():
    methods = {
        "mhr": mrcalib.MHRIsotonicCalibrator(keep_zero=True, case_weight="equal"),
        "single-rater": mrcalib.SingleRaterCalibrator("cy"),
        "hard-label": mrcalib.HardLabelCalibrator(),
        "temperature": mrcalib.TemperatureScalingCalibrator(),
        "platt": mrcalib.PlattCalibrator(clip=0.01),
        "beta": mrcalib.BetaCalibrator(clip=0.01),
        "histogram": mrcalib.HistogramBinningCalibrator(n_bins=4),
        "identity": mrcalib.IdentityCalibrator(),
        "case-adaptive": mrcalib.CaseAdaptiveCalibrator(volume="segmenter"),
        "ordinal": mrcalib.OrdinalCalibrator(n_raters=2),
        "beta-binomial": mrcalib.BetaBinomialCalibrator("none", "constant"),
    }
    data = cohort()
    for name, method in methods.items():
        path = HERE / f"calibrator-v{persistence.SCHEMA}-{name}.json"
        if not path.exists():
            method.fit_tally(data).save(path)
    path = HERE / f"classes-v{persistence.CLASSES_SCHEMA}.json"
    if not path.exists():
        together = mrcalib.OneVsRestCalibrator(classes={"kidney": 2, "pancreas": 1}, normalize=True)
        together.fit_tally({"pancreas": data, "kidney": other_cohort()}).save(path)
    path = HERE / f"tally-v{tallies.SCHEMA}.npz"
    if not path.exists():
        data.tallies[1].save(path, case="two", group="p", voxel_volume=0.002, inputs="0" * 64)


if __name__ == "__main__":
    main()
