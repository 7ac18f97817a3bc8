"""Texts as vectors without a neural network: the mean of one fixed vector per token, as in model2vec and WordLlama.

The packaged embedding is WordLlama's (MIT, 16 MB, 256 dimensions, English first; `pip install
'pairsmith[similarity]'`). Only its weights and its tokenizer are read; none of its code runs. A folder with
`model.safetensors` and `tokenizer.json`, as saved by model2vec, works too.

Cosines measured on pairs of sentences: 0.4 to 0.7 for a paraphrase, 0.0 to 0.1 for another subject, 0.8 for the same
sentence with another number, 0.96 with an added "not". So it captures what a text is about, not what it states.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from curate.scorers import Score
from curate.similarity.neighbours import unit_rows
from schemas.errors import MissingDependency
from schemas.records import Pair, Reason

PACKAGED = "wordllama"
_FILES = ("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json")


class StaticEmbedding:
    """`vectors` [vocabulary, dimensions] in the order of the tokenizer's ids, and the tokenizer."""

    def __init__(self, vectors: np.ndarray, tokenizer: Any) -> None:
        self._vectors, self._tokenizer = vectors.astype(np.float32), tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [texts, dimensions], each of length 1; zeros for a text without tokens."""
        sums = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        # The tokenizer rejects lone surrogates, which JSON can escape.
        valid = [text.encode("utf-8", "replace").decode() for text in texts]
        for row, tokens in enumerate(self._tokenizer.encode_batch(valid, add_special_tokens=False)):
            if tokens.ids:
                sums[row] = self._vectors[tokens.ids].mean(axis=0)
        return unit_rows(sums)

    def similarity(self, a: Sequence[str], b: Sequence[str]) -> list[float]:
        """The cosine of each text of `a` with the text at the same index of `b`; 1 for equal texts."""
        cosines = (self.embed(a) * self.embed(b)).sum(axis=1)
        return [
            1.0 if one == other else float(np.clip(cosine, -1, 1))
            for one, other, cosine in zip(a, b, cosines, strict=True)
        ]


def is_packaged() -> bool:
    """Whether the packaged embedding is installed."""
    return find_spec(PACKAGED) is not None and find_spec("safetensors") is not None


@cache
def static_embedding() -> StaticEmbedding:
    """The packaged embedding. Raises MissingDependency if it is not there."""
    spec = find_spec(PACKAGED)
    root = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    try:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer
    except ImportError:
        root = None
    if root is None or not all((root / name).is_file() for name in _FILES):
        raise MissingDependency(
            "there is no static embedding.",
            where=PACKAGED,
            why="Without it texts cannot be compared by what they are about.",
            fix="Run: pip install 'pairsmith[similarity]'.",
        )
    weights, tokenizer = root / _FILES[0], root / _FILES[1]
    (vectors,) = (value for value in load_file(weights).values() if value.ndim == 2)
    return StaticEmbedding(vectors, Tokenizer.from_file(str(tokenizer)))


async def similar_to_reference(pairs: Sequence[Pair]) -> list[Score]:
    """A `Scorer`: the similarity of an output to the reference; no score without a reference."""
    compared = [pair for pair in pairs if pair.reference is not None]
    if not compared:
        cosines: list[float] = []
    else:
        texts = [pair.output for pair in compared], [pair.reference or "" for pair in compared]
        cosines = static_embedding().similarity(*texts)
    scores = {pair.id: Score(cosine, Reason("scored")) for pair, cosine in zip(compared, cosines, strict=True)}
    return [scores.get(pair.id) or Score(None, Reason("unscored", "there is no reference")) for pair in pairs]
