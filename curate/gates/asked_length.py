"""The number of words, characters, sentences, paragraphs or items that is asked for, and texts far from it.

missed_length("in two sentences: the sea and its salt.", "One. Two. Three. Four. Five.", "en") == "two sentences"
missed_length("a tale of about 120 words", "The lamp went out.", "en", at_least=True) == "120 words"
wrong_item_count("name three spices.", "Cumin, turmeric, paprika, clove", "en") == "name three spices."
wrong_item_count("nenne fünf flüsse", "Inn, Isar und Lech.", "de") == "nenne fünf flüsse"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from curate.gates.content import in_code
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.frames import sentences
from curate.gates.number_words import values_of_numeral, words_to_digits
from curate.gates.phrases import says, words_of
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import count_words

ITEM = re.compile(r"(?m)^\s*(?:[-*\u2022\u00b7\u2013]|\(?\d{1,2}[.)\u3001:]|\(?[a-z][.)]|#+ |\|)")
_MAX_LENGTH = 2000  # maximum number of a unit that can be a requested length
_CJK = re.compile(
    r"(?<![\u4e00-\u9fff])?([〇一二三四五六七八九两兩]?[百十]?[〇一二三四五六七八九]?十?[〇一二三四五六七八九]?)(?=個?个?(?:字|文|句|段))"
)
_NUMERAL, _UNIT = r"(?:\d+|[〇一二三四五六七八九两兩百十]+)", "個?个?(?:文?字|文|句|段)"
_TO = r"\s?(?:[~\u301c\u2013-]|から|到|至|、)\s?"
# 一〜三文, 30字から50字; and 两三句, which means two or three.
_RANGE = re.compile(
    rf"(?P<low>{_NUMERAL})(?:(?P<unit>{_UNIT})[话話落]?)?(?P<to>{_TO})(?P<high>{_NUMERAL})(?=(?(unit)(?P=unit)|{_UNIT}))"
)
_ABOUT = re.compile(rf"(?<![〇一二三四五六七八九十百\d])([一二两兩三四五六七八])([二两兩三四五六七八九])(?={_UNIT})")
_KOREAN = dict(zip(["한", "두", "세", "네", "다섯"], "12345", strict=True))


def missed_length(asked: str, text: str, language: str, *, at_least: bool = False) -> str:
    """Return the length that a folded instruction asks for, if the text has far more of the unit; or ''.

    With `at_least`, also if it has less than half. Lists and code are not checked. If two units are named, those in
    words and characters do not refer to the whole text.
    """
    lengths = _lengths(asked, language)
    if not lengths or len(ITEM.findall(text)) > 1 or in_code(text):
        return ""
    for wanted in lengths:
        small = wanted.unit in ("sentences", "paragraphs")
        if len(lengths) > 1 and not small:
            continue
        one_paragraph = wanted.unit == "paragraphs" and wanted.high == 1
        if one_paragraph and _HEADING.match(text) and not _asks_for_title(asked, language):
            return wanted.quoted
        has = max(map(_COUNTERS[wanted.unit], _parts_of(text, wanted.part)))
        if wanted.unit == "sentences":
            if _least_sentences(text) > wanted.high + int("\n" in text):
                return wanted.quoted
        elif has > _most_allowed(wanted, text, small=small):
            return wanted.quoted
        if (
            at_least
            and not (wanted.bound or wanted.part)
            and wanted.low > (2 if small else 20)
            and has <= 0.5 * wanted.low
        ):
            return wanted.quoted
    return ""


def _parts_of(text: str, part: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()] if part else []
    if part == "each_part":
        return [sentence for line in lines for sentence in sentences(fold(line))] or [text]
    return lines[:1] or [text]


def _asks_for_title(asked: str, language: str) -> bool:
    titled = _titles().search(asked)
    before = asked[max(0, titled.start() - _DENIAL_REACH) : titled.start()] if titled else ""
    return titled is not None and not any(says(code, "negation", before) for code in (language, "en"))


_DENIAL_REACH = 12  # characters before a word in which a denial refers to it
_titles = word_pattern(
    r"(?<!\w)(?:{one_things}|rubrik|nagłów|nadpis|otsik|judul)|[题題]|見出し|タイトル|제목|عنوان|शीर्षक"
)
_HEADING = re.compile(r"\s*(?:#{1,4} |\*\*)[^\n]+\n\s*\n")


def _most_allowed(wanted: Length, text: str, *, small: bool) -> float:
    times = 1.0 if small and (wanted.bound or wanted.low < wanted.high) else 1.15 if wanted.bound else 1.5
    return times * wanted.high + (2 if not small else int("\n" in text or not wanted.bound))


def _least_sentences(text: str) -> int:
    """Return the number of sentences that a text certainly has.

    A full stop counts after a word of three letters that is no title, if no small letter follows. Quotations count as a
    word, and lines without an end mark, such as a greeting, not at all.
    """
    titles, lines = words_of("titles"), _ended_lines(_QUOTATION.sub("x", text))
    return sum(1 + sum(fold(end[1] or "") not in titles for end in _SURE_END.finditer(line)) for line in lines)


def _ended_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if _END_MARK.search(line)]


_QUOTATION = re.compile(r"[\"\u201c\u201e\u00ab\u300c][^\"\u201c\u201d\u00bb\u300d\n]*[\"\u201d\u201c\u00bb\u300d]")
_END_MARK = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\u061f\u0964][\W_]*\Z")
_SURE_END = re.compile(
    r"(?:(?<![^\W\d_])([^\W\d_]{3,}|[\u0590-\u0fff\uac00-\ud7a3]+)\.|[!?\u2026\u061f\u0964])[)\]*_]*\s+"
    r"(?=[(\[*_\u00bf\u00a1]*(?![a-z\u00df-\u00ff\u0430-\u045f])[^\W\d_])|[\u3002\uff01\uff1f](?=\s*\S)"
)


class Length(NamedTuple):
    """The number of units that a text, or a `part` of it (a name in `_PARTS`), should have. With `bound`, it is a
    maximum."""

    unit: str
    low: int
    high: int
    bound: bool
    part: str
    quoted: str


@lru_cache(maxsize=CACHE_SIZE)
def _lengths(asked: str, language: str) -> tuple[Length, ...]:
    """Return the lengths that a folded text names."""
    return tuple(_find_lengths(asked, _with_digits(asked, language))) if _units().search(asked) else ()


def _find_lengths(asked: str, plain: str) -> Iterator[Length]:
    behind_last = 0
    for match in _counted().finditer(plain):
        start, low = match.start(), max(behind_last, match.start() - _MAX_BEFORE)
        ends = (end.end() for end in _CLAUSE_END.finditer(plain, low, start + 2) if end.start() < start)
        before, behind_last = plain[max(ends, default=low) : start], match.end()
        unit = next(name for name in _COUNTERS if match[name])
        if _per_part().match(match["behind"]):
            continue
        low, high = (int(part) if part.isdigit() else 1 for part in (match["low"], match["high"] or match["low"]))
        bound = bool(_most().search(before) or _most().match(match["behind"]))
        part = ""
        if unit in ("words", "characters"):
            part = _part_of_length(plain[max(0, start - _REACH) : start], plain[match.end("asked") :][:_REACH])
        # Two characters (in a story).
        of_story = high < _MIN_CHARACTERS and not bound and match["asked"].endswith("characters")
        if 0 < high < _MAX_LENGTH and not of_story:
            yield Length(unit, low, high, bound, part, _as_written(asked, match["asked"].strip()))


def _as_written(asked: str, in_digits: str) -> str:
    """Return a length in the instruction's own words, which may spell out the number: `한 문장`, not `1 문장`."""
    unit = re.sub(r"^\d[\d\s~\u2013-]*", "", in_digits)
    first = rf"(?:{_NUMERAL}(?:{_UNIT}[话話落]?)?{_TO})?"
    own = re.search(
        rf"{first}(?:[〇一二三四五六七八九两兩百十\d]+|(?<!\S)[^\s\u4e00-\u9fff]+)[ -]?{re.escape(unit)}", asked
    )
    return in_digits if in_digits in asked or own is None else own[0]


def _part_of_length(ahead: str, behind: str) -> str:
    """Return the list that names the part of a text to which a length refers, or ''."""
    part = _part_ahead().search(ahead) or _part_behind().match(behind)
    return next(name for name in _PARTS if part[name]) if part else ""


# Counted for a part: the first line (`subject: at most 50 characters`), or each line or sentence.
_PARTS = ("first_parts", "each_part")
_one_part = "|".join(f"(?P<{name}>{{{name}}})" for name in _PARTS)
_BETWEEN = r"(?:[^\w.;\n]|\.(?=\s?(?:\d|\Z)))+"
# A letter of a script in which particles are attached to words, or which has no spaces between words.
_JOINED = r"\u3040-\u9fff\uac00-\ud7a3"
_alone = rf"(?<![^\W{_JOINED}])(?:{_one_part})(?![^\W{_JOINED}])"
_part_ahead = word_pattern(
    rf"{_alone}(?:[{_JOINED}\s:\uff1a]{{0,12}}|(?:{_BETWEEN}(?!{{listing}}\s)[^\W\d_]+){{0,4}}{_BETWEEN}?)\Z"
)
_part_behind = word_pattern(rf"[^.;:,\n\u3002\uff0c\u3001]{{0,28}}?{_alone}")
_per_part = word_pattern(r"{per_part}[^\d.,;\u3002\uff0c]{0,8}\d")  # 一文は30文字: each sentence
_REACH = 40  # characters around a length that may say of what part it is
_CLAUSE_END, _MAX_BEFORE = re.compile(r"\n|\.(?!\s?\d)"), 24  # characters of a clause before a length
_MIN_CHARACTERS = 6  # characters of a text
_COUNTERS: dict[str, Callable[[str], int]] = {
    "words": count_words,
    "characters": lambda text: sum(map(str.isalnum, text)),
    "sentences": lambda text: sum(len(sentences(fold(line))) for line in _ended_lines(text)) or 1,
    "paragraphs": lambda text: len([part for part in re.split(r"\n\s*\n", text) if part.strip()]),
}


def _with_digits(asked: str, language: str) -> str:
    """Return a folded text with its numbers in digits: 二十字 becomes 20字, 세 문장 becomes 3문장."""
    figures = words_to_digits(asked, language)
    figures = figures if language == "en" else words_to_digits(figures, "en")  # a style may be in English
    if language in ("zh", "ja"):
        figures = _ABOUT.sub(r"\1~\2", figures)
        figures = _RANGE.sub(_range, figures)
        return _CJK.sub(lambda match: _to_digits(match[1]), figures)
    if language == "ko":
        figures = re.sub(r"(?<!\S)(한|두|세|네|다섯)(?= ?(?:문장|단락|문단))", lambda m: _KOREAN[m[1]], figures)
        return re.sub(r"(\d+) ?(문장|단락|문단|자|글자)에서 (\d+)(?= ?\2)", r"\1~\3", figures)
    return figures


def _range(match: re.Match[str]) -> str:
    """Return a range in digits. `、` joins one only if the numbers are consecutive: `2、100字` is the second list
    item."""
    low, high = int(_to_digits(match["low"])), int(_to_digits(match["high"]))
    joined = low < high and ("、" not in match["to"] or high == low + 1)
    return f"{low}~{high}" if joined else match[0]


def _to_digits(numeral: str) -> str:
    """Return a Chinese numeral in digits."""
    return numeral if numeral.isdigit() or not numeral else str(min(values_of_numeral(numeral)))


_units = word_pattern("|".join(f"{{unit_{name}}}" for name in _COUNTERS))
_counted = word_pattern(
    r"(?<![a-zß-öø-ÿа-я])(?P<asked>(?P<low>(?<!\d)(?<!\d[.,])\d+|(?<!\w){one_of_text}(?=[ -]))"
    r"(?:\s?(?:[-\u2013~]|{between_lengths})\s?(?P<high>\d+))?[ -]?(?:{sized} )?"
    rf"(?:{'|'.join(f'(?P<{name}>{{unit_{name}}})' for name in _COUNTERS)}))"
    r"(?![a-zß-öø-ÿа-я])(?P<behind>.{0,12})"
)
_most = word_pattern(r"\W*{at_most}(?![a-zß-öø-ÿа-я])")


_ITEM = re.compile(r"(?m)^(?:[-*\u2022]|\(?\d{1,2}[.)])\s+\S")
_LIST_SEPARATOR = re.compile(r"\s*[,;\u3001\uff0c\u060c]\s*")
_MAX_ITEMS, _MAX_ITEM_WORDS = 12, 4  # maximum number of items to check; words of an item in a list on one line


def wrong_item_count(folded: str, text: str, language: str) -> str:
    """Return the start of an instruction that asks for a number of things, if the text lists more or fewer; or ''.

    An instruction with a second number, `at least` or `up to` is not binding, and a text that is not a list is not
    checked.
    """
    asked = _asked_for().match(words_to_digits(folded, language)) if _begins().match(folded) else None
    if not asked or len(re.findall(r"\d+", asked.string)) > 1 or _bounds().search(asked.string):
        return ""
    wanted, listed = int(asked["number"]), _count_items(text)
    return folded[:40].strip() if 1 < wanted <= _MAX_ITEMS and listed > 1 and listed != wanted else ""


def _count_items(text: str) -> int:
    """Count the items of a text that is nothing but a list, on lines or on one line; 0 for any other text."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if len(lines) > 1:
        return len(lines) if all(map(_ITEM.match, lines)) else 0
    line = text.strip().rstrip(".\u3002")
    parts = [part for piece in _LIST_SEPARATOR.split(line) for part in _joined().split(piece) if part.strip()]
    whole = len(parts) > 1 and not re.search(r"[.!?:\u3002\uff01\uff1f\uff1a(]", line)
    return len(parts) if whole and all(count_words(part) <= _MAX_ITEM_WORDS for part in parts) else 0


_begins = word_pattern(r"\W*{count_verbs}(?!\w)")
_joined = word_pattern(r"\s+{listing}\s+")
_asked_for = word_pattern(
    r"\W*(?:{count_verbs}\s+)(?:{form_small}\s+)?(?P<number>\d{1,2})\s+(?!{of_a_text}(?!\w))[^\W\d_]{2,}"
)
_bounds = word_pattern(r"(?<!\w){at_most|at_least}(?!\w)")
