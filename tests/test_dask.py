"""The same tallies from a cluster of real processes: equal to the bit, whoever dies, in whatever order cases arrive."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("distributed", reason="Dask is not installed: pip install 'mrcalib[dask]'")

import dask
import dask.array as da
from distributed import Client, LocalCluster

import mrcalib
from mrcalib import Case, ProbabilityGrid, tally, tally_cases
from mrcalib.cli import main
from mrcalib.io import LoadOptions, write_manifest
from mrcalib.scale import cluster, tally_blocks
from mrcalib.scale.blocks import _chunks
from mrcalib.scale.cluster import each_on_cluster, recorded_messages
from mrcalib.scale.cluster_cases import at_absolute_paths


@pytest.fixture(scope="module")
def client():
    """Two processes of one thread each; a task that kills its worker twice is given up."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=None
        ) as local,
        Client(local, set_as_default=False) as connected,
    ):
        yield connected


def volume(seed, shape=(12, 10, 8)):
    rng = np.random.default_rng(seed)
    return rng.random(shape, dtype=np.float32), rng.integers(0, 2, (3, *shape), dtype=np.uint8)


def in_memory(seed, **options):
    probs, masks = volume(seed)
    return Case(f"case{seed}", probs, list(masks), **options)


def on_disk(folder, n, shape=(12, 10, 8)):
    cases = []
    for seed in range(n):
        probs, masks = volume(seed, shape)
        own = Path(folder) / f"case{seed}"
        own.mkdir(parents=True)
        np.save(own / "probs.npy", probs)
        for r, mask in enumerate(masks):
            np.save(own / f"{r}.npy", mask)
        raters = {f"rater{r}": own / f"{r}.npy" for r in range(3)}
        cases.append(Case(f"case{seed}", own / "probs.npy", raters, group=f"p{seed // 2}", spacing=(1.0, 1.0, 2.0)))
    return cases


def equal(one, other):
    return all(a == b for a, b in zip(one.tallies, other.tallies, strict=True)) and (
        one.ids,
        one.groups,
        one.voxel_volume,
    ) == (other.ids, other.groups, other.voxel_volume)


def test_a_cluster_gives_what_one_thread_gives(client, tmp_path):
    cases = on_disk(tmp_path, 7)
    seen = {}
    assert equal(tally_cases(cases, scheduler=client, progress=seen.__setitem__), tally_cases(cases))
    assert seen == {case.id: "tallied" for case in cases}


def test_arrays_in_memory_are_sent_and_missing_raters_stay_missing(client):
    probs, masks = volume(9)
    cases = [
        in_memory(0),
        Case("two", (probs, 1 - probs), {"1": masks[0], "2": None, "new": masks[1]}),
        in_memory(1, roi=volume(2)[1][0]),
    ]
    found, recalls = {}, {}
    assert equal(
        tally_cases(cases, scheduler=client, recalls=found, options=LoadOptions(pooling="logit-mean")),
        tally_cases(cases, recalls=recalls, options=LoadOptions(pooling="logit-mean")),
    )
    assert found == recalls
    assert list(found) == ["case1"]


def test_large_arrays_are_sent_without_a_warning(client):
    probs = np.linspace(0, 1, 1_800_000)  # 14 MB; Dask warns from 10 MB on
    case = Case("large", probs, [probs > 0.5])
    assert equal(tally_cases([case], scheduler=client), tally_cases([case]))


def test_grid_and_treatment_of_invalid_voxels_reach_the_workers(client):
    probs, masks = volume(0)
    probs[0, 0, :3] = np.nan
    options = {"grid": ProbabilityGrid(5, edges=(0.3,)), "invalid": "drop"}
    cases = [Case("a", probs, list(masks)), in_memory(1)]
    found = tally_cases(cases, scheduler=client, **options)
    assert equal(found, tally_cases(cases, **options))
    assert found.tallies[0].refused == 3
    assert found.tallies[0].grid is found.tallies[1].grid  # one grid, with one set of tables, for all cases


def test_relative_paths_are_those_of_this_process(client, tmp_path, monkeypatch):
    on_disk(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    here = Path("case0")
    case = Case("a", "case0/probs.npy", [here / "0.npy", None, str(here / "2.npy")], roi=here / "1.npy")
    assert equal(
        tally_cases([case], scheduler=client, checkpoints="kept"),
        tally_cases([case]),
    )
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["a.npz"]


def test_every_path_of_a_case_becomes_absolute_and_nothing_else_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = volume(0)[0]
    case = Case(
        "a",
        ("p.npy", array),
        {"x": "x.npy", "y": None},
        group="g",
        roi="r.npy",
        image="i.npy",
        vessels="v.npy",
        spacing=(1.0, 2.0, 3.0),
        index_aligned=("x",),
        coarse="c.npy",
    )
    moved = at_absolute_paths(case)
    assert moved.members[0] == tmp_path / "p.npy"
    assert moved.members[1] is array
    assert moved.masks == {"x": tmp_path / "x.npy", "y": None}
    named = [tmp_path / f"{letter}.npy" for letter in "rivc"]
    assert [moved.roi, moved.image, moved.vessels, moved.coarse] == named
    assert (moved.id, moved.group, moved.spacing, moved.index_aligned) == ("a", "g", (1.0, 2.0, 3.0), ("x",))


def test_one_bad_case_is_reported_as_in_one_thread(client, tmp_path):
    cases = on_disk(tmp_path, 5)
    (tmp_path / "case1" / "0.npy").unlink()
    np.save(tmp_path / "case3" / "probs.npy", volume(3)[0] * 3)
    found, expected, seen = {}, {}, {}
    there = tally_cases(cases, scheduler=client, failures=found, progress=seen.__setitem__)
    assert equal(there, tally_cases(cases, failures=expected))
    assert list(found) == list(expected) == ["case1", "case3"]
    for case, error in expected.items():
        assert type(found[case]) is type(error)
        assert str(found[case]) == str(error)
    assert seen == {"case0": "tallied", "case1": "failed", "case2": "tallied", "case3": "failed", "case4": "tallied"}


def test_without_a_place_for_failures_the_first_in_order_is_raised(client, tmp_path):
    cases = on_disk(tmp_path, 8)
    for bad in (2, 3, 4, 5, 6, 7):
        np.save(tmp_path / f"case{bad}" / "probs.npy", volume(bad)[0] * 3)
    for _ in range(3):
        with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\] \(case 'case2'\)"):
            tally_cases(cases, scheduler=client, checkpoints=tmp_path / "kept")
    assert {"case0.npz", "case1.npz"} == {path.name for path in (tmp_path / "kept").iterdir()}


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("[!.]*.npz")}


def test_finished_tallies_are_not_made_again(client, tmp_path):
    cases = on_disk(tmp_path, 4)
    folder = tmp_path / "kept"
    first = tally_cases(cases[:3], checkpoints=folder)  # by a thread, taken up by the cluster
    kept, seen = stamps(folder), {}
    both = tally_cases(cases, scheduler=client, checkpoints=folder, progress=seen.__setitem__)
    assert seen == {"case0": "unchanged", "case1": "unchanged", "case2": "unchanged", "case3": "tallied"}
    assert equal(both.subset([0, 1, 2]), first)
    assert kept.items() <= stamps(folder).items()
    kept, seen = stamps(folder), {}
    assert equal(tally_cases(cases, checkpoints=folder, progress=seen.__setitem__), both)  # and the other way round
    assert set(seen.values()) == {"unchanged"}
    assert stamps(folder) == kept


def test_a_folder_that_workers_do_not_share_is_warned_of(client, tmp_path):
    cases, folder = on_disk(tmp_path, 2), tmp_path / "kept"

    def elsewhere(case, status):
        if case == "case1":
            (folder / "case1.npz").unlink()

    with pytest.warns(UserWarning, match=r"1 of 2 tallies that workers kept in .*kept are not seen .* that of 'case1'"):
        tally_cases(cases, scheduler=client, checkpoints=folder, progress=elsewhere)


def pids(client):
    return list(client.run(os.getpid).values())


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_loses_nothing(client, tmp_path):
    cases = on_disk(tmp_path / "data", 24, shape=(60, 50, 40))
    folder = tmp_path / "kept"
    victim, at_kill, seen = pids(client)[0], {}, []

    def kill_at_the_third(case, status):
        seen.append((case, status))
        if len(seen) == 3:
            at_kill.update(stamps(folder))
            os.kill(victim, signal.SIGKILL)

    found = tally_cases(cases, scheduler=client, checkpoints=folder, progress=kill_at_the_third)
    assert equal(found, tally_cases(cases))
    assert len(at_kill) >= 3
    assert at_kill.items() <= stamps(folder).items()  # what was finished has not been made again
    assert sorted(case for case, _ in seen) == sorted(case.id for case in cases)
    assert victim not in pids(client)


def kill_once(marker):
    """A task that takes its worker with it the first time."""
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return "survived", "done"
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def kill_always(item):
    if item == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return item, "done"


def run_on(client, work, items, **options):
    options = {"first_error_ends": False} | options
    return each_on_cluster(client, work, items, [str(item) for item in items], label="test", **options)


@pytest.mark.slow
def test_work_whose_worker_dies_is_done_by_another(client, tmp_path):
    assert run_on(client, kill_once, [tmp_path / "marker"]) == ["survived"]


@pytest.mark.slow
def test_an_item_that_kills_every_worker_is_an_error_of_its_own(client):
    found = run_on(client, kill_always, ["a", "deadly", *map(str, range(8))], ahead=2)
    assert [item for item in found if isinstance(item, str)] == ["a", *map(str, range(8))]
    assert isinstance(found[1], RuntimeError)
    assert str(found[1]).startswith("'deadly': 2 workers died while they had it to do")


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def troubled(item):
    if item == 3:
        raise Unpicklable("this", "that")
    return item**2, "squared"


def slow_first_bad_fourth(item):
    if item == 0:
        time.sleep(0.5)
    return troubled(item)


@pytest.mark.slow
def test_items_that_are_no_longer_wanted_are_not_called_failed(client):
    seen = []
    with pytest.raises(RuntimeError, match="Unpicklable: this and that"):
        run_on(
            client,
            slow_first_bad_fourth,
            list(range(60)),
            first_error_ends=True,
            progress=lambda *told: seen.append(told),
        )
    assert [name for name, status in seen if status == "failed"] == ["3"]
    assert {"0", "1", "2"} <= {name for name, status in seen if status == "squared"}


def test_errors_that_cannot_travel_are_told_in_words(client):
    found = run_on(client, troubled, list(range(150)), ahead=20)  # more items than are sent at a time
    assert found[:3] + found[4:] == [i**2 for i in range(150) if i != 3]
    assert str(found[3]) == "Unpicklable: this and that"


def test_no_item_is_no_work(client):
    assert run_on(client, troubled, []) == []


def talking(item):
    warnings.warn(f"{item} is odd", UserWarning, stacklevel=1)
    logging.getLogger("mrcalib").info("%s read", item)
    return item, "done"


def test_what_workers_warn_of_and_log_is_repeated_here(client, caplog):
    with caplog.at_level(logging.INFO, "mrcalib"), pytest.warns(UserWarning, match="is odd") as caught:
        run_on(client, talking, ["this", "that"])
    assert sorted(str(w.message) for w in caught) == ["that is odd", "this is odd"]
    assert sorted(text for name, _, text in caplog.record_tuples if name == "mrcalib") == ["that read", "this read"]


def test_messages_are_recorded_for_each_thread(monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the hook is taken out again afterwards
    both_listen = threading.Barrier(2)

    def work(item):
        with recorded_messages() as messages:
            both_listen.wait(10)
            warnings.warn(f"{item} is odd", UserWarning, stacklevel=1)
            both_listen.wait(10)
        return [one.text for one in messages]

    with warnings.catch_warnings(), ThreadPoolExecutor(2) as pool:
        warnings.simplefilter("always")
        shown = warnings.showwarning = Mock()
        assert list(pool.map(work, ["this", "that"])) == [["this is odd"], ["that is odd"]]
        shown.assert_not_called()
        warnings.warn("nobody listens", UserWarning, stacklevel=1)
        shown.assert_called_once()


@pytest.mark.slow
def test_a_study_is_the_same(client):
    def case(seed):
        rng = np.random.default_rng(seed)
        probs = rng.random((10, 8, 6), dtype=np.float32)
        masks = list((rng.random((3, 10, 8, 6)) < probs**2).astype(np.uint8))
        return Case(f"case{seed}", probs, masks, spacing=(1.0, 1.0, 2.0))

    options = {"methods": ["none", "MHR"], "n_resamples": 50, "protocol": "curvas-pdacvi"}
    cases, others = [case(seed) for seed in range(4)], [case(seed) for seed in range(4, 6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here = mrcalib.compare(cases, test_cases=others, **options)
        there = mrcalib.compare(cases, test_cases=others, scheduler=client, **options)
    assert json.dumps(there.to_dict()) == json.dumps(here.to_dict())
    assert json.dumps(there.tallied.to_dict()) == json.dumps(here.tallied.to_dict())


def test_a_study_of_tallies_starts_no_cluster(monkeypatch):
    cohort = tally_cases([in_memory(seed) for seed in range(3)])
    monkeypatch.setattr("distributed.LocalCluster", lambda *_, **__: pytest.fail("a cluster was started"))
    study = mrcalib.compare(cohort, ["none"], n_resamples=5, scheduler="dask")
    assert json.dumps(study.to_dict()) == json.dumps(mrcalib.compare(cohort, ["none"], n_resamples=5).to_dict())


COMPARE = ["--methods", "none", "MHR", "--resamples", "50", "--no-figures", "--quiet"]


def compared(folder):
    kept = {path.name: path.read_text() for path in sorted(folder.glob("*.csv"))}
    return kept | {"study.json": (folder / "study.json").read_text()}


@pytest.mark.slow
def test_the_command_line_gives_the_same_files_by_address(client, tmp_path, capsys):
    write_manifest(on_disk(tmp_path / "data", 4), tmp_path / "cases.csv")
    words = ["compare", "--manifest", str(tmp_path / "cases.csv"), *COMPARE]
    assert main([*words, "--out", str(tmp_path / "here")]) == 0
    address = client.scheduler.address
    there = ["--scheduler", "dask", "--dask-address", address, "--out", str(tmp_path / "there")]
    assert main([*words, *there]) == 0
    assert compared(tmp_path / "there") == compared(tmp_path / "here")
    assert len(list((tmp_path / "there" / "tallies").glob("*.npz"))) == 4
    fit = ["fit", "--manifest", str(tmp_path / "cases.csv"), "--method", "MHR", "--quiet"]
    assert main([*fit, "-o", str(tmp_path / "here.json")]) == 0
    assert main([*fit, *there[:4], "-o", str(tmp_path / "there.json")]) == 0
    assert mrcalib.load(tmp_path / "here.json").map_ == mrcalib.load(tmp_path / "there.json").map_
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_the_command_line_starts_processes_of_its_own(tmp_path):
    write_manifest(on_disk(tmp_path / "data", 3), tmp_path / "cases.csv")
    (tmp_path / "data" / "case1" / "probs.npy").write_bytes(b"broken")
    words = ["compare", "--manifest", "cases.csv", "--out", "out", "--scheduler", "dask", "--jobs", "2", *COMPARE]
    done = subprocess.run(
        [sys.executable, "-m", "mrcalib", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "1 of 3 cases could not be used" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out" / "tallies").iterdir()) == ["case0.npz", "case2.npz"]
    assert "Traceback" not in done.stderr


def test_options_that_do_not_go_together_are_refused(tmp_path, capsys):
    words = ["compare", "--manifest", "cases.csv", "--dask-address", "tcp://127.0.0.1:1"]
    assert main(words) == 2
    assert "--dask-address goes with --scheduler dask" in capsys.readouterr().err
    with pytest.raises(
        ValueError, match=r"dask_address='tcp://x:1' goes with scheduler='dask'; got scheduler='threads'"
    ):
        tally_cases([in_memory(0)], dask_address="tcp://x:1")
    with pytest.raises(ValueError, match="scheduler must be one of 'threads', 'dask'; got 'ray'"):
        tally_cases([in_memory(0)], scheduler="ray")
    with pytest.raises(
        TypeError, match=r"scheduler must be 'threads', 'dask' or a synchronous distributed\.Client; got 3"
    ):
        tally_cases([in_memory(0)], scheduler=3)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://here"])
def test_an_address_where_nobody_answers_says_what_to_do(monkeypatch, address):
    monkeypatch.setattr(cluster, "CONNECT_S", "0.2s")
    with pytest.raises(ConnectionError, match=f"No Dask scheduler answers at dask_address='{address}'.*dask scheduler"):
        tally_cases([in_memory(0)], scheduler="dask", dask_address=address)


def test_without_dask_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"needs Dask, which is not installed: pip install 'mrcalib\[dask\]'"):
        tally_cases([in_memory(0)], scheduler="dask")
    with pytest.raises(ImportError, match=r"tally_blocks needs Dask.*pip install 'mrcalib\[dask\]'"):
        tally_blocks(None, None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [("0.0.1", "has mrcalib 0.0.1, and this process"), (ModuleNotFoundError("no"), "cannot import mrcalib")],
)
def test_workers_that_would_compute_otherwise_are_refused(answer, words):
    stand_in = SimpleNamespace(run=lambda *_, **__: {"tcp://w:1": answer})
    with pytest.raises(RuntimeError, match=f"Worker tcp://w:1 {words}"):
        cluster._check_workers(stand_in)


def stored(folder, name, array, chunks):
    zarr = pytest.importorskip("zarr", reason="Zarr is not installed")
    kept = zarr.create_array(Path(folder) / f"{name}.zarr", shape=array.shape, chunks=chunks, dtype=array.dtype)
    kept[...] = array
    return kept


@pytest.fixture
def image(rng):
    shape = (23, 17, 11)
    probs = rng.random(shape, dtype=np.float32)
    probs[probs < 0.3] = 0
    return probs, (rng.random((3, *shape)) < probs).astype(np.uint8), rng.integers(0, 2, shape).astype(bool)


@pytest.mark.slow
def test_blocks_of_a_zarr_store_are_the_whole_on_a_cluster(client, tmp_path, image):
    probs, masks, roi = image
    p = stored(tmp_path, "p", probs, (8, 8, 8))
    votes = stored(tmp_path, "m", masks, (1, 5, 17, 4))
    inside = stored(tmp_path, "roi", roi, (23, 17, 11))
    found = tally_blocks(p, votes, roi=inside, block_voxels=600, split_every=3, scheduler=client)
    assert found == tally(probs, masks, roi=roi)
    listed = [stored(tmp_path, "m0", masks[0], (23, 2, 11)), None, da.from_array(masks[2], chunks=(9, 9, 9))]
    found = tally_blocks(p, listed, block_voxels=600, scheduler=client, rater_names="abc")
    assert found == tally(probs, [masks[0], None, masks[2]], rater_names="abc")


def kill_once_here(block, marker):
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return block
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_blocks_survive_a_worker_that_dies(client, tmp_path, image):
    probs, masks, _ = image
    computed = da.from_array(probs, chunks=(6, 17, 11)).map_blocks(
        kill_once_here, marker=tmp_path / "marker", dtype=probs.dtype, meta=probs[:0]
    )
    assert tally_blocks(computed, da.from_array(masks), scheduler=client) == tally(probs, masks)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("kind", ["zarr", "dask"])
def test_a_stack_of_raters_first_or_last(tmp_path, image, axis, kind):
    probs, masks, _ = image
    stack = np.moveaxis(masks, 0, axis)
    chunks = (2, 9, 9, 9) if axis == 0 else (9, 9, 9, 2)
    votes = stored(tmp_path, "m", stack, chunks) if kind == "zarr" else da.from_array(stack, chunks=chunks)
    p = stored(tmp_path, "p", probs, (8, 8, 8))
    assert tally_blocks(p, votes, block_voxels=1000) == tally(probs, masks)


@pytest.mark.slow
@settings(max_examples=25)
@given(
    chunks=st.tuples(*(st.integers(1, 9) for _ in range(2))),
    other=st.tuples(*(st.integers(1, 9) for _ in range(2))),
    split_every=st.integers(2, 5),
    seed=st.integers(0, 99),
    invalid=st.booleans(),
)
def test_the_way_an_image_is_cut_changes_nothing(chunks, other, split_every, seed, invalid):
    rng = np.random.default_rng(seed)
    probs = rng.random((9, 7))
    if invalid:
        probs[rng.random((9, 7)) < 0.1] = np.nan
    masks = rng.integers(0, 2, (3, 9, 7)).astype(float)
    masks[rng.random((3, 9, 7)) < 0.1] = np.nan  # not annotated
    roi, strata = rng.random((9, 7)) < 0.8, rng.integers(0, 3, (9, 7))
    cut = [da.from_array(array, chunks=other) for array in (*masks, roi, strata)]
    found = tally_blocks(
        da.from_array(probs, chunks=chunks),
        cut[:3],
        roi=cut[3],
        strata=cut[4],
        strata_names="abc",
        invalid="drop",
        split_every=split_every,
    )
    assert found == tally(probs, list(masks), roi=roi, strata=strata, strata_names="abc", invalid="drop")


def test_labels_single_masks_and_empty_images(image):
    probs, masks, _ = image
    p = da.from_array(probs, chunks=(9, 9, 9))
    assert tally_blocks(p, da.from_array(masks * 255), positive=255) == tally(probs, masks, positive=[255]) or (
        tally_blocks(p, da.from_array(masks * 255), positive=255) == tally(probs, masks * 255, positive=255)
    )
    assert tally_blocks(p, da.from_array(masks[0])) == tally(probs, masks[0])
    none = da.zeros((0, 4), dtype=np.float32)
    assert tally_blocks(none, da.zeros((2, 0, 4), dtype=np.uint8)) == tally(np.zeros((0, 4)), np.zeros((2, 0, 4)))


def test_an_error_in_a_block_says_where(image):
    probs, masks, _ = image
    probs[20, 3, 4] = 1.5
    p, votes = da.from_array(probs, chunks=(10, 17, 11)), da.from_array(masks)
    with pytest.raises(
        ValueError, match=r"probs must lie in \[0, 1\] \(case 'CT7, block \[20:23, 0:17, 0:11\]'\): 1 of"
    ):
        tally_blocks(p, votes, case="CT7")
    with pytest.raises(ValueError, match=r"Masks of raters must hold 0 and 1 only.*case 'image, block"):
        tally_blocks(p, votes * 2, invalid="drop")


def test_what_cannot_be_right_is_refused_before_anything_is_read(image):
    probs, masks, roi = image
    p, votes = da.from_array(probs, chunks=9), da.from_array(masks, chunks=9)
    with pytest.raises(TypeError, match=r"probs must be a Dask or Zarr array.*got ndarray.*mrcalib\.tally"):
        tally_blocks(probs, votes)
    with pytest.raises(TypeError, match="the mask of rater 1 must be a Dask or Zarr array"):
        tally_blocks(p, [votes[0], masks[1]])
    with pytest.raises(TypeError, match="probs must be floating-point"):
        tally_blocks(votes[0], votes)
    with pytest.raises(ValueError, match=r"Each mask must have the shape of probs, \(23, 17, 11\); rater 0"):
        tally_blocks(p, [votes[0][:5]])
    with pytest.raises(ValueError, match=r"At least one rater must have annotated of case 'A'; all 2 are missing"):
        tally_blocks(p, [None, None], case="A")
    with pytest.raises(ValueError, match=r"raters must be one mask of the shape of probs.*got \(3, 5, 17, 11\)"):
        tally_blocks(p, votes[:, :5])
    with pytest.raises(ValueError, match="pass rater_axis=0 or rater_axis=-1"):
        tally_blocks(p[:4, :4, 0], da.ones((4, 4, 4), dtype=np.uint8))
    with pytest.raises(ValueError, match="roi must have the shape of probs"):
        tally_blocks(p, votes, roi=da.from_array(roi[1:]))
    with pytest.raises(ValueError, match="strata_names must name all strata"):
        tally_blocks(p, votes, strata=da.from_array(roi.astype(int)))
    with pytest.raises(ValueError, match="rater_names must be 3 different names"):
        tally_blocks(p, votes, rater_names=["a", "b"])
    with pytest.raises(ValueError, match="chunks of unknown size"):
        tally_blocks(p.ravel()[p.ravel() > 0.5], votes)
    with pytest.raises(ValueError, match="split_every at least 2"):
        tally_blocks(p, votes, split_every=1)


@pytest.mark.parametrize(
    ("stored_as", "block_voxels", "cut"),
    [
        ((4, 4, 4), 8 * 4**3, ((4,) * 5 + (3,), (8, 8, 1), (11,))),
        ((4, 4, 4), 1, ((4,) * 5 + (3,), (4, 4, 4, 4, 1), (4, 4, 3))),  # a chunk is never read twice
        ((23, 17, 1), 10**6, ((23,), (17,), (11,))),
        (None, 100, ((1,) * 23, (9, 8), (11,))),
    ],
)
def test_a_stored_image_is_cut_by_whole_chunks(stored_as, block_voxels, cut):
    image = SimpleNamespace(shape=(23, 17, 11), chunks=stored_as)
    assert _chunks(image, block_voxels) == cut


@pytest.mark.parametrize("shards", [None, (12, 12, 12)])
def test_shards_are_read_whole(tmp_path, image, shards):
    zarr = pytest.importorskip("zarr", reason="Zarr is not installed")
    probs, masks, _ = image
    kept = zarr.create_array(tmp_path / "p.zarr", shape=probs.shape, chunks=(4, 4, 4), shards=shards, dtype="f4")
    kept[...] = probs
    assert _chunks(kept, 1)[0][0] == (4 if shards is None else 12)
    votes = stored(tmp_path, "m", masks, (1, 23, 17, 11))
    assert tally_blocks(kept, votes, block_voxels=1) == tally(probs, masks)
