"""Properties for every text: gates never raise, and no gate changes another's verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.gates import GateStep, gates_for, judge, judge_text
from curate.gates.content import lost_content
from curate.gates.form import echo
from curate.gates.number_words import has_number_words
from curate.gates.numbers import NumberMentions, required_numbers
from curate.gates.words import Vocabulary
from schemas.records import Generated, Imported, Origin, Pair, Sampling
from schemas.spec import GateSettings, Pattern, TaskSettings

GATES = GateSettings(must=(Pattern(name="flag", pattern="--ar"),), must_not=(Pattern(name="slot", pattern=r"\["),))
STEPS = gates_for(TaskSettings(name="demo", style="Rewrite it in full."), GATES, Path())
BACKWARD = Generated(generator="backward", prompt="p/v1@0", teacher="t", sampling=Sampling(), calls=())

# Words that rules look for, mixed into random text so that the rules are reached.
SPICES = """fox "OPEN" three 3 25 1,200.5 2pm 16:9 PW-55120 --ar \u201cx\u201d Sure! here is the prompt: as an AI I two
hundred and"""
SPICE = st.sampled_from([*SPICES.split(), "\n"])
TEXT = st.one_of(
    st.text(max_size=200),
    st.lists(SPICE, max_size=40).map(" ".join),
    st.lists(st.one_of(SPICE, st.text(max_size=8)), max_size=30).map(" ".join),
)
PLAIN_WORDS = ("red", "fox", "snow", "old", "mill", "two", "cats", "river", "light")
PLAIN = st.lists(st.sampled_from(PLAIN_WORDS), min_size=1, max_size=12)


def pair(input: str, output: str, origin: Origin | None = None) -> Pair:
    return Pair(
        seed_id="s",
        input=input,
        output=output,
        system="Rewrite the input as one rich line.",
        origin=origin or Imported(source="test"),
    )


@pytest.mark.slow
@given(input=TEXT, output=TEXT, backward=st.booleans())
def test_gates_decide_on_every_text(input: str, output: str, backward: bool) -> None:
    """No text makes a gate raise or stay undecided, and a reason is a single line."""
    subject = pair(input, output, BACKWARD if backward else None)
    for step in STEPS:
        judgement = step.judge(subject)
        assert judgement.keep is (judgement.reason.code == "ok" or bool(judgement.flags)), step.by
        assert "\n" not in str(judgement.reason)


@pytest.mark.slow
@given(input=TEXT, output=TEXT, chosen=st.sets(st.integers(0, len(STEPS) - 1)))
def test_adding_a_gate_changes_no_other_verdict(input: str, output: str, chosen: set[int]) -> None:
    """Each gate's verdict is the same alone, with any others, and in any order."""
    everything = judge_text(input, output, STEPS)
    subset: list[GateStep] = [STEPS[i] for i in sorted(chosen, reverse=True)]
    assert judge_text(input, output, subset) == {step.by: everything[step.by] for step in subset}


@pytest.mark.slow
@given(input=TEXT, output=TEXT)
def test_judging_twice_gives_the_same_verdicts(input: str, output: str) -> None:
    """Gates have no state."""
    subject = pair(input, output)
    assert judge(subject, STEPS) == judge(subject, STEPS)


@given(tokens=PLAIN, shuffled=st.randoms(use_true_random=False))
def test_echo_ignores_case_spacing_and_order(tokens: list[str], shuffled: object) -> None:
    """A text and its own words in another case, spacing, punctuation or order are always an echo, in both directions;
    in another order it is flagged."""
    other = list(tokens)
    shuffled.shuffle(other)  # type: ignore[attr-defined]
    text, twin = " ".join(tokens), ",  ".join(other).upper() + "!\n--ar 3:2"
    for judgement in (echo(pair(text, twin)), echo(pair(twin, text))):
        assert judgement.reason.code == "echo"
        assert judgement.flags == ("echo",) or judgement.keep is False


@given(text=TEXT.filter(lambda t: bool(t.strip())))
def test_text_loses_nothing_against_itself(text: str) -> None:
    """A text keeps its own numbers, quotations and words, also with more text around it."""
    assert lost_content(pair(text, text)).keep is True
    assert lost_content(pair(text, f"an evening by the river, {text} , soft light")).keep is True


@pytest.mark.slow
@settings(max_examples=300)
@given(number=st.integers(1, 999_999))
def test_a_number_is_the_same_in_digits_groups_and_words(number: int) -> None:
    """Digits, grouped digits and number words are the same number, in both directions."""
    for written in (str(number), f"{number:,}", in_words(number)):
        for read in (str(number), f"{number:,}", in_words(number)):
            assert all(n in NumberMentions(f"lamps: {read} of them") for n in required_numbers(f"{written} lamps")), (
                written,
                read,
            )
    (required,) = required_numbers(f"{number + 1} lamps")
    assert required not in NumberMentions(f"lamps: {number}")


UP_TO_19 = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
TENS = "none ten twenty thirty forty fifty sixty seventy eighty ninety"


def in_words(number: int) -> str:
    """`205` as `two hundred and five`."""
    ones, tens = UP_TO_19.split(), TENS.split()
    if number < 20:
        return ones[number]
    if number < 100:
        return tens[number // 10] + (f"-{ones[number % 10]}" if number % 10 else "")
    size, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    rest = f" and {in_words(number % size)}" if number % size else ""
    return f"{in_words(number // size)} {name}{rest}"


@pytest.mark.slow
@pytest.mark.parametrize("length", [20_000])
def test_very_long_text_is_judged_in_seconds(length: int) -> None:
    """No rule is much worse than linear in the text: 20,000 words take seconds, not minutes."""
    text = " ".join(f'word{i} "quoted" 12 sure, here is' for i in range(length // 5))
    assert len(judge(pair("a fox", text), STEPS)) == len(STEPS)


LANGUAGES = ("ar", "de", "hi", "ja", "ko", "th", "zh")
# They form a number with adjacent digits; those of the second line are written for amounts of money.
NUMERALS = "〇零一二三四五六七八九十百千万億亿兆萬半两兩廿卅"
NUMERALS += "壱壹弌弐贰貳弍叁参參弎肆伍陸陆柒漆捌玖拾佰陌仟阡"
UNCASED = st.text(
    st.characters(categories=["Lo"], min_codepoint=0x600, max_codepoint=0xD7FF, exclude_characters=NUMERALS),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@given(before=UNCASED, other=UNCASED, after=UNCASED, number=st.integers(100, 99_999_999))
@pytest.mark.parametrize("language", ["en", *LANGUAGES])
def test_digits_after_a_letter_without_case_are_a_number(
    language: str, before: str, other: str, after: str, number: int
) -> None:
    """In Chinese, Thai, Arabic and similar scripts a word directly precedes the digits and is not part of the
    number."""
    assert lost_content(pair(f"{before}{number}{after}", f"{other} {number}"), language).reason.code != "lost_number"
    assert lost_content(pair(f"{other}{number}", f"{before}{number}{after}"), language).reason.code != "lost_number"
    missing = lost_content(pair(f"{before}{number}1{after}", f"{before}{number}{after}"), language)
    assert missing.reason.code == "lost_number"


@given(number=st.integers(1, 99), head=st.sampled_from(["", "PW", "Nr"]))
@pytest.mark.parametrize("language", LANGUAGES)
def test_small_number_may_be_written_in_unknown_words(language: str, number: int, head: str) -> None:
    """If neither a table nor the CLDR has the number words of a language, only numbers that nobody spells out are
    required. A code is always required, and where number words are known, so is every number but 0 and 1."""
    word = lost_content(pair(f"{head}{number} x", "x y z"), language).reason.code
    assert (word == "lost_number") is (bool(head) or (has_number_words(language) and number > 1))
    assert required_numbers("three lamps", language) == []
    assert not [n for n in required_numbers("3 lamps", "en") if n in NumberMentions("three lamps", language)]


ROOTS = ("light", "book", "snow", "river", "garden", "winter", "market", "cart")
TAILS = ("house", "fighter", "keeper", "flower", "board", "maker", "stone", "wright")


@given(root=st.sampled_from(ROOTS), tail=st.sampled_from(TAILS), ending=st.sampled_from(["", "s", "'s", "ed", "ing"]))
def test_inflected_word_matches_and_a_compound_does_not(root: str, tail: str, ending: str) -> None:
    """An inflected form counts as the word; a compound is a different word from its first half, in both directions."""
    assert root in Vocabulary(f"one {root}{ending} here")
    assert f"{root}{ending}" in Vocabulary(f"one {root} here")
    assert root not in Vocabulary(f"one {root}{tail}{ending} here")
    assert f"{root}{tail}" not in Vocabulary(f"one {root}{ending} here")
    assert f"{root}{tail}" in Vocabulary(f"one {root} {tail} here")


@pytest.mark.parametrize(
    ("language", "form", "other_form", "another_word"),
    [
        ("de", "häuser", "hauses", "haustür"),
        ("fr", "nouvelles", "nouvelle", "nouveauté"),
        ("es", "ventanas", "ventana", "ventaja"),
        ("ru", "книги", "книгу", "книжник"),
        ("it", "ordini", "ordine", "ordito"),
        ("xx", "haus", "haus", "hauses"),
    ],
)
def test_each_language_has_its_own_inflections(language: str, form: str, other_form: str, another_word: str) -> None:
    """The stemmer is that of the language; without one, only the identical word matches."""
    assert form in Vocabulary(f"x {other_form} y", language)
    assert form not in Vocabulary(f"x {another_word} y", language)
