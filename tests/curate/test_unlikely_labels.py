"""Wrong labels of the list, which no rule that reads one row can see: the other rows tell."""

from __future__ import annotations

import asyncio
import random
from itertools import product

import pytest

from curate import unlikely_labels as unlikely_labels_module
from curate.contamination import HeldOut
from curate.curation import curate
from curate.pool import Pool
from curate.semantic import semantic_steps
from curate.unlikely_labels import FLAG, UNLIKELY, character_vectors, unlikely_labels
from schemas.kinds import with_defaults
from schemas.records import Imported, Pair
from schemas.spec import Spec

# What somebody wants, by label, between what may stand before and behind it.
TICKETS = {
    "en": (
        ["Hello,", "Good morning,", "Once again:", "Dear team,"],
        {
            "delivery": ["my parcel has not arrived", "the courier left the box in the rain", "where is my shipment"],
            "billing": ["I was charged twice", "the invoice shows a wrong amount", "my discount is not on the bill"],
            "repair": ["the pump has stopped working", "the screen is cracked", "it makes a loud grinding noise"],
        },
        ["since Monday.", "please help.", "thanks, Ida", "order 81"],
    ),
    "ja": (
        ["こんにちは。", "お世話になります。", "至急です。", "再度のご連絡です。"],
        {
            "配送": ["荷物がまだ届きません", "配達の状況を教えてください", "箱が雨に濡れていました"],
            "請求": ["二重に請求されています", "請求書の金額が違います", "割引が反映されていません"],
            "修理": ["ポンプが動かなくなりました", "画面が割れています", "大きな異音がします"],
        },
        ["月曜日からです。", "お願いします。", "田中", "注文81"],
    ),
}


def tickets(language: str) -> list[tuple[str, str]]:
    """144 texts with their labels, in an order that says nothing of them."""
    before, wanted, behind = TICKETS[language]
    rows = [(" ".join(parts), label) for label, texts in wanted.items() for parts in product(before, texts, behind)]
    random.Random(3).shuffle(rows)
    return rows


def flagged(rows: list[tuple[str, str]]) -> dict[str, str]:
    """Text -> why its row is flagged; none may go."""
    origin = Imported(source="test")
    pairs = [Pair(seed_id=text, input=text, output=label, system="", origin=origin) for text, label in rows]
    pool = asyncio.run(curate(Pool.of(pairs), [unlikely_labels()]))
    assert pool.counts.accepted == len(rows)
    return {
        row.pair.input: str(verdict.reason)
        for row in pool.rows()
        for verdict in row.verdicts
        if row.pair and verdict.flags == (FLAG,)
    }


@pytest.mark.parametrize("language", TICKETS)
def test_a_wrong_label_is_flagged_with_the_one_that_other_rows_have(language: str) -> None:
    """In any script, and every wrong one of eight; the right ones, and rows where every label is right, are left
    alone."""
    rows = tickets(language)
    labels = list(TICKETS[language][1])
    wrong = {text: labels[labels.index(label) - 1] for text, label in rows[:8]}
    reasons = flagged([(text, wrong.get(text, label)) for text, label in rows])
    assert reasons.keys() == wrong.keys()
    assert all(f"'{label}'" in reasons[text] for text, label in rows[:8])
    assert flagged(rows) == {}


def test_where_the_texts_do_not_tell_the_labels_nothing_is_flagged() -> None:
    """Labels at random would disagree with most rows; of few rows, or one label, nothing can be learnt."""
    rows = tickets("en")
    labels = [label for _, label in rows]
    random.Random(4).shuffle(labels)
    assert flagged([(text, label) for (text, _), label in zip(rows, labels, strict=True)]) == {}
    assert flagged(rows[:40]) == {}
    assert flagged([(text, "billing") for text, _ in rows]) == {}


def test_a_label_that_hardly_any_row_has_is_not_judged() -> None:
    """Nothing of what such a text looks like was learnt, so that it is unlike its label says nothing."""
    rows = tickets("en")
    assert flagged([(text, "praise" if number < 4 else label) for number, (text, label) in enumerate(rows)]) == {}


def test_labels_that_take_turns_are_learnt_from_a_part_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in which labels follow each other in turn, and of which every second or third row would be learnt from:
    every label is known."""
    rows = tickets("en")
    by_label = [[row for row in rows if row[1] == label] for label in TICKETS["en"][1]]
    in_turn = [row for turn in zip(*by_label, strict=True) for row in turn]
    wrong = {text: "billing" if label != "billing" else "repair" for text, label in in_turn[30:33]}
    for fitted in (len(rows) // 2, len(rows) // 3):
        monkeypatch.setattr(unlikely_labels_module, "_FITTED", fitted)
        assert flagged([(text, wrong.get(text, label)) for text, label in in_turn]).keys() == wrong.keys()


def test_texts_of_a_block_do_not_run_into_each_other() -> None:
    """A text has the same vector alone and among others, an empty one and half a character too."""
    texts = ["my parcel", "", "\ud800 lost", "荷物"]
    together = character_vectors(texts)
    assert all((character_vectors([text]) == vector).all() for text, vector in zip(texts, together, strict=True))


def test_a_classification_looks_at_its_labels_unless_told_not_to() -> None:
    """It is a default of tasks with labels; the spec without the key keeps its hash."""

    def steps(**curate: object) -> list[str]:
        task = {"name": "t", "kind": "classify", "labels": ["a", "b"], "style": "Label it."}
        return [step.id.by for step in semantic_steps(spec_of(task, **curate), HeldOut())]

    def spec_of(task: dict[str, object], **curate: object) -> Spec:
        return Spec.model_validate(with_defaults({"task": task, "curate": curate} if curate else {"task": task}))

    assert (steps(), steps(unlikely_labels=False)) == ([UNLIKELY], [])
    rewriting = spec_of({"name": "t", "style": "Say it well."})
    assert semantic_steps(rewriting, HeldOut()) == []
    assert "unlikely_labels" not in rewriting.curate.model_dump()
