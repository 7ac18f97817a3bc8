"""`/api/v1`: the resources, one file a subject."""

from __future__ import annotations

from fastapi import APIRouter

from pairsmith.serve.api import people, service

router = APIRouter()
for part in (service, people):
    router.include_router(part.router)
