"""The rows view always shows what the store contains."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.service.make_store import make
from pairsmith.rows.curated import read_rows
from pairsmith.serve import rows_view
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


def test_view_matches_the_store(shared: Workspace, view: RowsView) -> None:
    """Every slot is a row, in the order of the pool and as `pairsmith rows` lists it; the counts add up."""
    with Store.open(f"sqlite:///{shared.folder('many') / 'pairsmith.db'}", write=False) as store:
        listing = read_rows(store, state=None, code=None, limit=0)
        listed = list(listing["rows"])
    shown = list(view.each("many", Filters()))
    assert [(r.pair_id, r.seed_id, r.sample, r.state, r.code, r.input, r.output, r.split) for r in shown] == [
        (r["pair_id"], r["seed_id"], r["sample"], r["state"], r["code"], r["input"], r["output"], r["split"])
        for r in listed
    ]
    facets = view.facets("many")
    assert facets.all == {state: n for state, n in listing["counts"].items() if state != "rows_in" and n}
    assert sum(facets.all.values()) == listing["counts"]["rows_in"] == facets.total == ROWS
    assert facets.reason == listing["reasons"]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(
    "filters", [Filters(), Filters(state="accepted"), Filters(q="lighth"), Filters(reason="short")]
)
def test_pages_contain_every_row_once(view: RowsView, sort: Sort, filters: Filters) -> None:
    """Consecutive pages contain every row once, in the requested order, as many as counted."""
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


def test_facet_counts_match_filters(view: RowsView) -> None:
    """A facet's count is the number of rows shown when it is chosen, with any other filters."""
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
def test_search_text_is_not_query_syntax(view: RowsView, q: str) -> None:
    """Any input is searched for as words and never interpreted."""
    view.page("many", Filters(q=q))
    view.facets("many", Filters(q=q))


@pytest.mark.parametrize(("q", "every"), [(None, True), ("", True), (" ", True), ("?!", False), ("-", False)])
def test_a_search_without_a_letter_finds_nothing(view: RowsView, q: str | None, every: bool) -> None:
    """A search for `?!` that lists every row would be read as: all of them contain it."""
    filters = Filters(q=q)
    assert view.page("many", filters).total == view.facets("many", filters).total == (ROWS if every else 0)


def test_invalid_cursor_is_refused(view: RowsView) -> None:
    """An invented cursor raises UsageError."""
    for cursor in ("x", "W10", "bnVsbA", "é", "WyJhIiwxXQ"):
        with pytest.raises(UsageError):
            view.page("many", cursor=cursor)


def test_a_cursor_of_another_order_is_refused(view: RowsView) -> None:
    """The page after it was empty, as if there were no more rows, because its key is one of another column."""
    for sort in SORTS:
        cursor = view.page("many", sort=sort, limit=5).next
        assert cursor is not None
        for other in SORTS:
            if other == sort:
                assert view.page("many", sort=sort, cursor=cursor, limit=5).rows
            else:
                with pytest.raises(UsageError, match="in this order"):
                    view.page("many", sort=other, cursor=cursor, limit=5)


def test_view_file_can_be_deleted_at_any_time(shared: Workspace, view: RowsView) -> None:
    """If its file is missing or corrupt, the same page is returned."""
    before = view.page("many", Filters(q="lighthouse"), "best")
    file = shared.serve / "views" / "many.db"
    file.unlink()
    assert view.page("many", Filters(q="lighthouse"), "best") == before
    file.write_bytes(b"no database at all" * 1000)
    assert RowsView(shared).page("many", Filters(q="lighthouse"), "best") == before


# Following a store that is being written


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


def test_rows_appear_with_the_first_answer(growing: tuple[Workspace, Store]) -> None:
    """During a generation without a receipt, each answer appears as a row at once; a failed slot is one row; texts in
    other scripts can be searched."""
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


def test_review_appears_at_once(growing: tuple[Workspace, Store]) -> None:
    """A review written through the view's read-only store is stored once and shown in its row."""
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


def test_an_answer_counts_no_other_row_again(tmp_path: Path) -> None:
    """After an answer the counts are those of a fresh view, and only answered rows were counted for them: with 100,000
    rows that had taken most of a second per answer."""
    make(tmp_path / "projects" / "many", ROWS)
    view, statements = RowsView(Workspace(tmp_path)), list[str]()
    before = view.facets("many")
    rows = [row for row in view.each("many", Filters()) if row.id and not row.reviewed][:3]
    store = view.readers.store("many")
    assert store is not None
    for row in rows:
        annotate(store, Review(pair_id=row.id, reviewer="serve:ann", decision="accept"))
    connection = view._view("many")
    assert connection is not None
    with closing(connection):
        connection.set_trace_callback(statements.append)
        view._cube("many", connection, None)
    counting = [statement for statement in statements if "count(*)" in statement]
    assert (len(counting), [statement for statement in counting if "reviewed > 0" not in statement]) == (1, [])
    after = view.facets("many")
    assert after == RowsView(Workspace(tmp_path)).facets("many")
    answered = {row.pair_id for row in rows}
    more = sum(row.pair_id in answered for row in view.each("many", Filters()))
    assert (after.all, after.reviewed["yes"]) == (before.all, before.reviewed["yes"] + more)


def test_concurrent_readers_count_everything_once(growing: tuple[Workspace, Store]) -> None:
    """While rows and reviews are written, several readers follow the store: each row and each review is counted
    once."""
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


def test_a_page_does_not_wait_for_very_many_rows(
    shared: Workspace, view: RowsView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a curation of 100,000 rows every page of the project stood still for the ten seconds that their list takes.
    It is brought up to date beside the pages, once. A list of few rows is simply read, and so is one to
    which only rows were added since."""
    (shared.serve / "views" / "many.db").unlink(missing_ok=True)
    assert view.is_ready("many")  # few rows: whoever reads them brings them up to date
    monkeypatch.setattr(rows_view, "_MANY", ROWS // 2)
    monkeypatch.setattr(rows_view, "_WAIT_S", 0.0)
    with view._locks.setdefault("many", threading.Lock()):  # the list takes its time
        assert not view.is_ready("many")
        assert not view.is_ready("many")
        ((thread, receipts),) = view._updating.values()
    thread.join(120)
    view._synced.clear()  # rows were added meanwhile
    assert view.is_ready("many")
    assert view.page("many").total == ROWS
    view._synced.clear()
    view._updating["many"] = (thread, receipts - 1)  # as after another curation
    with view._locks["many"]:
        assert not view.is_ready("many")
    view._updating["many"][0].join(120)


def test_failure_beside_the_pages_is_logged_and_shown_by_the_next_page(
    shared: Workspace, view: RowsView, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk or a damaged store: nobody waits for a list that will never be ready."""
    views = shared.serve / "views"
    views.rename(shared.serve / "views-aside")
    views.write_text("not a folder")
    monkeypatch.setattr(rows_view, "_MANY", 1)
    try:
        view.is_ready("many")
        view._updating["many"][0].join(120)
        assert view.is_ready("many")
        with pytest.raises(FileExistsError):
            view.page("many")
    finally:
        views.unlink()
        (shared.serve / "views-aside").rename(views)
    assert "listing the rows of many failed" in caplog.text


def test_view_of_a_deleted_project_is_not_written_again(
    growing: tuple[Workspace, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its texts would stay on the disk if a project were deleted while its rows are being listed."""
    workspace, _ = growing
    view = RowsView(workspace)
    view.page("new")
    begun, go_on, real = threading.Event(), threading.Event(), rows_view.update_view

    def slow(*of: Any) -> None:
        begun.set()
        assert go_on.wait(120)
        real(*of)

    monkeypatch.setattr(rows_view, "update_view", slow)
    monkeypatch.setattr(rows_view, "_MANY", -1)
    monkeypatch.setattr(rows_view, "_WAIT_S", 0.0)
    view._synced.clear()
    assert not view.is_ready("new")
    assert begun.wait(120)
    updating = view._updating["new"][0]
    deleting = threading.Thread(target=view.forget, args=("new",))
    deleting.start()
    go_on.set()
    updating.join(120)
    deleting.join(120)
    assert list((workspace.serve / "views").glob("new.db*")) == []
