"""Replaces vLLM's server: the same command line, with a loopback teacher behind it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser()
parser.add_argument("--trust-remote-code", action="store_true")
parser.add_argument("--model", required=True)
parser.add_argument("--host")
parser.add_argument("--port", type=int)
parser.add_argument("--enforce-eager", action="store_true")
parser.add_argument("--enable-lora", action="store_true")
parser.add_argument("--max-loras", type=int, default=1)
parser.add_argument("--max-lora-rank", type=int, default=16)
parser.add_argument("--kv-cache-memory-bytes", type=int)
parser.add_argument("--api-key", default=os.environ.get("VLLM_API_KEY"))
parser.add_argument("--runner", default="generate")
parser.add_argument("--lora-modules", nargs="*", default=[])
parser.add_argument("--structured-outputs-config", type=json.loads)
parser.add_argument("--served-model-name")
parser.add_argument("--chat-template")
parser.add_argument("--generation-config")
parser.add_argument("--loads-for", type=float, default=0.2)
parser.add_argument("--breaks", action="store_true")
parser.add_argument("--mute", action="store_true")
parser.add_argument("--killed-after", type=int, default=-1)  # so many requests, as by a system that is out of memory
options = parser.parse_args()
print("arguments", json.dumps(sys.argv[1:]), flush=True)
assert "PYTHONHASHSEED" not in os.environ, "the environment of our Python must not be passed on"

# Stands for vLLM's engine: a child that must not outlive the server.
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if note := os.environ.get("STAND_IN_NOTE"):
    with open(note, "w") as file:
        plugins = [one.load().__module__ for one in importlib.metadata.entry_points(group="vllm.general_plugins")]
        reports = os.environ.get("VLLM_NO_USAGE_STATS") != "1"
        json.dump(
            {"pids": [os.getpid(), engine.pid], "arguments": sys.argv[1:], "plugins": plugins, "reports": reports}, file
        )
signal.signal(signal.SIGTERM, lambda *_: (engine.terminate(), os._exit(0)))
time.sleep(options.loads_for)
if options.breaks:
    engine.kill()
    sys.exit("ValueError: the weights do not fit into the memory of this machine")


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(options.model)
    loaded.chat_template = Path(options.chat_template).read_text()
    return loaded


class Handler(BaseHTTPRequestHandler):
    def _send(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _rejects_key(self) -> bool:
        if not options.api_key or self.headers["Authorization"] == f"Bearer {options.api_key}":
            return False
        self._send(401, {"error": "Unauthorized"})
        return True

    def do_GET(self) -> None:
        if self._rejects_key():
            return
        names = [
            options.served_model_name or options.model,
            *(module.partition("=")[0] for module in options.lora_modules),
        ]
        self._send(200, {"data": [{"id": name} for name in names]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._rejects_key():
            return
        if options.runner == "pooling":
            logit = len(body["messages"][-1]["content"]) / 100 - 1
            number = 1 / (1 + math.exp(-logit)) if body.get("use_activation", True) else logit
            reply = {"data": [{"probs": [number], "num_classes": 1}]}
            self._send(*((200, reply) if self.path == "/classify" else (404, {"detail": "Not Found"})))
            return
        if self.path == "/tokenize":
            ids = tokenizer().apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)
            self._send(200, {"tokens": ids, "count": len(ids)})
            return
        if self.path == "/v1/completions":
            assert len(body["allowed_token_ids"]) == body["max_tokens"] == 1
            logprob = -2.0 if body["model"] == "tuned" else -1.0
            self._send(200, {"choices": [{"text": "", "logprobs": {"token_logprobs": [logprob]}}]})
            return
        if options.mute:
            self._send(400, {"error": {"message": "EngineDeadError"}})
            return
        options.killed_after -= 1
        if options.killed_after == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        text = f"{body['messages'][-1]['content'].rpartition(': ')[2]} beside a wall in {body['model']} END"
        choices = [{"message": {"content": f"{text} {i}"}, "finish_reason": "stop"} for i in range(body.get("n", 1))]
        self._send(200, {"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": len(choices)}})

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()
