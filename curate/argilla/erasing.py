"""Taking rows, or what a person said, out of a project's queues: `pairsmith erase` does so before it forgets them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from curate.argilla.client import Argilla, Queue
from curate.argilla.task import escaped

_ANSWER = re.compile(r"<p>(<b>.*?</b>).*?</p>")  # one of those that an adjudicator sees


def erase_rows(argilla: Argilla, queues: Iterable[Queue], pair_ids: Collection[str]) -> int:
    """Delete the rows of these pairs, with all that was said of them; how many there were."""
    return sum(
        argilla.delete(queue, [str(row["id"]) for row in argilla.records(queue) if row["external_id"] in pair_ids])
        for queue in queues
    )


def erase_answers(argilla: Argilla, queues: Iterable[Queue], names: Collection[str]) -> int:
    """Delete every answer of the person who has these names and keys (drafts too), and what rows for adjudicators quote
    of it; the number of answers. The account stays, which may answer in other projects, and so does the row."""
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
