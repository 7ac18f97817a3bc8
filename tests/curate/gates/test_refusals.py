"""Bare refusals, and good rows close to them, by the author of the rule: they show that it works, not how often."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest

from curate.gates import preamble
from schemas.records import Imported, Pair
from tests.curate.gates.test_gate_rates import Row, outcome_of

ROWS: list[Row] = [
    json.loads(line) for line in (Path(__file__).parent / "refusals.jsonl").read_text(encoding="utf-8").splitlines()
]
LANGUAGES = {"en", "de", "fr", "es", "pt", "it", "ru", "zh", "ja", "ar"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rewrite", "free"])
def test_bare_apology_is_a_refusal(kind: str) -> None:
    """`Lamento, mas não posso.`: all of 113 in ten languages are rejected; before it was 37."""
    bare = [row for row in ROWS if row["bare"]]
    assert {row["language"] for row in bare} == LANGUAGES
    assert [row for row in bare if "preamble" not in outcome_of({**row, "kind": kind}).rejecting] == []


def test_bare_refusal_in_a_reply_may_be_a_persons() -> None:
    """`Sorry, I can't.` to a friend is flagged and kept; one that mentions help or a request is a model's. All of 113
    are noticed, and 59 of them rejected."""
    judged = [outcome_of({**row, "kind": "reply"}) for row in ROWS if row["bare"]]
    assert all("preamble" in one.rejecting | one.flagging for one in judged)
    assert sum("preamble" in one.rejecting for one in judged) == 59
    texts = {"kind": "reply", "language": "en", "input": "Can you drive me to the station on Friday?"}
    assert outcome_of({**texts, "output": "Sorry, I can't."}).rejecting == frozenset()
    assert outcome_of({**texts, "output": "I'm sorry, but I can't assist with that request."}).rejecting == {"preamble"}


@pytest.mark.parametrize(
    ("language", "input", "output"),
    [
        ("en", "My blender from order 23199 has not arrived.", "As an AI language model I cannot help with that."),
        ("en", "My blender has not arrived.", "I'm sorry, but I can't assist with that request."),
        ("en", "The app does not open, and I don't know why.", "Sorry, I cannot assist with this request."),
        ("de", "Mein Paket ist nicht angekommen.", "Es tut mir leid, aber dabei kann ich dir nicht helfen."),
        ("es", "Mi pedido no ha llegado.", "Lo siento, no puedo ayudarte con eso."),
        ("fr", "Ma commande n'est pas arrivée.", "Je suis désolé, je ne peux pas vous aider."),
        ("pt", "A encomenda não chegou.", "Desculpe, não posso ajudar com isso."),
        ("ar", "لم يصل طلبي.", "عذراً، لا أستطيع مساعدتك في ذلك."),
    ],
)
def test_a_complaint_asks_for_no_refusal(language: str, input: str, output: str) -> None:
    """What customers write denies something in nearly every message, which had excused any refusal as the same denial
    in other words. That is so in a rewrite, whose note says what cannot be done."""
    reply = {"kind": "reply", "language": language, "input": input, "output": output}
    assert "preamble" in outcome_of(reply).rejecting
    note = {"input": "no refunds after 30 days", "output": "I'm sorry, we cannot refund this after 30 days."}
    assert outcome_of({"kind": "rewrite", "language": "en", **note}).rejecting == frozenset()


def test_style_that_mentions_the_impossible_does_not_allow_a_refusal() -> None:
    """`Nothing is impossible for us` is not a request to decline; a bare refusal under it is still rejected."""
    texts = {"input": "Lend me the key?", "output": "Sorry, I can't.", "system": ""}
    pair = Pair(seed_id="s", origin=Imported(source="test"), **texts)
    for style in ("Nothing is impossible for us.", "Nichts ist unmöglich."):
        assert preamble(pair, style=style).reason.code == "refusal"


def test_refusal_with_a_reason_or_on_request_is_kept() -> None:
    """With a reason, an alternative, the thing that cannot be done, or another speaker; or because a note, a source, an
    instruction or a reference says the same. Of 143 such rows in ten languages none is rejected."""
    good = [row for row in ROWS if not row["bare"]]
    assert {row.get("to", row["language"]) for row in good} == LANGUAGES
    assert [row for row in good if outcome_of(row).rejecting] == []


def test_refusal_that_matches_its_reference_is_kept() -> None:
    """If the reference is a refusal too, the reply is right."""
    pair = Pair(
        seed_id="s", input="Lend me the key?", output="Sorry, I can't.", system="", origin=Imported(source="test")
    )
    assert preamble(pair).reason.code == "refusal"
    assert preamble(pair.model_copy(update={"reference": "I'm sorry, but I can't do that."})).keep is True
    assert preamble(pair.model_copy(update={"reference": "Sure, it hangs by the door."})).keep is False


def test_translation_of_a_bare_refusal_is_kept() -> None:
    """Between each two of ten languages; translations of a German one were rejected. A source that only negates
    something does not allow one."""
    bare = {row["language"]: row["output"] for row in ROWS if row["bare"]} | {
        "de": "Es tut mir leid, ich kann dir dabei nicht helfen.",
        "ru": "Извините, я не могу вам помочь.",
        "en": "I'm sorry, but I can't help you with that.",
    }
    assert bare.keys() == LANGUAGES
    rows: list[Row] = [
        {"kind": "translate", "language": language, "to": to, "input": bare[language], "output": bare[to]}
        for language, to in permutations(sorted(bare), 2)
    ]
    assert [row for row in rows if "preamble" in outcome_of(row).rejecting] == []
    closed = {"kind": "translate", "language": "de", "to": "en", "input": "Das Museum hat am Montag nicht geöffnet."}
    assert "preamble" in outcome_of({**closed, "output": bare["en"]}).rejecting


def test_english_refusal_is_rejected_in_any_language() -> None:
    """An English refusal is rejected in a German task too."""
    assert outcome_of(
        {
            "kind": "reply",
            "language": "de",
            "input": "Wann öffnet der Laden?",
            "output": "I'm sorry, I can't help with that.",
        }
    ).rejecting


def test_style_that_forbids_something_does_not_allow_a_refusal() -> None:
    """`You cannot use slang` is about words, but used to let every bare refusal of its project pass. A style that asks
    to decline allows one."""
    texts = {"input": "Lend me the key?", "output": "Sorry, I can't.", "system": ""}
    pair = Pair(seed_id="s", origin=Imported(source="test"), **texts)
    for style in "You cannot use slang.", "Du kannst keine Abkürzungen verwenden.", "Vous ne pouvez pas tutoyer.":
        assert preamble(pair, style=style).reason.code == "refusal"
    assert preamble(pair, style="Decline every request in one short sentence.").keep is True
