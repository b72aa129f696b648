"""The part of the detection benchmark that needs no pixels does on hand-made boxes what it says it does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mrcalib.detection import DetectionImage

ROOT = Path(__file__).parents[2]
PERSON, OTHER = [10, 10, 20, 40], [50, 10, 60, 40]


@pytest.fixture(scope="module")
def pedestrians():
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.detection import pedestrians
    finally:
        sys.path.remove(str(ROOT))
    return pedestrians


def image(name: str, *found: list, expert: list | None, group: str | None = None) -> DetectionImage:
    raters = {f"w{k}": boxes for k, boxes in enumerate(found)}
    return DetectionImage(name, group, (100, 80), raters=raters | ({} if expert is None else {"gt": expert}))


def test_batches_are_told_by_who_annotated(pedestrians, tmp_path):
    rows = [
        (1, "a", 10),
        (1, "b", 11),
        (2, "a", 12),
        (2, "b", 10),
        (3, "a", 10),
        (3, "c", 10),
        (3, "gt", 10),
        (4, "a", 9),
    ]
    path = tmp_path / "boxes.csv"
    lines = [f"{name},100,80,{rater},1,0,{x},10,30,40" for name, rater, x in rows]
    path.write_text(
        "\n".join(["image,width,height,rater,n_boxes,box,x0,y0,x1,y1", *lines, "4,100,80,c,0,-1,,,,"]) + "\n"
    )
    images = pedestrians.read(path)
    assert [one.group for one in images] == ["batch 1", "batch 1", "batch 2", "batch 2"]
    assert len(images[3].raters["c"]) == 0


def test_scores_are_the_share_of_the_other_annotators(pedestrians):
    shared = image("1", [PERSON, OTHER], [PERSON], [], expert=[PERSON])
    first, second, third = pedestrians.others([shared])
    assert first.detections.scores.tolist() == [0.5, 0.0]
    assert second.detections.scores.tolist() == [0.5]
    assert len(third.detections) == 0
    assert len(first.raters["gt"]) == 1
    assert list(first.raters) == ["gt"]


def test_pooled_scores_are_the_share_of_all_annotators(pedestrians):
    (pooled,) = pedestrians.pooled([image("1", [PERSON, OTHER], [PERSON], [], [PERSON], expert=[PERSON])])
    assert pooled.detections.scores.tolist() == [0.75, 0.25]


def test_the_curve_counts_boxes_by_annotators_where_the_expert_looked(pedestrians):
    seven = [[PERSON, OTHER], *[[PERSON]] * 6]
    table = pedestrians.curve([image("1", *seven, expert=[PERSON]), image("2", *seven, expert=None)])
    assert table.to_dict("list") == {"annotators": [1, 7], "boxes": [1, 1], "expert_has_it": [0.0, 1.0]}


def test_images_are_calibrated_by_maps_that_did_not_see_their_batch(pedestrians):
    """The expert never confirms a lone box, but in one batch; the map of the others therefore says 0 there."""
    odd = [image(f"odd {k}", [PERSON], [], expert=[PERSON], group="odd") for k in range(3)]
    rest = [image(f"{g} {k}", [PERSON], [], expert=[], group=f"batch {g}") for g in range(5) for k in range(2)]
    shown = pedestrians.calibrated(pedestrians.pooled([*odd, *rest]))
    assert [one.id for one in shown] == [one.id for one in [*odd, *rest]]
    assert [one.detections.scores.tolist() for one in shown[:3]] == [[0.0]] * 3
    assert all(one.detections.scores[0] > 0 for one in shown if one.group == "batch 0")


def test_precision_and_recall_pool_all_pairs(pedestrians):
    images = [image("1", [PERSON, OTHER], [PERSON], expert=[PERSON]), image("2", [PERSON], [PERSON], expert=None)]
    table = pedestrians.agreement(images).set_index(["who", "iou"])
    between, expert = table.loc[("annotator and annotator", 0.5)], table.loc[("annotator and expert", 0.5)]
    assert between["f1"] == pytest.approx(2 * 2 / 5)
    assert expert["precision"] == pytest.approx(2 / 3)
    assert expert["recall"] == 1
