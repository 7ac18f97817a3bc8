"""What an annotator sees, built from the spec and the store; nothing in a text may run or break the page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.review.pool import Pool, read_pool
from curate.review.task import agent_name, bad_examples, diff, escaped, guidelines, record
from schemas.spec_file import Project
from schemas.store import Store
from tests.review.review_project import SCOPE, fill, project


@pytest.fixture
def cats(tmp_path: Path) -> tuple[Project, Pool]:
    """A judged pool with texts that try to be code."""
    made = project(tmp_path)
    with Store.open(Store.url_for(made)) as store:
        fill(made, store, nasty=True)
        return made, read_pool(made, store, [SCOPE])


class Tags(HTMLParser):
    """The tags and the text of some HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text, self.kept = "", ""
        self.deleted = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self.deleted = tag == "del" or self.deleted
        if tag == "br" and not self.deleted:
            self.kept += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag == "del":
            self.deleted = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if not self.deleted:
            self.kept += data


@given(st.text(alphabet=st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"])), st.text(max_size=30))
def test_the_diff_shows_the_output_word_by_word_and_makes_no_tag(after: str, before: str) -> None:
    """What is not struck through reads as the output, exactly; whatever the texts, only our tags are made, and no
    blank line ends the block, after which Markdown would be read."""
    shown = diff(before, after)
    found = Tags(shown)
    assert found.kept == after
    assert found.tags <= {"div", "ins", "del", "br"}
    assert "\n\n" not in escaped(after)


def test_the_diff_marks_what_was_added_and_left_out() -> None:
    """Known words."""
    assert diff("red cat", "A red tabby cat") == "<div><ins>A </ins>red <ins>tabby </ins>cat</div>"
    assert diff("big cat", "cat") == "<div><del>big </del>cat</div>"


def test_a_row_shows_text_candidates_and_findings_and_nothing_runs(cats: tuple[Project, Pool]) -> None:
    """Plain fields hold the texts as they are; Markdown fields hold escaped ones; a rejected row names the gate."""
    made, pool = cats
    rejected = next(id_ for id_, row in pool.rows.items() if row.passed is False)
    told = record(made, pool, pool.pairs[rejected], ["audit_rejected"], 0.25)
    assert told["external_id"] == rejected
    assert told["fields"]["simple"] == pool.pairs[rejected].simple
    assert "gate/length@1" in told["fields"]["findings"]
    assert told["metadata"]["rejected_by"] == ["gate/length@1"]
    assert told["metadata"]["probability"] == 0.25
    assert len(told["metadata"]["rivals"]) == 3
    for name in ("changes", "candidates", "findings"):
        assert Tags(told["fields"][name]).tags <= {"div", "ins", "del", "br", "p", "b", "ul", "li"}
    assert "alert(2)" in Tags(told["fields"]["candidates"]).text


def test_candidates_are_those_of_the_same_input_best_first(cats: tuple[Project, Pool]) -> None:
    """The metadata names them in the order shown, so that a ranking can be tied back to pairs."""
    made, pool = cats
    for pair in pool.pairs.values():
        rivals = [pool.pairs[id_] for id_ in record(made, pool, pair, ["fit"], 0.1)["metadata"]["rivals"]]
        assert {(rival.seed_id, rival.simple) for rival in rivals} == {(pair.seed_id, pair.simple)}
        assert pair not in rivals
        scores = [pool.scores.get(rival.id, -1.0) for rival in rivals]
        assert scores == sorted(scores, reverse=True)


def test_percentiles_compare_candidates_of_one_input_only(cats: tuple[Project, Pool]) -> None:
    """Best, middle and last of three scored candidates are 1, one half and 0; unscored ones have none."""
    _, pool = cats
    told = sorted((row.percentile for row in pool.rows.values()), key=lambda p: (p is None, p))
    assert told == [0.0] * 12 + [0.5] * 12 + [1.0] * 12 + [None] * 12
    assert sum(row.accepted for row in pool.rows.values()) == 12


def test_the_programs_verdict_is_not_shown_where_labels_must_be_independent(cats: tuple[Project, Pool]) -> None:
    """Rows that an estimate or an annotator's accuracy stands on suggest the text only; others also what programs
    think, with agent and score."""
    made, pool = cats
    best = next(id_ for id_, row in pool.rows.items() if row.accepted)
    for reason in ("certify", "audit_accepted", "gold"):
        told = record(made, pool, pool.pairs[best], ["border", reason], 0.2)  # type: ignore[list-item]
        assert [s["question"] for s in told["suggestions"]] == ["edited"]
        assert told["suggestions"][0]["agent"] == "teacher-7b"
        assert told["suggestions"][0]["value"] == pool.pairs[best].enhanced
    told = record(made, pool, pool.pairs[best], ["border"], 0.2)
    verdict = next(s for s in told["suggestions"] if s["question"] == "verdict")
    assert verdict == {
        "question": "verdict", "value": "accept", "agent": "score/test v1", "type": "model", "score": 1.0
    }  # fmt: skip
    rejected = next(id_ for id_, row in pool.rows.items() if row.passed is False)
    told = record(made, pool, pool.pairs[rejected], ["fit"], 0.2)
    assert {s["question"]: s["value"] for s in told["suggestions"]} == {
        "edited": "Too short.", "verdict": "reject", "reasons": ["length"]
    }  # fmt: skip


def test_guidelines_show_the_style_the_keys_and_examples_of_both_kinds(cats: tuple[Project, Pool]) -> None:
    """Generated from the spec: exemplars as good, gate-rejected rows with the gate's words as bad; texts escaped."""
    made, pool = cats
    text = guidelines(made, bad_examples(pool))
    assert "A tabby cat sleeps on a warm stove." in text
    assert "Too short." in text
    assert "Why not" in text
    assert "`length`, `off_style`, `invented`" in text
    assert all(f"| `{key}` |" in text for key in "123")
    assert "<script>" not in text
    assert "<img" not in text


def test_an_agents_name_is_one_that_argilla_takes() -> None:
    """Argilla refuses a whole batch for one character it does not like."""
    assert agent_name("score/reward@1") == "score/reward v1"
    assert agent_name("org/modèl+x") == "org/mod-l-x"
