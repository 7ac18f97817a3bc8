"""Kiln's desktop server and web page, from a checkout of its repository: synthetic rows from a loopback teacher.

PyPI has its library and the plain API, not the page nor the routes that generate; so `--kiln` names a checkout.
"""

from __future__ import annotations

import json
import subprocess
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page

from bench.service.peers.trial import Server
from bench.service.peers.venvs import filled, versions
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

PORT = 8757  # its page asks for the API there
MARK = "generated_samples"
FILED = """
() => new Promise(done => {
    const opening = indexedDB.open('kiln_stores', 1)
    opening.onerror = () => done([])
    opening.onupgradeneeded = () => opening.result.createObjectStore('key_value_store', {keyPath: 'key'})
    opening.onsuccess = () => {
        const all = opening.result.transaction('key_value_store').objectStore('key_value_store').getAll()
        all.onsuccess = () => {
            opening.result.close()
            done(all.result.filter(item => item.key.startsWith('synth_data_'))
                .flatMap(item => item.value.root_node.samples).map(sample => Boolean(sample.output)))
        }
    }
})
"""


class Kiln:
    name, unit, size = "Kiln, generation", "row", 40

    def __init__(self, source: Path, delay_s: float) -> None:
        self.source, self.delay_s = source, delay_s
        self.before = 0
        self.page: Page | None = None
        self.teacher = LoopbackTeacher(self._answer)
        self.teacher.__enter__()

    def install(self, venvs: Path) -> None:
        release, extras = "1.1.0", ("together<2", "pygit2", "scipy", "sentry-sdk", "pillow", "pystray")
        packages = (f"kiln-ai=={release}", f"kiln-server=={release}", *extras)
        self.python = filled(venvs / "kiln", *packages, caps=self._locked())
        web = self.source / "app" / "web_ui"
        if not (web / "build" / "index.html").exists():
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=web, check=True)
            subprocess.run(["npx", "vite", "build", "--logLevel", "error"], cwd=web, check=True)

    def version(self) -> str:
        return versions(self.python, "kiln-ai", "kiln-server") + ", page and desktop server of its repository"

    def lay_out(self, folder: Path) -> None:
        (folder / "home").mkdir(parents=True)
        command = [str(self.python), "-m", "uvicorn", "app.desktop.desktop_server:make_app", "--factory"]
        self.server = Server(
            [*command, "--port", str(PORT)],
            folder,
            f"http://localhost:{PORT}/ping",
            HOME=str(folder / "home"),
            PYTHONPATH=str(self.source),
            KILN_SKIP_REMOTE_MODEL_LIST="true",
            LITELLM_LOCAL_MODEL_COST_MAP="True",
        )
        self.page, self.before = None, len(self._outputs())

    def begin(self, page: Page) -> None:
        self._set_up(page)
        self._open(page)
        page.get_by_role("button", name="Generate Model Inputs").click()
        page.get_by_role("button", name="Generate 8 Model Inputs").click()
        self._generate(page)

    def worked(self) -> int:
        return len(self._outputs()) - self.before

    def kept(self, page: Page) -> int:
        return sum(self._filed(page))

    def ended(self) -> bool:
        return self.page is not None and self.kept(self.page) == self.size

    def finds(self, page: Page) -> bool:
        self._open(page)
        try:
            page.get_by_role("button", name="Go to step 3").wait_for(timeout=60_000)
        except Error:
            return False
        return True

    def again(self, page: Page) -> tuple[str, bool]:
        self._open(page)
        self._generate(page)
        return "step 3, Generate Outputs, Generate", False

    def clean(self) -> None:
        self.page = None

    def _locked(self) -> list[str]:
        """The releases that its lock file names: with the newest of some it does not start."""
        lock = tomllib.loads((self.source / "uv.lock").read_text())["package"]
        return [f"{one['name']}=={one['version']}" for one in lock if "registry" in one.get("source", {})]

    def _answer(self, ask: Ask) -> Reply:
        if MARK in json.dumps(ask.body):
            return says(json.dumps({MARK: [f"a lamp, a sea and a kite, number {nth}" for nth in range(self.size)]}))
        return says(f"a rich and long rewrite of {ask.prompt[-60:]}", delay_s=self.delay_s)

    def _outputs(self) -> list[Ask]:
        return [ask for ask in self.teacher.asked if MARK not in json.dumps(ask.body)]

    def _set_up(self, page: Page) -> None:
        """The provider, a project and a task, as its first pages ask for them."""
        self._ask("/api/settings", {"user_type": "personal", "personal_use_contact": "nobody@example.org"})
        self._ask("/api/provider/openai_compatible", {
            "name": "loop", "base_url": f"{self.teacher.url}/v1", "api_key": "none"
        })  # fmt: skip
        project = self._ask("/api/projects", {"name": "peer"})["id"]
        task = self._ask(f"/api/projects/{project}/tasks", {"name": "rewrite", "instruction": "Rewrite the prompt."})
        chosen = {"current_project_id": project, "current_task_id": task["id"]}
        state = json.dumps({**chosen, "selected_model": "openai_compatible/loop::loopback"})
        page.goto(self._url("/ping"))
        page.evaluate("state => localStorage.setItem('ui_state', state)", state)
        self.path = f"/generate/{project}/{task['id']}/synth?reason=fine_tune&guide=skip&batch=manual"

    def _open(self, page: Page) -> None:
        page.goto(self._url(self.path))
        self.page = page

    def _generate(self, page: Page) -> None:
        page.get_by_role("button", name="Go to step 3").click()
        page.get_by_role("button", name="Generate Outputs", exact=True).click()
        page.get_by_role("button", name="Generate", exact=True).click()

    def _filed(self, page: Page) -> list[bool]:
        """For each input that the page has in its browser, whether it has an output."""
        try:
            return list(page.evaluate(FILED))
        except Error:  # the browser is gone
            return []

    def _url(self, path: str) -> str:
        return self.server.url.removesuffix("/ping") + path

    def _ask(self, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url(path), data=json.dumps(body).encode(), headers=headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
