"""Personal data and secrets: what is recognised, what is left alone, and the warning before the first request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.gates.facts import CONTACT
from curate.gates.personal import _number_after_phone_word, _numbers_after_phone_words, counted, personal, pii
from curate.redaction import find_personal_data, treated
from pairsmith.checks.personal_data_warning import warn_about_personal_data
from schemas.progress import discard_message
from schemas.records import Imported, Pair, Seed
from schemas.spec import Exemplar, PersonalSettings, TeacherSettings
from synth.sources.seeds import SeedReading
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
def test_personal_data_with_a_known_form_is_recognised(text: str, kinds: list[str]) -> None:
    """Addresses, numbers with a valid check digit, keys by their prefix, passwords after the word."""
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
def test_similar_looking_text_is_not_personal_data(text: str) -> None:
    """A wrong check digit, a date, a version number and ordinary words."""
    assert list(personal(text)) == []


def test_personal_data_is_recognised_exactly_in_many_languages() -> None:
    """125 hand-labelled lines with personal data and 125 without: every piece is recognised with its kind, and no
    order number, time span or sentence about passwords is mistaken for one."""
    lines = [json.loads(line) for line in (Path(__file__).parent / "personal.jsonl").read_text("utf-8").splitlines()]
    assert sum(bool(line["holds"]) for line in lines) >= 80 <= sum(not line["holds"] for line in lines)
    assert len({line["language"] for line in lines}) >= 10
    for line in lines:
        assert [kind for kind, _ in personal(line["text"])] == line["holds"], line["text"]


def test_the_gate_quotes_no_secret() -> None:
    """Reasons are shown to users and in reports: they show the beginning of a key, not the key."""
    key = "sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2"
    judgement = pii(Pair(seed_id="s", input="x", output=f"use {key}", system="", origin=Imported(source="t")))
    assert judgement.reason.code == "pii_secret"
    assert key not in str(judgement.reason)


def summary(*texts: str) -> str:
    return counted(one for text in texts for one in find_personal_data(text, "de" if "du" in text.split() else "en"))


def test_summary_counts_personal_data_by_kind() -> None:
    """Kinds in a fixed order, in singular and plural; insults are counted once per text."""
    assert summary("a@example.org", "b@example.org and 4111 1111 1111 1111") == "2 e-mail addresses, 1 card number"
    assert summary("nothing here") == ""
    assert summary("you are an idiot, a@example.org", "du Idiot, du Arschloch") == "1 e-mail address, 2 insults"


def test_personal_data_of_two_kinds_is_counted_once() -> None:
    """After `token:` a key also has a form of its own: it is one key, not two."""
    assert summary("token: AKIAABCDEFGHIJKLMNOP") == "1 key or password"
    assert summary("password: 4111111111111111") == "1 card number"
    assert summary("password: hunter2x", "password: hunter3x") == "2 keys or passwords"


def test_personal_data_sent_to_a_remote_teacher_is_warned_about() -> None:
    """The warning counts the personal data of the seeds and names the endpoint; with a local teacher only the dataset
    gets it."""
    text = "refund, you idiots, a@example.org"
    seeds = [Seed(kind="input", text=text, source="t", columns={"phone": "+49 30 901820"})]
    warnings: list[str] = []
    for url in ("https://api.example.com/v1", "http://127.0.0.1:8000/v1", "embedded"):
        warn_about_personal_data(warnings.append, seeds, [TeacherSettings(url=url)], spec())
    held = "the seeds contain 1 e-mail address, 1 telephone number, 1 insult"
    assert warnings[0] == f"warning: {held}; requests send it from this machine to https://api.example.com/v1."
    assert len(warnings) == 3
    assert all(line.startswith(f"warning: {held}, and so will the dataset.") for line in warnings[1:])


@pytest.mark.slow
@pytest.mark.parametrize("url", ["https://api.example.com/v1", "embedded"])
def test_a_long_search_for_personal_data_reports_progress(url: str) -> None:
    """A hundred thousand long texts take minutes: the screen shows how many were searched, whether they are sent to a
    teacher or only kept in the dataset, and while they are redacted."""
    seeds = [Seed(kind="pair", text=f"refund {number}", reference="yes", source="t") for number in range(1_500)]
    reports: list[tuple[str, Any]] = []
    warn_about_personal_data(
        discard_message, seeds, [TeacherSettings(url=url)], spec(), lambda *report: reports.append(report)
    )
    reading = SeedReading(seeds, [], [], len(seeds))
    treated(reading, PersonalSettings(email="reject"), progress=lambda *report: reports.append(report))
    assert [(stage, numbers["done"]) for stage, numbers in reports] == 2 * [
        ("personal data", 0),
        ("personal data", 1_000),
        ("personal data", 1_500),
    ]


def test_personal_data_in_worked_examples_is_warned_about() -> None:
    """They are sent with every request and are not redacted, since the user copied them into the spec."""
    shown = Exemplar(input="Where is my order?", output="Ann, write to ann@example.org or call +49 30 901820.")
    warnings: list[str] = []
    away = TeacherSettings(url="https://api.example.com/v1", model="m")
    warn_about_personal_data(warnings.append, [], [away], spec().model_copy(update={"exemplars": (shown,)}))
    (sentence,) = warnings
    for part in (
        "[[exemplars]]",
        "1 e-mail address",
        "1 telephone number",
        "every request",
        "https://api.example.com/v1",
    ):
        assert part in sentence


PHONE_WORDS = ("call", "phone", "CALL US ON", "電話", "Telefon", "по номеру", "my number is")


@given(
    st.lists(
        st.one_of(
            st.sampled_from([*PHONE_WORDS, "order", "the", "\n", "a" * 90, ":", "("]),
            st.from_regex(r"[+(]?\d[\d /().-]{3,12}", fullmatch=True),
        ),
        max_size=12,
    ),
    st.sampled_from([" ", ""]),
)
def test_words_for_a_telephone_are_searched_for_only_before_numbers(parts: list[str], space: str) -> None:
    """The numbers that follow such a word are those that a search of the whole text finds."""
    text = space.join(parts)
    everywhere = [match["number"] for match in _number_after_phone_word().finditer(text)]
    assert list(_numbers_after_phone_words(text)) == everywhere


def test_time_is_linear_in_a_long_text_without_spaces() -> None:
    """A base64 picture, or Chinese without punctuation, is scanned once and not from each of its characters."""
    seen = [sum(1 for _ in CONTACT.finditer(piece)) for piece in ("a" * 300_000, "字" * 300_000)]
    assert seen == [0, 0]
    assert CONTACT.search("a" * 300_000 + " ann@example.org")


@pytest.mark.parametrize("text", ["git clone git@github.com:acme/tools.git", "remote: deploy@git.acme.example:~/site/"])
def test_an_address_of_a_repository_is_no_e_mail_address(text: str) -> None:
    """Redacting `git@github.com:acme/tools.git` would break a command and protect nobody; a colon after an e-mail
    address does not make it one."""
    assert not [*personal(text)]
    assert [kind for kind, _ in personal("From ada@example.org: hello / ada@example.org:hello")] == ["email", "email"]
