"""Tests that an export contains the tuned model that was measured, and its measurements."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="training needs the train extra")

from pairsmith.receipts.outcome import ExportOutcome
from pairsmith.registry import Registry
from pairsmith.report import render_evidence, write_report
from pairsmith.stages.evaluate import latest_adapter
from pairsmith.stages.export import export, summary
from pairsmith.stages.table import Audience
from schemas.errors import InputError, MissingDependency, PairsmithError
from schemas.files import sha256
from schemas.project import Project
from schemas.records import Artifact
from schemas.store import Store
from tests.train import tiny
from tests.train.evaluated import project, with_seeds
from tests.train.tiny import make_base
from train.base_models.base_model import find_base, hash_model
from train.dataset import Dataset
from train.evaluation.evaluation import measure_or_load, plan_evaluation
from train.evaluation.held_out import held_out_seeds
from train.evaluation.metrics import Evaluation
from train.export.merge import merged_folder
from train.results import TrainResult
from train.sft import tune

pytestmark = pytest.mark.timeout(1200)  # trains, measures and exports a model, possibly on a busy machine


@dataclass
class ExportedProject:
    project: Project
    trained: TrainResult
    evaluation: Evaluation
    outcome: ExportOutcome
    out: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedProject:
    """A QLoRA adapter on a tiny random model, trained, evaluated and exported with a GGUF."""
    from synth.embedded.weights import embedded_weights

    folder = tmp_path_factory.mktemp("project")
    base = make_base(folder / "tiny-llama", embedded_weights().folder)
    train_settings = tiny.settings(method="qlora", base="tiny-llama")
    trained = tune(base, Dataset("dataset-1", tiny.rows(8)), train_settings, folder / "adapters")
    spec = project(folder, train=train_settings.model_dump()).spec
    stopped = spec.evaluate.sampling.model_copy(update={"stop": ("§",)})
    evaluate = spec.evaluate.model_copy(update={"sampling": stopped})
    project_ = Project(folder, spec.model_copy(update={"evaluate": evaluate}))
    (folder / "dataset").mkdir()
    with Store.open(Store.url_for(project_)) as store:
        with_seeds(store)
        plan = plan_evaluation(project_, held_out_seeds(store, project_.spec), trained, None)
        evaluation = asyncio.run(measure_or_load(plan, store, folder / "evaluations"))
        for artifact in (
            Artifact(id="dataset-1", kind="dataset", path="dataset", members=(("pair-1", "train"),)),
            trained.artifact.model_copy(update={"path": f"adapters/{trained.adapter_id}"}),
            evaluation.artifact.model_copy(update={"path": f"evaluations/{evaluation.id}.json"}),
        ):
            store.write(artifact)
        write_report(project_, store, folder / "report.html")
        reports: list[tuple[str, Any]] = []
        lines: list[str] = []
        audience = Audience(lambda stage, numbers: reports.append((stage, numbers["message"])), lines.append)
        outcome = export(project_, store, audience, out=folder / "out", gguf=("f16",))
    assert ("export", "writing images-f16.gguf") in reports, "the run page shows nothing for minutes"
    assert not [line for line in lines if ".gguf" in line], "a step would be shown twice"
    return ExportedProject(project_, trained, evaluation, outcome, folder / "out")


def test_the_exported_model_is_the_measured_one(exported: ExportedProject) -> None:
    """The merged weights in the export have the hash recorded in the evaluation, with the adapter beside them."""
    revision = exported.evaluation.system("tuned").revision
    generation = json.loads((exported.out / "model" / "generation_config.json").read_text())
    assert revision == f"{exported.trained.adapter_id} merged, {hash_model(exported.out / 'model')}"
    assert (exported.out / "adapter" / "adapter_model.safetensors").is_file()
    assert not (exported.out / "adapter" / "merged").exists()
    assert generation["temperature"] == 0.9


def test_exported_evidence_is_checked_against_the_exported_model(exported: ExportedProject, tmp_path: Path) -> None:
    """The recipient of an export can render the report again; if the merged weights beside it were changed, that is
    refused."""
    out = Path(shutil.copytree(exported.out, tmp_path / "out"))
    checked = render_evidence(out / "evidence.json", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (out / "report.html").read_bytes()
    assert any(name.endswith("merged/model.safetensors") for name in checked.same)
    (weights := out / "model" / "model.safetensors").write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"model/model\.safetensors: this is not the file"):
        render_evidence(out / "evidence.json", tmp_path / "again.html")


def test_a_changed_chat_template_is_not_released(exported: ExportedProject, tmp_path: Path) -> None:
    """The measured model is more than its weights: with another chat template it answers differently."""
    out, registry = Path(shutil.copytree(exported.out, tmp_path / "out")), Registry(tmp_path / "registry")
    assert registry.add(out) == "v1"
    (template := out / "model" / "chat_template.jinja").write_text(template.read_text() + " ")
    with pytest.raises(InputError, match=r"model/chat_template\.jinja: this file is not what training wrote"):
        registry.add(out)


@pytest.mark.parametrize("place", ["adapter/tokenizer.json", "adapter/generation_config.json", "model/tokenizer.json"])
def test_an_incomplete_export_is_not_released(exported: ExportedProject, tmp_path: Path, place: str) -> None:
    """The recipient could not use the model, so the missing file is named."""
    out = Path(shutil.copytree(exported.out, tmp_path / "out"))
    (out / place).unlink()
    with pytest.raises(InputError, match=f"{place}: a file that generation needs is missing"):
        Registry(tmp_path / "registry").add(out)


def test_an_incomplete_merged_model_is_merged_again(exported: ExportedProject) -> None:
    """In the project a merged model with a missing file is rebuilt, with identical weights."""
    base = find_base(exported.trained.settings, exported.project.folder)
    (tokenizer := Path(exported.trained.folder, "merged", "tokenizer.json")).unlink()
    merged = merged_folder(base, exported.trained)
    assert tokenizer.is_file()
    assert hash_model(merged) == hash_model(exported.out / "model")


def test_the_card_shows_the_measurements(exported: ExportedProject) -> None:
    """The model card shows pass rates, how many inputs they rest on and how the model was merged, and its snippet runs
    as it stands in the card's folder. A text that ended answers in the evaluation is named: no config can hold it."""
    card = (exported.out / "model" / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "| tuned | " in card
    assert f"- on {exported.evaluation.seeds} held-out inputs, {exported.evaluation.samples} sample" in card
    assert f"merged into the {exported.trained.merged.into} base" in card  # type: ignore[union-attr]
    assert 'FOLDER = "."' in card
    assert '- answers also ended before ["§"], which `generation_config.json` cannot say' in card
    assert 'FOLDER = "../model"' in (exported.out / "adapter" / "README.md").read_text()


def test_a_gguf_is_compared_with_the_measured_model(exported: ExportedProject) -> None:
    """The GGUF answers every test input that the tuned model answered, outside the evaluation's comparisons."""
    file = exported.out / "gguf" / "images-f16.gguf"
    compared = json.loads(file.with_suffix(".check.json").read_text())
    assert compared["inputs"] == exported.evaluation.seeds
    assert 0 <= compared["chrf"] <= 1
    assert exported.outcome.gguf["f16"].startswith("passes ")
    assert ("f16 answers", exported.outcome.gguf["f16"]) in summary(exported.outcome)
    assert (exported.out / "gguf" / "Modelfile").read_text().startswith("FROM ./images-f16.gguf\n")
    assert "f16" not in {system.name for system in exported.evaluation.systems}
    assert json.loads((exported.out / "export.json").read_text())["gguf"] == {file.name: sha256(file)}


def test_the_modelfile_has_the_begin_of_text_token_once(exported: ExportedProject) -> None:
    """If the GGUF says that llama.cpp adds a begin-of-text token to a prompt, the Modelfile has none; otherwise it
    keeps the one of the chat template."""
    gguf = pytest.importorskip("gguf", reason="reading GGUF files needs the package gguf")
    is_added = (
        gguf.GGUFReader(exported.out / "gguf" / "images-f16.gguf").fields["tokenizer.ggml.add_bos_token"].contents()
    )
    text = (exported.out / "gguf" / "Modelfile").read_text()
    assert ("if $.System }}<|im_start|>system\n" in text) == (not is_added)


def test_an_unavailable_gguf_kind_leaves_the_last_export(
    exported: ExportedProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """q4_k_m without its program, and without a way to fetch its library, fails before anything is replaced."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with Store.open(Store.url_for(exported.project)) as store, pytest.raises(MissingDependency, match="llama-quantize"):
        export(exported.project, store, out=exported.out, gguf=("f16", "q4_k_m"))
    assert (exported.out / "gguf" / "images-f16.gguf").is_file()


def test_weights_changed_after_measurement_are_not_exported(exported: ExportedProject) -> None:
    """The last export stays, and loading the latest adapter, as `evaluate`, `try` and `serve-model` do, is refused with
    the same message."""
    weights = exported.project.folder / "adapters" / exported.trained.adapter_id / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with Store.open(Store.url_for(exported.project)) as store:
            with pytest.raises(InputError, match="not what training wrote"):
                export(exported.project, store, out=exported.out)
            with pytest.raises(InputError, match="not what training wrote"):
                latest_adapter(exported.project, store)
    finally:
        weights.write_bytes(whole)
    assert (exported.out / "adapter" / "adapter_model.safetensors").read_bytes() == whole


def test_an_adapter_is_not_merged_into_another_base(exported: ExportedProject) -> None:
    """Merging into a base that was changed after training would give a model that nobody measured; the last export
    stays."""
    config = exported.project.folder / "tiny-llama" / "config.json"
    whole = config.read_text()
    config.write_text(json.dumps({**json.loads(whole), "rms_norm_eps": 0.1}))
    try:
        refused = pytest.raises(PairsmithError, match="was trained on a different base")
        with Store.open(Store.url_for(exported.project)) as store, refused:
            export(exported.project, store, out=exported.out, gguf=("f16",))
    finally:
        config.write_text(whole)
    assert (exported.out / "gguf" / "images-f16.gguf").is_file()


def test_a_truncated_evaluation_is_a_clear_error(exported: ExportedProject) -> None:
    """`export` and `evaluate` name a truncated evaluation file and say what to do."""
    file = exported.project.folder / "evaluations" / f"{exported.evaluation.id}.json"
    whole = file.read_bytes()
    file.write_bytes(whole[:200])
    try:
        with Store.open(Store.url_for(exported.project)) as store:
            with pytest.raises(InputError, match="not in the format that this version of pairsmith writes") as caught:
                export(exported.project, store, out=exported.out)
            assert caught.value.where == str(file)
            plan = plan_evaluation(
                exported.project, held_out_seeds(store, exported.project.spec), exported.trained, None
            )
            with pytest.raises(InputError, match="not in the format that this version of pairsmith writes"):
                asyncio.run(measure_or_load(plan, store, file.parent))
    finally:
        file.write_bytes(whole)
