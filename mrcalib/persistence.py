"""Calibrators as JSON files: the map, its parameters and where it comes from; never pickle.

``SCHEMA`` is raised with the first breaking change after a release; the reader of the old schema and a golden file of it
stay.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mrcalib import calibrators
from mrcalib._files import atomic_write
from mrcalib.maps import map_from_dict

__all__ = ["load", "save"]

SCHEMA = 1


def save(calibrator: calibrators.VoteCalibrator, path: str | Path) -> None:
    """Write a fitted calibrator; the file appears whole or not at all."""
    from sklearn.utils.validation import check_is_fitted

    from mrcalib._version import __version__

    check_is_fitted(calibrator, "map_")
    content = {
        "schema": SCHEMA,
        "mrcalib_version": __version__,
        "calibrator": type(calibrator).__name__,
        "map": calibrator.map_.to_dict(),
        "state": calibrator._state(),
        "raters": list(calibrator.raters_),
        "provenance": calibrator.provenance_,
    }
    with atomic_write(Path(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: str | Path) -> calibrators.VoteCalibrator:
    """Read a calibrator that ``save`` wrote, ready to ``transform``.

    Parameters
    ----------
    path : str or Path
        A JSON file.

    Returns
    -------
    VoteCalibrator
        Of the class that was saved, with its parameters, ``map_``, ``reachable_``, ``raters_`` and ``provenance_``.

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
        later, name = content["schema"] > SCHEMA, content["calibrator"]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a calibrator written by mrcalib ({error})."
        raise ValueError(msg) from error
    if later:
        msg = f"{path} has calibrator schema {content['schema']}; this mrcalib reads up to {SCHEMA}. Upgrade mrcalib."
        raise ValueError(msg)
    kind = getattr(calibrators, name) if name in calibrators.__all__ else None
    if kind is None or kind is calibrators.VoteCalibrator:
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
        msg = f"{path} is damaged, or was changed by hand ({error}). Fit and save the calibrator again."
        raise ValueError(msg) from error
    fitted.reachable_ = fitted.map_.reachable
    fitted.n_features_in_ = 1
    return fitted
