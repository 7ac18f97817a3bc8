"""The pages as HTML, without a browser: one heading each, every number from the store, every error a page."""

from __future__ import annotations

import html
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs pairsmith[serve]")

import sqlalchemy as sa
from starlette.testclient import TestClient

from curate.review.population import Population, read_population
from pairsmith.commands import start
from pairsmith.serve import rows_view
from pairsmith.serve.access import Role
from pairsmith.serve.job import JobOptions
from pairsmith.serve.pages import populations, review
from pairsmith.serve.pages.figures import Snapshot
from pairsmith.serve.settings import Settings
from pairsmith.serve.workspace import Workspace
from pairsmith.stages import table
from schemas.records import Candidate, Counts, Reason, Receipt, now
from schemas.reviews import Review, Sampled
from schemas.spec_file import load, set_keys
from schemas.store import Store
from schemas.store.since import newest_fingerprints
from tests.pairsmith import report_project
from tests.pairsmith.conftest import SPEC
from tests.serve.conftest import Browse, write_project
from tests.serve.people import browsing, staffed

OF_A_PROJECT = ("", "/run", "/rows", "/prompts", "/review", "/training", "/evaluation", "/downloads", "/setup")
OF_THE_SERVICE = ("/", "/new", "/people", "/keys", "/audit", "/settings")
NASTY = "<script>alert(1)</script>\" onmouseover='x' {{ 7 * 7 }} </textarea><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project that went through every stage, one that has not started, and one with an invalid spec."""
    workspace = Workspace(tmp_path_factory.mktemp("space"))
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    report_project.whole(folder, merged=False)[1].close()
    write_project(
        workspace, "empty", "http://127.0.0.1:9", (*(f"input {n}" for n in range(9)), NASTY.replace('"', "'"))
    )
    broken = workspace.new_folder("broken")
    broken.mkdir()
    (broken / "pairsmith.toml").write_text("[task]\nname = 'x'\n")
    return workspace


@pytest.fixture(scope="module")
def client(workspace: Workspace) -> Iterator[TestClient]:
    with browsing(workspace) as client:
        client.app.state.policy.allow("http://127.0.0.1:9", "", None)
        yield client


class ParsedPage(HTMLParser):
    """The headings and scripts of a page, and everything that a strict content security policy forbids."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.wrong: list[str] = []
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._inside.append(tag)
        if tag == "h1":
            self.headings.append("")
        if tag == "script":
            self.scripts.append(given)
        self.wrong += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        if tag in ("style", "iframe", "object", "embed", "img"):
            self.wrong.append(tag)
        if tag == "form" and given.get("method") == "post":
            self.wrong += [] if (given.get("action") or "").startswith("/") else ["form without a place"]

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "h1" in self._inside:
            self.headings[-1] += data


def get_page(client: TestClient, path: str, status: int = 200) -> tuple[ParsedPage, str]:
    response = client.get(path)
    assert response.status_code == status, (path, response.text[:500])
    assert "unsafe" not in response.headers["content-security-policy"]
    return ParsedPage(response.text), response.text


@pytest.mark.parametrize("slug", ["whole", "empty"])
@pytest.mark.parametrize("place", OF_A_PROJECT)
def test_project_page_has_one_heading_under_a_strict_policy(client: TestClient, slug: str, place: str) -> None:
    """Each page has exactly one h1, which is a sentence, no inline script, style or handler, and a skip link."""
    page, text = get_page(client, f"/p/{slug}{place}")
    (heading,) = page.headings
    assert heading[:1] in heading[:1].upper()
    assert heading.rstrip().endswith((".", ":", "?")), heading
    assert page.wrong == []
    assert all(script.get("src", "").startswith("/static/") for script in page.scripts)
    assert 'href="#main"' in text
    assert '<html lang="en">' in text


@pytest.mark.parametrize("path", OF_THE_SERVICE)
def test_service_page_has_one_heading_under_a_strict_policy(client: TestClient, path: str) -> None:
    """The same holds for pages outside projects; a project with an invalid spec does not affect the others."""
    page, text = get_page(client, path)
    assert len(page.headings) == 1
    assert page.headings[0].rstrip().endswith(".")
    assert page.wrong == []
    if path == "/":
        assert "The settings cannot be read. The key &#39;task.style&#39; is missing." in text
        assert "whole" in text


def test_only_evaluation_is_not_listed_as_an_earlier_one(client: TestClient) -> None:
    """The evaluation that is shown is not listed again as an earlier one."""
    page = client.get("/p/whole/evaluation").text
    assert "Outputs" in page
    assert "Earlier evaluations" not in page


def test_stages_and_history_are_updated_with_the_heading(client: TestClient) -> None:
    """During a run the overview replaces every part that the run changes: under "Generating, 40 of 543" it had kept
    saying that generation had not run yet."""
    page = client.get("/p/whole").text
    (updated,) = re.findall(r'hx-select-oob="([^"]+)"', page)
    for part in ("rows-line", "stages", "receipts"):
        assert f"#{part}" in updated.split(",")
        assert f'id="{part}"' in page


@pytest.mark.parametrize("place", OF_A_PROJECT)
def test_every_project_page_shows_the_row_counts(client: TestClient, place: str) -> None:
    """Rows in = accepted + rejected + waiting + failed is shown on every page of a project with rows, and adds up."""
    _, text = get_page(client, f"/p/whole{place}")
    match = re.search(r"([\d,]+) rows in = (.+? failed)", text)
    assert match is not None
    number = lambda shown: int(shown.replace(",", ""))  # noqa: E731
    parts = [number(part) for part in re.findall(r"([\d,]+) (?:accepted|rejected|waiting|failed)", match[2])]
    assert len(parts) == 4
    assert number(match[1]) == sum(parts) == 180


@pytest.mark.parametrize(("place", "command"), [("/rows", "pairsmith generate"), ("/training", "pairsmith train"),
    ("/evaluation", "pairsmith evaluate"), ("/downloads", "pairsmith export"), ("", "pairsmith run")])  # fmt: skip
def test_empty_page_shows_the_next_step(client: TestClient, place: str, command: str) -> None:
    """A page without content shows the command that creates it."""
    assert command in get_page(client, f"/p/empty{place}")[1]


def test_missing_things_are_reported_on_a_page(client: TestClient) -> None:
    """A missing project, job or version, an invalid cursor or sort order and an invalid spec give an error page with
    the request id; a missing row gives a message."""
    for path, status in {
        "/p/none": 404,
        "/p/whole/run?job=none": 404,
        "/p/whole/prompts?ref=none/v9": 422,
        "/p/whole/rows?after=x": 400,
        "/p/whole/rows?sort=x": 400,
        "/p/broken": 422,
    }.items():
        page, text = get_page(client, path, status)
        assert len(page.headings) == 1
        assert 'class="problem"' in text
        assert "request <span" in text
    assert (
        "no longer exists: a later run may have replaced it"
        in get_page(client, "/p/whole/rows?row=0123456789abcdef")[1]
    )


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/p/whole/setup/cap", "/p/whole/setup"), ("/p/whole/run/1/stop", "/p/whole/run"),
        ("/settings/hosts/forbid", "/settings"), ("/p/whole/review/certified", "/p/whole/review"),
        ("/p/whole/", "/p/whole"), ("/p/whole/rows/?q=a%26b", "/p/whole/rows?q=a%26b"), ("/settings/", "/settings"),
    ],
)  # fmt: skip
def test_form_address_redirects_to_its_page(client: TestClient, address: str, page: str) -> None:
    """After a refused form the browser shows the form's address, so opening it again must lead to the page with the
    form. A slash at the end of a page's address does no harm either."""
    led = client.get(address, headers={"Accept": "text/html"})
    assert (led.status_code, led.headers.get("location")) == (303, page)
    assert client.get(address, headers={"Accept": "application/json"}).status_code == (
        404 if "/?" in f"{address}?" else 405
    )
    for elsewhere in ("/none/", "/%2Fexample.org/", "/p/whole//", "/api/v1/projects/"):
        assert client.get(elsewhere, headers={"Accept": "text/html"}).status_code == 404
    assert client.get("/api/v1/sign-in", headers={"Accept": "text/html"}).status_code == 405


@pytest.mark.parametrize("q", [NASTY, "lighthouse", "'", "%"])
def test_filters_are_kept_in_the_url(client: TestClient, q: str) -> None:
    """The filters of a page of rows are in its URL; the search text is shown as text."""
    response = client.get("/p/whole/rows", params={"q": q, "state": "accepted", "sort": "best", "split": "train"})
    page = ParsedPage(response.text)
    assert response.status_code == 200
    assert page.wrong == []
    assert "state=accepted" in response.text
    assert "sort=best" in response.text


def test_pages_do_not_wait_for_the_list_of_very_many_rows(
    client: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While very many rows are being listed, the other pages of the project are shown without their counts, and the
    rows page says so and asks again for the same list."""
    views = client.app.state.views  # type: ignore[attr-defined]
    (workspace.serve / "views" / "whole.db").unlink(missing_ok=True)
    monkeypatch.setattr(rows_view, "_MANY", 0)
    monkeypatch.setattr(rows_view, "_WAIT_S", 0.0)
    with views._locks.setdefault("whole", threading.Lock()):  # the list takes its time
        page, text = get_page(client, "/p/whole/rows?state=accepted&q=fog")
        assert page.headings == ["The rows are being listed."]
        assert page.wrong == []
        assert 'hx-get="/p/whole/rows?state=accepted&amp;q=fog"' in text
        assert "rows in =" not in get_page(client, "/p/whole")[1]
        assert "rows in =" not in get_page(client, "/p/whole/run")[1]
    views._updating["whole"][0].join(120)
    assert "rows in =" in get_page(client, "/p/whole")[1]
    assert "being listed" not in get_page(client, "/p/whole/rows?state=accepted&q=fog")[1]


def test_review_page_does_not_wait_for_very_many_rows(
    tmp_path: Path, browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser waited in silence for half a minute of CPU while the answers of 100,000 rows were counted, and two
    visitors had them counted twice. The page is shown without figures and asks again for them. They are kept until
    something changes; during a run those of before are shown."""
    workspace = Workspace(tmp_path)
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    _, store = report_project.whole(folder, merged=False)
    client = browse(workspace)
    monkeypatch.setattr(review, "_facts", populations.ReviewFacts())
    monkeypatch.setattr(populations, "_MANY", 0)
    monkeypatch.setattr(populations, "_WAIT_S", 0.0)
    go_on, begun = threading.Semaphore(0), list[object]()

    def slow(into: Future[Population], now: Snapshot, store: Store) -> None:
        begun.append(now)
        go_on.acquire()
        into.set_result(read_population(now.project, store, newest_fingerprints(store).values()))

    monkeypatch.setattr(populations, "_read", slow)
    with store:
        for _ in range(2):
            page, text = get_page(client, "/p/whole/review")
            assert page.headings == ["The answers are being counted."]
            assert page.wrong == []
            assert 'hx-get="/p/whole/review"' in text
            assert 'id="rates"' not in text
        assert len(begun) == 1
        go_on.release()
        deadline = time.monotonic() + 150
        while "being counted" in (text := get_page(client, "/p/whole/review")[1]):
            assert time.monotonic() < deadline
        assert 'id="rates"' in text
        assert "hx-get" not in text
        assert 'id="rates"' in get_page(client, "/p/whole/review")[1]
        assert len(begun) == 1
        pair = next(iter(store.pairs()))
        slot = {"fingerprint": "f" * 64, "seed_id": pair.seed_id, "generator": "forward", "sample": 9}
        store.write(Candidate.model_validate({**slot, "pair_id": pair.id}))  # a run goes on
        assert 'id="rates"' in get_page(client, "/p/whole/review")[1]
        store.write(Receipt(command="curate", ok=True, counts=Counts(), seconds=1, started=now(), spec_hash="0"))
        assert "being counted" in get_page(client, "/p/whole/review")[1]
        assert len(begun) == 3
        for _ in begun:
            go_on.release()


def test_scripts_in_texts_are_not_run(client: TestClient, workspace: Workspace) -> None:
    """A script in a seed, an output or a URL parameter is shown as text or dropped, never run."""
    for path in ("/p/whole/rows", "/p/empty/setup", "/p/empty/run"):
        page, text = get_page(client, path)
        assert page.wrong == []
        assert "<script>alert" not in text
    row = re.search(r'<a href="([^"]*row=[^"]+)"', get_page(client, "/p/whole/rows?q=OPEN")[1])
    assert row is not None
    for more in ("", "&compare=1", "&edit=1"):
        page, text = get_page(client, row[1].replace("&amp;", "&") + more)
        assert page.wrong == []
        assert "&lt;script&gt;" in text
        assert all(script.get("src", "").startswith("/static/") for script in page.scripts)
    page, text = get_page(client, f"/?done={NASTY}")
    assert page.wrong == []
    assert "alert(" not in text


def test_new_project_from_pasted_inputs(client: TestClient, workspace: Workspace) -> None:
    """Pasted inputs and a style create a project with a setup page. If the name is missing, the input is kept; a second
    project with the same name is refused."""
    form = {
        "name": "My Prompts",
        "style": "Write “richly”.\r\nEnd with END.",
        "pasted": "a kite\r\n\r\na crane\na kite\n" + NASTY,
    }
    refused = client.post("/new", data={**form, "name": " "})
    assert refused.status_code == 400
    assert "a crane" in refused.text
    assert "project name is missing" in refused.text
    response = client.post("/new", data=form)
    assert (response.status_code, response.headers["location"]) == (303, "/p/my-prompts/setup")
    page, text = get_page(client, "/p/my-prompts/setup")
    assert "3 seeds" in page.headings[0]
    assert page.wrong == []
    assert "Write “richly”." in text
    project = workspace.project("my-prompts")
    assert project.spec.task.style == "Write “richly”.\nEnd with END."
    assert client.post("/new", data=form).status_code == 400


_CSV = b"Ticket,Reply\nWhere is my parcel now?,It is on its way to you.\nCan I return it now?,Yes you can do that.\n"
_PAIR = b'{"input": "a kite in %d winds", "output": "a red kite in a strong wind"}\n'
_FILES = {
    "tickets.csv": (_CSV, 303),
    "rows.jsonl": (_PAIR % 1 + _PAIR % 2, 303),
    "<img src=x onerror=alert(1)>.txt": (b"one\ntwo\n", 303),
    "bomb.exe": (b"MZ", 422),
    "bad.jsonl": (b"{", 422),
    "empty.txt": (b"", 422),
    "utf16.txt": ("a kite".encode("utf-16"), 303),
}


@pytest.mark.parametrize("name", _FILES)
def test_new_project_from_a_file(client: TestClient, workspace: Workspace, name: str) -> None:
    """A file of seeds creates a project; one that cannot be read is refused and creates none."""
    (content, status), slug = _FILES[name], f"file-{list(_FILES).index(name)}"
    response = client.post("/new", data={"name": slug}, files={"file": (name, content)})
    assert response.status_code == status, response.text
    assert (slug in workspace.projects()) == (status == 303)
    assert workspace.new_folder(slug).exists() == (status == 303)
    if status == 303:
        assert ParsedPage(client.get(f"/p/{slug}/setup").text).wrong == []


def test_large_file_is_accepted_and_large_paste_refused(client: TestClient, workspace: Workspace) -> None:
    """A file may be larger than a form. A pasted text that is too long is refused on a page, and no project is
    created."""
    body = b"".join(b"input number %d about a kite\n" % number for number in range(100_000))
    response = client.post("/new", data={"name": "large"}, files={"file": ("large.txt", body)})
    assert (len(body) > 2_000_000, response.status_code) == (True, 303), response.text
    refused = client.post("/new", data={"name": "paste", "pasted": "a" * 1_200_000}, files={"file": ("", b"")})
    assert refused.status_code in (400, 413)
    assert "<h1" in refused.text
    assert "paste" not in workspace.projects()
    assert client.post("/p/large/setup/nothing").status_code == 400


def test_setup_keeps_each_step(client: TestClient, workspace: Workspace) -> None:
    """Style, worked examples and cap are saved one by one, and comments in the spec stay. An invalid setting of any
    step is reported and changes nothing."""
    folder = workspace.new_folder("steps")
    folder.mkdir(parents=True)
    (folder / "pairsmith.toml").write_text("# mine\n" + SPEC.format(url="embedded"))
    (folder / "seeds.jsonl").write_text('{"text": "a kite"}\n')
    style = {"style": "Another style.", "input": ["a kite", ""], "output": ["a red kite", ""]}
    assert client.post("/p/steps/setup/style", data=style).status_code == 303
    assert client.post("/p/steps/setup/cap", data={"max_usd": "2.50"}).status_code == 303
    spec = workspace.project("steps").spec
    assert (spec.task.style, spec.budget.max_usd) == ("Another style.", 2.5)
    assert [(e.input, e.output) for e in spec.exemplars] == [("a kite", "a red kite")]
    text = (folder / "pairsmith.toml").read_text()
    assert text.startswith("# mine\n")
    for step, data in (("cap", {"max_usd": "much"}), ("style", {"style": " "}), ("seeds", {"pasted": " \n "}),
                       ("teacher", {"teacher": "other", "url": "http://169.254.169.254/", "model": "x"})):  # fmt: skip
        response = client.post(f"/p/steps/setup/{step}", data=data)
        assert response.status_code in (400, 403, 422), step
        assert 'class="problem"' in response.text
        assert (folder / "pairsmith.toml").read_text() == text


def test_saved_prompt_is_a_new_version(client: TestClient, workspace: Workspace) -> None:
    """Saving creates the next version and changes none; using it is a separate step. A malformed prompt is shown again
    with its text."""
    text = re.search(r"<textarea[^>]*>(.*?)</textarea>", get_page(client, "/p/empty/prompts")[1], re.DOTALL)
    assert text is not None
    changed = html.unescape(text[1]).replace("do not answer it", "never answer it")
    response = client.post("/p/empty/prompts", data={"name": "enhance/v1", "text": changed, "do": "save"})
    assert response.status_code == 303, response.text
    ref = re.search(r"ref=([^&]+)", response.headers["location"])
    assert ref is not None
    name = ref[1].replace("%2F", "/")
    assert workspace.project("empty").spec.generate.forward.prompt == "enhance"
    assert client.post("/p/empty/prompts", data={"name": name, "do": "use"}).status_code == 303
    assert workspace.project("empty").spec.generate.forward.prompt == name
    bad = client.post("/p/empty/prompts", data={"name": name, "text": "+++\n" + NASTY, "do": "save"})
    assert bad.status_code == 422
    assert "onerror=alert(2)&gt;" in bad.text


def test_only_prompts_that_ask_about_seeds_are_in_use(client: TestClient) -> None:
    """A project of inputs uses no prompt that writes inputs for outputs, although that direction is not switched
    off."""
    heading = re.search(r"<h1>(.*?)</h1>", get_page(client, "/p/empty/prompts")[1], re.DOTALL)
    assert heading is not None
    assert "enhance/v" in heading[1]  # an earlier test may have written v2
    assert "simplify" not in heading[1]


def test_answer_on_a_page_is_stored(client: TestClient, workspace: Workspace) -> None:
    """Accept, edit and reject are stored at once with the time since the previous one, and a second click nothing. An
    edit without a text, or without a change, is refused, because it decides nothing. The row shows who answered."""
    row = client.app.state.views.page("whole").rows[5]  # type: ignore[attr-defined]
    for data in ({"decision": "reject"}, {"decision": "edit", "edited": "a better text"}, {"decision": "accept"}):
        for _ in range(2):
            response = client.post(f"/p/whole/rows/{row.id}/answer", data=data)
            assert response.status_code == 303, response.text
    for text in ("", f"{row.output}\r\n"):
        refused = client.post(f"/p/whole/rows/{row.id}/answer", data={"decision": "edit", "edited": text})
        assert refused.status_code == 422
        assert "Corrected output" in refused.text
    assert client.post("/p/whole/rows/none/answer", data={"decision": "accept"}).status_code == 404
    with Store.open(f"sqlite:///{workspace.folder('whole') / 'pairsmith.db'}", write=False) as store:
        reviews = store.reviews([row.id])[row.id]
    assert [r.decision for r in reviews] == ["reject", "edit", "accept"]
    assert all(r.seconds is not None and 0 <= r.seconds < 600 for r in reviews[1:]), (
        "the first has none, or another row's"
    )
    assert "accept by local" in get_page(client, f"/p/whole/rows?row={row.id}")[1]


OWN_PAIRS = """
[task]
name = "many"
kind = "reply"
style = "Answer in one sentence."
[[seeds]]
path = "pairs.jsonl"
kind = "pair"
[curate.gates]
language = false
mixed_language = false
[curate.score]
model = "none"
"""


def test_an_answer_reads_no_verdict_again(tmp_path: Path, browse: Browse) -> None:
    """The review page after an answer shows it without reading the verdicts again: for 100,000 rows that took ten
    seconds of CPU per answer. After another curation they are read."""
    workspace = Workspace(tmp_path)
    folder = workspace.new_folder("many")
    folder.mkdir(parents=True)
    pairs = [{"input": f"Where is order {n}?", "output": f"Order {n} left us on Monday, by post."} for n in range(30)]
    (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    (folder / "pairsmith.toml").write_text(OWN_PAIRS)
    for command in ("generate", "curate"):
        assert start([command, "--project", str(folder)]) == 0
    client = browse(workspace)
    with Store.open(f"sqlite:///{folder / 'pairsmith.db'}") as store:
        ids = [pair.id for pair in store.pairs()]
        store.write(*(Sampled(pair_id=id_, reason="certify", sampling_probability=1, dataset="q") for id_ in ids))
    reading: list[str] = []

    def note(*execution: Any) -> None:
        reading.extend(re.findall(r"FROM (verdicts)", execution[2]))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        assert "Reviewers have decided 0 rows" in get_page(client, "/p/many/review")[1]
        assert "verdicts" in reading
        reading.clear()
        for decision in ("reject", "accept"):
            assert client.post(f"/p/many/review/{ids[0]}", data={"decision": decision}).status_code == 303
        page = get_page(client, "/p/many/review")[1]
        assert "Reviewers have decided 1 row" in page
        assert '<th scope="row">local</th><td>1</td>' in page, "a replaced answer is counted"
        assert reading == []
        assert start(["curate", "--project", str(folder)]) == 0
        reading.clear()
        get_page(client, "/p/many/review")
        assert "verdicts" in reading
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def test_unanswered_rows_are_answered_one_after_another(client: TestClient) -> None:
    """After an answer in the list of unanswered rows, the next row is opened with the same filters and order; in other
    lists, the answered row."""
    page = get_page(client, "/p/whole/rows?state=accepted&reviewed=no&sort=longest")[1]
    listed = re.findall(r'<a href="/p/whole/rows\?[^"]*row=([^"&#]+)#drawer-title" class="clamp"', page)
    opened = get_page(client, f"/p/whole/rows?state=accepted&reviewed=no&sort=longest&row={listed[0]}")[1]
    assert "<kbd>a</kbd> accepts" in page
    action = re.search(r'action="([^"]+)" class="inline"[^>]*>.*?>Accept<', opened)
    assert action is not None
    for row, following in pairwise(listed[:3]):
        path = html.unescape(action[1]).replace(listed[0], row)
        to = client.post(path, data={"decision": "accept"}).headers["location"]
        assert to.endswith(f"row={following}#drawer-title"), "the next row is not open at its beginning"
        assert all(part in to for part in ("state=accepted", "reviewed=no", "sort=longest")), to
    to = client.post(f"/p/whole/rows/{listed[2]}/answer?state=accepted", data={"decision": "accept"}).headers[
        "location"
    ]
    assert f"row={listed[2]}" in to
    assert "state=accepted" in to


def test_missing_argilla_key_is_reported_before_sending_rows(tmp_path: Path) -> None:
    """If the API key of a remote Argilla is not set here, the page says so beside the button, with what to do. It says
    nothing if nothing is known to be missing."""
    workspace = Workspace(tmp_path / "space")
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    report_project.whole(folder, merged=False)[1].close()
    spec = folder / "pairsmith.toml"
    keys = {"review.enabled": True, "review.url": "http://127.0.0.1:9", "review.key_env": "THEIR_ARGILLA_KEY"}
    spec.write_text(set_keys(spec.read_text(), keys))
    with browsing(workspace) as client:
        text = get_page(client, "/p/whole/review")[1]
        assert "Rows cannot be sent to reviewers yet: THEIR_ARGILLA_KEY is not set. Set it: export" in text
        with pytest.MonkeyPatch.context() as variables:
            variables.setenv("THEIR_ARGILLA_KEY", "sesame")
            text = get_page(client, "/p/whole/review")[1]
        assert "Rows cannot be sent" not in text
        assert "Send rows to reviewers" in text


def test_reviewer_sees_only_the_queue(tmp_path: Path, browse: Browse) -> None:
    """A reviewer's page has the drawn rows, without the teacher's name or other answers, and accepts answers. Rows,
    runs, costs, results and settling are for other roles."""
    workspace = Workspace(tmp_path)
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    _, store = report_project.whole(folder, merged=False)
    with store:
        drawn = [pair.id for pair in store.pairs()][:2]
        store.write(*(Sampled(pair_id=id_, reason="certify", sampling_probability=1, dataset="q") for id_ in drawn))
    client = browse(workspace, Settings())
    token = client.app.state.accounts.invite("whole", Role.reviewer, "x")
    own = {"Origin": "http://127.0.0.1:8660", "Sec-Fetch-Site": "same-origin"}
    client.post("/redeem", data={"token": token, "name": "bob", "password": "four words are good"}, headers=own)
    page, text = get_page(client, "/p/whole/review")
    assert page.wrong == []
    assert 'id="queue"' in text
    assert "tiny" not in text  # the teacher
    csrf = re.search(r'name="csrf" content="([^"]+)"', text)
    assert csrf is not None
    assert "2 rows wait for your answer." in get_page(client, "/")[1]
    sent = {"csrf": csrf[1], "decision": "reject", "reason": ""}
    assert client.post(f"/p/whole/review/{drawn[0]}", data=sent, headers=own).status_code == 303
    assert client.post(f"/p/whole/review/{drawn[0]}/settle", data=sent, headers=own).status_code == 403
    assert client.post(f"/p/whole/review/{'0' * 64}", data=sent, headers=own).status_code == 404
    for path in ("/rows", "/run", "/setup", "/prompts", "/downloads"):
        page, text = get_page(client, f"/p/whole{path}", 403)
        assert "does not allow this" in text
    page, listed = get_page(client, "/")
    assert page.headings == ["1 project; 1 is waiting for review."]  # whether a job runs is not for reviewers
    assert "1 row waits for your answer." in listed
    assert 'href="/p/whole"' in listed
    assert "data-name" not in listed, "columns of what a reviewer does not see"
    assert "ship" not in listed, "the verdict of the evaluation"
    assert client.get("/p/whole", follow_redirects=False).headers["location"] == "/p/whole/review"
    assert "Allowed hosts" not in get_page(client, "/settings")[1]


def test_only_those_who_answer_have_a_queue_in_argilla(tmp_path: Path) -> None:
    """A viewer is not offered a queue."""
    with closing(staffed(tmp_path)) as service:
        spec = service.workspace.folder("mine") / "pairsmith.toml"
        elsewhere = {"review.enabled": True, "review.url": "http://127.0.0.1:9", "review.key_env": "THEIR_ARGILLA_KEY"}
        spec.write_text(set_keys(spec.read_text(), elsewhere))
        shown = {name: service.browser(name).get("/p/mine/review").text for name in ("viewer", "reviewer", "editor")}
        assert {name for name, text in shown.items() if "Open my queue in Argilla" in text} == {"reviewer", "editor"}


def test_job_of_a_hidden_project_is_indistinguishable_from_a_missing_one(tmp_path: Path) -> None:
    """A member of one project cannot find out which jobs other projects have."""
    with closing(staffed(tmp_path)) as service:
        job, viewer = (
            service.app.state.jobs.start("other", "curate", JobOptions(), "test").id,
            service.browser("viewer"),
        )
        for place in ("/p/mine/run/ID/log", "/p/mine/run?job=ID"):
            pages = [viewer.get(place.replace("ID", id_)) for id_ in (job, "0" * len(job))]
            assert [page.status_code for page in pages] == [404, 404]
            assert f"There is no job &#39;{job}&#39;." in pages[0].text


def test_api_gives_a_reviewer_the_queue_and_the_rates_only(tmp_path: Path) -> None:
    """Not what is wrong with a spec, which quotes it, whether a job runs, who answered how, or the allowed hosts."""
    with closing(staffed(tmp_path)) as service:
        reviewer = service.browser("reviewer")
        job = service.app.state.jobs.start("mine", "curate", JobOptions(), "test").id
        assert service.browser("viewer").get("/api/v1/projects").json()["items"][0]["running"] == job
        assert reviewer.get("/api/v1/projects").json()["items"][0]["running"] is None
        assert reviewer.get("/api/v1/teachers").status_code == 403
        folder = service.workspace.folder("mine")
        report_project.generated(load(folder), store := Store.open(Store.url_for(load(folder))))
        store.close()
        viewer_sees = service.browser("viewer").get("/api/v1/projects/mine/review").json()
        assert set(viewer_sees) >= {"review", "certificate"}
        assert set(reviewer.get("/api/v1/projects/mine/review").json()) <= {"review", "why"}
        (folder / "pairsmith.toml").write_text("[task]\nname = 'x'\n[teacher]\nsecret = 1\n")
        for path in (
            "/",
            "/p/mine",
            "/p/mine/review",
            "/api/v1/projects/mine/review",
            "/api/v1/projects/mine/review/queue",
        ):
            shown = reviewer.get(path, headers={"Accept": "text/html"})
            assert re.search("[Tt]he (settings of this )?project cannot be read", shown.text), path
            assert "secret" not in shown.text, path
        assert "teacher.secret" in service.browser("viewer").get("/p/mine/review").text


@pytest.mark.parametrize(("queue", "left"), [("q", 1), ("q-shared", 2)])
def test_row_that_others_answered_is_not_in_my_queue(queue: str, left: int, tmp_path: Path, browse: Browse) -> None:
    """A row with as many answers as its queue asks for takes nobody's time, as in Argilla."""
    workspace = Workspace(tmp_path)
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    _, store = report_project.whole(folder, merged=False)
    with store:
        reviewed = store.reviews([pair.id for pair in store.pairs()])
        drawn = [pair.id for pair in store.pairs() if pair.id not in reviewed][:2]
        store.write(*(Sampled(pair_id=id_, reason="certify", sampling_probability=1, dataset=queue) for id_ in drawn))
        store.write(Review(pair_id=drawn[0], reviewer="argilla:here/1", name="ann", decision="accept"))
    client = browse(workspace)
    assert get_page(client, "/p/whole/review")[1].count("Corrected output") == left
    answered = {row["id"]: row["answered"] for row in client.get("/api/v1/projects/whole/review/queue").json()["items"]}
    assert answered == {drawn[0]: left == 1, drawn[1]: False}


def test_row_whose_answer_i_withdrew_is_in_my_queue_again(tmp_path: Path, browse: Browse) -> None:
    """A withdrawn answer does not count, so the row needs one again."""
    workspace = Workspace(tmp_path)
    folder = workspace.new_folder("whole")
    folder.mkdir(parents=True)
    _, store = report_project.whole(folder, merged=False)
    with store:
        reviewed = store.reviews([pair.id for pair in store.pairs()])
        row = next(pair.id for pair in store.pairs() if pair.id not in reviewed)
        store.write(Sampled(pair_id=row, reason="certify", sampling_probability=1, dataset="q"))
    client = browse(workspace)
    for decision, answered in (("accept", True), ("withdrawn", False), ("reject", True)):
        sent = client.post(f"/api/v1/projects/whole/rows/{row}/reviews", json={"decision": decision})
        assert sent.status_code == 201, sent.text
        (queued,) = client.get("/api/v1/projects/whole/review/queue").json()["items"]
        assert queued["answered"] is answered


def test_differences_are_shown_by_words() -> None:
    """New words are marked and removed ones struck out; markup in either text is escaped."""
    from pairsmith.serve.pages.word_diff import word_diff

    diff = word_diff("a red kite", "a <b>blue</b> kite")
    assert "<del>red</del>" in diff
    assert "&lt;" in diff
    assert "<b>" not in diff
    assert word_diff("茶の毛布です", "黒の毛布です") == "<del>茶</del><ins>黒</ins>の毛布です"
    assert word_diff("हिन्दी में", "हिंदी में") == "<del>हिन्दी</del><ins>हिंदी</ins> में"
    kept = re.sub(r"<del>.*?</del>|</?ins>", "", str(word_diff("one two three", "one 2 three four")))
    assert kept == "one 2 three four"


def test_reason_codes_are_shown_as_sentences() -> None:
    """Every built-in reason code has a sentence; a code of a user's gate is shown in words. A code that repeats the
    name of its check is not shown beside it."""
    from pairsmith.serve.pages.words import reason
    from pairsmith.style.reasons import SENTENCES, detail_of, sentence_of

    assert all(sentence.endswith(".") for sentence in SENTENCES.values())
    assert sentence_of("missing:ar_flag") == "It does not match the pattern ar_flag."
    assert sentence_of("my_own") == "My own"
    assert Reason("short").code in SENTENCES
    assert reason("no_edit") == reason("incomplete") == "A reviewer chose to edit it, but changed nothing."
    assert reason("outranked", "rank 2 of 3") == "Another candidate for this input is better: rank 2 of 3"
    assert reason("short", "it has 2 words") == "It has 2 words"
    assert [detail_of(f"{code}: here") for code in ("loop", "missing:end", "crashed", "my_own", "missing")] == [
        *("here", "here"), "crashed: here", "my_own: here", "missing: here"
    ]  # fmt: skip
    assert detail_of("missing:end nothing matches the pattern") == "nothing matches the pattern"
    assert detail_of("preamble: the text says “sure”") == "the text says “sure”", "the name of its gate is repeated"
    assert detail_of("loop") == "loop"


def test_signed_out_user_is_redirected_to_the_sign_in(tmp_path: Path, browse: Browse) -> None:
    """A page redirects to the sign-in and back to itself, never to another site. The first link creates the owner, and
    every action needs a session and its CSRF token."""
    workspace = Workspace(tmp_path)
    write_project(workspace, "mine", "http://127.0.0.1:9")
    client = browse(workspace, Settings())
    away = client.get("/p/mine/rows?q=a")
    assert (away.status_code, away.headers["location"]) == (303, "/sign-in?next=%2Fp%2Fmine%2Frows%3Fq%3Da")
    link = client.app.state.accounts.first_owner_link()
    page, _ = get_page(client, f"/redeem?token={link}")
    assert page.headings == ["This link gives you the role owner in every project."]
    own = {"Origin": "http://127.0.0.1:8660", "Sec-Fetch-Site": "same-origin"}
    short = client.post("/redeem", data={"token": link, "name": "ann", "password": "short"}, headers=own)
    assert short.status_code == 422
    assert (
        client.post(
            "/redeem", data={"token": link, "name": "ann", "password": "four words are good"}, headers=own
        ).status_code
        == 303
    )
    assert client.get("/p/mine/rows").status_code == 200
    assert client.post("/sign-out", headers=own).status_code == 403  # without the token
    token = re.search(r'name="csrf" value="([^"]+)"', get_page(client, "/settings")[1])
    assert token is not None
    response = client.post("/keys", data={"csrf": token[1], "name": NASTY[:60], "role": "viewer"}, headers=own)
    assert re.search(r"ps_[a-z0-9]{8}_", response.text)
    assert ParsedPage(response.text).wrong == []
    invited = client.post("/people/invite", data={"csrf": token[1], "role": "reviewer", "project": "mine"}, headers=own)
    assert "It gives them the role reviewer of mine," in invited.text
    assert "/redeem?token=" in invited.text
    assert client.post("/sign-out", data={"csrf": token[1]}, headers=own).status_code == 303
    assert client.get("/").status_code == 303
    for then in ("//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil", "/ok"):
        back = client.post(
            "/sign-in", data={"name": "ann", "password": "four words are good", "next": then}, headers=own
        )
        assert (back.status_code, back.headers["location"]) == (303, "/ok" if then == "/ok" else "/")
        client.cookies.clear()
        client.app.state.limits = type(client.app.state.limits)()
    wrong: Any = client.post("/sign-in", data={"name": "ann", "password": "wrong"}, headers=own)
    assert wrong.status_code == 401
    assert "the name or the password is wrong" in wrong.text.lower()


@pytest.mark.parametrize(("code", "says"), [("outranked", "Another candidate for this input is better."),
    ("review", "A reviewer rejected it."), ("unscored", "The scorer could not judge it.")])  # fmt: skip
def test_advice_about_checks_is_for_what_checks_rejected(code: str, says: str, tmp_path: Path, browse: Browse) -> None:
    """No check under Setup changes that only the best candidate is accepted, or what people decided; a row rejected by
    a gate does give that advice."""
    folder = write_project(Workspace(tmp_path), "tiny", "http://127.0.0.1:9")
    of = {"command": "curate", "ok": True, "counts": Counts(rows_in=6, accepted=2, rejected=4), "seconds": 1}
    for reasons in ({code: 4}, {code: 3, "too_short": 1}):
        with Store.open(Store.url_for(load(folder))) as store:
            store.write(Receipt(**of, reasons=reasons, started=now(), spec_hash=""))
        page = browse(Workspace(tmp_path)).get("/p/tiny/run").text
        assert says in page
        assert ("change the check under" in page) == ("too_short" in reasons)


def test_pages_agree_on_what_comes_next_after_a_stopped_run_without_review(tmp_path: Path, browse: Browse) -> None:
    """A stopped run that skips review continues with training, on every page."""
    space = Workspace(tmp_path)
    folder = write_project(space, "tiny", "http://127.0.0.1:9")
    (folder / "seeds.jsonl").write_text('{"input": "a red kite", "output": "a red kite over a grey sea END"}\n')
    spec = folder / "pairsmith.toml"
    spec.write_text(set_keys(spec.read_text(), {"seeds.0.kind": "pair"}))
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        for stage in ("generate", "curate"):
            table.stage(stage).do(project, store)
    client = browse(space)
    client.app.state.policy.allow("http://127.0.0.1:9", "", None)
    job = client.post("/api/v1/projects/tiny/jobs", json={"command": "run", "options": {"no_review": True}}).json()
    assert client.post(f"/api/v1/jobs/{job['id']}/cancel").json()["state"] == "stopped"
    overview = client.get("/p/tiny").text
    assert "Continue with train" in overview
    assert f'action="/p/tiny/run/{job["id"]}/continue"' in overview, "a new run would not skip review, nor have its cap"
    assert "No model has been trained yet.</h1>" in client.get("/p/tiny/training").text
    assert "Nothing has been evaluated yet; train comes first.</h1>" in client.get("/p/tiny/evaluation").text
    assert "1 row is kept; continuing repeats nothing that is finished" in client.get("/p/tiny/run").text
