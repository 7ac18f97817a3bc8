"""The systems of an evaluation: which model each one asks, with which messages, and how it is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import prompts
from prompts import Prompt
from schemas.project import Project
from schemas.records import Json, Message, Messages, Sampling, Seed, content_id
from schemas.spec import Exemplar, Spec, TeacherSettings
from synth.generators import rendering
from train.evaluation import Decoding, Mode

Where = Literal["base", "teacher", "tuned"]
Chat = Callable[[Seed], Messages]


@dataclass(frozen=True)
class Contender:
    """One or more systems that are one: `names` are all of them, `where` says which server has the model.

    `decoding` says whose settings `sampled` and `greedy` are. `schema` binds the answers, as in generation.
    """

    names: tuple[str, ...]
    where: Where
    teacher: TeacherSettings
    exemplars: int
    messages: Chat
    decoding: Decoding
    sampled: Sampling
    greedy: Sampling
    schema: Json | None = None

    @property
    def name(self) -> str:
        return self.names[0]

    def sampling(self, mode: Mode, seed: Seed) -> Sampling:
        """How this input's answers are drawn. Under the evaluation's decoding every input has random numbers of its
        own; generation's is left as it is, so that an answer bought there is found again."""
        chosen = self.sampled if mode == "sampled" else self.greedy
        return chosen if self.decoding == "generation" else for_input(chosen, seed)

    def key(self, seeds: Sequence[Seed]) -> str:
        """What makes two systems the same: model, revision, every message for every seed, and the decoding. The random
        seed is no part of it: it changes which answers are drawn and not how good they are."""
        model = self.teacher.identity or self.teacher.model
        asked = [[message.model_dump() for message in self.messages(seed)] for seed in seeds]
        settings = [_unseeded(sampling) for sampling in (self.sampled, self.greedy)]
        return content_id("system", [model, self.teacher.revision, asked, settings, self.schema])


def contenders(
    project: Project, seeds: Sequence[Seed], base: TeacherSettings, tuned: TeacherSettings, teacher: TeacherSettings
) -> list[Contender]:
    """The systems in the order of the report, those that are the same merged into one.

    base: the untuned model with the full style in its system prompt. few-shot: the same with the spec's exemplars.
    teacher: the spec's teacher as it generates, with generation's messages, decoding, schema and attempts. tuned: the
    adapter with `task.system` and nothing else. All but the teacher are decoded as `evaluate.sampling` says.
    """
    spec = project.spec
    forward = spec.generate.forward
    prompt = prompts.load(forward.prompt, project.folder)
    shown = spec.exemplars if "exemplars" in prompt.variables else ()
    sampled, greedy = decodings(spec)
    local = teacher.url == "embedded" and (teacher.model, teacher.revision) == (base.model, base.revision)

    def as_evaluated(name: str, where: Where, asked: TeacherSettings, exemplars: int, messages: Chat) -> Contender:
        return Contender((name,), where, asked, exemplars, messages, "evaluation", sampled, greedy)

    systems = [
        as_evaluated("base", "base", base, 0, _asking(prompt, spec, ())),
        as_evaluated("few-shot", "base", base, len(shown), _asking(prompt, spec, shown)),
        Contender(
            ("teacher",),
            "base" if local else "teacher",
            teacher,
            len(shown),
            _asking(prompt, spec, spec.exemplars),
            "generation",
            forward.sampling,
            without_chance(forward.sampling),
            prompt.schema,
        ),
        as_evaluated("tuned", "tuned", tuned, 0, _tuned(spec)),
    ]
    merged: dict[str, Contender] = {}
    for system in systems:
        same = merged.get(key := system.key(seeds))
        merged[key] = system if same is None else replace(same, names=(*same.names, *system.names))
    return list(merged.values())


def _asking(prompt: Prompt, spec: Spec, exemplars: Sequence[Exemplar]) -> Chat:
    render = rendering(prompt, spec.task, exemplars, {"input": ()})
    return lambda seed: render(input=seed.text)


def _tuned(spec: Spec) -> Chat:
    system = Message(role="system", content=spec.task.system)
    return lambda seed: (system, Message(role="user", content=seed.text or ""))


def decodings(spec: Spec) -> tuple[Sampling, Sampling]:
    """The evaluation's decoding: sampled as the spec says, and greedy. Both carry a seed, from which every input's own
    is derived, so that a run can be repeated."""
    sampled = spec.evaluate.sampling
    if sampled.seed is None:
        sampled = sampled.model_copy(update={"seed": spec.train.seed})
    return sampled, without_chance(sampled)


def without_chance(sampled: Sampling) -> Sampling:
    """The same decoding with the likeliest token always taken. Penalties, limits and extras stay: they belong to how a
    system is decoded."""
    return sampled.model_copy(update={"temperature": 0.0, "top_p": None, "top_k": None})


def for_input(sampling: Sampling, seed: Seed) -> Sampling:
    """`sampling` with random numbers for this input alone: one stream for all inputs would make chance alike in all of
    them, and intervals that take inputs as independent too narrow. 28 bits, so that no server's seed overflows."""
    stream = int(content_id("stream", [sampling.seed, seed.id])[:7], 16)
    return sampling.model_copy(update={"seed": stream})


def _unseeded(sampling: Sampling) -> Json:
    return {name: value for name, value in sampling.body().items() if name != "seed"}
