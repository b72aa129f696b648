"""A hash of everything that a kernel's machine code is made of: equal hashes mean equal code.

Functions are described as they are in memory, not as their files are now: a file may change after it was imported.
"""

import hashlib
import re
import sys
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), np.generic, np.dtype)
LIBRARIES = ("builtins", "math", "numba", "numpy", "llvmlite")  # their functions are described by their versions
NO_CODE = re.compile("CUDA|CACHE|THREAD|COLOR|GDB|YAML")  # settings of Numba that do not change machine code


class UnnamedError(Exception):
    """A kernel is made of something that is not known to be the same in another process."""


def identity(dispatcher: Any, signature: Any, codegen: Any) -> str:
    """Hash of the kernel, the kernels that it calls, constants, argument types, versions, the processor and settings.

    Raises
    ------
    UnnamedError
        A global of the kernel is neither a constant nor a kernel nor NumPy's or Numba's.
    """
    digest = hashlib.sha256()
    for part in (*_machine(codegen), *map(repr, signature), *_of_dispatcher(dispatcher, {})):
        digest.update(f"{len(part)}:{part};".encode())
    return digest.hexdigest()


def _machine(codegen: Any) -> Iterator[str]:
    yield from (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
    yield repr(codegen.magic_tuple())  # platform, processor, its features
    for name, value in sorted(vars(config).items()):
        if name.isupper() and isinstance(value, (*PLAIN, list, tuple)) and not NO_CODE.search(name):
            yield f"{name}={value!r}"


def _of_dispatcher(dispatcher: Any, known: dict[int, int]) -> Iterator[str]:
    """The parts of a kernel and of those that it calls, each once."""
    if id(dispatcher) in known:
        yield f"kernel {known[id(dispatcher)]}"
        return
    known[id(dispatcher)] = len(known)
    function = dispatcher.py_func
    yield f"{function.__module__}.{function.__qualname__}"
    yield f"{sorted(dispatcher.targetoptions.items())!r} {sorted(dispatcher.locals.items())!r}"
    yield from _of_value((function.__defaults__, sorted((function.__kwdefaults__ or {}).items())), known)
    yield from _of_value([cell.cell_contents for cell in function.__closure__ or ()], known)
    yield from _of_code(function.__code__, function.__globals__, known)


def _of_code(code: CodeType, names: dict[str, Any], known: dict[int, int]) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr((code.co_argcount, code.co_kwonlyargcount, code.co_flags, getattr(code, "co_exceptiontable", b"")))
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant, names, known)
        else:
            yield from _of_value(constant, known)
    for name in code.co_names:  # some are attributes; to take a global too many does no harm
        if name in names:
            yield name
            yield from _of_value(names[name], known)


def _of_value(value: Any, known: dict[int, int]) -> Iterator[str]:
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
    if hasattr(value, "py_func"):
        yield from _of_dispatcher(value, known)
    elif isinstance(value, (tuple, list)):
        yield f"{type(value).__name__} of {len(value)}"
        for item in value:
            yield from _of_value(item, known)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield f"{value.dtype.str} {value.shape} {value.tobytes().hex()}"
    elif isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}"
    elif home.partition(".")[0] in LIBRARIES and hasattr(value, "__name__"):
        yield f"{home} {getattr(value, '__qualname__', value.__name__)}"
    else:
        msg = f"{value!r} cannot be named"
        raise UnnamedError(msg)
