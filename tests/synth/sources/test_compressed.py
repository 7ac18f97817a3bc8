"""Tests of files compressed with gzip, which are read like the files inside them wherever rows are read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.similarity.contamination import collect_held_out
from pairsmith.receipts import fingerprints
from pairsmith.user_file.guess import guess
from schemas.compressed import open_unpacked, unpack
from schemas.errors import InputError
from schemas.spec import SeedSource
from schemas.spec_file import parse
from synth import pairs
from synth.sources.seeds import read_seeds

ROWS = [("My kettle leaks at the bottom when it boils", "A new one leaves our warehouse today, free of charge.")] + [
    (f"Where is order {number} that was due last week", f"Parcel {number} is in Leeds and arrives tomorrow.")
    for number in range(5)
]
CSV = "question,answer\n" + "".join(f'"{question}","{answer}"\n' for question, answer in ROWS)
JSONL = "".join(json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in ROWS)
JSON = json.dumps([{"question": question, "answer": answer} for question, answer in ROWS])


@pytest.mark.parametrize(("name", "text"), [("a.csv", CSV), ("a.jsonl", JSONL), ("a.json", JSON), ("a.tsv", CSV)])
@pytest.mark.parametrize("pack", [gzip.compress, lambda content: content], ids=["packed", "unpacked by the browser"])
def test_a_compressed_file_is_read_like_the_one_inside(
    tmp_path: Path, name: str, text: str, pack: Callable[[bytes], bytes]
) -> None:
    """By a source of seeds, by `init --from` and in Python; the format is named by the ending before `.gz`."""
    path = tmp_path / f"{name}.gz"
    path.write_bytes(pack(text.encode()))
    guessed = guess(path)
    assert guessed.settings == {"columns": {"input": "question", "output": "answer"}}
    source = SeedSource(path=path.name, kind="pair", **guessed.settings)
    assert [(seed.text, seed.reference) for seed in read_seeds([source], tmp_path).seeds] == ROWS
    assert [(pair.input, pair.output) for pair in pairs(path)] == ROWS


def test_compressed_files_may_be_named_by_a_pattern_and_have_an_encoding(tmp_path: Path) -> None:
    """Numbers of lines are those of the file inside."""
    for number, text in enumerate(("text\nGrüße\n", "text\nMüller\n\u200b\n")):
        (tmp_path / f"{number}.csv.gz").write_bytes(gzip.compress(text.encode("utf-16")))
    reading = read_seeds([SeedSource(path="*.csv.gz", encoding="utf-16")], tmp_path)
    assert [seed.text for seed in reading.seeds] == ["Grüße", "Müller"]
    assert [problem.where for problem in reading.problems] == ["1.csv.gz:3"]


SPEC = """
[task]
name = "a"
style = "Short."
[[seeds]]
path = "seeds.txt"
[curate.contamination]
files = ["a.csv.gz"]
"""


def test_held_out_texts_may_be_compressed(tmp_path: Path) -> None:
    """Training rows are compared with them like with those of another file."""
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    assert {text for row in ROWS for text in row} <= set(
        collect_held_out(parse(SPEC, tmp_path).spec, tmp_path, []).texts
    )


DAMAGED = {
    "cut off": gzip.compress(CSV.encode() * 50)[:-20],
    "changed": gzip.compress(CSV.encode())[:40] + b"\0\0\0\0" + gzip.compress(CSV.encode())[44:],
    "no header": b"\x1f\x8b\x08",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """In a sentence, by each reader; none of them uses the rows before the damage."""
    (tmp_path / "a.csv.gz").write_bytes(content)
    source = SeedSource(path="a.csv.gz", kind="pair")
    spec = parse(SPEC, tmp_path).spec
    for read in (
        lambda: guess(tmp_path / "a.csv.gz"),
        lambda: read_seeds([source], tmp_path),
        lambda: collect_held_out(spec, tmp_path, []),
        lambda: unpack(content, "a.csv.gz", 10**9),
    ):
        with pytest.raises(InputError, match=r"a\.csv\.gz.*is compressed, but cannot be unpacked"):
            read()


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file may unpack to a thousand times its size; text never does."""
    monkeypatch.setattr("schemas.compressed._FREE", 1_000_000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text\n" + b"x" * 20_000_000))
    with pytest.raises(InputError, match="unpacks to more than"):
        read_seeds([SeedSource(path="a.csv.gz")], tmp_path)
    with pytest.raises(InputError, match="unpacks to more than"), open_unpacked(tmp_path / "a.csv.gz", "a") as file:
        file.read()


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    """Compressing a file, at another time or level, and whatever its name, makes nothing stale; a damaged file has one
    too."""
    path, prints = tmp_path / "a.csv.gz", []
    for content in (
        gzip.compress(CSV.encode(), 1, mtime=1),
        gzip.compress(CSV.encode(), 9, mtime=2),
        DAMAGED["cut off"],
    ):
        path.write_bytes(content)
        prints.append(fingerprints.of_path(path))
    (tmp_path / "a.csv").write_text(CSV)
    assert prints[0] == prints[1] == fingerprints.of_path(tmp_path / "a.csv") != prints[2]
    (tmp_path / "a.csv").write_bytes(gzip.compress(CSV.encode()))
    assert prints[0] == fingerprints.of_path(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.CSV.GZ"])
@pytest.mark.parametrize("content", [CSV.encode(), gzip.compress(CSV.encode())], ids=["plain", "packed"])
def test_an_upload_is_unpacked_whatever_its_name(name: str, content: bytes) -> None:
    """The ending `.gz` goes, in any case: the name that is left says the format."""
    stored, text = unpack(content, name, 10**6)
    assert (stored.lower(), text) == ("a.csv", CSV.encode())


def test_parquet_compresses_itself(tmp_path: Path) -> None:
    """A Parquet file in gzip, and an archive, are refused with what to do."""
    for name in ("a.parquet.gz", "a.gz", "a.zip"):
        (tmp_path / name).write_bytes(gzip.compress(b"PAR1"))
        with pytest.raises(InputError, match=r"is compressed.*Unpack it"):
            read_seeds([SeedSource(path=name)], tmp_path)
