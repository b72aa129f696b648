"""A fitted calibrator over a case on disk, slab by slab: read, calibrate, write, all three at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.threads import n_processors
from mrcalib.inputs import ProbabilityRange, check_choice
from mrcalib.io import Case, LoadOptions, write_slabs

if TYPE_CHECKING:
    from mrcalib.io.slabs import OpenCase, Slab

__all__ = ["Calibrates", "apply_case", "checked"]

SLAB = 1 << 20
"""Voxels of a slab; at least one section of the image."""
KEPT = 1 << 29
"""Bytes of probabilities up to which a case that must be read twice is kept in between."""

FloatArray = NDArray[np.floating]


class Calibrates(Protocol):
    """What calibrates a case: any fitted calibrator of one foreground."""

    def map_for_parts(self, parts: Iterable[FloatArray]) -> Callable[[FloatArray], NDArray[Any]]:
        """The map of the case whose voxels these are; they are read only where the map depends on them."""


def apply_case(
    case: Case,
    calibrator: Calibrates,
    path: str | Path,
    *,
    options: LoadOptions | None = None,
    invalid: str = "raise",
    compression: int = 1,
    n_jobs: int | None = None,
    before_replace: Callable[[], object] | None = None,
) -> None:
    """Calibrate the probabilities of a case and write them, with the geometry of their files, whole or not at all.

    The next slab is read and the last ones are compressed while a slab is calibrated, and only a few slabs are in memory,
    whatever the size of the image, where ``.nii``, ``.nii.gz``, ``.npy`` and ``.npz`` files are read and written. Other
    formats, files of several channels and coarse segmentations are in memory whole. A map that depends on the case
    (``CaseAdaptiveCalibrator``) takes a pass of its own first; a case of up to 512 MB is kept in between, a larger one is
    read twice. The values are to the bit those of calibrating the whole image.

    Parameters
    ----------
    case : Case
        Its raters are not read.
    calibrator : fitted calibrator
        Of one foreground.
    path : str or Path
        As for ``mrcalib.io.write_probability``.
    options : LoadOptions, optional
        How files are read. With ``outside="zero"`` the map is exactly 0 outside the region of interest; else voxels there are
        calibrated like all others, by what is seen inside.
    invalid : {"raise", "keep"}, default="raise"
        Probabilities that are NaN or outside [0, 1]: refuse the case, or write NaN there.
    compression : int, default=1
        1 (fast) to 9 (small).
    n_jobs : int, optional
        Threads that compress; as many as processors by default.
    before_replace : callable, optional
        Called when the last voxel has been calibrated and the inputs' checksums are good, before the new file takes its name.

    Raises
    ------
    FileNotFoundError, GeometryError, ValueError
        As `Case.load` and ``write_probability``, and for invalid probabilities. No file is left, an old one stays.
    TypeError
        If the calibrator is one of several classes.
    NotFittedError
        If the calibrator was not fitted.

    Examples
    --------
    >>> import tempfile
    >>> import mrcalib
    >>> probs = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
    >>> calibrator = mrcalib.MHRIsotonicCalibrator().fit(probs, [probs > 0.3, probs > 0.7])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     apply_case(mrcalib.Case("a", probs, {}), calibrator, f"{folder}/a.npy")
    ...     bool((np.load(f"{folder}/a.npy") == calibrator(probs)).all())
    True
    """
    check_choice("invalid", invalid, ("raise", "keep"))
    if not hasattr(calibrator, "map_for_parts"):
        msg = f"calibrator must be of one foreground; got {type(calibrator).__name__}. Apply those of its classes one by one."
        raise TypeError(msg)
    bare = replace(case, raters={}, index_aligned=(), image=None, vessels=None)
    with _Reading(bare, options or LoadOptions(), invalid=invalid, n_jobs=n_jobs) as reading:
        opened = reading.opened
        order: Literal["C", "F"] = "C" if opened.axis == 0 and len(opened.shape) > 1 else "F"
        fitted = calibrator.map_for_parts(reading.seen())

        def calibrate(slab: Slab) -> FloatArray:
            return _outside_as_asked(fitted(slab.probs), slab)

        def calibrated() -> Generator[FloatArray]:
            n_ahead = n_processors() if n_jobs is None or n_jobs < 0 else n_jobs
            with ThreadPoolExecutor(n_ahead) as threads:  # a map of one slab is too little work for two threads
                waiting: deque[Future[FloatArray]] = deque()
                for slab in reading.slabs():
                    waiting.append(threads.submit(calibrate, slab))
                    if len(waiting) > n_ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            if before_replace is not None:
                before_replace()

        with closing(calibrated()) as slabs:
            write_slabs(path, slabs, opened.shape, opened.geometry, order=order, compression=compression, n_jobs=n_jobs)


def checked(probs: FloatArray, case: str, invalid: str) -> FloatArray:
    """The probabilities of a whole case, with NaN or an error for invalid ones as in ``apply_case``."""
    check = _Check(case, invalid)
    good = check.valid(probs)
    check.finish()
    assert good is not None
    return good


class _Check:
    """Checks probabilities slab by slab: invalid ones become NaN, or are counted and refused at the end.

    Parameters
    ----------
    case : str
        For the error.
    invalid : {"raise", "keep"}
    """

    def __init__(self, case: str, invalid: str) -> None:
        self._case, self._keep = case, invalid == "keep"
        self._found = ProbabilityRange()

    def valid(self, probs: FloatArray) -> FloatArray | None:
        """The probabilities; None once there was an invalid one that is refused in the end."""
        all_valid = self._found.add(probs)
        if self._keep:
            return probs if all_valid else np.where((probs >= 0) & (probs <= 1), probs, probs.dtype.type(np.nan))
        return None if self._found.n_wrong else probs

    def finish(self) -> None:
        """Refuse invalid probabilities.

        Raises
        ------
        ValueError
            If a probability was NaN or outside [0, 1]; says how many of how many, and their range.
        """
        found = self._found
        if self._keep or not found.n_wrong:
            return
        between = f", from {found.low:g} to {found.high:g}" if found.low <= found.high else ""
        msg = (
            f"Case {self._case!r}: {found.n_wrong:,} of {found.n_voxels:,} voxels are NaN or outside [0, 1]{between}; of an "
            "ensemble, in a member. If these are logits, read them with values='logits' (LoadOptions); invalid='keep' writes "
            "NaN there."
        )
        raise ValueError(msg)


class _Reading:
    """The slabs of a case for one pass or two, with its probabilities checked."""

    def __init__(self, case: Case, options: LoadOptions, *, invalid: str, n_jobs: int | None) -> None:
        self._case, self._options, self._invalid = case, options, invalid
        self._n_threads = 2 if n_jobs is None else n_jobs + 1  # one reads ahead
        self._kept: list[Slab] = []
        self._was_read = False
        self.opened = self._open()

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def seen(self) -> Iterator[FloatArray]:
        """The probabilities that count, in the order of memory: a first pass, of which a small case is kept."""
        keep = prod(self.opened.shape) * self.opened.dtype.itemsize <= KEPT
        for slab in self._read():
            if keep:
                self._kept.append(slab)
            probs, roi = np.ravel(slab.probs, order="K"), slab.roi
            yield probs if roi is None else probs[np.ravel(_like(roi, slab.probs), order="K")]

    def slabs(self) -> Iterator[Slab]:
        """All slabs: those that were kept, or as they are read."""
        if self._kept:
            self._kept.reverse()
            while self._kept:
                yield self._kept.pop()
            return
        if self._was_read:
            self.opened.close()
            self.opened = self._open()
        yield from self._read()

    def _open(self) -> OpenCase:
        return self._case.open(options=self._options, crop=False)

    def _read(self) -> Iterator[Slab]:
        self._was_read = True
        check = _Check(self.opened.id, self._invalid)
        for slab in self.opened.slabs(SLAB, n_jobs=self._n_threads):
            probs = check.valid(slab.probs[0])
            if probs is not None:
                yield replace(slab, probs=probs)
        check.finish()


def _like(mask: NDArray[np.bool_], probs: FloatArray) -> NDArray[np.bool_]:
    """The mask in the order of memory of the probabilities."""
    order: Literal["C", "F"] = "F" if probs.flags.f_contiguous and not probs.flags.c_contiguous else "C"
    return np.asarray(mask, order=order)


def _outside_as_asked(calibrated: FloatArray, slab: Slab) -> FloatArray:
    """Exactly 0 outside the region where ``outside="zero"`` was asked for, whatever the map says of 0."""
    if slab.region is None or slab.roi is not None:
        return calibrated
    return np.where(slab.region, calibrated, calibrated.dtype.type(0))
