"""A job server without pages: `python -m bench.service.jobs_server WORKSPACE [DATABASE_URL]`, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from pairsmith.serve.jobs import Jobs
from pairsmith.serve.workspace import Workspace
from schemas.project import Project


def environment(project: Project) -> dict[str, str]:
    """This process's environment, with the project's failpoint if it has one. The failpoint is read once, so the next
    process survives."""
    variables, asked = dict(os.environ), project.folder / "failpoint"
    if asked.exists():
        variables["PAIRSMITH_FAILPOINT"] = asked.read_text()
        asked.unlink()
    return variables


async def serve(root: Path, database_url: str | None) -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    async with Jobs(Workspace(root), environment=environment, database_url=database_url).serving():
        print("serving", flush=True)
        await ending.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
