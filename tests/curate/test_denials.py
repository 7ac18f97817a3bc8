"""Rows by the hand that made the rules: words that only hold the letters of one that denies, limits or asks, as the
Japanese for few holds the one for not, and denials that are gone. They show that a rule works, not how often."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from curate.gates import judge_text
from curate.gates.folding import fold
from curate.gates.phrases import lexicon, list_pattern
from curate.gates.phrases.lists import pattern_of
from tests.curate.test_gate_rates import Row, steps_of

ROWS: list[Row] = [
    json.loads(line) for line in (Path(__file__).parent / "denials.jsonl").read_text(encoding="utf-8").splitlines()
]


def flags_of(row: Row) -> tuple[str, ...]:
    judgements = judge_text(row["input"], row["output"], steps_of(row))
    return next(judgement.flags for by, judgement in judgements.items() if by.startswith("gate/limits@"))


def test_letters_of_a_denial_inside_of_another_word_deny_nothing() -> None:
    """`少ない`, `别墅`, `동안`, `لمدة` and `नाम` are no denials, in a translation and in a rewrite; of 117 such rows in
    five languages none is flagged. With the rules before it was 90."""
    kept = [row for row in ROWS if row["kept"]]
    spoken = {row.get("to", row["language"]) for row in kept} | {row["language"] for row in kept}
    assert spoken >= {"ja", "zh", "ko", "ar", "hi"}
    assert [row for row in kept if flags_of(row)] == []


def test_a_denial_that_is_gone_is_flagged_in_these_languages() -> None:
    """The same letters as a word of their own: all of 38 lost or added denials and conditions are flagged."""
    assert [row for row in ROWS if not row["kept"] and not flags_of(row)] == []


@pytest.mark.parametrize("language", ["ja", "zh", "ko", "ar", "hi"])
def test_every_holder_holds_a_word_of_a_list(language: str) -> None:
    """A word of the list `holders` that held nothing would be there for nothing; and none of them is found itself."""
    denies = list_pattern(language, "negation")
    for word in lexicon(language).words("holders") - lexicon(language).words("negation"):
        assert not denies.search(fold(word.replace("_", " "))), word


def test_a_holder_is_none_wherever_it_holds_the_word() -> None:
    """At its start, in its midst and at its end; the word beside it is one, and so is a holder that is listed too."""
    pattern = re.compile(pattern_of(("ない", "除非"), "", "", ("少ない", "ないしょ", "申し訳ない", "除非")))
    assert [bool(pattern.search(text)) for text in ("少ない", "ないしょ", "申し訳ないと")] == [False] * 3
    assert [bool(pattern.search(text)) for text in ("行かない", "少ないが行かない", "除非下雨")] == [True] * 3


def test_an_edge_is_where_a_word_ends() -> None:
    """At a blank, a stop and the ends of a text, and not before the sign of a vowel."""
    pattern = re.compile(pattern_of(("|안|", "ना|"), "", ""))
    assert [bool(pattern.search(text)) for text in ("안 가요", "저는 안 가요", "ना।", "ना")] == [True] * 4
    assert [bool(pattern.search(text)) for text in ("동안 비가", "안내", "नाम", "नाश्ता")] == [False] * 4
