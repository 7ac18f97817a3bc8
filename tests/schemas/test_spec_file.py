"""`pairsmith.toml`: every valid key can be set, and every mistake is one message with key, line and fix."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas import toml
from schemas.errors import InputError, SpecError
from schemas.expected import PATTERNS
from schemas.spec import SeedSource, Spec
from schemas.spec_file import key_line, load, parse, set_keys

MANUAL = Path(__file__).parents[2] / "docs" / "spec.md"

FULL = '''\
# A comment with = in it, and [a.table] too.
[task]
name = "demo"
style = """
[train]
epochs = 99
"""

[[seeds]]
path = "a.jsonl"

[[seeds]]
path = "b.csv"
kind = "output"
[seeds.columns]
text = "prompt"

[[exemplars]]
input = "a fox"
output = "a fox in the snow"

[generate.backward]
levels = [
    """one
epochs = 5""",
    "two",
]

[curate.gates]
length = { min_words = 3 }
must = [
    { name = "flag", pattern = "--ar" },
]

[[curate.gates.must_not]]
name = "other"
pattern = "--v"

[train]
epochs = 2

[evaluate]
checks = [
    { name = "light", pattern = "light" },
    { name = "lens", pattern = "lens" },
]
'''


def write_spec(folder: Path, text: str = FULL) -> Path:
    (folder / "pairsmith.toml").write_text(text, encoding="utf-8")
    return folder


def spec_error(folder: Path, text: str = FULL, *overrides: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load(write_spec(folder, text), overrides)
    return caught.value


def line_of(needle: str, text: str) -> int:
    (line,) = [number for number, line in enumerate(text.split("\n"), 1) if needle in line]
    return line


def model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := model_in(part))), None)


def fields(model: type[BaseModel] = Spec, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of the spec with its field. Keys of list entries are written `seeds[].path`."""
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        is_list = get_origin(field.annotation) is tuple
        if inner is None or (get_origin(field.annotation) is not None and not is_list):
            yield f"{prefix}{field.alias or name}", field
        if inner is not None and get_origin(field.annotation) is not dict:
            yield from fields(inner, f"{prefix}{name}{'[]' if is_list else ''}.")


KEYS = dict(fields())


# Reading


def test_a_whole_file_is_read_into_types(tmp_path):
    """Tables, lists of tables, inline tables and multi-line strings become the spec's types."""
    project = load(write_spec(tmp_path))
    assert project.folder == tmp_path
    assert project.spec.task.style == "[train]\nepochs = 99\n"
    assert [source.path for source in project.spec.seeds] == ["a.jsonl", "b.csv"]
    assert project.spec.seeds[1].columns == {"text": "prompt"}
    assert project.spec.generate.backward.levels == ("one\nepochs = 5", "two")
    assert project.spec.curate.gates.length.min_words == 3
    assert project.spec.train.epochs == 2
    assert project.spec.train.r == 16


def test_hash_depends_on_content_and_not_on_the_file(tmp_path):
    """Comments, order and a byte order mark do not change the spec's hash. A changed value does."""
    first = load(write_spec(tmp_path)).spec_hash
    assert load(write_spec(tmp_path, "\ufeff# more\n" + FULL)).spec_hash == first
    assert load(tmp_path, ["train.epochs=3"]).spec_hash != first
    assert load(tmp_path, ["train.epochs=2.0", "train.r=16"]).spec_hash == first


def test_a_folder_without_a_spec_says_how_to_make_one(tmp_path):
    """A first command in the wrong folder gets the command to run instead."""
    with pytest.raises(SpecError, match=r"there is no pairsmith\.toml here") as caught:
        load(tmp_path)
    assert "pairsmith init" in str(caught.value)


def test_path_of_the_spec_file_asks_for_its_folder(tmp_path):
    """A user who gives the file is asked for its folder, not for another encoding."""
    with pytest.raises(SpecError, match=r"toml: is a file\. Give the folder"):
        load(write_spec(tmp_path) / "pairsmith.toml")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    """Its encoding is not guessed."""
    (tmp_path / "pairsmith.toml").write_bytes(FULL.replace("a fox", "ein Käfer").encode("latin-1"))
    with pytest.raises(SpecError, match="cannot be read"):
        load(tmp_path)


def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    """The first is shown in full, preferably an unknown key. The others follow with their lines, each once."""
    wrong = '\n[train]\nlerning_rate = 2e-4\nepochs = "x"\n[review]\nenabld = false\n[split]\ntest = "a"\n'
    text = '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "s.txt"' + wrong
    with pytest.raises(SpecError) as caught:
        parse(text, tmp_path)
    assert caught.value.what.startswith("unknown key '")
    sentence = str(caught.value)
    for line in ("7: unknown key 'train.lerning_rate'", "10: unknown key 'review.enabld'"):
        assert line in sentence
    assert "line 8: 'train.epochs'" in sentence
    assert sentence.count("'split.test'") == 1
    assert "(did you mean '" in sentence


@pytest.mark.parametrize(
    ("old", "new", "needle"),
    [("epochs = 2", "epochs = = 2", "epochs = = 2"), ('name = "demo"', 'name = "a"\nname = "b"', 'name = "b"')],
)
def test_broken_toml_is_reported_with_its_line(tmp_path, old, new, needle):
    """A syntax error and a duplicate key are reported where they are."""
    text = FULL.replace(old, new)
    assert spec_error(tmp_path, text).where == f"{tmp_path / 'pairsmith.toml'}:{line_of(needle, text)}"


# Mistakes


@pytest.mark.parametrize(
    ("old", "new", "key", "near", "needle"),
    [
        ("epochs = 2", "epohcs = 2", "train.epohcs", "epochs", "epohcs"),
        ('kind = "output"', 'knid = "output"', "seeds.1.knid", "kind", "knid"),
        ("[generate.backward]", "[generate.bakward]", "generate.bakward", "backward", "[generate.bakward]"),
        ('name = "other"', 'nam = "other"', "curate.gates.must_not.0.nam", "name", "nam ="),
        ("min_words", "minwords", "curate.gates.length.minwords", "min_words", "length ="),
        ("[train]\nepochs = 2", "[Train]\nepochs = 2", "Train", "train", "[Train]"),
        ("epochs = 2", "_r = 2", "train._r", "r", "_r = 2"),
        ("[train]\nepochs = 2", "train.epohcs = 2", "curate.gates.must_not.0.train", "", "train.epohcs"),
    ],
)
def test_unknown_key_is_reported_with_its_line_and_the_closest_valid_one(tmp_path, old, new, key, near, needle):
    """No typo passes as a default: the message has the key, its line and a suggestion, which is left out if no valid
    key is similar."""
    text = FULL.replace(old, new)
    error = spec_error(tmp_path, text)
    assert error.what == f"unknown key '{key}'."
    assert error.where == f"{tmp_path / 'pairsmith.toml'}:{line_of(needle, text)}"
    assert (f"rejected. Did you mean '{near}'? Valid here: " if near else "rejected. Valid here: ") in str(error)


@pytest.mark.parametrize(
    ("given", "near"), [("input", "prompt"), ("output", "completion"), ("output_tokens", "completion")]
)
def test_a_price_in_a_providers_words_is_answered_with_its_own_key(tmp_path, given, near):
    """Most providers price input and output tokens. Both once were answered with the key of prompt tokens, where the
    higher price of outputs would have gone as well."""
    error = spec_error(tmp_path, f"{FULL}\n[teachers.cheap]\nusd_per_million_{given} = 0.5\n")
    assert f"Did you mean 'usd_per_million_{near}_tokens'?" in str(error)


def test_unknown_key_is_reported_before_its_consequences(tmp_path):
    """A misspelt required key is reported as unknown, not as missing."""
    assert spec_error(tmp_path, FULL.replace("checks = [", "cheks = [")).what == "unknown key 'evaluate.cheks'."


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "demo"\n', "", "task.name"),
        ('path = "b.csv"\n', "", "seeds.1.path"),
        ('[task]\nname = "demo"\nstyle', "[generate.forward]\nprompt", "task"),
        ('    { name = "flag", pattern', '    { name = "flag", patern', "unknown"),
    ],
)
def test_missing_key_is_reported(tmp_path, old, new, key):
    """A missing required key is reported with its full path."""
    assert old in FULL
    assert re.search(rf"^the key '{key}' is missing|^unknown key", spec_error(tmp_path, FULL.replace(old, new)).what)


@pytest.mark.parametrize(
    ("old", "new", "what", "needle"),
    [
        ("epochs = 2", 'epochs = "two"', r"'train\.epochs': .*number.* \(got 'two'\)", 'epochs = "two"'),
        ("epochs = 2", "epochs = 0", r"'train\.epochs': expected more than 0 \(got 0\)", "epochs = 0"),
        ('name = "demo"', "name = 7", r"'task\.name': expected a string \(got 7\)", "name = 7"),
        ('name = "demo"', 'name = "My Demo"', r"^'task\.name': expected lowercase .* \(got 'My Demo'\)", "My Demo"),
        ('name = "demo"', 'name = "demo"\nlanguage = "por"', r"^'task\.language': expected the two letters", '"por"'),
        ('kind = "output"', 'kind = "rich"', r"'seeds\.1\.kind': .*'input', .* \(got 'rich'\)", '"rich"'),
        ("length = { min_words = 3 }", "length = true", r"'curate\.gates\.length': expected a table", "length ="),
        ("{ min_words = 3 }", "{ min_words = -3 }", r"'curate\.gates\.length\.min_words': .*\(got -3\)", "length ="),
        ('pattern = "--v"', 'pattern = "("', r"'curate\.gates\.must_not\.0\.pattern': .*regular expression", '"("'),
        ('"lens" }', '"--v" }', r"evaluate\.checks 'lens' is also a gate", None),
        ('text = "prompt"', "text = 7", r"'seeds\.1\.columns\.text': expected a string \(got 7\)", "text = 7"),
        ("[train]\nepochs = 2", "[split]\ntest = 0.6\nvalidation = 0.4", r"'split': .*nothing to train on", "[split]"),
    ],
)
def test_wrong_value_is_reported_with_its_line_and_the_given_value(tmp_path, old, new, what, needle):
    """A wrong type, a value out of range and a violated rule between keys each point to the place to fix."""
    assert old in FULL
    text = FULL.replace(old, new)
    error = spec_error(tmp_path, text)
    assert re.search(what, error.what)
    path = str(tmp_path / "pairsmith.toml")
    assert error.where == (f"{path}:{line_of(needle, text)}" if needle else path)


def patterns_of_the_spec() -> set[str]:
    schema = Spec.model_json_schema()
    of_keys = {name for table in schema["$defs"].values() for one in table["properties"].values()
               for name in one.get("patternProperties", ())}  # fmt: skip
    return patterns(schema) | of_keys


def patterns(node: object) -> set[str]:
    """Every regular expression in a JSON schema."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = {node["pattern"]} if isinstance(node, dict) and isinstance(node.get("pattern"), str) else set()
    return own.union(*map(patterns, inner))


def test_every_pattern_has_a_description() -> None:
    """No user is shown a regular expression: each pattern of the spec has a description in words."""
    assert patterns_of_the_spec() <= PATTERNS.keys()


@pytest.mark.parametrize("code", ["pt-BR", "pt_BR", "pt-Latn-BR", "PT", "pt"])
@pytest.mark.parametrize("in_file", [True, False])
def test_region_of_a_language_is_dropped_with_a_notice(tmp_path: Path, code: str, in_file: bool) -> None:
    """`pt-BR` is read as Portuguese, with a notice, instead of being rejected."""
    more, overrides = (f'language = "{code}"', []) if in_file else ("", [f"task.language={code}"])
    (tmp_path / "pairsmith.toml").write_text(FULL.replace('name = "demo"', f'name = "demo"\n{more}'))
    project, same = load(tmp_path, overrides), load(tmp_path, ["task.language=pt"])
    assert project.spec.task.language == "pt"
    assert project.spec.model_dump_json() == same.spec.model_dump_json()
    language_notices = [notice for notice in project.notices if "task.language" in notice]
    assert [f'"{code}" is taken as "pt"' in notice for notice in language_notices] == [True] * (len(code) > 2)


def test_value_instead_of_a_table_is_reported_in_terms_of_toml(tmp_path):
    """The message speaks of tables and lists, as the file does, and not of Python's types."""
    assert str(spec_error(tmp_path, FULL, "train=5")).startswith("--set train: expected a table (got 5).")
    assert str(spec_error(tmp_path, FULL, "seeds=a.jsonl")).startswith("--set seeds: expected a list (got 'a.jsonl').")


def test_secret_instead_of_a_variable_name_is_not_shown(tmp_path):
    """A key pasted into key_env stays out of the terminal and the logs."""
    error = spec_error(tmp_path, FULL + '\n[teacher]\nkey_env = "sk-abc123-xyz"\n')
    assert "abc123" not in str(error)
    assert "'teacher.key_env' does not hold the name of an environment variable" in str(error)
    for key, value in (("headers_env", '{ api-key = "sk-abc123-xyz" }'), ("key_env", '"gsk_Ab12Cd34Ef56Gh78Ij90"')):
        error = spec_error(tmp_path, FULL + f"\n[teacher]\n{key} = {value}\n")
        assert not re.search("abc123|Ab12", str(error)), "also in a table, and if it would be a valid name"
        assert "does not hold the name of an environment variable" in str(error)


def test_a_password_in_the_address_of_a_review_is_refused_and_not_shown(tmp_path):
    """Such a password used to appear in every receipt of a review, and no server could be reached with it."""
    error = spec_error(tmp_path, FULL, 'review={ url = "https://ann:s3cr3t@argilla.example", key_env = "K" }')
    assert "s3cr3t" not in str(error)
    assert "headers_env" in str(error)


def test_a_long_value_is_shortened(tmp_path):
    """A style of two pages does not flood the terminal."""
    assert len(str(spec_error(tmp_path, FULL.replace('path = "b.csv"', f'path = "b"\nlimit = "{"x" * 5000}"')))) < 400


# --set


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("train.epochs=3", lambda spec: spec.train.epochs == 3),
        ("train.method=lora", lambda spec: spec.train.method == "lora"),
        ('task.name="x"', lambda spec: spec.task.name == "x"),
        ("task.system=Rewrite it, please: # now", lambda spec: spec.task.system == "Rewrite it, please: # now"),
        ("task.system=a=b", lambda spec: spec.task.system == "a=b"),
        ("task.system=1\nevil=2", lambda spec: spec.task.system == "1\nevil=2"),
        ("teacher.url=http://127.0.0.1:8000/v1", lambda spec: spec.teacher.url == "http://127.0.0.1:8000/v1"),
        ("seeds.1.path=c.csv", lambda spec: [s.path for s in spec.seeds] == ["a.jsonl", "c.csv"]),
        ("seeds.0.columns.text=t", lambda spec: spec.seeds[0].columns == {"text": "t"}),
        ('seeds.0={path="z.txt"}', lambda spec: spec.seeds[0].path == "z.txt"),
        ("exemplars=[]", lambda spec: spec.exemplars == ()),
        ('generate.backward.levels.1="three"', lambda spec: spec.generate.backward.levels[1] == "three"),
        ("curate.gates.length=false", lambda spec: spec.curate.gates.length is False),
        ("generate.forward.sampling.temperature=0.2", lambda spec: spec.generate.forward.sampling.temperature == 0.2),
        (
            "generate.forward.sampling.extra.top_a=0.1",
            lambda spec: spec.generate.forward.sampling.extra == {"top_a": 0.1},
        ),
        ("evaluate.checks.0.pattern=glow", lambda spec: spec.evaluate.checks[0].pattern == "glow"),
        (" train . epochs =3", lambda spec: spec.train.epochs == 3),
    ],
)
def test_set_reaches_tables_list_entries_and_absent_tables(tmp_path, override, read):
    """An override is a TOML value, a bare word is a string, and a list entry is addressed by its number."""
    assert read(load(write_spec(tmp_path), [override]).spec)


def test_overrides_apply_in_order(tmp_path):
    """The last one wins, as on any command line."""
    assert load(write_spec(tmp_path), ["train.r=4", "train.r=8"]).spec.train.r == 8


def test_override_sets_only_its_own_key(tmp_path):
    """Other keys of a section that the file does not have stay unset, so what depends on a missing key still applies,
    e.g. the training method by the size of the base model. A section's own defaults, which differ from those of its
    type, stay too."""
    text = '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "s.txt"\n[teacher]\nurl = "embedded"\nmodel = "m"\n'
    plain = load(write_spec(tmp_path, text)).spec
    overridden = load(write_spec(tmp_path, text), ["train.epochs=2", "curate.judge.sampling.max_tokens=9"]).spec
    assert overridden.train.model_fields_set == {"epochs"}
    assert overridden.train == plain.train.model_copy(update={"epochs": 2})
    assert overridden.curate.judge.sampling == plain.curate.judge.sampling.model_copy(update={"max_tokens": 9})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("train..epochs=3", "expected KEY=VALUE"),
        ("task.name.x=3", "'task.name' is a value, not a table"),
        ("seeds.path=x", "'seeds' is a list with entries 0 to 1. Name one by its number, as in seeds.0"),
        ("seeds.first.path=x", "'seeds' is a list with entries 0 to 1."),
        ("seeds.2.path=x", "'seeds' is a list with entries 0 to 1."),
        ("seeds.²=x", "'seeds' is a list with entries 0 to 1."),
        ("seeds.-1.path=x", "'seeds' is a list with entries 0 to 1."),
        ("train.epohcs=3", "--set train.epohcs: unknown key. It would be silently ignored"),
        ("train.epochs=many", "--set train.epochs: expected a number"),
        ("curate.gates={ lenght = false }", "--set curate.gates.lenght: unknown key."),
    ],
)
def test_wrong_override_is_reported_as_one(tmp_path, override, message):
    """A mistake on the command line is not blamed on a line of the file, and no index gives a traceback."""
    assert message in str(spec_error(tmp_path, FULL, override))


def example(annotation: Any) -> str | None:
    """A valid TOML value for a plain type. None for types with rules of their own."""
    if get_origin(annotation) is Literal:
        return f'"{get_args(annotation)[0]}"'
    plain = {bool: "false", int: "20", float: "0.25", str: '"abc"'}
    members = [part for part in get_args(annotation) or (annotation,) if part is not type(None)]
    return plain.get(members[0]) if len(members) == 1 or members == [bool, Literal["flag"]] else None


SETTABLE = {
    key: value
    for key, field in KEYS.items()
    if "[]" not in key and ".extra" not in key and (value := example(field.annotation)) is not None
} | {"task.language": '"de"', "curate.score.batch_tokens": "1000", "evaluate.resamples": "500"}
SETTABLE |= {
    "generate.backward.levels": '["a"]',
    "curate.gates.user": '["own:gate"]',
    "curate.gates.length": "false",
}
SETTABLE |= {"review.confidence": "0.75", "review.reasons": '["a", "b"]'}
SETTABLE |= {"evaluate.user": '["own:check"]', "curate.gates.values": "true", "curate.gates.translated": "true"}
SETTABLE |= {"split.test": "0.25", "split.validation": "0.25", "curate.select.certified": "true"}
SETTABLE |= {key: '"reject"' for key in SETTABLE if key.startswith("personal.")}
SETTABLE |= {"teacher.batch_api": '"mistral"', "review.adjudicators": '["kim"]'}
# A rule between keys rejects each of these if it is set alone.
COUPLED = {key for key in SETTABLE if key.startswith("review.shares.")} | {"review.url", "task.schema", "task.to"}
COUPLED |= {
    "teacher.vllm",
    "generate.forward.teacher",
    "generate.backward.teacher",
    "evaluate.teacher",
    "curate.score.teacher",
}


def get(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node[part]
    return node


def test_every_key_outside_of_lists_is_set_below():
    """The next test covers the whole spec: the only keys left out are free tables and lists."""
    left_out = {key.rpartition(".")[2] for key in KEYS if key not in SETTABLE and "[]" not in key}
    free = {"extra", "stop", "finish_reasons", "headers", "headers_env", "query", "query_env", "teachers", "urls"}
    free |= {
        "targets",
        "template_arguments",
        "trust_remote_code",
        "vllm_args",
        "judges",
        "files",
        "licenses",
        "terms",
    } | {"labels"}
    assert left_out == free


@pytest.mark.parametrize("key", sorted(SETTABLE.keys() - COUPLED))
def test_every_plain_key_can_be_set(tmp_path, key):
    """`--set` works for every key of the spec, and changes nothing else."""
    before = load(write_spec(tmp_path)).spec.model_dump(mode="json")
    after = load(tmp_path, [f"{key}={SETTABLE[key]}"]).spec.model_dump(mode="json")
    assert get(after, key) == tomllib.loads(f"v = {SETTABLE[key]}")["v"]
    *tables, last = key.split(".")
    node = before
    for table in tables:  # a table with only default values may be left out
        node = node.setdefault(table, {})
    node[last] = get(after, key)
    assert after == before


@pytest.mark.parametrize("wrong", ['"flagg"', "3"])
def test_wrong_value_of_a_union_lists_all_alternatives(tmp_path, wrong):
    """The error for a gate that may be true, false or "flag" lists all three."""
    with pytest.raises(SpecError, match=r"^--set curate\.gates\.cut: expected true or false, or 'flag' \(got "):
        load(write_spec(tmp_path), [f"curate.gates.cut={wrong}"])


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=50
)
@given(key=st.sampled_from(sorted(SETTABLE)), at=st.integers(0, 100), letter=st.sampled_from("qxz"))
def test_any_typo_in_a_key_is_refused(tmp_path, key, at, letter):
    """An extra letter anywhere in a key makes it an unknown key, whichever table it falls into."""
    at %= len(key) + 1
    typo = key[:at] + letter + key[at:]
    with pytest.raises(SpecError, match=r"^--set \S+: unknown key\. It would be silently ignored") as caught:
        load(write_spec(tmp_path), [f"{typo}={SETTABLE[key]}"])
    assert "Did you mean" in str(caught.value)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=50
)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_text_can_be_set_as_it_is(tmp_path, text):
    """A text that is not a TOML value becomes a string, verbatim. A TOML value of another type is rejected, never
    partly used."""
    try:
        (parsed,) = tomllib.loads(f"v = {text}").values()
    except (tomllib.TOMLDecodeError, ValueError):
        parsed = text
    if isinstance(parsed, str) and parsed:
        assert load(write_spec(tmp_path), [f"task.style={text}"]).spec.task.style == parsed
    else:
        spec_error(tmp_path, FULL, f"task.style={text}")


# Lines


def key_paths(node: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in entries:
        yield (*prefix, str(name))
        yield from key_paths(inner, (*prefix, str(name)))


LINES = {
    ("task",): "[task]",
    ("task", "style"): 'style = """',
    ("seeds", "1", "path"): '"b.csv"',
    ("seeds", "1", "columns"): "[seeds.columns]",
    ("seeds", "1", "columns", "text"): 'text = "prompt"',
    ("exemplars", "0", "output"): "output = ",
    ("generate", "backward", "levels", "1"): "levels = [",
    ("curate", "gates", "length", "min_words"): "min_words",
    ("curate", "gates", "must", "0", "pattern"): "must = [",
    ("curate", "gates", "must_not", "0", "pattern"): '"--v"',
    ("train", "epochs"): "epochs = 2",
    ("evaluate", "checks", "1", "name"): "checks = [",
}


@pytest.mark.parametrize("loc", LINES)
def test_the_line_of_a_key_is_found(loc):
    """Text within multi-line strings is not mistaken for keys, and sub-tables belong to the list entry above them."""
    assert key_line(FULL, loc) == line_of(LINES[loc], FULL)


def test_every_key_of_a_file_has_a_line():
    """Every key of the file has a line. A missing key gets the line of its closest table."""
    for loc in key_paths(tomllib.loads(FULL)):
        assert key_line(FULL, loc) is not None, loc
    assert key_line(FULL, ("train", "r")) == line_of("epochs = 2", FULL) - 1
    assert key_line(FULL, ("generate",)) == line_of("[generate.backward]", FULL)
    assert key_line(FULL, ("store", "url")) is None


def test_odd_line_ends_do_not_shift_the_numbers():
    """A form feed or a Unicode separator in a comment is no line end for an editor, so it is none here."""
    text = "# one \x0c two \u2028 three\n[train]\r\nepochs = 2\r\n"
    assert key_line(text, ("train", "epochs")) == 3


# The manual

DRAWN = ("generate.forward", "generate.backward", "curate.judge", "evaluate")


def shown_type(field: FieldInfo) -> str:
    text = str(field.annotation) if get_origin(field.annotation) else getattr(field.annotation, "__name__", "")
    text = re.sub(r"typing\.|schemas\.\w+\.|Annotated\[(\w+), .*?\)\]", r"\1", text)
    text = re.sub(r"Optional\[(.+)\]$", r"\1 | None", text)
    for old, new in (("tuple[str, ...]", "list"), ("dict[str, Any]", "table"), (" | None", "")):
        text = text.replace(old, new)
    text = text.replace("Union[bool, Literal['flag']]", 'bool, "flag"').replace(
        "bool | Literal['flag']", 'bool, "flag"'
    )
    text = re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace("'", ""), text)
    if "dict[" in text:
        return "float or table" if "float" in text.partition("dict[")[0] else "table"
    return "list" if text.startswith("tuple") else "table or false" if "Length" in text else text


def shown_range(field: FieldInfo) -> str:
    """What a number may be: ` 1 to 64`, ` >0`, ` ≥0 <1`. Nothing for other types."""
    limits = {
        sign: getattr(limit, name)
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        for limit in field.metadata
        if getattr(limit, name, None) is not None
    }
    if {*limits} == {"≥", "≤"}:
        return f" {limits['≥']:g} to {limits['≤']:g}"
    return "".join(f" {sign}{limit:g}" for sign, limit in limits.items())


def shown_default(key: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default: Any = None
    model: Any = Spec
    for part in key.replace("[]", "").split("."):
        inner = next(field for name, field in model.model_fields.items() if (field.alias or name) == part)
        # A section's default may differ from that of its type, e.g. for `sampling`.
        default = (
            getattr(default, part)
            if isinstance(default, BaseModel) and hasattr(default, part)
            else inner.get_default(call_default_factory=True)
        )
        model = model_in(inner.annotation)
    if default is None or (isinstance(default, tuple | dict) and not default):
        return ""
    if isinstance(default, BaseModel):
        return "on"
    if isinstance(default, bool):
        return str(default).lower()
    return (
        ", ".join(default) if isinstance(default, tuple) else f"{default:g}" if type(default) is float else str(default)
    )


def test_the_manual_lists_every_key_with_its_type_range_and_default():
    """docs/spec.md is compared with the models key by key, so it cannot go stale. Keys with equal values may share a
    row."""
    lines = re.findall(r"^\| (`.*) \|$", MANUAL.read_text(encoding="utf-8"), re.MULTILINE)
    rows = []
    for keys, values, meaning in (line.split(" | ") for line in lines):
        assert meaning.strip(), keys
        for key in re.findall(r"`([^`]+)`", keys):
            if "." in key or key == "teachers":
                rows.append((key, values))
                continue
            kind, _, defaults = values.partition("; ")  # of `sampling`, with a default for each of its places
            for place, default in zip(DRAWN, defaults.split(", ") if defaults else [""] * len(DRAWN), strict=True):
                rows.append((f"{place}.sampling.{key}", kind if default in ("", "none") else f"{kind}; {default}"))
    parts = {key: (shown_type(field) + shown_range(field), shown_default(key, field)) for key, field in KEYS.items()}
    assert len(rows) == len(dict(rows))
    assert dict(rows) == {key: "; ".join(part for part in of_key if part) for key, of_key in parts.items()}


def test_the_file_shown_in_the_manual_works(tmp_path):
    """docs/spec.md begins with a complete file that can be copied."""
    text = MANUAL.read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
    assert load(write_spec(tmp_path, text)).spec.task.name == "captions"


def test_keys_are_set_and_all_else_stays() -> None:
    """Comments, order, blank lines and the notation of values are kept. Only the requested keys change."""
    text = (
        '# mine\n[task]  # what\nname = "x"   # own space\nstyle = """\na\n"""\n\n[[seeds]]\npath = "a.txt"\n\n'
        "[generate.forward]\nsampling = { temperature = 0.7, top_k = 50, max_tokens = 80 }  # hot\n"
    )
    changed = set_keys(
        text,
        {
            "task.name": "y",
            "seeds.0.path": "b.txt",
            "generate.forward.sampling.top_k": None,
            "teacher.url": 'http://"h"',
            "not.there": None,
        },
        {"teacher.url": ["why"]},
    )
    expected = (
        text.replace('"x"', '"y"').replace("a.txt", "b.txt").replace("top_k = 50, ", " ")
        + '\n[teacher]\n# why\nurl = "http://\\"h\\""\n'
    )
    assert changed == expected
    assert tomllib.loads(changed)["generate"]["forward"]["sampling"] == {"temperature": 0.7, "max_tokens": 80}


@pytest.mark.parametrize("folder", ["pairsmith/starter", "examples/image-prompts", "examples/support-replies"])
def test_setting_nothing_changes_no_byte(folder: str) -> None:
    """The specs shipped with pairsmith make the round trip unchanged."""
    text = (Path(__file__).parents[2] / folder / "pairsmith.toml").read_text(encoding="utf-8")
    assert set_keys(text, {}) == text


@pytest.mark.parametrize(("text", "key"), [("a = 1\n", "a.b"), ("a = \n", "b")])
def test_key_that_cannot_be_set_is_a_spec_error(text: str, key: str) -> None:
    """A key within a value, and a text that is not TOML."""
    with pytest.raises(SpecError):
        set_keys(text, {key: 1})


def test_a_spec_is_parsed_from_text(tmp_path: Path) -> None:
    """Without a file, overrides apply and mistakes are reported as for a file."""
    assert parse(FULL, tmp_path, ["train.epochs=2"]).spec.train.epochs == 2
    with pytest.raises(SpecError, match=r"pairsmith\.toml:\d+: unknown key 'task\.nam'"):
        parse(FULL.replace('name = "demo"', 'nam = "demo"', 1), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["model", "messages", "n", "stream"])
def test_extra_may_not_replace_the_question(tmp_path, key):
    """Otherwise three answers could be paid for and one used, or another model credited."""
    folder = write_spec(tmp_path)
    with pytest.raises(SpecError, match=f"extra may not set '{key}'"):
        load(folder, [f"generate.forward.sampling.extra={{ {key} = 3 }}"])


def test_renamed_value_still_loads_with_a_notice(tmp_path: Path) -> None:
    """A spec of an earlier version keeps its meaning: the PMI score used to be called relevance."""
    text = '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "a"\n[evaluate]\nchecks = [{ name = "a", pattern = "x" }, { name = "b", pattern = "y" }]\n'  # fmt: skip # noqa: E501
    (tmp_path / "pairsmith.toml").write_text(text + '[curate.score]\nmodel = "relevance"\n')
    project = load(tmp_path)
    assert project.spec.curate.score.model == "pmi"
    (notice,) = project.notices
    assert "curate.score.model" in notice
    assert '"pmi"' in notice


CHECKS = "checks = [\n" + FULL.partition("checks = [\n")[2].partition("]\n")[0] + "]\n"


def test_checks_may_be_patterns_or_functions_or_none(tmp_path):
    """Checks are optional and may be patterns or functions. A function that is also a gate is rejected."""
    assert CHECKS in FULL
    spec = load(write_spec(tmp_path, FULL.replace(CHECKS, 'user = ["own:a", "own:b"]\n'))).spec
    assert spec.evaluate.check_names == ("a", "b")
    assert load(write_spec(tmp_path, FULL.replace(CHECKS, ""))).spec.evaluate.check_names == ()
    assert "the same name" in spec_error(tmp_path, FULL.replace(CHECKS, 'user = ["own:a", "other:a"]\n')).what
    twice = 'checks = [{ name = "dot", pattern = "[.]" }, { name = "dot", pattern = "." }]\n'
    assert "the same name" in spec_error(tmp_path, FULL.replace(CHECKS, twice)).what, "one of them would hide the other"
    both = ["evaluate.user=['own:a']", "curate.gates.user=['own:a']"]
    with pytest.raises(SpecError, match="also a gate"):
        load(write_spec(tmp_path), both)


def test_newer_keys_do_not_change_the_hash_of_specs_without_them(tmp_path):
    """Without `use` and `evaluate.user` these keys are not in the dump that is hashed, so no finished stage is
    redone."""
    dumped = load(write_spec(tmp_path)).spec.model_dump(mode="json")
    assert all("use" not in source for source in dumped["seeds"])
    assert "user" not in dumped["evaluate"]


@pytest.mark.parametrize("old", ["simple", "enhanced"])
def test_an_old_name_in_an_override_sets_the_new_key(tmp_path: Path, old: str) -> None:
    """This also holds if the file uses the new name: the override comes later and wins, as for any other key."""
    text = FULL + '\n[[exemplars]]\ninput = "a fox"\noutput = "a red fox"\n'
    now = {"simple": "input", "enhanced": "output"}[old]
    spec = parse(text, tmp_path, [f"exemplars.0.{old}=an owl"]).spec
    assert getattr(spec.exemplars[0], now) == "an owl"
    text = text.replace("input =", "simple =").replace("output =", "enhanced =")
    assert parse(text, tmp_path, [f"exemplars.0.{now}=an owl"]).spec.exemplars[0] == spec.exemplars[0]


@pytest.mark.parametrize("bounds", ["min_words = 9, max_words = 8", "min_ratio = 2.0, max_ratio = 0.5"])
def test_bounds_that_nothing_fits_are_refused(tmp_path: Path, bounds: str) -> None:
    """Such bounds would reject every row after all of them were paid for. The message is only about the bounds."""
    assert spec_error(tmp_path, FULL.replace("min_words = 3", bounds)).what.endswith("let no row through.")


def test_excessive_number_of_epochs_is_refused(tmp_path: Path) -> None:
    """It is rejected before a model is loaded: the number of steps would overflow."""
    assert "at most 1000" in spec_error(tmp_path, FULL.replace("epochs = 2", "epochs = 1e308")).what


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 60_000) + " = 1",
        "[" + ".".join(["a"] * 60_000) + "]",
        "x = {" + " . ".join(['"a"'] * 60_000) + " = 1}",
    ],
)
def test_a_key_of_thousands_of_parts_is_refused_at_once(text: str, tmp_path: Path) -> None:
    """Python's TOML parser would need minutes for it, and the service reads specs that its users write."""
    with pytest.raises(SpecError, match="more than 32 parts"):
        parse(f"\n{text}\n", tmp_path)


def test_dots_in_values_are_not_counted() -> None:
    """Strings, numbers and multi-line texts may have any number of dots."""
    text = 'a = "' + "x.y." * 200 + '"\nb = """\n' + "One... a.b.c. Two\n" * 50 + '"""\n' + "c = 1.5\n"
    assert toml.loads(text)["a"] == "x.y." * 200


@pytest.mark.parametrize("number", ["inf", "nan", "-inf"])
def test_number_must_be_finite(tmp_path: Path, number: str) -> None:
    """TOML has inf and nan. As a rate or a price they would be noticed only after hours."""
    (tmp_path / "pairsmith.toml").write_text(f'[task]\nname = "t"\nstyle = "s"\n[train]\nlearning_rate = {number}\n')
    with pytest.raises(SpecError, match=r"learning_rate.*finite"):
        load(tmp_path)


@pytest.mark.parametrize(
    "key",
    ["train.seed", "generate.forward.sampling.seed", "generate.forward.sampling.extra.top_a", "teachers.a.token_s"],
)
@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "inf"])
def test_number_must_fit_64_bits_and_be_finite(tmp_path: Path, key: str, number: str) -> None:
    """A number beyond 64 bits used to end every command with a traceback, and an infinite temperature was sent as
    null."""
    table, _, name = key.rpartition(".")
    text = f'[task]\nname = "t"\nstyle = "s"\n[{table}]\n{name} = {number}\n'
    with pytest.raises(SpecError, match=rf"toml:5.*{name}.*finite"):
        parse(text, tmp_path)
    with pytest.raises(SpecError, match=rf"--set {key}: "):
        parse('[task]\nname = "t"\nstyle = "s"\n', tmp_path, [f"{key}={number}"])


@pytest.mark.parametrize(
    "key", ["generate.accepted", "generate.forward.n", "budget.max_usd", "train.epochs", "evaluate.sampling.top_k"]
)
def test_true_is_not_a_number(tmp_path: Path, key: str) -> None:
    """True used to be read as 1: `accepted = true` ended a run after its first row."""
    with pytest.raises(SpecError, match="must be a number, not true"):
        parse('[task]\nname = "t"\nstyle = "s"\n', tmp_path, [f"{key}=true"])


@pytest.mark.parametrize(
    ("levels", "why"), [('["a word", "a  word"]', "appears twice"), ("[]", "enabled"), ('[" "]', "in words")]
)
def test_levels_must_be_different_and_not_empty(tmp_path: Path, levels: str, why: str) -> None:
    """Two levels with the same words used to turn one answer into two rows, and with no level nothing was requested,
    silently."""
    with pytest.raises(SpecError, match=why):
        parse('[task]\nname = "t"\nstyle = "s"\n', tmp_path, [f"generate.backward.levels={levels}"])


def test_vllm_and_an_address_are_two_teachers(tmp_path: Path) -> None:
    """If the file has an address, `teacher.vllm` does not silently win or lose. Without an address there is only one
    teacher."""
    addressed = FULL + '[teacher]\nurl = "http://localhost:8000/v1"\nmodel = "m"\n'
    with pytest.raises(SpecError, match=r".vllm. starts a server and .url. names another"):
        load(write_spec(tmp_path, addressed), ["teacher.vllm=some/model"])
    assert load(write_spec(tmp_path), ["teacher.vllm=some/model"]).spec.teacher.url == "vllm"


def test_label_that_is_no_bare_key_gets_a_hint_to_quote_it(tmp_path: Path) -> None:
    """Bare TOML keys allow only ASCII letters, and labels are keys: the message shows how to write this one."""
    for label in ("orthopédie", "ключ", "ORL / ophtalmo"):
        spec = f'[task]\nkind = "classify"\n[task.labels]\n{label} = "os"\n'
        with pytest.raises(SpecError, match=re.escape(f'quotation marks: "{label}" = ...')):
            parse(spec, tmp_path)
    with pytest.raises(SpecError, match="Fix that line"):
        parse('[task]\nname = "a" style = "b"\n', tmp_path)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("name = “haber”", 'name = "haber"'),
        ("name = «haber»", 'name = "haber"'),
        ("temperature = 0,25", "temperature = 0.25"),
        ("temperature = ٠.٢٥", "temperature = 0.25"),  # noqa: RUF001  Arabic digits
        ("temperature = ٠٫٢٥  # little", "temperature = 0.25"),  # noqa: RUF001
        ('path = "../lessons.txt', 'path = "../lessons.txt"'),
        ("language = tr", 'language = "tr"'),
        ("batch = True", "batch = true"),
        ("{ name = “stop”, pattern = '[.]' },", "{ name = \"stop\", pattern = '[.]' },"),
        ("temperature = .7", "temperature = 0.7"),
        ("n = 7.", "n = 7.0"),
        ("candidates = 1,000", "candidates = 1000"),
        ("candidates = 1 000;", "candidates = 1000"),
        ("enabled = yes", "enabled = true"),
        ('name: "t"', 'name = "t"'),
        ('name = "t",', 'name = "t"'),
        (r"path = C:\users\texts", r"path = 'C:\users\texts'"),
        (r'path = "C:\users\texts"', r"path = 'C:\users\texts'"),
    ],
)
def test_invalid_line_is_shown_with_its_correction(tmp_path: Path, written: str, meant: str) -> None:
    """Word processors insert curly quotation marks, half of Europe writes 0,25, and Arabic has its own digits. With
    only "Invalid value" users look for a mistake that they cannot see."""
    with pytest.raises(SpecError) as refused:
        parse(f'[task]\nstyle = "s"\n{written}\n', tmp_path)
    assert f"Did you mean `{meant}`?" in str(refused.value)
    assert str(refused.value.where).endswith(":3")


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        ("key_env = sk-hush", "hush"),
        ("key_env = “sk-hush”", "hush"),
        ('api_key = "sk-hush', "hush"),
        ("url = https://me:hush@teacher.example/v1", "hush"),
        ("model = sk-proj-9f8a7b6c5d4e3f2a1b", "9f8a"),
        ("style = “" + "long " * 99 + "”", "long long"),
    ],
)
def test_a_line_that_may_hold_a_secret_is_not_shown(tmp_path: Path, written: str, secret: str) -> None:
    """What is shown on a screen soon ends up in a log or a bug report. The message shows the notation without the
    value."""
    with pytest.raises(SpecError) as refused:
        parse(f'[task]\nstyle = "s"\n{written}\n', tmp_path)
    assert secret not in str(refused.value)
    assert f'{written.partition(" ")[0]} = "..."' in str(refused.value)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ('[task]\nstyle = """\nShort.\n', "Close the string or list that is open at its end."),
        ("[train]\nepochs = 2\nepochs = 3\n", "Fix that line, or close the string or list that is open above it."),
        ("[train]\nbatch = None\n", "TOML has no such value: remove the key."),
    ],
)
def test_mistake_not_visible_on_its_line_gets_a_fix(tmp_path: Path, text: str, fix: str) -> None:
    """The reported line may look right, or may not exist, so the message says what else to check."""
    with pytest.raises(SpecError) as refused:
        parse(text, tmp_path)
    assert refused.value.fix == fix


def test_wrong_key_in_a_gate_is_reported_once(tmp_path: Path) -> None:
    """A gate is a table or false. That a table with a typo is not false used to be reported as a second mistake."""
    text = '[task]\nname = "t"\nstyle = "s"\n[curate.gates]\nlength = {{ {} }}\n'
    for gate in ("max_word = 10", 'max_words = "ten"'):
        with pytest.raises(SpecError) as refused:
            parse(text.format(gate), tmp_path)
        assert "False" not in str(refused.value)
        assert "Also wrong" not in str(refused.value)


def test_key_one_table_too_high_gets_a_suggestion(tmp_path: Path) -> None:
    """`max_words` belongs in `length`. A list of thirty gates used to be shown instead."""
    with pytest.raises(SpecError, match=r"Did you mean 'length\.max_words'\?"):
        parse('[task]\nname = "t"\nstyle = "s"\n[curate.gates]\nmax_words = 10\n', tmp_path)


def test_expected_format_is_described_in_words(tmp_path: Path) -> None:
    """No regular expression is shown for a language, and the closest valid word is suggested."""
    with pytest.raises(SpecError, match=r"'task\.language': expected the two letters of a language.*got 'türkçe'"):
        parse('[task]\nname = "t"\nstyle = "s"\nlanguage = "türkçe"\n', tmp_path)
    with pytest.raises(SpecError, match=r"Did you mean 'document'\?"):
        parse('[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "a.txt"\nformat = "documents"\n', tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes for a name")
def test_file_name_that_is_not_utf8_is_one_clear_error(tmp_path: Path) -> None:
    """Neither a store's URL nor a receipt can hold such a name, so the folder, or a file that matches a pattern, is
    rejected before anything is read or paid for."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "pairsmith.toml").write_text(FULL)
    with pytest.raises(InputError, match=r"caf\\xe9: its name is not UTF-8.*Rename it"):
        load(folder)
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("a seed\n")
    with pytest.raises(InputError, match=r"caf\\xe9\.txt: its name is not UTF-8.*Rename it"):
        SeedSource(path="*.txt").each(tmp_path)
