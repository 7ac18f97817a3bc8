"""Repetition visible in the form of a text: its greeting, a list item, loops in a script without spaces; and copies of
a worked example, which a small teacher returns when it does not know what to write.

repeated_part("Hello,\\n\\nno.\\n\\nHello,\\n\\nno, we are closed.", "") == "hello,"
repeated_part("1. Sleep at a fixed time.\\n2. Rest.\\n3. Sleep at a fixed time.", "") == "sleep at a fixed time"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from curate.gates.coverage import roots, share
from curate.gates.folding import fold
from curate.gates.words import count_words, words
from schemas.records import Generated, Pair

_ALPHABETS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese and Khmer
_ITEM = re.compile(r"(?:[-*\u2022\u00b7]|\d{1,2}[.)])\s+(?=\S)")
# Letters of a run; share of the text in repeated runs; minimum number of runs.
_RUN_LETTERS, _MIN_SHARE, _MIN_RUNS = 12, 0.4, 60
_GREETING_ENDS, _MAX_GREETING = (",", "!", "\uff0c", "\u060c"), 60  # letters of a line
_DIGIT = re.compile(r"\d")  # an item with a number, such as a pause of 1 minute, may recur
# Of an item; maximum length of a list that may not repeat an item.
_MIN_ITEM_WORDS, _MIN_ITEM_LETTERS, _MAX_ITEMS = 5, 12, 12


def is_unspaced_alphabet(text: str) -> bool:
    """Whether most letters of a text belong to an alphabet written without spaces, so that letters are not words."""
    if text.isascii() or not _ALPHABETS.search(text):
        return False
    return 2 * len(_ALPHABETS.findall(text)) > sum(map(str.isalpha, text))


def without_spaces(text: str) -> int:
    """Return how many letters a text has in alphabets written without spaces: Thai, Lao, Khmer and Burmese."""
    return 0 if text.isascii() else len(_ALPHABETS.findall(text))


def letter_loop(text: str) -> str:
    """Describe a loop in a text written without spaces, as the start of a message; or ''."""
    if not is_unspaced_alphabet(text):
        return ""
    letters = "".join(fold(text).split())
    runs = [letters[at : at + _RUN_LETTERS] for at in range(len(letters) - _RUN_LETTERS + 1)]
    again = len(runs) - len(set(runs))
    loops = again >= _MIN_SHARE * len(runs) and len(runs) >= _MIN_RUNS
    return f"{again} of {len(runs)} runs of letters repeat" if loops else ""


def repeated_part(text: str, other: str) -> str:
    """Return a greeting that a text repeats, or a repeated item of a short list, or ''.

    A greeting counts if it has a line of its own and a later paragraph repeats it, followed by at least half of the
    words that follow it at first (which excludes refrains and a second letter). A list item counts unless `other`
    repeats it too.
    """
    if "\n" not in text:
        return ""
    paragraphs = [part.strip() for part in fold(text).split("\n\n") if part.strip()]
    first = paragraphs[0] if paragraphs else ""
    greets = len(paragraphs) > 2 and first.endswith(_GREETING_ENDS) and len(first) < _MAX_GREETING and "\n" not in first
    places = [at for at, part in enumerate(paragraphs) if part.partition("\n")[0] == first] if greets else []
    if len(places) == 2 and fold(other).count(first) < 2:
        one, two = (set(words("\n".join(part))) for part in (paragraphs[1 : places[1]], paragraphs[places[1] :]))
        if 2 * len(one & two) >= max(len(one), 1):
            return first
    lines = [line.strip() for line in fold(text).splitlines() if line.strip()]
    items = [line[number.end() :].strip(" .;,\u3002") for line in lines if (number := _ITEM.match(line))]
    if not 2 < len(items) <= _MAX_ITEMS or len(items) < len(lines) - 1:
        return ""
    again = (
        item for item, n in Counter(items).items() if n > 1 and fold(other).count(item) < 2 and not _DIGIT.search(item)
    )
    return next((item for item in again if count_words(item) >= _MIN_ITEM_WORDS and len(item) >= _MIN_ITEM_LETTERS), "")


_ITS_OWN = 0.5  # share of an input's content in its output, or in the example's input


def copied_example(pair: Pair, exemplars: Sequence[tuple[str, str]], language: str = "en") -> int | None:
    """Return the number (from 1) of the worked example (input, output) that the pair copies, or None.

    A copy has the example's output for another input or, where the input was generated backward, the example's input
    for another output. Case, spacing and punctuation are ignored. An input that shares half of its content with its own
    output, or with the example's input, may legitimately have the example's text.
    Not covered: a copy in which a word was changed.
    """
    generated = isinstance(pair.origin, Generated) and pair.origin.generator == "backward"
    for number, (given, answer) in enumerate(exemplars, 1):
        same_input, same_output = (
            words(one) == words(other) for one, other in zip((pair.input, pair.output), (given, answer), strict=True)
        )
        if same_input == same_output or (same_input and not generated):
            continue
        content = roots(pair.input, language)
        if share(content, roots(pair.output, language)) < _ITS_OWN and (
            same_input or share(content, roots(given, language)) < _ITS_OWN
        ):
            return number
    return None
