"""One fit: however the voxels of some cases come, every method makes the same map of them, to the bit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrcalib import Case, Cohort, tally
from mrcalib.calibrators import CALIBRATORS, get_method

FROM_TALLIES = [name for name in CALIBRATORS.names() if not get_method(name).needs.second_pass]
SECOND_PASS = [("MHR", "exact"), ("TwinTrack", "equal-mass"), ("MHR", "equal-votes"), ("hard-label-250", "equal-mass")]
pytestmark = pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def cases(draw):
    """Some cases of the raters "0", "1" and "2", of whom one or two may be missing in a case; probabilities in float32."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = []
    for size in draw(st.lists(st.integers(1, 60), min_size=1, max_size=5)):
        probs = np.round(rng.random(size) ** draw(st.sampled_from([1, 6])), draw(st.sampled_from([1, 3, 8])))
        masks = (rng.random((3, size)) < 0.1 + 0.8 * probs).astype(float)
        masks[rng.random(3) < 0.2] = np.nan
        if np.isnan(masks).all():
            masks[0] = 0
        made.append((probs.astype(np.float32), masks))
    made[0][1][:] = np.where(np.isnan(made[0][1]), 1.0, made[0][1])  # a rater who answered
    return made


def fitted_in_every_way(name, made, order, **parameters):
    """Fitted calibrators of one method, by the way in which they were fitted; ``order`` is another one of the cases."""

    def method():
        return get_method(name, **parameters)

    probs = np.concatenate([p for p, _ in made])
    masks = np.concatenate([m for _, m in made], axis=1)
    case = np.repeat(np.arange(len(made)), [p.size for p, _ in made])
    mixed = np.random.default_rng(0).permutation(probs.size)
    grid = method().needs.grid
    on_disk = [
        Case(str(i), p, {str(r): None if np.isnan(m[r]).all() else m[r].astype(np.uint8) for r in range(3)})
        for i, (p, m) in enumerate(made)
    ]
    yield "groups", method().fit(probs, list(masks), groups=case)
    yield "groups, mixed", method().fit(probs[mixed], list(masks[:, mixed]), groups=case[mixed])
    yield "list", method().fit([p for p, _ in made], [list(m) for _, m in made])
    yield "list, reordered", method().fit([made[i][0] for i in order], [list(made[i][1]) for i in order])
    yield "cases", method().fit_cases(on_disk)
    yield "cases, reordered", method().fit_cases([on_disk[i] for i in order])
    if method().needs.second_pass:
        return
    for way, turn in (("tallies", range(len(made))), ("tallies, reordered", order)):
        yield way, method().fit_tally(Cohort([tally(made[i][0], list(made[i][1]), grid=grid) for i in turn]))
    in_pieces = method()
    for i in sorted(order, key=lambda i: i != 0):  # there is no map before the first answer
        p, m = made[i]
        half = p.size // 2
        for part in (slice(half), slice(half, None)):
            if p[part].size:
                in_pieces.partial_fit(p[part], list(m[:, part]), groups=np.full(p[part].size, str(i)))
    yield "pieces", in_pieces


def check_that_all_are_equal(ways):
    (_, first), *others = ways
    for way, fitted in others:
        assert fitted.map_ == first.map_, way
        assert fitted.n_voxels_ == first.n_voxels_, way
        assert fitted.learned() == first.learned(), way


@pytest.mark.parametrize("case_weight", ["voxels", "equal"])
@pytest.mark.parametrize("name", FROM_TALLIES)
@few
@given(made=cases(), data=st.data())
def test_every_way_of_fitting_gives_one_map(name, case_weight, made, data):
    order = data.draw(st.permutations(range(len(made))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # counts that did not settle
        check_that_all_are_equal(fitted_in_every_way(name, made, order, case_weight=case_weight))


@pytest.mark.parametrize("case_weight", ["voxels", "equal"])
@pytest.mark.parametrize(("name", "binning"), SECOND_PASS)
@few
@given(made=cases(), data=st.data())
def test_a_second_pass_gives_one_map_from_arrays_lists_and_files(name, binning, case_weight, made, data):
    order = data.draw(st.permutations(range(len(made))))
    n_bins = data.draw(st.sampled_from([2, 5, 250]))
    check_that_all_are_equal(
        fitted_in_every_way(name, made, order, case_weight=case_weight, binning=binning, n_bins=n_bins)
    )


@pytest.mark.parametrize("name", FROM_TALLIES)
def test_without_groups_the_voxels_of_one_call_are_one_case(name):
    rng = np.random.default_rng(0)
    made = [(p, (rng.random((3, p.size)) < p).astype(np.uint8)) for p in (rng.random(n) for n in (50, 500, 200))]
    one_by_one = get_method(name, case_weight="equal")
    for probs, masks in made:
        one_by_one.partial_fit(probs, masks)
    together = get_method(name, case_weight="equal").fit([p for p, _ in made], [m for _, m in made])
    assert one_by_one.map_ == together.map_


def test_names_of_raters_and_of_cases_are_kept():
    rng = np.random.default_rng(0)
    probs = [rng.random((4, 5)), rng.random(30)]
    masks = [
        {n: (rng.random(p.shape) < p).astype(np.uint8) for n in names}
        for p, names in zip(probs, ("ab", "bc"), strict=True)
    ]
    fitted = get_method("MHR").fit(probs, masks, groups=["x", "y"])
    assert fitted.raters_ == ("a", "b", "c")
    assert fitted.provenance_["cases"] == ["x", "y"]
    objects = [Case(name, p, m) for name, p, m in zip("xy", probs, masks, strict=True)]
    assert get_method("MHR").fit(objects).map_ == get_method("MHR").fit_cases(objects).map_ == fitted.map_
    assert get_method("MHR").fit(zip(probs, masks, strict=True)).map_ == fitted.map_
    assert get_method("MHR").fit(iter(probs), iter(masks)).map_ == fitted.map_


def test_a_list_of_cases_with_several_numbers_of_unnamed_raters_is_refused():
    probs = [np.array([0.2, 0.8, 0.3]), np.array([0.5, 0.1, 0.4])]
    with pytest.raises(ValueError, match=r"Case '0' has 2 raters and case '1' 1\. Name them with a dict"):
        get_method("MHR").fit(probs, [np.ones((2, 3)), np.ones((1, 3))])
    with pytest.raises(ValueError, match="needs raters"):
        get_method("MHR").fit(probs)


def test_entries_of_one_group_are_one_case():
    rng = np.random.default_rng(1)
    probs = [rng.random(n) for n in (10, 200, 30)]
    masks = [(rng.random((2, p.size)) < p).astype(np.uint8) for p in probs]
    apart = get_method("MHR-equal").fit(probs, masks, groups=["a", "b", "a"])
    joined = get_method("MHR-equal").fit(
        [np.concatenate([probs[0], probs[2]]), probs[1]], [np.concatenate([masks[0], masks[2]], axis=1), masks[1]]
    )
    assert apart.map_ == joined.map_
    assert apart.provenance_["cases"] == ["a", "b"]
    weighted = get_method("MHR").fit(probs, masks, case_weight=[1.0, 2.0, 3.0])
    assert (
        weighted.map_
        == get_method("MHR")
        .fit_tally(Cohort([tally(p, m) for p, m in zip(probs, masks, strict=True)]), case_weight=[1.0, 2.0, 3.0])
        .map_
    )
