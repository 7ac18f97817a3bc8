"""Tests that a base model is located, identified by its content, and loaded as configured."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from schemas.allocator import return_large_arrays_early
from schemas.errors import MissingDependency, PairsmithError
from schemas.spec import TrainSettings
from tests.train.tiny import LINEAR_LAYERS, rows, settings
from train.base_models.base_model import (
    Base,
    count_four_bit_layers,
    find_base,
    find_trained_base,
    hash_base,
    hash_model,
    load_chat,
    load_dequantised,
    load_for_training,
    unpack_if_small,
)
from train.dataset import Dataset
from train.quiet import quiet
from train.sft import tune

ROOT = Path(__file__).parents[3]


def copy_of(base: Base, folder: Path) -> Path:
    return Path(shutil.copytree(base.folder, folder / "base"))


def test_the_hash_covers_the_chat_template_and_not_the_path(tiny_base: Base, tmp_path: Path) -> None:
    """The same files in another folder are the same base; another template makes it another base."""
    folder = copy_of(tiny_base, tmp_path)
    assert hash_model(folder) == tiny_base.hash
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{# #}")
    assert hash_model(folder) != tiny_base.hash


@pytest.mark.parametrize("name", ["generation_config.json", "special_tokens_map.json"])
def test_files_that_name_end_tokens_are_part_of_a_base(name: str, tiny_base: Base, tmp_path: Path) -> None:
    """They change what the tuned model generates, so with other ones it is another base. The hash that earlier versions
    recorded does not cover them."""
    folder = copy_of(tiny_base, tmp_path)
    before = find_base(TrainSettings(base="base"), tmp_path)
    (folder / name).write_text('{"eos_token_id": 7}')
    after = find_base(TrainSettings(base="base"), tmp_path)
    assert after.hash != before.hash
    assert after.earlier_hash == before.earlier_hash == hash_model(folder)


def test_an_adapter_of_an_earlier_version_fits_its_base_until_its_end_tokens_change(
    tiny_base: Base, tmp_path: Path
) -> None:
    """Its record has a hash without the generation config. The adapter is reused and measured as before, and trained
    again only for a base whose answers would now end elsewhere. The base names an end token of its own, which training
    saves after the tokenizer's."""
    folder, trained_on = copy_of(tiny_base, tmp_path), settings(base="base")
    (folder / "generation_config.json").write_text('{"eos_token_id": [5]}')
    data, out = Dataset("d", rows(4)), tmp_path / "adapters"
    base = find_base(trained_on, tmp_path)
    earlier = tune(replace(base, hash=base.earlier_hash), data, trained_on, out)
    again = tune(base, data, trained_on, out)
    assert (again.reused, again.adapter_id) == (True, earlier.adapter_id)
    assert find_trained_base(again, trained_on, tmp_path).hash == earlier.base_hash
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    with pytest.raises(PairsmithError, match="trained on a different base"):
        find_trained_base(again, trained_on, tmp_path)
    anew = tune(find_base(trained_on, tmp_path), data, trained_on, out)
    assert not anew.reused
    assert find_trained_base(anew, trained_on, tmp_path).hash == anew.base_hash


def test_generation_marks_are_removed(tiny_base: Base, tmp_path: Path) -> None:
    """A trainer's marks in a template, which servers cannot parse, never reach an exported model; the prompt stays the
    same."""
    folder = copy_of(tiny_base, tmp_path)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{% generation %}{% endgeneration %}")
    marked, plain = load_chat(Base("marked", folder, "-")), load_chat(tiny_base)
    assert "generation %}" not in marked.tokenizer.chat_template
    asked = [{"role": "user", "content": "a fox"}]
    assert marked.prompt(asked) == plain.prompt(asked)


def test_a_folder_of_the_project_is_used_and_an_empty_one_refused(tiny_base: Base, tmp_path: Path) -> None:
    """`train.base` may be a folder relative to the project; one without a model is a clear error."""
    copy_of(tiny_base, tmp_path)
    assert find_base(TrainSettings(base="base"), tmp_path).earlier_hash == tiny_base.hash
    (tmp_path / "empty").mkdir()
    with pytest.raises(PairsmithError, match="contains no model"):
        find_base(TrainSettings(base="empty"), tmp_path)


@pytest.mark.parametrize("base", ["/no/such/folder", "../folder", "~/models/qwen", "no/such/base"])
def test_a_mistyped_folder_is_not_reported_in_the_words_of_the_hub(tmp_path: Path, base: str) -> None:
    """The rules for names on the hub explain nothing about a folder, and `~` is not read by a shell here."""
    pytest.importorskip("huggingface_hub")
    with pytest.raises(MissingDependency) as raised:
        find_base(TrainSettings(base=base), tmp_path)
    assert "alphanumeric" not in str(raised.value)
    assert f"train.base = '{base}' is no" in str(raised.value)


def test_a_file_as_base_is_refused_as_a_file(tmp_path: Path) -> None:
    """A GGUF or one file of weights was looked for on the hub."""
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(PairsmithError, match="is a file, not the folder of a model"):
        find_base(TrainSettings(base="model.gguf"), tmp_path)


def test_a_missing_base_is_a_clear_error(tmp_path: Path) -> None:
    """A mistyped folder does not end in a traceback of the hub's client."""
    pytest.importorskip("huggingface_hub")
    with pytest.raises(MissingDependency, match=r"train\.base = 'no/such/base'"):
        find_base(TrainSettings(base="no/such/base"), tmp_path)


_FETCHED = """
import sys
from pathlib import Path
from schemas.spec import TrainSettings
from train.base_models.check import check_base
from train.base_models.base_model import find_base
settings = TrainSettings(base="someone/model", revision="v2.0")
list(check_base(settings, Path(sys.argv[1])))  # as doctor checks it first
base = find_base(settings, Path(sys.argv[1]))
print(base.hash, base.commit, *sorted(path.name for path in base.folder.iterdir()))
"""


def test_a_base_on_a_hub_is_downloaded_at_its_revision(tiny_base: Base, tmp_path: Path) -> None:
    """The hub is asked for the revision in the spec and only for the model: no other weight formats, no second copy of
    the weights, nothing in subfolders."""
    more = {"pytorch_model.bin": b"pickled", "consolidated.safetensors": b"twice", "onnx/model.safetensors": b"other"}
    code = {"modeling_own.py": b"1", "onnx/export.py": b"2"}
    files = {path.name: path.read_bytes() for path in tiny_base.folder.iterdir()} | code | more
    with hub_of(files) as (address, asked):
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", _FETCHED, str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    hash_, commit, *names = done.stdout.split()
    assert hash_ == hash_base(tiny_base.folder)[0]
    assert commit == "c" * 40, "the card would name what the hub has later"
    assert "modeling_own.py" in names
    assert not set(names) & {"pytorch_model.bin", "consolidated.safetensors", "onnx"}
    assert any(path.startswith("/api/models/someone/model/revision/v2.0") for path in asked)


@contextmanager
def hub_of(files: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A hub with one model, on a local port, and the paths requested from it."""
    asked, commit = list[str](), "c" * 40

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.append(self.path)
            listed = {"id": "someone/model", "sha": commit, "siblings": [{"rfilename": name} for name in files]}
            name = self.path.partition("/resolve/")[2].partition("/")[2].partition("?")[0]
            tree = [{"type": "file", "path": name, "size": len(files[name]), "oid": commit} for name in files]
            body = files[name] if name else json.dumps(tree if "/tree/" in self.path else listed).encode()
            self.send_response(200)
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": commit}
            for header, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(header, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_qlora_really_is_four_bit_and_lora_is_not(tiny_base: Base) -> None:
    """Every linear layer but the head is NF4 with double quantisation, also on a CPU."""
    with quiet():
        assert load_for_training(tiny_base, TrainSettings(method="qlora"))[1] == LINEAR_LAYERS
        assert load_for_training(tiny_base, TrainSettings(method="lora"))[1] == 0


def test_the_dequantised_base_is_what_qlora_trains_on(tiny_base: Base) -> None:
    """The NF4 values in 16 bits give the logits of training; embeddings are unchanged."""
    import torch
    from safetensors.torch import load_file

    original = load_file(tiny_base.folder / "model.safetensors")
    with quiet():
        dequantised = load_dequantised(tiny_base)
        trained_on, _ = load_for_training(tiny_base, TrainSettings(method="qlora"))
        weights, name = dequantised.state_dict(), "model.layers.0.self_attn.q_proj.weight"
        error = (weights[name].float() - original[name].float()).norm() / original[name].float().norm()
        assert 0.05 < float(error) < 0.15
        assert torch.equal(weights["model.embed_tokens.weight"], original["model.embed_tokens.weight"].bfloat16())
        ids = torch.tensor([[5, 6, 7, 8]])
        assert torch.allclose(dequantised(ids).logits.float(), trained_on(ids).logits.float(), atol=0.02)


def test_a_small_model_is_unpacked_once_and_computes_the_same(tiny_base: Base) -> None:
    """The layers of a small 4-bit model on a CPU are replaced by the values that NF4 stands for: logits and gradients
    are identical. A model above the size limit stays 4-bit."""
    import torch

    ids, original = torch.tensor([[5, 6, 7, 8]]), TrainSettings(method="qlora")
    logits, gradients = [], []
    with quiet():
        for most_bytes, left in ((0, LINEAR_LAYERS), (2**30, 0)):
            model, _ = load_for_training(tiny_base, original)
            unpack_if_small(model, most_bytes)
            assert count_four_bit_layers(model) == (LINEAR_LAYERS if torch.cuda.is_available() else left)
            embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
            logits.append(model(inputs_embeds=embedded).logits)
            logits[-1].sum().backward()
            gradients.append(embedded.grad)
    assert torch.equal(*logits)
    assert torch.equal(*gradients)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_training_after_generation_keeps_memory_blocks(tiny_base: Base) -> None:
    """`pairsmith run` returns memory early while it generates, and trains in the same process: from loading the base
    on, blocks are kept, so that the kernel does not clear every tensor's memory again."""
    return_large_arrays_early()
    load_for_training(tiny_base, TrainSettings(method="lora"))
    block: bytearray | None = bytearray(8_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        block = None
        block = bytearray(8_000_000)
    assert block is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 100_000


def test_missing_weights_are_neither_trained_nor_served(tiny_base: Base, tmp_path: Path) -> None:
    """Of a model saved from `torch.compile`, transformers finds no weight, and would train and measure random
    numbers."""
    import torch
    from safetensors.torch import load_file, save_file

    from synth.embedded.model import ChatModel, UnsupportedModel

    base = replace(tiny_base, folder=shutil.copytree(tiny_base.folder, tmp_path / "compiled"))
    file = str(base.folder / "model.safetensors")
    save_file({f"_orig_mod.{name}": weight for name, weight in load_file(file).items()}, file, {"format": "pt"})
    with pytest.raises(PairsmithError, match="weights of the model are missing: 20 of 20"):
        load_for_training(base, TrainSettings(method="lora"))
    with pytest.raises(UnsupportedModel, match="weights of the model are missing"):
        ChatModel(base.folder, {}, torch.float32)
