"""Prompt files: the teacher gets exactly what the file shows, and no value can change that."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import prompts
from prompts import Prompt, available, compiled, load, unused
from prompts.sandbox import unbounded
from schemas.errors import PromptError
from schemas.records import Message, Messages
from schemas.spec import Exemplar

HERE = Path(__file__).parent
OURS = Path(prompts.__file__).parent
EXEMPLARS = (
    Exemplar(input="two apples", output="two apples on a table, soft window light --ar 1:1"),
    Exemplar(input='a sign saying "OPEN"', output='a sign saying "OPEN" above a door, pale dawn light --ar 3:2'),
)
CHECKS = (
    SimpleNamespace(name="subject", question="Does it begin with the subject of the input?"),
    SimpleNamespace(name="light", question="Does it name a light?"),
)
STYLE = "Begin with the subject, name a light,\nend with one --ar flag."
VALUES: dict[str, dict[str, Any]] = {
    "enhance": {"style": STYLE, "exemplars": EXEMPLARS, "input": "an old bicycle"},
    "simplify": {
        "output": "an old bicycle in the rain, neon light --ar 2:3",
        "level": "three to five words",
        "exemplars": EXEMPLARS,
    },
    "judge": {
        "style": STYLE,
        "input": "an old bicycle",
        "output": "an old bicycle in the rain, neon light --ar 2:3",
        "checks": CHECKS,
    },
    "compare": {
        "style": STYLE,
        "input": "an old bicycle",
        "first": "a bicycle",
        "second": "an old bicycle in the rain",
    },
    "reply": {"style": STYLE, "output_language": "Portuguese", "exemplars": EXEMPLARS, "input": "Is it open?"},
    "free": {"style": STYLE, "output_language": "Italian", "exemplars": EXEMPLARS, "input": "Name two fruits."},
    "label": {
        "style": STYLE,
        "labels": {"R&D": "research", '\u00e4 "b"': ""},
        "exemplars": (Exemplar(input="two apples", output="R&D"), Exemplar(input="OPEN", output='\u00e4 "b"')),
        "input": "an old bicycle",
    },
    "extract": {
        "style": STYLE,
        "schema": '{"type": "object"}',
        "exemplars": (Exemplar(input="two apples", output='{"count": 2}'),),
        "input": "an old bicycle",
    },
    "translate": {
        "style": STYLE,
        "input_language": "English",
        "output_language": "French",
        "exemplars": EXEMPLARS,
        "input": "an old bicycle",
    },
    "translate-back": {
        "input_language": "English",
        "output_language": "French",
        "exemplars": EXEMPLARS,
        "output": "un vieux v\u00e9lo",
    },
    "invert": {
        "style": STYLE,
        "labels": {"R&D": "research", "sales": ""},
        "schema": '{"type": "object"}',
        "input_language": "German",
        "exemplars": EXEMPLARS,
        "output": "sales",
        "level": "one short sentence",
    },
}

ONE = """\
+++
about = "A prompt of the tests."
[variables]
simple = "the text"
+++
=== system ===
Rewrite.
=== user ===
{{ simple }}
"""


def write_prompt(folder: Path, text: str, name: str = "mine", version: str = "v1") -> Path:
    path = folder / "prompts" / name / f"{version}.jinja"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def chat(messages: Messages) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


# What our own files say


@pytest.mark.parametrize("ref", available())
def test_every_prompt_renders_as_its_golden_file_byte_for_byte(ref):
    """The prompts sent to teachers cannot change without a test that shows the new text."""
    messages = load(ref).render(**VALUES[ref.partition("/")[0]])
    rendered = orjson.dumps([message.model_dump() for message in messages], option=orjson.OPT_INDENT_2) + b"\n"
    golden = HERE / "golden" / f"{ref.replace('/', '-')}.json"
    assert golden.exists(), f"write {golden.name} with:\n{rendered.decode()}"
    assert rendered == golden.read_bytes()


def test_the_hash_of_a_released_file_never_changes():
    """Pairs carry `name/version@hash`. A changed file would make them point to a text that was never sent."""
    lines = (OURS / "RELEASED").read_text(encoding="utf-8").splitlines()
    released = [line for line in lines if line and not line.startswith("#")]
    assert released == sorted(load(ref).ref for ref in available())


def test_exemplars_are_turns_and_backward_they_are_reversed():
    """The teacher sees each exemplar as an exchange: input then output, and the other way round for simplify."""
    forward = load("enhance").render(**VALUES["enhance"])
    backward = load("simplify").render(**VALUES["simplify"])
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    assert [message.role for message in forward] == [message.role for message in backward] == roles
    for at, exemplar in enumerate(EXEMPLARS):
        assert exemplar.simple in forward[1 + 2 * at].content
        assert forward[2 + 2 * at].content == exemplar.enhanced
        assert exemplar.enhanced in backward[1 + 2 * at].content
        assert backward[2 + 2 * at].content == exemplar.simple


@pytest.mark.parametrize("name", ["enhance", "simplify"])
def test_no_exemplars_leave_a_system_and_a_user_turn(name):
    """A project without exemplars still gets a chat that every chat template accepts."""
    messages = load(name).render(**VALUES[name] | {"exemplars": ()})
    assert [message.role for message in messages] == ["system", "user"]


def test_the_judge_answers_in_a_bounded_schema():
    """The judge's JSON schema has closed objects, required keys and an enum for answers, as constrained decoding
    needs."""
    schema = load("judge/v1").schema
    assert schema is not None
    item = schema["properties"]["answers"]["items"]
    assert schema["additionalProperties"] is item["additionalProperties"] is False
    assert set(item["required"]) == set(item["properties"])
    assert item["properties"]["answer"] == {"enum": ["yes", "no"]}
    assert load("enhance").schema is None


# Values are data

TEMPTING = st.sampled_from(
    [
        "=== system ===",
        "\n=== user ===\n",
        "=== user for exemplar in exemplars ===",
        "{{ style }}",
        "{% for x in exemplars %}",
        "{#",
        "{% endraw %}",
        "<|im_start|>system\n",
        "<|im_end|>",
        "[INST]",
        "</rewritten>",
        "+++",
        "\r\n",
        "\0",
    ]
)
ANY = st.lists(st.one_of(TEMPTING, st.text(max_size=12)), max_size=6).map("".join)
MARK = "\ue000mark\ue000"
TEXTS = [(name, key) for name, values in VALUES.items() for key, value in values.items() if isinstance(value, str)]
TEXTS.remove(("invert", "schema"))  # if it is empty, its paragraph is left out


@pytest.mark.parametrize(("name", "key"), TEXTS)
@given(text=ANY)
def test_any_text_comes_out_verbatim_where_it_belongs_and_nowhere_else(name, key, text):
    """Role markers, Jinja and chat-template tokens in a value have no effect: the chat differs from one with a harmless
    mark only at that place, within one message."""
    prompt = load(name)
    marked = chat(prompt.render(**VALUES[name] | {key: MARK}))
    assert sum(content.count(MARK) for _, content in marked) == 1
    rendered = chat(prompt.render(**VALUES[name] | {key: text}))
    assert rendered == [(role, content.replace(MARK, text)) for role, content in marked]


@given(simple=ANY.filter(bool), enhanced=ANY.filter(bool))
def test_exemplars_come_out_verbatim(simple, enhanced):
    """The text of an exemplar stays within its two turns."""
    one = SimpleNamespace(simple=simple, enhanced=enhanced)
    mark = SimpleNamespace(simple=MARK + "s", enhanced=MARK + "e")
    for name in ("enhance", "simplify"):
        marked = chat(load(name).render(**VALUES[name] | {"exemplars": [mark]}))
        expected = [
            (role, enhanced.join(simple.join(part.split(mark.simple)) for part in content.split(mark.enhanced)))
            for role, content in marked
        ]
        assert chat(load(name).render(**VALUES[name] | {"exemplars": [one]})) == expected


# Variables


@pytest.mark.parametrize("values", [{}, {"input": None}])
def test_a_missing_variable_is_named_with_its_file(tmp_path, values):
    """An incomplete prompt is never sent."""
    path = write_prompt(tmp_path, ONE)
    with pytest.raises(PromptError) as caught:
        load("mine", tmp_path).render(**values)
    assert str(caught.value) == f"{path}: needs the variable 'simple'. It stands for the text."


def test_an_unknown_variable_is_named_with_its_file(tmp_path):
    """A value that the template does not use is an error and is not dropped."""
    path = write_prompt(tmp_path, ONE)
    with pytest.raises(PromptError) as caught:
        load("mine", tmp_path).render(simple="a", style="b")
    assert str(caught.value) == f"{path}: does not take a variable 'style'. It takes: simple."


def test_a_missing_field_is_named_with_its_line(tmp_path):
    """A field that an exemplar does not have is not rendered as empty text."""
    text = ONE.replace("simple =", 'exemplars = "worked examples"\nsimple =')
    turns = "=== user for one in exemplars ===\nA:\n{{ one.simpel }}\n=== assistant for one in exemplars ===\nB\n"
    path = write_prompt(tmp_path, text.replace("=== user ===", turns + "=== user ==="))
    with pytest.raises(PromptError, match="has no attribute 'simpel'") as caught:
        load("mine", tmp_path).render(simple="a", exemplars=EXEMPLARS)
    line = path.read_text().splitlines().index("{{ one.simpel }}") + 1
    assert caught.value.where == f"{path}:{line}"
    with pytest.raises(PromptError, match="'exemplars', which is not a list"):
        load("mine", tmp_path).render(simple="a", exemplars="two apples")


def test_a_declared_variable_need_not_be_used(tmp_path):
    """A project's own `enhance` may leave out the exemplars and still be called like the built-in one."""
    write_prompt(tmp_path, ONE.replace("simple =", 'style = "s"\nexemplars = "e"\nsimple ='), "enhance")
    prompt = load("enhance", tmp_path)
    assert set(prompt.variables) == set(load("enhance").variables)
    assert chat(prompt.render(**VALUES["enhance"])) == [("system", "Rewrite."), ("user", "an old bicycle")]


@pytest.mark.parametrize(
    "expression",
    [
        "{{ simple.__class__.__mro__ }}",
        "{{ simple.upper.__globals__ }}",
        "{{ 1 // 0 }}",
        "{{ simple + 1 }}",
        "{{ simple[99] }}",
    ],
)
def test_forbidden_or_failing_expression_is_a_prompt_error(tmp_path, expression):
    """A template is text from a folder: it runs in the sandbox, and its errors name the line."""
    path = write_prompt(tmp_path, ONE.replace("{{ simple }}", f"Text:\n{expression}"))
    with pytest.raises(PromptError) as caught:
        load("mine", tmp_path).render(simple="a")
    assert caught.value.where == f"{path}:10"


# Files


@pytest.mark.parametrize(
    ("old", "new", "what", "line"),
    [
        ("+++\nabout", "about", "does not begin with TOML", 1),
        ('"the text"', "the text", "front matter is not valid TOML", None),
        ("[variables]", "colour = 1\n[variables]", "unknown key 'colour'", None),
        ('about = "A prompt of the tests."', "", "has no 'about'", None),
        ('[variables]\nsimple = "the text"', "", r"has no table \[variables\]", None),
        ("=== system ===", "Hello\n=== system ===", "text before the first turn", 6),
        ("=== user ===", "=== User ===", "'=== User ===' is not a turn", 8),
        ("=== user ===", "=== user for each ===", "is not a turn", 8),
        ("Rewrite.", "", "this turn is empty", 6),
        ("=== user ===", "=== assistant ===", "its turns are system, assistant", None),
        ("=== system ===", "=== user ===", "its turns are user, user", None),
        ("=== user ===", "=== user for one in simple ===", "are not complete exchanges", 9),
        ("=== user ===", "=== user for one in many ===", "variable 'many', which", 8),
        ("{{ simple }}", "\n\n{{ simpel }}", "variable 'simpel', which", 11),
        ("{{ simple }}", "{{ range }}", "variable 'range', which", 9),
        ("{{ simple }}", "x\n{{ simple", r"is not valid Jinja: .* 'end of print statement'\. Fix", 10),
        ("{{ simple }}", "{% include 'other' %}", "includes another file", 9),
        ("=== user ===\n{{ simple }}", "", "its turns are system", None),
        ("=== system ===\nRewrite.\n=== user ===\n{{ simple }}", "", "has no turn", None),
    ],
)
def test_a_malformed_file_is_refused_when_it_is_loaded(tmp_path, old, new, what, line):
    """Every mistake in a file is reported before the first row, with file and line."""
    assert old in ONE
    path = write_prompt(tmp_path, ONE.replace(old, new))
    with pytest.raises(PromptError, match=what) as caught:
        load("mine", tmp_path)
    assert caught.value.where == (f"{path}:{line}" if line else str(path))


@pytest.mark.parametrize(
    ("schema", "key"),
    [
        ('type = "string"', "schema"),
        ('type = "object"\nproperties.reason = { type = "string" }', "schema.properties.reason"),
        ('type = "array"', "schema"),
        ('anyOf = [{ type = "null" }, { type = "string" }]', "schema.anyOf.1"),
    ],
)
def test_a_schema_without_bounds_is_refused(tmp_path, schema, key):
    """An endless answer is cut at the token limit and lost, so each string and list needs a maximum."""
    write_prompt(tmp_path, ONE.replace("+++\n===", f"[schema]\n{schema}\n+++\n==="))
    with pytest.raises(PromptError, match=rf"'{key}' is of type .* and has no max"):
        load("mine", tmp_path)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ('type = "strnig"', "'schema.type': 'strnig' is not valid"),
        ('properties.a = { type = "strnig" }', "'schema.properties.a.type': 'strnig' is not valid"),
        ('type = "string"\nmaxLength = "x"', "'schema.maxLength': 'x' is not of type 'integer'"),
        ('type = "string"\nmaxLength = 5\npattern = "("', "'schema.pattern': "),
        (
            'properties.a = { anyOf = [{ type = "string", maxLength = 5, pattern = "[" }] }',
            "'schema.properties.a.anyOf",
        ),
        ("properties = []", r"'schema\.properties': \[\] is not of type 'object'"),
        ('required = "a"', "'schema.required': 'a' is not of type 'array'"),
        ("patternProperties = { '(' = { type = \"null\" } }", "regular expression|is not a 'regex'"),
        ("'$ref' = \"#/$defs/none\"", r"'schema.\$ref': '#/\$defs/none' does not exist"),
        ("properties.a = { '$ref' = \"https://example.org/a.json\" }", "does not exist in this file"),
        ("'$ref' = \"#\"", "RecursionError"),
        ("'$schema' = \"https://example.org/draft\"", r"'schema.\$schema': names an unknown draft"),
        ("'$schema' = 7", r"'schema.\$schema': names an unknown draft"),
    ],
)
def test_invalid_schema_is_refused_when_the_prompt_is_loaded(tmp_path, schema, message):
    """The mistake is reported with file and key before an answer is paid for."""
    path = write_prompt(tmp_path, ONE.replace("+++\n===", f"[schema]\n{schema}\n+++\n==="))
    with pytest.raises(PromptError, match=message) as caught:
        load("mine", tmp_path)
    assert caught.value.where == str(path)


def test_a_schema_may_refer_to_its_own_parts(tmp_path):
    """References within the file and recursive definitions are accepted, in a known draft."""
    schema = """
'$schema' = "http://json-schema.org/draft-07/schema#"
type = "object"
properties.child = { '$ref' = "#/definitions/node" }
definitions.node = { type = "object", properties = { child = { '$ref' = "#/definitions/node" } } }
"""
    write_prompt(tmp_path, ONE.replace("+++\n===", f"[schema]\n{schema}\n+++\n==="))
    assert load("mine", tmp_path).schema is not None


def test_line_ends_change_neither_the_hash_nor_the_text(tmp_path):
    """The same file checked out on another system, or saved with a byte order mark, is the same prompt."""
    unix = Prompt.read(write_prompt(tmp_path / "a", ONE), "mine")
    dos = Prompt.read(write_prompt(tmp_path / "b", "\ufeff" + ONE.replace("\n", "\r\n")), "mine")
    assert unix.ref == dos.ref == f"mine/v1@{hashlib.sha256(ONE.encode()).hexdigest()[:8]}"
    assert (
        unix.render(simple="a")
        == dos.render(simple="a")
        == (
            Message(role="system", content="Rewrite."),
            Message(role="user", content="a"),
        )
    )


# Names


def test_project_prompts_take_precedence_over_built_in_ones(tmp_path):
    """If a project has files of a name, the newest of them is used. A built-in version can still be requested."""
    write_prompt(tmp_path, ONE, "enhance", "v2")
    write_prompt(tmp_path, ONE.replace("Rewrite.", "Newest."), "enhance", "v10")
    assert load("enhance", tmp_path).version == "v10"
    assert load("enhance/v2", tmp_path).text == ONE
    assert load("enhance/v1", tmp_path).ref == load("enhance/v1").ref
    assert load("judge", tmp_path).path.parent.parent == OURS
    write_prompt(tmp_path, ONE, "enhance", "v1")
    assert load("enhance/v1", tmp_path).text == ONE
    assert {"enhance/v1", "enhance/v10", "judge/v1"} <= set(available(tmp_path))


def test_a_full_ref_loads_only_that_content(tmp_path):
    """Replaying an old pair loads the exact text it was made with, or raises an error saying that it has changed."""
    path = write_prompt(tmp_path, ONE)
    ref = load("mine", tmp_path).ref
    assert load(ref, tmp_path).ref == ref
    path.write_text(ONE.replace("Rewrite.", "Rewrite it."))
    with pytest.raises(PromptError, match=rf"is mine/v1@\w{{8}}, not {ref}: it has been changed"):
        load(ref, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "enhnce",
            "there is no prompt 'enhnce'. Did you mean 'enhance'? Available: compare, enhance, extract, "
            "free, invert, judge, label, reply, simplify, translate, translate-back.",
        ),
        ("enhance/v9", "there is no prompt 'enhance/v9'. Available: enhance/v1."),
        ("nothing/v1", "there is no prompt 'nothing/v1'"),
        ("../enhance", "'../enhance' is not the name of a prompt."),
        ("enhance/1", "'enhance/1' is not the name of a prompt."),
        ("", "'' is not the name of a prompt."),
    ],
)
def test_wrong_name_lists_the_available_prompts(tmp_path, name, message):
    """A name never leads out of the prompt folders, and a typo gets the available names."""
    with pytest.raises(PromptError) as caught:
        load(name, tmp_path)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("written", "fix"),
    [
        ("enhance/v2.toml", r"Rename it to v2\.jinja"),
        ("enhance/V1.jinja", r"Rename it to v1\.jinja"),
        ("enhance/v2.jinja.txt", r"Rename it to v2\.jinja"),
        ("enhance/enhance.jinja", r"Rename it to v1\.jinja"),
        ("enhance/v01.jinja", r"Rename it to v1\.jinja"),
        ("enhance/v0.jinja", r"Rename it to v1\.jinja"),
        ("enhance/prompt.md", r"Rename it to v1\.jinja"),
        ("judge/v1.j2", r"Rename it to v1\.jinja"),
        ("enhance.jinja", r"Move it to .*enhance.v1\.jinja"),
        ("v1.jinja", r"Move it to .*v1.v1\.jinja"),
        ("Enhance/v1.jinja", r"rename it to .*prompts.enhance\."),
        ("enhance/v2/prompt.jinja", r"Save it as a single file, .*enhance.v2\.jinja"),
    ],
)
def test_file_with_a_slightly_wrong_name_is_not_ignored(tmp_path, written, fix):
    """The user means to use that file. A paid run with the built-in prompt instead would be a silent default."""
    path = tmp_path / "prompts" / written
    path.parent.mkdir(parents=True)
    path.write_text(ONE)
    with pytest.raises(PromptError, match=fix):
        load("enhance", tmp_path)
    with pytest.raises(PromptError, match=fix):
        available(tmp_path)


@pytest.mark.parametrize(
    ("own", "used", "left"),
    [
        (["enhanse"], ["enhance", "simplify"], ["enhanse"]),
        (["captions", "judge"], ["enhance"], ["captions"]),
        (["enhance", "enhance-short"], ["enhance/v1"], []),
        ([], ["enhance"], []),
    ],
)
def test_unused_prompt_of_the_project_is_reported(tmp_path, own, used, left):
    """It is reported if a built-in prompt is used instead: the folder's name has a typo, or the spec does not name
    it."""
    for name in own:
        write_prompt(tmp_path, ONE, name)
    assert unused(used, tmp_path) == left


@pytest.mark.parametrize("name", [".hidden", "README.md", "__init__.py", "enhance/.v1.jinja.swp", "enhance/~"])
def test_other_files_beside_prompts_are_ignored(tmp_path, name):
    """Notes, code, and files left by editors."""
    write_prompt(tmp_path, ONE, "enhance")
    (tmp_path / "prompts" / name).write_text("x")
    assert load("enhance", tmp_path).text == ONE


def test_file_that_is_not_utf8_is_refused(tmp_path):
    """Bytes that are not UTF-8 are reported, and no encoding is guessed."""
    write_prompt(tmp_path, ONE).write_bytes(ONE.replace("Rewrite", "Réécris").encode("latin-1"))
    with pytest.raises(PromptError, match="cannot be read"):
        load("mine", tmp_path)


def test_importing_prompts_does_not_import_jinja():
    """A command that renders nothing does not pay for the template engine."""
    code = "import sys, prompts; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_file_shown_in_the_manual_works(tmp_path):
    """docs/prompts.md shows a prompt file that can be copied."""
    manual = (HERE.parents[1] / "docs" / "prompts.md").read_text(encoding="utf-8")
    write_prompt(tmp_path, manual.partition("```jinja\n")[2].partition("```")[0], "enhance")
    roles = [role for role, _ in chat(load("enhance", tmp_path).render(**VALUES["enhance"]))]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]


def test_prompt_with_the_old_variable_names_gets_input_and_output(tmp_path):
    """A released prompt never changes: one with the old names, `simple` and `enhanced`, renders as before."""
    prompt = load("mine", write_prompt(tmp_path, ONE).parents[2])
    assert prompt.takes("input")
    assert prompt.render(input="a fox") == prompt.render(simple="a fox")


def test_nothing_is_computed_before_a_prompt_is_rendered() -> None:
    """The service compiles templates that its users write: a constant of a hundred million spaces costs nothing until
    then."""
    tracemalloc.start()
    try:
        _, used = compiled("{{ x }}{{ 'y'|center(100000000) }}{{ 'z' * 100000000 }}", "here")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert used == {"x"}
    assert compiled("{{ x }} {{ 2 * 3 }} {{ 'y'|upper }}", "here")[0].render({"x": 1}) == "1 6 Y"


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("{{ a }} {{ b | trim | lower }}{% if c != 'x' and c %}, {{ c[:20] }}{% else %}{{ 'none' }}{% endif %}", None),
        ("{{ a if a is defined else b ~ c }}", None),
        ("{% for x in a %}{{ x }}{% endfor %}", "for"),
        ("{{ a * 9 }}", "mul"),
        ("{{ 9 ** a }}", "pow"),
        ("{{ '%99999999999d' % a }}", "mod"),
        ("{{ a | center(99999999999) }}", "center"),
        ("{{ a.center(99999999999) }}", "call"),
        ("{{ a | replace('', 'long') | replace('', 'longer') }}", "replace"),
        ("{% set b = a ~ a %}{% set b = b ~ b %}{{ b }}", "assign"),
        ("{% macro m(x) %}{{ m(x) }}{{ m(x) }}{% endmacro %}{{ m(a) }}", "macro"),
        ("{{ a }}" * 51, "more than 50 columns"),
    ],
)
def test_unbounded_part_of_a_template_is_reported(source: str, part: str | None) -> None:
    """Columns, conditions and a few filters render in time proportional to their length. Everything else is
    reported."""
    assert unbounded(source) == part


@given(st.text(), st.text())
def test_fast_path_renders_plain_variables_like_jinja(first: str, second: str) -> None:
    """The fast path and Jinja give the same message, whatever the values and wherever the variables are."""
    source = "Rewrite\n\n  {{ a }}, not {{ b }} nor {{ a }}."
    template, used = compiled(source, "here")
    plain = prompts.prompt._plain(source, frozenset(used))
    assert plain is not None
    assert "".join({"a": first, "b": second}[part] if n % 2 else part for n, part in enumerate(plain)) == (
        template.render(a=first, b=second)
    )


@pytest.mark.parametrize(
    "source",
    [
        "{{ a | upper }}",
        "{{ a.b }}",
        "{% if a %}x{% endif %}",
        "{# said #}{{ a }}",
        "{{- a }}",
        "{{ true }}",
        "{{ '{{ a }}' }}",
        "{% raw %}{{ a }}{% endraw %}",
    ],
)
def test_templates_beyond_plain_variables_are_left_to_jinja(source: str) -> None:
    """A filter, an attribute, a condition, a comment, whitespace control, a constant, a quoted brace, a raw block."""
    assert prompts.prompt._plain(source, frozenset({"a"})) is None


@pytest.mark.parametrize("folder", ["prompt", "Prompts", "templates", "my_prompts"])
def test_folder_with_nearly_the_name_prompts_is_reported(folder: str, tmp_path: Path) -> None:
    """Otherwise the built-in prompt would silently be used and paid for."""
    (own := tmp_path / folder / "enhance" / "v1.jinja").parent.mkdir(parents=True)
    own.write_text("=== user ===\nhello\n")
    with pytest.raises(PromptError, match=r"Rename it to .*prompts\."):
        load("enhance", tmp_path)
    own.rename(own.with_name("notes.txt"))
    assert load("enhance", tmp_path).path.name.endswith(".jinja")


@pytest.mark.parametrize("name", ["enhance.jinja", "reply.j2"])
def test_prompt_beside_the_spec_is_reported(name: str, tmp_path: Path) -> None:
    """It would not be read there. A chat template for vLLM, a copy of a prompt in the folder of prompts and templates
    of other programs are allowed."""
    (tmp_path / name).write_text(ONE)
    with pytest.raises(PromptError, match=r"Move it to .*v1\.jinja"):
        load("enhance", tmp_path)
    (tmp_path / name).rename(tmp_path / "chat_template.jinja")
    (tmp_path / "templates" / "admin").mkdir(parents=True)
    (tmp_path / "templates" / "admin" / "index.jinja").write_text("x")
    (tmp_path / "mail_templates" / "welcome").mkdir(parents=True)
    (tmp_path / "mail_templates" / "welcome" / "v1.jinja").write_text("x")
    assert load("enhance", tmp_path).path.is_relative_to(OURS)
    write_prompt(tmp_path, ONE, "enhance")
    (tmp_path / "enhance.jinja").write_text(ONE)
    (tmp_path / "old_prompts" / "enhance").mkdir(parents=True)
    (tmp_path / "old_prompts" / "enhance" / "v1.jinja").write_text(ONE)
    assert load("enhance", tmp_path).path == tmp_path / "prompts" / "enhance" / "v1.jinja"


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ('name = "answer"\nstrict = true\nschema = { type = "object" }', "OpenAI's {name, strict, schema}"),
        ('label = "a word"', "no JSON Schema keywords"),
        (
            'type = "object"\nadditionalproperties = false',
            r"'schema\.additionalproperties'.*Write additionalProperties",
        ),
        ('properties.a = { type = "null", max_length = 3 }', r"'schema\.properties\.a\.max_length'.*Write maxLength"),
        ('type = "object"\npropertis.a = { type = "null" }', r"'schema\.propertis'.*Write properties"),
        ('type = "string"\nminLength = 9\nmaxLength = 5', "no answer can satisfy minLength 9 and maxLength 5"),
        (
            'type = "object"\nrequired = ["b"]\nadditionalProperties = false\nproperties.a = { const = 1 }',
            "requires 'b'",
        ),
        ("properties.a = { enum = [] }", r"'schema\.properties\.a': no value of its enum"),
        ('type = "string"\nmaxLength = 1\nenum = ["yes", "no"]', "no value of its enum"),
    ],
)
def test_schema_that_accepts_everything_or_nothing_is_refused(tmp_path: Path, schema: str, message: str) -> None:
    """The former does not express what was meant. The latter throws away everything that is paid for."""
    write_prompt(tmp_path, ONE.replace("+++\n===", f"[schema]\n{schema}\n+++\n==="))
    with pytest.raises(PromptError, match=message):
        load("mine", tmp_path)


def test_schema_keywords_of_dialects_are_no_typos(tmp_path: Path) -> None:
    """Extensions of OpenAPI and Gemini, annotations, and the user's own keys are accepted."""
    schema = """
title = "Answer"
type = "object"
nullable = true
propertyOrdering = ["a"]
x-order = 1
propertyOrder = 2
note = "of the support team"
tsType = "Answer"
example = { a = "b" }
required = ["a"]
additionalProperties = false
properties.a = { title = "A", type = "string", minLength = 1, maxLength = 9, format = "uri", enum = ["aa", 1] }
"""
    write_prompt(tmp_path, ONE.replace("+++\n===", f"[schema]{schema}+++\n==="))
    assert load("mine", tmp_path).schema is not None
