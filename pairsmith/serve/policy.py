"""What a spec may do in the service, where it uses other people's code and API keys: every spec key has a class.

A key that is missing in `CLASSES` is refused, so that a new spec key cannot be used in the service before somebody has
classified it; a test fails first. `check` runs when a spec is saved and again before a job's process starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import getproxies

import sqlalchemy as sa
from pydantic import BaseModel

from pairsmith.serve.database import allowances, rows, stamp, write
from pairsmith.serve.network import PRIVATE_HOSTS, Host, Resolve, host_of, is_private, resolve
from pairsmith.serve.problems import Refusal
from pairsmith.teachers.search import APIS, LOCAL
from prompts.sandbox import unbounded
from schemas import tracing
from schemas.files import is_inside
from schemas.project import Project
from schemas.spec import Spec, TeacherSettings
from schemas.spec.review import ReviewSettings

HUB = Host("huggingface.co", 443)


class Kind(StrEnum):
    """What a value can affect, and so who may set it.

    - `free`: nothing beyond the project
    - `fenced`: the project's money; set by an owner of the project
    - `machine` and `code`: the machine and with it every project; set by an owner of all projects
    - `path`, `base` and `scorer`: it names a file or weights
    - `host` and `key_name`: where a request goes, and with which key
    """

    free = "free"
    fenced = "fenced"
    machine = "machine"
    code = "code"
    path = "path"
    seeds = "seeds"
    schema = "schema"
    template = "template"
    base = "base"
    scorer = "scorer"
    host = "host"
    key_name = "key_name"


_BY_KIND: dict[Kind, str] = {
    Kind.fenced: """
        teacher.usd_per_million_prompt_tokens teacher.usd_per_million_completion_tokens
        teacher.usd_per_million_cached_tokens budget.max_usd""",
    Kind.machine: """
        teacher.vllm teacher.vllm_python teacher.vllm_args teacher.headers store.url store.url_env
        evaluate.vllm evaluate.vllm_python evaluate.vllm_args train.trust_remote_code""",
    Kind.code: "curate.gates.user evaluate.user",
    Kind.path: "curate.gates.json_schema curate.contamination.files review.gold",
    Kind.seeds: "seeds.path",
    Kind.schema: "task.schema",
    Kind.template: "seeds.input",
    Kind.base: "train.base",
    Kind.scorer: "curate.score.model curate.nli",
    Kind.host: "teacher.url teacher.urls review.url",
    Kind.key_name: "teacher.key_env teacher.headers_env teacher.query_env review.key_env review.headers_env",
    Kind.free: """
        task.kind task.name task.system task.style task.language task.labels task.to
        seeds.kind seeds.format seeds.columns seeds.reference seeds.rejected seeds.group seeds.split seeds.use
        seeds.license seeds.limit seeds.config seeds.revision seeds.encoding
        exemplars.input exemplars.output
        teacher.model teacher.revision teacher.identity teacher.organization teacher.query teacher.concurrency
        teacher.timeout_s teacher.first_byte_s teacher.token_s teacher.requests_per_minute teacher.tokens_per_minute
        teacher.attempts teacher.retries teacher.batch teacher.batch_api teacher.finish_reasons teacher.terms
        generate.forward.enabled generate.forward.n generate.forward.prompt generate.forward.teacher
        generate.forward.candidates generate.backward.enabled generate.backward.levels generate.backward.prompt
        generate.backward.teacher generate.backward.accepted generate.backward.candidates generate.accepted
        generate.unanswered_at_most
        sampling.temperature sampling.top_p sampling.top_k sampling.max_tokens sampling.seed sampling.stop
        sampling.repetition_penalty sampling.no_repeat_ngram_size sampling.extra
        curate.gates.length curate.gates.length.min_words curate.gates.length.max_words curate.gates.length.min_ratio
        curate.gates.length.max_ratio curate.gates.repetition curate.gates.echo curate.gates.preamble
        curate.gates.thinking curate.gates.placeholder curate.gates.encoding curate.gates.cut curate.gates.fenced
        curate.gates.broken_json curate.gates.answered curate.gates.lost_content curate.gates.language
        curate.gates.mixed_language curate.gates.invented curate.gates.contacts curate.gates.invented_name
        curate.gates.swapped curate.gates.limits curate.gates.sums curate.gates.injection curate.gates.toxic
        curate.gates.pii curate.gates.instructed curate.gates.facts
        curate.gates.must.name curate.gates.must.pattern curate.gates.must_not.name curate.gates.must_not.pattern
        curate.gates.values curate.gates.translated curate.duplicates.enabled curate.duplicates.jaccard
        curate.duplicates.semantic curate.contamination.semantic curate.unlikely_labels
        curate.score.batch_tokens curate.score.revision curate.score.protocol curate.score.teacher curate.select.best
        curate.select.length_control curate.select.certified curate.select.rows curate.select.spread
        curate.judge.teachers curate.judge.questions.name
        curate.judge.questions.question curate.judge.questions.must curate.judge.questions.weight
        review.enabled review.workspace review.dataset review.reasons review.annotators_per_row review.overlap
        review.adjudicators review.margin_of_error review.accept_at_least review.confidence review.batch
        review.shares.estimation review.shares.calibration review.shares.audit_accepted review.shares.audit_rejected
        review.shares.disagreement review.shares.margin review.seed
        split.test split.validation split.salt export.licenses export.terms
        personal.email personal.phone personal.card personal.iban personal.ip personal.secret personal.toxic
        train.method train.r train.alpha train.dropout train.learning_rate train.batch train.epochs train.max_length
        train.seed train.revision train.template_arguments train.accumulation train.schedule train.warmup
        train.weight_decay train.targets train.rslora train.dora train.neftune train.packing train.precision
        train.evaluation_steps train.patience train.objective train.beta train.dpo_epochs train.dpo_learning_rate
        train.backend train.edited_weight
        evaluate.teacher evaluate.samples evaluate.checks.name evaluate.checks.pattern evaluate.max_seeds
        evaluate.resamples evaluate.concurrency evaluate.judges evaluate.ship_at""",
}
CLASSES: Mapping[str, Kind] = {key: kind for kind, keys in _BY_KIND.items() for key in keys.split()}
# Values that need no weights from elsewhere.
_BUILT_IN = frozenset({"embedded", "auto", "pmi", "judge", "none"})


class Value(NamedTuple):
    """A value of a spec: its key as users write it, the key of its class, the value, and whether it was set
    explicitly."""

    key: str
    of: str
    value: Any
    given: bool

    @property
    def kind(self) -> Kind | None:
        """None if the key has not been classified."""
        return CLASSES.get(self.of)


def values_of(model: BaseModel, key: str = "", of: str = "") -> Iterator[Value]:
    """Every value of a spec that is not a table, including those at their default."""
    for name, field in type(model).model_fields.items():
        shown = field.alias or name
        given = name in model.model_fields_set
        yield from _values(getattr(model, name), f"{key}.{shown}".lstrip("."), _class_key(of, shown), given)


def _values(value: Any, key: str, of: str, given: bool) -> Iterator[Value]:
    if isinstance(value, BaseModel):
        yield from values_of(value, key, of)
    elif isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        for number, item in enumerate(value):
            yield from _values(item, f"{key}.{number}", of, given)
    elif isinstance(value, Mapping) and any(isinstance(item, BaseModel) for item in value.values()):
        for name, item in value.items():
            yield from _values(item, f"{key}.{name}", of, given)
    elif value not in ((), {}):
        yield Value(key, of, value, given)


def _class_key(of: str, name: str) -> str:
    """The key under which a value is classified. All teachers share one class, and so do all samplings."""
    key = f"{of}.{name}".lstrip(".")
    return {"teachers": "teacher"}.get(key, "sampling" if name == "sampling" else key)


class Policy:
    """What owners allow, and the check of a spec against it."""

    def __init__(self, engine: sa.Engine, *, trusts_this_machine: bool = False, lookup: Resolve = resolve) -> None:
        self.engine, self._lookup = engine, lookup
        self._trusted = frozenset(host for _, url in LOCAL if (host := host_of(url)) and trusts_this_machine)

    # What owners allow

    key_names: frozenset[str] = frozenset()
    """The variables that specs may name, as of the last read."""

    def allowed(self) -> list[dict[str, Any]]:
        """Hosts with the names of the keys that may be sent there (`""` for none), without duplicates; built-in ones
        first."""
        known = [(host, api.key_env) for api in APIS if (host := host_of(api.url))]
        allowed = [{"host": str(host), "key_env": key, "by": None, "at": None} for host, key in known]
        allowed += [{"host": str(host), "key_env": "", "by": None, "at": None} for host in sorted(self._trusted)]
        query = sa.select(allowances).order_by(allowances.c.host, allowances.c.key_env)
        always = {(row["host"], row["key_env"]) for row in allowed}
        allowed += [dict(row) for row in rows(self.engine, query) if (row["host"], row["key_env"]) not in always]
        self.key_names = frozenset(str(row["key_env"]) for row in allowed)
        return allowed

    def allow(self, url: str, key_env: str, by: str | None) -> str:
        """Allow specs to send to the host of `url`, with the value of the variable `key_env` unless that is empty."""
        is_whole = "://" in url
        host = host_of(url if is_whole else f"https://{url}")
        if host is None or not (is_whole or {".", ":"} & {*url}):  # `x` could be a model or a key as well
            what, fix = f"{url!r:.80} is not the address of a host.", "Write https://HOST:PORT."
            raise Refusal(422, what, code="not_valid", fix=fix)
        row = {"host": str(host), "key_env": key_env}
        same = sa.and_(allowances.c.host == row["host"], allowances.c.key_env == key_env)
        new = sa.insert(allowances).values(by=by, at=stamp(), **row)
        write(self.engine, sa.delete(allowances).where(same), new)
        return str(host)

    def forbid(self, host: str, key_env: str) -> bool:
        """Revoke an allowance; False if there was none."""
        same = sa.and_(allowances.c.host == host, allowances.c.key_env == key_env)
        return bool(write(self.engine, sa.delete(allowances).where(same)))

    # The check

    def check(
        self, project: Project, *, before: Spec | None = None, owner: bool = False, administrator: bool = False
    ) -> None:
        """Raises Refusal (403) that names the first key that the spec may not have.

        `before` is the saved spec, whose owner-only values may stay as they are. It is None before a process starts,
        when the spec has already been checked on saving. `owner`: an owner of the project; `administrator`: an owner of
        all projects.
        """
        spec, allowed = project.spec, self._allowed()
        present = list(values_of(spec))
        for value in present:
            if value.kind is None and value.given:
                raise _refused(value.key, "the key has no class in the service's policy yet", "Leave it out.")
            self._check_value(value, project.folder, allowed)
        for number, source in enumerate(spec.seeds):
            if source.format == "hub":
                self._check_host(f"seeds.{number}.path", f"https://{HUB.name}", allowed)
            else:
                _check_path(f"seeds.{number}.path", source.path, project.folder)
                for one in source.each(project.folder):  # a pattern may match a link that leads elsewhere
                    _check_path(f"seeds.{number}.path", one.path, project.folder)
        for key, teacher in {"teacher": spec.teacher, **{f"teachers.{n}": t for n, t in spec.teachers.items()}}.items():
            _check_keys(key, [a for a in teacher.addresses if a not in ("embedded", "vllm")], teacher, allowed)
        _check_keys("review", [spec.review.url] if spec.review.url else [], spec.review, allowed)
        if before is not None and not administrator:
            _check_fence(present, before, owner=owner)

    def check_pair(self, url: str, key_env: str) -> None:
        """Raises Refusal for an address that a spec may not have (its name is looked up), and if the value of `key_env`
        may not be sent there."""
        allowed = self._allowed()
        host = self._check_host("url", url, allowed)
        if key_env and (host, key_env) not in allowed:
            raise _key_not_allowed("key_env", key_env, host)

    def environment(self, project: Project) -> dict[str, str]:
        """The variables of a project's job: only what every process needs and what its spec names.

        Raises Refusal if the spec may not run.
        """
        from pairsmith.serve.environment import job_environment

        self.check(project)
        ours = [*getproxies().values(), tracing.endpoint() or ""]
        proxies = [host for url in ours if (host := host_of(url))]
        hosts = [host for host in (*proxies, *(host for host, _ in self._allowed())) if is_private(host, self._lookup)]
        return job_environment(project) | {PRIVATE_HOSTS: " ".join(sorted({str(host) for host in hosts}))}

    def _allowed(self) -> set[tuple[Host, str]]:
        return {(Host.read(row["host"]), row["key_env"]) for row in self.allowed()}

    def _check_value(self, value: Value, folder: Path, allowed: set[tuple[Host, str]]) -> None:
        key, kind, given = value.key, value.kind, value.value
        if given is None:
            return
        if kind is Kind.host:
            for url in (given,) if isinstance(given, str) else given:
                if url not in ("embedded", "vllm"):
                    self._check_host(key, url, allowed)
        elif kind is Kind.path or (kind is Kind.schema and ":" not in given):
            for path in (given,) if isinstance(given, str) else given:
                _check_path(key, path, folder)
        elif kind in (Kind.base, Kind.scorer) and given not in _BUILT_IN:
            if (folder / given).exists() or not _is_hub_id(given):
                _check_path(key, given, folder)
            elif not _is_known_base(given):
                self._check_host(key, f"https://{HUB.name}", allowed)

    def _check_host(self, key: str, url: str, allowed: set[tuple[Host, str]]) -> Host:
        host = host_of(url)
        if host is None:
            raise _refused(key, f"'{url}' is not the address of an http(s) server", "Write https://HOST/v1.")
        if not any(host == other for other, _ in allowed):
            raise _refused(key, f"no owner has allowed the host {host}", "An owner can allow it under Settings.")
        # an owner meant a host inside this network who allowed it by its address, or by a name that is not public
        if "." in host.name and not _is_private_name(host.name) and is_private(host, self._lookup):
            raise _refused(
                key,
                f"the name {host.name} resolves to an address inside this network",
                "An owner can allow such a host by its address, or by a name that is not public.",
            )
        return host


def _check_keys(
    key: str, urls: list[str], named: TeacherSettings | ReviewSettings, allowed: set[tuple[Host, str]]
) -> None:
    variables = [("key_env", named.key_env)]
    for table in ("headers_env", "query_env"):
        variables += [(table, name) for name in getattr(named, table, {}).values()]
    for field, variable in variables:
        for host in (host_of(url) for url in urls):
            if variable and host and (host, variable) not in allowed:
                raise _key_not_allowed(f"{key}.{field}", variable, host)
        if variable and not urls:
            raise _refused(
                f"{key}.{field}", f"the key {variable} is named without a host to send it to", "Leave it out."
            )


def _check_fence(present: list[Value], before: Spec, *, owner: bool) -> None:
    """Raises Refusal if a value has changed that only an owner may set."""
    new, old = ({v.key: v for v in values if v.value is not None} for values in (present, values_of(before)))
    for key in sorted(new.keys() | old.keys()):
        kinds = {_owner_required(values[key]) for values in (new, old) if key in values} - {None}
        if not kinds or _comparable(new.get(key)) == _comparable(old.get(key)):
            continue
        if part := _unbounded(new.get(key)):
            raise _refused(
                key,
                f"it has {part}, with which a template can keep the service busy forever",
                "Use columns, if and filters such as trim; or ask an owner of all projects.",
            )
        if Kind.machine in kinds:
            raise _refused(key, "only an owner of all projects may set, change or remove it", "Ask one.")
        if not owner:
            raise _refused(key, "only an owner may set, change or remove it", "Ask an owner.")


def _comparable(value: Value | None) -> Any:
    content = value.value if value else None
    return list(content) if isinstance(content, tuple) else content


def _owner_required(value: Value) -> Kind | None:
    """Who may set a value: `fenced` an owner of the project, `machine` an owner of all projects, None an editor."""
    if value.kind is Kind.fenced:
        return Kind.fenced
    given = str(value.value)
    # A folder of weights is as trustworthy as the user who put it there.
    weights = given not in _BUILT_IN and not _is_hub_id(given)
    reaches_out = {
        Kind.machine: True,
        Kind.code: True,
        Kind.schema: ":" in given,
        Kind.host: given == "vllm",
        Kind.template: bool(_unbounded(value)),
        Kind.base: weights,
        Kind.scorer: weights,
    }
    return Kind.machine if value.kind and reaches_out.get(value.kind) else None


def _unbounded(value: Value | None) -> str | None:
    """The part of a column template that an editor may not write; None if there is none.

    Syntax errors are reported where the template is used.
    """
    from jinja2 import TemplateSyntaxError

    if value is None or value.kind is not Kind.template or not value.value:
        return None
    try:
        return unbounded(str(value.value))
    except (TemplateSyntaxError, RecursionError):
        return None


def _check_path(key: str, given: str, folder: Path) -> None:
    if "\0" in given or not is_inside(folder / given, folder):
        raise _refused(key, f"the path '{given}' leads out of the project", "Put the file into the project.")


def _is_hub_id(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= 2 and all(part and part[0] not in ".~-" and "\\" not in part for part in parts)


def _is_known_base(name: str) -> bool:
    from train.base_models.models import KNOWN

    return any(known.name == name for known in KNOWN)


def _is_private_name(name: str) -> bool:
    try:
        return not ip_address(name).is_global
    except ValueError:
        return name.endswith((".local", ".internal", ".lan", ".home.arpa", ".localhost"))


def _key_not_allowed(key: str, variable: str, host: Host) -> Refusal:
    return _refused(
        key,
        f"the key {variable} may not be sent to {host}",
        f"An owner can allow {variable} for this host under Settings.",
    )


def _refused(key: str, what: str, fix: str) -> Refusal:
    return Refusal(
        403,
        f"{what}.",
        where=key,
        why="In a service, specs use keys, files and a machine that belong to others.",
        fix=fix,
        code="fenced",
    )
