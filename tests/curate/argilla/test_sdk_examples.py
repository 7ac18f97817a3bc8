"""The calls that the guides of Argilla's SDK (2.8) document for datasets, records and queries, each tested on the
server that pairsmith starts. docs/argilla/sdk.md lists them; the last test compares that table with the tests."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import datasets
import pytest

from tests.curate.argilla.conftest import argilla_client

rg = argilla_client()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TABLE = Path(__file__).parents[3] / "docs" / "argilla" / "sdk.md"
GEMS = [
    ("What is a ruby made of?", "Aluminium oxide.", "red", 10, [1.0, 0.0, 0.0]),
    ("What is a sapphire made of?", "Aluminium oxide with iron.", "blue", 20, [0.9, 0.1, 0.0]),
    ("What is an emerald made of?", "Beryl with chromium.", "green", 30, [0.0, 1.0, 0.0]),
    ("Is amber a stone?", "No, it is old resin.", "brown", 40, [0.0, 0.0, 1.0]),
]


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def settings() -> Any:
    return rg.Settings(
        guidelines="Is the answer right?",
        fields=[rg.TextField("question"), rg.TextField("answer", required=False)],
        questions=[
            rg.LabelQuestion("label", labels={"good": "Good", "bad": "Bad"}, required=False),
            rg.MultiLabelQuestion("topics", labels=["gems", "trees", "rocks"], required=False),
            rg.RatingQuestion("stars", values=[1, 2, 3, 4, 5], required=False),
            rg.RankingQuestion("order", values=["first", "second"], required=False),
            rg.SpanQuestion("spans", field="question", labels=["GEM", "VERB"], required=False),
            rg.TextQuestion("comment", description="In your words."),
        ],
        metadata=[
            rg.TermsMetadataProperty("color", options=["red", "blue", "green", "brown"]),
            rg.IntegerMetadataProperty("carat", min=0, max=100),
            rg.FloatMetadataProperty("weight"),
        ],
        vectors=[rg.VectorField("mini", dimensions=3)],
    )


@pytest.fixture
def workspace(client: Any) -> Any:
    """A workspace for this test only."""
    return rg.Workspace(name=unique("guide"), client=client).create()


@pytest.fixture
def empty(client: Any, workspace: Any) -> Any:
    """A published dataset without records."""
    return rg.Dataset(name="gems", workspace=workspace, settings=settings(), client=client).create()


def gems() -> list[Any]:
    return [
        rg.Record(
            id=f"gem-{number}",
            fields={"question": question, "answer": answer},
            metadata={"color": color, "carat": count, "weight": count / 100},
            vectors={"mini": vector},
            suggestions=[rg.Suggestion("label", "good" if number else "bad", score=count / 100, agent="model-a")],
        )
        for number, (question, answer, color, count, vector) in enumerate(GEMS)
    ]


@pytest.fixture
def dataset(empty: Any) -> Any:
    """A dataset with the four gems."""
    empty.records.log(gems())
    return empty


@pytest.fixture
def person(client: Any, workspace: Any) -> Any:
    """An annotator who is a member of the workspace."""
    user = rg.User(username=unique("ann"), password="long enough", role="annotator", client=client).create()
    return user.add_to_workspace(workspace)


def find_ids(dataset: Any, **query: Any) -> list[str]:
    return sorted(record.id for record in dataset.records(rg.Query(**query)))


def warns_about_mapping() -> Any:
    """The client warns about every key that a mapping renames, although it accepts it."""
    return pytest.warns(UserWarning, match="not present in the mapping")


# ---- datasets -------------------------------------------------------------------------------------------------------


def test_create_a_dataset(client: Any, workspace: Any, empty: Any) -> None:
    """A created dataset is published, has every field, question, property and vector in order, and no records."""
    again = client.datasets("gems", workspace=workspace)
    assert again.id == empty.id
    assert again.guidelines == "Is the answer right?"
    assert [one.name for one in again.fields] == ["question", "answer"]
    assert [one.name for one in again.questions] == ["label", "topics", "stars", "order", "spans", "comment"]
    assert [one.name for one in again.settings.metadata] == ["color", "carat", "weight"]
    assert again.settings.metadata["color"].options == ["red", "blue", "green", "brown"]
    assert (again.settings.metadata["carat"].min, again.settings.metadata["carat"].max) == (0, 100)
    assert again.settings.vectors["mini"].dimensions == 3
    assert again.settings.questions["label"].labels == ["good", "bad"]
    assert again.settings.questions["comment"].description == "In your words."
    assert list(again.records) == []


def test_create_datasets_with_the_same_settings(client: Any, workspace: Any, dataset: Any) -> None:
    """Settings can be used for several datasets, including those read from an existing one; its records can be copied
    too."""
    existing = client.datasets("gems", workspace=workspace)
    copy = rg.Dataset(name="copy", workspace=workspace, settings=existing.settings, client=client).create()
    copy.records.log(list(existing.records))
    assert copy.id != existing.id
    assert find_ids(copy, query="made") == find_ids(dataset, query="made") == ["gem-0", "gem-1", "gem-2"]


def test_list_datasets(client: Any, workspace: Any, empty: Any) -> None:
    """A workspace lists its datasets and their number."""
    assert [one.name for one in workspace.datasets] == ["gems"]
    assert len(workspace.datasets) == 1
    assert empty.id in {one.id for one in client.datasets}


def test_retrieve_a_dataset(client: Any, workspace: Any, empty: Any) -> None:
    """By name and workspace (an object or its name), or by id; None and a warning if it does not exist."""
    assert client.datasets("gems", workspace=workspace).id == empty.id
    assert client.datasets("gems", workspace=workspace.name).id == empty.id
    assert client.datasets(id=empty.id).name == "gems"
    with pytest.warns(UserWarning, match="not found"):
        assert client.datasets("none", workspace=workspace) is None


def test_update_a_dataset(client: Any, workspace: Any, empty: Any) -> None:
    """Titles, Markdown, visibility, guidelines and extra metadata can be changed after publishing."""
    empty.settings.fields["question"].use_markdown = True
    empty.settings.fields["answer"].title = "What was said"
    empty.settings.metadata["color"].visible_for_annotators = False
    empty.settings.vectors["mini"].title = "Small"
    empty.settings.guidelines = "Read twice."
    empty.settings.allow_extra_metadata = True
    empty.update()
    again = client.datasets("gems", workspace=workspace)
    assert again.settings.fields["question"].use_markdown
    assert again.settings.fields["answer"].title == "What was said"
    assert not again.settings.metadata["color"].visible_for_annotators
    assert again.settings.vectors["mini"].title == "Small"
    assert again.guidelines == "Read twice."
    assert again.settings.allow_extra_metadata


def test_add_and_delete_settings(client: Any, workspace: Any, empty: Any) -> None:
    """Vectors and metadata properties can be added to a published dataset, and deleted."""
    empty.settings.add(rg.VectorField(name="big", dimensions=5))
    empty.settings.add(rg.IntegerMetadataProperty(name="year"))
    empty.update()
    empty.settings.metadata["color"].delete()
    again = client.datasets("gems", workspace=workspace)
    assert again.settings.vectors["big"].dimensions == 5
    assert [one.name for one in again.settings.metadata] == ["carat", "weight", "year"]
    again.records.log([{"question": "When?", "year": 1900, "big": [1, 2, 3, 4, 5], "id": "when"}])
    assert find_ids(again, filter=rg.Filter(("metadata.year", "==", 1900))) == ["when"]
    assert find_ids(again, query="when") == ["when"]


def test_delete_a_dataset(client: Any, workspace: Any, dataset: Any) -> None:
    """The dataset and its records are gone, and its name is free again."""
    dataset.delete()
    with pytest.warns(UserWarning, match="not found"):
        assert client.datasets("gems", workspace=workspace) is None
    recreated = rg.Dataset(name="gems", workspace=workspace, settings=settings(), client=client).create()
    assert list(recreated.records) == []


def test_write_a_dataset_to_disk_and_read_it_back(client: Any, workspace: Any, dataset: Any, tmp_path: Path) -> None:
    """The settings and the records of a dataset are restored from a folder."""
    path = dataset.to_disk(path=str(tmp_path))
    back = rg.Dataset.from_disk(path=path, name="back", workspace=workspace.name, client=client)
    assert [one.name for one in back.questions] == [one.name for one in dataset.questions]
    assert [(r.id, dict(r.fields)) for r in back.records] == [(r.id, dict(r.fields)) for r in dataset.records]


# ---- records --------------------------------------------------------------------------------------------------------


def test_add_records(empty: Any) -> None:
    """As objects, as dictionaries, with a mapping of other names, and from a `datasets` dataset."""
    empty.records.log([rg.Record(fields={"question": "One?", "answer": "Yes."})])
    empty.records.log([{"question": "Two?", "answer": "Yes."}])
    with warns_about_mapping():
        empty.records.log([{"query": "Three?", "reply": "Yes."}], mapping={"query": "question", "reply": "answer"})
    rows_ = datasets.Dataset.from_dict({"id": ["four"], "question": ["Four?"], "txt": ["Yes."]})
    with warns_about_mapping():
        empty.records.log(rows_, mapping={"txt": "answer"})
    assert [record.fields["question"] for record in empty.records] == ["One?", "Two?", "Three?", "Four?"]
    assert {record.fields["answer"] for record in empty.records} == {"Yes."}
    assert {record.status for record in empty.records} == {"pending"}


def test_add_metadata(empty: Any) -> None:
    """Under the property's name, as an object or a dictionary; an unknown name only if extra metadata is allowed."""
    empty.records.log([rg.Record(id="a", fields={"question": "One?"}, metadata={"color": "red"})])
    empty.records.log([{"id": "b", "question": "Two?", "color": "blue"}])
    assert {record.id: record.metadata["color"] for record in empty.records} == {"a": "red", "b": "blue"}
    extra = rg.Record(id="c", fields={"question": "Three?"}, metadata={"mood": "calm"})
    with pytest.raises(Exception, match="mood"):
        empty.records.log([extra])
    empty.settings.allow_extra_metadata = True
    empty.update()
    empty.records.log([extra])
    assert {record.id: dict(record.metadata) for record in empty.records}["c"] == {"mood": "calm"}


def test_add_vectors(empty: Any) -> None:
    """As objects or dictionaries; a vector of another length is refused."""
    empty.records.log([rg.Record(id="a", fields={"question": "One?"}, vectors={"mini": [1, 2, 3]})])
    empty.records.log([{"id": "b", "question": "Two?", "mini": [3, 2, 1]}])
    assert [r.vectors["mini"] for r in empty.records(with_vectors=True)] == [[1, 2, 3], [3, 2, 1]]
    assert [r.vectors["mini"] for r in empty.records(with_vectors=["mini"])] == [[1, 2, 3], [3, 2, 1]]
    assert [len(list(r.vectors)) for r in empty.records] == [0, 0]
    with pytest.raises(Exception, match="must have 3 elements"):
        empty.records.log([{"id": "c", "question": "Three?", "mini": [1, 2]}])


def test_add_suggestions(empty: Any) -> None:
    """As objects or dictionaries, with score and agent, for every question type; one per question, the later one
    replaces the earlier."""
    values = {
        "label": "good",
        "topics": ["gems", "rocks"],
        "stars": 4,
        "order": ["second", "first"],
        "spans": [{"start": 0, "end": 3, "label": "GEM"}],
        "comment": "Fine.",
    }
    suggestions = [rg.Suggestion(question, value, agent="model-a") for question, value in values.items()]
    empty.records.log([rg.Record(id="a", fields={"question": "One?"}, suggestions=suggestions)])
    names = {"guess": "label.suggestion", "sure": "label.suggestion.score", "by": "label.suggestion.agent"}
    flat = {"id": "b", "question": "Two?", "comment": "So so.", "guess": "bad", "sure": 0.9, "by": "model-b"}
    with warns_about_mapping():
        empty.records.log([flat], mapping=names)
    first, second = empty.records
    assert {one.question_name: one.value for one in first.suggestions} == values
    kept = second.suggestions["label"]
    assert (kept.value, kept.score, kept.agent) == ("bad", 0.9, "model-b")
    assert second.suggestions["comment"].value == "So so."
    second.suggestions.add(rg.Suggestion("label", "good", score=0.1, agent="model-c"))
    empty.records.log([second])
    kept = list(empty.records)[1].suggestions["label"]
    assert (kept.value, kept.score, kept.agent) == ("good", 0.1, "model-c")


def test_add_responses(empty: Any, person: Any, client: Any) -> None:
    """As objects with a user and a status, or as dictionaries with `user_id`; several users may answer one record."""
    record = rg.Record(
        id="a",
        fields={"question": "One?"},
        responses=[
            rg.Response("label", "good", user_id=person.id, status="submitted"),
            rg.Response("comment", "Fine.", user_id=person.id, status="submitted"),
            rg.Response("comment", "Not so fine.", user_id=client.me.id, status="draft"),
        ],
    )
    empty.records.log([record])
    with warns_about_mapping():
        row = {"id": "b", "question": "Two?", "said": "Good."}
        empty.records.log([row], mapping={"said": "comment.response"}, user_id=person.id)
    first, second = empty.records
    assert {(r.question_name, r.value, r.user_id, r.status) for r in first.responses} == {
        ("label", "good", person.id, "submitted"),
        ("comment", "Fine.", person.id, "submitted"),
        ("comment", "Not so fine.", client.me.id, "draft"),
    }
    assert [(r.value, r.user_id, r.status) for r in second.responses["comment"]] == [("Good.", person.id, "draft")]
    assert (first.status, second.status) == ("completed", "pending")


def test_list_records(dataset: Any) -> None:
    """In the order of logging, in batches or up to a limit, with the parts that are requested."""
    whole = list(dataset.records(with_suggestions=True, with_responses=True, with_vectors=True, batch_size=3))
    assert [record.id for record in whole] == ["gem-0", "gem-1", "gem-2", "gem-3"]
    assert whole[0].suggestions["label"].agent == "model-a"
    assert whole[1].vectors["mini"] == pytest.approx([0.9, 0.1, 0.0])
    assert [record.id for record in dataset.records(limit=2)] == ["gem-0", "gem-1"]
    assert [record.id for record in dataset.records(start_offset=3)] == ["gem-3"]
    assert not list(next(dataset.records(with_suggestions=False)).suggestions)


def test_update_records(dataset: Any) -> None:
    """Logging a record again under its id changes it and does not duplicate it: metadata, vectors and suggestions."""
    dataset.records.log([{"id": "gem-0", "question": GEMS[0][0], "label": "good", "color": "blue"}])
    changed = list(dataset.records(with_vectors=True))
    for record in changed[1:]:
        record.metadata["weight"] = 0.5
        record.vectors["mini"] = [0.0, 0.0, 0.5]
    dataset.records.log(changed[1:])
    first, *rest = dataset.records(with_vectors=True)
    assert len(rest) == 3
    assert (first.suggestions["label"].value, first.metadata["color"]) == ("good", "blue")
    assert [record.metadata["weight"] for record in rest] == [0.5] * 3
    assert [record.vectors["mini"] for record in rest] == [[0.0, 0.0, 0.5]] * 3
    assert find_ids(dataset, filter=rg.Filter(("metadata.color", "==", "blue"))) == ["gem-0", "gem-1"]


def test_delete_records(dataset: Any) -> None:
    """Deletes the records of a list, and those that a query finds; searches no longer find them."""
    dataset.records.delete(list(dataset.records)[:1])
    assert find_ids(dataset, query="made") == ["gem-1", "gem-2"]
    pending = dataset.records(rg.Query(query="emerald", filter=rg.Filter(("status", "==", "pending"))))
    dataset.records.delete(list(pending))
    assert [record.id for record in dataset.records] == ["gem-1", "gem-3"]


def test_export_records(dataset: Any, workspace: Any, client: Any, tmp_path: Path) -> None:
    """To a list, a dictionary by names or by ids, a `datasets` dataset, and a JSON file that can be logged again."""
    assert [row["question"] for row in dataset.records.to_list(flatten=True)] == [gem[0] for gem in GEMS]
    assert dataset.records.to_list()[0]["suggestions"]["label"]["value"] == "bad"
    assert dataset.records.to_dict(flatten=True)["label.suggestion"] == ["bad", "good", "good", "good"]
    assert dataset.records.to_dict(orient="index")["gem-3"]["fields"]["answer"] == "No, it is old resin."
    assert dataset.records.to_datasets()["answer"][2] == "Beryl with chromium."
    path = dataset.records.to_json(tmp_path / "gems.json")
    copy = rg.Dataset(name="copy", workspace=workspace, settings=settings(), client=client).create()
    copy.records.from_json(path)
    assert [record.id for record in copy.records] == [record.id for record in dataset.records]


# ---- queries --------------------------------------------------------------------------------------------------------


def test_search_words(dataset: Any) -> None:
    """A record is found by a word in any of its fields; a query of several words requires all of them."""
    assert find_ids(dataset, query="ruby") == ["gem-0"]
    assert find_ids(dataset, query="aluminium") == ["gem-0", "gem-1"]
    assert find_ids(dataset, query="aluminium iron") == ["gem-1"]
    assert find_ids(dataset, query="aluminium resin") == []


def test_search_operators(dataset: Any) -> None:
    """And, or, not, prefix, phrase, parentheses and the backslash, as in Elasticsearch's simple query string."""
    assert find_ids(dataset, query="aluminium + iron") == ["gem-1"]
    assert find_ids(dataset, query="ruby | amber") == ["gem-0", "gem-3"]
    assert find_ids(dataset, query="aluminium -iron") == ["gem-0"]
    assert find_ids(dataset, query="alum*") == ["gem-0", "gem-1"]
    assert find_ids(dataset, query='"old resin"') == ["gem-3"]
    assert find_ids(dataset, query='"resin old"') == []
    assert find_ids(dataset, query="(ruby | emerald) beryl") == ["gem-2"]
    assert find_ids(dataset, query=r"old \+ resin") == ["gem-3"]


def test_search_by_edit_distance(dataset: Any) -> None:
    """Refused with a message: it is the one documented operator that the embedded search does not have."""
    with pytest.raises(Exception, match="not supported"):
        find_ids(dataset, query="rubi~1")


def test_filter_by_every_field(dataset: Any, person: Any) -> None:
    """Every field of the guide's table, with `==`, `in`, `>=` and `<=`; several conditions must all hold."""
    first = next(iter(dataset.records))
    for question, value in {"comment": "No.", "label": "bad", "stars": 2}.items():
        first.responses.add(rg.Response(question, value, user_id=person.id, status="submitted"))
    dataset.records.log([first])
    yesterday = datetime.now(UTC) - timedelta(days=1)
    everything = [gem.id for gem in gems()]
    for condition, ids in [
        (("id", "in", ["gem-1", "gem-2"]), ["gem-1", "gem-2"]),
        (("_server_id", "==", str(first._server_id)), ["gem-0"]),
        (("inserted_at", ">=", yesterday.isoformat()), everything),
        (("inserted_at", "<=", yesterday.isoformat()), []),
        (("updated_at", ">=", yesterday), everything),
        (("status", "==", "completed"), ["gem-0"]),
        (("response.status", "==", "submitted"), ["gem-0"]),
        (("metadata.color", "in", ["red", "green"]), ["gem-0", "gem-2"]),
        (("metadata.carat", ">=", 30), ["gem-2", "gem-3"]),
        (("metadata.weight", "<=", 0.2), ["gem-0", "gem-1"]),
        (("label.suggestion", "==", "bad"), ["gem-0"]),
        (("label", "==", "good"), ["gem-1", "gem-2", "gem-3"]),
        (("label.score", "<=", 0.2), ["gem-0", "gem-1"]),
        (("label.agent", "==", "model-a"), everything),
        (("label.response", "==", "bad"), ["gem-0"]),
        (("stars.response", "in", [1, 2]), ["gem-0"]),
    ]:
        assert find_ids(dataset, filter=rg.Filter(condition)) == ids, condition
    many = [("label.suggestion", "==", "good"), ("metadata.carat", ">=", 10), ("metadata.carat", "<=", 30)]
    assert find_ids(dataset, filter=rg.Filter(many)) == ["gem-1", "gem-2"]


def test_similar_records(dataset: Any) -> None:
    """Nearest first, with a score; by a vector or by a record, which is not one of its own neighbours; or farthest
    first."""
    near = list(dataset.records(rg.Query(similar=rg.Similar("mini", [1.0, 0.0, 0.0]))))
    assert [record.id for record, _ in near][:2] == ["gem-0", "gem-1"]
    assert near[0][1] == pytest.approx(1.0)
    assert [score for _, score in near] == sorted((score for _, score in near), reverse=True)
    by_record = rg.Similar("mini", near[0][0])
    assert next(dataset.records(rg.Query(similar=by_record), limit=1))[0].id == "gem-1"
    far = rg.Similar("mini", [1.0, 0.0, 0.0], most_similar=False)
    assert next(dataset.records(rg.Query(similar=far), limit=1))[0].id in ("gem-2", "gem-3")


def test_combined_queries(dataset: Any) -> None:
    """Words, conditions and a vector can be combined."""
    conditions = rg.Filter([("label.suggestion", "==", "good"), ("metadata.carat", ">=", 10)])
    assert find_ids(dataset, query="aluminium", filter=conditions) == ["gem-1"]
    near = rg.Query(similar=rg.Similar("mini", [1.0, 0.0, 0.0]), filter=conditions)
    assert next(dataset.records(near, limit=1))[0].id == "gem-1"


def test_table_lists_every_tested_call() -> None:
    """Every test of the guides is in the table, and every row of the table names a test or says that it was not
    tried."""
    tried: set[str] = set()
    for line in TABLE.read_text(encoding="utf-8").split("|---|\n")[1].splitlines():
        *_, here, names, _ = re.split(r"(?<!\\)\|", line)
        tests = set(re.findall(r"`(test_\w+)`", names))
        assert tests or here.strip().startswith("not tried"), line
        tried |= tests
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_sdk_*.py")]
    there = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    assert tried == there - {"test_table_lists_every_tested_call"}
