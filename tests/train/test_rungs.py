"""The rungs ask what they claim to ask, and rungs that are the same are one."""

from __future__ import annotations

from pathlib import Path

from schemas.records import Seed
from schemas.spec import TeacherSettings
from tests.train.evaluated import project
from train.rungs import contenders, decodings

SEEDS = [Seed(kind="input", text="a clock", source="s:1"), Seed(kind="input", text="two boats", source="s:2")]
BASE = TeacherSettings(revision="r1", attempts=1)
TUNED = BASE.model_copy(update={"model": "tuned", "identity": "tuned", "revision": "adapter"})


def test_each_rung_says_what_the_ladder_promises(tmp_path: Path) -> None:
    """base: the style, no exemplar. few-shot: style and exemplars. tuned: the short system prompt and nothing else."""
    made = project(tmp_path)
    base, few_shot, tuned = contenders(made, SEEDS, BASE, TUNED, BASE)
    style = made.spec.task.style
    assert [message.role for message in base.messages(SEEDS[0])] == ["system", "user"]
    assert style in base.messages(SEEDS[0])[0].content
    assert [message.role for message in few_shot.messages(SEEDS[0])] == ["system", "user", "assistant", "user"]
    assert few_shot.messages(SEEDS[0])[0] == base.messages(SEEDS[0])[0]
    assert [message.content for message in tuned.messages(SEEDS[1])] == ["Rewrite the prompt.", "two boats"]


def test_the_embedded_teacher_is_the_few_shot_rung(tmp_path: Path) -> None:
    """Same model, same revision, same messages, same decoding: one rung with two names."""
    rungs = contenders(project(tmp_path), SEEDS, BASE, TUNED, BASE.model_copy(update={"retries": 9}))
    assert [rung.names for rung in rungs] == [("base",), ("few-shot", "teacher"), ("tuned",)]
    assert rungs[1].where == "base"


def test_another_teacher_or_revision_is_a_rung_of_its_own(tmp_path: Path) -> None:
    """A different model is never merged, nor is another revision of the same."""
    for other in (TeacherSettings(url="http://127.0.0.1:1", model="big"), BASE.model_copy(update={"revision": "r2"})):
        rungs = contenders(project(tmp_path), SEEDS, BASE, TUNED, other)
        assert [rung.names for rung in rungs] == [("base",), ("few-shot",), ("teacher",), ("tuned",)]
        assert rungs[2].where == "teacher"


def test_without_exemplars_base_and_few_shot_are_one(tmp_path: Path) -> None:
    """Nothing is compared with itself under another name."""
    rungs = contenders(project(tmp_path, exemplars=[]), SEEDS, BASE, TUNED, BASE)
    assert [rung.names for rung in rungs] == [("base", "few-shot", "teacher"), ("tuned",)]


def test_greedy_is_greedy_and_both_are_seeded(tmp_path: Path) -> None:
    """Only how a token is drawn differs between the two decodings."""
    sampled, greedy = decodings(project(tmp_path).spec)
    assert (sampled.temperature, greedy.temperature) == (0.9, 0.0)
    assert sampled.seed == greedy.seed
    assert sampled.seed is not None
    assert sampled.max_tokens == greedy.max_tokens
