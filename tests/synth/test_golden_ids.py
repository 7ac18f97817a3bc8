"""Existing ids never change: ids, call keys and fingerprints of earlier versions, written down as hex."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from prompts import load
from schemas.records import Generated, Json, Message, Pair, Sampling, Seed
from schemas.spec import BackwardSettings, ForwardSettings, TeacherSettings
from schemas.store import Store
from synth.endpoints.endpoint import Endpoint
from synth.generators import fingerprint
from synth.ledger import Ledger, Question
from tests.synth.loopback import LoopbackTeacher, says
from tests.synth.rig import EXEMPLARS, TASK, prompts_in

CHAT = (Message(role="system", content="Write."), Message(role="user", content="a dog"))


def test_seeds_and_pairs_keep_their_ids() -> None:
    """Reviews, splits and exported rows refer to them."""
    input = Seed(kind="input", text="a dog", source="x:1")
    assert input.id == "bea49c812d393244a0e0a1be9034f566"
    output = Seed(kind="output", text="a dog on a hill", source="x:1", license="CC0-1.0")
    assert output.id == "68bb7e0aad82373e6c4d1a61ee676afe"
    origin = Generated(
        generator="forward",
        prompt="enhance/v1@d1754fc5",
        teacher="m",
        sampling=Sampling(temperature=0.9),
        calls=(("ab", 1),),
    )
    pair = Pair(
        seed_id=input.id,
        input="a dog",
        output="a dog on a hill",
        system="Rewrite.",
        origin=origin,
        meta={"level": "x"},
    )
    assert pair.id == "9c5bd0aa80deb0dbe9ee114059578aec"


@pytest.mark.parametrize(
    ("teacher", "sampling", "schema", "sample", "key"),
    [
        ({"model": "m"}, {"max_tokens": 64, "extra": {"min_p": 0}}, None, 1, "2438669e9312ebb0cbaaeaaf09e4f87b"),
        ({"model": "m"}, {"extra": {"min_p": 0.0}}, {"type": "string"}, 0, "2f25b244cfd9bbcd503f5e42ddbdbb04"),
        (
            {"model": "m", "revision": "r1"},
            {"max_tokens": 64, "extra": {"min_p": 0}},
            None,
            1,
            "58e787c7d271a5f7604e3c8982bdca53",
        ),
        ({}, {"extra": {"min_p": 0.0}}, {"type": "string"}, 0, "484150b5f91f5e04a5100ee0df441cd2"),
    ],
)
def test_calls_keep_their_keys(
    teacher: dict[str, Any], sampling: dict[str, Any], schema: Json | None, sample: int, key: str, tmp_path: Path
) -> None:
    """A changed key would buy every answer again."""

    async def asked(url: str) -> str:
        spec = TeacherSettings(url=url, **teacher)
        with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
            async with Endpoint(url, spec.model) as endpoint:
                ledger = Ledger(store, endpoint, spec)
                drawn = Sampling(temperature=0.7, **sampling)
                return (await ledger.answer(Question(CHAT, drawn, schema), sample + 1))[sample].key

    with LoopbackTeacher(lambda ask: says(*['"a hound"'] * ask.n)) as server:
        assert asyncio.run(asked(server.url)) == key


@pytest.mark.parametrize(
    ("teacher", "forward", "backward"),
    [
        ({"model": "m"}, "dd5a8b24feb1be82c5e1464483e602c7", "1bc527ba5c4f2c4c291aaf9f1484813f"),
        ({"model": "m", "revision": "r1"}, "6522d4568c03bf40ce8e9dfe7624f02d", "01134c73bca6e7a743205af91b3cdd8c"),
        ({}, "476858b2ff01784749dd0edbfa7c0b3c", "123fa42cf34f0c747a829f7fa44037d3"),
    ],
)
def test_fingerprints_never_change(teacher: dict[str, Any], forward: str, backward: str, tmp_path: Path) -> None:
    """A changed fingerprint would make every pair of a project history."""
    spec = TeacherSettings(**teacher)
    prompts_in(tmp_path)
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:
        ledger = Ledger(store, Endpoint("http://h", spec.model), spec)
        of_forward = fingerprint(
            "forward", TASK, EXEMPLARS, ForwardSettings(), load("enhance", tmp_path), ledger.teacher
        )
        of_backward = fingerprint("backward", TASK, (), BackwardSettings(), load("simplify", tmp_path), ledger.teacher)
    assert (of_forward, of_backward) == (forward, backward)
