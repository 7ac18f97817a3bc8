"""Choose a project's scorer: the one that the spec names or, for `auto`, the first that proves its worth.

`auto` fits the Bradley-Terry model of `bradley_terry.py` on the project's own good texts. It is used only if, on unseen
corruptions, the lower end of its accuracy interval is above the accuracy of a rule that looks at length; otherwise the
PMI score is used.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from curate.scorers import Score, Scorer
from curate.scorers.bradley_terry import LEAST_EXAMPLES, Fitted, GoodText, fit
from curate.scorers.pmi import FORM, pmi_scorer
from curate.scorers.reward import reward_scorer
from curate.scorers.rules import rules_of
from curate.split import seed_split
from schemas.errors import MissingDependency
from schemas.progress import Progress, unseen
from schemas.project import Project
from schemas.records import Pair, Seed, content_id
from schemas.wording import counted
from synth.embedded.process import EmbeddedServer, embedded
from synth.embedded.weights import Weights, embedded_weights, folder_weights

PMI = "score/relevance@1"


class EmbeddedModel(NamedTuple):
    """The embedded model: how to get its weights, and how to start it. Neither is called before it is needed."""

    weights: Callable[[], Weights] = embedded_weights
    serve: Callable[[], AbstractAsyncContextManager[EmbeddedServer]] = embedded


EMBEDDED_MODEL = EmbeddedModel()


@dataclass(frozen=True, eq=False)
class ChosenScorer:
    """A scorer with the name and fingerprint of its verdicts.

    It gets `at_once` rows per call: a local model is slow, and its results are stored and shown call by call.
    `sentence` says what was chosen and why.
    """

    by: str
    fingerprint: str
    score: Scorer
    sentence: str
    facts: dict[str, Any]
    fitted: Fitted | None = None
    at_once: int = 32


async def choose(
    project: Project,
    seeds: Sequence[Seed],
    stack: AsyncExitStack,
    embedded: EmbeddedModel = EMBEDDED_MODEL,
    *,
    by_http: tuple[ChosenScorer | None, ChosenScorer | None] = (None, None),
    progress: Progress | None = None,
) -> ChosenScorer | None:
    """The project's scorer, or None if the spec says `none`.

    Nothing heavy is loaded before something is scored, except that `auto` fits its model the first time (later runs
    find it under `artifacts/`). `stack` closes everything that is started; `by_http` are the judge and a served reward
    model. Raises MissingDependency without PyTorch.
    """
    judge, served = by_http
    if served is not None:
        return served
    model = project.spec.curate.score.model
    if model == "none":
        return None
    if model == "judge":
        return judge
    if model == "similarity":
        from curate.similarity.static_embedding import similar_to_reference

        fingerprint = content_id("scope", ["similarity", 1])
        return ChosenScorer(
            "score/similarity@1", fingerprint, similar_to_reference, "the similarity of output and reference", {}
        )
    if model == "auto" and not _has_candidates_to_compare(project, seeds):
        return None
    _need_torch(model)
    if model == "auto":
        return await _auto(project, seeds, stack, embedded, progress)
    if model == "pmi":
        return _pmi(await asyncio.to_thread(embedded.weights), embedded, stack, "the PMI score, as the spec asks", {})
    folder, rules, revision = project.folder / model, rules_of(project), project.spec.curate.score.revision
    where: str | Path = folder if folder.is_dir() else model
    weights_revision = folder_weights(folder).revision if folder.is_dir() else revision
    return ChosenScorer(
        "score/reward@1",
        content_id("scope", [model, weights_revision, rules]),
        _reward(project, where, rules, None if folder.is_dir() else revision),
        f"the reward model {model}",
        {"model": model},
    )


def _has_candidates_to_compare(project: Project, seeds: Sequence[Seed]) -> bool:
    """Whether any input has several outputs to compare. Output seeds and pairs have one each, and so have input seeds
    for which one candidate is requested."""
    forward = project.spec.generate.forward
    several = project.spec.needs_teacher and forward.enabled and forward.n > 1
    return several and any(seed.kind == "input" for seed in seeds)


async def _auto(
    project: Project, seeds: Sequence[Seed], stack: AsyncExitStack, embedded: EmbeddedModel, progress: Progress | None
) -> ChosenScorer:
    examples = good_examples(project, seeds)
    model_weights = await asyncio.to_thread(embedded.weights)
    if len(examples) < LEAST_EXAMPLES:
        why = (
            f"the PMI score, because {counted(len(examples), 'good text is', 'good texts are')} too few to fit a "
            f"reward model (exemplars and excellent seeds outside the test split); at least {LEAST_EXAMPLES} are needed"
        )
        return _pmi(model_weights, embedded, stack, why, {"examples": len(examples)})
    artifacts, task = _artifacts(project.folder), project.spec.task
    of_task = {"system": task.system, "language": task.output_language}
    with _until_cancelled(progress or unseen) as reports:
        fitted = await asyncio.to_thread(fit, examples, model_weights, artifacts, **of_task, progress=reports)
    facts = fitted.facts
    measured = (
        f"on unseen corruptions it orders {facts['accuracy']:.0%} of {facts['comparisons']} comparisons correctly "
        f"(95 % interval {facts['low']:.0%} to {facts['high']:.0%}), length alone {facts['length_only']:.0%}, "
        f"PMI {facts['pmi']['accuracy']:.0%} (of {facts['pmi']['comparisons']})"
    )
    if not facts["beats_length"]:
        why = f"the PMI score, because the fitted reward model does not beat length: {measured}"
        return _pmi(model_weights, embedded, stack, why, facts)
    return ChosenScorer(
        "score/bradley_terry@1",
        content_id("scope", facts["identity"]),
        _reward(project, fitted.folder),
        f"a reward model fitted on {facts['examples']} good texts against corrupted ones: {measured}",
        facts,
        fitted,
    )


@contextmanager
def _until_cancelled(progress: Progress) -> Iterator[Progress]:
    """Progress of work in a thread, which ends at its next report once the block is left. Otherwise a process that was
    interrupted would not end before the work, minutes later."""
    left = threading.Event()

    def report(stage: str, numbers: Mapping[str, Any]) -> None:
        if left.is_set():
            raise asyncio.CancelledError
        progress(stage, numbers)

    try:
        yield report
    finally:
        left.set()


def _artifacts(folder: Path) -> Path:
    """The folder of fitted models. Earlier versions spelt it `artefacts`."""
    older = folder / "artefacts"
    return older if older.is_dir() else folder / "artifacts"


def good_examples(project: Project, seeds: Sequence[Seed]) -> list[GoodText]:
    """The exemplars, and the output seeds and pairs outside the test split, as good texts."""
    exemplars = [GoodText(e.input, e.output) for e in project.spec.exemplars]
    excellent = [
        GoodText("", seed.body) if seed.kind == "output" else GoodText(seed.body, seed.reference or "")
        for seed in seeds
        if (seed.kind == "output" or seed.reference) and seed_split(seed, project.spec.split) != "test"
    ]
    return list({example.text: example for example in [*excellent, *exemplars]}.values())


def _reward(project: Project, where: str | Path, rules: str = "", revision: str | None = None) -> Scorer:
    """A scorer for a reward model. The fitted model is called without `rules`, as it was fitted."""
    return reward_scorer(where, batch_tokens=project.spec.curate.score.batch_tokens, rules=rules, revision=revision)


def _pmi(
    weights: Weights, embedded: EmbeddedModel, stack: AsyncExitStack, sentence: str, facts: dict[str, Any]
) -> ChosenScorer:
    started: list[Scorer] = []

    async def score(pairs: Sequence[Pair]) -> Sequence[Score]:
        if not started:
            server = await stack.enter_async_context(embedded.serve())
            started.append(pmi_scorer(server.base_url, server.model))
        return await started[0](pairs)

    # "relevance" is the original name of this score, under which stores already hold scores.
    fingerprint = content_id("scope", ["relevance", weights.revision, FORM])
    return ChosenScorer(PMI, fingerprint, score, sentence, facts)


def _need_torch(model: str) -> None:
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingDependency(
            "PyTorch and transformers are not installed.",
            where=f"curate.score.model = {model!r}",
            why="Without a scorer the candidates of one input cannot be compared.",
            fix="Run: pip install 'pairsmith[train]', or set curate.score.model = 'none' to keep all rows that pass.",
        )
