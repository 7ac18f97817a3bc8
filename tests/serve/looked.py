"""A page looked at as people do: on a desk and on a phone, light and dark, with a picture kept of each."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Any

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
SETTINGS = tuple(product((1280, 390), ("light", "dark")))
_RULES = "{resultTypes: ['violations'], elementRef: false}"


class Looked:
    """`page` in each of the settings in turn, without loading it again. Pictures go to the folder PAIRSMITH_ARTIFACTS,
    or to `folder`."""

    def __init__(self, page: Any, folder: Path) -> None:
        self.page, self.said = page, list[str]()
        self.folder = Path(os.environ.get("PAIRSMITH_ARTIFACTS") or folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wrong: list[str] = []
        self._at = 0
        page.on("console", lambda line: self.said.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        self._set(*SETTINGS[0])

    def at(self, name: str) -> None:
        """Look; what is wrong is kept in `wrong`. The next step is done in the next of the settings."""
        self._at += 1
        for width, scheme in SETTINGS:
            self._set(width, scheme)
            where = f"{name} at {width}, {scheme}"
            picture = self.folder / f"pictures-flow-{self._at:02}-{name}-{width}-{scheme}.png"
            self.page.screenshot(path=picture, full_page=True)
            if self.page.evaluate("document.documentElement.scrollWidth") > width:
                self.wrong.append(f"{where} has to be scrolled sideways")
            if self.page.locator("h1").count() != 1:
                self.wrong.append(f"{where} has not one sentence as its heading")
            self.page.evaluate(AXE)
            for each in self.page.evaluate(f"axe.run({_RULES})")["violations"]:
                if each["impact"] in ("serious", "critical"):
                    self.wrong.append(f"{where}: {each['id']} {each['nodes'][0]['html'][:200]}")
        self._set(*SETTINGS[self._at % len(SETTINGS)])

    def _set(self, width: int, scheme: str) -> None:
        self.page.set_viewport_size({"width": width, "height": 844})
        self.page.emulate_media(color_scheme=scheme)
