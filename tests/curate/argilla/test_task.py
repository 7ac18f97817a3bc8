"""What an annotator sees, built from the spec and the store; no text can run code or break the page."""

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
from curate.gate_versions import VERSIONS
from curate.review.gold import read_gold
from curate.review.population import Population, _percentiles, read_population
from curate.scorers.checklists import describe_no_answers
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
    """A judged population with texts that try to inject code."""
    project_ = project(tmp_path)
    with Store.open(Store.url_for(project_)) as store:
        fill(project_, store, nasty=True)
        yield project_, read_population(project_, store, [SCOPE])


class Tags(HTMLParser):
    """The tags of some HTML, its text with line breaks, and the text within each kind of tag."""

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
def test_both_texts_are_shown_in_full_and_add_no_tags(before: str, after: str) -> None:
    """Any text is displayed exactly as it is. Only our own tags occur, and everything is on one line, because a blank
    line would end the HTML block and Markdown would be parsed after it."""
    for text, shown, marks in zip(
        (before, after), mark_differences(before, after), ({"del"}, {"b", "ins"}), strict=True
    ):
        tags = Tags(shown)
        assert tags.text == re.sub("\r\n?", "\n", text)
        assert tags.tags <= {"br", *marks}
        assert not {"b", "ins"} <= tags.tags
        assert not set(shown) & set("\r\n")


def test_difference_marks_the_smaller_part() -> None:
    """Marks the words that were kept where most of the output is new, the new words where most was kept, and in the
    input the words that occur nowhere in the output, whatever their case and order."""
    assert mark_differences("Red cat", "a red cat on a warm stove")[0] == "Red cat"
    assert mark_differences("two red cats", "a cat") == ("<del>two</del> <del>red</del> <del>cats</del>", "a cat")
    before, after = mark_differences("red cat", "red cat on a warm stove, in the sun")
    assert Tags(after).within == {"b": "red cat"}
    assert before == "red cat"
    before, after = mark_differences("I has a big red cat.", "I have a red cat.")
    assert Tags(before).within == {"del": "hasbig"}
    assert Tags(after).within == {"ins": "have"}
    # A number that moved counts as kept; commas alone do not, and a second "the" is not the one of the input.
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
def test_differences_in_scripts_without_spaces_are_marked_by_content(
    before: str, after: str, lost: str, new: str
) -> None:
    """What the output has kept between other characters is not struck through; once every word of a Japanese input was.
    Nor is a number with thousands separators or in full-width digits."""
    shown = mark_differences(before, after)
    assert Tags(shown[0]).within.get("del", "") == lost
    assert shown[1].startswith(new)


def test_long_repetitive_text_is_marked_quickly() -> None:
    """Texts that repeat the same words thousands of times are shown in full, without minutes of comparing each word
    with each; long words and numbers are still recognised as kept."""
    before, after = ("the lighthouse a " * 4_000).strip(), ("a the lighthouse of 7 " * 4_000).strip()
    started = time.process_time()
    shown = mark_differences(before, after)
    assert time.process_time() - started < 20  # CPU seconds; comparing each with each takes minutes
    assert [displayed_field_text(text) for text in shown] == [before, after]
    assert "lighthouse <ins>of 7 a the</ins> lighthouse" in shown[1]


def test_row_shows_text_candidates_and_findings_escaped(cats: tuple[Project, Population]) -> None:
    """Every field is one HTML block with only our own tags, in which the texts are escaped. A rejected row names the
    gate; the length, by which annotators can filter, is that of the output."""
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
    assert record_["metadata"]["rejected_by"] == [f"gate/length@{VERSIONS['length']}"]
    assert record_["metadata"]["length"] == "000 to 009 words"
    assert len(record_["metadata"]["rivals"]) == 3


def test_rows_sort_by_the_length_of_their_output(cats: tuple[Project, Population]) -> None:
    """Classes of length sort like the lengths, also above 999 words; a character of a script without spaces counts as
    a word, or all Chinese rows would be in one class."""
    project_, population = cats
    pair = next(iter(population.pairs(population.rows).values()))

    def length(output: str) -> str:
        length: str = record(project_, population, pair.model_copy(update={"output": output}), ["fit"])["metadata"][
            "length"
        ]
        return length

    classes = [length("word " * count) for count in (3, 12, 130, 950, 1_500, 3_100, 12_000)]
    assert classes == sorted(set(classes))
    assert length("\u732b\u306f\u7a93\u8fba\u3067\u7720\u308b\u3002" * 6) == length("word " * 42)


def test_flag_on_a_kept_row_is_not_labelled_ok(cats: tuple[Project, Population]) -> None:
    """A gate's doubt is shown without the code of its verdict, which says that the row passed."""
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


def test_candidates_of_the_same_input_are_shown_in_an_uninformative_order(cats: tuple[Project, Population]) -> None:
    """The metadata lists them in the order shown, so that a ranking can be mapped back to pairs. A candidate's position
    does not depend on its score, because a ranking would copy that order."""
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
    """The best, middle and last of three scored candidates have 1, 0.5 and 0; unscored ones have no percentile."""
    _, population = cats
    percentiles = _percentiles({*population.inputs.values()}, population.scores)
    assert sorted(percentiles.values()) == [0.0] * 12 + [0.5] * 12 + [1.0] * 12
    assert len(population.rows) == 48
    assert sum(row.accepted for row in population.rows.values()) == 12


def test_rows_used_for_estimates_are_shown_alone(cats: tuple[Project, Population]) -> None:
    """A row that serves an estimate shows neither a gate's objections (the share of good rows that gates reject is
    measured there), nor a judge's opinion, nor another output; other rows do."""
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


def test_rule_doubted_by_a_gate_or_judge_is_marked_unless_the_row_is_blind(tmp_path: Path) -> None:
    """Marks a style sentence that a failed gate or judge's question names, and a question that was answered with no, on
    rows for calibration and active learning. On rows of an estimate or an audit, and on blind gold, the rules are the
    same text as on a row without doubts."""
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


def test_gold_is_indistinguishable_from_other_rows_used_for_estimates(cats: tuple[Project, Population]) -> None:
    """A gold row has the same fields, suggestion and agent name as the others, and the same metadata, even what the
    page hides: users can filter by that. Gold rows have no score either."""
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


def test_gold_is_shown_both_blind_and_like_calibration_rows(cats: tuple[Project, Population]) -> None:
    """Some gold rows are blind; others look like rows for calibration, with a gate's finding, another output of the
    gold file for the same input, and similar metadata. Gold without another output stays blind, because ordinary rows
    without one are rare."""
    project, population = cats
    store = population.pool.source
    assert isinstance(store, Store)
    assert push_module._gold_disguises(project, store, population, [item.pair for item in read_gold(project)]) == {}
    lines = [
        {"input": f"gold cat {number}", "output": output, "verdict": "reject"}
        for number in range(20)
        for output in (f"A golden cat number {number} sits in the sun.", "Too short.")
    ]
    (project.folder / "gold.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    gold = [item.pair for item in read_gold(project)]
    forms = push_module._gold_disguises(project, store, population, gold)
    assert 5 < len(forms) < 35
    ordinary = record(project, population, next(iter(population.pairs(population.rows).values())), ["fit"])
    shown = [record(project, population, pair, ["gold"], gold=forms[pair.id]) for pair in gold if pair.id in forms]
    assert all("candidates" in row["fields"] and row["metadata"]["chosen_for"] == ["fit"] for row in shown)
    assert {name for row in shown for name in row["fields"]} >= set(ordinary["fields"])
    assert any("short: it has 2 words" in row["fields"].get("findings", "") for row in shown)


def test_differences_are_marked_only_if_the_task_keeps_words(cats: tuple[Project, Population]) -> None:
    """The gate `lost_content` shows that a task keeps words; without it there is nothing to compare."""
    project, population = cats
    pair = next(iter(population.pairs(population.rows).values()))
    assert not {"del", "ins", "b"} & Tags("".join(render_texts(project, ANY_TEXT, pair))).tags
    keeping = load(project.folder, ["curate.gates.lost_content=true"])
    assert {"ins", "b"} & Tags("".join(render_texts(keeping, ANY_TEXT, pair))).tags


def test_no_verdict_is_ever_suggested(cats: tuple[Project, Population]) -> None:
    """A rank among the candidates of an input is not a probability of being good, and annotators copy suggested
    answers. So a row suggests only its text to edit, nothing that the page would submit as the annotator's own
    verdict."""
    project, population = cats
    for pair in population.pairs(population.rows).values():
        for reason in ("fit", "border", "disagree", "certify"):
            (record_,) = record(project, population, pair, [reason])["suggestions"]  # type: ignore[list-item]
            assert (record_["question"], record_["value"]) == ("edited", pair.output)


def test_adjudicator_sees_every_answer_and_edited_text(cats: tuple[Project, Population]) -> None:
    """Shows the reviewer, verdict, reasons and new text of each answer; names and texts are escaped."""
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
    """Guidelines are generated from the spec: exemplars are the good examples, rows rejected by a gate, with its
    reason, the bad ones; texts are escaped."""
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
def test_guidelines_fit_argillas_limit(cats: tuple[Project, Population], text: str) -> None:
    """If the style, exemplars and rejected rows are as long as a book, the guidelines still contain the task and the
    keys, show the beginning of each text, and stay within 9,500 characters; short texts stay whole."""
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
