"""Bad rows that the hand of the rules wrote for the rules: they show that a rule works, not how often it does."""

from __future__ import annotations

import json
from pathlib import Path

from tests.curate.test_gate_rates import outcome_of

PROBES = [
    json.loads(line) for line in (Path(__file__).parent / "probes.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_the_probes_are_found() -> None:
    """Nineteen in twenty of the rows that were written for the rules are rejected or flagged."""
    hits = [bool(heard.rejecting or heard.flagging) for heard in map(outcome_of, PROBES)]
    assert sum(hits) >= 0.95 * len(hits)
