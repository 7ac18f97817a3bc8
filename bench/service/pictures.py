"""Every page of a service that runs, as a person sees it: on a desk and on a phone, light and dark.

    python -m bench.service.pictures http://127.0.0.1:8660 --out pictures [--token SESSION]

For each page of each project: a picture, what axe finds that is serious, what the console says, and whether it has to
be scrolled sideways. `--token` is the session of somebody who is signed in. Exits with 1 where anything is found.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from playwright import sync_api as playwright

CHROMIUM = "/usr/bin/chromium"
AXE = Path(__file__).parents[2] / "tests" / "serve" / "axe" / "axe.min.js"
OF_THE_SERVICE = ("/", "/new", "/people", "/keys", "/audit", "/settings", "/p/none")
OF_A_PROJECT = ("", "/run", "/rows", "/prompts", "/review", "/training", "/evaluation", "/downloads", "/setup")
HEIGHT = 844


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at all of them; how many findings there are, as an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--token", help="the cookie of a session")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    seen, wrong = 0, []
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for width, scheme in product((1280, 390), ("light", "dark")):
            context = browser.new_context(
                viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, base_url=asked.url
            )
            if asked.token:
                context.add_cookies([{"name": "pairsmith", "value": asked.token, "url": asked.url}])
            for path in _paths(context.new_page()):
                problems = _looked_at(context, path, width, asked.out / f"{_name(path)}-{width}-{scheme}.png")
                wrong += [f"{path} at {width}, {scheme}: {each}" for each in problems]
                seen += 1
            context.close()
        browser.close()
    print("\n".join([*wrong, f"{seen} pages, {len(wrong)} findings"]))
    return 1 if wrong else 0


def _paths(page: Any) -> Iterator[str]:
    page.goto("/")
    projects = page.eval_on_selector_all(".projects th a", "all => all.map(one => one.getAttribute('href'))")
    yield from OF_THE_SERVICE
    yield from (f"{project}{place}" for project in projects for place in OF_A_PROJECT)


def _looked_at(context: Any, path: str, width: int, picture: Path) -> list[str]:
    """What is wrong with a page; its picture is kept."""
    page, problems = context.new_page(), list[str]()
    page.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    status = page.goto(path).status
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true })")
    page.screenshot(path=picture, full_page=True)
    if page.evaluate("document.documentElement.scrollWidth") > width:
        problems.append("has to be scrolled sideways")
    if page.locator("h1").count() != 1:
        problems.append("has not one sentence as its heading")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for each in page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]:
        if each["impact"] in ("serious", "critical"):
            problems.append(f"{each['id']}: {each['nodes'][0]['html'][:200]}")
    page.close()
    return [line for line in problems if status == 200 or "Failed to load resource" not in line]


def _name(path: str) -> str:
    return re.sub(r"\W+", "-", path).strip("-") or "projects"


if __name__ == "__main__":
    sys.exit(main())
