"""What a later stage would refuse, known before a teacher is asked: a name that leads nowhere is worth a sentence
before the answers are paid for, not after."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import prompts
from curate.split import asked_of, brings_output, seed_split
from schemas.errors import PromptError, SpecError
from schemas.project import Project
from schemas.records import Messages, Seed
from schemas.spec import Spec
from schemas.spec.train import TrainSettings
from schemas.step_names import By

_JUDGED = 100  # outputs that gates are tried on
_LOOKED_AT, _ALIKE = 1_000, 0.1  # seeds, and the share of them that may be asked about in the words of another
_LEAST_RATE, _MOST_RATE = 1e-6, 1e-2
_HASHED = re.compile(r".+@[0-9a-f]{32}")
_SCORERS = ("auto", "pmi", "judge", "similarity", "none")


class Lookahead(NamedTuple):
    """One thing to look at; `at` raises PairsmithError where a later stage would."""

    about: str
    at: Callable[[], object]


def refuse_base(project: Project) -> None:
    """Raise SpecError for a base or a way of training that this machine cannot have."""
    if project.spec.train.base != "embedded" or project.spec.train.asks_for_more:
        from train.base_check import refuse_unfit

        refuse_unfit(project.spec.train, project.folder)


def refuse_ahead(project: Project, seeds: Sequence[Seed]) -> None:
    """Raise the PairsmithError of a stage that comes later and cannot work: with gates, checks, scorers, gold rows and
    models as the spec names them. What only a hub or a loaded model could tell passes."""
    for look in looks(project, seeds):
        look.at()


def looks(project: Project, seeds: Sequence[Seed]) -> Iterator[Lookahead]:
    """What can be looked at without a network, a model or money."""
    from curate.gates import gates_for
    from curate.review.gold import read_gold
    from curate.spread import refuse_unknown
    from train.checks import checks_for

    spec, folder = project.spec, project.folder
    yield Lookahead("gates", lambda: gates_for(spec.task, spec.curate.gates, folder))
    yield Lookahead("checks", lambda: checks_for(spec, folder))
    yield Lookahead("gold", lambda: read_gold(project))
    yield Lookahead("questions", lambda: _tell_seeds_apart(project, seeds))
    yield Lookahead(
        "spread", lambda: refuse_unknown(spec.curate.select.spread, (name for seed in seeds for name in seed.columns))
    )
    yield Lookahead("score", lambda: _score(project, seeds))
    if spec.curate.nli is not None:
        yield Lookahead("nli", lambda: _named_model(folder, spec.curate.nli or "", "curate.nli"))
    yield Lookahead("training", lambda: _preferences(spec, seeds))
    yield Lookahead("training", lambda: _patience(spec, seeds))
    yield Lookahead("training", lambda: _vllm(spec))


def doubtful(spec: Spec) -> Iterator[tuple[str, str]]:
    """What may be meant and hardly is, each with what to do about it: worth a word before answers are paid for."""
    train, forward = spec.train, spec.generate.forward
    for name in ("learning_rate", *(["dpo_learning_rate"] if train.objective == "dpo" else [])):
        rate, usual = getattr(train, name), TrainSettings.model_fields[name].default
        if not _LEAST_RATE <= rate <= _MOST_RATE:
            loss = "rises" if rate > _MOST_RATE else "hardly moves"
            yield (
                f"train.{name} = {rate:g} is far from what adapters learn with, 1e-5 to 1e-3",
                f"With it the loss {loss}; leave the key out for {usual:g}.",
            )
    if train.objective != "sft" and spec.review.enabled and spec.asks_teacher and forward.enabled and forward.n == 1:
        yield (
            f"train.objective = '{train.objective}' learns which of two answers to one input is better, and "
            "generate.forward.n = 1 makes one",
            "Set generate.forward.n to 2 or more; else only what people edit is a preference.",
        )
    for entry in train.trust_remote_code:
        if not _HASHED.fullmatch(entry):
            yield (
                f"train.trust_remote_code has '{entry}', a name without the hash of its code: none of it runs",
                "Take it out; where the base needs code of its own, `doctor` tells what to set.",
            )


def untold(project: Project) -> Iterator[tuple[str, str]]:
    """What of the task the project's own prompt leaves out, with what to do about it: no teacher reads it then."""
    spec = project.spec
    if not (spec.asks_teacher and spec.generate.forward.enabled):
        return
    prompt = prompts.load(spec.generate.forward.prompt, project.folder)
    if not prompt.path.is_relative_to(project.folder / "prompts"):
        return  # ours leave nothing out
    used = frozenset[str]().union(*(turn.uses for turn in prompt.turns))
    task = {"style": spec.task.style, "labels": spec.task.labels, "exemplars": spec.exemplars}
    for name in (name for name, holds in task.items() if holds and name not in used):
        key = "[[exemplars]]" if name == "exemplars" else f"task.{name}"
        yield (
            f"{prompt.path.relative_to(project.folder)} leaves out what {key} says, so no teacher reads it",
            f"Use {name} in it, unless it says the same in words of its own.",
        )


def contradicted(project: Project, seeds: Sequence[Seed], *, without: Container[str] = ()) -> Iterator[tuple[str, str]]:
    """Gates that reject what a spec itself shows as good, an exemplar or most outputs of its files, each with what to
    do: rows like these would be paid for and rejected, every one. Gates of the names `without` are not asked."""
    from curate.gates import gates_for, judge_text

    spec = project.spec
    steps = [step for step in gates_for(spec.task, spec.curate.gates, project.folder) if not step.flags]
    steps = [step for step in steps if By.read(step.by).name not in without]
    exemplars = [(one.input, one.output) for one in spec.exemplars]
    outputs = [(seed.body, seed.reference or "") for seed in seeds if brings_output(seed)][:_JUDGED]
    shown = ((exemplars, 1, "exemplars"), (outputs, len(outputs) / 2, "outputs of the seed files"))
    for texts, at_least, what in shown:
        judged = [judge_text(*one, steps) for one in texts]
        for step in steps:
            against = [of[step.by].reason.detail for of in judged if of[step.by].keep is False]
            if against and len(against) >= at_least:
                from curate.tallies import key_of  # numpy, which is not needed where there is nothing to say

                rejects = f"{By.read(step.by).name} rejects {len(against)} of {len(texts)} {what}"
                yield (
                    f"{rejects} that were looked at: {against[0]}",
                    f"Change {key_of(step.by)} or the texts: rows like them are rejected.",
                )


def _tell_seeds_apart(project: Project, seeds: Sequence[Seed]) -> None:
    """Refuse a prompt that asks the same about many different seeds, as one with `{{ input[:20] }}` may: each of them
    would get the others' answers."""
    from synth.generators import WAYS

    for name, settings in project.spec.generate.directions.items():
        if not _loads(settings.prompt, project.folder):
            continue
        kind = WAYS[name]
        some = _different(seed for seed in seeds if seed.kind in kind.takes)
        if len(some) < 2:
            continue
        way = kind.of(project, None)
        by_question: dict[Messages, list[Seed]] = {}
        for seed in some:
            by_question.setdefault(tuple(way.questions(seed)[0][0].messages), []).append(seed)
        if len(some) - len(by_question) > max(1, _ALIKE * len(some)):
            one, other, *_ = max(by_question.values(), key=len)
            raise PromptError(
                f"asks {len(by_question):,} different questions about {len(some):,} seeds: {one.source} and "
                f"{other.source}, which differ, are one to it.",
                where=str(way.template.path),
                why="They would get the same answers.",
                fix=f"Write the whole seed into it: {{{{ {'input' if name == 'forward' else 'output'} }}}}.",
            )


def _different(seeds: Iterable[Seed]) -> list[Seed]:
    """The first seeds of different texts."""
    some: dict[str | None, Seed] = {}
    for seed in seeds:
        some.setdefault(seed.text, seed)
        if len(some) == _LOOKED_AT:
            break
    return list(some.values())


def _loads(prompt: str, folder: Path) -> bool:
    """Whether there is such a prompt; that there is none is told by whoever needs it."""
    try:
        prompts.load(prompt, folder)
    except PromptError:
        return False
    return True


def _score(project: Project, seeds: Sequence[Seed]) -> None:
    score = project.spec.curate.score
    if score.teacher is not None:
        return
    if score.model == "similarity" and not any(seed.reference for seed in seeds):
        raise SpecError(
            "'similarity' compares outputs with references, and no seed brings one.",
            where="curate.score.model",
            why="Every row would wait without a score.",
            fix='Name the column of the references, as in [[seeds]] reference = "...", or take another scorer.',
        )
    if score.model not in _SCORERS:
        _named_model(project.folder, score.model, "curate.score.model", _SCORERS)


def _preferences(spec: Spec, seeds: Sequence[Seed]) -> None:
    """Refuse to learn from preferences where no input can have two answers, and nobody judges one."""
    if spec.train.objective == "sft" or spec.review.enabled or not seeds:
        return
    asked = [seed.asked for seed in seeds if brings_output(seed)]
    forward = spec.generate.forward
    if (
        any(seed.meta.get("rejected") for seed in seeds)
        or len({*asked}) < len(asked)
        or (forward.enabled and forward.n > 1 and any(asked_of(seed) and not brings_output(seed) for seed in seeds))
    ):
        return
    raise SpecError(
        f"'{spec.train.objective}' learns from preferences, and here no input has two answers to choose between.",
        where="train.objective",
        why="Training would stop there, after the answers were paid for.",
        fix="Set generate.forward.n to 2 or more, have people review rows (review.enabled), import answers with worse "
        "ones beside them ([[seeds]] rejected), or train with 'sft'.",
    )


def _patience(spec: Spec, seeds: Sequence[Seed]) -> None:
    if spec.train.patience is None or not seeds or any(seed_split(seed, spec.split) == "validation" for seed in seeds):
        return
    raise SpecError(
        "it waits for a validation loss to fall, and no seed falls into the validation split.",
        where="train.patience",
        why="Training would stop there, after the answers were paid for.",
        fix="Raise split.validation, or take train.patience out.",
    )


def _vllm(spec: Spec) -> None:
    """Refuse to measure an adapter in vLLM that it cannot load; of qlora the merged model is measured."""
    is_merged = "method" in spec.train.model_fields_set and spec.train.method == "qlora"
    if spec.evaluate.vllm and spec.train.dora and not is_merged:
        raise SpecError(
            "vLLM loads no DoRA adapter (train.dora).",
            where="evaluate.vllm",
            why="The evaluation would stop there, after everything before it was paid for.",
            fix="Take evaluate.vllm or train.dora out, or set train.method = 'qlora', whose model is merged.",
        )


def _named_model(folder: Path, name: str, key: str, words: Sequence[str] = ()) -> None:
    """Refuse a model that can only be a folder and is none, or one of our words misspelt."""
    if (folder / name).is_dir():
        return
    parent, _, last = name.rpartition("/")
    local = name.startswith((".", "/", "~")) or name.count("/") > 1 or (parent and (folder / parent).is_dir())
    near = [] if parent else difflib.get_close_matches(last, words, 1)
    if not (local or near):
        return
    raise SpecError(
        f"there is no folder '{name}'.",
        where=key,
        why="Curation would stop there, after the answers were paid for.",
        fix=f"Did you mean '{near[0]}'?" if near else "Paths are relative to the spec.",
    )
