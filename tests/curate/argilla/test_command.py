"""`pairsmith review` and the review stage of `pairsmith run`, as a user runs them: real processes, a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from curate.argilla.server import ArgillaServer
from tests.curate.argilla.answering import answer as respond
from tests.curate.argilla.conftest import argilla_client
from tests.pairsmith.conftest import SPEC, Project, answer, write_seeds
from tests.synth.loopback import LoopbackTeacher

pytestmark = pytest.mark.timeout(1800)  # many commands, each in its own process, and a server that may have to start

WAITS, BUSY = 11, 6
# Training with a base model that does not exist ends the run just after the review, without loading a model.
NO_BASE = ("--set", "train.base=not-there")


@pytest.fixture
def teacher() -> Iterator[LoopbackTeacher]:
    with LoopbackTeacher(answer) as serving:
        yield serving


@pytest.fixture
def project(tmp_path: Path, teacher: LoopbackTeacher, argilla_server: ArgillaServer) -> Project:
    """A project with its own queue on the server of these tests, which the command finds as if it were the user's
    own."""
    review = '\n[review]\nbatch = 12\nmargin_of_error = 0.4\noverlap = 0.5\nworkspace = "pairsmith"\n'
    review += f'dataset = "tiny-{uuid.uuid4().hex[:8]}"\n'
    (tmp_path / "pairsmith.toml").write_text(SPEC.format(url=teacher.url) + review)
    write_seeds(tmp_path)
    return Project(tmp_path, {"PAIRSMITH_ARGILLA_HOME": str(argilla_server.home)})


def run_until_review(project: Project, *arguments: str) -> dict[str, Any]:
    """The JSON output of a `run` that must stop for review."""
    done = project.run("run", "--json", *arguments)
    assert done.returncode == WAITS, done.stderr + done.stdout
    output: dict[str, Any] = json.loads(done.stdout)
    return output


def records(owner: Any, names: list[str]) -> dict[str, str]:
    """pair id -> Argilla's record id, of every record of the queues; only an owner may list them."""
    queues = [owner.datasets(name=name, workspace="pairsmith") for name in names]
    return {record.id: str(record._server_id) for queue in queues for record in queue.records}


def answer_all(client: Any, shown: dict[str, str], verdict: Callable[[str], str]) -> None:
    """Answer every record of `shown` as the client's user."""
    for pair_id, record_id in shown.items():
        respond(client, record_id, verdict(pair_id))


def annotator(project: Project, argilla_server: ArgillaServer) -> Any:
    """The official client, signed in as a newly invited annotator, in the way the page signs in."""
    name = f"ann-{uuid.uuid4().hex[:6]}"
    account = project.json("review", "invite", name)
    assert account["url"] == argilla_server.url
    api = f"{argilla_server.url}/api/v1"
    with httpx.Client(timeout=120) as http:
        signed_in = http.post(f"{api}/token", data={"username": name, "password": account["passwords"][name]})
        me = http.get(f"{api}/me", headers={"Authorization": f"Bearer {signed_in.json()['access_token']}"}).json()
    return argilla_client().Argilla(api_url=argilla_server.url, api_key=me["api_key"])


def test_requiring_a_certificate_from_the_start_waits_for_review(
    project: Project, argilla_server: ArgillaServer
) -> None:
    """With `curate.select.certified` set before anyone has answered, no row is accepted yet. That is not a failure:
    rows are sent for review and the run stops there as usual; `status` says so."""
    waits = run_until_review(project, "--set", "curate.select.certified=true")
    assert waits["facts"]["stages"] == ["generate", "curate", "review"]
    assert waits["facts"]["url"] == argilla_server.url
    rows = project.json("review", "status")["review"]["unanswered"]
    assert waits["facts"]["waits"] == f"{rows} rows wait for review"
    assert (waits["accepted"], waits["reasons"]["uncertified"] > 0) == (0, True)
    curate = project.json("status", "--set", "curate.select.certified=true")["stages"][1]
    assert curate["why"] == "all remaining rows wait for review or for a certificate"
    assert project.run("curate", "--set", "curate.select.certified=true").returncode == 8


def test_run_stops_for_review_and_continues_after_it(
    project: Project, argilla_server: ArgillaServer, client: Any, teacher: LoopbackTeacher
) -> None:
    """`run` ends with its own exit code when annotators must answer, reports where and how many rows, and sends no row
    twice. Without answers it stops again; after the answers it curates by them and trains."""
    first = run_until_review(project)
    waits = first["facts"]
    assert waits["url"] == argilla_server.url
    assert waits["stages"] == ["generate", "curate", "review"]
    assert project.json("status")["next"] == ["review", "train", "evaluate"]
    assert (project.folder / "report.html").exists()
    review = project.json("review", "status")
    assert review["server"]["state"] == "running"
    rows = review["review"]["sampled"]
    assert waits["waits"] == f"{rows} rows wait for review"
    assert rows == review["review"]["unanswered"] > 0

    again = project.run("run")
    assert again.returncode == WAITS
    for part in ("The pipeline is waiting for reviewers", argilla_server.url, "credentials.json", "--no-review"):
        assert part in again.stdout
    assert argilla_server.api_key not in again.stdout + again.stderr
    assert len(teacher.asked) == 12

    ann = annotator(project, argilla_server)
    queues = project.json("review", "push")["facts"]["queues"]  # some rows now wait for a second annotator
    shown = records(client, queues)
    rejected = min(shown)
    answer_all(ann, shown, lambda id_: "reject" if id_ == rejected else "accept")
    ann.http_client.close()
    shared = records(client, [name for name in queues if name.endswith("-shared")])
    answer_all(client, shared, lambda id_: "reject" if id_ == rejected else "accept")
    assert len(shown) == rows
    assert shared

    on = project.run("run", *NO_BASE, "--json")
    assert on.returncode not in (0, 1, WAITS), on.stdout
    assert "not-there" in on.stdout
    commands = [(receipt["command"], receipt["ok"]) for receipt in project.receipts()][-5:]
    assert commands == [("review", True), ("curate", True), ("review", True), ("train", False), ("run", False)]
    status = project.json("review", "status")
    assert status["review"]["enough"]
    assert (status["review"]["accepted"], status["review"]["rejected"]) == (rows - 1, 1)
    assert {one["measure"] for one in status["agreement"]} >= {"Krippendorff's alpha", "Cohen's kappa"}
    card = (project.folder / "dataset" / "README.md").read_text()
    assert f"{rows - 1} of 23 rows were reviewed by people" in card
    assert f"{rows} rows were drawn at random for review" in card
    files = (project.folder / "dataset" / "data").glob("*.jsonl")
    ids = [json.loads(line)["pair_id"] for file in files for line in file.read_text().splitlines()]
    assert rejected not in ids
    assert len(ids) == 23
    assert project.json("status", *NO_BASE)["next"] == ["train", "evaluate"]


def test_run_stops_when_reviewers_reject_the_dataset(
    project: Project, argilla_server: ArgillaServer, client: Any
) -> None:
    """If everything is rejected, the interval is at once as narrow as requested. `run` trains nothing, sends no more
    rows, ends with the exit code of the review, and reports by reason, with examples, that reviewers reject this
    dataset."""
    waits = run_until_review(project)["facts"]
    shown = records(client, waits["queues"])
    for record_id in shown.values():
        respond(client, record_id, "reject", reasons=["invented"])
    after = run_until_review(project, *NO_BASE)["facts"]
    assert (after["gate"], after["stages"][-1]) == ("rejected", "review")
    assert after["waits"].startswith("reviewers reject this dataset")
    (why,) = after["objections"]
    assert (why["reason"], why["rows"]) == ("invented", len(shown))
    assert why["examples"][0]["pair_id"] in shown
    assert records(client, after["queues"]).keys() <= shown.keys()
    screen = project.run("run", *NO_BASE)
    assert screen.returncode == WAITS
    for part in (
        "The pipeline stops and nothing is trained",
        "reviewers reject this dataset",
        "invented: ",
        "accept_at_least",
    ):
        assert part in " ".join(screen.stdout.split())
    assert "train" not in {receipt["command"] for receipt in project.receipts()}


def test_without_review_the_card_and_the_report_say_so(project: Project, tmp_path: Path) -> None:
    """`--no-review` starts no server and skips the review; card and report say that no human has reviewed the data."""
    done = project.run("run", "--no-review", *NO_BASE, "--json", PAIRSMITH_ARGILLA_HOME=str(tmp_path / "none"))
    assert done.returncode not in (0, 1, WAITS), done.stdout
    assert [receipt["command"] for receipt in project.receipts()] == ["generate", "curate", "train", "run"]
    assert not (tmp_path / "none").exists()
    card = (project.folder / "dataset" / "README.md").read_text()
    assert "Not reviewed by humans" in card
    assert "switched off" in card
    from pairsmith.report import write_report
    from schemas.spec_file import load
    from schemas.store import Store

    off = load(project.folder, ["review.enabled=false"])
    with Store.open(Store.url_for(off), write=False) as store:
        page = write_report(off, store, tmp_path / "page.html").read_text()
    assert "Not reviewed by humans" in page
    assert "Human review was disabled" in page


def test_push_pull_and_status_by_hand(project: Project, argilla_server: ArgillaServer, client: Any) -> None:
    """The steps of the review can be run one by one; each can be repeated safely and reports what it did."""
    early = project.run("review", "push")
    assert early.returncode == 8
    assert "pairsmith curate" in early.stderr
    project.json("generate")
    project.json("curate")
    pushed = project.json("review", "push")
    assert pushed["facts"]["sent"] == pushed["rows_in"] == pushed["waiting"] > 0
    again = project.json("review", "push")
    assert (again["facts"]["sent"], again["facts"]["there"]) == (0, pushed["facts"]["sent"])
    assert project.json("review", "pull")["facts"]["new"] == 0
    answer_all(client, records(client, pushed["facts"]["queues"][:1]), lambda _: "accept")
    brought = project.json("review", "pull")
    assert brought["facts"]["new"] == brought["accepted"] > 0
    printed = project.run("review", "status").stdout
    for part in ("running, argilla-server", "rows decided", "drawn for", "estimation"):
        assert part in printed
    _, curate, review, *_ = project.json("status")["stages"]
    assert curate["why"] == "people have answered since"
    assert review["counts"]["accepted"] == brought["accepted"]  # not what the last stage `review` counted, if any


def test_watching_shows_incoming_answers(project: Project, client: Any) -> None:
    """`pull --watch` shows answers as they arrive, sends the next rows while more labels are needed, lets others use
    the store meanwhile, and ends with Ctrl-C."""
    project.json("generate")
    project.json("curate")
    queues = project.json("review", "push")["facts"]["queues"]
    watching = subprocess.Popen(
        project.command("review", "pull", "--watch", "--every", "0.3", "--set", "review.accept_at_least=1.0"),
        cwd=project.folder,
        env=project.environ(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 600
        asked = records(client, queues)
        drawn = project.rows("SELECT count(*) FROM routed")
        answered = False
        while project.rows("SELECT count(*) FROM reviews") != [(len(asked),)]:
            assert time.monotonic() < deadline, "the answers did not come in"
            assert watching.poll() is None, watching.stderr.read()
            if not answered and len(project.receipts()) >= 4:  # its first pull is complete
                answer_all(client, asked, lambda _: "accept")
                answered = True
            time.sleep(0.1)
        while project.rows("SELECT count(*) FROM routed") <= drawn:
            assert time.monotonic() < deadline, "the next batch was not drawn"
            time.sleep(0.1)
        while (curated := project.run("curate", "--json")).returncode == BUSY:  # until those rows are sent
            assert time.monotonic() < deadline, "the store stayed locked"
        assert curated.returncode == 0, curated.stderr
        watching.send_signal(signal.SIGINT)
        shown, errors = watching.communicate(timeout=200)
    finally:
        watching.kill()
        watching.communicate()
    assert watching.returncode == 0, errors
    lines = [line for line in shown.splitlines() if line.startswith("answers")]
    assert lines[0].split()[1:3] == ["0", "new,"]
    assert sum(int(line.split()[1]) for line in lines) == len(asked) > 0


@pytest.mark.parametrize(
    ("settings", "environment", "sentence"),
    [
        pytest.param(
            'url = "{url}"\nkey_env = "NO_SUCH_KEY"',
            {},
            "the environment variable NO_SUCH_KEY with Argilla's API key",
            id="no key",
        ),
        pytest.param(
            'url = "{url}"\nkey_env = "SOME_KEY"', {"SOME_KEY": "s3cret"}, "Argilla refuses the API key", id="wrong key"
        ),
        pytest.param(
            'url = "http://127.0.0.1:9"\nkey_env = "SOME_KEY"',
            {"SOME_KEY": "s3cret"},
            "No Argilla answers",
            id="nobody",
        ),
    ],
)
def test_unusable_argilla_ends_the_run_with_the_reason_and_a_way_on(
    settings: str, environment: dict[str, str], sentence: str, project: Project, argilla_server: ArgillaServer
) -> None:
    """An Argilla that cannot be used ends the run with a message; the results of earlier stages are kept."""
    path = project.folder / "pairsmith.toml"
    text = path.read_text().partition("[review]")[0]
    path.write_text(text + "[review]\n" + settings.format(url=argilla_server.url) + "\n")
    done = project.run("run", **environment)
    assert done.returncode == 10, done.stderr
    assert sentence in done.stderr
    assert "--no-review" in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr + done.stdout + json.dumps(project.receipts())
    assert project.json("status", **environment)["next"] == ["review", "train", "evaluate"]


def test_running_and_missing_servers_are_reported(
    project: Project, argilla_server: ArgillaServer, tmp_path: Path
) -> None:
    """`up` finds the running server; where none was started, status, logs and down say so."""
    running = project.json("review", "up")
    assert (running["url"], running["already_running"]) == (argilla_server.url, True)
    assert "server" in project.json("review", "logs", "--lines", "3")["logs"]
    nowhere = {"PAIRSMITH_ARGILLA_HOME": str(tmp_path / "nowhere")}
    assert project.json("review", "status", **nowhere)["server"]["state"] == "absent"
    assert project.json("review", "logs", **nowhere)["logs"] == {}
    assert project.json("review", "down", **nowhere)["stopped"] is False


def test_existing_user_is_added_and_can_get_a_new_password(project: Project, argilla_server: ArgillaServer) -> None:
    """An existing name means the same user: no second account, and the password stays. `people` lists who has access,
    and an unknown name gets a message. The owner's new password replaces the old one in the credentials file."""
    name = f"ann-{uuid.uuid4().hex[:6]}"
    first = project.json("review", "invite", name)
    again = project.json("review", "invite", f"{name}-new", name)
    assert (list(again["passwords"]), again["let_in"]) == ([f"{name}-new"], [name])
    here = {person["name"]: person["here"] for person in project.json("review", "people")["people"]}
    assert here[name]
    assert project.json("review", "password", name)["passwords"][name] != first["passwords"][name]
    nobody = project.run("review", "password", "nobody-here")
    assert nobody.returncode == 10
    assert "there is no user nobody-here" in nobody.stderr
    odd = f"[/{name}]"  # a screen may parse it as a style
    shown = project.run("review", "invite", odd)
    assert (shown.returncode, odd in shown.stdout) == (0, True)
    assert odd in project.run("review", "people").stdout
    owner = project.json("review", "password", "pairsmith")["passwords"]["pairsmith"]
    assert json.loads(argilla_server.credentials.read_text(encoding="utf-8"))["password"] == owner
    assert httpx.post(
        f"{argilla_server.url}/api/v1/token", data={"username": "pairsmith", "password": owner}, timeout=60
    ).is_success
