"""The plan of an evaluation: its systems, which model each one asks, with which messages, and how it is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import prompts
from curate.gates import GateStep
from curate.split import groups_of
from prompts import Prompt
from prompts.answer_form import ANY_TEXT, AnswerForm
from schemas.project import Project
from schemas.records import Json, Message, Messages, Sampling, Seed, content_id, identity
from schemas.spec import Exemplar, Spec, TeacherSettings
from synth.generators import columns_of, rendering
from train.checks import Checks
from train.metrics import TUNED, Decoding, Mode
from train.results import TrainResult
from train.retrieval import Nearest

Chat = Callable[[Seed], Messages]
ASK_TIMEOUT_S = 1800.0
# What of `[evaluate]` changes no number of an evaluation; that vLLM serves stands in the models' revisions.
_NO_PART = frozenset({"concurrency", "resamples", "ship_at", "vllm", "vllm_python", "vllm_args"})
_PROBES = 4
RETRIEVED = 5
"""Rows that retrieval shows where the spec has no exemplars; else as many as those."""


class Vllm(NamedTuple):
    """A vLLM of our own: its Python (None: one that is made for it), and further arguments."""

    python: str | None
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class LocalModel:
    """A model that is served on this machine while it is asked: a folder (None: the embedded one), the adapter that is
    on, if any, and the constants of its chat template. `is_merged`: the folder holds the tuned model itself. `vllm`:
    what serves it where it is measured; the embedded server where it is None. `runs_code`: that which comes with it."""

    folder: Path | None
    adapter: Path | None = None
    template_arguments: tuple[tuple[str, Any], ...] = ()
    is_merged: bool = False
    vllm: Vllm | None = None
    runs_code: bool = False


class Model(NamedTuple):
    """A model as the ledger knows it (`settings`), and where it runs; `local` None: at the address in `settings`."""

    settings: TeacherSettings
    local: LocalModel | None = None


class Models(NamedTuple):
    """The models of an evaluation; `teacher` None: no teacher is measured."""

    base: Model
    tuned: Model
    teacher: TeacherSettings | None


@dataclass(frozen=True)
class System:
    """One system. `names` has all names that turned out to mean it.

    `decoding` says whose settings `sampled` and `greedy` are. `schema` and `binding` are as in generation.
    """

    names: tuple[str, ...]
    model: Model
    exemplars: int
    messages: Chat
    decoding: Decoding
    sampled: Sampling
    greedy: Sampling
    schema: Json | None = None
    binding: bool = True

    @property
    def name(self) -> str:
        return self.names[0]

    def sampling(self, mode: Mode, seed: Seed) -> Sampling:
        """The sampling of this input's answers. Under the evaluation's decoding every input has random numbers of its
        own; generation's is left as it is, so that an answer bought there is found again."""
        chosen = self.sampled if mode == "sampled" else self.greedy
        return chosen if self.decoding == "generation" else for_input(chosen, seed)

    def key(self, seeds: Sequence[Seed]) -> str:
        """Names what makes two systems the same: model, revision, every message for every seed, and the decoding. The
        random seed is no part of it: it changes which answers are drawn and not how good they are."""
        settings = self.model.settings
        asked = [[message.model_dump() for message in self.messages(seed)] for seed in seeds]
        bodies = (sampling.body() for sampling in (self.sampled, self.greedy))
        decodings = [{name: value for name, value in body.items() if name != "seed"} for body in bodies]
        return content_id(
            "system", [settings.identity or settings.model, settings.revision, asked, decodings, self.schema]
        )


@dataclass(frozen=True)
class EvaluationPlan:
    """The systems, the inputs and the checks of an evaluation. `probes` are scored with the adapter on and off; they
    are taken from `learned`, what it was trained on. `validation` are inputs whose answers are looked at to decide what
    to do next; they are no part of the proof.

    Answers are read by `form` before they are checked: who was asked for `{"label": "x"}` is not judged by brackets.
    `judging` names what judges would say of them (`curate.judge.judging`); empty where nobody judges. `detail_gates`
    find what an answer has made up (train/invented.py).
    """

    spec: Spec
    trained: TrainResult
    seeds: tuple[Seed, ...]
    systems: tuple[System, ...]
    checks: Checks
    form: AnswerForm = ANY_TEXT
    judging: str = ""
    validation: tuple[Seed, ...] = ()
    learned: tuple[Exemplar, ...] = ()
    detail_gates: tuple[GateStep, ...] = ()

    @cached_property
    def references(self) -> dict[str, str]:
        """Seed id -> the output that a person gave, in the form of the task, where there is one."""
        given = ((seed.id, self.reference_of(seed)) for seed in self.seeds)
        return {id_: reference for id_, reference in given if reference is not None}

    @cached_property
    def groups(self) -> dict[str, str]:
        """Seed id -> what it belongs to, of the inputs that are not alone in that."""
        return groups_of(self.seeds)

    @property
    def void(self) -> dict[str, str]:
        """Seed id -> why nothing matches its reference, of those that are no answer to the task."""
        return {id_: self.checks.void[text] for id_, text in self.references.items() if text in self.checks.void}

    def reference_of(self, seed: Seed) -> str | None:
        """The output that a person gave to the seed, in the form of the task."""
        return None if seed.reference is None else self.form.canonical(seed.reference)

    @cached_property
    def id(self) -> str:
        """Names everything that could change a number of the evaluation, messages included."""
        asked = [system.key(self.seeds) for system in self.systems]
        settings = {k: v for k, v in identity(self.spec.evaluate).items() if k not in _NO_PART}
        judged = [self.checks.fingerprint, settings, self.spec.train.seed, *filter(None, [self.judging])]
        if self.form.schema is not None and self.references:
            judged.append("an object without a value as absent")
        if self.groups:
            judged.append(content_id("groups", sorted(self.groups.items())))
        return content_id("evaluation", [self.trained.adapter_id, test_set_hash(self.seeds), asked, *judged])

    @property
    def answers_per_system(self) -> int:
        return len(self.seeds) * (self.spec.evaluate.samples + 1)

    @property
    def probes(self) -> list[tuple[Seed, str]]:
        """Questions with an answer each: the shortest rows that the adapter learned from, which it moves most and which
        every context holds, else exemplars, else the style as the answer to a test input."""
        known = sorted(self.learned or self.spec.exemplars, key=lambda row: len(row.input) + len(row.output))
        shown = known[:_PROBES]
        rows = [(Seed(kind="input", text=row.input, source="probe"), row.output) for row in shown]
        return rows or [(self.seeds[0], self.spec.task.style)]


def test_set_hash(seeds: Sequence[Seed]) -> str:
    """The name of a set of seeds, whatever their order."""
    return content_id("test_set", sorted(seed.id for seed in seeds))


def systems_of(
    project: Project, seeds: Sequence[Seed], models: Models, rows: Sequence[Exemplar] = ()
) -> tuple[System, ...]:
    """The systems in the order of the report, those that are the same merged into one; the tuned one is the last.

    base: the untuned model with the full style in its system prompt. few-shot: the same with the spec's exemplars.
    retrieval: as many of `rows`, what the tuned model was trained on, those nearest to each input; none without rows.
    teacher: the spec's teacher as it generates, with generation's messages, decoding, schema and attempts. tuned: the
    adapter with `task.system` and nothing else. All but the teacher are decoded as `evaluate.sampling` says.
    """
    spec = project.spec
    prompt = prompts.load(spec.generate.forward.prompt, project.folder)
    form = AnswerForm.of(spec.task, project.folder)
    shown = spec.exemplars if "exemplars" in prompt.variables else ()
    sampled, greedy = decodings(spec)

    def as_evaluated(name: str, model: Model, exemplars: int, messages: Chat) -> System:
        return System((name,), model, exemplars, messages, "evaluation", sampled, greedy)

    systems = [
        as_evaluated("base", models.base, 0, _asking(prompt, spec, (), form)),
        as_evaluated("few-shot", models.base, len(shown), _asking(prompt, spec, shown, form)),
        *_retrieval(as_evaluated, models.base, seeds, rows, len(shown) or RETRIEVED, (prompt, spec, form)),
        *([] if models.teacher is None else [_teacher(spec, prompt, models.base, models.teacher, form)]),
        as_evaluated(TUNED, models.tuned, 0, _tuned(spec)),
    ]
    merged: dict[str, System] = {}
    for system in systems:
        same = merged.get(key := system.key(seeds))
        merged[key] = system if same is None else replace(same, names=(*same.names, *system.names))
    return tuple(merged.values())


def _retrieval(
    as_evaluated: Callable[[str, Model, int, Chat], System],
    base: Model,
    seeds: Sequence[Seed],
    rows: Sequence[Exemplar],
    count: int,
    asking: tuple[Prompt, Spec, AnswerForm],
) -> list[System]:
    """The base told the rows nearest to each input, the nearest last, where the question follows; of rows with one
    text, such as the levels of a backward seed, the nearest alone. Labels are one text in many rows."""
    prompt, spec, form = asking
    if not rows or "exemplars" not in prompt.variables:
        return []
    nearest = Nearest([row.input for row in rows], [seed.asked for seed in seeds])

    @cache
    def chat_of(asked: str) -> Chat:
        chosen: dict[str, Exemplar] = {}
        for at in nearest.order(asked):
            if len(chosen) == count:
                break
            chosen.setdefault(rows[at].input if form.labels else rows[at].output, rows[at])
        return _asking(prompt, spec, [*chosen.values()][::-1], form)

    return [as_evaluated("retrieval", base, min(count, len(rows)), lambda seed: chat_of(seed.asked)(seed))]


def _teacher(spec: Spec, prompt: Prompt, base: Model, settings: TeacherSettings, form: AnswerForm) -> System:
    is_base = settings.url == "embedded" and (settings.model, settings.revision) == (
        base.settings.model,
        base.settings.revision,
    )
    sampling = spec.generate.forward.sampling
    return System(
        names=("teacher",),
        model=Model(settings, base.local if is_base else None),
        exemplars=len(spec.exemplars) if "exemplars" in prompt.variables else 0,
        messages=_asking(prompt, spec, spec.exemplars, form),
        decoding="generation",
        sampled=sampling,
        # A model that takes no temperature has one way of drawing.
        greedy=sampling if sampling.temperature is None and settings.url != "embedded" else without_chance(sampling),
        schema=prompt.schema or form.asked,
        binding=prompt.schema is not None or form.binds,
    )


def _asking(prompt: Prompt, spec: Spec, exemplars: Sequence[Exemplar], form: AnswerForm) -> Chat:
    columns = columns_of(spec, ("input", "pair", "conversation"))
    render = rendering(prompt, spec.task, exemplars, {"input": ()}, form, columns)

    def messages(seed: Seed) -> Messages:
        """The prompt about the last turn, behind the earlier turns; a system prompt of the seed's own is added to its
        first message."""
        first, *rest = render(input=seed.body, **seed.columns)
        if seed.system:
            first = first.model_copy(update={"content": f"{first.content}\n\n{seed.system}"})
        chat = [first, *rest]
        return (*chat[:-1], *seed.turns, chat[-1])

    return messages


def _tuned(spec: Spec) -> Chat:
    def messages(seed: Seed) -> Messages:
        instruction = spec.task.system if seed.system is None else seed.system
        system = (Message(role="system", content=instruction),) if instruction else ()
        return (*system, *seed.turns, Message(role="user", content=seed.body))

    return messages


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
