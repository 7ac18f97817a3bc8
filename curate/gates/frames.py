"""Detects what a model writes around a text, by position and by the kinds of words that occur together there.

A phrase table knows sentences. A frame knows a place (a title, the last paragraph) and several word lists, a word of
each of which has to occur in one sentence there: `let me know` and `shorter` at the end. Lists cover far more than
phrases can, so frames detect chat in other words but are less certain, and only flag. The frames are in
curate/gates/phrases/any.toml, their lists in each language's table. Models comment in English too, so the English lists
are used for every language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, reduce
from operator import or_
from typing import NamedTuple

from curate.gates.folding import CACHE_SIZE
from curate.gates.phrases import list_finder, phrases, says, sections
from curate.gates.phrases.search import BIT
from curate.gates.words import count_words

_SENTENCE = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u00bb)*_]*\s+|(?<=[\u3002\uff01\uff1f\u061f])\s*|\n+")
# The same in ASCII. It begins with the character and looks behind from there, so that most are skipped quickly.
_SENTENCE_IN_ASCII = re.compile(r"[\s\"')*_](?:(?<=[.!?](?s:.))(?:(?<=\s)|[\"')*_]*\s)\s*|(?<=\n)\n*)")
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?:-{3,}|\*{3,})\n")
_MARKED = re.compile(r"\A\W*(?:\*\*|__|#{1,4} )|[:\uff1a]\W*\Z")
_ITEM = re.compile(r"(?m)^\s*(?:[-*\u2022\u00b7]|\(?\d{1,2}[.)\u3001:]|\(?[a-c][.)])\s*\S")
_MAX_TITLE, _MAX_START, _MAX_END = 12, 260, 400  # words of a title; characters of a start and an end
_MAX_REFUSAL = 420  # characters of a text that may be a refusal


class Frame(NamedTuple):
    """A row of [[frames]]: the gate that uses it, its code, where the words are expected, and their lists.

    `unless` is a list whose words must not occur in the other side or the style, `unless_other` one whose words must
    not occur in the other side. With `apart`, the lists need not occur in the same sentence, only in the same place.
    """

    gate: str
    code: str
    place: str
    lists: tuple[str, ...]
    unless: str = ""
    unless_other: str = ""
    apart: bool = False
    kinds: tuple[str, ...] = ()  # the kinds of task that it is used for; all if empty
    words: int = 0  # a mask of `lists`, to compare with the lists that occur in a text


class FrameMatch(NamedTuple):
    """The code of a frame and the words that matched it."""

    code: str
    quoted: str


def match_frame(gate: str, text: str, given: str, language: str, kind: str = "", other: str = "") -> FrameMatch | None:
    """Return the first frame of `gate` that a folded text matches, or None.

    `given` is the other side and the style, `other` the other side alone.
    """
    if not phrases(language).known:
        return None
    codes = (language,) if language == "en" else (language, "en")
    every = reduce(or_, [list_finder(code)(text).lists for code in codes])
    uncertain = _CUT if len(text) > _MAX_START else _REJOINED
    places: dict[str, list[tuple[str, str, int]]] = {}  # the texts of each place, with the lists that may occur in them
    missing = ~every
    for row in [row for row in _frames().get(gate, ()) if not row.words & missing or row.place in uncertain]:
        if (row.kinds and kind not in row.kinds) or (row.unless_other and _has_head_too(row, other, kind, codes)):
            continue
        if row.place not in places:
            texts = _parts_at(row.place, text)
            places[row.place] = [(place, code, list_finder(code)(place).lists) for place in texts for code in codes]
        for place, code, lists in places[row.place]:
            if not row.words & ~lists and (quoted := _matched_text(row, place, given, code)):
                return FrameMatch(row.code, quoted)
    return None


def _has_head_too(row: Frame, other: str, kind: str, languages: tuple[str, ...]) -> bool:
    """Whether the other side has a word of `unless_other`, or is a source with a colon that a translation keeps."""
    translated = kind == "translate" and next(_head(other), "")
    return bool(translated) or any(says(language, row.unless_other, other) for language in languages)


@lru_cache(maxsize=CACHE_SIZE)
def _parts_at(place: str, text: str) -> tuple[str, ...]:
    """Return the parts of a text at a place."""
    return tuple(_PLACES[place](text))


def _matched_text(row: Frame, place: str, given: str, language: str) -> str:
    """Return the sentence at a place that contains a word of each list, or the text there if `apart`; or ''."""
    first = says(language, row.lists[0], place)
    if not first or (row.unless and says(language, row.unless, given)):
        return ""
    if not all(says(language, name, place) for name in row.lists[1:]):
        return ""
    if row.apart:
        return place[:80]
    whole = (s for s in sentences(place) if all(says(language, name, s) for name in row.lists))
    return next(whole, "")


@cache
def _frames() -> dict[str, list[Frame]]:
    frames: dict[str, list[Frame]] = {}
    for row in sections("any")["frames"]:
        lists, kinds = tuple(row["lists"]), tuple(row.get("kinds", ()))
        frame = Frame(**{**row, "lists": lists, "kinds": kinds, "words": reduce(or_, map(BIT.__getitem__, lists))})
        frames.setdefault(frame.gate, []).append(frame)
    return frames


@lru_cache(maxsize=CACHE_SIZE)
def sentences(text: str) -> tuple[str, ...]:
    """Return the sentences of a folded text. A line end also ends a sentence."""
    end = _SENTENCE_IN_ASCII if text.isascii() else _SENTENCE
    return tuple(part for part in end.split(text) if part and part.strip())


@lru_cache(maxsize=CACHE_SIZE)
def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in _PARAGRAPH.split(text) if part.strip())


@lru_cache(maxsize=CACHE_SIZE)
def _first_line(text: str) -> tuple[str, str]:
    first, _, rest = text.strip().partition("\n")
    return first.strip(), rest.strip()


def _title(text: str) -> Iterator[str]:
    """A marked first line followed by text: a heading, bold text, or a line with a colon."""
    first, rest = _first_line(text)
    if rest and len(first) <= 120 and _MARKED.search(first) and count_words(first) <= _MAX_TITLE:
        yield first
    elif boxed := re.match(r"\A[\[\u3010]([^\]\u3011\n]{2,30})[\]\u3011]\s", text):
        yield boxed[1]
    elif (head := re.match(r"\A\W*([^\n:]{4,60}):\W*\s", first)) and count_words(head[1]) <= 5:
        yield head[1]


def _opening(text: str) -> Iterator[str]:
    """A first line that ends with a colon, or the first of several paragraphs."""
    first, rest = _first_line(text)
    apart = first.rstrip("*_ ").endswith(":") or text.lstrip()[len(first) :].startswith("\n\n")
    if rest and len(first) <= 300 and apart:
        yield first


def _cheer(text: str) -> Iterator[str]:
    """A first paragraph of a few words that says nothing about the subject: `Here you go!`."""
    first, rest = _first_line(text)
    apart = rest and text.lstrip()[len(first) :].startswith("\n\n")
    if apart and first[-1] in "!.:\uff01\uff1a\u3002" and count_words(first) <= 4:
        yield first


def _list(text: str) -> Iterator[str]:
    """A first line followed by nothing but two or more items, or by alternatives in quotation marks."""
    first, rest = _first_line(text)
    lines = [line for line in rest.splitlines() if line.strip()]
    if len(lines) < 2 or len(first) > 200:
        return
    if len(_ITEM.findall(rest)) >= 2 or all(re.match(r"\s*[\"'\u00ab\u201e\u201c\u300c*]", line) for line in lines):
        yield first


def _reply(text: str) -> Iterator[str]:
    """A whole text of a few sentences in one or two paragraphs."""
    if len(text) <= _MAX_REFUSAL and len(_paragraphs(text)) <= 2:
        yield text


def _end(text: str) -> Iterator[str]:
    """The last paragraph, or the last sentence of a text with one paragraph."""
    parts = _paragraphs(text)
    if len(parts) > 1:
        yield parts[-1][-_MAX_END:]
    elif len(all_of := sentences(text)) > 1:
        yield all_of[-1]


def _aside(text: str) -> Iterator[str]:
    """The first and the last of several sentences, and text in brackets at the end."""
    all_of = sentences(text)
    if len(all_of) > 1:
        yield from dict.fromkeys((all_of[0], all_of[-1]))
    elif quoted := re.match(r"\A([^\"\u00ab\u201e\u201c\u300c\n:]{12,200}?):?\s*[\"\u00ab\u201e\u201c\u300c]", text):
        yield quoted[1]
    elif (head := re.match(r"\A([^\n:]{12,200}): \S", text)) and count_words(head[1]) > 5:
        yield head[1]
    if bracketed := re.search(r"\(([^()\n]{8,300})\)\W*\Z", text):
        yield bracketed[1]


def _before(text: str) -> Iterator[str]:
    """Everything before the last paragraph or line."""
    parts = _paragraphs(text)
    if len(parts) < 2:
        parts = tuple(line for line in text.splitlines() if line.strip())
    if len(parts) > 1:
        yield "\n".join(parts[:-1])[:1500]


def _plan(text: str) -> Iterator[str]:
    """The first of several paragraphs, if it addresses nobody: no greeting, no question, no list."""
    parts = _paragraphs(text)
    if len(parts) > 1 and 25 <= len(parts[0]) <= 1500 and parts[0][-1] not in ",:?!" and not _ITEM.search(parts[0]):
        yield parts[0]


def _first(text: str) -> Iterator[str]:
    """The first of several sentences, with the second if it is very short, or the text before an arrow."""
    first, *others = sentences(text) or ("",)
    arrow = _ARROW.split(first, maxsplit=1)
    if len(arrow) > 1 or (others and len(first) <= _MAX_START):
        yield arrow[0] if len(arrow) > 1 or len(first) > _SHORT or not others[1:] else f"{first} {others[0]}"


def _clause(text: str) -> Iterator[str]:
    """Every sentence, or part of one before or after a colon or semicolon."""
    yield from (clause for sentence in sentences(text) for clause in _CLAUSE_END.split(sentence) if clause.strip())


def _label(text: str) -> Iterator[str]:
    """Up to three words before a colon at the start. If another line begins the same way, the text is a form."""
    head = re.match(r"\A\W*([^\n:]{2,40}?)\W*:", text)
    if head is None or re.search(r"\n\W{0,4}[^\W\d_][\w ]{0,20}\W{0,3}:", text):
        return
    if count_words(head[1]) <= (8 if head[1][0] > "\u2e80" else 3):
        yield head[1]


def _head(text: str) -> Iterator[str]:
    """The text before the first colon of a first line, if more text follows."""
    if (head := re.match(r"\A\W*([^\n:\uff1a]{4,140})[:\uff1a]\s*\S", text)) and count_words(head[1]) <= 4 * _MAX_TITLE:
        yield head[1]


def _noted(text: str) -> Iterator[str]:
    """A few words in brackets at the end of a line."""
    for note in _BRACKET.findall(text) if "(" in text or "\uff08" in text else ():
        if count_words(note) <= (12 if note[0] > "\u2e80" else 5):
            yield note


def _bracket(text: str) -> Iterator[str]:
    """Text in brackets at the very end."""
    if ("(" in text or "\uff08" in text) and (note := _BRACKET_AT_END.search(text)):
        yield note[1]


def _tail(text: str) -> Iterator[str]:
    """The text before a colon at the start of the last paragraph."""
    parts = _paragraphs(text)
    if len(parts) > 1 and (head := re.match(r"\W*([^\n:\uff1a]{3,40})[:\uff1a]", parts[-1])):
        yield head[1]


def _choice(text: str) -> Iterator[str]:
    """The last line after a list of two or more items, or after two or more texts."""
    parts = _paragraphs(text)
    lines = [line for line in text.splitlines() if line.strip()]
    if len(parts) > 2 or len(_ITEM.findall(text)) > 1 or (len(lines) > 2 and len(parts) == len(lines)):
        yield lines[-1][-_MAX_END:]


_BRACKET_AT_END = re.compile(r"(?<=\S)\s*[(\uff08]([^()\uff08\uff09\n]{8,300})[)\uff09]\W*\Z")
_BRACKET = re.compile(r"(?m)(?<=\S)[ \u3000]?[(\uff08]([^()\uff08\uff09\n]{3,60})[)\uff09]\W*$")
_CLAUSE_END = re.compile(r"[:;]")
_ARROW, _SHORT = re.compile(r"\s(?:\u2192|\u21d2|[-=]>)\s"), 25  # characters of a very short sentence
# Places that may contain words that the whole text does not, because lines are joined anew or words are cut.
_REJOINED = frozenset(("before",))
_CUT = _REJOINED | {"start", "end", "choice"}
_PLACES: dict[str, Callable[[str], Iterator[str]]] = {
    "title": _title,
    "opening": _opening,
    "cheer": _cheer,
    "list": _list,
    "start": lambda text: iter((text.strip()[:_MAX_START],)),
    "reply": _reply,
    "end": _end,
    "aside": _aside,
    "before": _before,
    "plan": _plan,
    "first": _first,
    "clause": _clause,
    "anywhere": lambda text: iter((text,)),
    "label": _label,
    "head": _head,
    "noted": _noted,
    "bracket": _bracket,
    "tail": _tail,
    "choice": _choice,
}
