"""A JSON schema for the records that a person has: what they show, and nothing that none of them does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from schemas.records import Json

_MOST_KEYS = 100  # an object with more keys is a table of its own, whose keys are data
_SCALARS = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))


def is_record(text: str) -> bool:
    """Whether a text spells a JSON object."""
    return _record(text) is not None


def schema_of(texts: Sequence[str]) -> Json | None:
    """The schema that all of these records keep: the keys of each object, which of them every one has, the types of
    their values. None if a text is no JSON object, or there is none."""
    records = [record for record in map(_record, texts) if record is not None]
    return _object(records) if records and len(records) == len(texts) else None


def _record(text: str) -> Json | None:
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _any(values: Iterable[Any]) -> Json:
    """A schema that each of these values keeps; the open one where there are none."""
    held = list(values)
    objects = [value for value in held if isinstance(value, dict)]
    lists = [value for value in held if isinstance(value, list)]
    names = dict.fromkeys(_type(value) for value in held if not isinstance(value, dict | list))
    if "number" in names:
        names.pop("integer", None)
    ways = [_object(objects)] if objects else []
    ways += [{"type": "array", "items": _any(item for items in lists for item in items)}] if lists else []
    ways += [{"type": next(iter(names)) if len(names) == 1 else list(names)}] if names else []
    return {"anyOf": ways} if len(ways) > 1 else next(iter(ways), {})


def _type(value: Any) -> str:
    return next((name for kind, name in _SCALARS if isinstance(value, kind)), "null")


def _object(records: Sequence[Json]) -> Json:
    keys = dict.fromkeys(key for record in records for key in record)
    if len(keys) > _MOST_KEYS:
        return {"type": "object"}
    return {
        "type": "object",
        "properties": {key: _any(record[key] for record in records if key in record) for key in keys},
        "required": [key for key in keys if all(key in record for record in records)],
        "additionalProperties": False,
    }
