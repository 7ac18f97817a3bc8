"""Unsloth Studio: whether its page trains on this machine. Without a GPU it says `chat_only`, and no trial is made."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from bench.service.peers.trial import Server, free_port, until
from bench.service.peers.venvs import filled, versions

PASSWORD = "a-trial-of-peers-1"


class UnslothStudio:
    """Installed as its own script does, in a venv of this name below its home, and started."""

    name = "Unsloth Studio"

    def install(self, venvs: Path) -> None:
        self.home = venvs / "unsloth-studio"
        self.home.mkdir(exist_ok=True)
        self.python = filled(self.home / "unsloth_studio", "unsloth[studio]==2026.10.9")

    def version(self) -> str:
        return versions(self.python, "unsloth", "torch")

    def refuses(self, folder: Path) -> str:
        """Why it does not train here, in its own words; empty if it does."""
        port = free_port()
        command = [str(self.python.parent / "unsloth"), "studio", "--port", str(port)]
        server = Server(
            command,
            folder,
            f"http://127.0.0.1:{port}/api/health",
            UNSLOTH_STUDIO_HOME=str(self.home),
            UNSLOTH_STUDIO_PASSWORD=PASSWORD,
            UNSLOTH_DISABLE_DIFFUSERS_AUTOREPAIR="1",
        )
        server.start()
        try:
            until(lambda: "hardware_detecting" not in self._ask(server.url), "the server to know its machine")
            login = server.url.replace("health", "auth/login")
            token = self._ask(login, {"username": "unsloth", "password": PASSWORD})["access_token"]
            health = self._ask(server.url, token=str(token))
        finally:
            server.clean()
        reasons = {key: value for key, value in health.items() if key.startswith("chat_only")}
        return json.dumps(reasons) if health["chat_only"] else ""

    def _ask(self, url: str, body: object = None, token: str = "") -> dict[str, object]:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            return dict(json.load(answer))
