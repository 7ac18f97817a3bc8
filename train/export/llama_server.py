"""Serve a GGUF through llama.cpp's OpenAI-compatible chat completions: `PYTHON llama_server.py FILE THREADS CONTEXT`.

Run by `train.export.gguf` under a Python that has xllamacpp and none of pairsmith's packages. It writes its address as
the first line of standard output, and serves until it is terminated.
"""

import secrets
import signal
import sys

import xllamacpp


def main() -> None:
    """Serve `sys.argv[1]`."""
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[2])
    # Without this, idle threads busy-wait and take CPU time from working threads on a busy machine.
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.n_ctx = int(sys.argv[3])
    # Other users of this machine and web pages can reach the port too, but only the parent process gets the path.
    params.api_prefix = f"/{secrets.token_urlsafe(24)}"
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}{params.api_prefix}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
