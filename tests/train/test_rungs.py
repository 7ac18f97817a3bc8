"""The rungs ask what they claim to ask, and rungs that are the same are one."""

from __future__ import annotations

from pathlib import Path

from schemas.records import Seed
from schemas.spec import TeacherSettings
from tests.train.evaluated import project
from train.rungs import contenders, decodings

SEEDS = [Seed(kind="input", text="a clock", source="s:1"), Seed(kind="input", text="two boats", source="s:2")]
BASE = TeacherSettings(revision="r1", attempts=1)
# What the project's evaluation decodes with.
ALIKE = {"forward": {"sampling": {"temperature": 0.9, "max_tokens": 6}}}
TUNED = BASE.model_copy(update={"model": "tuned", "identity": "tuned", "revision": "adapter"})


def test_each_rung_says_what_the_ladder_promises(tmp_path: Path) -> None:
    """base: the style, no exemplar. few-shot: style and exemplars. tuned: the short system prompt and nothing else."""
    made = project(tmp_path)
    base, few_shot, _, tuned = contenders(made, SEEDS, BASE, TUNED, BASE)
    style = made.spec.task.style
    assert [message.role for message in base.messages(SEEDS[0])] == ["system", "user"]
    assert style in base.messages(SEEDS[0])[0].content
    assert [message.role for message in few_shot.messages(SEEDS[0])] == ["system", "user", "assistant", "user"]
    assert few_shot.messages(SEEDS[0])[0] == base.messages(SEEDS[0])[0]
    assert [message.content for message in tuned.messages(SEEDS[1])] == ["Rewrite the prompt.", "two boats"]


def test_the_teacher_is_asked_as_it_generates(tmp_path: Path) -> None:
    """Generation's messages and generation's decoding, aids and limits included; another decoding is another system."""
    aids = {"temperature": 0.7, "top_k": 50, "repetition_penalty": 1.1, "no_repeat_ngram_size": 3, "max_tokens": 60}
    made = project(tmp_path, generate={"forward": {"sampling": {**aids, "extra": {"min_p": 0.1}}}})
    systems = contenders(made, SEEDS, BASE, TUNED, BASE)
    assert [system.names for system in systems] == [("base",), ("few-shot",), ("teacher",), ("tuned",)]
    few_shot, teacher = systems[1:3]
    assert teacher.where == "base"
    assert teacher.messages(SEEDS[0]) == few_shot.messages(SEEDS[0])
    assert (teacher.decoding, few_shot.decoding) == ("generation", "evaluation")
    for seed in SEEDS:
        assert teacher.sampling("sampled", seed) == made.spec.generate.forward.sampling
    greedy = teacher.sampling("greedy", SEEDS[0])
    assert (greedy.temperature, greedy.top_k, greedy.repetition_penalty) == (0.0, None, 1.1)
    assert (greedy.max_tokens, greedy.extra) == (60, {"min_p": 0.1})


def test_equal_model_messages_and_decoding_are_one_system(tmp_path: Path) -> None:
    """The embedded teacher decoded as the evaluation decodes is the few-shot base: one system with two names."""
    made = project(tmp_path, generate=ALIKE)
    rungs = contenders(made, SEEDS, BASE, TUNED, BASE.model_copy(update={"retries": 9}))
    assert [rung.names for rung in rungs] == [("base",), ("few-shot", "teacher"), ("tuned",)]
    assert rungs[1].where == "base"


def test_every_input_has_random_numbers_of_its_own(tmp_path: Path) -> None:
    """Chance is not the same in all inputs; it is the same for all systems, in every run, and follows train.seed."""
    made, other = project(tmp_path), project(tmp_path, train={"seed": 18})
    base, _, _, tuned = contenders(made, SEEDS, BASE, TUNED, BASE)
    streams = [base.sampling("sampled", seed).seed for seed in SEEDS]
    assert len(set(streams)) == len(SEEDS)
    assert streams == [tuned.sampling("sampled", seed).seed for seed in SEEDS]
    assert all(stream is not None and 0 <= stream < 2**28 for stream in streams)
    moved = contenders(other, SEEDS, BASE, TUNED, BASE)[0]
    assert moved.sampling("sampled", SEEDS[0]).seed != streams[0]


def test_another_teacher_or_revision_is_a_rung_of_its_own(tmp_path: Path) -> None:
    """A different model is never merged, nor is another revision of the same."""
    for other in (TeacherSettings(url="http://127.0.0.1:1", model="big"), BASE.model_copy(update={"revision": "r2"})):
        rungs = contenders(project(tmp_path, generate=ALIKE), SEEDS, BASE, TUNED, other)
        assert [rung.names for rung in rungs] == [("base",), ("few-shot",), ("teacher",), ("tuned",)]
        assert rungs[2].where == "teacher"


def test_without_exemplars_base_and_few_shot_are_one(tmp_path: Path) -> None:
    """Nothing is compared with itself under another name."""
    rungs = contenders(project(tmp_path, exemplars=[], generate=ALIKE), SEEDS, BASE, TUNED, BASE)
    assert [rung.names for rung in rungs] == [("base", "few-shot", "teacher"), ("tuned",)]


def test_greedy_is_greedy_and_both_are_seeded(tmp_path: Path) -> None:
    """Only how a token is drawn differs between the two decodings."""
    sampled, greedy = decodings(project(tmp_path).spec)
    assert (sampled.temperature, greedy.temperature) == (0.9, 0.0)
    assert sampled.seed == greedy.seed
    assert sampled.seed is not None
    assert sampled.max_tokens == greedy.max_tokens
