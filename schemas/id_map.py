"""Compact maps and lists of ids, for tables with an entry for each of very many rows."""

from __future__ import annotations

import hashlib
from array import array

_FIRST = 1 << 10  # initial number of table slots
_ID = 16  # bytes


class IdMap:
    """A map from id to an integer below 2**32, like a dict but with 23 to 35 bytes per row, where a dict takes 200.

    Ids are hashes of 32 hex digits, stored one after the other in order of insertion. An open-addressing hash table
    with linear probing, indexed by the ids' own bits, holds each id's ordinal. Any other text is hashed first.
    """

    def __init__(self) -> None:
        self._ids, self._numbers = bytearray(), array("B")  # one byte each until a number exceeds 255
        self._table = zeros(_FIRST)  # slot -> the id's ordinal + 1; 0 is empty

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self.get(id_) is not None

    def get(self, id_: str) -> int | None:
        """The number of an id, None if it is not in the map."""
        if not self._numbers:
            return None
        nth = self._table[self._find_slot(_bytes(id_))]
        return self._numbers[nth - 1] if nth else None

    def __getitem__(self, id_: str) -> int:
        if (number := self.get(id_)) is None:
            raise KeyError(id_)
        return number

    def __setitem__(self, id_: str, number: int) -> None:
        digest = _bytes(id_)
        place = self._find_slot(digest)
        if not (nth := self._table[place]):
            self._append(place, digest, number)
        else:
            self._widen_for(number)
            self._numbers[nth - 1] = number

    def setdefault(self, id_: str, number: int) -> int:
        """The number of an id, which is set to `number` if it had none."""
        digest = _bytes(id_)
        place = self._find_slot(digest)
        if nth := self._table[place]:
            return self._numbers[nth - 1]
        self._append(place, digest, number)
        return number

    def _append(self, place: int, id_: bytes, number: int) -> None:
        self._widen_for(number)
        self._ids += id_
        self._numbers.append(number)
        self._table[place] = count = len(self._numbers)
        if 3 * count > 2 * len(self._table):
            self._grow()

    def _widen_for(self, number: int) -> None:
        if number > 255 and self._numbers.typecode == "B":
            self._numbers = array("I", self._numbers)

    def _find_slot(self, id_: bytes) -> int:
        """The table slot of an id, or the one where it would be inserted."""
        ids, table, last = self._ids, self._table, len(self._table) - 1
        place = int.from_bytes(id_[:8]) & last
        while (nth := table[place]) and ids[_ID * (nth - 1) : _ID * nth] != id_:
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        ids, places = self._ids, 2 * len(self._table)
        self._table = zeros(0)  # free the old table before allocating the new one
        self._table = table = zeros(places)
        for nth in range(len(self)):
            place = int.from_bytes(ids[_ID * nth : _ID * nth + 8]) & (places - 1)
            while table[place]:
                place = (place + 1) & (places - 1)
            table[place] = nth + 1


def zeros(count: int) -> array[int]:
    """That many zeros of four bytes each."""
    return array("I", (0,)) * count


def _bytes(id_: str) -> bytes:
    try:
        if len(digest := bytes.fromhex(id_)) == _ID:
            return digest
    except ValueError:
        pass
    return hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=_ID).digest()


class IdList:
    """A list of ids or None; 16 bytes per entry, as long as the ids are hashes."""

    def __init__(self) -> None:
        self._held, self._others = bytearray(), dict[int, str | None]()

    def append(self, id_: str | None) -> None:
        """Add one at the end."""
        digest = _bytes(id_ or "")
        if digest.hex() != id_:
            self._others[len(self)] = id_
        self._held += digest

    def __len__(self) -> int:
        return len(self._held) // _ID

    def __getitem__(self, place: int) -> str | None:
        digest = self._held[_ID * place : _ID * (place + 1)].hex()
        return self._others.get(place, digest) if self._others else digest
