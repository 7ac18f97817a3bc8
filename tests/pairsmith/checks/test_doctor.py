"""Tests of `pairsmith doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pairsmith.checks.health import findings, requirements
from schemas.spec_file import load
from tests.pairsmith.conftest import Project
from tests.servers import Handler, handled
from tests.synth.loopback import LoopbackTeacher, fails


def states(answer: dict[str, object]) -> dict[str, str]:
    findings = answer["findings"]
    assert isinstance(findings, list)
    return {finding["about"]: finding["state"] for finding in findings}


def test_a_project_that_can_run_passes(project: Project, teacher: LoopbackTeacher) -> None:
    """Everything that the spec needs is available: code 0, and the teacher was only asked for its models."""
    answer = project.json("doctor")
    assert answer["ok"]
    by_subject = states(answer)
    assert "fail" not in by_subject.values()
    assert {
        "python",
        "packages",
        "train",
        "disk",
        "memory",
        "gpu",
        "spec",
        "seeds",
        "gates",
        "store",
        "review",
        "teacher",
    } <= set(by_subject)
    assert teacher.asked == []
    assert not (project.folder / "pairsmith.db").exists(), "doctor creates no store"


def test_control_characters_in_an_answer_are_removed(project: Project) -> None:
    """`--ask` shows the error message of any server without the control characters in it."""
    with LoopbackTeacher(lambda ask: fails(400, "\x1b]0;mine\x07 no")) as teacher:
        screen = project.run("doctor", "--ask", "--set", f"teacher.url={teacher.url}").stdout
    assert "400: ]0;mine no" in screen
    assert not {"\x1b", "\x07"} & set(screen)


def test_broken_parts_are_named_with_a_fix(project: Project) -> None:
    """A dead endpoint and a missing seed file are both reported at once; code 1."""
    (project.folder / "seeds.jsonl").unlink()
    done = project.run("doctor", "--json", "--set", "teacher.url=http://127.0.0.1:9/v1")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert {about for about, state in states(answer).items() if state == "fail"} == {"seeds", "teacher"}
    assert all(finding["fix"] for finding in answer["findings"] if finding["state"] == "fail")


def test_too_few_seeds_are_warned_about_before_anything_is_paid(project: Project, teacher: LoopbackTeacher) -> None:
    """Doctor counts test inputs and training rows; `forecast` and `generate` print the same warnings, also if
    everything has been generated already."""
    warned = [one for one in project.json("doctor")["findings"] if one["about"] == "proof"]
    assert [one["state"] for one in warned] == ["warn"] * 2
    tested, trained = (one["what"] for one in warned)
    assert "(of 12 input seeds); fewer than 20 can prove nothing" in tested
    assert re.match(r"at most \d+ rows to train on; fewer than \d+ are too few", trained)
    assert teacher.asked == []
    for command in ("forecast", "generate", "generate"):
        done = project.run(command)
        for one in warned:
            assert f"warning: {one['what']}" in " ".join((done.stdout + done.stderr).split()), command


def test_a_key_is_checked_and_not_shown(project: Project) -> None:
    """The variable's name is shown, never its value."""
    done = project.run("doctor", "--set", "teacher.key_env=TINY_KEY", TINY_KEY="sesame-street")
    assert done.returncode == 0, done.stderr
    assert "TINY_KEY is set" in done.stdout
    assert "sesame" not in done.stdout + done.stderr
    assert project.run("doctor", "--set", "teacher.key_env=TINY_KEY").returncode == 1


def test_the_argilla_server_is_checked(project: Project) -> None:
    """For an external Argilla its key and address are checked, for the built-in one whether its port is free. Nothing
    is started, and a review that is switched off is reported as off."""

    def review_finding(*settings: str, **environment: str) -> dict[str, str]:
        options = [part for setting in settings for part in ("--set", setting)]
        answer = json.loads(project.run("doctor", "--json", *options, **environment).stdout)
        return next(finding for finding in answer["findings"] if finding["about"] == "review")

    theirs = ("review.url=http://127.0.0.1:9", "review.key_env=SOME_KEY")
    with handled(Handler) as taken:  # answers at once: a silent program is given 15 s
        port = int(taken.rpartition(":")[2])
        before = {"facts": {"host": "127.0.0.1", "port": port}, "children": [{"environment": {}}]}
        home = project.folder / "argilla"  # as left by a server that used this port the last time
        home.mkdir()
        (home / "venv").mkdir()
        (home / "supervisor.json").write_text(json.dumps(before))
        finding = review_finding()
        assert (finding["state"], str(port) in finding["what"]) == ("warn", True)
    assert "is started when it is needed" in review_finding()["what"]
    assert len(list(home.iterdir())) == 2, "no file is created"
    assert "switched off" in review_finding("review.enabled=false")["what"]
    unset = review_finding(*theirs)
    assert (unset["state"], unset["what"]) == ("fail", "SOME_KEY is not set")
    dead = review_finding(*theirs, SOME_KEY="sesame-street")
    assert dead["state"] == "fail"
    assert "No Argilla answers" in dead["what"]
    assert "sesame" not in json.dumps(dead)


def test_without_a_project_the_machine_is_checked(tmp_path: Path) -> None:
    """In an empty folder doctor reports about the machine and how to create a project."""
    done = Project(tmp_path).run("doctor")
    assert done.returncode == 0, done.stderr
    assert "pairsmith init" in done.stdout


def test_memory_is_what_a_container_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor used to show the host's memory, also in a container that is killed beyond 4 GiB. macOS does not say how
    much is free."""

    def memory() -> tuple[str, str]:
        return next((one.state, one.what) for one in findings(tmp_path, ()) if one.about == "memory")

    assert re.fullmatch(r"[\d.]+ GiB, [\d.]+ GiB of it free", memory()[1])
    for available, shown in ((3 * 2**30, ", 3.0 GiB of it free"), (None, "")):
        monkeypatch.setattr("pairsmith.checks.health.total_bytes", lambda: 4 * 2**30)
        monkeypatch.setattr("pairsmith.checks.health.available_bytes", lambda free=available: free)
        assert memory() == ("warn", f"4.0 GiB{shown}")


def test_a_folder_without_a_project_cannot_run(tmp_path: Path) -> None:
    """For a folder without a project, perhaps a typo, doctor does not say that the project can run; a file given as the
    project folder is an error."""
    done = Project(tmp_path).run("doctor")
    assert (done.returncode, "This project can run" in done.stdout, "there is none here yet" in done.stdout) == (
        0,
        False,
        True,
    )
    spec = tmp_path / "pairsmith.toml"
    spec.touch()
    for named in (spec, spec / "folder"):
        done = Project(tmp_path).run("doctor", "--project", str(named))
        assert done.returncode == 1
        assert f"{spec.name}: is a file" in " ".join(done.stdout.split())
        assert "Give the folder that contains it" in done.stdout


def test_a_wrong_spec_is_a_finding(project: Project) -> None:
    """An invalid spec is one of the findings, with its place."""
    done = project.run("doctor", "--set", "trian.epochs=2")
    assert done.returncode == 1
    assert "--set trian: unknown key." in " ".join(done.stdout.split())


def test_requirements_come_from_the_distribution() -> None:
    """The packages of each extra are read from the distribution's metadata, not listed a second time."""
    needed = requirements()
    assert "click" in needed[""]
    assert {"torch", "trl", "psutil"} <= set(needed["train"])
    assert {"vllm", "review", "postgres"} <= set(needed)


def test_a_gate_that_rejects_the_exemplars_is_warned_about(project: Project, teacher: LoopbackTeacher) -> None:
    """A pattern left over from an example rejects every row that resembles the exemplars: doctor says so, and
    `generate` too. The original spec has no such warning."""

    def warned() -> list[dict[str, str]]:
        every = project.json("doctor")["findings"]
        return [one for one in every if (one["about"], one["state"]) == ("gates", "warn")]

    assert not warned()
    spec = project.folder / "pairsmith.toml"
    spec.write_text(spec.read_text().replace("must = [", 'must = [{ name = "greeting", pattern = "^Hello all," }, '))
    (warning,) = warned()
    assert warning["what"].startswith("must:greeting rejects 1 of 1 exemplars that were checked: ")
    assert "curate.gates.must" in warning["fix"]
    assert "warning: must:greeting rejects 1 of 1 exemplars" in project.run("generate").stderr


def test_a_gate_that_rejects_most_seed_outputs_is_warned_about(tmp_path: Path) -> None:
    """Outputs written by people are what the task wants: if a gate rejects one, the row is bad; if it rejects most, the
    gate is."""
    rows = [{"input": f"where is parcel {n}?", "output": "On its way to you. " * (9 if n else 1)} for n in range(6)]
    (tmp_path / "real.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = '[task]\nname = "t"\nkind = "reply"\nstyle = "s"\n[[seeds]]\npath = "real.jsonl"\nkind = "pair"\n'
    for most, rejects in ((20, ["length rejects 5 of 6 outputs of the seed files"]), (60, [])):
        bounds = f"length = {{ min_words = 1, max_words = {most}, min_ratio = 0.0, max_ratio = 1000.0 }}\n"
        (tmp_path / "pairsmith.toml").write_text(f"{spec}[curate.gates]\nrepetition = false\n{bounds}")
        warned = [check.what for check in findings(tmp_path, ()) if (check.about, check.state) == ("gates", "warn")]
        assert [what.partition(" that were")[0] for what in warned] == rejects


def test_a_teacher_that_only_the_evaluation_names_is_measured(tmp_path: Path) -> None:
    """In a project of pairs `evaluate.teacher` was ignored without a word: `doctor` called no teacher needed, and the
    evaluation left it out."""
    (tmp_path / "real.jsonl").write_text('{"input": "where is my parcel?", "output": "On its way to you."}\n')
    spec = '[task]\nname = "t"\nkind = "reply"\nstyle = "s"\n[[seeds]]\npath = "real.jsonl"\nkind = "pair"\n'
    named = '[evaluate]\nteacher = "large"\n[teachers.large]\nurl = "http://127.0.0.1:9/v1"\nmodel = "large"\n'
    for more, measured in (("", False), (named, True)):
        (tmp_path / "pairsmith.toml").write_text(spec + more)
        spec_of = load(tmp_path).spec
        assert (spec_of.needs_teacher, spec_of.measures_teacher) == (False, measured)
        (check,) = [check for check in findings(tmp_path, ()) if check.about == "teacher"]
        assert (check.state == "fail", "not needed" in check.what) == (measured, not measured)
    with LoopbackTeacher(models=("large",)) as teacher:
        (tmp_path / "pairsmith.toml").write_text((spec + named).replace("http://127.0.0.1:9/v1", teacher.url))
        asked = [check.what for check in findings(tmp_path, (), ask=True) if check.about == "answer"]
        assert [request.prompt for request in teacher.asked] == ["where is my parcel?"]
    assert "where is my parcel?, at length" in asked[0]


def test_gates_are_tried_on_outputs_in_the_form_that_rows_store(tmp_path: Path) -> None:
    """Records in a file of JSON objects have no spaces, so each counted as one word, and `doctor` warned that the
    length bounds that `init` had just written reject all of them. Curation accepted all. Now records get no bounds."""
    rows = [
        {"mail": f"Please send {n} lamps to Ann in street {n}", "record": {"item": "lamps", "number": n}}
        for n in range(9)
    ]
    (tmp_path / "mails.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project = Project(tmp_path / "new")
    done = Project(tmp_path).run("init", "new", "--from", "mails.jsonl", "--kind", "extract", "--embedded")
    assert done.returncode == 0
    assert "min_words" not in (project.folder / "pairsmith.toml").read_text()
    assert [c.what for c in findings(project.folder, ()) if (c.about, c.state) == ("gates", "warn")] == []


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ("", True),
        ('[evaluate]\nchecks = [{ name = "stop", pattern = "[.]" }]\n', False),
        ('[evaluate]\nuser = ["rules:right"]\n', False),
    ],
)
def test_a_project_without_a_check_of_its_own_is_warned_about(tmp_path: Path, more: str, warned: bool) -> None:
    """The verdict said after half an hour that only the gates had judged; doctor says it beforehand."""
    task = '[task]\nname = "t"\nkind = "reply"\nstyle = "s"\n[[seeds]]\npath = "pairs.csv"\nkind = "pair"\n'
    (tmp_path / "pairs.csv").write_text("input,output\nIs it loud?,No.\n")
    (tmp_path / "rules.py").write_text("def right(pair):\n    return True\n")
    (tmp_path / "pairsmith.toml").write_text(task + more)
    warnings = [check for check in findings(tmp_path, ()) if (check.about, check.state) == ("checks", "warn")]
    assert len(warnings) == warned


@pytest.mark.parametrize(
    ("kind", "outputs", "more", "warned"),
    [
        ("classify", 0, "", True),
        ("classify", 2, "", True),
        ("classify", 3, "", False),
        ("classify", 0, '[evaluate]\nuser = ["rules:right"]\n', False),
        ("classify", 0, '[curate.gates]\nuser = ["rules:right"]\n', False),
        ("reply", 0, "", False),
    ],
)
def test_missing_references_are_warned_about(tmp_path: Path, kind: str, outputs: int, more: str, warned: bool) -> None:
    """Without a reference for each test input any label of the task would pass, and the evaluation could prove nothing.
    A check or gate of the user's own, or a task with many right answers, needs none."""
    rows = [{"input": f"ticket {n}"} | ({"output": "bug"} if n < outputs else {}) for n in range(3)]
    for name, own in (("pairs", [row for row in rows if "output" in row]), ("inputs", rows[outputs:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own or rows[:0]))
    sources = {"pairs": "pair", "inputs": "input"}
    seeds = "".join(
        f'[[seeds]]\npath = "{name}.jsonl"\nkind = "{of}"\nuse = "test"\n'
        for name, of in sources.items()
        if (tmp_path / f"{name}.jsonl").stat().st_size
    )
    labels = 'labels = ["bug", "praise"]\n' if kind == "classify" else ""
    task = f'[task]\nname = "t"\nkind = "{kind}"\nstyle = "s"\n{labels}'
    (tmp_path / "pairsmith.toml").write_text(f"{task}{seeds}{more}")
    (tmp_path / "rules.py").write_text("def right(pair):\n    return pair.output == 'bug'\n")
    warnings = [check for check in findings(tmp_path, ()) if "without a reference" in check.what]
    assert [check.state for check in warnings] == ["warn"] * warned
    assert all(f"{3 - outputs} of 3 test inputs" in check.what for check in warnings)


def test_an_invalid_reference_is_reported_by_its_row(tmp_path: Path) -> None:
    """The warning names the row of the file, the key in the record, and what the schema requires."""
    (tmp_path / "ticket.json").write_text('{"type": "object", "properties": {"n": {"type": "integer"}}}')
    rows = [{"input": f"ticket {n}", "output": json.dumps({"n": n if n != 2 else "two"})} for n in range(4)]
    (tmp_path / "real.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pairsmith.toml").write_text(
        '[task]\nname = "t"\nkind = "extract"\nstyle = "s"\nschema = "ticket.json"\n'
        '[[seeds]]\npath = "real.jsonl"\nkind = "pair"\nuse = "test"\n'
    )
    (check,) = [check for check in findings(tmp_path, ()) if "not valid for the task" in check.what]
    assert check.state == "warn"
    assert "real.jsonl:3: schema: at $.n: 'two' is not of type 'integer'" in check.what


GERMAN = "Der Patient wurde wegen einer Lungenentzündung aufgenommen und konnte nach {} Tagen nach Hause gehen."
KOREAN = "오늘은 문이 {}시에 열려요."
FINNISH = [
    "Puinen leikkuulauta {}",
    "Kuparinen kahvipannu {}",
    "Pellavainen pöytäliina {}",
    "Lasinen kynttilänjalka {}",
]


@pytest.mark.parametrize(
    ("kind", "language", "texts", "reported"),
    [
        ("rewrite", "en", [GERMAN] * 20, "20 of 20 inputs that were checked are in another language than"),
        ("rewrite", "de", [GERMAN] * 20, ""),
        ("rewrite", "de", [GERMAN] * 18 + [KOREAN] * 2, "2 of 20 inputs that were checked are in another language"),
        ("rewrite", "de", [GERMAN] * 19 + [KOREAN], ""),
        ("rewrite", "en", FINNISH * 5, "the inputs seem in another language than task.language = 'en'"),
        ("classify", "en", [GERMAN] * 20, ""),
    ],
)
def test_seeds_in_another_language_are_reported(
    tmp_path: Path, kind: str, language: str, texts: list[str], reported: str
) -> None:
    """Answers in the language of such seeds would be paid for and then rejected by the gate `language`. A tenth of the
    seeds is enough; short texts are identified together; where no gate checks the language, nothing is reported."""
    rows = (json.dumps({"text": text.format(n)}) for n, text in enumerate(texts))
    (tmp_path / "seeds.jsonl").write_text("".join(f"{row}\n" for row in rows))
    labels = 'labels = ["a", "b"]\n' if kind == "classify" else ""
    (tmp_path / "pairsmith.toml").write_text(
        f'[task]\nname = "t"\nkind = "{kind}"\nstyle = "s"\nlanguage = "{language}"\n{labels}'
        '[[seeds]]\npath = "seeds.jsonl"\n[teacher]\nurl = "embedded"\nmodel = "smollm2-135m-instruct"\n'
    )
    warnings = [check.what for check in findings(tmp_path, ()) if check.about == "gates" and check.state == "warn"]
    assert [reported in what for what in warnings] == [True] * bool(reported)


def test_a_label_that_no_pair_has_is_named(tmp_path: Path) -> None:
    """If all training rows come with their outputs, a label that none of them has is a warning; with inputs for a
    teacher to label, nobody knows yet."""
    spec = '[task]\nname = "t"\nkind = "classify"\nstyle = "s"\nlabels = {{ a = "", b = "", c = "" }}\n'
    spec += "[split]\ntest = 0.0\n"
    spec += '[[seeds]]\npath = "rows.jsonl"\nkind = "{kind}"\n'
    rows = [{"text": f"row {n}", "input": f"row {n}", "output": "ab"[n % 2]} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for kind, named in (("pair", True), ("input", False)):
        (tmp_path / "pairsmith.toml").write_text(spec.format(kind=kind))
        assert any("no training row has the label c" in check.what for check in findings(tmp_path, ())) is named
