"""The reasoning of a thinking model never becomes an answer, and an answer that only mentions reasoning loses
nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import TeacherError
from schemas.records import Message, Sampling
from schemas.store import Store
from synth.chat.thinking import split_thinking
from synth.ledger import Completion, FailedSample, Ledger, Question
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says
from tests.synth.test_ledger import PLAIN, chat, texts, with_ledger

ALL_THINKING = r"tokens went to thinking: raise max_tokens, or switch thinking off: sampling\.extra = "


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nA dog, then.\n</think>\n\nA dog on a hill.", "A dog on a hill."),
        ("<think>\n\n</think>\n\nA dog.", "A dog."),
        ("  \n<Think>so</THINK>A dog.", "A dog."),
        ("<thinking>so</thinking>A dog.", "A dog."),
        ("<reasoning>so</reasoning>\nA dog.", "A dog."),
        # Names in other model families, closing tags that do not match, spaces in tags, and an empty block.
        ("<longcat_think>so</longcat_think>A dog.", "A dog."),
        ("<ant:thinking>so</ant:thinking>A dog.", "A dog."),
        ("<antThinking>so</antThinking>A dog.", "A dog."),
        ("<think>so</thinking>A dog.", "A dog."),
        ("<thinking>so</think>\nA dog.", "A dog."),
        ("<think>so< /think>A dog.", "A dog."),
        ("<think/>A dog.", "A dog."),
        ("<think />\n\nA dog.", "A dog."),
        # Wrappers around the answer after the reasoning.
        ("<think>so</think>\n<answer>\nA dog.\n</answer>", "A dog."),
        ("<think>so</think><response>A dog.</response>\n", "A dog."),
        ("<think>so</think>\n<|begin_of_box|>A dog.<|end_of_box|>", "A dog."),
        (
            "<think>so</think><answer>A dog.</answer> and <answer>a cat</answer>",
            "<answer>A dog.</answer> and <answer>a cat</answer>",
        ),
        ("<thinking>so</thinking>\n<reflection>so</reflection>\n<output>A dog.</output>", "A dog."),
        ("[THINK]so[/THINK]A dog.", "A dog."),
        ("[unused16]so[unused17]A dog.", "A dog."),
        ("< think >so</ think >A dog.", "A dog."),
        ("```thinking\nso\n```\n\nA dog.", "A dog."),
        ("<think>one</think>\n<think>two</think>\nA dog.", "A dog."),
        ("<think>it never ends", ""),
        ("<reasoning>\nneither does this", ""),
        (
            "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final<|message|>A dog.<|return|>",
            "A dog.",
        ),
        ("<|channel|>analysis<|message|>only this", ""),
        ("<|channel|>final<|message|>A dog.", "A dog."),
        # Chat templates that open the block in the prompt.
        ("The user wants a dog.\nSo be it.\n</think>\n\nA dog.", "A dog."),
        ("The user wants a dog.</think>A dog.", "A dog."),
        ("The user wants a dog. </think> A dog.", "A dog."),
        ("</think>\n\nA dog.", "A dog."),
        ("It is all thinking.\n</think>", ""),
    ],
)
def test_reasoning_before_the_answer_is_split_off(text: str, answer: str) -> None:
    """The tags of every model family, several blocks, one that was never closed, one that only the prompt opened."""
    parts = split_thinking(text)
    assert parts.answer.strip() == answer
    assert parts.thinking is not None or text.startswith("<|channel|>final")


@pytest.mark.parametrize(
    "text",
    [
        "Use <think> and </think> around the reasoning.",
        "<answer>A dog.</answer>",
        "<output>A dog.</output>",
        "[unused17] is a token of openPangu.",
        "```thinking\nA dog.\n```",
        "```python\nso\n```\nA dog.",
        "<rethink>A dog.</rethink>",
        "The tag </think> closes the block.",
        "Write `</think>` at the end.",
        'A sign that says "</think>" above a door.',
        "```xml\n<think>\nso\n</think>\n```",
        "Close it like this:\n```\nso\n</think>\n```\nThat is all.",
        "First <think>so</think>, then the answer.",
        "I think a dog on a hill is best.",
        "A <reasoning> engine",
        "[THINKING] is no tag, [THINK] alone in the middle neither.",
        "analysis of a dog on a hill",
    ],
)
def test_answer_that_mentions_the_tags_is_left_alone(text: str) -> None:
    """In code, in quotes, in a sentence, or anywhere except at the very beginning."""
    assert split_thinking(text) == (None, text)


@given(st.text(alphabet=st.sampled_from(list('ab \n`"</>[]|THINKthink'))))
def test_splitting_never_invents_text(text: str) -> None:
    """The answer is a substring of the text."""
    assert split_thinking(text).answer in text


def body(content: Any, finish: str = "stop", **fields: Any) -> Reply:
    message = {"role": "assistant", "content": content, **fields}
    usage = {"prompt_tokens": 3, "completion_tokens": 77}
    return Reply(body=orjson.dumps({"choices": [{"finish_reason": finish, "message": message}], "usage": usage}))


@pytest.mark.parametrize(
    "reply",
    [
        says("<think>so</think>\n\nA dog."),
        body("A dog.", reasoning_content="so"),
        body("\n\nA dog.", reasoning="so"),
        body([{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}, {"type": "text", "text": "A dog."}]),
    ],
)
def test_ledger_returns_the_answer_and_stores_everything(reply: Reply, tmp_path: Path) -> None:
    """The pair has only the answer; the raw row still has the reasoning."""
    with LoopbackTeacher(lambda ask: reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for _ in range(2):
                (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
                assert isinstance(answer, Completion)
                assert answer.text.strip() == "A dog."
                assert "so" in str(store.calls(answer.key)[0].raw)

        with_ledger(teacher, tmp_path, ask)
    assert len(teacher.asked) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "reply",
    [
        body("<think>so", "length"),
        body("<think>so</think>\n"),
        body("so\n</think>"),
        body(None, "length", reasoning_content="so"),
        body("", "stop", reasoning="so"),
        body("", "stop", reasoning_text="so"),
        body(None, "stop", thoughts=["so"]),
        body("", "stop", reasoningContent={"reasoningText": {"text": "so"}}),
        body("", "length"),
        body([{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}], "length"),
    ],
)
def test_thinking_without_an_answer_fails_with_its_own_message(reply: Reply, tmp_path: Path) -> None:
    """The message says how many tokens were used for thinking and what to do. The same question is not paid for
    twice."""
    with LoopbackTeacher(lambda ask: reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, FailedSample)
            assert answer.reason.startswith("thinking: all 77 tokens went to thinking: raise max_tokens, or switch")
            assert "chat_template_kwargs = { enable_thinking = false }" in answer.reason

        with_ledger(teacher, tmp_path, ask, attempts=3)
        assert len(teacher.asked) == 1

        async def again(ledger: Ledger, store: Store) -> int:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, FailedSample)
            assert answer.reason.startswith("thinking: ")
            return ledger.sent

        assert with_ledger(teacher, tmp_path, again, attempts=3) == 0
        assert with_ledger(teacher, tmp_path, again, attempts=3, retry_failed=True) == 1


def test_a_schema_binds_the_answer_and_not_the_reasoning(tmp_path: Path) -> None:
    """JSON after a block of reasoning satisfies the schema."""
    with LoopbackTeacher(lambda ask: says('<think>{</think>{"yes": true}')) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = await ledger.answer(Question(chat("a dog"), PLAIN, {"type": "object"}))
            assert texts(answers) == ['{"yes": true}']

        with_ledger(teacher, tmp_path, ask)


def test_a_run_whose_first_answers_are_all_thinking_stops(tmp_path: Path) -> None:
    """Eight questions in a row are enough; the other rows are not paid for."""
    with LoopbackTeacher(lambda ask: says("<think>hm", finish="length")) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            async def all_rows() -> None:
                for i in range(100):
                    await ledger.answer(Question(chat(f"dog {i}"), Sampling(max_tokens=64)))

            with pytest.raises(TeacherError, match=ALL_THINKING):
                await all_rows()
            assert ledger.sent == 8

        with_ledger(teacher, tmp_path, ask)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "A dog."])
def test_one_answer_does_not_keep_a_run_of_thinking_going(first: str, tmp_path: Path) -> None:
    """The run ends soon even if an empty or a good answer comes first."""

    def reply(ask: Ask) -> Reply:
        return says(first) if ask.number == 1 else says("<think>hm", finish="length")

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            async def all_rows() -> None:
                for i in range(100):
                    await ledger.answer(Question(chat(f"dog {i}"), PLAIN))

            with pytest.raises(TeacherError, match=ALL_THINKING):
                await all_rows()
            assert ledger.sent <= 21

        with_ledger(teacher, tmp_path, ask)


def test_thinking_among_answers_does_not_stop_the_run(tmp_path: Path) -> None:
    """One good answer among 20 is enough: the others only fail their rows."""

    def reply(ask: Ask) -> Reply:
        return says("A dog.") if ask.number == 3 else says("<think>hm", finish="length")

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = [(await ledger.answer(Question(chat(f"dog {i}"), PLAIN)))[0] for i in range(20)]
            assert sum(isinstance(answer, FailedSample) for answer in answers) == 19

        with_ledger(teacher, tmp_path, ask)


def test_block_shown_in_the_exemplars_is_part_of_the_answer(tmp_path: Path) -> None:
    """A task whose outputs begin with such a block wants it."""
    shown = (
        Message(role="user", content="a cat"),
        Message(role="assistant", content="<reasoning>a pet</reasoning> a cat on a sofa"),
        Message(role="user", content="a dog"),
    )
    text = "<reasoning>a pet</reasoning> a dog on a hill"
    with LoopbackTeacher(lambda ask: says(text)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(shown, PLAIN))) == [text]

        with_ledger(teacher, tmp_path, ask)
