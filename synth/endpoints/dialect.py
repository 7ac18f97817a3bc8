"""The dialect of one server: which parts of a chat-completions request it accepts, learnt from its refusals."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from prompts.answer_schema import is_closed
from schemas.records import Json, Message, Sampling
from synth.chat.completions import Answer, RefusedError
from synth.chat.error_words import error_body
from synth.chat.http_status import says_itself

_LOGPROBS = ("logprobs", "top_logprobs")
_STREAM: Json = {"stream": True, "stream_options": {"include_usage": True}}
_DIALECT_SETTINGS = ("n", *_STREAM)
_ONLY_STREAMS = re.compile(
    r"only.{0,20}\bstream|non-?stream.{0,40}(not (supported|allowed|available)|unsupported|disabled)"
    r"|\bstream\w*.{0,40}(required|must be|should be true|set to true)|must.{0,20}\bstream|for non-?streaming"
    r"|\bstream\W{0,4}false\b.{0,40}(not (supported|allowed)|unsupported)",
    re.IGNORECASE,
)

_OTHER_NAME = re.compile("max_completion_tokens")

# vLLM with some templates such as Gemma's, Gemini's endpoint for Gemma, OpenAI's first reasoning models, MiniMax.
_NO_SYSTEM = re.compile(
    r"\bsystem\W{0,3} (role|message|prompt|instruction)s?\W{0,3} (is |are )?not (supported|enabled|allowed)"
    r"|developer instruction is not enabled|does ?n[o']t support (the )?\W?system\b|invalid message role\W{1,3}system\b"
    r"|only user\W{0,3} and \W{0,3}assistant|roles must alternate",  # templates without a system role say this too
    re.IGNORECASE,
)


class Dialect:
    """Adapts requests to what a server accepts.

    Some servers refuse n > 1, or above a limit of theirs, with varying messages; newer OpenAI models accept only
    `max_completion_tokens`; some accept no schema, return no logprobs, or have no system role. The adaptations do not
    change the question, and answers are judged by their schema in any case.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self.takes_schema = self.gives_logprobs = True
        self._max_n = sys.maxsize
        self._n_worked = False
        self._n_refused = 0
        self._schema_worked, self._schema_refused = False, 0
        self._streams, self._stream = False, dict(_STREAM)
        self._has_system, self._system_worked = True, False
        self._renames_max_tokens = False

    def body(self, messages: Sequence[Message], sampling: Sampling, n: int, schema: Json | None) -> Json:
        """A request body in the form that this server accepts, as far as is known."""
        body: Json = {**sampling.body(), "model": self._model, "messages": [message.sent for message in messages]}
        if not self._has_system:
            body["messages"] = without_system(body["messages"])
        if self._renames_max_tokens and "max_tokens" in body:
            _rename_max_tokens(body)
        if n > 1 and self._max_n > 1:
            body["n"] = min(n, self._max_n)
        if not self.gives_logprobs:
            _drop(body, _LOGPROBS)
        if self._streams:
            body |= self._stream
        if schema is not None and self.takes_schema:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": is_closed(schema)},
            }
        return body

    def omit(self, setting: str) -> bool:
        """Whether a refused setting can be omitted; if so, it is omitted from now on."""
        if setting == "response_format":
            self.takes_schema = False
        elif setting in _LOGPROBS:
            self.gives_logprobs = False
        elif setting == "stream_options":  # without it the server reports no token counts
            self._stream = {"stream": True}
        else:
            return False
        return True

    def adapt(self, body: Json, refusal: RefusedError) -> bool:
        """Change a refused request in place into an equivalent one that this server may accept; False if there is
        none."""
        if not self.takes_schema and _drop(body, ("response_format",)):
            return True
        if not self.gives_logprobs and _drop(body, _LOGPROBS):
            return True
        if "stream_options" not in self._stream and _drop(body, ("stream_options",)):
            return True
        # Words that the row contains as well may be quoted: they change this request and no other.
        if "max_tokens" in body and _OTHER_NAME.search(str(refusal)):
            self._renames_max_tokens = self._renames_max_tokens or says_itself(_OTHER_NAME, str(refusal), body)
            _rename_max_tokens(body)
            return True
        turns = without_system(body["messages"])
        # The roles must be correct otherwise: one odd conversation is no reason to change all other requests.
        alternating = all(turn["role"] == ("user", "assistant")[number % 2] for number, turn in enumerate(turns))
        # Once a system text was accepted, a refusal with such words only quotes its row.
        refused = not self._system_worked and _NO_SYSTEM.search(str(refusal))
        if turns != body["messages"] and alternating and (refused or not self._has_system):
            self._has_system, body["messages"] = False, turns
            return True
        if "stream" not in body and _ONLY_STREAMS.search(str(refusal)):
            self._streams = self._streams or says_itself(_ONLY_STREAMS, str(refusal), body)
            body |= self._stream
            return True
        if (asked := body.pop("n", None)) is not None:
            if asked > self._max_n or _concerns_n(refusal, by_words=not self._n_worked):
                self._max_n = min(self._max_n, _named_limit(refusal, asked))
                body |= {"n": self._max_n} if self._max_n > 1 else {}
            return True
        # Whatever the message: a request refused with a schema may be accepted without, if the status blames the
        # request (400, 422), and not, for example, its length or content.
        return not self._schema_worked and refusal.status in (400, 422) and _drop(body, ("response_format",))

    def adapt_once(self, body: Json, refusal: RefusedError) -> bool:
        """`adapt` a line of a batch, where each refusal costs a day: `n` is left out, as a smaller one may be refused
        too."""
        n, is_adapted = body.get("n"), self.adapt(body, refusal)
        if body.get("n") != n:
            body.pop("n", None)
        return is_adapted

    def learn(self, body: Json, answer: Answer, *, n: int, schema: bool) -> None:
        """Omit `n` or the schema from now on if the server refuses it.

        That is the case if it said so; or if it has never returned several choices (or never answered with a schema)
        and has twice accepted without the setting a request that it refused with it. A single refusal may have had any
        cause.
        """
        self._system_worked = self._system_worked or body["messages"][0]["role"] == "system"
        if n > 1 and "n" in body:
            self._n_worked = self._n_worked or len(answer.choices) > 1
        elif n > 1 and not self._n_worked:
            self._n_refused += 1
            self._max_n = 1 if self._n_refused > 1 else self._max_n
        if schema and "response_format" in body:
            self._schema_worked = True
        elif schema and not self._schema_worked:
            self._schema_refused += 1
            self.takes_schema = self.takes_schema and self._schema_refused < 2


def _rename_max_tokens(body: Json) -> None:
    """Rename the setting, unless `extra` already sets the new name."""
    body.setdefault("max_completion_tokens", body.pop("max_tokens"))


def without_system(messages: list[Json]) -> list[Json]:
    """The messages with a leading system text moved to the start of the user's first turn, for models without that
    role."""
    if [turn.get("role") for turn in messages[:2]] != ["system", "user"]:
        return messages
    system, user, *rest = messages
    return [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *rest]


def undone(sent: Json, original: Json) -> Json:
    """A request as sent, without the adaptations of a dialect to the `original` request; other differences remain."""
    plain = {name: value for name, value in sent.items() if name not in _DIALECT_SETTINGS}
    if "max_completion_tokens" in plain and "max_completion_tokens" not in original:
        plain["max_tokens"] = plain.pop("max_completion_tokens")
    if plain.get("messages") == without_system(original["messages"]):
        plain["messages"] = original["messages"]
    if _schema_of(plain) == _schema_of(original):  # ignoring `strict`, which differs between versions and servers
        plain.pop("response_format", None)
    return {name: original[name] for name in ("response_format", *_LOGPROBS) if name in original} | plain


def _schema_of(request: Json) -> object:
    form = request.get("response_format")
    named = form.get("json_schema") if isinstance(form, dict) else None
    return named.get("schema") if isinstance(named, dict) else form


def _drop(body: Json, names: Sequence[str]) -> bool:
    """Remove settings from a request; whether it had any of them."""
    dropped = [body.pop(name, None) for name in names]
    return any(value is not None for value in dropped)


def _message(refusal: RefusedError) -> tuple[str, Json]:
    _, error = error_body(refusal.answer.body.encode())
    return str(error.get("message") or refusal), error


def _concerns_n(refusal: RefusedError, *, by_words: bool) -> bool:
    """Whether a refusal concerns the setting `n`: in `param`, or as a separate word, which may be one of the row."""
    message, error = _message(refusal)
    return error.get("param") == "n" or (by_words and re.search(r"(?<![\w\\])n(?!\w)", message) is not None)


def _named_limit(refusal: RefusedError, asked: int) -> int:
    """The highest `n` to try after a refusal of `asked`: the largest smaller number that the message names ("only n = 1
    is allowed", "Range of n should be [1, 4]"), else half."""
    numbers = (int(number) for number in re.findall(r"(?<!\w)\d{1,3}(?!\w)", _message(refusal)[0]))
    return max((number for number in numbers if 0 < number < asked), default=asked // 2)
