"""Two users on one setup page, and incomplete or outdated teacher forms."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

from starlette.testclient import TestClient

from pairsmith.serve.access import ALL, Role
from tests.serve.people import MINE, Service
from tests.synth.loopback import LoopbackTeacher

SETUP = f"/p/{MINE}/setup"
PRICED = {"price_in": "0.4", "price_out": "1.6"}


def form_of(browser: TestClient, step: str) -> dict[str, str]:
    """The current hidden fields of a step's form."""
    page = browser.get(SETUP).text
    match = re.search(rf'<form method="post" action="{SETUP}/{step}#.*?</form>', page, re.DOTALL)
    assert match
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', match[0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "theirs", "mine"),
    [
        ("style", {"style": "Theirs."}, {"style": "Mine."}),
        ("model", {"base": "embedded", "epochs": "5"}, {"base": "embedded", "epochs": "7"}),
        ("test", {"test_share": "30"}, {"test_share": "40"}),
        ("checks", {"least_words": "4"}, {"least_words": "6"}),
        ("cap", {"max_usd": "2"}, {"max_usd": "3"}),
        ("teacher", {"teacher": "embedded", "price_in": "1"}, {"teacher": "embedded", "price_in": "2"}),
    ],
)
def test_outdated_form_does_not_overwrite_changes(
    service: Service, step: str, theirs: dict[str, str], mine: dict[str, str]
) -> None:
    """If another user changed a step since the page was opened, saving is refused once and the input is kept; sending
    it again saves it. Other steps can be saved from the old page."""
    service.person("second", Role.owner, ALL)
    me, them = service.browser("owner"), service.browser("second")
    old, other = form_of(me, step), form_of(me, "cap" if step == "style" else "style")
    assert them.post(f"{SETUP}/{step}", data={**form_of(them, step), **theirs}).status_code == 303
    spec = service.workspace.folder(MINE) / "pairsmith.toml"
    held = spec.read_text()
    refused = me.post(f"{SETUP}/{step}", data={**old, **mine})
    assert refused.status_code == 412
    assert "Someone else changed this after you opened the page." in refused.text
    assert all(value in unescape(refused.text) for value in mine.values())
    assert spec.read_text() == held
    if step != "style":
        assert me.post(f"{SETUP}/style", data={**other, "style": "Another step."}).status_code == 303
    seen = re.search(rf'{SETUP}/{step}#.*?name="seen" value="(\w+)"', refused.text, re.DOTALL)
    assert seen
    assert me.post(f"{SETUP}/{step}", data={**mine, "seen": seen[1]}).status_code == 303
    assert form_of(me, step)["seen"] not in (old["seen"], seen[1])


def test_teacher_test_fills_in_a_model(service: Service) -> None:
    """A server needs a model name. Without one the form is refused, and testing the server fills in its first model,
    unless one is entered."""
    browser = service.browser("owner")
    with LoopbackTeacher(models=("small-one", "large-one")) as teacher:
        service.app.state.policy.allow(teacher.url, "", None)
        typed: dict[str, Any] = {"teacher": "other", "url": f"{teacher.url}/v1", "model": ""}
        refused = browser.post(f"{SETUP}/teacher", data=typed)
        assert refused.status_code == 400
        assert "The model is missing." in refused.text
        tested = browser.post(f"{SETUP}/teacher", data={**typed, "do": "test"}).text
        assert 'name="model" value="small-one"' in tested
        tested = browser.post(f"{SETUP}/teacher", data={**typed, "model": "large-one", "do": "test"}).text
        assert 'name="model" value="large-one"' in tested


@pytest.mark.slow
def test_prices_apply_only_to_the_teacher_they_were_entered_for(service: Service) -> None:
    """If another teacher is chosen while the fields still have the previous prices, they are dropped, so that a cap
    counts no wrong cost, and the page says so. A local server costs nothing unless prices are entered."""
    browser = service.browser("owner")
    service.app.state.policy.allow("http://localhost:11434/v1", "", None)

    left_out: list[bool] = []

    def save_and_get_prices(**typed: str) -> tuple[float | None, float | None]:
        kept = browser.post(f"{SETUP}/teacher", data={"price_in": "", "price_out": "", **typed})
        assert kept.status_code == 303, kept.text
        left_out.append("without prices" in browser.get(kept.headers["location"]).text)
        teacher = service.workspace.project(MINE).spec.teacher
        return teacher.usd_per_million_prompt_tokens, teacher.usd_per_million_completion_tokens

    paid = {"teacher": "https://api.openai.com/v1", "model": "a-model"}
    local = {"teacher": "http://localhost:11434/v1", "model": "qwen3:8b"}
    assert save_and_get_prices(**paid, **PRICED) == (0.4, 1.6)
    assert save_and_get_prices(**paid, **PRICED) == (0.4, 1.6)
    assert save_and_get_prices(**{**paid, "model": "another"}, **PRICED) == (None, None)
    assert left_out == [False, False, True], "dropped prices are not reported, or others are"
    assert save_and_get_prices(**{**paid, "model": "another"}, **PRICED) == (0.4, 1.6)
    assert save_and_get_prices(**local) == (0, 0)
    assert save_and_get_prices(**paid, price_in="0", price_out="0") == (None, None)
    assert save_and_get_prices(**local, **PRICED) == (0.4, 1.6)


def test_outdated_seeds_are_noticed_in_every_file_of_a_pattern(service: Service) -> None:
    """A file that matches the pattern of a seed source, changed or added after the page was opened, is not replaced
    without notice."""
    me, folder = service.browser("owner"), service.workspace.folder(MINE)
    (folder / "more").mkdir()
    (folder / "more" / "a.txt").write_text("a red kite\n")
    (folder / "pairsmith.toml").write_text('[task]\nname = "x"\nstyle = "y"\n[[seeds]]\npath = "more/*.txt"\n')
    for name, text in (("a.txt", "a blue kite over the bay\n"), ("b.txt", "a boat\n")):
        old = form_of(me, "seeds")
        (folder / "more" / name).write_text(text)
        assert me.post(f"{SETUP}/seeds", data={**old, "pasted": "a lamp"}).status_code == 412
