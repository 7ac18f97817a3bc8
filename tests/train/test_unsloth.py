"""Tests of the unsloth backend: the same spec, rows and masks, and an adapter that everything after training can load.

Tests of unsloth itself run where it is installed (`make test-unsloth` creates such an environment), in processes of
their own: importing it changes TRL for a whole process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import InputError, MissingDependency
from schemas.records import content_id, identity
from schemas.spec import TrainSettings
from tests.train.tiny import LINEAR_LAYERS, rows, settings
from train import unsloth_backend
from train.base_models.base_model import Base
from train.base_models.check import check_base
from train.quiet import quiet

ROOT = Path(__file__).parents[2]
installed = pytest.mark.skipif(find_spec("unsloth") is None, reason="unsloth is not installed; make test-unsloth")
absent = pytest.mark.skipif(find_spec("unsloth") is not None, reason="unsloth is installed")


def train_once(backend: str, method: str, out: Path, base: Base) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.train.unsloth_once", backend, method, str(out), str(base.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout)  # unsloth's own messages are not on stdout
    return report


@installed
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_unsloth_learns_what_trl_learns(tiny_base: Base, tmp_path: Path, method: str) -> None:
    """The loss of the first step equals TRL's, since every adapter begins at zero; then it falls, also on validation
    rows. Loaded by the embedded server, the adapter gives the same log-probabilities as in unsloth."""
    import torch

    from synth.embedded.model import ChatModel

    ours = train_once("trl", method, tmp_path / "trl", tiny_base)
    theirs = train_once("unsloth", method, tmp_path / "unsloth", tiny_base)
    assert theirs["losses"][0] == pytest.approx(ours["losses"][0], rel=0.01)
    assert theirs["validation"][0] == pytest.approx(ours["validation"][0], rel=0.01)
    assert len(theirs["losses"]) == len(ours["losses"])
    assert theirs["losses"][-1] < theirs["losses"][0] - 0.3
    assert theirs["validation"][-1] < theirs["validation"][0]
    assert theirs["four_bit_layers"] == ours["four_bit_layers"] == (LINEAR_LAYERS if method == "qlora" else 0)
    assert "unsloth" in theirs["versions"]
    assert "unsloth" not in ours["versions"]
    model = ChatModel(tiny_base.folder, {"tuned": Path(theirs["folder"])}, torch.float32)
    model.activate("tuned")
    (row,) = rows(1)
    prompt, answer = model.chat.answer_ids(row["prompt"], row["completion"][0]["content"])
    with torch.inference_mode():
        logprobs = model._model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    at = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
    assert float(logprobs[at, torch.tensor(answer)].sum()) == pytest.approx(theirs["logprob"], abs=0.01 * len(answer))


@absent
def test_without_the_package_it_is_refused(tmp_path: Path) -> None:
    """The check of the base, before anything is paid for, and training from Python say what to install."""
    with pytest.raises(MissingDependency, match=r"needs the package unsloth") as missing:
        unsloth_backend.import_unsloth(settings(backend="unsloth"))
    assert "pairsmith[train,unsloth]" in str(missing.value.fix)
    pytest.importorskip("transformers", reason="checking the base needs the train extra")
    failed = [fact for fact in check_base(TrainSettings(backend="unsloth"), tmp_path) if fact.state == "fail"]
    assert [(fact.about, "unsloth" in fact.what) for fact in failed] == [("training", True)]


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"dora": True}, r"train\.dora"),
        ({"trust_remote_code": ("own@0",)}, r"train\.trust_remote_code"),
        ({"method": "lora-8bit"}, "lora-8bit"),
        ({"objective": "dpo"}, "train.objective = 'dpo'"),
        ({"objective": "orpo"}, "train.objective = 'orpo'"),
    ],
)
def test_unsupported_settings_are_refused_by_name(asked: dict[str, Any], named: str) -> None:
    """They are not silently ignored."""
    with pytest.raises(InputError, match=named):
        unsloth_backend.import_unsloth(settings(backend="unsloth", **asked))


@absent
def test_layers_that_fused_kernels_ignore_get_no_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both backends give the layers of a Mamba model an adapter, except the ones whose weights its kernels read
    directly. Unsloth, which has no argument for layers to leave out, gets the names of the others."""
    pytest.importorskip("trl", reason="training needs the train extra")
    from peft import LoraConfig, get_peft_model
    from transformers import MambaConfig, MambaForCausalLM

    from train.adapter import new_adapter

    def get_peft_model_of_unsloth(model: Any, *, target_modules: Any, r: int, **_: Any) -> Any:
        return get_peft_model(model, LoraConfig(r=r, target_modules=target_modules))

    package = SimpleNamespace(FastLanguageModel=SimpleNamespace(get_peft_model=get_peft_model_of_unsloth))
    monkeypatch.setitem(sys.modules, "unsloth", package)
    adapted = {}
    for backend in ("trl", "unsloth"):
        config = MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, state_size=4)
        with quiet():
            model = new_adapter(MambaForCausalLM(config), settings(backend=backend))
        adapted[backend] = {name.split(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert adapted["trl"] == adapted["unsloth"]
    assert {name.rpartition(".")[2] for name in adapted["trl"]} == {"in_proj", "x_proj", "dt_proj"}


def test_the_id_of_a_trl_adapter_is_unchanged() -> None:
    """The backend is part of the id's recipe only if it is not TRL."""
    plain = identity(settings())
    assert plain == identity(settings(backend="trl"))
    assert content_id("adapter", [plain]) != content_id("adapter", [identity(settings(backend="unsloth"))])


@pytest.mark.slow
def test_unsloth_cannot_be_imported_after_trl(tmp_path: Path) -> None:
    """unsloth changes TRL while it is imported, so a process that has imported TRL is an error."""
    package = tmp_path / "unsloth"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('it was imported')")
    code = (
        "import sys, types; sys.modules['trl'] = types.ModuleType('trl')\n"
        "from schemas.errors import PairsmithError; from schemas.spec import TrainSettings\n"
        "from train.unsloth_backend import import_unsloth\n"
        "try: import_unsloth(TrainSettings(backend='unsloth'))\n"
        "except PairsmithError as error: print(error.what)\n"
    )
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "unsloth can no longer be used in this process.\n", done.stderr
