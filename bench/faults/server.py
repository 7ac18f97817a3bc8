"""The mock teacher with faults: `python -m bench.faults.server LATENCY_S '{"429": 0.02}'` prints its port.

Shares are of `429`, `500`, `cut` (the connection is cut), `empty` (an answer without text) and `sticky` (a prompt that
is throttled its first four times). Faults are drawn with a fixed seed. `GET /stats` also contains how often each prompt
was requested.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter

from bench.generation.mock_teacher import STATS, TEXT, Teacher, main

SHARES: dict[str, float] = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
DRAWS = random.Random(0)
ASKED: Counter[str] = Counter()
STICKY_TIMES = 4


class FaultyTeacher(Teacher):
    def answer(self, number: int, body: bytes) -> None:
        STATS.open -= 1
        STATS.last = time.time()
        prompt = json.loads(body)["messages"][-1]["content"]
        ASKED[prompt] += 1
        sticky = random.Random(prompt).random() < SHARES.get("sticky", 0)
        draw, fault = DRAWS.random(), "sticky" if sticky and ASKED[prompt] <= STICKY_TIMES else ""
        for name, share in SHARES.items():
            if name != "sticky" and not fault:
                fault = name if draw < share else ""
                draw -= share
        if fault == "cut":
            self.transport.abort()  # type: ignore[attr-defined]
        elif fault in ("429", "sticky"):
            self.send(b'{"error": {"message": "slow down"}}', "429 Too Many Requests")
        elif fault == "500":
            self.send(b'{"error": {"message": "oops"}}', "500 Internal Server Error")
        else:
            self.say(number, "" if fault == "empty" else f"{TEXT} {number}")

    def send(self, body: bytes, status: str = "200 OK") -> None:
        if body.startswith(b'{"asked"'):
            body = json.dumps({**json.loads(body), "prompts": dict(ASKED)}).encode()
            ASKED.clear()
        super().send(body, status)


if __name__ == "__main__":
    asyncio.run(main(FaultyTeacher))
