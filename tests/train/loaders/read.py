"""Run by a trainer's own Python: `read.py TRAINER FOLDER BASE OUT` loads the training rows in FOLDER as that trainer
does, and writes their tokens and labels, and its version, to OUT."""

from __future__ import annotations

import importlib.metadata
import json
import os
import runpy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", AXOLOTL_DO_NOT_TRACK="1", DO_NOT_TRACK="1", DISABLE_VERSION_CHECK="1")
Rows = Iterable[tuple[list[int], list[int]]]


def axolotl(base: str) -> Rows:
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import load_datasets

    rows = load_datasets(cfg=load_cfg("config.yml")).train_dataset
    return [(row["input_ids"], row["labels"]) for row in rows]


def llama_factory(base: str) -> Rows:
    import yaml
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    config = yaml.safe_load(Path("config.yaml").read_text())
    config |= {"template": "qwen", "use_cpu": True}  # the config asks for bfloat16, which here no GPU has
    model, data, training, *_ = get_train_args(config)
    loaded = load_tokenizer(model)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data)
    rows = get_dataset(template, model, data, training, stage="sft", **loaded)["train_dataset"]
    return [(row["input_ids"], row["labels"]) for row in rows]


def unsloth(base: str) -> Rows:
    text = Path("train.py").read_text()
    Path("loaded.py").write_text(text[: text.index("trainer.train()")])
    rows = runpy.run_path("loaded.py", run_name="__main__")["trainer"].train_dataset
    return [(list(row["input_ids"]), _labels(row)) for row in rows]


def trl(base: str) -> Rows:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    lines = Path("train.jsonl").read_text(encoding="utf-8").split("\n")
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        processing_class=AutoTokenizer.from_pretrained(base),
        train_dataset=Dataset.from_list([json.loads(line) for line in lines if line]),
        args=SFTConfig(output_dir="out", max_length=None, report_to="none", use_cpu=True, bf16=False),
    )
    return [(list(row["input_ids"]), _labels(row)) for row in trainer.train_dataset]


def swift(base: str) -> Rows:
    from swift.dataset import load_dataset
    from swift.model import get_model_processor
    from swift.template import get_template

    _, processor = get_model_processor(base, load_model=False, model_type="qwen2")
    template = get_template(processor, template_type="qwen2_5", max_length=16384, loss_scale="last_round")
    template.set_mode("train")
    encoded = (template.encode(dict(row)) for row in load_dataset(["train.jsonl"], num_proc=1)[0])
    return [(list(row["input_ids"]), list(row["labels"])) for row in encoded]


def _labels(row: dict[str, Any]) -> list[int]:
    if "labels" in row:
        return list(row["labels"])
    marked = zip(row["input_ids"], row["completion_mask"], strict=True)
    return [token if learned else -100 for token, learned in marked]


# The reader of each trainer, its package, and the format that it reads.
READERS: dict[str, tuple[Callable[[str], Rows], str, str]] = {
    "axolotl": (axolotl, "axolotl", "axolotl"),
    "llama-factory": (llama_factory, "llamafactory", "llama-factory"),
    "unsloth": (unsloth, "unsloth", "unsloth"),
    "trl": (trl, "trl", "unsloth"),
    "ms-swift": (swift, "ms-swift", "openai"),
}


def main() -> None:
    trainer, folder, base, out = sys.argv[1:]
    read, package, _ = READERS[trainer]
    os.chdir(folder)
    rows = [{"ids": [*map(int, ids)], "labels": [*map(int, labels)]} for ids, labels in read(base)]
    Path(out).write_text(json.dumps({"version": importlib.metadata.version(package), "rows": rows}))


if __name__ == "__main__":
    main()
