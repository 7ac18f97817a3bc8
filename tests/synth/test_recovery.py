"""After kill -9, at named transitions and at random moments, generation continues and requests nothing that was
durable."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from schemas.records import Call
from schemas.store import Store
from tests.ledger_rows import call_index
from tests.synth.loopback import LoopbackTeacher

ROOT = Path(__file__).parents[2]
SEEDS = 30


def start(teacher: LoopbackTeacher, folder: Path, kill_at: str = "") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.synth.generate_once", teacher.url, str(folder), str(SEEDS)]
    environment = {**os.environ, "PAIRSMITH_FAILPOINT": kill_at}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> bytes:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err.decode()
    return out


def durable_calls(folder: Path) -> list[Call]:
    path = folder / "pairsmith.db"
    if not path.exists():
        return []
    with Store.open(f"sqlite:///{path}") as store:
        return [call for key in call_index(store) for call in store.calls(key)]


def paid(call: Call) -> Call:
    """The row without the results of checking, which comes afterwards."""
    return call.model_copy(update={"status": "received", "text": "", "reason": ""})


def finish_and_check(teacher: LoopbackTeacher, folder: Path) -> int:
    """Run again to the end. Returns how many answers were durable before. Fails if one of them was requested again."""
    before = durable_calls(folder)
    durable = {call.request["messages"][-1]["content"] for call in before}
    asked = len(teacher.asked)
    counts = orjson.loads(finish(start(teacher, folder)))
    assert counts == {"rows_in": 2 * SEEDS, "accepted": 0, "rejected": 0, "waiting": 2 * SEEDS, "failed": 0}
    again = [ask.prompt for ask in teacher.asked[asked:]]
    assert not durable & set(again), "a durable answer was requested again"
    assert len(again) == SEEDS - len(durable)
    after = {(call.key, call.attempt): call for call in durable_calls(folder)}
    assert all(paid(after[call.key, call.attempt]) == paid(call) for call in before), "an answer was changed or lost"
    assert {call.status for call in after.values()} == {"ok"}, (
        "answers that the dead process had not checked are checked now"
    )
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        assert len(store.pairs()) == len(store.candidates()) == 2 * SEEDS
        assert {c.pair_id for c in store.candidates()} == {p.id for p in store.pairs()}
    return len(before)


@pytest.mark.parametrize("moment", ["sent", "received", "committed", "pair_written"])
def test_a_kill_at_a_named_transition_loses_and_repeats_nothing_durable(moment: str, tmp_path: Path) -> None:
    """The process dies when it passes the transition for the ninth time. With n = 2, answers come in groups of two
    rows."""
    with LoopbackTeacher(latency_s=0.005) as teacher:
        killed = start(teacher, tmp_path, f"{moment}:9")
        killed.communicate(timeout=200)
        assert killed.returncode == -signal.SIGKILL
        before = finish_and_check(teacher, tmp_path)
    assert before % 2 == 0, "the rows of one request are durable together or not at all"
    if moment in ("committed", "pair_written"):
        assert before >= 2 * 9
    else:
        assert before < 2 * SEEDS


def test_kills_at_random_moments_lose_and_repeat_nothing_durable(tmp_path: Path) -> None:
    """Six kills of one project, at random requests and a random moment after each; then it finishes."""
    dice = random.Random(17)
    with LoopbackTeacher(latency_s=0.01) as teacher:
        for _ in range(6):
            before = {call.request["messages"][-1]["content"] for call in durable_calls(tmp_path)}
            begun = len(teacher.asked)
            if len(before) == SEEDS:
                break
            process = start(teacher, tmp_path)
            teacher.wait_for(begun + dice.randint(1, min(4, SEEDS - len(before))))
            try:
                process.wait(dice.uniform(0.0, 0.03))
            except subprocess.TimeoutExpired:
                process.kill()
            process.communicate(timeout=200)
            assert not before & {ask.prompt for ask in teacher.asked[begun:]}
        finish_and_check(teacher, tmp_path)
    assert max(teacher.counts().values()) <= 7
