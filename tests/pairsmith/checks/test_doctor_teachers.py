"""Tests of what `pairsmith doctor` finds out about teachers, and which model `pairsmith init` chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pairsmith.checks.health import Check
from pairsmith.checks.teacher_health import judges, teachers
from pairsmith.teachers.search import _cheapest, find_teacher
from schemas.project import Project
from schemas.spec_file import load
from synth.chat.listed_models import context_length, is_chat_model, thinks_by_default
from tests.pairsmith.conftest import SPEC, SUBJECTS
from tests.servers import InThread
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says
from tests.synth.providers.documented import PROVIDERS
from tests.synth.providers.played import Played, Provider


def project(folder: Path, url: str, *overrides: str, more: str = "") -> Project:
    (folder / "seeds.jsonl").write_text("\n".join(f'{{"text": "{subject}"}}' for subject in SUBJECTS))
    (folder / "pairsmith.toml").write_text(SPEC.format(url=url) + more)
    return load(folder, overrides)


def checks_of(opened: Project, *, ask: bool = False) -> dict[str, Check]:
    return {check.about: check for check in teachers(opened, ask=ask)}


def test_only_ask_sends_a_request(tmp_path: Path) -> None:
    """Without --ask only the models are listed; with it one request of at most 64 tokens is sent, and its answer
    shown."""
    with LoopbackTeacher(lambda ask: says("a tall white lighthouse")) as teacher:
        opened = project(tmp_path, teacher.url, "generate.forward.sampling.max_tokens=500")
        assert checks_of(opened)["teacher"].state == "ok"
        assert teacher.asked == []
        answer = checks_of(opened, ask=True)["answer"]
        assert (answer.state, len(teacher.asked)) == ("ok", 1)
        assert "a tall white lighthouse" in answer.what
        assert teacher.asked[0].body["max_tokens"] == 64
        assert teacher.asked[0].n == 1
    assert not (tmp_path / "pairsmith.db").exists()


def test_ask_limits_the_answer_under_every_name(tmp_path: Path) -> None:
    """`max_completion_tokens` of the spec was sent as it is, so the answer could have 2,000 tokens, and beside
    `max_tokens`, which OpenAI refuses: `doctor` failed where a run works."""
    unset = (
        "generate.forward.sampling.max_tokens=unset",
        "generate.forward.sampling.extra={max_completion_tokens=2000}",
    )
    with LoopbackTeacher(lambda ask: says("a tall white lighthouse")) as teacher:
        checks_of(project(tmp_path, teacher.url, *unset), ask=True)
        checks_of(project(tmp_path, teacher.url, "generate.forward.sampling.extra={max_tokens=2000}"), ask=True)
    limits = [{name: ask.body[name] for name in ask.body if "max" in name} for ask in teacher.asked]
    assert limits == [{"max_completion_tokens": 64}, {"max_tokens": 64}]


@pytest.mark.parametrize(
    ("reply", "state", "words"),
    [
        (says("<think>\nThe user wants"), "warn", "thinking"),
        (fails(400, "System role not supported"), "fail", "System role not supported"),
        (fails(429, code="insufficient_quota"), "fail", "no quota left"),
        (Reply(body=b"<html>sign in</html>"), "fail", "sign in"),
        (fails(503, "overloaded"), "fail", "overloaded"),
    ],
)
def test_a_bad_answer_is_explained(reply: Reply, state: str, words: str, tmp_path: Path) -> None:
    """Thinking is reported with the key that switches it off, and every refusal in the provider's words, without a
    traceback."""
    with LoopbackTeacher(lambda ask: reply) as teacher:
        answer = checks_of(project(tmp_path, teacher.url), ask=True)["answer"]
    assert answer.state == state
    assert words in answer.what
    assert answer.fix
    if state == "warn":
        assert "enable_thinking" in answer.fix


def test_a_seed_that_the_provider_refuses_is_no_fault_of_the_teacher(tmp_path: Path) -> None:
    """The longest seed was one that moderation refuses: `doctor --ask` said that this must be fixed before the project
    can run, which loses a single row. It asks about the shortest seed as well, and warns."""
    longest = max(SUBJECTS, key=len)

    def reply(ask: Ask) -> Reply:
        moderated = longest in str(ask.body["messages"][-1])
        return fails(400, "rejected by our safety system") if moderated else says("a tall white lighthouse")

    with LoopbackTeacher(reply) as teacher:
        answer = checks_of(project(tmp_path, teacher.url), ask=True)["answer"]
        assert len(teacher.asked) == 2
    assert answer.state == "warn"
    assert "rejected by our safety system" in answer.what
    assert "a tall white lighthouse" in answer.what


@pytest.mark.parametrize("provider", [one for one in PROVIDERS if one.key_header], ids=lambda one: one.name)
def test_a_wrong_key_is_detected_from_the_model_list(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each provider refuses its model list as it refuses everything, Gemini with 400: doctor fails and names the
    variable with the key."""
    monkeypatch.setenv("WRONG_KEY", "sk-wrong-0123456789012")
    with Played(provider) as server:
        teacher_check = checks_of(project(tmp_path, server.url, "teacher.key_env=WRONG_KEY"))["teacher"]
    assert (teacher_check.state, "WRONG_KEY" in teacher_check.fix) == ("fail", True)


def test_the_model_list_of_anthropic_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anthropic accepts a bearer key for chats, but lists models only with its own header, and 20 at a time by default:
    a right key is not called refused, a wrong one is, and an older model is not called unknown."""

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("x-api-key") == "sk-ant-0123456789abc" and request.headers.get("anthropic-version"):
            models = [{"id": name, "type": "model"} for name in (*(f"newer-{n}" for n in range(25)), "loopback")]
            limit = int(request.query.get("limit", 20))
            return web.json_response({"data": models[:limit], "has_more": limit < len(models)})
        error = {"type": "authentication_error", "message": "x-api-key header is required"}
        return web.json_response({"type": "error", "error": error}, status=401)

    app = web.Application()
    app.router.add_get("/v1/models", answer)
    with InThread(app) as server:
        for key, state in (("sk-ant-0123456789abc", "ok"), ("sk-ant-wrong0123456", "fail")):
            monkeypatch.setenv("ANTHROPIC_KEY", key)
            opened = project(tmp_path, f"{server.address}/v1", "teacher.key_env=ANTHROPIC_KEY")
            assert checks_of(opened)["teacher"].state == state


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (502, b"<html>502 Bad Gateway</html>", "fail"),
        (504, b"", "fail"),
        (400, b'{"error": {"message": "Budget has been exceeded"}}', "fail"),
        (200, b"<html>sign in</html>", "warn"),
        (404, b"no such page", "warn"),
        (501, b'{"error": {"message": "not implemented"}}', "warn"),
        (403, b'{"error": {"message": "You have insufficient permissions. Missing scopes: api.model.read."}}', "warn"),
        (403, b'{"error": {"message": "You have insufficient permissions for this operation."}}', "fail"),
    ],
)
def test_a_response_that_is_no_model_list_is_shown(status: int, body: bytes, state: str, tmp_path: Path) -> None:
    """A gateway without a backend or an account without budget is a failure. A server that may merely not list its
    models is a warning with its response, e.g. OpenAI's for a key that may chat but not list."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_get("/v1/models", answer)
    with InThread(app) as server:
        teacher_check = checks_of(project(tmp_path, f"{server.address}/v1"))["teacher"]
    assert teacher_check.state == state
    assert f"HTTP {status}" in teacher_check.what
    assert "HTTP 404: no such page" in teacher_check.what or status != 404


def test_an_unlisted_model_name_is_not_always_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure lists models but not deployments, and OpenRouter lists models without routing suffixes; elsewhere an
    unlisted name is refused."""
    names = ("gpt-4.1-mini", "vendor/model")
    for variable in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with LoopbackTeacher(models=names) as listing:
        named = {
            name: checks_of(project(tmp_path, listing.url, f"teacher.model={name}"))["teacher"]
            for name in ("vendor/model:nitro", "vendor/model:floor", "vendor/other:nitro", "my-mini")
        }
        assert [check.state for check in named.values()] == ["ok", "ok", "fail", "fail"]
        monkeypatch.setenv("HTTP_PROXY", listing.address)
        azure = "http://mine.openai.azure.com/v1"
        for url in (azure, "http://mine.openai.azure.us/v1", "http://mine.openai.azure.cn/v1"):  # US government, China
            mine = checks_of(project(tmp_path, url, "teacher.model=my-mini"))["teacher"]
            assert (mine.state, "my-mini" in mine.what) == ("warn", True)
        assert checks_of(project(tmp_path, azure, "teacher.model=gpt-4.1-mini"))["teacher"].state == "ok"


def played(**settings: Any) -> Played:
    provider = Provider("a server", "", {}, key_header=None, model="loopback", models=("loopback",), **settings)
    return Played(provider)


def test_a_prompt_longer_than_the_context_is_warned_about(tmp_path: Path) -> None:
    """The longest prompt plus max_tokens is compared with the context length that the server lists."""
    for length, state in ((100_000, "ok"), (50, "warn")):
        with played(lists=lambda self, n=length: {"data": [{"id": "loopback", "max_model_len": n}]}) as server:
            context = checks_of(project(tmp_path, server.url))["context"]
        assert context.state == state
        assert f"{length:,}" in context.what


@pytest.mark.parametrize("field", ["shutdown_date", "deprecation", "expiration_date"])
def test_a_model_with_a_shutdown_date_is_warned_about(field: str, tmp_path: Path) -> None:
    """The lists of OpenAI, Mistral and OpenRouter contain the date; a project that outlives its teacher would have to
    generate again."""
    for number, day in enumerate(("2027-01-14", "2027-01-14T00:00:00Z", None)):
        (folder := tmp_path / str(number)).mkdir()
        with played(lists=lambda self, day=day: {"data": [{"id": "loopback", field: day}]}) as server:
            checks = list(teachers(project(folder, server.url), ask=False))
        warned = [check.what for check in checks if check.about == "model" and check.state == "warn"]
        assert warned == (["loopback will be shut down on 2027-01-14, according to its model list"] if day else [])


def test_a_model_that_thinks_or_cannot_chat_is_warned_about(tmp_path: Path) -> None:
    """Before anything is paid for, it is recognised by the names of model families."""
    with LoopbackTeacher(models=("qwen3:8b", "nomic-embed-text:latest")) as teacher:
        thinking = checks_of(project(tmp_path, teacher.url, "teacher.model=qwen3:8b"))["thinking"]
        assert (thinking.state, "max_tokens" in thinking.fix) == ("warn", True)
        switched = 'generate.forward.sampling.extra={reasoning_effort="none"}'
        assert "thinking" not in checks_of(project(tmp_path, teacher.url, "teacher.model=qwen3:8b", switched))
        model = checks_of(project(tmp_path, teacher.url, "teacher.model=nomic-embed-text"))["model"]
        assert model.state == "warn"


def test_each_teacher_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every teacher that the spec uses is checked, with the variables of its key and headers."""
    more = '\n[teachers.strong]\nurl = "{}"\nmodel = "loopback"\nheaders_env = {{ api-key = "STRONG_KEY" }}\n'
    with LoopbackTeacher() as plain, LoopbackTeacher() as strong:
        opened = project(tmp_path, plain.url, "generate.forward.teacher=strong", more=more.format(strong.url))
        key = checks_of(opened)["key"]
        assert (key.state, key.what) == ("fail", "STRONG_KEY is not set")
        monkeypatch.setenv("STRONG_KEY", "x")
        checks = checks_of(opened)
        assert (checks["key"].state, checks["strong"].state, checks["teacher"].state) == ("ok", "ok", "ok")


CHAT = (
    "gpt-4.1-mini",
    "qwen3:8b",
    "llama3.1:latest",
    "meta-llama/Llama-3.3-70B-Instruct",
    "claude-opus-5",
    "gemini-2.5-pro",
    "openai/gpt-5-codex",
    "speechless-llama2:13b",
    "VideoLLaMA3-7B",
)
OTHER = (
    "nomic-embed-text:latest", "text-embedding-3-small", "text-embedding-nomic-embed-text-v1.5", "dall-e-3",
    "bge-m3:latest", "whisper-1", "gpt-4o-mini-tts", "omni-moderation-latest", "gpt-image-1", "mxbai-embed-large",
    "gpt-3.5-turbo-instruct", "mistral-embed", "BAAI/bge-reranker-v2-m3", "llama-guard3", "gpt-4o-realtime-preview",
    "snowflake-arctic-embed", "intfloat/e5-large-v2", "all-minilm:latest", "davinci-002", "sora-2",
    "mistral-ocr-latest", "jina-reranker-v2", "paraphrase-multilingual:latest", "all-mpnet-base-v2", "jina-colbert-v2",
    "shieldgemma:2b", "canopylabs/orpheus-v1-english", "kokoro", "parakeet-tdt", "qwen3-asr", "veo-3.0-generate-001",
    "codex-mini-latest", "gpt-5.3-codex", "o3-deep-research", "computer-use-preview",
)  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_init_chooses_only_chat_models(name: str) -> None:
    """An embedding model cannot write pairs, even if it is first in the list."""
    assert not is_chat_model({"id": name})
    with LoopbackTeacher(models=(name, "llama3.1:latest")) as ollama:
        teacher = find_teacher({}, (("Ollama", f"{ollama.url}/v1"),))
    assert teacher.model == "llama3.1:latest"


def test_init_avoids_expensive_and_thinking_models() -> None:
    """A list may begin with a model of 600 dollars per million tokens, or contain none with a known price."""
    openai = "https://api.openai.com/v1"
    assert _cheapest(openai, ["o1-pro", "gpt-4-32k", "gpt-5-nano", "gpt-4.1-nano", "gpt-4o"]) == "gpt-4.1-nano"
    assert _cheapest(openai, ["o1-pro", "gpt-5-mini"]) == "gpt-5-mini"
    assert _cheapest("https://gateway.example/v1", ["qwq-32b", "one", "two"]) == "one"
    assert _cheapest(openai, []) == ""


@pytest.mark.parametrize("name", CHAT)
def test_chat_models_are_recognized(name: str) -> None:
    """No chat model of a known family is rejected."""
    assert is_chat_model({"id": name})


def test_a_server_without_chat_models_is_not_chosen() -> None:
    """It is not chosen, and the reason is reported; a model list that is a bare array (Together) is read too."""
    with LoopbackTeacher(models=("nomic-embed-text:latest",)) as ollama:
        teacher = find_teacher({}, (("Ollama", f"{ollama.url}/v1"),))
    assert teacher.url == "embedded"
    assert any("no chat model" in line for line in teacher.tried)
    rows = [{"id": "a/embedder", "type": "embedding"}, {"id": "b/chat", "type": "chat", "context_length": 8192}]
    with played(lists=lambda self: rows) as together:
        teacher = find_teacher({}, (("Together", together.url),))
    assert teacher.model == "b/chat"


def test_a_model_that_a_gateway_serves_without_listing_it_is_asked(tmp_path: Path) -> None:
    """LiteLLM's wildcard routes and Bedrock's inference profiles are in no list. Only a request can show whether the
    model is there: without --ask doctor fails and says so, with it the answer decides."""
    with LoopbackTeacher(lambda ask: says("a tall white lighthouse"), models=("other",)) as gateway:
        opened = project(tmp_path, gateway.url)
        refused, checks = checks_of(opened)["teacher"], checks_of(opened, ask=True)
    assert refused.state == "fail"
    assert "does not know model" in refused.what
    assert "doctor --ask" in refused.fix
    assert (checks["teacher"].state, checks["answer"].state) == ("warn", "ok")
    assert "does not list model" in checks["teacher"].what


def test_model_lists_are_interpreted() -> None:
    """The context length under each server's name for it, and model families that think by default."""
    for row in ({"max_model_len": 9}, {"context_length": 9}, {"context_window": 9}, {"meta": {"n_ctx_train": 9}}):
        assert context_length({"id": "m", **row}) == 9
    assert context_length({"id": "m", "meta": {"n_ctx": 9, "n_ctx_train": 131072}}) == 9, "of a slot of llama-server"
    assert context_length({"id": "m", "mode": "chat", "max_input_tokens": 9}) == 9, "LiteLLM"
    assert not is_chat_model({"id": "m", "mode": "embedding"})
    assert context_length({"id": "m", "meta": None, "context_length": "9"}) is None
    thinking = (
        "qwen3:8b",
        "Qwen/Qwen3-8B",
        "deepseek-reasoner",
        "deepseek-v4-pro",
        "deepseek-flash",
        "openai/gpt-oss-20b",
        "o4-mini",
        "gpt-5-mini",
        "QwQ-32B",
        "models/gemini-2.5-flash",
        "google/gemini-3-pro-preview",
        "allenai/Olmo-3-7B-Think",
        "kimi-k2-thinking",
        "moonshotai/Kimi-K2.5",
        "kimi-k3",
        "grok-4.7",
        "grok-4-fast-reasoning",
        "sonar-reasoning",
        "claude-opus-5-5",
        "anthropic/claude-sonnet-5",
        "anthropic.claude-fable-5",
    )
    assert all(map(thinks_by_default, thinking))
    plain = ("qwen3-4b-instruct-2507", "gpt-4o-mini", "llama3.1", "deepseek-chat", "mistral-small-latest", "qwen2.5:7b")
    plain += ("gemini-2.5-flash-lite", "gemini-2.0-flash", "grok-4-fast-non-reasoning", "gemma-3-27b-it")
    plain += ("claude-haiku-4-5", "claude-3-5-sonnet-latest", "claude-opus-4-6")
    assert not any(map(thinks_by_default, plain))


def test_judges_are_checked_before_they_are_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their keys, whether they respond, and whether they are of the same family as the teacher whose texts they
    judge."""
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    more = """
[teachers.near]
url = "{url}"
model = "gpt-4.1"

[teachers.locked]
url = "{url}"
model = "claude-sonnet"
key_env = "JUDGE_KEY"

[curate.judge]
teachers = ["near"]
"""
    with LoopbackTeacher(models=("gpt-4.1",)) as teacher:
        tables = more.format(url=teacher.url)
        opened = project(tmp_path, teacher.url, "teacher.model=gpt-5", "evaluate.judges=['locked']", more=tables)
        checks = list(judges(opened))
        assert teacher.asked == []
    by_subject = {check.about: (check.state, check.what) for check in checks}
    assert by_subject["near"][0] == "ok"
    assert by_subject["key"] == ("fail", "JUDGE_KEY is not set")
    assert by_subject["judge"][0] == "warn"
    assert "OpenAI" in by_subject["judge"][1]
    assert "locked" not in by_subject


def test_judges_of_an_evaluation_should_not_be_related_to_what_it_compares(tmp_path: Path) -> None:
    """`evaluate` warns of a judge that is of the family of the measured teacher or of the tuned base, or that chose the
    training rows; the doctor says so before anything is paid."""
    more = """
[teachers.measured]
url = "{url}"
model = "gpt-4.1"

[teachers.j]
url = "{url}"
model = "gpt-5-mini"

[teachers.k]
url = "{url}"
model = "qwen3-32b"

[curate.judge]
teachers = ["k"]
"""
    with LoopbackTeacher(models=("gpt-5-mini", "qwen3-32b")) as teacher:
        settings = ["teacher.model=claude-sonnet", "evaluate.judges=['j', 'k']", "evaluate.teacher=measured"]
        opened = project(
            tmp_path, teacher.url, *settings, "train.base=Qwen/Qwen3-0.6B", more=more.format(url=teacher.url)
        )
        warned = [check.what for check in judges(opened) if check.state == "warn"]
    assert len(warned) == 3
    assert "the judge j (gpt-5-mini) and gpt-4.1 are of one family" in warned[0]
    assert "the judge k (qwen3-32b) and Qwen/Qwen3-0.6B are of one family" in warned[1]
    assert "the judge k also chose the training rows" in warned[2]


def test_a_cap_that_cannot_be_enforced_fails_the_check(tmp_path: Path) -> None:
    """Doctor used to say that the project can run, and the first command refused the cap; the missing price is
    named."""
    with LoopbackTeacher(lambda ask: says("a tall white lighthouse")) as teacher:
        capped = ["budget.max_usd=1", "teacher.usd_per_million_prompt_tokens=1"]
        budget = checks_of(project(tmp_path, teacher.url, *capped))["budget"]
        assert budget.state == "fail"
        assert "Set teacher.usd_per_million_completion_tokens (0" in budget.fix
        priced = [*capped, "teacher.usd_per_million_completion_tokens=2"]
        assert "budget" not in checks_of(project(tmp_path, teacher.url, *priced))
        endless = checks_of(project(tmp_path, teacher.url, *priced, "generate.forward.sampling.max_tokens=unset"))
        assert "no max_tokens" in endless["budget"].what
        free = ["budget.max_usd=1", *(f"teacher.usd_per_million_{part}_tokens=0" for part in ("prompt", "completion"))]
        assert "budget" not in checks_of(project(tmp_path, teacher.url, *free))


def test_unsupported_batches_fail_the_check(tmp_path: Path) -> None:
    """Doctor used to say that the project can run, and the first command refused teacher.batch: for a provider without
    a supported batch API, and for the embedded model."""
    with LoopbackTeacher(lambda ask: says("a tall white lighthouse")) as teacher:
        batch = "teacher.batch=true"
        assert "batch" not in checks_of(project(tmp_path, teacher.url, batch))
        key = "teacher.key_env=NO_SUCH_KEY"
        for url in ("https://api.x.ai/v1", "embedded"):
            refused = checks_of(project(tmp_path, url, batch, key))["batch"]
            assert (refused.state, url in refused.what) == ("fail", True)
