"""Finds where the subject at the start of a text ends: `the old mill` in `the old mill dates back ...`."""

from __future__ import annotations

import re
from functools import lru_cache

from curate.gates.folding import CACHE_SIZE

_TOKEN = re.compile(r"[\w'-]+")


@lru_cache(maxsize=CACHE_SIZE)  # a handful of rules ask about the same text
def end_of_subject(text: str, given: str, stop: frozenset[str], articles: frozenset[str]) -> int:
    """Return the index at which the leading words of `text` stop being words of `given`.

    0 if none of them carries content. Both texts are folded. `stop` are words without content; `articles` may precede
    any subject. A plural `s` is ignored.
    """
    known = {word.removesuffix("s") for word in _TOKEN.findall(given)} | articles
    end, has_content = 0, False
    for match in _TOKEN.finditer(text[:120]):
        if match[0].removesuffix("s") not in known:
            break
        has_content |= match[0] not in stop
        end = match.end()
    return end if has_content else 0
