"""A JSON schema for the records that a person has: what they show, and nothing that none of them does."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from schemas.records import Json

_MOST_KEYS = 100  # an object with more keys is a table of its own, whose keys are data
_CHOICES, _OFTEN, _TWICE = 30, 5, 2  # the most values of a choice; how often they come back on average, and each
_CHOICE = 40  # letters
_FIGURES = re.compile(r"[\d\s.,:/+-]*")
_SCALARS = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))


def is_record(text: str) -> bool:
    """Whether a text spells a JSON object."""
    return _record(text) is not None


def schema_of(texts: Sequence[str]) -> Json | None:
    """The schema that all of these records keep: the keys of each object, which of them every one has, the types of
    their values. None if a text is no JSON object, or there is none."""
    records = [record for record in map(_record, texts) if record is not None]
    return _object(records) if records and len(records) == len(texts) else None


def choices_in(texts: Sequence[str], asked: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """The texts of a few words that come back under a path of these records, each of them more than once, where most do
    not stand in what was `asked`: a value that is copied may be any. The items of a list stand under `[]`."""
    values: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    copied = Counter[tuple[str, ...]]()
    for text, given in zip(texts, map(str.casefold, asked), strict=True):
        for path, value in _leaves(_record(text), ()):
            values[path][value] += 1
            copied[path] += value.casefold() in given
    return {
        path: sorted(held)
        for path, held in values.items()
        if 1 < len(held) <= min(_CHOICES, held.total() / _OFTEN)
        and min(held.values()) >= _TWICE
        and 2 * copied[path] < held.total()
        and all(len(value) <= _CHOICE and not _FIGURES.fullmatch(value) for value in held)
    }


def with_choices(schema: Json, choices: Mapping[tuple[str, ...], Sequence[str]]) -> list[str]:
    """Binds the texts at these paths of a schema to their choices; the paths, as a person writes them, where it did."""
    bound = []
    for path, values in choices.items():
        place: Any = schema
        for name in path:
            place = place.get("items", {}) if name == "[]" else place.get("properties", {}).get(name, {})
        if (kinds := place.get("type")) in ("string", ["string", "null"], ["null", "string"]):
            place["enum"] = [*values, *([None] if kinds != "string" else [])]
            bound.append(".".join(path))
    return bound


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The texts in a value, each with its path."""
    if isinstance(value, str):
        yield path, value
    for name, held in value.items() if isinstance(value, dict) else ():
        yield from _leaves(held, (*path, name))
    for held in value if isinstance(value, list) else ():
        yield from _leaves(held, (*path, "[]"))


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
