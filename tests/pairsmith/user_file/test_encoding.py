"""Tests of seed files that are not UTF-8, and of very wide tables."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import pytest

from pairsmith.commands import start
from pairsmith.user_file.encoding import ENCODINGS, AmbiguousEncoding, as_utf8, encoding_of
from pairsmith.user_file.guess import guess
from schemas.errors import InputError

ROWS = Path(__file__).parents[2] / "curate/rows"
TEXTS = {
    "cp1252": ("de", "fr", "es", "it", "pt", "sv"),
    "mac_roman": ("de", "fr", "es"),
    "cp1250": ("pl", "cs"),
    "cp1251": ("ru", "uk"),
    "koi8_r": ("ru",),
    "cp1254": ("tr",),
    "cp1256": ("ar",),
    "cp932": ("ja",),
    "euc_jp": ("ja",),
    "cp949": ("ko",),
    "gb18030": ("zh",),
    "big5hkscs": ("zh",),
}


def good_rows(language: str) -> list[tuple[str, str]]:
    lines = (line for path in sorted(ROWS.glob("good*.jsonl")) for line in path.read_text().splitlines())
    return [(row["input"], row["output"]) for row in map(json.loads, lines) if row.get("language") == language]


@pytest.mark.parametrize(
    "mark", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_recognizable_encodings_are_read(mark: str) -> None:
    """Files with a byte order mark are read, and UTF-16 or UTF-32 without one if the first character is ASCII."""
    assert (
        as_utf8("frage;antwort\nwo ist Köln;am Rhein\n".encode(mark), "t.csv").decode("utf-8-sig").startswith("frage")
    )


def test_a_stray_null_does_not_garble_a_text() -> None:
    """An upload whose second byte is NUL was read as UTF-16, each two letters as one Chinese character."""
    content = "a\0 fox, an emu; café\n".encode()
    assert as_utf8(content, "t.txt") == content


@pytest.mark.parametrize(("encoding", "language"), [(e, code) for e, codes in TEXTS.items() for code in codes])
def test_the_likeliest_encoding_is_proposed_first(encoding: str, language: str) -> None:
    """For forty rows of a language in an encoding commonly used for it, the first proposed reading is the right one. It
    is shown with lines that distinguish it from the others, and choosing it reads the text."""
    rows = good_rows(language)[:40]
    content = ("input;output\r\n" + "\r\n".join(f'"{i}";"{o}"' for i, o in rows)).encode(encoding, "ignore")
    with pytest.raises(AmbiguousEncoding, match=r"^t\.csv: is not UTF-8") as asked:
        as_utf8(content, "t.csv")
    first = asked.value.readings[0]
    assert content.decode(first.name) == content.decode(encoding), [r.name for r in asked.value.readings]
    assert first.about == f"{ENCODINGS[first.name]} ({first.name})"
    assert f"such as {first.about}," in str(asked.value)
    assert all(not excerpt.isascii() and excerpt in content.decode(encoding) for excerpt in first.lines)
    assert as_utf8(content, "t.csv", first.name).decode() == content.decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1250", "Szeretném visszaküldeni a cipőt.\nKérem, segítsenek, a fiók zárolva van.\n"),
        ("cp1250", "Gdje je moj paket? Želim povrat, čekam već dugo.\n"),
        ("cp949", "질문,답변\n결제가 안 돼요,카드사에 문의해 주세요\n"),
        ("cp949", "가방\n"),
        ("cp932", "荷物はいつ届きますか?\n返金をお願いします。\n"),
        ("euc_jp", "荷物はいつ届きますか?\n返金をお願いします。\n"),
        ("gb18030", "我的包裹在哪里?\n我要退款。\n请更改地址。\n"),
        ("big5hkscs", "我的包裹在哪裡?\n我要退款。\n"),
        ("cp1252", "Não recebi a encomenda. A informação está errada, põe aí também.\n"),
        ("cp1252", "Õige tee. Täna läheb külmaks, öö tuleb.\n"),
    ],
)
def test_two_lines_are_enough_to_find_the_encoding(encoding: str, text: str) -> None:
    """Earlier, Hungarian was read as Western European with `õ`, Croatian as Mac Roman, Japanese as Korean, and a Korean
    word as Chinese."""
    with pytest.raises(AmbiguousEncoding) as asked:
        as_utf8(text.encode(encoding), "t.csv")
    assert text.encode(encoding).decode(asked.value.readings[0].name) == text


@pytest.mark.parametrize("rows", [100, 120, 300])
def test_mixed_alphabets_within_words_are_unlikely(rows: int) -> None:
    """Repeated sentences beside a column of euro amounts look like Russian by their bytes, but a word that is half
    Cyrillic is implausible."""
    subjects, faults = ("Lieferung", "Größe", "Kündigung"), ("sie kam zu spät an", "das Paket war beschädigt")
    table = [
        f'{n};Meine {subjects[n % 3]} Nr. {1000 + n} macht Ärger: {faults[n % 2]}.;"Guten Tag,\nwir haben Vorgang {n}'
        f' geprüft.\nMit freundlichen Grüßen";{n},50 €'
        for n in range(rows)
    ]
    with pytest.raises(AmbiguousEncoding) as asked:
        as_utf8("\r\n".join(["Nr;Frage;Antwort;Betrag", *table]).encode("cp1252"), "t.csv")
    assert asked.value.readings[0].name == "cp1252"
    assert "cp1251" in [reading.name for reading in asked.value.readings]


def test_lines_shown_for_an_encoding_distinguish_it() -> None:
    """Typographic characters are the same in many encodings, so lines with only those give the user no choice: the
    lines shown differ between readings, around the character in which they do."""
    lines = [f"Ticket {n}, “urgent”, says the driver who came on Monday" for n in range(30)]
    content = "\n".join([*lines, "Please ask the workshop Radhaus Süd in Leipzig"]).encode("cp1252")
    with pytest.raises(AmbiguousEncoding) as asked:
        as_utf8(content, "t.csv")
    readings = asked.value.readings
    assert readings[0].name == "cp1252"
    assert readings[0].lines[0] == "workshop Radhaus Süd in Leipzig"
    assert len({tuple(reading.lines) for reading in readings}) == len(readings)


def test_content_that_no_encoding_can_read() -> None:
    """Binary content is returned unchanged; a chosen encoding that cannot read the file or is not supported is an
    InputError."""
    assert as_utf8(b"PK\x03\x04\xff\x00\x01", "t.csv") == b"PK\x03\x04\xff\x00\x01"
    for encoding, why in (("cp932", "cannot be read as"), *((other, "Use one of cp1252") for other in ("zip", "a\0"))):
        with pytest.raises(InputError, match=why):
            as_utf8(b"gr\xfc\xdfe\n", "t.csv", encoding)


@pytest.mark.parametrize("content", [b"Caf\xe9\n", b"a;b\nx;Men\xfc", b"\xfc", b"x" * 199_999 + b"\xfc\xfc"])
def test_a_text_that_ends_in_its_only_non_ascii_character_is_asked_about(content: bytes) -> None:
    """In East Asian encodings that byte is half a character and cannot be decoded, which used to be a traceback."""
    with pytest.raises(AmbiguousEncoding) as asked:
        as_utf8(content, "t.csv")
    assert asked.value.readings[0].name == "cp1252"


def test_utf_8_with_a_lost_byte_stays_utf_8() -> None:
    """In another encoding every non-ASCII character would be garbled; it is left to the file's reader, which names the
    line."""
    whole = "Grüße aus München, schöne Straße, für Köln\n".encode()
    assert as_utf8(whole * 3 + whole[:3], "t.csv") == whole * 3 + whole[:3]


def test_other_spellings_of_an_encoding_are_accepted() -> None:
    """Names in capitals, with hyphens, and as the web has them are accepted."""
    assert as_utf8(b"gr\xfc\xdfe", "t.csv", "Windows-1252") == "grüße".encode()
    assert as_utf8("мир".encode("koi8_r"), "t.csv", "KOI8-R") == "мир".encode()


def test_a_large_file_is_searched_for_its_first_non_ascii_text() -> None:
    """The first non-ASCII character of a file may come after megabytes of ASCII."""
    content = b"a line of plain letters\n" * 400_000 + "Grüße aus Köln\n".encode("cp1252")
    with pytest.raises(AmbiguousEncoding) as asked:
        as_utf8(content, "t.csv")
    assert asked.value.readings[0].lines == ["Grüße aus Köln"]


def test_a_very_wide_table_is_read_in_seconds(tmp_path: Path) -> None:
    """A table as wide as a spreadsheet allows (16,384 columns) is compared once per column, and messages name only some
    columns; a wider one is refused."""
    path = tmp_path / "wide.jsonl"
    path.write_text(json.dumps({f"c{n}": "a few words here" for n in range(16_384)}) + "\n")
    before_s = time.process_time()
    why = guess(path).why
    assert time.process_time() - before_s < 20  # comparing each column with each other takes minutes
    assert sum(map(len, why)) < 2000
    path.write_text(json.dumps({f"c{n}": "a few words here" for n in range(16_385)}) + "\n")
    with pytest.raises(InputError, match="has 16,385 columns; at most 16,384 can be read"):
        guess(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_large_file_is_decoded_in_parts(encoding: str) -> None:
    """Whether a file is UTF-8 takes a few MB, however large it is, and not three times its size. A character may lie
    across two parts, or be cut off at the end."""
    content = ("a" + "\u20ac\U0001f3b9" * 600_000).encode(encoding)
    tracemalloc.start()
    try:
        known = encoding_of(content, "large.txt")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (known is None) == (encoding == "utf-8")
    assert most < 8_000_000 < 3 * len(content)
    with pytest.raises(AmbiguousEncoding):
        encoding_of("caf\u00e9 \u20ac".encode()[:-1], "cut.txt")


def test_an_unknown_encoding_is_refused_for_any_file(tmp_path: Path) -> None:
    """`init --encoding utf-99` was silently ignored where the file could be read without it."""
    (tmp_path / "a.csv").write_text("text\nWhere is my parcel today?\n", encoding="utf-8")
    assert start(["init", str(tmp_path / "mine"), "--from", str(tmp_path / "a.csv"), "--encoding", "utf-99"]) == 4
    assert not (tmp_path / "mine").exists()
    with pytest.raises(InputError, match="cannot be read as utf_8"):
        encoding_of("Où est-il ?".encode("latin-1"), "a.csv", "utf-8")
