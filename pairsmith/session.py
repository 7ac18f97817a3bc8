"""The session of a command: its project, its overrides, and how it answers, a person on a screen or a program in
JSON."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairsmith.failures import WriteJson, harmless
from pairsmith.stopping import Stopping
from pairsmith.watching import NOBODY, Watcher
from schemas.errors import Interrupted
from schemas.progress import Progress
from schemas.progress_line import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from schemas.project import Project
    from schemas.store import Store


@dataclass(frozen=True)
class Session:
    """One run of one command."""

    folder: Path
    overrides: tuple[str, ...]
    write_json: WriteJson | None
    stopping: Stopping
    watcher: Watcher = NOBODY

    def project(self) -> Project:
        """The checked spec of the folder. Raises SpecError."""
        from schemas.spec_file import load

        project = load(self.folder, self.overrides)
        for notice in project.notices:
            self.say(notice)
        return project

    @contextmanager
    def store(self, project: Project, *, write: bool = True, max_usd: float | None = None) -> Iterator[Store]:
        """The project's store; as a writer it holds the store's lock for the block, and what is spent through it is
        under the project's cap and this command's, `max_usd`. Raises StoreError, also if the folder goes meanwhile, and
        Interrupted where a signal ends what writes to it."""
        from pairsmith.folder_watch import still_there
        from schemas.allocator import give_back_early
        from schemas.store import Store

        give_back_early()
        watched = still_there(project.folder, self.stopping) if write else nullcontext()
        try:
            with watched, Store.open(Store.url_for(project), write=write) as store:
                cap = project.spec.budget.max_usd
                yield store.capped(project_usd=cap, command_usd=max_usd) if write else store
        except KeyboardInterrupt:
            if not write:
                raise
            again = "Run the same command again: it goes on from there."
            raise Interrupted("everything finished is in the store.", fix=again) from None

    def command(self, words: str) -> str:
        """The command line that does `words` to this project, typed where this one was: same folder, same overrides,
        `***` for a key or password in one."""
        return f"{shlex.join(['pairsmith', *words.split()])}{self._place}"

    def copied(self, sentence: str) -> str:
        """A sentence of a stage whose commands can be copied from where this one was typed."""
        return _SUGGESTED.sub(lambda of: f"`{of[1]}{self._place}`", sentence)

    @property
    def _place(self) -> str:
        more = [] if self.folder == Path() else ["--project", str(self.folder)]
        more += [word for override in self.overrides for word in ("--set", _without_secrets(override))]
        return f" {shlex.join(more)}" if more else ""

    def progress(self) -> AbstractContextManager[Progress]:
        """The callback for long work; silent with --json, but for who watches."""
        return shown(silent=self.write_json is not None, watcher=self.watcher.progress)

    def say(self, line: str) -> None:
        """A line for the person on stderr, broken between words where a terminal would break it within one; nothing
        with --json."""
        if self.write_json is None:
            click.echo(_in_width(harmless(line)) if sys.stderr.isatty() else harmless(line), err=True)

    def answer(self, data: dict[str, Any], *screen: RenderableType) -> None:
        """The command's result: `data` as the one JSON object, or `screen` on stdout."""
        self.watcher.answer(data)
        if self.write_json:
            self.write_json(data)
        else:
            self.show(*screen)

    def show(self, *screen: RenderableType) -> None:
        """Put `screen` on stdout for a person; nothing with --json."""
        if self.write_json is None:
            put(*screen)


_SUGGESTED = re.compile(r"`(pairsmith (?!docs|init|jobs|models|serve )[a-z](?:(?! --project | --set )[^`])*)`")
# What is copied from a screen: a command of ours with its options, as `shlex` quotes them, or a word.
_COPIED = re.compile(r"\S*pairsmith(?: [a-z-]+)+(?: --\S+(?: (?!-)(?:'[^']*'|[^\s'])+)?)+|\S+")


def _without_secrets(text: str) -> str:
    from curate.gates.personal import personal

    for secret in [piece for kind, piece in personal(text) if kind == "secret"]:
        text = text.replace(secret, "***")
    return text


def _in_width(text: str) -> str:
    """Lines as wide as the terminal at most; a word that is longer, such as an address, stays whole."""
    width = shutil.get_terminal_size().columns
    wrapper = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)
    return "\n".join(wrapper.fill(line) if len(line) > width else line for line in text.split("\n"))


def put(*screen: RenderableType) -> None:
    """Put `screen` on stdout for a person, without orders to the terminal. Sentences are broken between words on a
    terminal, unless an address or a command in one is longer than a line; in a pipe they are not broken."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    out = Console(highlight=False, width=None if terminal else 110)
    with out.capture() as captured:
        for part in screen:
            whole = isinstance(part, str) and (
                not terminal or max(map(len, _COPIED.findall(part)), default=0) > out.width
            )
            out.print(part, soft_wrap=whole)
    # Tables fill their last column with blanks, which a terminal hides and a file keeps.
    click.echo("\n".join(line.rstrip() for line in harmless(captured.get()).split("\n")), nl=False)


class FiniteNumber(click.FloatRange):
    """A finite number in a range: `nan` compares with nothing, so it would pass every bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


max_usd_option = click.option(
    "--max-usd",
    type=FiniteNumber(min=0, min_open=True),
    metavar="USD",
    help="Stop in order before this command has spent more on teachers.",
)


def on_project(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the three options that all on a project have, and pass them as its first argument, a Session."""

    @click.option(
        "--project",
        "folder",
        type=click.Path(path_type=Path),
        default=Path(),
        show_default="this folder",
        metavar="DIR",
        help="The folder of pairsmith.toml.",
    )
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key of the spec, as in train.epochs=2; repeatable.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object on stdout and nothing else.")
    @click.pass_obj
    @wraps(body)
    def run(
        process: tuple[WriteJson | None, Stopping, Watcher],
        /,
        folder: Path,
        overrides: tuple[str, ...],
        as_json: bool,
        **options: Any,
    ) -> Any:
        write_json, stopping, watcher = process
        return body(Session(folder, overrides, write_json if as_json else None, stopping, watcher), **options)

    return run
