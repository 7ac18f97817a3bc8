"""The outcome of curation, one record per slot: written by every curation, and read by everything that reports on it.

The states of a curation have a new name each time (`RowState.curation`) and become valid once a receipt of `curate`
names it. A killed curation therefore leaves nothing visible, and the next one deletes states that no receipt names.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curate.rows import DUPLICATE, GENERATE, REVIEW, SPLIT, STATE, Row
from curate.split import SPLITS
from schemas.failpoints import failpoint
from schemas.id_map import IdMap
from schemas.identity import construct
from schemas.progress import Progress, reporting, unseen
from schemas.records import Candidate, Json, Pair, Reason, Receipt, RowState, Split, State, Verdict, content_id
from schemas.reviews import Review
from schemas.store import Store
from schemas.store.latest import members_of
from schemas.streamed import Streamed, batched

if TYPE_CHECKING:
    from curate.pool import Pool

_CHUNK = 1_000
REPEATED = ("contamination", "duplicate")  # reasons of rows that repeat a held-out text or an accepted row


async def write_states(
    store: Store, pool: Pool, curation: str, progress: Progress = unseen
) -> dict[str, dict[str, int]]:
    """Store the outcome of every slot under the new name `curation`, and delete the states that no receipt names.

    Returns the number of accepted rows in each of `splits` and with each of `flags`, most frequent first, and by reason
    how many rows that repeat others are `lost`: no row of their seed is accepted.
    """
    in_use = (last_curation(store), last_curation(store, finished=True))
    store.delete_row_states(but={_curation_name(receipt) for receipt in in_use if receipt})
    decided = zip(pool.outcomes(), pool.codes(SPLIT), strict=True)
    states = (_state(row, code, curation) for row, code in reporting(decided, progress, "decisions", len(pool)))
    splits, flags = Counter[Split | None](), Counter[str]()
    with_row, repeats = IdMap(), Counter[tuple[str, str]]()
    # The previous chunk, stored by the writer thread while the next one is prepared.
    writing: Future[None] | None = None
    for chunk in batched(states, _CHUNK):
        if writing:
            await asyncio.wrap_future(writing)
            failpoint("mid_curate")
        writing = store.append(*chunk)
        accepted = [state for state in chunk if state.state == "accepted"]
        splits.update(state.split for state in accepted)
        flags.update(flag for state in accepted for flag in state.flags)
        for state in accepted:
            with_row[state.seed_id] = 1
        repeats.update((s.reason.code, s.seed_id) for s in chunk if s.reason and s.reason.code in REPEATED)
    if writing:
        await asyncio.wrap_future(writing)
        failpoint("mid_curate")
    lost = Counter[str]()
    for (code, seed_id), rows in repeats.items():
        lost[code] += rows * (seed_id not in with_row)
    return {
        "splits": {split: splits[split] for split in SPLITS},
        "flags": dict(flags.most_common()),
        "lost": dict(lost),
    }


def state_of(row: Row) -> State:
    return "failed" if row.candidate.pair_id is None else STATE[row.keep]


def _state(row: Row, code: str, curation: str) -> RowState:
    split = next((split for split in SPLITS if split == code), None) if row.keep else None
    return record_of(
        curation, row.candidate, state_of(row), row.step, row.reason, flags=row.flags, score=row.score, split=split
    )


def assigned_split(row: Row) -> Split | None:
    """The split assigned to a row; None if it did not get that far."""
    codes = [verdict.reason.code for verdict in row.verdicts if verdict.by == SPLIT]
    return next((split for split in SPLITS if split in codes), None)


def record_of(
    curation: str, candidate: Candidate, state: State, step: str | None, reason: Reason | None, **more: object
) -> RowState:
    """The state of a slot; `more` are its flags, score and split."""
    slot: Json = {
        "generation": candidate.fingerprint,
        "seed_id": candidate.seed_id,
        "generator": candidate.generator,
        "sample": candidate.sample,
    }
    decided: Json = {"pair_id": candidate.pair_id, "state": state, "step": step, "reason": reason}
    return construct(RowState, {"curation": curation, **slot, **decided, **more})


# Reading


def last_curation(store: Store, *, finished: bool = False) -> Receipt | None:
    """The receipt of the newest curation that judged rows, whether or not any row was left to export. With `finished`,
    the newest successful one."""
    decided = (r for r in reversed(store.receipts("curate")) if "steps" in r.facts and (r.ok or not finished))
    return next(decided, None)


def read_states(
    store: Store, receipt: Receipt, *, state: str | None = None, code: str | None = None, pair_id: str | None = None
) -> Iterator[RowState]:
    """The row states of the curation of `receipt`, in pool order; `code` filters by reason code.

    A curation from before schema 0003 stored only verdicts. Its states are derived from them, and stored if the store
    is writable.
    """
    if (derived := _derived_if_missing(store, receipt)) is None:
        return store.row_states(_curation_name(receipt), state=state, code=code, pair_id=pair_id)
    return (
        row
        for row in derived
        if state in (None, row.state)
        and code in (None, row.reason.code if row.reason else None)
        and pair_id in (None, row.pair_id)
    )


def skim_states(store: Store, receipt: Receipt) -> Iterator[Json]:
    """`read_states` as JSON, for totals over very many rows."""
    if (derived := _derived_if_missing(store, receipt)) is None:
        return store.skim_row_states(_curation_name(receipt))
    return (state.model_dump(mode="json") for state in derived)


def count_states(store: Store, receipt: Receipt) -> int:
    """How many rows of the curation of `receipt` there are, without those that were erased since."""
    derived = _derived_if_missing(store, receipt)
    return store.count_row_states(_curation_name(receipt)) if derived is None else len(derived)


def _derived_if_missing(store: Store, receipt: Receipt) -> list[RowState] | None:
    """The derived states, if the store lacks them and cannot be written; None if the store has them, or has them
    now."""
    curation = _curation_name(receipt)
    if "curation" in receipt.facts or store.count_row_states(curation):
        return None
    derived = list(_derive_states(store, receipt, curation))
    if not store.writable:
        return derived
    store.write(*derived)
    return None


def _curation_name(receipt: Receipt) -> str:
    named = receipt.facts.get("curation")
    return (
        str(named) if named else content_id("curation", receipt.model_dump(mode="json", include={"started", "facts"}))
    )


def _derive_states(store: Store, receipt: Receipt, curation: str) -> Iterator[RowState]:
    """The states for a receipt that names none. Rows in its dataset are accepted; the others were kept out by the first
    of its steps that rejected them, else by the first that could not judge."""
    from curate.pool import Pool

    members = dict(members_of(store, [str(receipt.facts.get("made"))])).get(str(receipt.facts.get("made")), {})
    order = {name: at for at, name in enumerate(receipt.facts.get("steps", ()))}
    scorer = (receipt.facts.get("scorer") or {}).get("by")
    rows, seen = Pool.read(store, receipt.facts.get("scopes", ())).rows(), set[str]()
    for chunk in batched(rows, _CHUNK):
        verdicts = store.verdicts(row.pair.id for row in chunk if row.pair)
        for row in chunk:
            if row.pair is None:
                yield record_of(curation, row.candidate, "failed", GENERATE, row.reason)
                continue
            latest = {verdict.by: verdict for verdict in verdicts.get(row.pair.id, ()) if verdict.by in order}
            verdicts_here = sorted(latest.values(), key=lambda verdict: order[verdict.by])
            score = next((verdict.score for verdict in verdicts_here if verdict.by == scorer), None)
            if row.pair.id not in members:
                keep, step, reason = _kept_out(row, verdicts_here)
            else:
                keep, step, reason = _DUPLICATE if row.pair.id in seen else (True, None, None)
            seen.add(row.pair.id)
            split = members[row.pair.id] if keep else None
            yield record_of(curation, row.candidate, STATE[keep], step, reason, score=score, split=split)


_DUPLICATE = False, DUPLICATE, Reason("duplicate", "its pair is already in another slot")


def _kept_out(row: Row, verdicts: list[Verdict]) -> tuple[bool | None, str | None, Reason | None]:
    """Whether a row that is not in the dataset is rejected (False) or waits (None), by which step, and why."""
    decision = row.decision if row.reviews else None  # one on a pair with the same texts did not count then
    if decision and decision.verdict == "reject":
        return False, REVIEW, Reason("review", "rejected in review")
    if decision and decision.verdict == "undecided":
        return None, REVIEW, decision.why
    outranked = ("gate/", "score/") if decision else ()
    blocking = [v for v in verdicts if v.keep is not True and not v.by.startswith(outranked)]
    for keep in (False, None):
        if verdict := next((v for v in blocking if v.keep is keep), None):
            return keep, verdict.by, verdict.reason
    return None, None, Reason("unjudged")


@dataclass(frozen=True)
class Accepted:
    """An accepted row: its pair (with the reviewer's correction, if any), its split, and the verdicts that accepted
    it."""

    pair: Pair
    split: Split
    score: float | None
    verdicts: tuple[Verdict, ...]
    reviews: tuple[Review, ...] = ()


class AcceptedRows(Streamed[Accepted]):
    """The accepted rows of a curated pool, in pool order."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._rows = pool, pool.counts.accepted

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Accepted]:
        for row in self._pool.accepted():
            if row.pair and (split := assigned_split(row)):
                yield Accepted(row.pair, split, row.score, row.verdicts, row.reviews)
