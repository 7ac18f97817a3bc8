"""How long the calls of Argilla's web page take on the embedded server, with one annotator.

    python -m bench.review.pages 1000 10000 [--postgresql | --database-url postgresql://...] [--json pages.json]

For each size it starts a fresh server on an empty database, fills it through SQL (records of about 1.5 KB with
metadata, suggestions and a vector; the annotator has answered every fourth), and sends the page's requests over HTTP as
that annotator, one at a time; it prints milliseconds. 100,000 records take minutes to fill. A PostgreSQL database must
be empty, so give it only one size; it is analysed after the fill, as autovacuum would do in time. `--postgresql` starts
a private one (with fsync off, which could only affect "submit an answer"). "after a start" is the first search, and the
first similarity search, of a server that was stopped and restarted. The start after the fill has to index the words of
all records, because the server was not informed of records written through SQL; a push informs it and leaves nothing to
index.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.harness import ask, keep, timed
from bench.service.postgres import Postgres
from curate.argilla import server
from curate.argilla.venv import SERVER_CODE

FILL = Path(__file__).parents[2] / "tests" / "curate" / "argilla"
PROMISE_MS = 300
_ANALYSE = """
import sqlalchemy as sa
from argilla_server.database import database_url_sync
with sa.create_engine(database_url_sync()).connect() as connection:
    connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("VACUUM ANALYZE"))
"""


def terms(entity: dict[str, str], *values: str) -> dict[str, Any]:
    return {"type": "terms", "scope": entity, "values": list(values)}


def within(entity: dict[str, str], ge: float, le: float) -> dict[str, Any]:
    return {"type": "range", "scope": entity, "ge": ge, "le": le}


def by(entity: dict[str, str], order: str) -> list[dict[str, Any]]:
    return [{"scope": entity, "order": order}]


STATUS = {"entity": "response", "property": "status"}
PENDING = [terms(STATUS, "pending"), terms({"entity": "record", "property": "status"}, "pending")]
ADDED = {"entity": "record", "property": "inserted_at"}
TOPIC = {"entity": "metadata", "metadata_property": "topic"}
SCORE = {"entity": "metadata", "metadata_property": "score"}
VERDICT = {"entity": "suggestion", "question": "verdict"}


def searches(count: int) -> dict[str, dict[str, Any]]:
    """What the page posts to .../records/search, by its name in the table; every request filters a queue."""

    def pending(*filters: dict[str, Any], **rest: Any) -> dict[str, Any]:
        return {"filters": {"and": [*PENDING, *filters]}, "query": {}, **rest}

    def submitted(*filters: dict[str, Any], **rest: Any) -> dict[str, Any]:
        return {"filters": {"and": [terms(STATUS, "submitted"), *filters]}, "query": {}, **rest}

    def text(words: str) -> dict[str, Any]:
        return {"text": {"q": words}}

    near = {"vector": {"name": "mini", "value": [1.0] * 8}}
    return {
        "next pending": pending(),
        "list: pending, middle page": pending(offset=count * 3 // 8),
        "list: submitted": submitted(),
        "list: newest first": pending(sort=by(ADDED, "desc")),
        "list: oldest first, middle page": pending(sort=by(ADDED, "asc"), offset=count * 3 // 8),
        "list: last changed first": pending(sort=by({"entity": "record", "property": "updated_at"}, "desc")),
        "list: by metadata": pending(sort=by(SCORE, "desc")),
        "list: by a term, then metadata": pending(sort=by(TOPIC, "asc") + by(SCORE, "desc")),
        "list: by suggestion score": pending(sort=by({**VERDICT, "property": "score"}, "asc")),
        "filter: term (1 in 4)": pending(terms(TOPIC, "ships")),
        "filter: range (half)": pending(within(SCORE, 0.5, 1.0)),
        "filter: range (all)": pending(within(SCORE, 0.0, 1.0)),
        "filter: term and range": pending(terms(TOPIC, "ships"), within(SCORE, 0.0, 0.9)),
        "filter: suggestion (1 in 3)": pending(terms({**VERDICT, "property": "value"}, "edit")),
        "filter: suggestion score (6 in 10)": pending(within({**VERDICT, "property": "score"}, 0.25, 0.85)),
        "filter: agent (1 in 2)": pending(terms({**VERDICT, "property": "agent"}, "gate-1")),
        "filter: answer": submitted(terms({"entity": "response", "question": "verdict"}, "accept")),
        "search: rare word": pending(query=text("rareword")),
        "search: two words (1 in 5)": pending(query=text("copper kettle")),
        "search: in 2 of 5": pending(query=text("harbor")),
        "search: in all": pending(query=text("prompt")),
        "search: not": pending(query=text("-harbor")),
        "search: in 2 of 5, and a term": pending(terms(TOPIC, "ships"), query=text("harbor")),
        "search: in 2 of 5, by metadata": pending(query=text("harbor"), sort=by(SCORE, "desc")),
        "similar": pending(query=near),
        "similar, and a rare word": pending(query={**near, **text("rareword")}),
    }


def calls(url: str, dataset: str, count: int) -> dict[str, Callable[[], Any]]:
    """Every call of the web page that is timed."""

    def page(path: str, body: dict[str, Any] | None = None) -> Any:
        return json.loads(ask(url + path, body, **{"X-Argilla-Api-Key": "key.ann"}))

    properties = {
        item["name"]: item["id"] for item in page(f"/api/v1/me/datasets/{dataset}/metadata-properties")["items"]
    }
    search = f"/api/v1/me/datasets/{dataset}/records/search?include=responses,suggestions&limit=10"
    timed: dict[str, Callable[[], Any]] = {}
    for name, body in searches(count).items():
        path = f"{search}&offset={body.pop('offset', 0)}"
        timed[name] = partial(page, path, body)
    for name, path in {
        "progress of the team": f"/api/v1/datasets/{dataset}/progress",
        "progress of the annotator": f"/api/v1/me/datasets/{dataset}/metrics",
        "terms to filter by": f"/api/v1/metadata-properties/{properties['topic']}/metrics",
        "numbers to filter by": f"/api/v1/metadata-properties/{properties['score']}/metrics",
        "agents to filter by": f"/api/v1/datasets/{dataset}/records/search/suggestions/options",
    }.items():
        timed[name] = partial(page, path)
    accept = {"values": {"verdict": {"value": "accept"}}, "status": "submitted"}

    def waiting() -> Iterator[Any]:  # requested lazily, so that no search precedes the timed ones
        yield from page(search.replace("limit=10", "limit=500"), {"filters": {"and": PENDING}})["items"]

    unanswered = waiting()
    timed["submit an answer"] = lambda: page(f"/api/v1/records/{next(unanswered)['record']['id']}/responses", accept)
    return timed


def measure(count: int, database_url: str | None, venv: Path | None, repeat: int) -> dict[str, Any]:
    home = Path(tempfile.mkdtemp(prefix="arg-"))
    try:
        start_s, running = timed(lambda: server.up(home, port=6999, database_url=database_url, venv=venv))
        child = json.loads((home / "supervisor.json").read_text())["children"][-1]
        environment = {**child["environment"], "PYTHONPATH": f"{SERVER_CODE}{os.pathsep}{FILL}"}

        def run_beside(*argv: str) -> str:
            done = subprocess.run(
                ["nice", "-n", "5", child["argv"][0], *argv], env=environment, capture_output=True, text=True, cwd=home
            )
            assert done.returncode == 0, done.stderr[-2000:]
            return done.stdout

        at_start = {child.name: round(child.memory_mib or 0) for child in server.status(home).children}
        fill_s, printed = timed(lambda: run_beside(str(FILL / "fill.py"), "big", str(count)))
        dataset = printed.split()[-1]
        if database_url:
            run_beside("-c", _ANALYSE)
        seen = server.status(home)
        print(f"\n{count} records, {seen.database}: up in {start_s:.1f} s, filled in {fill_s:.1f} s", flush=True)
        first = dict[str, float]()
        for name in ("search behind a fill through SQL", "search: rare word", "similar"):
            server.down(home)
            running = server.up(home, port=6999, database_url=database_url, venv=venv)
            rows = calls(running.url, dataset, count)
            first[name] = round(timed(rows.get(name, rows["search: rare word"]))[0], 2)
        print(f"seconds after a start: {first}", flush=True)
        latencies = {}
        for name, call in rows.items():
            times = sorted([timed(call)[0] * 1000 for _ in range(repeat + 2)][2:])
            latencies[name] = {
                "p50": round(statistics.median(times), 1),
                "p95": round(times[int(len(times) * 0.95)], 1),
            }
            late = "  above the limit" if latencies[name]["p95"] > PROMISE_MS else ""
            print(
                f"{name:36} p50 {latencies[name]['p50']:7.1f}  p95 {latencies[name]['p95']:7.1f} ms{late}", flush=True
            )
        at_end = {child.name: round(child.memory_mib or 0) for child in server.status(home).children}
        print(f"memory at start {at_start}, at the end {at_end} MiB", flush=True)
        sizes = {path.name: path.stat().st_size // 2**20 for path in (home / "data").glob("*.db*")}
        return {
            "records": count,
            "database": seen.database,
            "start-up seconds": round(start_s, 1),
            "fill seconds": round(fill_s, 1),
            "seconds after a start": first,
            "milliseconds": latencies,
            "memory MiB": {"at start": at_start, "at the end": at_end},
            "files MiB": sizes,
        }
    finally:
        server.down(home)
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--database-url")
    parser.add_argument("--postgresql", action="store_true", help="on a private PostgreSQL")
    parser.add_argument("--venv", type=Path, help="an environment that exists already")
    parser.add_argument("--repeat", type=int, default=60)
    parser.add_argument("--json", type=Path, help="keep the figures there")
    options = parser.parse_args()
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load before": os.getloadavg()[0]}
    print(machine)
    runs = []
    for count in options.sizes:
        with Postgres() if options.postgresql else contextlib.nullcontext() as private:
            url = private.url if private else options.database_url
            runs.append(measure(count, url, options.venv, options.repeat))
    if options.json:
        keep(options.json, {f"pages on {runs[-1]['database']}": {"machine": machine, "runs": runs}})


if __name__ == "__main__":
    main()
