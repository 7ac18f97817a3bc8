"""Promises, quotations, names and calculations that a text adds, self-corrections, and correct text that looks like
them."""

from __future__ import annotations

import json

import pytest

from curate.gates.answers import values
from curate.gates.chat import thinking
from curate.gates.contacts import contacts
from curate.gates.damage import broken_json, cut, encoding
from curate.gates.facts import invented, swapped
from curate.gates.form import echo, repetition
from curate.gates.instructed import instructed
from curate.gates.judgement import Judgement
from curate.gates.language import language
from curate.gates.limits import limits
from curate.gates.names import invented_name
from curate.gates.noted_facts import kept_facts
from curate.gates.preamble import preamble
from curate.gates.sums import sums
from curate.gates.translations import translated
from tests.curate.tiny import pair


def code_of(judgement: Judgement) -> str:
    """The code of a rejection or of the first flag; '' for neither."""
    return judgement.reason.code if judgement.keep is False else (judgement.flags or ("",))[0]


@pytest.mark.parametrize(
    ("message", "reply", "code"),
    [
        ("The tin was open.", "We are sorry. We will refund the full price.", "promise"),
        ("The tin was open. I want a refund.", "We are sorry. We will refund the full price.", ""),
        ("The tin was open.", "We are sorry. If it was sealed, we will refund it.", ""),
        ("The tin was open.", "We are sorry. Would you like a refund?", ""),
        ("Do you charge for towels?", "Towels are 4 euros a day.", "invented_number"),
        ("Do you charge 4 euros for towels?", "Towels are 4 euros a day.", ""),
        ("Whom do I write to?", "Please write to our head of service, Nora Feldman.", "invented_name"),
        ("Whom do I write to?", "Please write to us.\n\nKind regards,\nNora Feldman\nCustomer Care", "invented_name"),
        ("Where do I bring the form?", "Please bring it to 14 Mill Lane.", "invented_contact"),
        ("Where do I bring the form?", "Please bring it to the desk in the hall.", ""),
    ],
)
def test_invented_promises_and_names_in_a_reply_are_noticed(message: str, reply: str, code: str) -> None:
    """Money, gifts, prices, people and streets that neither the message nor the style mentions."""
    assert code_of(kept_facts(pair(message, reply), "reply", "en", "en", "Be kind.")) == code


def test_reply_may_use_facts_of_the_style() -> None:
    """A price or refund in the style is house policy."""
    assert kept_facts(pair("Do you charge for towels?", "They are 4 euros."), style="Towels cost 4 euros.").keep
    assert kept_facts(pair("It was open.", "We refund it."), style="Offer a refund.").keep


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("51 is prime. Wait, 51 = 3 * 17, so it is not prime.", "thinking"),
        ("Zürich - nein, Moment, Bern.", "thinking"),
        ("The gate opens at nine. Please wait, and do not push.", ""),
        ("No, we are shut. Sorry, no dogs.", ""),
    ],
)
def test_self_correction_is_noticed(text: str, code: str) -> None:
    """A correction in the middle of an answer is a model thinking aloud."""
    assert code_of(thinking(pair("Tell me.", text))) == code


@pytest.mark.parametrize(
    ("given", "text", "code"),
    [
        (
            "mayor opens the new hall",
            'The mayor opens the new hall. "We waited long for this day," he said.',
            "invented_quote",
        ),
        ('mayor: "we waited long for this day"', 'The mayor said: "We waited long for this day."', ""),
        ("sign for the new hall, motto", 'The new hall. "New hall, new sign"', ""),
    ],
)
def test_invented_quotation_is_noticed(given: str, text: str, code: str) -> None:
    """A sentence in quotation marks whose words are not in the input was invented."""
    assert code_of(invented(pair(given, text))) == code


@pytest.mark.parametrize(
    ("text", "output", "code"),
    [
        ("Seller: Orbit Ltd. Buyer: Nova plc.", {"seller": "Nova plc", "buyer": "Orbit Ltd"}, "value"),
        ("Seller: Orbit Ltd. Buyer: Nova plc.", {"seller": "Orbit Ltd", "buyer": "Nova plc"}, ""),
        ("From Bath to York", {"origin": "York", "destination": "Bath"}, "value"),
        ("From Bath to York", {"origin": "Bath", "destination": "York"}, ""),
        ("Omar, baker", {"name": "Omar Hassan"}, "value"),
        ("Ask Mr Krzyzewski", {"name": "Krzyzewsky"}, "value"),
        ("Allergy: peanuts.", {"allergy": None}, "value"),
        ("Allergy: none.", {"allergy": None}, ""),
        ("Ship it to Oslo by Friday.", {"city": "Oslo", "deadline": None}, "value"),
        ("Ship it to Oslo by Friday.", {"city": "Oslo", "day": "Friday", "deadline": None}, ""),
    ],
)
def test_record_values_are_checked_against_their_field_names(text: str, output: dict[str, object], code: str) -> None:
    """A value under another field's name, a value half of which is invented, and an empty field that the text fills."""
    assert code_of(values(pair(text, json.dumps(output)), {})) == code


@pytest.mark.parametrize(
    ("given", "text", "code"),
    [
        ("ask Siobhan Kearney for the keys", "Could you ask Siobhan Kearny for the keys?", "changed_name"),
        ("ask Siobhan Kearney for the keys", "Could you ask Siobhan Kearney's sister for the keys?", ""),
    ],
)
def test_misspelt_name_is_noticed(given: str, text: str, code: str) -> None:
    """A name that lost a letter is another name; one with an ending is not."""
    assert code_of(invented_name(pair(given, text))) == code


@pytest.mark.parametrize(
    ("asked", "text", "code"),
    [
        ("Name three spices.", "Cumin, turmeric, paprika, clove", "form"),
        ("Name three spices.", "Cumin, turmeric and paprika", ""),
        ("Name at least three spices.", "Cumin, turmeric, paprika, clove", ""),
        ("Nenne fünf Flüsse.", "Inn, Isar und Lech.", "form"),
        ("Exactly two bullet points on sleep", "- It mends.\n- It stores.\n- It calms.", "form"),
        ("A haiku about rain", "Rain falls,\nroofs shine,\nthe lane is still,\na cat waits,\nevening.", "form"),
    ],
)
def test_wrong_number_of_items_is_noticed(asked: str, text: str, code: str) -> None:
    """A list with another number of items than the instruction names is flagged."""
    language = "de" if asked.startswith("Nenne") else "en"
    assert code_of(instructed(pair(asked, text), "", language, language, "free")) == code


@pytest.mark.parametrize(
    ("asked", "text", "code"),
    [
        ("Capitals of Chile, Peru and Bolivia?", "Chile: Santiago. Peru: Lima.", "unended"),
        ("Is Chile, Peru or Bolivia larger?", "Peru.", ""),
        ("Users older than 30", "SELECT * FROM users WHERE (age > 30;", "unclosed"),
        ("XML of a book", "<book><title>Dune</title>", "unclosed"),
        ("XML of a book", "<book><title>Dune</title></book>", ""),
        ("A poem about frost", "Here is a poem about frost:", "unended"),
        ("Why did it fall?", f"{'It fell as the town grew and the walls did not, ' * 2}and the council", "unended"),
    ],
)
def test_incomplete_text_is_noticed(asked: str, text: str, code: str) -> None:
    """A missing last item, bracket, closing tag, or end of a long sentence."""
    assert code_of(cut(pair(asked, text))) == code


def test_other_errors_in_a_text() -> None:
    """A sum in words, a scale, a time of day, a question, an echo, a repeated sentence and others: each is noticed,
    some next to a correct variant."""
    assert code_of(sums(pair("18 mal 7?", "18 mal 7 sind 136."))) == "wrong_sum"
    assert sums(pair("18 mal 7?", "18 mal 7 sind 126.")).keep
    assert code_of(translated(pair("营收达3.5亿元。", "It was 3.5 billion yuan."), "zh", "en")) == "changed_number"
    hours = pair("営業時間は午後2時からです。", "We are open from 2 am."), pair("午後2時からです。", "It is from 2 pm.")
    assert [code_of(translated(hour, "ja", "en")) for hour in hours] == ["changed_time", ""]
    assert code_of(swapped(pair("doors 7 pm", "Doors open at 7 a.m."))) == "changed_time"
    assert code_of(limits(pair("why is my bill so high", "Your bill may be high because of data."))) == "lost_question"
    assert (
        code_of(echo(pair("What is the longest river?", "You ask: What is the longest river?"), kind="free")) == "echo"
    )
    again = "A silver spoon is missing. We look into it. We are sorry that a silver spoon is missing from the box."
    assert code_of(repetition(pair("no spoon", again))) == "twice"
    assert code_of(broken_json(pair("JSON array of two colours", "['red', 'green']"))) == "broken_json"
    assert code_of(encoding(pair("mañana", "Ma\\u00f1ana no."))) == "escaped"
    assert code_of(contacts(pair("How do I report it?", "Please call 400-820-1234."))) == "invented_contact"
    assert code_of(contacts(pair("I cannot log in.", "Use the password Winter2024! and try."))) == "secret"
    assert code_of(language(pair("Settings", "设置"), "ja", "en")) == "language"
    assert code_of(preamble(pair("a bio", "I am ChatGPT, and I like chess."))) == "refusal"
