"""Which methods of calibration are compared, by the names that tables use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mrcalib.calibrators import (
    BetaCalibrator,
    CaseAdaptiveCalibrator,
    HardLabelCalibrator,
    HistogramBinningCalibrator,
    IdentityCalibrator,
    MHRIsotonicCalibrator,
    PlattCalibrator,
    SingleRaterCalibrator,
    TemperatureScalingCalibrator,
    VoteCalibrator,
)
from mrcalib.inputs import check_choice

__all__ = ["chosen_methods", "default_methods", "paper_methods"]


def default_methods(*, keep_zero: bool = False) -> dict[str, VoteCalibrator]:
    """The methods that ``compare`` puts side by side, by the names that its tables use.

    Parameters
    ----------
    keep_zero : bool, default=False
        Exact zeros are voxels that were not looked at (outside a region of interest): no method changes or fits them.

    Examples
    --------
    >>> list(default_methods())[:4]
    ['none', 'single-rater', 'hard-label', 'MHR']
    """
    methods = {
        "none": IdentityCalibrator(),
        "single-rater": SingleRaterCalibrator(),
        "hard-label": HardLabelCalibrator(),
        "MHR": MHRIsotonicCalibrator(),
        "MHR, cases equal": MHRIsotonicCalibrator(case_weight="equal"),
        "case-adaptive": CaseAdaptiveCalibrator(),
        "TwinTrack (250 bins)": MHRIsotonicCalibrator("equal-mass", 250),
        "temperature": TemperatureScalingCalibrator(),
        "Platt": PlattCalibrator(),
        "beta": BetaCalibrator(),
        "histogram (15 bins)": HistogramBinningCalibrator(),
    }
    return _keeping_zero(methods) if keep_zero else methods


def _keeping_zero(methods: dict[str, VoteCalibrator]) -> dict[str, VoteCalibrator]:
    for method in methods.values():
        if "keep_zero" in method.get_params():
            method.set_params(keep_zero=True)
    return methods


def paper_methods(*, keep_zero: bool = False) -> dict[str, VoteCalibrator]:
    """The four rows of TwinTrack's tables: isotonic regression in 250 bins of equal mass, to each of three targets.

    ``default_methods`` has the same targets on the grid under shorter names, which do not saturate (METHODS section 5
    of the project: foreground rarer than a 250th of the voxels shares its bin with background). "single-rater" is the
    first rater: the paper does not say which.

    Parameters
    ----------
    keep_zero : bool, default=False
        As for ``default_methods``.

    References
    ----------
    .. [1] TwinTrack, arXiv:2604.15950, Tables 1 and 2 and appendix D.

    Examples
    --------
    >>> list(paper_methods())
    ['none', 'single-rater (250 bins)', 'hard-label (250 bins)', 'TwinTrack (250 bins)']
    """
    methods = {
        "none": IdentityCalibrator(),
        "single-rater (250 bins)": SingleRaterCalibrator(0, "equal-mass", 250),
        "hard-label (250 bins)": HardLabelCalibrator("equal-mass", 250),
        "TwinTrack (250 bins)": MHRIsotonicCalibrator("equal-mass", 250),
    }
    return _keeping_zero(methods) if keep_zero else methods


def chosen_methods(
    methods: Mapping[str, VoteCalibrator] | Sequence[str] | None, *, paper: bool = False, keep_zero: bool = False
) -> dict[str, VoteCalibrator]:
    """The methods that were asked for; without any the default ones, or the paper's and MHR on the grid."""
    known = default_methods(keep_zero=keep_zero) | paper_methods(keep_zero=keep_zero)
    if methods is None:
        methods = [*paper_methods(), "MHR"] if paper else [*default_methods()]
    if isinstance(methods, Mapping):
        chosen = dict(methods)
        wrong = [name for name, method in methods.items() if not hasattr(method, "fit_source")]
        if wrong:
            msg = f"methods must be calibrators by name; {wrong[0]!r} is a {type(chosen[wrong[0]]).__name__}."
            raise TypeError(msg)
    else:
        for name in methods:
            check_choice("method", name, tuple(known))
        chosen = {name: known[name] for name in methods}
    if not chosen:
        msg = "There is no method to compare."
        raise ValueError(msg)
    exact = [name for name, method in chosen.items() if method._needs_voxels()]
    if exact:
        msg = f"Method {exact[0]!r} cannot be compared: binning='exact' needs the voxels, and a comparison has tallies."
        raise ValueError(msg)
    return chosen
