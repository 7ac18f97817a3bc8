"""Quotations that a text attributes to somebody although its input contains none.

made_up_quote("mayor opened the pool", 'The mayor opened the pool. "A proud day for us all," he said.', "en")
"""

from __future__ import annotations

import re

from curate.gates.coverage import has_known_stop_words, roots, share
from curate.gates.form import is_verse
from curate.gates.words import count_words

_QUOTE = re.compile(
    r"[\"\u201c\u201e\u00ab\u300c]([^\"\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\n]{12,300})[\"\u201d\u201c\u00bb\u300d]"
)
_MARK = re.compile(r"[\"\u201c\u201e\u00ab\u300c'\u2018](?<!\w['\u2018])")
_OWN, _LEAST, _LONGER = 0.35, 4, 4  # share of its roots in the input; its words; text words per input word


def made_up_quote(given: str, text: str, language: str) -> str:
    """Return the one quoted sentence of a text that its input does not contain, or ''.

    Only where the input quotes nothing, the text is not far longer than the input, and the quotation shares few words
    with the input. Verse and dialogue may quote anything.
    """
    if (
        _MARK.search(given)
        or not has_known_stop_words(language)
        or count_words(text) > _LONGER * count_words(given) + _LEAST
    ):
        return ""
    quotes = _QUOTE.findall(text)
    if len(quotes) != 1 or is_verse(text):
        return ""
    own = roots(quotes[0], language)
    longer = count_words(quotes[0]) >= _LEAST and 3 * len(quotes[0]) < 2 * len(text)
    return quotes[0] if longer and own and share(own, roots(given, language)) <= _OWN else ""
