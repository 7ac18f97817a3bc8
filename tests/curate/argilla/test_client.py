"""Which queues are read, and that reading changes nothing on the server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.argilla import client
from curate.argilla.client import _MAX_REQUEST_BYTES, Argilla, _chunks
from curate.argilla.marks import MARK, format_mark
from curate.argilla.pull import pull
from curate.argilla.queue_creation import make_queue
from pairsmith.checks import health
from pairsmith.commands import start
from pairsmith.erasing import erased
from schemas.errors import ReviewError
from schemas.project import Project
from schemas.reviews import Sampled
from schemas.store import Store
from tests.curate.argilla.conftest import argilla_client
from tests.curate.argilla.loopback_argilla import Dataset, LoopbackArgilla
from tests.curate.review.review_project import fill, project

argilla_client()
ROOT = Path(__file__).parents[3]


@pytest.fixture
def server() -> Iterator[LoopbackArgilla]:
    with LoopbackArgilla() as serving:
        yield serving


@pytest.fixture
def cats(tmp_path: Path) -> Project:
    return project(tmp_path)


def test_answers_are_read_from_the_queues_that_rows_were_sent_to(cats: Project, server: LoopbackArgilla) -> None:
    """After the dataset is renamed in the spec, the answers in the old queues are still pulled, once, with the role
    that their queue has."""
    review = cats.spec.review.model_copy(update={"dataset": "renamed"})
    renamed = Project(cats.folder, cats.spec.model_copy(update={"review": review}))
    ann, bob = server.user("ann"), server.user("bob")
    with Store.open(Store.url_for(cats)) as store, Argilla(server.url, "key", "pairsmith", patience_s=1) as argilla:
        one, two, *_ = fill(cats, store)
        for pair, queue in ((one, "cats"), (two, "cats-shared")):
            store.write(Sampled(pair_id=pair.id, reason="certify", sampling_probability=0.5, dataset=queue))
            server.answer(queue, pair.id, ann, "accept", 1)
        server.answer("cats-adjudication", two.id, bob, "reject", 2)
        assert pull(renamed, store, argilla).new == 3
        assert pull(renamed, store, argilla).unchanged == 3
        assert {r.role for own in store.reviews().values() for r in own if r.who == "bob"} == {"adjudicator"}


@pytest.mark.parametrize("dry", [True, False])
def test_pull_changes_nothing_on_the_server(cats: Project, server: LoopbackArgilla, dry: bool) -> None:
    """If there are drafts under our queues' names, whoever created them, a pull, dry or not, only sends GET
    requests."""
    for name, guidelines in (("cats-shared", "mine"), ("cats-adjudication", MARK)):
        server.datasets[name] = Dataset(status="draft", guidelines=guidelines)
    with Store.open(Store.url_for(cats)) as store, Argilla(server.url, "key", "pairsmith", patience_s=1) as argilla:
        pair = fill(cats, store)[0]
        server.answer("cats", pair.id, server.user("ann"), "accept", 1)
        assert pull(cats, store, argilla, dry=dry).new == 1
    assert {method for method, _ in server.requests} == {"GET"}


def test_only_our_own_drafts_are_removed(server: LoopbackArgilla) -> None:
    """Creating a queue removes an incomplete one that a crash left, if it has the mark of this store or of an earlier
    version. One created by a copy of the project or by another project stays, and a user's draft of that name is
    refused with a message."""
    mine = {"project": "mine", "queue": "cats", "store": "here"}
    server.datasets["theirs"] = Dataset(status="draft", guidelines="# My own guidelines")
    server.datasets["old"] = Dataset(status="draft", guidelines=f"# cats\n\n{MARK}\n")
    server.datasets["cats-7"] = Dataset(status="draft", guidelines=f"# cats\n\n{format_mark(mine)}\n")
    server.datasets["copied"] = Dataset(status="draft", guidelines=format_mark({**mine, "store": "elsewhere"}))
    server.datasets["other"] = Dataset(status="draft", guidelines=format_mark({**mine, "project": "other"}))

    def unused(_: object) -> None:
        raise StopIteration

    with Argilla(server.url, "key", "pairsmith", patience_s=1) as argilla:
        with pytest.raises(ReviewError, match="a draft named theirs is there"):
            make_queue(argilla, "theirs", unused, project="mine", store="here")
        assert {method for method, _ in server.requests} == {"GET"}
        for name in "old", "cats", "other":
            with pytest.raises(StopIteration):
                make_queue(argilla, name, unused, project="mine", store="here")
    removed = [path for method, path in server.requests if method == "DELETE"]
    assert removed[:2] == [f"datasets/{server.datasets[name].id}" for name in ("old", "cats-7")]
    assert not {server.datasets[name].id for name in ("theirs", "copied", "other")} & set(" ".join(removed).split("/"))


def test_server_that_is_away_is_waited_for_with_a_word(
    server: LoopbackArgilla, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`review pull --watch` stood still for minutes before it said that the server had gone. One that is away for a
    moment is not worth a line."""
    lines: list[str] = []
    with Argilla(server.url, "key", "pairsmith", patience_s=0.7, say=lines.append) as argilla:
        server.refuses, server.status = "out of order", 503
        for after_s, count in ((9.0, 0), (0.1, 1)):
            monkeypatch.setattr(client, "_SAID_AFTER_S", after_s)
            with pytest.raises(ReviewError, match="Argilla fails"):
                argilla.users()
            assert len(lines) == count
    assert lines[0].startswith(f"{server.url}: Argilla fails: ")
    assert lines[0].endswith("Trying again for up to 1 s.")


def test_extra_headers_are_sent_with_every_call(server: LoopbackArgilla) -> None:
    """A private Hugging Face Space requires its own header in addition to Argilla's key."""
    server.wants = ("Authorization", "Bearer space")
    with pytest.raises(ReviewError, match="headers_env"):
        Argilla(server.url, "key", "pairsmith", patience_s=1)
    with Argilla(server.url, "key", "pairsmith", patience_s=1, headers={"Authorization": "Bearer space"}) as argilla:
        assert argilla.users()


def test_proxy_from_the_environment_is_not_used_for_local_servers(
    server: LoopbackArgilla, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a company's proxy a local server is called directly, and a remote one through the proxy."""
    with LoopbackArgilla() as proxy:
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        with Argilla(server.url, "key", "pairsmith", patience_s=1) as argilla:
            assert argilla.users()
        assert not proxy.requests
        assert server.requests
        with pytest.raises(ReviewError):
            Argilla("http://argilla.example", "key", "pairsmith", patience_s=1)
        assert proxy.requests


def test_status_of_a_remote_review_shows_its_url(cats: Project, tmp_path: Path) -> None:
    """With a url in the spec, status does not mention a local server."""
    asked = ["--set", "review.url=http://argilla.example:1", "--set", "review.key_env=NO_SUCH_KEY"]
    command = [sys.executable, "-m", "pairsmith", "review", "status", *asked]
    environment = {**os.environ, "PAIRSMITH_ARGILLA_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cats.folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "elsewhere: http://argilla.example:1" in done.stdout
    assert "not started here" not in done.stdout


@pytest.mark.parametrize("asked", [["people"], ["invite", "ann"], ["pull"]], ids=" ".join)
def test_no_server_is_started_if_no_rows_were_drawn(asked: list[str], cats: Project, tmp_path: Path) -> None:
    """The command says at once that there is nothing to review, before it spends minutes on starting a server."""
    path = cats.folder / "pairsmith.toml"
    path.write_text(re.sub("workspace = .*", "", path.read_text(encoding="utf-8")), encoding="utf-8")
    with Store.open(Store.url_for(cats)) as store:
        fill(cats, store)
    home = tmp_path / "home"
    environment = {**os.environ, "PAIRSMITH_ARGILLA_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pairsmith", "review", *asked]
    done = subprocess.run(command, cwd=cats.folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 10, done.stderr
    assert "no rows have been drawn for review yet" in done.stderr
    assert not home.exists()


def test_erasing_starts_no_server_that_has_no_data(
    cats: Project, server: LoopbackArgilla, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`erase` of rows that were drawn for review installed a server (0.6 GB) and left it running. Where none was ever
    started it starts none and says so; nothing is called deleted that is not. A running server is used."""
    home, blocked = tmp_path / "home", tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("ARGILLA_KEY", "key")
    answers = []
    elsewhere = cats.spec.review.model_copy(update={"url": server.url, "key_env": "ARGILLA_KEY"})
    with Store.open(Store.url_for(cats)) as store:
        fill(cats, store)
        for place, url in ((home, None), (blocked, None), (blocked / "home", None), (home, server.url)):
            monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(place))
            (pair, *_) = store.pairs()
            (seed,) = [seed for seed in store.active_seeds() if seed.id == pair.seed_id]
            store.write(Sampled(pair_id=pair.id, reason="certify", sampling_probability=0.5, dataset="cats"))
            own = cats.spec.model_copy(update={"review": elsewhere}) if url else cats.spec
            answers.append(erased(Project(cats.folder, own), store, source=seed.source)["argilla"])
    unused, *not_folders, remote = answers
    assert unused.startswith(f"nothing to delete: no server was ever started in {home}. If rows were sent from")
    for answer in not_folders:
        assert (
            answer
            == "not reached, so the rows are still there: delete them yourself, in Argilla (this is not a folder)"
        )
    assert remote.startswith(f"nothing to delete: this project has no rows on {server.url}. If rows were sent from")
    assert not home.exists()


def test_a_home_that_is_a_file_names_the_variable(
    cats: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that looks for the server says which variable to change, and which file is in the way. `doctor`
    shows it as a finding."""
    (file := tmp_path / "file").touch()
    for home in (file, file / "home"):
        monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(home))
        for asked in ("status", "logs", "down", "up", "backup new.tar.gz"):
            assert start(["review", *asked.split(), "--project", str(cats.folder)]) == 10
            assert f"error: PAIRSMITH_ARGILLA_HOME, {file}: this is not a folder. Set the" in capsys.readouterr().err
        assert health.review(cats).what == f"PAIRSMITH_ARGILLA_HOME, {file}: this is not a folder."


def test_requests_are_limited_in_rows_and_bytes() -> None:
    """At most 100 rows per request, fewer if they are long. A row that is too long for any request is sent alone. No
    row is lost or reordered."""
    sizes = [10] * 250 + [_MAX_REQUEST_BYTES // 3] * 7 + [3 * _MAX_REQUEST_BYTES] + [10]
    chunks = list(_chunks((b"x" * size for size in sizes), 100))
    assert [len(item) for chunk in chunks for item in chunk] == sizes
    assert [len(chunk) for chunk in chunks] == [100, 100, 52, 3, 2, 1, 1]
    assert all(len(chunk) == 1 or sum(map(len, chunk)) <= _MAX_REQUEST_BYTES for chunk in chunks)


def test_row_in_two_queues_has_one_answer_per_annotator(cats: Project, server: LoopbackArgilla) -> None:
    """If a row is answered in two queues, the later answer counts; a draft in the other queue withdraws nothing;
    repeated pulls find nothing new."""
    ann, queue = server.user("ann"), cats.spec.task.name
    with Store.open(Store.url_for(cats)) as store, Argilla(server.url, "key", "pairsmith") as argilla:
        one, two, *_ = (pair.id for pair in fill(cats, store))
        for minute, (name, id_, verdict) in enumerate(
            [
                (queue, one, "accept"),
                (f"{queue}-shared", one, "reject"),
                (queue, two, "accept"),
                (f"{queue}-shared", two, "reject"),
            ]
        ):
            server.answer(name, id_, ann, verdict, minute)
        server.datasets[f"{queue}-shared"].rows[two][ann]["status"] = "draft"
        assert pull(cats, store, argilla).new == 2
        for _ in range(3):
            assert pull(cats, store, argilla).news == 0
        assert [review.decision for id_ in (one, two) for review in store.reviews()[id_]] == ["reject", "accept"]


@pytest.mark.parametrize(("version", "fits"), [("1.29.1", False), ("2.5.0", False), ("2.6.0", True), ("2.10.0", True)])
def test_too_old_argilla_is_refused_before_anything_is_sent(server: LoopbackArgilla, version: str, fits: bool) -> None:
    """Datasets can hold our mark only since Argilla 2.6; an older version is refused with a message that names it."""
    server.version = version
    if fits:
        Argilla(server.url, "key", "pairsmith").close()
        return
    with pytest.raises(ReviewError, match=rf"Argilla {version} is too old") as refused:
        Argilla(server.url, "key", "pairsmith")
    assert refused.value.fix is not None
    assert {method for method, _ in server.requests} == {"GET"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"detail": "Record with id `7` not found"}', "Record with id `7` not found"),
        (
            '{"detail": {"code": "argilla.api.errors::ValidationError", "params": {"errors": '
            '[{"loc": ["body", "name"], "msg": "field required", "type": "missing"}]}}}',
            "body.name: field required",
        ),
        ('{"detail": {"code": "argilla.api.errors::EntityNotFoundError", "params": {"name": "x"}}}', "EntityNotFound"),
        ("<html>\n<title>Gone</title><h1>It is no more</h1></html>", "Gone: It is no more"),
        ("", "no reason given"),
    ],
)
def test_refusal_shows_argillas_message_and_a_fix(server: LoopbackArgilla, body: str, words: str) -> None:
    """The error has no JSON and no internal error codes, but Argilla's message, the status and path, and what to do."""
    with Argilla(server.url, "key", "pairsmith", patience_s=1) as argilla:
        server.refuses = body
        with pytest.raises(ReviewError, match=re.escape(words)) as caught:
            argilla.call("GET", "datasets/1/records")
    assert "{" not in caught.value.what
    assert "422 at datasets/1/records" in caught.value.what
    assert "Run the command again" in str(caught.value.fix)
