"""Who may do what: one table of roles and rights, and the one way in which a route says which right it needs."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from pairsmith.serve.job import NoSuchJob
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.state import state_of

ALL = "*"
"""In place of a project's name: all projects, and the service itself."""


class Role(StrEnum):
    """What somebody is, in a project or in all (`*`)."""

    owner = "owner"
    editor = "editor"
    reviewer = "reviewer"
    viewer = "viewer"


class Right(StrEnum):
    """What a route needs. `anyone` needs no sign-in and `account` any; all others are held in a project, or in `*`."""

    anyone = "anyone"
    account = "account"
    see_project = "see_project"  # that it exists, its title and what it waits for
    see_work = "see_work"  # runs, rows, prompts, receipts, report, evaluation
    see_queue = "see_queue"  # the rows that people are asked about, and how far they are
    answer = "answer"
    download_dataset = "download_dataset"
    download_adapter = "download_adapter"
    edit = "edit"  # seeds, prompts, style, keys of the spec that are not fenced
    run = "run"
    own = "own"  # fenced keys, invitations, deletion
    administer = "administer"  # people, keys of others, audit, hosts, in `*`


_VIEWER = {Right.see_project, Right.see_work, Right.see_queue, Right.download_dataset}
_REVIEWER = {Right.see_project, Right.see_queue, Right.answer}
_EDITOR = _VIEWER | _REVIEWER | {Right.download_adapter, Right.edit, Right.run}
RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.viewer: frozenset(_VIEWER),
    Role.reviewer: frozenset(_REVIEWER),
    Role.editor: frozenset(_EDITOR),
    Role.owner: frozenset(_EDITOR | {Right.own, Right.administer}),
}
OF_THE_SERVICE = frozenset({Right.administer})
"""Rights that are held in `*` or not at all."""


def allows(roles: Mapping[str, Role], right: Right, project: str = ALL) -> bool:
    """The table: whether somebody with these roles, by project or `*`, has a right in a project."""
    if right in (Right.anyone, Right.account):
        return True
    places = {ALL} if right in OF_THE_SERVICE else {ALL, project}
    return any(right in RIGHTS[roles[place]] for place in places if place in roles)


class KeyLimit(NamedTuple):
    """An API key can do less than its maker: its role, in one project or all."""

    role: Role
    project: str


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `user` is None for somebody who is not signed in.

    `csrf` is the token that a page puts into its forms and htmx into a header; `by_cookie` says that a browser sent the
    credentials by itself, so that it is needed.
    """

    user: str | None = None
    name: str = ""
    roles: Mapping[str, Role] = field(default_factory=dict)
    csrf: str = ""
    by_cookie: bool = False
    key: str | None = None
    key_limit: KeyLimit | None = None
    session: str | None = None

    def may(self, right: Right, project: str = ALL) -> bool:
        """Whether the caller has a right in a project; a key has what both it and its maker have."""
        if right is Right.anyone:
            return True
        if self.user is None:
            return False
        limited = self.key_limit is None or allows({self.key_limit.project: self.key_limit.role}, right, project)
        return limited and allows(self.roles, right, project)

    def role(self, project: str) -> Role | None:
        """The role with the most rights that the caller has in a project; None: no member."""
        here = {self.roles[place] for place in (ALL, project) if place in self.roles}
        most = max(here, key=lambda role: len(RIGHTS[role]), default=None)
        if self.key_limit is None or most is None:
            return most
        if self.key_limit.project not in (ALL, project):
            return None
        return min(most, self.key_limit.role, key=lambda role: len(RIGHTS[role]))

    def projects(self, slugs: list[str]) -> list[str]:
        """Those that the caller may know of."""
        return [slug for slug in slugs if self.may(Right.see_project, slug)]

    def may_somewhere(self, right: Right, slugs: Iterable[str]) -> bool:
        """Whether the caller has a right in any project, or in `*`."""
        return any(self.may(right, slug) for slug in (ALL, *slugs))

    def require(self, right: Right, project: str = ALL) -> None:
        """Raises Refusal: 401 for somebody who is not signed in, 404 for who may not know of the project, else 403."""
        if self.may(right, project):
            return
        if self.user is None:
            raise Refusal(401, "you are not signed in.", code="not_signed_in", fix="Sign in, or send an API key.")
        if project != ALL and not self.may(Right.see_project, project):
            raise no_project(project)
        role = self.role(project)
        who = f"your role here, {role}, does not have" if role else "you have no role here with"
        raise Refusal(403, f"{who} the right '{right}'.", code="not_allowed", fix="Ask an owner for another role.")


def no_project(slug: str) -> Refusal:
    """The one answer for a project that is not there and for one that the caller may not know of."""
    return not_there(f"there is no project '{slug}'.", fix="The list of projects shows yours.")


class Needs(NamedTuple):
    """What a route declares: its right, and where: in the project of its path or of the job of its path, in any project
    (`somewhere`), or else in `*`."""

    right: Right
    job: bool
    somewhere: bool


def needs(right: Right, *, job: bool = False, somewhere: bool = False) -> Any:
    """A FastAPI dependency: the Caller, if they have `right` in the project of the path (`{project}`), in that of the
    job of the path (`job=True`, `{job}`), in any project (`somewhere=True`), or else in `*`. Raises Refusal.

    A handler takes it as `caller: Runner`, or as `caller: Annotated[Caller, needs(...)]`.
    """

    async def checked(request: Request) -> Caller:
        caller: Caller = request.state.caller
        if right is not Right.anyone and caller.user is None:
            request.state.typed = await _typed(request)
            caller.require(Right.account)
        await _check_same_site(request, caller)
        if not (somewhere and caller.may_somewhere(right, await run_in_threadpool(_slugs, request))):
            caller.require(right, await _place(request, caller, job))
        if "project" in request.path_params and request.path_params["project"] not in _slugs(request):
            raise no_project(request.path_params["project"])
        return caller

    checked.needs = Needs(right, job, somewhere)  # type: ignore[attr-defined]
    return Depends(checked)


def needed_by(route: Any) -> Needs | None:
    """What a route declares; None for one that declares nothing, which a test refuses."""
    calls = [dependant.call for dependant in getattr(getattr(route, "dependant", None), "dependencies", ())]
    return next((call.needs for call in calls if hasattr(call, "needs")), None)


def _slugs(request: Request) -> list[str]:
    return state_of(request).workspace.projects()


async def _place(request: Request, caller: Caller, job: bool) -> str:
    if not job:
        return str(request.path_params.get("project", ALL))
    job_id = request.path_params["job"]
    try:
        project = str((await run_in_threadpool(state_of(request).jobs.get, job_id)).project)
    except NoSuchJob:
        project = ""
    if not caller.may(Right.see_project, project):
        raise not_there(f"there is no job '{job_id}'.", fix="The list of jobs shows yours.")
    return project


async def _check_same_site(request: Request, caller: Caller) -> None:
    """Refuse what another site made a browser send: its headers show it, and it does not know the token."""
    if request.method in ("GET", "HEAD", "OPTIONS") or caller.key is not None:
        return
    own = _is_own(request)
    from_browser = "sec-fetch-site" in request.headers or "origin" in request.headers
    if (caller.by_cookie and not own) or (from_browser and not own):
        raise Refusal(
            403, "this request comes from another site.", code="cross_site", fix="Use the service's own page."
        )
    if not caller.by_cookie:
        return
    sent = request.headers.get("x-csrf-token") or await _token_in_form(request)
    if not hmac.compare_digest(sent.encode(), caller.csrf.encode()):
        request.state.typed = await _typed(request)
        raise Refusal(
            403,
            "the form has no valid token of this session.",
            code="csrf",
            why="Another site could have sent it in your name.",
            fix="Load the page again and send it from there.",
        )


def _is_own(request: Request) -> bool:
    """Whether a browser says that one of our pages sent it."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(state_of(request).settings.url or "").netloc} - {"", None}
    return site == "same-origin" or (site is None and origin is not None and origin.partition("://")[2] in ours)


async def _token_in_form(request: Request) -> str:
    return str((await request.form()).get("csrf", "")) if _has_form(request) else ""


def _has_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    return kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))


async def _typed(request: Request) -> list[tuple[str, str]]:
    """What a form of ours brings from somebody whose session has ended, or is another now: it is given back, because a
    browser without script has lost it. No file, and nothing that was hidden from whoever typed it."""
    if not (_is_own(request) and _has_form(request)):
        return []
    items = [(name, value) for name, value in (await request.form()).multi_items() if isinstance(value, str)]
    return [(name, value) for name, value in items if value.strip() and not name.endswith(_HIDDEN)]


_HIDDEN = ("csrf", "seen", "source", "header", "password", "key_env", "token", "code")


AnyOne = Annotated[Caller, needs(Right.anyone)]
SignedIn = Annotated[Caller, needs(Right.account)]
Member = Annotated[Caller, needs(Right.see_queue)]
Answerer = Annotated[Caller, needs(Right.answer)]
Viewer = Annotated[Caller, needs(Right.see_work)]
Editor = Annotated[Caller, needs(Right.edit)]
Runner = Annotated[Caller, needs(Right.run)]
JobViewer = Annotated[Caller, needs(Right.see_work, job=True)]
JobRunner = Annotated[Caller, needs(Right.run, job=True)]
ProjectOwner = Annotated[Caller, needs(Right.own)]
Administrator = Annotated[Caller, needs(Right.administer)]
