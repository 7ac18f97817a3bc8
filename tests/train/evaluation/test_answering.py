"""Tests of how an evaluation's answers are read and its progress is reported."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from prompts.answer_form import ANY_TEXT, AnswerForm
from schemas.progress_line import Pace
from schemas.records import Call, Message, Sampling, Seed
from schemas.spec import Spec, TeacherSettings
from schemas.store import Store
from synth.endpoints.endpoint import Endpoint
from synth.ledger import Ledger
from tests.synth.loopback import LoopbackTeacher, says
from train.evaluation.answering import AnswerCollector, Answers, _judge_output
from train.evaluation.checks import checks_for
from train.evaluation.metrics import Output
from train.evaluation.systems import Model


def answered(text: str) -> Call:
    """The ledger row of an answer."""
    return Call(
        key="k",
        attempt=1,
        status="ok",
        request={},
        raw={"finish_reason": "stop"},
        text=text,
        request_id="r",
        sample=0,
        teacher="m",
        endpoint="e",
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("answer", "text", "passes"),
    [
        ('{"label": "Billing"}', "billing", True),
        ("Billing.", "billing", True),
        ("billing", "billing", True),
        ("refunds", "refunds", False),
    ],
)
def test_a_label_is_read_from_json_or_plain_text(answer: str, text: str, passes: bool) -> None:
    """Few-shot and teacher are asked for JSON, the tuned model for the bare label: neither form counts as wrong."""
    task = {"kind": "classify", "name": "t", "style": "s", "labels": ["billing", "delivery"]}
    spec = Spec.model_validate({"task": task})
    form, checks = AnswerForm.of(spec.task, Path()), checks_for(spec, Path())
    plan: Any = SimpleNamespace(form=form, checks=checks, reference_of=lambda seed: None)
    seed = Seed(kind="input", text="I was charged twice.", source="t:1")
    blank = Output(system="few-shot", mode="greedy", seed_id=seed.id, sample=0, answered=False, key="k")
    output = _judge_output(blank, answered(answer), plan, seed)
    assert (output.text, output.all_pass) == (text, passes)


@pytest.mark.slow
def test_tokens_are_reported_before_an_answer_is_complete() -> None:
    """The first answers of an evaluation finish together, after minutes. Until then generated tokens are reported, and
    the maximum time left if every answer uses all of its tokens."""
    tokens = itertools.count(100, 150)

    async def health(request: web.Request) -> web.Response:
        return web.json_response({"generated_tokens": next(tokens)})

    reports: list[dict[str, Any]] = []
    known = asyncio.Event()

    def progress(stage: str, numbers: Mapping[str, Any]) -> None:
        reports.append({"stage": stage, **numbers})
        if "most_s" in numbers:
            known.set()

    local = SimpleNamespace(is_merged=False)
    system: Any = SimpleNamespace(names=("base",), model=SimpleNamespace(local=local))
    spec = Spec.model_validate(
        {"task": {"name": "t", "style": "s"}, "evaluate": {"samples": 3, "sampling": {"max_tokens": 32}}}
    )
    plan: Any = SimpleNamespace(spec=spec, systems=(system,), seeds=range(20), validation=(), judging="")
    app = web.Application()
    app.router.add_get("/key/health", health)

    async def listen() -> None:
        store: Any = None
        collector = AnswerCollector(plan, store, progress)
        async with TestServer(app) as server, collector._reporting(str(server.make_url("/key/v1"))):
            await asyncio.wait_for(known.wait(), timeout=60)

    asyncio.run(listen())
    first = next(report for report in reports if "most_s" in report)
    assert (first["stage"], first["done"], first["total"]) == ("evaluate", 0, 80)
    assert first["tokens"] > reports[0]["tokens"]
    assert first["most_s"] > 0


@pytest.mark.slow
def test_a_starting_server_is_reported() -> None:
    """On a busy machine a model takes minutes to load and check. Progress in a pipe shows that it is starting, without
    a time left that was computed for the previous server."""
    reports: list[dict[str, Any]] = []
    twice = asyncio.Event()

    def progress(stage: str, numbers: Mapping[str, Any]) -> None:
        reports.append(dict(numbers))
        if len(reports) > 1:
            twice.set()

    spec = Spec.model_validate({"task": {"name": "t", "style": "s"}})
    plan: Any = SimpleNamespace(spec=spec, systems=(), seeds=(), validation=())

    async def starting() -> None:
        store: Any = None
        async with AnswerCollector(plan, store, progress)._reporting(starting="tuned"):
            await asyncio.wait_for(twice.wait(), timeout=60)

    asyncio.run(starting())
    first, second, *_ = (report["system"] for report in reports)
    assert first.startswith("starting tuned, ")
    assert second.startswith("starting tuned, ")
    assert second != first
    assert all(report["most_s"] is None and report["mode"] == "" for report in reports)
    pace = Pace("evaluate", {"done": 0, "total": 80, "most_s": 18.0, "system": "base", "mode": "greedy"}, 0.0)
    pace.update(reports[0], 5.0)
    assert pace.parts()[1:] == [first]
    pace.update(reports[0] | {"done": 40, "total": 80}, 10.0)  # the second server
    assert pace.parts()[1:] == [first]
    pace.update({"system": "tuned", "most_s": 0}, 20.0)
    assert pace.parts()[1:] == ["tuned", "20s left"]


def test_the_price_of_a_teacher_includes_repeated_requests(tmp_path: Path) -> None:
    """The first of two samples was empty and requested again: the cost of 1,000 outputs includes both requests, of
    which the first returned two answers. A request whose first answer was unusable used to cost nothing, not even for
    the good answer in it."""
    replies = {1: says("", "a photograph"), 2: says("a painting")}
    price = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 1.0}
    spec = Spec.model_validate({"task": {"name": "t", "style": "s"}, "evaluate": {"samples": 2}})
    plan: Any = SimpleNamespace(
        spec=spec, form=ANY_TEXT, checks=checks_for(spec, Path()), reference_of=lambda seed: None,
        systems=(), validation=(), seeds=(),
    )  # fmt: skip
    seed = Seed(kind="input", text="a fox", source="t:1")
    with LoopbackTeacher(lambda ask: replies[ask.number]) as teacher:
        settings = TeacherSettings(url=teacher.url, model="loopback", attempts=2, **price)
        system: Any = SimpleNamespace(
            name="teacher", decoding="generation", schema=None, binding=False, model=Model(settings),
            messages=lambda seed: (Message(role="user", content=seed.body),),
            sampling=lambda mode, seed, **_: Sampling(),
        )  # fmt: skip

        async def asked() -> Answers:
            with Store.open(f"sqlite:///{tmp_path / 'answers.db'}") as store:
                async with Endpoint(teacher.url, "loopback") as endpoint:
                    collector = AnswerCollector(plan, store, lambda stage, numbers: None)
                    return await collector._ask_seed(system, Ledger(store, endpoint, settings), seed, "sampled")

        answers = asyncio.run(asked())
    assert [output.text for output in answers.outputs] == ["a painting", "a photograph"]
    assert len(teacher.asked) == 2
    assert (answers.usage.prompt_tokens, answers.usage.completion_tokens) == (20, 15)
    assert answers.timed_tokens == 15
    assert answers.timed_seconds > max(output.seconds for output in answers.outputs)
    assert answers.usd == pytest.approx(35 / 1e6)


@pytest.mark.parametrize(("text", "number"), [("a fox by a mill", 5), ("一只狐狸", 4), ("สุนัข", 5), ("ثعلب صغير", 2)])
def test_words_of_an_answer_are_counted_in_every_script(text: str, number: int) -> None:
    """In a script without spaces every character counts, as everywhere else. Otherwise all answers of a Chinese task
    would be one word long, and judges could not be asked which is better at equal length."""
    spec = Spec.model_validate({"task": {"name": "t", "style": "s"}})
    plan: Any = SimpleNamespace(form=ANY_TEXT, checks=checks_for(spec, Path()), reference_of=lambda seed: None)
    blank = Output(system="tuned", mode="greedy", seed_id="s", sample=0, answered=False, key="k")
    seed = Seed(kind="input", text="a fox", source="t:1")
    assert _judge_output(blank, answered(text), plan, seed).words == number
