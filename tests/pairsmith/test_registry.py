"""Released models: versions never change, aliases move and come back, and a hub gets what was measured."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pairsmith.registry import Registry, push
from schemas.errors import NoWork, UsageError


def export(folder: Path, adapter: str) -> Path:
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "weights").write_text(adapter)
    (folder / "export.json").write_text(json.dumps({"adapter": adapter}))
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two releases, the second in production."""
    registry = Registry(tmp_path / "registry" / "images")
    assert registry.add(export(tmp_path / "one", "a1")) == "v1"
    registry.point("production", "v1")
    assert registry.add(export(tmp_path / "two", "a2")) == "v2"
    registry.point("production", "v2")
    return registry


def test_an_alias_is_a_folder_that_a_server_can_be_given(registry: Registry) -> None:
    """`latest` and every other alias lead to the files of the version that they name."""
    assert (registry.folder / "production" / "adapter" / "weights").read_text() == "a2"
    assert (registry.folder / "v1" / "adapter" / "weights").read_text() == "a1"
    assert [(one["version"], one["aliases"]) for one in registry.listed()] == [
        ("v1", []),
        ("v2", ["latest", "production"]),
    ]


def test_rollback_goes_back_one_step_and_no_further(registry: Registry) -> None:
    """Production alone moves; where there is nothing before, it says so and stays."""
    assert registry.roll_back("production") == "v1"
    assert registry.found("production") == registry.folder / "v1"
    assert registry.found("latest") == registry.folder / "v2"
    assert (registry.folder / "production").resolve() == registry.folder / "v1"
    with pytest.raises(UsageError, match="named nothing before"):
        registry.roll_back("production")
    assert registry.found("production") == registry.folder / "v1"


def test_the_same_export_is_one_version(registry: Registry, tmp_path: Path) -> None:
    """Released again, also elsewhere, it is found; `latest` then names it."""
    assert registry.add(tmp_path / "one") == "v1"
    assert registry.versions() == ["v1", "v2"]
    assert registry.found("latest") == registry.folder / "v1"


def test_the_number_of_a_deleted_version_is_not_given_again(registry: Registry, tmp_path: Path) -> None:
    """A rollback would have put another model into production under the old name; what is gone is named instead."""
    shutil.rmtree(registry.folder / "v2")
    assert registry.add(export(tmp_path / "three", "a3")) == "v3"
    registry.point("production", "v3")
    with pytest.raises(UsageError, match="'production' named v2 before, which is gone"):
        registry.roll_back("production")
    assert registry.found("production") == registry.folder / "v3"


def test_what_else_lies_in_the_folder_is_no_version(registry: Registry) -> None:
    """A file of one's own in the place of an alias, an empty folder, a damaged list: each is a sentence."""
    (registry.folder / "v9").mkdir()
    (registry.folder / "staging").mkdir()
    assert registry.versions() == ["v1", "v2"]
    with pytest.raises(UsageError, match="'staging' is a file or a folder"):
        registry.point("staging", "v1")
    assert "staging" not in registry.aliases()
    (registry.folder / "aliases.json").write_text("{")
    with pytest.raises(UsageError, match=r"aliases\.json.*damaged"):
        registry.listed()


def test_what_is_no_export_and_no_name_is_refused(registry: Registry, tmp_path: Path) -> None:
    """An alias cannot shadow a version or leave the folder."""
    with pytest.raises(NoWork, match="no export"):
        registry.add(tmp_path)
    for bad in ("v3", "../x", "", "A"):
        with pytest.raises(UsageError, match="cannot be an alias"):
            registry.point(bad, "v1")
    with pytest.raises(UsageError, match="no version 'v9'"):
        registry.point("production", "v9")
    with pytest.raises(UsageError, match="no version or alias"):
        registry.found("staging")


@pytest.fixture
def hub() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A hub on this machine that refuses every repository, and what it was asked."""
    asked: list[tuple[str, str]] = []

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((self.path, body))
            self.send_response(403)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_a_hub_is_asked_for_a_private_repository_and_its_refusal_is_a_sentence(
    registry: Registry, hub: tuple[str, list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's model becomes public unasked, and no key is a clear error."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    address, asked = hub
    plain = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: plain(endpoint=address, token="hf_x"))
    with pytest.raises(NoWork, match="the hub does not take it"):
        push(registry.found("latest"), "me/images")
    (path, body), *_ = asked
    assert path == "/api/repos/create"
    told = json.loads(body)  # newer clients name the visibility
    assert told.get("private", told.get("visibility")) in (True, "private")


def test_the_merged_model_is_uploaded_where_there_is_one(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured, and its GGUFs in a folder of their own."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    uploads: list[dict[str, Any]] = []

    class Hub:
        endpoint = "https://hub"

        def create_repo(self, repository: str, **_: Any) -> None:
            assert repository == "me/images"

        def upload_folder(self, **given: Any) -> None:
            uploads.append(given)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    version = registry.found("v1")
    assert push(version, "me/images") == "https://hub/me/images"
    assert [given["folder_path"].name for given in uploads] == ["adapter"]
    for name in ("model", "gguf"):
        (version / name).mkdir()
    push(version, "me/images")
    assert [given["folder_path"].name for given in uploads[1:]] == ["model", "gguf"]
