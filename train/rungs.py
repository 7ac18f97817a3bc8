"""The contenders of an evaluation: which model each one asks, and with which messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import prompts
from prompts import Prompt
from schemas.records import Message, Messages, Sampling, Seed
from schemas.spec import Exemplar, Spec, TeacherSettings
from schemas.spec_file import Project

Where = Literal["base", "teacher", "tuned"]


@dataclass(frozen=True)
class Contender:
    """One or more rungs that ask one model the same: `names` are all of them, `where` says which server has it."""

    names: tuple[str, ...]
    where: Where
    teacher: TeacherSettings
    exemplars: int
    messages: Callable[[Seed], Messages]

    @property
    def name(self) -> str:
        return self.names[0]

    def identity(self, seeds: Sequence[Seed]) -> tuple[str, str | None, tuple[Messages, ...]]:
        """What makes two contenders the same: model, revision, and every message for every seed."""
        teacher = self.teacher
        return (teacher.identity or teacher.model, teacher.revision, tuple(map(self.messages, seeds)))


def contenders(
    project: Project, seeds: Sequence[Seed], base: TeacherSettings, tuned: TeacherSettings, teacher: TeacherSettings
) -> list[Contender]:
    """The ladder, lowest rung first, with rungs that are the same merged into one.

    base: the untuned model with the full style in its system prompt. few-shot: the same with the spec's exemplars.
    teacher: the spec's teacher with what it is asked in generation. tuned: the adapter with `task.system` and nothing
    else. All are decoded alike, so model, revision and messages decide whether two are the same.
    """
    spec = project.spec
    prompt = prompts.load(spec.generate.forward.prompt, project.folder)
    shown = spec.exemplars if "exemplars" in prompt.variables else ()
    full, bare = _asking(prompt, spec, shown), _asking(prompt, spec, ())
    ladder = [
        Contender(("base",), "base", base, 0, bare),
        Contender(("few-shot",), "base", base, len(shown), full),
        Contender(("teacher",), "teacher", teacher, len(shown), full),
        Contender(("tuned",), "tuned", tuned, 0, _tuned(spec)),
    ]
    merged: dict[object, Contender] = {}
    for rung in ladder:
        same = merged.get(key := rung.identity(seeds))
        merged[key] = rung if same is None else _joined(same, rung)
    return list(merged.values())


def _joined(a: Contender, b: Contender) -> Contender:
    return Contender((*a.names, *b.names), a.where, a.teacher, a.exemplars, a.messages)


def _asking(prompt: Prompt, spec: Spec, exemplars: Sequence[Exemplar]) -> Callable[[Seed], Messages]:
    task = spec.task
    known = {"style": task.style, "exemplars": exemplars, "system": task.system, "language": task.language}
    wanted = {name: value for name, value in known.items() if name in prompt.variables}
    return lambda seed: prompt.render(**wanted, input=seed.text)


def _tuned(spec: Spec) -> Callable[[Seed], Messages]:
    system = Message(role="system", content=spec.task.system)
    return lambda seed: (system, Message(role="user", content=seed.text or ""))


def decodings(spec: Spec) -> tuple[Sampling, Sampling]:
    """How every rung is decoded: sampled as the spec says, and greedy. Both carry a seed, so that a run can be
    repeated, and so that an answer bought for generation is not taken for one of the evaluation."""
    sampled = spec.evaluate.sampling
    if sampled.seed is None:
        sampled = sampled.model_copy(update={"seed": spec.train.seed})
    greedy = sampled.model_copy(update={"temperature": 0.0, "top_p": None, "top_k": None})
    return sampled, greedy
