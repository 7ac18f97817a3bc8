"""The parent's side of the embedded teacher: starts the child, waits until it serves, and stops it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from schemas.cores import threads
from schemas.errors import TeacherError, UsageError, require_packages
from schemas.progress import Say, discard_message
from synth.embedded.child import child_command, first_line, how_ended, last_words, serving_child
from synth.embedded.weights import NAME, embedded_weights, folder_weights

_START_S = 180.0
_CHILD_SETTINGS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",
    # By default glibc returns each step's few MiB of logits to the system and faults them in again: 5 ms a step.
    "MALLOC_MMAP_THRESHOLD_": str(64 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class EmbeddedServer:
    """A running child.

    `base_url` contains an unguessable path, which is the only access control. `model` is the base's name, `revisions`
    maps every served name to its content hash, and `context_tokens` limits prompt and answer together. `check` raises
    TeacherError if it has ended.
    """

    base_url: str
    model: str
    revisions: Mapping[str, str]
    context_tokens: int
    check: Callable[[], None]


@asynccontextmanager
async def embedded(
    model: Path | None = None,
    adapters: Mapping[str, Path] | None = None,
    *,
    max_batch: int = 32,
    dtype: str = "auto",
    template_arguments: Mapping[str, Any] | None = None,
    runs_code: bool = False,
    defaults: Mapping[str, Any] | None = None,
    progress: Say = discard_message,
    name: str | None = None,
    listen: tuple[str, int] | None = None,
) -> AsyncIterator[EmbeddedServer]:
    """Serve a model folder (default: the embedded SmolLM2, fetched if needed) for the duration of the block.

    `name` is the model name in requests (default: the folder's name). `listen` is a host and port, open to anyone who
    can reach them; without it the address is a free local port and a path that only the parent knows.

    `adapters` maps further model names to PEFT folders: a request for such a name is decoded with that adapter, a
    request for the base's name with none. At most `max_batch` answers for one name are decoded together, and their keys
    and values take at most 70 % of a GPU's free memory, on a CPU an eighth of it, from 400 MiB to 2 GiB but at most
    half of it; one answer that needs more is decoded alone, and if memory still runs out, the batch is halved. The
    first GPU that torch finds is used (CUDA, MPS); an empty CUDA_VISIBLE_DEVICES disables CUDA. `dtype` is auto,
    bfloat16 or float32; auto is bfloat16 if the device supports it, else float16 on a GPU and float32 on a CPU.
    `template_arguments` are constants of the chat template (`synth.chat_template`). `runs_code` allows the model's own
    code to run; `defaults` are the sampling parameters of requests that do not set them.

    The child exits with the block, and by itself if the parent dies. Raises `TeacherError` (with the end of the child's
    log) if it does not start, `MissingDependency` if packages or weights are missing.
    """
    require_packages(("torch", "transformers", "llguidance", "peft"), "train", "the embedded server needs")
    served = await asyncio.to_thread(_model_entries, model, adapters or {}, progress, name)
    settings = {
        "served": served,
        "dtype": dtype,
        "max_batch": max_batch,
        "threads": threads(),
        "template_arguments": dict(template_arguments or {}),
        "defaults": dict(defaults or {}),
        "runs_code": runs_code,
        "listen": listen,
    }
    command = child_command("synth.embedded.server", json.dumps(settings))
    name = str(served[0]["name"])
    progress(f"starting the embedded server of {name}")
    with tempfile.TemporaryFile() as stderr:
        async with serving_child(command, stderr, more=_CHILD_SETTINGS) as process:
            try:
                address, context_tokens = await _read_address(process, stderr)
            except asyncio.CancelledError:
                with suppress(ProcessLookupError):
                    process.kill()  # while it imports torch, it does not notice that it is no longer needed
                raise
            revisions = {str(entry["name"]): str(entry["revision"]) for entry in served}
            check = partial(_check, process, stderr, "while it was answering")
            yield EmbeddedServer(address, name, revisions, context_tokens, check)


def _model_entries(
    model: Path | None, adapters: Mapping[str, Path], progress: Say, name: str | None
) -> list[dict[str, Any]]:
    """The models to pass to the child, the base first. Hashing and fetching block, so this runs in a thread."""
    base = folder_weights(model) if model else embedded_weights(progress)
    name = name or (model.resolve().name.lower() if model else NAME)
    if name in adapters:
        raise UsageError(
            f"An adapter cannot be called {name!r}: that is the base model's name.", fix="Rename the adapter."
        )
    tuned = [(alias, folder_weights(folder), True) for alias, folder in adapters.items()]
    return [
        {"name": alias, "folder": str(one.folder.resolve()), "revision": one.revision, "is_adapter": is_adapter}
        for alias, one, is_adapter in [(name, base, False), *tuned]
    ]


async def _read_address(process: asyncio.subprocess.Process, stderr: IO[bytes]) -> tuple[str, int]:
    """The address that the child serves at, and its context size in tokens."""
    line = await first_line(process, stderr, _START_S, "The embedded teacher")
    try:
        up = json.loads(line)
        return str(up["address"]), int(up["context_tokens"])
    except (ValueError, KeyError, TypeError):
        await process.wait()
        _check(process, stderr, "before it could serve")
        raise


def _check(process: asyncio.subprocess.Process, stderr: IO[bytes], when: str) -> None:
    if process.returncode is not None:
        what = how_ended("The embedded teacher", process.returncode, when)
        raise TeacherError(what, why=last_words(stderr) or None) from None
