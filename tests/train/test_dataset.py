"""Rows that cannot be trained on as they are stop the run, by name, before any training."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InputError, NoWork
from tests.train.tiny import row, rows
from train.dataset import Row, dataset_of, refuse_unusable


def test_rows_that_would_be_cut_are_named_with_their_length(tokenizer: Any) -> None:
    """Nothing is truncated in silence: the message names every long row, and the limit that would hold them."""
    given = [*rows(2), row("too-long", "a fox", "a fox " + "in deep snow, " * 60)]
    with pytest.raises(InputError, match=r"too-long \((\d+)\)") as caught:
        refuse_unusable(given, tokenizer, 64, "train")
    length = int(str(caught.value).partition("too-long (")[2].partition(")")[0])
    assert str(caught.value.fix).startswith(f"Set train.max_length to at least {length}")
    assert "pair-0" not in str(caught.value)
    refuse_unusable(given, tokenizer, length, "train")


def test_no_rows_to_train_on_is_no_work(tokenizer: Any) -> None:
    """An empty train split is an error; an empty validation split is not."""
    with pytest.raises(NoWork, match="no training rows"):
        refuse_unusable([], tokenizer, 64, "train")
    refuse_unusable([], tokenizer, 64, "validation")


@pytest.mark.parametrize(
    "completion",
    [
        [],
        [{"role": "assistant", "content": "  "}],
        [{"role": "user", "content": "x"}],
        [{"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}],
    ],
)
def test_a_completion_that_is_not_one_answer_is_refused(tokenizer: Any, completion: list[dict[str, str]]) -> None:
    """Only one assistant message with text in it can be learned."""
    bad = Row(pair_id="bad", prompt=[{"role": "user", "content": "x"}], completion=completion)
    with pytest.raises(InputError, match="bad"):
        refuse_unusable([bad], tokenizer, 64, "train")


def test_an_exported_dataset_brings_its_own_id() -> None:
    """The adapter is named by the id in the manifest, which is that of the artifact; test rows are left alone."""
    folder = Path(__file__).parents[1] / "projects" / "v0_1" / "dataset"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    dataset = dataset_of(folder)
    assert dataset.id == manifest["id"]
    splits = Counter(row["split"] for row in manifest["rows"])
    assert (len(dataset.train), len(dataset.validation)) == (splits["train"], splits["validation"])
    assert dataset.system_prompt
