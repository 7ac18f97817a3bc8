"""Words that a text puts into somebody's mouth, and its input does not.

made_up_quote("mayor opened the pool", 'The mayor opened the pool. "A proud day for us all," he said.', "en")
"""

from __future__ import annotations

import re

from curate.gates.coverage import is_known_to, roots, share
from curate.gates.form import is_verse
from curate.gates.words import count_words

_QUOTE = re.compile(
    r"[\"\u201c\u201e\u00ab\u300c]([^\"\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\n]{12,300})[\"\u201d\u201c\u00bb\u300d]"
)
_MARK = re.compile(r"[\"\u201c\u201e\u00ab\u300c]|(?<!\w)['\u2018]")
_OWN, _LEAST, _LONGER = 0.35, 4, 4  # share of its roots in the input, words, of the input's words


def made_up_quote(given: str, text: str, language: str) -> str:
    """A sentence in quotation marks, the only one, of a text not far longer than its input, which quotes nothing and
    has few of its words; or ''. Verse and dialogue quote what they like."""
    if _MARK.search(given) or not is_known_to(language) or count_words(text) > _LONGER * count_words(given) + _LEAST:
        return ""
    quotes = _QUOTE.findall(text)
    if len(quotes) != 1 or is_verse(text):
        return ""
    own = roots(quotes[0], language)
    longer = count_words(quotes[0]) >= _LEAST and 3 * len(quotes[0]) < 2 * len(text)
    return quotes[0] if longer and own and share(own, roots(given, language)) <= _OWN else ""
