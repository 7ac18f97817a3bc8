"""A review of each kind of task, pushed to a real server and answered only by keyboard in a real Chromium.

Inputs and outputs come from the examples; some outputs are spoiled, so that there is something to correct."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from curate.argilla.client import Argilla
from curate.argilla.pull import pull
from curate.argilla.push import draw_batch, push, queue_name
from curate.argilla.server import ArgillaServer
from curate.gates import gates_for, judge
from curate.review.population import read_population
from prompts.answer_form import AnswerForm
from schemas.kinds import KINDS
from schemas.project import Project
from schemas.records import Candidate, Edited, Message, Pair, Record, Seed
from schemas.spec_file import load
from schemas.store import Store
from tests.curate.argilla.answering import queue_named
from tests.curate.argilla.browser_page import READY, Annotator, open_browser
from tests.curate.review.review_project import SCOPE, pair_of

EXAMPLES = Path(__file__).parents[3] / "examples"


class ExampleSetup(NamedTuple):
    """An example and its number of `candidates` per input; `talk`: inputs are the last turn of a conversation; `long`:
    outputs have 150 words."""

    example: str
    candidates: int = 1
    talk: bool = False
    long: bool = False


EXAMPLES_OF_KINDS = {
    "rewrite": ExampleSetup("image-prompts", candidates=4, long=True),
    "reply": ExampleSetup("shop-replies", candidates=2),
    "conversation": ExampleSetup("shop-replies", talk=True),
    "classify": ExampleSetup("tickets"),
    "extract": ExampleSetup("invoices"),
    "translate": ExampleSetup("manual-de-en"),
    "free": ExampleSetup("curious"),
}
# The texts under `titles` on the page, in JavaScript.
_TEXTS_UNDER_TITLES = """titles.map(title => [...document.querySelectorAll('.text_field_component')]
    .find(one => one.querySelector('.title-area').innerText.trim() === title)
    ?.querySelector('.markdown-render')?.innerText)"""
EARLIER = (
    Message(role="user", content="Hello, I bought a few things from you last week."),
    Message(role="assistant", content="Thank you for writing. What can we do for you?"),
)


@dataclass
class PushedProject:
    """A pushed project of one kind, with the answers that were given."""

    kind: str
    project: Project
    store: Store
    argilla: Argilla
    rows: dict[str, list[Pair]]  # by input; several candidates of one input may be drawn
    answers: dict[str, tuple[str, str | None, tuple[str, ...]]] = field(default_factory=dict)
    keys: int = 0
    seconds: float = 0.0
    most_keys_to_accept: int = 0


def project_of(kind: str, folder: Path, tag: str, rows: int) -> Project:
    for path in (EXAMPLES / EXAMPLES_OF_KINDS[kind].example).iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    settings = {"task.name": f"{kind}-{tag}", "review.workspace": f"w-{kind}-{tag}", "review.batch": rows}
    settings |= {"review.overlap": 0, "generate.forward.n": EXAMPLES_OF_KINDS[kind].candidates}
    shares = {"estimation": 0.4, "calibration": 0.4, "disagreement": 0, "margin": 0}  # half blind, half with findings
    settings |= {f"review.shares.{name}": share for name, share in shares.items()}
    if EXAMPLES_OF_KINDS[kind].long:
        settings |= {"curate.gates.length.max_words": 170, "curate.gates.repetition": "false"}
    return load(folder, [f"{key}={value}" for key, value in settings.items()])


def fill(kind: str, project: Project, store: Store, inputs: int) -> None:
    """Store `inputs` judged inputs, each with its candidates."""
    setup, form = EXAMPLES_OF_KINDS[kind], AnswerForm.of(project.spec.task, project.folder)
    gates = gates_for(project.spec.task, project.spec.curate.gates, project.folder, project.spec.exemplars)
    lines = [json.loads(line) for line in (project.folder / "seeds.jsonl").read_text(encoding="utf-8").splitlines()]
    ends = [exemplar.output.removeprefix(exemplar.input) for exemplar in project.spec.exemplars]
    seeds, records = [], list[Record]()
    for number in range(inputs):
        line = lines[number % len(lines)]
        text = line.get("input") or line["text"]
        text = text if number < len(lines) else f"{text} ({number})"
        given = {"messages": (*EARLIER, Message(role="user", content=text))} if setup.talk else {"text": text}
        seed = Seed(kind="conversation" if setup.talk else "input", source=f"seeds.jsonl:{number}", **given)
        seeds.append(seed)
        for sample in range(setup.candidates):
            output = line.get("output") or f"{text}{ends[(number + sample) % len(ends)]}"
            if setup.long:
                tails = [ends[(number + sample + step) % len(ends)].partition(" --ar")[0] for step in range(len(ends))]
                output = f"{' '.join((text + ', '.join(tails)).split()[:148])} --ar 3:2"
            elif sample:
                output = f"{output} Take care, number {sample}."
            if number % 3 == 2:
                output = spoil(form, output)
            pair = pair_of(seed, sample, form.canonical(output))
            pair = pair.model_copy(update={"input": text, "turns": seed.turns})
            pair = Pair(**{name: getattr(pair, name) for name in type(pair).model_fields})
            place = Candidate(fingerprint=SCOPE, seed_id=seed.id, generator="forward", sample=sample, pair_id=pair.id)
            records += [pair, place, *judge(pair, gates)]
    store.set_active_seeds(seeds)
    store.write(*records)


def spoil(form: AnswerForm, output: str) -> str:
    """Return another label, a record whose first text is changed, or the text with a wrong word at its end."""
    if form.labels:
        return next(label for label in form.labels if label != output)
    if form.schema:
        record = json.loads(output)
        return json.dumps({**record, next(iter(record)): "Somebody Else"})
    return f"{output} wrongly"


def push_project(kind: str, folder: Path, server: ArgillaServer, user_id: str, rows: int) -> PushedProject:
    """Push a project's rows and add the user to its workspace. The caller closes store and connection."""
    tag = uuid.uuid4().hex[:6]
    project = project_of(kind, folder, tag, rows)
    workspace = project.spec.review.workspace
    assert workspace is not None
    argilla = Argilla(server.url, server.api_key, workspace, patience_s=30)
    store = Store.open(Store.url_for(project))
    fill(kind, project, store, inputs=-(-(4 * rows + 8) // EXAMPLES_OF_KINDS[kind].candidates))
    population = read_population(project, store, [SCOPE])
    draw_batch(project, store, population, more=True)
    push(project, store, population, argilla, alone=True)
    argilla.call("POST", f"workspaces/{argilla.workspace_id(make=False)}/users", json={"user_id": user_id})
    rows = dict[str, list[Pair]]()
    for pair in population.pairs(store.sampled()).values():
        rows.setdefault(pair.input, []).append(pair)
    return PushedProject(kind, project, store, argilla, rows)


class Player:
    """Answers rows by keyboard only. Waits for the page, never for a fixed time."""

    def __init__(self, desk: PushedProject, page: Any) -> None:
        self.desk, self.page = desk, page
        kind = KINDS[desk.project.spec.task.kind]
        of = desk.project.spec.task
        self.titles = [
            f"{name.capitalize()}{f' ({code})' if of.to else ''}"
            for name, code in ((kind.input, of.language), (kind.output, of.to))
        ]
        self.form = AnswerForm.of(of, desk.project.folder)

    def text(self, side: int) -> str:
        title = self.page.get_by_text(self.titles[side], exact=True)
        return str(self.page.locator(".text_field_component", has=title).locator(".markdown-render").inner_text())

    def key(self, key: str) -> None:
        self.desk.keys += 1
        self.page.keyboard.press(key)

    def is_checked(self, option: str) -> None:
        self.page.locator(f"[id='{option}']:checked").wait_for(state="attached")

    def row(self, number: int) -> None:
        """Answer the row on the page: every fourth is edited, every fourth rejected, the others accepted."""
        started, shown = time.perf_counter(), self.shown()
        pair = self.pair_of(*shown)
        before, verdict, edited, reasons = self.desk.keys, "accept", None, tuple[str, ...]()
        if number % 4 == 3:
            verdict, reasons = "reject", self.desk.project.spec.review.reasons[1:2]
            self.key("2")
            self.is_checked("verdict_reject")
            self.key("w")
            self.is_checked(f"reasons_{reasons[0]}")
        elif number % 4 == 1:
            verdict, edited = "edit", self.correct(pair)
        else:
            self.key("1")
            self.is_checked("verdict_accept")
        self.submit(shown)
        if verdict == "accept":
            self.desk.most_keys_to_accept = max(self.desk.most_keys_to_accept, self.desk.keys - before)
        self.desk.answers[pair.id] = (verdict, edited, reasons)
        self.desk.seconds += time.perf_counter() - started

    def shown(self) -> tuple[str, str]:
        """Return the input and the output on the page."""
        return self.text(0), self.text(1)

    def pair_of(self, input: str, output: str) -> Pair:
        """Return the pair of the row on the page; rows of the same input are distinguished by their outputs."""
        pairs = self.desk.rows[input.strip()]
        if len(pairs) > 1:
            pairs = [pair for pair in pairs if pair.output.split() == output.split()]
        (pair,) = pairs
        return pair

    def submit(self, shown: tuple[str, str]) -> None:
        """Press Enter, and wait until the answer is sent and another row than the one `shown` is ready, or none is
        left."""
        with self.page.expect_response(lambda answer: "/responses" in answer.url) as sent:
            self.key("Enter")
        assert sent.value.ok, sent.value.text()
        self.wait_until_next(shown)

    def wait_until_next(self, shown: tuple[str, str]) -> None:
        """Wait until another row than the one `shown` accepts keys, or none is left."""
        self.page.wait_for_function(
            f"""([titles, before]) => {{
                if (/no pending records|task is completed/.test(document.body.innerText)) return true;
                const texts = {_TEXTS_UNDER_TITLES};
                return texts.every(text => text !== undefined) && texts.some((text, side) => text !== before[side])
                    && document.querySelector('{READY}') && !document.querySelector('.questions-form.--waiting');
            }}""",
            arg=[self.titles, shown],
        )

    def wait_until_shown(self, shown: tuple[str, str]) -> None:
        """Wait until the row `shown` is on the page, wherever the keyboard focus is."""
        self.page.wait_for_function(
            f"""([titles, shown]) => {_TEXTS_UNDER_TITLES}.every((text, side) => text === shown[side])
                && document.querySelector('body.pairsmith [id^=verdict_]')""",
            arg=[self.titles, shown],
        )

    def reload(self, shown: tuple[str, str] | None = None) -> None:
        """Reload and wait until the first pending row accepts keys; if `shown` is given, until it is that row."""
        self.page.reload()
        self.page.wait_for_function(
            f"""([titles, shown]) => !(new URL(location).searchParams.get('page') > 1)
                && document.querySelector('{READY}')
                && (!shown || {_TEXTS_UNDER_TITLES}.every((text, side) => text === shown[side]))""",
            arg=[self.titles, shown],
        )

    def correct(self, pair: Pair) -> str:
        """Correct the row by the kind's edit: another label, a field of the record, or the text."""
        if self.form.labels:
            right = next(label for label in reversed(self.form.labels) if label != pair.output)
            self.key("asdfghjkl"[list(self.form.labels).index(right)])
            self.is_checked(f"edited_{right}")
            self.is_checked("verdict_edit")
            return right
        self.key("3")
        self.is_checked("verdict_edit")
        focused = self.page.locator("[aria-label^='Question: edited'] [contenteditable]:focus")
        focused.wait_for()
        if self.form.schema:
            self.key("Tab")  # to the second field
            self.page.locator("[aria-label='Question: edited_2'] [contenteditable]:focus").wait_for()
            corrected = {**json.loads(pair.output), "number": "A-77"}
            self.key("Control+A")
            self.page.keyboard.type("A-77")
            text = json.dumps(corrected, ensure_ascii=False)
        else:
            self.key("Control+End")
            self.page.keyboard.type(", mended")
            text = f"{pair.output}, mended"
        self.key("Escape")
        focused.wait_for(state="detached")
        return self.form.canonical(text)


@contextmanager
def open_queue(kind: str, folder: Path, server: ArgillaServer, user_id: str, page: Any, rows: int) -> Iterator[Player]:
    """Push a project and open its first row on `page`, where the user is signed in."""
    desk = push_project(kind, folder, server, user_id, rows)
    with desk.argilla, desk.store:
        queue = queue_named(desk.argilla, queue_name(desk.project))
        assert queue is not None
        page.goto(desk.argilla.page_of(queue))
        page.locator(READY).wait_for(state="attached")
        yield Player(desk, page)


def play(player: Player, rows: int) -> PushedProject:
    """Answer `rows` rows by keyboard, pull the answers and check them."""
    desk = player.desk
    for number in range(min(rows, sum(map(len, desk.rows.values())))):
        player.row(number)
    pulled = pull(desk.project, desk.store, desk.argilla)
    assert pulled.new == len(desk.answers)
    reviews = desk.store.reviews()
    for id_, answered in desk.answers.items():
        (review,) = reviews[id_]
        assert (review.decision, review.edited, review.reasons) == answered
    edits = sorted(pair.output for pair in desk.store.pairs() if isinstance(pair.origin, Edited))
    assert edits == sorted(edited for _, edited, _ in desk.answers.values() if edited)
    return desk


class Ann(NamedTuple):
    """An annotator who is signed in: id, page and server."""

    id: str
    page: Annotator
    server: ArgillaServer

    def at(self, kind: str, folder: Path, rows: int = 12) -> AbstractContextManager[Player]:
        return open_queue(kind, folder, self.server, self.id, self.page.page, rows)


@contextmanager
def signed_in(server: ArgillaServer, pictures: Path) -> Iterator[Ann]:
    """Create an annotator and sign in, in a separate browser."""
    name, password = f"ann-{uuid.uuid4().hex[:6]}", "a password for this test"
    with Argilla(server.url, server.api_key, "none") as argilla:
        person = {"first_name": "Ann", "username": name, "password": password, "role": "annotator"}
        id_ = argilla.call("POST", "users", json=person)["id"]
    with open_browser(server.url, pictures, "page") as page:
        page.sign_in(name, password)
        yield Ann(id_, page, server)
