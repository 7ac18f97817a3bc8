"""Tests of an evaluation whose models are served by vLLM, with a stand-in for its command line."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import PairsmithError
from schemas.project import Project
from schemas.spec import EvaluateSettings
from schemas.store import Store
from tests.synth.stand_in_vllm import gone, noted, python_with_stand_in
from tests.train import tiny
from tests.train.evaluated import project, spec, with_seeds
from train.base_models.base_model import Base
from train.dataset import Dataset
from train.evaluation.evaluation import measure_or_load, plan_evaluation
from train.evaluation.held_out import held_out_seeds
from train.evaluation.metrics import Evaluation
from train.evaluation.systems import EvaluationPlan
from train.results import TrainResult
from train.sft import tune


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python whose vLLM answers every request with a sentence that names the requested model."""
    monkeypatch.setenv("STAND_IN_NOTE", str(tmp_path / "note.json"))
    monkeypatch.setenv("VLLM_API_KEY", "a-key-0123456789")
    return python_with_stand_in(tmp_path)


def serve_with_vllm(folder: Path, base: Base, method: str, python: Path, **more: Any) -> Project:
    evaluated = spec().evaluate.model_dump(mode="json", exclude_defaults=True)
    evaluated |= {"vllm": True, "vllm_python": str(python), **more}
    return project(folder, train={"base": str(base.folder), "method": method}, evaluate=evaluated)


def plan_of(subject: Project, trained: TrainResult, store: Store) -> EvaluationPlan:
    if not store.active_seeds():
        with_seeds(store)
    return plan_evaluation(subject, held_out_seeds(store, subject.spec), trained, None)


def measure(subject: Project, trained: TrainResult) -> Evaluation:
    with Store.open(Store.url_for(subject)) as store:
        return asyncio.run(measure_or_load(plan_of(subject, trained, store), store, subject.folder / "evaluations"))


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_base_and_tuned_model_are_served_by_vllm(tiny_base: Base, python: Path, tmp_path: Path, method: str) -> None:
    """An adapter is a model name, a merged model has a server of its own. The servers get the prompts and end tokens of
    training, and their answers are not mistaken for the embedded server's."""
    trained = tune(tiny_base, Dataset("dataset-1", tiny.rows(8)), tiny.settings(method=method), tmp_path / "adapters")
    subject = serve_with_vllm(tmp_path, tiny_base, method, python)
    measured = measure(subject, trained)
    last_texts = {output.system: output.text for output in measured.outputs}
    assert {name: text.split()[-3] for name, text in last_texts.items()} == {
        "base": "base",
        "few-shot": "base",
        "tuned": "tuned",
    }
    check = measured.adapter_check
    assert (check.base, check.tuned) == (-check.tokens, -2 * check.tokens)
    given = noted(python)["arguments"]
    assert ("--lora-modules" in given) == (method == "lora")
    assert given[given.index("--served-model-name") + 1] == ("base" if method == "lora" else "tuned")
    assert gone(noted(python)["pids"])
    embedded = subject.spec.model_copy(update={"evaluate": spec().evaluate})
    with Store.open(Store.url_for(subject)) as store:
        there, here = (plan_of(Project(tmp_path, one), trained, store) for one in (subject.spec, embedded))
    assert there.id == measured.id != here.id
    assert not {s.model.settings.revision for s in there.systems} & {s.model.settings.revision for s in here.systems}


def test_a_vllm_that_renders_prompts_differently_is_refused(tiny_base: Base, python: Path, tmp_path: Path) -> None:
    """With another prompt than in training, a model is another model."""
    trained = tune(tiny_base, Dataset("dataset-1", tiny.rows(8)), tiny.settings(), tmp_path / "adapters")
    other = tmp_path / "other.jinja"
    other.write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    subject = serve_with_vllm(tmp_path, tiny_base, "lora", python, vllm_args=["--chat-template", str(other)])
    with pytest.raises(PairsmithError, match="differently from training") as caught:
        measure(subject, trained)
    assert "--chat-template" in str(caught.value.fix)
    assert gone(noted(python)["pids"])


def test_vllm_gets_the_end_tokens(tiny_base: Base, python: Path, tmp_path: Path) -> None:
    """The end tokens of the base's generation config and of the chat template, and none of the base's own sampling
    settings."""
    from train.evaluation.systems import LocalModel, Vllm
    from train.evaluation.vllm_scoring import serve_with_vllm as serving

    def config(given: list[str]) -> dict[str, Any]:
        folder = Path(given[given.index("--generation-config") + 1])
        config: dict[str, Any] = json.loads((folder / "generation_config.json").read_bytes())
        return config

    async def once(folder: Path) -> dict[str, Any]:
        async with serving(LocalModel(folder), Vllm(str(python), ())):
            return config(noted(python)["arguments"])

    assert asyncio.run(once(tiny_base.folder)) == {"eos_token_id": [2]}
    sampling = Path(shutil.copytree(tiny_base.folder, tmp_path / "sampling"))
    own = {"eos_token_id": [0, 2], "do_sample": True, "temperature": 0.3, "top_k": 7}
    (sampling / "generation_config.json").write_text(json.dumps(own))
    assert asyncio.run(once(sampling)) == {"eos_token_id": [0, 2]}


def test_vllm_runs_the_bases_code_only_if_trusted(tiny_base: Base, python: Path) -> None:
    """vLLM gets --trust-remote-code only for a base whose code the spec trusts (`LocalModel.runs_code`)."""
    from train.evaluation.systems import LocalModel, Vllm
    from train.evaluation.vllm_scoring import serve_with_vllm as serving

    async def given(*, runs_code: bool) -> list[str]:
        async with serving(LocalModel(tiny_base.folder, runs_code=runs_code), Vllm(str(python), ())):
            return list(noted(python)["arguments"])

    assert "--trust-remote-code" in asyncio.run(given(runs_code=True))
    assert "--trust-remote-code" not in asyncio.run(given(runs_code=False))


def test_sampling_that_vllm_ignores_is_refused() -> None:
    """vLLM would silently answer without that setting."""
    with pytest.raises(ValueError, match="no_repeat_ngram_size"):
        EvaluateSettings.model_validate({"vllm": True, "sampling": {"no_repeat_ngram_size": 3}})
