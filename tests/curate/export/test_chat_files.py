"""The rows in the formats of other trainers: one shape per file, no test rows, and each trainer's own rules."""

from __future__ import annotations

import ast
import hashlib
import json
import tracemalloc
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from curate.export.chat_files import FORMATS, write_chat_files
from curate.export.dataset import FORMAT
from schemas.errors import InputError, NoWork
from schemas.spec import TrainSettings

SYSTEM = {"role": "system", "content": "Rewrite it."}
TURNS = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "eins"}]


def row(asked: str, answer: str, turns: list[dict[str, str]]) -> dict[str, Any]:
    prompt = [SYSTEM, *turns, {"role": "user", "content": asked}]
    completion = [{"role": "assistant", "content": answer}]
    return {
        "pair_id": asked,
        "prompt": prompt,
        "completion": completion,
        "messages": [*prompt, *completion],
        "score": 1,
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two training rows, the second a conversation; one validation row; one test row."""
    more = {"validation": [row("four", 'vier: "4"', [])], "test": [row("secret", "geheim", [])]}
    return _dataset(tmp_path / "dataset", [row("two", "zwei", []), row("three", "drei", TURNS)], **more)


def _dataset(folder: Path, train: list[dict[str, Any]], **more: list[dict[str, Any]]) -> Path:
    (folder / "data").mkdir(parents=True)
    files = {"train": train, "validation": [], "test": [], **more}
    hashes = {}
    for split, rows in files.items():
        body = "".join(json.dumps(one) + "\n" for one in rows).encode()
        (folder / "data" / f"{split}.jsonl").write_bytes(body)
        hashes[f"data/{split}.jsonl"] = hashlib.sha256(body).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "id": "d", "files": hashes}))
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_no_training_rows_is_an_error(tmp_path: Path) -> None:
    """A config that names a missing file would fail later in the trainer, where the cause is hard to see."""
    folder = tmp_path / "dataset"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.jsonl").write_bytes(b"")
    hashes = {"data/train.jsonl": hashlib.sha256(b"").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "id": "d", "files": hashes}))
    for name in FORMATS:
        with pytest.raises(NoWork, match=f"no row to train on, so {name} has nothing to read"):
            write_chat_files(folder, name, tmp_path / name, TrainSettings(method="lora"))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_rows_are_written_one_by_one(name: str, tmp_path: Path) -> None:
    """A dataset is neither read nor written as a whole: 100,000 rows would take a gigabyte."""
    dataset = _dataset(tmp_path / "dataset", [row(str(number), "z" * 10_000, []) for number in range(1_000)])
    tracemalloc.start()
    try:
        write_chat_files(dataset, name, tmp_path / "chat", TrainSettings(base="some/model", method="lora"))
        assert tracemalloc.get_traced_memory()[1] < 3_000_000 < (dataset / "data/train.jsonl").stat().st_size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("rate", [2e-5, 1e-6, 1.5e-5, 2e-4, 1e-3])
def test_learning_rate_is_a_number_in_yaml_1_1(dataset: Path, tmp_path: Path, rate: float) -> None:
    """`2e-05` is a string in YAML 1.1, which PyYAML and therefore these trainers read: without a decimal point it is
    not a float."""
    yaml = pytest.importorskip("yaml", reason="needs the package pyyaml")
    for name, file in (("axolotl", "config.yml"), ("llama-factory", "config.yaml")):
        write_chat_files(dataset, name, tmp_path / name, TrainSettings(method="lora", learning_rate=rate))
        read = yaml.safe_load((tmp_path / name / file).read_text())
        assert (type(read["learning_rate"]), read["learning_rate"]) == (float, rate)


@pytest.fixture(params=sorted(FORMATS))
def written(request: pytest.FixtureRequest, dataset: Path, tmp_path: Path) -> tuple[str, Path]:
    folder = tmp_path / "chat" / request.param
    assert write_chat_files(dataset, request.param, folder, TrainSettings(method="lora")) == {
        "train": 2,
        "validation": 1,
    }
    return request.param, folder


def test_every_file_has_one_shape_and_no_test_row(written: tuple[str, Path]) -> None:
    """Servers refuse a file that could be read in two ways, and test rows must not be in any training file."""
    name, folder = written
    keys = {frozenset(one) for split in ("train", "validation") for one in lines(folder / f"{split}.jsonl")}
    assert keys == {frozenset({"prompt", "completion"} if name == "unsloth" else {"messages"})}
    assert "secret" not in "".join(path.read_text() for path in folder.iterdir())


def test_only_the_last_answer_of_a_conversation_is_learned(dataset: Path, tmp_path: Path) -> None:
    """Each trainer has its own setting for this; only Axolotl's is also in rows with a single answer."""
    for name, key, value in (("openai", "weight", 0), ("together", "weight", 0), ("axolotl", "train", False)):
        write_chat_files(dataset, name, tmp_path / name, TrainSettings())
        single, conversation = (one["messages"] for one in lines(tmp_path / name / "train.jsonl"))
        last = True if name == "axolotl" else None
        assert [message.get(key) for message in conversation] == [None, None, value, None, last]
        assert [message.get(key) for message in single] == [None, None, last]
    write_chat_files(dataset, "llama-factory", tmp_path / "llama-factory", TrainSettings())
    assert "mask_history: true" in (tmp_path / "llama-factory" / "config.yaml").read_text()


def test_axolotl_is_told_how_the_base_ends_a_turn(dataset: Path, tmp_path: Path) -> None:
    """It trains the tokenizer's end token by default. Gemma's and Phi's turns end with another, so a model that was
    tuned with this config never stopped. Tokens that the template does not spell out are Axolotl's own default."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    tokens = [{"id": 1, "content": "<eos>"}, {"id": 106, "content": "<end_of_turn>"}]
    (adapter / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    (adapter / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 106, 7]}))

    def config(name: str) -> str:
        write_chat_files(dataset, "axolotl", tmp_path / name, TrainSettings(), adapter)
        return (tmp_path / name / "config.yml").read_text()

    assert "eot_tokens" not in config("without a template")
    (adapter / "chat_template.jinja").write_text("{{ '<start_of_turn>' + text + '<end_of_turn>' }}")
    assert 'eot_tokens: ["<end_of_turn>"]' in config("gemma").splitlines()
    (adapter / "chat_template.jinja").write_text("{{ text + eos_token }}")
    assert "eot_tokens" not in config("mistral")


def test_files_follow_the_rules_documented_by_openai(written: tuple[str, Path]) -> None:
    """`messages` is a list of known roles with text; the last is an answer of weight 1. There are no other keys."""
    name, folder = written
    if name not in ("openai", "together"):
        return
    for one in lines(folder / "train.jsonl"):
        assert set(one) == {"messages"}
        assert all(set(message) <= {"role", "content", "weight"} for message in one["messages"])
        roles = [message["role"] for message in one["messages"]]
        assert roles[-1] == "assistant"
        assert set(roles) <= {"system", "user", "assistant"}
        assert all(isinstance(message["content"], str) and message["content"] for message in one["messages"])
        assert one["messages"][-1].get("weight", 1) == 1


def test_togethers_own_check_accepts_the_file(dataset: Path, tmp_path: Path) -> None:
    """The check of `together files check`, if their package is installed."""
    files = pytest.importorskip("together.lib.utils.files")
    write_chat_files(dataset, "together", tmp_path / "chat", TrainSettings())
    assert files.check_file(tmp_path / "chat" / "train.jsonl")["is_check_passed"]


def test_configs_and_scripts_can_be_parsed(written: tuple[str, Path]) -> None:
    """Configs are JSON values in YAML, scripts are Python, and they name existing files."""
    name, folder = written
    for path in folder.iterdir():
        text = path.read_text()
        if path.suffix == ".py":
            ast.parse(text)
        elif path.suffix in (".yml", ".yaml"):
            config = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in text.splitlines())}
            assert config["learning_rate"] == 2e-4
            assert config["lora_r" if name == "axolotl" else "lora_rank"] == 16
        elif path.name == "dataset_info.json":
            described = json.loads(text)
            assert [one["file_name"] for one in described.values()] == ["train.jsonl", "validation.jsonl"]
        elif path.suffix == ".sh":
            assert "--n-evals 3" in text, "Together evaluates the validation file this often, by default never"


def _fields(package: str, file: str) -> set[str]:
    """The annotated names in a module's classes, read from the source without importing it."""
    module = find_spec(package)
    if module is None or module.origin is None:
        pytest.skip(f"{package} comes with the train extra")
    tree = ast.parse(Path(module.origin).with_name(file).read_text(encoding="utf-8"))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {
        each.target.id
        for node in classes
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }


def test_settings_are_known_to_the_installed_transformers(dataset: Path, tmp_path: Path) -> None:
    """transformers 5 no longer has `warmup_ratio`: a script that uses it fails, and LLaMA-Factory refuses the file.
    Every setting for transformers is a field of the installed version, with warm-up in steps, which every version
    accepts."""
    known = _fields("transformers", "training_args.py")
    settings = TrainSettings(method="lora", batch=1, epochs=10, schedule="constant", targets=("q_proj",))
    for name in ("llama-factory", "unsloth"):
        write_chat_files(dataset, name, tmp_path / name, settings)
    script = ast.parse((tmp_path / "unsloth" / "train.py").read_text())
    calls = {node.func.id: node for node in ast.walk(script) if isinstance(node, ast.Call) and hasattr(node.func, "id")}
    given = {one.arg: ast.literal_eval(one.value) for one in calls["SFTConfig"].keywords}
    assert set(given) - known == {"max_length"}
    assert given["warmup_steps"] == 2, "a tenth of 2 rows, ten times"
    assert (given["lr_scheduler_type"], given["eval_strategy"]) == ("constant_with_warmup", "epoch")
    assert "target_modules=['q_proj']" in ast.unparse(script)
    lines = (tmp_path / "llama-factory" / "config.yaml").read_text().splitlines()
    config = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in lines)}
    assert config["warmup_steps"] == 2
    for more in ({"batch": 3}, {"accumulation": 3}):  # an incomplete batch is a step too
        write_chat_files(dataset, "llama-factory", tmp_path / "-".join(more), settings.model_copy(update=more))
        assert "warmup_steps: 1\n" in (tmp_path / "-".join(more) / "config.yaml").read_text()
    write_chat_files(dataset, "llama-factory", tmp_path / "one", settings.model_copy(update={"batch": 2, "epochs": 1}))
    assert "warmup_steps: 0\n" in (tmp_path / "one" / "config.yaml").read_text(), "its learning rate would be 0"
    of_its_own = {
        *("model_name_or_path", "stage", "finetuning_type", "lora_rank", "lora_alpha", "lora_dropout", "lora_target"),
        *("dataset_dir", "dataset", "eval_dataset", "template", "mask_history", "cutoff_len"),
    }
    assert set(config) - known == of_its_own
    assert config["model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct", "`embedded` is a name of pairsmith"


def test_settings_beyond_the_defaults_are_written_for_other_trainers_too(dataset: Path, tmp_path: Path) -> None:
    """An 8-bit base, DoRA, rsLoRA, NEFTune, weight decay and a commit of the base must not silently become plain LoRA
    on the hub's current version. Configs do not mention what is not requested."""
    asked = {
        "weight_decay": 0.05,
        "neftune": 5.0,
        "rslora": True,
        "dora": True,
        "revision": "abc",
        "precision": "float16",
    }
    more = TrainSettings.model_validate({"method": "lora-8bit", **asked})
    texts = {}
    for settings in (TrainSettings(method="lora"), more):
        for name, file in (("axolotl", "config.yml"), ("llama-factory", "config.yaml"), ("unsloth", "train.py")):
            folder = tmp_path / f"{name}-{settings.dora}"
            write_chat_files(dataset, name, folder, settings)
            texts[name, settings.dora] = (folder / file).read_text()
    words = {
        "axolotl": ("weight_decay: 0.05", "neftune_noise_alpha: 5.0", "peft_use_rslora: true", "peft_use_dora: true",
                    'revision_of_model: "abc"', "fp16: true", "load_in_8bit: true"),
        "llama-factory": ("weight_decay: 0.05", "neftune_noise_alpha: 5.0", "use_rslora: true", "use_dora: true",
                          'model_revision: "abc"', "fp16: true", "quantization_bit: 8"),
        "unsloth": ("weight_decay=0.05,", "neftune_noise_alpha=5.0,", "use_rslora=True", 'revision="abc"',
                    "load_in_8bit=True"),
    }  # fmt: skip
    for name, expected in words.items():
        assert [word for word in expected if word not in texts[name, True]] == []
        assert [word for word in expected if word in texts[name, False]] == []
    ast.parse(texts["unsloth", True])


def test_without_validation_rows_no_config_names_them(tmp_path: Path, dataset: Path) -> None:
    """A config that names a missing file would stop the trainer."""
    (dataset / "data" / "validation.jsonl").write_bytes(b"")
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["files"]["data/validation.jsonl"] = hashlib.sha256(b"").hexdigest()
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    for name in FORMATS:
        folder = tmp_path / "chat" / name
        assert write_chat_files(dataset, name, folder, TrainSettings()) == {"train": 2}
        text = "".join(path.read_text() for path in folder.iterdir() if path.suffix != ".jsonl")
        assert "validation.jsonl" not in text
        assert "pairsmith_validation" not in text
        assert "--n-evals" not in text


@pytest.mark.parametrize("name", FORMATS)
def test_preferences_are_written_for_dpo(dataset: Path, tmp_path: Path, name: str) -> None:
    """Every trainer gets the preferences of training and validation rows in its own shape, in a folder with a config of
    the DPO settings; none of the test split. Without preferences to train on there is no such folder, and an edited
    file is refused as one of rows is."""
    write_chat_files(dataset, name, tmp_path / "plain", TrainSettings(method="lora"))
    assert not (tmp_path / "plain" / "dpo").exists()
    texts = (("train", "two", "zwei", "swei"), ("validation", "four", "vier", "fier"), ("test", "secret", "gut", "bad"))
    preferences = [
        {
            "prompt": [SYSTEM, *TURNS, {"role": "user", "content": asked}],
            "chosen": [{"role": "assistant", "content": better}],
            "rejected": [{"role": "assistant", "content": worse}],
            "split": split,
            "by": "gate",
        }
        for split, asked, better, worse in texts
    ]
    folder, settings = tmp_path / "chat", TrainSettings(method="lora", packing=True, beta=0.25)
    _add_preferences(dataset, preferences[1:])
    write_chat_files(dataset, name, tmp_path / "none to train on", settings)
    assert not (tmp_path / "none to train on" / "dpo").exists()
    _add_preferences(dataset, preferences)
    rows = {"train": 2, "validation": 1, "dpo/train": 1, "dpo/validation": 1}
    assert write_chat_files(dataset, name, folder, settings) == rows
    for split, line in zip(("train", "validation"), preferences, strict=False):
        (one,) = lines(folder / "dpo" / f"{split}.jsonl")
        if name in ("openai", "together"):
            prompt, better, worse = (
                one.pop("input")["messages"],
                one.pop("preferred_output"),
                one.pop("non_preferred_output"),
            )
        else:
            prompt, better, worse = (
                one.pop("prompt" if name == "unsloth" else "messages"),
                one.pop("chosen"),
                one.pop("rejected"),
            )
        as_lists = [[answer] if isinstance(answer, dict) else answer for answer in (better, worse)]
        assert ([prompt, *as_lists], one) == ([line[key] for key in ("prompt", "chosen", "rejected")], {})
    text = "".join(path.read_text() for path in (folder / "dpo").iterdir())
    assert "secret" not in text
    if name == "axolotl":
        assert all(line in text for line in ('rl: "dpo"', "rl_beta: 0.25", "chat_template.default", "field_chosen"))
    if name == "llama-factory":
        assert all(
            line in text for line in ('stage: "dpo"', "pref_beta: 0.25", '"ranking": true', '"chosen": "chosen"')
        )
    if name in ("axolotl", "llama-factory"):
        assert "learning_rate: 2.0e-05" in text
        assert "num_train_epochs: 1" in text or "num_epochs: 1" in text
        assert "packing" not in text
    assert {"openai": '"beta": 0.25', "together": "--dpo-beta 0.25"}.get(name, "") in text
    (dataset / "preferences.jsonl").write_text(json.dumps(preferences[0]))
    with pytest.raises(InputError, match="not the one that was exported"):
        write_chat_files(dataset, name, tmp_path / "edited", settings)


def _add_preferences(dataset: Path, preferences: list[dict[str, Any]]) -> None:
    body = "".join(json.dumps(line) + "\n" for line in preferences).encode()
    (dataset / "preferences.jsonl").write_bytes(body)
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["files"]["preferences.jsonl"] = hashlib.sha256(body).hexdigest()
    (dataset / "manifest.json").write_text(json.dumps(manifest))


def test_axolotl_can_read_a_conversation_after_ten_megabytes(tmp_path: Path) -> None:
    """`datasets` takes the keys of messages from the first 10 MB, and refused a file whose first conversation came
    later, because only there an answer had the key `train`."""
    datasets = pytest.importorskip("datasets")
    folder = _dataset(
        tmp_path / "dataset", [row(f"{n} " + "x" * 400, "y", []) for n in range(60)] + [row("z", "y", TURNS)]
    )
    write_chat_files(folder, "axolotl", tmp_path / "chat", TrainSettings())
    file = str(tmp_path / "chat" / "train.jsonl")
    loaded = datasets.load_dataset("json", data_files=file, split="train", chunksize=5000, cache_dir=str(tmp_path))
    assert [message.get("train") for message in loaded[60]["messages"]] == [None, None, False, None, True]


def test_unsloth_learns_dates_as_texts(tmp_path: Path) -> None:
    """`datasets` turns answers that are all dates into times, so 2024-05-01 was learned as 2024-05-01 00:00:00. The
    script reads the rows itself."""
    pytest.importorskip("datasets")
    folder = _dataset(tmp_path / "dataset", [row("when", f"2024-05-0{day}", []) for day in range(1, 8)])
    write_chat_files(folder, "unsloth", tmp_path / "chat", TrainSettings())
    script = ast.parse((tmp_path / "chat" / "train.py").read_text())
    reader = [node for node in script.body if isinstance(node, ast.FunctionDef | ast.Import)]
    reader += [node for node in script.body if isinstance(node, ast.ImportFrom) and node.module == "datasets"]
    names: dict[str, Any] = {}
    exec(compile(ast.Module(reader, []), "train.py", "exec"), names)
    assert names["rows_of"](tmp_path / "chat" / "train.jsonl").to_list() == lines(tmp_path / "chat" / "train.jsonl")
