"""What an export holds of the tuned model is what was measured, and it says how it does."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="training needs the train extra")

from pairsmith.outcome import ExportOutcome
from pairsmith.registry import Registry
from pairsmith.report import render_evidence, write_report
from pairsmith.stages.evaluate import latest_adapter
from pairsmith.stages.export import export, summary
from schemas.errors import InputError, MissingDependency, PairsmithError
from schemas.files import sha256
from schemas.project import Project
from schemas.records import Artifact
from schemas.store import Store
from tests.train import tiny
from tests.train.evaluated import project, with_seeds
from tests.train.tiny import make_base
from train.base_model import find_base, hash_model
from train.dataset import Dataset
from train.evaluation import held_out_seeds, measure_or_load, plan_evaluation
from train.merge import merged_folder
from train.metrics import Evaluation
from train.results import TrainResult
from train.sft import tune

pytestmark = pytest.mark.timeout(1200)  # a model is trained, measured and exported, on a machine that does much else


@dataclass
class Made:
    project: Project
    trained: TrainResult
    evaluation: Evaluation
    outcome: ExportOutcome
    out: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A QLoRA adapter that was trained, evaluated and exported with a GGUF, on a tiny random model."""
    from synth.embedded.weights import embedded_weights

    folder = tmp_path_factory.mktemp("project")
    base = make_base(folder / "tiny-llama", embedded_weights().folder)
    given = tiny.settings(method="qlora", base="tiny-llama")
    trained = tune(base, Dataset("dataset-1", tiny.rows(8)), given, folder / "adapters")
    project_ = project(folder, train=given.model_dump())
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
        outcome = export(project_, store, out=folder / "out", gguf=("f16",))
    return Made(project_, trained, evaluation, outcome, folder / "out")


def test_the_exported_model_is_the_measured_one(exported: Made) -> None:
    """The merged weights in the export have the hash that stands in the evaluation; the adapter lies beside them."""
    revision = exported.evaluation.system("tuned").revision
    generation = json.loads((exported.out / "model" / "generation_config.json").read_text())
    assert revision == f"{exported.trained.adapter_id} merged, {hash_model(exported.out / 'model')}"
    assert (exported.out / "adapter" / "adapter_model.safetensors").is_file()
    assert not (exported.out / "adapter" / "merged").exists()
    assert generation["temperature"] == 0.9


def test_the_evidence_of_an_export_speaks_of_the_model_that_lies_beside_it(exported: Made, tmp_path: Path) -> None:
    """Whoever was given the folder draws the report again; with other weights in the merged model it is refused."""
    out = Path(shutil.copytree(exported.out, tmp_path / "out"))
    checked = render_evidence(out / "evidence.json", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (out / "report.html").read_bytes()
    assert any(name.endswith("merged/model.safetensors") for name in checked.same)
    (weights := out / "model" / "model.safetensors").write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(InputError, match=r"model/model\.safetensors: this is not the file"):
        render_evidence(out / "evidence.json", tmp_path / "again.html")


def test_another_template_is_not_released(exported: Made, tmp_path: Path) -> None:
    """Weights alone do not make the model that was measured: one with another chat template answers otherwise."""
    out, registry = Path(shutil.copytree(exported.out, tmp_path / "out")), Registry(tmp_path / "registry")
    assert registry.add(out) == "v1"
    (template := out / "model" / "chat_template.jinja").write_text(template.read_text() + " ")
    with pytest.raises(InputError, match=r"model/chat_template\.jinja: this file is not what training wrote"):
        registry.add(out)


@pytest.mark.parametrize("place", ["adapter/tokenizer.json", "adapter/generation_config.json", "model/tokenizer.json"])
def test_what_generation_needs_is_not_missing_from_a_release(exported: Made, tmp_path: Path, place: str) -> None:
    """Whoever was given it could not ask the model: the file is named instead. In the project, the merged model is made
    again where a file of it is gone."""
    out = Path(shutil.copytree(exported.out, tmp_path / "out"))
    (out / place).unlink()
    with pytest.raises(InputError, match=f"{place}: a file that generation needs is missing"):
        Registry(tmp_path / "registry").add(out)


def test_a_merged_model_that_is_not_whole_is_made_again(exported: Made) -> None:
    """With the tokenizer of then, and the weights of then."""
    base = find_base(exported.trained.settings, exported.project.folder)
    (tokenizer := Path(exported.trained.folder, "merged", "tokenizer.json")).unlink()
    merged = merged_folder(base, exported.trained)
    assert tokenizer.is_file()
    assert hash_model(merged) == hash_model(exported.out / "model")


def test_the_card_tells_what_was_measured(exported: Made) -> None:
    """Pass rates of every system, with intervals, and which merge this is."""
    card = (exported.out / "model" / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "| tuned | " in card
    assert f"merged into the {exported.trained.merged.into} base" in card  # type: ignore[union-attr]
    assert 'FOLDER = "THIS_FOLDER"' in card
    assert 'FOLDER = "../model"' in (exported.out / "adapter" / "README.md").read_text()


def test_a_gguf_is_compared_with_the_measured_model(exported: Made) -> None:
    """It was asked every test input that the tuned model answered, outside of the evaluation's comparisons."""
    file = exported.out / "gguf" / "images-f16.gguf"
    compared = json.loads(file.with_suffix(".check.json").read_text())
    assert compared["inputs"] == exported.evaluation.seeds
    assert 0 <= compared["chrf"] <= 1
    assert exported.outcome.gguf["f16"].startswith("passes ")
    assert ("f16 answers", exported.outcome.gguf["f16"]) in summary(exported.outcome)
    assert (exported.out / "gguf" / "Modelfile").read_text().startswith("FROM ./images-f16.gguf\n")
    assert "f16" not in {system.name for system in exported.evaluation.systems}
    assert json.loads((exported.out / "export.json").read_text())["gguf"] == {file.name: sha256(file)}


def test_ollamas_prompt_begins_as_the_gguf_is_read(exported: Made) -> None:
    """Where the GGUF says that llama.cpp puts a begin-of-text token before a prompt, the Modelfile has none; else it
    keeps the one that the chat template writes."""
    gguf = pytest.importorskip("gguf", reason="no reader of GGUF: needs the package gguf")
    is_added = (
        gguf.GGUFReader(exported.out / "gguf" / "images-f16.gguf").fields["tokenizer.ggml.add_bos_token"].contents()
    )
    text = (exported.out / "gguf" / "Modelfile").read_text()
    assert ("if $.System }}<|im_start|>system\n" in text) == (not is_added)


def test_a_kind_that_cannot_be_written_leaves_the_last_export(
    exported: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """q4_k_m without its program, where its library cannot be fetched either, ends before anything is replaced."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with Store.open(Store.url_for(exported.project)) as store, pytest.raises(MissingDependency, match="llama-quantize"):
        export(exported.project, store, out=exported.out, gguf=("f16", "q4_k_m"))
    assert (exported.out / "gguf" / "images-f16.gguf").is_file()


def test_weights_that_were_changed_after_they_were_measured_are_not_exported(exported: Made) -> None:
    """The last export stays; `try`, `serve-model` and `evaluate` refuse them in the same words."""
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


def test_an_adapter_is_not_merged_into_another_base(exported: Made) -> None:
    """A base that was changed after training would make a model that nobody measured; the last export stays."""
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


def test_an_evaluation_that_is_cut_is_a_sentence(exported: Made) -> None:
    """Half a file is no evaluation: export and `evaluate` name it and say what to do."""
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
