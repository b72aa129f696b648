"""Compiled kernels are kept on disk, so that a new process need not wait for the compiler.

Numba's own cache keeps one index a function, which processes that save at once can leave pointing at the wrong code, and sees
no changes of other files (its issues 4807 and 10128). Here an entry is a file of its own, found by a hash of all that its
code is made of. So none is ever out of date, none is ever changed, and nothing needs a lock. In any trouble the kernel is
compiled. What is private in Numba is imported and used only where its failing is taken for such trouble.
"""

import hashlib
import itertools
import os
import pickle
import re
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from mrcalib._files import atomic_write
from mrcalib._kernels._identity import identity

DAY = 86400.0
DAYS_UNUSED = 30
FIRST_NUMBER = 1 << 32  # below are the numbers that Numba gives to functions by itself
NUMBER = re.compile(r"B\d+v(\d+)")  # of a function, in the name of its code


def kernel_folder() -> Path | None:
    """Where compiled kernels are kept: below ``MRCALIB_CACHE_DIR`` or the user's cache; None if that is set but empty."""
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
    """What a Numba dispatcher asks before it compiles and tells afterwards, in place of a cache of Numba's.

    Parameters
    ----------
    dispatcher : numba.core.dispatcher.Dispatcher
        The kernel.
    """

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher
        self._otherwise = dispatcher._cache
        self._missed: set[Path] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._otherwise, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compile result of a signature, or None."""
        with suppress(Exception):
            path = self._path(sig, target_context.codegen())
            with suppress(Exception):
                return _read(path, target_context)
            self._missed.add(path)
            _number_functions_uniquely()
        return None

    def save_overload(self, sig: Any, result: Any) -> None:
        """Keep what was compiled, where it can be kept."""
        with suppress(Exception):
            path = self._path(sig, result.codegen)
            if path in self._missed and _can_be_kept(result):  # nothing that bears on it changed meanwhile
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
    """Let the functions that are now compiled have numbers, and so names of code, that no other process gives.

    Numba counts from 1, and loaded code could then meet code of the same name that is not the same.
    """
    from numba.core.bytecode import FunctionIdentity

    FunctionIdentity._unique_ids = itertools.count(FIRST_NUMBER + secrets.randbits(60))


def _can_be_kept(result: Any) -> bool:
    """Whether the code holds no addresses of this process and no function of a number that another process may give."""
    names = [f.name for f in result.library._final_module.functions if not f.is_declaration]
    numbers = [int(number) for name in names for number in NUMBER.findall(name)]
    return not result.lifted and not result.library.has_dynamic_globals and min(numbers) >= FIRST_NUMBER


def _seal(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + content).digest()


def _write(path: Path, result: Any) -> None:
    """Write the code with the names that it takes from outside."""
    from numba.core.serialize import dumps

    module = result.library._final_module
    declared = [v.name for v in (*module.functions, *module.global_variables) if v.is_declaration]
    content = dumps(([name for name in declared if not name.startswith("llvm.")], result._reduce()))
    with atomic_write(path) as temporary:
        temporary.write_bytes(_seal(path, content) + content)


def _read(path: Path, target_context: Any) -> Any:
    """The code, or an error if it is not there, not whole, another user's, or does not fit this process."""
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
            os.utime(path)  # so that only what is out of use is swept
    return CompileResult._rebuild(target_context, *state)


def _sweep(folder: Path) -> None:
    """Remove what was not read for a month."""
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - DAYS_UNUSED * DAY:
                path.unlink()
