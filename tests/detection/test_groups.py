"""Groups are cliques of different models, and depend on no order; the ensembles' scores are the paper's equation 2."""

from __future__ import annotations

import numpy as np
import pytest
from detection_reference import cliques, clusters, is_group, random_boxes
from hypothesis import given
from hypothesis import strategies as st

from mrcalib._kernels.boxes import find_cliques
from mrcalib.detection import Boxes, LabelSamplingEnsemble, RaterSpecificEnsemble, group_boxes
from mrcalib.detection.grouping import _in_order, _reach

METHODS = ["clique", "bsas", "wbf"]
BOX = [0.0, 0.0, 10.0, 10.0]


def models_of(rng, n_models, n_boxes, *, n_dims=2, levels=4, n_classes=None, n_objects=6):
    """Models that see the same objects a little differently; scores, and whole boxes, are often equal."""
    objects = random_boxes(rng, n_objects, n_dims)
    found = []
    for _ in range(n_models):
        boxes = objects[rng.integers(0, n_objects, n_boxes)].copy()
        boxes[:, n_dims:] += rng.integers(0, 3, (n_boxes, n_dims))
        labels = None if n_classes is None else rng.integers(0, n_classes, n_boxes)
        found.append(Boxes(boxes, rng.integers(0, levels + 1, n_boxes) / levels, labels))
    return found


def as_sets(groups, models):
    """The partition as values, whatever models and boxes are called."""
    return sorted(
        sorted((models[m].scores[b], *models[m].coordinates[b]) for m, b in groups.members(g))
        for g in range(len(groups))
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]), st.sampled_from([0.0, 0.3, 0.5, 0.8]))
def test_cliques_equal_their_twin_that_looks_at_every_pair(seed, n_dims, threshold):
    rng = np.random.default_rng(seed)
    models = models_of(rng, 4, 5, n_dims=n_dims, n_classes=2)
    groups = group_boxes(models, threshold)
    expected = cliques(groups.coordinates, groups.model, groups.labels, threshold)
    np.testing.assert_array_equal(groups.group, expected)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 0.8]), st.sampled_from(["bsas", "wbf"]))
def test_clusters_equal_their_twin(seed, threshold, method):
    rng = np.random.default_rng(seed)
    models = [Boxes(random_boxes(rng, 8, whole=False), rng.random(8)) for _ in range(4)]
    groups = group_boxes(models, threshold, method)
    weight = groups.scores if method == "wbf" else np.ones(32)
    expected = clusters(groups.coordinates, groups.model, weight, threshold, exclusive=method == "bsas")
    np.testing.assert_array_equal(groups.group, expected)


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS))
def test_groups_are_a_partition_and_clique_groups_are_cliques(seed, method):
    models = models_of(np.random.default_rng(seed), 4, 5)
    groups = group_boxes(models, method=method)
    everything = [member for g in range(len(groups)) for member in groups.members(g)]
    assert sorted(everything) == [(m, b) for m in range(4) for b in range(5)]
    assert groups.size.sum() == 20
    assert groups.size.min() >= 1
    for g in range(len(groups)):
        members = np.flatnonzero(groups.group == g)
        if method == "clique":
            assert is_group(members, groups.coordinates, groups.model, 0.5)
        if method == "bsas":
            assert np.unique(groups.model[members]).size == members.size


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 2**32 - 1))
def test_neither_the_order_of_models_nor_that_of_boxes_matters(method, seed):
    rng = np.random.default_rng(seed)
    models = models_of(rng, 4, 5, levels=2, n_objects=2)
    models[3] = models[1]  # the same model twice, so that equal boxes come from different models
    shuffled = [models[m][rng.permutation(5)] for m in rng.permutation(4)]
    assert as_sets(group_boxes(models, method=method), models) == as_sets(
        group_boxes(shuffled, method=method), shuffled
    )
    ensemble = LabelSamplingEnsemble(method=method)
    one, other = ensemble.combine(models), ensemble.combine(shuffled)
    np.testing.assert_array_equal(one.coordinates, other.coordinates)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_equal_boxes_of_two_models_do_not_let_the_order_decide():
    """The group of the first box has one of a's boxes; if a's copy of the equal pair went first, b's would join it."""
    first, pair = [0, 0, 10, 10], [2, 0, 12, 10]
    a, b = Boxes([first, pair], [0.9, 0.5]), Boxes([pair], [0.5])
    assert as_sets(group_boxes([a, b]), [a, b]) == as_sets(group_boxes([b, a]), [b, a])


def test_chained_boxes_are_no_clique():
    """a-b and b-c overlap by more than 1/2, a-c does not: complete linkage keeps c out of the group of a and b."""
    a, b, c = (Boxes([[x, 0, x + 10, 10]], [s]) for x, s in ((0, 0.9), (2.5, 0.8), (5, 0.7)))
    assert group_boxes([a, b, c]).group.tolist() == [0, 0, 1]
    assert group_boxes([a, b, c], 0.4).group.tolist() == [0, 0, 1]
    assert group_boxes([a, b, c], 0.4, "wbf").group.tolist() == [0, 0, 0]


def test_the_best_of_several_groups_is_joined():
    near, far = [0, 0, 10, 10], [4, 0, 14, 10]
    a = Boxes([near, far], [0.9, 0.8])
    b = Boxes([[3, 0, 13, 10]], [0.5])
    assert group_boxes([a, b]).members(1) == [(0, 1), (1, 0)]


def test_the_threshold_itself_is_no_overlap_above_it():
    a, b = Boxes([[0, 0, 10, 10]], [0.9]), Boxes([[0, 0, 10, 5]], [0.8])
    assert len(group_boxes([a, b], 0.5)) == 2
    assert len(group_boxes([a, b], 0.499)) == 1


def test_labels_keep_groups_apart_and_are_kept():
    a, b = Boxes([BOX], [0.9], [1]), Boxes([BOX], [0.8], [2])
    groups = group_boxes([a, b])
    assert len(groups) == 2
    assert LabelSamplingEnsemble().combine([a, b]).labels.tolist() == [1, 2]
    with pytest.raises(ValueError, match="Either all models' boxes have labels, or none"):
        group_boxes([a, Boxes([BOX], [0.8])])


def test_models_that_find_nothing_and_no_models():
    assert len(group_boxes([Boxes.empty(), Boxes.empty()])) == 0
    assert len(LabelSamplingEnsemble().combine([Boxes.empty(), Boxes.empty()])) == 0
    assert LabelSamplingEnsemble().combine([Boxes.empty(3), Boxes.empty(3)]).n_dims == 3
    with pytest.raises(ValueError, match="There must be at least one model"):
        group_boxes([])
    with pytest.raises(ValueError, match="same number of dimensions"):
        group_boxes([Boxes([BOX]), Boxes([[0, 0, 0, 1, 1, 1]])])


@pytest.mark.compiled
def test_a_thousand_boxes_of_twenty_models_are_grouped_without_looking_at_every_pair():
    rng = np.random.default_rng(0)
    objects = rng.random((1000, 2)) * 5000
    models = [
        Boxes(np.hstack([near := objects + rng.normal(0, 2, objects.shape), near + 60]), rng.random(1000))
        for _ in range(20)
    ]
    groups = group_boxes(models)
    assert 1000 <= len(groups) < 2500
    ordered = _in_order(models)
    boxes, by_start = ordered.coordinates, np.argsort(ordered.coordinates[:, 0], kind="stable")
    out = np.empty(20_000, np.int64)
    kind = np.zeros(20_000, np.int64)
    _, n_pairs = find_cliques(boxes, ordered.model, kind, 0.5, by_start, *_reach(boxes, 0.5), out)
    np.testing.assert_array_equal(out, groups.group)
    assert n_pairs < 0.03 * 20_000**2


def test_the_score_is_the_sum_over_the_ensemble_size_and_an_absent_model_counts_zero():
    models = [Boxes([BOX], [0.9]), Boxes([[0, 0, 10, 9]], [0.6]), Boxes.empty(), Boxes.empty()]
    fused = LabelSamplingEnsemble().combine(models)
    assert fused.scores.tolist() == [(0.9 + 0.6) / 4]
    assert fused.coordinates.tolist() == [[0, 0, 10, 9.5]]
    ablation = LabelSamplingEnsemble(score="group-size").combine(models)
    assert ablation.scores.tolist() == [(0.9 + 0.6) / 2]
    np.testing.assert_array_equal(ablation.coordinates, fused.coordinates)


def test_all_models_certain_of_a_box_give_certainty():
    for n in range(1, 25):
        assert LabelSamplingEnsemble().combine([Boxes([BOX], [1.0])] * n).scores.tolist() == [1.0]


def test_weighted_box_fusion_weights_coordinates_and_divides_by_the_larger_number():
    twice = Boxes([BOX, [0, 0, 10, 9]], [0.8, 0.4])
    one = LabelSamplingEnsemble(method="wbf").combine([twice])
    np.testing.assert_allclose(one.scores, [(0.8 + 0.4) / 2])
    np.testing.assert_allclose(one.coordinates, [[0, 0, 10, (0.8 * 10 + 0.4 * 9) / 1.2]])
    three = LabelSamplingEnsemble(method="wbf").combine([twice, Boxes.empty(), Boxes.empty()])
    np.testing.assert_allclose(three.scores, [(0.8 + 0.4) / 3])
    nothing = LabelSamplingEnsemble(method="wbf").combine([Boxes([BOX], [0.0]), Boxes([BOX], [0.0])])
    assert nothing.scores.tolist() == [0.0]
    np.testing.assert_allclose(nothing.coordinates, [BOX])


def test_rater_specific_ensemble_is_equation_2_where_raters_have_equally_many_models():
    rng = np.random.default_rng(3)
    models = models_of(rng, 6, 4)
    rse = RaterSpecificEnsemble().combine({"a": models[:3], "b": dict(zip("xyz", models[3:], strict=True))})
    lse = LabelSamplingEnsemble().combine(models)
    np.testing.assert_array_equal(rse.scores, lse.scores)
    np.testing.assert_array_equal(rse.coordinates, lse.coordinates)
    assert (np.diff(rse.scores) <= 0).all()


def test_raters_have_equal_say_however_many_models_they_have():
    seen = Boxes([BOX], [0.8])
    uneven = RaterSpecificEnsemble().combine({"a": [seen, seen, seen], "b": [Boxes.empty()]})
    np.testing.assert_allclose(uneven.scores, [0.4])


def test_size_takes_the_first_models_of_each_rater():
    best, rest = Boxes([BOX], [1.0]), Boxes([[30, 30, 40, 40]], [1.0])
    predictions = {"a": [best, rest, rest], "b": [best, rest, rest]}
    top = RaterSpecificEnsemble(size=2).combine(predictions)
    assert (top.coordinates.tolist(), top.scores.tolist()) == ([BOX], [1.0])
    assert RaterSpecificEnsemble(size=4).combine(predictions).scores.tolist() == [0.5, 0.5]
    assert LabelSamplingEnsemble(size=1).combine([best, rest]).coordinates.tolist() == [BOX]
    with pytest.raises(ValueError, match="size must be a multiple of the 2 raters"):
        RaterSpecificEnsemble(size=3).combine(predictions)
    with pytest.raises(ValueError, match="size asks for 4 models of rater 'a'; there are 3"):
        RaterSpecificEnsemble(size=8).combine(predictions)
    with pytest.raises(ValueError, match="size asks for 3 models; there are 2"):
        LabelSamplingEnsemble(size=3).combine([best, rest])


@pytest.mark.parametrize(
    ("ensemble", "told"),
    [
        (lambda: RaterSpecificEnsemble(score="max"), "score must be one of 'ensemble-size', 'group-size'"),
        (lambda: LabelSamplingEnsemble(method="nms"), "method must be one of 'clique', 'bsas', 'wbf'"),
        (lambda: LabelSamplingEnsemble(iou_threshold=-1), "iou_threshold must lie in"),
        (lambda: LabelSamplingEnsemble(size=0), "size must be at least 1"),
        (lambda: RaterSpecificEnsemble().combine({}), "There is no rater"),
        (lambda: RaterSpecificEnsemble().combine({"a": []}), "There is no model of rater 'a'"),
    ],
)
def test_bad_ensembles_are_refused(ensemble, told):
    with pytest.raises(ValueError, match=told):
        ensemble()


def test_a_missing_model_is_not_one_that_found_nothing():
    with pytest.raises(TypeError, match="must be Boxes, one a model; got NoneType"):
        LabelSamplingEnsemble().combine([Boxes([BOX], [0.5]), None])
