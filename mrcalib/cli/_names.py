"""The names that options take, without importing what they name; a test compares them with the library's."""

from __future__ import annotations

__all__ = ["METHODS", "METRICS", "PROTOCOLS"]

METHODS = (
    "none",
    "single-rater",
    "hard-label",
    "MHR",
    "MHR, cases equal",
    "TwinTrack (250 bins)",
    "temperature",
    "Platt",
    "beta",
    "histogram (15 bins)",
)
METRICS = (
    "mr_ece",
    "mean_rater_ece",
    "mean_rater_top_label_ece",
    "brier",
    "log_loss",
    "tdsc",
    "dice",
    "soft_dice",
    "volume_crps",
    "volume_bias",
    "auc",
    "mr_ace",
    "mr_mce",
    "mr_top_label_ece",
    "tdsc_qubiq",
    "tdsc_mrnet",
    "volume_crps_empirical",
    "volume_error",
    "auc_majority",
)
PROTOCOLS = ("curvas-pdacvi",)
