"""Unsloth as the backend of training (`train.backend = "unsloth"`): its loading and its kernels, our rows and checks.

Unsloth rewrites transformers, PEFT and TRL while it is imported, for the whole process. What is trained on, what is
checked, the curve and the folder that comes out are those of the other backend: the adapter is one of PEFT, which
evaluation and export load without unsloth. Where there is no GPU it trains through its CPU path.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError, MissingDependency, PairsmithError
from schemas.spec import TrainSettings
from synth.embedded.weights import cache_folder

if TYPE_CHECKING:
    from train.base_model import Base

_INSTALL = "pip install 'pairsmith[train,unsloth]' in an environment of its own, or take train.backend out."


def refuse_unfit(settings: TrainSettings) -> None:
    """Raises MissingDependency where unsloth is asked for and not installed, InputError for what is trained through TRL
    alone. Imports nothing."""
    if settings.backend != "unsloth":
        return
    asked = {
        "train.dora": settings.dora,
        "train.method = 'lora-8bit'": settings.method == "lora-8bit",
        f"train.objective = '{settings.objective}'": settings.objective != "sft",
        "train.trust_remote_code": bool(settings.trust_remote_code),
    }
    for name in (name for name, is_asked in asked.items() if is_asked):
        raise InputError(f"{name} is not for the unsloth backend.", fix="Take train.backend out: TRL trains it.")
    if find_spec("unsloth") is None:
        raise MissingDependency("train.backend = 'unsloth' needs the package unsloth.", fix=_INSTALL)


def begin(settings: TrainSettings) -> None:
    """Import unsloth where the settings ask for it, before TRL. Raises PairsmithError where that is too late, and what
    `refuse_unfit` does."""
    refuse_unfit(settings)
    if settings.backend != "unsloth" or "unsloth" in sys.modules:
        return
    if "trl" in sys.modules:
        raise PairsmithError(
            "unsloth cannot be used in this process any more.",
            why="TRL was imported before it, so it would train without what unsloth changes.",
            fix="Train in a new process; `pairsmith train` is one.",
        )
    # It would fetch a file from a hub to count its users, and write code that it compiles into the folder it runs in.
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache_folder() / "unsloth"))
    try:
        with redirect_stdout(sys.stderr):  # what programs read on standard output is ours
            import unsloth  # noqa: F401
    except (ImportError, NotImplementedError, RuntimeError, OSError) as error:
        raise MissingDependency(
            f"unsloth is installed and cannot be used here: {str(error).strip().partition(chr(10))[0][:300]}",
            fix=f"Install what it needs: {_INSTALL}",
        ) from error


def load(base: Base, settings: TrainSettings, dtype: Any, device: int | str) -> Any:
    """The frozen base as unsloth loads it, in 16 bits or in 4."""
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


def new_adapter(model: Any, settings: TrainSettings) -> Any:
    """`model` with a new LoRA adapter over it, through unsloth's kernels where it has them."""
    import torch
    from unsloth import FastLanguageModel

    return FastLanguageModel.get_peft_model(
        model,
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) or "all-linear",
        use_rslora=settings.rslora,
        use_gradient_checkpointing="unsloth" if torch.cuda.is_available() else False,
        random_state=settings.random_seed,
        max_seq_length=settings.max_length,
    )
