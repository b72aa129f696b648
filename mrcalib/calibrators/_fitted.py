"""What a fitted calibrator does: it applies its map, scores and saves itself, as scikit-learn's transformers do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from mrcalib._files import atomic_write
from mrcalib._version import __version__
from mrcalib.inputs import as_array, case_probs, refuse_classes, voxel_responses
from mrcalib.maps import CalibrationMap

__all__ = ["SCHEMA", "FittedCalibrator", "write_json"]

SCHEMA = 1
"""Of the files of calibrators; raised with the first breaking change after a release."""
FloatArray = NDArray[np.float64]


class FittedCalibrator(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Base of ``Calibrator``: all that needs the map, and nothing that it was fitted to."""

    map_: CalibrationMap
    raters_: tuple[str, ...]
    _provenance: dict[str, Any]
    _sums_to_hash: Sequence[NDArray[Any]]

    @property
    def provenance_(self) -> dict[str, Any]:
        """Where the map comes from, as JSON values. The hash of the sums takes as long as a fit, and is made when asked for."""
        found: dict[str, Any] | None = self.__dict__.get("_provenance")
        if found is None:
            msg = (
                f"This {type(self).__name__} has no provenance_: it is not fitted, or was fitted without a note of it."
            )
            raise AttributeError(msg)
        if "_sums_to_hash" in self.__dict__:
            digest = hashlib.sha256()
            for values in self.__dict__.pop("_sums_to_hash"):
                digest.update(np.ascontiguousarray(values).tobytes())
            found["data_sha256"] = digest.hexdigest()
        return found

    @provenance_.setter
    def provenance_(self, content: dict[str, Any]) -> None:
        self.__dict__.pop("_sums_to_hash", None)
        self._provenance = content

    def learned(self) -> dict[str, Any]:
        """What is learned beside the map, as JSON values; ``restore`` takes it back."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what ``learned`` gave; ``map_`` and ``raters_`` are set already. ValueError if it is damaged."""

    @property
    def coefficients_(self) -> dict[str, float]:
        """The few fitted numbers that describe the map, by name, for reports; most methods have none."""
        return {}

    @property
    def reachable_(self) -> tuple[float, float]:
        """The smallest and the largest probability that the map can give."""
        return self.map_.reachable

    def transform(self, probs: Any) -> Any:
        """Calibrated probabilities, in the shape and float dtype of ``probs``.

        Parameters
        ----------
        probs : array_like of float, or list of cases
            One image of any shape; or several, as ``fit`` takes them.

        Returns
        -------
        ndarray, or list of ndarray
            One array a case where ``probs`` is a list of cases.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For values outside [0, 1], and for the channels of a softmax, which are no image.
        """
        check_is_fitted(self, "map_")
        several = case_probs(probs)
        if several is not None:
            return [self.transform(one) for one in several]
        self._check_columns(probs, reset=False)
        array = as_array(probs)
        refuse_classes(array)
        return self._calibrated(array)

    def _calibrated(self, probs: NDArray[Any]) -> NDArray[Any]:
        """The calibrated probabilities of one whole case; other than by ``map_`` where the map depends on the case."""
        return self.map_(probs)

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

    def map_for(self, probs: ArrayLike) -> Callable[[ArrayLike], NDArray[Any]]:
        """The map of the case whose voxels these are, all of them that count: ``map_`` where one map serves all cases.

        ``map_for(probs[roi])(probs)`` calibrates a whole image by what is seen in its region of interest.
        """
        return self.map_for_parts([probs])

    def map_for_parts(self, parts: Iterable[ArrayLike]) -> Callable[[ArrayLike], NDArray[Any]]:  # noqa: ARG002
        """The map of the case whose voxels come in ``parts``, one at a time; they are read only where the map depends on them.

        Parameters
        ----------
        parts : iterable of array_like
            All voxels of the case that count, in the order in which ``map_for`` would see them (that of memory).
        """
        check_is_fitted(self, "map_")
        return self.map_

    def __call__(self, probs: Any) -> Any:
        """The same as ``transform``, for volumes: ``calibrated = calibrator(volume)``."""
        return self.transform(probs)

    def predict(self, probs: Any) -> Any:
        """The same as ``transform``, for ``cross_val_predict``; always plain arrays, whatever ``set_output`` says."""
        calibrated = self.transform(probs)
        return [np.asarray(one) for one in calibrated] if isinstance(calibrated, list) else np.asarray(calibrated)

    def score(self, probs: ArrayLike, raters: Any, sample_weight: ArrayLike | None = None) -> float:
        """Minus the Brier score over (voxel, rater) pairs of the calibrated probabilities: greater is better."""
        rows = voxel_responses(self.transform(probs), raters, sample_weight=sample_weight)
        squares = rows.answers * rows.prob**2 - 2 * rows.prob * rows.votes
        squares += rows.votes if rows.marked is not None else rows.votes**2
        return -float((rows.count @ squares) / (rows.count @ rows.answers))

    def to_dict(self) -> dict[str, Any]:
        """The fitted calibrator as JSON values, which ``mrcalib.load`` reads from a file."""
        check_is_fitted(self, "map_")
        return {
            "schema": SCHEMA,
            "mrcalib_version": __version__,
            "calibrator": type(self).__name__,
            "map": self.map_.to_dict(),
            "state": self.learned(),
            "raters": list(self.raters_),
            "provenance": self.provenance_,
        }

    def save(self, path: str | Path) -> None:
        """Write the fitted map and where it comes from to a JSON file, whole or not at all; ``mrcalib.load`` reads it."""
        write_json(self.to_dict(), path)

    # scikit-learn -----------------------------------------------------------------------------------------------------

    def _check_columns(self, probs: Any, *, reset: bool) -> None:
        """Keep or check the names and the number of columns, where ``probs`` is a table and not an image."""
        is_table = hasattr(probs, "columns") or (
            isinstance(probs, np.ndarray) and probs.ndim == 2 and probs.shape[1] == 1
        )
        if is_table:
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


def write_json(content: dict[str, Any], path: str | Path) -> None:
    """Write JSON values to a file, which appears whole or not at all."""
    with atomic_write(Path(path)) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
