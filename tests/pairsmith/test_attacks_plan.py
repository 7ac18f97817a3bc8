"""What is done, and what rows come in, when a spec or what is piped in changes back and forth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.pairsmith.conftest import SUBJECTS, Project, write_seeds
from tests.synth.loopback import LoopbackTeacher


def in_every_place(project: Project) -> int:
    """Rows in, the same wherever it is told, and the sum of what became of them."""
    status, rows = project.json("status"), project.json("rows", "--limit", "0")
    (curated,) = [stage["counts"] for stage in status["stages"] if stage["stage"] == "curate"]
    states = [row["state"] for row in rows["rows"]]
    counts = {name: states.count(name) for name in ("accepted", "rejected", "waiting", "failed")}
    assert curated == rows["counts"] == {"rows_in": len(states), **counts} == project.receipts()[-1]["counts"]
    return len(states)


def test_rows_in_are_those_that_the_present_spec_asks_for(project: Project, teacher: LoopbackTeacher) -> None:
    """`n` lowered takes rows out of the pool, raised again they are there, and none is asked for twice; so with seeds
    that leave the file and come back."""
    spec = project.folder / "pairsmith.toml"
    two, four = spec.read_text(), spec.read_text().replace("n = 2", "n = 4")

    def made(text: str, subjects: tuple[str, ...] = SUBJECTS) -> int:
        spec.write_text(text)
        write_seeds(project.folder, subjects)
        generated: int = project.json("generate")["rows_in"]
        assert "curate" in project.json("status")["next"], "the pool is another"
        assert project.json("curate")["rows_in"] == generated
        assert not {"generate", "curate"} & set(project.json("status")["next"])
        assert in_every_place(project) == generated
        return generated

    assert made(four) == 4 * len(SUBJECTS)
    asked = len(teacher.asked)
    assert made(two) == 2 * len(SUBJECTS)
    assert made(four) == 4 * len(SUBJECTS)
    assert made(four, SUBJECTS[:-2]) == 4 * (len(SUBJECTS) - 2)
    assert made(four) == 4 * len(SUBJECTS)
    assert len(teacher.asked) == asked


def test_a_command_without_a_pipe_undoes_nothing(
    make_project: Callable[..., Project], teacher: LoopbackTeacher
) -> None:
    """Seeds came from standard input: `generate` with nothing piped in says so, and what was done stays done."""
    project = make_project(teacher.url)
    spec = project.folder / "pairsmith.toml"
    spec.write_text(spec.read_text().replace('path = "seeds.jsonl"', 'path = "-"'))
    assert project.run("generate", stdin="a fox\na boat\n").returncode == 0
    project.json("curate")
    before: Any = project.json("status")
    assert before["next"][0] == "review"
    done = project.run("generate")
    assert done.returncode == 4
    assert "Pipe the seeds in" in done.stderr
    assert project.json("status") == before
    assert project.run("generate", stdin="an owl\n").returncode == 0
    stages = {stage["stage"]: stage for stage in project.json("status")["stages"]}
    assert stages["curate"]["why"] == "standard input has changed"


def test_a_cause_is_shown_with_its_brackets(project: Project) -> None:
    """What has made a stage due is shown as it stands, also where a part of it looks like a colour of the terminal."""
    assert project.run("generate").returncode == 0
    shown = project.run("status", "--set", "task.style=Write [red] and [bold] things.").stdout
    assert "[red] and [bold]" in " ".join(shown.split())
