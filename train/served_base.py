"""The weights that an adapter is put on when it is asked: for QLoRA those of its 4-bit base, in 16 bits.

A QLoRA adapter is trained on weights that NF4 has rounded, and corrects for that rounding. On the unrounded weights its
loss is the same, but what it writes is not: with SmolLM2-135M it then ended 10 of 48 answers by itself, on the rounded
weights 45 of 48. So the tuned model is served on the rounded weights, dequantised, which any server can read.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Literal

from schemas.files import replaced_folder
from schemas.records import content_id
from synth.embedded.weights import cache_folder
from train.quiet import quiet
from train.student import Student, four_bit_layers, load_for_training, load_tokenizer


def served_base(student: Student, method: Literal["lora", "qlora"]) -> Path:
    """The folder of the model that an adapter of `student` belongs on. For `lora` it is the student's own.

    For `qlora` it is a folder in pairsmith's cache, written once for a base and a version of bitsandbytes; it is as
    large as the model in bfloat16. Blocks; loads the model the first time.
    """
    if method == "lora":
        return student.folder
    name = content_id("nf4", [student.hash, version("bitsandbytes")])[:16]
    folder = cache_folder() / f"{student.folder.name}-nf4-{name}"
    if folder.is_dir():
        return folder
    # Where another process is faster, its folder is replaced by an equal one.
    with replaced_folder(folder) as partial, quiet():
        _write_rounded(student, partial)
    return folder


def _write_rounded(student: Student, folder: Path) -> None:
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from transformers import AutoModelForCausalLM

    quantised, _ = load_for_training(student, "qlora")
    model = AutoModelForCausalLM.from_pretrained(student.folder, dtype=torch.bfloat16)
    rounded = dict(model.named_modules())
    for name, layer in four_bit_layers(quantised):
        weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        rounded[name].weight.data = weight.to(torch.bfloat16).cpu()
    # It would be written into the config and say where this machine keeps its files.
    model.config._name_or_path = ""
    model.save_pretrained(folder)
    load_tokenizer(student).save_pretrained(folder)
