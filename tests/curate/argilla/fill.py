"""Fill an Argilla database with records of a known shape; runs under the server's own Python, without its HTTP server.

`fill(count)` writes one published dataset. Record number i holds: prompt "prompt i <words>", reply, chat, picture;
metadata topic (term), tags (list of terms), length (integer), score (float), batch (an integer that one in 100 has);
suggestions for verdict (label, agent and score), flags (multi-label with scores), stars (rating); a vector of 8
numbers. Its values are functions of i alone.
`python fill.py known` writes what the engine's tests ask about, `python fill.py big COUNT` what the benchmark does.
"""

import math
import sys
import uuid
from datetime import datetime, timedelta

import sqlalchemy as sa
from argilla_server.database import database_url_sync
from argilla_server.models import (
    Dataset,
    DatasetUser,
    Field,
    MetadataProperty,
    Question,
    Record,
    Response,
    Suggestion,
    User,
    Vector,
    VectorSettings,
    Workspace,
    WorkspaceUser,
)

START = datetime(2026, 1, 1)
TOPICS = ["animals", "streets", "kitchens", "ships"]
VERDICTS = ["accept", "edit", "reject"]
FLAGS = ["too_long", "off_style", "unsafe"]
SPACE = uuid.UUID(int=0x5EED)
COUNT = 300  # records of the known dataset


def record_id(number: int) -> uuid.UUID:
    return uuid.uuid5(SPACE, f"record {number}")


def vector(number: int) -> list:
    return [math.cos(number * 0.37 + place) for place in range(8)]


def words(number: int) -> str:
    kinds = ["harbor at dawn", "neon-lit alley", "copper kettle", "harbor crane", "quiet fjord"]
    return f"{kinds[number % 5]} item{number} lot{number // 10}" + (" rareword" if number % 97 == 0 else "")


def reply(number: int) -> str:
    """Words that a database may parse as a path, a host or one long word."""
    odd = {7: " black/white night.Then 3.5kg", 8: " \u591c\u7a7a"}.get(number % 50, "")
    return f"Reply number {number}.{odd} "


def fill(connection: sa.Connection, count: int, users: list, padding: int = 0, name: str = "pairs") -> uuid.UUID:
    """Insert the dataset and its records through SQL and return the dataset's id. `users`: (name, role)."""
    now = {"inserted_at": START, "updated_at": START}
    user_ids = {}

    def insert(model, rows: list) -> None:
        for start in range(0, len(rows), 500):
            connection.execute(sa.insert(model.__table__), rows[start : start + 500])

    workspace = uuid.uuid4()
    insert(Workspace, [dict(id=workspace, name=f"w-{name}", **now)])
    for user, role in users:
        user_ids[user] = uuid.uuid5(SPACE, user)
        insert(
            User,
            [
                dict(
                    id=user_ids[user],
                    first_name=user,
                    username=user,
                    role=role,
                    api_key=f"key.{user}",
                    password_hash="-",
                    **now,
                )
            ],
        )
        insert(WorkspaceUser, [dict(id=uuid.uuid4(), workspace_id=workspace, user_id=user_ids[user], **now)])
    dataset = uuid.uuid5(SPACE, name)
    insert(
        Dataset,
        [
            dict(
                id=dataset,
                name=name,
                status="ready",
                workspace_id=workspace,
                last_activity_at=START,
                distribution={"strategy": "overlap", "min_submitted": 1},
                **now,
            )
        ],
    )
    insert(
        Field,
        [
            {
                "id": uuid.uuid5(dataset, f"field {field}"),
                "name": field,
                "title": field,
                "required": field == "prompt",
                "settings": {"type": kind},
                "dataset_id": dataset,
                "inserted_at": START + timedelta(seconds=place),
                "updated_at": START,
            }
            for place, (field, kind) in enumerate(
                [("prompt", "text"), ("reply", "text"), ("talk", "chat"), ("picture", "image")]
            )
        ],
    )
    options = {"verdict": [*VERDICTS, "brandnew"], "flags": FLAGS, "stars": [1, 2, 3, 4, 5], "order": ["a", "b"]}
    kinds = {
        "verdict": "label_selection",
        "flags": "multi_label_selection",
        "stars": "rating",
        "comment": "text",
        "order": "ranking",
    }
    questions = {question: uuid.uuid5(dataset, f"question {question}") for question in kinds}
    insert(
        Question,
        [
            dict(
                id=questions[question],
                name=question,
                title=question,
                required=question == "verdict",
                settings={
                    "type": kind,
                    "options": [{"value": value, "text": str(value)} for value in options.get(question, [])],
                },
                dataset_id=dataset,
                **now,
            )
            for question, kind in kinds.items()
        ],
    )
    properties = {"topic": "terms", "tags": "terms", "length": "integer", "score": "float", "batch": "integer"}
    insert(
        MetadataProperty,
        [
            dict(
                id=uuid.uuid5(dataset, f"property {prop}"),
                name=prop,
                title=prop,
                settings={"type": kind},
                allowed_roles=["admin", "annotator"],
                dataset_id=dataset,
                **now,
            )
            for prop, kind in properties.items()
        ],
    )
    settings = uuid.uuid5(dataset, "vectors")
    insert(VectorSettings, [dict(id=settings, name="mini", title="mini", dimensions=8, dataset_id=dataset, **now)])
    for start in range(0, count, 5000):
        numbers = range(start, min(start + 5000, count))
        insert(
            Record,
            [
                {
                    "id": uuid.uuid5(dataset, f"record {i}") if name != "pairs" else record_id(i),
                    "dataset_id": dataset,
                    "external_id": f"row-{i:06d}",
                    "status": "pending",
                    "fields": {
                        "prompt": f"prompt {i} {words(i)}",
                        "reply": reply(i) + "filler text goes here " * padding,
                        "talk": [{"role": "user", "content": f"hello talk{i}"}],
                        "picture": "https://pictures.invalid/secretword.png",
                    },
                    "metadata": {
                        "topic": TOPICS[i % 4],
                        "tags": [f"t{i % 3}", f"u{i % 5}"],
                        "length": i,
                        "score": (i * 7919 % 1000) / 1000,
                        **({"batch": i} if i % 100 == 5 else {}),
                    },
                    "inserted_at": START + timedelta(seconds=i),
                    "updated_at": START + timedelta(seconds=i),
                }
                for i in numbers
            ],
        )
        ids = {i: uuid.uuid5(dataset, f"record {i}") if name != "pairs" else record_id(i) for i in numbers}
        insert(
            Suggestion,
            [
                dict(
                    id=uuid.uuid4(),
                    record_id=ids[i],
                    question_id=questions[question],
                    value=value,
                    score=score,
                    agent=f"gate-{i % 2}",
                    type="model",
                    **now,
                )
                for i in numbers
                for question, value, score in [
                    ("verdict", VERDICTS[i % 3], (i % 10) / 10),
                    ("flags", FLAGS[: 1 + i % 3], [0.5 + (k + i % 3) / 10 for k in range(1 + i % 3)]),
                    ("stars", 1 + i % 5, None),
                    ("comment", f"a comment on {i}", 0.25),
                ]
            ],
        )
        insert(
            Vector,
            [
                dict(id=uuid.uuid4(), record_id=ids[i], vector_settings_id=settings, value=vector(i), **now)
                for i in numbers
            ],
        )
    return dataset


def respond(
    connection: sa.Connection, dataset: uuid.UUID, user: str, numbers, status: str = "submitted", **answers
) -> None:
    """Add one response of `user` to each record number; a submitted one completes the record, as Argilla's worker
    would."""
    now = {"inserted_at": START, "updated_at": START}
    theirs = uuid.uuid5(SPACE, user)
    rows = [
        dict(
            id=uuid.uuid4(),
            record_id=record_id(i),
            user_id=theirs,
            status=status,
            values={question: {"value": value} for question, value in answers.items()},
            **now,
        )
        for i in numbers
    ]
    connection.execute(sa.insert(Response.__table__), rows)
    table = DatasetUser.__table__
    if (
        connection.execute(
            sa.select(table.c.user_id).where(table.c.user_id == theirs, table.c.dataset_id == dataset)
        ).first()
        is None
    ):
        connection.execute(sa.insert(table), [dict(user_id=theirs, dataset_id=dataset, **now)])
    if status == "submitted":
        records = Record.__table__
        connection.execute(
            sa.update(records).where(records.c.id.in_([row["record_id"] for row in rows])).values(status="completed")
        )


def known(connection: sa.Connection) -> uuid.UUID:
    """The dataset of the engine's tests, with some answers of ann and bob, and a second dataset."""
    dataset = fill(connection, COUNT, [("ann", "annotator"), ("bob", "annotator"), ("eve", "annotator")])
    respond(connection, dataset, "ann", range(30), verdict="accept", stars=4, flags=["unsafe", "too_long"])
    respond(connection, dataset, "ann", range(30, 40), "discarded")
    respond(connection, dataset, "ann", range(40, 45), "draft", verdict="edit")
    respond(connection, dataset, "bob", range(20, 60), verdict="reject", stars=2)
    # Its records look the same, but its stars are words, and a text has a character that JSON allows and PostgreSQL
    # not.
    beside = fill(connection, 2, [], name="beside")
    questions, records = Question.__table__, Record.__table__
    connection.execute(
        sa.update(questions)
        .where(questions.c.id == uuid.uuid5(beside, "question stars"))
        .values(settings={"type": "label_selection", "options": [{"value": "many", "text": "many"}]})
    )
    for number in range(2):
        theirs = uuid.uuid5(beside, f"record {number}")
        row = {"id": uuid.uuid4(), "record_id": theirs, "user_id": uuid.uuid5(SPACE, "ann"), "status": "submitted"}
        values = {"stars": {"value": "many"}, "comment": {"value": "nothing\0withinit"}}
        row |= {"values": values, "inserted_at": START, "updated_at": START}
        connection.execute(sa.insert(Response.__table__), [row])
        fields = {"prompt": "nothing\0withinit", "reply": "a path: C:\\u0000", "talk": []}
        connection.execute(sa.update(records).where(records.c.id == theirs).values(fields=fields))
    return dataset


def big(connection: sa.Connection, count: int) -> uuid.UUID:
    """Records of about 1.5 KB, a quarter of them answered by ann."""
    dataset = fill(connection, count, [("ann", "annotator")], padding=60)
    respond(connection, dataset, "ann", range(0, count, 4), verdict="accept")
    return dataset


if __name__ == "__main__":
    engine = sa.create_engine(database_url_sync())
    with engine.begin() as opened:
        print(known(opened) if sys.argv[1] == "known" else big(opened, int(sys.argv[2])))
