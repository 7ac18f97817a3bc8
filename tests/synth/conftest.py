"""The embedded teacher for tests: one child process for the whole session, with one adapter beside the base model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from synth.embedded.process import EmbeddedServer, embedded
from synth.embedded.weights import embedded_weights


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The real weights, downloaded once into the user's cache folder."""
    pytest.importorskip("transformers", reason="the embedded teacher needs the train extra")
    return embedded_weights(print).folder


@pytest.fixture(scope="session")
def lora_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random rank-4 adapter for SmolLM2-135M, in PEFT's file format."""
    torch = pytest.importorskip("torch", reason="the embedded teacher needs the train extra")
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("lora")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for layer in range(30):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(4, 576, generator=generator) * 0.2
        weights[f"{name}.lora_B.weight"] = torch.randn(576, 4, generator=generator) * 0.2
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def embedded_server(lora_folder: Path) -> Iterator[EmbeddedServer]:
    """The real embedded teacher, serving the base model and the adapter `tuned`."""
    yield from _serving(lora_folder, "auto")


@pytest.fixture(scope="session")
def float32_server(lora_folder: Path) -> Iterator[EmbeddedServer]:
    """The same in float32, regardless of what the processor supports."""
    yield from _serving(lora_folder, "float32")


def _serving(adapter: Path, dtype: str) -> Iterator[EmbeddedServer]:
    with asyncio.Runner() as runner:
        context = embedded(adapters={"tuned": adapter}, dtype=dtype)
        server = runner.run(context.__aenter__())
        yield server
        runner.run(context.__aexit__(None, None, None))
