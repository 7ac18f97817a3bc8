"""What a text tells of its making: its instruction as a statement, reasoning under a label, notes on changes.

labelled_answer("", "when?", "It asks for a time.\\nAnswer: at nine") == "answer"
"""

from __future__ import annotations

import re
from functools import lru_cache

from curate.gates.content import in_code, quotations
from curate.gates.coverage import has_known_stop_words, roots
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.phrases.word_patterns import listed, word_pattern


def restated_style(style: str, given: str, text: str, language: str, style_language: str, kind: str) -> str:
    """Return one of several sentences that consists of words of the style and not of the input; or ''.

    What a style tells as facts is there to be said, so sentences with figures and those behind a label do not count,
    and for a reply only those that tell a model what it is.
    """
    own = (
        _instruction_roots(style, style_language, to_model=kind == "reply")
        if has_known_stop_words(language)
        else frozenset[str]()
    )
    if len(own) < _MIN_ROOTS:
        return ""
    parts = [part for part in _SENTENCES.split(text) if any(map(str.isalnum, part))]
    for part in parts if len(parts) > 1 else ():
        here = roots(part, language)
        needed, shared = max(_MIN_ROOTS, _MOST * len(here)), here & own
        if len(shared) >= needed <= len(shared - roots(given, language) - roots(given, style_language)):
            return part.strip()
    return ""


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _instruction_roots(style: str, language: str, *, to_model: bool) -> frozenset[str]:
    """Return the roots of what a style demands, without the facts that it tells."""
    demanded = (part for part in _SENTENCES.split(_facts().split(style, maxsplit=1)[0]) if not re.search(r"\d", part))
    return roots(" ".join(part for part in demanded if not to_model or _persona().match(fold(part))), language)


_persona = word_pattern(r"\W*{persona}")


_MIN_ROOTS, _MOST = 4, 0.6  # roots of a sentence that are the style's, and their share
_SENTENCES = re.compile(r"(?<=[.!?\u2026])\s+|(?<=[\u3002\uff01\uff1f\u061f\u0964])\s*|\n+|(?<=\w): ")
_facts = word_pattern(r"(?<!\w)(?:{facts_named|fact_named})\s?[:\uff1a]", re.IGNORECASE)


def labelled_answer(style: str, given: str, text: str) -> str:
    """Return a label such as `Answer:` that begins a line below other text, or ''.

    Not below a question, nor if the input or the style has the label, nor in a form with other labels of its own.
    """
    if "\n" not in text or not (":" in text or "\uff1a" in text):
        return ""
    label = _answer_label().search(fold(text))
    if not label or label.start() == 0:
        return ""
    above = fold(text)[: label.start()].strip()
    known = fold(f"{given}\n{style}")
    if len(_LABEL.findall(fold(text))) > 1:
        return ""
    asked = above.endswith(("?", "\uff1f", "\u061f")) or _question_label().search(above)
    return "" if not above or asked or label["name"] in known else label["name"]


_answer_label = word_pattern(r"\n\W*(?P<name>(?<![^\W\d_]){answer_labels})\W{0,3}[:\uff1a]")
_LABEL = re.compile(r"(?m)^\W*[^\W\d_][\w ]{0,20}\W{0,3}[:\uff1a]")
_question_label = word_pattern(r"(?m)^\W*{question_labels}\W{0,4}(?:\d\W*)?[:\uff1a]")


def change_note(style: str, given: str, text: str) -> str:
    """Return a note that quotes a word which the text had and has no longer: `(removed "sorry")`, `teh -> the`; or ''.

    It is the last paragraph or bracket, or a line with an arrow. Not if the style asks for notes or marks.
    """
    may_have = any(map(text.__contains__, (*_ARROWS, "~~", "\n", ")", "]", "\uff09")))
    if not may_have or _wants_notes(style) or in_code(text) or in_code(given):
        return ""
    folded = fold(given)
    for line in text.splitlines() if any(map(text.__contains__, _ARROWS)) else ():
        before = _ARROW.match(line)
        if before and fold(before[1]) in folded and not any(map(given.__contains__, _ARROWS)):
            return line.strip()
    struck = _STRUCK.search(text)
    if struck and fold(struck[1]) in folded and "~~" not in given:
        return struck[0]
    last = _LAST.search(text.rstrip())
    if last is None:
        return ""
    if not (quoted_texts := dict.fromkeys(map(str.strip, quotations(last[0])))):
        return ""
    rest = fold(text[: last.start()])
    gone = [quoted for quoted in quoted_texts if fold(quoted) in folded and not _has(rest, fold(quoted))]
    around = last[0]
    for quoted in quoted_texts:
        around = around.replace(quoted, " ")
    apart = frozenset(re.findall(r"[^\W\d_]{4,}", fold(around))).isdisjoint(re.findall(r"[^\W\d_]{4,}", folded))
    short = all(len(quoted) < _WORDS for quoted in gone)
    around_it = len(re.findall(r"[^\W\d_]{3,}|[\u3040-\u9fff\uac00-\ud7a3]{2}", around)) > int(
        last[0].lstrip()[0] not in "([\uff08"
    )
    return last[0].strip() if gone and short and apart and around_it else ""


def _has(text: str, word: str) -> bool:
    return re.search(rf"(?<![^\W\u3040-\u9fff]){re.escape(word)}(?![^\W\u3040-\u9fff])", text) is not None


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _wants_notes(style: str) -> bool:
    return _asks_for_notes(fold(style)) is not None


_asks_for_notes = listed("asks_for_notes")
_WORDS = 40  # characters of a quoted word or two
_ARROWS = ("\u2192", "->", "=>", "\u21d2")
_ARROW = re.compile(r"\W*([^\W\d_][\w ]{0,30}?)[\"'\u201d\u00bb]?\s*(?:\u2192|[-=]>|\u21d2)\s*\S")
_STRUCK = re.compile(r"~~([^~\n]+)~~")
_LAST = re.compile(r"\n\s*\n[^\n]+\Z|\n[^\n:\uff1a]{2,30}[:\uff1a][^\n]+\Z|\s[(\[\uff08][^()\[\]\n]+[)\]\uff09]\Z")
