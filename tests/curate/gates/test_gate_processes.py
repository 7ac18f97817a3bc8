"""Gates on every core: the verdicts are those of a single process, and no row is lost if a process dies."""

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

ROOT = Path(__file__).parents[3]
ROWS = [
    json.loads(line) for line in (Path(__file__).parents[1] / "rows/bad.jsonl").read_text(encoding="utf-8").splitlines()
]
PAIRS = [
    Pair(seed_id=f"s{n}", input=row["input"], output=row["output"], system="", origin=Imported(source="rows"))
    for n, row in enumerate(ROWS)
]

pytestmark = pytest.mark.skipif(cores() < 2, reason="with one core, gates run in one process")


def short(pair: Pair) -> bool:
    """A user-defined gate, which cannot be sent to a child process."""
    if "crash" in pair.seed_id:
        raise ValueError("no")
    return len(pair.output) < 200


@pytest.mark.slow
def test_many_processes_give_the_verdicts_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same verdicts in the same order, including those of a user's function and of a gate that crashes."""
    gates = gates_for(TaskSettings(name="t", style="Say it well."), GateSettings(), tmp_path)
    pairs = [*PAIRS, PAIRS[0].model_copy(update={"seed_id": "crash"})]

    def judged() -> list[tuple[object, ...]]:
        pool = asyncio.run(curate(Pool.of(pairs), [*map(each, gates), each(short)]))
        return [(row.pair and row.pair.seed_id, row.verdicts) for row in pool.rows()]

    single_process = judged()
    monkeypatch.setattr(processes, "WORTH", 10)
    monkeypatch.setattr(processes, "CHUNK", 16)
    assert judged() == single_process


def children_of(parent: int) -> list[int]:
    """The child processes of `parent` that run gates; at least one."""
    processes_listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True, check=True
    )
    children = [
        int(line.split()[0]) for line in processes_listed.stdout.splitlines() if "curate.gates.processes" in line
    ]
    assert children
    return children


@pytest.mark.slow
def test_dead_process_raises_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a killed process do not count as judged: the command fails with a message that names the exit code."""
    monkeypatch.setattr(processes, "WORTH", 1)
    gates = gates_for(TaskSettings(name="t", style="Say it well."), GateSettings(), tmp_path)

    async def killed() -> None:
        async with processes.judging(gates, 1_000) as (judge_chunk, *_):
            (judged,) = await judge_chunk(PAIRS[:20], range(len(gates)))
            assert len(judged.bodies) == 20
            for pid in children_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
            await judge_chunk(PAIRS[:20], range(len(gates)))

    with pytest.raises(PairsmithError, match="ended with code -9"):
        asyncio.run(killed())


@pytest.mark.slow
def test_unread_results_do_not_block_shutdown(tmp_path: Path) -> None:
    """A curation that ends while large results are in flight still ends: its processes are killed, and waiting for them
    does not wait for their output to be read."""
    gates = gates_for(TaskSettings(name="t", style="Say it well."), GateSettings(), tmp_path)

    async def ended() -> int | None:
        async with processes._child() as child:
            for message in gates, (PAIRS * 20, range(len(gates))):
                processes._send(child, pickle.dumps(message))
            # The buffer size at which asyncio stops reading; there is no event for it.
            while len(child.stdout._buffer) < 2**17:  # type: ignore[union-attr]  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return child.returncode

    assert asyncio.run(asyncio.wait_for(ended(), 200)) == -signal.SIGKILL


def test_only_importable_gates_run_in_child_processes(tmp_path: Path) -> None:
    """A gate is sent to a child only if the child can import it: built-in gates with plain settings, but no
    closures."""

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
    """A script needs no `__main__` guard: it does not run again in the children, as it would with a spawning pool."""
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
