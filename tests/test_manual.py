"""What the manual lists by hand matches the code: commands, options, exit codes, record keys, reason codes, files."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

from curate.review.sampling import SHARE_KEYS
from curate.rows import CONTAMINATION, DUPLICATE, JUDGE, SPLIT
from curate.selection.best import BEST
from curate.similarity.semantic import SEMANTIC, SEMANTIC_TEST
from curate.steps import CERTIFIED, SELECTED
from pairsmith import Project
from pairsmith.commands import COMMANDS, group
from pairsmith.commands.replay import DIFFERS
from pairsmith.commands.run import WAITS
from pairsmith.exported_model import GGUF
from pairsmith.serve import limits
from pairsmith.serve.job import COMMANDS as JOBS
from pairsmith.serve.job import State
from pairsmith.serve.policy import CLASSES, Kind
from pairsmith.stages.evaluate import CODES
from pairsmith.stages.export import EVIDENCE, FORMATS, MARK, REPORT
from pairsmith.teachers.search import APIS
from prompts import library
from prompts.languages import language_code
from schemas.errors import PairsmithError
from schemas.project import CERTIFICATE
from schemas.records import Receipt
from schemas.spec.curate import GateSettings
from schemas.spec.review import ReviewShares
from schemas.spec.task import SeedSource
from schemas.spec_file import SPEC_NAME
from synth.sources.turns import ROLES
from tests.schemas.test_spec_file import KEYS
from tests.test_docs import PAGES, ROOT

DOCS = ROOT / "docs"
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PROJECT_OPTIONS = {"--project", "--set", "--json"}


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """A page without its code blocks, which are tested elsewhere. Line numbers stay the same."""
    return FENCED.sub(lambda block: "\n" * block[0].count("\n"), path.read_text(encoding="utf-8"))


def table(name: str, head: str) -> list[list[str]]:
    """The rows, as lists of cells, of the table in a page whose first line begins with `head`."""
    lines = page(name).partition(f"\n{head}")[2].splitlines()[2:]
    rows = lines[: next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    assert rows, f"docs/{name}.md has no table {head}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def every_command(command: click.Command = group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from every_command(below, (*path, name))
    if path and (not isinstance(command, click.Group) or command.invoke_without_command):
        yield " ".join(path).replace("serve up", "serve"), command


def options(command: click.Command) -> set[str]:
    return {max(option.opts, key=len) for option in command.params if isinstance(option, click.Option)}


def test_the_list_of_commands_names_every_command_with_its_options() -> None:
    """docs/cli.md has one line for each command and none for anything else, and the line names all options of that
    command."""
    lines = {name: cells for cells in table("cli", "| command |") for name in code_spans(cells[0])}
    commands = dict(every_command())
    line_of_command = {
        name: next((line for line in lines if f"{line} ".startswith(f"{name} ")), "") for name in commands
    }
    nested = {name for name in commands if any(other.startswith(f"{name} ") for other in commands)}
    for name in nested:  # `jobs` is a command and also has subcommands
        line_of_command[name] = next(line for line in lines if re.fullmatch(rf"{name}( \[[A-Z]+\])?", line))
    assert all(line_of_command.values()), [name for name, line in line_of_command.items() if not line]
    for name, command in commands.items():
        own = options(command) - PROJECT_OPTIONS - {"--max-usd"}
        own |= options(command) & {"--project"} if name == "jobs" else set()
        assert own <= set(re.findall(r"--[a-z-]+", " ".join(lines[line_of_command[name]]))), name


def test_commands_with_a_cap_and_commands_on_a_project() -> None:
    """docs/cli.md lists the commands that accept `--max-usd`. All commands except `serve` and `jobs` accept the three
    options of a project."""
    sentence = re.search(r"Commands that ask teachers \((.*?)\)", page("cli"), re.DOTALL)
    assert sentence
    commands = dict(every_command())
    capped = [name for name, command in commands.items() if "--max-usd" in options(command)]
    assert sorted(code_spans(sentence[1])) == sorted(capped)
    on_a_workspace = {name for name, command in commands.items() if not options(command) >= PROJECT_OPTIONS}
    assert {name.split()[0] for name in on_a_workspace} == {"serve", "jobs"}


def test_exit_codes() -> None:
    """docs/cli.md lists every exit code that the code uses, and no other."""

    def below(error: type[PairsmithError]) -> Iterable[int]:
        yield error.exit_code
        for narrower in error.__subclasses__():
            yield from below(narrower)

    codes = {*below(PairsmithError), *CODES.values(), WAITS, DIFFERS}
    assert [int(code) for code, *_ in table("cli", "| code |")] == sorted(codes)


def test_the_keys_of_a_receipt() -> None:
    """docs/cli.md names every key of a receipt."""
    listed = [key for cells in table("cli", "| key |") for key in code_spans(cells[0])]
    assert sorted(listed) == sorted(Receipt.model_fields)


def test_the_keys_that_init_looks_for() -> None:
    """docs/teachers.md names the environment variables of the providers that `init` tries, in the same order."""
    section = page("teachers").partition("### Which teacher `init` takes")[2].partition("\n## ")[0]
    assert [name for name in code_spans(section) if name.endswith("_API_KEY")] == [api.key_env for api in APIS]


def test_the_steps_of_curation() -> None:
    """docs/curation.md lists the steps by the names and versions that their verdicts carry."""
    from curate.flags.contradiction import CONTRADICTION
    from curate.flags.unlikely_labels import UNLIKELY

    steps = [code_spans(cells[0])[0] for cells in table("curation", "| step |")]
    row_steps = [CONTAMINATION, CONTRADICTION, JUDGE]
    pool_steps = [BEST, DUPLICATE, SEMANTIC, SEMANTIC_TEST, UNLIKELY, CERTIFIED, SELECTED, SPLIT]
    assert [step for step in steps if "@" in step] == [*row_steps, *pool_steps]


def literals(*folders: str, calls: str) -> set[str]:
    """The string literals passed as the first constant argument to calls of the function `calls`, in all files of the
    folders."""
    codes = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == calls:
                    text = next((arg for arg in node.args if isinstance(arg, ast.Constant)), None)
                    if text and isinstance(text.value, str):
                        codes.add(text.value)
    return codes


def test_reasons_why_a_row_is_not_a_seed() -> None:
    """docs/seeds.md lists every reason for which a row is not used, and every format and role."""
    words = [code_spans(cells[0])[0] for cells in table("seeds", "| reason |")]
    problems = literals("synth", calls="Fault") | {"duplicate", "personal"}
    assert sorted(words) == sorted(problems)
    formats = get_args(get_args(SeedSource.model_fields["format"].annotation)[0])
    assert sorted(code_spans(cells[0])[0] for cells in table("seeds", "| format |")) == sorted(formats)
    roles = re.search(r"Accepted role names: (.*?)\. A text", page("seeds"), re.DOTALL)
    assert roles
    assert sorted(re.split(r"[,;]\s+", roles[1])) == sorted(ROLES)


def test_released_prompts() -> None:
    """docs/prompts.md lists each prompt with the variables that its newest version declares."""
    old = {"simple": "input", "enhanced": "output"}
    shipped = {path.parent.name for path in (ROOT / "prompts").glob("*/v*.jinja")}
    listed = {code_spans(cells[0])[0]: set(code_spans(cells[1])) for cells in table("prompts", "| name |")}
    declared = {name: {old.get(one, one) for one in library.load(name, ROOT / "none").variables} for name in shipped}
    assert listed == declared


def test_the_table_of_gates() -> None:
    """docs/gates.md has a line for each gate with its default, and names every reason code that a gate gives and,
    below the table, every gate."""
    rows = table("gates", "| gate | default |")
    settings = GateSettings()
    words = {True: "true", "flag": "flag", False: "off"}
    for name, default, *_ in rows:
        of_spec = getattr(settings, code_spans(name)[0], None)
        if default in words.values():
            assert default == words[of_spec if isinstance(of_spec, bool | str) else True], name
    listed = [code_spans(name)[0] for name, *_ in rows]
    assert {*GateSettings.model_fields} == {*listed} - {"input", "label", "schema"}
    codes = literals("curate/gates", calls="rejected") - {"crashed"}
    listed_codes = {code for row in rows for cell in row for code in code_spans(cell)}
    assert codes <= listed_codes, codes - listed_codes
    below = page("gates").partition("### Text that is no answer")[2]
    settings_of_the_user = {"must", "must_not", "json_schema", "user", "pii"}  # which have sections of their own
    assert {name for name in listed if f"**`{name}`**" not in below} - settings_of_the_user == {"input", "translated"}


def test_the_languages_of_the_gates() -> None:
    """docs/gates.md names every language that has a list of phrases."""
    text = page("gates").partition("There are tables for ")[2].partition(" only list")[0]
    lists = {path.stem for path in (ROOT / "curate/gates/phrases").glob("*.toml")} - {"any"}
    assert {language_code(name) for name in re.findall(r"[A-Z][a-z]+", text)} == lists


def test_reasons_for_drawing_rows() -> None:
    """docs/review-method.md lists the reasons why rows are drawn for review, with their shares of a batch."""
    shares = ReviewShares()
    listed = {code_spans(cells[0])[0]: cells[3] for cells in table("review-method", "| reason |")}
    assert listed.pop("gold") == "on top"
    assert listed == {key: f"{100 * getattr(shares, key):g} %" for key in SHARE_KEYS.values()}


def test_index_lists_every_page() -> None:
    """docs/index.md lists each page of the manual once."""
    listed = re.findall(r"^\| \[[^]]+\]\((\w[\w-]*)\.md\)", page("index"), re.MULTILINE)
    assert sorted([*listed, "index"]) == sorted(path.stem for path in DOCS.glob("*.md"))


def test_the_files_of_an_export() -> None:
    """docs/export.md names the files of an export beside the model, the trainers' chat formats and the kinds of
    GGUF."""
    files = {name for cells in table("export", "| in the export |") for name in code_spans(cells[0])}
    assert {SPEC_NAME, REPORT, EVIDENCE, CERTIFICATE, MARK} <= files
    assert [code_spans(cells[0])[0] for cells in table("export", "| `--format` |")] == [*FORMATS]
    assert {*GGUF} <= {*code_spans(page("export").partition("## GGUF and Ollama")[2])}


def test_the_methods_of_a_project() -> None:
    """docs/python.md names every public method of `Project`."""
    methods = {name for name in vars(Project) if not name.startswith("_")} - {"settings"}
    text = page("python").partition("## A project")[2]
    assert {name for name in methods if not re.search(rf"\b{name}\(", text)} == set()


def test_key_classes_and_limits_of_the_service() -> None:
    """docs/security.md lists every restricted spec key under its class, and states the limits in force."""
    kinds = {"host": "host", "key name": "key_name", "code": "code", "machine": "machine", "fenced": "fenced"}
    path_kinds = (Kind.path, Kind.seeds, Kind.schema, Kind.base, Kind.scorer)
    for name, keys, _ in table("security", "| class |"):
        of = path_kinds if name == "path" else () if name == "free" else (Kind[kinds.get(name, name)],)
        assert {key for key in code_spans(keys) if "." in key} == {
            key for key, kind in CLASSES.items() if kind in of
        }, name
    limit_by_subject = {cells[0]: cells[1] for cells in table("security", "| | |")}
    megabytes, per_hour = limits.BODY_BYTES // 10**6, round(3600 * limits.PREVIEWS.per_second)
    assert (
        limit_by_subject["a request body"]
        == f"{megabytes} MB; {limits.ANONYMOUS_BYTES // 1000} kB from somebody who is not signed in"
    )
    assert limit_by_subject["an upload"].startswith(
        f"{limits.UPLOAD_BYTES // 10**6} MB and, as seeds, {limits.UPLOAD_ROWS:,} rows; "
        f"{limits.PROJECT_BYTES // 10**9} GB per project"
    )
    assert limit_by_subject["requests"].startswith(
        f"{limits.REQUESTS.per_second} a second, {limits.REQUESTS.burst} at once"
    )
    assert limit_by_subject["previews and tests of teachers"] == f"{per_hour} an hour"
    assert limit_by_subject["chats"] == f"{limits.AT_ONCE['chat']} at once"
    assert limit_by_subject["event streams"] == f"{limits.AT_ONCE['streams']} at once"


def test_the_jobs_of_the_service() -> None:
    """docs/service.md names the commands that a job can run, a job's states and the options of `serve`. `jobs start
    --help` names the same commands."""
    text = page("service").partition("- **Jobs** run ")[2]
    assert code_spans(text.partition(".\n")[0]) == [*JOBS]
    assert sorted(code_spans(text.partition("`state` is ")[2].partition(", and a")[0])) == sorted(get_args(State))
    start = dict(every_command())["jobs start"].help or ""
    assert re.findall(r"[a-z-]+", start.partition("WHAT is ")[2].partition(".")[0].replace(" or ", " ")) == [*JOBS]
    options_of_serve = options(dict(every_command())["serve"])
    assert options_of_serve == {option for cells in table("service", "| option |") for option in code_spans(cells[0])}


SECTIONS = {key.split(".")[0].removesuffix("[]") for key in KEYS}
PREFIXES = {".".join(key.replace("[]", "").split(".")[:n]) for key in KEYS for n in range(1, key.count(".") + 2)}
OUR_FOLDERS = ("pairsmith", "curate", "synth", "train", "prompts", "schemas", "tests", "bench", "examples", "docs")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_keys_files_and_commands_named_in_prose_exist(path: Path) -> None:
    """Every spec key, file of this repository, `pairsmith` call and `make` target named in the text exists."""
    text = prose(path)
    for code in code_spans(text.replace("\n", " ")):
        keys = re.fullmatch(r"(?:\[+)?([a-z_]+(?:(?:\[\])?\.[a-z_0-9]+)*)(?:\]+)?", code)
        is_key = keys and (code.startswith("[") or "." in code) and keys[1].split(".")[0].removesuffix("[]") in SECTIONS
        if is_key and keys and not re.search(r"\.(py|jsonl?|md|toml)$", code):
            module = (ROOT / "/".join(keys[1].split(".")[:-1])).with_suffix(".py")
            key = re.sub(r"\[\]|\.\d+", "", keys[1])
            assert key in PREFIXES or key.startswith("teachers.") or module.exists(), code
        if re.fullmatch(rf"(?:{'|'.join(OUR_FOLDERS)})/[\w./-]+\.\w+", code) and "vN" not in code:
            assert (ROOT / code).exists() or (path.parent / code).exists(), code
        if code.startswith("make "):
            target = rf"^[^#\n]*\b{code.split()[1]}\b[^\n]*:"
            assert re.search(target, (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), code
        if code.startswith("pairsmith ") and "COMMAND" not in code and not code.endswith("..."):
            assert_valid_call(shlex.split(code.partition("|")[0])[1:], code)


def test_notebook_commands_are_valid_and_install_this_package() -> None:
    """Each `!pairsmith` in a notebook is a valid call, and a key is requested only if the example has a teacher.
    Pip gets an address, because a package of this name on an index would be somebody else's."""
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        lines = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code").splitlines()
        for line in lines:
            if line.startswith("!pairsmith "):
                assert_valid_call(shlex.split(line.removeprefix("!"))[1:], f"{path.name}: {line}")
        assert all(" @ " in line for line in lines if re.match(r"[%!]pip install.*pairsmith", line)), path.name
        for example in re.findall(r"--example (\S+)", "\n".join(lines)):
            spec = (ROOT / "examples" / example / "pairsmith.toml").read_text(encoding="utf-8")
            assert "_API_KEY" not in "\n".join(lines) or "[teacher]" in spec, f"{path.name}: {example} needs no key"


def assert_valid_call(words: list[str], call: str) -> None:
    """Raises for a call that the command line would reject."""
    command: click.Command = group
    context = click.Context(group, info_name="pairsmith")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(context, words[0])
        assert below is not None or command.name == "serve", call
        command, words = (below, words[1:]) if below else (command.commands["up"], words)
        context = click.Context(command, parent=context, info_name=command.name)
    if not isinstance(command, click.Group):
        command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_headings_have_a_target(path: Path) -> None:
    """The part of a link after `#` is a heading of that page."""
    for target in re.findall(r"\]\(([^)\s]*#[^)\s]+)\)", prose(path)):
        name, _, heading = target.partition("#")
        if "://" not in target:
            assert heading in headings((path.parent / name).resolve() if name else path), target


def headings(path: Path) -> set[str]:
    plain = (re.sub(r"[`*]", "", line).lower() for line in re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", line).strip().replace(" ", "-") for line in plain}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_are_complete(path: Path) -> None:
    """No row is separated from its table's header, which would show it as text, and all rows have the same number of
    cells."""
    cells = 0
    lines = prose(path).splitlines()
    for before, line, after in zip(["", *lines[:-1]], lines, [*lines[1:], ""], strict=True):
        if line.startswith("|"):
            count = len(re.findall(r"(?<!\\)\|", line))
            if not before.startswith("|"):
                assert re.fullmatch(r"\|[-:| ]+\|", after), line
                cells = count
            assert count == cells, line


def test_the_list_of_commands_fits_a_terminal() -> None:
    """`pairsmith --help` shows each command on one line of 80 columns, and no subcommand's summary is cut off."""
    widest = {section: max(len(name) for name, at, _ in COMMANDS if at == section) for _, section, _ in COMMANDS}
    assert [line for _, section, line in COMMANDS if len(line) + widest[section] + 4 > 80] == []
    below = {name: command for name, command in every_command() if " " in name}
    assert [name for name, command in below.items() if command.get_short_help_str(60).endswith("...")] == []


def test_help_shows_what_an_option_takes() -> None:
    """The help of an option names what it takes (N, DIR, FILE), not a type of the library ("INTEGER RANGE", "TEXT")."""
    parent = group.make_context("pairsmith", [], resilient_parsing=True)
    for name, command in every_command():
        shown = command.get_help(click.Context(command, info_name=name, parent=parent))
        assert not re.search(r" RANGE|--[\w-]+ (?:TEXT|INTEGER|FLOAT|FILENAME|DIRECTORY)\b", shown), name


@pytest.mark.parametrize("width", [60, 80])
def test_help_breaks_no_name_at_a_hyphen(width: int) -> None:
    """Names such as `image-prompts` stay on one line of the help, so that they can be copied."""
    parent = group.make_context("pairsmith", [], resilient_parsing=True)
    for name, command in every_command():
        context = command.context_class(command, info_name=name, parent=parent, terminal_width=width)
        assert [line for line in command.get_help(context).splitlines() if re.search(r"\w-$", line)] == [], name
