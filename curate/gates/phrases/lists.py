"""Word lists as regular expressions.

In a list, `_` stands for a space, `*` for any letters and `|` for a word edge; a word after `!` is excluded, as in
`un* !until`. In languages written without spaces (`before` is empty), a short word may occur inside another one, as the
denial `ない` in `少ない` (few). There, a word after `!` and any of the `holders` is excluded wherever it contains a
listed word. In other languages, a holder of several words is: `केवल` (only) in `न_केवल` (not only).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

# One side of it has no letter. The vowel signs of the scripts of India count as letters.
_EDGE = r"(?:(?<![\w\u0900-\u0963\u0966-\u0d7f])|(?![\w\u0900-\u0963\u0966-\u0d7f]))"


def pattern_of(listed: Collection[str], before: str, after: str, holders: Collection[str] = ()) -> str:
    """Return one pattern for the words of a list, or '' for an empty list.

    A word of `holders` that is itself listed counts as listed.
    """
    words = {word for word in listed if not word.startswith("!")}
    never = {word[1:] for word in listed if word.startswith("!")} | (set(holders) - words)
    exclusions = [f"(?:{alternation(never)}){after}"] if never else []
    for word in sorted(never):
        starts = (at for at in range(1, len(word)) if word.startswith(tuple(words), at))
        inside = (at for at in starts if not before or (word in holders and word[at - 1] == "_"))
        exclusions += (f"(?<={before}{alternation([word[:at]])}){alternation([word[at:]])}{after}" for at in inside)
    exclude = f"(?!{'|'.join(exclusions)})" if exclusions else ""
    wanted = alternation(words).replace(r"\|", _EDGE)
    return f"{before}{exclude}(?:{wanted}){after}" if wanted else ""


def alternation(words: Iterable[str], *, ends: bool = False) -> str:
    """Return an alternation of the words of a list, longest first. With `ends`, a word without a star must end there.

    Words with the same first character are grouped after it, so that one comparison skips them all. They are not
    grouped if a word begins with a wildcard, or if a first character occurs in both cases.
    """
    by_first, every = dict[str, list[str]](), list[str]()
    for word in sorted(words, key=lambda word: (-len(word), word)):
        whole = r"(?!\w)" if ends and not word.endswith("*") else ""
        every.append(re.escape(word).replace("_", r"\s").replace(r"\*", r"\w*") + whole)
        by_first.setdefault(re.escape(word[:1]), []).append(every[-1])
    if not by_first.keys().isdisjoint((r"\*", "_")) or len({first.casefold() for first in by_first}) < len(by_first):
        return "|".join(every)
    groups = ((first, [pattern.removeprefix(first) for pattern in patterns]) for first, patterns in by_first.items())
    return "|".join(first + (rest[0] if len(rest) == 1 else f"(?:{'|'.join(rest)})") for first, rest in groups)
