"""A real vLLM, started by pairsmith and tested like every provider: `make test-vllm`. Its behaviour is documented in
docs/providers.md, with its version; these tests check that it still holds."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import AuthError, PairsmithError
from schemas.records import Sampling
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.ledger import Completion, FailedSample, Ledger, Question
from synth.local_vllm import VllmServer
from synth.teachers import opened
from tests.real_vllm import MODEL, random_adapter, running, skip_without
from tests.synth.providers.played import KEY
from tests.synth.providers.test_providers import LONG, PAGE, ROWS, SCHEMA, STOPS, chat

LONGER = LONG * 2  # more than the model's 8,192 tokens
WRITE = "Write a long story about a dog, a cat and a mill by the river."


def has_answers(answers: list[Completion | FailedSample]) -> list[str]:
    assert all(isinstance(answer, Completion) for answer in answers), answers
    return [answer.text for answer in answers if isinstance(answer, Completion)]


def texts(store: Store, answers: list[Completion | FailedSample]) -> list[str]:
    """The generated texts, including truncated ones."""
    calls = [store.calls(answer.key)[0] for answer in answers]
    assert {call.status for call in calls} <= {"ok", "truncated"}
    return [call.text for call in calls]


async def check_answer(ledger: Ledger, store: Store) -> str:
    (answer,) = await ledger.answer(Question(chat("Name a colour."), Sampling(temperature=0, max_tokens=64)))
    (call,) = store.calls(answer.key)
    assert call.usage.prompt_tokens > 5
    assert 0 < call.usage.completion_tokens < 64
    return "answered" if has_answers([answer])[0] and call.facts["system_fingerprint"] else "no text"


async def check_n_3(ledger: Ledger, store: Store) -> str:
    answers = texts(store, await ledger.answer(Question(chat(WRITE), Sampling(temperature=1, max_tokens=12)), 3))
    return "in one request" if (len(set(answers)), ledger.sent) == (3, 1) else f"{answers}"


async def check_seed(ledger: Ledger, store: Store) -> str:
    asked = ((5, "a"), (5, "b"), (6, "a"))  # with another user's name, so that the ledger has no stored answer
    drawn = [Sampling(temperature=1, max_tokens=12, seed=seed, extra={"user": user}) for seed, user in asked]
    first, same, other = [texts(store, await ledger.answer(Question(chat(WRITE), sampling)))[0] for sampling in drawn]
    return "same seed, same answer" if first == same != other else f"{first!r}, {same!r}, {other!r}"


async def check_seeds_under_load(ledger: Ledger, store: Store) -> str:
    """Thirty long prompts at once, so that some are prefilled in several steps. Most answers end before they are
    cut."""
    story = "There was a small house by a river in the mountains. " * 40
    drawn = [Sampling(temperature=1, max_tokens=48, seed=seed, stop=(".", ",")) for seed in range(30)]
    together = await asyncio.gather(*(ledger.answer(Question(chat(f"{story} {s.seed}"), s)) for s in drawn))
    answers = [texts(store, given)[0] for given in together]
    return "answered" if len(set(answers)) > 20 else f"{answers}"


async def check_stop_text(ledger: Ledger, store: Store) -> str:
    sampling = Sampling(temperature=0, max_tokens=64, stop=(" the",))
    (answer,) = await ledger.answer(Question(chat(WRITE), sampling))
    (call,) = store.calls(answer.key)
    text = has_answers([answer])[0]
    return "ends before the stop text" if text and " the" not in text and call.raw["finish_reason"] == "stop" else text


async def check_schema(ledger: Ledger, store: Store) -> str:
    given = await ledger.answer(Question(chat("Describe a dog."), Sampling(temperature=0, max_tokens=128), SCHEMA))
    return "the answer is valid" if [*json.loads(has_answers(given)[0])] == ["caption"] else "another answer"


async def check_choice(ledger: Ledger, store: Store) -> str:
    extra = {"structured_outputs": {"choice": ["red", "blue"]}}
    given = await ledger.answer(Question(chat("Name a colour."), Sampling(temperature=1, max_tokens=9, extra=extra)))
    return "one of the choices" if has_answers(given)[0] in ("red", "blue") else "another answer"


async def check_logprobs(ledger: Ledger, store: Store) -> str:
    sampling = Sampling(temperature=0, max_tokens=64, extra={"logprobs": True, "top_logprobs": 3})
    (answer,) = await ledger.answer(Question(chat("Name a colour."), sampling))
    (call,) = store.calls(answer.key)
    tokens = call.raw["logprobs"]["content"]
    return "kept" if {len(token["top_logprobs"]) for token in tokens} == {3} else str(tokens)


async def odd_row(ledger: Ledger, odd: str, sampling: Sampling) -> str:
    """The outcome of an odd row, as the first one and in the middle."""
    (first,) = await ledger.answer(Question(chat(f"1 {odd}"), sampling))
    has_answers(await ledger.answer(Question(chat("Name a colour."), Sampling(temperature=0, max_tokens=64))))
    (second,) = await ledger.answer(Question(chat(f"2 {odd}"), sampling))
    assert isinstance(first, FailedSample)
    assert isinstance(second, FailedSample)
    assert first.reason.partition(":")[0] == second.reason.partition(":")[0]
    return f"that row is {second.reason.partition(':')[0]}"


async def check_prompt_too_long(ledger: Ledger, store: Store) -> str:
    return await odd_row(ledger, LONGER, Sampling(max_tokens=4))


async def check_cut_answer(ledger: Ledger, store: Store) -> str:
    return await odd_row(ledger, WRITE, Sampling(temperature=0, max_tokens=5))


async def first_error(ledger: Ledger, **sampling: Any) -> PairsmithError | None:
    """The error that ends a run of fewer cut answers than would end it."""
    try:
        for i in range(8):
            await ledger.answer(Question(chat(f"dog {i}"), Sampling(max_tokens=4, **sampling)))
    except PairsmithError as error:
        return error
    return None


async def check_unknown_model(ledger: Ledger, store: Store) -> str:
    error = await first_error(ledger)
    return STOPS["unknown model"] if MODEL in str(error) and "tuned" in str(error) else str(error)


async def check_unknown_setting(ledger: Ledger, store: Store) -> str:
    error = await first_error(ledger, extra={"no_such_setting": 1})
    return "ignores it" if error is None else f"stops: {error}"


async def check_invalid_value(ledger: Ledger, store: Store) -> str:
    error = await first_error(ledger, extra={"top_k": "many"})
    return "stops, names the setting" if "the setting 'top_k'" in str(error) else str(error)


async def check_wrong_key(ledger: Ledger, store: Store) -> str:
    error = await first_error(ledger)
    return STOPS["wrong key"] if isinstance(error, AuthError) and "WRONG_KEY" in str(error) else str(error)


async def check_mixed_batch(ledger: Ledger, store: Store) -> str:
    """Base and adapter in the same batches answer as they do separately."""
    sampling = Sampling(temperature=0, max_tokens=8, extra={"logprobs": True, "top_logprobs": 1})
    settings = ledger.teacher.model_copy(update={"model": MODEL})
    async with opened(settings, print) as endpoint:

        async def first(question: str) -> tuple[str, float]:
            answer = await endpoint.ask(chat(question), sampling)
            token = answer.choices[0]["logprobs"]["content"][0]
            return token["token"], token["logprob"]

        questions = [f"Name a colour that begins with {letter}." for letter in "abcdefgh"]
        alone = [await first(question) for question in questions]
        busy = [asyncio.ensure_future(ledger.answer(Question(chat(f"{q} Why?"), sampling))) for q in questions]
        mixed = await asyncio.gather(*map(first, questions))
        await asyncio.gather(*busy)
    differences = [abs(a[1] - m[1]) for a, m in zip(alone, mixed, strict=True)]
    return "the same as separately" if sorted(differences)[4] < 0.05 else f"{alone} {mixed}"


async def check_adapter(ledger: Ledger, store: Store) -> str:
    (text,) = texts(
        store, await ledger.answer(Question(chat("Name a colour."), Sampling(temperature=0, max_tokens=16)))
    )
    async with opened(ledger.teacher.model_copy(update={"model": MODEL}), print) as endpoint:
        answer = await endpoint.ask(chat("Name a colour."), Sampling(temperature=0, max_tokens=16))
    return "a model of its own" if answer.choices[0]["message"]["content"].strip() != text else "as the base"


# behaviour -> (what is done, what is promised, the model or the key's variable to use)
CASES: dict[str, tuple[Callable[[Ledger, Store], Awaitable[str]], str, dict[str, Any]]] = {
    "answers": (check_answer, "answered", {}),
    "n = 3": (check_n_3, "in one request", {}),
    "seed": (check_seed, "same seed, same answer", {}),
    "seeds, 30 long prompts at once": (check_seeds_under_load, "answered", {}),
    "stop": (check_stop_text, "ends before the stop text", {}),
    "schema": (check_schema, "the answer is valid", {}),
    "`structured_outputs` with choices": (check_choice, "one of the choices", {}),
    "logprobs": (check_logprobs, "kept", {}),
    "cut answer": (check_cut_answer, ROWS["cut answer"], {}),
    "prompt too long": (check_prompt_too_long, ROWS["prompt too long"], {}),
    "adapter (`--lora`)": (check_adapter, "a model of its own", {"model": "tuned"}),
    "base and adapter in one batch": (check_mixed_batch, "the same as separately", {"model": "tuned"}),
    "unknown model": (check_unknown_model, STOPS["unknown model"], {"model": "x"}),
    "unknown setting": (check_unknown_setting, "ignores it", {}),
    "setting with an invalid value": (check_invalid_value, "stops, names the setting", {}),
    "wrong key": (check_wrong_key, STOPS["wrong key"], {"key_env": "WRONG_KEY"}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    adapter = random_adapter(tmp_path_factory.mktemp("adapter"))
    os.environ["VLLM_API_KEY"] = KEY
    try:
        with running(MODEL, lora=[f"tuned={adapter}"]) as server:
            yield server
    finally:
        del os.environ["VLLM_API_KEY"]


@skip_without
@pytest.mark.parametrize("behaviour", CASES)
def test_a_real_vllm_behaves_as_the_manual_says(
    behaviour: str, server: VllmServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row of the table in docs/providers.md, checked on the server itself."""
    monkeypatch.setenv("WRONG_KEY", "not-this-one-9876543210")
    work, promised, settings_of_case = CASES[behaviour]

    async def once() -> str:
        settings = TeacherSettings(
            **{
                "url": server.base_url,
                "model": MODEL,
                "key_env": server.key_env,
                "timeout_s": 600,
                "retries": 1,
                "attempts": 1,
                **settings_of_case,
            }
        )
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
            async with opened(settings, print) as endpoint:
                return await work(Ledger(store, endpoint, settings), store)

    assert asyncio.run(once()) == promised


def test_manual_documents_the_tested_behaviour() -> None:
    """docs/providers.md has the table that `make test-vllm` checks against a real server."""
    page = PAGE.read_text(encoding="utf-8")
    for behaviour, (_, promised, _) in CASES.items():
        assert f"| {behaviour} | {promised} |" in page
