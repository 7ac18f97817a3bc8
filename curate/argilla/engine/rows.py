"""Bulk routes for records and answers, which pairsmith's push and pull use on its own server instead of Argilla's
routes, because those read and write each record through several models.

Permissions and results are as with Argilla's routes: the same users, the same tables in one transaction, the same
webhooks. Only new records are added, with suggestions but without vectors; existing records are not changed.
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
_IDS_PER_QUERY = 500
_DATASET_RELATIONS = (Dataset.fields, Dataset.questions, Dataset.metadata_properties)


def add_routes(api):
    path = "/pairsmith/datasets/{dataset_id}/records"
    api.add_api_route(path, put_records, methods=["PUT"], include_in_schema=False)
    api.add_api_route(path, get_records, methods=["GET"], include_in_schema=False)


async def put_records(dataset_id: UUID, request: Request, db: Db, current_user: Me, search_engine: Engine):
    """Add the items whose `external_id` the dataset does not have, and return their number.

    Responds with 422 if the dataset is not published or an item does not match it.
    """
    dataset = await Dataset.get_or_raise(db, dataset_id, options=[selectinload(of) for of in _DATASET_RELATIONS])
    await authorize(current_user, DatasetPolicy.upsert_records(dataset))
    if not dataset.is_ready:
        raise UnprocessableEntityError("Records cannot be added to a dataset that is not published.")
    try:
        items = _validate_items(dataset, json.loads(await request.body())["items"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnprocessableEntityError(f"The records are not valid: {error!r}.") from error
    existing = set()
    ids = list(items)
    for start in range(0, len(ids), _IDS_PER_QUERY):
        known = sa.select(Record.external_id).where(
            Record.dataset_id == dataset_id, Record.external_id.in_(ids[start : start + _IDS_PER_QUERY])
        )
        existing.update((await db.execute(known)).scalars())
    new = {external_id: (uuid4(), item) for external_id, item in items.items() if external_id not in existing}
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
        suggestions = [
            {**one, "question_id": UUID(one["question_id"]), "record_id": id_}
            for id_, item in new.values()
            for one in item.get("suggestions", ())
        ]
        has_webhook = (await db.execute(sa.select(Webhook.id).where(Webhook.enabled).limit(1))).first()
        if has_webhook:  # Check Redis before storing: a retry would find the rows stored and send no notification.
            await asyncio.to_thread(REDIS_CONNECTION.ping)
        await db.execute(sa.insert(Record), rows)
        if suggestions:
            await db.execute(sa.insert(Suggestion), suggestions)
        await db.commit()
        await search_engine.index_records(dataset, ())
        if has_webhook:
            for row in rows:
                record = await Record.get_or_raise(
                    db, row["id"], options=[selectinload(of) for of in (Record.suggestions, Record.responses)]
                )
                await notify_record_event(db, RecordEvent.created, record)
    return {"added": len(new)}


def _validate_items(dataset, items):
    """Return the items by external id.

    Raises ValueError, or KeyError, TypeError or AttributeError, for items that do not match the dataset.
    """
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
    dataset_id: UUID, db: Db, current_user: Me, offset: int = 0, limit: int = 2000, responses: bool = False
):
    """Return records, oldest first, in the format of Argilla's own route; without `responses` only ids and status."""
    dataset = await Dataset.get_or_raise(db, dataset_id)
    await authorize(current_user, DatasetPolicy.search_records_with_all_responses(dataset))
    of = Record.dataset_id == dataset_id
    page = sa.select(Record.id).where(of).order_by(Record.inserted_at, Record.id)
    page = page.offset(max(0, offset)).limit(max(0, min(limit, 10_000))).subquery()
    # Select as text: parsing each UUID and JSON value and serialising it again takes longer than everything else.
    query = sa.select(_as_text(Record.id), Record.external_id, Record.status).join(page, page.c.id == Record.id)
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
        query = query.add_columns(*texts, Record.inserted_at, *answers).outerjoin(Record.responses)
        order += [Response.inserted_at, Response.id]
    rows = (await db.execute(query.order_by(*order))).all()
    items = ",".join(_record_json(list(of_record), responses) for _, of_record in groupby(rows, key=itemgetter(0)))
    total = (await db.execute(sa.select(sa.func.count(Record.id)).where(of))).scalar()
    return Answer(f'{{"items":[{items}],"total":{total}}}'.encode(), media_type="application/json")


def _record_json(rows, responses):
    """Return a record as JSON from its rows: one per answer, or a single row without an answer."""
    id_, external_id, status, *texts = rows[0][:6]
    head = f'"id":"{_format_uuid(id_)}","external_id":{json.dumps(external_id)},"status":"{status.value}"'
    if not responses:
        return f"{{{head}}}"
    fields, metadata, inserted_at = texts
    answers = ",".join(_response_json(*row[6:]) for row in rows if row[6])
    body = f'"fields":{fields},"metadata":{metadata or "{}"},"inserted_at":"{inserted_at.isoformat()}"'
    return f'{{{head},{body},"responses":[{answers}]}}'


def _response_json(id_, user, status, values, updated):
    return (
        f'{{"id":"{_format_uuid(id_)}","user_id":"{_format_uuid(user)}","status":"{status.value}",'
        f'"values":{values or "null"},"updated_at":"{updated.isoformat()}"}}'
    )


def _as_text(column):
    return sa.cast(column, sa.Text).label(None)  # unnamed, because two columns have the same name


def _format_uuid(id_):
    """Return a UUID with dashes; SQLite stores only its digits."""
    return id_ if len(id_) > 32 else f"{id_[:8]}-{id_[8:12]}-{id_[12:16]}-{id_[16:20]}-{id_[20:]}"
