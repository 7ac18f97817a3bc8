"""Defects that no other row of tests/curate has, and good rows close to them, by the author of the rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.gates import Judgement, judge_text
from tests.curate.test_gate_rates import Row, steps_of

ROWS: list[Row] = [
    json.loads(line) for line in (Path(__file__).parent / "rare_defects.jsonl").read_text("utf-8").splitlines()
]
DEFECTS = sorted({row["defect"] for row in ROWS})


def judged_by_its_gate(row: Row) -> Judgement:
    steps = [step for step in steps_of(row) if step.by.startswith(f"gate/{row['gate']}@")]
    (judgement,) = judge_text(row["input"], row["output"], steps).values()
    return judgement


def is_found(judgement: Judgement) -> bool:
    """Rejected or flagged, but not with the flag for any words in brackets."""
    return not judgement.keep or not set(judgement.flags) <= {"bracketed"}


@pytest.mark.parametrize("defect", DEFECTS)
def test_rare_defect_is_found(defect: str) -> None:
    """A gate finds the defect in every row that has it: three or more, in several languages."""
    bad = [row for row in ROWS if row["defect"] == defect and not row["good"]]
    assert len(bad) >= 3
    assert [row["output"] for row in bad if not is_found(judged_by_its_gate(row))] == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_good_row_close_to_a_rare_defect_is_left_alone(defect: str) -> None:
    """A route with arrows, a name in guillemets, a stage direction, a kept price struck through: nothing is found."""
    good = [row for row in ROWS if row["defect"] == defect and row["good"]]
    assert len(good) >= 3
    assert [(row["output"], one) for row in good if is_found(one := judged_by_its_gate(row))] == []
