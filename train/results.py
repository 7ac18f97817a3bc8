"""The record of a training run: its curve, sizes, costs and versions, and where it is kept beside the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson
from pydantic import Field, ValidationError

from schemas.errors import InputError
from schemas.files import files_in, sha256
from schemas.records import Artifact, Record
from schemas.spec import TrainSettings

R = TypeVar("R", bound=Record)
_NAME = "training.json"
_OURS = {_NAME, "README.md"}
_EXPORT = "Export again: `pairsmith export`."
_AGAIN = "Put the file of then back, or remove the adapter's folder and run `pairsmith train` again."


class Step(Record):
    """One optimiser step: mean loss per learned token of its batch, and the learning rate that it used."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


class Validation(Record):
    """Mean loss per learned token of the validation rows after `epoch` epochs; epoch 0 is the base model."""

    step: int
    epoch: float
    loss: float


Into = Literal["rounded", "stock"]


class Build(Record):
    """One merged model on the validation inputs, greedily: the mean chrF of its answers against the accepted outputs,
    between 0 and 1, and how many of them ended by themselves. One that did not counts 0."""

    into: Into
    chrf: float
    ended: int


class Merged(Record):
    """The merged model of a QLoRA adapter: into which base, rounded by NF4 or stock, and the builds of which it was
    chosen on `rows` validation rows. None: there were no such rows, or the adapter is of an earlier version."""

    into: Into
    rows: int = 0
    builds: tuple[Build, ...] = ()


class TrainResult(Record):
    """A training run. `reused`: an earlier run with the same inputs had already done it.

    `learned_tokens` counts the tokens with loss in one epoch, `trained_tokens` all tokens that went through the model.
    `peak_gib` is the highest memory of the GPU so far; without one, this process's resident memory. `masks` are plain
    previews of a few rows. Of a run that went on from a checkpoint, `seconds` include those until then.
    `system_prompt` is the one that all training rows share; None if they differ, and in runs of earlier versions.
    `left_out` are the rows longer than `max_length`, with their tokens. `kept_step` is the step of the lowest
    validation loss, whose weights the adapter has; None means those of the last step. `merged` is there for QLoRA: the
    model in the folder `merged` is what is evaluated and exported.
    `began_with` is the adapter that DPO went on from. With DPO and ORPO a row is a preference. `planned_steps` is there
    for a training that somebody ended before so many were made: the adapter has the best weights until then, and an id
    of its own. `weights` and `files` are the SHA-256 of what lies below its folder, as training wrote it: the weights,
    and what else generation needs, such as the tokenizer (empty for a file that an export adds to); none in runs of
    earlier versions.
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
    kept_step: int | None = None
    merged: Merged | None = None
    began_with: str | None = None
    planned_steps: int | None = None
    weights: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    folder: str = ""
    reused: bool = False

    @property
    def kept_loss(self) -> float | None:
        """The validation loss of the weights that the adapter has; None where none was measured."""
        kept = (measured.loss for measured in self.validation if measured.step == self.kept_step)
        return next(kept, self.validation[-1].loss if self.validation else None)

    @property
    def is_step(self) -> bool:
        """Whether it was only the way to another adapter: of QLoRA, whole, by this version, and not merged."""
        return self.settings.method == "qlora" and bool(self.weights) and not self.merged and self.planned_steps is None

    @property
    def artefact(self) -> str:
        """What is evaluated and exported, in a sentence."""
        if self.settings.method != "qlora":
            return "The adapter on the stock base is what was measured and what is exported."
        into = self.merged.into if self.merged else "rounded"
        sentence = f"The adapter merged into the {into} base is what was measured and what is exported."
        if self.planned_steps is not None:
            return f"{sentence} It was not chosen: the training was ended before its last step."
        if self.merged is None or not self.merged.builds:
            return f"{sentence} It was not chosen: no validation row was there to compare with the other."
        wrote = (
            f"{build.into} {build.chrf:.2f} ({build.ended} of {self.merged.rows} ended)" for build in self.merged.builds
        )
        return f"{sentence} chrF of the answers against accepted validation outputs: {', '.join(wrote)}."

    @property
    def artifact(self) -> Artifact:
        """The record that the store keeps of the adapter."""
        facts = self.model_dump(mode="json", exclude={"curve", "masks", "folder", "reused"})
        return Artifact(id=self.adapter_id, kind="adapter", path=self.folder, parents=(self.dataset_id,), facts=facts)


def read_result(folder: Path) -> TrainResult | None:
    """The record in an adapter's folder; None if there is none. Raises InputError for another file."""
    result = read_record(folder / _NAME, TrainResult)
    return result and result.model_copy(update={"folder": str(folder)})


def read_record(path: Path, kind: type[R]) -> R | None:
    """The record in a file, None if the file is gone. Raises InputError for a file that is not such a record."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(
            f"this is not what this version of pairsmith writes: {error.errors()[0]['msg']}.",
            where=str(path),
            why="What was trained or measured is not known without it.",
            fix="Delete the file; `pairsmith run` makes it again from the store without asking a teacher twice.",
        ) from None


_EARLIER_RESULT = {"strict": "pass_rate"}
# The key under which tables stand -> the names that their keys had in earlier versions, and have now.
_EARLIER_NAMES: dict[str, dict[str, str]] = {
    "": {"rungs": "systems", "checks_scope": "checks_fingerprint"},
    "systems": {"system": "system_prompt"},
    "sampled": _EARLIER_RESULT,
    "greedy": _EARLIER_RESULT,
    "outputs": {"rung": "system", "strict": "all_pass"},
    "side_by_side": {"simple": "input"},
}


def renamed(node: Any, under: str = "") -> Any:
    """An evaluation as parsed JSON with the keys of earlier versions under their present names."""
    if isinstance(node, list):
        return [renamed(entry, under) for entry in node]
    if not isinstance(node, dict):
        return node
    names = _EARLIER_NAMES.get(under, {})
    named = {names.get(str(key), str(key)): value for key, value in node.items()}
    return {name: renamed(value, name) for name, value in named.items()}


def no_gain(before: float | None, after: float | None) -> str:
    """That the validation loss did not fall, from before training to the weights that were kept, and what to do; empty
    where it fell, and where it was not measured."""
    if before is None or after is None or after < before:
        return ""
    return (
        f"training gained nothing on validation rows: their loss was {before:.2f} before it and is {after:.2f} at best."
        " Lower train.learning_rate, or look at the rows"
    )


def with_files(result: TrainResult, folder: Path) -> TrainResult:
    """The result with the SHA-256 of every file below `folder`; cards are prose, and an export adds the decoding."""
    places = files_in(folder)
    weights = {name: sha256(path) for name, path in places.items() if path.suffix == ".safetensors"}
    others = {name: path for name, path in places.items() if name not in weights and path.name not in _OURS}
    digests = {name: "" if path.name == "generation_config.json" else sha256(path) for name, path in others.items()}
    return result.model_copy(update={"weights": weights, "files": digests})


def refuse_changed(result: TrainResult, merged: Path | None = None) -> None:
    """Raises InputError for a file that is gone, or is not what training wrote: what is measured, served and exported
    has to be what was trained. A merged model is looked for in `merged`; else it may be gone, since it is made again
    where it is needed."""
    for name, digest in {**result.weights, **result.files}.items():
        inside = name.removeprefix("merged/")
        place = merged / inside if merged and name != inside else Path(result.folder, name)
        if not place.is_file():
            if name != inside and merged is None:
                continue
            what = "the weights are gone." if name in result.weights else "this file is gone, and generation needs it."
        elif digest and sha256(place) != digest:
            is_weights = name in result.weights
            what = f"{'these weights are not those' if is_weights else 'this file is not the one'} that training wrote."
        else:
            continue
        why = "Numbers that were measured would be told of another model." if place.is_file() else None
        raise InputError(what, where=str(place), why=why, fix=_EXPORT if merged else _AGAIN)


def write_result(folder: Path, result: TrainResult) -> None:
    """Put the record into an adapter's folder."""
    body = result.model_dump(mode="json", exclude={"folder", "reused"})
    (folder / _NAME).write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2))
