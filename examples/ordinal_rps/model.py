"""The network of every strategy: a feature pyramid over a ResNet, from segmentation_models_pytorch."""

import warnings

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn


def build(channels, classes, *, encoder="resnet34", weights="imagenet", pyramid=256, head=128):
    """The network and the name of its weights: None, from random ones, also where those asked for cannot be had.

    One class is for a fused target, K + 1 for the numbers of votes.
    """
    sizes = {
        "in_channels": channels,
        "classes": classes,
        "decoder_pyramid_channels": pyramid,
        "decoder_segmentation_channels": head,
    }
    if weights is not None:
        try:
            return smp.FPN(encoder, encoder_weights=weights, **sizes), weights
        except Exception as error:  # whatever the download raises: no net, no host, no such weights
            warnings.warn(f"no {weights} weights for {encoder} ({error}); starting from random ones", stacklevel=2)
    return smp.FPN(encoder, encoder_weights=None, **sizes), None


class Normalised(nn.Module):
    """The network behind a fixed normalisation of intensities, which is saved with its weights."""

    def __init__(self, network: nn.Module, mean, std):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.network((image - self.mean) / self.std)
