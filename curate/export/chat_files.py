"""Chat files in the formats of other trainers, each with a config or a command to start it.

    openai         train.jsonl, validation.jsonl with `messages` alone; also Azure OpenAI and Mistral
    together       the same, with Together's commands
    axolotl        the same and config.yml
    llama-factory  the same, dataset_info.json and config.yaml
    unsloth        train.jsonl, validation.jsonl with `prompt` and `completion`, and train.py

As in our own training, only the last answer of a conversation contributes to the loss. If the dataset has preferences,
a folder `dpo` contains them in the trainer's format, with a config for DPO. The test split is never written: it is
reserved for the evaluation.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from schemas.errors import NoWork
from schemas.records import Json, Split
from schemas.spec import TrainSettings
from synth.embedded.weights import HUB_ID

_EXPONENT_WITHOUT_POINT = re.compile(r"(?<=^\d)e(?=-\d+$)")
_BITS = {"qlora": 4, "lora-8bit": 8}
SPLITS: tuple[Split, ...] = ("train", "validation")
_Files = Callable[[TrainSettings, Mapping[str, int]], dict[str, str]]


class ChatFormat(NamedTuple):
    """A trainer's format: `row` converts a row of the dataset, `preference` one of its preferences; `files` returns
    further files (name -> text) from the settings and the number of rows of each split that has any, `dpo_files` those
    for preferences. `least` is the number of training rows that the trainer requires."""

    row: Callable[[Json], Json]
    files: _Files
    preference: Callable[[Json], Json]
    dpo_files: _Files
    least: int = 1


def write_chat_files(
    dataset: Path, name: str, folder: Path, settings: TrainSettings, adapter: Path | None = None
) -> dict[str, int]:
    """Write the exported dataset in `dataset` for the trainer `name` (a key of `FORMATS`) into the new folder `folder`.
    `adapter` is that of the project, whose tokenizer shows how the base ends a turn.

    Returns the number of rows of each file, by its name without the ending; a split without rows gets no file. Raises
    InputError as `curate.export.dataset.rows` does, and NoWork if there are no training rows, since the trainer's
    config would refer to them. Preferences are left out if none of them is for training.
    """
    from curate.export.dataset import preference_rows, rows

    chosen = FORMATS[name]
    if not (counts := _write_splits(folder, chosen.row, lambda split: rows(dataset, split))):
        fix = "Run `pairsmith rows` to see what became of the rows, or leave --format out."
        raise NoWork(f"there is no row to train on, so {name} has nothing to read.", fix=fix)
    files = chosen.files(settings, counts)
    # Axolotl looks for the tokenizer's end token. A turn of Gemma or Phi ends with another, which it would not train.
    if name == "axolotl" and adapter and (ends := _ends_of_turns(adapter)):
        files["config.yml"] += _yaml({"eot_tokens": ends})
    _write_files(folder, files)
    of_dpo = settings.model_copy(update={"objective": "dpo"}).last_stage.model_copy(update={"packing": False})
    if pairs := _write_splits(folder / "dpo", chosen.preference, lambda split: preference_rows(dataset, split)):
        _write_files(folder / "dpo", chosen.dpo_files(of_dpo, pairs))
    return counts | {f"dpo/{split}": number for split, number in pairs.items()}


def _ends_of_turns(adapter: Path) -> list[str]:
    """The end tokens that the chat template of an adapter spells out, from the files that training wrote beside it."""
    config, tokenizer, template = (
        adapter / name for name in ("generation_config.json", "tokenizer.json", "chat_template.jinja")
    )
    if not all(file.is_file() for file in (config, tokenizer, template)):
        return []
    ids, written = json.loads(config.read_bytes())["eos_token_id"], template.read_text(encoding="utf-8")
    texts = {token["id"]: token["content"] for token in json.loads(tokenizer.read_bytes())["added_tokens"]}
    return [texts[end] for end in ids if end in texts and texts[end] in written]


def _write_splits(
    folder: Path, convert: Callable[[Json], Json], rows_of: Callable[[Split], Iterable[Json]]
) -> dict[str, int]:
    """Write the rows of each split that has any, and return their numbers. Without training rows nothing is written."""
    counts = dict[str, int]()
    for split in SPLITS:
        lines = (orjson.dumps(convert(row)) + b"\n" for row in rows_of(split))
        if (first := next(lines, None)) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{split}.jsonl").open("wb") as file:
                counts[split] = sum(1 for line in chain((first,), lines) if file.write(line))
        elif split == "train":
            break
    return counts


def _write_files(folder: Path, files: Mapping[str, str]) -> None:
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")


def _messages(row: Json, **earlier: Any) -> Json:
    """`messages` alone; `earlier` is merged into all answers but the last, which excludes them from the loss."""
    messages = row["messages"]
    return {
        "messages": [
            {**message, **(earlier if message["role"] == "assistant" and at < len(messages) - 1 else {})}
            for at, message in enumerate(messages)
        ]
    }


def _trained_messages(row: Json) -> Json:
    """`messages` in which every answer says whether it is trained on. `datasets`, with which Axolotl reads the file,
    takes the keys from the first 10 MB and refuses a file in which another key appears later."""
    *earlier, last = _messages(row, train=False)["messages"]
    return {"messages": [*earlier, {**last, "train": True}]}


def _openai(settings: TrainSettings, counts: Mapping[str, int]) -> dict[str, str]:
    files = "".join(
        f'{split} = client.files.create(file=open("{split}.jsonl", "rb"), purpose="fine-tune")\n' for split in counts
    )
    validation = ", validation_file=validation.id" if "validation" in counts else ""
    body = f'client.fine_tuning.jobs.create(model="MODEL", training_file=train.id{validation})\n'
    return {"start.py": f"from openai import OpenAI\n\nclient = OpenAI()\n{files}{body}"}


def _together(settings: TrainSettings, counts: Mapping[str, int]) -> dict[str, str]:
    lines = [f"together files upload {split}.jsonl --purpose fine-tune" for split in counts]
    number = round(settings.epochs) or 1
    # Together ignores the validation file unless a number of evaluations is given.
    validation = f" --validation-file VALIDATION_FILE_ID --n-evals {number}" if "validation" in counts else ""
    lines.append(
        f"together fine-tuning create --training-file TRAIN_FILE_ID{validation} --model MODEL --lora"
        f" --n-epochs {number} --learning-rate {settings.learning_rate:g}"
    )
    return {"start.sh": "\n".join(["#!/bin/sh", "set -e", "together files check train.jsonl", *lines, ""])}


def _axolotl(settings: TrainSettings, counts: Mapping[str, int]) -> dict[str, str]:
    return {"config.yml": _yaml(_axolotl_config(settings, counts))}


def _axolotl_config(settings: TrainSettings, counts: Mapping[str, int]) -> Json:
    def dataset(split: str) -> Json:
        return {
            "path": f"{split}.jsonl",
            "ds_type": "json",
            "type": "chat_template",
            "field_messages": "messages",
            "message_property_mappings": {"role": "role", "content": "content"},
            "message_field_training": "train",
            "roles_to_train": ["assistant"],
            "train_on_eos": "turn",
        }

    return {
        **_lora(settings),
        "base_model": _base(settings),
        "adapter": "qlora" if settings.method == "qlora" else "lora",
        "load_in_4bit": settings.method == "qlora",
        "load_in_8bit": settings.method == "lora-8bit",
        "chat_template": "tokenizer_default",
        "datasets": [dataset("train")],
        **({"test_datasets": [{**dataset("validation"), "split": "train"}]} if "validation" in counts else {}),
        "sequence_len": settings.max_length,
        "micro_batch_size": settings.batch,
        "gradient_accumulation_steps": settings.accumulation,
        "num_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "lr_scheduler": _schedule(settings),
        "warmup_ratio": settings.warmup,
        "optimizer": "adamw_torch",
        "seed": settings.random_seed,
        **({"bf16": "auto"} if settings.precision == "auto" else _precision(settings)),
        "output_dir": "out",
        **_extra_settings(
            settings, weight_decay="weight_decay", neftune="neftune_noise_alpha", packing="sample_packing"
        ),
        **_extra_settings(settings, rslora="peft_use_rslora", dora="peft_use_dora", revision="revision_of_model"),
    }


def _axolotl_dpo(settings: TrainSettings, counts: Mapping[str, int]) -> dict[str, str]:
    config = _axolotl_config(settings, counts)
    for dataset in (*config["datasets"], *config.get("test_datasets", ())):
        for key in ("message_field_training", "roles_to_train", "train_on_eos"):
            del dataset[key]
        dataset |= {"split": "train", "type": "chat_template.default"}
        dataset |= {"field_chosen": "chosen", "field_rejected": "rejected"}
    return {"config.yml": _yaml({**config, "rl": "dpo", "rl_beta": settings.beta})}


def _base(settings: TrainSettings) -> str:
    return HUB_ID if settings.base == "embedded" else settings.base


def _schedule(settings: TrainSettings) -> str:
    return "constant_with_warmup" if settings.schedule == "constant" else settings.schedule


def _warmup_steps(settings: TrainSettings, counts: Mapping[str, int]) -> int:
    """The number of warm-up steps. Not a share: transformers 5 has no `warmup_ratio`, and transformers 4 takes no share
    as `warmup_steps`. A single step is none: the first of a warm-up has a learning rate of 0."""
    of_epoch = math.ceil(math.ceil(counts.get("train", 0) / settings.batch) / settings.accumulation)
    steps = math.ceil(of_epoch * settings.epochs)
    return math.ceil(steps * settings.warmup) if steps > 1 else 0


def _extra_settings(settings: TrainSettings, **theirs: str) -> Json:
    """The settings that differ from the defaults, under the trainer's own key for each of ours."""
    configured = {name: getattr(settings, ours) for ours, name in theirs.items()}
    return {name: value for name, value in configured.items() if value}


def _precision(settings: TrainSettings) -> Json:
    return {} if settings.precision == "float32" else {"fp16" if settings.precision == "float16" else "bf16": True}


def _lora(settings: TrainSettings) -> Json:
    return {"lora_r": settings.r, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout} | (
        {"lora_target_modules": list(settings.targets)} if settings.targets else {"lora_target_linear": True}
    )


def _llama_factory(settings: TrainSettings, counts: Mapping[str, int], **preferred: str) -> dict[str, str]:
    """Its description of the files, and a config; `preferred` are the columns of preferences."""
    described = {
        f"pairsmith_{split}": {
            "file_name": f"{split}.jsonl",
            "formatting": "sharegpt",
            **({"ranking": True} if preferred else {}),
            "columns": {"messages": "messages", **preferred},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
            },
        }
        for split in counts
    }
    of_dpo = {"stage": "dpo", "pref_loss": "sigmoid", "pref_beta": settings.beta, "mask_history": False}
    config = _llama_factory_config(settings, counts) | (of_dpo if preferred else {})
    return {"dataset_info.json": json.dumps(described, indent=2) + "\n", "config.yaml": _yaml(config)}


def _llama_factory_dpo(settings: TrainSettings, counts: Mapping[str, int]) -> dict[str, str]:
    return _llama_factory(settings, counts, chosen="chosen", rejected="rejected")


def _llama_factory_config(settings: TrainSettings, counts: Mapping[str, int]) -> Json:
    return {
        "model_name_or_path": _base(settings),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": settings.r,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "lora_target": ",".join(settings.targets) or "all",
        **({"quantization_bit": bits, "quantization_method": "bnb"} if (bits := _BITS.get(settings.method)) else {}),
        "dataset_dir": ".",
        "dataset": "pairsmith_train",
        **({"eval_dataset": "pairsmith_validation", "eval_strategy": "epoch"} if "validation" in counts else {}),
        "template": "TEMPLATE",
        "mask_history": True,
        "cutoff_len": settings.max_length,
        "per_device_train_batch_size": settings.batch,
        "gradient_accumulation_steps": settings.accumulation,
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": _schedule(settings),
        "warmup_steps": _warmup_steps(settings, counts),
        "seed": settings.random_seed,
        **_precision(settings),
        "output_dir": "out",
        **_extra_settings(settings, weight_decay="weight_decay", neftune="neftune_noise_alpha", packing="packing"),
        **_extra_settings(settings, rslora="use_rslora", dora="use_dora", revision="model_revision"),
    }


_UNSLOTH = Path(__file__).with_name("unsloth_script.txt").read_text(encoding="utf-8")


def _unsloth(settings: TrainSettings, counts: Mapping[str, int]) -> dict[str, str]:
    files = json.dumps({split: f"{split}.jsonl" for split in counts})
    more = _extra_settings(settings, weight_decay="weight_decay", neftune="neftune_noise_alpha", packing="packing")
    fields = {
        **dict(settings),
        "seed": settings.random_seed,
        "base": _base(settings),
        "four_bit": settings.method == "qlora",
        "eight_bit": ", load_in_8bit=True" if settings.method == "lora-8bit" else "",
        "files": files,
        "target_modules": f",\n    target_modules={json.dumps(settings.targets)}" if settings.targets else "",
        "rslora": ", use_rslora=True" if settings.rslora else "",
        "revision": f", revision={json.dumps(settings.revision)}" if settings.revision else "",
        "more": "".join(f"\n        {name}={value}," for name, value in more.items()),
        "schedule": _schedule(settings),
        "warmup_steps": _warmup_steps(settings, counts),
        "eval_strategy": "epoch" if "validation" in counts else "no",
    }
    return {"train.py": _UNSLOTH.format(**fields)}


def _yaml(config: Json) -> str:
    """A mapping as YAML. Values are written as JSON, which YAML can read, except for numbers like 2e-05: without a
    decimal point YAML reads them as text."""
    values = ((key, json.dumps(value, ensure_ascii=False)) for key, value in config.items())
    return "".join(f"{key}: {_EXPONENT_WITHOUT_POINT.sub('.0e', value)}\n" for key, value in values)


def _hosted_preference(line: Json) -> Json:
    """A preference for OpenAI and Together."""
    return {
        "input": {"messages": line["prompt"]},
        "preferred_output": line["chosen"],
        "non_preferred_output": line["rejected"],
    }


def _preference(line: Json) -> Json:
    """A preference for Axolotl and LLaMA-Factory."""
    return {"messages": line["prompt"], "chosen": line["chosen"][0], "rejected": line["rejected"][0]}


def _openai_dpo(settings: TrainSettings, counts: Mapping[str, int]) -> dict[str, str]:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": settings.beta}}}
    ((name, script),) = _openai(settings, counts).items()
    return {name: script.replace('model="MODEL", ', f'model="MODEL", method={json.dumps(method)}, ')}


def _together_dpo(settings: TrainSettings, counts: Mapping[str, int]) -> dict[str, str]:
    ((name, script),) = _together(settings, counts).items()
    return {name: script.replace(" --lora ", f" --lora --training-method dpo --dpo-beta {settings.beta:g} ")}


def _trl_preference(line: Json) -> Json:
    return {side: line[side] for side in ("prompt", "chosen", "rejected")}


FORMATS: Mapping[str, ChatFormat] = {
    "openai": ChatFormat(lambda row: _messages(row, weight=0), _openai, _hosted_preference, _openai_dpo, least=10),
    "together": ChatFormat(lambda row: _messages(row, weight=0), _together, _hosted_preference, _together_dpo),
    "axolotl": ChatFormat(_trained_messages, _axolotl, _preference, _axolotl_dpo),
    "llama-factory": ChatFormat(_messages, _llama_factory, _preference, _llama_factory_dpo),
    "unsloth": ChatFormat(
        lambda row: {"prompt": row["prompt"], "completion": row["completion"]},
        _unsloth,
        _trl_preference,
        lambda settings, counts: {},
    ),
}
