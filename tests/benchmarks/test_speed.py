"""The speed suite: references agree with hand computations, checks catch wrong answers, and a small run writes its tables."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from mrcalib import MHRIsotonicCalibrator, TemperatureScalingCalibrator

pytest.importorskip("matplotlib", reason="the suite draws figures: install mrcalib[plots]")
ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.speed import data, goals, jobs, memory, report, run  # noqa: E402
from benchmarks.speed.groups import ece, equal_mass, isotonic, temperature  # noqa: E402
from benchmarks.speed.timing import limited_to, processors, read  # noqa: E402

OPTIONS = Namespace(threads=1, repetitions=1, peer_repetitions=1, no_peers=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder in which voxels are kept; of one volume, which takes half a second to draw."""
    return tmp_path_factory.mktemp("speed-data")


@pytest.fixture
def some(drawn):
    return data.load(40_000, cache=drawn)


def test_a_smaller_size_is_the_first_voxels_of_a_larger_one_and_shuffling_keeps_voxels_together(drawn, some):
    fewer = data.load(10_000, cache=drawn)
    np.testing.assert_array_equal(fewer.probs, some.probs[:10_000])
    np.testing.assert_array_equal(fewer.masks, some.masks[:, :10_000])
    shuffled = data.load(40_000, "shuffled", cache=drawn)
    rows = [np.unique(np.vstack([d.probs, d.masks]), axis=1, return_counts=True) for d in (some, shuffled)]
    np.testing.assert_array_equal(rows[0][0], rows[1][0])
    np.testing.assert_array_equal(rows[0][1], rows[1][1])
    assert not np.array_equal(some.probs, shuffled.probs)


def test_data_are_read_back_as_they_were_drawn(drawn, some):
    again = data.load(40_000, cache=drawn)
    np.testing.assert_array_equal(again.probs, some.probs)
    assert again.masks.flags.c_contiguous
    assert not list(drawn.glob("*unfinished*"))


def test_the_floor_reads_every_word():
    words = np.zeros(1000, np.float64)
    words.view(np.uint64)[777] = 0b101
    assert read(words, np.full(16, 8, np.uint8)) == int.from_bytes(bytes([8] * 8)) | 0b101


def test_threads_are_limited_and_given_back():
    before = processors()
    with limited_to(1):
        assert len(processors()) == 1
    assert processors() == before


def test_numpy_s_errors_by_hand():
    found = ece.numpy_errors(np.float32([0.1, 0.1, 0.9, 0.9]), np.uint8([[0, 0, 1, 1], [0, 0, 1, 0]]), n_bins=10)
    np.testing.assert_allclose(found, [0.1, 0.25, 0.125], atol=1e-7)


def test_references_agree_with_the_library(some):
    exact = MHRIsotonicCalibrator("exact").fit(some.probs, some.masks).map_
    assert isotonic.against_exact(some, exact(some.sample), 1e-12).right
    bins = MHRIsotonicCalibrator("equal-mass", 250).fit(some.probs, some.masks).map_
    np.testing.assert_allclose(bins(some.sample), np.interp(some.sample, *equal_mass.reference(some)), atol=1e-12)
    slope = TemperatureScalingCalibrator().fit(some.probs, some.masks).map_.slope
    assert temperature.optimum(some) == pytest.approx(slope, rel=1e-4)


def test_a_wrong_map_is_caught(some):
    assert not isotonic.against_exact(some, some.sample, 1e-7).right
    assert not isotonic.against_exact(some, some.sample, 1, mean=1e-12).right


def measured(*peers):
    """The rows of a group of a piece of work that takes no time, and its peers."""
    ours = jobs.Job("ours", lambda _: 1.0, lambda x: jobs.Check.within(abs(x - 1), 1e-9), threads=(1,))
    base = jobs.Job("floor", lambda _: None, threads=(1,))
    group = jobs.Group("group", "Title", 1000, [ours], peers, base, jobs.Goal(4, {"right": 100}))
    return group, jobs.measure(group, OPTIONS, {})


def peer(name, answer, **options):
    def run_it(_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    return jobs.Job(name, run_it, lambda x: jobs.Check.within(abs(x - 1), 1e-9), threads=(1,), **options)


def test_peers_that_are_wrong_absent_too_slow_or_broken_are_said_to_be(capsys):
    _, rows = measured(
        peer("right", 1.0),
        peer("wrong", 2.0),
        peer("absent", 1.0, library="no_such_library"),
        peer("slow", 1.0, most=10),
        peer("broken", ValueError("its own message")),
    )
    by_name = {row["work"]: row for row in rows}
    assert by_name["right"]["right"] is True
    assert by_name["wrong"]["right"] is False
    assert by_name["absent"]["seconds"] == by_name["slow"]["seconds"] == by_name["broken"]["seconds"] == []
    assert "no_such_library is not installed" in by_name["absent"]["said"]
    assert "up to 10" in by_name["slow"]["said"]
    assert "its own message" in by_name["broken"]["said"]
    assert "wrong, 1 thread(s)" in capsys.readouterr().err


def part(seconds):
    """A part of results with these seconds a row."""
    rows = [
        {"group": "group", "work": name, "kind": kind, "n": 1000, "unit": "voxel", "threads": threads, "seconds": s,
         "difference": 0.0, "right": right, "said": ""}
        for (name, kind, threads, right), s in seconds.items()
    ]  # fmt: skip
    goal = {"base": 4, "faster": {"right": 100}, "within": None}
    return {"group": "group", "title": "Title", "order": "coherent", "voxels": 1000, "goal": goal, "rows": rows}


def test_ratios_are_of_medians_and_never_against_a_wrong_peer():
    flat = report.flattened(
        {
            "key": part(
                {
                    ("floor", "base", 1, None): [1.0, 2.0, 9.0],
                    ("floor", "base", 2, None): [3.0],
                    ("ours", "mrcalib", 1, True): [4.0],
                    ("ours", "mrcalib", 2, True): [2.0, 2.0, 80.0],
                    ("right", "peer", 2, True): [50.0],
                    ("wrong", "peer", 2, False): [8.0],
                }
            )
        }
    )
    ours = [row for row in flat if row["kind"] == "mrcalib"]
    assert [row["times_base"] for row in ours] == [2.0, 1.0]  # the faster floor, by no more threads than ours
    assert [row["times_faster"] for row in ours] == [12.5, 25.0]
    assert {row["best_peer"] for row in ours} == {"right"}


@pytest.mark.parametrize(
    ("ours", "right", "expected"),
    [
        (2.0, True, "| ours | 1,000 | 2.00 | at most 4: met | 200.0 | 100 x right: met |"),
        (8.0, True, "| ours | 1,000 | 8.00 | at most 4: not met | 50.0 | 100 x right: not met |"),
        (2.0, False, "| ours | 1,000 | 2.00 | at most 4: met, but the answer is WRONG | 200.0 | 100 x right: met |"),
    ],
)
def test_goals_are_met_or_not(ours, right, expected):
    parts = {
        "key": part(
            {
                ("floor", "base", 1, None): [1.0],
                ("ours", "mrcalib", 2, right): [ours],
                ("right", "peer", 2, True): [400.0],
            }
        )
    }
    assert goals.table(parts, report.flattened(parts))[-1] == expected


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is read from /proc")
def test_peak_memory_is_that_of_the_work():
    code = "import gc\np = m = None\ndef work(p, m):\n    return b'x' * 50_000_000\n"
    assert 49e6 < memory.peak(code) < 60e6


def test_a_small_run_writes_its_tables_and_a_second_one_replaces_rows(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(data, "CACHE", drawn)
    monkeypatch.setattr("benchmarks.speed.timing.ENOUGH", 0)
    arguments = ["--voxels", "20000", "--order", "coherent", "--no-peers", "--repetitions", "1", "--out", str(tmp_path)]
    run.main([*arguments, "--only", "tally", "ece", "transform"])
    kept = json.loads((tmp_path / "speed.json").read_text())
    assert set(kept) == {f"{name}, 20000, coherent" for name in ("tally", "ece", "transform")}
    assert all(row["right"] is not False for part in kept.values() for row in part["rows"])
    page = (tmp_path / "speed.md").read_text()
    assert "0 voxels miscounted" in page
    assert "WRONG" not in page
    for name in ("speed.csv", "speed.png"):
        assert (tmp_path / name).stat().st_size > 500
    run.main([*arguments, "--only", "tally"])
    assert json.loads((tmp_path / "speed.json").read_text()).keys() == kept.keys()
