"""Facts that cannot be requested again are stored with an answer, and a request is stored once."""

from __future__ import annotations

from pathlib import Path

import orjson
import sqlalchemy as sa

from schemas.store import Store, tables
from synth.ledger import Completion, Ledger, Question
from tests.synth.loopback import Ask, LoopbackTeacher, Reply
from tests.synth.test_ledger import PLAIN, chat, with_ledger

USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 40,
    "cost": 0.00123,
    "completion_tokens_details": {"reasoning_tokens": 30},
    "prompt_cache_hit_tokens": 4,
}


def reply(n: int) -> Reply:
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": f"dog {i}"}} for i in range(n)
    ]
    body = {"id": "gen-1", "model": "big-2026-11-01", "provider": "Someone", "system_fingerprint": "fp_9"}
    return Reply(body=orjson.dumps({**body, "choices": choices, "usage": USAGE}))


def test_facts_of_a_response_are_stored(tmp_path: Path) -> None:
    """The model snapshot that answered, its fingerprint and provider, the real cost, reasoning tokens, and cached
    tokens under another name."""
    with LoopbackTeacher(lambda ask: reply(ask.n)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = await ledger.answer(Question(chat("a dog"), PLAIN), 3)
            first, *others = [store.calls(answer.key)[0] for answer in answers]
            assert first.facts["usage"] == USAGE
            assert first.usage.cached_tokens == 4
            for call in (first, *others):
                assert call.facts["model"] == "big-2026-11-01"
                assert call.facts["provider"] == "Someone"
                assert call.facts["system_fingerprint"] == "fp_9"
            assert all("usage" not in call.facts for call in others), "it would be counted three times"

        with_ledger(teacher, tmp_path, ask)


def test_request_is_stored_once(tmp_path: Path) -> None:
    """A few-shot prompt is long: it is stored with the first row of its request, and read back with every row. Checking
    again does not write it anywhere else."""
    prompt = "a dog " * 2_000
    with LoopbackTeacher(lambda ask: reply(ask.n)) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            answers = await ledger.answer(Question(chat(prompt), PLAIN), 4)
            assert all(isinstance(answer, Completion) for answer in answers)
            for answer in answers:
                (call,) = store.calls(answer.key)
                assert call.request["messages"][-1]["content"] == prompt
                assert call.request["n"] == 4

        with_ledger(teacher, tmp_path, ask)
        with_ledger(teacher, tmp_path, ask)
    assert len(teacher.asked) == 1
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}", write=False) as store:
        bodies = [body for (body,) in store.rows(sa.select(tables.calls.c.body))]
    assert sum(body.count(prompt[:100]) > 0 for body in bodies) == 1
    assert ["request_of" in orjson.loads(body) for body in bodies] == [False, True, True, True]


def test_prompt_cut_by_a_quarter_is_noticed(tmp_path: Path) -> None:
    """Ollama silently reads 4,096 of 5,600 tokens. A prompt that is counted completely, and a list of long words with
    few tokens, are not reported."""
    prose = (
        "The quick brown fox jumps over the lazy dog near the river bank in the evening. " * 330
    )  # 17 tokens per sentence
    words = "internationalization telecommunications responsibilities " * 40
    counts = {prose: 4_096, f"{prose}!": 5_610, f"{prose}?": 4_900, words: 300}

    def answer(ask: Ask) -> Reply:
        choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": "a dog"}}
        usage = {"prompt_tokens": counts[ask.prompt], "completion_tokens": 2}
        return Reply(body=orjson.dumps({"choices": [choice], "usage": usage}))

    with LoopbackTeacher(answer) as teacher:

        async def ask(ledger: Ledger, store: Store) -> None:
            noticed = []
            for prompt in counts:
                before = ledger.cut_prompts
                await ledger.answer(Question(chat(prompt), PLAIN))
                noticed.append(ledger.cut_prompts - before)
            assert noticed == [1, 0, 0, 0]

        with_ledger(teacher, tmp_path, ask)
