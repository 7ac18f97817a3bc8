"""Teachers: which keys are set (names only), whether a server responds, and which hosts owners allow."""

from __future__ import annotations

import os
import time
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError

from pairsmith.serve.access import Administrator, Caller, Right, needs
from pairsmith.serve.api.people import RequestBody
from pairsmith.serve.limits import PREVIEWS
from pairsmith.serve.problems import not_there
from pairsmith.serve.state import state_of
from pairsmith.teachers import search as teacher_search
from schemas.errors import UsageError
from schemas.wording import counted

router = APIRouter(prefix="/api/v1", tags=["teachers"])
Url = Annotated[str, Field(min_length=1, max_length=500)]
KeyName = Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", max_length=128)]


class TeacherRequest(
    RequestBody, json_schema_extra={"examples": [{"url": "https://api.openai.com/v1", "key_env": "OPENAI_API_KEY"}]}
):
    url: Url
    key_env: KeyName = ""


def teacher_request(url: str, key_env: str) -> TeacherRequest:
    """The values of a form. Raises UsageError."""
    try:
        return TeacherRequest(url=url.strip(), key_env=key_env.strip())
    except ValidationError as error:
        if error.errors()[0]["loc"][0] == "url":
            raise UsageError("the address is missing.", where="address", fix="Write https://HOST/v1.") from None
        # The value may be the key itself, so it is not shown.
        raise UsageError(
            "this is not the name of a variable.",
            where="name of the key's variable",
            fix="Write the name of the variable, such as OPENAI_API_KEY; its value is set on the server.",
        ) from None


class Allowance(BaseModel):
    """A host that specs may send to, and the name of the key that may go with it (empty: none).

    `set`: the server has a value for it, which is never shown.
    """

    host: str
    key_env: str
    set: bool
    by: str | None
    at: str | None


class AllowanceList(BaseModel):
    items: list[Allowance]


class TeacherTest(BaseModel):
    """The result of a test. `says` is a message for the user; the test costs nothing."""

    answers: bool
    says: str
    models: list[str]
    seconds: float | None


@router.get("/teachers", name="teachers")
def teachers(caller: Annotated[Caller, needs(Right.edit, somewhere=True)], request: Request) -> AllowanceList:
    """The hosts and key names that a spec may use here; `embedded` needs neither."""
    rows = state_of(request).policy.allowed()
    return AllowanceList(items=[Allowance(set=bool(os.environ.get(row["key_env"])), **row) for row in rows])


@router.post("/teachers/test", name="test_teacher")
def test_teacher(
    caller: Annotated[Caller, needs(Right.edit, somewhere=True)], body: TeacherRequest, request: Request
) -> TeacherTest:
    """Request a server's list of models, with the value of a named key."""
    state_of(request).limits.take(f"teacher test {caller.user}", PREVIEWS, "tests of teachers")
    if body.url == "embedded":
        says = "The embedded model needs no key and no server."
        return TeacherTest(answers=True, says=says, models=[teacher_search.EMBEDDED.model], seconds=None)
    state_of(request).policy.check_pair(body.url, body.key_env)
    key = os.environ.get(body.key_env) if body.key_env else None
    if body.key_env and not key:
        return TeacherTest(answers=False, says=f"{body.key_env} is not set on the server.", models=[], seconds=None)
    began_s = time.monotonic()
    served = teacher_search.ask(body.url.rstrip("/"), key)
    seconds = round(time.monotonic() - began_s, 2)
    if isinstance(served, str):
        subject = f"{body.key_env} at {body.url}" if body.key_env else body.url
        fix = (
            f" Check the value of {body.key_env} where the service runs."
            if body.key_env and "refused" in served
            else ""
        )
        return TeacherTest(answers=False, says=f"{subject}: {served}.{fix}", models=[], seconds=seconds)
    says = f"It answers in {seconds:.1f} s and has {counted(len(served), 'model', 'models')}."
    return TeacherTest(answers=True, says=says, models=served[:200], seconds=seconds)


@router.post("/teachers/allowed", name="allow_host", status_code=201)
def allow_host(caller: Administrator, body: TeacherRequest, request: Request) -> Allowance:
    """Allow specs to send to a host, with the value of a key.

    A host inside this network has to be given by its address, or by a name that does not exist publicly.
    """
    host = state_of(request).policy.allow(body.url, body.key_env, caller.user)
    request.state.changed = {"action": "allow_host", "target": f"{host} {body.key_env}"}
    row = next(r for r in state_of(request).policy.allowed() if (r["host"], r["key_env"]) == (host, body.key_env))
    return Allowance(set=bool(os.environ.get(body.key_env)), **row)


@router.delete("/teachers/allowed", name="forbid_host", status_code=204)
def forbid_host(caller: Administrator, host: str, request: Request, key_env: str = "") -> None:
    """Revoke an allowance. Specs that use it are refused when their next job starts."""
    if not state_of(request).policy.forbid(host, key_env):
        raise not_there(f"there is no allowance for {host} {key_env}".strip() + ".")
