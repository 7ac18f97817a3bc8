"""Sign-in by code for users who are signed in to pairsmith's service, without an Argilla password.

The service requests a code with the owner's key and puts it into a form on its own page; the browser posts the form
here. A code works once, within a minute, and only from a page of the service: the browser reports the form's origin, so
no other page can sign somebody in as somebody else. Argilla's token is never part of a URL.
"""

import html
import secrets
import time
from pathlib import Path
from typing import Annotated
from uuid import UUID

from argilla_server.contexts import accounts
from argilla_server.database import get_async_db
from argilla_server.errors import ForbiddenOperationError
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import User
from argilla_server.security import auth
from fastapi import Body, Depends, Form, Request, Security
from fastapi.responses import HTMLResponse
from sqlalchemy.ext.asyncio import AsyncSession

VALID_S = 60.0
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
_PAGE = Path(__file__).with_name("enter.html").read_text(encoding="utf-8")

Db = Annotated[AsyncSession, Depends(get_async_db)]
Me = Annotated[User, Security(auth.get_current_user)]

_codes = {}  # code -> (expiry, user id, origin of the form, target page)


def add_routes(api):
    api.add_api_route("/pairsmith/codes", make_code, methods=["POST"], include_in_schema=False)
    api.add_api_route("/pairsmith/enter", enter, methods=["POST"], include_in_schema=False)


async def make_code(
    db: Db,
    current_user: Me,
    user_id: Annotated[UUID, Body()],
    origin: Annotated[str, Body()],
    page: Annotated[str, Body()],
):
    """Create a code that signs an annotator in. Only owners may request one."""
    user = await User.get(db, user_id)
    if not current_user.is_owner or user is None or not user.is_annotator:
        raise ForbiddenOperationError("only an owner may request a code, and only for an annotator")
    if not origin.startswith(("http://", "https://")) or not page.startswith("/") or page.startswith(("//", "/\\")):
        raise UnprocessableEntityError("origin must be a URL without a path, and page must be a path")
    now = time.monotonic()
    for code in [code for code, (until, *_) in _codes.items() if until < now]:
        del _codes[code]
    code = secrets.token_urlsafe(32)
    _codes[code] = (now + VALID_S, user_id, origin, page)
    return {"code": code}


async def enter(db: Db, request: Request, code: Annotated[str, Form()]):
    """Return a page that stores Argilla's token where Argilla's own sign-in stores it, and then opens the requested
    page. For an invalid code or origin, the page (status 403) contains no token."""
    until, user_id, origin, page = _codes.pop(code, (0.0, None, None, "/"))
    user = await User.get(db, user_id) if user_id else None
    known = user is not None and user.is_annotator and time.monotonic() < until
    if not known or request.headers.get("origin") != origin:
        return HTMLResponse(_PAGE.format(token="", page="/"), 403, _HEADERS)
    token = accounts.generate_user_token(user)
    return HTMLResponse(_PAGE.format(token=token, page=html.escape(page)), 200, _HEADERS)
