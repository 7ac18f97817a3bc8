"""The files of a dataset, written and read a batch of rows at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from curate.split import SPLITS
from schemas.files import files_in, replaced, sha256
from schemas.records import Json, Split

BATCH = 1_000  # rows in memory at once, and in a batch of the Arrow file
_GROUP = 32  # batches in a row group of Parquet
PREFERENCES, RANDOM_ARM = "preferences.jsonl", "random_arm.jsonl"


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder, by its path there."""
    return {name: sha256(path) for name, path in files_in(folder).items()}


def read_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from map(orjson.loads, file)


def beside(folder: Path) -> set[str]:
    """The ids of pairs whose texts lie beside the rows of an exported dataset: in its random arm and preferences."""
    names = ((RANDOM_ARM, ("pair_id",)), (PREFERENCES, ("chosen_id", "rejected_id")))
    files = [(folder / name, keys) for name, keys in names if (folder / name).is_file()]
    return {line[key] for path, keys in files for line in read_lines(path) for key in keys}


def write_tables(folder: Path, columns: Sequence[str]) -> None:
    """Parquet and a `datasets` folder of the rows in `data/<split>.jsonl`; `columns` are those that rows have of their
    own."""
    import datasets
    import pyarrow as pa

    schema, saved = _schema(columns), datasets.DatasetDict()
    for split in SPLITS:
        lines = folder / "data" / f"{split}.jsonl"
        first = pa.Table.from_pylist(list(islice(read_lines(lines), 1)), schema=schema)
        saved[split] = datasets.Dataset(first, fingerprint=sha256(lines)[:16])  # which would be random otherwise
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        saved.save_to_disk(str(folder / "arrow"))
    finally:
        if bars:
            datasets.enable_progress_bars()
    for split in SPLITS:
        _write_split(folder, split, schema)


def _write_split(folder: Path, split: Split, schema: Any) -> None:
    """The rows of a split into Parquet, and in the place of the first one into its `datasets` folder."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets.arrow_writer import ArrowWriter

    arrow = next((folder / "arrow" / split).glob("*.arrow"), None)
    rows = read_lines(folder / "data" / f"{split}.jsonl")
    batches = iter(lambda: list(islice(rows, BATCH)), [])
    with pq.ParquetWriter(folder / "data" / f"{split}.parquet", schema) as parquet:
        if arrow is None:  # no row
            parquet.write_table(schema.empty_table())
            return
        writer = ArrowWriter(features=datasets.Features.from_arrow_schema(schema), path=str(arrow))
        while group := [pa.Table.from_pylist(batch, schema=schema) for batch in islice(batches, _GROUP)]:
            table = pa.concat_tables(group).combine_chunks()
            parquet.write_table(table)
            for start in range(0, len(table), BATCH):
                writer.write_table(table.slice(start, BATCH))
        writer.finalize()
        writer.close()


def _schema(columns: Sequence[str]) -> Any:
    import pyarrow as pa

    chat = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    texts = [(name, pa.string()) for name in ("pair_id", "seed_id", "system", "input", "output")]
    chats = [(name, chat) for name in ("messages", "prompt", "completion")]
    extra = [("columns", pa.struct([(name, pa.string()) for name in columns]))] if columns else []
    return pa.schema([*texts, *chats, ("score", pa.float64()), ("made_by", pa.string()), *extra])


# A manifest: what is short, and behind it, from a line of its own on, a row for each row of the dataset
_ROWS = b'  "rows": [\n'


def write_manifest(path: Path, head: Json, rows: Iterable[Json]) -> None:
    """A manifest with `rows`, at least one, which are never in memory together."""
    with path.open("wb") as file:
        _write_head(file, head)
        for number, row in enumerate(rows):
            inside = orjson.dumps(row, option=orjson.OPT_INDENT_2).replace(b"\n", b"\n    ")
            file.write((b",\n" if number else b"") + b"    " + inside)
        file.write(b"\n  ]\n}")


def read_manifest(path: Path) -> Any:
    """A manifest without its rows. Raises OSError, and ValueError for what is no JSON."""
    with path.open("rb") as file:
        head, has_rows = _to_rows(file)
    return orjson.loads(head.rstrip().removesuffix(b",") + b"\n}" if has_rows else head)


def change_manifest(path: Path, head: Json) -> None:
    """Write `head` in the place of what stands before the rows of a manifest."""
    with path.open("rb") as old, replaced(path) as partial, partial.open("wb") as new:
        _, has_rows = _to_rows(old)
        if has_rows:
            _write_head(new, head)
            shutil.copyfileobj(old, new)
        else:
            new.write(orjson.dumps(head, option=orjson.OPT_INDENT_2))


def _write_head(file: BinaryIO, head: Json) -> None:
    file.write(orjson.dumps(head, option=orjson.OPT_INDENT_2).removesuffix(b"\n}") + b",\n" + _ROWS)


def _to_rows(file: BinaryIO) -> tuple[bytes, bool]:
    """What stands before the rows, which the file goes on with; all of it if there are none."""
    lines: list[bytes] = []
    while line := file.readline():
        if line == _ROWS:
            return b"".join(lines), True
        lines.append(line)
    return b"".join(lines), False
