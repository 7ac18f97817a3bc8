"""Seeds that belong together: those of one group (`[[seeds]] group`), and conversations that begin alike, such as two
recordings of one conversation, one with more turns.

Conversations begin alike if their first exchange is the same, unless that is a greeting: an exchange after which users
go on in many different ways says nothing about what follows, so it is skipped. Not covered: greetings that differ in
a character, and a greeting that few of the seeds begin with.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from schemas.id_map import IdMap
from schemas.records import GROUP, Seed, content_id
from schemas.spooled_seeds import SpooledSeeds
from schemas.store.active_seeds import ActiveSeeds

# A beginning with at least this many different next messages is a greeting. Conversations that were recorded several
# times, or answered in several ways, have fewer.
_GREETING = 10
_MAX_SKIPPED = 3


class Beginnings:
    """The keys of conversations among `seeds`, of which those that begin alike have the same one."""

    def __init__(self, seeds: Iterable[Seed] = ()) -> None:
        self._greetings = frozenset[str]()
        number = IdMap()
        for seed in _conversations(seeds):
            for key, _ in _prefixes(seed):
                number[key] = (number.get(key) or 0) + 1
        following: defaultdict[str, set[str]] = defaultdict(set)
        for seed in _conversations(seeds) if len(number) else ():
            for key, after in _prefixes(seed):
                if after and number[key] >= _GREETING and len(following[key]) < _GREETING:
                    following[key].add(after)
        self._greetings = frozenset(key for key, each in following.items() if len(each) >= _GREETING)

    def own_key(self, seed: Seed) -> str:
        """A seed's key without its group: its id or, for a conversation, how it begins."""
        if seed.kind != "conversation":
            return seed.id
        keys = [key for key, _ in _prefixes(seed)]
        greetings = [place for place, key in enumerate(keys) if key in self._greetings]
        return keys[min(greetings[-1] + 1, len(keys) - 1) if greetings else 0]

    def key(self, seed: Seed) -> str:
        """The key whose hash decides a seed's split: its group, else its own key."""
        return seed.meta[GROUP] if GROUP in seed.meta else self.own_key(seed)


def draw_key(seed: Seed) -> str:
    """The key of a seed by itself, as if no conversation began with a greeting."""
    return Beginnings().key(seed)


def beginnings_of(seed: Seed) -> Iterator[str]:
    """Each key that the seed, without its group, may have among others."""
    if seed.kind != "conversation":
        yield seed.id
    else:
        yield from (key for key, _ in _prefixes(seed))


def groups_of(seeds: Iterable[Seed]) -> dict[str, str]:
    """Map seed id to group for the seeds that share their group with another one: answers to those are not
    independent."""
    seeds = seeds if isinstance(seeds, ActiveSeeds) else list(seeds)
    beginnings = Beginnings(seeds)
    group = {seed.id: beginnings.key(seed) for seed in seeds}
    members = Counter(group.values())
    return {id_: of for id_, of in group.items() if members[of] > 1}


def _conversations(seeds: Iterable[Seed]) -> Iterable[Seed]:
    if isinstance(seeds, SpooledSeeds) and not seeds.kinds["conversation"]:
        return ()
    if isinstance(seeds, ActiveSeeds):
        seeds = seeds.containing('"conversation"')
    return (seed for seed in seeds if seed.kind == "conversation")


def _prefixes(seed: Seed) -> Iterator[tuple[str, str]]:
    """The keys of a conversation, from the shortest beginning on: its first exchange, then everything up to the second
    message of the user, and so on; and with each key the next message of the user."""
    turns = [*seed.turns, *(seed.messages or ())[-1:]]
    contents = [turn.content for turn in turns]
    asked = [place for place, turn in enumerate(turns) if turn.role == "user"][: _MAX_SKIPPED + 2]
    following = [*(contents[place] for place in asked[1:]), ""]
    first = contents[:2] if len(contents) > 1 else [*contents, seed.reference]
    yield content_id("conversation", first), following[0]
    for place, after in zip(asked[1:], following[1:], strict=True):
        yield content_id("conversation", contents[: place + 1]), after
