"""Argilla's page as an annotator uses it, in a real Chromium: each method is something a user does or sees.

Nothing sleeps: every step waits for the server's response or for the change on the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def chromium() -> str | None:
    """The path of an installed Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


needs_browser = pytest.mark.skipif(
    chromium() is None or find_spec("playwright") is None,
    reason="no browser: needs chromium and the package playwright",
)

PATIENCE_MS = 300_000  # a page that loads in two seconds takes thirty times as long on a busy machine

# A row that accepts keys: Argilla has focused its first question, and our script, a moment later, has assigned letters
# to its choices.
READY = "body.pairsmith [id^=verdict_]:focus"

# The element that shows the output, in JavaScript.
_OUTPUT = """[...document.querySelectorAll('.text_field_component')]
    .find(one => one.querySelector('.title-area').innerText.trim() === 'Output')?.querySelector('.markdown-render')"""


@contextmanager
def open_browser(url: str, tmp_path: Path, pictures: str) -> Iterator[Annotator]:
    """Yield a page that can reach only the server at `url`, so that it does not wait for web fonts.

    Screenshots go to the folder PAIRSMITH_ARTIFACTS or to the test's own; their names start with `pictures`."""
    from playwright.sync_api import sync_playwright

    folder = Path(os.environ.get("PAIRSMITH_ARTIFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=_FLAGS)
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(PATIENCE_MS)
        context.route(lambda asked: not asked.startswith(url), lambda route: route.abort())
        yield Annotator(context.new_page(), url, folder / pictures)
        browser.close()


class Annotator:
    """A user at the page. `page` is Playwright's."""

    def __init__(self, page: Any, url: str, pictures: Path) -> None:
        self.page, self.url, self.pictures = page, url, pictures

    def picture(self, name: str) -> None:
        self.page.screenshot(path=f"{self.pictures}-{name}.png", animations="disabled")

    def sign_in(self, name: str, password: str) -> None:
        self.page.goto(f"{self.url}/sign-in")
        self.page.locator("input[type=text]").fill(name)
        self.page.locator("input[type=password]").fill(password)
        self.picture("sign-in")
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_text("Your datasets").wait_for()

    def open(self, queue: str) -> None:
        """Open a queue's first row from the list of queues."""
        self.page.goto(self.url)
        self.page.get_by_text(queue, exact=True).click()
        self._row_is_ready()

    # ---- what is seen ----

    def field(self, title: str) -> Any:
        """Return the locator of a field's text."""
        title_ = self.page.get_by_text(title, exact=True)
        return self.page.locator(".text_field_component", has=title_).locator(".markdown-render")

    @property
    def output(self) -> str:
        return self.field("Output").inner_text().strip()  # type: ignore[no-any-return]

    def fully_visible(self) -> list[str]:
        """Return the field titles and question names of a row that are completely in view."""
        fields = [
            (one.inner_text(), one.locator("xpath=../..")) for one in self.page.locator(".title-area > span").all()
        ]
        asked = self.page.locator("[aria-label^='Question: ']").all()
        questions = [(str(one.get_attribute("aria-label")).removeprefix("Question: "), one) for one in asked]
        limit = self.page.locator(".footer-form").bounding_box()["y"]
        boxes = [(name, one.bounding_box()) for name, one in (*fields, *questions)]
        return [name for name, box in boxes if box and box["y"] + box["height"] <= limit]  # None: not on this row

    def wait_for_total(self, rows: int) -> None:
        """Wait until the page shows this total number of rows."""
        total = r"document.querySelector('[aria-label=\"Total Records\"]')?.innerText.replace(/\D/g, '')"
        self.page.wait_for_function(f"rows => {total} === rows", arg=str(rows))

    @property
    def suggested(self) -> str | None:
        """The verdict that is preselected and marked as a suggestion."""
        shown = self.page.locator("[id^=verdict_]:checked + div .label-text__suggestion")
        return _verdict(shown.locator("xpath=ancestor::label")) if shown.count() else None

    @property
    def chosen(self) -> str | None:
        shown = self.page.locator("[id^=verdict_]:checked + div label")
        return _verdict(shown) if shown.count() else None

    # ---- keys alone ----

    def press_verdict(self, verdict: str) -> None:
        """Press 1, 2 or 3. The key for edit moves the focus to the text; pressing 1 or 2 again changes nothing."""
        keys = {"accept": "1", "reject": "2", "edit": "3"}
        self.page.keyboard.press(keys[verdict])
        self._is_checked(f"verdict_{verdict}")
        if verdict != "edit":
            self.page.keyboard.press(keys[verdict])
        assert self.chosen == verdict
        assert not self.page.locator("[id^=reasons_]:checked").count()

    def press_reason(self, key: str, reason: str) -> None:
        """Press the letter of a reason."""
        self.page.keyboard.press(key)
        self._is_checked(f"reasons_{reason}")

    def write_with_keys(self, text: str) -> None:
        """Replace the output's text by keyboard, after the verdict edit, and leave the text."""
        text_ = self.page.locator("[aria-label='Question: edited'] [contenteditable]:focus")
        text_.wait_for()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)
        self.picture("edit")
        self.page.keyboard.press("Escape")
        text_.wait_for(state="detached")

    def press(self, key: str) -> str:
        """Press Enter, Backspace or Control+S; return the id of the record whose answer was sent."""
        sent = self._send(lambda: self.page.keyboard.press(key), leaves=key != "Control+S")
        self.page.locator(".questions-form.--waiting").wait_for(state="detached")  # until then it accepts no keys
        return sent

    # ---- the pointer ----

    def click_verdict(self, verdict: str) -> None:
        if self.chosen != verdict:
            self.page.locator(f"label[for=verdict_{verdict}]").click()
        self._is_checked(f"verdict_{verdict}")

    def click_reason(self, reason: str) -> None:
        self.page.locator(f"label[for=reasons_{reason}]").click()
        self._is_checked(f"reasons_{reason}")

    def click_submit(self) -> str:
        return self._send(self.page.get_by_role("button", name="Submit").click, leaves=True)

    def search(self, text: str) -> None:
        """Search all fields for a text; an empty text ends the search."""
        if not self.page.locator(".search-area__input").is_visible():
            self.page.locator(".search-area__icon").click()
        self.page.locator(".search-area__input").fill(text)
        self._wait_for_results(lambda: self.page.keyboard.press("Enter"))

    def filter_length(self, length: str) -> None:
        """Use the metadata filter that annotators have."""
        self.page.locator(".filters__filter-button").click()
        self.page.locator(".metadata-filter .dropdown__header").click()
        self.page.locator(".metadata-filter").get_by_text("Length of the output").click()
        self._wait_for_results(self.page.locator(".metadata-filter").get_by_text(length).click)
        self.picture("filter")
        self.page.locator(".metadata-filter .dropdown__header").click()

    def sort_by_length(self) -> None:
        """Sort the shortest first."""
        self.page.locator(".sort-filter .dropdown__header").first.click()
        self.page.locator(".sort-filter").get_by_text("Length of the output").click()
        self._wait_for_results(lambda: self.page.mouse.click(600, 790))

    def guidelines(self) -> str:
        """Open, read and close the guidelines; Tab returns the focus to the questions."""
        self.page.get_by_text("Guidelines").first.click()
        panel = self.page.locator(".markdown-render", has=self.page.get_by_role("heading", level=1))
        panel.wait_for()
        self.picture("guidelines")
        text: str = panel.inner_text()
        self.page.get_by_text("Guidelines").first.click()
        panel.wait_for(state="hidden")
        self.page.keyboard.press("Tab")
        self._row_is_ready()
        return text

    # ---- waiting ----

    def _row_is_ready(self) -> None:
        """Wait until the first question of a row has the focus."""
        self.page.locator(READY).wait_for(state="attached")

    def _is_checked(self, option: str) -> None:
        self.page.locator(f"[id='{option}']:checked").wait_for(state="attached")

    def _wait_for_results(self, act: Any) -> None:
        """Do what requests other rows from the server, and wait until the first of its response is on the page."""
        with self.page.expect_response(lambda answer: urlsplit(answer.url).path.endswith("/records/search")) as search:
            act()
        first = search.value.json()["items"][0]["record"]["fields"]["enhanced"]
        self.page.wait_for_function(
            f"""html => ({_OUTPUT})?.textContent.trim()
                === new DOMParser().parseFromString(html, 'text/html').body.textContent.trim()""",
            arg=first,
        )

    def _send(self, act: Any, *, leaves: bool) -> str:
        """Do what sends an answer. With `leaves`, wait until another row is ready for the keyboard, or none is left."""
        before = self.output
        with self.page.expect_response(
            lambda answer: "/responses" in answer.url and answer.request.method in ("POST", "PUT")
        ) as sent:
            act()
        assert sent.value.ok, sent.value.text()
        if leaves:
            self.page.wait_for_function(
                f"""before => {{
                    const output = {_OUTPUT};
                    if (!output) return document.body.innerText.includes('no pending records');
                    return output.innerText.trim() !== before && document.querySelector('{READY}');
                }}""",
                arg=before,
            )
        return str(sent.value.json()["record_id"])


def _verdict(label: Any) -> str:
    return str(label.get_attribute("for")).removeprefix("verdict_")
