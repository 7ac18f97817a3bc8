"""`make serve-demo`: one command, and an example project can be started with the embedded model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from schemas.ports import free_port
from tests.pairsmith.conftest import ROOT, Project

_WAIT_S = 150.0
_DEMO = """
import sys
from pathlib import Path
from examples.serve_demo import main
sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), open_browser=False))
"""


def test_demo_project_is_ready_to_start(tmp_path: Path) -> None:
    """There is no sign-in; the project has seeds and the embedded model as its teacher, and nothing has been run. A
    second start serves the same project, and Ctrl-C ends it normally."""
    port = free_port()
    for _ in range(2):
        demo = subprocess.Popen(
            [sys.executable, "-c", _DEMO, str(tmp_path / "space"), str(port)],
            cwd=ROOT,
            env=Project(tmp_path).environ(PYTHONPATH=str(ROOT)),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            page = _page(f"http://127.0.0.1:{port}/p/release-notes", demo)
            assert '<button class="strong">Start</button>' in page
            assert "smollm2-135m-instruct is the teacher" in _page(
                f"http://127.0.0.1:{port}/p/release-notes/setup", demo
            )
            os.killpg(demo.pid, signal.SIGINT)
            assert demo.wait(200) == 0
        finally:
            if demo.poll() is None:
                os.killpg(demo.pid, signal.SIGKILL)
                demo.wait()
    makefile = (ROOT / "Makefile").read_text()
    assert "serve-demo: $(VENV)/.serve\n\t$(BIN)/python examples/serve_demo.py\n" in makefile


def _page(url: str, server: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
