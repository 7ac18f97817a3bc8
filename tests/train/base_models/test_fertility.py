# ruff: noqa: RUF001 (Greek)
"""Tests of how well a base's tokenizer covers a language, which is known before anything is paid for or trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tokenizers", reason="training needs the train extra")

import tokenizers

from pairsmith.checks.health import findings
from schemas.spec import TrainSettings
from train.base_models.fertility import ENGLISH, fertility, first_change, longest, tokenizer_of

GREEK = "Έσπασε σωλήνας στο μπάνιο, πλημμύρισε ο κάτω όροφος στην Καλαμάτα. Παρακαλώ για τις ενέργειές σας. "
SPEC = """
[task]
name = "t"
kind = "reply"
style = "s"
language = "{language}"
[[seeds]]
path = "real.jsonl"
kind = "pair"
[train]
base = "base"
[evaluate.sampling]
max_tokens = {limit}
"""


def tokenizer_trained_on(*texts: str) -> tokenizers.Tokenizer:
    """A byte-level tokenizer, like that of most bases, with merges learned from `texts`."""
    read = tokenizers.Tokenizer(tokenizers.models.BPE())
    read.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet, show_progress=False)
    read.train_from_iterator([text for text in texts for _ in range(9)], trainer)
    return read


@pytest.mark.parametrize(("texts", "little"), [((ENGLISH,), True), ((ENGLISH, GREEK), False)])
def test_a_base_that_has_seen_little_of_a_language_is_detected(texts: tuple[str, ...], little: bool) -> None:
    """Its tokenizer splits unknown text into many tokens; digits and punctuation are not counted."""
    rate = fertility(tokenizer_trained_on(*texts), [GREEK, GREEK, "12 345,60 € --- 2026 " * 40])
    assert rate is not None
    assert rate.has_read_little is little
    assert (rate.times > 1.5) is little
    assert fertility(tokenizer_trained_on(*texts), ["Ναι."]) is None


@pytest.mark.parametrize("text", ["CC(=O)Oc1ccccc1C(=O)O CN1C=NC2=C1C(=O)N(C) ", "KXQZ-19 BVJW-7 GHTR-204 MPDX-88 "])
def test_ids_and_formulas_are_not_an_unknown_language(text: str) -> None:
    """They take many tokens in any base, so another base would be no better; emoji give no measurement."""
    rate = fertility(tokenizer_trained_on(ENGLISH), [text * 30])
    assert rate is not None
    assert rate.is_of_codes
    greek = fertility(tokenizer_trained_on(ENGLISH), [GREEK * 9])
    assert greek is not None
    assert not greek.is_of_codes
    assert fertility(tokenizer_trained_on(ENGLISH), ["👍🎉 ❤️ → ✔ " * 99]) is None


def test_doctor_warns_of_the_language_and_of_a_short_limit(tmp_path: Path) -> None:
    """Beside other facts about the base: the language, and a max_tokens too small for the existing outputs."""
    (tmp_path / "base").mkdir()
    tokenizer = tokenizer_trained_on(ENGLISH)
    tokenizer.save(str(tmp_path / "base" / "tokenizer.json"))
    rows = [{"input": f"Πού είναι το δέμα {n};", "output": f"{GREEK} {n}"} for n in range(6)]
    (tmp_path / "real.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    most = longest(tokenizer, [row["output"] for row in rows])
    for limit, about in ((most - 1, ["language", "evaluate"]), (most, ["language"])):
        (tmp_path / "pairsmith.toml").write_text(SPEC.format(language="el", limit=limit))
        checks = [check for check in findings(tmp_path, ()) if check.about in ("language", "evaluate")]
        assert [check.about for check in checks] == about
        assert {check.state for check in checks} == {"warn"}
        assert "the base has seen little of this language" in checks[0].what
    assert tokenizer_of(TrainSettings(base="nowhere"), tmp_path) is None


def test_the_language_is_measured_in_the_texts_that_the_model_writes(tmp_path: Path) -> None:
    """Inputs of a translation are in another language: measured as if they were answers, English ones made every base
    look as if it had read the target language. Without any output there is no number, only a warning for the embedded
    base, which was trained on English."""
    (tmp_path / "base").mkdir()
    tokenizer_trained_on(ENGLISH).save(str(tmp_path / "base" / "tokenizer.json"))
    (tmp_path / "real.jsonl").write_text("".join(json.dumps({"text": f"{ENGLISH} {n}"}) + "\n" for n in range(6)))
    spec = (
        SPEC.format(language='en"\nto = "el', limit=99).replace('"reply"', '"translate"').replace('"pair"', '"input"')
    )
    (tmp_path / "pairsmith.toml").write_text(spec)
    assert [check for check in findings(tmp_path, ()) if check.about == "language"] == []
    greek = f'[[exemplars]]\ninput = "{ENGLISH}"\noutput = "{GREEK * 3}"\n'
    (tmp_path / "pairsmith.toml").write_text(spec + greek)
    (check,) = (check for check in findings(tmp_path, ()) if check.about == "language")
    assert "('el')" in check.what
    assert "the base has seen little of this language" in check.what


def test_a_tokenizer_that_changes_texts_is_detected() -> None:
    """One that lowers capitals or replaces characters is named with what it does; one that keeps every text, spaces at
    the ends included, is not."""
    read = tokenizer_trained_on(ENGLISH)
    read.decoder = tokenizers.decoders.ByteLevel()
    assert first_change(read, [ENGLISH, " two  spaces \n", GREEK]) is None
    read.normalizer = tokenizers.normalizers.NFKC()
    changed = ("flour and ½ of milk", "flour and 1⁄2 of milk")
    assert first_change(read, [ENGLISH, "a cup of flour and ½ of milk"]) == changed
    read.normalizer = tokenizers.normalizers.Lowercase()
    assert first_change(read, ["Fixed: a crash"]) == ("Fixed: a crash", "fixed: a crash")
