"""The questions of the engine's tests about the known records of `fill.py`, and the expected results.

A question is a dictionary: `text` and `field`, `filters`, `sort`, `user`, `limit`, `offset`; with "ask": "similar" also
`number` or `value`. "progress", "user_progress" and "metrics" request counts, and "change" changes a record."""

from __future__ import annotations

from typing import Any

from tests.curate.argilla.engine_asked import COUNT


def record(**scope: Any) -> dict[str, Any]:
    return {"entity": "record", **scope}


def metadata(name: str, **rest: Any) -> dict[str, Any]:
    return {"entity": "metadata", "name": name, **rest}


def suggestion(question: str, **rest: Any) -> dict[str, Any]:
    return {"entity": "suggestion", "question": question, **rest}


def response(**rest: Any) -> dict[str, Any]:
    return {"entity": "response", **rest}


AS_NAMED = record(property="external_id", order="asc")
PENDING = response(property="status", values=["pending"], user="ann")
ANN, BOB = range(45), range(20, 60)
COMPLETED = range(60)


def words(number: int) -> str:
    kinds = ["harbor at dawn", "neon-lit alley", "copper kettle", "harbor crane", "quiet fjord"]
    return kinds[number % 5] + (" rareword" if number % 97 == 0 else "")


def where(true: Any) -> list[int]:
    return [i for i in range(COUNT) if true(i)]


# name: (question, the numbers of the matching records, in any order)
SEARCHES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "everything": ({}, list(range(COUNT))),
    "words are joined by and": ({"text": "harbor dawn"}, where(lambda i: i % 5 == 0)),
    "case does not matter": ({"text": "HARBOR Crane"}, where(lambda i: i % 5 == 3)),
    "either": ({"text": "crane | fjord"}, where(lambda i: i % 5 in (3, 4))),
    "but not": ({"text": "harbor -dawn"}, where(lambda i: i % 5 == 3)),
    "only not": ({"text": "-harbor"}, where(lambda i: i % 5 not in (0, 3))),
    "not a phrase, or a word": ({"text": '-"harbor at" | rareword'}, where(lambda i: i % 5 != 0 or i % 97 == 0)),
    "brackets": (
        {"text": "harbor (crane | rareword)"},
        where(lambda i: "harbor" in words(i) and ("crane" in words(i) or i % 97 == 0)),
    ),
    "operators bind from the left": ({"text": "harbor | kettle copper"}, where(lambda i: i % 5 == 2)),
    "phrase": ({"text": '"copper kettle"'}, where(lambda i: i % 5 == 2)),
    "a phrase over two fields": ({"text": '"lot0 reply"'}, []),
    "a phrase the wrong way round": ({"text": '"kettle copper"'}, []),
    "prefix": ({"text": "item12*"}, [12, *range(120, 130)]),
    "a hyphen within a word": ({"text": "neon-lit"}, where(lambda i: i % 5 == 1)),
    "two words in two fields": ({"text": "reply talk7"}, [7]),
    "a word after a slash": ({"text": "white"}, where(lambda i: i % 50 == 7)),
    "a word after a full stop": ({"text": "then"}, where(lambda i: i % 50 == 7)),
    "both sides of a slash": ({"text": "black/white"}, where(lambda i: i % 50 == 7)),
    "one sign of a word in Han": ({"text": "\u7a7a"}, where(lambda i: i % 50 == 8)),
    "a long text": ({"text": "copper kettle " * 75}, where(lambda i: i % 5 == 2)),
    "a long phrase": ({"text": '"' + "copper kettle " * 300 + '"'}, []),
    "a sign that no text holds": ({"text": "copper\0kettle"}, where(lambda i: i % 5 == 2)),
    "not, and not": ({"text": "-(harbor | copper) -neon"}, where(lambda i: i % 5 == 4)),
    "a word that only another dataset has": ({"text": "withinit"}, []),
    "an unclosed quote": ({"text": '"copper kettle'}, where(lambda i: i % 5 == 2)),
    "part of a word": ({"text": "harb"}, []),
    "no word at all": ({"text": "--- ()"}, []),
    "the words of a chat": ({"text": "hello talk7"}, [7]),
    "within one field": ({"text": "talk7", "field": "talk"}, [7]),
    "within the wrong field": ({"text": "talk7", "field": "prompt"}, []),
    "within one field, brackets and not": (
        {"text": "(harbor | kettle) -dawn", "field": "prompt"},
        where(lambda i: i % 5 in (2, 3)),
    ),
    "not within one field": ({"text": "-harbor", "field": "prompt"}, where(lambda i: i % 5 not in (0, 3))),
    "an image has no words": ({"text": "secretword"}, []),
    "an image field": ({"text": "secretword", "field": "picture"}, []),
    "a term": ({"filters": [metadata("topic", values=["animals"])]}, where(lambda i: i % 4 == 0)),
    "any of some terms": (
        {"filters": [metadata("topic", values=["animals", "ships"])]},
        where(lambda i: i % 4 in (0, 3)),
    ),
    "a term in a list": ({"filters": [metadata("tags", values=["u4"])]}, where(lambda i: i % 5 == 4)),
    "an integer range": ({"filters": [metadata("length", ge=100, le=110)]}, list(range(100, 111))),
    "a float range": ({"filters": [metadata("score", le=0.1)]}, where(lambda i: (i * 7919 % 1000) / 1000 <= 0.1)),
    "a suggested label": ({"filters": [suggestion("verdict", values=["edit"])]}, where(lambda i: i % 3 == 1)),
    "one of suggested labels": ({"filters": [suggestion("flags", values=["unsafe"])]}, where(lambda i: i % 3 == 2)),
    "a suggested rating": ({"filters": [suggestion("stars", ge=4)]}, where(lambda i: i % 5 >= 3)),
    "a suggested rating as a term": ({"filters": [suggestion("stars", values=[2])]}, where(lambda i: i % 5 == 1)),
    "the score of a suggestion": (
        {"filters": [suggestion("verdict", property="score", ge=0.75)]},
        where(lambda i: i % 10 >= 8),
    ),
    "one of a suggestion's scores": (
        {"filters": [suggestion("flags", property="score", ge=0.85)]},
        where(lambda i: i % 3 == 2),
    ),
    "the agent of a suggestion": (
        {"filters": [suggestion("verdict", property="agent", values=["gate-1"])]},
        where(lambda i: i % 2),
    ),
    "what waits for a user": ({"filters": [PENDING]}, where(lambda i: i not in ANN)),
    "the queue of a user": (
        {"filters": [PENDING, record(property="status", values=["pending"])]},
        where(lambda i: i not in ANN and i not in COMPLETED),
    ),
    "what has no response": ({"filters": [response(property="status", values=["pending"])]}, list(range(60, COUNT))),
    "pending or draft": (
        {"filters": [response(property="status", values=["pending", "draft"], user="ann")]},
        where(lambda i: i >= 40),
    ),
    "submitted by a user": ({"filters": [response(property="status", values=["submitted"], user="bob")]}, list(BOB)),
    "submitted by anyone": ({"filters": [response(property="status", values=["submitted"])]}, list(COMPLETED)),
    "discarded by one who discarded none": (
        {"filters": [response(property="status", values=["discarded"], user="bob")]},
        [],
    ),
    "answered by a user": ({"filters": [response(question="verdict", values=["reject"], user="bob")]}, list(BOB)),
    "answered by another": ({"filters": [response(question="verdict", values=["reject"], user="ann")]}, []),
    "one of the answered labels": ({"filters": [response(question="flags", values=["unsafe"])]}, list(range(30))),
    "an answered rating": ({"filters": [response(question="stars", ge=3)]}, list(range(30))),
    "a status": ({"filters": [record(property="status", values=["completed"])]}, list(COMPLETED)),
    "an external id": ({"filters": [record(property="external_id", values=["row-000017", "row-999999"])]}, [17]),
    "until a moment": ({"filters": [record(property="inserted_at", le="2026-01-01T01:00:09+01:00")]}, list(range(10))),
    "until a day": ({"filters": [record(property="inserted_at", le="2026-01-01")]}, list(range(COUNT))),
    "from a day": ({"filters": [record(property="inserted_at", ge="2026-01-02")]}, []),
    "words and filters": (
        {
            "text": "harbor",
            "filters": [metadata("topic", values=["animals"]), suggestion("verdict", values=["accept"])],
        },
        where(lambda i: i % 5 in (0, 3) and i % 4 == 0 and i % 3 == 0),
    ),
}

REFUSED = {
    "a fuzzy word": {"text": "rareword~2"},
    "a phrase with slop": {"text": '"copper kettle"~3'},
    "more words than a search takes": {"text": "copper kettle " * 101},
    "brackets without end": {"text": "(a | (b " * 40},
    "a vector of another length": {"ask": "similar", "value": [1.0, 2.0]},
    "a range of statuses": {"filters": [response(property="status", ge=1)]},
    "a range of a record's status": {"filters": [record(property="status", le=1)]},
    "a moment beyond all time": {"filters": [record(property="inserted_at", ge=1e300)]},
    "an order by the answers to a text question": {"sort": [response(question="comment", order="asc")]},
    "an order by a suggested text": {"sort": [suggestion("comment", order="asc")]},
    "the answers to a text question": {"filters": [response(question="comment", values=["x"])]},
    "a suggested ranking": {"filters": [suggestion("order", values=["a"])]},
    "a range that is no number": {"filters": [metadata("length", ge="long")]},
    "a time that is none": {"filters": [record(property="inserted_at", ge="yesterday")]},
    "a property that is not there": {"filters": [metadata("colour", values=["red"])]},
}

OTHERS: dict[str, dict[str, Any]] = {
    "as added": {"limit": 4},
    "second page": {"limit": 4, "offset": 4},
    "past the end": {"limit": 4, "offset": 400},
    "sorted by a float": {"sort": [metadata("score", order="desc")], "limit": 5},
    "sorted by a term, then backwards": {
        "sort": [metadata("topic", order="asc"), record(property="inserted_at", order="desc")],
        "limit": 3,
    },
    "sorted by a suggestion's score": {
        "sort": [suggestion("verdict", property="score", order="desc"), record(property="inserted_at", order="asc")],
        "limit": 3,
    },
    "sorted by a suggested label": {
        "sort": [suggestion("verdict", order="desc"), metadata("length", order="desc")],
        "limit": 3,
    },
    "sorted by a list of scores": {
        "sort": [suggestion("flags", property="score", order="asc"), metadata("length", order="desc")],
        "limit": COUNT,
    },
    "sorted by what few have": {"sort": [metadata("batch", order="desc"), AS_NAMED], "limit": 5},
    "second page of what few have": {"sort": [metadata("batch", order="desc"), AS_NAMED], "limit": 3, "offset": 2},
    "sorted by what few answered": {
        "text": "harbor",
        "sort": [response(question="flags", order="asc"), AS_NAMED],
        "limit": 14,
    },
    "sorted by a status": {
        "sort": [record(property="status", order="asc"), record(property="external_id", order="desc")],
        "limit": 2,
        "offset": 59,
    },
    "sorted by a list": {
        "sort": [metadata("tags", order="desc"), record(property="inserted_at", order="asc")],
        "limit": 3,
    },
    "sorted by a term, then by the last of a list": {
        "sort": [metadata("topic", order="asc"), metadata("tags", order="desc"), AS_NAMED],
        "limit": 3,
    },
    "sorted by a term, then by the first of a list": {
        "sort": [metadata("topic", order="asc"), metadata("tags", order="asc"), AS_NAMED],
        "limit": 3,
    },
    "sorted by an answer": {
        "sort": [response(question="stars", user="ann", order="asc"), record(property="external_id", order="desc")],
        "limit": 32,
    },
    "ann's order": {"user": "ann", "limit": COUNT},
    "ann's order again": {"user": "ann", "limit": COUNT},
    "ann's second page": {"user": "ann", "limit": 10, "offset": 10},
    "bob's order": {"user": "bob", "limit": COUNT},
    "progress": {"ask": "progress"},
    "ann's progress": {"ask": "user_progress", "user": "ann"},
    "eve's progress": {"ask": "user_progress", "user": "eve"},
    "topics": {"ask": "metrics", "name": "topic"},
    "tags": {"ask": "metrics", "name": "tags"},
    "lengths": {"ask": "metrics", "name": "length"},
    "scores": {"ask": "metrics", "name": "score"},
    "like 5": {"ask": "similar", "number": 5, "limit": 3},
    "unlike 5": {"ask": "similar", "number": 5, "limit": 3, "order": "least_similar"},
    "like 5 among animals at the harbor": {
        "ask": "similar",
        "number": 5,
        "limit": 4,
        "text": "harbor",
        "filters": [metadata("topic", values=["animals"])],
    },
    "like 5, waiting and rare": {
        "ask": "similar",
        "number": 5,
        "limit": 9,
        "text": "rareword",
        "filters": [PENDING],
    },
    "like a value": {"ask": "similar", "value": [1, 0, 0, 0, 0, 0, 0, 0], "limit": 50},
}
THRESHOLD = {"ask": "similar", "value": [1, 0, 0, 0, 0, 0, 0, 0], "limit": 50, "threshold": 0.73}
