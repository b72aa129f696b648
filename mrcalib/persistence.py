"""Calibrators as JSON files: the map, its parameters and where it comes from; never pickle.

The schema is raised with the first breaking change after a release; the reader of the old schema and a golden file of it stay.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

from mrcalib.calibrators import SCHEMA, Calibrator, OneVsRestCalibrator, class_named
from mrcalib.calibrators.one_vs_rest import CLASSES_SCHEMA
from mrcalib.maps import map_from_dict

__all__ = ["load"]

AnyCalibrator: TypeAlias = Calibrator | OneVsRestCalibrator


def load(path: str | Path) -> AnyCalibrator:
    """Read a calibrator that ``save`` wrote, ready to ``transform``.

    Parameters
    ----------
    path : str or Path
        A JSON file.

    Returns
    -------
    Calibrator or OneVsRestCalibrator
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
        several = name == OneVsRestCalibrator.__name__
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


def _fitted(content: dict[str, Any], path: str | Path) -> Calibrator:
    name = content["calibrator"]
    kind = class_named(name)
    if kind is None:
        msg = f"{path} holds a {name}, which this mrcalib does not know. The plugin that defines it must be installed."
        raise ValueError(msg)
    try:
        fitted: Calibrator = kind(**content["provenance"]["parameters"])
        fitted.map_ = map_from_dict(content["map"])
        fitted.raters_ = tuple(content["raters"])
        fitted.provenance_ = content["provenance"]
        fitted.n_voxels_ = content["provenance"]["n_voxels"]
        fitted.restore(content["state"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    fitted.n_features_in_ = 1
    return fitted


def _several(content: dict[str, Any], path: str | Path) -> OneVsRestCalibrator:
    """A calibrator of classes; its unfitted ``calibrator`` is made of the first class's parameters."""
    listed = content["classes"]
    fitted = {one["name"]: _fitted(one, path) for one in listed}
    classes = {one["name"]: one["label"] for one in listed}
    first = next(iter(fitted.values()))
    parameters: dict[str, Any] = listed[0]["provenance"]["parameters"]
    template = type(first)(**parameters)
    try:
        together = OneVsRestCalibrator(template, classes, **content["parameters"])
        return together.hold(fitted, classes, {one["name"]: one["channel"] for one in listed})
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged, or was changed by hand ({error}). Fit and save the calibrator again.")
