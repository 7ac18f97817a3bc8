"""Seeds: what is read, what is rejected, and that no row is lost on the way."""

from __future__ import annotations

import csv
import io
import json
import os
import re
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
from synth.sources import rows as seed_rows
from synth.sources.csv_rows import MAX_LINE_BYTES
from synth.sources.rows import read_column_names
from synth.sources.seeds import MAX_CHARS, SeedReading, read_seeds


def read(folder: Path, path: str, stdin: bytes | None = None, **settings: Any) -> SeedReading:
    """Read one source, and check on every call that rows in = seeds + problems."""
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


def test_jsonl_rows_become_seeds_with_their_line(tmp_path, write):
    """A seed carries its kind, its line and its source's licence. Its id is that of its text."""
    write("seeds.jsonl", '{"text": "a red fox", "id": 1}\n{"text": "an owl"}')
    reading = read(tmp_path, "seeds.jsonl", license="CC0-1.0")
    assert texts(reading) == ["a red fox", "an owl"]
    assert [seed.source for seed in reading.seeds] == ["seeds.jsonl:1", "seeds.jsonl:2"]
    assert {seed.license for seed in reading.seeds} == {"CC0-1.0"}
    assert reading.seeds[0].id == Seed(kind="input", text="a red fox", source="elsewhere").id


def test_unusable_rows_are_reported_by_line_and_the_rest_is_read(tmp_path, write):
    """Blank, duplicate, non-text, NUL, over-long and column-less rows are problems, and rows in = seeds + problems."""
    rows = ['{"text": "a red fox"}', "", '{"text": "  "}', '{"text": " a red fox "}', '{"text": 7}', '{"text": null}']
    rows += [
        '{"text": "a\\u0000b"}',
        '{"txt": "lost"}',
        '{"text": ["a", "b"]}',
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


def test_seed_of_the_maximum_length_is_read(tmp_path, write):
    """The bound on a seed's length is inclusive."""
    write("seeds.txt", "x" * MAX_CHARS)
    assert len(texts(read(tmp_path, "seeds.txt"))[0] or "") == MAX_CHARS


def test_the_same_text_under_two_licences_keeps_both(tmp_path, write):
    """Which licence applies is not for pairsmith to guess: the seed has all places and licences, and the conflict is
    reported."""
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
    """The same text in two files is one seed. The same text as an output seed is another one."""
    write("a.txt", "a fox\n")
    write("b.jsonl", '{"text": "a fox"}\n')
    sources = [SeedSource(path="a.txt"), SeedSource(path="b.jsonl"), SeedSource(path="a.txt", kind="output")]
    reading = read_seeds(sources, tmp_path)
    assert [(seed.kind, seed.source) for seed in reading.seeds] == [("input", "a.txt:1"), ("output", "a.txt:1")]
    assert reading.problems == [("b.jsonl:1", "duplicate", "the same text as a.txt:1.")]
    assert reading.rows_in == 3


@pytest.mark.parametrize("first", [None, "train", "validation"])
def test_a_text_in_two_sources_stays_in_the_test_set(tmp_path, write, first):
    """In any order of the sources: a test set that lost the texts that also occur in training would shrink unseen."""
    write("s.txt", "a fox\na hen\n")
    write("t.txt", "a fox\n")
    ours, test = SeedSource(path="s.txt", use=first), SeedSource(path="t.txt", use="test")
    for sources in ([ours, test], [test, ours]):
        reading = read_seeds(sources, tmp_path)
        assert {seed.text: seed.meta.get("use") for seed in reading.seeds} == {"a fox": "test", "a hen": first}
        assert len(reading.problems) == 1
    named = read_seeds([ours, test], tmp_path).problems[0].what
    assert named == "duplicate: the same text as s.txt:1, which therefore belongs to the test set."


@pytest.mark.parametrize(
    ("line", "column"),
    [('{"text": "a fox"', 17), ('{"text": "é", }', 13), ('{"text": "a" "b": 1}', 14)],
)
def test_a_broken_json_line_stops_the_run_naming_line_and_column(tmp_path, write, line, column):
    """A broken line is never skipped: one clear error stops the run before any money is spent."""
    write("seeds.jsonl", f'{{"text": "fine"}}\n{line}\n{{"text": "fine too"}}\n')
    with pytest.raises(InputError, match=rf"^seeds\.jsonl:2: is not valid JSON at column {column}: "):
        read(tmp_path, "seeds.jsonl")


def test_json_array_is_not_reported_as_a_broken_line(tmp_path, write):
    """A JSON file with the extension of JSONL gets its own error message."""
    write("seeds.jsonl", '[{"text": "a fox"}]')
    with pytest.raises(InputError, match=r"seeds\.jsonl:1: is a JSON list, not an object"):
        read(tmp_path, "seeds.jsonl")


@pytest.mark.parametrize("name", ["seeds.jsonl", "seeds.csv", "seeds.parquet"])
def test_wrong_column_lists_the_columns_and_the_closest_match(tmp_path, write, name):
    """The error for a wrong column shows the fix, whatever the format."""
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
def test_default_column_is_text_or_the_kind(tmp_path, write, kind):
    """A file whose column is named after the kind of its seeds needs no mapping. `text` wins if both exist."""
    write("a.csv", f"id,{kind}\n1,a fox\n")
    write("b.csv", f"{kind},text\nno,a fox\n")
    assert texts(read(tmp_path, "a.csv", kind=kind)) == texts(read(tmp_path, "b.csv", kind=kind)) == ["a fox"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_separator_is_detected(tmp_path, write, separator):
    """Comma, semicolon and tab are detected from the header, even if the texts are full of the others."""
    write(
        "seeds.csv", separator.join(["id", "text"]) + "\r\n" + separator.join(["1", '"a fox, an owl; a\tcat"']) + "\r\n"
    )
    reading = read(tmp_path, "seeds.csv")
    assert texts(reading) == ["a fox, an owl; a\tcat"]
    assert reading.seeds[0].source == "seeds.csv:2"


def test_csv_rows_are_named_by_the_line_they_start_on(tmp_path, write):
    """A quoted text over several lines and blank lines do not shift the line numbers that an editor shows."""
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
    """It would silently swallow every row after it."""
    write("seeds.csv", 'text\na fox\n"an owl\na cat\na dog\n')
    with pytest.raises(InputError, match=r"seeds\.csv:3: is not valid CSV: "):
        read(tmp_path, "seeds.csv")


def test_a_long_cell_beside_the_text_does_not_matter(tmp_path, write):
    """Only the text's own length counts, although the csv module stops at 131,072 characters by default."""
    write("seeds.csv", f"text,body\na fox,{'x' * 200_000}\n")
    assert texts(read(tmp_path, "seeds.csv")) == ["a fox"]


def test_odd_headers_and_a_byte_order_mark_are_fixed_and_reported(tmp_path, write):
    """Case, spaces and a BOM cost no row, and the reading notes them."""
    write("seeds.csv", b"\xef\xbb\xbf Text ,ID,ID\r\na fox,1,2\r\n")
    reading = read(tmp_path, "seeds.csv")
    assert texts(reading) == ["a fox"]
    assert reading.notes == [
        ("seeds.csv:1", "bom", "a byte order mark was skipped."),
        ("seeds.csv:1", "header", "2 columns have the name 'ID'."),
        ("seeds.csv:1", "header", "the column ' Text ' was read as 'text'."),
    ]


def test_a_byte_order_mark_does_not_hide_that_a_line_is_too_long(tmp_path, write):
    """It counts as a part of the line, whose end was read as another row."""
    write("seeds.txt", b"a fox\n\xef\xbb\xbf" + b"x" * (MAX_LINE_BYTES - 1) + b"tail of it\na crab\n")
    reading = read(tmp_path, "seeds.txt")
    assert texts(reading) == ["a fox", "a crab"]
    assert [(lost.where, lost.code) for lost in reading.problems] == [("seeds.txt:2", "long")]


@pytest.mark.parametrize("header", ["text,id,text", "Text,id,TEXT"])
def test_two_columns_of_the_requested_name_are_refused(tmp_path, write, header):
    """Which of them has the seeds would be a guess."""
    write("seeds.csv", f"{header}\na,b,c\n")
    with pytest.raises(InputError, match="columns 1 and 3 have the same name 'text'"):
        read(tmp_path, "seeds.csv")


def test_document_format_reads_a_file_as_one_seed(tmp_path, write):
    r"""A folder of letters gives one seed per letter. Paragraphs are kept, and Windows line ends become `\n`."""
    write("a.txt", "Dear Ann,\r\n\r\nYou may go home.\r\n")
    write("c.txt", "Dear Bob,\nnot yet.".encode("utf-16"))
    write("d.md", "\ufeffDear Cleo,\nsoon.")
    reading = read(tmp_path, "[ad].*", kind="output", format="document")
    assert texts(reading) == ["Dear Ann,\n\nYou may go home.", "Dear Cleo,\nsoon."]
    assert [seed.source for seed in reading.seeds] == ["a.txt:1", "d.md:1"]
    assert texts(read(tmp_path, "c.txt", format="document", encoding="utf-16")) == ["Dear Bob,\nnot yet."]


def test_blank_document_among_many_is_reported_and_not_used(tmp_path, write):
    """One document that is blank or too long is reported and does not stop the others. It is an error if no document
    can be used, or if the only one is blank."""
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


def test_plain_text_is_one_seed_per_line(tmp_path, write):
    """Windows line ends and a missing last line end make no difference."""
    write("seeds.txt", b"a fox\r\n\r\n{an owl}\n  a cat  ")
    reading = read(tmp_path, "seeds.txt")
    assert texts(reading) == ["a fox", "{an owl}", "a cat"]
    assert reasons(reading) == {"seeds.txt:2": "blank"}


@pytest.mark.parametrize("unseen", ["\u200b", "\u200f\u200e", "\u00a0\ufeff", "\u2060"])
def test_invisible_text_is_blank(tmp_path, write, unseen):
    """Joiners or direction marks alone are no text to pay a teacher for. Within a text they stay."""
    write("seeds.txt", f"a fox\n{unseen}\n\u200f\u05e9\u05d5\u05e2\u05dc\n".encode())
    reading = read(tmp_path, "seeds.txt")
    assert texts(reading) == ["a fox", "\u200f\u05e9\u05d5\u05e2\u05dc"]
    assert reasons(reading) == {"seeds.txt:2": "blank"}


def test_line_ends_of_old_macs_are_reported(tmp_path, write):
    """Otherwise such a file would be read as one long seed."""
    write("seeds.txt", b"a fox\ran owl\ra cat\r")
    with pytest.raises(InputError, match=r"^seeds.txt:1: has a lone carriage return at the end of a line"):
        read(tmp_path, "seeds.txt")


def test_unused_rows_are_summed_up(tmp_path, write):
    """However long the file, a user sees at a glance how many rows were not used, and why."""
    write("seeds.txt", b"a fox\n\n\na fox\n")
    assert read(tmp_path, "seeds.txt").not_used == "3 of 4 rows are not used: blank 2, duplicate 1"
    write("seeds.txt", b"a fox\n")
    assert read(tmp_path, "seeds.txt").not_used == ""


@pytest.mark.parametrize("name", ["seeds.txt", "seeds.jsonl", "seeds.csv"])
def test_a_file_that_is_not_utf8_is_refused_at_its_byte(tmp_path, write, name):
    """A Latin-1 file is rejected with line and byte offset instead of being read as nonsense."""
    before = {"seeds.txt": b"", "seeds.jsonl": b'{"text": "a"}\n', "seeds.csv": b"text\n"}[name]
    bad = b'{"text": "caf\xe9"}' if name == "seeds.jsonl" else b"caf\xe9"
    write(name, before + bad + b"\n")
    line, offset = before.count(b"\n") + 1, (before + bad).index(b"\xe9")
    with pytest.raises(InputError, match=rf"^{name}:{line}: is not UTF-8: byte 0xe9 at offset {offset} ") as refused:
        read(tmp_path, name)
    assert "CP1254 for Turkish" in str(refused.value), "several encodings are suggested"


def test_utf16_is_recognised(tmp_path, write):
    """Spreadsheets save UTF-16 as "Unicode text". The message says which encoding to choose."""
    write("seeds.txt", "a fox\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"is UTF-16\. Save it as UTF-8"):
        read(tmp_path, "seeds.txt")


@pytest.mark.parametrize("name", ["seeds.txt", "seeds.csv", "seeds.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_utf16_and_utf32_without_a_byte_order_mark_are_recognised(tmp_path, write, name, encoding):
    """Databases export such files. "there is no column 'text'" would send the user to the spec."""
    write(name, '{"text": "a fox"}\n'.encode(encoding))
    with pytest.raises(InputError, match=rf"is {encoding[:6].upper()}\. Save it as UTF-8"):
        read(tmp_path, name)


@pytest.mark.parametrize("encoding", ["shift-jis", "gb18030", "cp1251", "euc-kr"])
def test_non_western_encodings_are_suggested(tmp_path, write, encoding):
    """Converted to UTF-8 as if it were WINDOWS-1252, the file would be read as nonsense without any error."""
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
    "Kunde;;\n",
    "Report of May;;\n;Kunde;\n",
]


@pytest.mark.parametrize("above", TITLES)
def test_title_above_the_header_is_skipped(tmp_path, write, above):
    """Reports exported from spreadsheets and databases begin with a title of one or several lines, with empty cells or
    no separators. Each of these lines is reported."""
    write("seeds.csv", above + "Nr;Anfrage;Kanal\n1;Wo ist mein Paket?;Mail\n;;\n2;Geht das auch heute?;\n")
    assert read_column_names(tmp_path / "seeds.csv") == ["Nr", "Anfrage", "Kanal"]
    reading = read(tmp_path, "seeds.csv", columns={"text": "Anfrage"})
    assert [seed.text for seed in reading.seeds] == ["Wo ist mein Paket?", "Geht das auch heute?"]
    assert set(reasons(reading).values()) == {"title", "blank"}


def test_the_separator_fits_the_rows(tmp_path, write):
    """With as many commas as semicolons in the headers, the commas won, and texts were cut in two."""
    header = "Datum;Nachricht, Text, lang;Antwort"
    write("seeds.csv", "\n".join([header, *(f"{n}.5.;Wo ist {n}, und wann, bitte?;Hier, bald." for n in range(20))]))
    assert read_column_names(tmp_path / "seeds.csv") == header.split(";")
    columns = {"input": "Nachricht, Text, lang", "output": "Antwort"}
    reading = read(tmp_path, "seeds.csv", kind="pair", columns=columns)
    assert (len(reading.seeds), reading.problems) == (20, [])


def test_repeated_headers_are_no_row(tmp_path, write):
    """A file that was joined from several has their headers in the middle, which were learned as a pair."""
    write("seeds.csv", "question,answer\nWhere is it?,Here.\nquestion,answer\nAnd this?,There.\n")
    reading = read(tmp_path, "seeds.csv", kind="pair")
    assert [seed.text for seed in reading.seeds] == ["Where is it?", "And this?"]
    assert set(reasons(reading).values()) == {"title"}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("text;;\na;b;\n", ["text", "", ""]),
        ("wort;;\neins;;\nzwei;;\n", ["wort", "", ""]),
        ("a;b\n;\n", ["a", "b"]),
        (";wort\n0;eins\n1;zwei\n", ["", "wort"]),
        ("Kunde;;;Amt;\nNr.;Datum;Frage;Art;Euro\n1;2;a;b;3\n", ["Nr.", "Datum", "Frage", "Art", "Euro"]),
        ("Kunde;;;Amt;\n1;2;a;b;3\n", ["Kunde", "", "", "Amt", ""]),
        ("text;;;note\nan owl;a;b;sees all\n", ["text", "", "", "note"]),
        ("Report of May;;;\ntext;;;note\nan owl;a;b;sees all\n", ["text", "", "", "note"]),
        (";;Frage;Amt\nx;y;Wo ist es;Bad\n", ["", "", "Frage", "Amt"]),
        ("Report;\n;wort\n0;eins\n1;zwei\n", ["", "wort"]),
        ("idea\na lighthouse, at dusk\ntwo goats, on a roof\n", ["idea"]),
        ("idea\ngoats,roofs\ntwo goats and, well, a roof\n", ["idea"]),
        ("text\nred,green\nblue,white\n", ["text"]),
        ("word\nlamp\nred,green\nblue,white\n", ["word"]),
        ("idea\n", ["idea"]),
        ("Report of May\na,b\n", ["Report of May"]),
    ],
)
def test_header_with_empty_cells_is_a_header(tmp_path, write, content, names):
    """A spreadsheet also exports its empty columns, and a data frame of one column has an unnamed index: the line with
    the requested column, or the only filled one, is the header. A line of merged cells above names is none, unless it
    has a known column, below a title too. A single column of texts with commas has no title above it."""
    write("seeds.csv", content)
    assert read_column_names(tmp_path / "seeds.csv") == names


@pytest.mark.parametrize("name", ["seeds.jsonl", "seeds.csv", "seeds.txt"])
def test_a_line_too_long_for_memory_is_skipped_and_counted(tmp_path, write, name, monkeypatch):
    """An endless line is never held in memory as a whole, and the line after it has the right number."""
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
    """An empty seed file is an error, not a run over nothing."""
    write(name, content)
    with pytest.raises(InputError, match=r"has no rows|can(not)? be used"):
        read(tmp_path, name)


def test_a_file_with_rows_but_no_text_is_refused_with_its_first_fault(tmp_path, write):
    """A column of numbers stops the run with an explanation, instead of leaving nothing to do."""
    write("s.jsonl", '\n{"text": 1}\n{"text": 2}\n')
    with pytest.raises(InputError, match=r"s\.jsonl:1: none of its 3 rows can be used; the first: blank"):
        read(tmp_path, "s.jsonl")


def test_missing_file_suggests_the_closest_name(tmp_path, write):
    """A typo in a path gets the intended file as a suggestion."""
    write("seeds.jsonl", '{"text": "a"}')
    with pytest.raises(InputError, match=r"^seed\.jsonl: these seeds do not exist\. Did you mean 'seeds\.jsonl'"):
        read(tmp_path, "seed.jsonl")
    with pytest.raises(InputError, match=r'do not exist.*For a dataset on the hub add format = "hub"'):
        read(tmp_path, "nowhere/seeds")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("logs/seeds.jsonl", "Did you mean 'log/seeds.jsonl'?"),
        ("Log/Seed.jsonl", "Did you mean 'log/Seed.jsonl'?"),
        ("./log/seed.jsonl", "Did you mean 'log/seeds.jsonl'?"),
        ("nowhere/seeds.jsonl", "There is no folder 'nowhere' in "),
        ("log/seeds.jsonl/x", "There is no folder 'seeds.jsonl' in "),
        ("log\\seeds.jsonl", r"Write / between folders: \ separates none here"),
        ("log\tickets.jsonl", r"Write / between folders: \ separates none here"),
        ("~/seeds.csv", "'~' and variables are not expanded"),
        ("https://example.com/a.csv", "Addresses are not downloaded"),
    ],
)
def test_missing_path_says_what_may_have_been_meant(tmp_path: Path, write: Any, path: str, hint: str) -> None:
    """A misspelt folder is corrected in its place; what other systems and shells allow in a path is explained."""
    (tmp_path / "log").mkdir()
    write("log/seeds.jsonl", '{"text": "a"}')
    with pytest.raises(InputError, match=f"these seeds do not exist.*{re.escape(hint)}"):
        read(tmp_path, path)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_name_with_separate_accents_is_found(tmp_path: Path, forms: tuple[str, str]) -> None:
    """An archive from macOS may hold `ü` as two characters: the path in the spec, which looks the same, leads to it."""
    stored = unicodedata.normalize(forms[1], "Prüfungen/März.jsonl")
    (tmp_path / stored).parent.mkdir()
    (tmp_path / stored).write_text('{"text": "a fox"}\n')
    for path in ("Prüfungen/*.jsonl", "Prüfungen/M*z.jsonl", "Prüfungen/März.jsonl"):
        assert [one.source for one in read(tmp_path, unicodedata.normalize(forms[0], path)).seeds] == [f"{stored}:1"]


def test_header_with_separate_accents_is_found(tmp_path: Path, write: Any) -> None:
    """Likewise a column of such a file."""
    write("a.csv", unicodedata.normalize("NFD", "Prüfung,b\na fox,1\n"))
    assert texts(read(tmp_path, "a.csv", columns={"text": unicodedata.normalize("NFC", "Prüfung")})) == ["a fox"]


def test_unknown_extension_asks_for_the_format(tmp_path, write):
    """The format of a file is never guessed. Setting it is enough."""
    write("seeds.data", '{"text": "a fox"}')
    with pytest.raises(InputError, match=r"cannot be determined from the file extension '\.data'"):
        read(tmp_path, "seeds.data")
    assert texts(read(tmp_path, "seeds.data", format="jsonl")) == ["a fox"]


def test_the_command_that_converts_yaml_writes_rows_that_are_read(tmp_path: Path) -> None:
    """YAML was refused with the advice to give it the extension of its format, under which it cannot be read either."""
    (tmp_path / "quests.yaml").write_text("- text: Bring 3 Emberroot to Orla.\n  day: 2026-12-02\n- text: Żółw\n")
    with pytest.raises(InputError, match="is YAML") as error:
        read(tmp_path, "quests.yaml")
    command = str(error.value.fix).split("`")[1].replace("python -c", f"{sys.executable} -c")
    subprocess.run(command.replace("FILE", "quests.yaml"), shell=True, check=True, cwd=tmp_path)
    assert texts(read(tmp_path, "rows.json")) == ["Bring 3 Emberroot to Orla.", "Żółw"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.xlsx", b"PK\x03\x04", r"is a spreadsheet.*as \"CSV UTF-8\".*pandas\.read_excel"),
        ("s.zip", b"PK\x03\x04", r"is compressed.*Unpack it"),
        ("s.csv", b"PK\x03\x04\x14\x00", r"is a spreadsheet or an archive"),
        ("s.jsonl", b"\x1f\x8b\x08", r"is compressed"),
        (
            "s.csv",
            b"\xef\xbb\xbf<!DOCTYPE html>\n<title>Sign in</title>\n</html>\n",
            r"is a web page.*download it again",
        ),
        ("s.jsonl", b"<html><body>\nSign in\n</body></html>\n", r"is a web page"),
        ("s.csv", b"\n \n<!doctype html>\n<html>\nSign in\n</html>\n", r"is a web page"),
        (
            "s.csv",
            b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"\n  "http://www.w3.org">\n',
            r"is a web page",
        ),
        ("s.csv", b"%PDF-1.7\r%\xe2\xe3\xcf\xd3\r\n1 0 obj\n", r"is a formatted document"),
        ("s.csv", b"%PDF-1.4\n1 0 obj\n", r"is a formatted document.*as plain text"),
        ("s.tsv", b"{\\rtf1\\ansi Hello there\\par\n}", r"is a formatted document"),
        ("s.csv", b"text,label\ra fox,x\ran owl,y\r", r"s\.csv:1: has a lone carriage return.*CSV UTF-8"),
        ("s.jsonl", b'[\n {"text": "a fox"}\n]\n', r"Write each object on one line; for a JSON list use the extension"),
        ("s.jsonl", b'{\n "text": "a fox"\n}\n', r"Write each object on one line"),
    ],
)
def test_unsupported_file_says_how_to_save_it(tmp_path, write, name, content, message):
    """A file that is not text, or has other line ends, is never reported as an unclosed quotation mark or an empty
    file."""
    write(name, content)
    with pytest.raises(InputError, match=message):
        read(tmp_path, name)
    with pytest.raises(InputError, match=message):
        read_column_names(tmp_path / name)


@pytest.mark.parametrize(
    "first",
    [
        "<html> or <!DOCTYPE html>: which comes first?",
        "<html lang> and xml:lang differ how?",
        "<!DOCTYPE html> is missing from my page",
        "%PDF-1.7 is in the first line, and then nothing",
        "{\\rtf1 is how it begins, so what is it?",
        "<p>A <b>fox</b></p>",
        "<?xml version='1.0'?><note>A fox</note>",
    ],
)
def test_a_sentence_about_markup_is_a_text(tmp_path, write, first):
    """A list of questions was refused as a web page because its first one began with a tag."""
    write("s.txt", f"{first}\nan owl\n")
    assert texts(read(tmp_path, "s.txt")) == [first, "an owl"]


@pytest.mark.parametrize("page", ["<!DOCTYPE html>\n<html>\n<p>A fox</p>\n</html>", "{\\rtf1\\ansi A fox\n}"])
def test_a_page_is_a_text_where_the_whole_file_is_one(tmp_path, write, page):
    """Folders of web pages to summarize were refused."""
    write("s.html", page)
    assert texts(read(tmp_path, "s.html", format="document")) == [page]


def test_whole_pages_in_a_line_each_are_texts(tmp_path, write):
    """Who teaches a model to write pages has one in each line."""
    write("s.txt", "<!DOCTYPE html><html><p>One</p></html>\n<html><p>Two</p></html>\n")
    assert len(texts(read(tmp_path, "s.txt"))) == 2


@pytest.mark.parametrize("name", ["s.jsonl", "s.json"])
def test_non_strict_json_of_python_costs_only_the_affected_text(tmp_path, write, name):
    """NaN in an unused column costs nothing. Half of a surrogate pair costs the row that has it in its text."""
    rows = [{"text": "a fox", "score": float("nan")}, {"text": "half \ud83d", "score": 1}, {"text": "an owl"}]
    write(name, json.dumps(rows) if name == "s.json" else "\n".join(map(json.dumps, rows)))
    reading = read(tmp_path, name)
    assert texts(reading) == ["a fox", "an owl"]
    assert reasons(reading) == {f"{name}:2": "surrogate"}


@pytest.mark.slow
def test_folder_instead_of_a_file_is_refused(tmp_path):
    """A folder gives an error with the pattern to use, not a traceback."""
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match=r'is a folder, not a jsonl file.*path = "data/\*\.txt"'):
        read(tmp_path, "data", format="jsonl")
    with pytest.raises(InputError, match=r"is not a folder saved by `datasets`.*path = \"\w+/\*\.\w+\""):
        read(tmp_path, "data")


def test_limit_counts_seeds_and_leaves_the_rest_unread(tmp_path, write):
    """The first `limit` usable rows are taken. A broken line after them is not read."""
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
    """A `{` means JSONL and anything else plain text, unless the spec sets a format."""
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
    """Nulls and non-text cells are problems with their row number, across batches and row groups."""
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
    """Neither a text file with that extension nor strings that are not UTF-8 pass as seeds."""
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


@pytest.mark.slow
def test_a_datasets_folder_is_read_with_and_without_splits(tmp_path):
    """A saved Dataset is read as it is. If it has several splits, one must be chosen."""
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
from synth.sources.seeds import read_seeds
try:
    reading = read_seeds([SeedSource(path=sys.argv[1], format="hub")], Path("."))
    print(reading)
except InputError as error:
    print("InputError", error)
"""


@pytest.mark.slow
def test_unreachable_hub_is_one_error_without_a_traceback(tmp_path):
    """A hub that is out of reach gives an InputError and no traceback."""
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
    """The library that reads hub ids also accepts a local folder of data files, so the real reader runs without a
    hub."""
    (tmp_path / "repo").mkdir()
    write("repo/train.jsonl", '{"text": "a fox"}\n{"text": "an owl"}\n{"text": "a cat"}\n')
    write("repo/test.jsonl", '{"text": "a dog"}\n')
    source = {"format": "hub", "limit": 2}
    reading = read(tmp_path, str(tmp_path / "repo"), **source)
    assert texts(reading) == ["a fox", "an owl"]
    assert "the split 'train' was read" in reading.notes[0].what
    assert texts(read(tmp_path, str(tmp_path / "repo"), split="test", **source)) == ["a dog"]


@pytest.mark.slow
def test_hub_dataset_configuration_is_chosen_with_config(tmp_path, write):
    """For a dataset of several configurations the error lists them, and `config` reads one."""
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
def test_keys_without_effect_for_a_format_are_refused(settings):
    """A key that would be ignored is an error in the spec, and so is an unknown encoding."""
    with pytest.raises(ValueError, match=r"'(config|revision|encoding|klingon|base64)'"):
        SeedSource(**settings)


def test_pattern_reads_its_files_in_order_and_sources_name_the_file(tmp_path, write):
    """Duplicates, problems and `limit` are counted over all matching files. Folders are skipped."""
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


def test_file_matched_twice_by_a_pattern_is_read_once(tmp_path, write):
    """A file reached twice, through a link to the folder above or by two ways to match the pattern, is read once, under
    its shortest name."""
    (tmp_path / "logs" / "old").mkdir(parents=True)
    (tmp_path / "logs" / "again").symlink_to(".")
    write("logs/b.txt", "an owl\n")
    write("logs/old/a.txt", "a fox\n")
    for path in ("logs/**/*.txt", "logs/**/**/*.txt"):
        reading = read(tmp_path, path)
        assert [seed.source for seed in reading.seeds] == ["logs/b.txt:1", "logs/old/a.txt:1"]
        assert reading.rows_in == 2


def test_a_file_may_have_a_name_that_looks_like_a_pattern(tmp_path, write):
    """A file of exactly that name is read, also in a folder whose name looks like a pattern."""
    (tmp_path / "[x]").mkdir()
    write("[x]/what? [1].txt", "a fox\n")
    write("[x]/one.txt", "an owl\n")
    assert texts(read(tmp_path / "[x]", "what? [1].txt")) == ["a fox"]
    assert texts(read(tmp_path / "[x]", "o*.txt")) == ["an owl"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "shift_jis", "cp1251"])
def test_a_text_is_read_in_the_encoding_that_the_spec_names(encoding, tmp_path, write):
    """CSV, text and JSON are read in the encoding of the spec. Only a line feed ends a line, and rows keep their
    numbers."""
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


def test_text_not_in_its_encoding_is_one_error(tmp_path, write):
    """A byte that the configured encoding does not have stops the run, as one that is not UTF-8 does. The message for
    the latter names the key."""
    write("a.txt", b"a fox\n\x81\n")
    with pytest.raises(InputError, match=r"a\.txt: is not in the encoding set in its \[\[seeds\]\]: .*0x81"):
        read(tmp_path, "a.txt", encoding="cp1252")
    with pytest.raises(InputError, match=r'Set the encoding in its \[\[seeds\]\], such as encoding = "cp1252"'):
        read(tmp_path, "a.txt")


@pytest.mark.slow
def test_reading_seeds_imports_nothing_heavy():
    """A project with JSONL files does not pay for importing pyarrow and datasets."""
    code = (
        "import sys, synth.sources.seeds; print(sorted({'pyarrow', 'datasets', 'pandas', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
ROUND_TRIP = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)


def is_visible(text: str) -> bool:
    """Whether any of the text would be visible to a reader."""
    return any(unicodedata.category(letter) not in {"Cf", "Cc", "Zs", "Zl", "Zp"} for letter in text)


@pytest.mark.slow
@ROUND_TRIP
@given(given_texts=st.lists(ANY_TEXT.filter(is_visible), min_size=1, max_size=8, unique_by=str.strip))
@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.parquet"])
def test_written_texts_are_read_back(tmp_path, name, given_texts):
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


@ROUND_TRIP
@given(lines=st.lists(st.one_of(st.just(""), st.sampled_from(["a fox", "an owl"]), ANY_TEXT), min_size=1, max_size=12))
def test_every_line_is_a_seed_or_a_problem(tmp_path, lines):
    """For any file of lines the sum holds, and each problem has its own line number."""
    lines = [line.replace("\n", " ") for line in lines]
    (tmp_path / "p.txt").write_bytes("".join(line + "\n" for line in lines).encode())
    if not any(map(is_visible, lines)):
        return
    reading = read(tmp_path, "p.txt")
    where = [seed.source for seed in reading.seeds] + [problem.where for problem in reading.problems]
    assert sorted(where) == sorted(f"p.txt:{at}" for at in range(1, len(lines) + 1))


def test_use_of_a_source_is_set_on_its_seeds(tmp_path: Path) -> None:
    """Every seed of the source carries `use = "test"`. Ids do not change, so what was generated still belongs to its
    seed."""
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    plain, fixed = read(tmp_path, "a.txt"), read(tmp_path, "a.txt", use="test")
    assert [seed.meta for seed in plain.seeds] == [{}, {}]
    assert [seed.meta for seed in fixed.seeds] == [{"use": "test"}] * 2
    assert [seed.id for seed in plain.seeds] == [seed.id for seed in fixed.seeds]


def test_input_may_have_a_reference_answer(tmp_path: Path) -> None:
    """A reference is stored with its seed and changes its id. An empty cell is no reference, and a project that maps an
    extra column of that name keeps it."""
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


def test_folder_of_texts_read_line_by_line_gets_a_note(tmp_path: Path, write: Any) -> None:
    """A folder of letters used to give hundreds of one-line seeds, with only the count of blank lines as a hint."""
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
def test_missing_column_error_shows_the_key_of_the_spec(tmp_path: Path, write: Any, settings: Any, hint: str) -> None:
    """The fix names the key that has the misspelt column. It used to be `columns = { text = ... }` in any case, which
    changes the input if there is a template."""
    write("bugs.csv", "Summary,Component/s,Answer\nit crashes,login,sorry\n")
    with pytest.raises(InputError) as refused:
        read(tmp_path, "bugs.csv", **settings)
    assert hint in str(refused.value)


def test_rows_of_a_group_share_its_hash_and_keep_their_ids(tmp_path: Path) -> None:
    """A group is identified by a hash of its cell, across files and at any depth of a JSON row. Ids do not change, an
    empty cell is no group, and a missing column is an error with a suggestion."""
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
    assert wren.meta == hare.meta, "integers are floats in a column with missing values"
    assert stork.meta == {}


def test_text_first_seen_without_a_group_takes_the_group_of_its_duplicate(tmp_path: Path) -> None:
    """Without the group, the row could be drawn into the test split while other rows of its group are in training."""
    Path(tmp_path, "a.csv").write_text("text\nfox\n")
    Path(tmp_path, "b.csv").write_text("text,thread\nfox,1\nowl,1\nfox,2\n")
    fox, owl = read_seeds([SeedSource(path="a.csv"), SeedSource(path="b.csv", group="thread")], tmp_path).seeds
    assert (fox.source, fox.meta) == ("a.csv:2", owl.meta)
    assert "group" in owl.meta
