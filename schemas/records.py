"""The records that all layers exchange. They are frozen, reject unknown keys, and are identified by their content.

The same record made on two machines has the same id, so inserting it twice stores it once. No record imports the store.

Every id has a frozen recipe, which golden ids in the tests pin down. A field added later is declared with `added` and
enters an id only where it is used. A renamed value enters the id in its original spelling.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from schemas.identity import Json as Json
from schemas.identity import Record as Record
from schemas.identity import added as added
from schemas.identity import cached_value, part
from schemas.identity import content_id as content_id
from schemas.identity import identity as identity
from schemas.identity import now as now


@dataclass(frozen=True)
class Reason:
    """A reason for a decision: a code that is counted and tested (`short`, `missing:ar_flag`), and a text for users."""

    code: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code

    @classmethod
    def read(cls, text: str) -> Reason:
        """Parse a line that came from elsewhere; its first word, without a trailing colon, is the code.

        Stores up to schema 0002, user gates and teacher errors spell reasons this way. Pairsmith itself never passes a
        reason as a plain line.
        """
        code, *detail = text.split(maxsplit=1) or [""]
        return cls(code.rstrip(":") or "unknown", "".join(detail).strip())


StoredReason = Annotated[Reason, BeforeValidator(lambda line: Reason.read(line) if isinstance(line, str) else line)]
Split = Literal["train", "validation", "test"]
SeedKind = Literal["input", "output", "pair", "conversation"]


class Message(Record):
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str

    @cached_value
    def sent(self) -> Json:
        """The message as requests hold it. Most messages of a prompt are in every request, so the dict is shared."""
        return {"role": self.role, "content": self.content}


Messages = tuple[Message, ...]


def spoken(turns: Messages, last: str) -> str:
    """The text of `turns` and of the `last` turn, one paragraph each."""
    return "\n".join([*(turn.content for turn in turns), last])


class Sampling(Record):
    """The sampling settings of a completion, part of a call's identity. `None` sends nothing: the endpoint decides.

    The embedded teacher understands `repetition_penalty` and `no_repeat_ngram_size` (generated tokens only); vLLM knows
    the first. `extra` is sent unchanged, for settings that only one server has.
    """

    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    repetition_penalty: float | None = Field(default=None, gt=0)
    no_repeat_ngram_size: int | None = Field(default=None, ge=1)
    extra: Json = Field(default_factory=dict)

    def body(self) -> Json:
        """The settings as keys of a chat-completions request."""
        return {**self._named, **self.extra}

    @cached_value
    def _named(self) -> Json:
        return self.model_dump(mode="json", exclude_none=True, exclude={"extra"})


# Seed kinds were originally stored as simple and enhanced; ids keep those words.
_STORED_KINDS = {"input": "simple", "output": "enhanced"}
GROUP = "group"  # the key in a seed's meta that holds a hash of its group (`[[seeds]] group`)


def file_of(source: str) -> str:
    """The file of a seed's source, without the row number."""
    return source.rpartition(":")[0] or source


class Seed(Record):
    """What a user provides to start from: an input, an excellent output, a pair of both, or a conversation.

    `source` records where it was read (`seeds.jsonl:14`). It does not enter the id, so the same text in two files is
    one seed; `meta["also"]` names the other places if they give it another license. Exactly one of `text` and
    `messages` is set; messages are an optional system prompt, earlier turns, and the turn to be answered. `split` was
    recorded when the seed was first read. `columns` are other fields of its source row, which prompts may use.
    `reference` is an output that the user provided; for a pair or a conversation it is the output itself.
    """

    kind: SeedKind
    text: str | None = None
    messages: Messages | None = None
    source: str
    license: str | None = None
    meta: Json = Field(default_factory=dict)
    columns: dict[str, str] = added(default_factory=dict)
    reference: str | None = added()
    split: Split | None = Field(default=None, exclude_if=lambda split: split is None)

    @model_validator(mode="after")
    def _one_body(self) -> Seed:
        if (self.text is None) == (self.messages is None):
            raise ValueError("a seed has either text or messages")
        return self

    @property
    def body(self) -> str:
        """Its text, or the last turn of its messages: the input to be answered or, for an output seed, the output."""
        return self.text if self.text is not None else self.messages[-1].content if self.messages else ""

    @property
    def file(self) -> str:
        """The file of its source, without the row number."""
        return file_of(self.source)

    @property
    def system(self) -> str | None:
        """The system prompt that came with its messages."""
        first = self.messages[0] if self.messages else None
        return first.content if first and first.role == "system" else None

    @property
    def turns(self) -> Messages:
        """The turns before the last one, without the system prompt."""
        return tuple(message for message in (self.messages or ())[:-1] if message.role != "system")

    @property
    def asked(self) -> str:
        """The question with all turns, because a last turn such as "Yes, please." is in many conversations."""
        return self.text if self.text is not None else spoken(self.turns, self.body)

    @property
    def licenses(self) -> tuple[str | None, ...]:
        """Every license under which it was read, None for a place without one. We do not decide which applies."""
        return (self.license, *(place["license"] for place in self.meta.get("also", ())))

    @cached_value
    def id(self) -> str:
        kind = _STORED_KINDS.get(self.kind, self.kind)
        turns = [m.model_dump() for m in self.messages] if self.messages else []
        more = _non_empty(columns=self.columns, reference=self.reference) if self.columns or self.reference else ()
        return content_id("seed", [kind, self.text, turns, *more])


def _non_empty(**fields: Any) -> list[Json]:
    """The non-empty fields as the last part of an id; an empty list if there are none."""
    used = {name: value for name, value in fields.items() if value}
    return [used] if used else []


Direction = Literal["forward", "backward"]
GeneratorName = Literal[Direction, "imported"]


class Generated(Record):
    """A pair made by a teacher. `prompt` is `name/version@hash`; `calls` are its ledger rows, `(key, attempt)`."""

    by: Literal["generated"] = "generated"
    generator: Direction
    prompt: str
    teacher: str
    sampling: Sampling
    calls: tuple[tuple[str, int], ...]


class Imported(Record):
    """A pair that came with the seeds."""

    by: Literal["imported"] = "imported"
    source: str


class Edited(Record):
    """A pair corrected by a reviewer."""

    by: Literal["edited"] = "edited"
    parent_id: str
    review_id: str


Origin = Annotated[Generated | Imported | Edited, Field(discriminator="by")]


class Pair(Record):
    """An input and its output, with the system prompt for the tuned model.

    `turns` are the earlier turns, which `input` continues; `reference` is an output that a person wrote for it;
    `columns` are other fields of the seed, which stay with the row."""

    seed_id: str
    input: str
    output: str
    system: str
    origin: Origin
    meta: Json = Field(default_factory=dict)
    turns: Messages = added(())
    reference: str | None = added()
    columns: dict[str, str] = added(default_factory=dict)

    @cached_value
    def id(self) -> str:
        turns, used = [m.model_dump() for m in self.turns], self.turns or self.reference or self.columns
        more = _non_empty(turns=turns, reference=self.reference, columns=self.columns) if used else ()
        return content_id("pair", [self.seed_id, self.system, self.input, self.output, part(self.origin), *more])

    @property
    def asked(self) -> str:
        """The question with all turns, as for a seed."""
        return spoken(self.turns, self.input)

    @property
    def simple(self) -> str:
        """The input under its name in the rewriting task; user gates may use it."""
        return self.input

    @property
    def enhanced(self) -> str:
        """The output under its name in the rewriting task."""
        return self.output


class Usage(Record):
    """Tokens of one request as the endpoint counts them; cached ones are prompt, reasoning ones completion tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


CallStatus = Literal[
    "received",
    "ok",
    "empty",
    "truncated",
    "malformed",
    "schema",
    "refused",
    "failed",
    "thinking",
    "unknown_finish",
    "declined",
    "unsettled",
]
FinishMeaning = Literal["complete", "truncated", "refused", "failed", "malformed"]
State = Literal["accepted", "rejected", "waiting", "failed"]


class Call(Record):
    """One paid answer of a teacher. `(key, attempt)` is unique, and only status `ok` is a cache hit. `declined`: the
    endpoint rejected the request by HTTP status. `unsettled`: the same while it may affect all requests; no attempt.

    It is written as `received` before anything examines it. Judging `raw` then sets `status`, `text` (the answer
    without reasoning) and `reason` (why it is bad, beginning with the status).

    `key` covers everything that changes the answer: teacher, model revision, messages, sampling, schema, sample number.
    `raw` is the choice as the endpoint sent it; `endpoint` and `transport` are facts that do not enter the key. A
    request with n > 1 yields n rows sharing one `request_id`. The first holds the usage, the cost and the request
    itself; the others refer to it by `(key, attempt)` in `request_of`. `facts` is what else the endpoint reported and
    will not report again: the model that answered, its fingerprint and provider, and, on the first row, the full usage.
    `usd` is None where the cost is unknown; `stage` and `prompt` record what the call was for.
    """

    key: str
    attempt: int = Field(ge=1)
    status: CallStatus
    request: Json = Field(default_factory=dict)
    request_of: tuple[str, int] | None = None
    raw: Json
    facts: Json = Field(default_factory=dict)
    text: str = ""
    reason: str = ""
    usage: Usage = Usage()
    usd: float | None = 0.0
    request_id: str
    stage: str = ""
    prompt: str = ""
    sample: int = Field(ge=0)
    teacher: str
    endpoint: str
    transport: Literal["http", "batch"] = "http"
    seconds: float
    at: datetime = Field(default_factory=now)


class Verdict(Record):
    """The verdict of one step on one pair. `keep=None`: it could not judge, so the row waits and is not rejected.

    `by` is `kind/name@version`, for example `gate/length@1`. `fingerprint` is the hash of the step's settings. Steps
    that look at the whole pool only store their outcome, in RowState. `flags` mark what to look at and decide nothing.
    """

    pair_id: str
    by: str
    fingerprint: str
    keep: bool | None
    score: float | None = None
    reason: StoredReason
    flags: tuple[str, ...] = ()


class Candidate(Record):
    """One slot of the pool: the outcome of requesting sample `sample` of a seed.

    Exactly one of `pair_id` and `failure` is set. `fingerprint` is the hash of everything that shapes the generation
    (prompt, sampling, teacher, style, exemplars). The pool of the current spec is therefore a query, and the pairs of
    older prompts remain as history.
    """

    fingerprint: str
    seed_id: str
    generator: GeneratorName
    sample: int = Field(ge=0)
    pair_id: str | None = None
    failure: StoredReason | None = None

    @model_validator(mode="after")
    def _one_outcome(self) -> Candidate:
        if (self.pair_id is None) == (self.failure is None):
            raise ValueError("a candidate has either a pair or a failure")
        return self


class RowState(Record):
    """The decision of one curation about one slot.

    `generation`, `seed_id`, `generator` and `sample` name the slot (`generation` is `Candidate.fingerprint`). `pair_id`
    is the pair now in the slot, after any edit; None where generation failed. `step` is the `by` of the step that
    decided (`review` for reviewers, `generate` for a failure) and `reason` its reason; both are None for an accepted
    row. The rows of a `curation` count once a `curate` receipt names it.
    """

    curation: str
    generation: str
    seed_id: str
    generator: GeneratorName
    sample: int = Field(ge=0)
    pair_id: str | None = None
    state: State
    flags: tuple[str, ...] = ()
    reason: StoredReason | None = None
    step: str | None = None
    score: float | None = None
    split: Split | None = None


class Artifact(Record):
    """Something made of pairs and kept as files: a dataset, an adapter, an evaluation.

    `parents` are the artifacts it was made from, `members` its pairs with their split (empty if parents imply them). Of
    a batch, one record has its requests' names, one its provider id as `path` (empty: not created), one a known cost.
    """

    id: str
    kind: Literal["dataset", "adapter", "evaluation", "reward_model", "batch", "calibration", "certificate"]
    path: str
    parents: tuple[str, ...] = ()
    members: tuple[tuple[str, Split], ...] = ()
    facts: Json = Field(default_factory=dict)
    at: datetime = Field(default_factory=now)


class Counts(Record):
    """The rows of a command by outcome. `adds_up` is the row count check: no row was lost or counted twice."""

    rows_in: int = 0
    accepted: int = 0
    rejected: int = 0
    waiting: int = 0
    failed: int = 0

    @property
    def adds_up(self) -> bool:
        return self.rows_in == self.accepted + self.rejected + self.waiting + self.failed


class Receipt(Record):
    """The record of a command: rows, tokens, money, time, versions, hashes. A failed command writes one too."""

    command: str
    ok: bool
    counts: Counts
    reasons: dict[str, int] = Field(default_factory=dict)
    calls_sent: int = 0
    calls_reused: int = 0
    usage: Usage = Usage()
    usd: float | None = 0.0
    seconds: float
    started: datetime
    spec_hash: str
    versions: dict[str, str] = Field(default_factory=dict)
    facts: Json = Field(default_factory=dict)
