"""Code that breaks off: behind a sign or a word that something has to follow, with a bracket or a tag that is never
closed, or with a comment that stands for the rest.

broken_off("def add(a, b):\\n    return a +") == "return a +"
broken_off("x = [1, 2,\\ny = 3") == "["
"""

from __future__ import annotations

import re
from collections import Counter

from curate.gates.content import in_code
from curate.gates.folding import fold
from curate.gates.phrases import words_of

_FENCED = re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL)
_STANDS_FOR = re.compile(r"(?m)^[ \t]*(?:#|//|--|/\*+|<!--|%)[ \t]*(?:\.{3}|\u2026)[ \t]*[^\W\d_][^\n]*")
_SIGN_AT_END = re.compile(r"[\w)\]\"'] ?(?:\+|==?|!=|<=|>=|\+=|-=|:=|&&|\|\|)\Z")
_NO_CODE = re.compile(
    r"\"\"\".*?\"\"\"|'''.*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`[^`]*`|(?:#|--)\s[^\n]*|//[^\n]*|/\*.*?\*/"
    r"|<!--.*?-->|\\.",
    re.DOTALL,
)
_OF_SETTINGS, _OF_A_DIFF = re.compile(r"(?m)^\[[^\[\]\n]+\]$"), re.compile(r"(?m)^[-+]")
_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"))
_OPENED = re.compile(r"\A<([a-z][\w-]*)(?:\s[^<>]*)?>")
_TAG = re.compile(r"</?[a-z][\w-]*(?:\s[^<>]*)?>")
_ALONE = frozenset(("br", "hr", "img", "input", "meta", "link", "p", "li"))
_LINES = 2  # of code, in which a bracket that is never closed is one that is missing


def broken_off(text: str) -> str:
    """What code ends in, or leaves open; or ''. Of a text with fences only what stands in the last one is read."""
    fenced = _FENCED.findall(text) if "```" in text else ()
    code = (fenced[-1] if fenced else text).strip()
    if not code:
        return ""
    if stand_in := _STANDS_FOR.search(code):
        return stand_in[0].strip()
    if tag := _never_closed(code):
        return tag
    last = code.rpartition("\n")[2].strip()
    word = last.split()[-1] if last else ""
    is_code = bool(fenced) or in_code(code)
    if is_code and _SIGN_AT_END.search(last) and not _OF_SETTINGS.search(code):
        return last
    hangs = words_of("code_hangs")
    if fold(word) in hangs and (in_code(code) if word.islower() else _is_query(code, word)):
        return last
    whole = is_code and in_code(code) and code.count("\n") >= _LINES - 1 and not _OF_A_DIFF.search(code)
    return _open_bracket(code) if whole else ""


def _is_query(code: str, word: str) -> bool:
    """Whether code says three such words in capitals, as a query does."""
    return word.isupper() and sum(w.isupper() and fold(w) in words_of("code_hangs") for w in code.split()) > _LINES


def _never_closed(code: str) -> str:
    """The tag that a text of markup begins with, where it has others and this one does not end; or ''."""
    opened = _OPENED.match(code)
    alone = opened is None or opened[1] in _ALONE or opened[0].endswith("/>")
    if opened is None or alone or len(_TAG.findall(code)) <= _LINES:
        return ""
    return "" if f"</{opened[1]}" in code else opened[0]


def _open_bracket(code: str) -> str:
    signs = Counter(_NO_CODE.sub(" ", code))
    return next((one for one, other in _PAIRS if signs[one] > signs[other]), "")
