"""What users may rely on: the public names, that they are documented as they are, and what importing them costs."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys

import pytest

SURFACE = {
    "mrcalib": """
        BetaCalibrator Case Cohort GeometryError HardLabelCalibrator HistogramBinningCalibrator IdentityCalibrator
        MHRIsotonicCalibrator PlattCalibrator ProbabilityGrid SaturationWarning SingleRaterCalibrator Study Tally
        TemperatureScalingCalibrator __version__ compare io load metrics plots protocols simulate tally tally_cases""",
    "mrcalib.calibrators": """
        BetaCalibrator HardLabelCalibrator HistogramBinningCalibrator IdentityCalibrator MHRIsotonicCalibrator
        PlattCalibrator SingleRaterCalibrator TemperatureScalingCalibrator VoteCalibrator""",
    "mrcalib.metrics": """
        CorpDecomposition Metric ReliabilityCurve auc auc_metric average_calibration_error binomial_count_probs
        brier_metric brier_score corp_decomposition default_metrics ece_metric expected_calibration_error gaussian_crps
        get_metric log_loss log_loss_metric majority_dice majority_dice_metric maximum_calibration_error mean_rater_ece
        multirater multirater_ece ranked_probability_score reliability_curve reliability_metric soft_dice soft_dice_metric
        threshold_dice threshold_dice_metric volume_bias volume_bias_metric volume_crps volume_crps_metric volume_error
        volume_error_metric""",
    "mrcalib.io": """
        Case Geometry LoadOptions LoadedCase Source Volume atomic_write discover read_labels read_manifest
        read_probability read_volume write_manifest write_probability""",
    "mrcalib.protocols": "curvas_pdacvi",
    "mrcalib.simulate": "Phantom phantoms write_dataset",
    "mrcalib.plots": """
        CalibrationMapDisplay CaseDisplay MetricDisplay ReliabilityDisplay save_study_figures""",
    "mrcalib.scale": "Progress tally_case tally_cases voxels_of_case",
}
ALIASES = {"Source", "Progress"}  # types, which carry their docstring below the assignment
REFERS = re.compile(r"(those of|as in|as for)\s+`|[Pp]arameters are\s+those\s+of|are\s+those\s+of\s+``")
HEAVY = ("numba", "scipy", "sklearn", "pandas", "matplotlib", "nibabel", "SimpleITK")


def public():
    for room in SURFACE:
        module = importlib.import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.ismodule(value) and name not in ALIASES | {"__version__"}:
                yield f"{room}.{name}", value


def with_methods():
    for name, value in public():
        yield name, value
        for attribute, member in vars(value).items() if inspect.isclass(value) else ():
            method = getattr(member, "__func__", member)  # of classmethods
            if inspect.isfunction(method) and not attribute.startswith("_"):
                yield f"{name}.{attribute}", method


def named(cases):
    return pytest.mark.parametrize("value", [pytest.param(v, id=n.removeprefix("mrcalib.")) for n, v in cases()])


def section(value, title):
    """Names in a numpydoc section, or None where there is none."""
    found = re.search(
        rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-{{3,}}\n|\Z)", inspect.getdoc(value), re.DOTALL | re.MULTILINE
    )
    if not found:
        return None
    lines = [line for line in found[1].splitlines() if line and not line.startswith((" ", "..", ">>>"))]
    return [name.strip().lstrip("*") for line in lines for name in line.split(" : ")[0].split(",")]


@pytest.mark.parametrize("room", SURFACE)
def test_the_public_names_are_the_committed_ones(room):
    """A name that comes or goes is a decision: change the list above and the changelog with it."""
    module = importlib.import_module(room)
    assert sorted(module.__all__) == SURFACE[room].split()
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


def test_dir_shows_the_public_names_and_unknown_ones_are_refused():
    import mrcalib

    assert set(SURFACE["mrcalib"].split()) <= set(dir(mrcalib))
    with pytest.raises(AttributeError, match="module 'mrcalib' has no attribute 'calibrate'"):
        _ = mrcalib.calibrate


@named(with_methods)
def test_every_public_name_has_a_docstring_of_its_own(value):
    assert value.__doc__
    if inspect.isclass(value):
        assert value.__doc__ != value.__mro__[1].__doc__
        assert not value.__doc__.startswith(f"{value.__name__}(")  # what dataclass makes when there is none


def parameters_of(value):
    return [p for p in inspect.signature(value).parameters if p not in ("self", "cls")]


@named(with_methods)
def test_documented_parameters_are_those_of_the_signature(value):
    documented = section(value, "Parameters")
    if documented is not None and REFERS.search(inspect.getdoc(value)):
        assert set(documented) <= set(parameters_of(value))
    elif documented is not None:
        assert sorted(documented) == sorted(parameters_of(value))


@named(public)
def test_every_parameter_is_documented_or_said_to_be_another_s(value):
    if inspect.isclass(value) and issubclass(value, Exception):
        return
    told = inspect.getdoc(value)
    documented = [*(section(value, "Parameters") or ()), *(section(value, "Attributes") or ())]
    missing = [p for p in parameters_of(value) if p not in documented and not re.search(rf"\b{p}\b", told)]
    assert not missing or REFERS.search(told)


@pytest.mark.parametrize("room", ["mrcalib", "mrcalib.io"])
def test_importing_it_loads_nothing_heavy(room):
    code = f"import sys, {room}; print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("room", ["mrcalib.calibrators", "mrcalib.metrics", "mrcalib.plots", "mrcalib.study"])
def test_matplotlib_and_file_formats_wait_until_they_are_used(room):
    heavy = ("matplotlib", "nibabel", "SimpleITK")
    code = f"import sys, {room}; print(*(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
