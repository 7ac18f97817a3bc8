"""How providers take a batch of requests: OpenAI's files and batches, and where Mistral, Anthropic and Gemini differ.

Read from their references in 2026: platform.openai.com/docs/api-reference/batch (also Azure and Groq),
docs.mistral.ai/api (batch jobs), platform.claude.com/docs/en/api/messages/batches, ai.google.dev/api/batch-mode. Every
answer is brought into the form of a chat completion, with the provider's own word for why it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import orjson

from schemas.errors import TeacherError
from schemas.records import Json
from schemas.spec import BatchForm

Call = Callable[..., Awaitable[bytes]]
"""`call(method, url, json=... or form=...)` is the body of the answer, whatever failed on the way has been raised."""

_LABEL = "pairsmith"
_BEING_READ, _READ_S = ("pending", "running", "notRunning"), 600  # a file at Azure, which makes no batch of it before
_CLOCKS_APART, _HANDED_OVER_IN = timedelta(minutes=5), timedelta(minutes=30)
# The HTTP statuses that their words for an error of one line stand for, in their references.
_ANTHROPIC_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_GOOGLE_STATUS = {1: 0, 3: 400, 4: 0, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 14: 503, 16: 401}  # google.rpc.Code
_GEMINI_NAMES = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "stop": "stopSequences",
    "seed": "seed",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
_NOT_OF_GEMINI = ("model", "messages", "stream", "stream_options")  # said otherwise there, or not at all
# What its compatible endpoint makes of `reasoning_effort` for models that count what they think (Gemini 2.5).
_THINKING_BUDGET = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}


class BatchLine(NamedTuple):
    """One request of a batch, under a name that is its own."""

    name: str
    body: Json


class Announced(NamedTuple):
    """A batch that was about to be made at `at`: its label, how many lines it has, and which batches are others."""

    label: str
    lines: int
    at: datetime
    others: Collection[str]


class Result(NamedTuple):
    """What became of a line: an HTTP status and a body. Status 0: it was not tried (expired, cancelled), or what came
    of it cannot be read."""

    name: str
    status: int
    content: bytes


@dataclass(frozen=True)
class State:
    """How far a batch is. `failure` is the provider's sentence for one that was refused as a whole; `cancelled`:
    somebody ended it there; `strange` is the provider's word for its state, if it is none that is known."""

    ended: bool
    failure: str | None
    raw: Json
    cancelled: bool = False
    strange: str | None = None


@dataclass(frozen=True)
class Files:
    """OpenAI's form: a file of lines is uploaded, a batch is made of it, and its results are files. Mistral's paths and
    words are other ones."""

    jobs: str = "/batches"
    input_file: str = "input_file_id"
    output_files: tuple[str, ...] = ("output_file_id", "error_file_id")
    running: tuple[str, ...] = ("validating", "in_progress", "finalizing", "cancelling", "canceling")
    ended: tuple[str, ...] = ("completed", "failed", "expired", "cancelled", "canceled")
    failed: str = "failed"
    max_lines: int = 50_000
    max_bytes: int = 100_000_000
    takes_n: bool = True
    labels: bool = True  # a batch bears a name of ours
    headers: tuple[tuple[str, str], ...] = ()

    def key(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    async def submit(self, call: Call, base: str, model: str, lines: Sequence[BatchLine], label: str) -> str:
        """Hand a batch over; its id."""
        # Azure's older addresses name no version; a gateway's may name it before the account (Cloudflare).
        endpoint = "/v1/chat/completions" if re.search(r"/v\d\w*(/|$)", base) else "/chat/completions"
        rows = [
            {"custom_id": line.name, "method": "POST", "url": endpoint, "body": line.body}
            if self.jobs == "/batches"
            else {"custom_id": line.name, "body": {k: v for k, v in line.body.items() if k != "model"}}
            for line in lines
        ]
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        content = b"\n".join(map(orjson.dumps, rows)) + b"\n"
        form.add_field("file", content, filename=f"{label}.jsonl", content_type="application/jsonl")
        file = orjson.loads(await call("POST", f"{base}/files", form=form))
        began, wait_s = time.monotonic(), 0.5
        while file.get("status") in _BEING_READ and time.monotonic() - began < _READ_S:
            await asyncio.sleep(wait_s)
            wait_s = min(15.0, 2 * wait_s)
            file = orjson.loads(await call("GET", f"{base}/files/{file['id']}"))
        job: Json = {"endpoint": endpoint, "metadata": {_LABEL: label}}
        if self.jobs == "/batches":
            job |= {self.input_file: file["id"], "completion_window": "24h"}
        else:
            job |= {self.input_file: [file["id"]], "model": model}
        return str(orjson.loads(await call("POST", base + self.jobs, json=job))["id"])

    async def find(self, call: Call, base: str, one: Announced) -> str | None:
        """The id of a batch that was made under this label, if it is among the last hundred."""
        listed = orjson.loads(await call("GET", f"{base}{self.jobs}?limit=100")).get("data") or []
        return next((str(job["id"]) for job in listed if (job.get("metadata") or {}).get(_LABEL) == one.label), None)

    async def state(self, call: Call, base: str, batch: str) -> State:
        raw = orjson.loads(await call("GET", f"{base}{self.jobs}/{batch}"))
        status = str(raw.get("status", "")).lower()
        failure = _first_error(raw) if status == self.failed else None
        strange = None if status in self.running + self.ended else status
        return State(status in self.ended, failure, raw, status.startswith("cancel"), strange)

    async def results(self, call: Call, base: str, state: State) -> Iterator[Result]:
        files = [state.raw[name] for name in self.output_files if state.raw.get(name)]
        contents = [await call("GET", f"{base}/files/{file}/content") for file in files]
        return (result for content in contents for result in _readable(self._result, _lines(content)))

    def _result(self, row: Json) -> Result:
        response = row.get("response") or {}
        body = response.get("body")
        if not response or (row.get("error") and body is None):
            return Result(str(row.get("custom_id")), 0, orjson.dumps({"error": row.get("error") or {}}))
        return Result(str(row.get("custom_id")), int(response.get("status_code") or 200), orjson.dumps(body))


MISTRAL = Files(
    jobs="/batch/jobs",
    input_file="input_files",
    output_files=("output_file", "error_file"),
    running=("queued", "running", "cancellation_requested"),
    ended=("success", "failed", "timeout_exceeded", "cancelled"),
)


@dataclass(frozen=True)
class Messages:
    """Anthropic's form: the requests themselves are posted, in the form of its Messages API."""

    max_lines: int = 50_000
    max_bytes: int = 200_000_000
    takes_n: bool = False
    labels: bool = False
    headers: tuple[tuple[str, str], ...] = (("anthropic-version", "2023-06-01"),)

    def key(self, key: str) -> dict[str, str]:
        return {"x-api-key": key} if key else {}

    async def submit(self, call: Call, base: str, model: str, lines: Sequence[BatchLine], label: str) -> str:
        requests = [{"custom_id": line.name, "params": self._params(line.body)} for line in lines]
        created = await call("POST", f"{base}/messages/batches", json={"requests": requests})
        return str(orjson.loads(created)["id"])

    async def find(self, call: Call, base: str, one: Announced) -> str | None:
        """The id of a batch of that hour and size, for batches have no label here. If it is another one, none of its
        lines has a name that is waited for, and the next one is looked for with it among the others."""
        listed = orjson.loads(await call("GET", f"{base}/messages/batches?limit=1000")).get("data") or []
        for job in reversed(listed):  # the oldest first
            late = datetime.fromisoformat(job["created_at"]) - one.at
            same = sum(job["request_counts"].values()) == one.lines and -_CLOCKS_APART < late < _HANDED_OVER_IN
            if same and job["id"] not in one.others:
                return str(job["id"])
        return None

    async def state(self, call: Call, base: str, batch: str) -> State:
        raw = orjson.loads(await call("GET", f"{base}/messages/batches/{batch}"))
        status = str(raw.get("processing_status"))
        strange = None if status in ("in_progress", "canceling", "ended") else status
        return State(status == "ended", None, raw, bool(raw.get("cancel_initiated_at")), strange)

    async def results(self, call: Call, base: str, state: State) -> Iterator[Result]:
        content = await call("GET", f"{base}/messages/batches/{state.raw['id']}/results")
        return _readable(self._result, _lines(content))

    def _params(self, body: Json) -> Json:
        params = {k: v for k, v in body.items() if k not in ("messages", "n", "seed", "stop", "response_format")}
        system = [m["content"] for m in body["messages"] if m["role"] == "system"]
        if system:
            params["system"] = "\n\n".join(system)
        if body.get("stop"):
            params["stop_sequences"] = body["stop"]
        limit = params.pop("max_completion_tokens", None) or params.get("max_tokens") or 4096
        messages = [m for m in body["messages"] if m["role"] != "system"]
        return {**params, "max_tokens": limit, "messages": messages}

    def _result(self, row: Json) -> Result:
        name, result = str(row.get("custom_id")), row.get("result") or {}
        if result.get("type") == "succeeded":
            return Result(name, 200, orjson.dumps(self._completion(result["message"])))
        if result.get("type") == "errored":
            error = result.get("error") or {}
            error = error.get("error") or error
            return Result(name, _ANTHROPIC_STATUS.get(str(error.get("type")), 500), orjson.dumps({"error": error}))
        return Result(name, 0, b"{}")

    def _completion(self, message: Json) -> Json:
        parts = message.get("content") or []
        turn: Json = {"role": "assistant", "content": "".join(p.get("text", "") for p in parts)}
        if thought := "".join(p.get("thinking", "") for p in parts):
            turn["reasoning_content"] = thought
        used = message.get("usage") or {}
        cached = used.get("cache_read_input_tokens") or 0
        prompt = (used.get("input_tokens") or 0) + cached + (used.get("cache_creation_input_tokens") or 0)
        usage = _usage(prompt, used.get("output_tokens"), cached)
        return _completion(message.get("id"), message.get("model"), turn, message.get("stop_reason"), usage)


@dataclass(frozen=True)
class GenerateContent:
    """Gemini's form: the requests themselves are posted, and come back inside the operation."""

    max_lines: int = 50_000
    max_bytes: int = 15_000_000  # 20 MB is the limit of what is posted inline
    takes_n: bool = False
    labels: bool = True
    headers: tuple[tuple[str, str], ...] = ()

    def key(self, key: str) -> dict[str, str]:
        return {"x-goog-api-key": key} if key else {}

    async def submit(self, call: Call, base: str, model: str, lines: Sequence[BatchLine], label: str) -> str:
        requests = [{"request": self._request(line.body), "metadata": {"key": line.name}} for line in lines]
        batch = {"display_name": f"{_LABEL}-{label}", "input_config": {"requests": {"requests": requests}}}
        url = f"{_native(base)}/models/{model.removeprefix('models/')}:batchGenerateContent"
        return str(orjson.loads(await call("POST", url, json={"batch": batch}))["name"])

    async def find(self, call: Call, base: str, one: Announced) -> str | None:
        listed = orjson.loads(await call("GET", f"{_native(base)}/batches?pageSize=100")).get("operations") or []
        named = f"{_LABEL}-{one.label}"
        return next((str(o["name"]) for o in listed if (o.get("metadata") or {}).get("displayName") == named), None)

    async def state(self, call: Call, base: str, batch: str) -> State:
        raw = orjson.loads(await call("GET", f"{_native(base)}/{batch}"))
        ended = bool(raw.get("done"))
        failure = (raw.get("error") or {}).get("message") if ended and not _inlined(raw) else None
        state = str((raw.get("metadata") or {}).get("state", ""))
        expired = state.endswith(("EXPIRED", "CANCELLED"))
        strange = None if state.endswith(("PENDING", "RUNNING", "UNSPECIFIED")) or not state else state
        return State(ended or expired, None if expired else failure, raw, state.endswith("CANCELLED"), strange)

    async def results(self, call: Call, base: str, state: State) -> Iterator[Result]:
        return _readable(self._result, _inlined(state.raw))

    def _request(self, body: Json) -> Json:
        drawn: Json = {}
        for name, value in body.items():
            if name in _GEMINI_NAMES:
                drawn[_GEMINI_NAMES[name]] = value
            elif name == "response_format":
                schema = value["json_schema"]["schema"]
                drawn |= {"responseMimeType": "application/json", "responseJsonSchema": schema}
            elif name in ("reasoning_effort", "extra_body"):
                drawn["thinkingConfig"] = _thinking(name, value, str(body["model"]))
            elif name not in _NOT_OF_GEMINI:
                raise _untranslated(name)
        turns = [
            {"role": "model" if m["role"] == "assistant" else "user", "parts": [{"text": m["content"]}]}
            for m in body["messages"]
            if m["role"] != "system"
        ]
        request: Json = {"contents": turns, "generationConfig": drawn}
        if system := [m["content"] for m in body["messages"] if m["role"] == "system"]:
            request["systemInstruction"] = {"parts": [{"text": text} for text in system]}
        return request

    def _result(self, row: Json) -> Result:
        name = str((row.get("metadata") or {}).get("key"))
        if error := row.get("error"):
            code = int(error.get("code") or 13)
            status = code if code >= 100 else _GOOGLE_STATUS.get(code, 500)  # one of HTTP is one already
            return Result(name, status, orjson.dumps({"error": error}))
        response = row.get("response") or {}
        candidate = (response.get("candidates") or [{}])[0]
        parts = (candidate.get("content") or {}).get("parts") or []
        turn: Json = {"role": "assistant", "content": "".join(p.get("text", "") for p in parts if not p.get("thought"))}
        if thought := "".join(p.get("text", "") for p in parts if p.get("thought")):
            turn["reasoning_content"] = thought
        used = response.get("usageMetadata") or {}
        written = (used.get("candidatesTokenCount") or 0) + (used.get("thoughtsTokenCount") or 0)
        usage = _usage(used.get("promptTokenCount"), written, used.get("cachedContentTokenCount"))
        blocked = (response.get("promptFeedback") or {}).get("blockReason")
        why = candidate.get("finishReason") or ("content_filter" if blocked else None)
        completion = _completion(response.get("responseId"), response.get("modelVersion"), turn, why, usage)
        return Result(name, 200, orjson.dumps(completion))


Form = Files | Messages | GenerateContent
FORMS: dict[BatchForm, Form] = {
    "openai": Files(),
    "mistral": MISTRAL,
    "anthropic": Messages(),
    "gemini": GenerateContent(),
}
_HOSTS: dict[str, BatchForm] = {
    "api.mistral.ai": "mistral",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gemini",
}


def form_of(named: BatchForm | None, url: str) -> Form:
    """The form that the spec names, or that the address is known for; OpenAI's is the default."""
    return FORMS[named or _HOSTS.get(urlsplit(url).hostname or "", "openai")]


def _lines(content: bytes) -> Iterator[Any]:
    for line in content.splitlines():
        with contextlib.suppress(ValueError):  # broken off, or a page
            yield orjson.loads(line)


def _readable(result: Callable[[Json], Result], rows: Iterable[Any]) -> Iterator[Result]:
    """The results of rows; those of another form are left out, so that they cost no other one."""
    for row in rows:
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError, IndexError):
            yield result(row)


def _thinking(name: str, value: Any, model: str) -> Json:
    """Gemini's setting for how much is thought: what its compatible endpoint makes of `reasoning_effort`, or the one
    that it takes as it is in `extra_body`."""
    if name == "extra_body":
        google = value.get("google") if isinstance(value, dict) else None
        if not isinstance(google, dict) or google.keys() != {"thinking_config"}:
            raise _untranslated(name)
        return dict(google["thinking_config"])
    if "gemini-2" in model and value in _THINKING_BUDGET:
        return {"thinkingBudget": _THINKING_BUDGET[value]}
    return {"thinkingLevel": "minimal" if value == "none" else value}


def _untranslated(setting: str) -> TeacherError:
    return TeacherError(
        f"Gemini's batch API has no place for the setting '{setting}'.",
        where="the sampling table of pairsmith.toml",
        why="Without it the answers would be other ones than those that are asked for.",
        fix="Take it out, or run without --batch.",
    )


def _native(base: str) -> str:
    return base.removesuffix("/openai")


def _inlined(operation: Json) -> list[Json]:
    done = operation.get("response") or (operation.get("metadata") or {}).get("output") or {}
    rows = done.get("inlinedResponses") or {}
    return rows.get("inlinedResponses") or [] if isinstance(rows, dict) else rows


def _first_error(raw: Json) -> str:
    errors = raw.get("errors")
    rows = errors.get("data") if isinstance(errors, dict) else errors
    first = rows[0] if isinstance(rows, list) and rows else {}
    return str(first.get("message") or "it says no reason") if isinstance(first, dict) else str(first)


def _usage(prompt: Any, completion: Any, cached: Any) -> Json:
    details = {"cached_tokens": cached or 0}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": details}


def _completion(id: Any, model: Any, message: Json, finish: Any, usage: Json) -> Json:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": id, "model": model, "choices": [choice], "usage": usage}
