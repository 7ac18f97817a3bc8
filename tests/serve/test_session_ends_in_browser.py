"""A session that ends while somebody types, in real Chromium."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")
pytest.importorskip("playwright.sync_api", reason="no browser: needs the package playwright")

import argon2
from playwright import sync_api as playwright

from tests.serve.conftest import write_project
from tests.serve.site import CHROMIUM, FLAGS, Site

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: needs {CHROMIUM}")


def test_what_was_typed_outlives_the_session(tmp_path: Path) -> None:
    """Signed out while they typed, a person signs in again and finds what they had sent in its fields; a password never
    is; and a page that cannot be drawn anew says of when it is."""
    own = Site(tmp_path / "space", "http://127.0.0.1:9", no_auth=False)
    write_project(own.workspace, "kites", own.teacher)
    accounts = own.app.state.accounts
    accounts._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    accounts.redeem(accounts.first_owner_link(), "ann", "four words are good")
    own.start()
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        _typed_and_signed_out(own, browser.new_context(base_url=own.url))
        browser.close()


def _typed_and_signed_out(own: Site, context: Any) -> None:
    page = context.new_page()
    page.set_default_timeout(120_000)  # a busy machine

    def sign_in() -> None:
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill("four words are good")
        page.get_by_role("button", name="Sign in").click()

    typed = "Written for ten minutes: äöü"
    page.goto("/p/kites/setup")
    sign_in()
    playwright.expect(page).to_have_url(re.compile("/p/kites/setup$"), timeout=120_000)
    page.get_by_label("What a good output is").fill(typed)
    context.clear_cookies()
    page.get_by_role("button", name="Keep the style").click()
    playwright.expect(page.locator("h1")).to_have_text("You are signed out.", timeout=120_000)
    page.get_by_role("link", name="Sign in and go on").click()
    sign_in()
    playwright.expect(page.get_by_label("What a good output is")).to_have_value(typed, timeout=120_000)
    playwright.expect(page.get_by_text("What you had typed is back")).to_be_visible()
    assert "four words" not in page.evaluate("JSON.stringify(sessionStorage)")
    page.get_by_role("button", name="Keep the style").click()
    playwright.expect(page.locator("#style .done")).to_contain_text("Saved", timeout=120_000)

    page.goto("/p/kites/run")
    playwright.expect(page.locator("#stale")).to_be_hidden()
    own.stop()
    page.evaluate("htmx.trigger('#live', 'live')")
    playwright.expect(page.locator("#stale")).to_contain_text(
        "The service does not answer. What stands here is of", timeout=120_000
    )
    context.close()
