"""What the search engine answers on a database of known records, on SQLite and on PostgreSQL."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SIDE = Path(__file__).parents[2] / "curate" / "argilla_server"
HERE = Path(__file__).parent
COUNT = 300

BACKENDS = [
    pytest.param("sqlite", marks=pytest.mark.xdist_group("argilla-engine")),
    pytest.param("postgresql", marks=pytest.mark.xdist_group("argilla-engine-postgresql")),
]


class Asked:
    """A filled database of one kind; `ask` puts questions to the engine in one process of the server's Python."""

    def __init__(self, python: Path, home: Path, url: str) -> None:
        self.environment = {
            "PYTHONPATH": f"{SIDE}:{HERE}",
            "ARGILLA_HOME_PATH": str(home),
            "ARGILLA_DATABASE_URL": url,
            "ARGILLA_SEARCH_ENGINE": "pairsmith-sql",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        self.python, self.home = python, home
        self.run(SIDE / "serve.py", "migrate")

    def run(self, *argv: object, stdin: str = "") -> str:
        done = subprocess.run(
            [self.python, *map(str, argv)],
            env=self.environment,
            cwd=self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def ask(self, *questions: dict[str, Any]) -> list[Any]:
        answers: list[Any] = json.loads(
            self.run(HERE / "probe_engine.py", stdin=json.dumps(questions)).splitlines()[-1]
        )
        return answers


def _database(backend: str, request: pytest.FixtureRequest, home: Path) -> str:
    if backend == "sqlite":
        return f"sqlite+aiosqlite:///{home / 'argilla.db'}"
    import sqlalchemy as sa

    server: str = request.getfixturevalue("postgres")
    name = f"a_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(sa.make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.replace("postgresql://", "postgresql+asyncpg://").replace("/postgres?", f"/{name}?")


def record(**scope: Any) -> dict[str, Any]:
    return {"entity": "record", **scope}


def metadata(name: str, **rest: Any) -> dict[str, Any]:
    return {"entity": "metadata", "name": name, **rest}


def suggestion(question: str, **rest: Any) -> dict[str, Any]:
    return {"entity": "suggestion", "question": question, **rest}


def response(**rest: Any) -> dict[str, Any]:
    return {"entity": "response", **rest}


PENDING = response(property="status", values=["pending"], user="ann")
ANN, BOB = range(45), range(20, 60)
COMPLETED = range(60)


def words(number: int) -> str:
    kinds = ["harbor at dawn", "neon-lit alley", "copper kettle", "harbor crane", "quiet fjord"]
    return kinds[number % 5] + (" rareword" if number % 97 == 0 else "")


def where(true: Any) -> list[int]:
    return [i for i in range(COUNT) if true(i)]


# name: (question, the numbers of the records it must find, in any order)
FOUND: dict[str, tuple[dict[str, Any], list[int]]] = {
    "everything": ({}, list(range(COUNT))),
    "words are joined by and": ({"text": "harbor dawn"}, where(lambda i: i % 5 == 0)),
    "case does not matter": ({"text": "HARBOR Crane"}, where(lambda i: i % 5 == 3)),
    "either": ({"text": "crane | fjord"}, where(lambda i: i % 5 in (3, 4))),
    "but not": ({"text": "harbor -dawn"}, where(lambda i: i % 5 == 3)),
    "only not": ({"text": "-harbor"}, where(lambda i: i % 5 not in (0, 3))),
    "not a phrase, or a word": ({"text": '-"harbor at" | rareword'}, where(lambda i: i % 5 != 0 or i % 97 == 0)),
    "brackets": (
        {"text": "harbor (crane | rareword)"},
        where(lambda i: "harbor" in words(i) and ("crane" in words(i) or i % 97 == 0)),
    ),
    "operators bind from the left": ({"text": "harbor | kettle copper"}, where(lambda i: i % 5 == 2)),
    "phrase": ({"text": '"copper kettle"'}, where(lambda i: i % 5 == 2)),
    "a phrase the wrong way round": ({"text": '"kettle copper"'}, []),
    "prefix": ({"text": "item12*"}, [12, *range(120, 130)]),
    "a hyphen within a word": ({"text": "neon-lit"}, where(lambda i: i % 5 == 1)),
    "two words in two fields": ({"text": "reply talk7"}, [7]),
    "an unclosed quote": ({"text": '"copper kettle'}, where(lambda i: i % 5 == 2)),
    "part of a word": ({"text": "harb"}, []),
    "no word at all": ({"text": "--- ()"}, []),
    "the words of a chat": ({"text": "hello talk7"}, [7]),
    "within one field": ({"text": "talk7", "field": "talk"}, [7]),
    "within the wrong field": ({"text": "talk7", "field": "prompt"}, []),
    "not within one field": ({"text": "-harbor", "field": "prompt"}, where(lambda i: i % 5 not in (0, 3))),
    "an image has no words": ({"text": "secretword"}, []),
    "an image field": ({"text": "secretword", "field": "picture"}, []),
    "a term": ({"filters": [metadata("topic", values=["animals"])]}, where(lambda i: i % 4 == 0)),
    "any of some terms": (
        {"filters": [metadata("topic", values=["animals", "ships"])]},
        where(lambda i: i % 4 in (0, 3)),
    ),
    "a term in a list": ({"filters": [metadata("tags", values=["u4"])]}, where(lambda i: i % 5 == 4)),
    "an integer range": ({"filters": [metadata("length", ge=100, le=110)]}, list(range(100, 111))),
    "a float range": ({"filters": [metadata("score", le=0.1)]}, where(lambda i: (i * 7919 % 1000) / 1000 <= 0.1)),
    "a suggested label": ({"filters": [suggestion("verdict", values=["edit"])]}, where(lambda i: i % 3 == 1)),
    "one of suggested labels": ({"filters": [suggestion("flags", values=["unsafe"])]}, where(lambda i: i % 3 == 2)),
    "a suggested rating": ({"filters": [suggestion("stars", ge=4)]}, where(lambda i: i % 5 >= 3)),
    "a suggested rating as a term": ({"filters": [suggestion("stars", values=[2])]}, where(lambda i: i % 5 == 1)),
    "the score of a suggestion": (
        {"filters": [suggestion("verdict", property="score", ge=0.75)]},
        where(lambda i: i % 10 >= 8),
    ),
    "one of a suggestion's scores": (
        {"filters": [suggestion("flags", property="score", ge=0.85)]},
        where(lambda i: i % 3 == 2),
    ),
    "the agent of a suggestion": (
        {"filters": [suggestion("verdict", property="agent", values=["gate-1"])]},
        where(lambda i: i % 2),
    ),
    "what waits for a user": ({"filters": [PENDING]}, where(lambda i: i not in ANN)),
    "the queue of a user": (
        {"filters": [PENDING, record(property="status", values=["pending"])]},
        where(lambda i: i not in ANN and i not in COMPLETED),
    ),
    "what has no response": ({"filters": [response(property="status", values=["pending"])]}, list(range(60, COUNT))),
    "pending or draft": (
        {"filters": [response(property="status", values=["pending", "draft"], user="ann")]},
        where(lambda i: i >= 40),
    ),
    "submitted by a user": ({"filters": [response(property="status", values=["submitted"], user="bob")]}, list(BOB)),
    "submitted by anyone": ({"filters": [response(property="status", values=["submitted"])]}, list(COMPLETED)),
    "discarded by one who discarded none": (
        {"filters": [response(property="status", values=["discarded"], user="bob")]},
        [],
    ),
    "answered by a user": ({"filters": [response(question="verdict", values=["reject"], user="bob")]}, list(BOB)),
    "answered by another": ({"filters": [response(question="verdict", values=["reject"], user="ann")]}, []),
    "one of the answered labels": ({"filters": [response(question="flags", values=["unsafe"])]}, list(range(30))),
    "an answered rating": ({"filters": [response(question="stars", ge=3)]}, list(range(30))),
    "a status": ({"filters": [record(property="status", values=["completed"])]}, list(COMPLETED)),
    "an external id": ({"filters": [record(property="external_id", values=["row-000017", "row-999999"])]}, [17]),
    "until a moment": ({"filters": [record(property="inserted_at", le="2026-01-01T01:00:09+01:00")]}, list(range(10))),
    "until a day": ({"filters": [record(property="inserted_at", le="2026-01-01")]}, list(range(COUNT))),
    "from a day": ({"filters": [record(property="inserted_at", ge="2026-01-02")]}, []),
    "words and filters": (
        {
            "text": "harbor",
            "filters": [metadata("topic", values=["animals"]), suggestion("verdict", values=["accept"])],
        },
        where(lambda i: i % 5 in (0, 3) and i % 4 == 0 and i % 3 == 0),
    ),
}

REFUSED = {
    "a fuzzy word": {"text": "rareword~2"},
    "the answers to a text question": {"filters": [response(question="comment", values=["x"])]},
    "a suggested ranking": {"filters": [suggestion("order", values=["a"])]},
    "a range that is no number": {"filters": [metadata("length", ge="long")]},
    "a time that is none": {"filters": [record(property="inserted_at", ge="yesterday")]},
    "a property that is not there": {"filters": [metadata("colour", values=["red"])]},
}

OTHERS: dict[str, dict[str, Any]] = {
    "as added": {"limit": 4},
    "second page": {"limit": 4, "offset": 4},
    "past the end": {"limit": 4, "offset": 400},
    "sorted by a float": {"sort": [metadata("score", order="desc")], "limit": 5},
    "sorted by a term, then backwards": {
        "sort": [metadata("topic", order="asc"), record(property="inserted_at", order="desc")],
        "limit": 3,
    },
    "sorted by a suggestion's score": {
        "sort": [suggestion("verdict", property="score", order="desc"), record(property="inserted_at", order="asc")],
        "limit": 3,
    },
    "sorted by a list": {
        "sort": [metadata("tags", order="desc"), record(property="inserted_at", order="asc")],
        "limit": 3,
    },
    "sorted by an answer": {
        "sort": [response(question="stars", user="ann", order="asc"), record(property="external_id", order="desc")],
        "limit": 32,
    },
    "ann's order": {"user": "ann", "limit": COUNT},
    "ann's order again": {"user": "ann", "limit": COUNT},
    "ann's second page": {"user": "ann", "limit": 10, "offset": 10},
    "bob's order": {"user": "bob", "limit": COUNT},
    "progress": {"ask": "progress"},
    "ann's progress": {"ask": "user_progress", "user": "ann"},
    "eve's progress": {"ask": "user_progress", "user": "eve"},
    "topics": {"ask": "metrics", "name": "topic"},
    "tags": {"ask": "metrics", "name": "tags"},
    "lengths": {"ask": "metrics", "name": "length"},
    "scores": {"ask": "metrics", "name": "score"},
    "like 5": {"ask": "similar", "number": 5, "max_results": 3},
    "unlike 5": {"ask": "similar", "number": 5, "max_results": 3, "order": "least_similar"},
    "like 5 among animals at the harbor": {
        "ask": "similar",
        "number": 5,
        "max_results": 4,
        "text": "harbor",
        "filters": [metadata("topic", values=["animals"])],
    },
    "like a value, from a threshold": {
        "ask": "similar",
        "value": [1, 0, 0, 0, 0, 0, 0, 0],
        "max_results": 50,
        "threshold": 0.73,
    },
}


@pytest.fixture(params=BACKENDS)
def asked(request: pytest.FixtureRequest, answered: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Every question above, answered; and `changed`, what a search finds after Argilla changed a record."""
    return answered(request.param)


@pytest.fixture(scope="session")
def answered(
    request: pytest.FixtureRequest, venv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """Asks a database of each kind once a run, in whatever order and worker the tests come."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    @functools.cache
    def ask(backend: str) -> dict[str, Any]:
        kept = shared / f"answers-{backend}.json"
        with kept.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                found = _answers(backend, request, venv, tmp_path_factory.mktemp(backend))
                kept.write_text(json.dumps(found))
            answers: dict[str, Any] = json.loads(kept.read_text())
        return answers

    return ask


def _answers(backend: str, request: pytest.FixtureRequest, venv: Path, home: Path) -> dict[str, Any]:
    database = Asked(venv / "bin" / "python", home, _database(backend, request, home))
    questions = {**{name: {"limit": COUNT, **asked} for name, (asked, _) in FOUND.items()}, **REFUSED, **OTHERS}
    answers = dict(zip(questions, database.ask(*questions.values()), strict=True))
    look = [{"text": "changedword"}, {"filters": [metadata("topic", values=["changed"])]}]
    look += [
        {"filters": [suggestion("verdict", values=["brandnew"])]},
        {"ask": "similar", "number": 26, "max_results": COUNT},
    ]
    steps: list[dict[str, Any]] = []
    for do in ("edit", "suggest", "delete"):
        steps += [{"ask": "sql", "do": do, "number": 9}, *look]
    answers["changed"] = database.ask(*look, *steps)
    answers["again"] = database.run(SIDE / "serve.py", "migrate")
    return answers


@pytest.mark.parametrize("name", FOUND)
def test_it_finds_exactly_the_records_that_match(asked: dict[str, Any], name: str) -> None:
    """Text, filters and their combinations find what the known records say, and the total says how many."""
    numbers = FOUND[name][1]
    assert sorted(asked[name]["numbers"]) == sorted(numbers)
    assert asked[name]["total"] == len(numbers)


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_do_it_says(asked: dict[str, Any], name: str) -> None:
    """An unsupported question gets a sentence that Argilla shows (HTTP 422), never a wrong or an empty answer."""
    assert len(asked[name]["refused"]) > 20


def test_order_and_paging(asked: dict[str, Any]) -> None:
    """Records come in the order asked for, those without the value last, and pages neither overlap nor skip."""
    assert asked["as added"]["numbers"] == [0, 1, 2, 3]
    assert asked["second page"]["numbers"] == [4, 5, 6, 7]
    assert asked["past the end"] == {"numbers": [], "total": COUNT, "scores": []}
    by_score = sorted(range(COUNT), key=lambda i: -(i * 7919 % 1000))
    assert asked["sorted by a float"]["numbers"] == by_score[:5]
    assert asked["sorted by a term, then backwards"]["numbers"] == [296, 292, 288]
    assert asked["sorted by a suggestion's score"]["numbers"] == [9, 19, 29]
    assert asked["sorted by a list"]["numbers"] == [4, 9, 14]
    assert asked["sorted by an answer"]["numbers"] == [*range(29, -1, -1), 299, 298]
    assert asked["sorted by a float"]["scores"] == [None] * 5


def test_each_user_has_a_shuffled_order_that_stays(asked: dict[str, Any]) -> None:
    """Without a sort a user sees the same order every time, whole over pages, and unlike another user's."""
    ann, bob = asked["ann's order"]["numbers"], asked["bob's order"]["numbers"]
    assert ann == asked["ann's order again"]["numbers"]
    assert ann[10:20] == asked["ann's second page"]["numbers"]
    assert sorted(ann) == sorted(bob) == list(range(COUNT))
    place_for_bob = {number: place for place, number in enumerate(bob)}
    assert abs(_rank_correlation(ann)) < 0.25
    assert abs(_rank_correlation([place_for_bob[number] for number in ann])) < 0.25


def _rank_correlation(order: list[int]) -> float:
    """Spearman's, with the order 0, 1, 2, ...; of a random order of 300 its standard deviation is 0.06."""
    middle = (COUNT - 1) / 2
    return sum((place - middle) * (number - middle) for place, number in enumerate(order)) / (
        COUNT * (COUNT**2 - 1) / 12
    )


def test_progress_and_metrics(asked: dict[str, Any]) -> None:
    """Progress counts records by status and a user's own responses; metrics count terms and bound numbers."""
    assert asked["progress"] == {"total": COUNT, "completed": 60, "pending": 240}
    assert asked["ann's progress"] == {"total": 45, "submitted": 30, "discarded": 10, "draft": 5}
    assert asked["eve's progress"] == {"total": 0}
    assert {term["term"]: term["count"] for term in asked["topics"]["values"]} == dict.fromkeys(
        ["animals", "streets", "kitchens", "ships"], 75
    )
    assert asked["tags"]["total"] == 2 * COUNT
    assert [term["count"] for term in asked["tags"]["values"]] == [100, 100, 100, 60, 60, 60, 60, 60]
    assert asked["lengths"] == {"type": "integer", "min": 0, "max": COUNT - 1}
    assert (asked["scores"]["min"], asked["scores"]["max"]) == (0.0, max(i * 7919 % 1000 for i in range(COUNT)) / 1000)


def _similarity(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return (1 + dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5) / 2


def _vector(number: int) -> list[float]:
    import math

    return [math.cos(number * 0.37 + place) for place in range(8)]


def test_similarity_is_exact_and_leaves_out_the_record_itself(asked: dict[str, Any]) -> None:
    """The nearest by cosine, with filters and words, the least similar, from a value, and from a threshold."""
    score = {i: _similarity(_vector(5), _vector(i)) for i in range(COUNT) if i != 5}
    nearest = sorted(score, key=lambda i: -score[i])
    assert asked["like 5"]["numbers"] == nearest[:3]
    assert asked["like 5"]["scores"] == pytest.approx([score[i] for i in nearest[:3]], abs=1e-5)
    far = asked["unlike 5"]
    assert [score[i] for i in far["numbers"]] == pytest.approx(sorted(score.values())[:3], abs=1e-5)
    assert far["scores"] == pytest.approx([1 - score[i] for i in far["numbers"]], abs=1e-5)
    among = [i for i in nearest if i % 5 in (0, 3) and i % 4 == 0]
    assert asked["like 5 among animals at the harbor"]["numbers"] == among[:4]
    assert min(asked["like a value, from a threshold"]["scores"]) >= 0.73


def test_a_search_sees_what_argilla_just_wrote(asked: dict[str, Any]) -> None:
    """Words, metadata, suggestions and vectors of an edited and of a deleted record, at once and exactly."""
    before, edited, suggested, deleted = [asked["changed"][start : start + 4] for start in (0, 5, 10, 15)]
    numbers = [[found["numbers"] for found in step[:3]] for step in (before, edited, suggested, deleted)]
    assert numbers == [[[], [], []], [[9], [9], []], [[9], [9], [9]], [[], [], []]]
    assert [len(step[3]["numbers"]) for step in (before, deleted)] == [COUNT - 1, COUNT - 2]


def test_what_is_added_to_the_database_is_added_once(asked: dict[str, Any]) -> None:
    """A second start finds the tables and leaves them alone."""
    assert "search tables present" in asked["again"]
