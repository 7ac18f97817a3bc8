"""What a stage is. The module of each says at its end what it does and how its outcome is shown (`STAGE`): its command
is made from that, and `pairsmith run` goes through them. A stage needs no command line:

    outcome = stage("curate").run(project, store)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from pairsmith.outcome import Came
from pairsmith.stopping import Stopping
from schemas.errors import UsageError
from schemas.progress import Progress, Say, unheard, unseen
from schemas.project import Project

if TYPE_CHECKING:
    from rich.console import RenderableType

    from schemas.store import Store

Lines = list[tuple[str, str]]


class Audience(NamedTuple):
    """Who follows a stage while it runs: its progress, its lines for a person, and the wish to stop it."""

    progress: Progress = unseen
    say: Say = unheard
    stop: Stopping | None = None


NO_AUDIENCE = Audience()


class Numeric(NamedTuple):
    """A number from `least` on, and below `end`; whole where its `default` is."""

    default: float
    least: float
    end: float | None = None

    def check(self, name: str, value: Any) -> float:
        """The number, numpy's as Python's own. Raises UsageError for what a command line would not take."""
        kind, end = type(self.default), math.inf if self.end is None else self.end
        is_one = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        if not (is_one and self.least <= value < end):
            below = "" if self.end is None else f" and below {self.end}"
            number = "a whole number" if kind is int else "a number"
            raise UsageError(f"{name} = {value!r}: it is {number} from {self.least} on{below}.")
        return kind(value)


class Option(NamedTuple):
    """An option of a stage's command, passed to `run` by its name: a switch, a path, a number, or any number of some
    words."""

    flag: str
    takes: type[bool] | type[Path] | tuple[str, ...] | Numeric
    help: str


@dataclass(frozen=True)
class Stage(Generic[Came]):
    """`do(project, store, audience, **options)` does the stage; `summary` is what there is to say beside
    the counts (None: they are not shown), `shown` what its own command shows after that. `help` is that of the
    command."""

    name: str
    do: Callable[..., Came]
    help: str
    summary: Callable[[Came], Lines] | None = lambda outcome: []
    shown: Callable[[Project, Came], Sequence[RenderableType]] = lambda project, outcome: ()
    options: tuple[Option, ...] = ()
    asks: bool = False
    """Whether it may ask a teacher for money."""
    code: Callable[[Came], int] = lambda outcome: 0
    """The exit code of its command where it worked."""

    def run(
        self,
        project: Project,
        store: Store,
        *,
        progress: Progress = unseen,
        say: Say = unheard,
        stop: Stopping | None = None,
        **options: Any,
    ) -> Came:
        """`do`, for who has no audience ready."""
        return self.do(project, store, Audience(progress, say, stop), **options)


def stage(name: str) -> Stage[Any]:
    """The stage of that name. Only its own module is imported: `pairsmith train` needs nothing of curation."""
    row: Stage[Any] = import_module(f"{__package__}.{name.replace('-', '_')}").STAGE
    return row
