"""Tests that code shipped with a base model runs only if the spec names it by its hash."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl", reason="training needs the train extra")

from pairsmith.serve.workspace import Workspace
from schemas.errors import InputError, PairsmithError
from schemas.records import Message, Sampling
from schemas.spec import TrainSettings
from synth.endpoints.endpoint import Endpoint
from tests.train import tiny
from tests.train.base_models.test_base_check import rename_weights
from train.base_models.base_model import Base, find_base, find_trained_base, hash_base, load_chat, load_for_training
from train.base_models.check import check_base, refuse_unfit
from train.base_models.remote_code import runnable, trust_entry
from train.dataset import Dataset
from train.evaluation.systems import LocalModel
from train.local_model import serving, tuned_model
from train.results import TrainResult
from train.sft import tune

pytestmark = pytest.mark.timeout(1200)  # trains and serves a model, possibly on a busy machine

_CONFIG = """
from transformers import LlamaConfig

class OwnConfig(LlamaConfig):
    model_type = "{kind}"
"""
# Like older code, it has no argument for the logits to compute.
_MODEL = """
from pathlib import Path
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig

Path({mark!r}).touch()

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, use_cache=None):
        given = input_ids, attention_mask, position_ids, past_key_values, inputs_embeds
        return super().forward(*given, use_cache=use_cache)
"""
_MAP = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}


@pytest.fixture
def own(tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder `own` that transformers can load only through the code in it; a file `ran` appears when that code
    runs."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "own"
    shutil.copytree(tiny_base.folder, folder)
    kind = f"own-{tmp_path.name}"  # a process keeps the code of a model type once it has run
    (folder / "configuration_own.py").write_text(_CONFIG.format(kind=kind))
    (folder / "modeling_own.py").write_text(_MODEL.format(mark=str(tmp_path / "ran")))
    change_json(folder / "config.json", model_type=kind, architectures=["OwnForCausalLM"], auto_map=_MAP)
    return folder


def change_json(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def settings_with(*trusted: str, **more: Any) -> TrainSettings:
    return tiny.settings(base="own", trust_remote_code=trusted, **more)


def entry_in(fix: str | None) -> str:
    """The entry of `train.trust_remote_code` that a message says to set."""
    return str(fix).partition('train.trust_remote_code = ["')[2].partition('"]')[0]


def entry_of(own: Path) -> str:
    with pytest.raises(PairsmithError) as refused:
        refuse_unfit(settings_with(), own.parent)
    return entry_in(refused.value.fix)


def test_untrusted_code_is_not_run_and_the_error_has_its_entry(own: Path) -> None:
    """Neither the check nor training runs it; the message has the entry that would trust it."""
    with pytest.raises(PairsmithError, match="runs only if the spec trusts it") as refused:
        refuse_unfit(settings_with(), own.parent)
    assert entry_in(refused.value.fix).startswith("own@")
    with pytest.raises(InputError, match="runs only if the spec trusts it"):
        tune(
            find_base(settings_with(), own.parent), Dataset("d", tiny.rows(2)), settings_with(), own.parent / "adapters"
        )
    assert not (own.parent / "ran").exists()


def test_missing_weights_of_a_model_with_own_code_are_found_before_generation(own: Path) -> None:
    """Otherwise training would refuse them only after the rows were paid for."""
    entry = entry_of(own)
    refuse_unfit(settings_with(entry), own.parent)
    rename_weights(own, lambda name: f"_orig_mod.{name}")
    with pytest.raises(PairsmithError, match="weights of the model are missing"):
        refuse_unfit(settings_with(entry), own.parent)


@pytest.mark.parametrize("name", ["own", "own@0123456789abcdef0123456789abcdef"])
def test_a_name_without_the_right_hash_runs_nothing(own: Path, name: str) -> None:
    """A name alone would trust whatever the files later become; the message has the right entry."""
    with pytest.raises(InputError, match=r"not the code that train\.trust_remote_code names") as refused:
        find_base(settings_with(name), own.parent)
    assert entry_in(refused.value.fix) == entry_of(own)
    assert "fail" in {fact.state for fact in check_base(settings_with(name), own.parent)}
    assert not (own.parent / "ran").exists()


def test_changed_code_is_refused(own: Path) -> None:
    """Any Python file in the folder counts, also one in a subfolder; other files may change."""
    entry = entry_of(own)
    (own / "custom_generate").mkdir()
    (own / "custom_generate" / "generate.py").write_text("raise SystemExit\n")
    with pytest.raises(InputError, match=r"not the code that train\.trust_remote_code names"):
        find_base(settings_with(entry), own.parent)
    shutil.rmtree(own / "custom_generate")
    (own / "README.md").write_text("other words")
    assert find_base(settings_with(entry), own.parent).runs_code


@pytest.mark.parametrize(
    "place",
    [
        "someone/else--modeling_own.OwnForCausalLM",
        "gpt2--modeling_own.OwnForCausalLM",
        "/tmp/modeling_own.OwnForCausalLM",
    ],
)
@pytest.mark.parametrize("config", ["config.json", "tokenizer_config.json", "config.4.0.0.json"])
def test_a_class_from_outside_the_folder_is_refused(own: Path, place: str, config: str) -> None:
    """transformers would load it unread from another repository or folder. A file of that name in the folder, or a
    config that refers to another config, does not get around this."""
    (own / "gpt2--modeling_own.py").write_text("class OwnForCausalLM: ...\n")
    entry = entry_of(own)
    if not (own / config).exists():
        shutil.copyfile(own / "config.json", own / config)
        change_json(own / "config.json", configuration_files=[config])
    change_json(own / config, auto_map={"AutoModelForCausalLM": place, "AutoTokenizer": [place, None]})
    with pytest.raises(InputError, match="from outside its own folder"):
        find_base(settings_with(entry), own.parent)


def test_a_symlinked_folder_is_outside_the_folder(own: Path) -> None:
    """transformers runs `custom_generate/generate.py`, which a hash of the folder would not cover behind a symlink."""
    entry = entry_of(own)
    (outside := own.parent / "outside").mkdir()
    (outside / "generate.py").write_text("raise SystemExit\n")
    (own / "custom_generate").symlink_to(outside)
    with pytest.raises(InputError, match="loads 'custom_generate' from outside its own folder"):
        find_base(settings_with(entry), own.parent)


def test_a_suffix_in_capitals_is_python_too(own: Path) -> None:
    """On macOS `import modeling_own` loads `modeling_own.PY`."""
    entry = entry_of(own)
    (own / "more.PY").write_text("raise SystemExit\n")
    with pytest.raises(InputError, match=r"not the code that train\.trust_remote_code names"):
        find_base(settings_with(entry), own.parent)


def test_the_code_that_runs_is_the_code_that_was_checked(own: Path) -> None:
    """If code or config is changed between check and loading, the changed code does not run and the model loads as it
    was; weights are not copied. Another check sees the change, and a copy that was modified is made again."""
    settings = settings_with(entry_of(own))
    base, code, config = find_base(settings, own.parent), own / "modeling_own.py", own / "config.json"
    before = code.read_text(), config.read_text()
    untrusted = f"from pathlib import Path\nPath({str(own.parent / 'unread')!r}).touch()\n"
    code.write_text(untrusted)
    change_json(config, auto_map={"AutoModelForCausalLM": "someone/else--modeling_own.OwnForCausalLM"})
    load_chat(base)
    load_for_training(base, settings)
    assert (own.parent / "ran").exists()
    assert [path.is_symlink() for path in base.folder.glob("*.safetensors")] == [True]
    with pytest.raises(InputError):
        find_base(settings, own.parent)
    code.write_text(before[0])
    config.write_text(before[1])
    (base.folder / "modeling_own.py").write_text(untrusted)
    assert find_base(settings, own.parent) == base
    assert (base.folder / "modeling_own.py").read_text() == before[0]
    assert not (own.parent / "unread").exists()


def test_a_folder_has_one_copy_however_its_path_is_written(own: Path) -> None:
    """A path may contain `..`. A folder with the same files and another name, as for two revisions on a hub, has a copy
    of its own and does not replace the first one."""
    entry, again = trust_entry("own", own), own.parent / "again"
    (own / "inside").mkdir()
    copy = runnable("own", own, [entry])
    assert copy is not None
    again.mkdir()
    for path in own.iterdir():
        if path.is_file():
            (again / path.name).symlink_to(path)
    assert runnable("own", own / "inside" / "..", [entry]) == copy
    other = runnable("own", again, [entry])
    assert other is not None
    assert other.name == "again"
    assert copy.is_dir()


def test_copies_unused_for_a_month_are_removed(own: Path) -> None:
    """Using a copy keeps it, however old it is; leftovers of a killed process are removed too."""
    entry, old = entry_of(own), time.time() - 40 * 24 * 3600
    copy = runnable("own", own, [entry])
    assert copy is not None
    left = copy.parent.with_name(".left")
    left.mkdir()
    for path in (copy.parent, left):
        os.utime(path, (old, old))
    assert runnable("own", own, [entry]) == copy
    assert copy.is_dir()
    assert not left.exists()
    os.utime(copy.parent, (old, old))
    (own / "modeling_own.py").write_text((own / "modeling_own.py").read_text() + "\n")
    other = runnable("own", own, [trust_entry("own", own)])
    assert other not in (None, copy)
    assert not copy.exists()


def test_an_entry_for_another_model_changes_nothing(tiny_base: Base, own: Path) -> None:
    """Nor does an entry for a model without code, whose hash and adapters stay the same."""
    entry = entry_of(own)
    other = own.parent / "other"
    shutil.copytree(own, other)
    assert not find_base(TrainSettings(base="other", trust_remote_code=(entry,)), own.parent).runs_code
    plain = own.parent / "tiny-llama"
    shutil.copytree(tiny_base.folder, plain)
    hash_, earlier = hash_base(tiny_base.folder)
    assert find_base(TrainSettings(base="tiny-llama", trust_remote_code=("tiny-llama@0",)), own.parent) == Base(
        "tiny-llama", plain, hash_, earlier_hash=earlier
    )


def test_failing_code_is_reported_before_anything_is_paid(own: Path) -> None:
    """For example because of a missing package: the check builds the model without its weights."""
    (own / "modeling_own.py").write_text("import a_package_that_nobody_has\n")
    with pytest.raises(PairsmithError, match=r"code shipped with it fails.*a_package_that_nobody_has"):
        refuse_unfit(settings_with(entry_of(own)), own.parent)


def test_a_boolean_or_a_string_is_refused() -> None:
    """`trust_remote_code = true` would apply to whatever the base is tomorrow."""
    for switch in (True, "own@0"):
        with pytest.raises(ValueError, match="must be a list of models"):
            TrainSettings.model_validate({"trust_remote_code": switch})


def test_an_adapters_own_files_cannot_trust_code(tiny_base: Base, tmp_path: Path) -> None:
    """A project may come from someone else, with a merged model and a trust list in the adapter's own files: only the
    spec can trust code."""
    settings = tiny.settings(method="qlora")
    trained = tune(tiny_base, Dataset("d", tiny.rows(4)), settings, tmp_path / "adapters")
    merged = Path(trained.folder) / "merged"
    (merged / "modeling_own.py").write_text("raise SystemExit\n")
    change_json(merged / "config.json", auto_map=_MAP | {"AutoConfig": "modeling_own.OwnConfig"})
    forged = settings.model_copy(update={"trust_remote_code": (trust_entry(settings.base, merged),)})
    local, _ = tuned_model(tiny_base, tiny_base.folder, trained.model_copy(update={"settings": forged}))
    assert not local.runs_code


def test_the_service_follows_the_present_spec(own: Path) -> None:
    """An adapter records what its spec trusted; for the service the present spec decides."""
    talking = pytest.importorskip("pairsmith.serve.talking", reason="the service needs the serve extra")
    workspace, project = Workspace(own.parent / "space"), own.parent / "space" / "projects" / "mine"
    shutil.copytree(own, project / "own")
    settings = settings_with(entry_of(own), method="lora")
    base = find_base(settings, project)
    result = TrainResult.model_construct(settings=settings, base_hash=base.hash, adapter_id="a", folder="a")
    talker = SimpleNamespace(project="mine", result=result, folder=project / "a", adapter=True)
    spec = '[task]\nname = "mine"\nstyle = "Short."\n[[seeds]]\npath = "a.txt"\n[train]\ntrust_remote_code = {}\n'
    (project / "pairsmith.toml").write_text(spec.format(list(settings.trust_remote_code)))
    assert talking._load_model(talker, workspace).runs_code
    (project / "pairsmith.toml").write_text(spec.format([]))
    with pytest.raises(PairsmithError, match="not the one that the adapter was trained on"):
        talking._load_model(talker, workspace)


async def _answers(local: LocalModel) -> int:
    async with serving(local, max_batch=2) as (server, name), Endpoint(server.base_url, name) as endpoint:
        asked = [Message(role="user", content="a fox")]
        return len((await endpoint.ask(asked, Sampling(temperature=0, max_tokens=8))).choices)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_trusted_code_is_trained_served_and_merged(own: Path, method: str) -> None:
    """The base runs through its own code everywhere: a server that is not allowed to run it cannot load the model. A
    merged model contains the code that was read, and the card says what is needed to load it."""
    settings = settings_with(entry_of(own), method=method)
    facts = {fact.about: fact for fact in check_base(settings, own.parent)}
    assert (facts["base"].state, "modeling_own.py" in facts["base"].what) == ("warn", True)
    base = find_base(settings, own.parent)
    trained = tune(base, Dataset("d", tiny.rows(8), tiny.rows(2, start=8)), settings, own.parent / "adapters")
    assert (own.parent / "ran").exists()
    assert find_trained_base(trained, settings, own.parent) == base
    local, _ = tuned_model(base, base.folder, trained)
    assert asyncio.run(_answers(local)) == 1  # whatever the text, which may depend on the processor
    with pytest.raises(PairsmithError, match="trust_remote_code"):
        asyncio.run(_answers(replace(local, runs_code=False)))
    card = (Path(trained.folder) / "README.md").read_text()
    assert ("trust_remote_code=True" in card, "--trust-remote-code" in card) == (True, True)
    if method == "lora":
        return
    merged = Path(trained.folder) / "merged"
    assert {path.name for path in merged.glob("*.py")} == {"configuration_own.py", "modeling_own.py"}
    (merged / "modeling_own.py").write_text("raise SystemExit('unread')\n")
    with pytest.raises(InputError, match=r"not the code that train\.trust_remote_code names"):
        tuned_model(base, base.folder, trained)
