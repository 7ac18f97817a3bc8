"""Tests that settings which a later stage would refuse are refused before a teacher is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsmith.checks.health import findings
from pairsmith.project import Project
from schemas.errors import PairsmithError, PromptError
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

SPEC = """
[task]
name = "ahead"
style = "Say it in one rich sentence."

[[seeds]]
path = "seeds.txt"

[curate.score]
model = "none"
"""
WRONG = {
    'curate.gates.user=["nofile:polite"]': (3, "no module 'nofile'"),
    'curate.gates.json_schema="no.json"': (3, "no.json cannot be read"),
    'curate.select.spread="lenght"': (3, "no seed has a column 'lenght'"),
    'curate.score.model="juge"': (3, "Did you mean 'judge'?"),
    'curate.score.model="./rewards"': (3, "there is no folder './rewards'"),
    'curate.score.model="similarity"': (3, "no seed has one"),
    'curate.nli="./nli"': (3, "there is no folder './nli'"),
    'curate.contamination.files=["bench.jsonl"]': (4, "there is no file 'bench.jsonl'"),
    'review.gold="gold.jsonl"': (4, "gold.jsonl: cannot be read"),
    'evaluate.user=["nofile:right"]': (3, "no module 'nofile'"),
    "train.objective=dpo review.enabled=false generate.forward.n=1": (3, "no input has two answers"),
    "train.objective=orpo review.enabled=false generate.forward.n=1": (3, "no input has two answers"),
    "train.patience=2 split.validation=0": (3, "no seed is in the validation split"),
    "train.packing=true": (3, "needs a CUDA GPU and the package flash-attn"),
    "train.precision=float16": (3, "needs a GPU"),
    "train.dora=true evaluate.vllm=true": (3, "vLLM cannot load DoRA adapters"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pairsmith.toml").write_text(SPEC)
    (tmp_path / "seeds.txt").write_text("".join(f"a boat with {n} sails\n" for n in range(30)))
    return tmp_path


def test_invalid_training_settings_are_refused_before_a_missing_dataset(folder: Path) -> None:
    """`train` first reports settings that no dataset could fix, as `doctor` does."""
    project = Project(folder, ["train.objective=orpo", "train.edited_weight=3"])
    with pytest.raises(PairsmithError, match=r"edited_weight cannot be combined with train\.objective = 'orpo'"):
        project.train()
    with pytest.raises(PairsmithError, match="there is no dataset to train on"):
        Project(folder, ["train.edited_weight=3"]).train()


@pytest.mark.parametrize("wrong", WRONG)
def test_mistakes_of_later_stages_are_refused_without_a_request(folder: Path, wrong: str) -> None:
    """Missing gates, checks, scorers, gold rows or benchmarks stop `generate` and `forecast` before the first request,
    with the message and the exit code of the stage that needs them."""
    code, sentence = WRONG[wrong]
    with LoopbackTeacher(lambda ask: says("A boat.")) as teacher:
        project = Project(folder, [f"teacher.url={teacher.url}", "teacher.model=loopback", *wrong.split()])
        for stage in (project.generate, project.forecast):
            with pytest.raises(PairsmithError) as caught:
                stage()
            assert sentence in str(caught.value)
            assert caught.value.exit_code == code
        assert teacher.asked == []


def test_a_prompt_that_sends_one_request_for_many_seeds_is_refused(folder: Path) -> None:
    """A prompt that shows only the beginning of a seed would give seeds with equal beginnings each other's answers."""
    (prompt := folder / "prompts" / "enhance" / "v1.jinja").parent.mkdir(parents=True)
    head = '+++\nabout = "a"\nvariables = { style = "s", input = "i" }\n+++\n=== user ===\n{{ style }} '
    with LoopbackTeacher(lambda ask: says("A boat under full sail.")) as teacher:
        project = Project(folder, [f"teacher.url={teacher.url}", "teacher.model=loopback"])
        for shown in ("{{ input[:8] }}", "{{ input | length }}"):
            prompt.write_text(f"{head}{shown}\n")
            with pytest.raises(PromptError, match=r"different requests for 30 seeds: seeds.txt:\d+ and seeds.txt"):
                project.generate()
        assert teacher.asked == []
        prompt.write_text(f"{head}{{{{ input | upper }}}}\n")
        assert project.generate().counts.rows_in > 0


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (("train.learning_rate=2",), "train.learning_rate = 2 is far outside"),
        (("train.learning_rate=1e-9",), "train.learning_rate = 1e-09 is far outside"),
        (("train.objective=orpo", "generate.forward.n=1"), "generate.forward.n = 1 generates only one"),
        (("train.objective=dpo", "train.dpo_learning_rate=1"), "train.dpo_learning_rate = 1 is far outside"),
        (('train.trust_remote_code=["me/model"]',), "'me/model', a name without the hash"),
        ((f'train.trust_remote_code=["me/model@{32 * "0"}"]',), ""),
        (("train.dpo_learning_rate=1",), ""),
        (("train.learning_rate=2e-5", "train.objective=dpo"), ""),
    ],
)
def test_implausible_training_settings_are_warned_about(folder: Path, settings: tuple[str, ...], word: str) -> None:
    """`doctor` warns about values that are hardly intended, e.g. a learning rate of 2, and so does `generate`, before
    its first request."""
    warned = [check.what for check in findings(folder, settings) if (check.about, check.state) == ("train", "warn")]
    assert len(warned) == bool(word)
    assert word in "".join(warned)
    events: list[str] = []

    def reply(ask: Ask) -> Reply:
        events.append("asked")
        return says(*["A boat under full sail on a bright sea."] * ask.n)

    with LoopbackTeacher(reply) as teacher:
        asked = [f"teacher.url={teacher.url}", "teacher.model=loopback", *settings]
        Project(folder, asked, say=events.append).generate()
    before = [event for event in events[: events.index("asked")] if event.startswith("warning: train.")]
    assert len(before) == len(warned)
    assert all(event.startswith(f"warning: {what}. ") for event, what in zip(before, warned, strict=True))


@pytest.mark.parametrize("wrong", WRONG)
def test_doctor_reports_the_same_mistakes(folder: Path, wrong: str) -> None:
    """`doctor` fails on the same settings and reports each once."""
    sentences = [f"{check.what} {check.fix}" for check in findings(folder, wrong.split()) if check.state == "fail"]
    assert len([line for line in sentences if WRONG[wrong][1] in line]) == 1, sentences


def test_a_possible_hub_model_is_not_refused(folder: Path) -> None:
    """A scorer name that may exist on a hub, with or without an owner, is not refused without looking."""
    with LoopbackTeacher(lambda ask: says("A boat under full sail on a bright sea.")) as teacher:
        for name in ("Skywork/Skywork-Reward-V2-Qwen3-8B", "deberta-reward"):
            asked = [f"teacher.url={teacher.url}", "teacher.model=loopback", f"curate.score.model={name}"]
            assert Project(folder, asked).generate().counts.failed == 0


def test_an_exemplar_that_violates_the_schema_is_warned_about(folder: Path) -> None:
    """Such an exemplar used to go to the teacher with every request, and to few-shot in the evaluation, without a
    warning."""
    (folder / "bug.json").write_text('{"type": "object", "properties": {"level": {"enum": ["low", "high"]}}}')
    task = ("task.kind=extract", "task.schema=bug.json", "task.labels={}", "curate.gates.must=[]")
    for level, fixes in (("Low", ["Change task.schema or these texts: rows like them are rejected."]), ("low", [])):
        shown = f'exemplars=[{{input = "it crashes", output = \'{{"level": "{level}"}}\'}}]'
        warned = [check for check in findings(folder, (*task, shown)) if "exemplars that" in check.what]
        assert [check.fix for check in warned] == fixes  # reported once, naming the key that exists
