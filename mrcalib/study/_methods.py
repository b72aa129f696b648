"""Which methods of calibration are compared, by the names that tables use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrcalib.calibrators import CALIBRATORS, Calibrator, Method

__all__ = ["chosen_methods", "default_methods", "paper_methods"]


def default_methods(*, keep_zero: bool = False) -> dict[str, Calibrator]:
    """The methods that ``compare`` puts side by side, by the names that its tables use.

    They are those that were registered with ``compared=True``; "none", the baseline, comes first.

    Parameters
    ----------
    keep_zero : bool, default=False
        Exact zeros are voxels that were not looked at (outside a region of interest): no method changes or fits them.

    Examples
    --------
    >>> list(default_methods())[:6]
    ['none', 'single-rater', 'hard-label', 'MHR', 'MHR-equal', 'TwinTrack']
    """
    return _registered(lambda method: method.compared, keep_zero=keep_zero)


def paper_methods(*, keep_zero: bool = False) -> dict[str, Calibrator]:
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
    ['none', 'single-rater-250', 'hard-label-250', 'TwinTrack']
    """
    return _registered(lambda method: method.paper, keep_zero=keep_zero)


def _registered(which: Callable[[Method], bool], *, keep_zero: bool) -> dict[str, Calibrator]:
    """New calibrators of the registered methods that are asked for, the baseline first."""
    chosen = {name: _made(method, keep_zero=keep_zero) for name, method in CALIBRATORS.items() if which(method)}
    return {name: chosen[name] for name in sorted(chosen, key=lambda name: name != "none")}


def _made(method: Method, *, keep_zero: bool) -> Calibrator:
    calibrator = method.make()
    if keep_zero and "keep_zero" in calibrator.get_params(deep=False):
        calibrator.set_params(keep_zero=True)
    return calibrator


def chosen_methods(
    methods: Mapping[str, Calibrator] | Sequence[str] | str | None, *, paper: bool = False, keep_zero: bool = False
) -> dict[str, Calibrator]:
    """The methods that were asked for, under their registered names; without any the default ones, or the paper's and MHR.

    Raises
    ------
    ValueError
        If there is no method, or one of the names is not known.
    TypeError
        If one of them is no calibrator.
    """
    if methods is None:
        methods = [*paper_methods(), "MHR"] if paper else [*default_methods()]
    if isinstance(methods, Mapping):
        chosen = dict(methods)
        given: dict[str, Any] = dict(methods)
        wrong = [name for name, method in given.items() if not isinstance(method, Calibrator)]
        if wrong:
            msg = f"methods must be calibrators by name; {wrong[0]!r} is a {type(chosen[wrong[0]]).__name__}."
            raise TypeError(msg)
    else:
        listed = [methods] if isinstance(methods, str) else methods
        names = dict.fromkeys(CALIBRATORS.canonical(name) for name in listed)
        chosen = {name: _made(CALIBRATORS.get(name), keep_zero=keep_zero) for name in names}
    if not chosen:
        msg = "There is no method to compare."
        raise ValueError(msg)
    return chosen
