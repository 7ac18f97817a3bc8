"""Tests of the report's figures on a certificate."""

from __future__ import annotations

import pytest

from pairsmith.report.certified import figures


@pytest.mark.parametrize("passed", [0, 6, 15, 16])
def test_the_yield_curve_shows_the_accepted_set(passed: int) -> None:
    """Of 16 sets some are shown. The accepted one, whose rows the certificate names, used to be left out."""
    sets = [{"threshold": 0.9, "size": 100 + n, "seen": 50, "bad": 1} for n in range(16)]
    saw = {"precision": 0.9, "passed": passed, "sets": sets}
    _, (_, _, lines) = figures({"saw": saw})
    accepted = [line.name for line in lines if line.tone == "tuned"]
    assert accepted[-1:] == ([f"{99 + passed} rows"] if passed else [])
    assert lines[-1].name == "115 rows"
    assert len(lines) <= 10
