"""What `run` would do next: a stage is done if its last receipt went well for exactly the inputs that it would have
now, and for what the stage before it has made.

Inputs are hashed from the spec and from the size and time of the files that it names, so asking costs no more than
reading the receipts. A stage that is run although it was done does no harm: each of them finds its own finished work.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import prompts
from schemas.records import Receipt, content_id
from schemas.spec_file import Project
from schemas.store import Store

STAGES = ("generate", "curate", "train", "evaluate")


class Step(NamedTuple):
    """One stage, whether it is done, and why not."""

    stage: str
    done: bool
    why: str


def inputs(project: Project) -> dict[str, str]:
    """stage -> hash of everything that shapes it, the stages before it included."""
    spec, folder = project.spec, project.folder
    teacher = spec.teacher
    directions = [d for d in (spec.generate.forward, spec.generate.backward) if d.enabled]
    own: dict[str, object] = {
        "generate": [
            spec.task.model_dump(mode="json"),
            [(source.model_dump(mode="json"), _file(folder / source.path)) for source in spec.seeds],
            [exemplar.model_dump(mode="json") for exemplar in spec.exemplars],
            [teacher.identity or teacher.model, teacher.revision, teacher.url == "embedded", teacher.attempts],
            spec.generate.model_dump(mode="json"),
            [prompts.load(direction.prompt, folder).ref for direction in directions],
        ],
        "curate": [
            spec.curate.model_dump(mode="json"),
            spec.split.model_dump(mode="json"),
            [
                _file(folder.joinpath(*name.partition(":")[0].split(".")).with_suffix(".py"))
                for name in spec.curate.gates.user
            ],
            _file(folder / spec.curate.gates.json_schema) if spec.curate.gates.json_schema else None,
        ],
        "train": spec.train.model_dump(mode="json"),
        "evaluate": spec.evaluate.model_dump(mode="json"),
    }
    chained, before = {}, ""
    for stage in STAGES:
        chained[stage] = before = content_id("inputs", [before, own[stage]])
    return chained


def _file(path: Path) -> list[int] | None:
    """Size and time of a file; None for a folder, for standard input, and for what is not there."""
    if not path.is_file():
        return None
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def inputs_of(stage: str, project: Project, store: Store) -> dict[str, str]:
    """What a stage's receipt says of its inputs: their hash, and what the stage before it had made."""
    before = STAGES.index(stage) - 1
    made = ""
    if before >= 0:
        good = [receipt for receipt in store.receipts(STAGES[before]) if receipt.ok]
        made = str(good[-1].facts.get("made", "")) if good else ""
    return {"inputs": inputs(project)[stage], "from": made}


def plan(project: Project, receipts: list[Receipt]) -> list[Step]:
    """Every stage in order with whether it is done. `receipts` are oldest first."""
    latest = {receipt.command: receipt for receipt in receipts}
    steps: list[Step] = []
    waits_for, made = "", ""
    for stage, now in inputs(project).items():
        receipt = latest.get(stage)
        why = f"after {waits_for}" if waits_for else _why_not(receipt, now, made, project.folder)
        steps.append(Step(stage, not why, why))
        waits_for = waits_for or (stage if why else "")
        made = str(receipt.facts.get("made", "")) if receipt else ""
    return steps


def _why_not(receipt: Receipt | None, now: str, made_before: str, folder: Path) -> str:
    """Why a stage is not done; empty if it is."""
    if receipt is None:
        return "not run yet"
    if not receipt.ok:
        return "did not finish"
    if receipt.facts.get("inputs") != now:
        return "its inputs have changed"
    if receipt.facts.get("from", "") != made_before:
        return "the stage before it has made something new"
    if receipt.facts.get("unanswered"):
        return f"{receipt.facts['unanswered']} rows are still unanswered"
    gone = [path for path in receipt.facts.get("files", []) if not (folder / path).exists()]
    return f"{gone[0]} is gone" if gone else ""
