"""Permissions: the matrix of every route, every role, own and other projects, cookies and keys."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.routing import iter_route_contexts

from pairsmith.serve.access import ALL, RIGHTS, Caller, KeyLimit, Right, Role, allows
from pairsmith.serve.api import jobs
from pairsmith.serve.job import JobOptions
from tests.serve.people import MINE, OTHER, PASSWORD, SPEC, Service, problem, staffed, unlimited


class Needs(NamedTuple):
    """The arguments of `access.needs` in the declaration of a route."""

    right: Right
    job: bool
    somewhere: bool


class Endpoint(NamedTuple):
    """A method of a route and the right that it declares."""

    method: str
    path: str
    name: str
    needs: Needs | None


def needs_of_route(route: Any) -> Needs | None:
    """What a route declares; None if it declares nothing."""
    calls = [dependant.call for dependant in getattr(getattr(route, "dependant", None), "dependencies", ())]
    declared = (inspect.getclosurevars(call).nonlocals for call in calls if "needs.<locals>" in call.__qualname__)
    return next((Needs(**arguments) for arguments in declared), None)


def endpoints(app: Any) -> Iterator[Endpoint]:
    for context in iter_route_contexts(app.routes):
        for method in sorted(context.methods or ()):
            if method != "HEAD":
                yield Endpoint(method, str(context.path), str(context.name), needs_of_route(context.original_route))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with closing(staffed(tmp_path_factory.mktemp("space"))) as service:
        yield service


def test_every_route_declares_its_right(service: Service) -> None:
    """There is no route without a declared right."""
    undeclared = [f"{endpoint.method} {endpoint.path}" for endpoint in endpoints(service.app) if endpoint.needs is None]
    assert not undeclared
    assert len(list(endpoints(service.app))) > 70


def test_blocking_handlers_run_in_threads(service: Service) -> None:
    """A handler that reads files or the database is a plain function, which runs in a thread, so that a page that reads
    all seeds delays no other request. Only streams and requests to a model run on the event loop."""
    routes = [context for context in iter_route_contexts(service.app.routes) if context.methods]
    on_the_loop = {str(r.name) for r in routes if inspect.iscoroutinefunction(r.original_route.endpoint)}
    assert on_the_loop == {"healthz", "events", "openai_chat", "page_talk"}


def test_rights_match_the_manual() -> None:
    """Each role has exactly the rights that the table in docs/security.md lists."""
    lines = Path(__file__).parents[2].joinpath("docs/security.md").read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("| right |"))
    roles = [Role(word.strip()) for word in lines[begin].strip("|").split("|")[2:]]
    table = {}
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        right, _, *marks = [cell.strip() for cell in line.strip("|").split("|")]
        table[Right(right.strip("`"))] = {role for role, mark in zip(roles, marks, strict=True) if mark == "x"}
    held = {right: {role for role in Role if right in RIGHTS[role]} for right in Right}
    assert table == {right: roles for right, roles in held.items() if right not in (Right.anyone, Right.account)}


def test_matrix_of_routes_roles_projects_and_credentials(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without the right is refused by every route that needs it, both in the browser and with a key, and cannot
    see whether another project exists; a user with the right is admitted."""
    unlimited(monkeypatch)
    monkeypatch.setattr(jobs, "_LONGEST_STREAM_S", 0.01)
    state = service.app.state
    job_of = {slug: state.jobs.start(slug, "curate", JobOptions(), "test").id for slug in (MINE, OTHER)}
    tried, wrong = 0, []
    for endpoint in endpoints(service.app):
        assert endpoint.needs is not None
        in_project = "{project}" in endpoint.path or endpoint.needs.job
        clients: dict[tuple[str, bool], Any] = {}
        for name in ("owner", "editor", "reviewer", "viewer", "stranger", "nobody"):
            for slug in (MINE, OTHER) if in_project else (ALL,):
                path = _fill_path(endpoint.path, slug, job_of.get(slug, ""))
                for by_key in (False, True) if name != "nobody" else (False,):
                    service.write_project(slug, SPEC) if slug != ALL else None
                    if (name, by_key) not in clients:
                        clients[name, by_key] = _client(service, name, by_key=by_key)
                    answer = clients[name, by_key].request(endpoint.method, path)
                    roles = {} if name == "nobody" else state.accounts.roles(service.users[name])
                    tried += 1
                    if why := _difference(endpoint, name, roles, slug, answer):
                        wrong.append(f"{endpoint.method} {path} by {name}{' with a key' if by_key else ''}: {why}")
    assert not wrong, "\n".join(wrong[:20])
    print(f"{tried} requests, 0 differences from the table")
    assert tried > 1000


def _client(service: Service, name: str, *, by_key: bool) -> Any:
    if name == "nobody":
        return service.anonymous()
    return service.program(name) if by_key else service.browser(name)


def _fill_path(path: str, slug: str, job: str) -> str:
    dummies = {"project": slug, "job": job, "version": "v1", "file": "a.txt", "name": "page.css"}
    filled = path.replace("{model:path}", "none")
    for name in [part.split("}")[0] for part in filled.split("{")[1:]]:
        filled = filled.replace(f"{{{name}}}", dummies.get(name, "none"))
    return filled


def _difference(endpoint: Endpoint, name: str, roles: dict[str, Role], slug: str, answer: Any) -> str | None:
    """Describe how the response differs from the table, or return None."""
    assert endpoint.needs is not None
    if answer.status_code >= 500 and answer.status_code not in (501, 503):
        return f"{answer.status_code} {answer.text[:200]}"
    right, page = endpoint.needs.right, not endpoint.path.startswith(("/api", "/v1", "/healthz", "/readyz", "/metrics"))
    if right is Right.anyone:
        return f"{answer.status_code}" if answer.status_code in (401, 403) else None
    if name == "nobody":
        expected = (303, 401) if page else (401,)
        return None if answer.status_code in expected else f"{answer.status_code}, not 401"
    somewhere = endpoint.needs.somewhere and any(allows(roles, right, project) for project in (ALL, MINE, OTHER))
    code = None
    if answer.headers.get("content-type") == "application/problem+json":
        code = problem(answer)["error"]["code"]
    if somewhere or allows(roles, right, slug):
        hidden = code == "not_found" and f"'{slug}'" in answer.json()["what"]
        return f"{answer.status_code} {answer.text[:200]}" if code == "not_allowed" or hidden else None
    seen = slug == ALL or allows(roles, Right.see_project, slug)
    expected = (403,) if seen else (404,)
    return None if answer.status_code in expected else f"{answer.status_code}, not {expected} {answer.text[:100]}"


def test_owner_of_a_project_does_not_administer_the_service() -> None:
    """That right is only held in all projects at once, whatever project it is asked about."""
    assert allows({ALL: Role.owner}, Right.administer, MINE)
    assert not allows({MINE: Role.owner}, Right.administer, MINE)


def test_key_is_limited_by_its_role_and_its_owner() -> None:
    """A viewer's key for one project, created by an owner, can read that project and change nothing; an owner's key of
    a viewer gives no more than the viewer's rights."""
    caller = Caller("u", "ann", {ALL: Role.owner}, key="k", key_limit=KeyLimit(Role.viewer, MINE))
    assert caller.may(Right.see_work, MINE)
    assert not caller.may(Right.edit, MINE)
    assert not caller.may(Right.see_work, OTHER)
    assert not caller.may(Right.administer)
    assert caller.role(MINE) is Role.viewer
    assert caller.role(OTHER) is None
    less = Caller("u", "bob", {MINE: Role.viewer}, key="k", key_limit=KeyLimit(Role.owner, ALL))
    assert not less.may(Right.edit, MINE)


def test_missing_project_is_indistinguishable_from_a_hidden_one(service: Service) -> None:
    """Users cannot find out which projects exist."""
    client = service.browser("editor")
    there, nowhere = (problem(client.get(f"/api/v1/projects/{slug}/spec")) for slug in (OTHER, "nowhere"))
    assert there["what"].replace(OTHER, "X") == nowhere["what"].replace("nowhere", "X")
    assert there["status"] == nowhere["status"] == 404


def test_new_project_with_the_name_of_a_deleted_one_inherits_nothing(tmp_path: Path) -> None:
    """Members, keys, open invitations, jobs and the title of the deleted project do not apply to the new one."""
    with closing(staffed(tmp_path / "space")) as service:
        _check_recreated_project(service)


def _check_recreated_project(service: Service) -> None:
    owner, key = service.browser("owner"), service.program("editor")
    assert owner.patch(f"/api/v1/projects/{MINE}", json={"title": "Plans for Anna"}).status_code == 200
    link = service.app.state.accounts.invite(MINE, Role.editor, service.users["owner"])
    assert key.get(f"/api/v1/projects/{MINE}/spec").status_code == 200
    job = owner.post(f"/api/v1/projects/{MINE}/jobs", json={"command": "curate"}).json()["id"]
    owner.post(f"/api/v1/jobs/{job}/cancel")
    assert owner.get(f"/api/v1/jobs/{job}").json()["state"] == "stopped"
    assert owner.delete(f"/api/v1/projects/{MINE}").status_code == 204

    service.write_project(MINE)
    for client in (key, *map(service.browser, ("editor", "reviewer", "viewer"))):
        assert client.get(f"/api/v1/projects/{MINE}/spec").status_code in (401, 404)
        assert client.get(f"/p/{MINE}").status_code in (401, 404)
    sent = {"token": link, "name": "late", "password": PASSWORD}
    assert service.anonymous().post("/api/v1/redeem", json=sent, headers={"Sec-Fetch-Site": "same-origin"}).is_error
    assert owner.get(f"/api/v1/projects/{MINE}").json()["title"] == MINE
    assert owner.get(f"/api/v1/projects/{MINE}/jobs").json()["items"] == []
    assert owner.get(f"/api/v1/jobs/{job}/log").status_code == 404
