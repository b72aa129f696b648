"""How all tests run: hypothesis without deadlines (kernels compile on their first call), big arrays only when compiled."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("mrcalib", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mrcalib")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "compiled: walks millions of voxels; skipped where NUMBA_DISABLE_JIT is set")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0"):
        return
    for item in items:
        if item.get_closest_marker("compiled"):
            item.add_marker(pytest.mark.skip(reason="kernels are not compiled here (NUMBA_DISABLE_JIT)"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)
