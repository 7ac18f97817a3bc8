"""Rows as a file, streamed: JSON lines, Parquet, or CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import orjson

from pairsmith.serve.rows_projection import COLUMNS
from pairsmith.serve.rows_view import RowShown

CSV_COLUMNS = ("id", "state", "code", "reason", "score", "split", "generator", "input", "output")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_GROUP = 2_000  # rows that are in memory at a time


def jsonl(rows: Iterable[RowShown]) -> Iterator[bytes]:
    for row in rows:
        yield orjson.dumps(row) + b"\n"


def parquet(rows: Iterable[RowShown]) -> Iterator[bytes]:
    """Every property of a row under its name, also where no row has it."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    text, number = pa.string(), pa.int64()
    types: dict[str, Any] = {"sample": number, "words": number, "reviewed": number, "score": pa.float64()}
    types["flags"] = pa.list_(text)
    schema = pa.schema([(name, types.get(name, text)) for name in COLUMNS])
    written = Written()
    with pq.ParquetWriter(pa.PythonFile(written, mode="w"), schema) as writer:
        for some in _groups(rows):
            writer.write_table(pa.Table.from_pylist([vars(row) for row in some], schema))
            yield written.taken()
    yield written.taken()


def csv_lines(rows: Iterable[RowShown]) -> Iterator[str]:
    """CSV for spreadsheets: a text that a spreadsheet would take for a formula gets an apostrophe before it, and the
    mark at its beginning says UTF-8 to one that would take another encoding."""
    with closing(io.StringIO("\ufeff")) as lines:
        lines.seek(1)
        writer = csv.writer(lines)
        writer.writerow(CSV_COLUMNS)
        for row in rows:
            values = [getattr(row, column) for column in CSV_COLUMNS]
            writer.writerow([f"'{v}" if isinstance(v, str) and v.startswith(_FORMULA) else v for v in values])
            yield lines.getvalue()
            lines.seek(0)
            lines.truncate()
        yield lines.getvalue()


FORMATS: dict[str, tuple[str, Callable[[Iterable[RowShown]], Iterator[bytes] | Iterator[str]]]] = {
    "jsonl": ("application/jsonl", jsonl),
    "parquet": ("application/vnd.apache.parquet", parquet),
    "csv": ("text/csv; charset=utf-8", csv_lines),
}


def _groups(rows: Iterable[RowShown]) -> Iterator[list[RowShown]]:
    left = iter(rows)
    while some := list(islice(left, _GROUP)):
        yield some


class Written(io.RawIOBase):
    """A file that is only written on, and whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self._bytes, self._taken = bytearray(), 0

    def writable(self) -> bool:
        return True

    def write(self, some: Any) -> int:
        self._bytes += some
        return len(some)

    def tell(self) -> int:
        return self._taken + len(self._bytes)

    def taken(self) -> bytes:
        some = bytes(self._bytes)
        self._taken += len(some)
        self._bytes.clear()
        return some
