"""A judge answers a checklist through the ledger: P(yes) where it is told, nothing where it cannot be read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.checklists import DEFAULTS, p_yes, questions_of, read_checklist
from curate.judge import Judge, JudgePreference, open_judge, same_family_warnings
from curate.outcome import CurateResult, curate_project
from curate.remote_scorers import RemoteScorers
from curate.rules import asked_of, rules_of
from schemas.errors import BudgetReached, SpecError
from schemas.kinds import KINDS
from schemas.project import Project
from schemas.records import Imported, Message, Pair, Reason
from schemas.spec import JudgeQuestion, Spec, TeacherSettings
from schemas.store import Store
from synth.families import families
from tests.curate import tiny
from tests.curate.judging import checklist, chooser, part, tokens, without_logprobs
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says

T = TypeVar("T")
QUESTIONS = [
    {"name": "calm", "question": "Is it calm?", "weight": 3},
    {"name": "bright", "question": "Is it bright?"},
]


def project(
    folder: Path, urls: dict[str, str], questions: Sequence[dict[str, Any]] = QUESTIONS, **more: Any
) -> Project:
    """A project judged by a teacher at each of `urls`."""
    raw = tiny.spec().model_dump(mode="json", exclude_defaults=True)
    raw["curate"] |= {"judge": {"teachers": list(urls), "questions": list(questions)}, "score": {"model": "judge"}}
    raw["curate"] |= more.pop("curate", {})
    raw["task"] = more.pop("task", raw["task"])
    settings = {"model": "judge-model", "retries": 0, "usd_per_million_prompt_tokens": 1, **more}
    settings.setdefault("usd_per_million_completion_tokens", 1)
    raw["teachers"] = {name: {**settings, "url": url, "identity": name} for name, url in urls.items()}
    return Project(folder, Spec.model_validate(raw))


def asked(project: Project, ask: Callable[[Judge], Any]) -> Any:
    """What `ask` gives of the project's judge."""

    async def work() -> Any:
        with Store.open(Store.url_for(project)) as store:
            store.capped(project_usd=project.spec.budget.max_usd)
            async with AsyncExitStack() as opened:
                judge = await open_judge(
                    project, store, project.spec.curate.judge.teachers, opened, lambda sentence: None
                )
                assert judge is not None
                return await ask(judge)

    return asyncio.run(work())


def curated(project: Project, answers: dict[str, list[str]]) -> CurateResult:
    """The project curated with `answers` in its store, if it is new."""

    async def work(judge: Judge) -> CurateResult:
        store = judge.ledgers[0].store
        if next(store.each_candidate(), None) is None:
            tiny.pool(store, project, answers)
        return await curate_project(project, store, fingerprints=["now"], remote_scorers=RemoteScorers(judge))

    result: CurateResult = asked(project, work)
    return result


def by_word(name: str, output: str) -> float:
    """P(yes) is high where the question's name stands in the output."""
    return 0.9 if name in output else 0.2


def test_a_judge_is_told_what_a_rows_own_system_prompt_says(tmp_path: Path) -> None:
    """Rows that exist bring rules of their own, and are judged by them too; the project's own prompt is no rule."""
    seen: list[str] = []

    def heard(ask: Ask) -> Reply:
        seen.append(ask.prompt)
        return chooser(lambda first, second: True)(ask) if "first" in ask.prompt else checklist(by_word)(ask)

    with LoopbackTeacher(heard) as judge:
        project_ = project(tmp_path, {"a": judge.url})
        system = project_.spec.task.system
        for own in (None, system, "Answer as a pirate."):
            asked(project_, lambda j, own=own: j.answers("a fox", "a calm fox", own))
            asked(project_, lambda j, own=own: j.preferences("a fox", "a calm fox", "a fox", own))
    pirates = ["Answer as a pirate." in prompt for prompt in seen]
    assert pirates == [False] * 3 + [True] * 3  # a checklist and two orders; asked once where nothing differs


def test_the_score_is_the_weighted_share_of_yes_from_logprobs(tmp_path: Path) -> None:
    """P(yes) is read at the token of each answer, of yes against no, and weighed as the spec says."""
    with LoopbackTeacher(checklist(by_word)) as judge:
        project_ = project(tmp_path, {"a": judge.url})
        answers = asked(project_, lambda j: j.answers("a fox", "a calm fox"))
    assert answers == pytest.approx({"calm": 0.9, "bright": 0.2})
    with Store.open(Store.url_for(project_), write=False) as store:
        (cost,) = store.costs()
    assert (cost.stage, cost.prompt.partition("/")[0], cost.requests) == ("judge", "judge", 1)
    body = judge.asked[0].body
    assert body["logprobs"] is True
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["calm", "bright"]


REFUSALS = (
    "",
    "'logprobs' is not supported with this model.",
    "Logprobs is not enabled for models/gemini-2.5-flash",
    "You are not allowed to request logprobs from this model.",
)


@pytest.mark.parametrize("refuses", REFUSALS)
def test_without_logprobs_an_answer_counts_one_or_nothing(tmp_path: Path, refuses: str) -> None:
    """A server that gives none, or refuses to be asked for them, is asked all the same; the refusal is met once."""
    answer = checklist(by_word, logprobs=False)
    with LoopbackTeacher(without_logprobs(answer, refuses) if refuses else answer) as judge:
        project_ = project(tmp_path, {"a": judge.url}, concurrency=1)

        async def both(j: Judge) -> list[Any]:
            return [await j.answers("a fox", "a calm fox"), await j.answers("a fox", "a bright fox")]

        assert asked(project_, both) == [{"calm": 1.0, "bright": 0.0}, {"calm": 0.0, "bright": 1.0}]
    assert len(judge.asked) == 2 + bool(refuses)


def test_several_judges_are_averaged_and_a_silent_one_leaves_the_row_unscored(tmp_path: Path) -> None:
    """The mean of those who answer would compare rows by different judges."""

    def half(ask: Ask) -> Reply:
        return fails(500) if "silent" in part(ask, "output") else checklist(lambda name, output: 0.5)(ask)

    with LoopbackTeacher(checklist(by_word)) as one, LoopbackTeacher(half) as other:
        project_ = project(tmp_path, {"a": one.url, "b": other.url})
        assert asked(project_, lambda j: j.answers("x", "calm")) == pytest.approx({"calm": 0.7, "bright": 0.35})
        reason = asked(project_, lambda j: j.answers("x", "silent"))
    assert isinstance(reason, Reason)
    assert reason.code == "crashed"


def test_a_row_waits_where_the_answer_cannot_be_read_and_is_counted(tmp_path: Path) -> None:
    """Not scored is neither exported nor rejected, and the judge is not asked the same again."""

    def reply(ask: Ask) -> Reply:
        odd = "odd" in part(ask, "output")
        return says("I would rather not say.") if odd else checklist(by_word)(ask)

    with LoopbackTeacher(reply) as judge:
        project_ = project(tmp_path, {"a": judge.url})
        rows = {"a fox": ["must be calm", "must be odd"], "a hen": ["must be odd, too"]}
        result = curated(project_, rows)
        again = curated(project_, rows)
        assert len(judge.asked) == 3
    assert (result.counts.accepted, result.counts.waiting, result.counts.rejected) == (1, 2, 0)
    assert result.reasons == {"unreadable": 2}
    assert result.facts["judge"]["unreadable"] == again.facts["judge"]["unreadable"] == 2
    assert again.counts == result.counts
    assert result.facts["scorer"]["by"] == "judge/checklist@2"
    assert result.accepted[0].score == pytest.approx((3 * 0.9 + 0.2) / 4)


def test_an_answer_that_never_came_is_asked_for_again(tmp_path: Path) -> None:
    """A server that was down costs nothing but time."""
    down = True

    def reply(ask: Ask) -> Reply:
        return fails(503) if down else checklist(by_word)(ask)

    with LoopbackTeacher(reply) as judge:
        project_ = project(tmp_path, {"a": judge.url})
        first = curated(project_, {"a fox": ["must be calm"]})
        down = False
        second = curated(project_, {})
    assert (first.counts.waiting, second.counts.accepted) == (1, 1)


def test_a_question_that_must_be_answered_with_yes_rejects_or_flags(tmp_path: Path) -> None:
    """`must = true` is a gate, `must = "flag"` shows the row; its reason names the question."""
    questions = [
        {"name": "calm", "question": "Is it calm?", "must": True},
        {"name": "bright", "question": "Is it bright?", "must": "flag"},
    ]
    with LoopbackTeacher(checklist(by_word)) as judge:
        project_ = project(tmp_path, {"a": judge.url}, questions, curate={"score": {"model": "none"}})
        result = curated(project_, {"a fox": ["must be loud", "must be calm", "must be calm and bright"]})
    assert result.reasons == {"judge:calm": 1}
    assert result.facts["steps"]["judge/checklist@2"]["flagged"] == 1
    assert result.facts["scorer"] is None
    assert all(row.score is None for row in result.accepted), "it does not compare unless it is the scorer"
    assert result.counts.accepted == 2


def test_judging_is_paid_from_the_budget_once(tmp_path: Path) -> None:
    """What a judge may cost is reserved before it is asked; what it answered is not bought again."""
    with LoopbackTeacher(checklist(by_word)) as judge:
        project_ = project(tmp_path, {"a": judge.url}, concurrency=1)
        asked(project_, lambda j: j.answers("x", "calm"))
        asked(project_, lambda j: j.answers("x", "calm"))
        assert len(judge.asked) == 1
        spec = project_.spec.model_copy(
            update={"budget": project_.spec.budget.model_copy(update={"max_usd": 0.000016})}
        )
        with pytest.raises(BudgetReached):
            asked(Project(project_.folder, spec), lambda j: j.answers("x", "bright"))
        assert len(judge.asked) == 1


def test_two_outputs_are_shown_in_both_orders(tmp_path: Path) -> None:
    """A judge that likes the first place prefers both; one that looks prefers one in both places."""
    with LoopbackTeacher(chooser(lambda first, second: True)) as biased:
        project_ = project(tmp_path / "biased", {"a": biased.url})
        project_.folder.mkdir()
        assert asked(project_, lambda j: j.preferences("x", "short", "longer")) == [JudgePreference(True, False)]
        assert len(biased.asked) == 2
    with LoopbackTeacher(chooser(lambda first, second: len(first) > len(second))) as fair:
        project_ = project(tmp_path / "fair", {"a": fair.url, "b": fair.url})
        project_.folder.mkdir()
        assert asked(project_, lambda j: j.preferences("x", "short", "longer")) == [JudgePreference(False, False)] * 2
    with LoopbackTeacher(lambda ask: says("neither")) as unsure:
        project_ = project(tmp_path / "unsure", {"a": unsure.url})
        project_.folder.mkdir()
        assert asked(project_, lambda j: j.preferences("x", "short", "longer")).code == "unreadable"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"calm": "yes", "bright": "no"}', {"calm": 1.0, "bright": 0.0}),
        ('```json\n{"calm": true, "bright": false}\n```', {"calm": 1.0, "bright": 0.0}),
        ("calm: Yes\nbright: NO", {"calm": 1.0, "bright": 0.0}),
        ('{"calm": "yes"}', None),
        ('{"calm": "yes", "bright": "maybe"}', None),
        ('{"calm": "yes", "bright": "none"}', None),
        ('{"calm": "yes", "calm": "no", "bright": "no"}', None),
        ('{"not_calm": "yes", "bright": "no"}', None),
        ("**calm**: Yes, it is.\n**bright**: No\n", {"calm": 1.0, "bright": 0.0}),
        ("| calm | yes |\n| bright | no |", {"calm": 1.0, "bright": 0.0}),
        ("- **calm**: **Yes**\n- **bright**: **No**", {"calm": 1.0, "bright": 0.0}),
        ("| **calm**     | **yes** |\n| **bright**   | **no**  |", {"calm": 1.0, "bright": 0.0}),
        ("calm:         yes\nbright:       no", {"calm": 1.0, "bright": 0.0}),
        ("calm:\n\n\n\n\nyes\nbright: no", None),
        ('[{"name": "calm", "answer": "yes"}, {"name": "bright", "answer": "no"}]', {"calm": 1.0, "bright": 0.0}),
        (
            '[\n {\n  "question": "calm",\n  "answer": true\n },\n {"bright": {"answer": "no"}}]',
            {"calm": 1.0, "bright": 0.0},
        ),
        ('[{"answer": "yes", "name": "calm"}, {"answer": "no", "name": "bright"}]', None),
        ("bright: yes. It is calm.\nVerdict: yes", None),
        ('Is it "calm"? Answer: no\nbright: yes\ncalm: yes', {"calm": 1.0, "bright": 1.0}),
        ('{"calm": "", "": "", "x": "yes", "bright": "no"}', None),
        ("calm: yes/no\nbright: yes/no", None),
        ("calm: yes or no\nbright: no", None),
        ("yes", None),
        ("", None),
    ],
)
def test_an_answer_is_read_whole_or_not_at_all(text: str, expected: dict[str, float] | None) -> None:
    """One missing, doubtful or contradicted answer makes another checklist of it."""
    assert read_checklist(text, None, ["calm", "bright"]) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"follows_prompt": true, "true": false, "reads_well": true}',
        "follows_prompt: true\ntrue: false\nreads_well: true",
        '{"follows_prompt": "yes", "true": "no", "reads_well": "yes"}',
        "**follows_prompt**: **yes**\n**true**:    **no**\n**reads_well**: **yes**",
        '[{"name": "follows_prompt", "answer": "true"}, {"name": "true", "answer": false},'
        ' {"name": "reads_well", "answer": "true"}]',
    ],
)
def test_a_question_called_true_is_not_the_answer_of_the_one_before(text: str) -> None:
    """`true` is a question of free tasks, and what a judge without a schema writes for yes."""
    names = ["follows_prompt", "true", "reads_well"]
    assert read_checklist(text, None, names) == {"follows_prompt": 1.0, "true": 0.0, "reads_well": 1.0}
    logprobs = {"content": [{"token": part, "logprob": -0.1} for part in re.findall(r"\w+|\W", text)]}
    assert read_checklist(text, logprobs, names) == {"follows_prompt": 1.0, "true": 0.0, "reads_well": 1.0}


@given(st.dictionaries(st.sampled_from(["calm", "bright", "calm_too"]), st.floats(0.001, 0.999), min_size=1))
def test_p_yes_is_that_of_its_own_question(p: dict[str, float]) -> None:
    """Whatever stands beside it, whichever word was said, and whatever else was likely."""
    for name, one in p.items():
        assert p_yes({"content": tokens(p)}, name) == pytest.approx(one)


ODD_TOKENS: list[Any] = [None, 1, [1], [], [{"token": None}], [{"token": "calm: yes", "logprob": "x"}]]


@pytest.mark.parametrize("logprobs", [None, {}, "no", *({"content": content} for content in ODD_TOKENS)])
def test_logprobs_of_another_shape_tell_nothing(logprobs: Any) -> None:
    """A server may send anything there."""
    assert p_yes(logprobs, "calm") is None
    assert read_checklist("calm: yes", logprobs, ["calm"]) == {"calm": 1.0}


@pytest.mark.parametrize("top", [None, 5, True, "yes", {"yes": -1.0}, ["yes"], [{"token": "yes", "logprob": "-1"}]])
def test_alternatives_of_another_shape_are_passed_over(top: Any) -> None:
    """What stands beside a token in no list of tokens neither ends the judging nor counts."""
    content = [{**token, "top_logprobs": top} for token in tokens({"calm": 0.5})]
    assert p_yes({"content": content}, "calm") in (0.0, 1.0)


def test_every_kind_of_task_has_questions_of_its_own() -> None:
    """They speak of the kind's own input and output, and the spec's take their place."""
    for kind, row in KINDS.items():
        questions = questions_of(kind, ())
        assert len({question.name for question in questions}) == len(questions) == len(DEFAULTS[kind])
        assert all(row.output in question.question for question in questions)
    own = (JudgeQuestion(name="calm", question="Is it calm?"),)
    assert questions_of("rewrite", own) == own


RECORD = (
    "from pydantic import BaseModel, Field\n\nclass Bill(BaseModel):\n    total: float = Field(description='to pay')\n"
)
BY_KIND: dict[str, tuple[dict[str, Any], str]] = {
    "classify": ({"labels": {"spam": "unasked for", "ham": ""}}, "The labels:\n- spam: unasked for\n- ham"),
    "extract": (
        {"schema": "bill.json"},
        'JSON by this schema:\n{"type": "object", "properties": {"paid"',
    ),
    "extract by a model": ({"kind": "extract", "schema": "bill:Bill"}, '"total": {"description": "to pay"'),
    "translate": ({"to": "fr"}, "The output is in French."),
    "reply": ({}, "Do it well."),
    "rewrite": ({}, "Do it well."),
    "free": ({}, "Do it well."),
}


@pytest.mark.parametrize("kind", BY_KIND)
def test_who_judges_is_told_what_the_task_binds(kind: str, tmp_path: Path) -> None:
    """Nobody can judge a label without its definition, a record without its schema, a translation without its language,
    an answer without the turns before it; judge and reward model are told the same."""
    task, expected = BY_KIND[kind]
    (tmp_path / "bill.json").write_text('{"type": "object", "properties": {"paid": {"type": "boolean"}}}')
    (tmp_path / "bill.py").write_text(RECORD)
    raw = {"kind": kind, "name": "t", "style": "Do it well.", **task}
    turns = (Message(role="user", content="Hello."), Message(role="assistant", content="What is it?"))
    row = Pair(seed_id="s", input="It.", output="x", system="", turns=turns, origin=Imported(source="t"))
    with LoopbackTeacher(checklist(by_word)) as judge:
        judged = project(tmp_path, {"a": judge.url}, task=raw)
        asked(judged, lambda j: j.score([row]))
        asked(judged, lambda j: j.preferences(row.asked, "x", "y"))
    prompts = [ask.prompt for ask in judge.asked]
    prompts.append("\n".join(turn["content"] for turn in asked_of(row, rules_of(judged))))
    assert len(prompts) == 4  # a checklist, two orders of a comparison, a reward model's chat
    for prompt in prompts:
        assert expected in prompt
        assert prompt.index("Hello.") < prompt.index("What is it?") < prompt.index("It.")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4.1-mini", {"OpenAI"}),
        ("openai/gpt-oss-120b", {"OpenAI"}),
        ("o4-mini", {"OpenAI"}),
        ("claude-sonnet-4-5", {"Anthropic"}),
        ("meta-llama/Llama-3.3-70B-Instruct", {"Meta"}),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", {"DeepSeek", "Alibaba"}),
        ("Qwen3-8B", {"Alibaba"}),
        ("google/gemma-3-4b-it", {"Google"}),
        ("phi-4", {"Microsoft"}),
        ("philosophy-writer", set()),
        ("my-own-model", set()),
        ("ollama-proxy", set()),
    ],
)
def test_a_model_is_of_the_family_that_its_name_says(model: str, expected: set[str]) -> None:
    """Of two where it says so, of none where it says nothing."""
    assert families(model) == expected


def test_a_judge_of_the_writer_s_family_is_told() -> None:
    """It prefers what its own family writes; a model of another family is not warned of."""
    raw = {"task": {"name": "t", "style": "s"}, "teachers": {"j": {"url": "http://x", "model": "gpt-4.1"}}}
    spec = Spec.model_validate(raw)
    (sentence,) = same_family_warnings(spec, ["j"], [TeacherSettings(model="gpt-5"), TeacherSettings(model="qwen3")])
    assert "gpt-4.1" in sentence
    assert "OpenAI" in sentence
    assert same_family_warnings(spec, ["j"], [TeacherSettings(model="qwen3")]) == []


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        ({"judge": {"teachers": ["nobody"]}}, "there is no"),
        ({"score": {"model": "judge"}}, "judge.teachers"),
        ({"judge": {"questions": QUESTIONS * 2}}, "two questions are called 'calm'"),
        ({"judge": {"questions": [{"name": "no", "question": "?"}]}}, "confused with its answer"),
        ({"judge": {"questions": [{"name": "Not A Name", "question": "?"}]}}, "pattern"),
    ],
)
def test_a_judge_that_cannot_be_is_refused_when_the_spec_is_read(judge: dict[str, Any], sentence: str) -> None:
    """Before anything is asked."""
    with pytest.raises((ValueError, SpecError), match=sentence):
        Spec.model_validate({"task": {"name": "t", "style": "s"}, "curate": judge})
