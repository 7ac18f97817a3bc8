"""The request bodies that the embedded teacher accepts over HTTP, validated before any token is computed.

The bodies are those of OpenAI's chat completions, plus `top_k`, `repetition_penalty` and `no_repeat_ngram_size`
under the names that vLLM and transformers use, plus `/score`. A field that this server does not implement is refused by
name. Only its neutral value (such as `presence_penalty: 0`) is accepted, because some clients always send it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

DEFAULT_MAX_TOKENS = 512
"""The token limit of a choice if the request sets none (or the rest of the context window, if that is less)."""

# Values with no effect, for fields that this server does not implement.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "min_p": (None, 0),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None,),
    "presence_penalty": (None, 0),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "tool_choice": (None, "none"),
    "tools": (None, []),
}


# Fields for a provider's own bookkeeping, which do not affect an answer.
_IGNORED_FIELDS = frozenset({"metadata", "prompt_cache_key", "safety_identifier", "user"})


class RequestError(Exception):
    """A request that cannot be served. The response is `{"error": {...}}` in OpenAI's format, with this status."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status

    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class TextPart(_Body):
    type: Literal["text"]
    text: str


def _join_text_parts(content: Any) -> Any:
    """Join the text parts of a list of typed parts, which OpenAI allows; anything else is left to validation."""
    if not isinstance(content, list):
        return content
    return "".join(TextPart.model_validate(part).text for part in content)


def _without_lone_surrogates(text: str) -> str:
    """`text`, unless it contains a lone surrogate, which JSON can express but no tokenizer accepts."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("contains half of a surrogate pair, which is not a character")
    return text


# What clients send with a message, or send back from an answer, and its values that change no prompt.
_NEUTRAL_IN_MESSAGE: Mapping[str, tuple[Any, ...]] = {
    "annotations": (None, []),
    "audio": (None,),
    "function_call": (None,),
    "reasoning": (None,),
    "reasoning_content": (None,),
    "refusal": (None,),
    "tool_calls": (None, []),
}


class ChatMessage(_Body):
    """One message. Its `name` is ignored, because no chat template of a base shows it."""

    role: Annotated[
        Literal["system", "user", "assistant"],
        BeforeValidator(lambda role: "system" if role == "developer" else role),  # OpenAI's newer name
    ]
    content: Annotated[str, BeforeValidator(_join_text_parts), AfterValidator(_without_lone_surrogates)]

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, message: Any) -> Any:
        """Without fields that have no effect. An assistant message without content is an empty one."""
        if not isinstance(message, dict) or (message.keys() == {"role", "content"} and message["content"] is not None):
            return message
        kept = {
            name: value
            for name, value in message.items()
            if name != "name" and not any(value == neutral for neutral in _NEUTRAL_IN_MESSAGE.get(name, ()))
        }
        return kept | {"content": ""} if kept.get("role") == "assistant" and kept.get("content") is None else kept


class JsonSchema(_Body):
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(_Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_only_where_it_is_used(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("`json_schema` is required with type json_schema, and allowed only there")
        return self

    def schema_to_follow(self) -> dict[str, Any] | None:
        if self.json_schema is not None:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


class StreamOptions(_Body):
    include_usage: bool = False


class ChatRequest(_Body):
    """`POST /v1/chat/completions`. Defaults are OpenAI's; `top_k`, `repetition_penalty` and `no_repeat_ngram_size` are
    off unless sent, and the latter two consider generated tokens only."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    n: int = Field(1, ge=1, le=128)
    seed: int | None = None
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    response_format: ResponseFormat | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    repetition_penalty: float = Field(1.0, gt=0, le=10)
    no_repeat_ngram_size: int = Field(0, ge=0, le=64)

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("`top_logprobs` needs `logprobs: true`")
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise ValueError("`max_tokens` and `max_completion_tokens` disagree; send one of them")
        if len(self.stop_texts()) > 16 or "" in self.stop_texts():
            raise ValueError("`stop` takes at most 16 strings, none of them empty")
        return self

    def stop_texts(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def token_limit(self, prompt_tokens: int, context_tokens: int, default: int = DEFAULT_MAX_TOKENS) -> int:
        """The token limit of each choice: the one in the request, else `default`, and at most what the context window
        has left after the prompt.

        Raises RequestError if the prompt leaves no room.
        """
        left = context_tokens - prompt_tokens
        limit = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        if left < 1:
            raise RequestError(
                f"This model's context holds {context_tokens} tokens for prompt and answer together; the messages "
                f"alone take {prompt_tokens}.",
                param="messages",
                code="context_length_exceeded",
            )
        return min(left, default if limit is None else limit)


class ScoreRequest(_Body):
    """`POST /score`: asks how likely each completion is as the assistant's answer to `messages`."""

    model: str
    messages: list[ChatMessage]
    completions: list[str] = Field(min_length=1)


BodyT = TypeVar("BodyT", ChatRequest, ScoreRequest)


def parse_body(kind: type[BodyT], body: Any, defaults: Mapping[str, Any] | None = None) -> BodyT:
    """Validate a decoded JSON body; `defaults` fill in the fields that it does not set.

    Raises a RequestError that names the first invalid field.
    """
    if not isinstance(body, dict):
        raise RequestError("The body must be a JSON object.")
    known = kind.model_fields
    fields = dict(defaults or {})
    for name, value in body.items():
        if name in known:
            if value is not None or known[name].is_required():
                fields[name] = value
        elif name not in _IGNORED_FIELDS and not any(value == neutral for neutral in _NEUTRAL.get(name, ())):
            raise RequestError(
                f"`{name}` is not supported by this server, and is refused rather than ignored. "
                f"Supported: {', '.join(known)}.",
                param=name,
                code="unsupported_parameter",
            )
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        _refuse(error)


def _refuse(error: ValidationError) -> NoReturn:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    raise RequestError(f"{place}: {message}" if place else message, param=place or None, code="invalid_value")
