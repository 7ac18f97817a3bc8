"""The two ways to say `you`: a text for which a style asks one of them and that says the other.

other_address("Sie-Form, höflich.", "Schick uns deine Unterlagen.", "de") == "deine"
other_address("Tutoyer.", "Envoyez votre dossier.", "fr") == "votre"
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.phrases import address_of, says

_QUOTED = re.compile(r"[\"\u201c\u201e\u00ab\u300c][^\"\u201d\u201c\u00bb\u300d\n]{2,200}[\"\u201d\u201c\u00bb\u300d]")
_DENIED = 16  # characters before a form of address that may deny it: do not use du


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
