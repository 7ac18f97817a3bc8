"""`pairsmith jobs`."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pairsmith.failures import WriteJson, harmless
from schemas.errors import UsageError, misused, needing

if TYPE_CHECKING:
    from pairsmith.serve.job import Job
    from pairsmith.serve.jobs import Jobs

_FOLLOW_EVERY_S = 0.5


class Desk(NamedTuple):
    """The jobs of a workspace, and how the command answers."""

    jobs: Jobs
    write_json: WriteJson | None

    def job(self, beginning: str) -> Job:
        """The job whose id begins so. Raises NoSuchJob, and UsageError where there are several."""
        there = self.jobs.beginning(beginning)
        if len(there) > 1:
            raise UsageError(f"{len(there)} jobs begin with '{beginning}'.", fix="Give more of the id.")
        return there[0] if there else self.jobs.get(beginning)

    def answer(self, job: Job) -> None:
        if self.write_json:
            self.write_json({"job": job.model_dump(mode="json")})
        else:
            _show(job)


def on_workspace(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that name a workspace, and pass its jobs as the first argument."""

    @click.option("--workspace", type=click.Path(path_type=Path), show_default="this folder", help="Its folder.")
    @click.option(
        "--database",
        envvar="PAIRSMITH_SERVE_DATABASE",
        metavar="URL",
        help="The PostgreSQL that `serve --database` names, best given in PAIRSMITH_SERVE_DATABASE.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object on stdout and nothing else.")
    @click.pass_context
    @wraps(body)
    def run(
        context: click.Context, /, workspace: Path | None, database: str | None, as_json: bool, **options: Any
    ) -> Any:
        if context.invoked_subcommand:
            return None  # the subcommand opens the workspace, or tells its options
        above = context.parent.params if context.parent else {}  # `jobs --workspace DIR show ID` says it once
        root = (workspace or above.get("workspace") or Path()).resolve()
        database, as_json = database or above.get("database"), as_json or above.get("as_json", False)
        with needing("serve", "jobs need"):
            from pairsmith.serve.jobs import Jobs
            from pairsmith.serve.workspace import Workspace
        if not (root / ".serve").is_dir():
            raise UsageError(
                "no server has worked on this workspace yet.", where=str(root), fix="Start one: pairsmith serve"
            )
        jobs = Jobs(Workspace(root), database_url=database)
        try:
            return body(Desk(jobs, context.obj[0] if as_json else None), **options)
        finally:
            jobs.close()

    return run


@click.group(invoke_without_command=True)
@click.option("--project", help="Only those of this project.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, newest first.")
@on_workspace
def command(desk: Desk, project: str | None, limit: int) -> None:
    """The jobs of a workspace, with a server or without one: what waits, runs and has ended.

    Without a subcommand it lists them. A job is named by the first characters of its id.
    """
    listed = desk.jobs.list(project, limit)
    if desk.write_json:
        desk.write_json({"jobs": [job.model_dump(mode="json", exclude={"answer"}) for job in listed]})
        return
    if not listed:
        click.echo("No jobs.")
    for job in listed:
        when = f"{job.created:%Y-%m-%d %H:%M}"
        click.echo(harmless(f"{job.id[:12]}  {when}  {job.project}  {job.command}  {_words(job)}"))


@command.command()
@click.argument("job")
@on_workspace
def show(desk: Desk, job: str) -> None:
    """How far a job is, or how it ended."""
    desk.answer(desk.job(job))


@command.command(short_help="Put a job into the queue.")
@click.argument("project")
@click.argument("what")
@click.option("--max-usd", "cap_usd", type=float, metavar="USD", help="Stop in order before it has spent more.")
@click.option("--retry-failed", is_flag=True, help="Ask again for rows whose answers were all unusable.")
@click.option("--no-review", is_flag=True, help="Go on without people.")
@on_workspace
def start(desk: Desk, project: str, what: str, **options: Any) -> None:
    """Put a job into the queue: WHAT is run, generate, curate, review-push, review-pull, certify, train, train-reward,
    evaluate, export, preview or forecast. It runs as soon as a server does, under what the server allows."""
    from pydantic import ValidationError

    from pairsmith.serve.job import JobOptions

    try:
        asked = JobOptions(**options)
    except ValidationError as error:
        raise misused(error.errors(), fix="See `pairsmith jobs start --help`.") from None
    job = desk.jobs.start(project, what, asked, getpass.getuser())
    if not desk.write_json and not desk.jobs.is_served():
        click.echo("No server runs on this workspace: the job waits for one.", err=True)
    desk.answer(job)


@command.command()
@click.argument("job")
@on_workspace
def cancel(desk: Desk, job: str) -> None:
    """Stop a job: what it has finished is kept. A second time does no more than the first."""
    desk.answer(desk.jobs.cancel(desk.job(job).id))


@command.command()
@click.argument("job")
@click.option("--follow", is_flag=True, help="Go on until the job has ended.")
@on_workspace
def log(desk: Desk, job: str, follow: bool) -> None:
    """What a job has said. Of a long log the middle is dropped."""
    job_id, begin = desk.job(job).id, 0
    if desk.write_json:
        desk.write_json({"log": desk.jobs.log(job_id).decode(errors="replace")})
        return
    while True:
        last = not follow or desk.jobs.get(job_id).has_ended  # asked first: what is said meanwhile is not missed
        lines = desk.jobs.log(job_id, begin)
        begin += len(lines)
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
        if last:
            return
        time.sleep(_FOLLOW_EVERY_S)


def _show(job: Job) -> None:
    from pairsmith.screen import facts
    from pairsmith.session import put

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
    """The state in words, with the place in the queue, how far it is, or why it failed."""
    words = job.state.replace("_", " ")
    if job.position:
        words += f" ({job.position}. in the queue{', ' + job.note if job.note else ''})"
    elif job.state == "running" and job.progress:
        numbers = job.progress["numbers"]
        total = f" of {numbers['total']:,}" if "total" in numbers else ""
        words += f" ({job.stage} {numbers.get('done', 0):,}{total})"
    elif job.problem:
        words += f": {job.problem['what']}"
    elif job.note:
        words += f": {job.note}"
    return words
