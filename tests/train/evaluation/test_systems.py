"""Tests that each system sends the documented messages, and that identical systems are merged."""

from __future__ import annotations

from pathlib import Path

from schemas.project import Project
from schemas.records import Seed
from schemas.spec import TeacherSettings
from tests.train.evaluated import project
from train.evaluation.systems import LocalModel, Model, Models, System, decodings, systems_of

SEEDS = [Seed(kind="input", text="a clock", source="s:1"), Seed(kind="input", text="two boats", source="s:2")]
BASE = TeacherSettings(revision="r1", attempts=1)
# Generation with the sampling of the evaluation, so that identical systems merge.
EQUAL_DECODING = {"forward": {"sampling": {"temperature": 0.9, "max_tokens": 6}}}
TUNED = BASE.model_copy(update={"model": "tuned", "identity": "tuned", "revision": "adapter"})
HERE = LocalModel(None)


def systems(project: Project, teacher: TeacherSettings | None = BASE) -> tuple[System, ...]:
    return systems_of(project, SEEDS, Models(Model(BASE, HERE), Model(TUNED, LocalModel(None, Path("a"))), teacher))


def test_each_system_sends_the_documented_messages(tmp_path: Path) -> None:
    """base: the style without exemplars. few-shot: style and exemplars. tuned: only the short system prompt."""
    measured = project(tmp_path)
    base, few_shot, _, tuned = systems(measured)
    style = measured.spec.task.style
    assert [message.role for message in base.messages(SEEDS[0])] == ["system", "user"]
    assert style in base.messages(SEEDS[0])[0].content
    assert [message.role for message in few_shot.messages(SEEDS[0])] == ["system", "user", "assistant", "user"]
    assert few_shot.messages(SEEDS[0])[0] == base.messages(SEEDS[0])[0]
    assert [message.content for message in tuned.messages(SEEDS[1])] == ["Rewrite the prompt.", "two boats"]


def test_the_teacher_is_asked_as_in_generation(tmp_path: Path) -> None:
    """With generation's messages and sampling, including repetition settings and limits; other sampling makes it
    another system."""
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


def test_no_temperature_is_sent_to_a_teacher_without_one(tmp_path: Path) -> None:
    """A reasoning model refuses any temperature, including 0: if the spec leaves it out, so does the evaluation. The
    embedded model has no default of its own, so it gets 0."""
    measured = project(tmp_path, generate={"forward": {"sampling": {"max_tokens": 60}}})
    remote = TeacherSettings(url="http://h", model="o4-mini")
    (teacher,) = [system for system in systems(measured, remote) if system.name == "teacher"]
    assert teacher.sampling("greedy", SEEDS[0]).body() == {"max_tokens": 60}
    (embedded,) = [system for system in systems(measured) if system.name == "teacher"]
    assert embedded.sampling("greedy", SEEDS[0]).temperature == 0.0


def test_equal_model_messages_and_decoding_are_one_system(tmp_path: Path) -> None:
    """The embedded teacher decoded like the evaluation is the few-shot base: one system with two names."""
    measured = project(tmp_path, generate=EQUAL_DECODING)
    merged = systems(measured, BASE.model_copy(update={"retries": 9}))
    assert [system.names for system in merged] == [("base",), ("few-shot", "teacher"), ("tuned",)]
    assert merged[1].model.local == HERE


def test_every_input_has_its_own_sampling_seed(tmp_path: Path) -> None:
    """Sampling seeds differ between inputs, are the same for all systems and runs, and follow train.seed."""
    measured, other = project(tmp_path), project(tmp_path, train={"seed": 18})
    base, _, _, tuned = systems(measured)
    streams = [base.sampling("sampled", seed).seed for seed in SEEDS]
    assert len(set(streams)) == len(SEEDS)
    assert streams == [tuned.sampling("sampled", seed).seed for seed in SEEDS]
    assert all(stream is not None and 0 <= stream < 2**28 for stream in streams)
    moved = systems(other)[0]
    assert moved.sampling("sampled", SEEDS[0]).seed != streams[0]


def test_another_teacher_or_revision_is_not_merged(tmp_path: Path) -> None:
    """Neither another model nor another revision of the same model is merged."""
    for other in (TeacherSettings(url="http://127.0.0.1:1", model="big"), BASE.model_copy(update={"revision": "r2"})):
        separate = systems(project(tmp_path, generate=EQUAL_DECODING), other)
        assert [system.names for system in separate] == [("base",), ("few-shot",), ("teacher",), ("tuned",)]
        assert separate[2].model.local is None


def test_without_exemplars_base_and_few_shot_are_one(tmp_path: Path) -> None:
    """Nothing is compared with itself under another name."""
    merged = systems(project(tmp_path, exemplars=[], generate=EQUAL_DECODING))
    assert [system.names for system in merged] == [("base", "few-shot", "teacher"), ("tuned",)]


def test_greedy_is_greedy_and_both_are_seeded(tmp_path: Path) -> None:
    """The two decodings differ only in how a token is chosen."""
    sampled, greedy = decodings(project(tmp_path).spec)
    assert (sampled.temperature, greedy.temperature) == (0.9, 0.0)
    assert sampled.seed == greedy.seed
    assert sampled.seed is not None
    assert sampled.max_tokens == greedy.max_tokens


def test_without_a_teacher_there_is_no_teacher_system(tmp_path: Path) -> None:
    """From Python the teacher may be left out; the other systems stay the same."""
    assert [system.names for system in systems(project(tmp_path), None)] == [("base",), ("few-shot",), ("tuned",)]


def test_the_key_of_a_system_never_changes(tmp_path: Path) -> None:
    """Golden values: model, revision, messages, decoding and schema give the key by a frozen recipe, so that old
    evaluations are reused."""
    assert [system.key(SEEDS)[:8] for system in systems(project(tmp_path))] == [
        "c3d66a80",
        "f9eccf0b",
        "226c2fd3",
        "1ededd11",
    ]
