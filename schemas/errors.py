"""The exceptions shown to users, each with its exit code.

The tree::

    PairsmithError            1   base class; never raised itself for a user's mistake
     +-- UsageError           2   the command line asks for something impossible
     +-- SpecError            3   pairsmith.toml is wrong: a key, a value or a file
     +-- InputError           4   a seed file, a column or a row cannot be read
     |    +-- PromptError     4   a prompt template is wrong or is missing a variable
     +-- TeacherError         5   an endpoint cannot be used
     |    +-- AuthError       5   it rejects the key
     |    +-- Unreachable     5   nothing answers at its address
     +-- StoreError           6   the project's store cannot be used
     |    +-- StoreBusy       6   another process is writing to it
     |    +-- StoreFull       6   its disk is full
     +-- MissingDependency    7   an optional package or the weights cannot be obtained
     +-- NoWork               8   a step had work and did none (0 rows, 0 tokens, no unmasked token)
     |    +-- Uncertified     8   every remaining row waits for review or a certificate
     +-- RowCountMismatch     9   rows in != accepted + rejected + waiting + failed
     +-- ReviewError         10   the review server cannot be created, started, reached or used
     +-- BudgetReached       12   the spending cap is reached; received answers are kept
     +-- NotLicensed         16   rows have a license or terms that the spec does not allow to be exported
     +-- Interrupted        130   Ctrl-C; finished work is kept

A message has up to four parts, in this order: what is wrong, where, why it matters, what to do. No exception caused by
a user's mistake is outside this tree: the command line prints it and exits with its code.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from numbers import Real
from typing import Any

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # codes of OSError


class PairsmithError(Exception):
    """An error that a user can act on.

    `what` starts in lower case, because it follows `error:` or `where`. `where` names the file, line, key or row. `why`
    explains what would go wrong if the error were ignored. `fix` says what to do. Every part but `what` is optional,
    but `fix` should rarely be omitted. If one of the two follows, `what` gets a full stop if it has none, as many
    messages of libraries have none that are quoted at its end.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, fix: str | None = None) -> None:
        if (why or fix) and (what[-1:].isalnum() or what.endswith((")", "]", "'", '"'))):
            what += "."
        self.what, self.where, self.why, self.fix = what, where, why, fix
        head = f"{where}: {what}" if where else what
        super().__init__(" ".join(part for part in (head, why, fix) if part))

    def reword(self, change: Callable[[str], str]) -> None:
        """Apply `change` to what, why and fix, in place."""
        what, why, fix = (part and change(part) for part in (self.what, self.why, self.fix))
        PairsmithError.__init__(self, what or "", where=self.where, why=why, fix=fix)


class UsageError(PairsmithError):
    """The command line asks for something impossible."""

    exit_code = 2


class SpecError(PairsmithError):
    """`pairsmith.toml` cannot be used: an unknown key, a wrong value, or a problem with a file it names."""

    exit_code = 3


class InputError(PairsmithError):
    """A file of seeds, exemplars or rows cannot be read as requested."""

    exit_code = 4


class PromptError(InputError):
    """A prompt template is malformed, or the variables do not match those it declares."""


class TeacherError(PairsmithError):
    """A teacher's endpoint cannot be used."""

    exit_code = 5


class AuthError(TeacherError):
    """The endpoint rejects the key (HTTP 401 or 403), or the environment variable for the key is not set."""


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
    """A package of an optional extra is not installed, or weights cannot be fetched."""

    exit_code = 7


@contextmanager
def needing(extra: str, who: str) -> Iterator[None]:
    """Wrap imports of packages from an optional extra. Raises MissingDependency if one is not installed; `who` begins
    the message, as in "the service needs"."""
    try:
        yield
    except ModuleNotFoundError as missing:
        fix = f"Install it: pip install 'pairsmith[{extra}]'"
        raise MissingDependency(f"{who} the package {missing.name}.", fix=fix) from None


def require_packages(packages: Sequence[str], extra: str, who: str) -> None:
    """Raise MissingDependency if any of these packages of an extra is not installed, without importing them; `who`
    begins the message, as in "training needs"."""
    if missing := [package for package in packages if find_spec(package) is None]:
        raise MissingDependency(f"{who} {', '.join(missing)}.", fix=f"Install them: pip install 'pairsmith[{extra}]'")


class NoWork(PairsmithError):
    """A step that had work did none, so it must not be reported as a success."""

    exit_code = 8


class Uncertified(NoWork):
    """Every remaining row waits for review or for the certificate that the spec requires."""


class RowCountMismatch(PairsmithError):
    """The rows in are not accepted + rejected + waiting + failed. This is a defect of pairsmith and is always
    reported."""

    exit_code = 9


class ReviewError(PairsmithError):
    """The Argilla server for human review cannot be created, started, reached or used."""

    exit_code = 10


class BudgetReached(PairsmithError):
    """The next request, of at most `request_usd`, could cost more than the budget leaves. The run ended cleanly and
    every answer is kept."""

    exit_code = 12
    request_usd: float | None = None


class NotLicensed(PairsmithError):
    """Rows have a license or teacher terms that `[export]` does not allow to be exported."""

    exit_code = 16


class Interrupted(PairsmithError):
    """Stopped by a signal; the message says whether anything was kept."""

    exit_code = 130


def usage_error_from(errors: Sequence[Any], *, where: str | None = None, fix: str | None = None) -> UsageError:
    """A UsageError for the first of pydantic's `errors`. `where` replaces the error's own location."""
    from schemas.expected import expected  # not for --help

    first = errors[0]
    place = ".".join(map(str, first["loc"])) if where is None else where
    return UsageError(f"{expected(first, 'a dict')}.", where=place or None, fix=fix)


def several(given: Any, name: str, of: str = "texts", one: str = "Write [text].") -> Any:
    """Return `given` if it is a list or another iterable of `of`.

    Raises UsageError for a single text, which would be iterated character by character (`one` says what to do), and for
    a dict or a table, which would yield its keys or column names. Either would silently give wrong results or none.
    """
    is_table = hasattr(type(given), "columns")
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping) and not is_table:
        return given.to_pylist() if hasattr(given, "to_pylist") else given  # pyarrow's arrays yield objects of its own
    fix = one if isinstance(given, str) else None
    first, value = next(iter(given.items()), ("", "")) if isinstance(given, Mapping) else ("", "")
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):  # a DatasetDict, or columns by their names
        fix = f"Pass one of its values, such as {name}[{first!r}]."
    if is_table:
        fix = 'Pass one column, list(table["input"]), or two: list(zip(table["input"], table["output"])).'
    what = "one text" if isinstance(given, str) else f"of type {type(given).__name__}"
    raise UsageError(f"{name} is {what}, not a list of {of}.", fix=fix)


def several_texts(given: Any, name: str) -> tuple[str, ...]:
    """`several` texts. Raises UsageError for one that is something else."""
    texts = tuple(several(given, name))
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            what = "missing" if is_missing(text) else f"of type {type(text).__name__}, not a text"
            raise UsageError(f"{name}: text {number} is {what}.", fix="Leave it out, or pass a text.")
    return texts


def checked_text(given: Any, name: str) -> str:
    """Return `given` if it is a text, otherwise raise UsageError."""
    if not isinstance(given, str):
        raise UsageError(f"{name} = {given!r:.80} is of type {type(given).__name__}, not a text.")
    return given


def is_missing(cell: object) -> bool:
    """Whether a value is what data frames have for an empty cell: None, NaN, or NA and NaT of pandas."""
    if isinstance(cell, Real):
        return bool(cell != cell)
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")


def first_line(error: Exception | None) -> str:
    """The first line of a library's error message, to quote inside a message; the class name if the message is
    empty."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
