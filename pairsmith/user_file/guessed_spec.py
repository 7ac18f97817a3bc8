"""Writes the spec for a file that was inspected by `guess`."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairsmith.user_file.guess_table import Guess
from pairsmith.user_file.languages import detect_language
from schemas.kinds import KINDS
from schemas.spec import TrainSettings
from schemas.wording import capital

_DEFAULT_TOKENS = 512  # default limit of an answer, in tokens


def task_name(folder: str) -> str:
    """A folder's name as the name of a task, without accents and not longer than that of a project of the service;
    `my-task` if it has no Latin letter or digit."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", folder.casefold()) if not unicodedata.combining(c))
    return re.sub(r"[^a-z0-9]+", "-", letters.casefold()).strip("-")[:63].rstrip("-") or "my-task"


def spec_text(path: Path, guessed: Guess, task: str) -> str:
    """The spec for the file at `path`, which is in the same folder as the spec."""
    imported = guessed.kind in ("pair", "conversation")
    seeds = [f"path = {in_toml(path.name)}", f"kind = {in_toml(guessed.kind)}"]
    seeds += [f"{key} = {in_toml(value)}" for key, value in guessed.settings.items()]
    system = KINDS[guessed.task["kind"]].defaults.get("task.system", "Rewrite the input in the house style.")
    has_bounds = guessed.outputs and guessed.task["kind"] != "extract"  # a schema says more than a number of words
    return "\n".join(
        [
            comment(f"Written by `pairsmith init --from {path.name}`. `pairsmith docs spec` describes every key."),
            "",
            "[task]",
            *(f"{key} = {in_toml(value)}" for key, value in guessed.task.items()),
            f"name = {in_toml(task)}",
            "# The system prompt of the tuned model, in production too. Keep it short: training teaches the rest.",
            f"system = {in_toml('Answer as our examples do.' if imported else system)}",
            (
                "# Replace this with what makes a good output, in rules that a stranger could check. It is sent to the "
                "untuned"
            ),
            "# model in the evaluation" + ("." if imported else ", and to the teacher with every seed."),
            'style = "A good output is correct, complete and as long as the task asks."',
            *(() if "language" in guessed.task else (f'language = "{detect_language(guessed.spoken)}"',)),
            "",
            *(comment(f"{capital(sentence).removesuffix('.')}.") for sentence in guessed.why),
            "[[seeds]]",
            *seeds,
            "",
            *(() if imported else _EXEMPLARS),
            *(_length_gate(guessed.outputs) if has_bounds else ()),
            *(("# An output may equal its input.", "echo = false") if guessed.copies else ()),
            *(("",) if has_bounds else ()),
            *(_sampling_table(guessed.outputs) if guessed.outputs else ()),
        ]
    )


_EXEMPLARS = (
    "# Two to four worked examples, shown to the teacher with every seed:",
    "# [[exemplars]]",
    '# input = "..."',
    '# output = "..."',
    "",
)


def word_bounds(outputs: Sequence[str]) -> tuple[int, int]:
    """Length bounds derived from the existing outputs, in words, with a margin on both sides."""
    from curate.gates.words import count_words

    words = [count_words(output) for output in outputs]
    return min(words) // 2, 2 * max(words)


def _length_gate(outputs: Sequence[str]) -> list[str]:
    from curate.gates.words import count_words

    words = sorted(map(count_words, outputs))
    least, most = word_bounds(outputs)
    bounds = f"min_words = {least}, max_words = {most}, min_ratio = 0.0, max_ratio = 1000.0"
    span = f"{words[0]} to {words[-1]}" if words[0] < words[-1] else f"{words[0]}"
    return [
        "[curate.gates]",
        f"# The outputs have {span} {'word' if span == '1' else 'words'}.",
        f"length = {{ {bounds} }}",
    ]


def answer_tokens(outputs: Sequence[str]) -> int:
    """A token limit that leaves room for each of these outputs: one and a half times the longest one in tokens of the
    embedded base.

    If its tokenizer is not on this machine yet, one token per byte is assumed, about five times too many for English,
    up to the default limit: an untuned model that does not stop uses all of them every time.
    """
    return _token_limit(outputs)[0]


def _token_limit(outputs: Sequence[str]) -> tuple[int, int | None]:
    """That limit, and the tokens of the longest output if the tokenizer is available."""
    from train.base_models.fertility import longest, tokenizer_of

    if tokenizer := tokenizer_of(TrainSettings(), Path()):
        takes = longest(tokenizer, outputs)
        return max(_round_up(takes), min(_DEFAULT_TOKENS, _round_up(1.5 * takes))), takes
    return min(_DEFAULT_TOKENS, _round_up(max((len(output.encode()) for output in outputs), default=0))), None


def _round_up(tokens: float) -> int:
    return max(64, 32 * math.ceil(tokens / 32))


def _sampling_table(outputs: Sequence[str]) -> list[str]:
    most, takes = _token_limit(outputs)
    why = "room for the longest output" + (f", which takes {takes:,} tokens of the embedded base" if takes else "")
    room = f"max_tokens = {most}  # {why}"
    return ["[evaluate.sampling]", "temperature = 0.7", "top_p = 0.95", room, ""]


def comment(sentence: str) -> str:
    """A one-line comment. Line ends in a header or file name are replaced, because they could start keys of the
    spec."""
    return "# " + re.sub(r"[\x00-\x1f\x7f]+", " ", sentence)


def in_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {in_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else in_toml(name)
