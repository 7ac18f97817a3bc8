"""Variables, tags and statements of template languages in a text: `{{ name }}`, `%s`, `<b>`, `{% if paid %}`."""

from __future__ import annotations

import re

from curate.gates.folding import fold

_VARIABLE = re.compile(
    r"\{\{[^{}\n]{1,40}\}\}|\$?\{[\w.]{1,40}\}|%(?:\d\$)?[sd](?!\w)|%\(\w+\)[sd]|</?[a-z][a-z0-9]{0,9}>|\[[A-Z]\]"
)


def lost_variable(source: str, text: str) -> str:
    """Return a variable or tag of a source that a text lacks, or ''."""
    lost = (mark for mark in _VARIABLE.findall(source) if mark not in text and fold(mark) not in fold(text))
    return next(lost, "")
