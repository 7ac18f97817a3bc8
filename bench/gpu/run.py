"""Base and tuned model of about 3B parameters, evaluated on one GPU: minutes, and the GPU's memory.

    python -m bench.gpu.run [--base meta-llama/Llama-3.2-3B-Instruct] [--inputs 40] [--method qlora]

Without `--base` a random model of Llama-3.2-3B's shape with SmolLM2's tokenizer is used, so no hub is needed. It takes
the time and the memory of a real one; its answers are noise and run to the token limit: the slowest case. `--tiny`
tries the script itself on any machine. With a GPU the figures go to bench/results/gpu.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

from bench.harness import keep, random_llama

_THINGS = ("a fox", "two boats", "an old bridge", "a cup of tea", "a tall pine", "a violin", "wet stones", "a clock")
# Llama-3.2-3B, except for the vocabulary, which is the tokenizer's.
_SHAPE = {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
}
_TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def _random_base(folder: Path, shape: dict[str, int]) -> Path:
    import torch

    more = {"max_position_embeddings": 4096, "tie_word_embeddings": True, "dtype": torch.bfloat16}
    return random_llama("LlamaForCausalLM", folder, **more, **shape)


class GpuMemoryPeak:
    """The peak memory of the first GPU in GiB, from nvidia-smi twice a second: the models run in other processes."""

    def __init__(self) -> None:
        self.peak_gib, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        while not self._ended.wait(0.5):
            try:
                used = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                self.peak_gib = max(self.peak_gib, float(used) / 1024)
            except (OSError, subprocess.CalledProcessError, ValueError):  # a GPU with shared memory reports [N/A]
                return


def main() -> None:
    """Train an adapter for a few steps, evaluate base, few-shot and tuned, and record time and memory."""
    import torch

    from train import evaluate, fine_tune

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", help="a folder or a hub id")
    parser.add_argument("--method", default="lora", choices=("lora", "qlora"))
    parser.add_argument("--inputs", type=int, default=40)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    rows = [(f"{thing}, number {n}", f"{thing}, warm light, plate {n} --ar 3:2") for n in range(8) for thing in _THINGS]
    inputs = [f"{thing}, test {n}" for n in range(-(-options.inputs // 8)) for thing in _THINGS][: options.inputs]
    with tempfile.TemporaryDirectory() as scratch, GpuMemoryPeak() as card:
        base = options.base or str(_random_base(Path(scratch) / "base", _TINY if options.tiny else _SHAPE))
        started = time.monotonic()
        trained = fine_tune(rows, base, out=Path(scratch) / "adapters", method=options.method, epochs=1)
        trained_s, started = time.monotonic() - started, time.monotonic()
        sampling = {"temperature": 0.7, "top_p": 0.95, "max_tokens": options.max_tokens}
        measured = evaluate(trained, inputs, ["--ar"], samples=2, sampling=sampling, exemplars=rows[:4], concurrency=32)
        evaluated_s = time.monotonic() - started
    on_gpu = torch.cuda.is_available()
    result = {
        "card": torch.cuda.get_device_name(0) if on_gpu else None,
        "base": options.base or ("a tiny random model" if options.tiny else "a random model of Llama-3.2-3B's shape"),
        "method": options.method,
        "training_s": round(trained_s, 1),
        "evaluation_s": round(evaluated_s, 1),
        "answers": len(measured.outputs),
        "answer_tokens": measured.usage.completion_tokens,
        "peak_gib": round(card.peak_gib, 2),
    }
    if on_gpu and not options.tiny:
        keep("gpu", result, whole=True)
    else:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
