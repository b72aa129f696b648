"""The names that options take, without importing what they name; a test compares them with the library's."""

from __future__ import annotations

__all__ = ["COMPARED_PROTOCOLS", "LAYOUTS", "METHODS", "METRICS", "PAPER_METHODS", "PROTOCOLS"]

METHODS = (
    "none",
    "single-rater",
    "hard-label",
    "MHR",
    "MHR-equal",
    "TwinTrack",
    "histogram",
    "temperature",
    "Platt",
    "beta",
    "case-adaptive",
)
PAPER_METHODS = ("single-rater-250", "hard-label-250")
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
LAYOUTS = ("curvas-2024", "curvas-pdacvi", "qubiq", "lidc")
PROTOCOLS = ("curvas-pdacvi", "curvas-2024", "qubiq")
COMPARED_PROTOCOLS = ("curvas-pdacvi", "qubiq")  # those that score masks
