"""Rows in and answers out, many at a time: what pairsmith's own push and pull ask of our server in the place of
Argilla's routes, which read and write each record through several models.

Who may use them, and what is there afterwards, is as with Argilla's: the same users, the same tables in one
transaction, the same webhooks. Only new records are added, with suggestions and no vectors; what exists stays as it is.
"""

import json
from typing import Annotated
from uuid import UUID, uuid4

import sqlalchemy as sa
from argilla_server.api.policies.v1 import DatasetPolicy, authorize
from argilla_server.database import get_async_db
from argilla_server.errors.future import UnprocessableEntityError
from argilla_server.jobs.queues import REDIS_CONNECTION
from argilla_server.models import Dataset, Record, Response, Suggestion, User, Webhook
from argilla_server.search_engine import SearchEngine, get_search_engine
from argilla_server.security import auth
from argilla_server.webhooks.v1.enums import RecordEvent
from argilla_server.webhooks.v1.records import notify_record_event
from fastapi import Depends, Request, Security
from fastapi.responses import Response as Answer
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

Db = Annotated[AsyncSession, Depends(get_async_db)]
Me = Annotated[User, Security(auth.get_current_user)]
Engine = Annotated[SearchEngine, Depends(get_search_engine)]
_IDS = 500  # of a query
_READ = (Dataset.fields, Dataset.questions, Dataset.metadata_properties)


def add_routes(api):
    path = "/pairsmith/datasets/{dataset_id}/records"
    api.add_api_route(path, put_records, methods=["PUT"], include_in_schema=False)
    api.add_api_route(path, get_records, methods=["GET"], include_in_schema=False)


async def put_records(dataset_id: UUID, request: Request, db: Db, current_user: Me, search_engine: Engine):
    """Add the items whose `external_id` the dataset does not have; how many those were."""
    dataset = await Dataset.get_or_raise(db, dataset_id, options=[selectinload(of) for of in _READ])
    await authorize(current_user, DatasetPolicy.upsert_records(dataset))
    if not dataset.is_ready:
        raise UnprocessableEntityError("Records cannot be added to a dataset that is not published.")
    try:
        items = _checked(dataset, json.loads(await request.body())["items"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnprocessableEntityError(f"The records are not as they should be: {error!r}.") from error
    there = set()
    ids = list(items)
    for start in range(0, len(ids), _IDS):
        known = sa.select(Record.external_id).where(
            Record.dataset_id == dataset_id, Record.external_id.in_(ids[start : start + _IDS])
        )
        there.update((await db.execute(known)).scalars())
    new = {external_id: (uuid4(), item) for external_id, item in items.items() if external_id not in there}
    if new:
        rows = [
            {
                "id": id_,
                "external_id": external_id,
                "dataset_id": dataset_id,
                "fields": item["fields"],
                "metadata_": item.get("metadata"),
            }
            for external_id, (id_, item) in new.items()
        ]
        suggested = [
            {**one, "question_id": UUID(one["question_id"]), "record_id": id_}
            for id_, item in new.values()
            for one in item.get("suggestions", ())
        ]
        heard = (await db.execute(sa.select(Webhook.id).where(Webhook.enabled).limit(1))).first()
        if heard:  # Asked before a row is there: sent again it would be no new one, and nobody would hear of it.
            REDIS_CONNECTION.ping()
        await db.execute(sa.insert(Record), rows)
        if suggested:
            await db.execute(sa.insert(Suggestion), suggested)
        await db.commit()
        await search_engine.index_records(dataset, ())
        if heard:
            for row in rows:
                record = await Record.get_or_raise(
                    db, row["id"], options=[selectinload(of) for of in (Record.suggestions, Record.responses)]
                )
                await notify_record_event(db, RecordEvent.created, record)
    return {"added": len(new)}


def _checked(dataset, items):
    """The items by their external ids. Raises ValueError for what the dataset has no place for."""
    required = {field.name for field in dataset.fields if field.required}
    fields = {field.name for field in dataset.fields}
    questions = {str(question.id) for question in dataset.questions}
    metadata = {one.name: one.parsed_settings for one in dataset.metadata_properties}
    for item in items:
        given = set(item["fields"])
        if not required <= given <= fields:
            raise ValueError(f"fields {sorted(given)}")
        for name, value in (item.get("metadata") or {}).items():
            metadata[name].check_metadata(value)
        for one in item.get("suggestions", ()):
            if str(UUID(one["question_id"])) not in questions or not set(one) <= _SUGGESTED:
                raise ValueError(f"suggestion {one}")
        if not item["external_id"] or not isinstance(item["external_id"], str):
            raise ValueError("external_id")
    return {item["external_id"]: item for item in items}


_ANSWER = (
    *(Response.record_id, Response.id, Response.user_id),
    *(Response.status, Response.values, Response.updated_at),
)
_SUGGESTED = {"question_id", "value", "score", "agent", "type"}


async def get_records(
    dataset_id: UUID,
    db: Db,
    current_user: Me,
    offset: int = 0,
    limit: int = 2000,
    responses: bool = False,
):
    """Records, oldest first, as Argilla's own route tells them; without `responses` ids and status alone."""
    dataset = await Dataset.get_or_raise(db, dataset_id)
    await authorize(current_user, DatasetPolicy.search_records_with_all_responses(dataset))
    columns = [Record.id, Record.external_id, Record.status]
    if responses:
        columns += [Record.fields, Record.metadata_]
    page = sa.select(*columns).where(Record.dataset_id == dataset_id).order_by(Record.inserted_at, Record.id)
    page = page.offset(max(0, offset)).limit(max(0, min(limit, 10_000)))
    rows = (await db.execute(page)).all()
    told = {row.id: {"id": str(row.id), "external_id": row.external_id, "status": row.status.value} for row in rows}
    if responses:
        for row in rows:
            told[row.id] |= {
                "fields": row.fields,
                "metadata": row.metadata_ or {},
                "responses": [],
            }
        ids = list(told)
        for start in range(0, len(ids), _IDS):
            of = (
                Response.record_id,
                Response.id,
                Response.user_id,
                Response.status,
                Response.values,
                Response.updated_at,
            )
            answers = sa.select(*of).where(Response.record_id.in_(ids[start : start + _IDS]))
            for answer in await db.execute(answers.order_by(Response.inserted_at, Response.id)):
                told[answer.record_id]["responses"].append(
                    {
                        "id": str(answer.id),
                        "user_id": str(answer.user_id),
                        "status": answer.status.value,
                        "values": answer.values,
                        "updated_at": answer.updated_at.isoformat(),
                    }
                )
    body = json.dumps({"items": list(told.values())}, ensure_ascii=False, separators=(",", ":"))
    return Answer(body.encode("utf-8", "surrogatepass"), media_type="application/json")
