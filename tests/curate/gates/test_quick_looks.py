"""Shortcuts that save a gate work, and indexes in place of pairwise comparison, miss nothing."""

from __future__ import annotations

import re
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.gates import (
    changed_values,
    damage,
    facts,
    form,
    frames,
    number_words,
    numbers,
    personal,
    promises,
    units,
)
from curate.gates.asked_length import _find_lengths
from curate.gates.content import _CODE_CHARACTER, _CODE_SIGNS
from curate.gates.coverage import count_repeated_roots, roots
from curate.gates.facts import _EITHER_RATIO, _reversed_ratio
from curate.gates.folding import _LONG, fold, shorten_runs
from curate.gates.form import _few_words, _find_loop
from curate.gates.frames import sentences
from curate.gates.judgement import GateStep, flagged, on_shortened, passed, rejected, run_gate_on_all
from curate.gates.number_forms import Number, is_rounded
from curate.gates.numbers import _DIGITS, NumberMentions, _behind, _forms
from curate.gates.phrases import find_all, lexicon, list_pattern
from curate.gates.sums import _DIGITS as OPERAND
from curate.gates.sums import _MORE_DIGITS
from curate.gates.units import (
    _MAX_DEGREES,
    _MAX_ERROR,
    _METRE,
    _METRES,
    _PARTS,
    find_conversions,
    in_base_units,
    quantities,
)
from schemas.records import Imported, Pair

NUMBER = st.one_of(
    st.integers(0, 3_000).map(str),
    st.integers(0, 10**16).map(str),
    st.floats(0, 10**6, allow_nan=False).map(lambda number: f"{number:.2f}".rstrip("0").rstrip(".")),
    st.tuples(st.integers(1, 99), st.integers(0, 6)).map(lambda n: str(n[0]) + "0" * n[1]),
)


@given(st.lists(NUMBER, max_size=12), NUMBER)
def test_rounded_number_lookup_equals_comparing_all(numbers: list[str], number: str) -> None:
    """The lookup among neighbours used to be a comparison with each of the 5,000 numbers of a long text."""
    text = NumberMentions(" ; ".join(numbers), "en")
    each = any(is_rounded(*two) for one in text._plain for two in ((one, number), (number, one)))
    assert text.has_rounded(Number(number, frozenset((number,)))) == each


UNITS = ("km", "miles", "metres", "feet", "kg", "pounds", "g", "hours", "minutes", "°f", "°c", "litres", "cups")
AMOUNTS = st.lists(st.tuples(st.integers(0, 120), st.sampled_from(UNITS)), max_size=6).map(
    lambda amounts: "; ".join(f"{number} {unit}" for number, unit in amounts)
)


@given(AMOUNTS, AMOUNTS)
def test_conversion_lookup_equals_comparing_all(before: str, after: str) -> None:
    """Comparing each quantity of one text with each of the other took 8 s for a megabyte."""

    def equal(one: tuple[str, float], other: tuple[str, float]) -> bool:
        margin = _MAX_DEGREES if one[0] == "temperature" else _MAX_ERROR * abs(one[1])
        return one[0] == other[0] and abs(one[1] - other[1]) <= margin

    pairs = [
        (one, other)
        for one, other in product(quantities(before, "en"), quantities(after, "en"))
        if one[1].isdisjoint(other[1]) and any(equal(*two) for two in product(in_base_units(one), in_base_units(other)))
    ]
    each = tuple(frozenset(form for two in pairs for form in two[side][0]) for side in (0, 1))
    assert find_conversions(before, after, "en", "en") == each


SPANS = st.lists(st.sampled_from([*"0123", "12", ":", "-", "\u2013", " ", "a"]), max_size=14).map("".join)


@given(SPANS, SPANS)
def test_reversed_ratio_lookup_equals_searching_the_whole_text(before: str, after: str) -> None:
    """Also where one ratio ends in the next (1-2-3)."""
    turned = None
    for one, other in dict.fromkeys(_EITHER_RATIO.findall(before)):
        there = re.search(rf"(?<![\d:]){other}[:\u2013-]{one}(?![\d:])", after)
        straight = re.search(rf"(?<![\d:]){one}[:\u2013-]{other}(?![\d:])", after)
        if there and not straight and one != other and not turned:
            turned = f"{one}:{other}", there[0]
    assert _reversed_ratio(before, after, "en") == turned


WORDS = st.lists(
    st.sampled_from(
        [
            "Red",
            "foxes",
            "ran.",
            "The",
            "run!",
            "a",
            "fox",
            "\n",
            "red?",
            "mills,",
            "mill's",
            "3",
            "Straße",
            "strasse",
            ".",
        ]
    )
)


@given(WORDS.map(" ".join))
def test_sentences_share_no_more_roots_than_the_text_repeats(text: str) -> None:
    """No two sentences have more roots in common than the text repeats: with fewer than three, none need to be
    compared."""
    held = [roots(part, "en") for part in sentences(fold(text))]
    shared = (len(one & other) for at, one in enumerate(held) for other in held[:at])
    assert max(shared, default=0) <= count_repeated_roots(text, "en")


@given(
    st.lists(st.sampled_from(["3", "4.5", " ", "m", "c", "k", "km", "mm", ",", "x", "\u00b2", "m\u00b2"])).map("".join)
)
def test_metre_precheck_misses_no_number_of_metres(text: str) -> None:
    """For metres and their multiples and parts."""
    assert _METRE.search(text) or not (_METRES.search(text) or _PARTS.search(text))


def test_wrappers_of_a_gate_apply_to_chunks_too() -> None:
    """A flagging gate, one that sees shortened runs, both and neither, and a crash in each: as when called per row."""

    def gate(pair: Pair) -> object:
        if pair.output == "crash":
            raise ValueError("no")
        return rejected("long", str(len(pair.output))) if len(pair.output) > 5 else passed("short")

    texts = ("a", "x" * 3_000, "crash")
    pairs = [Pair(seed_id="s", input="i", output=text, system="", origin=Imported(source="t")) for text in texts]
    seen = []
    for around in (gate, flagged(gate), on_shortened(gate), flagged(on_shortened(gate)), on_shortened(flagged(gate))):  # type: ignore[arg-type]
        step = GateStep("gate/own@1", "f", around)  # type: ignore[arg-type]
        judged = run_gate_on_all(step, pairs)
        assert judged[:2] == [step.judge(pair) for pair in pairs[:2]]
        assert (judged[2].keep, judged[2].reason.code) == (None, "crashed")
        seen.append((judged[1].keep, judged[1].reason.detail, judged[1].flags))
    long, cut = (False, "3000", ()), (True, "1000", ("long",))
    assert seen == [long, (True, "3000", ("long",)), (False, "1000", ()), cut, cut]


# Patterns of the gates that begin with a character and look behind it, each with its plain equivalent.
SPELLINGS = {
    "ratio": (facts._RATIO, r"(?<![\d:.])\d{1,2}:\d(?![\d:])"),
    "figures": (facts._FIGURES, r"\d+(?:[.,\s]\d{3})*(?:[.,]\d+)?"),
    "in figures": (facts._IN_FIGURES, r"\d+\w*"),
    "parts of a note": (facts._NOTE_PARTS, r"[,;\n\u3001\uff0c\uff1b]+(?!\d)|[.\u3002](?=\s|\Z)"),
    "time": (changed_values._TIME_OR_PRICE, r"(?<![\d.:,])(\d{1,2})[.:](\d\d)(?![\d:]|[.,]\d)"),
    "whole number": (changed_values._WHOLE, r"(?<![\d.:,])\d{1,3}(?![\d:]|[.,]\d)"),
    "half of the day": (changed_values._HALF, r"(?<![\d:.])(?P<hour>\d{1,2})(?:[:.]\d\d)? ?(?P<half>[ap])\.?m\b"),
    "metres": (units._METRES, r"(?<![\d.,])(\d+(?:[.,]\d+)?) ?(m)(?![\w\u00b2\u00b3/'\u2019.])"),
    "parts of a metre": (units._PARTS, r"(?<![\d.,])(\d+(?:[.,]\d+)?) ?([ckm]m)(?!\w)"),
    "start of a quantity": (units._BEGINS, r"[0-9]+|[\d$€£₹₺₩%]"),
    "digits": (numbers._DIGITS, r"(?P<number>\d+(?:[.,]\d+)*)(?P<tail>[^\W\d_]*)"),
    "grouped digits": (numbers._GROUPED, "(?<=\\d)[ \u00a0\u202f\u2009'\u2019](?=\\d{3}(?!\\d))"),
    "quotation mark": (promises._MARK, r"[\"\u201c\u201e\u00ab\u300c]|(?<!\w)['\u2018]"),
    "bare item": (damage._BARE_ITEM, r"(?<=\S)\n\s*(?:\d{1,2}[.)]|[-*\u2022])\s*\Z"),
    "end of a clause": (form._CLAUSE_END, r"[,.;:!?\n\u3001\u3002]+(?:\s|$)"),
}
SCRAPS = (*"0012935:.,;/-*)( \n'\"$%kmcapx!?_", "\u0663", "\uff13", "\u00b2", "\u201c", "\u3002", "000", "am", "12")


@pytest.mark.parametrize("name", SPELLINGS)
@given(st.lists(st.sampled_from(SCRAPS), max_size=16).map("".join))
def test_optimised_pattern_matches_like_the_plain_one(name: str, text: str) -> None:
    """A pattern that begins with a character and then looks behind it skips most of a text, five times as fast as the
    plain pattern. Matches and groups are the same."""
    pattern, plain = SPELLINGS[name]
    wanted = [(match.span(), match.groups()) for match in re.finditer(plain, text)]
    assert [(match.span(), match.groups()) for match in pattern.finditer(text)] == wanted


@given(st.lists(st.sampled_from(tuple("ab .!?\"')*_\n")), max_size=16).map("".join))
def test_ascii_sentence_pattern_equals_the_general_one(text: str) -> None:
    """The fast pattern for ASCII splits a text into sentences like the one for all scripts."""
    assert frames._SENTENCE_IN_ASCII.split(text) == frames._SENTENCE.split(text)


@given(st.lists(st.sampled_from((*"a=*-\n ", "b" * 5, "b" * 11)), max_size=12).map("".join))
def test_repeated_character_precheck_misses_no_repetition(text: str) -> None:
    """A character that occurs 12 times in a row occurs 3 times in a row among every fourth character."""
    assert form._MAY_BE_SAME.search(text[::4]) or not form._SAME_CHARACTER.search(text)


@given(st.lists(st.sampled_from(tuple(" \n-#();{}=<|$+ab.\\")), max_size=12).map("".join))
def test_code_precheck_misses_no_line_of_code(text: str) -> None:
    """A text with a sign of code in any line has one of the characters that the precheck searches the whole text
    for."""
    assert _CODE_CHARACTER.search(text) or not any(map(_CODE_SIGNS.search, text.splitlines()))


@given(st.lists(st.sampled_from(("x" * 250, "-" * 250, " ", "x", "\u4e00" * 300)), max_size=6).map("".join))
def test_text_without_a_long_run_is_not_shortened(text: str) -> None:
    """Only a text with a run that the pattern matches is shortened, and a text of up to 1,000 characters has none."""
    assert shorten_runs(text) == text or _LONG.search(text)
    assert len(text) > 1_000 or not _LONG.search(text)


LENGTHS = st.lists(
    st.sampled_from(
        [
            "at most",
            "up to",
            "5 words",
            "3 sentences",
            "2.5 words",
            "one word",
            "100 words",
            ". x",
            ".",
            "\n",
            ", ",
            "maximum",
        ]
    )
)


@given(LENGTHS.map(" ".join))
def test_length_bound_lookup_equals_a_single_pattern(text: str) -> None:
    """The words that make a length a bound are searched for in up to 24 characters before it, not beyond the start of
    its clause or the previous length. The result equals that of a single pattern."""
    whole = re.compile(
        r"(?P<before>(?:[^\n.]|\.(?=\s?\d)){0,24}?)(?<![a-z])(?P<asked>(?:(?<!\d)(?<!\d[.,])\d+|(?<!\w)one(?=[ -]))"
        r"[ -]?(?:words|word|sentences))(?![a-z]).{0,12}"
    )
    at_most = re.compile(r"\W*(?:at most|up to|maximum)(?![a-z])")
    bounds = [bool(at_most.search(match["before"])) for match in whole.finditer(text)]
    lengths = list(_find_lengths(text, text))
    assert len(lengths) == len(bounds)
    assert all(length.bound for length, before in zip(lengths, bounds, strict=True) if before)


BEHIND = st.lists(
    st.sampled_from(
        [
            *" \xa0-:.,_%/",
            "30",
            "00",
            "7",
            "k",
            "s",
            "pm",
            "p.m.",
            "p m",
            "Uhr",
            "million",
            "mio",
            "thousand",
            "下午",
            "م",
            "μ.μ.",
            "é",
            "a",
            "\n",
        ]
    ),
    max_size=5,
).map("".join)


@given(st.sampled_from(["2", "14", "10.30", "00", "1500", "2.5"]), st.sampled_from(["", "at ", "3:"]), BEHIND)
def test_what_is_not_read_behind_a_number_does_not_change_its_values(number: str, before: str, behind: str) -> None:
    """Only minutes, a scale and an afternoon word behind a number count, so anything else is not part of the key under
    which its values are cached."""
    folded = fold(f"{before}{number}{behind}")
    for match in _DIGITS.finditer(folded):
        (digits, tail), ahead, end = match.groups(), folded[max(0, match.start() - 1) : match.start()], match.end()
        in_full = _forms(digits, tail, ahead, folded[end : end + 12])
        assert _forms(digits, tail, ":" if ahead == ":" else "", _behind(folded, end)) == in_full


TOKENS = st.lists(st.sampled_from(["red", "fox", "ran", "the", "a", "3", "hill", "over", "green", "tea"]), max_size=130)


@given(TOKENS, st.integers(0, 120))
def test_too_few_equal_words_for_a_stretch_without_variety(tokens: list[str], distinct: int) -> None:
    """Counting the repeated words of a text excludes no stretch with fewer than 40 % distinct words."""
    tokens = [f"w{number}" for number in range(distinct)] + tokens
    kept = [token for token in tokens if len(token) > 1 and not token.isdecimal()]
    stretches = [kept[start : start + 100] for start in range(0, len(kept), 100)]
    assert bool(_few_words(tokens)) == any(len(set(s)) < 0.4 * len(s) for s in stretches if len(s) >= 30)


@given(TOKENS)
def test_pairs_are_counted_wherever_one_may_occur_three_times(tokens: list[str]) -> None:
    """The number of repeated pairs excludes no loop that counting each pair finds."""
    repeats = max(0, len(tokens) - 1 - len(set(pairwise(tokens))))
    looped = [_find_loop(" ".join(tokens), tokens, n, 0.0, "", ()) for n in (repeats, len(tokens) + 2)]
    assert looped[0] == looped[1]


DENYING = st.sampled_from(["denies", "negated", "negation", "instead", "addressed"])


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "ru", "zh"])
@given(DENYING, st.data())
def test_words_of_a_list_are_found_where_its_pattern_finds_them(language: str, name: str, data: st.DataObject) -> None:
    """Searching only where the strings of a list occur finds each of its words, also next to and inside others."""
    listed = [word.strip("!").replace("*", "ly").replace("_", " ") for word in sorted(lexicon(language).words(name))]
    parts = st.sampled_from([*listed, *listed, " ", " ", " ", ", ", "n't", "able", "x", "."])
    text = "".join(data.draw(st.lists(parts, max_size=9)))
    spans = [match.span() for match in find_all(language, name, text)]
    assert spans == [match.span() for match in list_pattern(language, name).finditer(text)]


FIGURES = st.lists(st.sampled_from([*"1234", "12", "123", "4567", " ", "\u00a0", ".", ",", "٣", "x"]), max_size=10)


@given(FIGURES.map("".join))
def test_a_number_begins_with_its_first_digit(text: str) -> None:
    """The pattern of calculations in words reads the first digit of a number before the rest, to skip other characters
    quickly, and reads the same numbers."""
    whole, in_parts = re.compile(OPERAND), re.compile(rf"\d{_MORE_DIGITS}")
    for start in range(len(text)):
        spans = [match and match.span() for match in (whole.match(text, start), in_parts.match(text, start))]
        assert spans[0] == spans[1]


PHONES = st.lists(st.sampled_from(["call", "phone: ", " ", "+", "(", "0", "12", "345", "6789", "-", ") ", ".", "x"]))


@given(PHONES.map("".join))
def test_a_number_after_a_phone_word_is_among_the_long_numbers(text: str) -> None:
    """The words for a telephone are only searched for in texts with a number long enough to be one."""
    if personal._number_after_phone_word().search(text):
        assert personal._HAS_NUMBER.search(text)


@pytest.mark.parametrize("language", ["en", "de", "fr", "pl", "zh", "ja", "vi", "cs"])
def test_every_month_may_be_named(language: str) -> None:
    """No date with the name of a month is passed over, however the language writes it."""
    months, pattern = number_words._dates(language)
    if pattern is not None:
        for name in months:
            for text in (f"am 3 {name} um", f"{name} 3 x", f"3. {name}"):
                assert number_words._may_name_month(text, language) or not pattern.search(text)
