"""A user's function: its identity, which is its name and a hash that changes when it is edited, and why it crashed."""

from __future__ import annotations

import hashlib
import inspect
import os
import time
import tokenize
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, NamedTuple

import orjson

from schemas.errors import UsageError, checked_text
from schemas.records import Reason, content_id

_STARTED = time.time()  # a file that is older is the one that was imported


class Identity(NamedTuple):
    """A function's qualified name, and a hash of its source and of the values it was created with."""

    name: str
    source: str


def function_identity(function: Callable[..., Any], named: str = 'named(function, "a-name-1")') -> Identity:
    """The identity of a plain function of a module, a script or a notebook cell.

    The hash includes closure values and parameter defaults. Raises UsageError where two different functions could not
    be distinguished: a lambda, an object without source, a closure over values that JSON cannot hold, a function whose
    file has another version of it by now. `named` is the code shown to the user that gives a function a name.

    Not covered: changing a global, or a function that this one calls, does not change the hash. An edit made between
    the import of the function and that of this module goes unnoticed until the function is imported again.
    """
    check_callable(function)
    name = getattr(function, "__qualname__", "")
    if not inspect.isfunction(function) or "<lambda>" in name:
        raise _nameless(function, named, "it is not a function with its own name")
    try:
        source = _source(function)
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


def check_takes_one(function: Callable[..., Any], role: str, argument: str) -> None:
    """Raises UsageError for a function that cannot be called with the one `argument` that a `role` gets."""
    check_callable(function)
    if not takes_one(function):
        name = getattr(function, "__qualname__", repr(function))
        raise UsageError(
            f"the {role} {name:.80} cannot be called with one {argument}: its parameters are"
            f" {inspect.signature(function)}.",
            fix=f"Write it as `def {role}({argument}): ...`.",
        )


def takes_one(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with one argument. True for a builtin without a signature, whose first call will
    show it."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def check_named(function: object, name: object) -> None:
    """Raises UsageError unless these are a function and a name that `named` can give it."""
    check_callable(function)
    if not checked_text(name, "named: the name").strip():
        raise UsageError("named: the name is empty.", fix='Write named(function, "a-name-1").')


def check_callable(function: object) -> None:
    """Raises UsageError for what is not a function."""
    if not callable(function):
        raise UsageError(
            f"{function!r:.200} is not a function.", fix="Pass a function, or another object that can be called."
        )


def _source(function: Callable[..., Any]) -> str:
    """The source of the function that runs, even if its file has been edited since. Raises UsageError if the edit
    changed the function itself, OSError if there is no source."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return inspect.getsource(function)  # of a class that it wraps
    path = code.co_filename
    if not os.path.isfile(path) or os.path.getmtime(path) <= _STARTED:
        return inspect.getsource(function)
    try:
        with tokenize.open(path) as file:
            now = compile(file.read(), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        now = None
    running = _without_lines(code)
    for one in _codes_in(now) if now else ():
        if one.co_qualname == code.co_qualname and _without_lines(one) == running:
            return inspect.getsource(one)
    module = function.__module__
    raise UsageError(
        f"{code.co_qualname} is not what its file contains: the file was edited after it was imported.",
        where=path,
        why="Python still runs the old version, whose results would be stored as those of the new one.",
        fix="Start again" + ("." if module == "__main__" else f", or importlib.reload({module})."),
    )


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes_in(constant)


def _without_lines(code: CodeType) -> CodeType:
    """Code that equals another one wherever the two stand in their files."""
    constants = (_without_lines(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_firstlineno=1, co_linetable=b"", co_filename="", co_consts=tuple(constants))


def _nameless(function: Callable[..., Any], named: str, because: str) -> UsageError:
    return UsageError(
        f"{getattr(function, '__qualname__', repr(function))} cannot be identified: {because}.",
        why="Its results are stored under its name and a hash of its source, so that an edit is noticed.",
        fix=f"Give it a name, and change the name whenever the function's meaning changes: {named}.",
    )


def crash_of(error: BaseException) -> Reason:
    """The reason of a row on which a user's function raised an error."""
    return Reason("crashed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
