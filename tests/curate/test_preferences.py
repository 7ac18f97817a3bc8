"""Preferences: which of two answers is better, on whose word, and independent of length."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pairsmith
from curate.curation import curate
from curate.export.dataset import export_dataset, preference_rows
from curate.export.files import PREFERENCES, write_preference_table
from curate.outcome import curate_project
from curate.pool import Pool
from curate.preferences import (
    BY_PEOPLE,
    Preference,
    PreferenceIds,
    Preferences,
    PreferenceTable,
    RejectedByFiles,
    as_row,
    balance_lengths,
    counted,
    preferences,
    rests_on_estimates,
    without_in_words,
)
from curate.review.sampling import in_estimation_half
from curate.steps import each, named, scored
from pairsmith.receipts.outcome import TrainOutcome
from pairsmith.stages.train import summary
from schemas.project import Project
from schemas.records import Counts, Pair, Seed
from schemas.reviews import Review
from schemas.spec import SeedSource
from schemas.spec.curate import ContaminationSettings
from schemas.spec.personal import PersonalSettings
from schemas.store import Store
from synth.imports import pair_of
from tests.curate import tiny

ALL_TRAIN = {"test": 0, "validation": 0}
SCORES = {"good": 9.0, "fair": 5.0, "poor": 1.0, "poorer": 0.5}


def spec(**split: Any) -> Any:
    return tiny.spec().model_copy(update={"split": tiny.spec().split.model_copy(update={**ALL_TRAIN, **split})})


def pairs_of(texts: list[str], asked: str = "a fox") -> tuple[Seed, list[Pair]]:
    seed = Seed(kind="input", text=asked, source="seeds.jsonl:1")
    return seed, [tiny.made_pair(seed, text, sample) for sample, text in enumerate(texts)]


def preferred(
    folder: Path,
    texts: list[str],
    answers: Any = lambda pairs: (),
    *,
    score: bool = False,
    seeds: Any = (),
    settings: Any = None,
) -> list[tuple[str, str, str]]:
    """(by, better text, worse text) for answers to one input."""
    seed, pairs = pairs_of(texts)
    steps = [each(named(lambda pair: "must" in pair.output, "gate/must@1"))]
    if score:
        steps.append(scored(named(lambda pair: SCORES[pair.output.split()[1]], "score/word@1")))
    pool = asyncio.run(curate(Pool.of(pairs, answers(pairs)), steps))
    comparisons = preferences(Project(folder, settings or spec()), pool, [seed, *seeds])
    return [(p.by, p.chosen.output, p.rejected.output) for p in comparisons]


def review(pair: Pair, decision: Any, who: str = "ann", **more: Any) -> Review:
    return Review(pair_id=pair.id, reviewer=who, decision=decision, **more)


def test_an_edit_is_better_than_what_it_replaced(tmp_path: Path) -> None:
    """The text that a reviewer entered is preferred to the original."""
    comparisons = preferred(tmp_path, ["must a"], lambda p: [review(p[0], "edit", edited="must a better")])
    assert comparisons == [("edit", "must a better", "must a")]


def test_accepted_is_better_than_rejected(tmp_path: Path) -> None:
    """Of the answers to one input, accepted ones are preferred to rejected ones; the pair closest in length is used."""
    texts = ["must be short", "must be so very long a text that nobody reads it", "must be wrong"]
    comparisons = preferred(
        tmp_path, texts, lambda p: [review(p[0], "accept"), review(p[1], "accept"), review(p[2], "reject")]
    )
    assert comparisons == [("verdict", texts[0], texts[2])]


def test_ranking_counts_unless_reviewers_contradict_each_other(tmp_path: Path) -> None:
    """The higher rank is better; two reviewers with opposite rankings give no preference."""

    def ranked(pairs: list[Pair], *orders: tuple[int, ...]) -> list[Review]:
        return [
            review(pairs[0], "accept", f"person {n}", ranking=tuple((pairs[i].id, rank) for rank, i in enumerate(o, 1)))
            for n, o in enumerate(orders)
        ]

    texts = ["must be a", "must be b", "must be c"]
    agreed = preferred(tmp_path, texts, lambda p: ranked(p, (0, 1), (0, 1)))
    assert agreed == [("ranking", "must be a", "must be b")]
    assert not preferred(tmp_path, texts, lambda p: ranked(p, (0, 1), (1, 0)))


def test_gates_and_clear_score_differences_give_preferences(tmp_path: Path) -> None:
    """An accepted answer is preferred to one that a gate rejected, and to one with a clearly lower score. A slightly
    lower score gives no preference."""
    assert preferred(tmp_path, ["must have it", "they lack it"]) == [("gate", "must have it", "they lack it")]
    comparisons = preferred(tmp_path, ["must good", "must fair", "must poor x", "must poorer"], score=True)
    assert ("score", "must good", "must fair") in comparisons
    assert not any({"must poor x", "must poorer"} == {better, worse} for _, better, worse in comparisons)


def test_answers_rejected_for_personal_data_are_in_no_preference(tmp_path: Path) -> None:
    """What [personal] or the gate `pii` rejects is not written to any file, whatever made it the worse answer: a gate,
    a reviewer, or an edit that removed an address."""
    texts = ["must be asked by the form of ours", "must be asked by ann@example.org"]
    rejects = {"personal": PersonalSettings(email="reject")}
    gates = spec().curate.gates.model_copy(update={"pii": True})
    pii = {"curate": spec().curate.model_copy(update={"gates": gates})}
    answers = (
        lambda p: [review(p[0], "accept"), review(p[1], "reject")],
        lambda p: [review(p[1], "edit", edited="must be asked by the form"), review(p[0], "reject")],
    )
    for number, reviews in enumerate(answers):
        assert len(preferred(tmp_path, texts, reviews)) == 1 + number
        for settings in (rejects, pii):
            kept = preferred(tmp_path, texts, reviews, settings=spec().model_copy(update=settings))
            assert not any("@" in worse for _, _, worse in kept)
            assert len(kept) == number


def imported_preferences(folder: Path, rows: list[dict[str, Any]], more: str = "") -> list[dict[str, Any]]:
    """The preferences of a project that imports its pairs."""
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    spec = (
        '[task]\nkind = "reply"\nname = "own"\nstyle = "Kind."\n[[seeds]]\npath = "own.jsonl"\nkind = "pair"\n'
        f"[split]\ntest = 0.0\nvalidation = 0.0\n{more}"
    )
    (folder / "pairsmith.toml").write_text(spec, encoding="utf-8")
    project = pairsmith.Project(folder)
    project.generate()
    project.curate()
    return list(preference_rows(folder / "dataset", "train"))


def test_rejected_answers_of_a_file_become_preferences(tmp_path: Path) -> None:
    """A file with TRL preferences gives a project preferences without a teacher or reviewers, for DPO, ORPO and reward
    models. They are kept where the better answer is longer, since the file says so. A row whose better answer a gate
    rejects is in none."""
    rows = [
        {
            "prompt": f"Where is order {n}?",
            "chosen": f"Order {n} left on Monday, and comes by van.",
            "rejected": f"Gone {n}.",
        }
        for n in range(6)
    ]
    rows.append(
        {"prompt": "Where is order 77?", "chosen": "<think>Hm.</think> It is in the van.", "rejected": "Gone 77."}
    )
    lines = imported_preferences(tmp_path, rows, '[train]\nobjective = "dpo"\n[review]\nenabled = false\n')
    assert {line["by"] for line in lines} == {"file"}
    assert sorted((line["prompt"][-1]["content"], line["rejected"][0]["content"]) for line in lines) == [
        (row["prompt"], row["rejected"]) for row in rows[:6]
    ]
    assert json.loads((tmp_path / "dataset" / "manifest.json").read_text())["preferences"]["file"] == 6


def test_rows_without_a_preference_are_counted_with_the_reason(tmp_path: Path) -> None:
    """DPO and ORPO learn only from rows that are the better answer of a preference. In one project 14 of 64 rows were
    not, and nothing said so: the manifest, the receipts of `curate` and the screen of `train` account for each row."""
    rows = [
        {"prompt": f"Where is order {n}?", "chosen": f"Order {n} left on Monday, by van.", "rejected": f"Gone {n}."}
        for n in range(6)
    ]
    rows[0]["rejected"] = rows[0]["chosen"]
    rows[1]["rejected"] = "Ask ann@example.org."
    rows[2] |= {"rejected": "Nobody at the long desk knows it."}
    (tmp_path / "bench.txt").write_text("Nobody at the long desk knows it.\n")
    more = '[curate.gates]\npii = true\n[curate.contamination]\nfiles = ["bench.txt"]\n'
    lines = imported_preferences(tmp_path, rows, more)
    reasons = {"no_worse_answer": 1, "personal": 1, "held_out": 1}
    assert len(lines) == len(rows) - sum(reasons.values())
    manifest = json.loads((tmp_path / "dataset" / "manifest.json").read_text())
    assert manifest["preferences"]["rows_without"] == reasons
    with Store.open(Store.url_for(Project(tmp_path, spec()))) as store:
        assert store.receipts("curate")[-1].facts["rows_without_preference"] == reasons
    counts = Counts(rows_in=4, accepted=3, rejected=1)
    outcome = TrainOutcome(counts=counts, objective="orpo", train_rows=3, without_preference=reasons, files=("a",))
    assert any("left out: 1 preference longer than train.max_length" in line for _, line in summary(outcome))
    (sentence,) = (line for _, line in summary(outcome) if "preference" in line and "not used" in line)
    assert sentence.startswith("3 training and validation rows are not in any preference")
    assert "the worse answer repeats a held-out text" in sentence
    assert "and used in the supervised stage only: " in without_in_words(reasons, "dpo")


def test_preferences_removed_for_their_length_are_counted(tmp_path: Path) -> None:
    """Two programs' preferences whose better answers are both longer: one would teach length, so neither stays, and
    both rows are counted."""
    every = [_preference("gate", 20, 5, number) for number in range(2)]
    table = PreferenceTable()
    for one in every:
        table.add(one)
    kept = balance_lengths(table)
    assert not kept
    files = RejectedByFiles(Project(tmp_path, spec()), ())
    without = Preferences(Pool.of([]), files, table, kept).rows_without(3)
    assert without == {"no_worse_answer": 1, "length": 2}


def test_reviewers_edit_is_better_than_the_rejected_answers_of_the_file(tmp_path: Path) -> None:
    """It is also better than the original row. An edit equal to a rejected answer is not better than itself."""
    seed = Seed(kind="pair", text="a fox", reference="must a", source="f.jsonl:1", meta={"rejected": ["a", "must b"]})
    pair, imports = pair_of(seed), spec().model_copy(update={"seeds": (SeedSource(path="f.jsonl", kind="pair"),)})
    for edit in ("must c", "must b"):
        answers = [review(pair, "edit", edited=edit)]
        steps = [each(named(lambda pair: "must" in pair.output, "gate/must@1"))]
        pool = asyncio.run(curate(Pool.of([pair], answers), steps))
        comparisons = [
            (p.by, p.chosen.output, p.rejected.output) for p in preferences(Project(tmp_path, imports), pool, [seed])
        ]
        files = [("file", edit, worse) for worse in ("a", "must b") if worse != edit]
        assert comparisons == [("edit", edit, "must a"), *files]


def test_rejected_answers_of_a_file_are_redacted(tmp_path: Path) -> None:
    """Worse answers are written to the dataset, so they must not contain what is to be redacted."""
    row = {"prompt": "Whom do I ask?", "chosen": "Ask the office, please.", "rejected": "Ask ann@example.org."}
    (line,) = imported_preferences(tmp_path, [row], '[personal]\nemail = "redact"\n')
    assert line["rejected"][0]["content"] == "Ask (e-mail address removed)."


def test_waiting_rows_and_equal_texts_are_in_no_preference(tmp_path: Path) -> None:
    """Undecided and unscored rows, and answers that differ only in spaces, are not compared."""
    texts = ["must be", "must be "]
    assert not preferred(tmp_path, texts, lambda p: [review(p[0], "accept"), review(p[1], "reject")])
    assert not preferred(tmp_path, ["must hang up", "they lack it"], score=True)  # its scorer crashes
    undecided = ["must be here", "must be there"]
    assert not preferred(
        tmp_path,
        undecided,
        lambda p: [review(p[0], "accept"), review(p[1], "accept", "bob"), review(p[1], "reject", "cid")],
    )


def test_the_test_split_is_in_no_preference(tmp_path: Path) -> None:
    """Neither a row of a test seed, nor a rejected answer that repeats a test input or reference."""
    seed, pairs = pairs_of(["must be short", "must be wrong"])
    answers = [review(pairs[0], "accept"), review(pairs[1], "reject")]
    pool = asyncio.run(curate(Pool.of(pairs, answers), [each(named(lambda pair: True, "gate/all@1"))]))
    test_seed = seed.model_copy(update={"meta": {"use": "test"}})
    assert not preferences(Project(tmp_path, spec()), pool, [test_seed])
    assert preferences(Project(tmp_path, spec()), pool, [seed])
    held_out = Seed(kind="input", text="must be wrong", source="x:2", meta={"use": "test"})
    assert not preferences(Project(tmp_path, spec()), pool, [seed, held_out])
    wrong = {"text": "another", "reference": "must be wrong"}
    referring = Seed(kind="input", source="x:3", meta={"use": "test"}, **wrong)
    assert not preferences(Project(tmp_path, spec()), pool, [seed, referring])


def test_generated_test_input_is_in_no_preference(tmp_path: Path) -> None:
    """A rejected answer may not repeat the input that was generated for a held-out output either."""
    seed, pairs = pairs_of(["must be short", "must be what the test asks"])
    test_seed = Seed(kind="output", text="must be held out", source="x:2", meta={"use": "test"})
    asked = Pair(seed_id=test_seed.id, input=pairs[1].output, output=test_seed.text, system="", origin=pairs[0].origin)
    answers = [review(pairs[0], "accept"), review(pairs[1], "reject")]
    gates = [each(named(lambda pair: True, "gate/all@1"))]
    with_it, without = (asyncio.run(curate(Pool.of(some, answers), gates)) for some in ([*pairs, asked], pairs))
    assert preferences(Project(tmp_path, spec()), without, [seed, test_seed])
    assert not preferences(Project(tmp_path, spec()), with_it, [seed, test_seed])


def test_benchmark_text_is_in_no_preference(tmp_path: Path) -> None:
    """Rejected answers are trained on too, so they may not repeat a text of `curate.contamination.files`."""
    seed, pairs = pairs_of(["must be a short one of these", "must be a wrong one of those"])
    answers = [review(pairs[0], "accept"), review(pairs[1], "reject")]
    pool = asyncio.run(curate(Pool.of(pairs, answers), [each(named(lambda pair: True, "gate/all@1"))]))
    (tmp_path / "bench.txt").write_text("must be a wrong one of those\n")
    files = ContaminationSettings(files=("bench.txt",))
    curated = spec().curate.model_copy(update={"contamination": files})
    assert preferences(Project(tmp_path, spec()), pool, [seed])
    assert not preferences(Project(tmp_path, spec().model_copy(update={"curate": curated})), pool, [seed])


def _preference(by: Any, better: int, worse: int, number: int) -> Preference:
    _, (chosen, rejected) = pairs_of(["a" * better, "b" * worse], f"input {number}")
    return Preference(by, "train", chosen, rejected)


@given(
    st.lists(st.tuples(st.sampled_from(["edit", "gate", "score"]), st.integers(1, 60), st.integers(1, 60)), max_size=30)
)
def test_length_predicts_nothing_in_preferences_of_programs(drawn: list[tuple[str, int, int]]) -> None:
    """All preferences of reviewers are kept. Of the rest, for each size of the difference, the better answer is as
    often longer as shorter."""
    every = [_preference(by, better, worse, number) for number, (by, better, worse) in enumerate(drawn)]
    table = PreferenceTable()
    for one in every:
        table.add(one)
    assert [table[number].ids for number in range(len(table))] == [one.ids for one in every]
    left = [every[number] for number in balance_lengths(table)]
    assert [p for p in left if p.by in BY_PEOPLE] == [p for p in every if p.by in BY_PEOPLE]
    assert all(p in every for p in left)
    sizes = {int(abs(p.log_ratio) / 0.1) for p in every if p.longer}
    for size in sizes:
        of_size = [p for p in left if p.longer and int(abs(p.log_ratio) / 0.1) == size]
        longer = [p for p in of_size if p.longer > 0]
        by_reviewers = [p for p in of_size if p.by in BY_PEOPLE]
        surplus = longer if 2 * len(longer) > len(of_size) else [p for p in of_size if p.longer < 0]
        assert 2 * len(longer) == len(of_size) or all(p in by_reviewers for p in surplus)
    if not [p for p in left if p.by in BY_PEOPLE] and left:
        assert counted(left)["longer"] == pytest.approx(0.5)


def test_preference_takes_at_most_70_bytes_and_reads_back_unchanged() -> None:
    """As objects, the preferences of a million rows took 370 bytes each, a fifth of the memory of a curation."""
    ids = [(f"{n:032x}", f"{n + 1:032x}") for n in range(4_000)]
    every = [PreferenceIds("gate", "train", both, n / 7, None, ()) for n, both in enumerate(ids)]
    every += [PreferenceIds("edit", "validation", both, -0.5, 0.25, both) for both in ids[:20]]
    tracemalloc.start()
    try:
        table = PreferenceTable()
        for one in every:
            table.add(one)
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [table[number] for number in range(len(table))] == every
    assert allocated < 70 * len(every)


def test_a_reward_model_never_learns_from_the_estimation_half() -> None:
    """A preference that depends on a review of a row of that half is left out, whichever answer is better."""
    every = [_preference("edit", 5, 4, n)._replace(rests_on=(f"{n:032x}",)) for n in range(40)]
    left = [one for one in every if not rests_on_estimates(one, 7)]
    assert 0 < len(left) < len(every)
    assert not any(in_estimation_half(7, id_) for p in left for id_ in p.rests_on)
    drawn = {left[0].rests_on[0]}  # a row of the other half, drawn for an estimate over the whole pool
    assert [one for one in left if not rests_on_estimates(one, 7, drawn)] == left[1:]


def test_what_a_copy_loses_by_rests_on_the_review_of_the_other_row(tmp_path: Path) -> None:
    """A row with the texts of a rejected one loses too, by a review of that one, which an estimate may depend on."""
    seed, pairs = pairs_of(["must be bad", "must be fine", "must be bad "])
    pool = Pool.of(pairs, [review(pairs[1], "accept"), review(pairs[2], "reject")])
    (one,) = preferences(Project(tmp_path, spec()), asyncio.run(curate(pool, [])), [seed])
    assert (one.by, one.ids) == ("verdict", (pairs[1].id, pairs[0].id))
    assert set(one.rests_on) == {pairs[1].id, pairs[2].id}


def test_preferences_file_is_conversational_and_does_not_change_the_dataset_id(tmp_path: Path) -> None:
    """`preferences.jsonl` has prompt, chosen and rejected as messages, with the split. A dataset of the same rows
    without preferences has the same id and no such file."""
    project = Project(tmp_path, tiny.spec())
    answers = {f"input {n}": [f"must {w} {w}", f"only {w} {w}"] for n, w in enumerate(tiny.WORDS[:40])}
    with Store.open(Store.url_for(project)) as store:
        fingerprint = tiny.pool(store, project, answers)
        result = asyncio.run(curate_project(project, store, fingerprints=[fingerprint]))
        assert result.preferences
        dataset = export_dataset(project, store, result, tmp_path / "dataset")
        without = export_dataset(project, store, dataclasses.replace(result, preferences=()), tmp_path / "other")
    assert dataset.id == without.id
    assert not (tmp_path / "other" / PREFERENCES).exists()
    assert not list(preference_rows(tmp_path / "other", "train"))
    lines = [json.loads(line) for line in (tmp_path / "dataset" / PREFERENCES).read_text("utf-8").splitlines()]
    assert lines == [as_row(p) for p in result.preferences]
    pq = pytest.importorskip("pyarrow.parquet")
    assert set(pq.read_schema(tmp_path / "dataset" / "preferences.parquet").names) == set(lines[0])
    for line in lines:
        assert [m["role"] for m in line["prompt"]] == ["system", "user"]
        assert line["chosen"][0]["content"].startswith("must")
        assert line["rejected"][0]["content"].startswith("only")
        assert {m["role"] for m in line["chosen"] + line["rejected"]} == {"assistant"}
        assert line["by"] == "gate"
    assert {line["split"] for line in lines} == {"train", "validation"}
    assert list(preference_rows(tmp_path / "dataset", "train")) == [line for line in lines if line["split"] == "train"]
    assert not list(preference_rows(tmp_path / "dataset", "test"))


def test_preferences_can_be_loaded_whatever_they_contain(tmp_path: Path) -> None:
    """In the Parquet file answers that are all dates stay texts, and scores may begin after rows without any; from JSON
    `datasets` turns the former into times and refuses the latter."""
    datasets = pytest.importorskip("datasets")
    asked = [{"role": "user", "content": "when?" + "x" * 400}]
    days = ["2024-05-01", "2024-05-02T10:00:00"]
    chosen, rejected = ([{"role": "assistant", "content": day}] for day in days)
    texts = {"split": "train", "by": "edit", "chosen_id": "a", "rejected_id": "b"}
    rows = [
        {"prompt": asked, "chosen": chosen, "rejected": rejected, **texts, "score_gap": gap}
        for gap in [None] * 60 + [0.5]
    ]
    (tmp_path / PREFERENCES).write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_preference_table(tmp_path)
    file = str(tmp_path / "preferences.parquet")
    loaded = datasets.load_dataset("parquet", data_files=file, split="train", cache_dir=str(tmp_path))
    assert loaded.to_list() == rows


def test_rows_are_read_once_and_only_if_they_can_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass reads the texts of inputs with several rows or with reviews; scores need no texts. The texts of
    preferences are read again only when they are iterated."""
    alone, (single,) = pairs_of(["must good"], "a dog")
    seed, pairs = pairs_of(["must good", "must poor"])
    score = scored(named(lambda pair: SCORES[pair.output.split()[1]], "score/word@1"))
    pool = asyncio.run(curate(Pool.of([single, *pairs]), [score]))
    read: list[str] = []
    given_pairs = pool.source.pairs
    monkeypatch.setattr(pool.source, "pairs", lambda ids: given_pairs(read.extend(wanted := list(ids)) or wanted))
    comparisons = preferences(Project(tmp_path, spec()), pool, [seed, alone])
    assert sorted(read) == sorted(pair.id for pair in pairs)
    assert [p.by for p in comparisons] == ["score"]
