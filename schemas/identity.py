"""Records, and content ids: names for records, settings and sets of them that are derived from their content.

The same content has the same id on every machine. Every id has a frozen recipe, which golden ids in the tests pin down.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache, cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import InputError, UsageError

# The escape of an unpaired surrogate in a representation, with what stands before it.
_SURROGATE = re.compile(r"[^'\"]{0,40}\\ud[89a-f][0-9a-f]{2}")
_PAGE = 500  # parts of a long list that are hashed at a time
Json = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


if TYPE_CHECKING:
    cached_value = cached_property
else:

    class cached_value(cached_property):
        """A `cached_property` without the lock that Python 3.11 takes for the first access, which takes longer than
        computing most ids. Two threads may both compute the value, which is the same."""

        def __get__(self, instance: Any, owner: Any = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__[self.attrname] = self.func(instance)
            return value


def content_id(kind: str, parts: Any) -> str:
    """32 hex digits that identify `parts` (anything JSON can hold, numbers of numpy), distinct for every `kind` of
    record.

    Keys are sorted and floats written in their shortest form, so the id does not depend on the order of a dict. Raises
    InputError for a text with half of a surrogate pair, UsageError for what JSON cannot hold.
    """
    try:
        body = orjson.dumps([kind, parts], option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        if half := _SURROGATE.search(repr(parts)):
            what = f"half of a surrogate pair is not text: '{half[0]}'."
            fix = 'Remove it: text.encode("utf-8", "ignore").decode().'
            raise InputError(what, why="It cannot be stored or sent to a model.", fix=fix) from None
        what = f"{parts!r:.80} cannot be stored: JSON has texts, numbers, lists, and dicts whose keys are texts."
        raise UsageError(what) from None
    return hashlib.sha256(body).hexdigest()[:32]


def random_sort_key(text: str) -> bytes:
    """A pseudo-random sort key for `text`, the same on every machine. Sorting by it gives a random order, and adding a
    text does not change the order of the others."""
    return hashlib.sha256(text.encode()).digest()


def content_id_of_list(kind: str, parts: Iterable[Any]) -> str:
    """`content_id(kind, list(parts))` for a list that is too long for memory."""
    return _streamed_id(orjson.dumps([kind])[:-1] + b",[", parts, b"]]")


def content_id_of(kind: str, parts: Sequence[Any], last: Iterable[Any]) -> str:
    """`content_id(kind, [*parts, list(last)])` for a list that is too long for memory."""
    return _streamed_id(orjson.dumps([kind, parts], option=orjson.OPT_SORT_KEYS)[:-2] + b",[", last, b"]]]")


def _streamed_id(before: bytes, parts: Iterable[Any], after: bytes) -> str:
    digest, rest, comma = hashlib.sha256(before), iter(parts), b""
    while page := list(islice(rest, _PAGE)):
        digest.update(comma + orjson.dumps(page, option=orjson.OPT_SORT_KEYS)[1:-1])
        comma = b","
    digest.update(after)
    return digest.hexdigest()[:32]


def added(default: Any = None, *, default_factory: Any = None, **limits: Any) -> Any:
    """A field that was added after rows of its model had been stored; it is omitted from ids while it has its
    default."""
    marked: Json = {"json_schema_extra": {"added": True}, **limits}
    return Field(default_factory=default_factory, **marked) if default_factory else Field(default=default, **marked)


def identity(model: BaseModel) -> Json:
    """The part of `model` that enters an id: its fields as JSON, without added fields that have their default."""
    values, fields = model.__dict__, type(model).__pydantic_fields__
    unused = {name for name, default in _added(type(model)) if values[name] == default}
    nested = {name for name in fields if isinstance(values[name], BaseModel)} - unused
    return model.model_dump(mode="json", exclude=nested | unused) | {name: part(values[name]) for name in nested}


def part(model: BaseModel) -> Json:
    """`identity` of a nested model that many models share, such as the sampling of all pairs. It is computed once and
    cached, or passed to `construct` as `_identity`."""
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
    """pydantic's `model_copy` without the cached properties, five times as fast; every answer needs several copies.

    `cached` are known cached properties of the copy, for example the id if nothing that enters it has changed.
    """
    values, fields = {**model.__dict__}, model.__pydantic_fields__  # now: another thread may cache an id meanwhile
    if len(values) > len(fields):  # something was cached
        values = {name: values[name] for name in fields}
    values = deepcopy(values) if deep else values
    known = model.__pydantic_fields_set__
    if not changed.keys() <= known:  # share one set per combination: a set takes more memory than all the rest
        every = known | changed.keys()
        known = _FIELDS_SET.setdefault(frozenset(every), every)
    values.update(changed, **cached)
    return assembled(type(model), values, known)


def construct(kind: type[M], values: Json, **cached: Any) -> M:
    """A model built from trusted values without validation, which would take twice as long; external values must be
    validated. `cached` are known cached properties, such as the id."""
    names = tuple(values)
    defaults, factories, given = _plan_construction(kind, names)
    held = {**defaults, **values}  # in field order, which is the order of serialisation
    for name, default in factories:
        held[name] = default()
    if cached:
        held |= cached
    return assembled(kind, held, given)


# The slots that pydantic's `model_construct` sets by name; setting them directly takes a third of the time.
_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
_set_values, _set_given, _set_extra, _set_private = (vars(BaseModel)[name].__set__ for name in _SLOTS)


def assembled(kind: type[M], values: Json, given: set[str]) -> M:
    """A model with the given values, in field order and including cached properties, unchanged; `given` are the fields
    that count as set."""
    model = object.__new__(kind)
    _set_values(model, values)
    _set_given(model, given)
    _set_extra(model, None)
    _set_private(model, None)
    return model


ConstructionPlan = tuple[Json, Sequence[tuple[str, Callable[[], Any]]], set[str]]


@cache
def _plan_construction(kind: type[BaseModel], names: tuple[str, ...]) -> ConstructionPlan:
    """What `construct` needs for values with these names: each field in order with its plain default, the default
    factories of the fields not given, and one shared set of the given names."""
    fields = kind.model_fields.items()
    factories = [(name, cast("Callable[[], Any]", f.default_factory)) for name, f in fields if f.default_factory]
    return {name: f.default for name, f in fields}, [one for one in factories if one[0] not in names], set(names)


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _ReadableErrors
else:

    class _ReadableErrors(type(BaseModel)):
        """Makes a record that is called raise UsageError; `model_validate` keeps pydantic's errors, with all places."""

        def __call__(cls, *texts, **values):
            if texts:
                fix = f"It has: {', '.join(cls.model_fields)}."
                raise UsageError(f"{cls.__name__} takes its fields by name.", fix=fix)
            try:
                # As `BaseModel.__init__` does, which would be one more call: a pair of a file makes four records.
                return cls.__pydantic_validator__.validate_python(values, self_instance=object.__new__(cls))
            except ValidationError as invalid:
                from schemas.spec.section import usage_error

                raise usage_error(cls, cls.__name__, values, invalid) from None


class Record(BaseModel, metaclass=_ReadableErrors):
    """Frozen; unknown keys are errors. The schema is built on first use, because a command needs only a few models."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants", defer_build=True)
    model_config |= ConfigDict(cache_strings="keys", ignored_types=(cached_value,))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the fields of `update`, whose values are not checked. Raises UsageError for an unknown field."""
        if unknown := [name for name in update or () if name not in self.__pydantic_fields__]:
            fix = f"It has: {', '.join(self.__pydantic_fields__)}."
            raise UsageError(f"{type(self).__name__} has no field '{unknown[0]}'.", fix=fix)
        return changed_copy(self, dict(update or {}), deep=deep)

    if not TYPE_CHECKING:

        def __setattr__(self, name, value):
            fix = f"Make another one: .model_copy(update={{{name!r}: ...}})."
            raise UsageError(f"a {type(self).__name__} cannot be changed.", fix=fix)


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)
