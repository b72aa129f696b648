"""What boxes must agree with: plain twins of the kernels, COCO's own program, and random images."""

from __future__ import annotations

import contextlib
import io
import itertools

import numpy as np

from mrcalib.detection import Boxes, DetectionImage


def overlap(a, b):
    """Intersection over union by its definition."""
    n = len(a) // 2
    shared = np.prod([max(0.0, min(a[n + d], b[n + d]) - max(a[d], b[d])) for d in range(n)])
    return shared / (np.prod(a[n:] - a[:n]) + np.prod(b[n:] - b[:n]) - shared)


def is_group(members, boxes, model, threshold):
    """Whether all boxes come from different models and every pair overlaps by more than the threshold."""
    return all(
        model[i] != model[j] and overlap(boxes[i], boxes[j]) > threshold for i, j in itertools.combinations(members, 2)
    )


def cliques(boxes, model, label, threshold):
    """The group of each box: every pair looked at, nothing clever."""
    groups = []
    for i in range(len(boxes)):
        joinable = [g for g in groups if label[g[0]] == label[i] and is_group([*g, i], boxes, model, threshold)]
        if joinable:
            max(joinable, key=lambda g: min(overlap(boxes[i], boxes[j]) for j in g)).append(i)
        else:
            groups.append([i])
    return partition(groups, len(boxes))


def clusters(boxes, model, weight, threshold, *, exclusive):
    """The group of each box, by its overlap with the groups' weighted mean boxes."""
    groups = []
    for i in range(len(boxes)):
        best, most = None, threshold
        for g in groups:
            if exclusive and model[i] in [model[j] for j in g]:
                continue
            affinity = overlap(boxes[i], np.average(boxes[g], axis=0, weights=weight[g]))
            if affinity > most:
                best, most = g, affinity
        if best is None:
            groups.append([i])
        else:
            best.append(i)
    return partition(groups, len(boxes))


def partition(groups, n):
    out = np.full(n, -1)
    for g, members in enumerate(groups):
        out[members] = g
    return out


def random_boxes(rng, n, n_dims=2, *, size=60, longest=25, whole=True):
    low = rng.integers(0, size - longest, (n, n_dims)).astype(float)
    extent = rng.integers(1, longest, (n, n_dims)).astype(float)
    if not whole:
        low, extent = low * rng.random((n, n_dims)), extent * rng.uniform(0.1, 1, (n, n_dims))
    return np.hstack([low, low + extent])


def random_image(rng, name, *, n_objects=None, n_false=None, n_dims=2, n_classes=None, raters=("gt",), levels=None):
    """Objects of each rater; detections that are objects moved a little, found twice, or nothing."""
    n_objects = int(rng.integers(0, 9)) if n_objects is None else n_objects
    n_false = int(rng.integers(0, 5)) if n_false is None else n_false
    objects = random_boxes(rng, n_objects, n_dims)

    def moved(boxes):
        shift = rng.integers(-2, 3, boxes.shape).astype(float)
        n = n_dims
        low = np.minimum(boxes[:, :n] + shift[:, :n], boxes[:, n:] + shift[:, n:] - 1)
        low, high = np.maximum(low, 0), np.maximum(boxes[:, n:] + shift[:, n:], 1)
        return np.hstack([np.minimum(low, high - 1), high])

    def labelled(n):
        return None if n_classes is None else rng.integers(1, n_classes + 1, n)

    kind = labelled(n_objects)
    found = [moved(objects), moved(objects[rng.random(n_objects) < 0.4]), random_boxes(rng, n_false, n_dims)]
    coordinates = np.vstack(found)
    labels = labelled(len(coordinates))
    if labels is not None:
        labels[:n_objects] = kind
    scores = rng.random(len(coordinates)) if levels is None else rng.integers(0, levels, len(coordinates)) / levels
    own = {}
    for rater in raters:
        kept = rng.random(n_objects) < (1 if len(raters) == 1 else 0.7)
        own[rater] = Boxes(objects[kept], labels=None if kind is None else kind[kept])
    return DetectionImage(name, detections=Boxes(coordinates, scores, labels), raters=own)


def coco_evaluation(images, rater="gt", thresholds=None, max_detections=100):
    """pycocotools' COCOeval of these images, accumulated."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def rows(boxes, image, **more):
        labels = np.ones(len(boxes), int) if boxes.labels is None else boxes.labels
        return [
            {"image_id": image, "bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": int(label), **more}
            for (x0, y0, x1, y1), label in zip(boxes.coordinates.tolist(), labels, strict=True)
        ]

    truth, found, categories = [], [], set()
    for i, image in enumerate(images):
        for row in rows(image.raters[rater], i):
            width, height = row["bbox"][2:]
            truth.append({**row, "id": len(truth) + 1, "area": width * height, "iscrowd": 0})
        detections = rows(image.detections, i)
        found += [{**row, "score": s} for row, s in zip(detections, image.detections.scores.tolist(), strict=True)]
    categories = sorted({row["category_id"] for row in [*truth, *found]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(images))],
            "annotations": truth,
            "categories": [{"id": c} for c in categories],
        }
        coco.createIndex()
        if not found:
            return None
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.params.maxDets = [max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        if thresholds is not None:
            evaluation.params.iouThrs = np.asarray(thresholds)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def coco_scores(images, **options):
    """(mAP, mAR) of pycocotools; entries of -1 are classes without objects."""
    found = coco_evaluation(images, **options).eval

    def mean(values):
        return values[values > -1].mean()

    return mean(found["precision"]), mean(found["recall"])
