"""A text in another encoding, read as the UTF-8 that it would be."""

from __future__ import annotations

import io
from typing import BinaryIO, Self

from schemas.errors import InputError


class Recoded:
    """`stream` holds text in `encoding`; its lines and all of it are given in UTF-8. `where` names it in errors. A
    context manager that leaves the stream open."""

    def __init__(self, stream: BinaryIO, encoding: str, where: str) -> None:
        self._text = io.TextIOWrapper(stream, encoding, newline="\n")  # no other sign ends a line
        self._encoding, self._where = encoding, where

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self._text.detach()

    def readline(self, size: int = -1) -> bytes:
        """The next line, or `size` signs of it. Raises InputError."""
        try:
            return self._text.readline(size).encode()
        except UnicodeError as error:
            raise InputError(
                f"is not in the encoding that its [[seeds]] names: {error}.",
                where=self._where,
                fix=f"Another one than {self._encoding} may be meant; without `encoding` it is read as UTF-8.",
            ) from None

    def read(self) -> bytes:
        """All that is left."""
        return b"".join(iter(self.readline, b""))
