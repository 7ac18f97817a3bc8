"""One kill of one tool: its server, a real browser, and what came of the job."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from playwright.sync_api import BrowserContext, Error, Page, Playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WITHIN_S = 900.0  # for a server to be up, for work to begin, for a job that goes on to end
STILL_S = 60.0  # without a new unit of work, a job is held to stand still


class Peer(Protocol):
    """A tool under trial. A unit of work is a row that a teacher has answered or a step of a training."""

    name: str
    unit: str
    size: int
    server: Server

    def install(self, venvs: Path) -> None:
        """Make what it runs in, unless it is there."""

    def version(self) -> str: ...

    def lay_out(self, folder: Path) -> None:
        """A fresh workspace with what the job needs, and its server, not yet started."""

    def begin(self, page: Page) -> None:
        """Start the job as a person does, by its buttons."""

    def worked(self) -> int:
        """Units of work that were done up to now, those done again included."""

    def kept(self, page: Page) -> int:
        """Units of work that are there for the person, as the tool's own files or its page say."""

    def ended(self) -> bool:
        """Whether the job has come to its end and its result is there."""

    def finds(self, page: Page) -> bool:
        """Whether the page that a person opens again shows the job."""

    def again(self, page: Page) -> tuple[str, bool]:
        """Press what brings the job to its end: what was pressed, and whether that began the job anew."""

    def clean(self) -> None:
        """End what the tool has left behind."""


@dataclass(frozen=True)
class Outcome:
    """`lost`: units done at the kill that nobody has after it. `twice`: units done more than once until the end."""

    killed: str
    at_kill: int
    went_on: bool
    ended_alone: bool
    found: bool
    ended_with_page: bool
    pressed: str
    anew: bool
    lost: int
    twice: int
    ended: bool


class Server:
    """A command that serves at `url`, killed and started again."""

    def __init__(self, command: list[str], folder: Path, url: str, **environment: str) -> None:
        self.command, self.folder, self.url = command, folder, url
        self.environment = {**os.environ, **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        until(self._answers, "the server to answer")

    def kill(self) -> None:
        """The server alone: what it has started lives on, as after a crash or the out-of-memory killer."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def clean(self) -> None:
        """The server and all that it has started."""
        for pid in [pid for pid in _pids() if _session(pid) in self._sessions()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _sessions(self) -> set[int]:
        return {self.process.pid} if self.process else set()

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"The server has ended: {(self.folder / 'server.log').read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(self.url, timeout=20):
                return True
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False


class Browser:
    """Chromium with a profile of its own, which outlives a kill as that of a person does."""

    def __init__(self, engine: Playwright, profile: Path) -> None:
        self.engine, self.profile = engine, profile
        self.context: BrowserContext | None = None

    def page(self) -> Page:
        if self.context is None:
            self.context = self.engine.chromium.launch_persistent_context(
                str(self.profile), executable_path=str(CHROMIUM), args=FLAGS, viewport={"width": 1400, "height": 1000}
            )
            self.context.set_default_timeout(120_000)
        return self.context.pages[0] if self.context.pages else self.context.new_page()

    def kill(self) -> None:
        """`kill -9` of every process of this browser."""
        for pid in _pids():
            if str(self.profile) in _words(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.context is not None:
            with contextlib.suppress(Error):
                self.context.close()
        self.context = None
        for lock in self.profile.glob("Singleton*"):
            lock.unlink()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(holds: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> None:
    last = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > last:
            raise TimeoutError(f"Waited {within_s:.0f} s for {what}.")
        time.sleep(0.25)


def killed(peer: Peer, kill: str, at: float, folder: Path, engine: Playwright) -> Outcome:
    """Start the job, kill the page or the server when `at` of it is done, look, and bring it to its end."""
    peer.lay_out(folder)
    browser = Browser(engine, folder / "profile")
    try:
        peer.server.start()
        peer.begin(browser.page())
        until(lambda: peer.worked() >= at * peer.size, "work to kill in the midst of")
        if kill == "page":
            browser.kill()
        else:
            peer.server.kill()
        at_kill = peer.worked()
        if kill == "server":
            time.sleep(1)
            peer.server.start()
        return _looked_at(peer, kill, at_kill, browser)
    finally:
        browser.kill()
        peer.server.clean()
        peer.clean()


def _looked_at(peer: Peer, kill: str, at_kill: int, browser: Browser) -> Outcome:
    alone = _followed(peer)
    went_on = alone or peer.worked() > at_kill + 5  # what was in flight may still arrive
    if not went_on:
        at_kill = peer.worked()
    shown = peer.finds(browser.page())
    kept = peer.kept(browser.page())
    with_page = alone or _followed(peer)
    pressed, anew = ("", False) if with_page else peer.again(browser.page())
    ended = with_page or _followed(peer)
    return Outcome(
        killed=kill,
        at_kill=at_kill,
        went_on=went_on,
        ended_alone=alone,
        found=shown,
        ended_with_page=with_page,
        pressed=pressed,
        anew=anew,
        lost=max(0, at_kill - kept),
        twice=max(0, peer.worked() - peer.size),
        ended=ended,
    )


def _followed(peer: Peer) -> bool:
    """Wait while work is done; whether the job has ended."""
    last, since = peer.worked(), time.monotonic()
    while time.monotonic() - since < STILL_S:
        if peer.ended():
            return True
        if (now := peer.worked()) != last:
            last, since = now, time.monotonic()
        time.sleep(0.5)
    return peer.ended()


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1
