"""Tallying the parts and merging equals tallying the whole, to the bit; and a tally counts what a plain loop counts."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from strategies import SMALL_GRID, partitions, readings

from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import CHUNK
from mrcalib.tallies import Tally, _counting, tally

NAMES = ("low", "middle", "high")


def tallied(reading, **options):
    options = {"grid": SMALL_GRID, "rater_axis": 0} | options
    return tally(reading.probs, reading.answers, **options)


def with_strata(reading, **options):
    return tallied(reading, strata=reading.strata, strata_names=NAMES, **options)


def scattered(rng, n, n_raters=3, missing=0.0):
    """Voxels in runs, as images have them, and raters who are missing here and there."""
    probs = np.repeat(rng.beta(0.3, 1, n // 7 + 1), 7)[:n].astype(np.float32)
    answers = (rng.random((n_raters, n)) < probs).astype(np.float32)
    if missing:
        answers[rng.random(answers.shape) < missing] = np.nan
    return probs, answers


@given(readings(max_raters=10))
def test_a_tally_counts_what_a_plain_loop_counts(reading):
    assert reference.cells_of(tallied(reading)) == reference.tally(SMALL_GRID, reading.probs, reading.answers)


@given(readings(max_raters=9))
def test_strata_are_counted_apart(reading):
    expected = reference.tally(SMALL_GRID, reading.probs, reading.answers, reading.strata)
    assert reference.cells_of(with_strata(reading)) == expected


def test_a_tally_by_hand():
    t = tally(np.array([0.25, 0.25, 0.25, 1.0, 0.0]), [[0, 1, 1, 1, 0], [0, 0, np.nan, 1, 0]])
    low, quarter, one = t.grid.locate([0.0, 0.25, 1.0]).tolist()
    assert reference.cells_of(t) == {
        (0, low, 3, 0): (1, 0.0),
        (0, quarter, 1, 1): (1, 0.25),
        (0, quarter, 3, 0): (1, 0.25),
        (0, quarter, 3, 1): (1, 0.25),
        (0, one, 3, 3): (1, 1.0),
    }
    assert (t.n_voxels, t.raters, t.strata, t.refused) == (5, ("0", "1"), ("0",), 0)


@given(readings(max_raters=9), st.data())
def test_merging_equals_tallying_the_concatenation_in_any_order_and_grouping(reading, data):
    whole = with_strata(reading)
    parts = [with_strata(reading.part(which)) for which in data.draw(partitions(reading.probs.size))]
    assert Tally.sum(parts) == whole
    k = data.draw(st.integers(1, len(parts)))
    groups = [part for part in (parts[:k], parts[k:]) if part]
    assert Tally.sum([Tally.sum(group) for group in reversed(groups)]) == whole
    left = Tally.empty(SMALL_GRID, whole.raters, NAMES)
    for part in parts:
        left = left + part
    assert left == whole


@given(readings(), st.data())
def test_refused_voxels_merge_too(reading, data):
    which = data.draw(st.lists(st.booleans(), min_size=reading.probs.size, max_size=reading.probs.size))
    reading.probs[np.array(which, dtype=bool)] = data.draw(st.sampled_from([np.nan, 1.5, -0.1, np.inf]))
    whole = tallied(reading, invalid="drop")
    assert whole.refused == sum(which)
    assert reference.cells_of(whole) == reference.tally(SMALL_GRID, reading.probs, reading.answers)
    parts = data.draw(partitions(reading.probs.size))
    assert Tally.sum([tallied(reading.part(part), invalid="drop") for part in parts]) == whole


@given(readings())
def test_the_empty_tally_is_the_identity(reading):
    t = tallied(reading)
    empty = Tally.empty(SMALL_GRID, t.raters)
    assert empty + t == t + empty == t
    assert tallied(reading.part(slice(0, 0))) == empty
    assert (empty.n_voxels, empty.refused) == (0, 0)
    assert empty.responses().n_rows == empty.pooled().bins.size == 0


@given(readings(max_raters=9), st.integers(1, 40))
def test_any_number_of_threads_counts_the_same(reading, n_jobs):
    assert with_strata(reading, n_jobs=n_jobs) == with_strata(reading)


@pytest.mark.compiled
@pytest.mark.parametrize(("n_raters", "missing"), [(3, 0.0), (2, 0.2), (9, 0.2)])
def test_threads_and_splits_do_not_change_a_bit(rng, n_raters, missing):
    probs, answers = scattered(rng, 3 * CHUNK + 5, n_raters, missing)
    probs[[0, CHUNK, -1]] = np.nan
    strata = rng.integers(0, 2, probs.size)
    roi = rng.random(probs.size) < 0.7
    options = {"grid": SMALL_GRID, "invalid": "drop", "strata": strata, "roi": roi}
    serial = tally(probs, answers, **options)
    assert serial.n_voxels > CHUNK
    for n_jobs in (2, 3, 8):
        assert tally(probs, answers, **options, n_jobs=n_jobs) == serial
    halves = [
        tally(probs[s], answers[:, s], grid=SMALL_GRID, invalid="drop", strata=strata[s], roi=roi[s])
        for s in (slice(100_001, None), slice(100_001))
    ]
    assert Tally.sum(halves) == serial


@pytest.mark.compiled
def test_all_voxels_of_many_chunks_are_counted_without_strata_too(rng):
    probs, answers = scattered(rng, 2 * CHUNK + 77)
    serial = tally(probs, answers.astype(bool))
    bins, times = np.unique(serial.grid.locate(probs), return_counts=True)
    assert serial.n_voxels == probs.size
    np.testing.assert_array_equal(serial.pooled().bins, bins)
    np.testing.assert_array_equal(serial.pooled().weight[0], times)
    assert tally(probs, answers.astype(bool), n_jobs=2) == serial


def test_layout_and_dtype_of_arrays_do_not_matter(rng):
    shape = (5, 4, 3)
    probs = rng.random(shape).astype(np.float32)
    masks = rng.integers(0, 2, (2, *shape), dtype=np.uint8)
    expected = tally(probs, masks)
    assert expected.n_voxels == 60
    swapped = np.ascontiguousarray(probs.transpose(2, 0, 1)).transpose(1, 2, 0)
    big_endian = probs.astype(">f4")
    for p in (probs, np.asfortranarray(probs), swapped, probs.astype(np.float64), big_endian, probs[::-1].copy()[::-1]):
        for m in (
            masks,
            np.asfortranarray(masks),
            np.moveaxis(masks, 0, -1),
            np.ascontiguousarray(np.moveaxis(masks, 0, -1)),
            masks.astype(bool),
            masks.astype(np.int16),
            masks.astype(np.int64),
            masks.astype(np.float32),
            masks.astype(">f8"),
            list(masks),
            tuple(masks.astype(bool)),
            [masks[0].astype(bool), np.asfortranarray(masks[1].astype(float))],
        ):
            assert tally(p, m) == expected


def test_a_column_of_probabilities_is_its_voxels(rng):
    probs, masks = rng.random(6), rng.integers(0, 2, (3, 6))
    expected = tally(probs, masks)
    for raters in (masks, masks.T, masks[:, :, np.newaxis], list(masks), [m[:, np.newaxis] for m in masks]):
        assert tally(probs[:, np.newaxis], raters) == expected
    assert tally(probs[:, np.newaxis], masks[0]) == tally(probs[:, np.newaxis], masks[0][:, np.newaxis])


def test_positive_labels_mark_the_structure():
    probs = np.array([0.1, 0.4, 0.6, 0.9])
    expected = tally(probs, [0, 1, 0, 1])
    assert tally(probs, np.array([0, 255, 0, 255], np.uint8), positive=255) == expected
    assert tally(probs, [0, 2, 1, 3], positive=(2, 3)) == expected
    missing = tally(probs, [0, 1, np.nan, 1])
    assert tally(probs, [7, 2, np.nan, 2], positive=2) == missing
    assert tally(probs, np.ma.masked_array([7, 2, 2, 2], [0, 0, 1, 0]), positive=2, roi=np.ones(4, bool)) == missing


def test_missing_is_not_empty():
    probs = np.array([0.2, 0.8])
    missing, empty = tally(probs, [[0, 1], None], rater_axis=None), tally(probs, [[0, 1], [0, 0]])
    assert missing.raters == empty.raters == ("0", "1")
    assert missing.cells.present.tolist() == [1, 1]
    assert empty.cells.present.tolist() == [3, 3]
    assert missing.pooled().weight.tolist() == [[1, 1], [0, 0]]
    assert empty.pooled().weight.tolist() == [[1, 1], [1, 1]]


def test_none_keeps_the_places_of_the_other_raters(rng):
    probs, masks = rng.random(50), rng.integers(0, 2, (2, 50))
    two = tally(probs, masks, rater_names=["b", "d"])
    assert tally(probs, [None, masks[0], None, masks[1]], rater_names=list("abcd")) == two.with_raters(list("abcd"))


def test_none_nan_and_masked_entries_are_all_missing(rng):
    probs = rng.random((3, 4))
    masks = rng.integers(0, 2, (2, 3, 4))
    hidden = rng.random((2, 3, 4)) < 0.3
    expected = tally(probs, np.where(hidden, np.nan, masks))
    assert expected.cells.present.min() < 3
    assert tally(probs, np.ma.masked_array(masks, hidden)) == expected
    assert tally(probs, [np.ma.masked_array(m, h) for m, h in zip(masks, hidden, strict=True)]) == expected
    assert tally(probs, np.ma.masked_array(np.moveaxis(masks, 0, -1), np.moveaxis(hidden, 0, -1))) == expected
    listed = [np.ma.masked_array(m, h) for m, h in zip(masks, hidden, strict=True)]
    assert tally(probs, listed, rater_axis=0) == expected
    garbage = np.where(hidden, 77, masks)
    assert tally(probs, np.ma.masked_array(garbage, hidden)) == expected
    inside = np.ones(probs.shape, dtype=bool)
    assert tally(probs, np.ma.masked_array(garbage, hidden), roi=inside) == expected
    whole_missing = masks.astype(float)
    whole_missing[1] = np.nan
    assert tally(probs, [masks[0], None]) == tally(probs, whole_missing)


def test_masked_probabilities_are_left_out_or_refused():
    hidden = np.ma.masked_array([0.5, 0.6, 0.7], [True, False, False])
    try:
        counted = tally(hidden, [1, 1, 0])
    except (TypeError, ValueError) as error:
        assert "mask" in str(error)  # noqa: PT017
    else:
        assert counted == tally(np.array([0.6, 0.7]), [1, 0])
        assert tally(hidden, [1, 1, 0], roi=[1, 0, 1]) == tally(np.array([0.7]), [0])


def test_voxels_that_no_rater_answered_are_not_counted():
    t = tally(np.array([0.1, 0.9]), [[np.nan, 1], [np.nan, np.nan]])
    assert t.n_voxels == 1
    assert tally(np.array([0.1]), [[np.nan], [np.nan]]).n_voxels == 0


@given(readings(), st.data())
def test_a_roi_is_the_voxels_inside_alone(reading, data):
    n = reading.probs.size
    inside = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool)
    reading.probs[~inside] = data.draw(st.sampled_from([np.nan, 2.0, 0.5]))
    expected = with_strata(reading.part(inside))
    assert with_strata(reading, roi=inside) == expected
    assert with_strata(reading, roi=inside.astype(float)) == expected


def test_a_refusal_speaks_of_the_voxels_inside_the_roi_alone():
    with pytest.raises(ValueError, match="1 of 2 voxels are not, 0 of them NaN"):
        tally(np.array([np.nan, -7, 1.5, 0.5]), [0, 1, 1, 1], roi=[0, 0, 1, 1])


@given(readings())
def test_selecting_strata_takes_the_tally_apart(reading):
    whole = with_strata(reading)
    for code, name in enumerate(NAMES):
        alone = tallied(reading.part(reading.strata == code), strata_names=(name,))
        assert whole.select(name) == alone
    assert sum(whole.select(name).n_voxels for name in NAMES) == whole.n_voxels


def test_strata_are_named_by_number_unless_named():
    t = tally(np.array([0.1, 0.2]), [0, 1], strata=[0, 2])
    assert t.strata == ("0", "1", "2")
    assert t.select("1").n_voxels == 0
    assert t.select("2").cells.marked.tolist() == [1]
    with pytest.raises(ValueError, match=r"no stratum 'x'; there are '0', '1', '2'"):
        t.select("x")


@pytest.mark.parametrize("strata", [None, "some"])
def test_sorting_cells_equals_the_dense_table(rng, monkeypatch, strata):
    """More than 8 raters are counted by sorting; up to 8 in a table. Both ways must count the same."""
    probs, answers = scattered(rng, 3000, 8, 0.0)
    probs[:200] = rng.choice(SMALL_GRID.lower, 200)
    probs[7] = np.nan
    answers[:2, rng.random(3000) < 0.3] = np.nan
    layers = None if strata is None else rng.integers(0, 3, 3000)
    options = {"grid": SMALL_GRID, "strata": layers, "invalid": "drop"}
    dense = tally(probs, answers, **options)
    monkeypatch.setattr(_counting, "PATTERN_RATERS", 0)
    assert tally(probs, answers, **options) == dense
    assert dense.refused == 1


def test_ten_raters_of_whom_two_are_missing_are_the_other_eight(rng):
    probs, answers = scattered(rng, 2000, 8, 0.1)
    ten = tally(probs, [None, *answers, None], grid=SMALL_GRID)
    eight = tally(probs, answers, grid=SMALL_GRID, rater_names=[str(r) for r in range(1, 9)])
    assert ten == eight.with_raters([str(r) for r in range(10)])


def test_eight_raters_who_are_missing_here_and_there_fit_into_bounded_memory(rng):
    probs, answers = scattered(rng, 20_000, 8, 0.1)
    tracemalloc.start()
    tally(probs, answers)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6


def test_with_raters_moves_answers_to_the_raters_of_the_study():
    t = tally(np.array([0.1, 0.9]), [[0, 1], [1, np.nan]], rater_names=["ann", "bob"])
    study = t.with_raters(["bob", "eve", "ann"])
    assert study.raters == ("bob", "eve", "ann")
    assert study.cells.present.tolist() == [0b101, 0b100]
    assert study.cells.marked.tolist() == [0b001, 0b100]
    pooled = study.pooled()
    assert pooled.weight.tolist() == [[1, 0], [0, 0], [1, 1]]
    assert pooled.votes.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert t.with_raters(["ann", "bob"]) is t
    assert study.with_raters(["eve", "ann", "bob"]).with_raters(study.raters) == study
    with pytest.raises(ValueError, match=r"do not include \['bob'\]"):
        t.with_raters(["ann"])


@given(readings())
def test_with_raters_merges_like_the_arrays_do(reading):
    t = tallied(reading)
    study = [*map(str, reversed(range(len(reading.answers)))), "more"]
    reordered = list(reading.answers[::-1])
    assert t.with_raters(study) == tally(reading.probs, [*reordered, None], grid=SMALL_GRID, rater_names=study)


def test_a_study_does_not_name_a_rater_twice():
    with pytest.raises(ValueError, match="different names"):
        tally(np.array([0.1]), [1]).with_raters(["0", "0"])


def test_more_raters_than_bits_are_refused_not_lost():
    t = tally(np.array([0.1, 0.9]), [0, 1])
    names = [f"r{i}" for i in range(70)]
    try:
        study = t.with_raters([*names, "0"])
    except ValueError:
        return
    assert study.pooled().votes[-1].tolist() == [0, 1]
    assert study.responses().answers.tolist() == [1, 1]


def test_a_bin_survives_more_than_two_to_the_thirty_two_voxels():
    probs = np.array([0.3, 0.9, 0.301, 0.25, 1.0, 0.0, 0.9001], np.float32)
    one = tally(probs, [0, 1, 1, 0, 1, 0, 0], grid=SMALL_GRID)
    many = one
    for _ in range(34):
        many = many + many
    assert many.n_voxels == 7 << 34
    assert {k: (n << 34, s * 2.0**34) for k, (n, s) in reference.cells_of(one).items()} == reference.cells_of(many)
    exact = sum(Fraction(float(p)) for p in probs) * 2**34
    responses = many.responses()
    assert responses.count @ responses.prob == pytest.approx(float(exact), rel=1e-15)


@pytest.mark.compiled
def test_a_bin_survives_more_than_two_to_the_twenty_four_voxels_of_an_array():
    n = 2**24 + 3
    probs = np.full(n, 0.7, np.float32)
    probs[-1] = 0.1
    mask = np.ones(n, np.uint8)
    mask[:5] = 0
    t = tally(probs, mask)
    low, high = t.grid.locate([0.1, 0.7]).tolist()
    p = float(np.float32(0.7))
    assert reference.cells_of(t) == {
        (0, low, 1, 1): (1, float(np.float32(0.1))),
        (0, high, 1, 0): (5, float(5 * Fraction(p))),
        (0, high, 1, 1): (n - 6, float((n - 6) * Fraction(p))),
    }


@pytest.mark.compiled
@pytest.mark.parametrize("as_list", [False, True], ids=["stack", "list"])
def test_a_large_volume_on_disk_is_tallied_in_bounded_memory(tmp_path, as_list):
    shape, n_raters = (200, 250, 400), 3
    probs = np.lib.format.open_memmap(tmp_path / "p.npy", "w+", np.float32, shape)
    masks = np.lib.format.open_memmap(tmp_path / "m.npy", "w+", np.uint8, (n_raters, *shape))
    roi = np.lib.format.open_memmap(tmp_path / "r.npy", "w+", np.bool_, shape)
    probs[100], masks[:2, 100], roi[50:150] = 0.7, 1, True
    tracemalloc.start()
    t = tally(probs, list(masks) if as_list else masks, roi=roi)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert t.n_voxels == 10_000_000
    assert t.cells.voxels.tolist() == [9_900_000, 100_000]
    assert t.cells.marked.tolist() == [0, 3]
    assert peak < 40e6


def test_tallies_that_do_not_match_are_not_merged():
    p, m = np.array([0.5]), [1]
    one = tally(p, m)
    with pytest.raises(ValueError, match=r"different grid: 7 bits with \d+ edges and 4 bits with 4 edges"):
        one + tally(p, m, grid=SMALL_GRID)
    with pytest.raises(ValueError, match=r"different raters: \('0',\) and \('a',\).* with_raters\(\) first"):
        one + tally(p, m, rater_names=["a"])
    with pytest.raises(ValueError, match=r"different strata: \('0',\) and \('x',\)"):
        one + tally(p, m, strata_names=["x"])
    with pytest.raises(ValueError, match="no tally to sum"):
        Tally.sum([])


def test_equality_looks_at_everything():
    p = np.array([0.5, 0.6])
    t = tally(p, [1, 0])
    assert t == tally(p[::-1], [0, 1])
    for other in (
        tally(p, [0, 1]),
        tally(p, [1, np.nan]),
        tally(p, [1, 0], grid=SMALL_GRID),
        tally(p, [1, 0], rater_names=["a"]),
        tally(p, [1, 0], strata_names=["a"]),
        tally(p, [1, 0], strata=[0, 1]),
        tally(np.append(p, np.nan), [1, 0, 0], invalid="drop"),
        tally(np.append(p, 0.5), [1, 0, 1]),
        tally(np.array([0.5, 0.6001]), [1, 0]),
        "a tally",
    ):
        assert t != other
    with pytest.raises(TypeError, match="unhashable"):
        hash(t)


def test_the_columns_of_a_tally_are_read_only():
    t = tally(np.array([0.5, 0.6]), [1, 0])
    for column in t.cells:
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 7


def test_a_tally_tells_what_it_is():
    t = tally(np.array([0.5, 0.5, 0.6]), [[1, 1, 0], [0, 0, 1]])
    assert repr(t) == "<Tally: 3 voxels, 2 raters, 2 cells>"


def test_responses_by_hand():
    t = tally(np.array([0.25, 0.75, 0.75, 0.2500001]), [[0, 1, 1, 1], [0, 0, 1, np.nan]])
    r = t.responses(voxel_volume=0.5)
    quarter = (0.25 + float(np.float32(0.2500001))) / 2
    assert r.prob.tolist() == [quarter, quarter, 0.75, 0.75]
    assert r.count.tolist() == [1, 1, 1, 1]
    assert r.answers.tolist() == [1, 2, 2, 2]
    assert r.votes.tolist() == [1, 0, 1, 2]
    assert (r.n_raters, r.voxel_volume) == (2, 0.5)


@given(readings(max_raters=9))
def test_pooled_sums_are_those_of_a_plain_loop(reading):
    pooled = with_strata(reading).pooled()
    cells = reference.tally(SMALL_GRID, reading.probs, reading.answers)
    assert pooled.bins.tolist() == sorted({b for _, b, _, _ in cells})
    for r in range(len(reading.answers)):
        for j, b in enumerate(pooled.bins.tolist()):
            own = [(key, value) for key, value in cells.items() if key[1] == b and key[2] >> r & 1]
            assert pooled.weight[r, j] == sum(n for _, (n, _) in own)
            assert pooled.votes[r, j] == sum(n for (_, _, _, marked), (n, _) in own if marked >> r & 1)
            assert pooled.prob_sum[r, j] == pytest.approx(sum(s for _, (_, s) in own), rel=1e-15, abs=0)


@given(readings(max_raters=9))
def test_saving_and_loading_gives_the_same_tally(tmp_path_factory, reading):
    path = tmp_path_factory.mktemp("tally") / "deep" / "t.npz"
    t = with_strata(reading)
    t.save(path, case="A 1", inputs={"sha": "x"})
    loaded, header = Tally.load_with_header(path)
    assert loaded == t == Tally.load(path)
    assert (header["case"], header["inputs"]) == ("A 1", {"sha": "x"})
    assert [p.name for p in path.parent.iterdir()] == ["t.npz"]
    assert loaded + t == Tally.sum([t, t])


def test_large_counts_and_refused_voxels_survive_the_file(tmp_path):
    t = tally(np.array([0.3, np.nan, 0.9]), [1, 1, 0], invalid="drop")
    for _ in range(40):
        t = t + t
    t.save(tmp_path / "t.npz")
    loaded = Tally.load(tmp_path / "t.npz")
    assert loaded == t
    assert (loaded.n_voxels, loaded.refused) == (2 << 40, 1 << 40)


def rewritten(path, drop=(), **changes):
    """The file at ``path`` with other entries of the header, and without some columns."""
    with np.load(path) as file:
        content = {name: file[name] for name in file.files if name not in drop}
    header = json.loads(str(content["header"])) | changes
    header = {k: v for k, v in header.items() if v is not None}
    np.savez(path, **content | {"header": np.array(json.dumps(header))})


@pytest.fixture
def saved(tmp_path):
    tally(np.array([0.3, 0.9]), [1, 0]).save(tmp_path / "t.npz")
    return tmp_path / "t.npz"


def test_a_damaged_file_is_refused_by_name(saved, tmp_path):
    saved.write_bytes(saved.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"t\.npz is not a tally, or it is damaged .* tally the case again"):
        Tally.load(saved)
    saved.write_text("{}")
    with pytest.raises(ValueError, match="not a tally"):
        Tally.load(saved)
    np.savez(saved, something=np.arange(3))
    with pytest.raises(ValueError, match="not a tally"):
        Tally.load(saved)
    np.savez(saved, header=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="not a tally"):
        Tally.load(saved)
    with pytest.raises(FileNotFoundError):
        Tally.load(tmp_path / "nothing.npz")


def test_a_file_without_a_column_or_a_schema_is_refused(saved):
    rewritten(saved, drop=["excess"])
    with pytest.raises(ValueError, match="not a tally, or it is damaged"):
        Tally.load(saved)
    tally(np.array([0.3, 0.9]), [1, 0]).save(saved)
    rewritten(saved, schema=None)
    with pytest.raises(ValueError, match="not a tally, or it is damaged"):
        Tally.load(saved)


def test_a_file_of_a_later_schema_is_refused_with_a_remedy(saved):
    rewritten(saved, schema=2)
    with pytest.raises(ValueError, match=r"schema 2; this mrcalib reads up to 1\. Upgrade mrcalib"):
        Tally.load(saved)


def test_a_later_schema_is_told_even_if_its_columns_are_others(saved):
    rewritten(saved, drop=["excess"], schema=2)
    with pytest.raises(ValueError, match="Upgrade mrcalib"):
        Tally.load(saved)


def test_what_cannot_be_written_leaves_the_old_file(saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        tally(np.array([0.1]), [1]).save(saved, extra=object())
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["t.npz"]


def test_strata_and_raters_have_different_names():
    p = np.array([0.1, 0.9])
    with pytest.raises(ValueError, match="strata_names"):
        tally(p, [0, 1], strata=[0, 1], strata_names=["a", "a"])
    with pytest.raises(ValueError, match="different names"):
        tally(p, [[0, 1], [1, 1]], rater_names=["a", "a"])


def test_probabilities_are_compared_in_float32():
    above = np.nextafter(1.0, 2)
    with pytest.raises(ValueError, match="looks like rounding"):
        tally(np.array([above]), [1])
    with pytest.raises(ValueError, match="looks like rounding"):
        tally(np.array([-1e-300]), [1])
    assert tally(np.array([1 - 1e-12]), [1]) == tally(np.array([1.0]), [1])
    assert tally(np.array([0.1]), [1]) == tally(np.array([0.1], np.float32), [1])


def test_a_grid_of_ones_own_is_kept():
    grid = ProbabilityGrid(5, (0.4,))
    assert tally(np.array([0.4]), [1], grid=grid).grid == grid


def test_counts_that_int64_cannot_hold_are_refused():
    half = tally(np.array([0.25]), [1])
    most = replace(half, cells=half.cells._replace(voxels=np.array([1 << 62])))
    assert (most + half).n_voxels == (1 << 62) + 1
    with pytest.raises(OverflowError, match="more voxels than a tally can count"):
        _ = most + most
    with pytest.raises(OverflowError, match="more voxels than a tally can count"):
        Tally.sum([most] * 5)


@pytest.mark.parametrize(
    ("column", "value"), [("voxels", -1), ("excess", -1), ("stratum", 1), ("bin", 10**6), ("present", 2), ("marked", 4)]
)
def test_a_file_with_cells_that_cannot_be_is_damaged(saved, column, value):
    with np.load(saved) as file:
        content = {name: file[name] for name in file.files}
    np.savez(saved, **content | {column: np.full(2, value)})
    with pytest.raises(ValueError, match=f"damaged .column {column} holds"):
        Tally.load(saved)
