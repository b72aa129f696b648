"""The base of all calibrators: the ways of fitting, the application of the fitted map, saving, and scikit-learn's contract.

``fit`` passes five stations: arrays are checked (``_array_cases``), counted into tallies, pooled (``data_of_cohort``),
fitted (``fit_map``), and the map is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._array_cases import array_cases, check_cases
from mrcalib.calibrators._counting import Counted, Rule, count_arrays, is_by_voxels, reading_order
from mrcalib.calibrators._data import CalibrationData, Needs, data_of_cohort
from mrcalib.calibrators._fitted import FittedCalibrator
from mrcalib.cohort import Cohort, check_case_weight
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, check_choice
from mrcalib.maps import CalibrationMap
from mrcalib.tallies import Tally

if TYPE_CHECKING:
    from mrcalib.io import Case, LoadOptions

__all__ = ["Calibrator"]

FloatArray = NDArray[np.float64]


class Calibrator(FittedCalibrator):
    """Base of all calibrators: from probabilities and raters' masks to a monotone map.

    A new method is a subclass that says in ``fit_map`` how it makes a map of sums by bin, and is registered under a name.
    Everything else is here: all ways of fitting, the application of the map, saving and loading, scikit-learn's contract.
    The protocol of a subclass is

    - ``fit_map(data, rater_weight)``, which every method must write: from ``CalibrationData`` to a ``CalibrationMap``. With
      a parameter ``keep_zero`` that is true, the data hold no exact zeros;
    - ``needs``, a property: what sums the method must have, ``Needs(ProbabilityGrid.standard())`` by default;
    - ``learned()`` and ``restore(state)``, where something beside the map is learned: what is saved of it, as JSON values;
    - ``map_of_case``, ``map_for`` and ``map_for_parts``, where the map depends on the case;
    - an ``__init__`` that stores its parameters only. ``case_weight`` should be one of them.

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
    n_marked_ : float
        Number (or total weight) of the pairs of a voxel and a rater who marked it; not known after ``load``.
    provenance_ : dict
        Method, parameters, cases, raters, a hash of the pooled sums and, of ``fit_cases``, how they were read ("reading");
        written by ``save``.

    Examples
    --------
    A method that moves probabilities half of the way to the overall fraction of votes, and is compared under its name:

    >>> from mrcalib.calibrators import CALIBRATORS, Calibrator, register_calibrator
    >>> from mrcalib.maps import PiecewiseLinearMap
    >>> @register_calibrator("half-way")
    ... class HalfWay(Calibrator):
    ...     def __init__(self, share=0.5, *, case_weight="voxels"):
    ...         self.share = share
    ...         self.case_weight = case_weight
    ...
    ...     def fit_map(self, data, rater_weight):
    ...         prob, weight, response = data.pooled.mean_response(rater_weight)
    ...         moved = self.share * np.average(response, weights=weight)
    ...         return PiecewiseLinearMap(np.array([0.0, 1.0]), np.array([moved, moved + 1 - self.share]))
    >>> HalfWay().fit(np.array([0.2, 0.6]), [[0, 1], [0, 0]])(np.array([0.2, 0.6])).round(3)
    array([0.225, 0.425])
    >>> CALIBRATORS.unregister("half-way")
    """

    case_weight: str | ArrayLike
    n_voxels_: float
    _counted: Counted

    # What subclasses say of themselves --------------------------------------------------------------------------------

    @property
    def needs(self) -> Needs:
        """What this method must know about the voxels that it is fitted to."""
        return Needs(ProbabilityGrid.standard())

    def fit_map(self, data: CalibrationData, rater_weight: FloatArray | None) -> CalibrationMap:
        """The map of these sums; every method writes this.

        Parameters
        ----------
        data : CalibrationData
            With ``keep_zero`` without exact zeros.
        rater_weight : ndarray of shape (n_raters,), or None
            Finite weights >= 0 of the raters' answers, in the order of ``raters_``, not all 0; None where all are 1.
        """
        raise NotImplementedError

    def notes_on_fit(self, data: CalibrationData, rater_weight: FloatArray | None) -> dict[str, Any]:  # noqa: ARG002
        """Further entries of ``provenance_``, as JSON values; parameters as for ``fit_map``."""
        return {}

    # Fitting ----------------------------------------------------------------------------------------------------------

    def fit(
        self,
        probs: Any,
        raters: Any = None,
        *,
        roi: Any = None,
        groups: Any = None,
        rater_axis: int | None = None,
        rater_weight: ArrayLike | None = None,
        sample_weight: Any = None,
        case_weight: str | ArrayLike | None = None,
        positive: int | Sequence[int] | None = None,
        soft: bool | None = None,
        invalid: str = "raise",
    ) -> Self:
        """Fit to a map of probabilities and the raters' masks, or to a list of cases.

        Parameters
        ----------
        probs : array_like of float, shape S; or iterable of them
            Probabilities in [0, 1]; a column (n, 1) is n voxels. A list of arrays, of any shapes, is a list of cases; so is
            a list of ``Case`` objects, which bring their raters.
        raters : array_like, sequence or mapping; or iterable of them
            Masks of 0 and 1, raters first ``(R, *S)`` or last ``(*S, R)``; a list with None for a missing rater; a dict of
            name and mask; NaN where a voxel was not annotated; or one float target of shape S in [0, 1], an averaged
            response. Of a list of cases, a list with one of these for each case.
        roi : array_like of bool, shape S; or list of them, optional
            Voxels to fit to.
        groups : array_like, optional
            Case of each voxel, of shape S or of the length of the first axis; of a list, the case of each entry, by default
            its own. Cases matter for ``case_weight="equal"`` and for methods that look at each case.
        rater_axis : int, optional
            Axis of the raters where a stack fits both ways.
        rater_weight : array_like of shape (R,), optional
            Weight of each rater's answers.
        sample_weight : array_like of float, shape S; or list of them, optional
            Weight of each voxel.
        case_weight : {"voxels", "equal"} or array_like, optional
            Overrides the parameter of the same name; numbers are for a list of cases.
        positive : int or sequence of int, optional
            Label values that mark the structure in the masks.
        soft : bool, optional
            Whether ``raters`` is an averaged response; detected for one-dimensional targets.
        invalid : {"raise", "drop"}, default="raise"
            What becomes of probabilities that are NaN or outside [0, 1].

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If shapes do not fit, masks or probabilities hold other values, or there is nothing to fit.
        TypeError
            If probabilities are no floats.
        """
        self.__dict__.pop("_counted", None)
        data, names = self._count(
            probs,
            raters,
            None,
            roi=roi,
            groups=groups,
            rater_axis=rater_axis,
            sample_weight=sample_weight,
            case_weight=case_weight,
            positive=positive,
            soft=soft,
            invalid=invalid,
        )
        return self.fit_data(data, self._counted.raters, rater_weight, names)

    def partial_fit(
        self, probs: Any, raters: Any = None, *, rater_weight: ArrayLike | None = None, **options: Any
    ) -> Self:
        """Add voxels to those seen so far by ``fit``, ``fit_tally`` or ``partial_fit``, and fit again.

        The result is that of ``fit`` on all voxels at once, to the bit and in any order, except for binnings that need a
        second pass. The voxels of one call are one case, unless ``groups=`` or a list names the cases; a case may come in
        several calls under one name. With ``keep_zero`` there is no map before the first voxel above 0.

        Parameters
        ----------
        probs, raters, rater_weight
            As for ``fit``.
        **options : Any
            The other arguments of ``fit``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For ``binning="exact"``, which must read all voxels twice; for other raters than before; after ``load``.
        """
        if self.needs.voxels:
            msg = f"{type(self).__name__} with binning='exact' reads all voxels twice; fit it at once, or use binning='grid'."
            raise ValueError(msg)
        before: Counted | None = getattr(self, "_counted", None)
        if before is None and hasattr(self, "map_"):
            msg = "partial_fit cannot go on from a calibrator that was loaded from a file: it keeps no sums. Fit all cases."
            raise ValueError(msg)
        data, _ = self._count(probs, raters, before, partial=True, **options)
        if self._keeps_zero() and self._counted.n_above_zero == 0:
            return self
        return self.fit_data(data, self._counted.raters, rater_weight, self._counted.cases)

    def fit_tally(
        self,
        tally: Tally | Cohort,
        *,
        rater_weight: ArrayLike | None = None,
        case_weight: str | ArrayLike | None = None,
        cases: Sequence[Case] | None = None,
        options: LoadOptions | None = None,
    ) -> Self:
        """Fit to a tally, or to the tallies of many cases.

        Parameters
        ----------
        tally : Tally or Cohort
            On the grid of ``needs``, or on the standard one.
        rater_weight : array_like of shape (R,), optional
            Weight of each rater's answers.
        case_weight : {"voxels", "equal"} or array_like of shape (n_cases,), optional
            Overrides the parameter of the same name.
        cases : sequence of Case, optional
            The cases that were tallied, in this order. They are read again where the method needs a second pass, and
            recorded in ``provenance_``.
        options : LoadOptions, optional
            How the cases were read.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For ``binning="exact"`` without ``cases``, since it needs the voxels.
        """
        if self.needs.voxels and cases is None:
            msg = "binning='exact' needs the voxels; use fit or fit_cases, or binning='grid' on tallies."
            raise ValueError(msg)
        cohort = tally if isinstance(tally, Cohort) else Cohort([tally])
        weight = self.weights_of_cases(cohort, case_weight)

        def again(weights: FloatArray) -> Iterable[tuple[Voxels, float]]:
            from mrcalib.scale import voxels_of_case

            assert cases is not None
            for i in reading_order(weights):
                yield voxels_of_case(cases[i], raters=cohort.raters, options=options), float(weights[i])

        rereads = cases is not None and self.needs.second_pass
        (data,) = data_of_cohort(cohort, weight[np.newaxis], self.needs, voxels=again if rereads else None)
        self.fit_data(data, cohort.raters, rater_weight, cohort.ids if isinstance(tally, Cohort) else ())
        self._counted = Counted(cohort.raters, dict(zip(cohort.ids, cohort.tallies, strict=True)))
        if cases is not None:
            from mrcalib.scale import reading_of

            self.provenance_["reading"] = reading_of(cases, options)
        return self

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
            Methods with a second pass read each of them twice.
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
            grid=self.needs.grid,
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
        return self.fit_tally(cohort, rater_weight=rater_weight, case_weight=rule, cases=good, options=options)

    def fit_data(
        self,
        data: CalibrationData,
        raters: Sequence[str],
        rater_weight: ArrayLike | None = None,
        cases: Sequence[str] = (),
        *,
        provenance: bool = True,
    ) -> Self:
        """Fit to pooled sums: what all other ways of fitting end in.

        With ``keep_zero`` the fit does not see exact zeros: they are voxels that were not looked at, not answers.

        Parameters
        ----------
        data : CalibrationData
            What ``needs`` asks for.
        raters : sequence of str
            Names of the raters.
        rater_weight : array_like of shape (R,), optional
            Weight of each rater's answers.
        cases : sequence of str, optional
            Names of the cases, for ``provenance_``.
        provenance : bool, default=True
            Whether to note where the map comes from. The hash of the sums takes as long as many a fit, so that maps which
            are applied and dropped do without.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is nothing to fit, or weights are not valid.
        """
        n_raters = data.pooled.n_raters
        weight = None if rater_weight is None else np.asarray(rater_weight, dtype=np.float64)
        if weight is not None and (
            weight.shape != (n_raters,) or not np.isfinite(weight).all() or weight.min() < 0 or weight.max() == 0
        ):
            msg = f"rater_weight must hold a finite number >= 0 for each of the {n_raters} raters, not all 0."
            raise ValueError(msg)
        if not data.pooled.weight.any():
            msg = "There is nothing to fit: no rater answered at any voxel."
            raise ValueError(msg)
        fitted_to = data.without_zeros() if self._keeps_zero() else data
        if not fitted_to.pooled.weight.any():
            msg = "There is nothing to fit: all probabilities are exactly 0, which keep_zero=True leaves out."
            raise ValueError(msg)
        self.raters_ = tuple(raters)
        if not hasattr(self, "n_features_in_"):
            self.n_features_in_ = 1
        self.map_ = self.fit_map(fitted_to, weight)
        self.n_voxels_ = fitted_to.n_voxels
        self.n_marked_ = float(data.pooled.votes.sum())
        if provenance:
            self.provenance_ = {
                "method": type(self).__name__,
                "parameters": {k: _jsonable(v) for k, v in self.get_params(deep=False).items()},
                "cases": list(cases),
                "raters": list(raters),
                "rater_weight": None if weight is None else weight.tolist(),
                "n_voxels": self.n_voxels_,
                "data_sha256": "",  # made when it is asked for
                **self.notes_on_fit(fitted_to, weight),
            }
            pooled, counts = data.pooled, data.vote_counts
            of_votes = () if counts is None else (counts.bins, counts.answers, counts.votes, counts.weight)
            self._sums_to_hash = (pooled.bins, pooled.weight, pooled.prob_sum, pooled.votes, *of_votes)
        return self

    def weights_of_cases(self, cohort: Cohort, case_weight: str | ArrayLike | None = None) -> FloatArray:
        """The factor of each case's counts; with ``keep_zero``, "equal" looks only at the voxels above 0.

        Parameters
        ----------
        cohort : Cohort
            The tallies of the cases.
        case_weight : {"voxels", "equal"} or array_like of shape (n_cases,), optional
            The parameter of the same name by default.
        """
        size = cohort.n_voxels - cohort.n_zeros if self._keeps_zero() else cohort.n_voxels
        return check_case_weight(self.case_weight if case_weight is None else case_weight, size)

    def _keeps_zero(self) -> bool:
        """Whether exact zeros stay 0 and out of the fit; not every method has the parameter."""
        keep_zero = getattr(self, "keep_zero", False)
        if not isinstance(keep_zero, bool | np.bool_):
            msg = f"keep_zero must be True or False; got {keep_zero!r}."
            raise ValueError(msg)
        return bool(keep_zero)

    def _count(
        self,
        probs: Any,
        raters: Any,
        before: Counted | None,
        *,
        partial: bool = False,
        groups: Any = None,
        case_weight: Rule | None = None,
        invalid: str = "raise",
        sample_weight: Any = None,
        **options: Any,
    ) -> tuple[CalibrationData, tuple[str, ...]]:
        """The data of the fit and the names of the cases: arrays are checked, counted and pooled with those seen ``before``.

        What was counted is kept in ``_counted``, from which ``partial_fit`` goes on.
        """
        check_choice("invalid", invalid, ("raise", "drop"))
        if raters is None and isinstance(probs, np.ndarray):
            msg = f"{type(self).__name__} requires y to be passed, but the target y is None: give the raters' masks."
            raise ValueError(msg)
        self._check_columns(probs, reset=before is None)
        rule: Rule = self.case_weight if case_weight is None else case_weight
        needs = self.needs if before is None else replace(self.needs, grid=before.grid)
        cases = array_cases(
            probs,
            raters,
            groups=groups,
            sample_weight=sample_weight,
            apart=needs.cases or not is_by_voxels(rule),
            **options,
        )
        check_cases(
            cases,
            needs,
            type(self).__name__,
            weighted=sample_weight is not None,
            by_case=not partial and not is_by_voxels(rule),
            seen=None if before is None else before.raters,
        )
        keep_zero, n_calls = self._keeps_zero(), 0 if before is None else before.n_calls
        cases, counted = count_arrays(cases, needs, rule, keep_zero=keep_zero, invalid=invalid, n_calls=n_calls)
        self._counted = counted if before is None else before + counted
        data = self._counted.data(needs, rule, keep_zero=keep_zero, voxels=None if partial else cases)
        return data, tuple(dict.fromkeys(cases.names))


def _jsonable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
