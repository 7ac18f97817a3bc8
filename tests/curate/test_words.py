"""Words and numbers of a text."""

from __future__ import annotations

import random
import re

from curate.words import numbers_in, plain, words

SIGNS = "".join(map(chr, range(128))) + "aaa    123"
OTHERS = "äßЖ中あ가๑٣\ud800é\u0301½²"


def texts(letters: str) -> list[str]:
    """Texts that chance has made of some letters."""
    draw = random.Random(9)
    return ["".join(draw.choices(letters, k=draw.randrange(30))) for _ in range(5_000)]


def test_an_ascii_text_has_the_words_that_any_text_would_have() -> None:
    """Whichever way they are read: letter by letter what the rule for all scripts says."""
    for text in texts(SIGNS):
        assert words(text) == (re.findall(r"[^\W_]+", plain(text)) or text.split() or [""])
        assert words(f"{text} 中")[:-1] == re.findall(r"[^\W_]+", plain(text))


def test_numbers_are_runs_of_digits_in_every_script() -> None:
    """Of a text with its digits written as 0 to 9, whatever stands between them."""
    for text in texts(SIGNS + OTHERS):
        assert numbers_in(text) == re.findall("[0-9]+", plain(text))
