"""Correct texts for which a rule has an exception, one for each: what the input has too is not an error of the output.

Each is rejected or flagged without its exception.
"""

from __future__ import annotations

import pytest

from curate.gates.arithmetic import wrong_end, wrong_unit
from curate.gates.asked_format import uneven_table, wrong_format
from curate.gates.asked_marks import excluded_mark, ignored_case
from curate.gates.contacts import contacts
from curate.gates.damage import encoding, fenced
from curate.gates.debris import foreign_markup
from curate.gates.form import echo
from curate.gates.making import change_note, labelled_answer
from curate.gates.repeated_parts import repeated_part
from curate.gates.sums import sums
from tests.curate.tiny import pair


@pytest.mark.parametrize(
    ("style", "given", "text"),
    [
        ("Rewrite politely. No lists.", "- milk\n- bread\nbuy it", "- milk\n- bread\nPlease buy it."),
        ("Make it shorter. No Markdown.", "The **big** sale starts, do not miss it", "The **big** sale starts."),
        ("Write politely. No headings.", "the room is free", f"DEAR ANNA,\n{'the room is free again ' * 3}now."),
        ("Correct it. No headings.", "Opening hours\n\nwe is open", "Opening hours\n\nWe are open every day now."),
        ("No headings.", "a haiku", "Old pond\n\na frog jumps in\nthe sound"),
        ("Answer without a sign-off.", "How do I end a letter?", "Kind regards."),
    ],
)
def test_mark_that_the_style_does_not_mean(style: str, given: str, text: str) -> None:
    """A list, Markdown or heading of the input, a line of address in capitals, verse, and a sign-off as the answer."""
    assert excluded_mark(style, given, text) == ""


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("The file shows caf?s and r?sum?s, why?", "Your file shows caf?s and r?sum?s because of its encoding."),
        ("Why do I see caf\ufffd here?", "You see caf\ufffd because the file is in Latin-1."),
        ("\u7e67\uff73\u7e5d\uff73 とは何ですか", "\u7e67\uff73\u7e5d\uff73 は文字化けです。"),
        ("Keep the bell \x07 here", "Here is the bell \x07 kept."),
    ],
)
def test_damage_that_the_input_speaks_of(given: str, text: str) -> None:
    """Letters that the input shows as lost, or a control character of its own, are no damage of the output."""
    assert encoding(pair(given, text)).keep


@pytest.mark.parametrize(
    ("style", "given", "text"),
    [
        ("Write a riddle.", "cat", "What purrs?\nAnswer: a cat"),
        ("Give the answer below.", "cat", "It purrs and sleeps.\nAnswer: a cat"),
    ],
)
def test_answer_below_its_question(style: str, given: str, text: str) -> None:
    """`Answer:` below a question, or where the style asks for it, is no label of a teacher."""
    assert labelled_answer(style, given, text) == ""


def test_marks_of_changes_that_the_input_has() -> None:
    """A price struck through and a route with an arrow stay when the text around them is corrected."""
    assert change_note("Correct it.", "was ~~ten~~ nine", "It was ~~ten~~ nine.") == ""
    assert change_note("Correct it.", "Kitchen → hall. teh hall is open", "Kitchen → hall\nThe hall is open.") == ""


def test_case_markup_items_and_identifiers_of_the_input() -> None:
    """Capitals that the style speaks of, BBCode, an item that the input repeats or that is short, an article."""
    assert ignored_case("all lowercase", "a note", "tell Anna the room is free", "en") == ""
    assert ignored_case("in capital letters", "THE ROOM IS FREE", "The room is free again.", "en") == ""
    assert foreign_markup("[i]hello[/i]", "[b]hello[/b]") == ""
    item = "breathe in and out slowly"
    assert repeated_part(f"1. {item}\n2. raise both your arms\n3. {item}", f"{item}, raise arms, {item}") == ""
    assert repeated_part("1. a b c d e\n2. raise both your arms high\n3. a b c d e", "x") == ""
    assert contacts(pair("the article 10.1000/abc123 of 12345678", "See 10.1000/abc123 for 12345678.")).keep


def test_formats_and_keys_at_their_edges() -> None:
    """A table with its rule and an empty fence pass; a list is no CSV, and a private key is always found."""
    assert uneven_table("| a | b |\n|---|---|\n| 1 | 2 |") == ""
    assert wrong_format("Answer as CSV.", "```csv\n\n```") == ""
    assert wrong_format("Answer as CSV.", "- yoga\n- swimming") == "csv"
    begin, end = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))
    assert not contacts(pair("give a file", f"{begin}\nMIIEvQIBADAN\n{end}")).keep


def test_request_is_no_echo_where_politeness_is_asked_for() -> None:
    """`Could you please send me the plan?` is what a polite rewriter writes, and an echo in a prompt writer."""
    asked, text = "Send me the plan.", "Could you please send me the plan?"
    assert echo(pair(asked, text), "Make it polite.").keep
    assert not echo(pair(asked, text), "Describe a picture.").keep


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("product with zero", "7 * 0 = 0"),
        ("how many pages", "Pages 12 - 14 = 3, as both ends count."),
        ("divide by a third", "25 / 1/3 = 75"),
        ("days between", "10.12.2024 - 1.12.2024 = 9"),
        ("check 7*8=54", "The sheet says 7 * 8 = 54, which is wrong."),
    ],
)
def test_equation_that_holds_or_is_none(given: str, text: str) -> None:
    """A product of zero, a span of pages, a division by a fraction, dates, and a wrong equation of the input."""
    assert sums(pair(given, text)).keep
    assert not sums(pair(given, f"{text} And 7 * 0 = 7, 3 - 8 = -4.")).keep
    assert not sums(pair(given, "3 - 8 = -4")).keep


def test_quantity_of_several_parts_and_part_of_a_minute() -> None:
    """The last part of a quantity is not the whole; a duration with seconds is not compared with a time of day."""
    assert wrong_unit("9 kg 1000 g = 10 kg", "en") == ""
    assert wrong_unit("1000 g = 10 kg", "en") == "1000 g = 10 kg"
    starts = "It starts at 9:00 and takes {} minutes. When does it end?"
    assert wrong_end(starts.format("90.5"), "At about 10:31.", "en") == ""
    assert wrong_end(starts.format("90"), "At about 10:31.", "en") == "10:31"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("write &amp; for an ampersand", "Write &amp; for an ampersand."),
        ("where are the logs?", r"They are in C:\new\names and C:\new\notes."),
        ("what is this sign: \ufffd", "The sign \ufffd stands for a lost letter."),
    ],
)
def test_damage_that_the_input_is_about(given: str, text: str) -> None:
    """An entity or a lost letter of the input, and folders whose names begin like an escape."""
    assert encoding(pair(given, text)).keep


def test_a_fence_of_a_kind_of_text_is_no_code() -> None:
    """A letter in a fence that is called a message is rejected; a fence of a programming language is not."""
    given, text = "tell staff the lift is shut", "Dear all, the lift is shut today."
    assert not fenced(pair(given, f"```message\n{text}\n```")).keep
    assert fenced(pair(given, f"```python\n{text}\n```")).keep
