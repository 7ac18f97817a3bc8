"""The gate on translations: what they have to keep of the source, and what they must not add.

Changes that are only flagged, by code:

    lost_number       a number that may be spelt out, unless all number words of both languages are known
    shorter           less than half as long as its source, or clearly shorter with fewer clauses
    longer            far longer than its source
    changed_unit      a number with another unit
    changed_number    a number with another power of ten
    number_order      the same numbers or dates in another order
    number_format     a grouped number read as a fraction (1.250 as 1.25)
    changed_date      a date whose day and month were swapped
    changed_time      an hour in the other half of the day
    changed_word      a word of the opposite meaning
    changed_name      a misspelt name
    left_over         words of the source left untranslated
    transliterated    the source in other letters
    lost_variable     a variable or a tag of the source is missing
    added_lines       more lines than the source has sentences
    added_note        a note in brackets
    options           several translations, or one sentence twice
    lost_sentence     fewer sentences in clearly less text
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import cache
from itertools import chain, pairwise

from curate.gates.amounts import at_another_scale, changed_scale
from curate.gates.answers import ADDRESS
from curate.gates.changed_values import other_half_of_day
from curate.gates.coverage import roots, share
from curate.gates.dates import swapped_date
from curate.gates.folding import fold
from curate.gates.formatted import asks_for_markup, text_pair
from curate.gates.frames import match_frame, sentences
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.making import asks_for_note
from curate.gates.names import misspelt, unknown_name
from curate.gates.number_forms import Number, is_roman
from curate.gates.number_order import swapped_numbers
from curate.gates.number_words import has_number_words, is_spelt_out, month_name_dates, words_to_digits
from curate.gates.numbers import (
    NumberMentions,
    join_digit_groups,
    may_be_spelt_out,
    required_numbers,
    thousands_separator,
)
from curate.gates.opposites import contradicting_words
from curate.gates.phrases import extra_letters, lexicon, says, words_of
from curate.gates.sides import is_result_turned
from curate.gates.units import changed_quantity, changed_unit, find_conversions
from curate.gates.variables import lost_variable
from curate.words import words
from schemas.records import Pair

_VARIABLE_ENDING = -3  # letters at the end of a name that another language may spell differently
_PROSE = 40  # letters of a source from which on a translation can be too short
_MAX_LENGTH = 2.0  # maximum length relative to the source, before _PROSE letters are added
# Letters of an alphabet that correspond to a character of Chinese or Japanese, or of Korean.
_CHARACTER_WEIGHT, _HANGUL_WEIGHT = 2.6, 1.8
# And to a letter of a script in which vowels are not written, or are signs on consonants.
_KANA_WEIGHT, _ABJAD_WEIGHT = 1.5, 1.35
_SHORTER, _SHORTER_WITH_HALF = 0.6, 0.75  # length relative to the source, with fewer clauses; with at most half of them
_TWICE = 1.7
_ALIKE_WORDS = 5  # a text of fewer words may be the same in both languages


def translated(pair: Pair, language: str, to: str, style: str = "") -> Judgement:
    """The output differs from the input, and numbers and web addresses are kept.

    Numbers are compared by value, in any grouping or spelling. Those that may be spelt out (below 100, round ones) are
    flagged, or, if the number words of the target language are not known, not required. Names are spelt and inflected
    differently in each language, so a name of two or more words, or after a title, is only flagged if no part of it
    recurs (`lost_name`), and never between two alphabets. The language itself is checked by another gate.

    The changes listed at the top of this module are flagged, and so is a translation that asks for the text instead.
    The first one found is reported.
    Not covered: numbers that the translation invents; converted units.
    """
    shown = text_pair(pair)
    if shown is not pair and asks_for_markup(style):
        shown = pair
    judgement = _judge_translation(shown, language, to, style)
    if shown is pair or not judgement.keep or judgement.flags:
        return judgement
    lost = lost_variable(pair.input, pair.output)
    return passed(f"{quote(lost)} is missing", 1.0, flag="lost_variable") if lost else judgement


def _judge_translation(pair: Pair, language: str, to: str, style: str) -> Judgement:
    source = words(pair.input)
    if source == words(pair.output) and len(words(ADDRESS.sub(" ", pair.input))) >= _ALIKE_WORDS:
        return rejected("untranslated", f"it is the same as the source: {quote(pair.output)}", 0.0)
    addresses = [address for address in ADDRESS.findall(pair.input) if address.casefold() not in pair.output.casefold()]
    if addresses:
        return rejected("lost_address", f"the source says {quote(addresses[0])}, the translation does not")
    kept_numbers = NumberMentions(join_digit_groups(pair.output), to)
    counted = _ALWAYS_OPEN.sub("24", ADDRESS.sub(" ", pair.input))
    wanted = [n for n in required_numbers(join_digit_groups(counted), language) if _is_required(n, to)]
    gone = [number for number in wanted if number not in kept_numbers and not is_roman(number, pair.output)]
    gone = [number for number in gone if not any(is_spelt_out(form, fold(pair.output), to) for form in number.forms)]
    sides = pair.input, pair.output, language, to
    converted = _converted(*sides) if gone else frozenset[str]()
    lost = [number.text for number in gone if number.forms.isdisjoint(converted)]
    known = bool(lexicon(to).ones)
    sure = known and lexicon(language).ones
    doubted = [] if sure else [n.text for n in wanted if n.text in lost and _may_be_words(n, grouped=not known)]
    lost = [text for text in lost if text not in doubted]
    if lost:
        missing, kept = ", ".join(map(quote, lost)), 1 - len(lost) / len(wanted)
        return rejected("lost_number", f"the source says {missing}, the translation does not", kept)
    if doubted:
        return passed(f"{quote(doubted[0])} does not recur", 1.0, flag="lost_number")
    doubts = chain(_meaning_changes(*sides), _form_changes(*sides))
    of_note = ("added_lines", "added_note", "longer") if asks_for_note(style) else ()
    if doubt := next((doubt for doubt in doubts if doubt[0] not in of_note), None):
        code, detail = doubt
        return passed(detail, 1.0, flag=code)
    if _in_latin(pair.output) and (name := unknown_name(pair.input, pair.output, language, _VARIABLE_ENDING)):
        return passed(f"the name {quote(name)} does not recur", 1.0, flag="lost_name")
    return passed(f"{len(wanted)} numbers are kept", 1.0)


def _meaning_changes(source: str, text: str, language: str, to: str) -> Iterator[tuple[str, str]]:
    """Yield possible changes of meaning, as a code and a message."""
    source_weight, weight = _weight(source), _weight(text)
    is_prose = source_weight >= _PROSE
    if is_prose and weight < 0.5 * source_weight:
        yield "shorter", "it is less than half as long as the source"
    elif is_prose and weight < _SHORTER_WITH_HALF * source_weight and _clauses(text) <= _clauses(source) / 2:
        yield "shorter", "it has clearly less text than the source, and half as many clauses"
    elif is_prose and weight < _SHORTER * source_weight and _clauses(text) < _clauses(source):
        yield "shorter", "it has clearly less text than the source, and fewer clauses"
    if weight > _MAX_LENGTH * source_weight + _PROSE:
        yield "longer", "it is far longer than the source"
    if units := changed_unit(source, text, to, language):
        yield "changed_unit", f"the source says {quote(units[0])}, the translation {quote(units[1])}"
    if amounts := changed_quantity(source, text, to, language):
        yield "changed_number", f"the source says {quote(amounts[0])}, the translation {quote(amounts[1])}"
    if other := contradicting_words(source, text, language, to):
        yield "changed_word", f"the source says {quote(other[0])}, the translation {quote(other[1])}"
    if day := swapped_date(source, text, to, language):
        yield "changed_date", f"the source says {quote(day[0])}, the translation {quote(day[1])}"
    days = [
        list(dict.fromkeys(date[1:] for date in month_name_dates(fold(side), code)))
        for side, code in ((source, language), (text, to))
    ]
    if len(days[0]) > 1 and days[0] != days[1] and sorted(days[0]) == sorted(days[1]):
        yield (
            "number_order",
            f"the days {quote(' / '.join(days[0][0]))} and {quote(' / '.join(days[0][1]))} changed places",
        )
    figures = words_to_digits(source, language), words_to_digits(text, to)
    if (turned := swapped_numbers(*figures, language, to)) and not is_result_turned(source, text):
        yield "number_order", f"{quote(turned)} are in another order"
    if half := other_half_of_day(fold(source), fold(text)):
        yield "changed_time", f"the source says {quote(half[0])}, the translation {quote(half[1])}"
    if power := changed_scale(source, text, language, to):
        yield "changed_number", f"the source says {quote(power[0])}, the translation {quote(power[1])}"
    if changed := misspelt(source, text):
        yield "changed_name", f"the source names {quote(changed[0])}, the translation {quote(changed[1])}"
    if left := _untranslated(source, text, language, to):
        yield "left_over", f"{quote(left)} is not translated"
    if _is_transliterated(source, text):
        yield "transliterated", "it is a transliteration of the source"
    if not says(language, "provide", fold(source)) and (asks := match_frame("translated", fold(text), "", to)):
        yield asks.code, f"it asks for a text instead: {quote(asks.quoted)}"


def _is_transliterated(source: str, text: str) -> bool:
    """Whether a text in another script has the consonants of its source in order, so that it is a transliteration."""
    scripts = _script(source), _script(text)
    in_latin = source if scripts[0] == "LATIN" else text
    if scripts[0] == scripts[1] or sum(word[0].islower() for word in in_latin.replace("-", " ").split()) < 2:
        return False
    first, second = _consonants(source), _consonants(text)
    return min(len(first), len(second)) > 5 and _are_alike(first, second, _MIN_ALIKE_CONSONANTS)


def _are_alike(one: str, other: str, ratio: float) -> bool:
    """Whether the beginnings of two texts have this share of their characters in order (quadratic time)."""
    matcher = SequenceMatcher(None, one[:_MAX_COMPARED], other[:_MAX_COMPARED], autojunk=False)
    return matcher.quick_ratio() >= ratio and matcher.ratio() >= ratio


_MAX_COMPARED = 2_000  # characters


_MIN_ALIKE_CONSONANTS = 0.8
_SOUND = str.maketrans("cqzjdbwgp", "kksstvvkf")
_SILENT = frozenset(("alef", "ain", "hamza", "mark"))  # letters of Arabic, and the long vowel mark of Japanese
_MUTE = re.compile("[aeiouyh]")


def _consonants(text: str) -> str:
    """Return the consonants of a text by the Unicode names of its letters, with similar sounds merged."""
    return "".join(_consonant(letter) for letter in fold(text) if letter.isalpha())


@cache
def _consonant(letter: str) -> str:
    sound = letter if letter.isascii() else unicodedata.name(letter, "").rpartition(" ")[2].casefold()
    if sound in _SILENT:
        return ""
    return _MUTE.sub("", sound).translate(_SOUND)[:1]


def _script(text: str) -> str:
    """Return the script of the first letter of a text."""
    return next((unicodedata.name(letter, "?").partition(" ")[0] for letter in text if letter.isalpha()), "")


def _form_changes(source: str, text: str, language: str, to: str) -> Iterator[tuple[str, str]]:
    """Yield changes of form, as a code and a message."""
    if lost := lost_variable(source, text):
        yield "lost_variable", f"{quote(lost)} is missing"
    if misread := _misread(source, text, language, to):
        yield "number_format", f"{quote(misread)} is read as a fraction"
    source_count, count = len(sentences(source)), len(sentences(text))
    lines, before = ([line for line in side.splitlines() if line.strip()] for side in (text, source))
    in_verse = len(lines) <= len(_CLAUSES.findall(source)) and all(line.strip()[-1] not in ":)*" for line in lines)
    if len(lines) > max(len(before), source_count) and not in_verse:
        yield "added_lines", f"it has {len(lines)} lines, the source {source_count} sentence{'s'[: source_count != 1]}"
    if note := _added_note(source, text):
        yield "added_note", f"it adds a note in brackets: {quote(note)}"
    if len(before) == 1 and (second := _another_version(source, text)):
        yield "options", f"{quote(second)} is another translation"
    if len(before) == 1 and " / " in text and "/" not in source:
        yield "options", f"{quote(text)} gives several translations"
    if len(before) == 1 and len(lines) == 2 and (second := _repeated_line(source, lines, to)):
        yield "options", f"{quote(second)} repeats it"
    longer = count > source_count and _weight(text) > _TWICE * _weight(source)
    if longer and (twice := _repeated_sentence(sentences(text))):
        yield "options", f"{quote(twice)} repeats the sentence before it"
    if count < source_count > 2 and _weight(text) < (0.85 if source_count <= _FEW_SENTENCES else 0.7) * _weight(source):
        yield "lost_sentence", f"it has {count} sentences, the source {source_count}"


def _another_version(source: str, text: str) -> str:
    """Return the second of several lines that are each about as long as the source, or a final bracket; or ''."""
    parts = [part for part in text.splitlines() if part.strip()]
    if len(parts) == 1 and not any(mark in source for mark in "(\uff08") and (note := _FINAL_NOTE.search(text)):
        parts = [text[: note.start()], note[1]]
    whole = _weight(source)
    fits = len(parts) > max(1, _clauses(source)) and all(
        _AS_LONG[0] * whole <= _weight(part) <= _AS_LONG[1] * whole for part in parts
    )
    return parts[1].strip() if fits and whole >= 8 else ""


_FINAL_NOTE = re.compile(r"[(\uff08]([^()\uff08\uff09]+)[)\uff09]\W*\Z")
_AS_LONG = (0.55, 1.9)


def _repeated_line(source: str, lines: list[str], to: str) -> str:
    """Return the second of two lines that are each about as long as the source and share most of their words; or ''."""
    whole, (first, second) = _weight(source), (roots(line, to) for line in lines)
    alike = min(len(first), len(second)) >= _FEW_ROOTS and min(share(first, second), share(second, first)) >= _ALIKE
    return lines[1].strip() if alike and all(_AS_LONG[0] * whole <= _weight(one) for one in lines) else ""


_FEW_ROOTS, _ALIKE = 3, 0.6


def _repeated_sentence(parts: tuple[str, ...]) -> str:
    """Return a sentence that is nearly the same as the previous one, or ''."""
    alike = (_are_alike(one, other, _MIN_SIMILARITY) for one, other in pairwise(parts))
    return next((sentence for sentence, again in zip(parts[1:], alike, strict=True) if again), "")


_MIN_SIMILARITY = 0.6
_FEW_SENTENCES = 5  # in a text of up to so many sentences, one fewer makes it clearly shorter


def _added_note(source: str, text: str) -> str:
    """Return a note in brackets that a translation adds, if it is long enough and has no word of the source; or ''."""
    if not any(mark in text for mark in "(（") or any(mark in source for mark in "(（[<{—–"):
        return ""
    given = fold(source)
    notes = (note for note in _NOTE.findall(text) if _weight(note) > _SHORT_NOTE)
    return next((note for note in notes if not any(len(w) > 2 and w in given for w in words(note))), "")


_NOTE = re.compile(r"[(（]([^()（）]+)[)）]")
_SHORT_NOTE = 6
_CLAUSES = re.compile(r"[^\W_][^,;:.!?\u3000-\u3002\uff0c\uff1b]*")


def _misread(source: str, text: str, language: str, to: str) -> str:
    """Return a number of the source with a thousands separator that the text has as a fraction, or ''."""
    group, point = thousands_separator(language), "," if thousands_separator(to) == "." else "."
    for number in re.findall(rf"(?<![\w.,:])\d{{1,3}}[{re.escape(group)}]\d\d0(?![\w]|[.,]\d)", source):
        whole, rest = number.split(group)
        if re.search(rf"(?<![\d.,]){whole}[{point}]{rest.rstrip('0')}0?(?![\d]|[.,]\d)", text):
            return str(number)
    return ""


def _weight(text: str) -> float:
    """Return the length of a text, in letters of an alphabet."""
    return sum(_letter_weight(letter) for letter in text if letter.isalpha())


@cache
def _letter_weight(letter: str) -> float:
    if letter < "\u0600":
        return 1.0
    if letter < "\u2e80":
        return _ABJAD_WEIGHT if letter < "\u0780" or "\u0900" <= letter <= "\u0dff" else 1.0
    if "\u3040" <= letter <= "\u30ff":
        return _KANA_WEIGHT
    return _HANGUL_WEIGHT if "\uac00" <= letter <= "\ud7a3" else _CHARACTER_WEIGHT


def _clauses(text: str) -> int:
    return sum(any(map(str.isalpha, clause)) for clause in _CLAUSE_END.split(text))


_CLAUSE_END = re.compile(r"[,;:.!?\u3001\u3002\uff0c\uff1b\uff01\uff1f\u060c\u061f\u0964]+")


def _untranslated(source: str, text: str, language: str, to: str) -> str:
    """Return words of the source that were not translated, or ''.

    These are two adjacent lower-case words, one of them a stop word of the source language alone, that the text also
    has in a row outside quotations; a whole sentence, line or cell of both texts; or a long word with a letter that the
    other language does not use.
    """
    here, there = ({part.strip(" *_#\"'") for part in _SEGMENT_END.split(side)} for side in (source, text))
    for part in sorted(here & there):
        if len(part) >= _MIN_SEGMENT and any(w.isalpha() and w[0].islower() and len(w) > 3 for w in part.split()[1:]):
            return part
    stop = lexicon(language).stop - lexicon(to).stop - words_of("particles")
    plain = _QUOTATION.sub(
        lambda quoted: quoted[0] if quoted[0][0] in _MARKS and quoted[0][1:-1].strip() not in source else " | ", text
    )
    spoken, given = f" {' '.join(_LOWER_CASE.findall(plain))} ", _LOWER_CASE.findall(source)
    for first, second in pairwise(given) if stop else ():
        if (first in stop or second in stop) and len(first + second) > 5 and f" {first} {second} " in spoken:
            return f"{first} {second}"
    foreign = extra_letters(language) - extra_letters(to) if extra_letters(to) else frozenset[str]()
    left = (w for w in given if len(w) > _MAX_LOANWORD and not foreign.isdisjoint(w) and f" {w} " in spoken)
    return next((w for w in left if language in _CAPITAL_NOUNS or not w[0].isupper()), "")  # a name stays as it is


# A sentence, a cell, or a value of JSON; `report.pdf` is one word.
_SEGMENT_END = re.compile(
    r"\.(?!\w)|\"\s*(?:[}\]]|,\s*\")|[!?\u2026:;|\n\u3002\uff01\uff1f\u061f\u0964\u2022]+|(?<=\s)[-\u2013\u2014](?=\s)"
)
_MIN_SEGMENT = 8  # letters
_MARKS = "\"\u201c\u201e\u00ab\u300c'"
_CAPITAL_NOUNS = ("de", "lb")  # languages in which a capital does not show a name
_MAX_LOANWORD = 6  # letters up to which a word may be a loan: café, façade
_LOWER_CASE = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?|[.,;:|!?\n]")
_QUOTATION = re.compile(
    r"\$[^$\n]+\$|\\\w+|[\"\u201c\u201e\u00ab\u300c'][^\n]{1,200}?[\"\u201d\u201c\u00bb\u300d']|`[^`\n]+`|\*[^*\n]+\*|\{[^{}]*\}|<[^<>]*>"
)


def _in_latin(text: str) -> bool:
    letters = [character.isascii() for character in text if character.isalpha()]
    return sum(letters) > len(letters) / 2


def _converted(source: str, text: str, language: str, to: str) -> frozenset[str]:
    """Return the forms of the numbers of a source that a text gives in another unit or with another power of ten."""
    here, there = (join_digit_groups(words_to_digits(side, code)) for side, code in ((source, language), (text, to)))
    scaled = at_another_scale(here, there, language, to) | at_another_scale(source, text, language, to)
    return find_conversions(source, text, to, language)[0] | scaled


def _may_be_words(number: Number, *, grouped: bool = True) -> bool:
    """Whether a text may spell out a number, also a round one such as 5,000 that is `grouped`."""
    ungrouped = number._replace(text=re.sub(r"[.,](?=\d{3})", "", number.text)) if grouped else number
    return may_be_spelt_out(number) or may_be_spelt_out(ungrouped)


def _is_required(number: Number, to: str) -> bool:
    """Whether a text in the language `to` must express the number in a recognisable way."""
    known = lexicon(to)
    if known.ones or number.letters:
        return True
    if _may_be_words(number):
        recognised = known.hints and has_number_words(to)
        return bool(recognised) and number.forms.isdisjoint({"1"} if to not in _DUAL else {"1", "2"})
    return number.text[0].isdigit()


_ALWAYS_OPEN = re.compile(r"(?<![\d/])24/7(?![\d/])")
_DUAL = ("ar", "he", "sl")  # languages in which an ending says two
