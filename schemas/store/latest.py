"""The current item of each kind: the last successful receipt of a command, the artifact that its stage last made or
found (which need not be the newest), and recent answers with which to test whether a teacher still responds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import sqlalchemy as sa

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
    youngest_first = [artifact.id for artifact, _ in listed_artifacts(store, kind)[::-1]]
    named = (receipt.facts.get("made") for receipt in reversed(store.receipts(_MAKERS[kind])))
    newest = next((id_ for id_ in named if isinstance(id_, str) and id_ in youngest_first), (youngest_first or [""])[0])
    return next(iter(store._records(Artifact, tables.artifacts, tables.artifacts.c.id == newest)), None)


# Nothing else in an artifact is a list of lists.
_MEMBERS = re.compile(r'(?<=\],)"members":\[\[[^{}]*?\]\]')


def listed_artifacts(store: Store, kind: str | None = None) -> list[tuple[Artifact, Counter[str]]]:
    """Artifacts, oldest first, without their members, and the number of members in each split.

    Each dataset has a member for every row, so reading all of them would take longer with every curation.
    """
    c, listed = tables.artifacts.c, list[tuple[Artifact, Counter[str]]]()
    query = sa.select(c.body).order_by(c.position)
    for (body,) in store._each(query if kind is None else query.where(c.kind == kind)):
        members = _MEMBERS.search(body)
        artifact = store._read(Artifact, body.replace(members[0], '"members":[]', 1) if members else body)
        rows = Counter[str](split for _, split in artifact.members)
        for split in get_args(Split) if members else ():
            rows[split] = members[0].count(f'"{split}"]') if members else 0
        listed.append((artifact, +rows))
    return listed


def present(store: Store) -> dict[str, Artifact]:
    """The dataset and the adapter that were last made or found, if any, and the evaluation if it is of that adapter;
    an evaluation of another adapter would look like its proof."""
    artifacts: dict[str, Artifact] = {kind: artifact for kind in _MAKERS if (artifact := latest(store, kind))}
    evaluation, adapter = artifacts.get("evaluation"), artifacts.get("adapter")
    if evaluation and adapter and adapter.id not in evaluation.parents:
        del artifacts["evaluation"]
    return artifacts


def probe_key(key: str) -> str:
    """The key of the answer when the request of `key` is repeated only to test whether the teacher responds."""
    return content_id("again", key)


def latest_answers(store: Store, teacher: str, prompt: str) -> Iterator[Call]:
    """The latest good answers of a teacher to different requests, with their requests, the shortest first.

    If there are any to the given prompt, only those: settings that suit one prompt, such as JSON output, may not suit
    another.
    """
    c = tables.calls.c
    good = sa.select(c.key, c.completion_tokens).where(c.teacher == teacher, c.status == "ok")
    good = good.order_by(c.position.desc()).limit(_LATEST)
    rows = store._rows(good.where(c.prompt == prompt)) or store._rows(good)
    # Only the first sample of a request records its tokens.
    known: list[Json] = []
    for row in sorted(rows, key=lambda row: (not row.completion_tokens, row.completion_tokens)):
        call = next((call for call in store.calls(row.key) if call.status == "ok"), None)
        messages = call and call.request.get("messages")
        if call is not None and messages and messages not in known:
            known.append(messages)
            yield call
