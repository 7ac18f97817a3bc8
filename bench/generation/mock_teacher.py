"""A chat-completions server that costs next to nothing: it answers every request after a fixed wait.

`python mock_teacher.py LATENCY_S` prints its port. `GET /stats` returns how many completions were requested since the
last `/stats`, when the first arrived and when the last was answered (seconds since the epoch), and the maximum number
of simultaneously open requests.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

TEXT = (
    "A lighthouse keeper climbs the last turn of a spiral stair at dusk, lantern in hand, oil paint on linen, warm "
    "amber light against a bruised violet sky, gulls wheeling outside the salt-streaked glass, quiet, patient, --ar 3:2"
)


class Stats:
    def __init__(self) -> None:
        self.open = 0
        self.begin()

    def begin(self) -> None:
        self.asked = self.busiest = 0
        self.first = self.last = 0.0

    def take(self) -> bytes:
        counts = {"asked": self.asked, "first": self.first, "last": self.last, "busiest": self.busiest}
        self.begin()
        return json.dumps(counts).encode()


STATS = Stats()
LATENCY_S = float(sys.argv[1]) if len(sys.argv) > 1 else 0.05


class Teacher(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            head = self.waiting[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.waiting) < end + 4 + size:
                return
            body, self.waiting = self.waiting[end + 4 : end + 4 + size], self.waiting[end + 4 + size :]
            if head.startswith(b"post"):
                STATS.first = STATS.first or time.time()
                STATS.asked += 1
                STATS.open += 1
                STATS.busiest = max(STATS.busiest, STATS.open)
                asyncio.get_running_loop().call_later(LATENCY_S, self.answer, STATS.asked, body)
            else:
                self.send(
                    STATS.take() if b"/stats" in head else b'{"object":"list","data":[{"id":"mock","object":"model"}]}'
                )

    def answer(self, number: int, body: bytes) -> None:
        STATS.open -= 1
        STATS.last = time.time()
        self.say(number, f"{TEXT} {number}")

    def say(self, number: int, text: str) -> None:
        answer = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": "mock",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "logprobs": None,
                    "message": {"role": "assistant", "content": text},
                }
            ],
            "usage": {"prompt_tokens": 210, "completion_tokens": 62, "total_tokens": 272},
        }
        self.send(json.dumps(answer).encode())

    def send(self, body: bytes, status: str = "200 OK") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)  # type: ignore[attr-defined]


async def main(protocol: type[Teacher] = Teacher) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
