"""Preflight checks: what a later stage would refuse, found before a teacher is asked. A missing file or name should be
reported before answers are paid for, not after."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import prompts
from curate.split import has_given_output, is_question, seed_split
from schemas.errors import PromptError, SpecError
from schemas.project import Project
from schemas.records import Seed
from schemas.spec import Spec
from schemas.spec.train import TrainSettings
from schemas.step_names import By

_GATE_SAMPLE = 100  # number of outputs that the gates are tried on
_LANGUAGE_CHARACTERS = 500  # of a text whose language is identified
# number of seeds to compare, and the share of them whose prompt may equal that of another seed
_SEED_SAMPLE, _SAME_PROMPT_SHARE = 1_000, 0.1
_MIN_LEARNING_RATE, _MAX_LEARNING_RATE = 1e-6, 1e-2
_PINNED_CODE = re.compile(r".+@[0-9a-f]{32}")
_SCORERS = ("auto", "pmi", "judge", "similarity", "none")


def refuse_base(project: Project) -> None:
    """Raise SpecError for a base model or training method that cannot be used on this machine."""
    if project.spec.train.base != "embedded" or project.spec.train.needs_special_support:
        from train.base_models.check import refuse_unfit

        refuse_unfit(project.spec.train, project.folder)


def run_preflight(project: Project, seeds: Sequence[Seed]) -> None:
    """Raise the PairsmithError of a later stage that cannot work with the gates, checks, scorers, gold rows and models
    named in the spec. Problems that only a hub or a loaded model could reveal are not found."""
    for _, check in preflight_checks(project, seeds):
        check()


def preflight_checks(project: Project, seeds: Sequence[Seed]) -> Iterator[tuple[str, Callable[[], object]]]:
    """The checks that need no network, no model and no money, each with what it is about. A check raises PairsmithError
    if a later stage would."""
    from curate.gates import gates_for
    from curate.review.gold import read_gold
    from curate.selection.spread import refuse_unknown
    from train.evaluation.checks import checks_for

    spec, folder = project.spec, project.folder
    yield "gates", lambda: gates_for(spec.task, spec.curate.gates, folder)
    yield "checks", lambda: checks_for(spec, folder)
    yield "gold", lambda: read_gold(project)
    yield "questions", lambda: _refuse_indistinct_prompts(project, seeds)
    yield "spread", lambda: refuse_unknown(spec.curate.select.spread, (name for seed in seeds for name in seed.columns))
    yield "score", lambda: _check_score(project, seeds)
    if spec.budget.max_usd is not None:
        yield "budget", lambda: check_cap(spec, "budget.max_usd")
    if spec.curate.nli is not None:
        yield "nli", lambda: _check_named_model(folder, spec.curate.nli or "", "curate.nli")
    yield "training", lambda: _check_preferences(spec, seeds)
    yield "training", lambda: _check_patience(spec, seeds)
    yield "training", lambda: _check_vllm(spec)


def check_cap(spec: Spec, name: str) -> None:
    """Raise SpecError for a judge, reward model or evaluated teacher whose price is unknown: its stage would refuse the
    cap, which was set in `name`, after generation has been paid for."""
    from synth.meter import unkeepable_cap_error
    from synth.prices import prices_of

    curate, evaluate = spec.curate, spec.evaluate
    reward = curate.score.teacher if curate.score.protocol == "chat" else None
    for one in dict.fromkeys([*curate.judge.teachers, *evaluate.judges, reward, evaluate.teacher]):
        teacher = spec.teachers[one] if one else None
        if teacher is None or teacher.url in ("embedded", "vllm"):
            continue
        if prices_of(teacher) is None:
            raise unkeepable_cap_error(name, teacher, None, f"teachers.{one}")


def doubtful_settings(spec: Spec) -> Iterator[tuple[str, str]]:
    """Settings that are valid but probably not intended, each with a suggested fix. Worth a warning before answers are
    paid for."""
    train, forward = spec.train, spec.generate.forward
    for name in ("learning_rate", *(["dpo_learning_rate"] if train.objective == "dpo" else [])):
        rate, usual = getattr(train, name), TrainSettings.model_fields[name].default
        if not _MIN_LEARNING_RATE <= rate <= _MAX_LEARNING_RATE:
            loss = "rises" if rate > _MAX_LEARNING_RATE else "hardly changes"
            yield (
                f"train.{name} = {rate:g} is far outside the usual range for adapters, 1e-5 to 1e-3",
                f"At this rate the loss {loss}; remove the key to use {usual:g}.",
            )
    if train.objective != "sft" and spec.review.enabled and spec.needs_teacher and forward.enabled and forward.n == 1:
        yield (
            f"train.objective = '{train.objective}' learns which of two answers to an input is better, but "
            "generate.forward.n = 1 generates only one",
            "Set generate.forward.n to 2 or more; otherwise only outputs edited by reviewers give preferences.",
        )
    for entry in train.trust_remote_code:
        if not _PINNED_CODE.fullmatch(entry):
            yield (
                f"train.trust_remote_code contains '{entry}', a name without the hash of its code, so that code is "
                "not run",
                "Remove it; if the base needs its own code, `pairsmith doctor` shows what to set.",
            )


def unused_task_texts(project: Project) -> Iterator[tuple[str, str]]:
    """Parts of the task that the project's own prompt does not use, so that no teacher sees them, each with a suggested
    fix."""
    spec = project.spec
    if not (spec.needs_teacher and spec.generate.forward.enabled):
        return
    prompt = prompts.load(spec.generate.forward.prompt, project.folder)
    if not prompt.path.is_relative_to(project.folder / "prompts"):
        return  # built-in prompts use everything
    used = frozenset[str]().union(*(turn.uses for turn in prompt.turns))
    task = {"style": spec.task.style, "labels": spec.task.labels, "exemplars": spec.exemplars}
    for name in (name for name, holds in task.items() if holds and name not in used):
        key = "[[exemplars]]" if name == "exemplars" else f"task.{name}"
        yield (
            f"{prompt.path.relative_to(project.folder)} does not use {key}, so no teacher sees it",
            f"Use {name} in the prompt, unless the prompt says the same in other words.",
        )


def gates_against_examples(
    project: Project, seeds: Sequence[Seed], *, without: Container[str] = ()
) -> Iterator[tuple[str, str]]:
    """Gates that reject what the spec itself presents as good: an exemplar, or at least half of the outputs in its seed
    files. Each comes with a suggested fix. All rows like these would be paid for and then rejected. Gates named in
    `without` are skipped."""
    from curate.gates import gates_for, judge_text
    from prompts.answer_form import AnswerForm

    spec = project.spec
    steps = gates_for(spec.task, spec.curate.gates, project.folder, seeds=seeds)
    steps = [step for step in steps if not step.flags]
    steps = [step for step in steps if By.read(step.by).name not in without]
    form = AnswerForm.of(spec.task, project.folder)
    exemplars = [(one.input, form.canonical(one.output)) for one in spec.exemplars]
    given = list(islice(filter(has_given_output, seeds), _GATE_SAMPLE))
    outputs = [(seed.body, form.canonical(seed.reference or "")) for seed in given]
    shown = ((exemplars, 1, "exemplars"), (outputs, len(outputs) / 2, "outputs of the seed files"))
    for texts, at_least, what in shown:
        judged = [judge_text(*one, steps) for one in texts]
        for step in steps:
            against = [judgements[step.by].reason.detail for judgements in judged if judgements[step.by].keep is False]
            if against and len(against) >= at_least:
                from curate.tallies import spec_key_of_gate  # imports numpy

                rejects = f"{By.read(step.by).name} rejects {len(against)} of {len(texts)} {what}"
                yield (
                    f"{rejects} that were checked: {against[0]}",
                    f"Change {spec_key_of_gate(step.by)} or these texts: rows like them are rejected.",
                )


def language_against_seeds(project: Project, seeds: Sequence[Seed]) -> Iterator[tuple[str, str]]:
    """Seeds in another language than the task's, with a suggested fix: the gate `language` would reject answers in
    their language after they were paid for. Reported for a tenth of them, or for all as one text, because short texts
    show their language only together. Imports the language identifier."""
    from curate.gates import judge_text
    from curate.gates.judgement import GateStep
    from curate.gates.language import language
    from curate.gates.scripts import table_code

    task = project.spec.task
    if project.spec.curate.gates.language is not True:
        return
    for kind, key, code in (("input", "language", task.language), ("output", "to", task.output_language)):
        bodies = [seed.body for seed in seeds if seed.kind == kind]
        texts = [body[:_LANGUAGE_CHARACTERS] for body in bodies[:: len(bodies) // _GATE_SAMPLE + 1]]
        step = GateStep("language", "", partial(language, code=table_code(code)))
        judged = [judge_text("", text, [step])["language"] for text in ("\n".join(texts), *texts)]
        against = [one.reason.detail.replace("output text", kind) for one in judged[1:] if one.keep is False]
        if 10 * len(against) >= len(texts) > 0 or judged[0].keep is False:
            key = f"task.{key if task.to else 'language'}"
            share = f"{len(against)} of {len(texts)} {kind}s that were checked are" if against else f"the {kind}s seem"
            detail = against[0] if against else judged[0].reason.detail.replace("output text", f"text of all {kind}s")
            yield (
                f"{share} in another language than {key} = '{code}': {detail}",
                f"Correct {key}; texts in several languages need a project for each, or curate.gates.language = false:"
                " that gate rejects answers in their language.",
            )


def _refuse_indistinct_prompts(project: Project, seeds: Sequence[Seed]) -> None:
    """Raise PromptError if a prompt renders the same for many different seeds, as one with `{{ input[:20] }}` may. Such
    seeds would share their answers."""
    from synth.generators import GENERATOR_CLASSES

    for name, settings in project.spec.generate.directions.items():
        if not _prompt_exists(settings.prompt, project.folder):
            continue
        kind = GENERATOR_CLASSES[name]
        some = _distinct_seeds(seed for seed in seeds if seed.kind in kind.takes)
        if len(some) < 2:
            continue
        way = kind.of(project, None)
        by_question: dict[tuple[str, ...], list[Seed]] = {}  # by its texts: hashing messages takes far longer
        for seed in some:
            texts = tuple(message.content for message in way.questions(seed)[0][0].messages)
            by_question.setdefault(texts, []).append(seed)
        if len(some) - len(by_question) > max(1, _SAME_PROMPT_SHARE * len(some)):
            one, other, *_ = max(by_question.values(), key=len)
            raise PromptError(
                f"renders only {len(by_question):,} different requests for {len(some):,} seeds: {one.source} and "
                f"{other.source} differ, but their requests are the same.",
                where=str(way.template.path),
                why="Such seeds would get the same answers.",
                fix=f"Put the whole seed into the prompt: {{{{ {'input' if name == 'forward' else 'output'} }}}}.",
            )


def _distinct_seeds(seeds: Iterable[Seed]) -> list[Seed]:
    """The first seeds with different texts, at most `_SEED_SAMPLE`."""
    some: dict[str | None, Seed] = {}
    for seed in seeds:
        some.setdefault(seed.text, seed)
        if len(some) == _SEED_SAMPLE:
            break
    return list(some.values())


def _prompt_exists(prompt: str, folder: Path) -> bool:
    """Whether the prompt exists. A missing prompt is reported where it is used."""
    try:
        prompts.load(prompt, folder)
    except PromptError:
        return False
    return True


def _check_score(project: Project, seeds: Sequence[Seed]) -> None:
    score = project.spec.curate.score
    if score.teacher is not None:
        return
    if score.model == "similarity" and not any(seed.reference for seed in seeds):
        raise SpecError(
            "'similarity' compares outputs with references, but no seed has one.",
            where="curate.score.model",
            why="Every row would wait for a score.",
            fix='Name the column of references, as in [[seeds]] reference = "...", or use another scorer.',
        )
    if score.model not in _SCORERS:
        _check_named_model(project.folder, score.model, "curate.score.model", _SCORERS)


def _check_preferences(spec: Spec, seeds: Sequence[Seed]) -> None:
    """Raise SpecError if preferences are to be learned but no input can have two answers and review is off."""
    if spec.train.objective == "sft" or spec.review.enabled or not seeds:
        return
    inputs = [seed.asked for seed in seeds if has_given_output(seed)]
    forward = spec.generate.forward
    if (
        any(seed.meta.get("rejected") for seed in seeds)
        or len({*inputs}) < len(inputs)
        or (
            forward.enabled
            and forward.n > 1
            and any(is_question(seed) and not has_given_output(seed) for seed in seeds)
        )
    ):
        return
    raise SpecError(
        f"'{spec.train.objective}' learns from preferences, but no input has two answers to compare.",
        where="train.objective",
        why="Training would fail here, after the answers were paid for.",
        fix="Set generate.forward.n to 2 or more, let reviewers judge rows (review.enabled), import worse answers "
        "alongside the good ones ([[seeds]] rejected), or train with 'sft'.",
    )


def _check_patience(spec: Spec, seeds: Sequence[Seed]) -> None:
    if spec.train.patience is None or not seeds or any(seed_split(seed, spec.split) == "validation" for seed in seeds):
        return
    raise SpecError(
        "early stopping needs a validation loss, but no seed is in the validation split.",
        where="train.patience",
        why="Training would fail here, after the answers were paid for.",
        fix="Raise split.validation, or remove train.patience.",
    )


def _check_vllm(spec: Spec) -> None:
    """Raise SpecError if vLLM is to evaluate an adapter that it cannot load. For qlora the merged model is
    evaluated."""
    is_merged = "method" in spec.train.model_fields_set and spec.train.method == "qlora"
    if spec.evaluate.vllm and spec.train.dora and not is_merged:
        raise SpecError(
            "vLLM cannot load DoRA adapters (train.dora).",
            where="evaluate.vllm",
            why="The evaluation would fail here, after everything before it was paid for.",
            fix="Remove evaluate.vllm or train.dora, or set train.method = 'qlora', which evaluates the merged model.",
        )


def _check_named_model(folder: Path, name: str, key: str, words: Sequence[str] = ()) -> None:
    """Raise SpecError for a model that can only be a folder but does not exist, or that is a misspelt built-in name."""
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
        why="Curation would fail here, after the answers were paid for.",
        fix=f"Did you mean '{near[0]}'?" if near else "Paths are relative to the spec file.",
    )
