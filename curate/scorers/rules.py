"""The task rules given to a judge or a reward model, and the chat that a row's output answers under them.

They are everything needed to distinguish a good output from a bad one. Other columns of a row are left out, because the
tuned model never sees them.
"""

from __future__ import annotations

import json

from prompts.answer_form import AnswerForm
from prompts.languages import language_name
from schemas.project import Project
from schemas.records import Pair


def rules_of(project: Project) -> str:
    """The rules for an output, in words: the style, and the labels with their meanings, the schema, or the language.

    Raises SpecError or PromptError if the schema cannot be read.
    """
    task, of_kind = project.spec.task, list[str]()
    form = AnswerForm.of(task, project.folder)
    if form.labels:
        labels = (f"- {label}: {meaning}" if meaning else f"- {label}" for label, meaning in form.labels.items())
        of_kind += ["The labels:", *labels]
    if form.schema is not None:
        of_kind += ["The output is JSON by this schema:", json.dumps(form.schema, ensure_ascii=False)]
    if task.to:
        of_kind.append(f"The output is in {language_name(task.to)}.")
    return "\n".join([task.style, *of_kind])


def asked_of(pair: Pair, rules: str) -> list[dict[str, str]]:
    """The chat that the output answers: earlier turns and input, with system prompt and rules before the first user
    turn. Without `rules`, the input alone."""
    if not rules:
        return [{"role": "user", "content": pair.input}]
    chat = [{"role": turn.role, "content": turn.content} for turn in pair.turns]
    chat.append({"role": "user", "content": pair.input})
    instructions = "\n\n".join(part for part in (pair.system, rules) if part)
    if chat[0]["role"] != "user":
        return [{"role": "user", "content": instructions}, *chat]
    return [{"role": "user", "content": f"{instructions}\n\n{chat[0]['content']}"}, *chat[1:]]
