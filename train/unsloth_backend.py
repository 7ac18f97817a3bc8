"""Unsloth as the training backend (`train.backend = "unsloth"`): it loads the model and provides the kernels; rows and
checks are pairsmith's own.

Importing unsloth patches transformers, PEFT and TRL for the whole process. The training rows, the checks, the curve and
the resulting folder are the same as with the other backend: the adapter is a PEFT adapter, which evaluation and export
load without unsloth. Without a GPU, unsloth's CPU path is used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from schemas.cache import cache_folder
from schemas.errors import InputError, MissingDependency, PairsmithError, first_line
from schemas.spec import TrainSettings

if TYPE_CHECKING:
    from train.base_models.base_model import Base

_INSTALL = "pip install 'pairsmith[train,unsloth]' in a separate environment, or remove train.backend."


def refuse_unfit(settings: TrainSettings) -> None:
    """Raise MissingDependency if unsloth is requested but not installed, and InputError for settings that only TRL
    supports. Imports nothing."""
    if settings.backend != "unsloth":
        return
    requested = {
        "train.dora": settings.dora,
        "train.method = 'lora-8bit'": settings.method == "lora-8bit",
        f"train.objective = '{settings.objective}'": settings.objective != "sft",
        "train.trust_remote_code": bool(settings.trust_remote_code),
    }
    for name in (name for name, is_requested in requested.items() if is_requested):
        raise InputError(f"{name} is not supported by the unsloth backend.", fix="Remove train.backend to use TRL.")
    if find_spec("unsloth") is None:
        raise MissingDependency("train.backend = 'unsloth' needs the package unsloth.", fix=_INSTALL)


def import_unsloth(settings: TrainSettings) -> None:
    """Import unsloth before TRL, if the settings request it. Raises PairsmithError if TRL is already imported, and the
    errors of `refuse_unfit`."""
    refuse_unfit(settings)
    if settings.backend != "unsloth" or "unsloth" in sys.modules:
        return
    if "trl" in sys.modules:
        raise PairsmithError(
            "unsloth can no longer be used in this process.",
            why="TRL was imported before it, so training would run without unsloth's patches.",
            fix="Train in a new process, for example with `pairsmith train`.",
        )
    # By default it downloads a file from a hub for usage statistics, and writes compiled code to the working folder.
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache_folder() / "unsloth"))
    try:
        with redirect_stdout(sys.stderr):  # standard output is reserved for pairsmith's machine-readable output
            import unsloth  # noqa: F401
    except (ImportError, NotImplementedError, RuntimeError, OSError) as error:
        raise MissingDependency(
            f"unsloth is installed but cannot be used here: {first_line(error)}",
            fix=f"Install its requirements: {_INSTALL}",
        ) from error


def load(base: Base, settings: TrainSettings, dtype: Any, device: int | str) -> Any:
    """The frozen base loaded by unsloth, in 16 bits or in 4."""
    from unsloth import FastLanguageModel

    with redirect_stdout(sys.stderr):
        model, _ = FastLanguageModel.from_pretrained(
            str(base.folder),
            max_seq_length=settings.max_length,
            dtype=dtype,
            load_in_4bit=settings.method == "qlora",
            device_map={"": device},
        )
    return model


def new_adapter(model: Any, settings: TrainSettings, lora: Mapping[str, Any]) -> Any:
    """`model` with a new adapter with the arguments `lora`, using unsloth's kernels if available."""
    import torch
    from unsloth import FastLanguageModel

    return FastLanguageModel.get_peft_model(
        model,
        **lora,
        use_gradient_checkpointing="unsloth" if torch.cuda.is_available() else False,
        random_state=settings.random_seed,
        max_seq_length=settings.max_length,
    )
