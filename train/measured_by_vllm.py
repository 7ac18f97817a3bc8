"""Base and tuned model served by vLLM while they are measured, with the prompts, the end of an answer and the decoding
that they have elsewhere in the house."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import PairsmithError
from schemas.progress import Say, unheard
from schemas.records import Messages
from synth.chat_template import Chat
from synth.embedded.weights import embedded_weights
from synth.local_vllm import VllmServer, key_header, vllm
from train.adapter_check import Score, post_json
from train.metrics import TUNED
from train.systems import LocalModel, Vllm


class Scored(NamedTuple):
    """A server of a model under `name`, the name of its base there, and how a text is scored by it."""

    base_url: str
    base: str
    name: str
    score: Score
    key: str | None = None


@asynccontextmanager
async def by_vllm(local: LocalModel, settings: Vllm, say: Say = unheard) -> AsyncIterator[Scored]:
    """A vLLM of the model: the adapter as the model `tuned` beside its base. Raises what `vllm` does; scoring raises
    PairsmithError where it makes other tokens of a prompt than training did."""
    folder = local.folder or (await asyncio.to_thread(embedded_weights, say)).folder
    chat = await asyncio.to_thread(chat_of, folder, local)
    base = TUNED if local.is_merged else "base"
    lora = [] if local.adapter is None else [f"{TUNED}={local.adapter.resolve()}"]
    with tempfile.TemporaryDirectory() as scratch:
        rendered = _write_settled(Path(scratch), folder, chat)
        own_code = ("--trust-remote-code",) if local.runs_code else ()
        more = ("--served-model-name", base, *rendered, *own_code, *settings.arguments)
        async with vllm(str(folder.resolve()), python=settings.python, lora=lora, more=more, say=say) as server:
            asked = VllmRoutes(server, chat)
            yield Scored(server.base_url, base, server.model, asked.score, asked.key)


def chat_of(folder: Path, local: LocalModel) -> Chat:
    """The chat template that the model was trained with."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=local.runs_code)
    return Chat(tokenizer, dict(local.template_arguments))


def _write_settled(scratch: Path, folder: Path, chat: Chat) -> tuple[str, ...]:
    """The settled template and every token that ends an answer, as files and the arguments that name them. A generation
    config of the base's own would change the decoding besides."""
    own = folder / "generation_config.json"
    named = json.loads(own.read_bytes()).get("eos_token_id") if own.is_file() else None
    (scratch / "generation_config.json").write_text(json.dumps({"eos_token_id": chat.end_tokens(named)}))
    template = scratch / "chat_template.jinja"
    template.write_text(chat.tokenizer.chat_template, encoding="utf-8")
    return "--chat-template", str(template), "--generation-config", str(scratch)


class VllmRoutes:
    """vLLM's own routes beside chat completions."""

    def __init__(self, server: VllmServer, chat: Chat) -> None:
        self._server, self._chat = server, chat
        self.key = os.environ.get(server.key_env or "")

    async def score(self, model: str, messages: Messages, text: str) -> tuple[float, int]:
        """Log-probability in nats of `text` as the answer to `messages`, and its tokens."""
        asked = [message.model_dump() for message in messages]
        prompt, answer = self._chat.prompt_ids(asked), self._chat.plain_ids(text)
        rendered = await self._post("/tokenize", {"model": model, "messages": asked})
        if rendered["tokens"] != prompt:
            raise PairsmithError(
                f"vLLM makes {rendered['count']} tokens of a prompt, and training made {len(prompt)} others of it.",
                why="The model would be asked in another way than it was trained.",
                fix="Leave --chat-template and --tokenizer out of evaluate.vllm_args; else leave evaluate.vllm out.",
            )
        scored = await asyncio.gather(
            *(self._next(model, [*prompt, *answer[:place]], token) for place, token in enumerate(answer))
        )
        return sum(scored), len(answer)

    async def _next(self, model: str, before: list[int], token: int) -> float:
        """Log-probability of `token` behind `before`: it is the only one allowed, and what is told is from before that.
        Those of a whole prompt in one request (`prompt_logprobs`) end the engine of the CPU build with an adapter."""
        body = {"model": model, "prompt": before, "allowed_token_ids": [token], "max_tokens": 1, "logprobs": 1}
        (choice,) = (await self._post("/v1/completions", {**body, "temperature": 0}))["choices"]
        return float(choice["logprobs"]["token_logprobs"][0])

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        return await post_json(self._server.base_url.removesuffix("/v1") + path, body, key_header())
