"""Columns of the user's own files: which are read, what joins them, and the error if one is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from schemas.errors import InputError, PromptError
from schemas.records import Seed
from schemas.spec import SeedSource, Spec
from synth.generators import columns_of
from synth.sources.seeds import SeedReading, read_seeds

CSV = "Subject,body,product,note\nLeak,It drips,kettle,x\n,No power,lamp,\n"


def read(folder: Path, content: str | bytes, name: str = "seeds.csv", **settings: Any) -> SeedReading:
    """Read one source, and check on every call that rows in = seeds + problems."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    reading = read_seeds([SeedSource(path=name, **settings)], folder)
    assert reading.rows_in == len(reading.seeds) + len(reading.problems)
    return reading


def test_other_columns_stay_with_the_seed_under_the_names_of_the_spec(tmp_path):
    """Any name other than `text` is an extra column. An empty cell is an empty text, and every seed has every
    column."""
    reading = read(tmp_path, CSV, columns={"text": "body", "product": "product", "subject": "Subject"})
    assert [seed.text for seed in reading.seeds] == ["It drips", "No power"]
    assert [seed.columns for seed in reading.seeds] == [
        {"product": "kettle", "subject": "Leak"},
        {"product": "lamp", "subject": ""},
    ]


def test_a_seed_without_extra_columns_keeps_its_id(tmp_path):
    """Seeds that are read as before keep their ids. An extra column makes a different seed."""
    plain, with_product = (
        read(tmp_path, CSV, columns=columns).seeds[0]
        for columns in ({"text": "body"}, {"text": "body", "product": "product"})
    )
    assert plain.id == Seed(kind="input", text="It drips", source="elsewhere").id == "2fef1bafb67cdc22783fe6338f892d73"
    assert with_product.id != plain.id


def test_a_template_joins_columns_into_the_input(tmp_path):
    """Its variables are columns of the file, in any case, or names of `columns`. A blank one leaves no gap at the ends,
    and a row with only blank ones is blank."""
    content = CSV + " , ,radio,\n"
    reading = read(tmp_path, content, input="{{ subject }}\n\n{{ text_of }}", columns={"text_of": "body"})
    assert [seed.text for seed in reading.seeds] == ["Leak\n\nIt drips", "No power"]
    assert [problem.what.partition(":")[0] for problem in reading.problems] == ["blank"]
    assert [seed.columns for seed in reading.seeds] == [{"text_of": "It drips"}, {"text_of": "No power"}]


@pytest.mark.parametrize(
    ("cell", "template", "expected"),
    [
        ("false", "{{ body }}{% if ok %} Paid.{% endif %}", "x"),
        ("true", "{{ body }}{% if ok %} Paid.{% endif %}", "x Paid."),
        ("0", "{{ body }}{% if ok %} {{ ok }} left.{% endif %}", "x"),
        ("0.0", "{{ body }} {{ ok }}{% if not ok %} none{% endif %}", "x 0.0 none"),
        ("false", "{{ body }} {{ ok }} {{ 'no' if ok == false else 'yes' }}", "x false no"),
        ("false", "{{ body }} {{ 'no' if ok == 'false' else 'yes' }} {{ ok | upper }}", "x no FALSE"),
        ("12", "{{ body }}{% if ok > 9 and 9 < ok %} {{ ok }} items{% endif %}", "x 12 items"),
        ("20261127", "{{ body }} {{ ok[:4] }}", "x 2026"),
        ("null", "{{ body }}{% if ok %} {{ ok }}{% endif %}", "x"),
        ('"false"', "{{ body }}{% if ok %} {{ ok }}{% endif %}", "x false"),
    ],
)
def test_template_uses_json_cells_by_type_or_as_text(tmp_path: Path, cell: str, template: str, expected: str) -> None:
    """`false` and 0 are falsy, and a number is compared as one. Printed, sliced or compared with a text, it is its
    text."""
    reading = read(tmp_path, f'{{"body": "x", "ok": {cell}}}\n', "a.jsonl", input=template)
    assert [seed.text for seed in reading.seeds] == [expected], reading.problems


@pytest.mark.parametrize(
    ("template", "one", "two", "none"),
    [
        ("{{ body }}: {{ tags | join(', ') }}", "x: a dog", "x: a, b", "x:"),
        ("{{ body }}{% for tag in tags %} <{{ tag }}>{% endfor %}", "x <a dog>", "x <a> <b>", "x"),
        ("{{ body }} {{ tags | length }}", "x 1", "x 2", "x 0"),
        ("{{ body }} {{ tags[0][:3] }}{{ tags | last }}", "x a da dog", "x ab", None),
        ("{{ body }} {{ tags }}", "x a dog", None, "x"),
        (
            "{{ body }}{{ ' dog' if tags == 'a dog' }}{{ ' b' if 'b' in tags }} {{ tags[:1] }}",
            "x dog a dog",
            "x b a",
            "x",
        ),
        ("{{ body }} {{ tags | join | upper }}", "x A DOG", "x AB", "x"),
    ],
)
@pytest.mark.parametrize("path", [False, True])
def test_template_sees_a_list_of_texts_as_a_list(
    tmp_path: Path, template: str, one: str, two: str | None, none: str | None, path: bool
) -> None:
    """Also where a row's list has a single text, which was joined letter by letter, and at the end of a path. Several
    texts are never printed as a list: the row is a problem that says how to join them."""
    settings = {"input": template, **({"columns": {"tags": "tags.texts"}} if path else {})}
    for tags, expected in ((["a dog"], one), (["a", "b"], two), ([], none), (["", None], none)):
        rows = [
            {"body": body, "tags": {"texts": texts} if path else texts} for body, texts in (("x", tags), ("y", ["k"]))
        ]
        reading = read(tmp_path, b"\n".join(map(orjson.dumps, rows)), "a.jsonl", **settings)
        assert [seed.text for seed in reading.seeds][:-1] == ([] if expected is None else [expected])
        assert [seed.columns for seed in reading.seeds[:-1] if path] == (
            [{"tags": ", ".join(filter(None, tags))}] if path and expected else []
        )
        if expected is None:
            (problem,) = reading.problems
            assert problem.what.startswith("template: ")
            assert (
                not any(tags) or "is a list of 2 texts: write {{ tags | join(', ') }} or loop over it" in problem.what
            )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "{% for q in ask %}{{ q }} {{ said[loop.index0] }}. {% endfor %}",
            ["Wet? yes. Dry? no. Wet? yes.", "Old? no. New? no."],
        ),
        ("{{ ask | length }} {{ said | unique | join(', ') }}", ["3 yes, no", "2 no"]),
        ("{{ grades | max }}, {{ grades | select | sort | join(' ') }}", ["10, 9 9 10", "2, 2"]),
    ],
)
def test_template_reads_lists_side_by_side(tmp_path: Path, template: str, expected: list[str]) -> None:
    """A list keeps repeated and blank items, without which each further item would stand next to another one's. Its
    numbers are compared as numbers."""
    rows = [
        {"ask": ["Wet?", "Dry?", "Wet?"], "said": ["yes", "no", "yes"], "grades": [9, 10, 9]},
        {"ask": ["Old?", "New?"], "said": ["no", "no"], "grades": [None, 2]},
    ]
    reading = read(tmp_path, b"\n".join(map(orjson.dumps, rows)), "a.jsonl", input=template)
    assert [seed.text for seed in reading.seeds] == expected, reading.problems


@pytest.mark.parametrize(
    "settings",
    [{"columns": {"text": "body", "product": "prodct"}}, {"input": "{{ body }} {{ prodct }}"}],
    ids=["a column", "a variable of the template"],
)
@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.csv", CSV, "a.csv:1"),
        ("a.jsonl", '{"body": "It drips", "product": "kettle"}\n', "a.jsonl:1"),
        ("a.tsv", "\n" + CSV.replace(",", "\t"), "a.tsv:2"),
    ],
)
def test_a_missing_column_names_file_line_columns_and_the_closest(tmp_path, settings, name, content, where):
    """For a mistyped column the error shows which columns exist, where, and the closest match."""
    with pytest.raises(InputError) as error:
        read(tmp_path, content, name, **settings)
    assert error.value.where == where
    assert "there is no column 'prodct'; found: " in error.value.what
    assert "'body', 'product'" in error.value.what
    assert "Did you mean 'product'?" in (error.value.fix or "")


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("body;product\nOne, two;a\n", ["One, two"]),
        ("body\tproduct\nOne, two\ta\n", ["One, two"]),
        ("body|product\nOne, two|a\n", ["One, two"]),
        ("\ufeffbody;product\r\nOne;a\r\n", ["One"]),
        ("sep=;\r\nbody;product\r\nOne;a\r\n", ["One"]),
        ('\ufeffsep=,\r\n"body","product"\r\n"One\nmore","a"\r\n', ["One\nmore"]),
        ("body;product;;;\r\nOne;a;;;\r\n;;;;\r\n", ["One"]),
    ],
    ids=["semicolon", "tab", "pipe", "bom", "sep", "bom and sep", "empty columns behind"],
)
def test_dialects_of_csv_that_excel_and_databases_write_are_read(tmp_path, content, texts):
    """Separator, byte order mark, Excel's `sep=` line, and empty columns and rows after the table."""
    reading = read(tmp_path, content, columns={"text": "body", "product": "product"})
    assert [seed.text for seed in reading.seeds] == texts
    assert {seed.columns["product"] for seed in reading.seeds} == {"a"}


def test_a_file_in_latin_1_says_how_to_save_it_as_utf_8(tmp_path):
    """The message has line and byte, and what to do in Excel and elsewhere."""
    with pytest.raises(InputError, match="is not UTF-8: byte 0xfc") as error:
        read(tmp_path, "body\nschön\nmüde\n".encode("latin-1").replace(b"\xf6", b"o"), columns={"text": "body"})
    assert error.value.where == "seeds.csv:3"
    assert "CSV UTF-8" in (error.value.fix or "")
    assert "iconv" in (error.value.fix or "")


def test_numbers_and_truth_values_of_json_are_texts_in_an_extra_column(tmp_path):
    """An order number is as good without quotation marks. A list is not a text and costs its row."""
    cells = (', "n": 7', ', "n": null', ', "n": true', "", ', "n": []')
    lines = "".join(f'{{"text": "{text}"{cell}}}\n' for text, cell in zip("abcde", cells, strict=True))
    reading = read(tmp_path, lines, "a.jsonl", columns={"text": "text", "n": "n"})
    assert [seed.columns["n"] for seed in reading.seeds] == ["7", "", "true", ""]
    assert "The column is 'n'" in reading.problems[0].what


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"style": "s"}}, "columns.style has no meaning for kind = 'input'"),
        ({"columns": {"labels": "s"}}, "columns.labels has no meaning"),
        ({"columns": {"output": "s"}}, "columns.output has no meaning for kind = 'input', which has text"),
        ({"columns": {"a b": "s"}}, "'a b' cannot be used in a prompt"),
        ({"kind": "output", "input": "{{ a }}"}, "kind = 'output' has none"),
        ({"input": "{{ a }}", "columns": {"text": "b"}}, "both 'input' and columns.text"),
        ({"kind": "pair", "columns": {"input": "a", "output": "a"}}, "'a' is both the input and the output"),
        ({"columns": {"text": "a"}, "reference": "a"}, "'a' is both the input and the output"),
    ],
)
def test_names_that_cannot_work_are_refused_with_the_reason(settings, message):
    """A column must not hide a variable of the prompts, and nothing may be set in two places."""
    with pytest.raises(ValidationError, match=message):
        SeedSource(path="a.csv", **settings)


@pytest.mark.parametrize("template", ["{{ body", "no column", "{% include 'x' %}{{ body }}"])
def test_invalid_template_is_refused(tmp_path, template):
    """Broken Jinja, a template without a column, and an include are reported before a row is read."""
    with pytest.raises((InputError, PromptError)):
        read(tmp_path, CSV, input=template)


@pytest.mark.parametrize(
    ("named", "column", "name"),
    [("{{ Product name }}", "Product name", "product_name"), ("{{Preis in €}}", "Preis in €", "preis_in")],
)
def test_column_name_with_spaces_in_a_template_gets_a_name(tmp_path, named, column, name):
    """Spreadsheets have such headers, and Jinja only reports the second word as unexpected."""
    fix = f'write {{{{ {name} }}}}, and columns = {{ {name} = "{column}" }}.'
    with pytest.raises(PromptError, match=re.escape(fix)):
        read(tmp_path, f"{column}\na lamp\n", input=f"Sell: {named}")
    reading = read(tmp_path, f"{column}\na lamp\n", input=f"Sell: {{{{ {name} }}}}", columns={name: column})
    assert [seed.text for seed in reading.seeds] == ["Sell: a lamp"]


def test_a_prompt_may_use_the_columns_that_every_source_has():
    """If two sources have different columns, prompts may use only those that both have."""
    sources = [
        {"path": "a.csv", "columns": {"text": "t", "product": "p", "subject": "s"}},
        {"path": "b.csv", "columns": {"product": "q"}},
        {"path": "c.csv", "kind": "output", "columns": {"style_of": "s"}},
    ]
    spec = Spec.model_validate({"task": {"name": "a", "style": "b"}, "seeds": sources})
    assert columns_of(spec, ("input",)) == ("product",)
    assert columns_of(spec, ("output",)) == ("style_of",)
    assert columns_of(spec, ("pair",)) == ()


@pytest.mark.parametrize(
    ("settings", "noted"), [({}, 1), ({"reference": "output"}, 0), ({"columns": {"gold": "output"}}, 0)]
)
def test_unused_output_column_of_a_test_source_gets_a_note(tmp_path, settings, noted):
    """A test file with answers is meant for comparison: a note says that nothing reads them, and how to change that."""
    reading = read(tmp_path, "input,output\nIt drips,Turn it off.\n", use="test", **settings)
    assert [note.where for note in reading.notes if 'reference = "output"' in note.detail] == ["seeds.csv:1"] * noted


def test_a_reference_may_be_a_record(tmp_path):
    """A test file for an extraction may have the reference as an object, like a pair's output. Its JSON is the
    reference. A value that cannot be a reference is reported with its column."""
    rows = '{"input": "bill 3", "output": {"a": 3, "b": null}}\n{"input": "bill 4", "output": ["x", "y"]}\n'
    reading = read(tmp_path, rows, name="test.jsonl", use="test", reference="output")
    assert [seed.reference for seed in reading.seeds] == ['{"a":3,"b":null}']
    (problem,) = reading.problems
    assert problem.detail == "expected text, found list ['x', 'y']. The column is 'output'."


def test_one_answer_in_a_list_is_read_by_its_path(tmp_path):
    """SQuAD has answers in a list, often from several annotators. If they are equal, they are the answer. If they
    differ, it is unknown which one is right, and the row is a problem."""
    rows = ["[]", '["a blue van"]', '["a van", "a van"]', '["a van", "vans"]', '[{"a": 1}]']
    lines = "".join(f'{{"question": "What {n}?", "answers": {{"text": {text}}}}}\n' for n, text in enumerate(rows))
    columns = {"input": "question", "output": "answers.text"}
    reading = read(tmp_path, lines, name="squad.jsonl", kind="pair", columns=columns)
    assert [seed.reference for seed in reading.seeds] == ["a blue van", "a van"]
    assert [problem.code for problem in reading.problems] == ["type"] * 3
