"""`/healthz`, `/readyz` and `/metrics`: liveness, readiness and Prometheus metrics."""

from __future__ import annotations

import shutil
from datetime import datetime

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from pairsmith import __version__
from pairsmith.serve import metrics
from pairsmith.serve.access import Administrator, AnyOne
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.problems import Refusal
from pairsmith.serve.state import state_of
from pairsmith.serve.workspace import Workspace
from schemas.records import now

router = APIRouter(tags=["service"])
LEAST_FREE_BYTES = 2**30


class Health(BaseModel):
    """The process is alive."""

    status: str
    version: str


class Readiness(BaseModel):
    """The components that the service needs; all are true."""

    database: bool
    jobs: bool
    disk: bool


@router.get("/healthz", name="healthz")
async def healthz(caller: AnyOne) -> Health:
    """The process responds."""
    return Health(status="ok", version=__version__)


@router.get("/readyz", name="readyz")
def readyz(caller: AnyOne, request: Request) -> Readiness:
    """Database, queue and disk are usable; a 503 names those that are not."""
    state = state_of(request)
    ready = Readiness(
        database=_database_responds(state.engine),
        jobs=_queue_responds(state.jobs),
        disk=shutil.disk_usage(state.workspace.root).free > LEAST_FREE_BYTES,
    )
    unavailable = [name for name, fine in ready.model_dump().items() if not fine]
    if unavailable:
        raise Refusal(503, f"not ready: {', '.join(unavailable)}.", code="not_ready", retry_after_s=10)
    return ready


@router.get("/metrics", name="metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def read_metrics(caller: Administrator, request: Request) -> Response:
    """Prometheus metrics. Needs the key of an owner."""
    jobs = state_of(request).jobs.list(limit=1000)
    waiting = [job.created for job in jobs if job.state in ("queued", "waits_for_gpu")]
    last_signs = [job.last_sign_of_life or job.started for job in jobs if job.state in ("running", "stopping")]
    body = metrics.text(
        [(job.command, job.state) for job in jobs],
        oldest_s=_age_s(waiting),
        silence_s=_age_s([sign for sign in last_signs if sign]),
        streams=state_of(request).limits.running("streams"),
        stores=_store_bytes(state_of(request).workspace),
    )
    return Response(body, media_type="text/plain; version=0.0.4")


def _store_bytes(workspace: Workspace) -> dict[str, int]:
    paths = {slug: workspace.folder(slug) / "pairsmith.db" for slug in workspace.projects()}
    return {slug: path.stat().st_size for slug, path in paths.items() if path.is_file()}


def _database_responds(engine: sa.Engine) -> bool:
    try:
        with engine.connect() as connection:
            return bool(connection.scalar(sa.text("SELECT 1")))
    except sa.exc.SQLAlchemyError:
        return False


def _queue_responds(jobs: Jobs) -> bool:
    try:
        jobs.list(limit=1)
    except Exception:  # the library may raise anything if the database is unavailable
        return False
    return True


def _age_s(moments: list[datetime]) -> float:
    return max(0.0, (now() - min(moments)).total_seconds()) if moments else 0.0
