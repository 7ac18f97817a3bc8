"""Teachers: which keys are set, by name alone; whether a server answers; where owners allow specs to send."""

from __future__ import annotations

import os
import time
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError

from pairsmith import teacher_search
from pairsmith.serve.access import Administrator, Caller, Right, SignedIn, needs
from pairsmith.serve.api.people import Body
from pairsmith.serve.limits import PREVIEWS
from pairsmith.serve.problems import not_there
from pairsmith.serve.state import state_of
from schemas.errors import UsageError
from schemas.wording import counted

router = APIRouter(prefix="/api/v1", tags=["teachers"])
Url = Annotated[str, Field(min_length=1, max_length=500)]
KeyName = Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", max_length=128)]


class TeacherWish(Body):
    url: Url
    key_env: KeyName = ""


def teacher_wish(url: str, key_env: str) -> TeacherWish:
    """What a form says. Raises UsageError."""
    try:
        return TeacherWish(url=url.strip(), key_env=key_env.strip())
    except ValidationError as error:
        if error.errors()[0]["loc"][0] == "url":
            raise UsageError("there is no address.", where="address", fix="Write https://HOST/v1.") from None
        # What stands there may be the key itself, so it is not shown.
        raise UsageError(
            "the key has to be named, not shown.",
            where="name of the key's variable",
            fix="Write the name of a variable, as in OPENAI_API_KEY; its value is set where the service runs.",
        ) from None


class Allowance(BaseModel):
    """A host that specs may send to, and the name of the key that may go with it (empty: none). `set`: the server has a
    value for it, which nobody sees."""

    host: str
    key_env: str
    set: bool
    by: str | None
    at: str | None


class Allowances(BaseModel):
    items: list[Allowance]


class Tried(BaseModel):
    """`says` is a sentence; nothing was spent."""

    answers: bool
    says: str
    models: list[str]
    seconds: float | None


@router.get("/teachers", name="teachers")
def teachers(caller: SignedIn, request: Request) -> Allowances:
    """Hosts and names of keys that a spec may have here; `embedded` needs neither."""
    rows = state_of(request).policy.allowed()
    return Allowances(items=[Allowance(set=bool(os.environ.get(row["key_env"])), **row) for row in rows])


@router.post("/teachers/test", name="test_teacher")
def test_teacher(
    caller: Annotated[Caller, needs(Right.edit, somewhere=True)], body: TeacherWish, request: Request
) -> Tried:
    """Ask a server for its list of models, with the value of a key by its name."""
    state_of(request).limits.take(f"teacher test {caller.user}", PREVIEWS, "tests of teachers")
    if body.url == "embedded":
        says = "The embedded model needs no key and no server."
        return Tried(answers=True, says=says, models=[teacher_search.EMBEDDED.model], seconds=None)
    state_of(request).policy.check_pair(body.url, body.key_env)
    key = os.environ.get(body.key_env) if body.key_env else None
    if body.key_env and not key:
        return Tried(answers=False, says=f"{body.key_env} is not set on the server.", models=[], seconds=None)
    began_s = time.monotonic()
    served = teacher_search.ask(body.url.rstrip("/"), key)
    seconds = round(time.monotonic() - began_s, 2)
    if isinstance(served, str):
        subject = f"{body.key_env} at {body.url}" if body.key_env else body.url
        return Tried(answers=False, says=f"{subject}: {served}.", models=[], seconds=seconds)
    says = f"It answers in {seconds:.1f} s and has {counted(len(served), 'model', 'models')}."
    return Tried(answers=True, says=says, models=served[:200], seconds=seconds)


@router.post("/teachers/allowed", name="allow_host", status_code=201)
def allow_host(caller: Administrator, body: TeacherWish, request: Request) -> Allowance:
    """Allow specs to send to a host, with the value of a key. A host inside this network is named by its address, or by
    a name that the internet does not have."""
    host = state_of(request).policy.allow(body.url, body.key_env, caller.user)
    request.state.changed = {"action": "allow_host", "target": f"{host} {body.key_env}"}
    row = next(r for r in state_of(request).policy.allowed() if (r["host"], r["key_env"]) == (host, body.key_env))
    return Allowance(set=bool(os.environ.get(body.key_env)), **row)


@router.delete("/teachers/allowed", name="forbid_host", status_code=204)
def forbid_host(caller: Administrator, host: str, request: Request, key_env: str = "") -> None:
    """Take an allowance back; specs that have it are refused when their next job starts."""
    if not state_of(request).policy.forbid(host, key_env):
        raise not_there(f"nobody has allowed {host} {key_env}".strip() + ".")
