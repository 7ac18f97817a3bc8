"""The session of a command: its project, its overrides, and how it prints results, for a terminal or as JSON."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairsmith.terminal.failures import WriteJson, discard_output, escape_controls
from pairsmith.terminal.stopping import Stopping
from pairsmith.terminal.watching import NOBODY, Invocation, Watcher
from pairsmith.terminal.wrapping import QUOTED, wrapped
from schemas.errors import Interrupted, PairsmithError
from schemas.progress import Progress
from schemas.progress_line import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from schemas.project import Project
    from schemas.store import Store

WARNING = "warning: "

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")


@dataclass(frozen=True)
class Session:
    """One invocation of one command."""

    folder: Path
    overrides: tuple[str, ...]
    write_json: WriteJson | None
    stopping: Stopping
    watcher: Watcher = NOBODY
    waited_for: list[str] = field(default_factory=list)
    """What this command waited for, a store that another one held or a server: `waited_for` with --json."""
    warnings: list[str] = field(default_factory=list)
    """What this command warned of: `warnings` with --json."""

    def project(self) -> Project:
        """The checked spec of the folder. Raises SpecError."""
        from schemas.spec_file import load

        project = load(self.folder, self.overrides)
        for notice in project.notices:
            self.say(notice)
        return project

    @contextmanager
    def store(self, project: Project, *, write: bool = True, max_usd: float | None = None) -> Iterator[Store]:
        """The project's store.

        A writer holds the store's lock for the block, and its spending is limited by the project's cap and by
        `max_usd`, the cap of this command. Raises StoreError, also if the project folder disappears meanwhile, and
        Interrupted if a signal ends a writer.
        """
        from schemas.allocator import return_large_arrays_early
        from schemas.store import Store

        return_large_arrays_early()
        watched: AbstractContextManager[object] = nullcontext()
        if write:
            from pairsmith.terminal.folder_watch import stop_if_folder_disappears

            watched = stop_if_folder_disappears(project.folder, self.stopping)
        try:
            with watched, Store.open(Store.url_for(project), write=write, say=self.say_waiting) as store:
                cap = project.spec.budget.max_usd
                yield store.capped(project_usd=cap, command_usd=max_usd) if write else store
        except KeyboardInterrupt:
            if not write:
                raise
            again = "Run the same command again to continue."
            raise Interrupted("everything finished is in the store.", fix=again) from None

    def command(self, words: str) -> str:
        """The command line that runs `words` on this project from where this command was typed: same folder, same
        overrides. Keys and passwords in overrides are replaced by `***`."""
        return f"{shlex.join(['pairsmith', *words.split()])}{self._project_options}"

    def with_project_options(self, sentence: str) -> str:
        """`sentence` with this session's --project and --set options added to each command in backquotes, so that it
        can be copied. Without change for a watcher, which may be on another machine and knows the project."""
        options = self._project_options if self.watcher is NOBODY else ""

        def completed(match: re.Match[str]) -> str:
            words, more = match.groups()
            is_complete = " --project " in more or options in more
            return match[0] if is_complete else f"`{words}{options}{more}`"

        return _SUGGESTED_COMMAND.sub(completed, sentence)

    def lines(self, rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Names and values for `facts`, with the options of this project in the commands of the values."""
        return [(name, self.with_project_options(value)) for name, value in rows]

    @property
    def _project_options(self) -> str:
        more = [] if self.folder == Path() else ["--project", str(self.folder)]
        more += [word for override in self.overrides for word in ("--set", _without_secrets(override))]
        return f" {shlex.join(more)}" if more else ""

    def progress(self) -> AbstractContextManager[Progress]:
        """The progress callback for long work. With --json nothing is shown, but a watcher still gets it."""
        return shown(silent=self.write_json is not None, watcher=self.watcher.progress)

    def say_waiting(self, line: str) -> None:
        """`say` why the store cannot be opened yet, or that a server is away."""
        self.waited_for.append(line)
        self.say(line)

    def say(self, line: str) -> None:
        """Print a line to stderr; with --json, a warning is kept for the answer and anything else is dropped. On a
        terminal, long lines are wrapped between words."""
        text = escape_controls(self.with_project_options(line))
        if text.startswith(WARNING):
            self.warnings.append(text.removeprefix(WARNING))
        if self.write_json is None:
            click.echo(wrapped(text) if sys.stderr.isatty() else text, err=True)

    def answer(self, data: dict[str, Any], *screen: RenderableType) -> None:
        """Print the result of the command: `data` as the one JSON object, or `screen` on stdout."""
        notes = {"waited_for": self.waited_for, "warnings": self.warnings}
        data = data | {name: lines for name, lines in notes.items() if lines}
        self.watcher.answer(data)
        if self.write_json:
            self.write_json(data)
        else:
            self.show(*screen)

    def show(self, *screen: RenderableType) -> None:
        """Print `screen` to stdout; nothing with --json."""
        if self.write_json is None:
            put(*screen)


# A command that takes the options of a project: its words, and its own options.
_PART = rf"(?:{QUOTED}|[^`'\"])"
_SUGGESTED_COMMAND = re.compile(
    rf"`(pairsmith (?!(?:docs|init|jobs|models|serve)\b(?!-))[a-z]{_PART}*?)((?: --(?= |\w){_PART}*)?)`"
)


def _without_secrets(text: str) -> str:
    from curate.gates.personal import personal

    for secret in [piece for kind, piece in personal(text) if kind == "secret"]:
        text = text.replace(secret, "***")
    return text


def put(*screen: RenderableType) -> None:
    """Print `screen` to stdout with terminal control sequences escaped. On a terminal, text is wrapped as by
    `line_breaks`. In a pipe it is not wrapped."""
    from rich.console import Console

    from pairsmith.terminal.screen import Columns

    terminal = sys.stdout.isatty()
    out = Console(highlight=False, emoji=False, width=None if terminal else 110)
    with out.capture() as captured:
        for part in screen:
            if isinstance(part, str) and terminal:
                out.print(Columns([[part]]), crop=False)
            else:
                out.print(part, soft_wrap=isinstance(part, str), crop=False)
    # Tables pad their last column with spaces, which are invisible on a terminal but stay in a file.
    escaped = escape_controls(captured.get(), colours=out.color_system is not None)
    text = "\n".join(line.rstrip() for line in escaped.split("\n"))
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:  # the reader, such as `head`, has gone; the work goes on, and the exit code is its own
        discard_output(1)


class Folder(click.Path):
    """The path of a folder. An empty one, as of a shell variable that is not set, would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name of the folder is empty (is a variable of the shell not set?).", param, ctx)
        return super().convert(value, param, ctx)


def on_project(body: Callable[..., Any]) -> Callable[..., Any]:
    """Add the three options that every project command has, and pass them as a Session in the first argument."""

    @click.option(
        "--project",
        "folder",
        type=Folder(path_type=Path),
        default=Path(),
        show_default="this folder",
        metavar="DIR",
        help="The folder that contains pairsmith.toml.",
    )
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a key of the spec, for example train.epochs=2; repeatable.",
    )
    @json_option
    @click.pass_obj
    @wraps(body)
    def run(
        invocation: Invocation,
        /,
        folder: Path,
        overrides: tuple[str, ...],
        as_json: bool,
        **options: Any,
    ) -> Any:
        write_json, stopping, watcher, warnings = invocation
        session = Session(folder, overrides, write_json if as_json else None, stopping, watcher, warnings=warnings)
        try:
            return body(session, **options)
        except PairsmithError as error:
            error.reword(session.with_project_options)
            raise

    return run
