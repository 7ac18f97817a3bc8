"""`pairsmith forecast`: what it promises on a loopback teacher, and that its intervals hold in simulated projects."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.forecast.run import coverage, hard_coverage
from curate.forecast import LEAST_SEEDS, Pilot, forecast_accepted_rows, forecast_sum
from pairsmith.stages.forecast import forecast
from pairsmith.stages.table import Audience
from schemas.records import Sampling, content_id
from schemas.spec_file import load
from schemas.store import Store
from synth.question import max_answer_tokens
from tests.pairsmith.conftest import Project, subject_of
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

PRICES = [
    part for name in ("prompt", "completion") for part in ("--set", f"teacher.usd_per_million_{name}_tokens=1000")
]
MANY = tuple(f"{content_id('subject', number)[:12]} in a field" for number in range(40))


def test_the_whole_run_lies_in_the_forecast_and_buys_nothing_twice(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """Twenty seeds are asked; the interval holds what the whole run then takes; the run asks only for the rest."""
    project = make_project(teacher.url, MANY)
    answer = project.json("forecast", *PRICES)["facts"]
    assert len(teacher.asked) == 20
    assert (answer["seeds"], answer["pilot_seeds"]) == (40, 20)
    (generation, *_) = answer["lines"]
    assert (generation["stage"], generation["direction"], generation["seeds"]) == ("generate", "forward", 40)
    ran = project.json("generate", *PRICES)
    assert len(teacher.asked) == 40
    assert ran["pairs_kept"] if "pairs_kept" in ran else ran["facts"]["pairs_kept"] == 40
    spent = project.json("status")["ledger"]["usd"]
    assert generation["usd"]["low"] <= spent * 1.000001
    assert spent <= generation["usd"]["high"] * 1.000001
    # A provider without a batch price has none.
    assert generation["batch_usd"] is None
    assert answer["whole"]["batch_usd"] is None
    accepted = project.json("curate")["accepted"]
    assert generation["rows"]["low"] <= accepted <= generation["rows"]["high"]
    again = project.json("forecast", *PRICES)
    assert again["calls_sent"] == 0


def test_a_price_that_is_set_after_the_pilot_is_that_of_the_whole_run(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """The pilot's answers are reckoned at the prices of today: whoever learns that the cost is unknown and sets a
    price, or another one, or goes on in batches, is told what the run will cost then, and buys nothing again."""
    project = make_project(teacher.url, MANY)

    def middle(*prices: str) -> Any:
        usd = project.json("forecast", *prices)["facts"]["lines"][0]["usd"]
        return usd and usd["middle"]

    assert middle() is None
    at_a_thousand, dearer = middle(*PRICES), middle(*(price.replace("=1000", "=3000") for price in PRICES))
    assert at_a_thousand > 0
    assert dearer == pytest.approx(3 * at_a_thousand)
    assert middle(*PRICES, "--set", "teacher.batch=true") == pytest.approx(at_a_thousand / 2)
    assert len(teacher.asked) == 20


class Caching(LoopbackTeacher):
    """Reads 2,000 tokens of each prompt from a cache, at a tenth of the price, once it has answered a request."""

    def __init__(self) -> None:
        self.warm = False
        super().__init__(self._cached)

    def _cached(self, ask: Ask) -> Reply:
        def answered() -> bool:
            self.warm = True
            return True

        read = {"cached_tokens": 2_000 if self.warm else 0}
        usage = {"prompt_tokens": 2_100, "completion_tokens": 40, "prompt_tokens_details": read}
        text = f"{subject_of(ask)} by a stone wall in dawn light, wet leaves {ask.number} END"
        choices = [{"message": {"content": text}, "finish_reason": "stop"}] * ask.n
        return Reply(body=orjson.dumps({"choices": choices, "usage": usage}), when=answered)


def test_what_a_run_reads_from_a_cache_a_forecast_does_too(make_project: Callable[..., Project]) -> None:
    """Providers keep the beginning of a prompt that all requests share, and a run finds it there but for its first
    requests. Were a pilot asked all at once, nothing would be kept yet, and it would tell three times the bill."""
    prices = [*PRICES, "--set", "teacher.usd_per_million_cached_tokens=100"]
    with Caching() as teacher:
        (generation, *_) = make_project(teacher.url, MANY).json("forecast", *prices)["facts"]["lines"]
    with Caching() as teacher:
        project = make_project(teacher.url, MANY, "run")
        left = project.json("preview", *prices)["facts"]["left_usd"]
        project.json("generate", *prices)
        spent = project.json("status")["ledger"]["usd"]
    first, others = 2.1 + 0.04, 0.3 + 0.04
    assert spent == pytest.approx(first + 39 * others)
    assert generation["usd"]["middle"] == pytest.approx(spent)
    assert left["middle"] == pytest.approx(35 * others)


@pytest.mark.parametrize(
    ("takes_n", "n", "samples", "tokens", "usd"),
    [
        *((True, 4, 4, 1_100, 1.8), (False, 4, 4, 1_100, 1.8), (True, 2, 4, 2_300, 4.4), (False, 2, 4, 3_300, 5.4)),
        (True, 2, 10, 2_900, 9.2),
    ],
)
def test_an_answer_of_the_evaluation_costs_its_own_tokens_at_their_price(
    make_project: Callable[..., Project], takes_n: bool, n: int, samples: int, tokens: int, usd: float
) -> None:
    """Four answers to one prompt are mostly answers, and one is mostly prompt, which is cheaper: the line of the
    evaluation tells what its requests cost, whether the server gives several answers at a time or not: one request, and
    another one where it wants more samples than generation."""

    def reply(ask: Ask) -> Reply:
        given = ask.n if takes_n else 1
        text = f"{subject_of(ask)} by a stone wall in dawn light, wet leaves {ask.number} END"
        usage = {"prompt_tokens": 1_000, "completion_tokens": 100 * given}
        return Reply(
            body=orjson.dumps(
                {"choices": [{"message": {"content": text}, "finish_reason": "stop"}] * given, "usage": usage}
            )
        )

    prices = [*PRICES, "--set", "teacher.usd_per_million_completion_tokens=8000"]
    with LoopbackTeacher(reply) as teacher:
        project = make_project(teacher.url, MANY)
        several = ["--set", f"generate.forward.n={n}", "--set", f"evaluate.samples={samples}"]
        lines = project.json("forecast", *prices, *several)["facts"]["lines"]
    (line,) = (line for line in lines if line["stage"] == "evaluate")
    assert line["tokens"]["middle"] == pytest.approx(line["seeds"] * tokens)
    assert line["usd"]["middle"] == pytest.approx(line["seeds"] * usd)


def test_the_seed_that_is_asked_alone_is_seen_on_its_way(make_project: Callable[..., Project]) -> None:
    """A model that thinks for a minute had a pilot show nothing for so long."""
    seen = threading.Event()

    def progress(stage: str, numbers: Mapping[str, Any]) -> None:
        if numbers["in_flight"] == 1:
            seen.set()

    with LoopbackTeacher(lambda ask: Reply(when=seen.is_set)) as teacher:
        project = load(make_project(teacher.url, MANY).folder)
        with Store.open(Store.url_for(project)) as store:
            forecast(project, store, Audience(progress))
    assert len(teacher.asked) == 20


def test_a_teacher_that_says_the_same_twice_tells_nothing_of_other_seeds(
    make_project: Callable[..., Project],
) -> None:
    """Two equal candidates of every seed are one row a seed, and the run has as many rows as seeds: not a sign that
    few different rows exist."""
    with LoopbackTeacher(lambda ask: says(f"{subject_of(ask)} by a stone wall in dawn light, wet leaves END")) as twice:
        project = make_project(twice.url, MANY)
        (answer, *_) = project.json("forecast", "--seeds", "12")["facts"]["lines"]
        project.json("generate")
        accepted = project.json("curate")["accepted"]
    assert accepted == len(MANY)
    assert answer["rows"]["low"] <= accepted <= answer["rows"]["high"]
    assert answer["rows"]["middle"] >= 0.9 * accepted


def test_no_more_rows_are_told_than_the_selection_lets_through(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """`curate.select.rows` counts rows to train on, of the whole run, not of the pilot; the test split stays whole."""
    project = make_project(teacher.url, MANY)
    chosen = ["--set", "curate.select.rows=10"]
    answer = project.json("forecast", *chosen)["facts"]
    project.json("generate", *chosen)
    accepted = project.json("curate", *chosen)["accepted"]
    assert (
        answer["whole"]["rows"]["low"]
        <= accepted
        <= answer["whole"]["rows"]["high"]
        < answer["lines"][0]["rows"]["low"]
    )


def test_of_a_few_seeds_no_share_of_accepted_rows_is_told(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """From five seeds there are sums with wide intervals, and no interval of rows; without a price no money."""
    project = make_project(teacher.url, MANY)
    answer = project.json("forecast", "--seeds", "5")["facts"]
    assert answer["whole"]["rows"] is None
    assert answer["whole"]["usd"] is None
    assert answer["whole"]["tokens"]["low"] < answer["whole"]["tokens"]["high"]
    shown = project.run("forecast", "--seeds", "5").stdout
    assert "too few seeds to tell" in " ".join(shown.split())
    assert "$0" not in shown
    assert "may end" not in shown


def test_a_forecast_of_no_rows_names_what_keeps_them_out(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """A gate that nothing passes is found out by the pilot, and not after all seeds are paid for; where rows pass,
    nothing is said."""
    project = make_project(teacher.url, MANY)
    warned = project.run("forecast", "--seeds", "5", "--set", "curate.gates.length.min_words=59").stderr
    assert re.search(r"accepts none of the pilot's forward rows \(short \d+[,)]", " ".join(warned.split()))
    assert "accepts none" not in project.run("forecast", "--seeds", "5").stderr


def test_a_number_of_accepted_rows_that_ends_the_run_is_told_with_its_forecast(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """Sixty rows were asked for, and the forecast told of a hundred and their price without a word of the sixty."""
    project = make_project(teacher.url, MANY)
    shown = project.run("forecast", "--seeds", "5", "--set", "generate.accepted=6").stdout
    sentence = "generate.accepted = 6 may end forward generation early; the intervals assume that all seeds are asked."
    assert sentence in " ".join(shown.split())


def test_what_judges_will_cost_is_said_to_be_in_no_figure(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """Of a project whose judge read each row the forecast told a quarter of the bill as that of the whole run."""
    project = make_project(teacher.url, MANY)
    assert "judge" not in project.run("forecast", "--seeds", "5").stdout
    judge = ["--set", f"teachers.careful={{url='{teacher.url}', model='careful'}}"]
    named = ["--set", "curate.judge.teachers=['careful']", "--set", "evaluate.judges=['careful']"]
    shown = " ".join(project.run("forecast", "--seeds", "5", *judge, *named).stdout.split())
    assert "These figures do not include the judges in curate.judge.teachers and evaluate.judges" in shown


def test_a_cap_that_the_run_may_reach_is_told_with_its_forecast(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """Before anything more is paid for, a person learns that the run will stop at `budget.max_usd`, or may; no column
    tells batch prices that no endpoint has."""
    project = make_project(teacher.url, MANY)
    usd = project.json("forecast", *PRICES)["facts"]["whole"]["usd"]
    shown = {}
    for cap in (1.01 * usd["high"], (usd["low"] + usd["high"]) / 2, 0.99 * usd["low"]):
        shown[cap] = " ".join(project.run("forecast", *PRICES, "--set", f"budget.max_usd={cap}").stdout.split())
    enough, doubtful, too_little = shown.values()
    assert "budget.max_usd" not in enough
    assert "the run may cost more than budget.max_usd, $" in doubtful
    assert "the run costs more than budget.max_usd, $" in too_little
    assert "as a batch" not in enough


def test_what_other_prompts_have_spent_counts_beside_a_forecast(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """The cap is the project's: what a teacher under another name has cost leaves less of it, and a run that fits the
    cap but not what is left of it is told so."""
    project = make_project(teacher.url, MANY)
    spent = project.json("generate", *PRICES, "--set", "teacher.identity=another")["usd"]
    usd = project.json("forecast", *PRICES)["facts"]["whole"]["usd"]
    roomy, tight = 1.01 * (spent + usd["high"]), spent + usd["low"] / 2
    assert tight > usd["high"] / 2
    shown = [
        " ".join(project.run("forecast", *PRICES, "--set", f"budget.max_usd={cap}").stdout.split())
        for cap in (roomy, tight)
    ]
    assert "budget.max_usd" not in shown[0]
    assert "the run costs more than what is left of budget.max_usd, $" in shown[1]


def test_what_brings_its_outputs_has_no_forecast_and_goes_on(tmp_path: Path) -> None:
    """Nobody is asked, so nothing is forecast or previewed: both say why, and what goes on."""
    (tmp_path / "asked.csv").write_text("question,answer\nWhen do you open?,We open at nine on weekdays.\n")
    project = Project(tmp_path / "mine")
    assert Project(tmp_path).run("init", "mine", "--from", "asked.csv").returncode == 0
    for command in ("forecast", "preview"):
        done = project.run(command)
        assert done.returncode == 8
        assert "They already have outputs" in done.stderr
        assert f"`pairsmith run` works without a {command}" in done.stderr


def test_intervals_hold_in_simulated_projects() -> None:
    """SIMULATED: in 100 projects with heavy-tailed costs, candidates that are alike and rows that repeat, intervals of
    90 % from 20 seeds hold the whole run in at least 85 of them, for money and for accepted rows."""
    covered = coverage(100)
    assert covered["usd_coverage"] >= 0.85
    assert covered["rows_coverage"] >= 0.85
    # Not because they say nothing.
    assert covered["usd_width"] < 0.6
    assert covered["rows_width"] < 1.25


def test_intervals_hold_where_a_pilot_tells_least() -> None:
    """SIMULATED: a teacher with 100 or 300 different rows in all, rows that each come twice or ten times, and answers
    without a limit of which a few are a hundred times as long, or one in a hundred 300 times: of each kind, alone, at
    least 85 of 100 whole runs lie in the pilot's interval."""
    shares = hard_coverage(60)
    assert {kind: one["coverage"] for kind, one in shares.items() if one["coverage"] < 0.85} == {}
    # Not because they say nothing.
    assert shares["1 % of answers 300 times as long"]["width"] < 2.2


def test_without_a_limit_an_answer_without_an_end_is_reckoned_with(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """Without `max_tokens` the upper ends are higher, for one answer may go on to the model's own limit, and the screen
    says which key narrows them; with it nothing of the kind is said."""
    project = make_project(teacher.url, MANY)
    limited = project.json("forecast", *PRICES)["facts"]["lines"][0]
    assert "max_tokens" not in project.run("forecast", *PRICES).stdout
    endless = [*PRICES, "--set", "generate.forward.sampling={ temperature = 0.9 }"]
    unlimited = project.json("forecast", *endless)["facts"]["lines"][0]
    assert unlimited["tokens"]["high"] > 2 * limited["tokens"]["high"]
    assert unlimited["usd"]["high"] > 2 * limited["usd"]["high"]
    shown = " ".join(project.run("forecast", *endless).stdout.split())
    assert "Without max_tokens in the sampling of generate.forward" in shown


def test_a_limit_under_the_name_of_reasoning_models_is_one(
    teacher: LoopbackTeacher, make_project: Callable[..., Project]
) -> None:
    """`extra = { max_completion_tokens = 512 }` is what their documentation has; a forecast holds itself to it."""
    named = "generate.forward.sampling={ temperature = 0.9, extra = { max_completion_tokens = 128 } }"
    project = make_project(teacher.url, MANY)
    assert "max_tokens" not in project.run("forecast", *PRICES, "--set", named).stdout
    assert max_answer_tokens(Sampling(extra={"max_completion_tokens": 512}).body()) == 512
    assert max_answer_tokens(Sampling(max_tokens=64).body()) == 64
    assert max_answer_tokens(Sampling(extra={"max_completion_tokens": "many"}).body()) is None


def test_what_is_known_is_not_guessed() -> None:
    """A pilot of every seed is the run itself; a group of equal rows in it is one row."""
    assert forecast_sum([1.0, 2.0, 3.0], 0, None) == (6.0, 6.0, 6.0)
    pilot = Pilot([1] * LEAST_SEEDS, [3, *[1] * (LEAST_SEEDS - 3)])
    rows = forecast_accepted_rows(pilot, 0, 1)
    assert rows is not None
    assert rows.low == rows.high == LEAST_SEEDS - 2
    assert forecast_accepted_rows(Pilot([1] * (LEAST_SEEDS - 1), [1] * (LEAST_SEEDS - 1)), 10, 1) is None


@pytest.mark.parametrize("rows", [[0] * 20, [1] * 20, [0, 3] * 10])
def test_rows_stay_between_none_and_all(rows: list[int]) -> None:
    """Whatever the pilot gave, the interval is inside of what is possible, and grows with the seeds."""
    groups = [1] * sum(rows)
    few, many = (
        forecast_accepted_rows(Pilot(rows, groups), 10, 3),
        forecast_accepted_rows(Pilot(rows, groups), 1_000, 3),
    )
    assert few is not None
    assert many is not None
    assert sum(rows) <= few.low <= few.high <= sum(rows) + 30
    assert few.high <= many.high <= sum(rows) + 3_000


def test_duplicates_grow_with_the_number_of_rows() -> None:
    """With repeats among twenty rows, the share of distinct rows is smaller the more rows there are."""
    pilot = Pilot([1] * 20, [4, 3, 2, *[1] * 11])
    few, many = forecast_accepted_rows(pilot, 80, 1), forecast_accepted_rows(pilot, 4_980, 1)
    assert few is not None
    assert many is not None
    assert many.middle / 5_000 < few.middle / 100 / 2


def test_how_many_answers_a_request_brings_is_unknown_where_only_one_was_wanted(
    make_project: Callable[..., Project],
) -> None:
    """One answer to each seed, and four to each test input: two requests or four. The line holds both, where it had
    only the dearer one, and a real bill of half as much lay outside it."""
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100}

    def reply(ask: Ask) -> Reply:
        choice = {
            "message": {"content": f"{subject_of(ask)} by a stone wall {ask.number} END"},
            "finish_reason": "stop",
        }
        return Reply(body=orjson.dumps({"choices": [choice], "usage": usage}))

    with LoopbackTeacher(reply) as teacher:
        one = ["--set", "generate.forward.n=1", "--set", "evaluate.samples=4"]
        lines = make_project(teacher.url, MANY).json("forecast", *one)["facts"]["lines"]
    (line,) = (line for line in lines if line["stage"] == "evaluate")
    assert line["tokens"]["low"] <= line["seeds"] * 2_400
    assert line["tokens"]["high"] >= line["seeds"] * 4_400
