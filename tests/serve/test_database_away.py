"""Pages of a service whose database becomes unavailable between two queries."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from sqlalchemy.exc import OperationalError

from pairsmith.serve.workspace import Workspace
from tests.serve.conftest import Browse, write_project


def test_error_page_works_without_project_titles(
    workspace: Workspace, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows the project's slug instead, and the original error."""
    write_project(workspace, "tiny", "http://127.0.0.1:9")
    client = browse(workspace, headers={"Accept": "text/html"})

    def away() -> dict[str, str]:
        raise OperationalError("SELECT", {}, Exception("the server closed the connection unexpectedly"))

    monkeypatch.setattr(client.app.state.accounts, "titles", away)
    page = client.post("/p/tiny/setup/nowhere", data={"seen": ""})
    assert page.status_code == 400
    assert ">tiny</a>" in page.text
    assert "setup has no step" in page.text.lower()
