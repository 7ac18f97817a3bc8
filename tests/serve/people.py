"""A service with users of every role, two projects, and clients that authenticate by cookie or by key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import argon2
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from starlette.testclient import TestClient

from pairsmith.serve import limits
from pairsmith.serve.access import ALL, Role
from pairsmith.serve.api import people
from pairsmith.serve.app import create_app
from pairsmith.serve.database import members
from pairsmith.serve.limits import Rate
from pairsmith.serve.policy import Policy
from pairsmith.serve.settings import Settings
from pairsmith.serve.workspace import Workspace

PASSWORD = "four words are good"
ORIGIN = "http://127.0.0.1"
MINE, OTHER = "mine", "other"
SPEC = """[task]
name = "mine"
style = "One warm sentence."

[[seeds]]
path = "seeds.jsonl"

# The teacher is here.
[teacher]
url = "embedded"
"""


class Service:
    """The application of a workspace, its users, and clients for them."""

    def __init__(self, root: Path, settings: Settings = Settings()) -> None:  # noqa: B008  it is frozen
        self.workspace = Workspace(root)
        for slug in (MINE, OTHER):
            self.write_project(slug)
        self.app: FastAPI = create_app(self.workspace, settings)
        _disable_sync(self.app.state.engine)
        # As a server does before its first request; otherwise concurrent first requests would each build one.
        self.app.middleware_stack = self.app.build_middleware_stack()
        self.app.state.accounts._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        self.app.state.policy = Policy(self.app.state.engine, lookup=fake_lookup)
        self.app.state.jobs._environment = self.app.state.policy.environment
        self.users: dict[str, str] = {}

    def close(self) -> None:
        close(self.app)

    def write_project(self, slug: str, spec: str = SPEC) -> Path:
        folder = self.workspace.new_folder(slug)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pairsmith.toml").write_text(spec)
        (folder / "seeds.jsonl").write_text('{"text": "a kettle"}\n{"text": "a lamp"}\n')
        return folder

    def person(self, name: str, role: Role | None, project: str = MINE) -> str:
        """Create an account and return the user's id."""
        accounts = self.app.state.accounts
        token = accounts.first_owner_link() if not self.users else accounts.invite(project, role or Role.viewer, None)
        self.users[name] = accounts.redeem(token, name, PASSWORD)
        if role is None:
            accounts.set_role(self.users[name], project, None)
        return self.users[name]

    def anonymous(self) -> TestClient:
        return TestClient(self.app, base_url=ORIGIN, raise_server_exceptions=False, follow_redirects=False)

    def browser(self, name: str) -> TestClient:
        """A client with a session that sends its origin and the CSRF token, as our pages do."""
        client = self.anonymous()
        state = self.app.state
        token = state.sessions.begin(self.users[name], address="", agent="")
        client.cookies.set("pairsmith", token)
        client.headers |= {"Sec-Fetch-Site": "same-origin", "X-CSRF-Token": state.sessions.caller(token).csrf}
        return client

    def program(self, name: str, role: Role | None = None, project: str = ALL) -> TestClient:
        """A client with a key that has its user's own role."""
        state, user = self.app.state, self.users[name]
        member = bool(state.accounts.roles(user))
        if not member:  # the key of a user who has left
            with state.engine.begin() as connection:
                connection.execute(sa.insert(members).values(user=user, project=MINE, role=Role.viewer))
        caller = state.sessions.caller(state.sessions.begin(user, address="", agent=""))
        where = project if project in caller.roles else next(iter(caller.roles), ALL)
        key, _ = state.keys.make(caller, "k", role or caller.roles.get(where, Role.viewer), where, None)
        if not member:
            with state.engine.begin() as connection:
                connection.execute(sa.delete(members).where(members.c.user == user))
        client = self.anonymous()
        client.headers["Authorization"] = f"Bearer {key}"
        return client


def close(app: FastAPI) -> None:
    """Close its databases. FastAPI keeps the functions of its routes, and with them every application, in memory."""
    app.state.jobs.close()
    app.state.engine.dispose()


LOCAL = Settings(no_auth=True)


@contextmanager
def browsing(
    workspace: Workspace, settings: Settings = LOCAL, *, url: str = f"{ORIGIN}:8660", headers: Any = None
) -> Iterator[TestClient]:
    """Yield a client of a workspace's application. Jobs run if the client itself is entered with `with`."""
    app = create_app(workspace, settings)
    with closing(TestClient(app, base_url=url, headers=headers, follow_redirects=False)) as client:
        try:
            yield client
        finally:
            close(app)


def _disable_sync(engine: sa.Engine) -> None:
    """Do not wait for the disk: no test loses power."""
    if engine.dialect.name != "sqlite":
        return
    engine.dispose()

    @sa.event.listens_for(engine, "connect")
    def _off(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")


def fake_lookup(name: str, port: int) -> list[str]:
    """A lookup without DNS: every host name resolves to one public address."""
    return [name] if name.replace(".", "").isdigit() or ":" in name else ["93.184.215.14"]


def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lift the rate limits, which have their own tests."""
    everything = Rate(1e9, 10**9)
    monkeypatch.setattr(limits, "REQUESTS", everything)
    monkeypatch.setattr(people, "SIGN_INS", everything)


def staffed(root: Path, settings: Settings = Settings()) -> Service:  # noqa: B008  it is frozen
    """A service with an owner of all projects, an editor, a reviewer and a viewer of MINE, and a user without a
    project."""
    service = Service(root, settings)
    service.person("owner", Role.owner, ALL)
    for role in (Role.editor, Role.reviewer, Role.viewer):
        service.person(role.value, role)
    service.person("stranger", None)
    return service


def problem(response: Any) -> dict[str, Any]:
    """Return the body of an error response, which must contain a message."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body: dict[str, Any] = response.json()
    assert body["what"].endswith(".")
    assert body["error"]["message"]
    return body
