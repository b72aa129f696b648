"""Images and several raters' boxes, from PNG files and one COCO JSON a rater.

    data/images/*.png    data/rater1.json, data/rater2.json    data/consensus.json    data/splits.json

`splits.json` names the image ids of "train", "val" and "test" (and "pretrain", if a checkpoint is to be made here). Your own
data need nothing but this layout; without any, `python data.py data` writes simulated organoids in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from organoids import organoids
from PIL import Image

from mrcalib.detection import Boxes
from mrcalib.detection.files import BoxSet, ImageEntry, merge_boxes, read_coco, write_coco, write_coco_results

CATEGORIES = {1: "organoid"}
PRETRAINING = "organoids"  # the source of boxes that says what is there, whatever anyone thinks of it


@dataclass(frozen=True)
class Sample:
    """An image and the boxes of each source that looked at it; a source that did not look has no entry."""

    id: int
    name: str
    image: torch.Tensor  # (1, height, width), float32 in [0, 1]
    boxes: dict[str, Boxes]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.shape[2], self.image.shape[1]


def load(folder: Path, split: str) -> list[Sample]:
    """Return the samples of a split in the order of splits.json."""
    wanted = json.loads((folder / "splits.json").read_text())[split]
    drawn = merge_boxes(read_coco(path) for path in sorted(folder.glob("*.json")) if path.stem != "splits")
    names = {entry.key: name for name, entry in drawn.images.items()}
    samples = []
    for key in wanted:
        seen = {source: drawn.of(source, names[key]) for source in drawn.sources}
        boxes = {source: mine for source, mine in seen.items() if mine is not None}
        samples.append(Sample(key, names[key], read_image(folder / "images" / names[key]), boxes))
    return samples


def read_image(path: Path) -> torch.Tensor:
    """Return a picture in grey."""
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image.convert("L"), np.float32) / 255)[None]


def write_detections(path: Path, samples: Sequence[Sample], found: Sequence[Boxes]) -> None:
    """Write a model's detections as COCO results."""
    mine = {sample.name: boxes for sample, boxes in zip(samples, found, strict=True)}
    write_coco_results(path, BoxSet(_entries(samples), {path.stem: mine}, CATEGORIES))


def read_detections(path: Path, samples: Sequence[Sample], floor: float = 0.0) -> list[Boxes]:
    """Read COCO results; an image that they do not name had no detections."""
    found = read_coco(path, images=BoxSet(_entries(samples), {}, CATEGORIES)).sources[path.stem]
    return [found[sample.name].above(floor) for sample in samples]


def _entries(samples: Sequence[Sample]) -> dict[str, ImageEntry]:
    return {sample.name: ImageEntry(sample.size, key=sample.id) for sample in samples}


def write_simulated(
    folder: Path, splits: Mapping[str, int], size: tuple[int, int] = (256, 256), n_objects: int = 120, seed: int = 0
) -> None:
    """Write simulated organoids; `splits` says how many images each split has.

    Raters drew boxes in all images but those for pretraining, and a consensus in the test images.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    which = np.repeat(list(splits), list(splits.values())).tolist()
    drawn: dict[str, dict[str, Boxes]] = {"rater1": {}, "rater2": {}, "consensus": {}, PRETRAINING: {}}
    entries = {}
    shown = organoids(len(which), size, n_objects=n_objects, rng=seed)
    for key, (split, sample) in enumerate(zip(which, shown, strict=True), start=1):
        name = f"{key:04d}.png"
        entries[name] = ImageEntry(size, key=key)
        Image.fromarray(np.round(255 * sample.image).astype(np.uint8)).save(folder / "images" / name)
        if split == "pretrain":
            drawn[PRETRAINING][name] = Boxes(sample.organoids)
            continue
        drawn["rater1"][name], drawn["rater2"][name] = map(Boxes, sample.raters)
        if split == "test":
            drawn["consensus"][name] = Boxes(sample.consensus)
    for source, boxes in drawn.items():
        if boxes:
            write_coco(folder / f"{source}.json", BoxSet({k: entries[k] for k in boxes}, {source: boxes}, CATEGORIES))
    keys = {split: [key for key, its in enumerate(which, start=1) if its == split] for split in splits}
    (folder / "splits.json").write_text(json.dumps(keys))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write simulated organoids with two raters' boxes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    write_simulated(asked.folder, {"train": 65, "val": 15, "test": 20, "pretrain": 60}, seed=asked.seed)
