"""A page that stays open while its server is killed and restarted."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")
pytest.importorskip("playwright.sync_api", reason="no browser: needs the package playwright")

from playwright import sync_api as playwright

from pairsmith.serve.workspace import Workspace
from schemas.ports import free_port
from tests.pairsmith.conftest import answer
from tests.serve.conftest import write_project
from tests.serve.served import Served
from tests.serve.site import CHROMIUM, FLAGS
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: needs {CHROMIUM}")
_WAIT_MS = 180_000


def test_open_page_continues_with_the_next_server(tmp_path: Path) -> None:
    """The server is killed during a run. The next server adopts the process, and the page shows its end without being
    reloaded. Meanwhile it shows that the service is not responding, and since when; the message disappears later."""
    answers, asked = [4.0], [0]

    def in_turns(ask: Ask) -> Reply:
        nth, asked[0] = asked[0], asked[0] + 1
        return replace(answer(ask), when=lambda: nth < answers[0])

    port = str(free_port())
    root = tmp_path / "space"
    with LoopbackTeacher(in_turns) as teacher, playwright.sync_playwright() as engine:
        write_project(Workspace(root), "tiny", teacher.url)
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        with Served(root, "--port", port) as server:
            server.ask("/api/v1/teachers/allowed", {"url": teacher.url})
            job = server.ask("/api/v1/projects/tiny/jobs", {"command": "generate"})["id"]
            page = browser.new_page(base_url=server.url, locale="en-GB", timezone_id="UTC")
            page.set_default_timeout(_WAIT_MS)
            page.goto("/p/tiny/run")
            heading = page.locator("h1")
            playwright.expect(heading).to_contain_text("Generating: ", timeout=_WAIT_MS)
            page.clock.set_fixed_time(datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC))
            page.evaluate("htmx.trigger('#live', 'live')")
            playwright.expect(page.locator("[data-live]:not(.htmx-request)")).to_be_visible(timeout=_WAIT_MS)
            server.process.kill()
            server.process.wait()
            page.evaluate("htmx.trigger('#live', 'live')")
            stale = page.locator("#stale")
            playwright.expect(stale).to_contain_text("The service is not responding. It shows the state as of 03:02:01")
        with Served(root, "--port", port) as server:
            answers[0] = math.inf
            assert server.job(job, "done", "failed")["state"] == "done"
            page.evaluate("htmx.trigger('#live', 'live')")
            playwright.expect(heading).to_contain_text("Generate is done", timeout=_WAIT_MS)
            playwright.expect(stale).to_be_hidden()
        browser.close()
    assert len(teacher.asked) == 12, "a request was sent twice"
