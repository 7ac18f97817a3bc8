# ruff: noqa: RUF001 (Cyrillic)
"""The gates on what a text was told to be, and on the facts that a message brings for its answer."""

from __future__ import annotations

import pytest

from curate.gates import GateStep
from curate.gates.instructed import instructed
from curate.gates.judgement import Judgement
from curate.gates.noted_facts import kept_facts, noted_facts
from schemas.records import Imported, Pair
from tests.curate.test_gate_rates import outcome_of, steps


def pair(given: str, text: str) -> Pair:
    return Pair(seed_id="s", input=given, output=text, system="", origin=Imported(source="test"))


def code(judgement: Judgement) -> str:
    return "" if judgement.keep else judgement.reason.code


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("A sonnet about rain", "Rain is water that falls from clouds."),
        ("Write a table of two rivers and their lengths", "The Nile is longer than the Rhine."),
        ("Answer in one sentence: why is the sky blue?", "Air scatters light. Blue is scattered most. So it is blue."),
        ("Nur JSON: ein Hund mit Namen", "Der Hund heißt Rex."),
        ("Un dialogue entre deux voisins", "Les voisins se saluent le matin et parlent du temps."),
    ],
)
def test_a_form_that_is_named_and_missed_is_flagged(given: str, text: str) -> None:
    """What the first words of an instruction name, the text is; in five languages."""
    language = {"N": "de", "U": "fr"}.get(given[0], "en")
    assert code(instructed(pair(given, text), "", language, language, "free")) == "form"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("What is a sonnet?", "A poem of fourteen lines."),
        ("A table for four at eight, please", "A table for four is booked for eight o'clock, and we look forward."),
        ("Explain the table of contents", "It lists the chapters."),
        ("A short poem", "Snow on the roof,\nsmoke over it."),
        ("Make a gap-fill exercise with two sentences", "1. I ____ (go).\n2. You ____ (see).\n3. He ____ (do)."),
        ("No JSON, just tell me the name", "It is Rex."),
    ],
)
def test_a_form_that_is_spoken_of_asks_for_nothing(given: str, text: str) -> None:
    """A question about a form, one that is denied, a list of items, and a text that has the form."""
    assert code(instructed(pair(given, text), "", "en", "en", "free")) == ""


def test_a_style_names_a_form_too() -> None:
    """A style that asks for one sentence gets one."""
    long = "It is open. It closes at six. On Sundays it does not open at all. Come early."
    assert code(instructed(pair("opening hours", long), "Answer in one sentence.", "en", "en", "reply")) == "form"
    assert code(instructed(pair("opening hours", "It is open until six."), "Answer in one sentence.")) == ""


@pytest.mark.parametrize(
    ("language", "text", "familiar"),
    [
        ("en", "Dear Mr Hill,\n\nI gotta cancel our meeting.", "gotta"),
        ("de", "Sehr geehrte Frau Berg,\n\nkannst du mir die Rechnung schicken?", "du"),
        ("fr", "Madame la Maire,\n\nPourriez-vous me dire quand tu es libre ?", "tu"),
        ("nl", "Geachte mevrouw Smit,\n\nKun je mij terugbellen?", "je"),
        ("pl", "Szanowna Pani,\n\nproszę o odpowiedź, czekam na ciebie.", "ciebie"),
        ("ru", "Уважаемая Анна Петровна!\n\nПришлю тебе отчёт завтра.", "тебе"),
    ],
)
def test_a_formal_text_that_turns_familiar_is_flagged(language: str, text: str, familiar: str) -> None:
    """A formal greeting and a familiar `you` or slang; none without that greeting, in a quotation, or as asked."""
    judgement = instructed(pair("...", text), "", language, language)
    assert (code(judgement), familiar in judgement.reason.detail) == ("register", True)
    body = text.partition("\n\n")[2]
    assert code(instructed(pair("...", body), "", language, language)) == ""
    assert code(instructed(pair(f"... {familiar}", text), "", language, language)) == ""


def test_a_style_may_ask_for_a_formal_text() -> None:
    """`formal` in the style holds for every row, `less formal` does not."""
    row = pair("room is free", "The room is free, lol.")
    assert code(instructed(row, "Write a formal answer.")) == "register"
    assert code(instructed(row, "Make it less formal.")) == ""


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        ("rewrite", "to Mr Dale: his son Ben forgot his bag. Ms Orr", "Dear Ben,\n\nYou forgot your bag.\n\nMs Orr"),
        ("rewrite", "to Mr Dale: the bag is here. Orr", "Dear Sir,\n\nThe bag is here.\n\nMr Dale"),
        ("reply", "Hello, this is Nora. My bike squeaks.", "Hello,\n\nPlease oil the chain.\n\nNora"),
    ],
)
def test_a_text_to_another_one_is_flagged(kind: str, given: str, text: str) -> None:
    """It greets whom it tells of, is signed by whom it is for, or by who wrote the message."""
    assert code(instructed(pair(given, text), "", "en", "en", kind)) == "addressee"


def test_a_text_to_the_one_who_is_named_is_kept() -> None:
    """With the title or without; and a greeting that names nobody."""
    for text in (
        "Dear Mr Dale,\n\nBen forgot his bag.\n\nMs Orr",
        "Dear Dale,\n\nBen forgot it.\n\nOrr",
        "Hello,\n\nIt is here.",
    ):
        assert code(instructed(pair("to Mr Dale: his son Ben forgot his bag. Ms Orr", text))) == ""
    reply = pair("Hello, this is Nora. My bike squeaks.", "Hello Nora,\n\nPlease oil the chain.\n\nThe workshop")
    assert code(instructed(reply, "", "en", "en", "reply")) == ""


def test_facts_are_what_a_message_brings_for_its_answer() -> None:
    """A bracket behind a message, and what stands under a label; a dialogue and an aside are none."""
    assert noted_facts("Is it free?\n(yes, till Friday)", "reply") == "yes, till Friday"
    assert noted_facts("When does it open?\nFacts: at nine, closed on Mondays", "reply") == "at nine, closed on Mondays"
    assert noted_facts("Ist es frei? Notizen: ab Mai, 40 Euro", "free") == "ab Mai, 40 Euro"
    assert noted_facts("Write two lines. (short ones)", "free") == ""
    assert noted_facts("I came with my dog (a terrier)", "reply") == ""
    assert noted_facts("User: hello there\nAssistant: hello", "reply") == ""


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("Yes, until Friday at 6 p.m.", ""),
        ("Yes, until Friday at 8 p.m.", "invented_number"),
        ("Yes, until Friday at 6 p.m. Ask for our colleague Vera Lindt.", "invented_name"),
        ("Thank you for your interest in our newsletter!", "lost_facts"),
    ],
)
def test_an_answer_keeps_the_facts_it_was_given(text: str, flag: str) -> None:
    """A number or a name of its own, and an answer to something else."""
    assert code(kept_facts(pair("Is the hall free?\n(yes, until Friday 6 pm)", text))) == flag


def test_a_no_of_the_facts_is_a_no_of_the_answer() -> None:
    """What a note denies or limits; a message without a note binds nothing."""
    assert (
        code(kept_facts(pair("Can I bring my dog?\n(not allowed inside)", "Yes, it is allowed inside.")))
        == "lost_negation"
    )
    assert code(kept_facts(pair("Can I bring my dog?\n(not allowed inside)", "Dogs are not allowed inside."))) == ""
    assert code(kept_facts(pair("Can I bring my dog?", "Yes, up to 2 dogs are welcome."))) == ""


def test_the_gates_flag_by_default_and_reject_nothing() -> None:
    """Both in replies and free tasks, `instructed` in rewrites and translations too."""

    def modes(kind: str, **rest: str) -> dict[str, bool]:
        asked: tuple[GateStep, ...] = steps(kind, "en", rest.get("to"), (), "")
        return {step.by.split("/")[1].split("@")[0]: step.flags for step in asked}

    assert (modes("reply")["facts"], modes("reply")["instructed"]) == (True, True)
    assert (modes("free")["facts"], modes("free")["instructed"]) == (True, True)
    assert ("facts" in modes("rewrite"), modes("rewrite")["instructed"]) == (False, True)
    translating = modes("translate", to="de")
    assert ("facts" in translating, translating["instructed"]) == (False, True)
    row = {"kind": "free", "language": "en", "input": "A limerick about a cat", "output": "Cats are small mammals."}
    assert (outcome_of(row).rejecting, outcome_of(row).flagging) == (frozenset(), {"instructed"})
