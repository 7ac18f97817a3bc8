"""Supervised fine-tuning of an adapter: LoRA (Hu et al. 2021) or QLoRA (Dettmers et al. 2023) through TRL.

In addition to TRL, rows that would be cut are left out and reported, training uses the same prompts as evaluation, the
loss mask of every row is checked, the curve is returned as numbers, and an adapter that learned nothing is an error.
The adapter is written atomically. A run that is killed resumes from its last checkpoint.
"""

from __future__ import annotations

import errno
import gc
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas import progress_line
from schemas.errors import InputError, NoWork, PairsmithError, StoreFull, UsageError, first_line, require_packages
from schemas.failpoints import failpoint
from schemas.files import replaced_folder
from schemas.progress import Progress, ShouldStop, never_stop, unseen
from schemas.python_terms import python_terms
from schemas.records import content_id
from schemas.spec import TrainSettings, given
from synth.chat_template import Chat
from train import unsloth_backend
from train.adapter_ids import adapter_id, finished_adapter, learned_ids
from train.base_models.base_model import Base, find_base, load_chat, load_for_training, longest_row, unpack_if_small
from train.base_models.check import refuse_conflicting_settings
from train.base_models.models import settled
from train.dataset import (
    Data,
    Dataset,
    TrainingRow,
    dataset_of,
    refuse_contaminated,
    refuse_empty,
    repeat_edited,
    split_by_length,
)
from train.export.merge import choose_merge
from train.export.model_card import model_card
from train.mask import assert_completion_only, plain_preview
from train.preferences import build_preference_trainer, no_preferences_error
from train.quiet import quiet
from train.results import Step, TrainResult, Validation, refuse_changed, with_files, write_result

if TYPE_CHECKING:
    from train.trainer import LossLog

_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")
_BACKEND_PACKAGES = {"trl": (), "unsloth": ("unsloth", "unsloth_zoo")}
_SHOWN_MASKS = 3
# What libraries say of a full disk. torch, whose file is then shorter than what it wrote, does not name the cause.
_FULL_DISK = ("No space left", "Disk quota exceeded", "File too large")
_FULL_DISK_IN_TORCH = ("unexpected pos", "PytorchStreamWriter")


class Receipts(NamedTuple):
    """What a project has recorded of its adapters: `digests` returns the SHA-256 of an adapter's files by its id, and
    `begin` is called before an adapter is trained, after which its earlier receipts no longer describe it."""

    digests: Callable[[str], Mapping[str, str]]
    begin: Callable[[str], None]


NO_RECEIPTS = Receipts(lambda adapter: {}, lambda adapter: None)


@python_terms()
def fine_tune(
    data: Data,
    base: str | Path = "embedded",
    *,
    out: str | Path = "adapters",
    system_prompt: str = "",
    progress: bool | Progress = True,
    **settings: Any,
) -> TrainResult:
    """Tune an adapter of `base` on `data` and save it as `out/<adapter id>`, available as the result's `folder`.

    `data` is an exported folder, a pool, or rows; `system_prompt` is used for rows without one (see
    `train.dataset.dataset_of`). `base` is `embedded`, a folder or a hub id. `settings` are the keys of `[train]`:
    method, r, alpha, dropout, learning_rate, batch, epochs, max_length, seed. `progress=False` shows no progress line.
    No project is needed. For errors see `tune` and `find_base`.
    """
    train_settings = given(TrainSettings, "fine_tune", base=str(base), **settings)
    dataset = dataset_of(data, system_prompt)
    refuse_untrainable(dataset, train_settings)
    _create_folder(Path(out))
    with progress_line.requested(progress) as shown:
        return tune(find_base(train_settings, Path(), shown), dataset, train_settings, Path(out), shown)


def _create_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UsageError(
            f"out = {str(out)!r} cannot hold an adapter: {error.strerror}.", fix="Name a folder that can be written to."
        ) from None


def refuse_untrainable(dataset: Dataset, settings: TrainSettings) -> None:
    """Check a dataset before a base is loaded. Raises NoWork if there are no rows, or no preferences although the
    objective needs them, and InputError for a row that is also in the test set."""
    refuse_empty(dataset.train)
    if settings.objective != "sft" and not dataset.preferences:
        raise no_preferences_error(settings)
    refuse_contaminated(dataset)


def tune(
    base: Base,
    dataset: Dataset,
    settings: TrainSettings,
    out_dir: Path,
    progress: Progress = unseen,
    *,
    merge: bool = True,
    should_stop: ShouldStop = never_stop,
    receipts: Receipts = NO_RECEIPTS,
) -> TrainResult:
    """Train an adapter on `dataset.train`, measure `dataset.validation`, and save it as `out_dir/<adapter id>`.

    With `train.objective` "dpo", the adapter of supervised fine-tuning is trained first (or reused) and DPO continues
    from it; "orpo" starts from the base. After QLoRA the adapter is merged, unless `merge` is False. A reused
    adapter must be as its record and `receipts` say.

    Reports progress("train", {done, total, loss, tokens, eta_s, epoch}) after each step, and `validation_loss` when one
    is measured. An existing adapter is returned and nothing is trained (`reused`). A killed run resumes from its last
    checkpoint, and so does one stopped through `should_stop`: the best weights until then are returned as an adapter
    with another id (`planned_steps`); if nothing was learned yet, KeyboardInterrupt is raised. Raises InputError for
    unusable rows or rows of the test set, and NoWork if nothing was learned (no rows, no finite or no loss at all).
    """
    settings = (requested := settled(settings, base.folder, base.hashes, out_dir)).effective_settings
    unsloth_backend.import_unsloth(settings)
    folder = out_dir / (name := adapter_id(dataset, settings, base.hash))
    if finished := finished_adapter(base, dataset, (settings, requested), out_dir):
        return _reuse(base, dataset, finished, progress, receipts, merge=merge)
    refuse_untrainable(dataset, settings)
    require_packages(("accelerate", "peft", "torch", "transformers", "trl"), "train", "training needs")
    chat = load_chat(base, settings.template_arguments)
    start = _train_start(base, dataset, settings, out_dir, progress, should_stop, receipts)
    if start and start.planned_steps is not None:
        return start
    fitting, long = _fitting_rows(dataset, chat, longest_row(base, settings.max_length))
    _refuse_settings(settings, fitting)
    with quiet():
        from train.trainer import LossLog

    log = LossLog(progress, should_stop)
    checkpoints = out_dir / f".{name}.checkpoints"
    with _report_full_disk(out_dir), replaced_folder(folder) as partial:
        receipts.begin(name)
        try:
            with quiet():
                result = _train(base, chat, fitting, settings, partial, checkpoints, log, start)
        except PairsmithError:  # resuming from there would only fail in the same way
            shutil.rmtree(checkpoints, ignore_errors=True)
            raise
        known = {"learned_id": learned_ids(dataset, [settings], [base.hash]).pop()}
        result = result.model_copy(update=known | ({"left_out": long} if settings.objective == "sft" else {}))
        if settings.method == "qlora" and merge and result.planned_steps is None:
            gc.collect()  # frees the trained model, which is as large as each merged one
            merged = choose_merge(base, settings, partial, fitting.validation, progress)
            result = result.model_copy(update={"merged": merged})
        if (result := _write_record(partial, result)).planned_steps is not None:
            return _save_stopped(partial, out_dir, result)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return result.model_copy(update={"folder": str(folder)})


def _fitting_rows(dataset: Dataset, chat: Chat, longest: int) -> tuple[Dataset, dict[str, int]]:
    """The dataset without its rows of more tokens than `longest`, and the token counts of these rows, by id."""
    train, long = split_by_length(dataset.train, chat, longest, "train")
    validation, also_long = split_by_length(dataset.validation, chat, longest, "validation")
    return replace(dataset, train=train, validation=validation), long | also_long


def _reuse(
    base: Base, dataset: Dataset, finished: TrainResult, progress: Progress, receipts: Receipts, *, merge: bool
) -> TrainResult:
    """The existing adapter, which must be as recorded. If DPO had only used it as an intermediate step, it is merged
    now that it is requested on its own."""
    refuse_changed(finished, recorded=receipts.digests(finished.adapter_id))
    finished = finished.model_copy(update={"reused": True})
    if not (merge and finished.is_step):
        return finished
    folder, settings = Path(finished.folder), finished.settings
    chat = load_chat(base, settings.template_arguments)
    validation, _ = split_by_length(dataset.validation, chat, longest_row(base, settings.max_length), "validation")
    with _report_full_disk(folder):
        merged = choose_merge(base, settings, folder, validation, progress)
    return _write_record(folder, finished.model_copy(update={"merged": merged}))


@contextmanager
def _report_full_disk(out_dir: Path) -> Iterator[None]:
    """Convert the errors of libraries that write weights to a full disk into StoreFull."""
    try:
        yield
    except PairsmithError:
        raise
    except Exception as error:
        named = any(words in str(error) for words in _FULL_DISK)
        if not (named or any(words in str(error) for words in _FULL_DISK_IN_TORCH)):
            raise
        raise StoreFull(
            f"no space is left to write{f' ({first_line(error)})' if named else ''}.",
            where=str(out_dir),
            why="The adapter was not saved; the last complete checkpoint is kept.",
            fix="Free some space and run the same command again; it resumes from there.",
        ) from error


def _write_record(partial: Path, result: TrainResult) -> TrainResult:
    """Write the record with the hashes of the files, and the model card; returns the record."""
    failpoint("mid_train")
    result = with_files(result, partial)
    (partial / "README.md").write_text(model_card(result), encoding="utf-8")
    write_result(partial, result)
    return result


def _save_stopped(partial: Path, out_dir: Path, result: TrainResult) -> TrainResult:
    """Save the adapter of a stopped run under its own id; the checkpoints are kept so that training can resume."""
    folder = out_dir / result.adapter_id
    with replaced_folder(folder) as place:
        place.rmdir()
        partial.rename(place)
    return result.model_copy(update={"folder": str(folder)})


def _train_start(
    base: Base,
    dataset: Dataset,
    settings: TrainSettings,
    out_dir: Path,
    progress: Progress,
    should_stop: ShouldStop,
    receipts: Receipts,
) -> TrainResult | None:
    """The adapter that DPO continues from; None for another objective."""
    if settings.objective != "dpo":
        return None
    _refuse_settings(settings, dataset)
    without = {"objective", "beta", "dpo_learning_rate", "dpo_epochs"}
    supervised = TrainSettings.model_validate(settings.model_dump(exclude=without))
    return tune(base, dataset, supervised, out_dir, progress, merge=False, should_stop=should_stop, receipts=receipts)


def _refuse_settings(settings: TrainSettings, dataset: Dataset) -> None:
    measured = dataset.validation if settings.objective == "sft" else dataset.preferred
    refuse_conflicting_settings(settings)
    if settings.patience is not None and not measured:
        raise InputError(
            "train.patience needs validation rows (preferences for dpo and orpo), and there are none.",
            fix="Raise split.validation, or remove train.patience.",
        )


def _build_row_trainer(
    model: Any, chat: Chat, dataset: Dataset, settings: TrainSettings, checkpoints: Path, log: LossLog
) -> tuple[Any, tuple[int, tuple[str, ...], dict[str, Any]]]:
    """The trainer of supervised fine-tuning, with the mask of every row checked. Also returns what
    `build_preference_trainer` does: the number of learned tokens, some masks, and the row counts."""
    from train.trainer import adapter_trainer

    rows = repeat_edited(dataset, settings.edited_weight)
    trainer = adapter_trainer(model, chat, replace(dataset, train=rows), settings, checkpoints, log)
    learned_tokens = _check_masks(chat, rows, trainer.train_dataset)
    _check_masks(chat, dataset.validation, trainer.eval_dataset or ())
    sample = [trainer.train_dataset[index] for index in range(min(_SHOWN_MASKS, len(dataset.train)))]
    masks = tuple(plain_preview(chat.tokenizer, row["input_ids"], row["labels"]) for row in sample)
    row_counts = {"train_rows": len(dataset.train), "validation_rows": len(dataset.validation)}
    return trainer, (learned_tokens, masks, row_counts)


def _train(
    base: Base,
    chat: Chat,
    dataset: Dataset,
    settings: TrainSettings,
    folder: Path,
    checkpoints: Path,
    log: LossLog,
    start: TrainResult | None,
) -> TrainResult:
    """Load the model, check the masks of the prepared rows, train, check that something was learned, and save."""
    from transformers import set_seed

    from train.trainer import memory, read_curve, train

    started = time.monotonic()
    set_seed(settings.random_seed)
    model, four_bit_layers = load_for_training(base, settings)
    if four_bit_layers and settings.backend == "trl":
        unpack_if_small(model)
    limited = settings.model_copy(update={"max_length": longest_row(base, settings.max_length)})
    if settings.objective == "sft":
        trainer, prepared = _build_row_trainer(model, chat, dataset, limited, checkpoints, log)
    else:
        trainer, prepared = build_preference_trainer(model, chat, dataset, limited, checkpoints, log, start)
    learned_tokens, masks, facts = prepared
    train(trainer, checkpoints, log)
    curve, validation = read_curve(trainer.state)
    name, state = adapter_id(dataset, settings, base.hash), trainer.state
    kept_step = state.best_global_step if facts["validation_rows"] else None
    is_complete = state.global_step >= state.max_steps or not log.ended
    if not is_complete and not _adapter_changed(trainer.model):
        raise KeyboardInterrupt
    _refuse_no_learning(trainer.model, curve, validation)
    _save(trainer.model, chat, base, folder, limited)
    return TrainResult(
        adapter_id=name if is_complete else content_id("adapter", [name, "ended", kept_step or state.global_step]),
        dataset_id=dataset.id,
        settings=settings,
        **base.record,
        **facts,
        learned_tokens=learned_tokens,
        trained_tokens=int(trainer.state.num_input_tokens_seen),
        steps=len(curve),
        curve=curve,
        validation=validation,
        kept_step=kept_step,
        planned_steps=None if is_complete else state.max_steps,
        four_bit_layers=four_bit_layers,
        trainable_parameters=sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad),
        compute_dtype=str(model.dtype).removeprefix("torch."),
        seconds=log.earlier_s + time.monotonic() - started,
        seconds_per_step=log.seconds / max(1, log.steps),
        peak_gib=memory()["peak_gib"],
        versions={package: version(package) for package in (*_PACKAGES, *_BACKEND_PACKAGES[settings.backend])},
        masks=masks,
        system_prompt=dataset.system_prompt,
    )


def _check_masks(chat: Chat, rows: Sequence[TrainingRow], prepared: Any) -> int:
    """Check every row that TRL prepared against the original row, and return the number of tokens with loss."""
    if len(prepared) != len(rows):
        raise PairsmithError(
            f"{len(rows)} rows were given to the trainer and {len(prepared)} came out.",
            why="Rows would silently be missing from the training.",
            fix="This is a bug; please report it with the version of trl.",
        )
    by_id = {row["pair_id"]: row for row in rows}
    return sum(
        assert_completion_only(chat, by_id[tokens["pair_id"]], tokens["input_ids"], tokens["labels"])
        for tokens in prepared
    )


def _adapter_changed(model: Any) -> bool:
    """Whether the adapter's weights differ from their initial values."""
    weights = dict(model.named_parameters())
    ups = [name for name in weights if "lora_B" in name and ".default." in name]
    # DPO keeps a copy of its initial adapter; otherwise the initial weights are zero.
    first = {name: weights.get(name.replace(".default.", ".ref.")) for name in ups}
    return any(
        bool((weights[name] if before is None else weights[name] - before).any()) for name, before in first.items()
    )


def _refuse_no_learning(model: Any, curve: Sequence[Step], validation: Sequence[Validation]) -> None:
    fix = "Lower train.learning_rate, raise train.epochs, or look at the rows with `pairsmith explain`."
    if not curve:
        what = "no step was taken"
    elif not _adapter_changed(model):
        what = "the adapter's weights did not change, or are all zero"
        fix = "Raise train.epochs or train.learning_rate; during warm-up, the first step has a learning rate of 0."
    elif not all(math.isfinite(loss) for loss in [*(s.loss for s in curve), *(v.loss for v in validation)]):
        what = "the loss is not finite"
    else:
        return
    raise NoWork(f"training ended, but {what}.", why="The tuned model would be the base model, or broken.", fix=fix)


def _save(model: Any, chat: Chat, base: Base, folder: Path, settings: TrainSettings) -> None:
    """Save the adapter with the tokenizer, its settled chat template, and what ends generation: its end tokens, or
    `max_length` tokens, because transformers would stop after 20."""
    from transformers import GenerationConfig

    config = model.peft_config["default"]  # which otherwise names a folder of this machine, and no commit
    config.base_model_name_or_path, config.revision = base.name, base.commit or settings.revision
    # "auto" would query the hub to see whether the vocabulary grew, which it cannot have.
    model.save_pretrained(str(folder), save_embedding_layers=False, selected_adapters=["default"])
    chat.tokenizer.save_pretrained(str(folder))
    end_ids = model.get_base_model().generation_config.eos_token_id
    GenerationConfig(eos_token_id=chat.end_tokens(end_ids), max_new_tokens=settings.max_length).save_pretrained(
        str(folder)
    )
