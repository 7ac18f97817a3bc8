"""Hashes of the words of many texts at once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from curate.words import WORD, WORDS_OF_ASCII, words

Tokens = NDArray[np.uint64]
Numbers = NDArray[np.int64]

MIX = np.uint64(0x9E3779B97F4A7C15)
_BYTES = WORDS_OF_ASCII[:128] + bytes(range(128, 256))  # those of other characters stay: their words are separated
_LONG = 64  # bytes of a word beyond these are hashed one word at a time


def hashed_words(texts: Sequence[str]) -> tuple[Tokens, Numbers]:
    """A hash of every word of the texts, in order, and the number of words of each text.

    Equivalent to `hash(word) for word in words(text)`, but the same in every process. ASCII is read from all texts at
    once, as numbers of eight bytes, which takes a third of the time.
    """
    written = [text if text.isascii() else _utf8_of_words(text) for text in texts]
    hashes, number = _hashed_utf8(written)
    if number.all():
        return hashes, number
    return _hashed_utf8([one if many else _utf8_of_words(one) for one, many in zip(written, number, strict=True)])


def _utf8_of_words(text: str) -> str:
    """The words of a text, separated by spaces, with a character for every byte. Those of a text without words, which
    may be any characters, are in hexadecimal, after a character that no word contains."""
    separate = words(text)
    if not WORD.match(separate[0]):
        separate = ["…" + word.encode(errors="surrogatepass").hex() for word in separate]
    return " ".join(separate).encode().decode("latin-1")


def mixed(hashes: Tokens) -> Tokens:
    hashes = hashes * MIX
    hashes ^= hashes >> np.uint64(31)
    return hashes


def _hashed_utf8(written: Sequence[str]) -> tuple[Tokens, Numbers]:
    joined = " ".join(("", *written, "\0" * 8)).encode("latin-1").translate(_BYTES)
    letter = np.frombuffer(joined, np.uint8) != ord(" ")
    edges = np.flatnonzero(letter[1:] != letter[:-1])  # one before a word, and its last byte
    begin, length = edges[::2], edges[1::2] - edges[::2]
    eight = np.ndarray(len(joined) - 8, "<u8", joined, offset=1, strides=(1,))  # the eight bytes from every byte on
    hashes = mixed(_first_bytes(eight[begin], length))
    longer = np.flatnonzero(length > 8)
    for place in range(8, _LONG, 8):
        part = _first_bytes(eight[begin[longer] + place], length[longer] - place)
        hashes[longer] = mixed(hashes[longer] ^ part)
        longer = longer[length[longer] > place + 8]
    for word in longer.tolist():
        rest = joined[begin[word] + 1 + _LONG : begin[word] + 1 + length[word]]
        hashes[word] ^= np.uint64(int.from_bytes(blake2b(rest, digest_size=8).digest()))
    ends = np.fromiter(accumulate(map(len, written)), np.int64) + np.arange(len(written))
    return hashes, np.diff(begin.searchsorted(ends), prepend=0)


def _first_bytes(eight: Tokens, number: Numbers) -> Tokens:
    """The first `number` of eight bytes, and zeros, which no word contains."""
    return eight << ((8 - np.minimum(number, 8)) * 8).view(np.uint64)
