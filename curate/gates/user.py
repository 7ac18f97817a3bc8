"""Gates that users write: a function in a Python file next to the spec, named as `module:function`."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.gates.judgement import Gate, Judgement, crashed
from schemas.errors import SpecError, UsageError
from schemas.functions import takes_one
from schemas.records import Pair, Reason
from schemas.user_modules import UserReference, load_user_module
from schemas.user_output import user_output


def user_gate(name: str, folder: Path, key: str = "curate.gates.user") -> tuple[Gate, str]:
    """Load the gate `module:function` from `folder`.

    Returns the gate and the hash of its file, which is part of the gate's settings. `key` is the spec key that names
    it. The file is loaded by path under a module name of its own, so a `train.py` with gates never shadows our module
    or a file of the same name in another project. For imports inside that file, the folder is appended to `sys.path`,
    never prepended.

    Raises SpecError if the file does not exist, cannot be run, or has no such function that takes one argument.
    Not covered: a change in a file that the gate's file imports does not change the hash.
    """
    own = UserReference.read(name)
    path, source, module = load_user_module(name, folder, key)
    key = f"'{key}': {name}"
    function = getattr(module, own.name, None)
    if function is None:
        functions = ((n, value) for n, value in vars(module).items() if inspect.isfunction(value))
        defined = (n for n, value in functions if value.__module__ == module.__name__)
        raise SpecError(
            f"{key}: '{own.module}' has no function '{own.name}'.",
            where=str(path),
            fix=f"It defines: {', '.join(sorted(defined)) or 'no function'}.",
        )
    _check_shape(function, key, path)
    return guarded(function, name), hashlib.sha256(source).hexdigest()


def _check_shape(function: Any, key: str, path: Path) -> None:
    if not callable(function):
        raise SpecError(f"{key} is a {type(function).__name__}, not a function.", where=str(path))
    not_plain = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(check(function) for check in not_plain):
        raise SpecError(f"{key} is async or a generator.", where=str(path), fix="Write it as a plain `def`.")
    if not takes_one(function):
        fix = "Write it as `def gate(pair): ...`."
        raise SpecError(f"{key} cannot be called with one pair.", where=str(path), fix=fix)


def check_plain(function: Any) -> None:
    """Raises UsageError for anything that is not a plain function."""
    name = getattr(function, "__qualname__", repr(function))
    if not callable(function):
        raise UsageError(f"the gate {name} is a {type(function).__name__}, not a function.")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"the gate {name} is async.", fix="Write it as a plain `def`, or as a scorer.")
    if inspect.isgeneratorfunction(function):
        raise UsageError(f"the gate {name} is a generator.", fix="Write `return` instead of `yield`.")


def guarded(function: Callable[[Pair], Any], name: str) -> Gate:
    """Return `function` as a gate: its result becomes a Judgement, and if it raises, the row waits with `crashed: ...`.

    It may return True, False or None; `(keep, reason)`; or an object with `keep` and `reason` (and optionally `score`),
    such as a Verdict. Anything else counts as crashed, never as a pass or a rejection. Whatever it prints goes to
    standard error, because programs read our standard output.
    """

    def gate(pair: Pair) -> Judgement:
        try:
            with user_output():
                return _judgement(function(pair), name)
        except (Exception, SystemExit) as error:
            return crashed(f"{type(error).__name__}: {error}")

    return gate


def _judgement(answer: Any, name: str) -> Judgement:
    keep, score, reason = answer, None, None
    if isinstance(answer, tuple) and len(answer) == 2:
        keep, reason = answer
    elif hasattr(answer, "keep") and hasattr(answer, "reason"):
        keep, score, reason = answer.keep, getattr(answer, "score", None), answer.reason
    if type(keep).__module__ == "numpy":
        keep = keep.item()
    if not (keep is None or isinstance(keep, bool)) or not (reason is None or isinstance(reason, str | Reason)):
        return crashed(f"it returned {answer!r}; a gate returns True, False, None or (one of these, a reason)")
    if isinstance(reason, str):
        reason = reason.strip() and Reason.read(" ".join(reason.split()))
    why = reason or Reason({True: "ok", False: "user", None: "unsure"}[keep], f"returned by {name}")
    return Judgement(keep, None if score is None else float(score), why)
