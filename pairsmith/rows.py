"""Rows as the last curation left them, with their texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from curate.states import last_curation, read_states
from schemas.errors import NoWork
from schemas.records import Receipt, RowState
from schemas.store import Store


def read_rows(store: Store, *, state: str | None, code: str | None, limit: int) -> dict[str, Any]:
    """The first `limit` rows (0: all) in a state, for a reason, or both, in the order of the pool. Raises NoWork before
    curation.

    `answered_since`: people have said something that the last curation does not know. `more`: the limit left rows out.
    """
    receipt = curated(store)
    states = list(islice(read_states(store, receipt, state=state, code=code), limit + 1 if limit else None))
    shown = states[:limit] if limit else states
    return {
        "curation": shown[0].curation if shown else receipt.facts.get("curation"),
        "counts": receipt.counts.model_dump(),
        "reasons": receipt.reasons,
        "answered_since": receipt.facts.get("review_count", 0) != store.review_count(),
        "rows": _with_texts(store, shown),
        "more": len(states) > len(shown),
    }


def curated(store: Store) -> Receipt:
    """The receipt of the last curation. Raises NoWork where there is none."""
    receipt = last_curation(store)
    if receipt is None:
        raise NoWork("nothing has been curated yet, so no row is in any state.", fix="Run `pairsmith curate` first.")
    return receipt


def _with_texts(store: Store, states: Sequence[RowState]) -> list[dict[str, Any]]:
    pairs = {pair.id: pair for pair in store.pairs(state.pair_id for state in states if state.pair_id)}
    seeds = {seed.id: seed.text or "" for seed in store.seeds(active=False)}
    rows = []
    for state in states:
        pair = pairs.get(state.pair_id or "")
        rows.append(
            {
                "pair_id": state.pair_id,
                "seed_id": state.seed_id,
                "generator": state.generator,
                "sample": state.sample,
                "state": state.state,
                "code": state.reason.code if state.reason else None,
                "reason": str(state.reason) if state.reason else None,
                "step": state.step,
                "flags": list(state.flags),
                "score": state.score,
                "split": state.split,
                "input": pair.input if pair else seeds.get(state.seed_id, ""),
                "output": pair.output if pair else None,
            }
        )
    return rows
