"""Reasoning in unusual places, and answers that only look like it."""

from __future__ import annotations

import time

import pytest

from synth.answers import judged
from synth.chat.thinking import split_thinking


@pytest.mark.parametrize(
    "text",
    [
        "The user asks about <think> tags. Hm.\n</think>\n\nA dog.",
        "<think>They ask about </think> tags. Hm.\n</think>\n\nA dog.",
        "<think>a <think>b</think> c</think>\nA dog.",
        "I should use no ``` fences.\n</think>\n\nA dog.",
        "```\nan unfinished draft\n</think>\n\nA dog.",
        'I wonder "what\n</think>\n\nA dog.',
        "so\r\n</think>\r\n\r\nA dog.",
        "<think>so\n</think></think>A dog.",
        "<think effort='low'>so</think >A dog.",
        "\ufeff<think>so</think>A dog.",
        "so</seed:think>A dog.",
        "<|START_THINKING|>so<|END_THINKING|><|START_RESPONSE|>A dog.<|END_RESPONSE|>",
        "<|channel>thought\nso<channel|>A dog.",
        "<|inner_prefix|>so<|inner_suffix|>A dog.",
        "<|begin_of_thought|>so<|end_of_thought|>\n<|begin_of_solution|>A dog.<|end_of_solution|>",
        "Here is my thought process: so\n\nHere is my response: A dog.",
        "Here are my reasoning steps:\nso\n[BEGIN FINAL RESPONSE]\nA dog.",
        "They want a dog [1].\n[BEGIN FINAL RESPONSE]\nA dog.\n[END FINAL RESPONSE]\n",
        "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>A dog.",
    ],
)
def test_reasoning_is_split_off_whatever_it_mentions(text: str) -> None:
    """Reasoning that mentions tags, fences and quotes, and the markers of further model families."""
    assert split_thinking(text).answer.strip() == "A dog."


@pytest.mark.parametrize(
    "text",
    [
        "The parser stops at </think>\nand goes on with the rest.",
        'pattern = re.compile(r".*?</think>", re.S)',
        "x = re.sub(r'<t>(.*?)</think>', '', s)",
        "Close it so:\n\n    </think>\n\nand go on.",
        "Models write:\n\n<think>\nsteps\n</think>\n\nthen the answer.",
        "> <think>\n> a\n> </think>\n\nis what it wrote.",
        "```\n<think>\n```\nopens, and\n```\n</think>\n```\ncloses.",
        "| tag | use |\n|---|---|\n| </think> | closes |",
        "<thinker>Rodin</thinker>",
        "Here is my thought process: I like dogs.",
        "Here are my reasoning steps: feed it, walk it [twice].",
        "It ends with\n[END FINAL RESPONSE]",
        "Look for `[BEGIN FINAL RESPONSE]` in it.",
    ],
)
def test_answers_about_tags_and_code_are_left_alone(text: str) -> None:
    """Code without a fence, indented code, quotations, tables and wrapped prose."""
    assert split_thinking(text) == (None, text)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("Answer as <reasoning>why</reasoning><answer>what</answer>.", True),
        ("Give a reasoning and an answer.", False),
        ("Never write <reasoning> tags.", False),
    ],
)
def test_block_written_out_in_the_prompt_is_part_of_the_answer(asked: str, kept: bool) -> None:
    """If the prompt contains both tags, the block is wanted."""
    text = "<reasoning>a pet</reasoning><answer>a dog</answer>"
    raw = {"finish_reason": "stop", "message": {"content": text}}
    request = {"messages": [{"role": "system", "content": asked}, {"role": "user", "content": "a dog"}]}
    assert judged(raw, None, {}, request, 0).text == (text if kept else "a dog")


def test_models_own_tag_in_a_prompt_does_not_keep_the_reasoning() -> None:
    """A seed about <think>...</think> does not let the reasoning of its answer through."""
    raw = {"finish_reason": "stop", "message": {"content": "<think>hm</think>A dog."}}
    request = {"messages": [{"role": "user", "content": "What does <think>...</think> mean?"}]}
    assert judged(raw, None, {}, request, 0).text == "A dog."


@pytest.mark.slow
@pytest.mark.parametrize("part", ["</think>", "<think>", "a </think> b\n", "a </think> b", "`</think>", "\n```", "= '"])
def test_repeated_tags_are_split_quickly(part: str) -> None:
    """Splitting blocks the event loop, so even hundreds of kilobytes of one tag must take little time."""
    began = time.process_time()
    split_thinking(part * 20_000 + "</think>")
    assert time.process_time() - began < 10
