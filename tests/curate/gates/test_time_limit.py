"""A user's own pattern that takes exponential time stops nothing else."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.gates import GateStep, gates_for, processes
from curate.gates.judgement import Judgement
from curate.gates.processes import CHUNK, judging
from schemas import time_limit
from schemas.blocking import run
from schemas.records import Imported, Pair
from schemas.spec import GateSettings, TaskSettings
from synth.answers import schema_violation
from train.evaluation.checks import build_checks

NESTED = r"(a+)+b"
SLOW = "a" * 60
LONG = "a" * 26  # takes seconds
TASK = TaskSettings(name="t", style="Well.")


@pytest.fixture(autouse=True)
def _reset_slow_patterns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(time_limit, "LIMIT_S", 0.25)
    time_limit._slow.clear()
    yield
    time_limit._slow.clear()


def pair(output: str) -> Pair:
    return Pair(seed_id="", system="", input=f"about {output[:4]}", output=output, origin=Imported(source="text"))


def gates(folder: Path, **given: Any) -> list[GateStep]:
    return gates_for(TASK, GateSettings(**given), folder)


def slow_gate(folder: Path, key: str) -> GateStep:
    if key == "json_schema":
        (folder / "s.json").write_text('{"type": "string", "pattern": "^(a+)+b$"}')
        return next(step for step in gates(folder, json_schema="s.json") if "json_schema" in step.by)
    return next(step for step in gates(folder, **{key: [{"name": "flag", "pattern": NESTED}]}) if ":flag" in step.by)


@pytest.mark.parametrize(
    ("key", "check"), [("must", "must 'flag'"), ("must_not", "must_not 'flag'"), ("json_schema", "the JSON schema")]
)
def test_row_on_which_a_pattern_times_out_waits(tmp_path: Path, key: str, check: str) -> None:
    """It is neither passed nor rejected, and the reason names the check and the row; other rows are judged. After three
    such rows the pattern is not tried again, so that a large pool is not held up either."""
    gate = slow_gate(tmp_path, key)
    slow, quick = (f'"{SLOW}{n}"' if key == "json_schema" else f"{SLOW}{n}" for n in range(2)), pair('"aab"')
    quick_judgement = gate.judge(quick)
    assert quick_judgement.keep is (key != "must_not")
    for text in slow:
        judgement = gate.judge(pair(text))
        assert judgement.keep is None
        assert str(judgement.reason).startswith(
            f"crashed: {check} took more than 0.25 s on row {pair(text).id[:8]} (“about"
        )
    gate.judge(pair(f"{SLOW}2" if key != "json_schema" else f'"{SLOW}2"'))
    refused = gate.judge(quick)
    assert refused.keep is None
    assert f"{check} is skipped for row {quick.id[:8]}" in str(refused.reason)


@pytest.mark.parametrize("pattern", [NESTED, "a?" * 60 + "b", "(?:a|aa)" * 40 + "b", "a*a*a*a*a*a*b", r"(\w+\s?)*b"])
def test_patterns_that_can_take_long_are_timed(pattern: str) -> None:
    """Nested repeats, several repeats, and many choices one after the other, which multiply as well."""
    with pytest.raises(time_limit.CheckTimedOut):
        time_limit.search(re.compile(pattern), SLOW, pattern, "row")


def test_a_check_of_an_evaluation_is_limited_too() -> None:
    """The timed-out check gives no result for the output; the other checks do."""
    checked = build_checks([NESTED, "a"])("an input", SLOW)
    assert checked.passed == {"check:pattern_1": None, "check:pattern_2": True}
    assert "check:pattern_1 took more than 0.25 s on row “an input”" in checked.reasons["check:pattern_1"]


def test_gate_in_a_child_process_is_limited_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit also applies when gates run in child processes on several cores."""
    monkeypatch.setattr(processes, "WORTH", 1)
    monkeypatch.setattr(processes, "cores", lambda: 2)

    async def scene() -> list[bool | None]:
        steps = [slow_gate(tmp_path, "must")]
        async with judging(steps, 2 * CHUNK) as (judge_chunk, at_once, _):
            assert at_once > 1
            (judged,) = await judge_chunk([pair("aab"), pair(SLOW)], (0,))
        return [judged.meanings[opinion][0] for opinion in judged.opinions]

    assert asyncio.run(scene()) == [True, None]


def test_the_limit_holds_on_the_event_loop_of_a_command(tmp_path: Path) -> None:
    """Commands run on an event loop in a thread, where nothing ends a search: a single row made `curate` and `generate`
    wait forever, and Ctrl-C did not help. The main thread, which only waits for them, searches instead."""
    gate = slow_gate(tmp_path, "must")
    violation = schema_violation({"type": "string", "pattern": "^(a+)+b$"})

    async def judge() -> Judgement:
        with pytest.raises(time_limit.CheckTimedOut):
            violation(f'"{LONG}"')
        assert violation('"aab"') is None
        return gate.judge(pair(LONG))

    assert run(judge()).keep is None
    assert run(judge()).keep is None, "what the main thread waits for has ended in the meantime"


SEARCH = """
import re
from schemas import time_limit
from schemas.blocking import run

async def search(text):
    print("searching", flush=True)
    return time_limit.search(re.compile(r"(a+)+b"), text, "check", "row")

time_limit.LIMIT_S = 60
try:
    run(search("a" * 60))
except KeyboardInterrupt:
    print(run(search("aab")) is not None)
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_search_on_the_event_loop_of_a_command() -> None:
    """At once, and the loop works afterwards."""
    command = [sys.executable, "-c", SEARCH]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "searching\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            assert process.communicate(timeout=20)[0] == "searching\nTrue\n"
        finally:
            process.kill()


def test_only_patterns_that_may_take_long_are_timed() -> None:
    """A list of words, or a single repeat, is searched directly, a thousand times as fast as in another thread."""
    quick = (r"(?i)\b(?:cat|dogs?|bird)\b", r"\d{4}-\d{2}", r"^[\w+*]+$", r"(colou?r|gr[ae]y)", r"a\+\*b+")
    slow = (NESTED, r"(\w+\s?)*$", r".*,.*", r"(a|aa){2,}c", r"\s*\w{1,50}x")
    assert [*map(time_limit._may_take_long, (*quick, *slow))] == [False] * len(quick) + [True] * len(slow)


def test_the_limit_leaves_no_timer_and_no_handler() -> None:
    """The program's own signal handler is restored after a search, and work of another thread does not use up the
    limit."""
    before = signal.getsignal(signal.SIGVTALRM)
    timer = time_limit.limited("it", "", "1", lambda: signal.getitimer(signal.ITIMER_VIRTUAL))
    assert timer[0] > 0
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) is before
    ended = threading.Event()
    busy = threading.Thread(target=lambda: all(iter(lambda: not ended.is_set(), False)), daemon=True)
    started = time.process_time()

    def wait() -> None:
        while time.process_time() < started + 4 * time_limit.LIMIT_S:
            ended.wait(0.01)

    busy.start()
    try:
        time_limit.limited("it", "", "1", wait)
    finally:
        ended.set()
        busy.join()


def test_quadratic_pattern_is_timed_on_a_long_text() -> None:
    """One repeat is quick on usual texts, so it is not timed there; on 200,000 characters it took minutes."""
    pattern = re.compile("a*b")
    with pytest.raises(time_limit.CheckTimedOut, match="must 'flag' took more than"):
        time_limit.search(pattern, "a" * 200_000, "must 'flag'", "row-1")
    assert time_limit.search(pattern, "a" * 1_000 + "b", "must 'flag'", "row-2")
