"""Deprecated: the names of this module are in `mrcalib.detection`; this one goes with version 0.3."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

_NAMES = ("Boxes", "DetectionImage", "Matches", "iou", "match", "votes")


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        msg = f"module 'mrcalib.boxes' has no attribute {name!r}"
        raise AttributeError(msg)
    warnings.warn(f"mrcalib.boxes.{name} is mrcalib.detection.{name} now.", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module("mrcalib.detection"), name)
