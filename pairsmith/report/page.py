"""Drawing the evidence as one HTML page that opens offline: it holds its style sheet and charts, and no script."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from pairsmith.report import certified, judged, proof, sentences
from pairsmith.report.evidence import Evidence
from pairsmith.report.next_steps import next_steps
from pairsmith.style import charts, numbers

_FOLDER = Path(__file__).parent
_CSS = Path(charts.__file__).with_name("page.css")


def render(evidence: Evidence) -> str:
    """The page. Every text of the evidence is escaped: a seed with a tag in it is shown, never obeyed."""
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
    return environment.get_template("page.html.j2")
