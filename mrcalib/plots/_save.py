"""The figures of a study, written to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrcalib.calibrators import IdentityCalibrator
from mrcalib.inputs import check_choice
from mrcalib.plots._display import new_figure, save_figure
from mrcalib.plots._maps import CalibrationMapDisplay
from mrcalib.plots._metrics import MetricDisplay
from mrcalib.plots._reliability import ReliabilityDisplay

if TYPE_CHECKING:
    from mrcalib.study import Study

__all__ = ["binned_error", "save_study_figures"]


def binned_error(study: Study) -> str | None:
    """The study's calibration error in 50 bins of equal width, best with its raters told apart; None if it has none."""
    names = [metric.name for metric in study.metrics]
    return next((name for name in ("mean_rater_ece", "mr_ece") if name in names), None)


def save_study_figures(study: Study, folder: str | Path, *, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write a study's figures: reliability on linear and on logit axes, calibration maps, and forest plots of all metrics.

    Parameters
    ----------
    study : Study
        As ``mrcalib.compare`` made it.
    folder : str or Path
        Created if need be; files of the same names are replaced, each at once.
    formats : sequence of str, default=("png",)
        File types that matplotlib writes, such as "png", "svg" and "pdf".

    Returns
    -------
    list of Path
        ``reliability``, ``reliability-logit``, ``calibration-maps`` and ``metrics``, in each format. What the study has
        nothing to draw from is left out: no calibration error, no method that changes probabilities.

    Raises
    ------
    ValueError
        For an unknown format.
    ImportError
        If matplotlib is not installed.
    """
    supported = tuple(new_figure(1, 1).canvas.get_supported_filetypes())
    for kind in formats:
        check_choice("format", kind, supported)
    figures = {}
    names = [metric.name for metric in study.metrics]
    figures["reliability"] = ReliabilityDisplay.from_study(study, metric=binned_error(study)).plot().figure_
    figures["reliability-logit"] = ReliabilityDisplay.from_study(study).plot(scale="logit").figure_
    changing = {n: c for n, c in study.calibrators.items() if not isinstance(c, IdentityCalibrator)}
    if changing:
        maps = CalibrationMapDisplay.from_calibrators(changing)
        figure = new_figure(12.5, 5.6)
        left, right = figure.subplots(1, 2)
        maps.plot(left, legend=False)
        figures["calibration-maps"] = maps.plot(right, scale="logit").figure_
    figures["metrics"] = MetricDisplay.from_study(study, names).plot().figure_
    return [
        save_figure(figure, Path(folder) / f"{name}.{kind}") for name, figure in figures.items() for kind in formats
    ]
