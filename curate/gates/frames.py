"""What a model says around a text, found by where it stands and by the kinds of words that meet there.

A phrase table knows sentences; a frame knows a place (a title, the last paragraph) and lists of words, one of each of
which has to stand in one sentence of it: `let me know` and `shorter` at the end. Lists are longer than phrases can be,
so frames find chat in other words, and doubt more: they only flag. The frames stand in
curate/gates/phrases/any.toml, their lists in each language's table; models comment in English too, so its lists are
looked for in every language.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, reduce
from operator import or_
from typing import NamedTuple

from curate.gates.folding import REMEMBERED
from curate.gates.phrases import frames_of, may_say, phrases, says
from curate.gates.phrases.holding import BIT
from curate.gates.words import count_words

_SENTENCE = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u00bb)*_]*\s+|(?<=[\u3002\uff01\uff1f\u061f])\s*|\n+")
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?:-{3,}|\*{3,})\n")
_MARKED = re.compile(r"\A\W*(?:\*\*|__|#{1,4} )|[:\uff1a]\W*\Z")
_ITEM = re.compile(r"(?m)^\s*(?:[-*\u2022\u00b7]|\(?\d{1,2}[.)\u3001:]|\(?[a-c][.)])\s*\S")
_TITLE, _START, _END = 12, 260, 400  # words of a title, characters of a start and an end
_SHORT = 420  # characters of a text that may be a refusal


class Frame(NamedTuple):
    """A row of [[frames]]: the gate that asks, what it is called, where the words stand, the lists they are of.

    `unless`: a list no word of which the other side or the style says. `apart`: the lists need not meet in one
    sentence, only in the place.
    """

    gate: str
    code: str
    place: str
    lists: tuple[str, ...]
    unless: str = ""
    apart: bool = False
    words: int = 0  # the bits of `lists`, for a look at what a text may say


class Found(NamedTuple):
    """The code of a frame and the words that were found."""

    code: str
    quoted: str


def framed(gate: str, text: str, given: str, language: str) -> Found | None:
    """The first frame of `gate` that a folded text fills; `given` is what the other side and the style say."""
    if not phrases(language).known:
        return None
    codes = (language,) if language == "en" else (language, "en")
    every = reduce(or_, [may_say(code)(text).lists for code in codes])
    uncertain = _CUT if len(text) > _START else _JOINED
    places: dict[str, list[tuple[str, str, int]]] = {}  # of a place its texts, and the lists they may say
    for row in _frames().get(gate, ()):
        if row.words & ~every and row.place not in uncertain:
            continue
        if row.place not in places:
            texts = _found(row.place, text)
            places[row.place] = [(place, code, may_say(code)(place).lists) for place in texts for code in codes]
        for place, code, lists in places[row.place]:
            if not row.words & ~lists and (quoted := _filled(row, place, given, code)):
                return Found(row.code, quoted)
    return None


@lru_cache(maxsize=REMEMBERED)
def _found(place: str, text: str) -> tuple[str, ...]:
    """What stands at a place of a text."""
    return tuple(_PLACES[place](text))


def _filled(row: Frame, place: str, given: str, language: str) -> str:
    """The sentence of a place in which a word of each list stands, or its words; empty if there is none."""
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
    for row in frames_of():
        frame = Frame(**{**row, "lists": tuple(row["lists"]), "words": reduce(or_, map(BIT.__getitem__, row["lists"]))})
        frames.setdefault(frame.gate, []).append(frame)
    return frames


@lru_cache(maxsize=REMEMBERED)
def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a folded text, lines apart."""
    return tuple(part for part in _SENTENCE.split(text) if part and part.strip())


@lru_cache(maxsize=REMEMBERED)
def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in _PARAGRAPH.split(text) if part.strip())


@lru_cache(maxsize=REMEMBERED)
def _first_line(text: str) -> tuple[str, str]:
    first, _, rest = text.strip().partition("\n")
    return first.strip(), rest.strip()


def _title(text: str) -> Iterator[str]:
    """A marked first line that other text follows: a heading, one in bold, one with a colon."""
    first, rest = _first_line(text)
    if rest and len(first) <= 120 and _MARKED.search(first) and count_words(first) <= _TITLE:
        yield first
    elif boxed := re.match(r"\A[\[\u3010]([^\]\u3011\n]{2,30})[\]\u3011]\s", text):
        yield boxed[1]
    elif (head := re.match(r"\A\W*([^\n:]{4,60}):\W*\s", first)) and count_words(head[1]) <= 5:
        yield head[1]


def _opening(text: str) -> Iterator[str]:
    """A first line that ends in a colon, or the first of several paragraphs."""
    first, rest = _first_line(text)
    if (
        rest
        and len(first) <= 300
        and (first.rstrip("*_ ").endswith(":") or text.lstrip()[len(first) :].startswith("\n\n"))
    ):
        yield first


def _cheer(text: str) -> Iterator[str]:
    """A first paragraph of a few words that says nothing of the matter: `Here you go!`."""
    first, rest = _first_line(text)
    if (
        rest
        and text.lstrip()[len(first) :].startswith("\n\n")
        and first[-1] in "!.:\uff01\uff1a\u3002"
        and count_words(first) <= 4
    ):
        yield first


def _list(text: str) -> Iterator[str]:
    """A first line that nothing but two items or more follow, or alternatives in quotation marks."""
    first, rest = _first_line(text)
    lines = [line for line in rest.splitlines() if line.strip()]
    if len(lines) < 2 or len(first) > 200:
        return
    if len(_ITEM.findall(rest)) >= 2 or all(re.match(r"\s*[\"'\u00ab\u201e\u201c\u300c*]", line) for line in lines):
        yield first


def _start(text: str) -> Iterator[str]:
    yield text.strip()[:_START]


def _reply(text: str) -> Iterator[str]:
    """A whole text of a few sentences in one or two paragraphs."""
    if len(text) <= _SHORT and len(_paragraphs(text)) <= 2:
        yield text


def _end(text: str) -> Iterator[str]:
    """The last paragraph, or what stands behind the first sentence of a text in one."""
    parts = _paragraphs(text)
    if len(parts) > 1:
        yield parts[-1][-_END:]
    elif len(all_of := sentences(text)) > 1:
        yield all_of[-1]


def _aside(text: str) -> Iterator[str]:
    """The first and the last of several sentences, and what stands in brackets at the end."""
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
    """All but the last paragraph, or line, of a text."""
    parts = _paragraphs(text)
    if len(parts) < 2:
        parts = tuple(line for line in text.splitlines() if line.strip())
    if len(parts) > 1:
        yield "\n".join(parts[:-1])[:1500]


def _plan(text: str) -> Iterator[str]:
    """The first of several paragraphs, where it speaks to nobody: no greeting, no question, no list."""
    parts = _paragraphs(text)
    if len(parts) > 1 and 25 <= len(parts[0]) <= 1500 and parts[0][-1] not in ",:?!" and not _ITEM.search(parts[0]):
        yield parts[0]


def _anywhere(text: str) -> Iterator[str]:
    yield text


def _label(text: str) -> Iterator[str]:
    """What stands before a colon at the start, in three words at most, where no other line begins so: it is a form."""
    head = re.match(r"\A\W*([^\n:]{2,40}?)\W*:", text)
    if head is None or re.search(r"\n\W{0,4}[^\W\d_][\w ]{0,20}\W{0,3}:", text):
        return
    if count_words(head[1]) <= (8 if head[1][0] > "\u2e80" else 3):
        yield head[1]


def _head(text: str) -> Iterator[str]:
    """What stands before the first colon of a first line, where text follows."""
    if (head := re.match(r"\A\W*([^\n:\uff1a]{4,140})[:\uff1a]\s*\S", text)) and count_words(head[1]) <= 4 * _TITLE:
        yield head[1]


def _noted(text: str) -> Iterator[str]:
    """A few words in brackets at the end of a line."""
    for note in _BRACKET.findall(text) if "(" in text or "\uff08" in text else ():
        if count_words(note) <= (12 if note[0] > "\u2e80" else 5):
            yield note


def _bracket(text: str) -> Iterator[str]:
    """What stands in brackets behind the text."""
    if ("(" in text or "\uff08" in text) and (note := _BEHIND.search(text)):
        yield note[1]


def _tail(text: str) -> Iterator[str]:
    """What stands before a colon at the start of the last paragraph or in brackets behind the text."""
    parts = _paragraphs(text)
    if len(parts) > 1 and (head := re.match(r"\W*([^\n:\uff1a]{3,40})[:\uff1a]", parts[-1])):
        yield head[1]


def _choice(text: str) -> Iterator[str]:
    """The last paragraph, or the last line, behind two items or more of a list, or two texts or more."""
    parts = _paragraphs(text)
    lines = [line for line in text.splitlines() if line.strip()]
    if len(parts) > 2 or len(_ITEM.findall(text)) > 1 or (len(lines) > 2 and len(parts) == len(lines)):
        yield lines[-1][-_END:]


_BEHIND = re.compile(r"(?<=\S)\s*[(\uff08]([^()\uff08\uff09\n]{8,300})[)\uff09]\W*\Z")
_BRACKET = re.compile(r"(?m)(?<=\S)[ \u3000]?[(\uff08]([^()\uff08\uff09\n]{3,60})[)\uff09]\W*$")
# Places that may say what the whole text does not: of lines that are joined anew, or cut inside of a word.
_JOINED = frozenset(("before",))
_CUT = _JOINED | {"start", "end", "choice"}
_PLACES: dict[str, Callable[[str], Iterator[str]]] = {
    "title": _title,
    "opening": _opening,
    "cheer": _cheer,
    "list": _list,
    "start": _start,
    "reply": _reply,
    "end": _end,
    "aside": _aside,
    "before": _before,
    "plan": _plan,
    "anywhere": _anywhere,
    "label": _label,
    "head": _head,
    "noted": _noted,
    "bracket": _bracket,
    "tail": _tail,
    "choice": _choice,
}
