"""How every kernel is compiled, and kept on disk, so that a new process need not wait for the compiler.

Numba's own cache keeps one index for each function. Processes that save at the same time can leave it pointing at the wrong
code, and it does not notice changes of other files (Numba's issues 4807 and 10128). Here each entry is a file of its own,
whose name is a hash of everything that its code is made of (see ``_identity.py``). So no entry is ever out of date or
changed, and nothing needs a lock. Whenever anything fails, the kernel is compiled. Private parts of Numba are imported and
used only inside ``suppress(Exception)``, where their failure has this consequence.
"""

import hashlib
import itertools
import os
import pickle
import re
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numba

from mrcalib._files import atomic_write
from mrcalib._kernels._identity import identity

DAY = 86400.0
DAYS_UNUSED = 30
FIRST_NUMBER = 1 << 32  # below are the numbers that Numba gives to functions by itself
NUMBER = re.compile(r"B\d+v(\d+)")  # the number of a function, in the name of its compiled code


F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """The function, compiled on its first call unless an earlier process has left its code on disk.

    Kernels are serial and run without the GIL, so that threads over runs of voxels work side by side.
    """
    compiled: Any = numba.njit(nogil=True)(function)
    if hasattr(compiled, "_cache"):  # NUMBA_DISABLE_JIT leaves functions as they are
        compiled._cache = KernelCache(compiled)
    kept: F = compiled
    return kept


def kernel_folder() -> Path | None:
    """The folder of compiled kernels, in ``MRCALIB_CACHE_DIR`` or the user's cache; None if the variable is set but empty."""
    given = os.environ.get("MRCALIB_CACHE_DIR")
    if given is not None:
        return Path(given) / "kernels" if given else None
    if sys.platform == "win32":
        user = Path(os.environ["LOCALAPPDATA"])
    elif sys.platform == "darwin":
        user = Path.home() / "Library" / "Caches"
    else:
        user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user / "mrcalib" / "kernels"


class KernelCache:
    """The cache that a Numba dispatcher looks into before it compiles, and writes to afterwards, in place of Numba's own.

    Parameters
    ----------
    dispatcher : numba.core.dispatcher.Dispatcher
        The kernel.
    """

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher
        self._numba_cache = dispatcher._cache
        self._missed: set[Path] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._numba_cache, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled code of a signature, or None if it must be compiled."""
        with suppress(Exception):
            path = self._path(sig, target_context.codegen())
            with suppress(Exception):
                return _read(path, target_context)
            self._missed.add(path)
            _number_functions_uniquely()
        return None

    def save_overload(self, sig: Any, result: Any) -> None:
        """Write compiled code to disk, unless it cannot be used by another process."""
        with suppress(Exception):
            path = self._path(sig, result.codegen)
            if path in self._missed and _can_be_kept(
                result
            ):  # the same path: nothing has changed since it was looked for
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write(path, result)
                _sweep(path.parent)

    def _path(self, sig: Any, codegen: Any) -> Path:
        from numba.core import sigutils

        folder = kernel_folder()
        if folder is None:
            raise FileNotFoundError
        function = self._dispatcher.py_func
        key = identity(self._dispatcher, sigutils.normalize_signature(sig)[0], codegen)
        return folder / f"{function.__module__.rpartition('.')[2]}.{function.__name__}-{key[:32]}.kernel"


def _number_functions_uniquely() -> None:
    """Make the functions that are compiled from now on have numbers that no other process uses.

    The number is part of the name of the code. Numba counts from 1, so code loaded from disk could meet code of this process
    that has the same name but is not the same.
    """
    from numba.core.bytecode import FunctionIdentity

    FunctionIdentity._unique_ids = itertools.count(FIRST_NUMBER + secrets.randbits(60))


def _can_be_kept(result: Any) -> bool:
    """Whether the code has no addresses of this process in it, and no function whose number another process may use."""
    names = [f.name for f in result.library._final_module.functions if not f.is_declaration]
    numbers = [int(number) for name in names for number in NUMBER.findall(name)]
    return not result.lifted and not result.library.has_dynamic_globals and min(numbers) >= FIRST_NUMBER


def _seal(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + content).digest()


def _write(path: Path, result: Any) -> None:
    """Write the code, with the names of the functions and variables that it needs from outside."""
    from numba.core.serialize import dumps

    module = result.library._final_module
    declared = [v.name for v in (*module.functions, *module.global_variables) if v.is_declaration]
    content = dumps(([name for name in declared if not name.startswith("llvm.")], result._reduce()))
    with atomic_write(path) as temporary:
        temporary.write_bytes(_seal(path, content) + content)


def _read(path: Path, target_context: Any) -> Any:
    """The code; an error if the file is missing, damaged or another user's, or if this process lacks something it needs."""
    import llvmlite.binding as llvm
    from numba.core.compiler import CompileResult
    from numba.core.runtime import rtsys

    with path.open("rb") as file:
        if hasattr(os, "getuid") and os.fstat(file.fileno()).st_uid not in (os.getuid(), 0):
            raise PermissionError
        entry = file.read()
    seal, content = entry[:32], entry[32:]
    if seal != _seal(path, content):
        raise ValueError
    rtsys.initialize(target_context)
    outside, state = pickle.loads(content)
    if not all(llvm.address_of_symbol(name) for name in outside):
        raise LookupError
    with suppress(OSError):
        if path.stat().st_mtime < time.time() - DAY:
            os.utime(path)  # the time of the last use, by which old files are removed
    return CompileResult._rebuild(target_context, *state)


def _sweep(folder: Path) -> None:
    """Remove the files that were not used for a month."""
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - DAYS_UNUSED * DAY:
                path.unlink()
