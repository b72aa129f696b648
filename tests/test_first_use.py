"""Compiled kernels on disk: found again by later processes, never in place of other code, and never needed."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import textwrap
import time

import numba
import numpy as np
import pytest
from numba.core.registry import cpu_target

import mrcalib
import mrcalib._kernels
from mrcalib._kernels import _compile
from mrcalib._kernels._compile import KernelCache, kernel, kernel_folder
from mrcalib._kernels._identity import UnnamedError, identity

pytestmark = pytest.mark.skipif(
    os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"),
    reason="kernels are not compiled here (NUMBA_DISABLE_JIT)",
)
FLOATS = np.arange(1.0, 5.0)
INNER = """
from mrcalib._kernels._compile import kernel
STEP = 3
@kernel
def plus(x):
    return x + STEP
"""
OUTER = """
from mrcalib._kernels._compile import kernel
from small.inner import plus
@kernel
def total(values):
    s = values[0] * 0
    for i in range(values.size):
        s += plus(values[i])
    return s
"""
PROGRAM = """
import json, sys
import numpy as np
from small import inner, outer
def counts():
    kernels = inner.plus, outer.total
    loaded, compiled = ([sum(getattr(k.stats, name).values()) for k in kernels] for name in ("cache_hits", "cache_misses"))
    return {"loaded": sum(loaded), "compiled": sum(compiled)}
"""
TOTALS = PROGRAM + "print(json.dumps([float(outer.total(np.arange(4, dtype=d))) for d in sys.argv[1:]] + [counts()]))"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where kernels are kept in a test."""
    monkeypatch.setenv("MRCALIB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


@pytest.fixture
def small(tmp_path, folder):
    """A package of two kernels, one of which calls the other."""
    package = tmp_path / "small"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text(INNER)
    (package / "outer.py").write_text(OUTER)
    return package


def start(small, program, *words, **environment):
    path = os.pathsep.join([str(small.parent), os.path.dirname(mrcalib.__path__[0])])  # noqa: PTH120
    return subprocess.Popen(
        [sys.executable, "-B", "-c", textwrap.dedent(program), *words],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(out)


def run(small, program, *words, **environment):
    return finish(start(small, program, *words, **environment))


def double(x):
    s = 0.0
    for i in range(x.size):
        s += x[i] * 2
    return s


def anew(function=double):
    """The kernel as a new process has it: nothing compiled yet."""
    return kernel(function)


def compilations(k):
    return sum(k.stats.cache_misses.values())


def key_of(function, **options):
    sig = (numba.float64[::1],)
    return identity(numba.njit(**options)(function), sig, cpu_target.target_context.codegen())


def of_source(source, **names):
    names = {"__name__": "somewhere", "np": np, **names}
    exec(source, names)
    return names["f"]


@pytest.mark.slow
def test_eight_processes_at_once_are_right_and_a_ninth_compiles_nothing(small, folder):
    kinds = ("int64", "float64")
    at_once = [start(small, TOTALS, kinds[i % 2]) for i in range(8)]
    assert [finish(process)[0] for process in at_once] == [18] * 8
    assert run(small, TOTALS, *kinds) == [18, 18, {"loaded": 2, "compiled": 0}]
    assert len(list(folder.iterdir())) == 4  # two kinds of each kernel, and nothing half-written


@pytest.mark.slow
@pytest.mark.parametrize(("name", "old", "new"), [("inner.py", "STEP = 3", "STEP = 5"), ("outer.py", "* 0", "+ 7")])
def test_a_change_is_seen_at_once_even_of_the_same_size_and_time(small, name, old, new):
    assert run(small, TOTALS, "int64") == [18, {"loaded": 0, "compiled": 2}]
    path = small / name
    before, as_it_was = path.stat(), path.read_text()
    path.write_text(as_it_was.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert run(small, TOTALS, "int64")[0] == (26 if name == "inner.py" else 25)
    path.write_text(as_it_was)
    assert run(small, TOTALS, "int64") == [18, {"loaded": 1, "compiled": 0}]


@pytest.mark.slow
def test_a_kernel_that_is_compiled_can_call_one_that_was_loaded(small):
    run(small, PROGRAM + "inner.plus(1); print(json.dumps(counts()))")
    assert run(small, TOTALS, "int64") == [18, {"loaded": 1, "compiled": 1}]


BRANCHES = "".join(
    f"    if x > {i}:\n        s += x * STEP / (x + {i})\n        if s > 1e{20 + i}:\n            s = s ** 0.5\n"
    for i in range(12)
)


@pytest.mark.slow
def test_two_versions_that_are_loaded_into_one_process_do_not_mix(small):
    """Functions that are too long to be inlined are found by name, and Numba gives both versions the same ones."""
    text = INNER.replace("STEP = 3", "STEP = 2").replace("    return x + STEP", f"    s = 0.0\n{BRANCHES}    return s")
    reload = PROGRAM + textwrap.dedent("""
        import importlib, pathlib, re
        def both(step):
            path = pathlib.Path(inner.__file__)
            path.write_text(re.sub("STEP = .", f"STEP = {step}", path.read_text()))
            importlib.reload(inner), importlib.reload(outer)
            x = np.array([3.5, 4.5, 5.5])
            return [outer.total(x), outer.total.py_func(x), counts()["compiled"]]
        print(json.dumps([both(int(step)) for step in sys.argv[1:]]))
    """)
    (small / "inner.py").write_text(text)
    (small / "outer.py").write_text(OUTER.replace("plus(values[i])", "plus(values[i]) + plus(values[i] * 2) + plus(s)"))
    for steps in (("2",), ("3",), ("2", "3"), ("3", "2")):
        for compiled, plain, n_compiled in run(small, reload, *steps):
            assert compiled == pytest.approx(plain, rel=1e-12)
            assert n_compiled == 0 or len(steps) == 1


def test_numbers_of_functions_are_what_keeps_them_apart(folder, monkeypatch):
    """Code with names as Numba gives them is not kept."""
    monkeypatch.setattr(_compile, "_number_functions_uniquely", lambda: None)
    monkeypatch.setattr("numba.core.bytecode.FunctionIdentity._unique_ids", iter(range(1, 10**6)))
    assert anew()(FLOATS) == 20
    assert not folder.exists() or not list(folder.iterdir())


def test_an_entry_is_found_again_in_a_folder_of_ones_own(folder):
    first, second = anew(), anew()
    assert first(FLOATS) == second(FLOATS) == 20
    assert (compilations(first), compilations(second)) == (1, 0)
    assert [path.name.rpartition("-")[0] for path in folder.iterdir()] == ["test_first_use.double"]
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["empty", "short", "cut", "bit", "other", "text", "seal of nonsense"])
def test_a_damaged_entry_is_compiled_again_and_replaced(folder, damage):
    anew()(FLOATS)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    nonsense = b"no pickle"
    path.write_bytes(
        {
            "empty": b"",
            "short": whole[:20],
            "cut": whole[:-1],
            "bit": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:],
            "other": _compile._seal(path.with_name("another"), whole[32:]) + whole[32:],
            "text": b"mrcalib" * 100,
            "seal of nonsense": _compile._seal(path, nonsense) + nonsense,
        }[damage]
    )
    again, after = anew(), anew()
    assert again(FLOATS) == after(FLOATS) == 20
    assert (compilations(again), compilations(after)) == (1, 0)


def test_an_entry_that_needs_what_is_not_there_is_compiled_again(folder):
    """The linker would end the process."""
    import pickle

    anew()(FLOATS)
    (path,) = folder.iterdir()
    outside, state = pickle.loads(path.read_bytes()[32:])
    assert "NRT_adapt_ndarray_from_python" in outside
    content = pickle.dumps(([*outside, "__svml_nowhere"], state))
    path.write_bytes(_compile._seal(path, content) + content)
    k = anew()
    assert k(FLOATS) == 20
    assert compilations(k) == 1


def test_an_entry_of_another_user_is_not_run(folder, monkeypatch):
    if not hasattr(os, "getuid"):
        pytest.skip("files have no owner's number here")
    anew()(FLOATS)
    (path,) = folder.iterdir()
    if os.getuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    k = anew()
    assert k(FLOATS) == 20
    assert compilations(k) == 1


@pytest.mark.parametrize("where", ["a file", "no home", "nothing", "cannot write"])
def test_without_a_folder_kernels_are_compiled(tmp_path, monkeypatch, where):
    blocked = tmp_path / "blocked"
    blocked.touch()
    if where == "no home":
        for name in ("MRCALIB_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(blocked))
    elif where == "cannot write":
        monkeypatch.setenv("MRCALIB_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setattr(_compile, "atomic_write", blocked.mkdir)
    else:
        monkeypatch.setenv("MRCALIB_CACHE_DIR", str(blocked) if where == "a file" else "")
    for k in (anew(), anew()):
        assert k(FLOATS) == 20
        assert compilations(k) == 1


def test_a_folder_that_may_only_be_read_is_read(folder):
    anew()(FLOATS)
    os.chmod(folder, 0o500)  # noqa: PTH101
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        known, new = anew(), anew()
        assert known(FLOATS) == new(FLOATS.astype(np.float32)) == 20
        assert (compilations(known), compilations(new)) == (0, 1)
    finally:
        os.chmod(folder, 0o700)  # noqa: PTH101


def test_what_is_not_used_for_a_month_is_swept(folder):
    anew()(FLOATS)
    (used,) = folder.iterdir()
    stale, young = folder / "f-0.kernel", folder / ".1-f-2.kernel"
    for path, days in ((used, 25), (stale, 31), (young, 29)):
        path.touch()
        os.utime(path, (time.time() - days * 86400,) * 2)
    anew()(FLOATS)  # is used
    assert used.stat().st_mtime > time.time() - 100
    anew()(FLOATS.astype(np.float32))  # is written
    assert not stale.exists()
    assert young.exists()
    assert used.exists()


@pytest.mark.slow
def test_settings_of_numba_are_part_of_the_key(small, folder):
    beyond = PROGRAM + textwrap.dedent("""
        @inner.kernel
        def third(x):
            return x[2] * 0
        print(json.dumps([third.targetoptions["nogil"], third(np.zeros(int(sys.argv[1])))]))
    """)
    assert run(small, beyond, "3") == [True, 0.0]
    checked = start(small, beyond, "2", NUMBA_BOUNDSCHECK="1")
    checked.communicate()
    assert checked.returncode == 1
    assert run(small, beyond, "3", NUMBA_OPT="0") == [True, 0.0]
    assert len(list(folder.iterdir())) == 3


def test_uncompiled_kernels_are_plain_functions(small, folder):
    program = PROGRAM + "print(json.dumps([int(outer.total(np.arange(4))), hasattr(outer.total, 'py_func')]))"
    assert run(small, program, NUMBA_DISABLE_JIT="1") == [18, False]
    assert not folder.exists()


@pytest.mark.slow
def test_a_fit_in_a_second_process_compiles_nothing(small, folder):
    program = """
        import json, sys
        import numpy as np
        import mrcalib
        rng = np.random.default_rng(0)
        p = rng.random(5000, dtype=np.float32)
        raters = [(rng.random(p.size) < p).astype(np.uint8) for _ in range(3)]
        calibrated = mrcalib.MHRIsotonicCalibrator().fit(p, raters).transform(p)
        kernels = [v for name, m in sys.modules.items() if name.startswith("mrcalib.") for v in vars(m).values()]
        kernels = {id(k): k for k in kernels if hasattr(k, "py_func")}.values()
        counts = [sum(sum(getattr(k.stats, name).values()) for k in kernels) for name in ("cache_hits", "cache_misses")]
        print(json.dumps([calibrated.astype(float).tolist(), *counts]))
    """
    first, second = run(small, program), run(small, program)
    assert first[0] == second[0]
    assert first[2] >= 3
    assert second[1] >= 3
    assert second[2] == 0


def test_every_kernel_can_be_named():
    """One that could not would be compiled in each process."""
    names = [f"mrcalib._kernels.{m.name}" for m in pkgutil.iter_modules(mrcalib._kernels.__path__)]
    kernels = [v for name in names for v in vars(importlib.import_module(name)).values() if hasattr(v, "py_func")]
    assert (
        len({identity(k, (), cpu_target.target_context.codegen()) for k in kernels})
        == len({id(k) for k in kernels})
        > 20
    )
    assert all(isinstance(k._cache, KernelCache) for k in kernels)


KEYS_SEEN: set[str] = set()


def test_equal_functions_have_equal_keys():
    source = "def f(x):\n    return x[0] + K\n"
    assert key_of(of_source(source, K=1)) == key_of(of_source(source, K=1))
    recursive = numba.njit(of_source("def f(x):\n    return f(x)\n"))
    recursive.py_func.__globals__["f"] = recursive
    sig = cpu_target.target_context.codegen()
    assert identity(recursive, (), sig) == identity(recursive, (), sig)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x):\n    return x[0] - K\n", {"K": 1}),
        ("def f(x):\n    return x[0] + K\n", {"K": 1.0}),
        ("def f(x):\n    return x[0] + K\n", {"K": True}),
        ("def f(x):\n    return x[0] + K\n", {"K": np.float32(1)}),
        ("def f(x):\n    return x[0] + K\n", {"K": (1,)}),
        ("def f(x):\n    return x[0] + K\n", {"K": np.array([1, 2])}),
        ("def f(x):\n    return x[0] + K\n", {"K": np.array([1, 3])}),
        ("def f(x):\n    return x[0] + K\n", {"K": numba.njit(lambda: 1)}),
        ("def f(x):\n    return x[0] + K\n", {"K": numba.njit(lambda: 2)}),
        ("def f(x):\n    return x[0] + K\n", {"K": numba.njit(fastmath=True)(lambda: 2)}),
        ("def f(x, y=1):\n    return x[0] + K\n", {"K": 1}),
        ("def f(x, y=2):\n    return x[0] + K\n", {"K": 1}),
        ("def f(x, *, y=2):\n    return x[0] + K\n", {"K": 1}),
        ("def f(x):\n    return x[0] + np.sqrt(K)\n", {"K": 1}),
        ("def f(x):\n    return x[0] + np.cbrt(K)\n", {"K": 1}),
        ("def g(c):\n    def f(x):\n        return x[0] + c\n    return f\nf = g(1)\n", {}),
        ("def g(c):\n    def f(x):\n        return x[0] + c\n    return f\nf = g(2)\n", {}),
        ("def f(x):\n    def h(y):\n        return y + 1\n    return h(x[0])\n", {}),
        ("def f(x):\n    def h(y):\n        return y + 2\n    return h(x[0])\n", {}),
    ],
)
def test_each_difference_makes_another_key(source, names):
    keys = {key_of(of_source(source, **names)), key_of(of_source(source, **names), nogil=True)}
    keys.add(identity(numba.njit(of_source(source, **names)), (), cpu_target.target_context.codegen()))
    assert len(keys) == 3
    assert not keys & KEYS_SEEN
    KEYS_SEEN.update(keys)


@pytest.mark.parametrize("value", [object(), {"a": 1}, len, pytest, np.array([None]), lambda: 1, [object()]])
def test_a_kernel_of_what_cannot_be_named_has_no_key(value):
    function = of_source("def f(x):\n    return K\n", K=value)
    if value is len:  # a builtin is Python's, whose version is in the key
        assert key_of(function)
        return
    with pytest.raises(UnnamedError, match="cannot be named"):
        key_of(function)


@pytest.mark.slow
def test_constants_of_other_modules_are_never_out_of_date(small):
    (small / "numbers.py").write_text("STEP = 3\n")
    (small / "inner.py").write_text(
        INNER.replace("x + STEP", "x + numbers.STEP").replace("STEP = 3", "from small import numbers")
    )
    assert run(small, TOTALS, "int64")[0] == 18
    (small / "numbers.py").write_text("STEP = 5\n")
    assert run(small, TOTALS, "int64") == [26, {"loaded": 0, "compiled": 2}]


def test_where_kernels_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("MRCALIB_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/users/a")
    monkeypatch.setenv("LOCALAPPDATA", "/users/a/local")
    monkeypatch.setattr(sys, "platform", "linux")
    assert kernel_folder() == tmp_path / "mrcalib" / "kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert kernel_folder().as_posix() == "/users/a/.cache/mrcalib/kernels"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert kernel_folder().as_posix() == "/users/a/Library/Caches/mrcalib/kernels"
    monkeypatch.setattr(sys, "platform", "win32")
    assert kernel_folder().as_posix() == "/users/a/local/mrcalib/kernels"
    monkeypatch.setenv("MRCALIB_CACHE_DIR", str(tmp_path / "mine"))
    assert kernel_folder() == tmp_path / "mine" / "kernels"
    monkeypatch.setenv("MRCALIB_CACHE_DIR", "")
    assert kernel_folder() is None


def test_code_that_changes_while_it_is_compiled_is_not_kept(folder, monkeypatch):
    keys = iter("ab")
    monkeypatch.setattr(_compile, "identity", lambda *_: next(keys))
    assert anew()(FLOATS) == 20
    assert not folder.exists()
