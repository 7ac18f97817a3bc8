"""How a text speaks to its reader: in the form of address that a style names, and without a slip of register.

slip("to bank manager: request meeting", "Dear Sir,\\n\\nThursday if poss, cos I'm off lol.", "en") == "cos"
other_address("Sie-Form, höflich.", "Schick uns deine Unterlagen.", "de") == "deine"
other_address("Tutoyer.", "Envoyez votre dossier.", "fr") == "votre"
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import NEVER, address_of, lexicon, says, says_one
from curate.gates.phrases.lists import either

_EMOJI = re.compile("[\U0001f600-\U0001f64f\U0001f917-\U0001f978\U0001f92a-\U0001f92f\U0001f389\U0001f44d]")
_OPENS, _CLOSES = r"\"\u201c\u201e\u00ab\u300c\u2018", r"\"\u201d\u201c\u00bb\u300d\u2019"
_QUOTED = re.compile(rf"[{_OPENS}][^{_CLOSES}\n]{{2,}}[{_CLOSES}]")
_DENIED = 16  # characters before a form of address that may deny it: do not use du


def slip(given: str, text: str, language: str) -> str:
    """What a text says that is familiar though it greets or closes formally, or a formal one was asked for; or ''.
    What the input says itself and what is quoted is none. Both are folded."""
    asked = says_one(language, "formal_asked", given) and not says_one(language, "casual_asked", given)
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


def other_address(style: str, text: str, language: str) -> str:
    """A word of a text that says `you` in the other way than its style names; or ''. A text that is to be familiar may
    say the other one too (`vous` to two friends), so there it counts alone."""
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
    """Whether a folded style names the formal address (True) or the familiar one (False); None: neither, or both."""
    asked = set[bool]()
    for name, formal in (("address_formal", True), ("address_familiar", False)):
        if named := says("any", name, style):
            before = style[max(0, named.start() - _DENIED) : named.start()]
            asked.add(formal != bool(says("any", "address_denied", before)))
    return asked.pop() if len(asked) == 1 else None


@cache
def _forms(language: str) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    """What says `you` familiarly and formally in a language that has two ways."""
    forms = address_of(language)
    return (re.compile(forms["familiar"]), re.compile(forms["formal"])) if forms else None
