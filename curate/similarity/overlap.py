"""Find rows that repeat a held-out text by shared n-grams. Rows are not kept; the comparison is exact, except that what
a template is shows in a sample where very many texts are similar.

Written in plain Python without numpy, which the joins of `set_join` need: generation runs this check on its
seeds before it pays for them, and would load numpy, a tenth of its memory, for nothing else.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence, Set
from functools import cache, cached_property, lru_cache
from html import unescape
from itertools import chain, groupby, pairwise
from typing import NamedTuple, TypeVar
from zlib import crc32

from curate.similarity.gram_index import RECENT, GramIndex, Grams, NumberSets, bigrams, in_letters, letter_grams
from curate.simplified import TO_SIMPLIFIED
from curate.words import numbers_in, words

SHORT = 6  # words; a shorter text may be part of another by chance, so it is compared as a whole, by character n-grams
_CONTAINED = 0.8  # a longer text with this share of a held-out text's word bigrams repeats it
NEARLY_ALL = 0.75  # share of such texts; similar texts often share some of what they fill in, too
_PART = 4  # broken bigrams in a row; one changed word breaks two, two words in a row three
_SAMPLED = 32  # similar texts of a held-out one that show what most of them share
TEMPLATE = 10  # similar texts of different inputs, from which on what most of them share is a template
FEW = 5  # or from which on it is one if nearly all contain it whole
_ENOUGH = 64  # similar texts that show the template of a held-out one where most texts are similar
_MOST_MATCHES = 1 << 16  # and 4 per held-out text; with more, templates are learned from samples
# Cyrillic letters that look like Latin ones in both cases, so that one word in two cases stays one word.
_SAME_LOOK = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0410\u0415\u041e\u0420\u0421\u0423\u0425\u0406",
    "aeopcyxiAEOPCYXI",
    "\u200b\u200c\u200d",
)
_AS_SEEN = _SAME_LOOK | TO_SIMPLIFIED
_SHARES = tuple(4.0**-power for power in range(6, -1, -1))  # of the texts, by hash: their order decides nothing

Token = TypeVar("Token")


class Overlap(NamedTuple):
    """A row that repeats a held-out text: the index of that text, the index of the text within the row, and the
    similarity (Jaccard, or the share of the held-out text that a longer text contains)."""

    held_out: int
    text: int
    similarity: float


def contaminated(
    rows: Callable[[], Iterable[tuple[str, ...]]],
    held_out: Sequence[str],
    threshold: float,
    *,
    equal_numbers: bool = False,
    inputs_only: Collection[int] = (),
) -> dict[int, Overlap]:
    """Map the index of each contaminated row to the most similar held-out text that it repeats. `rows` reads the rows,
    in the same order at every call; they are read again only if some are similar.

    Texts are similar by their word bigrams (Jaccard similarity >= `threshold`), or if a longer text contains 80 % of
    the bigrams of a held-out text of at least 6 words. Shorter texts are compared as wholes, by their 4-grams of
    characters. Paraphrases in other words are not found. With `equal_numbers`, a text repeats a held-out one only if it
    contains all its numbers: a question about invoice 12 does not repeat one about invoice 13. Held-out texts in
    `inputs_only` (indices) are only compared with the first text of a row.

    If TEMPLATE texts are similar, what most of them share is a template, which says nothing about where a text comes
    from (GPT-3's decontamination ignores n-grams of more than ten documents; Brown et al. 2020, appendix C). A text
    then repeats a held-out one only if it contains 80 % of that one's bigrams by their information, the logarithm of
    how rare they are among these texts, or if it is an edited or shortened copy. FEW texts show a template if nearly
    all contain it whole.
    """
    similar = _Similarity(
        [*map(_as_seen, held_out)], threshold, equal_numbers=equal_numbers, inputs_only=frozenset(inputs_only)
    )

    def seen() -> Iterator[tuple[str, ...]]:
        return (tuple(map(_as_seen, row)) for row in rows())

    try:
        return _compared_with_all(seen, similar)
    except _TooManyMatches:
        return _compared_by_samples(seen, similar)


def _as_seen(text: str) -> str:
    """The text as a reader sees it: without HTML's escapes and characters of no width, with Latin letters for Cyrillic
    ones that look the same and Simplified characters for Traditional ones (in every text, so also in Russian and
    Japanese)."""
    if "&" in text:
        text = unescape(text)
    return text if text.isascii() else text.translate(_AS_SEEN)


class _TooManyMatches(Exception):
    """So many texts come from one template that comparing each with each would take quadratic time."""


def _compared_with_all(rows: Callable[[], Iterable[tuple[str, ...]]], similar: _Similarity) -> dict[int, Overlap]:
    held_out, matches = similar.texts, similar.matcher(similar.distinct)
    touches, templates, left = dict[int, Overlap](), _Templates(held_out), _MOST_MATCHES + 4 * len(held_out)
    for number, row in enumerate(rows()):
        if of_row := matches(row):
            touches[number] = _nearest(of_row)
            templates.add(row, of_row)
            left -= len(of_row)
            if left < 0:
                raise _TooManyMatches
    if touches and len(touches) + len(held_out) >= FEW:
        for text in held_out:
            of_text = [match for match in matches((text,)) if match.held_out in templates]
            templates.add((text,), of_text)
            left -= len(of_text)
            if left < 0:
                raise _TooManyMatches
    if templates.any:
        for number, row in enumerate(rows()):
            if number in touches and not (
                repeated := [match for match in matches(row) if templates.repeats(row[match.text], match.held_out)]
            ):
                del touches[number]
            elif number in touches:
                touches[number] = _nearest(repeated)
    return touches


def _compared_by_samples(rows: Callable[[], Iterable[tuple[str, ...]]], similar: _Similarity) -> dict[int, Overlap]:
    """The same in near-linear time. A held-out text to which _ENOUGH texts of a sample are similar is compared with no
    more of them: only with the texts that share what distinguishes it from its template, or that break its frame."""
    held_out, templates, left = similar.texts, _Templates(similar.texts), similar.distinct
    for texts in (rows, lambda: ((text,) for text in held_out)):
        for least, share in pairwise((0.0, *_SHARES)):
            matches = similar.matcher(left)
            for row in texts() if left else ():
                if least <= crc32(row[0].encode("utf-8", "surrogatepass")) / 2**32 < share:
                    templates.add(row, [one for one in matches(row) if texts is rows or one.held_out in templates])
            left = [number for number in left if templates.size(number) < _ENOUGH]
    matches, known = similar.matcher(left), set(left)
    by_template = templates.index([number for number in similar.distinct if number not in known])
    touches = dict[int, Overlap]()
    for number, row in enumerate(rows()):
        of_row = matches(row)
        of_row += [match for place, text in enumerate(row) for match in similar.among(by_template(text), place, text)]
        if repeated := [match for match in of_row if templates.repeats(row[match.text], match.held_out)]:
            touches[number] = _nearest(repeated)
    return touches


class _Similarity:
    """Which held-out texts a text is similar to, whatever their template."""

    def __init__(
        self, texts: Sequence[str], threshold: float, *, equal_numbers: bool, inputs_only: frozenset[int]
    ) -> None:
        self.texts, self._threshold, self._inputs_only = texts, threshold, inputs_only
        self.distinct = sorted({text: number for number, text in reversed([*enumerate(texts)])}.values())
        self._numbers_of = lru_cache(RECENT)(lambda text: frozenset(numbers_in(text) if equal_numbers else ()))
        self._grams_of = lru_cache(RECENT)(bigrams)

    @cached_property
    def _short(self) -> bytearray:
        return bytearray(len(words(text)) < SHORT for text in self.texts)

    def is_short(self, number: int) -> bool:
        """Whether a held-out text is compared as a whole."""
        return bool(self._short[number])

    def _of(self, number: int, ours: Grams, its: Grams) -> float:
        both = len(ours & its)
        share = 0.0 if self.is_short(number) else both / len(its)
        value = both / (len(ours) + len(its) - both)
        return max(value, share) if share >= _CONTAINED else value

    def among(self, numbers: Iterable[int], place: int, text: str) -> Iterator[Overlap]:
        """Those of the held-out texts with these `numbers` to which the text at this `place` of a row is similar."""
        for number in numbers:
            value = self._of(number, self._grams_of(text), self._grams_of(self.texts[number]))
            if self.is_short(number):
                ours, its = letter_grams(text), letter_grams(self.texts[number])
                value = max(value, len(ours & its) / len(ours | its))
            yield from self._overlap(number, place, value, self._numbers_of(text))

    def _overlap(self, number: int, place: int, value: float, numbers: frozenset[str]) -> Iterator[Overlap]:
        may_recur = place and number in self._inputs_only
        if value >= self._threshold and self._numbers_of(self.texts[number]) <= numbers and not may_recur:
            yield Overlap(number, place, value)

    def matcher(self, chosen: Sequence[int]) -> Callable[[tuple[str, ...]], list[Overlap]]:
        """A function that finds those of the held-out texts in `chosen` to which the texts of a row are similar."""
        held_out, threshold, numbers_of = self.texts, self._threshold, self._numbers_of

        # Each index is built when it is first needed, which may be never.
        @cache
        def short() -> tuple[array[int], int]:
            numbers = array("I", filter(self.is_short, chosen))
            return numbers, max((len(in_letters(held_out[number])) for number in numbers), default=0)

        @cache
        def letter_index() -> GramIndex:
            return GramIndex(held_out, short()[0], numbers_of, letter_grams, threshold)

        @cache
        def bigram_index() -> GramIndex:
            return GramIndex(held_out, chosen, numbers_of, bigrams, min(threshold, _CONTAINED))

        number_sets = NumberSets(lambda: (numbers_of(held_out[number]) for number in chosen))

        def matches_of(
            place: int, text: str, numbers: frozenset[str], sets: Sequence[frozenset[str]]
        ) -> Iterator[Overlap]:
            is_longer = len(text) > 2 * short()[1] / threshold + 8  # too long to match a short text as a whole
            similar = [] if is_longer else list(letter_index().whole(text, sets, threshold))
            meeting = bigram_index().meeting(text, sets)
            similar += [(number, self._of(number, ours, its)) for number, ours, its in meeting]
            for number, value in similar:
                yield from self._overlap(number, place, value, numbers)

        def matches(row: tuple[str, ...]) -> list[Overlap]:
            return [
                match
                for place, text in enumerate(row)
                if (sets := number_sets.within(numbers := numbers_of(text)))
                for match in matches_of(place, text, numbers, sets)
            ]

        return matches


def is_whole(broken: int, varying: int, tokens: int) -> bool:
    """Whether what most of a few texts share is a template: of their `tokens`, at least a twelfth vary (more than one
    changed word of a longer text) and at most half (short texts share a word or none), and they lack at most a sixth as
    many of what they share. An edit destroys about as many as it adds."""
    return 6 * broken <= varying and tokens <= 12 * varying <= 6 * tokens


def is_edited_copy(one: Set[Token], other: Set[Token], frame: Set[Token]) -> bool:
    """Whether at least a third of the tokens in which two texts differ belong to what nearly all texts like them share.

    Two texts that fill in a template differ only in other tokens. A changed, added or lost word destroys one or two
    bigrams of this frame and adds at most two others.
    """
    differing = one ^ other
    return len(differing) <= 3 * len(differing & frame)


def _parts(text: str, broken: Grams) -> Grams:
    """The broken bigrams of a frame that lie in a row: an edit breaks few, an optional part of a template many."""
    if len(broken) < _PART:
        return frozenset()
    ordered = [gram if gram in broken else None for gram in map(hash, pairwise(words(text)))]
    runs = (list(run) for gram, run in groupby(ordered, lambda gram: gram is not None) if gram)
    return frozenset(chain.from_iterable(run for run in runs if len(run) >= _PART))


def _nearest(matches: Iterable[Overlap]) -> Overlap:
    return min(matches, key=lambda match: (-match.similarity, match.held_out, match.text))


class _Templates:
    """For each held-out text that others are similar to: how many, and how many of them lack each of its bigrams.

    Texts of one input count once, so that many answers to a question are no template.
    """

    def __init__(self, held_out: Sequence[str]) -> None:
        self._texts, self._inputs = held_out, set[int]()
        self._sizes, self._lacking = Counter[int](), dict[int, dict[Hashable, int]]()
        self._samples = dict[int, list[tuple[int, str]]]()  # similar texts, which do not depend on the order of rows
        self._information: dict[int, tuple[dict[Hashable, float], float]] = {}
        self._frames, self._same_frame = dict[int, Grams](), dict[Grams, Grams]()
        self._grams_of = lru_cache(2 * _SAMPLED)(bigrams)  # a text is compared with many held-out ones

    def __contains__(self, number: int) -> bool:
        return number in self._sizes

    def size(self, number: int) -> int:
        """How many different texts are known to be similar to a held-out one, with itself."""
        return self._sizes[number]

    @property
    def any(self) -> bool:
        return any(map(self._has_template, self._sizes))

    def _has_template(self, number: int) -> bool:
        size = self._sizes[number]
        if not FEW <= size < TEMPLATE:
            return size >= TEMPLATE
        lacking = self._lacking[number].values()
        broken = sum(without for without in lacking if 2 * without < size)
        return is_whole(broken, sum(lacking) - broken, size * len(lacking))

    def add(self, row: tuple[str, ...], matches: Sequence[Overlap]) -> None:
        """Add a row that is similar to held-out texts."""
        key = hash(tuple(words(row[0])))
        if not matches or key in self._inputs:
            return
        self._inputs.add(key)
        places = {match.text for match in matches}
        grams = {place: bigrams(row[place]) for place in places}
        drawn = {place: (crc32(row[place].encode("utf-8", "surrogatepass")), row[place]) for place in places}
        for number, place in {match.held_out: match.text for match in matches}.items():
            if number not in self._lacking:
                self._lacking[number] = dict.fromkeys(bigrams(self._texts[number]), 0)
                self._sizes[number] = 1
            lacking = self._lacking[number]
            if lacking.keys() != grams[place]:
                self._sizes[number] += 1
                sample = self._samples.setdefault(number, [])
                if len(sample) < _SAMPLED or drawn[place] < sample[-1]:
                    insort(sample, drawn[place])
                    del sample[_SAMPLED:]
                for gram in lacking.keys() - grams[place]:
                    lacking[gram] += 1

    def repeats(self, text: str, number: int) -> bool:
        """Whether a similar text also shares what distinguishes the held-out text from its template, if it has one."""
        if not self._has_template(number):
            return True
        varying, total = self._varying(number)
        grams = self._grams_of(text)
        if sum(varying[gram] for gram in varying.keys() & grams) >= _CONTAINED * total - 1e-9:
            return True
        its, frame = self._lacking[number].keys(), self._frame(number)
        broken = frame & (grams ^ its)
        parts = _parts(text, broken) | _parts(self._texts[number], broken)
        return grams <= its or is_edited_copy(grams - parts, its - parts, frame)

    def _varying(self, number: int) -> tuple[dict[Hashable, float], float]:
        """The information of each bigram of a held-out text that not all similar texts have, and its sum."""
        if number not in self._information:
            size, lacking = self._sizes[number], self._lacking[number].items()
            varying = {gram: math.log(size / (size - without)) for gram, without in lacking if without}
            self._information[number] = varying, sum(varying.values())
        return self._information[number]

    def _frame(self, number: int) -> Grams:
        """The bigrams that nearly all similar texts have."""
        if number not in self._frames:
            sample = self._samples[number]
            counts = Counter(gram for _, similar in sample for gram in self._grams_of(similar))
            frame = frozenset(gram for gram, count in counts.items() if count >= NEARLY_ALL * len(sample))
            self._frames[number] = self._same_frame.setdefault(frame, frame)
        return self._frames[number]

    def index(self, numbers: Sequence[int]) -> Callable[[str], set[int]]:
        """A function that finds those of the held-out texts with a template that a text may repeat.

        A text that has 80 % of the information has one of the rarest bigrams, which together have more than the rest.
        An edited copy breaks the frame, and where many do, also of the first few texts with this frame.
        """
        times = Counter(gram for number in numbers for gram in self._varying(number)[0])
        by_gram, by_frame = dict[Hashable, list[int]](), dict[Grams, list[int]]()
        for number in numbers:
            (varying, total), weight = self._varying(number), 0.0
            for gram in sorted(varying, key=lambda gram: (-varying[gram], gram)):
                if weight <= (1 - _CONTAINED) * total + 1e-9 or times[gram] <= _ENOUGH:
                    by_gram.setdefault(gram, []).append(number)
                weight += varying[gram]
            first = by_frame.setdefault(self._frame(number), [])
            if len(first) < _SAMPLED:
                first.append(number)

        def candidates(text: str) -> set[int]:
            grams = self._grams_of(text)
            chosen = {number for gram in grams & by_gram.keys() for number in by_gram[gram]}
            broken = (frame for frame in by_frame if not frame <= grams and 2 * len(frame & grams) >= len(frame))
            return chosen.union(*(by_frame[frame] for frame in broken))

        return candidates
