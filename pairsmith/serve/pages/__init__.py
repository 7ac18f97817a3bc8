"""The HTML pages, rendered on the server.

Each page opens with a one-sentence summary, and its URL holds its whole state."""

from __future__ import annotations

from pairsmith.serve.pages import (
    account,
    evaluation,
    files,
    people,
    projects,
    prompts,
    review,
    rows,
    run,
    setup,
    shell,
    talk,
    training,
)

router = shell.page_router()
for part in (shell, projects, setup, run, rows, prompts, review, training, evaluation, talk, files, account, people):
    router.include_router(part.router)
