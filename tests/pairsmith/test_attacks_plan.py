"""Tests of what is done, and which rows are in the pool, when a spec or piped input changes back and forth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.pairsmith.conftest import SUBJECTS, Project, write_seeds
from tests.synth.loopback import LoopbackTeacher


def rows_in_everywhere(project: Project) -> int:
    """`rows_in`, checked to be the same in `status`, `rows` and the receipt, and to equal the sum of the row states."""
    status, rows = project.json("status"), project.json("rows", "--limit", "0")
    (curated,) = [stage["counts"] for stage in status["stages"] if stage["stage"] == "curate"]
    states = [row["state"] for row in rows["rows"]]
    counts = {name: states.count(name) for name in ("accepted", "rejected", "waiting", "failed")}
    assert curated == rows["counts"] == {"rows_in": len(states), **counts} == project.receipts()[-1]["counts"]
    return len(states)


def test_rows_in_match_the_present_spec(project: Project, teacher: LoopbackTeacher) -> None:
    """Lowering `n` takes rows out of the pool, raising it brings them back, and none is requested twice. The same holds
    for seeds that leave the file and return."""
    spec = project.folder / "pairsmith.toml"
    two, four = spec.read_text(), spec.read_text().replace("n = 2", "n = 4")

    def rows_in_after(text: str, subjects: tuple[str, ...] = SUBJECTS) -> int:
        spec.write_text(text)
        write_seeds(project.folder, subjects)
        generated: int = project.json("generate")["rows_in"]
        assert "curate" in project.json("status")["next"], "the pool has changed"
        assert project.json("curate")["rows_in"] == generated
        assert not {"generate", "curate"} & set(project.json("status")["next"])
        assert rows_in_everywhere(project) == generated
        return generated

    assert rows_in_after(four) == 4 * len(SUBJECTS)
    asked = len(teacher.asked)
    assert rows_in_after(two) == 2 * len(SUBJECTS)
    assert rows_in_after(four) == 4 * len(SUBJECTS)
    assert rows_in_after(four, SUBJECTS[:-2]) == 4 * (len(SUBJECTS) - 2)
    assert rows_in_after(four) == 4 * len(SUBJECTS)
    assert len(teacher.asked) == asked


def test_a_command_without_piped_input_undoes_nothing(
    make_project: Callable[..., Project], teacher: LoopbackTeacher
) -> None:
    """If seeds came from standard input, `generate` with nothing piped in says so, and finished stages stay done."""
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


def test_why_a_stage_is_due_is_shown_with_its_brackets(project: Project) -> None:
    """The reason why a stage is due is shown literally, even where part of it looks like terminal markup."""
    assert project.run("generate").returncode == 0
    shown = project.run("status", "--set", "task.style=Write [red] and [bold] things.").stdout
    assert "[red] and [bold]" in " ".join(shown.split())
