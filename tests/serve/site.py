"""The service on its own port, in this process, for browser tests. One at a time, because there is one DBOS per
process."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

import uvicorn

from pairsmith.serve.app import create_app
from pairsmith.serve.settings import Settings
from pairsmith.serve.workspace import Workspace
from schemas.ports import free_port

with suppress(ImportError):
    from playwright.sync_api import expect

    expect.set_options(timeout=180_000)  # for a busy machine; Playwright's default is five seconds

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Site:
    """The service on its own port, with a teacher that its policy allows."""

    def __init__(self, root: Path, teacher: str, *, no_auth: bool = True) -> None:
        self.port = free_port()
        self.workspace = Workspace(root)
        self.app = create_app(self.workspace, Settings(no_auth=no_auth, port=self.port))
        self.app.state.policy.allow(teacher, "", None)
        self.teacher, self.url = teacher, f"http://127.0.0.1:{self.port}"
        self.server = uvicorn.Server(
            uvicorn.Config(self.app, port=self.port, log_level="error", timeout_graceful_shutdown=1)
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def start(self) -> None:
        self.thread.start()
        until = time.monotonic() + 150
        while not self.server.started:
            assert time.monotonic() < until
            time.sleep(0.05)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(120)
        assert not self.thread.is_alive()
        self.app.state.engine.dispose()
