"""Streams the rows of a dataset on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.errors import InputError, first_line
from schemas.spec import SeedSource
from synth.columns import SeedProblem


def hub_rows(source: SeedSource, notes: list[SeedProblem]) -> Iterator[object]:
    """The rows of a hub dataset, streamed so that `limit` downloads no more than needed. Raises InputError."""
    from datasets import get_dataset_config_names, get_dataset_split_names, load_dataset

    try:
        pinned = {"revision": source.revision}
        if source.config is None:
            configs = get_dataset_config_names(source.path, **pinned)
            if len(configs) > 1 and "default" not in configs:
                several = ", ".join(configs[:20])
                raise InputError(
                    "has several configurations.", where=source.path, fix=f'Add config = "..." with one of: {several}.'
                )
        split = source.split
        if split is None:
            splits = get_dataset_split_names(source.path, source.config, **pinned)
            if len(splits) > 1 and "train" not in splits:
                raise InputError(
                    "has several splits.", where=source.path, fix=f'Add split = "..." with one of: {", ".join(splits)}.'
                )
            split = "train" if "train" in splits else splits[0]
            if len(splits) > 1:
                notes.append(
                    SeedProblem(source.path, "header", f"the split 'train' was read, out of {', '.join(splits)}.")
                )
        yield from load_dataset(source.path, source.config, split=split, streaming=True, **pinned)
    except InputError:
        raise
    except Exception as error:  # the hub client raises dozens of types; each means that the rows are not available
        raise InputError(
            f"cannot be read from the hub: {first_line(error)}",
            where=source.path,
            fix="Check the name, the config and the network, or save the data to a file and use that file.",
        ) from None
