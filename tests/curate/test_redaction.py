"""Personal data in seeds: redacted, left out or only reported, per kind; every row is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pairsmith
from curate.gates import gates_of
from curate.gates.personal import personal, pii
from curate.redaction import redacted, treated
from curate.tallies import spec_key_of_gate
from schemas.records import Imported, Message, Pair, Seed
from schemas.spec import PersonalSettings
from schemas.spec_file import load
from schemas.store import Store
from synth.sources.seeds import SeedReading
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

MAIL, PHONE, IBAN = "ann@example.org", "+49 170 1234567", "DE89 3704 0044 0532 0130 00"
KEY = "sk-" + "a1B2c3D4" * 4


def reading(*seeds: Seed) -> SeedReading:
    return SeedReading(list(seeds), rows_in=len(seeds))


def seed(text: str, at: int = 1, **more: Any) -> Seed:
    return Seed(kind="input", text=text, source=f"s.jsonl:{at}", **more)


def test_each_kind_is_treated_as_the_spec_says() -> None:
    """Redacted everywhere in the seed, left out with a problem that does not quote it, or unchanged. The rows add
    up."""
    settings = PersonalSettings(email="redact", secret="reject")
    result = treated(
        reading(
            seed(f"Write to {MAIL} or call {PHONE}", 1, reference=f"To {MAIL}.", columns={"cc": MAIL}),
            seed(f"my key is {KEY}", 2),
            seed("nothing here", 3),
            Seed(kind="conversation", messages=(Message(role="user", content=f"I am {MAIL}"),), source="s.jsonl:4"),
        ),
        settings,
    )
    first, third, chat = result.seeds
    assert first.text == f"Write to (e-mail address removed) or call {PHONE}"
    assert first.reference == "To (e-mail address removed)."
    assert first.columns == {"cc": "(e-mail address removed)"}
    assert first.meta["redacted"] == ["email"]
    assert third == seed("nothing here", 3)
    assert chat.body == "I am (e-mail address removed)"
    (problem,) = result.problems
    assert (problem.where, problem.what) == ("s.jsonl:2", "personal: it contains a key or password.")
    assert result.rows_in == len(result.seeds) + len(result.problems) == 4
    assert [note.where for note in result.notes] == ["s.jsonl:1", "s.jsonl:4"]


def test_seeds_that_become_equal_are_duplicates() -> None:
    """Two seeds that differ only in an address are duplicates once it is redacted."""
    result = treated(reading(seed("I am a@b.org", 1), seed("I am c@d.org", 2)), PersonalSettings(email="redact"))
    assert len(result.seeds) == 1
    assert result.problems[0].what.startswith("duplicate: redacted")
    assert result.rows_in == 2


def test_by_default_seeds_are_unchanged() -> None:
    """Without settings no seed is changed, since changed seeds would be other rows."""
    before = reading(seed(MAIL), seed(KEY, 2))
    assert treated(before, PersonalSettings()) is before


def test_insulting_seed_is_left_out_if_insults_are_rejected() -> None:
    """Before any of it is sent or stored, whether the insult is in the text, the reference, the turns or the columns,
    and in either language of the task. By default it is kept: a moderation project has only such seeds."""
    chat = (Message(role="user", content="Du Arschloch!"), Message(role="assistant", content="Wie bitte?"))
    seeds = (
        seed("where is my order, you idiots", 1),
        seed("where is my order", 2, columns={"note": "the customer is an idiot"}),
        Seed(kind="conversation", messages=(*chat, chat[0]), reference="Nein.", source="s.jsonl:3"),
        seed("the fox is quick", 4),
    )
    before = reading(*seeds)
    assert treated(before, PersonalSettings(), ("de", "en")) is before
    remaining = treated(before, PersonalSettings(toxic="reject"), ("de", "en"))
    assert [kept.source for kept in remaining.seeds] == ["s.jsonl:4"]
    assert [str(problem.what) for problem in remaining.problems] == ["personal: it contains an insult."] * 3
    assert remaining.rows_in == 4


def test_a_word_is_an_insult_in_the_language_of_its_text() -> None:
    """Spanish `con` means a fool in French, and Danish `slut` is an insult in English: translation projects lost every
    seed with such a word. An insult in the language of its text is still recognised, also in the output."""
    asks = Message(role="user", content="Ven con él.")
    answers = (Message(role="assistant", content=text) for text in ("Pauvre con.", "Bonjour."))
    rude, polite = (
        Seed(kind="conversation", messages=(asks, answer, asks), source=f"s.jsonl:{at}")
        for at, answer in enumerate(answers, 6)
    )
    seeds = (
        seed("Ven con tu hermano.", 1),
        Seed(kind="pair", text="¡Idiota!", reference="Bonjour.", source="s.jsonl:2"),
        Seed(kind="pair", text="Ven con él.", reference="Pauvre con.", source="s.jsonl:3"),
        Seed(kind="output", text="Le con !", source="s.jsonl:4"),
        seed("Pollo con arroz", 5, columns={"note": "con arroz"}),
        rude,
        polite,
    )
    remaining = treated(reading(*seeds), PersonalSettings(toxic="reject"), ("es", "fr"))
    assert [kept.source for kept in remaining.seeds] == ["s.jsonl:1", "s.jsonl:5", "s.jsonl:7"]
    assert treated(reading(seed("Hvornår er det slut?", 1)), PersonalSettings(toxic="reject"), ("da", "en")).seeds


def test_insulting_output_is_rejected_if_insults_are(tmp_path: Path) -> None:
    """One setting covers seeds and outputs, as for addresses and keys."""
    spec = (
        '[task]\nkind = "reply"\nname = "own"\nstyle = "Kind."\n[[seeds]]\npath = "pairs.jsonl"\nkind = "pair"\n'
        '[personal]\ntoxic = "reject"\n'
    )
    (tmp_path / "pairsmith.toml").write_text(spec, encoding="utf-8")
    steps = {step.by.partition("@")[0]: step for step in gates_of(load(tmp_path))}
    row = Pair(seed_id="s", input="Where is it?", output="You idiot.", system="", origin=Imported(source="t"))
    assert steps["gate/toxic"].judge(row).keep is False
    assert "gate/personal" not in steps


@given(st.lists(st.sampled_from([MAIL, PHONE, IBAN, KEY, "8.8.8.8", "a word", "1234", "née", "x@"]), max_size=8))
def test_redaction_is_complete_and_idempotent(parts: list[str]) -> None:
    """A redacted text contains nothing of the requested kinds, and redacting it again changes nothing."""
    everything: Any = dict.fromkeys(("email", "phone", "card", "iban", "ip", "secret"), "redact")
    text = " and ".join(parts)
    without = redacted(text, everything)
    assert not list(personal(without))
    assert redacted(without, everything) == without


def in_full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("My password: a\nI have an apple", "My password: (key or password removed)\nI have an apple"),
        (
            "PIN: 1234, order 12345, PIN 1234!",
            "PIN: (key or password removed), order 12345, PIN (key or password removed)!",
        ),
        (f"電話は{in_full_width('03-1234-5678')}、ABC店です", "電話は(telephone number removed)、ABC店です"),
        ("邮箱li@example.cn谢谢", "邮箱(e-mail address removed)谢谢"),
    ],
)
def test_redaction_removes_exactly_the_personal_data(text: str, without: str) -> None:
    """A short password may be part of other words, and full-width digits are directly next to letters; everything else
    stays."""
    everything: Any = dict.fromkeys(("email", "phone", "card", "iban", "ip", "secret"), "redact")
    assert redacted(text, everything) == without


def test_redacted_address_is_in_no_file_of_the_project(tmp_path: Path) -> None:
    """Neither the store nor the dataset contains it; the seed file still does."""
    pairs = [
        {"input": f"Where is order {n}? {MAIL}", "output": f"Order {n} is on its way to your house."} for n in (1, 2)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    spec = (
        '[task]\nkind = "reply"\nname = "own"\nstyle = "Kind."\n[[seeds]]\npath = "pairs.jsonl"\nkind = "pair"\n'
        '[personal]\nemail = "redact"\n[split]\ntest = 0\nvalidation = 0\n'
    )
    (tmp_path / "pairsmith.toml").write_text(spec, encoding="utf-8")
    own = pairsmith.Project(tmp_path)
    own.generate()
    own.curate()
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as store:
        assert len(store.active_seeds()) == 2
    holding = [path.name for path in tmp_path.rglob("*") if path.is_file() and MAIL.encode() in path.read_bytes()]
    assert holding == ["pairs.jsonl"]


def test_teacher_output_is_treated_like_seeds(tmp_path: Path) -> None:
    """Redacted in a new pair that records it, rejected with the kind and the spec key, or left alone. Turning it on
    later creates the rows again without new requests."""

    def says_too_much(ask: Ask) -> Reply:
        return says(f"Write to {MAIL} or call {PHONE}." if "mail" in ask.prompt else f"Transfer it to {IBAN}, please.")

    def written() -> set[str]:
        own = pairsmith.Project(tmp_path)
        own.generate()
        own.curate()
        return {row.pair.output for row in own.pool().rows() if row.pair}

    (tmp_path / "seeds.txt").write_text("Who takes my mail?\nWho takes my money?\n", encoding="utf-8")
    spec, safe = tmp_path / "pairsmith.toml", f"Write to (e-mail address removed) or call {PHONE}."
    with LoopbackTeacher(says_too_much) as teacher:
        spec.write_text(REPLIES.format(url=teacher.url), encoding="utf-8")
        assert written() == {f"Transfer it to {IBAN}, please.", f"Write to {MAIL} or call {PHONE}."}
        spec.write_text(spec.read_text() + '[personal]\nemail = "redact"\niban = "reject"\n', encoding="utf-8")
        assert written() == {f"Transfer it to {IBAN}, please.", safe}
        assert len(teacher.asked) == 2
    own = pairsmith.Project(tmp_path)
    (rejected,) = own.rows(state="rejected")
    assert str(rejected.reason) == "pii_iban: the output text holds an IBAN, “DE89 3…”"
    assert {row.pair.output: row.pair.meta for row in own.pool().rows() if row.pair and row.pair.meta} == {
        safe: {"redacted": ["email"]}
    }
    assert spec_key_of_gate(rejected.step) == "[personal]"


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ({"note": f"Write to:\n{MAIL}\tor"}, {"note": "Write to:\n(e-mail address removed)\tor"}),
        (
            {"note": f"Call\n{PHONE}\n4111 1111 1111 1111"},
            {"note": "Call\n(telephone number removed)\n(card number removed)"},
        ),
        ({"phone": 12025550143, "size": 3}, {"phone": "(telephone number removed)", "size": 3}),
        ({"card": [4111111111111111, True]}, {"card": ["(card number removed)", True]}),
        ({"password": 12345678}, {"password": "(key or password removed)"}),
        ({"password": "email", "email": None}, {"password": "(key or password removed)", "email": None}),
        ({MAIL: "\ud83d half"}, {"(e-mail address removed)": "\ud83d half"}),
    ],
)
def test_redacted_json_stays_valid(text: Any, without: Any) -> None:
    """Data after an escape and numbers are recognised too. The replacement keeps the JSON valid, and a second pass
    changes nothing."""

    def as_row(output: str) -> Pair:
        return Pair(seed_id="s", input="i", output=output, system="", origin=Imported(source="s"))

    everything = dict.fromkeys(("email", "phone", "card", "iban", "ip", "secret"), "redact")
    written = redacted(json.dumps(text), everything)  # type: ignore[arg-type]
    assert json.loads(written) == without
    assert redacted(written, everything) == written  # type: ignore[arg-type]
    assert not pii(as_row(json.dumps(text))).keep
    assert pii(as_row(written)).keep


REPLIES = """
[task]
kind = "reply"
name = "own"
style = "Kind."
[[seeds]]
path = "seeds.txt"
[teacher]
url = "{url}"
model = "m"
[generate.forward]
n = 1
[curate.score]
model = "none"
[split]
test = 0
validation = 0
"""


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
@pytest.mark.parametrize("with_end", [True, False])
def test_whole_private_key_is_redacted(kind: str, with_end: bool) -> None:
    """Not only the header line: the lines after it are the secret. The text around them stays."""
    body = "\n".join(["MIIEpAIBAAKCAQEA7bq0" * 3] * 3)
    end = f"\n-----END {kind}-----" if with_end else ""
    text = f"It says:\n-----BEGIN {kind}-----\n{body}{end}\nWhat now?"
    assert redacted(text, {"secret": "redact"}) == "It says:\n(key or password removed)\nWhat now?"


def test_lower_case_iban_is_redacted() -> None:
    """It is recognised by its check digits, not by capitals."""
    text = f"to {IBAN.replace(' ', '').lower()}, please"
    assert redacted(text, {"iban": "redact"}) == "to (IBAN removed), please"


def test_data_attached_to_a_word_is_redacted() -> None:
    """A number that is attached to a word is redacted, and so is a password at the end of one; a short password that is
    part of another word is left there."""
    phone, secret = {"phone": "redact"}, {"secret": "redact"}
    assert redacted("call me at2345678 or 2345678", phone) == (
        "call me at(telephone number removed) or (telephone number removed)"
    )
    assert redacted("the password isabc123", secret) == "the password is(key or password removed)"
    assert redacted("password: cat, concatenate", secret) == "password: (key or password removed), concatenate"
