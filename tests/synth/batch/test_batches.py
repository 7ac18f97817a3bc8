"""The batch APIs: another way to fill the ledger. Like ordinary requests they lose nothing and buy nothing twice."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Literal

import orjson
import pytest
from pydantic import BaseModel

from schemas.errors import TeacherError, UsageError
from schemas.money import Cost, total
from schemas.progress import discard_message
from schemas.records import Json, Message, Sampling
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.batch.batches import Batches
from synth.batch.files import TOGETHER
from synth.batch.forms import FORMS, _thinking_config
from synth.batch.lines import BatchLine, State, max_costs
from synth.chat.completions import StoppedError
from synth.endpoints.endpoint import Endpoint
from synth.ledger import Completion, FailedSample, Ledger, Question
from tests.synth.batch_loopback import BatchProvider

EVERY_FORM = pytest.mark.parametrize("form", ["openai", "mistral", "together", "anthropic", "gemini"])
SAMPLING = Sampling(temperature=0.7, max_tokens=64, seed=5, stop=("END",), top_p=0.9)


def chat(text: str) -> tuple[Message, ...]:
    return (
        Message(role="system", content="Write."),
        Message(role="user", content="a"),
        Message(role="assistant", content="b"),
        Message(role="user", content=text),
    )


def with_batches(
    provider: BatchProvider, folder: Path, work: Callable[[Ledger, list[str]], Awaitable[Any]], **settings: Any
) -> Any:
    submits, warn = settings.pop("submits", True), settings.pop("warn", discard_message)

    async def run() -> Any:
        spec = TeacherSettings(
            **{"url": provider.url, "model": "loopback", "batch_api": provider.form, "retries": 2, **settings}
        )
        lines: list[str] = []
        with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
            async with (
                Endpoint(spec.url, spec.model, key="sk-batch") as endpoint,
                Batches(store, endpoint, spec, lines.append, submits=submits, gather_s=0.05, poll_s=0.001) as batches,
            ):
                endpoint.flow.say = warn
                return await work(Ledger(store, endpoint, spec, batches=batches), lines)

    return asyncio.run(run())


async def ask_dogs(ledger: Ledger, count: int = 20, n: int = 1) -> list[list[Completion | FailedSample]]:
    return list(await asyncio.gather(*(ledger.answer(Question(chat(f"dog {i}"), SAMPLING), n) for i in range(count))))


@EVERY_FORM
def test_batch_gives_the_answers_of_ordinary_requests(form: str, tmp_path: Path) -> None:
    """All questions go into one batch and none is sent as a request. The answers are in the ledger at half the price,
    or the full price at Together. A second run sends nothing."""
    price = {"usd_per_million_prompt_tokens": 1e6, "usd_per_million_completion_tokens": 1e6}

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger)
        assert [a.text for (a,) in answers if isinstance(a, Completion)] == [
            f"dog {i}, at length (1)" for i in range(20)
        ]
        assert total(ledger.costs).total == 20 * 15 * (1.0 if form == "together" else 0.5)
        assert ledger.usage.completion_tokens == 20 * 5
        assert "20 requests" in lines[0]
        assert "at most, instead of" in lines[0]
        assert ledger.in_flight == 0

    with BatchProvider(form) as provider:
        with_batches(provider, tmp_path, work, **price)
        assert [len(batch) for batch in provider.batches] == [20]

        async def again(ledger: Ledger, lines: list[str]) -> None:
            await ask_dogs(ledger)
            assert ledger.reused == 20

        with_batches(provider, tmp_path, again, **price)
        assert (len(provider.batches), provider.live) == (1, 0)


def test_the_first_batch_of_a_teacher_recommends_to_look_at_some_answers(tmp_path: Path) -> None:
    """A batch is paid for as a whole, also if none of its answers can be used, for example because all are cut. Until
    one of the teacher was usable, the line about the batch says how to see some first."""

    async def work(ledger: Ledger, lines: list[str]) -> str:
        await ask_dogs(ledger, len(provider.batches) + 1)
        return lines[0]

    with BatchProvider("openai", lambda dog, nth: f"{dog}, at length" if dog == "dog 1" else "") as provider:
        announced = [with_batches(provider, tmp_path, work, attempts=1) for _ in range(3)]
    assert ["pairsmith preview" in line for line in announced] == [True, True, False]


def test_cost_of_a_small_batch_has_enough_digits(tmp_path: Path) -> None:
    """Two questions cost a fraction of a cent. The line with the savings shows enough digits."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        await ask_dogs(ledger, 2)
        assert re.search(r"cost about \$0\.0000\d+ at most, instead of \$0\.0000\d+\.", lines[0]), lines[0]

    with BatchProvider("openai") as provider:
        with_batches(provider, tmp_path, work, usd_per_million_prompt_tokens=0.1, usd_per_million_completion_tokens=0.4)


def test_cost_of_a_batch_is_estimated_line_by_line() -> None:
    """Many short prompts do not count as one long one if a model has a higher price for long prompts."""
    teacher = TeacherSettings(url="https://generativelanguage.googleapis.com/v1beta/openai", model="gemini-2.5-pro")
    line = BatchLine("x", {"messages": [{"role": "user", "content": "a dog " * 1_000}], "max_tokens": 10})
    one, many = max_costs(teacher, [line]), max_costs(teacher, [line] * 500)
    assert one is not None
    assert many == pytest.approx(tuple(500 * usd for usd in one))


@EVERY_FORM
def test_several_samples_of_a_question_are_several_answers(form: str, tmp_path: Path) -> None:
    """If a format has no `n`, each sample is a line of its own."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger, 3, n=3)
        assert all(len({a.text for a in samples if isinstance(a, Completion)}) == 3 for samples in answers)

    with BatchProvider(form) as provider:
        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches] == [9 if form in ("anthropic", "gemini") else 3]


@EVERY_FORM
def test_a_run_that_ended_while_it_waited_is_continued(form: str, tmp_path: Path) -> None:
    """The batch is found in the store by its lines and waited for. Nothing is submitted twice."""

    async def stopped(ledger: Ledger, lines: list[str]) -> None:
        asked = asyncio.ensure_future(ask_dogs(ledger))
        await asyncio.to_thread(provider.wait_for_a_batch)
        ledger.drain()
        with pytest.raises(StoppedError):
            await asked

    async def continued(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger, 21)
        assert all(isinstance(answer, Completion) for (answer,) in answers)

    with BatchProvider(form) as provider:
        provider.finishes = False
        with_batches(provider, tmp_path, stopped)
        provider.finishes = True
        with_batches(provider, tmp_path, continued)
        assert [len(batch) for batch in provider.batches] == [20, 1]


@EVERY_FORM
@pytest.mark.parametrize("asked_again", [0, 2, 3])
def test_batch_in_flight_counts_as_spent_until_it_is_read(form: str, asked_again: int, tmp_path: Path) -> None:
    """A process that ended while it waited leaves the most that the batch may cost in every total, so that a cap set
    afterwards counts it. Once the results are read, their real cost replaces it, also that of answers that nobody has
    asked for, which counts as reserved until a later run does."""
    price = {"usd_per_million_prompt_tokens": 0, "usd_per_million_completion_tokens": 1e6}
    half = 1.0 if form == "together" else 0.5

    def spent() -> Cost:
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
            return store.spent()

    async def stopped(ledger: Ledger, lines: list[str]) -> None:
        asked = asyncio.ensure_future(ask_dogs(ledger, 3))
        await asyncio.to_thread(provider.wait_for_a_batch)
        ledger.drain()
        with pytest.raises(StoppedError):
            await asked

    with BatchProvider(form) as provider:
        provider.finishes = False
        with_batches(provider, tmp_path, stopped, **price)
        assert (spent().lost, spent().reserved, spent().usd) == (3, 3 * 64 * half, 0.0)
        provider.finishes = True
        for asked in (asked_again, 3):
            with_batches(provider, tmp_path, lambda ledger, lines, asked=asked: ask_dogs(ledger, asked), **price)
            left = 3 - asked
            assert (spent().lost, spent().reserved) == (left, pytest.approx(left * (5 if asked else 64) * half))
            assert spent().usd == asked * 5 * half
        assert len(provider.batches) == 1


@pytest.mark.parametrize("is_unclear", [False, True])
def test_refused_batch_costs_nothing(is_unclear: bool, tmp_path: Path) -> None:
    """A batch that was refused as a whole is in no total; one that may have been created is."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError):
            await ask_dogs(ledger, 3)

    with BatchProvider("openai") as provider:
        provider.refuses, provider.says_only = ("", b"{}") if is_unclear else ("no", b"")
        with_batches(provider, tmp_path, work, usd_per_million_prompt_tokens=1, usd_per_million_completion_tokens=1)
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        assert store.spent().lost == (3 if is_unclear else 0)


@EVERY_FORM
def test_batch_whose_id_was_not_stored_is_found_at_the_provider(form: str, tmp_path: Path) -> None:
    """If the process died between the provider's response and the disk, the label, which is stored before, identifies
    the batch."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        await ask_dogs(ledger)

    with BatchProvider(form) as provider:
        with_batches(provider, tmp_path, work)
        with closing(sqlite3.connect(tmp_path / "pairsmith.db")) as db, db:
            assert db.execute("DELETE FROM artifacts WHERE id LIKE 'batch:%:made'").rowcount == 1
            db.execute("DELETE FROM calls")
        with_batches(provider, tmp_path, work)
        assert len(provider.batches) == 1
        assert provider.listed == 1


@EVERY_FORM
def test_expired_or_failed_lines_are_submitted_again(form: str, tmp_path: Path) -> None:
    """Of ten lines one expires and one gets a server fault. The second batch has only those two."""
    faults = {"dog 3": None, "dog 7": 500}

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger, 10)
        assert all(isinstance(answer, Completion) for (answer,) in answers)

    with BatchProvider(form, lambda prompt, nth: faults.get(prompt, "x") if nth == 1 else "late") as provider:
        with_batches(provider, tmp_path, work)
        assert [sorted(batch) for batch in provider.batches[1:]] == [["dog 3", "dog 7"]]


@EVERY_FORM
@pytest.mark.parametrize("n", [1, 3])
def test_refused_line_fails_only_its_row(form: str, n: int, tmp_path: Path) -> None:
    """A request that the provider rejects fails its row with the reason. It is not sent again in another form, which
    would take another day, because the others were answered with the same settings."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = [answer for answer, *_ in await ask_dogs(ledger, 5, n)]
        failed = [answer for answer in answers if isinstance(answer, FailedSample)]
        assert [answer.reason.partition(":")[0] for answer in failed] == ["refused"]

    with BatchProvider(form, lambda prompt, nth: 400 if prompt == "dog 2" else "x") as provider:
        with_batches(provider, tmp_path, work, attempts=1)
        assert len(provider.batches) == 1


@pytest.mark.parametrize("form", ["anthropic", "gemini"])
def test_line_refused_beside_answers_to_its_question_costs_no_answer(form: str, tmp_path: Path) -> None:
    """Without `n`, each sample is a line. One is refused, as by a filter of what was written: the answers to the others
    are kept with their cost, and only its sample is requested again."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        ((*samples,),) = await ask_dogs(ledger, 1, n=3)
        assert [a.text for a in samples if isinstance(a, Completion)] == ["answer 1", "answer 4", "answer 3"]
        assert total(ledger.costs).total == 3 * 15 * 0.5

    price = {"usd_per_million_prompt_tokens": 1e6, "usd_per_million_completion_tokens": 1e6}
    with BatchProvider(form, lambda prompt, nth: 400 if nth == 2 else f"answer {nth}") as provider:
        with_batches(provider, tmp_path, work, **price)
        assert [len(batch) for batch in provider.batches] == [3, 1]


def test_empty_account_gets_no_further_batch(tmp_path: Path) -> None:
    """Another batch would take another day to give the same result. The other answers of the batch are there for the
    next run."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match=r"no quota left .*exceeded your current quota"):
            await ask_dogs(ledger, 5)

    async def again(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger, 5)
        assert all(isinstance(answer, Completion) for (answer,) in answers)

    why = "You exceeded your current quota (insufficient_quota)"
    with BatchProvider("openai", lambda prompt, nth: 429 if (prompt, nth) == ("dog 2", 1) else "x", because=why) as api:
        with_batches(api, tmp_path, work)
        assert len(api.batches) == 1
        with_batches(api, tmp_path, again)
        assert sorted(map(len, api.batches)) == [1, 5]


@pytest.mark.parametrize(
    ("form", "error", "words"),
    [
        (
            "anthropic",
            {"type": "not_found_error", "message": "model: loopback"},
            "does not know model .*model: loopback",
        ),
        ("anthropic", {"type": "authentication_error", "message": "invalid x-api-key"}, "refuses the key"),
        ("anthropic", {"type": "billing_error", "message": "Your credit is used"}, "no quota left"),
        ("gemini", {"code": 5, "message": "models/loopback is not found"}, "does not know model"),
        ("gemini", {"code": 7, "message": "The caller does not have permission"}, "refuses the key"),
        ("gemini", {"code": 16, "message": "invalid credentials"}, "refuses the key"),
    ],
)
def test_error_of_every_line_ends_the_run(form: str, error: Any, words: str, tmp_path: Path) -> None:
    """A provider's own code for a wrong model, a wrong key or an empty account counts as the status it means. The same
    lines are not submitted again and again, each time for up to a day."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match=words):
            await ask_dogs(ledger, 5)

    with BatchProvider(form, lambda prompt, nth: 500, error=error) as provider:
        with_batches(provider, tmp_path, work)
        assert len(provider.batches) == 1


def test_azure_batch_waits_until_its_file_is_processed(tmp_path: Path) -> None:
    """An uploaded file is "pending", and rejected until it is "processed". Files and batches belong to the resource,
    although the address may be that of a deployment."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger, 3)
        assert all(isinstance(answer, Completion) for (answer,) in answers)

    with BatchProvider("openai", azure=True) as provider:
        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches] == [3]


def gemini_config(folder: Path, provider: BatchProvider, **extra: Any) -> Any:
    """The generationConfig that `sampling.extra` becomes in Gemini's own format."""

    async def work(ledger: Ledger, lines: list[str]) -> Any:
        await ledger.answer(Question(chat("a dog"), SAMPLING.model_copy(update={"extra": extra})))
        return provider.bodies[-1]["generationConfig"]

    return with_batches(provider, folder, work)


def test_setting_reaches_gemini_or_is_an_error(tmp_path: Path) -> None:
    """Settings of its OpenAI-compatible endpoint, such as the thinking budget, are translated. One without an
    equivalent stops the run before a batch is created, because the answers would not be what was requested."""
    with BatchProvider("gemini") as provider:
        drawn = gemini_config(tmp_path, provider, reasoning_effort="none", presence_penalty=0.5)
        assert (drawn["thinkingConfig"], drawn["presencePenalty"]) == ({"thinkingLevel": "minimal"}, 0.5)
        assert drawn["stopSequences"] == ["END"]
        asked = {"google": {"thinking_config": {"thinking_budget": 0}}}
        assert gemini_config(tmp_path, provider, extra_body=asked)["thinkingConfig"] == {"thinking_budget": 0}
        with pytest.raises(TeacherError, match="does not support the setting 'min_p'"):
            gemini_config(tmp_path, provider, min_p=0.1)
        assert len(provider.batches) == 2
    two = _thinking_config("reasoning_effort", "none", "gemini-2.5-flash")
    assert two == {"thinkingBudget": 0}


class Buyer(BaseModel):
    name: str


class Order(BaseModel):
    buyer: Buyer
    note: str | None = None
    unit: Literal["piece"] = "piece"


def test_schema_reaches_gemini_in_its_own_form(tmp_path: Path) -> None:
    """A JSON schema is accepted in a batch, but answers then have shifted or empty fields, some of which satisfy the
    schema. So it is sent in Gemini's own form, with the references and optional fields that pydantic writes. What that
    form cannot express is not sent, and answers are judged by it all the same."""
    tags = {"type": "array", "items": {"type": "string", "enum": ["red", "tall"]}, "maxItems": 3}
    properties = {"name": {"type": "string", "maxLength": 9}, "age": {"type": ["integer", "null"]}, "tags": tags}
    schema = {"type": "object", "properties": properties, "required": ["name"], "additionalProperties": False}

    def config(schema: Json) -> Any:
        async def work(ledger: Ledger, lines: list[str]) -> Any:
            await ledger.answer(Question(chat("a dog"), SAMPLING, schema), 1)
            return provider.bodies[-1]["generationConfig"]

        return with_batches(provider, tmp_path, work)

    with BatchProvider("gemini") as provider:
        sent = config(schema)
        assert "responseJsonSchema" not in sent
        own = sent["responseSchema"]
        assert own["properties"]["age"] == {"type": "INTEGER", "nullable": True}
        assert own["properties"]["tags"]["items"] == {"type": "STRING", "enum": ["red", "tall"]}
        assert own["propertyOrdering"] == ["name", "age", "tags"]
        assert "additionalProperties" not in own
        kinds: list[Any] = [True, {"type": ["string", "integer"]}, {"type": "array"}, {"type": "object"}]
        wrong = {"type": "object", "properties": {"a": tags}, "required": ["b"]}
        assert config(Order.model_json_schema())["responseSchema"] == {
            "type": "OBJECT",
            "properties": {
                "buyer": {"type": "OBJECT", "properties": {"name": {"type": "STRING"}}, "required": ["name"]}
                | {"propertyOrdering": ["name"]},
                "note": {"type": "STRING", "nullable": True},
                "unit": {"type": "STRING", "enum": ["piece"]},
            },
            "required": ["buyer"],
            "propertyOrdering": ["buyer", "note", "unit"],
        }
        itself = {"$ref": "#/$defs/Tree"}
        tree = {"type": "object", "properties": {"trees": {"type": "array", "items": itself}}}
        assert "responseSchema" not in config({**tree, "$defs": {"Tree": tree}})
        hen = {"type": "object", "properties": {"egg": {"$ref": "#/$defs/Egg"}}}
        egg = {"type": "object", "properties": {"hen": {"anyOf": [{"$ref": "#/$defs/Hen"}, {"type": "null"}]}}}
        assert "responseSchema" not in config({"$ref": "#/$defs/Hen", "$defs": {"Hen": hen, "Egg": egg}})
        wider: tuple[tuple[Json, Json], ...] = (
            ({"type": "string", "format": "date"}, {"type": "STRING"}),
            ({"type": "integer", "enum": [1, 2], "multipleOf": 1}, {"type": "INTEGER"}),
            ({"allOf": [{"type": "string"}], "description": "A"}, {"type": "STRING", "description": "A"}),
        )
        for narrow, own_form in wider:
            sent = config({**schema, "properties": {**properties, "more": narrow}})
            assert sent["responseSchema"]["properties"]["more"] == own_form
        tags_object = {"type": "object", "properties": {"tags": tags}}
        either = [{"type": "string"}, {"type": "number"}, {"type": "null"}]
        for key in ("anyOf", "oneOf"):
            both = config({**schema, "properties": {**properties, "size": {key: either, "title": "Size"}}})
            size = {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}], "nullable": True}
            assert both["responseSchema"]["properties"]["size"] == size
        for other in (
            *kinds,
            wrong,
            itself,
            {"anyOf": [tags, {"type": "string"}], "maxLength": 9},
            {"anyOf": [{"type": "string"}], "oneOf": [{"type": "string"}]},
            # Gemini would forbid what these require.
            {**tags_object, "allOf": [{"properties": {"b": {"type": "string"}}, "required": ["b"]}]},
            {**tags_object, "if": {"required": ["tags"]}, "then": {"required": ["b"]}},
        ):
            unsent = config({**schema, "properties": {**properties, "more": other}})
            assert unsent["responseMimeType"] == "application/json"
            assert "responseSchema" not in unsent


@pytest.mark.parametrize("limit", [1, 2])
def test_provider_without_n_gets_one_line_per_sample(limit: int, tmp_path: Path) -> None:
    """Groq's batches: after one refusal `n` is left out, and all further answers of each question come from one batch,
    not from one batch per day. A limit is not searched for in batches."""

    class Single(BatchProvider):
        def _answer(self, body: dict[str, Any], prompt: str, n: int) -> list[str] | int | None:
            return 400 if n > limit else super()._answer(body, prompt, n)

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger, 2, n=4)
        assert all(isinstance(answer, Completion) for samples in answers for answer in samples)

    with Single("openai", because=f"'n' : number must be at most {limit}") as provider:
        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches] == [2, 2, 6]


@pytest.mark.parametrize(("message", "shown"), [("late", " (late)"), ("key: sk-batch", " (key: ***)"), (None, "")])
def test_line_that_never_arrives_is_unanswered(message: str | None, shown: str, tmp_path: Path) -> None:
    """With two retries three batches are submitted. It is not stored as an answer, so another run sends it again. The
    provider's message is shown, if there is one, without the key."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = [answer for (answer,) in await ask_dogs(ledger, 2)]
        assert isinstance(answers[0], FailedSample)
        assert answers[0].reason == f"server: the batch ended before this request was processed{shown}"
        assert isinstance(answers[1], Completion)

    with BatchProvider("openai", lambda prompt, nth: None if prompt == "dog 0" else "x") as provider:
        provider.expiry = message and {"message": message}
        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches] == [2, 1, 1]


def test_line_completed_without_a_response_does_not_count_as_an_attempt(tmp_path: Path) -> None:
    """OpenAI has marked lines without an answer as completed, with status 0 and no body. Such a line is not an
    unreadable answer: it is submitted again and uses none of the row's attempts."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        (answer,) = await ledger.answer(Question(chat("dog 0"), SAMPLING))
        assert isinstance(answer, Completion)
        assert answer.attempt == 1

    with BatchProvider("openai", lambda prompt, nth: 0 if nth == 1 else "a dog") as provider:
        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches] == [1, 1]


@pytest.mark.parametrize("form", ["openai", "mistral", "together", "gemini"])
def test_a_batch_that_is_refused_as_a_whole_ends_the_run(form: str, tmp_path: Path) -> None:
    """The run ends with the provider's message."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match="enqueued token limit"):
            await ask_dogs(ledger)

    with BatchProvider(form, refuses="The enqueued token limit is reached") as provider:
        with_batches(provider, tmp_path, work)


@pytest.mark.parametrize("form", ["openai", "mistral", "together", "gemini"])
def test_refused_batch_is_submitted_again_by_the_next_run(form: str, tmp_path: Path) -> None:
    """The cause may have been fixed since, so the next run creates another batch of the lines."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match="no access to the model"):
            await ask_dogs(ledger)

    async def recovered(ledger: Ledger, lines: list[str]) -> None:
        assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger))

    with BatchProvider(form, refuses="You have no access to the model") as provider:
        with_batches(provider, tmp_path, work)
        with_batches(provider, tmp_path, work)
        provider.refuses = ""
        with_batches(provider, tmp_path, recovered)


@EVERY_FORM
def test_cancelled_batch_is_not_submitted_again_by_the_same_run(form: str, tmp_path: Path) -> None:
    """If a batch was cancelled at the provider, its answers are stored. The rest is unanswered, and requested by the
    next run."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = [answer for (answer,) in await ask_dogs(ledger, 10)]
        assert [isinstance(answer, Completion) for answer in answers] == [True] * 4 + [False] * 6
        assert all("cancelled" in answer.reason for answer in answers if isinstance(answer, FailedSample))

    async def again(ledger: Ledger, lines: list[str]) -> None:
        assert all(isinstance(answer, Completion) for (answer,) in await ask_dogs(ledger, 10))

    with BatchProvider(form, lambda prompt, nth: "a dog" if nth > 1 or int(prompt[4:]) < 4 else None) as provider:
        provider.cancels = True
        with_batches(provider, tmp_path, work)
        provider.cancels = False
        with_batches(provider, tmp_path, again)
        assert [len(batch) for batch in provider.batches] == [10, 6]


@EVERY_FORM
@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]"])
def test_provider_with_unexpected_responses_is_one_clear_error(form: str, body: bytes, tmp_path: Path) -> None:
    """There is no traceback. The error names the address and says that a batch may have been created and be charged, so
    it should be cancelled there first, and that every answer is kept."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match="in an unexpected format") as caught:
            await asyncio.wait_for(ask_dogs(ledger, 3), 60)
        assert "be charged for. Cancel it there before you ask again" in str(caught.value)
        assert "Every answer so far is kept" in str(caught.value)
        assert provider.address in str(caught.value)

    with BatchProvider(form) as provider:
        provider.says_only = body
        with_batches(provider, tmp_path, work)


@pytest.mark.parametrize("results", [b"\x1f\x8b\x08 compressed", b"<html>", b'{"custom_id": "r1", "response": {}}\n'])
@pytest.mark.parametrize("form", ["openai", "mistral", "together", "anthropic"])
def test_unreadable_results_are_not_bought_again(form: str, results: bytes, tmp_path: Path) -> None:
    """If no result of a batch can be assigned to a request (a compressed file, a page, other ids), the run ends and
    says that the requests are paid for. No further batch is submitted, by this run or the next one."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError, match=r"No result of batch b1 can be read.*are paid for"):
            await asyncio.wait_for(ask_dogs(ledger, 3), 60)

    with BatchProvider(form) as provider:
        provider.replaces_results = results
        with_batches(provider, tmp_path, work)
        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches] == [3]


@pytest.mark.parametrize("form", ["openai", "mistral", "together", "gemini"])
def test_batch_above_the_enqueued_token_limit_is_submitted_in_parts(form: str, tmp_path: Path) -> None:
    """OpenAI rejects a whole batch with more tokens than its tier may have enqueued. Halves of it are submitted one
    after the other, and each question is answered once."""
    too_much = "Enqueued token limit reached for gpt-4.1 in organization x. Limit: 90,000 enqueued tokens."

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger, 20)
        assert all(isinstance(answer, Completion) for (answer,) in answers)
        assert any("10 at a time" in line for line in lines)

    with BatchProvider(form, refuses=too_much, takes=6) as provider:
        with_batches(provider, tmp_path, work)
        assert [len(batch) for batch in provider.batches][:2] == [20, 10]
        assert sum(len(batch) for batch in provider.batches if len(batch) <= 6) == 20


def test_provider_without_a_batch_api_is_an_error(tmp_path: Path) -> None:
    """If a server has no /files, the fix is to run without --batch."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        with pytest.raises(TeacherError) as caught:
            await ask_dogs(ledger, 2)
        assert "--batch" in caught.value.fix or "url" in caught.value.fix

    with BatchProvider("anthropic") as provider:
        with_batches(provider, tmp_path, work, batch_api="openai")


def test_many_lines_are_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines above the provider's limit of lines or bytes go into another batch."""

    async def work(ledger: Ledger, lines: list[str]) -> None:
        answers = await ask_dogs(ledger, 25)
        assert all(isinstance(answer, Completion) for (answer,) in answers)

    from dataclasses import replace

    monkeypatch.setitem(FORMS, "openai", replace(FORMS["openai"], max_lines=10))
    with BatchProvider("openai") as provider:
        with_batches(provider, tmp_path, work)
        assert sorted(len(batch) for batch in provider.batches) == [5, 10, 10]


def test_batch_format_follows_from_the_address_or_is_set() -> None:
    """A provider's own address needs no setting, but a gateway to it does. The embedded teacher has no batch API. xAI
    accepts what OpenAI's format submits and would charge for answers that are never read, so nothing is submitted to
    it."""
    hosts = {
        "https://api.anthropic.com/v1": "anthropic",
        "https://generativelanguage.googleapis.com/v1beta/openai": "gemini",
        "https://api.mistral.ai/v1": "mistral",
        "https://api.together.ai/v1": "together",
        "https://api.openai.com/v1": "openai",
        "https://eu.gateway/v1": "openai",
    }
    assert {url: TeacherSettings(url=url).batch_format for url in hosts} == hosts
    assert TeacherSettings(url="https://gateway/v1", batch_api="anthropic").batch_format == "anthropic"
    regions = ("https://us-east-1.api.x.ai/v1", "https://eu-west-1.api.x.ai/v1")
    for url in ("embedded", "https://api.x.ai/v1", *regions, "https://api.fireworks.ai/inference/v1"):
        with pytest.raises(UsageError, match="no supported batch API"):
            Batches(None, None, TeacherSettings(url=url, batch=True), print)  # type: ignore[arg-type]
    assert TeacherSettings(url="https://api.x.ai/v1", batch_api="openai").batch_format == "openai"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Internal Server Error", 500),
        ("Too Many Requests.", 429),
        ("Input validation error: too long", 400),
        (None, 400),
    ],
)
def test_faults_of_together_are_distinguished_from_refusals_by_their_message(message: str | None, status: int) -> None:
    """Together reports faults and refusals alike as `batch_client_error`, so the message decides. When it failed nine
    of ten lines of a batch, those rows used to be lost as refused instead of being requested again."""
    line = {"custom_id": "a", "error": {"code": "batch_client_error", "message": message}}

    async def download(url: str) -> IO[bytes]:
        return BytesIO(orjson.dumps(line))

    state = State(ended=True, failure=None, raw={"error_file_id": "errors"})
    results = asyncio.run(TOGETHER.results(download, "http://t", state))
    assert [(name, results[name].status) for name in results.names] == [("a", status)]
