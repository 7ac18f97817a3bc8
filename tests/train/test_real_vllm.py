"""Tests of a trained, measured and exported model with a real vLLM: `make test-vllm`."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest

from pairsmith.stages.export import export
from schemas.project import Project
from schemas.records import Artifact, Messages
from schemas.spec import TrainSettings
from schemas.store import Store
from synth.local_vllm import VllmServer
from tests.real_vllm import MODEL, PYTHON, running, skip_without
from tests.train import tiny
from tests.train.evaluated import project, spec, with_seeds
from train.base_models.base_model import find_base
from train.dataset import Dataset
from train.evaluation.adapter_check import score
from train.evaluation.evaluation import measure_or_load, plan_evaluation
from train.evaluation.held_out import held_out_seeds
from train.evaluation.metrics import Evaluation
from train.evaluation.vllm_scoring import VllmRoutes, load_chat_template
from train.local_model import serving, tuned_model
from train.results import TrainResult
from train.sft import tune

NOISE_PER_TOKEN = 0.05  # two programs, 16-bit arithmetic


class Exported:
    """A model trained for a few steps on `MODEL`, measured by vLLM and exported."""

    def __init__(self, folder: Path, method: str) -> None:
        given = tiny.settings(method=method, base=MODEL, r=20, epochs=4, learning_rate=1e-3)
        self.base = find_base(TrainSettings(base=MODEL), folder)
        self.trained: TrainResult = tune(self.base, Dataset("dataset-1", tiny.rows(8)), given, folder / "adapters")
        evaluated = spec().evaluate.model_dump(mode="json", exclude_defaults=True)
        evaluated |= {
            "vllm": True,
            "vllm_python": PYTHON,
            "samples": 1,
            "sampling": {"temperature": 0.9, "max_tokens": 24},
        }
        self.project: Project = project(folder, train=given.model_dump(), evaluate=evaluated)
        (folder / "dataset").mkdir()
        with Store.open(Store.url_for(self.project)) as store:
            with_seeds(store)
            self.plan = plan_evaluation(self.project, held_out_seeds(store, self.project.spec), self.trained, None)
            self.evaluation: Evaluation = asyncio.run(measure_or_load(self.plan, store, folder / "evaluations"))
            for artifact in (
                Artifact(id="dataset-1", kind="dataset", path="dataset", members=(("pair-1", "train"),)),
                self.trained.artifact.model_copy(update={"path": f"adapters/{self.trained.adapter_id}"}),
                self.evaluation.artifact.model_copy(update={"path": f"evaluations/{self.evaluation.id}.json"}),
            ):
                store.write(artifact)
            export(self.project, store, out=folder / "out")
        self.folder = folder / "out" / ("model" if method == "qlora" else "adapter")

    @property
    def command(self) -> list[str]:
        """vLLM's arguments from the card of the export."""
        (line,) = [
            part
            for part in (self.folder / "README.md").read_text().replace("\\\n", " ").splitlines()
            if "vllm serve" in part
        ]
        words = shlex.split(line.replace("THIS_FOLDER", str(self.folder)).partition("vllm serve")[2])
        return [word.replace(self.trained.base, str(self.base.folder)) for word in words]


@pytest.fixture(scope="module", params=["lora", "qlora"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp(request.param), request.param)


async def embedded_score(exported: Exported, messages: Messages, text: str) -> tuple[float, int]:
    """The score of a text under the tuned model, from the embedded server."""
    local, _ = tuned_model(exported.base, exported.base.folder, exported.trained)
    async with serving(local, max_batch=1) as (server, name):
        return await score(server.base_url, name, messages, text)


@skip_without
def test_vllm_measures_the_trained_model(exported: Exported) -> None:
    """Every input was answered, and the check's texts have the same log-probability as on the embedded server."""
    measured = exported.evaluation
    assert all(output.answered for output in measured.outputs)
    check, plan = measured.adapter_check, exported.plan
    assert check is not None
    tuned = plan.systems[-1]
    there = [asyncio.run(embedded_score(exported, tuned.messages(seed), text)) for seed, text in plan.probes]
    assert check.tokens == sum(tokens for _, tokens in there)
    assert check.tuned == pytest.approx(sum(logprob for logprob, _ in there), abs=NOISE_PER_TOKEN * check.tokens)
    assert abs(check.tuned - check.base) > NOISE_PER_TOKEN * check.tokens


@skip_without
def test_the_command_in_the_card_serves_the_measured_model(exported: Exported) -> None:
    """The command in the export's README, with only paths filled in: under `tuned`, the check's texts have the
    log-probability that was measured. Greedy texts are not compared: 16-bit sums depend on the batch, and of two
    equally likely tokens either may be chosen."""
    model, *more = exported.command
    plan, check = exported.plan, exported.evaluation.adapter_check
    assert check is not None
    local, _ = tuned_model(exported.base, exported.base.folder, exported.trained)

    async def scores(server: VllmServer) -> list[tuple[float, int]]:
        routes = VllmRoutes(server, load_chat_template(exported.base.folder, local))
        return [await routes.score("tuned", plan.systems[-1].messages(seed), text) for seed, text in plan.probes]

    with running(model, more=more) as server:
        there = asyncio.run(scores(server))
    assert check.tokens == sum(tokens for _, tokens in there)
    assert check.tuned == pytest.approx(sum(logprob for logprob, _ in there), abs=NOISE_PER_TOKEN * check.tokens)
