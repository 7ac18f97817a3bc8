"""The words and numbers of a text."""

from __future__ import annotations

import random
import re

from curate.words import _HAS_DIGIT_OF_OTHER_SCRIPT, _HAS_VARIANT, _VARIANTS, numbers_in, plain, words

SIGNS = "".join(map(chr, range(128))) + "aaa    123"
OTHERS = "äßЖ中あ가๑٣\ud800é\u0301½²"


def texts(letters: str) -> list[str]:
    """Random texts of the given characters."""
    draw = random.Random(9)
    return ["".join(draw.choices(letters, k=draw.randrange(30))) for _ in range(5_000)]


def test_ascii_text_is_split_like_any_other() -> None:
    """The fast path for ASCII gives the words of the rule for all scripts."""
    for text in texts(SIGNS):
        assert words(text) == (re.findall(r"[^\W_]+", plain(text)) or text.split() or [""])
        assert words(f"{text} 中")[:-1] == re.findall(r"[^\W_]+", plain(text))


def test_numbers_are_runs_of_digits_in_every_script() -> None:
    """The numbers of a text are its runs of digits, with the digits of every script converted to 0 to 9."""
    for text in texts(SIGNS + OTHERS):
        assert numbers_in(text) == re.findall("[0-9]+", plain(text))


def test_text_without_variants_is_recognised_by_its_characters() -> None:
    """No character that has a variant, alone or next to a space, is missed by the searches that come first."""
    every = (f"a {chr(code)} a" for code in range(0x110000))
    variants = [text for text in every if _VARIANTS.search(text)]
    assert len(variants) > 1_000
    assert [text for text in variants if not (_HAS_VARIANT(text) or _HAS_DIGIT_OF_OTHER_SCRIPT(text))] == []
