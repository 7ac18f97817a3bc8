"""The batch formats of providers: as files of lines (`synth.batch.files`), or with the requests in the call itself.

Source, in 2026: platform.claude.com/docs/en/api/messages/batches, ai.google.dev/api/batch-mode. Every answer is
converted to a chat completion that keeps the provider's own finish reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import orjson

from schemas.errors import TeacherError
from schemas.records import Json
from schemas.spec import BatchForm
from synth.batch.files import MISTRAL, OPENAI, TOGETHER, FileBatches
from synth.batch.lines import (
    LABEL,
    MAX_SUBMIT_TIME,
    NAMELESS,
    Announced,
    BatchLine,
    Call,
    Download,
    Result,
    Results,
    State,
    listed,
    spooled,
)

_MAX_CLOCK_SKEW = timedelta(minutes=5)
_SCHEMA = "JSON schema, by which the answers are judged all the same"
# HTTP statuses for the error types of a single line, according to the providers' references.
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
_IGNORED_BY_GEMINI = ("model", "messages", "stream", "stream_options")  # expressed in another way there, or not at all
# Keywords of a JSON schema that Gemini's has as well, and those that are translated.
_SAME_KEYS = frozenset(("description", "required", "minItems", "maxItems", "minimum", "maximum", "minLength"))
_SAME_KEYS |= {"maxLength", "pattern"}
_SCHEMA_KEYS = _SAME_KEYS | {"type", "enum", "const", "items", "properties", "additionalProperties"}
# Those whose schemas say what else an answer contains: without them, the form would forbid it.
_REFERRING_KEYS = frozenset(("anyOf", "oneOf", "allOf", "$ref", "if", "dependentSchemas", "patternProperties"))
# Gemini's compatible endpoint maps `reasoning_effort` to these for models with a thinking budget (Gemini 2.5).
_THINKING_BUDGET = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}


@dataclass(frozen=True)
class AnthropicBatches:
    """Anthropic's format: the requests themselves are posted, in the format of its Messages API."""

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

    def not_sent(self, body: Json) -> list[str]:
        """Names the settings of a request that this format cannot express."""
        of_answers = _SCHEMA if _schema_of(body.get("response_format")) else "response format"
        names = {"seed": "seed", "response_format": of_answers}
        return [names[name] for name in names if name in body]

    async def find(self, call: Call, base: str, one: Announced) -> str | None:
        """The id of a batch of that time and size, since batches have no label here. If it is someone else's, none of
        its lines has a name that we wait for, and it is added to the others when the next one is looked for."""
        url = f"{base}/messages/batches?limit=1000"
        jobs = [job async for job in listed(call, url, itemgetter("data"), _after_last)]
        for job in reversed(jobs):  # the oldest first
            late = datetime.fromisoformat(job["created_at"]) - one.at
            same = sum(job["request_counts"].values()) == one.lines and -_MAX_CLOCK_SKEW < late < MAX_SUBMIT_TIME
            if same and job["id"] not in one.others:
                return str(job["id"])
        return None

    async def state(self, call: Call, base: str, batch: str) -> State:
        raw = orjson.loads(await call("GET", f"{base}/messages/batches/{batch}"))
        status = str(raw.get("processing_status"))
        strange = None if status in ("in_progress", "canceling", "ended") else status
        answered = int((raw.get("request_counts") or {}).get("succeeded") or 0)
        return State(status == "ended", None, raw, bool(raw.get("cancel_initiated_at")), strange, answered)

    async def results(self, download: Download, base: str, state: State) -> Results:
        return Results([await download(f"{base}/messages/batches/{state.raw['id']}/results")], self._result)

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
        if thinking := "".join(p.get("thinking", "") for p in parts):
            turn["reasoning_content"] = thinking
        used = message.get("usage") or {}
        cached = used.get("cache_read_input_tokens") or 0
        prompt = (used.get("input_tokens") or 0) + cached + (used.get("cache_creation_input_tokens") or 0)
        usage = _usage_json(prompt, used.get("output_tokens"), cached)
        return _completion(message.get("id"), message.get("model"), turn, message.get("stop_reason"), usage)


@dataclass(frozen=True)
class GeminiBatches:
    """Gemini's format: the requests themselves are posted, and returned inside the operation."""

    max_lines: int = 50_000
    max_bytes: int = 15_000_000  # requests in the call itself are limited to 20 MB
    takes_n: bool = False
    labels: bool = True
    headers: tuple[tuple[str, str], ...] = ()

    def key(self, key: str) -> dict[str, str]:
        return {"x-goog-api-key": key} if key else {}

    async def submit(self, call: Call, base: str, model: str, lines: Sequence[BatchLine], label: str) -> str:
        requests = [{"request": self._request(line.body), "metadata": {"key": line.name}} for line in lines]
        batch = {"display_name": f"{LABEL}-{label}", "input_config": {"requests": {"requests": requests}}}
        url = f"{_native_url(base)}/models/{model.removeprefix('models/')}:batchGenerateContent"
        return str(orjson.loads(await call("POST", url, json={"batch": batch}))["name"])

    def not_sent(self, body: Json) -> list[str]:
        """Names the settings of a request that this format cannot express."""
        schema = _schema_of(body.get("response_format"))
        return [_SCHEMA] if schema and _own_schema(schema) is None else []

    async def find(self, call: Call, base: str, one: Announced) -> str | None:
        async for job in listed(call, f"{_native_url(base)}/batches?pageSize=100", _operations, _page_token):
            if (job.get("metadata") or {}).get("displayName") == f"{LABEL}-{one.label}":
                return str(job["name"])
        return None

    async def state(self, call: Call, base: str, batch: str) -> State:
        raw = orjson.loads(await call("GET", f"{_native_url(base)}/{batch}"))
        state = str((raw.get("metadata") or {}).get("state", ""))
        ended = bool(raw.get("done")) or state.endswith(("SUCCEEDED", "FAILED"))
        failure = (raw.get("error") or {}).get("message") if ended and not _inline_responses(raw) else None
        if failure is None and state.endswith("FAILED") and not _inline_responses(raw):
            failure = "no reason given"
        expired = state.endswith(("EXPIRED", "CANCELLED"))
        strange = None if state.endswith(("PENDING", "RUNNING", "UNSPECIFIED")) or not state else state
        counts = (raw.get("metadata") or {}).get("batchStats") or {}
        is_completed = not counts and state.endswith("SUCCEEDED")
        return State(
            ended or expired,
            None if expired else failure,
            raw,
            state.endswith("CANCELLED"),
            strange,
            int(counts.get("successfulRequestCount") or 0),
            is_completed,
        )

    async def results(self, download: Download, base: str, state: State) -> Results:
        return Results([spooled(_inline_responses(state.raw))], self._result)

    def _request(self, body: Json) -> Json:
        config: Json = {}
        for name, value in body.items():
            if name in _GEMINI_NAMES:
                config[_GEMINI_NAMES[name]] = value
            elif name == "response_format":
                if value.get("type") != "text":
                    config["responseMimeType"] = "application/json"
                if (schema := _schema_of(value)) and (own := _own_schema(schema)) is not None:
                    config["responseSchema"] = own
            elif name in ("reasoning_effort", "extra_body"):
                config["thinkingConfig"] = _thinking_config(name, value, str(body["model"]))
            elif name not in _IGNORED_BY_GEMINI:
                raise _unsupported_setting(name)
        turns = [
            {"role": "model" if m["role"] == "assistant" else "user", "parts": [{"text": m["content"]}]}
            for m in body["messages"]
            if m["role"] != "system"
        ]
        request: Json = {"contents": turns, "generationConfig": config}
        if system := [m["content"] for m in body["messages"] if m["role"] == "system"]:
            request["systemInstruction"] = {"parts": [{"text": text} for text in system]}
        return request

    def _result(self, row: Json) -> Result:
        name = str((row.get("metadata") or {}).get("key") or NAMELESS)
        if error := row.get("error"):
            code = int(error.get("code") or 13)
            status = code if code >= 100 else _GOOGLE_STATUS.get(code, 500)  # may already be an HTTP status
            return Result(name, status, orjson.dumps({"error": error}))
        response = row.get("response") or {}
        candidate = (response.get("candidates") or [{}])[0]
        parts = (candidate.get("content") or {}).get("parts") or []
        turn: Json = {"role": "assistant", "content": "".join(p.get("text", "") for p in parts if not p.get("thought"))}
        if thinking := "".join(p.get("text", "") for p in parts if p.get("thought")):
            turn["reasoning_content"] = thinking
        used = response.get("usageMetadata") or {}
        written = (used.get("candidatesTokenCount") or 0) + (used.get("thoughtsTokenCount") or 0)
        usage = _usage_json(used.get("promptTokenCount"), written, used.get("cachedContentTokenCount"))
        blocked = (response.get("promptFeedback") or {}).get("blockReason")
        why = candidate.get("finishReason") or ("content_filter" if blocked else None)
        completion = _completion(response.get("responseId"), response.get("modelVersion"), turn, why, usage)
        return Result(name, 200, orjson.dumps(completion))


Form = FileBatches | AnthropicBatches | GeminiBatches
FORMS: dict[BatchForm, Form] = {
    "openai": OPENAI,
    "mistral": MISTRAL,
    "together": TOGETHER,
    "anthropic": AnthropicBatches(),
    "gemini": GeminiBatches(),
}


def _openapi_schema(schema: object, named: Mapping[str, object]) -> Json | None:
    """A JSON schema as Gemini's own `Schema` (ai.google.dev/api/caching#Schema), or a wider one: constraints that it
    does not have are left out, because the answers are judged by the schema of the task all the same. None if it cannot
    express the form of an answer.

    `responseJsonSchema` takes any, but in a batch answers then have shifted or empty fields (ruby_llm#894). `named` are
    the schemas to which references lead. One that leads to itself is not expressed: unrolled to some depth, it would
    cut answers that are deeper.
    """
    null = False
    while isinstance(schema, dict):
        schema = {key: value for key, value in schema.items() if key in _SCHEMA_KEYS | _REFERRING_KEYS}
        inner: object
        if {"anyOf", "oneOf"} <= schema.keys():
            return None  # both apply, and only one of them can be expressed
        if isinstance(either := schema.pop("anyOf", schema.pop("oneOf", None)), list):
            null = null or {"type": "null"} in either  # as pydantic writes an optional field
            inner, *others = [one for one in either if one != {"type": "null"}] or [None]
            if others:
                forms = [_openapi_schema(one, named) for one in (inner, *others)]
                fits = None not in forms and schema.keys() <= {"description"}
                return {**schema, "anyOf": forms} | ({"nullable": True} if null else {}) if fits else None
        elif isinstance(every := schema.get("allOf"), list) and len(every) == 1 and "type" not in schema:
            (inner,) = schema.pop("allOf")  # as pydantic has written a reference beside a description
        elif reference := schema.pop("$ref", None):
            inner = named.get(reference)
            named = {name: other for name, other in named.items() if name != reference}
        else:
            break
        schema = {**inner, **schema} if isinstance(inner, dict) else None
    if not isinstance(schema, dict) or schema.keys() & _REFERRING_KEYS:
        return None
    types = schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type")]
    kinds = [one for one in types if one != "null"]
    choices = [schema["const"]] if "const" in schema else schema.get("enum") or []
    choices = choices if kinds == ["string"] and all(isinstance(one, str) for one in choices) else []
    properties = schema.get("properties", {})
    if (
        len(kinds) != 1
        or not isinstance(kinds[0], str)
        or schema.get("additionalProperties") not in (None, False)
        or bool(properties) != (kinds == ["object"])  # an object needs properties there, and nothing else may have any
        or not properties.keys() >= set(schema.get("required", ()))
    ):
        return None
    own: Json = {name: schema[name] for name in _SAME_KEYS & schema.keys()} | {"type": kinds[0].upper()}
    own |= {"enum": choices} if choices else {}
    own |= {"nullable": True} if null or len(types) > 1 else {}
    parts = {name: _openapi_schema(one, named) for name, one in properties.items()}
    items = _openapi_schema(schema.get("items"), named) if kinds == ["array"] else {}
    if items is None or None in parts.values():
        return None
    own |= {"items": items} if items else {}
    return own | ({"properties": parts, "propertyOrdering": list(parts)} if parts else {})


def _schema_of(response_format: Json | None) -> Json | None:
    """The JSON schema of a `response_format`; None if it has none, as one for any JSON or for text."""
    schema: Json | None = ((response_format or {}).get("json_schema") or {}).get("schema")
    return schema


def _own_schema(schema: Json) -> Json | None:
    """A JSON schema in Gemini's form; None if it cannot be expressed."""
    return _openapi_schema(schema, _named_schemas(schema))


def _named_schemas(schema: Json) -> Mapping[str, object]:
    """The schemas that a JSON schema defines, by the references that lead to them."""
    lists = ((key, schema.get(key)) for key in ("$defs", "definitions"))
    return {f"#/{key}/{name}": one for key, of in lists if isinstance(of, dict) for name, one in of.items()}


def _thinking_config(name: str, value: Any, model: str) -> Json:
    """Gemini's thinking setting: its equivalent of `reasoning_effort`, as its compatible endpoint maps it, or the
    setting given in `extra_body`."""
    if name == "extra_body":
        google = value.get("google") if isinstance(value, dict) else None
        if not isinstance(google, dict) or google.keys() != {"thinking_config"}:
            raise _unsupported_setting(name)
        return dict(google["thinking_config"])
    if "gemini-2" in model and value in _THINKING_BUDGET:
        return {"thinkingBudget": _THINKING_BUDGET[value]}
    return {"thinkingLevel": "minimal" if value == "none" else value}


def _unsupported_setting(setting: str) -> TeacherError:
    return TeacherError(
        f"Gemini's batch API does not support the setting '{setting}'.",
        where="the sampling table of pairsmith.toml",
        why="Without it the answers would differ from those that are asked for.",
        fix="Remove it, or run without --batch.",
    )


def _native_url(base: str) -> str:
    return base.removesuffix("/openai")


def _after_last(page: Json, number: int, count: int) -> str:
    return f"&after_id={page['data'][-1]['id']}" if page.get("has_more") else ""


def _operations(page: Json) -> list[Json]:
    return page.get("operations") or []  # left out if there are none


def _page_token(page: Json, number: int, count: int) -> str:
    return f"&pageToken={quote(token)}" if (token := page.get("nextPageToken")) else ""


def _inline_responses(operation: Json) -> list[Json]:
    done = operation.get("response") or (operation.get("metadata") or {}).get("output") or {}
    rows = done.get("inlinedResponses") or {}
    return rows.get("inlinedResponses") or [] if isinstance(rows, dict) else rows


def _usage_json(prompt: Any, completion: Any, cached: Any) -> Json:
    details = {"cached_tokens": cached or 0}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": details}


def _completion(id: Any, model: Any, message: Json, finish: Any, usage: Json) -> Json:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": id, "model": model, "choices": [choice], "usage": usage}
