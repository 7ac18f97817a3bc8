"""A workspace with more projects than stores are kept open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.serve import readers
from pairsmith.serve.workspace import Workspace
from schemas.records import Counts, Receipt
from schemas.store import Store
from tests.serve.conftest import Browse, write_project

AT = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 6


def curated(rows: int) -> Receipt:
    counts = Counts(rows_in=rows, accepted=rows)
    return Receipt(command="curate", counts=counts, seconds=1.0, started=AT, spec_hash="x", ok=True)


@pytest.fixture
def opened_files() -> Iterator[list[str]]:
    """The files of every database that is connected to, in order."""
    paths: list[str] = []

    def connected(connection: object, _: object) -> None:
        paths.extend(row[2] for row in connection.execute("pragma database_list"))  # type: ignore[attr-defined]

    sa.event.listen(sa.Engine, "connect", connected)
    yield paths
    sa.event.remove(sa.Engine, "connect", connected)


@pytest.mark.slow
def test_project_list_opens_only_changed_stores(
    workspace: Workspace, browse: Browse, opened_files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line is up to date as soon as its store has changed, even if it was written at the moment when the page was
    rendered. Unchanged stores cost one look at a file, and only a few stay open."""
    monkeypatch.setattr(readers, "_MAX_OPEN", 2)
    folders = [write_project(workspace, f"project-{n}", "http://127.0.0.1:9") for n in range(MANY)]
    for folder in folders:
        with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
            store.write(curated(7))
    browser = browse(workspace)
    assert browser.get("/").text.count("7 of 7") == MANY
    monkeypatch.setattr(readers, "_SETTLED_S", 0.0)
    browser.get("/")
    opened_files.clear()
    assert browser.get("/").text.count("7 of 7") == MANY
    assert [path for path in opened_files if "/projects/" in path] == []

    monkeypatch.setattr(readers, "_SETTLED_S", 1.0)
    with Store.open(f"sqlite:///{folders[0] / 'pairsmith.db'}") as store:
        for rows in range(8, 28):
            store.write(curated(rows))
            assert f"{rows} of {rows}" in browser.get("/").text
    assert browser.get("/").text.count("7 of 7") >= MANY - 1
    ours = {path for path in open_files() if path.startswith(str(workspace.root / "projects"))}
    assert len(ours) <= 3 * readers._MAX_OPEN


def open_files() -> list[str]:
    """The files that this process holds open: three per store, the database and two side files."""
    files = list[str]()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile by another thread
            files.append(str(path.readlink()))
    return files
