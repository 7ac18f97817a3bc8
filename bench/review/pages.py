"""How long the calls of Argilla's web page take on the embedded server, with one annotator.

    python bench/review/pages.py 1000 10000 [--database-url postgresql://...] [--repeat 60]

For each size it starts a fresh server, fills the database through SQL (records of about 1.5 KB), and times each call
over HTTP from this process, one at a time; prints a table in milliseconds. 100,000 records take minutes to fill.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from curate.review import server
from curate.review.environment import SERVER_CODE

FILL = Path(__file__).parents[2] / "tests" / "review"
_CODE = """
import sys, fill, sqlalchemy as sa
from argilla_server.database import database_url_sync
with sa.create_engine(database_url_sync(), connect_args=CONNECT).begin() as connection:
    dataset = fill.fill(connection, COUNT, [("ann", "annotator")], padding=60)
    fill.respond(connection, dataset, "ann", range(0, COUNT, 4), verdict="accept")
    print(dataset)
"""


def terms(entity: dict[str, str], *values: str) -> dict[str, Any]:
    return {"type": "terms", "scope": entity, "values": list(values)}


WAITING = [
    terms({"entity": "response", "property": "status"}, "pending"),
    terms({"entity": "record", "property": "status"}, "pending"),
]
TOPIC = {"entity": "metadata", "metadata_property": "topic"}
SCORE = {"entity": "metadata", "metadata_property": "score"}
VERDICT = {"entity": "suggestion", "question": "verdict"}


def calls(count: int) -> dict[str, dict[str, Any]]:
    """What the page posts to .../records/search, by the name it has in the table."""
    deep = {"sort": [{"scope": {"entity": "record", "property": "inserted_at"}, "order": "asc"}]}
    return {
        "next pending": {"filters": {"and": WAITING}},
        "list, newest first": {"sort": [{"scope": {"entity": "record", "property": "inserted_at"}, "order": "desc"}]},
        "list, middle page": {**deep, "offset": count // 2},
        "sort by metadata": {"sort": [{"scope": SCORE, "order": "desc"}]},
        "sort by suggestion score": {"sort": [{"scope": {**VERDICT, "property": "score"}, "order": "asc"}]},
        "filter: term (1 in 4)": {"filters": {"and": [terms(TOPIC, "ships")]}},
        "filter: range (half)": {"filters": {"and": [{"type": "range", "scope": SCORE, "ge": 0.5}]}},
        "filter: suggestion (1 in 3)": {"filters": {"and": [terms(VERDICT, "edit")]}},
        "filter: response": {"filters": {"and": [terms({"entity": "response", "property": "status"}, "submitted")]}},
        "filter: answer": {"filters": {"and": [terms({"entity": "response", "question": "verdict"}, "accept")]}},
        "pending, term, range": {
            "filters": {"and": [*WAITING, terms(TOPIC, "ships"), {"type": "range", "scope": SCORE, "le": 0.9}]}
        },
        "search: rare word": {"query": {"text": {"q": "rareword"}}},
        "search: in 2 of 5": {"query": {"text": {"q": "harbor"}}},
        "search: in all": {"query": {"text": {"q": "prompt"}}},
        "search: two words": {"query": {"text": {"q": "copper kettle"}}},
        "search: negation": {"query": {"text": {"q": "-harbor"}}},
        "search, pending, term": {
            "query": {"text": {"q": "harbor"}},
            "filters": {"and": [*WAITING, terms(TOPIC, "ships")]},
        },
        "similar": {"query": {"vector": {"name": "mini", "value": [1.0] * 8}}},
    }  # fmt: skip


class Page:
    """The web page's side of the connection."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def __call__(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-Argilla-Api-Key": self.key, "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=120) as answer:
            return json.load(answer)


def measure(count: int, database_url: str | None, venv: Path | None, repeat: int) -> None:
    home = Path(tempfile.mkdtemp(prefix="arg-"))
    try:
        started = time.monotonic()
        running = server.up(home, port=6999, database_url=database_url, venv=venv)
        print(f"\n{count} records, up in {time.monotonic() - started:.1f} s", flush=True)
        config = json.loads((home / "supervisor.json").read_text())
        python = config["children"][-1]["argv"][0]
        environment = {**config["children"][-1]["environment"], "PYTHONPATH": f"{SERVER_CODE}{os.pathsep}{FILL}"}
        connect = "{}" if database_url else "{'timeout': 60}"
        code = _CODE.replace("COUNT", str(count)).replace("CONNECT", connect)
        started = time.monotonic()
        done = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True, cwd=home)
        assert done.returncode == 0, done.stderr[-2000:]
        dataset = done.stdout.split()[-1]
        print(f"filled in {time.monotonic() - started:.1f} s", flush=True)
        page = Page(running.url, running.api_key)
        search = f"/api/v1/me/datasets/{dataset}/records/search?include=responses,suggestions&limit=10"
        started = time.monotonic()
        page(search, {"query": {"text": {"q": "rareword"}}})
        print(f"first search (indexes every word) {time.monotonic() - started:.1f} s", flush=True)
        rows = {"progress": lambda: page(f"/api/v1/me/datasets/{dataset}/metrics")}
        for name, body in calls(count).items():
            offset = body.pop("offset", 0)
            rows[name] = lambda body=body, offset=offset: page(f"{search}&offset={offset}", body)
        for name, call in rows.items():
            times = []
            for _ in range(repeat + 2):
                started = time.perf_counter()
                call()
                times.append((time.perf_counter() - started) * 1000)
            times = sorted(times[2:])
            print(
                f"{name:30} p50 {statistics.median(times):7.1f}  p95 {times[int(len(times) * 0.95)]:7.1f} ms",
                flush=True,
            )
        seen = server.status(home)
        print("memory", {child.name: round(child.memory_mib or 0) for child in seen.children}, "MiB")
        sizes = {path.name: path.stat().st_size // 2**20 for path in (home / "data").iterdir() if path.is_file()}
        print("files", sizes, "MiB")
    finally:
        server.down(home)
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--database-url")
    parser.add_argument("--venv", type=Path, help="an environment that exists already")
    parser.add_argument("--repeat", type=int, default=60)
    asked = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for count in asked.sizes:
        measure(count, asked.database_url, asked.venv, asked.repeat)


if __name__ == "__main__":
    main()
