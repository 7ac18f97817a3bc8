"""Certificates in the browser: requesting one, its display, and training on certified rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from starlette.testclient import TestClient

from pairsmith.serve.workspace import Workspace
from tests.pairsmith import own_pairs
from tests.serve.people import browsing

_WAIT_S = 400.0


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A service that runs jobs, with 400 curated pairs and no answers."""
    workspace = Workspace(tmp_path / "space")
    folder = workspace.new_folder("own")
    folder.mkdir(parents=True)
    own_pairs.curated(folder)
    with browsing(workspace) as client, client:
        yield client


def wait_until_ended(client: TestClient, job: str) -> dict[str, object]:
    until = time.monotonic() + _WAIT_S
    while (now := client.get(f"/api/v1/jobs/{job}").json())["state"] not in ("done", "failed", "stopped"):
        assert time.monotonic() < until, now
        time.sleep(0.1)
    return dict(now)


def run_certification(client: TestClient, **form: str) -> str:
    """Press "Check now" and return the page of the finished run."""
    sent = client.post("/p/own/run", data={"command": "certify", **form})
    assert sent.status_code == 303, sent.text
    wait_until_ended(client, sent.headers["location"].partition("job=")[2])
    return client.get(sent.headers["location"]).text


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_certificate_is_requested_shown_and_used_for_training(client: TestClient) -> None:
    """The button appears with the first answer. The certificate's text is on the run page, the review page and in the
    API. If the user chooses so, uncertified rows wait, and the page offers to continue to training."""
    folder = client.app.state.workspace.folder("own")  # type: ignore[attr-defined]
    page = client.get("/p/own/review").text
    assert "No row has been answered yet." in page
    assert "Check now" not in page
    assert "Train on certified rows only" not in page, "there is no certificate"
    own_pairs.answer(folder, 3)
    assert "Check now" in client.get("/p/own/review").text
    assert client.post("/p/own/run", data={"command": "certify", "precision": "101"}).status_code == 400

    assert "Auto-accept" in run_certification(client, precision="90", confidence="90")
    certificate = client.get("/api/v1/projects/own/review").json()["certificate"]
    assert certificate["holds"]
    page = client.get("/p/own/review").text
    assert certificate["words"][1:] in page.replace("&gt;", ">")
    assert "Training uses all accepted rows" in page
    assert "Train on certified rows only" in page
    assert client.get(f"/api/v1/projects/own/artifacts/{certificate['id']}/download").json()["rows"]

    assert client.post("/p/own/review/certified", data={"only": "yes"}).status_code == 303
    assert (
        wait_until_ended(client, client.post("/api/v1/projects/own/jobs", json={"command": "curate"}).json()["id"])[
            "state"
        ]
        == "done"
    )
    page = client.get("/p/own/review").text
    assert "Continue and train on certified rows" in page
    assert "Train on all accepted rows" in page
    assert client.get("/api/v1/projects/own/rows?reason=uncertified&limit=1").json()["items"], "no rows wait"

    client.post("/p/own/setup/checks", data={"check_echo": "off"})
    assert "The certificate is no longer valid" in client.get("/p/own/review").text
