"""Reads text in another encoding as UTF-8."""

from __future__ import annotations

import io
from typing import BinaryIO, Self

from schemas.errors import InputError


class Utf8Reader:
    """Wraps `stream`, which holds text in `encoding`, and returns its content as UTF-8. `where` names it in errors.

    A context manager that leaves the underlying stream open.
    """

    def __init__(self, stream: BinaryIO, encoding: str, where: str) -> None:
        self._text = io.TextIOWrapper(stream, encoding, newline="\n")  # only \n ends a line
        self._encoding, self._where = encoding, where

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self._text.detach()

    def readline(self, size: int = -1) -> bytes:
        """The next line, or its first `size` characters. Raises InputError."""
        try:
            return self._text.readline(size).encode()
        except UnicodeError as error:
            raise InputError(
                f"is not in the encoding set in its [[seeds]]: {error}.",
                where=self._where,
                fix=f"Set an encoding other than {self._encoding}; without `encoding` it is read as UTF-8.",
            ) from None

    def read(self) -> bytes:
        """Everything that is left."""
        return b"".join(iter(self.readline, b""))
