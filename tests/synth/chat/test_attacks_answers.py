"""Bodies that a server, a gateway or an attacker may send: the answer in them is used, and nothing else."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest

from schemas.store import Store
from synth.answers import finish_meaning, judged, schema_violation
from synth.chat.error_words import error_body
from synth.chat.redaction import without_keys, without_user_info
from synth.ledger import Completion, FailedSample, Ledger, Question
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails
from tests.synth.test_ledger import KEY, PLAIN, chat, choice, texts, with_ledger


def body(one: str, usage: str = '{"prompt_tokens": 7, "completion_tokens": 9}') -> bytes:
    return ('{"choices": [' + one + '], "usage": ' + usage + "}").encode()


@pytest.mark.parametrize(
    "number", ["18446744073709551615", "9223372036854775807", "9" * 400, "-7", "true", '"7"', "7.5", "[7]", "null"]
)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "cached_tokens"])
def test_invalid_token_count_costs_no_answer(name: str, number: str, tmp_path: Path) -> None:
    """The answer is stored and used, the usage is unknown, and the sums of the store still hold."""
    counts = {"prompt_tokens": "7", "completion_tokens": "9", "cached_tokens": "0", name: number}
    prompt, completion, cached = counts.values()
    details = f'"prompt_tokens_details": {{"cached_tokens": {cached}}}'
    usage = f'{{"prompt_tokens": {prompt}, "completion_tokens": {completion}, {details}}}'
    # NaN beside it: a body that is not strict JSON takes another code path.
    with LoopbackTeacher(lambda ask: Reply(body=body(choice('"a"', ', "p": NaN'), usage))) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            for question in ("a dog", "a cat"):
                assert texts(await ledger.answer(Question(chat(question), PLAIN))) == ["a"]
            known = name == "cached_tokens"
            assert ledger.usage_unknown == (0 if known else 2)
            assert store.spent().usage.prompt_tokens == (14 if known else 0)

        with_ledger(teacher, tmp_path, ask)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "A "}, {"type": "text", "text": "dog."}], "A dog."),
        ([{"type": "output_text", "text": "A dog."}], "A dog."),
        ([{"text": "A dog."}], "A dog."),
        (["A ", "dog."], "A dog."),
        ({"type": "text", "text": "A dog."}, "A dog."),
        ([{"text": "hm", "thought": True}, {"text": "A dog."}], "A dog."),
        ([{"type": "reasoning_text", "text": "hm"}, {"type": "text", "text": "A dog."}], "A dog."),
        ([{"type": "redacted_thinking", "text": "hm"}, {"type": "text", "text": "A dog."}], "A dog."),
        ([{"type": "text", "text": "A dog."}, {"type": "reference", "reference_ids": [1]}], "A dog."),
    ],
)
def test_content_of_parts_is_read_without_its_reasoning(content: object, text: str) -> None:
    """A single part, strings, parts without a type. Reasoning under any name stays out of the text."""
    verdict = judged({"finish_reason": "stop", "message": {"content": content}}, None, {}, {}, 0)
    assert (verdict.status, verdict.text) == ("ok", text)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ({"finish_reason": "stop", "message": {"content": [{"type": "refusal", "refusal": "no"}]}}, "refused"),
        ({"finish_reason": "stop", "message": {"content": [{"type": "refusal", "text": "I won't"}]}}, "refused"),
        ({"finish_reason": "stop", "message": {"content": [{"type": "new_kind", "text": "a"}]}}, "malformed"),
        ({"finish_reason": "content_filter"}, "refused"),
        ({"finish_reason": "length"}, "thinking"),
        ({"finish_reason": "stop", "message": {"content": "A do"}, "error": {"code": 502}}, "failed"),
        ({"finish_reason": ["stop"], "message": {"content": "a"}}, "malformed"),
        ({"finish_reason": 0, "message": {"content": "a"}}, "unknown_finish"),
        ({"finish_reason": False, "message": {"content": "a"}}, "unknown_finish"),
        ({"finish_reason": False, "message": {"content": ""}}, "failed"),
        ({"finish_reason": {"type": 2}, "message": {"content": "a"}}, "unknown_finish"),
        ({"finish_reason": {"type": "length"}, "message": {"content": "a"}}, "truncated"),
        ({"finish_reason": {"type": "stop", "matched": 2}, "message": {"content": "a"}}, "ok"),
        ({"finish_reason": {"type": "abort", "message": "Aborted"}, "message": {"content": "a"}}, "failed"),
        ({"finish_reason": "stop", "matched_stop": 2, "message": {"content": "a"}}, "ok"),
        ({"finish_reason": "stop", "matched_stop": "NaN happened", "message": {"content": "a dog on"}}, "failed"),
        ({"finish_reason": "stop", "message": {"content": "", "reasoning_content": "\n"}}, "empty"),
        ({"finish_reason": "stop", "message": {"content": "", "thinking": "hm"}}, "thinking"),
        ({"finish_reason": "stop", "delta": {"content": "a"}}, "malformed"),
        ({"finish_reason": "stop", "message": {"content": None, "tool_calls": [{"id": "a"}]}}, "malformed"),
        ({"finish_reason": "stop", "message": {"content": None, "tool_calls": []}}, "empty"),
        ({"finish_reason": "stop", "message": {"content": "a", "tool_calls": [{"id": "a"}]}}, "ok"),
    ],
)
def test_incomplete_answers_get_the_right_status(raw: dict[str, object], status: str) -> None:
    """Refusals in a part, choices without a message, errors beside half a text, finish reasons that are not strings."""
    assert judged(raw, None, {}, {}, 9).status == status
    if status == "unknown_finish":  # and the spec can say what it means
        assert judged(raw, None, {"0": "complete", "FALSE": "complete", "2": "complete"}, {}, 9).status == "ok"


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("content-filter", "refused"),
        ("FinishReason.MAX_TOKENS", "truncated"),
        ("MaxTokens", "truncated"),
        ("maxPredictedTokensReached", "truncated"),
        ("time_limit", "truncated"),
        ("eosFound", "complete"),
        ("FinishReason.STOP", "complete"),
        ("IMAGE_SAFETY", "refused"),
        ("malformed_model_output", "malformed"),
        ("FINISH_REASON_UNSPECIFIED", None),
        ("...", None),
    ],
)
def test_finish_reasons_are_recognised_in_any_spelling(word: str, meaning: str | None) -> None:
    """Libraries between pairsmith and the model write the API's words with capitals, hyphens or a class name in
    front."""
    assert finish_meaning(word, {}) == meaning


@pytest.mark.parametrize(
    "text", ["\u2800", "\u3164", '"\u200b"', "\u202e", "\x00\x07", "\ufe0f", "\u034f\u00ad", "\U000e0020"]
)
def test_invisible_text_is_empty(text: str) -> None:
    """Blank characters, direction marks and control characters, also in quotes. Such an answer is requested again."""
    raw = {"finish_reason": "stop", "message": {"content": text}}
    assert judged(raw, None, {}, {}, 0).status == "empty"


@pytest.mark.parametrize("text", ["1", "\u0301a", "\u2764\ufe0f", "\u3042", "\u0628\u200f", "-"])
def test_any_visible_character_is_text(text: str) -> None:
    """A digit, an emoji, a letter of any script."""
    raw = {"finish_reason": "stop", "message": {"content": text}}
    assert judged(raw, None, {}, {}, 0).status == "ok"


def test_json_in_a_fence_satisfies_the_schema() -> None:
    """Servers without schema support return it like that, and cleaning removes the fence from the pair's text."""
    raw = {"finish_reason": "stop", "message": {"content": '```json\n{"yes": true}\n```'}}
    assert judged(raw, schema_violation({"type": "object"}), {}, {}, 0).status == "ok"


def test_the_reason_names_what_is_wrong_inside_a_fence() -> None:
    """The fence is no defect, so a reason that quotes it would hide the one there is."""
    raw = {"finish_reason": "stop", "message": {"content": '```json\n{"amount": "lots"}\n```'}}
    schema = {"type": "object", "properties": {"amount": {"type": "number"}}}
    answer = judged(raw, schema_violation(schema), {}, {}, 0)
    assert (answer.status, answer.reason) == (
        "schema",
        "schema: the answer did not match the schema: at $.amount: 'lots' is not of type 'number'",
    )


def test_a_record_that_gives_a_key_twice_is_no_answer() -> None:
    """Readers of JSON keep one of the two values without a word, and not all the same one."""
    raw = {"finish_reason": "stop", "message": {"content": '{"total": 4, "items": [{"n": 1, "n": 2}]}'}}
    answer = judged(raw, schema_violation({"type": "object"}), {}, {}, 0)
    reason = "schema: the answer did not match the schema: an object has the key 'n' twice"
    assert (answer.status, answer.reason) == ("schema", reason)


def test_damage_outside_of_the_text_costs_no_answer(tmp_path: Path) -> None:
    """Half of a surrogate pair in the reasoning or an annotation does not affect the text."""
    one = '{"finish_reason": "stop", "message": {"content": "a", "reasoning": "\\ud83d", "annotations": ["\\ud83d"]}}'
    with LoopbackTeacher(lambda ask: Reply(body=body(one))) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            assert texts(await ledger.answer(Question(chat("a dog"), PLAIN))) == ["a"]

        with_ledger(teacher, tmp_path, ask)


SLASHED = "sk/very+secret&0123=456<789"


@pytest.mark.parametrize(
    "spelled",
    [
        SLASHED,
        SLASHED.replace("/", "\\/"),
        json.dumps(json.dumps({"k": SLASHED})),
        quote(SLASHED, safe=""),
        quote(quote(SLASHED, safe=""), safe="").lower(),
        SLASHED.replace("&", "&amp;").replace("<", "&lt;"),
        "".join(f"\\u{ord(c):04X}" for c in SLASHED),
        *(base64.b64encode(before + SLASHED.encode() + b":").decode() for before in (b"", b":", b"me:", b"Bearer ")),
        base64.urlsafe_b64encode(SLASHED.encode()).decode(),
    ],
)
def test_key_is_redacted_in_every_encoding(spelled: str) -> None:
    """In URLs, JSON within JSON, HTML and base64."""
    shown = without_keys(f"no: {spelled}.", SLASHED)
    assert "***" in shown
    assert SLASHED[3:20] not in shown
    assert spelled[8:24] not in shown


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=orjson.dumps({"choices": [{"error": {"message": f"bad key {KEY}"}}]})),
        Reply(body=orjson.dumps({"choices": [{"error": f"bad key {KEY}"}]})),
        Reply(body=orjson.dumps({"choices": [KEY]})),
        Reply(body=b'{"error": "bad ' + base64.b64encode(b"Bearer " + KEY.encode()) + b'"}'),
        fails(400, "bad " + "".join(f"%{ord(c):02x}" for c in KEY)),
    ],
    ids=["choice error", "choice error text", "choice text", "base64", "url"],
)
def test_error_instead_of_a_choice_is_stored_without_the_key(reply: Reply, tmp_path: Path) -> None:
    """A body without any answer is an error, whatever its status: no encoding of the key is stored or shown."""
    spellings = (KEY, "".join(f"%{ord(c):02x}" for c in KEY), base64.b64encode(b"Bearer " + KEY.encode()).decode())
    with LoopbackTeacher(lambda ask: reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, FailedSample)
            stored = str([call.model_dump() for call in store.calls(answer.key)]) + answer.reason
            assert not any(spelled in stored for spelled in spellings)
            assert "***" in stored

        with_ledger(teacher, tmp_path, ask, key=KEY, attempts=1)


@pytest.mark.parametrize(
    "reply",
    [
        fails(400, "no", code=["a"], param={"x": 1}, type={"y": 2}),
        fails(400, "no", code="unsupported_value", param=["seed"]),
        Reply(status=400, body=b'{"error":' * 900 + b"}" * 900),
        fails(503, "no", headers={"Retry-After": "Wed, 99999999999999999999 Oct 2015 07:28:00 GMT"}),
        fails(429, "no", headers={"retry-after-ms": "nan"}),
    ],
    ids=["lists", "param", "deep", "date", "nan"],
)
def test_malformed_error_fails_only_its_row(reply: Reply, tmp_path: Path) -> None:
    """Wrong types in any field of an error and dates beyond the calendar do not crash pairsmith."""
    with LoopbackTeacher(lambda ask: reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, FailedSample)

        with_ledger(teacher, tmp_path, ask, retries=0)


def test_an_error_in_a_list_is_read() -> None:
    """Gemini's OpenAI-compatible endpoint puts its error object into a list."""
    _, error = error_body(b'[{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}]')
    assert error["message"] == "API key not valid."


def test_header_that_is_not_utf8_can_be_shown_and_stored() -> None:
    """A Location that is not UTF-8 arrives with lone surrogates, which no terminal and no store accepts."""
    assert without_user_info("http://me:pw@h/\udcff") == "http://***@h/\\udcff"


@pytest.mark.parametrize("key", [KEY, SLASHED])
def test_key_in_an_answer_is_never_redacted(key: str, tmp_path: Path) -> None:
    """An answer is data, even if it has the key in base64 or URL encoding."""
    text = f"{key} {quote(key, safe='')} {base64.b64encode(key.encode()).decode()}"

    def reply(ask: Ask) -> Reply:
        return Reply(body=body(choice(json.dumps(text))))

    with LoopbackTeacher(reply) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (answer,) = await ledger.answer(Question(chat("a dog"), PLAIN))
            assert isinstance(answer, Completion)
            assert answer.text == store.calls(answer.key)[0].raw["message"]["content"] == text

        with_ledger(teacher, tmp_path, ask, key=key)


def test_schema_violation_names_its_place_and_rule() -> None:
    """The reason names the place in the record and the violated rule, also for a field that may be null, like the gate
    for the same schema."""
    age = {"anyOf": [{"type": "integer", "maximum": 130}, {"type": "null"}]}
    broken = schema_violation({"type": "object", "properties": {"age": age}})
    assert broken('{"age": 999}') == "at $.age: 999 is greater than the maximum of 130"
    assert broken('{"age": null}') is None
