"""The projection behind the rows view: what is copied out of a project's store, and how it follows the store.

A view is made beside its place and put there whole. What joins the store later is added by position; another curation,
another generation or other seeds make it anew.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from curate.states import last_curation, skim_states
from pairsmith.outcome import GenerateOutcome
from schemas.records import Reason, Receipt, content_id
from schemas.store import Store, tables
from schemas.store.since import Ends, active_among, active_seeds, bodies, newest_fingerprints, since

_VERSION = 1
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
CREATE INDEX by_best ON rows (coalesce(score, -1e300), place);
CREATE INDEX by_worst ON rows (coalesce(score, 1e300), place);
CREATE INDEX by_words ON rows (words, place);
"""
COLUMNS = (
    *("id", "pair_id", "seed_id", "generation", "generator", "sample", "state", "code", "reason", "step", "score"),
    *("split", "flags", "words", "reviewed", "input", "output"),
)
# Scripts that are written without spaces between words: every letter is a word of its own, as in the search.
_UNSPACED = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")


def rows_of(places: Ends) -> tuple[int, ...]:
    """The places that rows hang on."""
    return (places.seeds, places.candidates, places.reviews, places.receipts)


def connected(path: Path) -> sqlite3.Connection:
    """A connection to a view, for one thread at a time."""
    view = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
    try:
        view.execute("PRAGMA cache_size=-1500")
    except sqlite3.DatabaseError:  # it is none
        view.close()
        raise
    return view


def follow(store: Store, path: Path, now: Ends) -> None:
    """Bring the view to the store as it is now: what joined is added, another curation makes it anew."""
    receipt = last_curation(store)
    generated = store.receipts("generate")
    fingerprints = _fingerprints(store, receipt, generated)
    curation = (
        "" if receipt is None else content_id("curation", receipt.model_dump(mode="json", include={"started", "facts"}))
    )
    of = content_id("view", [_VERSION, store.url, curation, sorted(fingerprints), len(generated), active_seeds(store)])
    if (about := _about(path)).get("of") != of:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.unlink(missing_ok=True)
        with closing(connected(partial)) as view:
            view.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA + "BEGIN")
            if receipt is not None:
                _add(store, view, map(_decided, skim_states(store, receipt)))
            _add_since(store, view, fingerprints, -1, now)
            for index in filter(None, _INDEXES.splitlines()):
                view.execute(index)
            _add_reviews(store, view, -1, now)
            _note(view, of, now)
            view.execute("COMMIT")
            view.executescript("ANALYZE; PRAGMA journal_mode=WAL;")
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        partial.replace(path)
        return
    with closing(connected(path)) as view:
        view.execute("PRAGMA synchronous=OFF")
        view.execute("BEGIN IMMEDIATE")
        _add_since(store, view, fingerprints, int(about["candidates"]), now)
        _add_reviews(store, view, int(about["reviews"]), now)
        _note(view, of, now)
        view.execute("COMMIT")


def _about(path: Path) -> dict[str, str]:
    """What a view was made of; nothing where there is none that can be read."""
    if not path.exists():
        return {}
    try:
        with closing(connected(path)) as view:
            return dict(view.execute("SELECT name, value FROM about"))
    except sqlite3.DatabaseError:
        return {}


def _note(view: sqlite3.Connection, of: str, now: Ends) -> None:
    facts = {"of": of, "candidates": now.candidates, "reviews": now.reviews, "stamp": f"{of} {rows_of(now)}"}
    view.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", [(name, str(fact)) for name, fact in facts.items()])


def _fingerprints(store: Store, curated: Receipt | None, generated: Sequence[Receipt]) -> set[str]:
    """The fingerprints whose slots are rows: those that were curated, those of a generation since, and those of one
    that is under way or was killed, which no receipt names."""
    counted = set(curated.facts.get("scopes", ())) if curated else set[str]()
    of_each = [set(GenerateOutcome.of(receipt).fingerprints.values()) for receipt in generated]
    if of_each and (curated is None or generated[-1].started > curated.started):
        counted |= of_each[-1]
    return counted | (set(newest_fingerprints(store).values()) - set().union(*of_each))


def _decided(state: dict[str, Any]) -> dict[str, Any]:
    reason = state["reason"] or {}
    return {**state, "flags": state.get("flags", ()), "code": reason.get("code"), "reason": reason.get("detail")}


def _add_since(store: Store, view: sqlite3.Connection, fingerprints: Iterable[str], position: int, now: Ends) -> None:
    """The slots behind `position` that no curation has looked at."""
    there = "SELECT 1 FROM rows WHERE seed_id = ? AND generation = ? AND generator = ? AND sample = ?"
    columns = ["seed_id", "generator", "sample", "body"]
    for fingerprint in sorted(fingerprints):
        slots = since(store, tables.candidates, position, columns, until=now.candidates, fingerprint=fingerprint)
        new = (
            _undecided({**_slot(fingerprint, seed, generator, sample), **orjson.loads(body)})
            for _, seed, generator, sample, body in slots
            if not view.execute(there, (seed, fingerprint, generator, sample)).fetchone()
        )
        _add(store, view, new, only_active=True)


def _slot(fingerprint: str, seed: str, generator: str, sample: int) -> dict[str, Any]:
    return {"fingerprint": fingerprint, "seed_id": seed, "generator": generator, "sample": sample, "pair_id": None}


def _undecided(slot: dict[str, Any]) -> dict[str, Any]:
    failure = slot.pop("failure", None)
    if isinstance(failure, str):  # as stores up to schema 0002 spell reasons
        failure = vars(Reason.read(failure))
    state = "failed" if failure else "waiting"
    decided = {"state": state, "step": "generate", "score": None, "split": None, "flags": ()}
    why = failure or {"code": "uncurated", "detail": "It is not curated yet."}
    return {**slot, **decided, "generation": slot["fingerprint"], "code": why["code"], "reason": why["detail"]}


def _add(store: Store, view: sqlite3.Connection, slots: Iterator[dict[str, Any]], *, only_active: bool = False) -> None:
    """Add slots with their texts; one that is there already stays."""
    marks = ", ".join("?" * len(COLUMNS))
    insert = f"INSERT OR IGNORE INTO rows ({', '.join(COLUMNS)}) VALUES ({marks})"
    while chunk := list(islice(slots, _CHUNK)):
        if only_active:
            active = active_among(store, (slot["seed_id"] for slot in chunk))
            chunk = [slot for slot in chunk if slot["seed_id"] in active]
        encoded = bodies(store, tables.pairs, (slot["pair_id"] for slot in chunk if slot["pair_id"]))
        pairs = {id_: _texts(body) for id_, body in encoded}
        lost = bodies(store, tables.seeds, (slot["seed_id"] for slot in chunk if slot["pair_id"] not in pairs))
        seeds = {id_: _seed_text(body) for id_, body in lost}
        searched = []
        for slot in chunk:
            text, output = pairs.get(slot["pair_id"] or "", (seeds.get(slot["seed_id"], ""), None))
            row_id = slot["pair_id"] or f"{slot['seed_id'][:16]}-{slot['generator']}-{slot['sample']}"
            more = {"id": row_id, "input": text, "output": output, "words": len((output or "").split()), "reviewed": 0}
            row = {**slot, **more, "flags": " ".join(slot["flags"])}
            added = view.execute(insert, [row[name] for name in COLUMNS])
            if added.rowcount:
                searched.append((added.lastrowid, spaced(text), spaced(output or "")))
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
    while chunk := list(islice(answers, _CHUNK)):
        view.executemany("UPDATE rows SET reviewed = reviewed + 1 WHERE pair_id = ?", [(row[1],) for row in chunk])


def spaced(text: str) -> str:
    """The text with spaces around the letters of scripts that have none between words."""
    return text if text.isascii() else _UNSPACED.sub(r" \1 ", text)
