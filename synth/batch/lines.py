"""The lines and results of a batch, independent of the provider's format.

Results may be gigabytes: they stay in temporary files, and each is read when it is used.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Any, NamedTuple

import orjson

from schemas.money import dollars, sum_if_known, summed
from schemas.records import Json, Usage, content_id
from schemas.spec import TeacherSettings
from schemas.wording import counted
from synth.chat.completions import Answer, RefusedError
from synth.prices import FREE, prices_of
from synth.question import max_answer_tokens

Call = Callable[..., Awaitable[bytes]]
"""`call(method, url, json=... or form=...)` returns the body of the response; it raises for any failure."""
Download = Callable[[str], Awaitable[IO[bytes]]]
"""`download(url)` returns a temporary file."""

LABEL = "pairsmith"
NAMELESS = ""  # the name in a result that says for no request
MAX_SUBMIT_TIME = timedelta(minutes=30)  # after that no request of a process that has ended can still be on its way
FORMAT_ERRORS = (ValueError, TypeError, AttributeError, KeyError, IndexError)  # parsing a response of another format
_IN_MEMORY = 1 << 20
_UNSEEN = (
    " No usable answer of this teacher has been seen yet, and a batch is paid for as a whole: `pairsmith preview` asks "
    "about five seeds directly."
)
_GZIP, _BYTE_ORDER_MARK = b"\x1f\x8b", b"\xef\xbb\xbf"


class BatchLine(NamedTuple):
    """One request of a batch, with a unique name."""

    name: str
    body: Json

    @property
    def settings(self) -> bytes:
        """All of the request but its messages and its seed."""
        return orjson.dumps({name: value for name, value in self.body.items() if name not in ("messages", "seed")})


def line_name(keys: Sequence[str], tried: int) -> str:
    """The name of the line that asks for the samples of these keys, of which the first has been tried so often."""
    return content_id("line", [list(keys), tried])


class Announced(NamedTuple):
    """A batch that was about to be created at `at`: its label, its number of lines, and the ids of other batches."""

    label: str
    lines: int
    at: datetime
    others: Collection[str]


class Result(NamedTuple):
    """The result of a line: an HTTP status and a body. Status 0: it was not processed (expired, cancelled), or its
    result cannot be read."""

    name: str
    status: int
    content: bytes


class NotInBatchError(Exception):
    """No batch of an earlier run has the answer."""


@dataclass(frozen=True)
class State:
    """The state of a batch. `failure` is the provider's message for one that was refused as a whole; `cancelled`: it
    was cancelled at the provider; `strange` is the provider's status if it is unknown; `answered` is the number of
    answers in its results according to the provider, 0 if it does not say; `completed`: it says only that the batch was
    processed to its end, so there are results."""

    ended: bool
    failure: str | None
    raw: Json
    cancelled: bool = False
    strange: str | None = None
    answered: int = 0
    completed: bool = False


def spool() -> IO[bytes]:
    """A temporary file, in memory while it is small."""
    return tempfile.SpooledTemporaryFile(_IN_MEMORY)


def spooled(rows: Iterable[Any]) -> IO[bytes]:
    """A file of these rows."""
    file = spool()
    for row in rows:  # not writelines, which keeps all of them in memory
        file.write(orjson.dumps(row) + b"\n")
    return file


class StoredResult(NamedTuple):
    """A result in a file. Status 0: the line was not processed (expired, cancelled)."""

    name: str
    status: int
    results: Results

    @property
    def content(self) -> bytes:
        """Its body, which is read from the file."""
        return self.results.read(self.name).content


def _unreadable(row: Any) -> Result:
    raise ValueError(row)


class Results:
    """The results in `files` of lines, which `parse` reads. A line that cannot be read (cut off, or an HTML page) is
    only counted; of several with one name, the first answer counts, or else the first result."""

    def __init__(self, files: Iterable[IO[bytes]] = (), parse: Callable[[Any], Result] = _unreadable) -> None:
        self._parse, self._files = parse, [_unpacked(file) for file in files]
        self._places: dict[str, tuple[IO[bytes], int, int]] = {}  # name -> file, offset and status
        # `nameless`: answers that do not say which request they answer; `unreadable`: lines that cannot be parsed.
        self.lines = self.nameless = self.unreadable = 0
        for file in self._files:
            self._index(file)

    def _index(self, file: IO[bytes]) -> None:
        offset = 0
        file.seek(0)
        for line in file:
            start, offset = offset, offset + len(line)
            if not line.strip():
                continue
            self.lines += 1
            try:
                name, status, _ = self._parse(_row(line))
            except FORMAT_ERRORS:
                self.unreadable += 1
                continue
            if name == NAMELESS:
                self.nameless += status == 200
            elif name not in self._places or (status == 200 and self._places[name][2] != 200):
                self._places[name] = file, start, status

    @property
    def names(self) -> Collection[str]:
        """The names of the lines that have a result."""
        return self._places.keys()

    @property
    def answers(self) -> dict[str, StoredResult]:
        """The good ones, by their lines."""
        return {name: self[name] for name, (_, _, status) in self._places.items() if status == 200}

    def missing(self, answered: int) -> int:
        """How many answers there are that cannot be read, if the provider counts `answered` (0: it does not count)."""
        count = sum(status == 200 for _, _, status in self._places.values())
        return self.nameless or (max(0, answered - count) if answered else self.unreadable)

    def __getitem__(self, name: str) -> StoredResult:
        place = self._places.get(name)
        return StoredResult(name, 0 if place is None else place[2], self)

    def read(self, name: str) -> Result:
        """The result of a line."""
        if (place := self._places.get(name)) is None:
            return Result(name, 0, b"{}")
        file, offset, _ = place
        file.seek(offset)
        return self._parse(_row(file.readline()))

    def keep(self, names: Collection[str]) -> None:
        """Forget the results of other lines."""
        self._places = {name: place for name, place in self._places.items() if name in names}

    def take(self, name: str) -> bytes:
        """The body of a result that is not needed again. With the last one the files are deleted."""
        content = self.read(name).content
        self._places.pop(name, None)
        if not self._places:
            self.close()
        return content

    def close(self) -> None:
        """Delete the files."""
        for file in self._files:
            file.close()


def _row(line: bytes) -> Any:
    return orjson.loads(line.removeprefix(_BYTE_ORDER_MARK))


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    """The file without a compression that its server did not declare."""
    file.seek(0)
    if file.read(len(_GZIP)) != _GZIP:
        return file
    file.seek(0)
    plain = spool()
    try:
        shutil.copyfileobj(gzip.GzipFile(fileobj=file, mode="rb"), plain)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        plain.close()
        return file
    file.close()
    return plain


async def listed(
    call: Call, url: str, rows: Callable[[Json], list[Json]], next_page: Callable[[Json, int, int], str]
) -> AsyncIterator[Json]:
    """Every entry of a provider's list, in its order. `url` ends with a query; `rows` are the entries of a page, and
    `next_page` returns what to add to the query for the page after it, given the numbers of pages and of entries so
    far, or an empty text."""
    query, asked, number, count = "", {""}, 0, 0
    while True:
        page = orjson.loads(await call("GET", url + query))
        entries = rows(page)
        for entry in entries:
            yield entry
        asked.add(query)
        number, count = number + 1, count + len(entries)
        if not entries or (query := next_page(page, number, count)) in asked:  # a server may ignore the query
            return


def max_usages(lines: Sequence[BatchLine], bytes_per_token: int) -> list[Usage] | None:
    """The most tokens of each line, because a price list may have other prices for long prompts; None if an answer may
    have any number."""
    if not all(max_answer_tokens(line.body) for line in lines):
        return None
    return [
        Usage(
            prompt_tokens=len(orjson.dumps(line.body)) // bytes_per_token,
            completion_tokens=int(line.body.get("n") or 1) * (max_answer_tokens(line.body) or 0),
        )
        for line in lines
    ]


def max_costs(teacher: TeacherSettings, lines: Sequence[BatchLine]) -> tuple[float, float] | None:
    """About the most that lines cost, asked directly and in a batch; None if it is unknown or nothing."""
    prices, each = prices_of(teacher), max_usages(lines, bytes_per_token=4)
    if prices is None or prices.source == FREE or each is None:
        return None
    return sum(map(prices.usd, each)), sum(map(prices.batch_usd, each))


def describe_costs(teacher: TeacherSettings, lines: Sequence[BatchLine]) -> str:
    """What a batch of these lines costs, and what that saves."""
    usd = max_costs(teacher, lines)
    if usd is None:
        return "the usual price" if teacher.batch_format == "together" else "half the usual price"
    return f"about {dollars(usd[1])} at most, instead of {dollars(usd[0])}"


def announcement(teacher: TeacherSettings, lines: Sequence[BatchLine], left: int, *, is_tried: bool) -> str:
    """What is said of a batch that was submitted. `left` others wait for room under the caps; `is_tried`: an answer of
    this teacher has been usable."""
    return (
        f"{counted(len(lines), 'request', 'requests')} submitted; answers come within 24 hours, usually sooner, and "
        f"cost {describe_costs(teacher, lines)}. Ctrl-C is safe: the next run with --batch waits for it."
        + (f" The budget has no room for {left:,} more until the real cost of these is known." if left else "")
        + ("" if is_tried else _UNSEEN)
    )


def first_batch(lines: Sequence[BatchLine], max_lines: int, max_bytes: int) -> int:
    """How many of these lines go into one batch."""
    size, count = 0, 0
    for line in lines[:max_lines]:
        size += len(orjson.dumps(line.body)) + 200
        if count and size > max_bytes:
            break
        count += 1
    return count


def merge_answers(results: Sequence[Callable[[], Answer] | BaseException]) -> Answer:
    """Combine the answers to the lines of one question, if there are several. A line that was refused while another was
    answered, as by a filter of what was written, is a bad answer to its sample. One that is in no batch ends the answer
    before it, if it is not the first. Any other failure is raised. An answer that is not used is not read, so the next
    run reads it from its batch, which counts it until then."""
    missing = [isinstance(result, NotInBatchError) for result in results]
    if any(missing):
        results = results[: missing.index(True) or 1]
    failures = [result for result in results if isinstance(result, BaseException)]
    others = [failure for failure in failures if not isinstance(failure, RefusedError)]
    if others or len(failures) == len(results):
        raise (others or failures)[0]
    answers = [_as_choice(result) if isinstance(result, BaseException) else result() for result in results]
    if len(answers) == 1:
        return answers[0]
    used = [answer.usage for answer in answers if answer.usage is not None]
    choices = [choice for a in answers for choice in (a.choices or [{"body": a.body}])]
    usd, usage = sum_if_known(answer.usd for answer in answers), summed(used) if len(used) == len(answers) else None
    first = next(one for one, result in zip(answers, results, strict=True) if not isinstance(result, BaseException))
    most_usd = sum(one.reserved or 0.0 for one in answers)
    return first._replace(request=answers[0].request, choices=choices, usage=usage, usd=usd, reserved=most_usd)


def _as_choice(refusal: BaseException) -> Answer:
    assert isinstance(refusal, RefusedError)
    choice = {"error": str(refusal), "body": refusal.answer.body}
    return refusal.answer._replace(choices=[choice], usage=Usage(), usd=0.0)
