"""The commands by name. A command's module is imported only when that command runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

import click

from pairsmith import __version__
from pairsmith.failures import exit_code_of, json_on_stdout, nothing_closed
from pairsmith.stopping import listening
from pairsmith.watching import NOBODY, Watcher
from schemas.cores import wait_shortly
from schemas.errors import UsageError

# Name, section of the help, and the line that `pairsmith --help` shows, so that help imports no command.
COMMANDS = (
    ("init", "Begin", "Make a project: a spec and seeds, for the teacher that is found."),
    ("doctor", "Begin", "Say what works on this machine and in this project."),
    ("teacher", "Begin", "Start a vLLM on this machine, for as long as it is wanted."),
    ("models", "Begin", "Base models by size, licence and memory, and which fit here."),
    ("forecast", "Begin", "Try a few seeds: what all of them will cost and give."),
    ("preview", "Begin", "A few seeds through an edited prompt, old and new side by side."),
    ("run", "The pipeline", "Do every stage that is not done yet, then write the report."),
    ("generate", "The pipeline", "Ask the teacher: seeds to pairs."),
    ("curate", "The pipeline", "Gates, duplicates, scores: pairs to an accepted dataset."),
    ("review", "The pipeline", "People's answers in Argilla: up, push, pull, status and more."),
    ("train-reward", "The pipeline", "Fit a reward model on what people and gates prefer here."),
    ("certify", "The pipeline", "Name rows that need no person, and promise how good."),
    ("train", "The pipeline", "Tune the small model on the accepted pairs."),
    ("evaluate", "The pipeline", "Measure it on the locked test split, beside its base."),
    ("export", "The pipeline", "Write dataset, adapter and report into a folder of their own."),
    ("jobs", "Together", "What waits, runs and has ended in a workspace; stop it, read its log."),
    ("serve", "Together", "Serve a folder of projects: pages, an API, jobs for people."),
    ("try", "The model", "Ask the base and the tuned model, side by side."),
    ("serve-model", "The model", "Serve the tuned model as OpenAI's chat completions."),
    ("registry", "The model", "Released versions, aliases, rollback, push to a hub."),
    ("status", "Look", "What is in the store, and what `run` would do next."),
    ("rows", "Look", "List rows with what became of them, and why."),
    ("explain", "Look", "Show the lineage of one pair."),
    ("report", "Look", "Write the report, or render an evidence file again."),
    ("replay", "Look", "Make one pair again from its records, offline."),
    ("erase", "Look", "Take a source or a person out of the project, for good."),
    ("docs", "Look", "Show a page of the manual."),
)
# These are made from the table of stages.
_STAGES = ("forecast", "preview", "generate", "train-reward", "certify", "train", "evaluate", "export")


_WHOLE = "\u2011"  # a hyphen at which no line is broken


class _Help(click.HelpFormatter):
    """Help in which no line ends inside of a name: `image-prompts` in two lines reads as two."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, says.replace("-", _WHOLE)) for name, says in rows], col_max, col_spacing)

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _WHOLE))

    def write(self, string: str) -> None:
        super().write(string.replace(_WHOLE, "-"))


class _Context(click.Context):
    formatter_class = _Help


def _helped(command: click.Command) -> click.Command:
    """A command, and those that it leads to, with such a help."""
    command.context_class = _Context
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _helped(inner)
    return command


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is asked for."""

    context_class = _Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, _, _ in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name in _STAGES:
            from pairsmith.commands.stage import command_of

            return _helped(command_of(cmd_name))
        command: click.Command = import_module(f"pairsmith.commands.{cmd_name.replace('-', '_')}").command
        return _helped(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:  # as while a shell completes a word
            import difflib

            if near := difflib.get_close_matches(args[0], names, n=1):
                ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(section for _, section, _ in COMMANDS):
            with formatter.section(section):
                formatter.write_dl([(name, line) for name, at, line in COMMANDS if at == section])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A command on a project takes --project DIR, --set KEY=VALUE and --json. Exit codes: pairsmith docs cli.",
)
@click.version_option(__version__, prog_name="pairsmith", message="%(prog)s %(version)s")
def group() -> None:
    """From a few seed prompts to a small fine-tuned model, and the proof that it is better."""


def start(arguments: Iterable[str] | None = None, watcher: Watcher = NOBODY) -> int:
    """Run one command and return its exit code. Nothing but a defect of pairsmith shows a traceback."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    wait_shortly()
    nothing_closed()
    with json_on_stdout("--json" in args) as write_json, listening() as stopping:
        process = (write_json, stopping, watcher)
        try:
            _refuse_no_text(args)
            done = group.main(args=args, prog_name="pairsmith", standalone_mode=False, obj=process)
        except BaseException as error:
            return exit_code_of(error, write_json, watcher.answer)
    return done if isinstance(done, int) else 0


def _refuse_no_text(arguments: Iterable[str]) -> None:
    """Raises UsageError for an argument with bytes that are no text: no spec, receipt or prompt could hold it."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"the argument {argument!a} is not UTF-8.",
                fix="Rename the file that it names; if your terminal shows it as it should be, set LC_ALL=C.UTF-8.",
            ) from None
