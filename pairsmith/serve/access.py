"""Access control: the table of roles and rights, and the dependency with which a route declares the right it needs."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from starlette.concurrency import run_in_threadpool

from pairsmith.serve.job import NoSuchJob
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.state import state_of
from schemas.errors import SpecError

ALL = "*"
"""Used in place of a project's slug: all projects, and the service itself."""


class Role(StrEnum):
    """The role of a user in one project, or in all of them (`*`)."""

    owner = "owner"
    editor = "editor"
    reviewer = "reviewer"
    viewer = "viewer"


class Right(StrEnum):
    """The right that a route requires.

    `anyone` needs no sign-in and `account` only needs one. All other rights are held in a project or in `*`.
    """

    anyone = "anyone"
    account = "account"
    see_project = "see_project"  # that the project exists, and its title
    see_work = "see_work"  # runs, rows, prompts, receipts, report, evaluation
    see_queue = "see_queue"  # the rows in the review queue, and the acceptance rates
    answer = "answer"
    download_dataset = "download_dataset"
    download_adapter = "download_adapter"
    edit = "edit"  # seeds, prompts, style, and spec keys that are not fenced
    run = "run"
    own = "own"  # fenced spec keys, invitations, deletion
    administer = "administer"  # users, other users' API keys, audit, allowed hosts; in `*`


_VIEWER = {Right.see_project, Right.see_work, Right.see_queue, Right.download_dataset}
_REVIEWER = {Right.see_project, Right.see_queue, Right.answer}
_EDITOR = _VIEWER | _REVIEWER | {Right.download_adapter, Right.edit, Right.run}
RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.viewer: frozenset(_VIEWER),
    Role.reviewer: frozenset(_REVIEWER),
    Role.editor: frozenset(_EDITOR),
    Role.owner: frozenset(_EDITOR | {Right.own, Right.administer}),
}
SERVICE_RIGHTS = frozenset({Right.administer})
"""Rights that are only ever held in `*`."""


def allows(roles: Mapping[str, Role], right: Right, project: str) -> bool:
    """Whether somebody with these roles (keyed by project or `*`) has a right in a project."""
    if right in (Right.anyone, Right.account):
        return True
    places = {ALL} if right in SERVICE_RIGHTS else {ALL, project}
    return any(right in RIGHTS[roles[place]] for place in places if place in roles)


class KeyLimit(NamedTuple):
    """The limit of an API key: a role, in one project or in all. A key can do less than the user who made it."""

    role: Role
    project: str


@dataclass(frozen=True)
class Caller:
    """Who sent a request. `user` is None for a caller who is not signed in.

    `csrf` is the token that pages put into their forms, and htmx into a header. `by_cookie` means that the browser sent
    the credentials on its own, so the token is required.
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
        """Whether the caller has a right in a project. A key has the rights that both it and its maker have."""
        if right is Right.anyone:
            return True
        if self.user is None:
            return False
        limited = self.key_limit is None or allows({self.key_limit.project: self.key_limit.role}, right, project)
        return limited and allows(self.roles, right, project)

    def may_somewhere(self, right: Right) -> bool:
        """Whether the caller has a right in any project."""
        places = {ALL, *self.roles, *([self.key_limit.project] if self.key_limit else [])}
        return any(self.may(right, place) for place in places)

    def role(self, project: str) -> Role | None:
        """The caller's role with the most rights in a project; None if they are no member."""
        here = {self.roles[place] for place in (ALL, project) if place in self.roles}
        most = max(here, key=lambda role: len(RIGHTS[role]), default=None)
        if self.key_limit is None or most is None:
            return most
        if self.key_limit.project not in (ALL, project):
            return None
        return min(most, self.key_limit.role, key=lambda role: len(RIGHTS[role]))

    def projects(self, slugs: list[str]) -> list[str]:
        """The projects of `slugs` whose existence the caller may know of."""
        return [slug for slug in slugs if self.may(Right.see_project, slug)]

    def require(self, right: Right, project: str = ALL) -> None:
        """Raises Refusal unless the caller has the right.

        The status is 401 if they are not signed in, 404 if they may not know that the project exists, and 403
        otherwise.
        """
        if self.may(right, project):
            return
        if self.user is None:
            raise Refusal(
                401, "you are not signed in.", code="not_signed_in", fix="Sign in; a program sends an API key."
            )
        if project != ALL and not self.may(Right.see_project, project):
            raise project_not_found(project)
        role = self.role(project)
        message = f"your role here, {role}, does not allow this." if role else "you have no role that allows this."
        why = f"It requires the right '{right}'."
        raise Refusal(403, message, why=why, code="not_allowed", fix="Ask an owner for another role.")


def project_not_found(slug: str) -> Refusal:
    """The answer both for a project that does not exist and for one that the caller may not know of."""
    return not_there(f"there is no project '{slug}'.", fix="The list of projects shows yours.")


def needs(right: Right, *, job: bool = False, somewhere: bool = False) -> Any:
    """A FastAPI dependency that returns the Caller if they have `right`, and raises Refusal otherwise.

    The right is looked up in the project of the path (`{project}`), in the project of the job of the path (`job=True`,
    `{job}`), in any project (`somewhere=True`), or otherwise in `*`. A handler declares it as `caller: Runner`, or as
    `caller: Annotated[Caller, needs(...)]`.
    """

    async def authorize(request: Request) -> Caller:
        caller: Caller = request.state.caller
        if right is not Right.anyone and caller.user is None:
            request.state.typed = await _submitted_fields(request)
            caller.require(Right.account)
        await _check_same_site(request, caller)
        if not (somewhere and caller.may_somewhere(right)):
            caller.require(right, await _project_in_path(request, caller, job))
        _check_query(request)
        if "project" in request.path_params:
            await run_in_threadpool(_refuse_unusable, request, caller, request.path_params["project"])
        return caller

    return Depends(authorize)


def _check_query(request: Request) -> None:
    """Raises Refusal for a query of the API with an unknown or repeated parameter. Ignored, a typo in a filter would
    give other rows than the caller asked for."""
    if not request.scope["path"].startswith("/api/v1/"):
        return
    known = _query_names(request.scope["route"].dependant)
    sent = [name for name, _ in request.query_params.multi_items()]
    if unknown := [name for name in sent if name not in known]:
        what = f"there is no query parameter '{unknown[0][:80]}' here."
        fix = f"Valid here: {', '.join(sorted(known))}." if known else "Leave it out."
        raise Refusal(422, what, where=f"/query/{unknown[0][:80]}", code="not_valid", fix=fix)
    if len(sent) > len(set(sent)):
        raise Refusal(422, "a query parameter is repeated.", where="/query", code="not_valid", fix="Send each once.")


def _query_names(dependant: Dependant) -> set[str]:
    return {each.alias for each in dependant.query_params}.union(*map(_query_names, dependant.dependencies))


def _refuse_unusable(request: Request, caller: Caller, slug: str) -> None:
    """Raises Refusal for a project that does not exist. Callers who may not see the spec are not told what is wrong
    with it, either."""
    if slug not in state_of(request).workspace.projects():
        raise project_not_found(slug)
    if caller.may(Right.see_work, slug):
        return
    try:
        state_of(request).readers.project(slug)
    except SpecError:
        what, fix = "the settings of this project cannot be read.", "Ask an editor of the project to correct them."
        raise Refusal(422, what, code="spec_error", fix=fix) from None


async def _project_in_path(request: Request, caller: Caller, job: bool) -> str:
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
    """Raises Refusal for a request that another site made the browser send.

    The browser's headers reveal it, and the other site does not know the CSRF token.
    """
    if request.method in ("GET", "HEAD", "OPTIONS") or caller.key is not None:
        return
    is_own = _is_from_own_page(request)
    from_browser = "sec-fetch-site" in request.headers or "origin" in request.headers
    if (caller.by_cookie and not is_own) or (from_browser and not is_own):
        raise Refusal(
            403, "this request comes from another site.", code="cross_site", fix="Use the service's own page."
        )
    if not caller.by_cookie:
        return
    sent = request.headers.get("x-csrf-token", "")
    if not sent and _has_form(request):
        sent = str((await request.form()).get("csrf", ""))
    if not hmac.compare_digest(sent.encode(), caller.csrf.encode()):
        request.state.typed = await _submitted_fields(request)
        raise Refusal(
            403,
            "the form has no valid token for this session.",
            code="csrf",
            why="Without it, another site could have sent the form in your name.",
            fix="Reload the page and send the form again.",
        )


def _is_from_own_page(request: Request) -> bool:
    """Whether the browser says that one of the service's own pages sent the request."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = {request.headers.get("host"), urlsplit(state_of(request).settings.url or "").netloc} - {"", None}
    return site == "same-origin" or (site is None and origin is not None and origin.partition("://")[2] in ours)


def _has_form(request: Request) -> bool:
    kind = request.headers.get("content-type", "")
    return kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))


async def _submitted_fields(request: Request) -> list[tuple[str, str]]:
    """The fields of a form of ours that the caller may no longer submit, because the session ended or is another one
    now.

    They are shown again, because a browser without scripts has lost them. Files and the fields in `_HIDDEN` are left
    out.
    """
    if not (_is_from_own_page(request) and _has_form(request)):
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
