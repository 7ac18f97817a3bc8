"""Detects the languages of a user's texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_SAMPLE, _LEAST = 20_000, 200  # characters and bytes that the language of all texts is derived from
_TEXTS, _LEAST_OF_TEXT = 200, 30  # texts that are examined each for itself, and their bytes
_FEW, _SURE = 3, 0.7  # texts in another language, and the probability of a text's language
_SHARE = 10  # another language is pointed out if at least one text in this many is in it


def detect_language(texts: Sequence[str], otherwise: str = "en") -> str:
    """The two-letter code of the language of these texts together. Returns `otherwise` if there is too little text, or
    if no language has a probability above one half, as for lists of names or products."""
    sample = " ".join(texts)[:_SAMPLE]
    if len(sample.encode()) < _LEAST:
        return otherwise
    from curate.gates.identification import relatives

    ranked = dict(_identifier().rank(sample))
    code = str(next(iter(ranked)))
    is_sure = sum(ranked.get(other, 0.0) for other in relatives(code)) > 0.5
    return code if is_sure and len(code) == 2 else otherwise  # "zxx" means no linguistic content


def hint_of_languages(texts: Sequence[str]) -> list[str]:
    """That texts are in several languages, of which a project has one."""
    from curate.gates.identification import relatives

    long = [text for text in texts if len(text.encode()) >= _LEAST_OF_TEXT]
    examined = long[:: max(1, len(long) // _TEXTS)]
    if len(examined) < 2 * _FEW:
        return []
    counts, identifier = Counter[str](), _identifier()
    for text in examined:
        ranked = dict(identifier.rank(text))
        code = next((known for known in counts if known in relatives(next(iter(ranked)))), next(iter(ranked)))
        counts[code] += sum(ranked.get(other, 0.0) for other in relatives(code)) >= _SURE
    (first, most), *others = counts.most_common()
    named = [f"{n:,} in {code}" for code, n in others if n >= _FEW and n * _SHARE >= len(examined) and len(code) == 2]
    if not named:
        return []
    return [
        f"the texts are in several languages ({most:,} in {first}, {', '.join(named)}, of {len(examined):,} that were"
        " examined), but 'language' is one per project, and the gate 'language' rejects outputs in any other: make a"
        " project of each language, or set curate.gates.language and curate.gates.mixed_language to false"
    ]


def _identifier() -> LanguageIdentifier:
    """The identifier that the gates use, if this process has loaded it; otherwise one that is freed after use, because
    it would take 70 MB as long as a server runs. Loading takes a third of a second."""
    from curate.gates.identification import shared_identifier

    is_loaded = shared_identifier.cache_info().currsize > 0
    identifier: LanguageIdentifier = shared_identifier() if is_loaded else shared_identifier.__wrapped__()
    return identifier
