"""A base that cannot be trained is known before anything is paid, and the default base fits the machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="training needs the train extra")

from schemas.errors import MissingDependency, PairsmithError
from schemas.spec import TrainSettings
from tests.train.families import FAMILIES, make
from train import base_check, models
from train.base_check import check_base, refuse_unfit
from train.models import KNOWN, Machine, default_base, fitting_method, settled, training_gib

SMALL, CARD_4090, CARD_T4 = Machine("laptop", 8, False), Machine("RTX 4090", 24, True), Machine("T4", 15, True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with a tiny Qwen3 in it, as a person would have it beside the spec."""
    return make(next(family for family in FAMILIES if family.name == "Qwen3"), tmp_path / "base")


def facts_of(base: Path, **settings: Any) -> dict[str, tuple[str, str]]:
    given = TrainSettings.model_validate({"base": base.name, **settings})
    return {fact.about: (fact.state, fact.what) for fact in check_base(given, base.parent)}


def changed(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def test_a_base_that_fits_is_described(base: Path) -> None:
    """Its kind, its template, how it is served, what it takes, and its licence are each a line."""
    facts = facts_of(base)
    assert {about: state for about, (state, _) in facts.items()} == {
        "base": "ok", "template": "ok", "serving": "ok", "training": "ok", "licence": "warn",
    }  # fmt: skip
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert facts_of(base)["licence"] == ("ok", "apache-2.0")
    refuse_unfit(TrainSettings(base="base"), base.parent)
    refuse_unfit(TrainSettings(), base.parent)


def _pickled(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def _unknown(base: Path) -> None:
    changed(base / "config.json", model_type="brand-new", auto_map={"AutoModel": "modeling.Own"})


def _quantised(base: Path) -> None:
    changed(base / "config.json", quantization_config={"quant_method": "gptq"})


def _untemplated(base: Path) -> None:
    (base / "chat_template.jinja").unlink()


def _empty(base: Path) -> None:
    shutil.rmtree(base)
    base.mkdir()


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (_pickled, "no safetensors"),
        (_unknown, "code that comes with a model is never run"),
        (_quantised, "quantised already"),
        (_untemplated, "no single chat template"),
        (_empty, "no config.json"),
    ],
)
def test_a_base_that_cannot_be_trained_is_refused_with_its_reason(base: Path, spoil: Any, what: str) -> None:
    """Other formats than safetensors, unknown or foreign code, quantised weights, no template, no model."""
    spoil(base)
    with pytest.raises(PairsmithError, match=what) as refused:
        refuse_unfit(TrainSettings(base="base"), base.parent)
    assert refused.value.fix


def test_a_base_too_large_for_this_machine_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the bare weights do not fit; where only the estimate is above the memory, it is a warning."""
    monkeypatch.setattr(base_check, "machine", lambda: SMALL)
    for billions, state in ((0.6, "ok"), (7.0, "warn"), (70.0, "fail")):
        monkeypatch.setattr(base_check, "billions_in", lambda folder, size=billions: size)
        assert facts_of(base)["training"][0] == state
    with pytest.raises(PairsmithError, match="GiB"):
        refuse_unfit(TrainSettings(base="base"), base.parent)


def test_a_hub_that_cannot_be_reached_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said by doctor, and generation goes on: the training may happen elsewhere."""
    import huggingface_hub

    def unreachable(*args: Any, **more: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    settings = TrainSettings(base="some/model")
    with pytest.raises(MissingDependency, match="no network"):
        list(check_base(settings, tmp_path))
    refuse_unfit(settings, tmp_path)


def test_generation_is_refused_before_it_asks(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`generate`, and so `run`, stop at a base that cannot be trained; no receipt and no call is there."""
    from pairsmith.stages.generate import generate
    from schemas.spec_file import load
    from schemas.store import Store

    _untemplated(base)
    folder = base.parent
    (folder / "seeds.txt").write_text("a fox\n")
    (folder / "pairsmith.toml").write_text(
        '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "seeds.txt"\n[train]\nbase = "base"\n'
    )
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        with pytest.raises(PairsmithError, match=r"train\.base = 'base': cannot be trained"):
            generate(project, store)
        assert not store.receipts()
        assert not store.call_index().keys()


def test_the_default_base_fits_the_machine() -> None:
    """A processor takes the embedded model; a GPU never does, and takes no base that plain LoRA does not fit on."""
    assert default_base(SMALL).name == "embedded"
    for card in (CARD_4090, CARD_T4, Machine("GTX", 4, True), Machine("H100", 80, True)):
        chosen = default_base(card)
        assert chosen.billions >= 0.5
        assert fitting_method(chosen.billions, card) == "lora"
    assert default_base(CARD_4090).billions > default_base(Machine("GTX", 4, True)).billions
    assert all(training_gib(known.billions, "qlora") < training_gib(known.billions, "lora") for known in KNOWN)


def test_the_method_is_the_specs_the_projects_or_the_sizes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the spec names stands; a project with adapters of this base goes on as it was; else LoRA below a billion
    parameters or where it fits, and QLoRA where memory asks for it."""
    adapters = base.parent / "adapters"
    monkeypatch.setattr(models, "machine", lambda: SMALL)

    def method(**settings: Any) -> str:
        return settled(TrainSettings.model_validate(settings), base, "hash", adapters).method

    assert method(method="qlora") == "qlora"
    for billions, expected in ((0.3, "lora"), (1.7, "lora"), (7.0, "qlora")):
        monkeypatch.setattr(models, "billions_in", lambda folder, size=billions: size)
        assert method() == expected
    (old,) = (Path(__file__).parents[1] / "projects/v0_1/adapters").glob("*/training.json")
    record = json.loads(old.read_bytes())
    (adapters / "earlier").mkdir(parents=True)
    record |= {"base_hash": "hash", "settings": {**record["settings"], "method": "qlora"}}
    (adapters / "earlier/training.json").write_text(json.dumps(record))
    monkeypatch.setattr(models, "billions_in", lambda folder: 0.3)
    assert method() == "qlora"


def test_a_new_project_names_the_base_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The starter on a GPU gets a base that suits it, in words; on a processor, and in an example, nothing changes."""
    from click.testing import CliRunner

    from pairsmith.commands.init import command
    from pairsmith.new_project import template_folder, with_base
    from pairsmith.stopping import Stopping
    from pairsmith.watching import NOBODY

    text = (template_folder(None) / "pairsmith.toml").read_text()
    assert with_base(text) == text or models.machine().is_gpu
    monkeypatch.setattr(models, "machine", lambda: CARD_4090)
    for name, more in (("starter", []), ("example", ["--example", "release-notes"])):
        words = [str(tmp_path / name), "--embedded", *more]
        done = CliRunner().invoke(command, words, obj=(None, Stopping(), NOBODY), catch_exceptions=False)
        assert done.exit_code == 0
    written = (tmp_path / "starter" / "pairsmith.toml").read_text()
    assert 'base = "Qwen/Qwen3-4B-Instruct-2507"' in written
    assert "Fits on RTX 4090 (24 GiB)" in written
    assert "Qwen" not in (tmp_path / "example" / "pairsmith.toml").read_text()
