"""Batches that are submitted as files of lines: OpenAI's format, and how those of Mistral and Together differ.

Source, in 2026: platform.openai.com/docs/api-reference/batch (also Azure and Groq), docs.mistral.ai/api (batch jobs),
docs.together.ai/docs/inference/batch.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import orjson

from schemas.records import Json
from synth.batch.lines import LABEL, Announced, BatchLine, Call, Download, Result, Results, State, listed

_PROCESSING, _PROCESSING_S = ("pending", "running", "notRunning"), 600  # Azure only accepts a processed file
# Error codes of lines without a response, other than lines that were not processed (expired): Together's refusals, and
# under the same code its own faults, whose message is the phrase of their status ("Internal Server Error").
_ERROR_STATUS = {"batch_client_error": 400}
_STATUS_OF_PHRASE = {status.phrase.casefold(): int(status) for status in HTTPStatus if status >= 400}


@dataclass(frozen=True)
class FileBatches:
    """OpenAI's format: a file of lines is uploaded, a batch is created from it, and its results are files."""

    uploads: str = "/files"
    purpose: str = "batch"
    jobs: str = "/batches"
    output_files: tuple[str, ...] = ("output_file_id", "error_file_id")
    running: tuple[str, ...] = ("validating", "in_progress", "finalizing", "cancelling", "canceling")
    ended: tuple[str, ...] = ("completed", "failed", "expired", "cancelled", "canceled")
    failed: str = "failed"
    max_lines: int = 50_000
    max_bytes: int = 100_000_000
    takes_n: bool = True
    labels: bool = True  # batches can carry our label
    page_size: str = "limit"
    headers: tuple[tuple[str, str], ...] = ()

    def key(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"} if key else {}

    def row(self, line: BatchLine, endpoint: str) -> Json:
        return {"custom_id": line.name, "method": "POST", "url": endpoint, "body": line.body}

    def job(self, file: str, endpoint: str, model: str, label: str) -> Json:
        job = {"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"}
        return {**job, "metadata": {LABEL: label}}

    def not_sent(self, body: Json) -> list[str]:
        """Names the settings of a request that this format cannot express: none."""
        return []

    async def submit(self, call: Call, base: str, model: str, lines: Sequence[BatchLine], label: str) -> str:
        """Submit a batch and return its id."""
        # Azure's older addresses have no version; a gateway's may have it before the account (Cloudflare).
        endpoint = "/v1/chat/completions" if re.search(r"/v\d\w*(/|$)", base) else "/chat/completions"
        content = b"\n".join(orjson.dumps(self.row(line, endpoint)) for line in lines) + b"\n"
        form = aiohttp.FormData({"purpose": self.purpose, **self.upload_fields(label)})
        form.add_field("file", content, filename=f"{label}.jsonl", content_type="application/jsonl")
        file = orjson.loads(await call("POST", f"{base}{self.uploads}", form=form))
        began, wait_s = time.monotonic(), 0.5
        while file.get("status") in _PROCESSING and time.monotonic() - began < _PROCESSING_S:
            await asyncio.sleep(wait_s)
            wait_s = min(15.0, 2 * wait_s)
            file = orjson.loads(await call("GET", f"{base}/files/{file['id']}"))
        job = orjson.loads(await call("POST", base + self.jobs, json=self.job(file["id"], endpoint, model, label)))
        return str(job.get("job", job)["id"])

    def upload_fields(self, label: str) -> dict[str, str]:
        """Further form fields of an upload."""
        return {}

    async def find(self, call: Call, base: str, one: Announced) -> str | None:
        """The id of the batch with this label."""
        async for job in listed(call, f"{base}{self.jobs}?{self.page_size}=100", _entries, self.next_page):
            if (job.get("metadata") or {}).get(LABEL) == one.label:
                return str(job["id"])
        return None

    def next_page(self, page: Json, number: int, count: int) -> str:
        """The query for the next page of the list of batches."""
        return f"&after={page['data'][-1]['id']}" if page.get("has_more") else ""

    async def state(self, call: Call, base: str, batch: str) -> State:
        raw = orjson.loads(await call("GET", f"{base}{self.jobs}/{batch}"))
        status = str(raw.get("status", "")).lower()
        # A job that fails in the middle has answers.
        failure = _first_error(raw) if status == self.failed and not raw.get(self.output_files[0]) else None
        strange = None if status in self.running + self.ended else status
        counts = raw.get("request_counts") or {"completed": raw.get("succeeded_requests")}
        answered = counts.get("completed")
        is_cancelled, is_completed = (
            status.startswith("cancel"),
            answered is None and status in ("completed", "success"),
        )
        return State(status in self.ended, failure, raw, is_cancelled, strange, int(answered or 0), is_completed)

    async def results(self, download: Download, base: str, state: State) -> Results:
        files = [state.raw[name] for name in self.output_files if state.raw.get(name)]
        return Results([await download(f"{base}/files/{file}/content") for file in files], self._result)

    def _result(self, row: Json) -> Result:
        name, response, error = str(row.get("custom_id")), row.get("response") or {}, row.get("error") or {}
        status, body = int(response.get("status_code") or 0), response.get("body")
        if body:
            return Result(name, status or 200, orjson.dumps(body))
        # No response, or an empty one of status 200: OpenAI counts unprocessed lines as completed, with status 0.
        if status < 400:
            by_phrase = _STATUS_OF_PHRASE.get(str(error.get("message")).strip(" .").casefold())
            status = by_phrase or _ERROR_STATUS.get(str(error.get("code")), 0)
        return Result(name, status, orjson.dumps({"error": error}))


class MistralBatches(FileBatches):
    """Mistral's format: other paths and statuses, and the model in the job."""

    def row(self, line: BatchLine, endpoint: str) -> Json:
        return {"custom_id": line.name, "body": {k: v for k, v in line.body.items() if k != "model"}}

    def job(self, file: str, endpoint: str, model: str, label: str) -> Json:
        return {"input_files": [file], "endpoint": endpoint, "metadata": {LABEL: label}, "model": model}

    def next_page(self, page: Json, number: int, count: int) -> str:
        return f"&page={number}" if count < int(page.get("total") or 0) else ""


class TogetherBatches(FileBatches):
    """Together's format: batches have no label, but the file that a batch was created from has a name."""

    def row(self, line: BatchLine, endpoint: str) -> Json:
        return {"custom_id": line.name, "body": line.body}

    def job(self, file: str, endpoint: str, model: str, label: str) -> Json:
        return {"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"}

    def upload_fields(self, label: str) -> dict[str, str]:
        return {"file_name": f"{label}.jsonl"}

    async def find(self, call: Call, base: str, one: Announced) -> str | None:
        files = orjson.loads(await call("GET", f"{base}/files"))["data"]
        file_ids = {file["id"] for file in files if file.get("filename") == f"{one.label}.jsonl"}
        jobs = orjson.loads(await call("GET", f"{base}{self.jobs}")) if file_ids else []
        return next((str(job["id"]) for job in jobs if job.get("input_file_id") in file_ids), None)


OPENAI = FileBatches()
MISTRAL = MistralBatches(
    jobs="/batch/jobs",
    output_files=("output_file", "error_file"),
    running=("queued", "running", "cancellation_requested"),
    ended=("success", "failed", "timeout_exceeded", "cancelled"),
    page_size="page_size",
)
TOGETHER = TogetherBatches(uploads="/files/upload", purpose="batch-api")


def _entries(page: Json) -> list[Json]:
    return page["data"] or []


def _first_error(raw: Json) -> str:
    errors = raw.get("errors") or raw.get("error")
    rows = errors.get("data") if isinstance(errors, dict) else errors
    first = rows[0] if isinstance(rows, list) and rows else rows
    message = first.get("message") if isinstance(first, dict) else first
    return str(message or "no reason given")
