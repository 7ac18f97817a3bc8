"""Every rule of the phrase tables against its own examples, and languages without a table."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.gates import free_tables, gates_for, judge_text
from curate.gates.chat import answered, thinking
from curate.gates.content import lost_content
from curate.gates.folding import fold
from curate.gates.form import echo, repetition
from curate.gates.phrases import FOLDER, Lexicon, Rule, lexicon, list_pattern, phrases, says, sections
from curate.gates.phrases.literals import only_at_start, required_strings, spans_line_end
from curate.gates.preamble import preamble
from curate.gates.records import unfilled_field
from schemas.spec import GateSettings, TaskSettings
from tests.curate.tiny import pair

LANGUAGES = sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != "any")
UNWRITTEN = "xx"


def rules_of_all() -> list[Rule]:
    """The rules of every language; those for all languages are included once per language."""
    return [rule for language in LANGUAGES for rule in phrases(language).rules]


def place(rule: Rule) -> str:
    return f"{rule.table}: {rule.written}"


def case(given: Any, rule: Rule) -> tuple[str, str, str]:
    """Text, other side and style of an example, folded, except for a text searched for placeholders. An example is a
    text or a table."""
    table = {"text": given} if isinstance(given, str) else given
    assert table.keys() <= {"text", "other", "style"}
    text = table["text"] if is_cased(rule) else fold(table["text"])
    return text.strip(), fold(table.get("other", "")), fold(table.get("style", ""))


def is_cased(rule: Rule) -> bool:
    return rule.table.startswith("placeholder")


def test_whatever_denies_or_forbids_also_counts_as_a_denial() -> None:
    """What an input denies, an output may deny by a word of any list, so `negated` finds them all: *no fumar* became
    *se prohíbe fumar*. Words that only limit (`unless`, なければ) are no denials."""
    only_limiting = {("en", "unless"), ("ja", "なければ")}
    for language in LANGUAGES:
        known = lexicon(language)
        lists = ("negation", "denial", "forbidden", "lacking") if known.words("negated") else ()
        words = {word for name in lists for word in known.words(name) if (language, word) not in only_limiting}
        spelt = {word: word.replace("_", " ").replace("*", "xx" * word.endswith("*")) for word in words}
        assert not [word for word, text in spelt.items() if not says(language, "negated", text)], language


def test_tables_exist() -> None:
    """English has phrases and words; rules for every language are among its rules."""
    assert "en" in LANGUAGES
    assert phrases("en").known
    everywhere = {"preamble.marker", "preamble.leak", "preamble.maybe", "preamble.empty", "preamble.opening"}
    everywhere |= {"preamble.options", "preamble.choice", "preamble.title", "refusal.maybe"}
    everywhere |= {"placeholder.mark", "placeholder.maybe", "thinking.tag", "thinking.summary", "thinking.maybe"}
    everywhere |= {"thinking.shown"}
    assert {rule.table for rule in phrases(UNWRITTEN).rules} == everywhere
    assert all(rule in phrases("en").rules for rule in phrases(UNWRITTEN).rules)


@pytest.mark.parametrize("language", LANGUAGES)
def test_rule_matches_its_examples(language: str) -> None:
    """Each example is matched by its own rule, and every rule has one."""
    rules, known = phrases(language).rules, lexicon(language)
    without_example = [place(rule) for rule in rules if not rule.examples]
    assert not without_example, "a rule without an example cannot be reviewed"
    assert not [(place(rule), ex) for rule in rules for ex in rule.examples if not rule.find(*case(ex, rule), known)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_rule_does_not_match_its_counterexamples(language: str) -> None:
    """No counterexample is matched by its rule, and every rule has one."""
    rules, known = phrases(language).rules, lexicon(language)
    without_counterexample = [place(rule) for rule in rules if not rule.counterexamples]
    assert not without_counterexample, "a rule without a counterexample was never tested for what it must leave alone"
    assert not [(place(rule), ex) for rule in rules for ex in rule.counterexamples if rule.find(*case(ex, rule), known)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_phrase_of_the_style_is_never_matched(language: str) -> None:
    """A house style that contains a phrase allows it."""
    matched = []
    for rule in phrases(language).rules:
        for example in () if rule.after_subject else rule.examples:
            text, other, style = case(example, rule)
            if rule.find(text, other, f"{style}\n{fold(text)}", lexicon(language)):
                matched.append((place(rule), example))
    assert not matched


def test_the_digest_changes_with_the_rules() -> None:
    """Languages with different rules have different digests, so a verdict is never reused under another table."""
    assert phrases("en").digest != phrases(UNWRITTEN).digest == phrases("zz").digest


def test_the_digest_changes_with_the_word_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more word in a list gives another digest too, so stored verdicts of gates that search for it do not count."""
    english, digests = (FOLDER / "en.toml").read_text(encoding="utf-8"), [phrases("en").digest]
    (tmp_path / "any.toml").write_bytes((FOLDER / "any.toml").read_bytes())
    try:
        monkeypatch.setattr(sys.modules[Rule.__module__], "FOLDER", tmp_path)
        for table in (english, english.replace("\n[lists]\n", '\n[lists]\nanother_list = "word"\n')):
            (tmp_path / "en.toml").write_text(table, encoding="utf-8")
            for cached in (phrases, sections):
                cached.cache_clear()
            digests.append(phrases("en").digest)
    finally:
        monkeypatch.undo()
        for cached in (phrases, sections):
            cached.cache_clear()
    assert digests[0] == digests[1] != digests[2]


def test_a_language_without_a_table_gets_no_english_phrases_and_says_so() -> None:
    """English phrases are not searched for in a text that is to be in another language, except for English chat around
    a text that is in it; the reason says what was not checked."""
    chat = "Sure! Here is the rewritten prompt: I would be happy to draw a fox"
    for gate in (preamble, answered):
        assert gate(pair("a fox", chat), language="en").keep is False
        assert gate(pair("a fox", chat), language="de").keep is True
        judgement = gate(pair("a fox", chat), language="et")
        assert judgement.keep is True
        assert "not checked: there are no phrases for 'et' yet" in str(judgement.reason)
    assert "not checked" not in preamble(pair("a fox", "a fox in snow"), language="en").reason.detail
    for text, language in (("Ein Fuchs im Schnee.", "de"), ("Rebane lumes.", "et"), ("雪の中の狐です。", "ja")):
        for around in (
            "Sure! Here is the translation:\n\n{}",
            "Here is the translation:\n\n{}",
            "{}\n\nI hope this helps!",
        ):
            assert preamble(pair("a fox", around.format(text)), language=language).keep is False
        assert preamble(pair("a fox", text), language=language).keep is True


def test_chat_template_tokens_are_noticed_in_every_language() -> None:
    """Remains of a template or of a reasoning model do not depend on the language."""
    for text in ("ein Fuchs im Schnee<|im_end|>", "<think>Ein Fuchs.</think> ein Fuchs", "雪中的狐狸</s>"):
        gates = (preamble, thinking)
        assert any(gate(pair("Fuchs", text), language="et").keep is False for gate in gates)


def test_a_language_without_words_has_an_empty_lexicon() -> None:
    """English stop words, number words and irregular forms do not apply to other languages."""
    assert lexicon(UNWRITTEN) == Lexicon()
    english = lexicon("en")
    assert {"the", "of"} <= english.stop
    assert "please" in english.words("asking")
    assert (english.ones["three"], english.tens["ninety"]) == (3, 90)


def test_an_english_text_splits_few_lists_of_other_languages() -> None:
    """The gates of an English task look for some words in all languages, such as those for a user. Of other languages
    they split only these lists into words, and keep no rules: all lists would be 5 MB in every process, and take
    `generate` beyond its limit of 90 MB."""
    free_tables()
    steps = gates_for(
        TaskSettings(name="scene", style="Write a rich image prompt."), GateSettings(language=False), FOLDER
    )
    for output in ("A red fox in fresh snow, morning light.", "The user wants a fox, so I will write one."):
        judge_text("a fox", output, steps)
    kept = [words for code in LANGUAGES if code != "en" for words in lexicon(code).lists.values()]
    assert sum(map(len, kept)) < 2_000
    assert sections.cache_info().currsize <= 4


def test_english_stop_words_do_not_apply_to_another_language() -> None:
    """German `die`, `war` and `also`, Dutch `of`, French `on` and `or` are ordinary words there."""
    assert lost_content(pair("elf", "ein Zwerg"), language="de").keep is False
    assert echo(pair("an der See", "An der See!"), language="de").keep is False
    text = "war an war an war an war an war an war an war an war an war an war an"
    assert repetition(pair("x", text), language="de").keep is False


def test_every_rule_reads_folded_text() -> None:
    """A capital letter in a pattern would never match, because texts are folded first."""
    for rule in (rule for rule in rules_of_all() if not is_cased(rule)):
        plain = re.sub(r"\\.|\(\?P[<=]\w+[>)]", "", rule.written)
        assert plain == plain.lower()


@pytest.mark.parametrize("language", ["any", *LANGUAGES])
def test_word_list_matches_its_examples_and_not_its_counterexamples(language: str) -> None:
    """Each list in `tried` has texts that it matches and texts that it does not."""
    table = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
    assert table["tried"].keys() <= table["lists"].keys()
    for name, (finds, leaves) in table["tried"].items():
        for text in finds:
            assert list_pattern(language, name).search(fold(text)), (name, text)
        for text in leaves:
            assert not list_pattern(language, name).search(fold(text)), (name, text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_required_strings_of_a_rule_are_in_its_matches(language: str) -> None:
    """A text without the required strings of a pattern is not searched; that must not lose a match."""
    for rule in phrases(language).rules:
        for example in rule.examples:
            text, _, _ = case(example, rule)
            if match := rule.pattern.search(text):
                assert satisfies_a_way(rule, match[0]), (place(rule), example)
                assert not rule.begins or match.start() == 0 or rule.after_subject, (place(rule), example)
                assert not rule.breaks or "\n" in match[0], (place(rule), example)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_required_strings_are_in_every_possible_match(data: st.DataObject) -> None:
    """Also beyond the examples: if a text is skipped, the pattern does not match in it."""
    rule = data.draw(st.sampled_from(rules_of_all()))
    text = data.draw(st.from_regex(rule.pattern))
    for match in rule.pattern.finditer(text):
        assert satisfies_a_way(rule, match[0])


def satisfies_a_way(rule: Rule, text: str) -> bool:
    """Whether a text has, for one way in which a rule may match, a string of each required set."""
    return any(all(any(string in text for string in strings) for strings in way) for way in rule.ways)


def test_required_strings_are_read_from_a_pattern() -> None:
    """The longest strings that every match contains; none where parts are optional, and every spelling where case is
    ignored."""

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


# Words that patterns in the code of gates may contain: names of formats, not words of a language.
_OF_FORMATS = {
    "html", "body", "div", "span", "table", "img", "kbd", "details", "summary", "head", "title", "script", "style",
    "form", "input", "button", "label", "section", "main", "nav", "header", "footer", "blockquote", "small", "mark",
    "strong", "code", "pre", "def", "class", "import", "function", "const", "let", "var", "return", "public", "include",
    "http", "https", "www", "hrs", "live", "github", "pat", "glpat", "xox", "abprs", "akia", "aiza", "npm", "begin",
    "end", "eyj", "private", "key", "block", "bearer", "basic", "authorization", "pwd", "token", "secret",
    "pousr", "sub", "sin", "cos", "tan", "log", "mod", "base",
    # programming languages, their keywords and commands of LaTeX
    "select", "console", "print", "string", "system", "write", "awk", "bash", "bin", "boolean", "cout", "create",
    "css", "csv", "delete", "django", "doctype", "echo", "excel", "find", "fmt", "for", "from", "fun", "func", "golang",
    "grep", "haskell", "insert", "int", "interface", "into", "java", "javascript", "jquery", "json", "julia",
    "kotlin", "lambda", "latex", "lua", "markdown", "mongodb", "mut", "node", "number", "out", "pandas", "perl",
    "git", "php", "println", "puts", "python", "react", "ruby", "rust", "scala", "sed", "set", "shell", "sql", "static",
    "std", "str", "swift", "toml", "tsv", "typescript", "update", "using", "void", "vue", "xml", "xmlns", "yaml",
    "bfseries", "caption", "centering", "chapter", "cite", "emph", "footnote", "href", "item", "large", "maketitle",
    "newline", "noindent", "par", "paragraph", "ref", "text", "underline", "url",
    "alt", "amp", "colou", "font", "list", "mailto", "quote", "size", "tel",
}  # fmt: skip


def test_code_of_gates_contains_no_words_of_a_language() -> None:
    """Patterns in curate/gates/*.py contain punctuation and names of formats; words to search for belong in the
    tables."""
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


def test_field_with_a_word_for_no_value_is_empty() -> None:
    """A field with nothing but a word such as `n/a` is empty, and the value that its text gives after the field's name
    is reported as missing."""
    listed = lexicon("any").words("nothing")
    assert {"n/a", "unknown", "-"} <= set(listed)
    for word in listed:
        assert unfilled_field("the room 3, on monday", {"room": f" {word.upper()} "}, "en") == "room"
    assert not unfilled_field("the room 3, on monday", {"room": "nothing but 3"}, "en")
