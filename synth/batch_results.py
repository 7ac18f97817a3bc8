"""The results of a batch, which may be gigabytes: they stay in temporary files, and each is read when it is used."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterable
from typing import IO, Any, NamedTuple

import orjson

from synth.batch_lines import FORMAT_ERRORS, Result

_IN_MEMORY = 1 << 20
_GZIP, _BYTE_ORDER_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"


def spool() -> IO[bytes]:
    """A temporary file, in memory while it is small."""
    return tempfile.SpooledTemporaryFile(_IN_MEMORY)


def spooled(rows: Iterable[Any]) -> IO[bytes]:
    """A file of these rows."""
    file = spool()
    for row in rows:  # not writelines, which keeps all of them in memory
        file.write(orjson.dumps(row) + b"\n")
    return file


class StoredResult(NamedTuple):
    """A result in a file. Status 0: the line was not processed (expired, cancelled)."""

    name: str
    status: int
    results: Results

    @property
    def content(self) -> bytes:
        """Its body, which is read from the file."""
        return self.results.read(self.name).content


def _unreadable(row: Any) -> Result:
    raise ValueError(row)


class Results:
    """The results in `files` of lines, which `parse` reads. A line that cannot be read (cut off, or an HTML page) is
    only counted; of several with one name, the first answer counts, or else the first result."""

    def __init__(self, files: Iterable[IO[bytes]] = (), parse: Callable[[Any], Result] = _unreadable) -> None:
        self._parse, self._files = parse, [_unpacked(file) for file in files]
        self._places: dict[str, tuple[IO[bytes], int, int]] = {}  # name -> file, offset and status
        self.lines = 0
        for file in self._files:
            self._index(file)

    def _index(self, file: IO[bytes]) -> None:
        offset = 0
        file.seek(0)
        for line in file:
            start, offset = offset, offset + len(line)
            if not line.strip():
                continue
            self.lines += 1
            try:
                name, status, _ = self._parse(_row(line))
            except FORMAT_ERRORS:
                continue
            if name not in self._places or (status == 200 and self._places[name][2] != 200):
                self._places[name] = file, start, status

    @property
    def names(self) -> Collection[str]:
        """The names of the lines that have a result."""
        return self._places.keys()

    @property
    def answers(self) -> dict[str, StoredResult]:
        """The good ones, by their lines."""
        return {name: self[name] for name, (_, _, status) in self._places.items() if status == 200}

    def __getitem__(self, name: str) -> StoredResult:
        place = self._places.get(name)
        return StoredResult(name, 0 if place is None else place[2], self)

    def read(self, name: str) -> Result:
        """The result of a line."""
        if (place := self._places.get(name)) is None:
            return Result(name, 0, b"{}")
        file, offset, _ = place
        file.seek(offset)
        return self._parse(_row(file.readline()))

    def keep(self, names: Collection[str]) -> None:
        """Forget the results of other lines."""
        self._places = {name: place for name, place in self._places.items() if name in names}

    def take(self, name: str) -> bytes:
        """The body of a result that is not needed again. With the last one the files are deleted."""
        content = self.read(name).content
        self._places.pop(name, None)
        if not self._places:
            self.close()
        return content

    def close(self) -> None:
        """Delete the files."""
        for file in self._files:
            file.close()


def _row(line: bytes) -> Any:
    return orjson.loads(line.removeprefix(_BYTE_ORDER_MARK))


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    """The file without a compression that its server did not declare."""
    file.seek(0)
    if file.read(len(_GZIP)) != _GZIP:
        return file
    file.seek(0)
    plain = spool()
    try:
        shutil.copyfileobj(gzip.GzipFile(fileobj=file, mode="rb"), plain)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        plain.close()
        return file
    file.close()
    return plain
