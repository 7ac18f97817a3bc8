"""The whole flow from the one-time link to signing out: real Chromium, with the real embedded model as teacher and
base."""

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
_WAIT_MS = 600_000  # for a busy machine
PASSWORD = "four words are good"
IDEAS = (
    *(f"a {kind} {thing}" for kind in ("red", "small") for thing in ("kite", "crane", "teapot", "tram")),
    "<img src=x onerror=alert(1)> in fog",
)
BETTER = "A red kite above a grey sea, seen from below."
QUESTION = "a blue kite"
SMALL_RUN = {
    "generate.forward.sampling.max_tokens": 48,
    "generate.forward.n": 2,
    "curate.score.model": "none",
    "curate.select.best": 2,
    "train.batch": 4,
    "evaluate.samples": 1,
    "evaluate.max_seeds": 2,
}
"""Settings that shorten a run from minutes to seconds."""


def test_whole_flow_from_the_link_to_signing_out(tmp_path: Path) -> None:
    """One user, one project, every page: create, preview, stop, continue, answer, train, evaluate, chat, download.
    Every page is checked on a desktop and a phone, in light and dark, and used in one of the four: no sideways
    scrolling, no serious axe violation, no console message, although one of the inputs is a script."""
    root = tmp_path / "space"
    with Served(root, no_auth=False, trains=True) as server, playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        context = browser.new_context(base_url=server.url)
        context.set_default_timeout(_WAIT_MS)
        user = User(PageInspector(context.new_page(), tmp_path), server, root / "projects" / "ideas")
        user.redeem_link()
        user.create_project()
        user.preview_five()
        user.start_stop_and_continue()
        user.compare_and_answer()
        user.train()
        user.evaluate()
        user.chat_with_both()
        user.download()
        user.sign_out()
        browser.close()
        assert user.inspector.wrong + user.inspector.messages == []
        assert "Traceback" not in server.stop()


class User:
    """A user of the service's pages."""

    def __init__(self, inspector: PageInspector, server: Served, folder: Path) -> None:
        self.inspector, self.page, self.server, self.folder = inspector, inspector.page, server, folder
        self.heading = self.page.locator("h1")

    def press(self, name: str, within: str = "main") -> None:
        self.page.locator(within).get_by_role("button", name=name, exact=True).first.click()

    def go_to(self, place: str) -> None:
        self.page.get_by_role("navigation").get_by_role("link", name=place, exact=True).click()
        self.page.wait_for_url(re.compile(f"/{place.lower()}$"))

    def expect_text(self, words: str | re.Pattern[str], where: str = "h1") -> None:
        """Wait until the text is shown there."""
        playwright.expect(self.page.locator(where)).to_contain_text(words, timeout=_WAIT_MS)
        self.page.wait_for_load_state()  # the rest of a page may come after its heading

    def expect_count(self, where: str, number: int) -> None:
        playwright.expect(self.page.locator(where)).to_have_count(number, timeout=_WAIT_MS)

    def save(self, step: str, button: str) -> None:
        self.press(button, f"#{step}")
        self.expect_text("Saved", f"#{step} .done")

    def write_spec(self, keys: dict[str, Any]) -> None:
        """Change the spec file directly, without the pages."""
        spec = self.folder / SPEC_NAME
        spec.write_text(set_keys(spec.read_text(), keys))

    def start(self, command: str, button: str = "Start command") -> None:
        """Start a command, on the run page or with a button of another page."""
        if button == "Start command":
            self.go_to("Run")
            self.page.locator("#start select[name=command]").select_option(command)
        self.press(button)
        self.page.wait_for_url("**/run?job=*")

    def redeem_link(self) -> None:
        link = re.search(r"http\S+/redeem\?token=\S+", self.server.wait_for_output("redeem?token="))
        assert link is not None
        self.page.goto(link[0])
        self.inspector.at("link")
        self.page.get_by_label("Your name").fill("ann")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.press("Create account")
        self.expect_text("project")
        self.inspector.at("projects")

    def create_project(self) -> None:
        page = self.page
        page.get_by_role("link", name="New project").first.click()
        page.get_by_label("Project name").fill("ideas")
        page.get_by_label("Your data, one item per line").fill("\n".join(IDEAS))
        page.get_by_label("What makes a good output").fill("Rewrite the idea as a prompt for a picture.")
        self.inspector.at("new")
        self.press("Create project")
        self.expect_text(f"{len(IDEAS)} seeds")
        self.press("Test")
        self.expect_text("needs no key", "#teacher .done")
        self.save("teacher", "Use this teacher")
        page.get_by_text("checks are on").click()
        for check in page.locator("#checks select").all():  # the output of such a small model is not judged here
            check.select_option("off")
        page.get_by_label("Minimum words per output").fill("1")
        self.save("checks", "Save checks")
        page.get_by_label("Epochs").fill("1")
        self.save("model", "Save model")
        page.get_by_label("Maximum tokens per test answer").fill("16")
        page.get_by_label("Check name").first.fill("Says a colour")
        page.get_by_label("Pattern the answer must contain").first.fill(r"(?i)\b(red|blue|grey)\b")
        self.save("test", "Save test")
        page.get_by_label("Project cap, in US dollars").fill("1")
        self.save("cap", "Save cap")
        self.write_spec(SMALL_RUN)

    def preview_five(self) -> None:
        self.start("preview", "Preview 5 seeds")
        self.page.get_by_role("link", name="View the preview").click()
        self.expect_count("#preview .row-list > li", 5)
        assert "5 seeds cost nothing" in self.page.locator("#preview").inner_text()
        self.inspector.at("setup")
        self.go_to("Prompts")
        self.expect_count("#beside .row-list > li", 5)
        self.inspector.at("prompts")

    def start_stop_and_continue(self) -> None:
        self.write_spec({"teacher.requests_per_minute": 6})  # slow enough to be stopped on any machine
        self.start("generate")
        self.expect_text(re.compile(rf"[1-9]\d* of {2 * len(IDEAS)} rows"))
        playwright.expect(self.page).to_have_title(re.compile(r"^\d+ % · ideas"), timeout=_WAIT_MS)
        self.press("Stop and keep everything")
        self.expect_text("Stopped.")
        match = re.search(r"(\d+) rows? (?:is|are) kept", self.heading.inner_text())
        assert match is not None
        assert 0 < int(match[1]) < 2 * len(IDEAS)
        self.inspector.at("stopped")
        self.write_spec({"teacher.requests_per_minute": 20})
        self.start("generate", "Continue")
        self.expect_text("Generating: ")
        self.inspector.at("running")
        self.expect_text("Generate is done")
        self.start("curate")
        self.expect_text("Curate is done")
        self.inspector.at("curated")

    def compare_and_answer(self) -> None:
        page = self.page
        self.go_to("Rows")
        self.expect_text(f"{2 * len(IDEAS)} rows")
        self.inspector.at("rows")
        page.get_by_role("link", name=re.compile("^accepted")).click()
        page.wait_for_url("**state=accepted**")
        page.get_by_label("Search inputs and outputs").fill("red")
        self.expect_text("“red”")
        page.locator("table.rows tbody a").first.click()
        page.get_by_role("link", name="Compare 2 candidates").click()
        self.expect_count("#drawer .side > li", 2)
        self.inspector.at("compared")
        page.get_by_role("link", name="Edit", exact=True).click()
        page.get_by_label("Corrected output").fill(BETTER)
        self.press("Save edit")
        self.expect_text("edit by ann", "#drawer")
        self.inspector.at("answered")
        self.go_to("Review")
        self.expect_text("1 answer was given on these pages")
        self.inspector.at("review")
        self.start("curate")  # the edit replaces the generated row
        self.expect_text("Curate is done")

    def train(self) -> None:
        self.go_to("Training")
        with (self.folder.parents[1] / ".serve/jobs/heavy.lock").open("ab") as gpu:
            fcntl.flock(gpu, fcntl.LOCK_EX)  # holds training until the page was checked
            self.start("train", "Train")
            self.go_to("Training")
            self.expect_count("text=Stop and keep the best state", 1)
        self.expect_count("#live figure", 1)
        self.inspector.at("training")
        self.expect_text("Trained on")
        self.inspector.at("trained")

    def evaluate(self) -> None:
        self.go_to("Evaluation")
        self.start("evaluate", "Evaluate")
        self.expect_text("Evaluate is done")
        self.go_to("Evaluation")
        self.expect_text("tuned", "#systems")
        self.expect_text("says_a_colour", "#outputs")
        self.inspector.at("evaluation")

    def chat_with_both(self) -> None:
        """Both models give the same answers on the page and over the API."""
        self.page.get_by_label("Your input").fill(QUESTION)
        self.press("Ask both models")
        self.expect_text(f"“{QUESTION}”")
        sides = self.page.locator(".side > li")
        assert sides.locator(".who").all_inner_texts() == ["tuned", "base"]
        shown = [text.split() for text in sides.locator(".text").all_inner_texts()]
        self.inspector.at("talk")
        self.page.goto("/keys")
        self.page.get_by_label("Used by").fill("a program")
        self.press("Create key")
        key = self.page.locator("#new-key-text").inner_text()
        client = openai.OpenAI(base_url=f"{self.server.url}/v1", api_key=key, max_retries=0, timeout=600)
        question: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 16}
        listed = [
            client.chat.completions.create(model=model.id, temperature=0, **question).choices[0].message.content.split()
            for model in sorted(client.models.list(), key=lambda model: model.id, reverse=True)
        ]
        assert listed == shown

    def download(self) -> None:
        self.page.goto("/p/ideas/downloads")
        self.inspector.at("downloads")
        files = {}
        for kind in ("dataset", "adapter"):
            with self.page.expect_download() as coming:
                self.page.locator(f"#{kind}").get_by_role("link", name="Download all as zip").click()
            files[kind] = zipfile.ZipFile(io.BytesIO(Path(coming.value.path()).read_bytes()))
        assert any(name.endswith("adapter_model.safetensors") for name in files["adapter"].namelist())
        texts = [files["dataset"].read(name).decode(errors="replace") for name in files["dataset"].namelist()]
        assert any(BETTER in text for text in texts)

    def sign_out(self) -> None:
        self.page.goto("/settings")
        self.inspector.at("settings")
        self.press("Sign out")
        self.expect_text("Sign in", "main button")
        self.inspector.at("signed-out")
        self.page.goto("/p/ideas/rows")
        self.expect_text("Sign in", "main button")
