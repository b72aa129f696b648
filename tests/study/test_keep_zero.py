"""Studies of two-stage segmenters: exact zeros stay 0 and enter no fold's fit."""

import numpy as np

from mrcalib import Case, compare, tally
from mrcalib.io import LoadOptions
from mrcalib.study import default_methods, paper_methods

SHAPE = (12, 12, 5)


def cases(rng):
    found = []
    for i in range(4):
        probs = rng.random(SHAPE).astype(np.float32)
        masks = [(rng.random(SHAPE) < probs**2).astype(np.uint8) for _ in range(3)]
        coarse = np.zeros(SHAPE, np.uint8)
        coarse[2 : 5 + i, 3:9] = 1
        found.append(Case(f"c{i}", probs, masks, coarse=coarse))
    return found


def test_all_methods_keep_zero_on_demand():
    for methods in (default_methods, paper_methods):
        for kept, expected in ((False, {False}), (True, {True})):
            params = [method.get_params() for method in methods(keep_zero=kept).values()]
            assert {p["keep_zero"] for p in params if "keep_zero" in p} == expected
        assert list(methods()) == list(methods(keep_zero=True))


def test_a_study_of_zeros_outside_fits_inside_only(rng):
    names = ["none", "MHR", "MHR-equal", "Platt", "beta"]
    inside, zero = (
        compare(cases(np.random.default_rng(1)), names, ["brier"], options=LoadOptions(outside=outside), n_resamples=20)
        for outside in ("ignore", "zero")
    )
    at = np.linspace(0.001, 1, 200)
    for name in names:
        np.testing.assert_allclose(zero.calibrators[name](at), inside.calibrators[name](at), rtol=1e-12, atol=1e-15)
        assert zero.calibrators[name](np.zeros(1)) == 0


def test_held_out_cases_are_scored_with_zeros_that_stay(rng):
    made = cases(np.random.default_rng(1))
    options = LoadOptions(outside="zero")
    study = compare(made, ["none", "MHR-equal"], ["brier"], options=options, n_resamples=20)
    for held, case in enumerate(made):
        others = [other for other in made if other is not case]
        fitted = default_methods(keep_zero=True)["MHR-equal"].fit_cases(others, options=options)
        loaded = case.load(options=options)
        rows = tally(loaded.probs, list(loaded.raters)).responses().map(fitted.map_)
        (metric,) = study.metrics
        expected = float(metric(rows))
        np.testing.assert_allclose(study.case_values("MHR-equal", metric)[held], expected, rtol=1e-9)
