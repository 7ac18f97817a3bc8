"""`/v1`: the part of OpenAI's API with which any of its clients can start our trainer and talk to the result."""

from __future__ import annotations

from fastapi import APIRouter

from pairsmith.serve.openai import chat, files, tuning

router = APIRouter()
for part in (files, tuning, chat):
    router.include_router(part.router)
