"""Tests of the release-notes example: its test set is separate from all training data, and its own gates do what they
claim."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curate.gates import gates_for, judge, judge_text
from curate.gates.words import content_words, stemmer_for
from schemas.records import Generated, Pair, Sampling
from schemas.spec_file import load
from train.evaluation.checks import checks_for

FOLDER = Path(__file__).parents[2] / "examples" / "release-notes"
PROJECT = load(FOLDER)
SPEC = PROJECT.spec
GATES = gates_for(SPEC.task, SPEC.curate.gates, FOLDER)
LABELS = {"Fixed": "fix", "New": "add", "Improved": "improve", "Removed": "remove"}

# Fixed before the measured model was trained; after a change of the test set the model must be measured again.
TEST_SET = "a878f5912b3fb8211b31011e6009d19c37d3eb83ab9a54600c634a3dc2ee4f12"

# Words about the change, not its subject: labels, closings, prefixes, and verbs that all commits share.
CHANGES = """
fixed new improved removed sorry for the trouble try it today enjoy the difference write to us if you miss it
fix feat bugfix perf chore refactor hotfix resolve prevent correct avoid handle repair add allow support introduce
enable implement create offer improve speed up reduce make better faster smoother fast smooth simplify optimise
drop remove delete retire get rid disable
"""


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def topic(text: str) -> set[str]:
    """The stems of the words that a line is about."""
    stem = stemmer_for("en")
    return {stem(word) for word in content_words(text)} - {stem(word) for word in content_words(CHANGES)}


def test_the_test_set_is_unchanged() -> None:
    """64 inputs, 16 per label, in a file unchanged since before the measured model was trained."""
    assert hashlib.sha256((FOLDER / "test.jsonl").read_bytes()).hexdigest() == TEST_SET
    tested = rows("test.jsonl")
    assert len({row["text"] for row in tested}) == 64
    assert Counter(row["label"] for row in tested) == dict.fromkeys(LABELS, 16)
    for row in tested:
        assert all(any(name[:4].lower() in word for word in [row["text"].lower()]) for name in row["names"]), row


def test_no_test_input_shares_its_topic_with_anything_trained_on() -> None:
    """Measured by shared content stems, which also detects an output that reveals a held-out input: no note, training
    input, exemplar or validation input shares two of a test input's stems, or more than half of them."""
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
    """The gates accept everything that was written by hand."""
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
    """Numbers and content in both directions, the label that the verb requires, and the closing of that label."""
    assert rejected("fix alarm rings at night #7", GOOD) == {}
    assert rejected("feat(list): sort by colour #4", "New: sorting by colour. Try it today. (#4)") == {}
    assert f"gate/{gate}@1" in rejected(simple, enhanced)


def test_a_generated_commit_line_needs_a_known_verb() -> None:
    """An unknown verb is accepted in a line written by a person and rejected in a generated one."""
    line = "alarm rings at night #7"
    assert rejected(line, GOOD) == {}
    origin = Generated(generator="backward", prompt="commit/v1@0", teacher="t", sampling=Sampling(), calls=())
    edited = Pair(seed_id="s", input=line, output=GOOD, system="", origin=origin)
    reasons = [verdict.reason for verdict in judge(edited, GATES) if verdict.keep is not True]
    assert [reason.code for reason in reasons] == ["no_verb"]


def test_the_evaluation_checks_label_and_names() -> None:
    """A test input's recorded label and names are checks of the evaluation; an input without them is not scored."""
    checks = checks_for(SPEC, FOLDER)
    assert checks.names[-2:] == ("check:right_label", "check:names_the_thing")
    line = "delete the penguin mascot (#97)"
    right = checks(line, "Removed: the penguin mascot. Write to us if you miss it. (#97)")
    assert right.all_pass is True
    assert checks(line, "New: the penguin mascot. Try it today. (#97)").passed["check:right_label"] is False
    assert checks("fix a thing nobody knows #1", GOOD).passed["check:right_label"] is None


def test_every_validation_input_can_be_judged() -> None:
    """Seeds and pairs, from which validation inputs are drawn, have a gold label and names, and the note that a person
    wrote for a pair passes both checks."""
    checks = checks_for(SPEC, FOLDER)
    own = ("check:right_label", "check:names_the_thing")
    for row in rows("seeds.jsonl"):
        assert None not in {checks(row["text"], GOOD).passed[name] for name in own}, row
        assert all(name.lower() in row["text"].lower() for name in row["names"]), row
    for row in rows("pairs.jsonl"):
        passed = checks(row["input"], row["output"]).passed
        assert {name: passed[name] for name in own} == dict.fromkeys(own, True), row
