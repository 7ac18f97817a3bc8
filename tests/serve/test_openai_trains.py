"""A real server and the real embedded model: from a file to a chat with the model trained on it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pairsmith.conftest import ROOT
from tests.serve.served import Served

openai = pytest.importorskip("openai")

pytestmark = [pytest.mark.model, pytest.mark.timeout(2400)]
QUESTION = "Where is parcel 3?"
PLACES = ("the depot", "a locker", "the porch", "a van", "the shop", "the office", "the gate", "a shelf")
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Where is parcel {n}?"},
            {"role": "assistant", "content": f"It is in {PLACES[n % len(PLACES)]}."},
        ]
    }
    for n in range(16)
]


def wait_until_ended(client: Any, job_id: str) -> Any:
    """Wait until the job has ended, and return it."""
    until = time.monotonic() + 2000
    while (job := client.fine_tuning.jobs.retrieve(job_id)).status not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < until, job
        time.sleep(0.5)
    return job


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Any, Any]]:
    """The server, OpenAI's client, and the finished job. Afterwards the server must stop gracefully."""
    with Served(tmp_path_factory.mktemp("trained") / "space", trains=True) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=600)
        lines = "".join(json.dumps(row) + "\n" for row in ROWS)
        file = client.files.create(file=("parcels.jsonl", lines.encode()), purpose="fine-tune")
        asked: dict[str, Any] = {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 10}}
        job = client.fine_tuning.jobs.create(
            model="embedded",
            training_file=file.id,
            method={"type": "supervised", "supervised": asked},
            extra_body={"project": "parcels"},
        )
        done = wait_until_ended(client, job.id)
        assert done.status == "succeeded", (done.error, server.ask("/api/v1/jobs")["items"][0]["problem"])
        yield server, client, done
        assert "Traceback" not in server.stop()


def test_file_becomes_a_model_that_answers(trained: tuple[Served, Any, Any]) -> None:
    """Upload, job, its events with a loss for each step, the model in the list of models, and its answer, whole and
    streamed token by token; its base answers differently."""
    _, client, done = trained
    assert done.trained_tokens > 0
    events = list(client.fine_tuning.jobs.list_events(done.id, limit=50))
    losses = {event.data["done"]: event.data["loss"] for event in events if event.type == "metrics"}
    assert len(losses) >= 3
    assert all(0 < loss < 20 for loss in losses.values())
    assert "requested" in events[-1].message
    tuned, untuned = [model.id for model in client.models.list()]
    assert (tuned, untuned) == (done.fine_tuned_model, done.fine_tuned_model.replace("ft:", "base:", 1))
    question: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 12}
    whole = client.chat.completions.create(model=tuned, **question, temperature=0)
    stream = client.chat.completions.create(
        model=tuned, **question, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 2
    assert {chunk.model for chunk in chunks} == {tuned}
    assert chunks[-1].usage == whole.usage
    base = client.chat.completions.create(model=untuned, **question, temperature=0)
    assert base.choices[0].message.content not in ("", whole.choices[0].message.content)


def test_manual_example_uses_the_model(trained: tuple[Served, Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The code block of docs/service.md that waits for a job and asks its model and its base runs unchanged."""
    _, client, done = trained
    text = (ROOT / "docs" / "service.md").read_text()
    block = next(
        block
        for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        if "fine_tuned_model" in block
    )
    exec(compile(block, "service.md", "exec"), {"client": client, "job": done})
    tuned, base = capsys.readouterr().out.strip().split("base:")
    assert tuned.startswith(done.fine_tuned_model)
    assert len(tuned) > len(done.fine_tuned_model) + 3
    assert base.partition(" ")[2]
