"""Gates on facts that a text invents, swaps or reverses.

They compare two texts and have no knowledge of the world, so they flag.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain, combinations, islice

from curate.gates.amounts import at_another_scale, changed_scale
from curate.gates.changed_values import another_value, exchanged_values, mixed_times, other_half_of_day, reversed_move
from curate.gates.content import in_code, is_summary, without_photo_settings
from curate.gates.coverage import roots
from curate.gates.dates import swapped_date
from curate.gates.folding import fold
from curate.gates.form import is_verse
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.number_forms import Number, with_fractions_in_order
from curate.gates.number_words import (
    invented_weekday,
    is_spelt_out,
    month_name_dates,
    single_word_numbers,
    words_to_digits,
)
from curate.gates.numbers import digit_numbers, join_digit_groups, number_mentions, spelt_out_numbers
from curate.gates.opposites import contradicting_words
from curate.gates.phrases import find_all, lexicon, says, words_of
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.promises import made_up_quote
from curate.gates.ranges import reversed_range
from curate.gates.sides import names_turned, parts_turned, reversed_result
from curate.gates.units import changed_quantity, changed_unit, find_conversions
from curate.gates.words import cached_per_word, count_words, stemmer_for
from curate.words import SPACED
from schemas.records import Pair

CONTACT = re.compile(
    rf"(?P<email>(?<![.+-])(?<!{SPACED})(?=[^@\s]{{1,64}}@)(?:{SPACED}|[.+-])+@(?:{SPACED}|-)+(?:\.(?:{SPACED}|-)+)+)"
    r"|(?P<url>(?:https?://|www\.)[^\s<>\"')\]、。]+)"
    rf"|(?P<phone>(?<![.,/-])(?<!{SPACED})(?:\+\d|\(?0\d|1-\d{{3}}-)[\d ()/.\u2013-]{{5,}}\d(?!{SPACED}))"
)
# Each match of CONTACT contains one of these.
MAY_BE_CONTACT = re.compile(rf"@|:(?=//)|w(?=ww\.)|\+(?=\d)|0(?<![.,/-]0)(?<!{SPACED}0)(?=\d)|1(?=-\d)")
_RATIO = re.compile(r"\d(?<![\d:.]\d)\d?:\d(?![\d:])")
_EITHER_RATIO = re.compile(r"(\d(?<![\d:]\d)(?<!\d[\u2013-]\d)\d*)[:\u2013-](\d+)(?![\d:]|[\u2013-]\d)")  # of no date
# Also if one ratio ends where the next begins.
_RATIO_AT = re.compile(r"\d(?<![\d:]\d)(?<!\d[\u2013-]\d)\d*(?=([:\u2013-])(\d+)(?![\d:]|[\u2013-]\d))")
_FORMULA = re.compile(r"\w*[\u2080-\u2089]\w*")  # a chemical formula: H₂O
_DIGIT = re.compile(r"\d")
_UNCHECKED = frozenset(("0", "1", "2", "100", "1000", "1000000"))
_REACH = 4  # tokens between a number and the word it belongs to


@cache
def _camera_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return a pattern for camera settings, and one that matches inside each of them."""
    units = "|".join(sorted(words_of("picture"), key=len, reverse=True))
    settings = rf"\b\d+(?:\.\d+)? ?(?:{units})\b|\bf ?/ ?\d+(?:\.\d+)?"
    return re.compile(settings), re.compile(rf"\d ?(?:{units})\b")


def _without_camera_settings(text: str) -> str:
    settings, may_hold = _camera_patterns()
    return settings.sub(" ", text) if "/" in text or may_hold.search(text) else text


def invented(pair: Pair, language: str = "en", input_language: str | None = None) -> Judgement:
    """The numbers in digits of the output are in the input, in any spelling, also in words of about forty languages.

    0 and 1, the numbering of a list, options (`--ar 3:2`), the lens of a camera and code are ignored. The day and the
    month of a date (`1 October`) are checked. Spelt-out numbers from three up, except 100, 1000 and a million, are
    checked where the language's table has them, and so are weekdays, unless the text is verse or far longer than its
    input. Such a text tells a story, and a weekday counts only if no weekday of the input is left.
    Not covered: correct facts from elsewhere, which is the reason why this gate flags.
    """
    if "```" in pair.output or ("\n" in pair.output and in_code(pair.output)):
        return passed("numbers in code are not compared")
    input_lang = input_language or language
    after, in_short = fold(pair.output), count_words(pair.output) <= 2.5 * count_words(pair.input)
    in_short = in_short and not is_verse(pair.output)
    days = after, fold(pair.input), language, input_lang
    if day := invented_weekday(*days, only_in_place_of_another=not in_short):
        return rejected("invented_date", f"the input does not say {quote(day)}")
    spelt_out = (*spelt_out_numbers(pair.output, language), *single_word_numbers(after, language)) if in_short else ()
    spelt = [number for number in spelt_out if not number.forms & _UNCHECKED]
    if input_lang == language and (made_up := made_up_quote(pair.input, pair.output, language)):
        return rejected("invented_quote", f"the input does not say {quote(made_up)}")
    if counted := _invented_count(pair.output, pair.input, language) if in_short and input_lang == language else "":
        return rejected("invented_number", f"the input does not say {quote(counted)}")
    if not spelt and not _DIGIT.search(after):
        return passed("no invented number")
    given, before = number_mentions(pair.input, input_lang), fold(pair.input)
    for number in spelt:
        if number not in given:
            return rejected("invented_number", f"the input does not say {quote(number.text)}")
    text = CONTACT.sub(" ", pair.output) if MAY_BE_CONTACT.search(pair.output) else pair.output
    text = without_photo_settings(text if text.isascii() else _FORMULA.sub(" ", text))
    accounted_for = {"0", "1", *find_conversions(pair.input, pair.output, language, input_lang)[1]}

    def of_its_own(text: str) -> str:
        new = [n for n in digit_numbers(_without_camera_settings(text)) if n.forms.isdisjoint(accounted_for)]
        new = [number for number in new if number not in given and not given.has_rounded(number)]
        here, there = (join_digit_groups(side) if new else "" for side in (text, pair.input))
        scaled = at_another_scale(here, there, language, input_lang)
        new = [number for number in new if number.forms.isdisjoint(scaled)]
        return next((n.text for n in new if not any(is_spelt_out(form, before, input_lang) for form in n.forms)), "")

    if (made_up := of_its_own(text)) and (whole := of_its_own(join_digit_groups(text))):  # 145 000 may be 145000
        made_up = whole if whole.startswith(made_up) else made_up
        return rejected("invented_number", f"the input does not say {quote(made_up)}")
    for date, day, month in month_name_dates(fold(text), language):
        if any(Number(part, frozenset({part})) not in given for part in (day, month)):
            return rejected("invented_date", f"the input does not say {quote(date)}")
    if other := swapped_date(pair.input, pair.output, language, input_lang):
        return rejected("invented_date", f"the input says {quote(other[0])}, the output {quote(other[1])}")
    return passed("no invented number")


def _invented_count(text: str, given: str, language: str) -> str:
    """Return a number in Chinese or Japanese characters before a measure word, if the input has no number; or ''."""
    if language not in ("zh", "ja") or _DIGIT.search(given) or _NUMERAL.search(given):
        return ""
    count = _count_with_measure().search(text)
    return count[0] if count else ""


_NUMERAL = re.compile(r"[二三四五六七八九十百千万亿億两]")
_count_with_measure = word_pattern(_NUMERAL.pattern + "+(?:[多余数个個]*){measures}")


def is_date(text: str) -> bool:
    return re.fullmatch(r"\(?\d{1,2}[ ./-]+\d{1,2}[ ./-]+\d{2,4}", text) is not None


def swapped(pair: Pair, language: str = "en", kind: str = "rewrite") -> Judgement:
    """Two numbers of the input did not change places: each is next to its own words in the output.

    A ratio (`3:1`) or range must not be reversed. A reply contains more than its message, so it is only checked for a
    reversed range, and for another time, day or number of a thing (`room 12`) than the message names.
    Not covered: words that changed, and texts without spaces between words.
    """
    if kind == "reply":
        changed = another_value(pair.input, pair.output, language)
        if not changed and (units := changed_unit(pair.input, pair.output, language, language, alike=True)):
            changed = "changed_unit", *units
        if not changed and (amounts := changed_quantity(pair.input, pair.output, language)):
            one, other = (sorted(filter(str.isdigit, amount)) for amount in amounts)
            changed = ("changed_number", *amounts) if one == other else None  # 68 kg and 86 kg
        if not changed and (turned := reversed_range(fold(pair.input), fold(pair.output))):
            changed = "swapped", *turned
        code, *values = changed or ("", "", "")
        stated = quote(values[0]) if values[0] else "another day"
        detail = f"the message says {stated}, the reply {quote(values[1])}"
        return rejected(code, detail) if changed else passed("it has no conflicting value")
    for code, change in _changes(pair, language):
        if change:
            return rejected(code, f"the input says {quote(change[0])}, the output {quote(change[1])}")
    input, output = (with_fractions_in_order(words_to_digits(side, language)) for side in (pair.input, pair.output))
    if len(_DIGIT.findall(input)) < 2 or not _DIGIT.search(output):
        return passed("the numbers kept their places")
    both_say = all(says(language, "instead", side) for side in (fold(pair.input), fold(pair.output)))
    if both_say and (instead := _conflicting_number_after(input, output, language)):
        return rejected("swapped", f"the input says {quote(instead[0])}, the output {quote(instead[1])}")
    if len(_plain_numbers(input) & _plain_numbers(output)) < 2:
        return passed("the numbers kept their places")
    before, after = _clauses(input, language), _clauses(output, language)
    if mixed := _regrouped_numbers(before, after):
        return rejected("swapped", f"{quote(mixed)} are not together in the input")
    if places := _changed_places(_neighbouring_words(before), _neighbouring_words(after)):
        first, second, word = map(quote, places)
        return rejected("swapped", f"{first} and {second} changed places next to {word}")
    if moved := _changed_time(input, output):
        return rejected("swapped", f"the input says {quote(moved[0])}, the output {quote(moved[1])}")
    if exchanged := exchanged_values(input, output):
        return rejected("swapped", f"{quote(exchanged[0])} and {quote(exchanged[1])} changed places")
    if moved := _crossed(fold(pair.input), fold(pair.output), language):
        return rejected("swapped", f"the numbers of {quote(moved[0])} and {quote(moved[1])} changed places")
    return passed("the numbers kept their places")


def _changes(pair: Pair, language: str) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """Yield a code with what the input says and what the output says instead, or None."""
    given, text = pair.input, pair.output
    if not is_summary(pair) and count_words(text) <= _MUCH_LONGER * count_words(given):
        yield "changed_word", contradicting_words(given, text, language, language)
    yield "swapped", _reversed_ratio(given, text, language) or _replaced_ratio(given, text, language)
    yield "swapped", reversed_result(given, text, language)
    yield "swapped", reversed_range(fold(given), fold(text))
    yield "swapped", mixed_times(given, text) or reversed_move(given, text, language)
    yield "changed_time", other_half_of_day(fold(given), fold(text))
    yield "changed_unit", changed_unit(given, text, language, language)
    yield "swapped", changed_quantity(given, text, language)
    yield "changed_number", changed_scale(given, text, language, language)


_MUCH_LONGER = 3  # times as many words, with which a text has things of its own


def _reversed_ratio(before: str, after: str, language: str) -> tuple[str, str] | None:
    """Return a ratio or range of `before` and its reversal in `after`, or None. `after` must only have the reversal.

    A result that is turned together with its names is the same result (`Ajax 0-1 PSV`: `PSV won 1-0 at Ajax`), and so
    is a ratio together with its parts.
    """
    ratios = _EITHER_RATIO.findall(before) if any(map(before.__contains__, ":\u2013-")) else []
    there = dict[tuple[str, str], str]()
    for match in _RATIO_AT.finditer(after) if ratios else ():
        there.setdefault((match[0], match[2]), "".join(match.group(0, 1, 2)))
    for one, other in dict.fromkeys(ratios):
        if one != other and (one, other) not in there and (turned := there.get((other, one))):
            return None if _is_told_otherwise(before, after, language) else (f"{one}:{other}", turned)
    return None


def _is_told_otherwise(before: str, after: str, language: str) -> bool:
    return names_turned(before, after) or parts_turned(before, after, language)


def _replaced_ratio(before: str, after: str, language: str) -> tuple[str, str] | None:
    """Return a ratio or time of `before` that is rarer in `after`, and one that `after` has instead; or None."""
    ratios = _RATIO.findall(before) if ":" in before and ":" in after else []
    if not ratios:
        return None
    given, kept = Counter(ratios), Counter(_RATIO.findall(after))
    one, other = next(zip(given - kept, kept - given, strict=False), ("", ""))
    reversed_one = [pair[::-1] for pair in _EITHER_RATIO.findall(one)]
    turned = reversed_one == _EITHER_RATIO.findall(other) and _is_told_otherwise(before, after, language)
    return None if not one or turned else (one, other)


def numbers_at_other_words(before: str, after: str, language: str) -> tuple[str, str, str] | None:
    """Return two numbers of `before` that `after` puts next to each other's words, and one such word; or None."""
    if len(_DIGIT.findall(before)) < 2:
        return None
    here, there = (_clauses(words_to_digits(side, language), language) for side in (before, after))
    alone = [clause for clause in here if sum(map(str.isdigit, clause)) == 1]
    return _changed_places(_neighbouring_words(alone), _neighbouring_words(there))


def _changed_places(here: dict[str, set[str]], there: dict[str, set[str]]) -> tuple[str, str, str] | None:
    moved = (number for number in here if number in there and here[number] - there[number])
    for first, second in combinations((number for number in moved if there[number] - here[number]), 2):
        words = here[first] & there[second] - here[second] - there[first]
        if words and here[second] & there[first] - here[first] - there[second]:
            return first, second, min(words)
    return None


def _changed_time(before: str, after: str) -> tuple[str, str] | None:
    """Return a number with its time (`82 at 6`) in `before` and with another of the same times in `after`, or None."""
    here = {match[1]: match for match in _number_at_time().finditer(fold(before))}
    if len(here) < 2:
        return None
    there = {match[1]: match for match in _number_at_time().finditer(fold(after))}
    both = here.keys() & there.keys()
    given = {here[number][2] for number in here}
    moved = (n for n in sorted(both) if here[n][2] != there[n][2] and there[n][2] in given)
    return next(((here[number][0], there[number][0]) for number in moved), None) if len(both) > 1 else None


# A number and the time that follows it after a word such as `at`.
_number_at_time = word_pattern(r"(\d(?<![\d/.,:]\d)[\d/.,:]*) ?{at_time} (\d+|{noon|midnight}(?!\w))")


def _crossed(before: str, after: str, language: str) -> tuple[str, str] | None:
    """Return two parts of a note whose numbers changed places, or None.

    In the output, each part's numbers are in exactly one clause, which has words of the other part and none of its own.
    """
    if len(_numbers(before) & _numbers(after)) < 2:
        return None
    parts = [(part.strip(), numbers) for part in _NOTE_PARTS.split(before) if (numbers := _numbers(part))]
    if len(parts) < 2:
        return None
    pieces = (c for part in _NOTE_PARTS.split(after) if _DIGIT.search(part) for c in clause_ends().split(part))
    clauses_with: dict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
    for clause in pieces:
        for number in (held := _numbers(clause)):
            clauses_with[number].append((clause, held))
    places, holders = list[tuple[str, frozenset[str], str]](), dict[frozenset[str], list[str]]()
    for part, numbers in parts:
        if numbers not in holders:
            rarest = min(numbers, key=lambda number: len(clauses_with[number]))
            holding = (clause for clause, held in clauses_with[rarest] if numbers <= held)
            holders[numbers] = list(islice(holding, 2))
        if len(holding_one := holders[numbers]) == 1:
            places.append((part, numbers, holding_one[0]))
    if len({clause for _, _, clause in places}) < 2:
        return None
    with_roots = []
    for part, numbers, clause in places:
        of_part, here = (roots(_IN_FIGURES.sub(" ", text), language) for text in (part, clause))
        if here - of_part:  # only if it has words of another part, anything can be crossed
            with_roots.append((part, numbers, clause, of_part, here))
    for (one, numbers, first, of_one, here), (other, others, second, of_other, there) in combinations(with_roots, 2):
        own, foreign = of_one - of_other, of_other - of_one
        apart = first != second and numbers.isdisjoint(others) and here.isdisjoint(own) and there.isdisjoint(foreign)
        if apart and here & foreign and there & own:
            return one, other
    return None


_NOTE_PARTS = re.compile(
    r"[,;\n\u3001\uff0c\uff1b.\u3002](?:(?<![.\u3002])[,;\n\u3001\uff0c\uff1b]*(?!\d)|(?<=[.\u3002])(?=\s|\Z))"
)
# Separators of the clauses and items of a text.
clause_ends = word_pattern(r"[.,;:!?\n\u3001\u3002\uff0c\u060c]+|(?<!\w){listing}(?!\w)")


def _numbers(text: str) -> frozenset[str]:
    return frozenset(_DIGITS.findall(text))


_DIGITS, _IN_FIGURES = re.compile(r"\d\d*"), re.compile(r"\d\w*")


def _conflicting_number_after(before: str, after: str, language: str) -> tuple[str, str] | None:
    """Return the different numbers after a word such as `instead of` in two texts, with their context; or None.

    Both texts must contain both numbers.
    """
    here, there = _numbers_after_instead(before, language), _numbers_after_instead(after, language)
    if len(here) == len(there) == 1 and here.keys() != there.keys():
        (number, before_text), (other, after_text) = next(iter(here.items())), next(iter(there.items()))
        both = (set(re.findall(r"\d+", side)) for side in (before, after))
        return (before_text, after_text) if all({number, other} <= numbers for numbers in both) else None
    return None


def _numbers_after_instead(text: str, language: str) -> dict[str, str]:
    """Return each number after a word of `instead`, with at most one word between, and its context."""
    numbers = (_FOLLOWING_NUMBER.match(text, word.end()) for word in find_all(language, "instead", text))
    return {match[1]: text[max(0, match.start() - 12) : match.end()].strip() for match in numbers if match}


_FOLLOWING_NUMBER = re.compile(r"\s(?:[^\W\d_]+\s)?(\d+)")


def _clauses(text: str, language: str) -> list[list[str]]:
    """Return the stems and plain numbers of each clause with a number. Words such as `and` begin another clause."""
    numbered = filter(_DIGIT.search, _CLAUSE_END.split(fold(text)))
    clauses: list[list[str]] = [[]]
    for token in map(_token_of(language), _TOKEN.findall(";".join(numbered))):
        if token == ".":
            clauses.append([])
        elif token is not None:
            clauses[-1].append(token)
    return list(filter(None, clauses))


@cache
def _token_of(language: str) -> Callable[[str], str | None]:
    stop, joins = lexicon(language).stop, lexicon(language).words("joins")
    stem = stemmer_for(language)

    def token_of(token: str) -> str | None:
        if token in stop and token not in joins:
            return None
        if token in joins:
            return "."
        return _NO_DIGIT.sub("", token) if token[0].isdigit() else stem(token) if token[0].isalpha() else "."

    return cached_per_word(token_of)


def _plain_numbers(folded: str) -> set[str]:
    """Return the numbers among the tokens of a folded text."""
    return {n if n.isdecimal() else _NO_DIGIT.sub("", n) for n in _FIGURES.findall(folded)}


_NO_DIGIT = re.compile(r"\D")
_FIGURES = re.compile(r"\d\d*(?:[.,\s]\d{3})*(?:[.,]\d+)?")
_TOKEN = re.compile(rf"{_FIGURES.pattern}|[^\W\d_]+|[.;:!?\n,]")
_CLAUSE_END = re.compile(r"[.;:!?\n,](?!\d)")  # the end of a clause, outside a number


def _regrouped_numbers(before: list[list[str]], after: list[list[str]]) -> str:
    """Return numbers that one clause of the output has together and no clause of the input does, or ''.

    Both must have the same numbers in the same number of clauses of the same sizes.
    """
    if not (there := _several_numbers(after)):
        return ""
    here = _several_numbers(before)
    if sorted(map(len, here)) != sorted(map(len, there)) or Counter(chain(*here)) != Counter(chain(*there)):
        return ""
    return next((", ".join(numbers) for numbers in there if numbers not in here), "")


def _several_numbers(clauses: list[list[str]]) -> list[list[str]]:
    """Return the numbers of each clause with several, sorted."""
    return [sorted(numbers) for clause in clauses if len(numbers := list(filter(str.isdigit, clause))) > 1]


def _neighbouring_words(clauses: list[list[str]]) -> dict[str, set[str]]:
    """Return the nearest words of each number in its clause.

    These are the words after it if the clause begins with a number, the words before it if the clause ends with one,
    and both otherwise.
    """
    near: dict[str, set[str]] = {}
    for clause in clauses:
        places = [at for at, token in enumerate(clause) if token.isdigit()]
        for at in places:
            sides = clause[max(0, at - _REACH) : at][::-1], clause[at + 1 : at + 1 + _REACH]
            neighbours = near.setdefault(clause[at], set())
            if len(places) == 1:
                neighbours.update(word for side in sides for word in side if len(word) > 2)
                continue
            wanted = sides[1:] if clause[0].isdigit() else sides[:1] if clause[-1].isdigit() else sides
            words = (next((t for t in side if t.isdigit() or len(t) > 2), "0") for side in wanted)
            neighbours.update(word for word in words if not word.isdigit())
    return near
