"""Tests of the lines around the rows of a CSV file: what is no row is reported, and what is one is never lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.spec import SeedSource
from synth.sources.rows import read_column_names
from synth.sources.seeds import SeedReading, read_seeds

QUESTIONS = [
    "Where is my parcel, please? Tracking says it was delivered.",
    "The kettle that I bought last week leaks at the bottom.",
    "I was charged twice for the same subscription this month.",
    "How can I change the delivery address of my order?",
    "The app crashes every time I open the invoice page.",
    "I would like to return the blue lamp because it flickers.",
]
TICKETS = "".join(f"{number},{text.replace(',', ';')},We look into it.\n" for number, text in enumerate(QUESTIONS))
REVIEWS = "".join(f"{text.replace(',', ';')},bad,{number}.50\n" for number, text in enumerate(QUESTIONS))
PLANTS = [f"{word},{'plant' if at % 2 else 'animal'},{at}\n" for at, word in enumerate(["dog", "rose", "cow", "oak"])]
SURVEY = 'Number,"What went wrong, and when?",Reply\n' + ",".join(3 * ['"{""ImportId"":""a""}"']) + "\n"


def read(folder: Path, content: str, **columns: str) -> SeedReading:
    (folder / "a.csv").write_text(content, encoding="utf-8")
    source = SeedSource(path="a.csv", kind="pair", columns=columns or {"input": "question", "output": "answer"})
    return read_seeds([source], folder)


@pytest.mark.parametrize(
    ("lines", "more"),
    [
        ("(no),(text),(text)\n", 1),
        ("int,text,€\n", 1),
        ("integer,string,string\n", 1),
        ("Nr.,Frage,Antwort\n", 1),
        ("番号,質問,回答\n", 1),
        (SURVEY, 2),
    ],
    ids=["brackets", "units", "types", "German", "Japanese", "Qualtrics"],
)
def test_a_second_line_of_headers_is_not_a_row(tmp_path: Path, lines: str, more: int) -> None:
    """Units, types, the names in another language, and the questions and ids of a survey were read as texts."""
    reading = read(tmp_path, f"id,question,answer\n{lines}{TICKETS}")
    assert len(reading.seeds) == len(QUESTIONS)
    assert [problem.what for problem in reading.problems] == ["title: the line is a second line of headers."] * more


@pytest.mark.parametrize(
    "line",
    ["1,Hi there,Hello\n", "n/a,Hi there,Hello\n", "x,Hi,\n", "7,Do you deliver to the islands?,No\n", "-,Hi,Ho\n"],
)
def test_a_short_first_row_is_a_row(tmp_path: Path, line: str) -> None:
    """A greeting or a missing number in the first row makes it no headers."""
    reading = read(tmp_path, f"id,question,answer\n{line}{TICKETS}", input="question", output="id")
    assert len(reading.seeds) == len(QUESTIONS) + 1


@pytest.mark.parametrize(
    ("headers", "line", "rows"),
    [
        ("question,answer", "Capital of Peru,Lima\n", "".join(f"{text},{at}\n" for at, text in enumerate(QUESTIONS))),
        (
            "id,question,answer",
            "admin,Hello there,Welcome\n",
            TICKETS.replace("\n", "\nE10")[:-3].replace("0,", "E1,", 1),
        ),
        ("id,question,answer", "unknown,My parcel,Wait\n", TICKETS),
        ("id,question,answer", "admin,My parcel?,Wait\n", TICKETS),
    ],
    ids=["two columns", "codes", "unknown", "a question"],
)
def test_a_word_above_numbers_need_not_be_a_header(tmp_path: Path, headers: str, line: str, rows: str) -> None:
    """A first answer that is the only word, a name above codes, or a short question was dropped."""
    reading = read(tmp_path, f"{headers}\n{line}{rows.replace(', please', ' please')}")
    assert not [problem for problem in reading.problems if problem.what.startswith("title")]


def test_rows_of_single_words_are_rows(tmp_path: Path) -> None:
    """In a table of words nothing tells a header from a row, even if its number is a word."""
    reading = read(tmp_path, "word,label,count\ncat,animal,few\n" + "".join(PLANTS), input="word", output="label")
    assert [seed.text for seed in reading.seeds] == ["cat", "dog", "rose", "cow", "oak"]


@pytest.mark.parametrize(
    "above",
    [
        "# Export of 2026-03-01, by Ann\n# open tickets only\n",
        "#made by tool v2\n",
        "## a, b, c\n# x\n",
        "# by Ann\n\n",
    ],
)
def test_comments_above_the_headers_are_skipped(tmp_path: Path, above: str) -> None:
    """A comment with a comma was read as the headers."""
    content = f"{above}id,question,answer\n{TICKETS}"
    reading = read(tmp_path, content)
    assert len(reading.seeds) == len(QUESTIONS)
    assert read_column_names(tmp_path / "a.csv") == ["id", "question", "answer"]


@pytest.mark.parametrize("header", ["#,question,answer\n", "#id,question,answer\n"])
def test_headers_may_begin_with_a_hash(tmp_path: Path, header: str) -> None:
    """A column of numbers is often called #, and some tools mark the line of headers as a comment."""
    assert len(read(tmp_path, f"{header}{TICKETS}").seeds) == len(QUESTIONS)


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("# id, question, answer", TICKETS),
        ("# of the ticket in CRM,question,answer", TICKETS),
        ("# text, answer", "Hello there,Good morning\nGood bye,See you\n"),
        ("#late again and nobody answers my calls", "".join(f'"{text}"\n' for text in QUESTIONS)),
    ],
    ids=["spaces", "a long name", "rows of words", "one column"],
)
def test_a_line_of_headers_with_a_hash_is_no_comment(tmp_path: Path, header: str, rows: str) -> None:
    """Spaces after the commas, or many words, made it a comment, and the first row became the headers."""
    (tmp_path / "a.csv").write_text(f"{header}\n{rows}", encoding="utf-8")
    assert read_column_names(tmp_path / "a.csv") == header.split(",")


def test_rows_may_begin_with_a_hash(tmp_path: Path) -> None:
    """Hashtags are texts."""
    reading = read(tmp_path, "text,label\n#refund please,a\n#late again,b\n", input="text", output="label")
    assert [seed.text for seed in reading.seeds] == ["#refund please", "#late again"]


@pytest.mark.parametrize(
    "line", ["Total,6,18.00\n", "Summe:,,18.00\n", "Итого,6 ,\n", "合计,,€18.00\n", "Grand total,,18\n"]
)
def test_a_last_line_of_totals_is_not_a_row(tmp_path: Path, line: str) -> None:
    """A number of rows became a label."""
    reading = read(tmp_path, f"review,label,amount\n{REVIEWS}{line}", input="review", output="label")
    assert len(reading.seeds) == len(QUESTIONS)
    assert [problem.what for problem in reading.problems] == ["title: the line adds up the rows above it."]


@pytest.mark.parametrize("line", ["Total,bad,1.50\n", "total nonsense,6,1.50\n", "Totally bad,6,\n"])
def test_a_last_row_that_mentions_a_total_is_a_row(tmp_path: Path, line: str) -> None:
    """A word among words, or a text, adds nothing up."""
    reading = read(tmp_path, f"review,label,amount\n{REVIEWS}{line}", input="review", output="label")
    assert len(reading.seeds) == len(QUESTIONS) + 1


def test_totals_in_the_middle_are_rows(tmp_path: Path) -> None:
    """Only the last line of a file can add up all others."""
    reading = read(tmp_path, f"review,label,amount\n{REVIEWS}Total,6,18.00\n{REVIEWS}", input="review", output="label")
    assert "Total" in [seed.text for seed in reading.seeds]


def test_texts_in_a_column_without_a_name_are_pointed_out(tmp_path: Path) -> None:
    """Merged cells leave columns without a name, which no spec can refer to; an index has none either, but no texts."""
    content = ",question,,answer\n" + "".join(f"{n},{text},see page {n} of it,Yes.\n" for n, text in enumerate("ab"))
    notes = [note.detail for note in read(tmp_path, content).notes if note.code == "unnamed"]
    assert notes == ["column 3 has no name, so it is not read, but it contains text: 'see page 0 of it...'"]


def test_a_single_object_over_several_lines_is_a_row(tmp_path: Path) -> None:
    """An export of one chat is an object, indented."""
    (tmp_path / "a.json").write_text('{\n "question": "Where is it?",\n "answer": "Here."\n}\n')
    assert read_column_names(tmp_path / "a.json") == ["question", "answer"]
    (seed,) = read_seeds([SeedSource(path="a.json", kind="pair")], tmp_path).seeds
    assert (seed.text, seed.reference) == ("Where is it?", "Here.")
