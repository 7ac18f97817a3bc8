"""Find texts with similar sets of word bigrams: an exact join by prefix filtering.

Two sets with Jaccard similarity >= t share at least t of the larger one. So if the tokens of all sets are sorted by one
order, rare ones first, the prefixes of both sets meet (AllPairs, Bayardo et al. 2007; PPJoin, Xiao et al. 2008; with
several common tokens required instead of one, AdaptJoin, Wang et al. 2012). Rare tokens seldom meet, so few pairs are
compared in vain, and none is missed. Those of texts from one template meet often; most such pairs are excluded by a
sketch of 256 bits per set (the bitmap filter of Sandes et al. 2020).

A token is a 53-bit hash, so "exact" is up to collisions: among a million texts of 50 words, two different tokens
collide about once. Tokens are in a temporary file (8 bytes each). Memory holds at most 32 MB of counts, 8 bytes per
text (44 with sketches), and during a join 12 more, about 30 bytes for each token that may meet another and at most
100 MB of pairs.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from curate.similarity.hashed_words import MIX, Numbers, Tokens, hashed_words, mixed
from schemas.progress import Progress, reporting, unseen
from schemas.streamed import batched

_CHUNK = 1 << 9  # texts that are sorted at once: the index of a text takes the bits that a token or a rank leaves free
_RANK = np.uint64(7)  # bits of the rank of a token
_NUMBER, _FIELD = np.uint64(54), np.uint64(53)  # bit offsets of the index of a text and of its field
_TOKEN = np.uint64((1 << 54) - 1)
_WITHOUT_FIELD = np.uint64((1 << 53) - 1)  # mask of a token without its field
_SECOND_FIELD = np.uint64(1 << 53)  # tokens from here on are of the second field
_CACHED_ROWS = 256  # rows whose sets are cached
_ROW = np.uint64((1 << 24) - 1)  # 16 million rows
_BUCKETS = 1 << 23  # of tokens, which are counted by bucket
_MEET = 3  # tokens that two prefixes must share, if the sets are large enough
# Candidate pairs per text, and in total. Tokens so frequent that they would exceed either are joined separately.
_PAIRS, _MOST_PAIRS = 40, 1 << 22
_PART = 1 << 20  # keys that are processed at a time
_SKETCH = 256  # bits of a sketch
_FEW = 8  # up to so many candidates it is faster to compare their sets than their sketches
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)  # set in a byte


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """|a and b| / |a or b|; 1 for two empty sets."""
    both = len(a & b)
    union = len(a) + len(b) - both
    return both / union if union else 1.0


class TokenSets:
    """Rows of one or two texts, in order, as sets of word bigrams (for a single word: that word).

    Rows are read once and not kept; the temporary file is deleted at the end of the `with`. Raises ValueError for more
    than 16 million rows.
    """

    def __init__(self, rows: Iterable[tuple[str, ...]]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._starts = array("q", [0])
        self._known: dict[int, tuple[frozenset[int], ...]] = {}
        self._fields = 1
        try:
            for chunk in batched(rows, _CHUNK):
                self._add(chunk)
            if len(self) > _ROW:
                raise ValueError(f"{len(self):,} rows are too many: a join takes at most {int(_ROW):,}")
        except BaseException:
            self._file.close()
            raise

    @cached_property
    def counts(self) -> NDArray[np.uint32]:
        """How often tokens occur, by hash bucket."""
        # As many buckets as separate the tokens: a few texts do not need the 32 MB that a million does.
        counts = np.zeros(min(_BUCKETS, max(1 << 12, 1 << (4 * self._starts[-1]).bit_length())), np.uint32)
        for _, _, tokens, _ in self._chunks():
            np.add.at(counts, (tokens & np.uint64(len(counts) - 1)).view(np.int64), np.uint32(1))
        return counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> tuple[frozenset[int], ...]:
        """The set of each text of a row. Cached, because the first row of a cluster is compared with every other
        one."""
        if (known := self._known.get(number)) is None:
            if len(self._known) >= _CACHED_ROWS:
                self._known.clear()
            tokens = self._read(number, number + 1)
            second = int(tokens.searchsorted(_SECOND_FIELD))
            parts = (tokens[:second], tokens[second:])[: self._fields]
            known = self._known[number] = tuple(frozenset(part.tolist()) for part in parts)
        return known

    def similarity(self, one: int, other: int) -> float:
        """The least Jaccard similarity among the texts of two rows."""
        return min(map(jaccard, self[one], self[other]))

    def similarities(self, ones: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
        """`similarity` of many pairs of rows at once, which takes a tenth of the time."""
        least: NDArray[np.float64] = np.empty(len(ones))
        starts = np.frombuffer(self._starts, np.int64)
        for part in (slice(first, first + _CHUNK) for first in range(0, len(ones), _CHUNK)):
            rows, pairs = np.concatenate([ones[part], others[part]]), len(ones[part])
            tokens = np.frombuffer(b"".join([self._bytes(row, row + 1) for row in rows.tolist()]), np.uint64)
            pair = np.tile(np.arange(pairs, dtype=np.uint64), 2)
            keys = np.sort(tokens | np.repeat(pair << _NUMBER, starts[rows + 1] - starts[rows]), kind="stable")
            text = (keys >> _FIELD).view(np.int64)
            both = np.bincount(text[~_is_first_of_run(keys)], minlength=2 * pairs)
            union = np.bincount(text, minlength=2 * pairs) - both
            least[part] = np.where(union, both / np.maximum(union, 1), 1.0).reshape(pairs, 2).min(axis=1)
        return least

    @cached_property
    def _sketches(self) -> tuple[NDArray[np.uint8], Numbers]:
        """For every row and text, the sketch of its set and the number of its tokens. A bit of a sketch says whether an
        odd number of tokens hash to it."""
        sketches, sizes = np.empty((len(self), self._fields, _SKETCH // 8), np.uint8), []
        for first, end, tokens, row in self._chunks():
            text = (row * self._fields + (tokens >> _FIELD)).astype(np.int64)
            bit = text * _SKETCH + (tokens % np.uint64(_SKETCH)).astype(np.int64)
            texts = (end - first) * self._fields
            odd = np.bincount(bit, minlength=texts * _SKETCH) & 1
            sketches[first:end] = np.packbits(odd.astype(bool)).reshape(end - first, self._fields, -1)
            sizes.append(np.bincount(text, minlength=texts).reshape(end - first, -1))
        return sketches, np.concatenate(sizes)

    def possible(self, row: int, others: NDArray[np.uint32], threshold: float) -> NDArray[np.uint32]:
        """Those of `others` that may be similar to a row. Each bit in which two sketches differ is due to a token that
        only one of the sets has, of which similar sets have few."""
        sketches, sizes = self._sketches
        differing = _BITS[sketches[others] ^ sketches[row]].sum(axis=2, dtype=np.int64)
        most = (sizes[others] + sizes[row]) * ((1 - threshold) / (1 + threshold)) + 1e-9
        possible: NDArray[np.uint32] = others[(differing <= most).all(axis=1)]
        return possible

    def _add(self, rows: Sequence[tuple[str, ...]]) -> None:
        word, number = hashed_words([*chain.from_iterable(rows)])
        self._fields = len(rows[0])
        token = mixed(word)
        token[:-1] += word[1:]
        last = np.cumsum(number) - 1
        single = last[number == 1]
        token[single] = word[single]
        paired = np.ones(len(token), bool)
        paired[last[number > 1]] = False
        row, field = np.divmod(np.arange(len(number), dtype=np.uint64), np.uint64(self._fields))
        keys = np.repeat((row << _NUMBER) | (field << _FIELD), np.maximum(number - 1, 1))
        keys |= mixed(token[paired]) >> np.uint64(11)
        keys.sort(kind="stable")  # fast where the order of rows is right already
        keys = keys[_is_first_of_run(keys)]
        starts = keys.searchsorted(np.arange(len(rows), dtype=np.uint64) << _NUMBER)
        sizes = np.diff(starts, append=len(keys))
        self._append(keys & _TOKEN, sizes)

    def _append(self, tokens: Tokens, sizes: Numbers) -> None:
        self._file.write(tokens.data)
        self._starts.frombytes((self._starts[-1] + np.cumsum(sizes)).tobytes())

    def side(self, text: int) -> TokenSets:
        """The sets of one text of every row, without reading the rows again."""
        one = TokenSets(())
        for first, end, tokens, row in self._chunks():
            of_side = tokens >> _FIELD == text
            one._append(
                tokens[of_side] & _WITHOUT_FIELD, np.bincount(row[of_side].astype(np.int64), minlength=end - first)
            )
        return one

    def of_rows(self, rows: Iterable[int]) -> TokenSets:
        """The sets of these rows."""
        chosen = TokenSets(())
        chosen._fields = self._fields
        for row in rows:
            tokens = self._read(row, row + 1)
            chosen._append(tokens, np.array([len(tokens)]))
        return chosen

    def _read(self, first: int, end: int) -> Tokens:
        return np.frombuffer(self._bytes(first, end), np.uint64)

    def _bytes(self, first: int, end: int) -> bytes:
        start = self._starts[first]
        self._file.seek(8 * start)
        return self._file.read(8 * (self._starts[end] - start))

    def needed(self, share: float) -> Numbers:
        """For every row, the number of tokens that make up `share` of its set."""
        starts = np.frombuffer(self._starts, np.int64)
        needed: Numbers = np.ceil((starts[1:] - starts[:-1]) * share - 1e-9).astype(np.int64)
        return needed

    def _chunks(self) -> Iterator[tuple[int, int, Tokens, Tokens]]:
        """First row and end of a chunk, its tokens, and the row of each token relative to the first."""
        for first in range(0, len(self), _CHUNK):
            end = min(first + _CHUNK, len(self))
            sizes = np.diff(self._starts[first : end + 1])
            yield first, end, self._read(first, end), np.repeat(np.arange(end - first, dtype=np.uint64), sizes)

    def prefixes(self, needed: Numbers, meet: int, least: int) -> Tokens:
        """Sorted keys `token | row` of the prefix of every set, rare tokens first.

        Any set that shares `needed` tokens with a row's set has at least `meet` (or `needed`, if that is less) of the
        tokens in its prefix. Tokens in fewer than `least` rows are left out.
        """
        with tempfile.TemporaryFile() as kept:  # so that the keys are in memory only once
            for part in self._prefixes(needed, meet, least):
                kept.write(part.tobytes())
            keys = np.empty(kept.tell() // 8, np.uint64)
            kept.seek(0)
            kept.readinto(keys.data)
        keys.sort()
        different = _is_first_of_run(keys)
        return keys if different.all() else keys[different]

    def _prefixes(self, needed: Numbers, meet: int, least: int) -> Iterator[Tokens]:
        for first, end, tokens, row in self._chunks():
            sizes = np.diff(self._starts[first : end + 1])
            count = self.counts.take((tokens & np.uint64(len(self.counts) - 1)).view(np.int64))
            common = count >= least
            # The other tokens come first in every prefix.
            commons = np.add.reduceat(common, np.cumsum(sizes) - sizes, dtype=np.int64)
            length = commons - needed[first:end] + np.minimum(needed[first:end], meet)
            chosen = np.flatnonzero(common & np.repeat(length > 0, sizes))
            sizes = np.where(length > 0, commons, 0)
            # Sort by row, then by how often the token occurs, then by the token, which is the order so far. For numbers
            # of 16 bits the sort is a radix sort.
            keys = ((row << _RANK) | _ranks(count)).astype(np.uint16)[chosen]
            in_prefix = np.arange(len(chosen)) < np.repeat(np.cumsum(sizes) - sizes + length, sizes)
            chosen = chosen[keys.argsort(kind="stable")[in_prefix]]
            yield _key(tokens[chosen]) | (row[chosen] + np.uint64(first))


def _ranks(counts: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Their order in seven bits, exact up to 16: the exponent of a floating-point number, and the next three bits."""
    ranks = (counts.astype(np.float32).view(np.uint32) >> np.uint32(20)) - np.uint32(1016)  # 0 for a count of 1
    return ranks.clip(max=np.uint32(127))


class SimilarRows(NamedTuple):
    """The indices of two similar rows, and their exact similarity: the least one among their texts."""

    later: int
    earlier: int
    similarity: float


def find_similar_rows(
    sets: TokenSets, threshold: float, *, first: bool = False, progress: Progress = unseen
) -> Iterator[SimilarRows]:
    """All pairs of rows whose texts each have Jaccard similarity >= `threshold`, by the later row, then the earlier.

    With `first`, only the first pair of every row, and none with an earlier row that has a pair itself: these are the
    rows to remove if one of each cluster stays. A cluster then costs as many comparisons as it has rows.
    """
    needed = sets.needed(threshold)
    meet = np.minimum(needed, _MEET).astype(np.uint8)
    first_of, candidates, keys = _candidates(sets, needed, meet)
    frequent_rows = _RowsWithFrequentTokens(keys, meet)
    del keys
    rows = np.flatnonzero(np.diff(first_of))
    nearest, known = np.full(len(sets), -1, np.int32), np.zeros(len(sets))  # the first candidate, and its similarity
    nearest[rows] = candidates[first_of[rows]]
    known[rows] = sets.similarities(rows, nearest[rows])
    removed, frequent = np.zeros(len(sets), bool), frequent_rows.holds
    to_compare = np.flatnonzero((nearest >= 0) | frequent).tolist()
    for row in reporting(to_compare, progress, "comparisons", len(to_compare)):
        others = candidates[first_of[row] : first_of[row + 1]]
        if frequent[row]:
            others = np.concatenate([others, frequent_rows.met_by(row)])
            others.sort(kind="stable")  # fast for two sorted parts
            others = others[_is_first_of_run(others)]
        if len(others) > _FEW:
            others = sets.possible(row, others[~removed[others]], threshold)
        similar = (
            (other, float(known[row]) if other == nearest[row] else sets.similarity(row, other))
            for other in others.tolist()
            if not removed[other]
        )
        pairs = (SimilarRows(row, other, similarity) for other, similarity in similar if similarity >= threshold)
        for pair in islice(pairs, 1 if first else None):
            yield pair
            if first:
                removed[row] = True
        if not removed[row]:
            frequent_rows.add(row)


class _RowsWithFrequentTokens:
    """The rows with a frequent token. It finds row by row which of the rows added so far share enough tokens with
    another one; a pair for every two rows that share one token would be too many.

    `keys` are the tokens of these rows. The array is overwritten, to save memory.
    """

    def __init__(self, keys: Tokens, meet: NDArray[np.uint8]) -> None:
        begins = _is_first_of_run(keys & ~_ROW)
        starts = np.flatnonzero(begins)
        self._meet, self._starts, self._ends = meet, starts, starts.copy()  # range of each token in `_added`
        keys &= _ROW
        keys <<= np.uint64(32)
        keys |= np.cumsum(begins, dtype=np.uint32)
        del begins
        keys.sort()  # by row
        self._tokens = keys.astype(np.uint32)  # index of the token
        self._tokens -= np.uint32(1)
        keys >>= np.uint64(32)
        first = np.flatnonzero(_is_first_of_run(keys))
        self._place = np.full(len(meet), -1, np.int32)
        self._place[keys[first].astype(np.int64)] = np.arange(len(first))
        self._first = np.append(first, len(keys))
        self._added = np.zeros(len(keys), np.uint32)

    @property
    def holds(self) -> NDArray[np.bool_]:
        """For every row, whether it has a frequent token."""
        return self._place >= 0

    def _of(self, row: int) -> NDArray[np.uint32]:
        place = self._place[row]
        return self._tokens[self._first[place] : self._first[place + 1]]

    def met_by(self, row: int) -> NDArray[np.uint32]:
        """The added rows that share enough tokens with a row, in order; one may occur several times."""
        if self._place[row] < 0:
            return np.array([], np.uint32)
        tokens = self._of(row)
        begin = self._starts[tokens]
        size = self._ends[tokens] - begin
        end = size.cumsum()
        # The added rows of all tokens, concatenated: each occurs once for every token that it shares.
        others = self._added[(begin - end + size).repeat(size) + np.arange(end[-1])]
        others.sort()
        last = np.arange(len(others)) + np.minimum(self._meet[row], self._meet[others]) - 1
        there = (last < len(others)).nonzero()[0]
        met: NDArray[np.uint32] = others[there[others[last[there]] == others[there]]]
        return met

    def add(self, row: int) -> None:
        if self._place[row] >= 0:
            tokens = self._of(row)
            self._added[self._ends[tokens]] = row
            self._ends[tokens] += 1


def _keys_of_rows_with(keys: Tokens, chosen: NDArray[np.bool_], rows: int) -> Tokens:
    """The keys of all rows that have a chosen key. Works in parts, to keep only a part of the row indices in memory."""
    selected, among = np.zeros(rows, bool), np.zeros(len(keys), bool)
    parts = [slice(first, first + _PART) for first in range(0, len(keys), _PART)]
    for part in parts:
        selected[(keys[part][chosen[part]] & _ROW).astype(np.int64)] = True
    for part in parts:
        among[part] = selected[(keys[part] & _ROW).astype(np.int64)]
    return keys[among]


def _frequent(keys: Tokens, most_pairs: int) -> NDArray[np.bool_]:
    """Mask of the keys whose tokens are so frequent that the pairs of rows sharing rarer tokens already reach
    `most_pairs`."""
    sizes = np.diff(np.flatnonzero(_is_first_of_run(keys & ~_ROW)), append=len(keys))
    size = np.arange(sizes.max(initial=0) + 1)
    pairs = np.cumsum(np.bincount(sizes, minlength=1) * (size * (size - 1) // 2))
    return np.repeat(sizes >= np.searchsorted(pairs, most_pairs, side="right"), sizes)


def _candidates(
    sets: TokenSets, needed: Numbers, meet: NDArray[np.uint8]
) -> tuple[Numbers, NDArray[np.uint32], Tokens]:
    """`_rows_sharing_tokens` for tokens that are not too frequent, and the tokens of rows with one that is."""
    keys = sets.prefixes(needed, _MEET, 2)
    frequent = _frequent(keys, min(_PAIRS * len(sets), _MOST_PAIRS))
    first_of, candidates = _rows_sharing_tokens(keys[~frequent], meet)
    return first_of, candidates, _keys_of_rows_with(keys, frequent, len(sets))


def _rows_sharing_tokens(keys: Tokens, meet: NDArray[np.uint8]) -> tuple[Numbers, NDArray[np.uint32]]:
    """For each row, the earlier rows that share enough tokens with it, concatenated, and the offset of each row's
    part."""
    tokens, rows = keys & ~_ROW, keys & _ROW
    pairs = [np.array([], np.uint64)]
    for shift in range(1, len(keys)):
        same = tokens[shift:] == tokens[:-shift]
        if not same.any():
            break
        pairs.append((rows[shift:][same] << np.uint64(32)) | rows[:-shift][same])
    met = np.concatenate(pairs)
    del pairs, tokens, rows
    met.sort()
    times = _is_first_of_run(met).astype(np.uint8)
    for more in range(1, _MEET):
        times[:-more] += (times[:-more] == more) & (met[more:] == met[:-more])
    earlier, later = met.view(np.uint32)[::2], met.view(np.uint32)[1::2]
    enough = (times > 0) & (times >= np.minimum(meet[later], meet[earlier]))
    first_of = np.append(0, np.cumsum(np.bincount(later[enough], minlength=len(meet))))
    return first_of, earlier[enough]


def _is_first_of_run(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    return np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]


def _key(tokens: Tokens) -> Tokens:
    """A shorter hash of a token that leaves 24 bits for the index of a row."""
    return ((tokens << np.uint64(10)) * MIX) & ~_ROW
