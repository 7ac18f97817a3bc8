"""From seeds to pairs, and what makes two generations the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts import load
from schemas.errors import PromptError
from schemas.project import Project
from schemas.records import Generated, Sampling
from schemas.spec import (
    BackwardSettings,
    EvaluateSettings,
    Exemplar,
    ForwardSettings,
    Pattern,
    Purpose,
    SeedSource,
    Spec,
    TaskSettings,
    TeacherSettings,
)
from schemas.store import Store
from synth.answers import clean
from synth.endpoints.endpoint import Endpoint
from synth.generators import Backward, Forward, Generator, Outcome, fingerprint, fingerprints
from synth.ledger import Ledger
from tests.synth.loopback import LoopbackTeacher, says
from tests.synth.rig import EXEMPLARS, TASK, Rig, input, output, prompts_in, rig


def outcomes(teacher: LoopbackTeacher, folder: Path, which: str, **settings: Any) -> tuple[list[Outcome], Rig]:
    async def run() -> tuple[list[Outcome], Rig]:
        async with rig(teacher.url, folder, **settings) as r:
            generator: Generator = getattr(r, which)
            (seed,) = input(1) if which == "forward" else output(1)
            return await generator(seed), r

    return asyncio.run(run())


def test_forward_makes_n_candidates_of_an_input_seed(tmp_path: Path) -> None:
    """Each pair has the seed's text, an answer, the student's system prompt and its full origin."""
    with LoopbackTeacher() as teacher:
        outcome, _ = outcomes(teacher, tmp_path, "forward", n=3)
    assert [o.candidate.sample for o in outcome] == [0, 1, 2]
    for o in outcome:
        assert o.pair is not None
        assert o.candidate.pair_id == o.pair.id
        assert (o.pair.input, o.pair.system) == ("dog 0", TASK.system)
        assert o.pair.output.startswith("dog 0, at length")
        origin = o.pair.origin
        assert isinstance(origin, Generated)
        assert (origin.generator, origin.teacher, origin.prompt) == (
            "forward",
            "loopback",
            load("enhance", tmp_path).ref,
        )
        assert origin.sampling == Sampling(temperature=0.9)
    assert len({o.pair.id for o in outcome if o.pair}) == 3
    (asked,) = teacher.asked
    roles = [m["role"] for m in asked.body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert TASK.style in asked.body["messages"][0]["content"]
    assert asked.body["messages"][2]["content"] == EXEMPLARS[0].output


def test_backward_makes_one_input_for_every_level(tmp_path: Path) -> None:
    """The seed is the output of each pair. The level is sent to the teacher and stored with the pair."""
    with LoopbackTeacher(lambda ask: says("a hound")) as teacher:
        outcome, _ = outcomes(teacher, tmp_path, "backward")
    pairs = [o.pair for o in outcome if o.pair]
    assert [(p.input, p.output, p.meta) for p in pairs] == [
        ("a hound", "hound 0 on a hill at dawn", {"level": "three words"}),
        ("a hound", "hound 0 on a hill at dawn", {"level": "one sentence"}),
    ]
    assert len({p.id for p in pairs}) == 2
    assert sorted("three words" in ask.prompt for ask in teacher.asked) == [False, True]


def test_a_bad_sample_fails_alone(tmp_path: Path) -> None:
    """The other candidates of the seed become pairs, and the failure has a reason code."""
    with LoopbackTeacher(lambda ask: says("long text", "") if ask.n == 2 else says("")) as teacher:
        outcome, _ = outcomes(teacher, tmp_path, "forward")
    assert [o.pair is None for o in outcome] == [False, True]
    assert str(outcome[1].candidate.failure).startswith("empty: ")


def test_answer_of_only_quotation_marks_fails(tmp_path: Path) -> None:
    """An answer that is empty after cleaning is a failure, never an empty row."""
    with LoopbackTeacher(lambda ask: says('""', "```\n\n```")) as teacher:
        outcome, _ = outcomes(teacher, tmp_path, "forward")
    assert all(o.pair is None and str(o.candidate.failure).startswith("empty: ") for o in outcome)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("  a dog\n", "a dog"),
        ('"a dog"', "a dog"),
        ("\u201ca dog\u201d", "a dog"),
        ("'a dog'", "a dog"),
        ("```\na dog\n```", "a dog"),
        ('```text\n"a dog"\n```', "a dog"),
        ('"a dog" and "a cat"', '"a dog" and "a cat"'),
        ('a sign that says "open"', 'a sign that says "open"'),
        ("'tis the dog's'", "'tis the dog's'"),
        ("Here it is: a dog", "Here it is: a dog"),
        ("```\na\n```\n```\nb\n```", "```\na\n```\n```\nb\n```"),
        ('"', '"'),
        ("", ""),
    ],
)
def test_cleaning_removes_only_what_surrounds_the_answer(answer: str, text: str) -> None:
    """Whitespace, one fence and one pair of quotes around the whole text are removed, never anything inside."""
    assert clean(answer) == text


@given(st.text())
def test_cleaning_never_adds_or_reorders(text: str) -> None:
    """The result is a substring of the answer."""
    assert clean(text) in text


def fingerprint_of(
    folder: Path,
    *,
    task: TaskSettings = TASK,
    exemplars: tuple[Exemplar, ...] = EXEMPLARS,
    settings: ForwardSettings | BackwardSettings | None = None,
    prompt: str = "enhance",
    **teacher: Any,
) -> str:
    spec = TeacherSettings(model=teacher.pop("model", "m"), **teacher)
    return fingerprint(
        "forward", task, exemplars, settings or ForwardSettings(), load(prompt, prompts_in(folder)), spec
    )


def test_fingerprint_covers_only_what_shapes_pairs(tmp_path: Path) -> None:
    """Another style, exemplars, sampling, prompt or teacher gives a new pool. More candidates or another port do
    not."""
    base = fingerprint_of(tmp_path)
    same = [
        fingerprint_of(tmp_path, settings=ForwardSettings(n=9)),
        fingerprint_of(tmp_path, url="http://other:1", concurrency=3, timeout_s=1.0, attempts=9, retries=0),
        fingerprint_of(tmp_path, model="alias", identity="m"),
    ]
    assert set(same) == {base}
    other = [
        fingerprint_of(tmp_path, task=TASK.model_copy(update={"style": "Write less."})),
        fingerprint_of(tmp_path, task=TASK.model_copy(update={"system": "Rewrite."})),
        fingerprint_of(tmp_path, exemplars=()),
        fingerprint_of(tmp_path, settings=ForwardSettings(sampling=Sampling(temperature=0.1))),
        fingerprint_of(tmp_path, settings=BackwardSettings(sampling=ForwardSettings().sampling)),
        fingerprint_of(tmp_path, model="m2"),
        fingerprint_of(tmp_path, revision="r2"),
        fingerprint_of(tmp_path, prompt="simplify"),
    ]
    assert len({base, *other}) == 1 + len(other)


def test_fingerprints_of_a_project_need_no_teacher_and_never_change(tmp_path: Path) -> None:
    """Fingerprints are computed from spec, prompts and teacher settings, without store or server, and match those of
    older stores."""
    spec = Spec(
        task=TaskSettings(name="golden", style="Rewrite richly."),
        seeds=(SeedSource(path="s.jsonl"),),
        exemplars=(Exemplar(input="a fox", output="a fox at dawn"),),
        evaluate=EvaluateSettings(checks=(Pattern(name="a", pattern="x"), Pattern(name="b", pattern="y"))),
    )
    project = Project(tmp_path, spec)

    def both(**settings: str) -> dict[Purpose, TeacherSettings]:
        teacher = TeacherSettings(url="http://h", model="m", **settings)
        return {"forward": teacher, "backward": teacher}

    assert fingerprints(
        project, dict.fromkeys(("forward", "backward"), TeacherSettings(url="http://h", model="m", revision="r1"))
    ) == {
        "forward": "fc75974a864abefed8beb09f4521d227",
        "backward": "1c9b472b73c0ce52527ef4b33dd02cdc",
    }
    assert fingerprints(
        project, dict.fromkeys(("forward", "backward"), TeacherSettings(url="http://h", model="m", identity="i"))
    ) == {
        "forward": "778c6c51927cb8f08b2bfffc2b898fbe",
        "backward": "db3602634278bd80db6e6a8f058c61ab",
    }


def test_prompt_with_an_unavailable_variable_is_refused_at_once(tmp_path: Path) -> None:
    """The error comes before the first request and lists the available variables."""
    own = tmp_path / "prompts" / "enhance"
    own.mkdir(parents=True)
    (own / "v1.jinja").write_text('+++\nabout = "x"\n[variables]\nmood = "m"\n+++\n=== user ===\n{{ mood }}\n')
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        spec = TeacherSettings(model="m")
        ledger = Ledger(store, Endpoint("http://h", "m"), spec)
        with pytest.raises(PromptError, match=r"'mood'.*exemplars, input, input_language, labels, language, output_l"):
            Forward(ledger, TASK.style, prompt=load("enhance", tmp_path))


def prompt_of(folder: Path, name: str, variables: str, template: str) -> None:
    own = folder / "prompts" / name
    own.mkdir(parents=True, exist_ok=True)
    (own / "v1.jinja").write_text(f'+++\nabout = "x"\n[variables]\n{variables}\n+++\n=== user ===\n{template}\n')


STYLE, INPUT, OUTPUT, LEVEL = 'style = "s"\n', 'input = "i"\n', 'output = "o"\n', 'level = "l"\n'


@pytest.mark.parametrize(
    ("way", "variables", "template", "unused"),
    [
        ("forward", STYLE, "Write like this: {{ style }}", "input"),
        ("forward", STYLE + INPUT, "Write like this: {{ style }}", "input"),
        ("forward", INPUT, "{% if input %}Write.{% endif %}", "input"),
        ("forward", INPUT, "{# {{ input }} #}Write.", "input"),
        ("backward", LEVEL, "Shorten it to {{ level }}.", "output"),
        ("backward", OUTPUT + LEVEL, "Shorten it: {{ output }}", "level"),
        ("backward", OUTPUT, "Shorten it: {{ output }}", "level"),
    ],
)
def test_prompt_that_does_not_use_the_seed_is_refused_at_once(
    way: str, variables: str, template: str, unused: str, tmp_path: Path
) -> None:
    """Otherwise every seed would get the same answers, and every level of a seed the same question."""
    prompt_of(tmp_path, "own", variables, template)
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        ledger = Ledger(store, Endpoint("http://h", "m"), TeacherSettings(model="m"))
        make = {"forward": Forward, "backward": Backward}[way]
        with pytest.raises(PromptError, match=f"is the same for every value of '{unused}'"):
            make(ledger, TASK.style, prompt=load("own", tmp_path))


def test_a_prompt_may_leave_out_what_does_not_vary(tmp_path: Path) -> None:
    """With a single level there is nothing to distinguish, and a prompt may use only a part of the text."""
    prompt_of(tmp_path, "short", OUTPUT, "Shorten it: {{ output }}")
    prompt_of(tmp_path, "parts", INPUT, "{{ input.split('|')[1] }}")
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        ledger = Ledger(store, Endpoint("http://h", "m"), TeacherSettings(model="m"))
        Backward(ledger, TASK.style, ("short",), prompt=load("short", tmp_path))
        Forward(ledger, TASK.style, prompt=load("parts", tmp_path))
