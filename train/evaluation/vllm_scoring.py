"""Serve base and tuned model with vLLM for the evaluation, with the same prompts, end tokens and decoding as everywhere
else in pairsmith."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import PairsmithError
from schemas.records import Messages
from schemas.temporary_folders import temporary_folder
from synth.chat_template import Chat
from synth.embedded.weights import embedded_weights
from synth.local_vllm import VllmServer, key_header, vllm
from train.evaluation.adapter_check import Score, post_json
from train.evaluation.metrics import TUNED
from train.evaluation.systems import LocalModel, Vllm


class ScoringServer(NamedTuple):
    """A server of a model under `name`, the name of its base there, and a function that scores texts with it.
    `check` raises TeacherError if it has ended."""

    base_url: str
    base: str
    name: str
    score: Score
    check: Callable[[], None]
    key: str | None = None


@asynccontextmanager
async def serve_with_vllm(local: LocalModel, settings: Vllm) -> AsyncIterator[ScoringServer]:
    """Start a vLLM server for the model; an adapter is served as the model `tuned` beside its base. Raises the errors
    of `vllm`. Scoring raises PairsmithError if vLLM tokenises a prompt differently from training."""
    folder = local.folder or (await asyncio.to_thread(embedded_weights)).folder
    chat = await asyncio.to_thread(load_chat_template, folder, local)
    base = TUNED if local.is_merged else "base"
    lora = [] if local.adapter is None else [f"{TUNED}={local.adapter.resolve()}"]
    with temporary_folder() as scratch:
        rendered = _write_chat_files(scratch, folder, chat)
        own_code = ("--trust-remote-code",) if local.runs_code else ()
        more = ("--served-model-name", base, *rendered, *own_code, *settings.arguments)
        async with vllm(str(folder.resolve()), python=settings.python, lora=lora, more=more) as server:
            routes = VllmRoutes(server, chat)
            yield ScoringServer(server.base_url, base, server.model, routes.score, server.check, routes.key)


def load_chat_template(folder: Path, local: LocalModel) -> Chat:
    """The chat template that the model was trained with."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=local.runs_code)
    return Chat(tokenizer, dict(local.template_arguments))


def _write_chat_files(scratch: Path, folder: Path, chat: Chat) -> tuple[str, ...]:
    """Write the settled chat template and all tokens that end an answer to files, and return the arguments that name
    them. The base's own generation config is replaced, because it would also change the decoding."""
    config = folder / "generation_config.json"
    end_ids = json.loads(config.read_bytes()).get("eos_token_id") if config.is_file() else None
    (scratch / "generation_config.json").write_text(json.dumps({"eos_token_id": chat.end_tokens(end_ids)}))
    template = scratch / "chat_template.jinja"
    template.write_text(chat.tokenizer.chat_template, encoding="utf-8")
    return "--chat-template", str(template), "--generation-config", str(scratch)


class VllmRoutes:
    """The routes of vLLM used in addition to chat completions."""

    def __init__(self, server: VllmServer, chat: Chat) -> None:
        self._server, self._chat = server, chat
        self.key = os.environ.get(server.key_env or "")

    async def score(self, model: str, messages: Messages, text: str) -> tuple[float, int]:
        """The log-probability of `text` as the answer to `messages`, in nats, and its token count."""
        dumped = [message.model_dump() for message in messages]
        prompt, answer = self._chat.prompt_ids(dumped), self._chat.plain_ids(text)
        rendered = await self._post("/tokenize", {"model": model, "messages": dumped})
        if rendered["tokens"] != prompt:
            raise PairsmithError(
                f"vLLM tokenises a prompt differently from training: {rendered['count']} tokens, not the same"
                f" {len(prompt)}.",
                why="The model would get other prompts than it was trained with.",
                fix="Remove --chat-template and --tokenizer from evaluate.vllm_args, or remove evaluate.vllm.",
            )
        scored = await asyncio.gather(
            *(self._token_logprob(model, [*prompt, *answer[:place]], token) for place, token in enumerate(answer))
        )
        return sum(scored), len(answer)

    async def _token_logprob(self, model: str, before: list[int], token: int) -> float:
        """The log-probability of `token` after `before`. It is the only allowed token, and vLLM reports
        log-probabilities from before that restriction. Requesting a whole prompt at once (`prompt_logprobs`) crashes
        the engine of the CPU build when an adapter is loaded."""
        body = {"model": model, "prompt": before, "allowed_token_ids": [token], "max_tokens": 1, "logprobs": 1}
        (choice,) = (await self._post("/v1/completions", {**body, "temperature": 0}))["choices"]
        return float(choice["logprobs"]["token_logprobs"][0])

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        return await post_json(self._server.base_url.removesuffix("/v1") + path, body, key_header())
