"""Slots and thinking aloud in fifteen languages, and texts that look alike: by the hand that made the rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.curate.test_gate_rates import Row, outcome_of

ROWS: list[Row] = [
    json.loads(line) | {"kind": "rewrite"}
    for line in (Path(__file__).parent / "slots_and_plans.jsonl").read_text(encoding="utf-8").splitlines()
]
SPOILT, FINE = ([row for row in ROWS if row["spoilt"] == spoilt] for spoilt in (True, False))
_OF_SLOTS = {"placeholder", "thinking", "preamble"}
_KNOWN_MISS = "I need a thank-you card here. Short and heartfelt. Done.\n\nThank you for everything."
_KNOWN_FALSE = "In Part XXX of the series, king Louis XX appears."  # a Roman number


@pytest.mark.parametrize("row", SPOILT, ids=lambda row: f"{row['language']}-{row['output'][:40]}")
def test_an_open_slot_or_a_plan_is_found(row: Row) -> None:
    """Rejected, or flagged where a diary may begin so; one kind of plan is known to be missed."""
    heard = outcome_of(row)
    assert bool(_OF_SLOTS & (heard.rejecting | heard.flagging)) == (row["output"] != _KNOWN_MISS)


@pytest.mark.parametrize("row", FINE, ids=lambda row: f"{row['language']}-{row['output'][:40]}")
def test_a_text_that_looks_alike_is_not_rejected(row: Row) -> None:
    """Verse, letters, code, formulas and stage directions are kept; one Roman number is known to be taken for one."""
    assert bool(outcome_of(row).rejecting) == (row["output"] == _KNOWN_FALSE), outcome_of(row)
