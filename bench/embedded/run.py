"""Tokens per second and memory of the embedded teacher, beside plain batched `generate` of transformers.

    python bench/embedded/run.py [--requests 64] [--skip-baseline]

Prompts are few-shot (about 205 tokens, the last user line differs), 64 new tokens at most, T=0.9, top-k 50. "shared"
sends them as they are, so the server can reuse the beginning they have in common; "unshared" puts a different number
in front of each, so that it cannot. Both sides run on the same cores, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from synth.embedded.process import EmbeddedServer, embedded
from synth.embedded.weights import embedded_weights

MAX_TOKENS, TEMPERATURE, TOP_K = 64, 0.9, 50
IN_FLIGHT = (1, 8, 16, 32)
SYSTEM = (
    "Rewrite a short image idea as one rich image prompt. Name the subject, the light, the lens and the mood, in one "
    "line, and end with the aspect ratio as --ar."
)
EXEMPLARS = [
    (
        "old lighthouse",
        "A weathered lighthouse on a basalt cliff, storm surf below, last amber light of dusk, 35mm, salt haze, "
        "solitary mood --ar 3:2",
    ),
    (
        "tea shop",
        "A narrow tea shop stacked with tin canisters, steam curling through a shaft of morning sun, 50mm, quiet "
        "and warm --ar 4:5",
    ),
    (
        "desert train",
        "A rust-red freight train crossing white dunes, long noon shadows, telephoto compression, dry and endless "
        "--ar 16:9",
    ),
]
NOUNS = ["fox", "harbour", "violin", "orchard", "robot", "market", "glacier", "library"]
PLACES = ["at dawn", "in the rain", "under neon", "in deep snow", "by candlelight", "from above", "in fog", "at noon"]


def prompt(index: int, *, shared: bool) -> list[dict[str, str]]:
    system = SYSTEM if shared else f"{index * 7919} {SYSTEM}"
    turns = [{"role": "system", "content": system}]
    for input, output in EXEMPLARS:
        turns += [{"role": "user", "content": input}, {"role": "assistant", "content": output}]
    return [*turns, {"role": "user", "content": f"{NOUNS[index % 8]} {PLACES[index // 8 % 8]}"}]


async def measure(server: EmbeddedServer, requests: int, in_flight: int, *, shared: bool) -> dict[str, Any]:
    tokens = prompt_tokens = 0
    gate = asyncio.Semaphore(in_flight)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(index: int) -> None:
            nonlocal tokens, prompt_tokens
            body = {
                "model": server.model,
                "messages": prompt(index + in_flight * 1000, shared=shared),
                "max_tokens": MAX_TOKENS,
                "temperature": TEMPERATURE,
                "top_k": TOP_K,
                "seed": index,
            }
            async with gate, session.post(f"{server.base_url}/chat/completions", json=body) as response:
                response.raise_for_status()
                usage = (await response.json())["usage"]
                tokens += usage["completion_tokens"]
                prompt_tokens += usage["prompt_tokens"]

        start = time.perf_counter()
        await asyncio.gather(*(one(index) for index in range(requests)))
        seconds = time.perf_counter() - start
    return {
        "side": "embedded, shared beginning" if shared else "embedded, unshared",
        "in_flight": in_flight,
        "tokens_per_s": round(tokens / seconds, 1),
        "completion_tokens": tokens,
        "mean_prompt_tokens": round(prompt_tokens / requests),
        "seconds": round(seconds, 2),
        "peak_rss_mib": peak_rss_mib(server.pid),
    }


def peak_rss_mib(pid: int | str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def baseline(batch: int, requests: int) -> dict[str, Any]:
    """Plain `generate` on padded batches, as a script without a server would do it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = embedded_weights().folder
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    texts = [
        tokenizer.apply_chat_template(prompt(i, shared=True), tokenize=False, add_generation_prompt=True)
        for i in range(requests)
    ]
    tokens = 0
    start = time.perf_counter()
    for at in range(0, requests, batch):
        inputs = tokenizer(texts[at : at + batch], return_tensors="pt", padding=True, add_special_tokens=False)
        generated = model.generate(
            **inputs, max_new_tokens=MAX_TOKENS, do_sample=True, temperature=TEMPERATURE, top_k=TOP_K
        )[:, inputs.input_ids.shape[1] :]
        tokens += sum(
            int((row != tokenizer.pad_token_id).sum()) + int(row[-1] == tokenizer.pad_token_id) for row in generated
        )
    seconds = time.perf_counter() - start
    return {
        "side": "transformers generate",
        "in_flight": batch,
        "tokens_per_s": round(tokens / seconds, 1),
        "completion_tokens": tokens,
        "seconds": round(seconds, 2),
        "peak_rss_mib": peak_rss_mib("self"),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--skip-baseline", action="store_true")
    parser.add_argument("--baseline-batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.baseline_batch:
        print(json.dumps(baseline(options.baseline_batch, options.requests)), flush=True)
        return
    async with embedded() as server:
        await measure(server, 4, 4, shared=True)
        for in_flight, shared in [*((count, True) for count in IN_FLIGHT), (16, False)]:
            requests = 8 if in_flight == 1 else options.requests
            print(json.dumps(await measure(server, requests, in_flight, shared=shared)), flush=True)
    for batch in () if options.skip_baseline else IN_FLIGHT[1:]:
        # A process of its own for each, so that every figure of memory is its own peak.
        command = [sys.executable, __file__, "--baseline-batch", str(batch), "--requests", str(options.requests)]
        subprocess.run(command, check=True)  # noqa: ASYNC221  # nothing else is to run meanwhile


if __name__ == "__main__":
    asyncio.run(main())
