"""Gates on every core: the same verdicts as in one process, and no row lost where a process dies."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from curate.curation import curate
from curate.gates import gates_for, processes
from curate.gates.judgement import GateStep, Judgement
from curate.pool import Pool
from curate.steps import each
from schemas.cores import cores
from schemas.errors import PairsmithError
from schemas.records import Imported, Pair
from schemas.spec import GateSettings, TaskSettings

ROOT = Path(__file__).parents[2]
ROWS = [
    json.loads(line) for line in (Path(__file__).parent / "rows/bad.jsonl").read_text(encoding="utf-8").splitlines()
]
PAIRS = [
    Pair(seed_id=f"s{n}", input=row["input"], output=row["output"], system="", origin=Imported(source="rows"))
    for n, row in enumerate(ROWS)
]

pytestmark = pytest.mark.skipif(cores() < 2, reason="one core judges in one process")


def short(pair: Pair) -> bool:
    """A gate of the user's own: it cannot travel."""
    if "crash" in pair.seed_id:
        raise ValueError("no")
    return len(pair.output) < 200


@pytest.mark.slow
def test_many_processes_say_what_one_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdict for verdict, in the same order, those of a user's function and of a gate that crashes among them."""
    gates = gates_for(TaskSettings(name="t", style="Say it well."), GateSettings(), tmp_path)
    pairs = [*PAIRS, PAIRS[0].model_copy(update={"seed_id": "crash"})]

    def judged() -> list[tuple[object, ...]]:
        pool = asyncio.run(curate(Pool.of(pairs), [*map(each, gates), each(short)]))
        return [(row.pair and row.pair.seed_id, row.verdicts) for row in pool.rows()]

    alone = judged()
    monkeypatch.setattr(processes, "WORTH", 10)
    monkeypatch.setattr(processes, "CHUNK", 16)
    assert judged() == alone


def children_of(parent: int) -> list[int]:
    """The processes that ask gates for `parent`; at least one."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True, check=True
    )
    children = [int(line.split()[0]) for line in listed.stdout.splitlines() if "curate.gates.processes" in line]
    assert children
    return children


@pytest.mark.slow
def test_a_dead_process_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are not taken for judged: the command ends, and says what to do."""
    monkeypatch.setattr(processes, "WORTH", 1)
    gates = gates_for(TaskSettings(name="t", style="Say it well."), GateSettings(), tmp_path)

    async def killed() -> None:
        async with processes.judging(gates, 1_000) as (judge_chunk, _):
            (judged,) = await judge_chunk(PAIRS[:20], range(len(gates)))
            assert len(judged.bodies) == 20
            for pid in children_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
            await judge_chunk(PAIRS[:20], range(len(gates)))

    with pytest.raises(PairsmithError, match="ended with code -9"):
        asyncio.run(killed())


@pytest.mark.slow
def test_an_answer_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    """A curation that ends while large answers are under way ends: its processes are killed, and to wait for their end
    is not to wait for somebody who reads what they said."""
    gates = gates_for(TaskSettings(name="t", style="Say it well."), GateSettings(), tmp_path)

    async def ended() -> int | None:
        async with processes._child() as child:
            for message in gates, (PAIRS * 20, range(len(gates))):
                processes._send(child, pickle.dumps(message))
            # The bytes at which asyncio, left to itself, reads no more; no event tells of them.
            while len(child.stdout._buffer) < 2**17:  # type: ignore[union-attr]  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return child.returncode

    assert asyncio.run(asyncio.wait_for(ended(), 200)) == -signal.SIGKILL


def test_what_is_not_ours_stays_here(tmp_path: Path) -> None:
    """A gate travels where a child can import it: ours with plain settings, no closure and no function of a script."""

    def closure(pair: Pair) -> Judgement:
        raise NotImplementedError

    ours = gates_for(TaskSettings(name="t", style="Say it well."), GateSettings(), tmp_path)
    own = GateStep("gate/own@1", "f", closure)
    assert all(processes._is_picklable(gate.judge) for gate in ours)
    assert not processes._is_picklable(own.judge)


SCRIPT = """
from curate import curate, gates
from curate.gates import processes
processes.WORTH = 5
pairs = [("a dog", f"A wet dog runs along the grey beach at dusk, {n} gulls above it.") for n in range(300)]
print("ran once")
print(curate(pairs, [*gates(style="Say it well.")]).counts.rows_in)
"""


@pytest.mark.slow
def test_a_plain_script_needs_no_guard(tmp_path: Path) -> None:
    """The caller's script does not run again in the children, as it would under a spawning pool."""
    (tmp_path / "mine.py").write_text(SCRIPT)
    ran = subprocess.run(
        [sys.executable, "mine.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.splitlines() == ["ran once", "300"], ran.stderr
