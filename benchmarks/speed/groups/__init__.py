"""Each file asks one question of mrcalib and of its peers; ``ALL`` finds them by the names that ``--only`` takes."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.speed.data import Data
from benchmarks.speed.groups import ece, equal_mass, fusion, isotonic, studies, temperature, transform, volumes
from benchmarks.speed.jobs import Group

__all__ = ["ALL"]

ALL: dict[str, Callable[[Data], list[Group]]] = {
    "tally": isotonic.groups,
    "grid": isotonic.groups,
    "exact": isotonic.groups,
    "equal-mass": equal_mass.groups,
    "transform": transform.groups,
    "maps": transform.groups,
    "ece": ece.groups,
    "temperature": temperature.groups,
    "bootstrap": studies.groups,
    "leave-one-out": studies.groups,
    "staple": fusion.groups,
    "dice": volumes.groups,
    "crps": volumes.groups,
}
