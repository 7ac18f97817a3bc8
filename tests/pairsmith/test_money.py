"""Tests of costs on the command line: a cap stops the run in order, unknown costs never look free, and the total is
itemised."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

from schemas.money import Cost, per_row, total
from tests.pairsmith.conftest import Project, answer
from tests.synth.loopback import Ask, LoopbackTeacher, Reply

PRICES = [
    part for name in ("prompt", "completion") for part in ("--set", f"teacher.usd_per_million_{name}_tokens=1000")
]


def test_a_reached_budget_is_an_orderly_stop(project: Project, teacher: LoopbackTeacher) -> None:
    """Exit code 12 and a message; answers are kept, and a run with a larger budget continues from there."""
    prices = (*PRICES, "--set", "teacher.usd_per_million_prompt_tokens=0")
    stopped = project.run("generate", *prices, "--set", "teacher.concurrency=1", "--max-usd", "0.2")
    assert stopped.returncode == 12
    assert "the budget of $0.2000 is reached" in stopped.stderr
    assert "--max-usd" in stopped.stderr
    done = len(teacher.asked)
    assert 0 < done < 12
    status = project.json("status")["ledger"]
    assert status["usd"] < 0.2
    assert project.receipts()[-1]["counts"]["waiting"] == 2 * done
    capped = project.run("generate", *prices, "--set", f"budget.max_usd={status['usd'] + 0.001}")
    assert capped.returncode == 12
    assert "budget.max_usd" in capped.stderr
    assert len(teacher.asked) == done
    project.json("generate", *prices, "--set", "budget.max_usd=100")
    assert len(teacher.asked) == 12


def test_a_stopped_run_records_what_it_spent(project: Project) -> None:
    """The receipt of a `run` that ended inside a stage, as that of a stopped evaluation, said 0 requests and $0."""
    prices = (*PRICES, "--set", "teacher.usd_per_million_prompt_tokens=0")
    stopped = project.run("run", *prices, "--set", "teacher.concurrency=1", "--max-usd", "0.2")
    assert stopped.returncode == 12, stopped.stderr
    generate, run = project.receipts()[-2:]
    assert (generate["command"], run["command"]) == ("generate", "run")
    assert run["usd"] == generate["usd"] > 0
    for key in ("calls_sent", "usage"):
        assert run[key] == generate[key]
    assert [cost["requests"] for cost in run["facts"]["costs"]] == [run["calls_sent"]]


def test_without_a_price_a_cap_is_refused(project: Project, teacher: LoopbackTeacher) -> None:
    """Nothing is sent, and the missing keys are named."""
    refused = project.run("generate", "--max-usd", "1", "--json")
    error = json.loads(refused.stdout)["error"]
    assert (refused.returncode, error["kind"]) == (3, "SpecError")
    assert "usd_per_million_prompt_tokens" in error["fix"]
    assert not teacher.asked


def test_cap_that_one_direction_cannot_keep_is_refused_before_anything_is_sent(
    project: Project, teacher: LoopbackTeacher
) -> None:
    """Forward has a price and backward none: answers of forward used to be bought first. A direction without seeds
    needs no price."""
    other = f'[teachers.other]\nurl = "{teacher.url}"\nmodel = "other"\n[generate.backward]\nteacher = "other"\n'
    spec = project.folder / "pairsmith.toml"
    spec.write_text(spec.read_text() + other)
    prices = (*PRICES, "--max-usd", "1000")
    project.json("generate", *prices)
    asked = len(teacher.asked)
    spec.write_text(f'{spec.read_text()}\n[[seeds]]\npath = "outputs.txt"\nkind = "output"\n')
    (project.folder / "outputs.txt").write_text("a red kite above the wide sea END\n")
    refused = project.run("generate", *prices, "--set", "generate.forward.n=3")
    assert (refused.returncode, len(teacher.asked)) == (3, asked), refused.stderr
    assert "no price of model 'other' is known" in refused.stderr


def test_an_unknown_cost_is_shown_as_unknown_everywhere(project: Project) -> None:
    """Without a price the cost is null in JSON and in receipts, and "cost unknown" on the screen."""
    assert project.json("generate")["usd"] is None
    assert project.receipts()[-1]["usd"] is None
    ledger = project.json("status")["ledger"]
    assert (ledger["usd"], ledger["usd_per_accepted_row"], ledger["unpriced_requests"]) == (None, None, 12)
    for command in ("status", "doctor"):
        shown = project.run(command).stdout
        assert "$0" not in shown
        assert "cost unknown" in " ".join(shown.split())
    project.json("curate")
    assert "cost unknown" in " ".join(project.run("status").stdout.split())


def test_tokens_that_no_answer_counted_are_said_to_be_missing(make_project: Callable[..., Project]) -> None:
    """Half of the answers report no usage: the sums of tokens showed the other half as if it were all."""

    def reply(ask: Ask) -> Reply:
        return replace(answer(ask), usage=ask.number % 2 == 0)

    with LoopbackTeacher(reply) as teacher:
        project = make_project(teacher.url)
        ran = project.run("generate").stdout
    ledger = project.json("status")["ledger"]
    assert ledger["uncounted_requests"] == ledger["requests"] // 2
    for shown in (ran, project.run("status").stdout):
        assert re.search(r"at least [\d,]+ \+ [\d,]+ tokens", " ".join(shown.split()))
    project.run("report")
    page = (project.folder / "report.html").read_text(encoding="utf-8")
    assert len(re.findall(r"<td>at least [\d,]+</td>", page)) == 2  # the command's tokens of prompts and of answers


def test_an_amount_in_json_has_no_rounding_error() -> None:
    """Ten requests of $0.0001 cost 0.001, not 0.0010000000000000002."""
    cost = total([Cost(requests=1, usd=0.0001)] * 10)
    assert cost.usd != 0.001
    assert (cost.total, cost.as_json()["usd_known"], per_row([cost], 10)) == (0.001, 0.001, 0.0001)


def test_evaluations_are_no_cost_of_accepted_rows() -> None:
    """A project of imported pairs, whose only cost was its evaluation, showed a price per row of pairs that cost
    nothing."""
    measured = Cost(stage="evaluate", requests=3, usd=0.5, unpriced=1)
    assert per_row([measured], 10) == 0
    assert per_row([measured, Cost(stage="generate", requests=1, usd=0.1)], 10) == 0.01
    assert per_row([measured, Cost(stage="generate", requests=1, unpriced=1)], 10) is None


def test_the_total_is_itemised_by_stage_teacher_and_prompt(project: Project) -> None:
    """Receipts and `status` itemise the cost, name the source of the prices, and show the cost per accepted row."""
    done = project.json("generate", *PRICES)
    (line,) = done["facts"]["costs"]
    assert (line["stage"], line["teacher"], line["prices"]) == ("generate", "loopback", "pairsmith.toml")
    assert line["prompt"].startswith("enhance/v")
    assert line["usd"] == done["usd"]
    project.json("preview", "--set", "task.style=Another style, END.", *PRICES)
    accepted = project.json("curate")["accepted"]
    ledger = project.json("status")["ledger"]
    assert [cost["stage"] for cost in ledger["costs"]] == ["generate", "preview"]
    assert abs(sum(cost["usd"] for cost in ledger["costs"]) - ledger["usd"]) < 1e-9
    assert abs(ledger["usd_per_accepted_row"] - ledger["usd"] / accepted) < 1e-9
    shown = " ".join(project.run("status").stdout.split())
    assert "per accepted row" in shown
    assert "genai-prices" in project.receipts()[-1]["versions"]


def test_cap_that_a_judge_cannot_keep_is_refused_before_generation_is_paid_for(
    project: Project, teacher: LoopbackTeacher
) -> None:
    """Curation used to refuse it after every answer had been bought, and to propose a key that was already set. The cap
    of a command only counts if the command gets to the judge."""
    judge = f'[teachers.critic]\nurl = "{teacher.url}"\nmodel = "critic"\n[curate.judge]\nteachers = ["critic"]\n'
    spec = project.folder / "pairsmith.toml"
    spec.write_text(spec.read_text() + judge)
    capped = (*PRICES, "--set", "budget.max_usd=1000")
    for refused in (project.run("generate", *capped), project.run("run", *PRICES, "--max-usd", "1000")):
        assert (refused.returncode, len(teacher.asked)) == (3, 0), refused.stderr
    assert "--max-usd cannot be kept" in refused.stderr
    assert "Set teachers.critic.usd_per_million_prompt_tokens and teachers.critic.usd_" in refused.stderr
    prices = [f"--set=teachers.critic.usd_per_million_{name}_tokens=0" for name in ("prompt", "completion")]
    project.json("generate", *PRICES, "--max-usd", "1000")
    project.json("generate", *capped, *prices)
    assert teacher.asked
