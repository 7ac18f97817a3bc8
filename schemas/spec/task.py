"""`[task]`, `[[exemplars]]` and `[[seeds]]`: what the model learns, and from what."""

from __future__ import annotations

import os
import re
from glob import escape, glob
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from schemas.files import refuse_no_text
from schemas.kinds import KINDS, KindName
from schemas.labels import folded_label
from schemas.spec.section import Section


def _with_definitions(value: Any) -> Any:
    """A plain list of labels: none of them has a definition."""
    if not isinstance(value, list | tuple):
        return value
    if not all(isinstance(label, str) for label in value):
        raise ValueError('a list of labels holds texts only; with definitions they are { light = "it is bright" }')
    if twice := next((label for label in value if value.count(label) > 1), None):
        raise ValueError(f"the label '{twice}' stands twice")
    return dict.fromkeys(value, "")


Labels = Annotated[
    dict[Annotated[str, Field(pattern=r"^\S(.*\S)?$", max_length=200)], str], BeforeValidator(_with_definitions)
]


class TaskSettings(Section):
    """The task that the model learns. `kind` says what an output is, and which defaults fit (schemas/kinds.py).

    `system` is what the tuned model is told; `style` is the full house style in words, told to the teacher and to the
    untuned systems of the evaluation.

    `labels` are the outputs of `classify`, each with its definition, which may be empty. `answer_schema`, in the file
    `schema`, is what outputs of `extract` keep: a file with a JSON schema, or `module:Model`, a pydantic model beside
    the spec. `to` is the language that `translate` translates into, from `language`.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    kind: KindName = "rewrite"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    system: str = "Rewrite the input in the house style."
    style: str = Field(min_length=1)
    language: str = Field(default="en", pattern=r"^[a-z]{2}$")
    # Left out of the dump where they are absent, so that no hash of a spec without them changes.
    labels: Labels = Field(default_factory=dict, exclude_if=lambda labels: not labels)
    answer_schema: str | None = Field(default=None, min_length=1, alias="schema", exclude_if=lambda name: name is None)
    to: str | None = Field(default=None, pattern=r"^[a-z]{2}$", exclude_if=lambda code: code is None)

    @property
    def output_language(self) -> str:
        """The language of the outputs."""
        return self.to or self.language

    @property
    def languages(self) -> tuple[str, str]:
        """That of the inputs and that of the outputs."""
        return self.language, self.output_language

    @model_validator(mode="after")
    def _what_the_kind_needs(self) -> TaskSettings:
        given = {"labels": self.labels, "schema": self.answer_schema, "to": self.to}
        for name, kind in ((row.needs, name) for name, row in KINDS.items() if row.needs):
            if given[name] and kind != self.kind:
                raise ValueError(f'\'{name}\' belongs to kind = "{kind}", and this task is of kind "{self.kind}"')
            if kind == self.kind and not given[name]:
                raise ValueError(f"a task of kind \"{kind}\" needs '{name}'")
        if len(self.labels) == 1:
            raise ValueError("'labels' has one label: there is nothing to choose")
        forms = {folded_label(label): label for label in reversed(self.labels)}
        if alike := [label for label in self.labels if forms[folded_label(label)] != label]:
            first = forms[folded_label(alike[0])]
            raise ValueError(f"the labels '{first}' and '{alike[0]}' differ in case or punctuation alone")
        if self.to == self.language:
            raise ValueError(f"'to' and 'language' are both '{self.to}'")
        return self


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


_PATTERN = re.compile(r"[*?\[]")
# What columns of each kind of source may be called beside extra ones, and what prompts call something else.
_PARTS = {
    "input": ("text",),
    "output": ("text",),
    "pair": ("input", "output", "system", "messages"),
    "conversation": ("messages", "input", "output", "system"),
}
_RESERVED = """
style exemplars exemplar system language level labels schema input_language output_language text input output messages
simple enhanced
"""
RESERVED = frozenset(_RESERVED.split())
"""What prompts and sources call something of their own, so that no extra column may."""


class SeedSource(Section):
    """A source of seeds: a file beside the spec (`-` is standard input), a `datasets` folder, or a hub id.

    `kind` says what a row is: an input, an output, a `pair` of both, or a `conversation` of several turns. `columns`
    maps our names (`text`; of a pair `input`, `output` and `system`) to the file's; any other name is an extra column,
    which prompts may use and which stays with the row. `input` is a template that joins columns into the input.
    `reference` is the column, of inputs, that holds the output of a person: evaluated against, shown to no teacher.
    `rejected` is the column, of pairs and conversations, of an answer that the output is better than.
    `group` is the column that says which rows belong together: they are drawn into one split, and the evaluation
    reckons with them as one.
    `path` may be a pattern of files (`logs/*.jsonl`, `**/*.csv`), read in the order of their names. `format` is told by
    the file's ending if absent, and a text is UTF-8 unless `encoding` names another. `config`, `revision` and `split`
    are of a dataset of the hub. `use` puts all seeds of the source into one part, whatever their
    hash says; nothing is generated for `use = "test"`.
    """

    path: str = Field(min_length=1)
    kind: Literal["input", "output", "pair", "conversation"] = "input"
    format: Literal["jsonl", "json", "csv", "parquet", "text", "document", "datasets", "hub"] | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    # Left out of the dump where it is absent, so that no hash of a spec without it changes.
    input: str | None = Field(default=None, min_length=1, exclude_if=lambda template: template is None)
    reference: str | None = Field(default=None, min_length=1, exclude_if=lambda column: column is None)
    rejected: str | None = Field(default=None, min_length=1, exclude_if=lambda column: column is None)
    group: str | None = Field(default=None, min_length=1, exclude_if=lambda column: column is None)
    split: str | None = None
    config: str | None = Field(default=None, min_length=1, exclude_if=lambda config: config is None)
    revision: str | None = Field(default=None, min_length=1, exclude_if=lambda revision: revision is None)
    encoding: str | None = Field(default=None, min_length=1, exclude_if=lambda encoding: encoding is None)
    use: Literal["train", "validation", "test"] | None = Field(default=None, exclude_if=lambda use: use is None)
    license: str | None = None
    limit: int | None = Field(default=None, ge=1)

    def each(self, folder: Path) -> list[SeedSource]:
        """A source for each file that `path` is a pattern of, under `folder`; itself where it is none, or none is
        there."""
        if self.path == "-" or self.format == "hub" or not _PATTERN.search(self.path) or (folder / self.path).exists():
            return [self]
        met, files = map(Path, glob(os.path.join(escape(str(folder)), self.path), recursive=True)), dict[Path, Path]()
        for path in sorted(met, key=lambda path: (len(path.parts), path)):
            if path.is_file():
                refuse_no_text(path)
                files.setdefault(path.resolve(), path)  # a link to a folder above shows one file many times
        paths = sorted(files.values())
        names = [os.path.relpath(path, folder) if path.is_relative_to(folder) else str(path) for path in paths]
        return [self.model_copy(update={"path": name}) for name in names] or [self]

    @property
    def imported(self) -> bool:
        """Its rows are outputs to their inputs, so no teacher is asked about them."""
        return self.kind in ("pair", "conversation")

    @property
    def extra(self) -> tuple[str, ...]:
        """The names of the extra columns."""
        return tuple(name for name in self.columns if name not in _PARTS[self.kind])

    @model_validator(mode="after")
    def _fits_its_format(self) -> SeedSource:
        for key in ("config", "revision"):
            if getattr(self, key) is not None and self.format != "hub":
                raise ValueError(f"'{key}' is of a dataset of the hub, and this source has no format = \"hub\"")
        if self.encoding is None:
            return self
        if self.format in ("parquet", "datasets", "hub") or self.path.lower().endswith(".parquet"):
            raise ValueError("'encoding' is for text, and this source is none")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"'{self.encoding}' is no encoding of text; cp1252, shift_jis and utf-16 are") from None
        return self

    @model_validator(mode="after")
    def _names_fit(self) -> SeedSource:
        for name in self.extra:
            if name in RESERVED:
                legal = " and ".join(_PARTS[self.kind])
                raise ValueError(f"columns.{name} means nothing for kind = '{self.kind}', which has {legal}")
            if not name.isidentifier():
                raise ValueError(f"columns: '{name}' cannot be used in a prompt; take letters, digits and underscores")
        if self.input is not None and self.kind in ("output", "conversation"):
            raise ValueError(f"'input' joins columns into an input, and kind = '{self.kind}' has none")
        if self.input is not None and (name := "text" if self.kind == "input" else "input") in self.columns:
            raise ValueError(f"both 'input' and columns.{name} say what the input is")
        if self.reference is not None and self.kind != "input":
            raise ValueError(f"'reference' is for kind = 'input', and kind = '{self.kind}' is an output or brings one")
        if self.rejected is not None and not self.imported:
            raise ValueError(
                f"'rejected' is for kind = 'pair' or 'conversation', and kind = '{self.kind}' has no answers"
            )
        if self.reference is not None and "reference" in self.columns:
            raise ValueError("both 'reference' and columns.reference name a column")
        output = self.columns.get("output") if self.imported else self.reference
        if output is not None and output in (self.columns.get("input"), self.columns.get("text")):
            raise ValueError(f"the column '{output}' is named as the input and as its output, so all would be copies")
        return self
