"""`/v1`: the part of OpenAI's API with which any OpenAI client can start a training and chat with the tuned model."""

from __future__ import annotations

from fastapi import APIRouter

from pairsmith.serve.openai import chat, files, tuning

router = APIRouter()
for part in (files, tuning, chat):
    router.include_router(part.router)
