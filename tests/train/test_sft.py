"""Tests that a training run learns, reports what it did, appears whole or not at all, and repeats nothing."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import InputError, MissingDependency, NoWork
from schemas.progress import unseen
from schemas.spec import TrainSettings
from tests.train.tiny import LINEAR_LAYERS, row, rows, settings
from train.adapter_ids import adapter_id
from train.base_models.base_model import Base, hash_model, longest_row
from train.dataset import Dataset, PreferenceRow
from train.results import TrainResult, read_result, refuse_changed
from train.sft import tune


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quantised copies of a tiny base do not belong in the user's cache."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path_factory.mktemp("cache")))


DATASET = Dataset("dataset-1", rows(12), rows(4, start=12))


def tuned(base: Base, out_dir: Path, train: Any = DATASET.train, validation: Any = (), **more: Any) -> TrainResult:
    return tune(base, Dataset("dataset-1", train, validation), settings(**more), out_dir)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_run_learns_and_writes_an_adapter_with_its_card(tiny_base: Base, tmp_path: Path, method: str) -> None:
    """The loss falls on both splits; results, files, card and progress agree with each other."""
    steps_seen: list[dict[str, Any]] = []
    result = tune(
        tiny_base,
        DATASET,
        settings(method=method),
        tmp_path,
        progress=lambda stage, numbers: steps_seen.append({"stage": stage, **numbers}),
        merge=False,
    )
    assert result.steps == len(result.curve) == 6
    assert result.curve[-1].loss < result.curve[0].loss - 0.3
    assert [round(measured.epoch) for measured in result.validation] == [0, 1, 2]
    assert result.validation[-1].loss < result.validation[0].loss - 0.3
    assert result.four_bit_layers == (LINEAR_LAYERS if method == "qlora" else 0)
    assert result.learned_tokens > 0
    assert not result.reused
    folder = Path(result.folder)
    card = (folder / "README.md").read_text()
    assert result.base_hash in card
    assert "dataset-1" in card
    assert f"{result.validation[-1].loss:.3f}" in card
    assert ("NF4" in card) == (method == "qlora")
    assert "generation %}" not in (folder / "chat_template.jinja").read_text()
    assert str(tmp_path) not in (folder / "adapter_config.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [result.adapter_id]
    steps = [numbers for numbers in steps_seen if numbers["stage"] == "train" and "validation_loss" not in numbers]
    assert [numbers["done"] for numbers in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1]["total"] == 6
    assert steps[-1]["eta_s"] == 0
    assert all(math.isfinite(numbers["loss"]) for numbers in steps)
    assert result.masks[0].endswith("<|im_end|>⏎\n]]")


def test_missing_packages_are_named(tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training without the extra says what to install."""
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(
        MissingDependency, match=r"^training needs trl\. Install them: pip install 'pairsmith\[train\]'$"
    ):
        tune(tiny_base, DATASET, settings(), tmp_path)


def test_edited_weight_repeats_edited_rows(tiny_base: Base, tmp_path: Path) -> None:
    """With `edited_weight` 5 an edited row is seen five times per epoch; the reported number of rows stays the same."""
    one = replace(DATASET, edited={DATASET.train[0]["pair_id"]})
    plain, repeat_edited = (tune(tiny_base, one, settings(edited_weight=w, epochs=1), tmp_path) for w in (1, 5))
    assert plain.adapter_id != repeat_edited.adapter_id
    assert repeat_edited.steps == plain.steps + 1
    assert (repeat_edited.train_rows, repeat_edited.validation_rows) == (plain.train_rows, plain.validation_rows)
    assert repeat_edited.learned_tokens > plain.learned_tokens


def test_validation_does_not_change_training(tiny_base: Base, tmp_path: Path) -> None:
    """A 4-bit model that was evaluated trains on as if it had not been (bitsandbytes repacks weights on a CPU)."""
    with_validation, plain = (
        tune(tiny_base, dataset, settings(method="qlora"), tmp_path / dataset.id, merge=False)
        for dataset in (DATASET, Dataset("unwatched", DATASET.train))
    )
    assert not plain.validation
    assert [step.loss for step in with_validation.curve] == pytest.approx([step.loss for step in plain.curve], abs=0.05)


def test_the_same_inputs_are_not_trained_again(tiny_base: Base, tmp_path: Path) -> None:
    """A finished adapter is looked up by the hash of dataset, settings and base; another setting gives another
    adapter."""
    first = tuned(tiny_base, tmp_path, epochs=1)
    weights = Path(first.folder) / "adapter_model.safetensors"
    written = weights.stat().st_mtime_ns
    again = tuned(tiny_base, tmp_path, [], epochs=1)
    assert again.reused
    assert again.artifact.id == first.artifact.id
    assert again.artifact.parents == ("dataset-1",)
    assert again.curve == first.curve
    assert weights.stat().st_mtime_ns == written
    assert tuned(tiny_base, tmp_path, epochs=1, r=2).adapter_id != first.adapter_id


def test_other_test_rows_are_not_trained_for_again(tiny_base: Base, tmp_path: Path) -> None:
    """A dataset with other test rows (a corrected reference, a test file added later) has another id, and the same
    weights were trained again for it. Another row to learn from, another order of them, or another validation row makes
    another adapter, and a damaged record of some other adapter is none of its business."""
    first = tune(tiny_base, DATASET, settings(epochs=1), tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "training.json").write_text("{")
    grown = replace(DATASET, id="dataset-2", held_out=["a new test input"])
    again = tune(tiny_base, grown, settings(epochs=1), tmp_path)
    assert again.reused
    assert again.adapter_id == first.adapter_id
    for other in (
        replace(grown, train=DATASET.train[:-1]),
        replace(grown, id="dataset-3", train=DATASET.train[::-1]),
        replace(grown, id="dataset-4", validation=DATASET.validation[:-1]),
    ):
        assert not tune(tiny_base, other, settings(epochs=1), tmp_path).reused


def test_a_run_is_reproducible_by_its_seed(tiny_base: Base, tmp_path: Path) -> None:
    """Two runs with one seed write the same adapter up to rounding; another seed initialises and shuffles
    differently."""
    from safetensors.torch import load_file

    runs = {
        name: tuned(tiny_base, tmp_path / name, epochs=1, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    one, again, other = (load_file(Path(run.folder) / "adapter_model.safetensors") for run in runs.values())

    def distance(to: dict[str, Any]) -> float:
        return max(float((weights - to[name]).abs().max()) for name, weights in one.items())

    assert distance(again) < 0.01 < distance(other)


@pytest.mark.parametrize("seed", [-1, 2**40])
def test_any_integer_is_a_valid_seed(tiny_base: Base, tmp_path: Path, seed: int) -> None:
    """Random number generators accept unsigned 32-bit seeds; other seeds used to end in a traceback after the base was
    loaded."""
    result = tuned(tiny_base, tmp_path, rows(4), seed=seed, warmup=0.0, epochs=1)
    assert (result.steps, result.settings.seed) == (1, seed)


def test_rows_that_are_too_long_are_left_out(tiny_base: Base, tmp_path: Path) -> None:
    """Such a row is reported with its number of tokens and the others are trained on; if all are too long, there is an
    error."""
    long = row("too-long", "a fox", "a fox in deep snow, " * 40)
    result = tuned(tiny_base, tmp_path, [*rows(11), long], max_length=96, epochs=1)
    assert result.train_rows == 11
    assert list(result.left_out) == ["too-long"]
    assert result.left_out["too-long"] > 96
    with pytest.raises(NoWork, match="longer than"):
        tuned(tiny_base, tmp_path / "b", [long], max_length=96)
    assert not (tmp_path / "b").exists()


def test_a_row_longer_than_learned_positions_is_left_out(smollm2_folder: Path, tmp_path: Path) -> None:
    """A base that learned a vector for each position has none after the last, which ended the training with an index
    error: the row is left out and listed like one longer than train.max_length, in ORPO its preference."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 96, "hidden_size": 32, "num_attention_heads": 2}
    more = {"num_hidden_layers": 2, "ffn_dim": 64, "word_embed_proj_dim": 32, "pad_token_id": tokenizer.pad_token_id}
    bases = {}
    for name in ("gpt2", "opt"):
        config = AutoConfig.for_model(name, eos_token_id=tokenizer.eos_token_id, **sizes, **more)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder := tmp_path / name)
        tokenizer.save_pretrained(folder)
        bases[name] = Base(name, folder, hash_model(folder))
    assert [longest_row(bases["gpt2"], length) for length in (64, 1024)] == [64, 96]
    base = bases["opt"]
    long = row("too-long", "a fox", "a fox in deep snow, " * 40)
    result = tuned(base, tmp_path / "a", [*rows(7), long], epochs=1)
    assert result.train_rows == 7
    assert list(result.left_out) == ["too-long"]
    with pytest.raises(NoWork, match="longer than 96 tokens, which is train"):
        tuned(base, tmp_path / "b", [long])
    kept, left = (
        PreferenceRow(prompt=one["prompt"], chosen=one["completion"], rejected=[{"role": "assistant", "content": "no"}])
        for one in (rows(1)[0], long)
    )
    preferences = Dataset("d", rows(4), preferences=[kept, left])
    result = tune(base, preferences, settings(objective="orpo", epochs=1, warmup=0), tmp_path / "c")
    assert list(result.left_out) == ["train preference 1"]


def test_a_test_input_is_never_trained_on(tiny_base: Base, tmp_path: Path) -> None:
    """The error shows the row, and nothing is trained."""
    leaking = Dataset("leaking", rows(4), held_out=["A  FOX"])
    with pytest.raises(InputError, match="pair-0 is also a test input: 'a fox'"):
        tune(tiny_base, leaking, settings(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_that_changes_no_weight_is_an_error(tiny_base: Base, tmp_path: Path) -> None:
    """The adapter would equal the base."""
    with pytest.raises(NoWork, match=r"all zero.*train\.learning_rate"):
        tuned(tiny_base, tmp_path, rows(4), epochs=1, learning_rate=1e-45)
    assert not list(tmp_path.glob("*/training.json"))


def test_a_single_step_is_no_warm_up(tiny_base: Base, tmp_path: Path) -> None:
    """A warm-up begins with a learning rate of 0. The default of 10 % would be the only step of few rows, and refuse
    them."""
    (step,) = tuned(tiny_base, tmp_path, rows(4), epochs=1, warmup=0.1).curve
    assert step.learning_rate > 0


def test_a_loss_that_is_not_finite_is_an_error(tiny_base: Base, tmp_path: Path) -> None:
    """A run that diverged to infinity leaves no adapter, and its loss is not smoothed over."""
    with pytest.raises(NoWork, match=r"(?s)not finite in step \d+, on these rows: .*\[\["):
        tuned(tiny_base, tmp_path, rows(12), learning_rate=1e30)
    assert not list(tmp_path.iterdir())


def test_a_run_that_diverges_stops(tmp_path: Path) -> None:
    """A loss that has more than tripled ends the run with the numbers and the step; a noisy loss that falls does not. A
    run of fewer than ten steps is checked after its last."""
    from train.trainer import _refuse_divergence

    _refuse_divergence([*[2.0] * 9, 9.0], 30)
    _refuse_divergence([*[4.0] * 5, *[1.0] * 20], 30)
    with pytest.raises(NoWork, match=r"2\.00 in the first 5 steps and is 7\.00 now, at step 12"):
        _refuse_divergence([*[2.0] * 7, *[7.0] * 5], 30)
    with pytest.raises(NoWork, match=r"at step 12, on these rows: \[\["):
        _refuse_divergence([*[2.0] * 7, *[7.0] * 5], 30, lambda: ", on these rows: [[a fox]]")
    for losses in ([2.0, 9.0], [2.0, 1.5, 9.0, 2.0], [0.4, 0.1, 0.2, 0.1, 0.2, 0.5]):
        _refuse_divergence(losses, 6)
    with pytest.raises(NoWork, match=r"1\.81 in the first 2 steps and is 10\.80 now, at step 6"):
        _refuse_divergence([1.95, 1.67, 35.9, 20.0, 10.8, 10.8], 6)


def test_divergence_is_checked_without_reading_the_history() -> None:
    """The cost per step does not grow with the number of steps: the history is read only when a run begins or resumes
    from a checkpoint, whose losses then count as the first ones."""
    from train.trainer import LossLog

    history = [{"loss": 1.0} for _ in range(9)]
    state: Any = SimpleNamespace(log_history=history, global_step=9, max_steps=100, epoch=0, num_input_tokens_seen=1)
    state.best_global_step = None
    log = LossLog(unseen)
    log.on_train_begin(None, state, None)
    del state.log_history
    for _ in range(3):
        log.on_log(None, state, None, {"loss": 4.0})
    with pytest.raises(NoWork, match=r"1\.00 in the first 5 steps and is 3\.40 now, at step 13"):
        log.on_log(None, state, None, {"loss": 4.0})


def test_the_epoch_of_the_lowest_validation_loss_is_kept(tiny_base: Base, tmp_path: Path) -> None:
    """With patience a run whose validation loss rises ends early, and the adapter is the best of all epochs."""
    from safetensors.torch import load_file

    other = [row(f"v{i}", "a fox", "entirely other words, in no style at all") for i in range(2)]
    runs = {
        name: tuned(tiny_base, tmp_path / name, rows(12), other, epochs=8, learning_rate=3e-2, **more)
        for name, more in (("stopped", {"patience": 1}), ("whole", {}))
    }
    for result in runs.values():
        after = [measured for measured in result.validation if measured.step]
        assert result.kept_step == min(after, key=lambda measured: measured.loss).step
    assert runs["stopped"].steps < runs["whole"].steps == 24
    assert runs["stopped"].kept_step <= runs["stopped"].steps - 3
    assert load_file(Path(runs["stopped"].folder) / "adapter_model.safetensors")
    with pytest.raises(InputError, match="validation rows"):
        tuned(tiny_base, tmp_path / "none", patience=1)


def test_common_training_settings_take_effect(tiny_base: Base, tmp_path: Path) -> None:
    """Accumulation reduces the steps, target modules are those named, precision, rsLoRA and DoRA are applied, and the
    other settings are accepted."""
    result = tuned(
        tiny_base, tmp_path, validation=DATASET.validation, epochs=2, batch=2, accumulation=3, schedule="cosine",
        warmup=0.25, weight_decay=0.01, targets=["q_proj", "v_proj"], rslora=True, dora=True, neftune=5.0,
        precision="float32", evaluation_steps=2, revision="abc123",
    )  # fmt: skip
    assert result.steps == 4
    assert [measured.step for measured in result.validation] == [0, 2, 4]
    assert result.compute_dtype == "float32"
    config = json.loads((Path(result.folder) / "adapter_config.json").read_bytes())
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]
    assert config["use_rslora"]
    assert config["use_dora"]
    assert config["revision"] == "abc123", "PEFT's AutoPeftModel would load the newest version of the base"
    for target in ("nope", "lm_head", "embed_tokens"):
        with pytest.raises(InputError, match=f"no linear layer named '{target}'"):
            tuned(tiny_base, tmp_path, targets=["q_proj", target])
    with pytest.raises(MissingDependency, match="flash-attn"):
        tuned(tiny_base, tmp_path, packing=True)
    in_8_bits = tuned(tiny_base, tmp_path, method="lora-8bit", epochs=1)
    card = Path(in_8_bits.folder, "README.md").read_text()
    assert in_8_bits.steps == 3
    assert "| method | LoRA, with the base in 8 bits during training |" in card
    assert "another model" not in card, "who wrote the rows is unknown here: it may have been a person"


_FULL = """
import resource, sys
from pathlib import Path
from schemas.errors import StoreFull
from tests.train.test_sft import DATASET, settings
from train.base_models.base_model import Base
from train.sft import tune
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    tune(Base("tiny-llama", Path(sys.argv[1]), "hash"), DATASET, settings(r=int(sys.argv[4])), Path(sys.argv[2]))
except StoreFull as error:
    print(error)
"""


@pytest.mark.parametrize(("largest", "r"), [(200_000, 4), (3_700_000, 256)])
def test_a_full_disk_is_a_clear_error_and_leaves_no_partial_adapter(
    tiny_base: Base, tmp_path: Path, largest: int, r: int
) -> None:
    """The libraries that write weights and the optimiser's state raise errors of their own for it. Here no file as
    large as the tokenizer's can be written, or none as large as the optimiser's."""
    out = tmp_path / "full"
    command = [sys.executable, "-c", _FULL, str(tiny_base.folder), str(out), str(largest), str(r)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=800, check=False
    )
    assert "no space is left to write" in done.stdout, done.stderr[-2000:]
    assert "unexpected pos" not in done.stdout, "these are words of torch, not of the cause"
    assert "run the same command again" in done.stdout
    assert all(path.name.startswith(".") for path in out.iterdir())


def test_an_incomplete_checkpoint_is_ignored(tmp_path: Path) -> None:
    """After a kill while a checkpoint is written, training resumes from the one before it; and so it does if a
    checkpoint, or the one with the best weights until then, was changed."""
    from train.trainer import last_checkpoint, seal

    assert last_checkpoint(tmp_path) is None
    for step in (9, 12, 15, 18):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text('{"best_global_step": 12}' if step == 15 else "{}")
        (folder / "optimizer.pt").write_text("numbers")
        if step < 18:
            seal(folder)
    shutil.copytree(tmp_path / "checkpoint-15", tmp_path / "checkpoint-15.bak")  # by the user: no checkpoint
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-15"
    (tmp_path / "checkpoint-12/optimizer.pt").write_text("others")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    (tmp_path / "checkpoint-9/sha256.json").write_text('{"optim')
    assert last_checkpoint(tmp_path) is None


def test_edited_checkpoints_are_not_continued(tiny_base: Base, tmp_path: Path) -> None:
    """A training that was stopped continues from what it wrote itself, also in another folder. From weights that were
    edited since it does not: it says so, and begins again."""

    def run(out: Path, stop: bool = False) -> tuple[TrainResult, list[Any]]:
        reported: list[Any] = []
        seen = lambda stage, numbers: reported.append(numbers)  # noqa: E731
        done = lambda: stop and any(one.get("done") == 4 for one in reported)  # noqa: E731
        return tune(tiny_base, DATASET, settings(epochs=3), out, seen, should_stop=done), reported

    run(tmp_path / "here", stop=True)
    (tmp_path / "here").rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "edited")
    whole, reported = run(tmp_path / "moved")
    assert min(one["done"] for one in reported if one.get("done")) > 4
    (weights,) = (tmp_path / "edited").glob(".*/checkpoint-5/adapter_model.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"\0\0\x80?")
    again, reported = run(tmp_path / "edited")
    assert "the checkpoint of step 5 is incomplete, was changed or" in str(reported)
    assert [one.loss for one in again.curve] == pytest.approx([one.loss for one in whole.curve], abs=0.02)


def test_the_best_weights_are_found_in_a_moved_folder(tmp_path: Path) -> None:
    """The trainer remembers them by path. After the last step it would keep the last weights instead, under the name of
    the best ones."""
    from train.trainer import LossLog

    state = SimpleNamespace(best_global_step=3, best_model_checkpoint=None, log_history=[])
    LossLog(unseen).on_train_begin(SimpleNamespace(output_dir=str(tmp_path)), state, None)
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-3")


def test_the_id_of_an_adapter_never_changes() -> None:
    """Golden values: finished adapters are looked up by id, so the recipe never changes; the base's path is not part of
    it."""
    assert adapter_id(Dataset("dataset-1", ()), TrainSettings(), "base-hash") == "11747331162e8855887b8103301cd3ad"
    other = TrainSettings(base="x", r=4, method="lora", epochs=2)
    assert adapter_id(Dataset("dataset-1", ()), other, "base-hash") == "c74562351b80af4ef791e9b74c3aed70"


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_stopped_training_keeps_its_best_state(tiny_base: Base, tmp_path: Path, method: str) -> None:
    """It writes an adapter of its own with the weights of the lowest validation loss so far, measured up to the last
    step. The next run continues from that step and makes the adapter of an uninterrupted run."""
    steps_done: list[int] = []

    def run(asked: Any) -> TrainResult:
        def record_step(stage: str, numbers: Any) -> None:
            if stage == "train" and "validation_loss" not in numbers:
                steps_done.append(numbers["done"])

        train_settings = settings(method=method, epochs=3)
        return tune(tiny_base, DATASET, train_settings, tmp_path, record_step, should_stop=asked, merge=False)

    stopped = run(lambda: len(steps_done) >= 3)  # checked before a step is reported: four steps
    folder = Path(stopped.folder)
    assert (stopped.steps, stopped.planned_steps) == (4, 9)
    assert stopped.adapter_id == folder.name != adapter_id(DATASET, settings(method=method, epochs=3), tiny_base.hash)
    measured = {one.step: one.loss for one in stopped.validation if one.step}
    assert set(measured) == {3, 4}
    assert stopped.kept_step == min(measured, key=lambda step: measured[step])
    assert "stopped by the user after 4 of 9 steps" in (folder / "README.md").read_text()
    assert read_result(folder) == stopped
    assert not stopped.reused
    whole = run(lambda: False)
    assert steps_done[:5] == [1, 2, 3, 4, 5]
    assert (whole.steps, whole.planned_steps, whole.reused) == (9, None, False)
    assert {path.name for path in tmp_path.iterdir()} == {stopped.adapter_id, whole.adapter_id}


def test_a_training_stopped_before_it_learned_keeps_nothing(tiny_base: Base, tmp_path: Path) -> None:
    """The first step of a warm-up changes no weight: no adapter is written, and the next run continues."""
    with pytest.raises(KeyboardInterrupt):
        tune(tiny_base, DATASET, settings(warmup=0.5), tmp_path, should_stop=lambda: True)
    assert not list(tmp_path.glob("*/training.json"))
    assert tune(tiny_base, DATASET, settings(warmup=0.5), tmp_path).steps == 6


def test_changed_or_missing_files_for_generation_are_refused(tiny_base: Base, tmp_path: Path) -> None:
    """With another tokenizer, chat template or config the same weights are another model. The generation config may be
    changed, and the card may be edited or deleted."""
    result = tune(tiny_base, DATASET, settings(epochs=1), tmp_path)
    folder = Path(result.folder)
    assert {"adapter_config.json", "chat_template.jinja", "tokenizer.json"} < {*result.files}
    for name in ("generation_config.json", "README.md"):
        (folder / name).write_text("{}")
        refuse_changed(result)
    (folder / "README.md").unlink()
    refuse_changed(result)
    for name in result.files:
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(InputError, match=f"{name}.*a file that generation needs is missing"):
            refuse_changed(result)
        (folder / name).write_bytes(kept)
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InputError, match="not what training wrote"):
        refuse_changed(result)
    refuse_changed(result.model_copy(update={"files": {}}))


def test_changed_weights_are_refused(tiny_base: Base, tmp_path: Path) -> None:
    """Truncated or missing weights are refused before they are measured or shipped, and so is a truncated record. The
    merged model may be missing, and an adapter of an earlier version has no hashes to compare."""
    result = tune(tiny_base, DATASET, settings(method="qlora", epochs=1), tmp_path)
    folder = Path(result.folder)
    assert set(result.weights) == {"adapter_model.safetensors", "merged/model.safetensors"}
    shutil.rmtree(folder / "merged")
    refuse_changed(result)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="not what training wrote"):
        refuse_changed(result)
    with pytest.raises(InputError, match="not what training wrote"):
        tune(tiny_base, DATASET, settings(method="qlora", epochs=1), tmp_path)
    refuse_changed(result.model_copy(update={"weights": {}, "files": {}}))
    weights.unlink()
    with pytest.raises(InputError, match="missing"):
        refuse_changed(result)
    record = folder / "training.json"
    record.write_bytes(record.read_bytes()[:300])
    with pytest.raises(InputError, match="not in the format that this version of pairsmith writes"):
        read_result(folder)


def test_a_token_that_the_model_lacks_is_refused(tiny_base: Base, tmp_path: Path) -> None:
    """Words or a padding token that were added to the tokenizer alone end in an index error of torch in the middle of
    training. Special tokens that no text contains, such as Gemma's for images, do no harm."""
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(tiny_base.folder, tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    base = Base("more", folder, "b" * 64)
    assert tune(base, Dataset("d", rows(4)), settings(epochs=1, warmup=0.0), tmp_path / "out").steps == 1
    tokenizer.add_tokens(["caravanserai"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match=r"does not match the model: it has 49,154 tokens, but the model has 49,152"):
        tune(Base("more", folder, "c" * 64), Dataset("d", rows(4)), settings(epochs=1), tmp_path / "out")
