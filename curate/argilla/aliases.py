"""Who answered: a person is a user of one server, whatever they are called.

A review's `reviewer` is `argilla:<server>/<user id>`. A name may change and may be given to somebody else later, so it
only stands beside it. Reviews of versions before this named people by what they were called then; these are never
rewritten, and an `Alias` joins such a name to a person once the answers on the server leave no doubt about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from curate.argilla.client import ArgillaUser
from curate.argilla.responses import PREFIX, Response
from schemas.reviews import Alias, Review, Role


def new_aliases(
    known: Mapping[str, Iterable[Review]],
    responses: Iterable[Response],
    seen: Collection[tuple[str, Role]],
    users: Mapping[str, ArgillaUser],
) -> list[Alias]:
    """An alias for every name in `known` reviews of which it is beyond doubt whose it is.

    The evidence is an answer that is on the server as it was brought: same row, role and moment, of one user alone.
    Without any, it is the user of that name now, if rows that were answered under it are on this server (`seen`) and
    the user was there before the first of these answers. `users` are by `reviewer`.
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
