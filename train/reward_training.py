"""A project's own reward model: a Bradley-Terry model (TRL's RewardTrainer with LoRA) trained on the preferences of
reviewers and gates, and tested on unseen inputs against a rule that looks at length alone.

It learns from edits, from accepted versus rejected answers to the same input, from rankings, and from accepted rows
versus rows that a gate rejected (curate/preferences.py). Scores are not used: a model that learned from another model's
scores would only repeat them. Answers from the half of the rows that certificates rely on are left out.

A quarter of the inputs, chosen by a hash, is never trained on; seeds with the same or nearly the same question, of one
group or of one conversation are one input. The saved model is the one that was tested, merged into a standard
sequence-classification folder, and `curate/scorers/reward.py` uses it like any other.

Not covered: the meaning of its margins, since only the order of answers to one input was learned.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from curate.curation import curate
from curate.pool import Pool
from curate.preferences import Preference, preferences, rests_on_estimates
from curate.review.sampling import ESTIMATION, sampled_ids
from curate.scorers.reward import Tokens, encoded, open_reward_model
from curate.scorers.rules import asked_of, rules_of
from curate.similarity.near_duplicates import find_repeated_rows
from curate.steps import steps_for
from schemas.errors import InputError, Interrupted, NoWork
from schemas.files import replaced_folder
from schemas.kinds import KINDS
from schemas.memory import free_bytes
from schemas.progress import Progress, unseen
from schemas.project import Project
from schemas.records import Artifact, Record, content_id
from schemas.spec import TrainSettings
from schemas.store import Store
from schemas.temporary_folders import temporary_folder
from schemas.wording import counted
from train.base_models.base_model import Base, compute_dtype, load_chat, longest_row
from train.evaluation.intervals import ALONE, Interval, difference, share
from train.quiet import quiet

MIN_PAIRS, MIN_INPUTS = 64, 32
"""With fewer preferences or inputs, a small model only learns length, and its test is meaningless."""

VERSION = 2  # 1 held out seeds: the other answers to the same question could be learned
_HELD_OUT = 4  # one input in four
_FACTS = "reward.json"
_PROGRESS = "fit reward model"


class RewardResult(Record):
    """A fitted reward model and its test result: the share of held-out comparisons that it orders correctly, and the
    same for the better of "longer" and "shorter" on the comparisons it was fitted on. Ties count one half.

    `by` counts the preferences by their source. `left_out` is the number of preferences longer than `train.max_length`.
    """

    id: str
    base: str
    base_hash: str
    preferences: int
    by: dict[str, int]
    left_out: int
    held_out: int
    held_out_inputs: int
    accuracy: Interval
    length_only: Interval
    length_rule: str
    gain: Interval
    seconds: float
    folder: str = ""

    @property
    def beats_length(self) -> bool:
        """Whether the interval of the gain over length excludes zero."""
        return self.gain.low > 0

    @property
    def artifact(self) -> Artifact:
        """The record of the model in the store."""
        facts = {"identity": self.id, **self.model_dump(mode="json", exclude={"folder"})}
        return Artifact(id=self.id, kind="reward_model", path=self.folder, facts=facts)


class TokenisedPreference(NamedTuple):
    """A preference with its input (`input_of`) and the tokens that the model reads."""

    input: str
    preference: Preference
    chosen: Tokens
    rejected: Tokens


async def own_preferences(
    project: Project, store: Store, fingerprints: Sequence[str], progress: Progress = unseen
) -> list[Preference]:
    """The preferences of reviewers and gates in the present pool, without the rows that certificates rely on. No model
    is asked."""
    pool, seeds = Pool.read(store, fingerprints, forward_n=project.spec.generate.forward.n), store.active_seeds()
    steps = [step for step in steps_for(project, seeds, None) if step.id.by != "pool/semantic@1"]
    pool = await curate(pool, steps, store, progress)
    drawn = sampled_ids(record for records in store.sampled().values() for record in records)
    for_estimates = {id_ for reason in ESTIMATION for id_ in drawn.get(reason, ())}
    unusable = partial(rests_on_estimates, seed=project.spec.review.seed, drawn=for_estimates)
    return list(preferences(project, pool, seeds, unusable))


def train_reward(
    preferred: Sequence[Preference],
    base: Base,
    project: Project,
    out_dir: Path,
    progress: Progress = unseen,
    groups: Mapping[str, str] = ALONE,
) -> RewardResult:
    """Fit on `preferred`, test, and save as `out_dir/<id>`; returns immediately if that exists. Blocks for minutes.
    `groups` maps seeds that belong together to their group.

    `train.r`, `alpha`, `learning_rate`, `batch`, `epochs`, `max_length` and `seed` apply here too. Raises NoWork for
    too few preferences, or too few inputs, and Interrupted after Ctrl-C.
    """
    from transformers import AutoTokenizer

    settings, rules = project.spec.train, rules_of(project)
    groups = with_near_questions(preferred, groups, project)
    refuse_few(preferred, groups)
    if base.runs_code:
        fix = "Choose another train.base for this command: --set train.base=embedded."
        raise InputError("a reward model cannot be fitted on a base that runs its own code.", fix=fix)
    id_ = _reward_id(preferred, groups, base, settings, rules)
    folder = out_dir / id_[:12]
    if (folder / _FACTS).is_file():
        return RewardResult.model_validate_json((folder / _FACTS).read_bytes()).model_copy(
            update={"folder": str(folder)}
        )
    started = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(base.folder, trust_remote_code=False)
    compared = [_tokenised(preference, groups, tokenizer, rules) for preference in preferred]
    longest = longest_row(base, settings.max_length)
    fitting = [c for c in compared if max(len(c.chosen.ids), len(c.rejected.ids)) <= longest]
    learned = [c for c in fitting if not is_held_out(c.input)]
    tested = [c for c in fitting if is_held_out(c.input)]
    refuse_few([c.preference for c in fitting], groups, too_long=len(compared) - len(fitting))
    with replaced_folder(folder) as partial, _nothing_kept():
        _fit(learned, base, tokenizer, settings, partial, progress)
        accuracy, length, gain, rule = _evaluate(partial, tested, learned, rules, project)
        result = RewardResult(
            id=id_,
            base=base.name,
            base_hash=base.hash,
            preferences=len(fitting),
            by=dict(Counter(str(c.preference.by) for c in fitting)),
            left_out=len(compared) - len(fitting),
            held_out=len(tested),
            held_out_inputs=accuracy.seeds,
            accuracy=accuracy,
            length_only=length,
            length_rule=rule,
            gain=gain,
            seconds=round(time.monotonic() - started, 1),
        )
        (partial / _FACTS).write_bytes(
            orjson.dumps(result.model_dump(mode="json", exclude={"folder"}), option=orjson.OPT_INDENT_2)
        )
    return result.model_copy(update={"folder": str(folder)})


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """Report Ctrl-C: a fit has no checkpoints."""
    try:
        yield
    except KeyboardInterrupt:
        again = "Run the same command again: it starts over."
        raise Interrupted("the reward model was not trained.", fix=again) from None


def _tokenised(preference: Preference, groups: Mapping[str, str], tokenizer: Any, rules: str) -> TokenisedPreference:
    asked = asked_of(preference.chosen, rules)
    sides = (encoded(tokenizer, asked, pair.output) for pair in (preference.chosen, preference.rejected))
    return TokenisedPreference(input_of(preference, groups), preference, *sides)


def input_of(preference: Preference, groups: Mapping[str, str] = ALONE) -> str:
    """The name that a preference shares with all others about the same input: the group of its seed, or else its
    question, ignoring case and spaces."""
    asked = preference.chosen.asked
    return groups.get(preference.chosen.seed_id) or content_id("question", " ".join(asked.casefold().split()))


def with_near_questions(
    preferred: Sequence[Preference], groups: Mapping[str, str], project: Project
) -> Mapping[str, str]:
    """`groups`, in which inputs whose questions are near-duplicates (`curate.duplicates.jaccard`) are one."""
    kind = replace(KINDS[project.spec.task.kind], duplicate="input near", flag=None)
    first = {preference.chosen.asked: preference for preference in preferred}
    shown = sorted(first.values(), key=lambda one: content_id("question", one.chosen.asked))
    near = find_repeated_rows(lambda: (one.chosen for one in shown), project.spec.curate.duplicates.jaccard, kind)
    related = [(shown[pair.later], shown[pair.earlier]) for pair in near.of.values()]
    of_seed = {one.chosen.seed_id: one for one in preferred}
    related += [(one, other) for one in preferred for other in (first[one.chosen.asked], of_seed[one.chosen.seed_id])]
    merged: dict[str, str] = {}

    def name(preference: Preference) -> str:
        input = input_of(preference, groups)
        while input in merged:
            input = merged[input]
        return input

    for one, other in related:
        if (names := sorted({name(one), name(other)}))[1:]:
            merged[names[1]] = names[0]
    return {**groups, **{seed: name(one) for seed, one in of_seed.items() if name(one) != input_of(one, groups)}}


def is_held_out(input: str) -> bool:
    """Whether the model is tested on this input: a quarter of them, by hash, so that adding other inputs moves none."""
    return int(content_id("reward-test", input)[:8], 16) % _HELD_OUT == 0


def refuse_few(preferred: Sequence[Preference], groups: Mapping[str, str] = ALONE, too_long: int = 0) -> None:
    """Raise NoWork for too few preferences, or too few inputs; `too_long` is the number of preferences that do not
    fit."""
    every = {input_of(preference, groups) for preference in preferred}
    inputs, tested = len(every), sum(map(is_held_out, every))
    if len(preferred) >= MIN_PAIRS and inputs >= MIN_INPUTS and 0 < tested < inputs:
        return
    longer = f" ({too_long} more are longer than train.max_length)" if too_long else ""
    raise NoWork(
        f"there are {counted(len(preferred), 'preference', 'preferences')} of {counted(inputs, 'input', 'inputs')}"
        f"{longer}; a reward model needs {MIN_PAIRS} preferences of {MIN_INPUTS} inputs.",
        why="With fewer it only learns which answer is longer, and the test could not detect that. Answers of the test"
        " split, and to the half of the rows that certificates rest on, are left out.",
        fix="Raise train.max_length."
        if too_long and len(preferred) + too_long >= MIN_PAIRS
        else "Have people review more candidates of the same inputs (edits, rejections, rankings), or score with"
        " curate.score.model = 'auto'.",
    )


def _reward_id(
    preferred: Sequence[Preference], groups: Mapping[str, str], base: Base, settings: TrainSettings, rules: str
) -> str:
    pairs = sorted((one.chosen.id, one.rejected.id, groups.get(one.chosen.seed_id, "")) for one in preferred)
    recipe = [settings.r, settings.alpha, settings.learning_rate, settings.batch, settings.epochs]
    own = base.earlier_hash or base.hash  # a reward model generates nothing
    return content_id("reward", [VERSION, pairs, own, rules, *recipe, settings.max_length, settings.seed])


def _load_scoring_model(base: Base, settings: TrainSettings, tokenizer: Any, dtype: Any, *, on_gpu: bool) -> Any:
    """The base with a single-output head; it uses the same padding token in training and later, that of `tokenizer` or
    the end of a text or turn."""
    from transformers import AutoModelForSequenceClassification

    with quiet("transformers.modeling_utils"):  # reports that the new head has no stored weights
        model = AutoModelForSequenceClassification.from_pretrained(
            base.folder, num_labels=1, dtype=dtype, device_map={"": 0} if on_gpu else None, trust_remote_code=False
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or load_chat(base, settings.template_arguments).turn_token
    model.config.get_text_config().pad_token_id = model.config.pad_token_id = tokenizer.pad_token_id
    return model


def _fit(
    learned: Sequence[TokenisedPreference],
    base: Base,
    tokenizer: Any,
    settings: TrainSettings,
    folder: Path,
    progress: Progress,
) -> None:
    """Train, merge, and save model and tokenizer to `folder`."""
    import torch
    from datasets import Dataset

    with quiet():  # importing bitsandbytes, which they do, looks for an optional kernel
        from peft import LoraConfig, TaskType, get_peft_model
        from transformers import TrainerCallback, set_seed
        from trl import RewardConfig, RewardTrainer

        from train.trainer import prepare

    class ProgressCallback(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            numbers = {"done": state.global_step, "total": state.max_steps}
            progress(_PROGRESS, numbers | ({"loss": logs["loss"]} if "loss" in (logs or {}) else {}))

    set_seed(settings.random_seed)
    on_gpu, dtype = torch.cuda.is_available(), compute_dtype(settings.precision)
    lora = LoraConfig(r=settings.r, lora_alpha=settings.alpha, target_modules="all-linear", task_type=TaskType.SEQ_CLS)
    with quiet(), temporary_folder() as scratch:
        model = _load_scoring_model(base, settings, tokenizer, dtype if on_gpu else torch.float32, on_gpu=on_gpu)
        set_seed(settings.random_seed)  # as RewardTrainer does before it makes the adapter itself
        adapted = get_peft_model(model, lora)
        at_once = settings.batch if on_gpu else _at_once(adapted, learned, settings.batch, progress)
        trainer = RewardTrainer(
            model=adapted,
            args=RewardConfig(output_dir=str(scratch), **_arguments(settings, dtype, at_once, on_gpu=on_gpu)),
            train_dataset=Dataset.from_list(
                [{"chosen_ids": one.chosen.ids, "rejected_ids": one.rejected.ids} for one in learned]
            ),
            processing_class=tokenizer,
            callbacks=[ProgressCallback()],
        )
        prepare(trainer)
        trainer.train()
        _refuse_diverged(trainer.state.log_history)
        trainer.model.merge_and_unload().save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _arguments(settings: TrainSettings, dtype: Any, at_once: int, *, on_gpu: bool) -> dict[str, Any]:
    """TRL's arguments for a fit that computes `at_once` preferences at a time."""
    import torch

    return {
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": settings.batch // at_once,
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "warmup_steps": 0.1,
        "max_length": None,
        "center_rewards_coefficient": 0.01,
        "seed": settings.random_seed,
        "data_seed": settings.random_seed,
        "use_cpu": not on_gpu,
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "gradient_checkpointing": on_gpu,
        "dataloader_pin_memory": on_gpu,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _at_once(adapted: Any, learned: Sequence[TokenisedPreference], batch: int, progress: Progress) -> int:
    """How many preferences of a batch are computed at a time: as many as surely fit into memory. Both answers of each
    are padded to the longest of the batch."""
    from train.batch_memory import rows_at_once
    from train.trainer import in_parts

    longest = max(len(side.ids) for one in learned for side in (one.chosen, one.rejected))
    at_once = rows_at_once(adapted, batch, 2 * longest, 0, free_bytes())
    if at_once < batch:
        progress(_PROGRESS, {"message": in_parts(batch, "preferences", 2 * longest, at_once)})
    return at_once


def _refuse_diverged(log: Sequence[Mapping[str, Any]]) -> None:
    losses = [entry["loss"] for entry in log if "loss" in entry]
    if not losses or not all(map(math.isfinite, losses)):
        raise NoWork("the loss is not finite.", fix="Lower train.learning_rate.")


def _evaluate(
    folder: Path,
    tested: Sequence[TokenisedPreference],
    learned: Sequence[TokenisedPreference],
    rules: str,
    project: Project,
) -> tuple[Interval, Interval, Interval, str]:
    """The saved model's accuracy, that of the length rule, the difference, and the length rule."""
    model = open_reward_model(folder, batch_tokens=project.spec.curate.score.batch_tokens)
    answers = [pair for one in tested for pair in (one.preference.chosen, one.preference.rejected)]
    rows = [(asked_of(pair, rules), pair.output) for pair in answers]
    scores = [score.value for score in model.score(rows)]
    right: dict[str, list[int]] = {}
    by_length: dict[str, list[int]] = {}
    rule = 1 if sum(one.preference.longer for one in learned) >= 0 else -1
    for number, (input, preference, *_) in enumerate(tested):
        chosen, rejected = scores[2 * number], scores[2 * number + 1]
        # If either answer has no score, the comparison counts as a tie.
        margin = 0.0 if chosen is None or rejected is None else chosen - rejected
        right.setdefault(input, []).append(1 + (margin > 0) - (margin < 0))
        by_length.setdefault(input, []).append(1 + rule * preference.longer)
    comparisons = [2 * len(one) for one in right.values()]
    model_right, length_right = (list(map(sum, one.values())) for one in (right, by_length))
    gain = difference(model_right, comparisons, length_right, comparisons)
    return share(model_right, comparisons), share(length_right, comparisons), gain, "longer" if rule > 0 else "shorter"
