"""The table of all metrics by name, to which each is added in the file where it is defined; and metrics of other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, overload

import numpy as np

from mrcalib.metrics.base import Metric, rows_by_case
from mrcalib.metrics.bins import concatenated
from mrcalib.registry import Registry

__all__ = ["METRICS", "default_metrics", "get_metric", "multirater", "register_metric"]

METRICS: Registry[Metric] = Registry("metric")
"""All metrics by name; a name is found in any case and with hyphens, underscores and spaces as one likes."""

_compared: dict[str, bool] = {}
_classes: dict[str, str] = {}

Value = TypeVar("Value")
Registered = TypeVar("Registered", bound=Metric | type[Metric])


@overload
def register_metric(metric: Registered, *, aliases: Iterable[str] = (), compared: bool = False) -> Registered: ...
@overload
def register_metric(*, aliases: Iterable[str] = (), compared: bool = False) -> Callable[[Registered], Registered]: ...
def register_metric(metric: Any = None, *, aliases: Iterable[str] = (), compared: bool = False) -> Any:
    """Add a metric to those that ``compare``, the command line and `get_metric` know by name; return it.

    Parameters
    ----------
    metric : Metric or subclass of Metric
        Known by its name, its label and its name in Python; a class by those of its default options. Without it a decorator
        of a class is returned.
    aliases : iterable of str, optional
        Further names.
    compared : bool, default=False
        Whether a comparison reports it unless it is told which metrics to report.

    Raises
    ------
    ValueError
        If another metric has one of these names.

    Examples
    --------
    >>> from mrcalib.metrics import threshold_dice
    >>> low = register_metric(threshold_dice.with_options(thresholds=[0.1]), aliases=["dice of any rater"])
    >>> get_metric("Dice of any rater") is low
    True
    >>> METRICS.unregister(low.name)
    """
    if metric is None:
        return lambda thing: register_metric(thing, aliases=aliases, compared=compared)
    one = metric() if isinstance(metric, type) else metric
    if not isinstance(one, Metric):
        msg = f"A metric is a mrcalib.metrics.Metric, or a subclass of it; got {metric!r}."
        raise TypeError(msg)
    home = f"{type(one).__module__}.{type(one).__qualname__}"
    if _classes.get(one.name, home) != home:  # the same class again is a notebook's cell that was run twice
        msg = f"There is a metric {one.name!r} already, {_classes[one.name]}; give {home} a name of its own."
        raise ValueError(msg)
    in_python = (one.__name__,) if one == type(one)() else ()
    METRICS.register(one.name, one, aliases=(one.label, *in_python, *aliases))
    _classes[one.name], _compared[one.name] = home, compared
    return metric


def default_metrics() -> tuple[Metric, ...]:
    """The metrics of a comparison: calibration (50 bins of equal width), proper scores, overlap, volume and ranking.

    Examples
    --------
    >>> [metric.name for metric in default_metrics()][:4]
    ['mr_ece', 'mean_rater_ece', 'mean_rater_top_label_ece', 'brier']
    """
    return tuple(metric for name, metric in METRICS.items() if _compared[name])


def get_metric(name: str) -> Metric:
    """The metric of this name, with its default options.

    Parameters
    ----------
    name : str
        Its name, its label or its name in Python, such as "mr_ece", "MR-ECE" or "multirater_ece".

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        If there is no metric of this name; names the nearest ones, and all.

    Examples
    --------
    >>> get_metric("brier").label
    'Brier'
    >>> get_metric("brier_score") is get_metric("Brier")
    True
    """
    return METRICS.get(name)


def multirater(metric: Callable[..., Value], *, labels_first: bool = False) -> Callable[..., Value]:
    """Make a metric of one annotation one of several, by repeating each voxel for every rater who answered there.

    Parameters
    ----------
    metric : callable
        ``metric(probs, labels, **options)`` on one-dimensional arrays.
    labels_first : bool, default=False
        Call ``metric(labels, probs, **options)`` instead, as scikit-learn's metrics want it.

    Returns
    -------
    callable
        ``f(probs, raters, *, roi=None, rater_axis=None, **options)``, of one image or of all voxels of several cases, as in
        `Metric`. Missing pairs are dropped; ValueError if none is left, or if raters are not told apart (an averaged target).

    References
    ----------
    .. [1] "Multi-rater calibration error", UNSURE 2025, OpenReview N1l6bUMfDL.

    Examples
    --------
    >>> from sklearn.metrics import brier_score_loss
    >>> multirater(brier_score_loss, labels_first=True)([0.5, 1.0], [[0, 1], [1, 1]])
    0.125
    """

    @wraps(metric)
    def over_pairs(
        probs: Any, raters: Any = None, *, roi: Any = None, rater_axis: int | None = None, **options: Any
    ) -> Value:
        responses = concatenated(rows_by_case(probs, raters, roi=roi, rater_axis=rater_axis))
        rows = [responses.rater(r) for r in range(responses.n_raters)]
        prob = np.concatenate([row.prob for row in rows])
        label = np.concatenate([row.votes for row in rows]).astype(np.int64)
        return metric(label, prob, **options) if labels_first else metric(prob, label, **options)

    return over_pairs
