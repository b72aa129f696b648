"""What all calibrators share: the ways of fitting, scikit-learn's contract, applying and saving the fitted map.

A calibrator is "tally, then fit the sums". Each method says in ``_fit_map`` how it makes a map of them, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from mrcalib._rows import voxel_responses
from mrcalib._validation import check_choice, check_voxels
from mrcalib._voxels import Voxels
from mrcalib.calibrators._source import Source, pool_weighted
from mrcalib.cohort import Cohort, check_case_weight
from mrcalib.grid import ProbabilityGrid
from mrcalib.maps import CalibrationMap
from mrcalib.tallies import Tally, tally_voxels

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
        Number (or total weight) of the voxels it was fitted to, over all cases.
    provenance_ : dict
        Method, parameters, cases, raters and a hash of the pooled sums; written by ``save``.
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
            source = Source(source.grid, pooled, before.n_voxels + source.n_voxels)
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
        weight = self.case_weight if case_weight is None else case_weight
        source = Source(cohort.tallies[0].grid, cohort.pooled(weight), float(cohort.n_voxels.sum()))
        cases = cohort.ids if isinstance(tally, Cohort) else ()
        return self.fit_source(source, cohort.raters, rater_weight, cases)

    def fit_cases(
        self,
        cases: Iterable[Case],
        *,
        rater_weight: ArrayLike | None = None,
        case_weight: str | ArrayLike | None = None,
        options: LoadOptions | None = None,
        n_jobs: int | None = None,
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
        n_jobs : int, optional
            Cases read at the same time; 1 by default.

        Returns
        -------
        self
        """
        from mrcalib.scale import tally_cases  # it needs io, which arrays do not

        cases = list(cases)
        self._forget()
        cohort = tally_cases(cases, grid=self._grid(), options=options, n_jobs=n_jobs)
        weight = check_case_weight(self.case_weight if case_weight is None else case_weight, cohort.n_voxels)

        def again() -> Iterable[tuple[Voxels, float]]:
            from mrcalib.scale import voxels_of_case

            for case, factor in zip(cases, weight, strict=True):
                yield voxels_of_case(case, raters=cohort.raters, options=options), float(factor)

        n_voxels = float(cohort.n_voxels.sum())
        source = Source(self._grid(), cohort.pooled(weight), n_voxels, again if self._rereads() else None)
        return self.fit_source(source, cohort.raters, rater_weight, cohort.ids)

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
            probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight, positive=positive, soft=soft
        )
        if voxels.n_voxels == 0:
            msg = "There is nothing to fit: probs is empty."
            raise ValueError(msg)
        if voxels.sample_weight is not None and not voxels.sample_weight.any():
            msg = "There is nothing to fit: sample_weight is zero everywhere."
            raise ValueError(msg)
        voxels = self._with_case_weight(voxels, np.shape(probs), groups, case_weight)
        grid = grid or self._grid()
        names = tuple(str(r) for r in range(voxels.n_raters))
        if voxels.soft is None and voxels.sample_weight is None:
            counted = tally_voxels(voxels, grid, names, invalid=invalid)
            pooled, n_voxels = counted.pooled(), float(counted.n_voxels)
        else:
            pooled, n_voxels = pool_weighted(voxels, grid, invalid=invalid)
        again = (lambda: [(voxels, 1.0)]) if self._rereads() else None
        return Source(grid, pooled, n_voxels, again), names

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
        factor = check_case_weight(rule, np.bincount(index, voxels.answered()))[index]
        return replace(voxels, sample_weight=factor if voxels.sample_weight is None else factor * voxels.sample_weight)

    def fit_source(
        self, source: Source, names: Sequence[str], rater_weight: ArrayLike | None = None, cases: Sequence[str] = ()
    ) -> Self:
        """Fit to pooled sums: what all other ways of fitting end in."""
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
        self.raters_ = tuple(names)
        if not hasattr(self, "n_features_in_"):
            self.n_features_in_ = 1
        self.map_ = self._fit_map(source, weight)
        self._describe_map()
        self.reachable_ = self.map_.reachable
        self.n_voxels_ = source.n_voxels
        self._seen = Source(source.grid, source.pooled, source.n_voxels)
        digest = hashlib.sha256()
        for values in (source.pooled.bins, source.pooled.weight, source.pooled.prob_sum, source.pooled.votes):
            digest.update(np.ascontiguousarray(values).tobytes())
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
