"""Wrong but valid labels, which no rule can detect from a single row: the other rows reveal them."""

from __future__ import annotations

import asyncio
import random
from itertools import product

import pytest

from curate.curation import curate
from curate.flags import unlikely_labels as unlikely_labels_module
from curate.flags.unlikely_labels import FLAG, UNLIKELY, character_vectors, unlikely_labels
from curate.pool import Pool
from curate.similarity.contamination import HeldOut
from curate.similarity.semantic import semantic_steps
from schemas.kinds import with_defaults
from schemas.records import Imported, Pair
from schemas.spec import Spec

# Requests by label, between possible beginnings and endings.
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
    """144 texts with their labels, in random order."""
    before, requests, endings = TICKETS[language]
    rows = [(" ".join(parts), label) for label, texts in requests.items() for parts in product(before, texts, endings)]
    random.Random(3).shuffle(rows)
    return rows


def flagged(rows: list[tuple[str, str]]) -> dict[str, str]:
    """Text -> why its row is flagged; none may be rejected."""
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
def test_wrong_label_is_flagged_with_the_likely_one(language: str) -> None:
    """In any script, all eight wrong labels are flagged. The right ones, and rows whose labels are all right, are left
    alone."""
    rows = tickets(language)
    labels = list(TICKETS[language][1])
    wrong = {text: labels[labels.index(label) - 1] for text, label in rows[:8]}
    reasons = flagged([(text, wrong.get(text, label)) for text, label in rows])
    assert reasons.keys() == wrong.keys()
    assert all(f"'{label}'" in reasons[text] for text, label in rows[:8])
    assert flagged(rows) == {}


def test_nothing_is_flagged_if_labels_cannot_be_predicted() -> None:
    """Random labels would disagree with most rows; nothing can be learnt from few rows or from a single label."""
    rows = tickets("en")
    labels = [label for _, label in rows]
    random.Random(7).shuffle(labels)
    assert flagged([(text, label) for (text, _), label in zip(rows, labels, strict=True)]) == {}
    wrong = {text: "billing" if label != "billing" else "repair" for text, label in rows[:2]}
    assert flagged([(text, wrong.get(text, label)) for text, label in rows[:60]]).keys() == wrong.keys()
    assert flagged([(text, wrong.get(text, label)) for text, label in rows[:49]]) == {}
    assert flagged([(text, "billing") for text, _ in rows]) == {}


def test_rare_label_is_not_judged() -> None:
    """Too little was learnt about such texts for a disagreement to mean anything."""
    rows = tickets("en")
    assert flagged([(text, "praise" if number < 4 else label) for number, (text, label) in enumerate(rows)]) == {}


def test_alternating_labels_are_learnt_from_a_part_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """If labels alternate in the file and only every second or third row is learnt from, every label is still
    learnt."""
    rows = tickets("en")
    by_label = [[row for row in rows if row[1] == label] for label in TICKETS["en"][1]]
    in_turn = [row for turn in zip(*by_label, strict=True) for row in turn]
    wrong = {text: "billing" if label != "billing" else "repair" for text, label in in_turn[30:33]}
    for fitted in (len(rows) // 2, len(rows) // 3):
        monkeypatch.setattr(unlikely_labels_module, "_FITTED", fitted)
        assert flagged([(text, wrong.get(text, label)) for text, label in in_turn]).keys() == wrong.keys()


def test_vectors_do_not_depend_on_other_texts_of_the_block() -> None:
    """A text has the same vector alone and among others, including an empty text and a lone surrogate."""
    texts = ["my parcel", "", "\ud800 lost", "荷物"]
    together = character_vectors(texts)
    assert all((character_vectors([text]) == vector).all() for text, vector in zip(texts, together, strict=True))


def test_label_check_is_on_by_default_for_classifications() -> None:
    """It is a default of tasks with labels; a spec without the key keeps its hash."""

    def steps(**curate: object) -> list[str]:
        task = {"name": "t", "kind": "classify", "labels": ["a", "b"], "style": "Label it."}
        return [step.id.by for step in semantic_steps(spec_of(task, **curate), HeldOut())]

    def spec_of(task: dict[str, object], **curate: object) -> Spec:
        return Spec.model_validate(with_defaults({"task": task, "curate": curate} if curate else {"task": task}))

    assert (steps(), steps(unlikely_labels=False)) == ([UNLIKELY], [])
    rewriting = spec_of({"name": "t", "style": "Say it well."})
    assert semantic_steps(rewriting, HeldOut()) == []
    assert "unlikely_labels" not in rewriting.curate.model_dump()
