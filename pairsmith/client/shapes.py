"""The shapes of the API. Written by `python -m pairsmith.serve.write_client`."""

from __future__ import annotations

from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

Item = TypeVar("Item")
Role = Literal["owner", "editor", "reviewer", "viewer"]


class Me(TypedDict):
    user: str
    name: str
    roles: dict[str, Role]
    csrf: str | None
    key: str | None


class User(TypedDict):
    id: str
    name: str
    created: str
    disabled: str | None
    roles: dict[str, Role]


class Page(TypedDict, Generic[Item]):
    items: list[Item]
    next: NotRequired[str | None]
    total: NotRequired[int | None]
    total_is_capped: NotRequired[bool]


class Membership(TypedDict):
    project: NotRequired[str]
    role: Role | None


class Invite(TypedDict):
    role: Role


class InvitationLink(TypedDict):
    url: str
    role: Role
    project: str


class Key(TypedDict):
    id: str
    user: str
    name: str
    role: Role
    project: str
    created: str
    expires: str | None
    used: str | None
    revoked: str | None


class NewKey(TypedDict):
    name: str
    role: NotRequired[Role]
    project: NotRequired[str]
    days: NotRequired[int | None]


class CreatedKey(TypedDict):
    id: str
    user: str
    name: str
    role: Role
    project: str
    created: str
    expires: str | None
    used: str | None
    revoked: str | None
    key: str


class SessionInfo(TypedDict):
    id: str
    present: bool
    created: str
    seen: str
    address: str
    agent: str


class AuditEntry(TypedDict):
    number: int
    at: str
    user: str | None
    name: str | None
    key: str | None
    address: str
    action: str
    project: str | None
    target: str
    status: int
    before: str | None
    after: str | None
    request_id: str


class ProjectSummary(TypedDict):
    name: str
    title: str
    role: str
    running: str | None


class Teacher(TypedDict):
    url: NotRequired[str]
    model: NotRequired[str]
    key_env: NotRequired[str | None]


class NewProject(TypedDict):
    name: str
    example: NotRequired[str | None]
    kind: NotRequired[Literal["rewrite", "reply", "classify", "extract", "translate", "free"]]
    style: NotRequired[str | None]
    teacher: NotRequired[Teacher]
    title: NotRequired[str | None]


class ProjectState(TypedDict):
    name: str
    title: str
    role: str
    running: str | None
    status: dict[str, Any] | None
    problem: NotRequired[str | None]


class NewTitle(TypedDict):
    title: str


class SpecChange(TypedDict):
    text: NotRequired[str | None]
    set: NotRequired[dict[str, Any] | None]


class SpecDocument(TypedDict):
    text: str
    etag: str
    values: dict[str, Any]
    notices: list[str]


class SpecSchema(TypedDict):
    json_schema: dict[str, Any]
    classes: dict[str, str]


class SeedExcerpt(TypedDict):
    kind: str
    text: str


class UnusableSeed(TypedDict):
    where: str
    what: str


class SeedFile(TypedDict):
    path: str
    kind: str
    rows: int
    kinds: dict[str, int]
    first: list[SeedExcerpt]
    problems: list[UnusableSeed]
    problem: NotRequired[str | None]


class SeedList(TypedDict):
    items: list[SeedFile]


class PromptSummary(TypedDict):
    name: str
    version: str
    used: bool


class PromptList(TypedDict):
    items: list[PromptSummary]


class PromptDetail(TypedDict):
    ref: str
    name: str
    version: str
    about: str
    text: str
    variables: dict[str, str]


class NewVersion(TypedDict):
    text: str


class PreviewRequest(TypedDict):
    seeds: NotRequired[int]
    cap_usd: NotRequired[float | None]


class JobOptions(TypedDict):
    retry_failed: NotRequired[bool]
    no_review: NotRequired[bool]
    batch: NotRequired[bool]
    more: NotRequired[bool]
    cap_usd: NotRequired[float | None]
    stop_after_accepted: NotRequired[int | None]
    seeds: NotRequired[int | None]
    precision: NotRequired[float | None]
    confidence: NotRequired[float | None]
    gguf: NotRequired[list[Literal["f16", "q8_0", "q4_k_m"]]]
    format: NotRequired[list[Literal["openai", "together", "axolotl", "llama-factory", "unsloth"]]]


class Job(TypedDict):
    id: str
    project: str
    command: str
    options: JobOptions
    by: str
    state: Literal["queued", "waits_for_gpu", "running", "stopping", "stopped", "waits_for_people", "done", "failed"]
    created: str
    position: NotRequired[int | None]
    started: NotRequired[str | None]
    ended: NotRequired[str | None]
    stage: NotRequired[str | None]
    exit_code: NotRequired[int | None]
    problem: NotRequired[dict[str, Any] | None]
    progress: NotRequired[dict[str, Any] | None]
    answer: NotRequired[dict[str, Any] | None]
    note: NotRequired[str | None]
    continues: NotRequired[str | None]
    last_sign_of_life: NotRequired[str | None]


class Allowance(TypedDict):
    host: str
    key_env: str
    set: bool
    by: str | None
    at: str | None


class AllowanceList(TypedDict):
    items: list[Allowance]


class TeacherRequest(TypedDict):
    url: str
    key_env: NotRequired[str]


class TeacherTest(TypedDict):
    answers: bool
    says: str
    models: list[str]
    seconds: float | None


class NewJob(TypedDict):
    command: str
    options: NotRequired[JobOptions]


class RowView(TypedDict):
    id: str
    pair_id: str | None
    seed_id: str
    generation: str
    generator: str
    sample: int
    state: str
    code: str | None
    reason: str | None
    step: str | None
    score: float | None
    split: str | None
    flags: list[str]
    words: int
    reviewed: int
    input: str
    output: str | None


class RowFacets(TypedDict):
    total: int
    capped: bool
    all: dict[str, int]
    state: dict[str, int]
    reason: dict[str, int]
    step: dict[str, int]
    split: dict[str, int]
    generator: dict[str, int]
    reviewed: dict[str, int]


class Answer(TypedDict):
    decision: Literal["accept", "edit", "reject", "withdrawn"]
    edited: NotRequired[str | None]
    reasons: NotRequired[list[str]]
    seconds: NotRequired[float | None]


class ReviewRecord(TypedDict):
    id: str
    pair_id: str
    reviewer: str
    name: str | None
    decision: str
    edited: str | None
    reasons: list[str]


class QueueRow(TypedDict):
    id: str
    input: str
    output: str
    answered: bool


class ArtifactInfo(TypedDict):
    id: str
    kind: str
    parents: list[str]
    rows: int
    bytes: int
    at: str
    facts: dict[str, Any]
