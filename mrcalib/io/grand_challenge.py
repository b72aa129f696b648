"""``metrics.json``, in the form that evaluation containers on grand-challenge.org write."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mrcalib._files import atomic_write

__all__ = ["write_metrics_json"]

_QUANTILES = {"25pc": 0.25, "50pc": 0.5, "75pc": 0.75}


def write_metrics_json(path: str | Path, per_case: Mapping[str, Mapping[str, float]]) -> Path:
    """Write scores of cases and their aggregates as evalutils does for grand-challenge.org.

    ``case`` holds ``{measure: {case: value}}``, and ``aggregates`` ``{measure: {mean, std, min, 25pc, 50pc, 75pc, max,
    count}}``, over the cases that define the measure: the standard deviation is that of a sample (over ``n - 1``),
    quantiles are interpolated linearly, and "pc" stands for "%", which the leaderboard cannot look up. What is NaN or
    infinite is ``null``, since JSON has no word for it; a measure that a case does not name is ``null`` there.

    Parameters
    ----------
    path : str or Path
        Where to write, whole or not at all; ``/output/metrics.json`` in a container. An existing file is replaced.
    per_case : mapping of str to mapping of str to float
        The scores of each case by measure, in the order in which they are written.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If there is no case.
    TypeError
        If a score is not a number.

    References
    ----------
    .. [1] evalutils, https://comic.github.io/evalutils; its ``describe`` of a pandas series.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> scores = {"A": {"tdsc": 0.5}, "B": {"tdsc": 0.75}, "C": {"tdsc": math.nan}}
    >>> written = json.loads(write_metrics_json(Path(folder.name) / "metrics.json", scores).read_text())
    >>> written["case"]
    {'tdsc': {'A': 0.5, 'B': 0.75, 'C': None}}
    >>> written["aggregates"]["tdsc"]["mean"], written["aggregates"]["tdsc"]["count"]
    (0.625, 2)
    >>> folder.cleanup()
    """
    if not per_case:
        msg = "per_case must hold the scores of at least one case; got none."
        raise ValueError(msg)
    measures = dict.fromkeys(name for scores in per_case.values() for name in scores)
    table = {
        name: {case: _number(scores.get(name, math.nan), name, case) for case, scores in per_case.items()}
        for name in measures
    }
    written = {
        "case": {name: {case: _plain(value) for case, value in column.items()} for name, column in table.items()},
        "aggregates": {name: _aggregates(list(column.values())) for name, column in table.items()},
    }
    path = Path(path)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(written, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _number(value: object, name: str, case: str) -> float:
    if isinstance(value, int | float | np.integer | np.floating):
        return float(value)
    msg = f"{name} of case {case!r} must be a number, NaN where it is not defined; got {value!r}."
    raise TypeError(msg)


def _aggregates(values: Sequence[float]) -> dict[str, float | int | None]:
    """What pandas describes of a column, without what is not finite."""
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if not known.size:
        return dict.fromkeys(("mean", "std", "min", *_QUANTILES, "max")) | {"count": 0}
    return {
        "mean": float(known.mean()),
        "std": float(known.std(ddof=1)) if known.size > 1 else None,
        "min": float(known.min()),
        **{name: float(np.quantile(known, share)) for name, share in _QUANTILES.items()},
        "max": float(known.max()),
        "count": int(known.size),
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
