"""The exceptions a person may see, each with its exit code.

The tree::

    PairsmithError            1   anything below; never raised itself for a user's mistake
     +-- UsageError           2   the command line asks for something impossible
     +-- SpecError            3   pairsmith.toml is wrong: key, value or file
     +-- InputError           4   a seed file, a column or a row cannot be read
     |    +-- PromptError     4   a prompt template is wrong or is missing a variable
     +-- TeacherError         5   an endpoint cannot be used
     |    +-- AuthError       5   it refuses the key
     |    +-- Unreachable     5   nothing answers there
     +-- StoreError           6   the project's store cannot be used
     |    +-- StoreBusy       6   another process writes to it
     |    +-- StoreFull       6   no space is left where it lies
     +-- MissingDependency    7   an optional package or the weights cannot be had
     +-- NoWork               8   a step had work and did none (0 rows, 0 tokens, no unmasked token)
     |    +-- Uncertified     8   every row that is left waits for people or for a certificate
     +-- RowCountMismatch         9   rows in != accepted + rejected + waiting + failed
     +-- ReviewError         10   the review server cannot be made, started, reached or used
     +-- BudgetReached       12   the cap on money is reached; what was answered is kept
     +-- NotLicensed         16   rows have a license or terms that the spec does not let out
     +-- Interrupted        130   Ctrl-C; what was finished is kept

A message is built of up to four parts, in this order: what is wrong, where, why it would hurt, what to do.
Nothing that a user's mistake causes leaks past this tree: the command line prints it and exits with its code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


class PairsmithError(Exception):
    """An error a person can act on.

    `what` is a sentence that begins small, behind `error:` or `where`. `where` names the file, line, key or row. `why`
    says what would go wrong if it were ignored. `fix` says what to do. Every part but `what` may be absent, but `fix`
    rarely should be.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.why, self.fix = what, where, why, fix
        head = f"{where}: {what}" if where else what
        super().__init__(" ".join(part for part in (head, why, fix) if part))


class UsageError(PairsmithError):
    """The command line asks for something impossible."""

    exit_code = 2


class SpecError(PairsmithError):
    """`pairsmith.toml` cannot be used: an unknown key, a wrong value, a file it names."""

    exit_code = 3


class InputError(PairsmithError):
    """A file of seeds, exemplars or rows cannot be read as asked."""

    exit_code = 4


class PromptError(InputError):
    """A prompt template is malformed, or the variables do not match what it declares."""


class TeacherError(PairsmithError):
    """A teacher's endpoint cannot be used."""

    exit_code = 5


class AuthError(TeacherError):
    """The endpoint refuses the key (HTTP 401 or 403), or the variable that should hold it is not set."""


class Unreachable(TeacherError):
    """Nothing answers at the endpoint's address."""


class StoreError(PairsmithError):
    """The project's store cannot be opened, read or written."""

    exit_code = 6


class StoreBusy(StoreError):
    """Another process holds the project's writer lock."""


class StoreFull(StoreError):
    """No space is left on the device that holds the store."""


class MissingDependency(PairsmithError):
    """A package of an extra is not installed, or weights cannot be fetched."""

    exit_code = 7


@contextmanager
def needing(extra: str, who: str) -> Iterator[None]:
    """Around imports of packages of an extra: MissingDependency where one is not installed, which `who` needs, as in
    "the service needs"."""
    try:
        yield
    except ModuleNotFoundError as missing:
        fix = f"Install it: pip install 'pairsmith[{extra}]'"
        raise MissingDependency(f"{who} the package {missing.name}.", fix=fix) from None


class NoWork(PairsmithError):
    """A step that had work did none, so calling it a success would be a lie."""

    exit_code = 8


class Uncertified(NoWork):
    """Every row that is left waits for people or for a certificate, which the spec asks for."""


class RowCountMismatch(PairsmithError):
    """Rows in are not accepted + rejected + waiting + failed: a defect of pairsmith, never hidden."""

    exit_code = 9


class ReviewError(PairsmithError):
    """The Argilla server for human review cannot be made, started, reached or used."""

    exit_code = 10


class BudgetReached(PairsmithError):
    """The next request, of at most `request_usd`, could cost more than the budget leaves. The run has ended in order:
    every answer is kept."""

    exit_code = 12
    request_usd: float | None = None


class NotLicensed(PairsmithError):
    """Rows have a license or terms of a teacher that `[export]` does not let out."""

    exit_code = 16


class Interrupted(PairsmithError):
    """Stopped by a signal; the sentence says whether anything was kept."""

    exit_code = 130


def misused(errors: Sequence[Any], *, where: str | None = None, fix: str | None = None) -> UsageError:
    """The first of pydantic's `errors` in what a person gave; its place is `where`, or else its own."""
    first = errors[0]
    place = ".".join(map(str, first["loc"])) if where is None else where
    return UsageError(f"{first['msg'].removeprefix('Value error, ')}.", where=place or None, fix=fix)


def several(given: Any, name: str, of: str = "texts", one: str = "Write [text].") -> Any:
    """`given`, if it is a list or the like. Raises UsageError for one text, which is a list of its letters (`one` says
    what to do), and for a dict or a table, which is one of its names: in silence the wrong thing would be asked about,
    or nothing be found."""
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping) and not hasattr(given, "columns"):
        return given
    fix = one if isinstance(given, str) else None
    if hasattr(given, "columns"):
        fix = 'Give a column of it, as list(table["input"]), or two: list(zip(table["input"], table["output"])).'
    what = "one text" if isinstance(given, str) else f"of type {type(given).__name__}"
    raise UsageError(f"{name} is {what}, not a list of {of}.", fix=fix)


def first_line(error: Exception | None) -> str:
    """What a library says, for the inside of a sentence; the name of an error that says nothing."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
