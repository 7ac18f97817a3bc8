"""The release-notes example: its test set is apart from all that is trained on, and its own gates do what they say."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curate.gates import gates_for, judge, judge_text
from curate.gates.words import content_words, stem
from schemas.records import Generated, Pair, Sampling
from schemas.spec_file import load
from train.checks import checks_for

FOLDER = Path(__file__).parents[2] / "examples" / "release-notes"
PROJECT = load(FOLDER)
SPEC = PROJECT.spec
GATES = gates_for(SPEC.task, SPEC.curate.gates, FOLDER)
LABELS = {"Fixed": "fix", "New": "add", "Improved": "improve", "Removed": "remove"}

# Written before the model that it measures was trained; whoever changes the set has to measure anew.
TEST_SET = "a878f5912b3fb8211b31011e6009d19c37d3eb83ab9a54600c634a3dc2ee4f12"

# What is done to a thing, not the thing: labels, closings, prefixes, and verbs that every commit shares.
CHANGES = """
fixed new improved removed sorry for the trouble try it today enjoy the difference write to us if you miss it
fix feat bugfix perf chore refactor hotfix resolve prevent correct avoid handle repair add allow support introduce
enable implement create offer improve speed up reduce make better faster smoother fast smooth simplify optimise
drop remove delete retire get rid disable
"""


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def topic(text: str) -> set[str]:
    """The stems of the words that say what a line is about."""
    return {stem(word) for word in content_words(text)} - {stem(word) for word in content_words(CHANGES)}


def test_the_test_set_is_the_one_that_was_locked() -> None:
    """64 inputs of a file that has not changed since before the measured model was trained; 16 of each label."""
    assert hashlib.sha256((FOLDER / "test.jsonl").read_bytes()).hexdigest() == TEST_SET
    tested = rows("test.jsonl")
    assert len({row["text"] for row in tested}) == 64
    assert Counter(row["label"] for row in tested) == dict.fromkeys(LABELS, 16)
    for row in tested:
        assert all(any(name[:4].lower() in word for word in [row["text"].lower()]) for name in row["names"]), row


def test_no_test_input_shares_its_topic_with_anything_trained_on() -> None:
    """By containment of content stems, which sees an output that gives away a held-out input: no note, training input,
    exemplar or validation input shares two of a test input's stems, or more than half of them."""
    trained = [row["text"] for name in ("excellent.jsonl", "seeds.jsonl", "validation.jsonl") for row in rows(name)]
    trained += [side for row in rows("pairs.jsonl") for side in (row["input"], row["output"])]
    trained += [side for shown in SPEC.exemplars for side in (shown.simple, shown.enhanced)]
    about = [(text, topic(text)) for text in trained]
    for row in rows("test.jsonl"):
        asked = topic(row["text"])
        assert asked, row
        for text, known in about:
            shared = asked & known
            assert len(shared) < 2, (row["text"], text)
            assert len(shared) <= len(asked) / 2, (row["text"], text)


def rejected(simple: str, enhanced: str) -> dict[str, str]:
    return {
        by: judgement.reason
        for by, judgement in judge_text(simple, enhanced, GATES).items()
        if judgement.keep is not True
    }


def test_every_hand_written_note_and_exemplar_passes_every_gate() -> None:
    """What people wrote is what the gates let through."""
    for shown in SPEC.exemplars:
        assert rejected(shown.simple, shown.enhanced) == {}
    for row in rows("excellent.jsonl"):
        label, _, rest = row["text"].partition(": ")
        number = re.findall(r"#\d+", rest)[-1]
        assert rejected(f"{LABELS[label]} {rest.split('. ')[0]} {number}", row["text"]) == {}, row
    for row in rows("pairs.jsonl"):
        assert rejected(row["input"], row["output"]) == {}, row


GOOD = "Fixed: an alarm that rings at night. Sorry for the trouble. (#7)"


@pytest.mark.parametrize(
    ("simple", "enhanced", "gate"),
    [
        ("fix alarm rings at night #8", GOOD, "user:gates:numbers"),
        ("add alarm that rings at night #7", GOOD, "user:gates:label"),
        ("feat!: drop alarm that rings at night #7", GOOD, "user:gates:label"),
        ("fix kettle that boils over #7", GOOD, "user:gates:content"),
        ("fix alarm at night, in the garden, near ponds, under trees #7", GOOD, "user:gates:content"),
        ("fix alarm rings at night #7", GOOD.replace("Sorry for the trouble", "Try it today"), "must:form"),
        ("fix alarm rings at night #7", GOOD.replace("an alarm that", "fix alarm that"), "must_not:verb_first"),
    ],
)
def test_a_defect_on_either_side_is_rejected_by_its_gate(simple: str, enhanced: str, gate: str) -> None:
    """Numbers both ways, content both ways, the label that the verb asks for, the closing of that label."""
    assert rejected("fix alarm rings at night #7", GOOD) == {}
    assert rejected("feat(list): sort by colour #4", "New: sorting by colour. Try it today. (#4)") == {}
    assert f"gate/{gate}@1" in rejected(simple, enhanced)


def test_a_commit_line_that_a_model_wrote_must_say_what_was_done() -> None:
    """An unknown verb is nobody's fault in a person's line and a defect in a generated one."""
    line = "alarm rings at night #7"
    assert rejected(line, GOOD) == {}
    origin = Generated(generator="backward", prompt="commit/v1@0", teacher="t", sampling=Sampling(), calls=())
    edited = Pair(seed_id="s", input=line, output=GOOD, system="", origin=origin)
    reasons = [verdict.reason for verdict in judge(edited, GATES) if verdict.keep is not True]
    assert [reason.code for reason in reasons] == ["no_verb"]


def test_the_evaluation_judges_by_what_a_person_wrote_down() -> None:
    """Label and names of a test input are checks of the evaluation; an input without them is not scored."""
    checks = checks_for(SPEC, FOLDER)
    assert checks.names[-2:] == ("check:right_label", "check:names_the_thing")
    line = "delete the penguin mascot (#97)"
    right = checks(line, "Removed: the penguin mascot. Write to us if you miss it. (#97)")
    assert right.all_pass is True
    assert checks(line, "New: the penguin mascot. Try it today. (#97)").passed["check:right_label"] is False
    assert checks("fix a thing nobody knows #1", GOOD).passed["check:right_label"] is None
