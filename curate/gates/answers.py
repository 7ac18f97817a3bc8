"""Gates for answers that are no text: JSON whose values come from the input, and inputs generated for such answers."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from curate.gates import records
from curate.gates.accounts import wrong_accounts
from curate.gates.calendars import has_hijri_date, names_an_era
from curate.gates.dates import find_days
from curate.gates.facts import clause_ends
from curate.gates.folding import fold, letter_runs
from curate.gates.judgement import Gate, Judgement, passed, quote, rejected, sides
from curate.gates.number_forms import Number
from curate.gates.number_words import has_number_words, is_spelt_out, names_weekday, spelt_out_values, words_to_digits
from curate.gates.numbers import (
    NumberMentions,
    groups_by_space,
    join_digit_groups,
    thousands_separator,
    with_ascii_digits,
)
from curate.gates.phrases import lexicon, says, words_of
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.readings import has_year, is_read_as
from curate.gates.units import CURRENCIES, SHORT, changed_unit, duration_names, find_conversions, named_currencies
from curate.gates.words import stemmer_for
from curate.words import words
from prompts.answer_form import alternatives, resolved
from schemas.records import Json, Pair

_PARTS = re.compile(r"[_\W\d]+")
_DATE = re.compile(r"(?:(\d{4})-)?(\d\d)-(\d\d)(?:[T ].*)?")
_FIGURES = r"\d+(?:[.,]\d+)*"
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_SPAN = re.compile(r"(\d\d?:\d\d) ?[-\u2013] ?(\d\d?:\d\d)")
YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_CLOCK = re.compile(r"(?<!\d)(?:[01]?\d|2[0-3])[:h.][0-5]\d(?!\d)")
_TIME = re.compile(r"([01]?\d|2[0-3]):(\d\d)(?::\d\d)?")
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,14})\.\d{1,2}")
_SPELLABLE_FRACTIONS = ("", "5", "25", "75")  # fractions that every language can express in words
_SQUARED = re.compile(r"(?<=[^\W\d_])[\u00b2\u00b3]")  # the exponent of m² is not the number 2
_OF_TERMS = ("day", "week", "month")  # units of a term, by which a date may be computed
_MIN_CHECKED = 5  # the least number that is rarely inferred from a text without numbers
_MINUTES_AROUND_HALF = 20, 25, 30, 35, 40  # expressed by the half hour before the next hour: fünf vor halb zehn
ADDRESS = re.compile(r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:!?]|(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_midday_or_midnight = word_pattern(r"(?<!\w){noon|midnight}(?!\w)")


def generated_input(pair: Pair, gates: Sequence[Gate]) -> Judgement:
    """Judge an input that a teacher generated backward, for outputs that are not text.

    Returns the first judgement of `gates` that is a rejection or undecided. A user's own input is not judged, and
    neither is the output.
    """
    if not any(side == "input" for side, _ in sides(pair)):
        return passed("it was not written by a model")
    alone = pair.model_copy(update={"output": ""})
    judgements = (gate(alone) for gate in gates)
    return next((judgement for judgement in judgements if judgement.keep is not True), passed())


def values(
    pair: Pair, schema: Json | None, language: str = "en", years: Sequence[str] = (), style: str = ""
) -> Judgement:
    """The texts and numbers in a JSON output are not invented. Score: the share of them that are in the input.

    A number must be in the input in some spelling: `1.200,50` is 1200.5, `three` is 3, `40k` is 40000; or it is
    converted to the unit beside it, or the count of a single thing, 1. In a language whose table has no number
    words, only numbers of four or more digits count, and of two within a text. Of a date, the day and the year must
    be there (`years` are those that the style gives for texts without one), of a time the hour. A text may be
    paraphrased: it is invented if none of its words is there (ignoring case and endings) or a number of two or more
    digits in it is not. Exempt are true, false and null, texts of up to three letters (PLN, °C), and values that
    the schema takes from a list (`enum`, `const`), which may be inferred. In addition, a list must not repeat an
    item over and over, and a currency code must be one that the input names, if it names any.
    Not covered: a value of the input under the wrong key, and a text of which half is invented. A schema with fields
    that are not in the input (a summary in another language) should switch the gate off.
    """
    try:
        value = json.loads(pair.output)
    except ValueError:
        return passed("it is not JSON, which another gate checks")
    source = _Input(pair.input, language, () if YEAR.search(pair.input) else years)
    leaves = [(at, source.as_number(leaf)) for at, leaf in _leaves(value, schema or {}, schema or {}, "$")]
    stated = f" {' '.join(words(style))} "  # such as `unknown` for what is missing
    fields = {at.rpartition(".")[2] for at, _ in leaves}
    absent = []
    for at, leaf in leaves:
        held = source.holds(leaf) or records.is_computed(pair.input, leaf) or _is_stated(leaf, stated)
        held = held or ((amount := records.in_main_unit(at, leaf)) is not None and source.holds(amount))
        if not (held or is_read_as(pair.input, leaf, language)) or (held and source.has_other_number(at, leaf, fields)):
            absent.append((at, leaf))
    if absent:  # these look at the whole record
        inferred = records.inferred_values(pair.input, source.figures, value, language)
        absent = [
            (at, leaf) for at, leaf in absent if (leaf if isinstance(leaf, str) else _plain(leaf)) not in inferred
        ]
    share = 1 - len(absent) / len(leaves) if leaves else 1.0
    if absent:
        at, leaf = absent[0]
        more = f" ({len(absent) - 1} more)" if len(absent) > 1 else ""
        if source.holds(leaf):
            another = f"next to the name of {at}, the input has another number than {quote(str(leaf))}{more}"
            return rejected("value", another, share)
        return rejected("value", f"{quote(str(leaf))} at {at} is not in the input{more}", share)
    if objection := next(_objections(pair.input, value, leaves, source, language), ""):
        return rejected("value", objection, share)
    return passed(f"{len(leaves)} values are in the input", share)


def _is_stated(leaf: str | int | float, style: str) -> bool:
    """Whether a value without digits is in the words of the style, which may say what to write for what is missing."""
    return isinstance(leaf, str) and not any(map(str.isdigit, leaf)) and f" {' '.join(words(leaf))} " in style


def _objections(
    given: str, value: Any, leaves: Sequence[tuple[str, str | int | float]], source: _Input, language: str
) -> Iterator[str]:
    """Yield what is wrong with a record whose values are all in the input."""
    if currency := records.other_currency(given, value, language):
        yield f"{quote(currency)} is another currency than that of the input"
    if repeated_item := source.repeated_item(leaves):
        yield f"a list repeats {quote(repeated_item)}"
    stated = " | ".join((*(str(leaf) for _, leaf in leaves), *records.with_units(value, alone=True)))
    if units := changed_unit(given, stated, language, language, alike=True):
        yield f"the input says {quote(units[0])}, the record {quote(units[1])}"
    if contradiction := source.contradiction(value):
        key, inside, clause = contradiction
        yield f"{key} is {str(inside).lower()}, and the input says {quote(clause)}"
    if moved := records.misplaced_count(source.figures, value):
        yield f"a list has another number for {quote(moved)}"
    if left := records.missing_item(given, value) or records.omitted_thing(source.figures, value):
        yield f"a list is missing {quote(left)}"
    if counted := records.miscounted_field(given, value, language):
        yield f"{counted[0]} is {counted[1]}, which the input gives for another field"
    yield from wrong_accounts(given, value)
    if filed := records.crossed_field(fold(given), value):
        yield f"{filed[0]} is {quote(filed[1])}, which the input gives for another field"
    if half := records.partly_invented(given, value, language):
        yield f"{quote(half)} is not in the input in this form"
    if field := records.unfilled_field(fold(given), value, language):
        yield f"{field} is empty, although the input has a value for it"
    if missing_contact := records.missing_contact(given, value):
        yield f"{missing_contact[0]} is empty, although the input says {quote(missing_contact[1])}"


def _leaves(value: Any, schema: Any, root: Json, at: str) -> Iterator[tuple[str, str | int | float]]:
    """Yield the texts and numbers in `value` that must come from the input, each with its path."""
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


class _Input:
    """The contents of an input, with tests for whether it contains a value."""

    def __init__(self, text: str, language: str, years: Sequence[str]) -> None:
        self._years = years
        text = _SQUARED.sub("", text)
        self._numbers = NumberMentions(join_digit_groups(text) if groups_by_space(language) else text, language)
        self._known, self._language = bool(lexicon(language).ones), language
        self._text, self._words = text, f" {' '.join(words(text))} "

    @cached_property
    def figures(self) -> str:
        return words_to_digits(join_digit_groups(self._text), self._language)

    @cached_property
    def _days(self) -> set[tuple[str, str]]:
        """The days that the text names, as (day, month)."""
        return {day for _, days in find_days(with_ascii_digits(self._text), self._language) for day in days}

    @cached_property
    def _only_number(self) -> str:
        """The number of an input that contains exactly one, as a single word; else ''."""
        if (
            self._known
            or any(map(str.isdigit, self._text))
            or not lexicon(self._language).hints.keys().isdisjoint(words(self._text))
        ):
            return ""
        numbers = spelt_out_values(fold(self._text), self._language)
        return min(numbers) if len(numbers) == 1 else ""

    @cached_property
    def _has_no_number(self) -> bool:
        """Whether the input contains no number at all, in a language with only cardinals and ordinals known."""
        folded = fold(self._text)
        if self._known or any(map(str.isdigit, folded)) or not has_number_words(self._language):
            return False
        return not spelt_out_values(folded, self._language) and not says("any", "parts_of_numbers", folded)

    def holds(self, leaf: str | int | float) -> bool:
        if not isinstance(leaf, str):
            plain = _plain(leaf)
            return (
                self._has_number(plain)
                and not self._misread(plain)
                and (isinstance(leaf, float) or self._only_number in ("", plain))
                and not (self._has_no_number and abs(leaf) >= _MIN_CHECKED)
            )
        if leaf in CURRENCIES and (named := named_currencies(self._text, self._language)):
            return leaf in named
        if time := _TIME.fullmatch(leaf.strip()):
            return self._has_time(int(time[1]), int(time[2]))
        if date := _DATE.fullmatch(leaf.strip()):
            year, day, figures = date[1] or "", date[3], with_ascii_digits(self._text)
            with suppress(ValueError):
                if year and has_hijri_date(figures, datetime.date.fromisoformat(leaf.strip()[:10])):
                    return True
            years = (
                year in ("", *self._years)
                or has_year(self._text, year, self._language)
                or (self._in_digits(year[2:]) and not names_an_era(figures))
                or (self._known and self._has_number(year))
            )
            swapped = (date[2].lstrip("0"), date[3].lstrip("0"))
            if swapped[::-1] not in self._days and (swapped in self._days or self._has_other_month(*swapped)):
                return False
            return self._has_number(day) and years and not self._has_other_days(swapped[1])
        if spanned := _SPAN.fullmatch(leaf.strip()):
            return all(self.holds(time) for time in spanned.groups())
        if month := _MONTH.fullmatch(leaf.strip()):
            return self._in_digits(month[1]) and self._has_number(month[2].lstrip("0"))
        if address := ADDRESS.fullmatch(leaf.strip()):  # also spelt out: ada (at) mill (dot) example
            held = all(f" {word} " in self._words for word in words(address[0].partition("://")[2] or address[0]))
            return held or fold(address[0]) in fold(self._text)
        return f" {' '.join(words(leaf))} " in self._words or self._is_code(leaf) or self._paraphrased(leaf)

    def as_number(self, leaf: str | int | float) -> str | int | float:
        """Return a text that is a decimal number, as pydantic writes a Decimal, as that number, unless it is a time of
        day that the input may contain; anything else as it is."""
        if not isinstance(leaf, str) or not _DECIMAL.fullmatch(leaf.strip()):
            return leaf
        time = _TIME.fullmatch(leaf.strip().replace(".", ":"))
        if time and len(time[2]) == 2 and int(time[2]) < 60 and self._has_time(int(time[1]), int(time[2])):
            return leaf
        return float(leaf)

    def _has_other_month(self, month: str, day: str) -> bool:
        """Whether the text gives the day of a date in other months only, and names no term of payment or the like."""
        months = {m for _, m in self._days}
        return any(d == day for d, _ in self._days) and month not in months and not self._has_terms()

    def _has_other_days(self, day: str) -> bool:
        """Whether the text gives days and not this one, in digits or words, and nothing to compute it from: a term, a
        weekday, *tomorrow*, *the end of May*. Only in a language whose words for these are known."""
        relative = lexicon(self._language).words("relative_days")
        if not (self._days and relative and has_number_words(self._language)):
            return False
        folded = fold(self._text)
        near = says(self._language, "relative_days", folded) or says("any", "parts_of_month", folded)
        if near or names_weekday(folded, self._language) or self._has_terms():
            return False
        return not any(d == day for _, d in self._days) and Number(day, frozenset({day})) not in self._numbers

    def _has_terms(self) -> bool:
        """Whether the text names a term of payment or the like, by which a date may be computed."""
        names = [name for name, unit in duration_names(self._language).items() if unit in _OF_TERMS]
        there, long = letter_runs(fold(self._text)), tuple(name for name in names if len(name) > 2)
        return not there.isdisjoint(names) or any(word.startswith(long) for word in there)  # also `in 14 Tagen`

    def _is_code(self, leaf: str) -> bool:
        """Whether a code of letters and digits is in the input, with or without spaces and punctuation: BA 117."""
        plain = "".join(words(leaf))
        if not plain.isalnum() or plain.isalpha() or plain.isdigit():
            return False
        return re.search(rf"(?<!\S){' ?'.join(plain)}(?!\S)", self._words) is not None

    def has_other_number(self, at: str, leaf: str | int | float, fields: Collection[str]) -> bool:
        """Whether the input has a field's name, without its unit, right next to another number.

        The name must not occur anywhere else, except within the name of another of the `fields`: `room` in `room key`.
        """
        if isinstance(leaf, str) or at.endswith("]"):
            return False
        field = at.rpartition(".")[2]
        thing, _, unit = field.rpartition("_")
        in_unit = bool(thing) and (unit in SHORT or unit.upper() in CURRENCIES or unit in ("percent", "pct"))
        if in_unit and re.search(rf"(?<![\w.,]){re.escape(_plain(leaf))} ?{unit}(?!\w)", fold(self.figures)):
            return False
        name = re.escape((thing if in_unit else field).replace("_", " "))
        number = Number(_plain(leaf), frozenset((_plain(leaf),)))
        ahead = re.findall(rf"(?<![\w.,])({_FIGURES}) (?:\w{{3}} |[^\w\s] ?)?{name}(?!\w)", self.figures)
        if any(number in NumberMentions(figure, "en") for figure in ahead):
            return False  # `17 claims, 6 sheets`, `503,50 € netto`
        behind_it = rf"(?<!\w){name}\W{{0,4}}?({_FIGURES}[kmb]?)(?!\w)"
        before_it = rf"(?<![\w.,])({_FIGURES}) {name}(?!\w)(?!(?:\W+[^\W\d_]+){{0,2}}\W+\d)"  # 82.00 Total due 492.00
        figures = re.findall(rf"{behind_it}|{before_it}", self.figures)
        adjacent = [behind or before for behind, before in figures]
        longer = "|".join(re.escape(one.replace("_", " ")) for one in fields if one.startswith(f"{field}_"))
        not_of_it = f"(?!{longer})" if longer else ""
        named_once = len(re.findall(rf"(?<!\w){not_of_it}{name}(?!\w)", self.figures)) == 1
        return len(adjacent) == 1 and named_once and number not in NumberMentions(adjacent[0], "en")

    def repeated_item(self, leaves: Sequence[tuple[str, str | int | float]]) -> str:
        """Return a list item that occurs three or more times, or ''.

        Not if the input contains it as often, or says how often (`3 x M`).
        """
        listed = Counter((at.rpartition("[")[0], leaf) for at, leaf in leaves if at.endswith("]"))
        for (_, leaf), times in listed.items():
            plain = fold(leaf) if isinstance(leaf, str) else _plain(leaf).partition(".")[0]
            if times > 2 and fold(self.figures).count(plain) < times and not self._has_number(str(times)):
                return str(leaf)
        return ""

    def contradiction(self, value: Any) -> tuple[str, bool, str] | None:
        """Return a boolean field that contradicts the only clause about it, with its value and the clause; or None.

        True contradicts a clause with a denial, false one without.
        """
        fields = value.items() if isinstance(value, dict) else ()
        folded = fold(self._text)
        clauses = [clause for clause in clause_ends().split(folded) if clause.strip()]
        for key, inside in fields:
            if not isinstance(inside, bool):
                continue
            own = _PARTS.split(fold(key))
            named = [word for word in own if len(word) > 2 and word not in words_of("field_words")]
            if not named or not words_of("field_denials").isdisjoint(own):
                continue
            if denied := records.answered_no(folded, named, self._language):
                if inside:
                    return key, inside, denied
                continue
            speaking = [clause for clause in clauses if any(records.contains_word(clause, word) for word in named)]
            if len(speaking) == 1 and lexicon(self._language).words("denial"):
                surely = self._has_listed_word(("denial", "forbidden"), speaking[0], self._language)
                # Notes mix languages, but an English word may be another word: `no jardim` is in the garden.
                doubtful, codes = ("denial", "forbidden", "negation", "negated", "lacking"), (self._language, "en")
                may_deny = surely or self._has_listed_word(doubtful, speaking[0], *codes)
                may_deny = may_deny or not words_of("field_denials").isdisjoint(_PARTS.split(speaking[0]))
                may_deny = may_deny or says("any", "no_longer", speaking[0]) is not None
                contrary = surely if inside else not may_deny and len(named) == 1
                if contrary and not says(self._language, "condition", speaking[0]):
                    return key, inside, speaking[0].strip()
        return None

    def _has_listed_word(self, lists: Sequence[str], clause: str, *languages: str) -> bool:
        return any(says(code, name, clause) for code in languages for name in lists)

    def _misread(self, plain: str) -> bool:
        """Whether a number is written in the input with another meaning of its separator: 1.25 as 1.250 in a language
        that groups thousands so, or 1425 only as 14,25."""
        whole, _, fraction = plain.partition(".")
        if not fraction:
            in_parts = rf"{whole[:-1]}[.,]{whole[-1:]}|{whole[:-2]}[.,]{whole[-2:]}"
            as_fraction = len(whole) > 2 and re.search(rf"(?<![\d.,:])(?:{in_parts})(?!\d|[.,]\d)", self._text)
            return bool(as_fraction) and not self._in_digits(whole)
        grouped = rf"(?<![\d.,]){whole}[{thousands_separator(self._language)}]{fraction.ljust(3, '0')}(?!\d)"
        return re.search(grouped, self._text) is not None

    def _has_time(self, hour: int, minute: int) -> bool:
        """Whether the input mentions the hour on either clock, and the minutes.

        9:45 may be a quarter to ten, 9:30 half ten.
        """
        if not self._known or (not minute and hour in (0, 12) and _midday_or_midnight().search(fold(self._text))):
            return True
        here, next_one = (
            any(self._has_number(str(h)) for h in (hour, hour % 12 or 12, hour % 12 + 12)) for hour in (hour, hour + 1)
        )
        minutes = not minute or self._in_digits(f"{minute:02}") or self._has_number(str(minute))
        return (here and minutes) or (
            next_one and (self._has_number(str(60 - minute)) or (minute in _MINUTES_AROUND_HALF and minutes))
        )

    def _paraphrased(self, leaf: str) -> bool:
        """Whether a text may be a paraphrase of the input."""
        parts = [word for word in words(leaf) if any(map(str.isalnum, word))]
        digits = "".join(filter(str.isdigit, leaf))
        if not any(map(str.isalpha, leaf)) and len(digits) > 4:  # a telephone number grouped differently
            return self._has_number(digits)
        converted = find_conversions(self._text, leaf, self._language, self._language, exact=True)[1]
        numbers = {word for word in words(_CLOCK.sub(" ", leaf)) if word.isdecimal() and len(word) > 1}
        if not all(self._has_number(number, copied=True) for number in numbers - converted):
            return False
        weighty = [word for word in parts if not word.isdecimal() and (len(word) > 3 or not word.isascii())]
        is_converted = bool(numbers) and numbers <= converted
        return not weighty or is_converted or any(self._has_word_like(word) for word in weighty)

    def _has_word_like(self, word: str) -> bool:
        """Whether a word of the input begins like this one.

        In scripts without capitals a word may have a prefix as well as an ending (서울에서, بالقاهرة), and in some no
        space separates two words.
        """
        stem = word[: max(4, len(word) - 3)]
        if (f" {stem}" if stem.isascii() else stem) in self._words:
            return True
        root = stemmer_for(self._language)
        return len(word) == 4 and root(word) in map(root, self._words.split())

    def _in_digits(self, plain: str) -> bool:
        return re.search(rf"(?<!\d){plain}(?!\d)", self._text) is not None

    def _has_number(self, plain: str, *, copied: bool = False) -> bool:
        """Whether the input contains a number, in unknown words too, unless it is `copied` with words beside it."""
        whole, _, fraction = plain.partition(".")
        if not self._known and len(whole) < 4 and fraction in _SPELLABLE_FRACTIONS:
            is_certain = copied and any(map(str.isdigit, self._text)) and has_number_words(self._language)
            if not is_certain or is_spelt_out(plain, fold(self._text), self._language):
                return True
        bare = plain.lstrip("0") or "0"
        thousands = [bare[: -len(zeros)] for zeros in ("000", "000000") if bare.endswith(zeros) and bare != zeros]
        return any(Number(form, frozenset({form})) in self._numbers for form in (plain, bare, *thousands) if form)
