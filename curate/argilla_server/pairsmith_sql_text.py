"""Text queries: what a search box may say, and how FTS5 says it.

Runs under the server's own pins, like pairsmith_sql_engine, and has no parent package.
"""

import re
from dataclasses import dataclass
from typing import Any

from argilla_server.errors.future import UnprocessableEntityError


@dataclass(frozen=True)
class Phrase:
    """Words that stand next to each other; `prefix`: the last may go on."""

    text: str
    prefix: bool = False


@dataclass(frozen=True)
class Not:
    inner: Any


@dataclass(frozen=True)
class Pair:
    joint: str  # AND or OR
    left: Any
    right: Any


_HAS_WORD = re.compile(r"[^\W_]")
_ONE_SIGN_WORDS = re.compile("([\u3040-\u309f\u3400-\u9fff])")


_TOKEN = re.compile(
    r"""(?P<minus>-*)(?:"(?P<phrase>[^"]*)"(?P<slop>~\d+)?
                     |(?P<open>\()
                     |(?P<word>(?:\\.|[^\s+|()"~\\-])(?:\\.|[^\s+|()"~\\])*)(?P<fuzz>~\d+)?)
       |(?P<close>\))|(?P<either>\|)|.""",
    re.VERBOSE | re.DOTALL,
)


def spaced(text: str) -> str:
    """Han and Hiragana signs as words of their own, as Elasticsearch's standard analyzer has them."""
    return _ONE_SIGN_WORDS.sub(r" \1 ", text)


def parse_text(query: str) -> Phrase | Not | Pair | None:
    """Elasticsearch's simple query string with AND as the default: `a b`, `a | b`, `-a`, `"a b"`, `a*`, `( )`, `\\`.

    Operators bind from left to right, as there; unbalanced quotes and brackets are ignored; None when no word is left.
    """
    node: Any = None
    joint = "AND"
    outer: list[tuple] = []  # (node, joint, negated) around each open bracket

    def add(item: Any, negated: bool) -> None:
        nonlocal node, joint
        if item is not None:
            item = Not(item) if negated else item
            node = item if node is None else Pair(joint, node, item)
        joint = "AND"

    def close() -> None:
        nonlocal node, joint
        inner = node
        node, joint, negated = outer.pop()
        add(inner, negated)

    for token in _TOKEN.finditer(query):
        tilde = token["slop"] or token["fuzz"]
        if tilde:
            raise UnprocessableEntityError(
                f"This Argilla server searches without Elasticsearch: fuzzy words and phrase slop ({tilde}) are not"
                " supported. Leave out the ~ and the number; word* matches the beginning of a word."
            )
        negated = len(token["minus"] or "") % 2 == 1
        if token["open"]:
            outer.append((node, joint, negated))
            node, joint = None, "AND"
        elif token["close"]:
            if outer:
                close()
        elif token["either"]:
            joint = "OR"
        elif token["phrase"] is not None:
            add(_phrase(token["phrase"], prefix=False), negated)
        elif token["word"] is not None:
            word = re.sub(r"\\(.)", r"\1", token["word"])
            add(_phrase(word.rstrip("*"), prefix=word.endswith("*")), negated)
    while outer:
        close()
    return node


def _phrase(text: str, prefix: bool) -> Phrase | None:
    return Phrase(text, prefix) if _HAS_WORD.search(text) else None


def fts5_query(node: Any) -> str | None:
    """The whole query in FTS5's syntax, or None where that cannot say it (a negation with nothing to take it from)."""
    if isinstance(node, Phrase):
        quoted = spaced(node.text).replace('"', '""')
        return f'"{quoted}"' + (" *" if node.prefix else "")
    if isinstance(node, Not):
        return None
    left = fts5_query(node.left)
    if node.joint == "AND" and isinstance(node.right, Not):
        inner = fts5_query(node.right.inner)
        return f"({left} NOT {inner})" if left and inner else None
    right = fts5_query(node.right)
    return f"({left} {node.joint} {right})" if left and right else None
