"""Every provider as its public documentation describes it: success and each documented failure, through the ledger.

The table that this prints (`pytest -s`) is part of docs/providers.md.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import AuthError, PairsmithError
from schemas.records import Json, Message, Sampling
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.engine import generate
from synth.ledger import Completion, FailedSample, Ledger, Question
from synth.teachers import opened
from tests.synth.providers.documented import PROVIDERS
from tests.synth.providers.played import KEY, KEY_ENV, Body, Played, Provider, Response, choice, completion, text_of
from tests.synth.rig import input, rig

PAGE = Path(__file__).parents[3] / "docs" / "providers.md"
SCHEMA: Json = {
    "type": "object",
    "properties": {"caption": {"type": "string", "maxLength": 50}},
    "required": ["caption"],
    "additionalProperties": False,
}
LONG = "a dog on a hill in the evening, " * 2_000

# behaviour -> its outcome, if the provider documents it.
STOPS = {
    "wrong key": "stops, names the key's variable",
    "no credit": "stops, asks for credit",
    "plan used up": "stops, asks for credit",
    "unknown model": "stops, lists the models",
    "unknown setting": "stops, names the setting",
    "only thinking": "stops, says how to switch it off",
}
WAITS = {
    "rate limit": "waits, then answered",
    "overloaded": "waits, then answered",
    "error inside a 200": "waits, then answered",
    "model unloaded": "waits, then answered",
}
STRAY = "wrong key, once among answers"
RETRIED = {"schema violated": "requested again"}
NO_SCHEMA = "schema unsupported"
NO_SYSTEM = "no system role"
ROWS = {
    "prompt refused": "that row is refused",
    "prompt too long": "that row is refused",
    "more tokens than a minute allows": "that row is refused",
    "context full": "that row is refused",
    "no choice": "that row is malformed",
    "refused answer": "that row is refused",
    "filtered answer": "that row is refused",
    "cut answer": "that row is truncated",
    "broken off answer": "that row is failed",
    "broken off stream": "that row is failed",
}
ANSWERS = {
    "thinking": "separated from the answer",
    "schema": "the answer is valid",
    "kept alive": "answered",
    "annotated": "answered",
    "ends with eos": "answered",
    "prompt truncated": "noticed",
    "real cost": "kept",
    "cached tokens": "counted",
}
COLUMNS = ("answers", "n = 3", *STOPS, STRAY, *WAITS, *RETRIED, NO_SCHEMA, NO_SYSTEM, *ROWS, *ANSWERS)


def run_with_provider(
    provider: Provider,
    reply: Callable[[Body, int], Response | None],
    work: Callable[[Ledger, Store, Sampling], Any],
    folder: Path,
    model: str | None = None,
    **sampling: Any,
) -> Any:
    """The result of `work` with a ledger whose teacher is the played provider, and the requests that the provider
    received."""

    async def once(url: str) -> Any:
        key = {} if provider.key_header != "Authorization" else {"key_env": KEY_ENV}
        settings = TeacherSettings(
            url=url, model=model or provider.model, retries=3, concurrency=4, **key, **provider.teacher
        )
        with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
            async with opened(settings, print) as endpoint:
                endpoint.flow.retrying.backoff_s = 0.001
                drawn = Sampling(**{**provider.sampling, **sampling})
                return await work(Ledger(store, endpoint, settings), store, drawn)

    with Played(provider, reply) as server:
        return asyncio.run(once(server.url)), server.asked


def chat(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def observe_answer(provider: Provider, folder: Path) -> str:
    """`answers`: a plain question gets the provider's text as its answer."""

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> str:
        (answer,) = await ledger.answer(Question(chat("a dog"), sampling))
        assert isinstance(answer, Completion)
        assert answer.text == "a dog 0"
        return "answered"

    outcome, _ = run_with_provider(provider, lambda body, nth: None, work, folder)
    return str(outcome)


def observe_n_3(provider: Provider, folder: Path) -> str:
    """`n = 3`: three answers come, in one request or several."""

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> None:
        for question in ("a dog", "a cat"):
            answers = await ledger.answer(Question(chat(question), sampling), 3)
            assert all(isinstance(answer, Completion) for answer in answers)

    _, requests = run_with_provider(provider, lambda body, nth: None, work, folder)
    second = [body for body in requests if text_of(body) == "a cat"]
    if len(second) == 1:
        return "in one request"
    return "one by one" if "n" in second[0] else "one by one, without n"


def observe_stop(provider: Provider, behaviour: str, folder: Path) -> str:
    """The run ends: every request gets the documented error."""
    documented = provider.says[behaviour]

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> PairsmithError | None:
        try:
            for i in range(12):
                await ledger.answer(Question(chat(f"dog {i}"), sampling))
        except PairsmithError as error:
            return error
        return None

    extra = {"top_k": 5} if behaviour == "unknown setting" else {}
    model = "x" if behaviour == "unknown model" else None
    error, requests = run_with_provider(provider, lambda body, nth: documented, work, folder, model, **extra)
    if error is None:
        return "does not stop"
    assert KEY not in str(error)
    assert len(requests) <= 17
    if isinstance(error, AuthError):
        return STOPS["wrong key"]
    sentence = {
        "no credit": "no quota left",
        "plan used up": "no quota left",
        "unknown model": "does not know model",
        "unknown setting": "the setting 'top_k'",
        "only thinking": "switch thinking off",
    }[behaviour]
    if behaviour == "unknown model":
        assert provider.models[-1] in str(error)
    return STOPS[behaviour] if sentence in str(error) else f"stops: {error.what}"


def observe_wait(provider: Provider, behaviour: str, folder: Path) -> str:
    """The fault is temporary: the first two requests get the documented error."""
    documented = provider.says[behaviour]

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> Any:
        (answer,) = await ledger.answer(Question(chat("a dog"), sampling))
        return answer

    answer, _ = run_with_provider(provider, lambda body, nth: documented if nth <= 2 else None, work, folder)
    return "waits, then answered" if isinstance(answer, Completion) else answer.reason


def observe_stray_refusal(provider: Provider, folder: Path) -> str:
    """A gateway rejects a valid key once, with the provider's message for a wrong one."""
    documented = provider.says["wrong key"]

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> list[Any]:
        return [(await ledger.answer(Question(chat(text), sampling)))[0] for text in ("a dog", "odd", "a cat")]

    answers, requests = run_with_provider(
        provider, lambda body, nth: documented if text_of(body) == "odd" and nth == 1 else None, work, folder
    )
    bad = [answer.reason for answer in answers if not isinstance(answer, Completion)]
    times = sum(text_of(body) == "odd" for body in requests)
    return "requested once more" if not bad and times == 2 else f"asked {times} times, {bad}"


def observe_retry(provider: Provider, behaviour: str, folder: Path) -> str:
    """A mistake of the model that the provider reports as an error: the next try may be good, and has the same
    schema."""
    documented = provider.says[behaviour]

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> list[Any]:
        fits = completion(choice('{"caption": "a dog"}'))
        for question in ("a dog", "a cat"):
            script = [documented, fits]
            replies[question] = lambda script=script: script.pop(0)  # type: ignore[misc]
        return [(await ledger.answer(Question(chat(q), sampling, SCHEMA)))[0] for q in ("a dog", "a cat")]

    replies: dict[str, Callable[[], Response]] = {}
    answers, requests = run_with_provider(provider, lambda body, nth: replies[text_of(body)](), work, folder)
    assert all("response_format" in body for body in requests)
    bad = [answer.reason for answer in answers if not isinstance(answer, Completion)]
    return "requested again" if not bad and len(requests) == 4 else f"{len(requests)} requests, {bad}"


def observe_without_schema(provider: Provider, folder: Path) -> str:
    """A server that takes no schema: it is left out, also after an answer, and from the second question on at once."""
    documented = provider.says[NO_SCHEMA]

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> list[Any]:
        schemas = (None, SCHEMA, SCHEMA, SCHEMA)
        return [(await ledger.answer(Question(chat(str(i)), sampling, one)))[0] for i, one in enumerate(schemas)]

    def reply(body: Body, nth: int) -> Response | None:
        return documented if "response_format" in body else completion(choice('{"caption": "a dog"}'))

    answers, requests = run_with_provider(provider, reply, work, folder)
    bad = [answer.reason for answer in answers if not isinstance(answer, Completion)]
    return "left out" if not bad and len(requests) == 6 else f"{len(requests)} requests, {bad}"


def observe_without_system(provider: Provider, folder: Path) -> str:
    """A model without a system role: the system text moves to the user's turn, from the second question on at once."""
    documented = provider.says[NO_SYSTEM]

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> list[Any]:
        system = Message(role="system", content="Write.")
        return [(await ledger.answer(Question((system, *chat(text)), sampling)))[0] for text in ("a dog", "a cat")]

    def reply(body: Body, nth: int) -> Response | None:
        return documented if body["messages"][0]["role"] == "system" else None

    answers, requests = run_with_provider(provider, reply, work, folder)
    bad = [answer.reason for answer in answers if not isinstance(answer, Completion)]
    if bad or len(requests) != 3:
        return f"{len(requests)} requests, {bad}"
    assert requests[-1]["messages"] == [{"role": "user", "content": "Write.\n\na cat"}]
    return "moved to the user's turn"


def observe_row_failure(provider: Provider, behaviour: str, folder: Path) -> str:
    """The fault concerns one row: it alone fails, whether it comes first or in the middle."""
    documented = provider.says[behaviour]

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> str:
        (first,) = await ledger.answer(Question(chat("odd 1"), sampling))
        (good,) = await ledger.answer(Question(chat("a dog"), sampling))
        (odd,) = await ledger.answer(Question(chat("odd 2"), sampling))
        (other,) = await ledger.answer(Question(chat("a cat"), sampling))
        assert isinstance(good, Completion)
        assert isinstance(other, Completion)
        assert isinstance(first, FailedSample)
        assert isinstance(odd, FailedSample)
        word = odd.reason.partition(":")[0]
        assert first.reason.partition(":")[0] == word
        return f"that row is {word}"

    result, _ = run_with_provider(
        provider, lambda body, nth: documented if "odd" in text_of(body) else None, work, folder
    )
    return str(result)


def observe_special_answer(provider: Provider, behaviour: str, folder: Path) -> str:
    """A special property of an answer."""
    documented = provider.says[behaviour]
    schema = SCHEMA if behaviour == "schema" else None

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> str:
        question = LONG if behaviour == "prompt truncated" else "a dog"
        (answer,) = await ledger.answer(Question(chat(question), sampling, schema))
        if not isinstance(answer, Completion):
            return answer.reason
        (call,) = store.calls(answer.key)
        match behaviour:
            case "thinking":
                return "separated from the answer" if answer.text == "a dog 0" else answer.text
            case "real cost":
                usage, own = call.facts["usage"], call.facts.get("provider", "LiteLLM")
                kept = call.usd == usage["cost"] == 0.00042 and own in ("LiteLLM", "Someone")
                thought = usage.get("completion_tokens_details", {}).get("reasoning_tokens")
                known = own == "LiteLLM" or (thought == 3 and "2026" in call.facts["model"])
                return "kept" if kept and known else str(call.facts)
            case "cached tokens":
                return "counted" if call.usage.cached_tokens == 16 else str(call.usage)
            case "prompt truncated":
                return "noticed" if ledger.cut_prompts == 1 else "not noticed"
            case _:
                return ANSWERS[behaviour]

    result, requests = run_with_provider(provider, lambda body, nth: documented, work, folder)
    assert schema is None or requests[0]["response_format"]["json_schema"]["schema"] == schema
    return str(result)


def observe(provider: Provider, behaviour: str, folder: Path) -> str:
    """The table cell as observed: what pairsmith does."""
    if behaviour == "answers":
        return observe_answer(provider, folder)
    if behaviour == "n = 3":
        return observe_n_3(provider, folder)
    if behaviour == STRAY:
        return observe_stray_refusal(provider, folder)
    if behaviour in (NO_SYSTEM, NO_SCHEMA):
        return (observe_without_system if behaviour == NO_SYSTEM else observe_without_schema)(provider, folder)
    runs = (
        (STOPS, observe_stop),
        (WAITS, observe_wait),
        (RETRIED, observe_retry),
        (ROWS, observe_row_failure),
        (ANSWERS, observe_special_answer),
    )
    return next(run(provider, behaviour, folder) for group, run in runs if behaviour in group)


def expected_outcome(provider: Provider, behaviour: str) -> str:
    """The table cell as promised."""
    if behaviour == "n = 3":
        refuses = provider.refuses({"n": 3, "messages": [{"content": ""}]}) is not None
        one = len(provider.answer({"n": 3, "model": "m", "messages": [{"content": ""}]}).body["choices"]) == 1
        return "one by one, without n" if refuses else "one by one" if one else "in one request"
    own = {"answers": "answered", STRAY: "requested once more", NO_SYSTEM: "moved to the user's turn"}
    own |= {NO_SCHEMA: "left out"}
    return {**own, **STOPS, **WAITS, **RETRIED, **ROWS, **ANSWERS}[behaviour]


CELLS = [
    (provider, behaviour)
    for provider in PROVIDERS
    for behaviour in COLUMNS
    if behaviour in ("answers", "n = 3") or behaviour.removesuffix(", once among answers") in provider.says
]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables. Creating them for each cell would take most of the time."""
    folder = tmp_path_factory.mktemp("empty")
    Store.open(f"sqlite:///{folder / 'pairsmith.db'}").close()
    return folder / "pairsmith.db"


@pytest.mark.parametrize(("provider", "behaviour"), CELLS, ids=[f"{p.name}: {b}" for p, b in CELLS])
def test_a_provider_behaves_as_documented(
    provider: Provider, behaviour: str, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider's answers become rows, and each of its errors gets the reaction that fits it."""
    shutil.copy(empty_store, tmp_path)
    monkeypatch.setenv(KEY_ENV, KEY)
    assert observe(provider, behaviour, tmp_path) == expected_outcome(provider, behaviour)


def table() -> str:
    """The tables of docs/providers.md: behaviour, outcome and the providers that document it; then where they document
    it."""
    lines = ["| a provider's | pairsmith | tested as |", "|---|---|---|"]
    for behaviour in COLUMNS:
        by_outcome: dict[str, list[str]] = {}
        for provider, one in CELLS:
            if one == behaviour:
                by_outcome.setdefault(expected_outcome(provider, behaviour), []).append(provider.name)
        lines += [f"| {behaviour} | {outcome} | {_in_brief(names)} |" for outcome, names in by_outcome.items()]
    lines += ["", "| provider | documented at | address ends in | key in |", "|---|---|---|---|"]
    for provider in PROVIDERS:
        key = f"`{provider.key_header}`" if provider.key_header else "none needed"
        lines.append(f"| {provider.name} | <{provider.documented}> | `{provider.path}` | {key} |")
    return "\n".join(lines)


def _in_brief(names: list[str]) -> str:
    """The providers by name; if they are most of all, by the names of those that are missing."""
    missing = [provider.name for provider in PROVIDERS if provider.name not in names]
    if len(missing) >= len(names) / 2:
        return "; ".join(names)
    return f"all but {'; '.join(missing)}" if missing else "all"


def test_every_behaviour_is_tested_and_documented() -> None:
    """Every behaviour that a provider documents is known, and docs/providers.md has the table of this suite."""
    print(table())
    assert all(set(provider.says) <= set(COLUMNS) for provider in PROVIDERS)
    assert table().strip() in PAGE.read_text(encoding="utf-8")


def test_wrong_key_raises_auth_error(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each provider's own rejection of a wrong key ends the run, whatever its status code."""
    monkeypatch.setenv(KEY_ENV, "sk-wrong-0123456789012")

    async def work(ledger: Ledger, store: Store, sampling: Sampling) -> None:
        await ledger.answer(Question(chat("a dog"), sampling))

    for number, provider in enumerate(PROVIDERS):
        if provider.key_header:
            (folder := tmp_path / str(number)).mkdir()
            shutil.copy(empty_store, folder)
            with pytest.raises(AuthError):
                run_with_provider(provider, lambda body, nth: None, work, folder)


ERRORS = [documented.body for one in PROVIDERS for documented in one.says.values() if documented.status >= 400]
MIXED = [
    (status, body, before)
    for status, body in zip(
        (400, 403, 404, 413, 422, 424, 498, 500, 502), random.Random(2).sample(ERRORS, 9), strict=True
    )
    for before in (0, 12)
]


@pytest.mark.parametrize(("status", "body", "before"), MIXED)
def test_no_error_of_a_gateway_that_mixes_them_gives_rows_up(
    status: int, body: Any, before: int, tmp_path: Path
) -> None:
    """A gateway may pass on any provider's error with any status. If all requests get it, from the start or after some
    answers, no row is given up and no answer made of it: once the cause is gone, the next run has them all."""
    documented, broken = Response(status, body), [True]

    def reply(asked: Body, nth: int) -> Response | None:
        return documented if broken[0] and len(server.asked) > before else None

    async def once() -> int:
        async with rig(server.url, tmp_path, concurrency=4) as r:
            with suppress(PairsmithError):
                result = await generate(r.store, input(30), [r.forward], concurrency=4)
                return result.counts.waiting
            return len(list(r.store.pairs()))

    provider = Provider("a gateway", "", {}, key_header=None)
    with Played(provider, reply) as server:
        assert asyncio.run(once()) <= 2 * before
        broken[0] = False
        assert asyncio.run(once()) == 60
