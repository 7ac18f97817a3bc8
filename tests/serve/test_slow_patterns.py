"""Regular expressions and schemas of users that would take exponential time cannot hold up the service."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.serve.served import Served

PROMPT = """+++
about = "x"
[variables]
input = "the text"
[schema]
type = "object"
{schema}
+++
=== user ===
{{{{ input }}}}
"""
SLOW = f"a = {{type = 'string', maxLength = 99, enum = ['{'a' * 60}'], pattern = '(a+)+b'}}"


def _doubling(depth: int) -> str:
    names = [f"d{n}" for n in range(depth)]
    twice = (
        f"{one} = {{allOf = [{{'$ref' = '#/$defs/{of}'}}, {{'$ref' = '#/$defs/{of}'}}]}}" for one, of in pairwise(names)
    )
    return "\n".join(
        (
            "[schema.properties]",
            "a = {'$ref' = '#/$defs/d0'}",
            "[schema.'$defs']",
            *twice,
            f"{names[-1]} = {{type = 'null'}}",
        )
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root: Path = tmp_path_factory.mktemp("workspace")
    with Served(root) as server:
        server.ask("/api/v1/projects", {"name": "notes", "kind": "extract"})
        yield server


def _refused(server: Served, path: str, body: Any, method: str = "POST", kind: str = "application/json") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": kind, "If-Match": "*"}
    request = urllib.request.Request(server.url + path, data, headers, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == 422
    assert server.ask("/healthz")
    return json.load(refused.value)


@pytest.mark.parametrize("schema", [f"[schema.properties]\n{SLOW}", _doubling(40)], ids=["pattern", "references"])
def test_schema_that_takes_long_to_apply_is_refused(server: Served, schema: str) -> None:
    """A pattern held the interpreter's lock, so that one saved prompt stopped every page; references that double kept a
    thread busy forever."""
    problem = _refused(server, "/api/v1/projects/notes/prompts/mine", {"text": PROMPT.format(schema=schema)})
    assert "takes more than 1 s to apply" in problem["what"]


def test_patterns_that_take_long_to_compile_are_refused(server: Served) -> None:
    """Each character class without case costs some milliseconds."""
    pattern = {"name": "wide", "pattern": "(?i)" + "[\x01-\U0010ffff]" * 20_000}
    problem = _refused(server, "/api/v1/projects/notes/spec", {"set": {"curate.gates.must": [pattern]}}, "PUT")
    assert "takes more than 1 s to read" in problem["what"]
