"""Shared by the benchmarks: the files of figures, clocks, measured child processes, and a generated pool."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}  # the checkout need not be installed
_GROUP = 4_000  # records
_SAMPLE_EVERY_S = 0.5  # interval at which the memory of processes is sampled


def kept(file: str | Path) -> dict[str, Any]:
    """The figures in a file, or in the file of a benchmark; empty before its first run."""
    path = ROOT / f"bench/results/{file}.json" if isinstance(file, str) else file
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return figures


def keep(file: str | Path, figures: dict[str, Any], *, whole: bool = False) -> None:
    """Print figures and merge them into the file, or replace the file with `whole=True`, so that a figure that is no
    longer measured does not stay beside new ones."""
    path = ROOT / f"bench/results/{file}.json" if isinstance(file, str) else file
    path.write_text(json.dumps(figures if whole else kept(file) | figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2), flush=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds, and the result of `work`."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def cpu_s(who: int = resource.RUSAGE_SELF) -> float:
    """CPU time of this process, or of the children that have ended."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def peak_mb() -> int:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def cpu_s_of(pid: int) -> float:
    """CPU time of a running process, without its children."""
    return float(sum(psutil.Process(pid).cpu_times()[:2]))


def together_mb(pid: int) -> int:
    """Present memory of a process and all its descendants; a page shared by several of them counts once (PSS)."""
    held = 0
    with suppress(psutil.NoSuchProcess):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # it has ended
                held += process.memory_full_info().pss
    return held >> 20


def child(*command: str, together: bool = False) -> tuple[dict[str, float], str]:
    """The resources used by a Python process with these arguments over its lifetime, as counted by the kernel, and its
    output; with `together` also the sampled peak memory of it and its children."""
    began, ended, samples = time.perf_counter(), threading.Event(), list[int]()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)

    def watch() -> None:
        while not ended.wait(_SAMPLE_EVERY_S):
            samples.append(together_mb(process.pid))

    if together:
        threading.Thread(target=watch, daemon=True).start()
    assert process.stdout is not None
    printed = process.stdout.read()
    ended.set()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if status:
        raise SystemExit(f"{command[:3]} ended with {process.returncode}: {printed[-2000:]}")
    took = {"seconds": time.perf_counter() - began, "cpu_s": used.ru_utime + used.ru_stime}
    peaks = {"peak_mb": used.ru_maxrss // 1024} | ({"together_mb": max(samples, default=0)} if together else {})
    return {**{name: round(value, 3) for name, value in took.items()}, **peaks}, printed


def figures_of(*command: str) -> Any:
    """The JSON in the last line that a child process prints."""
    return json.loads(child(*command)[1].strip().splitlines()[-1])


def ask(url: str, body: Any = None, **headers: str) -> bytes:
    """The response of a server; a `body` is posted as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return bytes(answer.read())


def answers(url: str) -> bool:
    with suppress(OSError):
        ask(url)
        return True
    return False


def until(holds: Callable[[], Any], what: str, within_s: float = 120.0) -> None:
    """Wait until `holds()` is true; raises TimeoutError."""
    last = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > last:
            raise TimeoutError(f"Waited {within_s:.0f} s for {what}.")
        time.sleep(0.2)


@contextmanager
def served(*command: str) -> Iterator[str]:
    """Start a server, a Python process with these arguments that first prints its port, and yield its address."""
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.terminate()
        server.wait()


def random_llama(kind: str, folder: Path, **config: Any) -> Path:
    """A random model of the class `kind` in transformers, with SmolLM2's tokenizer and chat template."""
    import transformers

    from synth.embedded.weights import embedded_weights

    tokenizer = transformers.AutoTokenizer.from_pretrained(embedded_weights().folder)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    shape = transformers.LlamaConfig(vocab_size=len(tokenizer), **ids, **config)
    getattr(transformers, kind)(shape).to(config.get("dtype")).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fill_apart(work: Callable[..., None], *arguments: Any) -> None:
    """Fill a store in a process of its own, so that its memory does not count as this one's."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the store could not be filled")


def fill(folder: Path, spec: str, inputs: Sequence[str], outputs: Iterable[tuple[int, str]]) -> None:
    """Write a project with a generated pool and its receipt: each output belongs to the input with that number."""
    from pairsmith.receipts.outcome import GenerateOutcome
    from pairsmith.receipts.receipt import recording
    from schemas.records import Candidate, Counts, Generated, Pair, Sampling, Seed
    from schemas.spec_file import load
    from schemas.store import Store

    (folder / "pairsmith.toml").write_text(spec)
    project = load(folder, ())
    seeds = [Seed(kind="input", text=text, source=f"s:{number}") for number, text in enumerate(inputs)]
    samples, group = Counter[int](), list[Any]()
    with Store.open(Store.url_for(project)) as store:
        store.set_active_seeds(seeds)
        for row, (number, text) in enumerate(outputs):
            origin = Generated(
                generator="forward", prompt="p/v1@0", teacher="t", sampling=Sampling(), calls=((f"{row:032x}", 1),)
            )
            seed = seeds[number]
            pair = Pair(seed_id=seed.id, input=seed.text or "", output=text, system="", origin=origin)
            slot = {"fingerprint": "bench", "seed_id": seed.id, "generator": "forward", "sample": samples[number]}
            samples[number] += 1
            group += [pair, Candidate.model_validate({**slot, "pair_id": pair.id})]
            if len(group) >= _GROUP:
                store.write(*group)
                group = []
        store.write(*group)
        rows = samples.total()
        outcome = GenerateOutcome(
            counts=Counts(rows_in=rows, waiting=rows), fingerprints={"forward": "bench"}, seeds={"input": len(seeds)}
        )
        with recording(project, store, "generate", outcome):
            pass
