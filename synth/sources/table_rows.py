"""Reads the rows of a Parquet file or a `datasets` folder in batches, and only the required columns; streams those of a
dataset on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from schemas.errors import InputError, first_line
from schemas.spec import SeedSource
from synth.sources.columns import Cells, Fault, SeedProblem, layout, object_columns, open_objects


def parquet_rows(source: SeedSource, path: Path, notes: list[SeedProblem]) -> Iterator[tuple[int, Cells | Fault]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"is not a Parquet file: {error}.", where=source.path) from None
    with table:
        names = table.schema_arrow.names
        columns = {name: names[at] for name, at in layout(names, source, source.path, notes).columns.items()}
        number, batches = 0, table.iter_batches(batch_size=1024, columns=list(dict.fromkeys(columns.values())))
        try:
            for number, cells in _rows(batches, columns, table.schema_arrow, source):
                yield number, cells
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"cannot be read any further: {error}.", where=f"{source.path}:{number + 1}") from None


def _rows(
    batches: Iterable[Any], columns: Mapping[str, str], schema: Any, source: SeedSource
) -> Iterator[tuple[int, Cells | Fault]]:
    """The rows of record batches, numbered from 1."""
    objects, labels = object_columns(source, columns), _labels(schema)
    rows = (row for batch in batches for row in zip(*(batch.column(of) for of in columns.values()), strict=True))
    for number, cells in enumerate(rows, 1):
        yield number, _cells(objects, labels, columns, cells, f"{source.path}:{number}")


def parquet_names(path: Path) -> list[str]:
    """The column names of a Parquet file; a label column is given as the path to its label names (`label.name`).

    Raises InputError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"is not a Parquet file: {error}.", where=path.name) from None
    labels = _labels(schema)
    return [f"{name}.name" if name in labels else name for name in schema.names]


def _labels(schema: Any) -> dict[str, list[str]]:
    """The label names of each `ClassLabel` column, in the order of their numbers, as `datasets` stores them in a
    schema."""
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        features = orjson.loads((schema.metadata or {})[b"huggingface"])["info"]["features"].items()
        return {name: of["names"] for name, of in features if of.get("_type") == "ClassLabel"}
    return {}


def _cells(
    objects: Mapping[str, str],
    labels: Mapping[str, Sequence[str]],
    columns: Mapping[str, str],
    cells: Iterable[Any],
    where: str,
) -> Cells | Fault:
    """One row as cells. If the spec refers to a path in a label column, its number becomes an object with a `name`."""
    try:
        row = {name: cell.as_py() for name, cell in zip(columns, cells, strict=True)}
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start + 1} of the text.",
            where=where,
            fix="Rewrite the file with UTF-8 text.",
        ) from None
    for name in objects if labels else ():
        if (names := labels.get(columns[name])) and isinstance(row[name], int):
            row[name] = {"name": names[row[name]] if 0 <= row[name] < len(names) else None}
    return open_objects(objects, row)


def datasets_rows(source: SeedSource, path: Path, notes: list[SeedProblem]) -> Iterator[tuple[int, Cells | Fault]]:
    from datasets import Dataset, load_from_disk

    try:
        data: Any = load_from_disk(str(path))
    except Exception as error:  # causes range from a missing file to a wrong schema, without a common base class
        ending = next((file.suffix for file in sorted(path.iterdir()) if file.suffix), ".jsonl")
        raise InputError(
            f"is not a folder saved by `datasets`: {first_line(error)}",
            where=source.path,
            fix="Name a folder written by save_to_disk, or files by a pattern: "
            f'path = "{source.path.rstrip("/")}/*{ending}".',
        ) from None
    if not isinstance(data, Dataset):
        split = source.split or (next(iter(data)) if len(data) == 1 else None)
        if split not in data:
            raise InputError(
                f"there is no split '{split}'." if split else "has several splits.",
                where=source.path,
                fix=f'Add split = "..." to its [[seeds]]: {", ".join(data)}.',
            )
        data = data[split]
    names = data.column_names
    columns = {name: names[at] for name, at in layout(names, source, source.path, notes).columns.items()}
    tables = data.with_format("arrow").select_columns(list(dict.fromkeys(columns.values()))).iter(batch_size=1024)
    yield from _rows(tables, columns, data.features.arrow_schema, source)


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
