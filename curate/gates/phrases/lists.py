"""Lists of words as patterns.

In a list `_` is a blank, `*` stands for any letters, `|` is an edge of a word, and a word behind `!` is none of them:
`un* !until`. Where words stand without blanks (`before` is empty) a short one may stand inside of another, as the
denial `ない` in `少ない` (few): a word behind `!`, or one of the holders, is none wherever it holds one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

# One side of it has no letter; the marks of vowels of the scripts of India are letters.
_EDGE = r"(?:(?<![\w\u0900-\u0963\u0966-\u0d7f])|(?![\w\u0900-\u0963\u0966-\u0d7f]))"


def pattern_of(listed: Collection[str], before: str, after: str, holders: Collection[str] = ()) -> str:
    """One pattern for the words of a list, '' if it has none. A word of `holders` that is listed too is a word."""
    words = {word for word in listed if not word.startswith("!")}
    never = {word[1:] for word in listed if word.startswith("!")} | (set(holders) - words)
    held = [f"(?:{either(never)}){after}"] if never else []
    for word in sorted(never) if not before else ():
        starts = (at for at in range(1, len(word)) if word.startswith(tuple(words), at))
        held += (f"(?<={either([word[:at]])}){either([word[at:]])}" for at in starts)
    but = f"(?!{'|'.join(held)})" if held else ""
    wanted = either(words).replace(r"\|", _EDGE)
    return f"{before}{but}(?:{wanted}){after}" if wanted else ""


def either(words: Iterable[str], *, ends: bool = False) -> str:
    """Words of a list as a pattern, the longest first; `ends`: a word without a star ends where it ends. Those of one
    first character stand behind it, so that one look passes over them; not where it is a sign or is there in two cases.
    """
    begun, every = dict[str, list[str]](), list[str]()
    for word in sorted(words, key=lambda word: (-len(word), word)):
        whole = r"(?!\w)" if ends and not word.endswith("*") else ""
        every.append(re.escape(word).replace("_", r"\s").replace(r"\*", r"\w*") + whole)
        begun.setdefault(re.escape(word[:1]), []).append(every[-1])
    if not begun.keys().isdisjoint((r"\*", "_")) or len({first.casefold() for first in begun}) < len(begun):
        return "|".join(every)
    groups = ((first, [pattern.removeprefix(first) for pattern in patterns]) for first, patterns in begun.items())
    return "|".join(first + (rest[0] if len(rest) == 1 else f"(?:{'|'.join(rest)})") for first, rest in groups)
