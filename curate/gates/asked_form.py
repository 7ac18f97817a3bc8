"""A form that an instruction asks for and the text does not have: a limerick in one line, a table without columns.

missing_form("A limerick about a goat.", "Goats are hardy ruminants.", "en") == "limerick"
missing_form("In two sentences: the sea and its salt.", "One. Two. Three. Four. Five.", "en") == "two sentences"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache

from curate.gates.asked_length import ITEM, missed_length, wrong_item_count
from curate.gates.content import in_code, is_query
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.number_words import words_to_digits
from curate.gates.phrases import list_pattern, says, words_of
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.word_patterns import listed, word_pattern
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
    "forms_table": lambda text: (
        "|" in text
        or "\t" in text
        or "<t" in text
        or " & " in text
        or ("," in text and _lines(text) > 1)
        or is_query(text)  # to `create table ...` a query is asked, not a table
    ),
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
            if _form_names[name]().fullmatch(form[1]) and not has(text):
                return form[1]
    if "?" not in start and (count := wrong_item_count(start, text, language)):
        return count
    missed = missed_length(folded, text, language, at_least=at_least)
    if not missed or folded is not start:
        return missed
    rest = _REST_OF_CLAUSE.match(fold(asked)[_START_LETTERS:])  # it may say to what part of the text the length refers
    return missed_length(folded + (rest[0] if rest else ""), text, language, at_least=at_least)


_START_LETTERS = 90  # characters of an instruction in which it says what it asks for
_REST_OF_CLAUSE = re.compile(r"[^.;:,\n\d]{0,40}")


def several_instead_of_one(asked: str, text: str) -> str:
    """Return the request for one thing (`one title`, `just the title`), if the text is a list of several; or ''."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return ""
    if (line := _one_line(fold(asked))) and not says("any", "for_each", fold(asked)):
        return line[0] if all(map(ITEM.match, lines)) or _is_whole_request(fold(asked), line) else ""
    one = _one_asked().search(fold(asked)) or _one_thing().match(fold(asked)) if len(ITEM.findall(text)) > 1 else None
    return one[0] if one and all(map(ITEM.match, lines)) else ""


def _is_whole_request(folded: str, line: re.Match[str]) -> bool:
    """Whether a line is all that an instruction asks for, and not a part (`one line of dedication above the poem`)."""
    return bool(_before_line().fullmatch(folded[: line.start()]) and _behind_line().match(folded[line.end() :]))


_before_line = word_pattern(
    r"(?:[\s\S]*[.:;,\u3002\uff0c])?\W*(?:{form_verbs}\s)?(?:(?:{only_words|exactly|form_small|format_verbs})\s?){0,2}"
)
_behind_line = word_pattern(
    r"\s*(?:\Z|[.,;:!\u3002\uff0c\u3001]|(?:{for_what|only_words})(?!\w)|[\u3040-\u9fff\uac00-\ud7a3])"
)


def longer_than_asked(style: str, text: str) -> str:
    """Return a style's request for only a number, a name, or yes or no, if the text is a sentence; or ''."""
    number, thing, answer = _short_request(style)
    if not (number or thing or answer):
        return ""
    size = len(_WORD.findall(text)) + 2 * len(_CJK_LETTER.findall(text)) // 3
    if number and (size > _NUMBER_AND_UNIT or "=" in text):
        return number
    if thing and size > _NAME and text.rstrip().endswith((".", "!", "\u3002", "\u0964")):
        return thing
    begun = size > 1 and _begins_with_answer().match(fold(text)) and not _only_words().search(fold(style))
    return answer if size > 1 and not begun else ""


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _short_request(style: str) -> tuple[str, str, str]:
    """Return what a style asks for alone: a number, a name or the like, yes or no; each '' if it does not."""
    folded = fold(style)
    requests = (_only_number(folded), _only_thing().search(folded), _yes_or_no().search(folded))
    number, thing, answer = (one if one and not _denied().search(folded[: one.start()]) else None for one in requests)
    alone = answer and (_only_words().search(folded) or not any(map(str.isalnum, folded[answer.end() :])))
    return number[0] if number else "", thing[0] if thing else "", answer[0] if answer and alone else ""


_denied = word_pattern(r"(?<!\w)(?:{address_denied})\s(?:[^\W\d_]+\s){0,2}\W*\Z")  # never answer only
_NUMBER_AND_UNIT, _NAME = 2, 4  # words next to a number (`square metres`); words of a name or a date
_one_line, _only_number, _no_comment = listed("one_line"), listed("only_number"), listed("no_comment")
_only_thing = word_pattern(
    r"(?<!\w){only_words}\s(?:{rules_out_small}\s){0,2}{small_things}(?=\W*(?:\Z|[.;:!]))|(?<!\w){small_things}\s{only_words}(?!\w)"
)
_only_of_code = word_pattern(
    r"(?<!\w){only_words}\s(?:{rules_out_small}\s?){0,2}(?:[^\W\d_]+\s)?{code_things}(?!\w)"
    r"|(?<!\w){code_things}\s?{only_words}(?![a-z])|{only_joined}[^\s\u3002]{0,8}{code_joined}"
)
_WORD, _CJK_LETTER = re.compile(r"[^\W\d_\u3040-\u9fff]+"), re.compile(r"[\u3040-\u9fff]")
_CLAUSE_END = r"(?=\W*(?:\Z|[.,;:!)\u3002\uff0c]))"
_OF_CODE = r"(?:\s{code_things|code_kinds})?"
_names_notation = word_pattern(r"(?<![a-z]){notations}(?![a-z])")
_only_of_notation = word_pattern(
    r"(?<!\w){only_words}\s(?:(?:{rules_out_small|format_verbs})\s){0,2}{notations}"
    + f"{_OF_CODE}{_CLAUSE_END}"
    + r"|(?<![a-z]){notations}\s{only_words}"
    + _CLAUSE_END
)
_only_of_kind = word_pattern(
    r"(?<!\w){only_words}\s(?:{rules_out_small}\s){0,2}(?:[^\W\d_]+\s)?{code_kinds}"
    + _CLAUSE_END
    + r"|(?<!\w){code_kinds}\s{only_words}"
    + _CLAUSE_END
)
_yes_or_no = word_pattern(
    r"(?<![^\W\u3040-\u9fff\uac00-\ud7a3])[\"'\u201c\u201e\u00ab\u300c]?\s?(?:{yes_first}\W{0,3}(?:{or_between}|/)\W{0,3}{no_first}"
    r"|{no_first}\W{0,3}(?:{or_between}|/)\W{0,3}{yes_first}|{yes_or_no_joined})(?![^\W\u3040-\u9fff\uac00-\ud7a3])"
)
_begins_with_answer = word_pattern(r"\W*(?:{yes_first|no_first})(?![^\W\u3040-\u9fff\uac00-\ud7a3])")
_only_words = word_pattern(r"(?<![a-zà-ÿа-я]){only_words}(?![a-zà-ÿа-я])")
_one_thing = word_pattern(r"\W*(?:{form_verbs}\s)?(?:{articles_of_one}\s)(?:{form_small}\s)?{one_things}(?!\w)")


def prose_before_code(asked: str, text: str, language: str = "en") -> str:
    """Return prose before code, after it or in place of it, if only code was asked for; or ''.

    Prose in place of code counts if the instruction names a language of code and no condition.
    """
    if not (only := _asks_for_code(asked)):
        return ""
    if only != "bare" and (prose := _prose_in_place(asked, text.strip(), language)):
        return prose
    if "\n" not in text:
        return ""
    sign = _NOTATION if only == "notation" else _CODE_SIGN
    first, _, rest = text.strip().partition("\n")
    is_code = rest.strip() and (only == "code" or (only == "notation" and sign.search(rest)))
    if is_code and count_words(first) > _FEW and _PROSE.fullmatch(first):
        return first
    before, fence, last = text.strip().rpartition("```")
    if not fence:
        before, _, last = text.strip().rpartition("\n\n" if "\n\n" in text.strip() else "\n")
    lines = [line for line in last.splitlines() if line.strip()]
    is_prose = count_words(last) > 2 and all(map(_PROSE.fullmatch, lines))  # what is indented is code
    if is_prose and only == "notation" and re.match(_KEY, last):
        return ""
    return last.strip() if is_prose and ("```" in before or sign.search(before)) else ""


def _prose_in_place(asked: str, text: str, language: str) -> str:
    """Return the sentence that follows code on its line, or the prose that stands where code should; or ''."""
    behind = None if "\n" in text else _SENTENCE_BEHIND.search(text)
    if behind and _NOTATION.search(text[: behind.start()]) and not re.match(_KEY, text):
        return behind[0].strip()
    if not _names_notation().search(fold(asked)) or _NOTATION.search(text) or count_words(text) <= _FEW:
        return ""
    if any(says(code, name, fold(asked)) for code in (language, "en") for name in ("supposes", "except")):
        return ""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0] if all(_PROSE.fullmatch(line) and not line[0].islower() for line in lines) else ""


def asks_for_code(asked: str) -> bool:
    """Whether an instruction asks for code only."""
    return _asks_for_code(asked) == "code"


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _asks_for_code(asked: str) -> str:
    """Return what an instruction asks for alone: `code`, `notation` (YAML, a pattern), `bare` if it excludes comments;
    or ''."""
    folded = fold(asked)
    if says("any", "only_code", folded) or _only_of_code().search(folded):
        return "code"
    if _only_of_notation().search(folded) or (_names_notation().search(folded) and _only_of_kind().search(folded)):
        return "notation"
    return "bare" if _no_comment(folded) else ""


_CODE_SIGN = re.compile(r"[=;{}<>\\$|]|\w\(|\s--?\w|\bselect\b", re.IGNORECASE)
_KEY = r"(?m:^\s*(?:- )?[\w.-]+:(?:\s|$))"
_NOTATION = re.compile(rf"{_CODE_SIGN.pattern}|[\[\]^*]|{_KEY}", re.IGNORECASE)
_SENTENCE_BEHIND = re.compile(r"(?<=\S) [A-Z][a-z]*(?: [\w'’,-]+){3,40}[.!]\Z")
_FEW = 3  # words of prose that may be code


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
    named = list(_line_count().finditer(fold(figures if language == "en" else words_to_digits(figures, "en"))))
    if len(named) != 1 or not 1 < int(named[0]["number"]) <= _MAX_LINES:
        return ""
    stanzas = [stanza.count("\n") + 1 for stanza in text.strip().split("\n\n")]
    fits = (lines, *(stanzas if len(set(stanzas)) == 1 else ()))
    return "" if int(named[0]["number"]) in fits else named[0]["lines"].strip()


_MIN_LINES, _MAX_LINES = 3, 20  # lines
# A number of lines at the start of a clause or after a word such as `exactly`, and not a bound; or a clause that asks
# for nothing else: `write four lines`.
_line_count = word_pattern(
    r"(?:(?:\A|[.,;:!\u3001\u3002\uff0c])\s*(?P<verb>{form_verbs}\s)?|(?<!\w){exactly}\s?)"
    r"(?P<lines>(?P<number>\d{1,2}) ?{lines_of_verse})"
    r"(?![^\W\u3040-\u9fff])(?!\W*{at_least|at_most})(?(verb)(?=\s*(?:\Z|[.,;:!])))"
)
_PROSE = re.compile(r"[^\W\d_][^=;{}()\[\]<>$#|\\/]*[:.!\uff1a\u3002]")
_one_asked = word_pattern(r"(?<!\w){only_one}\s{one_things}(?!\w)")


_form_names = {name: word_pattern(f"{{{name}}}") for name in _FORMS}


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
