"""The page is closed, or its server killed, in the middle of a job: in pairsmith and in comparable tools.

    python -m bench.service.peers [pairsmith pairsmith-training llamafactory kiln] [--kills page server]
        [--llamafactory VENV] [--kiln VENV --kiln-source CHECKOUT]

Needs Chromium and the package playwright. A peer is tried if its environment is given: for LLaMA-Factory a venv with
it; for Kiln a venv with the packages of its lock file and a checkout of its repository with its web page built (`npx
vite build` in app/web_ui), because PyPI has neither the page nor the generation. Prints a row for each trial; README.md
has the results.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Error, Page, Playwright, sync_playwright

from bench.harness import ENVIRONMENT, answers, ask, until
from bench.service.kills import SPEC
from schemas.ports import free_port
from synth.embedded.weights import embedded_weights
from tests.serve.site import CHROMIUM, FLAGS
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says
from tests.train.tiny import PAIRS, make_base, write_project

ROWS, DELAY_S = 40, 2.0  # delay of the loopback teacher
EPOCHS, OUR_EPOCHS, AT = 75, 500, 0.1  # 1,500 steps, as curation leaves few rows; the share done at the kill
WITHIN_S, STILL_S = 1200.0, 90.0  # for a server to answer; a job without new work for this long has stalled


@dataclass
class Job:
    """A tool's server and its job. A unit of work is an input sent to the teacher, or a training step."""

    tool: str
    unit: str
    size: int
    command: list[str]
    folder: Path
    url: str
    begin: Callable[[Page], None]
    """Starts the job with the page's own buttons."""
    done: Callable[[], int]
    """Units done or paid for so far, including repeated ones."""
    kept: Callable[[Page], int]
    """Units that the tool would not repeat; all of them once the result exists."""
    shown: Callable[[Page], bool]
    """Whether the reopened page shows the job with its progress."""
    again: Callable[[Page], str]
    """Press the buttons that bring a stalled job to its end; returns what was pressed."""
    at: float = AT
    environment: dict[str, str] = field(default_factory=dict)
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def serve(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.servers += [subprocess.Popen(
                self.command, cwd=self.folder, env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
                stdout=log, stderr=log, start_new_session=True,
            )]  # fmt: skip
        until(partial(answers, self.url), f"{self.tool} to answer", WITHIN_S)


def _wait_while_progressing(job: Job) -> int:
    """Wait until all units are done or no more arrive; return how many are done."""
    done, since = job.done(), time.monotonic()
    while done < job.size and time.monotonic() - since < STILL_S:
        time.sleep(0.5)
        if (now := job.done()) != done:
            done, since = now, time.monotonic()
    return done


def _has_result(job: Job, page: Page) -> bool:
    """Whether the result exists, within a while after the last unit of work."""
    with suppress(TimeoutError):
        until(lambda: job.kept(page) >= job.size, "the result", STILL_S)
    return job.kept(page) >= job.size


def run_trial(job: Job, kill: str, browser: Callable[[], BrowserContext]) -> dict[str, Any]:
    """Start the job, close the page or kill only its server, observe what continues, and bring the job to its end."""
    context = browser()
    try:
        job.serve()
        job.begin(context.pages[0])
        until(lambda: job.done() >= job.at * job.size, "work to be done", WITHIN_S)
        at_kill = job.done()
        if kill == "page":
            context.close()
            alone = _wait_while_progressing(job)
            context = browser()
        else:
            job.servers[0].kill()
            job.servers[0].wait()
            job.serve()
            alone = _wait_while_progressing(job)
        page = context.pages[0]
        shown = job.shown(page)
        opened = _wait_while_progressing(job)
        ended = opened >= job.size and _has_result(job, page)
        kept = job.kept(page)
        pressed = "nothing"
        if not ended:
            units = job.done() + job.size - kept
            pressed = job.again(page)
            until(lambda: job.done() >= units, "the job to end", WITHIN_S)
            ended = _has_result(job, page)
        return {
            "tool, job": f"{job.tool}, {job.size} {job.unit}s", "killed": kill, "done at the kill": at_kill,
            "alone until": alone, "shown again": shown, "with the page until": opened,
            "lost": max(0, min(opened, job.size) - kept), "pressed": pressed, "ended": ended,
            "done twice": max(0, job.done() - job.size),
        }  # fmt: skip
    finally:
        with suppress(Error):
            context.close()
        for server in job.servers:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def _jobs(base: str) -> list[dict[str, Any]]:
    return list(json.loads(ask(f"{base}api/v1/jobs"))["items"])


def _inputs() -> list[str]:
    return [f"a lamp, a sea and a kite, number {nth}" for nth in range(ROWS)]


def _pairsmith(folder: Path, command: str, unit: str, size: int, done: Callable[[], int]) -> Job:
    """A service with the single project `peer`, whose page starts `command`."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"

    def state() -> dict[str, Any]:
        return next(job for job in _jobs(f"{base}/") if job["command"] == command)

    def begin(page: Page) -> None:
        page.goto(f"{base}/p/peer/run")
        page.locator("select[name=command]").select_option(command)
        page.get_by_role("button", name="Start command").click()

    def shown(page: Page) -> bool:
        page.goto(f"{base}/p/peer/run")
        return str(state()["id"])[-8:] in page.locator(".kicker").inner_text()

    def again(page: Page) -> str:
        button = page.locator("button", has_text="Continue").or_(page.locator("button", has_text="Try again"))
        words = button.inner_text()
        button.click()
        return words

    job = Job(
        f"pairsmith {version('pairsmith')}, {command}", unit, size,
        [sys.executable, "-m", "pairsmith", "serve", str(folder / "space"), "--no-auth", "--port", str(port)],
        folder, f"{base}/readyz", begin, done, lambda page: job.size if state()["state"] == "done" else 0,
        shown, again, environment=ENVIRONMENT,
    )  # fmt: skip
    return job


@contextmanager
def pairsmith(folder: Path, options: argparse.Namespace) -> Iterator[Job]:
    """Generation of rows with a loopback teacher."""
    project = folder / "space" / "projects" / "peer"
    project.mkdir(parents=True)

    def stored(_: Page) -> int:
        with closing(sqlite3.connect(project / "pairsmith.db", timeout=30)) as store:
            return int(store.execute("SELECT count(*) FROM pairs").fetchone()[0])

    with LoopbackTeacher(lambda ask: says(f"a rich and long {ask.prompt[-60:]}", delay_s=DELAY_S)) as teacher:
        (project / "pairsmith.toml").write_text(SPEC.format(name="peer", url=teacher.url, concurrency=5, samples=1))
        (project / "seeds.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in _inputs()))
        job = _pairsmith(folder, "generate", "row", ROWS, lambda: len(teacher.asked))
        start, job.kept, job.at = job.begin, stored, 0.4

        def begin(page: Page) -> None:
            ask(job.url.replace("readyz", "api/v1/teachers/allowed"), {"url": teacher.url})
            start(page)

        job.begin = begin
        yield job


@contextmanager
def pairsmith_training(folder: Path, options: argparse.Namespace) -> Iterator[Job]:
    """Training LoRA on a tiny Llama; its rows are generated and curated over the API before."""
    project = folder / "space" / "projects" / "peer"
    project.mkdir(parents=True)
    write_project(project, embedded_weights().folder, {"train.batch": 2, "train.epochs": OUR_EPOCHS})

    def numbers() -> list[dict[str, Any]]:
        logs = (folder / "space" / ".serve" / "jobs").glob("*/events.jsonl")
        lines = (json.loads(line) for log in logs for line in log.read_text().splitlines() if line.endswith("}"))
        return [line["numbers"] for line in lines if line.get("stage") == "train" and "loss" in line["numbers"]]

    def done() -> int:
        return sum(max(0, now - before) for before, now in pairwise([0, *(line["done"] for line in numbers())]))

    job = _pairsmith(folder, "train", "step", 0, done)
    base, start = job.url.removesuffix("readyz"), job.begin

    def begin(page: Page) -> None:
        for command in ("generate", "curate"):
            ask(f"{base}api/v1/projects/peer/jobs", {"command": command})
            until(lambda: all(job["state"] == "done" for job in _jobs(base)), command, WITHIN_S)
        start(page)
        until(numbers, "the first step", WITHIN_S)
        job.size = numbers()[0]["total"]

    job.begin = begin
    yield job


def _choose(page: Page, label: str, value: str) -> None:
    """Choose from a Gradio list by keyboard: typing filters it."""
    page.get_by_label(label, exact=True).locator("visible=true").first.click()
    page.wait_for_timeout(1000)  # some lists are filled only when they are opened
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(value)
    page.wait_for_timeout(1000)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")


@contextmanager
def llamafactory(folder: Path, options: argparse.Namespace) -> Iterator[Job]:
    """Training LoRA on a tiny Llama with its web page, with defaults: a log line every 5 steps, a checkpoint every
    100."""
    make_base(folder / "tiny-llama", embedded_weights().folder)
    (folder / "data").mkdir()
    rows = [{"instruction": pair["input"], "input": "", "output": pair["output"]} for pair in PAIRS]
    (folder / "data" / "peer.json").write_text(json.dumps(rows))
    (folder / "data" / "dataset_info.json").write_text('{"peer": {"file_name": "peer.json"}}')
    port, size = free_port(), len(PAIRS) // 2 * EPOCHS
    url = f"http://127.0.0.1:{port}/"

    def written(name: str) -> list[Path]:
        return list(folder.glob(f"saves/*/*/*/{name}"))

    def of_model(page: Page) -> None:
        page.goto(url)
        _choose(page, "Model name", "Custom")
        page.get_by_label("Model path").first.fill(str(folder / "tiny-llama"))

    def begin(page: Page) -> None:
        of_model(page)
        _choose(page, "Dataset", "peer")
        page.get_by_label("Epochs").first.fill(f"{EPOCHS}.0")
        _choose(page, "Compute type", "fp32")
        for label, number in (("Batch size", 2), ("Gradient accumulation", 1)):
            page.get_by_label(f"number input for {label}").first.fill(str(number))
            page.keyboard.press("Tab")
        page.get_by_role("button", name="Start", exact=True).first.click()

    def kept(page: Page) -> int:
        saved = [int(path.name.rpartition("-")[2]) for path in written("checkpoint-*")]
        return size if written("train_results.json") else max(saved, default=0)

    def shown(page: Page) -> bool:
        page.goto(url)
        with suppress(Error):
            page.get_by_text(re.compile(r"Running \d+/\d+|finished", re.IGNORECASE)).first.wait_for(timeout=30_000)
            return True
        return False

    def again(page: Page) -> str:
        of_model(page)
        _choose(page, "Output dir", written("trainer_log.jsonl")[0].parent.name)
        page.wait_for_timeout(5000)  # it responds with the form of that training
        page.get_by_role("button", name="Start", exact=True).first.click()
        return "the model chosen again, the old output folder, Start"

    release = next(options.llamafactory.glob("lib/*/site-packages/llamafactory-*.dist-info")).name.split("-")[1][:-5]
    yield Job(
        f"LLaMA-Factory {release}, training", "step", size, ["llamafactory-cli", "webui"], folder, url, begin,
        lambda: 5 * sum(log.read_text().count('"loss"') for log in written("trainer_log.jsonl")), kept, shown, again,
        environment={
            "PATH": f"{options.llamafactory.resolve()}/bin:{os.environ['PATH']}", "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1",
            "BROWSER": "true",
        },
    )  # fmt: skip


MODEL = "openai_compatible/loop::loopback"
# Kiln's page keeps generated outputs in the browser's IndexedDB until they are saved.
FILED = """() => new Promise(done => {
    const opening = indexedDB.open('kiln_stores', 1)
    opening.onerror = () => done(0)
    opening.onsuccess = () => {
        const all = opening.result.transaction('key_value_store').objectStore('key_value_store').getAll()
        all.onsuccess = () => done(all.result.filter(item => item.key.startsWith('synth_data_'))
            .flatMap(item => item.value.root_node.samples).filter(sample => sample.output).length)
    }
})"""


@contextmanager
def kiln(folder: Path, options: argparse.Namespace) -> Iterator[Job]:
    """Generation of outputs for inputs of a loopback teacher, with its synthetic data page."""
    port = 8757  # its page expects the API at this port
    base = f"http://localhost:{port}"
    source, path = options.kiln_source.resolve(), ""
    release = tomllib.loads((source / "app/desktop/pyproject.toml").read_text())["project"]["version"]

    def answer(ask: Ask) -> Reply:
        if "generated_samples" in json.dumps(ask.body):
            return says(json.dumps({"generated_samples": _inputs()}))
        return says(f"a rich and long {ask.prompt[-60:]}", delay_s=DELAY_S)

    def generate(page: Page) -> str:
        page.get_by_role("button", name="Go to step 3").click()
        page.get_by_role("button", name="Generate Outputs", exact=True).click()
        page.locator("#generate_all_dialog form").get_by_role("button", name="Generate").last.click()
        return "Generate Outputs, Generate"

    def begin(page: Page) -> None:
        """Create the provider, a project and a task over the API, as its first pages do; then use its buttons."""
        nonlocal path
        ask(f"{base}/api/settings", {"user_type": "personal", "personal_use_contact": "nobody@example.org"})
        loop = {"name": "loop", "base_url": f"{teacher.url}/v1", "api_key": "none"}
        ask(f"{base}/api/provider/openai_compatible", loop)
        project = json.loads(ask(f"{base}/api/projects", {"name": "peer"}))["id"]
        task = json.loads(
            ask(f"{base}/api/projects/{project}/tasks", {"name": "rewrite", "instruction": "Rewrite it."})
        )["id"]
        state = {"current_project_id": project, "current_task_id": task, "selected_model": MODEL}
        page.goto(f"{base}/ping")
        page.evaluate("state => localStorage.setItem('ui_state', state)", json.dumps(state))
        path = f"/generate/{project}/{task}/synth?reason=fine_tune&guide=skip&batch=manual"
        page.goto(base + path)
        page.get_by_role("button", name="Generate Model Inputs").click()
        page.get_by_role("button", name="Generate 8 Model Inputs").click()
        generate(page)

    def shown(page: Page) -> bool:
        page.goto(base + path)
        with suppress(Error):
            page.get_by_role("button", name="Go to step 3").wait_for(timeout=60_000)
            return True
        return False

    with LoopbackTeacher(answer) as teacher:
        (folder / "home").mkdir()
        command = ["-m", "uvicorn", "app.desktop.desktop_server:make_app", "--factory", "--port", str(port)]
        yield Job(
            f"Kiln {release}, generation", "row", ROWS, [str(options.kiln.resolve() / "bin/python"), *command], folder,
            f"{base}/ping", begin,
            lambda: sum("generated_samples" not in json.dumps(ask.body) for ask in teacher.asked),
            lambda page: int(page.evaluate(FILED)), shown, generate, at=0.4,
            environment={
                "HOME": str(folder / "home"), "TOGETHER_NO_BANNER": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "PYTHONPATH": ":".join(str(source / part) for part in ("", "libs/core", "libs/server")),
                "KILN_SKIP_REMOTE_MODEL_LIST": "true",
            },
        )  # fmt: skip


TRIALS = {"pairsmith": pairsmith, "pairsmith-training": pairsmith_training, "llamafactory": llamafactory, "kiln": kiln}


def _browser(engine: Playwright, profile: Path) -> BrowserContext:
    """A browser with a persistent profile, like a user's."""
    context = engine.chromium.launch_persistent_context(
        str(profile), executable_path=str(CHROMIUM), args=FLAGS, viewport={"width": 1400, "height": 1000}
    )
    context.set_default_timeout(120_000)
    return context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", nargs="*", default=list(TRIALS), help="all unless named")
    parser.add_argument("--kills", nargs="+", choices=["page", "server"], default=["page", "server"])
    parser.add_argument("--llamafactory", type=Path)
    parser.add_argument("--kiln", type=Path)
    parser.add_argument("--kiln-source", type=Path)
    options = parser.parse_args()
    needs = {"llamafactory": options.llamafactory, "kiln": options.kiln and options.kiln_source}
    for tool in options.tools:
        if tool in needs and not needs[tool]:
            print(f"{tool} is not installed: no environment of it is named.", flush=True)
        for kill in options.kills if needs.get(tool, True) else ():
            with (
                tempfile.TemporaryDirectory(prefix=f"peer-{tool}-", ignore_cleanup_errors=True) as scratch,
                TRIALS[tool](Path(scratch), options) as job,
                sync_playwright() as engine,
            ):
                row = run_trial(job, kill, partial(_browser, engine, Path(scratch) / "profile"))
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
