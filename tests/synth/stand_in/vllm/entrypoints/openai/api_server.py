"""Takes the place of vLLM's server: the same command line, and a loopback teacher behind it."""

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
asked = parser.parse_args()
print("arguments", json.dumps(sys.argv[1:]), flush=True)
assert "PYTHONHASHSEED" not in os.environ, "the environment of our Python is not its business"

# As its engine: a child that must not outlive it.
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
if note := os.environ.get("STAND_IN_NOTE"):
    with open(note, "w") as file:
        plugins = [one.load().__module__ for one in importlib.metadata.entry_points(group="vllm.general_plugins")]
        reports = os.environ.get("VLLM_NO_USAGE_STATS") != "1"
        json.dump(
            {"pids": [os.getpid(), engine.pid], "arguments": sys.argv[1:], "plugins": plugins, "reports": reports}, file
        )
signal.signal(signal.SIGTERM, lambda *_: (engine.terminate(), os._exit(0)))
time.sleep(asked.loads_for)
if asked.breaks:
    engine.kill()
    sys.exit("ValueError: the weights do not fit into the memory of this machine")


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(asked.model)
    loaded.chat_template = Path(asked.chat_template).read_text()
    return loaded


class Handler(BaseHTTPRequestHandler):
    def _say(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _is_stranger(self) -> bool:
        if not asked.api_key or self.headers["Authorization"] == f"Bearer {asked.api_key}":
            return False
        self._say(401, {"error": "Unauthorized"})
        return True

    def do_GET(self) -> None:
        if self._is_stranger():
            return
        names = [asked.served_model_name or asked.model, *(module.partition("=")[0] for module in asked.lora_modules)]
        self._say(200, {"data": [{"id": name} for name in names]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._is_stranger():
            return
        if asked.runner == "pooling":
            logit = len(body["messages"][-1]["content"]) / 100 - 1
            number = 1 / (1 + math.exp(-logit)) if body.get("use_activation", True) else logit
            reply = {"data": [{"probs": [number], "num_classes": 1}]}
            self._say(*((200, reply) if self.path == "/classify" else (404, {"detail": "Not Found"})))
            return
        if self.path == "/tokenize":
            ids = tokenizer().apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)
            self._say(200, {"tokens": ids, "count": len(ids)})
            return
        if self.path == "/v1/completions":
            assert len(body["allowed_token_ids"]) == body["max_tokens"] == 1
            logprob = -2.0 if body["model"] == "tuned" else -1.0
            self._say(200, {"choices": [{"text": "", "logprobs": {"token_logprobs": [logprob]}}]})
            return
        if asked.mute:
            self._say(400, {"error": {"message": "EngineDeadError"}})
            return
        text = f"{body['messages'][-1]['content'].rpartition(': ')[2]} beside a wall in {body['model']} END"
        choices = [{"message": {"content": f"{text} {i}"}, "finish_reason": "stop"} for i in range(body.get("n", 1))]
        self._say(200, {"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": len(choices)}})

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer((asked.host, asked.port), Handler).serve_forever()
