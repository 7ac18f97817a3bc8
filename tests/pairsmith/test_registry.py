"""Tests of released models: versions never change, aliases can be moved and rolled back, and a hub gets the model that
was measured."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pairsmith.registry import Registry, push
from schemas.errors import InputError, NoWork, UsageError
from schemas.files import sha256
from tests.servers import Handler, OnThreads

(TRAINED,) = (Path(__file__).parents[1] / "projects/v0_1/adapters").glob("*/training.json")


def export(folder: Path, adapter: str) -> Path:
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "weights").write_text(adapter)
    shutil.copy(TRAINED, folder / "adapter")
    (folder / "export.json").write_text(json.dumps({"adapter": adapter}))
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry with two releases, the second in production."""
    registry = Registry(tmp_path / "registry" / "images")
    assert registry.add(export(tmp_path / "one", "a1")) == "v1"
    registry.point("production", "v1")
    assert registry.add(export(tmp_path / "two", "a2")) == "v2"
    registry.point("production", "v2")
    return registry


def test_an_alias_is_a_folder_that_can_be_served(registry: Registry) -> None:
    """`latest` and every other alias resolve to the files of their version."""
    assert (registry.folder / "production" / "adapter" / "weights").read_text() == "a2"
    assert (registry.folder / "v1" / "adapter" / "weights").read_text() == "a1"
    assert [(one["version"], one["aliases"]) for one in registry.listed()] == [
        ("v1", []),
        ("v2", ["latest", "production"]),
    ]


def test_rollback_goes_back_one_step_and_no_further(registry: Registry) -> None:
    """Only the named alias moves; if it has no previous version, rollback says so and changes nothing."""
    assert registry.roll_back("production") == "v1"
    assert registry.folder_of("production") == registry.folder / "v1"
    assert registry.folder_of("latest") == registry.folder / "v2"
    assert (registry.folder / "production").resolve() == registry.folder / "v1"
    with pytest.raises(UsageError, match="has no previous version"):
        registry.roll_back("production")
    assert registry.folder_of("production") == registry.folder / "v1"


def test_releasing_the_same_export_again_adds_no_version(registry: Registry, tmp_path: Path) -> None:
    """Releasing an export again returns its version and points `latest` to it."""
    assert registry.add(tmp_path / "one") == "v1"
    assert registry.versions() == ["v1", "v2"]
    assert registry.folder_of("latest") == registry.folder / "v1"


def test_the_number_of_a_deleted_version_is_not_reused(registry: Registry, tmp_path: Path) -> None:
    """If it were, a rollback would put another model into production under the old name; the missing version is named
    instead."""
    shutil.rmtree(registry.folder / "v2")
    assert registry.add(export(tmp_path / "three", "a3")) == "v3"
    registry.point("production", "v3")
    with pytest.raises(UsageError, match="the previous version of 'production', v2, no longer exists"):
        registry.roll_back("production")
    assert registry.folder_of("production") == registry.folder / "v3"


def test_an_alias_of_a_deleted_version_says_so(registry: Registry) -> None:
    """The error does not deny that the alias exists, since `aliases.json` has it. A rollback repairs it."""
    shutil.rmtree(registry.folder / "v2")
    with pytest.raises(UsageError) as refused:
        registry.folder_of("production")
    assert refused.value.what == "'production' points to v2, which no longer exists."
    assert "rollback production" in str(refused.value.fix)
    registry.roll_back("production")
    assert registry.folder_of("production") == registry.folder / "v1"
    with pytest.raises(UsageError, match="no version or alias 'v2'"):
        registry.folder_of("v2")


def test_an_alias_of_a_version_with_damaged_evidence_names_a_way_on(registry: Registry) -> None:
    """The advice was to write a new report, which would not change the version; it is to restore the file or to choose
    another version. The alias stays where it was."""
    (registry.folder / "v1" / "evidence.json").write_text("{}")
    with pytest.raises(InputError) as raised:
        registry.point("production", "v1")
    assert raised.value.fix == (
        "Restore the file, or choose another version: `pairsmith registry alias production VERSION`."
    )
    assert registry.aliases()["production"] == ["v1", "v2"]


def test_other_files_in_the_registry_are_not_versions(registry: Registry) -> None:
    """A user's own folder under an alias's name, an empty version folder and a damaged `aliases.json` each give a clear
    error or are ignored."""
    (registry.folder / "v9").mkdir()
    (registry.folder / "staging").mkdir()
    assert registry.versions() == ["v1", "v2"]
    with pytest.raises(UsageError, match="'staging' is a file or folder"):
        registry.point("staging", "v1")
    assert "staging" not in registry.aliases()
    for damaged in ("{", "[]", "1", '{"production": null}', '{"production": []}', '{"production": "v1"}'):
        (registry.folder / "aliases.json").write_text(damaged)
        for use in (registry.listed, partial(registry.point, "production", "v1"), partial(registry.folder_of, "v1")):
            with pytest.raises(UsageError, match=r"aliases\.json.*damaged"):
                use()


def test_invalid_exports_and_aliases_are_refused(registry: Registry, tmp_path: Path) -> None:
    """A folder without an export cannot be released, and an alias cannot shadow a version or leave the registry."""
    with pytest.raises(NoWork, match="no export"):
        registry.add(tmp_path)
    for bad in ("v3", "../x", "", "A"):
        with pytest.raises(UsageError, match="cannot be an alias"):
            registry.point(bad, "v1")
    with pytest.raises(UsageError, match="no version 'v9'"):
        registry.point("production", "v9")
    with pytest.raises(UsageError, match="no version or alias"):
        registry.folder_of("staging")
    with pytest.raises(UsageError, match="there is no alias 'staging'"):
        registry.roll_back("staging")


def test_an_export_with_added_files_is_a_new_version(registry: Registry, tmp_path: Path) -> None:
    """The same model with a GGUF added is not the earlier release; treating it as such would lose the GGUF."""
    (tmp_path / "two" / "gguf").mkdir()
    (tmp_path / "two" / "gguf" / "images-f16.gguf").write_text("x")
    assert registry.add(tmp_path / "two") == "v3"
    assert (registry.folder_of("latest") / "gguf" / "images-f16.gguf").is_file()
    assert registry.add(tmp_path / "two") == "v3"


def test_weights_that_training_did_not_write_are_not_released(registry: Registry, tmp_path: Path) -> None:
    """An export whose adapter or merged model was edited or is missing, or whose training record is missing, is not
    released; a release that was edited later, or lost a file, is not pushed and no alias is pointed or rolled back to
    it."""
    pytest.importorskip("train.results")
    exported = export(tmp_path / "three", "a3")
    files = {
        "adapter_model.safetensors": "adapter/adapter_model.safetensors",
        "merged/x.safetensors": "model/x.safetensors",
    }
    (exported / "model").mkdir()
    for place in files.values():
        (exported / place).write_text("trained")
    weights = {name: sha256(exported / place) for name, place in files.items()}
    (record := exported / "adapter" / "training.json").write_text(
        json.dumps({**json.loads(TRAINED.read_text()), "weights": weights})
    )
    assert registry.add(exported) == "v3"
    for place in files.values():
        (exported / place).write_text("edited")
        with pytest.raises(InputError, match=f"{place}.*not what training wrote"):
            registry.add(exported)
        (exported / place).write_text("trained")
    registry.point("production", "v1")
    registry.point("production", "v3")
    registry.point("staging", "v3")
    registry.point("staging", "v1")
    before = registry.aliases()
    model = registry.folder / "v3" / "model" / "x.safetensors"
    for change in (partial(model.write_text, "edited"), model.unlink):
        change()
        with pytest.raises(InputError, match="registry alias staging VERSION"):
            registry.roll_back("staging")
        with pytest.raises(InputError, match="registry alias production VERSION"):
            registry.point("production", "v3")
    assert registry.aliases() == before
    assert registry.roll_back("production") == "v1"
    model.write_text("trained")
    assert registry.roll_back("staging") == "v3"
    for gone in (exported / "model", exported / "adapter/adapter_model.safetensors", record):
        gone.rename(exported.with_name("aside"))
        with pytest.raises(InputError, match=r"(weights are missing|record of its training is missing)"):
            registry.add(exported)
        exported.with_name("aside").rename(gone)
    (registry.folder_of("v3") / "model" / "x.safetensors").write_text("edited")
    with pytest.raises(InputError, match="not what training wrote"):
        push(registry.folder_of("v3"), "me/images")


def test_concurrent_releases_get_distinct_versions(registry: Registry, tmp_path: Path) -> None:
    """Eight concurrent releases of different models: none takes another's number, and no alias loses its history."""
    exports = [export(tmp_path / f"more-{number}", f"b{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(Registry(registry.folder).add, exports))
    assert {*given} == {f"v{number}" for number in range(3, 11)}
    for number, version in enumerate(given):
        assert (registry.folder / version / "adapter" / "weights").read_text() == f"b{number}"
    assert sorted(registry.aliases()["latest"]) == sorted(["v1", "v2", *given])
    assert registry.folder_of("latest") == (registry.folder / "latest").resolve()


def test_an_interrupted_change_of_an_alias_can_be_repeated(registry: Registry) -> None:
    """A leftover symlink of an interrupted change does not block the next one, and a damaged version is named."""
    (registry.folder / ".production.new").symlink_to("v2")
    registry.point("production", "v1")
    assert (registry.folder / "production").resolve() == registry.folder / "v1"
    for damaged in ("[]", "1", '{"adapter": 5}'):
        (registry.folder / "v1" / "export.json").write_text(damaged)
        with pytest.raises(UsageError, match=r"v1/export\.json.*damaged"):
            registry.listed()


def test_a_killed_change_of_an_alias_can_be_rolled_back(registry: Registry, tmp_path: Path) -> None:
    """Killed before the link was changed, or while a release was copied: what is rolled back is that change, and the
    next release removes the unfinished copy."""
    registry.point("production", "v1")
    (blocking := registry.folder / ".production.new").mkdir()
    with pytest.raises(OSError, match="production"):
        registry.point("production", "v2")
    blocking.rmdir()
    assert registry.roll_back("production") == "v1"
    assert (registry.folder / "production").resolve() == registry.folder / "v1"
    (registry.folder / ".v3.123.partial").mkdir()
    assert registry.add(export(tmp_path / "three", "a3")) == "v3"
    assert not list(registry.folder.glob(".v*"))


def test_a_repeated_rollback_goes_back_one_version(registry: Registry) -> None:
    """If the link cannot be changed, or the process is killed there, the history is still the old one."""
    for version in ("v1", "v2", "v1"):
        registry.point("production", version)
    blocking = registry.folder / ".production.new"
    blocking.mkdir()
    with pytest.raises(OSError, match="production"):
        registry.roll_back("production")
    blocking.rmdir()
    assert registry.roll_back("production") == "v2"
    assert (registry.folder / "production").resolve() == registry.folder / "v2"


def test_an_alias_that_was_copied_as_a_folder_is_not_rolled_back(registry: Registry) -> None:
    """`cp -rL` and some archives make folders of links. Nothing changes, and the error names the folder."""
    link = registry.folder / "production"
    link.unlink()
    shutil.copytree(registry.folder / "v2", link)
    before = registry.aliases()
    with pytest.raises(UsageError, match="'production' is a file or folder, not an alias") as refused:
        registry.roll_back("production")
    assert (refused.value.where, registry.aliases()) == (str(link), before)
    shutil.rmtree(link)
    assert registry.roll_back("production") == "v1"


class Hub(OnThreads):
    """A hub on this machine. It accepts commits like the real one, or answers requests whose path contains `refused`
    with `status` and a message."""

    def __init__(
        self,
        *,
        takes: bool,
        refused: str = "/create",
        status: int = 403,
        holds: Sequence[str] = (),
        public: bool = False,
        tags: Sequence[str] = ("pairsmith",),
    ) -> None:
        asked: list[tuple[str, str]] = []

        class HubHandler(Handler):
            def do_POST(self) -> None:
                body = self.body().decode()
                asked.append((self.path, body))
                if takes or refused not in self.path:
                    self.reply(json.dumps(self._response_to(body)).encode(), 200)
                else:
                    self.reply(json.dumps({"errors": [{"message": "its own words"}]}).encode(), status)

            def do_GET(self) -> None:
                body = {"private": not public, "siblings": [{"rfilename": path} for path in holds], "tags": list(tags)}
                is_there = takes or refused != "/create"
                self.reply(json.dumps({"id": "me/images", **body}).encode(), 200 if is_there else 404)

            def _response_to(self, body: str) -> dict[str, Any]:
                where = f"http://{self.headers['Host']}/me/images"
                if "/preupload/" in self.path:
                    files = json.loads(body)["files"]
                    return {
                        "files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]
                    }
                if "/commit/" in self.path:
                    return {"commitUrl": f"{where}/commit/1", "commitOid": "1", "success": True}
                return {"url": where, "name": "me/images", "id": "1"}

        super().__init__(HubHandler)
        self.asked = asked

    def committed(self) -> dict[str, str]:
        """path -> text of every file that was committed."""
        return {file["path"]: base64.b64decode(file["content"]).decode() for file in self._lines("file")}

    def deleted(self) -> list[str]:
        """The paths of the deleted files."""
        return [file["path"] for file in self._lines("deletedFile")]

    def _lines(self, key: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for path, body in self.asked if "/commit/" in path for line in body.splitlines()]
        return [line["value"] for line in lines if line["key"] == key]


def run_push(folder: Path, repository: str, hub: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run `registry push` in a process of its own, because the hub's client reads its address only once."""
    (folder / "pairsmith.toml").write_text('[task]\nname = "images"\nstyle = "s"\n')
    words = [sys.executable, "-m", "pairsmith", "registry", "push", repository, "--project", str(folder), *more]
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False)


def test_a_version_is_uploaded_to_a_private_repository(registry: Registry, tmp_path: Path) -> None:
    """Every file of the model arrives unchanged, under the version's name; no model becomes public unless asked."""
    pytest.importorskip("huggingface_hub")
    with Hub(takes=True) as hub:
        done = run_push(tmp_path, "me/images", hub.url)
        (path, body), *_ = hub.asked
    assert (done.returncode, done.stdout.strip()) == (0, f"{hub.url}/me/images"), done.stderr
    assert path == "/api/repos/create"
    answer = json.loads(body)  # newer clients name the visibility
    assert answer.get("private", answer.get("visibility")) in (True, "private")
    assert hub.committed() == {"weights": "a2", "training.json": TRAINED.read_text()}
    assert any('"summary": "v2"' in body or '"summary":"v2"' in body for _, body in hub.asked)


def test_hub_failures_are_clear_errors(registry: Registry, tmp_path: Path) -> None:
    """A refused key, an invalid repository name and an unreachable hub each give an error message, no traceback."""
    pytest.importorskip("huggingface_hub")
    with Hub(takes=False) as hub:
        refused = run_push(tmp_path, "me/images", hub.url)
        assert len(hub.asked) == 1
        odd = [run_push(tmp_path, name, hub.url) for name in ("me/my images", "a/b/c", "-x/--y")]
    gone = run_push(tmp_path, "me/images", "http://127.0.0.1:9")
    assert [refused.returncode, gone.returncode] == [8, 8], gone.stderr
    assert refused.stderr.startswith("error: the hub at http://127.0.0.1")
    assert gone.stderr.startswith("error: the hub at http://127.0.0.1")
    assert [one.returncode for one in odd] == [2, 2, 2], [one.stderr for one in odd]


@pytest.mark.parametrize(("refused", "status"), [("/validate-yaml", 400), ("/commit/", 429)])
def test_the_message_of_the_hub_is_shown(registry: Registry, tmp_path: Path, refused: str, status: int) -> None:
    """The hub's own message is shown, which its client puts after an empty line. If the hub is busy, the advice is to
    try again later; only otherwise is the key suspected."""
    pytest.importorskip("huggingface_hub")
    for folder in ("adapter", "gguf"):
        (registry.folder_of("v2") / folder).mkdir(exist_ok=True)
        (registry.folder_of("v2") / folder / "README.md").write_text("---\nbase_model: x y\n---\n")
    with Hub(takes=False, refused=refused, status=status) as hub:
        done = run_push(tmp_path, "me/images", hub.url)
    assert done.returncode == 8
    assert "its own words." in done.stderr
    assert ("run the same command again later" in done.stderr) == (status == 429)
    assert ("HF_TOKEN" in done.stderr) == (status != 429)


def test_a_changed_gguf_is_not_released(registry: Registry, tmp_path: Path) -> None:
    """A GGUF was checked as it was exported: a changed or missing file is refused, and a new export with other content
    is another version."""
    exported = export(tmp_path / "three", "a3")
    (exported / "gguf").mkdir()
    (file := exported / "gguf" / "images-q8_0.gguf").write_text("of then")

    def write_export_json() -> None:
        body = {"adapter": "a3", "gguf": {file.name: sha256(file)}}
        (exported / "export.json").write_text(json.dumps(body))

    write_export_json()
    assert registry.add(exported) == registry.add(exported) == "v3"
    file.write_text("another")
    with pytest.raises(InputError, match=r"images-q8_0\.gguf: it is missing, or is not the one"):
        registry.add(exported)
    write_export_json()
    assert registry.add(exported) == "v4"
    file.unlink()
    with pytest.raises(InputError, match=r"images-q8_0\.gguf: it is missing, or is not the one"):
        registry.add(exported)
    (registry.folder_of("v3") / "gguf" / file.name).write_text("edited")
    with pytest.raises(InputError, match="is not the one that was exported"):
        push(registry.folder_of("v3"), "me/images")


def test_nothing_is_pushed_to_a_public_repository_without_the_option(registry: Registry, tmp_path: Path) -> None:
    """An existing repository keeps its visibility even if a private one is requested, so pushing to a public one needs
    --public."""
    pytest.importorskip("huggingface_hub")
    with Hub(takes=True, public=True) as hub:
        refused = run_push(tmp_path, "me/images", hub.url)
        assert hub.committed() == {}
        asked_for = run_push(tmp_path, "me/images", hub.url, "--public")
        assert asked_for.returncode == 0, asked_for.stderr
        assert "weights" in hub.committed()
    assert refused.returncode == 2, refused.stderr
    assert "already exists and is public" in refused.stderr


def test_a_push_replaces_the_previous_version(registry: Registry, tmp_path: Path) -> None:
    """One commit uploads the merged model if there is one, with its GGUFs in a folder of their own, and deletes the
    previous version's adapter, shards and GGUF: with `adapter_config.json` beside it, another model than the merged one
    would be loaded. The user's own files stay."""
    pytest.importorskip("huggingface_hub")
    (version := registry.folder_of("v2")).joinpath("model").mkdir()
    (version / "model" / "config.json").write_text("{}")
    (version / "gguf").mkdir()
    (version / "gguf" / "images-f16.gguf").write_text("weights")
    own = ["LICENSE", "README.md", "adapter_notes/2025.md", "examples/config.json", "gguf/README.md"]
    own += ["model_of_a_friend.safetensors", "mymodel.safetensors"]
    stale = ["adapter_config.json", "gguf/images-q8_0.gguf", "model-00001-of-00002.safetensors", "training.json"]
    with Hub(takes=True, holds=[*own, *stale, "config.json"]) as hub:
        done = run_push(tmp_path, "me/images", hub.url)
    assert done.returncode == 0, done.stderr
    assert hub.committed() == {"config.json": "{}", "gguf/images-f16.gguf": "weights"}
    assert hub.deleted() == stale
    assert sum("/commit/" in path for path, _ in hub.asked) == 1


def test_a_model_that_pairsmith_did_not_push_is_not_replaced(registry: Registry, tmp_path: Path) -> None:
    """A repository named by mistake keeps its card and its weights; one without a model accepts a first one."""
    pytest.importorskip("huggingface_hub")
    with Hub(takes=True, holds=["README.md", "model-00001-of-00002.safetensors"], tags=["llama"]) as hub:
        done = run_push(tmp_path, "me/images", hub.url)
        assert hub.committed() == {}
    assert done.returncode == 2, done.stderr
    assert "contains a model that pairsmith did not push (model-00001-of-00002.safetensors)" in done.stderr
    with Hub(takes=True, holds=["README.md", ".gitattributes"], tags=[]) as hub:
        assert run_push(tmp_path, "me/images", hub.url).returncode == 0
        assert hub.committed()
        assert hub.deleted() == []


def test_a_damaged_export_json_is_a_clear_error(registry: Registry, tmp_path: Path) -> None:
    """`export.json` is read for the hashes of GGUFs; an export where it is damaged is not released."""
    (exported := export(tmp_path / "three", "a3")).joinpath("export.json").write_text('{"adapter": ')
    with pytest.raises(UsageError, match=r"export\.json: it is damaged"):
        registry.add(exported)
