"""The records every layer speaks: frozen, unknown keys refused, identified by what they contain.

Two machines that make the same record give it the same id: inserted twice, it is there once. No record imports a store.

Every id has a frozen recipe, held by golden ids in the tests: a field that joined a record later is declared with
`added` and enters an id only where it is used; a renamed value enters in the spelling it was first stored with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from schemas.identity import Json as Json
from schemas.identity import added as added
from schemas.identity import changed_copy, part
from schemas.identity import content_id as content_id
from schemas.identity import identity as identity
from schemas.identity import now as now


class Record(BaseModel):
    """Frozen, and an unknown key is an error. Its schema is built when it is first met: a command meets few of them."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="constants", defer_build=True, cache_strings="keys"
    )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        return changed_copy(self, dict(update or {}), deep=deep)


@dataclass(frozen=True)
class Reason:
    """Why: a code that is counted and tested (`short`, `missing:ar_flag`), and a sentence for people."""

    code: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code

    @classmethod
    def read(cls, text: str) -> Reason:
        """The reason in a line that somebody else wrote: its first word, without a colon at its end, is the code.

        That is how stores up to schema 0002 spell reasons, and how gates of a user and errors of a teacher do. Inside
        pairsmith a reason is never a line.
        """
        code, *detail = text.split(maxsplit=1) or [""]
        return cls(code.rstrip(":") or "unknown", "".join(detail).strip())


StoredReason = Annotated[Reason, BeforeValidator(lambda line: Reason.read(line) if isinstance(line, str) else line)]
Split = Literal["train", "validation", "test"]


class Message(Record):
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str

    @cached_property
    def sent(self) -> Json:
        """As requests hold it. Nearly all messages of a prompt are in every request: they are one there, too."""
        return {"role": self.role, "content": self.content}


Messages = tuple[Message, ...]


def spoken(turns: Messages, last: str) -> str:
    """What was said in `turns` and in the `last` one, a paragraph each."""
    return "\n".join([*(turn.content for turn in turns), last])


class Sampling(Record):
    """The sampling of a completion; part of a call's identity. `None` leaves a setting to the endpoint and is not sent.

    `repetition_penalty` and `no_repeat_ngram_size` are understood by the embedded teacher (generated tokens only);
    vLLM knows the first. `extra` is sent as it is, for settings that only one server has.
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

    @cached_property
    def _named(self) -> Json:
        return self.model_dump(mode="json", exclude_none=True, exclude={"extra"})


# Seeds were first stored as simple and enhanced; their ids keep these words.
_STORED_KINDS = {"input": "simple", "output": "enhanced"}
GROUP = "group"  # the key of a seed's meta that names what it belongs to, by a hash (`[[seeds]] group`)


def file_of(source: str) -> str:
    """The file of a seed's source, without the number of the row."""
    return source.rpartition(":")[0] or source


class Seed(Record):
    """A person's starting point: an input, an excellent output, a pair of both, or a conversation.

    `source` says where it was read (`seeds.jsonl:14`); it does not enter the id, so the same text in two files is one
    seed, whose `meta["also"]` names the other places that give it another license. Exactly one of `text` and `messages`
    is set; messages are an optional system prompt, earlier turns, and the one that is answered. `split` is what was
    recorded when the seed was first read. `columns` are other fields of the row it was read from, which prompts may
    use; `reference` is the output that a person gave (of a pair or a conversation, its output).
    """

    kind: Literal["input", "output", "pair", "conversation"]
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
        """Its text, or the last turn of its messages: what is answered, or of an output the output."""
        return self.text if self.text is not None else self.messages[-1].content if self.messages else ""

    @property
    def file(self) -> str:
        """The file of its source, without the number of the row."""
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
        """All that is asked: every turn, for a last one such as "Yes, please." is in many conversations."""
        return spoken(self.turns, self.body)

    @property
    def licenses(self) -> tuple[str | None, ...]:
        """Every license that it was read under, None for a place that states none: which binds is not ours to say."""
        return (self.license, *(place["license"] for place in self.meta.get("also", ())))

    @cached_property
    def id(self) -> str:
        kind = _STORED_KINDS.get(self.kind, self.kind)
        turns = [m.model_dump() for m in self.messages] if self.messages else []
        return content_id("seed", [kind, self.text, turns, *_used(columns=self.columns, reference=self.reference)])


def _used(**fields: Any) -> list[Json]:
    """The fields that hold something, as the last part of an id; nothing if none does."""
    used = {name: value for name, value in fields.items() if value}
    return [used] if used else []


Direction = Literal["forward", "backward"]
GeneratorName = Literal[Direction, "imported"]


class Generated(Record):
    """A pair that a teacher made. `prompt` is `name/version@hash`; `calls` are `(key, attempt)` of its ledger rows."""

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
    """A pair that a reviewer corrected."""

    by: Literal["edited"] = "edited"
    parent_id: str
    review_id: str


Origin = Annotated[Generated | Imported | Edited, Field(discriminator="by")]


class Pair(Record):
    """An input and its output, with the system prompt the tuned model will see.

    `turns` are the earlier turns of a conversation, which `input` answers; `reference` is an output that a person gave
    for this input; `columns` are other fields of the seed, which stay with the row."""

    seed_id: str
    input: str
    output: str
    system: str
    origin: Origin
    meta: Json = Field(default_factory=dict)
    turns: Messages = added(())
    reference: str | None = added()
    columns: dict[str, str] = added(default_factory=dict)

    @cached_property
    def id(self) -> str:
        more = _used(turns=[m.model_dump() for m in self.turns], reference=self.reference, columns=self.columns)
        return content_id("pair", [self.seed_id, self.system, self.input, self.output, part(self.origin), *more])

    @property
    def asked(self) -> str:
        """All that is asked, as of a seed."""
        return spoken(self.turns, self.input)

    @property
    def simple(self) -> str:
        """The input, in the words of the rewriting task; gates of a user's own may say so."""
        return self.input

    @property
    def enhanced(self) -> str:
        """The output, in the words of the rewriting task."""
        return self.output


class Usage(Record):
    """Tokens of one request by the endpoint's count; cached ones are part of the prompt, reasoning ones of the rest."""

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
    """One answer of a teacher, as a paid fact: `(key, attempt)` is unique, and only status `ok` is a hit. `declined` is
    what the endpoint turned down by its HTTP status, `unsettled` the same while it may be everybody's: no attempt.

    It is written as `received` before anything looks into it; `status`, `text` (the answer without reasoning) and
    `reason` (why it is bad, beginning with the status) are what judging then says of `raw`.

    `key` names everything that changes the answer: teacher, model revision, messages, sampling, schema, sample number.
    `raw` is the choice as the endpoint sent it; `endpoint` and `transport` are facts that do not enter the key.
    A request with n > 1 yields n rows sharing `request_id`; its usage and cost stand on the first of them, and so does
    the request itself: the others name that row, `(key, attempt)`, in `request_of`. `facts` is what else the endpoint
    said and will not say again: the model that answered, its fingerprint and provider, and, on the first row, the whole
    usage. `usd` is None where nobody knows the cost; `stage` and `prompt` say what it was asked for.
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
    """The verdict of one step on one pair. `keep=None` means it could not judge: the row waits, it is not rejected.

    `by` is `kind/name@version`, for example `gate/length@1`. `fingerprint` is the hash of the step's settings. What a
    step says that sees the whole pool is not stored: only its outcome is, in RowState. `flags` say what is worth a
    look; they decide nothing.
    """

    pair_id: str
    by: str
    fingerprint: str
    keep: bool | None
    score: float | None = None
    reason: StoredReason
    flags: tuple[str, ...] = ()


class Candidate(Record):
    """One slot of the pool: the outcome of asking for sample `sample` of a seed.

    Exactly one of `pair_id` and `failure` is set. `fingerprint` is the hash of everything
    that shapes the generation (prompt, sampling, teacher, style, exemplars), so the pool of the present spec
    is a query, and an older prompt's pairs stay as history.
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
    is the pair that stands there now, after an edit; None where generation failed. `step` is the `by` of the step that
    decided (`review` for people, `generate` for a failure) and `reason` its reason; both are None for an accepted row.
    Rows of one `curation` count once a receipt of `curate` names it.
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

    `parents` are the artifacts it was made of, `members` the pairs in it with their split (empty if parents tell). A
    batch lies at a provider: the names of its requests, and in a second record its id there, as `path`.
    """

    id: str
    kind: Literal["dataset", "adapter", "evaluation", "reward_model", "batch", "calibration", "certificate"]
    path: str
    parents: tuple[str, ...] = ()
    members: tuple[tuple[str, Split], ...] = ()
    facts: Json = Field(default_factory=dict)
    at: datetime = Field(default_factory=now)


class Counts(Record):
    """The rows of a command by outcome. `adds_up` is the row count check: nothing vanished, nothing counted twice."""

    rows_in: int = 0
    accepted: int = 0
    rejected: int = 0
    waiting: int = 0
    failed: int = 0

    @property
    def adds_up(self) -> bool:
        return self.rows_in == self.accepted + self.rejected + self.waiting + self.failed


class Receipt(Record):
    """The record of a command: rows, tokens, money, time, versions, hashes. Written even when the command failed."""

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
