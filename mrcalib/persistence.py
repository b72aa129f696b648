"""Calibrators as JSON files: the map, its parameters and where it comes from; never pickle.

``SCHEMA`` is raised with the first breaking change after a release; the reader of the old schema and a golden file of it
stay.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

from mrcalib import calibrators
from mrcalib._files import atomic_write
from mrcalib.maps import map_from_dict

__all__ = ["load", "save"]

SCHEMA = 1
CLASSES_SCHEMA = 1
"""Of a calibrator of several classes, which holds the content of a file of its own for each class."""

Calibrator: TypeAlias = calibrators.VoteCalibrator | calibrators.OneVsRestCalibrator


def save(calibrator: Calibrator, path: str | Path) -> None:
    """Write a fitted calibrator, of one foreground or of several classes; the file appears whole or not at all."""
    several = isinstance(calibrator, calibrators.OneVsRestCalibrator)
    content = _content_of_classes(calibrator) if several else _content(calibrator)
    with atomic_write(Path(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _content(calibrator: calibrators.VoteCalibrator) -> dict[str, Any]:
    from sklearn.utils.validation import check_is_fitted

    from mrcalib._version import __version__

    check_is_fitted(calibrator, "map_")
    return {
        "schema": SCHEMA,
        "mrcalib_version": __version__,
        "calibrator": type(calibrator).__name__,
        "map": calibrator.map_.to_dict(),
        "state": calibrator._state(),
        "raters": list(calibrator.raters_),
        "provenance": calibrator.provenance_,
    }


def _content_of_classes(calibrator: calibrators.OneVsRestCalibrator) -> dict[str, Any]:
    from sklearn.utils.validation import check_is_fitted

    from mrcalib._version import __version__

    check_is_fitted(calibrator, "calibrators_")
    return {
        "schema": SCHEMA,
        "classes_schema": CLASSES_SCHEMA,
        "mrcalib_version": __version__,
        "calibrator": type(calibrator).__name__,
        "classes": [
            {"name": name, "label": label, "channel": calibrator.channels_[name]}
            | _content(calibrator.calibrators_[name])
            for name, label in calibrator.classes_.items()
        ],
        "parameters": calibrator.provenance_["parameters"],
    }


def load(path: str | Path) -> Calibrator:
    """Read a calibrator that ``save`` wrote, ready to ``transform``.

    Parameters
    ----------
    path : str or Path
        A JSON file.

    Returns
    -------
    VoteCalibrator or OneVsRestCalibrator
        Of the class that was saved, with its parameters, ``map_`` (``calibrators_`` of several classes), ``reachable_``,
        ``raters_`` and ``provenance_``.

    Raises
    ------
    ValueError
        If the file is not a calibrator, is damaged, or was written by a later version.

    Examples
    --------
    >>> import tempfile, numpy as np, mrcalib
    >>> fitted = mrcalib.MHRIsotonicCalibrator().fit(np.array([0.2, 0.7]), np.array([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fitted.save(f"{folder}/calibrator.json")
    ...     again = mrcalib.load(f"{folder}/calibrator.json")
    >>> again.map_ == fitted.map_
    True
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        content: dict[str, Any] = json.loads(text)
        name = content["calibrator"]
        several = name == calibrators.OneVsRestCalibrator.__name__
        kinds = ("calibrator", "schema", SCHEMA), ("calibrator of classes", "classes_schema", CLASSES_SCHEMA)
        later = [(what, content[key], known) for what, key, known in kinds[: 1 + several] if content[key] > known]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a calibrator written by mrcalib ({error})."
        raise ValueError(msg) from error
    if later:
        what, schema, known = later[0]
        msg = f"{path} has {what} schema {schema}; this mrcalib reads up to {known}. Upgrade mrcalib."
        raise ValueError(msg)
    try:
        return _several(content, path) if several else _fitted(content, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _fitted(content: dict[str, Any], path: str | Path) -> calibrators.VoteCalibrator:
    name = content["calibrator"]
    kind = getattr(calibrators, name) if name in calibrators.__all__ else None
    bases = (calibrators.VoteCalibrator, calibrators.CountCalibrator)
    if kind is None or kind in bases or not issubclass(kind, calibrators.VoteCalibrator):
        msg = f"{path} holds a {name}, which this mrcalib does not know."
        raise ValueError(msg)
    try:
        fitted: calibrators.VoteCalibrator = kind(**content["provenance"]["parameters"])
        fitted.map_ = map_from_dict(content["map"])
        fitted.raters_ = tuple(content["raters"])
        fitted.provenance_ = content["provenance"]
        fitted.n_voxels_ = content["provenance"]["n_voxels"]
        fitted._set_state(content["state"])
        fitted._describe_map()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    fitted.reachable_ = fitted.map_.reachable
    fitted.n_features_in_ = 1
    return fitted


def _several(content: dict[str, Any], path: str | Path) -> calibrators.OneVsRestCalibrator:
    """A calibrator of classes; its unfitted ``calibrator`` is made of the first class's parameters."""
    listed = content["classes"]
    fitted = {one["name"]: _fitted(one, path) for one in listed}
    classes = {one["name"]: one["label"] for one in listed}
    first = next(iter(fitted.values()))
    parameters: dict[str, Any] = listed[0]["provenance"]["parameters"]
    template = type(first)(**parameters)
    try:
        together = calibrators.OneVsRestCalibrator(template, classes, **content["parameters"])
        return together._take(fitted, classes, {one["name"]: one["channel"] for one in listed})
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged, or was changed by hand ({error}). Fit and save the calibrator again.")
