"""Tests of the recognition of text with two or four bytes per character."""

from __future__ import annotations

import pytest

from schemas.wide_text import wide_encoding

TEXTS = {
    "english": "a fox\nthe dog\n",
    "letter": "x\n",
    "record": '{"text": "中文字符没有空格"}\n',
    "russian": "A в остальном всё хорошо, спасибо, но без запятых\n",
    "hindi": "1 आप कैसे हैं, सब ठीक है ना\n",
    "chinese": "1. 中文字符没有空格的一行文字\n2. 一二三\n",
}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_wide_text_without_a_mark_is_recognised(text: str, encoding: str) -> None:
    """If it begins with an ASCII character, in any alphabet, and also from its first line up to the newline byte."""
    content = text.encode(encoding)
    line = content[: content.index(b"\n") + 1]
    assert [wide_encoding(content), wide_encoding(line), wide_encoding(content * 200)] == [encoding] * 3


@pytest.mark.parametrize(
    "content",
    [
        b"a\0 fox over the lazy dog\n",
        b"\0a fox over the lazy dog\n",
        b"a\0b",
        b"1\0foo\0bar\0\n",
        b"a\0\0\0 fox over the lazy dog\n",
        b"\0\0\0a fox over the lazy dog\n",
        "a\0 Grüße an\0 alle, und noch mehr\n".encode(),
        "a\0 Grüße an alle, und noch mehr\n".encode("cp1252"),
        b"\0",
        b"",
    ],
)
def test_stray_nulls_do_not_make_a_text_wide(content: bytes) -> None:
    """Read as UTF-16, an ASCII text whose second byte is NUL became Chinese characters."""
    assert wide_encoding(content) == ""
