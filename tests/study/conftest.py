"""Six small cases, and a plain protocol."""

from __future__ import annotations

import pytest
from plain_protocol import Recorder, make_cases, stub


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def protocol(recorder):
    return stub(recorder)


@pytest.fixture
def cases():
    return make_cases()
