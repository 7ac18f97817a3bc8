"""A copy of the review server, and a server made of it."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.argilla import server, supervisor
from curate.argilla.backup import backup, restore
from curate.argilla.client import Argilla
from curate.argilla.people import invite
from curate.argilla.push import draw_batch, push
from curate.review.population import read_population
from schemas.errors import ReviewError
from schemas.store import Store
from tests.curate.argilla.answering import answer
from tests.curate.argilla.conftest import free_port
from tests.curate.review.review_project import SCOPE, fill, project


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="arg-"))
    yield folder
    server.down(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_copy_of_a_running_server_comes_back_with_everything(
    tmp_path: Path, home: Path, venv: Path, argilla_on_sqlite: server.ArgillaServer
) -> None:
    """Rows, an answer that was not pulled, an invited person and the owner's key are in the copy, which the owner alone
    can read; a home where a server has lived is not overwritten; the restored server finds its words."""
    cats = project(tmp_path, "kept-cats", workspace="kept")
    with (
        Store.open(Store.url_for(cats)) as store,
        Argilla(argilla_on_sqlite.url, argilla_on_sqlite.api_key, "kept") as argilla,
    ):
        fill(cats, store)
        population = read_population(cats, store, [SCOPE])
        draw_batch(cats, store, population)
        push(cats, store, population, argilla)
        queue = argilla.queue("kept-cats")
        assert queue
        rows = list(argilla.records(queue, responses=True))
        answer(argilla.sdk, rows[0]["id"], "accept")
        invite(argilla, ["kept-ann"])
    file = tmp_path / "copy.tar.gz"
    backup(file, argilla_on_sqlite.home)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ReviewError, match="is there already"):
        backup(file, argilla_on_sqlite.home)
    with pytest.raises(ReviewError, match="nothing of it is overwritten"):
        restore(file, argilla_on_sqlite.home)
    restore(file, home)
    again = server.up(home, port=free_port(), venv=venv)
    assert again.api_key == argilla_on_sqlite.api_key
    with Argilla(again.url, again.api_key, "kept") as argilla:
        queue = argilla.queue("kept-cats")
        assert queue
        back = list(argilla.records(queue, responses=True))
        assert [row["external_id"] for row in back] == [row["external_id"] for row in rows]
        assert sum(len(row["responses"]) for row in back) == 1
        assert "kept-ann" in {user.name for user in argilla.users().values()}
        found = argilla.call(
            "POST", f"datasets/{queue.id}/records/search", json={"query": {"text": {"q": "tabby"}}}, params={"limit": 5}
        )
        assert found["total"] > 0


def test_what_is_no_copy_is_refused(tmp_path: Path) -> None:
    """Neither a text nor an archive that would write elsewhere is restored; PostgreSQL has tools of its own."""
    with pytest.raises(ReviewError, match="no review server here"):
        backup(tmp_path / "a.tar.gz", tmp_path / "home")
    text = tmp_path / "text"
    text.write_text("no archive")
    with pytest.raises(ReviewError, match="cannot be read"):
        restore(text, tmp_path / "home")
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as archive:
        archive.add(text, "../outside")
    with pytest.raises(ReviewError, match="is no copy"):
        restore(evil, tmp_path / "home")
    assert not (tmp_path / "outside").exists()
    facts = {"host": "127.0.0.1", "port": 1, "database": "PostgreSQL"}
    environment = {"ARGILLA_DATABASE_URL": "postgresql+asyncpg://me:hush@localhost/x"}
    (tmp_path / "home").mkdir(exist_ok=True)
    config = {"facts": facts, "children": [{"environment": environment}], "scratch": None}
    supervisor.write_json(tmp_path / "home" / "supervisor.json", config)
    with pytest.raises(ReviewError, match="pg_dump") as told:
        backup(tmp_path / "a.tar.gz", tmp_path / "home")
    assert "hush" not in str(told.value)
