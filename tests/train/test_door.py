"""Tests of training from Python: from rows to an adapter and its evaluation, without a project, in a script or a
notebook."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curate.pool import Pool
from schemas.errors import InputError, NoWork, UsageError
from schemas.records import Imported, Pair
from tests.train import tiny
from train import evaluate, fine_tune
from train.base_models.base_model import Base
from train.dataset import dataset_of
from train.results import TrainResult

ROWS = [(row["prompt"][1]["content"], row["completion"][0]["content"]) for row in tiny.rows(12)]
SETTINGS = {"method": "lora", "r": 4, "learning_rate": 1e-2, "batch": 4, "epochs": 2}


@pytest.fixture(scope="module")
def trained(tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    out = tmp_path_factory.mktemp("adapters")
    return fine_tune(ROWS, base=tiny_base.folder, out=out, system_prompt=tiny.SYSTEM, **SETTINGS)


def test_importing_train_loads_nothing_heavy() -> None:
    """`import train` imports neither torch nor transformers, and a missing attribute is a clear error."""
    code = "import sys, train; assert not {'torch', 'transformers', 'curate.pool'} & set(sys.modules); train.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "module 'train' has no attribute 'nothing'" in done.stderr


def test_rows_become_an_adapter_with_its_record(trained: TrainResult) -> None:
    """The settings are those of `[train]`, and the system prompt is recorded for later use."""
    assert (trained.train_rows, trained.steps, trained.settings.r) == (12, 6, 4)
    assert trained.system_prompt == tiny.SYSTEM
    assert Path(trained.folder).name == trained.adapter_id
    assert (Path(trained.folder) / "adapter_model.safetensors").is_file()


def test_progress_is_shown_unless_the_caller_turns_it_off(
    tiny_base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training from Python said nothing until its end, and `progress=False`, which `generate` and `curate` accept, was
    a TypeError. A callback of the caller's own is called instead of the line."""

    def lines(name: str, **progress: Any) -> list[str]:
        fine_tune(ROWS, base=tiny_base.folder, out=tmp_path / name, **SETTINGS, **progress)
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith("train ")]

    stages: list[str] = []
    assert lines("shown")
    assert lines("silent", progress=False) == []
    assert lines("own", progress=lambda stage, numbers: stages.append(stage)) == []
    assert "train" in stages


def test_an_adapter_is_measured_with_patterns_and_functions(trained: TrainResult, tmp_path: Path) -> None:
    """Base, few-shot and tuned answer the same inputs, each once; with a store nothing is requested twice."""

    def is_short(input: str, output: str) -> bool:
        return len(output.split()) < len(input.split()) + 60

    def measure() -> object:
        return evaluate(
            trained,
            ["a fox", "two boats", "a fox"],
            checks=[r"sunset", is_short],
            exemplars=[("a clock", "a clock, warm sunset light --ar 3:2")],
            store=tmp_path / "answers.db",
            samples=1,
            sampling={"temperature": 0.7, "max_tokens": 6},
        )

    first = measure()
    assert [system.names for system in first.systems] == [("base",), ("few-shot",), ("tuned",)]
    assert first.check_names == ("check:pattern_1", "check:is_short")
    assert len(first.outputs) == 3 * 2 * 2
    assert first.system("tuned").system_prompt == tiny.SYSTEM
    assert {comparison.b for comparison in first.comparisons} == {"base", "few-shot"}

    async def in_a_notebook() -> object:
        return measure()

    again = asyncio.run(in_a_notebook())
    assert (again.id, again.calls_sent) == (first.id, 0)
    assert again.outputs == first.outputs


def test_references_and_rows_add_comparisons(trained: TrainResult) -> None:
    """Answers are compared with references, given by input or in order, and the base is also asked with the nearest
    rows."""
    settings = {"samples": 1, "sampling": {"temperature": 0.7, "max_tokens": 64, "stop": ["e"]}}
    inputs, given = ["a green fox", "three ships"], ["a green fox at sunset", None]
    seen: list[str | None] = []

    def sees(input: str, output: str, reference: str | None) -> bool:
        seen.append(reference)
        return True

    measured = evaluate(trained, inputs, checks=["sunset", sees], references=given, rows=ROWS, **settings)
    assert [system.name for system in measured.systems] == ["base", "retrieval", "tuned"]
    compared = measured.system("tuned").sampled.by_reference
    assert compared is not None
    assert compared.inputs == 1
    assert [*measured.references.values()] == ["a green fox at sunset"]
    assert set(seen) == {None, "a green fox at sunset"}
    with pytest.raises(UsageError, match="1 references for 2 inputs"):
        evaluate(trained, inputs, checks=["sunset"], references=["a fox"], **settings)
    with pytest.raises(UsageError, match="not one of the inputs"):
        evaluate(trained, inputs, checks=["sunset"], references={"a fax": "a fox"}, **settings)
    with pytest.raises(InputError, match="is also a test input"):
        evaluate(trained, [ROWS[0][0]], checks=["sunset"], rows=ROWS, **settings)


def test_without_checks_or_inputs_there_is_nothing_to_measure(trained: TrainResult) -> None:
    """A clear error for each, before a model is started."""
    with pytest.raises(NoWork, match="neither a check nor a gate"):
        evaluate(trained, ["a fox"], checks=[])
    with pytest.raises(NoWork, match="no input"):
        evaluate(trained, [], checks=["x"])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"inputs": "a fox"}, "inputs is one text"),
        ({"inputs": {"a fox": 1}}, "inputs is of type dict"),
        ({"checks": "sunset"}, "checks is one text"),
        ({"references": [math.nan]}, "input 1 or its reference is not a string"),
    ],
)
def test_a_single_value_is_not_iterated_over(trained: TrainResult, wrong: Any, sentence: str) -> None:
    """One text used to be measured letter by letter, one pattern checked for each of its letters, and a dict for its
    keys."""
    with pytest.raises(UsageError, match=sentence):
        evaluate(trained, **{"inputs": ["a fox"], "checks": ["sunset"], **wrong})


def test_half_of_a_surrogate_pair_is_refused(trained: TrainResult) -> None:
    """UTF-8 cannot write it: in an input, its reference or a training row it is an error that shows the place."""
    half = "a \ud83d fox"
    for asked in ({"inputs": [half]}, {"inputs": ["a fox"], "references": [half]}):
        with pytest.raises(InputError, match=r"half of a surrogate pair is not text: 'a \\ud83d"):
            evaluate(trained, checks=["x"], **asked)
    for row in (("a fox", half), {"input": half, "output": "a fox"}):
        with pytest.raises(InputError, match=r"half of a surrogate pair is not text: 'a \\ud83d"):
            dataset_of([row])


def test_rows_come_in_several_shapes() -> None:
    """Pairs of texts, mappings with a split of their own, and accepted rows of a pool; anything else is an error that
    names the row."""
    listed = dataset_of([("a", "b"), {"input": "c", "output": "d", "split": "validation", "system": "s"}], "all")
    assert [row["prompt"] for row in listed.train] == [
        [{"role": "system", "content": "all"}, {"role": "user", "content": "a"}]
    ]
    assert listed.validation[0]["prompt"][0]["content"] == "s"
    pairs = [
        Pair(seed_id=f"seed {n}", input=f"a {n}", output="b", system="s", origin=Imported(source="list"))
        for n in range(40)
    ]
    pool, same = dataset_of(Pool.of(pairs)), dataset_of(pairs)
    assert len(pool.train) + len(pool.validation) < 40
    assert {row["pair_id"] for row in pool.train} == {row["pair_id"] for row in same.train}
    assert pool.system_prompt == "s"
    assert len({listed.id, pool.id, dataset_of([("a", "c")]).id}) == 3
    odd = [("a", 7), {"input": "a", "output": None}, {"input": "a", "output": "b", "system": 5}, 1, None]
    for bad in ("text", {"input": "a"}, ("a", "b", "c"), {"input": "a", "output": "b", "split": "dev"}, *odd):
        with pytest.raises(InputError, match="not a valid training row"):
            dataset_of([bad])
    with pytest.raises(UsageError, match="data is of type NoneType, not a list of rows"):
        dataset_of(None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"trained is of type str, not .*\(fine_tune\(pool\)"):  # an AttributeError
        evaluate("adapter", ["a fox"], checks=["x"])  # type: ignore[arg-type]


def test_an_unknown_setting_is_an_error(trained: TrainResult) -> None:
    """As in the spec, a typo or a number out of range is a clear error before any model is loaded."""
    with pytest.raises(UsageError, match=r"no setting 'learnig_rate'.*learning_rate"):
        fine_tune(ROWS, learnig_rate=1e-4)
    with pytest.raises(UsageError, match=r"fine_tune: epochs = 0"):
        fine_tune(ROWS, epochs=0)
    with pytest.raises(UsageError, match="evaluate has no setting 'sample'"):
        evaluate(trained, ["a fox"], checks=["x"], sample=1)


def test_a_folder_that_cannot_hold_an_adapter_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    """It was a NotADirectoryError about a file inside it, after the base was loaded."""
    (file := tmp_path / "notes.txt").write_text("")
    for out in (file, file / "adapters"):
        with pytest.raises(UsageError, match=r"out = .* cannot hold an adapter: .*Name a folder"):
            fine_tune(ROWS, base=tmp_path / "no-model", out=out, system_prompt=tiny.SYSTEM)
