"""Tests of merging a QLoRA adapter: both merges are built, one is chosen on validation rows, and it is what is
evaluated."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import PairsmithError
from synth.endpoints.endpoint import Endpoint
from tests.train.tiny import rows, settings
from train.base_models.base_model import Base, load_chat
from train.dataset import Dataset
from train.export.merge import merged_folder, write_merged
from train.quiet import quiet
from train.results import TrainResult, read_result, write_result
from train.sft import tune


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def tuned(tiny_base: Base, out: Path) -> TrainResult:
    train_settings = settings(method="qlora", base=str(tiny_base.folder), epochs=6)
    return tune(tiny_base, Dataset("d", rows(8), rows(3, start=8)), train_settings, out)


def test_both_merges_are_measured_on_validation_and_one_is_kept(tuned: TrainResult) -> None:
    """The record has both builds, and the one closer to the accepted outputs is kept; the other leaves no files."""
    assert tuned.merged is not None
    by_name = {build.into: build for build in tuned.merged.builds}
    assert list(by_name) == ["rounded", "stock"]
    assert tuned.merged.rows == 3
    assert by_name[tuned.merged.into].chrf == max(build.chrf for build in by_name.values())
    folder = Path(tuned.folder) / "merged"
    assert (folder / "model.safetensors").is_file()
    assert not any(path.is_dir() for path in folder.iterdir())
    assert f"merged into the {tuned.merged.into} base was measured" in tuned.artefact


def test_merging_prints_no_advice_of_libraries(tiny_base: Base, tuned: TrainResult, tmp_path: Path) -> None:
    """`export --gguf` merges in a process that has not trained, where libraries would advise every user to install
    something."""
    train_settings = str(tiny_base.folder), tuned.folder, str(tmp_path / "merged")
    merging = """
import sys
from pathlib import Path
from schemas.spec import TrainSettings
from train.base_models.base_model import Base
from train.export.merge import merged_folder, write_merged
base, adapter, out = map(Path, sys.argv[1:])
write_merged(Base("tiny-llama", base, ""), TrainSettings(), adapter, out)
"""
    command = [sys.executable, "-c", merging, *train_settings]
    ended = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    assert "install" not in ended.stderr, ended.stderr


def test_the_merged_model_equals_base_and_adapter(tiny_base: Base, tuned: TrainResult, tmp_path: Path) -> None:
    """Merged into the rounded base it has the logits of the 4-bit base with the adapter, up to 16-bit rounding."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from train.base_models.base_model import load_dequantised

    write_merged(tiny_base, tuned.settings, Path(tuned.folder), tmp_path / "merged", "rounded")
    ids = torch.tensor([load_chat(tiny_base).prompt_ids([{"role": "user", "content": "a fox"}])])
    with quiet(), torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
        adapted = PeftModel.from_pretrained(load_dequantised(tiny_base).float(), tuned.folder)
        bare = load_dequantised(tiny_base).float()
        one, two, three = merged(ids).logits, adapted(ids).logits, bare(ids).logits
    assert float((one - two).norm()) < 0.1 * float((three - two).norm())


def test_the_evaluation_uses_the_merged_model(tuned: TrainResult) -> None:
    """The tuned system is the folder that is exported: its revision is the hash of those weights, and a fixed text has
    another score than under the base. There is no adapter that could leak into the base."""
    from train import evaluate
    from train.base_models.base_model import hash_model

    sampling = {"temperature": 0.9, "max_tokens": 6}
    measured = evaluate(tuned, ["a fox", "two boats"], ["light"], samples=1, sampling=sampling)
    assert measured.system("tuned").revision == (
        f"{tuned.adapter_id} merged, {hash_model(Path(tuned.folder) / 'merged')}"
    )
    check = measured.adapter_check
    assert abs(check.tuned - check.base) > 0.02 * check.tokens
    assert check.base_again is None


def test_an_adapter_of_an_earlier_version_gets_its_merged_model(tiny_base: Base, tuned: TrainResult) -> None:
    """It is merged into the rounded base, on which it was measured, and the record says that nothing was compared."""
    folder = Path(tuned.folder)
    before = tuned.model_copy(update={"merged": None})
    write_result(folder, before)
    ends = folder / "generation_config.json"
    kept = ends.rename(folder.parent / ends.name)  # version 0.1 wrote none
    merged = merged_folder(tiny_base, before)
    assert json.loads((merged / ends.name).read_text())["eos_token_id"] == json.loads(kept.read_text())["eos_token_id"]
    kept.rename(ends)
    assert merged == folder / "merged"
    again = read_result(folder)
    assert again is not None
    assert again.merged is not None
    assert (again.merged.into, again.merged.builds) == ("rounded", ())
    assert "not compared" in again.artefact
    write_result(folder, tuned)


def test_merging_again_with_other_library_versions_updates_the_record(tiny_base: Base, tuned: TrainResult) -> None:
    """Other versions write other configs and tokenizers of the same model. The record lists the files that were written
    now; otherwise every export would be refused, however often the model was merged. The adapter's own files stay those
    of its training."""
    folder, config = Path(tuned.folder), "merged/config.json"
    others = {config: "0" * 64, "merged/special_tokens_map.json": "0" * 64, "tokenizer.json": "1" * 64}
    before = tuned.model_copy(update={"files": {**tuned.files, **others}})
    write_result(folder, before)
    shutil.rmtree(folder / "merged")
    merged_folder(tiny_base, before)
    again = read_result(folder)
    assert again is not None
    assert again.files == {**tuned.files, "tokenizer.json": "1" * 64}
    assert again.weights == tuned.weights
    write_result(folder, tuned)


def test_a_merge_that_changes_nothing_is_refused(tiny_base: Base, tuned: TrainResult, tmp_path: Path) -> None:
    """An adapter of zeros, or one so small that 16 bits lose it, would give the base under another name."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tuned.folder, tmp_path / "zeroed", ignore=shutil.ignore_patterns("merged")))
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: weight * 0 for name, weight in weights.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(PairsmithError, match="changed no weight"):
        write_merged(tiny_base, tuned.settings, folder, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_without_validation_rows_the_rounded_base_is_used(tiny_base: Base, tmp_path: Path) -> None:
    """There is nothing to choose by, so nothing is chosen, and no model is asked."""
    asked = Endpoint.ask
    try:
        Endpoint.ask = None  # type: ignore[method-assign,assignment]
        result = tune(tiny_base, Dataset("d", rows(4)), settings(method="qlora", epochs=3), tmp_path)
    finally:
        Endpoint.ask = asked  # type: ignore[method-assign]
    assert result.merged is not None
    assert (result.merged.into, result.merged.rows) == ("rounded", 0)
