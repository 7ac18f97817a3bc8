"""A natural language inference model flags contradictions of the input; no row waits or is rejected because of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from curate.curation import curate
from curate.flags.contradiction import FLAG, UNREAD, contradictions
from curate.pool import Pool
from curate.steps import NamedStep
from schemas.errors import SpecError
from schemas.records import Imported, Pair
from tests.curate import tiny
from tests.curate.scorers.test_reward import bert

LABELS = {"ENTAILMENT": 0, "NEUTRAL": 1, "CONTRADICTION": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("nli"), label2id=LABELS, id2label={n: name for name, n in LABELS.items()})


def pairs() -> list[Pair]:
    words = tiny.WORDS
    return [
        Pair(
            seed_id=str(n), input=" ".join(words[n : n + 3]), output=" ".join(words[n + 5 : n + 9]), system="",
            origin=Imported(source="t"),
        )
        for n in range(24)
    ]  # fmt: skip


def test_a_row_is_flagged_by_the_probability_of_its_contradiction(folder: Path) -> None:
    """The label is identified by its name, the probability is the model's, and every row is kept."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = pairs()
    pool = asyncio.run(curate(Pool.of(rows), [contradictions(folder, batch_tokens=256)]))
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        expected = [
            float(model(**tokenizer(p.input, p.output, return_tensors="pt")).logits.softmax(-1)[0, 2]) for p in rows
        ]
    assert min(expected) < 0.4 < 0.6 < max(expected), "some rows of each kind"
    assert pool.counts.accepted == len(rows)
    for row, p in zip(pool.rows(), expected, strict=True):
        (verdict,) = row.verdicts
        assert verdict.score == pytest.approx(p, abs=0.02)
        if abs(p - 0.5) > 0.05:
            assert (FLAG in row.flags) == (p >= 0.5)


def test_unreadable_row_is_flagged_as_such(folder: Path) -> None:
    """A row that is too long would otherwise wait for ever; it is kept and flagged for a look."""
    long = pairs()[0].model_copy(update={"output": "ban " * 600})
    pool = asyncio.run(curate(Pool.of([long]), [contradictions(folder, batch_tokens=256)]))
    (row,) = pool.rows()
    assert row.keep is True
    assert row.flags == (UNREAD,)


def test_model_without_a_contradiction_label_is_refused(tmp_path: Path) -> None:
    """A sentiment model, for example, would flag rows by mood."""
    mood = bert(tmp_path / "mood", label2id={"positive": 0, "negative": 1}, id2label={0: "positive", 1: "negative"})
    step: NamedStep = contradictions(mood, batch_tokens=256)
    with pytest.raises(SpecError, match="no label 'contradiction'"):
        asyncio.run(curate(Pool.of(pairs()), [step]))
