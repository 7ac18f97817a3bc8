"""Ids by content: what a record, a setting or a set of them is called, from what it holds.

Two machines that make the same thing give it the same id. Every id has a frozen recipe, held by golden ids in the
tests.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import BaseModel, Field

Json = dict[str, Any]


def content_id(kind: str, parts: Any) -> str:
    """32 hex digits naming `parts` (anything JSON can hold), separate for every `kind` of record.

    Keys are sorted and floats written in their shortest form, so the id does not depend on the order of a dict.
    """
    body = orjson.dumps([kind, parts], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(body).hexdigest()[:32]


def added(default: Any = None, *, default_factory: Any = None, **limits: Any) -> Any:
    """A field that joined its model after rows of it were stored: at its default it is left out of ids."""
    marked: Json = {"json_schema_extra": {"added": True}, **limits}
    return Field(default_factory=default_factory, **marked) if default_factory else Field(default=default, **marked)


def identity(model: BaseModel) -> Json:
    """The part of `model` that enters an id: its fields as JSON, without those that were added later and are not
    used."""
    parts = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        extra = field.json_schema_extra
        if (
            isinstance(extra, dict)
            and extra.get("added")
            and getattr(model, name) == field.get_default(call_default_factory=True)
        ):
            del parts[name]
        elif isinstance(value := getattr(model, name), BaseModel):
            parts[name] = identity(value)
    return parts


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)
