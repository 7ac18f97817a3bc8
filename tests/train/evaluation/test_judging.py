"""Tests of judging an evaluation: checklists of every system, and which system is preferred, also at equal length."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from curate.scorers.judge import open_judge
from schemas.money import total
from schemas.progress import discard_message, unseen
from schemas.project import Project
from schemas.records import Seed
from schemas.spec import Spec, TeacherSettings
from schemas.store import Store
from tests.curate.judging import checklist, chooser, part
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says
from tests.train.evaluated import spec
from train.evaluation.checks import Checks
from train.evaluation.evaluation import count_missing
from train.evaluation.judgements import JudgedEvaluation, PairwiseChoice, first_wins, win_rates
from train.evaluation.judging import judged, warnings
from train.evaluation.length_control import length_controlled
from train.evaluation.metrics import Evaluation, Output
from train.evaluation.results_table import judged_lines, judged_table
from train.evaluation.systems import EvaluationPlan, LocalModel, Model, Models, systems_of
from train.results import TrainResult

QUESTIONS = [{"name": "calm", "question": "Is it calm?"}, {"name": "bright", "question": "Is it bright?"}]


def judged_by(url: str, **more: Any) -> Spec:
    """A spec whose evaluation is judged by the teacher at `url`."""
    judged_spec = spec(
        curate={"judge": {"questions": QUESTIONS}}, teachers={"j": {"url": url, "model": "judge", "retries": 0}}
    )
    evaluate = judged_spec.evaluate.model_copy(update={"judges": ("j",)})
    return judged_spec.model_copy(update={"evaluate": evaluate, **more})


def plan_of(subject: Project, inputs: int) -> EvaluationPlan:
    """Base and tuned on numbered inputs; neither model is ever asked."""
    seeds = tuple(Seed(kind="input", text=f"a fox number {n}", source=f"s:{n}") for n in range(inputs))
    base = TeacherSettings(revision="r1", attempts=1)
    tuned = base.model_copy(update={"model": "tuned", "identity": "tuned", "revision": "adapter"})
    models = Models(Model(base, LocalModel(None)), Model(tuned, LocalModel(None)), None)
    bare = subject.spec.model_copy(update={"exemplars": ()})
    systems = systems_of(Project(subject.folder, bare), seeds, models)
    trained = TrainResult.model_construct(adapter_id="a")
    return EvaluationPlan(subject.spec, trained, seeds, systems, Checks(), judging="judges")


def outputs_of(plan: EvaluationPlan, texts: Callable[[str, int], str | None]) -> list[Output]:
    """The first sampled answer of every system; None if it never arrived, empty if it has no text."""
    return [
        Output(
            system=system.name,
            mode="sampled",
            seed_id=seed.id,
            sample=0,
            answered=text is not None,
            text=text or "",
            words=len((text or "").split()),
            key="k",
        )
        for system in plan.systems
        for number, seed in enumerate(plan.seeds)
        for text in [texts(system.name, number)]
    ]


def judge_both(
    reply: Callable[[Ask], Reply], folder: Path, texts: Callable[[str, int], str | None], inputs: int = 24
) -> tuple[JudgedEvaluation, LoopbackTeacher]:
    """The judgements of a judge that responds with `reply` on the answers `texts`."""
    with LoopbackTeacher(reply) as judge:
        judged_project = Project(folder, judged_by(judge.url))
        plan = plan_of(judged_project, inputs)

        async def ask() -> JudgedEvaluation | None:
            with Store.open(Store.url_for(judged_project)) as store:
                names = judged_project.spec.evaluate.judges
                opener = partial(open_judge, judged_project, store, names, say=discard_message)
                return (await judged(plan, outputs_of(plan, texts), opener, unseen))[0]

        judgements = asyncio.run(ask())
    assert judgements is not None
    return judgements, judge


def both(answer: Callable[[Ask], Reply], choose: Callable[[Ask], Reply]) -> Callable[[Ask], Reply]:
    return lambda ask: choose(ask) if "<first>" in ask.prompt else answer(ask)


def by_word(name: str, output: str) -> float:
    return 0.9 if name in output else 0.2


def test_request_that_settles_a_refusal_counts_too(tmp_path: Path) -> None:
    """If the last request is refused, one that was answered is repeated when the judges are closed. It is paid for."""
    good = both(checklist(by_word), chooser(lambda a, b: "bright" in a))
    with LoopbackTeacher(lambda ask: fails(400, "flagged") if ask.number == 24 else good(ask)) as server:
        subject = Project(tmp_path, judged_by(server.url))
        plan = plan_of(subject, 6)
        answers = outputs_of(plan, lambda system, number: f"calm {system} {number}")

        async def ask() -> tuple[int, int]:
            with Store.open(Store.url_for(subject)) as store:
                opener = partial(open_judge, subject, store, ("j",), say=discard_message)
                _, judge = await judged(plan, answers, opener, unseen)
            assert judge is not None
            return judge.sent, total(judge.costs).usage.prompt_tokens

        assert asyncio.run(ask()) == (25, 240)
    assert len(server.asked) == 25


def test_the_tuned_model_is_preferred_in_both_orders(tmp_path: Path) -> None:
    """A checklist passes only as a whole; a win counts in either order; both have intervals and a test."""

    def texts(system: str, number: int) -> str:
        return f"calm and bright {number}" if system == "tuned" else f"calm {number}"

    judgements, judge = judge_both(both(checklist(by_word), chooser(lambda a, b: "bright" in a)), tmp_path, texts)
    base, tuned = judgements.checklists
    assert (tuned.pass_rate and tuned.pass_rate.estimate, base.pass_rate and base.pass_rate.estimate) == (1.0, 0.0)
    assert base.questions == pytest.approx({"calm": 0.9, "bright": 0.2})
    (win,) = judgements.win_rates
    assert (win.rate and win.rate.estimate, win.outcome, win.not_scored) == (1.0, "preferred", 0)
    assert win.length_controlled is None, "tuned is always longer"
    assert judgements.first is not None
    assert judgements.first.estimate == 0.5
    assert len(judge.asked) == 24 * 2 + 24 * 2


def test_position_bias_is_measured_and_cancelled(tmp_path: Path) -> None:
    """A judge that always prefers the first answer gives a win rate of one half, because both orders are asked."""

    def texts(system: str, number: int) -> str:
        return f"{system} {number}"

    judgements, _ = judge_both(both(checklist(by_word), chooser(lambda a, b: True)), tmp_path, texts)
    (win,) = judgements.win_rates
    assert (win.rate and win.rate.estimate, win.outcome) == (0.5, "inconclusive")
    assert judgements.first is not None
    assert judgements.first.estimate == 1.0


def test_empty_and_equal_answers_need_no_judge(tmp_path: Path) -> None:
    """An empty answer loses and passes nothing, equal answers are a tie, and one that never arrived is left out."""

    def texts(system: str, number: int) -> str | None:
        if number == 0:
            return "" if system == "tuned" else "calm"
        if number == 1:
            return None if system == "tuned" else "calm"
        return "the same"

    judgements, judge = judge_both(both(checklist(by_word), chooser(lambda a, b: True)), tmp_path, texts, inputs=4)
    assert not any("<first>" in ask.prompt for ask in judge.asked)
    assert [choice.wins for choice in judgements.choices] == [((False, False),), ((True, False),), ((True, False),)]
    assert judgements.first is None
    tuned = judgements.checklists[1]
    assert tuned.pass_rate is not None
    assert tuned.pass_rate.seeds == 3
    assert judgements.win_rates[0].outcome == "not enough evidence"


def test_two_incomplete_answers_are_not_equal_texts(tmp_path: Path) -> None:
    """If both answers are empty, neither wins, but their length means nothing: the comparison at equal length leaves
    them out, and only complete answers with the same text count as a tie there."""
    texts = ["", "the same"]
    judgements, _ = judge_both(
        both(checklist(by_word), chooser(lambda a, b: True)), tmp_path, lambda system, number: texts[number], inputs=2
    )
    assert [choice.wins for choice in judgements.choices] == [((True, False),)] * 2
    assert [choice.is_equal for choice in judgements.choices] == [False, True]
    assert judgements.win_rates[0].not_scored == 0


def test_a_system_with_only_empty_answers_is_not_judged(tmp_path: Path) -> None:
    """It was not measured: there is no checklist rate of 0 % for it and no win against it."""

    def texts(system: str, number: int) -> str:
        return "calm and bright" if system == "tuned" else ""

    judgements, judge = judge_both(both(checklist(by_word), chooser(lambda a, b: True)), tmp_path, texts)
    base, tuned = judgements.checklists
    assert (base.pass_rate, base.questions, tuned.pass_rate and tuned.pass_rate.estimate) == (None, {}, 1.0)
    assert [win.outcome for win in judgements.win_rates] == ["not measured"]
    assert not any("<first>" in ask.prompt for ask in judge.asked)


def test_unreadable_judgements_are_counted_and_ignored(tmp_path: Path) -> None:
    """They are neither a win nor a loss, neither a pass nor a failure."""

    def answer(ask: Ask) -> Reply:
        return says("hm") if part(ask, "input").endswith(("1", "2")) else checklist(by_word)(ask)

    def choose(ask: Ask) -> Reply:
        odd = part(ask, "input").endswith("3")
        return says("hm") if odd else chooser(lambda a, b: "tuned" in a)(ask)

    judgements, _ = judge_both(both(answer, choose), tmp_path, lambda system, n: f"{system} calm bright {n}", inputs=10)
    assert [result.not_scored for result in judgements.checklists] == [2, 2]
    (win,) = judgements.win_rates
    assert win.not_scored == 1
    assert win.rate is not None
    assert (win.rate.estimate, win.rate.seeds) == (1.0, 9)
    assert any(choice.reason.startswith("unreadable") for choice in judgements.choices)


def test_requests_without_an_answer_are_shown_and_repeated(tmp_path: Path) -> None:
    """A judge that is down for a third of the inputs has judged the others only. The lines say so, `evaluate` asks
    those again and no others, and an unreadable answer is not asked twice."""
    down = [True]

    def reply(ask: Ask) -> Reply:
        if down[0] and part(ask, "input").endswith(("1", "2", "3")):
            return fails(503)
        if part(ask, "input").endswith("4"):
            return says("hm")
        return both(checklist(by_word), chooser(lambda a, b: "tuned" in a))(ask)

    def texts(system: str, number: int) -> str:
        return f"{system} calm bright {number}"

    first, _ = judge_both(reply, tmp_path, texts, inputs=10)
    assert first.unanswered == 3 * 3
    evaluation: Any = SimpleNamespace(judged=first, system=lambda name: SimpleNamespace(label=name))
    lines = judged_lines(evaluation)
    assert "(4 of 10 not scored)" in lines[0]
    assert any(line.startswith("9 checklists and comparisons are missing") for line in lines)
    assert count_missing(SimpleNamespace(outputs=(), judged=first)) == 9  # type: ignore[arg-type]
    down[0] = False
    second, judge = judge_both(reply, tmp_path, texts, inputs=10)
    assert second.unanswered == 0
    assert len(judge.asked) == 3 * 4
    assert [win.not_scored for win in second.win_rates] == [1]


def test_a_judge_that_follows_the_order_says_so(tmp_path: Path) -> None:
    """If only the order decided, there was no preference, and the line beside the even win rate says so."""
    reply = both(checklist(by_word), lambda ask: says('{"better": "first"}'))
    judgements, _ = judge_both(reply, tmp_path, lambda system, n: f"{system} calm bright {n}")
    evaluation: Any = SimpleNamespace(judged=judgements, system=lambda name: SimpleNamespace(label=name))
    lines = judged_lines(evaluation)
    assert "0.50" in lines[0]
    assert "no significant difference" in lines[0]
    assert "the order alone decided 24 of 24 comparisons: ties" in lines


def choices(won: Sequence[int], longer: Sequence[int]) -> list[PairwiseChoice]:
    """The choices of one judge; `won` of the two orders on each input."""
    wins = {0: (False, False), 1: (True, False), 2: (True, True)}
    return [
        PairwiseChoice(against="base", seed_id=f"s{n}", wins=(wins[w],), longer=d)
        for n, (w, d) in enumerate(zip(won, longer, strict=True))
    ]


def test_length_bias_is_controlled() -> None:
    """If the longer answer always wins, the win rate is high because tuned is longer, and about even at equal
    length."""
    longer = [12, 15, 9, 20, 30, 7, 11, 14, 18, 25, 6, 13, 16, 8, 22, 28, 10, 17, 19, 24, -9, -14, -7, -20, -11, -16]
    (win,) = win_rates(choices([2 if d > 0 else 0 for d in longer], longer))
    assert win.rate is not None
    assert win.rate.estimate > 0.7
    controlled = win.length_controlled
    assert controlled is not None
    assert controlled.low < 0.5 < controlled.high
    assert abs(controlled.value - 0.5) < 0.15
    assert controlled.of_length > 1


def test_a_better_model_is_better_at_equal_length_too() -> None:
    """Length control removes only what length explains."""
    chance = random.Random(3)
    longer = [chance.randint(-20, 20) for _ in range(60)]
    (win,) = win_rates(choices([chance.choice((1, 2, 2, 2)) for _ in longer], longer))
    assert win.length_controlled is not None
    assert win.length_controlled.low > 0.6


@pytest.mark.slow
def test_coverage_of_the_length_controlled_interval() -> None:
    """400 simulated evaluations of 30 inputs with correlated answers: more than 92.5 % of the 95 % intervals contain
    the true value."""
    import numpy as np

    rng = np.random.default_rng(11)
    inside, intervals = 0, 0
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    truth = float((weights / (1 + np.exp(-(1 + nodes)))).sum() / weights.sum())
    for _ in range(400):
        longer = rng.normal(5, 20, 30)
        x = np.tanh(longer / np.sqrt((longer**2).mean()))
        wins = rng.binomial(2, 1 / (1 + np.exp(-(1 + 2 * x + rng.normal(0, 1, 30)))))
        if interval := length_controlled(wins.tolist(), [2] * 30, longer.tolist()):
            intervals += 1
            inside += interval.low <= truth <= interval.high
    assert intervals > 380
    assert inside / intervals > 0.925


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "lead"), [(20, 2), (20, -2), (50, 2)])
def test_coverage_if_the_judge_mostly_follows_length(inputs: int, lead: float) -> None:
    """In 400 simulated evaluations each, more than 92.5 % of the intervals contain the true value also if length counts
    twice as much as quality. A narrow prior had drawn the estimate towards an even rate, and 79 % did."""
    import numpy as np

    rng = np.random.default_rng(inputs)
    inside = intervals = 0
    for _ in range(400):
        longer = rng.normal(0, 20, inputs)
        x = np.tanh(longer / np.sqrt((longer**2).mean()))
        wins = rng.binomial(2, 1 / (1 + np.exp(-(lead + 4 * x))))
        if interval := length_controlled(wins.tolist(), [2] * inputs, longer.tolist()):
            intervals += 1
            inside += interval.low <= 1 / (1 + np.exp(-lead)) <= interval.high
    assert intervals > 350
    assert inside / intervals > 0.925


def test_without_choices_there_is_no_bias() -> None:
    """The share of first places needs at least one choice."""
    assert first_wins([]) is None
    assert win_rates([]) == ()


def test_a_biased_judge_is_warned_about(tmp_path: Path) -> None:
    """A judge of the teacher's family, or one that selected the training rows, is warned about."""
    judged_spec = judged_by("http://localhost:1")
    judge = TeacherSettings(url="http://localhost:1", model="gpt-4.1-mini")
    curate = judged_spec.curate.model_copy(
        update={"judge": judged_spec.curate.judge.model_copy(update={"teachers": ("j",)})}
    )
    teacher = TeacherSettings(url="http://localhost:2", model="gpt-5")
    sentences = warnings(
        judged_spec.model_copy(update={"teachers": {"j": judge}, "teacher": teacher, "curate": curate})
    )
    assert len(sentences) == 2
    assert "OpenAI" in sentences[0]
    assert "training rows" in sentences[1]


def test_tables_and_lines_show_the_judgements(tmp_path: Path) -> None:
    """Checklists in a table, comparisons with their win rates in lines, and the judges' position bias."""
    from rich.console import Console

    judgements, _ = judge_both(
        both(checklist(by_word), chooser(lambda a, b: True)), tmp_path, lambda system, n: f"calm {system} {n}"
    )
    shown: Any = SimpleNamespace(judged=judgements, system=lambda name: SimpleNamespace(label=name.upper()))
    evaluation: Evaluation = shown
    console = Console(width=160, force_terminal=False)
    with console.capture() as captured:
        console.print(judged_table(evaluation))
    assert "TUNED" in captured.get()
    lines = judged_lines(evaluation)
    assert any("0.50" in line and "no significant difference" in line for line in lines)
    assert any("a position bias" in line for line in lines)
    assert judged_table(Evaluation.model_construct(judged=None)) is None


def test_few_comparisons_do_not_prove_that_there_is_no_bias() -> None:
    """An interval that contains 0.5 says that no position bias was found, not that there is none; with four inputs it
    says nothing, and a judge that always chose the first answer is not called unbiased."""

    def lines(inputs: int, won: tuple[bool, bool]) -> list[str]:
        choices = [PairwiseChoice(against="base", seed_id=str(n), wins=(won,), longer=0) for n in range(inputs)]
        more: Any = {"choices": choices, "win_rates": [], "unanswered": 0, "warnings": ()}
        return judged_lines(SimpleNamespace(judged=SimpleNamespace(first=first_wins(choices), **more)))  # type: ignore[arg-type]

    assert lines(24, (True, True))[0].endswith("of requests: no position bias found")
    assert lines(4, (True, False))[0].endswith("of requests: too few inputs to tell whether there is a position bias")


def test_wins_without_a_judge_are_counted(tmp_path: Path) -> None:
    """A judge that follows the order prefers nothing; the win rate is high because answers of the base are empty, and
    the line says so."""

    def texts(system: str, number: int) -> str:
        return "" if system == "base" and number >= 12 else f"{system} {number}"

    judgements, _ = judge_both(both(checklist(by_word), chooser(lambda a, b: True)), tmp_path, texts)
    shown: Any = SimpleNamespace(judged=judgements, system=lambda name: SimpleNamespace(label=name))
    (line, *_) = judged_lines(shown)
    assert "preferred;" in line
    assert line.endswith("; 12 of 24 decided without a judge: an answer was cut or empty")


def test_equal_texts_are_a_tie_at_equal_length() -> None:
    """30 of 42 answers are the same texts and the tuned model wins the rest, longer or shorter: it is preferred in
    64 %, and at equal length too, not in the 98 % of those that differ. The other side has the mirrored numbers."""
    same = [
        PairwiseChoice(against="base", seed_id=f"t{n}", wins=((True, False),), longer=0, asked=False) for n in range(30)
    ]
    won = [
        PairwiseChoice(against="base", seed_id=f"w{n}", wins=((True, True),), longer=(-1) ** n * (5 + n))
        for n in range(12)
    ]
    # An empty answer loses; its length means nothing.
    empty = PairwiseChoice(against="base", seed_id="e", wins=((False, False),), longer=-40, asked=False)
    choices = [*same, *won, empty]
    swapped = [
        choice.model_copy(update={"wins": tuple((not b, not a) for a, b in choice.wins), "longer": -choice.longer})
        for choice in choices
    ]
    (rate,), (mirrored,) = win_rates(choices), win_rates(swapped)
    assert rate.rate
    assert rate.length_controlled
    assert mirrored.rate
    assert mirrored.length_controlled
    assert rate.rate.estimate == pytest.approx(54 / 86)
    assert rate.length_controlled.value == pytest.approx(0.64, abs=0.01)
    assert mirrored.length_controlled.value == pytest.approx(1 - rate.length_controlled.value)
    assert mirrored.length_controlled.low == pytest.approx(1 - rate.length_controlled.high)
    assert (mirrored.rate.low, mirrored.p_value) == (pytest.approx(1 - rate.rate.high), rate.p_value)
