"""Rows a second to the embedded server and answers a second back, beside the official client on the same server.

    python -m bench.review.flow [--rows 2000] [--rounds 2] [--postgresql | --database-url URL] [--venv DIR]

Push: `curate.argilla.push.push` (rows built from the store, what is there asked, rows sent) against
`dataset.records.log` of the same rows, built beforehand; both into a queue that was made beforehand. Pull:
`curate.argilla.pull.pull` (all answers read, each made durable as a `Review`) against `list(dataset.records(
with_responses=True))` of the same queue. Both by the routes that our own server adds, and by those of every Argilla.
Rounds alternate who goes first, each on queues of its own in a database that grows; the answers are made by this
program. Start-up time and memory are those of a server whose environment exists. CPU seconds are those of this process
and of the server's, which on a busy machine say more than the clock does.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import itertools
import json
import os
import random
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.harness import keep, timed
from bench.service.postgres import Postgres
from curate.argilla import server
from curate.argilla.client import Argilla
from curate.argilla.pull import pull
from curate.argilla.push import Delivery, _QueueSpec, draw_batch, project_id, push
from curate.argilla.task import record, settings
from curate.argilla.venv import ensure_environment
from curate.gates import gates_for, judge
from curate.review.population import Population, read_population
from schemas.progress import unseen
from schemas.project import Project
from schemas.records import Candidate, Generated, Pair, Sampling, Seed
from schemas.spec_file import load
from schemas.store import Store

SPEC = """
[task]
name = "flow-{name}"
style = "Sixty words that show light, place and mood."
[[seeds]]
path = "seeds.jsonl"
[curate.gates]
language = false
lost_content = false
answered = false
[review]
workspace = "flow"
batch = {rows}
overlap = 0.0
[review.shares]
estimation = 1.0
calibration = 0.0
audit_accepted = 0.0
audit_rejected = 0.0
disagreement = 0.0
margin = 0.0
[evaluate]
checks = [{{ name = "a", pattern = "x" }}, {{ name = "b", pattern = "y" }}]
"""
ANSWERED = 200  # answers a request while this program answers


def words(rng: random.Random, count: int) -> str:
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(count))


def fill(project: Project, store: Store, rows: int) -> None:
    """Inputs of four words with two outputs of sixty words each, all of which pass the gates."""
    rng = random.Random(project.spec.task.name)
    gates = gates_for(project.spec.task, project.spec.curate.gates, project.folder, project.spec.exemplars)
    seeds, records = [], []
    for number in range((rows + 1) // 2):
        seed = Seed(kind="input", text=words(rng, 4), source=f"seeds.jsonl:{number}")
        seeds.append(seed)
        for sample in range(2):
            origin = Generated(
                generator="forward", prompt="p", teacher="t", sampling=Sampling(seed=sample), calls=((seed.id, 1),)
            )
            pair = Pair(seed_id=seed.id, input=seed.text or "", output=words(rng, 60), system="Rewrite.", origin=origin)
            place = Candidate(fingerprint="flow", seed_id=seed.id, generator="forward", sample=sample, pair_id=pair.id)
            records += [pair, place, *judge(pair, gates)]
    store.set_active_seeds(seeds)
    store.write(*records)


def cpu_s(home: Path) -> float:
    """CPU seconds of this process and of the server's children so far (Linux)."""
    spent = time.process_time()
    for child in server.status(home).children:
        fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def official(
    project: Project, store: Store, population: Population, argilla: Argilla, page: _QueueSpec
) -> Callable[[], Any]:
    """The client's own push: a dataset of the same settings, and the same rows as its own objects."""
    import argilla as rg

    client = argilla.sdk
    argilla.workspace_id(make=True)
    sampled = store.sampled()
    rows = [
        record(project, population, pair, [draw.reason for draw in sampled[id_]])
        for id_, pair in population.pairs(sampled).items()
    ]
    objects = [
        rg.Record(
            id=row["external_id"],
            fields=row["fields"],
            metadata=row["metadata"],
            suggestions=[
                rg.Suggestion(
                    suggestion["question"],
                    suggestion["value"],
                    score=suggestion.get("score"),
                    agent=suggestion["agent"],
                )
                for suggestion in row["suggestions"]
            ],
        )
        for row in rows
    ]
    dataset = rg.Dataset(
        name=f"{project.spec.task.name}-official",
        workspace=argilla.workspace,
        settings=settings(project, client, page.guidelines, other_candidates=1, min_submitted=1),
        client=client,
    ).create()
    return lambda: dataset.records.log(objects)


def answer_all(argilla: Argilla, name: str) -> None:
    """One answer to every row, by the owner, in bulk: a third each is accepted, rejected, edited."""
    queue = argilla.queue(name)
    assert queue is not None
    user = argilla.call("GET", "me")["id"]
    rows = list(argilla.records(queue, responses=True))
    for start in range(0, len(rows), ANSWERED):
        items = []
        for at, row in enumerate(rows[start : start + ANSWERED]):
            verdict = ("accept", "reject", "edit")[at % 3]
            values = {"verdict": {"value": verdict}}
            if verdict == "edit":
                values["edited"] = {"value": f"{row['fields']['enhanced']} mended"}
            response = {"user_id": user, "values": values, "status": "submitted"}
            items.append({"id": row["id"], "responses": [response]})
        argilla.call("PUT", f"datasets/{queue.id}/records/bulk", json={"items": items})


def one_round(number: int, rows: int, running: server.ArgillaServer, folder: Path, routes: str) -> dict[str, float]:
    """Seconds of each call, by our server's own routes or by those that every Argilla has."""
    folder.mkdir()
    (folder / "pairsmith.toml").write_text(SPEC.format(name=f"{number}-{routes}", rows=rows), encoding="utf-8")
    project = load(folder)
    seconds: dict[str, float] = {}

    def measured(name: str, work: Callable[[], Any]) -> Any:
        gc.collect()  # nobody tidies up behind another
        before = cpu_s(running.home)
        seconds[name], answer = timed(work)
        seconds[f"{name} (CPU)"] = cpu_s(running.home) - before
        return answer

    with (
        Store.open(Store.url_for(project)) as store,
        Argilla(running.url, running.api_key, "flow") as argilla,
    ):
        argilla.__dict__["_is_pairsmith_server"] = routes == "ours"
        fill(project, store, 3 * rows)  # of which one random half is drawn from
        population = read_population(project, store, ["flow"])
        draw_batch(project, store, population)
        assert len(store.sampled()) == rows
        delivery = Delivery(project, store, population, argilla, unseen)
        page = _QueueSpec(delivery, project_id(store.sampled()) or "", conversation=False)
        log = official(project, store, population, argilla, page)
        argilla.workspace_id(make=True)
        page.make(project.spec.task.name)
        work = {"push": lambda: push(project, store, population, argilla), "push, official client": log}
        for name in list(work) if number % 2 else reversed(work):
            sent = measured(name, work[name])
            assert name != "push" or sent.sent == rows
        again = measured("push again (all there)", lambda: push(project, store, population, argilla))
        assert again.sent == 0
        answer_all(argilla, project.spec.task.name)
        queue = argilla.sdk.datasets(project.spec.task.name, workspace=argilla.workspace)
        reads = {
            "pull": lambda: pull(project, store, argilla),
            "pull, official client": lambda: list(queue.records(with_responses=True)),
        }
        for name in list(reads) if number % 2 else reversed(reads):
            result = measured(name, reads[name])
            assert (result.new if name == "pull" else len(result)) == rows
        nothing = measured("pull again (nothing new)", lambda: pull(project, store, argilla))
        assert (nothing.news, nothing.unchanged) == (0, rows)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--routes", choices=("ours", "argilla"), nargs="+", default=["ours", "argilla"])
    parser.add_argument("--database-url")
    parser.add_argument("--postgresql", action="store_true", help="on a private PostgreSQL")
    parser.add_argument("--venv", type=Path, help="an environment that exists already")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # the client's own
    home = Path(tempfile.mkdtemp(prefix="arg-"))
    load_before = os.getloadavg()[0]
    private = contextlib.ExitStack()
    try:
        url = private.enter_context(Postgres()).url if asked.postgresql else asked.database_url
        ensure_environment(asked.venv or home / "venv")
        start_s, running = timed(lambda: server.up(home, port=6998, database_url=url, venv=asked.venv or home / "venv"))
        memory = {"at start": {child.name: child.memory_mib for child in server.status(home).children}}
        rounds: dict[str, list[dict[str, float]]] = {routes: [] for routes in asked.routes}
        for number, routes in itertools.product(range(1, asked.rounds + 1), asked.routes):
            with contextlib.redirect_stderr(io.StringIO()):  # the client's progress bars
                folder = home / f"project-{number}-{routes}"
                rounds[routes].append(one_round(number, asked.rows, running, folder, routes))
        memory["at end"] = {child.name: child.memory_mib for child in server.status(home).children}
        database = server.status(home).database
    finally:
        server.down(home)
        private.close()
        shutil.rmtree(home, ignore_errors=True)
    rates = {
        routes: {name: round(asked.rows / statistics.median(one[name] for one in own), 1) for name in own[0]}
        for routes, own in rounds.items()
    }

    def times(name: str, of: str = "") -> dict[str, float]:
        return {
            routes: round(own[f"{name}{of}"] / own[f"{name}, official client{of}"], 2) for routes, own in rates.items()
        }

    figures = {
        "rows": asked.rows,
        "rounds": asked.rounds,
        "database": database,
        "machine": {"cores": os.cpu_count(), "load before": round(load_before, 2)},
        "start-up seconds": round(start_s, 1),
        "memory MiB": {when: {name: round(mib or 0) for name, mib in sizes.items()} for when, sizes in memory.items()},
        "rows a second": rates,
        "times the official client": {name: times(name) for name in ("push", "pull")},
        "times the official client, CPU": {name: times(name, " (CPU)") for name in ("push", "pull")},
        "seconds of each round": {
            routes: [{name: round(took, 2) for name, took in one.items()} for one in own]
            for routes, own in rounds.items()
        },
    }
    print(json.dumps(figures, indent=1))
    if asked.json:
        keep(asked.json, {"flow": figures})


if __name__ == "__main__":
    main()
