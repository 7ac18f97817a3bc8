"""What a style says for every text, such as a hotline, opening hours or a signature, and not how much to write.

beside_style(gate, "Give 3 examples. Sign as Tom Hale.", "en") does not object to `Tom Hale` but to `3 months`.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from itertools import takewhile

from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.judgement import Gate, Judgement
from curate.gates.number_words import words_to_digits
from curate.gates.phrases import lexicon, says
from curate.gates.phrases.word_patterns import word_pattern
from schemas.records import Pair


def beside_style(gate: Gate, style: str, *languages: str) -> Gate:
    """Return `gate` as one that treats what the style says for every text as part of the input.

    It does not say what it rules out or gives as an example of an output, nor a number below 1000 that has none of its
    words nearby in the text: `3 examples` is no `3 months`. Not covered: a name with another part than in the style.
    """
    stated = _without_examples(style, languages)
    return partial(_judge_beside_style, gate, stated, languages) if stated.strip() else gate


def beside_conversation(gate: Gate, *languages: str) -> Gate:
    """Return `gate` as one that treats the earlier turns of a conversation, and the row's own system prompt, as part of
    the input: an answer may repeat what was said, and what the system prompt says of the house."""
    return partial(_judge_beside_conversation, gate, languages)


def _judge_beside_conversation(gate: Gate, languages: tuple[str, ...], pair: Pair) -> Judgement:
    judgement = gate(pair)
    if judgement.keep is not False or not (pair.turns or pair.system.strip()):
        return judgement
    said_before = "\n".join((_without_examples(pair.system, languages), *(turn.content for turn in pair.turns)))
    stated = _without_other_numbers(said_before, pair.output, languages)
    *_, objected = ("", *_QUOTED.findall(judgement.reason.detail))
    if not set(_FIGURES.findall(objected)) <= set(_FIGURES.findall(stated)):
        return judgement  # a price is no other one because prices were spoken of
    beside = gate(pair.model_copy(update={"input": f"{stated}\n{pair.input}"}))
    return beside if beside.keep else judgement


_QUOTED, _FIGURES = re.compile("“([^“”]*)”"), re.compile(r"\d+")


def _judge_beside_style(gate: Gate, style: str, languages: tuple[str, ...], pair: Pair) -> Judgement:
    judgement = gate(pair)
    if judgement.keep is not False:
        return judgement
    stated = _without_other_numbers(style, pair.output, languages)
    beside = gate(pair.model_copy(update={"input": f"{pair.input}\n{stated}"}))
    return beside if beside.keep else judgement


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _without_examples(style: str, languages: tuple[str, ...]) -> str:
    """Return a style without examples of outputs and without the clauses that deny something."""

    def kept(clause: re.Match[str]) -> str:
        folded = fold(clause[0])
        denies = any(says(code, "denial", folded) for code in dict.fromkeys((*languages, "en")))
        return "\n" if denies and not says("any", "forgets", folded) else clause[0]

    return _CLAUSE.sub(kept, _example().sub(" ", style))


_CLAUSE = re.compile(r"[\s\S]+?(?:[.!?;:,]+(?=\s|\Z)|\n|[\u3002\uff01\uff1f\uff1b\uff0c\u3001]|\Z)")
_example = word_pattern(r"(?<!\w){examples_named}(?:\s[^\n.!?:\uff1a]{0,30})?[:\uff1a][^\n]*", re.IGNORECASE)


def _without_other_numbers(style: str, text: str, languages: tuple[str, ...]) -> str:
    """Return a style without the numbers that stand among other words in a text."""
    if not (in_style := _numbers(style, languages)):
        return style
    near_in_text: dict[str, set[str]] = {}
    for number, _, near in _numbers(text, languages):
        near_in_text.setdefault(number, set()).update(near)
    for number, (start, end), near in reversed(in_style):
        if near_in_text.get(number, set()).isdisjoint(near):
            style = f"{style[:start]} {style[end:]}"
    return style


@lru_cache(maxsize=CACHE_SIZE)
def _numbers(text: str, languages: tuple[str, ...]) -> tuple[tuple[str, tuple[int, int], frozenset[str]], ...]:
    """Return each number below 1000 that is no part of a longer one, its place, and the words near it."""
    codes = dict.fromkeys((*languages, "en"))
    tokens = [(_value(token[0], languages), token) for token in _TOKEN.finditer(text)]
    tokens = [(value, token) for value, token in tokens if not any(value in lexicon(code).stop for code in codes)]
    numbers = []
    for at, (value, token) in enumerate(tokens):
        if value.isdecimal() and len(value) < _LONG_NUMBER and not _in_longer_number(text, *token.span()):
            before = takewhile(_is_word, (word for word, _ in reversed(tokens[max(0, at - _NEAR) : at])))
            behind = takewhile(_is_word, (word for word, _ in tokens[at + 1 : at + 1 + _NEAR]))
            numbers.append((value, token.span(), frozenset(word[:_ROOT_LETTERS] for word in (*before, *behind))))
    return tuple(numbers)


def _value(token: str, languages: tuple[str, ...]) -> str:
    for language in languages:
        if (digits := words_to_digits(token, language)).isdecimal():
            return digits
    return fold(token)


def _is_word(token: str) -> bool:
    return token not in _SENTENCE_ENDS


def _in_longer_number(text: str, start: int, end: int) -> bool:
    return bool(_DIGIT_BEFORE.search(text[max(0, start - 2) : start]) or _DIGIT_BEHIND.match(text, end))


_DIGIT_BEFORE, _DIGIT_BEHIND = re.compile(r"\d[ .,:/\u2013-]?\Z"), re.compile(r"[ .,:/\u2013-]?\d")
# A character of Chinese or Japanese counts as a word, and so does the sign of a currency.
_TOKEN = re.compile(
    r"\d+|[\u3040-\u9fff]|[^\W\d_\u3040-\u9fff]+|[$\u00a3\u00a5\u20ac]|[.!?;:](?!\w)|\n|[\u3002\uff01\uff1f]"
)
_SENTENCE_ENDS = frozenset(".!?;:\n\u3002\uff01\uff1f")
_NEAR, _ROOT_LETTERS, _LONG_NUMBER = 2, 4, 4
