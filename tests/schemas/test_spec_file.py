"""`pairsmith.toml`: every legal key can be set, every mistake is one sentence with key, line and way out."""

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
from schemas.spec import SeedSource, Spec
from schemas.spec.expected import PATTERNS
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


def wrote(folder: Path, text: str = FULL) -> Path:
    (folder / "pairsmith.toml").write_text(text, encoding="utf-8")
    return folder


def refusal(folder: Path, text: str = FULL, *overrides: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load(wrote(folder, text), overrides)
    return caught.value


def line_of(needle: str, text: str) -> int:
    (line,) = [number for number, line in enumerate(text.split("\n"), 1) if needle in line]
    return line


def model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := model_in(part))), None)


def fields(model: type[BaseModel] = Spec, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of the spec with its field; entries of a list are written `seeds[].path`."""
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
    """Tables, lists of tables, inline tables and multi-line strings arrive as the spec's types."""
    project = load(wrote(tmp_path))
    assert project.folder == tmp_path
    assert project.spec.task.style == "[train]\nepochs = 99\n"
    assert [source.path for source in project.spec.seeds] == ["a.jsonl", "b.csv"]
    assert project.spec.seeds[1].columns == {"text": "prompt"}
    assert project.spec.generate.backward.levels == ("one\nepochs = 5", "two")
    assert project.spec.curate.gates.length.min_words == 3
    assert project.spec.train.epochs == 2
    assert project.spec.train.r == 16


def test_the_hash_names_the_content_and_not_the_file(tmp_path):
    """Comments, order and a byte order mark leave the spec's hash; a changed value changes it."""
    first = load(wrote(tmp_path)).spec_hash
    assert load(wrote(tmp_path, "\ufeff# more\n" + FULL)).spec_hash == first
    assert load(tmp_path, ["train.epochs=3"]).spec_hash != first
    assert load(tmp_path, ["train.epochs=2.0", "train.r=16"]).spec_hash == first


def test_a_folder_without_a_spec_says_how_to_make_one(tmp_path):
    """The first command typed in the wrong place is answered with the right one."""
    with pytest.raises(SpecError, match=r"there is no pairsmith\.toml here") as caught:
        load(tmp_path)
    assert "pairsmith init" in str(caught.value)


def test_the_spec_itself_is_no_folder(tmp_path):
    """A person who names the file is told to name its folder, not to save it in another encoding."""
    with pytest.raises(SpecError, match=r"toml: is a file\. Give the folder"):
        load(wrote(tmp_path) / "pairsmith.toml")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    """Bytes are not guessed at."""
    (tmp_path / "pairsmith.toml").write_bytes(FULL.replace("a fox", "ein Käfer").encode("latin-1"))
    with pytest.raises(SpecError, match="cannot be read"):
        load(tmp_path)


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    """The first in full, an unknown key if there is one; the others with their lines, each once."""
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
def test_broken_toml_is_named_by_its_line(tmp_path, old, new, needle):
    """A slip of the pen and a key written twice are found where they stand."""
    text = FULL.replace(old, new)
    assert refusal(tmp_path, text).where == f"{tmp_path / 'pairsmith.toml'}:{line_of(needle, text)}"


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
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_legal_one(tmp_path, old, new, key, near, needle):
    """No typo passes as a default: the key, where it stands, and what was meant; nothing that is spelt otherwise is
    taken for that."""
    text = FULL.replace(old, new)
    error = refusal(tmp_path, text)
    assert error.what == f"unknown key '{key}'."
    assert error.where == f"{tmp_path / 'pairsmith.toml'}:{line_of(needle, text)}"
    assert (f"rejected. Did you mean '{near}'? Valid here: " if near else "rejected. Valid here: ") in str(error)


def test_an_unknown_key_is_told_before_what_follows_from_it(tmp_path):
    """A misspelt required key is an unknown key first, and not only a missing one."""
    assert refusal(tmp_path, FULL.replace("checks = [", "cheks = [")).what == "unknown key 'evaluate.cheks'."


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "demo"\n', "", "task.name"),
        ('path = "b.csv"\n', "", "seeds.1.path"),
        ('[task]\nname = "demo"\nstyle', "[generate.forward]\nprompt", "task"),
        ('    { name = "flag", pattern', '    { name = "flag", patern', "unknown"),
    ],
)
def test_a_missing_key_is_named(tmp_path, old, new, key):
    """What is required and absent is told by its whole path."""
    assert old in FULL
    assert re.search(rf"^the key '{key}' is missing|^unknown key", refusal(tmp_path, FULL.replace(old, new)).what)


@pytest.mark.parametrize(
    ("old", "new", "what", "needle"),
    [
        ("epochs = 2", 'epochs = "two"', r"'train\.epochs': .*number.* \(got 'two'\)", 'epochs = "two"'),
        ("epochs = 2", "epochs = 0", r"'train\.epochs': Input should be greater than 0 \(got 0\)", "epochs = 0"),
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
def test_a_wrong_value_is_named_with_its_line_and_what_was_given(tmp_path, old, new, what, needle):
    """A wrong type, a value out of range and a rule between keys each point at the place to mend."""
    assert old in FULL
    text = FULL.replace(old, new)
    error = refusal(tmp_path, text)
    assert re.search(what, error.what)
    path = str(tmp_path / "pairsmith.toml")
    assert error.where == (f"{path}:{line_of(needle, text)}" if needle else path)


def test_what_a_text_has_to_look_like_is_told_in_words() -> None:
    """Nobody is shown a regular expression: each pattern of the spec has words."""

    def patterns(node: object) -> set[str]:
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        own = {node["pattern"]} if isinstance(node, dict) and isinstance(node.get("pattern"), str) else set()
        return own.union(*map(patterns, inner))

    schema = Spec.model_json_schema()
    of_keys = {name for table in schema["$defs"].values() for one in table["properties"].values()
               for name in one.get("patternProperties", ())}  # fmt: skip
    assert patterns(schema) | of_keys == PATTERNS.keys()


@pytest.mark.parametrize("code", ["pt-BR", "pt_BR", "pt-Latn-BR", "PT", "pt"])
@pytest.mark.parametrize("in_file", [True, False])
def test_a_region_of_a_language_is_left_out_and_said(tmp_path: Path, code: str, in_file: bool) -> None:
    """`pt-BR` is Portuguese, and who means that of Brazil is told where to say so; nobody waits for a refusal."""
    more, overrides = (f'language = "{code}"', []) if in_file else ("", [f"task.language={code}"])
    (tmp_path / "pairsmith.toml").write_text(FULL.replace('name = "demo"', f'name = "demo"\n{more}'))
    project, same = load(tmp_path, overrides), load(tmp_path, ["task.language=pt"])
    assert project.spec.task.language == "pt"
    assert project.spec.model_dump_json() == same.spec.model_dump_json()
    told_of = [notice for notice in project.notices if "task.language" in notice]
    assert [f'"{code}" is taken as "pt"' in notice for notice in told_of] == [True] * (len(code) > 2)


def test_a_table_in_place_of_a_value_is_said_in_plain_words(tmp_path):
    """The message speaks of tables and lists, as the file does, and not of Python's types."""
    assert str(refusal(tmp_path, FULL, "train=5")).startswith("--set train: expected a table (got 5).")
    assert str(refusal(tmp_path, FULL, "seeds=a.jsonl")).startswith("--set seeds: expected a list (got 'a.jsonl').")


def test_a_secret_in_place_of_a_variable_s_name_is_not_shown(tmp_path):
    """A key pasted into key_env stays out of the terminal and the logs."""
    error = refusal(tmp_path, FULL + '\n[teacher]\nkey_env = "sk-abc123-xyz"\n')
    assert "abc123" not in str(error)
    assert "'teacher.key_env' does not hold the name of an environment variable" in str(error)
    for key, value in (("headers_env", '{ api-key = "sk-abc123-xyz" }'), ("key_env", '"gsk_Ab12Cd34Ef56Gh78Ij90"')):
        error = refusal(tmp_path, FULL + f"\n[teacher]\n{key} = {value}\n")
        assert not re.search("abc123|Ab12", str(error)), "also in a table, and where it would do for a name"
        assert "does not hold the name of an environment variable" in str(error)


def test_a_password_in_the_address_of_a_review_is_refused_and_not_shown(tmp_path):
    """It stood in every receipt of a review, and no server was reached by it."""
    error = refusal(tmp_path, FULL, 'review={ url = "https://ann:s3cr3t@argilla.example", key_env = "K" }')
    assert "s3cr3t" not in str(error)
    assert "headers_env" in str(error)


def test_a_long_value_is_shortened(tmp_path):
    """A style of two pages does not flood the terminal."""
    assert len(str(refusal(tmp_path, FULL.replace('path = "b.csv"', f'path = "b"\nlimit = "{"x" * 5000}"')))) < 400


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
    """An override is a TOML value, a bare word is a string, and a list entry is named by its number."""
    assert read(load(wrote(tmp_path), [override]).spec)


def test_overrides_apply_in_order(tmp_path):
    """The last one wins, as on any command line."""
    assert load(wrote(tmp_path), ["train.r=4", "train.r=8"]).spec.train.r == 8


def test_an_override_sets_its_own_key_alone(tmp_path):
    """In a section that the file does not have the others stay unset, so that what is chosen where a key is left out,
    such as the method by the size of the base, still is; a default of ours that is not the section's own stays too."""
    text = '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "s.txt"\n[teacher]\nurl = "embedded"\nmodel = "m"\n'
    plain = load(wrote(tmp_path, text)).spec
    overridden = load(wrote(tmp_path, text), ["train.epochs=2", "curate.judge.sampling.max_tokens=9"]).spec
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
        ("train.epochs=many", "--set train.epochs: Input should be a valid number"),
        ("curate.gates={ lenght = false }", "--set curate.gates.lenght: unknown key."),
    ],
)
def test_a_wrong_override_is_named_as_such(tmp_path, override, message):
    """A mistake on the command line is not blamed on a line of the file, and no index ends in a traceback."""
    assert message in str(refusal(tmp_path, FULL, override))


def example(annotation: Any) -> str | None:
    """A legal TOML value for a type that a bare one is known for; None for the types with rules of their own."""
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
# A rule between keys refuses each of these alone.
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
    """The property covers the whole spec: the keys that it leaves out are free tables and lists."""
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
    """`--set` of any key of the spec arrives, and arrives nowhere else."""
    before = load(wrote(tmp_path)).spec.model_dump(mode="json")
    after = load(tmp_path, [f"{key}={SETTABLE[key]}"]).spec.model_dump(mode="json")
    assert get(after, key) == tomllib.loads(f"v = {SETTABLE[key]}")["v"]
    *tables, last = key.split(".")
    node = before
    for table in tables:  # one that stands at its defaults may be left out
        node = node.setdefault(table, {})
    node[last] = get(after, key)
    assert after == before


@pytest.mark.parametrize("wrong", ['"flagg"', "3"])
def test_a_value_of_several_types_is_refused_with_all_that_it_may_be(tmp_path, wrong):
    """A gate that may be true, false or "flag" is not said to take the first two only."""
    with pytest.raises(SpecError, match=r"^--set curate\.gates\.cut: expected true or false, or 'flag' \(got "):
        load(wrote(tmp_path), [f"curate.gates.cut={wrong}"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(key=st.sampled_from(sorted(SETTABLE)), at=st.integers(0, 100), letter=st.sampled_from("qxz"))
def test_any_typo_in_a_key_is_refused(tmp_path, key, at, letter):
    """A letter too many anywhere in a key is an unknown key, whichever table it falls into."""
    at %= len(key) + 1
    typo = key[:at] + letter + key[at:]
    with pytest.raises(SpecError, match=r"^--set \S+: unknown key\. It would be silently ignored") as caught:
        load(wrote(tmp_path), [f"{typo}={SETTABLE[key]}"])
    assert "Did you mean" in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_text_can_be_set_as_it_is(tmp_path, text):
    """What is not a TOML value is a string, verbatim; what is one of another type is refused, never half taken."""
    try:
        (parsed,) = tomllib.loads(f"v = {text}").values()
    except (tomllib.TOMLDecodeError, ValueError):
        parsed = text
    if isinstance(parsed, str) and parsed:
        assert load(wrote(tmp_path), [f"task.style={text}"]).spec.task.style == parsed
    else:
        refusal(tmp_path, FULL, f"task.style={text}")


# Lines


def places(node: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, inner in entries:
        yield (*prefix, str(name))
        yield from places(inner, (*prefix, str(name)))


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
    """Text inside multi-line strings is not mistaken for keys, and sub-tables belong to the list entry above them."""
    assert key_line(FULL, loc) == line_of(LINES[loc], FULL)


def test_every_key_of_a_file_has_a_line():
    """No key that is written is without a line, and an absent one is placed at its nearest table."""
    for loc in places(tomllib.loads(FULL)):
        assert key_line(FULL, loc) is not None, loc
    assert key_line(FULL, ("train", "r")) == line_of("epochs = 2", FULL) - 1
    assert key_line(FULL, ("generate",)) == line_of("[generate.backward]", FULL)
    assert key_line(FULL, ("store", "url")) is None


def test_odd_line_ends_do_not_shift_the_numbers():
    """A form feed or a Unicode separator in a comment is not a line end for an editor, so it is none here."""
    text = "# one \x0c two \u2028 three\n[train]\r\nepochs = 2\r\n"
    assert key_line(text, ("train", "epochs")) == 3


# The manual

DRAWN = ("generate.forward", "generate.backward", "curate.judge", "evaluate")


def shown_type(field: FieldInfo) -> str:
    text = str(field.annotation) if get_origin(field.annotation) else getattr(field.annotation, "__name__", "")
    text = re.sub(r"typing\.|schemas\.\w+\.|Annotated\[(\w+), .*?\)\]", r"\1", text)
    text = re.sub(r"Optional\[(.+)\]$", r"\1 | None", text)
    for old, new in (("tuple[str, ...]", "list of str"), ("dict[str, Any]", "table"), (" | None", "")):
        text = text.replace(old, new)
    text = text.replace("Union[bool, Literal['flag']]", 'bool or "flag"').replace(
        "bool | Literal['flag']", 'bool or "flag"'
    )
    text = re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace("'", "").replace(", ", " or "), text)
    if "dict[" in text:
        return "float or table" if "float" in text.partition("dict[")[0] else "table"
    return "list of str" if text.startswith("tuple") else "table or false" if "Length" in text else text


def shown_default(key: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default: Any = None
    model: Any = Spec
    for part in key.replace("[]", "").split("."):
        inner = next(field for name, field in model.model_fields.items() if (field.alias or name) == part)
        # A section's own default may differ from that of the type it is made of, as for `sampling`.
        default = (
            getattr(default, part)
            if isinstance(default, BaseModel) and hasattr(default, part)
            else inner.get_default(call_default_factory=True)
        )
        model = model_in(inner.annotation)
    if default is None:
        return "none"
    if isinstance(default, BaseModel):
        return "on"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple | dict) and not default:
        return "empty"
    return ", ".join(default) if isinstance(default, tuple) else str(default)


def test_the_manual_lists_every_key_with_its_type_and_default():
    """docs/spec.md is compared with the models, key by key, so it cannot go stale."""
    lines = re.findall(r"^\| `(.*) \|$", MANUAL.read_text(encoding="utf-8"), re.MULTILINE)
    rows = [(key.rstrip("`"), *cells) for key, *cells in (line.split(" | ") for line in lines)]
    drawing = [row for row in rows if len(row) == 7]  # one table, with a column for each place
    rows = [row for row in rows if len(row) == 4]
    for key, kind, *defaults, meaning in drawing:
        of_places = zip(DRAWN, defaults, strict=True)
        rows += [(f"{place}.sampling.{key}", kind, default, meaning) for place, default in of_places]
    documented = {key: (kind.strip(), default.strip()) for key, kind, default, _ in rows}
    expected = {key: (shown_type(field), shown_default(key, field)) for key, field in KEYS.items()}
    assert len(rows) == len(documented)
    assert documented == expected
    assert all(meaning.strip() for *_, meaning in rows)


def test_the_file_shown_in_the_manual_works(tmp_path):
    """docs/spec.md opens with a whole file that can be copied."""
    text = MANUAL.read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
    assert load(wrote(tmp_path, text)).spec.task.name == "captions"


def test_keys_are_set_and_all_else_stays() -> None:
    """Comments, order, blank lines and the way values are written survive; only what was asked for is another."""
    text = (
        '# mine\n[task]  # what\nname = \'x\'   # own quotes\nstyle = """\na\n"""\n\n[[seeds]]\npath = "a.txt"\n\n'
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
        text.replace("'x'", '"y"').replace("a.txt", "b.txt").replace("top_k = 50, ", " ")
        + '\n[teacher]\n# why\nurl = "http://\\"h\\""\n'
    )
    assert changed == expected
    assert tomllib.loads(changed)["generate"]["forward"]["sampling"] == {"temperature": 0.7, "max_tokens": 80}


@pytest.mark.parametrize("folder", ["pairsmith/starter", "examples/image-prompts", "examples/support-replies"])
def test_setting_nothing_changes_no_byte(folder: str) -> None:
    """The specs that come with pairsmith go through and back."""
    text = (Path(__file__).parents[2] / folder / "pairsmith.toml").read_text(encoding="utf-8")
    assert set_keys(text, {}) == text


@pytest.mark.parametrize(("text", "key"), [("a = 1\n", "a.b"), ("a = \n", "b")])
def test_what_cannot_be_set_is_a_spec_error(text: str, key: str) -> None:
    """A key inside of a value, and a text that is no TOML."""
    with pytest.raises(SpecError):
        set_keys(text, {key: 1})


def test_a_spec_is_parsed_from_text(tmp_path: Path) -> None:
    """Without a file: with overrides, and with the mistakes named as in a file."""
    assert parse(FULL, tmp_path, ["train.epochs=2"]).spec.train.epochs == 2
    with pytest.raises(SpecError, match=r"pairsmith\.toml:\d+: unknown key 'task\.nam'"):
        parse(FULL.replace('name = "demo"', 'nam = "demo"', 1), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["model", "messages", "n", "stream"])
def test_extra_may_not_replace_the_question(tmp_path, key):
    """Three answers would be paid and one kept, or another model would be credited."""
    folder = wrote(tmp_path)
    with pytest.raises(SpecError, match=f"extra may not set '{key}'"):
        load(folder, [f"generate.forward.sampling.extra={{ {key} = 3 }}"])


def test_a_value_that_has_another_word_since_loads_and_the_word_is_named(tmp_path: Path) -> None:
    """A spec of an earlier version means what it meant: the PMI score was called relevance."""
    text = '[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "a"\n[evaluate]\nchecks = [{ name = "a", pattern = "x" }, { name = "b", pattern = "y" }]\n'  # fmt: skip # noqa: E501
    (tmp_path / "pairsmith.toml").write_text(text + '[curate.score]\nmodel = "relevance"\n')
    project = load(tmp_path)
    assert project.spec.curate.score.model == "pmi"
    (sentence,) = project.notices
    assert "curate.score.model" in sentence
    assert '"pmi"' in sentence


CHECKS = "checks = [\n" + FULL.partition("checks = [\n")[2].partition("]\n")[0] + "]\n"


def test_checks_may_be_patterns_or_functions_or_none(tmp_path):
    """Checks that no gate uses are optional, and of either kind; a function that is a gate is refused."""
    assert CHECKS in FULL
    spec = load(wrote(tmp_path, FULL.replace(CHECKS, 'user = ["own:a", "own:b"]\n'))).spec
    assert spec.evaluate.check_names == ("a", "b")
    assert load(wrote(tmp_path, FULL.replace(CHECKS, ""))).spec.evaluate.check_names == ()
    assert "the same name" in refusal(tmp_path, FULL.replace(CHECKS, 'user = ["own:a", "other:a"]\n')).what
    twice = 'checks = [{ name = "dot", pattern = "[.]" }, { name = "dot", pattern = "." }]\n'
    assert "the same name" in refusal(tmp_path, FULL.replace(CHECKS, twice)).what, (
        "the second would answer for the first"
    )
    both = ["evaluate.user=['own:a']", "curate.gates.user=['own:a']"]
    with pytest.raises(SpecError, match="also a gate"):
        load(wrote(tmp_path), both)


def test_keys_that_came_later_change_no_hash_of_a_spec_without_them(tmp_path):
    """An absent `use` or `evaluate.user` is not in the dump that hashes are made of, so no finished stage is redone."""
    dumped = load(wrote(tmp_path)).spec.model_dump(mode="json")
    assert all("use" not in source for source in dumped["seeds"])
    assert "user" not in dumped["evaluate"]


@pytest.mark.parametrize("old", ["simple", "enhanced"])
def test_an_old_name_in_an_override_sets_the_new_key(tmp_path: Path, old: str) -> None:
    """Also where the file says the new name: the override comes later and counts, as with any other key."""
    text = FULL + '\n[[exemplars]]\ninput = "a fox"\noutput = "a red fox"\n'
    now = {"simple": "input", "enhanced": "output"}[old]
    spec = parse(text, tmp_path, [f"exemplars.0.{old}=an owl"]).spec
    assert getattr(spec.exemplars[0], now) == "an owl"
    text = text.replace("input =", "simple =").replace("output =", "enhanced =")
    assert parse(text, tmp_path, [f"exemplars.0.{now}=an owl"]).spec.exemplars[0] == spec.exemplars[0]


@pytest.mark.parametrize("bounds", ["min_words = 9, max_words = 8", "min_ratio = 2.0, max_ratio = 0.5"])
def test_bounds_that_nothing_fits_are_refused(tmp_path: Path, bounds: str) -> None:
    """They would reject every row, after all of them were paid for. What else the key may hold is not the matter."""
    assert refusal(tmp_path, FULL.replace("min_words = 3", bounds)).what.endswith("let no row through.")


def test_more_epochs_than_anybody_trains_are_refused(tmp_path: Path) -> None:
    """Before a model is loaded: the number of steps would be beyond all numbers."""
    assert "less than or equal to 1000" in refusal(tmp_path, FULL.replace("epochs = 2", "epochs = 1e308")).what


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 60_000) + " = 1",
        "[" + ".".join(["a"] * 60_000) + "]",
        "x = {" + " . ".join(['"a"'] * 60_000) + " = 1}",
    ],
)
def test_a_key_of_thousands_of_parts_is_refused_at_once(text: str, tmp_path: Path) -> None:
    """Python's reader would need minutes for it, and a service reads what its editors write."""
    with pytest.raises(SpecError, match="more than 32 parts"):
        parse(f"\n{text}\n", tmp_path)


def test_dots_elsewhere_are_no_key() -> None:
    """Strings, numbers and texts of many lines may hold as many as they like."""
    text = 'a = "' + "x.y." * 200 + '"\nb = """\n' + "One... a.b.c. Two\n" * 50 + '"""\n' + "c = 1.5\n"
    assert toml.loads(text)["a"] == "x.y." * 200


@pytest.mark.parametrize("number", ["inf", "nan", "-inf"])
def test_a_number_is_finite(tmp_path: Path, number: str) -> None:
    """TOML has words for numbers that are none; a rate or a price of them would be found out after hours."""
    (tmp_path / "pairsmith.toml").write_text(f'[task]\nname = "t"\nstyle = "s"\n[train]\nlearning_rate = {number}\n')
    with pytest.raises(SpecError, match=r"learning_rate.*finite"):
        load(tmp_path)


@pytest.mark.parametrize(
    "key",
    ["train.seed", "generate.forward.sampling.seed", "generate.forward.sampling.extra.top_a", "teachers.a.token_s"],
)
@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "inf"])
def test_a_number_can_be_sent_and_stored(tmp_path: Path, key: str, number: str) -> None:
    """Beyond 64 bits it ended every command with a traceback, and an infinite temperature was sent as null."""
    table, _, name = key.rpartition(".")
    text = f'[task]\nname = "t"\nstyle = "s"\n[{table}]\n{name} = {number}\n'
    with pytest.raises(SpecError, match=rf"toml:5.*{name}.*finite"):
        parse(text, tmp_path)
    with pytest.raises(SpecError, match=rf"--set {key}: "):
        parse('[task]\nname = "t"\nstyle = "s"\n', tmp_path, [f"{key}={number}"])


@pytest.mark.parametrize(
    "key", ["generate.accepted", "generate.forward.n", "budget.max_usd", "train.epochs", "evaluate.sampling.top_k"]
)
def test_a_switch_is_no_number(tmp_path: Path, key: str) -> None:
    """True was taken for 1: `accepted = true` ended a run at its first row."""
    with pytest.raises(SpecError, match="must be a number, not true"):
        parse('[task]\nname = "t"\nstyle = "s"\n', tmp_path, [f"{key}=true"])


@pytest.mark.parametrize(
    ("levels", "why"), [('["a word", "a  word"]', "appears twice"), ("[]", "enabled"), ('[" "]', "in words")]
)
def test_levels_are_questions_of_their_own(tmp_path: Path, levels: str, why: str) -> None:
    """Of two levels in the same words one answer became two rows; of none nothing was ever asked, without a word."""
    with pytest.raises(SpecError, match=why):
        parse('[task]\nname = "t"\nstyle = "s"\n', tmp_path, [f"generate.backward.levels={levels}"])


def test_a_vllm_of_ones_own_and_an_address_are_two_teachers(tmp_path: Path) -> None:
    """Neither wins silently where the file names an address; where it names none there is but one."""
    addressed = FULL + '[teacher]\nurl = "http://localhost:8000/v1"\nmodel = "m"\n'
    with pytest.raises(SpecError, match=r".vllm. starts a server and .url. names another"):
        load(wrote(tmp_path, addressed), ["teacher.vllm=some/model"])
    assert load(wrote(tmp_path), ["teacher.vllm=some/model"]).spec.teacher.url == "vllm"


def test_a_label_in_another_script_is_told_to_stand_in_quotation_marks(tmp_path: Path) -> None:
    """TOML takes bare keys of English letters alone, and labels are keys: the sentence shows how to write this one."""
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
def test_a_line_that_is_no_toml_is_shown_as_it_was_meant(tmp_path: Path, written: str, meant: str) -> None:
    """Word processors curl quotation marks, half of Europe writes 0,25 and Arabic has digits of its own: who is told
    "Invalid value" looks for a mistake that they cannot see."""
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
    """What a screen shows is soon in a log or a bug report; how to write such a line is told without its text."""
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
def test_what_no_line_alone_shows_is_told_too(tmp_path: Path, text: str, fix: str) -> None:
    """A line that reads well by itself, or none at all, is no place to look at."""
    with pytest.raises(SpecError) as refused:
        parse(text, tmp_path)
    assert refused.value.fix == fix


def test_a_wrong_key_in_a_table_is_one_mistake(tmp_path: Path) -> None:
    """A gate is a table or false; that a table with a typo is not false was told as a second mistake."""
    text = '[task]\nname = "t"\nstyle = "s"\n[curate.gates]\nlength = {{ {} }}\n'
    for gate in ("max_word = 10", 'max_words = "ten"'):
        with pytest.raises(SpecError) as refused:
            parse(text.format(gate), tmp_path)
        assert "False" not in str(refused.value)
        assert "Also wrong" not in str(refused.value)


def test_a_key_one_table_too_high_is_found(tmp_path: Path) -> None:
    """`max_words` is well known, and stands in `length`: a list of thirty gates did not say so."""
    with pytest.raises(SpecError, match=r"Did you mean 'length\.max_words'\?"):
        parse('[task]\nname = "t"\nstyle = "s"\n[curate.gates]\nmax_words = 10\n', tmp_path)


def test_a_value_of_a_shape_is_told_in_words(tmp_path: Path) -> None:
    """No regular expression is shown for a language, and a word that is nearly right is named."""
    with pytest.raises(SpecError, match=r"'task\.language': expected the two letters of a language.*got 'türkçe'"):
        parse('[task]\nname = "t"\nstyle = "s"\nlanguage = "türkçe"\n', tmp_path)
    with pytest.raises(SpecError, match=r"Did you mean 'document'\?"):
        parse('[task]\nname = "t"\nstyle = "s"\n[[seeds]]\npath = "a.txt"\nformat = "documents"\n', tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes for a name")
def test_a_name_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    """Neither a store's URL nor a receipt can hold it, so the folder and a file that a pattern meets are refused by
    name, before anything of them is read or paid for."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "pairsmith.toml").write_text(FULL)
    with pytest.raises(InputError, match=r"caf\\xe9: its name is not UTF-8.*Rename it"):
        load(folder)
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("a seed\n")
    with pytest.raises(InputError, match=r"caf\\xe9\.txt: its name is not UTF-8.*Rename it"):
        SeedSource(path="*.txt").each(tmp_path)
