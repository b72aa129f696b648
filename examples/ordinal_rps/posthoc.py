"""What can be had after training, for any network: calibrators fitted to the validation patients."""

from mrcalib import Tally
from mrcalib.calibrators import (
    BetaBinomialCalibrator,
    MHRIsotonicCalibrator,
    OrdinalCalibrator,
    TemperatureScalingCalibrator,
)

CALIBRATORS = {
    "temperature": TemperatureScalingCalibrator,
    "MHR": MHRIsotonicCalibrator,
    "ordinal": OrdinalCalibrator,
    "beta-binomial": BetaBinomialCalibrator,
}


def fitted(tallies):
    """Options of `evaluate.score` by method; "none" leaves the network as it is."""
    whole = Tally.sum(tallies)
    found = {"none": {}}
    for name, make in CALIBRATORS.items():
        calibrator = make().fit_tally(whole)
        found[name] = {"transform": calibrator.transform}
        if hasattr(calibrator, "predict_counts"):
            found[name]["distribution"] = calibrator.predict_counts
    return found
