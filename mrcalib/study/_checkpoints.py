"""Scores of a case on disk, so that a rerun scores only what has changed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mrcalib._files import atomic_write, file_stem
from mrcalib._version import __version__

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator
    from mrcalib.io import Case, LoadOptions
    from mrcalib.protocols import Protocol

__all__ = ["CaseScores", "hash_of_inputs", "hash_of_map", "read_scores", "write_scores"]

SCHEMA = 2


class CaseScores(NamedTuple):
    """One case under one map: by the official program, and as it should be."""

    strict: dict[str, float]
    corrected: dict[str, float]


def hash_of_inputs(
    case: Case, options: LoadOptions, protocol: Protocol, vessel_labels: Mapping[str, int] | None
) -> str:
    """What the scores of a case are made of, but for the map; another version of mrcalib scores again."""
    made_of = [
        __version__,
        case.fingerprint(),
        repr(sorted(asdict(options).items())),
        protocol.name,
        repr(sorted((vessel_labels or {}).items())),
    ]
    return _digest(json.dumps(made_of))


def hash_of_map(calibrator: Calibrator) -> str:
    """The map that a calibrator applies: its own numbers, and whether exact zeros stay."""
    return _digest(
        json.dumps([calibrator.map_.to_dict(), calibrator.learned(), bool(getattr(calibrator, "keep_zero", False))])
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _path(folder: Path, case: str) -> Path:
    return folder / f"{file_stem(case)}.json"


def read_scores(folder: Path, case: str, inputs: str) -> dict[str, CaseScores]:
    """The scores of a case by the hash of the map; none where there is no file, or one of other inputs, or a damaged one."""
    try:
        content: dict[str, Any] = json.loads(_path(folder, case).read_text(encoding="utf-8"))
        if (content["schema"], content["case"], content["inputs"]) != (SCHEMA, case, inputs):
            return {}
        return {
            key: CaseScores(_numbers(scores["strict"]), _numbers(scores["corrected"]))
            for key, scores in content["scores"].items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # damaged: score again and replace it


def write_scores(folder: Path, case: str, inputs: str, scores: Mapping[str, CaseScores]) -> None:
    """Keep the scores of a case, by the hash of the map."""
    content = {
        "schema": SCHEMA,
        "case": case,
        "inputs": inputs,
        "scores": {
            key: {"strict": _plain(one.strict), "corrected": _plain(one.corrected)} for key, one in scores.items()
        },
    }
    with atomic_write(_path(folder, case)) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _plain(scores: Mapping[str, float]) -> dict[str, float | str | None]:
    """JSON has no NaN and no infinity."""
    return {
        name: None if math.isnan(value) else float(value) if math.isfinite(value) else repr(float(value))
        for name, value in scores.items()
    }


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in scores.items()}
