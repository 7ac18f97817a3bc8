"""A slip of register: a formal text that says a familiar "you" or slang.

slip("to bank manager: request meeting", "Dear Sir,\\n\\nThursday if poss, cos I'm off lol.", "en") == "cos"
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.phrases import NEVER, lexicon, says
from curate.gates.phrases.lists import either

_EMOJI = re.compile("[\U0001f600-\U0001f64f\U0001f917-\U0001f978\U0001f92a-\U0001f92f\U0001f389\U0001f44d]")
_OPENS, _CLOSES = r"\"\u201c\u201e\u00ab\u300c\u2018", r"\"\u201d\u201c\u00bb\u300d\u2019"
_QUOTED = re.compile(rf"[{_OPENS}][^{_CLOSES}\n]{{2,}}[{_CLOSES}]")


def slip(given: str, text: str, language: str) -> str:
    """What a text says that is familiar though it greets or closes formally, or a formal one was asked for; or ''.
    What the input says itself and what is quoted is none. Both are folded."""
    asked = says(language, "formal_asked", given) and not says(language, "casual_asked", given)
    if not (asked or _formal_lines(language).search(text)):
        return ""
    plain = _QUOTED.sub(" ", text)
    familiar = says(language, "familiar", plain)
    if familiar and not says(language, "familiar", given):
        return familiar[0]
    smiling = _EMOJI.search(plain)
    return smiling[0] if smiling and not _EMOJI.search(given) else ""


@cache
def _formal_lines(language: str) -> re.Pattern[str]:
    """How a line of a formal text begins."""
    lines, ends = either(lexicon(language).words("formal_lines")), lexicon(language).after
    return re.compile(rf"(?m)^[^\w\n]*(?:{lines}){ends}") if lines else NEVER
