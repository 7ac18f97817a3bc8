"""Erasing a source or a person from a project: its store, the files that pairsmith made, and the rows in Argilla."""

from __future__ import annotations

import shutil
from pathlib import Path

from pairsmith.outcome import ExportOutcome
from pairsmith.stages.export import EXPORT, MARK
from schemas.errors import PairsmithError, UsageError
from schemas.project import CERTIFICATE, Project
from schemas.records import Json
from schemas.store import Store
from schemas.store.erase import LEAST, Traces, erase, holds, left_in, of_person, of_source
from schemas.store.opening import sqlite_path
from schemas.wording import counted

# What pairsmith wrote and can write again. A tuned model is not: it is named, and stays.
_MADE = ("dataset", "evaluations", "receipts", "report.html", "evidence.json")


def erased(project: Project, store: Store, *, source: str | None = None, person: str | None = None) -> Json:
    """Erase what was read from `source`, or what a `person` said, and say what went, what is left and which models
    learned from it. Raises UsageError where there is nothing of that name."""
    if (source is None) == (person is None):
        raise UsageError("erase needs either --source or --person.", fix="Name one of them.")
    traces = of_source(store, source) if source is not None else of_person(store, str(person))
    if not traces.seeds and not traces.reviews:
        raise _nothing(store, source, person)
    texts = traces.searched
    models = _models(store, traces)
    exports = _exports(project, store)
    argilla = _from_argilla(project, store, traces, source)
    files = _without_files(project, store, traces.quoted, exports)
    records = erase(store, traces)  # last: until then it says what is to go, to who was cut off
    left = [
        path.relative_to(project.folder).as_posix()
        for path in sorted(project.folder.rglob("*"))
        if path.is_file() and not _is_store(path, store) and holds(path, texts)
    ]
    return {
        "seeds": len(traces.seeds),
        "pairs": len(traces.pairs),
        "reviews": records.get("reviews", 0),
        "records": records,
        "files": files,
        "argilla": argilla,
        "models": models,
        "left_in_store": left_in(store, texts),
        "left_in_files": left,
        "short_texts": sorted(text for text in traces.texts if text and len(text) < LEAST),
        "shared_texts": sorted(text for text in traces.shared if len(text) >= LEAST),
    }


def _nothing(store: Store, source: str | None, person: str | None) -> UsageError:
    if source is not None:
        files = ", ".join(sorted({seed.file for seed in store.seeds(active=False)})) or "none"
        return UsageError(f"no seed was read from '{source}'.", fix=f"Sources in the store: {files}.")
    who = {review.who for reviews in store.reviews().values() for review in reviews}
    people = ", ".join(sorted(who)) or "none"
    return UsageError(f"nobody called '{person}' has answered.", fix=f"People in the store: {people}.")


def _models(store: Store, traces: Traces) -> list[Json]:
    """Adapters and reward models that learned from a row of it, and whatever was made of these."""
    every = {artifact.id: artifact for artifact in store.artifacts()}
    touched = {id_ for id_, of in every.items() if {pair_id for pair_id, _ in of.members} & traces.pairs}
    if traces.seeds:  # a reward model is fitted on good texts among the seeds, and its artifact names none
        touched |= {id_ for id_, of in every.items() if of.kind == "reward_model"}
    while more := {id_ for id_, of in every.items() if set(of.parents) & touched} - touched:
        touched |= more
    models = [of for id_, of in every.items() if id_ in touched and of.kind in ("adapter", "reward_model")]
    return [{"kind": of.kind, "id": of.id, "path": of.path} for of in models]


def _exports(project: Project, store: Store) -> list[str]:
    """The folders that an export was written to and that hold one still: their names in the project, or whole paths."""
    files = [file for receipt in store.receipts("export") for file in ExportOutcome.of(receipt).written.values()]
    folders = {folder for file in files for folder in Path(file).parents if (folder / MARK).is_file()}
    base = project.folder.resolve()
    every = (folder.resolve() for folder in {*folders, project.folder / EXPORT})
    return sorted(str(one.relative_to(base) if one.is_relative_to(base) else one) for one in every)


def _without_files(project: Project, store: Store, texts: list[str], exports: list[str]) -> list[str]:
    """Delete what pairsmith made that holds one of the texts, `exports` among it, and the copies of the store from
    before an upgrade."""
    gone = []
    if (project.folder / CERTIFICATE).is_file():  # it is about other rows now
        (project.folder / CERTIFICATE).unlink()
        gone.append(CERTIFICATE)
    for name in (*_MADE, *exports):
        path = project.folder / name
        if path.is_file() and holds(path, texts):
            path.unlink()
            gone.append(name)
        elif path.is_dir() and any(holds(file, texts) for file in path.rglob("*")):
            if name == "receipts":  # each stands for itself, and the store has them too
                for file in path.glob("*.json"):
                    if holds(file, texts):
                        file.unlink()
            else:
                shutil.rmtree(path)
            gone.append(f"{name}/")
    if (kept := sqlite_path(store.url)) is not None:
        for copy in kept.parent.glob(f"{kept.name}.before-*"):
            copy.unlink()
            gone.append(copy.name)
    return gone


def _is_store(path: Path, store: Store) -> bool:
    file = sqlite_path(store.url)
    return file is not None and path.resolve().name.startswith(file.name) and path.resolve().parent == file.parent


def _from_argilla(project: Project, store: Store, traces: Traces, source: str | None) -> str:
    """Delete the rows, or the person's answers, from the queues of the project; what was done, in words."""
    if not store.sampled():
        return "no row was ever sent there"
    from curate.argilla.erasing import erase_answers, erase_rows
    from curate.argilla.push import project_id, queue_names, workspace_of
    from pairsmith.stages.review import argilla

    try:
        with argilla(project) as connected:
            connected.workspace = workspace_of(project, store, connected)
            queues = connected.queues(project_id(store.sampled()), queue_names(project, store.sampled()))
            if source is not None:
                return f"{counted(erase_rows(connected, queues, traces.pairs), 'row', 'rows')} deleted there"
            answers = counted(erase_answers(connected, queues, traces.names), "answer", "answers")
            return f"{answers} deleted there; the account is yours to delete, on the page of Argilla"
    except PairsmithError as away:
        return f"not reached, so what is there is there still, and the next pull brings it back: {away.what}"
