"""Tests that receipts identify the files of every adapter that a training used or wrote, also after a kill."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pairsmith.stages.table import stage
from pairsmith.stages.train import _receipts, recorded_digests
from schemas.errors import InputError
from schemas.files import sha256
from schemas.project import Project
from schemas.store import Store
from tests.train.test_whole_proof import PAIRS, write_project
from train.base_models.base_model import Base, find_base
from train.dataset import dataset_of
from train.sft import tune


@pytest.mark.timeout(1500)
def test_every_adapter_of_a_training_has_a_receipt(tiny_base: Base, tmp_path: Path) -> None:
    """The supervised adapter that DPO continues from is refused if it was edited together with its own record. An
    adapter that was trained again, by a process killed before it wrote a receipt, is accepted."""
    rows = [{"prompt": asked, "chosen": wanted, "rejected": f"no {asked}"} for asked, wanted in PAIRS]
    project = write_project(tmp_path, tiny_base, rows, "pair")
    dpo = project.spec.train.model_copy(update={"objective": "dpo", "epochs": 1.0})
    project = Project(tmp_path, project.spec.model_copy(update={"train": dpo}))
    adapters = tmp_path / "adapters"
    with Store.open(Store.url_for(project)) as store:
        for name in ("generate", "curate", "train"):
            stage(name).do(project, store)
        facts = store.receipts("train")[-1].facts
        start, tuned = (adapters / facts[name] for name in ("began_with", "made"))
        weights, record = start / "adapter_model.safetensors", start / "training.json"
        before, content, own = sha256(weights), weights.read_bytes(), record.read_text()
        assert recorded_digests(store, start.name)["adapter_model.safetensors"] == before
        assert not list(adapters.glob(".*"))

        tuned.rename(tmp_path / "tuned")
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        record.write_text(own.replace(before, sha256(weights)))
        with pytest.raises(InputError, match="not what training wrote"):
            stage("train").do(project, store)
        shutil.rmtree(start)

        base, data = find_base(dpo, tmp_path), dataset_of(tmp_path / "dataset")
        killed = tune(base, data, dpo, adapters, receipts=_receipts(adapters, store))
        assert killed.adapter_id == tuned.name
        assert len(list(adapters.glob(".*.unrecorded"))) == 2
        stage("train").do(project, store)
        assert not list(adapters.glob(".*"))
        assert recorded_digests(store, start.name) == store.receipts("train")[-1].facts["began_with_digests"]
        assert recorded_digests(store, tuned.name)["training.json"] == killed.digest
