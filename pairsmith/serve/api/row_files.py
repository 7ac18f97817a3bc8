"""Rows as a streamed file: JSON Lines, Parquet, or CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import orjson

from pairsmith.serve.rows_projection import COLUMNS
from pairsmith.serve.rows_view import RowView
from schemas.streamed import batched

CSV_COLUMNS = ("id", "state", "code", "reason", "score", "split", "generator", "input", "output")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_GROUP = 500  # rows of a group in Parquet, which are in memory at a time
# Each chunk is handed from a thread to the event loop, and waits in memory for a slow reader.
_CHUNK_BYTES = 128 * 1024


def jsonl(rows: Iterable[RowView]) -> Iterator[bytes]:
    chunk = bytearray()
    for row in rows:
        chunk += orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def parquet(rows: Iterable[RowView]) -> Iterator[bytes]:
    """Parquet with a column for every property of a row, including properties that are always empty."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    text, number = pa.string(), pa.int64()
    types: dict[str, Any] = {"sample": number, "words": number, "reviewed": number, "score": pa.float64()}
    types["flags"] = pa.list_(text)
    schema = pa.schema([(name, types.get(name, text)) for name in COLUMNS])
    buffer = ChunkBuffer()
    with pq.ParquetWriter(pa.PythonFile(buffer, mode="w"), schema) as writer:
        for chunk in batched(rows, _GROUP):
            writer.write_table(pa.Table.from_pylist([vars(row) for row in chunk], schema))
            yield buffer.take()
    yield buffer.take()


def csv_lines(rows: Iterable[RowView]) -> Iterator[str]:
    """CSV for spreadsheets.

    A text that a spreadsheet would read as a formula gets a leading apostrophe. The byte order mark at the beginning
    makes spreadsheets read UTF-8.
    """
    with closing(io.StringIO("\ufeff")) as lines:
        lines.seek(1)
        writer = csv.writer(lines)
        writer.writerow(CSV_COLUMNS)
        for row in rows:
            values = [getattr(row, column) for column in CSV_COLUMNS]
            writer.writerow([f"'{v}" if isinstance(v, str) and v.startswith(_FORMULA) else v for v in values])
            if lines.tell() >= _CHUNK_BYTES:
                yield lines.getvalue()
                lines.seek(0)
                lines.truncate()
        yield lines.getvalue()


FORMATS: dict[str, tuple[str, Callable[[Iterable[RowView]], Iterator[bytes] | Iterator[str]]]] = {
    "jsonl": ("application/jsonl", jsonl),
    "parquet": ("application/vnd.apache.parquet", parquet),
    "csv": ("text/csv; charset=utf-8", csv_lines),
}


class ChunkBuffer(io.RawIOBase):
    """A write-only file whose bytes are taken out as they arrive."""

    def __init__(self) -> None:
        self._bytes, self._taken = bytearray(), 0

    def writable(self) -> bool:
        return True

    def write(self, chunk: Any) -> int:
        self._bytes += chunk
        return len(chunk)

    def tell(self) -> int:
        return self._taken + len(self._bytes)

    def take(self) -> bytes:
        chunk = bytes(self._bytes)
        self._taken += len(chunk)
        self._bytes.clear()
        return chunk
