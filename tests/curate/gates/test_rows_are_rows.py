"""The rows on which gates are measured: handwritten by an author who had not seen the gates.

`language` is that of the input, and also of the output unless the row is a translation.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import jsonschema
import pytest

Row = dict[str, Any]

KINDS = {"rewrite", "reply", "classify", "extract", "translate", "free"}
ASKED = {"classify": "labels", "extract": "schema", "translate": "to"}
MOST_ALIKE = 0.6
DEFECTS = {
    "thinking-block",
    "untagged-thinking",
    "placeholder",
    "options",
    "preamble",
    "afterword",
    "prompt-leak",
    "special-tokens",
    "code-fence",
    "cut-off",
    "truncated-table",
    "refusal",
    "invented-number",
    "invented-date",
    "invented-name",
    "invented-contact",
    "swapped-numbers",
    "flipped-negation",
    "lost-condition",
    "lost-content",
    "obeyed-injection",
    "answered-not-rewritten",
    "echo",
    "repetition",
    "mojibake",
    "mixed-language",
    "wrong-language",
    "broken-json",
    "json-invented-value",
    "label-not-in-list",
    "pii-leak",
    "toxic-insert",
}


def _rows(name: str) -> list[Row]:
    with (Path(__file__).parents[1] / "rows" / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


GOOD, BAD = _rows("good"), _rows("bad")


def _fits(value: str, schema: Row) -> bool:
    try:
        jsonschema.validate(json.loads(value), schema)
    except (json.JSONDecodeError, jsonschema.ValidationError):
        return False
    return True


@pytest.mark.parametrize(("rows", "extra"), [(GOOD, set()), (BAD, {"defect"})], ids=["good", "bad"])
def test_every_row_has_its_fields(rows: list[Row], extra: set[str]) -> None:
    """A row has its texts, language and domain, the fields of its kind, and nothing else."""
    for row in rows:
        assert row["kind"] in KINDS
        asked = {ASKED[row["kind"]]} if row["kind"] in ASKED else set()
        assert set(row) == {"kind", "language", "domain", "input", "output"} | asked | extra, row
        assert all(row[field].strip() for field in ("language", "domain", "input", "output")), row
        assert len(row["language"]) == 2


def test_no_two_rows_are_similar() -> None:
    """No row is a slight variation of another: the character 5-grams of any two outputs overlap by less than 60 %.

    Many rows rightly share a label as the output, so rows of `classify` are compared by their input.
    """
    texts = [row["input" if row["kind"] == "classify" else "output"].lower() for row in chain(GOOD, BAD)]
    grams = sorted(({text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in texts), key=len)
    for i, small in enumerate(grams):
        for large in grams[i + 1 :]:
            if len(small) < MOST_ALIKE * len(large):
                break  # sorted by size: the rest is larger still, and cannot share enough
            shared = len(small & large)
            assert shared < MOST_ALIKE * (len(small) + len(large) - shared), sorted(small & large)[:20]


def test_good_rows_cover_languages_domains_and_kinds() -> None:
    """At least 320 good rows: 12 languages with 10 rows each, 20 domains, every kind, about half of them rewrites."""
    assert len(GOOD) >= 320
    languages, kinds = Counter(row["language"] for row in GOOD), Counter(row["kind"] for row in GOOD)
    assert len([language for language, count in languages.items() if count >= 10]) >= 12
    assert 0.4 <= languages["en"] / len(GOOD) <= 0.5
    assert len({row["domain"] for row in GOOD}) >= 20
    assert set(kinds) == KINDS
    assert 0.4 <= kinds["rewrite"] / len(GOOD) <= 0.6
    assert min(kinds.values()) >= 20


def test_good_rows_come_in_every_length() -> None:
    """Short notes become whole letters and long texts become a title, so length alone reveals nothing about a good
    row."""
    rewrites = [row for row in GOOD if row["kind"] == "rewrite"]
    assert len([row for row in GOOD if len(row["output"].split()) >= 200]) >= 8
    assert len([row for row in rewrites if len(row["output"]) > 4 * len(row["input"])]) >= 40
    assert len([row for row in rewrites if len(row["output"]) < len(row["input"])]) >= 20


def test_bad_rows_cover_kinds_of_defect_and_languages() -> None:
    """At least 150 bad rows: each kind of defect with four or more rows in three or more languages."""
    assert len(BAD) >= 150
    defects = Counter(row["defect"] for row in BAD)
    assert set(defects) == DEFECTS
    assert min(defects.values()) >= 4, defects
    languages = {defect: {row["language"] for row in BAD if row["defect"] == defect} for defect in defects}
    assert min(map(len, languages.values())) >= 3, languages
    assert min(defects["thinking-block"], defects["placeholder"]) >= 25
    assert len(languages["refusal"]) >= 10
    assert len(languages["preamble"] | languages["afterword"]) >= 10


def test_labels_json_and_echoes_are_as_declared() -> None:
    """Good labels are in the list and good JSON fits its schema; rows with a declared label, JSON or echo defect do
    have it."""
    for row in GOOD:
        assert row["kind"] != "classify" or row["output"] in row["labels"], row
        assert row["kind"] != "extract" or _fits(row["output"], row["schema"]), row
    for row in BAD:
        assert row["defect"] != "label-not-in-list" or row["output"] not in row["labels"], row
        assert row["defect"] != "broken-json" or not _fits(row["output"], row["schema"]), row
        assert row["defect"] != "json-invented-value" or _fits(row["output"], row["schema"]), row
        same = row["input"].casefold().rstrip(".") == row["output"].casefold().rstrip(".")
        assert same == (row["defect"] == "echo"), row
