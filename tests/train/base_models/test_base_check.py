"""Tests that an untrainable base is reported before anything is paid for, and that the default base fits the
machine."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="training needs the train extra")

from schemas.errors import MissingDependency, PairsmithError
from schemas.spec import TrainSettings
from synth.embedded.model import refuse_incomplete
from tests.ledger_rows import call_index
from tests.train.families import FAMILIES, make
from train.base_models import check as base_check
from train.base_models import models
from train.base_models.base_model import context_of
from train.base_models.check import _check_memory, check_base, refuse_unfit
from train.base_models.models import (
    KNOWN,
    Machine,
    default_base,
    fitting_method,
    in_precision,
    settled,
    training_gib,
)

SMALL, CARD_4090, CARD_T4 = Machine("laptop", 8, False), Machine("RTX 4090", 24, True), Machine("T4", 15, True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with a tiny Qwen3, as a user would have it beside the spec."""
    return make(next(family for family in FAMILIES if family.name == "Qwen3"), tmp_path / "base")


def facts_of(base: Path, **settings: Any) -> dict[str, tuple[str, str]]:
    given = TrainSettings.model_validate({"base": base.name, **settings})
    return {fact.about: (fact.state, fact.what) for fact in check_base(given, base.parent)}


def change_json(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def test_a_base_that_fits_is_described(base: Path) -> None:
    """Architecture, template, serving, memory for training, and licence each have a line."""
    facts = facts_of(base)
    assert {about: state for about, (state, _) in facts.items()} == {
        "base": "ok", "template": "ok", "serving": "ok", "training": "ok", "licence": "warn",
    }  # fmt: skip
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert facts_of(base)["licence"] == ("ok", "apache-2.0")
    refuse_unfit(TrainSettings(base="base"), base.parent)
    refuse_unfit(TrainSettings(), base.parent)


def test_a_context_shorter_than_max_length_is_warned_about(base: Path) -> None:
    """A context shorter than the longest row allowed in training is reported before anything is paid for."""
    change_json(base / "config.json", max_position_embeddings=512)
    state, what = facts_of(base, max_length=1024)["serving"]
    assert state == "warn"
    assert "context holds 512 tokens, and train.max_length = 1024" in what
    assert facts_of(base, max_length=512)["serving"][0] == "ok"
    assert context_of({"n_positions": 1024}) == 1024  # as GPT-2 calls it


def _pickled(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def _unknown(base: Path) -> None:
    change_json(base / "config.json", model_type="brand-new", auto_map={"AutoModel": "modeling.Own"})


def _reads_images(base: Path) -> None:
    change_json(base / "config.json", model_type="mistral3")


def _quantised(base: Path) -> None:
    change_json(base / "config.json", quantization_config={"quant_method": "gptq"})


def _begins_twice(base: Path) -> None:
    template = base / "chat_template.jinja"
    template.write_text("{{ bos_token }}" + template.read_text())
    change_json(base / "tokenizer_config.json", bos_token="<|im_start|>")


def _untemplated(base: Path) -> None:
    (base / "chat_template.jinja").unlink()


def _empty(base: Path) -> None:
    shutil.rmtree(base)
    base.mkdir()


def _adapter_alone(base: Path) -> None:
    _empty(base)
    _with_adapter(base)


def _truncated(base: Path) -> None:
    weights = base / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)


def _pointer(base: Path) -> None:
    (base / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 12881256\n")


def _half(base: Path) -> None:
    parts = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    (base / "model.safetensors").rename(base / parts[0])
    index = {"weight_map": dict(zip("ab", parts, strict=True))}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))


def _twice(base: Path) -> None:
    shutil.copy(base / "model.safetensors", base / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))


def rename_weights(base: Path, name: Callable[[str], str]) -> None:
    """Save the weights again under the names that `name` gives."""
    from safetensors.torch import load_file, save_file

    path = str(base / "model.safetensors")
    save_file({name(key): weight for key, weight in load_file(path).items()}, path, {"format": "pt"})


def _compiled(base: Path) -> None:
    rename_weights(base, lambda name: f"_orig_mod.{name}")


def _without_layer(base: Path) -> None:
    rename_weights(base, lambda name: name.replace("layers.1.mlp.", "lost."))


def _fewer_layers(base: Path) -> None:
    change_json(base / "config.json", num_hidden_layers=1, layer_types=None)


def _other_width(base: Path) -> None:
    change_json(base / "config.json", intermediate_size=48)


def _with_adapter(base: Path) -> None:
    (base / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "another/model"}')


def _damaged(base: Path) -> None:
    (base / "config.json").write_text("[")


def _other_vocabulary(base: Path) -> None:
    change_json(base / "config.json", vocab_size=100)


def _more_words(base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["caravanserai"])
    tokenizer.save_pretrained(base)


def _own_padding(base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"pad_token": "<padding>"})
    tokenizer.save_pretrained(base)


def _encoder(base: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForMaskedLM(BertConfig(vocab_size=50_000, **size)).save_pretrained(base)


def _encoder_without_head(base: Path) -> None:
    _encoder(base)
    change_json(base / "config.json", architectures=None)


def _reward_model(base: Path) -> None:
    change_json(base / "config.json", architectures=["LlamaForSequenceClassification"])


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (_encoder, "does not write text: its config describes BertForMaskedLM"),
        (_encoder_without_head, "does not write text: its config describes a model of type 'bert' that is no decoder"),
        (_reward_model, "does not write text: its config describes LlamaForSequenceClassification"),
        (_more_words, "does not match the model"),
        (_own_padding, "does not match the model"),
        (_truncated, "are incomplete"),
        (_pointer, "are incomplete"),
        (_half, "part of the weights is missing"),
        (_twice, "the weights are there twice"),
        (_compiled, r"weights of the model are missing: 25 of 25, .*; the files have others, such as _orig_mod\."),
        (_without_layer, "weights of the model are missing: 3 of 25, such as model.layers.1.mlp.down_proj.weight"),
        (_fewer_layers, r"the files have 2 layers in model\.layers, and config\.json describes only 1"),
        (_other_width, "have other shapes than its config says: 6 of 25"),
        (_with_adapter, "contains an adapter beside the model"),
        (_damaged, "not a valid model config"),
        (_other_vocabulary, "have other shapes than its config says"),
        (_pickled, "no safetensors"),
        (_unknown, "the code shipped with it runs only if the spec trusts it"),
        (_reads_images, "has no text model of type 'mistral3', only one that reads images too"),
        (_quantised, "already quantised"),
        (_untemplated, "no single chat template"),
        (_begins_twice, "begins with '<|im_start|>' twice"),
        (_empty, "no config.json"),
        (_adapter_alone, "it is an adapter, not a model"),
    ],
)
def test_a_base_that_cannot_be_trained_is_refused_with_its_reason(base: Path, spoil: Any, what: str) -> None:
    """Other formats than safetensors, truncated or missing weights, unknown architectures or custom code, quantised
    weights, encoders and reward models, fewer layers than there are weights for, another model's tokenizer, no
    template or one that begins a text twice, no model."""
    spoil(base)
    with pytest.raises(PairsmithError, match=what) as refused:
        refuse_unfit(TrainSettings(base="base"), base.parent)
    assert refused.value.fix


def test_weights_that_families_ship_beside_the_layers_are_no_error(base: Path) -> None:
    """Towers for images, heads that predict further tokens, as a list or a last layer of their own, tables of
    positions, and a head that equals the embeddings: transformers does not load them, and nothing is missing."""
    import torch
    from safetensors.torch import load_file, save_file

    names = (
        *("vision_tower.encoder.layers.0.mlp.fc1.weight", "mtp.layers.0.mlp.down_proj.weight"),
        *("model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.2.mlp.down_proj.weight"),
    )
    path = str(base / "model.safetensors")
    weights = load_file(path)
    head = {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    save_file({**weights, **head, **{name: torch.ones(1) for name in names}}, path, {"format": "pt"})
    with pytest.raises(PairsmithError, match="have 3 layers in model"):
        refuse_unfit(TrainSettings(base="base"), base.parent)
    change_json(base / "config.json", num_nextn_predict_layers=1)
    refuse_unfit(TrainSettings(base="base"), base.parent)


def test_a_model_for_images_without_its_tower_says_what_to_do(tmp_path: Path) -> None:
    """Gemma 3 saved without the vision tower under the config of the whole model: the message names the way out, and it
    works."""
    from transformers import AutoConfig, AutoModelForCausalLM

    text = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    eyes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=eyes)
    AutoModelForCausalLM.from_config(config.text_config).save_pretrained(tmp_path)
    refuse_incomplete(tmp_path)
    own = (tmp_path / "config.json").read_bytes()
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    rename_weights(tmp_path, lambda name: name if "language_model" in name else f"lost.{name}")
    with pytest.raises(PairsmithError, match=r"vision_tower|multi_modal") as refused:
        refuse_incomplete(tmp_path)
    assert "text_config as its config.json" in str(refused.value.fix)
    (tmp_path / "config.json").write_bytes(own)
    rename_weights(tmp_path, lambda name: name.replace("language_model.model.", "model."))
    refuse_incomplete(tmp_path)


@pytest.mark.parametrize("package", ["accelerate", "torch", "transformers"])
def test_without_all_packages_nothing_is_checked(base: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that only generates may have transformers alone; it refuses no base that another one trains."""
    _compiled(base)
    monkeypatch.setitem(sys.modules, package, None)
    refuse_unfit(TrainSettings(base="base"), base.parent)
    with pytest.raises(MissingDependency, match="was not checked"):
        list(check_base(TrainSettings(base="base"), base.parent))


def test_custom_code_is_never_offered_interactively(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The library would ask in the terminal whether to run it, where users tend to answer yes."""
    base = make(next(family for family in FAMILIES if family.name == "Llama 3"), tmp_path / "base")
    change_json(base / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})
    what = "its tokenizer is code shipped with the model, which runs only if the spec trusts it"
    assert facts_of(base)["template"] == ("fail", what)
    assert "y/N" not in "".join(capfd.readouterr())


def test_parameters_are_counted_from_the_headers(base: Path) -> None:
    """Whatever precision they are stored in, and whatever the config says."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    change_json(base / "config.json", dtype="float64")
    assert models.billions_in(base) * 1e9 == pytest.approx(model.num_parameters(), rel=1e-9)


def test_a_base_too_large_for_this_machine_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the weights alone do not fit; if only the estimate for training exceeds the memory, it is a warning."""
    monkeypatch.setattr(base_check, "machine", lambda: SMALL)
    for billions, state in ((0.6, "ok"), (7.0, "warn"), (70.0, "fail")):
        monkeypatch.setattr(base_check, "billions_in", lambda folder, size=billions: size)
        assert facts_of(base)["training"][0] == state
    with pytest.raises(PairsmithError, match="GiB"):
        refuse_unfit(TrainSettings(base="base"), base.parent)


def test_an_unreachable_hub_does_not_stop_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor reports it, and generation continues: training may happen on another machine."""
    import huggingface_hub

    def unreachable(*args: Any, **more: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    settings = TrainSettings(base="some/model")
    with pytest.raises(MissingDependency, match="no network"):
        list(check_base(settings, tmp_path))
    refuse_unfit(settings, tmp_path)


def test_generation_is_refused_for_an_untrainable_base(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`generate`, and so `run`, stops without a receipt or call."""
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
        assert not call_index(store).keys()


def test_float32_that_the_spec_asks_for_takes_twice_the_memory_of_weights() -> None:
    """Also when the method is chosen: a base that fits with plain LoRA in bfloat16 need not fit in float32, and doctor
    warned that LoRA did not fit although QLoRA would be used. A CPU keeps the activations of a batch, which it says."""
    in_float32 = TrainSettings(precision="float32")
    assert in_precision(SMALL, in_float32).weight_bytes == 4
    assert in_precision(SMALL._replace(weight_bytes=4), TrainSettings(precision="bfloat16")).weight_bytes == 2
    assert in_precision(SMALL._replace(weight_bytes=4), TrainSettings()).weight_bytes == 4
    assert fitting_method(1.5, SMALL) == "lora"
    fact = _check_memory(in_float32, 1.5, SMALL)
    assert (fact.state, fact.what.split(";")[0]) == ("ok", "qlora needs about 3.6 GiB for short rows")
    assert "short rows" not in _check_memory(in_float32, 1.5, CARD_T4).what


def test_the_default_base_fits_the_machine() -> None:
    """A CPU gets the embedded model; a GPU never does, and gets a base on which plain LoRA fits."""
    assert default_base(SMALL).name == "embedded"
    for card in (CARD_4090, CARD_T4, Machine("GTX", 4, True), Machine("H100", 80, True)):
        chosen = default_base(card)
        assert chosen.billions >= 0.5
        assert fitting_method(chosen.billions, card) == "lora"
    assert default_base(CARD_4090).billions > default_base(Machine("GTX", 4, True)).billions
    assert all(training_gib(known.billions, "qlora") < training_gib(known.billions, "lora") for known in KNOWN)


def test_the_method_follows_spec_project_or_size(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spec's method wins; a project with adapters of this base keeps their method; otherwise it is LoRA below a
    billion parameters or where it fits, and QLoRA where memory requires it."""
    adapters = base.parent / "adapters"
    monkeypatch.setattr(models, "machine", lambda: SMALL)

    def method(**settings: Any) -> str:
        return settled(TrainSettings.model_validate(settings), base, ("hash",), adapters).method

    assert method(method="qlora") == "qlora"
    for billions, expected in ((0.3, "lora"), (1.7, "lora"), (7.0, "qlora")):
        monkeypatch.setattr(models, "billions_in", lambda folder, size=billions: size)
        assert method() == expected
    (old,) = (Path(__file__).parents[2] / "projects/v0_1/adapters").glob("*/training.json")
    record = json.loads(old.read_bytes())
    (adapters / "earlier").mkdir(parents=True)
    record |= {"base_hash": "hash", "settings": {**record["settings"], "method": "qlora"}}
    (adapters / "earlier/training.json").write_text(json.dumps(record))
    monkeypatch.setattr(models, "billions_in", lambda folder: 0.3)
    assert method() == "qlora"


@pytest.mark.parametrize("line", ["", "NVIDIA GB10, [N/A]", "No devices were found", "a, b, c", "RTX, nan", "RTX, -1"])
def test_a_gpu_without_a_memory_size_is_ignored(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of nvidia-smi counts as a GPU only if it has a memory size; with one it does, whatever the name."""
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for lines, cards in ((line, []), (f"{line}\nNVIDIA X, Y, 24576", [("NVIDIA X, Y", 24.0)])):
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
        program.chmod(0o755)
        assert models.gpus() == cards
        assert models.machine().is_gpu == bool(cards)


def test_a_new_project_gets_a_base_for_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a GPU the starter project gets a suitable base, with a comment; on a CPU, and in an example, nothing
    changes."""
    from click.testing import CliRunner

    from pairsmith.commands.init import command
    from pairsmith.new_project import template_folder, with_base
    from pairsmith.terminal.stopping import Stopping
    from pairsmith.terminal.watching import NOBODY, Invocation

    text = (template_folder(None) / "pairsmith.toml").read_text()
    assert with_base(text) == text or models.machine().is_gpu
    monkeypatch.setattr(models, "machine", lambda: CARD_4090)
    for name, more in (("starter", []), ("example", ["--example", "release-notes"])):
        words = [str(tmp_path / name), "--embedded", *more]
        done = CliRunner().invoke(command, words, obj=Invocation(None, Stopping(), NOBODY, []), catch_exceptions=False)
        assert done.exit_code == 0
    written = (tmp_path / "starter" / "pairsmith.toml").read_text()
    assert 'base = "Qwen/Qwen3-4B-Instruct-2507"' in written
    assert "Fits on RTX 4090 (24 GiB)" in written
    assert "Qwen" not in (tmp_path / "example" / "pairsmith.toml").read_text()


def test_a_spec_without_training_gets_settings_for_its_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the learning rate of larger models the embedded one learns next to nothing from sixty rows. It gets the
    settings of the examples and fewer evaluation answers, because a CPU needs longer to answer than to train. A base
    for a GPU does not."""
    from pairsmith.new_project import with_base

    spec = '[task]\nname = "t"\n'
    for here, keys in ((SMALL, {"learning_rate": 1e-3, "batch": 4}), (CARD_4090, {})):
        monkeypatch.setattr(models, "machine", lambda here=here: here)
        written = tomllib.loads(with_base(spec))
        assert {key: value for key, value in written["train"].items() if key != "base"} == keys
        assert written.get("evaluate", {}) == ({"samples": 1} if keys else {})


def test_an_invalid_training_setting_is_not_blamed_on_the_base(base: Path) -> None:
    """If the base is fine and a setting is not, the message names the setting."""
    with pytest.raises(
        PairsmithError, match=r"'base' cannot be trained here with these settings: train\.packing"
    ) as refused:
        refuse_unfit(TrainSettings(base="base", packing=True, objective="dpo"), base.parent)
    with pytest.raises(PairsmithError, match=r"train\.dora cannot be combined with train\.method = 'lora-8bit'"):
        refuse_unfit(TrainSettings(base="base", dora=True, method="lora-8bit"), base.parent)
    with pytest.raises(PairsmithError, match=r"train\.edited_weight cannot be combined with train\.objective = 'orpo'"):
        refuse_unfit(TrainSettings(base="base", edited_weight=3, objective="orpo"), base.parent)
    refuse_unfit(TrainSettings(base="base", edited_weight=3, objective="dpo"), base.parent)
    assert refused.value.where == "[train]"
