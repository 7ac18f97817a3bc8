"""Chooses which columns of a user's table are the input and the output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from curate.words import plain, words
from pairsmith.user_file.columns import CATEGORIES, Column, inner_columns, labels_of, without_annotated
from pairsmith.user_file.header_words import (
    AID,
    ATTRIBUTE,
    DIRECTED,
    DOCUMENT,
    HEAD,
    INPUT,
    LABELS,
    MODEL,
    OUTPUT,
    PASSAGE,
    REMARK,
    REPLY,
    REWRITTEN,
)
from pairsmith.user_file.record_schema import copied_share
from prompts.languages import language_code
from schemas.kinds import KINDS
from synth.sources.columns import unpaired
from synth.sources.turns import Role, parse_role

_KINDS_WITH_NEEDS = [kind for kind, row in KINDS.items() if row.needs]
_ITSELF = ("text", "texte", "texto", "value", "wert", "valeur", "valor", "number", "index", "idx")  # after `answer`
_QUERY = re.compile(
    r"\s*(?:select|with|insert into|update|delete from|match|prefix)\b.*\b(?:from|set|return|where)\b",
    re.IGNORECASE | re.DOTALL,
)
_SIBLING = re.compile(r"\W*_?(?:\d{1,2}|[a-eA-E])\Z")  # at the end of a header such as `question2` or `text_b`
_PHRASE, _HEADER_WORDS = 2, 3  # words
_REPLIES = REPLY.split()
_MOSTLY = 0.9  # share of the texts of a column
LONG_WORDS = 40.0  # texts at least this long are assumed to be finished outputs
_ASKED = f"{INPUT} {HEAD} {PASSAGE} {AID}"
_BESIDE_TEXTS = "meta metadata vars variables params parameters choices options"  # objects that are no outputs
_ID = re.compile(r"(?=\D*\d)[!-~]+")


def find_output(
    columns: Sequence[Column], texts: Sequence[Column], wanted: str
) -> tuple[Column | None, str, Sequence[Column]]:
    """The output column, why it was chosen, and others that are named like it. Of several columns named like outputs, a
    written reply takes precedence over a few recurring words (`answer`: yes or no), these over its label, and all over
    columns such as `answer_id` and numbers, unless the chosen kind of task wants those. A column that marks bad rows is
    none, unless its marks are all that was annotated."""
    mark = unpaired(column.header for column in columns)
    others = [c for c in columns if c.header != mark or (wanted == "classify" and c.called(LABELS))]
    chosen = _find_output(others, texts, wanted)
    output, annotated = chosen[0], (c for c in others if c not in texts and not c.header.startswith("_"))
    if output is None:
        is_known = wanted != "classify" and any(len(set(c.filled)) != 1 for c in annotated)
    else:
        is_known = output.is_category if wanted == "classify" else output.is_text or len(set(output.filled)) > 1
    if len(others) == len(columns) or is_known:
        return chosen
    return _find_output([c for c in columns if len(set(c.filled)) > 1], texts, wanted)


def _find_output(
    columns: Sequence[Column], texts: Sequence[Column], wanted: str
) -> tuple[Column | None, str, Sequence[Column]]:
    named, aside = _named_outputs(columns, texts, wanted)
    best, reason = min(named.named, key=named.rank, default=None), "chosen by its name"
    if best and best.is_category and wanted == "rewrite":  # a label beside a text and what was written from it
        written, why = _unnamed_output(columns, texts, wanted, aside)
        best, reason = (written, why) if written else (best, reason)
    if best and (named.fits(best) or wanted not in ("classify", "extract")):
        return best, reason, named.rivals_of(best)
    objects = [column for column in columns if column.objects]
    if wanted == "extract" and objects:
        return _extracted(objects, texts) or objects[0], "it contains JSON objects", ()
    labels = labels_of(column for column in columns if wanted or column.called(LABELS))
    if wanted in ("", "classify") and labels:
        why = "chosen by its name and recurring values" if not wanted else "chosen for its recurring values"
        return labels, why, ()
    is_open = best is None and not wanted and answers_inside(columns) is None
    first = next((n for n, c in enumerate(columns) if c in texts and c not in objects), 0)
    # An object before the texts may be what they were written about, such as a product.
    after = [c for c in columns[first:] if c.objects]
    if is_open and (extracted := _extracted(after, texts)):
        other = "if it only describes them, start a new project of another kind, such as `rewrite` (`--kind rewrite`)"
        return extracted, f"its values are in the texts; {other}", ()
    return (best, reason, ()) if best else (*_unnamed_output(columns, texts, wanted, aside), ())


class _NamedOutputs(NamedTuple):
    """The columns that are `named` like outputs, among all columns of a table."""

    columns: Sequence[Column]
    named: Sequence[Column]
    wanted: str  # the kind of task
    has_written: bool  # whether one of them is a reply in words

    def fits(self, column: Column) -> bool:
        """Whether the kind of task wants such an output."""
        alone = plain(column.header) in _REPLIES  # the reply itself, not its time or id
        if self.wanted == "classify":
            of_reply = column.called(REPLY) and column.is_bare and not alone
            return column.called(LABELS) or (column.is_category and not of_reply)
        if self.wanted == "extract":
            return column.objects
        replies = column.called(REPLY) and (column.is_text or alone)
        inputs = (c for c in self.columns if c is not column and (c.is_text or c.called(INPUT)) and not c.is_bare)
        # Without an input the reply may be the text to label; if most rows have none, others may wait for one.
        return replies and any(inputs) and 2 * len(column.filled) > len(column.texts)

    def rank(self, column: Column) -> tuple[bool, ...]:
        """The lower, the likelier it is the output."""
        is_choice = self.has_written and column.is_category and self.fits(column)
        return not self.fits(column), column.is_bare, is_choice, column.called(MODEL)

    def rivals_of(self, best: Column) -> list[Column]:
        """The others that might be the output just as well."""
        both = self.fits(best) and self.wanted != "classify"
        alike = (c for c in self.named if self._shape(c) == self._shape(best) or (both and self.fits(c)))
        return [c for c in alike if c != best]

    def _shape(self, column: Column) -> tuple[bool, ...]:
        return *self.rank(column)[:2], column.is_text, column.is_category


def _named_outputs(columns: Sequence[Column], texts: Sequence[Column], wanted: str) -> tuple[_NamedOutputs, str]:
    """The columns named like outputs, and why one of them is not counted, if that should be said.

    A word that all rows have, such as the state of closed tickets, is no reply; nor is a label, or yes and no beside a
    text that may be the reply.
    """
    written = [c for c in texts if not c.is_constant]
    is_beside = len(written) > 1 and any(role_in(c.header) == "assistant" or not c.called(_ASKED) for c in written)
    categories = [c for c in columns if wanted == "reply" and c.is_category and (is_beside or c.called(LABELS))]
    choices = [c.header for c in categories if is_beside and c.called(REPLY)]
    aside = f"; '{choices[0]}' has only a few recurring values" if choices else ""
    named = [c for c in columns if c.filled and c not in categories and c.called(OUTPUT) and not _is_about_replies(c)]
    named = [c for c in named if c.words >= _PHRASE or c.objects or not c.is_constant]
    has_written = wanted != "classify" and any(c.is_text and plain(c.header) in _REPLIES for c in named)
    return _NamedOutputs(columns, named, wanted, has_written), aside


def _unnamed_output(
    columns: Sequence[Column], texts: Sequence[Column], wanted: str, aside: str
) -> tuple[Column | None, str]:
    """The output among `texts` where no column is named like one, and why. `aside`: why a column that is was not
    taken."""
    best, reason = None, ""
    texts = [column for column in texts if not column.objects]
    if wanted not in _KINDS_WITH_NEEDS and len(texts) > 1:
        best = next(filter(is_of_queries, texts), None)
        reason = "it contains queries of a database"
    # Beside them there may be numbers, ids and empty columns, but nothing that says something about the rows.
    alone = all(c in texts or not c.filled or c.is_bare or c.reference for c in columns)
    beside = f"{PASSAGE} {AID} {HEAD} {REMARK}"
    if best is None and wanted not in _KINDS_WITH_NEEDS and len(texts) == 2 and (aside or alone):
        asks = [role_in(column.header) != "assistant" and column.called(INPUT) for column in texts]
        asks = asks if aside or not (any(c.called(beside) for c in texts) or _has_attribute(texts)) else [False, False]
        best = texts[1] if asks[0] else texts[0] if asks[1] else None
        reason = f"it is the only {'text' if aside or len(columns) > 2 else 'column'} besides the input{aside}"
    if best is None and wanted not in _KINDS_WITH_NEEDS and len(texts) == 2:
        rewritten = [c for c in texts if len(c.header.split()) <= _HEADER_WORDS and c.called(REWRITTEN)]
        follows = texts[1].called(DOCUMENT) or texts[1].called(REMARK)  # `note, letter`; `letter, decision`
        if not rewritten and follows:
            rewritten = [column for column in texts if column.called(DOCUMENT)]
        best = rewritten[0] if len(rewritten) == 1 and not _has_attribute(texts) else None
        reason = "by its name it was written from the other text"
    # Columns such as customer and agent may contain the names of people, next to a column with a text in each row.
    others = (c for c in texts if parse_role(c.header) is None and 2 * len(set(c.filled)) > len(c.filled))
    if best is None and not any(others) and side_of(texts, "user"):
        best, reason = side_of(texts, "assistant"), "it is named after the answering side"
    is_open = best is None and wanted not in _KINDS_WITH_NEEDS and len(texts) == 2 and not _has_attribute(texts)
    if is_open and not any(column.called(beside) for column in texts) and is_alike(*texts):
        documents = [column for column in texts if column.called(DOCUMENT)]
        best = documents[0] if len(documents) == 1 else texts[1]
        reason = f"it uses the words of '{texts[best is texts[0]].header}'; swap the two if it is the input"
    return best, reason


def is_alike(one: Column, other: Column) -> bool:
    """Whether one of two texts was written from the other: each shares its words with the text of its own row, and few
    with that of the next."""
    rows = [texts for texts in zip(one.texts, other.texts, strict=True) if all(texts)][:_COMPARED]
    if len(rows) < _FEW:
        return False
    here, there = ([_roots(text) for text in column] for column in zip(*rows, strict=True))
    own, next_one = (
        sum(len(a & b) / (min(len(a), len(b)) or 1) for a, b in zip(here, of, strict=False))
        for of in (there, there[1:])
    )
    return own > _OWN * len(rows) and own > _APART * next_one


def _roots(text: str) -> set[str]:
    return {word[:_ROOT] for word in words(text) if len(word) >= _ROOT or word.isdigit()}


_COMPARED, _FEW, _ROOT = 300, 10, 4  # rows compared, and needed; letters of a word
_OWN, _APART = 0.25, 3.0  # share of words that a text has in common with its own row, and how often that of the next


def _has_attribute(texts: Sequence[Column]) -> bool:
    """Whether one of two texts says something about the sender of the other: it is not what a model was asked for, and
    was not copied from the other, as by a model that extracts it."""
    for one, other in (texts, texts[::-1]):
        if one.called(ATTRIBUTE) and not (one.called(INPUT) or one.called(DIRECTED) or other.called(DIRECTED)):
            copied = sum(a in b for a, b in zip(one.texts, other.texts, strict=True) if a)
            if 2 * copied <= len(one.filled):
                return True
    return False


def is_reply(column: Column) -> bool:
    """Whether an output is called a reply or after the answering side, and is no query."""
    return (column.called(REPLY) or parse_role(column.header) is not None) and not is_of_queries(column)


def is_of_queries(column: Column) -> bool:
    """Whether the texts of a column, but for a few bad ones, are queries of a database, which end with no stop as
    *Select ... from ...* does in a manual."""
    queries = sum(bool(_QUERY.match(text)) and text.rstrip()[-1] not in ".!?" for text in column.filled)
    return bool(queries) and queries >= _MOSTLY * len(column.filled)


def _extracted(objects: Sequence[Column], texts: Sequence[Column]) -> Column | None:
    """The column of objects that were extracted from the texts: most of their values are in the text of their row.
    Objects with the variables of a prompt, or the choices of a question, are not extracted."""
    of_rows = [c for c in texts if c not in objects]
    asked = ["\n".join(cells) for cells in zip(*(c.texts for c in of_rows), strict=True)]
    shares = [(copied_share(c.texts, asked), c) for c in objects if asked and not c.called(_BESIDE_TEXTS)]
    share, column = max(shares, key=itemgetter(0), default=(0.0, None))
    return column if 2 * share > 1 else None


def _is_about_replies(column: Column) -> bool:
    """Whether numbers, ids or times are those of replies, such as `reply_count` or `answer_id`, but not
    `final_answer` or `answer_value`."""
    last = re.sub(r"[\W\d_]+\Z", "", plain(column.header))
    return column.is_bare and column.called(REPLY) and not last.endswith((*map(plain, REPLY.split()), *_ITSELF))


def sides_of(texts: Sequence[Column]) -> dict[str, Column]:
    """The texts in columns named after languages. If a language has several, such as a question and its answer in two
    languages each, only those that are named after nothing else."""
    sides = [(code, column) for column in texts if (code := language_code(column.header))]
    if len(dict(sides)) < len(sides):
        sides = [(code, column) for code, column in sides if not column.header.rstrip().endswith((")", "]"))]
    return dict(sides)


def sides_inside(columns: Sequence[Column]) -> dict[str, Column]:
    """Two texts inside objects, named after languages as on the hub: {"translation": {"en": ..., "de": ...}}. Empty if
    there are more, such as a question and its answer in two languages each."""
    inner = [c for column in columns if column.nested for c in inner_columns(column) if c.is_text]
    sides = [(code, c) for c in inner if (code := language_code(c.header.rpartition(".")[2]))]
    return dict(sides) if len(sides) == 2 else {}


def side_of(texts: Sequence[Column], role: str) -> Column | None:
    """The only text column that is named after this role."""
    of_role = [column for column in texts if parse_role(column.header) == role]
    return of_role[0] if len(of_role) == 1 else None


def role_in(header: str) -> Role | None:
    """The role that a header or its words name, such as `agent text`; None if they name none or several."""
    words = re.findall(r"[^\W_]+", header)
    roles = {role for name in (header, *words) if (role := parse_role(name))}
    return parse_role(header) or (roles.pop() if len(roles) == 1 else None)


def is_system(column: Column) -> bool:
    return " ".join(column.header.split()).casefold() == "system"


def find_inputs(
    columns: Sequence[Column], texts: Sequence[Column], output: Column | None
) -> tuple[list[Column], Sequence[Column]]:
    """The columns that may be the input, and all columns, including those inside objects if an input is found there.
    In a table without texts and outputs, names are inputs, such as those of products."""
    inputs = without_annotated([column for column in texts if column is not output])
    varied = [column for column in inputs if not column.is_constant]
    inputs = inputs if all(column.called(HEAD) for column in varied) else varied
    if output is None or inputs:
        return inputs or (names_in(columns) if not texts else []), columns
    others = [column for column in columns if column is not output]
    if not output.nested:
        inner = [c for column in others if column.objects for c in inner_columns(column)]
        inputs, others = [column for column in inner if column.is_text], [*others, *inner]
        columns = [*columns, *inner]
    if output.is_category and not inputs:  # with labels, even a single word counts as a text
        worded = (c for c in others if any(map(str.isalpha, "".join(c.filled))))
        inputs = [c for c in worded if len(set(c.filled)) > CATEGORIES / 2]
        inputs = [c for c in inputs if not all(map(_ID.fullmatch, c.filled))] or inputs
    if not inputs:  # too short to count as text elsewhere
        named = (c for c in others if c.filled and c.called(INPUT) and not c.objects)
        inputs = [c for c in named if not all(map(_ID.fullmatch, c.filled))]
    return inputs, columns


def is_answered(columns: Sequence[Column]) -> bool:
    """Whether an input and its output have columns of their own, so that a chat inside an object is only additional."""
    texts = [column for column in columns if column.is_text]
    output = find_output(columns, texts, "")[0]
    return output is not None and any(column.called(INPUT) for column in texts if column is not output)


def answers_inside(columns: Sequence[Column]) -> Column | None:
    """The only text inside an object that is named like answers, as in SQuAD."""
    objects = (c for c in columns if c.nested and c.called(f"{OUTPUT} answers responses"))
    inner = [c for column in objects for c in inner_columns(column) if c.filled and not c.is_bare]
    return inner[0] if len(inner) == 1 else None


def parts_of(
    body: Column, columns: Sequence[Column], output: Column | None, rivals: Sequence[Column] = ()
) -> list[Column]:
    """The columns that make up the input with the text in `body`: headings, then in their order the text that a
    question is about, and the other texts of a comparison, such as `sentence2`."""
    others = [c for c in columns if c.filled and not c.is_constant and c not in (body, output, *rivals)]
    known, heads = {body.texts}, list[Column]()
    for column in (_text_of(c) if c.called(HEAD) else c for c in others):
        if column.called(HEAD) and column.texts not in known and not column.objects:
            heads.append(column)
            known.add(column.texts)
    name = plain(_SIBLING.sub("", body.header))
    is_numbered = bool(name) and name != plain(body.header) and not body._replace(header=name).called(OUTPUT)
    beside = [
        column
        for column in others
        if column.is_text
        and column not in heads
        and (column.called(PASSAGE) or (is_numbered and plain(_SIBLING.sub("", column.header)) == name))
    ]
    return [*heads, *(column for column in columns if column is body or column in beside)]


def _text_of(column: Column) -> Column:
    """The only text inside the objects of a column, as of headings with their language; otherwise the column itself."""
    inner = [one for one in inner_columns(column) if one.is_text] if column.nested else []
    return inner[0] if len(inner) == 1 else column


def likeness_to_body(column: Column) -> tuple[float, ...]:
    """How much a column is like an input: one of the asking side before one of the answering side, then by its name. A
    header such as "ticket subject" may name a heading, so the longest column of such a name is the body."""
    is_theirs = role_in(column.header) != "assistant"
    return is_theirs, column.called(INPUT), column.words, len("".join(column.filled))


def main_text(columns: Sequence[Column]) -> Column:
    """The column to work on where nothing is answered: the longest, or one named like inputs if none is that long.
    Columns named after speakers, such as `gpt` and `human`, may be two answers to it, however long."""
    is_long = any(column.words >= LONG_WORDS and role_in(column.header) is None for column in columns)
    return max(columns, key=lambda c: (not c.turns, not is_long and c.called(INPUT), c.words))


def names_in(columns: Sequence[Column]) -> list[Column]:
    """The columns of names or titles: too short for texts, but with letters, and different in most rows."""
    short = (c for c in columns if c.filled and not (c.is_text or c.objects or c.is_bare))
    worded = (c for c in short if any(map(str.isalpha, "".join(c.filled))) and not all(map(_ID.fullmatch, c.filled)))
    varied = [c for c in worded if 2 * len(set(c.filled)) > len(c.filled)]
    return [c for c in varied if not c.reference] or varied
