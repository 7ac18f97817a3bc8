"""Reviewers' responses as they currently are on the server, how long each one took, and whose they are.

A review's `reviewer` is `argilla:<server>/<user id>`. A user name can change, and can later belong to somebody else, so
it is stored only as additional information. Reviews of earlier versions identified reviewers by their name at that
time. They are never rewritten; an `Alias` links such a name to a reviewer once the answers on the server prove the
link. Another alias links an account to a deleted one that its user had before, under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from curate.argilla.client import Argilla, ArgillaUser, Queue, utc
from curate.argilla.launch import OWNER
from schemas.progress import Progress
from schemas.records import Json
from schemas.reviews import Alias, Review, Role, seconds_since

NotCounted = Literal["draft", "discarded", "foreign", "altered", "not_named"]
PREFIX = "argilla:"
SIMULATED = "simulated-"  # name prefix of annotators that are programs


@dataclass(frozen=True)
class Response:
    """A response on the server.

    `seconds`: time since the same reviewer's previous response, if known. `input` and `output`: the record's texts as
    the page shows them. `titles`: the titles of the queue's questions by name. `why_not`: why it is no answer to one of
    our rows.
    """

    pair_id: str
    reviewer: str
    name: str | None
    role: Role
    status: str
    values: Json
    other_candidates: tuple[str, ...]
    at: datetime
    seconds: float | None = None
    input: str | None = None
    output: str | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    why_not: NotCounted | None = None

    @property
    def simulated(self) -> bool:
        """Whether a program gave it, whose answers decide nothing."""
        return (self.name or "").startswith(SIMULATED)


def reviewer_key(url: str, user_id: str, known: Iterable[str]) -> str:
    """Return the `reviewer` key of a user.

    A user id identifies one person permanently. If one of the `known` reviewers has this id, because the server had
    another address before, that reviewer's key is kept.
    """
    for reviewer in known:
        if reviewer.startswith(PREFIX) and reviewer.rpartition("/")[2] == user_id:
            return reviewer
    address = urlsplit(url)
    return f"{PREFIX}{address.hostname}{f':{address.port}' if address.port else ''}/{user_id}"


def reviewer_of(url: str, user_id: str, known: Iterable[str], aliases: Mapping[str, str]) -> str:
    """The `reviewer_key` of a user, or that of the deleted account that this user had before."""
    key = reviewer_key(url, user_id, [*known, *aliases])
    return aliases.get(key, key)


def returned_users(
    url: str, users: Mapping[str, ArgillaUser], stored: Iterable[Review], aliases: Mapping[str, str]
) -> list[Alias]:
    """Return an alias for each account whose user had one of the same name before, which was deleted. A person with two
    accounts would count as two annotators who agree.

    The earlier account is one that answered on this server, is no longer among `users` (all of the server, by id), and
    gave its last answer before the present one was created. The owner's name is the same on every server that pairsmith
    starts, so it does not identify a person. `stored` and `aliases` are those of the store.
    """
    answers: dict[str, list[Review]] = {}
    for review in stored:
        if review.reviewer.startswith(PREFIX) and review.decision != "withdrawn":
            answers.setdefault(review.reviewer, []).append(review)
    keys = {id_: reviewer_key(url, id_, [*answers, *aliases]) for id_ in users}
    present = {aliases.get(key, key) for key in keys.values()}
    deleted: dict[str | None, list[str]] = {}
    for reviewer in sorted(answers, key=lambda one: min(review.at for review in answers[one])):
        host = urlsplit(f"//{reviewer.removeprefix(PREFIX)}").hostname
        if reviewer not in present and host == urlsplit(url).hostname:
            deleted.setdefault(max(answers[reviewer], key=lambda review: review.at).name, []).append(reviewer)
    returned = []
    for id_, user in users.items():
        ends = {one: max(review.at for review in answers[one]) for one in deleted.get(user.name, ())}
        earlier = [one for one, end in ends.items() if end <= user.since]
        if earlier and user.name != OWNER and keys[id_] not in aliases:
            returned += [Alias(name=one, reviewer=earlier[0]) for one in (*earlier[1:], keys[id_])]
    return returned


def read_responses(
    queues: Iterable[tuple[Queue, Role]],
    argilla: Argilla,
    reviewer_of_user: Callable[[str], str],
    users: Mapping[str, ArgillaUser],
    progress: Progress,
) -> Iterator[tuple[list[Response], dict[tuple[str, Role], datetime]]]:
    """Yield, page by page, all responses, and for each record on the server its (pair id, role) with the time of its
    creation."""
    known: dict[str, str] = {}  # user id -> `reviewer`
    records = answers = 0
    for queue, role in queues:
        for page in argilla.pages(queue, responses=True):
            responses: list[Response] = []
            there: dict[tuple[str, Role], datetime] = {}
            for record in page:
                pair_id = record["external_id"] or str(record["id"])
                there[pair_id, role] = utc(record["inserted_at"])
                for raw in record.get("responses") or ():
                    user = raw["user_id"]
                    if user not in known:
                        known[user] = reviewer_of_user(user)
                    responses.append(
                        Response(
                            pair_id=pair_id,
                            reviewer=known[user],
                            name=users[user].name if user in users else None,
                            role=role,
                            status=raw["status"],
                            values={question: answer["value"] for question, answer in (raw["values"] or {}).items()},
                            titles=queue.titles,
                            input=record.get("fields", {}).get("simple"),
                            output=record.get("fields", {}).get("enhanced"),
                            other_candidates=tuple((record.get("metadata") or {}).get("rivals", ())),
                            at=utc(raw["updated_at"]),
                        )
                    )
            records, answers = records + len(there), answers + len(responses)
            progress("pull", {"queue": queue.name, "records": records, "responses": answers})
            yield responses, there


def with_durations(responses: list[Response]) -> list[Response]:
    """Return the responses in chronological order, each with the `seconds_since` the same reviewer's previous one.

    Drafts and discarded responses took time too, so they count as previous ones.
    """
    last: dict[str, datetime] = {}
    measured = []
    for response in sorted(responses, key=lambda r: (r.at, r.pair_id)):
        measured.append(replace(response, seconds=seconds_since(last.get(response.reviewer), response.at)))
        last[response.reviewer] = response.at
    return measured


def new_aliases(
    known: Mapping[str, Iterable[Review]],
    responses: Iterable[Response],
    seen: Collection[tuple[str, Role]],
    users: Mapping[str, ArgillaUser],
) -> list[Alias]:
    """Return an alias for each name in `known` reviews that can be attributed to exactly one user.

    The evidence is an answer on the server with the same row, role and time as a stored one, by one user alone. Without
    such an answer, the name belongs to the user who has it now, provided that rows answered under it are on this server
    (`seen`) and that the user existed before the first of these answers. `users` is keyed by `reviewer`.
    """
    by_answer: dict[tuple[str, Role, datetime], set[str]] = {}
    for response in responses:
        by_answer.setdefault((response.pair_id, response.role, response.at), set()).add(response.reviewer)
    old: dict[str, list[Review]] = {}
    for reviews in known.values():
        for review in reviews:
            if not review.reviewer.startswith(PREFIX):
                old.setdefault(review.reviewer, []).append(review)
    aliases = []
    for name, reviews in sorted(old.items()):
        people = {person for r in reviews for person in by_answer.get((r.pair_id, r.role, r.at), ())}
        if not people and any((review.pair_id, review.role) in seen for review in reviews):
            first = min(review.at for review in reviews)
            people = {
                reviewer
                for reviewer, user in users.items()
                if user.since <= first and name in (user.name, reviewer.rpartition("/")[2])
            }
        if len(people) == 1:
            aliases.append(Alias(name=name, reviewer=people.pop()))
    return aliases
