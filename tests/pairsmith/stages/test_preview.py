"""Tests of `pairsmith preview`, which shows the effect of a change before it is paid for, and of `replay`, which
reproduces a row."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.pairsmith.conftest import Project
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says

PRICES = [
    part for name in ("prompt", "completion") for part in ("--set", f"teacher.usd_per_million_{name}_tokens=1000")
]


def test_a_preview_compares_with_the_last_run_and_is_reused(project: Project, teacher: LoopbackTeacher) -> None:
    """Five seeds are asked, old and new outputs are shown side by side, the rest is counted and priced, and the next
    run requests only the rest."""
    project.json("generate", *PRICES)
    asked = len(teacher.asked)
    spec = project.folder / "pairsmith.toml"
    spec.write_text(spec.read_text().replace("Rewrite the prompt richly", "Rewrite the prompt very richly"))
    shown = project.json("preview", *PRICES)
    facts = shown["facts"]
    assert len(teacher.asked) == asked + 5 == asked + shown["calls_sent"]
    assert len(facts["rows"]) == 5
    assert all(len(row["old"]) == len(row["new"]) == 2 for row in facts["rows"])
    assert not facts["same_prompt"]
    assert (facts["left_seeds"], facts["left_candidates"]) == (7, 14)
    assert 0 < facts["left_usd"]["low"] <= facts["left_usd"]["high"]
    assert shown["usd"] > 0
    assert project.json("preview", *PRICES)["calls_sent"] == 0
    project.json("generate", *PRICES)
    assert len(teacher.asked) == asked + 12
    after = project.json("preview")["facts"]
    assert (after["same_prompt"], after["left_candidates"]) == (True, 0)


def test_a_preview_works_before_the_first_run(project: Project, teacher: LoopbackTeacher) -> None:
    """There are no old outputs and no lines for them; without a price the cost of the rest is unknown, not zero."""
    shown = project.run("preview", "--seeds", "2")
    assert shown.returncode == 0, shown.stderr
    words = " ".join(shown.stdout.split())
    assert words.count(" now ") >= 2
    assert "last run" not in words
    assert "20 candidates of 10 seeds, cost unknown" in words
    assert len(teacher.asked) == 2


def test_a_preview_without_a_usable_answer_says_why(make_project: Callable[..., Project]) -> None:
    """If all answers are cut off, for example, the error names the reason and what to change."""
    with LoopbackTeacher(lambda ask: says(*["A dog on"] * ask.n, finish="length")) as teacher:
        shown = make_project(teacher.url).run("preview", "--seeds", "2")
    assert shown.returncode != 0
    assert "raise sampling.max_tokens" in " ".join(shown.stderr.split())


def test_a_preview_shows_which_answers_a_gate_rejects(project: Project) -> None:
    """Five answers that every run would reject used to look as good as any, until all were paid for."""
    good = project.json("preview", "--seeds", "1")["facts"]["rows"][0]
    assert good["rejected"] == [None, None]
    must = ["--set", "curate.gates.must=[{name='ar_flag', pattern='--never'}]"]
    row = project.json("preview", "--seeds", "1", *must)["facts"]["rows"][0]
    assert [why["code"] for why in row["rejected"]] == ["missing:ar_flag"] * 2
    shown = " ".join(project.run("preview", "--seeds", "1", *must).stdout.split())
    assert "✗ rejected: missing:ar_flag: nothing matches" in shown


def test_a_row_is_replayed_offline_exactly(teacher: LoopbackTeacher, make_project: Callable[..., Project]) -> None:
    """Request, answer and pair are identical; nothing is sent, and the teacher may be gone."""
    project = make_project(teacher.url)
    project.json("generate")
    asked = len(teacher.asked)
    ids = [row[0] for row in project.rows("SELECT id FROM pairs ORDER BY id")][:4]
    for pair_id in ids:
        answer = project.json("replay", pair_id[:16], "--set", "teacher.url=http://127.0.0.1:9")
        assert (answer["identical"], answer["differs"], answer["pair_id"]) == (True, [], pair_id)
    assert len(teacher.asked) == asked


def streamed(ask: Ask) -> Reply:
    """A server that only streams and only accepts the limit as `max_completion_tokens`."""
    if "max_tokens" in ask.body:
        return fails(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    if not ask.body.get("stream"):
        return fails(400, "This model only supports streaming.")
    pieces = [{"index": i, "delta": {"content": f"{ask.number} END"}, "finish_reason": "stop"} for i in range(ask.n)]
    return Reply(body=b"data: " + json.dumps({"choices": pieces}).encode() + b"\n\ndata: [DONE]\n\n")


def schemaless(ask: Ask) -> Reply:
    """A server that does not accept a response schema."""
    refused = fails(400, "Unrecognized request argument supplied: response_format")
    return refused if "response_format" in ask.body else says(*['{"total": 3}'] * ask.n)


def systemless(ask: Ask) -> Reply:
    """A model whose chat template has no system role."""
    refused = fails(400, "System role not supported")
    return refused if ask.body["messages"][0]["role"] == "system" else says(*['{"total": 3}'] * ask.n)


@pytest.mark.parametrize("reply", [streamed, schemaless, systemless, lambda ask: says(*['{"total": 3}'] * ask.n)])
def test_a_row_is_replayed_whatever_its_server_accepted(
    reply: Callable[[Ask], Reply], make_project: Callable[..., Project]
) -> None:
    """Adaptations to a server are not differences: streaming, no schema, another name of the limit, the system text in
    the user's turn, or a schema that is not strict because its objects are open."""
    with LoopbackTeacher(reply) as teacher:
        project = make_project(teacher.url)
        if reply is not streamed:
            spec = project.folder / "pairsmith.toml"
            spec.write_text(spec.read_text().replace("[task]", '[task]\nkind = "extract"\nschema = "bill.json"'))
            schema = {"type": "object", "properties": {"total": {"type": "integer"}, "of": {"type": "string"}}}
            (project.folder / "bill.json").write_text(json.dumps(schema))
        project.json("generate")
        ((pair_id,),) = project.rows("SELECT id FROM pairs ORDER BY id LIMIT 1")
        answer = project.json("replay", pair_id)
        assert (answer["identical"], answer["differs"]) == (True, [])


def test_a_replay_names_the_differences(project: Project) -> None:
    """Another style gives another request, which is named, with exit code 13; so is a stored answer that was
    changed."""
    project.json("generate")
    ((pair_id, body),) = project.rows("SELECT id, body FROM pairs ORDER BY id LIMIT 1")
    done = project.run("replay", pair_id, "--json", "--set", "task.style=Be brief.")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["identical"]) == (13, False)
    assert any(why.startswith("request: messages") for why in answer["differs"])
    other = json.loads(project.run("replay", pair_id, "--json", "--set", "teacher.model=other").stdout)
    assert [why.partition(":")[0] for why in other["differs"]] == ["teacher"], "the pair is as it was"
    key = json.loads(body)["calls"][0][0]
    project.rows(f"UPDATE calls SET body = replace(body, ' END', ' FIN') WHERE key = '{key}'")
    done = project.run("replay", pair_id, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 13
    assert "pair: output" in answer["differs"]
    unknown = project.run("replay", "ffffffffffff")
    assert (unknown.returncode, "no pair" in unknown.stderr) == (2, True)


def test_a_replay_names_rules_that_now_end_the_answer_earlier(project: Project) -> None:
    """Answers of older versions contain what a server wrote after a stop text. Their pairs stay as they are."""
    stop = ("--set", 'generate.forward.sampling.stop=["###"]')
    project.json("generate", *stop)
    project.rows("UPDATE calls SET body = replace(body, ' END', ' END ### Q: a cat')")
    ((pair_id,),) = project.rows("SELECT id FROM pairs ORDER BY id LIMIT 1")
    differs = json.loads(project.run("replay", pair_id, "--json", *stop).stdout)["differs"]
    assert any(why.startswith("answer: the rules") for why in differs)
    project.json("generate", *stop)
    assert (pair_id,) in project.rows("SELECT id FROM pairs")


def test_a_long_seed_is_shown_by_its_beginning(teacher: LoopbackTeacher, make_project: Callable[..., Project]) -> None:
    """A preview of five news articles was six hundred lines of articles; the JSON contains them whole."""
    project = make_project(teacher.url)
    article = "The harbour of Trabzon was closed in the night. " * 100
    (project.folder / "seeds.jsonl").write_text(json.dumps({"text": article}))
    shown = project.run("preview", "--seeds", "1", *PRICES)
    assert "… (900 words)" in shown.stdout
    assert shown.stdout.count("Trabzon") < 210  # the teacher repeats it in two samples
    assert project.json("preview")["facts"]["rows"][0]["seed"] == article.strip()


def test_one_previewed_seed_is_too_few_for_a_cost(project: Project) -> None:
    """With prices in the spec the cost is not called unknown: the screen says to preview more seeds."""
    shown = project.run("preview", "--seeds", "1", *PRICES)
    assert "11 seeds, preview more seeds to estimate the cost: --seeds 5" in " ".join(shown.stdout.split())
