"""Every row of the tables of phrases, tried on its own examples, and languages that have no table."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.gates.chat import answered, preamble, thinking
from curate.gates.content import lost_content
from curate.gates.folding import fold
from curate.gates.form import echo, repetition
from curate.gates.phrases import FOLDER, Lexicon, Rule, lexicon, list_pattern, phrases
from curate.gates.phrases.literals import only_at_start, required_strings, spans_line_end
from curate.gates.record_fields import unfilled_field
from tests.curate.tiny import pair

LANGUAGES = sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "any")
UNWRITTEN = "xx"


def rules_of_all() -> list[Rule]:
    """Those of every language; what holds for all of them is there once for each."""
    return [rule for language in LANGUAGES for rule in phrases(language).rules]


def place(rule: Rule) -> str:
    return f"{rule.table}: {rule.written}"


def case(given: Any, rule: Rule) -> tuple[str, str, str]:
    """Text, other side and style of an example, folded, but for a text in which slots are looked for; an example is a
    text or a table."""
    table = {"text": given} if isinstance(given, str) else given
    assert table.keys() <= {"text", "other", "style"}
    text = table["text"] if is_cased(rule) else fold(table["text"])
    return text.strip(), fold(table.get("other", "")), fold(table.get("style", ""))


def is_cased(rule: Rule) -> bool:
    return rule.table.startswith("placeholder")


def test_there_are_tables() -> None:
    """English has phrases and words; what holds for every language is among its rules."""
    assert "en" in LANGUAGES
    assert phrases("en").known
    everywhere = {"preamble.marker", "preamble.leak", "preamble.maybe", "preamble.empty", "preamble.opening"}
    everywhere |= {"preamble.options", "preamble.title", "refusal.maybe"}
    everywhere |= {"placeholder.mark", "placeholder.maybe", "thinking.tag", "thinking.summary", "thinking.maybe"}
    assert {rule.table for rule in phrases(UNWRITTEN).rules} == everywhere
    assert all(rule in phrases("en").rules for rule in phrases(UNWRITTEN).rules)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_row_finds_its_examples(language: str) -> None:
    """Each example is found by the rule it stands beside; a row without one is not accepted."""
    rules, known = phrases(language).rules, lexicon(language)
    unread = [place(rule) for rule in rules if not rule.examples]
    assert not unread, "a rule without an example cannot be reviewed"
    assert not [(place(rule), ex) for rule in rules for ex in rule.examples if not rule.find(*case(ex, rule), known)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_row_leaves_its_counterexamples_alone(language: str) -> None:
    """No counterexample is found by its rule; a row without one is not accepted."""
    rules, known = phrases(language).rules, lexicon(language)
    untried = [place(rule) for rule in rules if not rule.counterexamples]
    assert not untried, "a rule without a counterexample was never asked what it must leave alone"
    assert not [(place(rule), ex) for rule in rules for ex in rule.counterexamples if rule.find(*case(ex, rule), known)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_style_says_is_not_held_against_a_text(language: str) -> None:
    """A house style that asks for a phrase in its own words gets it."""
    held = []
    for rule in phrases(language).rules:
        for example in () if rule.after_subject else rule.examples:
            text, other, style = case(example, rule)
            if rule.find(text, other, f"{style}\n{fold(text)}", lexicon(language)):
                held.append((place(rule), example))
    assert not held


def test_the_digest_changes_with_the_rules() -> None:
    """Two languages of different rules have different digests, so a verdict is never taken for another table's."""
    assert phrases("en").digest != phrases(UNWRITTEN).digest == phrases("zz").digest


def test_a_language_without_a_table_gets_no_english_phrases_and_says_so() -> None:
    """English phrases are not looked for in the text of another language; the gate's reason says what was not done."""
    chat = "Sure! Here is the rewritten prompt: I would be happy to draw a fox"
    for gate in (preamble, answered):
        assert gate(pair("a fox", chat), language="en").keep is False
        assert gate(pair("a fox", chat), language="de").keep is True
        judgement = gate(pair("a fox", chat), language="et")
        assert judgement.keep is True
        assert "not checked: there are no phrases for 'et' yet" in str(judgement.reason)
    assert "not checked" not in preamble(pair("a fox", "a fox in snow"), language="en").reason.detail


def test_marks_of_a_chat_template_are_seen_in_every_language() -> None:
    """What a template or a reasoning model leaves behind is no phrase of a language."""
    for text in ("ein Fuchs im Schnee<|im_end|>", "<think>Ein Fuchs.</think> ein Fuchs", "雪中的狐狸</s>"):
        gates = (preamble, thinking)
        assert any(gate(pair("Fuchs", text), language="et").keep is False for gate in gates)


def test_a_language_without_words_has_an_empty_lexicon() -> None:
    """No stop word, number word or irregular form of English is known in another language."""
    assert lexicon(UNWRITTEN) == Lexicon()
    english = lexicon("en")
    assert {"the", "of"} <= english.stop
    assert "please" in english.words("asking")
    assert (english.ones["three"], english.tens["ninety"]) == (3, 90)


def test_english_words_are_not_those_of_another_language() -> None:
    """Dutch `of`, German `die`, `war` and `also`, French `on` and `or` carry their own weight."""
    assert lost_content(pair("elf", "ein Zwerg"), language="de").keep is False
    assert echo(pair("an der See", "An der See!"), language="de").keep is False
    text = "war an war an war an war an war an war an war an war an war an war an"
    assert repetition(pair("x", text), language="de").keep is False


def test_every_rule_reads_folded_text() -> None:
    """A capital letter in a pattern would never match: texts are folded first."""
    for rule in (rule for rule in rules_of_all() if not is_cased(rule)):
        plain = re.sub(r"\\.|\(\?P[<=]\w+[>)]", "", rule.written)
        assert plain == plain.lower()


@pytest.mark.parametrize("language", ["any", *LANGUAGES])
def test_a_list_finds_its_example_and_leaves_its_counterexample(language: str) -> None:
    """Every list of words that is searched in texts stands beside a text that it finds and one that it leaves alone."""
    table = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
    assert table["tried"].keys() <= table["lists"].keys()
    for name, (finds, leaves) in table["tried"].items():
        for text in finds:
            assert list_pattern(language, name).search(fold(text)), (name, text)
        for text in leaves:
            assert not list_pattern(language, name).search(fold(text)), (name, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_rule_needs_stands_in_what_it_finds(language: str) -> None:
    """A text without any of the strings that a pattern needs is not searched: that costs no finding."""
    for rule in phrases(language).rules:
        for example in rule.examples:
            text, _, _ = case(example, rule)
            if match := rule.pattern.search(text):
                assert holds_a_way(rule, match[0]), (place(rule), example)
                assert not rule.begins or match.start() == 0 or rule.after_subject, (place(rule), example)
                assert not rule.breaks or "\n" in match[0], (place(rule), example)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_a_rule_matches_holds_what_it_needs(data: st.DataObject) -> None:
    """Also what no example says: a text that is refused unsearched is one in which the pattern finds nothing."""
    rule = data.draw(st.sampled_from(rules_of_all()))
    text = data.draw(st.from_regex(rule.pattern))
    for match in rule.pattern.finditer(text):
        assert holds_a_way(rule, match[0])


def holds_a_way(rule: Rule, text: str) -> bool:
    """Whether a text holds, of one way in which a rule may match, a string of each set."""
    return any(all(any(string in text for string in strings) for strings in way) for way in rule.ways)


def test_needs_are_read_from_a_pattern() -> None:
    """The longest strings that every match holds; none where a pattern can do without, or ignores case."""

    def strings(pattern: str) -> list[list[set[str]]]:
        return [[set(part) for part in way] for way in required_strings(pattern)]

    assert strings(r"\bi (?:changed|rewrote) the\b") == [[{"i changed the", "i rewrote the"}]]
    assert strings(r"(?:please )?send") == [[{"send"}]]
    assert strings(r"no, wait|\bsorry\W.*\bnot at all") == [[{"no, wait"}], [{"sorry"}, {"not at all"}]]
    assert strings(r"h+m+[,.]") == [[{"hm"}]]
    assert strings(r"_{3,}|x\d") == [[{"__"}], []]
    assert strings(r"\d+") == strings(r"(?i)lux") == [[]]
    assert strings(r"(?i:up to)|\bTBD\b") == [[], [{"TBD"}]]
    assert strings(r"(?i:lux)") == [[{"LUX", "LUx", "LuX", "Lux", "lUX", "lUx", "luX", "lux"}]]
    assert (spans_line_end(r"\bhi\n\W*(?:yes|no)"), spans_line_end(r"hi(?:\n|\.)"), spans_line_end(r"hi\n?")) == (
        True,
        False,
        False,
    )
    assert (only_at_start(r"\A\W*sure"), only_at_start(r"\A(?:a|b)|c")) == (True, False)


# What patterns in the code of gates may say: marks of formats, none of them a word of a language.
_OF_FORMATS = {
    "html", "body", "div", "span", "table", "img", "kbd", "details", "summary", "head", "title", "script", "style",
    "form", "input", "button", "label", "section", "main", "nav", "header", "footer", "blockquote", "small", "mark",
    "strong", "code", "pre", "def", "class", "import", "function", "const", "let", "var", "return", "public", "include",
    "http", "https", "www", "hrs", "live", "github", "pat", "glpat", "xox", "abprs", "akia", "aiza", "npm", "begin",
    "end", "eyj", "private", "key", "block", "bearer", "basic", "authorization", "pwd", "token", "secret",
    "pousr", "sub", "sin", "cos", "tan", "log", "mod", "base",
}  # fmt: skip


def test_no_word_of_a_language_stands_in_the_code_of_gates() -> None:
    """A pattern in curate/gates/*.py holds marks and names of formats; words to look for are rows of the tables."""
    stray = set()
    for path in sorted(FOLDER.parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
                pattern = node.args[0]
                for part in pattern.values if isinstance(pattern, ast.JoinedStr) else [pattern]:
                    if not isinstance(part, ast.Constant):
                        continue
                    plain = re.sub(r"\(\?P[<=]\w+[>)]|\(\?\(\w+\)|\\[A-Za-z]|\[[^\]]*\]", " ", str(part.value))
                    stray |= {(path.name, word) for word in re.findall(r"[^\W\d_]{3,}", plain)}
    assert {(name, word) for name, word in stray if word.casefold() not in _OF_FORMATS} == set()


def test_words_for_nothing_are_data() -> None:
    """A field that holds one of them, and nothing more, is empty: what its text says behind its name is missed."""
    listed = lexicon("any").words("nothing")
    assert {"n/a", "unknown", "-"} <= set(listed)
    for word in listed:
        assert unfilled_field("the room 3, on monday", {"room": f" {word.upper()} "}, "en") == "room"
    assert not unfilled_field("the room 3, on monday", {"room": "nothing but 3"}, "en")
