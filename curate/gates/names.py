"""The gate on people and houses that a text names and its input does not.

It has no list of names, so it flags.

misspelt("ask Siobhan Kearney", "Please ask Siobhan Kearny.") == ("Kearney", "Kearny")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import takewhile

from curate.gates.folding import CACHE_SIZE, fold, letter_runs, unaccented
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.number_words import is_day_or_month
from curate.gates.phrases import NEVER, lexicon, says, words_of
from curate.gates.phrases.lists import alternation
from curate.gates.words import count_words, filler, words
from schemas.records import Pair

_CAPITAL = r"[^\W\d_a-zа-яß-ÿ]"
_NAME = rf"{_CAPITAL}[^\W\d_A-Z]+(?:[-'\u2019][^\W\d_]+)?"
_QUOTED_NAME = re.compile(r"(?<=«)([^«»\n.!?,:]{3,30})(?=»)")


@cache
def _titles() -> frozenset[str]:
    """Return the titles. One of one or two letters counts only with a capital: `5 m` is not a Monsieur."""
    small = {title for title in words_of("titles") if len(title) > 2}
    return frozenset(small | {title.capitalize() for title in words_of("titles")})


@cache
def _titled() -> re.Pattern[str]:
    """Return a pattern for a title followed by a name."""
    titles = "|".join(sorted(_titles(), key=lambda t: (-len(t), t)))
    return re.compile(rf"(?<!\w)(?:{titles})\.? ({_NAME}(?: {_NAME})*)")


def _may_have_title(text: str) -> bool:
    """Return False if the text contains no title between non-letters."""
    if text.isascii():
        return not words_of("titles").isdisjoint(letter_runs(fold(text)))
    return not _titles().isdisjoint(letter_runs(text)) or any(t in text for t in _titles() if not t.isalpha())


@cache
def _name_sequence() -> re.Pattern[str]:
    between = "|".join(sorted(words_of("particles")))
    return re.compile(rf" (?={_CAPITAL})(?<=[\w,] )(?<!\d )({_NAME}(?: (?:{between}))? {_NAME}(?: {_NAME})?)")


def invented_name(pair: Pair, language: str = "en") -> Judgement:
    """The output names no person or house that the input does not name.

    Names are recognised as a title with a name, two names in a row, the name in a greeting or signature, and in
    Chinese, Japanese and Korean a name before a title. Apart from these, only scripts with capitals are covered; in
    German, where every noun has a capital, two words in a row do not count.
    Not covered: a single name inside a text. An office that every place has (`Registro de Imóveis`) is no such name.
    """
    given, text = _with_initials_expanded(pair.input, pair.output, language), _without_offices(pair.output)
    if name := unknown_name(text, given, language) or _unknown_party(text, given, language):
        return rejected("invented_name", f"the input does not name {quote(name)}")
    if changed := _changed_name(given, text, language) or misspelt(pair.input, pair.output, language):
        return rejected("changed_name", f"the input names {quote(changed[0])}, the output {quote(changed[1])}")
    if name := _added_name(given, text, language):
        return rejected("invented_name", f"the input does not name {quote(name)}")
    return passed("no invented name")


def _without_offices(text: str) -> str:
    """Return a text with the names of public offices in lower case, of which no name is made up."""
    return _office().sub(lambda match: match[0].lower(), text) if _office_head().search(text) else text


@cache
def _office_head() -> re.Pattern[str]:
    """Return a pattern for the first word of a public office's name, which has a capital."""
    return re.compile(rf"(?<!\w)(?:{alternation(word.capitalize() for word in words_of('offices'))})(?!\w)")


@cache
def _office() -> re.Pattern[str]:
    links = alternation(words_of("office_links"))
    return re.compile(
        rf"{_office_head().pattern}(?:-{_NAME}| (?:{links})'?(?: (?:{links}))?| (?={_CAPITAL}){_NAME}){{1,6}}"
    )


def _with_initials_expanded(text: str, other: str, language: str) -> str:
    """Return a text plus, folded, the names of `other` whose initials are a word of it: `ny` is New York."""
    names = _NAMES.findall(other)
    short = {word for word in words(text) if 1 < len(word) < 5} - lexicon(language).stop if names else ()
    spelt = [fold(name) for name in names if fold("".join(part[0] for part in name.split())) in short]
    return " ".join((text, *spelt))


_NAMES = re.compile(rf"{_NAME}(?: {_NAME})+")


def unknown_name(text: str, other: str, language: str, letters: int = 5) -> str:
    """Return the first name in `text` that `other` does not contain, or ''.

    `other` contains a name if a word in it begins with the same `letters` as a part of the name. If `letters` is
    negative, that many letters at the end of a part may differ.
    """
    given = fold(other)
    plain = [] if language == "de" or _in_title_case(text) else [_name_sequence()]
    if language == "de" and letters > 0 and (name := _name_behind_noun(text, given)):
        return name
    quoted = [_QUOTED_NAME] if "«" in text else []
    for pattern in (*([_titled()] if _may_have_title(text) else []), *quoted, *plain):
        for match in pattern.finditer(text):
            if match[1][0].isupper() and _is_new(match[1], given, language, letters):
                return match[1]
    return ""


def _name_behind_noun(text: str, given: str) -> str:
    """Return two new capitalised words right after a third one, as in `Trainer Michael Brandt`, from a German text; or
    ''. No two nouns follow another one in German, unless they are names."""
    stop = lexicon("de").stop
    for match in _THREE_CAPITALISED.finditer(text):
        three = [fold(word) for word in match.groups()]
        if stop.isdisjoint(three) and not any(word[:5] in given for word in three[1:]):
            return f"{match[2]} {match[3]}"
    return ""


_THREE_CAPITALISED = re.compile(
    r"(?<![\w-])([A-ZÄÖÜ][a-zäöüß-]+) ([A-ZÄÖÜ][a-zäöüß]{2,}) ([A-ZÄÖÜ][a-zäöüß]{2,})(?= [a-zäöü]|[,.!?\n]|\Z)"
)


def _unknown_party(text: str, other: str, language: str) -> str:
    """Return the name in a greeting, in a signature or before a title that `other` does not contain, or ''."""
    given = fold(other)
    signed = [_SIGNED] if "\n" in text else []
    for pattern in (_greeted_name(language), *signed, name_before_title(language)):
        for match in pattern.finditer(text):
            if not says(language, "addressees", fold(match[1])) and _is_new(match[1], given, language):
                return match[1]
    return ""


def unknown_signer(text: str, other: str, language: str) -> str:
    """Return two names that sign a text, with an optional line below them, if `other` does not contain them; or ''."""
    signed = _SIGNED_BY_TWO.search(text) if language != "de" else None
    new = signed and not says(language, "addressees", fold(signed[1])) and _is_new(signed[1], fold(other), language)
    return signed[1] if signed and new else ""


def other_addressee(text: str, other: str, language: str) -> str:
    """Return the name that a text greets if `other` is signed by somebody else and does not contain it, or ''.

    A name with the same first letter may be the same: Tom and Thomas.
    """
    signed, greeted = _SIGNATURE.search(other), _greeted_name(language).search(text)
    if not signed or not greeted or says(language, "addressees", fold(greeted[1])) or greeted[1][0] == signed[1][0]:
        return ""
    return greeted[1] if _is_new(greeted[1], fold(other), language) else ""


_SIGNATURE = re.compile(rf"(?:[,.!?\n]\s*(?={_NAME} )|,\s*)({_NAME}(?: {_NAME}){{0,2}})\W*\Z")
_SIGNED_BY_TWO = re.compile(rf",\s*\n\s*({_NAME} {_NAME})(?:\n[^\n.!?]{{3,40}})?\s*\Z")


def _changed_name(before: str, after: str, language: str) -> tuple[str, str] | None:
    """Return a name inside a sentence that the output lost, and one that it has instead, or None.

    None if more or fewer names changed, in German, and where words have capitals for another reason.
    """
    if language == "de":
        return None
    given, after_folded = fold(before), fold(after)
    known = filler(language)
    lost = {n for n in _ONE_NAME.findall(before) if n[0].isupper() and fold(n)[:_ROOT_LETTERS] not in after_folded}
    new = {
        n
        for n in _ONE_NAME.findall(after)
        if n[0].isupper() and fold(n)[:_ROOT_LETTERS] not in given and fold(n) not in known
    }
    if not len(lost) == len(new) == 1 or _in_title_case(before) or _in_title_case(after):
        return None
    changed = lost.pop(), new.pop()
    known_day = is_day_or_month(fold(changed[1]), language)
    return None if known_day or _is_in_another_case(changed[1], before, language) else changed


def _added_name(before: str, after: str, language: str) -> str:
    """Return a capitalised word inside a sentence that no word of the input begins like, or ''.

    Only if the text is not much longer than the input, and not after an article, because contracts capitalise such
    words.
    """
    if (
        language == "de"
        or (after.isascii() and after.islower())
        or count_words(after) > 2 * count_words(before) + _EXTRA_WORDS
    ):
        return ""
    if _in_title_case(after):
        return ""
    given, known = fold(before), _other_capitalised_words(language)
    articles = lexicon(language).words("articles")
    for word, inside in _names_inside(after):
        name = fold(inside)
        if (
            inside[0].isupper()
            and name[:_ROOT_LETTERS] not in given
            and name not in known
            and fold(word) not in articles
            and not is_day_or_month(name, language)
            and not says(language, "addressees", name)
        ):
            return "" if _in_title_case(before) or _is_in_another_case(inside, before, language) else inside
    for match in _NAMED_AT_START.finditer(after):
        name = fold(match[1])
        if match[1][0].isupper() and match[2][0].isupper() and name[:_ROOT_LETTERS] not in given and name not in known:
            days = is_day_or_month(name, language) or is_day_or_month(fold(match[2]), language)
            called = says(language, "greet", name) or says(language, "addressees", name)
            addressed = fold(match[2]) in known  # a polite pronoun or a title alone: `Dostanie Pani 450 zł`
            if not (days or called or addressed) and name not in lexicon(language).words("hangs"):
                return "" if _in_title_case(before) else match[1]
    return ""


def _is_in_another_case(name: str, given: str, language: str) -> bool:
    """Whether a name differs only in its ending from one of a text, in a language with cases: Иры, Ирой."""
    if language in words_of("without_cases"):
        return False
    stems = (fold(one)[:-1] for one in _CAPITALISED.findall(given) if one[0].isupper())
    return any(0 < len(name) - len(stem) <= _MAX_ENDING and fold(name).startswith(stem) for stem in stems)


_CAPITALISED = re.compile(rf"(?<!\w){_CAPITAL}[^\W\d_A-Z]{{2,}}")
_MAX_ENDING = 3  # letters


def _names_inside(text: str) -> Iterator[tuple[str, str]]:
    """Yield each lower-case word, which is not a name itself, with the word after it that begins like a name."""
    end = 0
    for match in _NAME_INSIDE.finditer(text):
        if word := _LOWER_CASE_REVERSED.match(text[end : match.start()][::-1]):
            end = match.end()
            yield word[0][::-1], match[1]


@cache
def _other_capitalised_words(language: str) -> frozenset[str]:
    return filler(language) | words_of("capitals") | words_of("titles")


_EXTRA_WORDS = 8  # words
_NAMED_AT_START = re.compile(
    r"(?:\A|[.!?\u2026] |\n)([^\W\d_a-zа-яß-ÿ][^\W\d_A-Z]{2,}) ([^\W\d_a-zа-яß-ÿ][^\W\d_A-Z]{2,}) (?=[^\W\d_A-Z])"
)
_NAME_INSIDE = re.compile(rf"[ ,](?={_CAPITAL})(?<=[^\W\d_A-Z][ ,])(.[^\W\d_A-Z]{{2,}}(?!\w))")
_LOWER_CASE_REVERSED = re.compile(r"[^\W\d_A-Z]+")
_ONE_NAME = re.compile(rf" (?={_CAPITAL})(?<=[^\W\d_,] )(.[^\W\d_A-Z]{{2,}}(?!\w))")
_ROOT_LETTERS = 3


def _is_new(name: str, given: str, language: str, letters: int = 5) -> bool:
    """Whether no part of a name begins like a part of a word in the folded text `given`.

    In a language with cases, the last of three to five letters may differ: a letter signed by Ewa or Iwona greets `Ewo`
    or `Iwono`.
    """
    parts = [part for part in words(name) if len(part) > 2] if name[0].isupper() else [fold(name)]
    if letters > 3 and language not in words_of("without_cases"):
        if any(len(part) == 3 and re.search(rf"\b{part[:2]}\w\b", given) for part in parts):
            return False
        parts = [part[:-1] if len(part) in (4, 5) else part for part in parts]
    begins = (part[: letters if letters > 0 else max(3, len(part) + letters)] for part in parts)
    return bool(parts) and not any(begin in given for begin in begins)


_SIGNED = re.compile(rf"(?:,\s*\n+|\n\s*\n[^\W\d_][^\n.!?:,]{{6,36}}[^\W\d_]\n+)\s*({_NAME}(?: {_NAME})?)\s*\Z")


@cache
def _greeted_name(language: str) -> re.Pattern[str]:
    greetings = [word.capitalize().replace("_", " ") for word in lexicon(language).words("greet")]
    if not greetings:
        return NEVER
    return re.compile(rf"(?m)^\W*(?:{alternation(greetings)}),? ({_NAME}(?: {_NAME})?)\s*[,!.:\u2013-]")


@cache
def name_before_title(language: str) -> re.Pattern[str]:
    """Return a pattern for a Chinese, Japanese or Korean name before a title or an honorific."""
    titles = lexicon(language).words("titles_behind")
    if not titles:
        return NEVER
    before = "" if language == "zh" else " ?"
    return re.compile(rf"(?<![가-힣])([一-鿿ァ-ヿー]{{1,5}}|[가-힣]{{2,4}}){before}(?:{alternation(titles)})")


@lru_cache(maxsize=CACHE_SIZE)
def _in_title_case(text: str) -> bool:
    first = [word[0] for word in text.split() if word[0].isalpha()]
    return sum(map(str.isupper, first)) > len(first) / 2


# The pattern begins with the letter and looks behind from there, so that most characters are skipped quickly.
_LONG_NAME = re.compile(
    r"[^\W\d_a-z](?<![.!?\u2026:] [^\n])(?<!^[^\n])(?<!\n[^\n])(?<![\w'\u2019-][^\n])[^\W\d_A-Z]{4,}(?![\w'\u2019-])"
)
_ONE_CASE = ("en", "fr", "es", "pt", "it")  # languages in which names are not inflected
_SAME_START = 3  # letters that both names begin with


def misspelt(before: str, after: str, language: str = "") -> tuple[str, str] | None:
    """Return a capitalised word of `before` and its misspelling in `after`, or None.

    Neither word may occur in the other text. A misspelling has one letter missing, doubled, changed or moved inside the
    word; the last letter may differ only in a `language` whose names are not inflected.
    """
    if not _LONG_NAME.search(after):
        return None
    here, there = (unaccented(fold(side)) for side in (before, after))
    lost = {name for name in _LONG_NAME.findall(before) if name[0].isupper() and unaccented(fold(name)) not in there}
    new = (
        {n for n in _LONG_NAME.findall(after) if n[0].isupper() and unaccented(fold(n)) not in here}
        if lost
        else set[str]()
    )
    return next(((one, other) for one in sorted(lost) for other in sorted(new) if _is_slip(one, other, language)), None)


def _is_slip(one: str, other: str, language: str) -> bool:
    first, second = unaccented(fold(one)), unaccented(fold(other))
    if abs(len(first) - len(second)) > 1 or first[:_SAME_START] != second[:_SAME_START]:
        return False
    if first[-1] != second[-1] and (language not in _ONE_CASE or "s" in (first[-1], second[-1])):
        return False
    begin = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    first, second = first[begin:], second[begin:]
    return first[1:] in (second, second[1:]) or first == second[1:] or first[1::-1] + first[2:] == second
