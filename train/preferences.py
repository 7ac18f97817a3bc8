"""Preference training: DPO (Rafailov et al. 2023) and ORPO (Hong et al. 2024) through TRL, on pairs of a better and a
worse answer to one input.

DPO continues from the adapter of supervised fine-tuning, with that adapter as its reference; ORPO starts from the base
and learns the better answers and the preference at once. Prompts and answers are tokenised as in evaluation, as in
supervised fine-tuning: TRL receives tokens, not texts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError, NoWork
from schemas.records import Split
from schemas.spec import TrainSettings
from synth.chat_template import Chat
from train.dataset import Dataset, PreferenceRow, TrainingRow
from train.mask import IGNORED, assert_completion_only, plain_preview
from train.results import TrainResult

if TYPE_CHECKING:
    from train.trainer import LossLog

_SHOWN_MASKS = 3

Tokens = dict[str, list[int]]


def tokenise_preferences(
    preferences: Sequence[PreferenceRow], chat: Chat, max_length: int, split: Split
) -> tuple[list[Tokens], dict[str, int]]:
    """Tokens of the preferences that fit into `max_length`, and the lengths of the ones that do not. Each mask is
    checked as in supervised fine-tuning: only the answer and its end-of-turn tokens carry loss."""
    kept, long = list[Tokens](), {}
    for number, preference in enumerate(preferences):
        sides = {}
        for side in ("chosen", "rejected"):
            answer = preference[side]
            prompt, learned = chat.answer_ids(preference["prompt"], answer[0]["content"])
            row = TrainingRow(
                pair_id=f"{split} preference {number}, {side}", prompt=preference["prompt"], completion=answer
            )
            assert_completion_only(chat, row, [*prompt, *learned], [IGNORED] * len(prompt) + learned)
            sides[side] = learned
        if (length := len(prompt) + max(map(len, sides.values()))) > max_length:
            long[f"{split} preference {number}"] = length
        else:
            kept.append({"prompt_ids": prompt, "chosen_ids": sides["chosen"], "rejected_ids": sides["rejected"]})
    return kept, long


def no_preferences_error(settings: TrainSettings) -> NoWork:
    """The error for a dataset without preferences."""
    return NoWork(
        f"train.objective = '{settings.objective}' needs preferences, and the dataset has none to train on.",
        why="There is no pair of a better and a worse answer to one input; or only automatic choices exist, and the"
        " better answer is always the longer (or always the shorter) one, so that only length would be learned.",
        fix="Generate several candidates per input (generate.forward.n), have people review them, and curate; or set"
        " train.objective = 'sft'.",
    )


def build_preference_trainer(
    model: Any,
    chat: Chat,
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    log: LossLog,
    start: TrainResult | None,
) -> tuple[Any, tuple[int, tuple[str, ...], dict[str, Any]]]:
    """The trainer for the dataset's preferences over `start`'s adapter (None: a new one), with the number of tokens
    that carry loss, the masks of a few better answers, and facts about the rows for the record."""
    from peft import PeftModel

    from train.adapter import new_adapter, sort_layers
    from train.trainer import arguments, callbacks, in_free_memory, prepare, set_padding

    kept, long = tokenise_preferences(dataset.preferences, chat, settings.max_length, "train")
    if long and not kept:
        raise NoWork(
            f"no preference fits into {settings.max_length} tokens, which is train.max_length or all that the base can"
            f" read; the shortest has {min(long.values())}.",
            why="There would be nothing to learn from.",
            fix="Raise train.max_length, for a base with a context as long.",
        )
    validation, also_long = tokenise_preferences(dataset.preferred, chat, settings.max_length, "validation")
    if settings.patience is not None and not validation:
        raise InputError(
            f"train.patience needs validation preferences, and none fits into {settings.max_length} tokens.",
            fix="Raise train.max_length, or remove train.patience.",
        )
    if start is None:
        adapted = new_adapter(model, settings)
    else:
        adapted = PeftModel.from_pretrained(model, start.folder, is_trainable=True, autocast_adapter_dtype=False)
        # With the name that the adapter was saved with, saving a checkpoint would query the hub.
        adapted.peft_config["default"].base_model_name_or_path = model.name_or_path
        sort_layers(adapted.peft_config["default"])
    set_padding(chat)
    stage = in_free_memory(adapted, partial(_most_tokens, kept), settings.last_stage, log, "preferences")
    training_arguments = arguments(stage, folder, model.dtype, validate=bool(validation))
    trainer = preference_trainer(
        adapted, chat, kept, validation, settings, training_arguments, callbacks(settings, log)
    )
    log.shown = trainer.last_rows
    facts = {
        "train_rows": len(kept),
        "validation_rows": len(validation),
        "left_out": long | also_long,  # in place of the rows that are too long, which these include
        "began_with": start and start.adapter_id,
    }
    prepare(trainer)
    return trainer, (sum(len(row["chosen_ids"]) for row in kept), tuple(_masks(kept[:_SHOWN_MASKS], chat)), facts)


def _most_tokens(preferences: Sequence[Tokens]) -> tuple[int, int]:
    """Both answers are computed, each after the prompt, and the probability of every token."""
    longest = max(2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in preferences)
    return longest, longest


def _masks(preferences: Sequence[Tokens], chat: Chat) -> Iterator[str]:
    for row in preferences:
        prompt, learned = row["prompt_ids"], row["chosen_ids"]
        yield plain_preview(chat.tokenizer, prompt + learned, [IGNORED] * len(prompt) + learned)


def preference_trainer(
    model: Any,
    chat: Chat,
    train: Sequence[Tokens],
    validation: Sequence[Tokens],
    settings: TrainSettings,
    arguments: Mapping[str, Any],
    callbacks: Sequence[Any],
) -> Any:
    """TRL's trainer for `settings.objective` over a PEFT `model`, on the rows that `tokenise_preferences` returned;
    training is not started. `arguments` are those of transformers' trainer."""
    from datasets import Dataset as HubDataset

    from train.trainer import on_one_device

    def rows_of(tokens: Sequence[Tokens]) -> HubDataset:
        return HubDataset.from_list([_collator_row(row, settings) for row in tokens])

    with _ignore_experimental_warning():
        kind, config = _trainer_classes()[settings.objective]
        return kind(
            model=model,
            args=on_one_device(
                config(
                    **arguments,
                    beta=settings.beta,
                    max_length=settings.max_length,  # longer preferences are already filtered out: nothing is cut
                    remove_unused_columns=False,  # the collators read them, and TRL would warn otherwise
                )
            ),
            train_dataset=rows_of(train),
            eval_dataset=rows_of(validation) if validation else None,
            processing_class=chat.tokenizer,
            callbacks=list(callbacks),
        )


def _collator_row(tokens: Tokens, settings: TrainSettings) -> dict[str, Any]:
    """A row in the form that the collator of the objective's trainer reads."""
    if settings.objective == "dpo":
        return dict(tokens)
    prompt, row = tokens["prompt_ids"], dict[str, list[int]]()
    for side in ("chosen", "rejected"):
        ids = [*prompt, *tokens[f"{side}_ids"]]
        row |= {
            f"{side}_input_ids": ids,
            f"{side}_attention_mask": [1] * len(ids),
            f"{side}_labels": [IGNORED] * len(prompt) + tokens[f"{side}_ids"],
        }
    return {**row, "prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}


class _ShowsPreferences:
    """A trainer of preferences that can show one of its last batch in an error."""

    _last_batch: Any = None
    processing_class: Any

    def training_step(self, model: Any, inputs: dict[str, Any], *more: Any) -> Any:
        self._last_batch = inputs
        return super().training_step(model, inputs, *more)  # type: ignore[misc]

    def last_rows(self) -> str:
        """The first preference of the last batch with its masks, as the end of an error message."""
        if (batch := self._last_batch) is None:
            return ""
        if "input_ids" in batch:  # DPO: the better answers, followed by the worse ones
            labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
            sides = [(batch["input_ids"], batch["attention_mask"], labels, at) for at in (0, len(labels) // 2)]
        else:
            fields = ("input_ids", "attention_mask", "labels")
            sides = [(*(batch[f"{side}_{name}"] for name in fields), 0) for side in ("chosen", "rejected")]
        shown = []
        for ids, mask, labels, at in sides:
            kept = mask[at].bool()
            shown.append(plain_preview(self.processing_class, ids[at][kept].tolist(), labels[at][kept].tolist()))
        return f", on this preference: {' | '.join(shown)[:600]}"


def _trainer_classes() -> dict[str, tuple[Any, Any]]:
    """objective -> TRL's trainer and config class. Both trainers are overridden to leave the tokens unchanged."""
    import torch
    from trl import DPOConfig, DPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    class TokensDPOTrainer(_ShowsPreferences, DPOTrainer):  # type: ignore[misc]  # trl ships no types
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    class TokensORPOTrainer(_ShowsPreferences, ORPOTrainer):  # type: ignore[misc]
        def tokenize_row(self, feature: Any, model: Any = None) -> Any:
            return feature

        def _track_num_input_tokens(self, inputs: Any) -> None:
            """Count the tokens of both answers. The original looks for a single input and warns in every step."""
            masks = torch.cat([inputs[f"{side}_attention_mask"].flatten() for side in ("chosen", "rejected")])
            super()._track_num_input_tokens({"input_ids": masks, "attention_mask": masks})

    return {"dpo": (TokensDPOTrainer, DPOConfig), "orpo": (TokensORPOTrainer, ORPOConfig)}


@contextmanager
def _ignore_experimental_warning() -> Iterator[None]:
    """TRL marks ORPO as experimental, so it may change; pyproject.toml pins the range of TRL versions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are importing from 'trl.experimental'")
        yield
