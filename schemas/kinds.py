"""The kinds of task: what a model can learn, and the spec defaults that suit each kind.

A spec names its kind (`[task] kind`). A key that the spec does not set is taken from the kind's `defaults`; otherwise
the defaults of `schemas.spec` apply, which are written for rewriting. docs/tasks.md shows this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

KindName = Literal["rewrite", "reply", "classify", "extract", "translate", "free"]
DuplicateRule = Literal["input and output near", "input near", "both exact"]


@dataclass(frozen=True)
class TaskKind:
    """A kind of task.

    `needs` is the key of `[task]` that defines its outputs; no other kind accepts it. `duplicate` is the rule for which
    rows are duplicates; `flag` is the flag for rows that are kept but worth a look. `outputs_recur`: different inputs
    naturally share an output (a label, a stock reply), so a test reference in the training data is not contamination.
    `input` and `output` are what a report calls the two sides. `defaults` maps dotted spec keys to values.
    """

    about: str
    input: str
    output: str
    duplicate: DuplicateRule
    needs: str | None = None
    flag: str | None = None
    equal_numbers: bool = True
    outputs_recur: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _gates_off(*names: str) -> dict[str, bool]:
    return {f"curate.gates.{name}": False for name in names}


_OF_STYLE = ("off_style", "too_long", "too_short", "bad_language")


def _reasons(*names: str) -> dict[str, list[str]]:
    """The reasons that a reviewer can give for a bad output of this kind."""
    return {"review.reasons": list(names)}


# A single answer without random sampling: there is nothing to choose from.
_ONE_ANSWER = {
    "generate.forward.n": 1,
    "generate.forward.sampling": {"temperature": 0.0, "max_tokens": 1024},
    "curate.score.model": "none",
}
# Gates that compare output and input as for a rewrite; what is lost, reversed or added differs for other kinds.
_COMPARED = ("answered", "lost_content", "invented", "invented_name", "swapped", "limits")
# Gates for free text; labels and records have their own gates for their content.
_OF_TEXTS = (*_COMPARED, "repetition", "echo", "preamble", "cut", "fenced", "language", "mixed_language", "contacts")
_INVERTED = {
    "generate.backward.prompt": "invert",
    "generate.backward.levels": ["one short sentence", "two or three sentences", "a longer text with details"],
    "generate.backward.sampling": {"temperature": 0.9, "max_tokens": 512},
}

KINDS: Mapping[KindName, TaskKind] = {
    "rewrite": TaskKind(
        about="a text becomes another text that says the same in the house style",
        input="input",
        output="output",
        duplicate="input and output near",
        flag="one_output",
    ),
    "reply": TaskKind(
        about="a message is answered in the house style",
        input="message",
        output="reply",
        duplicate="input and output near",
        outputs_recur=True,
        defaults={
            "task.system": "Reply to the message in the house style.",
            **_reasons("wrong", "invented", "not_answered", *_OF_STYLE),
            "generate.forward.prompt": "reply",
            **_INVERTED,
            **_gates_off(*(name for name in _COMPARED if name != "swapped")),
        },
    ),
    "classify": TaskKind(
        about="a text gets one label from a list",
        input="text",
        output="label",
        duplicate="input near",
        flag="two_labels",
        equal_numbers=False,
        outputs_recur=True,
        needs="labels",
        defaults={
            "task.system": "Label the text.",
            **_reasons("wrong_label", "two_labels_fit", "no_label_fits", "unclear_text"),
            "generate.forward.prompt": "label",
            **_INVERTED,
            **_ONE_ANSWER,
            **_gates_off(*_OF_TEXTS),
        },
    ),
    "extract": TaskKind(
        about="what a text says is written as JSON under a schema",
        input="text",
        output="record",
        duplicate="input near",
        outputs_recur=True,
        needs="schema",
        defaults={
            "task.system": "Write what the text says as JSON.",
            **_reasons("wrong_value", "invented", "missing_value", "wrong_field", "wrong_format", "unclear_text"),
            "generate.forward.prompt": "extract",
            **_INVERTED,
            **_ONE_ANSWER,
            **_gates_off(*_OF_TEXTS, "broken_json"),
            "curate.gates.values": "flag",
        },
    ),
    "translate": TaskKind(
        about="a text is translated from one language to another",
        input="source",
        output="translation",
        duplicate="input and output near",
        needs="to",
        defaults={
            "task.system": "Translate the text.",
            **_reasons(
                "wrong_meaning", "invented", "left_out", "not_translated", "wrong_term", "off_style", "bad_language"
            ),
            "generate.forward.prompt": "translate",
            **_ONE_ANSWER,
            "generate.backward.prompt": "translate-back",
            "generate.backward.levels": ["a translation"],
            "generate.backward.sampling": {"temperature": 0.0, "max_tokens": 1024},
            "curate.gates.length.min_words": 1,
            "curate.gates.length.min_ratio": 0.2,
            "curate.gates.length.max_ratio": 8.0,
            **_gates_off("echo", "answered", "lost_content", "invented_name", "swapped"),
            "curate.gates.translated": True,
        },
    ),
    "free": TaskKind(
        about="anything else: the model follows an instruction",
        input="prompt",
        output="answer",
        duplicate="both exact",
        defaults={
            "task.system": "Follow the instruction in the house style.",
            **_reasons("wrong", "invented", "not_followed", *_OF_STYLE),
            "generate.forward.prompt": "free",
            **_INVERTED,
            **_gates_off(*_COMPARED),
        },
    ),
}


def with_defaults(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A parsed spec with the defaults of its kind wherever it sets nothing itself; `raw` is not modified.

    Where the spec sets a value (`length = false`) in place of a section, it is left alone. So is a `sampling`, which is
    only used as a whole.
    """
    filled = dict(raw)
    task = filled.get("task")
    name = task.get("kind") if isinstance(task, Mapping) else getattr(task, "kind", None)
    kind = KINDS.get(name) if isinstance(name, str) else None  # type: ignore[call-overload]
    for key, value in kind.defaults.items() if kind else ():
        *path, last = key.split(".")
        table = filled
        for part in path:
            inside = table.get(part, {})
            if not isinstance(inside, Mapping):
                break
            table[part] = dict(inside)
            table = table[part]
        else:
            table.setdefault(last, deepcopy(value))
    return filled
