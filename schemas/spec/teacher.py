"""`[teacher]`: the model that generates the answers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas import secret_names
from schemas.records import FinishMeaning
from schemas.spec.section import EnvName, EnvNameIfAny, Section, later


def _complete_if_listed(value: Any) -> Any:
    """Accept a plain list of finish reasons, each of which means a complete answer."""
    is_listed = isinstance(value, list | tuple) and all(isinstance(reason, str) for reason in value)
    return dict.fromkeys(value, "complete") if is_listed else value


def _check_divisible(url: str) -> str:
    try:
        urlsplit(url)  # whether it can be used is checked before it is
    except ValueError:
        raise ValueError("is not the address of an endpoint: write http:// or https:// and a host") from None
    return url


FinishReasons = Annotated[dict[str, FinishMeaning], BeforeValidator(_complete_if_listed)]


_Address = Annotated[str, AfterValidator(_check_divisible)]
BatchForm = Literal["openai", "mistral", "together", "anthropic", "gemini"]
"""The provider whose batch API format is used."""
_BATCH_HOSTS: dict[str, BatchForm | None] = {
    "api.mistral.ai": "mistral",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gemini",
    "api.x.ai": None,  # accepts OpenAI's files but answers in its own format
    "api.fireworks.ai": None,
}


def _without_secrets(what: str, secret: re.Pattern[str], instead: str) -> AfterValidator:
    """Validate a table whose names must not denote secrets, because the spec is copied into exports."""

    def check(values: dict[str, str]) -> dict[str, str]:
        for name in values:
            if secret.search(name):
                raise ValueError(
                    f"the {what} '{name}' may hold a secret: put the name of an environment variable into "
                    f"teacher.{instead} instead"
                )
        return values

    return AfterValidator(check)


Headers = Annotated[dict[str, str], _without_secrets("header", secret_names.ANYWHERE, "headers_env")]
Query = Annotated[dict[str, str], _without_secrets("query", secret_names.AT_END, "query_env")]


class TeacherSettings(Section):
    """An OpenAI-compatible endpoint, or `embedded`. `key_env` is the name of an environment variable, never a key.

    `headers` are sent with every request, as are those of `headers_env`, whose values come from environment variables.
    `query` is added to every URL, and so is `query_env`, again with values from variables. `timeout_s` is for a whole
    answer; it grows by `token_s` for every token that the answer may have. `first_byte_s` limits the wait for the first
    byte.

    `identity` names the teacher in call keys; the default is the model's name, so that another port or replica of the
    same model is still a hit. `attempts` is how many answers are requested for one sample before it is given up.
    `retries` is how often a request without an answer (429, 5xx, broken connection) is sent again. `finish_reasons`
    explains finish reasons of this server that pairsmith does not know: `["done"]` or `{ done = "complete", cut =
    "truncated" }`. `urls` are the addresses of several servers of the same model. `batch` uses the provider's batch
    API, whose format follows from the address or `batch_api`. `terms` names the terms of use that apply to the
    teacher's outputs, as declared by the user. `vllm` names a model to be served by a vLLM that pairsmith starts while
    it is needed (`url = "vllm"`).
    """

    url: _Address = "embedded"
    urls: tuple[_Address, ...] = ()
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
    terms: str | None = later(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_url_and_model(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        urls = values.get("urls")
        if urls and isinstance(urls, list | tuple):
            values = {"url": urls[0], **values}
        if values.get("vllm"):
            if values.get("url", "vllm") != "vllm":
                raise ValueError("'vllm' starts a server and 'url' names another one; remove one of them")
            values = {"url": "vllm", "model": values["vllm"], **values}
        return values

    @property
    def known_as(self) -> str:
        """Its name in call keys and receipts: `identity`, or else the model's."""
        return self.identity or self.model

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of its servers: `url` and the others in `urls`."""
        return (self.url,) if self.url in ("embedded", "vllm") else tuple(dict.fromkeys((self.url, *self.urls)))

    @property
    def batch_format(self) -> BatchForm | None:
        """The format of its batch API: `batch_api`, or the one known for its host, otherwise OpenAI's; None if its host
        is known to have an unsupported format."""
        host = f".{urlsplit(self.url).hostname or ''}"  # a regional host has the region as a prefix
        known = (form for name, form in _BATCH_HOSTS.items() if host.endswith(f".{name}"))
        return self.batch_api or next(known, "openai")
