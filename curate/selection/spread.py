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
from typing import TYPE_CHECKING, Any

from curate.gates.words import count_words
from curate.words import words
from schemas.errors import SpecError
from schemas.identity import random_sort_key
from schemas.records import Pair

if TYPE_CHECKING:
    from curate.pool import Pool  # loads numpy

_DIMENSIONS = 256  # of a text's vector of hashed words and word pairs
_COMPARED = 4_000_000  # pairs of rows at a time, 4 bytes each
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


def row_vectors(pool: Pool, ids: Sequence[str]) -> Any:
    """`vectors_of` both sides of rows, which are read a chunk at a time."""
    return vectors_of((f"{of.asked} {of.output}" for of in pool.texts_of(ids)), len(ids))


def vectors_of(texts: Iterable[str], rows: int) -> Any:
    """Vectors [rows, 256] of unit length, one per text: signed square roots of hashed counts of words and word pairs,
    so that no single word dominates."""
    import numpy as np

    vectors = np.zeros((rows, _DIMENSIONS), np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        tokens = words(text)
        for token in [*tokens, *map(" ".join, pairwise(tokens))]:
            digest = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=4).digest()
            value = int.from_bytes(digest)
            vector[value % _DIMENSIONS] += 1.0 if value >> 31 else -1.0
        vector[:] = np.sign(vector) * np.sqrt(np.abs(vector))
        vector /= np.linalg.norm(vector) or 1.0
    return vectors


def farness(vectors: Any, chosen: Sequence[int]) -> float:
    """The mean distance of the rows to the nearest chosen one: 0 if all are chosen, about 1 if none is near. A lower
    value means that the choice represents the rows better."""
    import numpy as np

    if not chosen:
        return 1.0
    centers, at_once = vectors[list(chosen)], max(1, _COMPARED // len(chosen))
    nearest = [(vectors[at : at + at_once] @ centers.T).max(axis=1) for at in range(0, len(vectors), at_once)]
    return float(1 - np.concatenate(nearest).mean())


def length_group(pair: Pair) -> str:
    """Group outputs by the doublings of their number of words."""
    return str(int(math.log2(count_words(pair.output) + 1)))
