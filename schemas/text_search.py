"""Which of many texts occur in other texts and in files: one pass over each, however many are searched for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from html import escape
from itertools import groupby
from json.encoder import encode_basestring, encode_basestring_ascii
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
        self._index: _Index[AnyStr] | None = _Index(self._texts) if len(self._texts) > _FEW else None

    def occurring(self, within: AnyStr) -> list[AnyStr]:
        """The texts that occur in another text, longest first."""
        texts = self._index.occurring(within) if self._index else [text for text in self._texts if text in within]
        return sorted(texts, key=lambda text: (-len(text), text))


class _Index(Generic[AnyStr]):
    """Many texts in the order of their bytes, and an automaton that finds where one of their first `LEAST` bytes
    occurs. The longest text that occurs at a place is found by bisection; the others there are beginnings of it."""

    def __init__(self, texts: Collection[AnyStr]) -> None:
        from ahocorasick_rs import BytesAhoCorasick  # only searches for many texts need it

        by_bytes = {_encoded(text): text for text in texts}
        self._ordered = sorted(by_bytes)
        self._texts: list[AnyStr] = [by_bytes[each] for each in self._ordered]
        self._within = list[int]()  # for each text, the longest other one that it begins with; -1: none
        above = list[int]()
        for number, each in enumerate(self._ordered):
            while above and not each.startswith(self._ordered[above[-1]]):
                above.pop()
            self._within.append(above[-1] if above else -1)
            above.append(number)
        starts, self._ranges, first = list[bytes](), list[tuple[int, int, int]](), 0
        for start, group in groupby(self._ordered, lambda each: each[:LEAST]):
            lengths = [len(each) for each in group]
            starts.append(start)
            self._ranges.append((first, first + len(lengths), max(lengths)))
            first += len(lengths)
        self._starts = BytesAhoCorasick(starts)

    def occurring(self, within: AnyStr) -> list[AnyStr]:
        searched, numbers = _encoded(within), set[int]()
        for group, at, _ in self._starts.find_matches_as_indexes(searched, overlapping=True):
            first, end, longest = self._ranges[group]
            here = searched[at : at + longest]
            number = bisect_right(self._ordered, here, first, end) - 1
            while number >= first and not here.startswith(self._ordered[number]):
                number = self._within[number]
            while number >= first and number not in numbers:
                numbers.add(number)
                number = self._within[number]
        return [self._texts[number] for number in numbers]


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


class FileSearch(TextSearch[bytes]):
    """A search for texts in files, as they are or as JSON or HTML spells them."""

    def __init__(self, texts: Collection[str]) -> None:
        super().__init__(map(_encoded, {*texts, *json_spellings(texts), *_html_spellings(texts)}))

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


def _html_spellings(texts: Iterable[str]) -> Iterator[str]:
    """The texts as Python and as templates escape them: a page has no text with an apostrophe as it is."""
    for text in texts:
        yield (escaped := escape(text))
        yield escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")


def json_spellings(texts: Iterable[str]) -> set[str]:
    """The texts as JSON spells them: in a string, in a string within a string, and with escaped characters."""
    spelt: set[str] = set()
    for text in texts:
        for quoted in (encode_basestring, encode_basestring_ascii):
            once = quoted(text)[1:-1]
            spelt.add(once)
            if "\\" in once or not once.isascii():  # otherwise a string within a string spells it in the same way
                spelt.add(quoted(once)[1:-1])
    return spelt
