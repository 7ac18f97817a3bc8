"""The current item of each kind: the last successful receipt of a command, the artifact that its stage last made or
found (which need not be the newest), and recent answers with which to test whether a teacher still responds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import orjson
import sqlalchemy as sa

from schemas.gate_verdicts import StepName
from schemas.records import Artifact, Call, Json, Receipt, Split, content_id
from schemas.store import tables
from schemas.store.store import Store

Kind = Literal["dataset", "adapter", "evaluation"]
_MAKERS: dict[Kind, str] = {"dataset": "curate", "adapter": "train", "evaluation": "evaluate"}
_LATEST = 100


def last_good(receipts: Sequence[Receipt], command: str) -> Receipt | None:
    """The newest receipt of a command that succeeded."""
    return next((receipt for receipt in reversed(receipts) if receipt.command == command and receipt.ok), None)


def last_judged(receipts: Sequence[Receipt]) -> Receipt | None:
    """The receipt of the newest curation that judged every row, whether or not it accepted any."""
    curated = (receipt for receipt in reversed(receipts) if receipt.command == "curate")
    return next((receipt for receipt in curated if receipt.ok or receipt.counts.rows_in), None)


def last_review(receipts: Sequence[Receipt]) -> Receipt | None:
    """The newest receipt with the state of the rows that were sent to reviewers, whichever command counted them."""
    commands = ("review", "review-push", "review-pull")
    return next((receipt for receipt in reversed(receipts) if receipt.command in commands and receipt.ok), None)


def latest(store: Store, kind: Kind) -> Artifact | None:
    """The artifact of `kind` that the last run of its stage named, including a stopped run; the newest one if no
    receipt names any. A run with earlier settings finds an earlier artifact, and later stages must continue from that
    one."""
    c = tables.artifacts.c
    youngest_first = [id_ for (id_,) in store.rows(sa.select(c.id).where(c.kind == kind).order_by(c.position.desc()))]
    named = (receipt.facts.get("made") for receipt in reversed(store.receipts(_MAKERS[kind])))
    newest = next((id_ for id_ in named if isinstance(id_, str) and id_ in youngest_first), (youngest_first or [""])[0])
    return next(iter(store.artifacts(ids=[newest])), None)


def listed_artifacts(store: Store, kind: str | None = None) -> list[tuple[Artifact, Counter[str]]]:
    """Artifacts, oldest first, without their members, and the number of members in each split.

    Each dataset has a member for every row, so reading all of them would take longer with every curation.
    """
    c = tables.artifacts.c
    query = sa.select(c.body, c.splits).order_by(c.position)
    rows = store.rows(query if kind is None else query.where(c.kind == kind))
    return [(store.read(Artifact, body), Counter(orjson.loads(splits))) for body, splits in rows]


def members_of(
    store: Store, ids: Collection[str] | None = None, *, holding: str = ""
) -> Iterator[tuple[str, dict[str, Split]]]:
    """(artifact id, the split of each member by pair id), with one artifact in memory at a time: of the artifacts
    `ids` (None: all) that have members, the pair `holding` among them."""
    c = tables.artifacts.c
    for (id_,) in store.rows(sa.select(c.id).where(c.splits != "{}").order_by(c.position)):
        if ids is None or id_ in ids:
            for (members,) in store.rows(sa.select(c.members).where(c.id == id_)):
                if holding in members:  # SQLite's LIKE takes ten times as long
                    yield id_, dict(orjson.loads(members))


def present(store: Store) -> dict[str, Artifact]:
    """The dataset and the adapter that were last made or found, if any, and the evaluation if it is of that adapter;
    an evaluation of another adapter would look like its proof."""
    artifacts: dict[str, Artifact] = {kind: artifact for kind in _MAKERS if (artifact := latest(store, kind))}
    evaluation, adapter = artifacts.get("evaluation"), artifacts.get("adapter")
    if evaluation and adapter and adapter.id not in evaluation.parents:
        del artifacts["evaluation"]
    return artifacts


def stored_steps(store: Store, *prefixes: str) -> list[StepName]:
    """The steps with stored verdicts whose names begin with one of the prefixes; gates are not among them."""
    c = tables.verdicts.c
    named = sa.or_(*(c.by.startswith(prefix, autoescape=True) for prefix in prefixes))
    query = sa.select(c.by, c.fingerprint).where(named).distinct().order_by(c.by, c.fingerprint)
    return [(str(by), str(settings)) for by, settings in store.rows(query)]


def probe_key(key: str) -> str:
    """The key of the answer when the request of `key` is repeated only to test whether the teacher responds."""
    return content_id("again", key)


def request_order(store: Store, teacher: str) -> dict[str, int]:
    """request id -> how many requests a teacher had answered before it."""
    c = tables.calls.c
    ids = store.each_row(sa.select(c.request_id).where(c.teacher == teacher).order_by(c.position))
    order: dict[str, int] = {}
    for (id_,) in ids:
        order.setdefault(str(id_), len(order))
    return order


def latest_answers(store: Store, teacher: str, prompt: str) -> Iterator[Call]:
    """The latest good answers of a teacher to different requests, with their requests, the shortest first.

    If there are any to the given prompt, only those: settings that suit one prompt, such as JSON output, may not suit
    another.
    """
    c = tables.calls.c
    good = sa.select(c.key, c.completion_tokens).where(c.teacher == teacher, c.status == "ok")
    good = good.order_by(c.position.desc()).limit(_LATEST)
    rows = store.rows(good.where(c.prompt == prompt)) or store.rows(good)
    # Only the first sample of a request records its tokens.
    known: list[Json] = []
    for row in sorted(rows, key=lambda row: (not row.completion_tokens, row.completion_tokens)):
        call = next((call for call in store.calls(row.key) if call.status == "ok"), None)
        messages = call and call.request.get("messages")
        if call is not None and messages and messages not in known:
            known.append(messages)
            yield call
