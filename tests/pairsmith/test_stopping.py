"""However a run ends, by Ctrl-C or by kill -9, what was durable is there and is not asked for again."""

from __future__ import annotations

import contextlib
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
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pairsmith import forked, forked_child
from tests.pairsmith.conftest import ROOT, SUBJECTS, Project, answer
from tests.synth.batch_loopback import BatchProvider
from tests.synth.loopback import LoopbackTeacher

MANY = tuple(f"{subject} number {i}" for i in range(30) for subject in SUBJECTS)
# A row whose request brought several answers holds the request once, in the first of them.
PROMPT = "json_extract(body, '$.request.user')"
DURABLE = f"SELECT DISTINCT {PROMPT} FROM calls WHERE {PROMPT} IS NOT NULL"


@pytest.fixture
def unhurried() -> Iterator[LoopbackTeacher]:
    with LoopbackTeacher(answer, latency_s=0.03) as teacher:
        yield teacher


def start(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        forked.in_its_place(forked.address(forked.COMMANDS), "pairsmith", "generate"),
        cwd=project.folder,
        env=project.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_asks(teacher: LoopbackTeacher, number: int, process: subprocess.Popen[str]) -> None:
    while len(teacher.asked) < number:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.002)


def durable(project: Project) -> set[str]:
    """Prompts with an answer in the store, read past our own code; none where the store is not there yet."""
    if not (project.folder / "pairsmith.db").exists():
        return set()
    return {prompt for (prompt,) in project.rows(DURABLE)}


def finish(project: Project, teacher: LoopbackTeacher, subjects: tuple[str, ...]) -> None:
    """Run to the end: nothing that was durable before was asked again, and every place has its pair."""
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
    """Killed while it sends, receives, commits or writes, it loses no durable answer; the next run finishes."""
    killed = project.run("generate", PAIRSMITH_FAILPOINT=moment)
    assert killed.returncode == -signal.SIGKILL
    finish(project, teacher, SUBJECTS)


@pytest.mark.parametrize("form", ["openai", "anthropic"])
def test_kill_9_while_a_batch_is_handed_over(form: str, make_project: Callable[..., Project]) -> None:
    """Killed before the provider has it, as it has it and nobody has written that down, and while it is waited for:
    nothing is handed over that is there, and every slot gets its pair from one batch."""
    with BatchProvider(form, lambda prompt, nth: f"{prompt} beside a wall END") as provider:
        project = make_project(provider.url)
        spec = project.folder / "pairsmith.toml"
        spec.write_text(spec.read_text().replace("[teacher]", f'[teacher]\nkey_env = "K"\nbatch_api = "{form}"'))
        for moment, there in (("batch_announced", 0), ("batch_made", 1)):
            killed = project.run("generate", "--batch", K="sk-batch", PAIRSMITH_FAILPOINT=moment)
            assert (killed.returncode, len(provider.batches)) == (-signal.SIGKILL, there), killed.stderr
        provider.finishes = False
        waiting = subprocess.Popen(
            project.command("generate", "--batch"), cwd=project.folder, env=project.environ(K="sk-batch")
        )
        provider.wait_for_a_batch()
        waiting.kill()
        waiting.wait()
        provider.finishes = True
        done = project.json("generate", "--batch", K="sk-batch")
        assert (done["rows_in"], done["failed"], len(provider.batches), provider.live) == (2 * len(SUBJECTS), 0, 1, 0)


def test_kill_9_at_twenty_random_moments(make_project: Callable[..., Project], unhurried: LoopbackTeacher) -> None:
    """Twenty processes in a row are killed at moments nobody chose, and still no durable answer is asked for again."""
    project = make_project(unhurried.url, MANY)
    chance = random.Random()
    for _ in range(20):
        kept, before = durable(project), unhurried.counts()
        process = start(project)
        wait_for_asks(unhurried, len(unhurried.asked) + chance.randint(1, 9), process)
        time.sleep(chance.uniform(0, 0.04))
        process.send_signal(forked_child.KILL)
        process.communicate()
        asked_again = {prompt for prompt, times in unhurried.counts().items() if times > before[prompt]}
        assert not kept & asked_again
    finish(project, unhurried, MANY)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains(
    number: signal.Signals, make_project: Callable[..., Project], unhurried: LoopbackTeacher
) -> None:
    """Ctrl-C waits for the answers in flight, saves them, says how to go on and ends with 130."""
    project = make_project(unhurried.url, MANY)
    process = start(project)
    wait_for_asks(unhurried, 8, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "press Ctrl-C again" in errors
    assert errors.splitlines()[-1].startswith("stopped: ")
    assert "Run the same command again" in errors
    assert durable(project) == set(unhurried.counts()), "every answer in flight was saved"
    receipt = project.receipts()[-1]
    assert not receipt["ok"]
    assert receipt["counts"]["rows_in"] == receipt["counts"]["waiting"] == 2 * len(durable(project))
    finish(project, unhurried, MANY)
    assert set(unhurried.counts().values()) == {1}


def test_the_second_signal_ends_at_once(make_project: Callable[..., Project]) -> None:
    """Who presses Ctrl-C twice does not wait for a slow teacher, and the store is sound."""
    with LoopbackTeacher(answer, latency_s=200) as teacher:
        project = make_project(teacher.url)
        process = start(project)
        wait_for_asks(teacher, 4, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "press Ctrl-C again" not in process.stderr.readline():
            assert process.poll() is None
        pressed_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=100)
        assert process.returncode == 130
        assert time.monotonic() - pressed_s < 60
    assert project.is_intact()


def test_a_receipt_is_left_by_every_end(project: Project, teacher: LoopbackTeacher, tmp_path: Path) -> None:
    """A run that went well and one that failed both leave a receipt, in the store and as a numbered file."""
    assert project.run("generate").returncode == 0
    assert project.run("generate", "--set", "teacher.model=unheard", "--set", "seeds.0.path=gone.jsonl").returncode == 4
    files = sorted(path.name for path in (project.folder / "receipts").iterdir())
    assert files == ["0001-generate.json", "0002-generate.json"]
    assert [receipt["ok"] for receipt in project.receipts()] == [True, False]
    assert "gone.jsonl" in project.receipts()[1]["facts"]["error"]
    assert project.rows("SELECT count(*) FROM receipts") == [(2,)]


def on_a_terminal(project: Project) -> tuple[subprocess.Popen[bytes], int]:
    """A generation in a session of its own, and the other end of its terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        project.command("generate"),
        cwd=project.folder,
        env=project.environ(),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    return process, master


def test_a_terminal_that_goes_away_without_a_word_ends_nothing(
    make_project: Callable[..., Project], unhurried: LoopbackTeacher
) -> None:
    """A shell that has let go of the job tells no hangup: nothing can be written any more, and the work goes on."""
    project = make_project(unhurried.url)
    process, master = on_a_terminal(project)
    while not unhurried.asked:
        assert process.poll() is None
        time.sleep(0.002)
    os.close(master)
    assert process.wait(timeout=120) == 0
    assert durable(project) == set(unhurried.counts())


def test_a_terminal_that_goes_away_drains_like_sigterm(make_project: Callable[..., Project]) -> None:
    """The ssh session ends: the hangup comes twice, nothing can be written any more, and no answer is lost."""
    gone = threading.Event()  # no answer comes before
    with LoopbackTeacher(lambda ask: replace(answer(ask), when=gone.is_set)) as teacher:
        project = make_project(teacher.url, MANY)
        process, master = on_a_terminal(project)
        while len(teacher.asked) < 4:
            assert process.poll() is None
            time.sleep(0.002)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        gone.set()
        assert process.wait(timeout=200) == 130
        assert durable(project) == set(teacher.counts())
        assert len(teacher.asked) < len(MANY)


PAINTS = """
import sys
from pairsmith.stopping import listening

with listening() as stopping, stopping.looked_at() as asked:
    while not asked():
        sys.stderr.write("a line of a screen that is painted without a pause\\n")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_line_is_heard(number: signal.Signals) -> None:
    """What is said then does not go through the stream that is being written to, which refuses a second writer."""
    for _ in range(5):
        master, slave = pty.openpty()
        process = subprocess.Popen([sys.executable, "-c", PAINTS], cwd=ROOT, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        written = os.read(master, 4096)
        process.send_signal(number)
        with contextlib.suppress(OSError):  # nobody has it open any more
            while piece := os.read(master, 1 << 16):
                written = written[-4096:] + piece
        os.close(master)
        assert process.wait(timeout=200) == 0, written.decode()[-2000:]


@pytest.mark.parametrize("goes", ["deleted", "moved", "another"])
def test_a_command_ends_when_its_folder_goes(goes: str, make_project: Callable[..., Project]) -> None:
    """What it would go on to ask nobody could ever see: it stops in order within seconds, with the sentence."""
    with LoopbackTeacher(answer, latency_s=0.5) as teacher:
        project = make_project(teacher.url, tuple(f"a lamp of kind {n}" for n in range(400)))
        process = start(project)
        wait_for_asks(teacher, 4, process)
        aside = project.folder.with_name("aside")
        project.folder.rename(aside)
        if goes == "deleted":
            shutil.rmtree(aside)
        if goes == "another":
            project.folder.mkdir()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 6
        assert "the folder of the project was deleted or moved while this ran" in errors
        assert len(teacher.asked) < 400


@pytest.mark.parametrize("name", [".", "pairsmith.toml"])
def test_what_is_away_for_two_seconds_stops_nothing(name: str, make_project: Callable[..., Project]) -> None:
    """An editor saves by putting another file in place; a sync takes a folder away for a moment."""
    with LoopbackTeacher(answer, latency_s=0.3) as teacher:
        project = make_project(teacher.url, tuple(f"a lamp of kind {n}" for n in range(30)))
        process = start(project)
        wait_for_asks(teacher, 1, process)
        there = project.folder / name
        aside = there.resolve().with_name("aside")
        began_s = time.monotonic()
        there.resolve().rename(aside)
        time.sleep(2)
        aside.rename(project.folder / name)
        away_s = time.monotonic() - began_s  # on a machine that stood still it was longer
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0 or away_s > 3, errors
