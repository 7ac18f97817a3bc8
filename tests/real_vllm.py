"""A real vLLM for tests that are requested with `make test-vllm`."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from synth.embedded.weights import embedded_weights
from synth.local_vllm import VllmServer, vllm


def _model() -> str:
    """The model to serve: a folder or a hub id; the embedded weights for `embedded`; empty if none is requested."""
    named = os.environ.get("PAIRSMITH_REAL_VLLM", "")
    return str(embedded_weights(print).folder) if named == "embedded" else named


MODEL = _model()
PYTHON = os.environ.get("PAIRSMITH_REAL_VLLM_PYTHON")  # if not set, an environment is created
skip_without = pytest.mark.skipif(not MODEL, reason="`make test-vllm`: 3 GB and minutes of a quiet machine")


@contextmanager
def running(model: str, **options: Any) -> Iterator[VllmServer]:
    """Serve `model` while the block runs. `options` are those of `synth.local_vllm.vllm`."""
    serving = vllm(model, python=PYTHON, say=print, **options)
    with asyncio.Runner() as runner:
        server = runner.run(serving.__aenter__())
        try:
            yield server
        finally:
            runner.run(serving.__aexit__(None, None, None))


def random_adapter(folder: Path, rank: int = 20) -> Path:
    """A LoRA adapter of `MODEL` that changes its output, with a rank for which vLLM must be configured to make room."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft uses an API that transformers will remove
        get_peft_model(AutoModelForCausalLM.from_pretrained(MODEL), config).save_pretrained(folder)
    return folder
