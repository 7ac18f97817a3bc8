"""Seeds: what is read, what is refused, and that no row is lost on the way."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from schemas.records import Seed
from schemas.spec import SeedSource
from synth import seed_rows
from synth.seed_rows import read_column_names
from synth.seeds import MAX_CHARS, SeedReading, read_seeds


def read(folder: Path, path: str, stdin: bytes | None = None, **settings: Any) -> SeedReading:
    """One source, with the sum that must hold checked on every call."""
    reading = read_seeds([SeedSource(path=path, **settings)], folder, None if stdin is None else io.BytesIO(stdin))
    assert reading.rows_in == len(reading.seeds) + len(reading.problems)
    return reading


def texts(reading: SeedReading) -> list[str | None]:
    return [seed.text for seed in reading.seeds]


def reasons(reading: SeedReading) -> dict[str, str]:
    return {problem.where: problem.what.partition(":")[0] for problem in reading.problems}


@pytest.fixture
def write(tmp_path: Path):
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_jsonl_rows_become_seeds_that_say_where_they_stand(tmp_path, write):
    """A seed carries its kind, its line and its source's licence; the id is that of its text."""
    write("seeds.jsonl", '{"text": "a red fox", "id": 1}\n{"text": "an owl"}')
    reading = read(tmp_path, "seeds.jsonl", license="CC0-1.0")
    assert texts(reading) == ["a red fox", "an owl"]
    assert [seed.source for seed in reading.seeds] == ["seeds.jsonl:1", "seeds.jsonl:2"]
    assert {seed.license for seed in reading.seeds} == {"CC0-1.0"}
    assert reading.seeds[0].id == Seed(kind="input", text="a red fox", source="elsewhere").id


def test_rows_that_cannot_be_used_are_told_by_line_and_the_rest_is_read(tmp_path, write):
    """Blank, duplicate, non-text, NUL, over-long and column-less rows are problems; rows in = seeds + problems."""
    rows = ['{"text": "a red fox"}', "", '{"text": "  "}', '{"text": " a red fox "}', '{"text": 7}', '{"text": null}']
    rows += [
        '{"text": "a\\u0000b"}',
        '{"txt": "lost"}',
        '{"text": ["a"]}',
        orjson.dumps({"text": "x" * 100_001}).decode(),
    ]
    rows += ['{"text": "last"}']
    write("seeds.jsonl", "\n".join(rows) + "\n")
    reading = read(tmp_path, "seeds.jsonl")
    assert texts(reading) == ["a red fox", "last"]
    assert reading.rows_in == 11
    expected = ["blank", "blank", "duplicate", "type", "blank", "nul", "column", "type", "long"]
    assert reasons(reading) == {f"seeds.jsonl:{at}": word for at, word in enumerate(expected, 2)}
    problems = {problem.where: problem.what for problem in reading.problems}
    assert problems["seeds.jsonl:4"] == "duplicate: the same text as seeds.jsonl:1."
    assert problems["seeds.jsonl:5"] == "type: expected text, found int 7."
    assert problems["seeds.jsonl:8"] == "column: there is no 'text' in this row; found: 'txt'."


def test_a_seed_of_the_greatest_length_is_read(tmp_path, write):
    """The bound on a seed's length is inclusive."""
    write("seeds.txt", "x" * MAX_CHARS)
    assert len(texts(read(tmp_path, "seeds.txt"))[0] or "") == MAX_CHARS


def test_the_same_text_under_two_licences_keeps_both(tmp_path, write):
    """Which of them binds is not ours to guess: the seed names every place and licence, and the reading says so."""
    write("a.txt", b"a dog\na cat\n")
    write("b.txt", b"a dog\na cat\na dog\n")
    write("c.txt", b"a dog\n")
    licences = {"a.txt": "CC0-1.0", "b.txt": "CC-BY-NC-4.0", "c.txt": None}
    sources = [SeedSource(path=path, license=licence) for path, licence in licences.items()]
    dog, cat = (reading := read_seeds(sources, tmp_path)).seeds
    assert dog.licenses == ("CC0-1.0", "CC-BY-NC-4.0", None)
    assert dog.meta["also"][0] == {"source": "b.txt:1", "license": "CC-BY-NC-4.0"}
    assert cat.licenses == ("CC0-1.0", "CC-BY-NC-4.0")
    assert "CC0-1.0 there, CC-BY-NC-4.0 here; both are kept" in reading.problems[0].what
    assert reading.rows_in == 6 == len(reading.seeds) + len(reading.problems)
    assert dog.id == Seed(kind="input", text="a dog", source="x").id


def test_duplicates_are_found_across_sources_but_not_across_kinds(tmp_path, write):
    """The same text in two files is one seed; the same text as an excellent output is another."""
    write("a.txt", "a fox\n")
    write("b.jsonl", '{"text": "a fox"}\n')
    sources = [SeedSource(path="a.txt"), SeedSource(path="b.jsonl"), SeedSource(path="a.txt", kind="output")]
    reading = read_seeds(sources, tmp_path)
    assert [(seed.kind, seed.source) for seed in reading.seeds] == [("input", "a.txt:1"), ("output", "a.txt:1")]
    assert reading.problems == [("b.jsonl:1", "duplicate", "the same text as a.txt:1.")]
    assert reading.rows_in == 3


@pytest.mark.parametrize(
    ("line", "column"),
    [('{"text": "a fox"', 17), ('{"text": "é", }', 13), ('{"text": "a" "b": 1}', 14)],
)
def test_a_broken_json_line_stops_the_run_naming_line_and_column(tmp_path, write, line, column):
    """One clear sentence, before any money is spent: a broken line is never skipped."""
    write("seeds.jsonl", f'{{"text": "fine"}}\n{line}\n{{"text": "fine too"}}\n')
    with pytest.raises(InputError, match=rf"^seeds\.jsonl:2: is not valid JSON at column {column}: "):
        read(tmp_path, "seeds.jsonl")


def test_a_json_array_is_refused_as_what_it_is(tmp_path, write):
    """A whole JSON file under the name of JSONL is told apart from a broken line."""
    write("seeds.jsonl", '[{"text": "a fox"}]')
    with pytest.raises(InputError, match=r"seeds\.jsonl:1: is a JSON list, not an object"):
        read(tmp_path, "seeds.jsonl")


@pytest.mark.parametrize("name", ["seeds.jsonl", "seeds.csv", "seeds.parquet"])
def test_a_wrong_column_lists_what_there_is_and_the_nearest(tmp_path, write, name):
    """The way out of a wrong column stands in the message, whatever the format."""
    if name.endswith("parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": ["1"], "prompts": ["a fox"]}), tmp_path / name)
    else:
        write(name, "id,prompts\n1,a fox\n" if name.endswith("csv") else '{"id": "1", "prompts": "a fox"}')
    with pytest.raises(InputError) as caught:
        read(tmp_path, name, columns={"text": "prompt"})
    assert "there is no column 'prompt'; found: 'id', 'prompts'." in str(caught.value)
    assert "Did you mean 'prompts'?" in str(caught.value)
    assert 'columns = { text = "prompts" }' in str(caught.value)
    assert texts(read(tmp_path, name, columns={"text": "prompts"})) == ["a fox"]


@pytest.mark.parametrize("kind", ["input", "output"])
def test_without_a_mapping_the_column_is_text_or_else_the_kind(tmp_path, write, kind):
    """A file whose column is called as the seeds are needs no mapping; `text` wins if both are there."""
    write("a.csv", f"id,{kind}\n1,a fox\n")
    write("b.csv", f"{kind},text\nno,a fox\n")
    assert texts(read(tmp_path, "a.csv", kind=kind)) == texts(read(tmp_path, "b.csv", kind=kind)) == ["a fox"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_of_a_csv_is_found(tmp_path, write, separator):
    """Comma, semicolon and tab are told apart by the header, even when the texts are full of the others."""
    write(
        "seeds.csv", separator.join(["id", "text"]) + "\r\n" + separator.join(["1", '"a fox, an owl; a\tcat"']) + "\r\n"
    )
    reading = read(tmp_path, "seeds.csv")
    assert texts(reading) == ["a fox, an owl; a\tcat"]
    assert reading.seeds[0].source == "seeds.csv:2"


def test_csv_rows_are_named_by_the_line_they_start_on(tmp_path, write):
    """A quoted text over several lines, and blank lines, do not shift the numbers an editor shows."""
    write("seeds.csv", '\n\ntext,id\n"a fox\nin the snow",1\n\n,2\nan owl\na cat, black,3\n"an owl",4\n')
    reading = read(tmp_path, "seeds.csv")
    assert [(seed.text, seed.source) for seed in reading.seeds] == [
        ("a fox\nin the snow", "seeds.csv:4"),
        ("an owl", "seeds.csv:8"),
    ]
    assert reasons(reading) == {
        "seeds.csv:1": "blank",
        "seeds.csv:2": "blank",
        "seeds.csv:6": "blank",
        "seeds.csv:7": "blank",
        "seeds.csv:9": "cells",
        "seeds.csv:10": "duplicate",
    }


def test_an_unclosed_quotation_mark_stops_the_run_at_its_line(tmp_path, write):
    """It would swallow every row behind it without a word."""
    write("seeds.csv", 'text\na fox\n"an owl\na cat\na dog\n')
    with pytest.raises(InputError, match=r"seeds\.csv:3: is not valid CSV: "):
        read(tmp_path, "seeds.csv")


def test_a_long_cell_beside_the_text_does_not_matter(tmp_path, write):
    """Only the text's own length counts, although the csv module stops at 131,072 characters by default."""
    write("seeds.csv", f"text,body\na fox,{'x' * 200_000}\n")
    assert texts(read(tmp_path, "seeds.csv")) == ["a fox"]


def test_odd_headers_and_a_byte_order_mark_are_mended_and_told(tmp_path, write):
    """Case, spaces and a BOM cost no row, and the reading says that they were there."""
    write("seeds.csv", b"\xef\xbb\xbf Text ,ID,ID\r\na fox,1,2\r\n")
    reading = read(tmp_path, "seeds.csv")
    assert texts(reading) == ["a fox"]
    assert reading.notes == [
        ("seeds.csv:1", "bom", "a byte order mark was skipped."),
        ("seeds.csv:1", "header", "2 columns have the name 'ID'."),
        ("seeds.csv:1", "header", "the column ' Text ' was read as 'text'."),
    ]


@pytest.mark.parametrize("header", ["text,id,text", "Text,id,TEXT"])
def test_two_columns_of_the_wanted_name_are_refused(tmp_path, write, header):
    """Which of them holds the seeds would be a guess."""
    write("seeds.csv", f"{header}\na,b,c\n")
    with pytest.raises(InputError, match="columns 1 and 3 have the same name 'text'"):
        read(tmp_path, "seeds.csv")


def test_a_file_may_be_one_seed(tmp_path, write):
    """A folder of letters is a seed for each letter, its paragraphs and Windows line ends read as they look."""
    write("a.txt", "Dear Ann,\r\n\r\nYou may go home.\r\n")
    write("c.txt", "Dear Bob,\nnot yet.".encode("utf-16"))
    write("d.md", "\ufeffDear Cleo,\nsoon.")
    reading = read(tmp_path, "[ad].*", kind="output", format="document")
    assert texts(reading) == ["Dear Ann,\n\nYou may go home.", "Dear Cleo,\nsoon."]
    assert [seed.source for seed in reading.seeds] == ["a.txt:1", "d.md:1"]
    assert texts(read(tmp_path, "c.txt", format="document", encoding="utf-16")) == ["Dear Bob,\nnot yet."]


def test_a_blank_document_among_many_is_a_row_that_is_not_used(tmp_path, write):
    """One letter of a folder that holds nothing, or a whole book, stops no other, and is told; all of them are an
    error, as is a blank one alone."""
    for name, text in (("a.txt", "Dear Ann,\nyes."), ("b.txt", ""), ("c.txt", "word " * 40_000)):
        write(name, text)
    reading = read(tmp_path, "*.txt", format="document")
    assert (texts(reading), reading.rows_in) == (["Dear Ann,\nyes."], 3)
    assert [(problem.where, problem.code) for problem in reading.problems] == [
        ("b.txt:1", "blank"),
        ("c.txt:1", "long"),
    ]
    with pytest.raises(InputError, match="none of its 2 documents can be used; the first: blank"):
        read(tmp_path, "[bc].txt", format="document")
    with pytest.raises(InputError, match="its one row cannot be used: blank"):
        read(tmp_path, "b.txt", format="document")


def test_plain_text_is_one_seed_a_line(tmp_path, write):
    """Windows line ends and a missing last line end make no difference."""
    write("seeds.txt", b"a fox\r\n\r\n{an owl}\n  a cat  ")
    reading = read(tmp_path, "seeds.txt")
    assert texts(reading) == ["a fox", "{an owl}", "a cat"]
    assert reasons(reading) == {"seeds.txt:2": "blank"}


@pytest.mark.parametrize("unseen", ["\u200b", "\u200f\u200e", "\u00a0\ufeff", "\u2060"])
def test_a_text_that_shows_nothing_is_blank(tmp_path, write, unseen):
    """A joiner or a mark of direction alone is no text to pay a teacher for; inside a text it stays as it is."""
    write("seeds.txt", f"a fox\n{unseen}\n\u200f\u05e9\u05d5\u05e2\u05dc\n".encode())
    reading = read(tmp_path, "seeds.txt")
    assert texts(reading) == ["a fox", "\u200f\u05e9\u05d5\u05e2\u05dc"]
    assert reasons(reading) == {"seeds.txt:2": "blank"}


def test_the_line_ends_of_old_macs_are_named(tmp_path, write):
    """A whole file of them would be one seed that nobody wrote."""
    write("seeds.txt", b"a fox\ran owl\ra cat\r")
    with pytest.raises(InputError, match=r"^seeds.txt:1: has a lone carriage return at the end of a line"):
        read(tmp_path, "seeds.txt")


def test_what_is_not_used_is_summed_up(tmp_path, write):
    """A person sees at a glance how many rows a file lost, and to what, however long it is."""
    write("seeds.txt", b"a fox\n\n\na fox\n")
    assert read(tmp_path, "seeds.txt").not_used == "3 of 4 rows are not used: blank 2, duplicate 1"
    write("seeds.txt", b"a fox\n")
    assert read(tmp_path, "seeds.txt").not_used == ""


@pytest.mark.parametrize("name", ["seeds.txt", "seeds.jsonl", "seeds.csv"])
def test_a_file_that_is_not_utf8_is_refused_at_its_byte(tmp_path, write, name):
    """A Latin-1 file is named by line and byte offset instead of being read as nonsense."""
    before = {"seeds.txt": b"", "seeds.jsonl": b'{"text": "a"}\n', "seeds.csv": b"text\n"}[name]
    bad = b'{"text": "caf\xe9"}' if name == "seeds.jsonl" else b"caf\xe9"
    write(name, before + bad + b"\n")
    line, offset = before.count(b"\n") + 1, (before + bad).index(b"\xe9")
    with pytest.raises(InputError, match=rf"^{name}:{line}: is not UTF-8: byte 0xe9 at offset {offset} ") as refused:
        read(tmp_path, name)
    assert "CP1254 for Turkish" in str(refused.value), "no one encoding is taken for granted"


def test_utf16_is_named(tmp_path, write):
    """Spreadsheets save UTF-16 as "Unicode text"; the message says which encoding to choose."""
    write("seeds.txt", "a fox\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"is UTF-16\. Save it as UTF-8"):
        read(tmp_path, "seeds.txt")


@pytest.mark.parametrize("name", ["seeds.txt", "seeds.csv", "seeds.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_wide_text_without_its_mark_is_named_too(tmp_path, write, name, encoding):
    """Databases export it so; "there is no column 'text'" would send a person to the spec."""
    write(name, '{"text": "a fox"}\n'.encode(encoding))
    with pytest.raises(InputError, match=rf"is {encoding[:6].upper()}\. Save it as UTF-8"):
        read(tmp_path, name)


@pytest.mark.parametrize("encoding", ["shift-jis", "gb18030", "cp1251", "euc-kr"])
def test_other_encodings_are_not_called_western(tmp_path, write, encoding):
    """Turned into UTF-8 as if it were WINDOWS-1252 the file would be nonsense that is read without a word."""
    write("seeds.txt", {"cp1251": "кот", "euc-kr": "고양이"}.get(encoding, "猫です").encode(encoding))
    with pytest.raises(InputError, match=r"iconv -f ENCODING .*CP1251.*CP932.*GBK or BIG5"):
        read(tmp_path, "seeds.txt")


TITLES = [
    "Report of May;;\n;;\n",
    ";;\nReport;;\n",
    "sep=;\n;Report;\n",
    "Report of May\n",
    "Report of May\nby Ann, Bo and Cy\n\nfor all, 12:30\n",
    '"Report\nof May";;\n',
    '"Report\nof May"\n\n',
    "sep=;\nReport of May\n",
]


@pytest.mark.parametrize("above", TITLES)
def test_a_title_above_the_headers_is_no_header(tmp_path, write, above):
    """Reports that spreadsheets and databases export begin with one, of one line or several, the rest of the line empty
    or without separators; each such line is told."""
    write("seeds.csv", above + "Nr;Anfrage;Kanal\n1;Wo ist mein Paket?;Mail\n;;\n2;Geht das auch heute?;\n")
    assert read_column_names(tmp_path / "seeds.csv") == ["Nr", "Anfrage", "Kanal"]
    reading = read(tmp_path, "seeds.csv", columns={"text": "Anfrage"})
    assert [seed.text for seed in reading.seeds] == ["Wo ist mein Paket?", "Geht das auch heute?"]
    assert set(reasons(reading).values()) == {"title", "blank"}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("text;;\na;b;\n", ["text", "", ""]),
        ("wort;;\neins;;\nzwei;;\n", ["wort", "", ""]),
        ("a;b\n;\n", ["a", "b"]),
        (";wort\n0;eins\n1;zwei\n", ["", "wort"]),
        ("Report;\n;wort\n0;eins\n1;zwei\n", ["", "wort"]),
        ("idea\na lighthouse, at dusk\ntwo goats, on a roof\n", ["idea"]),
        ("idea\ngoats,roofs\ntwo goats and, well, a roof\n", ["idea"]),
        ("text\nred,green\nblue,white\n", ["text"]),
        ("word\nlamp\nred,green\nblue,white\n", ["word"]),
        ("idea\n", ["idea"]),
        ("Report of May\na,b\n", ["Report of May"]),
    ],
)
def test_a_header_with_empty_cells_beside_it_is_one(tmp_path, write, content, names):
    """A spreadsheet writes its empty columns too: a column that is asked for, or one that alone is filled, has its name
    there; and a data frame of one column is written with its index, which has none. One column of texts with commas in
    them is no title above a table."""
    write("seeds.csv", content)
    assert read_column_names(tmp_path / "seeds.csv") == names


@pytest.mark.parametrize("name", ["seeds.jsonl", "seeds.csv", "seeds.txt"])
def test_a_line_too_long_for_memory_is_skipped_and_counted(tmp_path, write, name, monkeypatch):
    """A line without an end is never held whole, and the line behind it has its right number."""
    monkeypatch.setattr(seed_rows, "MAX_LINE_BYTES", 1000)
    row = {"seeds.jsonl": '{{"text": "{}"}}', "seeds.csv": "{}", "seeds.txt": "{}"}[name]
    head = "text\n" if name == "seeds.csv" else row.format("first") + "\n"
    write(name, head + row.format("x" * 5000) + "\n" + row.format("an owl") + "\n")
    reading = read(tmp_path, name)
    assert reading.seeds[-1].text == "an owl"
    assert reading.seeds[-1].source == f"{name}:3"
    assert reasons(reading) == {f"{name}:2": "long"}


@pytest.mark.parametrize(
    ("name", "content"),
    [("s.jsonl", ""), ("s.csv", ""), ("s.txt", ""), ("s.csv", "text\n"), ("s.jsonl", b"\xef\xbb\xbf")],
)
def test_a_file_without_rows_is_refused(tmp_path, write, name, content):
    """An empty seed file is a mistake, not a run over nothing."""
    write(name, content)
    with pytest.raises(InputError, match=r"has no rows|can(not)? be used"):
        read(tmp_path, name)


def test_a_file_with_rows_but_no_text_is_refused_with_its_first_fault(tmp_path, write):
    """A column of numbers stops the run and says so, instead of leaving nothing to do."""
    write("s.jsonl", '\n{"text": 1}\n{"text": 2}\n')
    with pytest.raises(InputError, match=r"s\.jsonl:1: none of its 3 rows can be used; the first: blank"):
        read(tmp_path, "s.jsonl")


def test_a_missing_file_names_its_neighbour(tmp_path, write):
    """A typo in a path is answered with the file that was meant."""
    write("seeds.jsonl", '{"text": "a"}')
    with pytest.raises(InputError, match=r"^seed\.jsonl: these seeds do not exist\. Did you mean 'seeds\.jsonl'"):
        read(tmp_path, "seed.jsonl")
    with pytest.raises(InputError, match=r'do not exist.*For a dataset on the hub add format = "hub"'):
        read(tmp_path, "nowhere/seeds")


def test_an_unknown_ending_asks_for_the_format(tmp_path, write):
    """A format is never guessed for a file; naming it is enough."""
    write("seeds.data", '{"text": "a fox"}')
    with pytest.raises(InputError, match=r"cannot be determined from the file extension '\.data'"):
        read(tmp_path, "seeds.data")
    assert texts(read(tmp_path, "seeds.data", format="jsonl")) == ["a fox"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.xlsx", b"PK\x03\x04", r"is a spreadsheet.*Save it as \"CSV UTF-8\""),
        ("s.csv.gz", b"\x1f\x8b", r"is compressed.*Unpack it"),
        ("s.csv", b"PK\x03\x04\x14\x00", r"is a spreadsheet or an archive"),
        ("s.jsonl", b"\x1f\x8b\x08", r"is compressed"),
        ("s.csv", b"text,label\ra fox,x\ran owl,y\r", r"s\.csv:1: has a lone carriage return.*CSV UTF-8"),
        ("s.jsonl", b'[\n {"text": "a fox"}\n]\n', r"Write each object on one line; for a JSON list use the extension"),
        ("s.jsonl", b'{\n "text": "a fox"\n}\n', r"Write each object on one line"),
    ],
)
def test_a_file_of_another_make_says_how_to_save_it(tmp_path, write, name, content, message):
    """What is no text, or has other line ends than ours, is never blamed on a quotation mark or an empty file."""
    write(name, content)
    with pytest.raises(InputError, match=message):
        read(tmp_path, name)
    with pytest.raises(InputError, match=message):
        read_column_names(tmp_path / name)


@pytest.mark.parametrize("name", ["s.jsonl", "s.json"])
def test_what_python_writes_beside_strict_json_costs_one_text_at_most(tmp_path, write, name):
    """NaN in a column that nobody reads costs nothing, half of a surrogate pair the row whose text it stands in."""
    rows = [{"text": "a fox", "score": float("nan")}, {"text": "half \ud83d", "score": 1}, {"text": "an owl"}]
    write(name, json.dumps(rows) if name == "s.json" else "\n".join(map(json.dumps, rows)))
    reading = read(tmp_path, name)
    assert texts(reading) == ["a fox", "an owl"]
    assert reasons(reading) == {f"{name}:2": "surrogate"}


def test_a_folder_is_refused_where_a_file_is_meant(tmp_path):
    """Neither a plain folder nor an unreadable one ends in a traceback."""
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match=r'is a folder, not a jsonl file.*path = "data/\*\.txt"'):
        read(tmp_path, "data", format="jsonl")
    with pytest.raises(InputError, match=r"is not a folder saved by `datasets`.*path = \"\w+/\*\.\w+\""):
        read(tmp_path, "data")


def test_limit_counts_seeds_and_leaves_the_rest_unread(tmp_path, write):
    """The first `limit` usable rows are taken; a broken line behind them is not even looked at."""
    write("s.jsonl", '{"text": "a"}\n\n{"text": "a"}\n{"text": "b"}\n{"text": "c"\n')
    reading = read(tmp_path, "s.jsonl", limit=2)
    assert texts(reading) == ["a", "b"]
    assert reading.rows_in == 4


@pytest.mark.parametrize(
    ("given", "settings", "expected"),
    [
        (b"a fox\nan owl\n", {}, ["a fox", "an owl"]),
        (b'\n  {"text": "a fox"}\n', {}, ["a fox"]),
        (b"[photo] a fox\n", {}, ["[photo] a fox"]),
        (b"text;id\na fox;1\n", {"format": "csv"}, ["a fox"]),
        (b"{not json}\n", {"format": "text"}, ["{not json}"]),
    ],
)
def test_standard_input_is_guessed_by_its_first_character(tmp_path, given, settings, expected):
    """An object means JSONL and anything else plain text, unless the spec says."""
    reading = read(tmp_path, "-", stdin=given, **settings)
    assert texts(reading) == expected
    assert reading.seeds[0].source.startswith("standard input:")


def test_standard_input_refuses_what_cannot_be_streamed_or_read_twice(tmp_path):
    """Parquet needs its last bytes first, and a pipe has one reader."""
    with pytest.raises(InputError, match="parquet cannot be read from standard input"):
        read(tmp_path, "-", stdin=b"PAR1", format="parquet")
    with pytest.raises(InputError, match="two sources read standard input"):
        read_seeds([SeedSource(path="-"), SeedSource(path="-")], tmp_path, io.BytesIO(b"a"))


def test_parquet_rows_are_read_in_batches_and_numbered(tmp_path):
    """Nulls and non-text cells are problems by row, across the borders of batches and row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = [f"seed {at}" for at in range(3000)]
    column[1500] = None
    pq.write_table(pa.table({"text": column, "n": range(3000)}), tmp_path / "s.parquet", row_group_size=700)
    reading = read(tmp_path, "s.parquet")
    assert reading.rows_in == 3000
    assert reasons(reading) == {"s.parquet:1501": "blank"}
    assert reading.seeds[-1].source == "s.parquet:3000"
    with pytest.raises(
        InputError, match=r"none of its 3,000 rows can be used; the first: type: expected text, found int"
    ):
        read(tmp_path, "s.parquet", columns={"text": "n"})


def test_broken_parquet_is_refused(tmp_path, write):
    """Neither a text under that name nor bytes that are no UTF-8 pass as seeds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    write("a.parquet", "text\na fox\n")
    with pytest.raises(InputError, match="is not a Parquet file"):
        read(tmp_path, "a.parquet")
    binary = pa.array([b"fine", b"caf\xe9"], pa.binary())
    strings = pa.StringArray.from_buffers(2, *binary.buffers()[1:])
    pq.write_table(pa.table({"text": strings}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet:2: is not UTF-8: byte 0xe9 at byte 4"):
        read(tmp_path, "b.parquet")


def test_a_datasets_folder_is_read_with_and_without_splits(tmp_path):
    """A saved Dataset is read as it is; of several splits one must be named."""
    from datasets import Dataset, DatasetDict

    data = Dataset.from_dict({"prompt": ["a fox", "", "an owl"]})
    data.save_to_disk(tmp_path / "one")
    DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "two")
    columns = {"text": "prompt"}
    reading = read(tmp_path, "one", columns=columns)
    assert texts(reading) == ["a fox", "an owl"]
    assert reasons(reading) == {"one:2": "blank"}
    assert texts(read(tmp_path, "two", columns=columns, split="test")) == ["a fox", "an owl"]
    with pytest.raises(InputError, match=r"two: has several splits\. Add split = .* train, test"):
        read(tmp_path, "two", columns=columns)
    with pytest.raises(InputError, match="there is no split 'dev'"):
        read(tmp_path, "two", columns=columns, split="dev")


HUB = """
import sys
from pathlib import Path
from schemas.errors import InputError
from schemas.spec import SeedSource
from synth.seeds import read_seeds
try:
    reading = read_seeds([SeedSource(path=sys.argv[1], format="hub")], Path("."))
    print(reading)
except InputError as error:
    print("InputError", error)
"""


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path):
    """A hub that is out of reach leaves no traceback."""
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", HUB, "someone/prompts"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | settings,
        timeout=120,
    )
    assert done.stdout.startswith("InputError someone/prompts: cannot be read from the hub: "), done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_hub_rows_are_streamed(tmp_path, write):
    """The library that reads hub ids also takes a local folder of data files, so the real reader runs without a hub."""
    (tmp_path / "repo").mkdir()
    write("repo/train.jsonl", '{"text": "a fox"}\n{"text": "an owl"}\n{"text": "a cat"}\n')
    write("repo/test.jsonl", '{"text": "a dog"}\n')
    source = {"format": "hub", "limit": 2}
    reading = read(tmp_path, str(tmp_path / "repo"), **source)
    assert texts(reading) == ["a fox", "an owl"]
    assert "the split 'train' was read" in reading.notes[0].what
    assert texts(read(tmp_path, str(tmp_path / "repo"), split="test", **source)) == ["a dog"]


@pytest.mark.slow
def test_a_part_of_a_dataset_of_the_hub_is_named_by_config(tmp_path, write):
    """A dataset of several parts says which there are, and `config` reads one."""
    (tmp_path / "repo").mkdir()
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("en", "de"))
    write("repo/README.md", f"---\nconfigs:\n{configs}---\n")
    write("repo/en.jsonl", '{"text": "a fox"}\n')
    write("repo/de.jsonl", '{"text": "ein Fuchs"}\n')
    repo = str(tmp_path / "repo")
    assert texts(read(tmp_path, repo, format="hub", config="de")) == ["ein Fuchs"]
    with pytest.raises(InputError, match=r'has several configurations\. Add config = "\.\.\." with one of: en, de'):
        read(tmp_path, repo, format="hub")


@pytest.mark.parametrize(
    "settings",
    [
        {"path": "a.csv", "config": "en"},
        {"path": "a.csv", "revision": "main"},
        {"path": "a.parquet", "encoding": "cp1252"},
        {"path": "a/b", "format": "hub", "encoding": "cp1252"},
        {"path": "a.csv", "encoding": "klingon"},
        {"path": "a.csv", "encoding": "base64"},
    ],
)
def test_what_means_nothing_for_a_format_is_refused(settings):
    """A key that would be passed over is a mistake of the spec, and so is an encoding that there is not."""
    with pytest.raises(ValueError, match=r"'(config|revision|encoding|klingon|base64)'"):
        SeedSource(**settings)


def test_a_pattern_reads_its_files_in_order_and_each_row_is_known_by_its_own(tmp_path, write):
    """Repeats, problems and `limit` are counted over all files that it names; folders are passed over."""
    (tmp_path / "logs" / "old").mkdir(parents=True)
    (tmp_path / "logs" / "c.jsonl").mkdir()
    write("logs/b.jsonl", '{"text": "an owl"}\n{"text": "a fox"}\n{"text": "a cat"}\n')
    write("logs/a.jsonl", '{"text": "a fox"}\n\n')
    write("logs/old/a.jsonl", '{"text": "a hen"}\n')
    reading = read(tmp_path, "logs/*.jsonl")
    assert texts(reading) == ["a fox", "an owl", "a cat"]
    assert [seed.source for seed in reading.seeds] == ["logs/a.jsonl:1", "logs/b.jsonl:1", "logs/b.jsonl:3"]
    assert reasons(reading) == {"logs/a.jsonl:2": "blank", "logs/b.jsonl:2": "duplicate"}
    assert texts(read(tmp_path, "logs/*.jsonl", limit=2)) == ["a fox", "an owl"]
    assert texts(read(tmp_path, "logs/*.jsonl", limit=1)) == ["a fox"]
    assert texts(read(tmp_path, "logs/**/*.jsonl")) == ["a fox", "an owl", "a cat", "a hen"]
    assert texts(read(tmp_path, str(tmp_path / "logs/[b].jsonl"))) == ["an owl", "a fox", "a cat"]
    with pytest.raises(InputError, match=r"logs/\*\.csv: these seeds do not exist"):
        read(tmp_path, "logs/*.csv")
    with pytest.raises(
        InputError,
        match=r"logs/o\*: these seeds do not exist\. No file matches the pattern .*logs/o\*; folders do not count",
    ):
        read(tmp_path, "logs/o*")


def test_a_file_that_a_pattern_meets_twice_is_read_once(tmp_path, write):
    """Through a link to the folder above, or by a pattern that leads there in two ways; under its shortest name."""
    (tmp_path / "logs" / "old").mkdir(parents=True)
    (tmp_path / "logs" / "again").symlink_to(".")
    write("logs/b.txt", "an owl\n")
    write("logs/old/a.txt", "a fox\n")
    for path in ("logs/**/*.txt", "logs/**/**/*.txt"):
        reading = read(tmp_path, path)
        assert [seed.source for seed in reading.seeds] == ["logs/b.txt:1", "logs/old/a.txt:1"]
        assert reading.rows_in == 2


def test_a_file_may_have_a_name_that_looks_like_a_pattern(tmp_path, write):
    """What is there under that very name is read, also in a folder of such a name."""
    (tmp_path / "[x]").mkdir()
    write("[x]/what? [1].txt", "a fox\n")
    write("[x]/one.txt", "an owl\n")
    assert texts(read(tmp_path / "[x]", "what? [1].txt")) == ["a fox"]
    assert texts(read(tmp_path / "[x]", "o*.txt")) == ["an owl"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "shift_jis", "cp1251"])
def test_a_text_is_read_in_the_encoding_that_the_spec_names(encoding, tmp_path, write):
    """CSV, lines and JSON; no sign but a line feed ends a line, and rows keep their numbers."""
    text = {"shift_jis": "犬が走る", "cp1251": "рыжая лиса", "cp1252": "a \x85 fox\u2026 café"}.get(
        encoding, "ein\u2028Käse 犬"
    )
    text = text.replace("\x85", "")
    write("a.csv", f'id,text\n1,"{text}"\n2,an owl\n'.encode(encoding))
    write("a.txt", f"{text}\r\nan owl\n".encode(encoding))
    write("a.json", f'[{{"text": "{text}"}}, {{"text": "an owl"}}]'.encode(encoding))
    for name, second in (("a.csv", 3), ("a.txt", 2), ("a.json", 2)):
        reading = read(tmp_path, name, encoding=encoding)
        assert texts(reading) == [text, "an owl"]
        assert reading.seeds[1].source == f"{name}:{second}"
    assert texts(read(tmp_path, "-", (tmp_path / "a.txt").read_bytes(), encoding=encoding)) == [text, "an owl"]


def test_a_text_that_is_not_in_its_encoding_is_one_sentence(tmp_path, write):
    """A byte that the named encoding has not stops the run as a byte that is not UTF-8 does, which names the key."""
    write("a.txt", b"a fox\n\x81\n")
    with pytest.raises(InputError, match=r"a\.txt: is not in the encoding set in its \[\[seeds\]\]: .*0x81"):
        read(tmp_path, "a.txt", encoding="cp1252")
    with pytest.raises(InputError, match=r'Set the encoding in its \[\[seeds\]\], such as encoding = "cp1252"'):
        read(tmp_path, "a.txt")


def test_reading_seeds_imports_nothing_heavy():
    """A project of JSONL files does not pay for pyarrow and datasets."""
    code = "import sys, synth.seeds; print(sorted({'pyarrow', 'datasets', 'pandas', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ROUND = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def shows(text: str) -> bool:
    """Whether a reader would see anything of it."""
    return any(unicodedata.category(letter) not in {"Cf", "Cc", "Zs", "Zl", "Zp"} for letter in text)


@ROUND
@given(given_texts=st.lists(ANY_TEXT.filter(shows), min_size=1, max_size=8, unique_by=str.strip))
@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.parquet"])
def test_whatever_is_written_is_read_back(tmp_path, name, given_texts):
    """Any text, with line ends, quotation marks and separators in it, survives JSONL, CSV and Parquet."""
    path = tmp_path / name
    if name.endswith("jsonl"):
        path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in given_texts))
    elif name.endswith("csv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["id", "text"], *(["1", text] for text in given_texts)])
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": given_texts}), path)
    reading = read(tmp_path, name)
    assert texts(reading) == [text.strip() for text in given_texts]
    assert reading.problems == []


@ROUND
@given(lines=st.lists(st.one_of(st.just(""), st.sampled_from(["a fox", "an owl"]), ANY_TEXT), min_size=1, max_size=12))
def test_every_line_is_a_seed_or_a_problem(tmp_path, lines):
    """For any file of lines the sum holds, and each problem names its own line."""
    lines = [line.replace("\n", " ") for line in lines]
    (tmp_path / "p.txt").write_bytes("".join(line + "\n" for line in lines).encode())
    if not any(map(shows, lines)):
        return
    reading = read(tmp_path, "p.txt")
    where = [seed.source for seed in reading.seeds] + [problem.where for problem in reading.problems]
    assert sorted(where) == sorted(f"p.txt:{at}" for at in range(1, len(lines) + 1))


def test_the_part_that_a_source_names_goes_with_its_seeds(tmp_path: Path) -> None:
    """`use = "test"` is told by every seed of the source, and changes no id: what was generated is still its own."""
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    plain, fixed = read(tmp_path, "a.txt"), read(tmp_path, "a.txt", use="test")
    assert [seed.meta for seed in plain.seeds] == [{}, {}]
    assert [seed.meta for seed in fixed.seeds] == [{"use": "test"}] * 2
    assert [seed.id for seed in plain.seeds] == [seed.id for seed in fixed.seeds]


def test_an_input_may_bring_what_a_person_answered(tmp_path: Path) -> None:
    """It stands with the seed and makes another one of it; an empty cell is none, and a project whose extra column has
    that name keeps it."""
    (tmp_path / "tickets.csv").write_text("body,label,reference\nit is late,delivery,r-1\nhello,,r-2\n")
    settings: dict[str, Any] = {"columns": {"text": "body"}}
    late, hello = read(tmp_path, "tickets.csv", **settings, reference="label").seeds
    assert (late.reference, hello.reference) == ("delivery", None)
    plain = read(tmp_path, "tickets.csv", **settings).seeds
    assert [seed.id == same.id for seed, same in zip((late, hello), plain, strict=True)] == [False, True]
    extra = read(tmp_path, "tickets.csv", columns={"text": "body", "reference": "reference"}).seeds[0]
    assert (extra.reference, extra.columns) == (None, {"reference": "r-1"})
    with pytest.raises(InputError, match="there is no column 'lable'"):
        read(tmp_path, "tickets.csv", **settings, reference="lable")
    for wrong in ({"kind": "pair", "reference": "label"}, {"columns": {"reference": "x"}, "reference": "label"}):
        with pytest.raises(ValueError, match="reference"):
            SeedSource.model_validate({"path": "tickets.csv", **wrong})


def test_a_folder_of_texts_that_is_read_by_lines_is_noted(tmp_path: Path, write: Any) -> None:
    """A folder of letters gave hundreds of seeds of a line each, and nothing but the count of blank lines told so."""
    for name in "ab":
        write(f"{name}.txt", f"Dear {name},\n\nthe roof leaks.\n\nYours, {name}\n")
    notes = [note for note in read(tmp_path, "*.txt").notes if note.code == "lines"]
    assert [note.where for note in notes] == ["a.txt"]  # once, however many files there are
    assert 'for one seed per file add format = "document"' in notes[0].detail
    assert not read(tmp_path, "*.txt", format="document").notes
    write("c.txt", "a fox\nan owl\n\na hen\na cat\n")
    assert not read(tmp_path, "c.txt").notes


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (
            {"input": "{{ Sumary }}"},
            "Did you mean 'Summary'? Name the column in its [[seeds]], as in input = \"... {{ Summary }} ...\"",
        ),
        ({"input": "{{ part }}", "columns": {"part": "Componet/s"}}, 'as in columns = { part = "Component/s" }'),
        ({"input": "{{ Component }}"}, 'as in columns = { Component = "Component/s" } for the {{ Component }} of'),
        ({"columns": {"text": "Sumary"}}, 'as in columns = { text = "Summary" }'),
        ({"columns": {"text": "Summary"}, "reference": "Anser"}, 'as in reference = "Answer"'),
    ],
)
def test_a_column_that_is_not_there_is_named_where_the_spec_has_it(
    tmp_path: Path, write: Any, settings: Any, hint: str
) -> None:
    """Whatever was misspelt, `columns = { text = ... }` was suggested, which beside a template changes the input."""
    write("bugs.csv", "Summary,Component/s,Answer\nit crashes,login,sorry\n")
    with pytest.raises(InputError) as refused:
        read(tmp_path, "bugs.csv", **settings)
    assert hint in str(refused.value)


def test_rows_that_belong_together_share_a_group_and_nothing_else_changes(tmp_path: Path) -> None:
    """A group is known by a hash of its cell, across files and however deep it lies; it changes no id, an empty cell is
    no group, and a column that is not there is told with what may be meant."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    Path(tmp_path, "a.csv").write_text("text,thread\nfox,T 1\nowl,T 1\nlynx,\nhare,7\n")
    Path(tmp_path, "b.jsonl").write_text('{"text": "crane", "of": {"thread": 7}}\n')
    sources = [SeedSource(path="a.csv", group="thread"), SeedSource(path="b.jsonl", group="of.thread")]
    fox, owl, lynx, hare, crane = read_seeds(sources, tmp_path).seeds
    assert fox.meta == owl.meta != hare.meta == crane.meta
    assert lynx.meta == {}
    assert "T 1" not in fox.model_dump_json()
    plain = read_seeds([SeedSource(path="a.csv")], tmp_path).seeds
    assert [seed.id for seed in plain] == [seed.id for seed in (fox, owl, lynx, hare)]
    with pytest.raises(InputError, match=r"no column 'thred'.*group = \"thread\""):
        read_seeds([SeedSource(path="a.csv", group="thred")], tmp_path)
    pq.write_table(pa.table({"text": ["wren", "stork"], "thread": [7.0, float("nan")]}), tmp_path / "c.parquet")
    wren, stork = read_seeds([SeedSource(path="c.parquet", group="thread")], tmp_path).seeds
    assert wren.meta == hare.meta, "a number is a float where some rows have none"
    assert stork.meta == {}


def test_a_text_that_stands_alone_first_belongs_where_another_row_of_it_says(tmp_path: Path) -> None:
    """Drawn alone, it might come into the test beside rows of its group in training."""
    Path(tmp_path, "a.csv").write_text("text\nfox\n")
    Path(tmp_path, "b.csv").write_text("text,thread\nfox,1\nowl,1\nfox,2\n")
    fox, owl = read_seeds([SeedSource(path="a.csv"), SeedSource(path="b.csv", group="thread")], tmp_path).seeds
    assert (fox.source, fox.meta) == ("a.csv:2", owl.meta)
    assert "group" in owl.meta
