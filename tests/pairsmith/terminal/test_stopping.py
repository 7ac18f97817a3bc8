"""Tests that however a run ends, by Ctrl-C or by kill -9, stored answers are kept and not requested again."""

from __future__ import annotations

import math
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.temporary_folders import temporary_folder
from tests.pairsmith import forked, forked_child
from tests.pairsmith.conftest import ROOT, SUBJECTS, Project, answer
from tests.synth.batch_loopback import BatchProvider
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

MANY = tuple(f"{subject} number {i}" for i in range(30) for subject in SUBJECTS)
# Of several answers to one request only the first row contains the request.
PROMPT = "json_extract(body, '$.request.user')"
DURABLE = f"SELECT DISTINCT {PROMPT} FROM calls WHERE {PROMPT} IS NOT NULL"


@contextmanager
def generating(project: Project) -> Iterator[subprocess.Popen[str]]:
    """A `generate` process, which is killed at the end however the test ends."""
    with subprocess.Popen(
        forked.in_its_place(forked.address(forked.COMMANDS), "pairsmith", "generate"),
        cwd=project.folder,
        env=project.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(forked_child.KILL)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """Its standard error up to the line with these words."""
    assert process.stderr is not None
    drained = ""
    while words not in drained:
        line = process.stderr.readline()
        assert line, drained
        drained += line
    return drained


def wait_for_requests(teacher: LoopbackTeacher, number: int, process: subprocess.Popen[Any]) -> None:
    while len(teacher.asked) < number:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.002)


def durable(project: Project) -> set[str]:
    """Prompts with an answer in the store, read with SQL; empty if there is no store yet."""
    if not (project.folder / "pairsmith.db").exists():
        return set()
    return {prompt for (prompt,) in project.rows(DURABLE)}


def finish(project: Project, teacher: LoopbackTeacher, subjects: tuple[str, ...]) -> None:
    """Run to the end: nothing that was stored before is requested again, and every slot has its pair."""
    kept, before = durable(project), teacher.counts()
    done = project.run("generate")
    assert done.returncode == 0, done.stderr
    assert not kept & {prompt for prompt, times in teacher.counts().items() if times > before[prompt]}
    assert project.is_intact()
    assert project.rows("SELECT count(*) FROM candidates") == [(2 * len(subjects),)]
    assert project.rows("SELECT count(*) FROM pairs") == [(2 * len(subjects),)]
    assert project.rows("SELECT max(attempt), count(*) FROM calls") == [(1, 2 * len(subjects))]


@pytest.mark.parametrize(
    "moment", ["sent:3", "received:3", "committed:3", "pair_written:3", "sent:1", "pair_written:1"]
)
def test_kill_9_at_a_named_moment(moment: str, project: Project, teacher: LoopbackTeacher) -> None:
    """Killed while it sends, receives, commits or writes, the run loses no stored answer, and the next run finishes."""
    killed = project.run("generate", PAIRSMITH_FAILPOINT=moment)
    assert killed.returncode == -signal.SIGKILL
    finish(project, teacher, SUBJECTS)


@pytest.mark.parametrize("form", ["openai", "anthropic"])
def test_kill_9_while_a_batch_is_submitted(form: str, make_project: Callable[..., Project]) -> None:
    """Killed before the provider has the batch, after that but before its id is stored, and while waiting for it: no
    existing batch is submitted again, and every slot gets its pair from one batch."""
    with BatchProvider(form, lambda prompt, nth: f"{prompt} beside a wall END") as provider:
        project = make_project(provider.url)
        spec = project.folder / "pairsmith.toml"
        spec.write_text(spec.read_text().replace("[teacher]", f'[teacher]\nkey_env = "K"\nbatch_api = "{form}"'))
        for moment, there in (("batch_announced", 0), ("batch_made", 1)):
            killed = project.run("generate", "--batch", K="sk-batch", PAIRSMITH_FAILPOINT=moment)
            assert (killed.returncode, len(provider.batches)) == (-signal.SIGKILL, there), killed.stderr
        provider.finishes = False
        with subprocess.Popen(
            project.command("generate", "--batch"), cwd=project.folder, env=project.environ(K="sk-batch")
        ) as waiting:
            try:
                provider.wait_for_a_batch()
            finally:
                waiting.kill()
        provider.finishes = True
        done = project.json("generate", "--batch", K="sk-batch")
        assert (done["rows_in"], done["failed"], len(provider.batches), provider.live) == (2 * len(SUBJECTS), 0, 1, 0)


def test_kill_9_at_twenty_random_moments(make_project: Callable[..., Project]) -> None:
    """Twenty processes in a row are killed at random moments, and no stored answer is requested again."""
    answered = 0.0  # answers only so many requests: a process killed late has not finished
    with LoopbackTeacher(
        lambda ask: replace(answer(ask), when=lambda: ask.number <= answered), latency_s=0.03
    ) as teacher:
        project = make_project(teacher.url, MANY)
        chance = random.Random()
        for _ in range(20):
            kept, before = durable(project), teacher.counts()
            number = len(teacher.asked) + chance.randint(1, 9)
            answered = number + 8
            with generating(project) as process:
                wait_for_requests(teacher, number, process)
                time.sleep(chance.uniform(0, 0.04))
            asked_again = {prompt for prompt, times in teacher.counts().items() if times > before[prompt]}
            assert not kept & asked_again
        answered = math.inf
        finish(project, teacher, MANY)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_answers_in_flight(
    number: signal.Signals, make_project: Callable[..., Project]
) -> None:
    """The first Ctrl-C or SIGTERM waits for answers in flight, stores them, says how to continue and ends with 130."""
    drained = threading.Event()  # until it is set, requests in flight are not answered
    with LoopbackTeacher(lambda ask: replace(answer(ask), when=lambda: ask.number <= 4 or drained.is_set())) as teacher:
        project = make_project(teacher.url, MANY)
        with generating(project) as process:
            wait_for_requests(teacher, 8, process)
            process.send_signal(number)
            errors = read_until(process, "press Ctrl-C again")
            drained.set()
            errors += process.communicate(timeout=200)[1]
        assert process.returncode == 130
        assert errors.splitlines()[-1].startswith("stopped: ")
        assert "Run the same command again" in errors
        assert durable(project) == set(teacher.counts()), "every answer in flight was stored"
        receipt = project.receipts()[-1]
        assert not receipt["ok"]
        assert receipt["counts"]["rows_in"] == receipt["counts"]["waiting"] == 2 * len(durable(project))
        finish(project, teacher, MANY)
        assert set(teacher.counts().values()) == {1}


def test_the_second_signal_ends_at_once(make_project: Callable[..., Project]) -> None:
    """A second Ctrl-C does not wait for a slow teacher, and the store is intact."""
    with LoopbackTeacher(lambda ask: replace(answer(ask), when=lambda: False)) as teacher:
        project = make_project(teacher.url)
        with generating(project) as process:
            wait_for_requests(teacher, 4, process)
            process.send_signal(signal.SIGINT)
            read_until(process, "press Ctrl-C again")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=200)
        assert process.returncode == 130
    assert project.is_intact()


def test_every_run_leaves_a_receipt(project: Project, teacher: LoopbackTeacher, tmp_path: Path) -> None:
    """A successful run and a failed one both leave a receipt, in the store and as a numbered file."""
    assert project.run("generate").returncode == 0
    assert project.run("generate", "--set", "teacher.model=unheard", "--set", "seeds.0.path=gone.jsonl").returncode == 4
    files = sorted(path.name for path in (project.folder / "receipts").iterdir())
    assert files == ["0001-generate.json", "0002-generate.json"]
    assert [receipt["ok"] for receipt in project.receipts()] == [True, False]
    assert "gone.jsonl" in project.receipts()[1]["facts"]["error"]
    assert project.rows("SELECT count(*) FROM receipts") == [(2,)]


@contextmanager
def on_a_terminal(project: Project) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A `generate` process in a session of its own, which is killed at the end, and the other end of its terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        project.command("generate"),
        cwd=project.folder,
        env=project.environ(),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        try:
            os.close(slave)
            yield process, master
        finally:
            process.kill()


def test_a_closed_terminal_without_hangup_stops_nothing(make_project: Callable[..., Project]) -> None:
    """A shell that has disowned the job sends no hangup: nothing can be written any more, and the work continues."""
    terminal_closed = threading.Event()  # until it is set, nothing is answered
    with LoopbackTeacher(lambda ask: replace(answer(ask), when=terminal_closed.is_set)) as teacher:
        project = make_project(teacher.url)
        with on_a_terminal(project) as (process, master):
            wait_for_requests(teacher, 1, process)
            os.close(master)
            terminal_closed.set()
            assert process.wait(timeout=200) == 0
        assert durable(project) == set(teacher.counts())


def test_notes_on_a_full_disk_are_lost_and_the_work_continues(make_project: Callable[..., Project]) -> None:
    """`pairsmith generate 2> log`, and the disk of the log is full. The command ended without a message, and asked for
    nothing."""
    with LoopbackTeacher(answer) as teacher:
        project = make_project(teacher.url)
        with open("/dev/full", "w") as full:
            command = [sys.executable, "-m", "pairsmith", "generate"]
            process = subprocess.run(command, cwd=project.folder, env=project.environ(), stderr=full, check=False)
        assert process.returncode == 0
        assert durable(project) == set(teacher.counts())


def test_a_hangup_waits_for_answers_like_sigterm(make_project: Callable[..., Project]) -> None:
    """When an ssh session ends the hangup arrives twice and nothing can be written any more; no answer is lost."""
    terminal_closed = threading.Event()  # until it is set, nothing is answered
    with LoopbackTeacher(lambda ask: replace(answer(ask), when=terminal_closed.is_set)) as teacher:
        project = make_project(teacher.url, MANY)
        with on_a_terminal(project) as (process, master):
            wait_for_requests(teacher, 4, process)
            os.close(master)
            process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
            process.send_signal(signal.SIGHUP)
            terminal_closed.set()
            assert process.wait(timeout=200) == 130
        assert durable(project) == set(teacher.counts())
        assert len(teacher.asked) < len(MANY)


WRITING_PROGRAM = """
import sys
from pairsmith.terminal.stopping import listening

with listening() as stopping, stopping.polled() as asked:
    while not asked():
        sys.stderr.write("a line of a screen that is painted without a pause\\n")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_line_is_handled(number: signal.Signals) -> None:
    """The signal handler's message does not go through the stream that is being written to, which refuses reentrant
    writes."""
    for _ in range(5):
        master, slave = pty.openpty()
        command = [sys.executable, "-c", WRITING_PROGRAM]
        with subprocess.Popen(command, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave) as process:
            os.close(slave)
            written = os.read(master, 4096)
            process.send_signal(number)
            with suppress(OSError):  # the other end is closed
                while piece := os.read(master, 1 << 16):
                    written = written[-4096:] + piece
            os.close(master)
        assert process.returncode == 0, written.decode()[-2000:]


INTERRUPTED_PROGRAM = """
import os, signal
from pairsmith.terminal.stopping import listening

signal.signal(signal.SIGINT, signal.SIG_IGN)
with listening() as stopping, stopping.polled():
    os.kill(os.getpid(), signal.SIGINT)
    print(stopping.asked)
    os.kill(os.getpid(), signal.SIGTERM)
    print(stopping.asked)
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""


def test_ctrl_c_for_a_script_is_not_for_what_it_started_in_the_background() -> None:
    """After `pairsmith run &` in a script, SIGINT is ignored and stays so: Ctrl-C ended the run too, not only what the
    script does next. SIGTERM is meant for the command and stops it."""
    command = [sys.executable, "-c", INTERRUPTED_PROGRAM]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert (ended.returncode, ended.stdout.split()) == (0, ["False", "True", "True"]), ended.stderr


ENDED_PROGRAM = """
import os, signal
from pairsmith.terminal.stopping import end_at_once, listening
from schemas.temporary_folders import temporary_folder

with listening() as stopping, stopping.polled(), temporary_folder() as folder:
    (folder / "copy.db").touch()
    if not (child := os.fork()):
        end_at_once("nothing")
    os.waitpid(child, 0)
    print(folder, folder.exists(), flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_the_second_signal_leaves_no_temporary_folder() -> None:
    """The copy from which a read-only store is read stayed in /tmp, as large as the store, each time. A forked process
    that ends leaves the folders of its parent alone."""
    ended = subprocess.run([sys.executable, "-c", ENDED_PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=250)
    folder, was_kept = ended.stdout.split()
    assert (ended.returncode, was_kept, Path(folder).exists()) == (130, "True", False), ended.stderr


KILLED_PROGRAM = """
import os, signal
from schemas.temporary_folders import temporary_folder

with temporary_folder() as folder:
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_temporary_folder_removes_those_of_killed_processes(tmp_path: Path) -> None:
    """After `kill -9` the copy of a store stayed in /tmp for good. The next process that makes one removes it, but none
    that is in use, however old, none that has only just been made, and none of somebody else."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250
    )
    left, foreign = Path(killed.stdout.strip()), tmp_path / "pairsmith-other"
    foreign.mkdir()
    assert (killed.returncode, left.parent, left.is_dir()) == (-signal.SIGKILL, tmp_path, True), killed.stderr
    with temporary_folder(place=tmp_path) as used:
        assert left.is_dir()
        for folder in (left, used, foreign):
            os.utime(folder, (0, 0))
        with temporary_folder(place=tmp_path):
            assert (left.exists(), used.exists(), foreign.exists()) == (False, True, True)


LATE_PROGRAM = """
import os, signal, sys
from pairsmith.cli import main

class Late:
    def __del__(self, kill=os.kill, own=os.getpid(), numbers=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        for number in numbers:
            kill(own, number)

late = Late()
sys.argv = ["pairsmith", "docs", "index"]
sys.exit(main())
"""


def test_a_signal_after_the_end_of_a_command_changes_nothing() -> None:
    """While Python took its modules apart, which takes a second on a busy machine, SIGTERM ended `export` with 143
    although it had done all its work."""
    ended = subprocess.run([sys.executable, "-c", LATE_PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert (ended.returncode, ended.stderr, ended.stdout[:1]) == (0, "", "#")


IMPORTING_PROGRAM = """
import time
from pairsmith.terminal.stopping import listening

with listening():
    try:
        import interrupted
        time.sleep(100)
    except KeyboardInterrupt:
        print("stopped")
"""


def test_an_import_is_not_interrupted(tmp_path: Path) -> None:
    """Ctrl-C while orjson was being imported ended the process with a segmentation fault. It counts once the module is
    there."""
    module = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(0.1); print('imported')"
    (tmp_path / "interrupted.py").write_text(module)
    command = [sys.executable, "-c", IMPORTING_PROGRAM]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    assert (ended.returncode, ended.stdout.split()) == (0, ["imported", "stopped"]), ended.stderr


@pytest.mark.parametrize("goes", ["deleted", "moved", "another"])
def test_a_command_stops_when_its_folder_is_gone(goes: str, make_project: Callable[..., Project]) -> None:
    """Nobody could see the results of further requests: it stops in order within seconds, with a clear message."""
    with LoopbackTeacher(answer, latency_s=0.5) as teacher:
        project = make_project(teacher.url, tuple(f"a lamp of kind {n}" for n in range(400)))
        with generating(project) as process:
            wait_for_requests(teacher, 4, process)
            aside = project.folder.with_name("aside")
            project.folder.rename(aside)
            if goes == "deleted":
                shutil.rmtree(aside)
            if goes == "another":
                project.folder.mkdir()
            _, errors = process.communicate(timeout=200)
        assert process.returncode == 6
        assert "the folder of the project was deleted or moved while this ran" in errors
        assert len(teacher.asked) < 400


@pytest.mark.parametrize("name", [".", "pairsmith.toml"])
def test_a_short_absence_of_folder_or_spec_stops_nothing(name: str, make_project: Callable[..., Project]) -> None:
    """An editor saves by replacing the file; a sync tool may remove a folder for a moment."""
    back = threading.Event()  # until it is set, the last request is not answered

    def reply(ask: Ask) -> Reply:
        return replace(answer(ask), when=lambda: ask.number < 30 or back.is_set())

    with LoopbackTeacher(reply, latency_s=0.3) as teacher:
        project = make_project(teacher.url, tuple(f"a lamp of kind {n}" for n in range(30)))
        with generating(project) as process:
            wait_for_requests(teacher, 1, process)
            there = project.folder / name
            aside = there.resolve().with_name("aside")
            began_s = time.monotonic()
            there.resolve().rename(aside)
            time.sleep(2)
            aside.rename(project.folder / name)
            away_s = time.monotonic() - began_s  # longer on a stalled machine
            back.set()
            _, errors = process.communicate(timeout=200)
        assert process.returncode == 0 or away_s > 3, errors
