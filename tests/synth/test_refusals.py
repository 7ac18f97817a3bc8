"""Refusals: a cause shared by all requests ends the run and fails no row; a row's own cause fails only that row."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from prompts import load
from schemas.errors import AuthError, TeacherError
from schemas.records import Call, Json, Sampling
from schemas.store import Store
from synth.chat.completions import effective_response
from synth.chat.http_status import meaning
from synth.engine import GenerateResult, generate
from synth.generators import Forward
from synth.ledger import Completion, FailedSample, Ledger, Question
from synth.refusals import Refusals
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says
from tests.synth.rig import TASK, input, prompts_in, rig
from tests.synth.test_ledger import PLAIN, chat, with_ledger


def run(teacher: LoopbackTeacher, folder: Path, seeds: int, **settings: Any) -> GenerateResult:
    async def once() -> GenerateResult:
        async with rig(teacher.url, folder, **settings) as r:
            return await generate(r.store, input(seeds), [r.forward], concurrency=settings.get("concurrency", 8))

    return asyncio.run(once())


SHARED_CAUSES = {
    "too long for all": fails(400, "max_tokens is too large: 512. This model supports at most 256 tokens."),
    "no chat template": fails(400, "A default chat template is no longer there, so you must provide one."),
    "a gateway that knows no such thing": fails(422, "Unprocessable: no route for this tenant"),
    "moderation that never lets anything pass": fails(403, "Your input was flagged by moderation."),
    "legal reasons": fails(451, "unavailable for legal reasons"),
}


@pytest.mark.parametrize("cause", SHARED_CAUSES)
def test_cause_shared_by_all_requests_ends_the_run_and_fails_no_row(cause: str, tmp_path: Path) -> None:
    """The run ends with the provider's message after a few requests. Once the cause is fixed, every row is
    generated."""
    with LoopbackTeacher(lambda ask: SHARED_CAUSES[cause]) as teacher:
        with pytest.raises(TeacherError) as caught:
            run(teacher, tmp_path, 60, concurrency=1)
        body = SHARED_CAUSES[cause].body
        assert body is not None
        assert str(caught.value).count("HTTP 4") == 1
        assert caught.value.what.split(": ", 2)[2].rstrip(".")[:20] in body.decode()
        # The first eight, and the other seeds of the four that are open at once; each with n and without.
        assert len(teacher.asked) <= 2 * (8 + 3)
    with LoopbackTeacher() as recovered:
        result = run(recovered, tmp_path, 60)
        assert (result.rows_in, result.failed) == (120, 0)


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422, 451])
def test_one_refused_row_fails_alone(status: int, tmp_path: Path) -> None:
    """Moderation, a firewall or a text that is too long: the row is refused for good, and all others are there."""

    def reply(ask: Ask) -> Reply:
        return fails(status, "your input was flagged") if ask.prompt == "dog 30" else Reply()

    with LoopbackTeacher(reply) as teacher:
        result = run(teacher, tmp_path, 60)
        assert (result.rows_in, result.failed, dict(result.reasons)) == (120, 2, {"refused": 2})
        assert teacher.counts()["dog 30"] <= 2
        asked = len(teacher.asked)
        again = run(teacher, tmp_path, 60)
        assert (again.rows_in, again.failed) == (120, 2)
        assert len(teacher.asked) == asked, "it is not sent again"
        revived = run(teacher, tmp_path, 60, retry_failed=True)
        assert revived.failed == 2
        assert len(teacher.asked) > asked


def test_refused_first_row_is_settled_by_the_first_answer(tmp_path: Path) -> None:
    """Until something is answered it is unknown whether the row or the teacher is the cause. Then the row is declined,
    and stays so."""
    with LoopbackTeacher(lambda ask: fails(400, "flagged") if ask.prompt == "bad" else says("good")) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            (bad,) = await ledger.answer(Question(chat("bad"), PLAIN))
            assert isinstance(bad, FailedSample)
            assert bad.reason.startswith("refused: HTTP 400: flagged")
            assert [call.status for call in store.calls(bad.key)] == ["unsettled"]
            (good,) = await ledger.answer(Question(chat("good"), PLAIN))
            assert isinstance(good, Completion)
            assert [call.status for call in store.calls(bad.key)] == ["declined"]

        async def again(ledger: Ledger, store: Store) -> None:
            (bad,) = await ledger.answer(Question(chat("bad"), PLAIN))
            assert isinstance(bad, FailedSample)
            assert bad.reason.startswith("refused: HTTP 400: flagged"), "the message is kept"
            assert ledger.sent == 0

        with_ledger(teacher, tmp_path, ask)
        with_ledger(teacher, tmp_path, again)


def test_budget_that_ends_in_the_middle_fails_no_row(tmp_path: Path) -> None:
    """If all requests are refused from some point on, the run ends, and the affected rows are sent again later."""

    def reply(ask: Ask) -> Reply:
        return Reply() if ask.number <= 40 else fails(400, "tenant 7 is over its monthly allowance")

    with LoopbackTeacher(reply) as teacher, pytest.raises(TeacherError, match="monthly allowance"):
        run(teacher, tmp_path, 100)
    with LoopbackTeacher() as recovered:
        result = run(recovered, tmp_path, 100)
        assert (result.rows_in, result.failed) == (200, 0)
        assert len(recovered.asked) >= 60


def test_login_page_ends_the_run_and_fails_no_row(tmp_path: Path) -> None:
    """A page with status 200 instead of an answer is reported. Once it is gone, every row is generated."""
    page = Reply(body=b"<html><title>Sign in to the company network</title></html>")
    with LoopbackTeacher(lambda ask: page) as teacher:
        with pytest.raises(TeacherError, match="not a chat completion"):
            run(teacher, tmp_path, 60, concurrency=1)
        assert len(teacher.asked) <= 40
    with LoopbackTeacher() as recovered:
        result = run(recovered, tmp_path, 60)
        assert (result.rows_in, result.failed) == (120, 0)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"detail": "Not authenticated"}', "Not authenticated"),
        (b'{"choices": [], "object": "chat.completion"}', "choices"),
        (b'{"output": [{"content": "a dog"}]}', "output"),
        (b'data: {"choices": []}\n\n', "data: "),
        (b"", "nothing"),
    ],
)
def test_error_shows_what_came_instead_of_an_answer(body: bytes, shown: str, tmp_path: Path) -> None:
    """ "Fix the cause" does not help a user who is not shown what the server sent."""
    with LoopbackTeacher(lambda ask: Reply(body=body)) as teacher:
        with pytest.raises(TeacherError, match=rf"was not a chat completion: .*{shown}"):
            run(teacher, tmp_path, 60, concurrency=1)
        assert len(teacher.asked) <= 40


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (says(*["half a"] * 8, finish="length"), "raise sampling.max_tokens"),
        (says(*[""] * 8), "held no text"),
        (says(*["\u200b\ufeff"] * 8), "held no text"),
        (says(*["a dog"] * 8, finish="content_filter"), "refused"),
        (
            Reply(body=b'{"choices": [{"text": "a dog", "finish_reason": "stop"}]}'),
            "but a text completion.*a dog",
        ),
    ],
)
def test_cause_that_spoils_all_answers_ends_the_run(reply: Reply, why: str, tmp_path: Path) -> None:
    """Otherwise each row would be bought as often as `attempts` allows. If a question that had a good answer gets one
    again, in this run or a later one, the others fail as rows of their own."""
    with LoopbackTeacher(lambda ask: reply) as teacher:
        with pytest.raises(TeacherError, match=rf"None of the first 20 answers can be used; the last: .*{why}"):
            run(teacher, tmp_path, 60, concurrency=1)
        assert len(teacher.asked) <= 40
    (tmp_path / "hard").mkdir()
    good = [ask.prompt for ask in teacher.asked[:3]]
    with LoopbackTeacher(lambda ask: Reply() if ask.prompt in good else reply) as teacher:
        assert run(teacher, tmp_path / "hard", 60).failed > 100
        repeated = sum(count - 1 for prompt, count in teacher.counts().items() if prompt in good)
        assert repeated < 10, "no question is repeated again until twice as many are unusable"
        assert run(teacher, tmp_path / "hard", 60, retry_failed=True).failed > 100


@pytest.mark.parametrize("spoiled", [says(""), says("half a", finish="length")])
def test_teacher_that_spoils_all_answers_later_ends_the_run(spoiled: Reply, tmp_path: Path) -> None:
    """A server that answers well at first, and with empty or cut texts from then on, was paid for every row that was
    left, twice. The next run, once it is well again, asks for them."""
    with LoopbackTeacher(lambda ask: Reply() if ask.number <= 30 else spoiled) as teacher:
        with pytest.raises(
            TeacherError, match=r"The last 2\d answers cannot be used; .* repeated, and the answer cannot"
        ):
            run(teacher, tmp_path, 200, n=1, concurrency=4)
        assert len(teacher.asked) < 100, "of 370"
    with LoopbackTeacher() as teacher:
        assert run(teacher, tmp_path, 200, n=1, retry_failed=True).failed == 0


def test_good_answers_of_another_teacher_prove_nothing(tmp_path: Path) -> None:
    """A project changes its model, and the new one writes nothing usable. It was paid for every row, because the store
    had good answers of the model before."""
    with LoopbackTeacher() as teacher:
        run(teacher, tmp_path, 10)
    with LoopbackTeacher(lambda ask: says("")) as teacher:
        with pytest.raises(TeacherError, match="None of the first 20 answers can be used"):
            run(teacher, tmp_path, 60, model="another", n=1, concurrency=1)
        assert len(teacher.asked) <= 40


def test_good_answers_during_a_control_decide(tmp_path: Path) -> None:
    """Thirty hard rows stand next to each other, and the repeated question has bad luck too. But before its answer
    arrives, other rows are answered well: the run goes on. It used to end."""
    hard = {f"dog {i}" for i in range(30, 60)}

    def reply(ask: Ask) -> Reply:
        if ask.prompt in hard:
            return says("")
        is_control = ask.nth > 1
        return says("", delay_s=0.5) if is_control else says(delay_s=0.01)

    with LoopbackTeacher(reply) as teacher:
        assert run(teacher, tmp_path, 100, n=1, concurrency=4, attempts=1).failed == len(hard)
        assert max(teacher.counts().values()) == 2, "there was a control"


def test_fault_reported_with_status_200_is_waited_out(tmp_path: Path) -> None:
    """OpenRouter and gateways report failures with status 200. They are retried like the status they mean, and a short
    outage fails no row."""
    fault = Reply(body=b'{"error": {"code": 502, "message": "Provider returned error"}, "user_id": "u"}')

    with LoopbackTeacher(lambda ask: fault if ask.nth <= 2 else Reply()) as teacher:
        result = run(teacher, tmp_path, 20)
        assert (result.rows_in, result.failed) == (40, 0)


@pytest.mark.parametrize(
    ("code", "words", "status"),
    [
        (1008, "insufficient balance", 402),
        (1004, "login fail: Please carry the API secret key in the 'Authorization' field", 401),
        (2049, "invalid api key", 401),
        (1002, "rate limit exceeded(RPM)", 429),
        (1026, "input new_sensitive", 400),
        (1027, "output sensitive content", 400),
        (1000, "unknown error, 999", 502),
        (0, "", 200),
    ],
)
def test_minimax_error_with_status_200_is_recognised(code: int, words: str, status: int) -> None:
    """MiniMax sends an error with status 200 and zero tokens. It counts as the error that its message names, not as an
    unusable answer."""
    body = {"choices": None, "usage": {"total_tokens": 0}, "base_resp": {"status_code": code, "status_msg": words}}
    assert effective_response(200, orjson.dumps(body))[0] == status
    answered = {**body, "choices": [{"message": {"content": "a dog"}}]}
    assert effective_response(200, orjson.dumps(answered))[0] == 200


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, {"message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}, "key"),
        (400, {"message": "Your credit balance is too low to access the Anthropic API."}, "quota"),
        (
            400,
            {"message": "Budget has been exceeded! Max budget: 1", "type": "budget_exceeded"},
            "quota",
        ),
        (429, {"message": "ExceededBudget: Crossed spend", "code": "budget_exceeded"}, "quota"),
        (400, {"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"}, "quota"),
        (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}, "quota"),
        (
            429,
            {"message": "Resource has been exhausted.", "status": "RESOURCE_EXHAUSTED"},
            "throttled",
        ),
        (400, {"message": "Unrecognized request argument supplied: top_k", "code": None}, "setting"),
        (400, {"message": "Unknown parameter: 'top_k'.", "code": "unknown_parameter", "param": "top_k"}, "setting"),
        (400, {"message": "property 'top_k' is unsupported"}, "setting"),
        (400, {"message": 'Invalid JSON payload received. Unknown name "top_k": Cannot find field.'}, "setting"),
        (422, {"detail": "[{'type': 'extra_forbidden', 'loc': ['body', 'top_k']}]"}, "setting"),
        (400, {"message": "Model Not Exist", "type": "invalid_request_error"}, "model"),
        (400, {"message": "Unable to access model a/b. Please visit https://api.together.ai/models"}, "model"),
        (400, {"message": "x/y is not a valid model ID", "code": 400}, "model"),
        (400, {"message": "Invalid model: nope", "type": "invalid_model", "code": "1500"}, "model"),
        (403, {"message": "Your chosen model requires moderation and your input was flagged"}, "refused"),
        (403, {"message": "Project `p` does not have access to model `m`"}, "key"),
        (424, {"message": "Generation error"}, "server"),
        (529, {"message": "Overloaded", "type": "overloaded_error"}, "server"),
        (405, {"message": "Method Not Allowed"}, "address"),
        (400, {"message": "`top_k` is deprecated for this model."}, "setting"),
        (400, {"message": "invalid top_k: only 1 is allowed for this model"}, "setting"),
        (400, {"message": "Invalid top_k value, the valid range of top_k is [0, 2]"}, "setting"),
        (500, {"message": "insufficient balance (1008)", "type": "api_error"}, "quota"),
        (429, {"message": "Request too large for m on tokens per min (TPM): Limit 10, Requested 20."}, "refused"),
        (500, {"message": "context shift is disabled"}, "refused"),
        (500, {"message": "The server had an error."}, "server"),
        (400, {"message": "Model unloaded."}, "server"),
        (400, {"message": "The model has crashed without additional information. (Exit code: 6)"}, "server"),
        (429, {"message": "litellm.RateLimitError: OpenAIException - Request too large for model"}, "refused"),
        (500, {"message": "litellm.InternalServerError: OpenAIException - context shift is disabled"}, "refused"),
        (400, {"message": "litellm.BadRequestError: Lm_studioException - Model unloaded."}, "server"),
        (404, {"message": "The requested model is not loaded. Loaded: other"}, "model"),
        (400, {"message": "Authentication Error - Expired Key. Expiry time 2026", "type": "expired_key"}, "key"),
        (400, {"message": "No connected db.", "type": "no_db_connection"}, "key"),
        (422, {"message": "Budget has been exceeded! Max budget: 1", "type": "budget_exceeded"}, "quota"),
        (498, {"message": "blocked input"}, "refused"),
        (498, {"message": "the request contains a deny-listed token"}, "refused"),
        (502, {"error": [{"code": 2017, "message": "Response blocked due to security configurations"}]}, "refused"),
        (403, {"error": {"message": "no card on file", "type": "customer_verification_required"}}, "quota"),
        (498, {"message": "Flex tier capacity exceeded"}, "server"),
        (424, {"error": [{"code": 2016, "message": "Prompt blocked due to security configurations"}]}, "refused"),
    ],
)
def test_documented_errors_of_providers_are_recognised(status: int, error: dict[str, Any], kind: str) -> None:
    """Documented error messages, before anything was answered."""
    body = {"model": "m", "messages": [], "top_k": 5, "temperature": 1.0}
    refusal = meaning(status, error, str(error), body, answered=False)
    assert refusal.kind == kind
    assert refusal.setting == ("top_k" if kind == "setting" else "")


@pytest.mark.parametrize(
    ("status", "row", "message", "kind"),
    [
        (429, "request too large", 'Slow down. Your last prompt was "request too large".', "throttled"),
        (400, "the model has crashed", "Flagged: 'the model has crashed'", "refused"),
        (500, "insufficient balance", "Cannot answer 'insufficient balance'", "server"),
        (424, "my prompt was blocked", "Generation of 'my prompt was blocked' failed", "server"),
        (400, "my API key is not valid", "Flagged: 'my API key is not valid'", "refused"),
        (400, "this model was not found", "Flagged: 'this model was not found'", "refused"),
    ],
)
def test_error_that_quotes_the_row_means_what_the_rest_of_it_says(
    status: int, row: str, message: str, kind: str
) -> None:
    """Words of the row in an error decide nothing, not even in the first one of a run."""
    body = {"messages": [{"role": "user", "content": row}]}
    for answered in (False, True):
        assert meaning(status, {"message": message}, message, body, answered=answered).kind == kind


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (500, "insufficient balance (1008)", "quota"),
        (429, "Request too large for m on tokens per min (TPM): Limit 10, Requested 20.", "refused"),
        (400, "The model has crashed without additional information. (Exit code: 6)", "server"),
    ],
)
def test_error_that_begins_with_the_words_of_the_row_is_the_endpoint_s_own(
    status: int, message: str, kind: str
) -> None:
    """A row about an insufficient balance would have hidden that the account is empty, and one about a crash would have
    been given up in a real one."""
    row = "insufficient balance, request too large, or the model has crashed"
    body = {"messages": [{"role": "user", "content": row}]}
    for answered in (False, True):
        assert meaning(status, {"message": message}, message, body, answered=answered).kind == kind


_CURRENT_QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("url", "more", "kind"),
    [
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "", "throttled"),
        ("http://gateway:4000/v1", " Read the docs: https://help.aliyun.com/zh/model-studio", "throttled"),
        ("https://api.openai.com/v1", "", "quota"),
    ],
)
def test_minute_limit_of_alibaba_is_waited_for(url: str, more: str, kind: str) -> None:
    """Alibaba reports a per-minute token limit with OpenAI's very words and code for an exhausted quota, which ends a
    run elsewhere. The tokens are back within a minute."""
    error = {"message": _CURRENT_QUOTA + more, "code": "insufficient_quota", "type": "insufficient_quota"}
    for answered in (False, True):
        assert meaning(429, error, str(error), {}, answered=answered, url=url).kind == kind
    overdue = {"message": "Access denied, your account is overdue.", "code": "Arrearage"}
    assert meaning(400, overdue, str(overdue), {}, answered=True, url=url).kind == "quota"


def test_unknown_path_at_lm_studio_is_an_address_error() -> None:
    """LM Studio reports it with status 200, and no wait would help."""
    body = orjson.dumps({"error": "Unexpected endpoint or method. (POST /v1/v1/chat/completions)"})
    assert effective_response(200, body)[0] == 405


@pytest.mark.parametrize("status", [400, 403, 404, 405, 412, 413, 422, 424, 451])
def test_refusal_after_an_answer_is_no_wrong_address_key_or_setting(status: int) -> None:
    """A row about keys, models, accounts or settings is not mistaken for an error in the spec, whichever part of it the
    error message quotes, in upper or lower case."""
    row = (
        "the api key is not valid, the model does not exist, top_k is not supported, I have insufficient funds, my "
        "account has been suspended, the key limit exceeded, we are out of credits and over the monthly usage limit"
    )
    body = {"top_k": 5, "messages": [{"role": "user", "content": row}]}
    for text in (f"flagged: '{row}'", f"Not allowed: {row.upper()}", f"{row[30:]} (rejected)"):
        kind = meaning(status, {"message": text}, text, body, answered=True).kind
        assert kind == ("server" if status == 424 and "flagged" not in text else "refused")
    spent = {"message": row, "type": "budget_exceeded"}
    assert meaning(status, spent, str(spent), body, answered=True).kind == "quota"


CLOSED_ACCOUNTS = [
    (403, "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", "quota"),
    (400, "Your credit balance is too low to access the Anthropic API.", "quota"),
    (400, "You have reached your specified API usage limits. You will regain access on 2026-12-01.", "quota"),
    (429, "Your team has either used all available credits or reached its monthly spending limit.", "quota"),
    (403, "Your newly created team doesn't have any credits yet.", "quota"),
    (412, "Account acme-1 is suspended, possibly due to failure to pay past invoices.", "key"),
    (403, "Out of call volume quota. Quota will be replenished in 05:12:13.", "quota"),
    (403, "You have exceeded your monthly included credits for Inference Providers.", "quota"),
    (400, "Authentication Error, ExceededTokenBudget: Current spend for token: 1.0", "quota"),
    (403, "Permission denied: Consumer 'project_number:123' has been suspended.", "key"),
    (403, "Your API key was reported as leaked. Please use another API key.", "key"),
    (400, "API key expired. Please renew the API key.", "key"),
    (400, "This organization has been disabled.", "key"),
]


@pytest.mark.parametrize(("status", "message", "kind"), CLOSED_ACCOUNTS)
def test_account_closed_during_a_run_is_not_blamed_on_a_row(status: int, message: str, kind: str) -> None:
    """Keys reach their limit, credits run out and accounts are closed during a run: in the words of OpenRouter,
    Anthropic, xAI, Fireworks, Azure, Hugging Face, LiteLLM, Google and Groq."""
    for answered in (False, True):
        assert meaning(status, {"message": message}, message, {}, answered=answered).kind == kind


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, "Quota exceeded for quota metric 'Generate requests' and limit 'requests per minute'", "refused"),
        (429, "You have reached your usage limit for this minute", "throttled"),
        (400, "Your input was flagged. Blocked by our usage policies.", "refused"),
        (400, "Input not allowed: 'my api key is broken'", "refused"),
    ],
)
def test_minute_limits_and_policies_are_no_closed_account(status: int, message: str, kind: str) -> None:
    """A per-minute limit, a policy or a quoted row do not mean that the account is closed."""
    assert meaning(status, {"message": message}, message, {}, answered=True).kind == kind


@pytest.mark.parametrize(("status", "message", "_"), CLOSED_ACCOUNTS[:6:5])
def test_closed_account_ends_the_run_at_once_and_fails_no_row(
    status: int, message: str, _: str, tmp_path: Path
) -> None:
    """Also near the end of a run, when fewer requests are left than it takes to recognise a cause by their number."""
    with LoopbackTeacher(lambda ask: Reply() if ask.number <= 40 else fails(status, message)) as teacher:
        with pytest.raises(TeacherError, match=message[:17]):
            run(teacher, tmp_path, 58)
        assert len(teacher.asked) <= 56, "only those in flight"
    with LoopbackTeacher() as recovered:
        result = run(recovered, tmp_path, 58)
        assert (result.rows_in, result.failed) == (116, 0)


@pytest.mark.parametrize("answered", [90, 97, 99])
def test_unknown_cause_at_the_end_of_a_run_ends_it_and_fails_no_row(answered: int, tmp_path: Path) -> None:
    """The message is unknown, and too few requests are left to recognise a cause by their number. So a question
    answered before is sent once more. It is refused as well, the last rows stay open, and are generated once the cause
    is fixed."""

    def reply(ask: Ask) -> Reply:
        late = ask.number > answered
        return fails(403, f"Ihr Vertrag ruht (Vorgang a7f{ask.number}c-{ask.number})") if late else Reply()

    with LoopbackTeacher(reply) as teacher:
        with pytest.raises(TeacherError, match=r"refused: .*Vertrag ruht") as caught:
            run(teacher, tmp_path, 100, n=1)
        assert "answered before was refused as well" in str(caught.value)
        assert len(teacher.asked) <= 102, "at most two control requests"
        with pytest.raises(TeacherError, match="Vertrag ruht"):
            run(teacher, tmp_path, 100, n=1)
    with LoopbackTeacher() as recovered:
        result = run(recovered, tmp_path, 100, n=1)
        assert (result.rows_in, result.failed, len(recovered.asked)) == (100, 0, 100 - answered)


@pytest.mark.parametrize("bad", [1, 5, 30])
def test_moderated_seeds_at_the_end_of_a_file_stop_no_run(bad: int, tmp_path: Path) -> None:
    """They are refused with the same message and nothing is answered after them. A question answered before is sent
    once more and answered; this is paid for and counted. The rows are refused for good and never sent again."""

    def reply(ask: Ask) -> Reply:
        return fails(403, "flagged by moderation") if int(ask.prompt.split()[1]) >= 100 - bad else Reply()

    with LoopbackTeacher(reply) as teacher:
        result = run(teacher, tmp_path, 100, n=1)
        assert (result.rows_in, result.failed, dict(result.reasons)) == (100, bad, {"refused": bad})
        asked = len(teacher.asked)
        assert 101 <= asked <= 100 + 3, "one control request, and one at each doubling"
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as store:
            assert store.spent().requests == asked
            assert {status for *_, status in store.each_answer()} == {"ok", "declined"}
        again = run(teacher, tmp_path, 100, n=1)
        assert (again.failed, len(teacher.asked)) == (bad, asked)


def test_remaining_moderated_seeds_stop_no_later_run(tmp_path: Path) -> None:
    """A run that continues with nothing but refusals does not end in an error, because the store has answers from
    before."""
    flagged = fails(403, "flagged by moderation")
    with LoopbackTeacher(lambda ask: flagged if int(ask.prompt.split()[1]) >= 50 else Reply()) as teacher:
        run(teacher, tmp_path, 50)
        result = run(teacher, tmp_path, 70)
        assert (result.rows_in, result.failed) == (140, 40)
        asked = len(teacher.asked)
        assert run(teacher, tmp_path, 70).failed == 40
        assert len(teacher.asked) == asked


def test_undecided_refusals_stay_open_without_an_error(tmp_path: Path) -> None:
    """If the server is down when the control request is sent, the cause of the last refusals is unknown, and the next
    run sends them again."""
    away = fails(503, "maintenance")
    flagged = fails(403, "flagged by moderation")

    def reply(ask: Ask) -> Reply:
        return flagged if ask.prompt in ("dog 18", "dog 19") else away if ask.nth > 1 else Reply()

    with LoopbackTeacher(reply) as teacher:
        assert run(teacher, tmp_path, 20, n=1).failed == 2
        assert len(teacher.asked) == 20 + 3
    with LoopbackTeacher() as recovered:
        assert run(recovered, tmp_path, 20, n=1).failed == 0
        assert len(recovered.asked) == 2


def test_setting_refused_in_unknown_words_ends_the_run_and_fails_no_row(tmp_path: Path) -> None:
    """The control request repeats an earlier question with the current settings, so it is refused as well. With the
    earlier settings it would be answered, and every row would fail because of a number in the spec."""
    refused = fails(400, "Anfrage passt nicht zum Vertrag")

    def run(teacher: LoopbackTeacher, seeds: int, max_tokens: int) -> GenerateResult:
        async def once() -> GenerateResult:
            async with rig(teacher.url, tmp_path, n=1) as r:
                sampling = Sampling(temperature=0.9, max_tokens=max_tokens)
                prompt = load("enhance", prompts_in(tmp_path))
                forward = Forward(r.ledger, TASK.style, 1, prompt=prompt, sampling=sampling)
                return await generate(r.store, input(seeds), [forward], concurrency=8)

        return asyncio.run(once())

    with LoopbackTeacher(lambda ask: refused if ask.body["max_tokens"] > 64 else Reply()) as teacher:
        assert run(teacher, 20, 64).failed == 0
        with pytest.raises(TeacherError, match="Vertrag"):
            run(teacher, 60, 100_000)
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as store:
            assert "declined" not in {status for *_, status in store.each_answer()}
        assert run(teacher, 60, 64).failed == 0


def test_control_question_that_is_moderated_by_now_ends_no_run(tmp_path: Path) -> None:
    """Moderation changes, and the control question may be refused although it was answered before. So another one is
    sent before all requests count as refused. Otherwise no later run would get past the same question."""
    moderated = {"dog 17", "dog 18", "dog 19"}

    def reply(ask: Ask) -> Reply:
        if ask.prompt in moderated:
            return fails(403, "flagged by moderation")
        if ask.prompt == "dog 3":  # the first control question, because it is the shortest
            moderated.add("dog 3")
            return Reply(body=orjson.dumps({"choices": [{"message": {"content": "a dog"}, "finish_reason": "stop"}],
                         "usage": {"prompt_tokens": 9, "completion_tokens": 1}}))  # fmt: skip
        return Reply()

    with LoopbackTeacher(reply) as teacher:
        result = run(teacher, tmp_path, 20, n=1)
        assert (result.failed, dict(result.reasons)) == (3, {"refused": 3})
        assert teacher.counts()["dog 3"] == 2
        assert len(teacher.asked) == 22


def test_a_refusal_after_many_costs_no_more_than_the_first() -> None:
    """A hundred thousand moderated seeds in a row are judged by the last few refusals, not by all of them each time."""
    reads = 0

    class Row(list[Call]):
        def __getitem__(self, at: Any) -> Any:
            nonlocal reads
            reads += 1
            return super().__getitem__(at)

    call = Call.model_construct(status="unsettled", reason="refused: flagged", request={}, prompt="")

    async def no_verdict(request: Json, prompt: str, *, beside: bool) -> str | None:
        return None

    async def keep(calls: Sequence[Call]) -> None:
        pass

    async def record_all() -> None:
        refusals = Refusals(no_verdict, keep)
        await refusals.answered(refusals.sent())
        for _ in range(100_000):
            await refusals.record_refusal(Row([call]), "")

    asyncio.run(record_all())
    assert reads < 20 * 100_000


def test_a_filter_that_refuses_many_rows_holds_the_others_back_once() -> None:
    """A filter refuses at once, before any of the answers that were sent with it, so eight in a row are usual: with 64
    in flight and every third row filtered, a run took 1.7 times as long. What was refused to single rows before holds
    nothing back; another refusal does, as access may be lost."""
    held: list[bool] = []

    async def answers(request: Json, prompt: str, *, beside: bool) -> str:
        held.append(not beside)
        return ""

    async def keep(calls: Sequence[Call]) -> None:
        pass

    async def refuse(reason: str) -> None:
        for number in range(8):
            call = Call.model_construct(
                status="unsettled", reason=f"refused: {reason} ({number})", request={}, prompt=""
            )
            await refusals.record_refusal([call], "")
        await refusals.answered(refusals.sent())

    async def run_all() -> None:
        for reason in ("flagged", "flagged", "no access", "flagged", "no access"):
            await refuse(reason)

    refusals = Refusals(answers, keep)
    asyncio.run(run_all())
    assert held == [True, False, True, False, False]


def test_responses_without_a_choice_end_the_run_and_fail_no_row(tmp_path: Path) -> None:
    """Tokens are counted, but there is no choice. For one row this is a filter; for all rows in a row it is no row's
    fault, and they are sent again once it has passed."""
    usage = {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}
    nothing = Reply(body=orjson.dumps({"object": "chat.completion", "choices": [], "usage": usage}))
    with LoopbackTeacher(lambda ask: Reply() if ask.number <= 40 else nothing) as teacher:
        with pytest.raises(TeacherError, match="it has no choice, perhaps because a filter stopped it"):
            run(teacher, tmp_path, 100)
        assert len(teacher.asked) < 120, "20 in a row, and what was started in the meantime"
    with LoopbackTeacher() as recovered:
        result = run(recovered, tmp_path, 100)
        assert (result.rows_in, result.failed) == (200, 0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_request_refused_by_one_address_is_sent_to_another(status: int, tmp_path: Path) -> None:
    """A server with a shorter context, another model or another key than the others fails no row and ends no run. It is
    left alone like one that fails, and reported. If all addresses refuse a row, the row fails; if they refuse
    everything, the run ends."""
    other = fails(status, "The model's context is 64 tokens, and the key is not valid for it")

    def good(ask: Ask) -> Reply:
        return fails(400, "flagged") if ask.prompt == "dog 30" else says("a dog", delay_s=0.005)

    async def once(*urls: str, folder: str) -> tuple[GenerateResult, dict[str, str]]:
        (tmp_path / folder).mkdir(exist_ok=True)
        async with rig(urls[0], tmp_path / folder, n=1, urls=urls) as r:
            result = await generate(r.store, input(60), [r.forward], concurrency=8)
            return result, r.ledger.endpoint.flow.left_alone

    with LoopbackTeacher(good) as first, LoopbackTeacher(lambda ask: other) as second:
        result, left_alone = asyncio.run(once(first.url, second.url, folder="one"))
        assert (result.rows_in, result.failed) == (60, 1)
        assert len(second.asked) < 20
        assert list(left_alone) == [f"{second.url}/v1"]
        assert str(status) in left_alone[f"{second.url}/v1"]
        assert second.url not in left_alone[f"{second.url}/v1"], "the message already begins with it"
    with (
        LoopbackTeacher(lambda ask: other) as first,
        LoopbackTeacher(lambda ask: other) as second,
        pytest.raises(TeacherError, match=str(status)),
    ):
        asyncio.run(once(first.url, second.url, folder="both"))
    with LoopbackTeacher() as recovered:
        assert asyncio.run(once(recovered.url, folder="both"))[0].failed == 0


@pytest.mark.parametrize("status", [400, 401])
def test_request_refused_by_one_address_waits_for_a_throttled_one(status: int, tmp_path: Path) -> None:
    """While the working address asks to wait a little, the refusal of the other does not count. Its wrong key used to
    end the run, and its refusals used to fail rows, whenever no other address was available at that moment."""

    def good(ask: Ask) -> Reply:
        return fails(429, "slow down", {"Retry-After": "0.5"}) if ask.number % 20 < 8 else Reply()

    async def once(*urls: str) -> GenerateResult:
        async with rig(urls[0], tmp_path, n=1, urls=urls, retries=20) as r:
            return await generate(r.store, input(40), [r.forward], concurrency=8)

    with LoopbackTeacher(good) as first, LoopbackTeacher(lambda ask: fails(status, "not here")) as second:
        result = asyncio.run(once(first.url, second.url))
        assert (result.rows_in, result.failed) == (40, 0)


def test_addresses_that_refuse_the_same_rows_are_not_left_alone(tmp_path: Path) -> None:
    """Moderated rows in a row are no failure of the address that was tried first, because the other one refuses them
    too."""

    async def once(*urls: str) -> tuple[GenerateResult, dict[str, str]]:
        async with rig(urls[0], tmp_path, n=1, urls=urls, concurrency=1) as r:
            return await generate(r.store, input(30), [r.forward], concurrency=1), r.ledger.endpoint.flow.left_alone

    def reply(ask: Ask) -> Reply:
        return fails(400, "flagged") if int(ask.prompt.split()[1]) > 10 else Reply()

    with LoopbackTeacher(reply) as first, LoopbackTeacher(reply) as second:
        result, left_alone = asyncio.run(once(first.url, second.url))
        assert (result.rows_in, result.failed, left_alone) == (30, 19, {})


def test_a_key_that_is_refused_with_403_ends_the_run_at_once(tmp_path: Path) -> None:
    """One request is enough, because the message is about the key."""
    with LoopbackTeacher(lambda ask: fails(403, "You have insufficient permissions for this operation.")) as teacher:
        with pytest.raises(AuthError):
            run(teacher, tmp_path, 60)
        assert len(teacher.asked) <= 20, "those in flight, not each of 60"
