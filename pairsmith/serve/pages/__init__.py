"""The pages: drawn by the server, each a sentence and what it rests on, each URL a complete state."""

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
