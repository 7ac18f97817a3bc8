"""Ids by content: what a record, a setting or a set of them is called, from what it holds.

Two machines that make the same thing give it the same id. Every id has a frozen recipe, held by golden ids in the
tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, cast

import orjson
from pydantic import BaseModel, Field

Json = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


def content_id(kind: str, parts: Any) -> str:
    """32 hex digits naming `parts` (anything JSON can hold), separate for every `kind` of record.

    Keys are sorted and floats written in their shortest form, so the id does not depend on the order of a dict.
    """
    body = orjson.dumps([kind, parts], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(body).hexdigest()[:32]


def lot(text: str) -> bytes:
    """The lot of `text`, the same on every machine: in the order of their lots texts stand at random, and a further one
    moves none of them."""
    return hashlib.sha256(text.encode()).digest()


def content_id_of_each(kind: str, parts: Iterable[Any]) -> str:
    """`content_id(kind, list(parts))`, of a list that is too long for memory."""
    return _streamed(orjson.dumps([kind])[:-1] + b",[", parts, b"]]")


def content_id_of(kind: str, parts: Sequence[Any], last: Iterable[Any]) -> str:
    """`content_id(kind, [*parts, list(last)])`, of a list that is too long for memory."""
    return _streamed(orjson.dumps([kind, parts], option=orjson.OPT_SORT_KEYS)[:-2] + b",[", last, b"]]]")


def _streamed(before: bytes, parts: Iterable[Any], behind: bytes) -> str:
    digest = hashlib.sha256(before)
    for number, part in enumerate(parts):
        digest.update((b"," if number else b"") + orjson.dumps(part, option=orjson.OPT_SORT_KEYS))
    digest.update(behind)
    return digest.hexdigest()[:32]


def added(default: Any = None, *, default_factory: Any = None, **limits: Any) -> Any:
    """A field that joined its model after rows of it were stored: at its default it is left out of ids."""
    marked: Json = {"json_schema_extra": {"added": True}, **limits}
    return Field(default_factory=default_factory, **marked) if default_factory else Field(default=default, **marked)


def identity(model: BaseModel) -> Json:
    """The part of `model` that enters an id: its fields as JSON, without those that were added later and are not
    used."""
    values, fields = model.__dict__, type(model).__pydantic_fields__
    unused = {name for name, default in _added(type(model)) if values[name] == default}
    nested = {name for name in fields if isinstance(values[name], BaseModel)} - unused
    return model.model_dump(mode="json", exclude=nested | unused) | {name: part(values[name]) for name in nested}


def part(model: BaseModel) -> Json:
    """`identity` of a part, which many models share, as the sampling of all pairs: worked out once, or given to `made`
    as `_identity` by who knows it."""
    kept = model.__dict__
    if (known := kept.get("_identity")) is None:
        known = kept["_identity"] = identity(model)
    return dict(known)


@cache
def _added(kind: type[BaseModel]) -> tuple[tuple[str, Any], ...]:
    """The fields that were added later, each with its default."""
    marked = ((name, field, field.json_schema_extra) for name, field in kind.model_fields.items())
    return tuple(
        (name, field.get_default(call_default_factory=True))
        for name, field, extra in marked
        if isinstance(extra, dict) and extra.get("added")
    )


_FIELDS_SET: dict[frozenset[str], set[str]] = {}


def changed_copy(model: M, changed: Json, *, deep: bool = False, **cached: Any) -> M:
    """What pydantic's `model_copy` gives, without what was cached: it takes five times as long, and every answer needs
    several. `cached` is what is known of the copy, as its id where nothing that enters it has changed."""
    own, fields = deepcopy(model.__dict__) if deep else model.__dict__, model.__pydantic_fields__
    if len(own) > len(fields):  # something was cached
        own = {name: own[name] for name in fields}
    known = model.__pydantic_fields_set__
    if not changed.keys() <= known:  # one set for all that have these fields: a set takes more than all the rest
        every = known | changed.keys()
        known = _FIELDS_SET.setdefault(frozenset(every), every)
    return assembled(type(model), {**own, **changed, **cached}, known)


def made(kind: type[M], values: Json, **cached: Any) -> M:
    """A model of values that we have made ourselves and that are right: nothing looks at them again, which takes twice
    as long. What came from elsewhere is validated. `cached` is what is known of it, as its id."""
    names = tuple(values)
    if (known := _MADE.get((kind, names))) is None:
        known = _MADE.setdefault((kind, names), _making(kind, names))
    defaults, fresh, given = known
    held = {**defaults, **values}  # in the order of the fields, in which they are written
    for name, default in fresh:
        held[name] = default()
    if cached:
        held |= cached
    return assembled(kind, held, given)


# What pydantic's own `model_construct` sets by name, at a third of the time.
_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
_set_values, _set_given, _set_extra, _set_private = (vars(BaseModel)[name].__set__ for name in _SLOTS)


def assembled(kind: type[M], values: Json, given: set[str]) -> M:
    """A model of all its values in the order of its fields, and what is cached, as they are; `given` are the fields
    that count as set."""
    model = object.__new__(kind)
    _set_values(model, values)
    _set_given(model, given)
    _set_extra(model, None)
    _set_private(model, None)
    return model


Making = tuple[Json, Sequence[tuple[str, Callable[[], Any]]], set[str]]
_MADE: dict[tuple[type[BaseModel], tuple[str, ...]], Making] = {}


def _making(kind: type[BaseModel], names: tuple[str, ...]) -> Making:
    """What `made` needs for values of these names: each field in its order, with its default where that is a value;
    what makes the others' that are not given; and one set for all that are given."""
    fields = kind.model_fields.items()
    fresh = [(name, cast("Callable[[], Any]", f.default_factory)) for name, f in fields if f.default_factory]
    return {name: f.default for name, f in fields}, [one for one in fresh if one[0] not in names], set(names)


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)
