"""Reads files that may be compressed with gzip, whatever their name: some browsers and servers unpack a file and keep
its name."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from schemas.errors import InputError

MAX_RATIO, _FREE = 200, 100_000_000
"""How many times its size a file may unpack to, if that is more than `_FREE` bytes. Text takes about a tenth."""
_MAGIC = b"\x1f\x8b"


def ending_of(path: Path | str) -> str:
    """The extension that names the format, in lower case: `.csv` for `rows.csv` and `rows.csv.gz`."""
    path = Path(path)
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def open_unpacked(path: Path, name: str) -> BinaryIO:
    """The content of a file. `name` names it in errors. Raises OSError; reading from it raises InputError for a damaged
    file, and for one that unpacks to far more than text does."""
    file = path.open("rb")
    if file.peek(len(_MAGIC))[: len(_MAGIC)] != _MAGIC:
        return file
    return io.BufferedReader(cast(io.RawIOBase, _Unpacked(file, name, path.stat().st_size)), 1 << 18)


def unpack(content: bytes, name: str, most: int) -> tuple[str, bytes]:
    """The name and the first `most` bytes of an uploaded file, as `open_unpacked` reads it, without the ending `.gz`.
    Raises InputError, also if the content is compressed again: it could be of any size."""
    inner = name[:-3] if name.lower().endswith(".gz") else name
    if not content.startswith(_MAGIC):
        return inner, content
    with io.BufferedReader(cast(io.RawIOBase, _Unpacked(io.BytesIO(content), name, len(content)))) as stream:
        unpacked = stream.read(most)
    if unpacked.startswith(_MAGIC):
        raise InputError("is compressed twice.", where=name, fix="Unpack it with `gunzip`, and use the file inside it.")
    return inner, unpacked


class _Unpacked(io.RawIOBase):
    def __init__(self, file: BinaryIO, name: str, size: int) -> None:
        self._file, self._name, self._read = file, name, 0
        self._stream, self._most = gzip.GzipFile(fileobj=file), max(_FREE, MAX_RATIO * size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            chunk = self._stream.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"is compressed, but cannot be unpacked: {str(error).rstrip('.')}.",
                where=self._name,
                why="It is damaged, or was not copied to its end.",
                fix="Download or copy it again; `gzip -t FILE` checks it.",
            ) from None
        self._read += len(chunk)
        if self._read > self._most:
            raise InputError(
                f"unpacks to more than {self._most // 10**6:,} MB.",
                where=self._name,
                why=f"Text unpacks to about ten times the size of a compressed file, hardly ever to {MAX_RATIO} times.",
                fix="If this is what it should contain, unpack it with `gunzip` and name the file inside it.",
            )
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._file.close()
        super().close()
