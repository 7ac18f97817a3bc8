"""A reward model on a real vLLM server: `make test-vllm`."""

from __future__ import annotations

import asyncio
import warnings
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from curate.scorers import Score
from curate.scorers.remote import open_remote_scorers
from curate.scorers.reward import open_reward_model
from curate.scorers.rules import asked_of, rules_of
from schemas.project import Project
from schemas.spec import Spec
from schemas.store import Store
from tests.curate import tiny
from tests.curate.scorers.test_reward import pair
from tests.real_vllm import MODEL, PYTHON, skip_without

TEXTS = ("A fox.", "A red fox sits by the river in the morning light.", "No.", "fox fox fox fox fox fox fox")


def reward_model(folder: Path) -> Path:
    """`MODEL` with an untrained head of one label."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.score.weight.data.normal_(std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@skip_without
def test_vllm_scores_equal_those_of_the_local_model(tmp_path: Path) -> None:
    """The spec names the model; the raw logits equal those of the local scorer for the same chat."""
    folder = reward_model(tmp_path / "reward")
    raw = tiny.spec().model_dump(mode="json", exclude_defaults=True)
    raw["curate"]["score"] = {"teacher": "rm", "protocol": "classify"}
    raw["teachers"] = {
        "rm": {"vllm": str(folder), "vllm_python": PYTHON, "timeout_s": 900, "vllm_args": ["--dtype", "float32"]}
    }
    project_ = Project(tmp_path, Spec.model_validate(raw))
    pairs = [pair("a fox", text, system="Rewrite.") for text in TEXTS]

    async def served() -> list[Score]:
        with Store.open(Store.url_for(project_)) as store:
            async with AsyncExitStack() as opened:
                by_http = (await open_remote_scorers(project_, store, opened, print)).as_reward
                assert by_http is not None
                return list(await by_http.score(pairs))

    remote = [score.value for score in asyncio.run(served())]
    rules = rules_of(project_)
    model = open_reward_model(folder, batch_tokens=4096)
    local = [score.value for score in model.score([(asked_of(one, rules), one.output) for one in pairs])]
    assert remote == pytest.approx(local, abs=0.05)
    assert max(local) - min(local) > 0.2
