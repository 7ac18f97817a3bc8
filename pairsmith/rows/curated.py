"""Rows as the last curation left them, with their texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from curate.rows import GENERATE
from curate.states import count_states, last_curation, read_states, record_of
from pairsmith.receipts.outcome import GenerateOutcome
from schemas.errors import NoWork, UsageError
from schemas.records import Reason, Receipt, RowState, State, Verdict
from schemas.store import Store
from schemas.streamed import batched

_AT_ONCE = 1_000  # rows whose records are in memory at a time


def read_rows(
    store: Store, *, state: str | None, code: str | None, limit: int, flagged: bool = False
) -> dict[str, Any]:
    """The first `limit` rows (0: all) in pool order, filtered by state, by reason or flag, and with `flagged` only
    flagged rows; `rows` iterates over them and reads them from the store. Before the first curation these are the slots
    of the last generation: failed ones with their reason, the others waiting.

    `answered_since`: reviews were added or erased since the last curation. `erased`: rows in `counts` that were erased
    since. `more`: there are more rows than `limit`.
    Raises NoWork before generation, and UsageError for a reason that no row has.
    """
    receipt, flags = last_curation(store), set[str]()
    if receipt:
        present = count_states(store, receipt)
        flag = code if code not in receipt.reasons else None
        states = read_states(store, receipt, state=state, code=None if flag else code)
        if flag or flagged:
            states = (s for s in states if s.flags and flag in (None, *s.flags))
        flags = {flag for s in read_states(store, receipt) for flag in s.flags} if flag else flags
    else:
        receipt = _generated(store)
        present = store.count_candidates(GenerateOutcome.of(receipt).fingerprints.values())
        states = (s for s in _uncurated(store, receipt) if state in (None, s.state) and code in (None, _code(s)))
    first = list(islice(states, limit + 1 if limit else 1))
    if code and not first and code not in {*receipt.reasons, *flags}:
        codes = ", ".join(sorted({*receipt.reasons, *flags})) or "none"
        raise UsageError(f"no row has the reason or flag '{code}'.", fix=f"Existing reasons: {codes}.")
    shown = first[:limit] if limit else chain(first, states)
    return {
        "curation": first[0].curation if first else receipt.facts.get("curation"),
        "counts": receipt.counts.model_dump(),
        "reasons": receipt.reasons,
        "answered_since": receipt.facts.get("review_count", store.review_count()) != store.review_count(),
        "erased": max(0, receipt.counts.rows_in - present),
        "rows": (row for chunk in batched(shown, _AT_ONCE) for row in _with_texts(store, chunk)),
        "more": bool(limit) and len(first) > limit,
    }


def _generated(store: Store) -> Receipt:
    receipts = store.receipts("generate")
    if not receipts:
        raise NoWork("nothing has been generated yet, so there are no rows.", fix="Run `pairsmith generate` first.")
    return receipts[-1]


def _uncurated(store: Store, receipt: Receipt) -> Iterator[RowState]:
    """The slots of a generation before any curation."""
    seeds = store.active_seed_ids()
    for fingerprint in GenerateOutcome.of(receipt).fingerprints.values():
        for candidate in store.each_candidate(fingerprint):
            if candidate.seed_id in seeds:
                state: State = "failed" if candidate.failure else "waiting"
                reason = candidate.failure or Reason("uncurated", "not judged yet; run `pairsmith curate`")
                yield record_of("", candidate, state, GENERATE, reason)


def _code(state: RowState) -> str | None:
    return state.reason.code if state.reason else None


def curated(store: Store) -> Receipt:
    """The receipt of the last curation. Raises NoWork if there is none."""
    receipt = last_curation(store)
    if receipt is None:
        raise NoWork("nothing has been curated yet, so rows have no state.", fix="Run `pairsmith curate` first.")
    return receipt


def _with_texts(store: Store, states: Sequence[RowState]) -> Iterator[dict[str, Any]]:
    verdicts = store.verdicts(state.pair_id for state in states if state.pair_id and state.flags)
    pairs = {pair.id: pair for pair in store.pairs(state.pair_id for state in states if state.pair_id)}
    seeds = store.seeds_by_id(state.seed_id for state in states if state.pair_id not in pairs)
    for state in states:
        pair = pairs.get(state.pair_id or "")
        yield {
            **state.model_dump(mode="json", exclude={"curation", "generation"}),
            "code": _code(state),
            "reason": str(state.reason) if state.reason else None,
            "flagged": _flagged(state, verdicts.get(state.pair_id or "", ())),
            "input": pair.input if pair else seeds[state.seed_id].body if state.seed_id in seeds else "",
            "output": pair.output if pair else None,
        }


def flagged_reason(verdict: Verdict) -> str:
    """The reason of a step that flagged a row, under the name of the flag if its own reason is "ok"."""
    code, detail = verdict.reason.code, verdict.reason.detail
    return str(Reason(", ".join(verdict.flags) if code == "ok" else code, detail))


def _flagged(state: RowState, verdicts: Iterable[Verdict]) -> list[str]:
    """The reasons for the flags of a row; just the code for flags set by steps that judge the whole pool."""
    reasons = {flag: flagged_reason(verdict) for verdict in verdicts for flag in verdict.flags}
    return list(dict.fromkeys(reasons.get(flag, flag) for flag in state.flags))
