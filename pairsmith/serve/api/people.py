"""Accounts and access: the first owner, sign-in and sign-out, roles, invitations, API keys, sessions, and the audit."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from pairsmith.serve.access import (
    ALL,
    Administrator,
    AnyOne,
    Caller,
    ProjectOwner,
    Right,
    Role,
    SignedIn,
    project_not_found,
)
from pairsmith.serve.api.pages import Cursor, Limit, Page, decode_cursor, encode_cursor, page_of
from pairsmith.serve.edge import address_of
from pairsmith.serve.limits import SIGN_INS
from pairsmith.serve.problems import Refusal, not_there
from pairsmith.serve.sessions import clear_cookie, set_cookie
from pairsmith.serve.state import state_of
from schemas.spec.section import Section

router = APIRouter(prefix="/api/v1", tags=["people"])


def printable(text: str) -> str:
    """A pydantic validator for names and titles: rejects characters that reverse the text direction or that PostgreSQL
    cannot store."""
    if not text.isprintable() or not text.strip():
        raise ValueError("must contain only printable characters")
    return text


Name = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(printable)]
Password = Annotated[str, Field(max_length=1000)]
Token = Annotated[str, Field(min_length=1, max_length=200)]
Place = Annotated[str, Field(min_length=1, max_length=80, description="A project, or `*` for all projects.")]


class RequestBody(Section):
    """A request body: unknown fields are rejected."""


class SignIn(RequestBody, json_schema_extra={"examples": [{"name": "ann", "password": "a long sentence"}]}):
    name: Name
    password: Password


class Redemption(RequestBody):
    """An invitation or the first owner's link, and the account to create with it."""

    token: Token
    name: Name
    password: Password


class PasswordChange(RequestBody):
    old: Password
    new: Password


class Membership(RequestBody, json_schema_extra={"examples": [{"project": "notes", "role": "reviewer"}]}):
    project: Place = ALL
    role: Role | None = Field(description="null removes the role")


class Invite(RequestBody, json_schema_extra={"examples": [{"role": "editor"}]}):
    role: Role


class NewKey(
    RequestBody, json_schema_extra={"examples": [{"name": "nightly", "role": "editor", "project": "notes", "days": 30}]}
):
    name: Name
    role: Role = Role.viewer
    project: Place = ALL
    days: int | None = Field(default=90, ge=1, le=3650)


class Me(BaseModel):
    """The caller of this request and their roles. Send `csrf` in the header X-CSRF-Token of every change."""

    user: str
    name: str
    roles: dict[str, Role]
    csrf: str | None
    key: str | None


class User(BaseModel):
    id: str
    name: str
    created: str
    disabled: str | None
    roles: dict[str, Role]


class Key(BaseModel):
    id: str
    user: str
    name: str
    role: Role
    project: str
    created: str
    expires: str | None
    used: str | None
    revoked: str | None


class CreatedKey(Key):
    """A new API key; the key itself is shown only once."""

    key: str


class SessionInfo(BaseModel):
    id: str
    present: bool
    created: str
    seen: str
    address: str
    agent: str


class InvitationLink(BaseModel):
    """An invitation link for one user; shown only once."""

    url: str
    role: Role
    project: str


class AuditEntry(BaseModel):
    number: int
    at: str
    user: str | None
    name: str | None
    key: str | None
    address: str
    action: str
    project: str | None
    target: str
    status: int
    before: str | None
    after: str | None
    request_id: str


@router.post("/sign-in", name="sign_in")
def sign_in(caller: AnyOne, body: SignIn, request: Request, response: Response) -> Me:
    """Start a new browser session, with a cookie."""
    limit_sign_in_attempts(request, body.name)
    user = state_of(request).accounts.check_password(body.name, body.password)
    return _signed_in(request, response, user, caller)


@router.post("/redeem", name="redeem", status_code=201)
def redeem(caller: AnyOne, body: Redemption, request: Request, response: Response) -> Me:
    """Create an account with a one-time link, and sign in."""
    limit_sign_in_attempts(request, "")
    user = state_of(request).accounts.redeem(body.token, body.name, body.password)
    return _signed_in(request, response, user, caller)


@router.post("/sign-out", name="sign_out", status_code=204)
def sign_out(caller: SignedIn, request: Request, everywhere: bool = False) -> Response:
    """End this session, or all of your sessions."""
    return signed_out(caller, request, Response(status_code=204), everywhere=everywhere)


@router.get("/me", name="me")
def me(caller: SignedIn) -> Me:
    """The signed-in user."""
    return _me(caller)


@router.post("/me/password", name="change_password")
def change_password(caller: SignedIn, body: PasswordChange, request: Request, response: Response) -> Me:
    """Change your password. All your other sessions end."""
    if not caller.by_cookie or caller.user is None:
        raise Refusal(403, "a password can only be changed in the browser.", code="not_allowed", fix="Sign in there.")
    set_password(request, caller.name, caller.user, body.old, body.new)
    return _signed_in(request, response, caller.user, Caller())


@router.get("/users", name="users")
def users(caller: Administrator, request: Request, limit: Limit = 50, cursor: Cursor = None) -> Page[User]:
    """All users with an account."""
    return page_of(state_of(request).accounts.users(), limit, cursor, User.model_validate)


@router.put("/users/{user}/role", name="set_role")
def set_role(caller: Administrator, user: str, body: Membership, request: Request) -> User:
    """Grant, change or remove a role. The user has to sign in again."""
    accounts = state_of(request).accounts
    check_place(request, caller, body.project)
    before = accounts.user(user)["roles"].get(body.project)
    accounts.set_role(user, body.project, body.role)
    request.state.changed = {"project": body.project, "before": before, "after": body.role}
    return User(**accounts.user(user))


@router.delete("/users/{user}", name="disable_user", status_code=204)
def disable_user(caller: Administrator, user: str, request: Request) -> None:
    """Close an account: its sessions and keys end, its name stays in the audit."""
    state_of(request).accounts.user(user)
    state_of(request).accounts.disable(user)


@router.post("/invitations", name="invite", status_code=201)
def invite(caller: Administrator, body: Invite, request: Request) -> InvitationLink:
    """Create a link for one user, for a role in all projects. It works once, within a week."""
    return invitation_link(request, ALL, body.role, caller)


@router.post("/projects/{project}/invitations", name="invite_to_project", status_code=201)
def invite_to_project(caller: ProjectOwner, project: str, body: Invite, request: Request) -> InvitationLink:
    """Create a link for one user, for a role in this project."""
    return invitation_link(request, project, body.role, caller)


@router.get("/keys", name="keys")
def keys(
    caller: SignedIn, request: Request, everybody: bool = False, limit: Limit = 50, cursor: Cursor = None
) -> Page[Key]:
    """Your API keys, or those of all users if you are an owner; never the secrets."""
    if everybody:
        caller.require(Right.administer)
    rows = state_of(request).keys.of(None if everybody else caller.user)
    return page_of(rows, limit, cursor, Key.model_validate)


@router.post("/keys", name="make_key", status_code=201)
def make_key(caller: SignedIn, body: NewKey, request: Request) -> CreatedKey:
    """Create an API key. It is shown only once."""
    if caller.key is not None:
        raise Refusal(403, "an API key cannot create keys.", code="not_allowed", fix="Sign in with the browser.")
    check_place(request, caller, body.project)
    key, row = state_of(request).keys.make(caller, body.name, body.role, body.project, body.days)
    request.state.once = True
    request.state.changed = {"target": f"/api/v1/keys/{row['id']}"}
    return CreatedKey(key=key, **row)


@router.delete("/keys/{key}", name="revoke_key", status_code=204)
def revoke_key(caller: SignedIn, key: str, request: Request) -> None:
    """Revoke one of your keys; an owner can revoke anybody's."""
    state_of(request).keys.revoke(key, None if caller.may(Right.administer) else caller.user)


@router.get("/sessions", name="sessions")
def sessions(caller: SignedIn, request: Request, limit: Limit = 50, cursor: Cursor = None) -> Page[SessionInfo]:
    """The sessions in which you are signed in."""
    rows = state_of(request).sessions.of(caller.user or "", caller.session)
    return page_of(rows, limit, cursor, SessionInfo.model_validate)


@router.delete("/sessions/{session}", name="end_session", status_code=204)
def end_session(caller: SignedIn, session: str, request: Request) -> None:
    """Sign out of one session."""
    if not state_of(request).sessions.end_one(caller.user or "", session):
        raise not_there(f"you have no session '{session}'.", fix="GET /api/v1/sessions lists your sessions.")


@router.get("/audit", name="audit")
def audit(
    caller: Administrator,
    request: Request,
    project: Annotated[str | None, Query(max_length=80)] = None,
    user: Annotated[str | None, Query(max_length=32)] = None,
    action: Annotated[str | None, Query(max_length=80)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[AuditEntry]:
    """Actions and refusals, newest first."""
    before = decode_cursor(cursor, int)
    rows = state_of(request).audit.page(before=before, limit=limit + 1, project=project, user=user, action=action)
    items = [AuditEntry(**row) for row in rows[:limit]]
    return Page(items=items, next=encode_cursor(items[-1].number) if len(rows) > limit else None)


def start_session(request: Request, response: Response, user: str, before: Caller) -> Caller:
    """Start a session and set its cookie; the previous session ends. Used by the pages, too."""
    state = state_of(request)
    if before.session:
        state.sessions.end(before.session)
    agent = request.headers.get("user-agent", "")
    token = state.sessions.begin(user, address=address_of(request.scope), agent=agent)
    set_cookie(response, token, secure=state.settings.secure)
    caller = state.sessions.caller(token)
    assert caller is not None, "the session was just created"
    request.state.caller = caller
    return caller


def signed_out(caller: Caller, request: Request, response: Response, *, everywhere: bool) -> Response:
    """The response, with the session or all of the user's sessions ended. Used by the pages, too."""
    if everywhere and caller.user:
        state_of(request).sessions.end_all(caller.user)
    elif caller.session:
        state_of(request).sessions.end(caller.session)
    clear_cookie(response, secure=state_of(request).settings.secure)
    response.headers["Clear-Site-Data"] = '"cache"'  # removes rejected forms, which the back button would show again
    return response


def _signed_in(request: Request, response: Response, user: str, before: Caller) -> Me:
    return _me(start_session(request, response, user, before))


def set_password(request: Request, name: str, user: str, old: str, new: str) -> None:
    """Change the password of a user who knows the old one; all sessions end. Used by the pages, too."""
    limit_sign_in_attempts(request, name)
    state = state_of(request)
    state.accounts.check_password(name, old)
    state.accounts.set_password(user, new)
    state.sessions.end_all(user)


def _me(caller: Caller) -> Me:
    return Me(
        user=caller.user or "", name=caller.name, roles=dict(caller.roles), csrf=caller.csrf or None, key=caller.key
    )


def limit_sign_in_attempts(request: Request, name: str) -> None:
    """Limit sign-in attempts to five a minute, per address and per name, whether or not the name exists."""
    for who in (f"address {address_of(request.scope)}", f"name {name}"):
        state_of(request).limits.take(who, SIGN_INS, "attempts to sign in")


def check_place(request: Request, caller: Caller, project: str) -> None:
    """Raises the same Refusal for a project that does not exist and for one that the caller may not know of."""
    if project != ALL:
        caller.require(Right.see_project, project)
        if project not in state_of(request).workspace.projects():
            raise project_not_found(project)


def invitation_link(request: Request, project: str, role: Role, caller: Caller) -> InvitationLink:
    """Create an invitation. Used by the pages, too."""
    token = state_of(request).accounts.invite(project, role, caller.user or "")
    request.state.once = True
    url = f"{state_of(request).settings.address}/redeem?token={token}"
    return InvitationLink(url=url, role=role, project=project)
