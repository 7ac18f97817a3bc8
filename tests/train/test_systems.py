"""The systems ask what they claim to ask, and systems that are the same are one."""

from __future__ import annotations

from pathlib import Path

from schemas.project import Project
from schemas.records import Seed
from schemas.spec import TeacherSettings
from tests.train.evaluated import project
from train.systems import LocalModel, Model, Models, System, decodings, systems_of

SEEDS = [Seed(kind="input", text="a clock", source="s:1"), Seed(kind="input", text="two boats", source="s:2")]
BASE = TeacherSettings(revision="r1", attempts=1)
# What the project's evaluation decodes with.
ALIKE = {"forward": {"sampling": {"temperature": 0.9, "max_tokens": 6}}}
TUNED = BASE.model_copy(update={"model": "tuned", "identity": "tuned", "revision": "adapter"})
HERE = LocalModel(None)


def systems(project: Project, teacher: TeacherSettings | None = BASE) -> tuple[System, ...]:
    return systems_of(project, SEEDS, Models(Model(BASE, HERE), Model(TUNED, LocalModel(None, Path("a"))), teacher))


def test_each_system_asks_what_the_manual_says(tmp_path: Path) -> None:
    """base: the style, no exemplar. few-shot: style and exemplars. tuned: the short system prompt and nothing else."""
    measured = project(tmp_path)
    base, few_shot, _, tuned = systems(measured)
    style = measured.spec.task.style
    assert [message.role for message in base.messages(SEEDS[0])] == ["system", "user"]
    assert style in base.messages(SEEDS[0])[0].content
    assert [message.role for message in few_shot.messages(SEEDS[0])] == ["system", "user", "assistant", "user"]
    assert few_shot.messages(SEEDS[0])[0] == base.messages(SEEDS[0])[0]
    assert [message.content for message in tuned.messages(SEEDS[1])] == ["Rewrite the prompt.", "two boats"]


def test_the_teacher_is_asked_as_it_generates(tmp_path: Path) -> None:
    """Generation's messages and generation's decoding, aids and limits included; another decoding is another system."""
    aids = {"temperature": 0.7, "top_k": 50, "repetition_penalty": 1.1, "no_repeat_ngram_size": 3, "max_tokens": 60}
    measured = project(tmp_path, generate={"forward": {"sampling": {**aids, "extra": {"min_p": 0.1}}}})
    four = systems(measured)
    assert [system.names for system in four] == [("base",), ("few-shot",), ("teacher",), ("tuned",)]
    few_shot, teacher = four[1:3]
    assert teacher.model.local == HERE
    assert teacher.messages(SEEDS[0]) == few_shot.messages(SEEDS[0])
    assert (teacher.decoding, few_shot.decoding) == ("generation", "evaluation")
    for seed in SEEDS:
        assert teacher.sampling("sampled", seed) == measured.spec.generate.forward.sampling
    greedy = teacher.sampling("greedy", SEEDS[0])
    assert (greedy.temperature, greedy.top_k, greedy.repetition_penalty) == (0.0, None, 1.1)
    assert (greedy.max_tokens, greedy.extra) == (60, {"min_p": 0.1})


def test_a_teacher_that_takes_no_temperature_is_asked_for_none(tmp_path: Path) -> None:
    """A reasoning model refuses 0 as it refuses any other: where the spec leaves it out, the evaluation does too. The
    embedded model has no default of its own to leave it to."""
    measured = project(tmp_path, generate={"forward": {"sampling": {"max_tokens": 60}}})
    remote = TeacherSettings(url="http://h", model="o4-mini")
    (teacher,) = [system for system in systems(measured, remote) if system.name == "teacher"]
    assert teacher.sampling("greedy", SEEDS[0]).body() == {"max_tokens": 60}
    (embedded,) = [system for system in systems(measured) if system.name == "teacher"]
    assert embedded.sampling("greedy", SEEDS[0]).temperature == 0.0


def test_equal_model_messages_and_decoding_are_one_system(tmp_path: Path) -> None:
    """The embedded teacher decoded as the evaluation decodes is the few-shot base: one system with two names."""
    measured = project(tmp_path, generate=ALIKE)
    merged = systems(measured, BASE.model_copy(update={"retries": 9}))
    assert [system.names for system in merged] == [("base",), ("few-shot", "teacher"), ("tuned",)]
    assert merged[1].model.local == HERE


def test_every_input_has_random_numbers_of_its_own(tmp_path: Path) -> None:
    """Chance is not the same in all inputs; it is the same for all systems, in every run, and follows train.seed."""
    measured, other = project(tmp_path), project(tmp_path, train={"seed": 18})
    base, _, _, tuned = systems(measured)
    streams = [base.sampling("sampled", seed).seed for seed in SEEDS]
    assert len(set(streams)) == len(SEEDS)
    assert streams == [tuned.sampling("sampled", seed).seed for seed in SEEDS]
    assert all(stream is not None and 0 <= stream < 2**28 for stream in streams)
    moved = systems(other)[0]
    assert moved.sampling("sampled", SEEDS[0]).seed != streams[0]


def test_another_teacher_or_revision_is_a_system_of_its_own(tmp_path: Path) -> None:
    """A different model is never merged, nor is another revision of the same."""
    for other in (TeacherSettings(url="http://127.0.0.1:1", model="big"), BASE.model_copy(update={"revision": "r2"})):
        apart = systems(project(tmp_path, generate=ALIKE), other)
        assert [system.names for system in apart] == [("base",), ("few-shot",), ("teacher",), ("tuned",)]
        assert apart[2].model.local is None


def test_without_exemplars_base_and_few_shot_are_one(tmp_path: Path) -> None:
    """Nothing is compared with itself under another name."""
    merged = systems(project(tmp_path, exemplars=[], generate=ALIKE))
    assert [system.names for system in merged] == [("base", "few-shot", "teacher"), ("tuned",)]


def test_greedy_is_greedy_and_both_are_seeded(tmp_path: Path) -> None:
    """Only how a token is drawn differs between the two decodings."""
    sampled, greedy = decodings(project(tmp_path).spec)
    assert (sampled.temperature, greedy.temperature) == (0.9, 0.0)
    assert sampled.seed == greedy.seed
    assert sampled.seed is not None
    assert sampled.max_tokens == greedy.max_tokens


def test_without_a_teacher_there_is_none_to_compare_with(tmp_path: Path) -> None:
    """From Python the teacher may be left out; the others stay as they are."""
    assert [system.names for system in systems(project(tmp_path), None)] == [("base",), ("few-shot",), ("tuned",)]


def test_the_key_of_a_system_is_the_one_that_was_always_made(tmp_path: Path) -> None:
    """Golden: model, revision, messages, decoding and schema by a frozen recipe, so old evaluations are found again."""
    assert [system.key(SEEDS)[:8] for system in systems(project(tmp_path))] == [
        "c3d66a80",
        "f9eccf0b",
        "226c2fd3",
        "1ededd11",
    ]
