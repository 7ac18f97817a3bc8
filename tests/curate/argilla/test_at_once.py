"""Two simultaneous pushes on a real server: by copies of one project, and by two projects of the same name."""

from __future__ import annotations

import shutil
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from curate.argilla.client import Argilla
from curate.argilla.pull import pull
from curate.argilla.push import PushResult, draw_batch, project_id, push
from curate.argilla.server import ArgillaServer
from curate.review.population import read_population
from schemas.project import Project
from schemas.spec_file import load
from schemas.store import Store
from tests.curate.argilla.answering import answer
from tests.curate.review.review_project import SCOPE, fill, project


def project_with_draw(folder: Path, name: str, workspace: str, inputs: int) -> Project:
    folder.mkdir()
    project_ = project(folder, name, workspace=workspace)
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store, inputs)
        draw_batch(project_, store, read_population(project_, store, [SCOPE]))
    return project_


def push_at_once(server: ArgillaServer, projects: list[Project], *, ours: bool) -> list[PushResult]:
    """Push all projects at the same moment, each with its own connection and store, and return the results."""
    ready = threading.Barrier(len(projects))

    def one(project: Project) -> PushResult:
        workspace = project.spec.review.workspace or ""
        with (
            Store.open(Store.url_for(project)) as store,
            Argilla(server.url, server.api_key, workspace, patience_s=60) as argilla,
        ):
            argilla.__dict__["_is_pairsmith_server"] = ours  # our server's routes, or those that every Argilla has
            population = read_population(project, store, [SCOPE])
            ready.wait()
            return push(project, store, population, argilla)

    with ThreadPoolExecutor(len(projects)) as pool:
        return list(pool.map(one, projects))


@pytest.mark.parametrize("ours", [True, False])
def test_simultaneous_pushes_of_two_copies_send_each_row_once(
    argilla_server: ArgillaServer, tmp_path: Path, ours: bool
) -> None:
    """Both use the same queues, no row is duplicated or missing, and both can pull the answers."""
    name = f"cats-{uuid.uuid4().hex[:8]}"
    first = project_with_draw(tmp_path / "first", name, f"w-{name}", 12)
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    copy = load(tmp_path / "copy")
    pushes = push_at_once(argilla_server, [first, copy], ours=ours)
    assert pushes[0].queues == pushes[1].queues
    with Argilla(argilla_server.url, argilla_server.api_key, f"w-{name}") as argilla:
        rows = [row for dataset in argilla.datasets() for row in argilla.records(argilla.queue_of(dataset))]
        answer(argilla.sdk, rows[0]["id"], "accept")
        for project in first, copy:
            with Store.open(Store.url_for(project)) as store:
                assert sorted(row["external_id"] for row in rows) == sorted(store.sampled())
                assert pull(project, store, argilla).new == 1


def test_simultaneous_pushes_of_two_projects_of_one_name_are_separate(
    argilla_server: ArgillaServer, tmp_path: Path
) -> None:
    """In one workspace each project gets its own queues, with only its own rows, whichever was first."""
    name = f"cats-{uuid.uuid4().hex[:8]}"
    projects = [project_with_draw(tmp_path / str(inputs), name, f"w-{name}", inputs) for inputs in (12, 15)]
    pushes = push_at_once(argilla_server, projects, ours=True)
    assert not set(pushes[0].queues) & set(pushes[1].queues)
    with Argilla(argilla_server.url, argilla_server.api_key, f"w-{name}") as argilla:
        assert {dataset["name"] for dataset in argilla.datasets()} == {queue for one in pushes for queue in one.queues}
        for project in projects:
            with Store.open(Store.url_for(project)) as store:
                rows = [
                    row for queue in argilla.queues(project_id(store.sampled()), ()) for row in argilla.records(queue)
                ]
                assert sorted(row["external_id"] for row in rows) == sorted(store.sampled())
