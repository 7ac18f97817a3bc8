"""Which of many texts occur in other texts and in files: one pass over each, however many are searched for."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import AnyStr, Generic

LEAST = 8  # minimum length of a text to search for: shorter texts also occur in unrelated rows
_FEW = 64  # up to so many texts it is faster to search for one after the other, in C
_CHUNK = 1 << 20  # bytes of a file that are searched at once


class TextSearch(Generic[AnyStr]):
    """A search for texts of at least `LEAST` characters or bytes each."""

    def __init__(self, texts: Iterable[AnyStr]) -> None:
        self._texts: set[AnyStr] = set(texts)
        self._longest = max(map(len, self._texts), default=0)
        self._lengths: dict[AnyStr, set[int]] = defaultdict(set)  # the first `LEAST` characters -> lengths of the texts
        for text in self._texts:
            self._lengths[text[:LEAST]].add(len(text))

    def occurring(self, within: AnyStr) -> list[AnyStr]:
        """The texts that occur in another text, longest first."""
        texts: Collection[AnyStr] = self._texts
        if len(self._texts) > _FEW:
            lengths = self._lengths
            starts = [at for at in range(len(within) - LEAST + 1) if within[at : at + LEAST] in lengths]
            pieces = (within[at : at + length] for at in starts for length in lengths[within[at : at + LEAST]])
            texts = self._texts.intersection(pieces)
        return sorted((text for text in texts if text in within), key=lambda text: (-len(text), text))


class FileSearch(TextSearch[bytes]):
    """A search for texts in files, as they are or as JSON spells them."""

    def __init__(self, texts: Collection[str]) -> None:
        super().__init__(text.encode("utf-8", "surrogatepass") for text in {*texts, *json_spellings(texts)})

    def in_file(self, path: Path) -> bool:
        """Whether `path` is a file that contains one of the texts; a chunk of it is in memory at a time."""
        if not path.is_file() or not self._texts:
            return False
        tail = b""
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                if self.occurring(tail + chunk):
                    return True
                tail = (tail + chunk)[-self._longest :]
        return False


def json_spellings(texts: Iterable[str]) -> set[str]:
    """The texts as JSON spells them: in a string, in a string within a string, and with escaped characters."""
    spelt: set[str] = set()
    for text in texts:
        for escaped in (False, True):
            once = json.dumps(text, ensure_ascii=escaped)[1:-1]
            spelt |= {once, json.dumps(once, ensure_ascii=escaped)[1:-1]}
    return spelt
