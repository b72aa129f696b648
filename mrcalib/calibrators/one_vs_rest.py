"""Several exclusive classes: a calibrator for each class against the rest, and what their maps say together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from mrcalib._simplex import decide, with_background
from mrcalib._version import __version__
from mrcalib.calibrators._base import Calibrator
from mrcalib.calibrators._fitted import SCHEMA, write_json
from mrcalib.calibrators.isotonic import MHRIsotonicCalibrator
from mrcalib.cohort import Cohort
from mrcalib.exceptions import warn_caller
from mrcalib.inputs import Classes, against_rest, named_classes, require_exclusive, split_channels, split_labels
from mrcalib.tallies import Tally

if TYPE_CHECKING:
    from mrcalib.io import Case, ImageClass, LoadOptions

__all__ = ["CLASSES_SCHEMA", "OneVsRestCalibrator"]

CLASSES_SCHEMA = 1
"""Of the file of a calibrator of several classes, which holds the content of a file of its own for each class."""


class OneVsRestCalibrator(TransformerMixin, BaseEstimator):
    """Calibrate exclusive classes one against the rest, each with a map of its own.

    A class's calibrated probability is the expected fraction of raters who would give the voxel this label. These fractions
    are estimated one by one, so that together they may exceed 1, by as much as the maps contradict each other. There are two
    ways to use them, and ``normalize`` chooses:

    - *kept* (False): each class is what its own map says, and reads as a fraction of raters. The background is what the
      classes leave of 1, at least 0.
    - *renormalised* (True): where the classes together exceed 1, they are divided by their sum, and the background is 0;
      everywhere else nothing changes. All channels then sum to 1. A voxel where every class is 0 is background.

    The background has no map: where the classes do not contradict each other it is the fraction of raters left over, and a
    map of its own would shift all classes wherever it differs from that. Neither way changes which class is the most
    probable.

    Parameters
    ----------
    calibrator : calibrator, optional
        Unfitted; a clone of it is fitted to each class. ``MHRIsotonicCalibrator()`` by default.
    classes : mapping of str to int, or sequence of int, optional
        Labels of the foreground classes, by name or in a list; 0 is the background. By default 1, 2, ... as many as
        ``probs`` have. Channels are in ascending order of label, whatever the order here: with labels 1, 2, ... the label is
        the channel.
    background : bool, default=True
        Whether the first channel of ``probs`` is the background, as in a softmax: channels must then sum to 1 within 1 %.
        False: ``probs`` hold the foreground classes only, which must not sum to more.
    normalize : bool, default=False
        Whether ``transform`` renormalises.
    class_axis : {0, -1}, optional
        Whether classes come first ``(C, *S)`` or last ``(*S, C)`` in ``probs``; needed where the shape leaves it open.

    Attributes
    ----------
    classes_ : dict of str to int
        Label by name, in ascending order.
    calibrators_ : dict of str to Calibrator
        The fitted calibrator of each class.
    raters_ : tuple of str
        Names of the raters.
    channels_ : dict of str to int
        The channel of each class in files (``fit_cases``), else its position in ``probs``.
    n_features_in_ : int
        Number of channels.
    provenance_ : dict
        Parameters and classes; what each class was fitted to is in ``calibrators_[name].provenance_``.

    References
    ----------
    .. [1] Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002,
       doi:10.1145/775047.775151, which renormalises everywhere.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> probs = rng.dirichlet([4, 1, 1], 20_000)                   # background, kidney, liver
    >>> marked = [probs[:, 1] ** 2, probs[:, 2]]                  # raters mark less kidney than the segmenter says
    >>> u = rng.random((3, 20_000))
    >>> labels = np.where(u < marked[0], 1, np.where(u > 1 - marked[1], 2, 0))
    >>> both = OneVsRestCalibrator(classes={"kidney": 1, "liver": 2}).fit(probs, labels)
    >>> both(np.array([[0.1, 0.5, 0.4]])).round(1)
    array([[0.4, 0.2, 0.4]])
    >>> both.predict(np.array([[0.1, 0.5, 0.4]]))
    array([2])
    """

    def __init__(
        self,
        calibrator: Calibrator | None = None,
        classes: Classes | None = None,
        *,
        background: bool = True,
        normalize: bool = False,
        class_axis: int | None = None,
    ) -> None:
        self.calibrator = calibrator
        self.classes = classes
        self.background = background
        self.normalize = normalize
        self.class_axis = class_axis

    # Fitting ----------------------------------------------------------------------------------------------------------

    def fit(
        self,
        probs: ArrayLike,
        labels: Any,
        *,
        roi: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        rater_axis: int | None = None,
        rater_weight: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        case_weight: str | None = None,
        invalid: str = "raise",
    ) -> Self:
        """Fit to the probabilities of all classes and the raters' label maps.

        Parameters
        ----------
        probs : array_like of float, shape (C, *S) or (*S, C)
            Probabilities in [0, 1] of exclusive classes.
        labels : array_like or sequence
            Label maps of whole numbers: raters first ``(R, *S)`` or last ``(*S, R)``, a list with None for a missing rater, or
            one map of shape S. NaN and masked entries are voxels that the rater did not answer.
        roi : array_like of bool, shape S, optional
            Voxels to fit to.
        rater_axis : int, optional
            Axis of the raters where the stack fits both ways.
        groups, rater_weight, sample_weight, case_weight, invalid
            As for the calibrators' own ``fit``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If shapes do not fit, channels are not exclusive, a label is not among the classes, or there is no voxel.

        Warns
        -----
        UserWarning
            If no rater marked a class anywhere: its map is then 0.
        """
        if labels is None:
            msg = "OneVsRestCalibrator requires y to be passed, but the target y is None: give the raters' label maps."
            raise ValueError(msg)
        expected = None if self.classes is None else len(named_classes(self.classes)) + bool(self.background)
        channels, _ = split_channels(probs, n_channels=expected, class_axis=self.class_axis, labels=labels)
        n_classes = len(channels) - bool(self.background)
        if n_classes < 1:
            msg = (
                "probs have a background but no class beside it; with a single foreground channel say background=False."
            )
            raise ValueError(msg)
        classes = named_classes(range(1, n_classes + 1) if self.classes is None else self.classes)
        require_exclusive(channels, background=self.background, roi=roi)
        maps = split_labels(labels, channels[0], classes, rater_axis)
        foreground = dict(zip(classes, channels[bool(self.background) :], strict=True))

        def fitted(calibrator: Calibrator, name: str) -> Calibrator:
            votes = [None if one is None else against_rest(one, classes[name]) for one in maps]
            return calibrator.fit(
                foreground[name],
                votes,
                roi=roi,
                groups=groups,
                rater_weight=rater_weight,
                sample_weight=sample_weight,
                case_weight=case_weight,
                invalid=invalid,
            )

        return self.fit_each(classes, fitted, None)

    def fit_tally(
        self,
        tallies: Mapping[str, Tally] | Mapping[str, Cohort],
        *,
        rater_weight: ArrayLike | None = None,
        case_weight: str | ArrayLike | None = None,
        cases: Sequence[Case] | None = None,
        channels: Mapping[str, int] | None = None,
        options: LoadOptions | None = None,
    ) -> Self:
        """Fit to a tally, or the tallies of many cases, of each class against the rest.

        Parameters
        ----------
        tallies : mapping of str to Tally or Cohort
            By the names of ``classes``, which must be given; of the same raters and cases.
        rater_weight, case_weight
            As for the calibrators' own ``fit_tally``.
        cases : sequence of Case, optional
            The cases that were tallied, in this order. They are read again, once for all classes, where the method needs a
            second pass.
        channels : mapping of str to int, optional
            With ``cases``: the channel of each class; its label by default.
        options : LoadOptions, optional
            With ``cases``: how they were read; ``foreground`` and ``positive`` are set for each class.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If classes have no tally, tallies no class, or they are not of the same raters and cases.
        """
        classes = self._told_classes("fit_tally")
        if set(tallies) != set(classes):
            msg = f"tallies must be those of the classes {', '.join(classes)}; got {', '.join(map(str, tallies)) or 'none'}."
            raise ValueError(msg)
        of = {name: (t.raters, t.ids if isinstance(t, Cohort) else None) for name, t in tallies.items()}
        first = next(iter(classes))
        other = next((name for name in classes if of[name] != of[first]), None)
        if other is not None:
            msg = f"The tallies of all classes must be of the same raters and cases; {other!r} differs from {first!r}."
            raise ValueError(msg)

        def fitted(calibrator: Calibrator, name: str, **more: Any) -> Calibrator:
            return calibrator.fit_tally(tallies[name], rater_weight=rater_weight, case_weight=case_weight, **more)

        if cases is None:
            return self.fit_each(classes, fitted, None)
        from mrcalib.io import LoadOptions
        from mrcalib.scale import for_each_class

        files, reading = self._image_classes(classes, channels), options or LoadOptions()
        template = self._template()

        def from_files(one: ImageClass, own: Sequence[Case]) -> Calibrator:
            return fitted(clone(template), one.name, cases=own, options=one.options(reading))

        if template.needs.second_pass:
            together = for_each_class(cases, files, from_files, options=reading)
        else:
            together = {one.name: from_files(one, cases) for one in files}
        return self.fit_each(classes, lambda _, name: together[name], {one.name: one.position for one in files})

    def fit_cases(
        self,
        cases: Iterable[Case],
        *,
        channels: Mapping[str, int] | None = None,
        options: LoadOptions | None = None,
        rater_weight: ArrayLike | None = None,
        case_weight: str | ArrayLike | None = None,
        invalid: str = "raise",
        n_jobs: int | None = None,
    ) -> Self:
        """Fit to cases whose probabilities have a channel for each class; files are read once, or twice for a second pass.

        Parameters
        ----------
        cases : iterable of Case
            Their probabilities hold all channels of a softmax, their masks the labels of all classes.
        channels : mapping of str to int, optional
            The channel of each class; its label by default.
        options : LoadOptions, optional
            How files are read; ``foreground`` and ``positive`` are set for each class.
        rater_weight, case_weight, invalid, n_jobs
            As for the calibrators' own ``fit_cases``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If channels are not exclusive classes, or a mask holds a label that no class names.
        """
        from mrcalib.scale import tally_cases

        classes = self._told_classes("fit_cases")
        listed = list(cases)
        tallies = tally_cases(
            listed,
            grid=self._template().needs.grid,
            options=options,
            classes=self._image_classes(classes, channels),
            invalid=invalid,
            n_jobs=n_jobs,
        )
        return self.fit_tally(
            tallies,
            rater_weight=rater_weight,
            case_weight=case_weight,
            cases=listed,
            channels=channels,
            options=options,
        )

    def _image_classes(self, classes: Mapping[str, int], channels: Mapping[str, int] | None) -> tuple[ImageClass, ...]:
        """The classes with their labels and channels in files; ValueError if there are other channels than classes."""
        from mrcalib.io import ImageClass

        where = dict(classes if channels is None else channels)
        if set(where) != set(classes):
            msg = f"channels must be those of the classes {', '.join(classes)}; got {', '.join(where) or 'none'}."
            raise ValueError(msg)
        return tuple(ImageClass(name, label, where[name]) for name, label in classes.items())

    def _template(self) -> Calibrator:
        """The unfitted calibrator that is fitted to each class; TypeError if it is one of several classes, or none."""
        template: Any = MHRIsotonicCalibrator() if self.calibrator is None else self.calibrator
        if not isinstance(template, Calibrator):
            msg = f"calibrator must be a calibrator of one foreground; got a {type(template).__name__}."
            raise TypeError(msg)
        return template

    def _told_classes(self, who: str) -> dict[str, int]:
        if self.classes is None:
            msg = f"{who} needs the labels of the classes: OneVsRestCalibrator(classes={{'pancreas': 1, 'liver': 3}})."
            raise ValueError(msg)
        return named_classes(self.classes)

    def fit_each(
        self,
        classes: dict[str, int],
        fit: Callable[[Calibrator, str], Calibrator],
        channels: Mapping[str, int] | None,
    ) -> Self:
        """Fit a calibrator to each class: what all ways of fitting end in.

        Parameters
        ----------
        classes : dict of str to int
            Label by name.
        fit : callable
            Fits a new calibrator to the class of this name.
        channels : mapping of str to int, optional
            The channel of each class in files; its position in ``probs`` by default.
        """
        template = self._template()
        fitted = {name: fit(clone(template), name) for name in classes}
        for name, calibrator in fitted.items():
            if not calibrator.n_marked_:
                msg = f"No rater marked class {name!r} anywhere; its map says next to nothing but 0."
                warn_caller(msg, UserWarning)
        return self.hold(fitted, classes, channels)

    def hold(self, fitted: dict[str, Calibrator], classes: dict[str, int], channels: Mapping[str, int] | None) -> Self:
        """Hold fitted calibrators: what fitting and loading end in."""
        first = next(iter(fitted.values()))
        self.classes_ = classes
        self.calibrators_ = fitted
        self.raters_ = first.raters_
        self.n_features_in_ = len(classes) + bool(self.background)
        positions = {name: number for number, name in enumerate(classes, start=bool(self.background))}
        self.channels_ = {name: int((channels or positions)[name]) for name in classes}
        self.provenance_ = {
            "method": type(self).__name__,
            "classes": classes,
            "channels": self.channels_,
            "parameters": {"background": self.background, "normalize": self.normalize, "class_axis": self.class_axis},
            "cases": first.provenance_["cases"],
            "raters": list(first.raters_),
        }
        reading: Any = first.provenance_.get("reading")
        if reading is not None:
            self.provenance_["reading"] = reading | {"foreground": None}  # each class has its own
        return self

    # Using the maps ---------------------------------------------------------------------------------------------------

    def transform(self, probs: ArrayLike, *, normalize: bool | None = None) -> NDArray[Any]:
        """Calibrated probabilities of all channels, in the shape and float dtype of ``probs``.

        Parameters
        ----------
        probs : array_like of float, shape (C, *S) or (*S, C)
            As in ``fit``. NaN stays NaN.
        normalize : bool, optional
            Overrides the parameter of the same name.

        Returns
        -------
        ndarray
            The first channel is the background, if it was in ``probs``.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For values outside [0, 1], channels that are not exclusive, or another number of them than in ``fit``.
        """
        channels, axis = self._channels(probs)
        background, foreground = with_background(
            self._mapped(channels), normalize=self.normalize if normalize is None else normalize
        )
        out = np.empty_like(np.asarray(probs))
        last = np.moveaxis(out, axis, 0)
        for slot, values in zip(last, [background, *foreground] if self.background else foreground, strict=True):
            slot[...] = values
        return out

    def __call__(self, probs: ArrayLike, *, normalize: bool | None = None) -> NDArray[Any]:
        """The same as ``transform``."""
        return self.transform(probs, normalize=normalize)

    def predict(self, probs: ArrayLike) -> NDArray[np.intp]:
        """The label of the most probable class or background after calibration; renormalised or not, it is the same.

        Of equal ones it is the smallest label, so background before all.

        Parameters
        ----------
        probs : array_like of float, shape (C, *S) or (*S, C)
            As in ``transform``, without NaN.

        Returns
        -------
        ndarray of int, shape S

        Raises
        ------
        ValueError
            As ``transform``, and where a probability is NaN.
        """
        channels, _ = self._channels(probs)
        return self.labels_of(self._mapped(channels))

    def labels_of(self, foreground: list[NDArray[Any]]) -> NDArray[np.intp]:
        """The labels that calibrated foreground channels decide for, in the order of ``classes_``; see ``predict``."""
        background, _ = with_background(foreground, normalize=False)
        if np.isnan(background).any():
            msg = f"{np.count_nonzero(np.isnan(background)):,} voxels are NaN in some class; there is no label to predict."
            raise ValueError(msg)
        labels: NDArray[np.intp] = np.array([0, *self.classes_.values()])[decide(background, foreground)]
        return labels

    def score(self, probs: ArrayLike, labels: Any) -> float:
        """Minus the Brier score of the calibrated probabilities, summed over background and classes: greater is better."""
        from mrcalib.metrics import brier_score

        calibrated, _ = self._channels(self.transform(probs), check=False)
        maps = split_labels(labels, calibrated[0], self.classes_)
        foreground = calibrated[bool(self.background) :]
        background, _ = with_background(foreground, normalize=False)
        return -sum(
            brier_score(values, [None if one is None else against_rest(one, label) for one in maps])
            for label, values in zip((0, *self.classes_.values()), (background, *foreground), strict=True)
        )

    def _channels(self, probs: ArrayLike, *, check: bool = True) -> tuple[list[NDArray[Any]], int]:
        check_is_fitted(self, "calibrators_")
        channels, axis = split_channels(probs, n_channels=self.n_features_in_, class_axis=self.class_axis)
        if check:
            require_exclusive(channels, background=self.background)
        return channels, axis

    def _mapped(self, channels: list[NDArray[Any]]) -> list[NDArray[Any]]:
        return [
            calibrator.transform(channel)
            for calibrator, channel in zip(self.calibrators_.values(), channels[bool(self.background) :], strict=True)
        ]

    def save(self, path: str | Path) -> None:
        """Write all maps and where they come from to one JSON file; ``mrcalib.load`` reads it."""
        write_json(self.to_dict(), path)

    def to_dict(self) -> dict[str, Any]:
        """The fitted calibrators as JSON values, which ``mrcalib.load`` reads from a file."""
        check_is_fitted(self, "calibrators_")
        return {
            "schema": SCHEMA,
            "classes_schema": CLASSES_SCHEMA,
            "mrcalib_version": __version__,
            "calibrator": type(self).__name__,
            "classes": [
                {"name": name, "label": label, "channel": self.channels_[name]} | self.calibrators_[name].to_dict()
                for name, label in self.classes_.items()
            ],
            "parameters": self.provenance_["parameters"],
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
