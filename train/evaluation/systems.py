"""The plan of an evaluation: its systems, the model each one asks, the messages, and the decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import prompts
from curate.gates import GateStep
from curate.groups import groups_of
from prompts import Prompt
from prompts.answer_form import ANY_TEXT, AnswerForm
from schemas.identity import changed_copy
from schemas.project import Project
from schemas.records import Json, Message, Messages, Sampling, Seed, content_id, identity
from schemas.spec import Exemplar, Spec, TeacherSettings
from synth.generators import columns_of, rendering
from train.evaluation.checks import Checks
from train.evaluation.metrics import TUNED, Decoding, Mode
from train.evaluation.prompt_room import MessageBuilder, Room, as_many_as_fit
from train.evaluation.retrieval import LearnedRow, Nearest
from train.evaluation.shortened import Shortened
from train.results import TrainResult

ASK_TIMEOUT_S = 1800.0
# Keys of `[evaluate]` that do not affect any result; the use of vLLM is part of the models' revisions.
_KEYS_WITHOUT_EFFECT = frozenset({"concurrency", "resamples", "ship_at", "vllm", "vllm_python", "vllm_args"})
_PROBES = 4
RETRIEVED = 5
"""The number of rows that retrieval shows if the spec has no exemplars; otherwise it shows as many as those."""


class Vllm(NamedTuple):
    """Settings for a vLLM server started by pairsmith: its Python (None: a dedicated environment), and additional
    arguments."""

    python: str | None
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class LocalModel:
    """A model served on this machine: a folder (None: the embedded one), the active adapter, if any, and the constants
    of its chat template. `is_merged`: the folder holds the tuned model itself. `vllm`: serve it with vLLM during the
    evaluation; None means the embedded server. `runs_code`: the code shipped with the model may run."""

    folder: Path | None
    adapter: Path | None = None
    template_arguments: tuple[tuple[str, Any], ...] = ()
    is_merged: bool = False
    vllm: Vllm | None = None
    runs_code: bool = False


class Model(NamedTuple):
    """A model as the ledger identifies it (`settings`), and where it runs; `local` None: at the address in
    `settings`."""

    settings: TeacherSettings
    local: LocalModel | None = None


class Models(NamedTuple):
    """The models of an evaluation; `teacher` None: no teacher is measured."""

    base: Model
    tuned: Model
    teacher: TeacherSettings | None


@dataclass(frozen=True)
class System:
    """One system. `names` lists all names that turned out to mean the same system.

    `decoding` says whose settings `sampled` and `greedy` are. `schema` and `binding` are as in generation. `shortened`
    tells of prompts that have no room for all examples; if there is none for a single one, the base has it, and that
    system is left out.
    """

    names: tuple[str, ...]
    model: Model
    exemplars: int
    messages: MessageBuilder
    decoding: Decoding
    sampled: Sampling
    greedy: Sampling
    schema: Json | None = None
    binding: bool = True
    shortened: tuple[Shortened, ...] = ()

    @property
    def name(self) -> str:
        return self.names[0]

    def sampling(self, mode: Mode, seed: Seed, *, by_reference: bool = False) -> Sampling:
        """The sampling settings for this input. The evaluation's decoding gets a separate random seed per input
        (`by_reference` is as in `with_input_seed`); generation's is left unchanged, so that answers bought there are
        reused."""
        chosen = self.sampled if mode == "sampled" else self.greedy
        return chosen if self.decoding == "generation" else with_input_seed(chosen, seed, by_reference=by_reference)

    def key(self, seeds: Sequence[Seed]) -> str:
        """Identifies a system: model, revision, every message for every seed, and the decoding. The random seed is
        excluded, because it changes which answers are drawn and not how good they are."""
        settings = self.model.settings
        prompts_ = [[message.model_dump() for message in self.messages(seed)] for seed in seeds]
        bodies = (sampling.body() for sampling in (self.sampled, self.greedy))
        decodings = [{name: value for name, value in body.items() if name != "seed"} for body in bodies]
        return content_id("system", [settings.known_as, settings.revision, prompts_, decodings, self.schema])


@dataclass(frozen=True)
class EvaluationPlan:
    """The systems, the inputs and the checks of an evaluation. `probes` are texts scored with the adapter on and off;
    they come from `learned`, its training rows. `validation` are inputs whose answers help to decide what to do next;
    they are not part of the evidence.

    Answers are parsed by `form` before they are checked, so that a system that was asked for `{"label": "x"}` is not
    judged by its brackets. `judging` identifies the judges and their questions (`curate.scorers.judge.judging`); empty
    without judges. `detail_gates` detect invented details (train/evaluation/invented.py).
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
        """Seed id -> reference output written by a person, in the form of the task."""
        given = ((seed.id, self.reference_of(seed)) for seed in self.seeds)
        return {id_: reference for id_, reference in given if reference is not None}

    @cached_property
    def groups(self) -> dict[str, str]:
        """Seed id -> group, for the inputs that are not alone in their group."""
        return groups_of(self.seeds)

    @property
    def void(self) -> dict[str, str]:
        """Seed id -> why nothing matches its reference, for references that are not valid answers to the task."""
        return {id_: self.checks.void[text] for id_, text in self.references.items() if text in self.checks.void}

    def reference_of(self, seed: Seed) -> str | None:
        """The seed's reference output in the form of the task."""
        return None if seed.reference is None else self.form.canonical(seed.reference)

    @cached_property
    def id(self) -> str:
        """Identifies everything that could change a number of the evaluation, messages included."""
        keys = [system.key(self.seeds) for system in self.systems]
        settings = {k: v for k, v in identity(self.spec.evaluate).items() if k not in _KEYS_WITHOUT_EFFECT}
        judged = [self.checks.fingerprint, settings, self.spec.train.seed, *filter(None, [self.judging])]
        if self.form.schema is not None and self.references:
            judged.append("an object without a value as absent")
        if self.groups:
            judged.append(content_id("groups", sorted(self.groups.items())))
        return content_id("evaluation", [self.trained.adapter_id, test_set_hash(self.seeds), keys, *judged])

    @property
    def answers_id(self) -> str:
        """Identifies everything but the judges: the id of the same evaluation without any."""
        evaluate = self.spec.evaluate.model_copy(update={"judges": ()})
        return replace(self, spec=self.spec.model_copy(update={"evaluate": evaluate}), judging="").id

    @property
    def answers_per_system(self) -> int:
        return len(self.seeds) * (self.spec.evaluate.samples + 1)

    @property
    def probes(self) -> list[tuple[Seed, str]]:
        """Questions with one answer each: the shortest rows that the adapter learned from, which it affects most and
        which fit any context; otherwise exemplars, otherwise the style as the answer to a test input."""
        known = sorted(self.learned or self.spec.exemplars, key=lambda row: len(row.input) + len(row.output))
        rows = [(Seed(kind="input", text=row.input, source="probe"), row.output) for row in known[:_PROBES]]
        return rows or [(self.seeds[0], self.spec.task.style)]


def test_set_hash(seeds: Sequence[Seed]) -> str:
    """The id of a set of seeds, independent of their order."""
    return content_id("test_set", sorted(seed.id for seed in seeds))


def systems_of(
    project: Project, seeds: Sequence[Seed], models: Models, rows: Sequence[Exemplar] = (), room: Room | None = None
) -> tuple[System, ...]:
    """The systems in the order of the report, with identical ones merged; the tuned one is last.

    base: the untuned model with the full style in its system prompt. few-shot: the same with the spec's exemplars.
    retrieval: the same with as many of `rows`, the tuned model's training rows, as are nearest to each input; left out
    without rows. teacher: the spec's teacher as in generation, with generation's messages, decoding, schema and
    attempts. tuned: the adapter with `task.system` and nothing else. All but the teacher are decoded as
    `evaluate.sampling` says. few-shot and retrieval show as many examples as there is `room` for.
    """
    spec = project.spec
    prompt = prompts.load(spec.generate.forward.prompt, project.folder)
    form = AnswerForm.of(spec.task, project.folder)
    shown = spec.exemplars if "exemplars" in prompt.variables else ()
    sampled, greedy = decodings(spec)

    def as_evaluated(name: str, model: Model, messages: MessageBuilder) -> System:
        return System((name,), model, 0, messages, "evaluation", sampled, greedy)

    def with_examples(name: str, builder: Callable[[int], MessageBuilder], wanted: int) -> System:
        messages, shortened = as_many_as_fit(name, builder, wanted, seeds, room)
        shown = wanted if shortened is None else shortened.most
        return replace(
            as_evaluated(name, models.base, messages), exemplars=shown, shortened=tuple(filter(None, [shortened]))
        )

    @cache
    def few_shot(count: int) -> MessageBuilder:
        return _prompt_messages(prompt, spec, shown[:count], form)

    systems = [
        as_evaluated("base", models.base, few_shot(0)),
        with_examples("few-shot", few_shot, len(shown)),
        *_retrieval_systems(with_examples, seeds, rows, len(shown) or RETRIEVED, (prompt, spec, form)),
        *([] if models.teacher is None else [_teacher_system(spec, prompt, models.base, models.teacher, form)]),
        as_evaluated(TUNED, models.tuned, _tuned_messages(spec)),
    ]
    merged: dict[str, System] = {}
    for system in systems:
        same = merged.get(key := system.key(seeds))
        if same is not None:
            # A prompt whose examples do not fit was not measured: its name is no other name of the base.
            own = () if any(one.most == 0 for one in system.shortened) else system.names
            system = replace(same, names=(*same.names, *own), shortened=(*same.shortened, *system.shortened))
        merged[key] = system
    return tuple(merged.values())


def _retrieval_systems(
    with_examples: Callable[[str, Callable[[int], MessageBuilder], int], System],
    seeds: Sequence[Seed],
    rows: Sequence[LearnedRow | Exemplar],
    count: int,
    asking: tuple[Prompt, Spec, AnswerForm],
) -> list[System]:
    """The base with the rows nearest to each input, the nearest last, right before the question. Of several rows with
    the same output, such as the levels of a backward seed, only the nearest is shown; for labels, which many rows
    share, the same input counts instead. The turns of a conversation are shown as turns if the prompt has turns for
    exemplars."""
    prompt, spec, form = asking
    if not rows or "exemplars" not in prompt.variables:
        return []
    nearest = Nearest([row.input for row in rows], [seed.asked for seed in seeds])

    @cache
    def chosen(text: str) -> list[Exemplar]:
        rows_: dict[str, Exemplar] = {}
        for at in nearest.order(text):
            if len(rows_) == count:
                break
            rows_.setdefault(rows[at].input if form.labels else rows[at].output, rows[at])
        return [*rows_.values()]

    @cache
    def asking_about(text: str, number: int) -> MessageBuilder:
        shown = [row.shown_by(prompt) if isinstance(row, LearnedRow) else row for row in chosen(text)[:number]]
        return _prompt_messages(prompt, spec, shown[::-1], form)

    def builder(number: int) -> MessageBuilder:
        return lambda seed: asking_about(seed.asked, number)(seed)

    return [with_examples("retrieval", builder, min(count, len(rows)))]


def _teacher_system(spec: Spec, prompt: Prompt, base: Model, settings: TeacherSettings, form: AnswerForm) -> System:
    served = settings.url, settings.model, settings.revision
    is_base = served == ("embedded", base.settings.model, base.settings.revision)
    sampling = spec.generate.forward.sampling
    return System(
        names=("teacher",),
        model=Model(settings, base.local if is_base else None),
        exemplars=len(spec.exemplars) if "exemplars" in prompt.variables else 0,
        messages=_prompt_messages(prompt, spec, spec.exemplars, form),
        decoding="generation",
        sampled=sampling,
        # A model without a temperature parameter has only one way to sample.
        greedy=sampling if sampling.temperature is None and settings.url != "embedded" else make_greedy(sampling),
        schema=prompt.schema or form.asked,
        binding=prompt.schema is not None or form.binds,
    )


def _prompt_messages(prompt: Prompt, spec: Spec, exemplars: Sequence[Exemplar], form: AnswerForm) -> MessageBuilder:
    columns = columns_of(spec, ("input", "pair", "conversation"))
    render = rendering(prompt, spec.task, exemplars, {"input": ()}, form, columns)

    def messages(seed: Seed) -> Messages:
        """The prompt for the last turn, after the earlier turns; the seed's own system prompt is appended to the first
        message."""
        first, *rest = render(input=seed.body, **seed.columns)
        if seed.system:
            first = first.model_copy(update={"content": f"{first.content}\n\n{seed.system}"})
        chat = [first, *rest]
        return (*chat[:-1], *seed.turns, chat[-1])

    return messages


def _tuned_messages(spec: Spec) -> MessageBuilder:
    def messages(seed: Seed) -> Messages:
        instruction = spec.task.system if seed.system is None else seed.system
        system = (Message(role="system", content=instruction),) if instruction else ()
        return (*system, *seed.turns, Message(role="user", content=seed.body))

    return messages


def decodings(spec: Spec) -> tuple[Sampling, Sampling]:
    """The evaluation's decoding: sampled as the spec says, and greedy. Both carry a random seed, from which each
    input's own seed is derived, so that a run can be repeated."""
    sampled = spec.evaluate.sampling
    if sampled.seed is None:
        sampled = sampled.model_copy(update={"seed": spec.train.seed})
    return sampled, make_greedy(sampled)


def make_greedy(sampled: Sampling) -> Sampling:
    """The same decoding, always taking the most likely token. Penalties, limits and extras are kept: they are part of a
    system's decoding."""
    return sampled.model_copy(update={"temperature": 0.0, "top_p": None, "top_k": None})


def with_input_seed(sampling: Sampling, seed: Seed, *, by_reference: bool = False) -> Sampling:
    """`sampling` with a random seed for this input alone. A shared stream would correlate the randomness of all inputs,
    and intervals that treat inputs as independent would be too narrow. 28 bits, so that no server's seed overflows.

    The reference has no part in it, so that correcting one asks nothing again. `by_reference`: the random seed of
    answers that earlier versions stored, which also depends on the reference."""
    asked = seed if by_reference or seed.reference is None else changed_copy(seed, {"reference": None})
    stream = int(content_id("stream", [sampling.seed, asked.id])[:7], 16)
    return sampling.model_copy(update={"seed": stream})
