"""Removal of rows, or of one reviewer's answers, from a project's queues. `pairsmith erase` does this before it deletes
them from the store."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from curate.argilla.client import Argilla, Queue
from curate.argilla.task import escaped

_ANSWER = re.compile(r"<p>(<b>.*?</b>).*?</p>")  # one annotator's answer as quoted for adjudicators


def erase_rows(argilla: Argilla, queues: Iterable[Queue], pair_ids: Collection[str]) -> int:
    """Delete the rows of these pairs with all their answers; return the number of rows."""
    return sum(
        argilla.delete(queue, [str(row["id"]) for row in argilla.records(queue) if row["external_id"] in pair_ids])
        for queue in queues
    )


def erase_answers(argilla: Argilla, queues: Iterable[Queue], names: Collection[str]) -> int:
    """Delete every answer (drafts too) of the reviewer with these names and keys, and the quotations of them in rows
    for adjudicators; return the number of answers.

    The rows remain, and so does the account, which may be used in other projects.
    """
    ids = {name.rpartition("/")[2] for name in names}
    ids |= {id_ for id_, user in argilla.users().items() if user.name in names}
    titles = {f"<b>{escaped(name)}</b>" for name in names}
    deleted = 0
    for queue in queues:
        for row in list(argilla.records(queue, responses=True)):
            for response in row.get("responses") or ():
                if str(response["user_id"]) in ids:
                    argilla.call("DELETE", f"responses/{response['id']}")
                    deleted += 1
            quoted = row["fields"].get("answers", "")
            left = _ANSWER.sub(lambda line: "" if line[1] in titles else line[0], quoted)
            if left != quoted:
                argilla.call("PATCH", f"records/{row['id']}", json={"fields": {**row["fields"], "answers": left}})
    return deleted
