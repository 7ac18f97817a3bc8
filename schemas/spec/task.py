"""`[task]`, `[[exemplars]]` and `[[seeds]]`: what the model learns, and from what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.spec.section import Section


class TaskSettings(Section):
    """The task that the model learns. `system` is what the tuned model is told; `style` is the full house style in
    words, told to the teacher and to the untuned systems of the evaluation."""

    kind: Literal["rewrite"] = "rewrite"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    system: str = "Rewrite the input in the house style."
    style: str = Field(min_length=1)
    language: str = Field(default="en", pattern=r"^[a-z]{2}$")


class Exemplar(Section):
    """A worked example shown to the teacher."""

    input: str = Field(min_length=1)
    output: str = Field(min_length=1)

    @property
    def simple(self) -> str:
        """The input, as prompts that were released with this name ask for it."""
        return self.input

    @property
    def enhanced(self) -> str:
        """The output, as prompts that were released with this name ask for it."""
        return self.output


class SeedSource(Section):
    """A source of seeds: a file beside the spec (`-` is standard input), a `datasets` folder, or a hub id.

    `columns` maps our name (`text`) to the file's. `format` is told by the file's ending if absent. `use` puts all
    seeds of the source into one part, whatever their hash says; nothing is generated for `use = "test"`.
    """

    path: str = Field(min_length=1)
    kind: Literal["input", "output"] = "input"
    format: Literal["jsonl", "csv", "parquet", "text", "datasets", "hub"] | None = None
    columns: dict[Literal["text"], str] = Field(default_factory=dict)
    split: str | None = None
    # Left out of the dump where it is absent, so that no hash of a spec without it changes.
    use: Literal["train", "validation", "test"] | None = Field(default=None, exclude_if=lambda use: use is None)
    license: str | None = None
    limit: int | None = Field(default=None, ge=1)
