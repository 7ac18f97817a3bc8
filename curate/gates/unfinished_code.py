"""Code that breaks off.

It ends after an operator or word that requires a continuation, inside a bracket or a tag, or with a comment that stands
for the rest.

Not covered: a bracket that is missing before the last statement of a text, because regexes, heredocs, macros and
half-open intervals have unbalanced brackets too; and a text that stops between two statements.

broken_code_end("function f(x) {\\n  return x +") == "return x +"
broken_code_end("f = open(path)\\nrows = list(csv.reader(f") == "("
"""

from __future__ import annotations

import re

from curate.gates.content import in_code
from curate.gates.folding import fold
from curate.gates.phrases import words_of
from curate.gates.unfinished import NEED_NO_END

_FENCED = re.compile(r"(?m)^[ \t]*```[^\n]*\n((?s:.*?))```")
_ELISION = re.compile(r"(?m)^[ \t]*(?:#|//|--|/\*+|<!--|%)[ \t]*(?:\.{3}|\u2026)[ \t]*[^\W\d_][^\n]*")
_DOTS, _COMMENT_ENDS = ("...", "\u2026"), " \t*/->)%#"
_SIGN_AT_END = re.compile(r"[\w)\]\"'] ?(?:\+|==?|!=|<=|>=|\+=|-=|:=|&&|\|\|)\Z")
_NO_CODE = re.compile(
    r"\"\"\".*?(?:\"\"\"|\Z)|'''.*?(?:'''|\Z)|\"(?:\\.|[^\"\\\n])*\"|(?<![\w&<])'(?:\\.|[^'\\\n])*'|`[^`]*`"
    r"|(?:#|--)\s[^\n]*|//[^\n]*|/\*.*?(?:\*/|\Z)|<!--.*?(?:-->|\Z)|\\.",
    re.DOTALL,
)
_SETTINGS = re.compile(r"(?m)^\[[^\[\]\n]+\]$|^(?:[A-Z]+ )?[\w.-]+ ?=\Z")
_DIFF, _BRACKET = re.compile(r"(?m)^[-+]"), re.compile(r"[(){}\[\]]")
_OPENED = re.compile(r"\A<([a-z][\w-]*)(?:\s[^<>]*)?>")
_TAG = re.compile(r"</?[a-z][\w-]*(?:\s[^<>]*)?>")
_FEW = 2  # maximum number of tags in a text that is not markup, and of clauses in one that is not a query


def broken_code_end(text: str) -> str:
    """Return what code ends with or leaves open, or ''. In a text with code fences, only the last one is checked."""
    fenced = _FENCED.findall(text) if "```" in text else ()
    code = (fenced[-1] if fenced else text).strip()
    comments = (comment.strip() for comment in _ELISION.findall(code)) if any(map(code.__contains__, _DOTS)) else ()
    if stand_in := next((one for one in comments if one.rstrip(_COMMENT_ENDS).endswith(_DOTS)), ""):
        return stand_in
    if tag := _never_closed(code) if code.startswith("<") else "":
        return tag
    last = code.rpartition("\n")[2].strip()
    is_code, word = in_code(fenced[-1] if fenced else text), last.split()[-1] if last else ""
    if (is_code or fenced) and _SIGN_AT_END.search(last) and not _SETTINGS.search(code):
        return last
    if (word.isupper() and _is_query(code, word)) or (is_code and word in words_of("code_joins")):
        return last
    return _open_bracket(code) if is_code and "\n" in code and not _DIFF.search(code) else ""


def _is_query(code: str, word: str) -> bool:
    """Whether a word in capitals, like at least two others, joins the clauses of a query that names something."""
    words, joins = code.split(), words_of("code_hangs")
    clauses = sum(w.isupper() and fold(w) in joins for w in words) if fold(word) in joins else 0
    return clauses > _FEW and not all(map(str.isupper, words))


def _never_closed(code: str) -> str:
    """Return the tag that markup begins with, if the text has other tags and this one is not closed; or ''."""
    opened = _OPENED.match(code)
    if opened is None or opened[1] in NEED_NO_END or opened[0].endswith("/>") or len(_TAG.findall(code)) <= _FEW:
        return ""
    return "" if f"</{opened[1]}" in code else opened[0]


def _open_bracket(code: str) -> str:
    """Return a bracket that is opened more often than closed, or ''.

    The code must stop inside it: its last line is indented, or opens a bracket that it does not close.
    """
    bare = _NO_CODE.sub(" ", code)
    opened = [one for one, other in ("()", "[]", "{}") if bare.count(one) > bare.count(other)]
    depth = 0
    for sign in _BRACKET.findall(bare.rpartition("\n")[2]) if opened else ():
        depth = depth + 1 if sign in "([{" else max(0, depth - 1)
    return opened[0] if opened and (depth or code.rpartition("\n")[2][:1].isspace()) else ""
