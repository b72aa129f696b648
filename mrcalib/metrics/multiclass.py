"""Several exclusive classes: each class's own scores, and the scores of all together, for both ways of using the maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._simplex import decide, with_background
from mrcalib.inputs import TOLERANCE, Classes, check_n_bins, named_classes, refuse_probs, split_channels, split_labels
from mrcalib.metrics.base import FloatArray, Metric, mean_defined, ratio, require_voxels
from mrcalib.metrics.calibration import mean_rater_ece, multirater_ece
from mrcalib.metrics.overlap import threshold_dice
from mrcalib.metrics.proper import brier_score
from mrcalib.metrics.volume import volume_bias
from mrcalib.responses import Responses

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ALL_CLASSES", "multiclass_report"]

ALL_CLASSES = "all classes"
"""What the report calls the scores of background and classes together."""

BLOCK = 1 << 13  # voxels at a time: longer dot products start the threads of BLAS, which cost ten times what they save
FORMS = ("kept", "renormalised")

IntArray = NDArray[np.int64]
Sums = dict[tuple[str, str], dict[str, FloatArray]]


def multiclass_report(
    probs: ArrayLike,
    labels: Any,
    classes: Classes,
    *,
    background: bool = True,
    class_axis: int | None = None,
    rater_axis: int | None = None,
    roi: ArrayLike | None = None,
    n_bins: int = 50,
    thresholds: str | Sequence[float] = "curvas",
    voxel_volume: float = 1.0,
) -> pd.DataFrame:
    """Scores of one-against-rest probabilities, kept as they are and renormalised, side by side.

    *Kept* are the classes' probabilities as they come, each a fraction of raters; the background is what they leave of 1, at
    least 0. *Renormalised* divides the classes by their sum where that exceeds 1, and changes nothing elsewhere.

    For each class against the rest: ``mr_ece``, ``brier``, ``volume_bias`` and ``tdsc`` as elsewhere in this package, and
    ``argmax_dice``, the Dice coefficient of the voxels where the class is the most probable and those of each rater, mean
    over raters. For background and classes together ("all classes"):

    - ``top_label_ece``: of the most probable class (of equal ones the smallest label) and its probability, against each
      rater, mean over raters. In float64, bins closed on the left.
    - ``brier``: the sum over background and classes of the squared difference of probability and answer, mean over pairs of
      a voxel and a rater; range [0, 2], and with two classes twice the binary score. It exceeds the squared distance to the
      raters' distribution of labels by the variance of that distribution, which no map changes.
    - ``argmax_dice``: the mean over classes, without the background.
    - ``sum_above_one``: the share of voxels where the classes together exceed 1 (by more than 1e-6).

    Parameters
    ----------
    probs : array_like of float, shape (C, *S) or (*S, C)
        Probabilities in [0, 1], channels in ascending order of label; they may sum to more than 1, as calibrated maps do.
    labels : array_like or sequence
        Label maps of whole numbers: raters first ``(R, *S)`` or last ``(*S, R)``, a list with None for a missing rater, or one
        map of shape S. NaN and masked entries are voxels that the rater did not answer.
    classes : mapping of str to int, or sequence of int
        Labels of the foreground classes, by name or in a list; 0 is the background.
    background : bool, default=True
        Whether the first channel is the background; it must be what the classes leave of 1, within 1 %.
    class_axis : {0, -1}, optional
        Axis of the classes where the shape leaves it open.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    n_bins : int, default=50
        Bins of equal width of both calibration errors.
    thresholds : {"curvas", "qubiq", "mrnet"} or sequence of float, default="curvas"
        Of ``tdsc``.
    voxel_volume : float, default=1.0
        Volume of a voxel in mL; volumes are in voxels at 1.0.

    Returns
    -------
    DataFrame
        Columns class, metric, better ("lower", "higher" or "zero"), kept and renormalised. NaN where a score is not defined.
        A class that nobody marked and that is nowhere the most probable has ``argmax_dice`` 1.

    Raises
    ------
    ValueError
        If shapes do not fit, a probability is NaN or outside [0, 1], a label is not among the classes, or there is no voxel
        that a rater answered.

    Examples
    --------
    >>> probs = [[0.0, 0.0, 0.6, 0.9], [0.9, 0.1, 0.3, 0.1], [0.3, 0.9, 0.1, 0.0]]
    >>> labels = [[1, 2, 0, 0], [1, 2, 1, 0]]                      # the first voxel is claimed by both classes
    >>> report = multiclass_report(probs, labels, {"kidney": 1, "liver": 2})
    >>> report[report["class"] == "all classes"].round(3)
              class         metric  better   kept  renormalised
    10  all classes  top_label_ece   lower  0.200         0.238
    11  all classes          brier   lower  0.175         0.181
    12  all classes    argmax_dice  higher  0.917         0.917
    13  all classes  sum_above_one   lower  0.250         0.000
    """
    import pandas as pd

    check_n_bins(n_bins)
    named = named_classes(classes)
    channels, _ = split_channels(probs, n_channels=len(named) + bool(background), class_axis=class_axis, labels=labels)
    maps = split_labels(labels, channels[0], named, rater_axis)
    if background:
        _require_background(channels, roi)
    binary = {
        "mr_ece": multirater_ece.with_options(n_bins=n_bins),
        "brier": brier_score,
        "volume_bias": volume_bias,
        "tdsc": threshold_dice.with_options(thresholds=thresholds),
    }
    top = mean_rater_ece.with_options(n_bins=n_bins)
    sums: Sums = {}
    for rows in _blocks(channels[bool(background) :], maps, named, roi=roi, volume=voxel_volume):
        _add(sums, rows, binary, top)
    if not sums:
        require_voxels(0.0)
    return pd.DataFrame(_lines(sums, named, binary, top), columns=["class", "metric", "better", *FORMS])


def _require_background(channels: list[NDArray[Any]], roi: ArrayLike | None) -> None:
    left, _ = with_background(channels[1:], normalize=False)
    beyond = np.abs(channels[0] - left) > TOLERANCE
    if roi is not None and np.shape(roi) == beyond.shape:  # another shape is refused where voxels are read
        beyond &= np.asarray(roi) != 0
    if beyond.any():
        msg = (
            f"The first channel is not what the others leave of 1 at {np.count_nonzero(beyond):,} voxels "
            f"({channels[0][beyond][0]:.4g} and {left[beyond][0]:.4g} at the first): it is not their background. Give channels "
            "in ascending order of label with the background first, or the classes alone with background=False."
        )
        raise ValueError(msg)


class _Rows:
    """Some voxels: which class is the most probable, and each class's answers at its probability, in both forms."""

    def __init__(
        self, foreground: list[FloatArray], present: IntArray, marked: list[IntArray], n_raters: int, volume: float
    ) -> None:
        self.n_classes = len(foreground)
        self.total: FloatArray = np.sum(foreground, axis=0)
        answers = np.bitwise_count(present).astype(np.float64)
        ones = np.ones(present.size)
        rest = present & ~np.bitwise_or.reduce(marked)
        self._marked = [rest, *marked]
        self._all = Responses(ones, ones, answers, answers, n_raters, present, present, volume)
        background, _ = with_background(foreground, normalize=False)
        self._choice = decide(background, foreground)
        self._probs: dict[str, list[FloatArray]] = {}
        for form in FORMS:
            left, parts = with_background(foreground, normalize=form != "kept")
            self._probs[form] = [left, *parts]

    def _of(self, prob: FloatArray, marked: IntArray) -> Responses:
        votes = np.bitwise_count(marked).astype(np.float64)
        return replace(self._all, prob=prob, votes=votes, marked=marked)

    def of_class(self, number: int, form: str) -> Responses:
        """Class ``number`` against the rest; 0 is the background."""
        return self._of(self._probs[form][number], self._marked[number])

    def chosen(self, number: int) -> Responses:
        """The same with probability 1 where the class is the most probable, else 0."""
        return self._of((self._choice == number).astype(np.float64), self._marked[number])

    def top_label(self, form: str) -> Responses:
        """The probability of the most probable class, and who agrees with it."""
        return self._of(*(np.choose(self._choice, parts) for parts in (self._probs[form], self._marked)))


def _blocks(
    foreground: list[NDArray[Any]],
    maps: list[NDArray[Any] | None],
    classes: Mapping[str, int],
    *,
    roi: ArrayLike | None,
    volume: float,
) -> Iterator[_Rows]:
    """Rows of the voxels of the ROI that a rater answered, some at a time."""
    shape = foreground[0].shape
    flat = [channel.reshape(-1) for channel in foreground]
    answers = [None if one is None else np.ma.getdata(one).reshape(-1) for one in maps]
    masks = [np.ma.nomask if one is None else np.ma.getmask(one) for one in maps]
    hidden = [None if mask is np.ma.nomask else np.reshape(mask, -1) for mask in masks]
    inside = None if roi is None else np.asarray(roi)
    if inside is not None and inside.shape != shape:
        msg = f"roi must have the shape of a channel, {shape}; got {inside.shape}."
        raise ValueError(msg)
    inside = None if inside is None else inside.reshape(-1) != 0
    for start in range(0, flat[0].size, BLOCK):
        block = slice(start, start + BLOCK)
        here = np.ones(flat[0][block].size, dtype=bool) if inside is None else inside[block]
        present = np.zeros(here.size, dtype=np.int64)
        marked = [np.zeros(here.size, dtype=np.int64) for _ in classes]
        for r, stored in enumerate(answers):
            if stored is None:
                continue
            values, mask = stored[block], hidden[r]
            known = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(here.size, dtype=bool)
            known = known if mask is None else known & ~mask[block]
            present |= known.astype(np.int64) << r
            for number, label in enumerate(classes.values()):
                marked[number] |= (known & (values == label)).astype(np.int64) << r
        counted = here & (present != 0)
        if not counted.any():
            continue
        probs = [channel[block][counted].astype(np.float64) for channel in flat]
        for values in probs:
            wrong = int(np.count_nonzero(~((values >= 0) & (values <= 1))))
            if wrong:
                refuse_probs(values, wrong, None, arguments=("roi",))
        yield _Rows(probs, present[counted], [bits[counted] for bits in marked], len(maps), volume)


def _add(sums: Sums, rows: _Rows, binary: Mapping[str, Metric], top: Metric) -> None:
    """Add a block to the sums, by (number of the class, 0 for the background, or all classes; metric) and form."""

    def add(which: str, metric: str, form: str, statistics: FloatArray) -> None:
        by_form = sums.setdefault((which, metric), {})
        by_form[form] = statistics if form not in by_form else by_form[form] + statistics

    for form in FORMS:
        for number in range(rows.n_classes + 1):
            responses = rows.of_class(number, form)
            for name, metric in (binary if number else {"brier": brier_score}).items():
                add(str(number), name, form, metric.sums(responses))
        add(ALL_CLASSES, "top_label_ece", form, top.sums(rows.top_label(form)))
        above = np.count_nonzero(rows.total > 1 + 1e-6) if form == "kept" else 0
        add(ALL_CLASSES, "sum_above_one", form, np.array([rows.total.size, above], dtype=np.float64))
        for number in range(1, rows.n_classes + 1):
            add(str(number), "argmax_dice", form, _rater_sums(rows.chosen(number)))


def _lines(
    sums: Sums, classes: Mapping[str, int], binary: Mapping[str, Metric], top: Metric
) -> Iterator[tuple[str, str, str, float, float]]:
    def line(name: str, metric: str, better: str, value: dict[str, float]) -> tuple[str, str, str, float, float]:
        return name, metric, better, value["kept"], value["renormalised"]

    numbers = [str(number) for number in range(1, len(classes) + 1)]
    dice = {
        number: {form: float(_rater_dice(sums[number, "argmax_dice"][form])) for form in FORMS} for number in numbers
    }
    for name, number in zip(classes, numbers, strict=True):
        for key, metric in binary.items():
            values = {form: float(metric.value(sums[number, key][form])) for form in FORMS}
            yield line(name, key, metric.better, values)
        yield line(name, "argmax_dice", "higher", dice[number])
    together = sums[ALL_CLASSES, "top_label_ece"]
    yield line(ALL_CLASSES, "top_label_ece", top.better, {form: float(top.value(together[form])) for form in FORMS})
    total = {form: sum(float(brier_score.value(sums[n, "brier"][form])) for n in ["0", *numbers]) for form in FORMS}
    yield line(ALL_CLASSES, "brier", "lower", total)
    mean = {form: float(mean_defined(np.array([dice[n][form] for n in numbers]))) for form in FORMS}
    yield line(ALL_CLASSES, "argmax_dice", "higher", mean)
    above = sums[ALL_CLASSES, "sum_above_one"]
    yield line(ALL_CLASSES, "sum_above_one", "lower", {form: above[form][1] / above[form][0] for form in FORMS})


def _rater_sums(responses: Responses) -> FloatArray:
    """For each rater: voxels answered, then of these the sizes of the chosen set, of the marked one, and of both."""
    rows = []
    for r in range(responses.n_raters):
        one = responses.rater(r)
        rows.append((one.count.sum(), one.count @ one.prob, one.count @ one.votes, one.count @ (one.prob * one.votes)))
    return np.array(rows)


def _rater_dice(statistics: FloatArray) -> FloatArray:
    n_voxels, chosen, marked, both = np.moveaxis(statistics, -1, 0)
    dice = np.where(chosen + marked > 0, ratio(2 * both, chosen + marked), 1.0)
    return mean_defined(np.where(n_voxels > 0, dice, np.nan))
