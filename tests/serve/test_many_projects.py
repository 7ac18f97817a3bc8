"""A workspace of more projects than stores are open at once."""

from __future__ import annotations

from collections.abc import Iterator
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
def opened() -> Iterator[list[str]]:
    """The files of every database that is connected to, in turn."""
    paths: list[str] = []

    def connected(connection: object, _: object) -> None:
        paths.extend(row[2] for row in connection.execute("pragma database_list"))  # type: ignore[attr-defined]

    sa.event.listen(sa.Engine, "connect", connected)
    yield paths
    sa.event.remove(sa.Engine, "connect", connected)


def test_a_list_of_many_projects_opens_only_stores_that_were_written(
    workspace: Workspace, browse: Browse, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: each line is true as soon as its store has another row, also one that was written at the
    very moment at which the page was drawn, and those that did not change cost a look at a file."""
    monkeypatch.setattr(readers, "_MAX_OPEN", 2)
    folders = [write_project(workspace, f"project-{n}", "http://127.0.0.1:9") for n in range(MANY)]
    for folder in folders:
        with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
            store.write(curated(7))
    browser = browse(workspace)
    assert browser.get("/").text.count("7 of 7") == MANY
    monkeypatch.setattr(readers, "_SETTLED_S", 0.0)
    browser.get("/")
    opened.clear()
    assert browser.get("/").text.count("7 of 7") == MANY
    assert [path for path in opened if "/projects/" in path] == []

    monkeypatch.setattr(readers, "_SETTLED_S", 1.0)
    with Store.open(f"sqlite:///{folders[0] / 'pairsmith.db'}") as store:
        for rows in range(8, 28):
            store.write(curated(rows))
            assert f"{rows} of {rows}" in browser.get("/").text
    assert browser.get("/").text.count("7 of 7") >= MANY - 1
    ours = {path for path in opened_now() if path.startswith(str(workspace.root / "projects"))}
    assert len(ours) <= 3 * readers._MAX_OPEN


def opened_now() -> list[str]:
    """The files that this process holds: of a store its database, and two beside it."""
    return [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
