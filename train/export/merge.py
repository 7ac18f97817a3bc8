"""The merged model: a base and its adapter in one set of 16-bit weights, which any server can read.

A QLoRA adapter was trained on weights rounded by NF4. It can be merged into those rounded weights in 16 bits, or into
the stock weights. The loss of the two is nearly the same, but their answers differ (with SmolLM2-135M 45 of 48 answers
ended by themselves on the rounded weights, 10 of 48 on the stock ones; in other cases the rounded weights were worse).
Therefore both are built, both answer the validation inputs, and the one whose answers are closer to the accepted
outputs is kept. It is the one that is evaluated and exported.
"""

from __future__ import annotations

import asyncio
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
from synth.chat.completions import RefusedError
from synth.chat_template import Chat
from synth.embedded.process import embedded
from synth.endpoints.endpoint import Endpoint
from train.base_models.base_model import Base, load_chat, load_dequantised
from train.base_models.remote_code import copy_code
from train.dataset import TrainingRow
from train.quiet import quiet
from train.results import Build, Into, Merged, TrainResult, with_files, write_result

FOLDER = "merged"
_MAX_ROWS = 24
# How many tokens longer than the accepted output an answer may be before it counts as cut.
_SPARE_TOKENS = 32
_ASK_TIMEOUT_S = 1800.0


def merged_folder(base: Base, trained: TrainResult) -> Path:
    """The folder of the merged model of a QLoRA adapter. An incomplete one is built again; if an earlier version did
    not build one, it is merged into the rounded base."""
    folder = Path(trained.folder)
    needed = _merged_files({**trained.weights, **trained.files})
    is_complete = all((folder / name).is_file() for name in (f"{FOLDER}/config.json", *needed))
    if trained.merged is None or not is_complete:
        merged = trained.merged or Merged(into="rounded")
        write_merged(base, trained.settings, folder, folder / FOLDER, merged.into)
        own_files = {name: digest for name, digest in trained.files.items() if name not in needed}
        files = {**own_files, **_merged_files(with_files(trained, folder).files)} if own_files else {}
        updated = trained.model_copy(update={"merged": merged, "files": files})
        if updated != trained:  # evidence files refer to the hash of the record, so it is not rewritten needlessly
            write_result(folder, updated)
    return folder / FOLDER


def _merged_files(files: Mapping[str, str]) -> dict[str, str]:
    """The files of the merged model; other library versions write a different config for the same weights."""
    return {name: digest for name, digest in files.items() if name.startswith(f"{FOLDER}/")}


def choose_merge(
    base: Base, settings: TrainSettings, adapter: Path, validation: Sequence[TrainingRow], progress: Progress = unseen
) -> Merged:
    """Build both merged models of a QLoRA adapter, keep the better one as `adapter/merged`, and return the comparison.

    At most 24 `validation` rows are answered greedily. Without any, the adapter is merged into the rounded base it was
    trained on. Blocks: two models are written, and served one after the other.
    """
    rows, builds = validation[:_MAX_ROWS], []
    chat = load_chat(base, settings.template_arguments)
    candidates: Sequence[Into] = get_args(Into) if rows else ("rounded",)
    with replaced_folder(adapter / FOLDER) as partial:
        for into in candidates:
            progress("merge", {"message": f"merging the adapter into the {into} base"})
            folder = partial / into
            write_merged(base, settings, adapter, folder, into)
            if rows:
                builds.append(run(_measure_build(into, base, folder, rows, chat, settings)))
        # On a tie the first wins: it is what the adapter was trained on.
        best = max(builds, key=lambda build: build.chrf).into if builds else candidates[0]
        for path in (partial / best).iterdir():
            path.rename(partial / path.name)
        for into in candidates:
            shutil.rmtree(partial / into)
    return Merged(into=best, rows=len(rows), builds=tuple(builds))


def write_merged(base: Base, settings: TrainSettings, adapter: Path, folder: Path, into: Into = "stock") -> None:
    """Write `base` with `adapter` merged into it to `folder`, atomically: 16-bit weights, the tokenizer with its
    settled chat template, and the tokens that end generation."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    chat = load_chat(base, settings.template_arguments)
    with replaced_folder(folder) as partial, quiet():
        from peft import PeftModel  # imported here because it prints advice to install a kernel

        model: Any = (
            load_dequantised(base)
            if into == "rounded"
            else AutoModelForCausalLM.from_pretrained(
                base.folder, dtype=torch.bfloat16, trust_remote_code=base.runs_code
            )
        )
        before = _weight_sums(model)
        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
        if _weight_sums(model) == before:
            raise NoWork(
                f"merging the adapter into the {into} base changed no weight.",
                where=str(adapter),
                why="The merged model would be the base under another name.",
                fix="Train longer or with a higher train.learning_rate; what was learned is too small for 16 bits.",
            )
        # Cleared because it would be saved in the config and reveal a path of this machine.
        model.config._name_or_path = ""
        end_ids = model.generation_config.eos_token_id
        ends, longest = chat.end_tokens(end_ids), settings.max_length  # without it transformers stops after 20 tokens
        model.generation_config = GenerationConfig(eos_token_id=ends, max_new_tokens=longest)
        model.save_pretrained(partial)
        chat.tokenizer.save_pretrained(partial)
        if base.runs_code:
            copy_code(base.folder, partial)


def _weight_sums(model: Any) -> list[float]:
    """One number per weight tensor, which changes if the weights change."""
    return [float(weight.detach().double().sum()) for weight in model.parameters()]


async def _measure_build(
    into: Into, base: Base, folder: Path, rows: Sequence[TrainingRow], chat: Chat, settings: TrainSettings
) -> Build:
    """How close the greedy answers of the model in `folder` come to the accepted outputs; a cut answer scores 0."""
    from sacrebleu.metrics import CHRF

    metric, arguments = CHRF(), settings.template_arguments
    async with (
        embedded(folder, max_batch=16, template_arguments=arguments, runs_code=base.runs_code) as server,
        Endpoint(server.base_url, server.model, timeout_s=_ASK_TIMEOUT_S) as endpoint,
    ):

        async def answer(row: TrainingRow) -> float | None:
            """chrF of the answer to a row, between 0 and 1; None if it did not end by itself."""
            output = row["completion"][0]["content"]
            limit = len(chat.answer_ids(row["prompt"], output)[1]) + _SPARE_TOKENS
            messages = [Message.model_validate(message) for message in row["prompt"]]
            try:
                answered = await endpoint.ask(messages, Sampling(temperature=0.0, max_tokens=limit))
            except RefusedError:  # row and spare tokens together exceed the model's context
                return None
            (choice,) = answered.choices
            if choice["finish_reason"] != "stop":
                return None
            return float(metric.sentence_score(choice["message"]["content"], [output]).score) / 100

        scores = await asyncio.gather(*map(answer, rows))
    return Build(
        into=into, chrf=round(fmean(score or 0.0 for score in scores), 4), ended=len(rows) - scores.count(None)
    )
