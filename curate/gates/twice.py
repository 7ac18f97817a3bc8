"""What a text says twice by its form: its greeting, an item of a list; and loops of a script without blanks.

opened_again("Hello,\\n\\nno.\\n\\nHello,\\n\\nno, we are closed.", "") == "hello,"
opened_again("1. Sleep at a fixed time.\\n2. Rest.\\n3. Sleep at a fixed time.", "") == "sleep at a fixed time"
"""

from __future__ import annotations

import re
from collections import Counter

from curate.gates.folding import fold
from curate.gates.words import count_words, words

_ALPHABETS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese and Khmer
_ITEM = re.compile(r"(?:[-*\u2022\u00b7]|\d{1,2}[.)])\s+(?=\S)")
_RUN, _OFTEN, _LEAST = 12, 0.4, 60  # letters of a run, the share of a text that stands in one again, and its letters
_GREETS, _SHORT = (",", "!", "\uff0c", "\u060c"), 60  # letters of a line
_DIGIT = re.compile(r"\d")  # a pause of 1 minute comes again
_WORDS, _LETTERS, _FEW = 5, 12, 12  # of an item; items of a list in which none comes twice


def written_without_blanks(text: str) -> bool:
    """Whether most letters of a text are of an alphabet that is written without blanks: its letters are no words."""
    if text.isascii() or not _ALPHABETS.search(text):
        return False
    return 2 * len(_ALPHABETS.findall(text)) > sum(map(str.isalpha, text))


def again_in_letters(text: str) -> str:
    """A loop in a text that is written without blanks, as the start of a sentence; or ''."""
    if not written_without_blanks(text):
        return ""
    letters = "".join(fold(text).split())
    runs = [letters[at : at + _RUN] for at in range(len(letters) - _RUN + 1)]
    again = len(runs) - len(set(runs))
    loops = again >= _OFTEN * len(runs) and len(runs) >= _LEAST
    return f"{again} of {len(runs)} runs of letters come again" if loops else ""


def opened_again(text: str, other: str) -> str:
    """A greeting on its own line, where a later paragraph begins with it again and goes on in many words of the first,
    or an item that a short list says twice and `other` does not; or ''. A refrain and two letters go on otherwise."""
    if "\n" not in text:
        return ""
    paragraphs = [part.strip() for part in fold(text).split("\n\n") if part.strip()]
    first = paragraphs[0] if paragraphs else ""
    greets = len(paragraphs) > 2 and first.endswith(_GREETS) and len(first) < _SHORT and "\n" not in first
    places = [at for at, part in enumerate(paragraphs) if part.partition("\n")[0] == first] if greets else []
    if len(places) == 2 and fold(other).count(first) < 2:
        one, two = (set(words("\n".join(part))) for part in (paragraphs[1 : places[1]], paragraphs[places[1] :]))
        if 2 * len(one & two) >= max(len(one), 1):
            return first
    lines = [line.strip() for line in fold(text).splitlines() if line.strip()]
    items = [line[number.end() :].strip(" .;,\u3002") for line in lines if (number := _ITEM.match(line))]
    if not 2 < len(items) <= _FEW or len(items) < len(lines) - 1:
        return ""
    again = (
        item for item, n in Counter(items).items() if n > 1 and fold(other).count(item) < 2 and not _DIGIT.search(item)
    )
    return next((item for item in again if count_words(item) >= _WORDS and len(item) >= _LETTERS), "")
