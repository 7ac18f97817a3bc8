"""What a spec may do: every key has a class; hosts, keys, files and code are restricted."""

from __future__ import annotations

import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import BaseModel

from pairsmith.serve.database import open_database
from pairsmith.serve.network import PRIVATE_HOSTS, host_of, is_public
from pairsmith.serve.policy import CLASSES, Kind, Policy, values_of
from pairsmith.serve.problems import Refusal
from schemas.project import Project
from schemas.spec import Spec
from schemas.spec_file import parse
from tests.servers import Handler, handled

TASK = '[task]\nname = "t"\nstyle = "s"\n'
ADDRESSES = {
    "api.openai.com": ["104.18.7.192"],
    "good.example": ["93.184.215.14"],
    "rebound.example": ["127.0.0.1"],
    "mapped.example": ["::ffff:169.254.169.254"],
    "mixed.example": ["93.184.215.14", "10.0.0.8"],
    "localhost": ["127.0.0.1"],
    "gpu.lan": ["10.0.0.8"],
}


def lookup(name: str, port: int) -> list[str]:
    return ADDRESSES.get(name, [name] if name[0].isdigit() or ":" in name else [])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = open_database(tmp_path / ".serve")
    yield engine
    engine.dispose()


@pytest.fixture
def policy(engine: sa.Engine) -> Policy:
    return Policy(engine, lookup=lookup)


def project(tmp_path: Path, text: str = "") -> Project:
    folder = tmp_path / "project"
    folder.mkdir(exist_ok=True)
    return parse(TASK + text, folder)


def _class_keys(model: type[BaseModel], at: str = "") -> Iterator[str]:
    """Every key of the spec that is not a table, by walking its types."""
    for name, field in model.model_fields.items():
        shown = field.alias or name
        key = {"teachers": "teacher"}.get(f"{at}{shown}", "sampling" if shown == "sampling" else f"{at}{shown}")
        tables = list(_tables(field.annotation))
        if not tables or any(part in (bool, False) for part in _leaves(field.annotation)):
            yield key
        for table in tables:
            yield from _class_keys(table, f"{key}.")


def _tables(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _tables(part)


def _leaves(annotation: object) -> Iterator[object]:
    parts = typing.get_args(annotation)
    yield annotation
    for part in parts:
        yield from _leaves(part)


def test_every_spec_key_has_a_class() -> None:
    """A new spec key cannot be used in the service until its class is defined."""
    assert set(_class_keys(Spec)) - CLASSES.keys() == set()
    assert CLASSES.keys() - set(_class_keys(Spec)) == set()


def test_key_without_a_class_is_refused(policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is an allowlist: a key that is not in it is refused, even for an owner."""
    monkeypatch.delitem(typing.cast("dict[str, Kind]", CLASSES), "train.epochs")
    with pytest.raises(Refusal, match=r"train\.epochs.*no class"):
        policy.check(project(tmp_path, "[train]\nepochs = 2\n"), owner=True)
    policy.check(project(tmp_path), owner=True)


def test_every_value_is_classified(tmp_path: Path) -> None:
    """Named teachers, patterns in lists and sampling settings are covered as well."""
    text = (
        '[teachers.big]\nurl = "https://x.example/v1"\nkey_env = "K"\n[[evaluate.checks]]\nname = "c"\npattern = "x"\n'
    )
    seen = {value.key: value.kind for value in values_of(project(tmp_path, text).spec)}
    assert seen["teachers.big.url"] is Kind.host
    assert seen["teachers.big.key_env"] is Kind.key_name
    assert seen["evaluate.checks.0.pattern"] is Kind.free
    assert seen["generate.forward.sampling.temperature"] is Kind.free
    assert None not in seen.values()


NOT_ALLOWED = [
    ('[teacher]\nurl = "http://anywhere.example/v1"\nkey_env = "ANY_VARIABLE"\n', "teacher.url"),
    ('[teacher]\nurl = "https://good.example/v1"\nkey_env = "HOME"\n', "teacher.key_env"),
    ('[teacher]\nurl = "https://api.openai.com/v1"\nkey_env = "AWS_SECRET"\n', "teacher.key_env"),
    ('[teacher]\nurl = "https://api.openai.com/v1"\nheaders_env = { X = "AWS_SECRET" }\n', "teacher.headers_env"),
    ('[teacher]\nurl = "http://api.openai.com/v1"\nkey_env = "OPENAI_API_KEY"\n', "teacher.url"),
    ('[teacher]\nurl = "https://api.openai.com:8443/v1"\nkey_env = "OPENAI_API_KEY"\n', "teacher.url"),
    ('[teacher]\nurl = "https://api.openai.com@good.example/v1"\n', "teacher.url"),
    ('[teacher]\nurl = "https://good.example/v1"\nurls = ["http://10.0.0.8/v1"]\n', "teacher.urls"),
    ('[teacher]\nurl = "http://169.254.169.254/latest"\n', "teacher.url"),
    ('[teacher]\nurl = "http://[::ffff:169.254.169.254]/"\n', "teacher.url"),
    ('[teacher]\nurl = "http://localhost:6379"\n', "teacher.url"),
    ('[teacher]\nurl = "file:///etc/passwd"\n', "teacher.url"),
    ('[teacher]\nurl = "https://rebound.example/v1"\n', "teacher.url"),
    ('[teacher]\nurl = "https://mapped.example/v1"\n', "teacher.url"),
    ('[teacher]\nurl = "https://mixed.example/v1"\n', "teacher.url"),
    ('[teachers.big]\nurl = "http://anywhere.example/v1"\n', "teachers.big.url"),
    ('[teacher]\nkey_env = "AWS_SECRET"\n', "teacher.key_env"),
    ('[[seeds]]\npath = "/etc/passwd"\nformat = "text"\n', "seeds.0.path"),
    ('[[seeds]]\npath = "../other/seeds.jsonl"\n', "seeds.0.path"),
    ('[[seeds]]\npath = "someone/dataset"\nformat = "hub"\n', "seeds.0.path"),
    ('[[seeds]]\npath = "link.txt"\n', "seeds.0.path"),
    ('[[seeds]]\npath = "l*.txt"\n', "seeds.0.path"),
    ('[[seeds]]\npath = "/etc/pass*"\n', "seeds.0.path"),
    ('[[seeds]]\npath = "*/../../*.txt"\n', "seeds.0.path"),
    ('[review]\nurl = "https://anywhere.example"\nkey_env = "K"\n', "review.url"),
    ('[review]\ngold = "../../gold.jsonl"\n', "review.gold"),
    ('[curate.gates]\njson_schema = "/etc/shadow"\n', "curate.gates.json_schema"),
    ('[curate.contamination]\nfiles = ["in.jsonl", "/etc/shadow"]\n', "curate.contamination.files"),
    ('[train]\nbase = "/home/ann/weights"\n', "train.base"),
    ('[train]\nbase = "../weights"\n', "train.base"),
    ('[train]\nbase = "someone/model"\n', "train.base"),
    ('[curate.score]\nmodel = "someone/reward"\n', "curate.score.model"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key"), NOT_ALLOWED, ids=[text.replace("\n", " ")[:60] for text, _ in NOT_ALLOWED])
def test_hosts_keys_and_files_need_an_owners_permission(policy: Policy, tmp_path: Path, text: str, key: str) -> None:
    """Other hosts, key variables and files are refused, whoever writes the spec, and again just before a process
    starts."""
    for name in ("good", "rebound", "mapped", "mixed"):
        policy.allow(f"https://{name}.example", "", "owner")
    held = project(tmp_path, text)
    (held.folder / "link.txt").symlink_to("/etc/passwd")
    for before, owner in ((None, False), (parse(TASK, held.folder).spec, False), (None, True)):
        with pytest.raises(Refusal) as refused:
            policy.check(held, before=before, owner=owner)
        assert refused.value.where == key
        assert refused.value.status == 403


FENCED = [
    '[curate.gates]\nuser = ["gates:ours"]\n',
    '[evaluate]\nuser = ["gates:ours"]\n',
    "[budget]\nmax_usd = 1000\n",
    '[store]\nurl = "sqlite:////tmp/x.db"\n',
    '[store]\nurl_env = "DATABASE_URL"\n',
    '[teacher]\nvllm = "someone/model"\n',
    '[teacher]\nvllm_python = "/bin/sh"\n',
    '[train]\ntrust_remote_code = ["someone/model@0123"]\n',
    '[teacher]\nheaders = { Host = "inside" }\n',
    "[teacher]\nusd_per_million_prompt_tokens = 0.0\n",
]


@pytest.mark.parametrize("text", FENCED)
def test_only_an_owner_sets_changes_or_removes_fenced_keys(policy: Policy, tmp_path: Path, text: str) -> None:
    """An editor may only leave an owner's value unchanged. Keys that affect the machine, and with it all projects, need
    an owner of all projects."""
    plain, fenced = project(tmp_path), project(tmp_path, text)
    money = "usd" in text
    for new, before in ((fenced, plain), (plain, fenced)):
        with pytest.raises(Refusal, match="only an owner"):
            policy.check(new, before=before.spec)
        if money:
            policy.check(new, before=before.spec, owner=True)
        else:
            with pytest.raises(Refusal, match="an owner of all projects"):
                policy.check(new, before=before.spec, owner=True)
        policy.check(new, before=before.spec, owner=True, administrator=True)
    policy.check(fenced, before=fenced.spec)
    policy.check(fenced)


def test_templates_with_loops_need_an_owner_of_all_projects(policy: Policy, tmp_path: Path) -> None:
    """An editor may join columns, with conditions and filters. Loops and repetition, which could keep the service busy,
    need an owner of all projects; an existing template may stay."""
    before = project(tmp_path, '[[seeds]]\npath = "s.jsonl"\n').spec

    def with_input(template: str) -> Project:
        return project(tmp_path, f'[[seeds]]\npath = "s.jsonl"\ninput = "{template}"\n')

    policy.check(with_input("{{ a | trim }}{% if b %}, {{ b }}{% endif %}"), before=before)
    looping = with_input("{% for x in a %}{{ x }}{% endfor %}")
    with pytest.raises(Refusal, match=r"seeds\.0\.input.*has for"):
        policy.check(looping, before=before, owner=True)
    policy.check(looping, before=before, administrator=True)
    policy.check(looping, before=looping.spec)


def test_schema_from_code_is_fenced(policy: Policy, tmp_path: Path) -> None:
    """`module:Model` imports a module, so it is fenced; a schema file of the project is not."""
    task = '[task]\nkind = "extract"\nname = "t"\nstyle = "s"\nschema = "{}"\n'
    folder = project(tmp_path).folder
    file, code = (parse(task.format(name), folder) for name in ("form.json", "form:Model"))
    policy.check(file, before=project(tmp_path).spec)
    with pytest.raises(Refusal, match="only an owner"):
        policy.check(code, before=project(tmp_path).spec)


def test_allowed_hosts_are_admitted_and_nothing_else(policy: Policy, tmp_path: Path) -> None:
    """An owner can allow a pair of host and key, a host in the private network by address or name, and the Hugging Face
    hub."""
    text = '[teacher]\nurl = "https://good.example/v1"\nkey_env = "GOOD_KEY"\n'
    policy.allow("https://good.example", "OTHER_KEY", "owner")
    with pytest.raises(Refusal, match="GOOD_KEY may not be sent to"):
        policy.check(project(tmp_path, text))
    policy.allow("good.example", "GOOD_KEY", "owner")
    policy.check(project(tmp_path, text))
    for url in ("http://10.0.0.8:8000", "http://gpu.lan:8000", "http://localhost:11434"):
        held = project(tmp_path, f'[teacher]\nurl = "{url}/v1"\n')
        with pytest.raises(Refusal):
            policy.check(held)
        policy.allow(url, "", "owner")
        policy.check(held)
    policy.allow("https://huggingface.co", "", "owner")
    policy.check(project(tmp_path, '[train]\nbase = "someone/model"\n'))
    assert policy.forbid("good.example:443", "GOOD_KEY")
    with pytest.raises(Refusal):
        policy.check(project(tmp_path, text))


def test_job_environment_has_only_the_variables_its_spec_names(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys of other projects, of the service and of the machine are not in a job's environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "canary-openai")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-aws")
    monkeypatch.setenv("PAIRSMITH_DATABASE_PASSWORD", "canary-database")
    plain = policy.environment(project(tmp_path))
    assert not [value for value in plain.values() if "canary" in value]
    assert plain["PATH"]
    asks = project(tmp_path, '[teacher]\nurl = "https://api.openai.com/v1"\nkey_env = "OPENAI_API_KEY"\n')
    held = policy.environment(asks)
    assert [name for name, value in held.items() if "canary" in value] == ["OPENAI_API_KEY"]


NOT_PUBLIC = (
    "127.0.0.1 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 ::1 :: fe80::1 fd00::1 224.0.0.1 "
    "::ffff:127.0.0.1 ::ffff:a9fe:a9fe 2002:7f00:1:: 64:ff9b::7f00:1 ::127.0.0.1 fe80::1%eth0 255.255.255.255 "
    "nonsense"
)


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_addresses_that_are_not_public(address: str) -> None:
    """Loopback, private, link-local, shared and reserved addresses, also embedded in IPv6, and invalid ones."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::6810:7c0", "::ffff:93.184.215.14"])
def test_public_addresses(address: str) -> None:
    """Ordinary internet addresses, also IPv4 mapped to IPv6."""
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "http://",
        "http://..",
        "https://user@host/",
        "http://a b/",
        "http://x:99999/",
        "javascript:1",
        "//x",
        "",
    ],
)
def test_invalid_server_urls(url: str) -> None:
    """A scheme other than http(s), a user name, an invalid host or port."""
    assert host_of(url) is None


GUARDED = """
import asyncio, os, socket, sys
os.environ["{variable}"] = "{allowed}"
from pairsmith.serve.network import guard
answers = {answers!r}
real = socket.getaddrinfo
def lookup(host, port, *more, **named):
    if host in answers:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[host], port))]
    return real(host, port, *more, **named)
socket.getaddrinfo = lookup
guard()
import aiohttp
async def ask():
    async with aiohttp.ClientSession() as session:
        async with session.get(sys.argv[1]) as response:
            return response.status
from schemas.blocking import run
try:
    print("REACHED", run(ask()))
except Exception as error:
    print("REFUSED", error)
"""


@pytest.mark.parametrize(
    ("url", "allowed", "reached"),
    [
        ("http://rebound.example:{port}/", "", False),
        ("http://rebound.example:{port}/", "rebound.example:{port}", True),
        ("http://localhost:{port}/", "", True),
        ("http://metadata.example/", "", False),
        ("http://169.254.169.254/", "", False),
        ("http://10.255.255.1/", "", False),
    ],
)
def test_address_is_checked_again_when_connecting(url: str, allowed: str, reached: bool) -> None:
    """In a job's process, a name that resolves to another address after the check (DNS rebinding) and addresses that
    are not public are refused at the connection itself, with the client and event loop that pairsmith uses."""

    class Answering(Handler):
        do_GET = Handler.reply

    with handled(Answering) as here:
        port = here.rpartition(":")[2]
        answers = {"rebound.example": "127.0.0.1", "metadata.example": "169.254.169.254"}
        code = GUARDED.format(variable=PRIVATE_HOSTS, allowed=allowed.format(port=port), answers=answers)
        done = subprocess.run(
            [sys.executable, "-c", code, url.format(port=port)], capture_output=True, text=True, timeout=200, check=True
        )
    assert done.stdout.startswith("REACHED" if reached else "REFUSED"), done.stdout + done.stderr


def test_host_that_is_always_allowed_is_listed_once(engine: sa.Engine) -> None:
    """Allowing it again adds no second entry, whose removal would have no effect."""
    policy = Policy(engine, lookup=lookup, trusts_this_machine=True)
    before = policy.allowed()
    local = next(str(row["host"]) for row in before if row["host"].startswith("localhost"))
    policy.allow(f"http://{local}", "", "ann")
    policy.allow("https://api.openai.com", "OPENAI_API_KEY", "ann")
    assert policy.allowed() == before
    policy.allow(f"http://{local}", "LOCAL_KEY", "ann")
    policy.allow(f"http://{local}", "LOCAL_KEY", "bob")
    assert [row["key_env"] for row in policy.allowed() if row["host"] == local] == ["", "LOCAL_KEY"]
