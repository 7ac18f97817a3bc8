"""Which model an OpenAI fine-tuning job has: the one that it trained, however the job ended and whatever came since."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from pairsmith.serve.database import tuning_jobs
from pairsmith.serve.job import Job, JobOptions
from pairsmith.serve.openai.tuning import TuningRequest
from schemas.records import Artifact, Receipt, content_id
from schemas.spec import TrainSettings
from schemas.spec_file import set_keys
from schemas.store import Store
from tests.pairsmith import report_project
from tests.serve.people import MINE, Service, problem, unlimited

FIRST, SECOND = content_id("adapter", 1), content_id("adapter", 2)
NO_TEST = {"kind": "NoWork", "what": "none of the 1 seeds provides an input for the test split.", "exit_code": 8}


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited(monkeypatch)


@pytest.fixture
def service(service: Service) -> Service:
    """A project with an adapter that was trained just now, and jobs that are told below."""
    report_project.whole(service.workspace.folder(MINE))[1].close()
    return service


def asked(service: Service, monkeypatch: pytest.MonkeyPatch, *jobs: Job) -> Any:
    """A client of a service that has these jobs, each of which was a fine-tuning."""
    body = TuningRequest(model="embedded", training_file="file-1").model_dump_json()
    with service.app.state.engine.begin() as connection:
        connection.execute(sa.insert(tuning_jobs), [{"id": job.id, "asked": body} for job in jobs])
    monkeypatch.setattr(service.app.state.jobs, "get", {job.id: job for job in jobs}.__getitem__)
    return service.program("owner")


def training(service: Service) -> Receipt:
    with Store.open(Store.url_for(service.workspace.project(MINE)), write=False) as store:
        return store.receipts("train")[-1]


def job(name: str, state: Any, began: datetime, problem: dict[str, Any] | None = None) -> Job:
    """A job that took a minute and a half."""
    return Job(id=name, project=MINE, command="run", options=JobOptions(), by="ann", state=state, created=began,
               started=began, ended=began + timedelta(minutes=1.5), problem=problem)  # fmt: skip


def test_a_job_has_the_model_that_it_trained(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another training since changes nothing about it; a job that found its model trained has the present one; one that
    failed or was stopped before it trained has none."""
    first, minute = training(service), timedelta(minutes=1)
    jobs = [job(name, state, first.started - minute) for name, state in (("first", "done"), ("stopped", "stopped"))]
    jobs.append(job("later", "done", first.started + 5 * minute))
    jobs.append(job("before", "failed", first.started - 9 * minute, NO_TEST))
    client = asked(service, monkeypatch, *jobs)

    def model_of(name: str) -> tuple[str, str | None]:
        shown = client.get(f"/v1/fine_tuning/jobs/{name}").json()
        return shown["status"], shown["fine_tuned_model"] and shown["fine_tuned_model"].rpartition("::")[2]

    assert model_of("first") == ("succeeded", FIRST[:8])
    with Store.open(Store.url_for(service.workspace.project(MINE))) as store:
        one, since = store.artifacts("adapter")[-1], {"started": first.started + 3 * minute}
        store.write(Artifact(id=SECOND, kind="adapter", path=one.path, parents=one.parents))
        store.write(first.model_copy(update={**since, "facts": {**first.facts, "made": SECOND}}))
    assert model_of("first") == ("succeeded", FIRST[:8])
    assert model_of("later") == ("succeeded", SECOND[:8])
    assert model_of("stopped") == ("cancelled", None)
    assert model_of("before") == ("failed", None)


def test_a_job_that_trained_has_succeeded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of which nothing can be kept for a test is trained on all the same: the job has its model, and what came
    after is a warning among its events."""
    began = training(service).started - timedelta(minutes=1)
    client = asked(service, monkeypatch, job("one", "failed", began, NO_TEST))
    shown = client.get("/v1/fine_tuning/jobs/one").json()
    assert (shown["status"], shown["error"], shown["trained_tokens"]) == ("succeeded", None, 25480)
    last = client.get("/v1/fine_tuning/jobs/one/events").json()["data"][0]
    assert (last["level"], last["message"]) == ("warn", NO_TEST["what"])


def test_a_suffix_names_the_model_or_is_refused(service: Service) -> None:
    """It becomes the name of the project that is made, after which the model is called; a project that is there has its
    name already, and a suffix for it is refused instead of left out."""
    client = service.program("owner")
    row = b'{"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]}\n'
    file = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", row)}).json()["id"]
    wish = {"model": "embedded", "suffix": "Only one!"}
    response = client.post("/v1/fine_tuning/jobs", json={**wish, "training_file": file})
    assert response.status_code == 200, response.text
    assert "only-one" in service.workspace.projects()
    refused = client.post("/v1/fine_tuning/jobs", json={**wish, "training_file": f"project:{MINE}"})
    assert refused.status_code == 400
    assert "named after the project" in problem(refused)["what"]


def test_another_base_of_a_project_goes_with_its_own_rate(service: Service) -> None:
    """As on the page: a model of billions was trained at the rate of the embedded one, at the revision of another."""
    spec = service.workspace.folder(MINE) / "pairsmith.toml"
    embedded = {"train.base": "embedded", "train.revision": "main", "train.learning_rate": 1e-3, "train.batch": 4}
    spec.write_text(set_keys(spec.read_text(), embedded))
    wish = {"model": "Qwen/Qwen3-4B-Instruct-2507", "training_file": f"project:{MINE}"}
    asked = {**wish, "method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 6}}}}
    response = service.program("owner").post("/v1/fine_tuning/jobs", json=asked)
    assert response.status_code == 200, response.text
    train = service.workspace.project(MINE).spec.train
    assert (train.base, train.revision, train.batch) == (wish["model"], None, 6)
    assert train.learning_rate == TrainSettings().learning_rate
