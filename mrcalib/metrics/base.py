"""What a metric is: sums over voxels, then algebra; and how it is called.

One definition thus gives the value of arrays, of a tally, of pooled cases and of every bootstrap resample.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mrcalib.cohort import Cohort
from mrcalib.inputs import check_choice, responses_by_chunk, split_cases, voxel_responses
from mrcalib.inputs.cases import case_items
from mrcalib.resampling import weighted_sums
from mrcalib.responses import FloatArray, Responses
from mrcalib.tallies import Tally

__all__ = [
    "CaseArrays",
    "FloatArray",
    "Metric",
    "listed_by_case",
    "mean_defined",
    "ratio",
    "require_voxels",
    "rows_by_case",
]

ARGUMENTS = ("roi", "sample_weight", "rater_axis", "average")


class CaseArrays(NamedTuple):
    """One of several cases, as a metric is called on it."""

    id: str
    probs: Any
    raters: Any
    options: dict[str, Any]


class _SignatureOfCall:
    """The signature of a metric's call: the arguments of all metrics, and the options of this one."""

    def __get__(self, metric: Metric | None, owner: type[Metric]) -> inspect.Signature:
        if metric is None:
            raise AttributeError  # a class has the signature of its constructor
        keyword = inspect.Parameter.KEYWORD_ONLY
        of_call = list(inspect.signature(Metric.__call__).parameters.values())[1:-1]
        first = list(inspect.signature(owner.__call__).parameters.values())[1]
        extras = [inspect.Parameter(key, keyword, default=value) for key, value in metric.array_options.items()]
        own = [inspect.Parameter(f.name, keyword, default=getattr(metric, f.name)) for f in fields(metric)]
        return inspect.Signature([first, of_call[1], *own, *extras, *of_call[2:]], return_annotation=float)


@dataclass(frozen=True)
class Metric:
    """A score that is computed from sums over voxels, and that is called as a function.

    A metric is a subclass: a frozen dataclass whose fields are the options, with their defaults. It defines `sums` and
    `value`; `register_metric` adds it to the tables of ``compare``, to the command line and to ``get_metric``.

    Parameters of a call
    --------------------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1]. Or a `Tally`, a `Cohort`, `Responses`, a `Case`, or several cases: a list or an
        iterator of arrays of any shapes (with a list of raters), of `Case` objects, or of pairs ``(probs, raters)``.
    raters : array_like, sequence or mapping
        Masks with raters first ``(R, *S)`` or last ``(*S, R)``, a list with None for a missing rater, a dict of name and mask,
        one mask, or one averaged target. NaN and masked entries are missing answers, which are not empty ones.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    sample_weight : array_like of float, shape S, optional
        Weight of each voxel.
    rater_axis : int, optional
        Axis of the raters, where a stack fits both ways.
    average : {"mean", "pooled"}, default="mean"
        Of several cases: the mean of the cases' values, without those that do not define it, as ``Study.table()``; or the
        value of all their voxels together.
    **options
        Any field of the metric, in place of its default. Metrics in mL also take ``voxel_volume``, the volume of a voxel
        in mL (one number, or one a case).

    A call returns a float. On arrays it is exact; on a tally each voxel counts at the mean probability of its bin of the
    grid, which the docstring of a metric bounds where it matters. It is ValueError if arrays hold no voxel that a rater
    answered, and NaN of a tally without voxels.

    Attributes
    ----------
    name, label : str
        For look-up and files, and for tables and plots. Options that are not the default ones are part of both.
    better : {"lower", "higher", "zero"}
        Which way is better; "zero" for a signed bias.
    unit : str
        "mL" for volumes, "" for what has none.
    poolable : bool
        False where the voxels of several cases together mean nothing (volumes).

    Examples
    --------
    A metric of one's own, which ``mrcalib.compare(cases, metrics=["overconfidence"])`` then finds:

    >>> import numpy as np
    >>> class Overconfidence(Metric):
    ...     name = "overconfidence"
    ...     label = "overconfidence"
    ...     better = "zero"
    ...
    ...     def sums(self, responses):
    ...         prob, answers = responses.distinct()
    ...         return np.array([answers.pairs.sum(), (answers.pairs * prob).sum() - answers.votes.sum()])
    ...
    ...     def value(self, sums):
    ...         return sums[..., 1] / sums[..., 0]
    >>> Overconfidence()([0.5, 1.0], [[0, 1], [1, 1]])
    0.0
    """

    name: ClassVar[str]
    label: ClassVar[str]
    better: ClassVar[Literal["lower", "higher", "zero"]] = "lower"
    unit: ClassVar[str] = ""
    poolable: ClassVar[bool] = True
    function_name: ClassVar[str] = ""
    """Name of the function in Python, where it is not ``name``."""
    array_options: ClassVar[Mapping[str, Any]] = {}
    """Further keyword arguments of a call on arrays, with their defaults, that are no options of the metric."""
    named_options: ClassVar[tuple[str, ...]] = ()
    """Options that `named` puts into words."""
    renamed_options: ClassVar[Mapping[str, str]] = {}
    """The present name of options by the one that they had in the version before."""

    def __post_init__(self) -> None:
        changed = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list | np.ndarray):
                value = tuple(np.asarray(value).tolist())
                object.__setattr__(self, field.name, value)
            if field.name not in self.named_options and value != field.default:
                changed.append((field.name, value))
        self.check_options()
        name, label = self.named()
        # Two values of an option give two scores, so they must not stand under one name in a table.
        object.__setattr__(self, "name", "_".join([name, *(re.sub(r"[^\w.]+", "_", f"{k}_{v}") for k, v in changed)]))
        words = ", ".join(f"{key}={value}" for key, value in changed)
        object.__setattr__(self, "label", f"{label} ({words})" if words else label)

    # What a metric defines --------------------------------------------------------------------------------------------

    def sums(self, responses: Responses) -> FloatArray:
        """Sums over the voxels of these rows, of shape (k,): those of two cases together are the sum of theirs."""
        raise NotImplementedError

    def value(self, sums: FloatArray) -> FloatArray:
        """Scores of sums of shape (..., k), over any leading axes; NaN where the score is not defined."""
        raise NotImplementedError

    def check_options(self) -> None:
        """Raise ValueError for options that make no sense."""

    def check_sums(self, sums: FloatArray, responses: Responses) -> None:
        """Raise ValueError where the score of arrays, some of whose rows are given, has no meaning."""

    def named(self) -> tuple[str, str]:
        """Name and label under the ``named_options``."""
        return type(self).name, type(self).label

    def resampler(self, sums: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """A function from weights of cases (n, n_cases) to the values of their weighted sums (n_cases, k).

        A metric may have a quicker one than this, equal up to rounding.
        """
        return lambda counts: self.value(weighted_sums(sums, counts))

    def of_responses(self, responses: Responses) -> float:
        """The score of these rows; NaN where it is not defined, as it is without voxels."""
        return float(self.value(self.sums(responses)))

    def of_arrays(self, probs: Any, raters: Any, **where: Any) -> float:
        """The score of one image; keyword arguments are those of ``responses_by_chunk``."""
        return float(self.value(self.sums_of_arrays(probs, raters, **where)))

    def sums_of_arrays(self, probs: Any, raters: Any, **where: Any) -> FloatArray:
        """The sums over all voxels of an image, a chunk at a time; ValueError if there is none."""
        total: FloatArray | None = None
        n_voxels = 0.0
        for responses in responses_by_chunk(probs, raters, **where):
            sums = self.sums(responses)
            total = sums if total is None else total + sums
            n_voxels += float(responses.count.sum())
        require_voxels(n_voxels)
        assert total is not None
        self.check_sums(total, responses)
        return total

    def pooled_sums(self, probs: Any, raters: Any = None, **where: Any) -> FloatArray:
        """The sums over all voxels of whatever the metric may be called on, with the arguments of `sums_of_arrays`."""
        cohort = isinstance(probs, Responses | Tally | Cohort)
        items = None if cohort else [probs] if is_case(probs) else case_items(probs)
        if cohort:
            parts = [self.sums(rows) for rows in rows_by_case(probs)]
        elif items is None:
            parts = [self.sums_of_arrays(probs, raters, **where)]
        else:
            where = {"roi": None, "sample_weight": None, "rater_axis": None, **where}
            cases = self.cases(items, raters, together=True, **where)
            parts = [self.sums_of_arrays(case.probs, case.raters, **case.options) for case in cases]
        total: FloatArray = np.sum(parts, axis=0)
        return total

    # The call ---------------------------------------------------------------------------------------------------------

    def with_options(self, **options: Any) -> Self:
        """The same metric with other options, such as ``threshold_dice.with_options(thresholds="qubiq")``.

        Raises
        ------
        TypeError
            If the metric has no such option.
        """
        return replace(self, **self._own_options(options))

    def __call__(
        self,
        probs: Any,
        raters: Any = None,
        *,
        roi: Any = None,
        sample_weight: Any = None,
        rater_axis: int | None = None,
        average: Literal["mean", "pooled"] = "mean",
        **options: Any,
    ) -> float:
        """The score of one image or of several cases; see the class for what may be given."""
        extras = self.array_options
        own = self._own_options({k: v for k, v in options.items() if k not in extras}, [*ARGUMENTS, *extras])
        metric = replace(self, **own) if own else self
        check_choice("average", average, ("mean", "pooled"))
        where = {"roi": roi, "sample_weight": sample_weight, "rater_axis": rater_axis}
        more = {key: value for key, value in options.items() if key in extras and value != extras[key]}
        if isinstance(probs, Responses | Tally | Cohort):
            given = [key for key, value in {"raters": raters, **where, **more}.items() if value is not None]
            if isinstance(probs, Tally) and given == ["voxel_volume"]:
                return metric.of_responses(probs.responses(**more))
            if given:
                msg = f"{self.__name__}() of a {type(probs).__name__} takes no {given[0]}: that was decided when it was made."
                raise TypeError(msg)
            if isinstance(probs, Cohort):
                return metric._of_cohort(probs, average)
            return metric.of_responses(probs.responses() if isinstance(probs, Tally) else probs)
        items = [probs] if is_case(probs) else case_items(probs)
        if items is not None:
            return metric._of_cases(items, raters, {**where, **more}, average)
        if raters is None:
            msg = f"{self.__name__}() needs raters beside probs, or cases that have them."
            raise TypeError(msg)
        return metric.of_arrays(probs, raters, **where, **more)

    def _own_options(self, given: Mapping[str, Any], others: Sequence[str] = ()) -> dict[str, Any]:
        """Options under their present names; TypeError for one that the metric does not have."""
        known, own = [field.name for field in fields(self)], {}
        for key, value in given.items():
            name = self.renamed_options.get(key, key)
            if name != key:
                msg = f"{self.__name__}({key}=) is now called {name}=; the old name goes in the next version."
                warnings.warn(msg, DeprecationWarning, stacklevel=4)
            if name not in known:
                near = get_close_matches(key, [*known, *others], n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                takes = ", ".join([*known, *others]) or "none"
                msg = f"{self.__name__}() got an unexpected keyword argument {key!r}.{hint} Those it takes: {takes}."
                raise TypeError(msg)
            own[name] = value
        return own

    def _of_cohort(self, cohort: Cohort, average: str) -> float:
        rows = map(cohort.responses, range(len(cohort)))
        if average == "mean":
            return float(mean_defined(np.array([self.of_responses(case) for case in rows])))
        self._check_poolable()
        return float(self.value(np.sum([self.sums(case) for case in rows], axis=0)))

    def _of_cases(self, items: Sequence[Any], raters: Any, where: Mapping[str, Any], average: str) -> float:
        if average == "pooled":
            self._check_poolable()
        compute: Callable[..., Any] = self.of_arrays if average == "mean" else self.sums_of_arrays
        found = []
        for case in self.cases(items, raters, together=average == "pooled", **where):
            try:
                found.append(compute(case.probs, case.raters, **case.options))
            except (ValueError, TypeError) as error:
                msg = f"Case {case.id!r}: {error}"
                raise type(error)(msg) from error
        if average == "pooled":
            return float(self.value(np.sum(found, axis=0)))
        return float(mean_defined(np.array(found)))

    def _check_poolable(self) -> None:
        if not self.poolable:
            msg = f"{self.__name__}() of the voxels of several cases together has no meaning; use average='mean'."
            raise ValueError(msg)

    def cases(self, items: Sequence[Any], raters: Any, *, together: bool, **where: Any) -> Iterator[CaseArrays]:
        """The cases one by one, as `cases_of`, with the further arguments of this metric."""
        more = {key: where.pop(key) for key in self.array_options if key in where}
        each = {key: listed_by_case(key, value, len(items)) for key, value in more.items()}
        for position, case in enumerate(cases_of(items, raters, together=together, **where)):
            yield case._replace(options={**case.options, **{key: values[position] for key, values in each.items()}})

    # What Python asks a function for ----------------------------------------------------------------------------------

    @property
    def __name__(self) -> str:
        return self.function_name or getattr(type(self), "name", self.name)

    __signature__ = _SignatureOfCall()


def cases_of(
    items: Sequence[Any], raters: Any, *, together: bool, roi: Any, sample_weight: Any, rater_axis: int | None
) -> Iterator[CaseArrays]:
    """The cases of a list one by one, `Case` objects each read when its turn comes; ``together`` puts raters in common."""
    where = {"roi": roi, "sample_weight": sample_weight, "rater_axis": rater_axis}
    on_disk = hasattr(items[0], "rater_names")
    cases: Iterable[Any] = (
        (case for item in items for case in split_cases([item], raters, **where) or [])
        if on_disk
        else split_cases(items, raters, **where) or []
    )
    names = tuple(dict.fromkeys(name for case in (items if on_disk else cases) for name in case.rater_names))
    for case in cases:
        masks = case.raters_of(names) if together and names != case.rater_names else case.raters
        options = {"roi": case.roi, "sample_weight": case.sample_weight, "voxel_volume": case.voxel_volume}
        yield CaseArrays(case.id, case.probs, masks, {k: v for k, v in options.items() if v is not None})


def rows_by_case(
    probs: Any, raters: Any = None, *, roi: Any = None, sample_weight: Any = None, rater_axis: int | None = None
) -> list[Responses]:
    """The rows of each case of whatever a metric may be called on; ValueError if there is no voxel."""
    if isinstance(probs, Responses):
        return [probs]
    if isinstance(probs, Tally):
        return [probs.responses()]
    if isinstance(probs, Cohort):
        return [probs.responses(i) for i in range(len(probs))]
    where = {"roi": roi, "sample_weight": sample_weight, "rater_axis": rater_axis}
    items = [probs] if is_case(probs) else case_items(probs)
    if items is None:
        rows = [voxel_responses(probs, raters, **where)]
    else:
        cases = cases_of(items, raters, together=True, **where)
        rows = [voxel_responses(case.probs, case.raters, **case.options) for case in cases]
    require_voxels(sum(float(case.count.sum()) for case in rows))
    return rows


def is_case(thing: object) -> bool:
    """Whether this is one `Case` or `LoadedCase`, whose classes live in a room above."""
    return hasattr(thing, "probs") and hasattr(thing, "raters")


def listed_by_case(name: str, value: Any, n_cases: int) -> Sequence[Any]:
    """A keyword argument as one entry a case; ValueError if it is a sequence of another length."""
    if np.ndim(value) == 0:
        return [value] * n_cases
    if len(value) != n_cases:
        msg = f"{name} must be one value, or one for each of the {n_cases} cases; got {len(value)}."
        raise ValueError(msg)
    return list(value)


def require_voxels(n_voxels: float) -> None:
    """Raise ValueError unless there is something to score."""
    if not n_voxels > 0:
        msg = "There is no voxel to score: no rater answered inside the ROI, or every sample_weight is 0."
        raise ValueError(msg)


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """``numerator / denominator``; NaN where the denominator is 0."""
    undefined: NDArray[np.float64] = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


def mean_defined(values: FloatArray) -> FloatArray:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))
