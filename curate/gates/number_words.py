"""Numbers in words and month names, from the Unicode CLDR tables of unicode-rbnf and Babel.

spelt_out_values("drei eier am 4. dezember", "de") == {"3", "12"}

RBNF has cardinals and ordinals in every case and gender for about forty languages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from curate.gates.folding import CACHE_SIZE, fold, letter_runs, unaccented
from curate.gates.number_forms import Number
from curate.gates.phrases import Lexicon, lexicon, says, sections
from curate.gates.phrases.search import longest_literal, matches, string_locator
from curate.gates.words import cached_per_word, words

if TYPE_CHECKING:
    from unicode_rbnf import RbnfEngine

_SPELT_OUT = (*range(2, 101), *range(200, 1000, 100), *range(1000, 10_000, 1000), 1500, 10_000, 100_000, 1_000_000)
_ORDINALS = range(1, 32)
_DIGITS = "〇一二三四五六七八九零"  # 0 to 9, and a second 0
_RUNS = re.compile(f"[{_DIGITS}]{{2,}}")
_NUMERALS = dict(zip("两兩壹壱贰貳弐叁參参肆伍陆柒捌玖", "2211222333456789", strict=True))  # the latter on cheques
_NUMERALS |= {digit: str(number % 10) for number, digit in enumerate(_DIGITS)}
_POWERS = {"十": 1, "拾": 1, "百": 2, "佰": 2, "千": 3, "仟": 3, "万": 4, "萬": 4, "亿": 8, "億": 8}
_COMPOUND = re.compile(rf"(?:\d{{1,12}}|[{''.join((*_NUMERALS, *_POWERS))}]){{2,24}}")
_HANGUL = str.maketrans("일이삼사오육륙칠팔구영공십백천만억", "一二三四五六六七八九零零十百千万億")
_PART = re.compile(r"\d+|\D")
_UNSPACED, _DIGIT = ("zh", "ja", "ko"), re.compile(r"\d")


def spelt_out_values(folded: str, language: str) -> set[str]:
    """Return the plain forms of the numbers that a folded text in `language` spells out; months count as their number.

    Endings are ignored (`dreistündig` contains 3). Meant for the question whether a number may be mentioned, so a word
    that only begins like a number counts too.
    """
    values, pattern = _number_table(language)
    if pattern is None:
        return set()
    candidates, runs = _prefix_locator(language)(folded), () if folded.isascii() else _RUNS.findall(folded)
    read = {"".join(str(_DIGITS.index(digit) % 10) for digit in run) for run in runs}
    numerals = folded.translate(_HANGUL).replace(" ", "") if language == "ko" else folded
    if language in _UNSPACED and not _POWERS.keys().isdisjoint(numerals):
        read.update(str(value) for run in _COMPOUND.findall(numerals) for value in values_of_numeral(run))
    if not candidates:
        return read
    plain = folded.replace("-", " ")
    in_words = (
        matches(pattern, plain, (start for _, start, _ in candidates))
        if _is_word_start_required(language)
        else pattern.finditer(plain)
    )
    return read.union(*(_values_at(match, values) for match in in_words))


def _values_at(match: re.Match[str], values: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the values of a number in words; of `tres mil`, if it is the beginning of `tres millones`, also 3."""
    ahead = match[1].rpartition(" ")[0]
    cut_short = ahead and match.string[match.end() : match.end() + 1].isalpha()
    return (*values[match[1]], *(values.get(ahead, ()) if cut_short else ()))


def values_of_numeral(numeral: str) -> set[int]:
    """Return the values that an East Asian numeral may have: 35000 for 三万五千 and 3만 5천, and also for 三万五."""
    total = section = digit = 0
    power = 0
    for part in _PART.findall(numeral.translate(_HANGUL).replace(" ", "")):
        if part not in _POWERS:
            digit = int(_NUMERALS.get(part, part))
            power = power if digit else 0  # 三万零五 is 30005
            continue
        power = _POWERS[part]
        if power < 4:  # 十百千 count within 10,000
            section, digit = section + (digit or 1) * 10**power, 0
            continue
        below, total = (0, total + section + digit) if power == 8 else (total, section + digit)
        total, section, digit = below + (total or 1) * 10**power, 0, 0
    value = total + section + digit
    return {value, value + digit * (10 ** (power - 1) - 1)} if power > 1 and digit < 10 else {value}


@cache
def _prefix_locator(language: str) -> Callable[[str], list[tuple[int, int, int]]]:
    """Return a function that locates in a text the beginnings of numbers and months in words."""
    return string_locator(
        list(
            {
                longest_literal(f"{phrase}*", alone=_is_word_start_required(language))
                for phrase in _number_table(language)[0]
            }
        )
    )


def _is_word_start_required(language: str) -> bool:
    """Whether a word must not have a letter before it."""
    return language not in _UNSPACED and lexicon(language).before == Lexicon().before


def is_spelt_out(number: str, folded: str, language: str) -> bool:
    """Whether a folded text has the CLDR's words for a whole number of three to six digits: `centottanta` for 180."""
    from unicode_rbnf import FormatPurpose
    from unicode_rbnf.engine import NoRuleForNumberError

    if (engine := spelling_rules(language)) is None or not number.isdecimal() or len(number) not in _SPELT_LENGTHS:
        return False
    with suppress(NoRuleForNumberError, ValueError):
        forms = engine.format_number(int(number), purpose=FormatPurpose.CARDINAL).text_by_ruleset.values()
        plain = folded.replace("-", " ")
        return any(fold(form).replace("\u00ad", "").replace("-", " ") in plain for form in forms)
    return False


_SPELT_LENGTHS = range(3, 7)  # digits of numbers whose words are not part of another word


def has_number_words(language: str) -> bool:
    """Whether the CLDR has the number words of `language`."""
    return spelling_rules(language) is not None


@lru_cache(maxsize=CACHE_SIZE)
def month_name_dates(folded: str, language: str) -> tuple[tuple[str, str, str], ...]:
    """Return each day next to a month name in a folded text: the text (`1 october`), the day and the month."""
    months, pattern = _dates(language)
    if pattern is None or not _DIGIT.search(folded) or not _may_name_month(folded, language):
        return ()
    return tuple(
        (date[0], (date["day"] or date["after"]).lstrip("0"), months[date["month"] or date["first"]])
        for date in pattern.finditer(folded)
    )


def _may_name_month(folded: str, language: str) -> bool:
    """Whether the name of a month may occur in a text without a letter next to it."""
    if _dates(language)[0].keys().isdisjoint(letter_runs(folded)):
        return any(map(folded.__contains__, _months_with_signs(language)))
    return True


@cache
def _months_with_signs(language: str) -> tuple[str, ...]:
    """Return the names of months that do not consist of letters alone."""
    return tuple(name for name in _dates(language)[0] if not name.isalpha())


@cache
def _dates(language: str) -> tuple[dict[str, str], re.Pattern[str] | None]:
    months = {fold(name).strip(" ."): number for name, number in _months(language) if len(name) > 2}
    if not months:
        return months, None
    named = "|".join(map(re.escape, sorted(months, key=len, reverse=True)))
    between = r"(?:\.|st|nd|rd|th|er|º|ª)?\s(?:de |of )?"
    return months, re.compile(
        rf"(?<![\w.,:])(?P<day>[0-3]?\d){between}(?P<month>{named})(?!\w)"
        rf"|(?<!\w)(?P<first>{named})\.?\s(?P<after>[0-3]?\d)(?![\w:%]|[.,]\d)"
    )


def invented_weekday(
    folded: str, given: str, language: str, input_language: str, *, only_in_place_of_another: bool = False
) -> str:
    """Return a weekday in a folded text that `given` does not name, in full or abbreviated; or ''.

    If `given` refers to days in other words (`tomorrow`), '' is returned unless it also names weekdays, none of which
    the text has. With `only_in_place_of_another`, `given` must name weekdays and the text none of them.
    """
    days, pattern = _days(language)
    if pattern is None or not any(map(folded.__contains__, days)):
        return ""
    if not (named := {days[name]: name for name in pattern.findall(folded)}):
        return ""
    before, _ = _days(input_language)
    plain = unaccented(given)
    known = {day for name, day in before.items() if name in given or unaccented(name) in plain}
    if only_in_place_of_another and (not known or not known.isdisjoint(named)):
        return ""
    known.update(*map(_possible_days(input_language), _SHORT.findall(given)))
    if says(input_language, "relative_days", given) and not (known and known.isdisjoint(named)):
        return ""
    return next((n for d, n in named.items() if d not in known), "")


def names_weekday(folded: str, language: str) -> bool:
    """Whether a folded text names a weekday in full."""
    pattern = _days(language)[1]
    return pattern is not None and pattern.search(folded) is not None


@cache
def _possible_days(language: str) -> Callable[[str], set[int]]:
    """Return a function that returns the weekdays that a folded word may stand for."""
    named, short = _days(language)[0].items(), _short_days(language)
    return cached_per_word(
        lambda word: {day for name, day in named if _may_be_day(name, word)} | short.get(word, set())
    )


def _may_be_day(name: str, word: str) -> bool:
    """Whether a word is the start of a weekday, or may be an inflected one: `poniedziałku` for `poniedziałek`."""
    stem = name[: max(4, len(name) - 2)]
    return (
        name.startswith(word) or (word.startswith(stem) and len(word) <= len(name) + 2) or _is_contraction(word, name)
    )


def _is_contraction(word: str, name: str) -> bool:
    """Whether a word of five letters or more is a name with inner letters left out: `jmosi` for `jumamosi`."""
    letters = iter(name)
    return len(word) >= _MIN_MATCH and (word[0], word[-1]) == (name[0], name[-1]) and all(c in letters for c in word)


def is_day_or_month(folded: str, language: str) -> bool:
    """Whether a folded word begins like a weekday or a month."""
    every = (part for name in (*_days(language)[0], *_dates(language)[0]) for part in (name, *name.split()[1:]))
    named = (name for name in every if name.startswith(folded[:3]))
    return any(len(folded) < _MIN_MATCH or folded.startswith(name[:_MIN_MATCH]) for name in named)  # also for thứ Năm


def single_word_numbers(folded: str, language: str) -> Iterator[Number]:
    """Yield the numbers from three up that a folded text in `language` expresses in a single word.

    `drei Viertel` may be 75 (percent) or 45 (minutes) too.
    """
    values, pattern = _cardinals(language)
    for match in pattern.finditer(folded) if pattern else ():
        behind = _NEXT_WORD.match(folded, match.end())
        parts = lexicon(language).hints.get(behind[1], ()) if behind and int(values[match[0]]) < _DIGIT_VALUES else ()
        of_part = parts if any(part.startswith("0.") for part in parts) else ()
        forms = (str(int(values[match[0]]) * int(part)) for part in of_part if part.isdecimal())
        yield Number(match[0], frozenset((values[match[0]], *forms)))


_NEXT_WORD, _DIGIT_VALUES = re.compile(r"[ -]([^\W\d_]+)"), 10


@lru_cache(maxsize=CACHE_SIZE)
def words_to_digits(text: str, language: str) -> str:
    """Return `text` folded, with cardinals of `language` from two up replaced by digits: `10 miles`.

    Languages without spaces between words are left unchanged.
    """
    folded, (values, pattern) = fold(text), _spelt(language)
    if pattern is None or values.keys().isdisjoint(words(text)):
        return folded
    pieces, end = list[str](), 0
    for match in matches(pattern, folded, (start for _, start, _ in _cardinal_locator(language)(folded))):
        pieces += folded[end : match.start()], values[match[0].replace("-", " ")]
        end = match.end()
    return "".join((*pieces, folded[end:]))


@cache
def _cardinal_locator(language: str) -> Callable[[str], list[tuple[int, int, int]]]:
    """Return a function that locates candidates for cardinals in a text."""
    return string_locator(list({longest_literal(word, alone=True) for word in _spelt(language)[0]}))


@cache
def _spelt(language: str) -> tuple[dict[str, str], re.Pattern[str] | None]:
    """Return the cardinals of a language with their values, and a pattern for them if words are separated by spaces."""
    other = lexicon(language).words("no_numbers")
    named = (
        (fold(word).replace("\u00ad", "").replace("-", " "), value)
        for word, value in _numbers(language, ordinals=False)
    )
    values = {word: value for word, value in named if int(value) > 1 and word not in other and not word[0].isdigit()}
    if not values or language in _UNSPACED:
        return values, None
    names = "|".join(re.escape(word).replace(r"\ ", "[ -]") for word in sorted(values, key=len, reverse=True))
    return values, re.compile(rf"(?<!\w)(?:{names})(?!\w)")


@cache
def _cardinals(language: str) -> tuple[dict[str, str], re.Pattern[str] | None]:
    other = lexicon(language).words("no_numbers")
    values = {fold(word).replace("\u00ad", ""): value for word, value in _numbers(language, ordinals=False)}
    values = {word: value for word, value in values.items() if int(value) > 2 and len(word) > 2 and word not in other}
    if not values or lexicon(language).ones or language in (*_UNSPACED, "ar", "hi", "tr"):
        return values, None
    return values, re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(values, key=len, reverse=True)))})(?!\w)")


@cache
def _short_days(language: str) -> dict[str, set[int]]:
    """Return the weekdays by their abbreviations: `пн`."""
    from babel.dates import get_day_names

    short: dict[str, set[int]] = {}
    for width in ("abbreviated", "short"):
        for day, name in get_day_names(width, "format", language).items():
            short.setdefault(fold(name).strip(" ."), set()).add(day)
    return short


_SHORT = re.compile(r"[^\W\d_]{2,}")
_MIN_MATCH = 5  # letters after which a word must match a name that far


@cache
def _days(language: str) -> tuple[dict[str, int], re.Pattern[str] | None]:
    from babel import UnknownLocaleError
    from babel.dates import get_day_names

    try:
        named = {
            fold(name).strip(" ."): day
            for width in (("wide", "abbreviated") if language == "zh" else ("wide",))
            for code in filter(None, (language, SECOND_SCRIPT.get(language)))
            for day, name in get_day_names(width, "format", code).items()
        }
    except (UnknownLocaleError, ValueError):
        return {}, None
    inflected = (word.split("=") for word in sections("any")["weekdays"].get(language, "").split())
    # Cases and digits that the CLDR does not list; Monday is 0.
    named |= {fold(word).replace("_", " "): int(day) for word, day in inflected}
    known = lexicon(language)
    ends = "" if language in _UNSPACED else r"s?(?!\w)"
    return named, re.compile(f"{known.before}({'|'.join(map(re.escape, named))}){ends}")


@cache
def _number_table(language: str) -> tuple[dict[str, tuple[str, ...]], re.Pattern[str] | None]:
    values: dict[str, tuple[str, ...]] = {}
    stems = sections(language).get("numbers", {}).get("ordinals", "").split()
    ordinals = ((stem.replace("_", " "), str(number)) for number, stem in enumerate(stems, 1))
    for phrase, value in (*_numbers(language), *_months(language), *ordinals):
        text = fold(phrase).replace("\u00ad", "").replace("-", " ").strip(" .")
        if text:
            values[text] = tuple(dict.fromkeys((*values.get(text, ()), value)))
    if not values:
        return values, None
    phrases = "|".join(map(re.escape, sorted(values, key=len, reverse=True)))
    before = "" if language in _UNSPACED else lexicon(language).before
    return values, re.compile(f"{before}({phrases})")


def _inflections(number: str, language: str) -> Iterator[str]:
    """Yield the forms of a number in words, with those that the CLDR does not have.

    In Arabic, these are the form for feminine nouns (تسع), the oblique case (ثلاثين, ألفين) and the usual spelling
    (اثنان, مئة); in Hindi, the spelling with a dot for a nasal (पांच, पंद्रह).
    """
    yield number
    if language == "hi":
        yield _NASAL.sub("ं", number)
    if language == "ar":
        spellings = number, number.replace("إثن", "اثن"), number.replace("مائ", "مئ"), number.replace("إحدى", "أحد")
        forms = (re.sub(ending, put, one) for one in spellings for ending, put in _ARABIC_ENDINGS)
        yield from (case for form in forms for case in (form, re.sub(r"[وا]ن\Z", "ين", form)))


_NASAL = re.compile("ँ|[ङञणनम]्(?=[क-म])")
_ARABIC_ENDINGS = ((r"\Z", ""), (r"ة(?=\s|\Z)", ""), (r"ة(?=\s)", "ا"))


SECOND_SCRIPT = {"sr": "sr_Latn"}  # languages with two scripts, whose table covers one


@cache
def spelling_rules(language: str) -> RbnfEngine | None:
    """Return the CLDR's rules for spelling out numbers, or None if it has none for this language. Reading them takes
    much longer than spelling out a number."""
    from unicode_rbnf import RbnfEngine

    try:
        return RbnfEngine.for_language(language)
    except ValueError:
        return None


def _numbers(language: str, *, ordinals: bool = True) -> Iterator[tuple[str, str]]:
    from unicode_rbnf import FormatPurpose
    from unicode_rbnf.engine import NoRuleForNumberError

    if (engine := spelling_rules(language)) is None:
        return
    rules = ((_SPELT_OUT, FormatPurpose.CARDINAL), (_ORDINALS, FormatPurpose.ORDINAL))
    for numbers, purpose in rules if ordinals else rules[:1]:
        for number in numbers:
            with suppress(NoRuleForNumberError, ValueError):  # those of Tamil end at 20
                for text in set(engine.format_number(number, purpose=purpose).text_by_ruleset.values()):
                    yield from ((form, str(number)) for form in _inflections(text, language))
    if also := SECOND_SCRIPT.get(language):
        yield from _numbers(also, ordinals=ordinals)


# Countries with month names of their own: Levantine, Maghrebi and Moroccan ones, Jänner, Sept.
_ATTACHED = re.compile(r"([^\W\d_a-zA-Z]+)M{3}")  # what a language puts in front of the month of a date: `d בMMMM`
_REGIONS = {"ar": ("ar_LB", "ar_DZ", "ar_MA"), "de": ("de_AT",), "en": ("en_GB",)}


def _months(language: str) -> Iterator[tuple[str, str]]:
    from babel import Locale, UnknownLocaleError
    from babel.dates import get_month_names

    try:
        prefixes = "", *_ATTACHED.findall(Locale.parse(language).date_formats["long"].pattern)
        for width in ("wide", "abbreviated"):
            for context in ("format", "stand-alone"):
                for place in (language, *_REGIONS.get(language, ())):
                    for number, name in get_month_names(width, context, place).items():
                        if not any(c.isdigit() for c in name) and (place == language or len(name) > 2):
                            yield from ((f"{prefix}{name}", str(number)) for prefix in prefixes)
    except (UnknownLocaleError, ValueError):
        return
    if also := SECOND_SCRIPT.get(language):
        yield from _months(also)
