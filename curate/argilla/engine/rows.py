"""Rows in and answers out, many at a time: what pairsmith's own push and pull ask of our server in the place of
Argilla's routes, which read and write each record through several models.

Who may use them, and what is there afterwards, is as with Argilla's: the same users, the same tables in one
transaction, the same webhooks. Only new records are added, with suggestions and no vectors; what exists stays as it is.
"""

import asyncio
import json
from itertools import groupby
from operator import itemgetter
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
_IDS_PER_QUERY = 500  # of a query
_DATASET_RELATIONS = (Dataset.fields, Dataset.questions, Dataset.metadata_properties)


def add_routes(api):
    path = "/pairsmith/datasets/{dataset_id}/records"
    api.add_api_route(path, put_records, methods=["PUT"], include_in_schema=False)
    api.add_api_route(path, get_records, methods=["GET"], include_in_schema=False)


async def put_records(dataset_id: UUID, request: Request, db: Db, current_user: Me, search_engine: Engine):
    """Add the items whose `external_id` the dataset does not have; how many those were."""
    dataset = await Dataset.get_or_raise(db, dataset_id, options=[selectinload(of) for of in _DATASET_RELATIONS])
    await authorize(current_user, DatasetPolicy.upsert_records(dataset))
    if not dataset.is_ready:
        raise UnprocessableEntityError("Records cannot be added to a dataset that is not published.")
    try:
        items = _validate_items(dataset, json.loads(await request.body())["items"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnprocessableEntityError(f"The records are not as they should be: {error!r}.") from error
    there = set()
    ids = list(items)
    for start in range(0, len(ids), _IDS_PER_QUERY):
        known = sa.select(Record.external_id).where(
            Record.dataset_id == dataset_id, Record.external_id.in_(ids[start : start + _IDS_PER_QUERY])
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
            await asyncio.to_thread(REDIS_CONNECTION.ping)
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


def _validate_items(dataset, items):
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
            if str(UUID(one["question_id"])) not in questions or not set(one) <= _SUGGESTION_KEYS:
                raise ValueError(f"suggestion {one}")
        if not item["external_id"] or not isinstance(item["external_id"], str):
            raise ValueError("external_id")
    return {item["external_id"]: item for item in items}


_SUGGESTION_KEYS = {"question_id", "value", "score", "agent", "type"}


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
    of = Record.dataset_id == dataset_id
    page = sa.select(Record.id).where(of).order_by(Record.inserted_at, Record.id)
    page = page.offset(max(0, offset)).limit(max(0, min(limit, 10_000))).subquery()
    # As text: to make an id and a JSON of each, and text of that again, takes longer than all the rest.
    asked = sa.select(_as_text(Record.id), Record.external_id, Record.status).join(page, page.c.id == Record.id)
    order = [Record.inserted_at, Record.id]
    if responses:
        answers = (
            _as_text(Response.id),
            _as_text(Response.user_id),
            Response.status,
            _as_text(Response.values),
            Response.updated_at,
        )
        texts = _as_text(Record.fields), _as_text(Record.metadata_)
        asked = asked.add_columns(*texts, Record.inserted_at, *answers).outerjoin(Record.responses)
        order += [Response.inserted_at, Response.id]
    rows = (await db.execute(asked.order_by(*order))).all()
    items = ",".join(_record_json(list(own), responses) for _, own in groupby(rows, key=itemgetter(0)))
    total = (await db.execute(sa.select(sa.func.count(Record.id)).where(of))).scalar()
    return Answer(f'{{"items":[{items}],"total":{total}}}'.encode(), media_type="application/json")


def _record_json(rows, responses):
    """A record as JSON, from its rows: one for each answer, or a single one."""
    id_, external_id, status, *texts = rows[0][:6]
    head = f'"id":"{_format_uuid(id_)}","external_id":{json.dumps(external_id)},"status":"{status.value}"'
    if not responses:
        return f"{{{head}}}"
    fields, metadata, since = texts
    answers = ",".join(_response_json(*row[6:]) for row in rows if row[6])
    body = f'"fields":{fields},"metadata":{metadata or "{}"},"inserted_at":"{since.isoformat()}"'
    return f'{{{head},{body},"responses":[{answers}]}}'


def _response_json(id_, user, status, values, updated):
    return (
        f'{{"id":"{_format_uuid(id_)}","user_id":"{_format_uuid(user)}","status":"{status.value}","values":{values or "null"},'
        f'"updated_at":"{updated.isoformat()}"}}'
    )


def _as_text(column):
    return sa.cast(column, sa.Text).label(None)  # two columns have one name


def _format_uuid(id_):
    """An id as it is written; SQLite keeps its digits alone."""
    return id_ if len(id_) > 32 else f"{id_[:8]}-{id_[8:12]}-{id_[12:16]}-{id_[16:20]}-{id_[20:]}"
