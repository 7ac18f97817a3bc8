"""Things that a text begins and does not end: a list of names without the last one, a bracket, a tag, code.

Code breaks off if it ends after an operator or word that requires a continuation, inside a bracket or a tag, or with a
comment that stands for the rest.

missing_last_item("Capitals of Chile, Peru and Bolivia", "Chile: Santiago. Peru: Lima.") == "Bolivia"
unbalanced("SELECT 1 WHERE (a > 2;", "") == "("
broken_code_end("function f(x) {\\n  return x +") == "return x +"
broken_code_end("f = open(path)\\nrows = list(csv.reader(f") == "("

Not covered: a bracket that is missing before the last statement of a text, because regexes, heredocs, macros and
half-open intervals have unbalanced brackets too; and a text that stops between two statements.
"""

from __future__ import annotations

import re
from collections import Counter

from curate.gates.content import in_code, is_query, is_regex
from curate.gates.folding import fold
from curate.gates.formatted import OPTIONAL_END, VOID
from curate.gates.phrases import lexicon, words_of
from curate.gates.phrases.word_patterns import word_pattern

_WHOLE_WORD = re.compile(r"\w+")
_QUOTES = "'\"\u2018\u201c\u00ab\u300c"
_LONG_WORD = re.compile(r"[^\W\d_]\w{3,}")
_QUOTED = re.compile(r"(?<!\w)['\"\u2018\u201c\u00ab\u300c](\w{2,20})['\"\u2019\u201d\u00bb\u300d](?!\w)")
_IDENTIFIER = re.compile(r"(?<!\w)([a-z]+_[a-z_]+)(?!\w)")
_TAGGED = re.compile(r"\A<[a-z][\w-]*(?:\s[^<>]*)?>[\s\S]*>\Z")
_OPENING, _CLOSING = re.compile(r"<([a-z][\w-]*)(?:\s[^<>]*[^/<>])?>"), re.compile(r"</([a-z][\w-]*)>")
_STRING = re.compile(r"['\"][^'\"]*[()\[\]{}]")
_NEED_NO_END = VOID | OPTIONAL_END | frozenset(["html", "head", "body", "optgroup", "caption", "rt", "rp", "tfoot"])


def missing_last_item(given: str, text: str) -> str:
    """Return the last of several listed names if the output has all the others but not this one, or ''.

    The names are three or more that the input lists, or two or more words that it quotes or writes as identifiers.
    """
    listed = _names_listed().search(given) if ", " in given else None
    patterns = [_IDENTIFIER] if "_" in given and not is_query(text) else []  # a query needs not all columns
    patterns += [_QUOTED] if any(map(given.__contains__, _QUOTES)) else []
    names = [name for name in _LONG_WORD.findall(listed[0]) if name[0].isupper()] if listed else []
    lists = [names if len(names) > 2 else [], *(list(dict.fromkeys(p.findall(given))) for p in patterns)]
    lists = [words for words in lists if len(words) > 1]
    there = frozenset(map(fold, _WHOLE_WORD.findall(text))) if lists else frozenset[str]()
    return next((words[-1] for words in lists if _all_but_the_last(words, there)), "")


_names_listed = word_pattern(r"[^\W\d_a-z]\w{3,}(?:, [^\W\d_a-z]\w{3,})+,? {listing} [^\W\d_a-z]\w{3,}(?!\w)")


def _all_but_the_last(words: list[str], there: frozenset[str]) -> bool:
    *first, last = (fold(word) in there for word in words)
    return all(first) and not last


def unbalanced(text: str, given: str) -> str:
    """Return a bracket of one line of code, or a tag of markup, without its counterpart; or ''."""
    if "```" not in text and "<" not in given and _TAGGED.match(text):
        opened, closed = Counter(_OPENING.findall(text)), Counter(_CLOSING.findall(text))
        return next(
            (f"<{name}>" for name in opened | closed if opened[name] != closed[name] and name not in _NEED_NO_END), ""
        )
    if "(" in text and is_query(text):
        bare = _NO_CODE.sub(" ", text)
        return "(" if bare.count("(") > bare.count(")") else ""
    if text.endswith(";") and "\n" not in text and not _STRING.search(text):
        return next((one for one, other in ("()", "[]", "{}") if text.count(one) > text.count(other)), "")
    return ""


def needs_no_full_stop(line: str) -> bool:
    """Whether a last line is a list of words between commas, or ends with a figure after a sentence.

    Examples are `I, II, III, IV, V` and `Calls in the afternoon only. 15 € VB`.
    """
    parts = line.split(",")
    listed = len(parts) > _MIN_PARTS and all(len(part.split()) <= 2 for part in parts)
    return listed or _FIGURE_AFTER_SENTENCE.search(line) is not None


_MIN_PARTS = 4  # parts of a list
_FIGURE_AFTER_SENTENCE = re.compile(r"[.!?] \W{0,2}\d[^.!?\s]*(?: \S{1,4}){0,2}\Z")  # with a unit, if any


def is_signed_off(line: str, language: str) -> bool:
    """Whether a line ends with a formula that ends a letter, and who signs it: `Kind regards, the shop team`.

    Nothing but the signature follows the formula, and it does not end with a word that requires a continuation.
    """
    folded, known = fold(line), lexicon(language)
    if not (match := _signed_off().search(folded)):
        return False
    signed = _WHOLE_WORD.findall(match["name"] or "")
    needy = known.stop | known.words("cut") | known.words("prepositions") | known.words("hangs")
    return not signed or signed[-1] not in needy


def is_sender(text: str) -> bool:
    """Whether a text is nothing but the name of a group, or of somebody of it: `The team at Lindner & Sons`.

    One of its words says so (`senders`; also as the end of a compound), and it ends with that word or a name. All
    others are names or `sender_links`.
    """
    words, senders, links = _LETTERS.findall(text), words_of("senders"), words_of("sender_links")
    groups = [fold(w) in senders or (w[0].isupper() and fold(w).endswith(tuple(senders))) for w in words]
    if not any(groups) or not 1 < len(words) <= _SENDER_WORDS or not words[0][0].isupper():
        return False
    if not (groups[-1] or words[-1][0].isupper()):
        return False
    return all(group or word[0].isupper() or word in links for word, group in zip(words, groups, strict=True))


_LETTERS, _SENDER_WORDS = re.compile(r"[^\W\d_]+"), 8

# A formula at the start of a line or after the end of a sentence, and the rest of the line without such an end.
_signed_off = word_pattern(
    r"(?:\A|[.!?\u2026\u3002\uff01\uff1f\u061f)\]\"'\u201d\u00bb]|[^\w\s,;:-])\s*"
    r"(?:{sign_offs}(?:(?<=[\u3040-\u30ff\u4e00-\u9fff])|(?!\w))"
    r"(?P<name>(?:[^.!?\u3002\uff01\uff1f\u061f;:\n]|(?<=\b\w)\.){0,60})"
    r"|[^.!?\u3002\uff01\uff1f\u061f;:\n]{0,60}{signed_last})\Z"
)


def numbering_gap(given: str, text: str) -> str:
    """Return the number of an item that does not follow the previous one, in a flat list from 1, or ''.

    Not if the input has a numbered list. Markdown lists may number all items 1, and a second list starts again.
    """
    numbers = _NUMBERED.findall(text)
    several_ones = numbers.count("1") > 1 and (numbers[1] != "1" or set(numbers) == {"1"})
    if len(numbers) < 3 or numbers[0] != "1" or several_ones or _NUMBERED.search(given):
        return ""
    return next((number for number, at in zip(numbers, range(1, 100), strict=False) if int(number) != at), "")


_NUMBERED = re.compile(r"(?m)^[ \t]*(?:\*\*)?(\d{1,2})[.)](?=\s|\*)")


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
    if (is_code or fenced) and _SIGN_AT_END.search(last) and not (_SETTINGS.search(code) or is_regex(code)):
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
    if opened is None or opened[1] in _NEED_NO_END or opened[0].endswith("/>") or len(_TAG.findall(code)) <= _FEW:
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
