"""Ids with a small number each, for tables that hold a row of every one of very many."""

from __future__ import annotations

import hashlib
from array import array

_FIRST = 1 << 10  # places that a table begins with
_ID = 16  # bytes


class Numbered:
    """id -> a whole number below 2**32 - 1, as a dict of them: 32 to 64 bytes a row, where a dict takes 200.

    Ids are hashes of 32 hex digits, so their own bits say where in the table each lies, and the next free place is
    taken where that is held by another. Any other text is hashed first.
    """

    def __init__(self) -> None:
        self._count = 0
        self._ids, self._numbers = bytearray(_ID * _FIRST), array("I", bytes(4 * _FIRST))  # 0: nobody's place

    def __len__(self) -> int:
        return self._count

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self.get(id_) is not None

    def get(self, id_: str) -> int | None:
        """The number of an id, None without one."""
        number = self._numbers[self._place(_bytes(id_))]
        return number - 1 if number else None

    def __getitem__(self, id_: str) -> int:
        if (number := self.get(id_)) is None:
            raise KeyError(id_)
        return number

    def __setitem__(self, id_: str, number: int) -> None:
        self._put(_bytes(id_), number + 1)

    def setdefault(self, id_: str, number: int) -> int:
        """The number of an id, which is this one if it had none."""
        held = _bytes(id_)
        if known := self._numbers[place := self._place(held)]:
            return known - 1
        self._put(held, number + 1, place)
        return number

    def _put(self, id_: bytes, number: int, place: int | None = None) -> None:
        place = self._place(id_) if place is None else place
        if not self._numbers[place]:
            self._count += 1
            self._ids[_ID * place : _ID * (place + 1)] = id_
        self._numbers[place] = number
        if 3 * self._count > 2 * len(self._numbers):
            self._grow()

    def _place(self, id_: bytes) -> int:
        """Where an id lies, or would."""
        ids, numbers, last = self._ids, self._numbers, len(self._numbers) - 1
        place = int.from_bytes(id_[:8]) & last
        while numbers[place] and ids[_ID * place : _ID * (place + 1)] != id_:
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        ids, numbers = self._ids, self._numbers
        self._count, places = 0, 2 * len(numbers)
        self._ids, self._numbers = bytearray(_ID * places), array("I", bytes(4 * places))
        for place, number in enumerate(numbers):
            if number:
                self._put(bytes(ids[_ID * place : _ID * (place + 1)]), number)


def _bytes(id_: str) -> bytes:
    try:
        if len(held := bytes.fromhex(id_)) == _ID:
            return held
    except ValueError:
        pass
    return hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=_ID).digest()


class Ids:
    """A list of ids, and of None where there is none: 16 bytes each, as long as they are hashes."""

    def __init__(self) -> None:
        self._held, self._others = bytearray(), dict[int, str | None]()

    def append(self, id_: str | None) -> None:
        """Put one more behind the others."""
        held = _bytes(id_ or "")
        if held.hex() != id_:
            self._others[len(self)] = id_
        self._held += held

    def __len__(self) -> int:
        return len(self._held) // _ID

    def __getitem__(self, place: int) -> str | None:
        held = self._held[_ID * place : _ID * (place + 1)].hex()
        return self._others.get(place, held) if self._others else held
