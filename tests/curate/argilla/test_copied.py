"""A copied project and its original, which have one id, and a project that was moved."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from curate.argilla.client import Argilla
from curate.argilla.marks import Place, place_of
from curate.argilla.push import PushResult, push
from curate.argilla.server import ArgillaServer
from curate.review.population import read_population
from schemas.project import Project
from schemas.reviews import Sampled
from schemas.spec_file import load
from schemas.store import Store
from tests.curate.argilla.answering import answer
from tests.curate.review.review_project import SCOPE, fill, project


class Folder:
    """The project in a folder. Its style and the rows of its pool may differ from those of the one it is a copy of."""

    def __init__(self, folder: Path, argilla: Argilla) -> None:
        self.argilla, self.project, self.outside = argilla, load(folder), set[str]()
        spec = self.project.spec
        self.spec(spec.task.style)

    def spec(self, style: str) -> None:
        spec = self.project.spec
        changed = {
            "task": spec.task.model_copy(update={"style": style}),
            "review": spec.review.model_copy(update={"overlap": 0.0, "gold": None}),
        }
        self.project = Project(self.project.folder, spec.model_copy(update=changed))

    def push(self, *, take_over: bool = False) -> PushResult:
        with Store.open(Store.url_for(self.project)) as store:
            population = read_population(self.project, store, [SCOPE])
            rows = {id_: row for id_, row in population.rows.items() if id_ not in self.outside}
            population = replace(population, rows=rows, rejected={})
            store.write(*(self.sampled(id_) for id_ in sorted(rows)[:5]))
            return push(self.project, store, population, self.argilla, take_over=take_over)

    def sampled(self, pair_id: str) -> Sampled:
        name = self.project.spec.task.name
        return Sampled(pair_id=pair_id, reason="certify", sampling_probability=0.5, dataset=name)

    def rows(self) -> dict[str, set[str]]:
        """The rows of every queue in the workspace, by the queue's name."""
        queues = map(self.argilla.queue_of, self.argilla.datasets())
        return {queue.name: {row["external_id"] for row in self.argilla.records(queue)} for queue in queues}


@pytest.fixture
def original(tmp_path: Path, argilla_server: ArgillaServer) -> Iterator[Folder]:
    """A project with pushed rows, in a workspace of its own."""
    folder, name = tmp_path / "original", f"cats-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    project_ = project(folder, name, workspace=f"w-{name}")
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store)
    with ExitStack() as opened:
        argilla = opened.enter_context(Argilla(argilla_server.url, argilla_server.api_key, f"w-{name}", patience_s=30))
        pushed = Folder(folder, argilla)
        pushed.push()
        yield pushed


def copied(original: Folder, style: str) -> Folder:
    """A copy of the project with another style, so that none of the rows drawn before is in its pool."""
    folder = original.project.folder.with_name("copy")
    shutil.copytree(original.project.folder, folder)
    copy = Folder(folder, original.argilla)
    copy.spec(style)
    copy.outside = set.union(*original.rows().values())
    return copy


def test_a_copy_leaves_the_queue_of_its_original_as_it_is(original: Folder) -> None:
    """A copy with another style withdrew the open rows of its original, put its own rows into the same queue and
    replaced the guidelines; the original's next push then did the same to it."""
    (name,) = original.rows()
    before = original.rows()[name]
    copy = copied(original, "Two sentences about a dog.")
    pushed = copy.push()
    assert (pushed.withdrawn, pushed.left, pushed.queues) == (0, (name,), (f"{name}-2",))
    assert pushed.sent > 0
    rows = original.rows()
    assert rows[name] == before
    assert not rows[f"{name}-2"] & before
    again = original.push()
    assert (again.sent, again.withdrawn, again.left, again.queues) == (0, 0, (), (name,))
    assert original.rows() == rows
    styles = {one["name"]: one["guidelines"] for one in original.argilla.datasets()}
    assert ["a dog" in styles[of] for of in (name, f"{name}-2")] == [False, True]
    copy.outside |= rows[f"{name}-2"]
    own = copy.push()
    assert (own.withdrawn, own.queues) == (len(rows[f"{name}-2"]), (f"{name}-2",))  # its own queue follows its spec


def test_a_copy_takes_over_the_queue_when_told_that_the_project_was_moved(original: Folder) -> None:
    """Then the rows that it does not need are withdrawn, except those that somebody has begun to answer, and the
    guidelines follow its spec."""
    (name,) = original.rows()
    queue = original.argilla.queue_of(original.argilla.datasets()[0])
    begun = next(original.argilla.records(queue))
    answer(original.argilla.sdk, begun["id"], "accept")
    copy = copied(original, "Two sentences about a dog.")
    pushed = copy.push(take_over=True)
    assert pushed.left == ()
    assert pushed.queues == (name,)
    assert pushed.withdrawn == len(copy.outside) - 1
    assert original.rows()[name] & copy.outside == {begun["external_id"]}
    assert "a dog" in original.argilla.datasets()[0]["guidelines"]
    assert copy.push().left == ()


def test_a_moved_project_keeps_its_queue(original: Folder) -> None:
    """A folder that was renamed is the same place: the rows that are no longer needed are withdrawn as before."""
    (name,) = original.rows()
    folder = original.project.folder.with_name("moved")
    original.project.folder.rename(folder)
    moved = Folder(folder, original.argilla)
    moved.spec("Two sentences about a dog.")
    moved.outside = original.rows()[name]
    pushed = moved.push()
    assert (pushed.withdrawn, pushed.left, pushed.queues) == (len(moved.outside), (), (name,))


def test_a_place_contains_no_path_and_no_password(tmp_path: Path) -> None:
    """It is on the server, where annotators can read it. A queue of an earlier version has none and is anybody's."""
    (tmp_path / "pairsmith.db").touch()
    file = place_of(f"sqlite:///{tmp_path}/pairsmith.db")
    assert all(len(part) == 32 and int(part, 16) for part in file)
    server = place_of("postgresql://ann:secret@host/rows")
    assert server == place_of("postgresql://ann:other@host/rows")
    assert server.is_at(server)
    assert not server.is_at(file)
    assert Place().is_at(file)
