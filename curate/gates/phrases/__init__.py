"""The phrases and words that gates search for: a table per language (`en.toml`), and `any.toml` for all languages.

    phrases("en").find("preamble", text, other, style)    # the first rule of a table with a match
    lexicon("en").stop                                           # the stop words
    list_pattern("en", "negation").findall(text)                 # the words of a list, in a text
    all_languages_pattern("form").search(text)                   # the words of a list in every language

A language without a file has no phrases and no words: English ones are never applied to its texts. To add a language,
write `<code>.toml` with the sections of `en.toml` you have words for; tests/curate/gates/test_phrases.py checks every
row.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache, reduce
from itertools import chain, repeat
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple

from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.phrases.lists import alternation, pattern_of
from curate.gates.phrases.literals import only_at_start, required_strings, satisfies_any, spans_line_end
from curate.gates.phrases.search import BIT, ListHits, hits_finder, matches, string_finder, strings_for, strings_of
from curate.gates.phrases.subject import end_of_subject
from schemas.records import content_id

FOLDER = Path(__file__).parent
_OTHER_SECTIONS = {
    *("words", "frames", "units", "lists", "letters", "alphabets", "concepts", "groups", "tried", "around"),
    *("irregular", "numbers", "weekdays", "address"),
}


class WordLists(dict[str, frozenset[str]]):
    """The lists of a language that were asked for. Each is split into words then: most languages are asked for one or
    two of their hundred, and the words of all lists of all languages take 5 MB."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__()
        self.texts = texts

    def __missing__(self, name: str) -> frozenset[str]:
        if name not in self.texts:
            return frozenset()
        words = self[name] = frozenset(fold(self.texts[name]).split())
        return words


class Lexicon(NamedTuple):
    """The words of a language as plain data. Any field may be empty. The `lists` are described in en.toml."""

    lists: WordLists = WordLists({})
    irregular: Mapping[str, str] = {}  # form -> base
    ones: Mapping[str, int] = {}
    tens: Mapping[str, int] = {}
    scales: Mapping[str, int] = {}
    links: frozenset[str] = frozenset()
    hints: Mapping[str, tuple[str, ...]] = {}  # a word -> the numbers it may stand for
    before: str = r"(?<!\w)"  # patterns for what precedes and what follows a word of a list
    after: str = r"(?!\w)"

    def words(self, name: str) -> frozenset[str]:
        """Return the words of the list `name`."""
        return self.lists[name]

    @property
    def alone(self) -> bool:
        """Whether a word of a list must have no letter on either side."""
        return (self.before, self.after) == (Lexicon().before, Lexicon().after)

    @property
    def stop(self) -> frozenset[str]:
        """Words that carry no content."""
        return self.words("stop")


@dataclass(frozen=True)
class Rule:
    """One row of a table. `table` is its place (`preamble.opening`); the keys are described at the top of en.toml."""

    table: str
    written: str  # the pattern, compiled at the first text that may match it, because most rules never see one
    if_given: str | None = None
    unless_given: str | None = None
    unless_text: str | None = None
    after_subject: bool = False
    ways: tuple[tuple[frozenset[str], ...], ...] = ((),)  # a match needs a string of each set of one of them
    begins: bool = False
    breaks: bool = False  # every match spans the end of a line
    examples: tuple[Any, ...] = field(default=(), repr=False)
    counterexamples: tuple[Any, ...] = field(default=(), repr=False)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.written)

    def find(self, text: str, other: str, style: str, known: Lexicon = Lexicon()) -> str:  # noqa: B008 (a constant)
        """Return the match in `text`, or '' if there is none or the other side or the style has it too (all folded)."""
        if self.after_subject:
            end = end_of_subject(text, other, known.stop, known.words("articles"))
            match = self.pattern.match(text, end) if end else None
        else:
            match = (self.pattern.match if self.begins else self.pattern.search)(text)
        if match is None:
            return ""
        given = f"{other}\n{style}"
        if (
            (self.if_given and not _compiled(self.if_given).search(given))
            or (self.unless_given and _compiled(self.unless_given).search(given))
            or (self.unless_text and _compiled(self.unless_text).search(text))
        ):
            return ""
        label = match.groupdict().get("label")
        if (label and re.search(rf"\b{re.escape(label)}\b", given)) or match[0].casefold().strip() in given:
            return ""
        return (text[: match.end()] if self.after_subject else match[0]).strip()

    def settings(self) -> list[Any]:
        """Return everything that determines what this rule finds, as JSON."""
        return [self.written, self.if_given, self.unless_given, self.unless_text, self.after_subject]


_compiled = cache(re.compile)


class PhraseMatch(NamedTuple):
    """A rule and the text that it matched."""

    rule: Rule
    quoted: str


@dataclass(frozen=True)
class Phrases:
    """The rules for texts in `language`. `known` is False if only the rules for every language exist."""

    language: str
    known: bool
    rules: tuple[Rule, ...] = field(repr=False)
    digest: str  # changes with every rule, so that verdicts of older rules are not reused

    @cached_property
    def _in_order(self) -> tuple[Rule, ...]:
        """The rules in the order in which they are tried; those that only flag come last."""
        return tuple(sorted(self.rules, key=lambda rule: rule.table.endswith(".maybe")))

    @cached_property
    def _rules_by_gate(self) -> dict[str, int]:
        """The rules of each gate and table as a bit mask over `_in_order`."""
        gates: dict[str, int] = {}
        for place, rule in enumerate(self._in_order):
            for name in {rule.table, rule.table.partition(".")[0]}:
                gates[name] = gates.get(name, 0) | 1 << place
        return gates

    @cached_property
    def _candidates(self) -> Callable[[str], tuple[frozenset[str], int]]:
        """A function that returns the strings in a text, and a bit mask of the rules that may match it."""
        held = string_finder(chain.from_iterable(part for rule in self.rules for way in rule.ways for part in way))
        needing = dict[str, int]()
        for place, rule in enumerate(self._in_order):
            for need in frozenset().union(*(way[0] if way else ("",) for way in rule.ways)):
                needing[need] = needing.get(need, 0) | 1 << place
        always = needing.get("", 0)

        @lru_cache(maxsize=CACHE_SIZE)
        def may_find(text: str) -> tuple[frozenset[str], int]:
            strings = held(text)
            return strings, reduce(or_, map(needing.get, strings, repeat(0)), always)

        return may_find

    def find(self, gate: str, text: str, other: str, style: str) -> PhraseMatch | None:
        """Return the first match of the rules of `gate`, or of one table such as `placeholder.words` (all folded)."""
        held, may = self._candidates(text)
        for rule in self._rules_in_mask(may & self._rules_by_gate.get(gate, 0)):
            if (rule.breaks and "\n" not in text) or not satisfies_any(rule.ways, held):
                continue
            if quoted := rule.find(text, other, style, lexicon(self.language)):
                return PhraseMatch(rule, quoted)
        return None

    def _rules_in_mask(self, mask: int) -> Iterator[Rule]:
        while mask:
            last = mask & -mask
            mask ^= last
            yield self._in_order[last.bit_length() - 1]


@cache
def phrases(language: str) -> Phrases:
    """Return the rules for texts in `language` (ISO 639-1): those for every language, then its own, if any."""
    table = sections(language)
    rules = (*_rules(sections("any")), *_rules(table))
    lists = {name: content for name, content in table.items() if name in _OTHER_SECTIONS}
    digest = content_id("phrases", [[rule.settings() for rule in rules], lists])
    return Phrases(language, any(name not in _OTHER_SECTIONS for name in table), rules, digest)


@cache
def lexicon(language: str) -> Lexicon:
    """Return the word lists, number words and irregular forms of `language`; all empty if it has no file."""
    table = sections(language)
    numbers = table.get("numbers", {})
    return Lexicon(
        WordLists(table.get("lists", {})),
        irregular={form: base for base, forms in table.get("irregular", {}).items() for form in forms.split()},
        ones={word: value for value, word in enumerate(numbers.get("ones", "").split())},
        tens={word: 10 * tens for tens, word in enumerate(numbers.get("tens", "").split(), 2)},
        scales=numbers.get("scales", {}),
        links=frozenset(numbers.get("links", "").split()),
        hints={
            word: tuple(values.split()) for values, text in numbers.get("hints", {}).items() for word in text.split()
        },
        **table.get("around", {}),
    )


NEVER = re.compile(r"\0(?!)")  # a search only looks for the first character


@cache
def list_pattern(language: str, name: str) -> re.Pattern[str]:
    """Return one pattern for the words of a list of `language`, for folded text. It never matches if there are none.

    The syntax of a list is described in curate/gates/phrases/lists.py.
    """
    return re.compile(_pattern_text(language, name) or NEVER.pattern)


@cache
def all_languages_pattern(name: str) -> re.Pattern[str]:
    """Return one pattern for the words of a list in all languages. Meant for words that only let a text pass."""
    listed = [pattern for path in sorted(FOLDER.glob("*.toml")) if (pattern := _pattern_text(path.stem, name))]
    return re.compile(f"(?:{'|'.join(listed)})" if listed else NEVER.pattern)


@cache
def list_finder(language: str) -> Callable[[str], ListHits]:
    """Return a function that finds, in one pass, the lists of a language that a folded text may contain a word of."""
    return hits_finder(_strings(language), _COMMON)


@cache
def _strings(language: str) -> Mapping[str, Mapping[str, bool]]:
    known = lexicon(language)
    return strings_for(
        {name: known.words(name) for name in known.lists.texts if name not in _COMMON}, alone=known.alone
    )


@cache
def _strings_of(language: str, name: str) -> tuple[frozenset[int], frozenset[int]]:
    return strings_of(_strings(language), name)


@cache
def word_finder(name: str, *languages: str) -> Callable[[str], frozenset[str]]:
    """Return a function that finds which strings of one list, in some languages or all, occur in a folded text."""
    strings = set[str]()
    for known in map(lexicon, languages or (path.stem for path in FOLDER.glob("*.toml"))):
        strings.update(strings_for({name: known.words(name)}, alone=known.alone))
    return string_finder(strings, words=True)


# Lists of which almost every text contains a word, and which are seldom searched for in whole texts.
_COMMON = (
    *("stop", "prepositions", "articles", "joins", "asking", "hangs", "cut", "courtesy", "addressees"),
    *("vague", "nothing"),
)


def says(language: str, name: str, folded: str) -> re.Match[str] | None:
    """Return the first word of a list in a folded text; with the language `any`, of the list in all languages."""
    if language == "any":
        return all_languages_pattern(name).search(folded) if word_finder(name)(folded) else None
    hits = list_finder(language)(folded)
    if not hits.lists & BIT[name]:
        return None
    pattern, starts = list_pattern(language, name), _starts(language, name, hits)
    return pattern.search(folded) if starts is None else next(matches(pattern, folded, starts), None)


def find_all(language: str, name: str, folded: str) -> list[re.Match[str]]:
    """Return every word of a list of `language` in a folded text."""
    hits = list_finder(language)(folded)
    if not hits.lists & BIT[name]:
        return []
    pattern, starts = list_pattern(language, name), _starts(language, name, hits)
    return list(pattern.finditer(folded) if starts is None else matches(pattern, folded, starts))


def _starts(language: str, name: str, hits: ListHits) -> list[int] | None:
    """Return where words of a list may start in a text, or None if that is not known."""
    leading, within = _strings_of(language, name)
    if not leading or not within.isdisjoint(hits.strings):
        return None
    return [start for string, start in zip(hits.strings, hits.starts, strict=True) if string in leading]


def says_one(language: str, name: str, folded: str) -> re.Match[str] | None:
    """Same as `says`, but cheaper for a text that is searched for this list only."""
    return list_pattern(language, name).search(folded) if word_finder(name, language)(folded) else None


def is_listed(language: str, name: str, folded: str) -> bool:
    """Whether a folded text consists of nothing but one word of a list of `language`."""
    return _whole(language, name).fullmatch(folded) is not None


@cache
def _whole(language: str, name: str) -> re.Pattern[str]:
    return re.compile(alternation(lexicon(language).words(name)) or NEVER.pattern)


@cache
def words_of(name: str) -> frozenset[str]:
    """Return the words of a list in all languages, as they are listed."""
    return frozenset[str]().union(*(lexicon(path.stem).words(name) for path in FOLDER.glob("*.toml")))


@cache
def unique_letters() -> Mapping[str, frozenset[str]]:
    """Return the letters unique to one language among those of its script, for languages that are easily confused."""
    return {language: frozenset(letters) for language, letters in sections("any")["letters"].items()}


@cache
def extra_letters(language: str) -> frozenset[str]:
    """Return the letters other than a to z of a language in Latin script; none if the language is not listed."""
    return frozenset(sections("any")["alphabets"].get(language, ""))


def _pattern_text(language: str, name: str) -> str:
    known = lexicon(language)
    holders = known.words("holders") if name in _WITH_HOLDERS else ()
    return pattern_of(known.words(name), known.before, known.after, holders)


# Lists of short words whose letters occur inside other words. Those other words are in the list `holders`.
_WITH_HOLDERS = (
    *("negation", "negated", "denial", "denies", "forbidden"),
    *("condition", "conditions", "supposes", "ask_for", "asked", "asks", "begs"),
)


@lru_cache(maxsize=4)  # the rules of other languages need not stay in memory once their words are known
def sections(language: str) -> dict[str, Any]:
    """Return the sections of a language's file; empty if it has none."""
    path = FOLDER / f"{language}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@cache
def fragment(name: str) -> re.Pattern[str]:
    """Return a fragment of [words] in any.toml as a pattern."""
    return re.compile(_fragments(sections("any"))[name])


def _fragments(table: dict[str, Any]) -> dict[str, str]:
    fragments: dict[str, str] = {}
    for name, text in table.get("words", {}).items():
        fragments[name] = _expand(text, fragments)
    return fragments


def _rules(table: dict[str, Any]) -> Iterator[Rule]:
    fragments = _fragments(table)
    for gate, content in table.items():
        if gate in _OTHER_SECTIONS:
            continue
        for name, rows in {"": content}.items() if isinstance(content, list) else content.items():
            yield from (_rule(f"{gate}.{name}".rstrip("."), row, fragments) for row in rows)


def _rule(place: str, row: dict[str, Any], fragments: Mapping[str, str]) -> Rule:
    pattern = _expand(row["pattern"], fragments)
    conditions = {
        key: _expand(row[key], fragments) for key in ("if_given", "unless_given", "unless_text") if key in row
    }
    examples, counterexamples = (tuple(row.get(key, ())) for key in ("examples", "counterexamples"))
    return Rule(
        place,
        pattern,
        **conditions,
        after_subject=row.get("after_subject", False),
        ways=required_strings(pattern),
        begins=only_at_start(pattern),
        breaks=spans_line_end(pattern),
        examples=examples,
        counterexamples=counterexamples,
    )


def _expand(pattern: str, fragments: Mapping[str, str]) -> str:
    """Join the lines of `pattern` where one ends in a backslash, and replace each {name} by its fragment."""
    return re.sub(r"\{([a-z_]+)\}", lambda name: fragments[name[1]], pattern.replace("\\\n", ""))
