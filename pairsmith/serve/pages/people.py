"""The people page and the audit log, for owners."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Query, Request, Response

from pairsmith.serve.access import ALL, Administrator, Caller, Role
from pairsmith.serve.api import people as api
from pairsmith.serve.api.people import check_place, invitation_link
from pairsmith.serve.pages.shell import link, names, page_router, redirect_to, render
from pairsmith.serve.state import state_of
from schemas.errors import PairsmithError
from schemas.wording import counted

router = page_router()
_PAGE = 50


@router.get("/people", name="page_people")
def people(caller: Administrator, request: Request) -> Response:
    """All accounts, and invitations."""
    return _people(request, caller)


def _people(
    request: Request, caller: Caller, invited: str = "", gives: str = "", error: PairsmithError | None = None
) -> Response:
    """Render the page. `gives` is the role that the invitation link `invited` grants."""
    users = state_of(request).accounts.users()
    present = [user for user in users if not user["disabled"]]
    return render(
        request,
        "people",
        caller,
        place="People",
        heading=f"{counted(len(present), 'person has', 'people have')} an account on this service.",
        users=users,
        roles=list(Role),
        projects=names(request, state_of(request).workspace.projects()),
        invited=invited,
        gives=gives,
        error=error,
    )


@router.post("/people/invite", name="page_invite")
def invite(
    caller: Administrator,
    request: Request,
    role: Annotated[Role, Form()],
    project: Annotated[str, Form(max_length=80)] = ALL,
) -> Response:
    """Create an invitation link for one person and show it, this one time."""
    try:
        check_place(request, caller, project)
        invitation = invitation_link(request, project, role, caller)
    except PairsmithError as error:
        return _people(request, caller, error=error)
    gives = f"{role} of {'every project' if project == ALL else project}"
    return _people(request, caller, invitation.url, gives)


@router.post("/people/{user}", name="page_set_role")
def set_role(
    caller: Administrator,
    user: str,
    request: Request,
    role: Annotated[str, Form(max_length=20)],
    project: Annotated[str, Form(max_length=80)] = ALL,
) -> Response:
    """Grant, change or remove a role, or close the account."""
    try:
        if role == "closed":
            api.disable_user(caller, user, request)
        else:
            given = api.Membership(project=project, role=Role(role) if role in set(Role) else None)
            api.set_role(caller, user, given, request)
    except PairsmithError as error:
        return _people(request, caller, error=error)
    return redirect_to("/people", done="role")


@router.get("/audit", name="page_audit")
def audit(
    caller: Administrator,
    request: Request,
    project: str | None = None,
    user: str | None = None,
    action: str | None = None,
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> Response:
    """The audit log: actions and refusals, newest first."""
    lines = state_of(request).audit.page(
        before=before, limit=_PAGE + 1, project=project or None, user=user or None, action=action or None
    )
    given = {"project": project or "", "action": action or "", "user": user or ""}
    more = link("/audit", **given, before=lines[_PAGE - 1]["number"]) if len(lines) > _PAGE else None
    return render(
        request,
        "audit",
        caller,
        place="Audit",
        heading="All actions and refused attempts, newest first.",
        lines=lines[:_PAGE],
        more=more,
        given=given,
    )
