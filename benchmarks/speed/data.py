"""The voxels that everything is timed on: coherent volumes like a segmenter's, and the same voxels shuffled.

64 volumes of 125 x 125 x 50 voxels: saturated logits of blobs, about 60 % exact zeros outside a mask, 97 % below 0.001, 1 %
above 0.9, and raters who are biased and err together. They are SYNTHETIC, and figures depend on their coherence; hence
"shuffled".
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CASE = (125, 125, 50)
VOXELS_A_CASE = int(np.prod(CASE))
N_RATERS = 5
MOST_RATERS = 8  # are drawn where cost is measured against raters
SAMPLE = 200_000  # voxels at which maps are compared
CACHE = Path(tempfile.gettempdir()) / "mrcalib-speed-data"

KINDS = ("coherent", "shuffled")


@dataclass(eq=False)
class Data:
    """Voxels in one order; what references need of them is made once and kept in ``memo``."""

    kind: str
    probs: NDArray[np.float32]
    masks: NDArray[np.uint8]
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return self.probs.size

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """``make()``, called once."""
        if name not in self.memo:
            self.memo[name] = make()
        return self.memo[name]

    def drop(self) -> None:
        """Forget what references were made of, to give its memory back."""
        self.memo.clear()

    @property
    def wide(self) -> NDArray[np.float64]:
        """The probabilities in float64, which peers are given ready made."""
        return self.kept("wide", lambda: self.probs.astype(np.float64))

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean vote, which peers are given ready made."""
        return self.kept("mean", lambda: self.masks.mean(axis=0))

    @property
    def sample(self) -> NDArray[np.float64]:
        """Probabilities at which maps are compared: voxels drawn at random, and as many of the few that are not near 0."""

        def draw() -> NDArray[np.float64]:
            rng = np.random.default_rng(2)
            some = self.probs[rng.integers(0, self.n, 5 * SAMPLE)]
            return np.unique(np.concatenate([some[:SAMPLE], some[some > 1e-4]])).astype(np.float64)

        return self.kept("sample", draw)

    def cases(self, n_cases: int) -> list[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
        """The voxels in runs of about equal length."""
        bounds = np.linspace(0, self.n, n_cases + 1).astype(int)
        return [(self.probs[a:b], self.masks[:, a:b]) for a, b in pairwise(bounds)]


def volume(number: int, n_raters: int = N_RATERS) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Flat probabilities and masks of one volume, the same whatever the number of raters after it."""
    from scipy.ndimage import gaussian_filter
    from scipy.special import expit

    rng = np.random.default_rng([0, number])
    blobs = gaussian_filter(rng.standard_normal(CASE, dtype=np.float32), 6)
    blobs /= blobs.std()
    body = gaussian_filter(rng.standard_normal(CASE, dtype=np.float32), 12)
    outside = body < np.quantile(body, 0.596)
    probs = expit(19 * (blobs - 1.98) + rng.normal(0, 0.3, CASE).astype(np.float32)).astype(np.float32)
    probs[outside] = 0
    masks = []
    for _ in range(n_raters):
        wobble = gaussian_filter(rng.standard_normal(CASE, dtype=np.float32), 3)
        marked = 8 * (blobs - 1.98) + rng.normal(0, 1) + 20 * wobble > 0
        marked[outside] = False
        masks.append(marked.ravel())
    return probs.ravel(), np.stack(masks).astype(np.uint8)


def load(n_voxels: int, kind: str = "coherent", n_raters: int = N_RATERS, cache: Path | None = None) -> Data:
    """The first ``n_voxels`` voxels of the volumes, in order or shuffled; drawn once, then read from ``cache``."""
    cache = CACHE if cache is None else cache
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    stem = cache / f"{source}-{n_voxels}-{n_raters}-{kind}"
    files = [stem.with_name(f"{stem.name}-{part}.npy") for part in ("probs", "masks")]
    if not all(path.exists() for path in files):
        cache.mkdir(parents=True, exist_ok=True)
        for path, array in zip(files, _drawn(n_voxels, kind, n_raters, cache), strict=True):
            unfinished = path.with_suffix(".unfinished.npy")
            np.save(unfinished, array)
            unfinished.replace(path)
    probs, masks = (np.load(path) for path in files)
    return Data(kind, probs, masks)


def _drawn(n_voxels: int, kind: str, n_raters: int, cache: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    if kind == "shuffled":
        whole = load(n_voxels, "coherent", n_raters, cache)
        order = np.random.default_rng(1).permutation(n_voxels)
        return whole.probs[order], np.stack([mask[order] for mask in whole.masks])
    probs = np.empty(n_voxels, np.float32)
    masks = np.empty((n_raters, n_voxels), np.uint8)
    for number, start in enumerate(range(0, n_voxels, VOXELS_A_CASE)):
        some, answers = volume(number, n_raters)
        stop = min(start + VOXELS_A_CASE, n_voxels)
        probs[start:stop] = some[: stop - start]
        masks[:, start:stop] = answers[:, : stop - start]
    return probs, masks


def shares(data: Data) -> dict[str, float]:
    """What the ratios depend on: shares of exact zeros, of tiny and of high probabilities, of marks, and of runs."""
    p = data.probs
    return {
        "exactly 0": float((p == 0).mean()),
        "below 0.001": float((p < 1e-3).mean()),
        "above 0.9": float((p > 0.9).mean()),
        "marked, mean of raters": float(data.masks.mean()),
        "raters disagree": float((data.masks.min(axis=0) != data.masks.max(axis=0)).mean()),
        "equal to the voxel before": float((p[1:] == p[:-1]).mean()),
    }
