"""Reward models behind an endpoint: a vLLM server for pooling, and a hosted one that replies to a chat with a
number."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from curate.outcome import CurateResult, curate_project
from curate.scorers import Score
from curate.scorers.remote import RemoteScorers, open_remote_scorers
from schemas.errors import AuthError, TeacherError, Unreachable
from schemas.project import Project
from schemas.records import Pair
from schemas.spec import Spec
from schemas.store import Store
from tests.curate import tiny
from tests.curate.scorers.test_reward import pair
from tests.servers import InThread
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says
from tests.synth.stand_in_vllm import gone, noted, python_with_stand_in

Answer = Callable[[dict[str, Any]], tuple[int, Any]]


@contextmanager
def classify(answer: Answer) -> Iterator[str]:
    """A server whose POST /classify responds with `answer`; its address ends in /v1."""

    async def handle(request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        status, value = answer(
            {**body, "authorization": request.headers.get("Authorization"), "query": dict(request.query)}
        )
        return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")

    app = web.Application()
    app.router.add_post("/classify", handle)
    with InThread(app) as server:
        yield f"{server.address}/v1"


def by_length(body: dict[str, Any]) -> tuple[int, Any]:
    """Half the number of words of the output, with the sigmoid if requested."""
    logit = len(body["messages"][-1]["content"].split()) / 2
    value = 1 / (1 + math.exp(-logit)) if body["use_activation"] else logit
    return 200, {"data": [{"index": 0, "label": "LABEL_0", "probs": [value], "num_classes": 1}]}


def project(folder: Path, url: str, protocol: str, **teacher: Any) -> Project:
    raw = tiny.spec().model_dump(mode="json", exclude_defaults=True)
    raw["curate"]["score"] = {"teacher": "rm", "protocol": protocol}
    raw["teachers"] = {"rm": {"url": url, "model": "reward", "retries": 0, **teacher}}
    return Project(folder, Spec.model_validate(raw))


def with_scorers(project: Project, ask: Callable[[RemoteScorers, Store], Any]) -> Any:
    async def work() -> Any:
        with Store.open(Store.url_for(project)) as store:
            async with AsyncExitStack() as opened:
                return await ask(await open_remote_scorers(project, store, opened, lambda sentence: None), store)

    return asyncio.run(work())


def scores(project: Project, pairs: Sequence[Pair]) -> list[Score]:
    async def ask(by_http: RemoteScorers, store: Store) -> list[Score]:
        assert by_http.as_reward is not None
        return list(await by_http.as_reward.score(pairs))

    scored: list[Score] = with_scorers(project, ask)
    return scored


PAIRS = [pair("a fox", "one two", system="Rewrite."), pair("a fox", "one two three four", system="Rewrite.")]


def test_pooling_server_is_asked_for_raw_logits_of_the_whole_chat(tmp_path: Path) -> None:
    """The rules are part of the user turn and the sigmoid is off; whether the server honours that is checked once."""
    seen: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        seen.append(body)
        return by_length(body)

    with classify(answer) as url:
        assert [score.value for score in scores(project(tmp_path, url, "classify"), PAIRS)] == [1.0, 2.0]
    assert [body["use_activation"] for body in seen] == [False, True, False, False]
    assert seen[0]["messages"] == [
        {"role": "user", "content": "Rewrite.\n\nSay it well.\n\na fox"},
        {"role": "assistant", "content": "one two"},
    ]


def test_pooling_server_gets_the_query_and_its_errors_are_redacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query that a gateway requires is sent here too. Secrets in an error message are masked."""
    monkeypatch.setenv("RM_CODE", secret := "s3cret/of+a-gateway-1234")
    queries: list[Any] = []

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        queries.append(body["query"])
        return 400, {"error": f"no such code: {secret}"}

    with classify(answer) as url:
        sent = {"query": {"version": "2"}, "query_env": {"code": "RM_CODE"}}
        (score,) = scores(project(tmp_path, url, "classify", **sent), PAIRS[:1])
    assert queries[0] == {"version": "2", "code": secret}
    assert "***" in score.reason.detail
    assert secret not in score.reason.detail


def test_server_that_ignores_the_request_for_raw_logits_is_refused(tmp_path: Path) -> None:
    """Its scores would be close to 1, and candidates would look equal."""
    squashing = classify(lambda body: by_length({**body, "use_activation": True}))
    with squashing as url, pytest.raises(TeacherError, match="without the sigmoid"):
        scores(project(tmp_path, url, "classify"), PAIRS)


def test_failed_row_of_a_pooling_server_does_not_affect_others(tmp_path: Path) -> None:
    """A rejected request, a malformed response or a missing number gives the row a reason and no score; the other rows
    are scored."""
    odd = {
        "long": (400, {"error": "too long"}),
        "odd": (200, {"data": []}),
        "nan": (200, {"data": [{"probs": [None]}]}),
    }

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        return odd.get(body["messages"][-1]["content"]) or by_length(body)

    with classify(answer) as url:
        rows = [PAIRS[0], *(pair("a fox", word) for word in odd)]
        scored = scores(project(tmp_path, url, "classify"), rows)
    assert [score.reason.code for score in scored] == ["scored", "crashed", "nan", "nan"]
    assert [score.value for score in scored[1:]] == [None] * 3


def test_a_pooling_server_that_is_not_there_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing at the address, a missing path and an unset key are errors that the user can fix."""
    with pytest.raises(Unreachable, match="does not answer"):
        scores(project(tmp_path, "http://127.0.0.1:9", "classify"), PAIRS)
    with LoopbackTeacher() as chat_only, pytest.raises(TeacherError, match="404"):
        scores(project(tmp_path, chat_only.url, "classify"), PAIRS)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with classify(by_length) as url, pytest.raises(AuthError, match="NO_SUCH_KEY"):
        scores(project(tmp_path, url, "classify", key_env="NO_SUCH_KEY"), PAIRS)


def test_the_key_of_a_pooling_server_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is sent as to any teacher."""
    monkeypatch.setenv("REWARD_KEY", "secret")
    seen: list[Any] = []

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        seen.append(body["authorization"])
        return by_length(body)

    with classify(answer) as url:
        scores(project(tmp_path, url, "classify", key_env="REWARD_KEY"), PAIRS)
    assert set(seen) == {"Bearer secret"}


def test_local_vllm_is_started_for_pooling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spec only says `vllm = "M"`: it is started before the first row, asked for logits, and stopped."""
    monkeypatch.setenv("STAND_IN_NOTE", str(tmp_path / "note.json"))
    monkeypatch.setenv("VLLM_API_KEY", "a-key-0123456789")
    python = python_with_stand_in(tmp_path)
    raw = project(tmp_path, "vllm", "classify").spec.model_dump(mode="json", exclude_defaults=True)
    raw["teachers"] = {"rm": {"vllm": "some/reward", "vllm_python": str(python)}}
    project_ = Project(tmp_path, Spec.model_validate(raw))
    assert scores(project_, []) == []
    assert not python.with_name("note.json").exists()
    assert [score.value for score in scores(project_, PAIRS)] == pytest.approx([-0.93, -0.82])
    assert gone(noted(python)["pids"])


def reward(ask: Ask) -> Reply:
    """`reward:` and the number of words minus 0.5, like NVIDIA's endpoint; plain text for the row "odd"."""
    answers = {"odd": "I like it.", "tiny": "reward:-3.1e-05"}
    return says(answers.get(ask.prompt, f"reward:{len(ask.prompt.split()) - 0.5}"))


def test_hosted_reward_is_paid_for_once_and_only_a_number_is_a_score(tmp_path: Path) -> None:
    """Requests go through the ledger: durable, within the budget, with a stage of their own. A number may have an
    exponent. What is no number is not reported as a judge's unreadable answer."""
    rows = [*PAIRS, pair("a fox", "odd"), pair("a fox", "tiny")]
    with LoopbackTeacher(reward) as hosted:
        project_ = project(tmp_path, hosted.url, "chat")
        first, again = scores(project_, rows), scores(project_, rows)
        assert len(hosted.asked) == 4
    assert [score.value for score in first] == [1.5, 3.5, None, -3.1e-05]
    assert first[2].reason.code == "nan"
    assert again == first
    assert [turn["role"] for turn in hosted.asked[0].body["messages"]] == ["user", "assistant"]
    with Store.open(Store.url_for(project_), write=False) as store:
        assert [cost.stage for cost in store.costs()] == ["reward"]


@pytest.mark.parametrize("protocol", ["classify", "chat"])
def test_curation_selects_by_a_served_reward(tmp_path: Path, protocol: str) -> None:
    """The best candidate of each input is kept, and the result names the scorer."""

    async def work(by_http: RemoteScorers, store: Store) -> CurateResult:
        tiny.pool(store, project_, {"a fox": ["must", "must be long"], "a hen": ["must be", "must"]})
        return await curate_project(project_, store, fingerprints=["now"], remote_scorers=by_http)

    with classify(by_length) as url, LoopbackTeacher(reward) as hosted:
        project_ = project(tmp_path, url if protocol == "classify" else hosted.url, protocol)
        result: CurateResult = with_scorers(project_, work)
    assert sorted(row.pair.output for row in result.accepted) == ["must be", "must be long"]
    assert result.facts["scorer"]["by"] == "score/reward@1"
    assert "the reward model reward at http" in result.facts["scorer"]["why"]
