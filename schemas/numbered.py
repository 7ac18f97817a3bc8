"""Ids with a small number each, for tables that hold a row of every one of very many."""

from __future__ import annotations

import hashlib
from array import array

_FIRST = 1 << 10  # places that a table begins with
_ID = 16  # bytes


class Numbered:
    """id -> a whole number below 2**32, as a dict of them: 23 to 35 bytes a row, where a dict takes 200.

    Ids are hashes of 32 hex digits and lie one behind the other, in the order in which they came. Their own bits say
    where in a table it stands which of them it is, and the next free place is taken where that is another's. Any other
    text is hashed first.
    """

    def __init__(self) -> None:
        self._ids, self._numbers = bytearray(), array("B")  # a byte each, as long as that holds all of them
        self._table = _zeros(_FIRST)  # the place of an id among them, and one: 0 is nobody's

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self.get(id_) is not None

    def get(self, id_: str) -> int | None:
        """The number of an id, None without one."""
        if not self._numbers:
            return None
        nth = self._table[self._place(_bytes(id_))]
        return self._numbers[nth - 1] if nth else None

    def __getitem__(self, id_: str) -> int:
        if (number := self.get(id_)) is None:
            raise KeyError(id_)
        return number

    def __setitem__(self, id_: str, number: int) -> None:
        held = _bytes(id_)
        place = self._place(held)
        if not (nth := self._table[place]):
            self._append(place, held, number)
        else:
            self._widen_for(number)
            self._numbers[nth - 1] = number

    def setdefault(self, id_: str, number: int) -> int:
        """The number of an id, which is this one if it had none."""
        held = _bytes(id_)
        place = self._place(held)
        if nth := self._table[place]:
            return self._numbers[nth - 1]
        self._append(place, held, number)
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

    def _place(self, id_: bytes) -> int:
        """Where in the table an id stands, or would."""
        ids, table, last = self._ids, self._table, len(self._table) - 1
        place = int.from_bytes(id_[:8]) & last
        while (nth := table[place]) and ids[_ID * (nth - 1) : _ID * nth] != id_:
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        ids, places = self._ids, 2 * len(self._table)
        self._table = _zeros(0)  # the old one goes before the new one comes
        self._table = table = _zeros(places)
        for nth in range(len(self)):
            place = int.from_bytes(ids[_ID * nth : _ID * nth + 8]) & (places - 1)
            while table[place]:
                place = (place + 1) & (places - 1)
            table[place] = nth + 1


def _zeros(count: int) -> array[int]:
    return array("I", (0,)) * count


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
