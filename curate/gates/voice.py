"""What the gates on the voice of a text have in common: its sides without code and speech, and their flags."""

from __future__ import annotations

import re

from curate.gates.folding import fold
from curate.gates.judgement import Judgement, Side, only_flagged, quote, rejected
from curate.gates.phrases import phrases
from curate.gates.words import count_words
from schemas.records import Pair


def other_side(pair: Pair, side: Side) -> str:
    return fold(pair.input if side == "output" else pair.output)


def without_code(folded: str) -> str:
    """Remove code between backticks, which may contain any marker, unless the text is nothing else."""
    left = _CODE.sub(" ", folded) if "`" in folded else folded
    return left if left.strip() else folded


_CODE = re.compile(r"```[\s\S]*?```|`[^`\n]+`")


def without_speech(text: str) -> str:
    """Remove what characters say: quotations that are not the whole text, and two or more lines of dialogue.

    A line of dialogue begins with a dash. If a character refuses something, it is part of a story.
    """
    around = _SPEECH.sub(" ", text)
    text = around if count_words(around) >= _MIN_OUTSIDE else text
    lines = text.splitlines()
    spoken = [line for line in lines if _DASHED.match(line)]
    return "\n".join(line for line in lines if line not in spoken) if len(spoken) > 1 else text


def is_spoken(quoted: str) -> bool:
    """Whether a sentence begins like direct speech, or contains some with a few words around it."""
    return bool(_SPOKEN.match(quoted)) or without_speech(quoted) != quoted


_SPOKEN = re.compile(r"\s*[-\"'\u2013\u2014\u201c\u201e\u00ab\u00bb\u300c]")
_SPEECH = re.compile(r"[\"\u201c\u201e\u00ab\u300c][^\"\u201c\u201d\u00bb\u300d\n]{8,300}[\"\u201d\u201c\u00bb\u300d]")
_MIN_OUTSIDE = 3  # words outside a quotation; with fewer, the quotation is the text
_DASHED = re.compile(r"\s*[\u2013\u2014\u00ab\u201c\u201e\u300c]")


def flag(code: str, side: Side, quoted: str) -> Judgement:
    return only_flagged(rejected(code, f"the {side} text says {quote(quoted)}"))


def coverage_note(language: str) -> str:
    return "" if phrases(language).known else f"; not checked: there are no phrases for '{language}' yet"
