"""Tests of `pairsmith generate`, `status` and `explain` with a teacher that answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairsmith.terminal.session import Session
from pairsmith.terminal.stopping import Stopping
from schemas.store import Store
from schemas.store.lock import writer_lock
from schemas.store.opening import engine_of, sqlite_path
from tests.pairsmith.conftest import SUBJECTS, Project, answer, subject_of
from tests.synth.batch_loopback import BatchProvider
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says

ROWS = 2 * len(SUBJECTS)


def test_every_slot_gets_a_pair_and_a_second_run_sends_nothing(project: Project, teacher: LoopbackTeacher) -> None:
    """One request per seed; the counts add up; a second run requests nothing and reports the pairs as kept."""
    first = project.json("generate")
    assert (first["rows_in"], first["waiting"], first["failed"]) == (ROWS, ROWS, 0)
    assert first["calls_sent"] == len(SUBJECTS) == len(teacher.asked)
    assert first["usage"]["completion_tokens"] == 5 * ROWS
    second = project.json("generate")
    assert (second["calls_sent"], second["rows_in"], second["facts"]["pairs_kept"]) == (0, ROWS, ROWS)
    assert len(teacher.asked) == len(SUBJECTS)


def test_status_names_what_a_stopped_run_without_review_has_left(make_project: Callable[..., Project]) -> None:
    """`status` named review as next, and the page of the same run, whose button continues it without review, training:
    it says what either command would do."""
    with LoopbackTeacher(lambda ask: fails(401)) as teacher:
        project = make_project(teacher.url)
        assert project.json("status")["unfinished"] is None
        project.run("run", "--no-review")
    status = project.json("status")
    assert status["next"] == ["generate", "curate", "review", "train", "evaluate"]
    assert status["unfinished"] == {"command": "run --no-review", "next": ["generate", "curate", "train", "evaluate"]}
    shown = " ".join(project.run("status").stdout.split())
    assert "run --no-review continues the last run and will generate, curate, train, evaluate." in shown
    project.run("run")  # fails as well, and would review
    assert project.json("status")["unfinished"] is None
    with LoopbackTeacher(answer) as teacher:
        project.run("run", "--no-review", "--until", "train", "--set", f"teacher.url={teacher.url}")
        status = project.json("status", "--set", f"teacher.url={teacher.url}")
        assert status["unfinished"] == {"command": "run --no-review", "next": ["train", "evaluate"]}


@pytest.mark.slow
def test_status_names_what_a_killed_run_without_review_has_left(make_project: Callable[..., Project]) -> None:
    """A process that is killed writes no receipt; `status` still names the run without review, until another command
    has written to the store."""
    with LoopbackTeacher(lambda ask: Reply(delay_s=60)) as teacher:
        project = make_project(teacher.url)
        process = subprocess.Popen(
            project.command("run", "--no-review"), cwd=project.folder, env=project.environ(), stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 100
        while not teacher.asked:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert project.json("status")["unfinished"] is None, "it is still running"
        process.kill()
        process.wait()
    unfinished = project.json("status")["unfinished"]
    assert unfinished == {"command": "run --no-review", "next": ["generate", "curate", "train", "evaluate"]}
    project.run("curate")
    assert project.json("status")["unfinished"] is None


def test_a_repeated_run_says_again_what_its_target_missed(project: Project) -> None:
    """The second run found every slot filled, and said nothing of the missed target or of rows of earlier runs."""
    project.json("generate")
    limited = ("generate", "--set", "generate.accepted=99", "--set", "generate.forward.candidates=2")
    first, second = (project.json(*limited) for _ in range(2))
    assert first["facts"]["missed"] == {"forward": 2}
    assert first["facts"]["passed_over"] == ROWS - 2
    assert [second["facts"][name] for name in ("missed", "passed_over")] == [{"forward": 2}, ROWS - 2]
    assert second["waiting"] == first["waiting"]


def test_nothing_is_generated_for_test_sources(project: Project, teacher: LoopbackTeacher) -> None:
    """Seeds of a source with `use = "test"` are stored for the evaluation and no request is spent on them, even if they
    were used for generation before."""
    (project.folder / "fresh.txt").write_text("a tin whistle\na lone cello\n")
    spec = project.folder / "pairsmith.toml"
    source = '[[seeds]]\npath = "fresh.txt"\n'
    plain = spec.read_text()
    spec.write_text(f"{source}\n{plain}")
    assert project.json("generate")["rows_in"] == ROWS + 4
    asked = len(teacher.asked)
    spec.write_text(f'{source}use = "test"\n\n{plain}')
    again = project.json("generate")
    assert (again["rows_in"], again["facts"]["seeds"], len(teacher.asked)) == (
        ROWS,
        {"input": len(SUBJECTS) + 2},
        asked,
    )
    kept = [json.loads(body).get("meta") for (body,) in project.rows("SELECT body FROM seeds WHERE active >= 0")]
    assert kept.count({"use": "test"}) == 2


def test_an_unused_prompt_folder_is_warned_about(project: Project) -> None:
    """For `prompts/enhanse` beside the built-in enhance, `generate` and `doctor` say which one is used."""
    own = project.folder / "prompts/enhanse"
    own.mkdir(parents=True)
    (own / "v1.jinja").write_text("x")
    assert "prompts/enhanse is not used; enhance" in project.run("generate").stderr
    assert "prompts/enhanse is not used" in project.run("doctor").stdout


def test_a_pipe_gets_plain_lines(project: Project) -> None:
    """Without a terminal there are no escape sequences; the totals go to stdout and progress to stderr."""
    done = project.run("generate")
    assert "\x1b" not in done.stdout + done.stderr
    assert f"{ROWS} rows in = 0 accepted + 0 rejected + {ROWS} waiting + 0 failed" in done.stdout
    assert f"generate  {ROWS} of {ROWS}" in done.stderr


def test_failed_rows_are_counted_and_retried_with_the_option(
    make_project: Callable[..., Project],
) -> None:
    """Empty answers are recorded and give no pairs; the next run leaves those rows alone and --retry-failed requests
    them again."""
    unanswered = {SUBJECTS[0], SUBJECTS[1]}

    def reply(ask: Ask) -> Reply:
        return says(*[""] * ask.n) if subject_of(ask) in unanswered else answer(ask)

    with LoopbackTeacher(reply) as teacher:
        project = make_project(teacher.url)
        first = project.json("generate")
        assert (first["failed"], first["waiting"], first["reasons"]) == (4, ROWS - 4, {"empty": 4})
        asked = len(teacher.asked)
        assert project.json("generate")["calls_sent"] == 0
        unanswered.clear()
        again = project.json("generate", "--retry-failed")
        assert (again["failed"], again["calls_sent"], len(teacher.asked) - asked) == (0, 2, 2)


def test_answers_of_a_fallback_model_are_reported(make_project: Callable[..., Project]) -> None:
    """A gateway falls back to another model and only its answers say so: the run reports how many answers came from
    which model."""

    def reply(ask: Ask) -> Reply:
        texts = [f"{subject_of(ask)}, in the evening sun ({i})" for i in range(ask.n)]
        choices = [{"index": i, "message": {"content": text}, "finish_reason": "stop"} for i, text in enumerate(texts)]
        model = "small" if ask.number == 2 else "large"
        return Reply(body=json.dumps({"model": model, "choices": choices}).encode())

    with LoopbackTeacher(reply) as teacher:
        done = make_project(teacher.url).run("generate")
    shown = " ".join(done.stdout.split())
    assert f"answers of 'loopback' came from 2 models: large ({len(SUBJECTS) - 1}), small (1)" in shown


@pytest.mark.parametrize(("answered", "warned"), [("llama-3.2-1b", True), ("maker/Loopback-2026-11-01:free", False)])
def test_a_server_that_ignores_the_model_name_is_reported(
    make_project: Callable[..., Project], answered: str, warned: bool
) -> None:
    """LM Studio and llama.cpp ignore the requested model, so the dataset would credit one that wrote none of it. A
    vendor, date or tag in the name does not count as another model."""

    def reply(ask: Ask) -> Reply:
        choices = [
            {
                "index": i,
                "message": {"content": f"{subject_of(ask)}, in the evening sun ({i})"},
                "finish_reason": "stop",
            }
            for i in range(ask.n)
        ]
        return Reply(body=json.dumps({"model": answered, "choices": choices}).encode())

    with LoopbackTeacher(reply) as teacher:
        done = make_project(teacher.url).run("generate")
    assert (f"answers of 'loopback' came from another model: {answered} " in " ".join(done.stdout.split())) is warned


def test_a_prompt_that_ignores_the_style_is_warned_about(project: Project) -> None:
    """`task.style` reaches a teacher only through the prompt; `doctor` gives the same warning. A prompt that uses the
    style is not warned about."""
    own = project.folder / "prompts/enhance"
    own.mkdir(parents=True)
    text = '+++\nabout = "Mine."\n[variables]\ninput = "i"\nstyle = "s"\n+++\n=== user ===\n{}{{{{ input }}}}\n'
    (own / "v1.jinja").write_text(text.format(""))
    warning = "prompts/enhance/v1.jinja does not use task.style, so no teacher sees it"
    assert f"warning: {warning}" in project.run("generate").stderr
    assert warning in " ".join(project.run("doctor").stdout.split())
    (own / "v1.jinja").write_text(text.format("{{ style }} "))
    done = project.run("generate")
    assert done.returncode == 0
    assert "does not use task.style" not in done.stderr


def test_more_attempts_need_the_key_again(make_project: Callable[..., Project]) -> None:
    """Raising teacher.attempts requests failed rows again, which needs the key; a run that has every answer needs
    none."""
    unanswered = {SUBJECTS[0]}

    def reply(ask: Ask) -> Reply:
        return says(*[""] * ask.n) if subject_of(ask) in unanswered else answer(ask)

    with LoopbackTeacher(reply, key="right") as teacher:
        project = make_project(teacher.url)
        keyed = ("--set", "teacher.key_env=TEACHER_KEY", "--set")
        assert project.json("generate", *keyed, "teacher.attempts=1", TEACHER_KEY="right")["failed"] == 2
        assert project.json("generate", *keyed, "teacher.attempts=1")["calls_sent"] == 0
        unanswered.clear()
        again = project.run("generate", *keyed, "teacher.attempts=2")
        assert again.returncode == 5
        assert "TEACHER_KEY is not set" in again.stderr
        done = project.json("generate", *keyed, "teacher.attempts=2", TEACHER_KEY="right")
        assert (done["failed"], done["calls_sent"]) == (0, 1)


def test_the_embedded_model_is_not_started_for_stored_answers(
    project: Project, teacher: LoopbackTeacher, tmp_path: Path
) -> None:
    """A run that has every answer of the embedded model needs neither its weights nor its server."""
    name = "smollm2-135m-instruct"
    same = ("--set", f"teacher.identity={name}", "--set", "teacher.revision=r")
    project.json("generate", *same)
    embedded = ("--set", "teacher.url=embedded", "--set", f"teacher.model={name}")
    outcome = project.json("generate", *same, *embedded, PAIRSMITH_CACHE=str(tmp_path / "none"), HF_HUB_OFFLINE="1")
    assert (outcome["calls_sent"], outcome["facts"]["pairs_kept"]) == (0, ROWS)
    assert not (tmp_path / "none").exists()


def test_a_stage_that_counted_nothing_shows_no_sum(make_project: Callable[..., Project]) -> None:
    """A stage that an error ended before its first row is "did not finish", not a sum of zeros."""
    with LoopbackTeacher(answer, key="right") as teacher:
        project = make_project(teacher.url)
        assert project.run("generate").returncode != 0
    shown = project.run("status").stdout
    assert "did not finish" in shown
    assert "rows in" not in shown


def test_generation_fails_if_every_row_failed(make_project: Callable[..., Project]) -> None:
    """If no answer can be used the command ends with code 8 and the reasons; after 20 unusable answers it stops, with
    the teacher's code."""
    few = SUBJECTS[:6]
    with LoopbackTeacher(lambda ask: says(*[""] * ask.n)) as teacher:
        done = make_project(teacher.url, few).run("generate")
        assert done.returncode == 8
        rows = ROWS // len(SUBJECTS) * len(few)
        assert f"all {rows} rows failed (empty {rows})" in done.stderr
        stopped = make_project(teacher.url, name="larger").run("generate")
    assert stopped.returncode == 5
    assert "None of the first 20 answers can be used" in stopped.stderr


def test_generation_stops_at_the_requested_accepted_rows(project: Project, teacher: LoopbackTeacher) -> None:
    """With generate.accepted the gates judge answers as they arrive, and no more seeds are started than needed."""
    counted = project.json("generate", "--set", "generate.accepted=6")
    assert 6 <= counted["accepted"] <= 8
    assert len(teacher.asked) < len(SUBJECTS)
    best = ("--set", "generate.accepted=6", "--set", "curate.score.model=pmi", "--set", "curate.select.best=1")
    counted = project.json("generate", *best)  # of the two rows of an input, curation keeps one
    assert counted["accepted"] >= 9
    assert 6 <= len(teacher.asked) < len(SUBJECTS)


def test_the_cost_is_reported(project: Project) -> None:
    """With prices in the spec the cost is in the output, the receipt and the status."""
    prices = ("usd_per_million_prompt_tokens=1000", "usd_per_million_completion_tokens=2000")
    spent = project.json("generate", *(part for price in prices for part in ("--set", f"teacher.{price}")))["usd"]
    expected = len(SUBJECTS) * 10 * 1e-3 + ROWS * 5 * 2e-3
    assert abs(spent - expected) < 1e-9
    assert abs(project.json("status")["ledger"]["usd"] - expected) < 1e-9
    assert abs(project.receipts()[0]["usd"] - expected) < 1e-9


def test_status_shows_what_run_would_do(project: Project) -> None:
    """Before and after a stage, and after a change of settings that makes it due."""
    empty = project.json("status")
    assert empty["next"] == ["generate", "curate", "review", "train", "evaluate"]
    project.json("generate")
    after = project.json("status")
    assert after["next"] == ["curate", "review", "train", "evaluate"]
    assert (after["seeds"], after["pairs"], after["ledger"]["requests"]) == ({"input": 12}, ROWS, 12)
    changed = project.json("status", "--set", "generate.forward.n=3")
    assert changed["stages"][0]["why"] == "because of --set generate.forward.n=3"
    assert "generate    done" in project.run("status").stdout
    without = project.json("status", "--set", "review.enabled=false")
    assert without["next"] == ["curate", "train", "evaluate"]


def test_explain_shows_the_lineage_of_a_pair(project: Project) -> None:
    """Seed with its line, prompt with hash and text, teacher, sampling, raw answer and split."""
    project.json("generate")
    ((pair_id,),) = project.rows("SELECT id FROM pairs LIMIT 1")
    lineage = project.json("explain", pair_id[:12])
    assert lineage["id"] == pair_id
    assert lineage["seed"]["source"].startswith("seeds.jsonl:")
    assert lineage["seed"]["text"] == lineage["input"]
    assert lineage["prompt"]["ref"].startswith("enhance/v1@")
    assert "=== system ===" in lineage["prompt"]["text"]
    assert lineage["calls"][0]["raw"]["message"]["content"] == lineage["output"]
    assert lineage["origin"]["teacher"] == "loopback"
    assert lineage["split"] in ("train", "validation", "test")
    shown = project.run("explain", pair_id[:12]).stdout
    for part in (pair_id, lineage["prompt"]["ref"], "temperature 0.7", lineage["seed"]["source"]):
        assert part in shown


def test_an_unknown_or_ambiguous_id(project: Project) -> None:
    """An unknown id and an ambiguous one give different messages; for the ambiguous one some matches are listed."""
    project.json("generate")
    assert "no pair has an id" in project.run("explain", "zzz").stderr
    done = project.run("explain", "")
    assert done.returncode == 2
    assert f"{ROWS} ids start with" in done.stderr
    assert "and 14 more" in done.stderr


def test_a_batch_survives_ctrl_c(make_project: Callable[..., Project]) -> None:
    """`--batch` shows its cost; the first Ctrl-C ends the waiting with exit code 130, and the same command continues
    with the batch at the provider. Without --batch it ends before it asks a second time. No live request is sent, and
    every slot has its pair."""
    with BatchProvider("openai", lambda prompt, nth: f"{prompt} beside a wall END") as provider:
        project = make_project(provider.url)
        spec = (project.folder / "pairsmith.toml").read_text()
        prices = "usd_per_million_prompt_tokens = 0\nusd_per_million_completion_tokens = 100000"
        keyed = f'key_env = "BATCH_KEY"\n{prices}\nconcurrency'
        (project.folder / "pairsmith.toml").write_text(spec.replace("concurrency", keyed))
        provider.finishes = False
        environment = project.environ(BATCH_KEY="sk-batch")
        with subprocess.Popen(
            project.command("generate", "--batch"), cwd=project.folder, env=environment, stderr=subprocess.PIPE
        ) as waiting:
            try:
                provider.wait_for_a_batch()
                waiting.send_signal(signal.SIGINT)
                assert b"cost about $" in waiting.communicate(timeout=200)[1]
            finally:
                waiting.kill()
        assert waiting.returncode == 130
        refused = project.run("generate", BATCH_KEY="sk-batch")
        assert (refused.returncode, "are in batch b1" in refused.stderr, provider.live) == (2, True, 0)
        provider.finishes = True
        done = project.json("generate", "--batch", BATCH_KEY="sk-batch")
        assert (done["rows_in"], done["failed"], done["usd"]) == (ROWS, 0, ROWS * 5 * 0.1 / 2)
        assert (len(provider.batches), provider.live) == (1, 0)
        assert project.json("status")["artifacts"] == []


def test_status_shows_a_running_process(teacher: LoopbackTeacher, make_project: Callable[..., Project]) -> None:
    """While another process has the store open for writing, status shows its pid."""
    project = make_project(teacher.url)
    project.json("generate", "--set", "seeds.0.limit=2")
    with Store.open(f"sqlite:///{project.folder / 'pairsmith.db'}"):
        shown = project.run("status").stdout
        assert f"running      pid {os.getpid()} on " in shown
    assert "running      pid" not in project.run("status").stdout


def test_json_output_names_the_process_that_was_waited_for(project: Project) -> None:
    """While another command upgrades the store, this one waits, and its JSON output says for which process."""
    answers: list[Any] = []
    session = Session(project.folder, (), answers.append, Stopping())
    url = Store.url_for(session.project())
    Store.open(url).close()
    engine = engine_of(url)

    def read() -> None:
        with session.store(session.project()):
            session.answer({"command": "generate"})

    command = threading.Thread(target=read)
    with writer_lock(sqlite_path(url), engine, url, upgrades=True):
        command.start()
        while command.is_alive() and not session.waited_for:
            time.sleep(0.05)
    command.join(60)
    engine.dispose()
    (line,) = answers[0]["waited_for"]
    assert f"Waiting for the store: pid {os.getpid()} on " in line
    assert "upgrade of the store by" in line
