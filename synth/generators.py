"""Generators, which turn a seed into pairs: forward (input to candidates) and backward (excellent output to inputs).

Backward follows Prompt Expansion (Datta et al. 2023, arXiv:2312.16720): excellent outputs are shortened at several
levels of abstraction, so that the student sees inputs from terse to detailed for the same target.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from prompts import OLD_NAMES, Prompt, load
from prompts.answer_form import ANY_TEXT, AnswerForm
from prompts.languages import language_name
from schemas.errors import PromptError, checked_text, several, several_texts
from schemas.identity import construct
from schemas.project import Project
from schemas.records import Direction, Generated, Json, Messages, Pair, Reason, Sampling, Seed, content_id, identity
from schemas.spec import BackwardSettings, Exemplar, ForwardSettings, Spec, TaskSettings, TeacherSettings, given
from synth.answers import clean
from synth.imports import Import
from synth.ledger import Completion, FailedSample, Ledger, Question
from synth.slots import Kind, Name, Outcome, Slot

_TASK, _FORWARD, _BACKWARD = TaskSettings.model_fields, ForwardSettings(), BackwardSettings()


class Generator(Protocol):
    """Called with a seed of a kind in `takes`, returns the outcome of each of its `samples` slots, in any order.

    `samples` is None if the number is known only after the call; `ledger` is None if no teacher is involved.
    `fingerprint` identifies everything that shapes its pairs.
    """

    takes: ClassVar[tuple[Kind, ...]]

    @property
    def name(self) -> Name: ...
    @property
    def ledger(self) -> Ledger | None: ...
    @property
    def samples(self) -> int | None: ...
    @property
    def fingerprint(self) -> str: ...
    async def __call__(self, seed: Seed) -> list[Outcome]: ...


class Redaction(NamedTuple):
    """What to redact from a teacher's answers: `kinds`, and `of`, which returns a redacted text and the kinds found."""

    kinds: tuple[str, ...] = ()
    of: Callable[[str], tuple[str, list[str]]] = lambda text: (text, [])


NO_REDACTION = Redaction()


@dataclass(frozen=True)
class _TeacherGenerator:
    """What `Forward`, which describes the fields, and `Backward` share."""

    name: ClassVar[Direction]
    takes: ClassVar[tuple[Kind, ...]]
    ledger: Ledger | None
    style: str
    _: KW_ONLY
    prompt: Prompt | str
    exemplars: Sequence[Exemplar | tuple[str, str] | Mapping[str, str]] = ()
    system: str = _TASK["system"].default
    language: str = _TASK["language"].default
    columns: Sequence[str] = ()
    output_language: str | None = None
    form: AnswerForm = ANY_TEXT
    redaction: Redaction = NO_REDACTION
    sampling: Sampling

    def __post_init__(self) -> None:
        self.__dict__["columns"] = several_texts(self.columns, "columns")
        valid = self.settings  # reports an invalid value before any request; a dict of sampling settings is one
        self.__dict__.update(
            {name: getattr(valid, name) for name in ("sampling", "n", "levels") if hasattr(self, name)}
        )
        _ = self.render  # reports an invalid prompt

    @cached_property
    def task(self) -> TaskSettings:
        shared = {"style": self.style, "system": self.system, "language": self.language}
        task = given(TaskSettings, type(self).__name__, name="task", **shared)
        return task.model_copy(update={"to": self.output_language})

    @cached_property
    def shown(self) -> tuple[Exemplar, ...]:
        """The exemplars as passed to the prompt."""
        listed = several(self.exemplars, "exemplars", "worked examples", "Write [(input, output)].")
        return tuple(map(Exemplar.of, listed))

    @cached_property
    def template(self) -> Prompt:
        return self.prompt if isinstance(self.prompt, Prompt) else load(checked_text(self.prompt, "prompt"), Path())

    @property
    def settings(self) -> ForwardSettings | BackwardSettings:
        raise NotImplementedError

    @property
    def render(self) -> Callable[..., Messages]:
        raise NotImplementedError

    def questions(self, seed: Seed) -> list[tuple[Question, int]]:
        """The questions for the teacher about a seed, each with its number of samples."""
        raise NotImplementedError

    def outcome(self, seed: Seed, sample: int, answer: Completion | FailedSample, **meta: Any) -> Outcome:
        """The pair of the seed and the cleaned, redacted answer, each on its proper side. `meta["redacted"]` lists the
        kinds that were redacted."""
        slot = Slot(self.fingerprint, seed.id, self.name, sample)
        if isinstance(answer, FailedSample):
            return Outcome(slot.failed(Reason.read(answer.reason)), None)
        text, seed_text = clean(answer.text), seed.text or ""
        text, kinds = self.redaction.of(self.form.canonical(text) if "input" in self.takes else text)
        input, output = (seed_text, text) if "input" in self.takes else (text, self.form.canonical(seed_text))
        meta |= {"redacted": kinds} if kinds else {}
        fields, hashed_fields = self._origin
        calls = {"calls": ((answer.key, answer.attempt),)}
        texts = {"input": input, "output": output, "system": self.system, "columns": seed.columns}
        origin = construct(Generated, {**fields, **calls}, _identity={**hashed_fields, **calls})
        pair = construct(Pair, {"seed_id": seed.id, "origin": origin, "meta": meta, **texts})
        return Outcome(slot.filled(pair), pair)

    @cached_property
    def _origin(self) -> tuple[Json, Json]:
        """The fields that the origins of all pairs share, as stored and as hashed into ids."""
        origin: Json = {"by": "generated", "generator": self.name, "prompt": self._ref, "teacher": self.asked.identity}
        origin["sampling"] = self.sampling
        return origin, identity(construct(Generated, {**origin, "calls": ()}))

    @property
    def asked(self) -> Ledger:
        assert self.ledger is not None, "sending requires a ledger"
        return self.ledger

    @cached_property
    def _ref(self) -> str:
        return self.template.ref

    @cached_property
    def fingerprint(self) -> str:
        teacher = self.asked.teacher
        parts = self.name, self.task, self.shown, self.settings, self.template, teacher, self.form
        return fingerprint(*parts, self.redaction.kinds)

    @classmethod
    def _common_arguments(
        cls, project: Project, ledger: Ledger | None, settings: ForwardSettings | BackwardSettings, redaction: Redaction
    ) -> dict[str, Any]:
        task = project.spec.task
        return {
            "ledger": ledger,
            "style": task.style,
            "prompt": load(settings.prompt, project.folder),
            "exemplars": project.spec.exemplars,
            "system": task.system,
            "language": task.language,
            "output_language": task.to,
            "form": AnswerForm.of(task, project.folder),
            "redaction": redaction,
            "sampling": settings.sampling,
            "columns": columns_of(project.spec, cls.takes),
        }


@dataclass(frozen=True)
class Forward(_TeacherGenerator):
    """Generates `n` candidates of each input seed in one request.

    `ledger` is what `teacher` yields (None: questions are only built, not sent). `prompt` is a loaded prompt or the
    name of one (pairsmith's own, or from a folder `prompts` in the working folder); it must use the variable `input`,
    and may use those of docs/prompts.md and the `columns` that every seed has. `exemplars` are worked examples, (input,
    output) each. `system` is the tuned model's system prompt. `output_language` is set if it differs from `language`,
    that of the inputs. Answers must conform to the JSON schema in the prompt file, or without one to `form`;
    `redaction` is applied to them.

    Raises PromptError for a prompt that does not fit, UsageError for an invalid value.
    """

    name: ClassVar[Direction] = "forward"
    takes: ClassVar[tuple[Kind, ...]] = ("input",)
    n: int = _FORWARD.n
    _: KW_ONLY
    prompt: Prompt | str = _FORWARD.prompt
    sampling: Sampling = _FORWARD.sampling

    @classmethod
    def of(cls, project: Project, ledger: Ledger | None, redaction: Redaction = NO_REDACTION) -> Forward:
        """The forward generator that the spec configures."""
        settings: ForwardSettings = getattr(project.spec.generate, cls.name)  # of a subclass: see CONTRIBUTING
        return cls(**cls._common_arguments(project, ledger, settings, redaction), n=settings.n)

    @property
    def samples(self) -> int:
        return self.n

    @cached_property
    def settings(self) -> ForwardSettings:
        return given(ForwardSettings, "Forward", n=self.n, sampling=self.sampling)

    @cached_property
    def render(self) -> Callable[..., Messages]:
        return rendering(self.template, self.task, self.shown, {"input": _SAMPLE_TEXTS}, self.form, self.columns)

    def questions(self, seed: Seed) -> list[tuple[Question, int]]:
        chat = self.render(input=seed.text, **seed.columns)
        schema = self.template.schema
        binding = schema is not None or self.form.binds
        refused = self.form.refused if self.form.model is not None and schema is None else None
        return [(Question(chat, self.sampling, schema or self.form.asked, binding, self._ref, refused), self.n)]

    async def __call__(self, seed: Seed) -> list[Outcome]:
        answers = await self.asked.answer(*self.questions(seed)[0])
        return [self.outcome(seed, sample, answer) for sample, answer in enumerate(answers)]


@dataclass(frozen=True)
class Backward(_TeacherGenerator):
    """Generates a simple version of each output seed at every level of `levels`, requested concurrently.

    `prompt` must use the variable `output`, and `level` if there are several; the other fields are those of `Forward`.
    Sample i of a seed is level i, which the pair records in `meta`.
    """

    name: ClassVar[Direction] = "backward"
    takes: ClassVar[tuple[Kind, ...]] = ("output",)
    levels: tuple[str, ...] = _BACKWARD.levels
    _: KW_ONLY
    prompt: Prompt | str = _BACKWARD.prompt
    sampling: Sampling = _BACKWARD.sampling

    @classmethod
    def of(cls, project: Project, ledger: Ledger | None, redaction: Redaction = NO_REDACTION) -> Backward:
        """The backward generator that the spec configures."""
        settings = project.spec.generate.backward
        return cls(**cls._common_arguments(project, ledger, settings, redaction), levels=settings.levels)

    @property
    def samples(self) -> int:
        return len(self.levels)

    @cached_property
    def settings(self) -> BackwardSettings:
        return given(BackwardSettings, "Backward", levels=self.levels, sampling=self.sampling)

    @cached_property
    def render(self) -> Callable[..., Messages]:
        varying = {"output": _SAMPLE_TEXTS, "level": self.levels}
        return rendering(self.template, self.task, self.shown, varying, self.form, self.columns)

    def questions(self, seed: Seed) -> list[tuple[Question, int]]:
        chats = (self.render(output=seed.text, level=level, **seed.columns) for level in self.levels)
        return [(Question(chat, self.sampling, self.template.schema, True, self._ref), 1) for chat in chats]

    async def __call__(self, seed: Seed) -> list[Outcome]:
        requests = [asyncio.create_task(self.asked.answer(*question)) for question in self.questions(seed)]
        try:
            await asyncio.wait(requests, return_when=asyncio.FIRST_EXCEPTION)
            if errors := [error for one in requests if one.done() and (error := one.exception())]:
                self.asked.drain()  # it ends the run: the other levels must not be paid for first
                raise errors[0]
            return [
                self.outcome(seed, sample, *request.result(), level=level)
                for sample, (level, request) in enumerate(zip(self.levels, requests, strict=True))
            ]
        except asyncio.CancelledError:
            for request in requests:
                request.cancel()
            raise
        finally:
            # After an error in one level, the answers in flight for the other levels are still worth keeping.
            await asyncio.gather(*requests, return_exceptions=True)


def columns_of(spec: Spec, kinds: Sequence[Kind]) -> tuple[str, ...]:
    """The extra columns that every source of these kinds has."""
    sources = [set(source.extra) for source in spec.seeds if source.kind in kinds]
    return tuple(sorted(set.intersection(*sources))) if sources else ()


# The generator class of each direction that the spec can enable.
GENERATOR_CLASSES: dict[Direction, type[Forward] | type[Backward]] = {
    "forward": Forward,
    "backward": Backward,
}


def enabled_generators(
    project: Project, ledgers: Mapping[Direction, Ledger], redaction: Redaction = NO_REDACTION
) -> list[Generator]:
    """The generators that the spec enables, each with the ledger of its direction; a direction without a ledger is
    left out. Raises PromptError."""
    enabled = [name for name in project.spec.generate.directions if name in ledgers]
    teacher_generators = (GENERATOR_CLASSES[name].of(project, ledgers[name], redaction) for name in enabled)
    return [*teacher_generators, *import_generators(project)]


def import_generators(project: Project) -> tuple[Import, ...]:
    """The generator for pairs that the spec's sources contain, if any source does. Raises SpecError."""
    task = project.spec.task
    has_any = any(source.imported for source in project.spec.seeds)
    return (Import(task.system, AnswerForm.of(task, project.folder)),) if has_any else ()


def fingerprint(
    generator: Name,
    task: TaskSettings,
    exemplars: Sequence[Exemplar],
    settings: ForwardSettings | BackwardSettings,
    prompt: Prompt,
    teacher: TeacherSettings,
    form: AnswerForm = ANY_TEXT,
    redacts: Sequence[str] = (),
) -> str:
    """`Candidate.fingerprint`: a hash of everything that shapes a generator's pairs.

    Included: the prompt's name and content, style, system prompt, languages, the form of an answer, exemplars,
    sampling, levels, teacher and revision, and what is redacted. Not included: `n`, so that a higher number keeps the
    existing candidates, and address, concurrency, timeouts and retries.
    """
    parts: list[Any] = [
        prompt.ref,
        [task.style, task.system, task.language],
        [[e.input, e.output] for e in exemplars],
        identity(settings.sampling),
        list(settings.levels) if isinstance(settings, BackwardSettings) else None,
        [teacher.known_as, teacher.revision],
    ]
    if task.to or form != ANY_TEXT:
        parts.append([task.to, list(form.labels.items()), form.schema])
    if redacts:
        parts.append({"redacted": sorted(redacts)})
    return content_id("scope", [generator, parts])


def fingerprints(project: Project, teachers: Mapping[Direction, TeacherSettings]) -> dict[str, str]:
    """The fingerprint of each enabled generator's candidates under the current spec, by generator name. Sends nothing.

    `teachers` are the spec's teachers by direction, with their revisions. Raises PromptError, and SpecError for a
    schema that cannot be read.
    """
    spec, form = project.spec, AnswerForm.of(project.spec.task, project.folder)
    rest = form, spec.personal.kinds("redact")
    directions: dict[str, str] = {
        name: fingerprint(name, spec.task, spec.exemplars, way, load(way.prompt, project.folder), teachers[name], *rest)
        for name, way in spec.generate.directions.items()
        if name in teachers
    }
    return {**directions, **{imports.name: imports.fingerprint for imports in import_generators(project)}}


_SAMPLE_TEXTS = ("A heron stands in the shallow water.", "Seven red kites over the old harbour.")


def rendering(
    prompt: Prompt,
    task: TaskSettings,
    exemplars: Sequence[Exemplar],
    varying: Mapping[str, Sequence[str]],
    form: AnswerForm = ANY_TEXT,
    columns: Sequence[str] = (),
) -> Callable[..., Messages]:
    """`prompt.render` with only the per-seed variables left to pass. Bound here are style, exemplars, system, language
    (two letters), input_language and output_language (English names), labels and schema (empty for other tasks).

    `varying` maps each per-seed variable to some sample values; `columns` are optional further ones. Raises PromptError
    for a prompt that uses an unavailable variable, or that does not change with one of `varying`: all seeds would get
    the same answers.
    """
    known: dict[str, Any] = {
        "style": task.style,
        "exemplars": [e.model_copy(update={"output": form.canonical(e.output)}) for e in exemplars],
        "system": task.system,
        "language": task.language,
        "input_language": language_name(task.language),
        "output_language": language_name(task.output_language),
        "labels": form.labels,
        "schema": "" if form.schema is None else json.dumps(form.schema, ensure_ascii=False),
    }
    for name in prompt.variables:
        if name not in {*known, *varying, *columns} and name not in map(OLD_NAMES.get, varying):
            raise PromptError(
                f"uses the variable '{name}', which generation does not provide.",
                where=str(prompt.path),
                fix=f"It may use: {', '.join(sorted({*known, *varying, *columns}))}. Another column of the seeds "
                f'is available once every source lists it: columns = {{ {name} = "..." }}.',
            )
    bound = prompt.given(**{name: value for name, value in known.items() if name in prompt.variables})
    used = [name for name in (*varying, *columns) if prompt.takes(name)]

    def render(**values: str) -> Messages:
        return bound(**{name: values[name] for name in used})

    examples = {name: values[0] for name, values in varying.items() if values}
    for name, values in varying.items():
        if not _varies(prompt, render, {**examples, **dict.fromkeys(columns, _SAMPLE_TEXTS[0])}, name, set(values)):
            raise PromptError(
                f"is the same for every value of '{name}'.",
                where=str(prompt.path),
                why=f"Every {'seed' if name != 'level' else 'level of a seed'} would lead to the same question "
                "and the same answers.",
                fix=f"Declare {name} in [variables] and write {{{{ {name} }}}} where it belongs.",
            )
    return render


def _varies(
    prompt: Prompt, render: Callable[..., Messages], values: Mapping[str, str], name: str, samples: set[str]
) -> bool:
    """Whether the rendered prompt differs for each of these values of the variable."""
    if len(samples) < 2:
        return True
    if not any({name, OLD_NAMES.get(name)} & turn.uses for turn in prompt.turns):
        return False
    try:
        return len({render(**{**values, name: value}) for value in samples}) == len(samples)
    except PromptError:
        return True  # the template parses the text in a way that the sample does not fit; real values will show
