"""Talking to the result: one text, answered by the tuned model and by its base."""

from __future__ import annotations

from typing import Any

from pairsmith.serve.pages.figures import Snapshot
from pairsmith.serve.pages.shell import page_router

router = page_router()


def talk_context(now: Snapshot) -> dict[str, Any]:
    """What the form hangs on: the tuned model, if there is one."""
    return {"model": None}
