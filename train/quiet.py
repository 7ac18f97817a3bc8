"""Suppress third-party messages that appear on every run and are known to be harmless; everything else is still
shown."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from synth.embedded.hub_code import import_bitsandbytes

_NOISY_LOGGERS = (
    # Look for an optional kernel that only inference would use, and suggest fetching it from a hub.
    "bitsandbytes.backends.cpu.ops",
    "kernels._internals.hf_hub",
    # Reports for every layer that 8-bit layers compute in float16.
    "bitsandbytes.autograd._functions",
    # Warns that checkpoints written within one second have no order in time; they are then ordered by step.
    "transformers.trainer_utils",
)


@contextmanager
def quiet(*more: str) -> Iterator[None]:
    """Disable progress bars and known-harmless warnings of torch, bitsandbytes, transformers and datasets inside the
    block; `more` are further loggers of which only errors are shown.

    The previous settings are restored at the end. Warning filters are per process, not per thread.
    """
    import datasets
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in (*_NOISY_LOGGERS, *more)]
    levels = [logger.level for logger in loggers]
    bars = (transformers_logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled())
    with warnings.catch_warnings():
        # torch's own classes use torch.jit at import time; pairsmith does not use it.
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        # TRL 1.16 still reads names that transformers 5 has renamed.
        warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        import_bitsandbytes()
        transformers_logging.disable_progress_bar()
        datasets.disable_progress_bars()
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if bars[0]:
                transformers_logging.enable_progress_bar()
            if not bars[1]:
                datasets.enable_progress_bars()
