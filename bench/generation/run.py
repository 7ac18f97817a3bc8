"""CPU, time window, memory and disk of `pairsmith generate` against bare aiohttp and the openai client, in one run.

`python -m bench.generation.run [--prompts 2000] [--rounds 3] [--large 100000]`. See README.md for what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.harness import ask, child, keep, served

IN_FLIGHT = 64
WIDE = 256
LATENCY_S = 0.05
SHORT = 100  # a run of this many prompts shows the cost of a process before and after its requests
# The cost of one more request is measured over this many times `--prompts`: over 2,000 requests bare aiohttp takes
# about 0.4 s, and the 0.1 s by which two equal processes differ made the ratio anything from 1.4 to 3.7.
LONG = 5
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


async def at_once(count: int, ask: Callable[[int], Awaitable[str]], in_flight: int = IN_FLIGHT) -> None:
    """Call `ask` for every number, `in_flight` at a time; the answers are kept and counted."""
    numbers = iter(range(count))
    answers: list[str] = []

    async def worker() -> None:
        for number in numbers:
            answers.append(await ask(number))

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    assert len(answers) == count
    assert all(answers)


async def bare_aiohttp(base: str, count: int, in_flight: int) -> None:
    """The least that an asyncio client can take: aiohttp, orjson and uvloop, nothing stored."""
    import aiohttp
    import orjson

    connector = aiohttp.TCPConnector(limit=in_flight)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    messages = chat()
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def ask(number: int) -> str:
            body = {"model": "mock", "messages": numbered(messages, number), "temperature": 0.9, "max_tokens": 512}
            async with session.post(f"{base}/v1/chat/completions", data=orjson.dumps(body)) as response:
                return str(orjson.loads(await response.read())["choices"][0]["message"]["content"])

        await at_once(count, ask, in_flight)


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


def write_project(folder: Path, base: str, count: int, in_flight: int = IN_FLIGHT) -> None:
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
concurrency = {in_flight}
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
    return dict(json.loads(ask(f"{base}/stats")))


def measured(base: str, client: str, count: int, in_flight: int = IN_FLIGHT) -> dict[str, float]:
    """One process of `client`: its total CPU seconds, its window in seconds, and its peak memory. For pairsmith also
    the bytes of its store and of its contents, and the seconds of the same command when everything is done."""
    stats(base)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ["-m", "bench.generation.run", "--client", client, "--base", base, "--prompts", str(count)]
        command += ["--in-flight", str(in_flight)]
        if client == "pairsmith":
            write_project(folder, base, count, in_flight)
            command = ["-m", "pairsmith", "generate", "--project", name, "--json"]
        took, _ = child(*command)
        counts = stats(base)
        assert counts["asked"] == count, f"{client} sent {counts['asked']} requests for {count} prompts"
        assert counts["busiest"] <= in_flight
        last = counts["last"]
        if client == "pairsmith":
            last = max(path.stat().st_mtime for path in folder.iterdir() if path.name.startswith("pairsmith.db"))
            stored = sum(path.stat().st_size for path in folder.iterdir() if path.name.startswith("pairsmith.db"))
            more = {"disk_ratio": stored / bytes_of_texts(folder), "resume_s": child(*command)[0]["seconds"]}
        else:
            more = {}
    window = {"window_s": last - counts["first"], "whole_s": took["seconds"], "peak_mb": took["peak_mb"]}
    return {"cpu_s": took["cpu_s"], **window, **more}


def bytes_of_texts(folder: Path) -> int:
    """The UTF-8 bytes sent and received: every message of every request, and every answer."""
    from schemas.store import Store

    total = 0
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}", write=False) as store:
        for key in {key for key, *_ in store.each_answer()}:
            for call in store.calls(key):
                texts = [message["content"] for message in (*call.request["messages"], call.raw["message"])]
                total += sum(len(text.encode()) for text in texts)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=0, help="measure memory and going on with so many rows as well")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--base", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client == "openai":
        asyncio.run(openai_client(asked.base, asked.prompts))
        return
    if asked.client:
        import uvloop

        uvloop.run(bare_aiohttp(asked.base, asked.prompts, asked.in_flight))
        return
    if asked.prompts < 2 * SHORT or asked.rounds < 1:
        parser.error(
            f"--prompts has to be {2 * SHORT} at least and --rounds 1: what a request costs is what a run costs more "
            f"than one of {SHORT} prompts."
        )
    server_file = Path(__file__).with_name("mock_teacher.py")
    names = ["bare aiohttp", "pairsmith", "openai"]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    wide: dict[str, list[float]] = {name: [] for name in names[:2]}
    large: dict[str, float] = {}
    with served(str(server_file), str(LATENCY_S)) as base:
        for _ in range(asked.rounds):
            for name in names:
                short, full = measured(base, name, SHORT), measured(base, name, asked.prompts)
                long = full if name == "openai" else measured(base, name, LONG * asked.prompts)
                rows[name].append({**full, "startup_cpu_s": short["cpu_s"], "long_cpu_s": long["cpu_s"]})
            for name, windows in wide.items():
                windows.append(measured(base, name, 4 * asked.prompts, WIDE)["window_s"])
        if asked.large:
            large = measured(base, "pairsmith", asked.large)
    # The minimum of the rounds: other programs can only add.
    least = {name: {key: min(row[key] for row in rows[name]) for key in rows[name][0]} for name in names}
    for name, m in least.items():
        more = asked.prompts * (1 if name == "openai" else LONG) - SHORT
        m["cpu_ms_per_request"] = 1000 * (m["long_cpu_s"] - m["startup_cpu_s"]) / more
    bare, ours = least["bare aiohttp"], least["pairsmith"]
    print("| client | CPU ms per request | ratio | window s | ratio | whole process s | CPU s |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        m = least[name]
        print(
            f"| {name} | {m['cpu_ms_per_request']:.3f} | {m['cpu_ms_per_request'] / bare['cpu_ms_per_request']:.2f} "
            f"| {m['window_s']:.2f} | {m['window_s'] / bare['window_s']:.2f} "
            f"| {m['whole_s']:.2f} | {m['cpu_s']:.2f} |"
        )
    result = {
        "cpu_ratio": ours["cpu_ms_per_request"] / bare["cpu_ms_per_request"],
        "window_ratio_64": ours["window_s"] / bare["window_s"],
        "window_ratio_256": min(wide["pairsmith"]) / min(wide["bare aiohttp"]),
        "startup_cpu_s": ours["startup_cpu_s"],
        "peak_mb_2k": ours["peak_mb"],
        "disk_ratio": ours["disk_ratio"],
        "peak_mb_100k": large.get("peak_mb"),
        "resume_s_100k": large.get("resume_s"),
        "large": asked.large,
        "load": os.getloadavg()[0],
        "prompts": asked.prompts,
        "cpu_ms_per_request": {name: least[name]["cpu_ms_per_request"] for name in names},
        "rounds": rows,
    }
    keep("generation", result)


if __name__ == "__main__":
    main()
