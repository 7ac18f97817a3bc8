"""The house style's rules as displayed on each row. Where automatic findings may be shown, the rules they concern are
marked as doubted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from curate.scorers.checklists import parse_no_answers, questions_of
from schemas.project import Project
from schemas.records import Pair, Verdict
from schemas.spec.curate import LengthSettings
from schemas.step_names import By

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[^\s\d(])|(?<=[。！？])")  # noqa: RUF001 - the ends of sentences in Chinese

_WORD = re.compile(r"\w+")


def lines(project: Project, pair: Pair, doubts: Sequence[Verdict], escaped: Callable[[str], str]) -> list[str]:
    """Return the rules as HTML lines: the style's sentences, the labels with their definitions (the row's own label in
    bold), what programs check, and the judges' questions that were answered with no.

    A rule that one of `doubts` concerns is bold and followed by "(doubted)". A sentence of the style is concerned if it
    contains the words of the gate's or question's name.
    """
    task = project.spec.task
    gates = {By.read(verdict.by) for verdict in doubts}
    doubted = {gate.name for gate in gates}
    questions = _failed_questions(project, doubts)
    named = [*questions, *(gate.of for gate in gates)]
    names = [words for name in named if (words := set(_WORD.findall(_spell_out(name).casefold())))]

    def line(parts: Mapping[str, bool]) -> str:
        marked = (f"<b>{escaped(part)} (doubted)</b>" if doubted else escaped(part) for part, doubted in parts.items())
        return " · ".join(marked)

    sentences = [part.strip() for text in task.style.strip().splitlines() for part in _SENTENCE.split(text)]
    style = {text: any(words <= set(_WORD.findall(text.casefold())) for words in names) for text in sentences if text}
    shown = [line(style)]
    for label, definition in task.labels.items():
        name = f"<b>{escaped(label)}</b>" if label == pair.output else escaped(label)
        shown.append(f"{name}: {escaped(definition)}" if definition else name)
    if checked := {words: gate in doubted for gate, words in _programmatic_rules(project).items()}:
        shown.append(f"Checked by programs: {line(checked)}")
    if questions:
        shown.append(f"Asked by judges: {line(dict.fromkeys(questions.values(), True))}")
    return shown


def _failed_questions(project: Project, doubts: Sequence[Verdict]) -> dict[str, str]:
    """Return the questions, by name, that a judge answered with no for this row."""
    against = {
        name for verdict in doubts if verdict.by.startswith("judge/") for name in parse_no_answers(verdict.reason)
    }
    if not against:
        return {}
    questions = questions_of(project.spec.task.kind, project.spec.curate.judge.questions)
    return {question.name: question.question for question in questions if question.name in against}


def _programmatic_rules(project: Project) -> dict[str, str]:
    """Describe in words, by gate name, the gates that are rules of this task: the length and the task's own
    patterns."""
    gates = project.spec.curate.gates
    in_words = {}
    if gates.length and gates.length.max_words != LengthSettings().max_words:
        in_words["length"] = f"{gates.length.min_words} to {gates.length.max_words} words"
    in_words |= {f"must:{pattern.name}": _spell_out(pattern.name) for pattern in gates.must}
    return in_words | {f"must_not:{pattern.name}": f"no {_spell_out(pattern.name)}" for pattern in gates.must_not}


def _spell_out(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")
