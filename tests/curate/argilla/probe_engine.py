"""Query the search engine on a filled database, under the server's own Python; prints the answers as JSON."""

import asyncio
import json
import sys
import uuid
from datetime import datetime, timedelta

import fill as filling
import pairsmith_sql_engine
import sqlalchemy as sa
from argilla_server.database import AsyncSessionLocal, database_url_sync
from argilla_server.enums import SimilarityOrder
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.models import Dataset, MetadataProperty, Record, Suggestion, User, Vector, VectorSettings
from argilla_server.search_engine.base import (
    AndFilter,
    MetadataFilterScope,
    Order,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SearchEngine,
    SuggestionFilterScope,
    TermsFilter,
    TextQuery,
)
from pairsmith_sql_engine import ENGINE_NAME


def scope(asked: dict, users: dict):
    kind = asked["entity"]
    if kind == "record":
        return RecordFilterScope(property=asked["property"])
    if kind == "metadata":
        return MetadataFilterScope(metadata_property=asked["name"])
    if kind == "suggestion":
        return SuggestionFilterScope(question=asked["question"], property=str(asked.get("property", "value")))
    return ResponseFilterScope(
        question=asked.get("question"), property=asked.get("property"), user=users.get(asked.get("user"))
    )


def filter_of(asked: list, users: dict) -> AndFilter:
    return AndFilter(
        filters=[
            TermsFilter(scope=scope(part, users), values=[str(value) for value in part["values"]])
            if "values" in part
            else RangeFilter(scope=scope(part, users), ge=part.get("ge"), le=part.get("le"))
            for part in asked
        ]
    )


async def answer(engine: SearchEngine, session, question: dict) -> dict:
    dataset = await Dataset.get_or_raise(session, uuid.uuid5(filling.SPACE, "pairs"))
    users = {user.username: user for user in (await session.scalars(sa.select(User))).all()}
    numbers = {filling.record_id(i): i for i in range(filling.COUNT)}
    asked = dict(question)
    kind = asked.pop("ask", "search")
    if kind == "progress":
        return await engine.get_dataset_progress(dataset)
    if kind == "user_progress":
        return await engine.get_dataset_user_progress(dataset, users[asked["user"]])
    if kind == "metrics":
        metadata_property = await MetadataProperty.get_by(session, name=asked["name"], dataset_id=dataset.id)
        return json.loads((await engine.compute_metrics_for(metadata_property)).model_dump_json())
    if kind == "settings kept":
        pairsmith_sql_engine._VECTOR_CACHE.clear()
        pairsmith_sql_engine.read_ahead()
        ahead = sum(bool(vectors.ids) for vectors in pairsmith_sql_engine._VECTOR_CACHE.values())
        for _ in range(asked["of"]):
            pairsmith_sql_engine._load_vectors(dataset.id, uuid.uuid4())
        return {"kept": len(pairsmith_sql_engine._VECTOR_CACHE), "ahead": ahead}
    if kind == "change":
        await change(session, **asked)
        return {}
    text = asked.pop("text", None)
    query = TextQuery(q=text, field=asked.pop("field", None)) if text is not None else None
    filters = filter_of(asked.pop("filters"), users) if "filters" in asked else None
    try:
        if kind == "similar":
            record = None
            if "number" in asked:
                record = await Record.get_or_raise(session, filling.record_id(asked.pop("number")))
                await record.awaitable_attrs.vectors
            settings = await VectorSettings.get_by(session, name="mini", dataset_id=dataset.id)
            order = SimilarityOrder(asked.pop("order", "most_similar"))
            matches = await engine.similarity_search(
                dataset=dataset,
                vector_settings=settings,
                record=record,
                query=query,
                filter=filters,
                order=order,
                max_results=asked.pop("limit", 100),
                **asked,
            )
        else:
            if "sort" in asked:
                asked["sort"] = [Order(scope=scope(part, users), order=part["order"]) for part in asked["sort"]]
            if "user" in asked:
                asked["user_id"] = users[asked.pop("user")].id
            matches = await engine.search(dataset=dataset, query=query, filter=filters, **asked)
    except (UnprocessableEntityError, ValueError) as problem:
        return {"refused": getattr(problem, "message", None) or str(problem)}
    return {
        "numbers": [numbers[item.record_id] for item in matches.items],
        "total": matches.total,
        "scores": [item.score for item in matches.items],
    }


async def change(session, do: str, number: int, seconds: int = 0) -> None:
    """Change a record as Argilla does: through its models, in its session."""
    record = await Record.get_or_raise(session, filling.record_id(number))
    if do == "edit":
        record.fields = {**record.fields, "prompt": "wholly changedword"}
        record.metadata_ = {"topic": "changed", "length": -5}
        await record.save(session)
    elif do == "suggest":
        question = uuid.uuid5(record.dataset_id, "question verdict")
        await Suggestion.upsert(
            session,
            {"record_id": record.id, "question_id": question, "value": "brandnew", "score": 0.99, "agent": "later"},
            constraints=[Suggestion.record_id, Suggestion.question_id],
        )
    elif do == "vector":  # dated `seconds` from now
        written = {"value": [-1.0] * 8, "updated_at": datetime.utcnow() + timedelta(seconds=seconds)}
        await session.execute(sa.update(Vector).where(Vector.record_id == record.id).values(written))
        await session.commit()
    elif do == "delete":
        await record.delete(session)


async def main() -> None:
    with sa.create_engine(database_url_sync()).begin() as connection:
        if connection.scalar(sa.select(sa.func.count()).select_from(Record.__table__)) == 0:
            filling.known(connection)
    answers = []
    async with AsyncSessionLocal() as session, SearchEngine.get_by_name(ENGINE_NAME) as engine:
        assert await engine.ping()
        for question in json.load(sys.stdin):
            answers.append(await answer(engine, session, question))
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main())
