"""Pages of a service whose database goes away between two questions."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from pairsmith.serve.app import create_app
from pairsmith.serve.settings import Settings
from pairsmith.serve.workspace import Workspace
from tests.serve.conftest import write_project


def test_a_failure_has_its_page_though_no_title_can_be_read(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page calls the project by its name, and says what is wrong with what was sent."""
    write_project(workspace, "tiny", "http://127.0.0.1:9")
    app = create_app(workspace, Settings(no_auth=True))

    def away() -> dict[str, str]:
        raise OperationalError("SELECT", {}, Exception("the server closed the connection unexpectedly"))

    monkeypatch.setattr(app.state.accounts, "titles", away)
    client = TestClient(app, base_url="http://127.0.0.1:8660", headers={"Accept": "text/html"})
    page = client.post("/p/tiny/setup/nowhere", data={"seen": ""}, follow_redirects=False)
    assert page.status_code == 400
    assert ">tiny</a>" in page.text
    assert "setup has no step" in page.text.lower()
    app.state.jobs.close()
