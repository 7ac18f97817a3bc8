"""Tests of how failed rows are shown, when `run` continues without them, and separate teachers for each direction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pairsmith import Project
from pairsmith.stages.generate import summary
from schemas.errors import NoWork, TeacherError
from tests.pairsmith.conftest import SPEC, SUBJECTS, subject_of
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails

FIRST = '[generate.forward]\nteacher = "strong"'


def project(folder: Path, url: str, *overrides: str, **settings: Any) -> Project:
    lines = [f'{{"text": "{subject}"}}' for subject in SUBJECTS]
    (folder / "seeds.jsonl").write_text("\n".join(lines))
    text = SPEC.format(url=url)
    for old, new in settings.get("replaced", {}).items():
        assert old in text
        text = text.replace(old, new)
    (folder / "pairsmith.toml").write_text(text)
    return Project(folder, ["teacher.retries=0", *overrides])


def test_the_message_of_the_server_is_shown_with_an_example(tmp_path: Path) -> None:
    """Not only `refused 4`, but what the server answered, how often, and the first seed affected."""
    text = "This content is against our rules."
    bad = SUBJECTS[2:4]
    with LoopbackTeacher(lambda ask: fails(400, text) if subject_of(ask) in bad else Reply()) as teacher:
        outcome = project(tmp_path, teacher.url).generate()
    assert outcome.reasons == {"refused": 4}
    (failure,) = outcome.failures
    assert text in failure["what"]
    assert failure["rows"] == 4
    assert failure["first"] in ("seeds.jsonl:3", "seeds.jsonl:4")
    assert text in str(summary(outcome))
    assert outcome.as_json()["facts"]["failures"] == (failure,)


def test_if_all_rows_fail_the_message_is_in_the_error(tmp_path: Path) -> None:
    """A small project ends before failures would stop the run. The error still contains the server's message, and once
    the cause is fixed every row is requested again."""
    with (
        LoopbackTeacher(lambda ask: fails(400, "System role not supported")) as teacher,
        pytest.raises(NoWork, match="System role not supported"),
    ):
        project(tmp_path, teacher.url, "seeds.0.limit=3").generate()
    with LoopbackTeacher() as working:
        assert project(tmp_path, working.url, "seeds.0.limit=3").generate().counts.failed == 0


def test_run_stops_if_too_many_rows_are_unanswered(tmp_path: Path) -> None:
    """With more than `unanswered_at_most` unanswered rows nothing is curated; the next run requests no row that was
    answered."""
    gone, bad = SUBJECTS[:4], SUBJECTS[4:11]

    def reply(ask: Ask) -> Reply:
        if subject_of(ask) in bad:
            return fails(400, "against our rules")
        return fails(503, "overloaded") if subject_of(ask) in gone else Reply()

    with LoopbackTeacher(reply) as teacher:
        with pytest.raises(TeacherError, match=r"8 of 24 rows got no answer \(server: .*overloaded"):
            project(tmp_path, teacher.url).run()
        stages = {step.stage: step.done for step in project(tmp_path, teacher.url).status()}
        assert not stages["curate"]
        asked = len(teacher.asked)
        with pytest.raises(TeacherError, match="8 of 24"):
            project(tmp_path, teacher.url).run()
        again = {subject_of(ask) for ask in teacher.asked[asked:]}
        assert set(gone) <= again <= {*gone, *bad}, "answered rows are not requested again"


def test_each_direction_uses_its_own_teacher(tmp_path: Path) -> None:
    """One teacher writes outputs and the other inputs; pairs are attributed to them correctly, and nothing is requested
    twice."""
    with LoopbackTeacher() as plain, LoopbackTeacher() as strong:
        replaced = {
            "[generate.forward]": f'[teachers.strong]\nurl = "{strong.url}"\nmodel = "big"\n\n{FIRST}',
            "[[exemplars]]": '[[seeds]]\npath = "out.txt"\nkind = "output"\n\n[[exemplars]]',
        }
        (tmp_path / "out.txt").write_text("a very long and excellent output\nanother one, as long and as good\n")
        project_ = project(tmp_path, plain.url, replaced=replaced)
        outcome = project_.generate()
        assert outcome.counts.rows_in == 24 + 6
        assert {ask.body["model"] for ask in strong.asked} == {"big"}
        assert {ask.body["model"] for ask in plain.asked} == {"loopback"}
        assert (len(strong.asked), len(plain.asked)) == (12, 6)
        assert outcome.calls_sent == 18
        assert outcome.served == {"big": 12, "loopback": 6}
        pairs = [row.pair for row in project_.pool().rows() if row.pair]
        assert {(pair.origin.generator, pair.origin.teacher) for pair in pairs} == {
            ("forward", "big"),
            ("backward", "loopback"),
        }
        assert {step.stage: step.done for step in project_.status()}["generate"]
        project_.generate()
        assert (len(strong.asked), len(plain.asked)) == (12, 6)


def test_editing_the_description_of_a_prompt_changes_no_pair(tmp_path: Path) -> None:
    """Changing `about` sends no request and keeps the ids of all pairs, so their reviews stay valid; changing the
    prompt's text makes new pairs."""
    own = tmp_path / "prompts" / "enhance"
    own.mkdir(parents=True)
    prompt = '+++\nabout = "A first word."\n[variables]\ninput = "i"\n+++\n=== user ===\nWrite more: {{ input }}\n'
    (own / "v1.jinja").write_text(prompt)

    def ids(project: Project) -> set[str]:
        return {row.pair.id for row in project.pool().rows() if row.pair}

    with LoopbackTeacher() as teacher:
        project_ = project(tmp_path, teacher.url)
        project_.generate()
        first, asked = ids(project_), len(teacher.asked)
        assert len(first) == 24
        (own / "v1.jinja").write_text(prompt.replace("A first word.", "Better words."))
        outcome = project_.generate()
        assert (outcome.calls_sent, len(teacher.asked)) == (0, asked)
        assert ids(project_) == first
        (own / "v1.jinja").write_text(prompt.replace("Write more", "Write much more"))
        assert project_.generate().calls_sent == 12
        assert not ids(project_) & first
