"""A new LoRA adapter on a frozen base: which layers get one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers.pytorch_utils import Conv1D

from schemas.errors import InputError, first_line
from schemas.spec import TrainSettings
from train import unsloth_backend

_MAMBA = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")


def new_adapter(model: Any, settings: TrainSettings) -> Any:
    """`model` with a new adapter. Raises InputError for a name in `train.targets` that is not one of its linear layers;
    embeddings, the output layer, and what reads images or sound get no adapter."""
    layers, of_other_senses = _linear_layers(model)
    _refuse_unknown_targets(settings.targets, layers)
    # The fused kernels of these architectures read the weights of two layers directly, so an adapter would be ignored.
    fused = ["out_proj", "conv1d"] if model.config.model_type in _MAMBA and not settings.targets else []
    lora: dict[str, Any] = {
        "r": settings.r,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": list(settings.targets) or "all-linear",
        "use_rslora": settings.rslora,
    }
    if settings.backend == "unsloth":  # which cannot pass on what is excluded, so each layer is named
        if fused or of_other_senses:
            chosen = [name for name in layers if not settings.targets or _ends_in(name, settings.targets)]
            lora["target_modules"] = [name for name in chosen if _last(name) not in fused]
        return unsloth_backend.new_adapter(model, settings, lora)
    excluded = [*fused, *of_other_senses] or None
    config = LoraConfig(**lora, exclude_modules=excluded, use_dora=settings.dora, task_type="CAUSAL_LM")
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        key = next((key for key in ("dora", "dropout") if key in str(error)), "targets")
        fix = "Choose other layers, or remove the key: then every layer that can have an adapter gets one."
        fix = fix if key == "targets" else "This base cannot be trained with it: remove the key."
        raise InputError(first_line(error), where=f"train.{key}", fix=fix) from None
    sort_layers(config)
    return adapted


def sort_layers(config: Any) -> None:
    """Sort the layers that an adapter's `config` names: they are sets, whose order would differ in each file."""
    for name in ("target_modules", "exclude_modules"):
        if isinstance(names := getattr(config, name), set):
            setattr(config, name, sorted(names))


def _linear_layers(model: Any) -> tuple[list[str], list[str]]:
    """The names of the linear layers that read and write text, without the output layer, and those of the others."""
    head, of_text = model.get_output_embeddings(), _text_part(model)
    text, others = list[str](), list[str]()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head:
            (text if module in of_text else others).append(name)
    return text, others


def _refuse_unknown_targets(targets: Sequence[str], layers: Sequence[str]) -> None:
    for target in targets:
        if not any(_ends_in(name, [target]) for name in layers):
            raise InputError(
                f"the base has no linear layer named '{target}', and only linear layers can have an adapter.",
                where="train.targets",
                fix=f"Choose from its layers: {', '.join(sorted({_last(name) for name in layers}))}.",
            )


def _ends_in(name: str, targets: Sequence[str]) -> bool:
    return f".{name}".endswith(tuple(f".{target}" for target in targets))


def _last(name: str) -> str:
    """The part of a layer's name that it shares with its like in other blocks."""
    return name.rpartition(".")[2]


def _text_part(model: Any) -> set[Any]:
    """The modules that read and write text: all of them, or the decoder's if the model has further parts, without
    readers of images and sound and what holds only these (Phi-4 multimodal keeps them in its decoder), and without the
    blocks that a text passes by, because they attend to an image (Llama 3.2 Vision)."""
    text = model if model.config.get_text_config() is model.config else model.get_decoder()
    embeddings, parts = model.get_input_embeddings(), {*text.modules()}
    for module in text.modules():
        held = {*module.modules()}
        if embeddings not in held and any(
            getattr(part, "main_input_name", "input_ids") != "input_ids" for part in held
        ):
            parts -= held
    passed_by = [f"layers.{at}" for at in getattr(text.config, "cross_attention_layers", None) or ()]
    for block in (module for name, module in text.named_modules() if passed_by and _ends_in(name, passed_by)):
        parts -= {*block.modules()}
    return parts
