"""A reward model behind an endpoint under `[teachers]`.

`classify`: vLLM started with `--runner pooling` (as we do for `vllm = "M"`). It is called at POST /classify next to its
/v1 and applies the chat template itself. It applies a sigmoid to the logit unless told not to, and some versions ignore
that, so the first row is requested both ways. `chat`: a hosted model that answers a chat completion with
`reward:-3.25`. It is called through the call ledger, so it is paid for once and counts towards the budget; any other
answer is no score.

As with a local model, only scores of answers to the same input are comparable.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from curate.scorers import Score, score_of_logit
from curate.scorers.rules import asked_of, rules_of
from schemas.blocking import together
from schemas.errors import TeacherError, Unreachable
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Message, Pair, Reason, Sampling, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth import teachers
from synth.chat.completions import base_url
from synth.ledger import Completion, Ledger, Question

REWARD = "score/reward@1"
STAGE = "reward"
_REWARD = re.compile(r"\s*reward\s*:\s*([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\s*", re.IGNORECASE)
_TRIES, _PAUSE_S = 4, 0.5
StartServer = Callable[[], Awaitable["ServerAccess"]]
_TOLERANCE = 1e-3  # largest rounding difference of 16-bit numbers


class ServerAccess(NamedTuple):
    """How to call a server: its address, the headers and query of every request, and a function that redacts its
    answers for display."""

    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str] = MappingProxyType({})
    shown: Callable[[str], str] = str


@dataclass
class HostedReward:
    """A reward model that answers as a chat completion."""

    ledger: Ledger
    rules: str

    @property
    def fingerprint(self) -> str:
        return content_id("reward", [self.ledger.identity, self.ledger.revision, self.rules, "chat"])

    async def score(self, pairs: Sequence[Pair]) -> list[Score]:
        return await together(map(self._score_pair, pairs))

    async def _score_pair(self, pair: Pair) -> Score:
        chat = [*asked_of(pair, self.rules), {"role": "assistant", "content": pair.output}]
        messages = tuple(Message.model_validate(turn) for turn in chat)
        # The answer is one number; the budget needs an upper limit of tokens.
        question = Question(messages, Sampling(max_tokens=16), prompt=STAGE, readable=_REWARD.fullmatch)
        (answer,) = await self.ledger.answer(question)
        if not isinstance(answer, Completion):
            return Score(None, Reason("crashed", f"the reward model did not answer: {answer.reason}"))
        number = _REWARD.fullmatch(answer.text)
        if number is None:
            return Score(None, Reason("nan", f"the reward model answered {answer.text[:200]!r}"))
        return Score(float(number[1]), Reason("scored"))


@dataclass
class PoolingReward:
    """A reward model served by a vLLM for pooling; no cost is computed. `start` is awaited before the first request."""

    teacher: TeacherSettings
    rules: str
    session: Any
    start: StartServer
    _checked: bool = field(default=False, init=False)
    _reached: ServerAccess | None = field(default=None, init=False)
    _url: str = field(default="", init=False)

    @property
    def fingerprint(self) -> str:
        named = self.teacher.known_as
        return content_id("reward", [named, self.teacher.revision, self.rules, "classify"])

    async def score(self, pairs: Sequence[Pair]) -> list[Score]:
        """Raises TeacherError if the numbers are not raw logits, and Unreachable if nothing answers."""
        if pairs and self._reached is None:
            self._reached = await self.start()
            self._url = base_url(self._reached.url).removesuffix("/v1") + "/classify"
        if pairs and not self._checked:
            await self._check(pairs[0])
        limit = asyncio.Semaphore(self.teacher.concurrency)

        async def score_pair(pair: Pair) -> Score:
            async with limit:
                return await self._score_pair(pair)

        return await together(map(score_pair, pairs))

    async def _check(self, pair: Pair) -> None:
        """Score one row with and without the sigmoid; the results must correspond."""
        raw, squashed = await self._score_pair(pair), await self._score_pair(pair, use_activation=True)
        if raw.value is None or squashed.value is None:
            return  # try again with the next batch
        if abs(1 / (1 + math.exp(-max(-700.0, min(700.0, raw.value)))) - squashed.value) > _TOLERANCE * 10:
            raise TeacherError(
                f"{self.teacher.model} returns {raw.value:g} without the sigmoid and {squashed.value:g} with it.",
                where=self._url,
                why="These do not correspond, so the scores are not raw logits and close candidates may look equal.",
                fix="Serve a model with one label with a vLLM that supports `use_activation` (0.11 or later).",
            )
        self._checked = True

    async def _score_pair(self, pair: Pair, *, use_activation: bool = False) -> Score:
        messages = [*asked_of(pair, self.rules), {"role": "assistant", "content": pair.output}]
        body = {"model": self.teacher.model, "messages": messages, "use_activation": use_activation}
        problem = ""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_PAUSE_S * 2**attempt)
            status, text = await self._post(orjson.dumps(body))
            if status == 200:
                return _read(text)
            assert self._reached is not None
            problem = f"/classify answered {status}: {self._reached.shown(text.decode(errors='replace'))[:200]}"
            if status in (401, 403, 404, 405):
                raise TeacherError(
                    f"{problem}.",
                    where=self._url,
                    fix="Start vLLM with `--runner pooling`, and check teacher.url, teacher.model and teacher.key_env.",
                )
            if status < 500 and status != 429:
                break
        return Score(None, Reason("crashed", problem))

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        import aiohttp

        assert self._reached is not None
        headers, params = {"Content-Type": "application/json", **self._reached.headers}, self._reached.query
        try:
            async with self.session.post(self._url, data=body, headers=headers, params=params) as response:
                return response.status, await response.read()
        except aiohttp.ClientConnectorError:
            raise Unreachable(
                "the server of the reward model does not answer.", where=self._url, fix="Start it, and run again."
            ) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            return 599, f"{type(error).__name__}: {error}".encode()


ServedReward = HostedReward | PoolingReward


async def open_served(project: Project, store: Store, stack: AsyncExitStack, say: Say) -> ServedReward | None:
    """Open the reward model that `curate.score.teacher` names until `stack` is closed; None without one."""
    settings, rules = project.spec.curate.score, rules_of(project)
    if settings.teacher is None:
        return None
    teacher = project.spec.teachers[settings.teacher]
    if settings.protocol == "chat":
        endpoint = await stack.enter_async_context(teachers.opened(teacher, say))
        ledger = Ledger(store, endpoint, teacher, stage=STAGE)
        stack.push_async_exit(ledger.settle_refusals)
        return HostedReward(ledger, rules)
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=teacher.timeout_s)
    session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, trust_env=True))

    async def start() -> ServerAccess:
        if teacher.url != "vllm":
            endpoint = await stack.enter_async_context(teachers.opened(teacher, say))
            key, more, query = await endpoint.access()
            headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **more}
            return ServerAccess(endpoint.url, headers, query, endpoint.shown)
        from synth.local_vllm import key_header

        server = await stack.enter_async_context(teachers.run_own_vllm(teacher, say, "--runner", "pooling"))
        return ServerAccess(server.base_url, key_header())

    return PoolingReward(teacher, rules, session, start)


def _read(text: bytes) -> Score:
    try:
        (row,) = orjson.loads(text)["data"]
        (value,) = row["probs"]
        return score_of_logit(float(value))
    except (ValueError, KeyError, TypeError):
        sentence = f"/classify returned {text[:200].decode(errors='replace')!r}, not one number"
        return Score(None, Reason("nan", sentence))
