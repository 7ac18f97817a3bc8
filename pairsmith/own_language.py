"""The language of texts that a person has."""

from __future__ import annotations

from collections.abc import Sequence


def language_of(texts: Sequence[str]) -> str:
    """The two letters of the language that these texts are in together; en where they are too few to tell."""
    sample = " ".join(texts)[:20_000]
    if len(sample.encode()) < 200:
        return "en"
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    # One of our own, which goes with the call: the library's would keep 70 MB in a server for as long as that runs.
    code = str(LanguageIdentifier.from_model_file(MODEL_FILE).classify(sample)[0])
    return code if len(code) == 2 else "en"  # "zxx" are texts in no language
