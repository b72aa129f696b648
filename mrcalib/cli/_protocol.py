"""Cases scored as a challenge scores them: by its program, as they should be, and what to know of either."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from mrcalib.cli._console import Console, UsageError
from mrcalib.cli._inputs import load_options_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mrcalib.io import Case, LoadedCase, LoadedClasses, Source
    from mrcalib.metrics import Metric

__all__ = ["Calibrator", "ProtocolScores", "Scores"]

Scores: TypeAlias = "dict[str, dict[str, float]]"
"""Of a case: the value of each score, for each map ("as given", "calibrated")."""

Calibrator: TypeAlias = Any
"""What `mrcalib.load` answers: a calibrator of one class or of several."""

_Read: TypeAlias = (
    "tuple[NDArray[np.floating], list[Any], dict[str, Any], Callable[[Calibrator], NDArray[np.floating]]]"
)
"""Probabilities, raters, options of the protocol, and what a calibrator makes of the probabilities."""

CORRECTED = "_corrected"
_SHOWN = 8  # notes that are printed


@dataclass
class _Remarks:
    """What is to be said of a case and map."""

    notes: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


class ProtocolScores:
    """Scores a case by a protocol, strict and corrected."""

    def __init__(self, args: argparse.Namespace, cases: Sequence[Case]) -> None:
        from mrcalib.protocols import get_protocol

        self.protocol = get_protocol(args.protocol)
        self._always_corrected: bool = args.corrected
        self._options = load_options_of(args)
        self._vessel_labels: dict[str, int] | None = args.vessel_labels
        self._has_vessels = self.protocol.needs_vessels and any(case.vessels is not None for case in cases)
        self._cases = cases
        self._in_mm: dict[str, bool] = {}
        self.remarks: dict[tuple[str, str], _Remarks] = {}
        if self._vessel_labels and not self._has_vessels:
            msg = "--vessel-labels names the labels of --vessels (or of a column 'vessels'), which are not there."
            raise UsageError(msg)
        if self.protocol.needs_classes and (args.foreground or args.positive):
            msg = f"--protocol {self.protocol.name} reads all classes; leave out --foreground and --positive."
            raise UsageError(msg)

    @property
    def gated(self) -> tuple[str, ...]:
        """Names that a gate may be about."""
        measures = self.protocol.measures_for(vessels=self._has_vessels)
        return tuple(name for m in measures for name in (m.name, m.name + CORRECTED))

    def announce(self, console: Console) -> None:
        """Say what is left out, or not as one may think."""
        name = self.protocol.title
        if self.protocol.needs_vessels and not self._has_vessels:
            console.note("No vessels are given (--vessels, or a column 'vessels'): vascular invasion is not scored.")
        if any(case.roi is not None or case.coarse is not None for case in self._cases):
            console.note(f"{name} scores whole images: outside the region of interest the prediction is 0.")
        if self.protocol.needs_classes and any(case.image is None for case in self._cases):
            console.note(f"{name} crops to the foreground of the CT; without --image, ece is that of the whole volume.")

    def measures(self, by_case: Mapping[str, Scores]) -> list[tuple[Metric, bool]]:
        """All numbers that cases have, the measures first; and whether each is shown."""
        from mrcalib.protocols._protocol import Measure

        measures = list(self.protocol.measures_for(vessels=self._has_vessels))
        differing = {name for remarks in self.remarks.values() for name in remarks.differing}
        names = dict.fromkeys(name for case in by_case.values() for values in case.values() for name in values)
        known = {m.name for m in self.protocol.measures}
        measures += [
            Measure(n, n.removeprefix("vi_"), "lower", "°")
            for n in names
            if n.startswith("vi_") and n not in known and n + CORRECTED in names
        ]
        listed: list[tuple[Metric, bool]] = []
        for m in measures:
            unit = m.unit if m.unit != "mm³" or any(self._in_mm.values()) else "voxels"
            shown = self._always_corrected or m.name in differing
            listed.append((Measure(m.name, m.label, m.better, unit), True))
            listed.append((Measure(m.name + CORRECTED, f"{m.label} (corrected)", m.better, unit), shown))
        there = {m.name for m, _ in listed}
        return listed + [(Measure(n, n, "lower"), False) for n in names if n not in there]

    def __call__(self, case: Case, maps: Mapping[str, Calibrator]) -> Scores:
        """Read the case, and score it once for each map."""
        probs, raters, options, calibrated = self._classes(case) if self.protocol.needs_classes else self._masks(case)
        scores = {}
        for which, calibrator in maps.items():
            values = probs if calibrator is None else calibrated(calibrator)
            strict, corrected = (self.protocol.detail(values, raters, **options, strict=rule) for rule in (True, False))
            flat, meant = self.protocol.flatten(strict), self.protocol.flatten(corrected)
            details = _numbers({k: v for k, v in strict.items() if k not in ("vi", "box", "thresholds")})
            beside = {name + CORRECTED if name in flat else name: value for name, value in meant.items()}
            scores[which] = flat | beside | {k: v for k, v in details.items() if k not in flat}
            notes = strict["notes"] + [
                f"Corrected: {note}" for note in corrected["notes"] if note not in strict["notes"]
            ]
            self.remarks[case.id, which] = _Remarks(notes, self.protocol.differing(flat, meant))
        return scores

    def _masks(self, case: Case) -> _Read:
        loaded = case.load(options=self._options)
        options = {
            "vessels": loaded.vessels,
            "vessel_labels": self._vessel_labels,
            "spacing": self._spacing(case.id, loaded.spacing),
            "affine": None if loaded.geometry is None else loaded.geometry.affine,
        }
        return _inside(loaded.probs, loaded), list(loaded.raters), options, loaded.calibrated_inside

    def _classes(self, case: Case) -> _Read:
        from mrcalib.io import ImageClass, load_classes
        from mrcalib.protocols.curvas2024 import ORGANS

        loaded = load_classes(case, [ImageClass(name, label) for name, label in ORGANS.items()], self._options)
        image = None if case.image is None else _read(case.image)
        options = {"spacing": self._spacing(case.id, loaded.case.spacing), "image": image}
        return _inside(loaded.probs, loaded.case), list(loaded.labels), options, partial(_calibrated_classes, loaded)

    def _spacing(self, case: str, edges: tuple[float, ...] | None) -> tuple[float, ...] | None:
        known = edges is not None and len(edges) == 3
        self._in_mm[case] = known
        return edges if known else None

    def check(self, calibrator: Calibrator) -> None:
        """UsageError for a calibrator of other classes than the protocol's."""
        several = hasattr(calibrator, "background")
        if several != self.protocol.needs_classes:
            fitted, needed = ("several classes", "one") if several else ("one class", "several")
            msg = f"--protocol {self.protocol.name} scores {needed}, but the calibrator was fitted to {fitted}."
            raise UsageError(msg)
        if several:
            from mrcalib.protocols.curvas2024 import ORGANS

            labels = list(calibrator.classes_.values())
            if labels != list(ORGANS.values()):
                wanted = ", ".join(f"{name}={label}" for name, label in ORGANS.items())
                msg = f"--protocol {self.protocol.name} scores {wanted}; the calibrator has {calibrator.classes_}."
                raise UsageError(msg)

    def report(self, means: Mapping[str, Mapping[str, float]], console: Console) -> None:
        """Say where strict and corrected values part, and what is to be known of the cases."""
        n = len(means) and len(self.remarks) // len(means)
        if 0 < sum(self._in_mm.values()) < len(self._in_mm):
            console.complain(
                "warning: only some cases have a spacing: means of volumes mix mm³ and voxels. Say --spacing."
            )
        for which, values in means.items():
            meant = {name.removesuffix(CORRECTED): v for name, v in values.items() if name.endswith(CORRECTED)}
            strict = {name: values[name] for name in meant}
            beside = {name: v for name, v in values.items() if name not in meant}
            sentences = self.protocol.disagreements(strict, beside | meant)
            if sentences:
                console.show(f"\nStrict and corrected scores differ enough to matter ({which}, means over cases):")
                for sentence in sentences:
                    console.show(f"  {sentence}")
            differing: dict[str, list[str]] = {}
            for (case, other), remarks in self.remarks.items():
                for name in remarks.differing if other == which else ():
                    differing.setdefault(name, []).append(case)
            for name, cases in differing.items():
                console.show(f"  {name} differs in {len(cases)} of {n} cases, such as {cases[0]}.")
        self._tell_notes(n, console)

    def _tell_notes(self, n_cases: int, console: Console) -> None:
        alike: dict[str, dict[str, str]] = {}
        for (case, _), remarks in self.remarks.items():
            for note in remarks.notes:
                alike.setdefault(re.sub(r"\d+(\.\d+)?", "#", note), {}).setdefault(case, note)
        if alike:
            console.show("\nTo know of these scores:")
        for cases in list(alike.values())[:_SHOWN]:
            case, note = next(iter(cases.items()))
            console.show(f"  {note} ({len(cases)} of {n_cases} cases, such as {case})")
        if len(alike) > _SHOWN:
            console.show(f"  ... and {len(alike) - _SHOWN} more; --out and --json give all.")

    def is_official(self, name: str) -> bool:
        """Whether a score is a measure by the program; with --corrected, or as it should be."""
        known = self.gated
        return name in known and (self._always_corrected or not name.endswith(CORRECTED))

    def notes(self, case: str, which: str) -> list[str]:
        """What is to be known of a case and map."""
        return self.remarks[case, which].notes


def _inside(probs: NDArray[np.floating], loaded: LoadedCase) -> NDArray[np.floating]:
    """Probabilities, 0 outside the region of interest: a challenge scores whole images."""
    import numpy as np

    return probs if loaded.region is None else np.where(loaded.region, probs, probs.dtype.type(0))


def _calibrated_classes(loaded: LoadedClasses, calibrator: Calibrator) -> NDArray[np.floating]:
    import numpy as np

    probs = loaded.probs
    if calibrator.background:
        rest = np.clip(1 - probs.sum(axis=0, dtype=np.float64), 0, 1).astype(probs.dtype)
        probs = np.concatenate([rest[None], probs])
    return _inside(calibrator(probs)[-3:], loaded.case)


def _read(source: Source) -> NDArray[Any]:
    """The voxels of an image."""
    import numpy as np

    from mrcalib.io import read_volume

    return source if isinstance(source, np.ndarray) else read_volume(source).data


def _numbers(remarks: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a protocol's answer; those in a list or a mapping are numbered or named."""
    flat: dict[str, float] = {}
    for name, value in remarks.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}_{key}": v for key, v in _numbers(value).items()}
        elif isinstance(value, list) and all(isinstance(item, float) for item in value):
            flat |= {f"{name}_{i}": item for i, item in enumerate(value, start=1)}
        elif isinstance(value, int | float):
            flat[name] = float(value)
    return flat
