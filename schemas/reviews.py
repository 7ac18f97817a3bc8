"""The records of human review: what was sent to reviewers, by which draw, and what they decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

from pydantic import Field

from schemas.records import Record, added, content_id, identity, now

Role = Literal["annotator", "adjudicator"]


class Review(Record):
    """A reviewer's decision about a pair. `sampling_probability` is how likely the row was to be shown when it was
    drawn, if known; later batches raise it (`pairsmith review status --json` has the current one).

    A changed answer is another review, and `withdrawn` retracts an earlier one, or says that the reviewer discarded the
    row; nothing is overwritten. `seconds` is None where it could not be measured. `ranking` holds (pair id, rank
    from 1) of the candidates of one input, ties allowed. An `adjudicator` settles rows on which annotators
    disagree. `reviewer` is the permanent id of the reviewer: `argilla:<server>/<user id>`, or in stores of earlier
    versions the name at that time. `name` is the display name, which may change and is not part of the id.
    """

    pair_id: str
    reviewer: str
    name: str | None = None
    decision: Literal["accept", "edit", "reject", "withdrawn"]
    edited: str | None = None
    reasons: tuple[str, ...] = ()
    seconds: float | None = None
    sampling_probability: float | None = Field(default=None, gt=0, le=1)
    simulated: bool = False
    ranking: tuple[tuple[str, int], ...] = added(())
    role: Role = added("annotator")
    at: datetime = Field(default_factory=now)

    @cached_property
    def id(self) -> str:
        parts = identity(self)
        del parts["name"]  # a display name may change
        return content_id("review", parts)

    @property
    def who(self) -> str:
        """The reviewer's display name."""
        return self.name or self.reviewer

    @property
    def signature(self) -> str:
        """The reviewer with anything but an annotator's role: two answers to a row can be from the same person."""
        role = [self.role] if self.role != "annotator" else []
        roles = ", ".join([*role, *(["simulated"] if self.simulated else [])])
        return f"{self.who} ({roles})" if roles else self.who


class Alias(Record):
    """Maps a name in reviews of an earlier version, an account of the service, or an account that replaces a deleted
    one of the same name, to the `reviewer` it belongs to. Recorded once, never changed."""

    name: str
    reviewer: str
    at: datetime = Field(default_factory=now)

    @cached_property
    def id(self) -> str:
        return content_id("alias", [self.name])


ON_PAGES = "serve:"
"""Begins the stored `reviewer` of answers that were given in the service, not in Argilla; the user's id follows."""

# The names in records and in the seeds of draws; some have another name in [review.shares] (`curate.review.sampling`).
SamplingReason = Literal["certify", "fit", "audit_accepted", "audit_rejected", "disagree", "border", "gold"]


class Draw(Record):
    """A simple random sample without replacement, logged so that anyone can reproduce it.

    The rows of the frame (`population` rows, whose sorted ids hash to `frame`) are ordered by a permanent random number
    derived from `seed`, the reason and the row's id. The first `size` of them are the sample, so each row of the frame
    had probability size / population.
    """

    seed: int
    population: int = Field(ge=1)
    size: int = Field(ge=1)
    frame: str


class Sampled(Record):
    """A row sampled for review, with one record for every reason that chose it.

    `sampling_probability` is how likely the row was to be chosen by any reason when it was sampled. `draw` is the draw
    that chose it (None: gold, which is always shown). `dataset` is the queue it is in.
    """

    pair_id: str
    reason: SamplingReason
    sampling_probability: float = Field(gt=0, le=1)
    draw: Draw | None = None
    dataset: str
    at: datetime = Field(default_factory=now)

    @cached_property
    def id(self) -> str:
        return content_id("routed", [self.pair_id, self.reason])


def first_drawn(sampled: Iterable[Sampled]) -> Sampled | None:
    """The record of a project's first draw, which identifies the project; None before the first draw."""
    records = list(sampled)
    earliest = min((record.at for record in records), default=None)
    return min((record for record in records if record.at == earliest), key=lambda record: record.id, default=None)


def follow_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    """The aliases, each with the reviewer at the end of its chain: an account of the service may belong to an account
    of Argilla that replaces a deleted one."""
    ends = {}
    for name, reviewer in aliases.items():
        end = reviewer
        for _ in aliases:  # a chain cannot be longer
            end = aliases.get(end, end)
        ends[name] = end
    return ends


def resolve_alias(review: Review, aliases: Mapping[str, str]) -> Review:
    """The review with its alias resolved to the reviewer; it keeps its stored id."""
    person = aliases.get(review.reviewer)
    if person is None:
        return review
    attributed = review.model_copy(update={"reviewer": person, "name": review.name or review.reviewer})
    attributed.__dict__["id"] = review.id  # the cached property; an edit refers to the review by it
    return attributed


PAUSE_S = 600.0


def seconds_since(before: datetime | None, at: datetime) -> float | None:
    """How long an answer took: the time since the same reviewer's previous one. None without one, after a pause of more
    than `PAUSE_S`, and if the clock was set back in between."""
    gap = (at - before).total_seconds() if before else None
    return gap if gap is not None and 0 <= gap <= PAUSE_S else None


@dataclass(frozen=True)
class PullResult:
    """The counts of a pull.

    `new`: answers that were not known. `changed`: answers that replace an earlier one. `withdrawn`: answers taken back.
    `edits`: corrected pairs created. `unchanged`: answers already known. `discarded`: rows that a reviewer has
    discarded since, without an answer. `foreign`: records that are not ours. `altered`: answers to a row whose texts
    were changed in Argilla. `not_named`: adjudications by users whom the spec does not name.
    """

    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    edits: int = 0
    unchanged: int = 0
    discarded: int = 0
    foreign: int = 0
    altered: int = 0
    not_named: int = 0

    @property
    def news(self) -> int:
        return self.new + self.changed + self.withdrawn + self.discarded
