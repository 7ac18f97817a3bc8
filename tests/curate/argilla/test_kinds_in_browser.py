"""What a user sees and presses for every kind of task, in a real Chromium on our own server.

`make test-page` plays 50 rows of each kind and prints keys and seconds per row."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from curate.argilla.pull import pull
from curate.argilla.server import ArgillaServer
from tests.curate.argilla.browser_page import READY, needs_browser
from tests.curate.argilla.kinds_played import EXAMPLES_OF_KINDS, Ann, play, signed_in

ROWS = int(os.environ.get("PAIRSMITH_PAGE_ROWS", "5"))
pytestmark = [needs_browser, pytest.mark.timeout(600 + 20 * ROWS)]


@pytest.fixture(scope="module")
def ann(argilla_server: ArgillaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ann]:
    """One session for all tests here, because starting a browser and loading the page take seconds."""
    with signed_in(argilla_server, tmp_path_factory.mktemp("pictures")) as person:
        yield person


@pytest.mark.parametrize("kind", EXAMPLES_OF_KINDS)
def test_every_kind_of_task_can_be_answered_by_keyboard(
    kind: str, ann: Ann, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accepting takes two keys on every row. A label is corrected by another label, a record field by field, a text in
    the text; every answer is pulled as it was given."""
    with ann.at(kind, tmp_path, ROWS + ROWS // 5 + 2) as player:  # a row may be drawn for two reasons
        for width, height in (1600, 900), (1280, 800):
            player.page.set_viewport_size({"width": width, "height": height})
            player.page.wait_for_function("width => document.documentElement.clientWidth === width", arg=width)
            ann.page.picture(f"{kind}-{width}")
        desk = play(player, ROWS)
    with capsys.disabled():
        rows = len(desk.answers)
        row = f"{rows} rows, {desk.keys / rows:.2f} keys and {desk.seconds / rows:.2f} s"
        print(f"\n{kind}: {row} a row without what was written; at most {desk.most_keys_to_accept} keys to accept")
    assert len(desk.answers) == ROWS
    assert desk.most_keys_to_accept == 2


def _are_checked(page: Any, *options: str) -> None:
    """Wait until exactly these options are checked."""
    chosen = "[...document.querySelectorAll('input[type=checkbox]:checked')].map(box => box.id).sort().join()"
    page.wait_for_function(f"options => {chosen} === options", arg=",".join(sorted(options)))


def test_keys_have_one_meaning(ann: Ann, tmp_path: Path) -> None:
    """Digits choose a verdict and letters a choice wherever the focus is: on the verdict, on a reason, after a click
    elsewhere. Pressing a verdict's key again keeps it. In a text that is being edited they are ordinary characters."""
    with ann.at("rewrite", tmp_path) as player:
        page, keyboard = player.page, player.page.keyboard
        for key in "1", "1", "w", "1":
            keyboard.press(key)
        _are_checked(page, "reasons_invented", "verdict_accept")
        for place in "reasons_too_long", "verdict_edit":
            page.locator(f"[id='{place}']").focus()
            keyboard.press("2")
            player.is_checked("verdict_reject")
            keyboard.press("1")
            player.is_checked("verdict_accept")
        page.locator(".markdown-render").first.click()
        keyboard.press("2")
        keyboard.press("w")
        _are_checked(page, "verdict_reject")
        keyboard.press("3")
        page.locator("[aria-label='Question: edited'] [contenteditable]:focus").wait_for()
        keyboard.press("Control+End")
        keyboard.type(" 12w")
        assert page.locator("[aria-label='Question: edited'] [contenteditable]").inner_text().endswith(" 12w")
        _are_checked(page, "verdict_edit")


def test_contradictory_answer_needs_confirmation(ann: Ann, tmp_path: Path) -> None:
    """Accept with a reason is held once, with a message, both by keyboard and by pointer; submitting again confirms it.
    Reject with a reason is sent at once, and the next row shows no message."""
    with ann.at("reply", tmp_path) as player:
        page, desk = player.page, player.desk
        shown = page.get_by_role("alert")
        for send in (lambda: page.keyboard.press("Enter"), page.get_by_role("button", name="Submit").click):
            before = player.shown()
            for key in "1", "q":
                page.keyboard.press(key)
            player.is_checked("reasons_wrong")
            send()
            shown.wait_for()
            assert "say what is wrong" in shown.inner_text()
            ann.page.picture("held")
            assert player.shown() == before
            assert pull(desk.project, desk.store, desk.argilla).news == 0
            page.keyboard.press("q")  # a mistake: without the reason the answer is sent
            player.submit(before)
            shown.wait_for(state="detached")
            assert pull(desk.project, desk.store, desk.argilla).new == 1
        before = player.shown()
        for key in "1", "q", "Enter":
            page.keyboard.press(key)
        shown.wait_for()
        player.submit(before)
        before = player.shown()
        for key in "2", "q":
            page.keyboard.press(key)
        player.submit(before)
        pull(desk.project, desk.store, desk.argilla)
        answers = [(r.decision, r.reasons) for own in desk.store.reviews().values() for r in own]
        assert sorted(answers) == [("accept", ()), ("accept", ()), ("accept", ("wrong",)), ("reject", ("wrong",))]


def test_accepting_after_a_label_keeps_the_rows_own(ann: Ann, tmp_path: Path) -> None:
    """A letter pressed by mistake relabels no row: `1` afterwards takes it back. A label chosen with the pointer beside
    an accepted row is held once."""
    with ann.at("classify", tmp_path) as player:
        page, desk = player.page, player.desk
        label = page.locator("[id^='edited_']").nth(1)
        before = player.shown()
        page.keyboard.press("s")
        _are_checked(page, label.get_attribute("id"), "verdict_edit")
        page.keyboard.press("1")
        _are_checked(page, "verdict_accept")
        label.dispatch_event("click")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        assert "also chose a label" in page.get_by_role("alert").inner_text()
        ann.page.picture("label held")
        assert player.shown() == before
        page.keyboard.press("1")
        _are_checked(page, "verdict_accept")
        player.submit(before)
        pull(desk.project, desk.store, desk.argilla)
        (review,) = (r for own in desk.store.reviews().values() for r in own)
        assert (review.decision, review.edited) == ("accept", None)


@pytest.mark.parametrize("kind", ["rewrite", "classify", "extract"])
def test_edit_without_a_change_needs_confirmation(kind: str, ann: Ann, tmp_path: Path) -> None:
    """An edit that leaves the text or the label as it is would be no answer: it is held once, also after the annotator
    has looked at another row. With a change it is sent at once."""
    with ann.at(kind, tmp_path) as player:
        page, desk = player.page, player.desk
        held = page.get_by_role("alert")
        before = player.shown()
        pair = player.pair_of(*before)
        for _ in range(2):
            if player.form.labels:
                page.keyboard.press("asdfghjkl"[list(player.form.labels).index(pair.output)])
            else:
                page.keyboard.press("3")
                text = page.locator("[aria-label^='Question: edited'] [contenteditable]:focus")
                text.wait_for()
                page.keyboard.press("Escape")
                text.wait_for(state="detached")
            player.is_checked("verdict_edit")
            page.keyboard.press("Enter")
            held.wait_for()
            assert "changed nothing" in held.inner_text()
            ann.page.picture(f"{kind}-unchanged")
            page.keyboard.press("ArrowRight")
            player.wait_until_next(before)
            held.wait_for(state="detached")
            page.keyboard.press("ArrowLeft")
            player.wait_until_shown(before)
            page.keyboard.press("1")
            player.is_checked("verdict_accept")
        assert pull(desk.project, desk.store, desk.argilla).news == 0
        edited = player.correct(pair)
        player.submit(before)
        pull(desk.project, desk.store, desk.argilla)
        (review,) = (r for own in desk.store.reviews().values() for r in own)
        assert (review.decision, review.edited) == ("edit", edited)


def test_row_of_150_words_and_four_candidates_fits_the_screen(ann: Ann, tmp_path: Path) -> None:
    """Input, output, house style, the other outputs and every question are in view at 1280 by 800 and at 1600 by 900;
    only choices that apply to the row are offered."""
    with ann.at("rewrite", tmp_path) as player:
        page, desk = player.page, player.desk
        other = page.get_by_text("Other outputs for this input", exact=True)
        # Neighbouring rows may be two outputs of one input.
        texts = "[...document.querySelectorAll('.fields .markdown-render')].map(one => one.innerText).join()"
        for _ in desk.rows:
            if other.count():
                break
            page.locator("[id=best_A]").wait_for(state="hidden")
            before = page.evaluate(texts)
            page.keyboard.press("ArrowRight")
            page.wait_for_function(f"before => {texts} !== before && document.querySelector('{READY}')", arg=before)
        assert len(player.text(1).split()) > 145
        assert page.locator("[id=best_C]").count()
        for width, height in (1280, 800), (1600, 900):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_function(
                """() => [...document.querySelectorAll('.text_field_component:not([hidden]), .questions > div')]
                    .every(one => one.getBoundingClientRect().bottom <= innerHeight - 29)"""
            )
            ann.page.picture(f"row-{width}")
            shown = page.locator(".text_field_component:visible .title-area").all_inner_texts()
            assert {"Input", "Output", "House style", "Other outputs for this input"} <= set(shown)
        page.set_viewport_size({"width": 1280, "height": 800})


def test_right_to_left_text_starts_at_the_right(ann: Ann, tmp_path: Path) -> None:
    """Both in the field and in the editable text, although the page is left to right; a left-to-right text on the same
    page starts at the left."""
    begins_at = """([where, text]) => {
        const box = document.querySelector(where);
        const [at, range] = [box.firstChild ?? box.appendChild(document.createTextNode("")), document.createRange()];
        at.textContent = text;
        range.setStart(at, 0);
        range.setEnd(at, 1);
        const [field, sign] = [box.getBoundingClientRect(), range.getBoundingClientRect()];
        return (sign.x + sign.width / 2 - field.x) / field.width;
    }"""
    with ann.at("free", tmp_path) as player:
        for where in ".fields .markdown-render div", "[aria-label='Question: edited'] .content__text":
            assert player.page.evaluate(begins_at, [where, "مرحبا يا 3 عوالم."]) > 0.9
            assert player.page.evaluate(begins_at, [where, "Hello, 3 worlds."]) < 0.1


def test_only_argillas_page_is_modified(argilla_server: ArgillaServer, ann: Ann, client: Any) -> None:
    """The page is served with our script and style sheet, for every path and also for conditional requests. The API and
    Argilla's own files are unchanged, and on datasets of others the script does nothing."""
    import argilla as rg

    with httpx.Client(base_url=argilla_server.url, timeout=120) as http:
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
    workspace = theirs.workspace.id
    client.http_client.post(f"/api/v1/workspaces/{workspace}/users", json={"user_id": ann.id}).raise_for_status()
    page = ann.page.page
    page.goto(f"{argilla_server.url}/dataset/{theirs.id}/annotation-mode")
    page.locator("[id=verdict_accept]:focus").wait_for(state="attached")
    assert not page.locator("body.pairsmith").count()
