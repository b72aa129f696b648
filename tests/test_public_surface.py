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
        BetaBinomialCalibrator BetaCalibrator Case CaseAdaptiveCalibrator Cohort GeometryError HardLabelCalibrator
        HistogramBinningCalibrator IdentityCalibrator MHRIsotonicCalibrator OneVsRestCalibrator OrdinalCalibrator
        PlattCalibrator ProbabilityGrid SaturationWarning SingleRaterCalibrator Study Tally
        TemperatureScalingCalibrator __version__ compare detection fusion io load metrics plots protocols
        register_calibrator register_format register_metric roi simulate tally tally_cases""",
    "mrcalib.calibrators": """
        BetaBinomialCalibrator BetaCalibrator CALIBRATORS CalibrationData Calibrator CaseAdaptiveCalibrator CaseSums
        CountCalibrator HardLabelCalibrator HistogramBinningCalibrator IdentityCalibrator MHRIsotonicCalibrator
        Method Needs OneVsRestCalibrator OrdinalCalibrator PlattCalibrator SCHEMA SingleRaterCalibrator
        TemperatureScalingCalibrator class_named data_of_cohort get_method register_calibrator""",
    "mrcalib.metrics": """
        CorpDecomposition DetectionScore METRICS Metric PlaneContact RaterAgreement ReliabilityCurve
        VascularInvasion VoteCoverage auc average_calibration_error average_precision average_recall
        binomial_count_probs brier_score corp_decomposition count_level_responses count_log_loss count_readout
        count_responses default_metrics detection_calibration detection_ece expected_calibration_error
        gaussian_crps get_metric laece0 log_loss lrp majority_dice maximum_calibration_error mean_rater_ece
        multiclass_report multirater multirater_ece orc_labels pit_deviation pit_histogram
        ranked_probability_score rater_agreement register_metric reliability_curve soft_dice threshold_dice
        vascular_contact vascular_invasion volume_bias volume_crps volume_error vote_coverage_bias vote_interval
        vote_interval_coverage""",
    "mrcalib.detection": """
        BoxGroups Boxes DetectionImage DetectionScore LabelSamplingEnsemble Matches RaterAgreement
        RaterSpecificEnsemble average_precision average_recall detection_calibration detection_cohort
        detection_ece detection_tally group_boxes iou laece0 lrp match rater_agreement votes""",
    "mrcalib.fusion": """
        SimpleResult StapleResult majority median random_rater simple soft soft_gaussian staple svls""",
    "mrcalib.io": """
        Annotations Case Defect FORMATS Geometry Image ImageClass ImageFormat LayoutCase LayoutFolder LayoutInfo
        LoadOptions LoadedAnnotations LoadedCase LoadedClasses OpenCase Slab Source Volume atomic_write discover
        discover_annotations layout_info load_classes read_annotations read_labels read_layout read_manifest
        read_probability read_volume recognise_layout register_format require_classes scan_layout write_labels
        write_manifest write_metrics_json write_probability write_slabs""",
    "mrcalib.detection.files": """
        BoxSet ImageEntry detection_images merge_boxes read_box_csv read_boxes read_coco read_napari rescore write_box_csv
        write_coco write_coco_results write_napari""",
    "mrcalib.protocols": "Measure PROTOCOLS Protocol curvas_2024 curvas_pdacvi get_protocol qubiq",
    "mrcalib.simulate": "Phantom phantoms write_curvas_pdacvi write_dataset",
    "mrcalib.plots": """
        CalibrationMapDisplay CaseDisplay CasesDisplay CountReliabilityDisplay DetectionCalibrationDisplay
        EnsembleSizeDisplay MetricDisplay PITDisplay RaterAgreementDisplay ReliabilityDisplay VoteCoverageDisplay
        choose_cases disagreement_of_raters save_study_figures""",
    "mrcalib.roi": "RoiRecall dilate high_recall_roi roi_recall",
    "mrcalib.study": "Dispute Study compare default_methods paper_methods",
    "mrcalib.scale": "Progress apply_case for_each_class reading_of tally_blocks tally_case tally_cases voxels_of_case",
}
ALIASES = {
    "SCHEMA",
    "CALIBRATORS",
    "FORMATS",
    "METRICS",
    "Image",
    "ImageFormat",
    "PROTOCOLS",
    "Progress",
    "Source",
}
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


def test_matplotlib_and_file_formats_wait_until_they_are_used():
    heavy = ("matplotlib", "nibabel", "SimpleITK")
    rooms = "mrcalib.calibrators, mrcalib.metrics, mrcalib.plots, mrcalib.study"
    code = f"import sys, {rooms}; print(*(m for m in {heavy} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
