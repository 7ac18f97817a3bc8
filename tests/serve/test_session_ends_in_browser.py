"""Form input after a refused form and after the end of a session, in real Chromium."""

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

import pairsmith
from tests.pairsmith import own_pairs
from tests.serve.conftest import write_project
from tests.serve.site import CHROMIUM, FLAGS, Site

PASSWORD = "four words are good"
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: needs {CHROMIUM}")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Two projects, one of them with a row, and one user, whose password is cheap to hash."""
    site = Site(tmp_path / "space", "http://127.0.0.1:9", no_auth=False)
    write_project(site.workspace, "kites", site.teacher)
    folder = site.workspace.new_folder("rows")
    folder.mkdir()
    (folder / "pairs.jsonl").write_text('{"input": "a kite in fog", "output": "It is grey."}\n')
    (folder / "pairsmith.toml").write_text(own_pairs.SPEC)
    pairsmith.Project(folder).generate()
    accounts = site.app.state.accounts
    accounts._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    accounts.redeem(accounts.first_owner_link(), "ann", PASSWORD)
    site.start()
    yield site
    site.stop()


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


def test_form_input_survives_the_end_of_the_session(site: Site, browser: Any) -> None:
    """A user who was signed out while typing signs in again and finds the input restored, but never a password. A page
    that cannot be refreshed shows the time of its state."""
    _check_restored_input(site, browser.new_context(base_url=site.url))


@pytest.mark.parametrize("script", [True, False])
def test_browser_goes_back_to_a_refused_form(site: Site, browser: Any, script: bool) -> None:
    """It still shows the input and the error, whether the user went to another page or corrected the form; but not
    after signing out."""
    context = browser.new_context(base_url=site.url, java_script_enabled=script)
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
    for sum_, place, words in (("lots", "#cap .problem", "lots"), ("5", "h1", "capped at $5.00")):
        cap.fill(sum_)
        page.get_by_role("button", name="Save cap").click()
        playwright.expect(page.locator(place)).to_contain_text(words)
    page.go_back()
    playwright.expect(page.locator("#cap .problem")).to_be_visible()
    playwright.expect(cap).to_have_value("5")  # as it was left
    page.go_forward()
    page.goto("/settings")
    page.get_by_role("button", name="Sign out", exact=True).click()
    playwright.expect(page.locator("h1")).to_contain_text("Sign in")
    for _ in range(5):  # past the settings and the setup page with its error, to the earliest page
        with suppress(playwright.Error):
            page.go_back()
        assert page.locator(".problem").count() == 0
    context.close()


def _check_restored_input(site: Site, context: Any) -> None:
    page = context.new_page()
    page.set_default_timeout(120_000)  # for a busy machine

    typed = "Written for ten minutes: äöü"
    page.goto("/p/kites/setup")
    _sign_in(page)
    playwright.expect(page).to_have_url(re.compile("/p/kites/setup$"), timeout=120_000)
    page.get_by_label("What makes a good output").fill(typed)
    _send_signed_out(page, "Save style")
    playwright.expect(page.get_by_label("What makes a good output")).to_have_value(typed, timeout=120_000)
    assert "four words" not in page.evaluate("JSON.stringify(sessionStorage)")
    page.get_by_role("button", name="Save style").click()
    playwright.expect(page.locator("#style .done")).to_contain_text("Saved", timeout=120_000)

    page.goto("/p/rows/rows")  # three forms have the address of an open row's answers
    page.get_by_role("link", name="a kite in fog").click()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Corrected output").fill(typed)
    _send_signed_out(page, "Save edit")
    playwright.expect(page.get_by_label("Corrected output")).to_have_value(typed, timeout=120_000)

    page.goto("/p/kites/run")
    playwright.expect(page.locator("#stale")).to_be_hidden()
    site.stop()
    page.evaluate("htmx.trigger('#live', 'live')")
    playwright.expect(page.locator("#stale")).to_contain_text(
        "The service is not responding. It shows the state as of", timeout=120_000
    )
    context.close()


def _send_signed_out(page: Any, button: str) -> None:
    """Send a form after the end of the session, and sign in again."""
    page.context.clear_cookies()
    page.get_by_role("button", name=button).click()
    playwright.expect(page.locator("h1")).to_have_text("You are signed out.", timeout=120_000)
    page.get_by_role("link", name="Sign in and continue").click()
    _sign_in(page)
    playwright.expect(page.get_by_text("Your input has been restored")).to_be_visible()
