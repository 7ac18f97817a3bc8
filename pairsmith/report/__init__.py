"""The report: one self-contained HTML file on what the pipeline did and what it did and did not prove, and beside it
the evidence file it was rendered from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from pairsmith.report import certified, judged, proof, sentences
from pairsmith.stages.export import EVIDENCE
from pairsmith.style import charts, numbers
from schemas.errors import StoreError
from schemas.files import replaced
from schemas.project import Project
from schemas.store import Store
from schemas.store.latest import present

if TYPE_CHECKING:
    from pairsmith.report.evidence import Evidence
    from pairsmith.report.evidence_file import CheckedEvidence


def write_report(project: Project, store: Store, out: Path) -> Path:
    """Write the report of the store's present state to the file `out`, and `evidence.json` beside it; return its path.

    Stages that have not run are shown as such. Raises StoreError if a file cannot be written.
    """
    from pairsmith.report.evidence_file import write_evidence
    from pairsmith.report.gather import gather

    evidence = gather(project, store)
    _write(out, render(evidence))
    write_evidence(project, evidence, present(store).values(), out.with_name(EVIDENCE))
    return out


def render_evidence(path: Path, out: Path, folders: Sequence[Path] = ()) -> CheckedEvidence:
    """Write the report of an evidence file to `out`; see `read_evidence`."""
    from pairsmith.report.evidence_file import read_evidence

    checked = read_evidence(path, folders)
    _write(out, render(checked.evidence))
    return checked


def _write(out: Path, page: str) -> None:
    fix = "Free some space or fix the folder's permissions, and run it again."
    try:
        if out.is_dir():
            raise IsADirectoryError("it is a folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with replaced(out) as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        is_named = isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError)
        raise StoreError(
            f"the report cannot be written: {error.strerror or error}.",
            where=str(out),
            fix="Name a file in a folder." if is_named else fix,
        ) from None


_FOLDER = Path(__file__).parent
_CSS = Path(charts.__file__).with_name("page.css")


def render(evidence: Evidence) -> str:
    """Render the page. All text of the evidence is escaped: a seed that contains a tag is shown as text."""
    from pairsmith.report.next_steps import next_steps

    css = Markup(_CSS.read_text(encoding="utf-8"))
    words = {
        "say": sentences,
        "proof": proof,
        "judged": judged,
        "certified": certified,
        "next_steps": next_steps,
        "fmt": numbers,
        "chart": charts,
    }
    return _template().render(e=evidence, css=css, **words)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["isolate_quotes"] = isolate_quotes
    return environment.get_template("page.html.j2")


def isolate_quotes(sentence: str) -> Markup:
    """Wrap quoted text in <bdi>, so that quoted Arabic does not reverse the text after it, and text in backticks in
    <code>."""
    quoted = re.sub("“([^”]*)”", r"“<bdi>\1</bdi>”", str(escape(sentence)))
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", quoted))
