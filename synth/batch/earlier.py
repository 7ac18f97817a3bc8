"""The batches that earlier runs have submitted, those of which it is unknown whether they were created, and what those
cost that nothing is asked of any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Container
from datetime import UTC, datetime, timedelta

from schemas.errors import TeacherError
from schemas.money import Hold, dollars
from schemas.progress import Say
from schemas.records import Artifact
from schemas.store import Store
from schemas.wording import counted
from synth.batch.api import BatchApi, NotThereError
from synth.batch.holds import BatchHolds
from synth.batch.lines import FORMAT_ERRORS, MAX_SUBMIT_TIME, Announced, Results
from synth.chat.completions import StoppedError, one_line

RESULT_RETENTION = timedelta(days=29)  # providers keep results for about so long, or less
_LOOKS = 5  # for batches that may arrive: 13 seconds
_MAX_S = 60.0  # a run that is otherwise done waits no longer for a batch that it does not need


def recorded(store: Store) -> tuple[dict[str, Artifact], dict[str, Artifact]]:
    """The announced batches that a provider may still have, by label, and the record of the creation of each, if any.
    The latter has no path if the batch was not created."""
    announced: dict[str, Artifact] = {}
    created: dict[str, Artifact] = {}
    for artifact in store.artifacts("batch"):
        if artifact.at < datetime.now(UTC) - RESULT_RETENTION:
            continue
        if label := artifact.facts.get("label"):
            created[label] = artifact
        elif "lines" in artifact.facts:
            announced[artifact.id.removeprefix("batch:")] = artifact
    announced = {label: one for label, one in announced.items() if label not in created or created[label].path}
    return announced, created


def unread_lines(store: Store) -> set[str]:
    """The names of requests whose answers may be in a batch that was not read completely."""
    announced, _ = recorded(store)
    holds = store.holds(announced) if announced else {}
    return {
        name
        for label, one in announced.items()
        if label not in holds or holds[label].open
        for name in one.facts["lines"]
    }


class EarlierBatches:
    """The batches of earlier runs at one provider: `batch_of` is the last batch of each line, `lines` are the lines of
    each batch, `submitted_at` is its time, and `guessed` are those without a label, until one of their lines proves to
    be ours. Those of the teachers `others`, which this run asks too, are theirs to read.

    A batch that may have been created although its id is not recorded is looked for at the provider: several times, at
    first after `poll_s`, if its process may have ended just now, because its request may still be on its way.
    """

    def __init__(
        self, store: Store, api: BatchApi, holds: BatchHolds, say: Say, poll_s: float, others: Container[str] = ()
    ) -> None:
        self._store, self._api, self._holds, self._say, self._wait_s = store, api, holds, say, poll_s
        self._others = others
        self._looks = _LOOKS
        self.batch_of: dict[str, str] = {}
        self.lines: dict[str, list[str]] = {}
        self.submitted_at: dict[str, datetime] = {}
        self.guessed: dict[str, Announced] = {}

    def __contains__(self, batch: object) -> bool:
        return batch in self.submitted_at

    async def load(self) -> None:
        """Read them from the store, and look for those whose id is not recorded."""
        announced, created = recorded(self._store)
        others, holds = [one.path for one in created.values()], self._store.holds(announced)
        for label, artifact in announced.items():
            if label in holds and holds[label].teacher in self._others:
                continue
            names: list[str] = artifact.facts["lines"]
            base = artifact.facts.get("base")  # unknown for one of an older version
            if (known := created.get(label)) is not None:
                batch: str | None = known.path
                self.submitted_at[known.path] = known.at
            elif base not in (None, self._api.base):
                continue  # only its own provider can tell whether it exists
            else:  # the process ended while submitting it
                is_here = base is not None
                one = Announced(label, len(names), artifact.at, others)
                may_arrive = is_here and datetime.now(UTC) - artifact.at < MAX_SUBMIT_TIME
                batch = await self._look_for(one, holds.get(label), is_here=is_here, may_arrive=may_arrive)
                if batch is None and is_here:
                    await self.record(label, "")
                elif batch is not None and self._api.form.labels:
                    await self.record(label, batch)
                    others.append(batch)
            if batch is not None:
                self.lines[batch] = names
                self.batch_of.update(dict.fromkeys(names, batch))
                self._holds.add(batch, holds.get(label))

    async def find(self, announced: Announced, wrong: str = "") -> str | None:
        """The id of a batch that was announced and may have been created, if the provider has it. One identified by
        size and time alone may prove `wrong` (none of its lines is ours): then the next candidate is looked for.

        Raises NotThereError if the provider does not list batches.
        """
        others = {*announced.others, *self.guessed, *([wrong] if wrong else ())}
        batch = await self._api.find(announced._replace(others=others))
        if batch is not None:
            self.submitted_at[batch] = announced.at
            if not self._api.form.labels:
                self.guessed[batch] = announced._replace(others=others)
        return batch

    async def reassign(
        self, batch: str, guess: Announced, names: Collection[str], results: Results | None
    ) -> str | None:
        """The batch that the lines `names` may be in, because `results` show that `batch`, which was taken for the
        announced one, is not it; None if the provider has no other. If `batch` was announced as another one, the two
        change places."""
        there = self.batch_of.keys() & (set() if results is None else results.names)
        crossed = (one for one in map(self.batch_of.__getitem__, there) if one in self.guessed)
        if (other := next(crossed, None)) is not None:
            others_names = [name for name, one in self.batch_of.items() if one == other]
            self.guessed[batch], self.guessed[other] = self.guessed[other], guess
            self.batch_of.update(dict.fromkeys(others_names, batch))
        elif (other := await self.find(guess, batch)) is None:
            return None
        self.batch_of.update(dict.fromkeys(names, other))
        self._holds.exchange(batch, other)
        return other

    async def record(self, label: str, batch: str) -> None:
        """Record the id of a batch; an empty one if it was not created."""
        await self._store.put(Artifact(id=f"batch:{label}:made", kind="batch", path=batch, facts={"label": label}))

    def unasked(self, asked: Container[str]) -> dict[str, Hold]:
        """The holds of the batches that are not `asked`, because the prompt, the model or the seeds have changed since,
        and whose real cost is unknown. Not those whose requests were all submitted again, and no guessed one, which may
        be another project's."""
        priced = {artifact.path for artifact in self._store.artifacts("batch") if artifact.facts.get("priced")}
        current = set(self.batch_of.values()) - self.guessed.keys() - priced
        holds = self._holds.open()
        return {batch: hold for batch, hold in holds.items() if batch in current and batch not in asked}

    def describe_unasked(self, batch: str, hold: Hold) -> str:
        """That a batch is paid for, perhaps in vain."""
        cost = "" if hold.usd is None else f" ({dollars(hold.usd)} at most)"
        return (
            f"batch {batch} of an earlier run has {counted(hold.requests, 'request', 'requests')}{cost} that this run "
            "does not ask. They are paid for all the same: if you do not need them, cancel the batch at the provider."
        )

    async def settle(self, batch: str, hold: Hold) -> None:
        """Replace `hold`, the most that a batch may cost, by its real cost, if it has ended."""
        try:
            async with asyncio.timeout(_MAX_S):
                state = await self._api.state(batch)
                if not state.ended:
                    self._say(self.describe_unasked(batch, hold))
                    return
                results = Results() if state.failure is not None else await self._api.results(state)
        except (NotThereError, StoppedError):
            return  # its cost remains unknown
        except (TimeoutError, TeacherError, *FORMAT_ERRORS) as error:
            why = one_line(str(error) and self._api.shown(error)) or "no answer in time"
            self._say(f"batch {batch} of an earlier run: its cost could not be read ({why}).")
            return
        absent = len(set(self.lines[batch]) - set(results.names))
        missing = min(absent, results.missing(state.answered))
        self._holds.read(batch, len(self.lines[batch]), results.answers, (), missing)
        facts = {"priced": True}  # its hold is its real cost, although its answers are in no row
        await self._store.put(Artifact(id=f"batch:{batch}:priced", kind="batch", path=batch, facts=facts))

    async def _look_for(
        self, announced: Announced, hold: Hold | None, *, is_here: bool, may_arrive: bool
    ) -> str | None:
        """`find`, repeated if the batch `may_arrive`. If it was submitted to this provider (`is_here`), which does not
        have it, its `hold` is released."""
        size = counted(announced.lines, "request", "requests")
        try:
            while (batch := await self.find(announced)) is None and may_arrive and self._looks:
                self._looks -= 1
                await asyncio.sleep(self._wait_s)
                self._wait_s *= 1.5
        except NotThereError as error:
            self._say(
                f"warning: an earlier run ended while it submitted {size}, and whether it did is unknown, because the "
                f"provider lists no batches. If it did, they are paid for twice. ({error.what})"
            )
            return None
        if batch is None and is_here:
            self._say(
                f"An earlier run ended while it submitted {size}. The provider has no such batch, so it costs nothing."
            )
            self._holds.release(hold)
        return batch


async def settle_unasked(opened: Callable[[], Awaitable[EarlierBatches]], asked: Container[str], say: Say) -> None:
    """Replace the most that the batches of earlier runs that are not `asked` may cost by their real cost."""
    try:
        async with asyncio.timeout(_MAX_S):
            earlier = await opened()
    except StoppedError:
        return
    except (TimeoutError, TeacherError) as error:
        why = one_line(str(error)) or "no answer in time"
        say(f"The cost of batches of earlier runs could not be read ({why}).")
        return
    for batch, hold in earlier.unasked(asked).items():
        await earlier.settle(batch, hold)
