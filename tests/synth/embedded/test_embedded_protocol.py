"""What the embedded teacher's HTTP bodies may contain."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.embedded.protocol import DEFAULT_MAX_TOKENS, ChatRequest, RequestError, ScoreRequest, parse_body

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def refused(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_body(ChatRequest, BODY | fields)
    return caught.value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frequency_penalty", 0.5),
        ("logit_bias", {"50256": -100}),
        ("tools", [{"type": "function"}]),
        ("min_p", 0.1),
        ("best_of", 3),
        ("temprature", 0.1),
    ],
)
def test_an_unsupported_field_is_refused_by_its_name(field: str, value: Any) -> None:
    """Nothing that a client requests is silently ignored."""
    error = refused(**{field: value})
    assert (error.param, error.status) == (field, 400)
    assert f"`{field}`" in error.message


def test_fields_with_neutral_values_are_accepted() -> None:
    """Clients send neutral values by default. Rejecting them would reject the client."""
    neutral: dict[str, Any] = {
        "stream": False,
        "frequency_penalty": 0,
        "tools": None,
        "logit_bias": {},
        "seed": None,
        "stop": None,
        "user": "somebody",
        "metadata": {"for": "the provider's own books"},
    }
    assert parse_body(ChatRequest, BODY | neutral) == parse_body(ChatRequest, BODY)


def test_missing_values_use_the_defaults_of_the_server() -> None:
    """A value in the request takes precedence, and null counts as missing. Without server defaults OpenAI's apply."""
    defaults = {"temperature": 0.7, "top_p": 0.9}
    given = parse_body(ChatRequest, BODY | {"top_p": 0.5, "temperature": None}, defaults)
    assert (given.temperature, given.top_p) == (0.7, 0.5)
    assert parse_body(ChatRequest, BODY).temperature == 1.0
    assert parse_body(ChatRequest, BODY).token_limit(10, 100, 24) == 24
    assert parse_body(ChatRequest, BODY).token_limit(90, 100, 24) == 10


def test_messages_of_newer_clients_are_accepted() -> None:
    """A developer message is a system message under its newer name. A lone surrogate is rejected with a clear
    message."""
    developer = parse_body(ChatRequest, BODY | {"messages": [{"role": "developer", "content": "Be brief."}]})
    assert developer.messages[0].role == "system"
    assert "half of a surrogate pair" in refused(messages=[{"role": "user", "content": "\ud83d"}]).message


def test_fields_of_a_message_that_change_nothing_are_accepted() -> None:
    """Clients name speakers, and send an answer back as they got it, with all its fields. An answer with a call of a
    tool is still refused by the field's name."""
    answer = {"role": "assistant", "content": None, "refusal": None, "annotations": [], "tool_calls": None}
    asked = {"role": "user", "content": "Hi", "name": "Eva"}
    body = parse_body(ChatRequest, BODY | {"messages": [asked, answer, asked]})
    assert [message.model_dump() for message in body.messages] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Hi"},
    ]
    called = answer | {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    assert refused(messages=[asked, called, asked]).param == "messages.1.tool_calls"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": "12"}, "max_tokens"),
        ({"top_logprobs": 3}, None),
        ({"max_tokens": 3, "max_completion_tokens": 4}, None),
        ({"stop": [""]}, None),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(fields: dict[str, Any], param: str | None) -> None:
    """The error names the wrong field, at any depth."""
    assert refused(**fields).param == param


def test_text_parts_are_joined_and_other_parts_refused() -> None:
    """OpenAI's list form of a message means the same as its text. A picture is not dropped silently."""
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "cat"}]
    body = parse_body(ChatRequest, BODY | {"messages": [{"role": "user", "content": parts}]})
    assert body.messages[0].content == "a cat"
    refused(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


@given(prompt=st.integers(0, 9000), asked=st.none() | st.integers(1, 9000))
def test_a_token_limit_never_passes_the_context_window(prompt: int, asked: int | None) -> None:
    """A limit is an upper bound and is reduced to what fits after the prompt. A prompt that leaves no room is rejected
    with OpenAI's code for it."""
    body = parse_body(ChatRequest, BODY | {"max_tokens": asked})
    if prompt >= 8192:
        with pytest.raises(RequestError) as caught:
            body.token_limit(prompt, 8192)
        assert caught.value.code == "context_length_exceeded"
    else:
        assert body.token_limit(prompt, 8192) == min(asked or DEFAULT_MAX_TOKENS, 8192 - prompt)


def test_score_needs_completions() -> None:
    """Scoring nothing is an error of the caller."""
    with pytest.raises(RequestError) as caught:
        parse_body(ScoreRequest, BODY | {"completions": []})
    assert caught.value.param == "completions"
