"""The rows nearest to a text by shared characters: what a retrieval system shows instead of fixed exemplars.

Similarity is BM25 (Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75) over character bigrams and trigrams of the folded
text, so it needs no model, no word list and no knowledge of the language. Only the grams of the texts that will be
looked up are kept, 12 bytes each. Not covered: semantic similarity without shared characters.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from prompts import Prompt
from schemas.records import Messages
from schemas.spec import Exemplar

_SIZES, _K1, _B = (2, 3), 1.2, 0.75


class LearnedRow(Exemplar):
    """A training row, whose `input` holds all turns of a conversation. `turns` are the earlier ones, `last` is the one
    that the output answers."""

    turns: Messages = ()
    last: str = ""

    def shown_by(self, prompt: Prompt) -> Exemplar:
        """The row as an exemplar of a prompt. One that shows its exemplars as turns gets the turns of a conversation,
        any other its text. A conversation that the assistant opened remains text: after the answer of another
        exemplar, many models refuse its first turn."""
        as_chat = bool(self.turns) and self.turns[0].role == "user" and prompt.shows_turns("exemplars")
        return self.model_copy(update={"input": self.last} if as_chat else {"turns": ()})


class Nearest:
    """An index over `texts`. Every lookup must be one of `queries`."""

    def __init__(self, texts: Sequence[str], queries: Sequence[str]) -> None:
        self._places = {gram: at for at, gram in enumerate(sorted({g for query in queries for g in grams(query)}))}
        rows, lengths = [], []
        for text in texts:
            counted = Counter(grams(text))
            lengths.append(counted.total())
            known = [(self._places[gram], times) for gram, times in counted.items() if gram in self._places]
            rows.append(np.array(known, dtype=np.int32).reshape(-1, 2))
        places, times = np.concatenate([np.zeros((0, 2), dtype=np.int32), *rows]).T
        by_gram = np.argsort(places, kind="stable")
        document_counts = np.bincount(places, minlength=len(self._places))
        self._starts = np.cumsum([0, *document_counts])
        self._texts = np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) for row in rows])[by_gram]
        norm = _K1 * (1 - _B + _B * np.array(lengths) / max(sum(lengths) / max(len(lengths), 1), 1.0))
        self._gains = times[by_gram] * (_K1 + 1) / (times[by_gram] + norm[self._texts])
        self._idf = np.log1p((len(rows) - document_counts + 0.5) / (document_counts + 0.5))
        self._count = len(rows)

    def order(self, query: str) -> NDArray[np.intp]:
        """The positions of all texts, nearest first; ties keep their order. Only the texts with a gram of the query are
        looked at."""
        sums = np.zeros(self._count)
        for gram, in_query in Counter(grams(query)).items():
            place = self._places[gram]
            texts = slice(self._starts[place], self._starts[place + 1])
            sums[self._texts[texts]] += in_query * self._idf[place] * self._gains[texts]
        return np.argsort(-np.round(sums, 9), kind="stable")


def grams(text: str) -> Iterable[str]:
    """The character bigrams and trigrams of a text, case folded, with whitespace collapsed to single spaces and a space
    at both ends."""
    folded = f" {' '.join(text.casefold().split())} "
    return itertools.chain.from_iterable(
        (folded[at : at + size] for at in range(len(folded) - size + 1)) for size in _SIZES
    )
