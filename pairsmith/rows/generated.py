"""The pool that generation leaves: every slot of the present spec, whichever run filled it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Any, NamedTuple

from pairsmith.receipts.outcome import GenerateOutcome
from schemas.identity import content_id_of_list
from schemas.project import Project
from schemas.records import Candidate, Json
from schemas.store import Store
from schemas.store.active_seeds import slots_by_seed

_SHOWN_FAILURES = 3


class _GeneratedPool(NamedTuple):
    """`id` is a hash of every slot and its outcome: a different pair in any slot gives a different id. `failures` are
    the texts of failures, each with its rows and the id of its first seed."""

    id: str
    rows: int
    codes: Counter[str]
    failures: dict[str, tuple[int, str]]


def _read_pool(project: Project, store: Store, fingerprints: Iterable[str]) -> _GeneratedPool:
    """Read the slots of the seeds that the project has now."""
    forward_n = project.spec.generate.forward.n
    codes, failures, rows = Counter[str](), dict[str, tuple[int, str]](), 0

    def slots(fingerprint: str) -> Iterator[list[Any]]:
        nonlocal rows
        for seed_id, generator, sample, outcome in slots_by_seed(store, fingerprint):
            if generator == "forward" and sample >= forward_n:
                continue
            why, rows = "", rows + 1
            if outcome.get("failure"):
                slot = {"fingerprint": fingerprint, "seed_id": seed_id, "generator": generator, "sample": sample}
                failure = Candidate.model_validate(slot | outcome).failure
                assert failure is not None, "the outcome has one"
                why = str(failure)
                codes[failure.code] += 1
                times, first = failures.get(why, (0, seed_id))
                failures[why] = (times + 1, first)
            yield [seed_id, sample, outcome.get("pair_id") or "", why]

    id_ = content_id_of_list("pool", merge(*map(slots, fingerprints)))
    return _GeneratedPool(id_, rows, codes, failures)


def pool_facts(project: Project, store: Store, outcome: GenerateOutcome, *, stopped: bool) -> Json:
    """The id of the pool, and what changes in the outcome of a run that reached its target before it came to every row
    of earlier runs, such as those of a forecast: they are in the pool as well, and curation judges them."""
    pool = _read_pool(project, store, outcome.fingerprints.values())
    passed_over = bool(project.spec.generate.targets) and not stopped and pool.rows > outcome.counts.rows_in
    return {"artifact_id": pool.id} | (_with_passed_over(outcome, pool, store) if passed_over else {})


def _with_passed_over(outcome: GenerateOutcome, pool: _GeneratedPool, store: Store) -> Json:
    counts, failed = outcome.counts, pool.codes.total()
    passed_over = pool.rows - counts.rows_in
    pairs = passed_over - (failed - counts.failed)
    added = {"rows_in": pool.rows, "failed": failed, "waiting": counts.waiting + pairs}
    most = sorted(pool.failures.items(), key=lambda item: (-item[1][0], item[0]))[:_SHOWN_FAILURES]
    seeds = store.seeds_by_id(first for _, (_, first) in most)
    return {
        "counts": counts.model_copy(update=added),
        "reasons": dict(pool.codes),
        "failures": tuple({"what": what, "rows": rows, "first": seeds[first].source} for what, (rows, first) in most),
        "pairs_kept": outcome.pairs_kept + pairs,
        "passed_over": passed_over,
    }
