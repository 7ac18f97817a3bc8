"""Fixtures shared by the training tests: the real tokenizer, and a random model that uses it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from synth.chat_template import Chat
from tests.train import tiny
from train.base_models.base_model import Base, load_chat


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The real weights, downloaded once into the user's cache folder."""
    pytest.importorskip("trl", reason="training needs the train extra")
    from synth.embedded.weights import embedded_weights

    return embedded_weights().folder


@pytest.fixture(scope="session")
def tiny_base(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return tiny.make_base(tmp_path_factory.mktemp("tiny") / "tiny-llama", smollm2_folder)


@pytest.fixture(scope="session")
def chat(tiny_base: Base) -> Chat:
    """SmolLM2's tokenizer with its normalised chat template."""
    return load_chat(tiny_base)


@pytest.fixture(scope="session")
def tokenizer(chat: Chat) -> Any:
    """SmolLM2's own tokenizer and chat template."""
    return chat.tokenizer


@pytest.fixture(scope="session", autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> None:
    """A tiny model gains nothing from threads, and they slow down the other test processes."""
    if find_spec("torch") and not request.config.getoption("--quick"):
        import torch

        torch.set_num_threads(1)
