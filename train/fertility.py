"""How many tokens a base makes of a text, its tokenizer's fertility (Rust et al. 2021): what an answer takes, and
whether the base has read the language. Read from the tokenizer's file alone: no model is loaded, nothing is fetched.
"""

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
# SmolLM2 takes 4.8 bytes of English a token, 2.9 of French and Spanish, 2.5 of German and Romanian, and at most 2.4 of
# Polish, Greek, Russian, Arabic, Hindi, Thai, Chinese, Japanese and Korean, in bytes and not in letters.
_LITTLE = 2.45
_FEWEST_BYTES, _MOST_BYTES, _LONGEST = 200, 100_000, 100
# Digits, marks, blanks, arrows and emoji are alike in every language.
_NO_WORDS = re.compile(r"[\x00-\x40\[-`{-\xbf\u2000-\u20cf\u2100-\u2bff\ufe0f\U0001f000-\U0001faff]+")
_ENGLISH_LETTERS = 0.9  # the share of them from which a text that is said to be English is in its script


class Fertility(NamedTuple):
    """Bytes that a token holds, of a project's texts and of English, and whether the texts have English letters."""

    own: float
    english: float
    in_english_letters: bool = False

    @property
    def has_read_little(self) -> bool:
        return self.own < _LITTLE

    @property
    def is_of_codes(self) -> bool:
        """Whether texts that should be English take as many tokens as ids and formulas do."""
        return self.has_read_little and self.in_english_letters and self.english >= _LITTLE

    @property
    def times(self) -> float:
        """How many steps an answer takes for each of an English one of as many bytes."""
        return self.english / self.own


def tokenizer_of(settings: TrainSettings, project_folder: Path) -> Tokenizer | None:
    """The tokenizer of `train.base`; None where its file is not on this machine, or is none that can be read alone."""
    try:
        from tokenizers import Tokenizer

        file = _file_of(settings, project_folder)
        return Tokenizer.from_file(str(file)) if file is not None and file.is_file() else None
    except Exception:  # without the extra `train`; of a broken file the look at the base tells
        return None


def _file_of(settings: TrainSettings, project_folder: Path) -> Path | None:
    name = "tokenizer.json"
    if settings.base == "embedded":
        from synth.embedded.weights import NAME, cache_folder

        return cache_folder() / NAME / name
    if (folder := project_folder / settings.base).is_dir():
        return folder / name
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(settings.base, name, revision=settings.revision)
    return Path(cached) if isinstance(cached, str) else None


def fertility(tokenizer: Tokenizer, texts: Sequence[str]) -> Fertility | None:
    """That of `texts`; None where they are too few to tell."""
    sample = _NO_WORDS.sub(" ", " ".join(texts)[:_MOST_BYTES])
    if len(sample.encode()) < _FEWEST_BYTES:
        return None
    own, english = (len(text.encode()) / len(_ids(tokenizer, text)) for text in (sample, ENGLISH))
    return Fertility(own, english, sum(map(str.isascii, sample)) >= _ENGLISH_LETTERS * len(sample))


def longest(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """The tokens of the text that takes the most, with one for its end; of many texts the longest are looked at."""
    return max((len(_ids(tokenizer, text)) + 1 for text in heapq.nlargest(_LONGEST, texts, key=len)), default=0)


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids
