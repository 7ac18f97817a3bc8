"""What a style demands in so many words, or rules out: capitals, a number of items, words, lists, greetings.

ignored_case("Write it all in capital letters.", "shop closed", "The shop is closed.") == "all in capital letters"
forbidden_word('Do not use the word "cheap".', "A cheap chair.", "en") == "cheap"
wrong_exact_count("exactly three hashtags", "#sea #salt", "en") == "exactly three hashtags"
excluded_mark("Answer without a list.", "", "- bread\\n- milk") == "- bread"
missing_question("Always end with a question.", "It is late.", "en") == "end with a question"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial

from curate.gates.asked_length import ITEM
from curate.gates.content import quotations
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.number_words import values_of_numeral, words_to_digits
from curate.gates.phrases import says
from curate.gates.phrases.word_patterns import demands, word_pattern
from curate.gates.words import count_words


def ignored_case(style: str, given: str, text: str, language: str) -> str:
    """Return the style's request for capitals or small letters throughout, if the text has the usual capitals; or ''.

    The request is a clause that names nothing but the whole text. If the input is in capitals, the style may speak of
    it.
    """
    asked, upper = _case_request(style, language)
    if not asked or _share_of_capitals(given) > _MOSTLY:
        return ""
    capitals = _share_of_capitals(text)
    return asked if (capitals < _FEW if upper else capitals > 0 and text[:1].isupper()) else ""


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _case_request(style: str, language: str) -> tuple[str, bool]:
    """Return the clause of a style that asks for a case throughout, and whether it is capitals; or ''."""
    for sentence in _SENTENCE.split(fold(style)):
        for clause in _CLAUSE.finditer(sentence):
            asked = _case().search(clause[0])
            if not asked or any(map(str.isalnum, _throughout().sub(" ", _case().sub(" ", clause[0])))):
                continue
            before = sentence[: clause.start()]
            if not (_is_restricted(before + sentence[clause.end() :], language) or _is_denied(before, language)):
                return clause[0].strip(), asked["upper"] is not None
    return "", False


def _is_restricted(sentence: str, language: str) -> bool:
    """Whether a sentence of a style has an exception or a condition, or speaks of a title."""
    return _titles().search(sentence) is not None or _has_list(sentence, language, "condition", "supposes", "except")


def _is_denied(clause: str, language: str) -> bool:
    return _has_list(clause, language, "negation", "denial") or says("any", "avoids", clause) is not None


def _has_list(text: str, language: str, *names: str) -> bool:
    return any(says(code, name, text) for code in dict.fromkeys((language, "en")) for name in names)


def _share_of_capitals(text: str) -> float:
    """Return the share of a text's cased letters that are capitals; 1 of a text without such letters."""
    upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
    return upper / (upper + lower) if upper + lower else 1.0


_MOSTLY, _FEW = 0.6, 0.3  # shares of the letters
_CLAUSE = re.compile(r"[^,]+")
_case = word_pattern(r"(?<!\w)(?:(?P<upper>{all_capitals})|{small_letters})(?!\w)")
_throughout = word_pattern(r"(?<!\w){throughout}(?!\w)")
_titles = word_pattern(r"(?<!\w){one_things}(?!\w)")


def forbidden_word(style: str, text: str, language: str) -> str:
    """Return a word of the text that the style names in quotation marks as one not to be used, or ''."""
    forbidden = _forbidden_words(style, language)
    folded = fold(text) if forbidden else ""
    for word in forbidden:
        edges = [r"(?<!\w)" if word[0].isascii() and word[0].isalnum() else "", r"(?!\w)" if word[-1].isalnum() else ""]
        spaced = edges if language not in ("zh", "ja", "ko", "th") else ["", ""]
        if re.search(rf"{spaced[0]}{re.escape(word)}{spaced[1]}", folded):
            return word
    return ""


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _forbidden_words(style: str, language: str) -> tuple[str, ...]:
    """Return the words in quotation marks right after `without the word` or right before `という言葉を使わずに`."""
    forbidden = list[str]()
    for sentence in _SENTENCE.split(fold(style)) if _QUOTED.search(fold(style)) else ():
        if _has_list(sentence, language, "condition", "supposes", "except"):
            continue
        for series in _SERIES.finditer(sentence):
            before, after = sentence[: series.start()], sentence[series.end() :]
            ends = _ends().match(after) is not None
            uses = _uses_before().search(before) if ends else None
            denied = uses and _is_denied(before[max(0, uses.start() - _NEAR) :].rpartition(",")[2], language)
            if denied or (ends and _avoids_before().search(before)) or _avoids_after().match(after):
                forbidden += (next(filter(None, quoted.groups())).strip() for quoted in _QUOTED.finditer(series[0]))
    return tuple(word for word in forbidden if len(word) > 1 or (word.isalpha() and not "\u3040" <= word <= "\u30ff"))


_SENTENCE = re.compile(r"[.;!?\n\u3002\uff1b]\s*(?![\"'\u201d\u00bb\u300d)])")
_QUOTED = re.compile(
    r"[\"\u201c\u201d\u201e]([^\"\u201c\u201d\u201e\n]{1,40})[\"\u201c\u201d]|\u00ab\s?([^\u00bb\n]{1,40}?)\s?\u00bb"
    r"|\u300c([^\u300d\n]{1,40})\u300d|(?<!\w)['\u2018]([^'\u2019\n]{1,40})['\u2019](?!\w)"
)
_ONE_QUOTED = _QUOTED.pattern.replace("([", "(?:[")
_JOINS = "or|and|nor|oder|und|noch|ou|et|ni|o|u|y|e|или|и|ни|of|en|lub|i|ani|veya|ve|och|eller|og|和|或|や|と|و|أو"
_SERIES = re.compile(rf"(?:{_ONE_QUOTED})(?:\s?(?:[,/\u3001]\s?|\s)(?:(?:{_JOINS})\s?)?(?:{_ONE_QUOTED}))*")
_ends = word_pattern(r"\s?{a_word}?\s?(?:\Z|[,:)])")
_avoids_before = word_pattern(r"(?<![a-zà-ÿа-яё]){avoids}(?:\s?{named_things}){0,3}\W{0,3}\Z")
_NEAR = 10  # characters before a verb in which a denial refers to it
_uses_before = word_pattern(r"(?<!\w){uses_word}(?:\s{named_things}|\s?[^\W\d_]{2,10}){0,3}\W{0,3}\Z")
_avoids_after = word_pattern(
    r"\s?(?:{named_words}\S{0,2}\s?)?{not_used}(?:[\u3040-\u30ff\uac00-\ud7a3 ]|\W*(?:\Z|[,:)]))"
)


def wrong_exact_count(asked: str, text: str, language: str) -> str:
    """Return an exact number of items, hashtags, questions or words that an instruction asks for, if the text has
    another number of them; or ''."""
    if not demands(asked, "precisely"):
        return ""
    for exact in _exact_number().finditer(words_to_digits(words_to_digits(fold(asked), language), "en")):
        behind = exact.string[exact.end() : exact.end() + _REACH]
        if not says("any", "precisely", exact[0]) or says("any", "for_each", behind):
            continue
        wanted, unit = min(values_of_numeral(exact["number"])), next(name for name in _COUNTERS if exact[name])
        has = _COUNTERS[unit](text)
        if has and abs(has - wanted) > (1 if unit == "words" else 0):  # hyphens and apostrophes
            return exact[0].strip()
    return ""


_REACH = 20  # characters behind a number of things that may say for what it is


def _outer_items(text: str) -> int:
    indents = [len(item[0]) - len(item[0].lstrip()) for item in ITEM.finditer(text)]
    return indents.count(min(indents)) if indents else 0


_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")
_COUNTERS: dict[str, Callable[[str], int]] = {
    "bullets": _outer_items,
    "hashtags": lambda text: len(re.findall(r"(?<!\w)#\w", text)),
    "questions": lambda text: len(re.findall(r"[?\uff1f\u061f]", text)),
    "words": lambda text: 0 if _UNSPACED.search(text) else count_words(text),
}
_exact_number = word_pattern(
    r"(?:(?<![a-zà-ÿа-яё]){precisely}\s?)?(?<![\d.,])(?P<number>\d{1,3}|[一二三四五六七八九十两])[\s个個つ-]?[の]?\s?(?:[^\W\d_]+\s)?"
    r"(?:(?P<bullets>{unit_bullets})|(?P<hashtags>{unit_hashtags})|(?P<questions>{unit_questions})|(?P<words>{unit_words}))"
    r"(?:\s{precisely})?(?![^\W\u3040-\u9fff\uac00-\ud7a3])"
)


def excluded_mark(style: str, given: str, text: str) -> str:
    """Return what a text has although its style rules it out, or ''. Quotations and marks of the input do not count."""
    for name in ruled_out(style):
        if mark := _FINDERS[name](text, given):
            return mark
    return ""


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def ruled_out(style: str) -> tuple[str, ...]:
    """Return the lists of things that a style rules out: `no lists`, `見出しなし`."""
    folded = fold(style)
    series = [ruled[1] for pattern in (_denied, _denied_behind) for ruled in pattern().finditer(folded)]
    return tuple(name for name in _FINDERS if any(_named[name]().search(things) for things in series))


_THINGS = "out_headings|out_lists|out_markdown|out_exclamations|out_questions|out_greetings|out_closings"
_MORE = (
    r"(?:\s?[,/\u3001\uff0c]\s?|\s?[和与或やと]\s?|\s(?:{or_between|listing|neither}\s)+)"
    rf"(?:{{rules_out_small}}\s?)*(?:{{{_THINGS}}})"
)
# The things follow the denial, up to the end of a clause, so that `no lists of ingredients` is something else.
_denied = word_pattern(
    rf"(?<![^\W\u3040-\u9fff\uac00-\ud7a3]){{rules_out}}\s?((?:{{rules_out_small}}\s?)*(?:{{{_THINGS}}})(?:{_MORE})*)"
    r"(?=\s*(?:\Z|[.,;:!)\u3001\u3002\uff0c\uff1b\u060c\u0964]|{at_all|or_between|listing}(?!\w)))"
)
_denied_behind = word_pattern(rf"((?:{{{_THINGS}}})(?:{_MORE})*)\S{{0,2}}\s?{{ruled_out}}")
_named = {name: word_pattern(rf"(?<![a-zà-ÿа-яё]){{{name}}}") for name in _THINGS.split("|")}


def _heading(text: str, given: str) -> str:
    """A first line above other text that is marked as a heading, names a subject, or is short and has no end."""
    first, _, rest = text.strip().partition("\n")
    below = rest.strip().partition("\n")[0]
    if not below or first.strip("#*= ") in given:
        return ""
    if _MARKED.match(first) or _subject_line().match(fold(first)):
        return first
    bare = count_words(first) <= _MAX_HEADING and not _ENDED.search(first) and not ITEM.match(first)
    capitals = first.isupper() and not first.rstrip().endswith(",")
    titled = bare and rest.startswith("\n") and not greets().match(fold(first))
    longer = count_words(rest) > 2 * count_words(first) and _ENDED.search(rest.rstrip())
    return first if (titled or (capitals and count_words(first) <= _MAX_HEADING)) and longer else ""


def _list(text: str, given: str) -> str:
    items = ITEM.findall(text)
    lines = [line for line in text.splitlines() if ITEM.match(line)]
    return lines[0] if len(items) > 1 and lines[0] not in given else ""


def _markdown(text: str, given: str) -> str:
    mark = _MARKDOWN.search(text)
    return mark[0].strip() if mark and not _MARKDOWN.search(given) else ""


def _mark(pattern: re.Pattern[str], text: str, given: str) -> str:
    for quoted in dict.fromkeys(quotations(text)):
        text = text.replace(quoted, " ")
    mark = pattern.search(text)
    return text[max(0, mark.start() - _AHEAD) : mark.end()].strip() if mark else ""


_AHEAD = 30  # characters shown before a mark


def _greeting(text: str, given: str) -> str:
    greeting = greets().match(fold(text))
    return greeting[0].strip() if greeting else ""


def _closing(text: str, given: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    closed = next(filter(None, (_closes().match(fold(line)) for line in lines[-2:] if len(lines) > 1)), None)
    closed = closed or _closes_inside().search(fold(text.strip()))
    return closed[0].strip() if closed else ""


_MAX_HEADING = 10  # words
_MARKED = re.compile(r"\s*(?:#{1,6} |\*\*[^*\n]+\*\*:?\s*\Z|__[^_\n]+__\s*\Z|<h\d>)")
_ENDED = re.compile(r"[.!?,;:\u2026\u3002\uff01\uff1f\uff0c\u060c\u061f\u0964][\"'\u201d\u00bb)*_]*\s*\Z")
_MARKDOWN = re.compile(
    r"\*\*\S[^*\n]*\*\*|(?m:^#{1,6} \S)|__\S[^_\n]*__|\]\(https?:|(?m:^\|.*\|\s*$)"
    r"|(?m:^[ \t]*[*+-] \S.*\n+[ \t]*[*+-] \S)|`[^`\n]+`"
)
_EXCLAMATION = re.compile(r"[!\uff01](?!=)")
_QUESTION = re.compile(r"[?\uff1f\u061f](?![\w=&/])")
greets = word_pattern(r"\W*(?:{greet|greets_elsewhere}(?![^\W\u3040-\u9fff\uac00-\ud7a3])|{greets_joined})")
_closes = word_pattern(r"\W*{sign_offs}(?=\s*(?:[,.!\u3001\u3002\uff0c\uff01]|\Z))")
_closes_inside = word_pattern(r"(?<=[.!?]\s){sign_offs}(?=,?\s[^.!?\n]{0,40}[.!]?\Z|[.!]?\Z)")
_subject_line = word_pattern(r"\W*(?:{out_headings})\s?[:\uff1a]")
_FINDERS: dict[str, Callable[[str, str], str]] = {
    "out_headings": _heading,
    "out_lists": _list,
    "out_markdown": _markdown,
    "out_exclamations": partial(_mark, _EXCLAMATION),
    "out_questions": partial(_mark, _QUESTION),
    "out_greetings": _greeting,
    "out_closings": _closing,
}


def missing_question(style: str, text: str, language: str) -> str:
    """Return a style's request that texts end with a question, if this one does not; or ''.

    A signature or hashtags may follow the question.
    """
    asked = _closing_question(style, language)
    return asked if asked and not _ends_with_question(text.strip(), language) else ""


def _ends_with_question(text: str, language: str) -> bool:
    if language == "ja" and _JAPANESE_QUESTION.search(text):
        return True
    *_, behind = _QUESTION_MARK.split(text.replace(";", "?") if language == "el" else text)
    if behind == text:
        return False
    if len(behind) <= _SHORT_END and not _FULL_STOP.search(behind):
        return True
    signed = behind.lstrip("\"'\u201d\u00bb)\u300d")[:1] == "\n"
    return signed and not any(line.endswith((".", "\u3002")) for line in behind.splitlines())


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _closing_question(style: str, language: str) -> str:
    for sentence in _SENTENCE.split(fold(style)):
        asked = _ends_asking().search(sentence)
        if not asked or _is_denied(sentence[: asked.end()], language) or _or_else().match(sentence[asked.end() :]):
            continue
        if says("any", "from_others", sentence[: asked.start()]):
            continue
        if not (says("any", "seldom", sentence) or _has_list(sentence, language, "condition", "supposes", "may")):
            return asked[0].strip()
    return ""


_WITH_QUESTION = r"(?:{with_words}\s(?:{articles_of_one}\s)?(?:[^\W\d_]+\s)?{a_question}|{by_question})"
_ends_asking = word_pattern(
    rf"(?<!\w){{ends_text}}(?!\w)(?:\s[^\W\d_]+){{0,3}}?\s{_WITH_QUESTION}(?!\w)"
    rf"|(?<!\w){_WITH_QUESTION}\s(?:(?!{{listing}}\s)[^\W\d_]+\s){{0,2}}?{{ends_text}}(?!\w)"
    r"|{question_joined}[^\s\u3002\u3001]{0,3}\s?{ends_joined}"
)
_or_else = word_pattern(r"(?:\s?,?\s?{or_between}|\s{listing})(?!\w)")
_QUESTION_MARK, _FULL_STOP = re.compile("[?\uff1f\u061f\u037e\u2047]"), re.compile("[.\u3002]")
_JAPANESE_QUESTION = re.compile("\u304b[\u3002\u300d\u300f\\s]*\\Z")  # ends with か
_SHORT_END = 60  # characters after a question
