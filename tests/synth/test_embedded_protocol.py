"""What the embedded teacher's HTTP bodies may hold."""

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
    """Nothing a client asks for is silently ignored."""
    error = refused(**{field: value})
    assert (error.param, error.status) == (field, 400)
    assert f"`{field}`" in error.message


def test_fields_that_ask_for_nothing_are_let_through() -> None:
    """Clients send neutral values unasked; refusing them would refuse the client."""
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


def test_what_a_request_leaves_open_is_decoded_by_the_server_s_defaults() -> None:
    """A value that is sent counts, null is none; without defaults they are OpenAI's."""
    defaults = {"temperature": 0.7, "top_p": 0.9}
    given = parse_body(ChatRequest, BODY | {"top_p": 0.5, "temperature": None}, defaults)
    assert (given.temperature, given.top_p) == (0.7, 0.5)
    assert parse_body(ChatRequest, BODY).temperature == 1.0
    assert parse_body(ChatRequest, BODY).token_limit(10, 100, 24) == 24
    assert parse_body(ChatRequest, BODY).token_limit(90, 100, 24) == 10


def test_messages_in_the_words_of_later_clients() -> None:
    """A developer's message is a system message under its later name; half a character is refused as what it is."""
    developer = parse_body(ChatRequest, BODY | {"messages": [{"role": "developer", "content": "Be brief."}]})
    assert developer.messages[0].role == "system"
    assert "half of a surrogate pair" in refused(messages=[{"role": "user", "content": "\ud83d"}]).message


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
    """The error says which field is wrong, as deep as it lies."""
    assert refused(**fields).param == param


def test_text_parts_are_joined_and_other_parts_refused() -> None:
    """OpenAI's list form of a message means the same as its text; a picture is not dropped."""
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "cat"}]
    body = parse_body(ChatRequest, BODY | {"messages": [{"role": "user", "content": parts}]})
    assert body.messages[0].content == "a cat"
    refused(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


@given(prompt=st.integers(0, 9000), asked=st.none() | st.integers(1, 9000))
def test_a_token_limit_never_passes_the_context_window(prompt: int, asked: int | None) -> None:
    """A limit is an upper bound, cut to what fits behind the prompt; a prompt that leaves no room is refused with
    OpenAI's code for it."""
    body = parse_body(ChatRequest, BODY | {"max_tokens": asked})
    if prompt >= 8192:
        with pytest.raises(RequestError) as caught:
            body.token_limit(prompt, 8192)
        assert caught.value.code == "context_length_exceeded"
    else:
        assert body.token_limit(prompt, 8192) == min(asked or DEFAULT_MAX_TOKENS, 8192 - prompt)


def test_score_needs_completions() -> None:
    """Scoring nothing is a mistake of the caller, not a score."""
    with pytest.raises(RequestError) as caught:
        parse_body(ScoreRequest, BODY | {"completions": []})
    assert caught.value.param == "completions"
