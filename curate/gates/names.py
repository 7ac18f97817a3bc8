"""The gate on people and houses that a text names and its input does not. It knows no names, so it flags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache

from curate.gates.folding import REMEMBERED, fold, letter_runs
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.near_names import misspelt
from curate.gates.number_words import says_a_day
from curate.gates.phrases import NEVER, lexicon, says, words_of
from curate.gates.phrases.lists import either
from curate.gates.words import count_words, filler, words
from schemas.records import Pair

_CAPITAL = r"[^\W\d_a-zа-яß-ÿ]"
_NAME = rf"{_CAPITAL}[^\W\d_A-Z]+(?:[-'\u2019][^\W\d_]+)?"
_QUOTED_NAME = re.compile(r"(?<=«)([^«»\n.!?,:]{3,30})(?=»)")


@cache
def _titles() -> frozenset[str]:
    """A title of two letters or less is one with a capital only: `5 m` is no Monsieur."""
    small = {title for title in words_of("titles") if len(title) > 2}
    return frozenset(small | {title.capitalize() for title in words_of("titles")})


@cache
def _titled() -> re.Pattern[str]:
    """A title and a name behind it."""
    titles = "|".join(sorted(_titles(), key=lambda t: (-len(t), t)))
    return re.compile(rf"(?<!\w)(?:{titles})\.? ({_NAME}(?: {_NAME})*)")


def _may_have_title(text: str) -> bool:
    """False where no title stands between what are no letters."""
    if text.isascii():
        return not words_of("titles").isdisjoint(letter_runs(fold(text)))
    return not _titles().isdisjoint(letter_runs(text)) or any(t in text for t in _titles() if not t.isalpha())


@cache
def _two_names() -> re.Pattern[str]:
    between = "|".join(sorted(words_of("particles")))
    return re.compile(rf" (?={_CAPITAL})(?<=[\w,] )(?<!\d )({_NAME}(?: (?:{between}))? {_NAME}(?: {_NAME})?)")


def invented_name(pair: Pair, language: str = "en") -> Judgement:
    """No person or house is named that the input does not name: a title with a name, two names in a row, whom the text
    greets and who signs it, in Chinese, Japanese and Korean a name before a title.

    Elsewhere only in scripts with capitals; in German, where every noun has one, not two words in a row.
    Not covered: a single name inside of a text.
    """
    given = _with_spelt_out(pair.input, pair.output, language)
    if name := unknown_name(pair.output, given, language) or _unknown_party(pair.output, given, language):
        return rejected("invented_name", f"the input does not name {quote(name)}")
    if changed := _changed_name(given, pair.output, language):
        return rejected("changed_name", f"the input names {quote(changed[0])}, the output {quote(changed[1])}")
    if changed := misspelt(pair.input, pair.output, language):
        return rejected("changed_name", f"the input names {quote(changed[0])}, the output {quote(changed[1])}")
    if name := _added_name(given, pair.output, language):
        return rejected("invented_name", f"the input does not name {quote(name)}")
    return passed("no name of its own")


def _with_spelt_out(text: str, other: str, language: str) -> str:
    """A text and, in small letters, the names of `other` whose initials are a word of it: `ny` is New York."""
    names = _NAMES.findall(other)
    short = {word for word in words(text) if 1 < len(word) < 5} - lexicon(language).stop if names else ()
    spelt = [fold(name) for name in names if fold("".join(part[0] for part in name.split())) in short]
    return " ".join((text, *spelt))


_NAMES = re.compile(rf"{_NAME}(?: {_NAME})+")


def unknown_name(text: str, other: str, language: str, letters: int = 5) -> str:
    """The first name in `text` no part of which begins with the same `letters` as a part of a word in `other`, or,
    where they are less than 0, is there but for so many at its end; empty if there is none."""
    given = fold(other)
    plain = [] if language == "de" or _in_title_case(text) else [_two_names()]
    quoted = [_QUOTED_NAME] if "«" in text else []
    for pattern in (*([_titled()] if _may_have_title(text) else []), *quoted, *plain):
        for match in pattern.finditer(text):
            if match[1][0].isupper() and _is_new(match[1], given, letters):
                return match[1]
    head = _AT_START.match(text) if plain else None
    if head and head[1][0].isupper() and head[2][0].isupper() and _is_new(head[2], given, letters):
        return head[1]
    return ""


def _unknown_party(text: str, other: str, language: str) -> str:
    """Who is greeted, signs, or has a title behind the name, if `other` does not name them; or ''."""
    given = fold(other)
    for pattern in (_greeted(language), _SIGNED, titled_behind(language)):
        for match in pattern.finditer(text):
            if not says(language, "addressees", fold(match[1])) and _is_new(match[1], given):
                return match[1]
    return ""


def unknown_signer(text: str, other: str, language: str) -> str:
    """Two names that sign a text, and what may be their office below them, if `other` does not name them; or ''."""
    signed = _SIGNED_BY_TWO.search(text) if language != "de" else None
    new = signed and not says(language, "addressees", fold(signed[1])) and _is_new(signed[1], fold(other))
    return signed[1] if signed and new else ""


_SIGNED_BY_TWO = re.compile(rf",\s*\n\s*({_NAME} {_NAME})(?:\n[^\n.!?]{{3,40}})?\s*\Z")


def _changed_name(before: str, after: str, language: str) -> tuple[str, str] | None:
    """A name inside of a sentence that the output lost, and one that it has instead; None where more or fewer changed,
    in German, and where words have capitals for another reason."""
    if language == "de":
        return None
    given, after_folded = fold(before), fold(after)
    known = filler(language)
    lost = {n for n in _ONE_NAME.findall(before) if n[0].isupper() and fold(n)[:_ROOT] not in after_folded}
    new = {
        n for n in _ONE_NAME.findall(after) if n[0].isupper() and fold(n)[:_ROOT] not in given and fold(n) not in known
    }
    if not len(lost) == len(new) == 1 or _in_title_case(before) or _in_title_case(after):
        return None
    changed = lost.pop(), new.pop()
    return None if says_a_day(fold(changed[1]), language) else changed


def _added_name(before: str, after: str, language: str) -> str:
    """A word with a capital inside of a sentence that no word of the input begins like, where the text is not much
    longer than the input; none behind an article, for contracts have capitals there; or ''."""
    if (
        language == "de"
        or (after.isascii() and after.islower())
        or count_words(after) > 2 * count_words(before) + _MORE
    ):
        return ""
    if _in_title_case(before) or _in_title_case(after):
        return ""
    given, known = fold(before), _no_names(language)
    articles = lexicon(language).words("articles")
    for word, inside in _names_inside(after):
        name = fold(inside)
        if (
            inside[0].isupper()
            and name[:_ROOT] not in given
            and name not in known
            and fold(word) not in articles
            and not says_a_day(name, language)
            and not says(language, "addressees", name)
        ):
            return inside
    for match in _NAMED_AT_START.finditer(after):
        name = fold(match[1])
        if match[1][0].isupper() and match[2][0].isupper() and name[:_ROOT] not in given and name not in known:
            days = says_a_day(name, language) or says_a_day(fold(match[2]), language)
            called = says(language, "greet", name) or says(language, "addressees", name)
            if not days and not called and name not in lexicon(language).words("hangs"):
                return match[1]
    return ""


def _names_inside(text: str) -> Iterator[tuple[str, str]]:
    """Each word that begins as a name does behind a word in small letters, which is no name itself, and that word."""
    end = 0
    for match in _NAME_INSIDE.finditer(text):
        if word := _SMALL.match(text[end : match.start()][::-1]):
            end = match.end()
            yield word[0][::-1], match[1]


@cache
def _no_names(language: str) -> frozenset[str]:
    return filler(language) | words_of("capitals") | words_of("titles")


_MORE = 8  # words
_NAMED_AT_START = re.compile(
    r"(?:\A|[.!?\u2026] |\n)([^\W\d_a-zа-яß-ÿ][^\W\d_A-Z]{2,}) ([^\W\d_a-zа-яß-ÿ][^\W\d_A-Z]{2,}) (?=[^\W\d_A-Z])"
)
_NAME_INSIDE = re.compile(rf"[ ,](?={_CAPITAL})(?<=[^\W\d_A-Z][ ,])(.[^\W\d_A-Z]{{2,}}(?!\w))")
_SMALL = re.compile(r"[^\W\d_A-Z]+")
_ONE_NAME = re.compile(rf" (?={_CAPITAL})(?<=[^\W\d_,] )(.[^\W\d_A-Z]{{2,}}(?!\w))")
_ROOT = 3


def _is_new(name: str, given: str, letters: int = 5) -> bool:
    """Whether no part of a name begins like a part of a word in the folded text `given`."""
    parts = [part for part in words(name) if len(part) > 2] if name[0].isupper() else [fold(name)]
    begins = (part[: letters if letters > 0 else max(3, len(part) + letters)] for part in parts)
    return bool(parts) and not any(begin in given for begin in begins)


_AT_START = re.compile(rf"\W*({_NAME} ({_NAME} {_NAME})) [^\W\d_A-Z]")
_SIGNED = re.compile(rf"(?:,\s*\n+|\n\s*\n[^\W\d_][^\n.!?:,]{{6,36}}[^\W\d_]\n+)\s*({_NAME}(?: {_NAME})?)\s*\Z")


@cache
def _greeted(language: str) -> re.Pattern[str]:
    greetings = [word.capitalize().replace("_", " ") for word in lexicon(language).words("greet")]
    if not greetings:
        return NEVER
    return re.compile(rf"(?m)^\W*(?:{either(greetings)}),? ({_NAME}(?: {_NAME})?)\s*[,!.:\u2013-]")


@cache
def titled_behind(language: str) -> re.Pattern[str]:
    """A name of Chinese, Japanese or Korean before a title or an honorific."""
    titles = lexicon(language).words("titles_behind")
    if not titles:
        return NEVER
    before = "" if language == "zh" else " ?"
    return re.compile(rf"(?<![가-힣])([一-鿿ァ-ヿー]{{1,5}}|[가-힣]{{2,4}}){before}(?:{either(titles)})")


@lru_cache(maxsize=REMEMBERED)
def _in_title_case(text: str) -> bool:
    first = [word[0] for word in text.split() if word[0].isalpha()]
    return sum(map(str.isupper, first)) > len(first) / 2
