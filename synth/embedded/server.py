"""The child process: an HTTP server on a loopback port that exposes the decode loop as OpenAI's chat completions.

It is started by `synth.embedded.process`, not by hand. It reports its address as one JSON line on standard output, and
exits on SIGTERM or when standard input closes, which happens even if the parent is killed with SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from aiohttp import web
from pydantic import BaseModel

from schemas.blocking import is_cancelled
from synth.embedded.constrain import SchemaCompiler, SchemaError
from synth.embedded.decoder import Decoder
from synth.embedded.jobs import Choice, GenerationJob, Piece, ScoringJob, TokenLogprob
from synth.embedded.model import ChatModel, UnsupportedModel, best_device, best_dtype, free_kv_mib
from synth.embedded.protocol import DEFAULT_MAX_TOKENS, ChatRequest, RequestError, ScoreRequest, parse_body
from synth.embedded.sampling import TokenSampling

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Served(BaseModel):
    """A model name that requests can use: the base itself, or the base with an adapter."""

    name: str
    folder: Path
    revision: str
    is_adapter: bool


class ServerSettings(BaseModel):
    """What the parent passes (`synth.embedded.process.embedded`). `served` has the base first. `defaults` are sampling
    parameters for requests that set none. `listen`: a host and a port to serve on without a secret path."""

    served: list[Served]
    dtype: Literal["auto", "bfloat16", "float32"]
    max_batch: int
    threads: int
    template_arguments: dict[str, Any]
    defaults: dict[str, Any]
    runs_code: bool
    listen: tuple[str, int] | None


class Api:
    """The routes. Tokenising happens here, on the event loop; everything that uses the model, in the decode loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self._defaults = dict(settings.defaults)
        self._default_max_tokens = self._defaults.pop("max_tokens", DEFAULT_MAX_TOKENS)
        self._served = {served.name: served for served in settings.served}
        self._device = best_device()
        chosen = best_dtype(self._device) if settings.dtype == "auto" else getattr(torch, settings.dtype)
        base, *adapters = settings.served
        folders = {adapter.name: adapter.folder for adapter in adapters}
        arguments, runs_code = settings.template_arguments, settings.runs_code
        self._model = ChatModel(base.folder, folders, chosen, arguments, self._device, runs_code=runs_code)
        self._dtype = str(chosen).removeprefix("torch.")
        self._schemas = SchemaCompiler(self._model.tokenizer, self._model.vocabulary, self._model.end_tokens)
        lanes = {name: name if served.is_adapter else None for name, served in self._served.items()}
        memory = free_kv_mib(self._device)
        self._decoder = Decoder(self._model, lanes, self._schemas.start, max_batch=settings.max_batch, kv_mib=memory)

    @property
    def context_tokens(self) -> int:
        """The limit for prompt and answer together."""
        return self._model.context_tokens

    def application(self, prefix: str = "") -> web.Application:
        """The application with its routes under `prefix`, a path that begins with a slash."""
        app = web.Application(middlewares=[_errors_as_openai], client_max_size=16 * 2**20)
        app.router.add_post(f"{prefix}/v1/chat/completions", self.chat_completions)
        app.router.add_post(f"{prefix}/v1/score", self.score)
        app.router.add_post(f"{prefix}/score", self.score)
        app.router.add_get(f"{prefix}/v1/models", self.models)
        app.router.add_get(f"{prefix}/v1/models/{{name}}", self.model)
        app.router.add_get(f"{prefix}/health", self.health)
        return app

    def close(self) -> None:
        self._decoder.close()

    async def chat_completions(self, request: web.Request) -> web.StreamResponse:
        body = parse_body(ChatRequest, await _read_json(request), self._defaults)
        served = self._find(body.model)
        prompt = self._prompt(body)
        job = GenerationJob(
            model=served.name,
            prompt=prompt,
            sampling=TokenSampling(
                body.temperature, body.top_p, body.top_k, body.repetition_penalty, body.no_repeat_ngram_size
            ),
            max_tokens=body.token_limit(len(prompt), self._model.context_tokens, self._default_max_tokens),
            n=body.n,
            seed=body.seed,
            stop=body.stop_texts(),
            top_logprobs=body.top_logprobs if body.logprobs else None,
            grammar=self._grammar(body),
        )
        head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion.chunk" if body.stream else "chat.completion",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": f"{served.revision}/{self._dtype}",
        }
        if body.stream:
            return await self._streamed(request, body, job, head)
        self._decoder.submit(job)
        choices = await asyncio.wrap_future(job.future)
        shown = [self._choice(index, choice, body.logprobs) for index, choice in enumerate(choices)]
        return web.json_response({**head, "choices": shown, "usage": _usage(prompt, choices)})

    async def _streamed(
        self, request: web.Request, body: ChatRequest, job: GenerationJob, head: dict[str, Any]
    ) -> web.StreamResponse:
        """Stream each piece as it is decoded, as a server-sent event.

        A failure before the first piece gets an HTTP error status; a later failure is sent as an event.
        """
        pieces, loop = asyncio.Queue[Piece | None](), asyncio.get_running_loop()

        def enqueue(piece: Piece) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        job.tell = enqueue
        done = asyncio.wrap_future(job.future)
        done.add_done_callback(lambda _: pieces.put_nowait(None))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})

        async def send(**more: Any) -> None:
            await response.write(f"data: {json.dumps({**head, **more})}\n\n".encode())

        async def send_delta(
            index: int, delta: dict[str, Any], *tokens: TokenLogprob, reason: str | None = None
        ) -> None:
            shown = {"content": [self._logprob(one) for one in tokens]} if body.logprobs and tokens else None
            await send(choices=[{"index": index, "delta": delta, "finish_reason": reason, "logprobs": shown}])

        try:
            self._decoder.submit(job)
            piece = await pieces.get()
            if piece is None:
                await done  # raises if the job failed; an answer without text continues
            await response.prepare(request)
            for index in range(body.n):
                await send_delta(index, {"role": "assistant", "content": ""})
            while piece is not None:
                await send_delta(piece.index, {"content": piece.text}, *piece.logprobs)
                piece = await pieces.get()
            try:
                choices = await done
            except asyncio.CancelledError:
                if is_cancelled():  # by the client, not by this server
                    raise
                await send(**_SHUTTING_DOWN.body())
                return response
            except Exception as error:
                await send(**RequestError(f"The decode loop failed: {error!r}", status=500).body())
                return response
            for index, choice in enumerate(choices):
                await send_delta(index, {}, reason=choice.finish_reason)
            if body.stream_options.include_usage:
                await send(choices=[], usage=_usage(job.prompt, choices))
            await response.write(b"data: [DONE]\n\n")
            return response
        finally:
            job.future.cancel()  # stops decoding if the client has disconnected

    async def score(self, request: web.Request) -> web.Response:
        body = parse_body(ScoreRequest, await _read_json(request))
        served = self._find(body.model)
        prompt = self._prompt(body)
        completions = [self._model.chat.plain_ids(text) for text in body.completions]
        longest = len(prompt) + max(map(len, completions))
        if longest > self._model.context_tokens:
            raise RequestError(
                f"This model's context holds {self._model.context_tokens} tokens; the messages and the longest "
                f"completion take {longest}.",
                param="completions",
                code="context_length_exceeded",
            )
        job = ScoringJob(model=served.name, prompt=prompt, completions=completions)
        self._decoder.submit(job)
        scores = await asyncio.wrap_future(job.future)
        data = [{"index": i, "logprob": one.logprob, "tokens": one.tokens} for i, one in enumerate(scores)]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": sum(one.tokens for one in scores)}
        return web.json_response({"object": "list", "model": served.name, "data": data, "usage": usage})

    async def models(self, request: web.Request) -> web.Response:
        # A client that takes the first model means the adapter, not its untuned base.
        adapters_first = sorted(self._served.values(), key=lambda one: not one.is_adapter)
        return web.json_response({"object": "list", "data": [self._describe(one) for one in adapters_first]})

    async def model(self, request: web.Request) -> web.Response:
        return web.json_response(self._describe(self._find(request.match_info["name"])))

    def _describe(self, served: Served) -> dict[str, Any]:
        return {
            "id": served.name,
            "object": "model",
            "created": 0,
            "owned_by": "pairsmith",
            "revision": served.revision,
            "is_adapter": served.is_adapter,
            "max_model_len": self._model.context_tokens,
        }

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "device": self._device, "dtype": self._dtype, **self._decoder.load()})

    def _find(self, name: str) -> Served:
        if name not in self._served:
            known = ", ".join(self._served)
            raise RequestError(
                f"The model `{name}` is not served here. Served models: {known}.",
                param="model",
                code="model_not_found",
                status=404,
            )
        return self._served[name]

    def _prompt(self, body: ChatRequest | ScoreRequest) -> list[int]:
        # Tokenising a body of megabytes would block all requests for a minute, only for it to be refused.
        characters = sum(len(message.content) for message in body.messages)
        if characters > (context := self._model.context_tokens) * self._model.longest_token:
            raise RequestError(
                f"This model's context holds {context} tokens; the messages have {characters:,} characters.",
                param="messages",
                code="context_length_exceeded",
            )
        try:
            prompt = self._model.chat.prompt_ids([message.model_dump() for message in body.messages])
        except Exception as error:  # A chat template is code by the model's author and may raise anything.
            raise RequestError(
                f"The model's chat template refuses these messages: {error}", param="messages"
            ) from error
        if not prompt:
            raise RequestError("The model's chat template renders these messages as empty text.", param="messages")
        return prompt

    def _grammar(self, body: ChatRequest) -> str | None:
        schema = body.response_format.schema_to_follow() if body.response_format else None
        if schema is None:
            return None
        try:
            return self._schemas.check(schema)
        except (SchemaError, ValueError) as error:
            raise RequestError(f"The JSON schema is not supported: {error}", param="response_format") from error

    def _choice(self, index: int, choice: Choice, logprobs: bool) -> dict[str, Any]:
        content = [self._logprob(one) for one in choice.logprobs] if logprobs else None
        return {
            "index": index,
            "message": {"role": "assistant", "content": choice.text},
            "finish_reason": choice.finish_reason,
            "logprobs": {"content": content} if logprobs else None,
        }

    def _logprob(self, one: TokenLogprob) -> dict[str, Any]:
        top = [self._token(token) | {"logprob": logprob} for token, logprob in one.top]
        return self._token(one.token) | {"logprob": one.logprob, "top_logprobs": top}

    def _token(self, token: int) -> dict[str, Any]:
        raw = self._schemas.token_bytes(token)
        return {"token": raw.decode(errors="replace"), "bytes": list(raw)}


def _usage(prompt: Sequence[int], choices: Sequence[Choice]) -> dict[str, int]:
    completion = sum(choice.tokens for choice in choices)
    return {"prompt_tokens": len(prompt), "completion_tokens": completion, "total_tokens": len(prompt) + completion}


async def _read_json(request: web.Request) -> Any:
    try:
        return await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The body is not JSON: {error}.") from error


_SHUTTING_DOWN = RequestError("The server is shutting down.", status=503)


@web.middleware
async def _errors_as_openai(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestError as error:
        failure = error
    except web.HTTPException as error:
        failure = RequestError(f"{request.method} {request.path}: {error.reason}.", status=error.status)
    except asyncio.CancelledError:
        if is_cancelled():  # by the client, not by this server
            raise
        failure = _SHUTTING_DOWN
    except Exception as error:
        print(f"{request.path}: {error!r}", file=sys.stderr, flush=True)
        failure = RequestError(f"The decode loop failed: {error!r}", status=500)
    return web.json_response(failure.body(), status=failure.status)


async def _serve(api: Api, listen: tuple[str, int] | None) -> None:
    # Other users of this machine and pages in a browser can reach the port too, but only the parent knows the path.
    prefix = "" if listen else f"/{secrets.token_urlsafe(24)}"
    host, port = listen or ("127.0.0.1", 0)
    app = api.application(prefix)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    await site.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    reached = "127.0.0.1" if host == "0.0.0.0" else host
    address = f"http://{reached}:{runner.addresses[0][1]}{prefix}/v1"
    print(json.dumps({"address": address, "context_tokens": api.context_tokens}), flush=True)
    await stop.wait()
    api.close()
    await runner.cleanup()


def _watch_parent() -> None:
    """Stop this process when the parent exits: only the parent holds the other end of the standard input pipe. This
    also covers the time while the model loads."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve with the `ServerSettings` in `sys.argv[1]`, as JSON."""
    settings = ServerSettings.model_validate_json(sys.argv[1])
    threading.Thread(target=_watch_parent, daemon=True).start()
    torch.set_num_threads(settings.threads)
    try:
        api = Api(settings)
    except UnsupportedModel as error:
        sys.exit(f"The model cannot be served: {error}.")
    asyncio.run(_serve(api, settings.listen))


if __name__ == "__main__":
    main()
