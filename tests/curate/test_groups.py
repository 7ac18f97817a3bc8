"""Tests of what belongs together: conversations that begin alike, unless they only share a greeting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from curate.groups import groups_of
from curate.split import assign_splits, shortages
from schemas.records import Message, Seed
from schemas.spec import Spec, SplitSettings

_GREETING = ("Hi", "Hello! How can I help you?")


def _chat(*contents: str) -> Seed:
    """A conversation of these messages, the last one being the answer to learn."""
    roles = ("user", "assistant") * len(contents)
    turns = [Message(role=role, content=text) for role, text in zip(roles, contents, strict=False)]  # type: ignore[arg-type]
    return Seed(kind="conversation", messages=tuple(turns[:-1]), reference=contents[-1], source="s")


def _about(number: int, *before: str) -> Seed:
    asked = f"My router {number} is broken."
    return _chat(*before, asked, "Since when?", f"Since {number} May.", f"We send router {number}.")


def _recordings(number: int, *before: str) -> list[Seed]:
    """A conversation, the same with one more turn, and with another answer to its question."""
    begun = (*before, f"My router {number} is broken.", "Since when?", f"Since {number} May.")
    return [_chat(*begun, "Sorry."), _chat(*begun, "Sorry.", "And now?", "We send one."), _chat(*begun, "Wait.")]


def _spec() -> Spec:
    task = {"kind": "reply", "name": "test", "system": "s", "style": "s"}
    seeds = [{"path": "s.jsonl", "kind": "conversation"}]
    return Spec.model_validate({"task": task, "seeds": seeds})


def _in_test(seeds: Sequence[Seed]) -> int:
    return sum(seed.split == "test" for seed in seeds)


@pytest.mark.parametrize("greeted", [0, 44, 109])
def test_a_shared_greeting_does_not_make_conversations_one(greeted: int) -> None:
    """The test part of 109 conversations is a fifth, however many of them begin with the same greeting. Those that did
    were drawn as one: 13 were left for the test of a file in which two fifths did, and none if all did."""
    chats = [_about(number, *(_GREETING if number < greeted else ())) for number in range(109)]
    split = assign_splits(chats, SplitSettings())
    assert _in_test(split) == 22
    assert not shortages(split, _spec())
    assert not groups_of(split)


@pytest.mark.parametrize("before", [(), _GREETING, (*_GREETING, "I have a problem.", "What is it?")])
def test_recordings_of_one_conversation_share_their_split(before: tuple[str, ...]) -> None:
    """A conversation, the same with one more turn, and another answer in it are never on both sides of the test, with
    or without a greeting before them."""
    chats = [chat for number in range(40) for chat in _recordings(number, *before)]
    split = assign_splits(chats, SplitSettings())
    assert Counter(seed.split for seed in split)["test"] == 24
    for first in range(0, len(split), 3):
        assert len({seed.split for seed in split[first : first + 3]}) == 1
    assert len(set(groups_of(split).values())) == 40


def test_a_longer_recording_of_an_earlier_conversation_joins_its_split() -> None:
    """A conversation goes on after it was first read: the longer one joins the split of the shorter one. The greeting
    is only recognised as one once enough conversations begin with it."""
    few = assign_splits([_about(number, *_GREETING) for number in range(5)], SplitSettings())
    many = [chat for number in range(60) for chat in _recordings(number, *_GREETING)]
    again = assign_splits([*few, *many], SplitSettings(), few)
    assert [seed.split for seed in again[:5]] == [seed.split for seed in few]
    assert [seed.split for seed in again[5:20:3]] == [seed.split for seed in few]
    assert 0.15 * len(again) < _in_test(again) < 0.25 * len(again)


def test_an_opening_that_few_conversations_share_keeps_them_together() -> None:
    """Some ways in which one conversation went on are still one conversation."""
    chats = [_chat("My router is broken.", "Since when?", f"Since {day} May.", "Sorry.") for day in range(9)]
    assert len(set(groups_of(chats).values())) == 1


def test_conversations_that_begin_alike_are_told_as_the_reason_for_a_small_test() -> None:
    """Where the test is too small because conversations begin alike, the number that do not is told, and more of those
    are asked for. It said "have about 100" of 109."""
    chats = [_chat("Yes?", f"No {n % 65}.", f"Why {n}?", "Because.") for n in range(109)]
    (short,) = shortages(assign_splits(chats, SplitSettings()), _spec())
    assert "of 13 groups of conversations that begin alike" in short.what
    assert short.fix.startswith("Add conversations that begin differently")
    chats = [_chat("Yes?", f"No {n % 50}.", "Why?", "Because.") for n in range(100)]
    (short,) = shortages(assign_splits(chats, SplitSettings()), _spec())
    assert "of 100 conversations, 50 that begin differently" in short.what
    assert short.fix.startswith("Have about 100 conversations that begin differently")
