"""Rows of tasks that no rule was made for (quizzes, clues, regular expressions, configurations, refusals as wanted
answers, recipes, notices) in languages that are rarely tried. Each names the gates that it concerns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.gates import judge_text
from tests.curate.gates.test_gate_rates import steps_of

Row = dict[str, Any]
ROWS = [json.loads(line) for line in (Path(__file__).parent / "unseen_tasks.jsonl").read_text("utf-8").splitlines()]


def objections(row: Row) -> dict[str, str]:
    """What the row's gates reject or flag, by gate."""
    concerned = row["gates"].split()
    steps = [step for step in steps_of(row) if step.by.removeprefix("gate/").partition("@")[0] in concerned]
    judgements = judge_text(row["input"], row["output"], steps)
    return {by: str(judgement.reason) for by, judgement in judgements.items() if not judgement.keep or judgement.flags}


@pytest.mark.parametrize("gates", sorted({row["gates"] for row in ROWS}))
def test_good_rows_are_neither_rejected_nor_flagged(gates: str) -> None:
    """A gap that was asked for, a refusal that the style wants, a date with its century, 2 150 for 2150, an emoji."""
    good = [row for row in ROWS if row["good"] and row["gates"] == gates]
    assert not [(row["output"], found_by) for row in good if (found_by := objections(row))]


@pytest.mark.parametrize("gates", sorted({row["gates"] for row in ROWS if not row["good"]}))
def test_bad_rows_are_rejected_or_flagged(gates: str) -> None:
    """What a rule that excuses good rows must still find, and what the tables of five languages find."""
    bad = [row for row in ROWS if not row["good"] and row["gates"] == gates]
    assert not [row["output"] for row in bad if not objections(row)]
