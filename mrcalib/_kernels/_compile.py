"""How every kernel is compiled: serial and without the GIL, so that threads over chunks run side by side."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from mrcalib._kernels._cache import KernelCache

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` on its first call, unless an earlier process did."""
    compiled: Any = numba.njit(nogil=True)(function)
    if hasattr(compiled, "_cache"):  # NUMBA_DISABLE_JIT leaves functions as they are
        compiled._cache = KernelCache(compiled)
    kept: F = compiled
    return kept
