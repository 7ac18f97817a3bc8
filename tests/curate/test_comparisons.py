"""Rows by the hand that made the rules, for what shows when input and output are compared: bad ones of some thirty
kinds of defect in nineteen languages, and good ones that look alike. They show that a rule works, not how often."""

from __future__ import annotations

import json
from pathlib import Path

from tests.curate.test_gate_rates import Row, said

ROWS: list[Row] = [
    json.loads(line) for line in (Path(__file__).parent / "comparisons.jsonl").read_text(encoding="utf-8").splitlines()
]
HEARD = {spoilt: [said(row) for row in ROWS if row["spoilt"] == spoilt] for spoilt in (True, False)}


def test_five_in_six_of_the_bad_rows_are_found() -> None:
    """Rejected or flagged; before rules were made for them it was 151 of 262."""
    found = [bool(heard.rejecting or heard.flagging) for heard in HEARD[True]]
    assert sum(found) >= 5 * len(found) / 6


def test_what_looks_alike_is_not_rejected_by_what_compares() -> None:
    """Six of 149 good rows are rejected, by older rules on echoes, cuts and thinking aloud, and one in five flagged:
    they were written to be."""
    rejecting = [gate for heard in HEARD[False] for gate in heard.rejecting]
    assert set(rejecting) <= {"echo", "cut", "thinking"}
    assert len(rejecting) <= 6
    assert sum(bool(heard.flagging) for heard in HEARD[False]) <= len(HEARD[False]) / 5


def test_one_case_of_each_comparison_is_flagged_by_its_gate() -> None:
    """Each of the comparisons, on one row that only it finds."""
    cases: list[tuple[str, str, Row]] = [
        ("swapped", "key under left pot", {"output": "The key is under the right pot."}),
        (
            "answered",
            "pool open from monday, bring cap",
            {"output": "The pool is open from Monday; bring a cap. From Monday the pool is open, so bring a cap."},
        ),
        (
            "lost_content",
            "kitchen: the tap drips, the lamp flickers, the oven stays cold",
            {"output": "In the kitchen the tap drips and the oven stays cold."},
        ),
        ("invented_name", "vet said the cat is fine", {"output": "The vet said that Biscuit is fine, the cat."}),
        (
            "cut",
            "to do: book hall, print tickets, call band",
            {"output": "1. Book the hall\n2. Print the tickets\n4. Call the band"},
        ),
        ("limits", "the key fits the lock of the shed", {"output": "The key does not fit the lock of the shed."}),
    ]
    for gate, given, rest in cases:
        row = {"kind": "rewrite", "language": "en", "input": given, **rest}
        assert gate in said(row).flagging, row
    row = {"kind": "classify", "language": "en", "labels": ["positive", "negative"], "input": "Worst hotel ever."}
    assert "label" in said({**row, "output": "positive"}).flagging
    assert not said({**row, "output": "negative"}).flagging
