"""Cases on disk to read: coherent probabilities, mostly exact zeros, and five correlated raters, in every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mrcalib.io import Case

FORMATS = (".nii.gz", ".npz", ".nii", ".npy")
RATERS = 5
AFFINE = np.diag([0.8, 0.8, 2.5, 1.0])


def volume(shape: tuple[int, ...], seed: int) -> tuple[NDArray[np.float32], list[NDArray[np.uint8]]]:
    """Probabilities and the raters' masks of one case, as ``volumes()`` of the speed benchmark makes them."""
    from scipy.ndimage import gaussian_filter
    from scipy.special import expit

    rng = np.random.default_rng(seed)

    def field(sigma: float) -> NDArray[np.float32]:
        return gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, truncate=3)

    smooth = field(6)
    logits = 8 * (smooth / smooth.std() - 1.78) + rng.normal(0, 0.3, shape).astype(np.float32)
    probs: NDArray[np.float32] = expit(logits)
    inside = field(12)
    probs[inside < np.quantile(inside, 0.596)] = 0
    masks = [(logits + rng.normal(0, 1) + 20 * field(3) > 0).astype(np.uint8) for _ in range(RATERS)]
    return probs, masks


def write_cases(folder: Path, n_cases: int, shape: tuple[int, ...], distinct: int) -> None:
    """Write ``n_cases`` in every format; every ``distinct`` cases the voxels repeat, each written as a file of its own."""
    for number in range(n_cases):
        marker = folder / f"{number}.done"
        if marker.exists():
            continue
        if number >= distinct:
            for suffix in FORMATS:
                for name in names():
                    target = folder / f"{number}-{name}{suffix}"
                    target.write_bytes((folder / f"{number % distinct}-{name}{suffix}").read_bytes())
        else:
            probs, masks = volume(shape, number)
            for name, data in zip(names(), (probs, *masks), strict=True):
                for suffix in FORMATS:
                    save(folder / f"{number}-{name}{suffix}", data)
        marker.touch()


def cases(folder: Path, n_cases: int, suffix: str) -> list[Case]:
    """The cases in one format."""

    def source(number: int, name: str) -> Path:
        return folder / f"{number}-{name}{suffix}"

    spacing = None if suffix.startswith(".nii") else (0.8, 0.8, 2.5)
    return [
        Case(f"case{i}", source(i, "probs"), {name: source(i, name) for name in names()[1:]}, spacing=spacing)
        for i in range(n_cases)
    ]


def files(listed: list[Case]) -> list[Path]:
    """Every file of the cases."""
    return [Path(str(source)) for case in listed for source in (*case.members, *case.masks.values())]


def names() -> list[str]:
    return ["probs", *(f"rater{r}" for r in range(RATERS))]


def save(path: Path, data: NDArray[Any]) -> None:
    writers: dict[str, Callable[[], Any]] = {
        ".npy": lambda: np.save(path, data),
        ".npz": lambda: np.savez_compressed(path, probs=data),
    }
    writers.get(path.suffix, lambda: nib.save(nib.Nifti1Image(data, AFFINE), path))()
