"""The Jinja environment for prompts: undefined variables are errors, and nothing is computed before rendering.

A service compiles templates written by its editors, and renders only those whose cost is bounded (`unbounded`).
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.compiler import CodeGenerator
from jinja2.meta import TrackingCodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment

_ALLOWED_NODES = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.Name, nodes.If, nodes.CondExpr),
    *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat, nodes.Getitem, nodes.Slice),
)
_FILTERS = frozenset({"capitalize", "default", "d", "json", "length", "lower", "string", "title", "trim", "upper"})
_TESTS = frozenset({"defined", "eq", "equalto", "in", "ne", "none", "string", "undefined"})
_MAX_OUTPUTS = 50


class _NoConstantFolding(CodeGenerator):
    """Disables constant folding: `"x"|center(10**9)` would allocate a gigabyte at compile time."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)


class _NameCollector(_NoConstantFolding, TrackingCodeGenerator):
    """Collects the names that a template needs, without the constant folding of Jinja's own generator."""


def undeclared(tree: nodes.Template) -> set[str]:
    """The variables that a template needs."""
    assert tree.environment is not None
    names = _NameCollector(tree.environment)
    names.optimizer = None
    names.visit(tree)
    return names.undeclared_identifiers


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment for all prompts and for `seeds.input`."""

    code_generator_class = _NoConstantFolding

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True, optimized=False
        )
        # A prompt needs only its variables, if and for.
        self.globals.clear()
        # Jinja's own `tojson` escapes for HTML: R&D becomes R\u0026D.
        self.filters["json"] = partial(json.dumps, ensure_ascii=False)


def unbounded(source: str) -> str | None:
    """The first construct in a template, such as `for` or `*`, that could make a short template take unlimited time or
    memory; None if there is none, so that rendering time is proportional to the length of the values.

    Raises Jinja's TemplateSyntaxError.
    """
    outputs = 0
    for node in Sandbox().parse(source).find_all(nodes.Node):
        if isinstance(node, nodes.Filter | nodes.Test):
            if node.name not in (_FILTERS if isinstance(node, nodes.Filter) else _TESTS):
                return node.name
        elif not isinstance(node, _ALLOWED_NODES):
            return type(node).__name__.lower()
        outputs += isinstance(node, nodes.Name)
    return f"more than {_MAX_OUTPUTS} columns" if outputs > _MAX_OUTPUTS else None
