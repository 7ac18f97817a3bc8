"""A reward model behind an endpoint under `[teachers]`.

`classify`: vLLM started with `--runner pooling` (one of our own, `vllm = "M"`, is), POST /classify beside its /v1,
which applies the chat template itself. It puts a sigmoid over the logit unless told not to, and some versions do not
listen, so the first row is asked both ways. `chat`: a hosted model that answers a chat completion with `reward:-3.25`,
asked through the ledger, so paid once and under the budget; anything else that it says is no score.

Scores compare answers to one input and nothing else, as those of a local model.
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

from curate.rules import asked_of, rules_of
from curate.scorers import Score
from schemas.blocking import together
from schemas.errors import TeacherError, Unreachable
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Message, Pair, Reason, Sampling, content_id
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth import teachers
from synth.chat_completions import base_url
from synth.ledger import Completion, Ledger, Question

REWARD = "score/reward@1"
STAGE = "reward"
_REWARD = re.compile(r"\s*reward\s*:\s*(-?\d+(?:\.\d+)?)\s*", re.IGNORECASE)
_TRIES, _PAUSE_S = 4, 0.5
Start = Callable[[], Awaitable["Reached"]]
_SAME = 1e-3  # what 16-bit numbers may differ by


class Reached(NamedTuple):
    """A server that is asked: its address, the headers and the query of every request, and how its words are shown."""

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
        return await together(map(self._one, pairs))

    async def _one(self, pair: Pair) -> Score:
        chat = [*asked_of(pair, self.rules), {"role": "assistant", "content": pair.output}]
        messages = tuple(Message.model_validate(turn) for turn in chat)
        # The answer is one number; a cap needs an end to it.
        question = Question(messages, Sampling(max_tokens=16), prompt=STAGE)
        (answer,) = await self.ledger.answer(question)
        if not isinstance(answer, Completion):
            return Score(None, Reason("crashed", f"the reward model did not answer: {answer.reason}"))
        number = _REWARD.fullmatch(answer.text)
        if number is None:
            return Score(None, Reason("unreadable", f"the reward model answered {answer.text[:200]!r}"))
        return Score(float(number[1]), Reason("scored"))


@dataclass
class PoolingReward:
    """A reward model that a vLLM serves for pooling. `sent` counts requests; no money is reckoned for them. `start` is
    awaited before the first request."""

    teacher: TeacherSettings
    rules: str
    session: Any
    start: Start
    sent: int = 0
    _checked: bool = field(default=False, init=False)
    _reached: Reached | None = field(default=None, init=False)
    _url: str = field(default="", init=False)

    @property
    def fingerprint(self) -> str:
        named = self.teacher.identity or self.teacher.model
        return content_id("reward", [named, self.teacher.revision, self.rules, "classify"])

    async def score(self, pairs: Sequence[Pair]) -> list[Score]:
        """Raises TeacherError where the numbers are no raw logits, and Unreachable where nothing answers."""
        if pairs and self._reached is None:
            self._reached = await self.start()
            self._url = base_url(self._reached.url).removesuffix("/v1") + "/classify"
        if pairs and not self._checked:
            await self._check(pairs[0])
        limit = asyncio.Semaphore(self.teacher.concurrency)

        async def one(pair: Pair) -> Score:
            async with limit:
                return await self._one(pair)

        return await together(map(one, pairs))

    async def _check(self, pair: Pair) -> None:
        """One row with and without the sigmoid: they must differ as they should."""
        raw, squashed = await self._one(pair), await self._one(pair, use_activation=True)
        if raw.value is None or squashed.value is None:
            return  # the next batch is checked
        if abs(1 / (1 + math.exp(-max(-700.0, min(700.0, raw.value)))) - squashed.value) > _SAME * 10:
            raise TeacherError(
                f"{self.teacher.model} gives {raw.value:g} without the sigmoid and {squashed.value:g} with it.",
                where=self._url,
                why="One of the two is not what it says, so close candidates may look equal.",
                fix="Serve a model with one label by a vLLM that knows `use_activation` (0.11 or later).",
            )
        self._checked = True

    async def _one(self, pair: Pair, *, use_activation: bool = False) -> Score:
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
        self.sent += 1
        try:
            async with self.session.post(self._url, data=body, headers=headers, params=params) as response:
                return response.status, await response.read()
        except aiohttp.ClientConnectorError:
            raise Unreachable(
                "nothing answers where the reward model is served.", where=self._url, fix="Start it, and run again."
            ) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            return 599, f"{type(error).__name__}: {error}".encode()


ServedReward = HostedReward | PoolingReward


async def open_served(project: Project, store: Store, opened: AsyncExitStack, say: Say) -> ServedReward | None:
    """The reward model that `curate.score.teacher` names, for as long as `opened` is; None without one."""
    settings, rules = project.spec.curate.score, rules_of(project)
    if settings.teacher is None:
        return None
    teacher = project.spec.teachers[settings.teacher]
    if settings.protocol == "chat":
        endpoint = await opened.enter_async_context(teachers.opened(teacher, say))
        ledger = Ledger(store, endpoint, teacher, stage=STAGE)
        opened.push_async_exit(ledger.settle_refusals)
        return HostedReward(ledger, rules)
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=teacher.timeout_s)
    session = await opened.enter_async_context(aiohttp.ClientSession(timeout=timeout, trust_env=True))

    async def start() -> Reached:
        if teacher.url != "vllm":
            endpoint = await opened.enter_async_context(teachers.opened(teacher, say))
            key, more, query = await endpoint.access()
            headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **more}
            return Reached(endpoint.url, headers, query, endpoint.shown)
        from synth.local_vllm import key_header

        server = await opened.enter_async_context(teachers.own_vllm(teacher, say, "--runner", "pooling"))
        return Reached(server.base_url, key_header())

    return PoolingReward(teacher, rules, session, start)


def _read(text: bytes) -> Score:
    try:
        (row,) = orjson.loads(text)["data"]
        (value,) = row["probs"]
        number = float(value)
    except (ValueError, KeyError, TypeError):
        sentence = f"/classify gave {text[:200].decode(errors='replace')!r}, not one number"
        return Score(None, Reason("unreadable", sentence))
    if not math.isfinite(number):
        return Score(None, Reason("nan", f"the model's logit is {number}"))
    return Score(number, Reason("scored"))
