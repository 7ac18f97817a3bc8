"""LLaMA-Factory's web page: a LoRA training of a tiny model on a CPU, started by its buttons."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from playwright.sync_api import Error, Page

from bench.service.peers.trial import Server, free_port, until
from bench.service.peers.venvs import filled, versions
from synth.embedded.weights import embedded_weights
from tests.train.tiny import PAIRS, make_base

EPOCHS, BATCH, LOGGED = 10, 2, 5  # its page logs every fifth step
SHOWN = re.compile(r"Running \d+/\d+|Finished|Training finished", re.IGNORECASE)


class LlamaFactory:
    name, unit = "LLaMA-Factory, training", "step"
    size = len(PAIRS) // BATCH * EPOCHS

    def install(self, venvs: Path) -> None:
        self.python = filled(venvs / "llamafactory", "llamafactory==0.9.5")
        _without_audio(self.python)
        self.base = venvs / "tiny-llama"
        if not self.base.exists():
            make_base(self.base, embedded_weights().folder)

    def version(self) -> str:
        return versions(self.python, "llamafactory", "gradio", "transformers", "torch")

    def lay_out(self, folder: Path) -> None:
        self.folder = folder / "work"
        (self.folder / "data").mkdir(parents=True)
        rows = [{"instruction": pair["input"], "input": "", "output": pair["output"]} for pair in PAIRS]
        (self.folder / "data" / "peer.json").write_text(json.dumps(rows))
        (self.folder / "data" / "dataset_info.json").write_text('{"peer": {"file_name": "peer.json"}}')
        port = free_port()
        self.server = Server(
            ["llamafactory-cli", "webui"],
            self.folder,
            f"http://127.0.0.1:{port}/",
            PATH=f"{self.python.parent}:{os.environ['PATH']}",
            GRADIO_SERVER_NAME="127.0.0.1",
            GRADIO_SERVER_PORT=str(port),
            GRADIO_ANALYTICS_ENABLED="False",
            HF_HUB_OFFLINE="1",
            BROWSER="true",
            OMP_NUM_THREADS="1",
        )

    def begin(self, page: Page) -> None:
        page.goto(self.server.url)
        self._fill(page)
        page.get_by_role("button", name="Start", exact=True).first.click()

    def worked(self) -> int:
        return LOGGED * sum(len(log.read_text().splitlines()) for log in self._saves("trainer_log.jsonl"))

    def kept(self, page: Page) -> int:
        return self.size if self.ended() else self._checkpoint()

    def ended(self) -> bool:
        return bool(self._saves("train_results.json"))

    def finds(self, page: Page) -> bool:
        page.goto(self.server.url)
        page.get_by_role("button", name="Start", exact=True).first.wait_for()
        try:
            page.get_by_text(SHOWN).first.wait_for(timeout=30_000)
        except Error:
            return False
        return True

    def again(self, page: Page) -> tuple[str, bool]:
        """With the folder of the killed training, as one does who knows that it goes on from a checkpoint there."""
        page.goto(self.server.url)
        self._fill(page)
        (log,) = self._saves("trainer_log.jsonl")
        before = len(log.read_text().splitlines())
        _choose(page, "Output dir", log.parent.name)
        page.wait_for_timeout(3000)  # it answers with a warning and the form of that training
        page.get_by_role("button", name="Start", exact=True).first.click()
        until(lambda: len(log.read_text().splitlines()) != before, "the training to go on")
        first = json.loads(log.read_text().splitlines()[before])["current_steps"]
        return "the form filled in again, the old output folder chosen, Start", first <= LOGGED

    def clean(self) -> None:
        pass

    def _fill(self, page: Page) -> None:
        _choose(page, "Model name", "Custom")
        page.get_by_label("Model path").first.fill(str(self.base))
        _choose(page, "Dataset", "peer")
        page.get_by_label("Epochs").first.fill(f"{EPOCHS}.0")
        _choose(page, "Compute type", "fp32")
        for label, number in (("Batch size", BATCH), ("Gradient accumulation", 1)):
            field = page.get_by_label(f"number input for {label}").first
            field.fill(str(number))
            field.press("Tab")

    def _saves(self, name: str) -> list[Path]:
        return list(self.folder.glob(f"saves/*/*/*/{name}"))

    def _checkpoint(self) -> int:
        return max((int(path.name.rpartition("-")[2]) for path in self._saves("checkpoint-*")), default=0)


def _choose(page: Page, label: str, value: str) -> None:
    """From a list of Gradio's, by the keyboard: typed, it is filtered."""
    page.get_by_label(label, exact=True).locator("visible=true").first.click()
    page.wait_for_timeout(1000)  # some lists are filled when they are opened
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type(value)
    page.wait_for_timeout(1000)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")


def _without_audio(python: Path) -> None:
    """PyPI's torchaudio loads CUDA's libraries when it is imported; without them nothing of the page starts. The trial
    hears nothing, so an empty module stands in."""
    if subprocess.run([str(python), "-c", "import torchaudio"], capture_output=True).returncode == 0:
        return
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip())
    for old in site.glob("torchaudio*"):
        shutil.rmtree(old)
    (site / "torchaudio").mkdir()
    (site / "torchaudio" / "__init__.py").write_text("")
