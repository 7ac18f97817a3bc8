"""Derives a JSON schema from the user's records. It allows what occurs in them, and nothing else."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from schemas.records import Json
from schemas.strict_json import strict_json

_MOST_KEYS = 100  # an object with more keys is treated as a table, whose keys are data
# the most values of an enum, how often they recur on average, and the least for each
_MAX_CHOICES, _OFTEN, _LEAST_OFTEN = 30, 5, 2
_CHOICE_LENGTH = 40  # longest value of an enum, in characters
_FIGURES = re.compile(r"[\d\s.,:/+-]*")
_WORD = re.compile(r"[^\W_]+")
_RARE = 20  # what is so in at most one of this many records may be a mistake
_TYPES = (
    *((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string")),
    *((dict, "object"), (list, "array")),
)


def is_record(text: str) -> bool:
    """Whether a text is a JSON object."""
    return _record(text) is not None


def records_in(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The texts that are JSON objects, and the others."""
    of_kind: dict[bool, list[str]] = {True: [], False: []}
    for text in texts:
        of_kind[is_record(text)].append(text)
    return of_kind[True], of_kind[False]


def schema_of(texts: Sequence[str]) -> Json | None:
    """A schema that all of these records satisfy: the keys of each object, which of them are required, and the types of
    their values. None if a text is not a JSON object, or there are no texts."""
    records = [record for record in map(_record, texts) if record is not None]
    return _object(records) if records and len(records) == len(texts) else None


def choices_in(texts: Sequence[str], asked: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """The short texts that recur under a path of these records, each at least twice. Values that mostly appear in what
    was `asked` are excluded: a copied value may be anything. List items have the path part `[]`."""
    values: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    copied = Counter[tuple[str, ...]]()
    for text, source in zip(texts, map(str.casefold, asked), strict=True):
        for path, value in _leaves(_record(text), ()):
            values[path][value] += 1
            copied[path] += value.casefold() in source
    return {
        path: sorted(counts)
        for path, counts in values.items()
        if 1 < len(counts) <= min(_MAX_CHOICES, counts.total() / _OFTEN)
        and min(counts.values()) >= _LEAST_OFTEN
        and 2 * copied[path] < counts.total()
        and all(len(value) <= _CHOICE_LENGTH and not _FIGURES.fullmatch(value) for value in counts)
    }


def exceptions_in(texts: Sequence[str]) -> list[str]:
    """What is so only in a few of these records, such as "'a.b' is of type string in 1 of 40": a key that is there or
    missing, or the type of a value. `schema_of` allows it, though it may be a mistake."""
    objects = Counter[tuple[str, ...]]()
    types: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for text in texts:
        for path, value in _values(_record(text), ()):
            objects[path] += isinstance(value, dict)
            types[path][_type(value).replace("integer", "number")] += 1
    sentences, siblings = list[str](), Counter(path[:-1] for path in types)
    for path, kinds in types.items():
        whole, there, name = objects[path[:-1]], kinds.total(), repr(".".join(path))
        if path[-1:] in ((), ("[]",)) or whole < _RARE or siblings[path[:-1]] > _MOST_KEYS:
            continue
        if there * _RARE <= whole:
            sentences.append(f"{name} is in {there:,} of {whole:,}")
            continue
        if 0 < (whole - there) * _RARE <= whole:
            sentences.append(f"{name} is missing in {whole - there:,} of {whole:,}")
        rare = {kind: times for kind, times in kinds.items() if times * _RARE <= there and kind != "null"}
        sentences += [f"{name} is of type {kind} in {times:,} of {there:,}" for kind, times in rare.items()]
    return sentences


def _values(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value inside a value, and itself, each with its path."""
    yield path, value
    for name, item in value.items() if isinstance(value, dict) else ():
        yield from _values(item, (*path, name))
    for item in value if isinstance(value, list) else ():
        yield from _values(item, (*path, "[]"))


def copied_share(texts: Sequence[str], asked: Sequence[str]) -> float:
    """The share of the words and numbers in these records that are in what was `asked` in the same row. 0 for records
    that repeat it whole."""
    rows = values = copied = whole = 0
    for record, source in (
        (record, source) for text, source in zip(texts, asked, strict=True) if (record := _record(text))
    ):
        words = _spaced(source)
        here = [_spaced(f"{value:g}" if isinstance(value, float) else str(value)) for value in _scalars(record)]
        here = [value for value in here if value.strip()]
        rows += 1
        whole += words in here
        values += len(here)
        copied += sum(value in words or (not value.isascii() and value.strip() in words) for value in here)
    return copied / values if values and 2 * whole < rows else 0.0


def _spaced(text: str) -> str:
    """The words of a text, each with a space on both sides."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _scalars(value: Any) -> Iterator[str | float]:
    """The texts and numbers in a value."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _scalars(item)


def with_choices(schema: Json, choices: Mapping[tuple[str, ...], Sequence[str]]) -> list[str]:
    """Restrict the texts at these paths of a schema to their choices. Returns the dotted paths where that was
    possible."""
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
    return ((where, inner) for where, inner in _values(value, path) if isinstance(inner, str))


def _record(text: str) -> Json | None:
    if not text.startswith("{"):
        return None
    try:
        value = strict_json(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _any(values: Iterable[Any]) -> Json:
    """A schema that all of these values satisfy; the unrestricted schema if there are none."""
    items_ = list(values)
    objects = [value for value in items_ if isinstance(value, dict)]
    lists = [value for value in items_ if isinstance(value, list)]
    names = dict.fromkeys(_type(value) for value in items_ if not isinstance(value, dict | list))
    if "number" in names:
        names.pop("integer", None)
    alternatives = [_object(objects)] if objects else []
    alternatives += [{"type": "array", "items": _any(item for items in lists for item in items)}] if lists else []
    alternatives += [{"type": next(iter(names)) if len(names) == 1 else list(names)}] if names else []
    return {"anyOf": alternatives} if len(alternatives) > 1 else next(iter(alternatives), {})


def _type(value: Any) -> str:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "null")


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
