"""`python -m pairsmith.serve.write_client` writes `pairsmith/client/calls.py` and `shapes.py` from the OpenAPI
schema."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairsmith.client.http import ROOT
from pairsmith.serve.app import create_app, schema_of
from pairsmith.serve.workspace import Workspace

FOLDER = Path(__file__).parents[1] / "client"
_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
WIDTH = 120
_GENERATED_BY = "Written by `python -m pairsmith.serve.write_client`."
_PAGE = "Page_"  # prefix of the schema names of pages; the rest of the name is their item type
_IMPLICIT_HEADERS = ("accept", "idempotency-key")  # headers that are not arguments of a call
_BROWSER_ONLY = ("sign_in", "redeem", "sign_out", "change_password")  # for browsers; API clients use a key


def files_of(schema: dict[str, Any]) -> dict[str, str]:
    """The text of both files, by file name."""
    operations = [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if path.startswith(ROOT) and operation["operationId"] not in _BROWSER_ONLY
    ]
    calls = "\n".join(line for each in operations for line in _method_lines(*each))
    used = _used_schemas(operations, schema)
    pages = [name for name in used if name.startswith(_PAGE)]
    # pages differ only in their item type
    parts = [(name, _schema_named(schema, name)) for name in used if name not in pages[1:]]
    shapes = "\n".join(line for each in parts for line in _shape_lines(*each))
    return {
        "calls.py": f'"""The calls of the API. {_GENERATED_BY}"""\n\nfrom __future__ import annotations\n\n'
        "from collections.abc import Iterator\nfrom typing import Any, Literal\n\n"
        "from pairsmith.client import shapes\nfrom pairsmith.client.http import Http, operation\n\n\n"
        f'class Calls(Http):\n    """The operations of the API, one method each."""\n\n{calls.rstrip()}\n',
        "shapes.py": f'"""The shapes of the API. {_GENERATED_BY}"""\n\nfrom __future__ import annotations\n\n'
        "from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar\n\n"
        f'Item = TypeVar("Item")\n{shapes.rstrip()}\n',
    }


def _method_lines(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    parameters = operation.get("parameters", [])
    path_names = [p["name"] for p in parameters if p["in"] == "path"]
    named = [
        p
        for where in ("query", "header")
        for p in parameters
        if p["in"] == where and p["name"] not in _IMPLICIT_HEADERS
    ]
    content = operation.get("requestBody", {}).get("content", {})
    success = next(body for status, body in operation["responses"].items() if status.startswith("2"))
    answers: dict[str, Any] = success.get("content", {})
    media = next(iter(answers), "")
    answer = _type(answers[media].get("schema", {}), "shapes.") if media else "None"
    kinds = {"": "None", "application/json": answer, "text/event-stream": "Iterator[Any]"}
    arguments = ["self", *(f"{name}: str" for name in path_names)]
    if "application/json" in content:
        arguments.append(f"body: {_type(content['application/json']['schema'], 'shapes.')}")
    elif content:
        arguments.append("form: dict[str, Any]")
    by_name = [_keyword_argument(p) for p in named] + ["idempotency_key: str | None = None"] * (method == "post")
    arguments += ["*"] * bool(by_name) + by_name
    first_sentence = " ".join(operation["description"].split()).partition(". ")[0].rstrip(".:")
    yield f'    @operation("{method.upper()}", "{path.removeprefix(ROOT)}")'
    yield f"    def {operation['operationId']}({', '.join(arguments)}) -> {kinds.get(media, 'bytes')}:"
    yield textwrap.fill(f'"""{first_sentence}."""', WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    yield ""


def _shape_lines(name: str, part: dict[str, Any]) -> Iterator[str]:
    fields, required = part.get("properties", {}), part.get("required", [])
    if not fields:
        yield f"{_class_name(name)} = {_type(part)}"
        yield ""
        return
    is_page = name.startswith(_PAGE)
    yield ""
    yield "class Page(TypedDict, Generic[Item]):" if is_page else f"class {_class_name(name)}(TypedDict):"
    for field, schema in fields.items():
        kind = "list[Item]" if is_page and field == "items" else _type(schema)
        yield f"    {field}: {kind if field in required else f'NotRequired[{kind}]'}"
    yield ""


def _type(schema: dict[str, Any], home: str = "") -> str:
    """The Python type of a JSON schema."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if not name.startswith(_PAGE):
            return home + _class_name(name)
        items = name[len(_PAGE) : -1]
        return f"{home}Page[{'dict[str, Any]' if items.startswith('dict_') else home + _class_name(items)}]"
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    if "anyOf" in schema:
        kinds = [_type(each, home) for each in schema["anyOf"]]
        kinds = [kind for kind in dict.fromkeys(kinds) if kind != "None"] + ["None"] * ("None" in kinds)
        return "Any" if "Any" in kinds else " | ".join(kinds)
    if schema.get("type") == "array":
        return f"list[{_type(schema.get('items', {}), home)}]"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties", True)
        return f"dict[str, {_type(values, home) if isinstance(values, dict) else 'Any'}]"
    return _PLAIN.get(str(schema.get("type")), "Any")


def _used_schemas(operations: list[Any], schema: dict[str, Any]) -> list[str]:
    """The schemas that the operations need, each after those that it refers to."""
    ordered: list[str] = []

    def add(name: str) -> None:
        if name not in ordered:
            for inner in _refs_in(_schema_named(schema, name)):
                add(inner)
            ordered.append(name)

    for _, _, operation in operations:
        successes = {key: value for key, value in operation["responses"].items() if key.startswith("2")}
        sent = operation.get("requestBody", {}).get("content", {}).get("application/json")  # form fields are untyped
        for name in _refs_in([sent, successes, operation.get("parameters")]):
            add(name)
    return ordered


def _refs_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield str(schema["$ref"]).rpartition("/")[2]
        for value in schema.values():
            yield from _refs_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _refs_in(value)


def _schema_named(schema: dict[str, Any], name: str) -> dict[str, Any]:
    part: dict[str, Any] = schema["components"]["schemas"][name]
    return part


def _keyword_argument(parameter: dict[str, Any]) -> str:
    name, kind = parameter["name"].replace("-", "_"), _type(parameter["schema"], "shapes.").removesuffix(" | None")
    name = {"from": "from_", "format": "format_"}.get(name, name)
    return f"{name}: {kind}" if parameter.get("required") else f"{name}: {kind} | None = None"


def _class_name(name: str) -> str:
    return "".join(part for part in name.replace("-", "_").split("_"))


def main() -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as folder:
        schema = schema_of(create_app(Workspace(Path(folder))))
    for name, text in files_of(schema).items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
