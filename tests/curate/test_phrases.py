"""Every row of the tables of phrases, tried on its own examples, and languages that have no table."""

from __future__ import annotations

import re
from typing import Any

import pytest

from curate.gates.chat import answered, preamble, thinking
from curate.gates.content import lost_content
from curate.gates.form import echo, repetition
from curate.gates.phrases import FOLDER, Lexicon, Rule, lexicon, phrases
from curate.gates.words import fold
from schemas.records import Imported, Pair

LANGUAGES = sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "any")
ROWS = [(language, rule) for language in LANGUAGES for rule in phrases(language).rules]
UNWRITTEN = "xx"


def row_id(row: tuple[str, Rule]) -> str:
    return f"{row[0]}-{row[1].table}-{row[1].pattern.pattern[:30]}"


def case(given: Any) -> tuple[str, str, str]:
    """Text, other side and style of an example, folded; an example is a text or a table."""
    table = {"text": given} if isinstance(given, str) else given
    assert table.keys() <= {"text", "other", "style"}
    return fold(table["text"]).strip(), fold(table.get("other", "")), fold(table.get("style", ""))


def hits(language: str, gate: str, given: Any) -> list[Rule]:
    """The rules of one gate that find something."""
    text, other, style = case(given)
    rules = [rule for rule in phrases(language).rules if rule.table.split(".")[0] == gate]
    return [rule for rule in rules if rule.find(text, other, style, lexicon(language).stop)]


def pair(input: str, output: str) -> Pair:
    return Pair(seed_id="s", input=input, output=output, system="", origin=Imported(source="test"))


def test_there_are_tables() -> None:
    """English has phrases and words; what holds for every language is among its rules."""
    assert "en" in LANGUAGES
    assert phrases("en").known
    assert {rule.table for rule in phrases(UNWRITTEN).rules} == {"preamble.marker", "preamble.leak", "thinking.tag"}
    assert all(rule in phrases("en").rules for rule in phrases(UNWRITTEN).rules)


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_a_row_finds_its_examples(row: tuple[str, Rule]) -> None:
    """Each example is found by the rule it stands beside; a row without one is not accepted."""
    language, rule = row
    assert rule.examples, "a rule without an example cannot be reviewed"
    for example in rule.examples:
        assert rule in hits(language, rule.table.split(".")[0], example), example


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_a_row_leaves_its_counterexamples_alone(row: tuple[str, Rule]) -> None:
    """No counterexample is found by its rule; a row without one is not accepted."""
    _, rule = row
    assert rule.counterexamples, "a rule without a counterexample was never asked what it must leave alone"
    for counterexample in rule.counterexamples:
        text, other, style = case(counterexample)
        assert rule.find(text, other, style, lexicon(row[0]).stop) == "", counterexample


@pytest.mark.parametrize("row", [row for row in ROWS if not row[1].after_subject], ids=row_id)
def test_what_the_style_says_is_not_held_against_a_text(row: tuple[str, Rule]) -> None:
    """A house style that asks for a phrase in its own words gets it."""
    language, rule = row
    for example in rule.examples:
        text, other, style = case(example)
        assert rule.find(text, other, f"{style}\n{text}", lexicon(language).stop) == ""


def test_the_digest_changes_with_the_rules() -> None:
    """Two languages of different rules have different digests, so a verdict is never taken for another table's."""
    assert phrases("en").digest != phrases(UNWRITTEN).digest == phrases("zz").digest


def test_a_language_without_a_table_gets_no_english_phrases_and_says_so() -> None:
    """English phrases are not looked for in the text of another language; the gate's reason says what was not done."""
    chat = "Sure! Here is the rewritten prompt: I would be happy to draw a fox"
    for gate in (preamble, answered):
        assert gate(pair("a fox", chat), language="en").keep is False
        assert gate(pair("a fox", chat), language="de").keep is True
        judgement = gate(pair("a fox", chat), language="sv")
        assert judgement.keep is True
        assert "not looked for: no phrases of 'sv' yet" in str(judgement.reason)
    assert "not looked for" not in preamble(pair("a fox", "a fox in snow"), language="en").reason.detail


def test_marks_of_a_chat_template_are_seen_in_every_language() -> None:
    """What a template or a reasoning model leaves behind is no phrase of a language."""
    for text in ("ein Fuchs im Schnee<|im_end|>", "<think>Ein Fuchs.</think> ein Fuchs", "雪中的狐狸</s>"):
        gates = (preamble, thinking)
        assert any(gate(pair("Fuchs", text), language="sv").keep is False for gate in gates)


def test_a_language_without_words_has_an_empty_lexicon() -> None:
    """No stop word, number word or irregular form of English is known in another language."""
    assert lexicon(UNWRITTEN) == Lexicon()
    english = lexicon("en")
    assert {"the", "of"} <= english.stop
    assert "please" in english.asking
    assert (english.ones["three"], english.tens["ninety"]) == (3, 90)


def test_english_words_are_not_those_of_another_language() -> None:
    """Dutch `of`, German `die`, `war` and `also`, French `on` and `or` carry their own weight."""
    assert lost_content(pair("elf", "ein Zwerg"), language="de").keep is False
    assert echo(pair("an der See", "An der See!"), language="de").keep is False
    text = "war an war an war an war an war an war an war an war an war an war an"
    assert repetition(pair("x", text), language="de").keep is False


def test_every_rule_reads_folded_text() -> None:
    """A capital letter in a pattern would never match: texts are folded first."""
    for _, rule in ROWS:
        plain = re.sub(r"\\.|\(\?P[<=]\w+[>)]", "", rule.pattern.pattern)
        assert plain == plain.lower()
