"""`pairsmith serve`."""

from __future__ import annotations

import gc
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pairsmith.commands.backup import backup, restore
from schemas import tracing
from schemas.errors import StoreError, UsageError, needing
from schemas.ports import listening

if TYPE_CHECKING:
    from pairsmith.serve.accounts import Accounts
    from pairsmith.serve.settings import Settings
    from pairsmith.serve.workspace import Workspace


class _Serving(click.Group):
    """`serve [WORKSPACE]`, or one of its subcommands: a workspace of such a name is written `./backup`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] and args[0] in self.commands else ["up", *args])


class _Up(click.Command):
    """What `serve` does where no subcommand is named, so its help does not name it."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("pairsmith serve", " ".join(self.collect_usage_pieces(ctx)))


@click.command(cls=_Up)
@click.argument("workspace", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8660, show_default=True, help="The port.")
@click.option("--no-auth", is_flag=True, help="Nobody signs in: for this machine alone.")
@click.option("--url", metavar="URL", help="The address at which people reach it, where a proxy stands before it.")
@click.option(
    "--database",
    "database_url",
    envvar="PAIRSMITH_SERVE_DATABASE",
    metavar="URL",
    help="A PostgreSQL for accounts, audit and jobs, best given in PAIRSMITH_SERVE_DATABASE; else files in .serve.",
)
@click.option("--json-logs", is_flag=True, envvar="PAIRSMITH_JSON_LOGS", help="Log requests and jobs as JSON lines.")
def up(
    workspace: Path, host: str, port: int, no_auth: bool, url: str | None, database_url: str | None, json_logs: bool
) -> None:
    """Serve a folder of projects: pages for people, an API for programs, jobs that survive the server.

    WORKSPACE holds a folder for each project; it is made if it is missing. The first start prints a link with which the
    first owner makes their account, within 15 minutes. `serve backup` and `serve restore` copy a workspace.
    """
    with needing("serve", "the service needs"):
        import uvicorn

        from pairsmith.serve import logs
        from pairsmith.serve.app import create_app
        from pairsmith.serve.settings import Settings
        from pairsmith.serve.workspace import Workspace
        from schemas.allocator import one_heap
    one_heap()
    with listening(host, port) as taken:
        settings = Settings(host, taken.getsockname()[1], no_auth, url, database_url)
        check_reach(settings)
        workspace.mkdir(parents=True, exist_ok=True)
        served = Workspace(workspace.resolve())
        with served.lock():  # for a moment: the jobs hold it as long as they are served
            app = create_app(served, settings)
            check_owner(settings, has_owner=app.state.accounts.has_owner())
        app.state.policy.allowed()
        logs.set_up(as_json=json_logs, names=lambda: app.state.policy.key_names)
        for line in _greeting(app.state.accounts, settings, served):
            click.echo(line, err=True)
        # Only what stands before it may say who somebody is.
        proxied = settings.url is not None
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
            server_header=False,
            proxy_headers=proxied,
            loop="asyncio",  # uvloop takes 5 MB, and no page is faster by it
        )

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                app.state.jobs.hub.end()  # else it waits for open streams, and cuts them
                await super().shutdown(sockets)

        server = Server(config)
        _modules_stay()
        with suppress(KeyboardInterrupt):  # it has ended in order, and passes the signal on
            server.run([taken])
        if not server.started:
            raise StoreError("the service could not be started.", fix="What is above says why.")
        click.echo("stopped; jobs go on, and the next server takes them up.", err=True)


def _modules_stay() -> None:
    """Leave what is imported out of the search for cycles, and seek oftener: Python waits for 70,000 objects, and for
    a quarter as many as there were, which is 6 MB of ended requests. What is left is soon looked through."""
    gc.collect()
    gc.freeze()
    gc.collect()  # counts what is left, by which it goes from now on
    gc.set_threshold(700, 10, 1)


def check_reach(settings: Settings) -> None:
    """Raises UsageError where others than this machine could come in without signing in."""
    if settings.no_auth and not settings.loopback:
        raise UsageError(
            f"--no-auth lets everybody in who reaches {settings.host}.",
            fix="Leave it out, or listen at 127.0.0.1.",
        )
    if settings.no_auth and settings.url:
        raise UsageError(
            "--no-auth and --url do not go together: a proxy lets others in.", fix="Leave one of them out."
        )
    if settings.url and not settings.url.startswith(("http://", "https://")):
        raise UsageError(f"--url {settings.url} is no address.", fix="Write it as https://HOST.")


def check_owner(settings: Settings, *, has_owner: bool) -> None:
    """Raises UsageError for an address that others reach while whoever comes first could make themselves the owner."""
    if not settings.loopback and not has_owner:
        raise UsageError(
            f"nobody owns this service yet, and others reach {settings.host}.",
            why="Whoever gets the first owner's link first would own it.",
            fix="Start it once without --host, open the link, and take a password.",
        )


def _greeting(accounts: Accounts, settings: Settings, workspace: Workspace) -> list[str]:
    from pairsmith.serve.accounts import FIRST_OWNER_MINUTES
    from schemas.wording import counted

    lines = [f"{counted(len(workspace.projects()), 'project', 'projects')} in {workspace.root}, at {settings.address}"]
    if hidden := workspace.hidden():
        names = ", ".join(ascii(name) for name in hidden)
        lines.append(f"Not shown, because no address can name them (rename the folders): {names}")
    lines += [why] if (why := tracing.why_not()) else []
    if settings.no_auth:
        return [*lines, "Nobody signs in (--no-auth): only this machine can reach it."]
    if not accounts.has_owner():
        token = accounts.first_owner_link()
        lines.append(f"Make the first account within {FIRST_OWNER_MINUTES} minutes:")
        lines.append(f"  {settings.address}/redeem?token={token}")
    return lines


command = _Serving("serve", commands={"up": up, "backup": backup, "restore": restore}, help=up.help)
