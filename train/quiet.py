"""Silence for what third parties say on every run and what has been understood; everything else is still heard."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKATIVE = (
    # bitsandbytes looks for an optional kernel that only inference would use, and would fetch it from a hub.
    "bitsandbytes.backends.cpu.ops",
    # That 8-bit layers compute in float16, of every layer.
    "bitsandbytes.autograd._functions",
    # Checkpoints of one second have no order in time, which it tells; they are in that of their steps then.
    "transformers.trainer_utils",
)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no known-harmless warnings of torch, bitsandbytes, transformers and datasets inside.

    The settings that were there before come back at the end. Warning filters are per process, not per thread.
    """
    import datasets
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    bars = (transformers_logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled())
    with warnings.catch_warnings():
        # torch's own classes use torch.jit at import time; nothing of ours compiles with it.
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        # TRL 1.16 still reads the names that transformers 5 has renamed.
        warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
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
