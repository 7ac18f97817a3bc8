"""A judge answers a checklist through the ledger: P(yes) from logprobs where they are given, and no score for an
unreadable answer."""

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

from curate.outcome import CurateResult, curate_project
from curate.scorers.checklists import DEFAULTS, p_yes, questions_of, read_checklist
from curate.scorers.judge import Judge, JudgePreference, open_judge, same_family_warnings
from curate.scorers.remote import RemoteScorers
from curate.scorers.rules import asked_of, rules_of
from schemas.errors import BudgetReached, SpecError, TeacherError
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


def ask_judge(project: Project, ask: Callable[[Judge], Any]) -> Any:
    """What `ask` returns for the project's judge."""

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
    """Curate the project, with `answers` in its store if it is empty."""

    async def work(judge: Judge) -> CurateResult:
        store = judge.ledgers[0].store
        if next(store.each_candidate(), None) is None:
            tiny.pool(store, project, answers)
        return await curate_project(project, store, fingerprints=["now"], remote_scorers=RemoteScorers(judge))

    result: CurateResult = ask_judge(project, work)
    return result


def by_word(name: str, output: str) -> float:
    """P(yes) is high if the question's name occurs in the output."""
    return 0.9 if name in output else 0.2


def test_judge_is_given_a_rows_own_system_prompt(tmp_path: Path) -> None:
    """Existing rows may have rules of their own, by which they are judged too. The project's own prompt is not repeated
    as a rule."""
    seen: list[str] = []

    def recording_judge(ask: Ask) -> Reply:
        seen.append(ask.prompt)
        return chooser(lambda first, second: True)(ask) if "first" in ask.prompt else checklist(by_word)(ask)

    with LoopbackTeacher(recording_judge) as judge:
        project_ = project(tmp_path, {"a": judge.url})
        system = project_.spec.task.system
        for own in (None, system, "Answer as a pirate."):
            ask_judge(project_, lambda j, own=own: j.answers("a fox", "a calm fox", own))
            ask_judge(project_, lambda j, own=own: j.preferences("a fox", "a calm fox", "a fox", own))
    pirates = ["Answer as a pirate." in prompt for prompt in seen]
    assert pirates == [False] * 3 + [True] * 3  # a checklist and two orders; repeated requests are not sent again


def test_p_yes_is_read_from_the_logprobs(tmp_path: Path) -> None:
    """P(yes) is read at the token of each answer, as yes against no. The request counts as a cost of the judge."""
    with LoopbackTeacher(checklist(by_word)) as judge:
        project_ = project(tmp_path, {"a": judge.url})
        answers = ask_judge(project_, lambda j: j.answers("a fox", "a calm fox"))
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
def test_without_logprobs_an_answer_counts_as_one_or_zero(tmp_path: Path, refuses: str) -> None:
    """A server that gives no logprobs, or refuses the request for them, is used all the same; after one refusal they
    are no longer requested."""
    answer = checklist(by_word, logprobs=False)
    with LoopbackTeacher(without_logprobs(answer, refuses) if refuses else answer) as judge:
        project_ = project(tmp_path, {"a": judge.url}, concurrency=1)

        async def both(j: Judge) -> list[Any]:
            return [await j.answers("a fox", "a calm fox"), await j.answers("a fox", "a bright fox")]

        assert ask_judge(project_, both) == [{"calm": 1.0, "bright": 0.0}, {"calm": 0.0, "bright": 1.0}]
    assert len(judge.asked) == 2 + bool(refuses)


def test_several_judges_are_averaged_and_a_failing_one_leaves_the_row_unscored(tmp_path: Path) -> None:
    """The mean of the judges that did answer would compare rows scored by different judges."""

    def half(ask: Ask) -> Reply:
        return fails(500) if "silent" in part(ask, "output") else checklist(lambda name, output: 0.5)(ask)

    with LoopbackTeacher(checklist(by_word)) as one, LoopbackTeacher(half) as other:
        project_ = project(tmp_path, {"a": one.url, "b": other.url})
        assert ask_judge(project_, lambda j: j.answers("x", "calm")) == pytest.approx({"calm": 0.7, "bright": 0.35})
        reason = ask_judge(project_, lambda j: j.answers("x", "silent"))
    assert isinstance(reason, Reason)
    assert reason.code == "crashed"


def test_row_with_unreadable_answer_waits_and_is_counted(tmp_path: Path) -> None:
    """An unscored row is neither exported nor rejected, and the same request is not sent again."""

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


@pytest.mark.slow
@pytest.mark.parametrize("text", ["I would rather not say.", "Both have their merits."])
def test_a_judge_that_cannot_be_read_is_not_paid_for_every_row(text: str, tmp_path: Path) -> None:
    """A model that answers none of the questions in a readable form ends the run after a few rows. Each of them used to
    be paid for, and was not scored."""

    async def both(judge: Judge) -> None:
        await asyncio.gather(*(judge.answers(f"fox {i}", f"a calm fox {i}") for i in range(200)))

    async def comparisons(judge: Judge) -> None:
        await asyncio.gather(*(judge.preferences(f"fox {i}", f"a calm fox {i}", "a fox") for i in range(200)))

    def reply(ask: Ask) -> Reply:
        return says(text, delay_s=0.05)

    for number, work in enumerate((both, comparisons)):
        (folder := tmp_path / str(number)).mkdir()
        with LoopbackTeacher(reply) as judge:
            with pytest.raises(
                TeacherError, match=f"None of the first 10 answers can be used; the last: '{text}'"
            ) as error:
                ask_judge(project(folder, {"a": judge.url}), work)
            assert "--retry-failed" not in str(error.value), "`curate` has no such option"
            assert len(judge.asked) <= 40


def test_failed_request_is_repeated_in_the_next_run(tmp_path: Path) -> None:
    """A server that was down costs only time."""
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
    """`must = true` rejects, `must = "flag"` flags the row; the reason names the question."""
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
    assert all(row.score is None for row in result.accepted), "the judge gives scores only as the scorer"
    assert result.counts.accepted == 2


def test_judging_is_paid_from_the_budget_once(tmp_path: Path) -> None:
    """The maximum cost of a request is reserved before it is sent; a stored answer is not paid for again."""
    reserved: list[float] = []

    def reply(ask: Ask) -> Reply:
        with Store.open(Store.url_for(project_), write=False) as store:
            reserved.append(store.spent().reserved)
        return checklist(by_word)(ask)

    def capped(usd: float) -> Project:
        budget = project_.spec.budget.model_copy(update={"max_usd": usd})
        return Project(project_.folder, project_.spec.model_copy(update={"budget": budget}))

    with LoopbackTeacher(reply) as judge:
        project_ = project(tmp_path, {"a": judge.url}, concurrency=1)
        ask_judge(capped(1.0), lambda j: j.answers("x", "calm"))
        ask_judge(capped(1.0), lambda j: j.answers("x", "calm"))
        assert len(judge.asked) == 1
        size, limit = len(judge.asked[0].prompt), judge.asked[0].body["max_tokens"]
        assert reserved[0] * 1e6 > size + limit, "every byte of the prompt may be a token"
        with Store.open(Store.url_for(project_)) as store:
            assert (store.spent().reserved, store.spent().usd) == (0.0, pytest.approx(0.000015))
        with pytest.raises(BudgetReached):
            ask_judge(capped(0.000016), lambda j: j.answers("x", "bright"))
        assert len(judge.asked) == 1


@pytest.mark.slow
def test_two_outputs_are_shown_in_both_orders(tmp_path: Path) -> None:
    """A judge with a position bias prefers each output once; a fair one prefers the same output in both orders. An
    answer that names neither or both is unreadable, and so is one with the adverb."""
    with LoopbackTeacher(chooser(lambda first, second: True)) as biased:
        project_ = project(tmp_path / "biased", {"a": biased.url})
        project_.folder.mkdir()
        assert ask_judge(project_, lambda j: j.preferences("x", "short", "longer")) == [JudgePreference(True, False)]
        assert len(biased.asked) == 2
    with LoopbackTeacher(chooser(lambda first, second: len(first) > len(second))) as fair:
        project_ = project(tmp_path / "fair", {"a": fair.url, "b": fair.url})
        project_.folder.mkdir()
        assert (
            ask_judge(project_, lambda j: j.preferences("x", "short", "longer")) == [JudgePreference(False, False)] * 2
        )
    both = '{"better": "first"}, or else {"better": "second"}'
    adverbs = ("First, both keep the light. The second is calmer.", "It is better first to look at the light.")
    for folder, text in enumerate(("neither", both, *adverbs)):
        with LoopbackTeacher(lambda ask, text=text: says(text)) as unsure:
            project_ = project(tmp_path / str(folder), {"a": unsure.url})
            project_.folder.mkdir()
            assert ask_judge(project_, lambda j: j.preferences("x", "short", "longer")).code == "unreadable"
    for folder, text in enumerate(("Second.", "second is better", "second\n\nIt is calmer.", "**Better:** second"), 4):
        with LoopbackTeacher(lambda ask, text=text: says(text)) as brief:
            project_ = project(tmp_path / str(folder), {"a": brief.url})
            project_.folder.mkdir()
            assert ask_judge(project_, lambda j: j.preferences("x", "a", "b")) == [JudgePreference(False, True)]


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
def test_checklist_is_used_completely_or_not_at_all(text: str, expected: dict[str, float] | None) -> None:
    """A checklist with one missing, unclear or contradictory answer is not used at all."""
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
    """`true` is a question of free tasks, and also what a judge without a schema writes for yes."""
    names = ["follows_prompt", "true", "reads_well"]
    assert read_checklist(text, None, names) == {"follows_prompt": 1.0, "true": 0.0, "reads_well": 1.0}
    logprobs = {"content": [{"token": part, "logprob": -0.1} for part in re.findall(r"\w+|\W", text)]}
    assert read_checklist(text, logprobs, names) == {"follows_prompt": 1.0, "true": 0.0, "reads_well": 1.0}


@given(st.dictionaries(st.sampled_from(["calm", "bright", "calm_too"]), st.floats(0.001, 0.999), min_size=1))
def test_p_yes_is_read_for_the_right_question(p: dict[str, float]) -> None:
    """Regardless of the neighbouring questions, of the word that was generated and of other likely tokens."""
    for name, one in p.items():
        assert p_yes({"content": tokens(p)}, name) == pytest.approx(one)


ODD_TOKENS: list[Any] = [None, 1, [1], [], [{"token": None}], [{"token": "calm: yes", "logprob": "x"}]]


@pytest.mark.parametrize("logprobs", [None, {}, "no", *({"content": content} for content in ODD_TOKENS)])
def test_malformed_logprobs_are_ignored(logprobs: Any) -> None:
    """A server may send anything in that field."""
    assert p_yes(logprobs, "calm") is None
    assert read_checklist("calm: yes", logprobs, ["calm"]) == {"calm": 1.0}


@pytest.mark.parametrize("top", [None, 5, True, "yes", {"yes": -1.0}, ["yes"], [{"token": "yes", "logprob": "-1"}]])
def test_malformed_alternatives_are_ignored(top: Any) -> None:
    """A `top_logprobs` that is not a list of tokens neither stops the judging nor counts."""
    content = [{**token, "top_logprobs": top} for token in tokens({"calm": 0.5})]
    assert p_yes({"content": content}, "calm") in (0.0, 1.0)


def test_every_kind_of_task_has_questions_of_its_own() -> None:
    """They mention the output of the kind, and questions of the spec replace them."""
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", BY_KIND)
def test_judge_is_given_the_constraints_of_the_task(kind: str, tmp_path: Path) -> None:
    """A label cannot be judged without its definition, a record without its schema, a translation without its language,
    or an answer without the turns before it. Judge and reward model get the same text."""
    task, expected = BY_KIND[kind]
    (tmp_path / "bill.json").write_text('{"type": "object", "properties": {"paid": {"type": "boolean"}}}')
    (tmp_path / "bill.py").write_text(RECORD)
    raw = {"kind": kind, "name": "t", "style": "Do it well.", **task}
    turns = (Message(role="user", content="Hello."), Message(role="assistant", content="What is it?"))
    row = Pair(seed_id="s", input="It.", output="x", system="", turns=turns, origin=Imported(source="t"))
    with LoopbackTeacher(checklist(by_word)) as judge:
        judged = project(tmp_path, {"a": judge.url}, task=raw)
        ask_judge(judged, lambda j: j.score([row]))
        ask_judge(judged, lambda j: j.preferences(row.asked, "x", "y"))
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
def test_model_family_is_read_from_the_name(model: str, expected: set[str]) -> None:
    """A name may give two families, or none."""
    assert families(model) == expected


def test_judge_of_the_writers_family_is_warned_about() -> None:
    """A judge prefers text of its own family. There is no warning for another family."""
    raw = {"task": {"name": "t", "style": "s"}, "teachers": {"j": {"url": "http://x", "model": "gpt-4.1"}}}
    spec = Spec.model_validate(raw)
    (sentence,) = same_family_warnings(spec, ["j"], [TeacherSettings(model="gpt-5"), TeacherSettings(model="qwen3")])
    assert "gpt-4.1" in sentence
    assert "OpenAI" in sentence
    assert same_family_warnings(spec, ["j"], [TeacherSettings(model="qwen3")]) == []


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"judge": {"teachers": ["nobody"]}}, "there is no"),
        ({"score": {"model": "judge"}}, "judge.teachers"),
        ({"judge": {"questions": QUESTIONS * 2}}, "two questions are called 'calm'"),
        ({"judge": {"questions": [{"name": "no", "question": "?"}]}}, "confused with its answer"),
        ({"judge": {"questions": [{"name": "Not A Name", "question": "?"}]}}, "pattern"),
    ],
)
def test_invalid_judge_settings_are_refused_when_the_spec_is_read(judge: dict[str, Any], message: str) -> None:
    """Invalid settings are refused before any request is sent."""
    with pytest.raises((ValueError, SpecError), match=message):
        Spec.model_validate({"task": {"name": "t", "style": "s"}, "curate": judge})
