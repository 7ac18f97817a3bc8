"""The commands by name. A command's module is imported only when that command runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

import click
from click.shell_completion import CompletionItem, FishComplete, add_completion_class

from pairsmith import __version__
from pairsmith.terminal.failures import exit_code_of, json_on_stdout, reopen_closed_streams
from pairsmith.terminal.stopping import listening
from pairsmith.terminal.watching import NOBODY, Invocation, Watcher
from schemas.cores import limit_spin_waits
from schemas.errors import PairsmithError, UsageError

# Name, help section, and the line shown by `pairsmith --help`. They are listed here so that help need not import any
# command.
COMMANDS = (
    ("init", "Getting started", "Create a project: a spec, seeds and a detected teacher."),
    ("doctor", "Getting started", "Check this machine and this project, and say how to fix problems."),
    ("teacher", "Getting started", "Run a vLLM server on this machine until Ctrl-C."),
    ("models", "Getting started", "List base models and show which fit on this machine."),
    ("forecast", "Getting started", "Try a few seeds to estimate the cost and yield of all of them."),
    ("preview", "Getting started", "Compare old and new outputs after a prompt edit."),
    ("run", "Pipeline", "Run every stage that is not done yet, then write the report."),
    ("generate", "Pipeline", "Turn seeds into pairs by asking the teacher."),
    ("curate", "Pipeline", "Build the accepted dataset: gates, duplicates, scores."),
    ("review", "Pipeline", "Human review in Argilla: up, push, pull, status and more."),
    ("train-reward", "Pipeline", "Train a reward model on the project's own preferences."),
    ("certify", "Pipeline", "Certify rows that need no review, with a guaranteed precision."),
    ("train", "Pipeline", "Fine-tune the small model on the accepted pairs."),
    ("evaluate", "Pipeline", "Measure the tuned model on the locked test split."),
    ("export", "Pipeline", "Copy dataset, model and report into one folder."),
    ("jobs", "Collaboration", "List, start and cancel jobs of a workspace; read their logs."),
    ("serve", "Collaboration", "Serve a folder of projects: web pages, an API and a job queue."),
    ("try", "Model", "Ask the base and the tuned model side by side."),
    ("serve-model", "Model", "Serve the tuned model through an OpenAI-compatible API."),
    ("registry", "Model", "Manage released versions: aliases, rollback, push to a hub."),
    ("status", "Inspect", "Show what is in the store and what `run` would do next."),
    ("rows", "Inspect", "List rows with their state and the reason for it."),
    ("explain", "Inspect", "Show the lineage of one pair."),
    ("report", "Inspect", "Write the report, or render it again from an evidence file."),
    ("replay", "Inspect", "Rebuild one pair from its records, offline, and compare."),
    ("erase", "Inspect", "Erase a source or a reviewer from the project for good."),
    ("docs", "Inspect", "Show a page of the manual."),
)
# Commands generated from the table of stages.
_STAGES = ("forecast", "preview", "generate", "train-reward", "certify", "train", "evaluate", "export")


_NON_BREAKING_HYPHEN = "\u2011"  # a non-breaking hyphen


class _HelpFormatter(click.HelpFormatter):
    """Help that never breaks a line inside a hyphenated name such as `image-prompts`."""

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, text.replace("-", _NON_BREAKING_HYPHEN)) for name, text in rows], col_max, col_spacing)

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _NON_BREAKING_HYPHEN))

    def write(self, string: str) -> None:
        super().write(string.replace(_NON_BREAKING_HYPHEN, "-"))


class _Context(click.Context):
    formatter_class = _HelpFormatter


class _WholeHelpInFish(FishComplete):
    """Click's script for fish cuts a help text off at its first comma."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


add_completion_class(_WholeHelpInFish)


def _with_help_formatter(command: click.Command) -> click.Command:
    """Use `_HelpFormatter` for the command and, recursively, its subcommands. Returns the command."""
    command.context_class = _Context
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _with_help_formatter(inner)
    return command


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports a command only when it is looked up."""

    context_class = _Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, _, _ in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name in _STAGES:
            from pairsmith.commands.stage import command_of

            return _with_help_formatter(command_of(cmd_name))
        command: click.Command = import_module(f"pairsmith.commands.{cmd_name.replace('-', '_')}").command
        return _with_help_formatter(command)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        commands = [CompletionItem(name, help=line) for name, _, line in COMMANDS if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:  # a shell is completing a word when this is set
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
    epilog="Commands that work on a project accept --project DIR, --set KEY=VALUE and --json. The manual: pairsmith "
    "docs; exit codes: pairsmith docs cli.",
)
@click.version_option(__version__, prog_name="pairsmith", message="%(prog)s %(version)s")
def group() -> None:
    """From a few seed prompts to a small fine-tuned model, and the proof that it is better."""


def start(arguments: Iterable[str] | None = None, watcher: Watcher = NOBODY) -> int:
    """Run one command and return its exit code. Only a defect of pairsmith shows a traceback."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    limit_spin_waits()
    reopen_closed_streams()
    with json_on_stdout("--json" in args) as write_json, listening() as stopping:
        invocation = Invocation(write_json, stopping, watcher, [])
        try:
            _refuse_undecodable(args)
            done = group.main(args=args, prog_name="pairsmith", standalone_mode=False, obj=invocation)
        except BaseException as error:
            # An interrupt in the middle of a destructor, for example, may end in another error of Python's own.
            is_stop = stopping.raised and not isinstance(error, PairsmithError | click.ClickException)
            return exit_code_of(
                KeyboardInterrupt() if is_stop else error, write_json, watcher.answer, invocation.warnings
            )
    return done if isinstance(done, int) else 0


def _refuse_undecodable(arguments: Iterable[str]) -> None:
    """Raise UsageError for an argument that is not valid UTF-8: no spec, receipt or prompt could store it."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"the argument {argument!a} is not UTF-8.",
                fix="Rename the file. If your terminal shows its name correctly, set LC_ALL=C.UTF-8 instead.",
            ) from None
