"""Pairs to an accepted set: judges the pool of the present spec and writes the dataset."""

from __future__ import annotations

import asyncio

from curate.export import export_dataset
from curate.outcome import curate_project
from curate.review.pool import read_pool
from curate.review.standing import as_json, standing_of
from pairsmith import plan
from pairsmith.receipt import Draft, recording
from pairsmith.session import Session
from pairsmith.stages.generate import pool_fingerprints
from schemas.records import Artifact
from schemas.spec_file import Project
from schemas.store import Store

DATASET = "dataset"


def curate(session: Session, project: Project, store: Store) -> Draft:
    """Judge every candidate of the present spec and write what is accepted to `dataset/`.

    Raises NoWork if there is no candidate, or none is accepted.
    """
    with recording(project, store, "curate") as draft:
        draft.facts |= {**plan.inputs_of("curate", project, store), "review_count": store.review_count()}
        fingerprints = asyncio.run(pool_fingerprints(session, project, store))
        with session.progress() as progress:
            result = asyncio.run(curate_project(project, store, fingerprints=fingerprints, progress=progress))
            draft.counts, draft.reasons = result.counts, result.reasons
            if store.routed():
                result.facts["review"] = as_json(standing_of(project, store, read_pool(project, store, fingerprints)))
            draft.facts |= result.facts
            dataset = export_dataset(project, store, result, project.folder / DATASET)
        draft.facts |= {"made": dataset.id, "files": [dataset.path], "rows": dataset.facts["rows"]}
    return draft


def latest_dataset(store: Store) -> Artifact | None:
    """The dataset that was written last."""
    return next((artifact for artifact in reversed(store.artifacts("dataset"))), None)


def summary(draft: Draft) -> list[tuple[str, str]]:
    """What there is to say beside the counts: the scorer and why, the splits, where the dataset is."""
    lines = []
    if scorer := draft.facts.get("scorer"):
        lines.append(("scored by", scorer["why"]))
    rows = ", ".join(f"{count:,} {part}" for part, count in draft.facts["rows"].items())
    lines.append(("dataset", f"{draft.facts['files'][0]}: {rows}"))
    return lines
