"""What a command answers the shell."""

from __future__ import annotations

__all__ = ["BAD_DATA", "BROKEN_PIPE", "GATE_FAILED", "INTERRUPTED", "OK", "UNEXPECTED", "USAGE", "UsageError"]

OK = 0
UNEXPECTED = 1
USAGE = 2
BAD_DATA = 3
GATE_FAILED = 4
INTERRUPTED = 130
BROKEN_PIPE = 141


class UsageError(Exception):
    """Options that do not go together, or that lack one."""
