"""Which model an OpenAI fine-tuning job reports: the one that it trained, however the job ended and whatever happened
since."""

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
    """A project with an adapter that was trained just now; the tests define the jobs."""
    report_project.whole(service.workspace.folder(MINE))[1].close()
    return service


def client_with_jobs(service: Service, monkeypatch: pytest.MonkeyPatch, *jobs: Job) -> Any:
    """A client of a service with these jobs, each a fine-tuning job."""
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


def test_job_reports_the_model_that_it_trained(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later training does not change it. A job that found its model already trained has the current one, and one that
    failed or was stopped before training has none."""
    first, minute = training(service), timedelta(minutes=1)
    jobs = [job(name, state, first.started - minute) for name, state in (("first", "done"), ("stopped", "stopped"))]
    jobs.append(job("later", "done", first.started + 5 * minute))
    jobs.append(job("before", "failed", first.started - 9 * minute, NO_TEST))
    client = client_with_jobs(service, monkeypatch, *jobs)

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


def test_job_that_trained_has_succeeded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file too small for a test split is trained on all the same: the job succeeds with its model, and the later
    failure is a warning in its events."""
    began = training(service).started - timedelta(minutes=1)
    client = client_with_jobs(service, monkeypatch, job("one", "failed", began, NO_TEST))
    shown = client.get("/v1/fine_tuning/jobs/one").json()
    assert (shown["status"], shown["error"], shown["trained_tokens"]) == ("succeeded", None, 25480)
    last = client.get("/v1/fine_tuning/jobs/one/events").json()["data"][0]
    assert (last["level"], last["message"]) == ("warn", NO_TEST["what"])


def test_suffix_names_the_model_or_is_refused(service: Service) -> None:
    """It becomes the name of the new project, after which the model is named. For an existing project, which already
    has a name, a suffix is refused and not ignored."""
    client = service.program("owner")
    row = b'{"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]}\n'
    file = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", row)}).json()["id"]
    request_body = {"model": "embedded", "suffix": "Only one!"}
    response = client.post("/v1/fine_tuning/jobs", json={**request_body, "training_file": file})
    assert response.status_code == 200, response.text
    assert "only-one" in service.workspace.projects()
    refused = client.post("/v1/fine_tuning/jobs", json={**request_body, "training_file": f"project:{MINE}"})
    assert refused.status_code == 400
    assert "named after the project" in problem(refused)["what"]


def test_changing_the_base_changes_its_learning_rate(service: Service) -> None:
    """As on the setup page: a large model used to be trained with the learning rate of the embedded one, and with
    another model's revision."""
    spec = service.workspace.folder(MINE) / "pairsmith.toml"
    embedded = {"train.base": "embedded", "train.revision": "main", "train.learning_rate": 1e-3, "train.batch": 4}
    spec.write_text(set_keys(spec.read_text(), embedded))
    request_body = {"model": "Qwen/Qwen3-4B-Instruct-2507", "training_file": f"project:{MINE}"}
    asked = {**request_body, "method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 6}}}}
    response = service.program("owner").post("/v1/fine_tuning/jobs", json=asked)
    assert response.status_code == 200, response.text
    train = service.workspace.project(MINE).spec.train
    assert (train.base, train.revision, train.batch) == (request_body["model"], None, 6)
    assert train.learning_rate == TrainSettings().learning_rate
