"""Choosing among good rows: quotas, diversity, and a random arm for comparison."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.curation import curate
from curate.export.dataset import export_dataset
from curate.export.files import RANDOM_ARM
from curate.outcome import curate_project
from curate.pool import Pool
from curate.selection.spread import at_random, by_quota, farness, length_group, spread_out, vectors_of
from curate.steps import certified_only, choose_rows
from schemas.errors import SpecError
from schemas.project import Project
from schemas.records import Imported, Message, Pair, Seed
from schemas.reviews import Review
from schemas.store import Store
from tests.curate import tiny

WORDS = tiny.WORDS


def texts(clusters: int, each: int) -> list[str]:
    """Many texts in one cluster and a few in each of the others."""
    return [
        " ".join([*WORDS[6 * cluster : 6 * cluster + 6], WORDS[(cluster + 7 * n) % 60]])
        for cluster in range(clusters)
        for n in range(each if cluster == 0 else 2)
    ]


def pool_of(outputs: list[str], reviews: Any = ()) -> tuple[Pool, list[Seed]]:
    seeds = [
        Seed(kind="input", text=f"input {n}", source="x:1", columns={"a column": str(n % 3)})
        for n in range(len(outputs))
    ]
    pairs = [tiny.made_pair(seed, output, 0) for seed, output in zip(seeds, outputs, strict=True)]
    return Pool.of(pairs, [Review(pair_id=pairs[n].id, reviewer="a", decision=d) for n, d in reviews]), seeds


@given(st.lists(st.sampled_from("aaaaabbc"), max_size=40), st.integers(0, 45))
def test_quotas_are_as_even_as_the_groups_allow(groups: list[str], requested: int) -> None:
    """As many rows as requested, none twice. Counts of two groups differ by more than one only if the smaller group has
    no more rows."""
    ids = [f"{n}{group}" for n, group in enumerate(groups)]
    chosen = by_quota(ids, lambda id_: id_[-1], requested)
    assert len(chosen) == len(set(chosen)) == min(requested, len(ids))
    for a in set(groups):
        for b in set(groups):
            count_a, count_b = (sum(id_.endswith(g) for id_ in chosen) for g in (a, b))
            assert count_a >= count_b - 1 or count_a == groups.count(a)


def test_quotas_include_accepted_rows() -> None:
    """Accepted rows are always chosen and count towards their group: the whole choice is even, not only the added
    rows."""
    accepted, others = ["1a", "2a", "3a"], ["4a", "5a", "6b", "7b", "8b", "9b", "0c"]
    chosen = by_quota(others, lambda id_: id_[-1], 4, accepted)
    assert sorted(chosen) == ["0c", "6b", "7b", "8b"]
    assert by_quota(others, lambda id_: id_[-1], 4) == ["4a", "6b", "0c", "5a"]


def test_diverse_rows_represent_the_pool_better_than_random_ones() -> None:
    """With one large and many small clusters, each cluster is chosen from once before any twice."""
    every = texts(9, 60)
    vectors = vectors_of(every, len(every))
    chosen = spread_out(vectors, 9)
    assert len({every[place].split()[0] for place in chosen}) == 9
    random = [int(id_) for id_ in at_random(map(str, range(len(every))), "x")[:9]]
    assert farness(vectors, chosen) < farness(vectors, random)
    assert farness(vectors, range(len(every))) == pytest.approx(0, abs=1e-6)
    assert spread_out(vectors, 3, [5, 6])[:2] == [5, 6]
    assert len(set(spread_out(np.ones((4, 2)) / np.sqrt(2), 4))) == 4, "equal rows are chosen once each"
    assert sorted(spread_out(vectors_of(["a fox"] * 3 + ["", "..."], 5), 5, [0, 3])) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("spread", ["diverse", "random", "length", "kind", "a column"])
def test_selection_keeps_the_requested_number_and_accepted_rows_first(spread: str) -> None:
    """Every row is accounted for, rows accepted by reviewers are kept, and no row of another split is dropped."""
    pool, seeds = pool_of(texts(9, 30), [(3, "accept"), (4, "accept")])
    splits = {seed.id: "test" if n > 40 else "train" for n, seed in enumerate(seeds)}
    judged = asyncio.run(curate(pool, [choose_rows(10, spread, seeds, splits.__getitem__)]))  # type: ignore[arg-type]
    assert judged.counts.adds_up
    kept = [row for row in judged.accepted() if row.pair]
    assert sum(splits[row.candidate.seed_id] == "train" for row in kept) == 10
    assert sum(splits[row.candidate.seed_id] == "test" for row in kept) == len(seeds) - 41
    assert {seeds[3].id, seeds[4].id} <= {row.candidate.seed_id for row in kept}
    assert judged.reasons == {"not_chosen": 41 - 10}
    again = asyncio.run(curate(pool, [choose_rows(10, spread, seeds, splits.__getitem__)]))  # type: ignore[arg-type]
    assert [row.pair.id for row in again.accepted() if row.pair] == [row.pair.id for row in kept if row.pair]


def test_uncertified_rows_wait() -> None:
    """They are not rejected: a reviewer may accept them."""
    pool, _ = pool_of(texts(2, 4), [(0, "accept"), (1, "reject")])
    ids = [row.pair.id for row in pool.rows() if row.pair]
    judged = asyncio.run(curate(pool, [certified_only({ids[2]}, "c")]))
    assert {row.pair.id for row in judged.accepted() if row.pair} == {ids[0], ids[2]}
    assert judged.reasons == {"uncertified": len(ids) - 3, "review": 1}
    assert judged.counts.waiting == len(ids) - 3


@pytest.mark.slow
def test_random_arm_of_equal_size_is_written_next_to_the_dataset(tmp_path: Path) -> None:
    """As many rows as were chosen, drawn from the same pool; the manifest compares the two. There is none if nothing
    was left out."""
    answers = {f"input {n}": [f"must {text}"] for n, text in enumerate(texts(9, 30))}
    for rows, expected in ((10, True), (500, False)):
        spec = tiny.spec(select={"rows": rows}, duplicates={"enabled": False})
        project = Project(tmp_path, spec)
        with Store.open(Store.url_for(project)) as store:
            fingerprint = tiny.pool(store, project, answers)
            result = asyncio.run(curate_project(project, store, fingerprints=[fingerprint]))
            export_dataset(project, store, result, tmp_path / "dataset")
        manifest = json.loads((tmp_path / "dataset" / "manifest.json").read_text("utf-8"))
        assert (tmp_path / "dataset" / RANDOM_ARM).exists() is expected
        assert (manifest["selection"] is not None) is expected
        if expected:
            arm = [json.loads(line) for line in (tmp_path / "dataset" / RANDOM_ARM).read_text("utf-8").splitlines()]
            assert len(arm) == sum(row.split == "train" for row in result.accepted) == 10
            assert manifest["selection"]["farness"]["chosen"] <= manifest["selection"]["farness"]["random"]


def test_a_column_that_no_seed_has_is_refused() -> None:
    """An even spread over a missing column would be a random choice under another name."""
    seeds = [Seed(kind="input", text="a fox", source="s", columns={"topic": "animals"})]
    with pytest.raises(SpecError, match=r"no seed has a column 'topics'.*kind, or a column of the seeds: topic"):
        choose_rows(10, "topics", seeds, lambda id_: "train")


@pytest.mark.parametrize(
    ("text", "variant", "other"),
    [
        ("我的包裹在哪里请告诉我", "请告诉我我的包裹在哪里", "怎样重置灯的密码"),
        ("荷物はどこですか教えてください", "教えてください荷物はどこですか", "時計の電池を交換したい"),
        ("내 소포가 어디 있는지 알려 주세요", "내소포가 어디있는지 알려주세요", "시계 건전지를 바꾸고 싶어요"),
        ("Where is my parcel now?", "where is my parcel, now", "the lamp stays dark tonight"),
    ],
)
def test_similar_texts_have_similar_vectors_in_any_script(text: str, variant: str, other: str) -> None:
    """A text without spaces used to be one word, as far from its own variant as from any other text."""
    near, far = vectors_of([text, variant, other], 3)[1:] @ vectors_of([text], 1)[0]
    assert near > 0.6 > 0.3 > far


def test_length_groups_work_without_spaces() -> None:
    """A short and a long Chinese text are in different groups."""
    groups = [length_group(tiny.made_pair(Seed(kind="input", text="a", source="s"), "好" * n, 0)) for n in (4, 80)]
    assert groups[0] != groups[1]


def test_diversity_of_conversations_considers_all_turns() -> None:
    """Even if the last question and its answer are all the same, the conversation about another topic is chosen."""
    seed = Seed(kind="input", text="And how long?", source="s")
    topics = ["where is my parcel, it was sent on monday"] * 12 + ["the lamp burns all night and wakes the baby"]
    turns = [
        (Message(role="user", content=f"{topic} {n}"), Message(role="assistant", content="I see."))
        for n, topic in enumerate(topics)
    ]
    pairs = [
        Pair(seed_id=seed.id, input=seed.body, turns=t, output="Three days.", system="", origin=Imported(source="s"))
        for t in turns
    ]
    pool = asyncio.run(curate(Pool.of(pairs), [choose_rows(2, "diverse", [seed], lambda seed_id: "train")]))
    assert pairs[-1] in [row.pair for row in pool.accepted()]
