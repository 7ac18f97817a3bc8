"""The decisions of curation, one record a slot: written with every curation, read by everything that tells of it.

The states of a curation have a new name each time (`RowState.curation`) and count once a receipt of `curate` names it,
so one that was killed leaves nothing to see; the next one deletes what no receipt names.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice
from typing import TYPE_CHECKING, get_args

from curate.rows import DUPLICATE, GENERATE, REVIEW, SPLIT, Row
from curate.split import SPLITS
from schemas.failpoints import failpoint
from schemas.identity import made
from schemas.records import Candidate, Json, Reason, Receipt, RowState, Split, State, Verdict, content_id
from schemas.store import Store

if TYPE_CHECKING:
    from curate.pool import Pool

_CHUNK = 1_000
STATES: tuple[State, ...] = get_args(State)
_STATE: dict[bool | None, State] = {True: "accepted", False: "rejected", None: "waiting"}


async def write_states(store: Store, pool: Pool, curation: str) -> dict[str, dict[str, int]]:
    """Keep what was decided of every slot under the new name `curation`, and delete what no receipt names. Returns the
    number of accepted rows in each of `splits`, and of those with each of `flags`, the most frequent first."""
    store.forget_row_states(but=_named(store))
    decided = zip(pool.outcomes(), pool.codes(SPLIT), strict=True)
    states, splits = (_state(row, code, curation) for row, code in decided), Counter[Split | None]()
    flags = Counter[str]()
    writing: Future[None] | None = None  # the chunk before, which the writer's thread keeps while the next one is made
    while chunk := list(islice(states, _CHUNK)):
        if writing:
            await asyncio.wrap_future(writing)
            failpoint("mid_curate")
        writing = store.append(*chunk)
        accepted = [state for state in chunk if state.state == "accepted"]
        splits.update(state.split for state in accepted)
        flags.update(flag for state in accepted for flag in state.flags)
    if writing:
        await asyncio.wrap_future(writing)
        failpoint("mid_curate")
    return {"splits": {split: splits[split] for split in SPLITS}, "flags": dict(flags.most_common())}


def state_of(row: Row) -> State:
    """What was decided of a row."""
    return "failed" if row.candidate.pair_id is None else _STATE[row.keep]


def _state(row: Row, code: str, curation: str) -> RowState:
    split = next((split for split in SPLITS if split == code), None) if row.keep else None
    return _record(
        curation, row.candidate, state_of(row), row.step, row.reason, flags=row.flags, score=row.score, split=split
    )


def split_in(row: Row) -> Split | None:
    """The split that a row was put into, if it came that far."""
    codes = [verdict.reason.code for verdict in row.verdicts if verdict.by == SPLIT]
    return next((split for split in SPLITS if split in codes), None)


def _record(
    curation: str, candidate: Candidate, state: State, step: str | None, reason: Reason | None, **more: object
) -> RowState:
    slot: Json = {
        "generation": candidate.fingerprint,
        "seed_id": candidate.seed_id,
        "generator": candidate.generator,
        "sample": candidate.sample,
    }
    decided: Json = {"pair_id": candidate.pair_id, "state": state, "step": step, "reason": reason}
    return made(RowState, {"curation": curation, **slot, **decided, **more})


# Reading


def last_curation(store: Store, *, finished: bool = False) -> Receipt | None:
    """The receipt of the newest curation that decided something, whether or not a row was left to export; on request
    the newest that went well."""
    decided = (r for r in reversed(store.receipts("curate")) if "steps" in r.facts and (r.ok or not finished))
    return next(decided, None)


def read_states(
    store: Store, receipt: Receipt, *, state: str | None = None, code: str | None = None, pair_id: str | None = None
) -> Iterator[RowState]:
    """The decisions of the curation of `receipt`, in the order of the pool; `code` is that of the reason.

    A curation from before schema 0003 kept only verdicts: its states are derived from them, and kept if the store can
    be written.
    """
    if (derived := _not_kept(store, receipt)) is None:
        return store.row_states(_name(receipt), state=state, code=code, pair_id=pair_id)
    wanted = (state, code, pair_id)
    return (s for s in derived if all(w is None or w == o for w, o in zip(wanted, _searched(s), strict=True)))


def skim_states(store: Store, receipt: Receipt) -> Iterator[Json]:
    """`read_states` as JSON, for sums over very many rows."""
    if (derived := _not_kept(store, receipt)) is None:
        return store.skim_row_states(_name(receipt))
    return (state.model_dump(mode="json") for state in derived)


def _not_kept(store: Store, receipt: Receipt) -> list[RowState] | None:
    """States that have to be derived and cannot be written; None where the store has them, or has them now."""
    curation = _name(receipt)
    if "curation" in receipt.facts or store.count_row_states(curation):
        return None
    derived = list(_derived(store, receipt, curation))
    if not store.writable:
        return derived
    store.write(*derived)
    return None


def _searched(state: RowState) -> tuple[str, str | None, str | None]:
    return state.state, state.reason.code if state.reason else None, state.pair_id


def _name(receipt: Receipt) -> str:
    named = receipt.facts.get("curation")
    return (
        str(named) if named else content_id("curation", receipt.model_dump(mode="json", include={"started", "facts"}))
    )


def _named(store: Store) -> set[str]:
    receipts = (last_curation(store), last_curation(store, finished=True))
    return {_name(receipt) for receipt in receipts if receipt}


def _derived(store: Store, receipt: Receipt, curation: str) -> Iterator[RowState]:
    """The states behind a receipt that names none: accepted is what stands in its dataset, and the rest was kept out by
    the first of its steps that rejected it, else by the first that could not judge."""
    from curate.pool import Pool

    datasets = {artifact.id: dict(artifact.members) for artifact in store.artifacts("dataset")}
    members = datasets.get(str(receipt.facts.get("made")), {})
    order = {name: at for at, name in enumerate(receipt.facts.get("steps", ()))}
    scorer = (receipt.facts.get("scorer") or {}).get("by")
    rows, met = Pool.read(store, receipt.facts.get("scopes", ())).rows(), set[str]()
    while chunk := list(islice(rows, _CHUNK)):
        verdicts = store.verdicts(row.pair.id for row in chunk if row.pair)
        for row in chunk:
            if row.pair is None:
                yield _record(curation, row.candidate, "failed", GENERATE, row.reason)
                continue
            latest = {verdict.by: verdict for verdict in verdicts.get(row.pair.id, ()) if verdict.by in order}
            verdicts_here = sorted(latest.values(), key=lambda verdict: order[verdict.by])
            score = next((verdict.score for verdict in verdicts_here if verdict.by == scorer), None)
            keep, step, reason = _kept_out(row, verdicts_here, row.pair.id in members, row.pair.id in met)
            met.add(row.pair.id)
            split = members[row.pair.id] if keep else None
            yield _record(curation, row.candidate, _STATE[keep], step, reason, score=score, split=split)


def _kept_out(
    row: Row, verdicts: list[Verdict], exported: bool, met: bool
) -> tuple[bool | None, str | None, Reason | None]:
    if exported and not met:
        return True, None, None
    if exported:
        return False, DUPLICATE, Reason("duplicate", "its pair stands in another slot already")
    if row.decision and row.decision.verdict == "reject":
        return False, REVIEW, Reason("review", "a person rejected it")
    if row.decision and row.decision.verdict == "undecided":
        return None, REVIEW, row.decision.why
    outranked = ("gate/", "score/") if row.decision else ()
    blocking = [v for v in verdicts if v.keep is not True and not v.by.startswith(outranked)]
    for keep in (False, None):
        if verdict := next((v for v in blocking if v.keep is keep), None):
            return keep, verdict.by, verdict.reason
    return None, None, Reason("unjudged")
