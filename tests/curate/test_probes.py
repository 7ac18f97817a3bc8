"""Bad rows by the author of the rules: they show that a rule works, not how often."""

from __future__ import annotations

import json
from pathlib import Path

from tests.curate.test_gate_rates import outcome_of

PROBES = [
    json.loads(line) for line in (Path(__file__).parent / "probes.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_probes_are_caught() -> None:
    """At least 95 % of the rows written for the rules are rejected or flagged."""
    hits = [bool(outcome.rejecting or outcome.flagging) for outcome in map(outcome_of, PROBES)]
    assert sum(hits) >= 0.95 * len(hits)
