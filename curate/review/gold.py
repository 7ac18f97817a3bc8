"""Gold items: rows with known verdicts, mixed with the others to measure each annotator.

One JSON object per line: `{"input": "...", "output": "...", "verdict": "accept" | "reject" | "edit"}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from curate.review.decision import current_answers, display_names
from curate.review.estimate import binomial
from schemas.errors import InputError
from schemas.project import Project
from schemas.records import Imported, Pair, content_id
from schemas.reviews import Review
from schemas.store import Store

_OLD_KEYS = {"simple": "input", "enhanced": "output"}
_VERDICTS = ("accept", "reject", "edit")


@dataclass(frozen=True)
class GoldItem:
    """A row and its correct verdict."""

    pair: Pair
    verdict: str


@dataclass(frozen=True)
class Accuracy:
    """How often an annotator gave the known verdict, with the exact 95 % binomial interval."""

    reviewer: str
    right: int
    answered: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.right / self.answered


def read_gold(project: Project, store: Store | None = None) -> list[GoldItem]:
    """The items of `review.gold`, in order; none if the spec names no file. Raises InputError naming the line.

    An item that was already sent to reviewers keeps its pair in the `store`, recognised by its texts, even if its line
    has moved.
    """
    name = project.spec.review.gold
    if name is None:
        return []
    path = project.folder / name
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}.", where=str(path), fix="Correct [review] gold, or leave it out."
        ) from None
    items = [
        _item(line, f"{path}:{number}", name, number, project) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if store is None:
        return items
    sent = [id_ for id_, why in store.sampled().items() if any(record.reason == "gold" for record in why)]
    known = {(pair.input, pair.output): pair for pair in store.pairs(sent)} if sent else {}
    return [replace(item, pair=known.get((item.pair.input, item.pair.output), item.pair)) for item in items]


def _item(line: bytes, where: str, name: str, number: int, project: Project) -> GoldItem:
    shape = 'Write {"input": "...", "output": "...", "verdict": "accept"}.'
    try:
        item = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"is not valid JSON: {error}.", where=where, fix=shape) from None
    keys = ("input", "output", "verdict")
    if isinstance(item, dict):  # older files may use the keys simple and enhanced
        item = {_OLD_KEYS.get(key, key): value for key, value in item.items()}
    if not isinstance(item, dict) or set(item) != set(keys) or not all(isinstance(v, str) and v for v in item.values()):
        raise InputError(
            f"is not a gold item: it must have exactly the keys {', '.join(keys)}, each with a text.",
            where=where,
            fix=shape,
        )
    if item["verdict"] not in _VERDICTS:
        raise InputError(f"the verdict is '{item['verdict']}'.", where=where, fix=f"One of: {', '.join(_VERDICTS)}.")
    pair = Pair(
        seed_id=content_id("gold", [item["input"]]),
        input=item["input"],
        output=item["output"],
        system=project.spec.task.system,
        origin=Imported(source=f"{Path(name).as_posix()}:{number}"),
    )
    return GoldItem(pair, item["verdict"])


def accuracies(items: Iterable[GoldItem], reviews: Mapping[str, Sequence[Review]]) -> list[Accuracy]:
    """Every annotator's accuracy on the answered gold items, sorted by name. An edit counts as an edit, whatever its
    text."""
    right_or_wrong: dict[str, list[bool]] = {}
    for item in items:
        for review in current_answers(reviews.get(item.pair.id, ())):
            right_or_wrong.setdefault(review.reviewer, []).append(review.decision == item.verdict)
    names = display_names(reviews)
    return [
        Accuracy(names[reviewer], sum(right), len(right), *binomial(sum(right), len(right)))
        for reviewer, right in sorted(right_or_wrong.items(), key=lambda item: names[item[0]])
    ]
