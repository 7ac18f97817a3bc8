"""The dialect of one server: what of a chat-completions request it takes, learnt from what it refuses."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prompts.answer_schema import is_closed
from schemas.records import Json, Message, Sampling
from synth.chat_completions import Answer, RefusedError
from synth.error_words import error_body

_LOGPROBS = ("logprobs", "top_logprobs")
_STREAM: Json = {"stream": True, "stream_options": {"include_usage": True}}
_OF_A_DIALECT = ("n", *_STREAM)
_ONLY_STREAMS = re.compile(
    r"only.{0,20}\bstream|non-?stream.{0,40}(not (supported|allowed|available)|unsupported|disabled)"
    r"|\bstream\w*.{0,40}(required|must be|should be true|set to true)|must.{0,20}\bstream|for non-?streaming"
    r"|\bstream\W{0,4}false\b.{0,40}(not (supported|allowed)|unsupported)",
    re.IGNORECASE,
)

# vLLM with Gemma's template and others, Gemini's endpoint for Gemma, OpenAI's first reasoning models, MiniMax.
_NO_SYSTEM = re.compile(
    r"\bsystem\W{0,3} (role|message|prompt|instruction)s?\W{0,3} (is |are )?not (supported|enabled|allowed)"
    r"|developer instruction is not enabled|does ?n[o']t support (the )?\W?system\b|invalid message role\W{1,3}system\b"
    r"|only user\W{0,3} and \W{0,3}assistant|roles must alternate",  # so do templates without one
    re.IGNORECASE,
)


class Dialect:
    """Some servers refuse n > 1, in whichever words, newer OpenAI models take `max_completion_tokens` only, some take
    no schema, some give no logprobs, and some know no system role: none of it changes what is asked, and an answer is
    judged by its schema all the same."""

    def __init__(self, model: str) -> None:
        self._model = model
        self.takes_schema = self.gives_logprobs = True
        self._takes_n = True
        self._n_worked = False
        self._n_refused = 0
        self._schema_worked, self._schema_refused = False, 0
        self._streams, self._stream = False, dict(_STREAM)
        self._has_system, self._system_worked = True, False
        self._renames_max_tokens = False

    def body(self, messages: Sequence[Message], sampling: Sampling, n: int, schema: Json | None) -> Json:
        """A request as this server takes it, as far as is known."""
        body: Json = {
            **sampling.body(),
            "model": self._model,
            "messages": [message.sent for message in messages],
        }
        if not self._has_system:
            body["messages"] = without_system(body["messages"])
        if self._renames_max_tokens and "max_tokens" in body:
            _rename_max_tokens(body)
        if n > 1 and self._takes_n:
            body["n"] = n
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

    def goes_without(self, setting: str) -> bool:
        """Whether a refused setting can be left out, as it is from now on."""
        if setting == "response_format":
            self.takes_schema = False
        elif setting in _LOGPROBS:
            self.gives_logprobs = False
        elif setting == "stream_options":  # without which nobody counts the tokens
            self._stream = {"stream": True}
        else:
            return False
        return True

    def adapt(self, body: Json, refusal: RefusedError) -> bool:
        """Change a refused request into an equal one that this server may take; False if there is none."""
        if not self.takes_schema and _drop(body, ("response_format",)):
            return True
        if not self.gives_logprobs and _drop(body, _LOGPROBS):
            return True
        if "stream_options" not in self._stream and _drop(body, ("stream_options",)):
            return True
        if "max_tokens" in body and "max_completion_tokens" in str(refusal):
            self._renames_max_tokens = True
            _rename_max_tokens(body)
            return True
        turns = without_system(body["messages"])
        # Nothing else may be wrong with them: one odd conversation is no reason to ask all others in another way.
        in_turn = all(turn["role"] == ("user", "assistant")[number % 2] for number, turn in enumerate(turns))
        # Nor is a refusal that quotes its row, once a system text was taken.
        refused = not self._system_worked and _NO_SYSTEM.search(str(refusal))
        if turns != body["messages"] and in_turn and (refused or not self._has_system):
            self._has_system, body["messages"] = False, turns
            return True
        if "stream" not in body and _ONLY_STREAMS.search(str(refusal)):
            self._streams = True
            body |= self._stream
            return True
        if _is_about_n(refusal) and "n" in body:
            self._takes_n = False
        if body.pop("n", None) is not None:
            return True
        # Whatever words it has for it: what is refused with a schema may be taken without, if the request is at fault,
        # and not, say, too long or moderated.
        return not self._schema_worked and refusal.status in (400, 422) and _drop(body, ("response_format",))

    def learn(self, body: Json, answer: Answer, *, n: int, schema: bool) -> None:
        """Leave `n` or the schema out from now on if the server refuses it: it said so, or it has never given several
        choices (an answer to a schema) and has twice taken without what it refused with it. One refusal may have had
        any other cause."""
        self._system_worked = self._system_worked or body["messages"][0]["role"] == "system"
        if n > 1 and "n" in body:
            self._n_worked = self._n_worked or len(answer.choices) > 1
        elif n > 1 and not self._n_worked:
            self._n_refused += 1
            self._takes_n = self._takes_n and self._n_refused < 2
        if schema and "response_format" in body:
            self._schema_worked = True
        elif schema and not self._schema_worked:
            self._schema_refused += 1
            self.takes_schema = self.takes_schema and self._schema_refused < 2


def _rename_max_tokens(body: Json) -> None:
    """What `extra` sets by the new name stands."""
    body.setdefault("max_completion_tokens", body.pop("max_tokens"))


def without_system(messages: list[Json]) -> list[Json]:
    """The same with a leading system text in front of the user's first turn, where models without that role have it."""
    if [turn.get("role") for turn in messages[:2]] != ["system", "user"]:
        return messages
    system, user, *rest = messages
    return [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *rest]


def undone(sent: Json, asked: Json) -> Json:
    """A request as it was sent, without what a dialect made of the one that was `asked`; what else differs, stays."""
    plain = {name: value for name, value in sent.items() if name not in _OF_A_DIALECT}
    if "max_completion_tokens" in plain and "max_completion_tokens" not in asked:
        plain["max_tokens"] = plain.pop("max_completion_tokens")
    if plain.get("messages") == without_system(asked["messages"]):
        plain["messages"] = asked["messages"]
    if _schema_of(plain) == _schema_of(asked):  # strict or not, as versions and servers differ
        plain.pop("response_format", None)
    return {name: asked[name] for name in ("response_format", *_LOGPROBS) if name in asked} | plain


def _schema_of(request: Json) -> object:
    form = request.get("response_format")
    named = form.get("json_schema") if isinstance(form, dict) else None
    return named.get("schema") if isinstance(named, dict) else form


def _drop(body: Json, names: Sequence[str]) -> bool:
    """Take settings out of a request; whether it had one of them."""
    dropped = [body.pop(name, None) for name in names]
    return any(value is not None for value in dropped)


def _is_about_n(refusal: RefusedError) -> bool:
    """Whether a refusal speaks of the setting `n`: in `param`, or as a word of its own."""
    _, error = error_body(refusal.answer.body.encode())
    message = str(error.get("message") or refusal)
    return error.get("param") == "n" or re.search(r"(?<![\w\\])n(?!\w)", message) is not None
