"""`python -m tests.serve.serving JOBS MODELS WORDS` runs `pairsmith WORDS`, with jobs and models forked by the tests'
fork servers at these addresses (see `tests.pairsmith.forked`)."""

from __future__ import annotations

import sys
from functools import partial

from pairsmith.cli import main
from pairsmith.serve import process
from synth.embedded import process as embedded_process
from tests.pairsmith.forked import in_its_place

if __name__ == "__main__":
    jobs, models = sys.argv[1:3]
    del sys.argv[1:3]
    process.child_command = partial(in_its_place, jobs)
    embedded_process.child_command = partial(in_its_place, models)
    sys.exit(main())
