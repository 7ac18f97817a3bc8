"""How a text addresses its reader: the form of address that a style asks for, and lapses in register.

informal_slip("to bank manager: request meeting", "dear sir,\\n\\nthursday if poss, cos i'm off lol.", "en") == "cos"
wrong_address_form("Sie-Form, höflich.", "Wir prüfen deine Unterlagen.", "de") == "deine"
wrong_address_form("Tutoyer.", "Envoyez votre dossier.", "fr") == "votre"
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import NEVER, address_patterns, lexicon, says, says_one
from curate.gates.phrases.lists import alternation

_EMOJI = re.compile("[\U0001f600-\U0001f64f\U0001f917-\U0001f978\U0001f92a-\U0001f92f\U0001f389\U0001f44d]")
_OPENS, _CLOSES = r"\"\u201c\u201e\u00ab\u300c\u2018", r"\"\u201d\u201c\u00bb\u300d\u2019"
_QUOTED = re.compile(rf"[{_OPENS}][^{_CLOSES}\n]{{2,}}[{_CLOSES}]")
_DENIAL_REACH = 16  # characters before a form of address that may deny it: do not use du


def informal_slip(given: str, text: str, language: str) -> str:
    """Return an informal expression in a text that should be formal, or ''.

    It should be if it has a formal greeting or closing, or if a formal text was asked for. What the input contains
    itself and what is quoted does not count. Both texts are folded.
    """
    asked = says_one(language, "formal_asked", given) and not says_one(language, "casual_asked", given)
    if not (asked or _formal_lines(language).search(text)):
        return ""
    plain = _QUOTED.sub(" ", text)
    familiar = says(language, "familiar", plain)
    if familiar and not says(language, "familiar", given):
        return familiar[0]
    emoji = _EMOJI.search(plain)
    return emoji[0] if emoji and not _EMOJI.search(given) else ""


@cache
def _formal_lines(language: str) -> re.Pattern[str]:
    """Return a pattern for the start of a line of a formal text."""
    lines, ends = alternation(lexicon(language).words("formal_lines")), lexicon(language).after
    return re.compile(rf"(?m)^[^\w\n]*(?:{lines}){ends}") if lines else NEVER


def wrong_address_form(style: str, text: str, language: str) -> str:
    """Return a word of a text with the other form of `you` than its style asks for, or ''.

    A familiar text may also contain the other form (`vous` to two friends), so there it counts only if it is the only
    one.
    """
    formal = _asks_formal(fold(style))
    forms = _forms(language)
    if formal is None or forms is None:
        return ""
    plain = _QUOTED.sub(" ", text)
    familiar, polite = (form.search(plain) for form in forms)
    if formal:
        return familiar[0].strip() if familiar else ""
    return polite[0].strip() if polite and not familiar else ""


def _asks_formal(style: str) -> bool | None:
    """Return whether a folded style asks for formal (True) or familiar (False) address; None for neither or both."""
    asked = set[bool]()
    for name, formal in (("address_formal", True), ("address_familiar", False)):
        if named := says("any", name, style):
            before = style[max(0, named.start() - _DENIAL_REACH) : named.start()]
            asked.add(formal != bool(says("any", "address_denied", before)))
    return asked.pop() if len(asked) == 1 else None


@cache
def _forms(language: str) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    """Return patterns for the familiar and the formal `you` in a language that has both."""
    forms = address_patterns(language)
    return (re.compile(forms["familiar"]), re.compile(forms["formal"])) if forms else None
