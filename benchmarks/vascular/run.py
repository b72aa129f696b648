"""Vascular invasion: speed against a scan of whole slices, accuracy on arcs of known angle, and pictures of what differs.

python benchmarks/vascular/run.py                  # results.json, results.md and two pictures beside this file
python benchmarks/vascular/run.py --keep-scan      # all but the scan of whole slices, from results.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numba
import numpy as np
import scipy
from whole_slice import TAPS, ndi, slice_degrees, volume_degrees

import mrcalib
from mrcalib.metrics import vascular_contact, vascular_invasion
from mrcalib.protocols._invasion import OFFICIAL_VESSELS, PLANES, official_invasion
from mrcalib.simulate import phantoms

HERE = Path(__file__).parent
SPACING = (0.75, 0.75, 2.5)
ARCS = (40, 120, 200)  # not 90 apart: by symmetry, a disc of square pixels has its share of every quarter turn
GREY, RED, EDGE = "#c9d6e5", "#e8a29a", "#2f5d8a"


def big_case(shape):
    """A simulated lesion of about 36 mm and five vessels amid an otherwise empty volume of ``shape``."""
    small = (min(176, shape[0]), min(176, shape[1]), shape[2])
    case = next(
        phantoms(1, small, spacing=SPACING, lesion_fraction=0.006, n_members=1, miss_rate=0, vessels=True, rng=11)
    )
    before = [(n - k) // 2 for n, k in zip(shape, small, strict=True)]
    pads = [(b, n - k - b) for b, n, k in zip(before, shape, small, strict=True)]
    probs, vessels = (np.pad(a, pads) for a in (case.members[0], case.vessels))
    return probs, [np.pad(mask, pads) for mask in case.raters], vessels


def cpu(function):
    """The result, and seconds of wall clock and of the processor."""
    wall, busy = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - busy


def time_it(shape, kept=None, repetitions=5):
    probs, masks, vessels = big_case(shape)
    sources = [mask > 0 for mask in masks] + [probs > t for t in np.linspace(0.1, 0.8, 6)]

    def peer():
        return {
            (name, plane): [volume_degrees(mask, vessels == label, axis) for mask in sources]
            for name, label in OFFICIAL_VESSELS.items()
            for axis, plane in enumerate(PLANES)
        }

    forms = {
        "official": lambda: official_invasion(probs, masks, vessels),
        "sound": lambda: vascular_invasion(probs, masks, vessels, SPACING, vessel_labels=OFFICIAL_VESSELS),
        "sound, 2 mm reach": lambda: vascular_invasion(
            probs, masks, vessels, SPACING, vessel_labels=OFFICIAL_VESSELS, contact_mm=2.0
        ),
    }
    rows = {}
    for name, form in forms.items():
        _, first, _ = cpu(form)
        times = [cpu(form)[1:] for _ in range(repetitions)]
        rows[name] = {
            "wall_s": float(np.median([t[0] for t in times])),
            "cpu_s": float(np.median([t[1] for t in times])),
            "first_call_wall_s": first,
        }
    scores = {"official": forms["official"]()["vi"], "sound": forms["sound"]().wasserstein}
    if kept is not None:
        rows["whole slices, scipy"] = kept["times"]["whole slices, scipy"]
        return {**kept, "shape": list(shape), "times": rows, "scores": scores}
    slow, wall, busy = cpu(peer)
    rows["whole slices, scipy"] = {"wall_s": wall, "cpu_s": busy, "first_call_wall_s": wall}
    detail = forms["official"]()["vi_detail"]
    gap = 0.0
    for (name, plane), values in slow.items():
        answer = detail[name][plane]
        gap = max(
            gap,
            abs(np.mean(values[:5]) - answer["rater_mean"]),
            abs(np.std(values[5:]) + 1e-6 - answer["prediction_std"]),
        )
        gap = max(
            gap,
            abs(np.std(values[:5]) + 1e-6 - answer["rater_std"]),
            abs(np.mean(values[5:]) - answer["prediction_mean"]),
        )
    return {"shape": list(shape), "times": rows, "largest_difference_of_degrees": float(gap), "scores": scores}


def scene(radius, spacing, size, arc, thickness=4.0):
    """A round vessel of ``radius`` mm, and touching tumour over an arc (its start and extent in degrees)."""
    at = [(np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(size, spacing, strict=True)]
    distance = np.hypot(at[0][:, None], at[1][None, :])
    angle = np.degrees(np.arctan2(at[0][:, None], at[1][None, :])) % 360
    tumour = (distance > radius) & (distance <= radius + thickness)
    return tumour & ((angle - arc[0]) % 360 < arc[1]), distance <= radius


def accuracy():
    """Largest error of an arc's angle over 24 places of its start, in degrees, for each form."""
    table = []
    for spacing in ((1.0, 1.0), (0.75, 2.5)):
        for radius in (3.0, 5.0, 8.0, 12.0):
            size = [2 * int((radius + 6) / edge) + 3 for edge in spacing]
            row = {"spacing": spacing, "radius_mm": radius}
            for arc in ARCS:
                errors = {"official": [], "sound": []}
                for start in 3.0 + 15.0 * np.arange(24):
                    tumour, vessel = scene(radius, spacing, size, (start, arc))
                    errors["official"].append(slice_degrees(tumour, vessel) - arc)
                    errors["sound"].append(vascular_contact(tumour, vessel, spacing)["slice"] - arc)
                row |= {f"{form}_{arc}": float(np.abs(e).max()) for form, e in errors.items()}
            table.append(row)
    return table


def tube(
    spacing, tilt=0.0, azimuth=0.0, *, radius=4.0, half_length=None, bend=None, tumour=None, arc=(0, 180), size=44
):
    """A vessel around the middle of a volume of ``size`` mm, and touching tumour over an arc of its circumference.

    It is tilted from the last axis towards ``azimuth``, ends ``half_length`` mm from its middle (None: at the image's
    border) or bends with its axis on a circle of radius ``bend``; tumour reaches ``tumour`` mm from the middle (None: all
    along). The arc is its middle and its extent in degrees; 0 is the side away from the bend's centre.
    """
    at = [
        (np.arange(n) - (n - 1) / 2) * edge for n, edge in zip((round(size / e) for e in spacing), spacing, strict=True)
    ]
    t, a = np.radians([tilt, azimuth])
    across = [np.cos(t) * np.cos(a), np.cos(t) * np.sin(a), -np.sin(t)]
    aside = [-np.sin(a), np.cos(a), 0.0]
    along = [np.sin(t) * np.cos(a), np.sin(t) * np.sin(a), np.cos(t)]
    u, v, w = (sum(c * x for c, x in zip(d, np.ix_(*at), strict=True)) for d in (across, aside, along))
    if bend is not None:
        u, w = np.hypot(u + bend, w) - bend, bend * np.arctan2(w, u + bend)
    distance = np.hypot(u, v)
    vessel = (distance <= radius) & (half_length is None or abs(w) <= half_length)
    near = (distance > radius) & (distance <= radius + 5) & (tumour is None or abs(w) <= tumour)
    angle = (np.degrees(np.arctan2(v, u)) - arc[0] + 180) % 360 - 180
    return near & (abs(angle) <= arc[1] / 2), vessel


TUBES = {
    "straight, tumour around its middle": {"tumour": 8.0},
    "straight, tumour to the image's border": {},
    "straight, tumour to its flat end": {"half_length": 15.0},
    "bent on 60 mm": {"bend": 60.0, "tumour": 16.0},
    "bent on 8 mm": {"bend": 8.0, "tumour": 8.0},
}


def tubes():
    """The least and most degrees over planes, for a tube half touched and one encased, with and without the limit."""
    table = []
    for spacing in ((1.0, 1.0, 1.0), (0.75, 0.75, 2.5)):
        for kind, shape in TUBES.items():
            for tilt in (0, 30, 45, 60):
                row = {"spacing": spacing, "vessel": kind, "tilt": tilt}
                for extent in (180, 360):
                    found = {"any": [], "limited": []}
                    for azimuth in (0, 45):
                        for middle in (0, 90, 180, 270) if extent == 180 else (0,):
                            tumour, vessel = tube(spacing, tilt, azimuth, arc=(middle, extent), **shape)
                            for name, most in (("any", math.inf), ("limited", 2.0)):
                                answer = vascular_contact(tumour, vessel, spacing, max_elongation=most)
                                found[name].append(np.nanmax(list(answer.values())))
                    row |= {f"{name}_{extent}": [float(min(d)), float(max(d))] for name, d in found.items()}
                table.append(row)
    return table


def grazing():
    """Slices of vessels over 120 degrees of which tumour lies: across, grazing the wall, and at an oblique end."""
    spacing = (1.0, 1.0, 1.0)
    bowed = tube(spacing, bend=60.0, tumour=16.0, arc=(0, 120))
    ended = tube(spacing, 15.0, half_length=15.0, arc=(180, 120))
    return {
        "across the vessel": [a[:, :, 22] for a in bowed],
        "along the same vessel, grazing its wall": [a[24] for a in bowed],
        "what remains: the corner at an oblique end": [a[16] for a in ended],
    }


def elongation(vessel):
    """Of one cross-section of square pixels without holes."""
    low, high = np.linalg.eigvalsh(np.cov(np.argwhere(vessel).T, bias=True) + np.eye(2) / 12)
    return float(np.sqrt(high / low))


def draw_grazing(path):
    angles = {}
    figure, panels = plt.subplots(1, 3, figsize=(12.5, 5), layout="constrained")
    for axes, (title, (tumour, vessel)) in zip(panels, grazing().items(), strict=True):
        degrees = vascular_contact(tumour, vessel, max_elongation=math.inf)["slice"]
        long = elongation(vessel)
        angles[title] = {"degrees": degrees, "elongation": long}
        colours = np.ones((*vessel.shape, 3))
        for mask, colour in ((vessel, GREY), (tumour, RED)):
            colours[mask] = mpl.colors.to_rgb(colour)
        axes.imshow(colours, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        verdict = "counts" if long <= 2 else "does not count"
        axes.set_title(f"{title}\n{degrees:.0f}°, elongation {long:.1f}: {verdict}", fontsize=10)
    figure.suptitle("Blue-grey: vessel. Red: tumour, over 120° of each vessel's circumference.", fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return angles


def disc(row, column, radius, size):
    at = np.arange(size)
    return (at[:, None] - row) ** 2 + (at - column) ** 2 <= radius**2


def scenes():
    vessel = disc(20, 20, 8, 41)
    pixels, thick = (1.0, 1.0), (0.75, 2.5)
    size = [2 * int(13 / edge) + 3 for edge in thick]
    return {
        "one pixel of fat, tumour on the right": (disc(20, 38, 8, 41), vessel, pixels),
        "the same, tumour on the left": (disc(20, 2, 8, 41), vessel, pixels),
        "encased, one pixel of fat around": (disc(20, 20, 15, 41) & ~disc(20, 20, 9, 41), vessel, pixels),
        "encased": (disc(20, 20, 13, 41) & ~vessel, vessel, pixels),
        "0.75 x 2.5 mm, 90 degrees above": (*scene(8.0, thick, size, (225, 90)), thick),
        "0.75 x 2.5 mm, 90 degrees on the right": (*scene(8.0, thick, size, (315, 90)), thick),
    }


def counts(tumour, vessel):
    """How often the program counts each edge pixel, NaN elsewhere."""
    dilated = ndi.binary_dilation(tumour)
    edge = vessel & ~ndi.binary_erosion(vessel)
    near = (dilated & ~edge).astype(np.uint8)
    more = sum((ndi.convolve(near, taps) > 0).astype(int) for taps in TAPS)
    return np.where(edge, np.where(dilated, 1, more), -1)


def draw(path):
    contact = {}
    figure, panels = plt.subplots(2, 3, figsize=(12.5, 9), layout="constrained")
    for axes, (title, (tumour, vessel, spacing)) in zip(panels.flat, scenes().items(), strict=True):
        official = slice_degrees(tumour, vessel)
        sound = vascular_contact(tumour, vessel, spacing)["slice"]
        reach = vascular_contact(tumour, vessel, spacing, contact_mm=1.0)["slice"]
        contact[title] = {"official": float(official), "sound": sound, "sound_within_1_mm": reach}
        colours = np.ones((*vessel.shape, 3))
        for mask, colour in ((vessel, GREY), (tumour, RED)):
            colours[mask] = mpl.colors.to_rgb(colour)
        height, width = vessel.shape
        axes.imshow(colours, interpolation="nearest", aspect=spacing[0] / spacing[1])
        number = counts(tumour, vessel)
        for i, j in np.argwhere(number > 0):
            axes.text(j, i, str(number[i, j]), ha="center", va="center", fontsize=7, color=EDGE)
        axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        axes.set_title(f"{title}\nofficial {official:.0f}°, sound {sound:.0f}° (within 1 mm {reach:.0f}°)", fontsize=10)
    figure.suptitle(
        "Blue-grey: vessel. Red: tumour. Numbers: how often the official program counts an edge pixel.", fontsize=11
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return contact


def table(results):
    lines = [f"Machine: {results['machine']}. {results['versions']}. {results['date']}.", ""]
    peer = results["speed"]["times"]["whole slices, scipy"]["cpu_s"]
    shape = " x ".join(map(str, results["speed"]["shape"]))
    lines += [f"{shape} voxels, 5 vessels, 5 raters, 6 thresholds:", ""]
    lines += ["| form | CPU s | wall s | first call, wall s | x whole slices (CPU) |", "|---|---|---|---|---|"]
    for name, row in results["speed"]["times"].items():
        numbers = [f"{row[key]:.3g}" for key in ("cpu_s", "wall_s", "first_call_wall_s")]
        lines.append(f"| {name} | {' | '.join(numbers)} | {peer / row['cpu_s']:.3g} |")
    gap = results["speed"]["largest_difference_of_degrees"]
    lines += ["", f"Largest difference of the official form from the scan of whole slices: {gap:.2g} degrees.", ""]
    lines += ["Scores of that case (degrees, 0 is best):", "", "| form | " + " | ".join(OFFICIAL_VESSELS) + " |"]
    lines += ["|---" * (1 + len(OFFICIAL_VESSELS)) + "|"]
    for name, scores in results["speed"]["scores"].items():
        lines.append(f"| {name} | " + " | ".join(f"{scores[v]:.1f}" for v in OFFICIAL_VESSELS) + " |")
    lines += ["", "Largest error of the angle of a touching arc (degrees), over 24 places of its start:", ""]
    lines += ["| pixel mm | radius mm | " + " | ".join(f"{f} {a}°" for f in ("official", "sound") for a in ARCS) + " |"]
    lines += ["|---" * 8 + "|"]
    for row in results["accuracy"]:
        numbers = [f"{row[f'{f}_{a}']:.1f}" for f in ("official", "sound") for a in ARCS]
        lines.append(f"| {row['spacing'][0]} x {row['spacing'][1]} | {row['radius_mm']:g} | {' | '.join(numbers)} |")
    lines += [
        "",
        "Degrees of tubes of 4 mm radius, the most of all planes: least to most over where tumour and tilt point",
    ]
    lines += ["(any: `max_elongation=inf`; limited: the default, 2):", ""]
    lines += ["| voxel mm | vessel | tilt | 180° any | 180° limited | 360° any | 360° limited |", "|---" * 7 + "|"]
    for row in results["tubes"]:
        spans = ["{:.0f} to {:.0f}".format(*row[f"{form}_{a}"]) for a in (180, 360) for form in ("any", "limited")]
        voxel = " x ".join(map(str, row["spacing"]))
        lines.append(f"| {voxel} | {row['vessel']} | {row['tilt']}° | {' | '.join(spans)} |")
    lines += [
        "",
        "The pictures (degrees):",
        "",
        "| scene | official | sound | sound, within 1 mm |",
        "|---|---|---|---|",
    ]
    for title, row in results["scenes"].items():
        lines.append(f"| {title} | " + " | ".join(f"{v:.1f}" for v in row.values()) + " |")
    lines += ["", "| slice | degrees | elongation |", "|---|---|---|"]
    for title, row in results["grazing"].items():
        lines.append(f"| {title} | {row['degrees']:.1f} | {row['elongation']:.2f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 100))
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--keep-scan", action="store_true", help="take the scan of whole slices from results.json")
    options = parser.parse_args()
    kept = json.loads((options.out / "results.json").read_text())["speed"] if options.keep_scan else None
    options.out.mkdir(parents=True, exist_ok=True)
    results = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {platform.system()}, one thread used",
        "versions": f"mrcalib {mrcalib.__version__}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}, numba {numba.__version__}",
        "load_before": os.getloadavg()[0],
        "scenes": draw(options.out / "differences.png"),
        "grazing": draw_grazing(options.out / "grazing.png"),
        "accuracy": accuracy(),
        "tubes": tubes(),
        "speed": time_it(tuple(options.shape), kept),
    }
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "results.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
