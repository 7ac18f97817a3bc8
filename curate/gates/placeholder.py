"""The gate on placeholders that were not filled in: `[Your Name]`, `{{ order_id }}`, `____`, `XX.XX.`, Lorem ipsum.

Unambiguous markers are in the tables of curate/gates/phrases; in brackets, the words decide.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache

from curate.gates.asked_form import asks_for_code
from curate.gates.asked_format import format_asked
from curate.gates.asked_marks import greets
from curate.gates.content import is_regex
from curate.gates.folding import CACHE_SIZE, SENTENCE_END, fold
from curate.gates.judgement import Judgement, passed, quote, rejected, sides
from curate.gates.phrases import all_languages_pattern, fragment, lexicon, list_pattern, phrases, says, words_of
from schemas.records import Pair

# Links, citations, checkboxes and array indexes are not placeholders.
_BRACKETED = re.compile(
    r"(?<![A-Za-z0-9_\])])(?:\[([^\[\]\n]{1,80})\](?![(\[]|:\s*http)|【([^【】\n]{1,40})】)|(?<=#)\[(_+)\]"
)
_ROUND = re.compile(r"\(([^()\n]{2,80})\)")
_ANGLED = re.compile(r"(?<![\w<?])<(?!/)([^\W\d_](?:[^<>\n/=\"]{0,38}[^\W_])?)>")
_QUOTED = re.compile(r"«([^«»\n]{2,30})»")
_KINDS = (("[", _BRACKETED), ("【", _BRACKETED), ("<", _ANGLED), ("(", _ROUND), ("«", _QUOTED))
_INLINE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
_FENCED = re.compile(rf"```[\s\S]*?(?:```|\Z)|{_INLINE.pattern}")
_IN_CODE = re.compile(r"[A-Z][\w ]*")
_TAGS = re.compile(
    r"(?:a|b|i|p|u|s|br|hr|em|strong|code|pre|[uo]l|li|div|span|h[1-6]|table|t[rhd]|img|su[bp]|kbd|details|summary|html|body|head"
    r"|title|script|style|form|input|button|label|section|main|nav|header|footer|blockquote|small|mark)"
)
_FILLED_IN = re.compile(r"\d+|[ivxlc]+")  # a number in digits or Roman numerals: (Title VII), (position 3)
_OWN_LINE = re.compile(r"(?:^|\n)[ \t*_>#-]*\Z")


def placeholder(pair: Pair, style: str = "", language: str = "en", kind: str = "rewrite") -> Judgement:
    """No placeholder was left open.

    Placeholders that the other side or the house style contains are intended, and so are those in a form or a template
    if either of them mentions one. So are gaps that the style or a request asks for, and variables in a requested
    program, YAML or language of templates.

    A text in square brackets is a placeholder if it contains a word of `slots` from the language's or the English
    table. In angle brackets, anything is except an HTML tag or an element that is closed. Other words in square
    brackets inside a sentence are only flagged, `bracketed`: on a line of their own they are stage directions.
    Not covered: a placeholder in round brackets that does not only consist of such words; variables in code.
    """
    flagged = ""
    for side, text in sides(pair):
        given = fold(pair.input if side == "output" else pair.output)
        text = text if text.isascii() else unicodedata.normalize("NFKC", text)
        for slot, certain in _placeholders(text, given, fold(style), language):
            if _is_escaped(slot, given):
                continue
            if slot.endswith(":") and f" {fold(slot)[:-1]} " in f" {given} ":
                continue
            if _asks_for_a_form(f"{given}\n{fold(style)}"):
                break
            if _is_gap(slot):
                if _asks_for_gaps(fold(style), language) or (kind == "free" and _asks_for_gaps(given, language)):
                    continue
            elif _is_of_code(slot, text, style):
                continue
            if not certain and is_regex(text):
                continue
            if certain:
                return rejected("placeholder", f"the {side} text has an unfilled placeholder: {quote(slot)}")
            flagged = flagged or slot
    if flagged:
        return passed(f"{quote(flagged)} may be a placeholder", flag="bracketed")
    return passed("no unfilled placeholder")


def _is_escaped(slot: str, given: str) -> bool:
    """Whether the other side has the two signs that a placeholder begins with as a regular expression has them.

    What explains `\\$\\{(\\w+)\\}` gives `${name}` as an example.
    """
    return not slot[:2].isalnum() and rf"\{slot[0]}\{slot[1:2]}" in given


def _is_gap(slot: str) -> bool:
    return not slot.strip("_.\u2026 ")


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _asks_for_gaps(asked: str, language: str) -> bool:
    """Whether a folded instruction mentions gaps, and does not rule them out: `leave no blanks`."""
    for gap in all_languages_pattern("gaps").finditer(asked):
        before = SENTENCE_END.split(asked[: gap.start()])[-1]
        codes = dict.fromkeys(("en", language))
        if not any(says(code, "denial", before) for code in codes) and not says("any", "avoids", before):
            return True
    return False


def _is_of_code(slot: str, text: str, style: str) -> bool:
    """Whether it is a variable in requested code, a variable of a template, or a function that is called."""
    return (
        (_OF_CODE.match(slot) is not None and (asks_for_code(style) or format_asked(style) == "yaml"))
        or (slot[:2] == "{{" and bool(says("any", "template_languages", fold(style))))
        or (slot[0].isalpha() and f"{slot}(" in text)
    )


_OF_CODE = re.compile(r"[$_]|\{\{-? ?[$.]")  # how a variable of a shell, a configuration or a Go template begins


def _asks_for_a_form(given: str) -> bool:
    """Whether a folded text mentions a form or a template, and not only a polite form or the verb to formulate."""
    return bool(says("any", "form", given)) and bool(
        says("any", "form", all_languages_pattern("no_form").sub(" ", given))
    )


def _placeholders(text: str, given: str, style: str, language: str) -> Iterator[tuple[str, bool]]:
    """Yield what looks like a placeholder, and whether it certainly is one."""
    prose = _INLINE.sub(" ", text) if "`" in text else text
    for code, table in ((language, "placeholder"), *([("en", "placeholder.words")] if language != "en" else [])):
        if finding := phrases(code).find(table, prose, given, style):
            yield finding.quoted, not finding.rule.table.endswith(".maybe")
    yield from _bracketed_placeholders(text, given, style, language)


def _bracketed_placeholders(text: str, given: str, style: str, language: str) -> Iterator[tuple[str, bool]]:
    """Yield bracketed text that looks like a placeholder, and whether it certainly is one."""
    if not any(mark in text for mark in "[【<(«"):
        return
    wanted = f"{given}\n{style}"
    code, prose = bool(fragment("code").search(text)), _FENCED.sub(" ", text)
    for kind, pattern in _KINDS:
        if kind in given and kind in text and _is_template(pattern, text, given):
            continue  # as in its translation
        for match in pattern.finditer(text) if kind in text else ():
            inside = fold(next(filter(None, match.groups())))
            if kind == "«" and not match[0].isupper():
                continue
            if fold(match[0]) in wanted or _TAGS.fullmatch(inside):
                continue
            filled_in = kind == "<" and " " in inside and all_languages_pattern("fill").match(inside)
            if (code and kind != "[" and not inside.isupper() and not filled_in) or (
                match[0] not in prose and not _IN_CODE.fullmatch(match[0][1:-1])
            ):
                continue
            if (
                _is_placeholder(inside, kind, language, bool(inside.strip()) and f"</{inside.split()[0]}" in fold(text))
                or (kind == "[" and _is_in_greeting(text, match))
                or (not text[match.end() :].strip() and _is_signature(text, match, language))
            ):
                yield match[0], True
            elif not code and (
                _may_be_placeholder(text, match) and len(pattern.findall(given)) < len(pattern.findall(text))
                if kind == "["
                else _begins_like_placeholder(inside, kind, language)
            ):
                yield match[0], False


def _is_template(pattern: re.Pattern[str], text: str, given: str) -> bool:
    """Whether the folded other side has as many texts in these brackets, one of them a placeholder in any language."""
    there = [fold(next(filter(None, match.groups()))) for match in pattern.finditer(given)]
    slots = all_languages_pattern("slots")
    is_slot = any(not _TAGS.fullmatch(inside) and slots.search(inside) for inside in there)
    return is_slot and len(there) >= len(pattern.findall(text))


def _is_in_greeting(text: str, match: re.Match[str]) -> bool:
    """Whether text in square brackets ends a greeting in the first of several lines: `Hej [x],`."""
    first, _, rest = text.partition("\n")
    in_place = first[match.end() :].strip() in (",", "!", ":") and greets().match(fold(first[: match.start()]))
    return bool(rest.strip()) and bool(in_place)


def _is_signature(text: str, match: re.Match[str], language: str) -> bool:
    """Whether the last of several lines is a placeholder word in brackets, where a letter is signed."""
    alone = _OWN_LINE.search(text[: match.start()]) if match.start() else None
    return alone is not None and bool(_placeholder_words(language).fullmatch(fold(match[0][1:-1]).strip()))


def _may_be_placeholder(text: str, match: re.Match[str]) -> bool:
    """Whether text in square brackets consists of a few words inside a sentence."""
    inside = match[0][1:-1]
    alone = _OWN_LINE.search(text[: match.start()]) and text[match.end() : match.end() + 1] in ("", "\n")
    linked = text[match.start() - 1 : match.start()] == "[" and text[match.end() : match.end() + 1] == "]"
    return not alone and not linked and len(inside.split()) <= 5 and inside[:1].isalpha() and len(inside) > 3


def _begins_like_placeholder(inside: str, kind: str, language: str) -> bool:
    """Whether one or two words in round brackets begin with a placeholder word: `(name)`."""
    return (
        kind == "("
        and ":" not in inside
        and len(inside.split()) <= 2
        and bool(_placeholder_words(language).match(inside.strip()))
    )


def _is_placeholder(inside: str, kind: str, language: str, closed: bool) -> bool:
    """Whether the folded text inside brackets is a placeholder. `closed`: it is a tag with an end tag elsewhere."""
    if not re.search(r"[^\W\d]", inside):
        return "__" in inside
    if closed or '"' in inside:
        return False
    slots, fill = _placeholder_words(language), all_languages_pattern("fill")
    if kind == "<":
        return not re.search(r"[@.:]", inside)
    if kind == "(" and (fill.match(inside) or fill.search(inside[-12:])):
        return True
    if kind in "[【" or not slots.search(inside):
        return slots.search(inside) is not None
    left = re.sub(r"\W+", "", slots.sub("", inside))
    filled = _FILLED_IN.fullmatch(left) or left in words_of("of_any")  # (any date)
    return len(left) <= 3 and not filled and (kind == "«" or len(inside.split()) > 1)


@cache
def _placeholder_words(language: str) -> re.Pattern[str]:
    codes = (language, "en") if lexicon(language).words("slots") else (language, "en", "any")
    return re.compile("|".join(list_pattern(code, "slots").pattern for code in dict.fromkeys(codes)))
