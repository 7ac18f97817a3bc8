"""The pages in real Chromium: a project from its first input to its rows, on a desk and on a phone."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")
pytest.importorskip("playwright.sync_api", reason="no browser: needs the package playwright")

from playwright import sync_api as playwright

from tests.pairsmith import report_project
from tests.pairsmith.conftest import answer
from tests.serve.conftest import write_project
from tests.serve.site import CHROMIUM, FLAGS, Site
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: needs {CHROMIUM}")
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
PAGES = (
    "/", "/new", "/settings", "/people", "/keys", "/audit", "/p/whole", "/p/whole/run", "/p/whole/rows?state=accepted",
    "/p/whole/prompts", "/p/whole/review", "/p/whole/training", "/p/whole/evaluation", "/p/whole/downloads",
    "/p/whole/setup", "/p/empty/rows", "/p/none",
)  # fmt: skip
SUBJECTS = tuple(
    f"a {kind} {thing}"
    for kind in ("red", "old", "tiny", "wet")
    for thing in ("kite", "crane", "teapot", "tram", "fox")
)


_answers, _asked = [math.inf], [0]
"""How many answers the teacher of the one site gives, and for how many it was asked by now; those beyond wait."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three projects. A run ends where people would be asked: no Argilla of this machine is started or used."""
    _answers[:], _asked[:] = [math.inf], [0]

    def slowly(ask: Ask) -> Reply:
        nth, _asked[0] = _asked[0], _asked[0] + 1
        return replace(answer(ask), delay_s=0.4, when=lambda: nth < _answers[0])

    nowhere = tmp_path_factory.mktemp("home") / "a file"
    nowhere.touch()
    with LoopbackTeacher(slowly) as teacher, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAIRSMITH_ARGILLA_HOME", str(nowhere / "argilla"))
        site = Site(tmp_path_factory.mktemp("space"), teacher.url)
        folder = site.workspace.new_folder("whole")
        folder.mkdir(parents=True)
        report_project.whole(folder, merged=False)[1].close()
        write_project(site.workspace, "empty", teacher.url)
        write_project(site.workspace, "tickets", teacher.url, SUBJECTS)
        site.start()
        yield site
        site.stop()


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Any]:
    """Started after the site: what fills its projects runs a loop of its own, which the browser's would not let."""
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Any]:
    """A page that complains of nothing, for as long as the test lasts."""
    said: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900}, base_url=site.url)
    _listen(page, said)
    yield page
    page.close()
    assert said == []


def _listen(page: Any, said: list[str]) -> None:
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))


def _soon(holds: Callable[[], bool], wait_s: float = 180) -> None:
    until = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (390, "light"), (1280, "dark")])
def test_pages_fit_and_can_be_used_by_everybody(site: Site, browser: Any, width: int, scheme: str) -> None:
    """No sideways scrolling, no serious finding of axe, nothing in the console, one h1 and a name for every control."""
    said: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme, base_url=site.url)
    _listen(page, said)
    for path in PAGES:
        page.goto(path)
        page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.locator("h1").count() == 1
        if (width, scheme) not in ((1280, "light"), (390, "dark")):
            continue  # axe takes a second a page, and colours are those of the other two
        page.evaluate(AXE)
        found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        serious = [
            (path, each["id"], each["nodes"][0]["html"][:200], each["nodes"][0].get("failureSummary", "")[:300])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []
    page.close()
    assert [line for line in said if "404" not in line] == []


def test_a_run_is_watched_stopped_and_goes_on(site: Site, page: Any) -> None:
    """Started with a button, a run is followed without a reload; stopped, it keeps what was answered; going on ends
    with every row curated, and no page says another number than the store."""
    page.goto("/p/tickets/run")
    _answers[0] = _asked[0] + 4  # it cannot end before it is stopped, however slow the page is
    page.get_by_role("button", name="Start", exact=True).click()
    heading = page.locator("h1")
    playwright.expect(heading).to_contain_text("rows asked", timeout=180_000)
    first = heading.inner_text()
    _answers[0] += 4
    playwright.expect(heading).not_to_have_text(first, timeout=180_000)
    playwright.expect(page).to_have_title(re.compile(r"^\d+ % · tickets"), timeout=180_000)
    page.get_by_role("button", name="Stop and keep everything").click()
    page.wait_for_url("**done=stopping**", timeout=180_000)
    _answers[0] = math.inf
    playwright.expect(heading).to_contain_text("Stopped.", timeout=180_000)
    # The last rows may be shown a moment after the end.
    _soon(lambda: f" {site.app.state.views.page('tickets').total} rows are kept" in f" {heading.inner_text()}")
    assert site.app.state.views.page("tickets").total > 0
    page.get_by_role("button", name="Continue").click()
    _soon(lambda: site.app.state.views.facets("tickets").all.get("accepted", 0) > 0)
    _soon(lambda: not site.app.state.jobs.active())
    page.goto("/p/tickets/rows")
    counts = site.app.state.views.facets("tickets").all
    assert sum(counts.values()) == 2 * len(SUBJECTS)
    assert f"{counts['accepted']} accepted" in page.locator("h1").inner_text()
    page.goto("/p/tickets")
    assert f"{counts['accepted']} of {2 * len(SUBJECTS)} rows accepted" in page.locator("h1").inner_text()


def test_a_project_begins_with_what_is_pasted(site: Site, page: Any) -> None:
    """Name, inputs and style make a project; its teacher is tested before it is taken, and a preview shows five real
    answers with what all of them will cost, before anything else is asked."""
    page.goto("/")
    page.get_by_role("link", name="New project").click()
    page.get_by_label("Name of the project").fill("kites")
    page.get_by_label("What you have, one a line").fill("\n".join(SUBJECTS))
    page.get_by_label("What a good output is").fill("Rewrite the prompt richly and end with the word END.")
    page.get_by_role("button", name="Make the project").click()
    playwright.expect(page.locator("h1")).to_contain_text(f"{len(SUBJECTS)} seeds")
    page.get_by_label("Another address").check()
    page.get_by_label("Address", exact=True).fill(site.teacher)
    page.get_by_label("Model", exact=True).fill("loopback")
    page.get_by_role("button", name="Test").click()
    playwright.expect(page.locator(".done")).to_contain_text("It answers")
    playwright.expect(page.get_by_label("Address", exact=True)).to_have_value(site.teacher)
    page.get_by_role("button", name="Take this teacher").click()
    playwright.expect(page.locator(".done")).to_contain_text("Saved")
    page.get_by_role("button", name="Preview 5").click()
    _soon(lambda: not site.app.state.jobs.active() and bool(site.app.state.jobs.list("kites")))
    page.goto("/p/kites/setup")
    assert "5 seeds cost" in page.locator("#preview").inner_text()
    assert page.locator("#preview .row-list > li").count() == 5
    page.goto("/p/kites/prompts")
    assert page.locator("#beside .row-list > li").count() == 5


def test_a_file_is_dropped_on_the_field(page: Any) -> None:
    """It is chosen as if it had been picked, and a project is made of it."""
    page.goto("/new")
    dropped = page.evaluate_handle(
        "() => { const files = new DataTransfer();"
        " files.items.add(new File(['a kite in fog\\na crane at dusk\\n'], 'ideas.txt', {type: 'text/plain'}));"
        " return files }"
    )
    page.dispatch_event("[data-drop=file]", "drop", {"dataTransfer": dropped})
    assert page.eval_on_selector("#file", "field => field.files[0].name") == "ideas.txt"
    page.get_by_label("Name of the project").fill("dropped")
    page.get_by_role("button", name="Make the project").click()
    playwright.expect(page.locator("h1")).to_contain_text("2 seeds")


def test_rows_are_found_opened_compared_and_answered(site: Site, page: Any) -> None:
    """Search narrows while one types and stays in the address; keys walk, open, compare and answer."""
    page.goto("/p/whole/rows?state=accepted")
    page.keyboard.press("/")
    page.keyboard.type("harbour", delay=20)
    playwright.expect(page.locator("h1")).to_contain_text("“harbour”")
    _soon(lambda: "q=harbour" in page.url, 10)
    page.get_by_label("Order").focus()
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    drawer = page.locator("#drawer")
    playwright.expect(drawer).to_contain_text("enhance/v1")
    opened = page.url
    page.keyboard.press("c")
    playwright.expect(page.locator("#drawer .side > li").first).to_be_visible()
    assert page.locator("#drawer ins").count() > 0
    page.goto(opened)
    page.keyboard.press("a")
    playwright.expect(page.locator(".done")).to_contain_text("kept")
    playwright.expect(page.locator("#drawer")).to_contain_text("accept by local")
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("The output as it should be").fill("a better one --ar 3:2")
    page.get_by_role("button", name="Keep the edit").click()
    playwright.expect(page.locator("#drawer")).to_contain_text("edit by local")
    page.keyboard.press("g")
    page.keyboard.press("u")
    playwright.expect(page).to_have_url(re.compile("/run$"))
    page.keyboard.press("Shift+?")
    playwright.expect(page.get_by_role("dialog")).to_be_visible()


def test_it_reads_without_script(site: Site, browser: Any) -> None:
    """Without JavaScript every page says what it says with it, search and filters work, and a run can be started."""
    context = browser.new_context(java_script_enabled=False, base_url=site.url)
    page = context.new_page()
    for path in PAGES:
        page.goto(path)
        assert page.locator("h1").count() == 1
    page.goto("/p/whole/rows")
    page.get_by_label("Search in inputs and outputs").fill("harbour")
    page.get_by_role("button", name="Search").click()
    assert "“harbour”" in page.locator("h1").inner_text()
    page.locator(".rows tbody a").first.click()
    assert page.locator("#drawer").count() == 1
    context.close()


def test_many_tabs_of_one_browser_are_one_stream(site: Site, browser: Any) -> None:
    """More tabs than connections that a browser opens to a host: each still answers, and the server has one stream."""
    context = browser.new_context(base_url=site.url)
    tabs = [context.new_page() for _ in range(14)]
    for tab in tabs:
        tab.goto("/p/empty/run", timeout=20_000)
    _soon(lambda: site.app.state.limits.running("streams") >= 1, 10)
    assert site.app.state.limits.running("streams") == 1
    for tab in tabs:
        tab.reload(timeout=20_000)
        assert tab.locator("h1").count() == 1
    context.close()
