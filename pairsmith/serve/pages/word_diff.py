"""Word-by-word differences between two texts, as HTML."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from curate.words import SIGNS, SPACED

_WORDS = re.compile(rf"\s+|(?:{SPACED}|[{SIGNS}])+|.", re.DOTALL)  # single characters in scripts without spaces
_MOST = 4_000  # pieces; comparison time is quadratic


def word_diff(before: str, after: str) -> Markup:
    """`after` as HTML, with additions to `before` in `ins` and omissions in `del`. Texts of more than about 2,000 words
    are not compared: `after` is returned unmarked."""
    a, b = _WORDS.findall(before), _WORDS.findall(after)
    if len(a) > _MOST or len(b) > _MOST:
        return Markup(escape(after))
    shown = Markup()
    for change, a1, a2, b1, b2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        lost, added = "".join(a[a1:a2]), "".join(b[b1:b2])
        if change == "equal":
            shown += escape(added)
            continue
        shown += Markup("<del>{}</del>").format(lost) if lost.strip() else Markup()
        shown += Markup("<ins>{}</ins>").format(added) if added.strip() else escape(added)
    return shown
