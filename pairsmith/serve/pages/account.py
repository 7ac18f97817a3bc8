"""Sign-in, invitations, and the user's own keys, sessions and password."""

from __future__ import annotations

import os
import shutil
from typing import Annotated

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse

from pairsmith.serve.access import ALL, Administrator, AnyOne, Caller, Right, Role, SignedIn
from pairsmith.serve.api.people import check_place, limit_sign_in_attempts, set_password, signed_out, start_session
from pairsmith.serve.api.teachers import allow_host, forbid_host, teacher_request
from pairsmith.serve.pages.shell import names, page_router, redirect_to, render
from pairsmith.serve.problems import Refusal
from pairsmith.serve.state import state_of
from schemas.errors import PairsmithError, UsageError
from schemas.wording import counted

router = page_router()
Short = Annotated[str, Form(max_length=80)]
Url = Annotated[str, Form(max_length=500)]
Password = Annotated[str, Form(max_length=1000)]


@router.get("/sign-in", name="page_sign_in_form")
def sign_in(caller: AnyOne, request: Request, next: str = "") -> Response:
    """The sign-in form."""
    if caller.user is not None:
        return RedirectResponse(_local_path(next), 303)
    return _sign_in(request, caller, next)


def _sign_in(
    request: Request, caller: Caller, after: str, error: PairsmithError | None = None, name: str = ""
) -> Response:
    first = not state_of(request).accounts.has_owner()
    return render(
        request,
        "sign_in",
        caller,
        title="Sign in · pairsmith",
        heading="This service has no owner yet. Its first start printed a link for creating the owner account."
        if first
        else "Sign in to see your projects.",
        first=first,
        after=after,
        given=name,
        error=error,
    )


@router.post("/sign-in", name="page_sign_in")
def signed_in(
    caller: AnyOne, request: Request, name: Short, password: Password, next: Annotated[str, Form()] = ""
) -> Response:
    """Start a session and redirect to the page that was requested first."""
    try:
        limit_sign_in_attempts(request, name)
        user = state_of(request).accounts.check_password(name, password)
    except PairsmithError as error:
        return _sign_in(request, caller, next, error, name)
    response = RedirectResponse(_local_path(next), 303)
    start_session(request, response, user, caller)
    return response


def _local_path(address: str) -> str:
    """Return `address` if it is a path on this site, otherwise `/`. This prevents open redirects after sign-in."""
    inside = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if inside and "\\" not in address else "/"


@router.post("/sign-out", name="page_sign_out")
def sign_out(caller: SignedIn, request: Request, everywhere: Annotated[str, Form()] = "") -> Response:
    """End this session, or all of the user's sessions."""
    return signed_out(caller, request, redirect_to("/sign-in", done="signed-out"), everywhere=bool(everywhere))


@router.get("/redeem", name="page_redeem_form")
def redeem(caller: AnyOne, request: Request, token: str = "") -> Response:
    """Show what an invitation link grants, with the form for a name and a password."""
    return _redeem(request, caller, token)


def _redeem(
    request: Request, caller: Caller, token: str, error: PairsmithError | None = None, name: str = ""
) -> Response:
    given = state_of(request).accounts.invitation(token)
    where = "every project" if given["project"] == ALL else given["project"]
    page = render(
        request,
        "redeem",
        caller,
        title="Invitation · pairsmith",
        heading=f"This link gives you the role {given['role']} in {where}.",
        token=token,
        given=name,
        error=error,
    )
    page.headers["Cache-Control"] = "no-store"  # browsers keep a rejected form, and this one contains the link
    return page


@router.post("/redeem", name="page_redeem")
def redeemed(
    caller: AnyOne,
    request: Request,
    token: Annotated[str, Form(max_length=200)],
    name: Short = "",
    password: Password = "",
) -> Response:
    """Create an account, or give the signed-in user another role."""
    try:
        limit_sign_in_attempts(request, "")
        if caller.user is not None and caller.by_cookie and not password:
            state_of(request).accounts.join(token, caller.user)
            return redirect_to("/sign-in")
        user = state_of(request).accounts.redeem(token, name, password)
    except PairsmithError as error:
        if isinstance(error, Refusal) and error.code == "link_not_usable":
            raise
        return _redeem(request, caller, token, error, name)
    response = RedirectResponse("/", 303)
    start_session(request, response, user, caller)
    return response


@router.get("/keys", name="page_keys")
def keys(caller: SignedIn, request: Request) -> Response:
    """The user's API keys."""
    return _keys(request, caller)


def _keys(request: Request, caller: Caller, new_key: str = "", error: PairsmithError | None = None) -> Response:
    keys = state_of(request).keys.of(caller.user)
    live = sum(not key["revoked"] for key in keys)
    return render(
        request,
        "keys",
        caller,
        place="Keys",
        heading=f"You have {counted(live, 'active API key', 'active API keys') if live else 'no active API keys'}.",
        keys=keys,
        new_key=new_key,
        roles=list(Role),
        projects=names(request, caller.projects(state_of(request).workspace.projects())),
        address=state_of(request).settings.address,
        error=error,
    )


@router.post("/keys", name="page_make_key")
def make_key(
    caller: SignedIn,
    request: Request,
    name: Short,
    role: Annotated[Role, Form()] = Role.viewer,
    project: Short = ALL,
    days: Annotated[int, Form(ge=1, le=3650)] = 90,
) -> Response:
    """Create a key and show it, this one time."""
    try:
        if not name.strip() or not name.isprintable():
            raise UsageError("the key has no printable name.", where="name", fix="Name it after what uses it.")
        check_place(request, caller, project)
        key, _ = state_of(request).keys.make(caller, name.strip(), role, project, days)
    except PairsmithError as error:
        return _keys(request, caller, error=error)
    return _keys(request, caller, new_key=key)


@router.post("/keys/{key}/revoke", name="page_revoke_key")
def revoke(caller: SignedIn, key: str, request: Request) -> Response:
    """Revoke a key."""
    state_of(request).keys.revoke(key, caller.user)
    return redirect_to("/keys", done="revoked")


@router.get("/settings", name="page_settings")
def settings(caller: SignedIn, request: Request) -> Response:
    """The user's settings, allowed hosts, and facts about this machine."""
    return _settings(request, caller)


def _settings(request: Request, caller: Caller, error: PairsmithError | None = None) -> Response:
    state = state_of(request)
    sessions = state.sessions.of(caller.user, caller.session) if caller.user else []
    roles = ", ".join(f"{role} of {'every project' if slug == ALL else slug}" for slug, role in caller.roles.items())
    allowed = state.policy.allowed() if caller.may_somewhere(Right.edit) else None
    usage = shutil.disk_usage(state.workspace.root)
    return render(
        request,
        "settings",
        caller,
        place="Settings",
        heading=f"You are signed in as {caller.name}, {roles or 'without a role'}.",
        sessions=sessions,
        allowed=allowed,
        is_set={row["key_env"]: row["key_env"] in os.environ for row in allowed or ()},
        no_auth=state.settings.no_auth,
        disk=[("free disk space", f"{usage.free / 1e9:.0f} GB of {usage.total / 1e9:.0f} GB")],
        error=error,
    )


@router.post("/settings/hosts", name="page_allow_host")
def allow(caller: Administrator, request: Request, url: Url = "", key_env: Short = "") -> Response:
    """Allow projects to send requests to a host, with a key."""
    try:
        allow_host(caller, teacher_request(url, key_env), request)
    except PairsmithError as error:
        return _settings(request, caller, error)
    return redirect_to("/settings", done="host")


@router.post("/settings/hosts/forbid", name="page_forbid_host")
def forbid(caller: Administrator, request: Request, host: Url, key_env: Short = "") -> Response:
    """Remove an allowed host."""
    forbid_host(caller, host, request, key_env)
    return redirect_to("/settings", done="saved")


@router.post("/settings/password", name="page_password")
def password(caller: SignedIn, request: Request, old_password: Password, new_password: Password) -> Response:
    """Change the password and end every other session."""
    try:
        if not caller.by_cookie or caller.user is None:
            raise UsageError("this service has no passwords.", fix="Start it without --no-auth.")
        set_password(request, caller.name, caller.user, old_password, new_password)
    except PairsmithError as error:
        return _settings(request, caller, error)
    response = redirect_to("/settings", done="saved")
    start_session(request, response, caller.user, Caller())
    return response


@router.post("/settings/sessions/{session}", name="page_end_session")
def end_session(caller: SignedIn, session: str, request: Request) -> Response:
    """End one of the user's sessions."""
    if caller.user:
        state_of(request).sessions.end_one(caller.user, session)
    return redirect_to("/settings", done="ended")
