"""What `run` would do next: a stage is done if its last receipt went well for exactly the inputs that it would have
now, and for what the stage before it has made.

Inputs are hashed from the spec and from the size and time of the files that it names, so asking costs no more than
reading the receipts. A stage that is run although it was done does no harm: each of them finds its own finished work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import prompts
from schemas.records import Receipt, content_id
from schemas.spec_file import Project
from schemas.store import Store

STAGES = ("generate", "curate", "review", "train", "evaluate")
# What each stage works on was made by this one. Review makes nothing; it lets the dataset pass.
_FROM = {"curate": "generate", "review": "curate", "train": "curate", "evaluate": "train"}


class Step(NamedTuple):
    """One stage, whether it is done, and why not."""

    stage: str
    done: bool
    why: str


def inputs(project: Project) -> dict[str, str]:
    """stage -> hash of everything that shapes it, the stages that it works on included. Without `review` where the
    spec has it off."""
    spec, folder = project.spec, project.folder
    teacher = spec.teacher
    directions = [d for d in (spec.generate.forward, spec.generate.backward) if d.enabled]
    own: dict[str, object] = {
        "generate": [
            spec.task.model_dump(mode="json"),
            [(source.model_dump(mode="json"), _file(folder / source.path)) for source in spec.seeds],
            [exemplar.model_dump(mode="json") for exemplar in spec.exemplars],
            [teacher.identity or teacher.model, teacher.revision, teacher.url == "embedded", teacher.attempts]
            + ([teacher.finish_reasons] if teacher.finish_reasons else []),
            spec.generate.model_dump(mode="json"),
            [prompts.load(direction.prompt, folder).ref for direction in directions],
        ],
        "curate": [
            spec.review.enabled,  # the dataset card tells it
            spec.curate.model_dump(mode="json"),
            spec.split.model_dump(mode="json"),
            _modules(folder, spec.curate.gates.user),
            _file(folder / spec.curate.gates.json_schema) if spec.curate.gates.json_schema else None,
        ],
        "review": spec.review.model_dump(mode="json"),
        "train": spec.train.model_dump(mode="json"),
        "evaluate": spec.evaluate.model_dump(mode="json"),
    }
    if spec.evaluate.user:
        own["evaluate"] = [own["evaluate"], _modules(folder, spec.evaluate.user)]
    chained: dict[str, str] = {}
    for stage in STAGES:
        chained[stage] = content_id("inputs", [chained[_FROM[stage]] if stage in _FROM else "", own[stage]])
    if not spec.review.enabled:
        del chained["review"]
    return chained


def _modules(folder: Path, functions: Sequence[str]) -> list[list[int] | None]:
    """Size and time of the file of each `module:function`."""
    return [_file(folder.joinpath(*name.partition(":")[0].split(".")).with_suffix(".py")) for name in functions]


def _file(path: Path) -> list[int] | None:
    """Size and time of a file; None for a folder, for standard input, and for what is not there."""
    if not path.is_file():
        return None
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def inputs_of(stage: str, project: Project, store: Store) -> dict[str, str]:
    """What a stage's receipt says of its inputs: their hash, and what the stage that it works on had made."""
    good = [receipt for receipt in store.receipts(_FROM[stage]) if receipt.ok] if stage in _FROM else []
    return {"inputs": inputs(project)[stage], "from": str(good[-1].facts.get("made", "")) if good else ""}


def plan(project: Project, receipts: Sequence[Receipt], review_count: int) -> list[Step]:
    """Every stage in order with whether it is done. `receipts` are oldest first; `review_count` is the store's."""
    latest = {receipt.command: receipt for receipt in receipts}
    steps: list[Step] = []
    waits_for = ""
    for stage, now in inputs(project).items():
        source = latest.get(_FROM.get(stage, ""))
        made = str(source.facts.get("made", "")) if source else ""
        why = f"after {waits_for}" if waits_for else _why_not(latest.get(stage), now, made, project.folder)
        if not why and stage == "curate" and latest[stage].facts.get("review_count", 0) != review_count:
            why = "people have answered since"
        steps.append(Step(stage, not why, why))
        waits_for = waits_for or (stage if why else "")
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
    if receipt.facts.get("waits"):
        return str(receipt.facts["waits"])
    if receipt.facts.get("unanswered"):
        return f"{receipt.facts['unanswered']} rows are still unanswered"
    gone = [path for path in receipt.facts.get("files", []) if not (folder / path).exists()]
    return f"{gone[0]} is gone" if gone else ""
