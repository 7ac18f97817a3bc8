"""What is doubtful about rows that a file offers to learn from, one sentence each."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from pathlib import Path

from pairsmith.user_file.chats import SPEAKER, among_people, command_of
from pairsmith.user_file.columns import CATEGORIES, Column
from pairsmith.user_file.header_words import LABELS
from pairsmith.user_file.record_schema import is_record
from schemas.labels import MOST_CHARACTERS, distinct_labels, folded_label, is_listable, label_counts, label_in
from schemas.wording import counted, listed
from synth.sources.columns import Cells, Fault, find_rejected_column
from synth.sources.table_edges import MISSING
from synth.sources.turns import CONTENT, exchange, extract_turns, parse_role, parse_turns

_LISTED = 8  # columns and labels that are listed by name
_SHARE = 20  # the same output, or none, in at least one row of this many is pointed out
_LABEL_WORDS = 4
_LONGEST_SIGNATURE = 80  # characters
_SLOT = re.compile(r"[\W_]*[\[{<][^\[\]{}<>/]+[\]}>][\W_]*")  # [Your Name]
_LINE_BY = re.compile(r"^[^\w\n]*(\w+) *[\d\w() ]{0,20}:", re.MULTILINE)  # the name before a line of a conversation
_TAG = re.compile(r"</\w+>|<br\s*/?>")
_LABEL_SETS = f"{LABELS} labels tags categories topics classes"
_OR = re.compile(r"\s*[;,|]\s*")  # between labels in one cell
_LIST = re.compile(r"""\[\s*["'\[\]{\d.-]""")  # the beginning of a list in JSON or Python


def doubts_about(outputs: Sequence[str], asked: Sequence[str], *, are_labels: bool) -> list[str]:
    """Sentences about these outputs, and about the inputs that were `asked` for them, if these are known."""
    sentences, different = [], defaultdict[str, set[str]](set)
    labels = distinct_labels(outputs) if are_labels else []
    label_of = {output: label_in(labels, output) for output in set(outputs)} if are_labels else {}
    for text, output in zip(asked, outputs, strict=bool(asked)):
        different[text].add(label_of.get(output) or output)
    if several := sum(len(texts) > 1 for texts in different.values()):
        have = "input has" if several == 1 else "inputs have"
        what, bad = ("labels", "wrong") if are_labels else ("outputs, and the model learns them all", "worse")
        sentences.append(f"{several:,} {have} several different {what}: remove the rows with the {bad} ones")
    if are_labels or not outputs:
        return sentences
    records = [is_record(output) for output in outputs]
    if 2 * sum(records) > len(records) and not all(records):
        first = next(output for output, record in zip(outputs, records, strict=True) if not record)
        sentences.append(
            f"{records.count(False):,} of {len(outputs):,} outputs are no JSON objects, but the others are: correct or"
            f" remove them to learn records by a schema (`--kind extract`). The first: '{first[:40]}'"
        )
    (same, rows), *_ = Counter(outputs).most_common(1)
    missing = [output for output in outputs if output.casefold() in MISSING]
    if missing and len(missing) > rows * (same in missing):
        which = listed(list(dict.fromkeys(map(repr, missing))), _LISTED)
        sentences.append(
            f"{len(missing):,} of {len(outputs):,} outputs mark a missing one ({which}): remove these rows"
        )
    if rows > 1 and _are_like_labels(labels := distinct_labels(outputs), outputs):
        sentences.append(
            f"every output is one of {_listed(labels)}: to predict labels, start a new project of the kind `classify`"
            " (`--kind classify`); if the texts of another column are the outputs, name that one"
        )
    elif rows > 1 and rows * _SHARE >= len(outputs):
        shown = same if len(same) <= 40 else f"{same[:40]}..."
        sentences.append(f"{rows:,} of {len(outputs):,} outputs are '{shown}': remove these rows if that is no answer")
    return [*sentences, *_hints_of_mail(outputs, "outputs", "write as they are")]


def hints_of_inputs(asked: Sequence[str]) -> list[str]:
    """What a help desk adds to the messages that people write."""
    return _hints_of_mail(asked, "inputs", "expect in use too")


def _hints_of_mail(texts: Sequence[str], what: str, learns: str) -> list[str]:
    from curate.gates.making import quoted_mail  # all gates, which a service only needs for this

    kinds: dict[str, Callable[[str], object]] = {"contain HTML tags": _TAG.search, "quote earlier mails": quoted_mail}
    times = {kind: sum(bool(matches(text)) for text in texts) for kind, matches in kinds.items()}
    return [
        f"{count:,} of {len(texts):,} {what} {kind}, which the model will {learns}"
        for kind, count in times.items()
        if count > 1 and count * _SHARE >= len(texts)
    ]


def _are_like_labels(labels: Sequence[str], outputs: Sequence[str]) -> bool:
    """Whether outputs are a few recurring words, such as yes and no."""
    few = 1 < len(labels) <= min(CATEGORIES, len(outputs) / 4)
    return few and not any(label[:1] in "{[" or len(label.split()) > _LABEL_WORDS for label in labels)


def hint_of_closing(outputs: Sequence[str], asked: Sequence[str]) -> list[str]:
    """What the last line of most of these outputs means, unless the inputs that were `asked` for them say it."""
    inputs = asked or ("",) * len(outputs)
    lines = [(text.strip().rpartition("\n")[2].strip(), given) for text, given in zip(outputs, inputs, strict=True)]
    several = [(last, given) for text, (last, given) in zip(outputs, lines, strict=True) if "\n" in text.strip()]
    lasts = Counter(last for last, given in several if last not in given and any(map(str.isalpha, last)))
    (last, times), *_ = lasts.most_common(1) or [("", 0)]
    if times <= 2 or 2 * times <= len(outputs) or len(last) > _LONGEST_SIGNATURE:
        return []
    if _SLOT.fullmatch(last):
        return [f"{times:,} of {len(outputs):,} outputs end with '{last}': fill it in, or the gates will reject them"]
    return [
        f"{times:,} of {len(outputs):,} outputs end with '{last}', so it does not count as invented: ask for it in the"
        " style too, which is all that the untuned model is told"
    ]


def hints_of_labels(labels: Sequence[str], outputs: Sequence[str], asked: Sequence[str] = ()) -> list[str]:
    """Which labels these outputs have, and which are doubtful: those that mark a missing one, are spelt almost like a
    more frequent one, unless the texts that were `asked` about have that word too, or occur only once, as those of a
    line of totals do."""
    times = label_counts(outputs)
    sentences = [f"the outputs have recurring values, so they are labels: {_listed(labels)}"]
    if unlisted := [output for output in outputs if not is_listable(output)]:
        sentences.append(
            f"{len(unlisted):,} of {len(outputs):,} outputs have several lines or over {MOST_CHARACTERS} characters and"
            " cannot be labels: correct them, or the gate `label` rejects their rows. The first:"
            f" {_listed(unlisted[:1])}"
        )
    if missing := [label for label in labels if label.casefold() in MISSING]:
        sentences.append(f"labels that mark a missing one: {_listed(missing)}. Remove these rows")
    words = {word for text in asked for word in folded_label(text).replace("-", " ").translate(_NO_SIGNS).split()}
    meant = {
        label: next((one for one in labels if _is_slip(label, one, words, times[one] / times[label])), "")
        for label in labels
    }
    if slips := [f"'{label}' ({times[label]:,}) for '{one}' ({times[one]:,})" for label, one in meant.items() if one]:
        which = listed(slips, _LISTED)
        sentences.append(f"labels that may be typing errors: {which}. Correct them in the file, or they are classes")
    if rare := [label for label in labels if times[label] == 1 and not meant[label] and label not in missing]:
        sentences.append(f"labels that occur only once: {_listed(rare)}. Remove what is no label, with its rows")
    return sentences


_FREQUENT, _FREQUENT_IF_LONG, _LONG = 10, 3, 7  # times as many rows as its misspelling; letters of a long word
_NO_SIGNS = {ord(sign): None for sign in ".,;:!?()[]\"'\u201c\u201d\u201e\u00ab\u00bb"}


def _is_slip(label: str, other: str, known: set[str], ratio: float) -> bool:
    """Whether one word of two labels differs, of at least four letters, by a letter that is left out, added, replaced
    or in its neighbour's place, and is not among the `known` words. Long words are rarely that much alike, so of them
    the other label may be less frequent."""
    pairs = list(zip_longest(folded_label(label).split(), folded_label(other).split(), fillvalue=""))
    different = [(one, two) for one, two in pairs if one != two]
    if len(different) != 1 or not all(map(str.isalpha, different[0])) or min(map(len, different[0])) < _SHORTEST_SLIP:
        return False
    is_long = min(map(len, different[0])) >= _LONG
    if different[0][0] in known or ratio < (_FREQUENT_IF_LONG if is_long else _FREQUENT):
        return False
    one, two = different[0]
    while one and two and one[0] == two[0]:
        one, two = one[1:], two[1:]
    while one and two and one[-1] == two[-1]:
        one, two = one[:-1], two[:-1]
    return max(len(one), len(two)) == 1 or (len(one) == 2 and one == two[::-1])


_SHORTEST_SLIP = 4


def _listed(names: Sequence[str]) -> str:
    return listed([repr(name[:40]) for name in names], _LISTED)


def hints_of_transcripts(texts: Column) -> list[str]:
    """That texts contain whole conversations, whose lines begin with the names of both sides."""
    both = sum({"user", "assistant"} <= {parse_role(name) for name in _LINE_BY.findall(text)} for text in texts.filled)
    if 2 * both <= len(texts.filled):
        return []
    return [
        f"'{texts.header}' contains whole conversations as text, with an answer in each: write each as a list of turns,"
        " `messages`, to learn from its answers (`pairsmith docs seeds`)"
    ]


def are_turns_as_text(texts: Sequence[str]) -> bool:
    """Whether all of these texts are turns of a chat as JSON, which are read as turns only if they are objects."""
    return bool(texts) and all(map(_is_turns_as_text, texts))


def _is_turns_as_text(text: str) -> bool:
    if text.startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            return not isinstance(parse_turns(extract_turns(json.loads(text))), Fault)
    return False


def hints_of_lists(output: Column) -> list[str]:
    """What to know about outputs that are all written as lists, as CSV files from Python have them."""
    if not output.filled or not all(text[0] == "[" and text[-1] == "]" for text in output.filled):
        return []
    if not any(_LIST.match(text) or "," in text for text in output.filled):
        return []  # placeholders, such as [NAME]
    return [f"every value of '{output.header}' is a list, which the model will write as it is, with its brackets"]


def hints_of_label_sets(columns: Sequence[Column], rows: Sequence[Cells]) -> list[str]:
    """Columns named like labels with several labels in some rows, as lists or separated: a classifier gives each text
    one. What stands between separators is a label of its own if it also occurs alone or in other combinations."""
    hints = []
    for at, column in enumerate(columns):
        cells = (row.get(f"c{at}") for row in rows) if column.called(_LABEL_SETS) and not column.objects else ()
        sets = [
            tuple(str(x).strip() for x in cell) if isinstance(cell, list) else tuple(_OR.split(str(cell).strip()))
            for cell in cells
            if cell
        ]
        labels, several = Counter(chain.from_iterable(sets)), [one for one in sets if len(one) > 1]
        if not several or len(labels) > min(CATEGORIES, len(sets) / 2):
            continue
        if _recombine(several, sets):
            hints.append(
                f"'{column.header}' has several labels in {len(several):,} of {len(sets):,} rows, and a task of kind"
                ' classify gives each text one: to learn several, write them as an object, {"labels": ["...", "..."]},'
                " in a new project of the kind `extract` (`--kind extract`)"
            )
        elif not any(isinstance(row.get(f"c{at}"), list) for row in rows):
            shown = next(text for text in column.filled if _OR.search(text))
            hints.append(
                f"'{column.header}' has values with a separator, such as '{shown[:40]}': each is read as one label,"
                " because its parts do not occur in other combinations"
            )
    return hints


def _recombine(several: Sequence[tuple[str, ...]], sets: Sequence[tuple[str, ...]]) -> bool:
    """Whether most parts of the different combinations also occur in another one, or alone."""
    places = Counter(part for one in {frozenset(map(folded_label, one)) for one in sets} for part in one)
    parts = [part for one in {frozenset(map(folded_label, one)) for one in several} for part in one]
    return 2 * sum(places[part] > 1 for part in parts) > len(parts)


def hint_of_unanswered(output: Column, asked: Column) -> list[str]:
    """That many rows have an input without an output, and what can be done with them."""
    inputs = [text for text, given in zip(output.texts, asked.texts, strict=True) if given]
    if (empty := inputs.count("")) * _SHARE < len(inputs) or not empty:
        return []
    return [
        f"{empty / len(inputs):.0%} of the inputs have no '{output.header}' and are left out: for a teacher to write"
        " it, put these rows into a file of their own, and read it as inputs"
    ]


def hint_to_join(others: Sequence[Column]) -> list[str]:
    """How to include more text columns in the input, and how to read one that is named like a worse answer."""
    headers = [column.header for column in others]
    if worse := find_rejected_column(("chosen",), headers):
        headers.remove(worse)
    names = " or ".join(map(repr, headers[:_LISTED]))
    hints = [f"if {names} belongs to the input, make it an input too (`pairsmith docs seeds`)"] if names else []
    if worse:
        key = f"rejected = {json.dumps(worse, ensure_ascii=False)}"
        hints.append(f"if '{worse}' is a worse answer, add {key} to learn from both (`pairsmith docs seeds`)")
    return hints


def hint_of_rivals(output: Column, rivals: Sequence[Column]) -> list[str]:
    """That other columns could be the output as well, such as a second answer or a label by a model."""
    names = ", ".join(repr(column.header) for column in rivals[:_LISTED])
    if not names:
        return []
    worse = "; of two answers, the worse one can be read as rejected, or left out" if rivals[0].is_text else ""
    be = "is" if len(rivals) == 1 else "are"
    return [f"{names} {be} named like an output too: check that '{output.header}' is the one to learn{worse}"]


def hint_of_names(names: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """What is doubtful about the names of the columns."""
    times = Counter(name for name in names if name.strip())
    twice = [f"'{name}' ({counted(count, 'column', 'columns')})" for name, count in times.items() if count > 1]
    sentences = []
    if twice:
        which = listed(twice, _LISTED)
        sentences.append(f"several columns have the same name, so none of them is read: {which}. Rename those you need")
    if value := next((column.header for column in columns if column.header in column.filled), None):
        sentences.append(
            f"the first line was read as headers, but its '{value[:40]}' is a value of that column too: if it is a row,"
            " add a line of headers above it"
        )
    return sentences


def hints_of_unread_chats(path: Path, names: Sequence[str], rows: Sequence[Cells]) -> list[str]:
    """Why a column of lists that look like chats is not read as chats."""
    sentences = []
    for at, name in enumerate(names):
        chats = [cell for row in rows if isinstance(cell := row.get(f"c{at}"), list) and cell]
        chat = chats[0] if chats else ()
        keys = [str(key).casefold() for key in chat[0]] if chat and isinstance(chat[0], dict) else []
        if set(CONTENT).isdisjoint(keys) or not any(map(SPEAKER.search, keys)):
            continue
        fault = exchange({"messages": chat}, several=True)
        if not (isinstance(fault, Fault) and fault.code == "role"):
            continue
        if people := among_people(name, chats):
            command = command_of(path, people[1])
            sentences.append(
                f"the file {people[0]}: to use them as a text, write rows with `{command}`, and use that file"
            )
        else:
            sentences.append(f"'{name}' looks like chats, but is not read: {fault.detail.removesuffix('.')}")
    return sentences
