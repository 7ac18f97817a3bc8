"""Defects that no other row of tests/curate has, and good rows close to them, by the author of the rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.gates import Judgement, judge_text
from curate.gates.mixed_language import mixed_language
from tests.curate.gates.test_gate_rates import Row, steps_of
from tests.curate.tiny import pair

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


@pytest.mark.parametrize(
    ("language", "text", "good"),
    [
        ("de", "Das Kind saß ganz still in der Ecke und las ein Buch.", True),
        ("fr", "Elle travaille au sein de notre équipe depuis longtemps.", True),
        ("fr", "Dans la forêt vit un ours brun avec ses petits.", True),
        ("nl", "Door de vorst zijn de wegen vanmorgen erg glad.", True),
        ("pl", "Nasz lot do Krakowa jest opóźniony.", True),
        ("cs", "Na stole leží modré pero a sešit.", True),
        ("id", "Besok ada tes bahasa di sekolah kami.", True),
        ("sv", "Kursen är stängd wegen sjukdom.", False),
        ("de", "Die Kasse schließt about eine Stunde früher.", False),
        ("pl", "Lot do Krakowa jest opóźniony wegen mgły.", False),
    ],
)
def test_word_that_two_languages_have_is_not_a_slip(language: str, text: str, good: bool) -> None:
    """`still`, `sein`, `wegen`, `lot` and `pero` are words of the text's own language; elsewhere they are found."""
    assert mixed_language(pair("x", text), language, None).keep is good
