"""Choose some of many good rows, by quotas or spread out over the texts, and draw a random arm of the same size.

To claim that a selection is better than chance, compare it with chance: the random arm is drawn from the same rows and
is stored in the dataset's folder, so that a second model can be trained on it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from curate.gates.words import count_words
from curate.words import words
from schemas.errors import SpecError
from schemas.identity import random_sort_key
from schemas.records import Pair

_DIMENSIONS = 256  # of a text's vector of hashed words and word pairs
_BATCH = 4_096
_SPREADS = ("diverse", "random", "length", "kind")


def refuse_unknown(spread: str, columns: Iterable[str]) -> None:
    """Raise SpecError if `spread` is neither built in nor one of the `columns`: all rows would be one group."""
    if spread not in _SPREADS and spread not in (known := sorted({*columns})):
        raise SpecError(
            f"no seed has a column '{spread}', so rows cannot be chosen evenly over it.",
            where="curate.select.spread",
            fix=f"Name one of {', '.join(_SPREADS)}, or a column of the seeds: {', '.join(known) or 'they have none'}.",
        )


def at_random(ids: Iterable[str], salt: str) -> list[str]:
    """The ids in a pseudo-random order that is the same on every machine."""
    return sorted(ids, key=lambda id_: random_sort_key(f"{salt}/{id_}"))


def by_quota(ids: Sequence[str], group_of: Callable[[str], str], count: int, fixed: Iterable[str] = ()) -> list[str]:
    """Choose `count` of the ids so that, together with the already chosen `fixed` ones, all groups have equal numbers.

    What a small group cannot provide, the others do. Within a group, earlier ids come first.
    """
    fixed_by_group = Counter(map(group_of, fixed))
    turns: list[tuple[int, str, str]] = []
    for id_ in ids:
        group = group_of(id_)
        turns.append((fixed_by_group[group], group, id_))
        fixed_by_group[group] += 1
    return [id_ for *_, id_ in sorted(turns)[:count]]


def spread_out(vectors: Any, count: int, fixed: Sequence[int] = ()) -> list[int]:
    """Choose the indices of `count` rows that are far from each other (greedy k-center, Gonzalez 1985).

    Each is the row farthest from all chosen before it; the radius is at most twice the optimum. The `fixed` rows are
    chosen from the start. `vectors` [rows, dimensions] have unit length. Time is rows x wanted x dimensions.
    """
    import numpy as np

    chosen = list(fixed) or [0]
    nearest = np.full(len(vectors), -np.inf)
    for place in chosen:
        nearest = np.maximum(nearest, vectors @ vectors[place])
    nearest[chosen] = np.inf  # never again, even if all other rows equal them
    while len(chosen) < min(count, len(vectors)):
        place = int(np.argmin(nearest))
        chosen.append(place)
        nearest = np.maximum(nearest, vectors @ vectors[place])
        nearest[place] = np.inf
    return chosen[:count]


def vectors_of(texts: Sequence[str]) -> Any:
    """Vectors [texts, 256] of unit length: signed square roots of hashed counts of words and word pairs, so that no
    single word dominates."""
    import numpy as np

    vectors = np.zeros((len(texts), _DIMENSIONS), np.float32)
    for number, text in enumerate(texts):
        tokens = words(text)
        for token in [*tokens, *map(" ".join, pairwise(tokens))]:
            digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=4).digest()
            value = int.from_bytes(digest)
            vectors[number, value % _DIMENSIONS] += 1.0 if value >> 31 else -1.0
    vectors = np.sign(vectors) * np.sqrt(np.abs(vectors))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def farness(vectors: Any, chosen: Sequence[int]) -> float:
    """The mean distance of the rows to the nearest chosen one: 0 if all are chosen, about 1 if none is near. A lower
    value means that the choice represents the rows better."""
    import numpy as np

    if not chosen:
        return 1.0
    centers = vectors[list(chosen)]
    nearest = [(vectors[at : at + _BATCH] @ centers.T).max(axis=1) for at in range(0, len(vectors), _BATCH)]
    return float(1 - np.concatenate(nearest).mean())


def length_group(pair: Pair) -> str:
    """Group outputs by the doublings of their number of words."""
    return str(int(math.log2(count_words(pair.output) + 1)))
