"""What a text cannot say is not looked for, and that costs no finding."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.gates.folding import fold
from curate.gates.frames import Found, _filled, _found, _frames, framed
from curate.gates.language import _SEGMENTS
from curate.gates.names import _may_have_title, _titled
from curate.gates.number_words import _spelt, _table, in_figures, numbers_told
from curate.gates.phrases import FOLDER, any_of, anywhere, either, lexicon, phrases, says
from curate.gates.phrases.holding import finder, spelt
from curate.gates.units import _table as units_table
from curate.gates.units import quantities
from curate.gates.words import _WORD, of_each_word, words

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
            hit, wanted = says(language, name, text), any_of(language, name).search(text)
            assert (hit and hit.span()) == (wanted and wanted.span()), (name, text)


@pytest.mark.parametrize("name", ["forgets", "form", "machines", "mends", "of_writing", "prompts", "refuses", "ai"])
def test_a_list_of_all_languages_says_what_its_pattern_finds(name: str) -> None:
    """The same word of any language as without the look at what a text holds."""
    for text in (fold(row[side]) for row in ROWS for side in ("input", "output")):
        hit, wanted = says("any", name, text), anywhere(name).search(text)
        assert (hit and hit.span()) == (wanted and wanted.span()), (name, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_pattern_of_words_finds_the_longest_that_stands_there(language: str) -> None:
    """Words that stand together behind their first letter are found as if each were tried, the longest first."""
    for name, listed in lexicon(language).lists.items():
        for words_of_it in (sorted(listed), sorted(word for word in listed if "*" not in word)):
            ordered = sorted(words_of_it, key=lambda word: (-len(word), word))
            plain = [re.escape(word).replace("_", r"\s").replace(r"\*", r"\w*") for word in ordered]
            together, apart = re.compile(either(words_of_it)), re.compile("|".join(plain))
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
        for gate, places in table._of_gate.items():
            rules = list(table._rules_at(places))
            wanted = next(((rule, hit) for rule in rules if (hit := rule.find(text, other, "", known))), None)
            assert table.find(gate, text, other, "") == wanted, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_in_words_are_all_told(language: str) -> None:
    """A text in which no number word begins tells none."""
    values, pattern = _table(language)
    for text in map(fold, texts(language)):
        matches = pattern.findall(text.replace("-", " ")) if pattern else ()
        assert numbers_told(text, language) >= {value for word in matches for value in values[word]}, text


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


def test_half_a_character_hides_no_other() -> None:
    """JSON can escape one; what stands beside it is found."""
    assert finder(["fox"])("a \ud83d fox") == {"fox"}
    assert finder([" fox "], words=True)("a \ud83dfox") == {" fox "}


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
                Found(frame.code, quoted)
                for frame in rows
                for place in _found(frame.place, text)
                for code in codes
                if (quoted := _filled(frame, place, given, code))
            )
            assert framed(gate, text, given, language) == next(filled, None), (gate, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_are_found_at_the_same_places_as_by_their_patterns(language: str) -> None:
    """Cardinals, and quantities with their units, in every text."""
    values, cardinal = _spelt(language)
    units = units_table(language)[1]
    for text in texts(language):
        folded = fold(text)
        if cardinal and not values.keys().isdisjoint(words(text)):
            assert in_figures(text, language) == cardinal.sub(lambda n: values[n[0].replace("-", " ")], folded), text
        wanted = [match[0].strip() for match in units.finditer(folded)]
        assert list(dict.fromkeys(q[2] for q in quantities(text, language))) == list(dict.fromkeys(wanted)), text


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

    of_word = of_each_word(letters)
    long = "QUJD" * 50_000
    assert [of_word(word) for word in ("lamp", "lamp", long, long)] == [4, 4, 200_000, 200_000]
    assert asked == ["lamp", long, long]


@pytest.mark.parametrize("language", [*LANGUAGES, "any"])
def test_a_word_of_letters_is_not_known_by_the_blanks_around_it(language: str) -> None:
    """One between two stars was looked for in every text that has a blank: a gate's dearest look, for `*忘*`."""
    lists = lexicon(language).lists.values()
    spelled = {spelt(word, alone=True) for words_of_it in lists for word in words_of_it if any(map(str.isalnum, word))}
    assert not {string for string in spelled if not string.strip()}
