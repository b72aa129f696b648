"""The model: lines through what was measured, checked at sizes that they have not seen; and the page that tells it."""
# ruff: noqa: E501  # the page is a template

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

CT = 512 * 512 * 300
CASES = 10_000
IMAGE = 10**12
BLOCK = 1 << 24
RATERS = 5
RESAMPLES = 5000
Kept = dict[str, Any]
Row = dict[str, Any]


class Line:
    """y = constant + slope * x, or in doublings of x, by least squares of relative errors."""

    def __init__(
        self, rows: Sequence[Row], x: str, y: str | Callable[[Row], float], *, doublings: bool = False
    ) -> None:
        value = y if callable(y) else lambda row: row[y]
        xs, ys = np.array([row[x] for row in rows], float), np.array([value(row) for row in rows], float)
        self.doublings = doublings
        self.slope, self.constant = (float(v) for v in np.polyfit(np.log2(xs) if doublings else xs, ys, 1, w=1 / ys))

    def __call__(self, x: float) -> float:
        return self.constant + self.slope * (float(np.log2(x)) if self.doublings else x)


class Parabola:
    """y = constant + slope * x + curve * x**2, none of them negative."""

    def __init__(self, rows: Sequence[Row], x: str, y: str) -> None:
        from scipy.optimize import nnls

        xs, ys = np.array([row[x] for row in rows], float), np.array([row[y] for row in rows], float)
        terms = np.stack([np.ones_like(xs), xs, xs**2], axis=1) / ys[:, np.newaxis]
        self.constant, self.slope, self.curve = (float(v) for v in nnls(terms, np.ones_like(ys))[0])

    def __call__(self, x: float) -> float:
        return self.constant + self.slope * x + self.curve * x**2


STAGES = ("hash", "read and check", "count")


def page(kept: Kept) -> str:
    """README.md."""
    stages = kept["stages"]["rows"]
    seen, unseen = stages[:-1], stages[-1]
    lines = {name: Line(seen, "voxels", name) for name in STAGES}
    whole = Line(seen, "voxels", _all_stages)
    stored = Line(seen, "voxels", "bytes")
    tasks = kept["cluster"]["tasks"]
    empty = Line([row for row in tasks if not row["bytes"]][:-1], "tasks", "seconds")
    full = Line([row for row in tasks if row["bytes"]][:-1], "tasks", "seconds")
    by_voxels = kept["sizes"]["voxels"]
    size = {what: Line(by_voxels[:-2], "voxels", what, doublings=True) for what in ("cells", "memory", "wire", "disk")}
    blocks = kept["blocks"]["rows"]
    alone = [row for row in blocks if row["where"] == "one thread"]
    graphs = kept["blocks"]["graphs"]
    a_block = Line(graphs[:-1], "blocks", "seconds")
    image = alone[0]["block"] * alone[0]["blocks"]
    in_blocks = Line(alone[:-1], "blocks", "seconds")
    per_voxel = in_blocks.constant / image
    algebra = kept["algebra"]["rows"]
    law: dict[str, Any] = {
        name: Line(algebra[:-1], "cases", name) for name in ("cohort", "fit", "compare 5", "resample")
    }
    law["each out"] = Parabola(algebra[:-1], "cases", "compare leave-one-group-out")
    merge = kept["merging"]["rows"]
    a_cell = float(np.median([row["seconds"] / row["cells"] for row in merge]))
    most_cells = 32 * int(by_voxels[0]["bins"])

    runs = kept["cluster"]["cases"]
    reads = _unhashed(lines)
    company = float(np.mean([row["seconds"] / _predicted_run(row, reads, empty) for row in runs[:-1]]))
    case_s, case_bytes = whole(CT), stored(CT)
    cells = min(size["cells"](CT), most_cells)
    block_cells = min(size["cells"](BLOCK), most_cells)
    n_blocks = -(-IMAGE // BLOCK)
    blocks_s = IMAGE * per_voxel + n_blocks * in_blocks.slope
    stack = 3 * RATERS * int(by_voxels[0]["bins"]) * 8 * CASES

    checks = [
        ("one case, one thread (s)", f"{unseen['voxels']:,} voxels", whole(unseen["voxels"]), _all_stages(unseen)),
        ("bytes of its files", f"{unseen['voxels']:,} voxels", stored(unseen["voxels"]), unseen["bytes"]),
        *(
            (
                "cells of a tally",
                f"{row['voxels']:,} voxels",
                size["cells"](row["voxels"]),
                row["cells"],
            )
            for row in by_voxels[-2:]
        ),
        *(
            (
                "run of cases, two processes (s)",
                f"{row['cases']} of {row['voxels']:,} voxels",
                company * _predicted_run(row, reads, empty),
                row["seconds"],
            )
            for row in runs[-1:]
        ),
        (
            "image in blocks, one thread (s)",
            f"{alone[-1]['blocks']} blocks",
            in_blocks(alone[-1]["blocks"]),
            alone[-1]["seconds"],
        ),
        *(
            (
                "image in blocks, two processes (s)",
                f"{row['blocks']} blocks",
                company * in_blocks(row["blocks"]) / 2,
                row["seconds"],
            )
            for row in blocks
            if row["where"] == "cluster"
        ),
        ("empty tasks (s)", "2000", empty(2000), _last(tasks, 0)),
        ("tasks with 0.4 MB results (s)", "2000", full(2000), _last(tasks, 1)),
        (
            "graph of blocks that count nothing (s)",
            f"{graphs[-1]['blocks']} blocks",
            a_block(graphs[-1]["blocks"]),
            graphs[-1]["seconds"],
        ),
        *(
            (f"{label} (s)", f"{algebra[-1]['cases']} cases", law[short](algebra[-1]["cases"]), algebra[-1][name])
            for short, name, label in (
                ("fit", "fit", "fit of MHR"),
                ("each out", "compare leave-one-group-out", "compare, each case left out"),
                ("compare 5", "compare 5", "compare, five folds"),
                ("resample", "resample", "5000 resamples of all pooled metrics"),
            )
        ),
    ]
    about = kept["stages"]["about"]
    commits = sorted({part["about"]["commit"] for part in kept.values()})
    busy = case_s / full.slope
    return f"""# What 10^4 CT scans and 10^12 voxels cost

Written by `python benchmarks/scale/run.py` from results.json; do not edit. A model of straight lines (cost = constant + slope x size)
fitted to what one small machine measures, checked at sizes that no fit has seen, and then taken to sizes that nobody here has
run: **everything under "10^4 CT scans" and "10^12 voxels" is extrapolated.** A scan is {CT / stages[-1]["voxels"]:.1f} times the largest case measured, 10^4
of them {CASES / algebra[-1]["cases"]:.0f} times the largest cohort, and two processes on one machine stand for a cluster: its network and its disks are not in the
model, only the bytes that they must carry.

Machine: {about["machine"]}; Python {about["python"]}, NumPy {about["numpy"]}, Numba {about["numba"]}, nibabel {about["nibabel"]},
Dask {about["dask"]}, Zarr {about["zarr"]}; commit {", ".join(commits)}. Data: the synthetic volumes of benchmarks/speed (coherent, 60 % exact
zeros, five raters), as .nii.gz at nibabel's level 1 and as Zarr at its default; page cache warm. Real probability maps are noisier,
so their files are larger, and reading them slower, than these.

## Measured

Of one case of five raters in compressed NIfTI, one thread (fit to {seen[0]["voxels"]:,} to {seen[-1]["voxels"]:,} voxels):

| stage | ns a voxel | ms a case besides |
|---|---|---|
{_table((name, f"{line.slope * 1e9:.2f}", f"{line.constant * 1e3:.1f}") for name, line in lines.items())}
| all | {whole.slope * 1e9:.2f} | {whole.constant * 1e3:.1f} |

"hash" is paid only where checkpoints are kept. The files hold {stored.slope:.2f} bytes a voxel.

Tallies on the standard grid, five raters: {size["cells"].slope:,.0f} cells more with each doubling of the voxels, and never more than {most_cells:,}
(32 patterns in every bin), which is {most_cells * 48 / 1e6:.1f} MB. Maps whose values vary more fill more of them.

| voxels | cells | memory, kB | sent, kB | on disk, kB |
|---|---|---|---|---|
{_table(_sizes_of(row, f"{row['voxels']:,}") for row in by_voxels)}

| raters, of {kept["sizes"]["raters"][0]["voxels"]:,} voxels | cells | memory, kB | sent, kB | on disk, kB |
|---|---|---|---|---|
{_table(_sizes_of(row, row["raters"]) for row in kept["sizes"]["raters"])}

| bins, of {kept["sizes"]["bins"][0]["voxels"]:,} voxels | cells | memory, kB | sent, kB | on disk, kB |
|---|---|---|---|---|
{_table(_sizes_of(row, f"{row['bins']:,}") for row in kept["sizes"]["bins"])}

| cost of | |
|---|---|
| a task for a case, that does nothing | {empty.slope * 1e3:.2f} ms of the client and the scheduler |
| the same with a result of 0.4 MB | {full.slope * 1e3:.2f} ms |
| a block's task in the graph, with its share of merges | {a_block.slope * 1e3:.2f} ms of the client and the scheduler |
| a block, besides its voxels | {kept["blocks"]["smallest"] * 1e3:.2f} ms of its worker |
| merging, a cell | {a_cell * 1e9:.0f} ns |
| reading a Zarr image and counting, one thread | {per_voxel * 1e9:.2f} ns a voxel and {in_blocks.slope * 1e3:.0f} ms a block |

One Zarr image of {image:,} voxels, in blocks:

| voxels a block | blocks | one thread, s | two processes, s |
|---|---|---|---|
{_table(_blocks_of(blocks))}

Algebra after the pass, one thread, cases of {4 * 781250:,} voxels, methods none and MHR, all default metrics:

| cases | cohort, s | fit, s | compare, each case left out, s | compare, five folds, s | 5000 resamples, s |
|---|---|---|---|---|---|
{_table(_algebra_of(row) for row in algebra)}

## Predicted against measured, where no fit has looked

| what | where | predicted | measured | off by |
|---|---|---|---|---|
{_table(_checked(*check) for check in checks)}

Two processes side by side do not halve what one thread needs alone: cases took {company:.2f} times as long as (one thread's seconds
/ 2 + a task) a case, the mean of {len(runs) - 1} runs ({", ".join(f"{row['cases']} of {row['voxels']:,} voxels" for row in runs[:-1])}). The rows of two processes above, and "in
company" below, carry this factor. It is that of this machine's two processors, and may be kinder elsewhere.

## 10^4 CT scans of 512 x 512 x 300 voxels, five raters (extrapolated)

| | |
|---|---|
| one scan | {case_s:.1f} core-seconds alone, {company * case_s:.1f} in company; {case_bytes / 1e6:.0f} MB of files |
| all scans | {CASES * case_s / 3600:.1f} core-hours alone, {CASES * company * case_s / 3600:.1f} in company; {CASES * case_bytes / 1e12:.2f} TB read once ({CASES * CT * 9 / 1e12:.1f} TB uncompressed) |
| tallies sent to the client | {CASES * size["wire"](CT) / 1e9:.1f} GB; kept on disk {CASES * size["disk"](CT) / 1e9:.1f} GB |
| tallies in the client's memory | {CASES * cells * 48 / 1e9:.1f} GB ({cells:,.0f} cells of 48 bytes each); never more than {CASES * most_cells * 48 / 1e9:.0f} GB |
| sums by case, dense, for a comparison, or a fit with weights of cases | {stack / 1e9:.1f} GB |
| weights of {RESAMPLES} resamples | {RESAMPLES * CASES * 8 / 1e9:.1f} GB |
| client and scheduler | {CASES * full.slope / 60:.1f} minutes in all, beside the workers |
| fit of MHR | {law["fit"](CASES):.0f} s |
| compare two methods, five folds | {law["compare 5"](CASES) / 60:.0f} minutes |
| compare two methods, each case left out | {law["each out"](CASES) / 3600:.1f} hours |

What breaks first, in this order:

1. **The files' server.** A core alone takes in {case_bytes / case_s / 1e6:.0f} MB/s of compressed files: {1e9 / (case_bytes / case_s):.0f} cores ask for 1 GB/s.
2. **The client's memory**, at the tallies and the dense sums above: a machine of 16 GB holds about {16e9 / (cells * 48 + stack / CASES):,.0f} scans.
   Fewer bins (`ProbabilityGrid`) or raters shrink both; the tallies on disk are
   {cells * 48 / size["disk"](CT):.0f} times smaller, so a cohort that reads them as it needs them would move this limit first.
3. **Leaving out each case**: every fold weighs every case, so its products grow with the square of the cases. Five folds (`cv=5`) do not.
4. **The client as the only one who hears of finished cases**: {1 / full.slope:.0f} a second, which keeps up with {busy:,.0f} cores on such scans, and with few on small pictures.
   The scheduler never holds more than max(100, 4 x threads) tasks of a run, whatever the number of cases.

## 10^12 voxels in one Zarr image, five raters (extrapolated)

| | |
|---|---|
| blocks of at most 2^24 voxels | {n_blocks:,}; {BLOCK * (4 + RATERS) / 1e6:.0f} MB of arrays in a worker for each |
| reading and counting | {blocks_s / 3600:.1f} core-hours alone, {company * blocks_s / 3600:.1f} in company; {IMAGE * 9 / 1e12:.0f} TB uncompressed |
| tallies between workers | at most {n_blocks * 16 / 15 * size["wire"](BLOCK) / 1e9:.0f} GB, {block_cells:,.0f} cells a block |
| merging | {n_blocks * 16 / 15 * block_cells * a_cell / 3600:.2f} core-hours |
| client and scheduler | {n_blocks * a_block.slope / 60:.0f} minutes; the graph is made before the first block starts |
| at the client | one tally of at most {most_cells:,} cells, {most_cells * 48 / 1e6:.0f} MB |

What breaks first: **the store's bandwidth**, as above; then **the graph**, made and held whole by client and scheduler. Its {n_blocks * a_block.slope:.0f} s
are as long as the work of {blocks_s / (n_blocks * a_block.slope):.0f} cores alone: with more of them larger blocks pay (`block_voxels=2**26`, four times the arrays: {a_block.slope * n_blocks / 4:.0f} s). Counts do not break: they are int64, and 10^12 voxels leave {2**63 / 1e12 / 2**16:,.0f} times room in the sum of 16-bit excesses.

## What a failure costs

A worker that dies takes with it the case it has at hand, and tallies that the client has not fetched yet, which
are few; with checkpoints these are read, not made again. Of one huge image it takes the partial tallies it holds: at most
its share of the blocks. The client is not replaceable: if it dies, a rerun with the same checkpoints tallies only what is
missing, after hashing the inputs of the rest ({lines["hash"].slope * 1e9:.2f} of {whole.slope * 1e9:.2f} ns a voxel); one huge image starts again.

What still runs in the client alone, on `--jobs` threads: checking and scoring all classes together (`compare --classes`), the
second pass of `fit --binning exact`, pictures, and all algebra.
"""


def _all_stages(row: Row) -> float:
    return sum(row[name] for name in STAGES)


def _predicted_run(row: Row, reads: Callable[[float], float], empty: Line) -> float:
    return float(row["cases"] * (reads(row["voxels"]) / 2 + empty.slope))


def _unhashed(lines: dict[str, Line]) -> Callable[[float], float]:
    return lambda voxels: sum(line(voxels) for name, line in lines.items() if name != "hash")


def _last(tasks: Sequence[Row], sized: int) -> float:
    return float([row for row in tasks if bool(row["bytes"]) == bool(sized)][-1]["seconds"])


def _sizes_of(row: Row, first: Any) -> tuple[Any, ...]:
    return (first, f"{row['cells']:,}", *(f"{row[what] / 1e3:.0f}" for what in ("memory", "wire", "disk")))


def _blocks_of(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    both = {(row["block"], row["where"]): row for row in rows}
    sizes = sorted({row["block"] for row in rows})
    return [
        (
            f"{size:,}",
            both[size, "cluster"]["blocks"],
            f"{both[size, 'one thread']['seconds']:.2f}",
            f"{both[size, 'cluster']['seconds']:.2f}",
        )
        for size in sizes
    ]


def _algebra_of(row: Row) -> tuple[Any, ...]:
    names = ("cohort", "fit", "compare leave-one-group-out", "compare 5", "resample")
    return (row["cases"], *(f"{row[name]:.3g}" for name in names))


def _checked(what: str, where: str, predicted: float, measured: float) -> tuple[Any, ...]:
    return what, where, f"{predicted:,.4g}", f"{measured:,.4g}", f"{predicted / measured - 1:+.0%}"


def _table(rows: Any) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
