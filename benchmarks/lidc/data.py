"""The cases as tallies whose strata say where a voxel lies: by the predicted boundary, and by the raters' boundary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from mrcalib.cohort import Cohort
from mrcalib.io import read_manifest
from mrcalib.simulate import phantoms
from mrcalib.tallies import tally

PLACES = ("core", "inner rim", "outer rim", "near", "far")
LIMITS = (-2.0, -0.5, 2.5, 6.0)  # in-plane pixels from the predicted boundary (p = 0.5), negative inside
BAND = 3.0  # pixels from the raters' union outside, from their intersection inside
STRATA = tuple(f"{place}, {band}" for place in PLACES for band in ("elsewhere", "boundary"))

CaseArrays = tuple[str, str, NDArray[Any], NDArray[Any]]


def distance_in_plane(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels from each voxel of ``mask`` to the nearest one outside, slice by slice; inf where a slice has none."""
    out = np.full(mask.shape, np.inf)
    for k in range(mask.shape[2]):
        if not mask[..., k].all():
            out[..., k] = distance_transform_edt(mask[..., k])
    return out


def strata_of(probs: NDArray[Any], masks: NDArray[Any]) -> NDArray[np.uint8]:
    """Index into ``STRATA``."""
    inside = probs > 0.5
    signed = np.where(inside, -distance_in_plane(inside), distance_in_plane(~inside))
    band = (distance_in_plane(~masks.any(axis=0)) <= BAND) & (distance_in_plane(masks.all(axis=0)) <= BAND)
    return (2 * np.digitize(signed, LIMITS) + band).astype(np.uint8)


def cohort_of(cases: Iterable[CaseArrays], voxel_volume: float) -> Cohort:
    """Tallies with strata, in the order of the cases."""
    ids, groups, parts = [], [], []
    for name, group, probs, masks in cases:
        ids.append(name)
        groups.append(group)
        parts.append(tally(probs, list(masks), strata=strata_of(probs, masks), strata_names=STRATA))
    return Cohort(parts, ids, groups, [voxel_volume] * len(ids))


def lidc(folder: Path, members: str) -> Iterator[CaseArrays]:
    """The nodules under the ensemble (``prob_[0-9]``) or the single network (``prob_single``)."""
    for case in read_manifest(folder / "cases.csv", probs=members):
        loaded = case.load()
        yield case.id, case.group or case.id, loaded.probs, np.stack([np.asarray(mask) for mask in loaded.raters])


def simulated(n_cases: int, **options: Any) -> Iterator[CaseArrays]:
    """Phantoms of ``mrcalib.simulate``, two lesions a patient."""
    for case in phantoms(n_cases, rng=1, cases_per_group=2, **options):
        yield case.id, case.group, case.members.mean(axis=0), case.raters
