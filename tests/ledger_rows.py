"""The rows of a store's ledger, as tests look at them."""

from __future__ import annotations

from schemas.store import Store


def call_index(store: Store) -> dict[str, tuple[tuple[int, str], ...]]:
    """key -> (attempt, status) of every call, by attempt."""
    index: dict[str, tuple[tuple[int, str], ...]] = {}
    for key, attempt, status in store.each_answer():
        index[key] = (*index.get(key, ()), (attempt, status))
    return index
