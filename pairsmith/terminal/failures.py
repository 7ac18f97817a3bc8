"""How errors are reported to users and programs, and the exit codes."""

from __future__ import annotations

import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import click

from schemas.errors import DISK_FULL, BudgetReached, Interrupted, PairsmithError

WriteJson = Callable[[dict[str, Any]], None]


_CONTROLS = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f]")  # except line ends and tabs
_NO_COLOURS = re.compile(rf"(?!\x1b\[[\d;]*m){_CONTROLS.pattern}")


def escape_controls(text: str, *, colours: bool = True) -> str:
    """`text` with terminal control characters shown as escapes, those of `colours` only if it has none of its own. Text
    from a server or a teacher could otherwise change the terminal's title, clear the screen, or make it send input."""
    return (_NO_COLOURS if colours else _CONTROLS).sub(lambda match: ascii(match[0])[1:-1], text)


def reopen_closed_streams() -> None:
    """Open /dev/null on descriptors 0 to 2 if they are closed (`>&-`, some daemons). Otherwise the next file to be
    opened would get that number, and printed text would be written into it. What the encoding of the terminal lacks is
    escaped on stdout, as Python does on stderr."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout, sys.stderr = sys.stdout or _devnull(), sys.stderr or _devnull()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _devnull() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def discard_output(descriptor: int) -> None:
    """Redirect a descriptor to /dev/null, so that writing to it does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _is_unread(descriptor: int) -> bool:
    """Whether it is a pipe whose reader has gone, so that it is not another pipe that broke."""
    import select

    waiting = select.poll()
    waiting.register(descriptor, 0)
    return any(events & select.POLLERR for _, events in waiting.poll(0))


@contextmanager
def _may_be_lost() -> Iterator[None]:
    """What is written to stderr inside may be lost, as on a full disk: the exit code still says what happened."""
    try:
        yield
    except OSError:
        discard_output(2)


@contextmanager
def json_on_stdout(enabled: bool) -> Iterator[WriteJson | None]:
    """Yield a function that writes the one JSON object. Meanwhile everything else written to descriptor 1, including by
    libraries and child processes, goes to stderr. If JSON is not wanted, yield None and change nothing."""
    if not enabled:
        yield None
        return
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)

    has_begun = False

    def write(data: dict[str, Any]) -> None:
        import tempfile

        import orjson

        nonlocal has_begun
        if has_begun:  # a signal has ended it: the exit code says so, as a second object would be no JSON
            return

        def encoded(value: Any) -> bytes:
            return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)

        def parts() -> Iterator[bytes]:
            for number, (key, value) in enumerate(data.items()):
                yield (b",\n  " if number else b"\n  ") + encoded(key) + b": "
                if not isinstance(value, Iterator):
                    yield encoded(value).replace(b"\n", b"\n  ")
                    continue
                start = b"["
                for item in value:
                    yield start + b"\n    " + encoded(item).replace(b"\n", b"\n    ")
                    start = b","
                yield b"[]" if start == b"[" else b"\n  ]"

        # Nothing is written of an object that cannot be completed.
        with tempfile.SpooledTemporaryFile(1 << 20) as whole:
            whole.write(b"{")
            for part in parts():
                whole.write(part)
            whole.write(b"\n}\n" if data else b"}\n")
            whole.seek(0)
            has_begun = True
            with suppress(BrokenPipeError):  # the reader has gone; the exit code is that of the command
                while body := whole.read(1 << 20):
                    while body:
                        body = body[os.write(real, body) :]

    try:
        yield write
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


def exit_code_of(
    error: BaseException, write_json: WriteJson | None, watcher: WriteJson | None = None, warnings: Sequence[str] = ()
) -> int:
    """Report `error` and return its exit code (docs/cli.md). A watcher always gets the error as JSON, with what the
    command warned of before."""

    def tell(problem: dict[str, Any]) -> None:
        for listener in (write_json, watcher):
            if listener is not None:
                with suppress(OSError):  # the listener itself may have failed
                    listener({"error": problem} | ({"warnings": warnings} if warnings else {}))

    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit) and "_PAIRSMITH_COMPLETE" in os.environ:  # shell completion is running
        return int(error.code or 0)
    # click turns the error into a SystemExit, after wrapping stdout.
    by_click = isinstance(error, SystemExit) and type(sys.stdout).__name__.endswith("PacifyFlushWrapper")
    if (isinstance(error, BrokenPipeError) or by_click) and _is_unread(1):  # the reader, such as `head`, has gone
        discard_output(1)
        return 0
    if isinstance(error, OSError):
        from schemas.file_errors import error_for

        if error.errno in DISK_FULL:
            discard_output(1)  # stdout itself may be on the full disk
        error = error_for(error) or error
    if isinstance(error, KeyboardInterrupt | click.Abort):
        # `Session.store` reports what a writing command has kept.
        error = Interrupted(
            "the command did not finish.", fix="Run the same command again. What earlier ones stored is kept."
        )
    if isinstance(error, click.ClickException):
        with _may_be_lost():
            error.show(sys.stderr)
        what = error.format_message()
        tell({"kind": "UsageError", "what": what, "message": what, "exit_code": 2})
        return 2
    if isinstance(error, PairsmithError):
        with _may_be_lost():
            show_error(error)
        tell(as_json(error))
        return error.exit_code
    traceback.print_exception(error)
    what = f"this is a defect of pairsmith: {type(error).__name__}: {error}"
    sys.stderr.write(f"error: {what}\nPlease report it with the lines above.\n")
    tell({"kind": type(error).__name__, "what": what, "message": what, "exit_code": 1})
    return 1


def as_json(error: PairsmithError) -> dict[str, Any]:
    """The parts of the error that are set, and its exit code."""
    parts = {"where": error.where, "what": error.what, "why": error.why, "fix": error.fix}
    given: dict[str, Any] = {name: part for name, part in parts.items() if part}
    if isinstance(error, BudgetReached) and error.request_usd is not None:
        given["request_usd"] = error.request_usd
    return {"kind": type(error).__name__, **given, "message": str(error), "exit_code": error.exit_code}


def show_error(error: PairsmithError) -> None:
    """Print the error to stderr: its parts on separate lines on a terminal, one plain line in a pipe."""
    if not sys.stderr.isatty():
        sys.stderr.write(f"{'stopped' if isinstance(error, Interrupted) else 'error'}: {escape_controls(str(error))}\n")
        return
    from rich.console import Console
    from rich.text import Text

    from pairsmith.terminal.wrapping import wrapped

    console = Console(stderr=True, highlight=False)
    word = ("stopped:", "bold yellow") if isinstance(error, Interrupted) else ("error:", "bold red")
    head = f"{error.where}: {error.what}" if error.where else error.what
    console.print(Text.assemble(word, " ", escape_controls(head)), soft_wrap=True)
    for part, style in ((error.why, "dim"), (error.fix, "default")):
        if part:
            console.print(Text(wrapped(escape_controls(part), "  "), style=style), soft_wrap=True)
