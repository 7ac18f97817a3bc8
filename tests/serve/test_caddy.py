"""The shipped Caddyfile, in a real Caddy in front of a real `pairsmith serve`, over TLS with its own certificate."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.serve.workspace import Workspace
from schemas.ports import free_port
from tests.pairsmith.conftest import Project
from tests.serve.people import PASSWORD, SPEC

CADDY = shutil.which("caddy")
CADDYFILE = Path(__file__).parents[2] / "docs/deploy/Caddyfile"
_WAIT_S = 150.0
pytestmark = pytest.mark.skipif(CADDY is None, reason="no proxy: needs the program caddy")


def wait_for_output(process: subprocess.Popen[bytes], log: Path, words: str) -> str:
    until = time.monotonic() + _WAIT_S
    while not (match := re.search(words, log.read_text(errors="replace"))):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < until, log.read_text(errors="replace")
        time.sleep(0.05)
    return match[0]


@contextmanager
def terminating(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait(200)


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[httpx.Client, str]]:
    """A client without a session behind the proxy, and the link for the first owner."""
    http, https, port = (free_port() for _ in range(3))
    url, home = f"https://localhost:{https}", tmp_path / "caddy"
    home.mkdir()
    ours = f"{{\n\tadmin off\n\tskip_install_trust\n\thttp_port {http}\n\thttps_port {https}\n}}\n"
    (home / "Caddyfile").write_text(ours + CADDYFILE.read_text().replace("127.0.0.1:8660", f"127.0.0.1:{port}"))
    folder = Workspace(tmp_path / "space").new_folder("mine")
    folder.mkdir(parents=True)
    (folder / "pairsmith.toml").write_text(SPEC)
    (folder / "seeds.jsonl").write_text('{"text": "a kettle"}\n')
    command = Project(tmp_path).command("serve", str(tmp_path / "space"), "--port", str(port), "--url", url)
    variables = {"XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home), "HOME": str(home)}
    sites = {"DOMAIN": f"localhost:{https}", "REVIEW_DOMAIN": f"review.localhost:{https}"}
    proxy = [str(CADDY), "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"]
    with ExitStack() as stack:
        logs = [stack.enter_context((tmp_path / name).open("wb")) for name in ("serve.log", "caddy.log")]
        environment = Project(tmp_path).environ()
        server = stack.enter_context(terminating(subprocess.Popen(command, env=environment, stderr=logs[0])))
        environment = {**os.environ, **variables, **sites}
        caddy = stack.enter_context(terminating(subprocess.Popen(proxy, env=environment, stderr=logs[1])))
        link = wait_for_output(server, tmp_path / "serve.log", r"https://\S+/redeem\?token=\S+")
        wait_for_output(caddy, tmp_path / "caddy.log", "serving initial configuration")
        root = home / "caddy/pki/authorities/local/root.crt"
        until = time.monotonic() + _WAIT_S
        while not root.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        trusted = ssl.create_default_context(cafile=str(root))
        origin = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
        with httpx.Client(base_url=url, verify=trusted, headers=origin, timeout=60, trust_env=False) as client:
            until = time.monotonic() + _WAIT_S
            while not _answers(client):
                assert time.monotonic() < until, (tmp_path / "caddy.log").read_text()
                time.sleep(0.1)
            yield client, link


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_sessions_audit_and_events_work_behind_the_proxy(proxied: tuple[httpx.Client, str]) -> None:
    """The session cookie is bound to the host over TLS, forms of our pages are accepted, the audit log has the address
    of the real client and not the one in X-Forwarded-For, and events are streamed immediately."""
    client, link = proxied
    token = link.partition("token=")[2]
    assert client.get("/", follow_redirects=False).headers["location"] == "/sign-in"
    form = {"token": token, "name": "ann", "password": PASSWORD}
    response = client.post(
        "/redeem", data=form, headers={"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http"}
    )
    assert response.status_code == 303
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-pairsmith=")
    assert "Secure" in cookie
    assert "max-age" in response.headers["strict-transport-security"]
    csrf = {"X-CSRF-Token": client.get("/api/v1/me").json()["csrf"]}
    lines = client.get("/api/v1/audit").json()["items"]
    assert {line["address"] for line in lines} <= {"127.0.0.1", "::1"}
    elsewhere = {**csrf, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/api/v1/projects/mine/jobs", json={"command": "curate"}, headers=elsewhere).status_code == 403

    with client.stream("GET", "/api/v1/events") as stream:
        stream_lines = stream.iter_lines()
        assert next(stream_lines) == "retry: 1000"
        # The stream is open, and new events must arrive on it.
        started = client.post("/api/v1/projects/mine/jobs", json={"command": "curate"}, headers=csrf)
        assert started.status_code == 202
        assert next(line for line in stream_lines if line.startswith("event")) == "event: job"

    page = client.get("/p/mine")
    assert page.headers["content-encoding"] in ("gzip", "zstd")
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_limits_apply_behind_the_proxy(proxied: tuple[httpx.Client, str]) -> None:
    """A body that is too large is refused by its Content-Length, or without one while it is received; a seed file of 20
    MB is accepted; another host name is not served."""
    client, link = proxied
    form = {"token": link.partition("token=")[2], "name": "ann", "password": PASSWORD}
    assert client.post("/redeem", data=form).status_code == 303
    csrf = {"X-CSRF-Token": client.get("/api/v1/me").json()["csrf"]}
    seeds, long = "/api/v1/projects/mine/seeds", b"x" * 2_000_000
    assert client.post("/api/v1/projects", content=long, headers=csrf).status_code == 413
    assert client.post("/api/v1/projects", content=iter([long]), headers=csrf).status_code == 413
    line = b"a long line of a seed, " * 40
    lines = b"".join(b"%d %s\n" % (number, line) for number in range(20_000_000 // len(line)))
    assert client.post(seeds, files={"file": ("many.txt", lines)}, headers=csrf).status_code == 201
    assert client.post(seeds, files={"file": ("more.txt", b"a\n" * 26_000_000)}, headers=csrf).status_code == 413
    with pytest.raises(httpx.TransportError):  # a host without a certificate
        client.get(str(client.base_url).replace("localhost", "127.0.0.1"))
