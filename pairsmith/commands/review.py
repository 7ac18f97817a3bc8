"""`pairsmith review`: the Argilla server, and the rows that are sent there and reviewed."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pairsmith.terminal.number_options import FiniteNumber, WholeNumber
from pairsmith.terminal.session import Session, on_project
from schemas.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from curate.argilla.server import ServerStatus
    from pairsmith.receipts.outcome import PullOutcome
    from schemas.project import Project


class _OrderedGroup(click.Group):
    """Lists its commands in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_OrderedGroup)
def command() -> None:
    """Manage human review in Argilla: run your own server, send rows, bring reviews back."""


@command.command(short_help="Start the server, or find the running one.")
@click.option(
    "--port", type=WholeNumber(1, 65535), metavar="N", help="The port; by default the last one used, 6900 at first."
)
@click.option(
    "--host",
    metavar="HOST",
    help="The address to bind; 0.0.0.0 admits other machines. By default the last one used, at "
    "first this machine only.",
)
@click.option(
    "--database-url",
    envvar="PAIRSMITH_ARGILLA_DATABASE_URL",
    metavar="URL",
    help="Your own PostgreSQL database, best set in PAIRSMITH_ARGILLA_DATABASE_URL; SQLite by default.",
)
@click.option(
    "--redis-url",
    envvar="PAIRSMITH_ARGILLA_REDIS_URL",
    metavar="URL",
    help="Your own Redis, best set in PAIRSMITH_ARGILLA_REDIS_URL; by default one is started.",
)
@on_project
def up(session: Session, port: int | None, host: str | None, database_url: str | None, redis_url: str | None) -> None:
    """Start your own Argilla server, or find the one that is already running.

    The first start creates an environment for it (1 to 3 minutes, 0.6 GB). It needs neither Docker nor Elasticsearch
    and keeps running in the background until `pairsmith review down`. One server serves all your projects.
    """
    from curate.argilla.launch import OWNER
    from curate.argilla.probe import UNENCRYPTED_WARNING
    from curate.argilla.server import default_home
    from curate.argilla.server import up as start
    from pairsmith.stages.review import require_client
    from pairsmith.terminal.screen import facts

    require_client()
    if (project := _project(session)) and (url := project.spec.review.url):
        raise UsageError(
            f"this project is reviewed on {url}, and a server started here would not be used.",
            fix="Remove review.url from the spec to use one, or start it in a folder without a project.",
        )
    if not ((home := default_home()) / "venv").is_dir():
        session.say(f"Installs a review server of your own in {home}, once: 0.6 GB, 1 to 3 minutes.")
    with session.progress() as progress:
        server = start(port=port, host=host, database_url=database_url, redis_url=redis_url, progress=progress)
    data = {
        "command": "review up",
        "url": server.url,
        "public_url": server.public_url,
        "version": server.version,
        "already_running": server.already_running,
        "username": OWNER,
        "credentials": str(server.credentials),
    }
    state = "is already running" if server.already_running else "is running"
    lines = [
        ("argilla", f"{server.version} {state} at {server.url}"),
        ("sign in", f"as {OWNER}; the password is in {server.credentials}"),
    ]
    if server.public_url:
        lines += [("others", f"open {server.public_url}"), ("", UNENCRYPTED_WARNING)]
    session.answer(data, facts(lines))


@command.command(short_help="Create accounts for reviewers.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@on_project
def invite(session: Session, names: tuple[str, ...]) -> None:
    """Let reviewers answer this project's rows.

    Creates an annotator account for each NAME and shows its password once. A reviewer who already has an account is
    added to the project and keeps the password.
    """
    from curate.argilla import people as accounts
    from pairsmith.stages import review
    from pairsmith.terminal.screen import facts

    with (
        session.progress() as progress,
        review.own_workspace(session.project(), progress, session.say_waiting) as connected,
    ):
        invited = accounts.invite(connected, names)
        returned = review.returned(session.project(), connected, invited.passwords)
    page, note = review.page(session.project(), invited.url)
    lines = [("page", page), *session.lines(note), *invited.passwords.items()]
    lines += [(name, "already has an account and keeps its password") for name in invited.let_in]
    lines += returned
    session.answer(
        {"command": "review invite", "url": page, "passwords": invited.passwords, "let_in": list(invited.let_in)}
        | {"returned": [name for name, _ in returned]},
        facts(lines),
    )
    if invited.problem:
        raise invited.problem


@command.command(short_help="Set a new password for a user.")
@click.argument("name")
@on_project
def password(session: Session, name: str) -> None:
    """Set a new password for the user NAME and show it once. The account and its reviews are kept."""
    from curate.argilla import people as accounts
    from curate.argilla.launch import OWNER, store_owner_password
    from curate.argilla.server import default_home
    from pairsmith.stages import review
    from pairsmith.terminal.screen import facts

    with session.progress() as progress, review.argilla(session.project(), progress, session.say) as connected:
        new = accounts.new_password(connected, name)
        if name == OWNER and session.project().spec.review.url is None:
            store_owner_password(default_home(), new)
    page, note = review.page(session.project(), connected.url)
    data = {"command": "review password", "url": page, "passwords": {name: new}}
    session.answer(data, facts([("page", page), *session.lines(note), (name, new)]))


@command.command(short_help="List the accounts.")
@on_project
def people(session: Session) -> None:
    """List everyone with an account on the server, and who of them may review this project's rows."""
    from curate.argilla import people as accounts
    from pairsmith.stages import review
    from pairsmith.terminal.screen import facts

    with (
        session.progress() as progress,
        review.own_workspace(session.project(), progress, session.say_waiting) as connected,
    ):
        everybody = accounts.people(connected)
    lines = [
        (one.name, f"{one.role}, since {one.since:%Y-%m-%d}" + ("" if one.here else ", not in this project"))
        for one in everybody
    ]
    data = [{"name": one.name, "role": one.role, "since": one.since.isoformat(), "here": one.here} for one in everybody]
    session.answer({"command": "review people", "people": data}, facts(lines))


@command.command(short_help="Send rows to reviewers.")
@click.option("--more", is_flag=True, help="Draw another batch even if there are enough reviews.")
@click.option("--take-over", is_flag=True, help="The project was moved here: its queues are this folder's from now on.")
@on_project
def push(session: Session, more: bool, take_over: bool) -> None:
    """Send the rows to review to Argilla, except those that are already there.

    Rows are drawn at random, each with a known probability, until the reviews show whether enough of the rows to train
    on are accepted.
    """
    from pairsmith.stages import review
    from pairsmith.stages.table import Audience
    from pairsmith.terminal import screen
    from schemas.wording import counted

    project = session.project()
    with session.store(project) as store, session.progress() as progress:
        pushed = review.push_rows(project, store, Audience(progress, session.say), more=more, take_over=take_over)
    withdrawn = f"; {pushed.withdrawn:,} withdrawn because they are no longer needed" if pushed.withdrawn else ""
    lines = [
        *session.lines(review.summary(pushed)),
        ("sent", f"{counted(pushed.sent, 'row', 'rows')}; {pushed.there:,} were already there{withdrawn}"),
    ]
    session.answer(
        {"command": "review push", **pushed.as_json()},
        screen.stage("review", pushed, [*lines, *review.where(project, pushed.url, pushed.queues, pushed.pages)]),
    )


@command.command(short_help="Fetch the reviews.")
@click.option("--watch", is_flag=True, help="Keep polling until Ctrl-C.")
@click.option(
    "--every",
    type=FiniteNumber(0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How often --watch polls.",
)
@on_project
def pull(session: Session, watch: bool, every: float) -> None:
    """Fetch all reviews into the store. Earlier reviews are kept; the next `pairsmith curate` takes the new ones into
    account."""
    from pairsmith.stages import review
    from pairsmith.stages.table import Audience
    from pairsmith.terminal import screen
    from schemas.wording import counted

    def show(pulled: PullOutcome) -> None:
        counts = (("new", pulled.new), ("changed", pulled.changed), ("withdrawn", pulled.withdrawn))
        brought = ", ".join(f"{count:,} {kind}" for kind, count in (*counts, ("edits", pulled.edits)))
        brought += f", {counted(pulled.discarded, 'row', 'rows')} discarded" if pulled.discarded else ""
        left_out = [
            ("", f"{count:,} {why}")
            for count, why in (
                (pulled.altered, "answers are not counted: the row's output was changed in Argilla"),
                (pulled.not_named, "answers are not counted: the reviewer is not listed in review.adjudicators"),
            )
            if count
        ]
        rest = session.lines(review.summary(pulled))
        session.show(screen.stage("review", pulled, [("answers", brought), *left_out, *rest]))

    project = session.project()
    with ExitStack() as opened:
        with session.progress() as progress:
            connected = opened.enter_context(review.own_workspace(project, progress, session.say_waiting))
            with session.store(project) as store:
                pulled = review.pull_answers(project, store, connected, Audience(progress, session.say))
        show(pulled)
        for pulled in review.watch(project, connected, every, say=session.say) if watch else ():
            session.show("")
            show(pulled)
    session.answer({"command": "review pull", **pulled.as_json()})


@command.command(short_help="Show the server, decided rows and agreement.")
@on_project
def status(session: Session) -> None:
    """Show the server and the state of this project's review: decided rows, acceptance rate, agreement between
    reviewers."""
    from curate.argilla.server import status as look
    from pairsmith.terminal.screen import facts as lines
    from schemas.store import Store

    project = _project(session)
    data: dict[str, Any] = {"command": "review status"}
    screen: list[RenderableType] = []
    if project and (url := project.spec.review.url):
        data["server"] = {"state": "elsewhere", "url": url}
        screen.append(lines([("server", f"elsewhere: {url}")]))
    else:
        server = look()
        described = {name: value for name, value in asdict(server).items() if name != "public_url"}
        data["server"] = described | {"credentials": server.credentials and str(server.credentials)}
        screen.append(_server_screen(session, server))
    if project and Store.exists(Store.url_for(project)):
        from pairsmith.review_status import read, shown

        with session.store(project, write=False) as store, session.progress() as progress:
            facts = read(project, store, session.say, progress)
        data |= {"task": project.spec.task.name, **facts}
        screen += ["", *shown(session, project, facts)]
    session.answer(data, *screen)


@command.command(short_help="Show the end of the server's logs.")
@click.option("--lines", default=20, show_default=True, type=WholeNumber(min=1), help="How many lines of each log.")
@on_project
def logs(session: Session, lines: int) -> None:
    """Show the last lines of the server's logs."""
    from rich.rule import Rule
    from rich.text import Text

    from curate.argilla.server import logs as read

    logs = read(lines=lines)
    parts: list[RenderableType] = []
    for name, ends in logs.items():
        parts += [Rule(name, style="dim"), Text("\n".join(ends) or "empty")]
    session.answer({"command": "review logs", "logs": logs}, *(parts or ["there are no logs yet"]))


@command.command(short_help="Stop the server and keep its data.")
@on_project
def down(session: Session) -> None:
    """Stop the server, its worker and its Redis. The data are kept."""
    from rich.markup import escape

    from curate.argilla.server import down as stop

    stopped = stop()
    again = f"stopped; the data are kept, and `{escape(session.command('review up'))}` starts it again"
    session.answer({"command": "review down", "stopped": stopped}, again if stopped else "no server was running")


@command.command(short_help="Back up the server's database, users and keys.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@on_project
def backup(session: Session, file: Path) -> None:
    """Back up to FILE, a .tar.gz, what only the server has: rows, users, reviews and keys. The server may be
    running."""
    from curate.argilla.backup import backup as copy

    size = copy(file)
    session.answer(
        {"command": "review backup", "file": str(file), "bytes": size},
        f"{file}: {size:,} bytes, readable only by you because it contains the server's keys",
    )


@command.command(short_help="Restore a backup into an empty home.")
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@on_project
def restore(session: Session, file: Path) -> None:
    """Restore a backup made by `review backup` into an empty home. Then start the server with `pairsmith review up`."""
    from rich.markup import escape

    from curate.argilla.backup import restore as put_back

    put_back(file)
    up = escape(session.command("review up"))
    session.answer({"command": "review restore", "file": str(file)}, f"restored; `{up}` starts it")


def _project(session: Session) -> Project | None:
    """The project, or None in a folder without one, unless --project names it."""
    from schemas.spec_file import SPEC_NAME

    return session.project() if session.folder != Path() or (session.folder / SPEC_NAME).exists() else None


def _server_screen(session: Session, server: ServerStatus) -> RenderableType:
    from curate.argilla.launch import OWNER
    from pairsmith.terminal.screen import facts
    from schemas.progress_line import clock

    if server.state == "absent":
        return facts([("server", f"not started here yet; `{session.command('review up')}` starts one")])
    head = f"{server.state}, argilla-server {server.version} on {server.database}" + (
        f": {server.reason}" if server.reason else ""
    )
    lines = [("server", head)]
    if server.state in ("running", "starting", "unhealthy"):
        for child in server.children:
            memory = f"{child.memory_mib:.0f} MiB" if child.memory_mib else "not running"
            again = f", restarted {child.restarts} times" if child.restarts else ""
            lines.append(("", f"{child.name}: {memory}{again}"))
        since = f"for {clock(time.time() - server.started_at)}" if server.started_at else ""
        lines += [
            ("page", f"{server.url} {since}"),
            ("sign in", f"as {OWNER}; the password is in {server.credentials}"),
        ]
    return facts(lines)
