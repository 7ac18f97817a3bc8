"""`python -m bench.service.peers`: the page and the server killed in the midst of a job, here and in comparable tools.

Needs Chromium (/usr/bin/chromium) and the package playwright; PyPI for the peers' venvs (about 4 GB, in --venvs; with a
GPU build of torch more: name an index or a folder with CPU builds in UV_INDEX or UV_FIND_LINKS); for Kiln a checkout of
github.com/Kiln-AI/Kiln and npm. Every trial starts with a fresh workspace. On a quiet machine of two cores a trial
takes two to five minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from bench.service.peers.kiln import Kiln
from bench.service.peers.llamafactory import LlamaFactory
from bench.service.peers.ours import Generates, Trains
from bench.service.peers.trial import Outcome, Peer, killed
from bench.service.peers.unsloth_studio import UnslothStudio

RESULTS = Path(__file__).parents[2] / "results" / "service.json"
NAMES = ["pairsmith", "pairsmith-training", "llamafactory", "kiln", "unsloth"]
KILLS = ("page", "server")
AT = (0.3, 0.45, 0.6)  # how much is done when the kill comes, in turns
DELAY_S = 1.0  # of the teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="+", choices=NAMES, default=NAMES, help="all unless named")
    parser.add_argument("--kills", nargs="+", choices=KILLS, default=[*KILLS])
    parser.add_argument("--times", type=int, default=3, help="trials of each kill")
    parser.add_argument("--venvs", type=Path, required=True, help="a folder for the venvs, kept for the next run")
    parser.add_argument("--kiln", type=Path, help="a checkout of Kiln's repository; without it Kiln is left out")
    asked = parser.parse_args()
    for name in asked.peers:
        if name == "kiln" and asked.kiln is None:
            print("kiln: left out, for --kiln names no checkout of its repository.", flush=True)
        elif name == "unsloth":
            _asked_whether_it_trains(asked.venvs.resolve())
        else:
            _tried(name, _PEERS[name](asked), asked)


def _tried(name: str, peer: Peer, asked: argparse.Namespace) -> None:
    peer.install(asked.venvs.resolve())
    version = peer.version()
    print(f"{peer.name}: {version}", flush=True)
    with sync_playwright() as engine:
        for nth in range(asked.times):
            for kill in asked.kills:
                with tempfile.TemporaryDirectory(prefix=f"peer-{name}-", ignore_cleanup_errors=True) as folder:
                    outcome = killed(peer, kill, AT[nth % len(AT)], Path(folder), engine)
                print(json.dumps(asdict(outcome)), flush=True)
                _keep(name, peer, version, outcome)


def _asked_whether_it_trains(venvs: Path) -> None:
    """Its trial would be that of LLaMA-Factory; it is to be written on a machine where its page trains."""
    peer = UnslothStudio()
    peer.install(venvs)
    with tempfile.TemporaryDirectory(prefix="peer-unsloth-", ignore_cleanup_errors=True) as folder:
        refused = peer.refuses(Path(folder))
    print(f"{peer.name}, {peer.version()}: {refused or 'it trains here, and no trial of it is written'}", flush=True)
    _write("unsloth", {"version": peer.version(), "not_tried": refused or "no trial of it is written"})


def _keep(name: str, peer: Peer, version: str, outcome: Outcome) -> None:
    """Beside what is there of other kills and peers; a trial of another version begins the peer's list anew."""
    before = _results().get("peers", {}).get(name, {})
    trials = before.get("trials", []) if before.get("version") == version else []
    whole = {"version": version, "unit": peer.unit, "size": peer.size, "trials": [*trials, asdict(outcome)]}
    _write(name, whole)


def _results() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


def _write(name: str, peer: dict[str, Any]) -> None:
    results = _results()
    RESULTS.write_text(json.dumps({**results, "peers": {**results.get("peers", {}), name: peer}}, indent=2) + "\n")


_PEERS: dict[str, Callable[[argparse.Namespace], Peer]] = {
    "pairsmith": lambda asked: Generates(DELAY_S),
    "pairsmith-training": lambda asked: Trains(),
    "llamafactory": lambda asked: LlamaFactory(),
    "kiln": lambda asked: Kiln(asked.kiln.resolve(), DELAY_S),
}

if __name__ == "__main__":
    main()
