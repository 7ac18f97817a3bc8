"""The gates on 60 handwritten rows with one defect each or none, and on everything that the examples present as good.

A gate that rejects a row with another gate's defect is counted as wrong, although it may be right about that row.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from curate.gates import GateStep, gates_for, judge_text
from schemas.spec import Spec
from schemas.spec_file import load

ROOT = Path(__file__).parents[3]
ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (ROOT / "tests/curate/gates/defects.jsonl").read_text(encoding="utf-8").splitlines()
]
GATES = ("length", "repetition", "echo", "preamble", "answered", "lost_content", "language", "must", "must_not")
EXAMPLES = ("image-prompts", "support-replies")


@cache
def spec(example: str) -> Spec:
    return load(ROOT / "examples" / example).spec


@cache
def steps(example: str) -> tuple[GateStep, ...]:
    return tuple(gates_for(spec(example).task, spec(example).curate.gates, ROOT / "examples" / example))


def rejecting(example: str, input: str, output: str, *, or_flagging: bool = False) -> dict[str, str]:
    """The gates that do not pass the text, with their reasons; all patterns of a kind count as one gate."""
    judgements = judge_text(input, output, steps(example), spec(example).task.style)
    return {
        by.removeprefix("gate/").partition("@")[0].partition(":")[0]: str(judgement.reason)
        for by, judgement in judgements.items()
        if judgement.keep is not True or (or_flagging and judgement.flags)
    }


class Measured(NamedTuple):
    """The results of a gate on the set, in rows."""

    with_defect: int
    rejected: int
    correctly: int


@cache
def measured() -> dict[str, Measured]:
    by_gate: dict[str, list[str | None]] = defaultdict(list)
    for row in ROWS:
        for gate in rejecting(row["task"], row["input"], row["output"], or_flagging=True):
            by_gate[gate].append(row["defect"])
    return {
        gate: Measured(
            sum(row["defect"] == gate for row in ROWS), len(by_gate[gate]), sum(d == gate for d in by_gate[gate])
        )
        for gate in GATES
    }


def test_set_contains_every_defect() -> None:
    """60 rows, including good ones, and at least four with the defect of each gate."""
    assert len(ROWS) == 60
    assert {row["defect"] for row in ROWS} == {None, *GATES}
    assert all(rate.with_defect >= 4 for rate in measured().values())


@pytest.mark.parametrize("row", [row for row in ROWS if row["defect"] is None], ids=lambda row: row["id"])
def test_no_good_row_is_rejected(row: dict[str, Any]) -> None:
    """A row without a defect passes every gate."""
    assert rejecting(row["task"], row["input"], row["output"]) == {}


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_exemplar_is_rejected(example: str) -> None:
    """The examples shown to the teacher pass every gate."""
    exemplars = spec(example).exemplars
    assert len(exemplars) >= 4
    assert [rejecting(example, e.input, e.output) for e in exemplars] == [{}] * len(exemplars)


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_excellent_output_is_rejected(example: str) -> None:
    """An excellent text passes every gate with its own first words as the input."""
    lines = (ROOT / "examples" / example / "excellent.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert len(texts) > 20
    rejections = {text: rejecting(example, " ".join(text.split()[:12]), text) for text in texts}
    assert {text: reasons for text, reasons in rejections.items() if reasons} == {}


@pytest.mark.parametrize("gate", GATES)
def test_gate_catches_its_own_defect(gate: str) -> None:
    """Every row with it is rejected or flagged, and at most one other row: an echo is too short as well."""
    rate = measured()[gate]
    assert rate.correctly == rate.with_defect
    assert rate.rejected - rate.correctly <= 1
