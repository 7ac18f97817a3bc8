"""A job's process by itself: its lock, its log, its end."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pairsmith.serve.child import BUSY, STOPPING
from pairsmith.serve.job import JobOptions
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.process import End, is_held, keep_alive, starts, stop
from pairsmith.serve.workspace import Workspace
from pairsmith.terminal.stopping import INTERRUPTED
from schemas.files import labelled_lock
from synth.embedded.child import child_command, child_environment
from tests.serve.conftest import write_project
from tests.synth.loopback import LoopbackTeacher

CHATTY = """
import os, sys, time
from pathlib import Path
from pairsmith.serve import child
child.LOG_FILE_BYTES, child._CHECK_EVERY_S = 1000, 0.01
with child._log_to(Path(sys.argv[1])):
    for nth in range(1000):
        print(f"line {nth:04d} " + "x" * 89, flush=True)
        while os.fstat(1).st_size >= 2 * child.LOG_FILE_BYTES:  # until the next piece is begun
            time.sleep(0.002)
    print("the last words", file=sys.stderr)
"""


HASTY = """
import sys
from pathlib import Path
from pairsmith.serve import child
child.LOG_FILE_BYTES, child._CHECK_EVERY_S = 1, 0
folder = Path(sys.argv[1])
for nth in range(300):
    with child._log_to(folder):
        print("word", nth, flush=True)
    assert not (folder / "next").exists(), nth
"""


def run_part(folder: Path) -> subprocess.CompletedProcess[bytes]:
    command = child_command("pairsmith.serve.child", str(folder), "0")
    return subprocess.run(command, env=child_environment(), capture_output=True, timeout=200, check=False)


@pytest.fixture
def job_folder(workspace: Workspace) -> Path:
    """A job's folder with a part that fails at once, because there is nothing to curate."""
    project = write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    folder = workspace.jobs_folder / "job"
    folder.mkdir(parents=True)
    part = {"argv": ["curate", "--project", str(project)], "overrides": [], "folder": str(project)}
    (folder / "part-0.json").write_text(json.dumps({**part, "cap_usd": None, "heavy_lock": None}))
    return folder


@pytest.mark.slow
def test_one_process_runs_a_part_and_records_its_end_once(job_folder: Path) -> None:
    """While one process holds the lock, another exits; one that is started after the end does nothing."""
    with labelled_lock(job_folder / "lock", b"{}") as ours:
        assert ours
        assert is_held(job_folder)
        assert run_part(job_folder).returncode == BUSY
    assert not is_held(job_folder)
    assert not (job_folder / "exit-0.json").exists()
    assert run_part(job_folder).returncode == 8
    end = json.loads((job_folder / "exit-0.json").read_text())
    assert (end["code"], end["problem"]["kind"], end["answer"]) == (8, "NoWork", None)
    assert end["began"] < end["ended"]
    assert run_part(job_folder).returncode == 0
    assert json.loads((job_folder / "exit-0.json").read_text()) == end
    assert len(starts(job_folder)) == 1


@pytest.mark.slow
def test_process_stopped_before_its_command_is_recorded_as_interrupted(job_folder: Path) -> None:
    """A container may stop while the process waits for the GPU or has not read its spec yet. That does not count as a
    crash, of which a job survives three."""
    part = json.loads((job_folder / "part-0.json").read_text())
    heavy = job_folder / "heavy.lock"
    (job_folder / "part-0.json").write_text(json.dumps({**part, "heavy_lock": str(heavy)}))
    with heavy.open("ab") as gpu:
        fcntl.flock(gpu, fcntl.LOCK_EX)
        command = child_command("pairsmith.serve.child", str(job_folder), "0")
        process = subprocess.Popen(command, env=child_environment(), stderr=subprocess.DEVNULL)
        until = time.monotonic() + 100
        while not list((job_folder / "log").glob("*.txt")):
            assert time.monotonic() < until
            time.sleep(0.05)
        process.terminate()
        assert process.wait(100) == INTERRUPTED
    end = json.loads((job_folder / "exit-0.json").read_text())
    assert (end["code"], end["problem"]["kind"]) == (INTERRUPTED, "Interrupted")
    (job_folder / "exit-0.json").unlink()
    assert run_part(job_folder).returncode == 8, "the next process does not continue"


@pytest.mark.slow
def test_process_of_a_stopped_job_does_nothing(job_folder: Path) -> None:
    """The job was stopped before its process had the lock by which it is found. The process finds the stop mark
    instead, and its command never runs."""
    stop(job_folder)
    assert run_part(job_folder).returncode == INTERRUPTED
    end = json.loads((job_folder / "exit-0.json").read_text())
    assert (end["code"], end["problem"]["kind"], end["answer"]) == (INTERRUPTED, "Interrupted", None)
    assert not (job_folder / "events.jsonl").exists()


@pytest.mark.parametrize("years", [-30, 30])
def test_grace_period_does_not_depend_on_the_clock(
    job_folder: Path, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    """Setting the clock after a job was asked to stop neither kills its process at once nor keeps one alive that
    ignores the signal: the server that asks measures the grace period."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with (job_folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        process.stdout.readline()
        lock.write(json.dumps({"pid": process.pid, "part": 0}).encode())
        lock.flush()
        stop(job_folder)
        then = time.time() + years * 365 * 86_400
        os.utime(job_folder / STOPPING, (then, then))
        stop(job_folder)
        stop(job_folder)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        monkeypatch.setattr("pairsmith.serve.process.GRACE_S", -1.0)
        stop(job_folder)
        assert process.wait(100) == -signal.SIGKILL
        process.stdout.close()


@pytest.mark.slow
def test_job_waits_until_its_folder_can_be_created(job_folder: Path) -> None:
    """If there is no space for a job's folder, its process starts once there is."""
    part = json.loads((job_folder / "part-0.json").read_text())
    folder = job_folder.parent / "later"
    folder.symlink_to("nowhere")  # so that creating the folder fails for every user

    async def scene() -> End:
        alive = asyncio.create_task(keep_alive(folder, 0, part, child_environment, lambda: False))
        await asyncio.sleep(0.5)
        assert not alive.done()
        folder.unlink()
        return await asyncio.wait_for(alive, 100)

    part |= {"heavy": False, "stage": "curate", "until": None}
    end = asyncio.run(scene())
    assert (end["code"], len(starts(folder))) == (8, 1)


@pytest.mark.slow
def test_process_on_a_full_disk_waits_to_record_its_end(job_folder: Path) -> None:
    """If none of its files can grow, not even the log, it records its end with a message as soon as there is space, and
    does not count as crashed."""
    part = json.loads((job_folder / "part-0.json").read_text())
    heavy = job_folder / "heavy.lock"
    (job_folder / "part-0.json").write_text(json.dumps({**part, "heavy_lock": str(heavy)}))
    command = child_command("pairsmith.serve.child", str(job_folder), "0")
    with heavy.open("ab") as gpu:
        fcntl.flock(gpu, fcntl.LOCK_EX)
        process = subprocess.Popen(command, env=child_environment(), stderr=subprocess.DEVNULL)
        until = time.monotonic() + 100
        while not list((job_folder / "log").glob("*.txt")):
            assert time.monotonic() < until
            time.sleep(0.05)
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(15)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
    code = process.wait(100)
    end = json.loads((job_folder / "exit-0.json").read_text())
    assert end["code"] == code
    assert end["problem"]["what"]


NOISY = """
import os, subprocess, sys, threading

print("as it loads")


def keep(pair):
    threads = [threading.Thread(target=print, args=("from a thread",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(1, b"past Python\\n{\\n")
    subprocess.run(["echo", "from a process"])
    sys.__stdout__.write("around ours\\n")
    sys.__stdout__.flush()
    return True
"""


@pytest.mark.slow
def test_output_of_a_gate_is_logged_and_breaks_nothing(workspace: Workspace, teacher: LoopbackTeacher) -> None:
    """Output from threads, from a child process or past Python is in the job's log, and its events, its result and the
    single object of `--json` stay valid."""
    project = write_project(workspace, "tiny", teacher.url, ("a lamp",))
    (project / "noisy.py").write_text(NOISY)
    spec = (project / "pairsmith.toml").read_text()
    (project / "pairsmith.toml").write_text(spec.replace("[curate.gates]", '[curate.gates]\nuser = ["noisy:keep"]'))
    folder = workspace.jobs_folder / "job"
    folder.mkdir(parents=True)
    part = {"argv": ["generate", "--project", str(project)], "overrides": [], "folder": str(project)}
    (folder / "part-0.json").write_text(json.dumps({**part, "cap_usd": None, "heavy_lock": None}))
    job = run_part(folder)
    assert (job.returncode, job.stdout, job.stderr) == (0, b"", b"")
    log = b"".join(path.read_bytes() for path in sorted((folder / "log").glob("*.txt"))).decode()
    words = ("as it loads", "from a thread", "past Python", "from a process", "around ours")
    assert [log.count(word) > 0 for word in words] == [True] * len(words)
    assert log.count("from a thread") == 3 * log.count("past Python")
    assert all(json.loads(line) for line in (folder / "events.jsonl").read_text().split("\n") if line)
    assert json.loads((folder / "exit-0.json").read_text())["answer"]["command"] == "generate"

    command = child_command("pairsmith", "curate", "--project", str(project), "--json")
    curated = subprocess.run(command, env=child_environment(), capture_output=True, text=True, timeout=200)
    assert json.loads(curated.stdout)["command"] == "curate"
    assert [curated.stderr.count(word) > 0 for word in words] == [True] * len(words)


@pytest.mark.slow
def test_long_log_keeps_its_beginning_and_end(workspace: Workspace, tmp_path: Path) -> None:
    """The log stays small, and byte offsets stay valid, so that a reader that continues misses nothing that is still
    there."""
    write_project(workspace, "tiny", "http://127.0.0.1:9/v1")
    jobs = Jobs(workspace)
    job = jobs.start("tiny", "curate", JobOptions(), "ann")
    jobs.folder(job.id).mkdir()
    subprocess.run(
        [sys.executable, "-c", CHATTY, str(jobs.folder(job.id) / "log")],
        env=child_environment(),
        check=True,
        timeout=200,
    )
    whole = b"".join(b"line %04d %s\n" % (nth, b"x" * 89) for nth in range(1000)) + b"the last words\n"
    log = jobs.log(job.id)
    assert len(log) < 40_000, "not shortened from 100,000 bytes"
    assert log.startswith(whole[:100])
    assert log.endswith(whole[-115:])
    assert jobs.log(job.id, 100_000) == b"the last words\n"
    assert jobs.log(job.id, 1 << 40) == b""
    pieces = sorted((jobs.folder(job.id) / "log").glob("*.txt"))
    for piece in pieces:
        assert int(piece.stem) % 100 == 0, "a piece starts in the middle of a line"
        assert whole[int(piece.stem) :].startswith(piece.read_bytes())
    jobs.close()


def test_last_log_piece_has_its_final_name(tmp_path: Path) -> None:
    """Reading the pieces by name gives the whole output, even if a piece was started at the very end."""
    command = [sys.executable, "-c", HASTY, str(tmp_path / "log")]
    subprocess.run(command, env=child_environment(), check=True, timeout=200)
