"""Batch APIs on 127.0.0.1 in five formats, as the references of OpenAI and others describe them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from tests.servers import InThread

Says = Callable[[str, int], str | int | None]
"""`says(prompt, nth)`: the answer to the nth line with this prompt, an HTTP status, or None for a line that expires."""


class BatchProvider(InThread):
    """`with BatchProvider("gemini") as provider:` serves that format at `provider.url`.

    `batches` are those created, in order, each a list of its prompts. `finishes=False` leaves them running. `refuses`
    is the message with which a whole batch is rejected if it has more than `takes` lines. `because` is the message of a
    line that gets a status in OpenAI's format. `cancels`: batches were cancelled at the provider, so lines that expire
    count as cancelled. `expiry` is the error of an expired line in OpenAI's format. `garbles`: in this many files of
    results the last line is cut in half, another one is duplicated, and some lines are invalid. `says_only` replaces
    every response, `replaces_results` every file of results. `forgets` is how often a batch is reported as unknown,
    with the status `unknown_is`.
    `keeps_results=False` has deleted the results. `word` replaces the status of each batch. `looks` counts how often a
    batch was polled. `error` is the error of a line that gets a status, in the format's own form. `azure`: the address
    is that of a deployment, files and batches belong to the resource, and a file can be used only after it was
    processed, which the second poll of it reports. `page` is the number of batches on a page of the list, and `hides`
    how often the list is empty. `breaks_off`: so many files of results lack their last line, which is counted.
    `wraps` changes a file of results.
    """

    def __init__(
        self,
        form: str,
        says: Says | None = None,
        *,
        refuses: str = "",
        takes: int = 0,
        because: str = "",
        error: Any = None,
        azure: bool = False,
    ) -> None:
        self.form, self.refuses, self.takes, self.finishes = form, refuses, takes, True
        self.because, self.error, self.azure = because, error, azure
        self._read, self._forgotten = set[str](), set[str]()
        self.cancels, self.garbles, self.says_only, self.replaces_results = False, 0, b"", b""
        self.expiry: Any = {"code": "batch_expired", "message": "late"}
        self.forgets, self.unknown_is, self.keeps_results, self.word, self.looks = 0, 404, True, "", 0
        self.page, self.hides, self.breaks_off = 100, 0, 0
        self.wraps: Callable[[bytes], bytes] = bytes
        self.batches: list[list[str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.listed = 0
        self.live, self.counts_live, self.live_finish, self.to_file = 0, False, "stop", False
        self.keeps_key: Callable[[int], bool] = lambda number: True
        self.says_live: Callable[[str], str] = lambda prompt: "now"
        self._says = says or (lambda prompt, nth: f"{prompt}, at length ({nth})")
        self._asked: dict[str, int] = {}
        self._refused: set[str] = set()
        self._files: dict[str, bytes] = {}
        self._names: dict[str, str] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        self._polled = threading.Event()
        super().__init__(self._app())

    @property
    def url(self) -> str:
        if self.azure:
            return f"{self.address}/openai/deployments/mine/chat/completions?api-version=2024-10-21"
        path = {"gemini": "v1beta/openai"}.get(self.form, "v1")
        return f"{self.address}/{path}"

    def forget_batches(self) -> None:
        """Report those created so far as unknown from now on. Counting with `forgets` instead would count a poll of a
        stopped run that is still on its way."""
        self._forgotten |= {name.removeprefix("batches/") for name in self._jobs}

    def wait_for_a_batch(self) -> None:
        """Block until a created batch is polled, i.e. until its creator waits for it."""
        assert self._polled.wait(120)

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2**28, middlewares=[self._only])
        add = app.router.add_route
        add("POST", "/v1/chat/completions", self._chat_completion)
        if self.form in ("openai", "mistral", "together"):
            root = "/openai" if self.azure else "/v1"
            jobs = "/v1/batch/jobs" if self.form == "mistral" else f"{root}/batches"
            add("POST", f"{root}/files/upload" if self.form == "together" else f"{root}/files", self._upload)
            add("GET", f"{root}/files", self._list_files)
            add("GET", f"{root}/files/{{id}}", self._file)
            add("GET", f"{root}/files/{{id}}/content", self._content)
            add("POST", jobs, self._create_from_file)
            add("GET", jobs, self._list)
            add("GET", jobs + "/{id}", self._job)
        elif self.form == "anthropic":
            add("POST", "/v1/messages/batches", self._create_from_messages)
            add("GET", "/v1/messages/batches", self._list)
            add("GET", "/v1/messages/batches/{id}", self._job)
            add("GET", "/v1/messages/batches/{id}/results", self._content)
        else:
            add("POST", "/v1beta/models/{model}:batchGenerateContent", self._create_from_contents)
            add("POST", "/v1beta/openai/chat/completions", self._chat_completion)
            add("GET", "/v1beta/batches", self._list)
            add("GET", "/v1beta/batches/{id}", self._job)
        return app

    @web.middleware
    async def _only(self, request: web.Request, handler: Any) -> web.StreamResponse:
        return web.Response(body=self.says_only) if self.says_only else await handler(request)

    async def _chat_completion(self, request: web.Request) -> web.Response:
        self.live += 1
        body = await request.json()
        text = self.says_live(body["messages"][-1]["content"])
        choice = {"message": {"content": text}, "finish_reason": self.live_finish}
        choices = [{"index": i, **choice} for i in range(body.get("n", 1))]
        usage = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}} if self.counts_live else {}
        return web.json_response({"choices": choices, **usage})

    # -- files ---------------------------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == ("batch-api" if self.form == "together" else "batch")
        assert request.headers["Authorization"] == "Bearer sk-batch"
        name = f"file-{len(self._files)}"
        if self.form == "together":
            self._names[name] = str(form["file_name"])
        self._files[name] = form["file"].file.read()  # type: ignore[union-attr]
        return web.json_response({"id": name, "object": "file", "status": "pending" if self.azure else "processed"})

    async def _file(self, request: web.Request) -> web.Response:
        assert request.query["api-version"]
        name = request.match_info["id"]
        status = "processed" if name in self._read else "running"
        self._read.add(name)
        return web.json_response({"id": name, "object": "file", "status": status})

    async def _list_files(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": id_, "filename": name} for id_, name in self._names.items()]})

    async def _content(self, request: web.Request) -> web.Response:
        if not self.keeps_results:
            return web.json_response({"error": {"message": "No such File object"}}, status=404)
        body = self.replaces_results or self._files[request.match_info["id"]]
        if self.garbles and body:
            self.garbles -= 1
            first, *_, last = body.splitlines()
            none = b'<html>\n\n[1]\n"text"\n{"custom_id": 7, "response": "none", "result": []}\n'
            body = none + body.removesuffix(last) + first + b"\n" + last[: len(last) // 2]
        if self.breaks_off and body:
            self.breaks_off -= 1
            body = body[: body.rindex(b"\n") + 20]
        return web.Response(body=self.wraps(body))

    async def _create_from_file(self, request: web.Request) -> web.Response:
        job = await request.json()
        assert job["endpoint"] == ("/chat/completions" if self.azure else "/v1/chat/completions")
        if self.form != "mistral":
            assert job["completion_window"] == "24h"
            source = job["input_file_id"]
            if self.azure and source not in self._read:
                message = (
                    f"The input file '{source}' is in 'pending' state. Only files with status 'Processed' are accepted"
                )
                return web.json_response({"error": {"message": message}}, status=400)
        else:
            assert job["model"] == "loopback"
            (source,) = job["input_files"]
        lines = [orjson.loads(row) for row in self._files[source].splitlines()]
        assert len({line["custom_id"] for line in lines}) == len(lines)
        fields = {"custom_id", "body"} | ({"method", "url"} if self.form == "openai" else set())
        assert all(line.keys() == fields for line in lines)
        done, failed = [], []
        for line in lines:
            texts = self._answer(line["body"], line["body"]["messages"][-1]["content"], line["body"].get("n", 1))
            if texts is None and self.form != "together":  # which has no line for it
                failed.append({**_id_fields(line), "response": None, "error": self.expiry})
            elif isinstance(texts, int) and self.form == "together":
                message = self.because or f"status {texts}"
                code = "batch_client_error" if texts < 500 else "batch_server_error"
                failed.append({**_id_fields(line), "error": self.error or {"code": code, "message": message}})
            elif isinstance(texts, int):
                body = {"error": {"message": self.because or f"status {texts}"}} if texts else None
                failed.append({**_id_fields(line), "response": {"status_code": texts, "body": body}, "error": None})
            elif texts is not None:
                body = _chat(texts)
                done.append({**_id_fields(line), "response": {"status_code": 200, "body": body}, "error": None})
        id_ = self._register([line["body"]["messages"][-1]["content"] for line in lines])
        mistral = self.form == "mistral"
        output, error = ("output_file", "error_file") if mistral else ("output_file_id", "error_file_id")
        for field, rows in ((output, done), (error, failed)):
            self._files[f"{id_}-{field}"] = b"\n".join(map(orjson.dumps, rows))
        counts: Any = {"succeeded_requests": len(done)} if mistral else {"request_counts": {"completed": len(done)}}
        counts = {} if self.form == "together" else counts
        words = ("SUCCESS", "FAILED", "RUNNING") if mistral else ("COMPLETED", "FAILED", "IN_PROGRESS")
        words = tuple(map(str.lower, words)) if self.form == "openai" else words
        errors: Any = [{"message": self.refuses}]
        refused = {"errors": {"data": errors} if self.form == "openai" else errors}
        self._jobs[id_] = {
            "id": id_,
            **({"input_file_id": source} if self.form == "together" else {"metadata": job["metadata"]}),
            "ended": {"status": words[0], output: f"{id_}-{output}", error: f"{id_}-{error}", **counts},
            "refused": {"status": words[1], **({"error": self.refuses} if self.form == "together" else refused)},
            "running": {"status": words[2]},
        }
        if self.form == "together":
            assert job.keys() == {"input_file_id", "endpoint", "completion_window"}
            return web.json_response({"job": {"id": id_, "status": "VALIDATING"}}, status=201)
        return web.json_response({"id": id_, "status": "validating"})

    # -- requests in the body -----------------------------------------------------------------------------------

    async def _create_from_messages(self, request: web.Request) -> web.Response:
        assert request.headers["x-api-key"] == "sk-batch"
        assert request.headers["anthropic-version"]
        rows, prompts = [], []
        for one in (await request.json())["requests"]:
            params = one["params"]
            assert params["max_tokens"] >= 1
            assert all(m["role"] in ("user", "assistant") for m in params["messages"])
            assert {"n", "seed", "stop", "response_format"}.isdisjoint(params)
            prompts.append(params["messages"][-1]["content"])
            texts = self._answer(params, prompts[-1], 1)
            error = {"type": "invalid_request_error" if texts == 400 else "api_error", "message": f"status {texts}"}
            error = self.error or error
            usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0}
            result: Any = {"type": "errored", "error": {"type": "error", "error": error}}
            if texts is None:
                result = {"type": "canceled" if self.cancels else "expired"}
            elif not isinstance(texts, int):
                content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": texts[0]}]
                message = {"id": "msg_1", "model": "loopback", "content": content, "stop_reason": "end_turn"}
                result = {"type": "succeeded", "message": {**message, "usage": usage}}
            rows.append({"custom_id": one["custom_id"], "result": result})
        id_ = self._register(prompts)
        self._files[id_] = b"\n".join(map(orjson.dumps, rows))
        self._jobs[id_] = {
            "id": id_,
            "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "request_counts": {"processing": len(rows), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
            "ended": {
                "processing_status": "ended",
                "results_url": f"{self.url}/messages/batches/{id_}/results",
                "request_counts": {"succeeded": sum(row["result"]["type"] == "succeeded" for row in rows)},
            },
            "running": {"processing_status": "in_progress"},
        }
        return web.json_response({"id": id_, "processing_status": "in_progress"})

    async def _create_from_contents(self, request: web.Request) -> web.Response:
        assert request.headers["x-goog-api-key"] == "sk-batch"
        assert request.match_info["model"] == "loopback"
        batch = (await request.json())["batch"]
        rows, prompts = [], []
        for one in batch["input_config"]["requests"]["requests"]:
            turns = one["request"]["contents"]
            assert all(turn["role"] in ("user", "model") for turn in turns)
            prompts.append(turns[-1]["parts"][0]["text"])
            texts = self._answer(one["request"], prompts[-1], 1)
            code = {400: 3, None: 4}.get(texts if texts in (400, None) else 0, 13)
            row: Any = {"error": self.error if isinstance(texts, int) and self.error else {"code": code}}
            if texts is not None and not isinstance(texts, int):
                content = {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": texts[0]}]}
                usage = {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 1}
                candidate = {"content": content, "finishReason": "STOP"}
                row = {"response": {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "loopback"}}
            rows.append(row | ({"metadata": one["metadata"]} if self.keeps_key(len(rows)) else {}))
        answered = sum("response" in row for row in rows)
        output = {"responsesFile": "files/1"} if self.to_file else {"inlinedResponses": {"inlinedResponses": rows}}
        metadata = {"displayName": batch["display_name"]}
        ended = {**metadata, "batchStats": {"successfulRequestCount": str(answered)}}
        id_ = self._register(prompts)
        self._jobs[f"batches/{id_}"] = {
            "name": f"batches/{id_}",
            "metadata": metadata,
            "ended": {"done": True, "response": output, "metadata": ended},
            "refused": {"done": True, "error": {"code": 3, "message": self.refuses}},
            "running": {"done": False},
        }
        return web.json_response({"name": f"batches/{id_}"})

    # -- common to all formats --------------------------------------------------------------------------------------

    def _register(self, prompts: list[str]) -> str:
        self.batches.append(prompts)
        if self.refuses and len(prompts) > self.takes:
            self._refused.add(f"b{len(self.batches)}")
        return f"b{len(self.batches)}"

    def _answer(self, body: dict[str, Any], prompt: str, n: int) -> list[str] | int | None:
        self.bodies.append(body)
        nth = self._asked[prompt] = self._asked.get(prompt, 0) + 1
        text = self._says(prompt, nth)
        return text if text is None or isinstance(text, int) else [text, *(f"{text} again {i}" for i in range(1, n))]

    async def _list(self, request: web.Request) -> web.Response:
        self.listed += 1
        named = ("id", "name", "metadata", "created_at", "request_counts", "input_file_id")
        jobs = [{k: v for k, v in job.items() if k in named} for job in reversed(self._jobs.values())]
        if self.hides:
            self.hides -= 1
            jobs = []
        if self.form == "together":
            return web.json_response(jobs)
        query, size = request.query, self.page
        ids = [str(job.get("id") or job["name"]) for job in jobs]
        cursor = query.get({"anthropic": "after_id", "gemini": "pageToken"}.get(self.form, "after"))
        start = int(query.get("page", 0)) * size if self.form == "mistral" else ids.index(cursor) + 1 if cursor else 0
        shown, more = jobs[start : start + size], start + size < len(jobs)
        if self.form == "gemini":
            token = {"nextPageToken": ids[start + size - 1]} if more else {}
            return web.json_response(({"operations": shown} if shown else {}) | token)
        end = {"total": len(jobs)} if self.form == "mistral" else {"has_more": more}
        return web.json_response({"data": shown, **end})

    async def _job(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        self._polled.set()
        self.looks += 1
        if self.forgets or name in self._forgotten:
            self.forgets -= bool(self.forgets)
            error = {"message": "It may not exist, or you have no permission to access it"}
            return web.json_response({"error": error}, status=self.unknown_is)
        job = self._jobs[f"batches/{name}" if self.form == "gemini" else name]
        state = "running" if not self.finishes else "refused" if name in self._refused else "ended"
        named = {k: v for k, v in job.items() if k in ("id", "name", "metadata")}
        now = {**named, **job[state]}
        if self.cancels and state == "ended" and self.form == "anthropic":
            now["cancel_initiated_at"] = "2026-11-27T18:00:00Z"
        elif self.cancels and state == "ended" and self.form == "gemini":
            now["metadata"] = {**now["metadata"], "state": "BATCH_STATE_CANCELLED"}
        elif self.cancels and state == "ended":
            now["status"] = "cancelled" if self.form == "openai" else "CANCELLED"
        if self.word and self.form == "gemini":
            now["metadata"], now["done"] = {**now["metadata"], "state": self.word}, False
        elif self.word:
            now["processing_status" if self.form == "anthropic" else "status"] = self.word
        return web.json_response(now)


def _id_fields(line: dict[str, Any]) -> dict[str, Any]:
    return {"id": "x", "custom_id": line["custom_id"]}


def _chat(texts: list[str]) -> dict[str, Any]:
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(texts)}
    return {"id": "chatcmpl-1", "model": "loopback", "choices": choices, "usage": usage}
