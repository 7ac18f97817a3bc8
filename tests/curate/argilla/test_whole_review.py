"""A whole review on a real server, once with SQLite and once with PostgreSQL for both the server and the store.

Two hundred rows are sent, three annotators answer all of them, disagreements are settled, and the result is curated and
exported. The annotators are users of the server played by this file, through the client and the page's API; they have
ordinary names, because the answers of annotators named `simulated-...` would decide nothing."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from curate.argilla import server
from curate.argilla.adjudication import disagreements, push_adjudication
from curate.argilla.client import Argilla
from curate.argilla.pull import pull
from curate.argilla.push import ADJUDICATION, SHARED, draw_batch, push, queue_name
from curate.export.dataset import export_dataset, rows
from curate.gates import gates_for, judge
from curate.outcome import CurateResult, curate_project
from curate.review.gold import read_gold
from curate.review.population import Population, read_population
from curate.split import SPLITS
from schemas.project import Project
from schemas.records import Candidate, Edited, Json, Pair, Seed, Verdict
from schemas.reviews import PullResult
from schemas.spec_file import load
from schemas.store import Store
from tests.curate.argilla.answering import answer, change, queue_named
from tests.curate.argilla.conftest import argilla_client, empty_database
from tests.curate.review.review_project import SCOPE, pair_of

rg = argilla_client()

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PEOPLE = ("ann", "bob", "cid")
INPUTS = 400
SPEC = """
[task]
name = "lines"
system = "Rewrite."
style = "Nine plain words."

[[seeds]]
path = "seeds.jsonl"

[curate.gates]
echo = false
language = false
lost_content = false
answered = false
length = {{ min_words = 6, max_words = 40, min_ratio = 0.1, max_ratio = 60.0 }}

[curate.score]
model = "none"

[review]
workspace = "{workspace}"
batch = 200
gold = "gold.jsonl"

[evaluate]
checks = [{{ name = "a", pattern = "x" }}, {{ name = "b", pattern = "y" }}]
"""


class Reply(NamedTuple):
    """One person's answer to one row."""

    person: str
    verdict: str
    text: str | None = None


@dataclass
class PlayedReview:
    """A review that was played to its end, with the result of each of its steps."""

    project: Project
    store: Store
    population: Population
    plan: dict[str, list[Reply]]
    sent: int
    again: int
    on_server: Counter[str]
    pulls: dict[str, PullResult]
    changed: str
    deleted: str
    settled: dict[str, Reply]
    left: int
    result: CurateResult
    dataset: dict[str, Json]
    provenance: dict[str, Json]

    def outcome(self, id_: str) -> Reply | None:
        """The decision of a row, derived from the plan alone; None if no answer is valid."""
        if id_ == self.deleted:
            return None
        if id_ == self.changed:
            return Reply(self.plan[id_][0].person, "reject")
        return self.settled.get(id_, self.plan[id_][-1])


def words(key: str, count: int = 9) -> str:
    """A random line; no two are similar enough to be duplicates."""
    rng = random.Random(key)
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(count))


def make_project(folder: Path, workspace: str) -> Project:
    (folder / "pairsmith.toml").write_text(SPEC.format(workspace=workspace), encoding="utf-8")
    gold = [{"simple": f"gold {n}", "enhanced": words(f"gold {n}"), "verdict": "accept"} for n in range(30)]
    (folder / "gold.jsonl").write_bytes(b"".join(orjson.dumps(item) + b"\n" for item in gold))
    return load(folder)


def fill(project: Project, store: Store) -> None:
    """Store inputs with four judged candidates each: three pass and are scored, the last is too short."""
    gates = gates_for(project.spec.task, project.spec.curate.gates, project.folder, project.spec.exemplars)
    seeds, records = [], []
    for number in range(INPUTS):
        seed = Seed(kind="input", text=words(f"seed {number}", 3), source=f"seeds.jsonl:{number}")
        seeds.append(seed)
        for sample in range(4):
            pair = pair_of(seed, sample, words(f"{number} {sample}", 9 if sample < 3 else 4))
            place = Candidate(fingerprint=SCOPE, seed_id=seed.id, generator="forward", sample=sample, pair_id=pair.id)
            records += [pair, place, *judge(pair, gates)]
            if sample < 3:
                fields = {"keep": True, "score": sample / 2, "reason": "scored"}
                records.append(Verdict(pair_id=pair.id, by="score/test@1", fingerprint="s", **fields))
    store.set_active_seeds(seeds)
    store.write(*records)


def verdict(at: int, person: str, id_: str) -> Reply:
    kind = ("accept", "reject", "edit", "accept")[at % 4]
    return Reply(person, kind, words(f"{person} {id_}") if kind == "edit" else None)


def make_plan(alone: list[str], shared: list[str], gold: set[str]) -> dict[str, list[Reply]]:
    """One answer to every row of the first queue, two to every row of the shared one; every third pair disagrees."""
    plan = {id_: [verdict(at // 3, PEOPLE[at % 3], id_)] for at, id_ in enumerate(alone)}
    for at, id_ in enumerate(shared):
        first, second = [name for name in PEOPLE if name != PEOPLE[at % 3]]
        plan[id_] = [verdict(at // 3, first, id_), verdict(at // 3, second, id_)]
        if at % 3 == 0:
            plan[id_] = [Reply(first, "accept"), Reply(second, "reject")]
    return {**plan, **{id_: [Reply(reply.person, "accept") for reply in plan[id_]] for id_ in gold}}


def records_of(argilla: Argilla, project: Project, suffix: str = "") -> dict[str, Json]:
    queue = queue_named(argilla, queue_name(project) + suffix)
    assert queue is not None
    return {record["external_id"]: record for record in argilla.records(queue, responses=True)}


def submit(person: Any, record: Json, reply: Reply) -> str:
    """Submit one person's answer as the page does; return the response's id."""
    more = {"edited": reply.text} if reply.text else {}
    return str(answer(person, record["id"], reply.verdict, reasons=["wrong"], **more)["id"])


def log_replies(owner: Any, project: Project, suffix: str, user: Any, replies: dict[str, Reply]) -> None:
    """Log one person's answers to a queue in bulk, through the client's own objects."""
    dataset = owner.datasets(queue_name(project) + suffix, workspace=project.spec.review.workspace)
    chosen = [record for record in dataset.records if record.id in replies]
    for record in chosen:
        values = {"verdict": replies[record.id].verdict, "edited": replies[record.id].text, "reasons": ["wrong"]}
        for question, value in values.items():
            if value:
                record.responses.add(rg.Response(question, value, user_id=user.id, status="submitted"))
    dataset.records.log(chosen, batch_size=len(chosen))


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, on_each_database: server.ArgillaServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PlayedReview]:
    """The whole review, from the draw to the exported dataset."""
    running = on_each_database
    tag = uuid.uuid4().hex[:8]
    project = make_project(tmp_path_factory.mktemp("lines"), f"w-{tag}")
    url = Store.url_for(project)
    if server.status(running.home).database == "PostgreSQL":
        url = empty_database(request.getfixturevalue("postgres"), f"store_{tag}")
    with Store.open(url) as store, Argilla(running.url, running.api_key, f"w-{tag}", patience_s=30) as argilla:
        fill(project, store)
        yield play(project, store, argilla, running.url, tag)


def play(project: Project, store: Store, argilla: Argilla, url: str, tag: str) -> PlayedReview:
    owner = argilla.sdk
    workspace = rg.Workspace(name=project.spec.review.workspace, client=owner).create()
    users, clients = {}, {}
    for name in PEOPLE:
        user = rg.User(username=f"{name}-{tag}", password="long enough", role="annotator", client=owner).create()
        users[name] = user.add_to_workspace(workspace)
        key = argilla.call("GET", f"users/{user.id}")["api_key"]
        clients[name] = rg.Argilla(api_url=url, api_key=key)

    population = read_population(project, store, [SCOPE])
    draw_batch(project, store, population)
    first = push(project, store, population, argilla)
    again = push(project, store, population, argilla)

    alone, shared = records_of(argilla, project), records_of(argilla, project, SHARED)
    gold = {item.pair.id for item in read_gold(project)} & {*alone, *shared}
    plan = make_plan(list(alone), list(shared), gold)
    responses = {}
    for name in ("ann", "bob"):
        for id_, record in {**alone, **shared}.items():
            for reply in plan[id_]:
                if reply.person == name:
                    responses[name, id_] = submit(clients[name], record, reply)
    for suffix, queue in (("", alone), (SHARED, shared)):
        replies = {id_: reply for id_ in queue for reply in plan[id_] if reply.person == "cid"}
        log_replies(owner, project, suffix, users["cid"], replies)
    pulls = {"first": pull(project, store, argilla), "second": pull(project, store, argilla)}

    accepted = [id_ for id_ in alone if id_ not in gold and plan[id_] == [Reply("ann", "accept")]]
    changed, deleted = accepted[:2]
    change(clients["ann"], responses["ann", changed], "reject")
    clients["ann"].http_client.delete(f"/api/v1/responses/{responses['ann', deleted]}").raise_for_status()
    pulls["changed"] = pull(project, store, argilla)

    push_adjudication(project, store, population, argilla)
    settled = {}
    for at, (id_, record) in enumerate(records_of(argilla, project, ADJUDICATION).items()):
        (third,) = set(PEOPLE) - {reply.person for reply in plan[id_]}
        settled[id_] = verdict(at, third, id_)
        submit(clients[third], record, settled[id_])
    pulls["adjudicated"] = pull(project, store, argilla)
    pulls["last"] = pull(project, store, argilla)

    per_row = project.spec.review.annotators_per_row
    result = asyncio.run(curate_project(project, store, fingerprints=[SCOPE]))
    folder = project.folder / "dataset"
    export_dataset(project, store, result, folder)
    for client in clients.values():
        client.http_client.close()
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    return PlayedReview(
        project=project,
        store=store,
        population=population,
        plan=plan,
        sent=first.sent,
        again=again.sent,
        on_server=Counter([*alone, *shared]),
        pulls=pulls,
        changed=changed,
        deleted=deleted,
        settled=settled,
        left=len(disagreements(population.pairs(population.rows), store.reviews(), per_row)),
        result=result,
        dataset={row["pair_id"]: row for split in SPLITS for row in rows(folder, split)},
        provenance={row["pair_id"]: row for row in manifest["rows"]},
    )


def test_every_row_is_sent_once(played: PlayedReview) -> None:
    """At least 200 rows, in two queues: each drawn row exactly once. A second push sends nothing."""
    assert played.sent >= 200
    assert played.again == 0
    assert played.on_server == Counter(dict.fromkeys(played.store.sampled(), 1))


def test_every_answer_is_pulled_once(played: PlayedReview) -> None:
    """There is one review for each answer, with that person's decision and text; the next pull finds nothing new."""
    answers = {(reply.person, id_): reply for id_, replies in played.plan.items() for reply in replies}
    assert {reply.person for reply in answers.values()} == set(PEOPLE)
    first, second = played.pulls["first"], played.pulls["second"]
    assert (first.new, first.changed, first.withdrawn, first.foreign) == (len(answers), 0, 0, 0)
    assert (second.news, second.unchanged) == (0, len(answers))
    kept: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
    for id_, own in played.store.reviews().items():
        for review in own:
            assert not review.simulated
            if review.role == "annotator":
                kept.setdefault((review.who.split("-")[0], id_), []).append((review.decision, review.edited))
    assert kept.keys() == answers.keys()
    for key, reply in answers.items():
        assert kept[key][0] == (reply.verdict, reply.text)
        assert len(kept[key]) == 1 + (key[1] in (played.changed, played.deleted))


def test_changed_and_deleted_answers_stay_in_the_history(played: PlayedReview) -> None:
    """The first answer is kept before the second, and a deleted one is followed by `withdrawn`."""
    pulled = played.pulls["changed"]
    assert (pulled.new, pulled.changed, pulled.withdrawn) == (0, 1, 1)
    reviews = played.store.reviews()
    assert [review.decision for review in reviews[played.changed]] == ["accept", "reject"]
    assert [review.decision for review in reviews[played.deleted]] == ["accept", "withdrawn"]


def test_only_disagreements_are_adjudicated(played: PlayedReview) -> None:
    """Exactly the rows on which two annotators differ go to a third; afterwards none is open."""
    differ = {id_ for id_, replies in played.plan.items() if len({reply.verdict for reply in replies}) > 1}
    assert differ
    assert played.settled.keys() == differ
    assert played.pulls["adjudicated"].new == len(differ)
    assert played.pulls["last"].news == 0
    assert played.left == 0


def test_every_decision_arrives_in_the_dataset(played: PlayedReview) -> None:
    """Accepted rows are in it, including those that a gate rejected; rejected ones are not. An edit replaces the pair
    that it corrects and names it; undecided rows follow the gates; no gold row is in the data."""
    counted: Counter[str] = Counter()
    by_parent = {row["replaces"][0]: id_ for id_, row in played.provenance.items() if row["replaces"]}
    for id_, pair in played.population.pairs(played.population.rows).items():
        outcome = played.outcome(id_) if id_ in played.plan else None
        counted[outcome.verdict if outcome else "nobody"] += 1
        if outcome is None:
            assert (id_ in played.dataset) is played.population.rows[id_].passed
        elif outcome.verdict == "edit":
            assert id_ not in played.dataset
            row = played.dataset[by_parent[id_]]
            assert (row["input"], row["output"], row["made_by"]) == (pair.input, outcome.text, "edited")
        else:
            assert (id_ in played.dataset) is (outcome.verdict == "accept")
    assert min(counted.values()) > 20
    assert counted["edit"] == len(by_parent)
    assert any(not played.population.rows[id_].passed for id_ in played.dataset.keys() & played.plan.keys())
    assert not {item.pair.input for item in read_gold(played.project)} & {r["input"] for r in played.dataset.values()}


def test_dataset_records_the_reviews_of_each_row(played: PlayedReview) -> None:
    """Every reviewed row has the reviews that decided it, and an edited row also the pair and the review it came
    from."""
    pairs: dict[str, Pair] = {pair.id: pair for pair in played.store.pairs()}
    reviews = {review.id: review for own in played.store.reviews().values() for review in own}
    called = {review.reviewer: review.who.split("-")[0] for review in reviews.values()}
    for id_, row in played.provenance.items():
        parent = row["replaces"][0] if row["replaces"] else id_
        decided = [review for review in row["reviews"] if review["decision"] != "withdrawn"]
        names = {called[review["reviewer"]] for review in decided}
        assert all(review["reviewer"].startswith("argilla:") for review in decided), "no user names in a dataset"
        people = {reply.person for reply in played.plan.get(parent, ())}
        assert names == (people | {played.settled[parent].person} if parent in played.settled else people) - (
            {"ann"} if parent == played.deleted else set()
        )
        origin = pairs[id_].origin
        if isinstance(origin, Edited):
            assert origin.parent_id == parent
            assert reviews[origin.review_id].edited == pairs[id_].output


def test_every_candidate_is_accounted_for(played: PlayedReview) -> None:
    """Every candidate is accepted or rejected, each rejection has a reason, and no row is waiting."""
    counts = played.result.counts
    assert counts.adds_up
    assert (counts.rows_in, counts.waiting, counts.failed) == (4 * INPUTS, 0, 0)
    assert counts.accepted == len(played.dataset) == len(played.provenance)
    by_people = sum((outcome := played.outcome(id_)) is not None and outcome.verdict == "reject" for id_ in played.plan)
    assert played.result.reasons["review"] == by_people
    assert sum(played.result.reasons.values()) == counts.rejected
