"""Tests of the report in a real browser: it fits a narrow screen, loads nothing and logs no errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairsmith.report import isolate_quotes, write_report
from tests.pairsmith import report_project

CHROMIUM = Path("/usr/bin/chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="no browser: needs the package playwright")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: needs {CHROMIUM}")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    project, store = report_project.whole(folder, merged=False, curve=True)
    with store:
        return write_report(project, store, folder / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=flags, timeout=180_000)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_fits_and_loads_nothing(report: Path, browser: Any, width: int, scheme: str) -> None:
    """No horizontal scrolling with all details open, nor of a table on a wide screen; no request except the file
    itself, no console message."""
    messages, requests = [], []
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri(), timeout=180_000)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    hidden = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.ariaLabel)"
    assert width < 1280 or page.eval_on_selector_all(".scroll", hidden) == []
    assert requests == [report.as_uri()]
    assert messages == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(report: Path, browser: Any, scheme: str) -> None:
    """Every text colour of the page has a contrast of at least 4.5:1 with its background (WCAG 2.2, 1.4.3)."""
    page = browser.new_page(viewport={"width": 1280, "height": 844}, color_scheme=scheme)
    page.goto(report.as_uri(), timeout=180_000)
    colours = page.evaluate(
        """() => {
            const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = new Set();
            while (texts.nextNode()) {
                if (texts.currentNode.data.trim()) {
                    const style = getComputedStyle(texts.currentNode.parentElement);
                    found.add(texts.currentNode.parentElement.closest('svg') ? style.fill : style.color);
                }
            }
            return [getComputedStyle(document.body).backgroundColor, ...found];
        }"""
    )
    ground, *inks = [_luminance(colour) for colour in colours]
    assert len(inks) >= 2
    for ink, colour in zip(inks, colours[1:], strict=True):
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5, colour
    page.close()


def _luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` by WCAG's formula."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


_PLACES = """() => {
  const at = (node, n) => {
    const range = document.createRange(); range.setStart(node, n); range.setEnd(node, n + 1);
    return range.getBoundingClientRect().left;
  };
  const text = "الماء مالح.", row = document.querySelector(".examples li:has(.to)"), why = row.querySelector(".detail");
  const [q, output] = row.querySelectorAll("q");
  q.textContent = output.textContent = text;
  why.innerHTML = `says “<bdi>بالتأكيد! إليك الأسئلة:</bdi>” <span class="hash">3f80248189f2</span>`;
  const id = why.querySelector(".hash"), box = one => one.getBoundingClientRect();
  return {
    input: box(q).bottom, output: box(output).top, stop: at(q.firstChild, text.length - 1), first: at(q.firstChild, 0),
    parts: id.getClientRects().length, id: box(id).left, why: box(why.querySelector("bdi")).right,
  };
}"""


def test_right_to_left_text_is_laid_out_correctly(report: Path, browser: Any) -> None:
    """An Arabic sentence's full stop is at its left end, and its output below it. The id after an Arabic quotation is
    whole and to its right: it used to be split, with its first digit before the quotation."""
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.goto(report.as_uri(), timeout=180_000)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
    places = page.evaluate(_PLACES)
    assert places["stop"] < places["first"]
    assert places["output"] > places["input"]
    assert places["parts"] == 1
    assert places["id"] > places["why"]
    page.close()


def test_quotations_in_reasons_are_isolated() -> None:
    """Only the quotation is isolated, with its special characters escaped."""
    assert isolate_quotes("says “<b>” & more") == "says “<bdi>&lt;b&gt;</bdi>” &amp; more"
    assert isolate_quotes("run `pairsmith train`") == "run <code>pairsmith train</code>"
