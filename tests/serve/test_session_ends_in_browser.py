"""What was typed, after a form was refused and after a session ended, in real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")
pytest.importorskip("playwright.sync_api", reason="no browser: needs the package playwright")

import argon2
from playwright import sync_api as playwright

from tests.serve.conftest import write_project
from tests.serve.site import CHROMIUM, FLAGS, Site

PASSWORD = "four words are good"
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: needs {CHROMIUM}")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """One project and one person, whose password is quickly looked at."""
    own = Site(tmp_path / "space", "http://127.0.0.1:9", no_auth=False)
    write_project(own.workspace, "kites", own.teacher)
    accounts = own.app.state.accounts
    accounts._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    accounts.redeem(accounts.first_owner_link(), "ann", PASSWORD)
    own.start()
    yield own
    own.stop()


@pytest.fixture
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


def _sign_in(page: Any) -> None:
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_what_was_typed_outlives_the_session(own: Site, browser: Any) -> None:
    """Signed out while they typed, a person signs in again and finds what they had sent in its fields; a password never
    is; and a page that cannot be drawn anew says of when it is."""
    _typed_and_signed_out(own, browser.new_context(base_url=own.url))


@pytest.mark.parametrize("script", [True, False])
def test_one_goes_back_to_a_form_that_was_refused(own: Site, browser: Any, script: bool) -> None:
    """With what was typed and what is wrong with it, whether one had gone on or corrected it; until one signs out. A
    form with a link that opens something is not kept."""
    context = browser.new_context(base_url=own.url, java_script_enabled=script)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto("/sign-in?next=/new")
    _sign_in(page)
    page.get_by_label("Project name").fill("kites")
    page.get_by_label("Your data, one item per line").fill("a typed line")
    page.get_by_role("button", name="Create project").click()
    taken = "The project 'kites' already exists"
    playwright.expect(page.locator("#problem")).to_contain_text(taken)
    page.get_by_role("link", name="Settings").click()
    playwright.expect(page.locator("h1")).to_contain_text("signed in as ann")
    page.go_back()
    playwright.expect(page.locator("#problem")).to_contain_text(taken)
    playwright.expect(page.get_by_label("Your data, one item per line")).to_have_value("a typed line")

    page.goto("/p/kites/setup")
    cap = page.get_by_label("Project cap")
    for sum_, heading in (("lots", "spending has no cap"), ("5", "capped at $5.00")):
        cap.fill(sum_)
        page.get_by_role("button", name="Save cap").click()
        playwright.expect(page.locator("h1")).to_contain_text(heading)
    page.go_back()
    playwright.expect(page.locator("#cap .problem")).to_be_visible()
    playwright.expect(cap).to_have_value("5")  # as it was left
    page.go_forward()
    page.goto("/settings")
    page.get_by_role("button", name="Sign out", exact=True).click()
    playwright.expect(page.locator("h1")).to_contain_text("Sign in")
    for _ in range(5):  # past the settings, the setup and its refusal to whatever came before
        with suppress(playwright.Error):
            page.go_back()
        assert page.locator(".problem").count() == 0
    context.close()


def _typed_and_signed_out(own: Site, context: Any) -> None:
    page = context.new_page()
    page.set_default_timeout(120_000)  # a busy machine

    typed = "Written for ten minutes: äöü"
    page.goto("/p/kites/setup")
    _sign_in(page)
    playwright.expect(page).to_have_url(re.compile("/p/kites/setup$"), timeout=120_000)
    page.get_by_label("What makes a good output").fill(typed)
    context.clear_cookies()
    page.get_by_role("button", name="Save style").click()
    playwright.expect(page.locator("h1")).to_have_text("You are signed out.", timeout=120_000)
    page.get_by_role("link", name="Sign in and continue").click()
    _sign_in(page)
    playwright.expect(page.get_by_label("What makes a good output")).to_have_value(typed, timeout=120_000)
    playwright.expect(page.get_by_text("Your input has been restored")).to_be_visible()
    assert "four words" not in page.evaluate("JSON.stringify(sessionStorage)")
    page.get_by_role("button", name="Save style").click()
    playwright.expect(page.locator("#style .done")).to_contain_text("Saved", timeout=120_000)

    page.goto("/p/kites/run")
    playwright.expect(page.locator("#stale")).to_be_hidden()
    own.stop()
    page.evaluate("htmx.trigger('#live', 'live')")
    playwright.expect(page.locator("#stale")).to_contain_text(
        "The service is not responding. It shows the state as of", timeout=120_000
    )
    context.close()
