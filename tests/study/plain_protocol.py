"""Small cases, and a protocol whose scores are plain enough to be computed by hand."""

from __future__ import annotations

import numpy as np

from mrcalib import Case
from mrcalib.protocols import Protocol
from mrcalib.protocols._protocol import Disagreement, Measure

SHAPE = (6, 5, 4)


def make_cases(n=6, seed=0, prefix="c"):
    """Overconfident probabilities against three raters; two cases a patient."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(n):
        probs = (rng.integers(0, 65, SHAPE) / 64).astype(np.float32)
        masks = (rng.random((3, *SHAPE)) < probs**2).astype(np.uint8)
        cases.append(
            Case(
                f"{prefix}{i}",
                probs,
                dict(zip("abd", masks, strict=True)),
                group=f"{prefix}-patient{i // 2}",
                spacing=(1.0, 2.0, 3.0),
            )
        )
    return cases


class Recorder:
    """Scores as a challenge's program might, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, probs, raters, *, spacing=None, strict=True, **others):
        self.asked.append({"probs": probs, "raters": raters, "spacing": spacing, "strict": strict, **others})
        response = np.mean([mask for mask in raters if mask is not None], axis=0)
        gap = float(np.abs(probs.mean(dtype=np.float64) - response.mean()))
        volume = float(probs.sum(dtype=np.float64)) * (1.0 if spacing is None else float(np.prod(spacing)))
        return {
            "gap": gap if strict else gap + (0.5 if probs.max() > 0.99 else 0.0),
            "volume": volume,
            "level": np.nan if probs[0, 0, 0] < 0.8 else float(probs[0, 0, 0]),
        }


def flat(told):
    return {name: float(told[name]) for name in ("gap", "volume", "level")}


def stub(scorer, name="stub", **changes):
    options = {
        "name": name,
        "title": "Stub 2000",
        "measures": (
            Measure("gap", "gap", "lower"),
            Measure("volume", "volume", "lower", "mm³"),
            Measure("level", "level", "higher"),
        ),
        "needs_vessels": False,
        "needs_classes": False,
        "scorer": scorer,
        "flatten": flat,
        "rules": {"gap": Disagreement(0.1, 0.0, lambda a, b: "by intent")},
    }
    return Protocol(**(options | changes))
