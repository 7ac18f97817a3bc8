"""Tests of DPO and ORPO: the better answer becomes more likely than the worse one, on the tokens used in evaluation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curate.export.dataset import FORMAT
from pairsmith.report.sentences import training_facts
from schemas.errors import InputError, NoWork
from tests.train.tiny import LINEAR_LAYERS, row, rows, settings
from train.adapter_ids import adapter_id
from train.base_models.base_model import Base
from train.dataset import Dataset, PreferenceRow, load_preferences
from train.results import TrainResult, read_result
from train.sft import tune

WORSE = [{"role": "assistant", "content": "no no no"}]


def preferences(count: int, start: int = 0) -> list[PreferenceRow]:
    return [
        PreferenceRow(prompt=row["prompt"], chosen=row["completion"], rejected=WORSE)
        for row in rows(count, start=start)
    ]


def preferred(tuned: TrainResult | None, base: Base) -> float:
    """log p(better) - log p(worse) for a preference that was not trained on, under the saved adapter if any."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from train.base_models.base_model import load_chat
    from train.quiet import quiet

    chat, (one,) = load_chat(base), preferences(1, start=30)
    with quiet(), torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(base.folder)
        if tuned is not None:
            model = PeftModel.from_pretrained(model, tuned.folder)
        scores = []
        for answer in (one["chosen"], one["rejected"]):
            prompt, learned = chat.answer_ids(one["prompt"], answer[0]["content"])
            logprobs = model(torch.tensor([[*prompt, *learned]])).logits[0].log_softmax(-1)
            at = torch.arange(len(prompt) - 1, len(prompt) + len(learned) - 1)
            scores.append(float(logprobs[at, torch.tensor(learned)].sum()))
    return scores[0] - scores[1]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset("d", rows(8), rows(2, start=8), preferences=preferences(8), preferred=preferences(2, start=8))


def preference_settings(objective: str, **more: Any) -> Any:
    return settings(objective=objective, dpo_learning_rate=9e-3, dpo_epochs=1.5, **more)


def test_dpo_starts_from_the_supervised_adapter(tiny_base: Base, dataset: Dataset, out: Path) -> None:
    """An existing supervised adapter is reused. Afterwards the better answer has gained on the worse one, and the
    folder contains one adapter, without the copy that was the reference."""
    supervised = tune(tiny_base, dataset, settings(), out)
    tuned = tune(tiny_base, dataset, preference_settings("dpo"), out)
    assert tuned.began_with == supervised.adapter_id
    assert tuned.adapter_id != supervised.adapter_id
    assert (tuned.train_rows, tuned.validation_rows) == (8, 2)
    assert preferred(tuned, tiny_base) > preferred(supervised, tiny_base) + 1
    assert tuned.validation[-1].loss < tuned.validation[0].loss
    assert not (Path(tuned.folder) / "ref").exists()
    layers = json.loads((Path(tuned.folder) / "adapter_config.json").read_text())["target_modules"]
    assert layers == sorted(layers), "the same file in every training"
    assert "no no no" not in "".join(tuned.masks)
    card = (Path(tuned.folder) / "README.md").read_text()
    assert "direct preference optimisation" in card
    assert supervised.adapter_id in card
    assert "| learning rate | 0.009," in card
    assert "/ 1.5 / 17 |" in card, "the epochs and seed of DPO"
    assert "(epoch 0 is the supervised adapter)" in card
    assert "base_model:" not in card, "a local folder is not a model on a hub"
    facts = dict(training_facts(tuned))
    assert facts["schedule"] == "dpo (beta 0.1), learning rate 0.009, batch 4, 1.5 epochs, seed 17"
    assert facts["preferences"] == "8 train, 2 validation"
    assert tune(tiny_base, dataset, preference_settings("dpo"), out).reused


def test_orpo_starts_from_the_base(
    tiny_base: Base, dataset: Dataset, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One stage: it learns the better answers and prefers them, without a previous adapter, and no library message
    about a trainer that the user does not know is printed."""
    before = tune(tiny_base, dataset, settings(epochs=1, learning_rate=1e-9, warmup=0.0), out)
    tuned = tune(tiny_base, dataset, preference_settings("orpo", epochs=4), out)
    assert tuned.began_with is None
    assert tuned.trained_tokens > 2 * tuned.learned_tokens, "both answers and their prompts, in every epoch"
    assert preferred(tuned, tiny_base) > preferred(before, tiny_base) + 1
    assert tuned.curve[-1].loss < tuned.curve[0].loss
    assert "TrainingArguments" not in capfd.readouterr().err


@pytest.mark.parametrize("objective", ["dpo", "orpo"])
def test_fewer_preferences_at_a_time_learn_the_same(
    tiny_base: Base, dataset: Dataset, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    """Where the preferences of a batch could take too much memory, they are computed one after the other, which is
    reported, in as many steps. The losses are the same; of ORPO, a part of which is a mean over tokens, nearly."""
    from train import trainer
    from train.base_models.base_model import load_chat, load_for_training
    from train.preferences import build_preference_trainer
    from train.quiet import quiet

    curves, messages = [], []
    asked = preference_settings(objective, dropout=0.0)
    start = tune(tiny_base, dataset, settings(dropout=0.0), out) if objective == "dpo" else None
    for free in (2**40, 0):
        monkeypatch.setattr(trainer, "free_bytes", lambda free=free: free)
        with quiet():
            from transformers import set_seed

            set_seed(1)
            log = trainer.LossLog(lambda _, numbers: messages.extend(filter(None, [numbers.get("message")])))
            model, _ = load_for_training(tiny_base, asked)
            folder = tmp_path / str(free)
            built, _ = build_preference_trainer(model.float(), load_chat(tiny_base), dataset, asked, folder, log, start)
            trainer.train(built, folder, log)
        assert built.args.per_device_train_batch_size == (4 if free else 1)
        curves.append([step["loss"] for step in built.state.log_history if "loss" in step])
    assert curves[0] == pytest.approx(curves[1], rel=1e-3 if objective == "dpo" else 0.1)
    assert [message.endswith("so they are computed 1 at a time") for message in messages] == [True]


@pytest.mark.parametrize("objective", ["dpo", "orpo"])
def test_preferences_are_learned_over_a_four_bit_base(
    tiny_base: Base, dataset: Dataset, tmp_path: Path, objective: str
) -> None:
    """QLoRA stays QLoRA: the layers are NF4 in the preference stage too, only the final adapter is merged, and the
    merged model prefers the better answer."""
    dataset = replace(dataset, validation=())  # with validation rows both merges would be served to choose one
    supervised = tune(tiny_base, dataset, settings(method="qlora"), tmp_path, merge=False)
    more = {"epochs": 4} if objective == "orpo" else {}
    tuned = tune(tiny_base, dataset, preference_settings(objective, method="qlora", **more), tmp_path)
    assert supervised.four_bit_layers == tuned.four_bit_layers == LINEAR_LAYERS
    assert tuned.began_with == (supervised.adapter_id if objective == "dpo" else None)
    assert tuned.curve[-1].loss < tuned.curve[0].loss
    assert supervised.merged is None
    assert tuned.merged is not None
    assert not (Path(tuned.folder) / "ref").exists()
    merged = Base("merged", Path(tuned.folder) / "merged", "")
    assert preferred(None, merged) > preferred(None, tiny_base) + 1


def test_dpo_does_not_start_from_changed_weights(tiny_base: Base, dataset: Dataset, tmp_path: Path) -> None:
    """If the reused supervised adapter is not the one that was trained, the run stops."""
    supervised = tune(tiny_base, dataset, settings(), tmp_path)
    weights = Path(supervised.folder) / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="not what training wrote"):
        tune(tiny_base, dataset, preference_settings("dpo"), tmp_path)


@pytest.mark.parametrize("objective", ["dpo", "orpo"])
def test_a_loss_that_is_not_finite_ends_the_run(
    tiny_base: Base, dataset: Dataset, tmp_path: Path, objective: str
) -> None:
    """It stops in that step with a preference of its batch, both answers of it. It used to go on to the last step."""
    key = "dpo_learning_rate" if objective == "dpo" else "learning_rate"
    steps: list[int] = []
    with pytest.raises(NoWork, match=r"(?s)not finite in step \d, on this preference: .*\[\[.*\]\] \| .*\[\["):
        tune(
            *(tiny_base, dataset, settings(objective=objective, epochs=5, dpo_epochs=5, **{key: 1e30}), tmp_path),
            lambda stage, numbers: steps.append(numbers.get("done", 0)),
        )
    assert steps[-1] < 10


def test_a_preference_that_is_too_long_is_left_out(tiny_base: Base, dataset: Dataset, out: Path) -> None:
    """It is named, once even if its row is too long as well, and the others are trained on; if all are too long, the
    error says so."""
    long = PreferenceRow(
        prompt=dataset.preferences[0]["prompt"],
        chosen=dataset.preferences[0]["chosen"],
        rejected=[{"role": "assistant", "content": "word " * 200}],
    )
    too_long = row("too-long", "a fox", "a fox in deep snow, " * 40)
    more = Dataset("d", [*rows(4), too_long], preferences=[*preferences(3), long])
    tuned = tune(tiny_base, more, preference_settings("orpo", max_length=128), out)
    assert tuned.train_rows == 3
    assert list(tuned.left_out) == ["train preference 3"]
    with pytest.raises(NoWork, match=r"fits into 128 tokens, .*; the shortest has \d{3}\."):
        tune(tiny_base, Dataset("d", rows(4), preferences=[long]), preference_settings("orpo", max_length=128), out)


def test_without_preferences_nothing_is_trained(tiny_base: Base, tmp_path: Path) -> None:
    """The error does not come only after DPO's supervised stage."""
    with pytest.raises(NoWork, match="needs preferences"):
        tune(tiny_base, Dataset("d", rows(4)), preference_settings("dpo"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_preference_about_a_test_input_is_refused(tiny_base: Base, tmp_path: Path) -> None:
    """Preferences are learned, so none may be about a test input."""
    leaked = Dataset("d", rows(4, start=4), held_out=["a fox"], preferences=preferences(1))
    with pytest.raises(InputError, match="a preference is also a test input"):
        tune(tiny_base, leaked, preference_settings("orpo"), tmp_path)


def test_preferences_of_an_exported_dataset_are_read_by_split(tmp_path: Path) -> None:
    """TRL's conversational format with a split per line; a file that was changed since is refused."""
    one, two = preferences(2)
    lines = [json.dumps({**one, "split": "train", "by": "edit"}), json.dumps({**two, "split": "validation"})]
    path = tmp_path / "preferences.jsonl"
    path.write_text("\n".join(lines) + "\n")
    manifest = {"format": FORMAT, "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert load_preferences(tmp_path, "train") == [one]
    assert load_preferences(tmp_path, "validation") == [two]
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_preferences(tmp_path, "train")


def test_settings_of_another_objective_change_nothing(tiny_base: Base, dataset: Dataset, tmp_path: Path) -> None:
    """DPO settings in the spec of a supervised training train nothing again, ORPO ignores DPO's epochs, and an adapter
    that an earlier version stored under another id is reused."""
    tuned = tune(tiny_base, dataset, settings(), tmp_path)
    kept = settings(beta=0.3, dpo_learning_rate=1e-3, dpo_epochs=2)
    again = tune(tiny_base, dataset, kept, tmp_path)
    assert (again.adapter_id, again.reused) == (tuned.adapter_id, True)
    assert settings(objective="orpo", dpo_epochs=2).effective_settings == settings(objective="orpo")
    assert preference_settings("dpo", beta=0.3).effective_settings == preference_settings("dpo", beta=0.3)
    earlier = tmp_path / adapter_id(dataset, kept, tiny_base.hash)
    Path(tuned.folder).rename(earlier)
    assert tune(tiny_base, dataset, kept, tmp_path).folder == str(earlier)


def test_the_supervised_adapter_of_dpo_is_merged_on_request(tiny_base: Base, dataset: Dataset, tmp_path: Path) -> None:
    """As a stage of DPO it was not merged; trained by itself it is what is measured, and both merges are tried."""
    supervised = tune(tiny_base, dataset, settings(method="qlora"), tmp_path, merge=False)
    asked = tune(tiny_base, dataset, settings(method="qlora"), tmp_path)
    assert asked.reused
    assert asked.adapter_id == supervised.adapter_id
    assert asked.merged is not None
    assert [build.into for build in asked.merged.builds] == ["rounded", "stock"]
    assert "merged/model.safetensors" in asked.weights
    assert asked.artefact in (Path(asked.folder) / "README.md").read_text()
    assert read_result(Path(asked.folder)) == asked.model_copy(update={"reused": False})
    assert tune(tiny_base, dataset, settings(method="qlora"), tmp_path).merged == asked.merged
