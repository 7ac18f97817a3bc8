"""What the search engine returns from a database of known records: SQLite and PostgreSQL, directly and over HTTP."""

from __future__ import annotations

import fcntl
import functools
import json
import math
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from tests.curate.argilla.engine_asked import (
    COUNT,
    DATASET,
    OTHER_DATASET,
    SIDE,
    EngineOverHTTP,
    EngineProcess,
    record_id,
)
from tests.curate.argilla.engine_questions import (
    OTHERS,
    PENDING,
    REFUSED,
    SEARCHES,
    THRESHOLD,
    metadata,
    record,
    suggestion,
)

# Each backend is filled and queried once per run; an xdist group keeps the tests of one backend on one worker.
SQLITE, POSTGRESQL, SQLITE_HTTP, POSTGRESQL_HTTP = BACKENDS = [
    pytest.param(name, marks=pytest.mark.xdist_group(group), id=name)
    for name, group in [
        ("sqlite", "argilla-engine"),
        ("postgresql", "argilla-engine-postgresql"),
        ("sqlite-http", "argilla"),
        ("postgresql-http", "argilla"),
    ]
]


def _postgresql(request: pytest.FixtureRequest) -> str:
    """Create an empty database and return its URL."""
    server: str = request.getfixturevalue("postgres")
    name = f"a_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(sa.make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=BACKENDS)
def answers(request: pytest.FixtureRequest, answers_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The answers to all questions, by name; `changed` has what searches find after Argilla changed a record."""
    return answers_of(request.param)


@pytest.fixture(scope="session")
def answers_of(
    request: pytest.FixtureRequest, venv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Any]]:
    """Return a function that queries a backend once per run, in whatever order and worker the tests run."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    @functools.cache
    def ask(backend: str) -> dict[str, Any]:
        kept = shared / f"answers-{backend}.json"
        with kept.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                kept.write_text("null")  # if querying fails, the next test need not try again
                kept.write_text(json.dumps(_collect_answers(backend, request, venv, tmp_path_factory.mktemp(backend))))
            answers: dict[str, Any] = json.loads(kept.read_text())
        assert answers, f"{backend} could not be queried: its first test shows why"
        return answers

    return ask


def _mark_as_made_by_an_older_version(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in ("UPDATE pairsmith_made SET script = 'older'", "DELETE FROM pairsmith_values"):
            connection.execute(sa.text(statement))
    engine.dispose()


def _collect_answers(backend: str, request: pytest.FixtureRequest, venv: Path, home: Path) -> dict[str, Any]:
    if backend.endswith("-http"):
        served = EngineOverHTTP(request.getfixturevalue(f"argilla_on_{backend.removesuffix('-http')}"))
        answers = {**_query(served)[0], "flow": _run_flow(served)}
        served.call("DELETE", f"/datasets/{DATASET}")  # other tests list what is on this server
        return answers
    url = _postgresql(request) if backend == "postgresql" else f"sqlite:///{home / '50% argilla.db'}"
    before, host, folder = url.partition("host=")
    theirs = f"{before}{host}{quote(folder, safe='')}"
    for scheme, driver in ("postgresql:", "postgresql+asyncpg:"), ("sqlite:", "sqlite+aiosqlite:"):
        theirs = theirs.replace(scheme, driver)
    database = EngineProcess(
        venv / "bin" / "python", home, theirs
    )  # every process of it imports Argilla, which takes seconds
    near: dict[str, Any] = {"ask": "similar", "value": [-1.0] * 8, "limit": 2}
    late = {"ask": "change", "do": "vector"}
    more = THRESHOLD, {**late, "number": 20}, near, {**late, "number": 21, "seconds": -30}, near
    answers, (answers_from, *answers_late) = _query(database, *more)
    answers |= {"from a threshold": answers_from, "late": answers_late}
    answers["again"] = database.run(SIDE / "serve.py", "migrate")
    _mark_as_made_by_an_older_version(url.replace("postgresql:", "postgresql+psycopg:"))
    answers["anew"] = database.run(SIDE / "serve.py", "migrate")
    query = {"text": "harbor crane"}, {"filters": [metadata("topic", values=["ships"])]}
    answers["settings kept"], *answers["found anew"] = database.ask({"ask": "settings kept", "of": 12}, *query)
    return answers


def _query(database: EngineProcess | EngineOverHTTP, *more: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """The answers by the names of their questions, and those to `more`."""
    questions = {
        **{name: {"limit": COUNT, **question} for name, (question, _) in SEARCHES.items()},
        **REFUSED,
        **OTHERS,
    }
    look = [{"text": "changedword"}, {"filters": [metadata("topic", values=["changed"])]}]
    look.append({"filters": [suggestion("verdict", values=["brandnew"])]})
    look.append({"ask": "similar", "number": 26, "limit": COUNT})
    steps: list[dict[str, Any]] = [*look]
    for do in ("edit", "suggest", "delete"):
        steps += [{"ask": "change", "do": do, "number": 9}, *look]
    answers = database.ask(*questions.values(), *steps, *more)
    changed = answers[len(questions) : len(questions) + len(steps)]
    return {**dict(zip(questions, answers, strict=False)), "changed": changed}, answers[len(questions) + len(steps) :]


def _run_flow(served: EngineOverHTTP) -> dict[str, Any]:
    """What ann's page requests while she answers one record and then three at once, and what a program then adds."""
    queue = {"user": "ann", "filters": [PENDING, record(property="status", values=["pending"])], "limit": 4}
    accept = {"values": {"verdict": {"value": "accept"}}, "status": "submitted"}
    queues = [served.search(**queue)]
    one = record_id(queues[0]["numbers"][0])
    served.call("POST", f"/records/{one}/responses", accept, "ann")
    queues.append(served.search(**queue))
    three = [{"record_id": str(record_id(number)), **accept} for number in queues[1]["numbers"][:3]]
    three[2] = {"record_id": three[2]["record_id"], "status": "discarded"}
    bulk = served.call("POST", "/me/responses/bulk", {"items": three}, "ann")
    queues.append(served.search(**queue))
    counts = served.ask({"ask": "progress"}, {"ask": "user_progress", "user": "ann"})
    new = {"prompt": "a wholly newword", "reply": "yes", "talk": [], "picture": None}
    verdict = {"question_id": str(uuid.uuid5(DATASET, "question verdict")), "value": "edit", "agent": "program"}
    items = [
        {"external_id": "row-000300", "fields": new, "metadata": {"length": 1000}, "suggestions": [verdict]},
        {"external_id": "row-000200", "metadata": {"length": 1001}},
    ]
    items[0]["vectors"] = {"mini": [-3.0] * 8}
    served.call("PUT", f"/datasets/{DATASET}/records/bulk", {"items": items})
    agents = served.call("GET", f"/datasets/{DATASET}/records/search/suggestions/options")["items"]
    return {
        "deleted": served.call("DELETE", f"/datasets/{OTHER_DATASET}")["name"],
        "queues": queues,
        "errors": [item["error"] for item in bulk["items"]],
        "counts": counts,
        "by word": served.search(text="newword"),
        "by length": served.search(filters=[metadata("length", ge=1000)], sort=[metadata("length", order="desc")]),
        "by agent": served.search(filters=[suggestion("verdict", property="agent", values=["program"])]),
        "by vector": served.search(value=[-1.0] * 8, limit=1),
        "agents": next(item["agents"] for item in agents if item["question"]["name"] == "verdict"),
    }


@pytest.mark.parametrize("name", SEARCHES)
def test_search_finds_exactly_the_matching_records(answers: dict[str, Any], name: str) -> None:
    """Text, filters and their combinations find exactly the known records that match, and the total is their number."""
    numbers = SEARCHES[name][1]
    assert sorted(answers[name]["numbers"]) == sorted(numbers)
    assert answers[name]["total"] == len(numbers)


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_query_is_refused_with_a_message(answers: dict[str, Any], name: str) -> None:
    """An unsupported query gets a message that Argilla shows (HTTP 422), never a wrong or an empty result."""
    assert isinstance(answers[name]["refused"], str)
    assert len(answers[name]["refused"].split()) > 4


def test_order_and_paging(answers: dict[str, Any]) -> None:
    """Records are returned in the requested order, those without the value last, and pages neither overlap nor skip."""
    assert answers["as added"]["numbers"] == [0, 1, 2, 3]
    assert answers["second page"]["numbers"] == [4, 5, 6, 7]
    assert answers["past the end"] == {"numbers": [], "total": COUNT, "scores": []}
    by_score = sorted(range(COUNT), key=lambda i: -(i * 7919 % 1000))
    assert answers["sorted by a float"]["numbers"] == by_score[:5]
    assert answers["sorted by a term, then backwards"]["numbers"] == [296, 292, 288]
    assert answers["sorted by a suggestion's score"]["numbers"] == [9, 19, 29]
    assert answers["sorted by a list"]["numbers"] == [4, 9, 14]
    assert answers["sorted by a term, then by the last of a list"]["numbers"] == [4, 24, 44]
    assert answers["sorted by a term, then by the first of a list"]["numbers"] == [0, 12, 24]
    assert answers["sorted by an answer"]["numbers"] == [*range(29, -1, -1), 299, 298]
    assert answers["sorted by a float"]["scores"] == [None] * 5
    assert answers["sorted by a suggested label"]["numbers"] == [299, 296, 293]
    thirds = [*range(297, -1, -3), *range(298, 0, -3), *range(299, 1, -3)]  # each record once, by its smallest score
    assert answers["sorted by a list of scores"]["numbers"] == thirds
    assert answers["sorted by a status"]["numbers"] == [0, 299]
    assert answers["sorted by what few have"]["numbers"] == [205, 105, 5, 0, 1]
    assert answers["second page of what few have"]["numbers"] == [5, 0, 1]
    assert answers["sorted by what few answered"]["numbers"] == [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28, 30, 33]


def test_each_user_has_a_stable_shuffled_order(answers: dict[str, Any]) -> None:
    """Without a sort a user gets the same order every time, complete over pages, and different from another user's."""
    ann, bob = answers["ann's order"]["numbers"], answers["bob's order"]["numbers"]
    assert ann == answers["ann's order again"]["numbers"]
    assert ann[10:20] == answers["ann's second page"]["numbers"]
    assert sorted(ann) == sorted(bob) == list(range(COUNT))
    place_for_bob = {number: place for place, number in enumerate(bob)}
    assert abs(_rank_correlation(ann)) < 0.25
    assert abs(_rank_correlation([place_for_bob[number] for number in ann])) < 0.25


def _rank_correlation(order: list[int]) -> float:
    """Spearman's correlation with the order 0, 1, 2, ...; for a random order of 300 its standard deviation is 0.06."""
    middle = (COUNT - 1) / 2
    return sum((place - middle) * (number - middle) for place, number in enumerate(order)) / (
        COUNT * (COUNT**2 - 1) / 12
    )


def test_progress_and_metrics(answers: dict[str, Any]) -> None:
    """Progress counts records by status and a user's own responses; metrics count terms and give minimum and maximum of
    numbers."""
    progress = answers["progress"]
    assert {"total": COUNT, "completed": 60, "pending": 240}.items() <= progress.items()
    assert {"submitted": 30, "discarded": 10, "draft": 5}.items() <= answers["ann's progress"].items()
    assert not any(answers["eve's progress"].get(status) for status in ("submitted", "discarded", "draft"))
    assert {term["term"]: term["count"] for term in answers["topics"]["values"]} == dict.fromkeys(
        ["animals", "streets", "kitchens", "ships"], 75
    )
    assert answers["tags"]["total"] == 2 * COUNT
    assert [term["count"] for term in answers["tags"]["values"]] == [100, 100, 100, 60, 60, 60, 60, 60]
    assert answers["lengths"] == {"type": "integer", "min": 0, "max": COUNT - 1}
    assert (answers["scores"]["min"], answers["scores"]["max"]) == (
        0.0,
        max(i * 7919 % 1000 for i in range(COUNT)) / 1000,
    )


def _similarity(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return (1 + dot / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5) / 2


def _vector(number: int) -> list[float]:
    return [math.cos(number * 0.37 + place) for place in range(8)]


def test_similarity_is_exact_and_excludes_the_record_itself(answers: dict[str, Any]) -> None:
    """The nearest by cosine, with filters and words, the least similar, and the nearest to a vector."""
    score = {i: _similarity(_vector(5), _vector(i)) for i in range(COUNT) if i != 5}
    nearest = sorted(score, key=lambda i: -score[i])
    assert answers["like 5"]["numbers"] == nearest[:3]
    assert answers["like 5"]["scores"] == pytest.approx([score[i] for i in nearest[:3]], abs=1e-5)
    far = answers["unlike 5"]
    assert [score[i] for i in far["numbers"]] == pytest.approx(sorted(score.values())[:3], abs=1e-5)
    assert far["scores"] == pytest.approx([1 - score[i] for i in far["numbers"]], abs=1e-5)
    among = [i for i in nearest if i % 5 in (0, 3) and i % 4 == 0]
    assert answers["like 5 among animals at the harbor"]["numbers"] == among[:4]
    waiting = [i for i in nearest if i % 97 == 0 and i > 44]
    assert answers["like 5, waiting and rare"]["numbers"] == waiting
    to_value = sorted((_similarity([1.0, *[0.0] * 7], _vector(i)) for i in range(COUNT)), reverse=True)
    assert answers["like a value"]["scores"] == pytest.approx(to_value[:50], abs=1e-5)


@pytest.mark.parametrize("answers", [SQLITE, POSTGRESQL], indirect=True)
def test_only_recently_used_vectors_stay_in_memory(answers: dict[str, Any]) -> None:
    """After searches by twelve vector settings the vectors of eight are in memory, so memory use is bounded. Those of
    both datasets are loaded before the first search after a start."""
    if "settings kept" in answers:  # over HTTP the server's memory cannot be inspected
        assert answers["settings kept"] == {"kept": 8, "ahead": 2}


@pytest.mark.parametrize("answers", [SQLITE, POSTGRESQL], indirect=True)
def test_threshold_excludes_less_similar_records(answers: dict[str, Any]) -> None:
    """Only records with at least the requested similarity are returned."""
    enough = [score for score in answers["like a value"]["scores"] if score >= THRESHOLD["threshold"]]
    assert 0 < len(enough) < 50
    assert answers["from a threshold"]["scores"] == enough


def test_search_sees_what_argilla_just_wrote(answers: dict[str, Any]) -> None:
    """Words, metadata, suggestions and vectors of an edited and of a deleted record are up to date at once."""
    before, edited, suggested, deleted = [answers["changed"][start : start + 4] for start in (0, 5, 10, 15)]
    numbers = [[search["numbers"] for search in step[:3]] for step in (before, edited, suggested, deleted)]
    assert numbers == [[[], [], []], [[9], [9], []], [[9], [9], [9]], [[], [], []]]
    assert [len(step[3]["numbers"]) for step in (before, deleted)] == [COUNT - 1, COUNT - 2]


@pytest.mark.parametrize("answers", [SQLITE, POSTGRESQL], indirect=True)
def test_search_tables_are_created_once_and_rebuilt_after_an_upgrade(answers: dict[str, Any]) -> None:
    """A second start finds the tables and leaves them alone; tables of an older version are created again and filled.
    The URL contains a `%` (as in a folder name or password), which Argilla's own migration would interpret."""
    assert "search tables present" in answers["again"]
    assert "search tables created" in answers["anew"]
    by_words, by_topic = answers["found anew"]
    assert (by_words["total"], by_topic["total"]) == (60, 75)


@pytest.mark.parametrize("answers", [SQLITE, POSTGRESQL], indirect=True)
def test_vector_stored_late_is_found(answers: dict[str, Any]) -> None:
    """A slow transaction may store a vector dated half a minute ago after a newer one was seen; it is found too."""
    _, before, _, after = answers["late"]
    assert (before["numbers"][0], sorted(after["numbers"])) == (20, [20, 21])
    assert before["scores"][1] < 1


@pytest.mark.parametrize("answers", [SQLITE_HTTP, POSTGRESQL_HTTP], indirect=True)
def test_answered_records_leave_the_queue(answers: dict[str, Any]) -> None:
    """Records answered one by one or in bulk are gone from the next queue page, and every count is updated."""
    flow = answers["flow"]
    first, second, third = (queue["numbers"] for queue in flow["queues"])
    assert first[1:] == second[:3]
    assert second[3] == third[0]
    assert [queue["total"] for queue in flow["queues"]] == [240, 239, 236]
    assert flow["errors"] == [None] * 3
    everybody, ann = flow["counts"]  # record 9, which ann had submitted, was deleted before
    assert {"total": 299, "completed": 62, "pending": 237}.items() <= everybody.items()
    assert sorted(user["username"] for user in everybody["users"]) == ["ann", "bob"]
    assert ann == {"total": 299, "submitted": 32, "discarded": 11, "draft": 5, "pending": 251}


@pytest.mark.parametrize("answers", [SQLITE_HTTP, POSTGRESQL_HTTP], indirect=True)
def test_records_added_in_bulk_are_found_at_once(answers: dict[str, Any]) -> None:
    """A new record is found by its words, metadata, suggestion and vector, and a changed one by its metadata."""
    flow = answers["flow"]
    assert flow["by word"]["numbers"] == flow["by agent"]["numbers"] == flow["by vector"]["numbers"] == [300]
    assert flow["by length"]["numbers"] == [200, 300]
    assert sorted(flow["agents"]) == ["gate-0", "gate-1", "program"]


@pytest.mark.parametrize("answers", [SQLITE_HTTP, POSTGRESQL_HTTP], indirect=True)
def test_deleting_a_dataset_leaves_the_others_searchable(answers: dict[str, Any]) -> None:
    """The dataset's own records, words and vectors are deleted, and nothing else."""
    assert answers["flow"]["deleted"] == "beside"
    assert answers["flow"]["by word"]["total"] == 1
