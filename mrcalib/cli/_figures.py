"""Pictures, where matplotlib is installed."""

from __future__ import annotations

from importlib.util import find_spec

from mrcalib.cli._exit import UsageError

__all__ = ["HOW_TO_GET_THEM", "have_matplotlib", "require_matplotlib"]

HOW_TO_GET_THEM = "pictures need matplotlib: pip install 'mrcalib[plots]'"


def have_matplotlib() -> bool:
    """Whether pictures can be drawn."""
    return find_spec("matplotlib") is not None


def require_matplotlib(option: str) -> None:
    """UsageError unless pictures can be drawn."""
    if not have_matplotlib():
        msg = f"{option}: {HOW_TO_GET_THEM}"
        raise UsageError(msg)
