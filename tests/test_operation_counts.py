"""Speed that a test can hold without a clock.

How many lines of kernels run for each voxel, what memory the work takes, which vector instructions the kernels are made of, how
often files are opened, and that what follows the tallies never looks at voxels again. None of it depends on the machine but
the instructions, which are looked for where there is AVX2.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pytest
from count_lines import FEW, MANY

import mrcalib
from mrcalib.metrics import Metric, get_metric

# Lines of kernels: a coherent voxel, a shuffled voxel, and whatever the number of voxels; a tenth more is allowed. They are
# what `NUMBA_DISABLE_JIT=1 python tests/count_lines.py` prints: lower them when a kernel gets better.
LINES = {
    "tally": (16.4, 28.1, 1_103_000),
    "transform": (7.3, 18.8, 1_000),
    "exact": (25.9, 51.4, 1_263_000),
    "equal-mass": (27.0, 51.3, 1_250_000),
}
VECTORS = {  # instructions on 8 floats or 32 bytes at a time, at the least
    "tallying.count_voxels": {"vsubps", "vminps", "vpaddb"},
    "interpolation.interpolate_single": {"vsubps", "vminps", "vpsrld"},
    "second_pass.find_voxels": {"vsubps", "vminps"},
    "second_pass.add_votes": {"vpaddb"},
}
WIDENING = "vpmovzxbq"  # bytes that Numba's rules of integer types have made 64-bit numbers: an eighth of the width
SLACK = 1 << 17  # bytes of Python's own objects

uncompiled = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


def voxels(n, seed=0):
    """The first 4096 voxels over and over: more voxels occupy no further bin."""
    rng = np.random.default_rng(seed)
    probs = (rng.random(4096, dtype=np.float32) ** 6).astype(np.float32)
    probs[rng.random(4096) < 0.5] = 0
    masks = (rng.random((5, 4096)) < probs).astype(np.uint8)
    return np.tile(probs, n // 4096), np.ascontiguousarray(np.tile(masks, n // 4096))


@pytest.fixture
def one_processor():
    """Threads are as many as there are processors, and each has its own tables."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("processors cannot be taken away here")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def output_of(script, **environment):
    """What a script of this folder prints in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name(script))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def lines():
    """Lines of each piece of work at some voxels and at twice as many, from a process that compiles nothing."""
    return json.loads(output_of("count_lines.py", NUMBA_DISABLE_JIT="1"))


@pytest.mark.slow
@pytest.mark.parametrize("work", LINES)
def test_kernels_run_no_more_lines_than_they_did(lines, work):
    coherent, shuffled, fixed = LINES[work]
    few, many = lines[work]["coherent"]
    assert many > few > 0
    assert (many - few) / (MANY - FEW) <= 1.1 * coherent
    assert few - (many - few) * FEW / (MANY - FEW) <= 1.1 * fixed
    few, many = lines[work]["shuffled"]
    assert (many - few) / (MANY - FEW) <= 1.1 * shuffled


@pytest.fixture(scope="module")
def instructions():
    """The vector instructions of each kernel, from a process that takes no compiled kernel from disk."""
    llvm = pytest.importorskip("llvmlite.binding")
    if not llvm.get_host_cpu_features().get("avx2"):
        pytest.skip("the processor has no AVX2")
    return json.loads(output_of("kernel_code.py", MRCALIB_CACHE_DIR=""))


@pytest.mark.slow
@pytest.mark.skipif(uncompiled, reason="kernels are not compiled here (NUMBA_DISABLE_JIT)")
@pytest.mark.skipif(
    tuple(map(int, numba.__version__.split(".")[:2])) < (0, 68),
    reason="written for the compiler of Numba 0.68; that of 0.60 makes no vector instructions of packing votes",
)
@pytest.mark.parametrize("kernel", VECTORS)
def test_hot_kernels_are_made_of_vector_instructions(instructions, kernel):
    assert VECTORS[kernel] <= set(instructions[kernel])
    assert WIDENING not in instructions[kernel]


def peak_of(work, n):
    """Peak of what Python and NumPy allocate while ``work`` runs on so many voxels."""
    probs, masks = voxels(n)
    work(probs, masks)
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        result = work(probs, masks)
        peak = tracemalloc.get_traced_memory()[1] - before
        del result
        return peak
    finally:
        tracemalloc.stop()


IN_CONSTANT_MEMORY = {
    "tally": mrcalib.tally,
    "grid": lambda p, m: mrcalib.MHRIsotonicCalibrator().fit(p, m),
    "temperature": lambda p, m: mrcalib.TemperatureScalingCalibrator().fit(p, m),
    "mean rater ECE": mrcalib.metrics.mean_rater_ece,
    "MR-ECE": mrcalib.metrics.multirater_ece,
}


@pytest.mark.skipif(uncompiled, reason="kernels are not compiled here (NUMBA_DISABLE_JIT)")
@pytest.mark.usefixtures("one_processor")
@pytest.mark.parametrize("work", IN_CONSTANT_MEMORY)
def test_memory_does_not_grow_with_voxels(work):
    few, many = (peak_of(IN_CONSTANT_MEMORY[work], n) for n in (1 << 19, 1 << 20))
    assert many <= few + SLACK


@pytest.mark.skipif(uncompiled, reason="kernels are not compiled here (NUMBA_DISABLE_JIT)")
@pytest.mark.usefixtures("one_processor")
@pytest.mark.parametrize(("binning", "bytes_a_voxel"), [("exact", 4), ("equal-mass", 4)])
def test_a_second_pass_takes_no_more_than_four_bytes_a_voxel(binning, bytes_a_voxel):
    few, many = (peak_of(lambda p, m: mrcalib.MHRIsotonicCalibrator(binning).fit(p, m), n) for n in (1 << 19, 1 << 20))
    assert many - few <= bytes_a_voxel * (1 << 19) + SLACK


@pytest.mark.skipif(uncompiled, reason="kernels are not compiled here (NUMBA_DISABLE_JIT)")
@pytest.mark.usefixtures("one_processor")
def test_transform_allocates_its_result_and_nothing_that_grows():
    calibrator = mrcalib.MHRIsotonicCalibrator().fit(*voxels(1 << 17))
    few, many = (peak_of(lambda p, _: calibrator.transform(p), n) - 4 * n for n in (1 << 19, 1 << 20))
    assert many <= few + SLACK


def cohort(n, n_cases=6):
    return mrcalib.Cohort([mrcalib.tally(*voxels(n, seed)) for seed in range(n_cases)])


def counted_metric():
    """A metric that keeps how many rows it was computed from, each time."""
    brier = get_metric("brier")
    seen = []

    class Counted(Metric):
        name = "counted"
        label = "counted"

        def sums(self, responses):
            seen.append(responses.n_rows)
            return brier.sums(responses)

        def value(self, sums):
            return brier.value(sums)

    return Counted(), seen


@pytest.mark.filterwarnings("ignore::mrcalib.SaturationWarning")
def test_sums_of_a_metric_are_made_once_for_each_method_and_case():
    cases, metrics = cohort(4096), [counted_metric() for _ in range(2)]
    for (metric, _), n_resamples in zip(metrics, (10, 1000), strict=True):
        study = mrcalib.compare(cases, ["none", "MHR", "temperature"], [metric], n_resamples=n_resamples)
        study.intervals("pooled")
        study.differences(kind="pooled")
    few, many = (len(seen) for _, seen in metrics)
    assert 0 < few == many <= 3 * len(cases) + 1


@pytest.mark.filterwarnings("ignore::mrcalib.SaturationWarning")
def test_what_follows_the_tallies_costs_the_same_for_any_number_of_voxels():
    peaks, rows = [], []
    for n in (4096, 1 << 18):
        cases, (metric, seen) = cohort(n), counted_metric()

        def work(cases=cases, metric=metric):
            return mrcalib.compare(cases, ["none", "MHR"], [metric], n_resamples=100).intervals("pooled")

        work()
        tracemalloc.start()
        work()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        rows.append(seen)
    assert rows[0] == rows[1]
    assert peaks[1] <= peaks[0] + SLACK


class Opened:
    """Which files under a folder are opened, by whatever function of Python; the hook stays, and sleeps outside `watch`."""

    def __init__(self):
        self.folder = None
        self.names = []
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if self.folder is not None and event == "open" and isinstance(arguments[0], str | os.PathLike):
            path = Path(os.fspath(arguments[0]))
            if path.parent == self.folder:
                self.names.append(path.name)

    @contextmanager
    def watch(self, folder):
        """The list of names, which grows until the end of the block."""
        self.folder, self.names = folder, []
        try:
            yield self.names
        finally:
            self.folder = None


@pytest.fixture(scope="module")
def opened():
    return Opened()


@pytest.fixture(scope="module")
def cases_on_disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    found = []
    for i in range(4):
        probs, masks = voxels(1 << 15, seed=i)
        np.save(folder / f"{i}-probs.npy", probs.reshape(32, 32, 32))
        for r, mask in enumerate(masks):
            np.save(folder / f"{i}-{r}.npy", mask.reshape(32, 32, 32))
        found.append(
            mrcalib.Case(
                str(i), folder / f"{i}-probs.npy", {str(r): folder / f"{i}-{r}.npy" for r in range(len(masks))}
            )
        )
    return folder, found


def times(names):
    return {name: names.count(name) for name in names}


@pytest.mark.filterwarnings("ignore::mrcalib.SaturationWarning")
def test_comparing_reads_each_file_once_and_a_second_time_for_bins_of_equal_mass(opened, cases_on_disk):
    folder, cases = cases_on_disk
    seen = []
    on_tallies = ["none", "MHR", "MHR-equal", "case-adaptive", "temperature", "histogram"]
    for methods, n_resamples in ((["none"], 10), (on_tallies, 500), (None, 500), (["TwinTrack", "hard-label-250"], 10)):
        with opened.watch(folder) as names:
            mrcalib.compare(cases, methods, n_resamples=n_resamples).intervals()
        seen.append(times(names))
    assert len(seen[0]) == 6 * len(cases)
    assert [set(each.values()) for each in seen] == [{1}, {1}, {2}, {2}]


def test_tallies_on_disk_spare_reading_again(opened, cases_on_disk, tmp_path):
    folder, cases = cases_on_disk
    first = mrcalib.tally_cases(cases, checkpoints=tmp_path)
    with opened.watch(folder) as names:
        again = mrcalib.tally_cases(cases, checkpoints=tmp_path)
    assert again.tallies == first.tallies
    assert max(times(names).values(), default=0) <= 1  # for the fingerprint of the inputs


@pytest.fixture(scope="module")
def cases_of_classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    found = []
    for i in range(3):
        probs = rng.dirichlet([3, 1, 1, 1], (9, 8, 7)).astype(np.float32)
        np.save(folder / f"{i}-p.npy", np.moveaxis(probs, -1, 0))
        labels = (rng.random((2, 9, 8, 7))[..., None] > probs.cumsum(-1)).sum(-1).clip(max=3).astype(np.uint8)
        for r, mask in enumerate(labels):
            np.save(folder / f"{i}-{r}.npy", mask)
        found.append(mrcalib.Case(str(i), folder / f"{i}-p.npy", {str(r): folder / f"{i}-{r}.npy" for r in range(2)}))
    return folder, found


CLASSES = tuple(mrcalib.io.ImageClass(name, label) for label, name in enumerate("abc", start=1))


def test_all_classes_are_tallied_from_one_reading_of_each_file(opened, cases_of_classes, tmp_path):
    folder, cases = cases_of_classes
    options = mrcalib.io.LoadOptions(channel_axis=0, check_agreement=False)
    for checkpoints in (None, tmp_path / "tallies"):
        with opened.watch(folder) as names:
            mrcalib.tally_cases(cases, options=options, classes=CLASSES, checkpoints=checkpoints)
        assert times(names) == {path.name: 1 for path in folder.iterdir()}


def test_loading_all_classes_reads_each_file_once(opened, cases_of_classes):
    folder, cases = cases_of_classes
    options = mrcalib.io.LoadOptions(channel_axis=0, check_agreement=False)
    with opened.watch(folder) as names:
        for case in cases:
            mrcalib.io.load_classes(case, CLASSES, options)
    assert times(names) == {path.name: 1 for path in folder.iterdir()}
