"""What a text cannot say is not looked for, and that costs no finding."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path

import pytest

from curate.gates.coverage import max_share_in_two_parts, roots, share
from curate.gates.facts import _TOKEN, _clauses, _token_of, _tokens
from curate.gates.folding import fold
from curate.gates.frames import FrameMatch, _frames, _matched_text, _parts_at, match_frame
from curate.gates.language import _SEGMENTS
from curate.gates.names import _CAPITAL, _may_have_title, _names_inside, _titled
from curate.gates.number_words import _dates, _may_contain, _number_table, _spelt, spelt_out_values, words_to_digits
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
from curate.gates.words import _MIN_RATIO, _WORD, Vocabulary, _may_be_alike, cached_per_word, words

EVERY = 7  # th row
ROWS = [
    row
    for path in sorted((Path(__file__).parent / "rows").glob("*.jsonl"))
    for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()[::EVERY])
]
LANGUAGES = sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "any")


def texts(language: str) -> Iterator[str]:
    """Texts of a language, and some of others, whose marks and letters are not its own."""
    for number, row in enumerate(ROWS):
        if row["language"] == language or number % 20 == 0:
            yield from (row["input"], row["output"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_list_says_what_its_pattern_finds(language: str) -> None:
    """The first word of every list, at the same place as without the look at what a text holds."""
    for text in map(fold, texts(language)):
        for name in lexicon(language).lists:
            hit, wanted = says(language, name, text), list_pattern(language, name).search(text)
            assert (hit and hit.span()) == (wanted and wanted.span()), (name, text)
            alone = says_one(language, name, text[:60])
            wanted = list_pattern(language, name).search(text[:60])
            assert (alone and alone.span()) == (wanted and wanted.span()), (name, text)


@pytest.mark.parametrize("name", ["forgets", "form", "machines", "mends", "of_writing", "prompts", "refuses", "ai"])
def test_a_list_of_all_languages_says_what_its_pattern_finds(name: str) -> None:
    """The same word of any language as without the look at what a text holds."""
    for text in (fold(row[side]) for row in ROWS for side in ("input", "output")):
        hit, wanted = says("any", name, text), all_languages_pattern(name).search(text)
        assert (hit and hit.span()) == (wanted and wanted.span()), (name, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_pattern_of_words_finds_the_longest_that_stands_there(language: str) -> None:
    """Words that stand together behind their first letter are found as if each were tried, the longest first."""
    for name, listed in lexicon(language).lists.items():
        for words_of_it in (sorted(listed), sorted(word for word in listed if "*" not in word)):
            ordered = sorted(words_of_it, key=lambda word: (-len(word), word))
            plain = [re.escape(word).replace("_", r"\s").replace(r"\*", r"\w*") for word in ordered]
            together, apart = re.compile(alternation(words_of_it)), re.compile("|".join(plain))
            for text in (word.replace("_", " ").replace("*", "ing") + end for word in ordered for end in ("", "s a")):
                hit, wanted = together.search(text), apart.search(text)
                assert (hit and hit.span()) == (wanted and wanted.span()), (name, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_table_finds_what_its_rules_find_one_by_one(language: str) -> None:
    """The first rule that finds something, and the same words, as if every rule were tried."""
    known, table = lexicon(language), phrases(language)
    for row in ROWS:
        if row["language"] != language:
            continue
        text, other = fold(row["output"]), fold(row["input"])
        for gate, places in table._rules_by_gate.items():
            rules = list(table._rules_in_mask(places))
            wanted = next(((rule, hit) for rule in rules if (hit := rule.find(text, other, "", known))), None)
            assert table.find(gate, text, other, "") == wanted, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_in_words_are_all_told(language: str) -> None:
    """A text in which no number word begins tells none."""
    values, pattern = _number_table(language)
    for text in map(fold, texts(language)):
        matches = pattern.findall(text.replace("-", " ")) if pattern else ()
        assert spelt_out_values(text, language) >= {value for word in matches for value in values[word]}, text


def test_words_of_plain_letters_are_those_of_the_pattern() -> None:
    """In ASCII they are split at marks, with apostrophes inside of words, as the pattern for any script has it."""
    given = [
        "it's 'tis the dogs' o''clock rock'n'roll _a_b 5' 6\" x'",
        *(t for row in ROWS for t in (row["input"], row["output"])),
    ]
    for text in given:
        assert list(words(text)) == _WORD.findall(fold(text)), text


def test_a_title_is_seen_where_one_stands() -> None:
    """Behind an apostrophe, in brackets and before a stop too."""
    for text in ("l'Mr. Holt came", "(Dr Anna Weiss)", "Then Mrs. Lee", *(row["output"] for row in ROWS)):
        assert _may_have_title(text) or not _titled().search(text), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_date_is_seen_where_one_stands(language: str) -> None:
    """A text none of whose words is a month has no day beside one."""
    months, pattern = _dates(language)
    days = (f"on 3 {month} and {month} 4, {month}3 {month}'s" for month in months)
    for text in map(fold, (*texts(language), *days)):
        assert _may_contain(months, text) or not pattern or not pattern.search(text), text


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_parts_of_a_text_say_no_more_than_its_words_do(language: str) -> None:
    """Wherever a text is parted, the part that says less of another one says at most what was told from all words."""
    for row in ROWS:
        whole, parts = roots(row["input"], language), _SENTENCE.split(row["output"])
        shares = sorted(share(whole, roots(part, language)) for part in parts)
        assert len(parts) < 2 or not whole or shares[-2] <= max_share_in_two_parts(whole, row["output"], language), row[
            "output"
        ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_clauses_with_a_number_are_those_of_the_whole_text(language: str) -> None:
    """Numbers and the words beside them are the same where the other clauses are not read."""
    for text in (*texts(language), "3.5 kg, 4,000 m\n5 cm; 6:30, at 7.\n300 or 1\n234", "m² 2, ² 3 ٣,٤ ½"):
        every = [token for one in _TOKEN.findall(fold(text)) if (token := _token_of(language)(one)) is not None]
        sides = (
            [clause for clause in _clauses(side) if any(map(str.isdigit, clause))]
            for side in (every, _tokens(text, language))
        )
        assert next(sides) == next(sides), text


def test_names_inside_of_sentences_are_those_of_the_pattern() -> None:
    """A name is found behind the same word as by one pattern for both, and not behind another name."""
    pattern = re.compile(rf"([^\W\d_A-Z]+)[ ,]+(?<=[^\W\d_A-Z][ ,])({_CAPITAL}[^\W\d_A-Z]{{2,}}(?!\w))")
    given = ["the Big Apple Pie of old Mc Donald, Ann,Bob and iPhone Max", "при Анне Ивановой x1 Abc"]
    for text in (*given, *(row[side] for row in ROWS for side in ("input", "output"))):
        assert list(_names_inside(text)) == pattern.findall(text), text


def test_a_misspelt_word_is_not_passed_over() -> None:
    """No word that is alike in most letters lacks too many of them."""
    every = sorted({word for row in ROWS for word in words(row["output"]) if 5 < len(word) < 12})[::9]
    for word, other in ((one, other) for one in every for other in every if one[0] == other[0]):
        if abs(len(word) - len(other)) <= 2 and not _may_be_alike(word, set(word), other):
            assert SequenceMatcher(None, word, other, autojunk=False).quick_ratio() < _MIN_RATIO, (word, other)


def test_neighbours_are_found_by_how_they_begin() -> None:
    """Each two words that stand side by side, written as one, and no others."""
    for row in ROWS:
        vocabulary, tokens = Vocabulary(row["output"]), words(row["output"])
        joined = list(map("".join, pairwise(tokens)))
        for word in words(row["input"]):
            assert list(vocabulary._joined_like(word)) == [one for one in joined if one[:2] == word[:2]], word


def test_half_a_character_hides_no_other() -> None:
    """JSON can escape one; what stands beside it is found."""
    assert string_finder(["fox"])("a \ud83d fox") == {"fox"}
    assert string_finder([" fox "], words=True)("a \ud83dfox") == {" fox "}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_frame_finds_what_it_finds_without_a_look_at_the_whole_text(language: str) -> None:
    """The first frame that a place of a text fills, as if every place were looked at."""
    codes = dict.fromkeys((language, "en"))
    for row in ROWS:
        if row["language"] != language:
            continue
        text, given = fold(row["output"]), fold(row["input"])
        for gate, rows in _frames().items():
            filled = (
                FrameMatch(frame.code, quoted)
                for frame in rows
                for place in _parts_at(frame.place, text)
                for code in codes
                if (quoted := _matched_text(frame, place, given, code))
            )
            assert match_frame(gate, text, given, language) == next(filled, None), (gate, text)


_GROUPS = re.compile(r"^\d{1,3}(?:[ ']\d{3})*[ '](?=\d{3}(?!\d))")  # in front of the last one, which the pattern finds


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_are_found_at_the_same_places_as_by_their_patterns(language: str) -> None:
    """Cardinals, and quantities with their units, in every text."""
    values, cardinal = _spelt(language)
    units = units_table(language)[1]
    for text in texts(language):
        folded = fold(text)
        if cardinal and not values.keys().isdisjoint(words(text)):
            assert words_to_digits(text, language) == cardinal.sub(lambda n: values[n[0].replace("-", " ")], folded), (
                text
            )
        wanted = [match[0].strip() for match in units.finditer(folded)]
        seen = [_GROUPS.sub("", quantity[2]) for quantity in quantities(text, language)]
        assert list(dict.fromkeys(seen)) == list(dict.fromkeys(wanted)), text


def test_sentences_of_a_text_are_those_between_its_stops() -> None:
    """Cut behind a stop or at the end of a line, white space behind a stop left out."""
    cut = re.compile("(?<=[.!?…。\uff01\uff1f।؟])\\s*|\\n+")
    for row in ROWS:
        for text in (row["input"], row["output"], "\n " + row["output"].replace(". ", ".\n\n ")):
            sentences = [marked or bare for marked, bare in _SEGMENTS.findall(text)]
            assert sentences == [part for part in cut.split(text) if part], text


def test_long_words_are_not_remembered() -> None:
    """A file in base64 is one word, and thousands of rows with one each would fill the memory."""
    asked = list[str]()

    def letters(word: str) -> int:
        asked.append(word)
        return len(word)

    of_word = cached_per_word(letters)
    long = "QUJD" * 50_000
    assert [of_word(word) for word in ("lamp", "lamp", long, long)] == [4, 4, 200_000, 200_000]
    assert asked == ["lamp", long, long]


@pytest.mark.parametrize("language", [*LANGUAGES, "any"])
def test_a_word_of_letters_is_not_known_by_the_blanks_around_it(language: str) -> None:
    """One between two stars was looked for in every text that has a blank: a gate's dearest look, for `*忘*`."""
    lists = lexicon(language).lists.values()
    spelled = {
        longest_literal(word, alone=True)
        for words_of_it in lists
        for word in words_of_it
        if any(map(str.isalnum, word))
    }
    assert not {string for string in spelled if not string.strip()}
