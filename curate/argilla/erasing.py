"""Removal of rows, or of one reviewer's answers, from a project's queues. `pairsmith erase` does this before it deletes
them from the store."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from curate.argilla.client import Argilla, Queue
from curate.argilla.task import escaped
from schemas.progress import Progress, reporting, unseen
from schemas.records import Json

_ANSWER = re.compile(r"<p>(<b>.*?</b>).*?</p>")  # one annotator's answer as quoted for adjudicators


_REQUESTS = 20  # between two reports, if each row takes a request


def erase_rows(
    argilla: Argilla, queues: Iterable[Queue], pair_ids: Collection[str], progress: Progress = unseen
) -> int:
    """Delete the rows of these pairs with all their answers; return the number of rows."""
    deleted = 0
    for queue in queues:
        rows = reporting(argilla.records(queue), progress, "rows searched")
        ids = [str(row["id"]) for row in rows if row["external_id"] in pair_ids]
        deleted += argilla.delete(queue, reporting(ids, progress, "rows deleted", len(ids)))
    return deleted


def erase_answers(
    argilla: Argilla, queues: Iterable[Queue], names: Collection[str], progress: Progress = unseen
) -> int:
    """Delete every answer (drafts too) of the reviewer with these names and keys, and the quotations of them in rows
    for adjudicators; return the number of answers.

    The rows remain, and so does the account, which may be used in other projects.
    """
    ids = {name.rpartition("/")[2] for name in names}
    ids |= {id_ for id_, user in argilla.users().items() if user.name in names}
    titles = {f"<b>{escaped(name)}</b>" for name in names}
    deleted = 0
    for queue in queues:
        # Collected first. Of all rows a page is in memory at a time, and the texts of those that quote an answer.
        theirs, quoting = list[str](), list[tuple[str, Json]]()
        for row in reporting(argilla.records(queue, responses=True), progress, "rows searched"):
            theirs += [str(one["id"]) for one in row.get("responses") or () if str(one["user_id"]) in ids]
            quoted = row["fields"].get("answers", "")
            left = _ANSWER.sub(lambda line: "" if line[1] in titles else line[0], quoted)
            if left != quoted:
                quoting.append((str(row["id"]), {**row["fields"], "answers": left}))
        for id_ in reporting(theirs, progress, "answers deleted", len(theirs), _REQUESTS):
            argilla.call("DELETE", f"responses/{id_}")
        for id_, fields in quoting:
            argilla.call("PATCH", f"records/{id_}", json={"fields": fields})
        deleted += len(theirs)
    return deleted
