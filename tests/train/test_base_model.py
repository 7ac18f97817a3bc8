"""A base model is found, named by its content, and loaded as asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import MissingDependency, PairsmithError
from schemas.spec import TrainSettings
from tests.train.tiny import LINEAR_LAYERS
from train.base_model import Base, find_base, hash_model, load_chat, load_for_training, weights_for_adapter
from train.quiet import quiet


def copy_of(base: Base, folder: Path) -> Path:
    return Path(shutil.copytree(base.folder, folder / "base"))


def test_the_hash_covers_the_chat_template_and_not_the_place(tiny_base: Base, tmp_path: Path) -> None:
    """The same files elsewhere are the same base; another template makes it another."""
    folder = copy_of(tiny_base, tmp_path)
    assert hash_model(folder) == tiny_base.hash
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{# #}")
    assert hash_model(folder) != tiny_base.hash


def test_generation_marks_are_taken_out(tiny_base: Base, tmp_path: Path) -> None:
    """Marks of a trainer, which servers cannot read, never reach an exported model; the prompt stays as it was."""
    folder = copy_of(tiny_base, tmp_path)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{% generation %}{% endgeneration %}")
    marked, plain = load_chat(Base("marked", folder, "-")), load_chat(tiny_base)
    assert "generation %}" not in marked.tokenizer.chat_template
    asked = [{"role": "user", "content": "a fox"}]
    assert marked.prompt(asked) == plain.prompt(asked)


def test_a_folder_of_the_project_is_used_and_an_empty_one_refused(tiny_base: Base, tmp_path: Path) -> None:
    """`train.base` may be a folder relative to the project; one without a model says so."""
    copy_of(tiny_base, tmp_path)
    assert find_base("base", tmp_path).hash == tiny_base.hash
    (tmp_path / "empty").mkdir()
    with pytest.raises(PairsmithError, match="no model here"):
        find_base("empty", tmp_path)


def test_a_base_that_is_nowhere_is_one_sentence(tmp_path: Path) -> None:
    """A mistyped folder is not a stack trace of a hub client."""
    pytest.importorskip("huggingface_hub")
    with pytest.raises(MissingDependency, match=r"train\.base = 'no/such/base'"):
        find_base("no/such/base", tmp_path)


def test_qlora_really_is_four_bit_and_lora_is_not(tiny_base: Base) -> None:
    """Every linear layer but the head is NF4 with double quantisation, on a CPU too."""
    with quiet():
        assert load_for_training(tiny_base, TrainSettings(method="qlora"))[1] == LINEAR_LAYERS
        assert load_for_training(tiny_base, TrainSettings(method="lora"))[1] == 0


def test_a_qlora_adapter_is_served_on_the_rounded_weights(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the adapter was trained on is what it is asked on: the NF4 values in 16 bits, written once; LoRA keeps its
    own base."""
    import torch
    from safetensors.torch import load_file

    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path))
    folder = weights_for_adapter(tiny_base, "qlora")
    weights, given = (load_file(place / "model.safetensors") for place in (folder, tiny_base.folder))
    name = "model.layers.0.self_attn.q_proj.weight"
    error = (weights[name].float() - given[name].float()).norm() / given[name].float().norm()
    assert 0.05 < float(error) < 0.15
    assert torch.equal(weights["model.embed_tokens.weight"], given["model.embed_tokens.weight"].bfloat16())
    with quiet():
        rounded, given_to_training = (
            load_for_training(tiny_base, TrainSettings(method="qlora"))[0],
            load_rounded(folder),
        )
        ids = torch.tensor([[5, 6, 7, 8]])
        assert torch.allclose(rounded(ids).logits.float(), given_to_training(ids).logits.float(), atol=0.02)
    assert weights_for_adapter(tiny_base, "qlora") == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert weights_for_adapter(tiny_base, "lora") == tiny_base.folder


def load_rounded(folder: Path) -> Any:
    return load_for_training(Base("rounded", folder, "-"), TrainSettings(method="lora"))[0]
