"""The OpenAI chat-completions protocol as servers implement it in practice: addresses, answers, kinds of failures."""

from __future__ import annotations

import codecs
import itertools
import json
import os
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import orjson
from yarl import URL

from schemas.errors import AuthError, SpecError, TeacherError
from schemas.records import Json, Usage
from synth.chat.error_in_answer import error_status
from synth.chat.error_words import error_body, is_success
from synth.chat.http_status import says_itself
from synth.chat.redaction import without_user_info
from synth.chat.streamed_answer import assemble_stream
from synth.chat.usage import cache_hit, charged, parse_usage, with_cost_header

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_PROCESS, _NUMBER = os.urandom(8).hex(), itertools.count(1)
_MAX_ID = 200
MAX_ANSWER_BYTES = 2**27  # of an answer; a longer one never ends, or was compressed to exhaust the memory
_MAX_LAYERS = 3  # of compression; some inputs decompress to themselves
_MAX_FACT_DEPTH = 6
# English prose has about 4.5 characters per token, 5 with the largest vocabularies, other languages fewer; a short list
# of long words has more.
_MAX_CHARACTERS_PER_TOKEN, _MAX_CHARACTERS_LONG, _LONG_TEXT, _SMALLEST_CONTEXT = 8, 6, 1024, 256
_CONTROL = re.compile(r"\x1b\[[\d;]*m|[\0-\x1f\x7f-\x9f]")
_REPEATED = re.compile(r"(\s)\s+|([\W_])\2+")
# Facts that cannot be obtained later: the snapshot, backend, provider and tier that answered, and its token counts.
CACHE = "gateway_cache"  # ours: what a gateway says of its cache
_FACTS = ("model", "system_fingerprint", "provider", "service_tier", "usage", CACHE)
_CHOICE_KEYS = frozenset(("message", "finish_reason", "body"))
_MAX_DEPTH = 64  # of lists and objects in a choice; readers of the store give up at about 200
# Statuses with which a gateway reports that it does not know what became of the request or, with a 202, that the answer
# is to be fetched later (NVIDIA's hosted functions).
LOST_BY_A_GATEWAY = (202, 408, 499, 502, 504, 520, 522, 524)
_CHARSET = re.compile(r"charset=[\"']?(?!utf-?8)([\w.:-]+)", re.IGNORECASE)
_LATIN_1 = ("iso8859-1", "ascii")  # as Python names them; on the web they mean Windows' encoding
_VERSION_SEGMENT = re.compile(r"v\d+\w*", re.IGNORECASE)


class UnansweredError(Exception):
    """No answer came, although the request was retried `retries` times; the row fails. `word` is the first word of the
    reason, `may_be_paid` whether the server may still have done the work and charge for it."""

    word = "unanswered"
    may_be_paid = False

    def __init__(self, what: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{self.word}: {what}")
        self.what, self.retry_after_s = what, retry_after_s


class ThrottledError(UnansweredError):
    """HTTP 429: too many requests."""

    word = "throttled"


class ServerFaultError(UnansweredError):
    """HTTP 5xx, and temporary 4xx."""

    word = "server"


class LostError(ServerFaultError):
    """A gateway lost the request, or the server gave up waiting for it."""

    may_be_paid = True


class UnconfirmedError(ServerFaultError):
    """A refusal after answers, of a kind that gateways also send by mistake, or a response that cannot be read: sent
    again, and `verdict` if it persists."""

    def __init__(self, what: str, retry_after_s: float | None, verdict: Exception) -> None:
        super().__init__(what, retry_after_s)
        self.verdict, self.of_key = verdict, isinstance(verdict, AuthError)
        self.may_be_paid = isinstance(verdict, UnreadableError)


class RefusedHereError(ServerFaultError):
    """One of several addresses refuses this request: another one decides whether the request itself is at fault."""

    word = "refused"


class BrokenError(UnansweredError):
    """The connection could not be made, or was cut before the answer was complete."""

    word = "broken"
    may_be_paid = True


class NotConnectedError(BrokenError):
    """No connection could be made, so nothing was sent."""

    may_be_paid = False


class NoProxyError(NotConnectedError):
    """The proxy that the environment sets cannot be reached."""


class TimedOutError(UnansweredError):
    """The request was sent and its answer did not arrive in time. It may have been charged for."""

    word = "timeout"
    may_be_paid = True


class UnreadableError(TeacherError):
    """The answers are compressed in a way that cannot be read here, so no other one is bought."""

    may_be_paid = True

    def __init__(self, encoding: str, package: str, where: str) -> None:
        super().__init__(
            f"The answers are compressed as '{encoding}', which was not asked for and cannot be read here.",
            where=where,
            why="Every further answer would be paid for and lost.",
            fix=f"Switch this compression off at the server or the gateway in front of it, or install the package that "
            f"reads it where pairsmith is installed: pip install {package}.",
        )


class StoppedError(Exception):
    """The run is stopping, so this request was not sent (again). Not a failure of the row, which remains undecided."""


class Answer(NamedTuple):
    """The result of a request. `choices` are as the endpoint sent them, ordered by their `index`.

    An empty `choices` means a malformed answer, whose text is in `body`. `usage` is None if the endpoint does not
    report it. `facts` are further facts that it reports about the answer, `usd` the amount that it reports to have
    charged. `reserved` is what the meter recorded before the request was sent. `url` is the address that answered, if
    it is not the first of several.
    """

    choices: list[Any]
    usage: Usage | None
    seconds: float
    request_id: str
    model: str | None
    request: Json
    body: str = ""
    facts: Json | None = None
    url: str = ""
    usd: float | None = None
    reserved: Any = None


class RefusedError(Exception):
    """The endpoint refuses this request: too long, filtered, moderated. `answer` holds the response, `status` its HTTP
    status."""

    def __init__(self, message: str, answer: Answer, status: int) -> None:
        super().__init__(f"refused: {message}")
        self.answer, self.status = answer, status


def base_url(url: str) -> str:
    """`url` as a base for `/chat/completions`: without a trailing slash, ending in the API's version.

    `http://host`, `http://host/`, `http://host/v1` and `http://host/v1/chat/completions` all become `http://host/v1`. A
    path that already contains a version segment (`/api/v1`, `/v1beta/openai`), or that is complete
    (`/inference/chat/completions`), is kept; `/v1` is appended to any other path. Raises SpecError for anything but a
    plain http(s) address. A password or a query, other than Azure's `api-version`, is rejected because the address is
    written to the store.
    """
    where = "teacher.url"
    try:
        parts = urlsplit(url.strip())
        URL(url.strip())  # raises for an invalid port or host
        possible = parts.scheme in ("http", "https") and bool((parts.hostname or "").encode("idna"))
    except ValueError:
        possible = False
    if not possible:
        raise SpecError(
            f"'{without_user_info(url)}' is not the address of an endpoint.",
            where=where,
            fix="Write http:// or https://, a host and, if needed, a port of at most 65535, for example"
            " http://localhost:8000/v1; or use 'embedded'.",
        )
    if parts.username or parts.password or parts.fragment or (parts.query and not query_of(url)):
        raise SpecError(
            "The endpoint's address contains a user, a query or a fragment.",
            where=where,
            why="It would be written to the store and to receipts, which must not contain secrets.",
            fix="Give the bare address. The key belongs in teacher.key_env and the rest of a query in teacher.query or,"
            " by the names of its variables, in teacher.query_env.",
        )
    original = parts.path.rstrip("/")
    path = original.removesuffix("/chat/completions").rstrip("/")
    if path == original and not any(_VERSION_SEGMENT.fullmatch(segment) for segment in path.split("/")):
        path += "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def query_of(url: str) -> dict[str, str]:
    """The query of an address if it is `api-version` alone (Azure); empty for any other, which may hold a secret."""
    query = dict(parse_qsl(urlsplit(url.strip()).query))
    return query if query.keys() == {"api-version"} else {}


def read_answer(
    content: bytes, seconds: float, request: Json, reserved: Any = None, headers: Mapping[str, str] = _NO_HEADERS
) -> Answer:
    """Parse a body of status 200, with the `headers` of its response; anything that is not a chat completion gives an
    answer without choices."""
    content = _as_utf8(content, headers)
    parsed = _parse(content)
    if not isinstance(parsed, dict):
        body = content.decode(errors="replace")
        return Answer([], None, seconds, new_request_id(None), None, request, body, reserved=reserved)
    request_id = new_request_id(parsed.get("id"))
    choices, model = _listed(parsed.get("choices")), parsed.get("model")
    counted = parsed.get("usage")
    if counted is None and isinstance(own := parsed.get("x_groq"), dict):  # in the last event of a stream
        counted = own.get("usage")
    parsed["usage"] = counted = with_cost_header(counted, headers, hit := cache_hit(headers))
    parsed[CACHE] = hit
    usage, usd = parse_usage(counted), charged(counted)
    model = model if isinstance(model, str) else None
    nested = content.count(b"[") + content.count(b"{")  # cheap upper bound of the nesting depth, nearly always enough
    shallow = nested <= _MAX_FACT_DEPTH
    facts = {
        name: value
        for name in _FACTS
        if (value := parsed.get(name)) and (shallow or not _is_deeper(value, _MAX_FACT_DEPTH))
    }
    if not isinstance(choices, list) or not any(map(_is_choice, choices)):
        body = content.decode(errors="replace")
        return Answer([], usage, seconds, request_id, model, request, body, facts, "", usd, reserved)
    if usage is not None and not usage.completion_tokens and any(map(_has_text, choices)):
        usage = None  # a text has tokens, so they were not counted
    if nested > _MAX_DEPTH:
        choices = [_limit_depth(choice, content) for choice in choices]
    error = parsed.get("error")
    parts = error.values() if isinstance(error, dict) else (error,)
    if any(part and not is_success(part) for part in parts):  # an error next to a partial answer
        choices = [{"error": error, **choice} if isinstance(choice, dict) else choice for choice in choices]
    if len(choices) > 1 and all(isinstance(c, dict) and isinstance(c.get("index"), int) for c in choices):
        choices.sort(key=lambda choice: choice["index"])
    return Answer(choices, usage, seconds, request_id, model, request, "", facts, "", usd, reserved)


def _as_utf8(content: bytes, headers: Mapping[str, str]) -> bytes:
    """The body, which may be in another encoding if its header says so. One that is UTF-8 stays, whatever it says."""
    declared = _CHARSET.search(headers.get("Content-Type", ""))
    if declared is None:
        return content
    with suppress(ValueError):
        content.decode()
        return content
    with suppress(LookupError, ValueError):
        name = codecs.lookup(declared[1]).name
        return content.decode("cp1252" if name in _LATIN_1 else name).encode()
    return content


def _listed(choices: Any) -> Any:
    """The choices as a list, also if a server sends its only one, or an object of all by their numbers."""
    if not isinstance(choices, dict):
        return choices
    several = choices.values()
    return list(several) if several and all(map(_is_choice, several)) else [choices]


def _is_choice(value: Any) -> bool:
    """Whether it contains any part of an answer; an error in place of a choice is not one."""
    return isinstance(value, dict) and not _CHOICE_KEYS.isdisjoint(value)


def _has_text(choice: Any) -> bool:
    """Whether its message holds anything that was generated: a text, reasoning, a call."""
    message = choice.get("message") if isinstance(choice, dict) else None
    return isinstance(message, dict) and any(
        value for name, value in message.items() if name != "role" and isinstance(value, str | list)
    )


def _parse(content: bytes) -> Any:
    """The body as JSON, None if it is not JSON.

    Anything that is not strict JSON (a byte order mark, UTF-16, NaN or Infinity in a logprob, half of a surrogate pair,
    a byte that is not UTF-8, what a gateway adds before or after the object) affects only the choice that contains it.
    A choice whose message is damaged is replaced by its raw text, which is malformed; damage elsewhere is kept as an
    escape.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    if (parsed := assemble_stream(content)) is None:
        try:
            text = content.decode(json.detect_encoding(content), errors="surrogateescape")
            start = max(0, text.find("{"))
            parsed, end = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            return None
        if "[" in text[:start] or "{" in text[end:]:  # it is one of several, which one is meant is unknown
            return None
    if not isinstance(parsed, dict) or _is_deeper(parsed, 2 * _MAX_DEPTH):
        return None
    choices = parsed.pop("choices", None)
    parsed = _escaped(parsed)
    if isinstance(choices, list):
        choices = [_escaped(choice) if _is_undamaged(choice) else _damaged_choice(choice) for choice in choices]
    return {**parsed, "choices": choices}


def _limit_depth(choice: Any, content: bytes) -> Any:
    """The choice, or, if it is nested too deeply to be stored, the body that contained it."""
    if not _is_deeper(choice, _MAX_DEPTH):
        return choice
    body = content.decode(errors="replace")
    return {"error": f"it is nested more than {_MAX_DEPTH} levels deep", "body": body}


def _is_deeper(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(part, levels - 1) for part in parts)


def _is_undamaged(choice: Any) -> bool:
    """Whether the text of its answer is undamaged, regardless of reasoning, annotations and logprobs."""
    message = choice.get("message") if isinstance(choice, dict) else choice
    text = message.get("content") if isinstance(message, dict) else message
    return bool(_escaped(text) == text)


def _damaged_choice(choice: Any) -> Json:
    index = {"index": choice["index"]} if isinstance(choice, dict) and isinstance(choice.get("index"), int) else {}
    damage = "a character of it is damaged (half of a surrogate pair, or bytes that are not UTF-8)"
    return {**index, "error": damage, "body": json.dumps(choice)}


def _escaped(value: Any) -> Any:
    """`value` with every character that UTF-8 cannot encode written as an escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    if isinstance(value, dict):
        return {_escaped(key): _escaped(part) for key, part in value.items()}
    return value


def new_request_id(response_id: Any) -> str:
    """An id that is unique whatever the endpoint sends, and contains the endpoint's own id for support requests."""
    local_id = f"{_PROCESS}-{next(_NUMBER)}"
    their_id = response_id.replace("\0", "")[:_MAX_ID] if isinstance(response_id, str) else ""  # PostgreSQL: no NUL
    return f"{local_id}/{their_id}" if their_id else local_id


def prompt_seems_cut(request: Json, prompt_tokens: int) -> bool:
    """Whether a server has read less than it was sent, as Ollama silently does beyond its context: no tokenizer makes
    so few tokens of so many characters. Repeated punctuation and whitespace counts once."""
    if prompt_tokens < _SMALLEST_CONTEXT:
        return False
    texts = [str(m.get("content")) for m in request.get("messages", ())]
    most = prompt_tokens * (_MAX_CHARACTERS_LONG if prompt_tokens >= _LONG_TEXT else _MAX_CHARACTERS_PER_TOKEN)
    return sum(map(len, texts)) > most and sum(len(_REPEATED.sub(r"\1\2", text)) for text in texts) > most


# A request that FastAPI rejects, which llama-cpp-python's server reports as a fault of its own.
_INVALID_REQUEST = re.compile(r"\A.{0,100}\b\d+ validation errors?:.{0,200}'loc': \('body'", re.DOTALL)


def effective_response(status: int, content: bytes, request: Json | None = None) -> tuple[int, bytes]:
    """The effective status of a response to `request`, and its body. An error inside a body of status 200 has its own
    status. A text that Groq generated and rejected because it violates the schema is an answer, although a bad one."""
    content = _decompress(content)
    if status == 200 or (200 < status < 300 and b'"choices"' in content):  # some frameworks answer a POST with 201
        return error_status(content, request) or 200, content
    if status == 500 and says_itself(_INVALID_REQUEST, content[:2000].decode(errors="replace"), request or {}):
        return 422, content
    if status == 400 and b'"failed_generation"' in content:
        _, error = error_body(content)
        if isinstance(text := error.get("failed_generation"), str):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "error", "message": message, "error": error.get("message")}
            return 200, orjson.dumps({"choices": [choice]})
    return status, content


def _decompress(content: bytes) -> bytes:
    """Undo compression that no header declares: `x-gzip`, or a gateway that compressed the body again. Returns it
    unchanged if it is cut off or grows beyond the size of any answer."""
    for _ in range(_MAX_LAYERS):
        if not content.startswith(b"\x1f\x8b"):
            break
        reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            plain = reader.decompress(content, MAX_ANSWER_BYTES)
        except zlib.error:
            break
        if not reader.eof:
            break
        content = plain
    return content


def one_line(text: str, limit: int = 300) -> str:
    """`text` on one line for use in a message, without terminal control sequences."""
    line = " ".join(_CONTROL.sub(" ", text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
