"""What a text cannot say is not looked for, and that costs no finding."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.gates.folding import fold
from curate.gates.names import _may_have_title, _titled
from curate.gates.number_words import _table, numbers_told
from curate.gates.phrases import FOLDER, any_of, lexicon, phrases, says
from curate.gates.phrases.holding import finder
from curate.gates.words import _WORD, words

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
            found, wanted = says(language, name, text), any_of(language, name).search(text)
            assert (found and found.span()) == (wanted and wanted.span()), (name, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_table_finds_what_its_rules_find_one_by_one(language: str) -> None:
    """The first rule that finds something, and the same words, as if every rule were tried."""
    known, table = lexicon(language), phrases(language)
    for row in ROWS:
        if row["language"] != language:
            continue
        text, other = fold(row["output"]), fold(row["input"])
        for gate, rules in table._by_gate.items():
            wanted = next(((rule, said) for rule in rules if (said := rule.find(text, other, "", known))), None)
            assert table.find(gate, text, other, "") == wanted, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_in_words_are_all_told(language: str) -> None:
    """A text in which no number word begins tells none."""
    values, pattern = _table(language)
    for text in map(fold, texts(language)):
        found = pattern.findall(text.replace("-", " ")) if pattern else ()
        assert numbers_told(text, language) >= {value for word in found for value in values[word]}, text


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
