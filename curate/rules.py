"""The rules that a row was written by, and the chat that its output answers under them: what a judge or a reward model
has to know to tell a good output from a bad one."""

from __future__ import annotations

from prompts.languages import language_name
from schemas.records import Pair
from schemas.spec import TaskSettings


def rules_of(task: TaskSettings) -> str:
    """The rules that an output is written by, in words: the style, and what its labels mean or its language is."""
    labels = [f"- {label}: {meaning}" if meaning else f"- {label}" for label, meaning in task.labels.items()]
    of_kind = ["The labels:", *labels] if labels else []
    if task.to:
        of_kind.append(f"The output is in {language_name(task.to)}.")
    return "\n".join([task.style, *of_kind])


def asked_of(pair: Pair, rules: str) -> list[dict[str, str]]:
    """The chat that the output answers: the earlier turns and the input, what the model is told and the rules in front
    of the first user turn. Without `rules`, the input alone."""
    if not rules:
        return [{"role": "user", "content": pair.input}]
    chat = [{"role": turn.role, "content": turn.content} for turn in pair.turns]
    chat.append({"role": "user", "content": pair.input})
    instructions = "\n\n".join(part for part in (pair.system, rules) if part)
    if chat[0]["role"] != "user":
        return [{"role": "user", "content": instructions}, *chat]
    return [{"role": "user", "content": f"{instructions}\n\n{chat[0]['content']}"}, *chat[1:]]
