"""The evaluation with real servers: held-out seeds only, an adapter that is really on, nothing asked twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import NoWork, PairsmithError
from schemas.records import Seed
from schemas.spec import Teacher
from schemas.spec_file import Project
from schemas.store import Store
from synth.endpoint import Endpoint
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says
from tests.train import tiny
from tests.train.evaluated import held_out, project, with_seeds
from train.evaluation import Evaluation
from train.ladder import evaluate, held_out_seeds
from train.outcome import TrainResult
from train.results_table import checks_table, contrast_lines, ladder_table, plain_table
from train.sft import fine_tune
from train.student import Student


@pytest.fixture(scope="module")
def trained(tiny_student: Student, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    out = tmp_path_factory.mktemp("adapters")
    return fine_tune(tiny_student, {"train": tiny.rows(12)}, "dataset-1", tiny.settings(), out)


@asynccontextmanager
async def open_teacher(teacher: Teacher) -> AsyncIterator[Endpoint]:
    async with Endpoint(teacher.url, teacher.model, retries=0) as endpoint:
        yield endpoint


def climb(made: Project, trained: TrainResult, teacher: Teacher, **more: Any) -> Evaluation:
    with Store.open(Store.url_for(made)) as store:
        if not store.seeds():
            with_seeds(store)
        return asyncio.run(evaluate(made, store, trained, teacher, open_teacher, made.folder / "evaluations", **more))


def answers(ask: Ask) -> Reply:
    """Good answers, but for one seed: an empty one; and all cut at the token limit."""
    if ask.nth == 1 and ask.number == 1:
        return says(*[""] * ask.n)
    return says(*["a fox, warm light, photograph --ar 3:2"] * ask.n, finish="length")


def test_a_ladder_is_climbed_once(tiny_student: Student, trained: TrainResult, tmp_path: Path) -> None:
    """Four rungs on the held-out seeds, the adapter on for one of them, all numbers in one file; a second run asks
    nothing, and neither does one that has lost the file but not the ledger."""
    made = project(tmp_path, train={"base": str(tiny_student.folder)})
    told: list[dict[str, Any]] = []
    with LoopbackTeacher(answers) as loopback:
        teacher = Teacher(url=loopback.url, model="loopback", attempts=3)
        first = climb(made, trained, teacher, progress=lambda stage, numbers: told.append(numbers))
        asked = len(loopback.asked)
        again = climb(made, trained, teacher)
        Path(first.path).unlink()
        replayed = climb(made, trained, teacher)
        assert len(loopback.asked) == asked == 4 * 2
    with Store.open(Store.url_for(made), write=False) as store:
        assert {output.seed_id for output in first.outputs} <= held_out(store, made.spec)
    assert [rung.names for rung in first.rungs] == [("base",), ("few-shot",), ("teacher",), ("tuned",)]
    assert first.seeds == 4
    assert len(first.outputs) == 4 * 4 * 3
    assert told[-1]["done"] == told[-1]["total"] == len(first.outputs)
    check = first.adapter_check
    assert abs(check.tuned - check.base) > 0.02 * check.tokens
    assert check.base_again == pytest.approx(check.base, abs=0.01 * check.tokens)
    # One attempt each: a cut answer counts by its text, an empty one as a failure, and neither is asked again.
    sampled = first.rung("teacher").sampled
    assert (sampled.answered, sampled.passed) == (8, 8 - sampled.empty)
    assert sampled.empty + first.rung("teacher").greedy.empty in (1, 2)
    assert sampled.truncated == 8 - sampled.empty
    gap = first.comparison("teacher", "base")
    assert gap is not None
    assert gap.difference.excludes_zero
    assert again.reused
    assert again.calls_sent == 0
    assert again.outputs == first.outputs
    assert replayed.calls_sent == 0
    assert replayed.calls_reused == len(first.outputs)
    assert [output.text for output in replayed.outputs] == [output.text for output in first.outputs]
    assert first.artifact.parents == (trained.adapter_id,)
    _shown(first)


def _shown(evaluation: Evaluation) -> None:
    """Every rung and check is in the tables, and the differences are told whichever way they fall."""
    from rich.console import Console

    console = Console(width=160, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(ladder_table(evaluation))
        console.print(checks_table(evaluation))
    text = captured.get()
    for word in ("few-shot", "tuned", "check:light", "must:flag", "(not scored)"):
        assert word in text
    lines = contrast_lines(evaluation)
    assert len(lines) == 6
    assert any("tuned against teacher, sampled" in line and line.endswith("worse") for line in lines)
    assert len(plain_table(evaluation).splitlines()) == 1 + 4 * 2


def test_an_adapter_that_does_nothing_is_found_out(tiny_student: Student, trained: TrainResult, tmp_path: Path) -> None:
    """If the tuned model were the base under another name, the ladder would refuse to compare them."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(trained.folder, tmp_path / "zeroed"))
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor * 0 for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    zeroed = trained.model_copy(update={"folder": str(folder), "adapter_id": "zeroed"})
    made = project(tmp_path, train={"base": str(tiny_student.folder)})
    with LoopbackTeacher() as loopback, pytest.raises(PairsmithError, match="adapter is not on"):
        climb(made, zeroed, Teacher(url=loopback.url, model="loopback"))


def test_an_adapter_of_another_base_is_refused(tiny_student: Student, trained: TrainResult, tmp_path: Path) -> None:
    """Weights are named by their content, so a changed base is noticed before anything is asked."""
    made = project(tmp_path, train={"base": str(tiny_student.folder)})
    other = trained.model_copy(update={"base_hash": "another"})
    with pytest.raises(PairsmithError, match="another base"):
        climb(made, other, Teacher())


def test_no_held_out_seed_is_no_work(tiny_student: Student, trained: TrainResult, tmp_path: Path) -> None:
    """A test split without seeds is an error, not a perfect score."""
    made = project(tmp_path, train={"base": str(tiny_student.folder)}, split={"test": 0.0})
    with pytest.raises(NoWork, match="test split"):
        climb(made, trained, Teacher())


def test_a_file_of_fresh_inputs_is_the_test_set(tmp_path: Path) -> None:
    """With `use = "test"` on one source and no share for the others, exactly that source is evaluated."""
    made = project(tmp_path, split={"test": 0.0, "validation": 0.1})
    fresh = [Seed(kind="simple", text=f"a hare {n}", source=f"b.jsonl:{n}", meta={"use": "test"}) for n in range(4)]
    with Store.open(Store.url_for(made)) as store:
        with_seeds(store)
        store.set_active_seeds([*store.seeds(), *fresh])
        assert {seed.id for seed in held_out_seeds(store, made.spec)} == {seed.id for seed in fresh}
