"""`pairsmith jobs`."""

from __future__ import annotations

import getpass
import shlex
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pairsmith.terminal.failures import WriteJson, escape_controls
from pairsmith.terminal.number_options import FiniteNumber, WholeNumber
from pairsmith.terminal.session import json_option
from pairsmith.terminal.watching import Invocation
from schemas.errors import PairsmithError, UsageError, needing, usage_error_from

if TYPE_CHECKING:
    from pairsmith.serve.job import Job
    from pairsmith.serve.jobs import Jobs

_FOLLOW_EVERY_S = 0.5


class JobsSession(NamedTuple):
    """The jobs of a workspace, and how the command prints its result."""

    jobs: Jobs
    write_json: WriteJson | None

    def job(self, prefix: str) -> Job:
        """The job whose id starts with `prefix`. Raises NoSuchJob for none, UsageError for several."""
        matches = self.jobs.find_by_prefix(prefix)
        if len(matches) > 1:
            raise UsageError(
                f"{len(matches)} jobs have an id that starts with '{prefix}'.", fix="Type more characters of the id."
            )
        return matches[0] if matches else self.jobs.get(prefix)

    def answer(self, job: Job) -> None:
        if self.write_json:
            self.write_json({"job": job.model_dump(mode="json")})
        else:
            _show(job)


def on_workspace(body: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select a workspace to a command, and pass its jobs as the first argument."""

    @click.option(
        "--workspace",
        type=click.Path(path_type=Path),
        metavar="DIR",
        show_default="this folder",
        help="The workspace folder.",
    )
    @click.option(
        "--database",
        envvar="PAIRSMITH_SERVE_DATABASE",
        metavar="URL",
        help="The PostgreSQL database given to `serve --database`; best set in PAIRSMITH_SERVE_DATABASE.",
    )
    @json_option
    @click.pass_context
    @wraps(body)
    def run(
        context: click.Context, /, workspace: Path | None, database: str | None, as_json: bool, **options: Any
    ) -> Any:
        if context.invoked_subcommand:
            return None  # the subcommand opens the workspace or shows its own help
        # `jobs --workspace DIR show ID` gives the options to the group only
        group_options = context.parent.params if context.parent else {}
        root = (workspace or group_options.get("workspace") or Path()).resolve()
        database, as_json = database or group_options.get("database"), as_json or group_options.get("as_json", False)
        with needing("serve", "jobs need"):
            from pairsmith.serve.jobs import Jobs
            from pairsmith.serve.workspace import Workspace
        if not (root / ".serve").is_dir():
            raise UsageError(
                "no server has used this workspace yet.",
                where=str(root),
                fix=f"Start one: `{shlex.join(['pairsmith', 'serve', str(root)])}`",
            )
        jobs = Jobs(Workspace(root), database_url=database)
        invocation: Invocation = context.obj
        try:
            return body(JobsSession(jobs, invocation.write_json if as_json else None), **options)
        except PairsmithError as error:
            here = "" if root == Path.cwd() else f" {shlex.join(['--workspace', str(root)])}"
            error.reword(lambda sentence: sentence.replace("`pairsmith jobs", f"`pairsmith jobs{here}"))
            raise
        finally:
            jobs.close()

    return run


@click.group(invoke_without_command=True)
@click.option("--project", metavar="NAME", help="Only jobs of this project.")
@click.option(
    "--limit",
    type=WholeNumber(1, 10_000),
    default=20,
    show_default=True,
    help="How many jobs to list, newest first.",
)
@on_workspace
def command(session: JobsSession, project: str | None, limit: int) -> None:
    """List the jobs of a workspace: waiting, running and finished. No server is needed.

    Subcommands show, start, cancel and follow single jobs. Name a job by the first characters of its id.
    """
    jobs = session.jobs.list(project, limit)
    if session.write_json:
        session.write_json({"jobs": [job.model_dump(mode="json", exclude={"answer"}) for job in jobs]})
        return
    if not jobs:
        click.echo("No jobs.")
    for job in jobs:
        when = f"{job.created:%Y-%m-%d %H:%M}"
        click.echo(escape_controls(f"{job.id[:12]}  {when}  {job.project}  {job.command}  {_words(job)}"))


@command.command()
@click.argument("job")
@on_workspace
def show(session: JobsSession, job: str) -> None:
    """Show the progress of a job, or how it ended."""
    session.answer(session.job(job))


@command.command(short_help="Queue a job.")
@click.argument("project")
@click.argument("what")
@click.option(
    "--max-usd",
    "cap_usd",
    type=FiniteNumber(0, min_open=True),
    metavar="USD",
    help="Stop cleanly before the job spends more than this.",
)
@click.option("--retry-failed", is_flag=True, help="Ask again for rows that got no usable answer.")
@click.option("--no-review", is_flag=True, help="Continue without human review.")
@on_workspace
def start(session: JobsSession, project: str, what: str, **options: Any) -> None:
    """Queue a job for PROJECT.

    WHAT is run, generate, curate, review-push, review-pull, certify, train, train-reward, evaluate, export,
    preview or forecast. The job starts as soon as a server is running and its limits allow it.
    """
    from pydantic import ValidationError

    from pairsmith.serve.job import JobOptions

    try:
        job_options = JobOptions(**options)
    except ValidationError as error:
        raise usage_error_from(error.errors(), fix="See `pairsmith jobs start --help`.") from None
    job = session.jobs.start(project, what, job_options, getpass.getuser())
    if not session.write_json and not session.jobs.is_served():
        click.echo("No server is running on this workspace; the job waits for one.", err=True)
    session.answer(job)


@command.command()
@click.argument("job")
@on_workspace
def cancel(session: JobsSession, job: str) -> None:
    """Stop a job. Finished work is kept. Cancelling twice has no further effect."""
    session.answer(session.jobs.cancel(session.job(job).id))


@command.command()
@click.argument("job")
@click.option("--follow", is_flag=True, help="Keep printing until the job has ended.")
@on_workspace
def log(session: JobsSession, job: str, follow: bool) -> None:
    """Print the log of a job. The middle of a long log is dropped."""
    job_id, begin = session.job(job).id, 0
    if session.write_json:
        session.write_json({"log": session.jobs.log(job_id).decode(errors="replace")})
        return
    while True:
        # asked first, so that lines written in the meantime are not missed
        is_last = not follow or session.jobs.get(job_id).has_ended
        lines = session.jobs.log(job_id, begin)
        begin += len(lines)
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
        if is_last:
            return
        time.sleep(_FOLLOW_EVERY_S)


def _show(job: Job) -> None:
    from pairsmith.terminal.screen import facts
    from pairsmith.terminal.session import put

    rows = [("job", job.id), ("project", job.project), ("command", job.command), ("by", job.by)]
    rows += [("state", _words(job)), ("since", f"{job.started or job.created:%Y-%m-%d %H:%M:%S} UTC")]
    rows += [
        (name, str((job.problem or {})[name]))
        for name in ("what", "where", "why", "fix")
        if name in (job.problem or {})
    ]
    rows += [("continues", job.continues)] if job.continues else []
    put(facts(rows))


def _words(job: Job) -> str:
    """The state in words, with the position in the queue, the progress, or the reason of the failure."""
    words = job.state.replace("_", " ")
    if job.position:
        words += f" (number {job.position} in the queue{', ' + job.note if job.note else ''})"
    elif job.state == "running" and job.progress:
        numbers = job.progress["numbers"]
        total = f" of {numbers['total']:,}" if "total" in numbers else ""
        words += f" ({job.stage} {numbers.get('done', 0):,}{total})"
    elif job.problem:
        words += f": {job.problem['what']}"
    elif job.note:
        words += f": {job.note}"
    return words
