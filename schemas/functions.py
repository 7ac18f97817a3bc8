"""What a function that a person wrote is called, and a hash that an edit changes."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from schemas.errors import UsageError
from schemas.records import content_id


class Identity(NamedTuple):
    """A function's qualified name, and a hash of its source and of the values that it was made with."""

    name: str
    source: str


def identity_of(function: Callable[..., Any], named: str = 'named(function, "a-name-1")') -> Identity:
    """Of a plain function of a module, a script or a notebook's cell.

    What a closure holds and the defaults of parameters are in the hash. Raises UsageError where two different functions
    could not be told apart: a lambda, an object without source, a closure over what JSON cannot hold; `named` is how
    one gets a name.
    Not covered: a change of a global, or of a function that this one calls, does not change the hash.
    """
    name = getattr(function, "__qualname__", "")
    if not inspect.isfunction(function) or "<lambda>" in name:
        raise _nameless(function, named, "it is not a function with a name of its own")
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        raise _nameless(function, named, "its source cannot be read") from None
    made_with = [dict(inspect.getclosurevars(function).nonlocals), function.__defaults__, function.__kwdefaults__]
    try:
        values = orjson.dumps(made_with, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        raise _nameless(function, named, "it was made with values that cannot be written as JSON") from None
    bare = made_with == [{}, None, None]
    digest = hashlib.sha256(source.encode()).hexdigest()[:32]
    return Identity(
        f"{function.__module__}.{name}", digest if bare else content_id("function", [source, values.decode()])
    )


def _nameless(function: Callable[..., Any], named: str, because: str) -> UsageError:
    return UsageError(
        f"{getattr(function, '__qualname__', repr(function))} has no identity of its own: {because}.",
        why="What it says is kept under its name and a hash of its source, so that an edit is noticed.",
        fix=f"Give it a name that you change when its meaning changes: {named}.",
    )
