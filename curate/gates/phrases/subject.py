"""The end of the subject at the start of a text: `the old mill` of `the old mill dates back ...`."""

from __future__ import annotations

import re
from functools import lru_cache

from curate.gates.folding import REMEMBERED

_TOKEN = re.compile(r"[\w'-]+")


@lru_cache(maxsize=REMEMBERED)  # a handful of rules ask about one text
def end_of_subject(text: str, given: str, stop: frozenset[str], articles: frozenset[str]) -> int:
    """The index where the leading words of `text` stop being words of `given`; 0 if none of them carries content.

    Both are folded; `stop` are the words without content, `articles` may stand before any subject. A
    plural `s` makes no difference.
    """
    known = {word.removesuffix("s") for word in _TOKEN.findall(given)} | articles
    end, has_content = 0, False
    for match in _TOKEN.finditer(text[:120]):
        if match[0].removesuffix("s") not in known:
            break
        has_content |= match[0] not in stop
        end = match.end()
    return end if has_content else 0
