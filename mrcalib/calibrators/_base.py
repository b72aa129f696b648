"""What all calibrators share: the ways of fitting, scikit-learn's contract, applying and saving the fitted map.

A calibrator is "tally, then fit the sums". Each method says in ``_fit_map`` how it makes a map of them, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from mrcalib.calibrators._case_sums import CaseSums
from mrcalib.calibrators._source import Source, pool_weighted
from mrcalib.cohort import Cohort, check_case_weight
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, check_choice, check_voxels, voxel_responses
from mrcalib.maps import CalibrationMap
from mrcalib.tallies import Tally, VoteCounts, tally_voxels

if TYPE_CHECKING:
    from mrcalib.io import Case, LoadOptions

__all__ = ["VoteCalibrator"]

FloatArray = NDArray[np.float64]


class VoteCalibrator(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Base of all calibrators: from probabilities and raters' masks to a monotone map.

    Attributes
    ----------
    map_ : CalibrationMap
        The fitted map; calling it calibrates an array.
    reachable_ : tuple of float
        The smallest and the largest probability that the map can give.
    raters_ : tuple of str
        Names of the raters it was fitted to.
    n_voxels_ : float
        Number (or total weight) of the voxels it was fitted to, over all cases; with ``keep_zero`` those above 0.
    provenance_ : dict
        Method, parameters, cases, raters, a hash of the pooled sums and, of ``fit_cases``, how they were read ("reading");
        written by ``save``.
    """

    keep_zero: bool
    case_weight: str | ArrayLike

    # How subclasses differ -------------------------------------------------------------------------------------------

    def _fit_map(self, source: Source, rater_weight: FloatArray | None) -> CalibrationMap:
        raise NotImplementedError

    def _describe_map(self) -> None:
        """Set the learned attributes that can be read off ``map_``."""

    def _state(self) -> dict[str, Any]:
        """What else is learned, as JSON values; ``_set_state`` takes it back."""
        return {}

    def _set_state(self, state: dict[str, Any]) -> None:
        pass

    def _grid(self) -> ProbabilityGrid:
        """The grid that this method is best tallied on."""
        return ProbabilityGrid.standard()

    def _needs_voxels(self) -> bool:
        """Whether the sums of a tally are not enough."""
        return False

    def _tells_cases_apart(self) -> bool:
        """Whether the sums of all cases together are not enough."""
        return False

    def _tells_marked_apart(self) -> bool:
        """Whether the fit is nearer to the voxels if it knows the probabilities of those that were marked."""
        return False

    def _counts_votes(self) -> bool:
        """Whether each rater's own sums are not enough: how many voxels had how many votes."""
        return False

    # Hooks that let a test reach this class with any table of numbers (scikit-learn's own checks) ---------------------

    def _to_probs(self, probs: Any) -> Any:
        return probs

    def _to_raters(self, raters: Any) -> Any:
        return raters

    # Fitting ----------------------------------------------------------------------------------------------------------

    def fit(
        self,
        probs: ArrayLike,
        raters: Any,
        *,
        roi: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        rater_axis: int | None = None,
        rater_weight: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        case_weight: str | None = None,
        positive: int | Sequence[int] | None = None,
        soft: bool | None = None,
        invalid: str = "raise",
    ) -> Self:
        """Fit to a map of probabilities and the raters' masks.

        Parameters
        ----------
        probs : array_like of float, shape S
            Probabilities in [0, 1]; a column (n, 1) is n voxels.
        raters : array_like or sequence
            Masks of 0 and 1, raters first ``(R, *S)`` or last ``(*S, R)``; a list with None for a missing rater; NaN where a
            voxel was not annotated; or one float target of shape S in [0, 1], an averaged response.
        roi : array_like of bool, shape S, optional
            Voxels to fit to.
        groups : array_like, shape S, optional
            Case of each voxel; needed for ``case_weight="equal"``.
        rater_axis : int, optional
            Axis of the raters where a stack fits both ways.
        rater_weight : array_like of shape (R,), optional
            Weight of each rater's answers.
        sample_weight : array_like of float, shape S, optional
            Weight of each voxel.
        case_weight : {"voxels", "equal"}, optional
            Overrides the parameter of the same name.
        positive : int or sequence of int, optional
            Label values that mark the structure in the masks.
        soft : bool, optional
            Whether ``raters`` is an averaged response; detected for one-dimensional targets.
        invalid : {"raise", "drop"}, default="raise"
            What becomes of probabilities that are NaN or outside [0, 1].

        Returns
        -------
        self
        """
        self._forget()
        source, names = self._collect(
            probs,
            raters,
            roi=roi,
            groups=groups,
            rater_axis=rater_axis,
            sample_weight=sample_weight,
            case_weight=case_weight,
            positive=positive,
            soft=soft,
            invalid=invalid,
        )
        return self.fit_source(source, names, rater_weight)

    def partial_fit(
        self, probs: ArrayLike, raters: Any, *, rater_weight: ArrayLike | None = None, **options: Any
    ) -> Self:
        """Add voxels to those seen so far and fit again; ``options`` are those of ``fit``. Order does not matter.

        With ``keep_zero`` there is no map before the first voxel above 0.

        Raises
        ------
        ValueError
            For ``binning="exact"``, which must read all voxels twice.
        """
        if self._needs_voxels():
            msg = f"{type(self).__name__} with binning='exact' reads all voxels twice; fit it at once, or use binning='grid'."
            raise ValueError(msg)
        before: Source | None = getattr(self, "_seen", None)
        source, names = self._collect(probs, raters, grid=None if before is None else before.grid, **options)
        if before is not None:
            pooled = before.pooled + source.pooled
            n_voxels, n_zeros = before.n_voxels + source.n_voxels, before.n_zeros + source.n_zeros
            parts = [part.counts for part in (before, source) if part.counts is not None]
            counts = VoteCounts.merge(parts) if parts else None
            source = Source(source.grid, pooled, n_voxels, n_zeros=n_zeros, counts=counts)
        if self._keeps_zero() and not source.without_zeros().pooled.weight.any():
            self._seen = replace(source, voxels=None)
            return self
        return self.fit_source(source, names, rater_weight)

    def fit_tally(
        self,
        tally: Tally | Cohort,
        *,
        rater_weight: ArrayLike | None = None,
        case_weight: str | ArrayLike | None = None,
    ) -> Self:
        """Fit to a tally, or to the tallies of many cases, without the voxels.

        Parameters
        ----------
        tally : Tally or Cohort
            Tallied on any grid; cohorts carry the cases that ``case_weight`` weighs.
        rater_weight : array_like of shape (R,), optional
            Weight of each rater's answers.
        case_weight : "voxels", "equal" or array_like of shape (n_cases,), optional
            Overrides the parameter of the same name.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For ``binning="exact"``, which needs the voxels.
        """
        if self._needs_voxels():
            msg = "binning='exact' needs the voxels; use fit or fit_cases, or binning='grid' on tallies."
            raise ValueError(msg)
        self._forget()
        cohort = tally if isinstance(tally, Cohort) else Cohort([tally])
        cases = cohort.ids if isinstance(tally, Cohort) else ()
        return self.fit_source(self._source_of(cohort, case_weight), cohort.raters, rater_weight, cases)

    def _source_of(
        self,
        cohort: Cohort,
        case_weight: str | ArrayLike | None,
        voxels: Callable[[FloatArray], Iterable[tuple[Voxels, float]]] | None = None,
    ) -> Source:
        """The sums of a cohort; ``voxels`` reads its cases again, given their weights."""
        weight = self._weights_of_cases(cohort, case_weight)
        return Source(
            cohort.tallies[0].grid,
            cohort.pooled(weight),
            float(cohort.n_voxels.sum()),
            None if voxels is None else partial(voxels, weight),
            float(cohort.n_zeros.sum()),
            CaseSums.of_cohort(cohort, weight) if self._tells_cases_apart() else None,
            cohort.vote_counts(weight) if self._counts_votes() else None,
        )

    def _weights_of_cases(self, cohort: Cohort, case_weight: str | ArrayLike | None = None) -> FloatArray:
        """The factor of each case's counts; with ``keep_zero``, "equal" looks only at the voxels above 0."""
        rule = self.case_weight if case_weight is None else case_weight
        size = cohort.n_voxels
        if self._keeps_zero():
            size = size - cohort.n_zeros
        return check_case_weight(rule, size)

    def _keeps_zero(self) -> bool:
        """Whether exact zeros stay 0 and out of the fit; not every method has the parameter."""
        return bool(getattr(self, "keep_zero", False))

    def fit_cases(
        self,
        cases: Iterable[Case],
        *,
        rater_weight: ArrayLike | None = None,
        case_weight: str | ArrayLike | None = None,
        options: LoadOptions | None = None,
        invalid: str = "raise",
        n_jobs: int | None = None,
        failures: dict[str, Exception] | None = None,
        progress: Callable[[str, str], None] | None = None,
    ) -> Self:
        """Fit to cases on disk or in memory, read one at a time.

        Parameters
        ----------
        cases : iterable of Case
            With ``binning="exact"`` a list, since it is read twice.
        rater_weight, case_weight
            As for ``fit_tally``.
        options : LoadOptions, optional
            How files are read.
        invalid : {"raise", "drop"}, default="raise"
            What becomes of probabilities that are NaN or outside [0, 1].
        n_jobs : int, optional
            Cases read at the same time; 1 by default.
        failures : dict, optional
            Takes the error of each case that could not be tallied, by id, and the fit is to the others; numbers in
            ``case_weight`` are then those of all cases. Without it the first error is raised.
        progress : callable, optional
            Called with a case's id and "tallied" or "failed" as each case is done.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If no case could be read, or there is nothing to fit.
        """
        from mrcalib.scale import tally_cases  # it needs io, which arrays do not

        cases = list(cases)
        failed: dict[str, Exception] = {}
        cohort = tally_cases(
            cases,
            grid=self._grid(),
            options=options,
            invalid=invalid,
            n_jobs=n_jobs,
            failures=None if failures is None else failed,
            progress=progress,
        )
        if failures is not None:
            failures.update(failed)
        good = [case for case in cases if case.id not in failed]
        rule = self.case_weight if case_weight is None else case_weight
        if failed and not isinstance(rule, str):
            rule = np.array([w for w, case in zip(np.asarray(rule), cases, strict=True) if case.id not in failed])
        return self._fit_tallied(good, cohort, rater_weight=rater_weight, case_weight=rule, options=options)

    def _fit_tallied(
        self,
        cases: Sequence[Case],
        cohort: Cohort,
        *,
        rater_weight: ArrayLike | None = None,
        case_weight: str | ArrayLike | None = None,
        options: LoadOptions | None = None,
    ) -> Self:
        """Fit to cases and their tallies on this method's grid; the cases are read again only where the method must."""
        from mrcalib.scale import reading_of, voxels_of_case

        self._forget()

        def again(weights: FloatArray) -> Iterable[tuple[Voxels, float]]:
            for case, factor in zip(cases, weights, strict=True):
                yield voxels_of_case(case, raters=cohort.raters, options=options), float(factor)

        source = self._source_of(cohort, case_weight, again if self._rereads() else None)
        self.fit_source(source, cohort.raters, rater_weight, cohort.ids)
        self.provenance_["reading"] = reading_of(cases, options)
        return self

    def _rereads(self) -> bool:
        """Whether a second pass over the voxels makes the fit exact."""
        return self._needs_voxels()

    def _collect(
        self,
        probs: ArrayLike,
        raters: Any,
        *,
        roi: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        rater_axis: int | None = None,
        sample_weight: ArrayLike | None = None,
        case_weight: str | None = None,
        positive: int | Sequence[int] | None = None,
        soft: bool | None = None,
        invalid: str = "raise",
        grid: ProbabilityGrid | None = None,
    ) -> tuple[Source, tuple[str, ...]]:
        """The sums of arrays, and the names of their raters."""
        check_choice("invalid", invalid, ("raise", "drop"))
        if raters is None:
            msg = f"{type(self).__name__} requires y to be passed, but the target y is None: give the raters' masks."
            raise ValueError(msg)
        self._remember_columns(probs, reset=not hasattr(self, "_seen"))
        probs, raters = self._to_probs(probs), self._to_raters(raters)
        voxels = check_voxels(
            probs,
            raters,
            roi=roi,
            rater_axis=rater_axis,
            sample_weight=sample_weight,
            positive=positive,
            soft=soft,
            arguments=("roi", "rater_axis", "positive", "soft", "invalid"),
        )
        if voxels.n_voxels == 0:
            msg = "There is nothing to fit: probs is empty."
            raise ValueError(msg)
        if voxels.sample_weight is not None and not voxels.sample_weight.any():
            msg = "There is nothing to fit: sample_weight is zero everywhere."
            raise ValueError(msg)
        voxels = self._with_case_weight(voxels, np.shape(probs), groups, case_weight)
        grid = grid or self._grid()
        names = voxels.rater_names
        counts = None
        if self._counts_votes() and voxels.soft is not None:
            msg = f"{type(self).__name__} counts votes and needs each rater's mask; got one averaged (soft) target."
            raise ValueError(msg)
        if voxels.soft is None and voxels.sample_weight is None:
            counted = tally_voxels(voxels, grid, names, invalid=invalid)
            source = Source(grid, counted.pooled(), float(counted.n_voxels), n_zeros=float(counted.n_zeros))
            counts = VoteCounts.of_cells(counted.cells) if self._counts_votes() else None
        else:
            source = pool_weighted(voxels, grid, invalid=invalid)
            counts = VoteCounts.of_voxels(voxels, grid) if self._counts_votes() else None
        voxels_again = (lambda: [(voxels, 1.0)]) if self._rereads() else None
        return replace(source, voxels=voxels_again, counts=counts, in_memory=True), names

    def _with_case_weight(
        self, voxels: Voxels, shape: tuple[int, ...], groups: ArrayLike | None, case_weight: str | None
    ) -> Voxels:
        """The voxels with the sample weights that give each case its weight."""
        rule = self.case_weight if case_weight is None else case_weight
        if isinstance(rule, str) and rule == "voxels":
            return voxels
        if groups is None or not isinstance(rule, str):
            msg = "case_weight needs groups= (the case of each voxel) in fit; or use fit_cases or fit_tally."
            raise ValueError(msg)
        case = np.asarray(groups)
        if case.shape != shape and case.shape != shape[:1]:
            msg = f"groups must have the shape of probs, {shape}; got {case.shape}."
            raise ValueError(msg)
        _, index = np.unique(case.ravel(order=voxels.order), return_inverse=True)
        counts = voxels.answered()
        if self._keeps_zero():
            counts = counts & (voxels.probs != 0)
        factor = check_case_weight(rule, np.bincount(index, counts))[index]
        return replace(voxels, sample_weight=factor if voxels.sample_weight is None else factor * voxels.sample_weight)

    def fit_source(
        self, source: Source, names: Sequence[str], rater_weight: ArrayLike | None = None, cases: Sequence[str] = ()
    ) -> Self:
        """Fit to pooled sums: what all other ways of fitting end in.

        With ``keep_zero`` the fit does not see exact zeros: they are voxels that were not looked at, not answers.
        """
        weight = self._fit_sums(source, names, rater_weight)
        self._seen = replace(source, voxels=None)
        digest = hashlib.sha256()
        for values in (source.pooled.bins, source.pooled.weight, source.pooled.prob_sum, source.pooled.votes):
            digest.update(np.ascontiguousarray(values).tobytes())
        if source.counts is not None:
            for column in (source.counts.bins, source.counts.answers, source.counts.votes, source.counts.weight):
                digest.update(np.ascontiguousarray(column).tobytes())
        self.provenance_ = {
            "method": type(self).__name__,
            "parameters": {k: _jsonable(v) for k, v in self.get_params(deep=False).items()},
            "cases": list(cases),
            "raters": list(names),
            "rater_weight": None if weight is None else weight.tolist(),
            "n_voxels": self.n_voxels_,
            "data_sha256": digest.hexdigest(),
        }
        return self

    def _fit_sums(
        self, source: Source, names: Sequence[str], rater_weight: ArrayLike | None = None
    ) -> FloatArray | None:
        """Fit without a note of where the map comes from, for maps that are applied and dropped; the checked weights."""
        weight = None if rater_weight is None else np.asarray(rater_weight, dtype=np.float64)
        if weight is not None and (
            weight.shape != (source.pooled.n_raters,)
            or not np.isfinite(weight).all()
            or weight.min() < 0
            or weight.max() == 0
        ):
            msg = f"rater_weight must hold a finite number >= 0 for each of the {source.pooled.n_raters} raters, not all 0."
            raise ValueError(msg)
        if not source.pooled.weight.any():
            msg = "There is nothing to fit: no rater answered at any voxel."
            raise ValueError(msg)
        fitted_to = source.without_zeros() if self._keeps_zero() else source
        if not fitted_to.pooled.weight.any():
            msg = "There is nothing to fit: all probabilities are exactly 0, which keep_zero=True leaves out."
            raise ValueError(msg)
        self.raters_ = tuple(names)
        if not hasattr(self, "n_features_in_"):
            self.n_features_in_ = 1
        self.map_ = self._fit_map(fitted_to, weight)
        self._describe_map()
        self.reachable_ = self.map_.reachable
        self.n_voxels_ = fitted_to.n_voxels
        return weight

    def _forget(self) -> None:
        self.__dict__.pop("_seen", None)

    # Using the map ----------------------------------------------------------------------------------------------------

    def transform(self, probs: ArrayLike) -> NDArray[Any]:
        """Calibrated probabilities, in the shape and float dtype of ``probs``.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For values outside [0, 1].
        """
        check_is_fitted(self, "map_")
        self._remember_columns(probs, reset=False)
        return self.map_(self._to_probs(probs))

    def map_of_case(self, prob: FloatArray, count: FloatArray) -> Callable[[ArrayLike], NDArray[Any]]:  # noqa: ARG002
        """The map of one case: ``map_``, but for methods whose map depends on the case.

        Parameters
        ----------
        prob : ndarray of shape (n,), float64
            Uncalibrated probabilities that occur in the case, such as those of a tally's rows.
        count : ndarray of shape (n,)
            Voxels at each of them.

        Returns
        -------
        callable
            Of an array of probabilities of this case, to their calibrated values.
        """
        check_is_fitted(self, "map_")
        return self.map_

    def map_for(self, probs: ArrayLike) -> Callable[[ArrayLike], NDArray[Any]]:  # noqa: ARG002
        """The map of the case whose voxels these are, all of them that count: ``map_`` where one map serves all cases.

        ``map_for(probs[roi])(probs)`` calibrates a whole image by what is seen in its region of interest.
        """
        check_is_fitted(self, "map_")
        return self.map_

    def map_for_parts(self, parts: Iterable[ArrayLike]) -> Callable[[ArrayLike], NDArray[Any]]:  # noqa: ARG002
        """The map of the case whose voxels come in ``parts``, one at a time; they are read only where the map depends on them.

        Parameters
        ----------
        parts : iterable of array_like
            All voxels of the case that count, in the order in which ``map_for`` would see them (that of memory).
        """
        check_is_fitted(self, "map_")
        return self.map_

    def __call__(self, probs: ArrayLike) -> NDArray[Any]:
        """The same as ``transform``, for volumes: ``calibrated = calibrator(volume)``."""
        return self.transform(probs)

    def predict(self, probs: ArrayLike) -> NDArray[Any]:
        """Calibrated probabilities as one flat array, for ``cross_val_predict`` and scorers."""
        return np.ravel(self.transform(probs))

    def score(self, probs: ArrayLike, raters: Any, sample_weight: ArrayLike | None = None) -> float:
        """Minus the Brier score over (voxel, rater) pairs of the calibrated probabilities: greater is better."""
        calibrated = self.transform(probs)
        rows = voxel_responses(calibrated, self._to_raters(raters), sample_weight=sample_weight)
        squares = rows.answers * rows.prob**2 - 2 * rows.prob * rows.votes
        squares += rows.votes if rows.marked is not None else rows.votes**2
        return -float((rows.count @ squares) / (rows.count @ rows.answers))

    def save(self, path: str | Path) -> None:
        """Write the fitted map and where it comes from to a JSON file; ``mrcalib.load`` reads it."""
        from mrcalib.persistence import save

        save(self, path)

    # scikit-learn -----------------------------------------------------------------------------------------------------

    def _remember_columns(self, probs: Any, *, reset: bool) -> None:
        """Names and number of columns, where ``probs`` is a table and not an image."""
        is_table = hasattr(probs, "columns") or (
            isinstance(probs, np.ndarray) and probs.ndim == 2 and probs.shape[1] == 1
        )
        if is_table or type(self)._to_probs is not VoteCalibrator._to_probs:
            validate_data(self, probs, reset=reset, skip_check_array=True)
        elif reset:
            self.n_features_in_ = 1
            self.__dict__.pop("feature_names_in_", None)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
