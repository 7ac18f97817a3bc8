"""Texts in markup that only formats them, as help desks and web editors store them: `<div>Hello,<br>...</div>`."""

from __future__ import annotations

import re
from functools import lru_cache, partial
from html import unescape

from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.judgement import Gate, Judgement
from curate.gates.phrases import says
from schemas.records import Pair

_FORMATS = r"(?:a|b|i|p|u|s|br|hr|em|strong|[uo]l|li|div|span|h[1-6]|small|mark|font|center|blockquote)"
_WHOLE = re.compile(rf"<{_FORMATS}(?:\s[^<>]*)?/?>[\s\S]*>", re.IGNORECASE)
_OTHER_TAG = re.compile(rf"</?(?!{_FORMATS}[\s/>])[a-z!?]", re.IGNORECASE)
_NEW_LINE = re.compile(r"<br\s?/?>|</(?:p|div|li|h[1-6]|blockquote)>", re.IGNORECASE)
# Atomic, so that a tag with many of these is read once.
_LINK = re.compile(r"<a\s(?>[^<>]*?href=[\"']([^\"'<>]*)[\"'])[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


def on_text_alone(gate: Gate, style: str) -> Gate:
    """Return `gate` as one that sees the texts of a pair without such markup, but with the addresses of links.

    A text remains as it is if it has other tags, or if the style or the input mentions markup.
    """
    return partial(_judge_text_alone, gate, style)


def _judge_text_alone(gate: Gate, style: str, pair: Pair) -> Judgement:
    if "</" not in pair.output and "</" not in pair.input:
        return gate(pair)
    input = without_formatting(pair.input, style)
    output = without_formatting(pair.output, f"{input}\n{style}")
    if (input, output) == (pair.input, pair.output):
        return gate(pair)
    return gate(pair.model_copy(update={"input": input, "output": output}))


@lru_cache(maxsize=CACHE_SIZE)  # all gates need it
def without_formatting(text: str, asked: str) -> str:
    """Return the text alone if it is wholly in such markup, otherwise as it is. `asked` are the other texts, which must
    not contain or mention markup."""
    if not _WHOLE.fullmatch(text.strip()) or _OTHER_TAG.search(text) or "</" in asked:
        return text
    if says("any", "markup_words", fold(asked)):
        return text
    lines = _NEW_LINE.sub("\n", _LINK.sub(r"\1 ", text))
    return unescape(_TAG.sub("", lines)).strip()
