"""The house style's rules as they stand on a row, so that nobody has to remember them; where the page tells what
programs think, the rule that one of them doubts is marked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from schemas.project import Project
from schemas.records import Pair, Verdict
from schemas.spec.curate import LengthSettings

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^\s\d(])|(?<=[。！？])")  # noqa: RUF001 - the ends of sentences in Chinese


def lines(project: Project, pair: Pair, doubts: Sequence[Verdict], escaped: Callable[[str], str]) -> list[str]:
    """HTML, a line each: the style's sentences, the labels with their definitions (the row's own in bold), and what
    programs check, in bold what one of `doubts` is about."""
    task = project.spec.task
    sentences = [part.strip() for line in task.style.strip().splitlines() for part in _SENTENCE.split(line)]
    told = [" · ".join(escaped(sentence) for sentence in sentences if sentence)]
    for label, definition in task.labels.items():
        name = f"<b>{escaped(label)}</b>" if label == pair.output else escaped(label)
        told.append(f"{name}: {escaped(definition)}" if definition else name)
    doubted = {verdict.by.partition("/")[2].partition("@")[0] for verdict in doubts}
    checked = [
        f"<b>{escaped(words)} (doubted)</b>" if gate in doubted else escaped(words)
        for gate, words in _checked(project).items()
    ]
    return [*told, *(["Checked by programs: " + " · ".join(checked)] if checked else [])]


def _checked(project: Project) -> dict[str, str]:
    """The gates that are rules of this task, by name, in words: its length and its own patterns."""
    gates = project.spec.curate.gates
    told = {}
    if gates.length and gates.length.max_words != LengthSettings().max_words:
        told["length"] = f"{gates.length.min_words} to {gates.length.max_words} words"
    told |= {f"must:{pattern.name}": _words(pattern.name) for pattern in gates.must}
    return told | {f"must_not:{pattern.name}": f"no {_words(pattern.name)}" for pattern in gates.must_not}


def _words(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")
