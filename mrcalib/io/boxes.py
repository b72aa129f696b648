"""Deprecated: the names of this module are in `mrcalib.detection.files`; this one goes with version 0.3."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    files = importlib.import_module("mrcalib.detection.files")
    if name not in files.__all__:
        msg = f"module 'mrcalib.io.boxes' has no attribute {name!r}"
        raise AttributeError(msg)
    warnings.warn(f"mrcalib.io.boxes.{name} is mrcalib.detection.files.{name} now.", DeprecationWarning, stacklevel=2)
    return getattr(files, name)
