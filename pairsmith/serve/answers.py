"""What people say of rows on the pages and through the API: kept in the project's store at once."""

from __future__ import annotations

from typing import Any, Literal

from pairsmith.serve.access import Caller, Right
from pairsmith.serve.problems import not_there
from schemas.errors import UsageError
from schemas.reviews import Review
from schemas.store.annotate import annotate

Decision = Literal["accept", "edit", "reject"]


def reviewer_of(caller: Caller) -> str:
    """The person for good, as records name them."""
    return f"pairsmith:{caller.user}"


def give(
    request: Any,
    caller: Caller,
    slug: str,
    row: str,
    *,
    decision: Decision,
    edited: str | None = None,
    reasons: str = "",
    seconds: float | None = None,
    settles: bool = False,
) -> Review:
    """Keep the caller's answer to a row; `settles`: it decides where others disagree. Raises Refusal for a row that is
    not there, UsageError for an edit without a text, StoreError."""
    store = request.app.state.views.readers.store(slug)
    pair = next(iter(store.pairs([row])), None) if store else None
    if store is None or pair is None:
        raise not_there(f"there is no row '{row[:64]}'.")
    if not caller.may(Right.see_work, slug) and pair.id not in store.sampled([pair.id]):
        raise not_there(f"there is no row '{row[:64]}'.")  # a reviewer is asked about rows of the queue alone
    if decision == "edit" and not (edited or "").strip():
        raise UsageError("an edit has no text.", where="edited", fix="Write the output as it should be, or reject it.")
    review = Review(
        pair_id=pair.id,
        reviewer=reviewer_of(caller),
        name=caller.name,
        decision=decision,
        edited=edited.replace("\r\n", "\n") if edited and decision == "edit" else None,
        reasons=tuple(part for reason in reasons.split(",") if (part := reason.strip())),
        seconds=seconds,
        role="adjudicator" if settles else "annotator",
    )
    annotate(store, review)
    return review
