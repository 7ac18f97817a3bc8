"""What a person sees and presses for every kind of task, in a real Chromium on our own server.

`make test-page` plays 50 rows of each kind and prints keys and seconds a row.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from curate.argilla.pull import pull
from curate.argilla.push import queue_name
from curate.argilla.server import ArgillaServer
from tests.curate.argilla.browser_page import Annotator, needs_browser, open_browser
from tests.curate.argilla.kinds_played import KINDS_PLAYED, PASSWORD, Desk, Player, open_desk, play

ROWS = int(os.environ.get("PAIRSMITH_PAGE_ROWS", "5"))
pytestmark = [needs_browser, pytest.mark.timeout(180 + 5 * ROWS)]


@contextmanager
def at_the_page(kind: str, folder: Path, server: ArgillaServer) -> Iterator[tuple[Desk, Annotator, Player]]:
    """An annotator before the first row of a pushed project."""
    desk, name = open_desk(kind, folder, server, uuid.uuid4().hex[:6], 12)
    with desk.store, desk.argilla, open_browser(server.url, folder, f"page-{kind}") as ann:
        ann.sign_in(name, PASSWORD)
        queue = desk.argilla.queue(queue_name(desk.project))
        assert queue is not None
        ann.page.goto(desk.argilla.page_of(queue))
        ann.page.locator("[id^=verdict_]:focus").wait_for(state="attached")
        yield desk, ann, Player(desk, ann.page)


@pytest.mark.parametrize("kind", KINDS_PLAYED)
def test_every_kind_of_task_is_answered_by_keys_alone(
    kind: str, argilla_server: ArgillaServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To accept takes two keys on every row; a label is corrected by another label, a record field by field, a text in
    the text; and every answer comes back as it was given."""
    desk = play(kind, tmp_path, argilla_server, uuid.uuid4().hex[:6], ROWS)
    with capsys.disabled():
        row = f"{len(desk.told)} rows, {desk.keys / len(desk.told):.2f} keys and {desk.seconds / len(desk.told):.2f} s"
        print(f"\n{kind}: {row} a row without what was written; at most {desk.most_keys_to_accept} keys to accept")
    assert len(desk.told) == ROWS
    assert desk.most_keys_to_accept == 2


def _checked(page: Any) -> list[str]:
    return sorted(page.evaluate("[...document.querySelectorAll('input[type=checkbox]:checked')].map(box => box.id)"))


def test_no_key_means_two_things(argilla_server: ArgillaServer, tmp_path: Path) -> None:
    """A number is a verdict and a letter its choice wherever the keyboard is: on the verdict, on a reason, after a
    click elsewhere; pressed again a verdict stays; in a text that is being written they are signs like others."""
    with at_the_page("rewrite", tmp_path, argilla_server) as (_, ann, player):
        keyboard = ann.page.keyboard
        for key in "1", "1", "w", "1":
            keyboard.press(key)
        player.is_checked("reasons_invented")
        assert _checked(ann.page) == ["reasons_invented", "verdict_accept"]
        for place in "reasons_too_long", "verdict_edit":
            ann.page.locator(f"[id='{place}']").focus()
            keyboard.press("2")
            player.is_checked("verdict_reject")
            keyboard.press("1")
            player.is_checked("verdict_accept")
        ann.page.locator(".markdown-render").first.click()
        keyboard.press("2")
        keyboard.press("w")
        player.is_checked("verdict_reject")
        assert _checked(ann.page) == ["verdict_reject"]
        keyboard.press("3")
        ann.page.locator("[aria-label='Question: edited'] [contenteditable]:focus").wait_for()
        keyboard.press("Control+End")
        keyboard.type(" 12w")
        assert ann.page.locator("[aria-label='Question: edited'] [contenteditable]").inner_text().endswith(" 12w")
        assert _checked(ann.page) == ["verdict_edit"]


def test_an_answer_that_contradicts_itself_is_asked_for_again(argilla_server: ArgillaServer, tmp_path: Path) -> None:
    """Accept with a reason is held once, by key and by pointer, in a sentence; sent again it is meant; reject with a
    reason goes at once, and a row that was held tells nothing on the next one."""
    with at_the_page("reply", tmp_path, argilla_server) as (desk, ann, player):
        told = ann.page.get_by_role("alert")
        for send in (lambda: ann.page.keyboard.press("Enter"), ann.page.get_by_role("button", name="Submit").click):
            before = player.text(0)
            for key in "1", "q":
                ann.page.keyboard.press(key)
            player.is_checked("reasons_wrong")
            send()
            told.wait_for()
            assert "say what is wrong" in told.inner_text()
            ann.picture("held")
            assert player.text(0) == before
            assert pull(desk.project, desk.store, desk.argilla).news == 0
            ann.page.keyboard.press("q")  # not meant: without the reason it goes
            player.submit(before)
            assert not told.count()
            assert pull(desk.project, desk.store, desk.argilla).new == 1
        before = player.text(0)
        for key in "1", "q", "Enter":
            ann.page.keyboard.press(key)
        told.wait_for()
        player.submit(before)
        before = player.text(0)
        for key in "2", "q":
            ann.page.keyboard.press(key)
        player.submit(before)
        pull(desk.project, desk.store, desk.argilla)
        answers = [(r.decision, r.reasons) for own in desk.store.reviews().values() for r in own]
        assert sorted(answers) == [("accept", ()), ("accept", ()), ("accept", ("wrong",)), ("reject", ("wrong",))]


def test_a_row_of_150_words_and_four_candidates_is_whole_in_view(argilla_server: ArgillaServer, tmp_path: Path) -> None:
    """Input, output, house style, the other outputs and every question, at 1280 by 800 and at 1600 by 900; only choices
    that the row has are offered."""
    with at_the_page("rewrite", tmp_path, argilla_server) as (desk, ann, player):
        other = ann.page.get_by_text("Other outputs for this input", exact=True)
        for _ in desk.rows:
            if other.count():
                break
            assert not ann.page.locator("[id=best_A]").is_visible()
            before = player.text(0)
            ann.page.keyboard.press("ArrowRight")
            ann.page.wait_for_function(
                "before => document.querySelector('.fields .markdown-render')?.innerText !== before", arg=before
            )
        assert len(player.text(1).split()) > 145
        assert ann.page.locator("[id=best_C]").count()
        for width, height in (1280, 800), (1600, 900):
            ann.page.set_viewport_size({"width": width, "height": height})
            ann.page.wait_for_function(
                """() => [...document.querySelectorAll('.text_field_component:not([hidden]), .questions > div')]
                    .every(one => one.getBoundingClientRect().bottom <= innerHeight - 29)"""
            )
            ann.picture(f"row-{width}")
            shown = ann.page.locator(".text_field_component:visible .title-area").all_inner_texts()
            assert {"Input", "Output", "House style", "Other outputs for this input"} <= set(shown)


def test_only_the_page_is_added_to(argilla_server: ArgillaServer, tmp_path: Path, client: Any) -> None:
    """The page is sent with our script and sheet, whatever it is asked for and packed or not; the API and Argilla's own
    files are as they were, and on a dataset that is not ours the script does nothing."""
    import argilla as rg

    with httpx.Client(base_url=argilla_server.url) as http:
        page = {"Accept": "text/html,*/*"}
        for path in "/", "/sign-in", "/dataset/x/annotation-mode":
            answer = http.get(path, headers=page)
            assert (answer.status_code, answer.text.count("/pairsmith/page.js")) == (200, 1), path
            assert http.get(path, headers={**page, "If-None-Match": answer.headers.get("etag", "x")}).status_code == 200
        assert "addEventListener" in http.get("/pairsmith/page.js").text
        assert http.get("/pairsmith/page.css").headers["content-type"].startswith("text/css")
        assert http.get("/api/v1/version", headers=page).json()["version"] == "2.8.0"
        assert http.get("/favicon.ico").headers["content-type"].startswith("image/")
    tag = uuid.uuid4().hex[:6]
    theirs = rg.Dataset(
        name=f"theirs-{tag}",
        workspace=rg.Workspace(name=f"w-{tag}", client=client).create().name,
        settings=rg.Settings(
            fields=[rg.TextField(name="text", client=client)],
            questions=[rg.LabelQuestion(name="verdict", labels=["accept", "reject"], client=client)],
        ),
        client=client,
    ).create()
    theirs.records.log([{"text": "one"}, {"text": "two"}])
    with open_browser(argilla_server.url, tmp_path, "theirs") as ann:
        ann.sign_in("pairsmith", json.loads(argilla_server.credentials.read_text())["password"])
        ann.page.goto(f"{argilla_server.url}/dataset/{theirs.id}/annotation-mode")
        ann.page.locator("[id=verdict_accept]:focus").wait_for(state="attached")
        assert not ann.page.locator("body.pairsmith").count()
