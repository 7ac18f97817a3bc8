"""What a changed reference leaves as it is: the answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.blocking import run
from schemas.records import Sampling, Seed, content_id
from schemas.store import Store
from tests.train import tiny
from tests.train.evaluated import project
from train.base_models.base_model import Base
from train.dataset import Dataset
from train.evaluation.evaluation import measured, plan_evaluation
from train.evaluation.systems import EvaluationPlan
from train.results import TrainResult
from train.sft import tune


@pytest.fixture(scope="module")
def trained(tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    out = tmp_path_factory.mktemp("adapters")
    return tune(tiny_base, Dataset("dataset-1", tiny.rows(12)), tiny.settings(), out)


def test_a_corrected_reference_asks_nothing_again(
    tiny_base: Base, trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers do not depend on the reference, so none is sampled anew because one was corrected, and the answers of
    earlier versions, whose random seeds did depend on it, still count."""
    evaluated = project(tmp_path, train={"base": str(tiny_base.folder)})

    def plan(*references: str) -> EvaluationPlan:
        seeds = [
            Seed(kind="pair", text=f"a fox number {n}", reference=reference, source=f"pairs.jsonl:{n}")
            for n, reference in enumerate(references)
        ]
        return plan_evaluation(evaluated, seeds, trained, None, validation=seeds)

    def as_before(sampling: Sampling, seed: Seed, **_: bool) -> Sampling:
        return sampling.model_copy(update={"seed": int(content_id("stream", [sampling.seed, seed.id])[:7], 16)})

    with Store.open(Store.url_for(evaluated)) as store:
        first = run(measured(plan("one fox", "two foxes"), store))
        corrected = run(measured(plan("a fox", "two foxes"), store))
        assert first.id != corrected.id
        assert corrected.calls_sent == 0
        assert [o.text for o in corrected.outputs] == [o.text for o in first.outputs]
    (tmp_path / "earlier").mkdir()
    other = project(tmp_path / "earlier", train={"base": str(tiny_base.folder)})
    with Store.open(Store.url_for(other)) as store:
        with monkeypatch.context() as earlier:
            earlier.setattr("train.evaluation.systems.with_input_seed", as_before)
            before = run(measured(plan("one fox", "two foxes"), store))
        after = run(measured(plan("one fox", "two foxes"), store))
        assert (after.id, after.calls_sent) == (before.id, 0)
