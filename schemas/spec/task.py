"""`[task]`, `[[exemplars]]` and `[[seeds]]`: what the model learns, and from what."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from glob import escape, glob
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from unicodedata import normalize

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from schemas.errors import UsageError
from schemas.files import refuse_non_utf8_name
from schemas.kinds import KINDS, KindName
from schemas.labels import LISTABLE, MOST_CHARACTERS, folded_label
from schemas.records import SeedKind, Split
from schemas.spec.section import Section, given, later


def _with_definitions(value: Any) -> Any:
    """Accept a plain list of labels, none of which has a definition."""
    if not isinstance(value, list | tuple):
        return value
    if not all(isinstance(label, str) for label in value):
        raise ValueError('a list of labels holds only texts; to define labels write { light = "it is bright" }')
    if twice := next((label for label in value if value.count(label) > 1), None):
        raise ValueError(f"the label '{twice}' appears twice")
    return dict.fromkeys(value, "")


Labels = Annotated[
    dict[Annotated[str, Field(pattern=LISTABLE, max_length=MOST_CHARACTERS)], str], BeforeValidator(_with_definitions)
]


class TaskSettings(Section):
    """The task that the model learns. `kind` determines what an output is and which defaults apply (schemas/kinds.py).

    `system` is the system prompt of the tuned model. `style` is the full house style in words, given to the teacher and
    to the untuned systems of the evaluation.

    `labels` are the outputs of `classify`, each with an optional definition. `answer_schema`, in the file `schema`, is
    what outputs of `extract` must match: a file with a JSON schema, or `module:Model`, a pydantic model beside the
    spec. `to` is the target language of `translate`, `language` its source language.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    kind: KindName = "rewrite"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    system: str = "Rewrite the input in the house style."
    style: str = Field(min_length=1)
    language: str = Field(default="en", pattern=r"^[a-z]{2}$")
    # Omitted from the dump when unset, so that the hash of a spec without them does not change.
    labels: Labels = Field(default_factory=dict, exclude_if=lambda labels: not labels)
    answer_schema: str | None = later(min_length=1, alias="schema")
    to: str | None = later(pattern=r"^[a-z]{2}$")

    @property
    def output_language(self) -> str:
        return self.to or self.language

    @property
    def languages(self) -> tuple[str, str]:
        """The languages of the inputs and of the outputs."""
        return self.language, self.output_language

    @model_validator(mode="after")
    def _check_kind_keys(self) -> TaskSettings:
        given = {"labels": self.labels, "schema": self.answer_schema, "to": self.to}
        for name, kind in ((row.needs, name) for name, row in KINDS.items() if row.needs):
            if given[name] and kind != self.kind:
                raise ValueError(f'\'{name}\' is only for kind = "{kind}", and this task has kind = "{self.kind}"')
            if kind == self.kind and not given[name]:
                raise ValueError(f"a task of kind \"{kind}\" needs '{name}'")
        if len(self.labels) == 1:
            raise ValueError("'labels' has only one label, so there is nothing to choose from")
        forms = {folded_label(label): label for label in reversed(self.labels)}
        if alike := [label for label in self.labels if forms[folded_label(label)] != label]:
            first = forms[folded_label(alike[0])]
            raise ValueError(f"the labels '{first}' and '{alike[0]}' differ only in case or punctuation")
        if self.to == self.language:
            raise ValueError(f"'to' and 'language' are both '{self.to}'")
        return self


class Exemplar(Section):
    """A worked example shown to the teacher."""

    input: str = Field(min_length=1)
    output: str = Field(min_length=1)

    @classmethod
    def of(cls, example: object) -> Self:
        """One that is written as (input, output) or as a dict in Python. Raises UsageError."""
        if isinstance(example, cls):
            return example
        if isinstance(example, tuple | list) and len(example) == 2:
            example = dict(zip(("input", "output"), example, strict=True))
        if not isinstance(example, Mapping):
            raise UsageError(f"exemplars: {example!r:.80} is not (input, output).", fix="Pass two texts, or a dict.")
        return given(cls, "exemplars", **example)

    @property
    def simple(self) -> str:
        """The input under the name that earlier released prompts use."""
        return self.input

    @property
    def enhanced(self) -> str:
        """The output under the name that earlier released prompts use."""
        return self.output


_PATTERN = re.compile(r"[*?\[]")
# The column names with a meaning for each kind of source; any other name is an extra column.
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
"""Names that prompts and sources use themselves, so no extra column may have them."""


class SeedSource(Section):
    """A source of seeds: a file beside the spec (`-` is standard input), a `datasets` folder, or a hub id.

    `kind` says what a row is: an input, an output, a `pair` of both, or a `conversation` of several turns. `columns`
    maps our names (`text`; for a pair `input`, `output` and `system`) to the file's. Any other name is an extra column,
    which prompts may use and which stays with the row. `input` is a template that joins columns into the input.
    `reference` is the column, for inputs, with an output written by a person: the evaluation compares with it, and no
    teacher sees it. `rejected` is the column, for pairs and conversations, with an answer that is worse than the
    output. `group` is the column that says which rows belong together: they go into the same split, and the evaluation
    counts them as one.

    `path` may be a glob pattern (`logs/*.jsonl`, `**/*.csv`); the files are read in the order of their names. Without
    `format` it is inferred from the file's extension. A text is UTF-8 unless `encoding` says otherwise. `config`,
    `revision` and `split` are for hub datasets. `use` puts all seeds of the source into one split, whatever their hash;
    nothing is generated for `use = "test"`.
    """

    path: str = Field(min_length=1)
    kind: SeedKind = "input"
    format: Literal["jsonl", "json", "csv", "parquet", "text", "document", "datasets", "hub"] | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    input: str | None = later(min_length=1)
    reference: str | None = later(min_length=1)
    rejected: str | None = later(min_length=1)
    group: str | None = later(min_length=1)
    split: str | None = None
    config: str | None = later(min_length=1)
    revision: str | None = later(min_length=1)
    encoding: str | None = later(min_length=1)
    use: Split | None = later()
    license: str | None = None
    limit: int | None = Field(default=None, ge=1)

    def each(self, folder: Path) -> list[SeedSource]:
        """One source for each file under `folder` that matches the pattern in `path`; itself if `path` is not a pattern
        or nothing matches. macOS may store `ä` in a file's name as `a` and a separate accent: such a name is found
        however the spec writes it."""
        if self.path == "-" or self.format == "hub":
            return [self]
        forms = dict.fromkeys((self.path, normalize("NFD", self.path), normalize("NFC", self.path)))
        matching = (self.model_copy(update={"path": path})._matching(folder) for path in forms)
        return next(filter(None, matching), [self])

    def _matching(self, folder: Path) -> list[SeedSource]:
        if (folder / self.path).exists():
            return [self]
        if not _PATTERN.search(self.path):
            return []
        matches = map(Path, glob(os.path.join(escape(str(folder)), self.path), recursive=True))
        files: dict[Path, Path] = {}
        for path in sorted(matches, key=lambda path: (len(path.parts), path)):
            if path.is_file():
                refuse_non_utf8_name(path)
                files.setdefault(path.resolve(), path)  # a link to a parent folder yields one file many times
        paths = sorted(files.values())
        names = [os.path.relpath(path, folder) if path.is_relative_to(folder) else str(path) for path in paths]
        return [self.model_copy(update={"path": name}) for name in names]

    @property
    def imported(self) -> bool:
        """Whether its rows already have outputs, so that no teacher is asked about them."""
        return self.kind in ("pair", "conversation")

    @property
    def extra(self) -> tuple[str, ...]:
        """The names of the extra columns."""
        return tuple(name for name in self.columns if name not in _PARTS[self.kind])

    @model_validator(mode="after")
    def _check_format_keys(self) -> SeedSource:
        for key in ("config", "revision"):
            if getattr(self, key) is not None and self.format != "hub":
                raise ValueError(f"'{key}' is only for hub datasets, and this source does not have format = \"hub\"")
        if self.encoding is None:
            return self
        if self.format in ("parquet", "datasets", "hub") or self.path.lower().endswith(".parquet"):
            raise ValueError("'encoding' is only for text files, and this source is not one")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(
                f"'{self.encoding}' is not a text encoding; examples are cp1252, shift_jis and utf-16"
            ) from None
        return self

    @model_validator(mode="after")
    def _check_columns(self) -> SeedSource:
        for name in self.extra:
            if name in RESERVED:
                legal = " and ".join(_PARTS[self.kind])
                raise ValueError(f"columns.{name} has no meaning for kind = '{self.kind}', which has {legal}")
            if not name.isidentifier():
                raise ValueError(f"columns: '{name}' cannot be used in a prompt; use letters, digits and underscores")
        if self.input is not None and self.kind in ("output", "conversation"):
            raise ValueError(f"'input' joins columns into an input, and kind = '{self.kind}' has none")
        if self.input is not None and (name := "text" if self.kind == "input" else "input") in self.columns:
            raise ValueError(
                f"both 'input' and columns.{name} define the input; give that column another name here, which the"
                " template can use"
            )
        if self.reference is not None and self.kind != "input":
            raise ValueError(f"'reference' is for kind = 'input', and kind = '{self.kind}' already has its output")
        if self.rejected is not None and not self.imported:
            raise ValueError(
                f"'rejected' is for kind = 'pair' or 'conversation', and kind = '{self.kind}' has no answers"
            )
        if self.reference is not None and "reference" in self.columns:
            raise ValueError("both 'reference' and columns.reference name a column")
        output = self.columns.get("output") if self.imported else self.reference
        if output is not None and output in (self.columns.get("input"), self.columns.get("text")):
            raise ValueError(f"the column '{output}' is both the input and the output, so every row would be a copy")
        return self
