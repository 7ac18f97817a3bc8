# ruff: noqa: RUF001 (Cyrillic)
"""The gates on requested forms and addressees, and on the facts that a message provides for its answer."""

from __future__ import annotations

import pytest

from curate.gates import GateStep
from curate.gates.instructed import instructed
from curate.gates.judgement import Judgement
from curate.gates.noted_facts import kept_facts, noted_facts
from schemas.records import Imported, Pair
from tests.curate.gates.test_gate_rates import outcome_of, steps


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
def test_missing_requested_form_is_flagged(given: str, text: str) -> None:
    """The form named in the first words of an instruction, in three languages."""
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
def test_form_that_is_only_mentioned_is_not_required(given: str, text: str) -> None:
    """A question about a form, a negated one, a list of items, and a text that has the form."""
    assert code(instructed(pair(given, text), "", "en", "en", "free")) == ""


def test_style_may_request_a_form() -> None:
    """Under a style that asks for one sentence, a longer text is flagged."""
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
    """A formal greeting with a familiar `you` or slang is flagged; not without that greeting, and not if the input has
    the familiar word."""
    judgement = instructed(pair("...", text), "", language, language)
    assert (code(judgement), familiar in judgement.reason.detail) == ("register", True)
    body = text.partition("\n\n")[2]
    assert code(instructed(pair("...", body), "", language, language)) == ""
    assert code(instructed(pair(f"... {familiar}", text), "", language, language)) == ""


def test_a_style_may_ask_for_a_formal_text() -> None:
    """`formal` in the style applies to every row; `less formal` does not count."""
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
def test_text_to_the_wrong_addressee_is_flagged(kind: str, given: str, text: str) -> None:
    """It greets the person it is about, is signed by its recipient, or by the author of the message."""
    assert code(instructed(pair(given, text), "", "en", "en", kind)) == "addressee"


def test_text_to_the_named_addressee_is_kept() -> None:
    """With or without the title; and with a greeting that names nobody."""
    for text in (
        "Dear Mr Dale,\n\nBen forgot his bag.\n\nMs Orr",
        "Dear Dale,\n\nBen forgot it.\n\nOrr",
        "Hello,\n\nIt is here.",
    ):
        assert code(instructed(pair("to Mr Dale: his son Ben forgot his bag. Ms Orr", text))) == ""
    reply = pair("Hello, this is Nora. My bike squeaks.", "Hello Nora,\n\nPlease oil the chain.\n\nThe workshop")
    assert code(instructed(reply, "", "en", "en", "reply")) == ""


def test_noted_facts_are_a_bracket_or_a_labelled_note() -> None:
    """A bracket after a question, and the text after a label; a dialogue and an aside are not."""
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
def test_answer_keeps_the_noted_facts(text: str, flag: str) -> None:
    """An invented number or name, and an answer to something else, are noticed."""
    assert code(kept_facts(pair("Is the hall free?\n(yes, until Friday 6 pm)", text))) == flag


def test_negation_in_the_facts_must_be_kept() -> None:
    """A note that denies or limits something; a message without a note constrains nothing."""
    assert (
        code(kept_facts(pair("Can I bring my dog?\n(not allowed inside)", "Yes, it is allowed inside.")))
        == "lost_negation"
    )
    assert code(kept_facts(pair("Can I bring my dog?\n(not allowed inside)", "Dogs are not allowed inside."))) == ""
    assert code(kept_facts(pair("Can I bring my dog?", "Yes, up to 2 dogs are welcome."))) == ""


def test_the_gates_flag_by_default_and_reject_nothing() -> None:
    """Neither gate rejects by default: `facts` flags in replies and free tasks, `instructed` in rewrites and
    translations too."""

    def modes(kind: str, **rest: str) -> dict[str, bool]:
        gate_steps: tuple[GateStep, ...] = steps(kind, "en", rest.get("to"), (), "")
        return {step.by.split("/")[1].split("@")[0]: step.flags for step in gate_steps}

    assert (modes("reply")["facts"], modes("reply")["instructed"]) == (True, True)
    assert (modes("free")["facts"], modes("free")["instructed"]) == (True, True)
    assert ("facts" in modes("rewrite"), modes("rewrite")["instructed"]) == (False, True)
    translating = modes("translate", to="de")
    assert ("facts" in translating, translating["instructed"]) == (False, True)
    row = {"kind": "free", "language": "en", "input": "A limerick about a cat", "output": "Cats are small mammals."}
    assert (outcome_of(row).rejecting, outcome_of(row).flagging) == (frozenset(), {"instructed"})
