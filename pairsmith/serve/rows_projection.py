"""The projection behind the rows view: what is copied out of a project's store, and how it is kept up to date.

A view is built in a temporary file and moved into place when complete. Rows that are added to the store later are
appended by position. A new curation, a new generation or other seeds rebuild it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from curate.states import last_curation, skim_states
from pairsmith.receipts.outcome import GenerateOutcome
from schemas.records import Reason, Receipt, content_id
from schemas.store import Store, tables
from schemas.store.since import Ends, active_among, active_seeds, newest_fingerprints, since
from schemas.streamed import batched

_VERSION = 2
_CHUNK = 500
_SCHEMA = """
CREATE TABLE rows (
  place INTEGER PRIMARY KEY, id TEXT NOT NULL, pair_id TEXT, seed_id TEXT NOT NULL, generation TEXT NOT NULL,
  generator TEXT NOT NULL, sample INTEGER NOT NULL, state TEXT NOT NULL, code TEXT, reason TEXT, step TEXT, score REAL,
  split TEXT, flags TEXT NOT NULL, words INTEGER NOT NULL, reviewed INTEGER NOT NULL DEFAULT 0,
  input TEXT NOT NULL, output TEXT, UNIQUE (seed_id, generation, generator, sample));
CREATE VIRTUAL TABLE texts USING fts5(input, output, content='', tokenize="unicode61 remove_diacritics 2");
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_INDEXES = """
CREATE INDEX by_id ON rows (id);
CREATE INDEX by_pair ON rows (pair_id);
CREATE INDEX counted ON rows (state, code, step, split, generator, reviewed);
CREATE INDEX answered ON rows (state, code, step, split, generator) WHERE reviewed > 0;
CREATE INDEX by_best ON rows (coalesce(score, -1e300), place);
CREATE INDEX by_worst ON rows (coalesce(score, 1e300), place);
CREATE INDEX by_words ON rows (words, place);
"""
COLUMNS = (
    *("id", "pair_id", "seed_id", "generation", "generator", "sample", "state", "code", "reason", "step", "score"),
    *("split", "flags", "words", "reviewed", "input", "output"),
)
# Scripts without spaces between words: every character is indexed and searched as a word of its own.
_UNSPACED = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")


def row_positions(positions: Ends) -> tuple[int, ...]:
    """The positions that rows depend on."""
    return (positions.seeds, positions.candidates, positions.reviews, positions.receipts)


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection to a view, for use by one thread at a time."""
    view = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
    try:
        view.execute("PRAGMA cache_size=-1500")
    except sqlite3.DatabaseError:  # not a database
        view.close()
        raise
    return view


def update_view(store: Store, path: Path, now: Ends) -> None:
    """Bring the view up to date with the store: append new rows, or rebuild it after another curation."""
    properties, unreviewed = _read_properties(path), _without_reviews(store, now)
    if properties.get("unreviewed") == unreviewed:  # only answers are new, and they change neither source nor rows
        with closing(connect(path)) as view:
            view.execute("PRAGMA synchronous=OFF")
            view.execute("BEGIN IMMEDIATE")
            _add_reviews(store, view, int(properties["reviews"]), now)
            _write_properties(view, properties["of"], unreviewed, now)
            view.execute("COMMIT")
        return
    receipt = last_curation(store)
    generated = store.receipts("generate")
    fingerprints = _fingerprints(store, receipt, generated)
    curation = (
        "" if receipt is None else content_id("curation", receipt.model_dump(mode="json", include={"started", "facts"}))
    )
    source_id = content_id(
        "view", [_VERSION, store.url, curation, sorted(fingerprints), len(generated), active_seeds(store)]
    )
    if properties.get("of") != source_id:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.unlink(missing_ok=True)
        with closing(connect(partial)) as view:
            view.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA + "BEGIN")
            if receipt is not None:
                _add(store, view, map(_curated_row, skim_states(store, receipt)))
            _add_uncurated(store, view, fingerprints, -1, now)
            for index in filter(None, _INDEXES.splitlines()):
                view.execute(index)
            _add_reviews(store, view, -1, now)
            _write_properties(view, source_id, unreviewed, now)
            view.execute("COMMIT")
            view.executescript("ANALYZE; PRAGMA journal_mode=WAL;")
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        partial.replace(path)
        return
    with closing(connect(path)) as view:
        view.execute("PRAGMA synchronous=OFF")
        view.execute("BEGIN IMMEDIATE")
        _add_uncurated(store, view, fingerprints, int(properties["candidates"]), now)
        _add_reviews(store, view, int(properties["reviews"]), now)
        _write_properties(view, source_id, unreviewed, now)
        view.execute("COMMIT")


def _read_properties(path: Path) -> dict[str, str]:
    """The properties of a view; empty if there is no readable view."""
    if not path.exists():
        return {}
    try:
        with closing(connect(path)) as view:
            return dict(view.execute("SELECT name, value FROM about"))
    except sqlite3.DatabaseError:
        return {}


def _without_reviews(store: Store, now: Ends) -> str:
    """What rows depend on except for answers."""
    return f"{store.url} {row_positions(now._replace(reviews=-1))} {active_seeds(store)}"


def _write_properties(view: sqlite3.Connection, source_id: str, unreviewed: str, now: Ends) -> None:
    facts = {
        "of": source_id,
        "candidates": now.candidates,
        "reviews": now.reviews,
        "unreviewed": unreviewed,
        "stamp": f"{source_id} {row_positions(now)}",
    }
    view.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", [(name, str(fact)) for name, fact in facts.items()])


def _fingerprints(store: Store, curated: Receipt | None, generated: Sequence[Receipt]) -> set[str]:
    """The fingerprints whose slots are rows.

    These are the curated ones, those of a later generation, and those of a generation that is in progress or was
    killed, which no receipt names.
    """
    counted = set(curated.facts.get("scopes", ())) if curated else set[str]()
    of_each = [set(GenerateOutcome.of(receipt).fingerprints.values()) for receipt in generated]
    if of_each and (curated is None or generated[-1].started > curated.started):
        counted |= of_each[-1]
    return counted | (set(newest_fingerprints(store).values()) - set().union(*of_each))


def _curated_row(state: dict[str, Any]) -> dict[str, Any]:
    reason = state["reason"] or {}
    return {**state, "flags": state.get("flags", ()), "code": reason.get("code"), "reason": reason.get("detail")}


def _add_uncurated(
    store: Store, view: sqlite3.Connection, fingerprints: Iterable[str], position: int, now: Ends
) -> None:
    """Add the slots after `position` that no curation has processed."""
    exists = "SELECT 1 FROM rows WHERE seed_id = ? AND generation = ? AND generator = ? AND sample = ?"
    columns = ["seed_id", "generator", "sample", "body"]
    for fingerprint in sorted(fingerprints):
        slots = since(store, tables.candidates, position, columns, until=now.candidates, fingerprint=fingerprint)
        new = (
            _uncurated_row({**_slot(fingerprint, seed, generator, sample), **orjson.loads(body)})
            for _, seed, generator, sample, body in slots
            if not view.execute(exists, (seed, fingerprint, generator, sample)).fetchone()
        )
        _add(store, view, new, only_active=True)


def _slot(fingerprint: str, seed: str, generator: str, sample: int) -> dict[str, Any]:
    return {"fingerprint": fingerprint, "seed_id": seed, "generator": generator, "sample": sample, "pair_id": None}


def _uncurated_row(slot: dict[str, Any]) -> dict[str, Any]:
    failure = slot.pop("failure", None)
    if isinstance(failure, str):  # the format of reasons in stores up to schema 0002
        failure = vars(Reason.read(failure))
    state = "failed" if failure else "waiting"
    decided = {"state": state, "step": "generate", "score": None, "split": None, "flags": ()}
    why = failure or {"code": "uncurated", "detail": "It has not been curated yet."}
    return {**slot, **decided, "generation": slot["fingerprint"], "code": why["code"], "reason": why["detail"]}


def _add(store: Store, view: sqlite3.Connection, slots: Iterator[dict[str, Any]], *, only_active: bool = False) -> None:
    """Add slots with their texts. Rows that exist already stay unchanged."""
    marks = ", ".join("?" * len(COLUMNS))
    insert = f"INSERT OR IGNORE INTO rows ({', '.join(COLUMNS)}) VALUES ({marks})"
    for chunk in batched(slots, _CHUNK):
        if only_active:
            active = active_among(store, (slot["seed_id"] for slot in chunk))
            chunk = [slot for slot in chunk if slot["seed_id"] in active]
        encoded = store.bodies(tables.pairs, (slot["pair_id"] for slot in chunk if slot["pair_id"]))
        pairs = {id_: _texts(body) for id_, body in encoded}
        without_pair = store.bodies(tables.seeds, (slot["seed_id"] for slot in chunk if slot["pair_id"] not in pairs))
        seeds = {id_: _seed_text(body) for id_, body in without_pair}
        searched = []
        for slot in chunk:
            text, output = pairs.get(slot["pair_id"] or "", (seeds.get(slot["seed_id"], ""), None))
            row_id = slot["pair_id"] or f"{slot['seed_id'][:16]}-{slot['generator']}-{slot['sample']}"
            more = {"id": row_id, "input": text, "output": output, "words": len((output or "").split()), "reviewed": 0}
            row = {**slot, **more, "flags": " ".join(slot["flags"])}
            added = view.execute(insert, [row[name] for name in COLUMNS])
            if added.rowcount:
                searched.append((added.lastrowid, separate_unspaced(text), separate_unspaced(output or "")))
        view.executemany("INSERT INTO texts (rowid, input, output) VALUES (?, ?, ?)", searched)


def _texts(body: str) -> tuple[str, str]:
    pair = orjson.loads(body)
    return pair["input"], pair["output"]


def _seed_text(body: str) -> str:
    seed = orjson.loads(body)
    return str(
        seed["text"] if seed.get("text") is not None else (seed.get("messages") or [{"content": ""}])[-1]["content"]
    )


def _add_reviews(store: Store, view: sqlite3.Connection, position: int, now: Ends) -> None:
    answers = since(store, tables.reviews, position, ["pair_id"], until=now.reviews)
    for chunk in batched(answers, _CHUNK):
        view.executemany("UPDATE rows SET reviewed = reviewed + 1 WHERE pair_id = ?", [(row[1],) for row in chunk])


def separate_unspaced(text: str) -> str:
    """The text with spaces around characters of scripts that have none between words."""
    return text if text.isascii() else " ".join(_UNSPACED.split(text))  # three times as fast as `sub`
