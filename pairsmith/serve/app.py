"""The application: pages, API and OpenAI-compatible API for one workspace, in one process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pairsmith import __version__
from pairsmith.serve import api, openai, pages, problems
from pairsmith.serve.access import AnyOne
from pairsmith.serve.accounts import Accounts
from pairsmith.serve.audit import Audit
from pairsmith.serve.database import open_database
from pairsmith.serve.edge import Edge
from pairsmith.serve.idempotency import Idempotency
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.keys import Keys
from pairsmith.serve.limits import Limits
from pairsmith.serve.pages.shell import on_http_exception, page_of
from pairsmith.serve.policy import Policy
from pairsmith.serve.rows_view import RowsView
from pairsmith.serve.sessions import Sessions
from pairsmith.serve.settings import Settings
from pairsmith.serve.talking import TunedModelServer
from pairsmith.serve.workspace import Workspace
from schemas.errors import PairsmithError
from schemas.main_thread import accepting_on_loop

OPENAPI = "/api/v1/openapi.json"


def create_app(workspace: Workspace, settings: Settings = Settings()) -> FastAPI:  # noqa: B008  Settings is frozen
    """The application for a workspace. Jobs start with its lifespan; until then it only answers requests."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        with accepting_on_loop():  # for `schemas.time_limit`
            async with app.state.jobs.serving(), app.state.talking.serving():
                yield

    app = FastAPI(
        title="pairsmith",
        version=__version__,
        description="Datasets from seed prompts, human review, training, and proof of improvement, over HTTP.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=running,
        # We emit our own, which reveal less: FastAPI's contain URLs with their query, and error messages.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        responses=problems.RESPONSES,
        generate_unique_id_function=attrgetter("name"),
    )
    state = app.state
    state.workspace, state.settings = workspace, settings
    state.engine = open_database(workspace.serve, settings.database_url)
    state.accounts = Accounts(state.engine)
    state.sessions, state.keys, state.audit = Sessions(state.accounts), Keys(state.accounts), Audit(state.engine)
    state.limits = Limits()
    state.policy = Policy(state.engine, trusts_this_machine=settings.no_auth)
    state.jobs = Jobs(workspace, environment=state.policy.environment, database_url=settings.database_url)
    state.views, state.talking = RowsView(workspace), TunedModelServer(workspace)
    state.readers = state.views.readers
    app.include_router(api.router)
    app.include_router(openai.router)
    app.include_router(pages.router)
    app.add_exception_handler(PairsmithError, problems.on_pairsmith_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, problems.on_invalid_request)
    app.add_middleware(Idempotency, state=state)
    app.add_middleware(Edge, settings=settings, state=state, page=page_of)

    @app.get(OPENAPI, name="openapi", include_in_schema=False)
    def openapi(caller: AnyOne, request: Request) -> Response:
        return Response(json.dumps(schema_of(app)), media_type="application/json")

    return app


def schema_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI schema, including the schema of problem responses."""
    schema = app.openapi()
    model = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.setdefault("components", {}).setdefault("schemas", {})
    parts.update(model.pop("$defs"))
    parts["Problem"] = model
    return schema
