"""Several texts where one was asked for, a text written twice, and a prompt repeated before the text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from curate.gates.content import in_code
from curate.gates.coverage import has_known_stop_words, max_share_in_two_parts, roots, share
from curate.gates.folding import fold
from curate.gates.form import is_verse
from curate.gates.phrases import says
from curate.gates.phrases.word_patterns import may_say
from curate.gates.words import count_words

_LINES = re.compile(r"\n+")
_SLASHES = re.compile(r"\s/\s|\s\|\s")
_SENTENCE = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u00bb)*_]*\s+(?=\S)|(?<=[\u3002\uff01\uff1f\u061f\u0964])\s*(?=\S)")
_QUOTED = re.compile(
    r"[\u00ab\u201c\u201e\u300c\"]\s*([^\u00ab\u00bb\u201c\u201d\u201e\u300c\u300d\"\n]{8,200}?)\s*[\u00bb\u201c\u201d\u300d\"]"
)
_LABEL = re.compile(r"\A\W*[^\n:：]{2,30}[:：]")
# Roots of an input; the share of them in two of the parts; the share of them in every part.
_MIN_ROOTS, _MOST_ROOTS, _SOME_ROOTS = 3, 0.6, 0.3
# Words of a part per word of the input; share of the roots that two parts have in common.
_MAX_LENGTH, _SHARED_ROOTS = 2.5, 0.6


def repeated_version(given: str, text: str, language: str) -> str:
    """Return a part of a text that contains most of the input, if another part does too; or ''.

    Parts are lines, texts between slashes or in quotation marks, and sentences. Verse is not checked, nor is an input
    that consists of several texts itself.
    """
    if len(text) < 12 or not has_known_stop_words(language):
        return ""
    whole = roots(given, language)
    if len(whole) < _MIN_ROOTS or max_share_in_two_parts(whole, text, language) < _MOST_ROOTS or is_verse(text):
        return ""
    lines, slashes = (_LINES,) if "\n" in text else (), (_SLASHES,) if "/" in text or "|" in text else ()
    for pattern in (*lines, *slashes, _SENTENCE):
        parts = [part.strip() for part in pattern.split(text) if part.strip()]
        if len(parts) > 1 and (version := _repeated_part(parts, whole, given, language)):
            return version
    quoted = [part for part in _QUOTED.findall(text) if part not in given]
    return _repeated_part(quoted, whole, given, language) if len(quoted) > 1 else ""


def _repeated_part(parts: list[str], whole: frozenset[str], given: str, language: str) -> str:
    longest, least = _MAX_LENGTH * count_words(given) + _MIN_ROOTS, max(2, len(parts) / 2)
    telling = list[tuple[str, frozenset[str]]]()
    for left, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
        if count_words(part) <= longest and share(whole, roots(part, language)) >= _MOST_ROOTS:
            telling.append((part, roots(part, language)))
        elif len(telling) + left < least:
            return ""
    part_roots = [roots(part, language) for part in parts]
    for (part, one), (_, other) in zip(telling[1:], telling, strict=False):
        if (
            share(one, other) >= _SHARED_ROOTS
            or share(other, one) >= _SHARED_ROOTS
            or all(share(whole, s) >= _SOME_ROOTS for s in part_roots)
        ):
            return part
    return ""


def unrelated_heading(given: str, text: str, language: str) -> str:
    """Return the only heading of a text, if it is unrelated to the input and the rest contains most of the input; or
    ''.

    A salutation does not count.
    """
    first, _, rest = text.strip().partition("\n")
    marked = _MARKED.match(first)
    if not rest.strip() or not marked or "," in first[-2:] or _MARK.search(rest):
        return ""
    if count_words(first) > _MAX_HEADING or not has_known_stop_words(language) or _GREETS.match(first):
        return ""
    whole, heading = roots(given, language), roots(first, language)
    if len(whole) < _MIN_ROOTS or not heading or not heading.isdisjoint(whole) or first.strip("*#_: ") in given:
        return ""
    return first if share(whole, roots(rest, language)) >= _MIN_KEPT else ""


def unrelated_opening(given: str, text: str, language: str) -> str:
    """Return what a text says before its first colon or in its first sentence, if it talks about the rest, or ''.

    It agrees (`sure, like this:`) although the input does not, names a form (`in one sentence:`, but not `in short:`)
    or refers to the request, it has nothing of the input in it, and the rest contains most of the input.
    """
    if not has_known_stop_words(language):
        return ""
    codes = dict.fromkeys((language, "en"))
    if not any(may_say(code, fold(text), "agrees", "shape", "as_asked") for code in codes):
        return ""
    for pattern in (_BEFORE_A_COLON, _FIRST_OF_SEVERAL):
        opening = pattern.match(text)
        if opening is None:
            continue
        head = fold(opening[1])
        agreed = pattern is _BEFORE_A_COLON and _begins_with(head, "agrees", codes)
        shaped = len(head.split()) != 2 and any(says(code, n, head) for code in codes for n in ("shape", "as_asked"))
        if not shaped and (not agreed or any(says(code, "agrees", fold(given)) for code in codes)):
            continue
        if _is_apart(given, opening[1], text[opening.end() :], language, _MIN_KEPT):
            return opening[1]
    return ""


def _begins_with(text: str, name: str, codes: Iterable[str]) -> bool:
    return any(word.start() < _AT_START for code in codes if (word := says(code, name, text)))


def _is_apart(given: str, part: str, rest: str, language: str, least: float) -> bool:
    """Whether a part of a text has nothing of the input in it, and the rest at least a share `least` of the input."""
    whole = roots(given, language)
    if len(whole) < _MIN_ROOTS or share(roots(part, language), whole) > _SHARED_BY_CHANCE:
        return False
    paired = language in ("zh", "ja", "ko")  # pairs of characters, few of which survive a paraphrase
    return share(whole, roots(rest, language)) >= (_MIN_PAIRS if paired else least)


def unrelated_ending(given: str, text: str, language: str) -> str:
    """Return the last paragraph of a text, if it speaks of a text's form and has nothing of the input in it, although
    the input asks nothing and the rest contains much of it; or ''. A question alone may be one of the writer's."""
    rest, _, last = text.strip().rpartition("\n\n")
    if not rest or not _ENDS_A_SENTENCE.fullmatch(last) or _ASKS.search(given) or _LABEL.match(last):
        return ""
    folded, codes = fold(last), dict.fromkeys((language, "en"))
    if not any(says(code, "craft", folded) for code in codes):
        return ""
    apart = has_known_stop_words(language) and _is_apart(given, last, rest, language, _MIN_RETOLD)
    return last if apart else ""


def repeated_prompt(given: str, text: str) -> str:
    """Return the part of a prompt that a text repeats before it begins, or ''.

    This is one of the following: the whole prompt on a line of its own; the text before its colon that says how to
    write (`make it short, no slang:`), also after a label or without its first words, whereas a heading
    (`note to tenants:`) does not say that; or a sentence addressed to a model (`you are a cook.`).
    """
    asked, written = fold(given).strip(), fold(text).strip()
    first, _, rest = written.partition("\n")
    if rest.strip() and count_words(asked) > _MIN_ROOTS and first.strip(_MARKUP) == asked.strip(_MARKUP):
        return first
    role = _FIRST_SENTENCE.match(asked)
    if role and says("any", "to_a_model", role[0]) and written.startswith(role[0]):
        return role[0]
    prompt = _BEFORE_COLON.match(asked)
    if not prompt or in_code(text) or not says("any", "of_writing", prompt[1]):
        return ""
    line, start = _BEFORE_COLON.match(written), written[: len(prompt[1]) + _LABEL_BEFORE]
    head = line[1].strip(_MARKUP) if line else ""
    again = prompt[1] if prompt[1] in start else head if head in prompt[1] else ""
    return again if len(again.split()) >= _MIN_ROOTS or (len(again) >= _MIN_ROOTS and _UNSPACED.search(again)) else ""


_BEFORE_A_COLON = re.compile(r"\s*([^\n:\uff1a]{2,140}?)\s?(?::\s+|\uff1a\s*)(?=\S)")
_FIRST_OF_SEVERAL = re.compile(r"\s*([^\n]{8,200}?)(?:[.!\u2026]\s+|\s(?:\u2192|->|=>)\s|[\u3002\uff01])\s*(?=\S)")
_AT_START = 3  # characters
_MIN_PAIRS, _SHARED_BY_CHANCE = 0.25, 0.15  # shares of roots
_ASKS = re.compile(r"[?\uff1f\u061f]")
_ENDS_A_SENTENCE, _MIN_RETOLD = re.compile(r"[^\n]{4,200}[.!?\u2026\u3002\uff01\uff1f\u061f\u0964]\W*"), 0.4
_LABEL_BEFORE = 12  # characters of a label before a prompt, such as Task:
_FIRST_SENTENCE = re.compile(r"[^.!?\n]{8,200}[.!?](?=\s)")
_MARKUP = " *#_:\"'"
_BEFORE_COLON = re.compile(r"([^:\uff1a\n]{5,120})[:\uff1a]\s*(?=\S)")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_MARKED = re.compile(r"\W*(?:\*\*|__|#{1,4} |[\[\u3010])\s*\S")
_MARK = re.compile(r"(?m)^\s*(?:\*\*|#{1,4} |\||[\[\u3010-])")
_GREETS = re.compile(r"\W*\w+,")
_MAX_HEADING, _MIN_KEPT = 10, 0.5
