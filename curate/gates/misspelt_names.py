"""Detects a name that is spelt differently than in the input.

misspelt("ask Siobhan Kearney", "Please ask Siobhan Kearny.") == ("Kearney", "Kearny")
"""

from __future__ import annotations

import re
from itertools import takewhile

from curate.gates.folding import fold, unaccented

# The pattern begins with the letter and looks behind from there, so that most characters are skipped quickly.
_NAME = re.compile(
    r"[^\W\d_a-z](?<![.!?\u2026:] [^\n])(?<!^[^\n])(?<!\n[^\n])(?<![\w'\u2019-][^\n])[^\W\d_A-Z]{4,}(?![\w'\u2019-])"
)
_ONE_CASE = ("en", "fr", "es", "pt", "it")  # languages in which names are not inflected
_SAME_START = 3  # letters that both names begin with


def misspelt(before: str, after: str, language: str = "") -> tuple[str, str] | None:
    """Return a capitalised word of `before` and its misspelling in `after`, or None.

    Neither word may occur in the other text. A misspelling has one letter missing, doubled, changed or moved inside the
    word; the last letter may differ only in a `language` whose names are not inflected.
    """
    if not _NAME.search(after):
        return None
    here, there = (unaccented(fold(side)) for side in (before, after))
    lost = {name for name in _NAME.findall(before) if name[0].isupper() and unaccented(fold(name)) not in there}
    new = (
        {n for n in _NAME.findall(after) if n[0].isupper() and unaccented(fold(n)) not in here} if lost else set[str]()
    )
    return next(((one, other) for one in sorted(lost) for other in sorted(new) if _is_slip(one, other, language)), None)


def _is_slip(one: str, other: str, language: str) -> bool:
    first, second = unaccented(fold(one)), unaccented(fold(other))
    if abs(len(first) - len(second)) > 1 or first[:_SAME_START] != second[:_SAME_START]:
        return False
    if first[-1] != second[-1] and (language not in _ONE_CASE or "s" in (first[-1], second[-1])):
        return False
    begin = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    first, second = first[begin:], second[begin:]
    return first[1:] in (second, second[1:]) or first == second[1:] or first[1::-1] + first[2:] == second
