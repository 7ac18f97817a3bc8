"""Paginated lists over HTTP; a cursor marks where the next page begins."""

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
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the previous page.")]


class Page(BaseModel, Generic[Item]):
    """Some items, the cursor of the next page (null on the last one), and the total number if it is known."""

    items: list[Item]
    next: str | None = None
    total: int | None = None
    total_is_capped: bool = False


def encode_cursor(position: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, kind: type[Item]) -> Item | None:
    """The position in a cursor. Raises Refusal for an invalid one."""
    if cursor is None:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        position = None
    out_of_range = isinstance(position, int) and not 0 <= position < 2**53
    if not isinstance(position, kind) or isinstance(position, bool) or out_of_range:
        raise Refusal(400, "the cursor is not valid.", code="bad_cursor", fix="Use `next` of the previous page.")
    return position


def page_of(items: Sequence[Any], limit: int, cursor: str | None, convert: Callable[[Any], Item]) -> Page[Item]:
    """A page of a list that fits into memory, each item converted by `convert`; the cursor is an index."""
    begin = max(0, decode_cursor(cursor, int) or 0)
    end = begin + limit
    following = encode_cursor(end) if end < len(items) else None
    return Page(items=list(map(convert, items[begin:end])), next=following, total=len(items))


def link_next(request: Request, response: Response, page: Page[Any]) -> None:
    """Add `Link: rel="next"`, for clients that follow it."""
    if page.next:
        following = quote(str(request.url.include_query_params(cursor=page.next)), safe=":/?#[]@!$&'()*+,;=%~")
        response.headers["Link"] = f'<{following}>; rel="next"'


def attachment_headers(name: str) -> dict[str, str]:
    """The headers of a download that is saved as `name`, which may be in any script."""
    quoted = quote(name, safe="")
    named = f'filename="{name}"' if quoted == name else f"filename*=utf-8''{quoted}"
    return {"Content-Disposition": f"attachment; {named}"}
