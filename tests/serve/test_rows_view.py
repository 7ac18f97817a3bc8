"""The rows view: what it shows is what the store holds, whatever happens to it."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.service.make_store import make
from pairsmith.rows import read_rows
from pairsmith.serve.rows_view import SORTS, Filters, RowsView, Sort
from pairsmith.serve.workspace import Workspace
from schemas.errors import UsageError
from schemas.records import Candidate, Generated, Pair, Reason, Sampling, Seed
from schemas.reviews import Review
from schemas.store import Store
from schemas.store.annotate import annotate

ROWS = 400


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("space")
    make(root / "projects" / "many", ROWS)
    return Workspace(root)


@pytest.fixture
def view(shared: Workspace) -> RowsView:
    return RowsView(shared)


def test_it_shows_what_the_store_holds(shared: Workspace, view: RowsView) -> None:
    """Every slot is a row, in the order of the pool and as `pairsmith rows` tells it; the sum holds."""
    with Store.open(f"sqlite:///{shared.folder('many') / 'pairsmith.db'}", write=False) as store:
        listing = read_rows(store, state=None, code=None, limit=0)
    shown = list(view.each("many", Filters()))
    assert [(r.pair_id, r.seed_id, r.sample, r.state, r.code, r.input, r.output, r.split) for r in shown] == [
        (r["pair_id"], r["seed_id"], r["sample"], r["state"], r["code"], r["input"], r["output"], r["split"])
        for r in listing["rows"]
    ]
    facets = view.facets("many")
    assert facets.all == {state: n for state, n in listing["counts"].items() if state != "rows_in" and n}
    assert sum(facets.all.values()) == listing["counts"]["rows_in"] == facets.total == ROWS
    assert facets.reason == listing["reasons"]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(
    "filters", [Filters(), Filters(state="accepted"), Filters(q="lighth"), Filters(reason="short")]
)
def test_pages_are_whole(view: RowsView, sort: Sort, filters: Filters) -> None:
    """Pages behind each other hold every row once, in the order that was asked for, as many as were counted."""
    rows: list[Any] = []
    cursor: str | None = None
    while True:
        page = view.page("many", filters, sort, cursor, limit=37)
        rows += page.rows
        cursor = page.next
        if cursor is None:
            break
        assert len(page.rows) == 37
    assert len({(r.seed_id, r.sample) for r in rows}) == len(rows) == page.total == view.facets("many", filters).total
    keys = {
        "best": lambda r: r.score,
        "worst": lambda r: r.score,
        "longest": lambda r: r.words,
        "shortest": lambda r: r.words,
    }
    if sort in keys:
        scored = [key for row in rows if (key := keys[sort](row)) is not None]
        down = sort in ("best", "longest")
        assert all(a >= b if down else a <= b for a, b in pairwise(scored))


def test_counts_and_filters_say_the_same(view: RowsView) -> None:
    """What a facet counts is what choosing it shows, under any other filters."""
    draw = random.Random(5)
    facets = view.facets("many")
    values = {name: [None, *getattr(facets, name)] for name in ("state", "reason", "step", "split")}
    values |= {"q": [None, "lighthouse fog", "har"], "reviewed": [None, True, False]}
    for _ in range(40):
        filters = Filters(**{name: draw.choice(several) for name, several in values.items()})
        rows, counted = list(view.each("many", filters)), view.facets("many", filters)
        assert counted.total == len(rows)
        for state, number in counted.state.items():
            chosen = Filters(**{**filters.given(), "state": state})
            assert number == view.page("many", chosen).total


@pytest.mark.parametrize(
    "q", ['"', "a OR b", "NEAR(", "*", "input:x", "'; DROP TABLE rows", "-", "ø^", "\x00", "()", " "]
)
def test_a_search_is_words(view: RowsView, q: str) -> None:
    """Whatever is typed is looked for as words, never obeyed."""
    view.page("many", Filters(q=q))
    view.facets("many", Filters(q=q))


def test_a_cursor_that_is_none_is_refused(view: RowsView) -> None:
    """A cursor that somebody made up is an error of theirs."""
    for cursor in ("x", "W10", "bnVsbA", "é", "WyJhIiwxXQ"):
        with pytest.raises(UsageError):
            view.page("many", cursor=cursor)


def test_it_may_be_deleted_at_any_time(shared: Workspace, view: RowsView) -> None:
    """Without its file, or with a broken one, the same page comes back."""
    before = view.page("many", Filters(q="lighthouse"), "best")
    file = shared.serve / "views" / "many.db"
    file.unlink()
    assert view.page("many", Filters(q="lighthouse"), "best") == before
    file.write_bytes(b"no database at all" * 1000)
    assert RowsView(shared).page("many", Filters(q="lighthouse"), "best") == before


# Following a store that is written


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[tuple[Workspace, Store]]:
    folder = make(tmp_path / "projects" / "new", 0)
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        yield Workspace(tmp_path), store


def slot(number: int, text: str | None, *, fingerprint: str = "next") -> tuple[Seed, list[Any]]:
    seed = Seed(kind="input", text=f"input {number}", source=f"s:{number}")
    named = {"fingerprint": fingerprint, "seed_id": seed.id, "generator": "forward", "sample": 0}
    if text is None:
        return seed, [Candidate(failure=Reason("empty", "no text came"), **named)]
    origin = Generated(generator="forward", prompt="enhance/v1@0", teacher="t", sampling=Sampling(), calls=())
    pair = Pair(seed_id=seed.id, input=seed.body, output=text, system="", origin=origin)
    return seed, [pair, Candidate(pair_id=pair.id, **named)]


def test_rows_are_there_from_the_first_answer(growing: tuple[Workspace, Store]) -> None:
    """While a generation runs that no receipt knows of, each answer is a row at once; a slot that is asked again is
    one row; another language is found by its words."""
    workspace, store = growing
    view = RowsView(workspace)
    assert view.page("new").total == 0
    texts = ["a red kite", None, "灯塔在雾中", "пёс и море", "a blue kite"]
    slots = [slot(number, text) for number, text in enumerate(texts)]
    store.set_active_seeds([seed for seed, _ in slots])
    for number, (_, records) in enumerate(slots, 1):
        store.write(*records)
        assert view.page("new").total == number
    assert view.facets("new").all == {"waiting": 4, "failed": 1}
    assert [row.output for row in view.page("new", Filters(q="kit"), "newest").rows] == ["a blue kite", "a red kite"]
    assert [row.output for row in view.page("new", Filters(q="灯塔")).rows] == ["灯塔在雾中"]
    assert [row.output for row in view.page("new", Filters(q="雾")).rows] == ["灯塔在雾中"]
    assert [row.output for row in view.page("new", Filters(q="ПЁС")).rows] == ["пёс и море"]
    assert next(row.input for row in view.page("new", Filters(state="failed")).rows) == "input 1"


def test_an_answer_of_a_person_shows_at_once(growing: tuple[Workspace, Store]) -> None:
    """What somebody says through the second door is kept beside a writer, once, and the row says so."""
    workspace, store = growing
    seed, records = slot(1, "a red kite")
    store.set_active_seeds([seed])
    store.write(*records)
    view = RowsView(workspace)
    (row,) = view.page("new").rows
    assert row.reviewed == 0
    reading = view.readers.store("new")
    assert reading is not None
    review = Review(pair_id=row.id, reviewer="serve:ann", decision="accept")
    annotate(reading, review)
    annotate(reading, review)
    assert [row.reviewed for row in view.page("new").rows] == [1]
    assert view.facets("new").reviewed == {"yes": 1}


def test_readers_at_once_count_everything_once(growing: tuple[Workspace, Store]) -> None:
    """While rows and answers join, several readers follow the store: each row and each answer is counted once."""
    workspace, store = growing
    view = RowsView(workspace)
    slots = [slot(number, f"a kite {number}") for number in range(60)]
    store.set_active_seeds([seed for seed, _ in slots])
    stop, wrong = threading.Event(), list[str]()

    def read() -> None:
        while not stop.is_set():
            try:
                view.page("new")
                view.page("new", Filters(reviewed=True))
            except Exception as error:
                wrong.append(repr(error))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _, records in slots:
        store.write(*records)
        pair = records[0]
        store.write(Review(pair_id=pair.id, reviewer="serve:ann", decision="accept"))
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert {row.reviewed for row in view.each("new", Filters())} == {1}
    assert view.page("new").total == 60
