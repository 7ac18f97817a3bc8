"""What a style rules out and the text has: a heading, a list, Markdown, exclamation marks, questions, a greeting.

excluded_mark("Answer without a list.", "", "- bread\\n- milk") == "- bread"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from curate.gates.asked_length import ITEM
from curate.gates.content import quotations
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import count_words


def excluded_mark(style: str, given: str, text: str) -> str:
    """Return what a text has although its style rules it out, or ''. Quotations and marks of the input do not count."""
    for name in _ruled_out(style):
        if mark := _FINDERS[name](text, given):
            return mark
    return ""


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _ruled_out(style: str) -> tuple[str, ...]:
    """Return the lists of things that a style rules out: `no lists`, `見出しなし`."""
    folded = fold(style)
    series = [ruled[1] for pattern in (_denied, _denied_behind) for ruled in pattern().finditer(folded)]
    return tuple(name for name in _FINDERS if any(_named[name]().search(things) for things in series))


_THINGS = "out_headings|out_lists|out_markdown|out_exclamations|out_questions|out_greetings|out_closings"
_MORE = (
    r"(?:\s?[,/\u3001\uff0c]\s?|\s?[和与或やと]\s?|\s(?:{or_between|listing|neither}\s)+)"
    rf"(?:{{rules_out_small}}\s?)*(?:{{{_THINGS}}})"
)
# The things follow the denial, up to the end of a clause, so that `no lists of ingredients` is something else.
_denied = word_pattern(
    rf"(?<![^\W\u3040-\u9fff\uac00-\ud7a3]){{rules_out}}\s?((?:{{rules_out_small}}\s?)*(?:{{{_THINGS}}})(?:{_MORE})*)"
    r"(?=\s*(?:\Z|[.,;:!)\u3001\u3002\uff0c\uff1b\u060c\u0964]|{at_all|or_between|listing}(?!\w)))"
)
_denied_behind = word_pattern(rf"((?:{{{_THINGS}}})(?:{_MORE})*)\S{{0,2}}\s?{{ruled_out}}")
_named = {name: word_pattern(rf"(?<![a-zà-ÿа-яё]){{{name}}}") for name in _THINGS.split("|")}


def _heading(text: str, given: str) -> str:
    """A first line above other text that is marked as a heading, names a subject, or is short and has no end."""
    first, _, rest = text.strip().partition("\n")
    below = rest.strip().partition("\n")[0]
    if not below or first.strip("#*= ") in given:
        return ""
    if _MARKED.match(first) or _subject_line().match(fold(first)):
        return first
    bare = count_words(first) <= _MAX_HEADING and not _ENDED.search(first) and not ITEM.match(first)
    capitals = first.isupper() and not first.rstrip().endswith(",")
    titled = bare and rest.startswith("\n") and not _greets().match(fold(first))
    longer = count_words(rest) > 2 * count_words(first) and _ENDED.search(rest.rstrip())
    return first if (titled or (capitals and count_words(first) <= _MAX_HEADING)) and longer else ""


def _list(text: str, given: str) -> str:
    items = ITEM.findall(text)
    lines = [line for line in text.splitlines() if ITEM.match(line)]
    return lines[0] if len(items) > 1 and lines[0] not in given else ""


def _question(text: str, given: str) -> str:
    return _mark(_QUESTION, text, given)


def _exclamation(text: str, given: str) -> str:
    return _mark(_EXCLAMATION, text, given)


def _markdown(text: str, given: str) -> str:
    mark = _MARKDOWN.search(text)
    return mark[0].strip() if mark and not _MARKDOWN.search(given) else ""


def _mark(pattern: re.Pattern[str], text: str, given: str) -> str:
    for quoted in dict.fromkeys(quotations(text)):
        text = text.replace(quoted, " ")
    mark = pattern.search(text)
    return text[max(0, mark.start() - _AHEAD) : mark.end()].strip() if mark else ""


_AHEAD = 30  # characters shown before a mark


def _greeting(text: str, given: str) -> str:
    greeting = _greets().match(fold(text))
    return greeting[0].strip() if greeting else ""


def _closing(text: str, given: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    closed = next(filter(None, (_closes().match(fold(line)) for line in lines[-2:] if len(lines) > 1)), None)
    closed = closed or _closes_inside().search(fold(text.strip()))
    return closed[0].strip() if closed else ""


_MAX_HEADING = 10  # words
_MARKED = re.compile(r"\s*(?:#{1,6} |\*\*[^*\n]+\*\*:?\s*\Z|__[^_\n]+__\s*\Z|<h\d>)")
_ENDED = re.compile(r"[.!?,;:\u2026\u3002\uff01\uff1f\uff0c\u060c\u061f\u0964][\"'\u201d\u00bb)*_]*\s*\Z")
_MARKDOWN = re.compile(
    r"\*\*\S[^*\n]*\*\*|(?m:^#{1,6} \S)|__\S[^_\n]*__|\]\(https?:|(?m:^\|.*\|\s*$)"
    r"|(?m:^[ \t]*[*+-] \S.*\n+[ \t]*[*+-] \S)|`[^`\n]+`"
)
_EXCLAMATION = re.compile(r"[!\uff01](?!=)")
_QUESTION = re.compile(r"[?\uff1f\u061f](?![\w=&/])")
_greets = word_pattern(r"\W*(?:{greet|greets_elsewhere}(?![^\W\u3040-\u9fff\uac00-\ud7a3])|{greets_joined})")
_closes = word_pattern(r"\W*{sign_offs}(?=\s*(?:[,.!\u3001\u3002\uff0c\uff01]|\Z))")
_closes_inside = word_pattern(r"(?<=[.!?]\s){sign_offs}(?=,?\s[^.!?\n]{0,40}[.!]?\Z|[.!]?\Z)")
_subject_line = word_pattern(r"\W*(?:{out_headings})\s?[:\uff1a]")
_FINDERS: dict[str, Callable[[str, str], str]] = {
    "out_headings": _heading,
    "out_lists": _list,
    "out_markdown": _markdown,
    "out_exclamations": _exclamation,
    "out_questions": _question,
    "out_greetings": _greeting,
    "out_closings": _closing,
}
