"""Gates for answers that have a form: a label, JSON whose values stand in the input."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

from curate.gates.contrary import contrary
from curate.gates.dates import days_named
from curate.gates.facts import CONTACT, clause_ends, is_date
from curate.gates.folding import fold
from curate.gates.judgement import Gate, Judgement, passed, quote, rejected, sides
from curate.gates.listed import left_over, misplaced
from curate.gates.miscounted import adds_up, miscounted
from curate.gates.misfiled import crossed, half_told, unfilled
from curate.gates.number import Number
from curate.gates.number_words import has_number_words, in_figures, numbers_told
from curate.gates.numbers import NumberMentions, grouped_by, joined_groups
from curate.gates.phrases import lexicon, says, words_of
from curate.gates.units import CURRENCIES, SHORT, changed_unit, currencies
from curate.gates.words import stem_of
from curate.words import words
from prompts.answer_form import alternatives, resolved
from schemas.records import Json, Pair

_PARTS = re.compile(r"[_\W\d]+")
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[\u3002\uff01\uff1f]")
_SHOWN = 12  # labels in a sentence
_DATE = re.compile(r"(?:(\d{4})-)?(\d\d)-(\d\d)(?:[T ].*)?")
_FIGURES = r"\d+(?:[.,]\d+)*"
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_SPAN = re.compile(r"(\d\d?:\d\d) ?[-\u2013] ?(\d\d?:\d\d)")
_TIME = re.compile(r"([01]?\d|2[0-3]):(\d\d)(?::\d\d)?")
_IN_WORDS = ("", "5", "25", "75")  # fractions that any language has words for
_SQUARED = re.compile(r"(?<=[^\W\d_])[\u00b2\u00b3]")  # of m², which is no 2
_SMALL = 5  # from which on a number is seldom concluded from a text that tells none
_BY_HALF = (20, 25, 30, 35, 40)  # minutes told by the half hour before the next: fünf vor halb zehn
ADDRESS = re.compile(r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:!?]|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


def label(pair: Pair, labels: Collection[str], language: str = "en") -> Judgement:
    """The output is one of the task's labels, as the spec writes it. Flagged is one that the words of the text speak
    against: praise that is labelled negative, an alarm labelled low, another language's name.

    Not covered: any other wrong label.
    """
    if pair.output in labels:
        doubt = contrary(pair.input, pair.output, labels, language)
        return passed(doubt)._replace(flags=("contrary",)) if doubt else passed()
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
    A list does not say one item again and again, a code of a currency is one that the input names if it names any.
    Not covered: a value of the input that stands at the wrong key, and half of a text that is made up. A schema with
    fields that are not in the input (a summary in another language) should switch the gate off.
    """
    try:
        value = json.loads(pair.output)
    except ValueError:
        return passed("it is not JSON, which another gate says")
    source = _Told(pair.input, language)
    leaves = list(_leaves(value, schema or {}, schema or {}, "$"))
    fields = {at.rpartition(".")[2] for at, _ in leaves}
    absent = [
        (at, leaf)
        for at, leaf in leaves
        if (not source.holds(leaf) and not adds_up(pair.input, leaf)) or source.gives_another(at, leaf, fields)
    ]
    share = 1 - len(absent) / len(leaves) if leaves else 1.0
    if absent:
        at, leaf = absent[0]
        more = f" ({len(absent) - 1} more)" if len(absent) > 1 else ""
        if source.holds(leaf):
            another = f"the input has another number than {quote(str(leaf))} beside the name of {at}{more}"
            return rejected("value", another, share)
        return rejected("value", f"{quote(str(leaf))} at {at} does not stand in the input{more}", share)
    if again := source.again(leaves):
        return rejected("value", f"a list says {quote(again)} again and again", share)
    if units := changed_unit(pair.input, " | ".join(str(leaf) for _, leaf in leaves), language, language, alike=True):
        return rejected("value", f"the input says {quote(units[0])}, the record {quote(units[1])}", share)
    if turned := source.turned(value):
        return rejected(
            "value", f"{turned[0]} is {str(turned[1]).lower()}, and the input says {quote(turned[2])}", share
        )
    if moved := misplaced(source.figures, value):
        return rejected("value", f"a list has another number for {quote(moved)}", share)
    if left := source.left_out(value) or left_over(source.figures, value):
        return rejected("value", f"a list stops before {quote(left)}", share)
    if counted := miscounted(pair.input, value, language):
        return rejected("value", f"{counted[0]} is {counted[1]}, and the input says that of another field", share)
    if filed := crossed(fold(pair.input), value):
        return rejected("value", f"{filed[0]} is {quote(filed[1])}, and the input says that of another field", share)
    if half := half_told(pair.input, value, language):
        return rejected("value", f"{quote(half)} does not stand so in the input", share)
    if field := unfilled(fold(pair.input), value, language):
        return rejected("value", f"{field} is empty, and the input says something of it", share)
    if missed := source.missed(value):
        return rejected("value", f"{missed[0]} is empty, and the input says {quote(missed[1])}", share)
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


def _says(clause: str, word: str) -> bool:
    """Whether a clause says a word with any ending: `pets` in `petsitting` is another word."""
    return re.search(rf"(?<!\w){re.escape(word[: max(5, len(word) - 2)])}\w{{0,3}}(?!\w)", clause) is not None


def _plain(number: float) -> str:
    digits = format(abs(number), "f") if isinstance(number, float) else str(abs(number))
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


class _Told:
    """What an input says, asked whether it holds a value."""

    def __init__(self, text: str, language: str) -> None:
        text = _SQUARED.sub("", text)
        self._numbers = NumberMentions(joined_groups(text), language)
        self._known, self._language = bool(lexicon(language).ones), language
        self._text, self._words = text, f" {' '.join(words(text))} "

    @cached_property
    def figures(self) -> str:
        return in_figures(joined_groups(self._text), self._language)

    @cached_property
    def _days(self) -> set[tuple[str, str]]:
        """The days that the text names, each with its month."""
        return {day for _, days in days_named(self._text, self._language) for day in days}

    @cached_property
    def _only(self) -> str:
        """The number of an input that tells one, in a word; else ''."""
        if (
            self._known
            or any(map(str.isdigit, self._text))
            or not lexicon(self._language).hints.keys().isdisjoint(words(self._text))
        ):
            return ""
        numbers = numbers_told(fold(self._text), self._language)
        return min(numbers) if len(numbers) == 1 else ""

    @cached_property
    def _tells_none(self) -> bool:
        """Whether the input, in a language of which only cardinals and ordinals are known, tells no number at all."""
        folded = fold(self._text)
        if self._known or any(map(str.isdigit, folded)) or not has_number_words(self._language):
            return False
        return not numbers_told(folded, self._language) and not says("any", "parts_of_numbers", folded)

    def holds(self, leaf: str | int | float) -> bool:
        if not isinstance(leaf, str):
            plain = _plain(leaf)
            return (
                self._number(plain)
                and not self._misread(plain)
                and (isinstance(leaf, float) or self._only in ("", plain))
                and not (self._tells_none and abs(leaf) >= _SMALL)
            )
        if leaf in CURRENCIES and (named := currencies(self._text, self._language)):
            return leaf in named
        if time := _TIME.fullmatch(leaf.strip()):
            return self._time(int(time[1]), int(time[2]))
        if date := _DATE.fullmatch(leaf.strip()):
            year, day = date[1] or "", date[3]
            years = (
                not year or self._in_digits(year) or self._in_digits(year[2:]) or (self._known and self._number(year))
            )
            turned = (date[2].lstrip("0"), date[3].lstrip("0"))
            return self._number(day) and years and not (turned in self._days and turned[::-1] not in self._days)
        if spanned := _SPAN.fullmatch(leaf.strip()):
            return all(self.holds(time) for time in spanned.groups())
        if month := _MONTH.fullmatch(leaf.strip()):
            return self._in_digits(month[1]) and self._number(month[2].lstrip("0"))
        if address := ADDRESS.fullmatch(leaf.strip()):  # spelt out too: ada (at) mill (dot) example
            held = all(f" {word} " in self._words for word in words(address[0].partition("://")[2] or address[0]))
            return held or fold(address[0]) in fold(self._text)
        return f" {' '.join(words(leaf))} " in self._words or self._is_code(leaf) or self._paraphrased(leaf)

    def _is_code(self, leaf: str) -> bool:
        """Whether a code of letters and digits stands in the input, with blanks or marks or without: BA 117."""
        plain = "".join(words(leaf))
        if not plain.isalnum() or plain.isalpha() or plain.isdigit():
            return False
        return re.search(rf"(?<!\S){' ?'.join(plain)}(?!\S)", self._words) is not None

    def gives_another(self, at: str, leaf: str | int | float, fields: Collection[str]) -> bool:
        """Whether the name of a field, without its unit if it has one, stands in the input right before another number,
        and nowhere else but in the name of another of the `fields`: `room` in `room key`."""
        if isinstance(leaf, str) or at.endswith("]"):
            return False
        field = at.rpartition(".")[2]
        thing, _, unit = field.rpartition("_")
        told_in = bool(thing) and unit in SHORT
        if told_in and re.search(rf"(?<![\w.,]){re.escape(_plain(leaf))} ?{unit}(?!\w)", fold(self.figures)):
            return False
        name = re.escape((thing if told_in else field).replace("_", " "))
        if re.search(rf"(?<![\w.,]){re.escape(_plain(leaf))} {name}(?!\w)", self.figures):
            return False  # `17 claims, 6 sheets`
        behind_it = rf"(?<!\w){name}\W{{0,4}}?({_FIGURES}[kmb]?)(?!\w)"
        before_it = rf"(?<![\w.,])({_FIGURES}) {name}(?!\w)(?!(?:\W+[^\W\d_]+){{0,2}}\W+\d)"  # 82.00 Total due 492.00
        figures = re.findall(rf"{behind_it}|{before_it}", self.figures)
        beside = [behind or before for behind, before in figures]
        longer = "|".join(re.escape(one.replace("_", " ")) for one in fields if one.startswith(f"{field}_"))
        not_of_it = f"(?!{longer})" if longer else ""
        named_once = len(re.findall(rf"(?<!\w){not_of_it}{name}(?!\w)", self.figures)) == 1
        return (
            len(beside) == 1
            and named_once
            and Number(_plain(leaf), frozenset((_plain(leaf),))) not in NumberMentions(beside[0], "en")
        )

    def again(self, leaves: list[tuple[str, str | int | float]]) -> str:
        """What a list holds three times or more, where the input says it less often and does not say how often (`3 x
        M`); or ''."""
        listed = Counter((at.rpartition("[")[0], leaf) for at, leaf in leaves if at.endswith("]"))
        for (_, leaf), times in listed.items():
            plain = fold(leaf) if isinstance(leaf, str) else _plain(leaf).partition(".")[0]
            if times > 2 and fold(self.figures).count(plain) < times and not self._number(str(times)):
                return str(leaf)
        return ""

    def turned(self, value: Any) -> tuple[str, bool, str] | None:
        """A field that is true where the one clause that speaks of it denies it, or false where it does not, and the
        clause; or None."""
        fields = value.items() if isinstance(value, dict) else ()
        clauses = [clause for clause in clause_ends().split(fold(self._text)) if clause.strip()]
        for key, inside in fields:
            if not isinstance(inside, bool):
                continue
            named = [word for word in _PARTS.split(fold(key)) if len(word) > 2 and word not in words_of("field_words")]
            speaking = [clause for clause in clauses if any(_says(clause, word) for word in named)]
            if (
                len(speaking) == 1
                and lexicon(self._language).words("denial")
                and words_of("field_denials").isdisjoint(_PARTS.split(fold(key)))
            ):
                surely = self._says(("denial", "forbidden"), speaking[0])
                may_deny = surely or self._says(("negation", "negated", "lacking"), speaking[0])
                may_deny = may_deny or not words_of("field_denials").isdisjoint(_PARTS.split(speaking[0]))
                if (
                    (surely if inside else not may_deny)
                    and not says(self._language, "condition", speaking[0])
                    and not (not inside and len(named) > 1)
                ):
                    return key, inside, speaking[0].strip()
        return None

    def _says(self, lists: Sequence[str], clause: str) -> bool:
        return any(says(self._language, name, clause) for name in lists)

    def left_out(self, value: Any) -> str:
        """The first item of a list of the input that a list of the record, of at least two of its items, has not, where
        it has none of those behind it; or ''."""
        lists = [one for one in value.values() if isinstance(one, list)] if isinstance(value, dict) else [value]
        held = fold(json.dumps(value, ensure_ascii=False))
        if (
            len(lists) != 1
            or not isinstance(lists[0], list)
            or len(lists[0]) < 2
            or not all(isinstance(item, str) for item in lists[0])
        ):
            return ""
        for sentence in _SENTENCE_END.split(fold(self._text)):  # a list that ends where a sentence does is whole
            items = [item.strip(" .!") for item in clause_ends().split(sentence) if item.strip(" .!")]
            items = [item for item in items if any(len(word) > 2 for word in words(item))]  # S, M, L are in any text
            known = [any(word[:5] in held for word in words(item) if len(word) > 2) for item in items]
            begun = known.index(True) if True in known else 0  # behind `list all who came:`
            items, known = items[begun:], known[begun:]
            if len(items) > 3 and known[:2] == [True, True] and not any(known[-2:]):
                return items[known.index(False)]
        return ""

    def missed(self, value: Any) -> tuple[str, str] | None:
        """A field of a record that is named for a telephone number or an address, is empty, and what the input says of
        that kind, where the record has it nowhere; or None."""
        empty = [key for key, inside in value.items() if inside in (None, "")] if isinstance(value, dict) else []
        record = fold(json.dumps(value, ensure_ascii=False)) if empty else ""
        for match in CONTACT.finditer(self._text) if empty else ():
            named = (key for key in empty if says("any", f"named_{match.lastgroup}", fold(key).replace("_", " ")))
            if fold(match[0]) not in record and not is_date(match[0]) and (key := next(named, "")):
                return key, match[0]
        return None

    def _misread(self, plain: str) -> bool:
        """Whether a fraction stands in the input as thousands, as its language groups them: 1.250 is no 1.25."""
        whole, _, fraction = plain.partition(".")
        grouped = rf"(?<![\d.,]){whole}[{grouped_by(self._language)}]{fraction.ljust(3, '0')}(?!\d)"
        return bool(fraction) and re.search(grouped, self._text) is not None

    def _time(self, hour: int, minute: int) -> bool:
        """Whether the hour is told on either clock, and the minutes: 9:45 may be a quarter to ten, 9:30 half ten."""
        if not self._known:
            return True
        here, next_one = (
            any(self._number(str(h)) for h in (hour, hour % 12 or 12, hour % 12 + 12)) for hour in (hour, hour + 1)
        )
        minutes = not minute or self._in_digits(f"{minute:02}") or self._number(str(minute))
        return (here and minutes) or (next_one and (self._number(str(60 - minute)) or (minute in _BY_HALF and minutes)))

    def _paraphrased(self, leaf: str) -> bool:
        """Whether a text may be the input in other words."""
        parts = [word for word in words(leaf) if any(map(str.isalnum, word))]
        digits = "".join(filter(str.isdigit, leaf))
        if not any(map(str.isalpha, leaf)) and len(digits) > 4:  # a number of a telephone, grouped in another way
            return self._number(digits)
        if not all(self._number(word) for word in parts if word.isdecimal() and len(word) > 2):
            return False
        weighty = [word for word in parts if not word.isdecimal() and (len(word) > 3 or not word.isascii())]
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
        whole, _, fraction = plain.partition(".")
        if not self._known and len(whole) < 4 and fraction in _IN_WORDS:
            return True
        bare = plain.lstrip("0") or "0"
        thousands = [bare[: -len(zeros)] for zeros in ("000", "000000") if bare.endswith(zeros) and bare != zeros]
        return any(Number(form, frozenset({form})) in self._numbers for form in (plain, bare, *thousands) if form)
