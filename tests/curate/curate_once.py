"""Curates the project in the given folder, in a separate process that a test can kill at a failpoint."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from curate.outcome import curate_project
from schemas.project import Project
from schemas.store import Store
from tests.curate import tiny

if __name__ == "__main__":
    project = Project(Path(sys.argv[1]), tiny.spec())
    with Store.open(Store.url_for(project)) as store:
        result = asyncio.run(curate_project(project, store, fingerprints=["now"]))
    print(result.counts.model_dump_json())
