"""The embedded teacher over HTTP, with its real weights: the contract of any OpenAI-compatible teacher."""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from synth.embedded.process import EmbeddedServer
from tests.synth.rounding import Drawn, assert_same_but_for_rounding

pytestmark = pytest.mark.model

ASK: list[Any] = [{"role": "user", "content": "Write one sentence about a lighthouse."}]
SHOTS: list[Any] = [
    {"role": "system", "content": "Rewrite a short image idea as one rich prompt in one line, and end it with --ar."},
    {"role": "user", "content": "old lighthouse"},
    {"role": "assistant", "content": "A weathered lighthouse on a cliff, storm surf, amber dusk, 35mm --ar 3:2"},
    {"role": "user", "content": "desert train"},
    {"role": "assistant", "content": "A rust-red train crossing white dunes, noon shadows, telephoto --ar 16:9"},
]


@pytest.fixture
def client(embedded_server: EmbeddedServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=embedded_server.base_url, api_key="none", max_retries=0) as one:
        yield one


def post(server: EmbeddedServer, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        server.base_url + path,
        data=json.dumps({"model": server.model} | body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def text(server: EmbeddedServer, **body: Any) -> str:
    status, answer = post(server, "/chat/completions", **body)
    assert status == 200, answer
    return str(answer["choices"][0]["message"]["content"])


def drawn(server: EmbeddedServer, **body: Any) -> list[Drawn]:
    """The answer's tokens with their log-probabilities."""
    status, answer = post(server, "/chat/completions", **body, logprobs=True)
    assert status == 200, answer
    return [(one["token"], one["logprob"]) for one in answer["choices"][0]["logprobs"]["content"]]


def test_the_official_client_gets_what_it_asks_for(client: openai.OpenAI, embedded_server: EmbeddedServer) -> None:
    """n different choices, usage that adds up, and the model's name and fingerprint."""
    answer = client.chat.completions.create(
        model=embedded_server.model, messages=ASK, n=3, seed=7, max_tokens=24, temperature=1.0
    )
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.finish_reason for choice in answer.choices} <= {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 3 <= answer.usage.completion_tokens <= 72
    assert answer.system_fingerprint is not None
    assert answer.system_fingerprint.startswith(embedded_server.revisions[embedded_server.model])
    assert {model.id for model in client.models.list()} == {embedded_server.model, "tuned"}


def test_official_client_raises_its_own_errors(client: openai.OpenAI, embedded_server: EmbeddedServer) -> None:
    """Unknown fields and models are rejected in OpenAI's format, so the client raises its own exceptions."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=embedded_server.model, messages=ASK, presence_penalty=1.0)
    assert refused.value.param == "presence_penalty"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-9", messages=ASK)
    assert unknown.value.code == "model_not_found"


def test_the_official_client_can_stream(client: openai.OpenAI, embedded_server: EmbeddedServer) -> None:
    """Text arrives as it is decoded. The pieces of a choice add up to the text, tokens and finish reason of the same
    request without streaming. Usage is the last event if it was requested."""
    asked: dict[str, Any] = {"model": embedded_server.model, "messages": ASK, "n": 2, "max_tokens": 24, "seed": 3}
    asked |= {"temperature": 0, "logprobs": True, "stop": ["lighthouse stood"]}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert whole.usage is not None
    assert chunks[-1].usage == whole.usage
    for entire in whole.choices:
        pieces = [choice for chunk in chunks for choice in chunk.choices if choice.index == entire.index]
        texts = [piece.delta.content for piece in pieces if piece.delta.content]
        assert "".join(texts) == entire.message.content
        assert len(texts) > 4
        assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert pieces[-1].finish_reason == entire.finish_reason
        tokens = [one.token for piece in pieces if piece.logprobs for one in piece.logprobs.content or ()]
        assert entire.logprobs is not None
        assert tokens == [one.token for one in entire.logprobs.content or ()]


def test_decoding_stops_when_a_stream_is_closed(client: openai.OpenAI, embedded_server: EmbeddedServer) -> None:
    """The first text arrives long before the last, and closing the connection frees the row."""
    stream = client.chat.completions.create(
        model=embedded_server.model, messages=ASK, max_tokens=4000, stream=True, extra_body={"no_repeat_ngram_size": 3}
    )
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    health = embedded_server.base_url.removesuffix("/v1") + "/health"
    with urllib.request.urlopen(health, timeout=60) as answer:
        assert json.load(answer)["rows_active"] == 1
    stream.close()
    until = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(health, timeout=60) as answer:
            if json.load(answer)["rows_active"] == 0:
                break
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_prompt_longer_than_the_context_is_refused(embedded_server: EmbeddedServer) -> None:
    """It is not cut silently."""
    long = [{"role": "user", "content": "lighthouse " * 9000}]
    status, answer = post(embedded_server, "/chat/completions", messages=long)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")


def test_oversized_prompt_is_refused_without_tokenising(embedded_server: EmbeddedServer) -> None:
    """The number of characters is enough: tokenising 15 MB used to take over a minute, in which no other request was
    answered."""
    long = [{"role": "user", "content": "a b " * 3_700_000}]
    status, answer = post(embedded_server, "/chat/completions", messages=long)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert "14,800,000 characters" in answer["error"]["message"]


def test_official_client_retrieves_a_model_by_name(client: openai.OpenAI) -> None:
    """A single model is found by its name, as in the list."""
    assert client.models.retrieve("tuned").id == "tuned"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_a_body_that_is_not_json_and_a_wrong_path_are_refused(embedded_server: EmbeddedServer) -> None:
    """Every failure has OpenAI's format."""
    for body in (b"{", b"[" * 100_000):
        request = urllib.request.Request(embedded_server.base_url + "/chat/completions", data=body)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=120)
        with caught.value as error:
            assert error.code == 400
            assert "not JSON" in json.load(error)["error"]["message"]
    assert post(embedded_server, "/completions")[0] == 404


def test_an_answer_that_follows_a_schema_parses(embedded_server: EmbeddedServer) -> None:
    """With bounded strings the answer is always complete and valid."""
    schema = {
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "maxLength": 40},
            "ratio": {"enum": ["1:1", "3:2"]},
            "steps": {"type": "integer", "minimum": 1, "maximum": 50},
        },
        "required": ["prompt", "ratio", "steps"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "image", "schema": schema}}
    status, answer = post(
        embedded_server, "/chat/completions", messages=ASK, n=4, seed=1, max_tokens=120, response_format=form
    )
    assert status == 200
    for choice in answer["choices"]:
        assert choice["finish_reason"] == "stop"
        record = json.loads(choice["message"]["content"])
        assert set(record) == {"prompt", "ratio", "steps"}
        assert len(record["prompt"]) <= 40
        assert record["ratio"] in {"1:1", "3:2"}
        assert 1 <= record["steps"] <= 50
    form["json_schema"]["schema"] = {"type": "object", "properties": {"a": {"type": "nonsense"}}}  # type: ignore[index]
    status, answer = post(embedded_server, "/chat/completions", messages=ASK, response_format=form)
    assert (status, answer["error"]["param"]) == (400, "response_format")


def test_logprobs_sum_to_the_score(embedded_server: EmbeddedServer) -> None:
    """Decoding and /score agree on the probability of an answer."""
    body = {"messages": ASK, "temperature": 0, "max_tokens": 30, "logprobs": True, "top_logprobs": 3}
    status, answer = post(embedded_server, "/chat/completions", **body)
    assert status == 200
    choice = answer["choices"][0]
    content = choice["logprobs"]["content"]
    assert b"".join(bytes(one["bytes"]) for one in content).decode() == choice["message"]["content"]
    for one in content:
        assert [top["logprob"] for top in one["top_logprobs"]] == sorted(
            (top["logprob"] for top in one["top_logprobs"]), reverse=True
        )
        assert one["logprob"] >= one["top_logprobs"][0]["logprob"] - 1e-6
    status, scored = post(embedded_server, "/score", messages=ASK, completions=[choice["message"]["content"], "", "xq"])
    assert status == 200
    whole, empty, strange = scored["data"]
    assert whole["tokens"] == len(content)
    # bfloat16 keeps 8 bits of each logit, so sums over 30 tokens may differ in the first decimals.
    assert whole["logprob"] == pytest.approx(sum(one["logprob"] for one in content), abs=1.0)
    assert (empty["logprob"], empty["tokens"]) == (0.0, 0)
    assert strange["logprob"] / strange["tokens"] < whole["logprob"] / whole["tokens"]


def fox(server: EmbeddedServer, i: int) -> list[Drawn]:
    messages = [*SHOTS, {"role": "user", "content": f"fox number {i} in the rain"}]
    return drawn(server, messages=messages, seed=i, max_tokens=12 + i, temperature=0.9, top_k=50)


def test_a_seed_gives_the_same_answer_again(float32_server: EmbeddedServer) -> None:
    """Sent alone, the same request gets the same answer, up to rounding, although its prompt is computed only once. In
    bfloat16 on a processor with AMX, that rounding may change a token."""
    first, again = fox(float32_server, 3), fox(float32_server, 3)
    assert_same_but_for_rounding([again], [first], tolerance=1e-3, least=0.99)


def test_seed_gives_the_same_answer_under_load_up_to_rounding(float32_server: EmbeddedServer) -> None:
    """Concurrent requests change nothing except rounding. In float32 that hardly ever changes a token; in bfloat16 it
    happens after as few as four tokens, on any processor."""

    def ask(i: int) -> list[Drawn]:
        return fox(float32_server, i)

    with ThreadPoolExecutor(6) as pool:
        crowd = list(pool.map(ask, range(6)))
    alone = [ask(i) for i in range(6)]
    assert len({tuple(token for token, _ in answer) for answer in alone}) > 3
    assert_same_but_for_rounding(crowd, alone, tolerance=1e-3, least=0.5)


def test_repetition_settings_stop_loops_but_not_the_flag(embedded_server: EmbeddedServer) -> None:
    """No three-word sequence is generated twice, while digits and punctuation may repeat, and the style of the prompt's
    exemplars is not banned."""
    body = {"messages": ASK, "temperature": 0, "max_tokens": 120}
    aided = text(embedded_server, **body, no_repeat_ngram_size=3, repetition_penalty=1.1)
    assert aided != text(embedded_server, **body)
    echo = [*SHOTS, {"role": "user", "content": "old lighthouse"}]
    assert "--ar" in text(embedded_server, messages=echo, temperature=0, max_tokens=60, no_repeat_ngram_size=3)


def test_adapter_is_used_only_under_its_name(float32_server: EmbeddedServer) -> None:
    """The adapter's scores and greedy answers differ from the base model's. Each name keeps its own, up to rounding,
    when both are requested concurrently."""
    completions = ["A tall lighthouse guides ships at night."]

    def score(model: str) -> float:
        status, answer = post(float32_server, "/score", model=model, messages=ASK, completions=completions)
        assert status == 200, answer
        return float(answer["data"][0]["logprob"])

    base, tuned = score(float32_server.model), score("tuned")
    assert math.isfinite(tuned)
    assert abs(base - tuned) > 0.5
    greedy = {"messages": ASK, "temperature": 0, "max_tokens": 16}
    names = [float32_server.model, "tuned"]
    alone = [drawn(float32_server, model=name, **greedy) for name in names]
    assert alone[0] != alone[1]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(score, names * 4)) == pytest.approx([base, tuned] * 4, abs=1e-2)
        crowd = list(pool.map(lambda name: drawn(float32_server, model=name, **greedy), names * 4))
    assert_same_but_for_rounding(crowd, alone * 4, tolerance=1e-3, least=0.5)
    assert float32_server.revisions["tuned"] != float32_server.revisions[float32_server.model]


def test_the_adapter_is_listed_before_its_base(float32_server: EmbeddedServer) -> None:
    """A client that takes the first model gets the tuned one."""
    with urllib.request.urlopen(f"{float32_server.base_url}/models", timeout=120) as response:
        first, second = json.load(response)["data"]
    assert (first["id"], first["is_adapter"]) == ("tuned", True)
    assert (second["id"], second["is_adapter"]) == (float32_server.model, False)


def test_health_reports_the_state(embedded_server: EmbeddedServer) -> None:
    """A health check shows what the server is doing."""
    with urllib.request.urlopen(embedded_server.base_url.replace("/v1", "/health"), timeout=120) as response:
        health = json.load(response)
    assert health["status"] == "ok"
    assert health["dtype"] in {"bfloat16", "float32"}
    assert health["rows_active"] >= 0


def test_port_without_the_secret_path_gives_404(embedded_server: EmbeddedServer) -> None:
    """Another user of the machine, or a page in a browser, that finds the port gets no answer from the model: only the
    parent process knows the path."""
    port = embedded_server.base_url.split("/")[2]
    for path in ("/v1/models", "/health", "/v1/chat/completions"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{port}{path}", data=b"{}" if "chat" in path else None, timeout=120)
        with refused.value:
            assert refused.value.code == 404
