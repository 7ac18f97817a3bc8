"""Mistakes in prompt files that would cost money, and unusual files that are correct."""

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
    """Unbounded in one of its types, not JSON, wrong below a property named like a keyword, or endlessly recursive."""
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
def test_unusual_but_valid_schema_is_accepted(schema: str) -> None:
    """Values that look like schemas, trees, properties named like keywords, anchors."""
    check_answer_schema(tomllib.loads(schema), Path("v1.jinja"))


@pytest.mark.parametrize(
    "name", ["enhance/v2/v2.jinja", "enhance/new/V3.jinja", "my/enhance/v1.jinja", "Enhance/enhance.jinja"]
)
def test_a_prompt_that_would_never_be_read_is_an_error(name: str, tmp_path: Path) -> None:
    """If it is one folder too deep, or in a folder with a wrong name, the built-in prompt would be paid for instead."""
    (tmp_path / "prompts" / name).parent.mkdir(parents=True)
    (tmp_path / "prompts" / name).write_text(PROMPT)
    with pytest.raises(PromptError, match="is not read"):
        load("enhance", tmp_path)


def test_prompt_nested_too_deeply_is_a_prompt_error(tmp_path: Path) -> None:
    """It is reported as an error of the prompt file and does not crash pairsmith."""
    (tmp_path / "prompts" / "enhance").mkdir(parents=True)
    (tmp_path / "prompts" / "enhance" / "v1.jinja").write_text(PROMPT + "{{ " + "(" * 900 + "1" + ")" * 900 + " }}")
    with pytest.raises(PromptError, match="nested too deeply"):
        load("enhance", tmp_path)
