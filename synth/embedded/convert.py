"""Converts GGUF to a transformers folder in bfloat16. Runs as a separate process, so that the 1.5 GiB it needs are
freed."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def convert(gguf: Path, target: Path) -> None:
    """Dequantise a GGUF file. Without `dequantize=True` transformers keeps it quantised, and saving it raises."""
    place = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    quantization = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**place, quantization_config=quantization, dtype=torch.bfloat16)
    # Otherwise the config would record a local path of this machine.
    model.config._name_or_path = ""
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(**place).save_pretrained(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
