"""`pairsmith serve`."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from pairsmith.commands.backup import backup, restore
from pairsmith.terminal.number_options import WholeNumber
from pairsmith.terminal.stopping import detach_from_terminal, end_at_once
from schemas import tracing
from schemas.errors import StoreError, UsageError, needing
from schemas.ports import listening

if TYPE_CHECKING:
    import uvicorn

    from pairsmith.serve.accounts import Accounts
    from pairsmith.serve.events import Hub
    from pairsmith.serve.settings import Settings
    from pairsmith.serve.workspace import Workspace


_JOBS_KEPT = "jobs keep running, and the next server takes them over"


class _Serving(click.Group):
    """`serve [WORKSPACE]`, or one of its subcommands. A workspace with the name of a subcommand is written as
    `./backup`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] and args[0] in self.commands else ["up", *args])


class _Up(click.Command):
    """The default command of `serve`. Usage lines and errors name it `pairsmith serve`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        serve = parent or click.Context(self)
        return super().make_context(serve.info_name, args, serve.parent, **extra)


@click.command(cls=_Up)
@click.argument("workspace", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--host", metavar="HOST", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=WholeNumber(0, 65535), default=8660, show_default=True, help="The port to listen on.")
@click.option("--no-auth", is_flag=True, help="Turn off sign-in; allowed only on this machine.")
@click.option("--url", metavar="URL", help="The public address, if the service is behind a proxy.")
@click.option(
    "--database",
    "database_url",
    envvar="PAIRSMITH_SERVE_DATABASE",
    metavar="URL",
    help="A PostgreSQL database for accounts, audit and jobs, best set in PAIRSMITH_SERVE_DATABASE; by default files "
    "in .serve.",
)
@click.option("--json-logs", is_flag=True, envvar="PAIRSMITH_JSON_LOGS", help="Log requests and jobs as JSON lines.")
def up(
    workspace: Path, host: str, port: int, no_auth: bool, url: str | None, database_url: str | None, json_logs: bool
) -> None:
    """Serve a folder of projects: web pages, an API, and jobs that survive a restart of the server.

    WORKSPACE holds one folder per project and is created if it is missing. The first start prints a link, valid for 15
    minutes, with which the first owner creates an account. `serve backup` and `serve restore` back up a workspace and
    restore it.
    """
    with needing("serve", "the service needs"):
        import uvicorn

        from pairsmith.serve import logs
        from pairsmith.serve.app import create_app
        from pairsmith.serve.settings import Settings
        from pairsmith.serve.workspace import Workspace
        from schemas.allocator import use_single_heap
    use_single_heap()
    with listening(host, port) as server_socket:
        settings = Settings(host, server_socket.getsockname()[1], no_auth, url, database_url)
        check_reach(settings)
        try:
            workspace.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:  # where nothing can be created, such as /proc
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(workspace)) from None
        served_workspace = Workspace(workspace.resolve())
        with served_workspace.lock():  # only briefly: the jobs hold the lock as long as they are served
            app = create_app(served_workspace, settings)
            check_owner(settings, has_owner=app.state.accounts.has_owner())
        app.state.policy.allowed()
        logs.set_up(as_json=json_logs, names=lambda: app.state.policy.key_names)
        for line in _greeting(app.state.accounts, settings, served_workspace):
            click.echo(line, err=True)
        # Trust forwarded client addresses only from a proxy.
        proxied = settings.url is not None
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
            server_header=False,
            proxy_headers=proxied,
            loop="asyncio",  # uvloop takes 5 MB and makes no page faster
        )

        server = _server(config, app.state.jobs.hub)
        _freeze_modules()
        with suppress(KeyboardInterrupt):  # the server has shut down cleanly and re-raises the signal
            server.run([server_socket])
        if not server.started:
            raise StoreError("the service could not be started.", fix="See the messages above.")
        click.echo(f"stopped; {_JOBS_KEPT}.", err=True)


def _server(config: uvicorn.Config, hub: Hub) -> uvicorn.Server:
    """A server that ends the streams of `hub` when it stops, also on SIGHUP, and ends at once on a second signal."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit:
                end_at_once(_JOBS_KEPT)
            super().handle_exit(sig, frame)

        def hang_up(self, sig: int, frame: FrameType | None) -> None:
            detach_from_terminal()
            self.should_exit = True

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            hub.end()  # otherwise uvicorn waits for open streams, then cuts them
            await super().shutdown(sockets)

    server = Server(config)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.hang_up)
    return server


def _freeze_modules() -> None:
    """Exclude imported modules from garbage collection, and collect more often.

    By default Python waits for 70,000 objects, and for a quarter of the number that existed, which is 6 MB of finished
    requests. With the modules frozen, a full collection is cheap.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # recounts the remaining objects, on which the next collections are based
    gc.set_threshold(700, 10, 1)


def check_reach(settings: Settings) -> None:
    """Raise UsageError if other machines could connect without signing in, or the public address cannot work."""
    if settings.no_auth and not settings.loopback:
        raise UsageError(
            f"--no-auth admits everyone who can reach {settings.host}.",
            fix="Leave it out, or listen on 127.0.0.1.",
        )
    if settings.no_auth and settings.url:
        raise UsageError(
            "--no-auth cannot be combined with --url: a proxy admits other machines.", fix="Leave one of them out."
        )
    if settings.url:
        _check_address(settings.url)


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_address = url.startswith(("http://", "https://")) and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that cannot be
        is_address = False
    if not is_address:
        raise UsageError(f"--url {url} is not an address.", fix="Write it as https://HOST.")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(
            f"--url {url} has a path.",
            why="Links and redirects of the pages begin at the root of a host, so none of them would work.",
            fix="Give the service a host name, or a port, of its own: --url https://HOST.",
        )


def check_owner(settings: Settings, *, has_owner: bool) -> None:
    """Raise UsageError for an address that other machines can reach while there is no owner: anyone could become the
    owner."""
    if not settings.loopback and not has_owner:
        raise UsageError(
            f"this service has no owner yet, and other machines can reach {settings.host}.",
            why="Anyone who gets hold of the first owner's link could become its owner.",
            fix="Start it once without --host, open the link, and set a password.",
        )


def _greeting(accounts: Accounts, settings: Settings, workspace: Workspace) -> list[str]:
    from pairsmith.serve.accounts import FIRST_OWNER_MINUTES
    from schemas.wording import counted

    lines = [f"{counted(len(workspace.projects()), 'project', 'projects')} in {workspace.root}, at {settings.address}"]
    if hidden := workspace.hidden():
        names = ", ".join(ascii(name) for name in hidden)
        lines.append(f"Not shown, because their names cannot be part of an address (rename the folders): {names}")
    lines += [why] if (why := tracing.why_not()) else []
    if settings.no_auth:
        return [*lines, "Sign-in is off (--no-auth): only this machine can reach it."]
    if not accounts.has_owner():
        token = accounts.first_owner_link()
        lines.append(f"Create the first account within {FIRST_OWNER_MINUTES} minutes:")
        lines.append(f"  {settings.address}/redeem?token={token}")
    return lines


command = _Serving("serve", commands={"up": up, "backup": backup, "restore": restore}, help=up.help)
