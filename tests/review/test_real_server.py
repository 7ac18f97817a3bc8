"""Says in every test run that the tests against a real Argilla server are there, and whether they ran."""

from __future__ import annotations

import os

import pytest


def test_the_real_server_is_tested_where_it_is_asked_for() -> None:
    """With PAIRSMITH_TEST_ARGILLA=1 the tests beside this one start a real Argilla server; without it this says so."""
    if not os.environ.get("PAIRSMITH_TEST_ARGILLA"):
        pytest.skip("a real Argilla server is started only with PAIRSMITH_TEST_ARGILLA=1")
    pytest.importorskip("argilla")
