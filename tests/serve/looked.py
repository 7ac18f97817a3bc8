"""A page checked as users see it: on a desktop and on a phone, in light and dark, with screenshots."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any

_AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
SETTINGS = tuple(product((1280, 390), ("light", "dark")))
HEIGHT = 844


def listen(page: Any, messages: list[str]) -> None:
    """Record console errors and warnings, page errors, and dialogs, which show that a script in a text was run."""
    page.on("console", lambda message: messages.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: (messages.append(f"dialog {dialog.message}"), dialog.dismiss()))


def layout_problems(page: Any) -> list[str]:
    """Return whether the page scrolls sideways and whether it has not exactly one h1."""
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    faults = ["it scrolls sideways"] if wide else []
    return faults if page.locator("h1").count() == 1 else [*faults, "it does not have exactly one h1"]


_SMALL = """
[...document.querySelectorAll('a:not(.skip), button, select, summary')].filter((one) => {
    const style = getComputedStyle(one), box = one.getBoundingClientRect(), over = getComputedStyle(one, '::after');
    return style.display !== 'inline' && box.width > 1 && box.top >= 0 && box.height < 43.5 && over.inset !== '0px';
}).map((one) => `${one.tagName} ${one.textContent.trim().slice(0, 30)}: ${one.getBoundingClientRect().height} px`)
"""


def small_targets(page: Any) -> list[str]:
    """Return touch targets lower than 44 px; links within a sentence are exempt."""
    small: list[str] = page.evaluate(_SMALL)
    return small


def axe_violations(page: Any) -> list[str]:
    """Return the violations that axe rates as serious or critical."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0].get('failureSummary', '')[:300]}"
        for each in violations
        if each["impact"] in ("serious", "critical")
    ]


class PageInspector:
    """Check `page` in each of the settings, without reloading it. Screenshots are written to the folder
    PAIRSMITH_ARTIFACTS, or to `folder`."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.messages = page, list[str]()
        self.folder = Path(os.environ.get("PAIRSMITH_ARTIFACTS") or folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wrong: list[str] = []
        self._at = 0
        listen(page, self.messages)
        self._set(*SETTINGS[0])

    def at(self, name: str) -> None:
        """Check the page and append problems to `wrong`. The next step of the test runs in the next of the settings.

        axe and the camera run in two of the four settings, which include both widths and both colour schemes, and in
        the other two the next time."""
        self._at += 1
        for nth, (width, scheme) in enumerate(SETTINGS):
            self._set(width, scheme)
            faults = layout_problems(self.page)
            if nth in ((0, 3), (1, 2))[self._at % 2]:
                picture = self.folder / f"pictures-flow-{self._at:02}-{name}-{width}-{scheme}.png"
                self.page.screenshot(path=picture, full_page=True)
                faults += axe_violations(self.page)
            self.wrong += [f"{name} at {width}, {scheme}: {each}" for each in faults]
        self._set(*SETTINGS[self._at % len(SETTINGS)])

    def _set(self, width: int, scheme: str) -> None:
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        self.page.emulate_media(color_scheme=scheme)
