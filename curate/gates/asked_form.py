"""A form that an instruction asks for and the text does not have: a limerick in one line, a table without columns.

missing_form("A limerick about a goat.", "Goats are hardy ruminants.", "en") == "limerick"
missing_form("In two sentences: the sea and its salt.", "One. Two. Three. Four. Five.", "en") == "two sentences"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache

from curate.gates.asked_count import wrong_item_count
from curate.gates.asked_length import ITEM, missed_length
from curate.gates.content import in_code
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.number_words import words_to_digits
from curate.gates.phrases import list_pattern, says, words_of
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import count_words

_REGEX = re.compile(r"[\\\[\]^$+*?{}|]")


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in re.split(r"\n| / ", text))


# Lists of names of a form in all languages, with a test for whether a text has the form.
_FORMS: dict[str, Callable[[str], bool]] = {
    "forms_verse": lambda text: _lines(text) > 1 or count_words(text) < 8,
    "forms_long_verse": lambda text: _lines(text) > 3,
    "forms_haiku": lambda text: (
        _lines(text) not in (1, 2, 5, 7, 8)
        or (_lines(text) < 3 and (text.count(",") + text.count("\u3001") > 1 or count_words(text) < 14))
    ),
    "forms_table": lambda text: "|" in text or "\t" in text or "<t" in text or ("," in text and _lines(text) > 1),
    "forms_json": lambda text: re.search(r"[{\[]", text) is not None,
    "forms_bullets": lambda text: len(ITEM.findall(text)) > 1,
    "forms_regex": lambda text: _REGEX.search(text) is not None,
    "forms_dialogue": lambda text: _lines(text) > 1 or len(re.findall(r"[\"\u201c\u00ab\u300c\u201e]", text)) > 1,
}


def missing_form(asked: str, text: str, language: str, *, at_least: bool = False) -> str:
    """Return a form or a length that an instruction asks for at its start and the text does not have, or ''.

    A text misses a length if it is far longer or, with `at_least`, far shorter. Whatever a question asks about or a
    denial excludes is not a requested form.
    """
    start = fold(asked)[:_START_LETTERS]
    folded = start.split("?")[0] if "?" in start else start
    form = _requested_form(folded)
    if form and "?" not in start and not says(language, "denial", folded[: form.end()]):
        for name, has in _FORMS.items():
            if _form_names(name).fullmatch(form[1]) and not has(text):
                return form[1]
    if "?" not in start and (count := wrong_item_count(start, text, language)):
        return count
    return missed_length(folded, text, language, at_least=at_least)


_START_LETTERS = 90  # characters of an instruction in which it says what it asks for


def several_instead_of_one(asked: str, text: str) -> str:
    """Return the request for one thing (`one title`, `just the title`), if the text is a list of several; or ''."""
    one = _one_asked().search(fold(asked)) if len(ITEM.findall(text)) > 1 else None
    lines = [line for line in text.splitlines() if line.strip()]
    return one[0] if one and all(map(ITEM.match, lines)) else ""


def prose_before_code(asked: str, text: str) -> str:
    """Return a first line of prose before code, if only code was asked for; or ''."""
    first, _, rest = text.strip().partition("\n")
    prose = rest.strip() and count_words(first) > 3 and _PROSE.fullmatch(first)
    return first if prose and says("any", "only_code", fold(asked)) else ""


def unwanted_emoji(asked: str, text: str) -> str:
    """Return an emoji of a text, if the instruction excludes emoji; or ''."""
    emoji = _EMOJI.search(text) if not text.isascii() else None
    return emoji[0] if emoji and says("any", "no_emoji", fold(asked)) else ""


# Symbols such as a telephone or a warning sign are text, unless a variation selector makes them pictures.
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2614\u2615\u26a1\u26bd\u26c4\u2728\u2764]|[\u2600-\u27bf]\ufe0f")


def wrong_line_count(asked: str, text: str, language: str) -> str:
    """Return the number of lines of verse that an instruction asks for, if the text has another number; or ''.

    The text must have several lines. The number may also be that of each stanza.
    """
    lines = sum(bool(line.strip()) for line in text.splitlines()) if "\n" in text and "|" not in text else 0
    if lines < _MIN_LINES or in_code(text):
        return ""
    figures = words_to_digits(asked, language)
    named = _line_count().findall(fold(figures if language == "en" else words_to_digits(figures, "en")))
    if len(named) != 1 or not 1 < int(named[0][1]) <= _MAX_LINES:
        return ""
    stanzas = [stanza.count("\n") + 1 for stanza in text.strip().split("\n\n")]
    return "" if int(named[0][1]) in (lines, *(stanzas if len(set(stanzas)) == 1 else ())) else named[0][0].strip()


_MIN_LINES, _MAX_LINES = 3, 20  # lines
# A number of lines at the start of a clause or after a word such as `exactly`, and not a bound.
_line_count = word_pattern(
    r"(?:(?:\A|[.,;:!\u3001\u3002\uff0c])\s*|(?<!\w){exactly}\s?)((\d{1,2}) ?{lines_of_verse})"
    r"(?![^\W\u3040-\u9fff])(?!\W*{at_least|at_most})"
)
_PROSE = re.compile(r"[^\W\d_][^=;{}()\[\]<>$#|\\/]*[:.!\uff1a]")
_one_asked = word_pattern(r"(?<!\w){only_one}\s{one_things}(?!\w)")


@cache
def _form_names(name: str) -> re.Pattern[str]:
    return re.compile(alternation(words_of(name)))


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _requested_form(folded: str) -> re.Match[str] | None:
    """Return the form that a folded instruction begins with, or names after a word such as `only`."""
    return _form_request().search(folded)


@cache
def _form_request() -> re.Pattern[str]:
    """Return a pattern for a form that an instruction begins with, or names after a word such as `only`."""
    forms = "|".join(list_pattern("any", name).pattern for name in _FORMS)
    verbs, small, only = (alternation(words_of(name)) for name in ("form_verbs", "form_small", "form_only"))
    return re.compile(
        rf"(?:\A\W*(?:(?:{verbs})\s+)?(?:(?:{small}|\d+)\s+){{0,3}}(?:[^\W\d_]+\s+)?|(?<!\w)(?:{only})\s+(?:(?:{small})\s+){{0,2}})"
        rf"({forms})(?!\w)"
    )
