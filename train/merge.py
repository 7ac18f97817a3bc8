"""The merged model: a base and its adapter in one set of 16-bit weights, as any server reads them.

A QLoRA adapter was trained on weights that NF4 had rounded. It can be merged into those weights in 16 bits, or into the
stock ones: the loss of the two is nearly the same, what they write is not (with SmolLM2-135M 45 of 48 answers ended by
themselves on the rounded weights, 10 of 48 on the stock ones; elsewhere the rounded ones were the worse). So both are
built, both answer the validation inputs, and the one that writes closer to the accepted outputs is kept: it is what is
evaluated and what is exported.
"""

from __future__ import annotations

import asyncio
import glob
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from schemas.blocking import run
from schemas.errors import NoWork
from schemas.files import replaced_folder
from schemas.progress import Progress, unseen
from schemas.records import Message, Sampling
from schemas.spec import TrainSettings
from synth.chat_completions import RefusedError
from synth.chat_template import Chat
from synth.embedded.process import embedded
from synth.embedded.weights import cache_folder
from synth.endpoint import Endpoint
from train.base_model import Base, load_chat, load_dequantised
from train.dataset import TrainingRow
from train.quiet import quiet
from train.remote_code import copy_code
from train.results import Build, Into, Merged, TrainResult, with_files, write_result

FOLDER = "merged"
_MOST_ROWS = 24
# So much longer than the accepted output an answer may be before it counts as cut.
_SPARE_TOKENS = 32
_ASK_TIMEOUT_S = 1800.0


def merged_folder(base: Base, trained: TrainResult) -> Path:
    """The merged model of a QLoRA adapter; one that is not whole is made here again, and that of a run of an earlier
    version, into the rounded base."""
    folder = Path(trained.folder)
    needed = _of_merged({**trained.weights, **trained.files})
    whole = all((folder / name).is_file() for name in (f"{FOLDER}/config.json", *needed))
    if trained.merged is None or not whole:
        merged = trained.merged or Merged(into="rounded")
        write_merged(base, trained.settings, folder, folder / FOLDER, merged.into)
        own = {name: digest for name, digest in trained.files.items() if name not in needed}
        files = {**own, **_of_merged(with_files(trained, folder).files)} if own else {}
        again = trained.model_copy(update={"merged": merged, "files": files})
        if again != trained:  # a report speaks of the record as it was written
            write_result(folder, again)
    return folder / FOLDER


def _of_merged(files: Mapping[str, str]) -> dict[str, str]:
    """Those of the merged model, of which other versions of libraries write another config to the same weights."""
    return {name: digest for name, digest in files.items() if name.startswith(f"{FOLDER}/")}


def chosen(
    base: Base, settings: TrainSettings, adapter: Path, validation: Sequence[TrainingRow], progress: Progress = unseen
) -> Merged:
    """Build both merged models of a QLoRA adapter, keep the better as `adapter/merged`, and say what was compared.

    `validation` rows are answered greedily, at most 24 of them. Without any, the base that it was trained on is taken.
    Blocks: two models are written and one after the other served.
    """
    rows, builds = validation[:_MOST_ROWS], []
    chat = load_chat(base, settings.template_arguments)
    candidates: Sequence[Into] = get_args(Into) if rows else ("rounded",)
    with replaced_folder(adapter / FOLDER) as partial:
        for into in candidates:
            progress("merge", {"message": f"merging the adapter into the {into} base"})
            folder = partial / into
            write_merged(base, settings, adapter, folder, into)
            if rows:
                builds.append(run(_measured(into, base, folder, rows, chat, settings)))
        # Among equals the first: it is what the adapter was trained on.
        best = max(builds, key=lambda build: build.chrf).into if builds else candidates[0]
        for path in (partial / best).iterdir():
            path.rename(partial / path.name)
        for into in candidates:
            shutil.rmtree(partial / into)
    forget_rounded(base)
    return Merged(into=best, rows=len(rows), builds=tuple(builds))


def forget_rounded(base: Base) -> None:
    """Remove what earlier versions kept in the cache folder: the rounded base, as large as the model, on which they
    served its adapters."""
    for folder in cache_folder().glob(f"{glob.escape(base.folder.name)}-nf4-*"):
        shutil.rmtree(folder, ignore_errors=True)


def write_merged(base: Base, settings: TrainSettings, adapter: Path, folder: Path, into: Into = "stock") -> None:
    """Write `base` with `adapter` merged into it to `folder`, which appears whole: weights in 16 bits, the tokenizer
    with its settled chat template, and the tokens at which generation stops."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    chat = load_chat(base, settings.template_arguments)
    with replaced_folder(folder) as partial, quiet():
        from peft import PeftModel  # which tells whoever exports to install a kernel

        model: Any = (
            load_dequantised(base)
            if into == "rounded"
            else AutoModelForCausalLM.from_pretrained(
                base.folder, dtype=torch.bfloat16, trust_remote_code=base.runs_code
            )
        )
        before = _sums(model)
        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
        if _sums(model) == before:
            raise NoWork(
                f"merging the adapter into the {into} base changed no weight.",
                where=str(adapter),
                why="The merged model would be the base under another name.",
                fix="Train longer or with a higher train.learning_rate; what was learned is lost in 16 bits.",
            )
        # It would be written into the config and say where this machine keeps its files.
        model.config._name_or_path = ""
        named = model.generation_config.eos_token_id
        model.generation_config = GenerationConfig(eos_token_id=chat.end_tokens(named))
        model.save_pretrained(partial)
        chat.tokenizer.save_pretrained(partial)
        if base.runs_code:
            copy_code(base.folder, partial)


def _sums(model: Any) -> list[float]:
    """A number for each weight, which is another one where the weight is."""
    return [float(weight.detach().double().sum()) for weight in model.parameters()]


async def _measured(
    into: Into, base: Base, folder: Path, rows: Sequence[TrainingRow], chat: Chat, settings: TrainSettings
) -> Build:
    """How close the greedy answers of the model in `folder` come to the accepted outputs; a cut one is not close."""
    from sacrebleu.metrics import CHRF

    metric, arguments = CHRF(), settings.template_arguments
    async with (
        embedded(folder, max_batch=16, template_arguments=arguments, runs_code=base.runs_code) as server,
        Endpoint(server.base_url, server.model, timeout_s=_ASK_TIMEOUT_S) as endpoint,
    ):

        async def answer(row: TrainingRow) -> float | None:
            """chrF of the answer to a row, between 0 and 1; None where it did not end by itself."""
            output = row["completion"][0]["content"]
            limit = len(chat.answer_ids(row["prompt"], output)[1]) + _SPARE_TOKENS
            messages = [Message.model_validate(message) for message in row["prompt"]]
            try:
                answered = await endpoint.ask(messages, Sampling(temperature=0.0, max_tokens=limit))
            except RefusedError:  # row and spare tokens together are longer than the model's context
                return None
            (choice,) = answered.choices
            if choice["finish_reason"] != "stop":
                return None
            return float(metric.sentence_score(choice["message"]["content"], [output]).score) / 100

        close = await asyncio.gather(*map(answer, rows))
    return Build(into=into, chrf=round(fmean(score or 0.0 for score in close), 4), ended=len(rows) - close.count(None))
