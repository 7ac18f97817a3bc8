"""CPU per request and time window of `pairsmith generate` against bare aiohttp and the openai client, in one run.

`python bench/generation/run.py [--prompts 2000] [--rounds 3]`. See README.md for what is measured and what is not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

IN_FLIGHT = 64
LATENCY_S = 0.05
# The checkout need not be installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
SHORT = 100  # a run of so many prompts shows what a process costs before and after its requests
STYLE = "Write a rich image prompt: subject, setting, light, medium, mood; end with an --ar flag. " * 2
EXEMPLARS = [
    ("a cat", "A ginger cat asleep on a red velvet sofa at dusk, soft window light, 35 mm photograph, calm, --ar 3:2"),
    ("old harbour", "An old harbour in fog, wooden boats and coiled ropes, charcoal drawing, muted greys, --ar 16:9"),
    (
        "robot chef",
        "A brass robot chef tossing noodles over a blue flame, neon street stall, rain, comic ink, --ar 4:5",
    ),
]
SEED = "lighthouse number {number}"


def chat() -> list[dict[str, str]]:
    """What pairsmith's own prompt file renders, so that every client sends the same bytes."""
    from prompts import load
    from schemas.spec import Exemplar

    exemplars = [Exemplar(input=input, output=output) for input, output in EXEMPLARS]
    return [
        {"role": message.role, "content": message.content}
        for message in load("enhance").render(style=STYLE, exemplars=exemplars, input=SEED)
    ]


def numbered(messages: list[dict[str, str]], number: int) -> list[dict[str, str]]:
    """The chat for one seed."""
    last = messages[-1]
    return [*messages[:-1], {"role": "user", "content": last["content"].replace("{number}", str(number))}]


async def at_once(count: int, ask: Callable[[int], Awaitable[str]]) -> None:
    """`ask` for every number, IN_FLIGHT at a time; the answers are held and counted."""
    numbers = iter(range(count))
    answers: list[str] = []

    async def worker() -> None:
        for number in numbers:
            answers.append(await ask(number))

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    assert len(answers) == count
    assert all(answers)


async def bare_aiohttp(base: str, count: int) -> None:
    """The least that an asyncio client can do: aiohttp, orjson, uvloop, nothing kept."""
    import aiohttp
    import orjson

    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    messages = chat()
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def ask(number: int) -> str:
            body = {"model": "mock", "messages": numbered(messages, number), "temperature": 0.9, "max_tokens": 512}
            async with session.post(f"{base}/v1/chat/completions", data=orjson.dumps(body)) as response:
                return str(orjson.loads(await response.read())["choices"][0]["message"]["content"])

        await at_once(count, ask)


async def openai_client(base: str, count: int) -> None:
    """The official client as its documentation shows it."""
    from openai import AsyncOpenAI

    messages = chat()
    async with AsyncOpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as client:

        async def ask(number: int) -> str:
            answer = await client.chat.completions.create(
                model="mock",
                messages=numbered(messages, number),  # type: ignore[arg-type]
                temperature=0.9,
                max_tokens=512,
            )
            return answer.choices[0].message.content or ""

        await at_once(count, ask)


def write_project(folder: Path, base: str, count: int) -> None:
    exemplars = "\n".join(
        f"[[exemplars]]\ninput = {json.dumps(input)}\noutput = {json.dumps(output)}" for input, output in EXEMPLARS
    )
    (folder / "pairsmith.toml").write_text(
        f"""[task]
name = "bench"
style = {json.dumps(STYLE)}
[[seeds]]
path = "seeds.jsonl"
{exemplars}
[teacher]
url = "{base}"
model = "mock"
concurrency = {IN_FLIGHT}
[generate.forward]
n = 1
[generate.backward]
enabled = false
[[evaluate.checks]]
name = "long"
pattern = ".{{80}}"
[[evaluate.checks]]
name = "light"
pattern = "light"
"""
    )
    seeds = (json.dumps({"text": SEED.format(number=number)}) for number in range(count))
    (folder / "seeds.jsonl").write_text("\n".join(seeds) + "\n")


def stats(base: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{base}/stats") as response:
        told: dict[str, Any] = json.load(response)
    return told


def measured(base: str, client: str, count: int) -> dict[str, float]:
    """One process of `client`: CPU seconds of its whole life, and the window in seconds."""
    stats(base)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, __file__, "--client", client, "--base", base, "--prompts", str(count)]
        if client == "pairsmith":
            write_project(folder, base, count)
            command = [sys.executable, "-m", "pairsmith", "generate", "--project", name, "--json"]
        began = time.time()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        assert process.stdout is not None
        said = process.stdout.read().decode()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        ended = time.time()
        assert process.returncode == 0, said
        told = stats(base)
        assert told["asked"] == count, f"{client} sent {told['asked']} requests for {count} prompts"
        assert told["busiest"] <= IN_FLIGHT
        last = told["last"]
        if client == "pairsmith":
            last = max(path.stat().st_mtime for path in folder.iterdir() if path.name.startswith("pairsmith.db"))
    return {"cpu_s": used.ru_utime + used.ru_stime, "window_s": last - told["first"], "whole_s": ended - began}


CLIENTS = {"bare aiohttp": bare_aiohttp, "openai": openai_client}


def run_client(client: str, base: str, count: int) -> None:
    if client == "openai":
        asyncio.run(openai_client(base, count))
    else:
        import uvloop

        uvloop.run(bare_aiohttp(base, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--base", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client:
        run_client(asked.client, asked.base, asked.prompts)
        return
    server_file = Path(__file__).with_name("mock_teacher.py")
    server = subprocess.Popen([sys.executable, str(server_file), str(LATENCY_S)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    base = f"http://127.0.0.1:{int(server.stdout.readline())}"
    names = ["bare aiohttp", "pairsmith", "openai"]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    try:
        for _ in range(asked.rounds):
            for name in names:
                short, full = measured(base, name, SHORT), measured(base, name, asked.prompts)
                per_request_ms = 1000 * (full["cpu_s"] - short["cpu_s"]) / (asked.prompts - SHORT)
                rows[name].append({**full, "cpu_ms_per_request": per_request_ms})
    finally:
        server.terminate()
        server.wait()
    middle = {name: {key: statistics.median(row[key] for row in rows[name]) for key in rows[name][0]} for name in names}
    least = middle["bare aiohttp"]
    print("| client | CPU ms a request | ratio | window s | ratio | whole process s | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        m = middle[name]
        print(
            f"| {name} | {m['cpu_ms_per_request']:.3f} | {m['cpu_ms_per_request'] / least['cpu_ms_per_request']:.2f} "
            f"| {m['window_s']:.2f} | {m['window_s'] / least['window_s']:.2f} "
            f"| {m['whole_s']:.2f} | {m['cpu_s']:.2f} |"
        )
    print(json.dumps({"prompts": asked.prompts, "in_flight": IN_FLIGHT, "latency_s": LATENCY_S, "rounds": rows}))


if __name__ == "__main__":
    main()
