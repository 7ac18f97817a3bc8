"""The record of a training run: its curve, sizes, costs and versions, stored beside the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import orjson
from pydantic import Field, ValidationError

from schemas.errors import InputError
from schemas.files import files_in, replaced, sha256
from schemas.html_table import html_table
from schemas.records import Artifact, Record, content_id
from schemas.spec import TrainSettings
from schemas.wording import apart, counted, examples

R = TypeVar("R", bound=Record)
RECORD = "training.json"
_OWN_FILES = {RECORD, "README.md"}
_EXPORT = "Export again: `pairsmith export`."
_RESTORE = "Restore the original file, or remove the adapter's folder and run `pairsmith train` again."


class Step(Record):
    """One optimiser step: the mean loss per learned token of its batch, and its learning rate."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


class Validation(Record):
    """The mean loss per learned token of the validation rows after `epoch` epochs; epoch 0 is the base model."""

    step: int
    epoch: float
    loss: float


Into = Literal["rounded", "stock"]


class Build(Record):
    """One merged model on the validation inputs, greedily: the mean chrF of its answers against the accepted outputs,
    between 0 and 1, and how many of them ended by themselves. An answer that did not end counts as 0."""

    into: Into
    chrf: float
    ended: int


class Merged(Record):
    """The merged model of a QLoRA adapter: merged into which base (rounded by NF4, or stock), and the builds it was
    chosen from on `rows` validation rows. Without such rows, or for an adapter of an earlier version, `builds` is
    empty."""

    into: Into
    rows: int = 0
    builds: tuple[Build, ...] = ()


class TrainResult(Record):
    """A training run. `reused`: an earlier run with the same inputs had already done it.

    `learned_tokens` counts the tokens with loss in one epoch, `trained_tokens` all tokens that went through the model.
    `peak_gib` is the peak memory of the GPU; without one, this process's peak resident memory. `masks` are plain
    previews of a few rows. For a run resumed from a checkpoint, `seconds` includes the time before it. `system_prompt`
    is the one shared by all training rows; None if they differ, and in runs of earlier versions. `left_out` are the
    rows longer than `max_length` or than the base can read, with their token counts. `kept_step` is the step of the
    lowest validation loss, whose weights the adapter has; None means those of the last step. `merged` is set for QLoRA:
    the model in the folder `merged` is the one that is evaluated and exported.

    `began_with` is the adapter that DPO continued from. With DPO and ORPO a row is a preference. `planned_steps` is set
    if the user stopped the training before that many steps; the adapter then has the best weights until that point, and
    an id of its own. `learned_id` identifies what the weights depend on: the dataset's id also covers its test rows;
    empty in runs of earlier versions. `weights` and `files` are the SHA-256 of the files below its folder, as training
    wrote them: the weights, and the other files that generation needs, such as the tokenizer (an empty digest for a
    file that an export extends); both are empty in runs of earlier versions. `base_commit` is that of a base from the
    hub; None for other bases, and in runs of earlier versions.
    """

    adapter_id: str
    dataset_id: str
    base: str
    base_hash: str
    settings: TrainSettings
    train_rows: int
    validation_rows: int
    learned_tokens: int
    trained_tokens: int
    steps: int
    curve: tuple[Step, ...]
    validation: tuple[Validation, ...]
    four_bit_layers: int
    trainable_parameters: int
    compute_dtype: str
    seconds: float
    seconds_per_step: float
    peak_gib: float
    versions: dict[str, str]
    masks: tuple[str, ...]
    system_prompt: str | None = None
    left_out: dict[str, int] = Field(default_factory=dict)
    base_commit: str | None = None
    kept_step: int | None = None
    merged: Merged | None = None
    began_with: str | None = None
    planned_steps: int | None = None
    learned_id: str = ""
    weights: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    folder: str = ""
    reused: bool = False

    def __repr__(self) -> str:
        losses = f"loss {' to '.join(apart(self.curve[0].loss, self.curve[-1].loss))}" if self.curve else "no loss"
        if self.validation and self.kept_loss is not None:
            losses += f", on validation {' to '.join(apart(self.validation[0].loss, self.kept_loss))}"
        rows, steps = examples(self.train_rows, self.settings.objective), counted(self.steps, "step", "steps")
        return f"TrainResult({self.base} on {rows}, {steps}: {losses}, in {self.folder or self.adapter_id})"

    def _repr_html_(self) -> str:
        rows = ((one.step, one.epoch, one.loss) for one in self.validation)
        return html_table(repr(self), ("step", "epoch", "validation loss"), rows)

    __str__ = __repr__

    @property
    def base_revision(self) -> str | None:
        """The revision of the base on the hub: the commit that was fetched, else what `train.revision` names."""
        return self.base_commit or self.settings.revision

    @property
    def digest(self) -> str:
        """A hash of what training measured. The merge and the files are left out, because they may be made again."""
        losses = [[*([of.step, of.epoch, of.loss] for of in side)] for side in (self.curve, self.validation)]
        counts = [self.train_rows, self.validation_rows, self.learned_tokens, self.trained_tokens, self.steps]
        return content_id("training", [losses, counts, self.kept_step, self.left_out, self.seconds, self.peak_gib])

    @property
    def kept_loss(self) -> float | None:
        """The validation loss of the adapter's weights; None if none was measured."""
        kept = (measured.loss for measured in self.validation if measured.step == self.kept_step)
        return next(kept, self.validation[-1].loss if self.validation else None)

    @property
    def is_step(self) -> bool:
        """Whether it is only an intermediate step to another adapter: a completed QLoRA run of this version that was
        not merged."""
        return self.settings.method == "qlora" and bool(self.weights) and not self.merged and self.planned_steps is None

    @property
    def artefact(self) -> str:
        """A sentence describing what is evaluated and exported."""
        if self.settings.method != "qlora":
            return "The adapter on the stock base was measured and is exported."
        into = self.merged.into if self.merged else "rounded"
        sentence = f"The adapter merged into the {into} base was measured and is exported."
        if self.planned_steps is not None:
            return f"{sentence} The two merges were not compared, because training was stopped before its last step."
        if self.merged is None or not self.merged.builds:
            return f"{sentence} The two merges were not compared, because there were no validation rows."
        scores = (
            f"{build.into} {build.chrf:.2f} ({build.ended} of {self.merged.rows} ended)" for build in self.merged.builds
        )
        return f"{sentence} chrF of the answers against accepted validation outputs: {', '.join(scores)}."

    @property
    def artifact(self) -> Artifact:
        """The record of the adapter in the store."""
        facts = self.model_dump(mode="json", exclude={"curve", "masks", "folder", "reused"})
        return Artifact(id=self.adapter_id, kind="adapter", path=self.folder, parents=(self.dataset_id,), facts=facts)


def read_result(folder: Path) -> TrainResult | None:
    """The record in an adapter's folder; None if there is none. Raises InputError for an invalid file."""
    result = read_record(folder / RECORD, TrainResult)
    return result and result.model_copy(update={"folder": str(folder)})


def read_record(path: Path, kind: type[R]) -> R | None:
    """The record in a file; None if the file does not exist. Raises InputError for a file that is not such a record."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(
            f"this file is not in the format that this version of pairsmith writes: {error.errors()[0]['msg']}.",
            where=str(path),
            why="Without it, the results of the training or evaluation are unknown.",
            fix="Delete the file; `pairsmith run` recreates it from the store without asking a teacher twice.",
        ) from None


_EARLIER_RESULT = {"strict": "pass_rate"}
# Key of the enclosing table -> old names of its keys -> current names.
_EARLIER_NAMES: dict[str, dict[str, str]] = {
    "": {"rungs": "systems", "checks_scope": "checks_fingerprint"},
    "systems": {"system": "system_prompt"},
    "sampled": _EARLIER_RESULT,
    "greedy": _EARLIER_RESULT,
    "outputs": {"rung": "system", "strict": "all_pass"},
    "side_by_side": {"simple": "input"},
}


def rename_old_keys(node: Any, under: str = "") -> Any:
    """An evaluation as parsed JSON, with keys of earlier versions renamed to the current ones."""
    if isinstance(node, list):
        return [rename_old_keys(entry, under) for entry in node]
    if not isinstance(node, dict):
        return node
    names = _EARLIER_NAMES.get(under, {})
    named = {names.get(str(key), str(key)): value for key, value in node.items()}
    return {name: rename_old_keys(value, name) for name, value in named.items()}


def no_gain_warning(before: float | None, after: float | None) -> str:
    """A message that the validation loss did not fall between the start of training and the kept weights, with advice;
    empty if it fell or was not measured."""
    if before is None or after is None or after < before:
        return ""
    was, best = apart(before, after)
    return (
        f"training did not improve the loss on validation rows: it was {was} before and is {best} at best."
        " Lower train.learning_rate, or check the rows"
    )


def with_files(result: TrainResult, folder: Path) -> TrainResult:
    """The result with the SHA-256 of every file below `folder`. Model cards are left out, and so is the digest of the
    generation config, which an export extends."""
    places = files_in(folder)
    weights = {name: sha256(path) for name, path in places.items() if path.suffix == ".safetensors"}
    others = {name: path for name, path in places.items() if name not in weights and path.name not in _OWN_FILES}
    digests = {name: "" if path.name == "generation_config.json" else sha256(path) for name, path in others.items()}
    return result.model_copy(update={"weights": weights, "files": digests})


def refuse_changed(
    result: TrainResult, merged: Path | None = None, recorded: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Raise InputError if a file is missing or differs from what training wrote: the model that is measured, served and
    exported has to be the one that was trained. A merged model is looked for in `merged`; without that argument it may
    be missing, because it is rebuilt when needed. Digests in `recorded` take precedence over those in the result, whose
    file may have been edited too."""
    for name, digest in {**result.weights, **result.files, **recorded}.items():
        inside = name.removeprefix("merged/")
        place = merged / inside if merged and name != inside else Path(result.folder, name)
        if not place.is_file():
            if name != inside and merged is None:
                continue
            what = "the weights are missing." if name in result.weights else "a file that generation needs is missing."
        elif digest and (result.digest if name == RECORD else sha256(place)) != digest:
            is_weights = name in result.weights
            what = f"{'these weights are' if is_weights else 'this file is'} not what training wrote."
        else:
            continue
        why = "The measured results would be attributed to a different model." if place.is_file() else None
        raise InputError(what, where=str(place), why=why, fix=_EXPORT if merged else _RESTORE)


def write_result(folder: Path, result: TrainResult) -> None:
    """Write the record to an adapter's folder: also to a finished one, when it is merged later."""
    write_record(folder / RECORD, result, without={"folder", "reused"})


def write_record(path: Path, record: Record, without: set[str]) -> None:
    """Write a record as JSON, completely or not at all; `without` fields that depend on the place or the run."""
    body = record.model_dump(mode="json", exclude=without)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as partial:
        partial.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
