"""Downloads, chat and training pages use the current artifacts, not simply the newest; missing files are reported."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from starlette.testclient import TestClient

from curate.export.files import write_manifest
from pairsmith.receipts.outcome import CurateOutcome, TrainOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.serve.api import row_files
from pairsmith.serve.api.results import _stream_zip
from pairsmith.serve.rows_projection import COLUMNS
from pairsmith.serve.rows_view import RowView
from pairsmith.serve.workspace import Workspace
from pairsmith.style.numbers import signed_bounds
from schemas.files import replaced_folder
from schemas.project import Project
from schemas.records import Artifact, Counts, content_id
from schemas.store import Store
from tests.pairsmith import report_project
from tests.serve.people import browsing
from train.evaluation.metrics import Evaluation

FIRST, SECOND = content_id("adapter", 1), content_id("adapter", 2)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[tuple[TestClient, Project, Store]]:
    """A project with a dataset, its first adapter and the adapter's evaluation, and a client of a service with it."""
    workspace = Workspace(tmp_path / "space")
    project, store = report_project.whole(workspace.new_folder("whole"))
    (project.folder / "dataset").mkdir()
    with store, browsing(workspace) as client:
        yield client, project, store


def record_training(project: Project, store: Store, adapter: str) -> None:
    """Write the receipt of a training that produced this adapter, or found it existing."""
    with recording(project, store, "train", TrainOutcome()) as record:
        record.outcome = TrainOutcome(counts=Counts(rows_in=3, accepted=3), artifact_id=adapter)


def add_second_adapter(project: Project, store: Store) -> Artifact:
    """Add another adapter, created later."""
    path = project.folder / "adapters" / "two"
    shutil.copytree(project.folder / "adapters" / "one", path)
    (path / "of-the-second").write_text("x")
    artifact = Artifact(id=SECOND, kind="adapter", path="adapters/two", parents=(store.artifacts("dataset")[-1].id,))
    store.write(artifact)
    record_training(project, store, SECOND)
    return artifact


def section(page: str, name: str) -> str:
    match = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    return match[0] if match else ""


def heading(page: str) -> str:
    match = re.search("<h1>(.*?)</h1>", page, re.DOTALL)
    assert match
    return match[1]


def test_adapter_of_the_last_training_is_offered(scene: tuple[TestClient, Project, Store]) -> None:
    """The adapter to download is the one that training last produced or found, with its own evaluation. A newer adapter
    is listed under earlier artifacts, and the code example for programs uses the current one too."""
    client, project, store = scene
    first = client.get("/p/whole/downloads").text
    assert FIRST[:16] in section(first, "adapter")
    assert "an adapter and an evaluation" in heading(first)

    add_second_adapter(project, store)
    page = client.get("/p/whole/downloads").text
    assert SECOND[:16] in section(page, "adapter")
    assert FIRST[:8] in section(page, "older")
    assert not section(page, "evaluation")
    assert heading(page).endswith("rows and an adapter.")

    record_training(project, store, FIRST)  # with the earlier settings again: nothing is trained, it is found
    page = client.get("/p/whole/downloads").text
    assert FIRST[:16] in section(page, "adapter")
    assert f'"{FIRST[:8]}" in m.id' in page.replace("&#34;", '"')
    assert SECOND[:8] in section(page, "older")
    assert section(page, "evaluation")
    assert "an adapter and an evaluation" in heading(page)


def test_export_policy_applies_to_every_download(scene: tuple[TestClient, Project, Store]) -> None:
    """The license policy that stops an export stops every download and names the reason: the dataset, rows as a file,
    the model trained on them, its evaluation, and an export from before the policy."""
    client, project, store = scene
    (project.folder / "dataset" / "README.md").write_text("rows", encoding="utf-8")
    (project.folder / "export").mkdir()
    ids = {artifact.kind: artifact.id for artifact in store.artifacts()}
    (project.folder / "export" / "export.json").write_text(json.dumps({"dataset": ids["dataset"]}))
    of = "/api/v1/projects/whole"
    addresses = [f"{of}/artifacts/{ids[kind]}/download" for kind in ("dataset", "adapter", "evaluation")]
    addresses += [f"{of}/rows/download", f"{of}/rows/download?format=csv", f"{of}/export"]
    assert [client.get(address).status_code for address in addresses] == [200] * 6
    spec = project.folder / "pairsmith.toml"
    plain = spec.read_text("utf-8")
    spec.write_text(f'{plain}\n[export]\nlicenses = ["CC0-1.0"]\n', encoding="utf-8")
    for address in addresses:
        refused = client.get(address)
        assert refused.status_code == 403, address
        assert "license 'not stated'" in refused.json()["detail"]
    spec.write_text(f'{plain}\n[export]\nlicenses = ["CC0-1.0", "not stated"]\n', encoding="utf-8")
    assert [client.get(address).status_code for address in addresses] == [200] * 6


def test_every_page_uses_the_current_adapter(scene: tuple[TestClient, Project, Store]) -> None:
    """After going back to the first adapter, its training is marked as current, and chat uses it. If the evaluation is
    of another adapter than the current one, or a stage before it is due, the page says so."""
    client, project, store = scene
    talked_to = list[str]()

    class Talking:
        async def ask(self, talker: Any, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            talked_to.append(talker.name)
            return 200, {"choices": [{"message": {"content": "a kite"}}]}

    client.app.state.talking = Talking()  # type: ignore[attr-defined]
    add_second_adapter(project, store)
    page = client.get("/p/whole/evaluation").text
    assert f"This evaluation is of adapter {FIRST[:8]}. The current one is {SECOND[:8]}." in page
    record_training(project, store, FIRST)
    page = client.get("/p/whole/evaluation").text
    assert "The current one is" not in page
    assert "Not up to date: generate is due (" in page
    page = client.get("/p/whole/training").text
    assert f"{FIRST[:8]}</a> current" in page
    assert "Loss is the mean per answer token" in page
    assert client.post("/p/whole/talk", data={"text": "a kite"}).status_code == 200
    assert [name.rpartition("::")[2] for name in talked_to] == [FIRST[:8], FIRST[:8]]
    assert [name.partition(":")[0] for name in talked_to] == ["ft", "base"]


def test_difference_chart_uses_the_simultaneous_intervals(
    scene: tuple[TestClient, Project, Store],
) -> None:
    """The chart shows the same interval of a difference as the text: the simultaneous one, which holds for all
    comparisons at once."""
    client, project, store = scene
    file = project.folder / store.artifacts("evaluation")[-1].path
    evaluation = Evaluation.model_validate_json(file.read_bytes())
    wide = tuple(
        gap.model_copy(update={"simultaneous": gap.difference and gap.difference.model_copy(update={"low": -0.97})})
        for gap in evaluation.comparisons
    )
    file.write_text(evaluation.model_copy(update={"comparisons": wide}).model_dump_json(), encoding="utf-8")
    chart = client.get("/p/whole/evaluation").text.partition('<ul class="differences">')[2].partition("</ul>")[0]
    assert chart.count("\N{MINUS SIGN}97,") >= 1
    for gap in evaluation.comparisons:
        if gap.difference is not None:
            assert signed_bounds(gap.difference) not in chart


def test_a_dataset_that_was_replaced_is_not_downloaded_under_its_id(scene: tuple[TestClient, Project, Store]) -> None:
    """Each curation replaces the folder of the dataset: who asked for an earlier one by its id, or from the list of
    earlier versions, got the rows of the newest under that name. A zip that a slow reader is still downloading never
    gets files of the new folder. A zip of one split is refused, because it would have all of them."""
    client, project, store = scene
    folder, old = project.folder / "dataset", store.artifacts("dataset")[-1]
    new = old.model_copy(update={"id": content_id("dataset", 2)})

    def put(artifact: Artifact) -> None:
        with replaced_folder(folder) as partial:
            (partial / "data").mkdir()
            for name in ("data/train.jsonl", "zzz.txt"):
                (partial / name).write_text(f'{{"of": "{artifact.id}"}}\n')
            write_manifest(partial / "manifest.json", {"id": artifact.id}, [{}])

    put(old)
    store.write(new)
    address = "/api/v1/projects/whole/artifacts/{}/download"
    assert [client.get(address.format(one.id)).status_code for one in (old, new)] == [200, 409]
    parts = _stream_zip(folder, "old")
    part = next(parts)
    put(new)
    with pytest.raises(FileNotFoundError):
        list(parts)
    assert old.id.encode() in part
    assert [client.get(address.format(one.id)).status_code for one in (old, new)] == [409, 200]
    refused = client.get(address.format(old.id), params={"format": "jsonl"})
    assert "a later curation has replaced them" in refused.text
    refused = client.get(address.format(new.id), params={"split": "test"})
    assert (refused.status_code, refused.json()["what"]) == (422, "a zip has all splits.")
    with zipfile.ZipFile(io.BytesIO(client.get(address.format(new.id)).content)) as archive:
        assert sorted(name.partition("/")[2] for name in archive.namelist()) == [
            "data/train.jsonl", "manifest.json", "zzz.txt",
        ]  # fmt: skip
    sizes = {one["id"]: one["bytes"] for one in client.get("/api/v1/projects/whole/artifacts").json()["items"]}
    assert sizes[old.id] == 0 < sizes[new.id]
    with recording(project, store, "curate", CurateOutcome()) as record:
        record.outcome = CurateOutcome(counts=Counts(rows_in=3, accepted=3), artifact_id=new.id)
    page = client.get("/p/whole/downloads").text
    assert "files no longer here" in section(page, "older")
    assert new.id[:8] in section(page, "dataset")


def test_rows_wait_for_a_slow_reader_in_small_chunks() -> None:
    """A download held 2,000 rows and a chunk of 500 in memory for as long as its reader took: 9 MB for short rows, and
    hundreds for documents."""
    for write in (row_files.jsonl, row_files.csv_lines):
        taken = 0

        def rows() -> Iterator[RowView]:
            nonlocal taken
            for number in range(200):
                taken += 1
                values = dict.fromkeys(COLUMNS) | {"id": str(number), "output": 20_000 * "x"}
                yield RowView(**values)  # type: ignore[arg-type]

        chunks = write(rows())
        first = next(chunks)
        assert taken <= 8
        sizes = [len(first), *map(len, chunks)]
        assert (taken, max(sizes) < 200_000, sum(sizes) > 200 * 20_000) == (200, True, True)


def test_missing_artifact_files_are_not_offered(scene: tuple[TestClient, Project, Store]) -> None:
    """An adapter whose folder was removed is reported as missing, in its section and in the heading; the earlier one,
    which still exists, can be downloaded."""
    client, project, store = scene
    artifact = add_second_adapter(project, store)
    shutil.rmtree(project.folder / artifact.path)
    page = client.get("/p/whole/downloads").text
    assert "Its files are missing" in section(page, "adapter")
    assert "download" not in section(page, "adapter")
    assert "adapter" not in heading(page)
    assert f"/artifacts/{FIRST}/download" in section(page, "older")
    shutil.rmtree(project.folder / "dataset")
    assert heading(client.get("/p/whole/downloads").text).startswith("The artifact files are missing")
