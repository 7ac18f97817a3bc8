"""Tests of the example of every kind of task, in English and in one other language, from its seeds to a dataset."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairsmith.new_project import EXAMPLES, FIRST_OF_KIND, template_folder
from pairsmith.project import Project
from prompts.answer_form import AnswerForm
from schemas.kinds import KINDS
from schemas.records import RowState
from schemas.spec_file import load
from tests.pairsmith import conftest
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

# Only small examples that use a teacher: imported pairs and English rewrites have tests of their own.
SPECS = {name: load(template_folder(name)).spec for name in EXAMPLES}
OF_KINDS = [
    name
    for name, spec in SPECS.items()
    if spec.needs_teacher and (spec.task.kind, spec.task.language) != ("rewrite", "en")
]
Row = dict[str, str]


def rows_of(example: str) -> list[Row]:
    lines = (template_folder(example) / "seeds.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def as_written(row: Row) -> str:
    return row["output"]


class Run:
    """An example, generated and curated with a teacher that answers with the reference outputs, passed through
    `say`."""

    def __init__(self, example: str, folder: Path, say: Callable[[Row], str] = as_written, *overrides: str) -> None:
        self.rows = rows_of(example)
        by_input = {row["input"]: row for row in self.rows}

        def answer(ask: Ask) -> Reply:
            asked = ask.prompt.removeprefix("Rewrite this input in the house style, do not answer it: ")
            return says(*[say(by_input[asked])] * ask.n)

        shutil.copytree(template_folder(example), folder, dirs_exist_ok=True)
        settled = ("generate.forward.n=1", "curate.score.model=none", "review.enabled=false")
        with LoopbackTeacher(answer) as teacher:
            asked = (f"teacher.url={teacher.url}", "teacher.model=loopback")
            self.project = Project(folder, [*asked, *settled, *overrides])
            self.generated = self.project.generate()
            self.asked = teacher.asked
        self.curated = self.project.curate()
        self.form = AnswerForm.of(load(folder).spec.task, folder)

    def states(self, state: str) -> list[RowState]:
        return list(self.project.rows(state))

    def dataset(self) -> list[dict[str, Any]]:
        folder = self.project.folder / self.curated.files[0] / "data"
        return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("example", OF_KINDS)
def test_an_example_keeps_good_rows(example: str, tmp_path: Path) -> None:
    """Seeds, teacher, gates, duplicates, dataset, export: at least 95 % of the good rows are in the dataset, each as it
    was written, with the system prompt of its kind."""
    run = Run(example, tmp_path / "project")
    assert run.curated.counts.rows_in == len(run.rows) >= 20
    assert run.curated.counts.accepted >= 0.95 * len(run.rows), run.curated.reasons
    written = {row["input"]: run.form.canonical(row["output"]) for row in run.rows}
    dataset = run.dataset()
    assert len(dataset) == run.curated.counts.accepted
    for row in dataset:
        system, user, assistant = row["messages"]
        assert assistant["content"] == written[user["content"]]
        assert system["content"] == run.project.settings.spec.task.system
    name, card = run.project.settings.spec.task.kind, (tmp_path / "project/dataset/README.md").read_text("utf-8")
    sides = f"a {KINDS[name].input} and its {KINDS[name].output}"
    sides = "an input and its rewrite in a house style" if name == "rewrite" else sides
    assert f"{len(dataset)} pairs of {sides}, for" in card
    assert all(label in card for label in run.form.labels)
    exported = run.project.export(tmp_path / "out")
    assert any(path.name == "train.jsonl" for path in (tmp_path / "out").rglob("*")), exported


def test_every_kind_has_an_example_in_english_and_in_another_language() -> None:
    """`init --kind` writes an example of that kind, and every kind has one in another language too."""
    specs = {name: load(template_folder(name)).spec for name in EXAMPLES}
    for kind in KINDS:
        languages = {
            code for s in specs.values() if s.task.kind == kind for code in (s.task.language, s.task.to) if code
        }
        assert "en" in languages
        assert len(languages) > 1
        first = FIRST_OF_KIND[kind]
        assert first is None or specs[first].task.kind == kind


def test_the_teacher_of_a_classification_gets_labels_and_schema(tmp_path: Path) -> None:
    """Labels with their definitions are in the system message, and the request contains the schema."""
    run = Run("tickets", tmp_path)
    system = run.asked[0].body["messages"][0]["content"]
    assert "- return: giving something back, or exchanging it" in system
    schema = run.asked[0].body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == ["delivery", "billing", "return", "repair", "other"]
    assert run.asked[0].body["messages"][2]["content"] == '{"label": "delivery"}', "exemplars are answers of this form"


def test_labels_are_normalised_and_unknown_ones_rejected(tmp_path: Path) -> None:
    """A server without schema support writes `Billing.` or JSON: the same label. An unknown label is rejected with a
    reason that quotes it, after one request."""

    def sloppy(row: Row) -> str:
        spelt = {"delivery": '{"label": "delivery"}', "billing": "Billing.", "return": '"return"', "other": "hello"}
        return spelt.get(row["output"], row["output"])

    run = Run("tickets", tmp_path, sloppy)
    assert run.curated.reasons == {"label": 4}
    assert {row["messages"][-1]["content"] for row in run.dataset()} == {"delivery", "billing", "return", "repair"}
    assert {str(state.reason) for state in run.states("rejected")} == {
        "label: “hello” is not one of the 5 labels: delivery, billing, return, repair, other"
    }
    assert len(run.asked) == len(run.rows)


def test_a_record_that_violates_the_schema_is_requested_again(tmp_path: Path) -> None:
    """It is requested once more and then given up; a record with an invented value is rejected with the path of the
    value."""

    def wrong(row: Row) -> str:
        record = json.loads(row["output"])
        if record["currency"] == "USD":
            return json.dumps({"vendor": record["vendor"]})
        return json.dumps({**record, "total": record["total"] + 1111}) if record["currency"] == "GBP" else row["output"]

    run = Run("invoices", tmp_path, wrong, "curate.gates.values=true")
    spent = [json.loads(row["output"])["currency"] for row in run.rows]
    assert run.generated.counts.failed == spent.count("USD")
    assert len(run.asked) == len(run.rows) + spent.count("USD")
    assert run.curated.reasons == {"schema": spent.count("USD"), "value": spent.count("GBP")}
    assert all("at $.total is not in the input" in str(state.reason) for state in run.states("rejected"))


def test_a_record_that_pydantic_rejects_is_requested_again(tmp_path: Path) -> None:
    """A pydantic model checks more than its JSON schema: a record that its validators reject is requested once more. If
    a validator crashes it has not rejected anything, and the row waits."""
    (tmp_path / "bill.py").write_text(BILL)
    (tmp_path / "seeds.txt").write_text("".join(f"bill number {n} is due\n" for n in range(12)))
    (tmp_path / "pairsmith.toml").write_text(BILLS)

    def reply(ask: Ask) -> Reply:
        number = int(re.findall(r"number (\d+)", ask.prompt)[-1])
        total = {3: -1 if ask.nth == 1 else 5, 4: -1, 5: 13}.get(number, number + 1)
        return says(json.dumps({"number": number, "total": total}))

    with LoopbackTeacher(reply) as teacher:
        project = Project(tmp_path, [f"teacher.url={teacher.url}", "teacher.model=loopback"])
        generated = project.generate()
        assert (generated.counts.rows_in, generated.counts.failed) == (12, 1)
        assert len(teacher.asked) == 14
        assert "Bill says at total: Value error, a bill is above zero" in str(generated.failures)
        assert project.curate().counts.waiting == 1


BILL = """
from pydantic import BaseModel, field_validator


class Bill(BaseModel):
    number: int
    total: int

    @field_validator("total")
    @classmethod
    def positive(cls, total: int) -> int:
        if total == 13:
            raise RuntimeError("no such number")
        if total <= 0:
            raise ValueError("a bill is above zero")
        return total
"""
BILLS = """
[task]
name = "bills"
kind = "extract"
style = "Read the bill."
schema = "bill:Bill"
[[seeds]]
path = "seeds.txt"
[generate.forward]
n = 1
[curate.gates]
values = false
"""


@pytest.mark.parametrize(
    ("example", "file", "old", "new", "why"),
    [
        ("tickets", "pairsmith.toml", "something is broken", "something is broken, torn", "task.labels.repair"),
        ("invoices", "invoice.py", "total: ", "paid: bool = True\n    total: ", "task.schema"),
        ("manual-de-en", "pairsmith.toml", 'to = "en"', 'to = "fr"', "task.to"),
    ],
)
def test_a_changed_form_of_the_answers_makes_generate_due(
    example: str, file: str, old: str, new: str, why: str, tmp_path: Path
) -> None:
    """Label definitions, the schema and the target language shape the rows. `status` names what has changed, and
    `generate` asks for every row again."""
    run = Run(example, tmp_path)
    assert {stage.stage: stage.done for stage in run.project.status()}["generate"]
    written = (tmp_path / file).read_text("utf-8")
    assert old in written
    (tmp_path / file).write_text(written.replace(old, new), "utf-8")
    outputs = {row["input"]: row["output"] for row in run.rows}
    with LoopbackTeacher(lambda ask: says(outputs[ask.prompt])) as teacher:
        project = Project(tmp_path, [f"teacher.url={teacher.url}", *run.project.overrides[1:]])
        generate = next(stage for stage in project.status() if stage.stage == "generate")
        assert not generate.done
        assert why in generate.why
        project.generate()
        assert {ask.prompt for ask in teacher.asked} == set(outputs)


def test_init_writes_a_project_of_each_kind(tmp_path: Path) -> None:
    """With its schema or model beside the spec, ready to run; --kind and --example together are refused."""
    here = conftest.Project(tmp_path)
    for kind in KINDS:
        written = here.json("init", kind, "--kind", kind, "--embedded")
        task = load(tmp_path / kind).spec.task
        assert task.kind == kind
        assert AnswerForm.of(task, tmp_path / kind) is not None
        assert {"pairsmith.toml", "seeds.jsonl"} <= set(written["files"])
    assert (
        "--example and --kind both say what to start from"
        in here.run("init", "x", "--kind", "free", "--example", "tickets").stderr
    )
    assert "classify" in here.run("init", "x", "--kind", "clasify").stderr


def test_labels_of_existing_pairs_are_normalised_too(tmp_path: Path) -> None:
    """Without a teacher, `BILLING ` and `billing` are the same label, and an unknown one is rejected."""
    shutil.copytree(template_folder("tickets"), tmp_path, dirs_exist_ok=True)
    spec = (tmp_path / "pairsmith.toml").read_text()
    seeds = 'columns = { text = "input" }\nreference = "output"'
    spec = spec.replace(seeds, 'kind = "pair"\n[review]\nenabled = false')
    (tmp_path / "pairsmith.toml").write_text(spec)
    spelt = {"billing": "BILLING ", "delivery": "Delivery.", "other": "praise"}
    rows = [{**row, "output": spelt.get(row["output"], row["output"])} for row in rows_of("tickets")]
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project = Project(tmp_path)
    project.generate()
    curated = project.curate()
    assert curated.reasons == {"label": 4}
    outputs = {row.pair.output for row in project.pool().rows() if row.pair}
    assert outputs == {"billing", "delivery", "return", "repair", "praise"}
