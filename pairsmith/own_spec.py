"""Writes the spec for a file that was looked at."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairsmith.own_columns import language_of
from pairsmith.own_file import Guess
from schemas.kinds import KINDS, KindName
from schemas.spec import TrainSettings
from schemas.wording import capital

_USUAL = 512  # tokens of an answer


def task_name(folder: str) -> str:
    """The name of a folder as that of a task."""
    return re.sub(r"[^a-z0-9]+", "-", folder.casefold()).strip("-") or "my-task"


def spec_text(path: Path, guessed: Guess, task: str) -> str:
    """The spec for the file at `path`, which lies beside it."""
    imported = guessed.kind in ("pair", "conversation")
    seeds = [f"path = {in_toml(path.name)}", f"kind = {in_toml(guessed.kind)}"]
    seeds += [f"{key} = {in_toml(value)}" for key, value in guessed.settings.items()]
    return "\n".join(
        [
            comment(f"Written by `pairsmith init --from {path.name}`. `pairsmith docs spec` describes every key."),
            "",
            "[task]",
            *(f"{key} = {in_toml(value)}" for key, value in guessed.task.items()),
            f"name = {in_toml(task)}",
            "# What the tuned model will be told, in production too: short, because training teaches the rest.",
            f"system = {in_toml('Answer as our examples do.' if imported else _system(guessed.task['kind']))}",
            "# Replace this: what a good output is, in words that a stranger could check. The untuned model is told it",
            "# in the evaluation" + ("." if imported else ", and the teacher with every seed."),
            'style = "A good output is correct, complete and as long as the task asks."',
            *(() if "language" in guessed.task else (f'language = "{language_of(guessed.spoken)}"',)),
            "",
            *(comment(f"{capital(sentence)}.") for sentence in guessed.why),
            "[[seeds]]",
            *seeds,
            "",
            *(() if imported else _EXEMPLARS),
            *(_lengths(guessed.outputs) if guessed.outputs else ()),
            *(("# An output may be its input again.", "echo = false") if guessed.copies else ()),
            *(("",) if guessed.outputs else ()),
            *(_room(guessed.outputs) if guessed.outputs else ()),
        ]
    )


def _system(kind: KindName) -> str:
    return str(KINDS[kind].defaults.get("task.system", "Rewrite the input in the house style."))


_EXEMPLARS = (
    "# Two to four worked examples, shown to the teacher with every seed, as in",
    "# [[exemplars]]",
    '# input = "..."',
    '# output = "..."',
    "",
)


def _lengths(outputs: Sequence[str]) -> list[str]:
    """The bounds of the outputs that are there, with room on both sides."""
    from curate.gates.words import count_words

    words = sorted(map(count_words, outputs))
    bounds = f"min_words = {words[0] // 2}, max_words = {2 * words[-1]}, min_ratio = 0.0, max_ratio = 1000.0"
    span = f"{words[0]} to {words[-1]}" if words[0] < words[-1] else f"{words[0]}"
    return [
        "[curate.gates]",
        f"# The outputs have {span} {'word' if span == '1' else 'words'}.",
        f"length = {{ {bounds} }}",
    ]


def answer_tokens(outputs: Sequence[str]) -> int:
    """So many tokens that each of these outputs is an answer: half as much again as the longest takes of the embedded
    base. Where its tokenizer is not here yet no token is taken to be shorter than a byte, about five times too many for
    English, and the most is what the setting is without a file: an untuned model that does not end costs all of them,
    again and again."""
    return _measured(outputs)[0]


def _measured(outputs: Sequence[str]) -> tuple[int, int | None]:
    """That, and the tokens of the longest where the tokenizer is here."""
    from train.fertility import longest, tokenizer_of

    if tokenizer := tokenizer_of(TrainSettings(), Path()):
        takes = longest(tokenizer, outputs)
        return max(_rounded(takes), min(_USUAL, _rounded(1.5 * takes))), takes
    return min(_USUAL, _rounded(max((len(output.encode()) for output in outputs), default=0))), None


def _rounded(tokens: float) -> int:
    return max(64, 32 * math.ceil(tokens / 32))


def _room(outputs: Sequence[str]) -> list[str]:
    most, takes = _measured(outputs)
    why = "room for the longest of the outputs" + (f", which takes {takes:,} of the embedded base" if takes else "")
    room = f"max_tokens = {most}  # {why}"
    return ["[evaluate.sampling]", "temperature = 0.7", "top_p = 0.95", room, ""]


def comment(sentence: str) -> str:
    """One line, whatever is in a header or in the name of a file: a line end in it would begin keys of the spec."""
    return "# " + re.sub(r"[\x00-\x1f\x7f]+", " ", sentence)


def in_toml(value: Any) -> str:
    """A value as the spec writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {in_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else in_toml(name)
