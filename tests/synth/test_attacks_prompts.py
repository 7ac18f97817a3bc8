"""Mistakes in prompt files that would have been paid for, and unusual files that are none."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from prompts import load
from prompts.answer_schema import check_answer_schema
from schemas.errors import PromptError

PROMPT = '+++\nabout = "x"\n[variables]\ninput = "i"\n+++\n=== user ===\n{{ input }}\n'


@pytest.mark.parametrize(
    "schema",
    [
        'type = ["string", "null"]',
        "const = 2020-01-01",
        'type = "number"\nmaximum = inf',
        'type = "object"\n[properties.enum]\ntype = "string"',
        'type = "object"\n[properties.const]\ntype = "string"\nmaxLength = 3\npattern = "("',
        'type = "object"\n[properties.x]\n"$ref" = "#/$defs/a"\n["$defs".a]\nallOf = [{ "$ref" = "#/$defs/a" }]',
    ],
)
def test_a_schema_that_would_lose_answers_is_refused(schema: str) -> None:
    """Unbounded in one of its types, no JSON, wrong below a property with the name of a keyword, or endless."""
    with pytest.raises(PromptError):
        check_answer_schema(tomllib.loads(schema), Path("v1.jinja"))


@pytest.mark.parametrize(
    "schema",
    [
        'type = "object"\n[properties.a]\nconst = { type = "string" }',
        'type = "object"\n[properties.a]\ntype = "string"\nmaxLength = 3\ndefault = { type = "array" }',
        'type = "object"\n[properties.k]\n"$ref" = "#"',
        'type = "object"\n[properties."$ref"]\ntype = "string"\nmaxLength = 3',
        '"$id" = "https://e.org/a"\ntype = "object"\n[properties.x]\n"$ref" = "#q"\n["$defs".a]\n"$anchor" = "q"',
    ],
)
def test_an_unusual_schema_that_is_right_is_taken(schema: str) -> None:
    """Values that look like schemas, trees, properties with the names of keywords, anchors."""
    check_answer_schema(tomllib.loads(schema), Path("v1.jinja"))


@pytest.mark.parametrize(
    "name", ["enhance/v2/v2.jinja", "enhance/new/V3.jinja", "my/enhance/v1.jinja", "Enhance/enhance.jinja"]
)
def test_a_prompt_that_would_never_be_read_is_an_error(name: str, tmp_path: Path) -> None:
    """One folder too deep, or in a folder with a wrong name: the built-in one would be paid for instead."""
    (tmp_path / "prompts" / name).parent.mkdir(parents=True)
    (tmp_path / "prompts" / name).write_text(PROMPT)
    with pytest.raises(PromptError, match="is not read"):
        load("enhance", tmp_path)


def test_a_prompt_nested_beyond_reading_is_an_error_of_the_prompt(tmp_path: Path) -> None:
    """Not a defect of pairsmith."""
    (tmp_path / "prompts" / "enhance").mkdir(parents=True)
    (tmp_path / "prompts" / "enhance" / "v1.jinja").write_text(PROMPT + "{{ " + "(" * 900 + "1" + ")" * 900 + " }}")
    with pytest.raises(PromptError, match="nested too deeply"):
        load("enhance", tmp_path)
