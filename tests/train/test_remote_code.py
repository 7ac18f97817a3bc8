"""Code that comes with a base model runs where the spec names it by its hash, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl", reason="training needs the train extra")

from pairsmith.serve.workspace import Workspace
from schemas.errors import InputError, PairsmithError
from schemas.records import Message, Sampling
from schemas.spec import TrainSettings
from synth.endpoint import Endpoint
from tests.train import tiny
from train.base_check import check_base, refuse_unfit
from train.base_model import Base, find_base, find_trained_base, load_chat, load_for_training
from train.dataset import Dataset
from train.local_model import serving, tuned_model
from train.remote_code import runnable, trust_entry
from train.results import TrainResult
from train.sft import tune

pytestmark = pytest.mark.timeout(1200)  # a model is trained and served, on a machine that does much else

_CONFIG = """
from transformers import LlamaConfig

class OwnConfig(LlamaConfig):
    model_type = "{kind}"
"""
# As older code does, it knows no argument for the logits that are wanted.
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
    """A model folder `own` that transformers knows by the code in it alone; `ran` appears when that code runs."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "own"
    shutil.copytree(tiny_base.folder, folder)
    kind = f"own-{tmp_path.name}"  # a process keeps the code of a type that it has once run
    (folder / "configuration_own.py").write_text(_CONFIG.format(kind=kind))
    (folder / "modeling_own.py").write_text(_MODEL.format(mark=str(tmp_path / "ran")))
    changed(folder / "config.json", model_type=kind, architectures=["OwnForCausalLM"], auto_map=_MAP)
    return folder


def changed(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def given(*trusted: str, **more: Any) -> TrainSettings:
    return tiny.settings(base="own", trust_remote_code=trusted, **more)


def entry_in(fix: str | None) -> str:
    """What a message tells to set."""
    return str(fix).partition('train.trust_remote_code = ["')[2].partition('"]')[0]


def entry_of(own: Path) -> str:
    with pytest.raises(PairsmithError) as refused:
        refuse_unfit(given(), own.parent)
    return entry_in(refused.value.fix)


def test_unnamed_code_is_not_run_and_the_refusal_tells_its_name(own: Path) -> None:
    """Neither by doctor's look nor by training; the entry that would let it run stands in the message."""
    with pytest.raises(PairsmithError, match="runs only if the spec trusts it") as refused:
        refuse_unfit(given(), own.parent)
    assert entry_in(refused.value.fix).startswith("own@")
    with pytest.raises(InputError, match="runs only if the spec trusts it"):
        tune(find_base(given(), own.parent), Dataset("d", tiny.rows(2)), given(), own.parent / "adapters")
    assert not (own.parent / "ran").exists()


@pytest.mark.parametrize("name", ["own", "own@0123456789abcdef0123456789abcdef"])
def test_a_name_without_the_hash_of_the_code_runs_nothing(own: Path, name: str) -> None:
    """A name lets whoever changes the files later run what they like; the right entry is told."""
    with pytest.raises(InputError, match=r"not the code that train\.trust_remote_code names") as refused:
        find_base(given(name), own.parent)
    assert entry_in(refused.value.fix) == entry_of(own)
    assert "fail" in {fact.state for fact in check_base(given(name), own.parent)}
    assert not (own.parent / "ran").exists()


def test_code_that_was_changed_is_refused(own: Path) -> None:
    """Whichever Python file of the folder it is, one in a folder inside it too; weights may change."""
    entry = entry_of(own)
    (own / "custom_generate").mkdir()
    (own / "custom_generate" / "generate.py").write_text("raise SystemExit\n")
    with pytest.raises(InputError, match=r"not the code that train\.trust_remote_code names"):
        find_base(given(entry), own.parent)
    shutil.rmtree(own / "custom_generate")
    (own / "README.md").write_text("other words")
    assert find_base(given(entry), own.parent).runs_code


@pytest.mark.parametrize(
    "place",
    [
        "someone/else--modeling_own.OwnForCausalLM",
        "gpt2--modeling_own.OwnForCausalLM",
        "/tmp/modeling_own.OwnForCausalLM",
    ],
)
@pytest.mark.parametrize("config", ["config.json", "tokenizer_config.json", "config.4.0.0.json"])
def test_a_class_from_another_place_is_refused(own: Path, place: str, config: str) -> None:
    """transformers would fetch it from another repository, or read it from another folder, unread. A file of that name
    beside it, and a config that sends to another config, are no way round."""
    (own / "gpt2--modeling_own.py").write_text("class OwnForCausalLM: ...\n")
    entry = entry_of(own)
    if not (own / config).exists():
        shutil.copyfile(own / "config.json", own / config)
        changed(own / "config.json", configuration_files=[config])
    changed(own / config, auto_map={"AutoModelForCausalLM": place, "AutoTokenizer": [place, None]})
    with pytest.raises(InputError, match="from outside its own folder"):
        find_base(given(entry), own.parent)


def test_a_linked_folder_is_another_place(own: Path) -> None:
    """transformers runs `custom_generate/generate.py`, which a hash of the folder would not see behind a link."""
    entry = entry_of(own)
    (outside := own.parent / "outside").mkdir()
    (outside / "generate.py").write_text("raise SystemExit\n")
    (own / "custom_generate").symlink_to(outside)
    with pytest.raises(InputError, match="loads 'custom_generate' from outside its own folder"):
        find_base(given(entry), own.parent)


def test_a_name_in_capitals_is_python_too(own: Path) -> None:
    """On macOS `modeling_own.PY` is what is loaded as modeling_own.py."""
    entry = entry_of(own)
    (own / "more.PY").write_text("raise SystemExit\n")
    with pytest.raises(InputError, match=r"not the code that train\.trust_remote_code names"):
        find_base(given(entry), own.parent)


def test_what_runs_is_what_was_looked_at(own: Path) -> None:
    """Whoever changes code or config between the look and the loading has nothing run, and the model loads as it was;
    weights are not copied. Another look sees the change, and a copy that was touched is made anew."""
    settings = given(entry_of(own))
    base, code, config = find_base(settings, own.parent), own / "modeling_own.py", own / "config.json"
    before = code.read_text(), config.read_text()
    unread = f"from pathlib import Path\nPath({str(own.parent / 'unread')!r}).touch()\n"
    code.write_text(unread)
    changed(config, auto_map={"AutoModelForCausalLM": "someone/else--modeling_own.OwnForCausalLM"})
    load_chat(base)
    load_for_training(base, settings)
    assert (own.parent / "ran").exists()
    assert [path.is_symlink() for path in base.folder.glob("*.safetensors")] == [True]
    with pytest.raises(InputError):
        find_base(settings, own.parent)
    code.write_text(before[0])
    config.write_text(before[1])
    (base.folder / "modeling_own.py").write_text(unread)
    assert find_base(settings, own.parent) == base
    assert (base.folder / "modeling_own.py").read_text() == before[0]
    assert not (own.parent / "unread").exists()


def test_a_folder_has_its_copy_however_it_is_named(own: Path) -> None:
    """A path that ends in `..` or nothing names a folder too. One with the same files and another name, as two
    revisions of a hub have, has a copy of its own, and takes nobody else's away."""
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


def test_a_copy_that_was_not_asked_for_in_a_month_goes(own: Path) -> None:
    """What runs from a copy has asked for it, however old the copy is; what a killed process has left goes with it."""
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


def test_the_name_of_another_model_changes_nothing(tiny_base: Base, own: Path) -> None:
    """Nor does a name for a model without code of its own, whose hash and adapters stay what they were."""
    entry = entry_of(own)
    other = own.parent / "other"
    shutil.copytree(own, other)
    assert not find_base(TrainSettings(base="other", trust_remote_code=(entry,)), own.parent).runs_code
    plain = own.parent / "tiny-llama"
    shutil.copytree(tiny_base.folder, plain)
    assert find_base(TrainSettings(base="tiny-llama", trust_remote_code=("tiny-llama@0",)), own.parent) == Base(
        "tiny-llama", plain, tiny_base.hash
    )


def test_code_that_fails_is_known_before_anything_is_paid(own: Path) -> None:
    """A package that is not here, say: doctor makes the model without its weights."""
    (own / "modeling_own.py").write_text("import a_package_that_nobody_has\n")
    with pytest.raises(PairsmithError, match=r"code shipped with it fails.*a_package_that_nobody_has"):
        refuse_unfit(given(entry_of(own)), own.parent)


def test_a_switch_is_no_name() -> None:
    """`trust_remote_code = true` would hold for whatever the base is tomorrow."""
    for switch in (True, "own@0"):
        with pytest.raises(ValueError, match="must be a list of models"):
            TrainSettings.model_validate({"trust_remote_code": switch})


def test_an_adapter_is_no_reason_to_run_the_code_beside_it(tiny_base: Base, tmp_path: Path) -> None:
    """A project may come from somebody else, with a merged model and a list of what to trust in the adapter's own
    files: the spec alone lets code run."""
    settings = tiny.settings(method="qlora")
    trained = tune(tiny_base, Dataset("d", tiny.rows(4)), settings, tmp_path / "adapters")
    merged = Path(trained.folder) / "merged"
    (merged / "modeling_own.py").write_text("raise SystemExit\n")
    changed(merged / "config.json", auto_map=_MAP | {"AutoConfig": "modeling_own.OwnConfig"})
    forged = settings.model_copy(update={"trust_remote_code": (trust_entry(settings.base, merged),)})
    local, _ = tuned_model(tiny_base, tiny_base.folder, trained.model_copy(update={"settings": forged}))
    assert not local.runs_code


def test_what_the_spec_trusts_no_more_is_not_run_for_those_who_ask_the_service(own: Path) -> None:
    """An adapter remembers what its spec trusted; the spec as it is now decides."""
    talking = pytest.importorskip("pairsmith.serve.talking", reason="the service needs the serve extra")
    workspace, project = Workspace(own.parent / "space"), own.parent / "space" / "projects" / "mine"
    shutil.copytree(own, project / "own")
    settings = given(entry_of(own), method="lora")
    base = find_base(settings, project)
    result = TrainResult.model_construct(settings=settings, base_hash=base.hash, adapter_id="a", folder="a")
    talker = SimpleNamespace(project="mine", result=result, folder=project / "a", adapter=True)
    spec = '[task]\nname = "mine"\nstyle = "Short."\n[[seeds]]\npath = "a.txt"\n[train]\ntrust_remote_code = {}\n'
    (project / "pairsmith.toml").write_text(spec.format(list(settings.trust_remote_code)))
    assert talking._load_model(talker, workspace).runs_code
    (project / "pairsmith.toml").write_text(spec.format([]))
    with pytest.raises(PairsmithError, match="not the one that the adapter was trained on"):
        talking._load_model(talker, workspace)


async def _answers(trained: TrainResult, base: Base) -> int:
    local, _ = tuned_model(base, base.folder, trained)
    async with serving(local, max_batch=2) as (server, name), Endpoint(server.base_url, name) as endpoint:
        asked = [Message(role="user", content="a fox")]
        return len((await endpoint.ask(asked, Sampling(temperature=0, max_tokens=8))).choices)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_named_code_is_trained_served_merged_and_told(own: Path, method: str) -> None:
    """The base runs through its own code everywhere: a server without the entry cannot load it. A merged model carries
    the code that was read, and the card says what it takes to load it."""
    settings = given(entry_of(own), method=method)
    facts = {fact.about: fact for fact in check_base(settings, own.parent)}
    assert (facts["base"].state, "modeling_own.py" in facts["base"].what) == ("warn", True)
    base = find_base(settings, own.parent)
    trained = tune(base, Dataset("d", tiny.rows(8), tiny.rows(2, start=8)), settings, own.parent / "adapters")
    assert (own.parent / "ran").exists()
    assert find_trained_base(trained, settings, own.parent) == base
    assert asyncio.run(_answers(trained, base)) == 1  # of whatever words: on another processor they may be others
    card = (Path(trained.folder) / "README.md").read_text()
    assert ("trust_remote_code=True" in card, "--trust-remote-code" in card) == (True, True)
    if method == "lora":
        return
    merged = Path(trained.folder) / "merged"
    assert {path.name for path in merged.glob("*.py")} == {"configuration_own.py", "modeling_own.py"}
    (merged / "modeling_own.py").write_text("raise SystemExit('unread')\n")
    with pytest.raises(InputError, match=r"not the code that train\.trust_remote_code names"):
        tuned_model(base, base.folder, trained)
