"""Erases a source or a reviewer from a project: from its store, from the files that pairsmith wrote, and from
Argilla."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from glob import escape
from pathlib import Path

from curate.preferences import BY_PEOPLE
from pairsmith.receipts.outcome import ExportOutcome
from pairsmith.registry import mark_of
from pairsmith.stages.export import EXPORT, MARK
from schemas.errors import PairsmithError, UsageError
from schemas.progress import Progress, unseen
from schemas.project import CERTIFICATE, Project
from schemas.records import Json
from schemas.store import Store
from schemas.store.erase import Traces, erase, left_in, traces_of_reviewer, traces_of_source
from schemas.store.latest import listed_artifacts, members_of
from schemas.store.opening import sqlite_path
from schemas.text_search import LEAST, FileSearch
from schemas.wording import counted

# Files that pairsmith wrote and can write again. A tuned model is not among them: it is reported, and kept.
_REWRITABLE = ("dataset", "evaluations", "receipts", "report.html", "evidence.json")
_MANIFEST = "manifest.json"  # of a dataset
_ELSEWHERE = "If rows were sent from another machine or to another server, delete them there, in Argilla"
_SERVICE, _VIEWS = ".serve", "views"  # in the workspace, if the project is in one of the service's


def erased(
    project: Project,
    store: Store,
    *,
    source: str | None = None,
    person: str | None = None,
    progress: Progress = unseen,
) -> Json:
    """Erase what was read from `source`, or the reviews of `person`, and report what was removed, what is left, and
    which models learned from it. One of the two is given. Raises UsageError if nothing matches."""

    def show(part: str) -> None:
        progress("erase", {"message": part})

    show("searching for what belongs to it")
    if source is not None:
        traces = traces_of_source(store, source, progress)
    else:
        traces = traces_of_reviewer(store, str(person), progress)
    if not traces.seeds and not traces.reviews:
        raise _no_match(store, source, person)
    texts = traces.searched
    search = FileSearch(texts)
    models = [*(learned := _models(store, traces)), *_releases(project, {model["id"] for model in learned})]
    exports = _exports(project, store)
    show("deleting it in Argilla")
    argilla = _erase_in_argilla(project, store, traces, source, progress)
    show("deleting files that contain it")
    files = _delete_files(project, store, traces.quoted, exports)
    # last: until then the store still shows what must be removed, in case this is interrupted
    show("deleting records and rewriting the store")
    records = erase(store, traces)
    _delete_view(project)  # a page may have built it again meanwhile
    show("searching for remaining traces")
    service, _ = _in_workspace(project)
    others = service / _VIEWS  # by now, of other projects
    places = (*project.folder.rglob("*"), *(path for path in service.rglob("*") if path.parent != others))
    left = [
        Path(os.path.relpath(path, project.folder)).as_posix()
        for path in sorted(places)
        if path.is_file() and not _is_store(path, store) and search.in_file(path)
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


def _no_match(store: Store, source: str | None, person: str | None) -> UsageError:
    if source is not None:
        files = ", ".join(sorted({seed.file for seed in store.each_seed()})) or "none"
        return UsageError(f"no seed was read from '{source}'.", fix=f"Sources in the store: {files}.")
    who = {review.who for reviews in store.reviews().values() for review in reviews}
    people = ", ".join(sorted(who)) or "none"
    return UsageError(f"there are no reviews by '{person}'.", fix=f"Reviewers in the store: {people}.")


def _models(store: Store, traces: Traces) -> list[Json]:
    """Adapters and reward models that learned from an affected row, and everything derived from them."""
    by_id = {each.id: each for each, _ in listed_artifacts(store)}
    affected = {id_ for id_, members in members_of(store) if not traces.pairs.isdisjoint(members)}
    for id_, artifact in by_id.items():  # these list no reviews, and a reward model no rows either
        facts, is_reward_model = artifact.facts, artifact.kind == "reward_model"
        of_preferences = facts.get("settings", {}).get("objective", "sft") != "sft"
        by_reviews = of_preferences or any(name in BY_PEOPLE for name in facts.get("by", ()))
        if (traces.reviews and by_reviews) or (traces.seeds and is_reward_model):
            affected.add(id_)
    while more := {id_ for id_, artifact in by_id.items() if set(artifact.parents) & affected} - affected:
        affected |= more
    models = [
        artifact for id_, artifact in by_id.items() if id_ in affected and artifact.kind in ("adapter", "reward_model")
    ]
    return [{"kind": artifact.kind, "id": artifact.id, "path": artifact.path} for artifact in models]


def _releases(project: Project, adapters: Collection[str]) -> list[Json]:
    """The versions in the registry that hold one of the adapters. A version whose `export.json` is missing or damaged
    may hold one, so its adapter is "unknown" as soon as there are any."""
    released = []
    for folder in sorted((project.folder / "registry").glob("*/v[1-9]*")):
        try:
            adapter = mark_of(folder).adapter or "unknown"
        except (PairsmithError, OSError):
            adapter = "unknown"
        if folder.is_dir() and not folder.is_symlink() and adapters and adapter in {*adapters, "unknown"}:
            path = folder.relative_to(project.folder).as_posix()
            released.append({"kind": "release", "id": adapter, "path": path})
    return released


def _exports(project: Project, store: Store) -> list[str]:
    """The folders that still hold an export: relative to the project if they are inside it, else absolute paths."""
    files = [file for receipt in store.receipts("export") for file in ExportOutcome.of(receipt).written.values()]
    folders = {folder for file in files for folder in Path(file).parents if (folder / MARK).is_file()}
    base = project.folder.resolve()
    every = (folder.resolve() for folder in {*folders, project.folder / EXPORT})
    return sorted(str(one.relative_to(base) if one.is_relative_to(base) else one) for one in every)


def _delete_files(project: Project, store: Store, texts: list[str], exports: list[str]) -> list[str]:
    """Delete the files written by pairsmith, including `exports`, that contain one of the texts, and the copies of the
    store made before upgrades. Returns their names."""
    deleted, search = [], FileSearch(texts)
    if (project.folder / CERTIFICATE).is_file():  # it certifies rows that are changing
        (project.folder / CERTIFICATE).unlink()
        deleted.append(CERTIFICATE)
    for name in (*_REWRITABLE, *exports):
        path = project.folder / name
        if search.in_file(path):
            _delete(path, search)
            deleted.append(name)
        elif path.is_dir() and any(map(search.in_file, path.rglob("*"))):
            if name == "receipts":  # receipts are independent of each other, and the store has them too
                for file in path.glob("*.json"):
                    if search.in_file(file):
                        file.unlink()
            else:
                _delete(path, search)
            deleted.append(f"{name}/")
    logs = list(filter(search.in_file, _in_workspace(project)[0].glob("jobs/*/log/*.txt")))  # with example rows
    for file in logs:
        file.unlink()
    deleted += ["logs of jobs"] if logs else []
    deleted += ["the service's view of the rows"] if _delete_view(project) else []
    if (kept := sqlite_path(store.url)) is not None:
        for copy in kept.parent.glob(f"{kept.name}.before-*"):
            copy.unlink()
            deleted.append(copy.name)
    return deleted


def _in_workspace(project: Project) -> tuple[Path, str]:
    """The service's own data, which need not exist, and the project's name there. A project is in its workspace, or in
    `projects` there, or it is linked from there."""
    places = (project.folder.absolute(), project.folder.resolve())
    homes = [(home, place) for place in places for home in place.parents[: 1 + (place.parent.name == "projects")]]
    home, place = next((one for one in homes if (one[0] / _SERVICE).is_dir()), homes[-1])
    return home / _SERVICE, place.name


def _delete_view(project: Project) -> bool:
    """Delete the service's table of the rows, which is built again when a page is opened; False if there is none."""
    service, name = _in_workspace(project)
    files = list(service.glob(f"{_VIEWS}/{escape(name)}.db*"))
    for file in files:
        file.unlink(missing_ok=True)  # the service deletes it, too, when it is out of date
    return bool(files)


def _delete(path: Path, search: FileSearch) -> None:
    """Delete a file or folder. What a link leads to is deleted too; of a folder that may hold more than pairsmith
    wrote, only the files that contain one of the texts."""
    is_link, target = path.is_symlink(), path.resolve()
    if is_link:
        path.unlink()
    if not target.is_dir():
        target.unlink()
    elif is_link and not any((target / name).is_file() for name in (_MANIFEST, MARK)):
        for file in filter(search.in_file, target.rglob("*")):
            file.unlink()
    else:
        shutil.rmtree(target)


def _is_store(path: Path, store: Store) -> bool:
    """Whether it is a file of the open store, which `left_in` searches. Copies beside it are not."""
    file = sqlite_path(store.url)
    return file is not None and path.resolve() in [file.with_name(file.name + end) for end in ("", "-wal", "-shm")]


def _erase_in_argilla(project: Project, store: Store, traces: Traces, source: str | None, progress: Progress) -> str:
    """Delete the rows, or the reviews of the person, from the project's queues. Returns what was done, as text."""
    if not store.sampled():
        return "no rows were ever sent there"
    from curate.argilla import server
    from curate.argilla.erasing import erase_answers, erase_rows
    from curate.argilla.push import project_id, queue_names, workspace_of
    from pairsmith.stages.review import argilla

    after = ""
    try:
        if project.spec.review.url is None and not server.is_running(home := server.default_home()):
            if not server.is_used(home):
                return f"nothing to delete: no server was ever started in {home}. {_ELSEWHERE}"
            after = "; the server was started for that and is stopped again"
        with argilla(project, progress, leaves_running=False) as connected:
            connected.workspace = workspace_of(project, store, connected)
            queues = connected.queues(project_id(store.sampled()), queue_names(project, store.sampled()))
            if not queues:
                return f"nothing to delete: this project has no rows on {connected.url}{after}. {_ELSEWHERE}"
            if source is not None:
                rows = erase_rows(connected, queues, traces.pairs, progress)
                return f"{counted(rows, 'row', 'rows')} deleted there{after}"
            reviews = counted(erase_answers(connected, queues, traces.names, progress), "review", "reviews")
            return f"{reviews} deleted there{after}; delete the account yourself, in Argilla"
    except PairsmithError as error:
        left = "rows are still there: delete them yourself, in Argilla"
        if source is None:
            left = "answers are still there, and the next pull brings them back: then erase them again"
        return f"not reached, so the {left} ({error.what.rstrip('.')})"
