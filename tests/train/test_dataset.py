"""Tests that rows that cannot be trained on as they are are left out, or stop the run, before training and by name."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pairsmith.stages.evaluate import _unseen
from schemas.errors import InputError, NoWork
from schemas.records import Artifact, Edited, Imported, Pair, Seed
from schemas.store import Store
from synth.chat_template import Chat
from tests.train.tiny import row, rows
from train.dataset import (
    Dataset,
    TrainingRow,
    dataset_of,
    describe_untaught,
    refuse_contaminated,
    repeat_edited,
    split_by_length,
)
from train.results import TrainResult


def test_a_row_that_is_too_long_is_left_out(chat: Chat) -> None:
    """Nothing is silently truncated: the long row is left out and named with its length. If all rows are too long, that
    is an error."""
    all_rows = [*rows(2), row("too-long", "a fox", "a fox " + "in deep snow, " * 60)]
    kept, long = split_by_length(all_rows, chat, 64, "train")
    assert kept == all_rows[:2]
    assert list(long) == ["too-long"]
    assert split_by_length(all_rows, chat, long["too-long"], "train") == (all_rows, {})
    with pytest.raises(NoWork, match="all 1 are longer"):
        split_by_length(all_rows[2:], chat, 64, "train")


def test_an_empty_train_split_is_an_error(chat: Chat) -> None:
    """An empty validation split is not."""
    with pytest.raises(NoWork, match="no training rows"):
        split_by_length([], chat, 64, "train")
    split_by_length([], chat, 64, "validation")


def test_a_test_input_in_the_training_rows_is_refused() -> None:
    """It stops the training and is shown, whatever its spaces and capitals. The input of a later turn counts together
    with its earlier turns."""
    leaking = dataset_of([{"input": "A  fox", "output": "x"}, {"input": "a fox", "output": "y", "split": "test"}])
    with pytest.raises(InputError, match="A  fox"):
        refuse_contaminated(leaking)
    with pytest.raises(InputError, match="is also a test input"):  # as two characters, which macOS writes in names
        refuse_contaminated(Dataset("accents", dataset_of([("Cafe\u0301 noir", "x")]).train, held_out=["caf\xe9 noir"]))
    refuse_contaminated(dataset_of([("a fox", "x"), {"input": "two boats", "output": "y", "split": "test"}]))
    later = row("later", "a fox", "x")
    later["prompt"][1:1] = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}]
    refuse_contaminated(Dataset("turns", [later], held_out=["a fox"]))
    with pytest.raises(InputError, match="later"):
        refuse_contaminated(Dataset("turns", [later], held_out=["hello\nyes?\na fox"]))


def test_test_inputs_that_a_model_was_trained_on_are_left_out(tmp_path: Path) -> None:
    """A test file that was added after training, and repeats training inputs, does not make the model look good: the
    evaluation leaves those out and names them, and a test set of nothing else is refused."""
    origin = Imported(source="p:1")
    trained = [Pair(seed_id=f"s{n}", input=f"A  fox {n}", output="x", system="", origin=origin) for n in range(4)]
    splits = dict(zip((pair.id for pair in trained), ("train", "train", "validation", "test"), strict=True))
    seeds = [Seed(kind="input", text=f"a Fox {n}", source=f"real.jsonl:{n}") for n in range(5)]
    spoken: list[str] = []
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.write(*trained, Artifact(id="d", kind="dataset", path="dataset", members=tuple(splits.items())))
        result = TrainResult.model_construct(dataset_id="d")
        kept = _unseen(store, result, seeds, spoken.append)
        with pytest.raises(NoWork, match="3 test inputs are inputs that the evaluated model was trained on"):
            _unseen(store, result, seeds[:3], spoken.append)
        other = TrainResult.model_construct(dataset_id="another")
        assert _unseen(store, other, seeds, spoken.append) == seeds
    assert kept == seeds[3:]
    (warning,) = spoken
    assert "real.jsonl:0, real.jsonl:1, real.jsonl:2" in warning


@pytest.mark.parametrize(
    "completion",
    [
        [],
        [{"role": "assistant", "content": "  "}],
        [{"role": "user", "content": "x"}],
        [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}],
    ],
)
def test_a_completion_that_is_not_one_answer_is_refused(chat: Chat, completion: list[dict[str, str]]) -> None:
    """Only a single assistant message with text can be learned."""
    bad = TrainingRow(pair_id="bad", prompt=[{"role": "user", "content": "x"}], completion=completion)
    with pytest.raises(InputError, match="bad"):
        split_by_length([bad], chat, 64, "train")


def test_an_exported_dataset_keeps_its_id() -> None:
    """The adapter is named by the id in the manifest, which is the artifact's; test rows are left out."""
    folder = Path(__file__).parents[1] / "projects" / "v0_1" / "dataset"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    dataset = dataset_of(folder)
    assert dataset.id == manifest["id"]
    splits = Counter(row["split"] for row in manifest["rows"])
    assert (len(dataset.train), len(dataset.validation)) == (splits["train"], splits["validation"])
    assert dataset.system_prompt


def test_edited_rows_can_be_weighted() -> None:
    """Edited rows are recognised in an exported dataset by what they replace, and among pairs by their origin. With a
    weight each is repeated that many times, every other row once."""
    corrected = Pair(seed_id="s", input="a fox", output="a fox", system="", origin=Edited(parent_id="p", review_id="r"))
    imported = Pair(seed_id="s", input="two boats", output="two boats", system="", origin=Imported(source="x:1"))
    dataset = dataset_of([corrected, imported])
    assert dataset.edited == {corrected.id}
    folder = Path(__file__).parents[1] / "projects" / "v0_1" / "dataset"
    exported = dataset_of(folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert exported.edited == {entry["pair_id"] for entry in manifest["rows"] if entry["replaces"]}
    assert len(exported.edited) == 1
    known = replace(exported, edited=exported.edited | {exported.train[0]["pair_id"]})
    counts = Counter(row["pair_id"] for row in repeat_edited(known, 3))
    assert counts == {row["pair_id"]: 3 if row["pair_id"] in known.edited else 1 for row in exported.train}
    assert repeat_edited(known, 1) == list(known.train)


def test_a_label_that_no_row_has_is_named() -> None:
    """A label of the task that is the answer of no training row cannot be learned, and is named, with others or alone;
    if every label is of some row, or the task has none, there is nothing to say."""
    assert describe_untaught(["a", "b"], ["b", "a", "b"]) is None
    assert describe_untaught([], ["b"]) is None
    assert describe_untaught(["a", "b"], iter(["b"])) == (
        "no training row has the label a: the model does not learn to give it"
    )
    assert "one of the labels a, c: " in str(describe_untaught(["a", "b", "c"], ["b"]))
