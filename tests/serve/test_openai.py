"""The supported subset of OpenAI's API, used through OpenAI's own client."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import pytest

from pairsmith.serve import talking
from pairsmith.serve.access import ALL, Role
from pairsmith.serve.workspace import Workspace
from schemas.records import Artifact
from schemas.spec import TrainSettings
from schemas.store import Store
from tests.serve.people import MINE, OTHER, Service, unlimited
from tests.servers import Handler, handled
from train.results import TrainResult, write_result

openai = pytest.importorskip("openai")
import httpx  # noqa: E402  the HTTP client of OpenAI's client

TURNS = [
    {
        "messages": [
            {"role": "user", "content": f"Where is parcel {n}?"},
            {"role": "assistant", "content": f"It is {n}."},
        ]
    }
    for n in range(12)
]
GOOD = "".join(json.dumps(turn) + "\n" for turn in TURNS).encode()


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited(monkeypatch)


def run_scene(service: Service, scene: Callable[[Any], Awaitable[None]], name: str = "owner") -> None:
    """Run a scene with OpenAI's client, using a key of the user of that name."""

    async def play() -> None:
        transport = httpx.ASGITransport(app=service.app, raise_app_exceptions=False)
        key = service.program(name).headers["Authorization"].removeprefix("Bearer ")
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/v1") as http:
            await scene(openai.AsyncOpenAI(api_key=key, base_url="http://127.0.0.1/v1", http_client=http))

    asyncio.run(play())


def add_adapter(service: Service, slug: str = MINE) -> TrainResult:
    """Add an adapter to a project, as training does."""
    project = service.workspace.project(slug)
    folder = project.folder / "artifacts" / "adapter"
    folder.mkdir(parents=True)
    result = TrainResult(
        adapter_id="a" * 32,
        dataset_id="d" * 32,
        base="HuggingFaceTB/SmolLM2-135M-Instruct",
        base_hash="b",
        settings=TrainSettings(),
        train_rows=8,
        validation_rows=2,
        learned_tokens=100,
        trained_tokens=900,
        steps=3,
        curve=(),
        validation=(),
        four_bit_layers=0,
        trainable_parameters=1,
        compute_dtype="bfloat16",
        seconds=1.0,
        seconds_per_step=0.3,
        peak_gib=1.0,
        versions={},
        masks=(),
        system_prompt="Rewrite it.",
    )
    write_result(folder, result)
    with Store.open(Store.url_for(project)) as store:
        store.write(Artifact(id=result.adapter_id, kind="adapter", path="artifacts/adapter"))
    return result


def test_files_are_validated_listed_read_and_deleted(service: Service) -> None:
    """A line that is not a conversation is named, and nothing of its file is stored."""

    async def scene(client: Any) -> None:
        for content, named in ((b'{"messages": []}\n', "1"), (GOOD + b"{oops\n", "13"), (b"", "no rows")):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.files.create(file=("x.jsonl", content), purpose="fine-tune")
            assert named in refused.value.message
            assert refused.value.code == "invalid_file"
        with pytest.raises(openai.BadRequestError, match="purpose"):
            await client.files.create(file=("x.jsonl", GOOD), purpose="assistants")
        first = await client.files.create(file=("x.jsonl", GOOD), purpose="fine-tune")
        assert (first.status, first.bytes, first.filename) == ("processed", len(GOOD), "x.jsonl")
        second = await client.files.create(file=("y.jsonl", GOOD), purpose="fine-tune")
        listed = [file.id async for file in await client.files.list(limit=1)]
        assert sorted(listed) == sorted([first.id, second.id])
        assert (await client.files.retrieve(first.id)).id == first.id
        assert (await client.files.content(first.id)).read() == GOOD
        assert (await client.files.delete(first.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(first.id)

    run_scene(service, scene)

    async def another(client: Any) -> None:
        assert [file async for file in await client.files.list()] == []

    run_scene(service, another, "editor")

    async def viewer(client: Any) -> None:
        with pytest.raises(openai.PermissionDeniedError):
            await client.files.create(file=("x.jsonl", GOOD), purpose="fine-tune")

    run_scene(service, viewer, "viewer")


def test_duplicates_are_accepted_and_a_missing_question_is_refused(service: Service) -> None:
    """A file may contain a conversation twice; one that starts with the answer is refused with its line."""
    answer = json.dumps({"messages": [{"role": "assistant", "content": "It is 3."}]}).encode()

    async def scene(client: Any) -> None:
        kept = await client.files.create(file=("train.jsonl", GOOD + GOOD), purpose="fine-tune")
        assert kept.status == "processed"
        with pytest.raises(openai.BadRequestError) as refused:
            await client.files.create(file=("train.jsonl", GOOD + answer), purpose="fine-tune")
        assert "turns: there is no question before the answer" in refused.value.message
        assert ":13" in refused.value.message

    run_scene(service, scene)


def test_fine_tuning_job_of_a_project(service: Service) -> None:
    """Create, retrieve, list, paginated events, checkpoints, cancel; a second job is refused with a conflict, which the
    client does not retry, and what is not supported with a matching error."""

    async def scene(client: Any) -> None:
        created = await client.fine_tuning.jobs.create(
            model="embedded",
            training_file=f"project:{MINE}",
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
            seed=5,
            metadata={"by": "test"},
        )
        assert (created.status, created.seed, created.training_file) == ("queued", 5, f"project:{MINE}")
        assert created.hyperparameters.n_epochs == 2
        assert created.metadata == {"by": "test"}
        spec = service.workspace.project(MINE).spec.train
        assert (spec.epochs, spec.batch, spec.seed) == (2, 4, 5)
        with pytest.raises(openai.ConflictError) as busy:
            await client.fine_tuning.jobs.create(model="embedded", training_file=f"project:{MINE}")
        assert busy.value.code == "project_busy"
        assert busy.value.response.request.headers["x-stainless-retry-count"] == "0"
        events = service.app.state.jobs.folder(created.id) / "events.jsonl"
        lines = [{"at": 1e9 + n, "stage": "train", "numbers": {"step": n, "loss": 2.0 - n / 10}} for n in range(30)]
        events.parent.mkdir(parents=True, exist_ok=True)  # the job may not have begun yet
        events.write_text("".join(json.dumps(line) + "\n" for line in lines))
        seen = [event async for event in await client.fine_tuning.jobs.list_events(created.id, limit=7)]
        assert len(seen) == 31
        assert seen[0].type == "metrics"
        assert seen[0].data["step"] == 29
        assert "requested by owner" in seen[-1].message
        assert (await client.fine_tuning.jobs.checkpoints.list(created.id)).data == []
        assert [job.id async for job in await client.fine_tuning.jobs.list()] == [created.id]
        with pytest.raises(openai.APIStatusError) as not_served:
            await client.fine_tuning.jobs.pause(created.id)
        assert not_served.value.status_code == 501
        assert (await client.fine_tuning.jobs.cancel(created.id)).status in ("running", "cancelled")
        with pytest.raises(openai.NotFoundError):
            await client.fine_tuning.jobs.retrieve("none")
        with pytest.raises(openai.BadRequestError, match="dpo"):
            await client.fine_tuning.jobs.create(
                model="embedded", training_file=f"project:{MINE}", method={"type": "dpo"}
            )
        with pytest.raises(openai.NotFoundError):
            await client.fine_tuning.jobs.create(model="embedded", training_file="file-none")

    run_scene(service, scene)

    async def stranger(client: Any) -> None:
        with pytest.raises(openai.NotFoundError):
            await client.fine_tuning.jobs.create(model="embedded", training_file=f"project:{OTHER}")

    run_scene(service, stranger, "editor")


def test_fine_tuning_job_of_a_file_creates_a_project(service: Service) -> None:
    """The conversations are the seeds, there is no review, the base model must be allowed by the policy, and the limit
    of an evaluation answer fits the longest output instead of 512 tokens."""

    async def scene(client: Any) -> None:
        file = await client.files.create(file=("x.jsonl", GOOD), purpose="fine-tune")
        with pytest.raises(openai.PermissionDeniedError, match=r"huggingface\.co"):
            await client.fine_tuning.jobs.create(
                model="someone/model", training_file=file.id, extra_body={"project": "bad"}
            )
        job = await client.fine_tuning.jobs.create(
            model="embedded", training_file=file.id, extra_body={"project": "parcels"}
        )
        project = service.workspace.project("parcels")
        assert (project.folder / project.spec.seeds[0].path).read_bytes() == GOOD
        assert not project.spec.review.enabled
        assert project.spec.evaluate.sampling.max_tokens == 64
        assert (project.spec.train.learning_rate, project.spec.train.batch) == (1e-3, 4)  # as suits that base
        assert service.app.state.jobs.get(job.id).command == "run"

    run_scene(service, scene)
    assert "bad" not in service.workspace.projects()


WORDS = ("A copper ", "kettle, and ", "the steam of it.")
USAGE = {"prompt_tokens": 5, "completion_tokens": 12, "total_tokens": 17}


class FakeModelServer(Handler):
    """What the embedded server streams, word by word; for the prompt "die" it disconnects after the first word, and for
    "wait" it pauses there until `goes_on` is set."""

    asked: ClassVar[list[dict[str, Any]]] = []
    goes_on: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        body = json.loads(self.body())
        self.asked.append(body)
        head = {"id": "c", "object": "chat.completion", "created": 1, "model": "its own name"}
        if not body.get("stream"):
            if body["messages"][-1]["content"] == "wait":
                self.goes_on.wait(20)
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            self.reply(json.dumps({**head, "choices": [choice], "usage": USAGE}).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if body["messages"][-1]["content"] == "die":
            self.send_header("Content-Length", "1000000")
        self.end_headers()
        for word in WORDS:
            self._say(head, {"content": word}, None)
            if body["messages"][-1]["content"] == "die":
                return
            if body["messages"][-1]["content"] == "wait":
                self.goes_on.wait(20)
        self._say(head, {}, "stop")
        self.wfile.write(f"data: {json.dumps({**head, 'choices': [], 'usage': USAGE})}\n\ndata: [DONE]\n\n".encode())

    def _say(self, head: dict[str, Any], delta: dict[str, Any], reason: str | None) -> None:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        self.wfile.write(f"data: {json.dumps({**head, 'choices': choices})}\n\n".encode())


@pytest.fixture
def model(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A fake running model in place of the process that would be started; yields the requests it received."""
    with handled(FakeModelServer) as url:

        async def started(talker: Any) -> talking._Running:
            return talking._Running("key", url, "base", AsyncExitStack(), lambda: None)

        monkeypatch.setattr(service.app.state.talking, "_ensure_running", started)
        FakeModelServer.asked.clear()
        yield FakeModelServer.asked


def test_tuned_model_is_listed_and_answers(service: Service, model: list[dict[str, Any]]) -> None:
    """It answers as a whole and as a stream, event by event, with the system prompt of its training. Its base is listed
    under a separate name. A system message of the caller, or a developer's, replaces that of the training. Models of
    other projects are hidden."""
    add_adapter(service)
    add_adapter(service, OTHER)

    async def scene(client: Any) -> None:
        names = [model.id async for model in await client.models.list()]
        name = f"ft:smollm2-135m-instruct:{MINE}::aaaaaaaa"
        assert names == [name, f"base:smollm2-135m-instruct:{MINE}::aaaaaaaa"]  # many clients take the first
        assert (await client.models.retrieve(name)).owned_by == MINE
        messages = [{"role": "user", "content": "a kettle"}]
        whole = await client.chat.completions.create(model=name, messages=messages, max_tokens=20)
        assert whole.choices[0].message.content == "".join(WORDS)
        stream = await client.chat.completions.create(
            model=name, messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert tuple(c.choices[0].delta.content for c in chunks[:-2]) == WORDS
        assert {chunk.model for chunk in chunks} == {name}
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage.total_tokens == 17
        await client.chat.completions.create(
            model=names[1], messages=[{"role": "system", "content": "Be brief."}, *messages]
        )
        await client.chat.completions.create(
            model=name, messages=[{"role": "developer", "content": "Be brief."}, *messages]
        )
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model=name.replace(MINE, OTHER), messages=messages)

    run_scene(service, scene, "viewer")
    assert [body["model"] for body in model] == ["tuned", "tuned", "base", "tuned"]
    assert [message["role"] for message in model[3]["messages"]] == ["developer", "user"]
    assert model[0]["messages"][0] == {"role": "system", "content": "Rewrite it."}
    assert model[2]["messages"][0]["content"] == "Be brief."
    assert model[0]["max_tokens"] == 20
    assert model[1]["stream_options"] == {"include_usage": True}


def test_interrupted_stream_is_an_error(service: Service, model: list[dict[str, Any]]) -> None:
    """If the model stops in the middle of its answer, OpenAI's client raises an error, so that a partial answer is not
    taken for a complete one, and the slot of the conversation is free again."""
    add_adapter(service)

    async def scene(client: Any) -> None:
        for _ in range(6):  # more than the limit of concurrent conversations
            stream = await client.chat.completions.create(
                model=f"ft:smollm2-135m-instruct:{MINE}::aaaaaaaa",
                messages=[{"role": "user", "content": "die"}],
                stream=True,
            )
            with pytest.raises(openai.APIError, match="stopped before its answer was complete"):
                [chunk async for chunk in stream]

    run_scene(service, scene, "viewer")
    assert service.app.state.limits.running("chat") == 0


@pytest.mark.parametrize("ends", ["key", "role"])
def test_stream_ends_when_its_readers_rights_change(
    service: Service, model: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Within seconds of losing its key or role, a chat stream ends with an error event that says why, even while the
    model is silent, and the slot of the conversation is free again."""
    from pairsmith.serve.api import streams

    monkeypatch.setattr(streams, "_ACCESS_CHECK_S", 0.05)
    add_adapter(service)
    state, viewer = service.app.state, service.program("viewer")
    body = {"model": f"ft:smollm2-135m-instruct:{MINE}::aaaaaaaa", "stream": True}
    body |= {"messages": [{"role": "user", "content": "wait"}]}
    FakeModelServer.goes_on.clear()
    try:
        with viewer.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = (line for line in stream.iter_lines() if line)
            assert WORDS[0] in next(lines)
            if ends == "key":
                state.keys.revoke(viewer.headers["Authorization"].split("_")[1], None)
            else:
                state.accounts.set_role(service.users["viewer"], MINE, None)
            *_, last = lines
    finally:
        FakeModelServer.goes_on.set()
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["code"] == {"key": "invalid_api_key", "role": "not_found"}[ends]
    assert state.limits.running("chat") == 0


def test_chat_is_refused_while_a_job_uses_the_gpu(service: Service) -> None:
    """503 with the seconds to wait; the lock of the job's process decides, not a database."""
    import fcntl

    add_adapter(service)
    service.workspace.jobs_folder.mkdir(parents=True, exist_ok=True)

    async def scene(client: Any) -> None:
        with pytest.raises(openai.APIStatusError) as busy:
            await client.with_options(max_retries=0).chat.completions.create(
                model=f"ft:smollm2-135m-instruct:{MINE}::aaaaaaaa", messages=[{"role": "user", "content": "x"}]
            )
        assert busy.value.status_code == 503
        assert busy.value.code == "busy_with_a_job"
        assert int(busy.value.response.headers["retry-after"]) > 0

    with (service.workspace.jobs_folder / "heavy.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run_scene(service, scene)


def test_shared_lock_does_not_count_as_busy(workspace: Workspace) -> None:
    """Two requests, or a request and the model's monitor, may check the lock at the same moment."""
    import fcntl

    assert not talking.is_busy(workspace)
    workspace.jobs_folder.mkdir(parents=True)
    with (workspace.jobs_folder / "heavy.lock").open("ab") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not talking.is_busy(workspace)
        fcntl.flock(looking, fcntl.LOCK_EX)
        assert talking.is_busy(workspace)


def test_project_key_lists_only_its_models(service: Service) -> None:
    """Also for an owner's key that is limited to one project."""
    add_adapter(service)
    add_adapter(service, OTHER)
    client = service.program("owner", Role.viewer, ALL)
    assert len(client.get("/v1/models").json()["data"]) == 4
    state = service.app.state
    caller = state.sessions.caller(state.sessions.begin(service.users["owner"], address="", agent=""))
    key, _ = state.keys.make(caller, "one", Role.viewer, OTHER, None)
    client.headers["Authorization"] = f"Bearer {key}"
    assert {model["owned_by"] for model in client.get("/v1/models").json()["data"]} == {OTHER}
