"""The pages of a complete project in real Chromium: each fits a desktop and a phone, and can be used by keyboard."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")
pytest.importorskip("playwright.sync_api", reason="no browser: needs the package playwright")

from playwright import sync_api as playwright

import pairsmith
from tests.pairsmith import own_pairs, report_project
from tests.serve.conftest import write_project
from tests.serve.looked import HEIGHT, axe_violations, layout_problems, listen, small_targets
from tests.serve.site import CHROMIUM, FLAGS, Site

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: needs {CHROMIUM}")
_WAIT_MS = 180_000  # for a busy machine
PAGES = (
    "/", "/new", "/settings", "/people", "/keys", "/audit", "/p/whole", "/p/whole/run", "/p/whole/rows?state=accepted",
    "/p/whole/prompts", "/p/whole/review", "/p/whole/training", "/p/whole/evaluation", "/p/whole/downloads",
    "/p/whole/setup", "/p/empty/rows", "/p/none", "/p/odd/rows", "/p/odd/rows?sort=newest",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three projects: a complete one, one with long words, and one without rows. No job runs."""
    nobody = "http://127.0.0.1:9"
    site = Site(tmp_path_factory.mktemp("space"), nobody)
    folder = site.workspace.new_folder("whole")
    folder.mkdir(parents=True)
    report_project.whole(folder, merged=False)[1].close()
    write_project(site.workspace, "empty", nobody)
    _write_odd_rows(site.workspace.new_folder("odd"))
    site.start()
    yield site
    site.stop()


def _write_odd_rows(folder: Path) -> None:
    """A row without a space, one of twenty thousand characters on many lines, and one whose text has one space."""
    rows = {"y" * 500: "x" * 4000, "first line\nlast line": "a line of words\n" * 1250, "标题 " + "字" * 3000: "回答"}
    lines = [json.dumps({"input": input, "output": output}) for input, output in rows.items()]
    folder.mkdir()
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    (folder / "pairsmith.toml").write_text(own_pairs.SPEC)
    pairsmith.Project(folder).generate()


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Any]:
    """Started after the site: filling its projects runs an event loop, which would conflict with the browser's."""
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, site: Site) -> Iterator[Any]:
    """A page that must log no errors or warnings during the test."""
    messages: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900}, base_url=site.url)
    page.set_default_timeout(_WAIT_MS)
    listen(page, messages)
    yield page
    page.close()
    assert messages == []


def _wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _WAIT_MS / 1000
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


def _press(page: Any, key: str) -> None:
    """Press it once the script of the page runs: a page that is still loading ignores keys."""
    page.wait_for_load_state()
    page.keyboard.press(key)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_fit_and_are_accessible(site: Site, browser: Any, width: int, scheme: str) -> None:
    """No sideways scrolling, no serious axe violation, no console message, exactly one h1, and touch targets of at
    least 44 px on a phone."""
    messages: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, base_url=site.url)
    page.set_default_timeout(_WAIT_MS)
    listen(page, messages)
    for path in PAGES:
        page.goto(path)
        page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
        small = small_targets(page) if width == 390 else []
        assert (path, layout_problems(page) + axe_violations(page) + small) == (path, [])
    page.close()
    assert [line for line in messages if "404" not in line] == []


def test_file_can_be_dropped_on_the_field(page: Any) -> None:
    """A dropped file is selected as if it had been chosen, and a project is created from it."""
    page.goto("/new")
    dropped = page.evaluate_handle(
        "() => { const files = new DataTransfer();"
        " files.items.add(new File(['a kite in fog\\na crane at dusk\\n'], 'ideas.txt', {type: 'text/plain'}));"
        " return files }"
    )
    page.dispatch_event("[data-drop=file]", "drop", {"dataTransfer": dropped})
    assert page.eval_on_selector("#file", "field => field.files[0].name") == "ideas.txt"
    page.get_by_label("Project name").fill("dropped")
    page.get_by_role("button", name="Create project").click()
    playwright.expect(page.locator("h1")).to_contain_text("2 seeds")


def test_rows_can_be_searched_opened_compared_and_answered(site: Site, page: Any) -> None:
    """Search filters while typing and is kept in the URL. Keys select, open, compare, answer and close rows, and Tab
    continues in the row that was opened."""
    page.goto("/p/whole/rows?state=accepted")
    _press(page, "/")
    page.keyboard.type("harbour", delay=20)
    playwright.expect(page.locator("h1")).to_contain_text("“harbour”")
    _wait_until(lambda: "q=harbour" in page.url)
    page.get_by_label("Sort by").focus()
    page.locator("h1").click()
    _press(page, "j")
    _press(page, "j")
    _press(page, "Enter")
    drawer = page.locator("#drawer")
    playwright.expect(drawer).to_contain_text("enhance/v1")
    opened = page.url
    _press(page, "Tab")  # focus continues in the opened row, not after fifty rows
    playwright.expect(drawer.get_by_role("link", name="Close")).to_be_focused()
    _press(page, "c")
    playwright.expect(page.locator("#drawer .side > li").first).to_be_visible()
    assert page.locator("#drawer ins").count() > 0
    page.goto(opened)
    _press(page, "a")
    playwright.expect(page.locator(".done")).to_contain_text("saved")
    playwright.expect(page.locator("#drawer")).to_contain_text("accept by local")
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Corrected output").fill("a better one --ar 3:2")
    page.get_by_role("button", name="Save edit").click()
    playwright.expect(page.locator("#drawer")).to_contain_text("edit by local")
    _press(page, "Escape")
    playwright.expect(page.locator("#drawer")).to_have_count(0)
    page.wait_for_load_state()  # until then neither the rows nor the mark are there
    rows = "[...document.querySelectorAll('.rows tbody tr')].findIndex(row => row.matches('.at'))"
    closed = page.evaluate(rows)
    _press(page, "j")
    assert page.evaluate(rows) == closed + 1 > 0, "it continues at the row that was closed"
    page.keyboard.type("gu")  # in one request, because the second key counts for 1.5 s
    playwright.expect(page).to_have_url(re.compile("/run$"))
    _press(page, "Shift+?")
    playwright.expect(page.get_by_role("dialog")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_long_row_can_be_answered_where_it_is_read(site: Site, browser: Any, width: int) -> None:
    """The row that is opened begins at the top of the window, its lines are kept, and its buttons are in view however
    long its text is: they were twenty screens below on a phone. The last row of a list is still in view once open."""
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, base_url=site.url)
    page.set_default_timeout(_WAIT_MS)
    page.goto("/p/odd/rows")
    assert page.get_by_role("link", name="标题 字字字").count() == 1, "a text is not cut at its only space"
    page.get_by_role("link", name="first line").click()
    playwright.expect(page.locator("#drawer-title")).to_be_focused()
    playwright.expect(page.locator("#drawer-title")).to_be_in_viewport()
    playwright.expect(page.get_by_role("button", name="Accept")).to_be_in_viewport()
    assert page.locator("#drawer .from").inner_text() == "first line\nlast line"
    _press_before_the_next_page(page, "a", "r")  # the second key is not another answer to this row
    playwright.expect(page.locator("#drawer .done")).to_be_in_viewport()
    assert "reject by local" not in page.locator("#drawer").inner_text()
    for keys in (("j", "Enter", "r"), ("Escape", "r")):  # nor to one that is being left for another or closed
        _press_before_the_next_page(page, *keys)
    playwright.expect(page.locator("#drawer")).to_have_count(0)
    assert page.get_by_text("answered").count() == 1
    page.goto("/p/whole/rows")
    page.locator(".rows tbody tr a").last.click()
    playwright.expect(page.locator("#drawer-title")).to_be_in_viewport()
    if width == 1280:  # the list is beside it
        playwright.expect(page.locator(".rows tr[aria-current]")).to_be_in_viewport()
    page.close()


def _press_before_the_next_page(page: Any, *keys: str) -> None:
    """Press keys of which the last but one requests a page, which arrives only after the last, and wait for it."""
    held: list[Any] = []
    page.wait_for_load_state()
    page.route("**", lambda route: held.append(route))
    for key in keys:
        page.keyboard.press(key)
    while not held:
        page.wait_for_timeout(10)  # in which Playwright calls the function above
    with page.expect_navigation():
        for route in held:
            route.continue_()
        page.unroute("**")


def test_pages_work_without_javascript(site: Site, browser: Any) -> None:
    """Without JavaScript every page is rendered, and search and opening a row work."""
    context = browser.new_context(java_script_enabled=False, base_url=site.url)
    context.set_default_timeout(_WAIT_MS)
    page = context.new_page()
    for path in PAGES:
        page.goto(path)
        assert page.locator("h1").count() == 1
    page.goto("/p/whole/rows")
    page.get_by_label("Search inputs and outputs").fill("harbour")
    page.get_by_role("button", name="Search").click()
    playwright.expect(page.locator("h1")).to_contain_text("“harbour”")
    page.locator(".rows tbody a").first.click()
    playwright.expect(page.locator("#drawer")).to_have_count(1)
    context.close()


def test_many_tabs_share_one_stream(site: Site, browser: Any) -> None:
    """With more tabs than a browser opens connections to a host, the server has one stream. Each tab is updated when a
    job ends and can send requests meanwhile, and closing a tab does not affect the others."""
    _wait_until(lambda: site.app.state.limits.running("streams") == 0)  # pages of other tests are closed
    write_project(site.workspace, "tabs", "http://127.0.0.1:9")
    context = browser.new_context(base_url=site.url)
    context.set_default_timeout(_WAIT_MS)
    context.add_init_script("window.setInterval = () => 0")  # disable polling, which would hide a lost stream
    tabs = [context.new_page() for _ in range(14)]
    for tab in tabs:
        tab.goto("/p/tabs/run")
        playwright.expect(tab.locator("h1")).to_contain_text("Nothing has run")
    _wait_until(lambda: site.app.state.limits.running("streams") == 1)
    tabs.pop(0).close()
    job = context.request.post("/api/v1/projects/tabs/jobs", data={"command": "curate"}).json()["id"]
    for tab in tabs:
        assert tab.evaluate("fetch('/api/v1/projects/tabs').then((answer) => answer.status)") == 200
        playwright.expect(tab.locator("h1")).to_contain_text("nothing has been generated")
        assert tab.evaluate("performance.getEntriesByType('navigation').length") == 1
    assert context.request.get(f"/api/v1/jobs/{job}").json()["state"] == "failed"
    _wait_until(lambda: site.app.state.limits.running("streams") == 1)  # the closed tab is noticed later
    for tab in tabs:
        tab.reload()
        playwright.expect(tab.locator("h1")).to_contain_text("nothing has been generated")
    context.close()
    _wait_until(lambda: site.app.state.limits.running("streams") == 0)


def test_a_host_is_removed_only_after_confirmation(site: Site, browser: Any) -> None:
    """Projects can no longer send requests to it. Whoever declines keeps it."""
    page, questions = browser.new_page(base_url=site.url), list[str]()
    page.set_default_timeout(_WAIT_MS)

    def answer(dialog: Any) -> None:
        questions.append(dialog.message)
        dialog.dismiss() if len(questions) == 1 else dialog.accept()

    page.on("dialog", answer)
    page.goto("/settings")
    page.get_by_label("Address").fill("http://127.0.0.1:7")
    page.get_by_role("button", name="Allow host").click()
    row = page.locator("#hosts tr", has_text="127.0.0.1:7")
    for left in (1, 0):
        row.get_by_role("button", name="Remove").click()
        _wait_until(lambda left=left: row.count() == left and len(questions) == 2 - left)
    assert questions[0].startswith("Stop allowing 127.0.0.1:7? ")
    page.close()
