"""Open placeholders and thinking aloud in fifteen languages, and similar good texts: by the author of the rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.curate.gates.test_gate_rates import Row, outcome_of

ROWS: list[Row] = [
    json.loads(line) | {"kind": "rewrite"}
    for line in (Path(__file__).parent / "slots_and_plans.jsonl").read_text(encoding="utf-8").splitlines()
]
BAD, GOOD = ([row for row in ROWS if row["spoilt"] == spoilt] for spoilt in (True, False))
_GATES = {"placeholder", "thinking", "preamble"}
_KNOWN_MISS = "I need a thank-you card here. Short and heartfelt. Done.\n\nThank you for everything."
_KNOWN_FALSE = "In Part XXX of the series, king Louis XX appears."  # a Roman numeral


@pytest.mark.parametrize("row", BAD, ids=lambda row: f"{row['language']}-{row['output'][:40]}")
def test_open_placeholder_or_plan_is_caught(row: Row) -> None:
    """Rejected, or flagged where a diary may begin like this; one kind of plan is known to be missed."""
    outcome = outcome_of(row)
    assert bool(_GATES & (outcome.rejecting | outcome.flagging)) == (row["output"] != _KNOWN_MISS)


@pytest.mark.parametrize("row", GOOD, ids=lambda row: f"{row['language']}-{row['output'][:40]}")
def test_similar_good_text_is_not_rejected(row: Row) -> None:
    """Verse, letters, code, formulas and stage directions are kept; one Roman numeral is known to be rejected."""
    assert bool(outcome_of(row).rejecting) == (row["output"] == _KNOWN_FALSE), outcome_of(row)
