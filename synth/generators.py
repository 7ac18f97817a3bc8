"""From a seed to pairs: forward (input to candidates), backward (excellent output to inputs).

Backward follows Prompt Expansion (Datta et al. 2023, arXiv:2312.16720): excellent outputs are shortened at several
levels of abstraction, so that the student sees inputs from terse to detailed for one and the same target.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from prompts import OLD_NAMES, Prompt, load
from schemas.errors import PromptError
from schemas.project import Project
from schemas.records import Candidate, Generated, Messages, Pair, Reason, Sampling, Seed, content_id, identity
from schemas.spec import BackwardSettings, Exemplar, ForwardSettings, TaskSettings, TeacherSettings, given
from synth.answers import clean
from synth.ledger import Completion, FailedSample, Ledger

Name = Literal["forward", "backward"]
_TASK, _FORWARD, _BACKWARD = TaskSettings.model_fields, ForwardSettings(), BackwardSettings()


class Slot(NamedTuple):
    """Where a candidate stands: sample `sample` of a seed under one generation."""

    fingerprint: str
    seed_id: str
    generator: Name
    sample: int

    def filled(self, pair: Pair) -> Candidate:
        """The slot with its pair."""
        return Candidate(**self._asdict(), pair_id=pair.id)

    def failed(self, reason: Reason) -> Candidate:
        """The slot for which no pair came."""
        return Candidate(**self._asdict(), failure=reason)


class Outcome(NamedTuple):
    """What asking for one sample of a seed came to: its slot in the pool, and the pair unless it failed."""

    candidate: Candidate
    pair: Pair | None


class Generator(Protocol):
    """Called with a seed of kind `takes`, yields the outcome of each of its `samples` slots, in any order.

    `samples` is None where only the call tells how many there are, and `ledger` where no teacher is asked.
    `fingerprint` names everything that shapes its pairs.
    """

    name: ClassVar[Name]
    takes: ClassVar[Literal["input", "output"]]

    @property
    def ledger(self) -> Ledger | None: ...
    @property
    def samples(self) -> int | None: ...
    @property
    def fingerprint(self) -> str: ...
    def __call__(self, seed: Seed) -> AsyncIterator[Outcome]: ...


@dataclass(frozen=True)
class _Teaching:
    """What both directions have: whom they ask, and what shapes the question.

    `prompt` is the name of a prompt (pairsmith's own, or one of a folder `prompts` in the working folder) or one that
    is loaded; `exemplars` are worked examples, (input, output) each. `system` is what the tuned model will be told.
    Raises PromptError for a prompt that does not fit, UsageError for a value that is not legal.
    """

    ledger: Ledger
    style: str
    _: KW_ONLY
    prompt: Prompt | str
    exemplars: Sequence[Exemplar | tuple[str, str]] = ()
    system: str = _TASK["system"].default
    language: str = _TASK["language"].default
    sampling: Sampling

    def __post_init__(self) -> None:
        _ = self.settings, self.render  # what is wrong with a prompt or a value is said before a teacher is asked

    @cached_property
    def task(self) -> TaskSettings:
        shared = {"style": self.style, "system": self.system, "language": self.language}
        return given(TaskSettings, type(self).__name__, name="task", **shared)

    @cached_property
    def shown(self) -> tuple[Exemplar, ...]:
        """The exemplars as the prompt sees them."""
        return tuple(e if isinstance(e, Exemplar) else Exemplar(input=e[0], output=e[1]) for e in self.exemplars)

    @cached_property
    def template(self) -> Prompt:
        return load(self.prompt, Path()) if isinstance(self.prompt, str) else self.prompt

    @property
    def settings(self) -> ForwardSettings | BackwardSettings:
        raise NotImplementedError

    @property
    def render(self) -> Callable[..., Messages]:
        raise NotImplementedError

    def _outcome(self, name: Name, seed: Seed, sample: int, answer: Completion | FailedSample, **meta: str) -> Outcome:
        """The pair of the seed and the cleaned answer, on the sides that belong to them."""
        slot = Slot(self.fingerprint, seed.id, name, sample)
        if isinstance(answer, FailedSample):
            return Outcome(slot.failed(Reason.read(answer.reason)), None)
        texts = (seed.text or "", clean(answer.text))
        input, output = texts if name == "forward" else texts[::-1]
        origin = Generated(
            generator=name,
            prompt=self.template.ref,
            teacher=self.ledger.identity,
            sampling=self.sampling,
            calls=((answer.key, answer.attempt),),
        )
        pair = Pair(seed_id=seed.id, input=input, output=output, system=self.system, origin=origin, meta=meta)
        return Outcome(slot.filled(pair), pair)

    @cached_property
    def fingerprint(self) -> str:
        name: Name = "forward" if isinstance(self.settings, ForwardSettings) else "backward"
        return fingerprint(name, self.task, self.shown, self.settings, self.template, self.ledger.teacher)

    @classmethod
    def _shared(cls, project: Project, ledger: Ledger, settings: ForwardSettings | BackwardSettings) -> dict[str, Any]:
        task = project.spec.task
        return {
            "ledger": ledger,
            "style": task.style,
            "prompt": load(settings.prompt, project.folder),
            "exemplars": project.spec.exemplars,
            "system": task.system,
            "language": task.language,
            "sampling": settings.sampling,
        }


@dataclass(frozen=True)
class Forward(_Teaching):
    """`n` candidates of each input seed, asked for in one request.

    `prompt` must use the variable input, and may use style, exemplars, system and language. A JSON schema in the
    prompt file binds the answers.
    """

    name: ClassVar[Name] = "forward"
    takes: ClassVar[Literal["input", "output"]] = "input"
    n: int = _FORWARD.n
    _: KW_ONLY
    prompt: Prompt | str = _FORWARD.prompt
    sampling: Sampling = _FORWARD.sampling

    @classmethod
    def of(cls, project: Project, ledger: Ledger) -> Forward:
        """The one that the spec means."""
        settings = project.spec.generate.forward
        return cls(**cls._shared(project, ledger, settings), n=settings.n)

    @property
    def samples(self) -> int:
        return self.n

    @cached_property
    def settings(self) -> ForwardSettings:
        return given(ForwardSettings, "Forward", n=self.n, sampling=self.sampling)

    @cached_property
    def render(self) -> Callable[..., Messages]:
        return rendering(self.template, self.task, self.shown, {"input": _TWO_TEXTS})

    async def __call__(self, seed: Seed) -> AsyncIterator[Outcome]:
        chat = self.render(input=seed.text)
        answers = await self.ledger.complete(
            chat, self.sampling, self.n, self.template.schema, prompt=self.template.ref
        )
        for sample, answer in enumerate(answers):
            yield self._outcome("forward", seed, sample, answer)


@dataclass(frozen=True)
class Backward(_Teaching):
    """One simple version of each output seed at every level of `levels`, asked for at the same time.

    `prompt` must use the variable output, and level if there are several, and may use style, exemplars, system and
    language. Sample i of a seed is level i, which the pair names in `meta`.
    """

    name: ClassVar[Name] = "backward"
    takes: ClassVar[Literal["input", "output"]] = "output"
    levels: tuple[str, ...] = _BACKWARD.levels
    _: KW_ONLY
    prompt: Prompt | str = _BACKWARD.prompt
    sampling: Sampling = _BACKWARD.sampling

    @classmethod
    def of(cls, project: Project, ledger: Ledger) -> Backward:
        """The one that the spec means."""
        settings = project.spec.generate.backward
        return cls(**cls._shared(project, ledger, settings), levels=settings.levels)

    @property
    def samples(self) -> int:
        return len(self.levels)

    @cached_property
    def settings(self) -> BackwardSettings:
        return given(BackwardSettings, "Backward", levels=self.levels, sampling=self.sampling)

    @cached_property
    def render(self) -> Callable[..., Messages]:
        return rendering(self.template, self.task, self.shown, {"output": _TWO_TEXTS, "level": self.levels})

    async def __call__(self, seed: Seed) -> AsyncIterator[Outcome]:
        chats = [self.render(output=seed.text, level=level) for level in self.levels]
        schema = self.template.schema
        ref = self.template.ref
        asked = [
            asyncio.create_task(self.ledger.complete(chat, self.sampling, schema=schema, prompt=ref)) for chat in chats
        ]
        try:
            for sample, (level, answers) in enumerate(zip(self.levels, asked, strict=True)):
                (answer,) = await answers
                yield self._outcome("backward", seed, sample, answer, level=level)
        except asyncio.CancelledError:
            for answers in asked:
                answers.cancel()
            raise
        finally:
            # After an error in one level the answers on their way for the others are still worth having.
            await asyncio.gather(*asked, return_exceptions=True)


def generators_of(project: Project, ledger: Ledger) -> list[Generator]:
    """The generators that the spec enables. Raises PromptError."""
    ways: dict[type[Forward] | type[Backward], bool] = {
        Forward: project.spec.generate.forward.enabled,
        Backward: project.spec.generate.backward.enabled,
    }
    return [way.of(project, ledger) for way, enabled in ways.items() if enabled]


def fingerprint(
    generator: Name,
    task: TaskSettings,
    exemplars: Sequence[Exemplar],
    settings: ForwardSettings | BackwardSettings,
    prompt: Prompt,
    teacher: TeacherSettings,
) -> str:
    """`Candidate.fingerprint`: a hash of all that shapes a generator's pairs.

    In it: the prompt's name and content, style, system prompt, language, exemplars, sampling, levels, teacher and
    revision. Not in it: `n`, so that asking for more candidates keeps those there are, and address, concurrency,
    timeouts, retries.
    """
    shapes = [
        prompt.ref,
        [task.style, task.system, task.language],
        [[e.input, e.output] for e in exemplars],
        identity(settings.sampling),
        list(settings.levels) if isinstance(settings, BackwardSettings) else None,
        [teacher.identity or teacher.model, teacher.revision],
    ]
    return content_id("scope", [generator, shapes])


def fingerprints(project: Project, teacher: TeacherSettings) -> dict[str, str]:
    """generator -> the fingerprint of its candidates under the present spec, for each that is enabled. Asks nobody.

    `teacher` is the spec's with its revision. Raises PromptError.
    """
    spec = project.spec
    ways: dict[Name, ForwardSettings | BackwardSettings] = {
        "forward": spec.generate.forward,
        "backward": spec.generate.backward,
    }
    return {
        name: fingerprint(name, spec.task, spec.exemplars, way, load(way.prompt, project.folder), teacher)
        for name, way in ways.items()
        if way.enabled
    }


_TWO_TEXTS = ("A heron stands in the shallow water.", "Seven red kites over the old harbour.")


def rendering(
    prompt: Prompt, task: TaskSettings, exemplars: Sequence[Exemplar], varying: Mapping[str, Sequence[str]]
) -> Callable[..., Messages]:
    """`prompt.render` for what changes from seed to seed; the rest is given once.

    `varying` holds some values of each such variable. Raises PromptError for a prompt that asks for what generation
    does not have, or that is the same whatever one of them says: everything would get the same answers.
    """
    known = {"style": task.style, "exemplars": exemplars, "system": task.system, "language": task.language}
    for name in prompt.variables:
        if name not in known and name not in varying and name not in map(OLD_NAMES.get, varying):
            raise PromptError(
                f"asks for the variable '{name}', which generation does not have.",
                where=str(prompt.path),
                fix=f"It may use: {', '.join(sorted({*known, *varying}))}.",
            )
    given = prompt.given(**{name: value for name, value in known.items() if name in prompt.variables})
    used = [name for name in varying if prompt.takes(name)]

    def render(**values: str) -> Messages:
        return given(**{name: values[name] for name in used})

    for name, values in varying.items():
        if not _tells_apart(
            prompt, render, {other: some[0] for other, some in varying.items() if some}, name, set(values)
        ):
            raise PromptError(
                f"says the same whatever '{name}' is.",
                where=str(prompt.path),
                why=f"Every {'seed' if name != 'level' else 'level of a seed'} would be asked the same question, "
                "and get the same answers.",
                fix=f"Declare {name} in [variables] and write {{{{ {name} }}}} where it belongs.",
            )
    return render


def _tells_apart(
    prompt: Prompt, render: Callable[..., Messages], values: Mapping[str, str], name: str, some: set[str]
) -> bool:
    """Whether the prompt is another one for each of `some` values of the variable."""
    if len(some) < 2:
        return True
    if not any({name, OLD_NAMES.get(name)} & turn.uses for turn in prompt.turns):
        return False
    try:
        return len({render(**{**values, name: value}) for value in some}) == len(some)
    except PromptError:
        return True  # it takes the text apart in a way that ours does not fit; a real one will tell
