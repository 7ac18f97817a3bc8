"""What a stage is. The module of each stage ends with its description, `STAGE`, which says what it does and how its
outcome is shown. The stage's command is built from it, and `pairsmith run` runs the stages. A stage works without a
command line:

    outcome = stage("curate").do(project, store)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from pairsmith.receipts.outcome import OutcomeT
from pairsmith.terminal.stopping import Stopping
from schemas.errors import UsageError
from schemas.progress import Progress, Say, discard_message, unseen
from schemas.project import Project

if TYPE_CHECKING:
    from rich.console import RenderableType


Lines = list[tuple[str, str]]


class Audience(NamedTuple):
    """Who follows a running stage: its progress callback, its messages, and the way to stop it. `is_watched`: somebody
    also wants to see during generation how many pairs pass the gates."""

    progress: Progress = unseen
    say: Say = discard_message
    stop: Stopping | None = None
    is_watched: bool = False


NO_AUDIENCE = Audience()


class Numeric(NamedTuple):
    """A number of at least `least` and below `end`; an integer if its `default` is one."""

    default: float
    least: float
    end: float | None = None

    def check(self, name: str, value: Any) -> float:
        """The number as a Python int or float. Raises UsageError for values that the command line would not accept."""
        kind, end = type(self.default), math.inf if self.end is None else self.end
        is_one = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        if not (is_one and self.least <= value < end):
            below = "" if self.end is None else f" and below {self.end}"
            number = "a whole number" if kind is int else "a number"
            raise UsageError(f"{name} = {value!r}: it must be {number} of at least {self.least}{below}.")
        return kind(value)


class Option(NamedTuple):
    """An option of a stage's command, passed to `do` by its name: a switch, a path, a number, or any number of given
    words."""

    flag: str
    takes: type[bool] | type[Path] | tuple[str, ...] | Numeric
    help: str


@dataclass(frozen=True)
class Stage(Generic[OutcomeT]):
    """One stage. `do(project, store, audience, **options)` runs it. `summary` gives the lines shown after the counts
    (None: counts are not shown), and `shown` what its own command prints after that. `help` is the help text of the
    command."""

    name: str
    do: Callable[..., OutcomeT]
    help: str
    summary: Callable[[OutcomeT], Lines] | None = lambda outcome: []
    shown: Callable[[Project, OutcomeT], Sequence[RenderableType]] = lambda project, outcome: ()
    options: tuple[Option, ...] = ()
    asks: bool = False
    """Whether it may ask a teacher for money."""
    code: Callable[[OutcomeT], int] = lambda outcome: 0
    """The exit code of its command after success."""


def stage(name: str) -> Stage[Any]:
    """The stage with that name. Only its own module is imported: `pairsmith train` needs nothing from curation."""
    row: Stage[Any] = import_module(f"{__package__}.{name.replace('-', '_')}").STAGE
    return row
