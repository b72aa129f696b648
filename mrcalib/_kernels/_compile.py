"""How every kernel is compiled: serial and without the GIL, so that threads over chunks run side by side."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` on its first call; see the package's docstring for the disk cache."""
    compiled: F = numba.njit(nogil=True, cache=os.environ.get("MRCALIB_NUMBA_CACHE") == "1")(function)
    return compiled
