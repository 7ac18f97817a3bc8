"""Which artifact is the present one: the one that its stage made or found last, which need not be the youngest."""

from __future__ import annotations

from typing import Literal

from schemas.records import Artifact
from schemas.store.store import Store

Kind = Literal["dataset", "adapter", "evaluation"]
_MAKERS: dict[Kind, str] = {"dataset": "curate", "adapter": "train", "evaluation": "evaluate"}


def latest(store: Store, kind: Kind) -> Artifact | None:
    """The artifact of `kind` that the last run of its stage named, a stopped one too; the youngest where no receipt
    names one. Going back to earlier settings finds an earlier artifact, and what comes after has to go on from that."""
    youngest_first = store.artifacts(kind)[::-1]
    by_id = {artifact.id: artifact for artifact in youngest_first}
    named = (receipt.facts.get("made") for receipt in reversed(store.receipts(_MAKERS[kind])))
    named_artifact = next((by_id[id_] for id_ in named if isinstance(id_, str) and id_ in by_id), None)
    return named_artifact or next(iter(youngest_first), None)


def present(store: Store) -> dict[str, Artifact]:
    """Dataset and adapter that were made or found last, as far as there are any, and the evaluation, if it is of that
    adapter: one of another would pass for its proof."""
    artifacts: dict[str, Artifact] = {kind: artifact for kind in _MAKERS if (artifact := latest(store, kind))}
    evaluation, adapter = artifacts.get("evaluation"), artifacts.get("adapter")
    if evaluation and adapter and adapter.id not in evaluation.parents:
        del artifacts["evaluation"]
    return artifacts
