"""Files of people whose programs do not write UTF-8, or write very wide tables."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pairsmith.file_encoding import ENCODINGS, AmbiguousEncoding, as_utf8
from pairsmith.file_guess import guess
from schemas.errors import InputError

ROWS = Path(__file__).parents[1] / "curate/rows"
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
def test_what_shows_its_encoding_is_read(mark: str) -> None:
    """With a byte order mark, or as UTF-16 or UTF-32 whose first sign is ASCII."""
    assert (
        as_utf8("frage;antwort\nwo ist Köln;am Rhein\n".encode(mark), "t.csv").decode("utf-8-sig").startswith("frage")
    )


@pytest.mark.parametrize(("encoding", "language"), [(e, code) for e, codes in TEXTS.items() for code in codes])
def test_the_likeliest_encoding_stands_first(encoding: str, language: str) -> None:
    """Of forty rows of a language in an encoding it is in use with, the first reading is the text; it is shown with
    the letters that tell it from others, and whoever chooses it gets the text."""
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
def test_two_lines_are_enough_for_the_likeliest_encoding(encoding: str, text: str) -> None:
    """Hungarian was western Europe's with `õ`, Croatian a Mac's, Japanese Korean, and a Korean word Chinese."""
    with pytest.raises(AmbiguousEncoding) as asked:
        as_utf8(text.encode(encoding), "t.csv")
    assert text.encode(encoding).decode(asked.value.readings[0].name) == text


@pytest.mark.parametrize("rows", [100, 120, 300])
def test_letters_of_another_alphabet_within_latin_words_are_not_likely(rows: int) -> None:
    """Sentences that come back beside a column of sums in euros are taken for Russian by their bytes; a word that is
    half Cyrillic is none."""
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


def test_what_is_shown_of_an_encoding_tells_it_from_the_others() -> None:
    """Typographic signs are the same in many encodings, so lines with them alone leave a person no choice: the lines
    that are shown differ from one reading to the next, around the sign in which they do."""
    lines = [f"Ticket {n}, “urgent”, says the driver who came on Monday" for n in range(30)]
    content = "\n".join([*lines, "Please ask the workshop Radhaus Süd in Leipzig"]).encode("cp1252")
    with pytest.raises(AmbiguousEncoding) as asked:
        as_utf8(content, "t.csv")
    readings = asked.value.readings
    assert readings[0].name == "cp1252"
    assert readings[0].lines[0] == "Please ask the workshop Radhaus Süd in Leipzig"
    assert len({tuple(reading.lines) for reading in readings}) == len(readings)


def test_what_no_encoding_reads_is_left_to_its_reader() -> None:
    """Bytes that are no text, a choice that does not read them, and one that is no encoding of ours."""
    assert as_utf8(b"PK\x03\x04\xff\x00\x01", "t.csv") == b"PK\x03\x04\xff\x00\x01"
    for encoding, why in (("cp932", "cannot be read as"), *((other, "Use one of cp1252") for other in ("zip", "a\0"))):
        with pytest.raises(InputError, match=why):
            as_utf8(b"gr\xfc\xdfe\n", "t.csv", encoding)


@pytest.mark.parametrize("content", [b"Caf\xe9\n", b"a;b\nx;Men\xfc", b"\xfc", b"x" * 199_999 + b"\xfc\xfc"])
def test_a_text_that_ends_in_its_only_letter_beyond_ascii_is_asked_about(content: bytes) -> None:
    """It is half a letter in the encodings of East Asia, which do not read it: this was a traceback."""
    with pytest.raises(AmbiguousEncoding) as asked:
        as_utf8(content, "t.csv")
    assert asked.value.readings[0].name == "cp1252"


def test_a_byte_that_was_lost_from_utf_8_does_not_make_it_another_encoding() -> None:
    """It would be read with every letter beyond ASCII garbled; its reader names the line instead."""
    whole = "Grüße aus München, schöne Straße, für Köln\n".encode()
    assert as_utf8(whole * 3 + whole[:3], "t.csv") == whole * 3 + whole[:3]


def test_an_encoding_may_be_named_as_others_name_it() -> None:
    """In capitals, with hyphens, and as the web has it."""
    assert as_utf8(b"gr\xfc\xdfe", "t.csv", "Windows-1252") == "grüße".encode()
    assert as_utf8("мир".encode("koi8_r"), "t.csv", "KOI8-R") == "мир".encode()


def test_a_large_file_is_asked_about_as_soon_as_a_small_one() -> None:
    """Its first letters beyond ASCII may stand behind megabytes without one."""
    content = b"a line of plain letters\n" * 400_000 + "Grüße aus Köln\n".encode("cp1252")
    with pytest.raises(AmbiguousEncoding) as asked:
        as_utf8(content, "t.csv")
    assert asked.value.readings[0].lines == ["Grüße aus Köln"]


def test_a_very_wide_table_is_looked_at_in_seconds(tmp_path: Path) -> None:
    """As wide as a spreadsheet: its columns are compared once, and sentences name some of them; more are refused."""
    path = tmp_path / "wide.jsonl"
    path.write_text(json.dumps({f"c{n}": "a few words here" for n in range(16_384)}) + "\n")
    before_s = time.process_time()
    why = guess(path).why
    assert time.process_time() - before_s < 20  # minutes, where each is compared with each
    assert sum(map(len, why)) < 2000
    path.write_text(json.dumps({f"c{n}": "a few words here" for n in range(16_385)}) + "\n")
    with pytest.raises(InputError, match="has 16,385 columns; at most 16,384 can be read"):
        guess(path)
