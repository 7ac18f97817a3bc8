"""An accepted set to a tuned model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pairsmith import plan
from pairsmith.progress import clock
from pairsmith.receipt import Draft, recording
from pairsmith.session import Session
from pairsmith.stages.curate import latest_dataset
from schemas.errors import NoWork
from schemas.records import Counts
from schemas.spec_file import Project
from schemas.store import Store

if TYPE_CHECKING:
    from train.results import TrainResult

ADAPTERS = "adapters"


def train(session: Session, project: Project, store: Store) -> Draft:
    """Tune the base on the dataset; the same dataset and settings find the adapter that is there. Raises NoWork."""
    with recording(project, store, "train") as draft:
        draft.facts |= plan.inputs_of("train", project, store)
        dataset = latest_dataset(store)
        if dataset is None:
            raise NoWork("there is no dataset to train on.", fix="Run `pairsmith curate` first.")
        session.say("loading the base model")
        from train.base_model import find_base
        from train.dataset import dataset_of
        from train.sft import tune

        settings = project.spec.train
        with session.progress() as progress:
            base = find_base(settings.base, project.folder, progress)
            rows = dataset_of(project.folder / dataset.path)
            result = tune(base, rows, settings, project.folder / ADAPTERS, progress)
        path = inside(project, result.folder)
        store.write(result.artifact.model_copy(update={"path": path}))
        trained_on = result.train_rows + result.validation_rows
        draft.counts = Counts(rows_in=trained_on, accepted=trained_on)
        draft.facts |= {"made": result.adapter_id, "files": [path], "reused": result.reused, **_numbers(result)}
    return draft


def inside(project: Project, path: str) -> str:
    """`path` relative to the project, so that the project can be moved."""
    return Path(path).resolve().relative_to(project.folder.resolve()).as_posix()


def _numbers(result: TrainResult) -> dict[str, object]:
    names = ("base", "train_rows", "validation_rows", "steps", "learned_tokens", "four_bit_layers", "seconds")
    losses = {"first_loss": result.curve[0].loss, "last_loss": result.curve[-1].loss}
    if result.validation:
        losses |= {"validation_before": result.validation[0].loss, "validation_after": result.validation[-1].loss}
    return result.model_dump(mode="json", include=set(names)) | losses


def summary(draft: Draft) -> list[tuple[str, str]]:
    """Steps and losses, and where the adapter is."""
    f = draft.facts
    rows = f"{f['train_rows']} rows, {f['steps']} steps in {clock(f['seconds'])}"
    lines = [("trained", f"{f['base']} on {rows}{' (found from an earlier run)' if f['reused'] else ''}")]
    loss = f"{f['first_loss']:.2f} to {f['last_loss']:.2f}"
    if "validation_before" in f:
        loss += f"; on validation {f['validation_before']:.2f} to {f['validation_after']:.2f}"
    return [*lines, ("loss", loss), ("adapter", f["files"][0])]
