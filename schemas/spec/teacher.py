"""`[teacher]`: who answers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas import secret_names
from schemas.records import FinishMeaning
from schemas.spec.section import EnvName, EnvNameIfAny, Section


def _complete_if_listed(value: Any) -> Any:
    """A plain list of finish reasons says that each of them means a complete answer."""
    is_listed = isinstance(value, list | tuple) and all(isinstance(reason, str) for reason in value)
    return dict.fromkeys(value, "complete") if is_listed else value


FinishReasons = Annotated[dict[str, FinishMeaning], BeforeValidator(_complete_if_listed)]


BatchForm = Literal["openai", "mistral", "together", "anthropic", "gemini"]
"""Whose batch API a provider's is like."""
_BATCH_HOSTS: dict[str, BatchForm | None] = {
    "api.mistral.ai": "mistral",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gemini",
    "api.x.ai": None,  # it takes OpenAI's files, and answers in a form of its own
    "api.fireworks.ai": None,
}


def _without_secrets(what: str, secret: re.Pattern[str], instead: str) -> AfterValidator:
    """A table of names and values none of which may be a secret: the spec is copied beside what is exported."""

    def check(values: dict[str, str]) -> dict[str, str]:
        for name in values:
            if secret.search(name):
                raise ValueError(
                    f"the {what} '{name}' may hold a secret: name its variable in teacher.{instead} instead"
                )
        return values

    return AfterValidator(check)


Headers = Annotated[dict[str, str], _without_secrets("header", secret_names.ANYWHERE, "headers_env")]
Query = Annotated[dict[str, str], _without_secrets("query", secret_names.AT_END, "query_env")]


class TeacherSettings(Section):
    """An OpenAI-compatible endpoint, or `embedded`. `key_env` is the name of an environment variable, never a key.

    `headers` are sent with every request, those of `headers_env` with the value of a variable; `query` is added to
    every address, and so is `query_env`, with the values of variables. `timeout_s` is for a whole answer, and grows by
    `token_s` for every token that it may hold; `first_byte_s` is until the server sends anything.

    `identity` names the teacher in call keys; by default it is the model's name, so that another port or replica of the
    same model is still a hit. `attempts` is how many answers are asked for one sample before it is given up;
    `retries` is how often a request that brought no answer (429, 5xx, broken connection) is sent again.
    `finish_reasons` says what words of this server mean that pairsmith does not know: `["done"]` or
    `{ done = "complete", cut = "truncated" }`. `urls` are the addresses of several servers of the same model. `batch`
    asks through the provider's batch API, whose form is told by the address or by
    `batch_api`. `terms` names the terms of use of what it writes, as you read them. `vllm` names a model that a vLLM of
    pairsmith's own serves while it is asked (`url = "vllm"`).
    """

    url: str = "embedded"
    urls: tuple[str, ...] = ()
    vllm: str | None = None
    vllm_python: str | None = None
    vllm_args: tuple[str, ...] = ()
    model: str = "smollm2-135m-instruct"
    revision: str | None = None
    identity: str | None = None
    key_env: EnvNameIfAny = None
    organization: str | None = None
    headers: Headers = Field(default_factory=dict)
    headers_env: dict[str, EnvName] = Field(default_factory=dict)
    query: Query = Field(default_factory=dict)
    query_env: dict[str, EnvName] = Field(default_factory=dict)
    concurrency: int = Field(default=32, ge=1, le=4096)
    timeout_s: float = Field(default=120, gt=0)
    first_byte_s: float | None = Field(default=None, gt=0)
    token_s: float = Field(default=0, ge=0)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    attempts: int = Field(default=2, ge=1)
    retries: int = Field(default=5, ge=0)
    batch: bool = False
    batch_api: BatchForm | None = None
    finish_reasons: FinishReasons = Field(default_factory=dict)
    usd_per_million_prompt_tokens: float | None = Field(default=None, ge=0)
    usd_per_million_completion_tokens: float | None = Field(default=None, ge=0)
    usd_per_million_cached_tokens: float | None = Field(default=None, ge=0)
    terms: str | None = Field(default=None, min_length=1, exclude_if=lambda terms: terms is None)

    @model_validator(mode="before")
    @classmethod
    def _where_and_which(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        urls = values.get("urls")
        if urls and isinstance(urls, list | tuple):
            values = {"url": urls[0], **values}
        if values.get("vllm"):
            if values.get("url", "vllm") != "vllm":
                raise ValueError("vllm starts a server of its own, and url names another; take one of them out")
            values = {"url": "vllm", "model": values["vllm"], **values}
        return values

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it is asked: `url`, and the others of `urls`."""
        return (self.url,) if self.url in ("embedded", "vllm") else tuple(dict.fromkeys((self.url, *self.urls)))

    @property
    def batches_like(self) -> BatchForm | None:
        """Whose batch API its own is like: what `batch_api` says or its address is known for, else OpenAI's; None if it
        is like nobody's."""
        host = f".{urlsplit(self.url).hostname or ''}"  # that of a region has its name in front
        known = (form for name, form in _BATCH_HOSTS.items() if host.endswith(f".{name}"))
        return self.batch_api or next(known, "openai")
