"""Reading the evidence out of a project: receipts, verdicts, artifacts and the files that the artifacts name."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pairsmith.report.evidence import Distribution, Evidence, Example, Outcome, Reason, Reviews, Scorer, Stage, Step
from schemas.errors import PairsmithError
from schemas.records import Artifact, Candidate, Pair, Receipt, Record, Verdict, now
from schemas.spec_file import Project
from schemas.store import Store
from train.metrics import Evaluation
from train.results import TrainResult

R = TypeVar("R", bound=Record)

COMMANDS = ("generate", "curate", "train", "evaluate")
_OUTCOMES: tuple[Outcome, ...] = ("rejected", "waiting", "failed")
_EXAMPLES = 3


def gather(project: Project, store: Store) -> Evidence:
    """The evidence as the store has it now. What a stage has not made yet is None or empty."""
    receipts = store.receipts()
    finished = {receipt.command: receipt for receipt in receipts if receipt.ok}
    pool = _Pool(store, finished)
    dataset = _current(store, "dataset", finished.get("curate"))
    adapter = _current(store, "adapter", finished.get("train"))
    evaluated = _current(store, "evaluation", finished.get("evaluate"))
    accepted = store.pairs(pair_id for pair_id, _ in dataset.members) if dataset is not None else []
    training = None if adapter is None else _training(project.folder / adapter.path, adapter)
    evaluation = None if evaluated is None else _read(project.folder / evaluated.path, Evaluation)
    latest = receipts[-1] if receipts else None
    return Evidence(
        project=project.spec.task.name,
        written_at=now(),
        stages=tuple(_stage(command, receipts, pool) for command in COMMANDS),
        seeds=_facts(finished, "generate").get("seeds"),
        unread_seeds=len(_facts(finished, "generate").get("seed_problems", ())),
        steps=tuple(Step(name, **said) for name, said in _facts(finished, "curate").get("steps", {}).items()),
        splits=_facts(finished, "curate").get("splits"),
        twin_seeds=len(_facts(finished, "curate").get("near_duplicate_seeds", ())),
        lengths=pool.lengths(accepted) if pool.pairs else None,
        scorer=pool.scorer(_facts(finished, "curate").get("scorer"), {pair.id for pair in accepted}),
        training=training,
        evaluation=evaluation,
        receipts=tuple(receipts),
        spent=store.spent(),
        reviews=_reviews(project, store, receipts),
        hashes=tuple(_hashes(project, pool, dataset, training, evaluation)),
        versions={} if latest is None else latest.versions,
    )


class _Pool:
    """The candidates of the present generation and what was said of their pairs."""

    def __init__(self, store: Store, finished: Mapping[str, Receipt]) -> None:
        self.seeds = {seed.id: seed for seed in store.seeds()}
        fingerprints = _facts(finished, "generate").get("scopes", {}).values()
        self.candidates: list[Candidate] = [
            candidate
            for fingerprint in fingerprints
            for candidate in store.candidates(fingerprint)
            if candidate.seed_id in self.seeds
        ]
        ids = [candidate.pair_id for candidate in self.candidates if candidate.pair_id]
        self.pairs: dict[str, Pair] = {pair.id: pair for pair in store.pairs(ids)}
        steps = _facts(finished, "curate").get("steps", {})
        order = {name: place for place, name in enumerate(steps)}
        self.verdicts: dict[str, list[Verdict]] = {
            pair_id: sorted(
                {verdict.by: verdict for verdict in said if verdict.by in order}.values(), key=lambda v: order[v.by]
            )
            for pair_id, said in store.verdicts(self.pairs).items()
        }

    def lengths(self, accepted: Sequence[Pair]) -> Distribution:
        """Words of the outputs. A pair that a reviewer corrected is not in the pool and is counted too."""
        words = {pair.id: float(len(pair.output.split())) for pair in (*self.pairs.values(), *accepted)}
        return Distribution(tuple(words.values()), tuple(words[pair.id] for pair in accepted))

    def scorer(self, facts: Mapping[str, Any] | None, accepted: set[str]) -> Scorer | None:
        """The scores that the chosen scorer gave."""
        if facts is None:
            return None
        said = {
            pair_id: verdict.score
            for pair_id, verdicts in self.verdicts.items()
            for verdict in verdicts
            if verdict.by == facts["by"]
        }
        scores = {pair_id: score for pair_id, score in said.items() if score is not None}
        kept = tuple(score for pair_id, score in scores.items() if pair_id in accepted)
        return Scorer(facts["by"], facts["why"], Distribution(tuple(scores.values()), kept, len(said) - len(scores)))

    def examples(self) -> dict[tuple[Outcome, str], list[Example]]:
        """(outcome, first word of the reason) -> rows that met it, in the order of the store."""
        found: dict[tuple[Outcome, str], list[Example]] = {}
        for candidate in self.candidates:
            met = self._failed(candidate) if candidate.pair_id is None else self._stopped(candidate.pair_id)
            if met is not None:
                outcome, example = met
                found.setdefault((outcome, first_word(example.said)), []).append(example)
        return found

    def _failed(self, candidate: Candidate) -> tuple[Outcome, Example]:
        seed = self.seeds[candidate.seed_id]
        return "failed", Example(seed.id, seed.text or "", None, candidate.failure or "")

    def _stopped(self, pair_id: str) -> tuple[Outcome, Example] | None:
        said = self.verdicts.get(pair_id, ())
        verdict = next((v for v in said if v.keep is False), None) or next((v for v in said if v.keep is None), None)
        if verdict is None:
            return None
        pair = self.pairs[pair_id]
        outcome: Outcome = "waiting" if verdict.keep is None else "rejected"
        return outcome, Example(pair_id, pair.input, pair.output, verdict.reason)


def first_word(reason: str) -> str:
    """The word under which receipts count a reason."""
    return reason.split(maxsplit=1)[0].rstrip(":") if reason.strip() else "unknown"


def _stage(command: str, receipts: Sequence[Receipt], pool: _Pool) -> Stage:
    own = [receipt for receipt in receipts if receipt.command == command]
    last_good = next((receipt for receipt in reversed(own) if receipt.ok), None)
    stopped = None if not own or own[-1].ok else str(own[-1].facts.get("error", "the receipt does not say why."))
    if last_good is None:
        return Stage(command, stopped=stopped)
    return Stage(command, last_good.counts, tuple(_reasons(last_good, pool)), stopped)


def _reasons(receipt: Receipt, pool: _Pool) -> list[Reason]:
    """The receipt's reasons, most frequent first. What they stand for is told by the rows that met them."""
    examples = pool.examples()
    reasons = []
    for word, count in sorted(receipt.reasons.items(), key=lambda item: (-item[1], item[0])):
        possible: tuple[Outcome, ...] = ("failed",) if receipt.command == "generate" else _OUTCOMES
        outcome = max(possible, key=lambda one: len(examples.get((one, word), ())))
        rows = examples.get((outcome, word), [])
        # Drawn, not the first ones: those all come from the first seeds. Seeded by the word, so a report can be redone.
        shown = random.Random(word).sample(rows, min(_EXAMPLES, len(rows)))
        reasons.append(Reason(word, outcome, count, tuple(shown)))
    return reasons


def _facts(finished: Mapping[str, Receipt], command: str) -> dict[str, Any]:
    return finished[command].facts if command in finished else {}


def _current(store: Store, kind: str, receipt: Receipt | None) -> Artifact | None:
    """The artifact that the last run that went well made or found: the one it names, else the newest."""
    if receipt is None:
        return None
    newest_first = store.artifacts(kind)[::-1]
    named = (artifact for artifact in newest_first if artifact.id == receipt.facts.get("made"))
    return next(named, next(iter(newest_first), None))


def _training(folder: Path, adapter: Artifact) -> TrainResult:
    """The training result with its curve, or without it from the artifact's facts if the folder is gone."""
    kept = _read(folder / "training.json", TrainResult)
    return kept or TrainResult.model_validate({**adapter.facts, "curve": (), "masks": ()})


def _read(path: Path, record: type[R]) -> R | None:
    """The record in a file, or None if the file is gone. Raises PairsmithError for a file that is not such a record."""
    try:
        return record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise PairsmithError(
            f"this is not what this version of pairsmith writes: {error.errors()[0]['msg']}.",
            where=str(path),
            why="The report would have to leave it out.",
            fix="Delete the file; `pairsmith run` makes it again from the store without asking a teacher twice.",
        ) from None


def _reviews(project: Project, store: Store, receipts: Sequence[Receipt]) -> Reviews:
    reviews = [review for found in store.reviews().values() for review in found]
    people = [review for review in reviews if not review.simulated]
    return Reviews(
        decisions=len(people),
        pairs=len({review.pair_id for review in people}),
        reviewers=len({review.reviewer for review in people}),
        simulated=len(reviews) - len(people),
        standing=next((r.facts["review"] for r in reversed(receipts) if r.facts.get("review")), None),
        switched_off=not project.spec.review.enabled,
    )


def _hashes(
    project: Project,
    pool: _Pool,
    dataset: Artifact | None,
    training: TrainResult | None,
    evaluation: Evaluation | None,
) -> list[tuple[str, str]]:
    found = [("spec", project.spec_hash)]
    origins = [pair.origin for pair in pool.pairs.values() if pair.origin.by == "generated"]
    found += [("prompt", ref) for ref in Counter(origin.prompt for origin in origins)]
    found += [("teacher", teacher) for teacher in Counter(origin.teacher for origin in origins)]
    if dataset is not None:
        found.append(("dataset", dataset.id))
    if training is not None:
        found += [("base model", training.base_hash), ("adapter", training.adapter_id)]
    if evaluation is not None:
        found += [
            ("evaluation", evaluation.id),
            ("test inputs", evaluation.test_set),
            ("checks", evaluation.checks_fingerprint),
        ]
    return found
