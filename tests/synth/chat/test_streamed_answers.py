"""Answers as events, or wrapped in ways that HTTP allows but few expect: they are read, or reported as what they
are."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.records import Json
from schemas.store import Store
from synth.answers import judged
from synth.chat.completions import Answer, effective_response, read_answer
from synth.ledger import Ledger, Question
from tests.synth.loopback import LoopbackTeacher, Reply
from tests.synth.test_ledger import PLAIN, chat, texts, with_ledger

USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
COUNTED: Json = {"choices": [], "usage": USAGE}
WHOLE: Json = {"choices": [{"finish_reason": "stop", "message": {"content": "a red dog"}}], "usage": USAGE}


def piece(content: Any, finish: str | None = None, **more: Any) -> Json:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish, **more}]}


def stream(*events: Json, end: str = "\n\n", field: str = "data: ", begins: bytes = b"") -> bytes:
    lines = [field + orjson.dumps(event).decode() for event in events]
    return begins + end.join((*lines, f"{field}[DONE]", "")).encode()


def read(content: bytes) -> Answer:
    status, content = effective_response(200, content)
    assert status == 200
    return read_answer(content, 0, {})


PIECES = (piece("a red "), piece("dog"), piece("", "stop"), COUNTED)
SPLIT = b'data: {"choices": [{"index": 0,\ndata: "delta": {"content": "a red dog"}, "finish_reason": "stop"}]}\n\n'
SHAPES = {
    "usage as Groq sends it": stream(*PIECES[:2], {**piece("", "stop"), "x_groq": {"id": "r", "usage": USAGE}}),
    "line ends of Windows": stream(*PIECES, end="\r\n\r\n"),
    "carriage returns alone": stream(*PIECES, end="\r\r"),
    "no blank behind the colon": stream(*PIECES, field="data:"),
    "no empty line between events": stream(*PIECES, end="\n"),
    "a byte order mark": stream(*PIECES, begins=b"\xef\xbb\xbf"),
    "how long to wait before connecting again": stream(*PIECES, begins=b"retry: 1000\n\n"),
    "pings and comments": stream(*PIECES, begins=b": PROCESSING\n\nevent: ping\ndata: {}\n\n"),
    "an event on several lines of data": SPLIT + stream(COUNTED),
    "no index": stream({"choices": [{"delta": {"content": "a red dog"}, "finish_reason": "stop"}]}, COUNTED),
    "an index that is null": stream(piece("a red dog", "stop", index=None), COUNTED),
    "an index that is a text": stream(piece("a red dog", "stop", index="0"), COUNTED),
    "an empty usage after the counts": stream(*PIECES, {"choices": [], "usage": {}}),
    "the whole message in one event": stream(WHOLE),
    "the whole message after its pieces": stream(piece("a red "), piece("dog"), WHOLE),
    "the message so far in each event": stream(
        *({"choices": [{"index": 0, "message": {"content": text}}]} for text in ("a", "a red")), WHOLE
    ),
    "a list of parts, then a text": stream(piece([{"type": "text", "text": "a red "}]), *PIECES[1:]),
    "a text, then a list of parts": stream(piece("a red "), piece([{"type": "text", "text": "dog"}]), *PIECES[2:]),
    "comments, then the answer as a whole": b": PROCESSING\n\n: PROCESSING\n\n" + orjson.dumps(WHOLE),
    "compressed, and no header says so": gzip.compress(stream(*PIECES)),
    "compressed twice": gzip.compress(gzip.compress(orjson.dumps(WHOLE))),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_stream_is_read_in_every_form_that_the_standard_allows(shape: str) -> None:
    """What was paid for becomes one complete answer with its token counts."""
    answer = read(SHAPES[shape])
    (choice,) = answer.choices
    assert judged(choice, None, {}, {}, 0)[:2] == ("ok", "a red dog")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


def test_reasoning_in_parts_is_kept_beside_the_text_that_follows() -> None:
    """Mistral streams reasoning as parts and the answer as text: neither replaces the other."""
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "a dog, then"}]}]
    (choice,) = read(stream(piece(thought), *PIECES)).choices
    assert judged(choice, None, {}, {}, 0)[:2] == ("ok", "a red dog")
    assert choice["message"]["content"][0] == thought[0], "it cannot be requested again"


@pytest.mark.parametrize(
    "end",
    [
        {"finish_reason": "stop", "native_finish_reason": "max_tokens"},
        {"finish_reason": "stop", "provider_specific_fields": {"native_finish_reason": "model_length"}},
    ],
)
def test_streamed_answer_keeps_the_finish_reason_of_the_provider(end: Json) -> None:
    """OpenRouter and LiteLLM call it a stop in a stream, too."""
    (choice,) = read(stream(piece("a red"), {"choices": [{"index": 0, "delta": {}, **end}]})).choices
    assert judged(choice, None, {}, {}, 0).status == "truncated"


@pytest.mark.parametrize(
    ("error", "status"),
    [({"code": 429, "message": "Rate limited"}, 429), ({"type": "overloaded_error", "message": "Overloaded"}, 429)],
)
def test_error_as_the_first_event_has_its_own_status(error: Json, status: int) -> None:
    """The status 200 was sent before the fault was known. The error is waited out as if it had its own status."""
    body = b"event: error\ndata: " + orjson.dumps({"error": error}) + b"\n\n"
    assert effective_response(200, body)[0] == status
    assert effective_response(200, stream(piece("a r"), {"error": error}))[0] == 200, "half an answer was paid for"


def test_truncated_compressed_body_is_no_answer() -> None:
    """It is neither read nor does it crash."""
    assert not read(gzip.compress(orjson.dumps(WHOLE))[:-9]).choices
    assert not read(b"\x1f\x8b").choices


@pytest.mark.slow
def test_decompression_bomb_is_left_as_received() -> None:
    """A few kilobytes that decompress to a gigabyte, and many nested layers, neither fill the memory nor block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(bytes(2**24)) for _ in range(64)) + packer.flush()
    assert effective_response(200, bomb) == (200, bomb)
    layers = orjson.dumps(WHOLE)
    for _ in range(9):
        layers = gzip.compress(layers)
    assert effective_response(200, layers)[1].startswith(b"\x1f\x8b")


@pytest.mark.parametrize("status", [201, 202, 203, 206])
def test_answer_is_accepted_with_any_success_status(status: int, tmp_path: Path) -> None:
    """Web frameworks answer a POST with 201 by default: the answer was paid for all the same."""
    with LoopbackTeacher(lambda ask: Reply(status=status, body=orjson.dumps(WHOLE))) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("one"), PLAIN))) == ["a red dog"]

        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 1


def test_long_headers_and_many_of_them_cost_no_answer(tmp_path: Path) -> None:
    """A gateway's content security policy is longer than aiohttp's default limit."""
    headers = {"Content-Security-Policy": "x" * 20_000, **{f"X-Own-{n}": "1" for n in range(200)}}
    with LoopbackTeacher(lambda ask: Reply(body=orjson.dumps(WHOLE), headers=headers)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("one"), PLAIN))) == ["a red dog"]

        with_ledger(teacher, tmp_path, ask)
        assert len(teacher.asked) == 1


BEGINS: Json = {"choices": [{"index": 0, "delta": {"content": "a red "}}]}
ENDS: Json = {"choices": [{"index": 0, "delta": {"content": " in the sun"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "damaged",
    [b'{"choices": [{"index": 0, "delta": {"content": "do', b'{"choices": [{"index": 0, "delta": {"content": "dog"}}]'],
)
def test_stream_with_a_damaged_event_is_no_answer(damaged: bytes) -> None:
    """If an event in the middle is cut although the stream continues to its end, the text without it would pass as
    complete. Damage after the end, e.g. in the token counts, costs nothing."""
    begins, ends = (b"data: " + orjson.dumps(event) + b"\n\n" for event in (BEGINS, ENDS))
    (holed,) = read_answer(begins + b"data: " + damaged + b"\n\n" + ends, 0, {}).choices
    assert judged(holed, None, {}, {}, 0).status == "failed"
    (whole,) = read_answer(begins + ends + b"data: " + damaged, 0, {}).choices
    assert judged(whole, None, {}, {}, 0)[:2] == ("ok", "a red  in the sun")


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        (b'"delta": {"content": "\\ud83d"}', b'"delta": {"content": "\\ude00"}', "a red \U0001f600 in the sun"),
        (
            b'"logprobs": {"content": [{"logprob": NaN}]}, "delta": {"content": "do"}',
            b'"delta": {"content": "g"}',
            "a red dog in the sun",
        ),
    ],
)
def test_events_that_are_not_strict_json_are_used(one: bytes, other: bytes, text: str) -> None:
    """A character whose halves come in two events, as gateways that count in UTF-16 send it, and NaN in a probability:
    such events used to be skipped, and the text came without them."""
    pieces = [b'{"choices": [{"index": 0, ' + piece + b"}]}" for piece in (one, other)]
    events = [orjson.dumps(BEGINS), *pieces, orjson.dumps(ENDS)]
    (whole,) = read_answer(b"".join(b"data: " + event + b"\n\n" for event in events), 0, {}).choices
    assert judged(whole, None, {}, {}, 0)[:2] == ("ok", text)


@pytest.mark.parametrize("half", [b"\\ud83d", b"\xff"])
def test_half_a_character_in_a_stream_fails_its_choice(half: bytes) -> None:
    """As in an answer that was not streamed, the choice is malformed, and does not reach any file or database."""
    piece = b'{"choices": [{"index": 0, "delta": {"content": "' + half + b'"}}]}'
    events = [orjson.dumps(BEGINS), piece, orjson.dumps(ENDS)]
    (damaged,) = read_answer(b"".join(b"data: " + event + b"\n\n" for event in events), 0, {}).choices
    assert judged(damaged, None, {}, {}, 0).status == "malformed"
    orjson.dumps(damaged)
