"""Gates for answers that have a form: a label, JSON whose values stand in the input, a translation."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from curate.gates.folding import fold
from curate.gates.frames import sentences
from curate.gates.judgement import Gate, Judgement, passed, quote, rejected, sides
from curate.gates.names import unknown_name
from curate.gates.number import Number
from curate.gates.number_words import numbers_told
from curate.gates.numbers import NumberMentions, grouped_by, in_digits, may_be_words, required
from curate.gates.phrases import either, lexicon, words_of
from curate.gates.units import changed_unit
from curate.gates.words import stem_of
from curate.words import words
from prompts.answer_form import alternatives, resolved
from schemas.records import Json, Pair, Reason

_SHOWN = 12  # labels in a sentence
_DATE = re.compile(r"(?:(\d{4})-)?\d\d-(\d\d)(?:[T ].*)?")
_TIME = re.compile(r"([01]?\d|2[0-3]):(\d\d)(?::\d\d)?")
_BY_HALF = (20, 25, 30, 35, 40)  # minutes told by the half hour before the next: fünf vor halb zehn
_ADDRESS = re.compile(r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:!?]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# How digits are grouped differs by language: 1 200, 1'200 and 1.200 are 1200 for all that a translation may do to it.
_GROUPED = re.compile("(?<=\\d)[ \u00a0\u202f\u2009'\u2019](?=\\d{3}(?!\\d))")
_A_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d\s?[年月]")
_ENDING = -3  # letters of a name that another language may write in its own way
_PROSE = 40  # letters of a source that a translation may be too short for
_A_WORD, _A_SYLLABLE = (
    2.6,
    1.8,
)  # letters of an alphabet that a character of Chinese or Japanese, or of Korean, stands for
_ALIKE_WORDS = 5  # a text of fewer words may be the same in two languages


def label(pair: Pair, labels: Collection[str]) -> Judgement:
    """The output is one of the task's labels, as the spec writes it."""
    if pair.output in labels:
        return passed()
    shown = ", ".join(list(labels)[:_SHOWN]) + (", ..." if len(labels) > _SHOWN else "")
    return rejected("label", f"{quote(pair.output)} is none of the {len(labels)} labels: {shown}")


def generated_input(pair: Pair, gates: Sequence[Gate]) -> Judgement:
    """What a teacher wrote backward, for an output that is no text: the first of `gates` that rejects it, or cannot
    tell, speaks. A person's own input is not judged, and neither is the output."""
    if not any(side == "input" for side, _ in sides(pair)):
        return passed("no model wrote it")
    alone = pair.model_copy(update={"output": ""})
    judgements = (gate(alone) for gate in gates)
    return next((judgement for judgement in judgements if judgement.keep is not True), passed())


def values(pair: Pair, schema: Json | None, language: str = "en") -> Judgement:
    """The texts and numbers in a JSON output are not made up. Score: the share of them that stand in the input.

    A number has to stand there, in any spelling: `1.200,50` is 1200.5, `three` is 3, `40k` is 40000; in a language
    whose number words are not known only one of four digits or more. Of a date the day and the year have to, of a time
    the hour. A text may be put in other words: it is made up if none of its words stands there (up to case and endings)
    or a number of three digits or more does not. Exempt are true, false and null, texts of up to three letters (PLN,
    °C), and what the schema draws from a list (`enum`, `const`), which a reader may conclude.
    Not covered: a value of the input that stands at the wrong key, and half of a text that is made up. A schema with
    fields that are not in the input (a summary in another language) should switch the gate off.
    """
    try:
        value = json.loads(pair.output)
    except ValueError:
        return passed("it is not JSON, which another gate says")
    told = _Told(pair.input, language)
    leaves = list(_leaves(value, schema or {}, schema or {}, "$"))
    absent = [(at, leaf) for at, leaf in leaves if not told.holds(leaf) or told.gives_another(at, leaf)]
    share = 1 - len(absent) / len(leaves) if leaves else 1.0
    if absent:
        at, leaf = absent[0]
        more = f" ({len(absent) - 1} more)" if len(absent) > 1 else ""
        return rejected("value", f"{quote(str(leaf))} at {at} does not stand in the input{more}", share)
    return passed(f"{len(leaves)} values stand in the input", share)


def _leaves(value: Any, schema: Any, root: Json, at: str) -> Iterator[tuple[str, str | int | float]]:
    """The texts and numbers in `value` that are bound to the input, each with its path."""
    ways = alternatives(resolved(schema, root), root)
    if isinstance(value, dict):
        for key, inside in value.items():
            named = [way["properties"][key] for way in ways if key in way.get("properties", {})]
            yield from _leaves(inside, {"anyOf": named} if named else {}, root, f"{at}.{key}")
    elif isinstance(value, list):
        items = [way["items"] for way in ways if isinstance(way.get("items"), dict)]
        for number, inside in enumerate(value):
            yield from _leaves(inside, {"anyOf": items} if items else {}, root, f"{at}[{number}]")
    elif type(value) in (str, int, float) and value != "" and not any("enum" in w or "const" in w for w in ways):
        yield at, value


def _plain(number: float) -> str:
    digits = format(abs(number), "f") if isinstance(number, float) else str(abs(number))
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


class _Told:
    """What an input says, asked whether it holds a value."""

    def __init__(self, text: str, language: str) -> None:
        self._numbers = NumberMentions(_joined_groups(text), language)
        self._known, self._language = bool(lexicon(language).ones), language
        self._text, self._words = text, f" {' '.join(words(text))} "

    @cached_property
    def _only(self) -> str:
        """The number of an input that tells one, in a word; else ''."""
        if (
            self._known
            or any(map(str.isdigit, self._text))
            or not lexicon(self._language).hints.keys().isdisjoint(words(self._text))
        ):
            return ""
        told = numbers_told(fold(self._text), self._language)
        return min(told) if len(told) == 1 else ""

    def holds(self, leaf: str | int | float) -> bool:
        if not isinstance(leaf, str):
            return self._number(_plain(leaf)) and (isinstance(leaf, float) or self._only in ("", _plain(leaf)))
        if time := _TIME.fullmatch(leaf.strip()):
            return self._time(int(time[1]), int(time[2]))
        if date := _DATE.fullmatch(leaf.strip()):
            year, day = date[1] or "", date[2]
            years = (
                not year or self._in_digits(year) or self._in_digits(year[2:]) or (self._known and self._number(year))
            )
            return self._number(day) and years
        if address := _ADDRESS.fullmatch(leaf.strip()):  # spelt out too: ada (at) mill (dot) example
            held = all(f" {word} " in self._words for word in words(address[0].partition("://")[2] or address[0]))
            return held or fold(address[0]) in fold(self._text)
        return f" {' '.join(words(leaf))} " in self._words or self._paraphrased(leaf)

    def gives_another(self, at: str, leaf: str | int | float) -> bool:
        """Whether the name of a field stands in the input right before another number, and nowhere else."""
        if isinstance(leaf, str) or at.endswith("]"):
            return False
        name = re.escape(at.rpartition(".")[2].replace("_", " "))
        found = re.findall(rf"(?<!\w){name}\W{{0,4}}?(\d+(?:[.,]\d+)*)(?!\w)", fold(self._text))
        return len(found) == 1 and Number(found[0], frozenset((_plain(leaf),))) not in NumberMentions(found[0], "en")

    def _time(self, hour: int, minute: int) -> bool:
        """Whether the hour is told on either clock, and the minutes: 9:45 may be a quarter to ten, 9:30 half ten."""
        if not self._known:
            return True
        here, next_one = (
            any(self._number(str(h)) for h in (hour, hour % 12 or 12, hour % 12 + 12)) for hour in (hour, hour + 1)
        )
        told = not minute or self._in_digits(f"{minute:02}") or self._number(str(minute))
        return (here and told) or (next_one and (self._number(str(60 - minute)) or (minute in _BY_HALF and told)))

    def _paraphrased(self, leaf: str) -> bool:
        """Whether a text may be the input in other words."""
        found = [word for word in words(leaf) if any(map(str.isalnum, word))]
        digits = "".join(filter(str.isdigit, leaf))
        if not any(map(str.isalpha, leaf)) and len(digits) > 4:  # a number of a telephone, grouped in another way
            return self._number(digits)
        if not all(self._number(word) for word in found if word.isdecimal() and len(word) > 2):
            return False
        weighty = [word for word in found if not word.isdecimal() and (len(word) > 3 or not word.isascii())]
        return not weighty or any(self._begins(word) for word in weighty)

    def _begins(self, word: str) -> bool:
        """Whether a word of the input begins like this one. In scripts without capitals a beginning may be joined to a
        word as well as an ending (서울에서, بالقاهرة), and in some no blank parts two."""
        stem = word[: max(4, len(word) - 3)]
        if (f" {stem}" if stem.isascii() else stem) in self._words:
            return True
        root = stem_of(self._language)
        return len(word) == 4 and root(word) in map(root, self._words.split())

    def _in_digits(self, plain: str) -> bool:
        return re.search(rf"(?<!\d){plain}(?!\d)", self._text) is not None

    def _number(self, plain: str) -> bool:
        if not self._known and len(plain.partition(".")[0]) < 4:
            return True
        bare = plain.lstrip("0") or "0"
        thousands = [bare[: -len(zeros)] for zeros in ("000", "000000") if bare.endswith(zeros) and bare != zeros]
        return any(Number(form, frozenset({form})) in self._numbers for form in (plain, bare, *thousands) if form)


def translated(pair: Pair, language: str, to: str) -> Judgement:
    """The output is another text than the input, and numbers and addresses of the web are kept.

    Numbers by value, however they are grouped or spelt; where the number words of the target language are not known,
    those that may be told in words (below 100, round ones) ask for nothing. Names are spelt and inflected in each
    language's own way, so a name of two words or more (and any behind a title) no part of which is seen again is only
    flagged, `lost_name`, and between two alphabets none is. Flagged are a translation less than half as long as its
    source (`shorter`), a number with another unit (`changed_unit`), the same numbers in another order (`number_order`),
    and words of the source that stand there untranslated (`left_over`). The language itself is another gate's.
    Flagged are also a variable or a tag of the source that is gone (`lost_variable`), a grouped number read as a
    fraction (1.250 as 1.25: `number_format`), more lines than the source has sentences (`added_lines`), alternatives
    between slashes (`options`) and fewer sentences in clearly less text (`lost_sentence`).
    Not covered: numbers that the translation makes up; units that were converted.
    """
    source = words(pair.input)
    if source == words(pair.output) and len(source) >= _ALIKE_WORDS:
        return rejected("untranslated", f"it is the source again: {quote(pair.output)}", 0.0)
    addresses = [
        address for address in _ADDRESS.findall(pair.input) if address.casefold() not in pair.output.casefold()
    ]
    if addresses:
        return rejected("lost_address", f"the source says {quote(addresses[0])}, the translation does not")
    told = NumberMentions(_joined_groups(pair.output), to)
    wanted = [n for n in required(_joined_groups(_ADDRESS.sub(" ", pair.input)), language) if _binds(n, to)]
    lost = [number.text for number in wanted if number not in told and not _in_roman(number, pair.output)]
    doubted = [] if lexicon(language).ones else [n.text for n in wanted if n.text in lost and may_be_words(n)]
    lost = [text for text in lost if text not in doubted]
    if lost:
        missing = ", ".join(map(quote, lost))
        return rejected(
            "lost_number", f"the source says {missing}, the translation does not", 1 - len(lost) / len(wanted)
        )
    kept = passed(f"{len(wanted)} numbers are kept", 1.0)
    if doubted:
        return kept._replace(reason=Reason("ok", f"{quote(doubted[0])} is not seen again"), flags=("lost_number",))
    if _weight(pair.input) >= _PROSE and _weight(pair.output) < 0.5 * _weight(pair.input):
        return kept._replace(reason=Reason("ok", "it is less than half as long as the source"), flags=("shorter",))
    if units := changed_unit(pair.input, pair.output, to, language):
        said = f"the source says {quote(units[0])}, the translation {quote(units[1])}"
        return kept._replace(reason=Reason("ok", said), flags=("changed_unit",))
    if turned := _turned(pair.input, pair.output):
        return kept._replace(reason=Reason("ok", f"{quote(turned)} stand in another order"), flags=("number_order",))
    if left := _left_over(pair.input, pair.output, language, to):
        return kept._replace(reason=Reason("ok", f"{quote(left)} is not translated"), flags=("left_over",))
    for code, said in _shape(pair.input, pair.output, language, to):
        return kept._replace(reason=Reason("ok", said), flags=(code,))
    if _in_latin(pair.output) and (name := unknown_name(pair.input, pair.output, language, _ENDING)):
        return kept._replace(reason=Reason("ok", f"the name {quote(name)} is not seen again"), flags=("lost_name",))
    return kept


def _shape(source: str, text: str, language: str, to: str) -> Iterator[tuple[str, str]]:
    """What a translation did to the form of its source: a code and a sentence."""
    if lost := [mark for mark in _VARIABLE.findall(source) if mark not in text and fold(mark) not in fold(text)]:
        yield "lost_variable", f"{quote(lost[0])} is gone"
    if misread := _misread(source, text, language, to):
        yield "number_format", f"{quote(misread)} is read as a fraction"
    said, told = len(sentences(source)), len(sentences(text))
    lines, before = ([line for line in side.splitlines() if line.strip()] for side in (text, source))
    in_verse = len(lines) <= len(_CLAUSES.findall(source)) and all(line.strip()[-1] not in ":)*" for line in lines)
    if len(lines) > max(len(before), said) and not in_verse:
        yield "added_lines", f"it has {len(lines)} lines, the source {said} sentences"
    if len(before) == 1 and " / " in text and "/" not in source:
        yield "options", f"{quote(text)} gives several translations"
    if told < said > 2 and _weight(text) < 0.7 * _weight(source):
        yield "lost_sentence", f"it has {told} sentences, the source {said}"


_CLAUSES = re.compile(r"[^\W_][^,;:.!?\u3000-\u3002\uff0c\uff1b]*")
_VARIABLE = re.compile(
    r"\{\{[^{}\n]{1,40}\}\}|\$?\{[\w.]{1,40}\}|%(?:\d\$)?[sd](?!\w)|%\(\w+\)[sd]|</?[a-z][a-z0-9]{0,9}>"
)


def _misread(source: str, text: str, language: str, to: str) -> str:
    """A number of the source in groups of three, as its language groups them, which the text has as a fraction; or
    ''."""
    group, point = grouped_by(language), "," if grouped_by(to) == "." else "."
    for number in re.findall(rf"(?<![\w.,])\d{{1,3}}[{re.escape(group)}]\d\d0(?![\w]|[.,]\d)", source):
        whole, rest = number.split(group)
        if re.search(rf"(?<![\d.,]){whole}[{point}]{rest.rstrip('0')}0?(?![\d]|[.,]\d)", text):
            return str(number)
    return ""


def _weight(text: str) -> float:
    """How much a text says, in letters of an alphabet."""
    return sum(
        1.0 if letter < "\u2e80" else _A_SYLLABLE if "\uac00" <= letter <= "\ud7a3" else _A_WORD
        for letter in text
        if letter.isalpha()
    )


def _turned(source: str, text: str) -> str:
    """Two numbers in digits that changed places, where both texts hold the same ones, each once, and no date does."""
    first, second = (list(in_digits(_joined_groups(side))) for side in (source, text))
    if len(first) < 2 or len(first) != len(second) or _A_DATE.search(source):
        return ""
    places = [[at for at, n in enumerate(second) if not n.forms.isdisjoint(number.forms)] for number in first]
    if any(len(there) != 1 for there in places) or len({there[0] for there in places}) < len(first):
        return ""
    order = [there[0] for there in places]
    return next(
        (f"{a.text}, {b.text}" for (a, b), (i, k) in zip(pairwise(first), pairwise(order), strict=True) if i > k), ""
    )


def _left_over(source: str, text: str, language: str, to: str) -> str:
    """Two words or more of the source, one of them a stop word of its language alone, that the text says in a row in
    small letters and in no quotation; or ''."""
    stop = lexicon(language).stop - lexicon(to).stop - words_of("particles")
    if not stop:
        return ""
    spoken, given = f" {' '.join(_SMALL.findall(_QUOTATION.sub(' | ', text)))} ", _SMALL.findall(source)
    for first, second in pairwise(given):
        if (first in stop or second in stop) and len(first + second) > 5 and f" {first} {second} " in spoken:
            return f"{first} {second}"
    return ""


_SMALL = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?|[.,;:|!?\n]")
_QUOTATION = re.compile(
    r"\$[^$\n]+\$|\\\w+|[\"\u201c\u201e\u00ab\u300c'][^\n]{1,200}?[\"\u201d\u201c\u00bb\u300d']|`[^`\n]+`|\*[^*\n]+\*|\{[^{}]*\}|<[^<>]*>"
)


def _in_latin(text: str) -> bool:
    letters = [character.isascii() for character in text if character.isalpha()]
    return sum(letters) > len(letters) / 2


def _binds(number: Number, to: str) -> bool:
    """Whether a text in the language `to` has to tell the number in a way that can be seen."""
    if lexicon(to).ones or number.letters:
        return True
    ungrouped = number._replace(text=re.sub(r"[.,](?=\d{3})", "", number.text))
    return number.text[0].isdigit() and not may_be_words(number) and not may_be_words(ungrouped)


def _in_roman(number: Number, text: str) -> bool:
    """Whether the text tells a number up to 39 as I, V and X: the 19th century is le XIXe siècle."""
    digits = next(iter(number.forms))
    if not digits.isdigit() or not 0 < int(digits) < 40:
        return False
    tens, ones = divmod(int(digits), 10)
    roman = "X" * tens + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[ones]
    return re.search(rf"\b{roman}(?:{either(words_of('ordinal'))})?\b", text) is not None


def _joined_groups(text: str) -> str:
    return _GROUPED.sub("", text)
