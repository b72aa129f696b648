"""scikit-learn's contract.

Its check suite feeds tables of any numbers and labels, so it runs on test-only subclasses that translate these into
probabilities and votes and rename (probs, raters) to (X, y). Everything else that the suite exercises is the real class.
The real classes are checked as they are, too, but for the checks in ``WITHOUT_ADAPTER``, each with the reason.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator, parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from mrcalib import calibrators
from mrcalib.inputs import voxel_responses

NAMES = sorted({method.kind.__name__ for _, method in calibrators.CALIBRATORS.items()})
every = pytest.mark.parametrize("name", NAMES)
pytestmark = pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")  # the suite's tables are tiny


class AnyTable:
    """Any table is a column of probabilities (expit of the mean of the columns), any labels are votes."""

    def _column(self, X, *, reset):
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)
        probs = expit(X.mean(axis=1))
        return probs.astype(np.float32).astype(probs.dtype)  # tallies sum float32, weighted sums what they are given

    def _learn(self, fit, X, y, sample_weight, *, reset):
        if y is None:
            return fit(X, y)
        column = self._column(X, reset=reset)
        known = {name: value for name, value in vars(self).items() if name in ("n_features_in_", "feature_names_in_")}
        fit(
            column, (np.unique(np.asarray(y), return_inverse=True)[1] % 2).astype(np.uint8), sample_weight=sample_weight
        )
        vars(self).update(known)
        return self

    def fit(self, X, y=None, sample_weight=None):
        return self._learn(super().fit, X, y, sample_weight, reset=True)

    def partial_fit(self, X, y=None, sample_weight=None):
        return self._learn(super().partial_fit, X, y, sample_weight, reset=not hasattr(self, "n_features_in_"))

    def transform(self, X):
        check_is_fitted(self, "map_")
        return super().transform(self._column(X, reset=False))[:, np.newaxis]

    def predict(self, X):
        return self.transform(X).ravel()

    def score(self, X, y=None, sample_weight=None):
        votes = (np.unique(np.asarray(y), return_inverse=True)[1] % 2).astype(np.uint8)
        rows = voxel_responses(self.predict(X), votes, sample_weight=sample_weight)
        return -float(rows.count @ (rows.prob - rows.votes) ** 2 / rows.count.sum())

    def predict_counts(self, X, **options):
        return super().predict_counts(self._column(X, reset=False), **options)


class AnyIdentity(AnyTable, calibrators.IdentityCalibrator):
    pass


class AnyCaseAdaptive(AnyTable, calibrators.CaseAdaptiveCalibrator):
    """The suite's table is one case, to whose parts the map is the same as long as there are too few cases to adapt."""


class AnyMHR(AnyTable, calibrators.MHRIsotonicCalibrator):
    pass


class AnySingleRater(AnyTable, calibrators.SingleRaterCalibrator):
    pass


class AnyHardLabel(AnyTable, calibrators.HardLabelCalibrator):
    pass


class AnyTemperature(AnyTable, calibrators.TemperatureScalingCalibrator):
    pass


class AnyPlatt(AnyTable, calibrators.PlattCalibrator):
    pass


class AnyBeta(AnyTable, calibrators.BetaCalibrator):
    pass


class AnyHistogram(AnyTable, calibrators.HistogramBinningCalibrator):
    pass


class AnyOrdinal(AnyTable, calibrators.OrdinalCalibrator):
    pass


class AnyBetaBinomial(AnyTable, calibrators.BetaBinomialCalibrator):
    pass


ADAPTED = [
    AnyIdentity(),
    AnyMHR(),
    AnyMHR("equal-mass", 10),
    AnyMHR("equal-votes", 10),
    AnySingleRater(),
    AnyHardLabel(),
    AnyTemperature(),
    AnyPlatt(),
    AnyBeta(),
    AnyHistogram(),
    AnyCaseAdaptive(),
    AnyOrdinal(),
    AnyBetaBinomial(),
]
CANNOT_DO_IN_PIECES = dict.fromkeys(
    ("check_n_features_in_after_fitting", "check_fit_score_takes_y"), "partial_fit refuses binning='exact', by design"
)


def known_failures(estimator):
    return CANNOT_DO_IN_PIECES if getattr(estimator, "binning", "") == "exact" else {}


@parametrize_with_checks([*ADAPTED, AnyMHR("exact")], expected_failed_checks=known_failures)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("adapted", ADAPTED, ids=repr)
def test_the_suite_is_not_empty(adapted):
    """The trap: estimators tagged as taking one-dimensional input are given one check, and pass it."""
    names = [getattr(check, "func", check).__name__ for _, check in estimator_checks_generator(adapted)]
    assert len(names) >= 50
    assert {"check_fit_idempotent", "check_methods_sample_order_invariance", "check_transformer_general"} <= set(names)
    assert {"check_sample_weight_equivalence_on_dense_data", "check_transformer_preserve_dtypes"} <= set(names)


SEVERAL_COLUMNS = "its tables have several columns of any numbers; a calibrator takes one column of probabilities"
NO_PROBABILITIES = (
    "its column holds numbers outside [0, 1], whole numbers, or no numbers, which are refused in our own words"
)
WITHOUT_ADAPTER = (
    dict.fromkeys(
        [
            "check_dict_unchanged",
            "check_dont_overwrite_parameters",
            "check_estimators_dtypes",
            "check_estimators_fit_returns_self",
            "check_estimators_overwrite_params",
            "check_estimators_pickle",
            "check_f_contiguous_array_estimator",
            "check_fit2d_predict1d",
            "check_fit_check_is_fitted",
            "check_fit_idempotent",
            "check_fit_score_takes_y",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_n_features_in",
            "check_n_features_in_after_fitting",
            "check_pipeline_consistency",
            "check_readonly_memmap_input",
            "check_sample_weights_list",
            "check_sample_weights_not_overwritten",
            "check_transformer_data_not_an_array",
            "check_transformer_general",
            "check_transformer_preserve_dtypes",
        ],
        SEVERAL_COLUMNS,
    )
    | dict.fromkeys(
        [
            "check_all_zero_sample_weights_error",
            "check_complex_data",
            "check_dtype_object",
            "check_estimators_empty_data_messages",
            "check_fit2d_1feature",
            "check_fit2d_1sample",
            "check_positive_only_tag_during_fit",
            "check_sample_weights_not_an_array",
            "check_sample_weights_pandas_series",
            "check_sample_weights_shape",
        ],
        NO_PROBABILITIES,
    )
    | dict.fromkeys(
        ["check_estimator_sparse_array", "check_estimator_sparse_matrix", "check_estimator_sparse_tag"],
        "probabilities are not sparse: a zero is an answer of the segmenter; they are refused without the word sparse",
    )
    | {
        "check_estimators_nan_inf": "NaN in the votes is a missing answer, and NaN stays NaN in transform",
        "check_sample_weight_equivalence_on_dense_data": "it passes y by name, and the second argument is raters",
    }
)
"""Checks that no calibrator can pass as it is, and why; through ``AnyTable`` all of them pass."""


@every
def test_without_an_adapter_all_other_checks_pass(name):
    results = check_estimator(getattr(calibrators, name)(), on_fail=None, on_skip=None)
    in_this_version = {one["check_name"] for one in results}
    assert {one["check_name"] for one in results if one["status"] == "failed"} == in_this_version & set(WITHOUT_ADAPTER)
    assert {one["check_name"] for one in results if one["status"] == "passed"} >= {
        "check_estimators_unfitted",
        "check_fit1d",
        "check_get_params_invariance",
        "check_no_attributes_set_in_init",
        "check_requires_y_none",
    }


def test_every_calibrator_is_checked():
    assert {type(a).__mro__[2].__name__ for a in ADAPTED} == set(NAMES)


# The real classes ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study():
    """A column of probabilities, votes of three raters, and the patient of each voxel."""
    rng = np.random.default_rng(0)
    probs = rng.beta(0.6, 1.0, (1200, 1))
    votes = (rng.random((1200, 3)) < probs**2).astype(np.uint8)
    return probs, votes, np.repeat(np.arange(12), 100)


@every
def test_init_only_stores_its_parameters(name):
    cls = getattr(calibrators, name)
    defaults = cls().get_params()
    sentinels = {parameter: object() for parameter in defaults}
    made = cls().set_params(**sentinels)
    assert made.get_params() == sentinels
    assert vars(cls(**sentinels)) == sentinels


@every
def test_clone_forgets_what_was_fitted_and_keeps_the_parameters(study, name):
    probs, votes, _ = study
    fitted = getattr(calibrators, name)(case_weight="voxels").fit(probs, votes)
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    assert not hasattr(copied, "map_")
    with pytest.raises(Exception, match="is not fitted yet"):
        copied.transform(probs)


def test_clone_keeps_weights_of_cases():
    assert clone(calibrators.MHRIsotonicCalibrator(case_weight=[1.0, 2.0])).case_weight == [1.0, 2.0]


@every
def test_pickle_and_deepcopy_give_the_same_answers(study, name):
    probs, votes, _ = study
    fitted = getattr(calibrators, name)().fit(probs, votes)
    fitted(probs)  # maps make their tables when they are first used
    for again in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert again.map_ == fitted.map_
        assert np.array_equal(again(probs), fitted(probs))
        assert again.get_params() == fitted.get_params()


@every
def test_columns_vectors_and_frames_are_the_same_voxels(study, name):
    probs, votes, _ = study
    cls = getattr(calibrators, name)
    column = cls().fit(probs, votes)
    assert column.transform(probs).shape == (1200, 1)
    assert column.predict(probs).shape == (1200, 1)
    vector = cls().fit(probs.ravel(), votes)
    frame = cls().fit(pd.DataFrame(probs, columns=["p"]), pd.DataFrame(votes))
    assert vector.map_ == frame.map_ == column.map_
    assert np.array_equal(vector.predict(probs.ravel()), column.transform(probs).ravel())


@every
def test_feature_names_are_kept_and_checked(study, name):
    probs, votes, _ = study
    fitted = getattr(calibrators, name)().fit(pd.DataFrame(probs, columns=["tumour"]), votes)
    assert fitted.n_features_in_ == 1
    assert fitted.feature_names_in_.tolist() == ["tumour"]
    assert fitted.get_feature_names_out().tolist() == ["tumour"]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(pd.DataFrame(probs, columns=["liver"]))
    fitted.fit(probs, votes)
    assert not hasattr(fitted, "feature_names_in_")


@every
def test_set_output_gives_a_frame_with_the_column_s_name_and_index(study, name):
    probs, votes, _ = study
    table = pd.DataFrame(probs, columns=["tumour"], index=np.arange(5000, 6200))
    fitted = getattr(calibrators, name)().set_output(transform="pandas").fit(table, votes)
    calibrated = fitted.transform(table)
    assert isinstance(calibrated, pd.DataFrame)
    assert calibrated.columns.tolist() == ["tumour"]
    assert calibrated.index.equals(table.index)
    assert np.array_equal(calibrated["tumour"], fitted.predict(table).ravel())


@every
def test_it_is_the_last_step_of_a_pipeline_on_logits(study, name):
    probs, votes, _ = study
    logits = np.log(probs) - np.log1p(-probs)
    pipeline = make_pipeline(FunctionTransformer(expit), getattr(calibrators, name)())
    direct = getattr(calibrators, name)().fit(expit(logits), votes)
    assert np.array_equal(pipeline.fit(logits, votes).transform(logits), direct.transform(expit(logits)))
    assert pipeline.score(logits, votes) == direct.score(expit(logits), votes)


@every
def test_cross_val_predict_equals_fitting_fold_by_fold(study, name):
    probs, votes, patient = study
    calibrator = getattr(calibrators, name)()
    predicted = cross_val_predict(calibrator, probs, votes, groups=patient, cv=GroupKFold(4))
    expected = np.empty((1200, 1))
    for train, test in GroupKFold(4).split(probs, votes, patient):
        expected[test] = clone(calibrator).fit(probs[train], votes[train]).predict(probs[test])
    assert np.array_equal(predicted, expected)


@every
def test_predictions_keep_the_shape_of_volumes(study, name):
    probs, votes, _ = study
    images, masks = probs.reshape(12, 10, 10), votes.T.reshape(votes.shape[1], 12, 10, 10)
    fitted = getattr(calibrators, name)().fit(images, masks)
    assert fitted.predict(images).shape == images.shape
    assert np.array_equal(fitted.predict(images), fitted(images))
    assert [part.shape for part in fitted.predict(list(images))] == [(10, 10)] * 12


def test_grid_search_over_groups_takes_votes_as_y(study):
    probs, votes, patient = study
    grid = {"binning": ["grid", "exact", "equal-votes"], "n_bins": [5, 20]}
    search = GridSearchCV(calibrators.MHRIsotonicCalibrator(), grid, cv=GroupKFold(3))
    search.fit(probs, votes, groups=patient)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert search.best_score_ == scores.max()
    by_hand = cross_val_score(
        calibrators.MHRIsotonicCalibrator("exact"), probs, votes, groups=patient, cv=GroupKFold(3)
    ).mean()
    which = [p["binning"] == "exact" for p in search.cv_results_["params"]]
    assert scores[which] == pytest.approx([by_hand, by_hand], rel=1e-12)
    assert search.predict(probs).shape == (1200, 1)


def test_grid_search_passes_weights_of_voxels(study):
    probs, votes, patient = study
    weight = np.random.default_rng(0).random(1200)
    search = GridSearchCV(calibrators.PlattCalibrator(), {"clip": [1e-7, 1e-3]}, cv=GroupKFold(3))
    search.fit(probs, votes, groups=patient, sample_weight=weight)
    expected = calibrators.PlattCalibrator(search.best_params_["clip"]).fit(probs, votes, sample_weight=weight)
    assert search.best_estimator_.map_ == expected.map_


@every
def test_score_is_minus_the_brier_score_over_voxel_rater_pairs(study, name):
    probs, votes, _ = study
    fitted = getattr(calibrators, name)().fit(probs, votes)
    pairs = -np.mean((fitted.transform(probs) - votes) ** 2)
    assert fitted.score(probs, votes) == pytest.approx(pairs, rel=1e-12)
    answers = votes.astype(float)
    answers[::3, 1] = np.nan
    assert fitted.score(probs, answers) == pytest.approx(-np.nanmean((fitted.transform(probs) - answers) ** 2))
    weight = np.random.default_rng(0).random(1200)
    expected = -np.average((fitted.transform(probs) - votes) ** 2, weights=np.repeat(weight[:, np.newaxis], 3, axis=1))
    assert fitted.score(probs, votes, weight) == pytest.approx(expected)


def test_the_score_of_an_averaged_response_is_its_squared_error():
    probs, target = np.array([0.25, 0.5]), np.array([0.25, 0.75])
    fitted = calibrators.IdentityCalibrator().fit(probs, target)
    assert fitted.score(probs, target) == pytest.approx(-(0.25**2) / 2)


def test_one_feature_is_expected_of_tables(study):
    probs, votes, _ = study
    fitted = calibrators.MHRIsotonicCalibrator().fit(pd.DataFrame(probs, columns=["p"]), votes)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(pd.DataFrame(np.hstack([probs, probs]), columns=["p", "q"]))


@every
def test_unfitted_calibrators_say_so(name):
    from sklearn.exceptions import NotFittedError

    calibrator = getattr(calibrators, name)()
    for use in (calibrator.transform, calibrator.predict, calibrator):
        with pytest.raises(NotFittedError, match=f"{name} instance is not fitted yet"):
            use(np.array([0.5]))


@every
def test_tags_say_what_is_needed(name):
    tags = getattr(calibrators, name)().__sklearn_tags__()
    assert tags.target_tags.required
    assert tags.target_tags.multi_output
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]
    assert tags.input_tags.two_d_array


def test_the_repr_shows_what_was_chosen():
    assert repr(calibrators.MHRIsotonicCalibrator("exact")) == "MHRIsotonicCalibrator(binning='exact')"
