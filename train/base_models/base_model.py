"""Find, identify and load the base model for LoRA or QLoRA training."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.allocator import keep_large_blocks
from schemas.errors import InputError, MissingDependency, PairsmithError, first_line
from schemas.files import sha256
from schemas.progress import Progress, unseen
from schemas.records import content_id
from schemas.spec import TrainSettings
from synth.chat_template import Chat
from train import unsloth_backend
from train.base_models.models import billions_in
from train.base_models.remote_code import explain_untrusted_code, runnable, trust_entry

if TYPE_CHECKING:
    from train.results import TrainResult

_WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "*.model", "vocab.json")
SMALL_FILES = ("config.json", *_TOKENIZER_FILES)
# These too decide what is generated, by its end tokens; hashes of earlier versions do not cover them.
_GENERATION_FILES = ("generation_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
# Endings of transformers' classes for models that do not write text.
_OTHER_HEADS = (
    "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice",
)  # fmt: skip
_LEARNED_POSITIONS = ("wpe.weight", "embed_positions.weight", "positions_embed.weight")


@dataclass(frozen=True)
class Base:
    """A base model on disk. `name` is for display. `hash` covers weights, config, tokenizer, chat template and
    generation config, and the code shipped with it where the spec allows it to run (`runs_code`). `earlier_hash` is the
    hash that earlier versions recorded, which does not cover the generation config. `commit` is that of a base from the
    hub."""

    name: str
    folder: Path
    hash: str
    runs_code: bool = False
    earlier_hash: str = ""
    commit: str | None = None

    @property
    def record(self) -> dict[str, Any]:
        """The fields of a `TrainResult` that name this base."""
        return {"base": self.name, "base_hash": self.hash, "base_commit": self.commit}

    @property
    def hashes(self) -> tuple[str, ...]:
        """The hashes by which an adapter's record may name this base."""
        return tuple(dict.fromkeys(filter(None, (self.hash, self.earlier_hash))))

    def is_base_of(self, trained: TrainResult) -> bool:
        """Whether an adapter was trained on this base. An adapter of an earlier version must also have the end tokens
        that this base has now, because its record does not cover the generation config."""
        if trained.base_hash == self.hash:
            return True
        return trained.base_hash == self.earlier_hash and _has_same_ends(self, trained)


def find_base(settings: TrainSettings, project_folder: Path, progress: Progress = unseen) -> Base:
    """The model that `train.base` names: `embedded`, a folder (relative to the project), or a hub id with its revision.

    Raises MissingDependency if a hub id cannot be fetched. Raises InputError if a folder has no safetensors model, if
    its weights are incomplete, or if the code is not the code that `train.trust_remote_code` names.
    """
    base = settings.base
    if base == "embedded":
        from synth.embedded.weights import HUB_ID, embedded_weights

        folder = embedded_weights(lambda message: progress("weights", {"message": message})).folder
        hash_, earlier = hash_base(folder)
        return Base(HUB_ID, folder, hash_, earlier_hash=earlier)
    folder = project_folder / base
    name, commit = folder.name, None
    if folder.is_file():
        fix = "Name the folder that contains config.json, the weights and the tokenizer's files."
        raise InputError(f"train.base = '{base}' is a file, not the folder of a model.", fix=fix)
    if not folder.is_dir():
        folder = _fetch(base, settings.revision)
        name, commit = base, folder.name  # a snapshot in the hub's cache is named for its commit
    copy = runnable(base, folder, settings.trust_remote_code)
    hash_, earlier = hash_base(copy or folder)
    billions_in(folder)  # detects truncated files before they are loaded
    if copy is None:
        return Base(name, folder, hash_, earlier_hash=earlier, commit=commit)
    hash_, earlier = (content_id("model", [each, trust_entry(base, copy)]) for each in (hash_, earlier))
    return Base(name, copy, hash_, runs_code=True, earlier_hash=earlier, commit=commit)


def find_trained_base(trained: TrainResult, settings: TrainSettings, project_folder: Path) -> Base:
    """The base that `settings` name, which must be the base the adapter was trained on. Raises InputError if it is
    another one, and the errors of `find_base`. The hash of the result is the one that the adapter's record has, so what
    an earlier version measured of this base is not measured again."""
    base = find_base(settings, project_folder)
    if not base.is_base_of(trained):
        raise InputError(
            f"the adapter {trained.adapter_id} was trained on a different base than train.base = '{settings.base}'.",
            why="It would be applied to weights that it does not fit.",
            fix="Train again, or set train.base, revision and trust_remote_code to the base it was trained on.",
        )
    return replace(base, hash=trained.base_hash)


def _has_same_ends(base: Base, trained: TrainResult) -> bool:
    """Whether the end tokens saved with an adapter are those that it would get now. pairsmith 0.1 saved none."""
    saved = Path(trained.folder, "generation_config.json")
    if not saved.is_file():
        return True
    from transformers import AutoConfig, GenerationConfig

    if (base.folder / "generation_config.json").is_file():
        own = GenerationConfig.from_pretrained(base.folder)
    else:
        config = AutoConfig.from_pretrained(base.folder, trust_remote_code=base.runs_code)
        own = GenerationConfig.from_model_config(config)
    ends = load_chat(base, trained.settings.template_arguments).end_tokens(own.eos_token_id)
    # Trainers move the tokenizer's own end token to the front.
    return {*json.loads(saved.read_bytes())["eos_token_id"]} == {*ends}


def _fetch(hub_id: str, revision: str | None) -> Path:
    import huggingface_hub

    patterns = [*_WEIGHT_FILES, *SMALL_FILES, *_GENERATION_FILES, "*.py", "README.md"]
    try:
        # Mistral's repositories hold a second copy of the weights in one file (consolidated*).
        return Path(
            huggingface_hub.snapshot_download(
                hub_id, revision=revision, allow_patterns=patterns, ignore_patterns=["consolidated*", "*/*"]
            )
        )
    except huggingface_hub.errors.HFValidationError:
        raise MissingDependency(
            f"train.base = '{hub_id}' is no folder, and not the id of a model on the hub either.",
            fix="Name a folder that contains a model (relative to the project, or from the root, without ~), a hub id"
            " such as owner/name, or `embedded`.",
        ) from None
    except (huggingface_hub.errors.HfHubHTTPError, OSError) as error:
        reason = first_line(error).removeprefix("Got: ")
        raise MissingDependency(
            f"train.base = '{hub_id}' is not a local folder and cannot be fetched from the hub: {reason}",
            fix="Name a folder that contains a model, a hub id that can be reached, or `embedded`.",
        ) from None


def hash_model(folder: Path) -> str:
    """A hash (32 hex digits) over the files of a model; without its generation config, which an export extends by the
    decoding of the evaluation. Reads all weights once (about 1.5 GB/s)."""
    return content_id("model", _digests(folder))


def hash_base(folder: Path) -> tuple[str, str]:
    """A hash over every file that affects a base's output, and the hash that earlier versions recorded."""
    digests = _digests(folder)
    more = [(name, sha256(folder / name)) for name in _GENERATION_FILES if (folder / name).is_file()]
    earlier = content_id("model", digests)
    return (content_id("model", [earlier, more]) if more else earlier), earlier


def _digests(folder: Path) -> list[tuple[str, str]]:
    weights = [path for pattern in _WEIGHT_FILES for path in folder.glob(pattern)]
    if not weights or not (folder / "config.json").is_file():
        raise InputError(
            "this folder contains no model.",
            where=str(folder),
            fix="A base model is a folder with config.json, *.safetensors and the tokenizer's files.",
        )
    files = sorted({*weights, *(path for pattern in SMALL_FILES for path in folder.glob(pattern))})
    return [(path.name, sha256(path)) for path in files]


def compute_dtype(precision: str = "auto") -> Any:
    """The dtype that `precision` names. `auto` means bfloat16 if the hardware multiplies it natively, otherwise float16
    on a GPU (e.g. a T4) and float32 on a CPU, which is then the fastest.

    Measured for SmolLM2-135M, batch 4 x 128 tokens, 2 cores with avx512_bf16: 0.8 s per LoRA step instead of 2.0 s.
    Raises MissingDependency for float16 without a GPU.
    """
    import torch

    from synth.embedded.model import best_dtype

    on_gpu = torch.cuda.is_available()
    if precision == "float16" and not on_gpu:
        fix = "Remove train.precision."
        raise MissingDependency("train.precision = 'float16' needs a GPU: a CPU cannot train in it.", fix=fix)
    if precision != "auto":
        return getattr(torch, precision)
    return best_dtype("cuda" if on_gpu else "cpu")


def training_device() -> int | str:
    """The GPU of this process, otherwise the CPU. With several processes (`accelerate launch`) each has its own GPU; a
    single process uses the first."""
    import torch

    return int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"


def load_chat(base: Base, arguments: Mapping[str, Any] | None = None) -> Chat:
    """The tokenizer of the base with its settled chat template; raises what `synth.chat_template.freeze_template` does.
    Raises InputError if it needs code that is not trusted, or does not match the model. `arguments` are the spec's
    `train.template_arguments`."""
    from transformers import AutoTokenizer

    try:
        with explain_untrusted_code(base.folder):
            tokenizer = AutoTokenizer.from_pretrained(base.folder, trust_remote_code=base.runs_code)
    except PairsmithError:
        raise
    except Exception as error:  # a tokenizer's files may be broken in any way
        what = f"its tokenizer cannot be loaded: {first_line(error)}"
        raise InputError(what, where=str(base.folder), fix="Choose another base.") from None
    chat = Chat(tokenizer, arguments)
    refuse_other_vocabulary(chat, base.folder)
    return chat


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a base model. Raises InputError for a file that is not one."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise InputError("this is not a valid model config.", where=str(path), fix="Download the model again.")
    return config


def refuse_other_purpose(folder: Path) -> None:
    """Raise InputError for a model that transformers loads as one that writes text although it was trained for
    something else: an encoder (BERT), half of an encoder and decoder (BART), or one with another head, such as a reward
    model."""
    from transformers.models.auto import modeling_auto as auto

    config = read_config(folder)
    kind, heads = str(config.get("model_type")), config.get("architectures") or ()
    name = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind, "")
    two_sided = {*auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, *auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES}
    is_encoder = kind in two_sided and not name.endswith("ForConditionalGeneration") and not config.get("is_decoder")
    head = next((head for head in heads if str(head).endswith(_OTHER_HEADS)), None)
    if name and (is_encoder or head):
        raise InputError(
            f"it does not write text: its config describes {head or f'a model of type {kind!r} that is no decoder'}.",
            where=str(folder / "config.json"),
            why="transformers would load its layers as a language model, which it was not trained to be.",
            fix="Choose an instruct model (`pairsmith models`).",
        )


def context_of(config: Mapping[str, Any]) -> int | None:
    """The number of tokens that a model reads at once according to its config; None if it does not say."""
    config = config.get("text_config") or config
    context = config.get("max_position_embeddings", config.get("n_positions"))
    return context if isinstance(context, int) else None


def longest_row(base: Base, max_length: int) -> int:
    """The number of tokens that a training row may have: `max_length`, or the context of a base that learned a vector
    for each position (GPT-2, OPT), if that is shorter. Rotary positions have no end."""
    from safetensors import safe_open

    for file in base.folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            if any(name.endswith(_LEARNED_POSITIONS) for name in tensors.keys()):  # noqa: SIM118  not a mapping
                return min(max_length, context_of(read_config(base.folder)) or max_length)
    return max_length


def refuse_other_vocabulary(chat: Chat, folder: Path) -> None:
    """Raise InputError if texts, the end of a turn or padding may have tokens that the model in `folder` does not know.
    Special tokens are only counted if they are one of these: Gemma's tokenizer has one more, for images."""
    tokenizer, config = chat.tokenizer, read_config(folder)
    of_text = [token for token, added in tokenizer.added_tokens_decoder.items() if not added.special]
    tokens = max(tokenizer.vocab_size, 1 + max(chat.turn.end_token, tokenizer.pad_token_id or 0, *of_text, 0))
    known = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    if isinstance(known, int) and tokens > known:
        what = f"its tokenizer does not match the model: it has {tokens:,} tokens, but the model has {known:,}"
        raise InputError(what, where=str(folder), fix="Use the tokenizer that came with the weights.")


def load_for_training(base: Base, settings: TrainSettings) -> tuple[Any, int]:
    """The frozen model, and how many of its layers are 4-bit.

    `qlora` quantises every linear layer but the head to NF4 with double quantisation (Dettmers et al. 2023) on loading,
    and raises PairsmithError if bitsandbytes did not actually do so. `lora-8bit` loads them in 8 bits (Dettmers et al.,
    LLM.int8(), 2022). Works without a GPU.
    """
    from synth.embedded.model import refuse_incomplete

    with explain_untrusted_code(base.folder):
        if not base.runs_code:
            refuse_other_purpose(base.folder)
        refuse_incomplete(base.folder, runs_code=base.runs_code)
    keep_large_blocks()
    qlora, dtype = settings.method == "qlora", compute_dtype(settings.precision)
    if settings.backend == "unsloth":
        model = unsloth_backend.load(base, settings, dtype, training_device())
    else:
        model = _load_frozen(base, settings, dtype)
    four_bit = count_four_bit_layers(model) if qlora else 0
    if qlora and not four_bit:
        raise PairsmithError(
            "train.method = 'qlora' was requested, but no layer of the model is 4-bit.",
            where=str(base.folder),
            why="It would be plain LoRA under another name.",
            fix="Set train.method = 'lora', or update bitsandbytes.",
        )
    if qlora:
        _keep_trainable(model)
    model.config.use_cache = False
    return model, four_bit


def _load_frozen(base: Base, settings: TrainSettings, dtype: Any) -> Any:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from synth.embedded.model import make_head_input_contiguous

    options: dict[str, Any] = {
        "dtype": dtype,
        "device_map": {"": training_device()},
        "trust_remote_code": base.runs_code,  # if unset, transformers prompts on the terminal
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
    with explain_untrusted_code(base.folder):
        model = AutoModelForCausalLM.from_pretrained(base.folder, **options)
    make_head_input_contiguous(model)
    return model


def count_four_bit_layers(model: Any) -> int:
    """The number of `Linear4bit` layers that hold NF4 weights with double quantisation, two weights per byte."""
    import torch

    return sum(
        layer.weight.dtype == torch.uint8 and layer.weight.quant_type == "nf4" and layer.weight.quant_state.nested
        for _, layer in _four_bit_layers(model)
    )


def _four_bit_layers(model: Any) -> list[tuple[str, Any]]:
    """The name and module of every `Linear4bit` layer of `model`."""
    import bitsandbytes

    return [(name, module) for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]


def _keep_trainable(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights for inference when the validation loss is measured.

    On CPUs with avx512_bf16, `Linear4bit.forward` (bitsandbytes 0.50) converts its weights to an inference layout as
    soon as it runs in evaluation mode, and never converts them back. Later training steps then use a kernel without a
    gradient, so most of the adapter stops learning: the loss fell from 4.9 to only 4.4, and to 2.5 with this fix.
    """
    for _, layer in _four_bit_layers(model):
        layer.support_avx512bf16_for_cpu = False


def unpack_if_small(model: Any, max_bytes: int = 2**30) -> None:
    """Replace the 4-bit layers of a small model on a CPU by dense layers with the dequantised weights, in the model's
    dtype.

    Packed weights are unpacked twice per step, which takes an eighth of a QLoRA step of SmolLM2-135M on 2 cores. The
    values are identical. A model of more than `max_bytes` stays packed, because there 4-bit is needed for memory.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit

    layers = _four_bit_layers(model)
    weights = sum(layer.in_features * layer.out_features for _, layer in layers)
    if training_device() != "cpu" or weights * model.dtype.itemsize > max_bytes:
        return
    for name, layer in layers:
        plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(model.dtype)
        plain.weight, plain.bias = torch.nn.Parameter(weight, requires_grad=False), layer.bias
        model.set_submodule(name, plain)


def load_dequantised(base: Base) -> Any:
    """The base with the NF4-rounded weights that QLoRA trains on, in bfloat16 on the CPU."""
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
