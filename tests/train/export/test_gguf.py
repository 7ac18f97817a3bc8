"""Tests that a GGUF is written by llama.cpp's converter and answers in llama.cpp with the same prompt."""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
import pytest

from schemas.errors import MissingDependency, PairsmithError
from schemas.records import Message, Sampling
from synth.endpoints.endpoint import Endpoint
from tests.train.tiny import rows, settings
from train.base_models.base_model import Base, load_chat
from train.dataset import Dataset
from train.export.gguf import refuse_missing, served, write_gguf
from train.export.merge import write_merged
from train.sft import tune

MESSAGES = (Message(role="system", content="Rewrite it."), Message(role="user", content="a fox"))


@pytest.fixture(scope="module")
def merged(tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    train_settings = settings(epochs=3)
    result = tune(tiny_base, Dataset("d", rows(8)), train_settings, folder)
    write_merged(tiny_base, train_settings, Path(result.folder), folder / "merged")
    return folder / "merged"


@pytest.fixture(scope="module")
def gguf(merged: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The merged model as a GGUF file of the given kind. Each is converted once, which imports torch in a process."""
    folder = tmp_path_factory.mktemp("gguf")

    @cache
    def written(kind: str) -> Path:
        write_gguf(merged, folder / f"tiny-{kind}.gguf", kind)
        return folder / f"tiny-{kind}.gguf"

    return written


def _commands() -> Iterator[list[str]]:
    """The commands of all child processes; a process of an earlier test may have ended meanwhile."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # also raised for a zombie
            yield child.cmdline()


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_it_answers_in_llama_cpp_with_the_prompt_of_training(
    kind: str, gguf: Callable[[str], Path], tiny_base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp uses template and tokenizer from the file: the prompt has as many tokens as in training. It uses as
    many threads as the environment says, because on a busy machine more threads would spin while waiting for each
    other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = gguf(kind)

    async def ask() -> int:
        async with served(file, context=512) as url, Endpoint(url, "gguf", timeout_s=600) as endpoint:
            answer = await endpoint.ask(MESSAGES, Sampling(temperature=0, max_tokens=5))
            assert [str(file), "1", "512"] in [command[-3:] for command in _commands()]
        assert answer.usage is not None
        assert len(answer.choices) == 1
        return answer.usage.prompt_tokens

    expected = load_chat(tiny_base).prompt_ids([message.model_dump() for message in MESSAGES])
    assert asyncio.run(ask()) == len(expected)


def test_an_unsupported_architecture_is_a_clear_error(merged: Path, tmp_path: Path) -> None:
    """An architecture unknown to the converter is one error with the converter's last message."""
    model = tmp_path / "odd"
    model.mkdir()
    for path in merged.iterdir():
        (model / path.name).symlink_to(path)
    (model / "config.json").unlink()
    config = json.loads((merged / "config.json").read_text()) | {"architectures": ["NobodyKnowsForCausalLM"]}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(PairsmithError, match=r"converter failed: .*NobodyKnowsForCausalLM"):
        write_gguf(model, tmp_path / "odd.gguf", "f16")


def test_q4_k_m_is_written_by_llama_cpps_library(merged: Path, gguf: Callable[[str], Path], tmp_path: Path) -> None:
    """Without the program on the PATH: the file is smaller than q8_0, and llama.cpp answers from it."""
    if shutil.which("llama-quantize") or platform.machine() not in ("x86_64", "arm64"):
        pytest.skip("the library is not used here")
    small = tmp_path / "small.gguf"
    write_gguf(merged, small, "q4_k_m")
    assert small.stat().st_size < gguf("q8_0").stat().st_size

    async def ask() -> int:
        async with served(small, context=512) as url, Endpoint(url, "gguf", timeout_s=600) as endpoint:
            return len((await endpoint.ask(MESSAGES, Sampling(temperature=0, max_tokens=5))).choices)

    assert asyncio.run(ask()) == 1
    assert not list(tmp_path.glob("tmp*"))


def test_q4_k_m_is_written_by_the_program_on_the_path(
    merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the f16 file, the name of the format and a number of threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "llama-quantize"
    program.write_text('#!/bin/sh\n/bin/head -c 4 "$1" > "$2"; echo "$3 $4" >> "$2"\n')
    program.chmod(0o755)
    write_gguf(merged, tmp_path / "x.gguf", "q4_k_m")
    assert (tmp_path / "x.gguf").read_bytes() == b"GGUFQ4_K_M 1\n"


def test_without_program_and_library_it_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written, the error says what is missing and which kind to use instead."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MissingDependency, match=r"llama-quantize or the package llama-cpp-py-sync") as missing:
        refuse_missing(["q8_0", "q4_k_m"])
    assert "q8_0" in str(missing.value.fix)
    refuse_missing(["f16", "q8_0"])
