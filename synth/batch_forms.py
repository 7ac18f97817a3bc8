"""How providers take a batch of requests: as files of lines (`synth.batch_files`), or posted as they are.

Read from their references in 2026: platform.claude.com/docs/en/api/messages/batches, ai.google.dev/api/batch-mode.
Every answer is brought into the form of a chat completion, with the provider's own word for why it ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from schemas.errors import TeacherError
from schemas.records import Json
from schemas.spec import BatchForm
from synth.batch_files import MISTRAL, OPENAI, TOGETHER, Files
from synth.batch_lines import LABEL, Announced, BatchLine, Call, Result, State, lines_of, readable

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
        return readable(self._result, lines_of(content))

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
        batch = {"display_name": f"{LABEL}-{label}", "input_config": {"requests": {"requests": requests}}}
        url = f"{_native(base)}/models/{model.removeprefix('models/')}:batchGenerateContent"
        return str(orjson.loads(await call("POST", url, json={"batch": batch}))["name"])

    async def find(self, call: Call, base: str, one: Announced) -> str | None:
        listed = orjson.loads(await call("GET", f"{_native(base)}/batches?pageSize=100")).get("operations") or []
        named = f"{LABEL}-{one.label}"
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
        return readable(self._result, _inlined(state.raw))

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
    "openai": OPENAI,
    "mistral": MISTRAL,
    "together": TOGETHER,
    "anthropic": Messages(),
    "gemini": GenerateContent(),
}


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


def _usage(prompt: Any, completion: Any, cached: Any) -> Json:
    details = {"cached_tokens": cached or 0}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": details}


def _completion(id: Any, model: Any, message: Json, finish: Any, usage: Json) -> Json:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": id, "model": model, "choices": [choice], "usage": usage}
