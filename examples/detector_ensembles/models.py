"""Detectors with one interface: `model(images, boxes)` is the loss, `model(images)` a list of (boxes, scores)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 4
FLOOR = 0.01  # detections scored lower are not kept
LARGEST = 6.0  # exponent of e, in cells: no box is larger


class HeatMapDetector(nn.Module):
    """Objects as points: a map of centres, and at each one an offset and a size. Small enough for a CPU.

    Trained with cross entropy on the centres; cells near a centre count less, the nearer the less. Centres may weigh
    more than empty cells, as objects do in R-CNNs, which draw one proposal of an object for three of the background:
    scores are then too high, by design.
    """

    def __init__(self, positive_weight: float = 1.0, channels: int = 32) -> None:
        super().__init__()
        self.positive_weight = positive_weight
        self.stem = nn.Sequential(_step(1, channels // 2, 2), _step(channels // 2, channels, 2))
        self.body = nn.ModuleList(_step(channels, channels, 1, dilation) for dilation in (1, 2, 1))
        self.neck = _step(channels, channels, 1)
        self.head = nn.Conv2d(channels, 5, 1)
        nn.init.constant_(self.head.bias[:1], -3.0)

    def maps(self, images: Tensor) -> Tensor:
        features = self.stem(images.contiguous(memory_format=torch.channels_last))
        for block in self.body:
            features = features + block(features)
        return self.head(self.neck(features)).float()

    def forward(self, images: Tensor, boxes: list[Tensor] | None = None) -> Tensor | list[tuple[Tensor, Tensor]]:
        maps = self.maps(images)
        return self.detections(maps, images.shape[-2:]) if boxes is None else self.loss(maps, boxes)

    def loss(self, maps: Tensor, boxes: list[Tensor]) -> Tensor:
        nearness, centres, shapes = targets(boxes, maps)
        logits = maps[:, 0]
        image, row, column = centres
        away = ((1 - nearness) ** 4 * F.softplus(logits)).sum()
        there = F.softplus(-logits[image, row, column]).sum()
        shape = (maps[image, 1:, row, column] - shapes).abs().sum()
        return (away + self.positive_weight * there + shape) / max(len(image), 1)

    def detections(self, maps: Tensor, size: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
        scores = maps[:, 0].sigmoid()
        peaks = (scores == F.max_pool2d(scores[:, None], 3, 1, 1)[:, 0]) & (scores >= FLOOR)
        limits = torch.tensor([size[1], size[0]], device=maps.device)
        found = []
        for mine, score, peak in zip(maps, scores, peaks, strict=True):
            row, column = peak.nonzero(as_tuple=True)
            offset, extent = mine[1:, row, column].T.split(2, dim=1)
            centre = STRIDE * (torch.stack([column, row], 1) + 0.5 + offset)
            half = (STRIDE * extent.clamp(max=LARGEST).exp() / 2).clamp(min=0.5)
            corners = torch.cat([centre - half, centre + half], 1)
            corners = torch.minimum(corners.clamp(min=0), limits.repeat(2))
            inside = (corners[:, 2:] > corners[:, :2]).all(1)
            found.append((corners[inside], score[peak][inside]))
        return found


def targets(boxes: list[Tensor], maps: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], Tensor]:
    """Return how near each cell is to a centre, the cells of the centres, and the offsets and log sizes there."""
    n, _, height, width = maps.shape
    image = torch.cat([torch.full((len(mine),), i, device=maps.device) for i, mine in enumerate(boxes)])
    corners = torch.cat(boxes) / STRIDE
    centre, extent = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    column = centre[:, 0].long().clamp(0, width - 1)
    row = centre[:, 1].long().clamp(0, height - 1)
    shapes = torch.cat([centre - torch.stack([column, row], 1) - 0.5, extent.log()], 1)
    x, y = (torch.arange(k, device=maps.device) for k in (width, height))
    spread = (extent.prod(1).sqrt() / 6).clamp(min=0.5)
    near_x = (-((x - column[:, None]) ** 2) / (2 * spread[:, None] ** 2)).exp()
    near_y = (-((y - row[:, None]) ** 2) / (2 * spread[:, None] ** 2)).exp()
    nearness = torch.zeros(n, height, width, device=maps.device)
    for i in range(n):
        mine = image == i
        if mine.any():
            nearness[i] = (near_y[mine][:, :, None] * near_x[mine][:, None]).amax(0)
    return nearness, (image, row, column), shapes


def _step(inputs: int, outputs: int, stride: int, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class RegionDetector(nn.Module):
    """A torchvision R-CNN with one class beside the background; needs torchvision and, for real use, a GPU.

    Options, such as ``min_size``, are those of torchvision's builders.
    """

    def __init__(self, name: str, **options: int) -> None:
        super().__init__()
        from torchvision.models import detection

        build = {"faster-rcnn": detection.fasterrcnn_resnet50_fpn_v2, "mask-rcnn": detection.maskrcnn_resnet50_fpn_v2}
        kept = {"box_score_thresh": FLOOR, "box_detections_per_img": 300}
        self.net = build[name](weights=None, weights_backbone=None, num_classes=2, **kept, **options)
        if name == "mask-rcnn":  # a checkpoint's masks are of no use to boxes: only its box branch is tuned
            self.net.roi_heads.mask_roi_pool = None

    def forward(self, images: Tensor, boxes: list[Tensor] | None = None) -> Tensor | list[tuple[Tensor, Tensor]]:
        pictures = list(images.expand(-1, 3, -1, -1))
        if boxes is None:
            return [(mine["boxes"], mine["scores"]) for mine in self.net(pictures)]
        labels = [torch.ones(len(mine), dtype=torch.long, device=mine.device) for mine in boxes]
        found = self.net(pictures, [{"boxes": b, "labels": k} for b, k in zip(boxes, labels, strict=True)])
        return torch.stack(list(found.values())).sum()


def build(name: str, positive_weight: float = 1.0) -> nn.Module:
    """Return an untrained "heatmap", "faster-rcnn" or "mask-rcnn"; R-CNNs weigh objects by their own sampling."""
    if name == "heatmap":
        return HeatMapDetector(positive_weight).to(memory_format=torch.channels_last)
    return RegionDetector(name)
