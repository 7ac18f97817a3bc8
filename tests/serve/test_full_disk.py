"""The service on a full disk: writes are refused with a message, and existing data stays intact."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from html import unescape
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.serve import child
from pairsmith.serve.readers import Readers
from pairsmith.serve.workspace import Workspace
from schemas.records import Counts, Imported, Pair, Receipt, now
from schemas.store import Store
from tests.curate.argilla.small_disk import small_disk
from tests.serve.conftest import write_project
from tests.serve.people import browsing

BROWSER = {"Accept": "text/html"}


def fill(disk: Path) -> None:
    for size in (65536, 512, 1):
        with suppress(OSError), (disk / f"filled-{size}").open("wb", buffering=0) as file:
            while file.write(b"x" * size) == size:
                pass


PAIR = Pair(seed_id="s", input="Where is it?", output="On its way.", system="", origin=Imported(source="t"))


def _write_receipt(folder: Path, command: str) -> None:
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        receipt = Receipt(command=command, ok=True, counts=Counts(), spec_hash="", seconds=1.0, started=now())
        store.write(PAIR, receipt)


def _receipts(readers: Readers) -> list[Receipt]:
    store = readers.store("kept")
    assert store is not None
    return store.receipts()


@pytest.mark.slow
def test_full_disk_is_reported_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Every write, from a page or the API, is refused with 507 and advice. Pages can still be read, also of a project
    that was not opened before, and show what is written once there is space. Existing files are unchanged, no message
    shows the workspace's path, and the log has the audit lines that could not be written."""
    with small_disk("12m") as disk, browsing(workspace := Workspace(disk / "space"), headers=BROWSER) as client:
        folder = write_project(workspace, "tiny", "http://127.0.0.1:9")
        client.app.state.policy.allow("http://127.0.0.1:9", "", None)
        assert client.get("/p/tiny/setup").status_code == 200
        kept = write_project(workspace, "kept", "http://127.0.0.1:9")
        _write_receipt(kept, "generate")
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        fill(disk)
        forms = {
            "/new": {"name": "second", "pasted": "a kite"},
            "/p/tiny/setup/style": {"style": "Another one.", "seen": ""},
            "/p/tiny/setup/seeds": {"pasted": "a\nb"},
            "/p/tiny/run": {"command": "generate"},
            "/keys": {"name": "a program"},
            f"/p/kept/rows/{PAIR.id}/answer": {"decision": "accept"},  # not into the copy that is read
        }
        for path, form in forms.items():
            refused = client.post(path, data=form)
            text = unescape(re.sub(r"<[^>]+>", " ", refused.text))
            assert (path, refused.status_code) == (path, 507), text
            assert "o space is left to write" in text
            assert "Free some" in text
            assert str(disk) not in text
        saved = client.put("/api/v1/projects/tiny/spec", json={"set": {"train.epochs": 2}}, headers={"If-Match": "*"})
        assert (saved.status_code, saved.json()["error"]["code"]) == (507, "store_full")
        new = client.post("/api/v1/projects", json={"name": "third", "example": "release-notes"})
        assert (new.status_code, new.json()["error"]["code"]) == (507, "store_full"), "not `Choose another folder`"
        for path in (
            "/",
            "/p/tiny",
            "/p/tiny/run",
            "/p/tiny/rows",
            "/p/tiny/setup",
            "/settings",
            "/keys",
            "/new",
            "/p/kept",
        ):
            assert (looked := client.get(path)).status_code == 200, looked.text
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        assert list(workspace.projects()) == ["kept", "tiny"]
        readers = Readers(workspace)
        assert [receipt.command for receipt in _receipts(readers)] == ["generate"]
        copied = readers.store("kept")
        assert copied is not None
        assert copied.last_writer, "what a killed command left is known of a copy too"
        del copied
        for filled in disk.glob("filled-*"):
            filled.unlink()
        answered = client.post(f"/p/kept/rows/{PAIR.id}/answer", data={"decision": "accept"})
        assert answered.status_code == 303, answered.text
        _write_receipt(kept, "curate")
        assert [receipt.command for receipt in _receipts(readers)] == ["generate", "curate"]
        with Store.open(f"sqlite:///{kept / 'pairsmith.db'}") as store:
            assert list(store.reviews()) == [PAIR.id]
        del readers
        assert "the audit cannot be written" in caplog.text
        assert "Traceback" not in caplog.text


def test_the_end_of_a_process_has_room() -> None:
    """The room for the exit file is reserved when a process starts, so a process that fails because the disk is full
    says so, and does not run again and again."""
    with small_disk("256k") as folder:
        child._reserve_room(folder)
        fill(folder)
        with pytest.raises(OSError, match="No space"):
            (folder / "more").write_text("x")
        child._write_exit(folder, 0, {"code": 6})
        assert json.loads((folder / "exit-0.json").read_text())["code"] == 6
        assert not (folder / "reserved").exists()
