"""From the one-time link to signing out, in real Chromium, with the real embedded model as teacher and as base."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")
pytest.importorskip("trl", reason="training needs the train extra")
pytest.importorskip("playwright.sync_api", reason="no browser: needs the package playwright")

from playwright import sync_api as playwright

from schemas.spec_file import SPEC_NAME, set_keys
from tests.serve.looked import Looked
from tests.serve.served import Served
from tests.serve.site import CHROMIUM, FLAGS

pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: needs {CHROMIUM}"),
]
_WAIT_MS = 600_000
IDEAS = tuple(
    f"a {kind} {thing}" for kind in ("red", "small", "wet", "tall") for thing in ("kite", "crane", "teapot", "tram")
)
QUESTION = "a blue kite"
LITTLE = {
    "generate.forward.n": 2,
    "generate.forward.sampling": {"temperature": 0.7, "top_p": 0.95, "max_tokens": 16},
    "teacher.concurrency": 1,  # slow enough to be stopped
    "train.learning_rate": 0.002,
    "train.batch": 4,
    "evaluate.samples": 1,
}
"""What makes a run of minutes one of seconds, and a tuned model another than its base."""


def test_a_project_from_the_link_to_signing_out(tmp_path: Path) -> None:
    """x"""
    root = tmp_path / "space"
    with Served(root, no_auth=False, OMP_NUM_THREADS="1") as server, playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        context = browser.new_context(base_url=server.url)
        context.set_default_timeout(_WAIT_MS)
        playwright.expect.set_options(timeout=_WAIT_MS)
        page = context.new_page()
        looked = Looked(page, tmp_path / "pictures")
        try:
            _flow(page, looked, server, root)
        finally:
            print(looked.wrong, looked.said)
            print(page.url, page.locator("h1").all_inner_texts())
            page.screenshot(path=looked.folder / "last.png", full_page=True)


def _flow(page: Any, looked: Looked, server: Served, root: Path) -> None:
    said = server.hears("redeem?token=")
    page.goto(re.search(r"http\S+redeem\?token=\S+", said)[0])
    looked.at("link")
    page.get_by_label("Your name here").fill("ann")
    page.get_by_label("A password").fill("four words are good")
    page.get_by_role("button", name="Make my account").click()
    page.wait_for_url(server.url + "/*")
    looked.at("projects")
    print(page.url)
    page.get_by_role("link", name="New project").first.click()
    page.get_by_label("Name of the project").fill("ideas")
    page.get_by_label("What you have, one a line").fill("\n".join(IDEAS))
    page.get_by_label("What a good output is").fill("Rewrite the idea as a prompt for a picture.")
    looked.at("new")
    page.get_by_role("button", name="Make the project").click()
    playwright.expect(page.locator("h1")).to_contain_text(f"{len(IDEAS)} seeds")
    page.get_by_role("button", name="Test").click()
    playwright.expect(page.locator(".done")).to_be_visible()
    print(page.locator(".done").inner_text())
    page.get_by_role("button", name="Take this teacher").click()
    playwright.expect(page.locator(".done")).to_contain_text("Saved")
    spec = root / "projects" / "ideas" / SPEC_NAME
    page.get_by_text("checks are on").click()
    for select in page.locator("#checks select").all():
        select.select_option("off")
    page.get_by_label("An output has at least so many words").fill("1")
    page.get_by_role("button", name="Keep the checks").click()
    playwright.expect(page.locator("#checks .done")).to_contain_text("Saved")
    page.get_by_label("Times through the rows").fill("1")
    page.get_by_label("Tokens that a test answer has at most").fill("16")
    page.get_by_role("button", name="Keep this").click()
    playwright.expect(page.locator("#model .done")).to_contain_text("Saved")
    spec.write_text(set_keys(spec.read_text(), LITTLE))
    page.get_by_label("The project may spend, in US dollars").fill("1")
    page.get_by_role("button", name="Keep the cap").click()
    playwright.expect(page.locator("#cap .done")).to_contain_text("Saved")
    page.get_by_role("button", name="Preview 5").click()
    playwright.expect(page.get_by_role("link", name="See the preview")).to_be_visible()
    page.get_by_role("link", name="See the preview").click()
    assert page.locator("#preview .row-list > li").count() == 5
    looked.at("setup")

    page.get_by_role("button", name="Start", exact=True).click()
    heading = page.locator("h1")
    playwright.expect(heading).to_contain_text("rows asked")
    page.get_by_role("button", name="Stop and keep everything").click()
    playwright.expect(heading).to_contain_text("Stopped.")
    print(heading.inner_text())
    looked.at("stopped")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_timeout(3000)
    looked.at("running")
    playwright.expect(page.get_by_role("button", name="Stop and keep everything")).to_have_count(0)
    print(heading.inner_text())
    looked.at("gate")
