"""`pairsmith preview` and `pairsmith replay`: see before you pay, and prove afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.pairsmith.conftest import Project
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says

PRICES = [
    part for name in ("prompt", "completion") for part in ("--set", f"teacher.usd_per_million_{name}_tokens=1000")
]


def test_an_edited_style_is_seen_beside_the_last_run_and_bought_once(
    project: Project, teacher: LoopbackTeacher
) -> None:
    """Five seeds are asked, old and new stand side by side, what is left is counted and priced, and the run that
    follows buys the others only."""
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
    """There is nothing old to show, nor a column for it, and no price: the cost of the rest is unknown, never
    nothing."""
    shown = project.run("preview", "--seeds", "2")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split()[:2] == ["seed", "now"]
    assert "20 candidates of 10 seeds, cost unknown" in " ".join(shown.stdout.split())
    assert len(teacher.asked) == 2


def test_a_preview_says_which_answers_a_gate_would_keep_out(project: Project) -> None:
    """Five answers that no run would keep looked as good as any, and all of them were paid for before anybody knew."""
    good = project.json("preview", "--seeds", "1")["facts"]["rows"][0]
    assert good["rejected"] == [None, None]
    must = ["--set", "curate.gates.must=[{name='ar_flag', pattern='--never'}]"]
    row = project.json("preview", "--seeds", "1", *must)["facts"]["rows"][0]
    assert [why["code"] for why in row["rejected"]] == ["missing:ar_flag"] * 2
    shown = " ".join(project.run("preview", "--seeds", "1", *must).stdout.split())
    assert "✗ rejected: missing:ar_flag: nothing matches" in shown


def test_a_row_is_replayed_offline_byte_by_byte(teacher: LoopbackTeacher, make_project: Callable[..., Project]) -> None:
    """Request, answer and pair are the same; nobody is asked, and the teacher may be gone."""
    project = make_project(teacher.url)
    project.json("generate")
    asked = len(teacher.asked)
    ids = [row[0] for row in project.rows("SELECT id FROM pairs ORDER BY id")][:4]
    for pair_id in ids:
        answer = project.json("replay", pair_id[:16], "--set", "teacher.url=http://127.0.0.1:9")
        assert (answer["identical"], answer["differs"], answer["pair_id"]) == (True, [], pair_id)
    assert len(teacher.asked) == asked


def streamed(ask: Ask) -> Reply:
    """A server that only streams, and takes the limit under its other name alone."""
    if "max_tokens" in ask.body:
        return fails(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    if not ask.body.get("stream"):
        return fails(400, "This model only supports streaming.")
    pieces = [{"index": i, "delta": {"content": f"{ask.number} END"}, "finish_reason": "stop"} for i in range(ask.n)]
    return Reply(body=b"data: " + json.dumps({"choices": pieces}).encode() + b"\n\ndata: [DONE]\n\n")


def schemaless(ask: Ask) -> Reply:
    """A server that takes no schema."""
    refused = fails(400, "Unrecognized request argument supplied: response_format")
    return refused if "response_format" in ask.body else says(*['{"total": 3}'] * ask.n)


def systemless(ask: Ask) -> Reply:
    """A model whose template has no system role."""
    refused = fails(400, "System role not supported")
    return refused if ask.body["messages"][0]["role"] == "system" else says(*['{"total": 3}'] * ask.n)


@pytest.mark.parametrize("reply", [streamed, schemaless, systemless, lambda ask: says(*['{"total": 3}'] * ask.n)])
def test_a_row_is_replayed_whatever_its_server_took(
    reply: Callable[[Ask], Reply], make_project: Callable[..., Project]
) -> None:
    """What a server makes of a request is no change of it: streamed, without a schema that it refuses, the limit under
    another name, the system text in the user's turn, or a schema that is not strict because its objects are open."""
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


def test_a_replay_names_what_has_changed(project: Project) -> None:
    """Another style renders another request: said, with exit code 13. So is a stored answer that was tampered with."""
    project.json("generate")
    ((pair_id, body),) = project.rows("SELECT id, body FROM pairs ORDER BY id LIMIT 1")
    done = project.run("replay", pair_id, "--json", "--set", "task.style=Be brief.")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["identical"]) == (13, False)
    assert any(why.startswith("request: messages") for why in answer["differs"])
    key = json.loads(body)["calls"][0][0]
    project.rows(f"UPDATE calls SET body = replace(body, ' END', ' FIN') WHERE key = '{key}'")
    done = project.run("replay", pair_id, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 13
    assert "pair: output" in answer["differs"]
    unknown = project.run("replay", "ffffffffffff")
    assert (unknown.returncode, "no pair" in unknown.stderr) == (2, True)


def test_a_long_seed_is_shown_by_its_beginning(teacher: LoopbackTeacher, make_project: Callable[..., Project]) -> None:
    """A preview of five agency texts was six hundred lines of the texts; the JSON holds them whole."""
    project = make_project(teacher.url)
    article = "The harbour of Trabzon was closed in the night. " * 100
    (project.folder / "seeds.jsonl").write_text(json.dumps({"text": article}))
    shown = project.run("preview", "--seeds", "1", *PRICES)
    assert "… (900 words)" in shown.stdout
    assert shown.stdout.count("Trabzon") < 210  # the teacher says it again in two samples
    assert project.json("preview")["facts"]["rows"][0]["seed"] == article.strip()


def test_one_seed_tells_no_cost_and_no_best_case_is_free(project: Project) -> None:
    """With prices in the spec a cost is not unknown, and what may take nothing at best is not told to be free."""
    shown = project.run("preview", "--seeds", "1", *PRICES)
    assert "11 seeds, preview more seeds to estimate the cost: --seeds 5" in " ".join(shown.stdout.split())
