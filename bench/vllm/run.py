"""How much of a real vLLM's throughput is reached through the ledger: `vllm bench serve` and pairsmith on one server,
alternating.

`python -m bench.vllm.run [--model FOLDER] [--prompts 96] [--in-flight 32] [--rounds 2]`. See README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.harness import cpu_s, keep
from schemas.records import Message, Sampling
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.embedded.weights import embedded_weights
from synth.ledger import Ledger, Question
from synth.local_vllm import VllmServer, find_vllm_python, has_gpu, vllm
from synth.teachers import opened

TOKENS = 64
# `vllm bench serve` without the `vllm` command, which has another name in the CPU build.
_BENCH = (
    "import argparse; from vllm.benchmarks import serve; "
    "parser = argparse.ArgumentParser(); serve.add_cli_args(parser); serve.main(parser.parse_args())"
)


def prompt(number: int) -> str:
    return f"{number}. Describe a house by a river in the mountains, its garden, its roof, and who lives in it."


async def by_vllm_bench(server: VllmServer, python: str, scratch: Path, count: int, in_flight: int) -> float:
    """Output tokens per second measured by vLLM's own benchmark."""
    prompts = scratch / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt(number)}) + "\n" for number in range(count)))
    given = {
        "--backend": "openai-chat",
        "--base-url": server.base_url.removesuffix("/v1"),
        "--endpoint": "/v1/chat/completions",
        "--model": server.model,
        "--dataset-name": "custom",
        "--dataset-path": str(prompts),
        "--custom-output-len": str(TOKENS),
        "--num-prompts": str(count),
        "--max-concurrency": str(in_flight),
        "--temperature": "0",
        "--result-dir": str(scratch),
        "--result-filename": "result.json",
    }
    words = [word for pair in given.items() for word in pair]
    process = await asyncio.create_subprocess_exec(
        python, "-c", _BENCH, *words, "--ignore-eos", "--save-result", "--disable-tqdm", "--skip-chat-template",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode(errors="replace")[-2000:]
    outcome: dict[str, Any] = json.loads((scratch / "result.json").read_bytes())
    assert outcome["completed"] == count
    assert outcome["total_output_tokens"] == count * TOKENS
    return float(outcome["output_throughput"])


async def by_pairsmith(server: VllmServer, scratch: Path, count: int, in_flight: int) -> tuple[float, float]:
    """Output tokens per second until the last answer is durable, and the CPU seconds of this process."""
    teacher = TeacherSettings(
        url=server.base_url,
        model=server.model,
        concurrency=in_flight,
        timeout_s=3600,
        attempts=1,
        finish_reasons={"length": "complete"},  # every answer is cut at 64 tokens, as requested
    )
    sampling = Sampling(temperature=0, max_tokens=TOKENS, extra={"ignore_eos": True})
    with tempfile.TemporaryDirectory(dir=scratch) as folder, Store.open(f"sqlite:///{folder}/answers.db") as store:
        async with opened(teacher, print) as endpoint:
            ledger = Ledger(store, endpoint, teacher)
            began, used = time.monotonic(), cpu_s()
            chats = [(Message(role="user", content=prompt(number)),) for number in range(count)]
            await asyncio.gather(*(ledger.answer(Question(chat, sampling)) for chat in chats))
            seconds, cpu = time.monotonic() - began, cpu_s() - used
            assert ledger.usage.completion_tokens == count * TOKENS
    return count * TOKENS / seconds, cpu


def python_for_both(named: str | None, gpu: bool) -> str:
    """The Python with vLLM, with pandas, which its benchmark needs to read files."""
    python = find_vllm_python(named, gpu=gpu, say=print)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "pandas"], check=True)
    return python


async def measured(options: argparse.Namespace) -> dict[str, Any]:
    gpu = has_gpu()
    python = await asyncio.to_thread(python_for_both, options.python, gpu)
    model = options.model or str(embedded_weights(print).folder)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        async with vllm(model, python=python, more=["--no-enable-prefix-caching"], say=print) as server:
            await by_pairsmith(server, scratch, options.in_flight, options.in_flight)  # warm
            for number in range(options.rounds):
                theirs = await by_vllm_bench(server, python, scratch, options.prompts, options.in_flight)
                ours = await by_pairsmith(server, scratch, options.prompts, options.in_flight)
                rounds.append({"vllm": theirs, "pairsmith": ours[0], "cpu_s": ours[1], "load": os.getloadavg()[0]})
                print(number, rounds[-1], flush=True)
    vllms, pairsmiths = ([one[who] for one in rounds] for who in ("vllm", "pairsmith"))
    return {
        "share": round(max(pairsmiths) / max(vllms), 3),
        "tokens_per_s": {"vllm": round(max(vllms), 1), "pairsmith": round(max(pairsmiths), 1)},
        "client_cpu_s": round(min(one["cpu_s"] for one in rounds), 2),
        "prompts": options.prompts,
        "in_flight": options.in_flight,
        "output_tokens": TOKENS,
        "model": Path(model).name,
        "build": "GPU" if gpu else "CPU",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "rounds": rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--python")
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    result = asyncio.run(measured(parser.parse_args()))
    keep("vllm", result, whole=True)


if __name__ == "__main__":
    main()
