"""Lists over HTTP: pages by a cursor that says where the next one begins."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import quote

from fastapi import Query, Request, Response
from pydantic import BaseModel

from pairsmith.serve.problems import Refusal

Item = TypeVar("Item")
Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before.")]


class Page(BaseModel, Generic[Item]):
    """Some items, the cursor of the next page (null: this is the last), and how many there are if that is known."""

    items: list[Item]
    next: str | None = None
    total: int | None = None
    total_is_capped: bool = False


def encoded(position: Any) -> str:
    """A cursor for a position."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def position_of(cursor: str | None, kind: type[Item]) -> Item | None:
    """The position in a cursor. Raises Refusal for one that we did not make."""
    if cursor is None:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        position = None
    whole = isinstance(position, int) and not 0 <= position < 2**53
    if not isinstance(position, kind) or isinstance(position, bool) or whole:
        raise Refusal(400, "the cursor is none of ours.", code="bad_cursor", fix="Take `next` of the page before.")
    return position


def page_of(items: Sequence[Any], limit: int, cursor: str | None, shown: Callable[[Any], Item]) -> Page[Item]:
    """A page of a list that is short enough to be held, each item as it is shown; the position is a number."""
    begin = max(0, position_of(cursor, int) or 0)
    end = begin + limit
    following = encoded(end) if end < len(items) else None
    return Page(items=list(map(shown, items[begin:end])), next=following, total=len(items))


def link_next(request: Request, response: Response, page: Page[Any]) -> None:
    """`Link: rel="next"`, for clients that follow it."""
    if page.next:
        following = quote(str(request.url.include_query_params(cursor=page.next)), safe=":/?#[]@!$&'()*+,;=%~")
        response.headers["Link"] = f'<{following}>; rel="next"'


def attached(name: str) -> dict[str, str]:
    """The header of a file that is saved under `name`, in whatever script it is written."""
    quoted = quote(name, safe="")
    named = f'filename="{name}"' if quoted == name else f"filename*=utf-8''{quoted}"
    return {"Content-Disposition": f"attachment; {named}"}
