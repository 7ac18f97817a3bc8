"""Errors as a person or a program sees them, and the exit codes."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import click

from schemas.errors import BudgetReached, Interrupted, PairsmithError, StoreError, StoreFull

WriteJson = Callable[[dict[str, Any]], None]


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHUT = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PLACE = (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
# What a terminal obeys, but for line ends, tabs and colours.
_ORDERS = re.compile(r"\x1b(?!\[[\d;]*m)|[\0-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """`text` for a screen: what a server or a teacher has written may order a terminal to change its title, to clear
    itself, or to answer; such characters are shown as escapes."""
    return _ORDERS.sub(lambda order: ascii(order[0])[1:-1], text)


def nothing_closed() -> None:
    """Let descriptors 0 to 2 lead nowhere where they are closed (`>&-`, some daemons): else the next file that is
    opened would have that number, and what is printed would be written into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


@contextmanager
def json_on_stdout(wanted: bool) -> Iterator[WriteJson | None]:
    """Give a function that writes the one JSON object; meanwhile everything else that writes to descriptor 1, a library
    or a child process included, lands on stderr. Gives None, and changes nothing, if JSON is not wanted."""
    if not wanted:
        yield None
        return
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)

    def write(data: dict[str, Any]) -> None:
        import orjson

        body = orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str) + b"\n"
        while body:
            body = body[os.write(real, body) :]

    try:
        yield write
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


def exit_code_of(error: BaseException, write_json: WriteJson | None, watcher: WriteJson | None = None) -> int:
    """Show `error` and return the exit code that docs/cli.md promises for it; who watches gets the JSON in any case."""

    def tell(problem: dict[str, Any]) -> None:
        for listener in (write_json, watcher):
            if listener is not None:
                with suppress(OSError):  # it may be what has failed
                    listener({"error": problem})

    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit) and "_PAIRSMITH_COMPLETE" in os.environ:  # a word was completed for a shell
        return int(error.code or 0)
    if isinstance(error, BrokenPipeError):
        # The reader, such as `head`, has seen enough. Point stdout elsewhere so that the last flush does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    if isinstance(error, OSError) and error.errno in _FULL:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # it may be where stdout goes
        error = StoreFull(
            f"nothing more can be written ({os.strerror(error.errno)}).",
            where=str(error.filename or "standard output, or a file of the project"),
            fix="Free some space there, then run the same command again: everything finished is in the store.",
        )
    if isinstance(error, OSError) and error.filename and (why := _why_not(error)):
        error = StoreError(f"it cannot be used ({os.strerror(error.errno or 0)}).", where=str(error.filename), fix=why)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        # What writes to a store says what it has kept (`Session.store`).
        error = Interrupted("it had not come to its end.", fix="Run the same command again: it begins anew.")
    if isinstance(error, click.ClickException):
        error.show(sys.stderr)
        tell({"kind": "UsageError", "what": error.format_message(), "exit_code": 2})
        return 2
    if isinstance(error, PairsmithError):
        show_error(error)
        tell(as_json(error))
        return error.exit_code
    traceback.print_exception(error)
    what = f"this is a defect of pairsmith: {type(error).__name__}: {error}"
    sys.stderr.write(f"error: {what}\nPlease report it with the lines above.\n")
    tell({"kind": type(error).__name__, "what": what, "exit_code": 1})
    return 1


def _why_not(error: OSError) -> str | None:
    """What to do about a place that cannot be used; None where it may be a defect of ours."""
    if error.errno in _SHUT:
        return "Let the user who runs pairsmith read and write there, or name another place."
    # A folder is asked for with "it may be there", so it is a file.
    is_file = error.errno == errno.EEXIST and Path(os.fsdecode(error.filename)).is_file()
    if error.errno in _NO_PLACE or is_file:
        return "A folder is needed where a file is, or a file where a folder is: move it away, or name another place."
    return None


def as_json(error: PairsmithError) -> dict[str, Any]:
    """The error's parts and its exit code, absent parts left out."""
    parts = {"where": error.where, "what": error.what, "why": error.why, "fix": error.fix}
    given: dict[str, Any] = {name: part for name, part in parts.items() if part}
    if isinstance(error, BudgetReached) and error.request_usd is not None:
        given["request_usd"] = error.request_usd
    return {"kind": type(error).__name__, **given, "message": str(error), "exit_code": error.exit_code}


def show_error(error: PairsmithError) -> None:
    """The message on stderr: its parts below each other on a terminal, one plain line in a pipe."""
    if not sys.stderr.isatty():
        sys.stderr.write(f"{'stopped' if isinstance(error, Interrupted) else 'error'}: {harmless(str(error))}\n")
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    word = ("stopped:", "bold yellow") if isinstance(error, Interrupted) else ("error:", "bold red")
    head = f"{error.where}: {error.what}" if error.where else error.what
    console.print(Text.assemble(word, " ", harmless(head)), soft_wrap=True)
    for part, style in ((error.why, "dim"), (error.fix, "default")):
        if part:
            console.print(Padding(Text(harmless(part), style=style), (0, 0, 0, 2)))
