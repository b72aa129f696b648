"""How all tests run: hypothesis without deadlines (kernels compile on their first call), big arrays only when compiled.

By default tests marked ``slow`` are left out (``-m "not slow"`` in pyproject.toml), and hypothesis tries 20 examples of each
property. The gate runs everything, with more examples: ``pytest -m '' --hypothesis-profile gate``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

for profile, max_examples in (("mrcalib", 20), ("gate", 60)):
    settings.register_profile(
        profile, max_examples=max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("mrcalib")  # unless the command line says --hypothesis-profile

HERE = Path(__file__).parent
WHOLE_PROGRAMS = (HERE / "examples", HERE / "benchmarks", HERE / "test_examples.py")


def runs_whole_programs(path: Path) -> bool:
    """Whether the tests of a file train networks or run examples and benchmarks from end to end: they are all slow."""
    return any(path == program or program in path.parents for program in WHOLE_PROGRAMS)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what would be deselected: it needs PyTorch."""
    return True if config.getoption("markexpr") == "not slow" and runs_whole_programs(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    uncompiled = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    for item in items:
        if runs_whole_programs(item.path):
            item.add_marker(pytest.mark.slow)
        if uncompiled and item.get_closest_marker("compiled"):
            item.add_marker(pytest.mark.skip(reason="kernels are not compiled here (NUMBA_DISABLE_JIT)"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data, which is not part of the package."""
    root = os.environ.get("MRCALIB_SHARED")
    folder = (Path(root) if root else Path(__file__).parents[2] / "shared") / "data"
    if not folder.is_dir():
        pytest.skip(f"the shared real data is not at {folder} (set MRCALIB_SHARED)")
    return folder
