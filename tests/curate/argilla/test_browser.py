"""Review as a user does it: the real Argilla page in a real Chromium, from signing in to the `Review` records."""

from __future__ import annotations

import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from curate.argilla.adjudication import push_adjudication
from curate.argilla.client import Argilla
from curate.argilla.pull import pull
from curate.argilla.push import ADJUDICATION, SHARED, draw_batch, push, queue_name
from curate.argilla.server import ArgillaServer
from curate.gates import gates_for, judge
from curate.review.decision import decide
from curate.review.population import Population, read_population
from schemas.project import Project
from schemas.records import Candidate, Edited, Json, Message, Pair, Record, Seed, Verdict
from schemas.spec_file import load
from schemas.store import Store
from tests.curate.argilla.answering import answer, queue_named
from tests.curate.argilla.browser_page import Annotator, needs_browser, open_browser
from tests.curate.argilla.conftest import wait_until
from tests.curate.review.review_project import SCOPE, pair_of

pytestmark = needs_browser
EXAMPLE = Path(__file__).parents[3] / "examples" / "image-prompts"
PASSWORD = "a password for this test"
# Each part would run or be rendered if it were not escaped for HTML and protected from Markdown.
NASTY = (
    '<img src=x onerror="window.ran=1"> <svg onload="window.ran=2"> **stars** `ticks` [a](javascript:ran) </div> $x^2$'
)


@dataclass
class Queue:
    """A pushed project, with the annotators of its workspace: their names on the page, and their clients."""

    project: Project
    store: Store
    population: Population
    argilla: Argilla
    names: list[str]
    clients: list[Any]

    def records(self, suffix: str = "") -> dict[str, Json]:
        """Return record id -> the record."""
        queue = queue_named(self.argilla, queue_name(self.project) + suffix)
        assert queue is not None
        return {str(record["id"]): record for record in self.argilla.records(queue, responses=True)}


def image_prompts(folder: Path, tag: str, **review: float) -> Project:
    """Load the example project in `folder`, with its own workspace and these settings of `review`."""
    for path in EXAMPLE.iterdir():
        shutil.copy(path, folder)
    settings = {"workspace": f"w-{tag}", **review}
    return load(
        folder, [f"task.name=image-prompts-{tag}", *(f"review.{key}={value}" for key, value in settings.items())]
    )


def judged(project: Project, seeds: list[Seed], outputs: Callable[[Seed, int], list[str]]) -> list[Record]:
    """The candidates of every seed, their gate verdicts, and a score and a judge's opinion for those that passed."""
    gates = gates_for(project.spec.task, project.spec.curate.gates, project.folder, project.spec.exemplars)
    records: list[Record] = []
    for number, seed in enumerate(seeds):
        for sample, text in enumerate(outputs(seed, number)):
            pair = pair_of(seed, sample, text)
            verdicts = judge(pair, gates)
            place = Candidate(fingerprint=SCOPE, seed_id=seed.id, generator="forward", sample=sample, pair_id=pair.id)
            records += [pair, place, *verdicts]
            if all(verdict.keep for verdict in verdicts):
                score = (number * 7 + sample * 5) % 11 / 10
                fields = {"pair_id": pair.id, "fingerprint": "s", "keep": True}
                records.append(Verdict(by="score/reward@1", score=score, reason="scored", **fields))
                records.append(Verdict(by="judge/style@1", score=0.6, reason="unsure about its medium", **fields))
    return records


@contextmanager
def pushed(
    project: Project,
    seeds: list[Seed],
    records: list[Record],
    server: ArgillaServer,
    connect: Callable[[str], Any],
    annotators: int,
) -> Iterator[Queue]:
    """Draw and push the project, and create this number of annotators."""
    workspace = project.spec.review.workspace
    with (
        Argilla(server.url, server.api_key, workspace, patience_s=30) as argilla,
        Store.open(Store.url_for(project)) as store,
    ):
        store.set_active_seeds(seeds)
        store.write(*records)
        population = read_population(project, store, [SCOPE])
        draw_batch(project, store, population, more=True)  # even if the gates reject everything
        push(project, store, population, argilla)
        names, clients = [], []
        for name in ("ann", "bob")[:annotators]:
            person = {"first_name": name.title(), "username": f"{name}-{workspace}", "password": PASSWORD}
            user = argilla.call("POST", "users", json={**person, "role": "annotator"})
            argilla.call("POST", f"workspaces/{argilla.workspace_id(make=False)}/users", json={"user_id": user["id"]})
            names.append(user["username"])
            clients.append(connect(user["api_key"]))
        yield Queue(project, store, population, argilla, names, clients)


@pytest.fixture
def argilla_server(on_each_database: ArgillaServer) -> ArgillaServer:
    """Overrides the fixture of the other tests: the page is tested on both databases."""
    return on_each_database


@pytest.fixture
def prompts(tmp_path: Path, argilla_server: ArgillaServer, connect: Callable[[str], Any]) -> Iterator[Queue]:
    """Forty of the example's inputs with four outputs each: three in the house style, one that a gate rejects."""
    project = image_prompts(tmp_path, uuid.uuid4().hex[:8], batch=26, overlap=0)
    lines = (EXAMPLE / "seeds.jsonl").read_bytes().splitlines()[:40]
    texts = [orjson.loads(line)["text"] for line in lines]
    seeds = [Seed(kind="input", text=text, source=f"seeds.jsonl:{at}") for at, text in enumerate(texts, 1)]
    ends = [exemplar.output.removeprefix(exemplar.input) for exemplar in project.spec.exemplars]

    def outputs(seed: Seed, number: int) -> list[str]:
        good = [f"{seed.text}{ends[(number + sample) % len(ends)]}" for sample in range(3)]
        return [*good, f"{seed.text}, I love this beautiful picture --ar 16:9"]

    with pushed(project, seeds, judged(project, seeds, outputs), argilla_server, connect, 1) as queue:
        yield queue


@dataclass
class AnswerLog:
    """What the annotator of a test was shown and answered, by record id: verdict, edited text, reasons."""

    answers: dict[str, tuple[str, str | None, tuple[str, ...]]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    suggested: dict[str, str | None] = field(default_factory=dict)
    discarded: list[str] = field(default_factory=list)

    def by_keys(self, ann: Annotator, verdict: str, *, reason: tuple[str, str] | None = None, ending: str = "") -> str:
        """Answer one row by keyboard only; `ending` replaces the text's aspect ratio flag."""
        row = self._look(ann)
        ann.press_verdict(verdict)
        edited = row[0].partition(" --ar")[0] + ending if ending else None
        if edited:
            ann.write_with_keys(edited)
        if reason:
            ann.press_reason(*reason)
        return self._log(ann.press("Enter"), row, verdict, edited, reason[1:] if reason else ())

    def by_draft(self, ann: Annotator, verdict: str) -> str:
        """Answer one row by keyboard only, first saved as a draft."""
        row = self._look(ann)
        ann.press_verdict(verdict)
        draft = ann.press("Control+S")
        assert ann.press("Enter") == draft
        return self._log(draft, row, verdict)

    def by_discarding(self, ann: Annotator) -> None:
        """Discard one row. Its suggestion is read all the same: every row comes up once, but in another order for every
        user."""
        self._look(ann)
        self.discarded.append(ann.press("Backspace"))

    def by_pointer(self, ann: Annotator, verdict: str, *, reason: str = "") -> str:
        """Answer one row with the mouse."""
        row = self._look(ann)
        ann.click_verdict(verdict)
        if reason:
            ann.click_reason(reason)
        return self._log(ann.click_submit(), row, verdict, None, (reason,) if reason else ())

    def _look(self, ann: Annotator) -> tuple[str, str | None]:
        return ann.output, ann.chosen

    def _log(
        self,
        record_id: str,
        row: tuple[str, str | None],
        verdict: str,
        edited: str | None = None,
        reasons: tuple[str, ...] = (),
    ) -> str:
        assert record_id not in self.answers
        self.shown[record_id], self.suggested[record_id] = row
        self.answers[record_id] = (verdict, edited, reasons)
        return record_id


@pytest.mark.timeout(600)
def test_annotator_reviews_twenty_rows_in_the_web_page(
    prompts: Queue, argilla_server: ArgillaServer, tmp_path: Path
) -> None:
    """The annotator signs in through the form, sees a whole row at 1280x800 and reads the guidelines. Twelve rows are
    answered by keyboard only (accept, reject with a reason, edit, draft), one is discarded, and eight are answered with
    a search, a sort and a filter. Every answer is pulled as it was given."""
    ids = {id_: str(record["external_id"]) for id_, record in prompts.records().items()}
    pairs = prompts.population.pairs(ids.values())
    rows = {id_: pairs[pair_id] for id_, pair_id in ids.items()}
    assert len(rows) > 20
    answered = AnswerLog()
    with open_browser(argilla_server.url, tmp_path, "review") as ann:
        ann.sign_in(prompts.names[0], PASSWORD)
        ann.open(queue_name(prompts.project))
        ann.picture("queue")
        parts = {"Input", "Output", "verdict", "reasons", "edited"}
        wait_until(lambda: parts <= set(ann.fully_visible()), 60)
        ann.wait_for_total(len(rows))
        assert "shows the letter that selects it" in ann.guidelines()

        for ending in (" --ar 1:1", " --ar 2:3", " --ar 4:5"):
            answered.by_keys(ann, "accept")
            answered.by_keys(ann, "reject", reason=("r", "off_style"))
            answered.by_keys(ann, "edit", ending=f", drawn by hand{ending}")
        answered.by_discarding(ann)
        answered.by_keys(ann, "reject", reason=("w", "invented"))
        answered.by_keys(ann, "edit", reason=("y", "too_short"), ending=", seen from above --ar 3:2")
        answered.by_draft(ann, "accept")
        assert len(answered.answers) == 12

        _search_sort_and_filter(ann, prompts, rows, answered)
        assert len(answered.answers) == 20
        ann.open(queue_name(prompts.project))
        ann.wait_for_total(len(rows) - 21)
        for _ in range(len(rows) - 21):
            answered.by_discarding(ann)
        ann.page.get_by_text("no pending records to annotate").wait_for()
        ann.picture("finished")
    _check_pulled_answers(prompts, rows, answered)


def _search_sort_and_filter(ann: Annotator, queue: Queue, rows: dict[str, Pair], answered: AnswerLog) -> None:
    """Answer eight rows with the pointer; the rows shown are the requested ones."""
    texts, records = {}, queue.records()
    for id_, pair in rows.items():
        others = queue.population.pairs(records[id_]["metadata"].get("rivals", ())).values()
        texts[id_] = " ".join(p.output for p in (pair, *others))
    lengths = {id_: str(record["metadata"]["length"]) for id_, record in records.items()}

    def waiting() -> list[str]:
        return [id_ for id_ in rows if id_ not in answered.answers and id_ not in answered.discarded]

    word = max(re.findall(r"[a-z]+", rows[waiting()[0]].input), key=len)
    matching = {id_ for id_ in waiting() if re.search(rf"(?i)\b{word}\b", texts[id_])}
    ann.search(word)
    ann.wait_for_total(len(matching))
    assert answered.by_pointer(ann, "accept") in matching
    ann.search("")

    ann.sort_by_length()
    for verdict in ("accept", "reject", "accept", "accept"):
        shortest = min(lengths[id_] for id_ in waiting())
        assert lengths[answered.by_pointer(ann, verdict)] == shortest

    length, rows_of_it = Counter(lengths[id_] for id_ in waiting()).most_common(1)[0]
    ann.filter_length(length)
    ann.wait_for_total(rows_of_it)
    for verdict, reason in (("accept", ""), ("reject", "wrong"), ("accept", "")):
        assert lengths[answered.by_pointer(ann, verdict, reason=reason)] == length


def _check_pulled_answers(queue: Queue, rows: dict[str, Pair], answered: AnswerLog) -> None:
    pulled = pull(queue.project, queue.store, queue.argilla)
    edits = {edited for _, edited, _ in answered.answers.values() if edited}
    assert (pulled.new, pulled.edits, pulled.discarded, pulled.foreign) == (20, len(edits), len(answered.discarded), 0)
    reviews, sampled = queue.store.reviews(), queue.store.sampled()
    assert set(reviews) == {rows[id_].id for id_ in (*answered.answers, *answered.discarded)}
    for id_ in answered.discarded:
        assert [review.decision for review in reviews[rows[id_].id]] == ["withdrawn"]
    times = []
    for id_, (verdict, edited, reasons) in answered.answers.items():
        pair = rows[id_]
        assert answered.shown[id_] == pair.output
        (review,) = reviews[pair.id]
        assert (review.decision, review.edited, review.reasons) == (verdict, edited, reasons)
        assert (review.name, review.ranking) == (queue.names[0], ())
        assert review.sampling_probability == sampled[pair.id][-1].sampling_probability
        decision = decide([review], pair)
        assert decision is not None
        assert decision.verdict == verdict
        times.append((review.at, review.seconds))
        assert answered.suggested[id_] is None, "a verdict was suggested"
    first, *later = [seconds for _, seconds in sorted(times)]
    assert first is None
    assert all(seconds is not None and 0 < seconds < 600 for seconds in later)
    outputs = [pair.output for pair in queue.store.pairs() if isinstance(pair.origin, Edited)]
    assert sorted(outputs) == sorted(edits)
    assert pull(queue.project, queue.store, queue.argilla).news == 0


@pytest.fixture
def nasty(tmp_path: Path, argilla_server: ArgillaServer, connect: Callable[[str], Any]) -> Iterator[Queue]:
    """Conversations in which every text tries to inject code, all of them shared by two annotators."""
    project = image_prompts(tmp_path, uuid.uuid4().hex[:8], batch=6, overlap=1)
    talk = (Message(role="user", content=NASTY), Message(role="assistant", content=f"Which one?\n\n{NASTY}"))
    seeds = [
        Seed(kind="conversation", messages=(*talk, Message(role="user", content=f"the {name} mug")), source=f"x:{name}")
        for name in ("blue", "red", "green")
    ]
    project = Project(
        spec=project.spec.model_copy(
            update={"task": project.spec.task.model_copy(update={"style": f"Be kind. {NASTY}"})}
        ),
        folder=project.folder,
    )

    def outputs(seed: Seed, number: int) -> list[str]:
        return [f"{seed.id[:6]} {sample} {NASTY}" for sample in range(2)]

    with pushed(project, seeds, judged(project, seeds, outputs), argilla_server, connect, 2) as queue:
        yield queue


def test_texts_are_shown_literally_and_run_no_code(nasty: Queue, argilla_server: ArgillaServer, tmp_path: Path) -> None:
    """Conversation, output, guidelines and, for the adjudicator, the annotators' answers: HTML and Markdown in them are
    shown as plain text."""
    records = nasty.records(SHARED)
    assert records
    for id_ in records:
        answer(nasty.clients[0], id_, "reject", reasons=["off_style", "invented"])
        answer(nasty.clients[1], id_, "edit", edited=f"Better. {NASTY}")
    pull(nasty.project, nasty.store, nasty.argilla)
    push_adjudication(nasty.project, nasty.store, nasty.population, nasty.argilla)
    with open_browser(argilla_server.url, tmp_path, "talk") as ann:
        ann.sign_in(nasty.names[0], PASSWORD)
        ann.open(queue_name(nasty.project) + ADJUDICATION)
        ann.picture("adjudication")
        shown = {"output": ann.field("Output").inner_text()}
        shown["answers"] = ann.field("What the annotators said; your answer is final").inner_text()
        shown["talk"] = ann.page.locator(".chat__bubble").nth(1).inner_text()
        ann.page.locator(".chat__bubble").last.scroll_into_view_if_needed()
        ann.picture("conversation")
        shown["guidelines"] = ann.guidelines()
        assert ann.page.evaluate("window.ran ?? 0") == 0
    for where, text in shown.items():
        assert NASTY in text, where
    assert f"{nasty.names[0]} reject (off style, invented)" in shown["answers"]
    assert f"{nasty.names[1]} edit" in shown["answers"]
