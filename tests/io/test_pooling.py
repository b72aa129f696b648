import numpy as np
import pytest

from mrcalib.io.probabilities import CLIP, pool


def test_the_mean_is_the_mean():
    assert pool([np.float32([0.2]), np.float32([0.4])], "mean") == pytest.approx([0.3])


def test_the_mean_logit_is_the_geometric_mean_of_the_odds():
    odds = np.sqrt((0.2 / 0.8) * (0.6 / 0.4))
    assert pool([np.array([0.2]), np.array([0.6])], "logit-mean") == pytest.approx([odds / (1 + odds)])


def test_exact_zeros_and_ones_have_the_logit_of_the_clip():
    assert pool([np.zeros(1)], "logit-mean") == pytest.approx([CLIP])
    assert pool([np.zeros(1), np.ones(1)], "logit-mean") == pytest.approx([0.5])


def test_many_members_are_accumulated_in_double_precision():
    assert pool(iter([np.float32([0.1])] * 10_000), "mean") == np.float32(0.1)


@pytest.mark.parametrize("pooling", ["mean", "logit-mean"])
@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.7])
def test_a_bad_value_of_one_member_is_not_hidden(pooling, bad):
    assert np.isnan(pool([np.array([0.5]), np.array([bad])], pooling)).all()


def test_members_are_not_changed():
    member = np.array([0.0, 0.5])
    pool([member, member], "logit-mean")
    assert member.tolist() == [0.0, 0.5]


def test_no_members_are_refused():
    with pytest.raises(ValueError, match="at least one ensemble member"):
        pool([], "mean")


def test_weights_count_in_any_unit():
    members = [np.array([0.2, 0.9]), np.array([0.6, 0.1])]
    expected = np.array([0.3, 0.7])
    for weights in ((3, 1), (0.75, 0.25), (300, 100)):
        assert pool(members, "mean", weights) == pytest.approx(expected)
    logits = [np.log(m / (1 - m)) for m in members]
    weighted = (3 * logits[0] + logits[1]) / 4
    assert pool(members, "logit-mean", (3, 1)) == pytest.approx(1 / (1 + np.exp(-weighted)))
    np.testing.assert_array_equal(pool(members, "mean", (1, 1)), pool(members, "mean"))


def test_every_member_has_a_weight():
    with pytest.raises(ValueError, match="each ensemble member, at least 2; got 1"):
        pool([np.zeros(1), np.zeros(1)], "mean", (1,))
    with pytest.raises(ValueError, match="each ensemble member, 1; got 2"):
        pool([np.zeros(1)], "mean", (1, 1))
