"""Common base models, what they need, and which one suits this machine. Nothing heavy is imported.

Memory is an estimate for choosing a model, not for exact planning: the weights (2 bytes per parameter for LoRA, 1.1 in
8 bits, 0.6 in NF4), adapter and optimiser (1 % of the parameters at 16 bytes each), and 1.5 GiB plus half a GiB per
billion parameters for activations, at batch 8 with 512 tokens and recomputed activations, as on a GPU; it has not been
measured on every card. A CPU keeps the activations of a batch, or of as many of its rows as fit (`batch_memory`):
SmolLM2-135M in bfloat16 peaked at 2.5 GiB with 8 rows of 128 tokens, at 7.1 with 8 of 512, and at 2.6 with those in
four parts.
"""

from __future__ import annotations

import json
import math
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from schemas.cores import multiplies_bfloat16
from schemas.errors import InputError
from schemas.memory import total_bytes
from schemas.spec import TrainSettings

Method = Literal["qlora", "lora", "lora-8bit"]

GIB = 2**30
# The share of weights that are quantised, and the bytes that one of them takes.
_QUANTISED: dict[str, tuple[float, float]] = {"lora": (0, 0), "lora-8bit": (0.9, 1.0), "qlora": (0.9, 0.45)}
# The usable share of a machine's memory; the rest is in use.
_FREE_SHARE = 0.8
_FETCH = "Download the model again."
# Below this size, quantising costs more time than the memory it saves is worth.
_SMALL_BILLIONS = 1.0


class KnownModel(NamedTuple):
    """A base model by its name on the hub. `gated`: its publisher must grant access first. `good_for` names kinds of
    task (`task.kind`), a rule of thumb for models of its size rather than a measurement."""

    name: str
    billions: float
    licence: str
    gated: bool
    good_for: str


_COPIES, _WRITES, _REASONS = "short rewrite, classify", "rewrite, extract, reply", "all kinds, translate and free too"

KNOWN = (
    KnownModel("embedded", 0.135, "apache-2.0", False, _COPIES),
    KnownModel("HuggingFaceTB/SmolLM2-360M-Instruct", 0.36, "apache-2.0", False, _COPIES),
    KnownModel("google/gemma-3-270m-it", 0.27, "gemma", True, _COPIES),
    KnownModel("LiquidAI/LFM2-350M", 0.35, "lfm1.0", False, _COPIES),
    KnownModel("Qwen/Qwen2.5-0.5B-Instruct", 0.49, "apache-2.0", False, _COPIES),
    KnownModel("Qwen/Qwen3-0.6B", 0.6, "apache-2.0", False, _COPIES),
    KnownModel("Qwen/Qwen3.5-0.8B", 0.87, "apache-2.0", False, _COPIES),
    KnownModel("google/gemma-3-1b-it", 1.0, "gemma", True, _WRITES),
    KnownModel("LiquidAI/LFM2.5-1.2B-Instruct", 1.17, "lfm1.0", False, _WRITES),
    KnownModel("meta-llama/Llama-3.2-1B-Instruct", 1.24, "llama3.2", True, _WRITES),
    KnownModel("Qwen/Qwen3-1.7B", 1.7, "apache-2.0", False, _WRITES),
    KnownModel("Qwen/Qwen3.5-2B", 2.27, "apache-2.0", False, _WRITES),
    KnownModel("HuggingFaceTB/SmolLM3-3B", 3.1, "apache-2.0", False, _WRITES),
    KnownModel("meta-llama/Llama-3.2-3B-Instruct", 3.2, "llama3.2", True, _WRITES),
    KnownModel("ibm-granite/granite-3.3-2b-instruct", 2.5, "apache-2.0", False, _WRITES),
    KnownModel("microsoft/Phi-4-mini-instruct", 3.8, "mit", False, _WRITES),
    KnownModel("Qwen/Qwen3-4B-Instruct-2507", 4.0, "apache-2.0", False, _REASONS),
    KnownModel("mistralai/Mistral-7B-Instruct-v0.3", 7.2, "apache-2.0", False, _REASONS),
    KnownModel("Qwen/Qwen3-8B", 8.2, "apache-2.0", False, _REASONS),
    KnownModel("microsoft/phi-4", 14.7, "mit", False, _REASONS),
)
# The default bases of a new project: openly licensed and from one publisher, so that sizes are comparable.
_DEFAULTS = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-8B")


class Machine(NamedTuple):
    """Where a model would be trained: the first GPU, otherwise the CPU, with its memory in GiB. `weight_bytes`: of a
    weight that is not quantised, 4 on a processor that would only emulate bfloat16."""

    name: str
    gib: float
    is_gpu: bool
    weight_bytes: int = 2


def machine() -> Machine:
    """This machine, detected without importing torch. An Apple GPU shares its memory with the CPU; training does not
    use it yet."""
    try:
        for name, gib in gpus():
            return Machine(name, gib, True)
    except (OSError, subprocess.SubprocessError):
        pass  # a driver that does not respond cannot compute either; `doctor` reports it
    try:
        total = total_bytes() / GIB
    except (ValueError, OSError):
        total = 8.0
    return Machine(f"{platform.machine()} processor", total, False, 2 if multiplies_bfloat16() else 4)


def gpus() -> list[tuple[str, float]]:
    """Name and GiB of every NVIDIA GPU; empty if nvidia-smi is not installed. Raises OSError or SubprocessError if it
    does not respond."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    fields = (line.rpartition(",") for line in lines if "," in line)
    return [(name.strip(), float(mib) / 1024) for name, _, mib in fields if mib.strip().replace(".", "").isdigit()]


def training_gib(billions: float, method: Method, weight_bytes: int = 2) -> float:
    """About how many GiB training needs. `weight_bytes`: of a weight that is not quantised."""
    quantised, size = _QUANTISED[method]
    per_weight = quantised * size + (1 - quantised) * weight_bytes
    return billions * 1e9 * (per_weight + 0.01 * 16) / GIB + 1.5 + 0.5 * billions


def fitting_method(billions: float, here: Machine) -> Method | None:
    """`lora` for a small base and wherever it fits, otherwise `qlora`; None if neither fits."""
    methods: Sequence[Method] = ("lora", "qlora")
    return next((m for m in methods if training_gib(billions, m, here.weight_bytes) <= _FREE_SHARE * here.gib), None)


def in_precision(here: Machine, settings: TrainSettings) -> Machine:
    """The machine with the bytes of a weight that `train.precision` causes."""
    return here._replace(weight_bytes={"float32": 4, "auto": here.weight_bytes}.get(settings.precision, 2))


def default_base(here: Machine) -> KnownModel:
    """The base of a new project: on a CPU the embedded model, which trains in minutes; on a GPU the largest default
    that fits with plain LoRA."""
    by_name = {known.name: known for known in KNOWN}
    fitting = [by_name[name] for name in _DEFAULTS if fitting_method(by_name[name].billions, here) == "lora"]
    return fitting[-1] if here.is_gpu and fitting else by_name["embedded" if not here.is_gpu else _DEFAULTS[0]]


def billions_in(folder: Path) -> float:
    """How many billion parameters the safetensors of a folder hold, according to their headers. Raises InputError for
    an incomplete file, or one that the index names but that is missing."""
    index = folder / "model.safetensors.index.json"
    try:
        named = {*json.loads(index.read_bytes())["weight_map"].values()} if index.is_file() else set()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError("the weights index cannot be read.", where=str(index), fix=_FETCH) from None
    if named and "model.safetensors" not in named and (folder / "model.safetensors").is_file():
        raise InputError(
            f"the weights are there twice: as model.safetensors, and as the files that {index.name} names.",
            where=str(folder),
            why="It depends on the program which of the two is loaded.",
            fix="Remove the files that do not belong to the model.",
        )
    files = [folder / str(name) for name in sorted(named)] or sorted(folder.glob("*.safetensors"))
    return sum(map(_count_parameters, files)) / 1e9


def _count_parameters(file: Path) -> int:
    """The number of parameters in a safetensors file, which consists of an 8-byte length, a JSON header of that length,
    and the tensors."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length)) if length < size else {}
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        is_whole = bool(tensors) and 8 + length + max(tensor["data_offsets"][1] for tensor in tensors) <= size
        count: int = sum(math.prod(tensor["shape"]) for tensor in tensors)
    except FileNotFoundError:
        raise InputError("part of the weights is missing.", where=str(file), fix=_FETCH) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        what = f"these weights are incomplete: the file ends after {size:,} bytes."
        why = "A download was interrupted, or this is a Git LFS pointer instead of the file."
        raise InputError(what, where=str(file), why=why, fix=_FETCH)
    return count


def settled(settings: TrainSettings, folder: Path, base_hashes: Sequence[str], adapters: Path) -> TrainSettings:
    """`settings` with a method: the one that the spec names, otherwise that of the newest adapter of this base (one of
    `base_hashes`) in `adapters`, otherwise `lora` for a base below a billion parameters or one that fits on this
    machine, otherwise `qlora`."""
    if "method" in settings.model_fields_set:
        return settings
    from train.results import read_result

    newest = sorted(adapters.glob("*/training.json"), key=lambda path: -path.stat().st_mtime)
    for record in newest:
        earlier = read_result(record.parent)
        if earlier and earlier.base_hash in base_hashes:
            return settings.model_copy(update={"method": earlier.settings.method})
    billions = billions_in(folder)
    small = billions < _SMALL_BILLIONS
    fitting = fitting_method(billions, in_precision(machine(), settings))
    return settings.model_copy(update={"method": "lora" if small else fitting or "qlora"})
