"""Read and write the files of a dataset, a batch of rows at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from curate.split import SPLITS
from schemas.files import files_in, replaced, sha256
from schemas.progress import Progress, reporting
from schemas.records import Json, Split
from schemas.streamed import batched

BATCH = 1_000  # rows in memory at once, and in a batch of the Arrow file
MANIFEST = "manifest.json"
_GROUP_BATCHES = 32  # batches in a row group of Parquet
PREFERENCES, RANDOM_ARM = "preferences.jsonl", "random_arm.jsonl"


def hashes(folder: Path) -> dict[str, str]:
    """Map each file of a folder, by its relative path, to its SHA-256."""
    return {name: sha256(path) for name, path in files_in(folder).items()}


def read_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from map(orjson.loads, file)


def pair_ids_next_to(folder: Path) -> set[str]:
    """The ids of pairs whose texts are stored next to the rows of an exported dataset: in its random arm and
    preferences."""
    names = ((RANDOM_ARM, ("pair_id",)), (PREFERENCES, ("chosen_id", "rejected_id")))
    files = [(folder / name, keys) for name, keys in names if (folder / name).is_file()]
    return {line[key] for path, keys in files for line in read_lines(path) for key in keys}


def write_tables(folder: Path, columns: Sequence[str], progress: Progress) -> None:
    """Write the rows in `data/<split>.jsonl` as Parquet and as a `datasets` folder; `columns` are the extra columns of
    the rows."""
    import datasets
    import pyarrow as pa

    schema, saved = _schema(columns), datasets.DatasetDict()
    for split in SPLITS:
        lines = folder / "data" / f"{split}.jsonl"
        first = pa.Table.from_pylist(list(islice(read_lines(lines), 1)), schema=schema)
        saved[split] = datasets.Dataset(first, fingerprint=sha256(lines)[:16])  # random by default
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        saved.save_to_disk(str(folder / "arrow"))
    finally:
        if bars:
            datasets.enable_progress_bars()
    for split in SPLITS:
        _write_split(folder, split, schema, progress)


def copied_tables(before: Path, known: Mapping[str, str], folder: Path) -> bool:
    """Copy the tables of an earlier export if it has the rows that are in `data/<split>.jsonl` of `folder`, which is
    much faster than to write them. `known` maps the earlier export's files to their SHA-256. False if the rows differ,
    or if a table is missing or was changed."""
    rows = {name: sha256(folder / name) for name in (f"data/{split}.jsonl" for split in SPLITS)}
    tables = {name: known[name] for name in known if name.startswith(("arrow/", "data/")) and name not in rows}
    if not (tables and known.items() >= rows.items() and hashes(before).items() >= tables.items()):
        return False
    for name in tables:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(before / name, folder / name)
    return True


def _write_split(folder: Path, split: Split, schema: Any, progress: Progress) -> None:
    """Write the rows of a split to Parquet, and into its `datasets` folder in place of the one row written there."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets.arrow_writer import ArrowWriter

    arrow = next((folder / "arrow" / split).glob("*.arrow"), None)
    lines = read_lines(folder / "data" / f"{split}.jsonl")
    batches = batched(reporting(lines, progress, "tables"), BATCH)
    with pq.ParquetWriter(folder / "data" / f"{split}.parquet", schema) as parquet:
        if arrow is None:  # the split is empty
            parquet.write_table(schema.empty_table())
            return
        writer = ArrowWriter(features=datasets.Features.from_arrow_schema(schema), path=str(arrow))
        while group := [pa.Table.from_pylist(batch, schema=schema) for batch in islice(batches, _GROUP_BATCHES)]:
            columns = []
            for _ in schema:  # a column at a time, whose parts are freed: the group is in memory once, not twice
                columns.append(pa.concat_arrays([part for table in group for part in table.column(0).chunks]))
                group = [table.remove_column(0) for table in group]
            table = pa.table(columns, schema=schema)
            parquet.write_table(table)
            for start in range(0, len(table), BATCH):
                writer.write_table(table.slice(start, BATCH))
        writer.finalize()
        writer.close()


def write_preference_table(folder: Path) -> None:
    """Write `preferences.jsonl` as Parquet too: types guessed from JSON differ between files. `datasets` reads answers
    that are all dates as times, and refuses a score after 10 MB of rows without one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chats = [(name, _chat_type()) for name in ("prompt", "chosen", "rejected")]
    texts = [(name, pa.string()) for name in ("split", "by", "chosen_id", "rejected_id")]
    schema = pa.schema([*chats, *texts, ("score_gap", pa.float64())])
    with pq.ParquetWriter((folder / PREFERENCES).with_suffix(".parquet"), schema) as parquet:
        for batch in batched(read_lines(folder / PREFERENCES), BATCH):
            parquet.write_table(pa.Table.from_pylist(batch, schema=schema))


def _chat_type() -> Any:
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def _schema(columns: Sequence[str]) -> Any:
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("pair_id", "seed_id", "system", "input", "output")]
    chats = [(name, _chat_type()) for name in ("messages", "prompt", "completion")]
    extra = [("columns", pa.struct([(name, pa.string()) for name in columns]))] if columns else []
    return pa.schema([*texts, *chats, ("score", pa.float64()), ("made_by", pa.string()), *extra])


# A manifest starts with its short fields. After this line follows one entry for each row of the dataset.
_ROWS = b'  "rows": [\n'


def write_manifest(path: Path, head: Json, rows: Iterable[Json]) -> None:
    """Write a manifest with `rows`, at least one. They are never in memory together."""
    with path.open("wb") as file:
        _write_head(file, head)
        for number, row in enumerate(rows):
            inside = orjson.dumps(row, option=orjson.OPT_INDENT_2).replace(b"\n", b"\n    ")
            file.write((b",\n" if number else b"") + b"    " + inside)
        file.write(b"\n  ]\n}")


def read_manifest(path: Path) -> Any:
    """Read a manifest without its rows. Raises OSError, and ValueError if it is not valid JSON."""
    with path.open("rb") as file:
        head, has_rows = _to_rows(file)
    return orjson.loads(head.rstrip().removesuffix(b",") + b"\n}" if has_rows else head)


def is_dataset(folder: Path, id_: str) -> bool:
    """Whether the dataset in a folder, which every curation replaces, is this one. A folder without a manifest is taken
    to be."""
    try:
        return bool(read_manifest(folder / MANIFEST)["id"] == id_)
    except (OSError, ValueError, KeyError):
        return True


def manifest_rows(path: Path) -> Iterator[Json]:
    """The rows of a manifest, with one in memory at a time: each takes some 4 KB of JSON."""
    with path.open("rb") as file:
        head, has_rows = _to_rows(file)
        if not has_rows:
            yield from orjson.loads(head).get("rows", ())
        lines: list[bytes] = []
        for line in file:
            lines.append(line)
            if line.rstrip(b",\r\n") in (b"    }", b"    {}"):
                yield orjson.loads(b"".join(lines).rstrip(b",\r\n"))
                lines = []


def change_manifest(path: Path, head: Json) -> None:
    """Replace everything before the rows of a manifest by `head`."""
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
    """Read up to the rows and leave the file positioned there: the text before them, and whether there are rows."""
    lines: list[bytes] = []
    while line := file.readline():
        if line == _ROWS:
            return b"".join(lines), True
        lines.append(line)
    return b"".join(lines), False
