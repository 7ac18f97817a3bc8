"""Every operation of the schema, with bodies and parameters that fit it and that do not, as people of every role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from schemathesis import openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from pairsmith.serve.app import OPENAPI, schema_of
from tests.serve.people import MINE, ORIGIN, Service, staffed, unlimited

EXAMPLES = 3
# They stream for ever, or end what the others need.
LEFT_OUT = {"/api/v1/events", "/api/v1/sign-out", "/api/v1/projects/{project}", "/api/v1/users/{user}"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return staffed(tmp_path_factory.mktemp("space"))


@pytest.fixture
def schema(service: Service) -> Any:
    async def without_jobs(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await service.app(scope, receive, send)
            return
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    loaded = openapi.from_dict(schema_of(service.app))
    loaded.app, loaded.location = without_jobs, OPENAPI
    return loaded


def test_the_schema_is_served_and_describes_every_route(service: Service) -> None:
    """Anybody reads it; each operation has a name of its own, which the client's functions have as well."""
    served = service.anonymous().get(OPENAPI).json()
    assert served == schema_of(service.app)
    names = [operation["operationId"] for path in served["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) > 60


@pytest.mark.parametrize("name", ["owner", "editor", "reviewer", "viewer", "stranger", "nobody"])
def test_no_request_makes_the_server_fail_or_answer_what_is_not_written(
    service: Service, schema: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """0 server errors and 0 undocumented statuses or bodies, whoever asks."""
    unlimited(monkeypatch)
    headers = {} if name == "nobody" else {"Authorization": service.program(name).headers["Authorization"]}
    tried = 0
    for operation in _operations(schema):
        strategy = operation.as_strategy()

        @settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], derandomize=True, database=None,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @_given(strategy)
        def ask(case: Any) -> None:
            nonlocal tried
            tried += 1
            if "project" in (case.path_parameters or {}):
                case.path_parameters["project"] = MINE
            response = case.call(base_url=ORIGIN, headers=headers)
            case.validate_response(
                response, checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
            )

        ask()
    print(f"{name}: {tried} requests, 0 server errors, 0 undocumented statuses")
    assert tried > 100


def _given(strategy: Any) -> Any:
    from hypothesis import given

    return given(case=strategy)


def _operations(schema: Any) -> Iterator[Any]:
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path not in LEFT_OUT:
            yield operation


def test_the_client_is_what_the_schema_says(service: Service) -> None:
    """`pairsmith/client.py` is written from the schema by a script, and nobody edited it since."""
    from pairsmith.serve.write_client import client_of

    written = Path(__file__).parents[2] / "pairsmith" / "client.py"
    assert written.read_text() == client_of(schema_of(service.app))
