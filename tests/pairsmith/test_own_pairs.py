"""Tests of existing pairs on the command line: without a teacher they are curated, exported, explained, trained on and
evaluated like generated rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

import pairsmith
from curate import curate, decontaminate
from pairsmith.report.gather import gather
from pairsmith.stages.generate import generate
from pairsmith.stages.table import Audience
from schemas.records import Imported, Message, Pair
from schemas.spec_file import load
from schemas.store import Store
from tests.pairsmith import forked
from tests.pairsmith.conftest import ROOT, Project
from tests.synth.loopback import Ask, LoopbackTeacher, says
from train.evaluation.metrics import Evaluation

TICKETS = ROOT / "examples" / "ticket-replies"
NO_SERVER = "http://127.0.0.1:9/v1"
SPEC = """
[task]
kind = "reply"
name = "own"
system = "Answer the customer."
style = "A short, kind answer."

[[seeds]]
path = "{path}"
kind = "{kind}"

[teacher]
url = "{url}"
model = "nobody"
key_env = "A_KEY_THAT_IS_NOT_SET"

[review]
enabled = false
"""


def dataset(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "dataset" / "data").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def tickets(tmp_path: Path) -> Project:
    shutil.copytree(TICKETS, tmp_path / "tickets")
    return Project(tmp_path / "tickets")


def chats(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Project:
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "pairsmith.toml").write_text(SPEC.format(path="chats.jsonl", kind=kind, url=NO_SERVER), encoding="utf-8")
    return Project(folder)


def test_pairs_need_no_teacher_and_keep_their_columns(tickets: Project) -> None:
    """Sixty tickets with replies: doctor requires no key, nothing is sent, the rows in the dataset have their product,
    and explain shows where they came from."""
    override = ("--set", f"teacher.url={NO_SERVER}", "--set", "teacher.key_env=A_KEY_THAT_IS_NOT_SET")
    doctor = tickets.run("doctor", *override)
    assert doctor.returncode == 0, doctor.stdout
    assert "not needed: the seeds have outputs" in doctor.stdout
    assert "60 pairs of 60 rows" in doctor.stdout
    answer = tickets.json("generate", *override)
    assert (answer["facts"]["pairs_made"], answer["calls_sent"]) == (60, 0)
    assert tickets.json("generate", *override)["facts"]["pairs_kept"] == 60
    curated = tickets.json("curate")
    assert curated["rows_in"] == 60
    rows = dataset(tickets.folder)
    assert len(rows) == curated["accepted"] >= 57, "at least 95 % of good rows written by people are kept"
    assert {row["made_by"] for row in rows} == {"imported"}
    row = next(row for row in rows if row["input"].startswith("Kettle leaks"))
    assert row["input"].startswith("Kettle leaks at the base\n\nI bought the kettle")
    assert row["columns"] == {"product": "Swan kettle", "ticket": "T-4103"}
    assert row["completion"][0]["content"].startswith("Hello,\nA puddle")
    explained = tickets.run("explain", row["pair_id"]).stdout
    assert "tickets.csv:2" in explained
    assert "Swan kettle" in explained
    lineage = tickets.json("explain", row["pair_id"])
    assert lineage["columns"] == row["columns"]
    card = (tickets.folder / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "Teacher: none." in card
    assert "- synthetic" not in card
    assert "The split is by a hash of the seed, so all rows of a seed" in card
    tickets.json("curate", "--set", "seeds.0.group=product", "--set", "curate.gates.repetition=false")
    card = (tickets.folder / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "The split is by a hash of the group, so all rows of a group" in card


def test_imported_rows_share_commits(tmp_path: Path) -> None:
    """A commit for coroutines comes at most every 40 ms. With four rows in each, 100,000 rows took over a quarter of an
    hour; 2,000 rows take at most forty commits."""
    lines = (json.dumps({"input": f"Where is parcel {n}?", "output": f"Parcel {n} is late."}) for n in range(2_000))
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    spec = '[task]\nkind = "reply"\nname = "own"\nstyle = "Kind."\n\n[[seeds]]\npath = "pairs.jsonl"\nkind = "pair"\n'
    (tmp_path / "pairsmith.toml").write_text(spec)
    commits = list[object]()
    count = commits.append
    event.listen(Engine, "commit", count)
    try:
        assert pairsmith.Project(tmp_path).generate().counts.rows_in == 2_000
    finally:
        event.remove(Engine, "commit", count)
    assert len(commits) <= 40


def test_a_receipt_lists_a_thousand_unusable_rows_and_counts_all(tmp_path: Path) -> None:
    """Every command reads the receipts of all runs: 50,000 repeated rows took 4 MB and 16 MB of memory for each run."""
    again = json.dumps({"input": "Where is the parcel?", "output": "It is late."})
    other = json.dumps({"input": "May I return it?", "output": "You may."})
    (tmp_path / "pairs.jsonl").write_text("\n".join([other, *[again] * 1_202]))
    spec = '[task]\nkind = "reply"\nname = "own"\nstyle = "Kind."\n\n[[seeds]]\npath = "pairs.jsonl"\nkind = "pair"\n'
    (tmp_path / "pairsmith.toml").write_text(spec)
    lines = list[str]()
    project = load(tmp_path)
    with Store.open(Store.url_for(project)) as store:
        for _ in range(2):  # the second time, from the receipt
            lines.clear()
            outcome = generate(project, store, Audience(say=lines.append))
            assert (len(outcome.seed_problems), outcome.seed_problem_count) == (1_000, 1_201)
            assert any(line.endswith("more; the receipt lists the first 1,000.") for line in lines)
        assert gather(project, store).unread_seeds == 1_201


def test_another_teacher_undoes_nothing_if_none_is_used(tickets: Project) -> None:
    """Imported pairs stay done when the [teacher] table changes, because nothing depends on it."""
    tickets.json("generate")
    planned = {step["stage"]: step for step in tickets.json("status", "--set", "teacher.model=other")["stages"]}
    assert planned["generate"]["done"], planned["generate"]


def test_a_conversation_is_one_row_with_its_earlier_turns(tmp_path: Path) -> None:
    """Several turns are one row: earlier turns are in its prompt, and a conversation recorded twice is in one split
    only."""
    rows = []
    for n in range(12):
        opening = [
            {"role": "system", "content": f"You are shop {n}."},
            {"role": "user", "content": f"My order {n} of {'abcdefghijkl'[n] * 4} has not come, where is it now?"},
            {"role": "assistant", "content": f"We are looking for parcel {n * 7919} and tell you tonight."},
        ]
        more = [
            {"role": "user", "content": f"It is the {'mnopqrstuvwx'[n] * 5} one, does that help you at all?"},
            {"role": "assistant", "content": f"It does: box {n * 104729} was left with your neighbour at number {n}."},
        ]
        rows += [{"messages": opening}, {"messages": [*opening, *more]}]
    project = chats(tmp_path, "conversation", rows)
    assert project.json("generate")["facts"]["pairs_made"] == 24
    project.json("curate")
    split_of: dict[str, set[str]] = {}
    for file in (tmp_path / "dataset" / "data").glob("*.jsonl"):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            split_of.setdefault(row["system"], set()).add(file.stem)
            if len(row["prompt"]) > 2:
                roles = [message["role"] for message in row["messages"]]
                assert roles == ["system", "user", "assistant", "user", "assistant"]
                assert row["input"] == row["prompt"][-1]["content"]
    assert len(split_of) == 12
    assert all(len(splits) == 1 for splits in split_of.values())


def test_conversations_are_compared_by_all_turns(tmp_path: Path) -> None:
    """Many conversations end with the same words, which makes none of them a copy of a test conversation; one that
    contains a test question among its turns is contaminated."""

    def conversation(*texts: str) -> Pair:
        turns = tuple(Message(role=("user", "assistant")[n % 2], content=text) for n, text in enumerate(texts[:-2]))
        origin = Imported(source="chats.jsonl")
        return Pair(seed_id=texts[0], input=texts[-2], output=texts[-1], system="", origin=origin, turns=turns)

    question = "Can I bring the green umbrella back to your shop in Leiden without its box?"
    test = "My parcel went to the wrong house on Tuesday.\nShall we send another one?\nYes, please."
    rows = [
        conversation(
            "The lid of my jug is cracked.", "Shall we send another one?", "Yes, please.", "It leaves us today."
        ),
        conversation(
            "Good morning to you all.", "What is it?", question, "You can.", "And when?", "On any day until six."
        ),
    ]
    pool = curate(rows, [decontaminate([test, question])], progress=False)
    assert [row.reason.code if row.reason else None for row in pool.rows()] == [None, "contamination"]


def test_unusable_lines_are_reported_and_in_the_receipt(tmp_path: Path) -> None:
    """The screen names them, the receipt lists them all, and the rest becomes pairs."""
    good = {
        "conversations": [{"from": "human", "value": "Where is it?"}, {"from": "gpt", "value": "On its way to you."}]
    }
    project = chats(tmp_path, "pair", [good, {"conversations": good["conversations"][:1]}, {"text": "?"}])
    done = project.run("generate")
    assert done.returncode == 0, done.stderr
    assert "shape: ShareGPT" in done.stderr + done.stdout
    assert "chats.jsonl:2: turns: there is no answer" in done.stderr + done.stdout
    (receipt,) = project.receipts()
    assert [problem.partition(": ")[0] for problem in receipt["facts"]["seed_problems"]] == [
        "chats.jsonl:2",
        "chats.jsonl:3",
    ]


def test_names_between_colons_are_shown_as_they_are(tmp_path: Path) -> None:
    """`:smile:` in a text, or a gate of `house.py`, was shown as a picture that the data do not contain."""
    row = {"input": "Where is :house: number nine of your street?", "output": "It is on its way to you :smile:"}
    project = chats(tmp_path, "pair", [row])
    (tmp_path / "house.py").write_text("def kind(pair):\n    return True\n")
    gate = ("--set", 'curate.gates.user=["house:kind"]')
    assert project.run("generate").returncode == 0
    assert project.run("curate", *gate).returncode == 0
    listed = " ".join(project.run("rows").stdout.split())
    assert ":house:" in listed
    assert ":smile:" in listed
    ((pair,),) = project.rows("SELECT id FROM pairs")
    explained = project.run("explain", pair).stdout
    assert "gate/user:house:kind@1" in explained
    assert "to you :smile:" in explained


def test_a_prompt_can_use_the_columns_of_a_seed(tmp_path: Path) -> None:
    """Inputs beside pairs can be sent to a teacher with a prompt that uses another column; pairs send nothing."""

    def answer(ask: Ask) -> Any:
        return says(*[f"We are sorry that your {ask.prompt.split()[-1]} does not work, a new one is coming."] * ask.n)

    with LoopbackTeacher(answer) as teacher:
        project = chats(tmp_path, "pair", [{"input": "Where is it?", "output": "On its way to you today."}])
        spec = (tmp_path / "pairsmith.toml").read_text().replace(NO_SERVER, teacher.url)
        spec = spec.replace('key_env = "A_KEY_THAT_IS_NOT_SET"\n', "")
        spec += '[[seeds]]\npath = "new.csv"\ncolumns = { text = "body", product = "Product" }\n'
        spec += '[generate.forward]\nn = 1\nprompt = "mine"\n'
        (tmp_path / "pairsmith.toml").write_text(spec)
        (tmp_path / "new.csv").write_text("body;Product\nIt is dead;kettle\nIt is dead, too;lamp\n")
        (tmp_path / "prompts" / "mine").mkdir(parents=True)
        front = '+++\nabout = "a"\n[variables]\ninput = "the ticket"\nproduct = "the product"\n+++\n'
        (tmp_path / "prompts" / "mine" / "v1.jinja").write_text(
            f"{front}=== user ===\n{{{{ input }}}} {{{{ product }}}}\n"
        )
        outcome = project.json("generate")
        assert (outcome["facts"]["pairs_made"], outcome["calls_sent"]) == (3, 2)
        assert sorted(ask.prompt for ask in teacher.asked) == ["It is dead kettle", "It is dead, too lamp"]
        pairs = [json.loads(body) for (body,) in project.rows("select body from pairs")]
        assert sorted(pair.get("columns", {}).get("product", "") for pair in pairs) == ["", "kettle", "lamp"]


@pytest.mark.model
@pytest.mark.timeout(1800)
def test_sixty_tickets_become_an_adapter_without_a_teacher(
    tickets: Project,
) -> None:
    """The whole pipeline: import, curation, training, evaluation and report. No request goes to a teacher, no teacher
    is among the systems, and 12 test inputs are called not enough evidence."""
    tickets.kind = forked.MODELS
    small = ["train.method=lora", "train.epochs=0.08", "train.batch=2", "train.max_length=384", "split.validation=0"]
    small += ["evaluate.samples=1", "evaluate.sampling.max_tokens=40"]
    small += ['evaluate.sampling.stop=["."]', f"teacher.url={NO_SERVER}"]
    sets = [word for key in small for word in ("--set", key)]
    done = tickets.run("run", "--no-review", *sets, timeout_s=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 test inputs" in done.stdout + done.stderr
    assert list((tickets.folder / "adapters").glob("*/adapter_model.safetensors"))
    receipts = {receipt["command"]: receipt for receipt in tickets.receipts()}
    assert receipts["generate"]["calls_sent"] == 0
    (file,) = (tickets.folder / "evaluations").glob("*.json")
    evaluation = Evaluation.model_validate_json(file.read_bytes())
    assert evaluation.seeds == 12
    names = [name for system in evaluation.systems for name in system.names]
    assert names == ["base", "few-shot", "retrieval", "tuned"]
    outcomes = {comparison.outcome for comparison in evaluation.comparisons}
    # A system that ends no sentence within 40 tokens is not measured.
    assert "not enough evidence" in outcomes <= {"not enough evidence", "not measured"}
    report = (tickets.folder / "report.html").read_text(encoding="utf-8")
    assert "12 inputs cannot prove" in report
    assert "product: " in report


def test_a_generated_test_input_is_held_out() -> None:
    """Seeds with outputs get their input generated, so two can get the same one: a training row must not have the input
    of a test row."""

    def written(seed_id: str, asked: str, output: str) -> Pair:
        return Pair(seed_id=seed_id, input=asked, output=output, system="", origin=Imported(source="outputs.jsonl"))

    rows = [
        written("of-the-test", "bridge in fog", "a motel sign on a desert highway at dusk"),
        written("same", "A bridge in fog", "a red suspension bridge half buried in sea fog"),
        written("other", "old gardener", "an old gardener in front of a brick wall"),
    ]
    pool = curate(rows, [decontaminate({"of-the-test": "a motel sign on a desert highway at dusk"})], progress=False)
    reasons = [row.reason for row in pool.rows()]
    assert [reason and reason.code for reason in reasons] == [None, "contamination", None]
    assert reasons[1] is not None
    assert "the input of test row" in reasons[1].detail
