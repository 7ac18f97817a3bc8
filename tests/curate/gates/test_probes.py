"""Bad rows by the author of the rules: they show that a rule works, not how often."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.curate.gates.test_gate_rates import outcome_of

PROBES = [
    json.loads(line) for line in (Path(__file__).parent / "probes.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.slow
def test_probes_are_caught() -> None:
    """At least 95 % of the rows written for the rules are rejected or flagged."""
    hits = [bool(outcome.rejecting or outcome.flagging) for outcome in map(outcome_of, PROBES)]
    assert sum(hits) >= 0.95 * len(hits)


@pytest.mark.slow
def test_chat_in_other_words_is_found_in_every_language() -> None:
    """Nine of ten rows of each defect are found: an announcement before a colon, a plan in the first sentence, a doubt
    about the answer, an AI that speaks of itself, an offer at the end, a placeholder although the style says
    `formulate` or `Sie-Form`, a second sentence where one was asked for, a list that the style asks for; a word that
    the style excludes, ignored capitals, another number than the exact one, facts that it excludes, another addressee,
    a denial lost before an exception or before `only ... if`, exchanged values, a heading on one paragraph."""
    by_defect: dict[str, list[bool]] = {}
    for row in PROBES[322:]:
        by_defect.setdefault(row["defect"], []).append(any(outcome_of(row)))
    assert len(by_defect) >= 18
    assert {defect: hits for defect, hits in by_defect.items() if sum(hits) < 0.9 * len(hits)} == {}
