"""From the one-time link to signing out: real Chromium, and the real embedded model as teacher and as what is tuned."""

from __future__ import annotations

import fcntl
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")
pytest.importorskip("trl", reason="training needs the train extra")
pytest.importorskip("openai")
pytest.importorskip("playwright.sync_api", reason="no browser: needs the package playwright")

import openai
from playwright import sync_api as playwright

from schemas.spec_file import SPEC_NAME, set_keys
from tests.serve.looked import PageInspector
from tests.serve.served import Served
from tests.serve.site import CHROMIUM, FLAGS

pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser: needs {CHROMIUM}"),
]
_WAIT_MS = 600_000  # a busy machine
PASSWORD = "four words are good"
IDEAS = (
    *(f"a {kind} {thing}" for kind in ("red", "small") for thing in ("kite", "crane", "teapot", "tram")),
    "<img src=x onerror=alert(1)> in fog",
)
BETTER = "A red kite above a grey sea, seen from below."
QUESTION = "a blue kite"
LITTLE = {
    "generate.forward.sampling.max_tokens": 48,
    "generate.forward.n": 2,
    "curate.score.model": "none",
    "curate.select.best": 2,
    "train.batch": 4,
    "evaluate.samples": 1,
    "evaluate.max_seeds": 2,
}
"""What makes a run of minutes one of seconds."""


def test_from_the_link_to_signing_out(tmp_path: Path) -> None:
    """One person, one project, every page: made, tried, stopped, gone on with, answered, trained, measured, talked to,
    taken away. Each is looked at on a desk and on a phone, light and dark, and pressed in one of the four: nothing to
    scroll sideways, nothing serious for axe, nothing in the console, though one of the inputs is a script."""
    root = tmp_path / "space"
    with Served(root, no_auth=False, trains=True) as server, playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        context = browser.new_context(base_url=server.url)
        context.set_default_timeout(_WAIT_MS)
        person = Person(PageInspector(context.new_page(), tmp_path), server, root / "projects" / "ideas")
        person.comes_in_by_the_link()
        person.makes_a_project()
        person.previews_five()
        person.starts_stops_and_goes_on()
        person.compares_and_answers()
        person.trains()
        person.evaluates()
        person.talks_to_both()
        person.takes_it_away()
        person.signs_out()
        browser.close()
        assert person.looked.wrong + person.looked.messages == []
        assert "Traceback" not in server.stop()


class Person:
    """Somebody at the pages of a service."""

    def __init__(self, looked: PageInspector, server: Served, folder: Path) -> None:
        self.looked, self.page, self.server, self.folder = looked, looked.page, server, folder
        self.heading = self.page.locator("h1")

    def presses(self, name: str, within: str = "main") -> None:
        self.page.locator(within).get_by_role("button", name=name, exact=True).first.click()

    def goes_to(self, place: str) -> None:
        self.page.get_by_role("navigation").get_by_role("link", name=place, exact=True).click()
        self.page.wait_for_url(re.compile(f"/{place.lower()}$"))

    def reads(self, words: str | re.Pattern[str], where: str = "h1") -> None:
        """It says so there, at last."""
        playwright.expect(self.page.locator(where)).to_contain_text(words, timeout=_WAIT_MS)

    def counts(self, where: str, number: int) -> None:
        playwright.expect(self.page.locator(where)).to_have_count(number, timeout=_WAIT_MS)

    def keeps(self, step: str, button: str) -> None:
        self.presses(button, f"#{step}")
        self.reads("Saved", f"#{step} .done")

    def writes(self, keys: dict[str, Any]) -> None:
        """Into the spec, past the pages."""
        spec = self.folder / SPEC_NAME
        spec.write_text(set_keys(spec.read_text(), keys))

    def starts(self, command: str, button: str = "Start command") -> None:
        """A command by its name, on the page of the run or by the button of the page that it fills."""
        if button == "Start command":
            self.goes_to("Run")
            self.page.locator("#start select[name=command]").select_option(command)
        self.presses(button)
        self.page.wait_for_url("**/run?job=*")

    def comes_in_by_the_link(self) -> None:
        link = re.search(r"http\S+/redeem\?token=\S+", self.server.wait_for_output("redeem?token="))
        assert link is not None
        self.page.goto(link[0])
        self.looked.at("link")
        self.page.get_by_label("Your name").fill("ann")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.presses("Create account")
        self.reads("project")
        self.looked.at("projects")

    def makes_a_project(self) -> None:
        page = self.page
        page.get_by_role("link", name="New project").first.click()
        page.get_by_label("Project name").fill("ideas")
        page.get_by_label("Your data, one item per line").fill("\n".join(IDEAS))
        page.get_by_label("What makes a good output").fill("Rewrite the idea as a prompt for a picture.")
        self.looked.at("new")
        self.presses("Create project")
        self.reads(f"{len(IDEAS)} seeds")
        self.presses("Test")
        self.reads("needs no key", "#teacher .done")
        self.keeps("teacher", "Use this teacher")
        page.get_by_text("checks are on").click()
        for check in page.locator("#checks select").all():  # what so small a model says is not judged here
            check.select_option("off")
        page.get_by_label("Minimum words per output").fill("1")
        self.keeps("checks", "Save checks")
        page.get_by_label("Epochs").fill("1")
        self.keeps("model", "Save model")
        page.get_by_label("Maximum tokens per test answer").fill("16")
        page.get_by_label("Check name").first.fill("Says a colour")
        page.get_by_label("Pattern the answer must contain").first.fill(r"(?i)\b(red|blue|grey)\b")
        self.keeps("test", "Save test")
        page.get_by_label("Project cap, in US dollars").fill("1")
        self.keeps("cap", "Save cap")
        self.writes(LITTLE)

    def previews_five(self) -> None:
        self.starts("preview", "Preview 5 seeds")
        self.page.get_by_role("link", name="View the preview").click()
        self.counts("#preview .row-list > li", 5)
        assert "5 seeds cost nothing" in self.page.locator("#preview").inner_text()
        self.looked.at("setup")
        self.goes_to("Prompts")
        self.counts("#beside .row-list > li", 5)
        self.looked.at("prompts")

    def starts_stops_and_goes_on(self) -> None:
        self.writes({"teacher.requests_per_minute": 6})  # so that it can be stopped, on a machine however quick or slow
        self.starts("generate")
        self.reads(re.compile(rf"[1-9]\d* of {2 * len(IDEAS)} rows requested"))
        playwright.expect(self.page).to_have_title(re.compile(r"^\d+ % · ideas"), timeout=_WAIT_MS)
        self.presses("Stop and keep everything")
        self.reads("Stopped.")
        match = re.search(r"(\d+) rows? (?:is|are) kept", self.heading.inner_text())
        assert match is not None
        assert 0 < int(match[1]) < 2 * len(IDEAS)
        self.looked.at("stopped")
        self.writes({"teacher.requests_per_minute": 20})
        self.starts("generate", "Continue")
        self.reads("rows requested")
        self.looked.at("running")
        self.reads("Generate is done")
        self.starts("curate")
        self.reads("Curate is done")
        self.looked.at("curated")

    def compares_and_answers(self) -> None:
        page = self.page
        self.goes_to("Rows")
        self.reads(f"{2 * len(IDEAS)} rows")
        self.looked.at("rows")
        page.get_by_role("link", name=re.compile("^accepted")).click()
        page.wait_for_url("**state=accepted**")
        page.get_by_label("Search inputs and outputs").fill("red")
        self.reads("“red”")
        page.locator("table.rows tbody a").first.click()
        page.get_by_role("link", name="Compare 2 candidates").click()
        self.counts("#drawer .side > li", 2)
        self.looked.at("compared")
        page.get_by_role("link", name="Edit", exact=True).click()
        page.get_by_label("Corrected output").fill(BETTER)
        self.presses("Save edit")
        self.reads("edit by ann", "#drawer")
        self.looked.at("answered")
        self.goes_to("Review")
        self.reads("1 answer was given on these pages")
        self.looked.at("review")
        self.starts("curate")  # the edit takes the place of what was generated
        self.reads("Curate is done")

    def trains(self) -> None:
        self.goes_to("Training")
        with (self.folder.parents[1] / ".serve/jobs/heavy.lock").open("ab") as gpu:
            fcntl.flock(gpu, fcntl.LOCK_EX)  # so that it can be seen, on a machine however quick
            self.starts("train", "Train")
            self.goes_to("Training")
            self.counts("text=Stop and keep the best state", 1)
        self.counts("#live figure", 1)
        self.looked.at("training")
        self.reads("Trained on")
        self.looked.at("trained")

    def evaluates(self) -> None:
        self.goes_to("Evaluation")
        self.starts("evaluate", "Evaluate")
        self.reads("Evaluate is done")
        self.goes_to("Evaluation")
        self.reads("tuned", "#systems")
        self.reads("says_a_colour", "#outputs")
        self.looked.at("evaluation")

    def talks_to_both(self) -> None:
        """The same as a program is told that has a key."""
        self.page.get_by_label("Your input").fill(QUESTION)
        self.presses("Ask both models")
        self.reads(f"“{QUESTION}”")
        sides = self.page.locator(".side > li")
        assert sides.locator(".who").all_inner_texts() == ["tuned", "base"]
        shown = [text.split() for text in sides.locator(".text").all_inner_texts()]
        self.looked.at("talk")
        self.page.goto("/keys")
        self.page.get_by_label("Used by").fill("a program")
        self.presses("Create key")
        key = self.page.locator("#made").inner_text()
        client = openai.OpenAI(base_url=f"{self.server.url}/v1", api_key=key, max_retries=0, timeout=600)
        question: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 16}
        listed = [
            client.chat.completions.create(model=model.id, temperature=0, **question).choices[0].message.content.split()
            for model in sorted(client.models.list(), key=lambda model: model.id, reverse=True)
        ]
        assert listed == shown

    def takes_it_away(self) -> None:
        self.page.goto("/p/ideas/downloads")
        self.looked.at("downloads")
        files = {}
        for kind in ("dataset", "adapter"):
            with self.page.expect_download() as coming:
                self.page.locator(f"#{kind}").get_by_role("link", name="Download all as zip").click()
            files[kind] = zipfile.ZipFile(io.BytesIO(Path(coming.value.path()).read_bytes()))
        assert any(name.endswith("adapter_model.safetensors") for name in files["adapter"].namelist())
        texts = [files["dataset"].read(name).decode(errors="replace") for name in files["dataset"].namelist()]
        assert any(BETTER in text for text in texts)

    def signs_out(self) -> None:
        self.page.goto("/settings")
        self.looked.at("settings")
        self.presses("Sign out")
        self.reads("Sign in", "main button")
        self.looked.at("signed-out")
        self.page.goto("/p/ideas/rows")
        self.reads("Sign in", "main button")
