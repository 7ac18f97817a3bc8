"""A user in a hurry at the page: keys faster than the server, a server that is away, two windows, a page reloaded in
the middle of a row. In a real Chromium on our own server."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from curate.argilla.pull import pull
from curate.argilla.push import queue_name
from curate.argilla.server import ArgillaServer
from tests.curate.argilla.answering import queue_named
from tests.curate.argilla.browser_page import READY, needs_browser
from tests.curate.argilla.conftest import killed
from tests.curate.argilla.kinds_played import Ann, Player, signed_in

pytestmark = [needs_browser, pytest.mark.timeout(600)]
_RESPONSES = re.compile("/responses$")
VERDICTS = {"1": "accept", "2": "reject"}

# What was on the page at every key press and when an answer was sent: recorded by the page itself, as this test is
# slower.
_WATCH = """
window.seen = [];
const shown = () => [...document.querySelectorAll('.text_field_component')]
    .find(one => one.querySelector('.title-area').innerText.trim() === 'Output')
    ?.querySelector('.markdown-render')?.innerText.trim();
const chosen = () => document.querySelector('[id^=verdict_]:checked')?.id.replace('verdict_', '');
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (body) {
    if (body?.includes?.('"verdict"')) {
        const said = JSON.parse(body).values.verdict.value;
        seen.push({ sent: said, record: this.requested.url.split('/').at(-2), shown: shown() });
        this.addEventListener('loadend', () => seen.push({ arrived: this.status, shown: shown(), chosen: chosen() }));
    }
    return send.call(this, body);
};
addEventListener('keydown', event => seen.push({ key: event.key, shown: shown() }), true);
"""


@pytest.fixture(scope="module")
def ann(argilla_server: ArgillaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ann]:
    with signed_in(argilla_server, tmp_path_factory.mktemp("pictures")) as person:
        person.page.page.add_init_script(_WATCH)  # before the page's own scripts, which stop key events
        yield person


class Sent(NamedTuple):
    """An answer that was sent: its record, and the output shown when its last verdict and Enter were pressed."""

    record: str
    verdict: str
    pressed: str
    at_verdict: str
    at_enter: str


def _sent_answers(seen: list[dict[str, Any]]) -> list[Sent]:
    sent, verdict, enter = [], ("", ""), ""
    for event in seen:
        if event.get("key") in VERDICTS:
            verdict = VERDICTS[event["key"]], event["shown"]
        elif event.get("key") == "Enter":
            enter = event["shown"]
        elif "sent" in event:
            sent.append(Sent(event["record"], event["sent"], *verdict, enter))
    return sent


def _outputs(player: Player) -> dict[str, str]:
    """record id -> the output without whitespace, because the page breaks lines."""
    desk, pairs = player.desk, {pair.id: pair for own in player.desk.rows.values() for pair in own}
    queue = queue_named(desk.argilla, queue_name(desk.project))
    assert queue is not None
    return {str(row["id"]): "".join(pairs[row["external_id"]].output.split()) for row in desk.argilla.records(queue)}


@contextmanager
def _latency(page: Any, latency_ms: int) -> Iterator[None]:
    """Simulate a slow network. Uses one CDP session, because another one cannot undo its settings."""
    network = page.context.new_cdp_session(page)
    conditions = {"offline": False, "latency": latency_ms, "downloadThroughput": -1, "uploadThroughput": -1}
    network.send("Network.emulateNetworkConditions", conditions)
    try:
        yield
    finally:
        network.send("Network.emulateNetworkConditions", {**conditions, "latency": 0})
        network.detach()


@pytest.mark.parametrize(("latency_ms", "pause_ms"), [(0, 60), (300, 150)])
def test_fast_typing_answers_no_unseen_row(ann: Ann, tmp_path: Path, latency_ms: int, pause_ms: int) -> None:
    """A user who types without looking answers fewer rows, but none wrongly: the verdict and Enter of every answer were
    pressed on its own row, and keys pressed while an answer is in flight change nothing on that row."""
    rng = random.Random(f"{latency_ms} {pause_ms}")
    with ann.at("rewrite", tmp_path, 15) as player:
        page = player.page
        with _latency(page, latency_ms):
            for _ in range(14):
                for key in rng.choice("12"), "Enter":
                    page.keyboard.press(key)
                    page.wait_for_timeout(rng.randint(0, pause_ms))
            page.wait_for_function("seen.filter(one => one.sent).length === seen.filter(one => one.arrived).length")
        seen, outputs = page.evaluate("seen"), _outputs(player)
        sent = _sent_answers(seen)
        assert sent
        assert sum("key" in event for event in seen) == 28
        for answer in sent:
            of = {"".join(shown.split()) for shown in (answer.at_verdict, answer.at_enter)}
            assert of == {outputs[answer.record]}
            assert answer.verdict == answer.pressed
        last = None
        for event in seen:
            last = event if "sent" in event else last
            if "arrived" in event and last and event["shown"] == last["shown"]:
                assert event["chosen"] == last["sent"], "changed while it was in flight"
        pulled = pull(player.desk.project, player.desk.store, player.desk.argilla)
        assert pulled.new == len({answer.record for answer in sent}) == len(sent)
        ids = {id_: own[0].decision for id_, own in player.desk.store.reviews().items()}
        assert sorted(ids.values()) == sorted(answer.verdict for answer in sent)


def test_answers_given_while_the_server_is_down_are_saved(ann: Ann, tmp_path: Path) -> None:
    """The server is killed, and three rows are answered before it is back. The page says that they are not saved yet
    and sends them until they are; each is saved once, as given."""
    with ann.at("rewrite", tmp_path) as player:
        page, desk = player.page, player.desk
        player.row(0)
        outputs = {output: id_ for id_, output in _outputs(player).items()}
        pressed = {}
        with killed(ann.server, "server"):
            for key in "212":
                before = player.shown()
                player.key(key)
                player.is_checked(f"verdict_{VERDICTS[key]}")
                pressed[outputs["".join(before[1].split())]] = VERDICTS[key]
                with page.expect_event("requestfailed", lambda asked: "/responses" in asked.url):
                    player.key("Enter")
                player.wait_until_next(before)
            alert = page.locator(".pairsmith-status")
            alert.wait_for()
            assert "not saved yet" in alert.inner_text()
            ann.page.picture("away")
        alert.wait_for(state="detached", timeout=500_000)
        pulled = pull(desk.project, desk.store, desk.argilla)
        assert pulled.new == 4
        queue = queue_named(desk.argilla, queue_name(desk.project))
        assert queue is not None
        rows = desk.argilla.records(queue, responses=True)
        stored = {row["id"]: [one["values"]["verdict"]["value"] for one in row["responses"]] for row in rows}
        assert {id_: stored[id_] for id_ in pressed} == {id_: [verdict] for id_, verdict in pressed.items()}
        player.row(0)
        assert pull(desk.project, desk.store, desk.argilla).new == 1


def test_second_window_does_not_replace_an_answer(ann: Ann, tmp_path: Path) -> None:
    """One row is open in two windows of one annotator: the first answer counts, and the other window says so and
    continues with the next row."""
    with ann.at("rewrite", tmp_path) as player:
        desk, other = player.desk, player.page.context.new_page()
        other.goto(player.page.url)
        other.locator(READY).wait_for(state="attached")
        second = Player(desk, other)
        assert second.shown() == player.shown()
        player.row(0)
        other.keyboard.press("2")
        second.is_checked("verdict_reject")
        other.keyboard.press("Enter")
        other.get_by_text("You already answered that row in another window").wait_for()
        ann.page.picture("two-windows")
        pulled = pull(desk.project, desk.store, desk.argilla)
        assert (pulled.new, pulled.changed) == (1, 0)
        assert [review.decision for own in desk.store.reviews().values() for review in own] == ["accept"]
        second.reload(player.shown())
        second.row(2)
        assert pull(desk.project, desk.store, desk.argilla).new == 1
        other.close()


def test_row_withdrawn_while_open_is_reported(ann: Ann, tmp_path: Path) -> None:
    """A row that is withdrawn while it is open accepts no answer: the page says so, and nothing of it is pulled. The
    next answers count, and the message disappears."""
    with ann.at("rewrite", tmp_path) as player:
        desk, page = player.desk, player.page
        shown = player.shown()
        queue = queue_named(desk.argilla, queue_name(desk.project))
        assert queue is not None
        withdrawn = player.pair_of(*shown)
        (record,) = (str(row["id"]) for row in desk.argilla.records(queue) if row["external_id"] == withdrawn.id)
        assert desk.argilla.withdraw(queue, [record]) == 1
        page.keyboard.press("1")
        player.is_checked("verdict_accept")
        page.keyboard.press("Enter")
        message = page.get_by_text("That row was withdrawn while it was open")
        message.wait_for()
        ann.page.picture("taken-back")
        assert pull(desk.project, desk.store, desk.argilla).new == 0
        player.reload()
        assert player.shown() != shown
        player.row(0)
        message.wait_for(state="detached")
        assert pull(desk.project, desk.store, desk.argilla).new == 1


def test_reloaded_page_continues_where_it_was(ann: Ann, tmp_path: Path) -> None:
    """Reloaded in the middle of a row, after two others: that row is shown again with nothing selected. After back and
    forward the answer still belongs to the row that is shown. No row is skipped until none is pending."""
    with ann.at("rewrite", tmp_path, 7) as player:
        page, desk = player.page, player.desk
        rows = sum(map(len, desk.rows.values()))
        player.row(0)
        player.row(2)
        before = player.shown()
        page.keyboard.press("1")
        player.is_checked("verdict_accept")
        player.reload(before)
        assert ann.page.chosen is None
        player.row(4)
        before = player.shown()
        page.go_back()
        page.go_forward()
        player.wait_until_shown(before)
        for number in range(3, rows):
            player.row(2 * number)
        page.wait_for_function("() => /no pending records|task is completed/.test(document.body.innerText)")
        pulled = pull(desk.project, desk.store, desk.argilla)
        assert (pulled.new, pulled.changed) == (rows, 0)
        assert json.dumps(sorted(desk.answers)) == json.dumps(sorted(desk.store.reviews()))


def test_key_pressed_while_an_answer_is_in_flight_changes_nothing(ann: Ann, tmp_path: Path) -> None:
    """The row that is still shown has been answered: the key of another verdict changes nothing."""
    with ann.at("rewrite", tmp_path) as player:
        shown, in_flight = player.shown(), list[Any]()
        player.page.route(_RESPONSES, lambda route: in_flight.append(route))  # held until it is continued below
        player.key("1")
        player.is_checked("verdict_accept")
        with player.page.expect_request(_RESPONSES):
            player.key("Enter")
        player.page.locator(".questions-form.--waiting").wait_for(state="attached")
        player.key("2")
        assert ann.page.chosen == "accept"
        in_flight[0].continue_()
        player.page.unroute(_RESPONSES)
        player.wait_until_next(shown)
        assert pull(player.desk.project, player.desk.store, player.desk.argilla).new == 1
        assert [own[0].decision for own in player.desk.store.reviews().values()] == ["accept"]
