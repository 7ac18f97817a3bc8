"""pairsmith itself: a generation and a training under `pairsmith serve`, started on its pages."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import urllib.request
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from bench.service.kills import SPEC, WORDS
from bench.service.peers.trial import Server, free_port, until
from pairsmith.serve.process import is_held
from synth.embedded.weights import embedded_weights
from tests.synth.loopback import Ask, LoopbackTeacher, says
from tests.train.tiny import write_project

SLUG = "peer"


class _Served:
    """A workspace with one project, and the job that its page has started."""

    name: str
    unit: str
    size: int
    command: str
    server: Server
    folder: Path

    def install(self, venvs: Path) -> None:
        pass

    def version(self) -> str:
        return f"pairsmith {version('pairsmith')}"

    def lay_out(self, folder: Path) -> None:
        self.folder = folder / "space" / "projects" / SLUG
        self.folder.mkdir(parents=True)
        port = free_port()
        command = [sys.executable, "-m", "pairsmith", "serve", str(folder / "space"), "--no-auth", "--port", str(port)]
        paths = f"{Path.cwd()}:{os.environ.get('PYTHONPATH', '')}"
        self.server = Server(command, folder, f"http://127.0.0.1:{port}/readyz", PYTHONPATH=paths, OMP_NUM_THREADS="1")
        self._fill()

    def begin(self, page: Page) -> None:
        page.goto(self._url(f"/p/{SLUG}/run"))
        page.locator("select[name=command]").select_option(self.command)
        page.get_by_role("button", name="Start it").click()

    def ended(self) -> bool:
        return bool(self._job()["state"] == "done")

    def finds(self, page: Page) -> bool:
        page.goto(self._url(f"/p/{SLUG}/run"))
        return str(self._job()["id"])[-8:] in page.locator(".kicker").inner_text()

    def again(self, page: Page) -> tuple[str, bool]:
        page.goto(self._url(f"/p/{SLUG}/run"))
        button = page.locator("button", has_text="Continue").or_(page.locator("button", has_text="Try again"))
        words = button.inner_text()
        button.click()
        return words, False

    def clean(self) -> None:
        """Jobs outlive their server on purpose: those of this workspace are killed."""
        for lock in (self.folder.parents[1] / ".serve" / "jobs").glob("*/lock"):
            with contextlib.suppress(OSError, ValueError):
                if is_held(lock.parent):
                    os.kill(int(json.loads(lock.read_bytes())["pid"]), signal.SIGKILL)

    def _fill(self) -> None:
        raise NotImplementedError

    def _job(self) -> dict[str, Any]:
        return next(job for job in self._ask("/api/v1/jobs")["items"] if job["command"] == self.command)

    def _url(self, path: str) -> str:
        return self.server.url.removesuffix("/readyz") + path

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url(path), data=data, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


class Generates(_Served):
    """Rows from a teacher that takes its time."""

    name, unit, size, command = "pairsmith, generation", "row", 40, "generate"

    def __init__(self, delay_s: float) -> None:
        self.teacher = LoopbackTeacher(lambda ask: says(f"a rich and long rewrite of {_last(ask)}", delay_s=delay_s))
        self.asked_before = 0
        self.teacher.__enter__()

    def _fill(self) -> None:
        text = SPEC.format(name=SLUG, url=self.teacher.url, concurrency=4, samples=1)
        (self.folder / "pairsmith.toml").write_text(text)
        draw = random.Random(0)
        seeds = (f"{' '.join(draw.choices(WORDS, k=6))} number {nth}" for nth in range(self.size))
        (self.folder / "seeds.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in seeds))
        self.asked_before = len(self.teacher.asked)

    def begin(self, page: Page) -> None:
        self._ask("/api/v1/teachers/allowed", {"url": self.teacher.url})
        super().begin(page)

    def worked(self) -> int:
        return len(self.teacher.asked) - self.asked_before

    def kept(self, page: Page) -> int:
        try:
            with contextlib.closing(sqlite3.connect(self.folder / "pairsmith.db", timeout=30)) as store:
                return int(store.execute("SELECT count(*) FROM pairs").fetchone()[0])
        except sqlite3.OperationalError:  # it was killed before it had made its tables
            return 0

    def clean(self) -> None:
        pass


class Trains(_Served):
    """The same tiny model that LLaMA-Factory's page trains. Rows and curation are asked for over the API."""

    name, unit, size, command = "pairsmith, training", "step", 200, "train"

    def _fill(self) -> None:
        write_project(self.folder, embedded_weights().folder, {"train.batch": 2, "train.epochs": 18})

    def begin(self, page: Page) -> None:
        for command in ("generate", "curate"):
            job = self._ask(f"/api/v1/projects/{SLUG}/jobs", {"command": command})["id"]
            until(lambda job=job: self._ask(f"/api/v1/jobs/{job}")["state"] == "done", command)  # type: ignore[misc]
        super().begin(page)

    def worked(self) -> int:
        steps = 0
        for log in (self.folder.parents[1] / ".serve" / "jobs").glob("*/events.jsonl"):
            lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
            numbers = [line["numbers"] for line in lines if line.get("stage") == "train" and "loss" in line["numbers"]]
            done = [number["done"] for number in numbers]
            steps += sum(max(0, now - before) for before, now in pairwise([0, *done]))
            self.size = numbers[-1]["total"] if numbers else self.size
        return steps

    def kept(self, page: Page) -> int:
        return self.worked()


def _last(ask: Ask) -> str:
    return ask.prompt[-60:]
