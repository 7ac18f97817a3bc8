"""What identifies an adapter, and whether one with the same inputs exists already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.records import content_id, identity
from schemas.spec import TrainSettings
from train.base_models.base_model import Base
from train.dataset import Dataset
from train.results import RECORD, TrainResult, read_result


def adapter_id(dataset: Dataset, settings: TrainSettings, base_hash: str) -> str:
    """The id of the adapter that these inputs produce. Library versions and the processor are recorded as facts, not as
    inputs. Ids of earlier versions also covered settings without effect."""
    recipe, *preferred = _recipe(dataset, settings)
    return content_id("adapter", [dataset.id, recipe, base_hash, *preferred])


def finished_adapter(base: Base, dataset: Dataset, asked: Sequence[TrainSettings], out_dir: Path) -> TrainResult | None:
    """The existing adapter of these inputs. Those of earlier versions have other ids, and so has one of a dataset with
    other test rows, which do not change what is learned."""
    ids = dict.fromkeys(adapter_id(dataset, each, hash_) for hash_ in base.hashes for each in asked)
    results = filter(None, (read_result(out_dir / each) for each in ids))
    if exact := next(filter(base.is_base_of, results), None):
        return exact
    same = learned_ids(dataset, asked, base.hashes)
    for folder in sorted(path.parent for path in out_dir.glob(f"*/{RECORD}")):
        with suppress(InputError):  # a damaged record of another adapter
            result = read_result(folder)
            if result and result.learned_id in same and not result.planned_steps and base.is_base_of(result):
                return result
    return None


def learned_ids(dataset: Dataset, asked: Sequence[TrainSettings], hashes: Iterable[str]) -> set[str]:
    """Ids of everything that enters the weights, one for each settings and hash of the base."""
    rows = [[content_id("row", row) for row in part] for part in (dataset.train, dataset.validation)]
    edited = sorted({row["pair_id"] for row in dataset.train} & {*dataset.edited})
    return {
        content_id("learned", [rows, edited, *_recipe(dataset, settings), hash_])
        for settings in asked
        for hash_ in hashes
    }


def _recipe(dataset: Dataset, settings: TrainSettings) -> list[Any]:
    """The settings, and the preferences if they are learned."""
    recipe = {name: value for name, value in identity(settings).items() if name != "base"}
    return [recipe, *([] if settings.objective == "sft" else [dataset.preferences, dataset.preferred])]
