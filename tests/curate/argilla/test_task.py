"""What an annotator sees, built from the spec and the store; nothing in a text may run or break the page."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.argilla import push as push_module
from curate.argilla.task import (
    VERDICTS,
    GoldDisguise,
    bad_examples,
    displayed_field_text,
    guidelines,
    mark_differences,
    record,
    render_texts,
)
from curate.checklists import describe_no_answers
from curate.review.gold import read_gold
from curate.review.population import Population, read_population
from prompts.answer_form import ANY_TEXT
from schemas.project import Project
from schemas.records import Message, Reason, Verdict
from schemas.reviews import Review
from schemas.spec import Exemplar
from schemas.spec_file import load
from schemas.store import Store
from tests.curate.review.review_project import SCOPE, fill, project


@pytest.fixture
def cats(tmp_path: Path) -> Iterator[tuple[Project, Population]]:
    """A judged population with texts that try to be code."""
    project_ = project(tmp_path)
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store, nasty=True)
        yield project_, read_population(project_, store, [SCOPE])


class Tags(HTMLParser):
    """The tags of some HTML, its text with line breaks, and what stands within every kind of tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.within: dict[str, str] = defaultdict(str)
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not attrs
        self.tags.add(tag)
        if tag == "br":
            self.handle_data("\n")
        else:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        for tag in self._open:
            self.within[tag] += data


texts = st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=60)


@given(texts, texts)
def test_both_texts_are_shown_whole_and_make_no_tag(before: str, after: str) -> None:
    """Whatever the texts, they read exactly as they are, only our tags are made, and all stands on one line, so that
    no blank line ends the block, after which Markdown would be read."""
    for text, shown, marks in zip(
        (before, after), mark_differences(before, after), ({"del"}, {"b", "ins"}), strict=True
    ):
        tags = Tags(shown)
        assert tags.text == re.sub("\r\n?", "\n", text)
        assert tags.tags <= {"br", *marks}
        assert not {"b", "ins"} <= tags.tags
        assert not set(shown) & set("\r\n")


def test_the_smaller_part_of_the_difference_is_marked() -> None:
    """Known words: what was taken over where most is new, what is new where most was taken over, and in the input the
    words that the output has nowhere, in any case and order."""
    assert mark_differences("Red cat", "a red cat on a warm stove")[0] == "Red cat"
    assert mark_differences("two red cats", "a cat") == ("<del>two</del> <del>red</del> <del>cats</del>", "a cat")
    before, after = mark_differences("red cat", "red cat on a warm stove, in the sun")
    assert Tags(after).within == {"b": "red cat"}
    assert before == "red cat"
    before, after = mark_differences("I has a big red cat.", "I have a red cat.")
    assert Tags(before).within == {"del": "hasbig"}
    assert Tags(after).within == {"ins": "have"}
    # A number that moved was taken over, commas alone were not, and a second "the" is not the one of the input.
    before, after = mark_differences(
        "order 48213, late", "The box is late, the seal broke, and the order 48213, it says, is gone, sorry"
    )
    assert after == ("The box is <b>late</b>, the seal broke, and the <b>order 48213</b>, it says, is gone, sorry")


@pytest.mark.parametrize(
    ("before", "after", "lost", "new"),
    [
        (
            "ペット用ベッド/茶/15,400円",
            "茶のペット用ベッドです。１５４００円。",
            "",
            "<ins>茶の</ins>ペット用ベッド<ins>です</ins>。",
        ),
        (
            "真空保温杯 黑色 包邮",
            "这款黑色的保温杯采用真空",
            "包邮",
            "<ins>这款</ins>黑色<ins>的</ins>保温杯<ins>采用</ins>真空",
        ),
        ("กาต้มน้ำสีแดง ส่งฟรี", "กาต้มน้ำใบนี้สีแดง", "ส่งฟรี", "กาต้มน้ำ<ins>ใบนี้</ins>สีแดง"),
        ("검은 가방 당일발송", "당일발송되는 검은 가방은", "", "당일발송<ins>되는</ins> 검은 가방<ins>은</ins>"),
    ],
    ids=["ja", "zh", "th", "ko"],
)
def test_a_script_without_blanks_is_marked_by_what_it_says(before: str, after: str, lost: str, new: str) -> None:
    """What the output has between other letters is not struck through, as every word of a Japanese input was; nor is
    a number with its thousands or in wide digits."""
    shown = mark_differences(before, after)
    assert Tags(shown[0]).within.get("del", "") == lost
    assert shown[1].startswith(new)


def test_a_long_text_that_goes_round_in_circles_is_marked_at_once() -> None:
    """Ten thousand times the same words on both sides are shown whole, without comparing each with each for minutes;
    what is long or a number is still known again."""
    before, after = ("the lighthouse a " * 4_000).strip(), ("a the lighthouse of 7 " * 4_000).strip()
    started = time.process_time()
    shown = mark_differences(before, after)
    assert time.process_time() - started < 20  # of the processor, where comparing takes minutes
    assert [displayed_field_text(text) for text in shown] == [before, after]
    assert "lighthouse <ins>of 7 a the</ins> lighthouse" in shown[1]


def test_a_row_shows_text_candidates_and_findings_and_nothing_runs(cats: tuple[Project, Population]) -> None:
    """Every field is one HTML block of our tags alone, in which the texts are escaped; a rejected row names the gate;
    the length, by which annotators can filter, is the output's."""
    project, population = cats
    rejected = next(id_ for id_, row in population.rows.items() if row.passed is False)
    pair = population.pairs([rejected])[rejected]
    record_ = record(
        project,
        population,
        pair,
        ["border"],
        messages=[Message(role="user", content="<b>hi</b>\n\n**you**")],
    )
    assert record_["external_id"] == rejected
    (talk,) = record_["fields"].pop("conversation")
    assert talk == {"role": "user", "content": "<div>&lt;b&gt;hi&lt;/b&gt;<br><br>**you**</div>"}
    assert set(record_["fields"]) == {"simple", "enhanced", "findings", "rules", "candidates"}
    for text in record_["fields"].values():
        assert text.startswith("<div>")
        assert text.endswith("</div>")
        assert Tags(text).tags <= {"div", "ins", "del", "br", "p", "b"}
    assert Tags(record_["fields"]["simple"]).text == pair.input
    assert Tags(record_["fields"]["enhanced"]).text == pair.output
    assert "alert(1)" in pair.input
    assert "alert(2)" in Tags(record_["fields"]["candidates"]).text
    assert Tags(record_["fields"]["findings"]).text.startswith("length short: it has 2 words")
    assert Tags(record_["fields"]["rules"]).within["b"] == "4 to 40 words (doubted)"
    assert Tags(record_["fields"]["rules"]).text.startswith("One sentence about a cat, at least four words.")
    assert record_["metadata"]["rejected_by"] == ["gate/length@2"]
    assert record_["metadata"]["length"] == "000 to 009 words"
    assert len(record_["metadata"]["rivals"]) == 3


def test_what_a_gate_flags_on_a_row_that_it_keeps_is_not_called_ok(cats: tuple[Project, Population]) -> None:
    """A program's doubt is told in its words alone, where the code of its verdict says that the row passed."""
    project, population = cats
    pair = next(iter(population.pairs(population.rows).values()))
    flagged = Verdict(
        pair_id=pair.id,
        by="gate/translated@1",
        fingerprint="s",
        keep=True,
        reason=Reason("ok", "“72” is not seen again"),
        flags=("number",),
    )
    record_ = record(project, population, pair, ["gold"], gold=GoldDisguise([flagged], {}))["fields"]["findings"]
    assert Tags(record_).text == "translated “72” is not seen again"


def test_candidates_are_those_of_the_same_input_in_an_order_that_says_nothing(cats: tuple[Project, Population]) -> None:
    """The metadata names them in the order shown, so that a ranking can be tied back to pairs; where a candidate
    stands does not hang on its score, which a ranking would copy."""
    project, population = cats
    best_first = 0
    for pair in population.pairs(population.rows).values():
        record_ = record(project, population, pair, ["fit"])
        others = record_["metadata"]["rivals"]
        assert sorted(others) == sorted(population.other_candidates(pair.id))
        shown, pairs = Tags(record_["fields"]["candidates"]).text, population.pairs(others).values()
        positions = [shown.index(f"{letter} {other.output}") for letter, other in zip("ABC", pairs, strict=True)]
        assert positions == sorted(positions)
        best_first += others == population.other_candidates(pair.id)
    assert best_first < len(population.rows) / 2


def test_percentiles_compare_candidates_of_one_input_only(cats: tuple[Project, Population]) -> None:
    """Best, middle and last of three scored candidates are 1, one half and 0; unscored ones have none."""
    _, population = cats
    percentiles = sorted((row.percentile for row in population.rows.values()), key=lambda p: (p is None, p))
    assert percentiles == [0.0] * 12 + [0.5] * 12 + [1.0] * 12 + [None] * 12
    assert sum(row.accepted for row in population.rows.values()) == 12


def test_rows_that_a_measure_stands_on_are_judged_by_themselves(cats: tuple[Project, Population]) -> None:
    """Neither what a gate objected to (the share of good rows thrown away is measured there), nor a judge's opinion,
    nor another output stands beside a row of an estimate; on others they do."""
    project, population = cats
    best = next(id_ for id_, row in population.rows.items() if row.accepted)
    opinion = Verdict(
        pair_id=best, by="judge/style@1", fingerprint="s", keep=True, score=0.4, reason="unsure about the cat"
    )
    assert isinstance(population.pool.source, Store)
    population.pool.source.write(opinion)
    rejected = next(id_ for id_, row in population.rows.items() if row.passed is False)
    for reason in ("certify", "audit_accepted", "audit_rejected", "gold"):
        for pair in population.pairs([best, rejected]).values():
            record_ = record(project, population, pair, ["border", reason])  # type: ignore[list-item]
            assert set(record_["fields"]) == {"simple", "enhanced", "rules"}
            assert "doubted" not in record_["fields"]["rules"]
            assert "rivals" not in record_["metadata"]
    record_ = record(project, population, population.pairs([best])[best], ["border"])
    assert Tags(record_["fields"]["findings"]).text.endswith("style unsure: about the cat")
    assert "candidates" in record_["fields"]


_RULES = """
style = "Keep a friendly tone. Write in the present tense. No exclamation marks."
"""
_JUDGED = """
[curate.judge]
teachers = ["judge"]
[[curate.judge.questions]]
name = "friendly_tone"
question = "Is the tone friendly?"
[[curate.judge.questions]]
name = "one_cat"
question = "Is exactly one cat in it?"
[[curate.judge.questions]]
name = "present_tense"
question = "Is it written in the present tense?"
[[curate.gates.must_not]]
name = "exclamation_marks"
pattern = "number 0 &"  # which stands for one
[teachers.judge]
model = "m"
url = "http://127.0.0.1:1/v1"
"""


def test_a_rule_that_a_program_doubts_is_marked_unless_the_row_is_blind(tmp_path: Path) -> None:
    """A sentence of the style which a gate or a judge's question names, and the question that was answered with no:
    marked on rows for calibration and active learning; on rows of an estimate or an audit, and on blind gold, the
    rules are the same text as on a row that nobody doubts."""
    path = tmp_path / "pairsmith.toml"
    project(tmp_path)
    lines = [_RULES.strip() if line.startswith("style") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + _JUDGED)
    project_ = load(tmp_path)
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store)
        population = read_population(project_, store, [SCOPE])
        pairs = list(population.pairs(population.rows).values())
        doubted, plain = (next(pair for pair in pairs if f"number {n} &" in pair.output) for n in (0, 1))
        detail = describe_no_answers({"friendly_tone": 0.2, "one_cat": 0.4, "present_tense": 0.9})
        of = {"by": "judge/m@1", "fingerprint": "s", "keep": True, "score": 0.5}
        store.write(Verdict(pair_id=doubted.id, reason=Reason("judged", detail), **of))
        for reason in ("fit", "disagree", "border"):
            rules = Tags(record(project_, population, doubted, [reason])["fields"]["rules"])  # type: ignore[list-item]
            assert rules.text.startswith(
                "Keep a friendly tone. (doubted) · Write in the present tense. · No exclamation marks. (doubted)"
            )
            assert rules.text.endswith(
                "Asked by judges: Is the tone friendly? (doubted) · Is exactly one cat in it? (doubted)"
            )
        unmarked = record(project_, population, plain, ["fit"])["fields"]["rules"]
        assert "doubted" not in unmarked
        for blind in ("certify", "audit_accepted", "audit_rejected", "gold"):
            reasons = ["fit", blind]
            assert record(project_, population, doubted, reasons)["fields"]["rules"] == unmarked  # type: ignore[arg-type]


def test_nothing_tells_gold_from_the_other_rows_that_a_measure_stands_on(cats: tuple[Project, Population]) -> None:
    """What the page shows of a gold row has the parts, the suggestion and the name of the model that the others have,
    and not even the metadata that the page hides tells it: people can filter by that, and gold has no score."""
    project, population = cats
    other = next(iter(population.pairs(population.rows).values()))
    population = replace(population, scores={other.id: 0.9})
    rows = [
        record(project, population, other, ["certify"]),
        record(project, population, read_gold(project)[0].pair, ["gold"]),
    ]
    ordinary, gold = (
        (
            set(row["fields"]),
            [{**one, "value": None} for one in row["suggestions"]],
            {**row["metadata"], "length": None},
        )
        for row in rows
    )
    assert gold == ordinary


def test_gold_occurs_in_both_forms(cats: tuple[Project, Population]) -> None:
    """Blind and as rows for calibration look: with what a gate says of it, another output of the gold file for its
    input, and metadata like theirs. Without another output it stays blind, because rows without one are rare."""
    project, population = cats
    assert push_module._gold_disguises(project, population, [item.pair for item in read_gold(project)]) == {}
    lines = [
        {"input": f"gold cat {number}", "output": output, "verdict": "reject"}
        for number in range(20)
        for output in (f"A golden cat number {number} sits in the sun.", "Too short.")
    ]
    (project.folder / "gold.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    gold = [item.pair for item in read_gold(project)]
    forms = push_module._gold_disguises(project, population, gold)
    assert 5 < len(forms) < 35
    ordinary = record(project, population, next(iter(population.pairs(population.rows).values())), ["fit"])
    shown = [record(project, population, pair, ["gold"], gold=forms[pair.id]) for pair in gold if pair.id in forms]
    assert all("candidates" in row["fields"] and row["metadata"]["chosen_for"] == ["fit"] for row in shown)
    assert {name for row in shown for name in row["fields"]} >= set(ordinary["fields"])
    assert any("short: it has 2 words" in row["fields"].get("findings", "") for row in shown)


def test_a_difference_is_marked_only_where_words_are_meant_to_be_kept(cats: tuple[Project, Population]) -> None:
    """A gate that looks for lost content says that they are; a task without it has nothing to compare."""
    project, population = cats
    pair = next(iter(population.pairs(population.rows).values()))
    assert not {"del", "ins", "b"} & Tags("".join(render_texts(project, ANY_TEXT, pair))).tags
    keeping = load(project.folder, ["curate.gates.lost_content=true"])
    assert {"ins", "b"} & Tags("".join(render_texts(keeping, ANY_TEXT, pair))).tags


def test_no_verdict_is_suggested_whatever_programs_say(cats: tuple[Project, Population]) -> None:
    """The rank among the candidates of an input is no probability of being good, and a suggested answer is copied: a
    row suggests its text to edit, and nothing that the page would submit as the person's own."""
    project, population = cats
    for pair in population.pairs(population.rows).values():
        for reason in ("fit", "border", "disagree", "certify"):
            (record_,) = record(project, population, pair, [reason])["suggestions"]  # type: ignore[list-item]
            assert (record_["question"], record_["value"]) == ("edited", pair.output)


def test_an_adjudicator_sees_every_answer_with_what_an_edit_changes(cats: tuple[Project, Population]) -> None:
    """Who, the verdict, the reasons, the new text; names and texts are escaped."""
    project, population = cats
    pair = next(pair for pair in population.pairs(population.rows).values() if pair.output == "Too short.")
    answers = [
        Review(pair_id=pair.id, reviewer="<i>ann", decision="reject", reasons=("off_style", "invented")),
        Review(pair_id=pair.id, reviewer="bob", decision="edit", edited="Too short.\n\nNow <b>longer</b>."),
    ]
    shown = record(project, population, pair, [], answers=answers)["fields"]["answers"]
    tags = Tags(shown)
    assert tags.text == "<i>ann reject (off style, invented)bob edit\nToo short.\n\nNow <b>longer</b>."
    assert tags.tags == {"div", "p", "b", "br"}


def test_guidelines_show_the_style_the_keys_and_examples_of_both_kinds(cats: tuple[Project, Population]) -> None:
    """Generated from the spec: exemplars as good, gate-rejected rows with the gate's words as bad; texts escaped."""
    project, population = cats
    text = guidelines(project, bad_examples(population))
    assert "A tabby cat sleeps on a warm stove." in text
    assert "Too short." in text
    assert "Why not" in text
    assert "shows the letter that selects it" in text
    assert all(f"- `{key}` **{name}**" in text for key, name in zip("123", VERDICTS.values(), strict=True))
    assert "<script>" not in text
    assert "<img" not in text


@pytest.mark.parametrize("text", ["a word ", "<&> "])
def test_guidelines_are_as_long_as_argilla_takes(cats: tuple[Project, Population], text: str) -> None:
    """With a style, exemplars and rejected rows as long as a book the guidelines still say the task and the keys, show
    the beginning of each, and are not refused; what is short stays whole."""
    project, population = cats
    bad = [(pair, "length: too long") for pair, _ in bad_examples(population)]
    assert "[...]" not in guidelines(project, bad)
    long = text * 20_000
    exemplars = tuple(Exemplar(input=f"cat {number}", output=long) for number in range(4))
    task = project.spec.task.model_copy(update={"style": f"The style. {long}"})
    spec = project.spec.model_copy(update={"task": task, "exemplars": exemplars})
    bad = [(pair.model_copy(update={"output": long}), reason) for pair, reason in bad]
    shortened = guidelines(Project(project.folder, spec), bad)
    assert len(shortened) <= 9_500
    for part in "`1` **Accept**", "The style.", "[...]", "## Good", "## Bad":
        assert part in shortened
