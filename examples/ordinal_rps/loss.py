"""The ordinal loss of arXiv:2605.02437: cross-entropy of the majority plus alpha times the ranked probability score."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = ("classes", "levels", "none")


def ranked_probability_loss(logits: Tensor, votes: Tensor, norm: str = "classes") -> Tensor:
    """Mean over voxels of ``sum_j (F_j - G_j)**2``, j = 0 to K (equations 3 and 4).

    ``logits`` (N, K + 1, *S) are those of 0 to K votes, ``votes`` (N, *S) the numbers observed. F is the predicted and G the
    observed distribution function; the term of j = K is 0. ``norm`` divides by K + 1 ("classes", as in the paper), by K
    ("levels", range [0, 1]) or not at all.
    """
    n_classes = logits.shape[1]
    predicted = _full(logits).softmax(dim=1).cumsum(dim=1)[:, :-1]
    levels = torch.arange(n_classes - 1, device=votes.device).view(1, -1, *[1] * (votes.ndim - 1))
    observed = (votes.unsqueeze(1) <= levels).to(predicted.dtype)
    divisor = {"classes": n_classes, "levels": n_classes - 1, "none": 1}[norm]
    return (predicted - observed).square().sum(dim=1).mean() / divisor


def majority_levels(n_raters: int, tie: str) -> Tensor:
    """Which numbers of votes, 0 to K, are foreground: k >= K/2 as in equation 2 (``tie="foreground"``), or k > K/2."""
    twice = 2 * torch.arange(n_raters + 1)
    return twice >= n_raters if tie == "foreground" else twice > n_raters


def majority_loss(logits: Tensor, votes: Tensor, tie: str = "foreground") -> Tensor:
    """Binary cross-entropy of the probability of a majority, with the same rule for ties on both sides."""
    foreground = majority_levels(logits.shape[1] - 1, tie).to(logits.device)
    log_probs = _full(logits).log_softmax(dim=1)  # sums of probabilities as sums of logarithms: no log(0)
    marked = log_probs[:, foreground].logsumexp(dim=1)
    unmarked = log_probs[:, ~foreground].logsumexp(dim=1)
    return -torch.where(foreground[votes], marked, unmarked).mean()


def _full(logits: Tensor) -> Tensor:
    """At least single precision: sums of exponentials overflow in half."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class OrdinalLoss(nn.Module):
    """``majority + alpha * RPS`` (equation 5), or ``(1 - alpha) * majority + alpha * RPS`` if ``convex``."""

    def __init__(self, alpha: float = 0.8, *, tie: str = "foreground", norm: str = "classes", convex: bool = False):
        super().__init__()
        if norm not in NORMS or tie not in ("foreground", "background") or not 0 <= alpha <= (1 if convex else alpha):
            raise ValueError(f"norm is one of {NORMS}, tie foreground or background, alpha >= 0 (convex: <= 1)")
        self.alpha, self.tie, self.norm, self.convex = alpha, tie, norm, convex

    def forward(self, logits: Tensor, votes: Tensor) -> Tensor:
        share = 1 - self.alpha if self.convex else 1.0
        majority = majority_loss(logits, votes, self.tie)
        return share * majority + self.alpha * ranked_probability_loss(logits, votes, self.norm)


class FusedLoss(nn.Module):
    """Binary cross-entropy with one fused target in [0, 1], hard or soft: the loss of all baselines."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(_full(logits[:, 0]), target)
