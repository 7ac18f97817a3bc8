"""Access control: accounts, passwords, one workspace per project, and password guessing."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from curate.argilla.client import Argilla
from curate.argilla.people import invite, new_password, people
from curate.argilla.probe import local_url, public_url
from curate.argilla.push import OLD_WORKSPACE, draw_batch, push, workspace_of
from curate.argilla.server import ArgillaServer
from curate.argilla.venv import SERVER_CODE
from curate.review.population import read_population
from schemas.errors import ReviewError
from schemas.project import Project
from schemas.store import Store
from tests.curate.argilla.answering import queue_named
from tests.curate.review.review_project import SCOPE, fill, project


@pytest.fixture
def argilla(argilla_server: ArgillaServer) -> Iterator[Argilla]:
    with Argilla(argilla_server.url, argilla_server.api_key, f"w-{uuid.uuid4().hex[:8]}", patience_s=30) as connected:
        yield connected


def signed_in(server: ArgillaServer, name: str, password: str) -> httpx.Client | None:
    """An API client signed in as the web page does; None if the password is wrong."""
    token = httpx.post(f"{server.url}/api/v1/token", data={"username": name, "password": password}, timeout=60)
    if token.status_code == 401:
        return None
    bearer = {"Authorization": f"Bearer {token.json()['access_token']}"}
    return httpx.Client(base_url=f"{server.url}/api/v1/", headers=bearer, timeout=60)


def test_invitations_and_passwords(argilla: Argilla, argilla_server: ArgillaServer) -> None:
    """A name given twice is one account. An empty name is refused before any account is created. An existing user is
    added and keeps the password; a new password replaces the old one of the same account."""
    ann, bob = (f"{name}-{uuid.uuid4().hex[:6]}" for name in ("ann", "bob"))
    with pytest.raises(ReviewError, match="a name is empty"):
        invite(argilla, [ann, ""])
    assert ann not in {person.name for person in people(argilla)}
    first = invite(argilla, [ann, ann])
    assert list(first.passwords) == [ann]
    again = invite(argilla, [ann, bob])
    assert (list(again.passwords), again.let_in) == ([bob], (ann,))
    for name, password in (first.passwords | again.passwords).items():
        assert signed_in(argilla_server, name, password)
    before = next(person for person in people(argilla) if person.name == ann)
    assert (before.role, before.here) == ("annotator", True)
    renewed = new_password(argilla, ann)
    assert signed_in(argilla_server, ann, renewed)
    assert signed_in(argilla_server, ann, first.passwords[ann]) is None
    assert next(person for person in people(argilla) if person.name == ann).id == before.id
    with pytest.raises(ReviewError, match="there is no user nobody-here"):
        new_password(argilla, "nobody-here")


@pytest.mark.parametrize("spelling", ["{} ", " {}", "{}\n", "\u200b{}", "A{}", "\uff41{}"])
def test_similar_spelling_creates_no_second_user(argilla: Argilla, spelling: str) -> None:
    """A name that differs from another only by spaces, invisible characters, capitals or full-width letters is refused
    before any account is created, whether the other name exists already or is in the same request."""
    tag = uuid.uuid4().hex[:6]
    name = f"ann-{tag}"
    lookalike = spelling.format(name if "A" not in spelling and "\uff41" not in spelling else f"nn-{tag}")
    with pytest.raises(ReviewError, match=r"different spellings|invisible characters"):
        invite(argilla, [name, lookalike])
    assert not [person for person in people(argilla) if tag in person.name]
    invite(argilla, [name])
    with pytest.raises(ReviewError, match=r"different spellings|invisible characters"):
        invite(argilla, [lookalike])
    assert invite(argilla, [name]).let_in == (name,)


def test_passwords_are_returned_even_if_a_later_invitation_fails(argilla: Argilla) -> None:
    """An account whose password nobody has seen would be lost, so the problem is returned together with the
    passwords."""
    text = f"ann-{uuid.uuid4().hex[:6]}"
    invited = invite(argilla, [text, "x" * 5_000, "never"])
    assert next(iter(invited.passwords)) == text
    assert bool(invited.problem) == ("never" not in invited.passwords)


def without_workspace(folder: Path, name: str) -> Project:
    folder.mkdir()
    project_ = project(folder, name)
    review = project_.spec.review.model_copy(update={"workspace": None})
    return Project(folder, project_.spec.model_copy(update={"review": review}))


def test_annotator_sees_only_the_project_of_the_invitation(
    tmp_path: Path, argilla: Argilla, argilla_server: ArgillaServer
) -> None:
    """Each project has its own workspace, determined by its first draw."""
    seen = []
    for name in ("a", "b"):
        project_ = without_workspace(tmp_path / name, f"cats-{uuid.uuid4().hex[:6]}")
        with Store.open(Store.url_for(project_)) as store:
            fill(project_, store)
            with pytest.raises(ReviewError, match="no rows have been drawn"):
                workspace_of(project_, store, argilla)
            population = read_population(project_, store, [SCOPE])
            draw_batch(project_, store, population)
            argilla.workspace = workspace_of(project_, store, argilla)
            push(project_, store, population, argilla)
            assert workspace_of(project_, store, argilla) == argilla.workspace != OLD_WORKSPACE
        who = f"ann-{uuid.uuid4().hex[:6]}"
        client = signed_in(argilla_server, who, invite(argilla, [who]).passwords[who])
        assert client
        with client:
            seen.append(
                {dataset["name"].removesuffix("-shared") for dataset in client.get("me/datasets").json()["items"]}
            )
        assert seen[-1] == {project_.spec.task.name}
    assert not seen[0] & seen[1]


def test_project_of_an_earlier_version_keeps_its_workspace(tmp_path: Path, argilla: Argilla) -> None:
    """Earlier versions used one workspace for all projects. A project with rows there keeps using it, whether its
    queues are marked or not."""
    project_ = without_workspace(tmp_path / "old", f"cats-{uuid.uuid4().hex[:6]}")
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store)
        population = read_population(project_, store, [SCOPE])
        draw_batch(project_, store, population)
        argilla.workspace = OLD_WORKSPACE
        push(project_, store, population, argilla)
        assert workspace_of(project_, store, argilla) == OLD_WORKSPACE
        queue = queue_named(argilla, project_.spec.task.name)
        assert queue
        argilla.call("PATCH", f"datasets/{queue.id}", json={"metadata": {}})
        assert workspace_of(project_, store, argilla) == OLD_WORKSPACE


def test_public_url_is_reachable_by_others() -> None:
    """A server bound to all addresses is not published as 127.0.0.1, and one bound to this machine only has no public
    URL."""
    everywhere = public_url("0.0.0.0", 6911)
    assert everywhere
    assert "127.0.0.1" not in everywhere
    assert "0.0.0.0" not in everywhere
    assert everywhere.endswith(":6911")
    assert public_url("192.0.2.7", 80) == "http://192.0.2.7:80"
    assert public_url("127.0.0.1", 6911) is None
    assert local_url("::1", 6911) == "http://[::1]:6911"


def throttled_app() -> tuple[Any, list[float], list[bytes]]:
    """The throttling middleware around an application with one correct password, the list of its waits, and the bodies
    that the application received."""
    spec = importlib.util.spec_from_file_location("sign_in", SERVER_CODE / "sign_in.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    waited: list[float] = []
    read: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        read.append((await receive()).get("body", b""))
        status = 201 if b"password=right" in read[-1] else 401
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    return module.SignInThrottle(app, sleep=sleep), waited, read


def test_password_guessing_is_slowed_down_per_name() -> None:
    """Three wrong passwords cause no wait. After that each attempt waits twice as long, up to half a minute, also if
    many come at once. Another user signs in without a wait, and the correct password resets it."""
    guarded, waited, read = throttled_app()

    async def sign_in(name: str, password: str, path: str = "/api/v1/token") -> int:
        body = urlencode({"username": name, "password": password}).encode()
        parts = [
            {"type": "http.request", "body": body[:9], "more_body": True},
            {"type": "http.request", "body": body[9:]},
        ]
        statuses: list[int] = []

        async def receive() -> Any:
            return parts.pop(0)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await guarded({"type": "http", "method": "POST", "path": path}, receive, send)
        return statuses[0]

    async def attack() -> None:
        assert set(await asyncio.gather(*(sign_in("ann", str(guess)) for guess in range(12)))) == {401}
        assert waited == [1, 2, 4, 8, 16, 30, 30, 30, 30]
        assert await sign_in("bob", "right") == 201
        assert len(waited) == 9
        assert await sign_in("ann", "right") == 201
        assert await sign_in("ann", "wrong") == 401
        assert len(waited) == 10

    asyncio.run(attack())
    assert all(body.startswith(b"username=") for body in read)


def test_second_name_in_the_form_does_not_avoid_the_wait(argilla: Argilla, argilla_server: ArgillaServer) -> None:
    """Argilla uses the last of several names, so putting a new name first in every attempt must not avoid the wait."""
    name = f"ann-{uuid.uuid4().hex[:6]}"
    invite(argilla, [name])
    waited = []
    for number in range(6):
        form = urlencode([("username", f"x{number}-{name}"), ("username", name), ("password", "wrong")])
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = httpx.post(f"{argilla_server.url}/api/v1/token", content=form, headers=kind, timeout=120)
        assert answer.status_code == 401
        waited.append(answer.elapsed.total_seconds())
    assert sum(waited[3:]) > 1 + 2 + 4


def test_long_name_does_not_hide_the_password() -> None:
    """A password is shown only once: a name wider than the screen is wrapped, and nothing is cut off."""
    from rich.console import Console

    from pairsmith.terminal.screen import facts

    for name in "x" * 41, "y" * 300:
        console = Console(width=80, file=io.StringIO())
        with console.capture() as captured:
            console.print(facts([("page", "http://127.0.0.1:1"), (name, "shown-just-once-")]))
        screen = captured.get()
        assert screen.count(name[0]) == len(name), "part of the name is cut off"
        assert "shown-just-once-" in screen
