"""What an export says about running it elsewhere is true: the snippet runs, and every template writes the same
bytes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.records import Sampling
from synth.chat_template import Chat
from tests.train.families import FAMILIES, Family, tokenizer_of
from tests.train.tiny import rows, settings
from train.base_model import Base
from train.dataset import Dataset
from train.model_card import model_card
from train.results import TrainResult
from train.sft import tune
from train.ways_to_run import modelfile, ollama_template, snippet, vllm_command, write_generation_config

DRAWN = Sampling(temperature=0.7, top_p=0.9, max_tokens=12)


@pytest.fixture(scope="module", params=["lora", "qlora"])
def tuned(request: pytest.FixtureRequest, tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    given = settings(method=request.param, epochs=3)
    return tune(tiny_base, Dataset("d", rows(4)), given, tmp_path_factory.mktemp("adapters"))


def folder_of(tuned: TrainResult) -> Path:
    return Path(tuned.folder) / ("merged" if tuned.settings.method == "qlora" else "")


def test_the_snippet_of_the_card_runs(tiny_base: Base, tuned: TrainResult) -> None:
    """Copied from the card into a file, with the folder's place filled in, it prints an answer."""
    folder = folder_of(tuned)
    write_generation_config(folder, DRAWN)
    (code,) = re.findall(r"```python\n(.*?)```", model_card(tuned, place=str(folder)), re.S)
    assert code == snippet(tuned, str(folder)) + "\n"
    code = code.replace(f'"{tiny_base.name}"', repr(str(tiny_base.folder)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_generation_config_is_how_it_was_measured(tuned: TrainResult) -> None:
    """It stops where a turn ends and draws as the evaluation drew; greedy is no temperature of zero, which is
    refused."""
    folder = folder_of(tuned)
    write_generation_config(folder, DRAWN)
    config = json.loads((folder / "generation_config.json").read_text())
    assert (config["do_sample"], config["temperature"], config["top_p"], config["max_new_tokens"]) == (
        True,
        0.7,
        0.9,
        12,
    )
    assert config["eos_token_id"]
    (folder / "generation_config.json").write_text('{"eos_token_id": [2]}')
    write_generation_config(folder, Sampling(temperature=0))
    assert json.loads((folder / "generation_config.json").read_text()) == {"eos_token_id": [2], "do_sample": False}


def test_vllm_is_given_the_template_that_was_trained_with(tuned: TrainResult) -> None:
    """An adapter is served over its base with its own template and a rank that vLLM takes; a merged model by itself."""
    command = vllm_command(tuned, "FOLDER")
    if tuned.settings.method == "qlora":
        assert command == "vllm serve FOLDER --served-model-name tuned"
    else:
        assert "--lora-modules tuned=FOLDER" in command
        assert "--max-lora-rank 8 " in command
        assert "--chat-template FOLDER/chat_template.jinja" in command


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_ollamas_template_is_the_familys(family: Family) -> None:
    """Filled in as Ollama does, with and without a system message, it is the prompt that was trained on, but for the
    begin-of-text token that llama.cpp adds."""
    if family.text is None:
        pytest.skip("the installed trl does not ship this template")
    chat = Chat(tokenizer_of(family))
    template = ollama_template(chat)
    for system in ("Rewrite it.", ""):
        system_turn = [{"role": "system", "content": system}] if system else []
        asked = [*system_turn, {"role": "user", "content": "two boats"}]
        expected = chat.prompt(asked).removeprefix(chat.tokenizer.bos_token or "") + chat.turn.lead
        assert filled(template, system, "two boats", "an answer") == f"{expected}an answer{chat.turn.end}"
    text = modelfile(chat, "m-q8_0.gguf", "Rewrite it.", DRAWN)
    assert text.startswith("FROM ./m-q8_0.gguf\n")
    assert f'PARAMETER stop "{chat.turn.end.strip()}"' in text
    assert "PARAMETER temperature 0.7" in text


def filled(template: str, system: str, prompt: str, response: str) -> str:
    """Go's text/template, as far as this one goes."""
    branch = re.fullmatch(r"\{\{ if \.System \}\}(.*?)\{\{ else \}\}(.*?)\{\{ end \}\}(.*)", template, re.S)
    assert branch is not None
    text = (branch[1] if system else branch[2]) + branch[3]
    for name, value in (("System", system), ("Prompt", prompt), ("Response", response)):
        text = text.replace("{{ ." + name + " }}", value)
    return text
