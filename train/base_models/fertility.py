"""What a base model's tokenizer does to texts: how many tokens it needs, its fertility (Rust et al. 2021), and whether
it gives the texts back unchanged. Fertility determines the cost of an answer, and shows whether the base was trained on
the language. Only the tokenizer file is read: no model is
loaded, nothing is downloaded."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from schemas.spec import TrainSettings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ENGLISH = (
    "Good morning, to register your daughter you need the doctor's certificate, the identity cards of both parents and "
    "the marriage certificate. There is no fee, and we are open until six on Thursdays."
)
# SmolLM2 encodes 4.8 bytes of English per token, 2.9 of French and Spanish, 2.5 of German and Romanian, and at most 2.4
# of Polish, Greek, Russian, Arabic, Hindi, Thai, Chinese, Japanese and Korean (bytes, not characters).
_LITTLE_READ_BYTES = 2.45
_MIN_BYTES, _MAX_BYTES, _MAX_TEXTS = 200, 100_000, 100
# Digits, punctuation, whitespace, arrows and emoji are the same in every language.
_NON_WORDS = re.compile(r"[\x00-\x40\[-`{-\xbf\u2000-\u20cf\u2100-\u2bff\ufe0f\U0001f000-\U0001faff]+")
_ENGLISH_LETTERS = 0.9  # minimum share of ASCII characters for a text to count as written in English letters


class Fertility(NamedTuple):
    """Bytes per token for a project's texts and for English, and whether the texts are written in English letters."""

    own: float
    english: float
    in_english_letters: bool = False

    @property
    def has_read_little(self) -> bool:
        return self.own < _LITTLE_READ_BYTES

    @property
    def is_of_codes(self) -> bool:
        """Whether texts that should be English need as many tokens as ids and formulas do."""
        return self.has_read_little and self.in_english_letters and self.english >= _LITTLE_READ_BYTES

    @property
    def times(self) -> float:
        """How many times as many tokens an answer takes as an English one with the same number of bytes."""
        return self.english / self.own


def tokenizer_of(settings: TrainSettings, project_folder: Path) -> Tokenizer | None:
    """The tokenizer of `train.base`; None if its file is not on this machine or cannot be read on its own."""
    try:
        from tokenizers import Tokenizer

        file = _file_of(settings, project_folder)
        return Tokenizer.from_file(str(file)) if file is not None and file.is_file() else None
    except Exception:  # the extra `train` is missing, or the file is broken, which the base check reports
        return None


def _file_of(settings: TrainSettings, project_folder: Path) -> Path | None:
    name = "tokenizer.json"
    if settings.base == "embedded":
        from schemas.cache import cache_folder
        from synth.embedded.weights import NAME

        return cache_folder() / NAME / name
    if (folder := project_folder / settings.base).is_dir():
        return folder / name
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(settings.base, name, revision=settings.revision)
    return Path(cached) if isinstance(cached, str) else None


def fertility(tokenizer: Tokenizer, texts: Sequence[str]) -> Fertility | None:
    """The fertility of `texts`; None if they are too short to measure it."""
    sample = _NON_WORDS.sub(" ", " ".join(texts)[:_MAX_BYTES])
    if len(sample.encode()) < _MIN_BYTES:
        return None
    sample_bytes, english = (len(text.encode()) / len(_ids(tokenizer, text)) for text in (sample, ENGLISH))
    return Fertility(sample_bytes, english, sum(map(str.isascii, sample)) >= _ENGLISH_LETTERS * len(sample))


def longest(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """The token count of the longest text, including one end token; of many texts only the longest are tokenised."""
    return max((len(_ids(tokenizer, text)) + 1 for text in heapq.nlargest(_MAX_TEXTS, texts, key=len)), default=0)


def first_change(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[str, str] | None:
    """The first text that the tokenizer does not give back as it is, and what it makes of it (see `difference`); None
    if it keeps all of them, or its file does not say how tokens become text."""
    for text in texts if tokenizer.decoder else ():
        # A leading space may be lost in decoding alone, so none of them begins a text here.
        if (back := tokenizer.decode(_ids(tokenizer, f"a{text}"), skip_special_tokens=False)) != f"a{text}":
            return difference(text, back[1:])
    return None


def difference(text: str, other: str) -> tuple[str, str]:
    """Both texts from just before their first difference, at most 40 characters of each."""
    differing = (at for at, (one, two) in enumerate(zip(text, other, strict=False)) if one != two)
    begin = max(0, next(differing, min(len(text), len(other))) - 10)
    return text[begin : begin + 40], other[begin : begin + 40]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids
