"""A review of each kind of task, pushed to a real server and answered by keys alone in a real Chromium.

Inputs and outputs are those of the examples; a part of the outputs is spoiled, so that there is something to correct.
"""

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
from tests.curate.argilla.browser_page import READY, Annotator, open_browser
from tests.curate.review.review_project import SCOPE, pair_of

EXAMPLES = Path(__file__).parents[3] / "examples"


class Played(NamedTuple):
    """An example, and how many `candidates` an input has; `talk`: inputs are the last turn of a conversation; `long`:
    outputs have 150 words."""

    example: str
    candidates: int = 1
    talk: bool = False
    long: bool = False


KINDS_PLAYED = {
    "rewrite": Played("image-prompts", candidates=4, long=True),
    "reply": Played("shop-replies", candidates=2),
    "conversation": Played("shop-replies", talk=True),
    "classify": Played("tickets"),
    "extract": Played("invoices"),
    "translate": Played("manual-de-en"),
    "free": Played("curious"),
}
# The texts under `titles` on the page, in the page's own language.
_MAX_SLOW_TEXTS = """titles.map(title => [...document.querySelectorAll('.text_field_component')]
    .find(one => one.querySelector('.title-area').innerText.trim() === title)
    ?.querySelector('.markdown-render')?.innerText)"""
EARLIER = (
    Message(role="user", content="Hello, I bought a few things from you last week."),
    Message(role="assistant", content="Thank you for writing. What can we do for you?"),
)


@dataclass
class Desk:
    """A pushed project of one kind."""

    kind: str
    project: Project
    store: Store
    argilla: Argilla
    rows: dict[str, list[Pair]]  # by the input: of an input with several candidates more than one may be drawn
    answers: dict[str, tuple[str, str | None, tuple[str, ...]]] = field(default_factory=dict)
    keys: int = 0
    seconds: float = 0.0
    most_keys_to_accept: int = 0


def project_of(kind: str, folder: Path, tag: str, rows: int) -> Project:
    for path in (EXAMPLES / KINDS_PLAYED[kind].example).iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    settings = {"task.name": f"{kind}-{tag}", "review.workspace": f"w-{kind}-{tag}", "review.batch": rows}
    settings |= {"review.overlap": 0, "generate.forward.n": KINDS_PLAYED[kind].candidates}
    shares = {"estimation": 0.4, "calibration": 0.4, "disagreement": 0, "margin": 0}  # half blind, half with findings
    settings |= {f"review.shares.{name}": share for name, share in shares.items()}
    if KINDS_PLAYED[kind].long:
        settings |= {"curate.gates.length.max_words": 170, "curate.gates.repetition": "false"}
    return load(folder, [f"{key}={value}" for key, value in settings.items()])


def filled(kind: str, project: Project, store: Store, inputs: int) -> None:
    """`inputs` judged inputs, each with its candidates."""
    played, form = KINDS_PLAYED[kind], AnswerForm.of(project.spec.task, project.folder)
    gates = gates_for(project.spec.task, project.spec.curate.gates, project.folder, project.spec.exemplars)
    lines = [json.loads(line) for line in (project.folder / "seeds.jsonl").read_text(encoding="utf-8").splitlines()]
    ends = [exemplar.output.removeprefix(exemplar.input) for exemplar in project.spec.exemplars]
    seeds, records = [], list[Record]()
    for number in range(inputs):
        line = lines[number % len(lines)]
        text = line.get("input") or line["text"]
        text = text if number < len(lines) else f"{text} ({number})"
        given = {"messages": (*EARLIER, Message(role="user", content=text))} if played.talk else {"text": text}
        seed = Seed(kind="conversation" if played.talk else "input", source=f"seeds.jsonl:{number}", **given)
        seeds.append(seed)
        for sample in range(played.candidates):
            output = line.get("output") or f"{text}{ends[(number + sample) % len(ends)]}"
            if played.long:
                tails = [ends[(number + sample + step) % len(ends)].partition(" --ar")[0] for step in range(len(ends))]
                output = f"{' '.join((text + ', '.join(tails)).split()[:148])} --ar 3:2"
            elif sample:
                output = f"{output} Take care, number {sample}."
            if number % 3 == 2:
                output = spoiled(form, output)
            pair = pair_of(seed, sample, form.canonical(output))
            pair = pair.model_copy(update={"input": text, "turns": seed.turns})
            pair = Pair(**{name: getattr(pair, name) for name in type(pair).model_fields})
            place = Candidate(fingerprint=SCOPE, seed_id=seed.id, generator="forward", sample=sample, pair_id=pair.id)
            records += [pair, place, *judge(pair, gates)]
    store.set_active_seeds(seeds)
    store.write(*records)


def spoiled(form: AnswerForm, output: str) -> str:
    """Another label, a record whose first text is another, or a text with a wrong word at its end."""
    if form.labels:
        return next(label for label in form.labels if label != output)
    if form.schema:
        record = json.loads(output)
        return json.dumps({**record, next(iter(record)): "Somebody Else"})
    return f"{output} wrongly"


def open_desk(kind: str, folder: Path, server: ArgillaServer, user_id: str, rows: int) -> Desk:
    """A project whose rows are pushed, with the user in its workspace. Close store and connection when done."""
    tag = uuid.uuid4().hex[:6]
    project = project_of(kind, folder, tag, rows)
    workspace = project.spec.review.workspace
    assert workspace is not None
    argilla = Argilla(server.url, server.api_key, workspace, patience_s=30)
    store = Store.open(Store.url_for(project))
    filled(kind, project, store, inputs=-(-(4 * rows + 8) // KINDS_PLAYED[kind].candidates))
    population = read_population(project, store, [SCOPE])
    draw_batch(project, store, population, more=True)
    push(project, store, population, argilla, alone=True)
    argilla.call("POST", f"workspaces/{argilla.workspace_id(make=False)}/users", json={"user_id": user_id})
    rows = dict[str, list[Pair]]()
    for pair in population.pairs(store.sampled()).values():
        rows.setdefault(pair.input, []).append(pair)
    return Desk(kind, project, store, argilla, rows)


class Player:
    """A person who answers by keys alone; each method is a row. Waits for the page, never a fixed time."""

    def __init__(self, desk: Desk, page: Any) -> None:
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
        """The row on the page: every third is corrected or rejected, the others accepted."""
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
        """The input and the output that are on the page."""
        return self.text(0), self.text(1)

    def pair_of(self, input: str, output: str) -> Pair:
        """The pair whose row is on the page; two rows of one input are told apart by their outputs."""
        pairs = self.desk.rows[input.strip()]
        if len(pairs) > 1:
            pairs = [pair for pair in pairs if pair.output.split() == output.split()]
        (pair,) = pairs
        return pair

    def submit(self, shown: tuple[str, str]) -> None:
        """Enter, until the answer is taken and another row than the one `shown` is ready, or none is left."""
        with self.page.expect_response(lambda answer: "/responses" in answer.url) as sent:
            self.key("Enter")
        assert sent.value.ok, sent.value.text()
        self.leaves(shown)

    def leaves(self, shown: tuple[str, str]) -> None:
        """Until another row than the one `shown` takes keys, or none is left."""
        self.page.wait_for_function(
            f"""([titles, before]) => {{
                if (/no pending records|task is completed/.test(document.body.innerText)) return true;
                const texts = {_MAX_SLOW_TEXTS};
                return texts.every(text => text !== undefined) && texts.some((text, side) => text !== before[side])
                    && document.querySelector('{READY}') && !document.querySelector('.questions-form.--waiting');
            }}""",
            arg=[self.titles, shown],
        )

    def shows(self, shown: tuple[str, str]) -> None:
        """Until the row `shown` is on the page, wherever the keyboard is."""
        self.page.wait_for_function(
            f"""([titles, shown]) => {_MAX_SLOW_TEXTS}.every((text, side) => text === shown[side])
                && document.querySelector('body.pairsmith [id^=verdict_]')""",
            arg=[self.titles, shown],
        )

    def opens_anew(self, shown: tuple[str, str] | None = None) -> None:
        """Reloaded, until the first of the rows that wait takes keys; until it is the one `shown`, if that is given."""
        self.page.reload()
        self.page.wait_for_function(
            f"""([titles, shown]) => !(new URL(location).searchParams.get('page') > 1)
                && document.querySelector('{READY}')
                && (!shown || {_MAX_SLOW_TEXTS}.every((text, side) => text === shown[side]))""",
            arg=[self.titles, shown],
        )

    def correct(self, pair: Pair) -> str:
        """By the edit that fits: another label, a field of the record, the text."""
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
def at_the_page(kind: str, folder: Path, server: ArgillaServer, user_id: str, page: Any, rows: int) -> Iterator[Player]:
    """The user before the first row of a pushed project, signed in on `page`."""
    desk = open_desk(kind, folder, server, user_id, rows)
    with desk.argilla, desk.store:
        queue = desk.argilla.queue(queue_name(desk.project))
        assert queue is not None
        page.goto(desk.argilla.page_of(queue))
        page.locator(READY).wait_for(state="attached")
        yield Player(desk, page)


def play(player: Player, rows: int) -> Desk:
    """Answer `rows` rows by keys, and bring the answers."""
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
    """An annotator who is signed in: her id, her page, and the server that it is of."""

    id: str
    page: Annotator
    server: ArgillaServer

    def at(self, kind: str, folder: Path, rows: int = 12) -> AbstractContextManager[Player]:
        return at_the_page(kind, folder, self.server, self.id, self.page.page, rows)


@contextmanager
def signed_in(server: ArgillaServer, pictures: Path) -> Iterator[Ann]:
    """An annotator of her own, in a browser of her own."""
    name, password = f"ann-{uuid.uuid4().hex[:6]}", "a password for this test"
    with Argilla(server.url, server.api_key, "none") as argilla:
        person = {"first_name": "Ann", "username": name, "password": password, "role": "annotator"}
        id_ = argilla.call("POST", "users", json=person)["id"]
    with open_browser(server.url, pictures, "page") as page:
        page.sign_in(name, password)
        yield Ann(id_, page, server)
