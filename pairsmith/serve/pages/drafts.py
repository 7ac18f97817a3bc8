"""Creates projects from the form and saves seeds and column roles. Everything is validated before it is stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from fastapi import Request
from pydantic import Field
from starlette.datastructures import UploadFile

from pairsmith.new_project import with_base, write_project
from pairsmith.serve import limits
from pairsmith.serve.access import Caller, Right
from pairsmith.serve.api.projects import NewProject, create_project_files
from pairsmith.serve.api.seeds import ENDINGS, EXCERPTS, add, check_size_inside
from pairsmith.serve.api.specs import etag_of, save_spec
from pairsmith.serve.api.specs import spec_text as current_spec
from pairsmith.serve.pages.columns import (
    TABLES,
    any_satisfies_schema,
    current_outputs,
    guess_sentences,
    guess_source,
    keys_for_roles,
    outputs_of,
    remove_comments,
    source_keys,
)
from pairsmith.serve.pages.seed_reading import keep_reading
from pairsmith.serve.state import state_of
from pairsmith.serve.workspace import slug_of
from pairsmith.user_file.columns import Column
from pairsmith.user_file.encoding import as_utf8
from pairsmith.user_file.guess import SCHEMA, guess
from pairsmith.user_file.guess_table import Guess
from pairsmith.user_file.guessed_spec import answer_tokens, comment, spec_text, word_bounds
from pairsmith.user_file.header_words import HEAD, INPUT, LABELS, OUTPUT
from pairsmith.user_file.languages import detect_language
from pairsmith.user_file.record_schema import schema_of
from prompts.answer_form import AnswerForm
from prompts.answer_schema import is_example
from schemas import toml
from schemas.errors import InputError, PairsmithError, UsageError
from schemas.files import replaced
from schemas.kinds import KINDS, KindName
from schemas.labels import distinct_labels, label_in
from schemas.project import Project
from schemas.records import Json
from schemas.spec_file import SPEC_NAME, parse, set_keys
from schemas.wording import capital
from synth.sources.csv_rows import looks_like_table
from synth.sources.rows import refuse_non_text_file
from synth.sources.seeds import read_seeds

PASTED = "seeds.txt"
_SPEC = Path(__file__).with_name("starter.toml").read_text(encoding="utf-8")


Lines = Annotated[str, Field(max_length=20_000)]
Short = Annotated[str, Field(max_length=100)]


class NewProjectForm(NamedTuple):
    """The fields of the new-project form, apart from the file.

    `chosen_before` refers to the file of an earlier attempt. An empty `kind` is derived from the columns of the file.
    `labels` has one label per line, with an optional definition after a colon. `schema` is JSON. `lines` says
    what a line of text is; if empty, text that is not a table is read as inputs. `encoding` is for a file whose
    encoding cannot be detected."""

    name: Annotated[str, Field(max_length=100)] = ""
    pasted: Annotated[str, Field(max_length=900_000)] = ""
    example: Annotated[str, Field(max_length=100)] = ""
    chosen_before: Annotated[str, Field(max_length=200)] = ""
    kind: KindName | Literal[""] = ""
    style: Lines = ""
    language: Short = ""
    labels: Lines = ""
    schema: Annotated[str, Field(max_length=100_000)] = ""
    to: Short = ""
    lines: Literal["", "input", "output"] = ""
    encoding: Annotated[str, Field(max_length=40)] = ""


def create_project(request: Request, caller: Caller, form: NewProjectForm, seeds: tuple[str, bytes] | None) -> str:
    """Create the project and return its slug. Its title is the typed name. If no slug can be derived from it,
    the slug is `project-N`. Raises UsageError, InputError, SpecError or Refusal; nothing is created then."""
    title = form.name.strip()
    if not title or not title.isprintable():
        what = "the project name has an unprintable character" if title else "the project name is missing"
        raise UsageError(f"{what}.", where="name", fix="Enter a name such as my-prompts.")
    named, workspace = slug_of(title), state_of(request).workspace
    for slug in [named] if named else (f"project-{n}" for n in count(1)):
        if not named and slug in workspace.projects():
            continue
        try:
            if form.example:
                create_project_files(request, caller, NewProject(name=slug, example=form.example))
            else:
                _create_files(request, caller, slug, form, seeds)
            break
        except PairsmithError:
            if named or slug not in workspace.projects():  # else somebody has just created it: the next one is free
                raise
    if title != slug:
        state_of(request).accounts.set_title(slug, title)
    return slug


def _create_files(
    request: Request, caller: Caller, slug: str, form: NewProjectForm, seeds: tuple[str, bytes] | None
) -> None:
    assert seeds is not None
    if Path(seeds[0]).suffix.lower() not in ENDINGS:
        endings = ", ".join(ENDINGS)
        raise InputError(f"seeds cannot be read from '{seeds[0][:80]}'.", fix=f"Upload a file that ends in {endings}.")
    name, content = _with_detected_suffix(seeds[0], as_utf8(seeds[1], seeds[0], form.encoding), form.lines)
    taken = UsageError(f"the project '{slug}' already exists.", where="name", fix="Choose another name.")
    with state_of(request).workspace.making(slug, taken) as folder:
        path = folder / "seeds" / name
        path.parent.mkdir()
        path.write_bytes(content)
        check_size_inside(path)
        with _suggest_lines(seeds[0], name):
            table = guess(path, form.kind) if path.suffix.lower() in TABLES else None
        if schema := _output_schema(table, form):
            (folder / SCHEMA).write_text(schema, encoding="utf-8")
        project = parse(text := _initial_spec(path, table, slug, form), folder)
        AnswerForm.of(project.spec.task, folder)
        keep_reading(project, read_seeds(project.spec.seeds, folder, most_rows=limits.UPLOAD_ROWS))
        # The spec is partly derived from the file, so it must set nothing restricted beyond the starter spec.
        owner = caller.may(Right.own, slug)
        state_of(request).policy.check(project, before=parse(_SPEC, folder).spec, owner=owner, administrator=owner)
        write_project(folder, {SPEC_NAME: text.encode()})


_MISSING = {
    "labels": ("the labels are missing.", "Enter them, one per line, or use a table that has a column of labels."),
    "schema": ("the JSON schema of the output is missing.", "Paste it, or one example record, under Task."),
    "to": ("the target language is missing.", "Enter its two-letter code, such as fr."),
}


def _output_schema(table: Guess | None, form: NewProjectForm) -> str:
    """The JSON schema that the user typed or gave an example for, else the one derived from the records of a table."""
    schema = table.schema if table else None
    if form.kind == "extract" and (text := form.schema.strip()):
        try:
            schema = schema_of([text])
        except RecursionError:
            return text  # which is refused where it is read
        if not schema or not is_example(json.loads(text)):
            return text
    return json.dumps(schema, ensure_ascii=False, indent=2) if schema else ""


def _initial_spec(seeds: Path, table: Guess | None, slug: str, form: NewProjectForm) -> str:
    """The spec text of a new project, derived from the seeds. What the form says takes precedence."""
    text = spec_text(seeds, table, slug) if table else _SPEC
    # As in the starter spec: 80 seeds are enough for a conclusive test.
    values: dict[str, Any] = {"task.name": slug, "seeds.0.path": f"seeds/{seeds.name}", "split.test": 0.25}
    task = toml.loads(text)["task"]
    kind = task.get("kind", "rewrite")
    if form.kind and form.kind != kind:
        values |= _keys_for_kind(form.kind)
        values |= {"task.style": values["task.system"]} if values["task.system"] else {}
    if table is None:
        is_text = seeds.suffix.lower() == ".txt"
        lines = seeds.read_text(encoding="utf-8-sig", errors="replace").splitlines() if is_text else []
        limit = _token_limit(form, lines)
        values |= {
            "seeds.0.kind": form.lines or "input",
            "evaluate.sampling.max_tokens" if limit else "evaluate": limit,
        }
        if (form.kind, form.lines) != ("translate", "output"):  # those lines are in the target language
            values["task.language"] = detect_language(lines)
    needs = KINDS[form.kind or kind].needs
    given = {"labels": _labels(form.labels), "schema": form.schema.strip() and SCHEMA, "to": form.to.strip()}
    values |= {f"task.{name}": value for name, value in given.items() if name == needs and value}
    if needs and not values.get(f"task.{needs}", None if f"task.{needs}" in values else task.get(needs)):
        what, fix = _MISSING[needs]
        raise InputError(what, where="task", fix=fix)
    values |= {f"task.{name}": value for name in ("style", "language") if (value := getattr(form, name).strip())}
    return with_base(set_keys(text, values))


def _keys_for_kind(kind: KindName) -> dict[str, Any]:
    """The spec keys for a task of this kind, replacing the starter spec's settings for rewriting."""
    defaults = KINDS[kind].defaults
    removed = {key: None for key in defaults if key.startswith("generate.")}
    return {**removed, "task.kind": kind, "task.labels": None, "task.system": defaults.get("task.system")}


def _token_limit(form: NewProjectForm, lines: Sequence[str]) -> int | None:
    """The token limit of test answers, estimated from texts that indicate their length. None, the default of the
    setting, if nothing indicates it, as for a reply."""
    shown: Sequence[str]
    if form.lines == "output":
        shown = lines
    elif form.kind in ("", "rewrite"):
        shown = ["a line in a richer style"]
    else:
        by_kind = {"classify": [*_labels(form.labels)], "extract": [form.schema], "translate": [2 * x for x in lines]}
        shown = by_kind.get(form.kind, [])
    return max(128, answer_tokens(shown)) if shown else None


def _labels(text: str) -> dict[str, str]:
    """Parse one label per line, with its definition after the first colon. Raises InputError for a repeated label."""
    labels: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        label, _, about = (part.strip() for part in line.partition(":"))
        if label in labels:
            raise InputError(f"the label '{label[:80]}' appears twice.", where="labels", fix="Remove one of the two.")
        labels[label] = about
    return labels


def seeds_from_form(pasted: str, file: UploadFile | None) -> tuple[str, bytes]:
    """Name and content of the pasted or uploaded seeds. Raises InputError if there are none, or for a spreadsheet."""
    if file is not None and file.filename:
        name = _safe_name(Path(file.filename.replace("\\", "/")))
        refuse_non_text_file(name)
        return limits.unpacked(name, file.file.read())
    if not pasted.strip():
        raise InputError("there are no seeds yet.", where="seeds", fix="Paste some, one per line, or choose a file.")
    return PASTED, pasted.encode()


def _with_detected_suffix(name: str, content: bytes, lines: str) -> tuple[str, bytes]:
    """Give a `.txt` file the suffix of what it contains.

    Users paste spreadsheet cells and JSON, and Excel saves tables as `.txt`. Read by lines, each row would become an
    input that contains its own output. If the user set `lines`, the content is not examined. Empty lines of pasted
    text are dropped."""
    if Path(name).suffix.lower() != ".txt":
        return name, content
    text = content.decode("utf-8-sig", "replace")
    rows = [line for line in text.split("\n") if line.strip()]
    ending = "" if lines else _ending_of(text, rows)
    if ending:
        return str(Path(name).with_suffix(ending)), content
    return name, ("\n".join(rows) + "\n").encode() if name == PASTED else content


def _ending_of(text: str, rows: Sequence[str]) -> str:
    """`.jsonl` for one object per line, `.json` for a list of objects, `.csv` for a table; empty for lines of text."""
    with suppress(ValueError):
        if rows and all(isinstance(orjson.loads(row), dict) for row in rows):
            return ".jsonl"
    with suppress(ValueError):
        if isinstance(whole := orjson.loads(text), list) and whole and all(isinstance(row, dict) for row in whole):
            return ".json"
    return ".csv" if looks_like_table(text, _names_a_column) else ""


def _names_a_column(header: str) -> bool:
    return any(Column("", header, (), 0).called(words) for words in (INPUT, OUTPUT, LABELS, HEAD))


@contextmanager
def _suggest_lines(file_name: str, name: str) -> Iterator[None]:
    """Extend the error of a text that was detected as a table: the user can declare it to be lines instead."""
    try:
        yield
    except InputError as error:
        if file_name == name:
            raise
        hint = "If each line is an input or an output, select that under Lines of text."
        fix = " ".join(filter(None, (hint, error.fix)))
        raise InputError(error.what, where=error.where, why=error.why, fix=fix) from None


def _safe_name(given: Path) -> str:
    """A short ASCII file name that the API accepts too. Of a name in another script, only the suffix remains."""
    stem, ending = (re.sub(r"[^A-Za-z0-9._-]+", "-", part)[:60].strip(".-") for part in (given.stem, given.suffix))
    return f"{stem or 'seeds'}.{ending}" if ending else stem or PASTED


def replace_seeds(
    request: Request, caller: Caller, slug: str, file_name: str, given: bytes, encoding: str, line_kind: str = ""
) -> str:
    """Replace the seeds of the project. How a table is read is guessed from its columns. Lines are read as `line_kind`,
    or if that is empty, as the previous lines were. Settings derived from the previous outputs follow the new ones.

    Returns the key of the message to show. Raises InputError or Refusal."""
    workspace = state_of(request).workspace
    name, content = _with_detected_suffix(file_name, as_utf8(given, file_name, encoding), line_kind)
    project = workspace.project(slug)
    before, table = project.spec.seeds, None
    if Path(name).suffix.lower() in TABLES:
        with _suggest_lines(file_name, name):
            table = guess_source(content, name, project.spec.task.kind)
        reads: dict[str, Any] = {"kind": table.kind, **table.settings}
    else:
        lines = any(
            source.kind == "output" for source in before if source.path == f"seeds/{name}" or not source.columns
        )
        reads = {"kind": line_kind or ("output" if lines else "input")}
    fitted = _keys_for_outputs(project, 0, table.outputs if table else ()) if before else {}
    fitted |= {"curate.gates.echo": False} if table and table.copies else {}
    name = _free_name(project, name)
    # These read the present files, which `add` may overwrite.
    sentences = [one for at in range(len(before)) for one in guess_sentences(project, at)]
    was, schema = _language_of(project), _schema_to_follow(project, 0, table.schema if table else None)
    shown = add(request, caller, slug, content, name, reads["kind"], reads)
    language = detect_language([seed.text for seed in shown.first], project.spec.task.language)
    if project.spec.task.kind != "translate" and was == project.spec.task.language != language:
        fitted |= {"task.language": language}
    now = workspace.project(slug).spec.seeds
    at = next(number for number, source in enumerate(now) if source.path == f"seeds/{name}")
    left = dict.fromkeys(f"seeds.{at}.{key}" for key in now[at].model_fields_set - {"path", *reads})
    removed = {f"seeds.{number}": None for number in reversed(range(len(now))) if number != at}
    text = current_spec(request, slug)
    fresh = remove_comments(text, sentences)
    above = [comment(f"{capital(sentence)}.").removeprefix("# ") for sentence in table.why] if table else []
    values = {**left, **source_keys(at, reads), **fitted, **removed}
    save_spec(request, caller, slug, set_keys(fresh, values, {"seeds.0": above}), if_match=etag_of(text))
    if schema:
        _write_schema(project.folder, schema)
    elif (
        project.spec.task.kind == "extract"
        and table
        and table.outputs
        and not any_satisfies_schema(project, table.outputs)
    ):
        return "unfit"
    return "fitted" if fitted or schema else "saved"


def _language_of(project: Project) -> str:
    """The language detected in the first seeds; empty if they cannot be read."""
    with suppress(PairsmithError):
        seeds = read_seeds(project.spec.seeds, project.folder, inside=True).seeds[:EXCERPTS]
        return detect_language([seed.body for seed in seeds]) if seeds else ""
    return ""


def _free_name(project: Project, name: str) -> str:
    """The name of the current seeds or a new one, with a number if an earlier file, which nothing reads, has it."""
    current = {source.path for source in project.spec.seeds}
    stem, ending = Path(name).stem, Path(name).suffix
    names = (name, *(f"{stem}-{n}{ending}" for n in range(2, 1000)))
    return next(n for n in names if f"seeds/{n}" in current or not (project.folder / "seeds" / n).exists())


def save_columns(
    request: Request, caller: Caller, slug: str, source: int, headers: list[str], roles: list[str], kind: str
) -> str:
    """Save how a seed file is read. If the outputs are records, a rewrite task becomes an extract task. Settings
    derived from the previous outputs follow the chosen ones.

    Returns the key of the message to show. Raises UsageError, SpecError or Refusal."""
    folder = state_of(request).workspace.folder(slug)
    project = state_of(request).workspace.project(slug)
    values = keys_for_roles(project, source, headers, roles, kind)
    outputs = outputs_of(project, source, roles)
    schema = schema_of(outputs)
    followed = _schema_to_follow(project, source, schema)
    kind_may_change = project.spec.task.kind in ("rewrite", "free") and not (folder / SCHEMA).exists()
    if extracts := schema is not None and kind_may_change:
        values |= {**_keys_for_kind("extract"), "task.schema": SCHEMA}
    values |= (fitted := _keys_for_outputs(project, source, outputs))
    if extracts and "sampling" not in project.spec.evaluate.model_fields_set:
        values |= {"evaluate.sampling.max_tokens": answer_tokens(outputs)}
    text = current_spec(request, slug)
    fresh = remove_comments(text, guess_sentences(project, source))
    if extracts:
        _write_schema(folder, schema)
    try:
        save_spec(request, caller, slug, set_keys(fresh, values), if_match=etag_of(text))
    except PairsmithError:
        if extracts:
            (folder / SCHEMA).unlink()
        raise
    if followed:
        _write_schema(folder, followed)
    return "records" if extracts else "fitted" if fitted or followed else "saved"


def _write_schema(folder: Path, schema: Json | None) -> None:
    with replaced(folder / SCHEMA) as file:
        file.write_text(json.dumps(schema, ensure_ascii=False, indent=2), encoding="utf-8")


def _schema_to_follow(project: Project, at: int, schema: Json | None) -> Json | None:
    """`schema`, of the new outputs of source number `at`, if the task's own was derived from the present outputs."""
    if schema is None or project.spec.task.answer_schema != SCHEMA or not project.spec.seeds[at:]:
        return None
    source = project.spec.seeds[at]
    with suppress(PairsmithError, OSError, ValueError):
        present = json.loads((project.folder / SCHEMA).read_bytes())
        if present == schema:
            return None
        if present in (
            schema_of(current_outputs(project, at)),
            guess(project.folder / source.path, "extract", source.encoding).schema,
        ):
            return schema
    return None


def _keys_for_outputs(project: Project, at: int, outputs: Sequence[str]) -> dict[str, Any]:
    """The spec keys that follow from `outputs`, the new outputs of source number `at`: the token limit of test answers,
    if it has no room for them; the bounds on their words, if these were derived from the present outputs; and the
    labels of a classifier. New labels are added, or replace the old ones if none of these occurs any more."""
    spec, values = project.spec, dict[str, Any]()
    if not outputs or outputs == (before := current_outputs(project, at)):
        return {}
    if (limit := spec.evaluate.sampling.max_tokens) and limit < (needed := answer_tokens(outputs)):
        values["evaluate.sampling.max_tokens"] = needed
    length = spec.curate.gates.length
    if before and length and (length.min_words, length.max_words) == word_bounds(before):
        keys = ("curate.gates.length.min_words", "curate.gates.length.max_words")
        values |= dict(zip(keys, word_bounds(outputs), strict=True))
    labels = distinct_labels(outputs)
    other = [label for label in labels if label_in(spec.task.labels, label) is None]
    if spec.task.kind == "classify" and other and 1 < len(labels) <= len(outputs) / 2:
        kept = spec.task.labels if len(other) < len(labels) else {}
        every = {**kept, **dict.fromkeys(other, "")}
        values["task.labels"] = every if any(every.values()) else list(every)
    return values
