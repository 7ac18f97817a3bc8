"""A user's function: its identity, which is its name and a hash that changes when it is edited, and why it crashed."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from schemas.errors import UsageError
from schemas.records import Reason, content_id


class Identity(NamedTuple):
    """A function's qualified name, and a hash of its source and of the values it was created with."""

    name: str
    source: str


def function_identity(function: Callable[..., Any], named: str = 'named(function, "a-name-1")') -> Identity:
    """The identity of a plain function of a module, a script or a notebook cell.

    The hash includes closure values and parameter defaults. Raises UsageError where two different functions could not
    be distinguished: a lambda, an object without source, a closure over values that JSON cannot hold. `named` is the
    code shown to the user that gives a function a name.

    Not covered: changing a global, or a function that this one calls, does not change the hash.
    """
    if not callable(function):
        raise UsageError(
            f"{function!r} is not a function.", fix="Pass a function, or another object that can be called."
        )
    name = getattr(function, "__qualname__", "")
    if not inspect.isfunction(function) or "<lambda>" in name:
        raise _nameless(function, named, "it is not a function with its own name")
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        raise _nameless(function, named, "its source cannot be read") from None
    created_with = [dict(inspect.getclosurevars(function).nonlocals), function.__defaults__, function.__kwdefaults__]
    try:
        values = orjson.dumps(created_with, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        raise _nameless(function, named, "it was created with values that cannot be written as JSON") from None
    bare = created_with == [{}, None, None]
    digest = hashlib.sha256(source.encode()).hexdigest()[:32]
    return Identity(
        f"{function.__module__}.{name}", digest if bare else content_id("function", [source, values.decode()])
    )


def _nameless(function: Callable[..., Any], named: str, because: str) -> UsageError:
    return UsageError(
        f"{getattr(function, '__qualname__', repr(function))} cannot be identified: {because}.",
        why="Its results are stored under its name and a hash of its source, so that an edit is noticed.",
        fix=f"Give it a name, and change the name whenever the function's meaning changes: {named}.",
    )


def crash_of(error: BaseException) -> Reason:
    """The reason of a row on which a user's function raised an error."""
    return Reason("crashed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
