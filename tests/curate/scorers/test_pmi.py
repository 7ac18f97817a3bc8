"""The training-free score, against a loopback server with the embedded model's /score."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from curate.scorers import Score
from curate.scorers.pmi import pmi_scorer
from schemas.errors import TeacherError, Unreachable
from schemas.ports import free_port
from schemas.records import Imported, Pair
from tests.servers import served

Answer = Callable[[list[dict[str, str]], str], Any]


def pair(input: str, output: str, n: int = 0) -> Pair:
    return Pair(seed_id="s", input=input, output=output, system="Rewrite.", origin=Imported(source=f"{n}"))


def scored(pairs: list[Pair], answer: Answer, requests: list[Any] | None = None) -> list[Score]:
    """The scores of `pairs`, with a server that responds to each completion with `answer(messages, completion)`."""

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        if requests is not None:
            requests.append(body)
        scores = [answer(body["messages"], completion) for completion in body["completions"]]
        if "crash" in scores:
            return web.json_response({"error": {"message": "no"}}, status=500)
        return web.json_response({"data": scores})

    async def run() -> list[Score]:
        app = web.Application()
        app.router.add_post("/score", handle)
        async with served(app) as url:
            return list(await pmi_scorer(f"{url}/v1", "m")(pairs))

    return asyncio.run(run())


def by_shared_words(messages: list[dict[str, str]], completion: str) -> dict[str, Any]:
    """-10 nats, plus 2 for every word of the user turn in the completion."""
    shared = set(messages[-1]["content"].split()) & set(completion.split())
    return {"logprob": -10 + 2.0 * len(shared), "tokens": len(completion.split())}


def test_the_score_is_the_difference_of_two_sums() -> None:
    """log p(output | input) - log p(output): here two nats for every word taken from the input."""
    pairs = [pair("red fox", "a red fox runs"), pair("red fox", "a dog", 1), pair("cat", "cat and fox", 2)]
    assert [s.value for s in scored(pairs, by_shared_words)] == [4.0, 0.0, 2.0]


def test_requests_to_the_server() -> None:
    """System and user turn, and the same with an empty user turn; completions of one chat are in one request."""
    requests: list[Any] = []
    scored([pair("fox", "a"), pair("fox", "b", 1)], by_shared_words, requests)
    system = {"role": "system", "content": "Rewrite."}
    assert requests == [
        {"model": "m", "messages": [system, {"role": "user", "content": user}], "completions": ["a", "b"]}
        for user in ("", "fox")
    ]


def test_equal_outputs_are_scored_once() -> None:
    """Equal outputs of a teacher are sent once, and each row still has its score."""
    requests: list[Any] = []
    pairs = [pair("fox", "a fox"), pair("fox", "a fox", 1), pair("fox", "b", 2)]
    assert [s.value for s in scored(pairs, by_shared_words, requests)] == [2.0, 2.0, 0.0]
    assert [body["completions"] for body in requests] == [["a fox", "b"]] * 2


def test_row_that_crashes_the_server_does_not_affect_others() -> None:
    """Its request is repeated row by row: the others are scored, and it has None with a reason."""
    pairs = [pair("fox", text, n) for n, text in enumerate(("a fox", "poison", "no animal"))]
    scores = scored(pairs, lambda m, c: "crash" if c == "poison" else by_shared_words(m, c))
    assert [s.value for s in scores] == [2.0, None, 0.0]
    assert str(scores[1].reason).startswith("crashed: /score answered 500")


@pytest.mark.parametrize("logprob", [None, "low"])
def test_malformed_log_probability_gives_no_score(logprob: Any) -> None:
    """A missing or malformed log-probability gives None, never 0."""
    (score,) = scored([pair("fox", "a")], lambda m, c: {"logprob": logprob, "tokens": 1})
    assert score.value is None
    assert score.reason.code == "nan"


def test_malformed_response_stops_the_stage() -> None:
    """A response of another shape raises TeacherError instead of producing scores."""

    async def run() -> None:
        async def handle(request: web.Request) -> web.Response:
            return web.json_response({"data": []})

        app = web.Application()
        app.router.add_post("/score", handle)
        async with served(app) as url:
            await pmi_scorer(f"{url}/v1", "m")([pair("fox", "a")])

    with pytest.raises(TeacherError, match="not one score for every completion"):
        asyncio.run(run())


def test_dead_server_raises_unreachable() -> None:
    """A dead server stops the stage: rows are not silently left unscored."""

    async def run() -> None:
        await pmi_scorer(f"http://127.0.0.1:{free_port()}/v1", "m")([pair("fox", "a")])

    with pytest.raises(Unreachable, match="does not answer"):
        asyncio.run(run())


@pytest.mark.model
def test_real_embedded_model_prefers_outputs_that_fit_the_input() -> None:
    """With the real server, a text about the input scores higher than one about something else."""
    from synth.embedded.process import embedded

    fitting = [("a red fox in snow", "a red fox in deep snow at dawn, white breath, soft morning light")]
    fitting += [("old lighthouse", "old lighthouse on a black cliff, heavy waves, cold storm light from the left")]
    swapped = [(input, fitting[1 - n][1]) for n, (input, _) in enumerate(fitting)]

    async def run() -> list[Score]:
        async with embedded() as server:
            pairs = [pair(input, output) for input, output in fitting + swapped]
            return list(await pmi_scorer(server.base_url, server.model)(pairs))

    values = [score.value for score in asyncio.run(run())]
    assert None not in values
    assert min(v or 0 for v in values[:2]) > 5 > max(v or 0 for v in values[2:])
