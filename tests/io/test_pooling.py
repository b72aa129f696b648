import numpy as np
import pytest

from mrcalib.io.pooling import CLIP, pool


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
