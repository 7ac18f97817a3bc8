"""The base model: where it lies, what names it exactly, and how it is loaded for LoRA or QLoRA."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.allocator import keep_large
from schemas.errors import InputError, MissingDependency, PairsmithError, first_line
from schemas.files import sha256
from schemas.progress import Progress, unseen
from schemas.records import content_id
from schemas.spec import TrainSettings
from synth.chat_template import Chat
from train import unsloth_backend
from train.models import billions_in
from train.remote_code import loading, marked, runnable

if TYPE_CHECKING:
    from train.results import TrainResult

_WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "*.model", "vocab.json")
_OTHER_FILES = ("config.json", *_TOKENIZER_FILES)


@dataclass(frozen=True)
class Base:
    """A base model on disk. `name` is for people, `hash` covers weights, config, tokenizer and chat template, and the
    code that comes with it where the spec lets it run (`runs_code`)."""

    name: str
    folder: Path
    hash: str
    runs_code: bool = False


def find_base(settings: TrainSettings, project_folder: Path, progress: Progress = unseen) -> Base:
    """The model that `train.base` names: `embedded`, a folder (relative to the project), or a hub id and its revision.

    Raises MissingDependency when a hub id cannot be fetched, InputError when a folder holds no safetensors model, where
    its weights are not whole, and for code that is not what `train.trust_remote_code` names.
    """
    base = settings.base
    if base == "embedded":
        from synth.embedded.weights import HUB_ID, embedded_weights

        folder = embedded_weights(lambda message: progress("weights", {"message": message})).folder
        return Base(HUB_ID, folder, hash_model(folder))
    folder = project_folder / base
    name = folder.name if folder.is_dir() else base
    if not folder.is_dir():
        folder = _fetch(base, settings.revision)
    copy = runnable(base, folder, settings.trust_remote_code)
    hash_ = hash_model(copy or folder)
    billions_in(folder)  # a file that is cut is known before it is loaded
    if copy is None:
        return Base(name, folder, hash_)
    return Base(name, copy, content_id("model", [hash_, marked(base, copy)]), runs_code=True)


def base_of(trained: TrainResult, settings: TrainSettings, project_folder: Path) -> Base:
    """The base that `settings` name, which has to be the one that the adapter was trained on. Raises InputError if
    it is another, and what `find_base` does."""
    base = find_base(settings, project_folder)
    if base.hash != trained.base_hash:
        raise InputError(
            f"the adapter {trained.adapter_id} was trained on another base than train.base = '{settings.base}'.",
            why="It would be put on weights that it does not fit.",
            fix="Train again, or name in train.base, revision and trust_remote_code what it was trained on.",
        )
    return base


def _fetch(hub_id: str, revision: str | None) -> Path:
    import huggingface_hub

    wanted = [*_WEIGHT_FILES, *_OTHER_FILES, "*.py", "generation_config.json", "README.md"]
    try:
        # Mistral's repositories hold the same weights once more in one file.
        return Path(
            huggingface_hub.snapshot_download(
                hub_id, revision=revision, allow_patterns=wanted, ignore_patterns=["consolidated*", "*/*"]
            )
        )
    except (huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.HFValidationError, OSError) as error:
        raise MissingDependency(
            f"train.base = '{hub_id}' is not a folder here and cannot be fetched from a hub: {first_line(error)}",
            fix="Name a folder with a model in it, a hub id that can be reached, or `embedded`.",
        ) from None


def hash_model(folder: Path) -> str:
    """32 hex digits over every file that changes what the model says. Reads all weights once (about 1.5 GB/s)."""
    weights = [path for pattern in _WEIGHT_FILES for path in folder.glob(pattern)]
    if not weights or not (folder / "config.json").is_file():
        raise InputError(
            "there is no model here.",
            where=str(folder),
            fix="A base model is a folder with config.json, *.safetensors and the tokenizer's files.",
        )
    files = sorted({*weights, *(path for pattern in _OTHER_FILES for path in folder.glob(pattern))})
    return content_id("model", [(path.name, sha256(path)) for path in files])


def compute_dtype(precision: str = "auto") -> Any:
    """The dtype that `precision` names; for `auto` bfloat16 where the processor multiplies it natively, else float16 on
    a GPU (a T4) and float32 on a CPU, which is then the fastest.

    Measured for SmolLM2-135M, batch 4 x 128 tokens, 2 cores with avx512_bf16: 0.8 s against 2.0 s a LoRA step. Raises
    MissingDependency for float16 without a GPU.
    """
    import torch

    on_gpu = torch.cuda.is_available()
    if precision == "float16" and not on_gpu:
        fix = "Leave train.precision out."
        raise MissingDependency("train.precision = 'float16' needs a GPU: a CPU cannot train in it.", fix=fix)
    if precision != "auto":
        return getattr(torch, precision)
    if on_gpu:
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def training_device() -> int | str:
    """The GPU of this process: the first, or of several processes (`accelerate launch`) its own; else the CPU."""
    import torch

    return int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"


def load_chat(base: Base, arguments: Mapping[str, Any] | None = None) -> Chat:
    """The tokenizer of the base with its settled chat template (`synth.chat_template.settle`), of which it raises the
    errors; InputError where it needs code that is not named. `arguments` are the spec's `train.template_arguments`."""
    from transformers import AutoTokenizer

    with loading(base.folder):
        tokenizer = AutoTokenizer.from_pretrained(base.folder, trust_remote_code=base.runs_code)
    return Chat(tokenizer, arguments)


def load_for_training(base: Base, settings: TrainSettings) -> tuple[Any, int]:
    """The frozen model and how many of its layers are 4-bit.

    `qlora` quantises every linear layer but the head to NF4 with double quantisation (Dettmers et al. 2023) as it
    loads, and raises PairsmithError if bitsandbytes did not really do so; `lora-8bit` loads them in 8 bits (Dettmers et
    al., LLM.int8(), 2022). Works without a GPU.
    """
    keep_large()
    qlora, dtype = settings.method == "qlora", compute_dtype(settings.precision)
    if settings.backend == "unsloth":
        model = unsloth_backend.load(base, settings, dtype, training_device())
    else:
        model = _load_frozen(base, settings, dtype)
    four_bit = count_four_bit_layers(model) if qlora else 0
    if qlora and not four_bit:
        raise PairsmithError(
            "train.method = 'qlora' was asked for, but no layer of the model is 4-bit.",
            where=str(base.folder),
            why="It would be LoRA under another name.",
            fix="Set train.method = 'lora', or update bitsandbytes.",
        )
    if qlora:
        _keep_trainable(model)
    model.config.use_cache = False
    return model, four_bit


def _load_frozen(base: Base, settings: TrainSettings, dtype: Any) -> Any:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from synth.embedded.model import feed_head_whole

    options: dict[str, Any] = {
        "dtype": dtype,
        "device_map": {"": training_device()},
        "trust_remote_code": base.runs_code,  # unset, whoever sits there is asked whether to run it
    }
    if settings.packing:
        options["attn_implementation"] = "flash_attention_2"
    if settings.method == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    elif settings.method == "lora-8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    with loading(base.folder):
        model = AutoModelForCausalLM.from_pretrained(base.folder, **options)
    feed_head_whole(model)
    return model


def count_four_bit_layers(model: Any) -> int:
    """The number of `Linear4bit` layers that hold NF4 weights with double quantisation, packed two to a byte."""
    import torch

    return sum(
        layer.weight.dtype == torch.uint8 and layer.weight.quant_type == "nf4" and layer.weight.quant_state.nested
        for _, layer in _four_bit_layers(model)
    )


def _four_bit_layers(model: Any) -> list[tuple[str, Any]]:
    """Every `Linear4bit` of `model` with its name."""
    import bitsandbytes

    return [(name, module) for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]


def _keep_trainable(model: Any) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for inference when a validation loss is measured.

    On processors with avx512_bf16, `Linear4bit.forward` (bitsandbytes 0.50) turns its weights into an inference layout
    as soon as it runs in evaluation mode, and never back. Later training steps then go through a kernel without a
    gradient, so hardly any of the adapter learns: the loss fell from 4.9 to 4.4 where it falls to 2.5 with this.
    """
    for _, layer in _four_bit_layers(model):
        layer.support_avx512bf16_for_cpu = False


def unpack_if_small(model: Any, most_bytes: int = 2**30) -> None:
    """Have the 4-bit layers of a small model on a CPU hold what their weights stand for, in the model's dtype.

    Packed, each is unpacked twice a step: an eighth of a QLoRA step of SmolLM2-135M on 2 cores. The numbers are the
    same ones. A model of more than `most_bytes` stays packed, for there memory is why it is 4-bit.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit

    layers = _four_bit_layers(model)
    weights = sum(layer.in_features * layer.out_features for _, layer in layers)
    if training_device() != "cpu" or weights * model.dtype.itemsize > most_bytes:
        return
    for name, layer in layers:
        plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(model.dtype)
        plain.weight, plain.bias = torch.nn.Parameter(weight, requires_grad=False), layer.bias
        model.set_submodule(name, plain)


def load_dequantised(base: Base) -> Any:
    """The base with the weights that QLoRA trains on, rounded to NF4, in bfloat16 on the CPU."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from transformers import AutoModelForCausalLM

    quantised, _ = load_for_training(base, TrainSettings(method="qlora"))
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.bfloat16, trust_remote_code=base.runs_code)
    modules = dict(model.named_modules())
    for name, layer in _four_bit_layers(quantised):
        weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        modules[name].weight.data = weight.to(torch.bfloat16).cpu()
    return model
