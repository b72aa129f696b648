"""STAPLE of five raters against SimpleITK's, which walks over all voxels in each of its passes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.data import Data
from benchmarks.speed.jobs import Check, Group, Job
from benchmarks.speed.timing import read
from mrcalib.fusion import soft, staple

SHAPES = ((512, 512, 100), (256, 256, 64), (64, 64, 64))
BEST = "SimpleITK STAPLE"


def ellipsoids(shape: tuple[int, ...], n_raters: int = 5, seed: int = 0) -> list[NDArray[np.uint8]]:
    """One coherent structure, drawn by raters who differ in size and place: about an eighth of the image along each axis."""
    rng = np.random.default_rng(seed)
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    masks = []
    for _ in range(n_raters):
        centre, radius = rng.normal(0.5, 0.01, len(shape)), rng.normal(0.12, 0.008, len(shape))
        parts = [((axis / n - c) / r) ** 2 for axis, n, c, r in zip(axes, shape, centre, radius, strict=True)]
        masks.append((sum(parts) < 1).astype(np.uint8))
    return masks


def groups(data: Data) -> list[Group]:
    """One group, on the largest image that has no more voxels than the data (the smallest, if all have)."""
    if data.kind != "coherent":
        return []
    shape = next((s for s in SHAPES if np.prod(s) <= data.n), SHAPES[-1])
    masks = ellipsoids(shape)

    def theirs(_: int) -> Any:
        import SimpleITK as sitk

        program = sitk.STAPLEImageFilter()
        program.SetForegroundValue(1)
        images = data.kept("images", lambda: [sitk.GetImageFromArray(mask) for mask in masks])
        return sitk.GetArrayFromImage(program.Execute(images)), program.GetSensitivity(), program.GetSpecificity()

    def reference() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expectation maximisation over the patterns of votes, in float64; the prior is the mean share of marks."""
        codes = sum(mask.astype(np.uint8) << r for r, mask in enumerate(masks))
        count = np.bincount(codes.ravel(), minlength=32).astype(np.float64)
        bits = (np.arange(32)[:, None] >> np.arange(5)) & 1
        prior = float(count @ bits.mean(axis=1) / count.sum())
        p, q = np.full(5, 0.99999), np.full(5, 0.99999)
        for _ in range(10_000):
            a = prior * np.prod(np.where(bits, p, 1 - p), axis=1)
            b = (1 - prior) * np.prod(np.where(bits, 1 - q, q), axis=1)
            w = a / (a + b)
            new_p = (count * w) @ bits / (count @ w)
            new_q = (count * (1 - w)) @ (1 - bits) / (count @ (1 - w))
            moved = max(np.abs(new_p - p).max(), np.abs(new_q - q).max())
            p, q = new_p, new_q
            if moved < 1e-14:
                break
        return w, codes

    def check(probability: Any) -> Check:
        w, codes = data.kept("staple", reference)
        return Check.within(
            np.abs(np.asarray(probability) - w[codes]).max(), 1e-5, "largest difference of probabilities"
        )

    n = int(np.prod(shape))
    floor = Job("floor: read all inputs", lambda _: read(*masks), threads=(1,))
    ours = [
        Job("STAPLE", lambda _: staple(masks), lambda found: check(found.probability), threads=(2,)),
        Job("soft (mean of raters)", lambda _: soft(masks), threads=(2,)),
    ]
    peers = [Job(BEST, theirs, lambda found: check(found[0]), "SimpleITK", threads=(2,))]
    title = f"STAPLE, 5 raters, {' x '.join(map(str, shape))}"
    return [Group("staple", title, n, ours, peers, floor)]
