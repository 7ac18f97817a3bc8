"""A judge on 127.0.0.1 that answers checklists and comparisons as the test specifies."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tests.synth.loopback import Ask, Reply, fails, says

Answers = Callable[[str, str], float]
"""(name of the question, output) -> P(yes)."""


def part(ask: Ask, name: str) -> str:
    """The text between <name> and </name> in the last message."""
    match = re.search(rf"<{name}>\n(.*)\n</{name}>", ask.prompt, re.DOTALL)
    assert match, ask.prompt
    return match[1]


def questions(ask: Ask) -> list[str]:
    return re.findall(r"^([a-z_0-9]+): ", ask.prompt.rpartition("The questions:\n")[2], re.MULTILINE)


def checklist(answers: Answers, *, logprobs: bool = True) -> Callable[[Ask], Reply]:
    """A judge that answers every question of a checklist by `answers`."""

    def reply(ask: Ask) -> Reply:
        p = {name: answers(name, part(ask, "output")) for name in questions(ask)}
        text = orjson.dumps({name: "yes" if one >= 0.5 else "no" for name, one in p.items()}).decode()
        if not logprobs or not ask.body.get("logprobs"):
            return says(text)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": {"content": tokens(p)}}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        return Reply(body=orjson.dumps({"id": "judge", "model": "judge", "choices": [choice], "usage": usage}))

    return reply


def tokens(p: Mapping[str, float]) -> list[dict[str, Any]]:
    """The tokens of a checklist's JSON; a quote and the word after it are one token: `"yes`."""
    listed: list[dict[str, Any]] = []

    def add(text: str, **top: float) -> None:
        alternatives = [{"token": token, "logprob": math.log(one)} for token, one in top.items() if one > 0]
        listed.append({"token": text, "logprob": -0.1, "top_logprobs": alternatives})

    for number, (name, one) in enumerate(p.items()):
        add('{"' if number == 0 else ',"')
        add(name)
        add('":')
        # A tenth of the probability goes to other tokens.
        likely = {'"yes': 0.9 * one, ' "no': 0.9 * (1 - one), "{": 0.1}
        word = '"yes' if one >= 0.5 else ' "no'
        listed.append(
            {
                "token": word.strip(),
                "logprob": math.log(likely[word]),
                "top_logprobs": [{"token": t, "logprob": math.log(q)} for t, q in likely.items() if q > 0 and t != word]
                + [{"token": word.strip(), "logprob": math.log(likely[word])}],
            }
        )
        add('"')
    add("}")
    return listed


def chooser(better: Callable[[str, str], bool]) -> Callable[[Ask], Reply]:
    """A judge that chooses the first of two outputs where `better(first, second)`."""

    def reply(ask: Ask) -> Reply:
        first = better(part(ask, "first"), part(ask, "second"))
        return says(orjson.dumps({"better": "first" if first else "second"}).decode())

    return reply


def without_logprobs(
    answer: Callable[[Ask], Reply], message: str = "logprobs is not supported"
) -> Callable[[Ask], Reply]:
    """A judge on a server that rejects the logprobs setting with `message`."""

    def reply(ask: Ask) -> Reply:
        return fails(400, message) if "logprobs" in ask.body else answer(ask)

    return reply
