"""`/api/v1`: the REST resources, one module per subject."""

from __future__ import annotations

from fastapi import APIRouter

from pairsmith.serve.api import jobs, people, projects, prompts, results, rows, seeds, service, specs, teachers

router = APIRouter()
for part in (service, people, projects, specs, seeds, prompts, teachers, jobs, rows, results):
    router.include_router(part.router)
