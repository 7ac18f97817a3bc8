"""Shortcuts that skip a search which cannot match: they never change what is reported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import pytest

from curate.gates.coverage import max_share_in_two_parts, roots, share
from curate.gates.facts import _TOKEN, _clauses, _token_of
from curate.gates.folding import fold
from curate.gates.frames import FrameMatch, _frames, _matched_text, _parts_at, match_frame
from curate.gates.mixed_language import _SENTENCES
from curate.gates.names import _CAPITAL, _may_have_title, _names_inside, _titled
from curate.gates.number_forms import with_decimal_fractions
from curate.gates.number_words import _dates, _may_name_month, _number_table, _spelt, spelt_out_values, words_to_digits
from curate.gates.phrases import (
    FOLDER,
    all_languages_pattern,
    alternation,
    lexicon,
    list_pattern,
    phrases,
    says,
    says_one,
)
from curate.gates.phrases.search import longest_literal, string_finder
from curate.gates.units import _table as units_table
from curate.gates.units import quantities
from curate.gates.versions import _SENTENCE
from curate.gates.words import _MIN_RATIO, _WORD, Vocabulary, _may_be_alike, cached_per_word, stemmer_for, words

EVERY = 7  # every 7th row
ROWS = [
    row
    for path in sorted((Path(__file__).parents[1] / "rows").glob("*.jsonl"))
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()[::EVERY])
]
LANGUAGES = sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "any")


def texts(language: str) -> Iterator[str]:
    """Texts of a language, and some of other languages, with foreign marks and letters."""
    for number, row in enumerate(ROWS):
        if row["language"] == language or number % 20 == 0:
            yield from (row["input"], row["output"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_word_list_lookup_equals_its_pattern(language: str) -> None:
    """The first match of every list is at the same place as without the shortcut."""
    for text in map(fold, texts(language)):
        for name in lexicon(language).lists.texts:
            hit, expected = says(language, name, text), list_pattern(language, name).search(text)
            assert (hit and hit.span()) == (expected and expected.span()), (name, text)
            alone = says_one(language, name, text[:60])
            expected = list_pattern(language, name).search(text[:60])
            assert (alone and alone.span()) == (expected and expected.span()), (name, text)


@pytest.mark.parametrize("name", ["forgets", "form", "machines", "mends", "of_writing", "prompts", "refuses", "ai"])
def test_all_languages_lookup_equals_its_pattern(name: str) -> None:
    """The first match in any language is the same as without the shortcut."""
    for text in (fold(row[side]) for row in ROWS for side in ("input", "output")):
        hit, expected = says("any", name, text), all_languages_pattern(name).search(text)
        assert (hit and hit.span()) == (expected and expected.span()), (name, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_combined_pattern_matches_the_longest_word(language: str) -> None:
    """A pattern that groups words by their first letter matches as if each were tried, longest first."""
    for listed in map(lexicon(language).words, lexicon(language).lists.texts):
        for words_of_it in (sorted(listed), sorted(word for word in listed if "*" not in word)):
            ordered = sorted(words_of_it, key=lambda word: (-len(word), word))
            plain = [re.escape(word).replace("_", r"\s").replace(r"\*", r"\w*") for word in ordered]
            grouped, separate = re.compile(alternation(words_of_it)), re.compile("|".join(plain))
            for text in (word.replace("_", " ").replace("*", "ing") + end for word in ordered for end in ("", "s a")):
                hit, expected = grouped.search(text), separate.search(text)
                assert (hit and hit.span()) == (expected and expected.span()), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_rule_table_equals_trying_each_rule(language: str) -> None:
    """The first matching rule and its words are the same as if every rule were tried."""
    known, table = lexicon(language), phrases(language)
    for row in ROWS:
        if row["language"] != language:
            continue
        text, other = fold(row["output"]), fold(row["input"])
        for gate, places in table._rules_by_gate.items():
            rules = list(table._rules_in_mask(places))
            expected = next(((rule, hit) for rule in rules if (hit := rule.find(text, other, "", known))), None)
            assert table.find(gate, text, other, "") == expected, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_number_word_is_missed(language: str) -> None:
    """The values of all number words that the full pattern matches are reported."""
    values, pattern = _number_table(language)
    for text in map(fold, texts(language)):
        matches = pattern.findall(text.replace("-", " ")) if pattern else ()
        assert spelt_out_values(text, language) >= {value for word in matches for value in values[word]}, text


def test_fast_word_splitting_equals_the_pattern() -> None:
    """ASCII text is split at punctuation, keeping apostrophes within words, as by the pattern for any script."""
    given = [
        "it's 'tis the dogs' o''clock rock'n'roll _a_b 5' 6\" x'",
        *(t for row in ROWS for t in (row["input"], row["output"])),
    ]
    for text in given:
        assert list(words(text)) == _WORD.findall(fold(text)), text


def test_title_precheck_misses_no_title() -> None:
    """Also after an apostrophe, in brackets and before a full stop."""
    for text in ("l'Mr. Holt came", "(Dr Anna Weiss)", "Then Mrs. Lee", *(row["output"] for row in ROWS)):
        assert _may_have_title(text) or not _titled().search(text), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_date_precheck_misses_no_date(language: str) -> None:
    """A text without a month's name has no date with one."""
    months, pattern = _dates(language)
    days = (f"on 3 {month} and {month} 4, {month}3 {month}'s" for month in months)
    for text in map(fold, (*texts(language), *days)):
        assert _may_name_month(text, language) or not pattern or not pattern.search(text), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_upper_bound_on_the_share_in_two_parts_holds(language: str) -> None:
    """However a text is split into sentences, the second-highest share of the input in any of them is at most the bound
    computed from all words."""
    for row in ROWS:
        whole, parts = roots(row["input"], language), _SENTENCE.split(row["output"])
        shares = sorted(share(whole, roots(part, language)) for part in parts)
        assert len(parts) < 2 or not whole or shares[-2] <= max_share_in_two_parts(whole, row["output"], language), row[
            "output"
        ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_clauses_with_a_number_equal_those_of_a_full_parse(language: str) -> None:
    """Numbers and the words next to them are the same although the other clauses are skipped."""
    for text in (*texts(language), "3.5 kg, 4,000 m\n5 cm; 6:30, at 7.\n300 or 1\n234", "m² 2, ² 3 ٣,٤ ½"):
        clauses: list[list[str]] = [[]]
        for token in map(_token_of(language), _TOKEN.findall(fold(text))):
            if token == ".":
                clauses.append([])
            elif token is not None:
                clauses[-1].append(token)
        numbered, of_numbered = (
            [clause for clause in side if any(map(str.isdigit, clause))] for side in (clauses, _clauses(text, language))
        )
        assert numbered == of_numbered, text


def test_names_within_sentences_equal_those_of_the_pattern() -> None:
    """A name after a lower-case word is matched as by one pattern for both, and one after another name is not."""
    pattern = re.compile(rf"([^\W\d_A-Z]+)[ ,]+(?<=[^\W\d_A-Z][ ,])({_CAPITAL}[^\W\d_A-Z]{{2,}}(?!\w))")
    given = ["the Big Apple Pie of old Mc Donald, Ann,Bob and iPhone Max", "при Анне Ивановой x1 Abc"]
    for text in (*given, *(row[side] for row in ROWS for side in ("input", "output"))):
        assert list(_names_inside(text)) == pattern.findall(text), text


def test_spelling_precheck_skips_no_similar_word() -> None:
    """No word that is similar enough is skipped for having too few letters in common."""
    every = sorted({word for row in ROWS for word in words(row["output"]) if 5 < len(word) < 12})[::9]
    for word, other in ((one, other) for one in every for other in every if one[0] == other[0]):
        if abs(len(word) - len(other)) <= 2 and not _may_be_alike(word, set(word), other):
            assert SequenceMatcher(None, word, other, autojunk=False).quick_ratio() < _MIN_RATIO, (word, other)


def test_joined_neighbours_are_looked_up_by_their_beginning() -> None:
    """All pairs of adjacent words, joined, that begin with the same two letters, and no others."""
    for row in ROWS:
        vocabulary, tokens = Vocabulary(row["output"]), words(row["output"])
        joined = list(map("".join, pairwise(tokens)))
        for word in words(row["input"]):
            alike = [stemmer_for("en")(one) for one in joined if len(word) > 1 and one[:2] == word[:2]]
            for root in (stemmer_for("en")(word), *alike[-1:]):
                assert vocabulary._is_joined(word, root) == (root in alike), (word, root)


def test_lone_surrogate_hides_no_neighbouring_text() -> None:
    """JSON can escape one; the text next to it is still matched."""
    assert string_finder(["fox"])("a \ud83d fox") == {"fox"}
    assert string_finder([" fox "], words=True)("a \ud83dfox") == {" fox "}


@pytest.mark.parametrize("language", LANGUAGES)
def test_frame_matching_equals_trying_every_place(language: str) -> None:
    """The first frame that some place of a text fills is the same as if every place were tried."""
    codes = dict.fromkeys((language, "en"))
    for row in ROWS:
        if row["language"] != language:
            continue
        text, given = fold(row["output"]), fold(row["input"])
        for gate, rows in _frames().items():
            filled = (
                FrameMatch(frame.code, quoted)
                for frame in rows
                if not frame.kinds or row["kind"] in frame.kinds
                for place in _parts_at(frame.place, text)
                for code in codes
                if (quoted := _matched_text(frame, place, given, code))
            )
            assert match_frame(gate, text, given, language, row["kind"]) == next(filled, None), (gate, text)


_GROUPS = re.compile(r"^\d{1,3}(?:[ ']\d{3})*[ '](?=\d{3}(?!\d))")  # before the last group, which the pattern matches


@pytest.mark.parametrize("language", LANGUAGES)
def test_fast_number_search_equals_the_patterns(language: str) -> None:
    """Cardinals, and quantities with units, in every text."""
    values, cardinal = _spelt(language)
    units = units_table(language)[1]
    for text in texts(language):
        folded = fold(text)
        if cardinal and not values.keys().isdisjoint(words(text)):
            assert words_to_digits(text, language) == cardinal.sub(lambda n: values[n[0].replace("-", " ")], folded), (
                text
            )
        expected = [match[0].strip() for match in units.finditer(with_decimal_fractions(folded))]
        matched = [_GROUPS.sub("", quantity[2]) for quantity in quantities(text, language)]
        assert list(dict.fromkeys(matched)) == list(dict.fromkeys(expected)), text


def test_sentences_are_split_after_stops_and_at_line_ends() -> None:
    """Whitespace after a stop is dropped."""
    cut = re.compile("(?<=[.!?…。\uff01\uff1f।؟])\\s*|\\n+")
    for row in ROWS:
        for text in (row["input"], row["output"], "\n " + row["output"].replace(". ", ".\n\n ")):
            sentences = [marked or bare for marked, bare in _SENTENCES.findall(text)]
            assert sentences == [part for part in cut.split(text) if part], text


def test_long_words_are_not_cached() -> None:
    """A base64 file is one word, and thousands of rows with such words would fill the memory."""
    calls = list[str]()

    def letters(word: str) -> int:
        calls.append(word)
        return len(word)

    of_word = cached_per_word(letters)
    long = "QUJD" * 50_000
    assert [of_word(word) for word in ("lamp", "lamp", long, long)] == [4, 4, 200_000, 200_000]
    assert calls == ["lamp", long, long]


@pytest.mark.parametrize("language", [*LANGUAGES, "any"])
def test_literal_of_a_word_is_not_a_space(language: str) -> None:
    """A word between two asterisks, such as `*忘*`, was searched for in every text that contains a space: the most
    expensive search of a gate."""
    lists = map(lexicon(language).words, lexicon(language).lists.texts)
    literals = {
        longest_literal(word, alone=True)
        for words_of_it in lists
        for word in words_of_it
        if any(map(str.isalnum, word))
    }
    assert not {string for string in literals if not string.strip()}
