"""The rows of a Parquet file and of a `datasets` folder, read in batches and only in the columns that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from schemas.errors import InputError, first_line
from schemas.spec import SeedSource
from synth.columns import Cells, Fault, SeedProblem, flat, layout, of_objects


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
        objects, number = of_objects(source, columns), 0
        try:
            for batch in table.iter_batches(batch_size=1024, columns=list(dict.fromkeys(columns.values()))):
                for cells in zip(*(batch.column(column) for column in columns.values()), strict=True):
                    number += 1
                    yield number, _cells(objects, columns, cells, f"{source.path}:{number}")
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"cannot be read on: {error}.", where=f"{source.path}:{number + 1}") from None


def parquet_names(path: Path) -> list[str]:
    """The columns of a Parquet file. Raises InputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"is not a Parquet file: {error}.", where=path.name) from None


def _cells(objects: Mapping[str, str], columns: Mapping[str, str], cells: Iterable[Any], where: str) -> Cells | Fault:
    try:
        row = {name: cell.as_py() for name, cell in zip(columns, cells, strict=True)}
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start + 1} of the text.",
            where=where,
            fix="Write the file again with UTF-8 text.",
        ) from None
    return flat(objects, row) or row


def datasets_rows(source: SeedSource, path: Path, notes: list[SeedProblem]) -> Iterator[tuple[int, Cells | Fault]]:
    from datasets import Dataset, load_from_disk

    try:
        data: Any = load_from_disk(str(path))
    except Exception as error:  # its reasons range from a missing file to a wrong schema, in no common type
        ending = next((file.suffix for file in sorted(path.iterdir()) if file.suffix), ".jsonl")
        raise InputError(
            f"is not a folder that `datasets` saved: {first_line(error)}",
            where=source.path,
            fix="Name a folder made by save_to_disk, or files by a pattern: "
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
    objects, number = of_objects(source, columns), 0
    wanted = list(dict.fromkeys(columns.values()))
    for batch in data.with_format("arrow").select_columns(wanted).iter(batch_size=1024):
        for cells in zip(*(batch.column(column) for column in columns.values()), strict=True):
            number += 1
            yield number, _cells(objects, columns, cells, f"{source.path}:{number}")
