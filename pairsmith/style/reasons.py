"""The sentence behind the code of a reason: what a page says of many rows, where each row has a detail of its own."""

from __future__ import annotations

import re

from schemas.records import Reason

SENTENCES = {
    "short": "It is shorter than the spec asks.",
    "long": "It is longer than the spec allows.",
    "overlong": "It is longer than the model can read.",
    "echo": "It repeats its input.",
    "answered": "It answers the input instead of rewriting it.",
    "loop": "It repeats itself.",
    "cut": "It ends in the middle.",
    "truncated": "The answer was cut at its token limit.",
    "empty": "The answer was empty.",
    "malformed": "The answer does not have the form that was asked for.",
    "schema": "The answer does not keep the schema.",
    "refused": "The teacher refused.",
    "declined": "The endpoint turned the request down.",
    "failed": "The endpoint failed.",
    "thinking": "It holds a block of the model's reasoning.",
    "language": "It is in another language.",
    "mixed_language": "It mixes languages.",
    "untranslated": "A part of it is not translated.",
    "mojibake": "Its characters are damaged.",
    "control": "It holds control characters.",
    "placeholder": "A placeholder was left open in it.",
    "lost_subject": "The subject of the input is gone.",
    "lost_number": "A number of the input is gone.",
    "lost_quote": "A quotation of the input is gone.",
    "lost_question": "The question of the input is gone.",
    "lost_address": "An address of the input is gone.",
    "invented_number": "It holds a number that the input does not have.",
    "invented_name": "It holds a name that the input does not have.",
    "invented_contact": "It holds contact details that the input does not have.",
    "invented_quote": "It quotes words that the input does not have.",
    "promise": "It grants what neither the message nor the style speaks of.",
    "value": "A value does not stand in the input.",
    "lost_facts": "What its message notes down for it is gone.",
    "form": "It does not have the form that was asked for.",
    "register": "A formal text says something familiar.",
    "addressee": "It speaks to, or for, somebody else than it should.",
    "label": "It is none of the labels.",
    "swapped": "Two numbers have changed places.",
    "not_json": "It is no JSON.",
    "broken_json": "Its JSON is broken.",
    "code_fence": "It stands in a code fence.",
    "toxic": "It is offensive.",
    "injection": "It holds instructions for a model.",
    "pii": "It holds personal data.",
    "duplicate": "It nearly repeats an accepted row.",
    "outranked": "Another candidate of this input is better.",
    "contamination": "It is too close to an input of the test set.",
    "review": "A person rejected it.",
    "disagreement": "People disagree about it.",
    "incomplete": "Too few people have answered.",
    "unscored": "The scorer could not judge it.",
    "crashed": "A check could not judge it.",
    "unjudged": "No step has judged it.",
    "uncurated": "It is not curated yet.",
}


_ID = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20}\b")


def with_short_ids(text: str) -> str:
    """`text` with ids of rows and seeds as lists of rows show them, and as `explain` takes them."""
    return _ID.sub(r"\1", text)


def detail_of(reason: str) -> str:
    """What the reason of a check says, without a code that says nothing more beside the check's name."""
    read = Reason.read(reason)
    name, _, pattern = read.code.partition(":")
    known = pattern if name in ("missing", "present") else name in SENTENCES and name != "crashed"
    return read.detail if known and read.detail else reason


def sentence_of(code: str) -> str:
    """The sentence of a code; a code that is not ours, such as one of a user's own gate, is shown as it is."""
    name, _, of = code.partition(":")
    if name in ("missing", "present") and of:
        return f"It {'lacks' if name == 'missing' else 'has'} what the pattern {of} looks for."
    return SENTENCES.get(code) or SENTENCES.get(name) or code.replace("_", " ")
