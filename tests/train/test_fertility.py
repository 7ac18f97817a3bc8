# ruff: noqa: RUF001 (Greek)
"""What a base makes of a language is told by its tokenizer, before anything is paid for or trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tokenizers", reason="training needs the train extra")

import tokenizers

from pairsmith.health import findings
from schemas.spec import TrainSettings
from train.fertility import ENGLISH, fertility, longest, tokenizer_of

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


def tokenizer_that_read(*texts: str) -> tokenizers.Tokenizer:
    """One of bytes, as those of most bases, that has merged what it met in `texts`."""
    read = tokenizers.Tokenizer(tokenizers.models.BPE())
    read.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet, show_progress=False)
    read.train_from_iterator([text for text in texts for _ in range(9)], trainer)
    return read


@pytest.mark.parametrize(("texts", "little"), [((ENGLISH,), True), ((ENGLISH, GREEK), False)])
def test_a_base_that_has_read_little_of_a_language_is_told(texts: tuple[str, ...], little: bool) -> None:
    """It spells what it has not read, and so takes many steps for an answer; digits and marks tell nothing."""
    rate = fertility(tokenizer_that_read(*texts), [GREEK, GREEK, "12 345,60 € --- 2026 " * 40])
    assert rate is not None
    assert rate.has_read_little is little
    assert (rate.times > 1.5) is little
    assert fertility(tokenizer_that_read(*texts), ["Ναι."]) is None


@pytest.mark.parametrize("text", ["CC(=O)Oc1ccccc1C(=O)O CN1C=NC2=C1C(=O)N(C) ", "KXQZ-19 BVJW-7 GHTR-204 MPDX-88 "])
def test_ids_and_formulas_are_no_language_that_was_not_read(text: str) -> None:
    """They take many tokens of any base, and another base would read them no better; emoji tell nothing at all."""
    rate = fertility(tokenizer_that_read(ENGLISH), [text * 30])
    assert rate is not None
    assert rate.is_of_codes
    greek = fertility(tokenizer_that_read(ENGLISH), [GREEK * 9])
    assert greek is not None
    assert not greek.is_of_codes
    assert fertility(tokenizer_that_read(ENGLISH), ["👍🎉 ❤️ → ✔ " * 99]) is None


def test_doctor_tells_it_and_what_a_limit_cuts(tmp_path: Path) -> None:
    """Beside the other facts of the base: the language, and a limit that the outputs that are there do not fit in."""
    (tmp_path / "base").mkdir()
    tokenizer = tokenizer_that_read(ENGLISH)
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
