"""Personal data and secrets: what is found, what is left alone, and what is said before the first request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.gates.facts import CONTACT
from curate.gates.personal import counted, personal, pii
from curate.redaction import find_personal_data
from pairsmith.personal_data_warning import warn_about_personal_data
from schemas.records import Imported, Pair, Seed
from schemas.spec import Exemplar, TeacherSettings
from tests.curate.tiny import spec


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to ada.l@example.org today", ["email"]),
        ("call +49 30 901820 or (030) 901820", ["phone", "phone"]),
        ("card 4111 1111 1111 1111, please", ["card"]),
        ("pay to GB82 WEST 1234 5698 7654 32", ["iban"]),
        ("DE89370400440532013000", ["iban"]),
        ("from 8.8.8.8 to 192.168.0.1", ["ip"]),
        ("key sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2", ["secret"]),
        ("password: xK9#qLm2Pz!7vR", ["secret"]),
    ],
)
def test_what_has_a_form_is_found(text: str, kinds: list[str]) -> None:
    """Addresses, numbers with a check digit that holds, keys by their beginnings, passwords behind the word."""
    assert [kind for kind, _ in personal(text)] == kinds


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",
        "GB82 WEST 1234 5698 7654 33",
        "order 60217 of 12.03.2024 at 14:00, 3 lamps at 12.50",
        "version 1.2.3.4 and 999.1.1.1",
        "the password: please choose one",
        "a token of love",
        "0000 0000 0000 0000",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    """A wrong check digit, a date, a version and a word are no personal data."""
    assert list(personal(text)) == []


def test_personal_data_is_found_and_nothing_else_in_ten_languages() -> None:
    """92 lines with one piece of personal data each and 95 without, labelled by hand: every piece is found by its kind,
    and no number of an order, no span of times and no sentence about passwords is taken for one."""
    lines = [json.loads(line) for line in (Path(__file__).parent / "personal.jsonl").read_text("utf-8").splitlines()]
    assert sum(bool(line["holds"]) for line in lines) >= 80 <= sum(not line["holds"] for line in lines)
    assert len({line["language"] for line in lines}) >= 10
    for line in lines:
        assert [kind for kind, _ in personal(line["text"])] == line["holds"], line["text"]


def test_the_gate_quotes_no_secret() -> None:
    """A reason is read by people and shown in reports: it shows the beginning of a key, not the key."""
    key = "sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2"
    judgement = pii(Pair(seed_id="s", input="x", output=f"use {key}", system="", origin=Imported(source="t")))
    assert judgement.reason.code == "pii_secret"
    assert key not in str(judgement.reason)


def told(*texts: str) -> str:
    return counted(one for text in texts for one in find_personal_data(text, "de" if "du" in text.split() else "en"))


def test_a_sentence_counts_what_texts_hold() -> None:
    """Kinds in one order, one and many in their own words; a text is counted for an insult once."""
    assert told("a@example.org", "b@example.org and 4111 1111 1111 1111") == "2 e-mail addresses, 1 card number"
    assert told("nothing here") == ""
    assert told("you are an idiot, a@example.org", "du Idiot, du Arschloch") == "1 e-mail address, 2 insults"


def test_what_is_told_as_a_card_or_a_key_is_told_once() -> None:
    """Behind `token:` a key has a form of its own: it is one key, not two."""
    assert told("token: AKIAABCDEFGHIJKLMNOP") == "1 key or password"
    assert told("password: 4111111111111111") == "1 card number"
    assert told("password: hunter2x", "password: hunter3x") == "2 keys or passwords"


def test_what_leaves_the_machine_is_said_before_it_does() -> None:
    """With a teacher elsewhere the seeds' personal data is counted and the endpoint named; at home nothing is said."""
    text = "refund, you idiots, a@example.org"
    seeds = [Seed(kind="input", text=text, source="t", columns={"phone": "+49 30 901820"})]
    heard: list[str] = []
    for url in ("https://api.example.com/v1", "http://127.0.0.1:8000/v1", "embedded"):
        warn_about_personal_data(heard.append, seeds, [TeacherSettings(url=url)], spec())
    assert len(heard) == 1
    for part in ("1 e-mail address", "1 telephone number", "1 insult", "https://api.example.com/v1"):
        assert part in heard[0]


def test_what_worked_examples_hold_is_said_too() -> None:
    """They go with every request, and nothing of them is redacted: a person copied them into the spec."""
    shown = Exemplar(input="Where is my order?", output="Ann, write to ann@example.org or call +49 30 901820.")
    heard: list[str] = []
    away = TeacherSettings(url="https://api.example.com/v1", model="m")
    warn_about_personal_data(heard.append, [], [away], spec().model_copy(update={"exemplars": (shown,)}))
    (sentence,) = heard
    for part in (
        "[[exemplars]]",
        "1 e-mail address",
        "1 telephone number",
        "every request",
        "https://api.example.com/v1",
    ):
        assert part in sentence


def test_a_long_text_without_spaces_costs_no_more_than_its_length() -> None:
    """A picture in base64, or Chinese without a pause, is looked through once and not once from each of its letters."""
    seen = [sum(1 for _ in CONTACT.finditer(piece)) for piece in ("a" * 300_000, "字" * 300_000)]
    assert seen == [0, 0]
    assert CONTACT.search("a" * 300_000 + " ann@example.org")
